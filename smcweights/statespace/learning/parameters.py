"""Which parameters are learned, and how they look where they are unconstrained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arguments import count, finite, instance, several
from ..model import StateSpaceModel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Free:
    """The parameters that are learned: their places in theta, names and transforms.

    A row of probabilities, which ends at "rest", has one unconstrained number fewer: each is the
    log-odds of the share that its probability takes of what those before it left.
    """

    places: tuple[int, ...]
    names: tuple[str, ...]
    transforms: tuple[str, ...]

    @cached_property
    def moving(self) -> list[int]:
        """Which of them have unconstrained numbers of their own."""
        return [k for k, kind in enumerate(self.transforms) if kind != "rest"]

    @cached_property
    def rows(self) -> list[range]:
        """Rows of probabilities among them."""
        rows, begin = [], 0
        for k, kind in enumerate(self.transforms):
            if kind == "rest":
                rows.append(range(begin, k + 1))
            if kind != "simplex":
                begin = k + 1
        return rows

    def of(self, model: StateSpaceModel, values: Array) -> StateSpaceModel:
        """The model with these values of them."""
        theta = model.theta.copy()
        theta[list(self.places)] = values
        return model.with_theta(theta)

    def numbers(self, theta: Array) -> Array:
        """Unconstrained numbers of them, out of all of theta."""
        values = theta[list(self.places)]
        for row in self.rows:
            if not math.isclose(values[row].sum(), 1.0, rel_tol=0, abs_tol=1e-9):
                raise ValueError(
                    f"theta0: {self.names[row[0]]} to {self.names[row[-1]]} are {values[row]}; "
                    "expected probabilities that sum to 1"
                )
            left = 1.0 - np.concatenate([[0.0], np.cumsum(values[row])[:-1]])
            with np.errstate(all="ignore"):
                values[row] = values[row] / left
        kinds, names = ([part[k] for k in self.moving] for part in (self.transforms, self.names))
        return from_theta(values[self.moving], kinds, names)

    def values(self, u: Array) -> Array:
        """Their values, shape (..., k), from unconstrained numbers (..., m)."""
        return self._joined(to_theta(u, [self.transforms[k] for k in self.moving])[0])

    def _joined(self, shares: Array) -> Array:
        if not self.rows:
            return shares
        values = np.ones((*shares.shape[:-1], len(self.names)))
        values[..., self.moving] = shares
        for row in self.rows:
            left = np.cumprod(1.0 - values[..., row[:-1]], axis=-1)
            values[..., row[1:]] *= left
        return values

    def at(self, u: Array) -> At:
        """Values, and derivatives of them, by unconstrained numbers (m,)."""
        shares, first, second = to_theta(u, [self.transforms[k] for k in self.moving])
        values = self._joined(shares)
        if not self.rows:
            return At(values, first, second)
        # products of shares v and 1 - v: each derivative divides by one of them
        place = {k: i for i, k in enumerate(self.moving)}
        share = np.zeros((len(values), len(u)))
        for i, k in enumerate(self.moving):
            share[k, i] = 1.0 / shares[i] if self.transforms[k] == "simplex" else 1.0
        for row in self.rows:
            for a in row[:-1]:
                share[a + 1 : row[-1] + 1, place[a]] = -1.0 / (1.0 - shares[place[a]])
        inside = np.array([k for row in self.rows for k in row])
        turn, bend = share.copy(), np.zeros((len(values), len(u), len(u)))
        turn[inside] *= values[inside, None]
        pairs = np.einsum("ki,kj->kij", share, share) * (1.0 - np.eye(len(u)))
        bend[inside] = values[inside, None, None] * pairs[inside]
        return At(values, first, second, turn, bend)


class At(NamedTuple):
    """Values (k,) of the free parameters, and their derivatives by m unconstrained numbers.

    First and second derivatives (m,) of each by its own; where there are rows of probabilities
    these are of the shares, and `turn` (k, m) and `bend` (k, m, m) of the values by them.
    """

    values: Array
    first: Array
    second: Array
    turn: Array | None = None
    bend: Array | None = None

    def gradient(self, g: Array) -> Array:
        """By unconstrained numbers, of one by theta."""
        return (g if self.turn is None else g @ self.turn) * self.first

    def outer(self, matrix: Array) -> Array:
        """By unconstrained numbers, of a mean outer product of gradients by theta."""
        inner = matrix if self.turn is None else self.turn.T @ matrix @ self.turn
        return inner * np.outer(self.first, self.first)

    def bent(self, g: Array) -> Array:
        """Second derivatives (m, m) of the transform, along a gradient by theta."""
        if self.turn is None or self.bend is None:
            return np.diag(g * self.second)
        inner = np.tensordot(g, self.bend, 1) * np.outer(self.first, self.first)
        return inner + np.diag(g @ self.turn * self.second)

    def along(self, steps: Array) -> Array:
        """Changes (..., k) of theta for small changes (..., m) of unconstrained numbers."""
        moved = self.first * steps
        return moved if self.turn is None else moved @ self.turn.T

    def spread(self, covariance: Array) -> Array:
        """Covariance by theta, of one by unconstrained numbers."""
        inner = covariance * np.outer(self.first, self.first)
        return inner if self.turn is None else self.turn @ inner @ self.turn.T

    @property
    def log_jacobian(self) -> float:
        """Log of the volume of theta, all but the last of a row counted, by theirs."""
        with np.errstate(divide="ignore"):
            volume = np.log(self.first).sum()
            if self.turn is not None:
                volume += np.log(self.turn.max(axis=0)).sum()
        return float(volume)


def free_parameters(
    model: StateSpaceModel, free: Iterable[str | int] | str | None, *, searched: bool = False
) -> Free:
    """The parameters that `free` names or numbers, or all; the name of an array is all of its.

    Those searched for include a row of probabilities as a whole or not at all; of its entries those
    that are 0 stay so.
    """
    size = model.theta.size
    if size == 0:
        raise ValueError("model: it has no parameters; expected theta")
    names = list(model.theta_names or [f"theta[{k}]" for k in range(size)])
    places: list[int] = []
    asked = [free] if isinstance(free, str) else free
    for entry in range(size) if asked is None else several("free", asked, "names or numbers"):
        if not isinstance(entry, str):
            places.append(count("free", entry, 0))
            continue
        known = names if model.theta_names else []
        found = [k for k, name in enumerate(known) if entry in (name, name.split("[")[0])]
        if not found:
            raise ValueError(f"free: {entry!r} is not a parameter; expected some of {known}")
        places += found
    if not places or len(set(places)) != len(places) or max(places) >= size:
        raise ValueError(f"free: got {free!r}; expected different parameters out of {size}")
    kinds = list(model.transforms or ("identity",) * size)
    if searched:
        places, kinds = _whole_rows(model.theta, places, kinds, names)
    else:
        kinds = ["identity" if kind in ("simplex", "rest") else kind for kind in kinds]
    return Free(tuple(places), tuple(names[k] for k in places), tuple(kinds[k] for k in places))


def _whole_rows(
    theta: Array, places: list[int], kinds: list[str], names: list[str]
) -> tuple[list[int], list[str]]:
    """Places and transforms with rows of probabilities in their order, without those that are 0."""
    row_of, row = dict[int, list[int]](), list[int]()
    for k, kind in enumerate(kinds):
        row = [*row, k] if kind in ("simplex", "rest") else []
        if kind == "rest":
            row_of |= dict.fromkeys(row, row)
            row = []
    found: list[int] = []
    for k in places:
        own = row_of.get(k, [k])
        missing = [names[i] for i in own if i not in places]
        if missing:
            raise ValueError(
                f"free: probabilities of a row are learned together; expected {missing[0]}, too"
            )
        if k in row_of:
            own = [i for i in own if theta[i] != 0.0]
            own = own if len(own) > 1 and own[0] not in found else []
            kinds = ["rest" if [i] == own[-1:] else kind for i, kind in enumerate(kinds)]
        found += own
    if not found:
        raise ValueError("free: probabilities of 0 and 1 stay as they are; expected others")
    return found, kinds


def starting_points(model: StateSpaceModel, theta0: ArrayLike | None, chains: int) -> Array:
    """Where every chain starts, shape (chains, k)."""
    instance("model", model, StateSpaceModel)
    given = finite("theta0", model.theta if theta0 is None else theta0)
    size = model.theta.size
    if given.shape not in ((size,), (chains, size)):
        raise ValueError(
            f"theta0: got shape {given.shape}; expected finite numbers of shape {(size,)} or "
            f"{(chains, size)}"
        )
    return np.broadcast_to(given, (chains, size))


def first_steps(u: Array, free: Free) -> Array:
    """Standard deviations that a search may begin with, where it is unconstrained."""
    identity = np.array([free.transforms[k] == "identity" for k in free.moving])
    return np.where(identity, 0.1 * np.maximum(np.abs(u), 1e-2), 0.1)


def to_theta(u: Array, transforms: Sequence[str]) -> tuple[Array, Array, Array]:
    """Parameters from unconstrained numbers, with first and second derivatives."""
    theta, first, second = u.copy(), np.ones_like(u), np.zeros_like(u)
    for k, kind in enumerate(transforms):
        v = u[..., k]
        if kind == "log":
            theta[..., k] = first[..., k] = second[..., k] = np.exp(v)
        elif kind in ("logit", "simplex", "rest"):
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

    def logit(v: Any) -> Any:
        return np.log(v / (1 - v))

    inverse: dict[str, Callable[[Any], Any]] = {
        "identity": lambda v: v,
        "log": np.log,
        **dict.fromkeys(("logit", "simplex", "rest"), logit),
        "atanh": np.arctanh,
    }
    with np.errstate(all="ignore"):
        u = np.array([inverse[kind](v) for v, kind in zip(theta, transforms, strict=True)])
    for value, number, kind, name in zip(theta, u, transforms, names, strict=True):
        if not math.isfinite(number):
            raise ValueError(f"theta0: {name} = {value} is outside of its transform, {kind!r}")
    return u
