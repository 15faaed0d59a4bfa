"""Sparse polynomials in functions of single inputs, fitted to outputs: their indices are exact.

The basis is a product of orthonormal functions of each input; terms are chosen greedily, neighbours
of those already taken first, as many as rows held out call for (Blatman & Sudret 2011, J. Comput.
Phys. 230). A first polynomial shows the effect of each input by itself; the basis is then turned so
that each input's first function is that effect, whatever its shape: products and powers of inputs
take a few terms then, where polynomials took hundreds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import erf, ndtr, ndtri

from .laws import Law, as_law
from .marginals import Atoms, Marginal
from .normal_maps import normal_map
from .pairs import PickFreeze
from .polynomials import PolynomialBasis, polynomial_basis, probability_rule

Array = np.ndarray

ROWS_PER_TABLE = 8192
HIGHEST_DEGREE = 12
MOST_TERMS = 400
MOST_CANDIDATES = 1_000
SCREENED = 3_000  # of them behind the choice of its next terms
TAILS = 0.05  # fourth moment that a term may have, per row behind the polynomial,
UNBOUNDED_TAILS = 0.1  # and that its factors of unbounded inputs may have
LIGHT_TAILS = 4.0  # kurtosis up to which an unbounded input, or its logarithm, is a function too,
WIDENED_TAILS = 10.0  # and E[w f^4] in draws wider than the law
MOST_POWER = 0.45  # of a tail v^-power whose variance is integrated
RAMPS = 31  # knots in the probability scale
TURNS = 3  # at most
WORTHWHILE = 0.1  # share of the variance from which a polynomial is used


@dataclass(frozen=True)
class Weigh:
    """Weights of points that take each coordinate from X or from X'.

    ``weight`` makes them of the log ratios of the densities of X and X', (n, d) each, summed over
    the coordinates of a point.
    """

    weight: Callable[[Array], Array]
    of_a: Array
    of_b: Array

    @property
    def pairs(self) -> Array:
        """Of (X, X'): (n,)."""
        return self.weight(self.of_a.sum(1) + self.of_b.sum(1))

    def points(self, from_a: Array) -> Array:
        """Of points with these coordinates (d,) from X: (n,)."""
        return self.weight(np.where(from_a, self.of_a, self.of_b).sum(1))


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
        return self.constant + self.coefficient @ products_of(self.exponents, tables)

    def shares(self, plan: PickFreeze) -> tuple[Array, Array]:
        """Which terms (J, terms), and whether the constant (J,), enter `PickFreeze.terms`."""
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

    def means(self, plan: PickFreeze) -> Array:
        """Exact means of `PickFreeze.terms` for the polynomial itself, shape (J,)."""
        terms, constant = self.shares(plan)
        found = terms @ self.coefficient**2 + constant * self.constant**2
        found[0] = self.constant
        return found

    def corrected(
        self, plan: PickFreeze, at_a: Array, at_b: Array, y: Array, weigh: Weigh | None = None
    ) -> Array:
        """Estimates (R, J) of means of `PickFreeze.terms` from outputs y (calls, R, n), R designs.

        With P the polynomial and e = Y - P, every mean is that of P, known, and that of e, and
        twice an inner product of e and some terms of P, which needs no pairs: E[P(X) e(X_u, X'_-u)]
        = E[P_u(X) e(X)] with P_u the terms in X_u alone. Tables are those of X and X' at R n rows,
        which ``weigh`` gives weights.
        """
        _, r, n = y.shape
        y = y.reshape(len(y), r * n)

        def sums(products: Array, e: Array) -> Array:
            return np.einsum("trn,rn->rt", products.reshape(-1, r, n), e.reshape(r, n))

        own = (self.exponents, self.constant, self.coefficient)
        residual, inner, mean = left_over(own, plan, (at_a, at_b), y, weigh, r, sums)
        terms, constant = self.shares(plan)
        table = plan.terms(residual[:, :, None]).reshape(r, n, -1)
        if weigh is not None:
            table *= weigh.pairs.reshape(r, n, 1)
        found = table.mean(1) + self.means(plan)
        crossed = (self.coefficient * inner) @ terms.T + np.outer(mean, constant * self.constant)
        return found + 2 * crossed


def left_over(
    polynomial: tuple[Array, Array | float, Array],
    plan: PickFreeze,
    tables: tuple[Array, Array],
    y: Array,
    weigh: Weigh | None,
    r: int,
    sums: Callable[[Array, Array], Array],
) -> tuple[Array, Array, Array]:
    """What exponents, constant and coefficients ([K,] terms) leave of outputs y (calls, [K,] R n).

    With its inner products with the terms (R, [K,] terms), which ``sums`` adds up from products
    (terms, R n) and residuals, and its means (R, [K]); tables are those of X and X'.
    """
    (exponents, constant, c), (at_a, at_b) = polynomial, tables
    n, g, residual = y.shape[-1] // r, len(plan.members), np.empty_like(y)
    inner, mean = np.zeros((r, *c.shape)), np.zeros((r, *c.shape[:-1]))

    def weighed(e: Array, from_a: Array) -> Array:
        return e if weigh is None else e * weigh.points(from_a)

    sides = [(at_a, at_b, 0, 2 + g)] if plan.both else [(at_a, at_b, 0, 0)]
    sides.append((at_b, at_a, 1, 2))
    for kept, swapped, base, start in sides:
        products = products_of(exponents, kept)
        value = constant + c @ products
        residual[base] = y[base] - value
        own = np.full(plan.members.shape[1], base == 0)
        total, used = weighed(residual[base], own).copy(), 1
        changes = np.zeros_like(inner)
        for k, members in enumerate(plan.members if start else ()):
            # only terms with an exchanged input change
            part = exponents[:, members].any(1)
            mixed = [swapped[i] if m else kept[i] for i, m in enumerate(members)]
            change = products_of(exponents[part], mixed) - products[part]
            residual[start + k] = y[start + k] - value - c[..., part] @ change
            e = weighed(residual[start + k], np.where(members, ~own, own))
            total += e
            changes[..., part] += sums(change, e)
            used += 1
        # points that share coordinates count together as much as the lone X
        inner += 0.5 * (sums(products, total) + changes) / (used * n)
        mean += 0.5 * total.reshape(*total.shape[:-1], r, n).mean(-1).T / used
    return residual, inner, mean


# functions of one input: whether of its logarithm, and the centre and spread they are scaled by
Plain = tuple[tuple[bool, float, float], ...]
# values of an input, the u that stands for each, and their numbers, the most likely first
Steps = tuple[Array, Array, Array]


@dataclass(frozen=True)
class _Functions:
    """Functions of one input, orthonormal under its law, the constant first.

    Polynomials of the input where it is bounded (``bounded``). Else the input and its logarithm,
    where their tails are light (``plain``), powers of the standard-normal coordinate u up to u^3
    and polynomials of erf(u/2): polynomials in u of higher degree explode in the tails, where no
    draw has taught them anything. Then, for effects with kinks, ramps in the probability scale.
    Of an input of few values (``steps``) u is that of the value's middle, so that functions follow
    steps; of a dozen at most each is told from the others, the most likely first.
    """

    bounded: PolynomialBasis | None
    plain: Plain
    steps: Steps | None
    triangle: Array  # (functions, raw functions)
    # (functions,) E[w f^4], w the weight of draws wider than the law; but for ramps the largest yet
    fourth: Array
    weight: Array  # (nodes,) of `probability_rule`, or of the input's few values, times w
    at_nodes: Array  # (functions, nodes) values there

    def __call__(self, u: Array, x: Array) -> Array:
        return self.triangle @ self.raw(u, x)

    def raw(self, u: Array, x: Array) -> Array:
        """Functions not yet orthonormal."""
        return _raw(self.bounded, self.plain, self.steps, u, x)

    def regressed(
        self, values: Array, residual: Array, w: Array | None, size: float
    ) -> tuple[Array, Array, Array]:
        """Which functions are used, their coefficients ([K,] used), and what they leave.

        Of residuals ([K,] n) on the functions' values at the rows; coefficients are the smaller the
        larger ``size`` times their fourth moments.
        """
        most = TAILS if self.bounded is not None else UNBOUNDED_TAILS
        used = np.flatnonzero(self.fourth <= most * values.shape[1])[1:]
        z = values[used]
        # what the means of single functions differ from zero by is chance
        z -= mean_over(z, w)[:, None]
        gram = times(z, w) @ z.T
        gram[np.diag_indices_from(gram)] += size * self.fourth[used]
        c = np.linalg.solve(gram, z @ times(residual, w).T).T
        return used, c, residual - c @ z


def _raw(
    bounded: PolynomialBasis | None, plain: Plain, steps: Steps | None, u: Array, x: Array
) -> Array:
    """Functions of one input (m, n), not yet orthonormal."""
    smooth: Sequence[Array] | Array
    if bounded is not None:
        smooth = bounded.of_input(0, u, x, HIGHEST_DEGREE)
    else:
        own = [((_log(x) if logarithm else x) - c) / s for logarithm, c, s in plain]
        if steps is not None:
            values, scores, order = steps
            place = np.searchsorted((values[1:] + values[:-1]) / 2, x)
            u = scores[place]
        if steps is not None and len(order) <= HIGHEST_DEGREE + 1:
            own += list((place == order[:, None]).astype(np.float64))
        else:
            legendre = np.polynomial.legendre.legvander(erf(u / 2), HIGHEST_DEGREE - 2).T
            # u^3 is odd: an even one follows
            turns = [k + 1 if k % 2 else k - 1 for k in range(1, HIGHEST_DEGREE - 2)]
            own += [u, u**2, u**3, *legendre[turns]]
        smooth = [np.ones_like(u), *own]
    found = np.empty((len(smooth) + RAMPS, len(u)))
    found[: len(smooth)] = smooth
    ramps = found[len(smooth) :]
    np.subtract(ndtr(u), np.arange(1, RAMPS + 1)[:, None] / (RAMPS + 1), out=ramps)
    np.maximum(ramps, 0.0, out=ramps)
    return found


def _log(x: Array) -> Array:
    return np.log(np.maximum(x, 1e-300))


def _functions_of(
    marginal: Marginal, ratio: Callable[[Array], Array] | None, reach: float
) -> _Functions:
    """All functions of an input with this law; log ``ratio`` of the density of its draws to it,
    which are wider up to ``reach``.
    """
    table = marginal.table if isinstance(marginal, Atoms) else None
    if table is None:
        v, weight = probability_rule()
        u = np.concatenate([ndtri(v), -ndtri(v)])
        x = np.concatenate([marginal.ppf(v), marginal.isf(v)]).astype(float)
    else:
        x, weight = table
        u = normal_map(marginal).to_normal(x)
    damped, far = weight, x
    if ratio is not None:
        # of what is drawn: farther out there is nothing to learn from
        damped = weight * np.exp(-ratio(u)) * (np.abs(u) < reach)
        if table is None:
            far = np.concatenate([_with_tail(v, side) for side in np.split(x, 2)])
    ends = np.array([marginal.ppf(0.0), marginal.ppf(1.0)], dtype=float)
    bounded, plain = None, []
    if isinstance(marginal, Atoms) and table is None:
        # functions of u alone: the rule is exact for them, not for the input's steps
        pass
    elif table is None and np.isfinite(ends).all():
        bounded = polynomial_basis(as_law(marginal), HIGHEST_DEGREE)
    else:
        for logarithm in (False, True)[: 1 + int(ends[0] >= 0)]:
            z = _log(x) if logarithm else far
            centre, spread, fourth_moment = _moments(z, weight, damped)
            # without a variance the fourth moment is NaN
            if fourth_moment <= (LIGHT_TAILS if ratio is None else WIDENED_TAILS):
                plain.append((logarithm, centre, spread))
    steps = None if table is None else (x, u, np.argsort(-weight, kind="stable"))
    raw = _raw(bounded, tuple(plain), steps, u, np.where(np.isfinite(far), far, x))
    smooth = len(raw) - RAMPS
    # modified Gram and Schmidt, twice, without what earlier functions can do
    kept, triangle = np.empty_like(raw), np.zeros((len(raw), len(raw)))
    count, smooth_kept = 0, 0
    for k, function in enumerate(raw[: len(raw) if ends[0] < ends[1] else 1]):  # none of a constant
        f, row = function.copy(), np.zeros(len(raw))
        row[k] = 1.0
        size = np.sqrt(weight @ f**2)
        for _ in range(2):
            inner = kept[:count] @ (weight * f)
            f -= inner @ kept[:count]
            row -= inner @ triangle[:count]
        left = np.sqrt(weight @ f**2)
        if not left > 1e-6 * size:
            continue
        kept[count], triangle[count] = f / left, row / left
        count += 1
        smooth_kept += k < smooth
    at_nodes = kept[:count]
    fourth = np.square(at_nodes**2) @ damped
    fourth[:smooth_kept] = np.maximum.accumulate(fourth[:smooth_kept])
    return _Functions(bounded, tuple(plain), steps, triangle[:count], fourth, damped, at_nodes)


def _with_tail(v: Array, x: Array) -> Array:
    """Inputs x at nodes v of `probability_rule`, with the second moment of what is farthest out.

    No polynomial integrates the square of a tail such as v^(-1/3) to its end: power laws between
    the nodes do, as one value at all nodes of the outermost panel; NaN without a variance.
    """
    edge = 2.0**-60
    last = int(np.searchsorted(v, edge))
    if not np.inf > abs(x[0]) > abs(x[last]) > 0:
        return x
    log_v, log_x = np.log(v[: last + 1]), np.log(np.abs(x[: last + 1]))
    power = -np.diff(log_x) / np.diff(log_v)
    found = x.copy()
    if not power.max() < MOST_POWER:
        found[:last] = math.nan
        return found
    log_x[last] += power[-1] * (log_v[last] - math.log(edge))
    log_v[last] = math.log(edge)
    mass = np.exp(2 * log_x + log_v)
    square = mass[0] / (1 - 2 * power[0]) + (np.diff(mass) / (1 - 2 * power)).sum()
    found[:last] = math.copysign(math.sqrt(square / edge), x[0])
    return found


def _moments(z: Array, weight: Array, damped: Array) -> tuple[float, float, float]:
    """Mean and standard deviation of values at nodes, and E[w f^4] of what they are scaled to."""
    with np.errstate(over="ignore", invalid="ignore"):
        centre = weight @ z
        spread = np.sqrt(weight @ (z - centre) ** 2)
        return float(centre), float(spread), float(damped @ ((z - centre) / spread) ** 4)


def kurtosis(marginal: Marginal) -> float:
    """Of an input; large, infinite or NaN where the fourth moment is infinite."""
    v, weight = probability_rule()
    x = np.concatenate([marginal.ppf(v), marginal.isf(v)]).astype(float)
    return _moments(x, weight, weight)[2]


@dataclass(frozen=True)
class ProductBasis:
    """Orthonormal functions of each input, numbers 0 to the highest degree.

    They are the first of a longer list (``functions``), or such combinations of it (``turns``) that
    number 1 is the effect that the input has by itself: with it, products of few functions say
    what takes many polynomials (`turned`).
    """

    functions: tuple[_Functions, ...]
    turns: tuple[Array, ...]  # (degrees, functions) each, orthonormal rows

    def tables(self, u: Array, x: Array) -> Array:
        """Values at rows u and their inputs x: shape (d, degrees, n)."""
        n, d = u.shape
        found = np.empty((d, HIGHEST_DEGREE + 1, n))
        for i, (functions, turn) in enumerate(zip(self.functions, self.turns, strict=True)):
            at = turn @ functions.triangle
            for s in range(0, n, ROWS_PER_TABLE):
                rows = slice(s, s + ROWS_PER_TABLE)
                raw = functions.raw(u[rows, i], x[rows, i])
                np.matmul(at, raw, out=found[i, :, rows])
        return found

    @cached_property
    def tails(self) -> Array:
        """Largest E[p^4] up to each degree over what a term may have per row, (2, d, degrees).

        For all inputs, and for unbounded ones alone: beyond their draws, nothing holds a term.
        """
        found = []
        for functions, turn in zip(self.functions, self.turns, strict=True):
            fourth = np.square((turn @ functions.at_nodes) ** 2) @ functions.weight
            # a law of few values has few functions
            found.append(np.where(turn.any(1), fourth, np.inf))
        every = np.maximum.accumulate(np.array(found), axis=1)
        known = np.array([f.bounded is not None for f in self.functions])
        return np.stack([every, np.where(known[:, None], 1.0, every)])

    def turned(
        self, polynomial: SparsePolynomial, rows: Rows, residual: Array
    ) -> tuple[ProductBasis, Array]:
        """A basis whose functions number 1 are the main effects, and its tables at the rows.

        The effects are learned from a first polynomial: its residual (n,) at the rows is
        regressed on all functions of one input after the other, with coefficients the smaller the
        larger their fourth moments.
        """
        e, n, (u, x, w) = polynomial.exponents, len(residual), (rows.u, rows.x, rows.weight)
        residual = residual - mean_over(residual, w)
        main = (e > 0).sum(1) == 1
        size = sum(len(f.triangle) for f in self.functions) / 9
        turns, tables = [], np.empty((len(self.turns), HIGHEST_DEGREE + 1, n))
        for i, (functions, turn) in enumerate(zip(self.functions, self.turns, strict=True)):
            own = main & (e[:, i] > 0)
            effect = polynomial.coefficient[own] @ turn[e[own, i]]
            values = functions(u[:, i], x[:, i])
            used, c, residual = functions.regressed(values, residual, w, size)
            effect[used] += c
            turns.append(_towards(effect, turn))
            np.matmul(turns[i], values, out=tables[i])
        return ProductBasis(self.functions, tuple(turns)), tables


def _towards(effect: Array, turn: Array) -> Array:
    """Orthonormal rows: the constant, the effect's direction, then the first other functions."""
    length = np.linalg.norm(effect)
    if not length > 0:
        return turn
    count = min(HIGHEST_DEGREE + 1, len(effect))
    others = np.arange(1, count + (count < len(effect)))
    # the effect takes the place of the function most like it
    others = np.delete(others, np.abs(effect[others]).argmax())[: count - 2]
    eye = np.eye(len(effect))
    q, r = np.linalg.qr(np.column_stack([eye[0], effect / length, *eye[others]]))
    found = np.zeros((HIGHEST_DEGREE + 1, len(effect)))
    found[:count] = (q * np.where(np.diag(r) < 0, -1.0, 1.0)).T
    return found


class _Widening(Protocol):
    """Inputs drawn wider than their laws, as `widening.Widening` says."""

    @property
    def inputs(self) -> Array: ...
    @property
    def scales(self) -> Array: ...
    @property
    def reaches(self) -> Array: ...
    def log_ratio(self, u: Array, i: int) -> Array: ...


def product_basis(law: Law, widening: _Widening | None = None) -> ProductBasis:
    """Orthonormal functions of each input of a law, see `_Functions`."""
    marginals = law.marginals or ()
    made: dict[tuple[int, bool, float, float], _Functions] = {}
    functions = []
    for i, m in enumerate(marginals):
        wide = widening if widening is not None and widening.inputs[i] else None
        reach = float(wide.reaches[i]) if wide else math.inf
        key = id(m), wide is not None, float(wide.scales[i]) if wide else 0.0, reach
        if key not in made:
            made[key] = _functions_of(m, partial(wide.log_ratio, i=i) if wide else None, reach)
        functions.append(made[key])
    turns = tuple(np.eye(HIGHEST_DEGREE + 1, len(f.triangle)) for f in functions)
    return ProductBasis(tuple(functions), turns)


def products_of(exponents: Array, tables: Array | Sequence[Array]) -> Array:
    """Products of polynomials (terms, n), from tables (degrees, n) of each input."""
    found = np.empty((len(exponents), tables[0].shape[1]))
    multiply_into(exponents, tables, found)
    return found


def multiply_into(
    exponents: Array, tables: Array | Sequence[Array], into: Array | list[Array]
) -> None:
    """The same, written to the rows of an array or to a list of rows."""
    rows, inputs = np.nonzero(exponents)
    degrees = exponents[rows, inputs].tolist()
    begun = -1
    for row, i, k in zip(rows.tolist(), inputs.tolist(), degrees, strict=True):
        if row == begun:
            into[row] *= tables[i][k]
        else:
            into[row][:] = tables[i][k]
            begun = row


def first_candidates(d: int) -> Array:
    """Main effects to degree two, then products of two inputs."""
    eye = np.eye(d, dtype=np.int64)
    i, j = np.triu_indices(d, 1)
    return np.concatenate([eye, 2 * eye, (eye[i] + eye[j])[: max(MOST_CANDIDATES - 2 * d, 0)]])


def neighbours(exponents: Array, coefficient: Array) -> Array:
    """Terms one or two degrees above the largest ones: two, because of even and odd functions."""
    d = exponents.shape[1]
    steps = np.concatenate([np.eye(d, dtype=np.int64), 2 * np.eye(d, dtype=np.int64)])
    largest = np.argsort(-np.abs(coefficient), kind="stable")
    largest = largest[: max(MOST_CANDIDATES // len(steps), 1)]
    found = (exponents[largest][:, None] + steps).reshape(-1, d)
    return found[found.max(1) <= HIGHEST_DEGREE]


def times(v: Array, weight: Array | None) -> Array:
    """Values times weights, if any."""
    return v if weight is None else v * weight


def mean_over(v: Array, weight: Array | None) -> Array:
    """Mean over the last axis, by weights of mean 1."""
    return np.asarray(v.mean(-1) if weight is None else v @ weight / len(weight))


class _Regression:
    """Sums for the regression of y (n,) on terms, of which more are learned as it goes on.

    ``z`` (most, n) has room for the values of all terms that may come, the first ``count`` are in;
    ``w`` are weights of mean 1, if any.
    """

    def __init__(self, z: Array, y: Array, w: Array | None) -> None:
        most = len(z)
        self.z, self.y, self.w, self.count = z, y, w, 0
        self.mean = float(mean_over(y, w))
        self.gram = np.empty((most, most))
        self.centre, self.inner = np.empty(most), np.empty(most)

    def learn(self, count: int) -> None:
        """Take in the rows of ``z`` up to this number."""
        new, old = slice(self.count, count), slice(0, self.count)
        z = self.z[new]
        self.gram[new, :count] = times(z, self.w) @ self.z[:count].T
        self.gram[old, new] = self.gram[new, old].T
        self.centre[new] = mean_over(z, self.w)
        self.inner[new] = z @ times(self.y - self.mean, self.w)
        self.count = count

    def solution(self) -> tuple[float, Array]:
        """Constant and coefficients."""
        k, n = self.count, len(self.y)
        centre = self.centre[:k]
        c = solved(self.gram[:k, :k] - n * np.outer(centre, centre), self.inner[:k], n)
        return self.mean - float(centre @ c), c


def solved(gram: Array, inner: Array, n: int) -> Array:
    """Coefficients (k, ...) from inner products of n rows; terms may be close to dependent."""
    ridged = gram.copy()
    ridged.flat[:: len(gram) + 1] += 1e-10 * n
    factor = cho_factor(ridged, lower=True)
    c = cho_solve(factor, inner)
    # what the ridge took away would leave its share of the output, tails and all
    return c + cho_solve(factor, inner - gram @ c)


@dataclass(frozen=True)
class Rows:
    """Rows u (n, d), their inputs x (n, d) and the tables there of a basis not turned yet."""

    u: Array
    x: Array
    tables: Array
    weight: Array | None = None  # (n,), of mean 1


def fit_sparse(
    basis: ProductBasis, fitted: tuple[Rows, Array], held_out: tuple[Rows, Array]
) -> tuple[SparsePolynomial, ProductBasis]:
    """Sparse polynomial for outputs (n,) at rows, and the basis, turned to the data, it is in.

    The basis is turned to the main effects that a first polynomial found, and the polynomial sought
    anew, as long as that halves the error on the rows held out.
    """
    (rows, y), (rows_out, y_out) = fitted, held_out
    tables = rows.tables
    weights = rows.weight, rows_out.weight
    best = _fit((tables, y), (rows_out.tables, y_out), weights, basis.tails)
    for _ in range(TURNS):
        if best.empty:
            break
        turned, new = basis.turned(best, rows, y - best(tables))
        new_out = turned.tables(rows_out.u, rows_out.x)
        found = _fit((new, y), (new_out, y_out), weights, turned.tails)
        gain = (1 - best.explained) / max(1 - found.explained, 1e-300)
        if gain > 1:
            best, basis, tables = found, turned, new
        if gain < 2:
            break
    return best, basis


def _fit(
    fitted: tuple[Array, Array],
    held_out: tuple[Array, Array],
    weights: tuple[Array | None, Array | None],
    fourth: Array,
) -> SparsePolynomial:
    """Sparse polynomial grown by orthogonal matching pursuit; its size by data held out.

    Each round adds the candidates that correlate most with the residual and solves anew; the
    candidates are the neighbours of what is there. ``fitted`` and ``held_out`` are tables (d,
    degrees, n) and outputs (n,), with ``weights`` of their rows, if any. Terms with large fourth
    moments, ``fourth`` from `ProductBasis.tails`, are left out: draws say little of them, and in
    the tails they lead astray.
    """
    (tables, y), (tables_out, y_out), (w, w_out) = fitted, held_out, weights
    d, n, rows = tables.shape[0], len(y), min(len(y), SCREENED)
    screen, w_screen = tables[:, :, :rows], None if w is None else w[:rows]
    most, idle = min(MOST_TERMS, n // 5), 0
    # values of the terms taken, at all rows
    z, y_all = np.empty((most, n + len(y_out))), np.concatenate([y, y_out])
    active = np.zeros((0, d), dtype=np.int64)
    learned = _Regression(z[:, :n], y, w)
    constant, coefficient = learned.mean, np.zeros(0)
    spread = float(mean_over((y_out - constant) ** 2, w_out))
    best_error, best_terms = spread, active
    known: set[bytes] = set()
    # values of the candidates stay at their place while the order of the pool changes
    values = np.empty((2 * MOST_CANDIDATES + max(MOST_CANDIDATES, 2 * d), rows))
    norms, free = np.ones(len(values)), np.ones(len(values), dtype=bool)
    pool, place = active, np.zeros(0, dtype=np.int64)
    proposed = first_candidates(d)
    while len(active) < most and spread > 0 and idle < 3:
        fresh = []
        keys = proposed.astype(np.int8, order="C").view(f"V{d}").ravel().tolist()
        for row, key in enumerate(keys):
            if key not in known:
                known.add(key)
                fresh.append(row)
        proposed = proposed[fresh]
        size = fourth[:, np.arange(d), proposed].prod(2)
        proposed = proposed[(size[0] <= TAILS * n) & (size[1] <= UNBOUNDED_TAILS * n)]
        at = np.flatnonzero(free)[: len(proposed)]
        into = [values[i] for i in at]
        multiply_into(proposed, screen, into)
        norms[at] = np.sqrt(np.maximum([times(v, w_screen) @ v for v in into], 1e-300))
        free[at] = False
        pool, place = np.concatenate([pool, proposed]), np.concatenate([place, at])
        residual = y[:rows] - constant - coefficient @ z[: len(active), :rows]
        top = int(place.max(initial=-1)) + 1
        strength = np.abs(values[:top] @ times(residual, w_screen))[place] / norms[place]
        ranked = np.argsort(-strength, kind="stable")
        chosen = ranked[: min(max(8, len(active) // 3), most - len(active))]
        noise = math.sqrt(float(mean_over(residual**2, w_screen)))
        chosen = chosen[strength[chosen] > 2 * noise]
        if len(chosen) == 0:
            break
        new = pool[chosen]
        left = ranked[len(chosen) : 2 * MOST_CANDIDATES]
        free[place] = True
        pool, place = pool[left], place[left]
        free[place] = False
        room = z[len(active) : len(active) + len(new)]
        multiply_into(new, tables, room[:, :n])
        multiply_into(new, tables_out, room[:, n:])
        active = np.concatenate([active, new])
        learned.learn(len(active))
        constant, coefficient = learned.solution()
        missed = y_out - constant - coefficient @ z[: len(active), n:]
        error = float(mean_over(missed**2, w_out))
        idle = 0 if error < 0.98 * best_error else idle + 1
        if error < best_error:
            best_error, best_terms = error, active
        proposed = neighbours(active, coefficient)
    explained = 1 - best_error / spread if spread > 0 else 0.0
    if explained < WORTHWHILE:
        return SparsePolynomial(active[:0], learned.mean, np.zeros(0), explained)
    # the terms are settled; their coefficients may use all there is
    w_all = None if w is None or w_out is None else np.concatenate([w, w_out])
    whole = _Regression(z[: len(best_terms)], y_all, w_all)
    whole.learn(len(best_terms))
    return SparsePolynomial(best_terms, *whole.solution(), explained)
