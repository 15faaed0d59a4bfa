"""Resampling: indices drawn so that index l is expected n W_l times among n.

All schemes are unbiased; they differ in variance. `systematic` uses one uniform and is the default
everywhere; `stratified` has proofs behind it that systematic lacks; `residual` copies the whole
part of n W_l and draws the rest; `multinomial` is the textbook scheme, with the largest variance
and the simplest theory.

`conditional_resample` draws the other indices GIVEN that one slot has a certain one, so that
together they have the law of the scheme: what conditional particle filters need. Overwriting one
slot of an ordinary systematic or stratified draw has another law and a bias that only a tiny
model shows.

References: Kitagawa (1996), JCGS 5, for stratified and systematic; Liu & Chen (1998), JASA 93, for
residual; Chopin & Singh (2015), Bernoulli 21, for conditional resampling.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .randomness import generator, seed_sequence

__all__ = ["SCHEMES", "conditional_resample", "resample"]

SCHEMES = ("multinomial", "residual", "stratified", "systematic")
CONDITIONAL_SCHEMES = ("multinomial", "stratified", "systematic")

Indices = NDArray[np.int64]


def resample(
    weights: ArrayLike, n: int | None = None, *, scheme: str = "systematic", seed: Any = None
) -> Indices:
    """Indices of n particles drawn by their weights.

    Parameters
    ----------
    weights : array_like, shape (N,)
        Not negative, with a positive sum; they need not be normalised.
    n : int, optional
        Number of indices, default N.
    scheme : {"systematic", "stratified", "residual", "multinomial"}
        How they are drawn.
    seed : None, int, SeedSequence or Generator
        A Generator is used as it is.

    Returns
    -------
    ndarray of int, shape (n,)
        Increasing, but for the copies of the residual scheme, which come first.

    Raises
    ------
    ValueError
        Weights or scheme are not as above.

    Examples
    --------
    >>> resample([0.5, 0.0, 0.25, 0.25], scheme="residual", seed=1)
    array([0, 0, 2, 3])
    """
    w = _weights(weights)
    if scheme not in SCHEMES:
        raise ValueError(f"scheme: got {scheme!r}; expected one of {SCHEMES}")
    n = w.size if n is None else n
    if n < 1:
        raise ValueError(f"n: got {n}; expected at least 1")
    rng = _rng(seed)
    if scheme == "multinomial":
        return _sorted_draws(rng, np.cumsum(w), n)
    total = w.sum()
    if scheme == "residual":
        share = n * w / total
        copies = share.astype(np.int64)
        first = np.repeat(np.arange(w.size), copies)[:n]
        return np.concatenate(
            [first, _sorted_draws(rng, np.cumsum(share - copies), n - first.size)]
        )
    u = rng.random(n) if scheme == "stratified" else np.full(n, rng.random())
    teeth = (np.arange(n) + u) / n * total
    return np.minimum(np.searchsorted(np.cumsum(w), teeth, side="right"), w.size - 1)


def conditional_resample(
    weights: ArrayLike,
    slot: int,
    frozen: int,
    n: int | None = None,
    *,
    scheme: str = "systematic",
    seed: Any = None,
) -> Indices:
    """Indices of n particles given that `slot` has the index `frozen`.

    Parameters
    ----------
    weights : array_like, shape (N,)
        Not negative; that of `frozen` is positive.
    slot : int
        The place whose index is prescribed, from 0 to n - 1.
    frozen : int
        Its index, from 0 to N - 1.
    n : int, optional
        Number of indices, default N.
    scheme : {"systematic", "stratified", "multinomial"}
        How the others are drawn. Systematic: a tooth uniform in the interval of `frozen` sets the
        comb. Stratified: the strata turn with it.
    seed : None, int, SeedSequence or Generator
        A Generator is used as it is.

    Returns
    -------
    ndarray of int, shape (n,)

    Raises
    ------
    ValueError
        An argument is not as above.

    Examples
    --------
    >>> conditional_resample([0.7, 0.1, 0.1, 0.1], slot=0, frozen=3, seed=1)
    array([3, 0, 0, 0])
    """
    w = _weights(weights)
    if scheme not in CONDITIONAL_SCHEMES:
        raise ValueError(f"scheme: got {scheme!r}; expected one of {CONDITIONAL_SCHEMES}")
    n = w.size if n is None else n
    if not 0 <= slot < n:
        raise ValueError(f"slot: got {slot}; expected a number from 0 to {n - 1}")
    if not 0 <= frozen < w.size or w[frozen] == 0:
        raise ValueError(
            f"frozen: got {frozen}; expected an index from 0 to {w.size - 1} of positive weight"
        )
    rng = _rng(seed)
    cumulative = np.cumsum(w)
    out = np.empty(n, dtype=np.int64)
    out[slot] = frozen
    others = np.arange(n) != slot
    if scheme == "multinomial":
        out[others] = _sorted_draws(rng, cumulative, n - 1)
        return out
    total = cumulative[-1]
    start = (cumulative[frozen] - w[frozen] + rng.random() * w[frozen]) / total
    shifts = np.zeros(n - 1)
    if scheme == "stratified":
        start -= rng.random() / n
        shifts = rng.random(n - 1)
    teeth = start + (np.arange(1, n) + shifts) / n
    found = np.searchsorted(cumulative, (teeth - np.floor(teeth)) * total, side="right")
    out[others] = np.minimum(found, w.size - 1)
    return out


def _weights(weights: ArrayLike) -> NDArray[np.float64]:
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 1 or w.size == 0:
        raise ValueError(f"weights: got shape {w.shape}; expected (N,) with N >= 1")
    if not (w >= 0).all() or not 0 < w.sum() < math.inf:
        raise ValueError("weights: expected finite numbers from 0, with a positive sum")
    return w


def _rng(seed: Any) -> np.random.Generator:
    if isinstance(seed, np.random.Generator):
        return seed
    return generator(seed_sequence(seed), "resample")


def _sorted_draws(rng: np.random.Generator, cumulative: NDArray[np.float64], n: int) -> Indices:
    """Independent draws in increasing order: partial sums of exponentials are ordered uniforms."""
    if n == 0:
        return np.empty(0, dtype=np.int64)
    gaps = np.cumsum(rng.standard_exponential(n + 1))
    u = gaps[:-1] * (cumulative[-1] / gaps[-1])
    return np.minimum(np.searchsorted(cumulative, u, side="right"), cumulative.size - 1)
