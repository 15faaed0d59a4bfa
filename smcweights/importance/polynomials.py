"""Orthonormal polynomials of an input law: functions of the inputs whose mean is exactly zero.

Every coordinate of the law's standard-normal space gets a family of its own: polynomials of the
input itself when its marginal is bounded (Legendre's for a uniform input), by the discretised
Stieltjes recurrence; Hermite's in the standard-normal coordinate otherwise, and for dependent
inputs. Products of them over the coordinates form the basis, ordered by degree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from .laws import Law
from .marginals import Atoms


def multi_indices(dimension: int, most: int, highest: int = 12) -> tuple[np.ndarray, list[int]]:
    """Exponents of up to ``most`` non-constant products, by degree, and the sizes of the sets.

    Degrees 1, 2, ... of the hyperbolic set sum_i k_i^0.75 <= p^0.75, which prefers low
    interactions, are added whole as long as they fit.

    Returns
    -------
    exponents : ndarray of int, shape (terms, d)
    sizes : list of int
        Number of terms up to each degree that was added.

    Examples
    --------
    >>> exponents, sizes = multi_indices(2, 7)
    >>> sizes
    [2, 4, 7]
    """
    kept: list[tuple[int, ...]] = []
    seen: set[tuple[int, ...]] = {(0,) * dimension}
    sizes: list[int] = []
    for p in range(1, highest + 1):
        bound = p**0.75 + 1e-9
        added: list[tuple[int, ...]] = []

        def extend(prefix: tuple[int, ...], left: float, added: list = added) -> bool:
            if len(kept) + len(added) > most:
                return False
            rest = (0,) * (dimension - len(prefix))
            if prefix + rest not in seen:
                seen.add(prefix + rest)
                added.append(prefix + rest)
            for i in range(len(prefix), dimension):
                k = 1
                while k**0.75 <= left:
                    fuller = (*prefix, *(0,) * (i - len(prefix)), k)
                    if not extend(fuller, left - k**0.75):
                        return False
                    k += 1
            return True

        if not extend((), bound) or len(kept) + len(added) > most:
            break
        kept.extend(sorted(added, key=lambda e: (sum(e), tuple(-k for k in e))))
        sizes.append(len(kept))
    return np.array(kept, dtype=np.int64).reshape(len(kept), dimension), sizes


@dataclass(frozen=True)
class PolynomialBasis:
    """Products of one-dimensional orthonormal polynomials."""

    exponents: np.ndarray  # (terms, d)
    sizes: tuple[int, ...]  # number of terms up to each degree
    centre: np.ndarray  # (d,): bounded coordinates are (x - centre) / spread
    spread: np.ndarray
    # (d,): which coordinates use the input itself rather than its standard-normal image
    bounded: np.ndarray
    # (2, d, highest degree + 1): a_k and b_k of p_{k+1} = ((z - a_k) p_k - b_k p_{k-1}) / b_{k+1}
    recurrence: np.ndarray

    def __call__(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Values (n, terms) at standard-normal points u (n, d) and their inputs x (n, d)."""
        n, d = u.shape
        values = np.ones((n, len(self.exponents)))
        for i in range(d):
            used = np.flatnonzero(self.exponents[:, i])
            if len(used) == 0:
                continue
            p = self.of_input(i, u[:, i], x[:, i], int(self.exponents[used, i].max()))
            values[:, used] *= p[self.exponents[used, i]].T
        return values

    def of_input(self, i: int, u: np.ndarray, x: np.ndarray, top: int) -> np.ndarray:
        """Polynomials (top + 1, n) of degrees 0 to ``top`` of coordinate i, given u and x (n,)."""
        z = (x - self.centre[i]) / self.spread[i] if self.bounded[i] else u
        a, b = self.recurrence[:, i]
        p = np.empty((top + 1, len(z)))
        p[0] = 1.0
        for k in range(top):
            np.multiply(z - a[k], p[k], out=p[k + 1])
            if k:
                p[k + 1] -= b[k] * p[k - 1]
            p[k + 1] /= b[k + 1]
        return p


def _stieltjes(
    z: np.ndarray, w: np.ndarray, degree: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recurrence coefficients of the polynomials orthonormal under nodes z, weights w.

    Third comes the fourth moment of each polynomial.
    """
    a, b, fourth = np.zeros(degree + 1), np.zeros(degree + 1), np.zeros(degree + 1)
    previous, p = np.zeros_like(z), np.ones_like(z)
    for k in range(degree + 1):
        a[k] = w @ (z * p * p)
        fourth[k] = w @ np.square(p * p)
        if k == degree:
            break
        following = (z - a[k]) * p - b[k] * previous
        b[k + 1] = np.sqrt(w @ following**2)
        previous, p = p, following / b[k + 1]
    return a, b, fourth


def _hermite_kurtosis(degree: int) -> np.ndarray:
    """E[p_k^4] of the orthonormal polynomials of the normal law, k = 0..degree; inf above 10."""
    found = np.full(degree + 1, np.inf)
    z, w = np.polynomial.hermite_e.hermegauss(24)
    w = w / w.sum()
    previous, p = np.zeros_like(z), np.ones_like(z)
    for k in range(min(degree, 10) + 1):
        found[k] = w @ p**4
        previous, p = p, (z * p - np.sqrt(k) * previous) / np.sqrt(k + 1)
    return found


@cache
def probability_rule() -> tuple[np.ndarray, np.ndarray]:
    """Nodes v in (0, 1/2) and weights (2 n,) for means under a law: those of ppf(v), then isf(v).

    Gauss-Legendre panels in the probability scale, halved towards its ends, where quantile
    functions have their roots, and with edges at all multiples of 1/128.
    """
    node, weight = np.polynomial.legendre.leggauss(12)
    edges = np.concatenate([[0.0], 2.0 ** np.arange(-60, -8), np.arange(2, 129) / 256])
    width = np.diff(edges)[:, None]
    v = (edges[:-1, None] + (node + 1) / 2 * width).ravel()
    weights = np.tile((weight / 2 * width).ravel(), 2)
    v.flags.writeable = weights.flags.writeable = False
    return v, weights


def polynomial_basis(law: Law, most: int, kurtosis: float = np.inf) -> PolynomialBasis:
    """Orthonormal basis of up to ``most`` non-constant terms for a mapped `laws.Law`.

    Terms whose fourth moment exceeds ``kurtosis`` are left out (though never those of degree 1):
    so many draws say nothing of their variance, and a regression on them only seems to help.

    Coefficients of a bounded marginal come from a Gauss-Legendre rule in the probability scale that
    is refined towards both ends; it leaves means below 1e-8 of a standard deviation.
    """
    d = law.dimension
    exponents, sizes = multi_indices(d, most)
    highest = int(exponents.max(initial=1))
    k = np.arange(highest + 1)
    recurrence = np.zeros((2, d, highest + 1))
    recurrence[1] = np.sqrt(k)
    fourth = np.tile(_hermite_kurtosis(highest), (d, 1))
    centre, spread, bounded = np.zeros(d), np.ones(d), np.zeros(d, dtype=bool)
    if law.correlation is None:
        v, w = probability_rule()
        for i, marginal in enumerate(law.marginals or ()):
            ends = np.array([marginal.ppf(0.0), marginal.ppf(1.0)], dtype=float)
            # steps of an input with atoms are no matter for the rule
            if isinstance(marginal, Atoms) or not np.isfinite(ends).all():
                continue
            bounded[i] = True
            centre[i], spread[i] = ends.mean(), (ends[1] - ends[0]) / 2
            x = np.concatenate([marginal.ppf(v), marginal.isf(v)])
            z = (np.asarray(x, dtype=float) - centre[i]) / spread[i]
            recurrence[0, i], recurrence[1, i], fourth[i] = _stieltjes(z, w, highest)
    product = np.prod(fourth[np.arange(d), exponents], axis=1)
    kept = (product <= kurtosis) | (exponents.sum(1) == 1)
    counts = np.cumsum(kept)[np.array(sizes, dtype=np.int64) - 1]
    exponents = exponents[kept]
    return PolynomialBasis(
        exponents, tuple(np.unique(counts).tolist()), centre, spread, bounded, recurrence
    )
