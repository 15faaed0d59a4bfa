"""Sliced Wasserstein distances of several clouds: between all pairs, and to one that stays."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import flag, header_of, number
from ..cautions import Caution, tell
from ..estimate import Estimate
from ..execution import check_checkpoint, open_run
from ..provenance import provenance
from ..randomness import Seed, generator, seed_sequence
from .clouds import (
    Cloud,
    Pair,
    as_cloud,
    centre_of,
    clouds_of,
    measured,
    moved,
    scaled_by,
)
from .control_variates import Request, asked_for
from .costs import chunk_rows, row_costs, sorted_rows
from .directions import Directions, draw, peaks_of, plan
from .sliced import (
    EQUAL_CLOUDS,
    POSITIVE,
    MeanCost,
    Question,
    exact_estimate,
    mean_of_blocks,
    with_controls,
)
from .units import Scale, Units

Array = NDArray[Any]
Clouds = Sequence[ArrayLike] | Mapping[str, ArrayLike]
Weights = Sequence[ArrayLike | None] | Mapping[str, ArrayLike | None] | None


@dataclass(frozen=True)
class _PairCosts:
    """Costs and controls (L, pairs, 1 + k) between clouds along the directions of some blocks."""

    clouds: Sequence[Cloud]
    pairs: Sequence[tuple[int, int]]
    questions: Sequence[Question]
    directions: Directions
    step: int

    def __call__(self, root: np.random.SeedSequence, first: int, count: int) -> Array:
        rng = generator(root, "directions", 1, first)
        theta = draw(self.directions, count, rng, first).reshape(-1, self.directions.dimension)
        most = max(sum(c.count for c in question.controls) for question in self.questions)
        out = np.zeros((len(theta), len(self.pairs), 1 + most))
        for a in range(0, len(theta), self.step):
            block = theta[a : a + self.step]
            rows = [sorted_rows(cloud, block) for cloud in self.clouds]

            @functools.cache
            def variance(i: int, quick: bool, block: Array = block, rows: Any = rows) -> Array:
                return self.clouds[i].projected_variance(block, rows[i], quick)

            for k, (i, j) in enumerate(self.pairs):
                pair, found = self.questions[k].pair, out[a : a + self.step, k]
                found[:, 0] = row_costs(pair.x, pair.y, rows[i], rows[j], self.questions[k].p)
                at = 1
                for control in self.questions[k].controls:
                    if control.of_parts is None:
                        values = control.values(block, rows[i], rows[j])
                    else:
                        both = (variance(which, control.name == "tangent") for which in (i, j))
                        values = control.of_parts((block @ pair.shift) ** 2, *both)[:, None]
                    found[:, at : at + control.count] = values
                    at += control.count
        return out


def sliced_wasserstein_matrix(
    clouds: Clouds,
    budget: int = 200,
    *,
    p: float = 2,
    weights: Weights = None,
    control_variates: Request = "auto",
    directions: str | ArrayLike = "auto",
    scale: Scale = None,
    root: bool = True,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Estimate:
    """Sliced Wasserstein distances between all pairs of clouds, along the same directions.

    Every cloud is projected and sorted once per direction, whatever the number of pairs.

    Parameters
    ----------
    clouds : sequence, or mapping of names, of array_like, shapes (n_k, d)
        At least two.
    budget : int, default 200
        Most directions.
    p, control_variates, directions, scale, root, seed, executor, progress, checkpoint
        As for `sliced_wasserstein`, without "exact"; the default control is chosen pair by pair,
        and the pool that gives the scale is that of all clouds.
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

    Warns
    -----
    PrecisionWarning
        As for `sliced_wasserstein`, of any pair.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(100, 3))
    >>> estimate = smw.sliced_wasserstein_matrix({"a": x, "b": x + 1, "c": 2 * x}, 100, seed=1)
    >>> estimate.names, estimate.diagnostics["matrix"].shape
    (('a, b', 'a, c', 'b, c'), (3, 3))
    """
    check_checkpoint(checkpoint)
    began = time.perf_counter()
    p, root = number("p", p, 1, ends=True), flag("root", root)
    names, found, units = _clouds(clouds, weights, p, scale)
    pairs = [(i, j) for i in range(len(found)) for j in range(i + 1, len(found))]
    d, itemsize = found[0].points.shape[1], found[0].points.dtype.itemsize
    current = plan(directions, d, budget, peaks=peaks_of(directions, found, p))
    questions = [
        with_controls(
            Question(Pair(found[i], found[j], units), p, root),
            control_variates,
            current,
            current.total,
        )
        for i, j in pairs
    ]
    step = chunk_rows(d, sum(len(c.points) for c in found), itemsize)
    each = max(step // current.lines, 1)
    jobs = [(a, min(each, current.blocks - a)) for a in range(0, current.blocks, each)]
    given = {"budget": budget, "p": p, "scale": scale, "root": root}
    data = [part for cloud in found for part in cloud.fingerprint()]
    asked = {"control_variates": control_variates, "directions": directions, "data": data}
    with open_run(
        _PairCosts(found, pairs, questions, current, step),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments={**given, **asked},
        seed=seed,
        total=current.total,
        unit="directions",
        description="sliced Wasserstein matrix",
    ) as run:
        sizes = [count * current.lines for _, count in jobs]
        parts = run.map("directions", [(run.root, *job) for job in jobs], sizes)
    table = np.concatenate(parts).reshape(current.blocks, current.lines, len(pairs), -1)
    means = [
        mean_of_blocks(
            question, current, table[:, :, k, : 1 + sum(c.count for c in question.controls)]
        )
        for k, question in enumerate(questions)
    ]
    labels = [f"{names[i]}, {names[j]}" for i, j in pairs]
    value, factor = np.array([mean.value for mean in means]), _joint_factor(means, d)
    cautions = [] if d == 1 else _joint_cautions(means, labels)
    matrix = np.zeros((len(found), len(found)))
    for (i, j), distance in zip(pairs, value, strict=True):
        matrix[i, j] = matrix[j, i] = distance
    tell("sliced_wasserstein_matrix", cautions)
    return Estimate(
        value,
        factor=factor,
        names=labels,
        method="sliced Wasserstein distances of the clouds as given",
        degrees_of_freedom=[mean.freedom for mean in means],
        diagnostics={**current.describe(), **units.describe(), "matrix": matrix},
        cautions=cautions,
        bounds=POSITIVE,
        cost={"evaluations": current.total, "seconds": time.perf_counter() - began},
        provenance=provenance("sliced_wasserstein_matrix", run.root, given, data=data),
    )


def _clouds(
    clouds: Clouds, weights: Weights, p: float, scale: Scale
) -> tuple[list[str], list[Cloud], Units]:
    """Names and clouds, checked, and their units."""
    if isinstance(clouds, str) or not isinstance(clouds, Iterable):
        raise TypeError(
            f"clouds: got {type(clouds).__name__}; expected a sequence or a mapping of arrays"
        )
    named = isinstance(clouds, Mapping)
    points = list(clouds.values() if isinstance(clouds, Mapping) else clouds)
    for entry in points:
        if isinstance(entry, tuple) and len(entry) == 2 and header_of(entry[1], "clouds"):
            raise TypeError(
                "clouds: got pairs of a name and a table, as groupby makes them; expected a "
                "mapping, such as {name: table[columns] for name, table in pairs}"
            )
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
    return names, *clouds_of(list(entries), p, scale)


def _joint_factor(means: Sequence[MeanCost], dimension: int) -> Array:
    """Factor (J, r) of the covariance of the values: that of blocks, and errors that all share."""
    count = len(means[0].blocks)
    if dimension == 1 or count == 1:
        return np.full((len(means), 1), 0.0 if dimension == 1 else np.nan)
    blocks = np.array([mean.blocks - mean.power for mean in means]) / math.sqrt(count * (count - 1))
    shared = [(mean.floor, mean.diagnostics["quadrature_error"]) for mean in means]
    slopes = [mean.value_error / mean.error if mean.error > 0 else 0.0 for mean in means]
    return np.concatenate([blocks, shared], axis=1) * np.array(slopes)[:, None]


def _joint_cautions(means: Sequence[MeanCost], labels: Sequence[str]) -> list[Caution]:
    """One of each kind, and which pairs are nearly equal."""
    found = {caution.code: caution for mean in means for caution in reversed(mean.cautions)}
    near = [label for mean, label in zip(means, labels, strict=True) if mean.near_zero]
    if near:
        shown = "; ".join(near[:5]) + (f" and {len(near) - 5} more" if len(near) > 5 else "")
        found["equal-clouds"] = Caution(
            "equal-clouds", f"{EQUAL_CLOUDS.text}, of the pairs {shown}"
        )
    return list(found.values())


def _columns(question: Question, theta: Array, kept: Array) -> Array:
    """Costs and controls (L, 1 + k) along directions on which the second cloud is sorted."""
    x, y = question.pair.x, question.pair.y
    rows = sorted_rows(x, theta)
    controls = [control.values(theta, rows, kept) for control in question.controls]
    return np.column_stack([row_costs(x, y, rows, kept, question.p), *controls])


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
    control_variates, scale
        As for `sliced_wasserstein`; the default control is chosen for each cloud, and the pool that
        gives the scale is the reference alone.
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where other clouds are projected and sorted; threads, which share the reference's rows, are
        best. A single distance is too short for a checkpoint.

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
        control_variates: Request = "auto",
        directions: str | ArrayLike = "auto",
        scale: Scale = None,
        seed: Seed = None,
        executor: Executor | str | None = None,
    ) -> None:
        asked_for(control_variates)
        self.p, self.control_variates = number("p", p, 1, ends=True), control_variates
        self._columns = header_of(y, "the reference")
        given = as_cloud(y, weights, "y", self.p)
        self._width = given.points.shape[1]
        self._units = scaled_by(scale, [given], self._columns)
        given = measured(given, self._units)
        self._centre = centre_of([given])
        self.cloud = moved(given, given.points.dtype, self._centre)
        self.dimension = given.points.shape[1]
        with open_run(abs, executor=executor):
            self._seed, self._executor = seed_sequence(seed), executor
        peaks = peaks_of(directions, [self.cloud], self.p)
        self.plan = plan(directions, self.dimension, budget, peaks=peaks)

    def __repr__(self) -> str:
        n, rule = len(self.cloud.points), self.plan
        return (
            f"SlicedReference({n} points in {self.dimension} dimensions, p = {self.p:g}, "
            f"{rule.total} directions)"
        )

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
        if given.points.shape[1] != self._width:
            raise ValueError(
                f"x: has points in {given.points.shape[1]} dimensions; expected {self._width}, as "
                "the reference"
            )
        cloud = moved(measured(given, self._units), self.cloud.points.dtype, self._centre)
        step = chunk_rows(self.dimension, 2 * len(cloud.points), cloud.points.dtype.itemsize)
        question = with_controls(
            Question(Pair(cloud, self.cloud, self._units), self.p, root),
            self.control_variates,
            self.plan,
            self.plan.total,
        )
        starts = range(0, len(self.directions), step)
        jobs = [(self.directions[a : a + step], self._rows[a : a + step]) for a in starts]
        if self._executor is None:
            columns = [_columns(question, *job) for job in jobs]
        else:
            work = partial(_columns, question)
            with open_run(work, executor=self._executor, progress=False, seed=self._seed) as run:
                columns = run.map("directions", jobs)
        method = "SlicedReference.distance"
        source = provenance(
            method, self._seed, {"p": self.p, "root": root}, data=question.pair.fingerprint()
        )
        cost = {"evaluations": self.plan.total, "seconds": time.perf_counter() - began}
        if self.dimension == 1:
            return exact_estimate(question, float(columns[0][0, 0]), cost, source)
        table = np.concatenate(columns).reshape(self.plan.blocks, self.plan.lines, -1)
        return mean_of_blocks(question, self.plan, table).estimate(method, cost, source)
