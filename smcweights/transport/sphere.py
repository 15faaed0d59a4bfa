"""Means over the unit sphere in closed form, and with them the distance of Gaussian laws."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import finite, flag
from ..randomness import generator, seed_sequence

Array = NDArray[np.float64]

# directions that a polynomial is fitted on, up to so many dimensions and above: with 200 of them
# two wide spectra in 128 dimensions came out wrong
FITTED_ON = 200, 16, 500


def absolute_moment(dimension: int, p: float) -> float:
    """E abs(theta.v)^p for a unit vector v and theta uniform on the sphere.

    Examples
    --------
    >>> round(absolute_moment(3, 1.0), 12), round(absolute_moment(7, 2.0), 12) == round(1 / 7, 12)
    (0.5, True)
    """
    return math.exp(_log_absolute_moment(dimension, p))


def _log_absolute_moment(dimension: int, p: float) -> float:
    log_ratio = math.lgamma((p + 1) / 2) + math.lgamma(dimension / 2)
    return log_ratio - math.lgamma((p + dimension) / 2) - 0.5 * math.log(math.pi)


@functools.cache
def projection_skewness(dimension: int, p: float, fitted: bool = False) -> float:
    """Skewness of abs(theta.v)^p, as the costs of a shifted cloud have it.

    ``fitted``: of what a regression on (theta.v)^2 leaves of it, if that is more.

    Examples
    --------
    >>> [round(projection_skewness(100, p), 1) for p in (1.0, 2.0, 4.0, 6.0)]
    [1.0, 2.7, 9.0, 25.9]
    """
    # moments of higher powers leave the range of numbers
    p = min(p, 50.0)

    def moment(k: float) -> float:
        # of sqrt(d) theta.v, which are those of a normal variable in many dimensions
        return math.exp(_log_absolute_moment(dimension, k) + k / 2 * math.log(dimension))

    def skewness(slope: float) -> float:
        # of abs(theta.v)^p - slope (theta.v)^2
        first, second, third = (
            sum(math.comb(k, j) * (-slope) ** j * moment((k - j) * p + 2 * j) for j in range(k + 1))
            for k in (1, 2, 3)
        )
        variance = second - first**2
        return abs(third - 3 * first * second + 2 * first**3) / variance**1.5

    raw = skewness(0.0)
    # near p = 2 nothing but rounding is left
    if not fitted or abs(p - 2) < 0.01:
        return raw
    slope = (moment(p + 2) - moment(p) * moment(2)) / (moment(4) - moment(2) ** 2)
    return max(raw, skewness(slope))


def mean_squared_gap(
    a: Array, b: Array, dimension: int | None = None, tolerance: float = 1e-12
) -> float:
    """E (sqrt(theta'A theta) - sqrt(theta'B theta))^2 over the sphere, by a double integral.

    Parameters
    ----------
    a, b : ndarray, shape (r, r)
        Symmetric and positive semi-definite.
    dimension : int, optional
        Of the sphere's space, where A and B are blocks of larger matrices that are zero elsewhere.
    tolerance : float, default 1e-12
        Largest relative error.

    Returns
    -------
    float
        The mean; nothing cancels where A and B are close.

    Notes
    -----
    With D = A - B, C = cos(f)^2 A + sin(f)^2 B and R = (I + 2 r C)^-1 the mean is 4/(pi d) times
    the integral over 0 < f < pi/2 and r > 0 of

        cos(f)^2 sin(f)^2 det(I + 2 r C)^(-1/2) (tr(DR)^2 + 2 tr(DRDR)),

    because (sqrt a - sqrt b)^2 is 4/pi times the integral of cos^2 sin^2 (a - b)^2/(a cos^2 +
    b sin^2) over f, 1/q that of exp(-r q), and what is left a mean over a Gaussian vector. In
    log tan f and log r the integrand is analytic in strips of half-width pi/2 whatever the
    matrices are, and falls exponentially: equidistant nodes err by exp(-pi^2/step).

    Examples
    --------
    >>> round(mean_squared_gap(np.eye(3), 4 * np.eye(3)), 10)
    1.0
    >>> round(mean_squared_gap(np.eye(3), (1 + 1e-6) ** 2 * np.eye(3)), 20)
    1e-12
    """
    d = len(a) if dimension is None else dimension
    trace_a, trace_b = float(np.trace(a)), float(np.trace(b))
    if trace_a <= 0 or trace_b <= 0 or not (a - b).any():
        return abs(trace_a - trace_b) / d
    # in units of their own, so that the nodes are the same in any
    size = trace_a + trace_b
    a, b, gap = a / size, b / size, (a - b) / size
    digits = -math.log(tolerance)
    # six more, because poles of higher order stand on the edges of the strips
    step = math.pi**2 / (digits + 6)
    balance = math.log(trace_a / trace_b) / 2
    total = 0.0
    # (cos sin)^(3/2) falls by e^3 per unit, the rest grows by e at most where a matrix is singular
    reach = digits / 2 + (0 if tolerance > 1e-9 else 3)
    for angle in _nodes(min(balance, 0) - reach, max(balance, 0) + reach, step):
        c, s = 1 / (1 + math.exp(2 * angle)), 1 / (1 + math.exp(-2 * angle))
        values, vectors = np.linalg.eigh(c * a + s * b)
        values = np.maximum(values, 0.0)
        rotated = vectors.T @ gap @ vectors
        # smaller eigenvalues are rounding
        least = values[values > 1e-17 * values[-1]][0]
        low, high = -digits - math.log(values.sum()), 2 * digits / 3 - math.log(least)
        log_r = _nodes(low - 3, high + 3, step)
        r = np.exp(log_r)
        shrink = 1 / (1 + 2 * np.outer(r, values))
        traces = (shrink @ np.diag(rotated)) ** 2
        traces += 2 * np.einsum("ri,ri->r", shrink @ rotated**2, shrink)
        root = np.exp(np.log(shrink).sum(axis=1) / 2)
        total += (c * s) ** 1.5 * float((r * root) @ traces)
    return 4 / (math.pi * d) * step**2 * size * total


def gap_polynomial(a: Array, b: Array) -> tuple[Callable[[Array, Array], Array], float]:
    """(sqrt v - sqrt w)^2 of v = theta'A theta and w = theta'B theta as a polynomial, and its mean.

    Parameters
    ----------
    a, b : ndarray, shape (d, d)
        Symmetric and positive semi-definite.

    Returns
    -------
    polynomial : callable, (L,) and (L,) -> (L,)
        Of v and w along directions. With v/E v = 1 + m + s/2 and w/E w = 1 + m - s/2 its terms are
        1, m, s, s^2, m s^2 and s^4, fitted on directions that are the same for all matrices.
    mean : float
        Its mean over the sphere, exact whatever the fit: those of products of quadratic forms
        follow from traces, as cumulants of a normal vector's forms do.

    Examples
    --------
    >>> polynomial, mean = gap_polynomial(np.eye(3), 4 * np.eye(3))
    >>> round(mean, 10), polynomial(np.ones(1), np.full(1, 4.0)).round(10)
    (1.0, array([1.]))
    """
    d = len(a)
    mean_a, mean_b = float(np.trace(a)) / d, float(np.trace(b)) / d
    if mean_a <= 0 or mean_b <= 0:
        return np.add, mean_a + mean_b
    shape, both = a / mean_a - b / mean_b, (a / mean_a + b / mean_b) / 2
    square = shape @ shape
    second, fourth = float(np.trace(square)), float(np.vdot(square, square))
    third = 8 * float(np.vdot(square, both)) + 2 * d * second
    s_2, s_4 = 2 * second, 48 * fourth + 12 * second**2
    means = np.array([s_2, third / (d + 4) - s_2, s_4 / ((d + 4) * (d + 6))]) / (d * (d + 2))

    def terms(v: Array, w: Array) -> Array:
        v, w = v / mean_a, w / mean_b
        found = np.ones((len(v), 6))
        found[:, 1], found[:, 2] = (v + w) / 2 - 1, v - w
        found[:, 3] = found[:, 2] ** 2
        found[:, 4:] = found[:, [1, 3]] * found[:, 3, None]
        return found

    theta = _fixed_directions(d)
    v, w = (np.maximum(np.einsum("ld,ld->l", theta @ c, theta), 0.0) for c in (a, b))
    columns = terms(v, w)
    # of one size, so that equal shapes leave rounding out
    sizes = np.maximum(np.abs(columns).max(axis=0), 1e-6)
    gap = (v - w) ** 2 / np.maximum((np.sqrt(v) + np.sqrt(w)) ** 2, 1e-300)
    fitted = np.linalg.lstsq(columns / sizes, gap, rcond=1e-9)[0] / sizes
    return lambda v, w: terms(v, w) @ fitted, float(fitted[0] + fitted[3:] @ means)


@functools.lru_cache(maxsize=8)
def _fixed_directions(d: int) -> Array:
    """Directions (200 or 500, d), always the same ones."""
    few, dimension, many = FITTED_ON
    count = few if d <= dimension else many
    z = generator(seed_sequence(0), "polynomial").standard_normal((count, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def _nodes(low: float, high: float, step: float) -> Array:
    """Multiples of the step from `low` to `high` and one beyond."""
    return step * np.arange(math.floor(low / step), math.ceil(high / step) + 1, dtype=np.float64)


def sliced_wasserstein_gaussian(
    mean_x: ArrayLike,
    cov_x: ArrayLike,
    mean_y: ArrayLike,
    cov_y: ArrayLike,
    *,
    root: bool = True,
) -> float:
    """Sliced Wasserstein distance of order 2 between two Gaussian laws, exactly.

    Parameters
    ----------
    mean_x, mean_y : array_like, shape (d,)
    cov_x, cov_y : array_like, shape (d, d)
        Symmetric and positive semi-definite.
    root : bool, default True
        SW_2; else its square.

    Returns
    -------
    float
        |mean_x - mean_y|^2/d + E (sqrt(theta'cov_x theta) - sqrt(theta'cov_y theta))^2, the last by
        a double integral. Nothing cancels: it errs by 1e-11 of itself, and by what rounding leaves
        of the differences of the means and of the covariances.

    Raises
    ------
    ValueError
        Shapes, symmetry or signs are wrong.

    Examples
    --------
    >>> import numpy as np
    >>> round(sliced_wasserstein_gaussian([0, 0, 0], np.eye(3), [3, 0, 0], np.eye(3)), 9)
    1.732050808
    """
    root = flag("root", root)
    (m_x, c_x), (m_y, c_y) = _gaussian_law("x", mean_x, cov_x), _gaussian_law("y", mean_y, cov_y)
    if len(m_x) != len(m_y):
        raise ValueError(f"mean_y: has {len(m_y)} entries, mean_x {len(m_x)}")
    shift = m_x - m_y
    # in units of their own no square leaves the range of numbers
    unit = max(np.abs(shift).max(), *(math.sqrt(np.trace(c)) for c in (c_x, c_y))) or 1.0
    shift = shift / unit
    gap = mean_squared_gap(c_x / unit / unit, c_y / unit / unit)
    power = float(shift @ shift) / len(shift) + gap
    return float(math.sqrt(power) * unit if root else power * unit * unit)


def _gaussian_law(name: str, mean: ArrayLike, cov: ArrayLike) -> tuple[Array, Array]:
    """Mean (d,) and covariance (d, d), checked."""
    m = np.atleast_1d(finite(f"mean_{name}", mean))
    c = np.atleast_2d(finite(f"cov_{name}", cov))
    if m.ndim != 1 or m.size == 0 or c.shape != (len(m), len(m)):
        raise ValueError(
            f"cov_{name}: got shape {c.shape} with a mean of shape {m.shape}; expected (d, d) "
            "and (d,), d from 1"
        )
    size = max(float(np.trace(c)), 1e-300)
    if np.abs(c - c.T).max() > 1e-9 * size:
        raise ValueError(f"cov_{name}: not symmetric")
    c = (c + c.T) / 2
    if np.linalg.eigvalsh(c)[0] < -1e-9 * size:
        raise ValueError(f"cov_{name}: not positive semi-definite")
    return m, c
