"""Problems with every answer in closed form: bounded inputs, and two kinds of dependence."""

from __future__ import annotations

import math

import numpy as np

from .problem import Array, Problem, exceedances

SUM_WEIGHTS = np.array([1.0, 2.0, 3.0, 4.0])
SUM_LEVELS = (0.9, 0.5)


def weighted_sum(x: Array) -> Array:
    """x1 + 2 x2 + 3 x3 + 4 x4, shape (n, 4) -> (n,)."""
    return np.asarray(x) @ SUM_WEIGHTS


def bounded_sum_integrand(x: Array) -> Array:
    """The sum, its square, exp(-sum), and whether it is at most 0.9 and 0.5."""
    y = weighted_sum(x)
    return np.stack([y, y**2, np.exp(-y), *((y <= t).astype(float) for t in SUM_LEVELS)], axis=1)


def bounded_sum() -> Problem:
    """Weighted sum of four inputs uniform on [0, 1]: rare events in a corner of the cube.

    y = x1 + 2 x2 + 3 x3 + 4 x4. For t <= 1 the event y <= t is a simplex in the corner:
    P = t^4 / (4! 1 2 3 4).

    Returns
    -------
    Problem
        Expectations: mean, second moment, E[exp(-y)] = prod (1 - exp(-w_i))/w_i, and the
        probabilities that y is at most 0.9 (1.1e-3) and 0.5 (1.1e-4). Closed forms.

    Examples
    --------
    >>> bounded_sum().truth["mean"]
    5.0
    """
    from scipy import stats

    w = SUM_WEIGHTS
    mean = w.sum() / 2
    truth = {
        "mean": float(mean),
        "second moment": float(mean**2 + (w**2).sum() / 12),
        "E[exp(-y)]": float(np.prod(-np.expm1(-w) / w)),
    } | {f"P(y <= {t})": float(t**4 / (24 * w.prod())) for t in SUM_LEVELS}
    return Problem(
        name="bounded_sum",
        function=weighted_sum,
        law=[stats.uniform()] * 4,
        integrand=bounded_sum_integrand,
        names=tuple(truth),
        truth=truth,
        accuracy="closed form",
        source="volume of a simplex",
    )


NORMAL_MEAN = np.array([1.0, -0.5, 2.0])
NORMAL_COVARIANCE = np.array([[1.0, 0.6, -0.3], [0.6, 2.0, 0.2], [-0.3, 0.2, 0.5]])
NORMAL_WEIGHTS = np.array([1.0, 0.5, -2.0])
NORMAL_LEVELS = (3.0, 5.0)


def linear_combination(x: Array) -> Array:
    """x1 + x2/2 - 2 x3, shape (n, 3) -> (n,)."""
    return np.asarray(x) @ NORMAL_WEIGHTS


def correlated_normals_integrand(x: Array) -> Array:
    """The combination y, x1 x2, max(y, 0), and whether y exceeds 3 and 5."""
    x = np.asarray(x)
    y = linear_combination(x)
    return np.stack(
        [y, x[:, 0] * x[:, 1], np.maximum(y, 0.0), *exceedances(y, NORMAL_LEVELS)], axis=1
    )


def correlated_normals() -> Problem:
    """A linear combination of three correlated normals; two integrands change sign.

    x normal with mean (1, -0.5, 2) and covariance [[1, 0.6, -0.3], [0.6, 2, 0.2],
    [-0.3, 0.2, 0.5]]; y = x1 + x2/2 - 2 x3 is normal.

    Returns
    -------
    Problem
        Expectations: mean of y (negative), E[x1 x2], E[max(y, 0)], and the probabilities that y
        exceeds 3 (2.4e-3) and 5 (9.7e-5). Closed forms.

    Examples
    --------
    >>> correlated_normals().truth["mean"]
    -3.25
    """
    from scipy import stats
    from scipy.special import ndtr

    mean = float(NORMAL_WEIGHTS @ NORMAL_MEAN)
    sd = math.sqrt(NORMAL_WEIGHTS @ NORMAL_COVARIANCE @ NORMAL_WEIGHTS)
    density = math.exp(-((mean / sd) ** 2) / 2) / math.sqrt(2 * math.pi)
    truth = {
        "mean": mean,
        "E[x1 x2]": float(NORMAL_MEAN[0] * NORMAL_MEAN[1] + NORMAL_COVARIANCE[0, 1]),
        "E[max(y, 0)]": mean * float(ndtr(mean / sd)) + sd * density,
    } | {f"P(y > {t:g})": float(ndtr((mean - t) / sd)) for t in NORMAL_LEVELS}
    return Problem(
        name="correlated_normals",
        function=linear_combination,
        law=stats.multivariate_normal(NORMAL_MEAN, NORMAL_COVARIANCE),
        integrand=correlated_normals_integrand,
        names=tuple(truth),
        truth=truth,
        accuracy="closed form",
        source="a linear map of a normal vector is normal",
    )


LOG_MEANS = np.array([0.0, 0.3, -0.2])
LOG_SDS = np.array([0.3, 0.2, 0.4])
LOG_CORRELATION = np.array([[1.0, 0.5, -0.3], [0.5, 1.0, 0.1], [-0.3, 0.1, 1.0]])
LOG_POWERS = np.array([1.0, 1.0, -1.0])
RATIO_LEVELS = (6.0, 16.0)


def ratio(x: Array) -> Array:
    """Ratio a b / c, shape (n, 3) -> (n,)."""
    a, b, c = np.asarray(x).T
    return a * b / c


def lognormal_ratio_integrand(x: Array) -> Array:
    """The ratio, its square, the sum of the inputs, and whether the ratio exceeds 6 and 16."""
    x = np.asarray(x)
    y = ratio(x)
    return np.stack([y, y**2, x.sum(axis=1), *exceedances(y, RATIO_LEVELS)], axis=1)


def lognormal_ratio() -> Problem:
    """Ratio of three lognormals joined by a Gaussian copula: skewed and correlated inputs.

    The logarithms of a, b, c are normal with means (0, 0.3, -0.2), standard deviations
    (0.3, 0.2, 0.4) and correlations 0.5 (ab), -0.3 (ac), 0.1 (bc); y = a b / c is lognormal.

    Returns
    -------
    Problem
        Expectations: mean and second moment of y, mean of a + b + c, and the probabilities that y
        exceeds 6 (2.1e-2) and 16 (1.8e-4). Closed forms.

    Examples
    --------
    >>> lognormal_ratio().names
    ('mean', 'second moment', 'E[a + b + c]', 'P(y > 6)', 'P(y > 16)')
    """
    from scipy import stats
    from scipy.special import ndtr

    from ..importance.laws import GaussianCopula

    m = float(LOG_POWERS @ LOG_MEANS)
    v = float(LOG_POWERS @ (np.outer(LOG_SDS, LOG_SDS) * LOG_CORRELATION) @ LOG_POWERS)
    truth = {
        "mean": math.exp(m + v / 2),
        "second moment": math.exp(2 * m + 2 * v),
        "E[a + b + c]": float(np.exp(LOG_MEANS + LOG_SDS**2 / 2).sum()),
    } | {f"P(y > {t:g})": float(ndtr((m - math.log(t)) / math.sqrt(v))) for t in RATIO_LEVELS}
    marginals = {
        name: stats.lognorm(sd, scale=math.exp(mean))
        for name, mean, sd in zip("abc", LOG_MEANS, LOG_SDS, strict=True)
    }
    return Problem(
        name="lognormal_ratio",
        function=ratio,
        law=GaussianCopula(marginals, LOG_CORRELATION),
        integrand=lognormal_ratio_integrand,
        names=tuple(truth),
        truth=truth,
        accuracy="closed form",
        source="a product of powers of jointly lognormal variables is lognormal",
    )
