"""Which parameters are learned, and how they look where they are unconstrained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model import StateSpaceModel, count

__all__ = [
    "check_searchable",
    "free_places",
    "from_theta",
    "parameter_names",
    "starting_points",
    "to_theta",
    "transforms_of",
    "with_free",
]

Array = NDArray[np.float64]


def parameter_names(model: StateSpaceModel) -> list[str]:
    """Names of all parameters; by position, where they have none."""
    return list(model.theta_names or [f"theta[{k}]" for k in range(model.theta.size)])


def free_places(model: StateSpaceModel, free: Any) -> tuple[int, ...]:
    """Positions of the parameters that are learned."""
    size = model.theta.size
    if size == 0:
        raise ValueError("model: it has no parameters; expected theta")
    if free is None:
        return tuple(range(size))
    names = list(model.theta_names or ())
    found: list[int] = []
    for entry in [free] if isinstance(free, str) else free:
        if isinstance(entry, str):
            if entry not in names:
                raise ValueError(f"free: {entry!r} is not a parameter; expected some of {names}")
            found.append(names.index(entry))
        else:
            found.append(count("free", entry, 0))
    if not found or len(set(found)) != len(found) or max(found) >= size:
        raise ValueError(f"free: got {free!r}; expected different parameters out of {size}")
    return tuple(found)


def check_searchable(model: StateSpaceModel, places: Sequence[int]) -> None:
    """Rows of probabilities have no unconstrained numbers of their own."""
    if model.structure is None or model.structure[0] != "finite_hmm":
        return
    names = parameter_names(model)
    rows = [names[k] for k in places if not names[k].startswith("emission")]
    if rows:
        raise ValueError(
            f"free: {rows[0]} is one of probabilities that sum to one, which steps on their own "
            f"would leave; expected some of {[n for n in names if n.startswith('emission')]}. To "
            "learn probabilities, write a StateSpaceModel whose parameters are those of two states "
            "(transform 'logit') or log-odds"
        )


def starting_points(model: Any, theta0: Any, chains: int) -> Array:
    """Where every chain starts, shape (chains, k)."""
    if not isinstance(model, StateSpaceModel):
        raise TypeError(f"model: got {type(model).__name__}; expected a StateSpaceModel")
    given = np.array(model.theta if theta0 is None else theta0, dtype=np.float64)
    size = model.theta.size
    if given.shape not in ((size,), (chains, size)) or not np.isfinite(given).all():
        raise ValueError(
            f"theta0: got shape {given.shape}; expected finite numbers of shape {(size,)} or "
            f"{(chains, size)}"
        )
    return np.broadcast_to(given, (chains, size))


def to_theta(u: Array, transforms: Sequence[str]) -> tuple[Array, Array, Array]:
    """Parameters from unconstrained numbers, with first and second derivatives."""
    theta, first, second = u.copy(), np.ones_like(u), np.zeros_like(u)
    for k, kind in enumerate(transforms):
        v = u[..., k]
        if kind == "log":
            theta[..., k] = first[..., k] = second[..., k] = np.exp(v)
        elif kind == "logit":
            value = 1 / (1 + np.exp(-v))
            theta[..., k], first[..., k] = value, value * (1 - value)
            second[..., k] = first[..., k] * (1 - 2 * value)
        elif kind == "atanh":
            value = np.tanh(v)
            theta[..., k], first[..., k] = value, 1 - value**2
            second[..., k] = -2 * value * first[..., k]
    return theta, first, second


def from_theta(theta: Array, transforms: Sequence[str], names: Sequence[str]) -> Array:
    """Unconstrained numbers of parameters."""
    inverse: dict[str, Callable[[Any], Any]] = {
        "identity": lambda v: v, "log": np.log, "logit": lambda v: np.log(v / (1 - v)),
        "atanh": np.arctanh,
    }  # fmt: skip
    with np.errstate(all="ignore"):
        u = np.array([inverse[kind](v) for v, kind in zip(theta, transforms, strict=True)])
    for value, number, kind, name in zip(theta, u, transforms, names, strict=True):
        if not math.isfinite(number):
            raise ValueError(f"theta0: {name} = {value} is outside of its transform, {kind!r}")
    return u


def transforms_of(model: StateSpaceModel, places: Sequence[int]) -> tuple[str, ...]:
    """Transforms of some parameters."""
    every = model.transforms or ("identity",) * model.theta.size
    return tuple(every[k] for k in places)


def with_free(model: StateSpaceModel, places: Sequence[int], values: Array) -> StateSpaceModel:
    """The model with other values of some parameters."""
    theta = model.theta.copy()
    theta[list(places)] = values
    return model.with_theta(theta)
