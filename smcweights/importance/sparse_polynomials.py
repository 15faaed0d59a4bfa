"""Sparse polynomials in functions of single inputs, fitted to outputs: their indices are exact.

The basis is a product of orthonormal functions of each input; terms are chosen greedily, neighbours
of those already taken first, as many as rows held out call for (Blatman & Sudret 2011, J. Comput.
Phys. 230).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .laws import Law, as_law
from .polynomials import PolynomialBasis, polynomial_basis

if TYPE_CHECKING:
    from .sensitivity import Plan

__all__ = ["ProductBasis", "SparsePolynomial", "fit_sparse", "product_basis"]

Array = np.ndarray

ROWS_PER_TABLE = 8192
HIGHEST_DEGREE = 12
MOST_TERMS = 400
MOST_CANDIDATES = 1_000
SCREENED = 3_000  # of them behind the choice of its next terms
TAILS = 0.05  # fourth moment that a term may have, per row behind the polynomial,
UNBOUNDED_TAILS = 0.1  # and that its factors of unbounded inputs may have
WORTHWHILE = 0.1  # share of the variance from which a polynomial is used


@dataclass(frozen=True)
class SparsePolynomial:
    """constant + sum of coefficient times a product of orthonormal polynomials, one per input."""

    exponents: Array  # (terms, d)
    constant: float
    coefficient: Array  # (terms,)
    explained: float  # share of the variance, on data held out

    @property
    def empty(self) -> bool:
        """Whether it is only a constant."""
        return len(self.coefficient) == 0

    def __call__(self, tables: Array | Sequence[Array]) -> Array:
        """Values (n,) from tables (d, degrees, n) of the functions of each input."""
        return self.constant + self.coefficient @ _products(self.exponents, tables)

    def shares(self, plan: Plan) -> tuple[Array, Array]:
        """Which terms (J, terms), and whether the constant (J,), enter each of `Plan.terms`."""
        touched = np.array([self.exponents[:, m].any(1) for m in plan.members])
        order = touched.sum(0)
        none, every = np.zeros_like(order, dtype=bool), np.ones_like(order, dtype=bool)
        closed = [t & (order == 1) for t in touched]
        crossed: list[Array] = []
        if plan.both:
            i, j = plan.pairs
            crossed = list((order == touched[i].astype(int) + touched[j]) & (order > 0))
        terms = np.array([none, every, none, *closed, *touched, *crossed])
        constant = np.ones(len(terms), dtype=bool)
        constant[0] = False
        constant[3 + len(closed) : 3 + 2 * len(closed)] = False
        return terms, constant

    def means(self, plan: Plan) -> Array:
        """Exact means of `Plan.terms` for the polynomial itself, shape (J,)."""
        terms, constant = self.shares(plan)
        found = terms @ self.coefficient**2 + constant * self.constant**2
        found[0] = self.constant
        return found

    def corrected(self, plan: Plan, at_a: Array, at_b: Array, y: Array) -> Array:
        """Estimates (J,) of the means of `Plan.terms` from outputs y (calls, n).

        With P the polynomial and e = Y - P, every mean is that of P, known, and that of e, and
        twice an inner product of e and some terms of P, which needs no pairs: E[P(X) e(X_u, X'_-u)]
        = E[P_u(X) e(X)] with P_u the terms in X_u alone. Tables are those of X and X'.
        """
        n, g = y.shape[1], len(plan.members)
        residual = np.empty_like(y)
        inner, mean = np.zeros(len(self.exponents)), 0.0
        sides = [(at_a, at_b, 0, 2 + g)] if plan.both else [(at_a, at_b, 0, 0)]
        sides.append((at_b, at_a, 1, 2))
        for kept, swapped, base, start in sides:
            products = _products(self.exponents, kept)
            value = self.constant + self.coefficient @ products
            residual[base] = y[base] - value
            total, used = residual[base].copy(), 1
            changes = np.zeros_like(inner)
            for k, members in enumerate(plan.members if start else ()):
                # only terms with an exchanged input change
                part = self.exponents[:, members].any(1)
                mixed = [swapped[i] if m else kept[i] for i, m in enumerate(members)]
                change = _products(self.exponents[part], mixed) - products[part]
                e = residual[start + k]
                e[:] = y[start + k] - value - self.coefficient[part] @ change
                total += e
                changes[part] += change @ e
                used += 1
            # points that share coordinates count together as much as the lone X
            inner += 0.5 * (products @ total + changes) / (used * n)
            mean += 0.5 * float(total.mean()) / used
        terms, constant = self.shares(plan)
        found = plan.terms(residual[:, :, None])[:, 0].mean(0) + self.means(plan)
        return found + 2 * (terms @ (self.coefficient * inner) + constant * self.constant * mean)


@dataclass(frozen=True)
class ProductBasis:
    """Orthonormal functions of each input, numbers 0 to the highest degree.

    Polynomials of the input where it is bounded (``bounded``, one for each such input). Else
    functions of the standard-normal coordinate u that grow no faster than u^3: 1, u, u^2, u^3 and
    polynomials of erf(u/2), made orthonormal (``triangle``) in an order that alternates even and
    odd. Polynomials in u of higher degree explode in the tails, where no draw has taught them
    anything.
    """

    bounded: tuple[PolynomialBasis | None, ...]
    triangle: Array

    def tables(self, u: Array, x: Array) -> Array:
        """Values at rows u and their inputs x: shape (d, degrees, n)."""
        n, d = u.shape
        found = np.ones((d, HIGHEST_DEGREE + 1, n))
        for s in range(0, n, ROWS_PER_TABLE):
            for i, basis in enumerate(self.bounded):
                ui, xi = u[s : s + ROWS_PER_TABLE, i], x[s : s + ROWS_PER_TABLE, i]
                at = found[i, :, s : s + ROWS_PER_TABLE]
                if basis is None:
                    at[:] = self.triangle @ _slow_functions(ui)
                else:
                    at[1:] = basis(ui[:, None], xi[:, None]).T
        return found

    def tails(self, law: Law) -> Array:
        """Largest E[p^4] up to each degree over what a term may have per row, (2, d, degrees).

        For all inputs, and for unbounded ones alone: beyond their draws, nothing holds a term.
        """
        z, weight = _normal_rule()
        u = np.repeat(z[:, None], law.dimension, axis=1)
        found = self.tables(u, law.to_inputs(u)) ** 4 @ weight
        every = np.maximum.accumulate(found, axis=1)
        known = np.array([basis is not None for basis in self.bounded])
        return np.stack([every, np.where(known[:, None], 1.0, every)])


def _normal_rule() -> tuple[Array, Array]:
    """Nodes and weights for means under the standard normal law: the trapezoidal rule."""
    z = np.linspace(-10.0, 10.0, 2_001)
    weight = np.exp(-0.5 * z**2)
    return z, weight / weight.sum()


def _slow_functions(u: Array) -> Array:
    from scipy.special import erf

    legendre = np.polynomial.legendre.legvander(erf(u / 2), HIGHEST_DEGREE - 2).T
    # u^3 is odd: an even one follows
    order = [k + 1 if k % 2 else k - 1 for k in range(1, HIGHEST_DEGREE - 2)]
    return np.stack([np.ones_like(u), u, u**2, u**3, *legendre[order]])


def product_basis(law: Law) -> ProductBasis:
    """Orthonormal functions of the inputs of a law: its own polynomials where it is bounded."""
    z, weight = _normal_rule()
    # the upper factor R of V = Q R makes V R^-1 orthonormal
    r = np.linalg.qr((_slow_functions(z) * np.sqrt(weight)).T)[1]
    triangle = np.linalg.inv(r * np.sign(np.diag(r))[:, None]).T
    bounded = []
    for marginal in law.marginals or ():
        ends = np.array([marginal.ppf(0.0), marginal.ppf(1.0)], dtype=float)
        known = np.isfinite(ends).all()
        bounded.append(polynomial_basis(as_law(marginal), HIGHEST_DEGREE) if known else None)
    return ProductBasis(tuple(bounded), triangle)


def _products(exponents: Array, tables: Array | Sequence[Array]) -> Array:
    """Products of polynomials (terms, n), from tables (degrees, n) of each input."""
    found = np.empty((len(exponents), tables[0].shape[1]))
    rows, inputs = np.nonzero(exponents)
    degrees = exponents[rows, inputs].tolist()
    begun = -1
    for row, i, k in zip(rows.tolist(), inputs.tolist(), degrees, strict=True):
        if row == begun:
            found[row] *= tables[i][k]
        else:
            found[row] = tables[i][k]
            begun = row
    return found


def _first_candidates(d: int) -> Array:
    """Main effects to degree two, then products of two inputs."""
    eye = np.eye(d, dtype=np.int64)
    i, j = np.triu_indices(d, 1)
    return np.concatenate([eye, 2 * eye, (eye[i] + eye[j])[: max(MOST_CANDIDATES - 2 * d, 0)]])


def _neighbours(exponents: Array, coefficient: Array) -> Array:
    """Terms one or two degrees above the largest ones: two, because of even and odd functions."""
    d = exponents.shape[1]
    steps = np.concatenate([np.eye(d, dtype=np.int64), 2 * np.eye(d, dtype=np.int64)])
    largest = np.argsort(-np.abs(coefficient), kind="stable")
    largest = largest[: max(MOST_CANDIDATES // len(steps), 1)]
    found = (exponents[largest][:, None] + steps).reshape(-1, d)
    return found[found.max(1) <= HIGHEST_DEGREE]


@dataclass(frozen=True)
class _Regression:
    """Sums for the regression of y (n,) on the rows of z (terms, n), which grows by terms."""

    z: Array
    y: Array
    gram: Array  # of z

    def with_rows(self, new: Array) -> _Regression:
        cross = self.z @ new.T
        gram = np.block([[self.gram, cross], [cross.T, new @ new.T]])
        return _Regression(np.concatenate([self.z, new]), self.y, gram)

    def solution(self) -> tuple[float, Array]:
        """Constant and coefficients."""
        n, centre, mean = len(self.y), self.z.mean(1), float(self.y.mean())
        gram = self.gram - n * np.outer(centre, centre)
        gram[np.diag_indices_from(gram)] += 1e-10 * n
        c = np.linalg.solve(gram, self.z @ (self.y - mean))
        return mean - float(centre @ c), c


def _regression(y: Array) -> _Regression:
    return _Regression(np.empty((0, len(y))), y, np.empty((0, 0)))


def fit_sparse(
    fitted: tuple[Array, Array], held_out: tuple[Array, Array], fourth: Array
) -> SparsePolynomial:
    """Sparse polynomial grown by orthogonal matching pursuit; its size by data held out.

    Each round adds the candidates that correlate most with the residual and solves anew; the
    candidates are the neighbours of what is there. ``fitted`` and ``held_out`` are tables (d,
    degrees, n) and outputs (n,). Terms with large fourth moments, ``fourth`` from
    `ProductBasis.tails`, are left out: draws say little of them, and in the tails they lead astray.
    """
    tables, y = fitted
    tables_out, y_out = held_out
    d, rows = tables.shape[0], min(len(y), SCREENED)
    screen = tables[:, :, :rows]
    active = np.zeros((0, d), dtype=np.int64)
    learned = _regression(y)
    z_out = np.empty((0, len(y_out)))
    constant, coefficient = float(y.mean()), np.zeros(0)
    spread = float(((y_out - constant) ** 2).mean())
    best_error, best_terms = spread, active
    most, idle = min(MOST_TERMS, len(y) // 5), 0
    known: set[tuple[int, ...]] = set()
    pool, at_pool = active, np.empty((0, rows))
    proposed = _first_candidates(d)
    while len(active) < most and spread > 0 and idle < 3:
        fresh = [e for e in dict.fromkeys(map(tuple, proposed.tolist())) if e not in known]
        known.update(fresh)
        size = fourth[:, np.arange(d), np.array(fresh, dtype=np.int64).reshape(-1, d)].prod(2)
        allowed = (size[0] <= TAILS * len(y)) & (size[1] <= UNBOUNDED_TAILS * len(y))
        fresh = [e for e, ok in zip(fresh, allowed, strict=True) if ok]
        if fresh:
            pool = np.concatenate([pool, np.array(fresh)])
            at_pool = np.concatenate([at_pool, _products(np.array(fresh), screen)])
        residual = y[:rows] - constant - coefficient @ learned.z[:, :rows]
        size = np.sqrt(np.maximum(np.einsum("kn,kn->k", at_pool, at_pool), 1e-300))
        strength = np.abs(at_pool @ residual) / size
        ranked = np.argsort(-strength, kind="stable")
        chosen = ranked[: min(max(8, len(active) // 3), most - len(active))]
        chosen = chosen[strength[chosen] > 2 * math.sqrt(float((residual**2).mean()))]
        if len(chosen) == 0:
            break
        new = pool[chosen]
        left = ranked[len(chosen) : 2 * MOST_CANDIDATES]
        pool, at_pool = pool[left], at_pool[left]
        active = np.concatenate([active, new])
        learned = learned.with_rows(_products(new, tables))
        z_out = np.concatenate([z_out, _products(new, tables_out)])
        constant, coefficient = learned.solution()
        error = float(((y_out - constant - coefficient @ z_out) ** 2).mean())
        idle = 0 if error < 0.98 * best_error else idle + 1
        if error < best_error:
            best_error, best_terms = error, active
        proposed = _neighbours(active, coefficient)
    explained = 1 - best_error / spread if spread > 0 else 0.0
    if explained < WORTHWHILE:
        return SparsePolynomial(active[:0], float(y.mean()), np.zeros(0), explained)
    # the terms are settled; their coefficients may use all there is
    size = len(best_terms)
    rest = _regression(y_out).with_rows(z_out[:size])
    whole = _Regression(
        np.hstack([learned.z[:size], rest.z]),
        np.concatenate([y, y_out]),
        learned.gram[:size, :size] + rest.gram,
    )
    return SparsePolynomial(best_terms, *whole.solution(), explained)
