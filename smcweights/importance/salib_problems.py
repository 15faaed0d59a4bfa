"""SALib's problem dicts as laws of the inputs, their bounds read as SALib reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .marginals import Marginal, Truncated, checked_names, default_names, univariate

__all__ = ["salib_marginals"]


def salib_marginals(problem: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Marginal, ...]]:
    """Names and laws of the inputs of a problem."""
    from scipy import stats

    d = problem["num_vars"]
    names = checked_names(problem.get("names") or default_names(d))
    bounds = problem.get("bounds")
    dists = problem.get("dists") or ["unif"] * d
    for key, value in (("names", names), ("bounds", bounds), ("dists", dists)):
        if value is None or len(value) != d:
            found = "is missing" if value is None else f"has {len(value)} entries"
            raise ValueError(f"SALib problem: {key} {found}, expected num_vars = {d}")
    marginals = []
    for name, dist, numbers in zip(names, dists, bounds, strict=True):  # type: ignore[arg-type]
        where = f"SALib problem: input {name!r}"
        if dist not in _MARGINALS:
            raise ValueError(
                f"{where} has the distribution {dist!r}, expected one of {', '.join(_MARGINALS)}"
            )
        numbers = [float(b) for b in numbers]
        try:
            marginal = _MARGINALS[dist](stats, *numbers)
        except TypeError:
            raise ValueError(
                f"{where}: {dist} has bounds {numbers}, a wrong number of them"
            ) from None
        marginals.append(univariate(marginal, f"{where}: {dist} with bounds {numbers}"))
    return names, tuple(marginals)


def _triangular(stats: Any, *bounds: float) -> Any:
    """Lower end, upper end and the mode as a fraction of the width; two values: lower end 0."""
    lower, upper, mode = bounds if len(bounds) == 3 else (0.0, *bounds)
    return stats.triang(mode, lower, upper - lower)


_MARGINALS: dict[str, Callable[..., Any]] = {
    "unif": lambda stats, lower, upper: stats.uniform(lower, upper - lower),
    "logunif": lambda stats, lower, upper: stats.loguniform(lower, upper),
    "triang": _triangular,
    "norm": lambda stats, mean, sd: stats.norm(mean, sd),
    "truncnorm": lambda stats, a, b, mean, sd: Truncated(stats.norm(mean, sd), a, b),
    "lognorm": lambda stats, mean, sd: stats.lognorm(sd, scale=np.exp(mean)),
    "weibull": lambda stats, shape, scale, at=0.0: stats.weibull_min(shape, at, scale),
}
