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
        numbers = np.unique(labels, return_inverse=True)[1]
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: {expected} ({error})") from None
    if labels.shape != (size,):
        raise ValueError(f"{name}: got shape {labels.shape}; {expected}")
    return numbers


def neighbours(rows: Array, weights: Array) -> float:
    """Autocorrelation of neighbours in rows (L, n), averaged with weights (L,)."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    total = float(weights @ np.einsum("ln,ln->l", centred, centred))
    lagged = float(weights @ np.einsum("ln,ln->l", centred[:, 1:], centred[:, :-1]))
    return lagged / total if total > 0 else 0.0


def dependent(neighbouring: float, size: int) -> bool:
    """Whether so large an autocorrelation of neighbours says that rows aren't independent."""
    return neighbouring * math.sqrt(size) > SEEN_DEPENDENT


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


def blocks_of(name: str, size: int, time: float, fewest: int, times: int = 10) -> Array:
    """Numbers of blocks of consecutive rows, so many autocorrelation times long or longer.

    Examples
    --------
    >>> np.bincount(blocks_of("x", 200, 2.0, 5))
    array([20, 20, 20, 20, 20, 20, 20, 20, 20, 20])
    """
    if time <= 1.3:
        return np.arange(size)
    blocks = size // math.ceil(times * time)
    if blocks < fewest:
        enough = math.ceil(fewest * math.ceil(times * time))
        raise ValueError(
            f"{name}: {size} rows with an autocorrelation time of {time:.3g} make {blocks} blocks; "
            f"expected at least {enough} rows"
        )
    return np.arange(size) * blocks // size
