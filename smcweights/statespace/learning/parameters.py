"""Which parameters are learned, and how they look where they are unconstrained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arguments import count
from ..model import StateSpaceModel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Free:
    """The parameters that are learned: their places in theta, names and transforms."""

    places: tuple[int, ...]
    names: tuple[str, ...]
    transforms: tuple[str, ...]

    def of(self, model: StateSpaceModel, values: Array) -> StateSpaceModel:
        """The model with these values of them."""
        theta = model.theta.copy()
        theta[list(self.places)] = values
        return model.with_theta(theta)

    def numbers(self, theta: Array) -> Array:
        """Unconstrained numbers of them, out of all of theta."""
        return from_theta(theta[list(self.places)], self.transforms, self.names)


def free_parameters(
    model: StateSpaceModel, free: Iterable[str | int] | str | None, *, searched: bool = False
) -> Free:
    """The parameters that `free` names or numbers, or all.

    Rows of probabilities, which have no unconstrained numbers of their own, can't be searched.
    """
    size = model.theta.size
    if size == 0:
        raise ValueError("model: it has no parameters; expected theta")
    names = list(model.theta_names or [f"theta[{k}]" for k in range(size)])
    places: list[int] = []
    for entry in range(size) if free is None else [free] if isinstance(free, str) else free:
        if not isinstance(entry, str):
            places.append(count("free", entry, 0))
            continue
        known = names if model.theta_names else []
        if entry not in known:
            raise ValueError(f"free: {entry!r} is not a parameter; expected some of {known}")
        places.append(names.index(entry))
    if not places or len(set(places)) != len(places) or max(places) >= size:
        raise ValueError(f"free: got {free!r}; expected different parameters out of {size}")
    if searched and model.exact is not None and model.exact.kind == "finite_hmm":
        rows = [names[k] for k in places if not names[k].startswith("emission")]
        if rows:
            raise ValueError(
                f"free: {rows[0]} is one of probabilities that sum to one, which steps on their "
                "own would leave; expected some of "
                f"{[n for n in names if n.startswith('emission')]}. To learn probabilities, write "
                "a StateSpaceModel whose parameters are those of two states (transform 'logit') "
                "or log-odds"
            )
    every = model.transforms or ("identity",) * size
    return Free(tuple(places), tuple(names[k] for k in places), tuple(every[k] for k in places))


def starting_points(model: StateSpaceModel, theta0: ArrayLike | None, chains: int) -> Array:
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
        "identity": lambda v: v,
        "log": np.log,
        "logit": lambda v: np.log(v / (1 - v)),
        "atanh": np.arctanh,
    }
    with np.errstate(all="ignore"):
        u = np.array([inverse[kind](v) for v, kind in zip(theta, transforms, strict=True)])
    for value, number, kind, name in zip(theta, u, transforms, names, strict=True):
        if not math.isfinite(number):
            raise ValueError(f"theta0: {name} = {value} is outside of its transform, {kind!r}")
    return u
