"""Densities to draw from, alone and mixed.

Everything here lives in a `working_space.WorkingSpace`, where the input law has zero mean and unit
scale. A component is a frozen dataclass with ``sample(rng, n)`` and ``log_density(u)``; a `Mixture`
of them, the input law among them, is what draws are taken from. Every component is normalised, so
each one's density ratio is a control variate of known mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from scipy.special import gammaln, ive, ndtr, ndtri

__all__ = [
    "Component",
    "Elliptical",
    "Grid",
    "Mixture",
    "Polar",
    "features",
    "form_table",
    "log_densities",
    "log_mixture",
    "product_places",
]

ROWS = 8192  # rows per block of draws
SCRATCH = 2**17  # numbers in a scratch array that should stay in the cache
LOG_2PI = float(np.log(2 * np.pi))


class Component(Protocol):
    """A normalised density on the working space."""

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape (n, d)."""
        ...

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""
        ...


@dataclass(frozen=True)
class Elliptical:
    """A multivariate normal law, or a Student law when the degrees of freedom are finite.

    Attributes
    ----------
    mean : ndarray, shape (d,)
    cholesky : ndarray, shape (d, d)
        Lower triangular factor of the scale matrix.
    degrees_of_freedom : float
        Infinity is the normal law.
    """

    mean: np.ndarray
    cholesky: np.ndarray
    degrees_of_freedom: float = np.inf

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape (n, d)."""
        z = rng.standard_normal((n, len(self.mean))) @ self.cholesky.T
        if np.isfinite(self.degrees_of_freedom):
            nu = self.degrees_of_freedom
            z /= np.sqrt(rng.chisquare(nu, n) / nu)[:, None]
        return self.mean + z

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""
        return log_densities([self], u)[:, 0]

    def widened(self, factor: float) -> Elliptical:
        """The same law with its scale multiplied by ``factor``."""
        return Elliptical(self.mean, self.cholesky * factor, self.degrees_of_freedom)


@dataclass(frozen=True)
class Polar:
    """A von Mises-Fisher law of the direction times a Nakagami law of the radius.

    Papaioannou, Geyer & Straub (2019), Improved cross entropy-based importance sampling with a
    flexible mixture model, Reliab. Eng. Syst. Saf. 191.

    Attributes
    ----------
    direction : ndarray, shape (d,)
        Unit vector.
    concentration : float
        0 is uniform on the sphere.
    shape, square : float
        Of the Nakagami law: the squared radius is a Gamma law with this shape and mean.
    """

    direction: np.ndarray
    concentration: float
    shape: float
    square: float

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape (n, d)."""
        d, kappa = len(self.direction), self.concentration
        # Wood (1994): cosine with the direction by rejection
        b = (d - 1) / (2 * kappa + np.sqrt(4 * kappa**2 + (d - 1) ** 2))
        x = (1 - b) / (1 + b)
        c = kappa * x + (d - 1) * np.log1p(-x * x)
        cosine, todo = np.empty(n), np.arange(n)
        while len(todo):
            z = rng.beta((d - 1) / 2, (d - 1) / 2, len(todo))
            w = (1 - (1 + b) * z) / (1 - (1 - b) * z)
            kept = kappa * w + (d - 1) * np.log1p(-x * w) - c >= np.log(rng.random(len(todo)))
            cosine[todo[kept]] = w[kept]
            todo = todo[~kept]
        across = rng.standard_normal((n, d))
        across -= np.outer(across @ self.direction, self.direction)
        across *= (np.sqrt(1 - cosine**2) / np.linalg.norm(across, axis=1))[:, None]
        radius = np.sqrt(rng.gamma(self.shape, self.square / self.shape, n))
        return radius[:, None] * (cosine[:, None] * self.direction + across)

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""
        d, kappa, m = len(self.direction), self.concentration, self.shape
        square = np.maximum(np.einsum("nd,nd->n", u, u), 1e-300)
        log_radius = 0.5 * np.log(square)
        total = np.log(2.0) + m * np.log(m / self.square) - gammaln(m)
        total = total + (2 * m - d) * log_radius - m * square / self.square
        if kappa > 0:
            total += (d / 2 - 1) * np.log(kappa) - 0.5 * d * LOG_2PI - _log_bessel(d / 2 - 1, kappa)
            return total + kappa * (u @ self.direction) / np.exp(log_radius)
        return total + gammaln(d / 2) - np.log(2.0) - d / 2 * np.log(np.pi)


def _log_bessel(order: float, x: float) -> float:
    """Log of the modified Bessel function I, to nine digits."""
    if order < 25:
        return float(np.log(ive(order, x)) + x)
    # Debye's expansion, uniform in x (Abramowitz & Stegun 9.7.7)
    z = x / order
    s = np.sqrt(1 + z * z)
    p = 1 / s
    series = (
        1
        + (3 * p - 5 * p**3) / (24 * order)
        + (81 * p**2 - 462 * p**4 + 385 * p**6) / (1152 * order**2)
        + (30375 * p**3 - 369603 * p**5 + 765765 * p**7 - 425425 * p**9) / (414720 * order**3)
    )
    eta = s + np.log(z / (1 + s))
    return float(order * eta - 0.5 * np.log(2 * np.pi * order * s) + np.log(series))


@dataclass(frozen=True)
class Grid:
    """A product of histograms in the probability scale v = Phi(u) of every coordinate.

    Attributes
    ----------
    edges : ndarray, shape (d, bins + 1)
        From 0 to 1.
    heights : ndarray, shape (d, bins)
        Densities with respect to the standard-normal law; each row integrates to 1.
    """

    edges: np.ndarray
    heights: np.ndarray

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape (n, d)."""
        d, bins = self.heights.shape
        u = np.empty((n, d))
        for i in range(d):
            cumulative = np.concatenate(
                [[0.0], np.cumsum(self.heights[i] * np.diff(self.edges[i]))]
            )
            p = rng.random(n) * cumulative[-1]
            b = np.clip(np.searchsorted(cumulative, p, side="right") - 1, 0, bins - 1)
            v = self.edges[i, b] + (p - cumulative[b]) / self.heights[i, b]
            u[:, i] = ndtri(np.clip(v, 1e-300, 1 - 1e-16))
        return u

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""
        v = ndtr(u)
        total = -0.5 * (np.einsum("nd,nd->n", u, u) + u.shape[1] * LOG_2PI)
        log_heights = np.log(self.heights)
        for i in range(u.shape[1]):
            b = np.searchsorted(self.edges[i], v[:, i], side="right") - 1
            total += log_heights[i, np.clip(b, 0, log_heights.shape[1] - 1)]
        return total


def log_densities(components: Sequence[Component], u: np.ndarray) -> np.ndarray:
    """Log densities of all components at the rows of u: (n, d) -> (n, K).

    Elliptical components share one matrix product per block of rows.

    Examples
    --------
    >>> standard = Elliptical(np.zeros(2), np.eye(2))
    >>> log_densities([standard], np.zeros((1, 2))).round(4).tolist()
    [[-1.8379]]
    """
    n, d = u.shape
    out = np.empty((n, len(components)))
    elliptical = [(k, c) for k, c in enumerate(components) if isinstance(c, Elliptical)]
    for k, c in enumerate(components):
        if not isinstance(c, Elliptical):
            out[:, k] = c.log_density(u)
    if not elliptical:
        return out
    where = [k for k, _ in elliptical]
    columns: Any = where
    if where == list(range(where[0], where[-1] + 1)):
        columns = slice(where[0], where[-1] + 1)
    cholesky = np.stack([c.cholesky for _, c in elliptical])
    means = np.stack([c.mean for _, c in elliptical])
    inverse = np.linalg.inv(cholesky)
    nu = np.array([c.degrees_of_freedom for _, c in elliptical])
    student = np.isfinite(nu)
    s = nu[student]
    constant = np.full(len(nu), -0.5 * d * LOG_2PI)
    constant[student] = gammaln((s + d) / 2) - gammaln(s / 2) - 0.5 * d * np.log(s * np.pi)
    constant -= np.log(np.einsum("kii->ki", cholesky)).sum(1)
    for a, quadratic in _quadratic_forms(u, means, inverse):
        kernel = -0.5 * quadratic
        if student.any():
            kernel[:, student] = -0.5 * (s + d) * np.log1p(quadratic[:, student] / s)
        kernel += constant
        out[a : a + len(kernel), columns] = kernel
    return out


def _quadratic_forms(
    u: np.ndarray, means: np.ndarray, inverse: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """|inverse_k (u - means_k)|^2 for all k, (first row, (rows, K)) block by block."""
    d = means.shape[1]
    if d > 30:
        rows = max(64, SCRATCH // d)
        for a in range(0, len(u), rows):
            z = [(u[a : a + rows] - m) @ w.T for m, w in zip(means, inverse, strict=True)]
            yield a, np.stack([np.einsum("nd,nd->n", part, part) for part in z], axis=1)
        return
    # one matrix product serves all components
    table = form_table(means, inverse).T
    rows = max(64, SCRATCH // len(table))
    for a in range(0, len(u), rows):
        yield a, np.maximum(features(u[a : a + rows]) @ table, 0.0)


def features(u: np.ndarray) -> np.ndarray:
    """1, u and the products of its coordinates: (n, d) -> (n, 1 + d + d (d + 1) / 2)."""
    n, d = u.shape
    features = np.empty((n, 1 + d + d * (d + 1) // 2))
    features[:, 0] = 1.0
    features[:, 1 : d + 1] = u
    at = d + 1
    for i in range(d):
        np.multiply(u[:, i:], u[:, i : i + 1], out=features[:, at : at + d - i])
        at += d - i
    return features


@lru_cache
def product_places(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the products among `features`."""
    return np.triu_indices(d)


def form_table(means: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Coefficients (..., F) by which `features` give |inverse (u - mean)|^2."""
    precision = np.swapaxes(inverse, -1, -2) @ inverse
    slope = (precision @ means[..., None])[..., 0]
    i, j = product_places(means.shape[-1])
    products = precision[..., i, j] * np.where(i == j, 1.0, 2.0)
    level = (slope * means).sum(-1, keepdims=True)
    return np.concatenate([level, -2 * slope, products], axis=-1)


@dataclass(frozen=True)
class Mixture:
    """A finite mixture; component 0 is the input law itself in every mixture built here.

    Attributes
    ----------
    weights : ndarray, shape (K,)
    components : tuple of Component
    """

    weights: np.ndarray
    components: tuple[Component, ...]

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""
        return log_mixture(log_densities(self.components, u), self.weights)

    def sample(self, rng: np.random.Generator, counts: np.ndarray) -> np.ndarray:
        """Stratified draws: ``counts[k]`` from component k, in that order."""
        draws = [
            c.sample(rng, int(m)) for c, m in zip(self.components, counts, strict=True) if m > 0
        ]
        return np.concatenate(draws)


def log_mixture(log_g: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log of sum_k weights_k exp(log_g[:, k]), shape (n,)."""
    used = np.flatnonzero(weights > 0)
    shift = np.log(weights[used])
    out = np.empty(len(log_g))
    for a in range(0, len(log_g), ROWS):
        terms = log_g[a : a + ROWS, used] + shift
        top = terms.max(1)
        top[~np.isfinite(top)] = 0.0
        with np.errstate(divide="ignore"):
            out[a : a + ROWS] = top + np.log(np.exp(terms - top[:, None]).sum(1))
    return out
