"""Smoothing without error: Kalman for linear Gaussian models, forward-backward for finite ones."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..weights import log_sum_exp
from .model import StateSpaceModel, observations

Array = NDArray[np.float64]


class GaussianSmoothing(NamedTuple):
    """Smoothing laws of a linear Gaussian model; without the last axes when states are floats.

    Attributes
    ----------
    means : ndarray, shape (T, d)
        E[x_t | y].
    covariances : ndarray, shape (T, d, d)
        Cov[x_t | y].
    lag_one_covariances : ndarray, shape (T - 1, d, d)
        Cov[x_{t+1}, x_t | y].
    log_likelihood : float
        log p(y).
    """

    means: Array
    covariances: Array
    lag_one_covariances: Array
    log_likelihood: float


class FiniteSmoothing(NamedTuple):
    """Smoothing laws of a finite hidden Markov model.

    Attributes
    ----------
    probabilities : ndarray, shape (T, K)
        P(x_t = k | y).
    pair_probabilities : ndarray, shape (T - 1, K, K)
        P(x_t = j, x_{t+1} = k | y).
    log_likelihood : float
        log p(y).
    """

    probabilities: Array
    pair_probabilities: Array
    log_likelihood: float


def _system(model: StateSpaceModel, kind: str, what: str) -> tuple[Array, ...]:
    if not isinstance(model, StateSpaceModel):
        raise TypeError(f"model: got {type(model).__name__}; expected a StateSpaceModel")
    if model.exact is None or model.exact.kind != kind:
        raise ValueError(f"model: expected one made by {what}; its smoothing law is known exactly")
    return model.exact.system(model.theta)


def kalman_smoother(model: StateSpaceModel, y: ArrayLike) -> GaussianSmoothing:
    """Exact smoothing of a linear Gaussian model.

    Parameters
    ----------
    model : StateSpaceModel
        Made by `smcweights.models.linear_gaussian`.
    y : array_like, shape (T,) or (T, p)
        Observations; NaN where a component is missing.

    Returns
    -------
    GaussianSmoothing
        Named tuple of means, covariances, lag_one_covariances, log_likelihood.

    Raises
    ------
    TypeError, ValueError
        Another model, or y of the wrong shape.

    References
    ----------
    Rauch, Tung & Striebel (1965), AIAA Journal 3.

    Examples
    --------
    >>> from smcweights import models
    >>> exact = kalman_smoother(models.linear_gaussian(0.9, 1.0, 1.0, 1.0), [1.0, float("nan")])
    >>> exact.means.round(4)
    array([0.8403, 0.7563])
    """
    a, q, h, r, m, p = _system(model, "linear_gaussian", "models.linear_gaussian")
    rows = observations(y)
    if rows.shape[1] != len(h):
        raise ValueError(f"y: got {rows.shape[1]} columns; expected {len(h)}")
    n_steps, d = len(rows), len(m)
    means, covariances = np.empty((n_steps, d)), np.empty((n_steps, d, d))
    predicted_means, predicted = np.empty((n_steps, d)), np.empty((n_steps, d, d))
    log_likelihood = 0.0
    for t, row in enumerate(rows):
        if t:
            m, p = a @ means[t - 1], a @ covariances[t - 1] @ a.T + q
        predicted_means[t], predicted[t] = m, p
        seen = ~np.isnan(row)
        if seen.any():
            hs, rs = h[seen], r[np.ix_(seen, seen)]
            s = hs @ p @ hs.T + rs
            error = row[seen] - hs @ m
            gain = np.linalg.solve(s, hs @ p).T
            scaled = np.linalg.solve(s, error)
            log_likelihood -= 0.5 * (
                error @ scaled + np.linalg.slogdet(s)[1] + seen.sum() * math.log(2 * math.pi)
            )
            # Joseph's form stays positive definite
            rest = np.eye(d) - gain @ hs
            m, p = m + gain @ error, rest @ p @ rest.T + gain @ rs @ gain.T
        means[t], covariances[t] = m, p
    lag_one = np.empty((n_steps - 1, d, d))
    for t in range(n_steps - 2, -1, -1):
        gain = np.linalg.solve(predicted[t + 1], a @ covariances[t]).T
        means[t] += gain @ (means[t + 1] - predicted_means[t + 1])
        covariances[t] += gain @ (covariances[t + 1] - predicted[t + 1]) @ gain.T
        lag_one[t] = covariances[t + 1] @ gain.T
    if model.state_dim is None:
        return GaussianSmoothing(
            means[:, 0], covariances[:, 0, 0], lag_one[:, 0, 0], float(log_likelihood)
        )
    return GaussianSmoothing(means, covariances, lag_one, float(log_likelihood))


def forward_backward(model: StateSpaceModel, y: ArrayLike) -> FiniteSmoothing:
    """Exact smoothing of a finite hidden Markov model.

    Parameters
    ----------
    model : StateSpaceModel
        Made by `smcweights.models.finite_hmm`.
    y : array_like, shape (T,)
        Observations; NaN where missing.

    Returns
    -------
    FiniteSmoothing
        Named tuple of probabilities, pair_probabilities, log_likelihood.

    Raises
    ------
    TypeError, ValueError
        Another model, or y of the wrong shape.

    References
    ----------
    Rabiner (1989), Proceedings of the IEEE 77.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.finite_hmm([0.5, 0.5], [[0.9, 0.1], [0.3, 0.7]], [0.0, 2.0], [1.0, 1.0])
    >>> forward_backward(model, [0.1, 1.9]).probabilities.round(3)
    array([[0.668, 0.332],
           [0.421, 0.579]])
    """
    first, matrix, means, scales = _system(model, "finite_hmm", "models.finite_hmm")
    rows = observations(y)
    if rows.shape[1] != 1:
        raise ValueError(f"y: got {rows.shape[1]} columns; expected shape (T,)")
    z = (rows - means) / scales
    log_g = -0.5 * (z * z + math.log(2 * math.pi)) - np.log(scales)
    log_g[np.isnan(rows[:, 0])] = 0.0
    n_steps, k = log_g.shape
    with np.errstate(divide="ignore"):
        log_first, log_matrix = np.log(first), np.log(matrix)
    forward, backward = np.empty((n_steps, k)), np.zeros((n_steps, k))
    forward[0] = log_first + log_g[0]
    for t in range(1, n_steps):
        forward[t] = np.logaddexp.reduce(forward[t - 1][:, None] + log_matrix, axis=0) + log_g[t]
    for t in range(n_steps - 2, -1, -1):
        backward[t] = np.logaddexp.reduce(log_matrix + log_g[t + 1] + backward[t + 1], axis=1)
    log_likelihood = log_sum_exp(forward[-1])
    probabilities = np.exp(forward + backward - log_likelihood)
    pairs = np.exp(
        forward[:-1, :, None] + log_matrix + (log_g + backward)[1:, None, :] - log_likelihood
    )
    return FiniteSmoothing(probabilities, pairs, log_likelihood)
