"""Between one input and a standard normal, both ways, with digits far out in either tail.

Each half of a map goes through the nearer tail (quantile below the median, inverse survival
function above), so that a point 37 standard deviations out still has its digits. The map of a
normal, uniform, lognormal, exponential or triangular input is written out here, free of the
argument checks of `scipy.stats`; any other input goes through its own methods.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr, ndtri, ndtri_exp

from .marginals import Atoms, Marginal, kind_of, scipy_parameters, support

Array = NDArray[np.float64]

# tail probabilities tried on the quantile functions of scipy.stats; the last is u = 37
TAILS = (1e-16, 1e-30, 1e-50, 1e-100, 1e-200, 1e-300)
HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))


@dataclass(frozen=True)
class NormalMap:
    """Between one input and a standard normal, every function of (array, *parameters)."""

    support: tuple[float, float]
    parameters: tuple[float | Marginal, ...]
    inverse: Callable[..., Array]
    forward: Callable[..., Array]
    density: Callable[..., Array]

    def to_input(self, z: Array) -> Array:
        """The input of standard normals z (n,)."""
        return self.inverse(z, *self.parameters)

    def to_normal(self, x: Array) -> Array:
        """Standard normals of inputs x (n,)."""
        return self.forward(x, *self.parameters)

    def log_density(self, x: Array) -> Array:
        """Log density of the input at x (n,)."""
        return self.density(x, *self.parameters)


def normal_map(marginal: Marginal) -> NormalMap:
    """The map of one input."""
    ends = support(marginal)
    parsed = scipy_parameters(marginal)
    if parsed is not None and parsed[0] in _CLOSED_FORMS:
        name, shapes, loc, scale = parsed
        return NormalMap(ends, (loc, scale, *shapes), *_CLOSED_FORMS[name])
    parameters = (marginal, _smallest_probability(marginal))
    atoms = isinstance(marginal, Atoms)
    forward = _atoms_forward if atoms else _any_forward
    return NormalMap(ends, parameters, _any_inverse, forward, _any_log_density)


def _smallest_probability(marginal: Marginal) -> float:
    """How far into the tails the quantile functions can be trusted; the map is flat beyond.

    Some of scipy.stats (beta, invgauss, betaprime) warn, and are wrong or NaN, in tails that no
    estimate will ever see; a proposal may still send a point there.
    """
    smallest = None
    for p in TAILS:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ends = np.array([marginal.ppf(p), marginal.isf(p)], dtype=float)
        if caught or np.isnan(ends).any():
            break
        smallest = p
    if smallest is None:
        raise ValueError(f"law: {kind_of(marginal)} has no quantiles at {TAILS[0]} and above")
    return smallest


def _any_inverse(z: Array, marginal: Marginal, smallest_p: float) -> Array:
    p = np.maximum(ndtr(-np.abs(z)), smallest_p)
    lower = z < 0
    x = np.empty(len(z))
    x[lower] = marginal.ppf(p[lower])
    x[~lower] = marginal.isf(p[~lower])
    return x


def _any_forward(x: Array, marginal: Marginal, _: float) -> Array:
    p = np.asarray(marginal.cdf(x), dtype=float)
    lower = p < 0.5
    z = np.empty(len(x))
    z[lower] = ndtri(p[lower])
    z[~lower] = -ndtri(marginal.sf(x[~lower]))
    return z


def _atoms_forward(x: Array, marginal: Marginal, _: float) -> Array:
    # the middle of all that is mapped to the value, in probability
    p = np.asarray(marginal.cdf(x), dtype=float) - np.exp(marginal.logpdf(x)) / 2
    return np.asarray(ndtri(np.clip(p, 0.0, 1.0)))


def _any_log_density(x: Array, marginal: Marginal, _: float) -> Array:
    # a far tail may overflow on its way to -inf
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(marginal.logpdf(x), dtype=float)


def _norm_inverse(z: Array, loc: float, scale: float) -> Array:
    return loc + scale * z


def _norm_forward(x: Array, loc: float, scale: float) -> Array:
    return (x - loc) / scale


def _norm_log_density(x: Array, loc: float, scale: float) -> Array:
    z = (x - loc) / scale
    return -0.5 * z * z - (np.log(scale) + HALF_LOG_2PI)


def _lognorm_inverse(z: Array, loc: float, scale: float, s: float) -> Array:
    return loc + scale * np.exp(s * z)


def _lognorm_forward(x: Array, loc: float, scale: float, s: float) -> Array:
    y = (x - loc) / scale
    # the smallest number stands for the support's end, whose logarithm would warn
    return np.log(np.maximum(y, 5e-324)) / s


def _lognorm_log_density(x: Array, loc: float, scale: float, s: float) -> Array:
    y = (x - loc) / scale
    log_y = np.log(np.where(y > 0, y, 1.0))
    z = log_y / s
    return np.where(y > 0, -0.5 * z * z - log_y - (np.log(s * scale) + HALF_LOG_2PI), -np.inf)


def _uniform_inverse(z: Array, loc: float, scale: float) -> Array:
    p = scale * ndtr(-np.abs(z))
    return np.where(z < 0, loc + p, (loc + scale) - p)


def _uniform_forward(x: Array, loc: float, scale: float) -> Array:
    p, q = (x - loc) / scale, ((loc + scale) - x) / scale
    z = ndtri(np.maximum(np.minimum(p, q), 0.0))
    return np.where(p < q, z, -z)


def _uniform_log_density(x: Array, loc: float, scale: float) -> Array:
    inside = (x >= loc) & (x <= loc + scale)
    return np.where(inside, -np.log(scale), -np.inf)


def _expon_inverse(z: Array, loc: float, scale: float) -> Array:
    return loc - scale * log_ndtr(-z)


def _expon_forward(x: Array, loc: float, scale: float) -> Array:
    y = np.maximum((x - loc) / scale, 0.0)
    # beyond 3 the survival function is the smaller side, and its logarithm is -y exactly
    low = np.minimum(y, 3.0)
    from_below = ndtri(-np.expm1(-low))
    return np.where(y > 3.0, -ndtri_exp(-np.maximum(y, 3.0)), from_below)


def _expon_log_density(x: Array, loc: float, scale: float) -> Array:
    y = (x - loc) / scale
    return np.where(y >= 0, -y - np.log(scale), -np.inf)


def _triang_inverse(z: Array, loc: float, scale: float, c: float) -> Array:
    half = ndtr(-np.abs(z))
    p = np.where(z < 0, half, 1 - half)
    q = np.where(z < 0, 1 - half, half)
    return np.where(
        p < c, loc + scale * np.sqrt(c * p), (loc + scale) - scale * np.sqrt((1 - c) * q)
    )


def _triang_forward(x: Array, loc: float, scale: float, c: float) -> Array:
    y, rest = (x - loc) / scale, ((loc + scale) - x) / scale
    y, rest = np.clip(y, 0.0, 1.0), np.clip(rest, 0.0, 1.0)
    # the side of the mode that has no width is never taken, so its divisor may be anything
    p = y * y / (c or 1.0)
    q = rest * rest / ((1 - c) or 1.0)
    left = y < c if c < 1 else y <= c
    p, q = np.where(left, p, 1 - q), np.where(left, 1 - p, q)
    return np.where(p < q, ndtri(np.minimum(p, 0.5)), -ndtri(np.minimum(q, 0.5)))


def _triang_log_density(x: Array, loc: float, scale: float, c: float) -> Array:
    y = (x - loc) / scale
    left = y < c if c < 1 else y <= c
    density = np.where(left, y / (c or 1.0), (1 - y) / ((1 - c) or 1.0))
    positive = density > 0
    return np.where(positive, np.log(np.where(positive, density, 1.0)) + np.log(2 / scale), -np.inf)


_CLOSED_FORMS: dict[str, tuple[Callable[..., Array], ...]] = {
    "norm": (_norm_inverse, _norm_forward, _norm_log_density),
    "lognorm": (_lognorm_inverse, _lognorm_forward, _lognorm_log_density),
    "uniform": (_uniform_inverse, _uniform_forward, _uniform_log_density),
    "expon": (_expon_inverse, _expon_forward, _expon_log_density),
    "triang": (_triang_inverse, _triang_forward, _triang_log_density),
}
