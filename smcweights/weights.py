"""Arithmetic on log weights: normalising, averaging, and judging how far they can be trusted.

Weights live on the log scale from the density to the last sum, so that a density which
underflows is ``-inf`` (a weight of zero) and never 0/0. Every function takes one vector of log
weights, in double precision whatever the dtype handed in, known up to an additive constant
except in `log_sum_exp` and `log_mean_exp`. What is no non-empty vector, or has NaN or +inf
somewhere, is a `ValueError` that names the index; weights that are all zero a `DegeneracyError`.

Which number answers which question:

- `effective_sample_size`: how many equally weighted draws would give the same variance;
- `perplexity`: the same on an entropy scale, less swayed by the few largest weights;
- `largest_weight`: whether one draw decides the result;
- `pareto_k`: whether the variance exists at all and the standard error can be believed. The first
  three are computed from the draws at hand and look excellent when the draws that matter are
  still missing; this one extrapolates the tail.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import finite, number, numbers
from .errors import DegeneracyError


def log_sum_exp(log_w: ArrayLike) -> float:
    """Logarithm of the sum of weights, without overflow or underflow.

    Parameters
    ----------
    log_w : array_like, shape (n,)
        Log weights; -inf is a weight of zero.

    Returns
    -------
    float
        log(sum_i exp(log_w_i)).

    Examples
    --------
    >>> round(log_sum_exp([-1000.0, -1000.0]), 4)
    -999.3069
    """
    scaled, largest = _scaled(log_w)
    return largest + math.log(scaled.sum())


def log_mean_exp(log_w: ArrayLike) -> float:
    """Logarithm of the mean weight: the usual estimate of a log normalising constant.

    Parameters
    ----------
    log_w : array_like, shape (n,)
        Log weights; -inf is a weight of zero and counts in n.

    Returns
    -------
    float
        log((1/n) sum_i exp(log_w_i)).

    Examples
    --------
    >>> round(log_mean_exp(np.log([1.0, 3.0])), 4)
    0.6931
    """
    scaled, largest = _scaled(log_w)
    return largest + math.log(scaled.mean())


def log_mean_normal(log_z: ArrayLike) -> tuple[float, float]:
    """Log of E[exp(log_z)] for normal log_z, and its standard error.

    Logs of normalising constants of particle runs are nearly normal with mean log Z - s^2/2 and
    variance s^2 (Berard, Del Moral & Doucet 2014), which a few runs tell better than the logarithm
    of their mean: at s = 1 eight of them cover 94 % where that covers 88 %.

    Parameters
    ----------
    log_z : array_like, shape (k,)
        k >= 2 independent runs, finite.

    Returns
    -------
    float
        mean + s^2/2.
    float
        sqrt(s^2/k + s^4/(2 (k - 1))), for Student's law with k - 1 degrees of freedom.

    Examples
    --------
    >>> value, error = log_mean_normal([-1.0, 0.0, 1.0])
    >>> value, round(error, 9)
    (0.5, 0.763762616)
    """
    runs = finite("log_z", log_z)
    if runs.ndim != 1 or runs.size < 2:
        raise ValueError(f"log_z: got shape {runs.shape}; expected (k,) with k >= 2")
    k, spread = runs.size, float(runs.std(ddof=1))
    return (
        float(runs.mean()) + spread**2 / 2,
        math.sqrt(spread**2 / k + spread**4 / (2 * (k - 1))),
    )


def normalise(log_w: ArrayLike) -> NDArray[np.float64]:
    """Weights that sum to one.

    Parameters
    ----------
    log_w : array_like, shape (n,)
        Log weights, up to an additive constant.

    Returns
    -------
    ndarray, shape (n,)
        exp(log_w_i) / sum_j exp(log_w_j).

    Examples
    --------
    >>> normalise([-2000.0, -2000.0, -np.inf])
    array([0.5, 0.5, 0. ])
    """
    scaled, _ = _scaled(log_w)
    return scaled / scaled.sum()


def effective_sample_size(log_w: ArrayLike) -> float:
    """Number of equally weighted draws worth as much as these: (sum w)^2 / sum w^2.

    Parameters
    ----------
    log_w : array_like, shape (n,)
        Log weights, up to an additive constant.

    Returns
    -------
    float
        Between 1 (one draw has all the weight) and n (equal weights).

    References
    ----------
    Kong (1992), A note on importance sampling using standardized weights.

    Examples
    --------
    >>> effective_sample_size(np.log([1.0, 1.0, 2.0]))
    2.66...
    """
    w = normalise(log_w)
    return float(1.0 / (w @ w))


def perplexity(log_w: ArrayLike) -> float:
    """Exponential of the entropy of the normalised weights, divided by their number.

    Parameters
    ----------
    log_w : array_like, shape (n,)
        Log weights, up to an additive constant.

    Returns
    -------
    float
        exp(-sum_i W_i log W_i) / n, between 1/n and 1.

    References
    ----------
    Cappe, Douc, Guillin, Marin, Robert (2008), Adaptive importance sampling in general mixture
    classes, arXiv 0710.4242.

    Examples
    --------
    >>> round(perplexity([0.0, 0.0, -np.inf, -np.inf]), 12)
    0.5
    """
    w = normalise(log_w)
    positive = w[w > 0]
    return float(np.exp(-(positive @ np.log(positive))) / w.size)


def largest_weight(log_w: ArrayLike) -> float:
    """Share of the total weight that the heaviest draw has.

    Parameters
    ----------
    log_w : array_like, shape (n,)
        Log weights, up to an additive constant.

    Returns
    -------
    float
        Between 1/n and 1.

    Examples
    --------
    >>> largest_weight([0.0, 0.0, 0.0, 0.0])
    0.25
    """
    scaled, _ = _scaled(log_w)
    return float(1.0 / scaled.sum())


def pareto_k(log_w: ArrayLike) -> float:
    """Shape of the generalised Pareto law that fits the largest weights.

    Moments of the weights of order below 1/k exist: under 0.5 the variance does, from 1 on not
    even the mean. Compare with `pareto_k_threshold`; above it a standard error is not to be
    believed. The tail is the ceil(min(n/5, 3 sqrt(n))) largest weights, as excesses over the next
    one below; the fit is the quasi-Bayesian one of Zhang & Stephens, drawn towards 0.5 by a prior
    worth ten draws.

    Parameters
    ----------
    log_w : array_like, shape (n,)
        Log weights (not minus log weights), up to an additive constant.

    Returns
    -------
    float
        k-hat. -inf when the whole tail equals the largest weight (the bound of the weights is
        reached: there is no tail); inf when fewer than 5 weights lie above the cut, so that
        nothing can be fitted and nothing promised (always so for n below 21).

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling, JMLR 25,
    arXiv 1507.02646. Zhang & Stephens (2009), Technometrics 51.

    Examples
    --------
    >>> u = (np.arange(10_000) + 0.5) / 10_000
    >>> round(pareto_k(-1.2 * np.log(u)), 1), round(pareto_k(np.log(u)), 1)
    (1.2, -0.9)
    """
    scaled, _ = _scaled(log_w)
    first = scaled.size - _tail_size(scaled.size)
    if first == 0:
        return math.inf
    ordered = np.partition(scaled, first - 1)
    excess = np.sort(ordered[first:] - ordered[first - 1])
    if excess[-1] <= 100 * np.finfo(float).eps:
        return -math.inf
    # ties with the cut are no excesses; the law of an excess has no atom at zero
    excess = excess[excess > 0]
    return _generalised_pareto(excess)[0] if excess.size >= 5 else math.inf


def pareto_smoothed(log_w: ArrayLike) -> NDArray[np.float64]:
    """Log weights whose largest ones are replaced by quantiles of the law that fits them.

    Less variance for some bias: what the weights say then is not exact in the limit at any k-hat.
    The tail and the fit are those of `pareto_k`; no weight becomes larger than the largest.

    Parameters
    ----------
    log_w : array_like, shape (n,)
        Log weights, up to an additive constant.

    Returns
    -------
    ndarray, shape (n,)
        In the order given; unchanged where no tail can be fitted.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling, JMLR 25,
    arXiv 1507.02646.

    Examples
    --------
    >>> u = (np.arange(1_000) + 0.5) / 1_000
    >>> smoothed = pareto_smoothed(-0.6 * np.log(u))
    >>> bool(abs(smoothed + 0.6 * np.log(u)).max() < 0.5)
    True
    """
    scaled, largest = _scaled(log_w)
    first = scaled.size - _tail_size(scaled.size)
    order = np.argsort(scaled, kind="stable")
    cut = scaled[order[first - 1]] if first else 0.0
    excess = scaled[order[first:]] - cut
    out = numbers("log weights", log_w).astype(np.float64)
    if first == 0 or excess[-1] <= 100 * np.finfo(float).eps or (excess > 0).sum() < 5:
        return out
    k, scale = _generalised_pareto(excess[excess > 0])
    rank = np.log1p(-(np.arange(excess.size) + 0.5) / excess.size)
    quantile = scale * (np.expm1(-k * rank) / k if k else -rank)
    out[order[first:]] = np.log(np.minimum(cut + quantile, 1.0)) + largest
    return out


def _tail_size(n: int) -> int:
    """How many of n weights are the tail."""
    return math.ceil(min(n / 5, 3 * math.sqrt(n)))


def pareto_k_threshold(n: int) -> float:
    """Largest k-hat at which n draws still give a standard error to be believed.

    Parameters
    ----------
    n : int
        Number of draws, at least 2.

    Returns
    -------
    float
        min(1 - 1/log10(n), 0.7).

    Raises
    ------
    ValueError
        n is below 2.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling, JMLR 25,
    section 3.2.4, arXiv 1507.02646.

    Examples
    --------
    >>> pareto_k_threshold(100), pareto_k_threshold(10**6)
    (0.5, 0.7)
    """
    return min(1 - 1 / math.log10(number("n", n, 2, ends=True)), 0.7)


def _scaled(log_w: ArrayLike) -> tuple[NDArray[np.float64], float]:
    """Check log weights; weights relative to the largest (in [0, 1]) and the largest log weight."""
    given = numbers("log weights", log_w)
    if given.ndim != 1 or given.size == 0:
        raise ValueError(f"log weights: got shape {given.shape}; expected (n,) with n >= 1")
    values = given.astype(np.float64, copy=False)
    bad = np.isnan(values) | (values == np.inf)
    if bad.any():
        index = int(bad.argmax())
        raise ValueError(
            f"log weights: {values[index]} at index {index}; expected finite numbers or -inf"
        )
    largest = float(values.max())
    if largest == -math.inf:
        raise DegeneracyError(f"all {values.size} weights are zero (every log weight is -inf)")
    # a difference beyond the range of doubles is a weight of zero, no matter for a warning
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(values - largest), largest


def _generalised_pareto(excess: NDArray[np.float64]) -> tuple[float, float]:
    """Shape k and scale sigma of a generalised Pareto law from sorted positive draws (m,), m >= 5.

    Written in theta = -k/sigma, over which the profile likelihood is averaged on a grid of
    quantiles of its prior (Zhang & Stephens 2009), with the sign of k as in Vehtari et al.
    """
    m = excess.size
    # the smallest positive doubles would overflow 1/quartile
    quartile = max(excess[int(m / 4 + 0.5) - 1], np.finfo(float).tiny)
    n_grid = 30 + int(math.sqrt(m))
    grid = (1 - np.sqrt(n_grid / (np.arange(n_grid) + 0.5))) / (3 * quartile) + 1 / excess[-1]
    # at 0, where equal draws may put one, the likelihood is a limit
    grid[grid == 0] = np.finfo(float).eps / excess[-1]
    k = np.log1p(-grid[:, None] * excess).mean(axis=1)
    log_likelihood = m * (np.log(-grid / k) - k - 1)
    theta = float(normalise(log_likelihood) @ grid)
    k_hat = float(np.log1p(-theta * excess).mean())
    return (m * k_hat + 10 * 0.5) / (m + 10), -k_hat / theta
