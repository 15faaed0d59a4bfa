"""Covariance of means over Markov chains, by Geyer's initial monotone sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

COLUMNS = 64  # series transformed at a time
SHORT = 50  # effective draws in a chain, below which chains are compared with one another


@dataclass(frozen=True)
class ChainSpread:
    """How far means over all draws of some chains scatter.

    ``covariance`` (J, J) is that of the means; ``time`` (J,) their autocorrelation times;
    ``between`` (J,) marks those whose variance is that between chains, ``short`` (J,) those of
    which chains are worth fewer than 50 draws each.
    """

    covariance: np.ndarray
    time: np.ndarray
    between: np.ndarray
    short: np.ndarray


def chain_spread(terms: np.ndarray, chains: Sequence[np.ndarray]) -> ChainSpread:
    """Spread of the mean of terms (n, J) of mean zero; ``chains`` are their rows, in order.

    Autocovariances are averaged over chains and taken about zero. The covariance of two components
    follows from the variance of their sum. Where a chain is worth fewer than 50 draws, the larger
    of this and of the variance between chains is taken.
    """
    n, j = terms.shape
    plain = (terms**2).mean(0)
    scale = np.sqrt(np.where(plain > 0, plain, 1.0))
    unit = terms / scale
    own = np.concatenate(list(_variances(unit, chains, [(i,) for i in range(j)])))
    pairs = [(i, k) for i in range(j) for k in range(i)]
    correlated = np.diag(own)
    for (i, k), of_sum in zip(
        pairs, np.concatenate([np.empty(0), *_variances(unit, chains, pairs)]), strict=True
    ):
        correlated[i, k] = correlated[k, i] = (of_sum - own[i] - own[k]) / 2
    values, vectors = np.linalg.eigh(correlated)
    correlated = (vectors * np.maximum(values, 0.0)) @ vectors.T
    time = np.where(plain > 0, n * own, 1.0)
    short = n / time < SHORT * len(chains)
    wanted, between = own, np.zeros(j, dtype=bool)
    if len(chains) > 1:
        sums = np.array([unit[rows].sum(0) for rows in chains])
        apart = len(chains) * sums.var(0, ddof=1) / n**2
        between = short & (apart > own)
        wanted = np.where(between, apart, own)
    diagonal = np.diag(correlated)
    # what the floor of the eigenvalues added is taken back
    ratio = np.sqrt(np.divide(wanted, diagonal, out=np.zeros(j), where=diagonal > 0)) * scale
    return ChainSpread(correlated * np.outer(ratio, ratio), time, between, short)


def _variances(
    terms: np.ndarray, chains: Sequence[np.ndarray], sums: Sequence[tuple[int, ...]]
) -> Iterator[np.ndarray]:
    """Variances of the means of sums of columns of terms, block by block."""
    for a in range(0, len(sums), COLUMNS):
        block = [sum(terms[:, i] for i in which) for which in sums[a : a + COLUMNS]]
        yield _geyer(np.stack(block, axis=1), chains)


def _geyer(terms: np.ndarray, chains: Sequence[np.ndarray]) -> np.ndarray:
    """Variances (J,) of the means of terms (n, J)."""
    from scipy.fft import irfft, next_fast_len, rfft

    n, longest = len(terms), max(map(len, chains))
    longest += longest % 2
    size = next_fast_len(2 * longest, real=True)
    power = np.zeros((size // 2 + 1, terms.shape[1]))
    for rows in chains:
        power += np.abs(rfft(terms[rows], size, axis=0)) ** 2
    covariance = irfft(power, size, axis=0)[:longest] / n
    pairs = covariance.reshape(-1, 2, terms.shape[1]).sum(1)
    # from the first pair that is not positive on, all is noise
    positive = np.logical_and.accumulate(pairs > 0, axis=0)
    total = np.where(positive, np.minimum.accumulate(pairs, axis=0), 0.0).sum(0)
    # chains that swing about their mean have a variance below that of independent draws; how far
    # below, so few draws can't tell
    return np.maximum(2 * total - covariance[0], covariance[0] / 10) / n
