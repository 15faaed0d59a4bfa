"""Two-sample test by permutations of the sliced Wasserstein distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, number
from ..randomness import Seed, generator, seed_sequence
from .clouds import pair_of
from .directions import draw, plan

__all__ = ["SlicedTest", "sliced_test"]


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
    permuted: NDArray[np.float64]


def sliced_test(
    x: ArrayLike,
    y: ArrayLike,
    budget: int = 50,
    *,
    permutations: int = 999,
    p: float = 2,
    directions: str | ArrayLike = "auto",
    seed: Seed = None,
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

    p, permutations = number("p", p, 1, ends=True), count("permutations", permutations)
    pair = pair_of(x, y, p=p)
    seeds = seed_sequence(seed)
    rule = plan(directions, pair.dimension, budget)
    theta = draw(rule, rule.blocks, generator(seeds, "directions")).reshape(-1, pair.dimension)
    weights = np.tile(rule.weights, rule.blocks) / rule.blocks
    pooled = np.concatenate([pair.x.points, pair.y.points]).astype(np.float64)
    rows = np.ascontiguousarray(theta @ pooled.T)
    order = rows.argsort(axis=1)
    rows.sort(axis=1)
    rng, n = generator(seeds, "permutations"), len(pair.x.points)
    labels = np.arange(len(pooled)) < n
    out, found = np.empty(len(theta)), np.empty(1 + permutations)
    for k in range(1 + permutations):
        kernels.split_rows(rows, order, labels if k == 0 else rng.permutation(labels), n, p, out)
        found[k] = weights @ out
    # equal up to rounding counts as at least as large
    larger = int((found[1:] >= found[0] * (1 - 1e-12)).sum())
    return SlicedTest(float(found[0]), (1 + larger) / (1 + permutations), found[1:])
