"""Two-sample test by permutations of the sliced Wasserstein distance.

What is permuted has to be exchangeable if the laws agree: single rows where they are independent,
else whole groups of rows, such as chains or blocks of ten to twenty autocorrelation times.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, flag, number, same_rows
from ..arguments import level as check_level
from ..cautions import Caution, printed, tell
from ..execution import batches, check_checkpoint, open_run, root_of
from ..provenance import provenance
from ..randomness import Seed, generator
from ..references import SLICED
from ..results import Result, along, table
from .clouds import Cloud, Pair, pair_of
from .directions import draw, plan
from .groups import autocorrelation_time, blocks_of, dependent, labels_of, neighbours
from .population import FEWEST_GROUPS, SHARED, Parts, common_rows, on_the_line
from .units import Scale

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

Array = NDArray[Any]

FEWEST_BLOCKS = 5  # of ten autocorrelation times; blocks of five rejected 6 to 8 % at 5 %
# blocks as long as leave so many, up to twenty times: what neighbours share is half as much
ENOUGH_BLOCKS = 6
FEWEST_ASSIGNMENTS = 20  # of groups to the samples: with fewer no p value is below 0.05
MIXED = 100  # times as large as another column, one is the only one that is seen
DEPENDENT = Caution(
    "dependent-rows",
    "rows depend on their neighbours, or are sorted; the test is for independent ones. "
    "groups_x='auto' permutes blocks of both samples",
)


@dataclass(frozen=True, repr=False)
class SlicedTest(Result):
    """A two-sample permutation test.

    Attributes
    ----------
    statistic : float
        SW_p^p of the two samples along the directions used.
    p_value : float
        (1 + permutations at least as large) / (1 + permutations): exact at every sample size if
        what was permuted is exchangeable when the laws agree.
    permuted : ndarray
        The statistics of the permutations.
    groups : (int, int)
        How many groups of each sample were permuted; its rows, if there are none.
    autocorrelation : (float, float)
        Of neighbouring rows of each sample, averaged over directions.
    cautions : tuple of Caution
    names : tuple of str
        Of the columns, if ``columns=True`` asked for them.
    by_column : dict of ndarray
        Entries of `columns`, their table.
    permuting : {"rows", "groups"}
        What was permuted.
    provenance : dict
    """

    statistic: float
    p_value: float
    permuted: NDArray[np.float64] = field(metadata=along("permutation"))
    groups: tuple[int, int] = (0, 0)
    autocorrelation: tuple[float, float] = (math.nan, math.nan)
    cautions: tuple[Caution, ...] = ()
    names: tuple[str, ...] = ()
    by_column: dict[str, Array] = field(default_factory=dict, metadata=along("column"))
    permuting: str = "rows"
    provenance: dict[str, Any] = field(default_factory=dict)
    references = SLICED

    @property
    def columns(self) -> pandas.DataFrame:
        """One row per column: its distance with error and limits, and its adjusted p value.

        ``distance`` is W_p of the column's values in the two samples, in units of ``scale`` (its
        pooled standard deviation by default); ``standard_error``, ``lower`` and ``upper`` are of
        that of their laws, as of `sliced_two_sample`, NaN below ten rows or groups. ``p_value`` is
        the share of permutations in which some column differs at least as much, measured by its
        own mean and deviation: where no column moved, any is below 0.05 in 5 % of the cases. If
        that of the test is small and none here, columns moved together and not one by one.
        """
        import pandas

        return pandas.DataFrame(self.by_column, index=list(self.names))

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """Table of the statistic, and of the p value, as far as so many permutations tell it.

        Parameters
        ----------
        level : float, default 0.95
            Of the interval for the p value that all permutations would give (Clopper & Pearson).

        Returns
        -------
        pandas.DataFrame
            Columns: value, standard_error, lower, upper; of the statistic only its value.
        """
        from scipy.special import betaincinv

        tail = (1 - check_level(level)) / 2
        n = len(self.permuted)
        larger = round(self.p_value * (n + 1)) - 1
        error = math.sqrt(self.p_value * (1 - self.p_value) / n)
        lower = betaincinv(larger, n - larger + 1, tail) if larger else 0.0
        upper = betaincinv(larger + 1, n - larger, 1 - tail) if larger < n else 1.0
        statistic = (self.statistic, *(math.nan,) * 3)
        return table({"statistic": statistic, "p_value": (self.p_value, error, lower, upper)})

    def plot(self, ax: Axes | None = None) -> Axes:
        """The statistic among those of the permutations, see `smcweights.plots.permuted`."""
        from .figures import permuted

        return permuted(self, ax)

    def __repr__(self) -> str:
        told = ""
        if self.names:
            small = self.by_column["p_value"] <= 0.05
            moved = [self.names[k] for k in np.flatnonzero(small)]
            told = f"; moved: {', '.join(moved[:5]) or 'no column alone'}"
        title = (
            f"SlicedTest(statistic={self.statistic:.6g}, p_value={self.p_value:.4g}, "
            f"{len(self.permuted)} permutations of {self.groups[0]} and {self.groups[1]} "
            f"{self.permuting}{told})"
        )
        return "\n".join([title, *printed(self.cautions)])


def sliced_test(
    x: ArrayLike,
    y: ArrayLike,
    budget: int | None = None,
    *,
    permutations: int = 999,
    p: float = 2,
    groups_x: ArrayLike | None = None,
    groups_y: ArrayLike | None = None,
    scale: Scale = None,
    columns: bool = False,
    directions: str | ArrayLike = "auto",
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> SlicedTest:
    """Permutation test of whether two samples come from one law, by their sliced distance.

    The level is exact for independent rows, and for groups that are exchangeable when the laws
    agree: independent chains of one length, sites, patients. For "auto" it is approximate.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Samples, without weights.
    budget : int, optional
        Most directions; the level is the same for any number of them. By default twice the
        dimension, but at least 50 and at most 200.
    permutations : int, default 999
    groups_x, groups_y : array_like of labels, shapes (n,) and (m,), or "auto", optional
        Rows of one label are permuted as a whole; of both samples or of none. "auto", for one
        or both: both samples in blocks of consecutive rows, as of Markov chains, ten of the
        longer autocorrelation time long, or up to twenty where six blocks are left.
    scale
        As for `sliced_wasserstein`; the pool stays what it is when rows are permuted.
    columns : bool, default False
        Whether to say which columns moved, in `SlicedTest.columns`.
    p, directions, seed, executor, progress, checkpoint
        As for `sliced_wasserstein`; what is computed elsewhere, and kept, is permutations.

    Returns
    -------
    SlicedTest

    Raises
    ------
    ValueError, TypeError
        As for `sliced_wasserstein`; or groups are too few for a p value below 0.05, or chains are
        too short for five blocks.

    Warns
    -----
    PrecisionWarning
        There are no groups, but rows depend on their neighbours or are sorted: p values of chains
        without groups are far too small. Or rows are copies, as resampling makes them; or columns
        are of mixed units and there is no scale.

    References
    ----------
    Westfall & Young (1993), Resampling-based multiple testing, for the columns.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> x, y = rng.normal(size=(60, 2)), rng.normal(size=(80, 2)) + 1
    >>> sliced_test(x, y, seed=1).p_value
    0.001
    """
    check_checkpoint(checkpoint)
    p, permutations = number("p", p, 1, ends=True), count("permutations", permutations)
    columns, pair = flag("columns", columns), pair_of(x, y, p=p, scale=scale)
    n, d, sizes = len(pair.x.points), pair.dimension, (len(pair.x.points), len(pair.y.points))
    given = [
        labels_of(name, groups, size)
        for name, groups, size in zip(
            ("groups_x", "groups_y"), (groups_x, groups_y), sizes, strict=True
        )
    ]
    same_rows("groups_x", groups_x, "x", x)
    same_rows("groups_y", groups_y, "y", y)
    seeds = root_of(seed, checkpoint)
    most = max(50, min(2 * d, 200)) if budget is None else budget
    # no standard error is asked for: whole blocks are worth more than many
    rule = plan(directions, d, most, fewest=1 if budget is None and d > 3 else 5)
    theta = draw(rule, rule.blocks, generator(seeds, "directions")).reshape(-1, d)
    weights = np.tile(rule.weights, rule.blocks) / rule.blocks
    pooled = np.concatenate([pair.x.points, pair.y.points]).astype(np.float64)
    rows = np.ascontiguousarray(theta @ pooled.T)
    sides = rows[:, :n], rows[:, n:]
    first = [neighbours(side, weights) for side in sides]
    group, of_x = _grouped(given, sides, weights)
    alone = groups_x is None and groups_y is None
    seen = any(dependent(found) for found in first)
    cautions = ((DEPENDENT,) if alone and seen else ()) + (_mixed(pooled) if scale is None else ())
    cautions += tuple(told for told in common_rows(pair, not alone) if told is not SHARED)
    tell("sliced_test", cautions)
    # columns are compared in units of their own
    single = pair_of(x, y, p=p, scale="sd" if scale is None else scale) if columns else None
    if single is not None:
        rows = np.concatenate([rows, np.concatenate([single.x.points, single.y.points]).T])
    order = rows.argsort(axis=1)
    rows.sort(axis=1)
    rng, labels = generator(seeds, "permutations"), np.arange(group.max() + 1) < of_x
    asked: dict[str, object] = {"permutations": permutations, "p": p, "budget": rule.total}
    asked |= {"directions": directions, "scale": scale, "columns": columns}
    data: dict[str, Any] = {"x": pair.x.fingerprint(), "y": pair.y.fingerprint(), "groups": group}
    with open_run(
        _Split(rows, order, group, p),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments={**asked, **data},
        seed=seeds,
        total=1 + permutations,
        unit="permutations",
        description="sliced_test",
    ) as run:
        chosen = chain([labels], (rng.permutation(labels) for _ in range(permutations)))
        shares = [b - a for a, b in batches(1 + permutations, vectorized=False)]
        jobs = ((np.array(list(islice(chosen, size))),) for size in shares)
        found = np.concatenate(list(run.stream("permutations", jobs, shares)))
    # row by row: a product of matrices rounds otherwise
    costs = np.array([weights @ row[: len(theta)] for row in found])
    # equal up to rounding counts as at least as large
    larger = int((costs[1:] >= costs[0] * (1 - 1e-12)).sum())
    counts = of_x, int(group.max()) + 1 - of_x
    table: dict[str, Array] = {}
    if single is not None:
        table = _by_column(single, p, found[:, len(theta) :], _left_out(group, n, counts), seeds)
    return SlicedTest(
        float(costs[0]),
        (1 + larger) / (1 + permutations),
        costs[1:],
        counts,
        (first[0][0], first[1][0]),
        cautions,
        () if single is None else single.units.names,
        table,
        "rows" if counts == sizes else "groups",
        provenance("sliced_test", run.root, asked, data=data),
    )


@dataclass(frozen=True)
class _Split:
    """Costs (permutations, L) between the groups with label True and the others.

    Along sorted rows (L, n + m).
    """

    rows: Array
    order: Array
    group: Array
    p: float

    def __call__(self, labels: Array) -> Array:
        from . import kernels

        found = np.empty((len(labels), len(self.rows)))
        for out, row in zip(found, labels, strict=True):
            chosen = row[self.group]
            kernels.split_rows(self.rows, self.order, chosen, int(chosen.sum()), self.p, out)
        return found


def _mixed(pooled: Array) -> tuple[Caution, ...]:
    """A caution where one column outweighs the others by its units."""
    deviations = pooled.std(axis=0)
    varying = deviations[deviations > 0]
    if varying.size == 0 or varying.max() <= MIXED * varying.min():
        return ()
    text = (
        f"one column varies {varying.max() / varying.min():.3g} times as much as another, which is "
        "hardly seen then; scale='sd' or 'ranks' would see both"
    )
    return (Caution("mixed-units", text),)


def _left_out(group: Array, n: int, counts: tuple[int, int]) -> tuple[Parts, Parts] | None:
    """What is left out of either sample at a time for errors, if it is enough."""
    if min(counts) < FEWEST_GROUPS:
        return None
    if counts == (n, len(group) - n):
        return Parts(counts[0]), Parts(counts[1])
    return Parts(counts[0], group[:n]), Parts(counts[1], group[n:] - counts[0])


def _by_column(
    pair: Pair,
    p: float,
    costs: Array,
    parts: tuple[Parts, Parts] | None,
    root: np.random.SeedSequence,
) -> dict[str, Array]:
    """Columns by their costs (1 + permutations, d), the observed ones first."""
    spread = costs.std(axis=0)
    standard = (costs - costs.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    largest = standard[1:].max(axis=1)
    larger = (largest[:, None] >= standard[0] - 1e-9).sum(axis=0)
    limits = np.full((3, pair.dimension), np.nan)
    for k in range(pair.dimension):
        if parts is None:
            break
        x, y = (Cloud(np.ascontiguousarray(c.points[:, [k]]), None) for c in (pair.x, pair.y))
        laws = on_the_line(Pair(x, y), p, parts, root)
        limits[:, k] = laws.value_error(), *(end ** (1 / p) for end in laws.interval())
    return {
        "distance": costs[0] ** (1 / p),
        **dict(zip(("standard_error", "lower", "upper"), limits, strict=True)),
        "p_value": (1 + larger) / (1 + len(largest)),
    }


def _grouped(
    given: list[Array | str | None], sides: tuple[Array, Array], weights: Array
) -> tuple[Array, int]:
    """Number of the group of each row of both samples, and how many groups the first has."""
    if any(isinstance(groups, str) for groups in given):
        if any(isinstance(groups, np.ndarray) for groups in given):
            raise ValueError("groups_x, groups_y: got labels and 'auto'; expected one of them")
        time = max(autocorrelation_time(side, weights) for side in sides)
        given = [
            blocks_of(name, side.shape[1], time, FEWEST_BLOCKS, enough=ENOUGH_BLOCKS)
            for name, side in zip("xy", sides, strict=True)
        ]
    if all(groups is None for groups in given):
        given = [np.arange(side.shape[1]) for side in sides]
    found = [groups for groups in given if isinstance(groups, np.ndarray)]
    if len(found) < 2:
        raise ValueError("groups_x, groups_y: got those of one sample; expected both or none")
    counts = [int(groups.max()) + 1 for groups in found]
    if math.comb(sum(counts), counts[0]) < FEWEST_ASSIGNMENTS:
        least = 1 / math.comb(sum(counts), counts[0])
        grouped = counts != [side.shape[1] for side in sides]
        what, mend = ("groups", "; cut them into blocks") if grouped else ("rows", "")
        raise ValueError(
            f"{what}: {counts[0]} against {counts[1]} can give no p value below {least:.2g}{mend}"
        )
    return np.concatenate([found[0], counts[0] + found[1]]), counts[0]
