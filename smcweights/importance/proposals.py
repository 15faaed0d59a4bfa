"""Densities to draw from, and how they are fitted to weighted draws.

Everything here lives in a `WorkingSpace`, where the input law has zero mean and unit scale. A
component is a frozen dataclass with ``sample(rng, n)`` and
``log_density(u)``; a `Mixture` of them, the input law among them, is what draws are taken from.
Every component is normalised, so each one's density ratio is a control variate of known mean.

Fits are weighted maximum likelihood (cross-entropy): `fit_mixtures` runs the EM algorithm for many
targets and several restarts at once, each iteration a handful of matrix products; the number of
components is chosen by the Bayesian information criterion with the effective sample size in place
of n. `fit_directional` learns directions and two or three numbers for each, for high dimension;
`fit_grid` a product of histograms (Lepage 1978, vegas), for d <= 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

__all__ = [
    "Component",
    "Elliptical",
    "Given",
    "Grid",
    "Mixture",
    "Polar",
    "WorkingSpace",
    "fit_directional",
    "fit_grid",
    "fit_mixtures",
    "fit_rank_one",
    "log_densities",
    "log_mixture",
    "working_space",
]

ROWS = 8192  # rows per block of draws
SCRATCH = 2**17  # numbers in a scratch array that should stay in the cache
EM_ROWS = 2000  # about as many draws as EM needs to see
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
        from scipy.special import gammaln

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
    from scipy.special import ive

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
        from scipy.special import ndtri

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
        from scipy.special import ndtr

        v = ndtr(u)
        total = -0.5 * (np.einsum("nd,nd->n", u, u) + u.shape[1] * LOG_2PI)
        log_heights = np.log(self.heights)
        for i in range(u.shape[1]):
            b = np.searchsorted(self.edges[i], v[:, i], side="right") - 1
            total += log_heights[i, np.clip(b, 0, log_heights.shape[1] - 1)]
        return total


@dataclass(frozen=True)
class WorkingSpace:
    """Coordinates in which the input law has zero mean and unit scale.

    Standard-normal space where the law has an isoprobabilistic map; otherwise the inputs
    themselves, centred and scaled.

    Attributes
    ----------
    law : laws.Law
    centre : ndarray, shape (d,), or None
        None where the law is mapped.
    factor : ndarray, shape (d, d), or None
        Inputs are centre + factor u.
    """

    law: Any
    centre: Any = None
    factor: Any = None

    def to_inputs(self, u: np.ndarray) -> np.ndarray:
        """Inputs (n, d) of the points u (n, d)."""
        if self.centre is None:
            return self.law.to_inputs(u)
        return self.centre + u @ self.factor.T

    def from_inputs(self, x: np.ndarray) -> np.ndarray:
        """Points (n, d) of the inputs x (n, d)."""
        if self.centre is None:
            return self.law.from_inputs(x)
        return np.linalg.solve(self.factor, (x - self.centre).T).T

    def log_volume(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Log of |dx/du| at the points u, whose inputs are x: (n,)."""
        if self.centre is None:
            return self._standard_log_density(u) - self.law.log_density(x)
        return np.full(len(u), np.log(np.abs(np.linalg.det(self.factor))))

    def input_log_density(self, x: np.ndarray, log_f: np.ndarray) -> np.ndarray:
        """Log density of the law at inputs x, given that at their points: (n,)."""
        if self.centre is None:
            return self.law.log_density(x)
        # a user's density may be dear: it has been called already
        return log_f - self.log_volume(x, x)

    def _standard_log_density(self, u: np.ndarray) -> np.ndarray:
        """Standard-normal log density, (n,)."""
        return -0.5 * (np.einsum("nd,nd->n", u, u) + u.shape[1] * LOG_2PI)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws of the input law, shape (n, d)."""
        if self.centre is None:
            return rng.standard_normal((n, self.law.dimension))
        return self.from_inputs(self.law.sample(rng, n))

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density of the input law at the points u, (n,)."""
        if self.centre is None:
            return self._standard_log_density(u)
        x = self.to_inputs(u)
        return self.law.log_density(x) + self.log_volume(u, x)


def working_space(law: Any, rng: np.random.Generator) -> WorkingSpace:
    """The working space of a `laws.Law`; an unmapped law is scaled by 4096 draws of its own."""
    if law.mapped:
        return WorkingSpace(law)
    x = law.sample(rng, 4096)
    low, centre, high = np.quantile(x, [0.02, 0.5, 0.98], axis=0)
    x = x[((x >= low) & (x <= high)).all(1)]
    spread = np.maximum(high - low, 1e-300) / 4
    correlation = np.corrcoef(x.T).reshape(law.dimension, law.dimension)
    correlation = 0.99 * np.nan_to_num(correlation) + 0.01 * np.eye(law.dimension)
    np.fill_diagonal(correlation, 1.0)
    return WorkingSpace(law, centre, spread[:, None] * np.linalg.cholesky(correlation))


@dataclass(frozen=True)
class Given:
    """A law of the user's (a `laws.Law` on the inputs), seen from a working space."""

    law: Any
    space: Any

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape (n, d)."""
        x = self.law.sample(rng, n)
        try:
            return self.space.from_inputs(x)
        except ValueError as error:
            raise ValueError(f"proposal: draws outside the support of the law: {error}") from error

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""
        x = self.space.to_inputs(u)
        return self.law.log_density(x) + self.space.log_volume(u, x)


def log_densities(components: Sequence[Component], u: np.ndarray) -> np.ndarray:
    """Log densities of all components at the rows of u: (n, d) -> (n, K).

    Elliptical components share one matrix product per block of rows.

    Examples
    --------
    >>> standard = Elliptical(np.zeros(2), np.eye(2))
    >>> log_densities([standard], np.zeros((1, 2))).round(4).tolist()
    [[-1.8379]]
    """
    from scipy.special import gammaln

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
    table = _form_table(means, inverse).T
    rows = max(64, SCRATCH // len(table))
    for a in range(0, len(u), rows):
        yield a, np.maximum(_features(u[a : a + rows]) @ table, 0.0)


def _features(u: np.ndarray) -> np.ndarray:
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
def _upper(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the products among `_features`."""
    return np.triu_indices(d)


def _form_table(means: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Coefficients (..., F) by which `_features` give |inverse (u - mean)|^2."""
    precision = np.swapaxes(inverse, -1, -2) @ inverse
    slope = (precision @ means[..., None])[..., 0]
    i, j = _upper(means.shape[-1])
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
    components: tuple[Any, ...]

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


def _shrunk_cholesky(covariance: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Cholesky factors of covariances (..., d, d) estimated from ``size`` effective draws each.

    They are shrunk towards their diagonal by d / (d + size) and, as if d + 1 more draws had said
    so, towards a standard deviation of a half, the input law having unit scale.
    """
    d = covariance.shape[-1]
    size = np.maximum(size, 1.0)[..., None, None]
    eye = np.eye(d)
    diagonal = np.einsum("...ii->...i", covariance)[..., None] * eye
    c = (size * covariance + d * diagonal) / (size + d)
    c = (size * c + (d + 1) * eye) / (size + d + 1)
    return np.linalg.cholesky(c)


def _em(
    u: np.ndarray,
    weights: np.ndarray,
    size: np.ndarray,
    means: np.ndarray,
    covariances: np.ndarray,
    shares: np.ndarray,
    nu: float,
    steps: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """EM for P problems of C components at once on shared draws u (n, d).

    weights (n, P) sum to 1 in each column; means (C, P, d), covariances (C, P, d, d), shares
    (C, P). Returns means, Cholesky factors, shares and the log-likelihoods (P,) per unit weight.
    """
    d = u.shape[1]
    c, p = shares.shape
    features = _features(u)
    w = np.ascontiguousarray(weights.T)
    i, j = _upper(d)
    student = np.isfinite(nu)
    peak = log_densities([Elliptical(np.zeros(d), np.eye(d), nu)], np.zeros((1, d))).item()
    log_likelihood = np.full(p, -np.inf)
    for step in range(steps + 1):
        cholesky = _shrunk_cholesky(covariances, size * shares)
        log_det = np.log(np.einsum("cpii->cpi", cholesky)).sum(2)
        quadratic = _form_table(means, np.linalg.inv(cholesky)) @ features.T
        np.maximum(quadratic, 0.0, out=quadratic)
        r = -0.5 * (nu + d) * np.log1p(quadratic / nu) if student else -0.5 * quadratic
        r += (peak - log_det + np.log(shares))[..., None]
        top = r.max(0)
        r -= top
        np.exp(r, out=r)
        total = r.sum(0)
        previous = log_likelihood
        log_likelihood = np.einsum("pn,pn->p", w, top + np.log(total))
        if step == steps or np.all(log_likelihood - previous < 1e-3):
            break
        r *= w / total
        mass = np.maximum(r.sum(2), 1e-300)
        if student:
            # a Student law is a scale mixture of normal ones: far draws count less
            r *= (nu + d) / (nu + quadratic)
        sums = r @ features
        norm = np.maximum(sums[..., :1], 1e-300)
        m = sums[..., 1 : d + 1] / norm
        second = np.empty((c, p, d, d))
        second[..., i, j] = second[..., j, i] = sums[..., d + 1 :]
        second -= norm[..., None] * m[..., None] * m[..., None, :]
        second /= mass[..., None, None]
        alive = (mass * size > 1.0)[..., None]
        means = np.where(alive, m, means)
        covariances = np.where(alive[..., None], second, covariances)
        shares = np.maximum(mass, 1e-6)
        shares = shares / shares.sum(0)
    return means, cholesky, shares, log_likelihood


def _starts(u: np.ndarray, weights: np.ndarray, c: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++-like centres: drawn by weight times squared distance to those already there."""
    n = len(u)
    centres = [u[rng.choice(n, p=weights)]]
    distance = np.full(n, np.inf)
    for _ in range(c - 1):
        distance = np.minimum(distance, ((u - centres[-1]) ** 2).sum(1))
        p = weights * distance
        total = p.sum()
        centres.append(u[rng.choice(n, p=p / total)] if total > 0 else centres[-1])
    return np.array(centres)


def fit_mixtures(
    u: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
    *,
    most: int = 3,
    degrees_of_freedom: float = np.inf,
    restarts: int = 3,
    steps: int = 15,
) -> list[Mixture]:
    """One mixture of elliptical laws for every column of weights, by weighted EM.

    Parameters
    ----------
    u : ndarray, shape (n, d)
        Draws.
    weights : ndarray, shape (n, P)
        Non-negative; one column per target, each with a positive sum.
    rng : Generator
        For the starts.
    most : int
        Largest number of components tried; the Bayesian information criterion chooses.
    degrees_of_freedom : float
        Of the components; infinity is Gaussian.
    restarts, steps : int
        EM starts per order, and at most this many steps each.

    Returns
    -------
    list of Mixture, length P
    """
    d = u.shape[1]
    w = weights / weights.sum(0)
    size = 1.0 / np.einsum("np,np->p", w, w)
    mean = w.T @ u
    covariance = np.stack(
        [(u - m).T @ ((u - m) * v[:, None]) for m, v in zip(mean, w.T, strict=True)]
    )
    if len(u) > 4 * EM_ROWS:
        # EM sees every k-th draw of every target; the moments above saw them all
        keep = np.arange(0, len(u), len(u) // (2 * EM_ROWS))
        if (w[keep].sum(0) > 0).all():
            u, w = u[keep], w[keep] / w[keep].sum(0)
    nu, scale = degrees_of_freedom, 1.0
    if np.isfinite(nu):
        scale = (nu - 2) / nu
    parameters = d + d * (d + 1) / 2
    m, chol, shares, fit = _em(
        u,
        w,
        size,
        mean[None],
        scale * covariance[None],
        np.ones((1, len(size))),
        nu,
        steps if np.isfinite(nu) else 0,
    )
    best = [
        Mixture(np.ones(1), (Elliptical(mean, factor, nu),))
        for mean, factor in zip(m[0], chol[0], strict=True)
    ]
    log_size = np.log(np.maximum(size, 2.0))
    score = -2 * size * fit + parameters * log_size
    orders = np.ones(len(size), dtype=np.int64)
    for c in range(2, most + 1):
        # worth a try where draws suffice and one of the last two components was an improvement:
        # among several regions a second component may gain little
        able = (size > 2 * c * (d + 1)) & (orders >= c - 2)
        which = np.repeat(np.flatnonzero(able), restarts)
        if len(which) == 0:
            break
        m, chol, shares, fit = _em(
            u,
            w[:, which],
            size[which],
            np.stack([_starts(u, w[:, p], c, rng) for p in which], axis=1),
            np.stack([scale * covariance[which] / c] * c),
            np.full((c, len(which)), 1.0 / c),
            nu,
            steps,
        )
        for i, p in enumerate(which):
            bic = -2 * size[p] * fit[i] + (c * parameters + c - 1) * log_size[p]
            if bic < score[p]:
                score[p], orders[p] = bic, c
                best[p] = Mixture(
                    shares[:, i], tuple(Elliptical(m[k, i], chol[k, i], nu) for k in range(c))
                )
    return best


def fit_rank_one(u: np.ndarray, weights: np.ndarray) -> Mixture:
    """A normal law with covariance I + (v - 1) e e' along the weighted mean direction e.

    Two numbers and a direction instead of d (d + 3) / 2 parameters: for d over about 20, in
    standard-normal space (El Masri, Morio & Simatos 2021, arXiv 2011.10428).
    """
    w = weights / weights.sum()
    d = u.shape[1]
    mean = w @ u
    length = np.linalg.norm(mean)
    e = mean / length if length > 0 else np.eye(d)[0]
    along = u @ e
    centre = w @ along
    size = 1.0 / (w @ w)
    v = w @ (along - centre) ** 2
    v = (size * v + 2.0) / (size + 2.0)
    cholesky = np.linalg.cholesky(np.eye(d) + (max(v, 1e-6) - 1) * np.outer(e, e))
    return Mixture(np.ones(1), (Elliptical(centre * e, cholesky),))


def _fit_polar(u: np.ndarray, weights: np.ndarray) -> Mixture:
    """A `Polar` law by moments of direction and radius."""
    w = weights / weights.sum()
    d, size = u.shape[1], 1.0 / (w @ w)
    square = np.einsum("nd,nd->n", u, u)
    mean = w @ (u / np.sqrt(np.maximum(square, 1e-300))[:, None])
    length = np.linalg.norm(mean)
    e = mean / length if length > 0 else np.eye(d)[0]
    # so many directions have a mean of length 1/sqrt(size) when nothing is behind them
    r = np.sqrt(np.clip((length**2 - 1 / size) / max(1 - 1 / size, 1e-6), 0.0, 0.98))
    omega = float(w @ square)
    spread = (size * float(w @ (square - omega) ** 2) + 5 * 2 * d) / (size + 5)
    return Mixture(
        np.ones(1), (Polar(e, float((r * d - r**3) / (1 - r * r)), omega**2 / spread, omega),)
    )


def fit_directional(
    u: np.ndarray, weights: np.ndarray, rng: np.random.Generator, family: str, most: int = 4
) -> Mixture:
    """A mixture of "rank-one" normal laws or of "vmfn" laws, by EM on weighted draws.

    A component more has to raise the log-likelihood by one and a half times its parameters: with
    few draws in many dimensions any direction fits those that chose it.
    """
    fit = fit_rank_one if family == "rank-one" else _fit_polar
    w = weights / weights.sum()
    d, size = u.shape[1], 1.0 / (w @ w)
    best = fit(u, w)
    score = w @ best.log_density(u)
    for c in range(2, most + 1):
        if size < 20 * c:
            break
        centres = _starts(u, w, c, rng)
        centres /= np.maximum(np.linalg.norm(centres, axis=1), 1e-300)[:, None]
        member = np.eye(c)[(u @ centres.T).argmax(1)]
        for _ in range(10):
            mass = w @ member
            if mass.min() * size < 2:
                break
            fitted = [fit(u, w * member[:, k]).components[0] for k in range(c)]
            terms = log_densities(fitted, u) + np.log(mass)
            member = np.exp(terms - np.logaddexp.reduce(terms, axis=1)[:, None])
        else:
            found = w @ np.logaddexp.reduce(terms, axis=1)
            if size * (found - score) > 1.5 * (d + 2):
                best, score = Mixture(mass, tuple(fitted)), found
                continue
        break
    return best


def fit_grid(u: np.ndarray, weights: np.ndarray, bins: int = 32) -> Mixture:
    """A `Grid` whose coordinate marginals are those of the weighted draws.

    Half of the bin edges are weighted quantiles, half equally spaced; heights are mixed with 1
    by 1 / (1 + ESS / bins); at least 0.05 of the mass stays uniform, so that ratios are bounded.
    """
    from scipy.special import ndtr

    d = u.shape[1]
    w = weights / weights.sum()
    size = 1.0 / (w @ w)
    edges, heights = [], []
    v = ndtr(u)
    for i in range(d):
        order = np.argsort(v[:, i])
        cumulative = np.cumsum(w[order])
        cuts = np.interp(np.linspace(0, 1, bins // 2 + 1)[1:-1], cumulative, v[order, i])
        e = np.unique(np.concatenate([cuts, np.linspace(0, 1, bins // 2 + 1)]))
        e = e[np.concatenate([[True], np.diff(e) > 1e-14])]
        e[0], e[-1] = 0.0, 1.0
        mass = np.histogram(v[:, i], e, weights=w)[0]
        smooth = max(0.05, 1 / (1 + size / bins))
        heights.append((1 - smooth) * mass / np.diff(e) + smooth)
        edges.append(e)
    width = max(len(h) for h in heights)
    # pad with bins of the last one so that the rows are rectangular
    for i in range(d):
        short = width - len(heights[i])
        if short:
            last = edges[i][-2]
            extra = np.linspace(last, 1.0, short + 2)[1:-1]
            edges[i] = np.concatenate([edges[i][:-1], extra, [1.0]])
            heights[i] = np.concatenate([heights[i], np.full(short, heights[i][-1])])
    return Mixture(np.ones(1), (Grid(np.array(edges), np.array(heights)),))
