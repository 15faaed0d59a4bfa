"""Sliced Wasserstein distances of several clouds: between all pairs, and to one that stays."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import flag, number
from ..cautions import Caution, tell
from ..estimate import Estimate
from ..execution import open_run
from ..provenance import provenance
from ..randomness import Seed, generator, seed_sequence
from .clouds import Cloud, Pair, as_cloud, centre_of, clouds_of, columns_of, moved
from .costs import chunk_rows, row_costs, sorted_rows
from .directions import SINGLE_BLOCK, Directions, draw, plan, too_few
from .sliced import Question, exact_estimate, mean_of_blocks

__all__ = ["SlicedReference", "sliced_wasserstein_matrix"]

Array = NDArray[Any]
Clouds = Sequence[ArrayLike] | Mapping[str, ArrayLike]
Weights = Sequence[ArrayLike | None] | Mapping[str, ArrayLike | None] | None


@dataclass(frozen=True)
class _PairCosts:
    """Costs (L, pairs) between several clouds along the directions of some blocks."""

    clouds: Sequence[Cloud]
    pairs: Sequence[tuple[int, int]]
    p: float
    directions: Directions
    step: int
    root: np.random.SeedSequence

    def __call__(self, first: int, count: int) -> Array:
        rng = generator(self.root, "directions", 1, first)
        theta = draw(self.directions, count, rng, first).reshape(-1, self.directions.dimension)
        out = np.empty((len(theta), len(self.pairs)))
        for a in range(0, len(theta), self.step):
            rows = [sorted_rows(cloud, theta[a : a + self.step]) for cloud in self.clouds]
            for k, (i, j) in enumerate(self.pairs):
                x, y = self.clouds[i], self.clouds[j]
                out[a : a + self.step, k] = row_costs(x, y, rows[i], rows[j], self.p)
        return out


def sliced_wasserstein_matrix(
    clouds: Clouds,
    budget: int = 200,
    *,
    p: float = 2,
    weights: Weights = None,
    directions: str | ArrayLike = "auto",
    root: bool = True,
    seed: Seed = None,
    executor: Executor | str | None = None,
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
    p, root = number("p", p, 1, ends=True), flag("root", root)
    names, found = _clouds(clouds, weights, p)
    pairs = [(i, j) for i in range(len(found)) for j in range(i + 1, len(found))]
    seeds = seed_sequence(seed)
    d, itemsize = found[0].points.shape[1], found[0].points.dtype.itemsize
    current = plan(directions, d, budget)
    step = chunk_rows(d, sum(len(c.points) for c in found), itemsize)
    each = max(step // current.lines, 1)
    jobs = [(a, min(each, current.blocks - a)) for a in range(0, current.blocks, each)]
    with open_run(
        _PairCosts(found, pairs, p, current, step, seeds),
        executor=executor,
        progress=progress,
        seed=seeds,
        total=current.total,
        unit="directions",
        description="sliced Wasserstein matrix",
    ) as run:
        parts = run.map("directions", jobs, [job[1] * current.lines for job in jobs])
    table = np.concatenate(parts).reshape(current.blocks, current.lines, len(pairs))
    power = np.einsum("blk,l->bk", table, current.weights).mean(axis=0)
    both = [Pair(found[i], found[j]) for i, j in pairs]
    floor = np.array([pair.rounding(p, cost) for pair, cost in zip(both, power, strict=True)])
    factor, cautions = _joint_factor(current, p, table, floor)
    if current.blocks > 1:
        slope = np.maximum(power, 1e-300) ** (1 / p - 1) / p if root else np.ones(len(pairs))
        factor = np.where(power[:, None] > 0, factor * slope[:, None], 0.0)
    value = power ** (1 / p) if root else power
    matrix = np.zeros((len(found), len(found)))
    for (i, j), distance in zip(pairs, value, strict=True):
        matrix[i, j] = matrix[j, i] = distance
    tell("sliced_wasserstein_matrix", cautions)
    return Estimate(
        value,
        factor=factor,
        names=[f"{names[i]}, {names[j]}" for i, j in pairs],
        method="sliced Wasserstein distances",
        degrees_of_freedom=current.degrees_of_freedom(current.blocks),
        diagnostics={**current.describe(), "matrix": matrix},
        cautions=cautions,
        cost={"evaluations": current.total, "seconds": time.perf_counter() - began},
        provenance=provenance(
            "sliced_wasserstein_matrix",
            seeds,
            {"budget": budget, "p": p, "root": root},
            data=[part for cloud in found for part in cloud.fingerprint()],
        ),
    )


def _clouds(clouds: Clouds, weights: Weights, p: float) -> tuple[list[str], list[Cloud]]:
    """Names and clouds, checked."""
    if isinstance(clouds, str) or not isinstance(clouds, Iterable):
        raise TypeError(
            f"clouds: got {type(clouds).__name__}; expected a sequence or a mapping of arrays"
        )
    named = isinstance(clouds, Mapping)
    points = list(clouds.values() if isinstance(clouds, Mapping) else clouds)
    if len(points) < 2:
        raise ValueError(f"clouds: got {len(points)}; expected at least two")
    names = [str(name) for name in (clouds if named else range(1, len(points) + 1))]
    if isinstance(weights, Mapping):
        if not named or not set(weights) <= set(names):
            raise ValueError(
                f"weights: got names {list(weights)}; expected "
                + (f"some of {names}" if named else "one entry per cloud, which have no names")
            )
        weights = [weights.get(name) for name in names]
    elif weights is None:
        weights = [None] * len(names)
    given = list(weights) if isinstance(weights, Iterable) else [weights]
    if len(given) != len(names):
        raise ValueError(f"weights: got {len(given)}; expected one entry per cloud, {len(names)}")
    entries = zip(points, given, (f"cloud {name}" for name in names), strict=True)
    return names, clouds_of(list(entries), p)


def _joint_factor(
    directions: Directions, p: float, table: Array, floor: Array
) -> tuple[Array, list[Caution]]:
    """Factor (J, r) of the covariance of mean costs, from costs (B, lines, J) of all directions."""
    count, _, pairs = table.shape
    if directions.dimension == 1:
        return np.zeros((pairs, 1)), []
    if count == 1:
        return np.full((pairs, 1), np.nan), [SINGLE_BLOCK]
    blocks = np.einsum("blk,l->bk", table, directions.weights)
    factor = ((blocks - blocks.mean(axis=0)) / math.sqrt(count * (count - 1))).T
    skewed = [
        caution
        for k in np.flatnonzero((factor**2).sum(axis=1) > floor**2)
        for caution in too_few(directions, p, table[..., k].ravel())
    ]
    return np.concatenate([factor, floor[:, None]], axis=1), skewed[:1]


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
        directions: str | ArrayLike = "auto",
        seed: Seed = None,
    ) -> None:
        self.p = number("p", p, 1, ends=True)
        self._columns = columns_of(y, "the reference")
        given = as_cloud(y, weights, "y", self.p)
        self._centre = centre_of([given])
        self.cloud = moved(given, given.points.dtype, self._centre)
        self.dimension = given.points.shape[1]
        self._seed = seed_sequence(seed)
        self.plan = plan(directions, self.dimension, budget)

    @cached_property
    def directions(self) -> Array:
        """(L, d), drawn once."""
        theta = draw(self.plan, self.plan.blocks, generator(self._seed, "directions"))
        return theta.reshape(-1, self.dimension)

    @cached_property
    def _rows(self) -> Array:
        return sorted_rows(self.cloud, self.directions)

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
        root = flag("root", root)
        given = as_cloud(x, weights, "x", self.p, self._columns)
        if given.points.shape[1] != self.dimension:
            raise ValueError(
                f"x: has points in {given.points.shape[1]} dimensions, the reference in "
                f"{self.dimension}"
            )
        cloud = moved(given, self.cloud.points.dtype, self._centre)
        step = chunk_rows(self.dimension, 2 * len(cloud.points), cloud.points.dtype.itemsize)
        costs = np.empty(len(self.directions))
        for a in range(0, len(costs), step):
            rows = sorted_rows(cloud, self.directions[a : a + step])
            kept = self._rows[a : a + step]
            costs[a : a + step] = row_costs(cloud, self.cloud, rows, kept, self.p)
        method, question = (
            "SlicedReference.distance",
            Question(Pair(cloud, self.cloud), self.p, root),
        )
        source = provenance(
            method, self._seed, {"p": self.p, "root": root}, data=question.pair.fingerprint()
        )
        cost = {"evaluations": self.plan.total, "seconds": time.perf_counter() - began}
        if self.dimension == 1:
            return exact_estimate(question, float(costs[0]), cost, source)
        table = costs.reshape(self.plan.blocks, self.plan.lines, 1)
        return mean_of_blocks(question, self.plan, table).estimate(method, cost, source)
