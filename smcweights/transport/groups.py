"""Which rows of a sample belong together: labels, and blocks of rows that depend on neighbours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import unmasked

Array = NDArray[Any]

SEEN_DEPENDENT = 4  # standard errors of the first autocorrelation


def labels_of(name: str, groups: ArrayLike | None, size: int) -> Array | str | None:
    """Numbers of groups from 0 (size,), "auto" or None, checked."""
    if groups is None or (isinstance(groups, str) and groups == "auto"):
        return groups
    expected = f"expected one label per row, ({size},), or 'auto'"
    try:
        labels = unmasked(name, groups)
        # rows whose label is missing would be one group
        missing = np.flatnonzero([one is None or one != one for one in labels.ravel().tolist()])
        numbers = None if missing.size else np.unique(labels, return_inverse=True)[1]
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: {expected} ({error})") from None
    if labels.shape != (size,):
        raise ValueError(f"{name}: got shape {labels.shape}; {expected}")
    if numbers is None:
        raise ValueError(
            f"{name}: {missing.size} of {size} rows have no label, row {missing[0]} the first; "
            f"{expected}"
        )
    return numbers


def neighbours(rows: Array, weights: Array) -> tuple[float, float]:
    """Autocorrelation of neighbours in rows (L, n), averaged with weights (L,), and its error.

    The error is that of independent entries, the smaller the more rows differ.
    """
    centred = rows - rows.mean(axis=1, keepdims=True)
    total = float(weights @ np.einsum("ln,ln->l", centred, centred))
    if total == 0:
        return 0.0, math.inf
    products = np.einsum("l,ln,ln->n", weights, centred[:, 1:], centred[:, :-1])
    error = math.sqrt(float(products @ products)) / total
    return float(products.sum()) / total, min(error, 1 / math.sqrt(rows.shape[1]))


def dependent(found: tuple[float, float]) -> bool:
    """Whether an autocorrelation of neighbours with its error says that they aren't independent."""
    return found[0] > SEEN_DEPENDENT * found[1]


def autocorrelation_time(rows: Array, weights: Array) -> float:
    """Of rows (L, n), averaged with weights (L,): by Geyer's initial monotone sequence."""
    from scipy.fft import irfft, next_fast_len, rfft

    n = rows.shape[1]
    size = next_fast_len(2 * n, real=True)
    power = np.zeros(size // 2 + 1)
    for row, weight in zip(rows, weights, strict=True):
        power += weight * np.abs(rfft(row - row.mean(), size)) ** 2
    covariance = irfft(power, size)[: n - n % 2]
    if covariance.size == 0 or covariance[0] <= 0:
        return 1.0
    pairs = covariance.reshape(-1, 2).sum(axis=1) / covariance[0]
    positive = pairs[: int(np.argmax(pairs <= 0))] if (pairs <= 0).any() else pairs
    return max(2 * float(np.minimum.accumulate(positive).sum()) - 1, 1.0)


def blocks_of(
    name: str, size: int, time: float, fewest: int, times: int = 10, enough: float = math.inf
) -> Array:
    """Numbers of blocks of consecutive rows, so many autocorrelation times long or longer.

    Twice as long where at least `enough` are left then.

    Examples
    --------
    >>> np.bincount(blocks_of("x", 200, 2.0, 5))
    array([20, 20, 20, 20, 20, 20, 20, 20, 20, 20])
    """
    if time <= 1.3:
        return np.arange(size)
    blocks = size // math.ceil(times * time)
    if blocks < fewest:
        wanted = math.ceil(fewest * math.ceil(times * time))
        raise ValueError(
            f"{name}: {size} rows with an autocorrelation time of {time:.3g} make {blocks} blocks; "
            f"expected at least {wanted} rows"
        )
    if blocks > enough:
        blocks = int(max(size // math.ceil(2 * times * time), enough))
    return np.arange(size) * blocks // size
