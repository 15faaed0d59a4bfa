"""Densities to draw from, alone and mixed.

Everything here lives in a `WorkingSpace`, where the input law has zero mean and unit
scale. A component is a frozen dataclass with ``sample(rng, n)`` and ``log_density(u)``; a `Mixture`
of them, the input law among them, is what draws are taken from. Every component is normalised, so
each one's density ratio is a control variate of known mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
from scipy.special import gammaln, ive, ndtr, ndtri

from ..randomness import generator
from .bends import Bend
from .laws import Law
from .marginals import Atoms

ROWS = 8192  # rows per block of draws
MOST_FEATURES = 12  # inputs up to which products of coordinates are worth a table
SCRATCH = 2**17  # numbers in a scratch array that should stay in the cache
LOG_2PI = float(np.log(2 * np.pi))
SPREAD = 0.03  # share of a kernel density's own weights among fitted ones
FARTHEST = 7.0  # standard deviations of an input: 1e-12 of a normal law lies beyond
EDGE, BEYOND = 1.0, 0.01  # of what counts so much may lie so near the farthest place, or beyond
UNLIKELY = 1e-7  # probability that is none, where a law is cut
LATTICE = 256  # points behind what is left of it,
ROOTS = np.sqrt([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71])


Forms = Callable[[np.ndarray, "list[Elliptical]"], Iterator[tuple[int, np.ndarray]]]


class Component(Protocol):
    """A normalised density on the working space."""

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape (n, d)."""

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""


@dataclass(frozen=True)
class Elliptical:
    """A multivariate normal law, or a Student law when the degrees of freedom are finite."""

    mean: np.ndarray  # (d,)
    cholesky: np.ndarray  # (d, d): lower triangular factor of the scale matrix
    degrees_of_freedom: float = np.inf  # infinity is the normal law
    limit: float = np.inf  # a normal law ends where a coordinate is farther from zero than this
    # (d,): a unit vector, if the scale matrix is a multiple of I but for the spread along it
    axis: np.ndarray | None = None

    @cached_property
    def kept(self) -> float:
        """Probability within the limit."""
        return 1.0 if np.isinf(self.limit) else _probability_within(self, self.limit)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape (n, d)."""
        z = rng.standard_normal((n, len(self.mean))) @ self.cholesky.T
        if np.isfinite(self.degrees_of_freedom):
            nu = self.degrees_of_freedom
            z /= np.sqrt(rng.chisquare(nu, n) / nu)[:, None]
        u = self.mean + z
        while len(far := np.flatnonzero((np.abs(u) > self.limit).any(1))):
            u[far] = self.mean + rng.standard_normal((len(far), u.shape[1])) @ self.cholesky.T
        return u

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""
        return log_densities([self], u)[:, 0]


@dataclass(frozen=True)
class Bent:
    """An elliptical law of bent coordinates: a skewed one."""

    law: Elliptical
    bend: Bend

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape (n, d)."""
        return self.bend.back(self.law.sample(rng, n))

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""
        return log_densities([self], u)[:, 0]


def spread_evenly(d: int, width: float, nu: float = np.inf) -> Elliptical:
    """A law around zero that is as wide in every direction of d."""
    return Elliptical(np.zeros(d), width * np.eye(d), nu, axis=np.eye(d)[0])


def farthest(u: np.ndarray, t: np.ndarray) -> float:
    """How far out draws of any coordinate are of use, by weighted draws u (n, d), t (n, J).

    7, or more where over a hundredth of what some weights stand for lies near there or beyond.
    """
    mass = np.abs(t) / np.maximum(np.abs(t).sum(0), 1e-300)
    place, found = np.abs(u).max(1), FARTHEST
    while (mass[place > found - EDGE].sum(0) > BEYOND).any() and found < 40:
        found += 3 * EDGE
    return found


def within(component: Component, limit: float) -> Component:
    """The component, a normal law cut where a coordinate exceeds the limit, half of it kept."""
    if not isinstance(component, Elliptical) or np.isfinite(component.degrees_of_freedom):
        return component
    cut = replace(component, limit=limit)
    while cut.kept < 0.5:
        cut = replace(cut, limit=1.1 * cut.limit)
    return cut if cut.kept < 1 else replace(component, limit=np.inf)


def _probability_within(law: Elliptical, limit: float) -> float:
    """Of a normal law, that no coordinate is farther from zero than the limit.

    One coordinate is integrated after the other (Genz 1992, J. Comput. Graph. Stat. 1), by a
    lattice: exact for independent ones and for a single one that may get there.
    """
    covariance = law.cholesky @ law.cholesky.T
    spread = np.sqrt(np.diag(covariance))
    risk = ndtr((law.mean - limit) / spread) + ndtr((-limit - law.mean) / spread)
    some = np.argsort(-risk)[: (risk > UNLIKELY).sum()]
    factor, mean = np.linalg.cholesky(covariance[np.ix_(some, some)]), law.mean[some]
    z, found = np.zeros((LATTICE, len(some))), np.ones(LATTICE)
    for i in range(len(some)):
        centre = mean[i] + z @ factor[i]
        low, high = (ndtr((end - centre) / factor[i, i]) for end in (-limit, limit))
        found *= high - low
        # Richtmyer's points, folded
        place = np.abs(2 * (np.arange(0.5, LATTICE) * ROOTS[i % len(ROOTS)] % 1) - 1)
        z[:, i] = ndtri(np.clip(low + place * (high - low), 1e-300, 1 - 1e-16))
    return float(found.mean())


@dataclass(frozen=True)
class Polar:
    """A von Mises-Fisher law of the direction times a Nakagami law of the radius.

    Papaioannou, Geyer & Straub (2019), Improved cross entropy-based importance sampling with a
    flexible mixture model, Reliab. Eng. Syst. Saf. 191.
    """

    direction: np.ndarray  # (d,): unit vector
    concentration: float  # 0 is uniform on the sphere
    shape: float  # the squared radius has a Gamma law of this shape
    square: float  # and this mean

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
        square = np.maximum(np.einsum("nd,nd->n", u, u), 1e-300)
        return self.of(square, np.log(square), (u @ self.direction) / np.sqrt(square))

    def of(self, square: np.ndarray, log_square: np.ndarray, cosine: np.ndarray) -> np.ndarray:
        """The same for points of such squared lengths, and cosines with the direction, (n,)."""
        d, kappa, m = len(self.direction), self.concentration, self.shape
        total = np.log(2.0) + m * np.log(m / self.square) - gammaln(m)
        if kappa > 0:
            total += (d / 2 - 1) * np.log(kappa) - 0.5 * d * LOG_2PI - _log_bessel(d / 2 - 1, kappa)
        else:
            total += gammaln(d / 2) - np.log(2.0) - d / 2 * np.log(np.pi)
        return np.asarray(
            total + (m - d / 2) * log_square - (m / self.square) * square + kappa * cosine
        )


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
class Kernels:
    """Normal laws of one covariance around many points, which is what a kernel density is.

    Those of one working space share points and ``cholesky``, that of the law's own kernels, which
    are ``scale`` times as wide here.
    """

    points: np.ndarray  # (m, d)
    cholesky: np.ndarray  # (d, d)
    shares: np.ndarray  # (m,)
    scale: float = 1.0

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape (n, d); systematic over the points, so that each is visited."""
        at = np.searchsorted(np.cumsum(self.shares), (np.arange(n) + rng.random()) / n)
        at = rng.permutation(np.minimum(at, len(self.shares) - 1))
        z = rng.standard_normal((n, self.points.shape[1]))
        return np.asarray(self.points[at] + self.scale * z @ self.cholesky.T)

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""
        return _log_kernel_densities([self], u)[:, 0]

    def learned(self, u: np.ndarray, w: np.ndarray, steps: int = 30) -> Kernels:
        """The same points with shares fitted to draws u (n, d) with weights w (n,), by EM."""
        squares = _squares(self, u)
        table = np.exp((squares.min(1, keepdims=True) - squares) / (2 * self.scale**2))
        shares, w = self.shares, w / w.sum()
        for _ in range(steps):
            shares = shares * (table.T @ (w / (table @ shares)))
        return replace(self, shares=(1 - SPREAD) * shares / shares.sum() + SPREAD * self.shares)


def kernels_of(space: WorkingSpace, scale: float) -> Kernels | None:
    """The normal laws of a kernel density, so much wider, if the law is one."""
    known = space.law.kernels
    if known is None:
        return None
    points, covariance, weights = known
    root = np.linalg.solve(space.factor, np.linalg.cholesky(covariance))
    cholesky = np.linalg.cholesky(root @ root.T)
    there = weights > 0
    shares = weights[there] / weights.sum()
    return Kernels(space.from_inputs(points[there]), cholesky, shares, scale)


def _squares(kernels: Kernels, u: np.ndarray) -> np.ndarray:
    """Squared distances of the rows of u to all points, in units of the law's kernels: (n, m)."""
    inverse = np.linalg.inv(kernels.cholesky)
    a, b = u @ inverse.T, kernels.points @ inverse.T
    squares = a @ (-2 * b.T)
    squares += (a**2).sum(1)[:, None]
    squares += (b**2).sum(1)
    return np.asarray(np.maximum(squares, 0.0, out=squares))


def _log_kernel_densities(kernels: Sequence[Kernels], u: np.ndarray) -> np.ndarray:
    """Log densities (n, K) at the rows of u of kernels that share their points: what takes time,
    an exponential for every row and point, is done once for each scale.
    """
    out, first = np.empty((len(u), len(kernels))), kernels[0]
    scales = np.array([k.scale for k in kernels])
    volume = np.log(np.diag(first.cholesky)).sum() + 0.5 * u.shape[1] * LOG_2PI
    rows = max(SCRATCH * 4 // len(first.points), 1)
    for a in range(0, len(u), rows):
        squares = _squares(first, u[a : a + rows])
        nearest = squares.min(1)
        squares -= nearest[:, None]
        for scale in np.unique(scales):
            at = np.flatnonzero(scales == scale)
            table = np.exp(squares * (-0.5 / scale**2))
            mixed = table @ np.stack([kernels[k].shares for k in at.tolist()], axis=1)
            level = nearest * (0.5 / scale**2) + volume + u.shape[1] * np.log(scale)
            out[a : a + rows, at] = np.log(mixed) - level[:, None]
    return out


@dataclass(frozen=True)
class Grid:
    """A product of histograms in the probability scale v = Phi(u) of every coordinate."""

    edges: np.ndarray  # (d, bins + 1): from 0 to 1
    # (d, bins): densities with respect to the standard-normal law; each row integrates to 1
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


def log_peak(d: int, degrees_of_freedom: np.ndarray | float) -> np.ndarray:
    """Log density at its centre of a Student law of unit scale in d dimensions, or a normal one."""
    nu = np.asarray(degrees_of_freedom, dtype=float)
    student = np.isfinite(nu)
    s = np.where(student, nu, 1.0)
    peak = gammaln((s + d) / 2) - gammaln(s / 2) - 0.5 * d * np.log(s * np.pi)
    return np.where(student, peak, -0.5 * d * LOG_2PI)


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
    # one row for each component: sums over components run along whole rows
    out = np.empty((len(components), n))
    elliptical = [(k, c) for k, c in enumerate(components) if isinstance(c, Elliptical)]
    known = [(k, _as_kernels(c)) for k, c in enumerate(components)]
    kernels = {k: c for k, c in known if c is not None}
    if kernels:
        out[list(kernels)] = _log_kernel_densities(list(kernels.values()), u).T
    bent = [(k, c) for k, c in enumerate(components) if isinstance(c, Bent)]
    for bend in {id(c.bend): c.bend for _, c in bent}.values():
        y, log_slope = bend(u)
        own = [(k, c.law) for k, c in bent if c.bend is bend]
        out[[k for k, _ in own]] = log_densities([law for _, law in own], y).T + log_slope
    for k, c in enumerate(components):
        if not isinstance(c, Elliptical | Bent) and k not in kernels:
            out[k] = c.log_density(u)
    lines = [(k, c) for k, c in elliptical if c.axis is not None and d > MOST_FEATURES]
    others = [(k, c) for k, c in elliptical if c.axis is None or d <= MOST_FEATURES]
    for group, quadratic_forms in ((lines, _line_forms), (others, _quadratic_forms)):
        if group:
            _elliptical_densities(
                out, [k for k, _ in group], [c for _, c in group], u, quadratic_forms
            )
    return out.T


def _elliptical_densities(
    out: np.ndarray,
    where: list[int],
    group: list[Elliptical],
    u: np.ndarray,
    quadratic_forms: Forms,
) -> None:
    """Log densities of elliptical laws at the rows of u into rows ``where`` of ``out`` (K, n)."""
    d = u.shape[1]
    cholesky = np.stack([c.cholesky for c in group])
    nu = np.array([c.degrees_of_freedom for c in group])
    student = np.isfinite(nu)
    s = nu[student]
    constant = log_peak(d, nu)
    constant -= np.log(np.einsum("kii->ki", cholesky)).sum(1)
    constant -= np.log([c.kept for c in group])
    limit = np.array([[c.limit] for c in group])
    place = np.abs(u).max(1) if np.isfinite(limit).any() else np.zeros(len(u))
    for a, quadratic in quadratic_forms(u, group):
        kernel = -0.5 * quadratic
        if student.any():
            s_column = s[:, None]
            kernel[student] = -0.5 * (s_column + d) * np.log1p(quadratic[student] / s_column)
        kernel += constant[:, None]
        rows = slice(a, a + kernel.shape[1])
        kernel[place[rows] > limit] = -np.inf
        out[where, rows] = kernel


def _as_kernels(component: Component) -> Kernels | None:
    if isinstance(component, WorkingSpace):
        return kernels_of(component, 1.0)
    return component if isinstance(component, Kernels) else None


def _line_forms(u: np.ndarray, group: list[Elliptical]) -> Iterator[tuple[int, np.ndarray]]:
    """`_quadratic_forms` of laws with an axis: all other directions are alike."""
    axes, means = np.stack([np.asarray(c.axis) for c in group]), np.stack([c.mean for c in group])
    spread = np.array([((c.cholesky.T @ c.axis) ** 2).sum() for c in group])
    across = np.array([(c.cholesky**2).sum() for c in group])
    across = ((across - spread) / (u.shape[1] - 1))[:, None]
    less, centres = 1 - across / spread[:, None], (axes * means).sum(1)[:, None]
    rows = max(64, SCRATCH // u.shape[1])
    for a in range(0, len(u), rows):
        block = u[a : a + rows]
        square = np.einsum("nd,nd->n", block, block) - 2 * (means @ block.T)
        square += (means**2).sum(1)[:, None] - less * (axes @ block.T - centres) ** 2
        square /= across
        yield a, np.maximum(square, 0.0, out=square)


def _quadratic_forms(u: np.ndarray, group: list[Elliptical]) -> Iterator[tuple[int, np.ndarray]]:
    """|inverse_k (u - means_k)|^2 for all k, (first row, (K, rows)) block by block."""
    means = np.stack([c.mean for c in group])
    inverse = np.linalg.inv(np.stack([c.cholesky for c in group]))
    k, d = means.shape
    if d > MOST_FEATURES:
        rows, level = max(64, SCRATCH // (k * d)), (inverse @ means[..., None])[..., 0]
        for a in range(0, len(u), rows):
            z = (inverse.reshape(k * d, d) @ u[a : a + rows].T).reshape(k, d, -1)
            z -= level[..., None]
            yield a, np.einsum("kdn,kdn->kn", z, z)
        return
    # one matrix product serves all components
    table = form_table(means, np.swapaxes(inverse, 1, 2) @ inverse)
    rows = max(64, SCRATCH // table.shape[1])
    for a in range(0, len(u), rows):
        yield a, np.maximum(table @ features(u[a : a + rows]), 0.0)


def features(u: np.ndarray) -> np.ndarray:
    """1, u and the products of its coordinates: (n, d) -> (1 + d + d (d + 1) / 2, n)."""
    n, d = u.shape
    features = np.empty((1 + d + d * (d + 1) // 2, n))
    features[0] = 1.0
    features[1 : d + 1] = u.T
    at = d + 1
    for i in range(d):
        np.multiply(features[i + 1 : d + 1], features[i + 1], out=features[at : at + d - i])
        at += d - i
    return features


@lru_cache
def product_places(d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns (P,) of the products among `features`, and the number of each in (d, d)."""
    i, j = np.triu_indices(d)
    number = np.empty((d, d), dtype=np.int64)
    number[i, j] = number[j, i] = np.arange(len(i))
    return i, j, number


def form_table(means: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Coefficients (..., F) by which `features` give (u - mean)' precision (u - mean)."""
    slope = (precision @ means[..., None])[..., 0]
    i, j, _ = product_places(means.shape[-1])
    products = precision[..., i, j] * np.where(i == j, 1.0, 2.0)
    level = (slope * means).sum(-1, keepdims=True)
    return np.concatenate([level, -2 * slope, products], axis=-1)


@dataclass(frozen=True)
class Mixture:
    """A finite mixture; component 0 is the input law itself in every mixture built here."""

    weights: np.ndarray  # (K,)
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


def straightened(laws: Mixture) -> tuple[Mixture, Bend | None]:
    """Laws before they were bent, and the bend that they share, if they were."""
    bent = [c for c in laws.components if isinstance(c, Bent)]
    if not bent:
        return laws, None
    return Mixture(laws.weights, tuple(c.law for c in bent)), bent[0].bend


def log_mixture(log_g: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log of sum_k weights_k exp(log_g[:, k]), shape (n,)."""
    used = np.flatnonzero(weights > 0)
    shift = np.log(weights[used])[:, None]
    out = np.empty(len(log_g))
    for a in range(0, len(log_g), ROWS):
        out[a : a + ROWS] = log_sum(log_g[a : a + ROWS].T[used] + shift)
    return out


def log_sum(terms: np.ndarray) -> np.ndarray:
    """Log of the sum of exp(terms) along the first axis; all of them -inf give -inf."""
    top = terms.max(0)
    top[~np.isfinite(top)] = 0.0
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log(np.exp(terms - top).sum(0)))


@dataclass(frozen=True)
class WorkingSpace:
    """Coordinates in which the input law has zero mean and unit scale.

    Standard-normal space where the law has an isoprobabilistic map; otherwise the inputs
    themselves, centred and scaled.
    """

    law: Law
    centre: np.ndarray | None = None  # (d,): None where the law is mapped
    # (d, d): inputs are then centre + factor u
    factor: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

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


def working_space(law: Law, rng: np.random.Generator) -> WorkingSpace:
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

    law: Law
    space: WorkingSpace

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape (n, d)."""
        x = self.law.sample(rng, n)
        try:
            u = self.space.from_inputs(x)
        except ValueError as error:
            raise ValueError(f"proposal: draws outside the support of the law: {error}") from error
        for i, marginal in enumerate(self.space.law.marginals or ()):
            if isinstance(marginal, Atoms):
                # anywhere among the points that are mapped to the value, by their law
                share = rng.random(n) * np.exp(marginal.logpdf(x[:, i]))
                u[:, i] = ndtri(np.clip(marginal.cdf(x[:, i]) - share, 1e-300, 1 - 1e-16))
        return u

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""
        x = self.space.to_inputs(u)
        return self.law.log_density(x) + self.space.log_volume(u, x)


def check_normalised(law: Law, root: np.random.SeedSequence, argument: str, remedy: str) -> None:
    """Refuse a law whose density doesn't integrate to one, or isn't that of its draws.

    For densities f and q the mean of q/(f + q) over draws of f is that of f/(f + q) over draws of
    q; both are bounded, whatever the tails. q is a Student law of about the same scale.
    """
    if law.mapped:
        return
    space = working_space(law, generator(root, "scale", 1))
    other = Elliptical(np.zeros(law.dimension), np.eye(law.dimension), 3.0)
    rng, n = generator(root, "normalised"), 4096
    u, v = space.sample(rng, n), other.sample(rng, n)
    with np.errstate(invalid="ignore"):
        ours = space.log_density(u) - other.log_density(u)
        theirs = space.log_density(v) - other.log_density(v)

    def balance(log_constant: float) -> tuple[float, float, float]:
        a = 1 / (1 + np.exp(np.clip(ours - log_constant, -700, 700)))
        b = 1 / (1 + np.exp(np.clip(log_constant - theirs, -700, 700)))
        return a.mean(), b.mean(), np.sqrt((a.var() + b.var()) / n)

    a, b, error = balance(0.0)
    # six standard errors of bounded terms; the second condition is for their discreteness
    if abs(a - b) > 6 * error and abs(a - b) * n > 50:
        low, high = -700.0, 700.0
        for _ in range(60):
            middle = (low + high) / 2
            a, b, _ = balance(middle)
            low, high = (middle, high) if b > a else (low, middle)
        raise ValueError(
            f"{argument}: its density integrates to about exp({middle:.3g}) where 1 is expected, "
            f"or is not the density of its draws; {remedy}"
        )
