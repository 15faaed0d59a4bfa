"""Integrands given by their logarithms: exp of them need not be a number.

A function returns logs, or logs and signs. Draws are measured in units of exp(level), one level for
each expectation: the largest log so far. Everything else sees values of ordinary size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..cautions import Caution
from ..errors import ModelError
from ..estimate import Estimate
from ..stopping import Precision
from .integrand import ALONE, Integrand, call_integrand

MOVED = 5.0  # by so much a level rises at the least
LARGEST = 300.0  # log of the largest value, in units of exp(level)
ROUGH = 0.3  # relative error from which the bias of a log is a share of its error
RELATIVE = ("max-relative", "sum-relative")


def call_log_integrand(
    integrand: Integrand, vectorized: bool, x: np.ndarray, named: str = "integrand"
) -> Any:
    """Logs at the rows of x, shape (n,) or (n, J); or a tuple of these and their signs."""
    signed = []

    def logs_of(x: np.ndarray) -> Any:
        found = integrand(x)
        if not isinstance(found, tuple):
            return found
        if len(found) != 2 or np.shape(found[0]) != np.shape(found[1]):
            raise ModelError(
                f"{named}: returned a tuple of shapes {[np.shape(part) for part in found]}; "
                "expected logs and their signs, of one shape"
            )
        signed.append(True)
        return np.stack(found, axis=int(vectorized))

    found = call_integrand(logs_of, vectorized, x, named)
    return (found[:, 0], found[:, 1]) if signed else found


def call_log_density(
    function: Integrand, vectorized: bool, x: np.ndarray, named: str
) -> np.ndarray:
    """Logs at the rows of x, shape (n,), of a function that is nowhere negative."""

    def logs_of(x: np.ndarray) -> Any:
        found = function(x)
        if isinstance(found, tuple):
            raise ModelError(f"{named}: returned a tuple; expected logs, as an array")
        if getattr(found, "dtype", np.dtype(type(found))).kind == "b":
            raise ModelError(
                f"{named}: returned True and False; expected logs, np.where(..., 0.0, -np.inf)"
            )
        return found

    found = call_integrand(logs_of, vectorized, x, named)
    if found.shape not in ((len(x),), (len(x), 1)):
        raise ModelError(
            f"{named}: returned shape {found.shape} for inputs of shape {x.shape}; expected "
            f"({len(x)},) logs; for a function of one input vector {ALONE}"
        )
    return log_table(found, x, named)[:, 0]


def first_of(block: Any) -> np.ndarray:
    """The logs of a block."""
    return block[0] if isinstance(block, tuple) else block


def log_table(block: Any, x: np.ndarray, named: str = "integrand") -> np.ndarray:
    """Logs and signs as (n, 2 J), or what is wrong with them, with the input concerned."""
    logs = first_of(block)
    if logs.ndim not in (1, 2) or len(logs) != len(x) or logs.size == 0:
        raise ModelError(
            f"{named}: returned shape {logs.shape} for inputs of shape {x.shape}; expected "
            f"({len(x)},) or ({len(x)}, J) logs, or a tuple of them and their signs; for a "
            f"function of one input vector {ALONE}"
        )
    table = logs.reshape(len(x), -1)
    if not (table < np.inf).all():
        i, j = np.argwhere(~(table < np.inf))[0]
        raise ModelError(
            f"{named}: log value {j + 1} is {table[i, j]} at input {x[i].tolist()}; expected a "
            "finite number or -inf"
        )
    both = np.ones((len(x), 2 * table.shape[1]))
    both[:, : table.shape[1]] = table
    if isinstance(block, tuple):
        signs = both[:, table.shape[1] :] = block[1].reshape(table.shape)
        if not np.isin(signs, (-1.0, 0.0, 1.0)).all():
            i, j = np.argwhere(~np.isin(signs, (-1.0, 0.0, 1.0)))[0]
            raise ModelError(
                f"{named}: sign {j + 1} is {signs[i, j]} at input {x[i].tolist()}; expected -1, 0 "
                "or 1"
            )
    return both


def risen(level: np.ndarray | None, raw: np.ndarray) -> np.ndarray:
    """Levels (J,) that suit draws with logs and signs (n, 2 J) as well as those before."""
    logs = raw[:, : raw.shape[1] // 2]
    top = np.where(np.isnan(logs), -np.inf, logs).max(0)
    if level is None:
        return top
    # a level of -inf is one of which nothing was seen yet
    return np.where(top > level + MOVED, top, level)


def relative(raw: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Values (n, J) in units of exp(level), of logs and signs (n, 2 J); 0 where there are none."""
    logs, signs = np.split(raw, 2, axis=1)
    with np.errstate(invalid="ignore"):
        sizes = np.exp(np.minimum(logs - np.where(np.isfinite(level), level, 0.0), LARGEST))
    return np.where(np.isnan(logs), 0.0, sizes * signs)


def linear(precision: Precision | None, objective: object) -> Precision | None:
    """What a precision of logs asks of the expectations themselves; other goals are refused."""
    if not (isinstance(objective, str) and objective in RELATIVE):
        raise ValueError(
            f"objective: got {objective!r}; with log=True expected {' or '.join(RELATIVE)}"
        )
    if precision is None:
        return None
    if precision.of is not None or precision.absolute is None or precision.relative is not None:
        raise ValueError(
            f"precision: got {precision!r}; with log=True expected absolute alone, the half-width "
            "of the log"
        )
    return Precision(
        relative=precision.absolute, level=precision.level, max_budget=precision.max_budget
    )


def logged(estimate: Estimate, level: np.ndarray) -> Estimate:
    """The log of an estimate in units of exp(level), by the delta method.

    Where nothing was seen it is NaN; where the relative error is large a caution says so.
    """
    value, variance = np.atleast_1d(estimate.value), np.atleast_1d(estimate.variance)
    seen = value != 0
    if estimate.trials is not None:
        seen &= np.atleast_1d(estimate.trials) == 0
    size = np.where(seen, np.abs(value), 1.0)
    share = np.sqrt(variance) / size
    logs = np.where(seen, np.log(size) + level, np.nan)
    found = list(estimate.cautions)
    if (rough := seen & (share > ROUGH)).any():
        text = (
            f"{_which(estimate.names, rough)}: the relative error of the expectation is up to "
            f"{np.nanmax(share[rough]):.2f}, too large for the error of its log to be promised"
        )
        found.append(Caution("rough-logarithm", text))
    scale = np.where(seen, 1 / np.where(seen, value, 1.0), np.nan)
    spread: dict[str, Any] = {}
    if estimate.factor is not None:
        spread["factor"] = estimate.factor * scale[:, None]
    else:
        whole = np.atleast_2d(estimate.covariance) * np.outer(scale, scale)
        floor = (4 * np.finfo(float).eps * np.abs(logs)) ** 2
        np.fill_diagonal(whole, np.maximum(np.diag(whole), floor))
        spread["covariance"] = whole.reshape(estimate.value.shape * 2)
    sample = estimate.sample
    stages = [_told(stage) for stage in estimate.diagnostics["stages"]]
    return estimate.revised(
        value=logs.reshape(estimate.value.shape),
        **spread,
        trials=None,
        bounds=None,
        diagnostics=estimate.diagnostics | {"sign": np.sign(value), "stages": stages},
        columns=[*estimate.columns, "sign"],
        cautions=found,
        # values in units of their own would pass for the integrand's
        sample=None if sample is None else sample.drop_vars("values"),
    )


def _which(names: Sequence[str], marked: np.ndarray) -> str:
    return ", ".join(name for name, here in zip(names, marked, strict=True) if here)


def _told(stage: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a stage without numbers in units that have changed since."""
    return {key: entry for key, entry in stage.items() if key not in ("variance", "estimate")}
