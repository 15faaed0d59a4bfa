"""Resampling: indices drawn so that index l is expected n W_l times among n.

All schemes are unbiased; they differ in variance and in what is proved of them:

==============  ==============================================================================
systematic      one uniform for all: the default everywhere, usually the smallest variance
stratified      a uniform in each stratum: nearly as small, never above multinomial, and with the
                proofs (consistency, central limit theorem) that systematic lacks
residual        whole parts of n W_l are copied, the rest is drawn: for weights near equality
multinomial     independent draws: the simplest theory and the largest variance; where a proof,
                a coupling or a comparison asks for independence
==============  ==============================================================================

`conditional_resample` draws the other indices GIVEN that one slot has a certain one, so that
together they have the law of the scheme: what conditional particle filters need. Overwriting one
slot of an ordinary systematic or stratified draw has another law and a bias that only a tiny
model shows.

References: Kitagawa (1996), JCGS 5, for stratified and systematic; Liu & Chen (1998), JASA 93, for
residual; Chopin & Singh (2015), Bernoulli 21, for conditional resampling.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import count, finite, one_of
from .randomness import Seed, generator, seed_sequence

SCHEMES = ("multinomial", "residual", "stratified", "systematic")
CONDITIONAL_SCHEMES = ("multinomial", "stratified", "systematic")

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def resample(
    weights: ArrayLike, n: int | None = None, *, scheme: str = "systematic", seed: Seed = None
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
    TypeError, ValueError
        Weights, n or scheme are not as above; masked weights are refused.

    Examples
    --------
    >>> resample([0.5, 0.0, 0.25, 0.25], scheme="residual", seed=1)
    array([0, 0, 2, 3])
    """
    w = _weights(weights)
    draw = _SCHEMES[one_of("scheme", scheme, SCHEMES)]
    n = w.size if n is None else count("n", n)
    return draw(w, n, _rng(seed))


def _multinomial(w: Array, n: int, rng: np.random.Generator) -> Indices:
    if n == 0:
        return np.empty(0, dtype=np.int64)
    # partial sums of exponentials are ordered uniforms
    gaps = np.cumsum(rng.standard_exponential(n + 1))
    cumulative = np.cumsum(w)
    return _at(cumulative, gaps[:-1] * (cumulative[-1] / gaps[-1]))


def _residual(w: Array, n: int, rng: np.random.Generator) -> Indices:
    share = n * w / w.sum()
    copies = share.astype(np.int64)
    first = np.repeat(np.arange(w.size), copies)[:n]
    return np.concatenate([first, _multinomial(share - copies, n - first.size, rng)])


def _stratified(w: Array, n: int, rng: np.random.Generator) -> Indices:
    return _at(np.cumsum(w), (np.arange(n) + rng.random(n)) / n * w.sum())


def _systematic(w: Array, n: int, rng: np.random.Generator) -> Indices:
    return _at(np.cumsum(w), (np.arange(n) + rng.random()) / n * w.sum())


def _at(cumulative: Array, places: Array) -> Indices:
    """Which index each place on the line of cumulative weights belongs to."""
    return np.minimum(np.searchsorted(cumulative, places, side="right"), cumulative.size - 1)


_SCHEMES = {
    "multinomial": _multinomial,
    "residual": _residual,
    "stratified": _stratified,
    "systematic": _systematic,
}


def conditional_resample(
    weights: ArrayLike,
    slot: int,
    frozen: int,
    n: int | None = None,
    *,
    scheme: str = "systematic",
    seed: Seed = None,
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
    TypeError, ValueError
        An argument is not as above; masked weights are refused.

    Examples
    --------
    >>> conditional_resample([0.7, 0.1, 0.1, 0.1], slot=0, frozen=3, seed=1)
    array([3, 0, 0, 0])
    """
    w = _weights(weights)
    one_of("scheme", scheme, CONDITIONAL_SCHEMES)
    n = w.size if n is None else count("n", n)
    slot, frozen = count("slot", slot, 0), count("frozen", frozen, 0)
    if not slot < n:
        raise ValueError(f"slot: got {slot}; expected a number from 0 to {n - 1}")
    if not frozen < w.size or w[frozen] == 0:
        raise ValueError(
            f"frozen: got {frozen}; expected an index from 0 to {w.size - 1} of positive weight"
        )
    rng = _rng(seed)
    if scheme == "multinomial":
        drawn = _multinomial(w, n - 1, rng)
    else:
        drawn = _turned_comb(w, frozen, n, rng, stratified=scheme == "stratified")
    return np.concatenate([drawn[:slot], [frozen], drawn[slot:]])


def _turned_comb(
    w: Array, frozen: int, n: int, rng: np.random.Generator, *, stratified: bool
) -> Indices:
    """The n - 1 other indices of a comb with a tooth in the interval of the frozen one."""
    cumulative = np.cumsum(w)
    total = cumulative[-1]
    start = (cumulative[frozen] - w[frozen] + rng.random() * w[frozen]) / total
    shifts = np.zeros(n - 1)
    if stratified:
        start -= rng.random() / n
        shifts = rng.random(n - 1)
    teeth = start + (np.arange(1, n) + shifts) / n
    return _at(cumulative, (teeth - np.floor(teeth)) * total)


def _weights(weights: ArrayLike) -> NDArray[np.float64]:
    w = finite("weights", weights)
    if w.ndim != 1 or w.size == 0:
        raise ValueError(f"weights: got shape {w.shape}; expected (N,) with N >= 1")
    least, total = w.min(), w.sum()
    if not (least >= 0 and 0 < total < math.inf):
        got = f"{least} at {int(w.argmin())}" if least < 0 else f"a sum of {total}"
        raise ValueError(f"weights: got {got}; expected numbers from 0 with a positive, finite sum")
    return w


def _rng(seed: Seed) -> np.random.Generator:
    if isinstance(seed, np.random.Generator):
        return seed
    return generator(seed_sequence(seed), "resample")
