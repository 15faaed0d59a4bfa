"""How far apart the laws of two samples are, with the error of the points beside the directions'.

The distance A of two samples, a mean over directions, is off in two ways. It varies with the points
drawn: by v = (n - 1)/n sum_i (A_-i - mean)^2 for either sample, A_-i without its i-th point, which
is never too small on average (Efron & Stein) and exact in O(n + m) per direction; what points are
worth along single directions belongs to the directions' error, and is left out of v. And A is too
large, E A >= SW_p^p, most of all where the laws are equal: D, the mean distance between halves of
the samples less A, says by how much.

References: Efron & Stein (1981), Annals of Statistics 9; Manole, Balakrishnan & Wasserman (2022),
arXiv 1909.07862; Rodriguez-Vitores, del Barrio & Loubes (2025), arXiv 2503.18831.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import flag, number, same_rows
from ..cautions import Caution, tell
from ..estimate import Estimate
from ..execution import check_checkpoint, open_run, root_of
from ..parts import LEVELS
from ..provenance import provenance
from ..randomness import Seed, generator
from ..weights import pareto_k
from .clouds import Pair, pair_of
from .control_variates import Request
from .costs import chunk_rows, row_costs
from .directions import ON_THE_LINE, Directions, plan
from .groups import autocorrelation_time, blocks_of, dependent, labels_of, neighbours
from .sliced import (
    BUDGET,
    POSITIVE,
    MeanCost,
    Question,
    jobs_of,
    mean_of_blocks,
    theta_of,
    with_controls,
)
from .units import Scale

Array = NDArray[Any]

FEWEST_POINTS = 10
FEWEST_GROUPS = 10
MOST_GROUPS = 50
COPIES = 0.1  # share of the rows of a sample
BLOCK = 5  # autocorrelation times of rows in a group of "auto"; a test, which is sharper, needs ten
SPLITS = 50  # into halves, shared by directions; 20 on the line, which has one
LEAST_SHARE = 0.25  # of the variance of a point left out: few points say less surely what is shared
MOST_UNSEEN = 2.4  # the bias over what halves see of it where it falls with the root of n
# of the distance, as halves see it, in two or three dimensions and above; near equal laws it is
# about 0.4, the less surely the fewer the dimensions
SMALL_BIAS = 0.15, 0.2
EQUAL_LAWS = Caution(
    "equal-laws", "the laws can't be told from equal ones; whether they are sliced_test decides"
)
DEPENDENT = Caution(
    "dependent-rows",
    "rows depend on their neighbours, or are sorted; the interval is for independent ones. "
    "groups_x='auto', groups_y='auto' would take blocks of them",
)
SHARED = Caution(
    "shared-rows", "the samples share most of their rows; the interval is for independent samples"
)


class Parts(NamedTuple):
    """What is left out at a time: points, or whole groups, with `labels` (n,) from 0."""

    size: int
    labels: Array | None = None


@dataclass(frozen=True)
class _Resampled:
    """Costs along the directions of some blocks, without each part, and of halves and quarters.

    Those without each part are added up along even and odd blocks, (2, parts). `quarters` are
    numbers (S, count) for either sample; `each` of the splits serve a direction.
    """

    question: Question
    root: np.random.SeedSequence
    parts: tuple[Parts, Parts]
    quarters: tuple[Array, Array]
    each: int

    def __call__(
        self, directions: Directions, stage: int, first: int, count: int
    ) -> tuple[Array, Array, Array, Array]:
        from . import kernels

        theta = theta_of(self.root, (directions, stage, first, count))
        weights = np.tile(directions.weights, count) / directions.blocks
        pair, p, controls = self.question.pair, self.question.p, self.question.controls
        masses = [pair.x.masses, pair.y.masses]
        labels = [part.labels for part in self.parts if part.labels is not None]
        weighted = pair.x.weights is not None or pair.y.weights is not None
        left_out = [np.zeros((2, part.size)) for part in self.parts]
        split, table = np.zeros(2), []
        step = chunk_rows(pair.dimension, 2 * pair.points, 8)
        for a in range(0, len(theta), step):
            block = theta[a : a + step]
            narrow = block.astype(pair.x.points.dtype)
            x, y = narrow @ pair.x.points.T, narrow @ pair.y.points.T
            values = [control.values(block, x, y) for control in controls]
            orders = [x.argsort(axis=1), y.argsort(axis=1)]
            ranked = [np.take_along_axis(v, at, 1) for v, at in zip((x, y), orders, strict=True)]
            if not weighted:
                x, y = ranked
            costs = row_costs(pair.x, pair.y, x, y, p, (orders[0], orders[1]))
            table.append(np.column_stack([costs, *values]))
            rows = [v.astype(np.float64, copy=False) for v in ranked]
            place = first * directions.lines + a, directions.lines
            rest = (weights[a : a + step], *self.quarters, *place, self.each, p, *left_out)
            if labels:
                both = [v[at] for v, at in zip([*masses, *labels], orders * 2, strict=True)]
                split += kernels.grouped_rows(*rows, *both, *rest)
            else:
                split += kernels.jackknife_rows(*rows, *orders, *rest)
        return np.concatenate(table), left_out[0], left_out[1], split


@dataclass(frozen=True)
class Laws:
    """SW_p^p of two laws: `plug_in` is that of the samples, too large by some `bias`.

    What halves don't see of the bias is at most `unseen` times it.
    `sampling` and `directions` are the variances that points and directions leave, with their
    degrees of freedom.
    """

    question: Question
    plug_in: float
    bias: float
    unseen: float
    sampling: tuple[float, float]
    directions: tuple[float, float]

    @property
    def power(self) -> float:
        """SW_p^p of the laws."""
        return max(self.plug_in - self.bias, 0.0)

    @property
    def freedom(self) -> float:
        """Degrees of freedom, by Satterthwaite's rule."""
        both = self.sampling, self.directions
        below = sum(v**2 / freedom for v, freedom in both)
        return sum(v for v, _ in both) ** 2 / below if below > 0 else math.inf

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Limits of SW_p^p.

        The variance grows with the distance, and where A fell low by chance, its error did too: the
        upper limit solves t^2 = z^2 (se^2 + g t), g = se^2/A. Squares of differences that are
        normal, near equality, have se^2 <= 4 A D; where values are few, costs are their absolute
        values, whose error stays, and A may be far smaller: g is cut. Where A is 0, no point left
        out shows that error; halves do, whose mean distance is 0.8 times it. The lower limit leaves
        room for what halves don't see of the bias.
        """
        from scipy.special import stdtrit

        z = float(stdtrit(self.freedom, (1 + level) / 2))
        error, h = math.sqrt(self.sampling[0] + self.directions[0]), 0.0
        lower = self.plug_in - self.bias - z * error - self.unseen * self.bias
        error = max(error, (self.bias - self.plug_in) / 0.8)
        if self.plug_in > 0 < error:
            grown = self.plug_in * (4 * self.bias + self.plug_in) / error**2
            h = z * error / (2 * self.plug_in) * min(grown, 1.0) ** 2
        return max(lower, 0.0), self.power + z * error * (h + math.sqrt(1 + h * h))

    def value_error(self) -> float:
        """Standard error that makes Student's interval of the value reach both limits."""
        from scipy.special import stdtrit

        value = self.question.value(self.power)
        lower, upper = (self.question.value(end) for end in self.interval())
        return max(value - lower, upper - value) / float(stdtrit(self.freedom, 0.975))


def sliced_two_sample(
    x: ArrayLike,
    y: ArrayLike,
    budget: int = BUDGET,
    *,
    p: float = 2,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
    groups_x: ArrayLike | None = None,
    groups_y: ArrayLike | None = None,
    scale: Scale = None,
    directions: str | ArrayLike = "auto",
    control_variates: Request = "auto",
    root: bool = True,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Estimate:
    """Sliced Wasserstein distance between the laws that two samples were drawn from.

    The interval holds the error of the points beside that of the directions, and is freed of what
    finite samples add to a distance. It is wide near equality, where its lower end is 0.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Independent samples of at least ten rows each.
    budget : int, default 200
        Most directions. More of them can't make an error of the points smaller.
    p : float from 1 to 10, default 2
        Moments of order 2 p have to exist.
    weights_x, weights_y : array_like, shapes (n,) and (m,), optional
        Importance weights. Fifty random groups of points are left out in turn then.
    groups_x, groups_y : array_like of labels, shapes (n,) and (m,), or "auto", optional
        Rows of one label depend on each other: chains, sites, patients, or blocks of a chain; at
        least ten groups, of which more than fifty are joined in their order. "auto": blocks of
        five autocorrelation times of consecutive rows.
    scale
        As for `sliced_wasserstein`; the interval takes what it divides by as known.
    directions, control_variates, root, seed, executor, progress, checkpoint
        As for `sliced_wasserstein`, without "exact".

    Returns
    -------
    Estimate
        Its intervals are asymmetric, and cover more than they say (95 % ones 0.935 to 1): what
        halves of the samples don't show of the bias is allowed for. Its standard error makes a
        symmetric interval hold that of 95 %, for what `combine` and `apply` make of it.
        Diagnostics: ``lower`` and ``upper`` at 95 %, ``plug_in``, the distance of the samples to
        the power p, its ``bias``, ``error_sampling`` and ``error_directions`` of that power, and
        ``sampling``, the share of the variance that is the points'.

    Raises
    ------
    ValueError, TypeError
        An argument is wrong, or points or groups are fewer than ten.

    Warns
    -----
    PrecisionWarning
        The laws can't be told apart; rows depend on their neighbours, or are copies; the samples
        share rows; points have too heavy tails, or weights.

    References
    ----------
    Efron & Stein (1981), Annals of Statistics 9; Manole, Balakrishnan & Wasserman (2022),
    arXiv 1909.07862.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> rng = np.random.default_rng(1)
    >>> x, y = rng.normal(size=(300, 3)), rng.normal(size=(300, 3)) + [1.0, 0, 0]
    >>> lower, upper = smw.sliced_two_sample(x, y, 50, seed=1).interval()
    >>> bool(lower < 1 / np.sqrt(3) < upper)  # |v| / sqrt(d)
    True
    """
    check_checkpoint(checkpoint)
    began = time.perf_counter()
    p, root = number("p", p, 1, 10, ends=True), flag("root", root)
    pair = pair_of(x, y, weights_x, weights_y, p, scale)
    _check_sizes(pair)
    seeds = root_of(seed, checkpoint)
    same_rows("groups_x", groups_x, "x", x)
    same_rows("groups_y", groups_y, "y", y)
    parts, cautions = _parts(pair, (groups_x, groups_y), (weights_x, weights_y), seeds)
    rule = plan(directions, pair.dimension, budget)
    question = with_controls(Question(pair, p, root), control_variates, rule, rule.total)
    splits = 20 if pair.dimension == 1 else min(SPLITS, rule.total)
    quarters, each = _all_quarters(parts, splits, seeds), splits if rule.total == 1 else 1
    arguments = {"budget": budget, "p": p, "scale": scale, "root": root}
    asked = {"control_variates": control_variates, "directions": directions}
    asked |= {"x": pair.x.fingerprint(), "y": pair.y.fingerprint(), "halves": quarters}
    with open_run(
        _Resampled(question, seeds, parts, quarters, each),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments={**arguments, **asked},
        seed=seeds,
        total=rule.total,
        unit="directions",
        description="sliced two-sample distance",
    ) as run:
        jobs = jobs_of(pair, rule, 1)
        found = run.map("directions", jobs, [job[3] * rule.lines for job in jobs])
    table = np.concatenate([part[0] for part in found]).reshape(rule.blocks, rule.lines, -1)
    left_out = [np.sum([part[k] for part in found], axis=0) for k in (1, 2)]
    mean = mean_of_blocks(question, rule, table)
    plain = float(np.einsum("bl,l->", table[..., 0], rule.weights)) / rule.blocks
    laws = _laws(mean, plain, left_out, np.sum([part[3] for part in found], axis=0))
    ends = laws.interval()
    near = ends[0] == 0 < ends[1]
    cautions += [
        *_tails(pair, [one.sum(axis=0) for one in left_out], near),
        *(() if pair.dimension == 1 else mean.cautions),
    ]
    if near:
        cautions.append(EQUAL_LAWS)
    tell("sliced_two_sample", cautions)
    lower, upper = (question.value(end) for end in ends)
    limits = [[question.value(end) for end in laws.interval(level)] for level in LEVELS]
    variance = laws.sampling[0] + laws.directions[0]
    return Estimate(
        question.value(laws.power),
        laws.value_error() ** 2,
        method="sliced Wasserstein distance of two laws",
        degrees_of_freedom=laws.freedom,
        diagnostics={
            "plug_in": laws.plug_in,
            "bias": laws.bias,
            "error_sampling": math.sqrt(laws.sampling[0]),
            "error_directions": math.sqrt(laws.directions[0]),
            "sampling": laws.sampling[0] / variance if variance > 0 else 0.0,
            "lower": lower,
            "upper": upper,
            "groups": None if parts[0].labels is None else [part.size for part in parts],
            **{name: mean.diagnostics[name] for name in SHOWN},
            **pair.units.describe(),
        },
        cautions=cautions,
        bounds=POSITIVE,
        limits=limits,
        cost={"evaluations": rule.total, "seconds": time.perf_counter() - began},
        provenance=provenance("sliced_two_sample", seeds, arguments, data=pair.fingerprint()),
    )


SHOWN = (
    "directions", "blocks", "lines_per_block", "degree", "directions_used", "control_variates",
    "coefficients",
)  # fmt: skip


def _check_sizes(pair: Pair) -> None:
    """Raise where halves would be of fewer than five points."""
    for name, cloud in (("x", pair.x), ("y", pair.y)):
        if len(cloud.points) < FEWEST_POINTS:
            raise ValueError(
                f"{name}: got {len(cloud.points)} points; expected at least {FEWEST_POINTS}, whose "
                "halves say what finite samples add to a distance"
            )


def _parts(
    pair: Pair,
    groups: tuple[ArrayLike | None, ArrayLike | None],
    weights: tuple[ArrayLike | None, ArrayLike | None],
    root: np.random.SeedSequence,
) -> tuple[tuple[Parts, Parts], list[Caution]]:
    """What is left out of either sample at a time, and what is to be said of rows."""
    clouds, told = (pair.x, pair.y), []
    found: list[Array | None] = []
    for name, cloud, labels, w in zip("xy", clouds, groups, weights, strict=True):
        rows, even = cloud.points.T.astype(np.float64), np.full(pair.dimension, 1.0)
        # points without weight are in no cloud
        used = np.full(len(rows[0]), True) if w is None else np.asarray(w) > 0
        given = labels_of(f"groups_{name}", labels, len(used))
        if isinstance(given, str):
            tau = autocorrelation_time(rows, even)
            found.append(blocks_of(name, len(rows[0]), tau, FEWEST_GROUPS, BLOCK))
        elif given is None:
            found.append(None)
            told.append(dependent(neighbours(rows, even)))
        else:
            found.append(np.unique(given[used], return_inverse=True)[1])
    cautions = [*([DEPENDENT] if any(told) else ()), *common_rows(pair, not told)]
    grouped = any(labels is not None for labels in found)
    if not grouped and all(cloud.weights is None for cloud in clouds):
        return (Parts(len(pair.x.points)), Parts(len(pair.y.points))), cautions
    parts = []
    for k, (name, cloud, labels) in enumerate(zip("xy", clouds, found, strict=True)):
        size = len(cloud.points)
        if labels is None:
            count = min(MOST_GROUPS, size)
            labels = generator(root, "groups", k).permutation(size) % count
        count = int(labels.max()) + 1
        if count < FEWEST_GROUPS:
            raise ValueError(
                f"groups_{name}: got {count}; expected at least {FEWEST_GROUPS}, since an interval "
                "from fewer means nothing: cut chains into blocks"
            )
        if count > MOST_GROUPS:
            labels, count = labels * MOST_GROUPS // count, MOST_GROUPS
        parts.append(Parts(count, labels))
        largest = float(cloud.masses.max())
        if cloud.weights is not None and largest > 0.1:
            cautions.append(
                Caution("heavy-weights", f"{name}: one point has {largest:.0%} of the weight")
            )
    return (parts[0], parts[1]), cautions


def common_rows(pair: Pair, grouped: bool) -> list[Caution]:
    """Cautions where samples share rows, or one has copies of rows and no groups.

    Values that are discrete repeat as well, but in both samples, or are few, or fewer than rows.
    """
    clouds, found = (pair.x, pair.y), []
    sides = [Counter(row.tobytes() for row in cloud.points) for cloud in clouds]
    for name, cloud, own, other in zip("xy", clouds, sides, sides[::-1], strict=True):
        copied = [row for row, count in own.items() if count > 1]
        alone = len(copied) - sum(row in other for row in copied)
        size = own.total()
        several = not grouped and size - len(own) > COPIES * size
        if not several or alone <= max(len(copied) / 2, 10):
            continue
        if max(len(np.unique(column)) for column in cloud.points.T) > 0.9 * len(own):
            text = (
                f"{name}: {size} rows are {len(own)} different ones; copies, as resampling makes "
                f"them, are not independent. Labels groups_{name} would keep them together"
            )
            found.append(Caution("repeated-rows", text))
    repeated = any(2 * len(side) < side.total() for side in sides)
    shared = len(sides[0].keys() & sides[1].keys())
    if not repeated and 2 * shared > min(map(len, sides)):
        found.append(SHARED)
    return found


def _quarters(count: int, splits: int, rng: np.random.Generator) -> Array:
    """Random quarters (splits, count) of so many parts, 0 to 3; the first two are a half.

    Of odd numbers the first is smaller.
    """
    half, place = count // 2, np.arange(count)
    number = np.where(place < half, place >= half // 2, 2 + (place >= half + (count - half) // 2))
    return rng.permuted(np.tile(number.astype(np.int8), (splits, 1)), axis=1)


def on_the_line(
    pair: Pair, p: float, parts: tuple[Parts, Parts], root: np.random.SeedSequence
) -> Laws:
    """W_p^p of the laws of two samples on the line."""
    question = Question(pair, p)
    work = _Resampled(question, root, parts, _all_quarters(parts, 20, root), 20)
    costs, *left_out, split = work(ON_THE_LINE, 1, 0, 1)
    mean = mean_of_blocks(question, ON_THE_LINE, costs.reshape(1, 1, 1))
    return _laws(mean, float(costs[0, 0]), left_out, split)


def _all_quarters(
    parts: tuple[Parts, Parts], splits: int, root: np.random.SeedSequence
) -> tuple[Array, Array]:
    """Random quarters of the parts of both samples."""
    x, y = (
        _quarters(part.size, splits, generator(root, "halves", k)) for k, part in enumerate(parts)
    )
    return x, y


def _laws(mean: MeanCost, plain: float, left_out: list[Array], split: Array) -> Laws:
    """The distance of the laws from those of samples, without parts, between halves and quarters.

    The bias falls with a power r of the number of points, 1 away from equal laws and near them 1/2
    below p = 2, or where values are few: halves see 2^r - 1 of it. Below p = 2 distances of
    quarters say how much that is, where the bias is a small share of the distance; the least is
    taken elsewhere.
    """
    sampling = sum(_jackknife(found, len(mean.blocks)) for found in left_out)
    d = mean.question.pair.dimension
    known = d > 1 and not math.isnan(mean.error)
    halved, quartered = float(split[0]), float(split[1])
    bias, times = max(halved - plain, 0.0), 1.0
    if mean.question.p < 2:
        more = quartered - halved - bias
        clear = d > 1 and bias <= SMALL_BIAS[d > 3] * mean.power and more > 0
        times = min(max(bias / more, 1.0), MOST_UNSEEN) if clear else MOST_UNSEEN
    elif d == 1 and _few_values(mean.question.pair):
        times = MOST_UNSEEN
    return Laws(
        mean.question,
        mean.power,
        bias,
        1.25 * times - 1,
        (sampling, min(found.shape[1] for found in left_out) - 1),
        (mean.error**2, mean.freedom) if known else (0.0, math.inf),
    )


def _jackknife(found: Array, blocks: int) -> float:
    """The variance that points leave, of distances (2, parts) along even and odd blocks.

    What a point is worth differs from direction to direction, which the error of directions holds
    already: in 64 dimensions it was half of the variance. It isn't in the product of what points
    are worth along blocks that are independent.
    """
    odd, count = blocks // 2 / blocks, found.shape[1]
    gaps = found - found.mean(axis=1, keepdims=True)
    whole = float((gaps.sum(axis=0) ** 2).sum())
    apart = float(gaps[0] @ gaps[1]) / (odd * (1 - odd)) if odd else whole
    return (count - 1) / count * max(apart, LEAST_SHARE * whole)


def _few_values(pair: Pair) -> bool:
    """Whether points on the line are so few values that steps between them decide the bias.

    As for grids of 1/6 of a standard deviation and 1,000 points: between equal laws the lower limit
    lay above 0 in 9 % of the samples.
    """
    return len(np.unique(np.concatenate([pair.x.points, pair.y.points]))) ** 2 <= pair.points


def _tails(pair: Pair, left_out: list[Array], near: bool) -> list[Caution]:
    """A caution where few points decide, by the k-hat of what they are worth.

    Above 1/2 the error has no variance. Told is what lies an error of k-hat above: no normal
    samples do, nor those of t(5) from 200 points on at p = 2, but half of t(3), which has none.
    Laws that are nearly equal need two of them, since there outermost points are worth the most.
    """
    largest = 0.0
    for cloud, found in zip((pair.x, pair.y), left_out, strict=True):
        influence, n = np.abs(found - found.mean()), len(found)
        if n == len(cloud.points) and influence.max() > 0:
            with np.errstate(divide="ignore"):
                k = pareto_k(np.log(influence))
            tail = min(n / 5, 3 * math.sqrt(n))
            most = 0.5 + (2 if near else 1) / math.sqrt(tail)
            largest = max(largest, k if most < k < math.inf else 0.0)
    if not largest:
        return []
    text = f"few points decide the error (k-hat {largest:.2f}); moments of order 2 p may not exist"
    return [Caution("heavy-tails", f"{text}, and a smaller p needs fewer")]
