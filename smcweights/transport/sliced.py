"""Sliced Wasserstein distances: the mean over directions of a one-dimensional transport cost.

For clouds mu = sum_i a_i delta_{x_i} and nu = sum_j b_j delta_{y_j} in R^d,

    SW_p^p = E_theta int_0^1 |F_theta^{-1}(u) - G_theta^{-1}(u)|^p du,

theta uniform on the unit sphere, F_theta and G_theta the distribution functions of the projected
clouds. Directions come in independent blocks, each unbiased for SW_p^p; the standard error is that
of a mean of blocks, never that of single directions, which depend on each other within a block.

References: Bonneel, Rabin, Peyre & Pfister (2015) for the distance; Nguyen & Ho (2024), Sliced
Wasserstein estimation with control variates, arXiv 2305.00402; Leluc et al. (2024),
arXiv 2402.01493.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import PrecisionWarning
from ..estimate import Estimate
from ..execution import open_run
from ..provenance import digest, provenance
from ..randomness import generator, seed_sequence
from ..stopping import Budget, Precision, positive_count, stopping_rule
from .controls import (
    BLOCKS_PER_CONTROL,
    Control,
    Fit,
    build,
    check_means,
    fit,
    mean_squared_gap,
    projection_skewness,
)
from .directions import Plan, describe, draw, plan, wider

__all__ = [
    "Cloud",
    "Pair",
    "SlicedReference",
    "SlicedTest",
    "as_cloud",
    "chunk_rows",
    "row_costs",
    "sliced_test",
    "sliced_wasserstein",
    "sliced_wasserstein_gaussian",
    "sliced_wasserstein_matrix",
]

Array = NDArray[Any]

LARGEST_SWEEP = 2_000  # points of an exact sweep in the plane: its events are n (n - 1)
ROWS_BYTES = 2**27  # rows projected at once
TASK_NUMBERS = 2**20  # projected numbers that are worth a task of their own
FEWEST_SINGLE = 50  # directions without a rule; intervals of 20 covered 0.85, for p = 3 0.75
SEEN_SKEWNESS = 2  # true skewness over what a sample shows of it, at most
DIGEST_BYTES = 2**16  # larger clouds are told apart by a sample of their rows and a sum of all bits
SOME = 2**16  # numbers that say roughly how large a cloud is


# ------------------------------------------------------------------------------------ the clouds


@dataclass(frozen=True)
class Cloud:
    """Points (n, d) in float32 or float64, with weights (n,) of sum 1, or None where all equal.

    `mark` tells the points as they were given from others.
    """

    points: Array
    weights: Array | None
    mark: int = 0

    @cached_property
    def mean(self) -> Array:
        """(d,), float64."""
        if self.weights is None:
            return self.points.mean(axis=0, dtype=np.float64)
        return self.weights @ self.points

    @cached_property
    def size(self) -> float:
        """Mean square of the points."""
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


@dataclass(frozen=True)
class Pair:
    """Two clouds with one vector subtracted from both, which changes no distance."""

    x: Cloud
    y: Cloud

    @property
    def dimension(self) -> int:
        """Of the space."""
        return self.x.points.shape[1]

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
        eps = float(np.finfo(self.x.points.dtype).eps)
        delta = 8 * eps * max(math.sqrt(self.scale), gap)
        return float(delta**p + p * delta * gap ** (p - 1))

    def spectra(self) -> tuple[Array, Array]:
        """Covariances of both clouds in one orthonormal basis of all the directions they have."""
        n = len(self.x.points) + len(self.y.points)
        if self.dimension <= n:
            return self.x.covariance, self.y.covariance
        centred = [c.points - c.mean for c in (self.x, self.y)]
        basis, _ = np.linalg.qr(np.concatenate(centred).T.astype(np.float64))
        parts = [
            _covariance(rows @ basis, cloud.weights, np.zeros(basis.shape[1]))
            for rows, cloud in zip(centred, (self.x, self.y), strict=True)
        ]
        return parts[0], parts[1]

    def projected_variances(self, theta: Array, x: Array, y: Array) -> tuple[Array, Array]:
        """Variances of both clouds along directions (L, d), whose projected rows are x and y."""
        found = []
        for cloud, rows in ((self.x, x), (self.y, y)):
            # a product of matrices takes a thirtieth of the time of elementwise ones
            if self.dimension**2 <= 30 * len(cloud.points):
                v = np.einsum("ld,ld->l", theta @ cloud.covariance, theta)
            else:
                centred = rows - (theta @ cloud.mean)[:, None]
                squares = np.einsum("ln,ln,n->l", centred, centred, cloud.masses)
                v = squares.astype(np.float64)
            found.append(np.maximum(v, 0.0))
        return found[0], found[1]


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


def _scan(points: Array) -> tuple[float, int]:
    """Largest size of a coordinate (infinity for NaN, too), and a sum that tells clouds apart."""
    from . import kernels

    integer = np.int64 if points.dtype == np.float64 else np.int32
    bits, mark = kernels.scan(points.reshape(-1).view(integer), integer(np.iinfo(integer).max))
    size = float(np.array(bits, dtype=integer).view(points.dtype))
    return (math.inf if math.isnan(size) else size), int(mark)


def as_cloud(points: Any, weights: Any = None, name: str = "x", p: float = 2.0) -> Cloud:
    """A cloud, checked; points without weight are left out.

    float32 and float64 are kept, anything else becomes float64; a vector is a cloud on the line.
    """
    found = _numbers(name, points, "(n, d)")
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2 or found.size == 0:
        raise ValueError(f"{name}: got shape {found.shape}; expected (n, d), or (n,) on the line")
    found = np.ascontiguousarray(found)
    size, mark = _scan(found)
    if size == math.inf:
        row, column = (int(i) for i in np.argwhere(~np.isfinite(found))[0])
        raise ValueError(
            f"{name}: point {row} has {found[row, column]} as coordinate {column}; expected finite "
            "numbers"
        )
    a = _masses(weights, len(found), name)
    if a is not None and not a.all():
        found, a = found[a > 0], a[a > 0]
        size, _ = _scan(found)
    largest = 10 ** (140 / max(p, 2))
    if size > 0 and not 1 / largest < size < largest:
        raise ValueError(
            f"{name}: has coordinates of size {size:.3g}; expected sizes from {1 / largest:.0e} to "
            f"{largest:.0e}, whose powers are numbers still: use other units"
        )
    return Cloud(found, None if a is None or np.ptp(a) == 0 else a, mark)


def _numbers(name: str, given: Any, shape: str) -> Array:
    """Numbers as float32 where they are, else as float64."""
    try:
        found = np.asarray(given)
        if found.dtype not in (np.float32, np.float64):
            if np.iscomplexobj(found):
                raise TypeError("they are complex")
            found = np.asarray(found, dtype=np.float64)
        if np.ma.is_masked(given):
            raise TypeError("some are masked; leave them out")
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array of numbers, shape {shape} ({error})") from None
    return found


def _masses(weights: Any, count: int, name: str) -> Array | None:
    """Weights of sum 1, checked."""
    if weights is None:
        return None
    where = f"weights_{name}"
    a = _numbers(where, weights, f"({count},)").astype(np.float64)
    if a.shape != (count,):
        raise ValueError(f"{where}: got shape {a.shape}; expected ({count},)")
    if not np.isfinite(a).all() or (a < 0).any():
        i = int(np.argmax(~np.isfinite(a) | (a < 0)))
        raise ValueError(f"{where}: entry {i} is {a[i]}; expected finite numbers from 0")
    if not a.any():
        raise ValueError(f"{where}: all are 0; expected a positive sum")
    # the sum itself may be too large a number
    a /= a.max()
    return a / a.sum()


def _centre(clouds: Sequence[Cloud]) -> Array | None:
    """A vector to subtract from all of them, or None where they are near the origin."""
    centre = np.add.reduce([cloud.rough[0] for cloud in clouds]) / len(clouds)
    length = float(centre @ centre)
    spread = sum(
        square - 2 * float(mean @ centre) + length for mean, square in (c.rough for c in clouds)
    )
    return centre if length > 4 * spread else None


def _moved(cloud: Cloud, dtype: Any, centre: Array | None) -> Cloud:
    if centre is None and cloud.points.dtype == dtype:
        return cloud
    points = cloud.points.astype(dtype, copy=False)
    if centre is not None:
        points = (points - centre).astype(dtype)
    return Cloud(points, cloud.weights, cloud.mark)


def clouds_of(given: Sequence[tuple[Any, Any, str]], p: float = 2.0) -> list[Cloud]:
    """Clouds from (points, weights, name) with one vector subtracted from all of them."""
    found = [as_cloud(*entry, p) for entry in given]
    dimension = found[0].points.shape[1]
    for cloud, (_, _, name) in zip(found, given, strict=True):
        if cloud.points.shape[1] != dimension:
            raise ValueError(
                f"{name}: has points in {cloud.points.shape[1]} dimensions, {given[0][2]} in "
                f"{dimension}"
            )
    dtype = np.result_type(*(cloud.points.dtype for cloud in found))
    centre = _centre(found)
    return [_moved(cloud, dtype, centre) for cloud in found]


def pair_of(x: Any, y: Any, weights_x: Any, weights_y: Any, p: float = 2.0) -> Pair:
    """Two checked clouds."""
    first, second = clouds_of([(x, weights_x, "x"), (y, weights_y, "y")], p)
    return Pair(first, second)


# -------------------------------------------------------------------------------- one direction


def chunk_rows(dimension: int, points: int, itemsize: int) -> int:
    """Rows that are projected at once: thin blocks starve matrix products, thick ones caches."""
    if dimension <= 10:
        base = min(max(2**15 // points, 8), 64)
    else:
        base = 64 if dimension <= 100 else 128
    return int(min(base, max(ROWS_BYTES // (points * itemsize), 1)))


def task_blocks(pair: Pair, current: Plan) -> int:
    """Blocks of a task: enough to be worth one, in tasks of about the same size."""
    n = len(pair.x.points) + len(pair.y.points)
    chunk = chunk_rows(pair.dimension, n, pair.x.points.dtype.itemsize)
    rows = max(chunk, min(TASK_NUMBERS // n, 1024))
    tasks = math.ceil(current.blocks / max(rows // current.lines, 1))
    if current.total * n > TASK_NUMBERS:
        tasks = max(tasks, min(2, current.blocks))
    return math.ceil(current.blocks / tasks)


def row_costs(x: Cloud, y: Cloud, rows_x: Array, rows_y: Array, p: float) -> Array:
    """One-dimensional transport costs (L,) of projected rows (L, n) and (L, m).

    Rows of unweighted clouds have to be sorted.
    """
    from . import kernels

    out = np.empty(len(rows_x))
    if x.weights is None and y.weights is None:
        same = rows_x.shape[1] == rows_y.shape[1]
        (kernels.equal_rows if same else kernels.unequal_rows)(rows_x, rows_y, p, out)
        return out
    orders = rows_x.argsort(axis=1), rows_y.argsort(axis=1)
    kernels.weighted_rows(rows_x, rows_y, *orders, x.masses, y.masses, p, out)
    return out


def _costs(pair: Pair, controls: Sequence[Control], theta: Array, p: float) -> Array:
    """Costs and controls (L, 1 + k) along directions (L, d)."""
    count = sum(control.count for control in controls)
    out = np.empty((len(theta), 1 + count))
    n = len(pair.x.points) + len(pair.y.points)
    dtype = pair.x.points.dtype
    step = chunk_rows(pair.dimension, n, dtype.itemsize)
    plain = pair.x.weights is None and pair.y.weights is None
    # memory that is used again need not be cleared again
    rows_x, rows_y = (
        np.empty((min(step, len(theta)), len(cloud.points)), dtype) for cloud in (pair.x, pair.y)
    )
    for first in range(0, len(theta), step):
        block = theta[first : first + step]
        narrow = block.astype(dtype)
        x = np.matmul(narrow, pair.x.points.T, out=rows_x[: len(block)])
        y = np.matmul(narrow, pair.y.points.T, out=rows_y[: len(block)])
        at = 1
        for control in controls:
            out[first : first + step, at : at + control.count] = control.values(block, x, y)
            at += control.count
        if plain:
            x.sort(axis=1)
            y.sort(axis=1)
        out[first : first + step, 0] = row_costs(pair.x, pair.y, x, y, p)
    return out


@dataclass(frozen=True)
class _Task:
    """Costs along the directions of some blocks: what an executor is sent."""

    pair: Pair
    controls: tuple[Control, ...]
    p: float
    root: np.random.SeedSequence

    def __call__(self, current: tuple[Any, ...], round_number: int, first: int, blocks: int) -> Any:
        rng = generator(self.root, "directions", round_number, first)
        rule = Plan(*current)
        theta = draw(rule, blocks, rng, first)
        return _costs(self.pair, self.controls, theta.reshape(-1, theta.shape[-1]), self.p)


def _evaluated(run: Any, pair: Pair, current: Plan, round_number: int) -> Array:
    """Costs and controls (B, lines, 1 + k) of a round of blocks."""
    each = task_blocks(pair, current)
    as_tuple = (
        current.kind, current.dimension, current.blocks, current.lines, current.degree,
        current.given,
    )  # fmt: skip
    starts = range(0, current.blocks, each)
    jobs = [(as_tuple, round_number, a, min(each, current.blocks - a)) for a in starts]
    parts = run.map(f"round {round_number}", jobs, [job[3] * current.lines for job in jobs])
    return np.concatenate(parts).reshape(current.blocks, current.lines, -1)


# -------------------------------------------------------------------------------- the distance


def sliced_wasserstein(
    x: ArrayLike,
    y: ArrayLike,
    budget: int | None = None,
    *,
    p: float = 2,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
    precision: Precision | None = None,
    control_variates: Any = "auto",
    directions: Any = "auto",
    root: bool = True,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
) -> Estimate:
    """Sliced Wasserstein distance between two clouds of points.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Points; vectors are clouds on the line. float32 and float64 are computed with as they are,
        anything else as float64.
    budget : int, optional
        Most directions to be used, or `precision`. Not needed where the result is exact.
    p : float, at least 1, default 2
        Order of the distance.
    weights_x, weights_y : array_like, shapes (n,) and (m,), optional
        Non-negative; normalised to sum 1. Default: equal.
    precision : Precision, optional
        Blocks of directions until the interval is narrow enough.
    control_variates : "auto", False, str, tuple, or list of these
        "lower" and "upper" (the bounds of Nguyen & Ho), "parts", "gaussian" (the distance of the
        fitted Gaussians), "power", "point_mass", ("harmonics", degree), (function, mean) with a
        function of directions (L, d) -> (L,) or (L, k). At most one function per eight blocks is
        used; coefficients come from the other blocks. "auto": "gaussian" in four dimensions and
        more, none below.
    directions : str or array_like, default "auto"
        "uniform", "orthogonal" (blocks of orthonormal directions), "sobol", "rule" (a rule on the
        sphere, turned at random: angles in the plane, Lebedev's in space, of degree 5 above),
        "exact" (on the line, and in the plane for p = 2 and two unweighted clouds of the same
        size), or unit vectors of shape (L, d), or (blocks, lines, d) where the blocks are
        independent. "auto": exact up to 2,000 points in the plane, rules in two and three
        dimensions, orthogonal blocks above.
    root : bool, default True
        SW_p; else its p-th power, which is estimated without bias.
    seed : None, int, SeedSequence or Generator
        The result depends on it and on the other arguments only.
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where blocks are computed; sorting and matrix products run beside each other in threads.
    progress : bool, optional
        A progress bar; by default on a terminal or in a notebook for runs over 2 s.

    Returns
    -------
    Estimate
        A scalar, with Student's interval over blocks. Diagnostics: directions used, blocks, degree
        of the rule, controls kept and dropped with their coefficients, the variance gain over
        independent directions, and ``power``, the estimate of SW_p^p.

    Raises
    ------
    ValueError, TypeError
        An argument is wrong; the message says where.

    Warns
    -----
    PrecisionWarning
        One block only: no standard error. Or the clouds can't be told apart, or directions
        without a rule are few.

    References
    ----------
    Nguyen & Ho (2024), arXiv 2305.00402; Lebedev (1976); Leluc et al. (2024), arXiv 2402.01493.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(200, 3))
    >>> estimate = smw.sliced_wasserstein(x, x + [3.0, 0.0, 0.0], 200, seed=1)
    >>> bool(abs(estimate.value - np.sqrt(3)) < 1e-9)  # |v| / sqrt(d)
    True
    """
    began = time.perf_counter()
    p = checked_order(p)
    if not isinstance(root, bool | np.bool_):
        raise TypeError(f"root: got {root!r}; expected True or False")
    pair = pair_of(x, y, weights_x, weights_y, p)
    arguments = {
        "budget": budget,
        "p": p,
        "control_variates": repr(control_variates),
        "directions": directions if isinstance(directions, str) else digest(directions),
        "root": bool(root),
    }
    exact = _exact(pair, p, directions)
    # the sweep subtracts squares of coordinates, large ones where a point is far from all others
    noise = 8 * float(np.finfo(np.float64).eps) * pair.scale
    if exact is None or pair.dimension == 1 or not noise < exact < 1e6 * noise:
        noise = 0.0
    if noise and directions == "auto" and (budget is not None or precision is not None):
        exact = None
    if exact is not None:
        cautions = []
        if noise:
            cautions.append(
                f"points far from the others leave an error of {noise:.2g} in SW_2^2 by rounding; "
                "directions='rule' has less"
            )
            warnings.warn(f"sliced_wasserstein: {cautions[0]}", PrecisionWarning, stacklevel=2)
        diagnostics = {"directions": "exact", "power": exact, "warnings": cautions}
        value = exact ** (1 / p) if root else exact
        return Estimate(
            value,
            (noise / (2 * value) if root else noise) ** 2 if noise else 0.0,
            method="sliced Wasserstein distance, exact",
            diagnostics=diagnostics,
            cost={"evaluations": 1, "seconds": time.perf_counter() - began},
            provenance=provenance(
                "sliced_wasserstein", seed_sequence(seed), arguments, data=_fingerprint(pair)
            ),
        )
    rule = (
        None
        if not isinstance(directions, str) and budget is None and precision is None
        else (stopping_rule(budget, precision))
    )
    automatic = isinstance(control_variates, str) and control_variates == "auto"
    request = ("gaussian" if pair.dimension > 3 else False) if automatic else control_variates
    controls = tuple(build(request, pair, p))
    fixed = p == 2 and len(controls) == 1 and controls[0].name == "gaussian"
    fewest = 5
    if controls and not fixed:
        fewest = BLOCKS_PER_CONTROL * min(sum(c.count for c in controls), 4)
    if isinstance(rule, Precision):
        if not isinstance(directions, str):
            raise ValueError("precision: goes with directions drawn here, not with given ones")
        current = plan(directions, pair.dimension, None)
    else:
        total = None if rule is None else rule.total
        current = plan(directions, pair.dimension, total, fewest=fewest)
    most = rule.max_budget if isinstance(rule, Precision) else current.total
    seeds = seed_sequence(seed)
    task = _Task(pair, controls, p, seeds)
    with open_run(
        task,
        executor=executor,
        progress=progress,
        seed=seeds,
        total=None if isinstance(rule, Precision) else current.total,
        unit="directions",
        description="sliced Wasserstein",
    ) as run:
        table = _evaluated(run, pair, current, 1)
        used, rounds = current.total, 1
        found = _Result(pair, p, current, controls, fixed, bool(root), table)
        while isinstance(rule, Precision) and used < most and not found.all_rounding:
            half = found.half_width(rule.level)
            size = rule.next_size(found.value, half, table.shape[0] * current.lines, used)
            if size == 0:
                break
            rounds += 1
            # a rule of higher degree gains more than more blocks; its pilot is left out
            larger = wider(current) if size > 2 * current.total and rounds < 6 else None
            if larger is not None and used + larger.total <= most:
                current = larger
                table = _evaluated(run, pair, current, rounds)
                used += current.total
            else:
                blocks = min(math.ceil(size / current.lines), (most - used) // current.lines)
                if blocks < 1:
                    break
                more = Plan(current.kind, current.dimension, blocks, current.lines, current.degree)
                table = np.concatenate([table, _evaluated(run, pair, more, rounds)])
                used += more.total
            found = _Result(pair, p, current, controls, fixed, bool(root), table)
    cautions = list(found.cautions)
    if isinstance(rule, Precision):
        allowed = rule.half_widths(found.value)
        if not found.half_width(rule.level) <= allowed:
            cautions.append(
                "the precision was not reached: no direction shows more than rounding"
                if found.all_rounding
                else f"the precision was not reached within max_budget={rule.max_budget} directions"
            )
    return found.estimate(
        cautions,
        {"evaluations": used, "seconds": time.perf_counter() - began, "stages": rounds},
        provenance("sliced_wasserstein", seeds, arguments, data=_fingerprint(pair)),
    )


def checked_order(p: Any) -> float:
    """The order of a distance."""
    if isinstance(p, bool) or not isinstance(p, int | float | np.integer | np.floating):
        raise TypeError(f"p: got {p!r}; expected a number from 1")
    if not 1 <= p < math.inf:
        raise ValueError(f"p: got {p!r}; expected a finite number from 1")
    return float(p)


def _fingerprint(pair: Pair) -> list[Array]:
    """What tells clouds apart: their points; of large ones, some of them and a sum of all bits."""
    parts: list[Any] = []
    for cloud in (pair.x, pair.y):
        points = cloud.points
        if points.nbytes > DIGEST_BYTES:
            points = points[:: math.ceil(points.nbytes / DIGEST_BYTES)]
        parts += [points, np.array([len(cloud.points), cloud.mark])]
        if cloud.weights is not None:
            parts.append(cloud.weights)
    return parts


def _exact(pair: Pair, p: float, directions: Any) -> float | None:
    """SW_p^p where it has a closed form that is asked for, or None."""
    asked = isinstance(directions, str) and directions == "exact"
    if pair.dimension == 1:
        return float(_costs(pair, (), np.ones((1, 1)), p)[0, 0])
    unweighted = pair.x.weights is None and pair.y.weights is None
    n = len(pair.x.points)
    sweeps = pair.dimension == 2 and p == 2 and unweighted and n == len(pair.y.points)
    if asked and not sweeps:
        raise ValueError(
            "directions: 'exact' serves d = 1, and d = 2 with p = 2 and two unweighted clouds of "
            f"the same size; here d = {pair.dimension}, p = {p:g}, sizes {n} and "
            f"{len(pair.y.points)}"
        )
    automatic = isinstance(directions, str) and directions == "auto" and n <= LARGEST_SWEEP
    return _sweep(pair) if sweeps and (asked or automatic) else None


def _sweep(pair: Pair) -> float:
    """SW_2^2 in the plane by all angles at which the order of a projected cloud changes."""
    from . import kernels

    clouds = [np.asarray(c.points, dtype=np.float64) for c in (pair.x, pair.y)]
    n = len(clouds[0])
    angles, first, second, orders = [], [], [], []
    i, j = np.triu_indices(n, 1)
    for k, points in enumerate(clouds):
        gap = points[j] - points[i]
        differ = (gap != 0).any(axis=1)
        angle = np.mod(np.arctan2(gap[differ, 1], gap[differ, 0]) + math.pi / 2, math.pi)
        angles.append(angle)
        first.append(i[differ] + k * n)
        second.append(j[differ] + k * n)
        # the order just after angle 0
        orders.append(np.lexsort((points[:, 1], points[:, 0])))
    angle = np.concatenate(angles)
    tolerance = 1e-13
    inside = (angle > tolerance) & (angle < math.pi - tolerance)
    angle = angle[inside]
    order = np.argsort(angle)
    total = kernels.sweep_plane(
        clouds[0],
        clouds[1],
        orders[0],
        orders[1],
        angle[order],
        np.concatenate(first)[inside][order],
        np.concatenate(second)[inside][order],
        tolerance,
    )
    squares = sum(float((points**2).sum()) for points in clouds)
    return max(squares / (2 * n) - 2 * total / (math.pi * n), 0.0)


def _too_few(current: Plan, p: float, costs: Array, fitted: bool = False) -> list[str]:
    """A caution where directions without a rule are few for costs (N,) as skewed as these.

    An interval over N directions loses some 0.2 skewness^2/N of its coverage, a little more where
    the coefficients of controls are fitted: 0.02 are let be. A sample that is too small for a long
    tail shows only a part of its skewness; no more than that of a shifted cloud is expected. Less
    than a block too few is what budgets lose to whole blocks.
    """
    if current.kind not in ("uniform", "orthogonal", "sobol"):
        return []
    gaps = costs - costs.mean()
    spread = math.sqrt(float(np.mean(gaps**2)))
    seen = abs(float(np.mean((gaps / spread) ** 3))) if spread > 0 else 0.0
    skewness = min(SEEN_SKEWNESS * seen, projection_skewness(current.dimension, p, fitted))
    enough = max(FEWEST_SINGLE, (15 if fitted else 10) * skewness**2)
    if costs.size + current.lines > enough:
        return []
    return [
        f"the interval may cover less than it says: {costs.size} directions are few for skewed "
        f"costs, {enough:.0f} would do for p = {p:g}"
    ]


class _Result:
    """Blocks turned into an estimate."""

    def __init__(
        self,
        pair: Pair,
        p: float,
        current: Plan,
        controls: tuple[Control, ...],
        fixed: bool,
        root: bool,
        table: Array,
    ) -> None:
        self.p, self.plan, self.root, self.table = p, current, root, table
        self.cautions: list[str] = []
        weights = current.weights
        blocks = np.einsum("blk,l->bk", table, weights)
        costs, rest = blocks[:, 0], blocks[:, 1:]
        count = len(costs)
        self.floor = pair.rounding(p, float(costs.mean()))
        self.all_rounding = bool(costs.mean() <= 3 * self.floor)
        if self.all_rounding:
            # there is nothing to correct but the rounding of the controls
            controls, fixed = (), False
        kept: list[Control] = []
        columns: list[int] = []
        self.dropped: list[str] = []
        at = 0
        room = count // BLOCKS_PER_CONTROL
        for control in controls:
            if fixed or len(columns) + control.count <= room:
                kept.append(control)
                columns += range(at, at + control.count)
            else:
                self.dropped.append(control.name)
            at += control.count
        self.kept = kept
        self.quadrature = 0.0
        if self.dropped:
            self.cautions.append(
                f"control variates {', '.join(self.dropped)} were left out: {count} blocks allow "
                f"{room} functions, one for every {BLOCKS_PER_CONTROL} blocks"
            )
        if kept:
            rows = rest[:, columns]
            orders = np.array([c.order for c in kept for _ in range(c.count)])
            sizes = np.where(orders > 0, pair.scale ** (orders / 2), np.abs(rows).max(axis=0))
            starts = np.cumsum([0, *(control.count for control in kept[:-1])])

            def corrected(centred: Array) -> Fit:
                if fixed:
                    return Fit(costs - centred[:, 0], 0, np.ones(1))
                return fit(costs, centred, sizes)

            # the error of what is left hardly changes with the means, which are needed to a
            # hundredth of it
            first = corrected(rows - rows.mean(axis=0))
            left = first.blocks.std(ddof=1) / math.sqrt(count) if count > 1 else abs(costs[0])
            largest = np.maximum.reduceat(np.abs(first.coefficients), starts)
            allowed = 0.01 * float(left) / np.maximum(largest, 1e-300 * max(float(left), 1.0))
            known = [
                control.means(float(most)) for control, most in zip(kept, allowed, strict=True)
            ]
            for control, at, (mean, _) in zip(kept, starts, known, strict=True):
                if control.name == "own":
                    own = [1 + column for column in columns[at : at + control.count]]
                    check_means(control, table[:, :, own], weights, mean)
            result = corrected(rows - np.concatenate([mean for mean, _ in known]))
            self.quadrature = float(sum(largest * [error for _, error in known]))
        else:
            result = Fit(costs, 0, np.zeros(0))
        self.coefficients = result.coefficients
        self.power = float(result.blocks.mean())
        self.freedom = float(current.degrees_of_freedom(count - result.fitted))
        if count > 1:
            error = result.blocks.std(ddof=1) / math.sqrt(count)
            # a quadrature that did not settle is an error too
            self.error = math.sqrt(max(error, self.floor) ** 2 + self.quadrature**2)
            nodes = np.tile(weights, count) / count
            costs_all = table[..., 0].ravel()
            spread = float(nodes @ costs_all**2 - (nodes @ costs_all) ** 2)
            alone = max(spread, 0.0) / costs_all.size
            self.gain = alone / self.error**2 if self.error > 0 else math.nan
            if error > self.floor:
                fitted = bool(kept) and not fixed
                single = costs_all - table[..., 1].ravel() if fixed else costs_all
                self.cautions += _too_few(current, p, single, fitted)
        else:
            self.error = self.gain = math.nan
            self.cautions.append(
                "one block of directions has no standard error: its directions depend on each "
                "other. More directions, or given ones of shape (blocks, lines, d), would have one"
            )

    @property
    def value(self) -> float:
        """The distance, or its power."""
        return max(self.power, 0.0) ** (1 / self.p) if self.root else self.power

    def bounds(self, level: float) -> tuple[float, float]:
        """Interval of the distance: that of its power, transformed."""
        from scipy.special import stdtrit

        half = stdtrit(self.freedom, (1 + level) / 2) * self.error
        lower, upper = self.power - half, self.power + half
        if self.root:
            lower, upper = max(lower, 0.0) ** (1 / self.p), max(upper, 0.0) ** (1 / self.p)
        return lower, upper

    def half_width(self, level: float) -> float:
        """How far the interval reaches from the value."""
        if math.isnan(self.error):
            return math.inf
        lower, upper = self.bounds(level)
        return max(self.value - lower, upper - self.value)

    def estimate(
        self, cautions: list[str], cost: dict[str, Any], source: dict[str, Any]
    ) -> Estimate:
        """The estimate, with a warning where it can't be promised."""
        from scipy.special import stdtrit

        error = self.error
        if self.root and not math.isnan(error):
            if self.power > 3 * error:
                error = error * self.power ** (1 / self.p - 1) / self.p
            else:
                lower, upper = self.bounds(0.95)
                reach = max(self.value - lower, upper - self.value)
                error = reach / stdtrit(self.freedom, 0.975)
                cautions.append(
                    "the clouds can't be told from equal ones: SW_p^p is within three standard "
                    "errors of 0"
                )
        diagnostics = {
            **describe(self.plan),
            "blocks": self.table.shape[0],
            "directions_used": self.table.shape[0] * self.plan.lines,
            "control_variates": [control.name for control in self.kept],
            "coefficients": self.coefficients,
            "dropped": self.dropped,
            "power": self.power,
            "power_standard_error": self.error,
            "gain_over_independent_directions": self.gain,
            "quadrature_error": self.quadrature,
            "warnings": cautions,
        }
        if cautions:
            warnings.warn(
                f"{source['method']}: {'; '.join(cautions)}", PrecisionWarning, stacklevel=3
            )
        return Estimate(
            self.value,
            error**2,
            method="sliced Wasserstein distance",
            degrees_of_freedom=self.freedom,
            diagnostics=diagnostics,
            cost=cost,
            provenance=source,
        )


# -------------------------------------------------------------------------------- Gaussian laws


def sliced_wasserstein_gaussian(
    mean_x: ArrayLike,
    cov_x: ArrayLike,
    mean_y: ArrayLike,
    cov_y: ArrayLike,
    *,
    root: bool = True,
) -> float:
    """Sliced Wasserstein distance of order 2 between two Gaussian laws, exactly.

    Parameters
    ----------
    mean_x, mean_y : array_like, shape (d,)
    cov_x, cov_y : array_like, shape (d, d)
        Symmetric and positive semi-definite.
    root : bool, default True
        SW_2; else its square.

    Returns
    -------
    float
        |mean_x - mean_y|^2/d + E (sqrt(theta'cov_x theta) - sqrt(theta'cov_y theta))^2, the last by
        a double integral. Nothing cancels: it errs by 1e-11 of itself, and by what rounding leaves
        of the differences of the means and of the covariances.

    Raises
    ------
    ValueError
        Shapes, symmetry or signs are wrong.

    Examples
    --------
    >>> import numpy as np
    >>> round(sliced_wasserstein_gaussian([0, 0, 0], np.eye(3), [3, 0, 0], np.eye(3)), 9)
    1.732050808
    """
    means, covariances = [], []
    for name, mean, cov in (("x", mean_x, cov_x), ("y", mean_y, cov_y)):
        m = np.atleast_1d(_numbers(f"mean_{name}", mean, "(d,)")).astype(np.float64)
        c = np.atleast_2d(_numbers(f"cov_{name}", cov, "(d, d)")).astype(np.float64)
        if m.ndim != 1 or m.size == 0 or c.shape != (len(m), len(m)):
            raise ValueError(
                f"cov_{name}: got shape {c.shape} with a mean of shape {m.shape}; expected (d, d) "
                "and (d,), d from 1"
            )
        if not (np.isfinite(m).all() and np.isfinite(c).all()):
            raise ValueError(f"mean_{name}, cov_{name}: expected finite numbers")
        size = max(float(np.trace(c)), 1e-300)
        if np.abs(c - c.T).max() > 1e-9 * size:
            raise ValueError(f"cov_{name}: not symmetric")
        c = (c + c.T) / 2
        if np.linalg.eigvalsh(c)[0] < -1e-9 * size:
            raise ValueError(f"cov_{name}: not positive semi-definite")
        means.append(m)
        covariances.append(c)
    if len(means[0]) != len(means[1]):
        raise ValueError(f"mean_y: has {len(means[1])} entries, mean_x {len(means[0])}")
    d = len(means[0])
    shift = means[0] - means[1]
    # in units of their own no square leaves the range of numbers
    unit = max(np.abs(shift).max(), *(math.sqrt(np.trace(c)) for c in covariances)) or 1.0
    shift, (a, b) = shift / unit, covariances
    power = float(shift @ shift) / d + mean_squared_gap(a / unit / unit, b / unit / unit)
    return float(math.sqrt(power) * unit if root else power * unit * unit)


# --------------------------------------------------------------- many clouds, one reference, a test


def _sorted_rows(cloud: Cloud, theta: Array) -> Array:
    rows = theta.astype(cloud.points.dtype) @ cloud.points.T
    if cloud.weights is None:
        rows.sort(axis=1)
    return rows


def _named(clouds: Any) -> tuple[list[Any], list[Any]]:
    """Names and clouds, checked."""
    if isinstance(clouds, str) or not isinstance(clouds, Iterable):
        raise TypeError(
            f"clouds: got {type(clouds).__name__}; expected a sequence or a mapping of arrays"
        )
    points = list(clouds.values() if isinstance(clouds, Mapping) else clouds)
    if len(points) < 2:
        raise ValueError(f"clouds: got {len(points)}; expected at least two")
    names = list(clouds) if isinstance(clouds, Mapping) else range(1, len(points) + 1)
    return [str(name) for name in names], points


def _weights_of(weights: Any, names: list[str], named: bool) -> list[Any]:
    """Weights of every cloud."""
    if weights is None:
        return [None] * len(names)
    if isinstance(weights, Mapping):
        if not named or not set(weights) <= set(names):
            raise ValueError(
                f"weights: got names {list(weights)}; expected "
                + (f"some of {names}" if named else "one entry per cloud, which have no names")
            )
        return [weights.get(name) for name in names]
    given = list(weights) if isinstance(weights, Iterable) else [weights]
    if len(given) != len(names):
        raise ValueError(f"weights: got {len(given)}; expected one entry per cloud, {len(names)}")
    return given


def sliced_wasserstein_matrix(
    clouds: Sequence[ArrayLike] | Mapping[str, ArrayLike],
    budget: int = 200,
    *,
    p: float = 2,
    weights: Sequence[ArrayLike | None] | Mapping[str, ArrayLike | None] | None = None,
    directions: Any = "auto",
    root: bool = True,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
) -> Estimate:
    """Sliced Wasserstein distances between all pairs of clouds, along the same directions.

    Every cloud is projected and sorted once per direction, whatever the number of pairs.

    Parameters
    ----------
    clouds : sequence, or mapping of names, of array_like, shapes (n_k, d)
        At least two.
    budget : int, default 200
        Most directions.
    p, directions, root, seed, executor, progress
        As for `sliced_wasserstein`, without "exact".
    weights : sequence, or mapping of names, of array_like or None, optional
        Weights of each cloud; names that are not in a mapping have equal ones.

    Returns
    -------
    Estimate
        One component per pair, named "a, b", with their joint covariance; the symmetric matrix
        (K, K) is ``diagnostics["matrix"]``.

    Raises
    ------
    ValueError, TypeError
        As for `sliced_wasserstein`.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(100, 3))
    >>> estimate = smw.sliced_wasserstein_matrix({"a": x, "b": x + 1, "c": 2 * x}, 100, seed=1)
    >>> estimate.names, estimate.diagnostics["matrix"].shape
    (('a, b', 'a, c', 'b, c'), (3, 3))
    """
    began = time.perf_counter()
    p = checked_order(p)
    names, points = _named(clouds)
    given = _weights_of(weights, names, isinstance(clouds, Mapping))
    found = clouds_of(
        [(c, w, f"cloud {name}") for c, w, name in zip(points, given, names, strict=True)], p
    )
    d = found[0].points.shape[1]
    pairs = [(i, j) for i in range(len(found)) for j in range(i + 1, len(found))]
    seeds = seed_sequence(seed)
    if d == 1:
        current = Plan("uniform", 1, 1, 1, 1, np.ones((1, 1, 1)))
    else:
        if isinstance(directions, str) and directions == "exact":
            raise ValueError("directions: 'exact' serves two clouds; see sliced_wasserstein")
        total = None if not isinstance(directions, str) else Budget(budget).total
        current = plan(directions, d, total)
    total_points = sum(len(c.points) for c in found)
    step = chunk_rows(d, total_points, found[0].points.dtype.itemsize)
    each = max(step // current.lines, 1)

    def costs(first: int, blocks: int) -> Array:
        rng = generator(seeds, "directions", 1, first)
        theta = draw(current, blocks, rng, first).reshape(-1, d)
        out = np.empty((len(theta), len(pairs)))
        for a in range(0, len(theta), step):
            rows = [_sorted_rows(cloud, theta[a : a + step]) for cloud in found]
            for k, (i, j) in enumerate(pairs):
                out[a : a + step, k] = row_costs(found[i], found[j], rows[i], rows[j], p)
        return out

    jobs = [(a, min(each, current.blocks - a)) for a in range(0, current.blocks, each)]
    with open_run(
        costs,
        executor=executor,
        progress=progress,
        seed=seeds,
        total=current.total,
        unit="directions",
        description="sliced Wasserstein matrix",
    ) as run:
        parts = run.map("directions", jobs, [job[1] * current.lines for job in jobs])
    table = np.concatenate(parts).reshape(current.blocks, current.lines, len(pairs))
    blocks = np.einsum("blk,l->bk", table, current.weights)
    power = blocks.mean(axis=0)
    count = len(blocks)
    cautions = []
    factor = None
    slope = np.maximum(power, 1e-300) ** (1 / p - 1) / p if root else np.ones(len(pairs))
    if d == 1:
        factor = np.zeros((len(pairs), 1))
    elif count > 1:
        factor = ((blocks - power) / math.sqrt(count * (count - 1))).T
        floor = np.array(
            [
                Pair(found[i], found[j]).rounding(p, float(cost))
                for (i, j), cost in zip(pairs, power, strict=True)
            ]
        )
        skewed = [
            caution
            for k in np.flatnonzero((factor**2).sum(axis=1) > floor**2)
            for caution in _too_few(current, p, table[..., k].ravel())
        ]
        cautions += skewed[:1]
        factor = np.concatenate([factor, floor[:, None]], axis=1)
        factor = factor * slope[:, None]
        factor[power <= 0] = 0.0
    else:
        cautions.append("one block of directions has no standard error")
        factor = np.full((len(pairs), 1), np.nan)
    value = power ** (1 / p) if root else power
    matrix = np.zeros((len(found), len(found)))
    for k, (i, j) in enumerate(pairs):
        matrix[i, j] = matrix[j, i] = value[k]
    if cautions:
        warnings.warn(
            f"sliced_wasserstein_matrix: {'; '.join(cautions)}", PrecisionWarning, stacklevel=2
        )
    return Estimate(
        value,
        factor=factor,
        names=[f"{names[i]}, {names[j]}" for i, j in pairs],
        method="sliced Wasserstein distances",
        degrees_of_freedom=current.degrees_of_freedom(count),
        diagnostics={**describe(current), "matrix": matrix, "warnings": cautions},
        cost={"evaluations": current.total, "seconds": time.perf_counter() - began},
        provenance=provenance(
            "sliced_wasserstein_matrix",
            seeds,
            {"budget": budget, "p": p, "root": bool(root)},
            data=[part for c in found for part in (c.points[:1000], c.mean)],
        ),
    )


class SlicedReference:
    """A cloud whose sorted projections are kept: distances of other clouds to it cost half.

    Parameters
    ----------
    y : array_like, shape (m, d)
        The reference.
    budget : int, default 200
        Most directions; the projections take 8 bytes times directions times m.
    p, directions, seed
        As for `sliced_wasserstein`, without "exact".
    weights : array_like, shape (m,), optional
        Of the points of y.

    Raises
    ------
    ValueError, TypeError
        As for `sliced_wasserstein`.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> y = np.random.default_rng(1).normal(size=(300, 3))
    >>> reference = smw.SlicedReference(y, 200, seed=1)
    >>> round(float(reference.distance(y + 1).value), 6)  # |v| / sqrt(d)
    1.0
    """

    def __init__(
        self,
        y: ArrayLike,
        budget: int = 200,
        *,
        p: float = 2,
        weights: ArrayLike | None = None,
        directions: Any = "auto",
        seed: Any = None,
    ) -> None:
        self.p = checked_order(p)
        given = as_cloud(y, weights, "y", self.p)
        self._centre = _centre([given])
        self.cloud = _moved(given, given.points.dtype, self._centre)
        self.dimension = given.points.shape[1]
        self._seed = seed_sequence(seed)
        if isinstance(directions, str) and directions == "exact":
            raise ValueError("directions: 'exact' has no projections to keep")
        if self.dimension == 1:
            self.plan = Plan("uniform", 1, 1, 1, 1, np.ones((1, 1, 1)))
        else:
            total = Budget(budget).total if isinstance(directions, str) else None
            self.plan = plan(directions, self.dimension, total)
        theta = draw(self.plan, self.plan.blocks, generator(self._seed, "directions"))
        self.directions = theta.reshape(-1, self.dimension)
        self._rows = _sorted_rows(self.cloud, self.directions)

    def distance(
        self, x: ArrayLike, *, weights: ArrayLike | None = None, root: bool = True
    ) -> Estimate:
        """Sliced Wasserstein distance of a cloud x (n, d) to the reference.

        Estimates from one reference share its directions: their errors are dependent.

        Raises
        ------
        ValueError, TypeError
            The cloud or its weights are wrong.
        """
        began = time.perf_counter()
        given = as_cloud(x, weights, "x", self.p)
        if given.points.shape[1] != self.dimension:
            raise ValueError(
                f"x: has points in {given.points.shape[1]} dimensions, the reference in "
                f"{self.dimension}"
            )
        cloud = _moved(given, self.cloud.points.dtype, self._centre)
        step = chunk_rows(self.dimension, 2 * len(cloud.points), cloud.points.dtype.itemsize)
        costs = np.concatenate(
            [
                row_costs(
                    cloud,
                    self.cloud,
                    _sorted_rows(cloud, self.directions[a : a + step]),
                    self._rows[a : a + step],
                    self.p,
                )
                for a in range(0, len(self.directions), step)
            ]
        )
        pair = Pair(cloud, self.cloud)
        source = provenance(
            "SlicedReference.distance",
            self._seed,
            {"p": self.p, "root": bool(root)},
            data=_fingerprint(pair),
        )
        cost = {"evaluations": self.plan.total, "seconds": time.perf_counter() - began}
        if self.dimension == 1:
            value = float(costs[0])
            return Estimate(
                value ** (1 / self.p) if root else value,
                0.0,
                method="sliced Wasserstein distance, exact",
                cost=cost,
                provenance=source,
            )
        table = costs.reshape(self.plan.blocks, self.plan.lines, 1)
        found = _Result(pair, self.p, self.plan, (), False, bool(root), table)
        return found.estimate(list(found.cautions), cost, source)


@dataclass(frozen=True)
class SlicedTest:
    """A two-sample permutation test.

    Attributes
    ----------
    statistic : float
        SW_p^p of the two samples along the directions used.
    p_value : float
        (1 + permutations at least as large) / (1 + permutations): exact at every sample size.
    permuted : ndarray
        The statistics of the permutations.
    """

    statistic: float
    p_value: float
    permuted: Array


def sliced_test(
    x: ArrayLike,
    y: ArrayLike,
    budget: int = 50,
    *,
    permutations: int = 999,
    p: float = 2,
    directions: Any = "auto",
    seed: Any = None,
) -> SlicedTest:
    """Permutation test of whether two samples come from one law, by their sliced distance.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Samples, without weights.
    budget : int, default 50
        Most directions; the test is exact for any number of them.
    permutations : int, default 999
    p, directions, seed
        As for `sliced_wasserstein`.

    Returns
    -------
    SlicedTest

    Raises
    ------
    ValueError, TypeError
        As for `sliced_wasserstein`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> x, y = rng.normal(size=(60, 2)), rng.normal(size=(80, 2)) + 1
    >>> sliced_test(x, y, seed=1).p_value
    0.001
    """
    from . import kernels

    p = checked_order(p)
    count = positive_count(permutations, "permutations")
    pair = pair_of(x, y, None, None, p)
    seeds = seed_sequence(seed)
    d, n = pair.dimension, len(pair.x.points)
    if d == 1:
        theta, weights = np.ones((1, 1)), np.ones(1)
    else:
        rule = plan(directions, d, Budget(budget).total if isinstance(directions, str) else None)
        theta = draw(rule, rule.blocks, generator(seeds, "directions")).reshape(-1, d)
        weights = np.tile(rule.weights, rule.blocks) / rule.blocks
    pooled = np.concatenate([pair.x.points, pair.y.points]).astype(np.float64)
    rows = np.ascontiguousarray(theta @ pooled.T)
    rows.sort(axis=1)
    order = np.argsort(theta @ pooled.T, axis=1)
    rng = generator(seeds, "permutations")
    labels = np.zeros(len(pooled), dtype=bool)
    labels[:n] = True
    out = np.empty(len(theta))
    found = np.empty(count + 1)
    for k in range(count + 1):
        kernels.split_rows(rows, order, labels if k == 0 else rng.permutation(labels), n, p, out)
        found[k] = weights @ out
    # equal up to rounding counts as at least as large
    larger = int((found[1:] >= found[0] * (1 - 1e-12)).sum())
    return SlicedTest(float(found[0]), (1 + larger) / (1 + count), found[1:])
