"""Sparse polynomials of many outputs at once: the same terms for all, coefficients of their own.

As in `sparse_polynomials`, terms are added greedily, those that tell most of all outputs first, the
basis is turned to main effects, here to those that most outputs share, and rows held out say how
many of the terms each output keeps. What costs time is done once for all outputs: products of the
terms, their sums of squares, one factor of them. That is for outputs that are alike, such as the
values of a series: others would take the places of one another's terms, and lose digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import eigh

from .pairs import PickFreeze
from .sparse_polynomials import (
    HIGHEST_DEGREE,
    MOST_CANDIDATES,
    MOST_TERMS,
    SCREENED,
    TAILS,
    TURNS,
    UNBOUNDED_TAILS,
    WORTHWHILE,
    ProductBasis,
    Rows,
    SparsePolynomial,
    Weigh,
    first_candidates,
    left_over,
    mean_over,
    multiply_into,
    neighbours,
    products_of,
    solved,
    times,
)

Array = np.ndarray
Data = tuple[Rows, Array]

SEVERAL = 8  # outputs above which they share terms, if they are alike:
ALIKE = 1 / 3  # at most so many combinations, as a share of the outputs,
TOLD = 0.99  # have this share of their variance
DIRECTIONS = 3  # effects of one input that the basis is turned to
WITNESSES = 24  # combinations of the outputs behind the choice of terms


@dataclass(frozen=True)
class SharedPolynomials:
    """Of K outputs: constants + coefficients times products of functions of single inputs."""

    exponents: Array  # (terms, d)
    constants: Array  # (K,)
    coefficients: Array  # (K, terms)
    explained: Array  # (K,): shares of the variance, on data held out

    @property
    def each(self) -> list[SparsePolynomial]:
        """One by one, without the terms that an output does not have."""
        return [
            SparsePolynomial(self.exponents[c != 0], float(c0), c[c != 0], float(share))
            for c0, c, share in zip(self.constants, self.coefficients, self.explained, strict=True)
        ]

    @property
    def useful(self) -> Array:
        """Numbers of the outputs with more than a constant."""
        return np.flatnonzero(self.coefficients.any(1))

    def of(self, which: Array) -> SharedPolynomials:
        """Those of some outputs, with the terms that any of these has."""
        c = self.coefficients[which]
        kept = c.any(0)
        return SharedPolynomials(
            self.exponents[kept], self.constants[which], c[:, kept], self.explained[which]
        )

    def __call__(self, tables: Array) -> Array:
        """Values (K, n) from tables (d, degrees, n) of the functions of each input."""
        return self.constants[:, None] + self.coefficients @ products_of(self.exponents, tables)

    def corrected(
        self, plan: PickFreeze, at_a: Array, at_b: Array, y: Array, weigh: Weigh | None = None
    ) -> Array:
        """Estimates (R, K, J) from outputs y (calls, R, n, K): see `SparsePolynomial.corrected`."""
        (_, r, n, k), c = y.shape, self.coefficients
        y = np.moveaxis(y.reshape(len(y), r * n, k), 2, 1)

        def sums(products: Array, e: Array) -> Array:
            left = e.reshape(k, r, n).transpose(1, 0, 2)
            return left @ products.reshape(-1, r, n).transpose(1, 2, 0)

        own = (self.exponents, self.constants[:, None], c)
        residual, inner, mean = left_over(own, plan, (at_a, at_b), y, weigh, r, sums)
        terms, constant = self.each_alike.shares(plan)
        table = plan.terms(np.moveaxis(residual, 1, 2)).reshape(r, n, k, -1)
        if weigh is not None:
            table *= weigh.pairs.reshape(r, n, 1, 1)
        exact = c**2 @ terms.T + np.outer(self.constants**2, constant)
        exact[:, 0] = self.constants
        crossed = (c * inner) @ terms.T + (mean * self.constants)[:, :, None] * constant
        return table.mean(1) + exact + 2 * crossed

    @property
    def each_alike(self) -> SparsePolynomial:
        """A polynomial with all of the terms."""
        return SparsePolynomial(self.exponents, 0.0, np.zeros(len(self.exponents)), 0.0)


def alike(y: Array) -> bool:
    """Whether outputs (n, K) are so many, and so few combinations have what varies in them, that
    they may share their terms.
    """
    z = y - y.mean(0)
    scale = np.sqrt((z**2).mean(0))
    z = z[:, scale > 0] / scale[scale > 0]
    if z.shape[1] <= SEVERAL:
        return False
    told = np.cumsum(np.linalg.eigvalsh(z.T @ z)[::-1])
    return int(np.searchsorted(told, TOLD * told[-1])) + 1 <= ALIKE * z.shape[1]


def fit_together(
    basis: ProductBasis, fitted: Data, held_out: Data
) -> tuple[SharedPolynomials, ProductBasis]:
    """Sparse polynomials for outputs (n, K) at rows, and the basis they are in.

    As `fit_sparse`: the basis is turned as long as that halves the errors on the rows held out, in
    the geometric mean of the outputs.
    """
    (rows, y), (rows_out, y_out) = fitted, held_out
    tables = rows.tables
    best = _grown(basis, fitted, held_out)
    for _ in range(TURNS):
        if not len(best.useful):
            break
        turned, new = _turned(basis, best, rows, y - best(tables).T)
        new_out = turned.tables(rows_out.u, rows_out.x)
        now = (replace(rows, tables=new), y), (replace(rows_out, tables=new_out), y_out)
        found = _grown(turned, *now)
        varied = np.isfinite(best.explained)
        left = [np.maximum(1 - one.explained[varied], 1e-300) for one in (best, found)]
        gain = float(np.exp(np.mean(np.log(left[0] / left[1]))))
        if gain > 1:
            best, basis, tables = found, turned, new
        if gain < 2:
            break
    return best, basis


def _turned(
    basis: ProductBasis, polynomials: SharedPolynomials, rows: Rows, residual: Array
) -> tuple[ProductBasis, Array]:
    """A basis whose first functions are the main effects of most outputs; its tables at the rows.

    ``residual`` (n, K) is what the polynomials leave, regressed as in `ProductBasis.turned`.
    """
    e, c, w = polynomials.exponents, polynomials.coefficients, rows.weight
    scale = np.sqrt((c**2).sum(1))
    residual = residual.T - mean_over(residual.T, w)[:, None]
    main = (e > 0).sum(1) == 1
    size = sum(len(f.triangle) for f in basis.functions) / 9
    turns, tables = [], np.empty_like(rows.tables)
    for i, (functions, turn) in enumerate(zip(basis.functions, basis.turns, strict=True)):
        own = main & (e[:, i] > 0)
        effects = c[:, own] @ turn[e[own, i]]
        values = functions(rows.u[:, i], rows.x[:, i])
        used, more, residual = functions.regressed(values, residual, w, size)
        effects[:, used] += more
        turns.append(_towards(effects / np.where(scale > 0, scale, np.inf)[:, None], turn))
        np.matmul(turns[i], values, out=tables[i])
    return ProductBasis(basis.functions, tuple(turns)), tables


def _towards(effects: Array, turn: Array) -> Array:
    """Orthonormal rows: the constant, directions that the effects (K, functions) share, then the
    first other functions.
    """
    _, sizes, axes = np.linalg.svd(effects, full_matrices=False)
    axes = axes[:DIRECTIONS][sizes[:DIRECTIONS] > 1e-2 * max(sizes[0], 1e-300)]
    width = effects.shape[1]
    count = min(HIGHEST_DEGREE + 1, width)
    if not len(axes) or count <= len(axes) + 1:
        return turn
    others = np.arange(1, min(count + len(axes), width))
    # the directions take the places of the functions most like them
    alike = (axes[:, others] ** 2).sum(0)
    others = np.delete(others, np.argsort(-alike, kind="stable")[: len(axes)])
    eye = np.eye(width)
    q, r = np.linalg.qr(np.column_stack([eye[0], *axes, *eye[others]])[:, :count])
    found = np.zeros((HIGHEST_DEGREE + 1, width))
    found[:count] = (q * np.where(np.diag(r) < 0, -1.0, 1.0)).T
    return found


class _Sums:
    """Sums for the regression of outputs (K, n) on terms, more of which are learned as it goes."""

    def __init__(self, z: Array, y: Array, w: Array | None) -> None:
        self.z, self.y, self.w, self.count = z, y, w, 0
        self.mean = mean_over(y, w)
        self.gram = np.empty((len(z), len(z)))
        self.centre, self.inner = np.empty(len(z)), np.empty((len(z), len(y)))

    def learn(self, count: int) -> None:
        """Take in the rows of ``z`` up to this number."""
        new, old = slice(self.count, count), slice(0, self.count)
        z = self.z[new]
        self.gram[new, :count] = times(z, self.w) @ self.z[:count].T
        self.gram[old, new] = self.gram[new, old].T
        self.centre[new] = mean_over(z, self.w)
        self.inner[new] = z @ times(self.y - self.mean[:, None], self.w).T
        self.count = count

    def solution(self, k: int, outputs: Array) -> tuple[Array, Array]:
        """Constants and coefficients (K', k) of some outputs on the first k terms."""
        n, centre = self.y.shape[1], self.centre[:k]
        gram = self.gram[:k, :k] - n * np.outer(centre, centre)
        c = solved(gram, self.inner[:k][:, outputs], n).T
        return self.mean[outputs] - c @ centre, c


class _Pool:
    """Candidates for terms, with their values at the rows that choose among them."""

    def __init__(self, basis: ProductBasis, tables: Array, n: int, w: Array | None) -> None:
        self.tables, self.n, self.w, self.fourth = tables, n, w, basis.tails
        self.exponents = np.zeros((0, len(tables)), dtype=np.int64)
        self.values, self.norms = np.empty((0, tables.shape[2])), np.empty(0)
        self.known: set[bytes] = set()

    def add(self, proposed: Array) -> None:
        """Take in those that are new, and whose tails the rows can tell of."""
        fresh = []
        for row, one in enumerate(proposed.astype(np.int8)):
            if (key := one.tobytes()) not in self.known:
                self.known.add(key)
                fresh.append(row)
        proposed = proposed[fresh]
        size = self.fourth[:, np.arange(proposed.shape[1]), proposed].prod(2)
        proposed = proposed[(size[0] <= TAILS * self.n) & (size[1] <= UNBOUNDED_TAILS * self.n)]
        values = products_of(proposed, self.tables)
        norms = np.sqrt(np.maximum((times(values, self.w) * values).sum(1), 1e-300))
        self.exponents = np.concatenate([self.exponents, proposed])
        self.values = np.concatenate([self.values, values])
        self.norms = np.concatenate([self.norms, norms])

    def taken(self, residual: Array, most: int, held: int) -> Array:
        """The exponents of the terms that tell most of residuals (K, n), which leave the pool."""
        # outputs count by how sure a term is of them; many are told by a few combinations
        scaled = residual / np.sqrt(np.maximum(mean_over(residual**2, self.w), 1e-300))[:, None]
        if len(scaled) > WITNESSES:
            last = len(scaled) - 1
            some = eigh(scaled @ scaled.T, subset_by_index=[last + 1 - WITNESSES, last])[1]
            scaled = some.T @ scaled
        z = (self.values @ times(scaled, self.w).T / self.norms[:, None]) ** 2
        sure = (z / np.maximum(mean_over(scaled**2, self.w), 1e-300)).max(1)
        ranked = np.argsort(-z.sum(1), kind="stable")
        chosen = ranked[: min(max(8, held // 2), most)]
        chosen = chosen[sure[chosen] > 4 + 2 * math.log(len(scaled))]
        found = self.exponents[chosen]
        left = np.setdiff1d(ranked[: 2 * MOST_CANDIDATES], chosen)
        self.exponents, self.values = self.exponents[left], self.values[left]
        self.norms = self.norms[left]
        return found


def _grown(basis: ProductBasis, fitted: Data, held_out: Data) -> SharedPolynomials:
    """Polynomials grown by orthogonal matching pursuit on tables of the rows: see `fit_sparse`."""
    (rows, y), (rows_out, y_out) = fitted, held_out
    w, w_out, n, (d, *_) = rows.weight, rows_out.weight, len(y), rows.tables.shape
    y, y_out = y.T, y_out.T
    screen = slice(0, min(n, SCREENED))
    most = min(MOST_TERMS, n // 5)
    z, every = np.empty((most, n + y_out.shape[1])), np.arange(len(y))
    sums = _Sums(z[:, :n], y, w)
    constants, c = sums.mean, np.zeros((len(y), 0))
    spread = mean_over((y_out - constants[:, None]) ** 2, w_out)
    best, kept, idle = spread.copy(), np.zeros(len(y), dtype=np.int64), np.where(spread > 0, 0, 3)
    active = np.zeros((0, d), dtype=np.int64)
    pool = _Pool(basis, rows.tables[:, :, screen], n, None if w is None else w[screen])
    proposed = first_candidates(d)
    while len(active) < most and (idle < 3).any():
        pool.add(proposed)
        going = np.flatnonzero(idle < 3)
        residual = y[going, screen] - constants[going, None]
        residual -= c[going] @ z[: len(active), screen]
        new = pool.taken(residual, most - len(active), len(active))
        if not len(new):
            break
        room = z[len(active) : len(active) + len(new)]
        multiply_into(new, rows.tables, room[:, :n])
        multiply_into(new, rows_out.tables, room[:, n:])
        active = np.concatenate([active, new])
        sums.learn(len(active))
        constants, c = sums.solution(len(active), every)
        missed = y_out - constants[:, None] - c @ z[: len(active), n:]
        error = mean_over(missed**2, w_out)
        idle = np.where(error < 0.98 * best, 0, idle + 1)
        kept = np.where(error < best, len(active), kept)
        best = np.minimum(error, best)
        proposed = neighbours(active, np.sqrt((c[going] ** 2 / spread[going, None]).sum(0)))
    explained = 1 - best / np.where(spread > 0, spread, np.inf)
    kept = np.where(explained < WORTHWHILE, 0, kept)
    # the terms are settled; their coefficients may use all there is
    terms = int(kept.max())
    w_all = None if w is None or w_out is None else np.concatenate([w, w_out])
    whole = _Sums(z[:terms], np.concatenate([y, y_out], axis=1), w_all)
    whole.learn(terms)
    constants, c = sums.mean.copy(), np.zeros((len(y), terms))
    for k in np.unique(kept[kept > 0]):
        own = np.flatnonzero(kept == k)
        constants[own], c[own, :k] = whole.solution(int(k), own)
    return SharedPolynomials(active[:terms], constants, c, explained)
