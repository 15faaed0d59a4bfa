"""Units of columns: what each is divided by before one distance mixes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import finite

Array = NDArray[Any]
Scale = str | ArrayLike | None  # None where columns stay as they are


@dataclass(frozen=True)
class Units:
    """How columns are brought to one scale: divided by numbers, or replaced by ranks.

    `names` are those of the columns that are `kept`, if others are `left_out`; `among` has for each
    of them the values that ranks are taken among and the shares of points below and up to them.
    """

    names: tuple[str, ...] = ()
    kept: tuple[int, ...] = ()
    left_out: tuple[str, ...] = ()
    divisors: Array | None = None
    among: tuple[tuple[Array, Array], ...] = ()

    def measured(self, points: Array) -> Array:
        """Points (n, d) in these units, in the type they have."""
        if self.divisors is not None:
            kept = points if not self.left_out else points[:, list(self.kept)]
            return np.ascontiguousarray((kept / self.divisors).astype(points.dtype))
        if not self.among:
            return points
        found = np.empty(points.shape, points.dtype)
        for k, (values, shares) in enumerate(self.among):
            sides = (np.searchsorted(values, points[:, k], side) for side in ("left", "right"))
            found[:, k] = sum(shares[at] for at in sides) / 2
        return found

    def describe(self) -> dict[str, Any]:
        """What diagnostics say of them."""
        if self.divisors is not None:
            return {"scale": self.divisors, "columns_left_out": list(self.left_out)}
        return {"scale": "ranks"} if self.among else {}


UNSCALED = Units()


def units_of(
    scale: str | ArrayLike, clouds: Sequence[tuple[Array, Array]], names: Sequence[str]
) -> Units:
    """Units from clouds, each points (n, d) and weights (n,), that are pooled.

    Examples
    --------
    >>> points = np.array([[0.0, 3.0], [2.0, 3.0]])
    >>> units = units_of("sd", [(points, np.full(2, 0.5))], ["a", "b"])
    >>> units.left_out, units.measured(points).ravel()
    (('b',), array([0., 2.]))
    """
    d = clouds[0][0].shape[1]
    # every point counts as one on average, whatever the sums of the weights
    share = np.concatenate([len(points) * weights for points, weights in clouds])
    share /= share.sum()
    if isinstance(scale, str) and scale == "sd":
        deviations = _deviations(clouds, share)
        kept = tuple(int(k) for k in np.flatnonzero(deviations > 0))
        if not kept:
            raise ValueError("scale: got 'sd', but all columns are constant")
        left_out = tuple(names[k] for k in range(d) if k not in kept)
        return Units(tuple(names[k] for k in kept), kept, left_out, deviations[list(kept)])
    if isinstance(scale, str) and scale == "ranks":
        columns = np.concatenate([points for points, _ in clouds]).T
        return Units(tuple(names), among=tuple(_ranks(column, share) for column in columns))
    if isinstance(scale, str):
        raise ValueError(f"scale: got {scale!r}; expected None, 'sd', 'ranks' or {d} numbers")
    divisors = finite("scale", scale)
    if divisors.shape != (d,) or not (divisors > 0).all():
        raise ValueError(
            f"scale: got {divisors.tolist()!r:.80}, shape {divisors.shape}; expected positive "
            f"numbers, one per column: ({d},)"
        )
    return Units(tuple(names), divisors=divisors)


def _deviations(clouds: Sequence[tuple[Array, Array]], share: Array) -> Array:
    """Standard deviations (d,) of the pool; 0 where rounding is all that varies."""
    pool = np.concatenate([points for points, _ in clouds]).astype(np.float64)
    # near the origin first, where no digits are lost
    pool -= pool[0]
    pool -= share @ pool
    found = np.sqrt(share @ pool**2)
    return np.where(np.ptp(pool, axis=0) > 0, found, 0.0)


def _ranks(column: Array, share: Array) -> tuple[Array, Array]:
    """Different values of a column, and the shares of points below the first, up to each."""
    values, which = np.unique(column, return_inverse=True)
    mass = np.bincount(which, weights=share, minlength=len(values))
    return values, np.concatenate([[0.0], np.cumsum(mass)])
