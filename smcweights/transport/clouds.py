"""Clouds of points with weights: checked, and moved together to where no digits are lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..arguments import (
    Header,
    aligned,
    array,
    header_of,
    kind_of,
    real,
    same_rows,
    shown,
)
from .units import UNSCALED, Scale, Units, units_of

Array = NDArray[Any]

DIGEST_BYTES = 2**12  # larger clouds are told apart by a sample of their rows and a sum of all bits
SOME = 2**16  # numbers that say roughly how large a cloud is
# integers as long as floats are, and the largest of them: all bits but that of the sign
BITS = {
    np.dtype(real): (whole, whole(np.iinfo(whole).max))
    for real, whole in ((np.float32, np.int32), (np.float64, np.int64))
}
EPS = {np.dtype(f): float(np.finfo(f).eps) for f in (np.float32, np.float64)}
TIED_ROWS = 200  # points that say how often coordinates are equal
# of neighbours in a column of few values so many are equal, and others so far apart, in standard
# deviations of another column: steps of 0.1 are no more than rounding
EQUAL_NEIGHBOURS, APART = 0.3, 0.25


@dataclass(frozen=True)
class Cloud:
    """Points (n, d) in float32 or float64, with weights (n,) of sum 1, or None where all equal.

    `mark` tells the points as they were given from others. `sums` (d,) and the sum of all squares
    are known from the pass that checked them, unless they were moved since.
    """

    points: Array
    weights: Array | None
    mark: int = 0
    sums: tuple[Array, float] | None = field(default=None, repr=False)

    @cached_property
    def mean(self) -> Array:
        """(d,), float64."""
        if self.weights is not None:
            return self.weights @ self.points
        if self.sums is not None:
            return self.sums[0] / len(self.points)
        return self.points.mean(axis=0, dtype=np.float64)

    @cached_property
    def size(self) -> float:
        """Mean square of the points."""
        if self.weights is None and self.sums is not None:
            return self.sums[1] / len(self.points)
        squares = np.einsum("nd,nd->n", self.points, self.points, dtype=np.float64)
        return float(self.masses @ squares)

    @cached_property
    def spread(self) -> float:
        """Trace of the covariance (divided by the sum of the weights)."""
        return max(self.size - float(self.mean @ self.mean), 0.0)

    @cached_property
    def rough(self) -> tuple[Array, float]:
        """Mean (d,) and mean square of about a thousand points, fewer of many coordinates."""
        n, d = self.points.shape
        count = min(max(SOME // d, 50), 1000)
        some = self.points[:: max(n // count, 1)].astype(np.float64)
        return np.add.reduce(some) / len(some), float(np.vdot(some, some)) / len(some)

    @property
    def ties(self) -> float:
        """Share of pairs of points, apart from each other, that have an equal coordinate."""
        n = len(self.points)
        some = np.unique(self.points[:: math.ceil(n / TIED_ROWS)], axis=0)
        counts = [np.unique(column, return_counts=True)[1] for column in some.T]
        equal = sum(float(c @ (c - 1)) for c in counts)
        return equal / max(len(some) * (len(some) - 1), 1)

    @cached_property
    def coarse(self) -> frozenset[int]:
        """Columns of few values that are far apart beside what others vary."""
        n, d = self.points.shape
        some = np.sort(self.points[:: math.ceil(n / TIED_ROWS)], axis=0)
        steps = np.diff(some, axis=0)
        tied = np.flatnonzero((steps == 0).sum(axis=0) >= max(EQUAL_NEIGHBOURS * len(steps), 1))
        if tied.size == 0 or d == 1:
            return frozenset()
        spreads = some.std(axis=0)

        def far(k: np.intp) -> bool:
            apart = steps[steps[:, k] > 0, k]
            most = np.delete(spreads, k).max()
            return apart.size > 0 and bool(np.median(apart) >= APART * most)

        return frozenset(int(k) for k in tied if far(k))

    @cached_property
    def masses(self) -> Array:
        """Weights (n,) in any case."""
        n = len(self.points)
        return np.full(n, 1 / n) if self.weights is None else self.weights

    @cached_property
    def covariance(self) -> Array:
        """(d, d), float64."""
        return _covariance(self.points, self.weights, self.mean)

    def power_around(self, centre: Array, p: float) -> float:
        """Weighted mean of |x - centre|^p."""
        gaps = np.linalg.norm(self.points - centre, axis=1) ** p
        return float(gaps.mean() if self.weights is None else self.weights @ gaps)

    def projected_variance(self, theta: Array, rows: Array, quick: bool = False) -> Array:
        """Variances (L,) along directions (L, d), on which the points are projected to (L, n).

        `quick`: from sums of squares of the rows, with what rounding leaves of their differences.
        """
        if quick:
            squares = (
                np.einsum("ln,ln->l", rows, rows) / rows.shape[1]
                if self.weights is None
                else np.einsum("ln,ln,n->l", rows, rows, self.weights)
            )
            v = squares - (theta @ self.mean) ** 2
        # a product of matrices takes a thirtieth of the time of elementwise ones
        elif self.points.shape[1] ** 2 <= 30 * len(self.points):
            v = np.einsum("ld,ld->l", theta @ self.covariance, theta)
        else:
            centred = rows - (theta @ self.mean)[:, None]
            v = np.einsum("ln,ln,n->l", centred, centred, self.masses).astype(np.float64)
        return np.maximum(v, 0.0)

    def fingerprint(self) -> list[Array]:
        """What tells it from others: its points, or some of them and a sum of all bits."""
        points = self.points
        if points.nbytes > DIGEST_BYTES:
            points = points[:: math.ceil(points.nbytes / DIGEST_BYTES)]
        parts = [points, np.array([len(self.points), self.mark])]
        return parts if self.weights is None else [*parts, self.weights]


@dataclass(frozen=True)
class Pair:
    """Two clouds with one vector subtracted from both, which changes no distance."""

    x: Cloud
    y: Cloud
    units: Units = UNSCALED

    @property
    def dimension(self) -> int:
        """Of the space."""
        return self.x.points.shape[1]

    @property
    def points(self) -> int:
        """Of both clouds."""
        return len(self.x.points) + len(self.y.points)

    @property
    def matched(self) -> bool:
        """Whether points meet one to one: clouds of the same size without weights."""
        unweighted = self.x.weights is None and self.y.weights is None
        return unweighted and len(self.x.points) == len(self.y.points)

    def moved(self, points: Array) -> Pair:
        """The pair with the points of the first cloud elsewhere."""
        return Pair(Cloud(points.astype(self.x.points.dtype), self.x.weights), self.y, self.units)

    @cached_property
    def shift(self) -> Array:
        """Difference of the means (d,)."""
        return self.x.mean - self.y.mean

    @property
    def scale(self) -> float:
        """Size of what a squared distance is the small or large difference of."""
        return self.x.size + self.y.size

    def rounding(self, p: float, cost: float) -> float:
        """What rounding leaves unknown of a cost: about p delta g^(p-1), with g^p the cost.

        Projections err by delta, and gaps between them with them; where these are all there is,
        delta^p.
        """
        gap = max(cost, 0.0) ** (1 / p)
        delta = 8 * EPS[self.x.points.dtype] * max(math.sqrt(self.scale), gap)
        return float(delta**p + p * delta * gap ** (p - 1))

    def spectra(self) -> tuple[Array, Array]:
        """Covariances of both clouds in one orthonormal basis of all the directions they have."""
        if self.dimension <= self.points:
            return self.x.covariance, self.y.covariance
        clouds = self.x, self.y
        centred = [c.points - c.mean for c in clouds]
        basis, _ = np.linalg.qr(np.concatenate(centred).T.astype(np.float64))
        zero = np.zeros(basis.shape[1])
        a, b = (
            _covariance(rows @ basis, cloud.weights, zero)
            for rows, cloud in zip(centred, clouds, strict=True)
        )
        return a, b

    def fingerprint(self) -> list[Array]:
        """What tells the two from others."""
        return self.x.fingerprint() + self.y.fingerprint()


def _covariance(points: Array, weights: Array | None, mean: Array) -> Array:
    d = points.shape[1]
    total = np.zeros((d, d))
    step = max(2**21 // d, 1)
    for first in range(0, len(points), step):
        block = points[first : first + step].astype(np.float64) - mean
        if weights is None:
            total += block.T @ block / len(points)
        else:
            total += block.T @ (block * weights[first : first + step, None])
    return total


def as_cloud(
    points: ArrayLike,
    weights: ArrayLike | None = None,
    name: str = "x",
    p: float = 2.0,
    like: Header | None = None,
) -> Cloud:
    """A cloud, checked; points without weight are left out.

    float32 and float64 are kept, anything else becomes float64; a vector is a cloud on the line.
    Columns of tables are put in the order of those they are to be `like`.
    """
    own = header_of(points, name)
    found = _numbers(name, aligned(points, own, like), "(n, d)")
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2 or found.size == 0:
        raise ValueError(f"{name}: got shape {found.shape}; expected (n, d), or (n,) on the line")
    found = np.ascontiguousarray(found)
    size, mark, sums = _scan(found)
    if size == math.inf:
        row, column = (int(i) for i in np.argwhere(~np.isfinite(found))[0])
        named = own if like is None or own is None else like
        which = f"coordinate {column}" if named is None else f"column {named.names[column]!r}"
        wrong = int((~np.isfinite(found)).any(axis=1).sum())
        raise ValueError(
            f"{name}: point {row} has {found[row, column]} as {which}; expected finite numbers"
            + (f", which {wrong} of {len(found)} points don't have" if wrong > 1 else "")
        )
    a = None if weights is None else masses_of(weights, len(found), name)
    if weights is not None:
        same_rows(f"weights_{name}", weights, name, points)
    if a is not None and not a.all():
        found, a = found[a > 0], a[a > 0]
        size, _, sums = _scan(found)
    largest = 10 ** (140 / max(p, 2))
    if size > 0 and not 1 / largest < size < largest:
        raise ValueError(
            f"{name}: got coordinates of size {size:.3g}; expected sizes from {1 / largest:.0e} to "
            f"{largest:.0e}, whose powers are numbers still: use other units"
        )
    return Cloud(found, None if a is None or np.ptp(a) == 0 else a, mark, sums)


def _numbers(name: str, given: ArrayLike, shape: str) -> Array:
    """Numbers as float32 where they are, else as float64."""
    expected = f"expected an array of numbers, shape {shape}"
    if np.ma.is_masked(given):
        raise TypeError(f"{name}: got masked entries; {expected}, without these")
    found = array(name, given)
    if found.dtype in (np.float32, np.float64):
        return found
    if found.dtype.kind not in "biufO":
        raise TypeError(f"{name}: got {kind_of(found, given)}; {expected}")
    try:
        return np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        table = hasattr(given, "columns")
        got = kind_of(found, given) if table else f"{shown(given)} ({error})"
        raise TypeError(f"{name}: got {got}; {expected}") from None


def _scan(points: Array) -> tuple[float, int, tuple[Array, float]]:
    """Largest size of a coordinate (infinity for NaN, too), a sum that tells clouds apart, sums."""
    from .kernels import scan

    integer, most = BITS[points.dtype]
    bits, mark, sums, squares = scan(points, points.view(integer), most)
    size = float(integer(bits).view(points.dtype))
    return (math.inf if math.isnan(size) else size), int(mark), (sums, squares)


def masses_of(weights: ArrayLike, count: int, name: str) -> Array:
    """Weights of sum 1, checked."""
    where = f"weights_{name}"
    a = real(where, weights, f" of shape ({count},)")
    if a.shape != (count,):
        raise ValueError(f"{where}: got shape {a.shape}; expected ({count},)")
    if not np.isfinite(a).all() or (a < 0).any():
        i = int(np.argmax(~np.isfinite(a) | (a < 0)))
        raise ValueError(f"{where}: got {a[i]} as entry {i}; expected finite numbers from 0")
    if not a.any():
        raise ValueError(f"{where}: got zeros; expected a positive sum")
    # the sum itself may be too large a number
    a /= a.max()
    return a / a.sum()


def centre_of(clouds: Sequence[Cloud]) -> Array | None:
    """A vector to subtract from all of them, or None where they are near the origin."""
    known = [cloud.rough if cloud.sums is None else (cloud.mean, cloud.size) for cloud in clouds]
    if not _far(known)[1]:
        return None
    return _far([cloud.rough for cloud in clouds])[0]


def _far(moments: Sequence[tuple[Array, float]]) -> tuple[Array, bool]:
    """The mean of means (d,), and whether clouds of these and mean squares are small beside it."""
    centre = np.add.reduce([mean for mean, _ in moments]) / len(moments)
    length = float(centre @ centre)
    spread = sum(square - 2 * float(mean @ centre) + length for mean, square in moments)
    return centre, length > 4 * spread


def moved(cloud: Cloud, dtype: DTypeLike, centre: Array | None) -> Cloud:
    """The cloud with its points in another type, a vector subtracted."""
    if centre is None and cloud.points.dtype == dtype:
        return cloud
    points = cloud.points.astype(dtype, copy=False)
    if centre is not None:
        points = (points - centre).astype(dtype)
    return Cloud(points, cloud.weights, cloud.mark)


def clouds_of(
    given: Sequence[tuple[ArrayLike, ArrayLike | None, str]], p: float = 2.0, scale: Scale = None
) -> tuple[list[Cloud], Units]:
    """Clouds from (points, weights, name) with one vector subtracted from all, and their units.

    Tables have their columns in the order of the first of them.
    """
    tables = [header_of(points, name) for points, _, name in given]
    like = next((table for table in tables if table is not None), None)
    found = [as_cloud(*entry, p, like) for entry in given]
    dimension = found[0].points.shape[1]
    for cloud, (_, _, name) in zip(found, given, strict=True):
        if cloud.points.shape[1] != dimension:
            raise ValueError(
                f"{name}: has points in {cloud.points.shape[1]} dimensions; expected {dimension} "
                f"as in {given[0][2]}"
            )
    units = scaled_by(scale, found, like)
    found = [measured(cloud, units) for cloud in found]
    dtype = max((cloud.points.dtype for cloud in found), key=lambda kind: kind.itemsize)
    centre = centre_of(found)
    return [moved(cloud, dtype, centre) for cloud in found], units


def scaled_by(scale: Scale, clouds: Sequence[Cloud], table: Header | None) -> Units:
    """Units of the pool of clouds, with the names of a table's columns or their numbers."""
    if scale is None:
        return UNSCALED
    names = range(clouds[0].points.shape[1]) if table is None else table.names
    pool = [(cloud.points, cloud.masses) for cloud in clouds]
    return units_of(scale, pool, [str(name) for name in names])


def measured(cloud: Cloud, units: Units) -> Cloud:
    """The cloud in other units."""
    points = units.measured(cloud.points)
    return cloud if points is cloud.points else replace(cloud, points=points, sums=None)


def pair_of(
    x: ArrayLike,
    y: ArrayLike,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
    p: float = 2.0,
    scale: Scale = None,
) -> Pair:
    """Two checked clouds."""
    clouds, units = clouds_of([(x, weights_x, "x"), (y, weights_y, "y")], p, scale)
    return Pair(clouds[0], clouds[1], units)
