"""Two-sample test by permutations of the sliced Wasserstein distance.

What is permuted has to be exchangeable if the laws agree: single rows where they are independent,
else whole groups of rows, such as chains or blocks of ten autocorrelation times.
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

from ..arguments import count, number
from ..arguments import level as check_level
from ..cautions import Caution, tell
from ..execution import batches, open_run, root_of
from ..randomness import Seed, generator
from ..references import SLICED
from ..results import Result, along, table
from .clouds import pair_of
from .directions import draw, plan
from .groups import autocorrelation_time, blocks_of, dependent, labels_of, neighbours

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

Array = NDArray[Any]

FEWEST_BLOCKS = 5
FEWEST_ASSIGNMENTS = 20  # of groups to the samples: with fewer no p value is below 0.05
DEPENDENT = Caution(
    "dependent-rows",
    "rows depend on their neighbours, or are sorted; the test is for independent ones. "
    "groups_x='auto' permutes blocks of them",
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
    """

    statistic: float
    p_value: float
    permuted: NDArray[np.float64] = field(metadata=along("permutation"))
    groups: tuple[int, int] = (0, 0)
    autocorrelation: tuple[float, float] = (math.nan, math.nan)
    cautions: tuple[Caution, ...] = ()
    references = SLICED

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
        return (
            f"SlicedTest(statistic={self.statistic:.6g}, p_value={self.p_value:.4g}, "
            f"{len(self.permuted)} permutations of {self.groups[0]} and {self.groups[1]} groups)"
        )


def sliced_test(
    x: ArrayLike,
    y: ArrayLike,
    budget: int = 50,
    *,
    permutations: int = 999,
    p: float = 2,
    groups_x: ArrayLike | None = None,
    groups_y: ArrayLike | None = None,
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
    budget : int, default 50
        Most directions; the level is the same for any number of them.
    permutations : int, default 999
    groups_x, groups_y : array_like of labels, shapes (n,) and (m,), or "auto", optional
        Rows of one label are permuted as a whole; of both samples or of none. "auto": blocks of
        ten autocorrelation times of consecutive rows, as of Markov chains, in both samples.
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
        without groups are far too small.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> x, y = rng.normal(size=(60, 2)), rng.normal(size=(80, 2)) + 1
    >>> sliced_test(x, y, seed=1).p_value
    0.001
    """
    p, permutations = number("p", p, 1, ends=True), count("permutations", permutations)
    pair = pair_of(x, y, p=p)
    n, sizes = len(pair.x.points), (len(pair.x.points), len(pair.y.points))
    given = [
        labels_of(name, groups, size)
        for name, groups, size in zip(
            ("groups_x", "groups_y"), (groups_x, groups_y), sizes, strict=True
        )
    ]
    seeds = root_of(seed, checkpoint)
    rule = plan(directions, pair.dimension, budget)
    theta = draw(rule, rule.blocks, generator(seeds, "directions")).reshape(-1, pair.dimension)
    weights = np.tile(rule.weights, rule.blocks) / rule.blocks
    pooled = np.concatenate([pair.x.points, pair.y.points]).astype(np.float64)
    rows = np.ascontiguousarray(theta @ pooled.T)
    sides = rows[:, :n], rows[:, n:]
    first = tuple(neighbours(side, weights) for side in sides)
    group, of_x = _grouped(given, sides, weights)
    alone = groups_x is None and groups_y is None
    seen = any(dependent(r, size) for r, size in zip(first, sizes, strict=True))
    cautions = (DEPENDENT,) if alone and seen else ()
    tell("sliced_test", cautions)
    order = rows.argsort(axis=1)
    rows.sort(axis=1)
    rng, labels = generator(seeds, "permutations"), np.arange(group.max() + 1) < of_x
    asked = {"permutations": permutations, "p": p, "budget": rule.total, "directions": directions}
    with open_run(
        _Split(rows, order, group, weights, p),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments={**asked, "x": pair.x.fingerprint(), "y": pair.y.fingerprint(), "groups": group},
        seed=seeds,
        total=1 + permutations,
        unit="permutations",
        description="sliced_test",
    ) as run:
        chosen = chain([labels], (rng.permutation(labels) for _ in range(permutations)))
        shares = [b - a for a, b in batches(1 + permutations, vectorized=False)]
        jobs = ((np.array(list(islice(chosen, size))),) for size in shares)
        found = np.concatenate(list(run.stream("permutations", jobs, shares)))
    # equal up to rounding counts as at least as large
    larger = int((found[1:] >= found[0] * (1 - 1e-12)).sum())
    return SlicedTest(
        float(found[0]),
        (1 + larger) / (1 + permutations),
        found[1:],
        (of_x, len(labels) - of_x),
        (first[0], first[1]),
        cautions,
    )


@dataclass(frozen=True)
class _Split:
    """SW_p^p between the groups with label True and the others, along sorted rows (L, n + m)."""

    rows: Array
    order: Array
    group: Array
    weights: Array
    p: float

    def __call__(self, labels: Array) -> Array:
        from . import kernels

        out, found = np.empty(len(self.rows)), np.empty(len(labels))
        for k, row in enumerate(labels):
            chosen = row[self.group]
            kernels.split_rows(self.rows, self.order, chosen, int(chosen.sum()), self.p, out)
            found[k] = self.weights @ out
        return found


def _grouped(
    given: list[Array | str | None], sides: tuple[Array, Array], weights: Array
) -> tuple[Array, int]:
    """Number of the group of each row of both samples, and how many groups the first has."""
    if any(isinstance(groups, str) for groups in given):
        if any(isinstance(groups, np.ndarray) for groups in given):
            raise ValueError("groups_x, groups_y: got labels and 'auto'; expected one of them")
        time = max(autocorrelation_time(side, weights) for side in sides)
        given = [
            blocks_of(name, side.shape[1], time, FEWEST_BLOCKS)
            for name, side in zip("xy", sides, strict=True)
        ]
    if all(groups is None for groups in given):
        given = [np.arange(side.shape[1]) for side in sides]
    found = [groups for groups in given if isinstance(groups, np.ndarray)]
    if len(found) < 2:
        raise ValueError("groups_x, groups_y: got those of one sample; expected both or none")
    counts = [int(groups.max()) + 1 for groups in found]
    grouped = counts != [side.shape[1] for side in sides]
    if grouped and math.comb(sum(counts), counts[0]) < FEWEST_ASSIGNMENTS:
        least = 1 / math.comb(sum(counts), counts[0])
        raise ValueError(
            f"groups: {counts[0]} against {counts[1]} can give no p value below {least:.2g}; cut "
            "them into blocks"
        )
    return np.concatenate([found[0], counts[0] + found[1]]), counts[0]
