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
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, flag, number
from ..cautions import Caution, tell
from ..estimate import Estimate
from ..execution import Run, check_checkpoint, open_run
from ..provenance import provenance
from ..randomness import Seed, generator
from ..stopping import Budget, Precision, Standing, stopping_rule, until_precise
from .clouds import Pair, pair_of
from .control_variates import (
    BLOCKS_PER_CONTROL,
    Control,
    Request,
    affordable,
    asked_for,
    build,
    by_default,
    by_scale,
    check_means,
    take_off,
)
from .costs import THIN, atoms_of, chunk_rows, row_costs, sweep, task_blocks
from .directions import (
    ON_THE_LINE,
    SINGLE_BLOCK,
    Directions,
    check_name,
    draw,
    peaks_of,
    pilot,
    plan,
    too_few,
    too_few_for_peaks,
    too_few_for_ties,
    wider,
)
from .units import Scale

Array = NDArray[Any]

BUDGET = 200  # directions where neither budget nor precision says how many
# points that differ, of a sweep in the plane: n (n - 1) events; other p and masses take longer, and
# rules fail where points are few or share their coordinates
LARGEST_SWEEP, LARGEST_OTHER = 2_000, 300
POSITIVE = (0.0, math.inf)  # where distances are, and their intervals
EQUAL_CLOUDS = Caution(
    "equal-clouds",
    "the clouds can't be told from equal ones: SW_p^p is within three standard errors of 0",
)


@dataclass(frozen=True)
class Question:
    """SW_p^p of a pair or its root, and controls; that of `fixed` has its coefficient by scale."""

    pair: Pair
    p: float
    root: bool = True
    controls: tuple[Control, ...] = ()
    fixed: bool = False

    def value(self, power: float) -> float:
        """The distance, or its power."""
        return max(power, 0.0) ** (1 / self.p) if self.root else power


def along(question: Question, theta: Array) -> Array:
    """Costs and controls (L, 1 + k) along directions (L, d): project, and transport on the line."""
    pair, controls, dtype = question.pair, question.controls, question.pair.x.points.dtype
    out = np.empty((len(theta), 1 + sum(control.count for control in controls)))
    step = chunk_rows(pair.dimension, pair.points, dtype.itemsize)
    plain = pair.x.weights is None and pair.y.weights is None
    # short products are twice as fast with coordinate by coordinate
    thin = pair.dimension <= THIN and len(theta) > step
    points_x, points_y = (
        np.ascontiguousarray(c.points.T) if thin else c.points.T for c in (pair.x, pair.y)
    )
    # memory that is used again need not be cleared again
    rows_x, rows_y = (
        np.empty((min(step, len(theta)), len(cloud.points)), dtype) for cloud in (pair.x, pair.y)
    )
    for first in range(0, len(theta), step):
        block = theta[first : first + step]
        narrow = block.astype(dtype)
        x = np.matmul(narrow, points_x, out=rows_x[: len(block)])
        y = np.matmul(narrow, points_y, out=rows_y[: len(block)])
        at = 1
        for control in controls:
            if not control.alone:
                out[first : first + step, at : at + control.count] = control.values(block, x, y)
            elif first == 0:  # calls are dear beside thin blocks
                out[:, at : at + control.count] = control.values(theta, x, y)
            at += control.count
        if plain:
            x.sort(axis=1)
            y.sort(axis=1)
        out[first : first + step, 0] = row_costs(pair.x, pair.y, x, y, question.p)
    return out


@dataclass(frozen=True)
class _Blocks:
    """Costs and controls along the directions of some blocks: what an executor is sent."""

    question: Question

    def __call__(self, root: np.random.SeedSequence, *job: Any) -> Array:
        return along(self.question, theta_of(root, job))


def jobs_of(
    pair: Pair, directions: Directions, stage: int
) -> list[tuple[Directions, int, int, int]]:
    """Directions, stage, first block and number of blocks of each job of a stage."""
    each = task_blocks(pair, directions)
    starts = range(0, directions.blocks, each)
    return [(directions, stage, a, min(each, directions.blocks - a)) for a in starts]


def _table(run: Run, pair: Pair, directions: Directions, stage: int) -> Array:
    """Costs and controls (B, lines, 1 + k) of a stage of blocks."""
    jobs = jobs_of(pair, directions, stage)
    sizes = [job[3] * directions.lines for job in jobs]
    parts = run.map(f"round {stage}", [(run.root, *job) for job in jobs], sizes)
    return np.concatenate(parts).reshape(directions.blocks, directions.lines, -1)


def theta_of(root: np.random.SeedSequence, job: tuple[Any, ...]) -> Array:
    """Unit vectors (L, d) of a job, the same whenever they are drawn."""
    directions, stage, first, count = job
    theta = draw(directions, count, generator(root, "directions", stage, first), first)
    return theta.reshape(-1, directions.dimension)


@dataclass(frozen=True)
class MeanCost:
    """SW_p^p as a mean of blocks, its standard error (NaN of a single one) and their freedom.

    `only_rounding`: no direction shows more than that. `blocks` (B,) are those of the mean, `floor`
    is what rounding leaves unknown of it.
    """

    question: Question
    power: float
    error: float
    freedom: float
    only_rounding: bool
    diagnostics: dict[str, Any]
    cautions: tuple[Caution, ...]
    blocks: Array = field(default_factory=lambda: np.zeros(0))
    floor: float = 0.0

    @property
    def value(self) -> float:
        """The distance, or its power."""
        return self.question.value(self.power)

    @property
    def near_zero(self) -> bool:
        """Whether a root can't be told from 0."""
        return self.question.root and self.power <= 3 * self.error

    @property
    def value_error(self) -> float:
        """Standard error of the value."""
        from scipy.special import stdtrit

        p = self.question.p
        if not self.question.root or math.isnan(self.error):
            return self.error
        if self.near_zero:
            return self.half_width(0.95) / float(stdtrit(self.freedom, 0.975))
        return self.error * self.power ** (1 / p - 1) / p

    def half_width(self, level: float) -> float:
        """How far the interval reaches from the value: that of the power, transformed."""
        from scipy.special import stdtrit

        if math.isnan(self.error):
            return math.inf
        half = stdtrit(self.freedom, (1 + level) / 2) * self.error
        lower, upper = (self.question.value(self.power + side) for side in (-half, half))
        return max(self.value - lower, upper - self.value)

    def estimate(
        self,
        method: str,
        cost: Mapping[str, float],
        source: Mapping[str, Any],
        cautions: Iterable[Caution] = (),
        sample: Mapping[str, tuple] | None = None,
    ) -> Estimate:
        """The estimate, with a warning where it can't be promised."""
        cautions = (*self.cautions, *cautions, *((EQUAL_CLOUDS,) if self.near_zero else ()))
        tell(method, cautions)
        return Estimate(
            self.value,
            self.value_error**2,
            method="sliced Wasserstein distance of the clouds as given",
            degrees_of_freedom=self.freedom,
            diagnostics=self.diagnostics,
            cautions=cautions,
            bounds=POSITIVE,
            cost=cost,
            provenance=source,
            sample=sample,
        )


def mean_of_blocks(question: Question, directions: Directions, table: Array) -> MeanCost:
    """The estimate from costs and controls (B, lines, 1 + k) along the directions of B blocks."""
    pair, p, weights = question.pair, question.p, directions.weights
    blocks = np.einsum("blk,l->bk", table, weights)
    costs, count = blocks[:, 0], len(table)
    mean = float(np.add.reduce(costs)) / count
    floor = pair.rounding(p, mean)
    only_rounding = mean <= 3 * floor
    # of rounding there is nothing to correct but that of the controls
    controls, fixed = ((), False) if only_rounding else (question.controls, question.fixed)
    used = [True] if fixed else affordable(controls, count)
    kept = list(compress(controls, used))
    dropped = [c.name for c, whether in zip(controls, used, strict=True) if not whether]
    wide = [flag for flag, c in zip(used, controls, strict=True) for _ in range(c.count)]
    columns = [1 + i for i, flag in enumerate(wide) if flag]
    check_means(kept, table, columns, weights)
    slopes = by_scale(costs, p) if fixed else None
    found = take_off(kept, costs, blocks[:, columns], pair.scale, slopes)
    # of other powers, or fitted, a control leaves what is as skewed as the costs, or more
    left, cautions = bool(kept) and not (fixed and p == 2), []
    if dropped:
        cautions.append(
            Caution(
                "controls-left-out",
                f"control variates {', '.join(dropped)} were left out: {count} blocks allow "
                f"{count // BLOCKS_PER_CONTROL} functions, one for every {BLOCKS_PER_CONTROL} "
                "blocks",
            )
        )
    power, error, gain = float(np.add.reduce(found.blocks)) / count, math.nan, math.nan
    if count > 1:
        gaps = found.blocks - power
        spread = math.sqrt(float(np.add.reduce(gaps * gaps)) / (count - 1)) / math.sqrt(count)
        # a quadrature that did not settle is an error too
        error = math.sqrt(max(spread, floor) ** 2 + found.error**2)
        singles = table[..., 0].ravel()
        squares = np.add.reduce(singles.reshape(count, -1) ** 2) @ weights
        alone = max(float(squares) / count - mean**2, 0.0) / singles.size
        gain = alone / error**2 if error > 0 else math.nan
        if spread > floor:
            cautions += too_few(directions, p, singles.size, left)
            cautions = cautions or too_few_for_ties(directions, singles.size, pair)
            cautions = cautions or too_few_for_peaks(directions, found.blocks, pair)
    else:
        cautions.append(SINGLE_BLOCK)
    diagnostics = {
        **directions.describe(),
        **pair.units.describe(),
        "blocks": count,
        "directions_used": count * directions.lines,
        "control_variates": [control.name for control in kept],
        "coefficients": found.coefficients,
        "dropped": dropped,
        "power": power,
        "power_standard_error": error,
        "gain_over_independent_directions": gain,
        "quadrature_error": found.error,
    }
    freedom = float(directions.degrees_of_freedom(count - found.fitted, p, left))
    return MeanCost(
        question,
        power,
        error,
        freedom,
        only_rounding,
        diagnostics,
        tuple(cautions),
        found.blocks,
        floor,
    )


def sliced_wasserstein(
    x: ArrayLike,
    y: ArrayLike,
    budget: int | None = None,
    *,
    p: float = 2,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
    precision: Precision | None = None,
    control_variates: Request = "auto",
    directions: str | ArrayLike = "auto",
    scale: Scale = None,
    keep_directions: bool = False,
    root: bool = True,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Estimate:
    """Sliced Wasserstein distance between two clouds of points, which are taken as given.

    The error is that of finitely many directions. How far apart the laws are that the clouds were
    drawn from, with the error of the points, is what `sliced_two_sample` says.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Points; vectors are clouds on the line. float32 and float64 are computed with as they are,
        anything else as float64. Two tables need the same columns; those of y are put in the order
        of those of x.
    budget : int, optional
        Most directions to be used; 200 if there is no `precision`, all that are given.
    p : float, at least 1, default 2
        Order of the distance.
    weights_x, weights_y : array_like, shapes (n,) and (m,), optional
        Non-negative; normalised to sum 1. Default: equal.
    precision : Precision, optional
        Blocks of directions until the interval is narrow enough.
    control_variates : "auto", False, str, tuple, or list of these
        "lower" and "upper" (the bounds of Nguyen & Ho), "parts", "gaussian" (the distance of the
        fitted Gaussians), "polynomial" and "tangent" (the same made a polynomial of the variances,
        or linear), "power", "point_mass", ("harmonics", degree), (function, mean) with a function
        of directions (L, d) -> (L,) or (L, k). At most one function per eight blocks is used;
        coefficients come from the other blocks. "auto": in four dimensions and more, and with
        strata, the first of "gaussian", "polynomial" and "tangent" whose mean costs little beside
        the distance, with coefficients that follow from p and the size of the costs; none
        elsewhere, and none for given directions, whose mean is not that over the sphere.
    directions : str or array_like, default "auto"
        "uniform", "orthogonal" (blocks of orthonormal directions), "sobol", "rule" (a rule on the
        sphere, turned at random: angles in the plane, Lebedev's in space, of degree 5 above),
        "exact" (on the line and in the plane), or unit vectors of shape (L, d), or (blocks, lines,
        d) where the blocks are independent. "auto": exact in the plane up to 300 points that
        differ in each cloud (2,000 for p = 2 and clouds of one size without weights), rules in two
        and three dimensions (up to five where there are blocks enough), orthogonal blocks above.
        From three to five, p > 1, where columns have few values, far apart: rings around their
        axes, one direction in each ("strata").
    scale : None, "sd", "ranks" or array_like, shape (d,), default None
        What columns are divided by: their standard deviations in the pool of both clouds (constant
        columns are left out), or numbers. "ranks": values become their ranks in the pool, over its
        size. The distance is in those units.
    keep_directions : bool, default False
        Whether `sample` holds ``direction`` (L, d), ``cost`` (L,) and ``block`` (L,). By default
        there is no exact sweep in the plane then.
    root : bool, default True
        SW_p; else its p-th power, which is estimated without bias.
    seed : None, int, SeedSequence or Generator
        The result depends on it and on the other arguments only.
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where blocks are computed; sorting and matrix products run beside each other in threads.
    checkpoint : path, optional
        File that keeps finished blocks; not needed, and not written, where the distance is exact.
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
        without a rule are few, or rules for points in the plane that share coordinates, or blocks
        for columns of few values. Not told:
        of a lattice with too many points to be exact, 95 % intervals of 100 directions and more
        hold 90 % for one pair in a hundred in the plane, 93 to 99 % for the others; where a column
        varies six times as much as all others, those of 50 to 100 hold 86 to 95 % (scale="sd").

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
    check_checkpoint(checkpoint)
    began = time.perf_counter()
    p, root = number("p", p, 1, ends=True), flag("root", root)
    budget = None if budget is None else count("budget", budget)
    keep = flag("keep_directions", keep_directions)
    asked_for(control_variates)
    question = Question(pair_of(x, y, weights_x, weights_y, p, scale), p, root)
    pair = question.pair
    arguments = {
        "budget": budget,
        "p": p,
        "control_variates": control_variates,
        "directions": directions,
        "scale": scale,
        "root": root,
    }

    marks = pair.fingerprint()

    def source(seeds: np.random.SeedSequence) -> dict[str, Any]:
        return provenance("sliced_wasserstein", seeds, arguments, data=marks)

    how: dict[str, Any] = {
        "executor": executor,
        "checkpoint": checkpoint,
        "arguments": {**arguments, "precision": precision, "data": marks},
        "seed": seed,
        "description": "sliced Wasserstein",
    }
    closed = _closed_form(pair, p, directions, keep)
    if closed is not None:
        if precision is not None:
            stopping_rule(budget, precision)
        with open_run(abs, progress=progress, **how) as run:
            pass
        cost = {"evaluations": 1, "seconds": time.perf_counter() - began}
        table, line = np.full((1, 1, 1), closed), [(ON_THE_LINE, 1)]
        kept = _kept(line, question, run.root, table) if keep else None
        return exact_estimate(question, closed, cost, source(run.root), kept)
    question, rule, first = _planned(question, control_variates, directions, budget, precision)
    with open_run(
        _Blocks(question),
        progress=progress,
        total=first.total if precision is None else None,
        unit="directions",
        **how,
    ) as run:
        found, spent, cautions, pooled = _by_stages(run, question, first, rule)
    cost = {**spent, "seconds": time.perf_counter() - began}
    kept = _kept(pooled[0], question, run.root, pooled[1]) if keep else None
    return found.estimate("sliced_wasserstein", cost, source(run.root), cautions, kept)


Pooled = tuple[list[tuple[Directions, int]], Array]  # directions by stage, and the table of all


def _kept(
    stages: Sequence[tuple[Directions, int]],
    question: Question,
    root: np.random.SeedSequence,
    table: Array,
) -> dict[str, tuple]:
    """Directions of these stages and their costs."""
    jobs = [job for stage in stages for job in jobs_of(question.pair, *stage)]
    blocks = np.repeat(np.arange(table.shape[0]), table.shape[1])
    return {
        "direction": (("line", "coordinate"), np.concatenate([theta_of(root, j) for j in jobs])),
        "cost": ("line", table[..., 0].ravel()),
        "block": ("line", blocks),
    }


def with_controls(
    question: Question, request: Request, directions: Directions, total: int
) -> Question:
    """The question with controls for so many directions.

    Those of the default, and W_2^2 of the fitted Gaussians at p = 2, need no coefficient.
    """
    default = isinstance(request, str) and request == "auto"
    pair, p = question.pair, question.p
    controls = by_default(pair, p, directions, total) if default else build(request, pair, p)
    if not controls:
        return question
    named = len(controls) == 1 and controls[0].of_parts is not None
    return replace(question, controls=tuple(controls), fixed=named and (default or p == 2))


def _planned(
    question: Question,
    request: Request,
    directions: str | ArrayLike,
    budget: int | None,
    precision: Precision | None,
) -> tuple[Question, Budget | Precision, Directions]:
    """The question with controls, when it ends, and first directions: all of a budget, or a pilot.

    Coefficients that are fitted want more blocks.
    """
    d, fewest = question.pair.dimension, 5
    peaks = peaks_of(directions, (question.pair.x, question.pair.y), question.p)
    if request != "auto":
        named = with_controls(question, request, ON_THE_LINE, 1)
        if named.controls and not named.fixed:
            fewest = BLOCKS_PER_CONTROL * min(sum(c.count for c in named.controls), 4)
    if isinstance(directions, str):
        rule = stopping_rule(BUDGET if budget is None and precision is None else budget, precision)
        if isinstance(rule, Precision):
            first = pilot(directions, d, rule.most, peaks)
            return with_controls(question, request, first, 4 * first.total), rule, first
        first = plan(directions, d, rule.total, fewest=fewest, peaks=peaks)
        return with_controls(question, request, first, first.total), rule, first
    if precision is not None:
        raise ValueError("precision: goes with directions drawn here, not with given ones")
    first = plan(directions, d)
    if budget not in (None, first.total):
        raise ValueError(
            f"budget: got {budget} with {first.total} directions given; leave it out, all of them "
            "are used"
        )
    return with_controls(question, request, first, first.total), Budget(first.total), first


def _by_stages(
    run: Run, question: Question, directions: Directions, rule: Budget | Precision
) -> tuple[MeanCost, dict[str, int], list[Caution], Pooled]:
    """The mean at the end of a run, what was spent on it, and what it is the mean of."""
    stages = used = 0
    drawn: list[tuple[Directions, int]] = []
    table: Array
    found: MeanCost

    def stage(size: int) -> None:
        nonlocal directions, table, found, stages, used, drawn
        more = _next_blocks(directions, size, rule.most - used, stages) if stages else directions
        fresh = _table(run, question.pair, more, stages + 1)
        # a wider rule leaves out what came before
        pooled = stages > 0 and more.lines == directions.lines
        table = np.concatenate([table, fresh]) if pooled else fresh
        drawn = [*(drawn if pooled else ()), (more, stages + 1)]
        directions = directions if pooled else more
        stages, used = stages + 1, used + more.total
        found = mean_of_blocks(question, directions, table)

    def standing(level: float) -> Standing:
        final = "no direction shows more than rounding" if found.only_rounding else ""
        value, half = np.array(found.value), np.array(found.half_width(level))
        n, least = len(table) * directions.lines, directions.lines
        return Standing(value, half, n, used, least, final)

    cautions = until_precise(rule, directions.total, stage, standing, "directions", run)
    return found, {"evaluations": used, "stages": stages}, cautions, (drawn, table)


def _next_blocks(directions: Directions, size: int, left: int, stages: int) -> Directions:
    """Blocks of the next stage, of about `size` directions: of a wider rule if it fits, or more."""
    larger = wider(directions) if size > 2 * directions.total and stages < 5 else None
    if larger is not None and larger.total <= left:
        return larger
    blocks = min(math.ceil(size / directions.lines), left // directions.lines)
    return replace(directions, blocks=blocks)


def _closed_form(pair: Pair, p: float, directions: str | ArrayLike, keep: bool) -> float | None:
    """SW_p^p where it has a closed form that is wanted; directions to keep are those of a rule."""
    check_name(directions)
    if pair.dimension == 1:
        if not isinstance(directions, str):
            plan(directions, 1)
        return float(along(Question(pair, p), np.ones((1, 1)))[0, 0])
    name = directions if isinstance(directions, str) else "given"
    if name == "exact" and pair.dimension > 2:
        raise ValueError(
            "directions: 'exact' serves one dimension and two; here the points have "
            f"{pair.dimension}: expected 'auto'"
        )
    if name == "exact" and keep:
        raise ValueError("keep_directions: 'exact' goes around the whole plane; expected 'rule'")
    if pair.dimension > 2 or name not in ("auto", "exact") or keep:
        return None
    most = LARGEST_SWEEP if p == 2 and pair.matched else LARGEST_OTHER
    atoms = atoms_of(pair, math.inf if name == "exact" else most)
    return None if atoms is None else sweep(*atoms, p)


def exact_estimate(
    question: Question,
    power: float,
    cost: Mapping[str, float],
    source: Mapping[str, Any],
    sample: Mapping[str, tuple] | None = None,
) -> Estimate:
    """The estimate where SW_p^p is known."""
    return Estimate(
        question.value(power),
        0.0,
        method="sliced Wasserstein distance of the clouds as given, exact",
        diagnostics={"directions": "exact", "power": power, **question.pair.units.describe()},
        bounds=POSITIVE,
        cost=cost,
        provenance=source,
        sample=sample,
    )


def by_budget(
    x: ArrayLike,
    y: ArrayLike,
    budgets: Sequence[int],
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    seed: Seed = None,
) -> dict[str, list[Estimate]]:
    """Distances as directions grow, by method: arguments of `sliced_wasserstein` by their name.

    By default independent directions beside what "auto" does.
    """
    if methods is None:
        alone = {"directions": "uniform", "control_variates": False}
        methods = {"independent": alone, "default": {}}
    return {
        name: [sliced_wasserstein(x, y, n, seed=seed, **keywords) for n in budgets]
        for name, keywords in methods.items()
    }
