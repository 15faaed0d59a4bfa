"""Posteriors whose truth is known, for the tests of `posterior`."""

import numpy as np
from scipy import stats
from scipy.special import logsumexp


def regression(n, d=3, seed=0):
    """A conjugate regression: log likelihood, prior, log evidence, means, covariance."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    y = x @ np.linspace(-1.5, 1, d) + rng.standard_normal(n)
    xx, xy, yy = x.T @ x, x.T @ y, y @ y
    covariance = np.linalg.inv(xx + np.eye(d) / 4)
    mean = covariance @ xy
    log_det = np.linalg.slogdet(np.eye(d) + 4 * xx)[1]
    truth = -0.5 * (n * np.log(2 * np.pi) + log_det + yy - mean @ xy)

    def log_likelihood(t):
        square = yy - 2 * t @ xy + np.einsum("...i,ij,...j->...", t, xx, t)
        return -0.5 * (n * np.log(2 * np.pi) + square)

    prior = {f"b{i}": stats.norm(0, 2) for i in range(d)}
    return log_likelihood, prior, truth, mean, covariance


def independent(log_one, d):
    """Likelihoods of each input under standard-normal priors: log evidence, mean by quadrature."""
    x = np.linspace(-9, 9, 400_001)
    log_p = log_one(x) + stats.norm.logpdf(x)
    log_z = logsumexp(log_p) + np.log(x[1] - x[0])
    mean = np.exp(log_p - logsumexp(log_p)) @ x
    return lambda t: log_one(t).sum(1), [stats.norm()] * d, d * log_z, np.full(d, mean)


def skewed(d=3):
    """Gumbel likelihoods."""
    return independent(stats.gumbel_r(1.0, 0.3).logpdf, d)


def modes(d=2):
    """Two modes in every coordinate, of masses 1 : 2."""
    laws = stats.norm(-1.5, 0.25), stats.norm(1.2, 0.2)

    def log_one(x):
        return np.logaddexp(laws[0].logpdf(x) - np.log(3), laws[1].logpdf(x) + np.log(2 / 3))

    return independent(log_one, d)
