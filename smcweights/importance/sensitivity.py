"""Sobol' indices with their joint covariance, from model calls.

With X and an independent copy X', Y = M(X), Y' = M(X') and Y_u = M(X_u, X'_-u) for a group u of
inputs, everything needed is a mean over pairs (X, X'):

    mu = E[Y],   V = E[Y^2] - mu^2,   closed(u) = E[Y Y_u] - mu^2,   total(u) = E[(Y' - Y_u)^2] / 2,
    S_u = closed(u)/V,   T_u = total(u)/V,   S_uv = (closed(uv) - closed(u) - closed(v))/V.

`sobol_indices` estimates these means together and carries their covariance to the indices, so that
sums, differences and rankings have intervals too. Three ways to estimate them:

"qmc"
    Sixteen to thirty-one independent scramblings of Sobol' points; the standard error is their
    spread, the intervals are Student's.
"surrogate"
    The same points, and a sparse polynomial P, whose indices are known exactly: what is
    estimated is how the residual Y - P changes them. For each fold of scramblings P is learned from
    the others, so that its errors cost precision, never bias: the means stay exactly unbiased.
"importance"
    Adaptive importance sampling over the doubled law of (X, X'): for outputs that are zero, or
    small, nearly everywhere.

The difference E[Y Y_u] - mu^2 loses precision where S_u is small, E[Y (Y_u - Y')] where it is
large. E[Y Y_u] - b E[Y Y'] - (1 - b) mu^2 has the same value for every b; b = 1 - T_u is close to
the best.

References: Sobol' (2001), Math. Comput. Simul. 55; Saltelli (2002), Comput. Phys. Commun. 145, for
the pairs; Jansen (1999) for total indices; Blatman & Sudret (2011), J. Comput. Phys. 230, for
sparse polynomials; Demange-Chryst, Bachoc & Morio (2023), arXiv 2212.00568, for importance
sampling.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import names as given_names
from ..errors import DegeneracyError, ModelError, PrecisionWarning
from ..estimate import Estimate
from ..execution import open_run
from ..provenance import provenance
from ..randomness import generator
from ..stopping import Budget, Precision, stopping_rule
from ..weights import pareto_k
from .adaptive import adaptive_importance_sampling
from .laws import Law, as_law
from .sampling import arguments_of, call_integrand, checked_table
from .sparse_polynomials import (
    ROWS_PER_TABLE,
    ProductBasis,
    Rows,
    SparsePolynomial,
    fit_sparse,
    product_basis,
)

if TYPE_CHECKING:
    import pandas

__all__ = [
    "ORDERS",
    "Pairs",
    "Plan",
    "SobolIndices",
    "doubled_law",
    "output_names",
    "parts_of",
    "sobol_indices",
]

Array = np.ndarray
METHODS = ("auto", "qmc", "surrogate", "importance")
ORDERS = ("first", "total", "second")
REPLICATES = 16  # at least; intervals are Student's with one degree of freedom less
FOLDS = 4  # of replicates, for the polynomial
ROWS_PER_CALL = 8192
SETTLED = 0.01  # half-width at which an index near zero is as good as zero
CONCENTRATED = 30.0  # E[t^2]/E[|t|]^2 from which importance sampling is given a try
FEW_PAIRS = 60.0  # below, and with most pairs idle, spreads of scramblings are not to be trusted
IDLE = 0.1  # share of the pairs to which the variance is due
MOST_FITTED = 12_000  # rows behind a polynomial
EXPLAINED = 0.9  # share of every output's variance from which polynomials need no rival
HEAVY = 0.5  # Pareto k-hat of the squared output above which no interval is promised,
HEAVY_KNOWN = 0.7  # and where polynomials explain this share of it
KNOWN = 0.99


@dataclass(frozen=True)
class SobolIndices:
    """Sobol' indices, as estimates that share one covariance.

    Attributes
    ----------
    indices : Estimate, shape (J,)
        All indices under names like "first X1", "total X1", "second X1 X2" (with "output: " in
        front where the model has several outputs), with their joint covariance: sums,
        differences and rankings by `Estimate.apply`.
    first, total, second : Estimate or None
        Parts of it, named after the inputs; None where they were not asked for.
    mean, variance : Estimate, shape () or (outputs,)
        Of the model's output.
    inputs, outputs : tuple of str
        Inputs or groups of inputs, and outputs.
    method : str
        What was used.
    pairs : Pairs or None
        The model calls behind it, for `smcweights.reweight`; not kept in files.
    """

    indices: Estimate
    first: Estimate | None
    total: Estimate | None
    second: Estimate | None
    mean: Estimate
    variance: Estimate
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    method: str
    pairs: Pairs | None = field(default=None, repr=False, compare=False)

    def summary(self, level: float = 0.95) -> str:
        """Table of all indices with intervals, followed by what there is to say about them.

        Parameters
        ----------
        level : float, default 0.95
            Level of the intervals.

        Returns
        -------
        str
            Every negative estimate has a line that says what it means and about how many calls
            would settle it.
        """
        import pandas

        lower, upper = self.indices.interval(level)
        table = pandas.DataFrame(
            {
                "value": self.indices.value,
                "standard_error": self.indices.standard_error,
                "lower": lower,
                "upper": upper,
            },
            index=list(self.indices.names),
        )
        calls = int(self.indices.cost["evaluations"])
        lines = [f"Sobol' indices by {self.method}, {calls:,} model calls", table.to_string()]
        lines += _negatives(self.indices, level)
        lines += [f"warning: {text}" for text in self.indices.diagnostics.get("warnings", ())]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.summary()

    def to_df(self) -> Any:
        """Tables laid out as SALib's ``to_df``, to be used in its place.

        Returns
        -------
        list of pandas.DataFrame
            Total (columns ST, ST_conf), first (S1, S1_conf) and, if estimated, second (S2, S2_conf,
            indexed by pairs); those not asked for are left out. ``conf`` is the half-width of the
            95 % interval. With several outputs a dict of such lists.
        """
        found = {o: self._tables(k) for k, o in enumerate(self.outputs)}
        return found if len(found) > 1 else found[self.outputs[0]]

    def _tables(self, output: int) -> list[pandas.DataFrame]:
        import pandas

        pairs = [(a, b) for i, a in enumerate(self.inputs) for b in self.inputs[i + 1 :]]
        parts = (
            ("ST", self.total, list(self.inputs)),
            ("S1", self.first, list(self.inputs)),
            ("S2", self.second, pairs),
        )
        tables = []
        for column, part, index in parts:
            if part is None:
                continue
            rows = slice(output * len(index), (output + 1) * len(index))
            half = (part.interval()[1] - part.value)[rows]
            tables.append(
                pandas.DataFrame(
                    {column: part.value[rows], f"{column}_conf": half},
                    # a list of tuples would otherwise become a MultiIndex
                    index=pandas.Index(index, tupleize_cols=False),
                )
            )
        return tables

    def plot(self, ax: Any = None, *, level: float = 0.95) -> Any:
        """Bars of the indices with intervals, see `smcweights.plots.sobol`."""
        from .figures import sobol

        return sobol(self, ax, level=level)


def _negatives(indices: Estimate, level: float) -> list[str]:
    """A line for every negative estimate: what it means, and what would settle it."""
    _, upper = indices.interval(level)
    lines = []
    for name, value, end in zip(indices.names, indices.value, upper, strict=True):
        if value >= 0:
            continue
        shown = f"{name} = {value:.2g}: "
        half = end - value
        if name.split(": ")[-1].startswith("second"):
            shown += "a true index is never negative; this one is a difference of others, and "
        else:
            shown += "a true index is never negative, its unbiased estimate is when "
        shown += "the error exceeds the index; "
        if not np.isfinite(half):
            lines.append(shown + "its standard error is unknown")
        elif end < 0:
            lines.append(
                shown + f"but its {level:.0%} interval lies below zero, which happens to a valid "
                "interval by chance; if it persists with another seed, look for noise in the model"
            )
        elif indices.diagnostics.get("warnings"):
            lines.append(shown + "its interval is not to be trusted, see the warnings")
        elif half <= SETTLED:
            lines.append(shown + f"the {level:.0%} interval says it is below {end:.1g}: settled")
        else:
            more = indices.cost["evaluations"] * ((half / SETTLED) ** 2 - 1)
            lines.append(
                shown + f"zero is within its {level:.0%} interval, and about {_rounded(more):,} "
                f"more calls would narrow that to +-{SETTLED:g}"
            )
    return lines


def _rounded(number: float) -> int:
    """Two significant digits."""
    return int(float(f"{number:.2g}"))


# ------------------------------------------------------------------------------- what is estimated


@dataclass(frozen=True)
class Pairs:
    """Model calls at pairs of inputs, from which indices under other laws follow.

    ``a``, ``b`` (R, n, d) standard normals that stand for the inputs, and ``y`` (R, n, calls, K)
    outputs, of R independent designs; or
    ``means``, the estimate of the terms over the doubled law by importance sampling.
    """

    plan: Plan
    law: Law
    centre: Array
    outputs: tuple[str, ...]
    a: Array | None = None
    b: Array | None = None
    y: Array | None = None
    means: Estimate | None = None

    def terms(self) -> Array:
        """Terms of all pairs: (R, n, K * J)."""
        assert self.y is not None
        y = np.moveaxis(self.y - self.centre, 2, 0)
        return self.plan.terms(y).reshape(*self.y.shape[:2], -1)

    def indices(self, means: Array) -> Array:
        """All indices from the means of the terms."""
        return self.plan.indices(means, len(self.outputs))

    @property
    def names(self) -> list[str]:
        """Of the indices."""
        return self.plan.joint_names(self.outputs)


def doubled_law(law: Law) -> dict[str, Any]:
    """The law of a pair (X, X')."""
    assert law.marginals is not None
    return {
        f"{n}{mark}": m for mark in ("", "'") for n, m in zip(law.names, law.marginals, strict=True)
    }


@dataclass(frozen=True)
class Plan:
    """Which model calls a pair (X, X') needs, and how indices follow from means over pairs.

    Attributes
    ----------
    inputs : tuple of str, length G
        Names of the groups.
    members : ndarray of bool, shape (G, d)
        Which inputs are in which group.
    order : tuple of str
        What is wanted.
    """

    inputs: tuple[str, ...]
    members: Array
    order: tuple[str, ...]

    @property
    def both(self) -> bool:
        """Whether each group is exchanged both ways, which pairs need."""
        return "second" in self.order

    @property
    def pairs(self) -> tuple[Array, Array]:
        """Numbers of the first and of the second input of each pair."""
        i, j = np.triu_indices(len(self.inputs), 1)
        return i, j

    @property
    def calls(self) -> int:
        """Model calls per pair."""
        return 2 + len(self.inputs) * (2 if self.both else 1)

    def points(self, a: Array, b: Array) -> Array:
        """X, X', (X_u, X'_-u) and, for pairs, (X'_u, X_-u): shape (calls, n, d)."""
        mixed = [np.where(m, a, b) for m in self.members]
        if self.both:
            mixed += [np.where(m, b, a) for m in self.members]
        return np.stack([a, b, *mixed])

    def terms(self, y: Array) -> Array:
        """What the means are taken of: outputs (calls, n, K) -> (n, K, J)."""
        g = len(self.inputs)
        first, other, mixed = y[0], y[1], y[2 : 2 + g]
        closed = first * mixed
        total = 0.5 * (other - mixed) ** 2
        crossed: list[Array] = []
        if self.both:
            swapped = y[2 + g :]
            closed = (closed + other * swapped) / 2
            total = (total + 0.5 * (first - swapped) ** 2) / 2
            i, j = self.pairs
            crossed = list((mixed[i] * swapped[j] + mixed[j] * swapped[i]) / 2)
        shared = [(first + other) / 2, (first**2 + other**2) / 2, first * other]
        return np.stack([*shared, *closed, *total, *crossed], axis=-1)

    def indices(self, means: Array, outputs: int) -> Array:
        """All indices from the means (outputs * J,), kind by kind, output by output."""
        g = len(self.inputs)
        m = means.reshape(outputs, -1)
        mu, square, product = m[:, :1], m[:, 1:2], m[:, 2:3]
        variance = square - mu**2
        total = m[:, 3 + g : 3 + 2 * g] / variance
        share = np.clip(1 - total, 0.0, 1.0)
        first = m[:, 3 : 3 + g] - share * product - (1 - share) * mu**2
        found = {"first": first / variance, "total": total}
        if self.both:
            i, j = self.pairs
            share = share[:, i] * share[:, j]
            closed = m[:, 3 + 2 * g :] - share * product - (1 - share) * mu**2
            found["second"] = closed / variance - found["first"][:, i] - found["first"][:, j]
        return np.concatenate([found[kind].ravel() for kind in self.order])

    def names(self, kind: str, outputs: Sequence[str]) -> list[str]:
        """Names of the indices of one kind, in the order of `indices`."""
        names = list(self.inputs)
        if kind == "second":
            names = [f"{self.inputs[i]} {self.inputs[j]}" for i, j in zip(*self.pairs, strict=True)]
        return [f"{o}: {n}" if len(outputs) > 1 else n for o in outputs for n in names]

    def joint_names(self, outputs: Sequence[str]) -> list[str]:
        """Names of all indices, kind by kind."""
        one = len(outputs) == 1
        return [
            f"{kind} {n}" if one else f"{o}: {kind} {n}"
            for kind in self.order
            for o in outputs
            for n in self.names(kind, [o])
        ]


def _plan(law: Law, groups: Any, order: Any) -> Plan:
    order = (order,) if isinstance(order, str) else tuple(order)
    if not order or set(order) - set(ORDERS) or len(set(order)) < len(order):
        raise ValueError(f"order: got {order}; expected some of {', '.join(ORDERS)}, each once")
    names, members = _groups(groups, law.names)
    if "second" in order and len(names) < 2:
        raise ValueError("order: second-order indices need two inputs or groups")
    return Plan(names, members, tuple(kind for kind in ORDERS if kind in order))


def _groups(groups: Any, inputs: tuple[str, ...]) -> tuple[tuple[str, ...], Array]:
    """Names of the groups and which inputs (G, d) are in each."""
    if groups is None:
        return inputs, np.eye(len(inputs), dtype=bool)
    if isinstance(groups, Mapping):
        label: dict[str, str] = {}
        for group, listed in groups.items():
            for i in [listed] if isinstance(listed, str) else listed:
                if i not in inputs:
                    raise ValueError(f"groups: {group!r} names {i!r}; the inputs are {inputs}")
                if i in label:
                    raise ValueError(f"groups: {i!r} is in {label[i]!r} and in {group!r}")
                label[i] = str(group)
        missing = [i for i in inputs if i not in label]
        if missing:
            raise ValueError(f"groups: {missing} are in no group; expected every input in one")
        of_input = [label[i] for i in inputs]
    else:
        of_input = [str(g) for g in groups]
        if len(of_input) != len(inputs):
            raise ValueError(
                f"groups: got {len(of_input)} names; expected one per input, {len(inputs)}, or a "
                "dict of group names to lists of inputs"
            )
    names = tuple(dict.fromkeys(of_input))
    return names, np.array([[g == name for g in of_input] for name in names])


def _independent(law: Any) -> Law:
    law = as_law(law)
    if not law.independent:
        raise ValueError(
            "law: its inputs are dependent, or not known to be independent; Sobol' indices need "
            "independent inputs: a list or dict of univariate distributions"
        )
    return law


# ------------------------------------------------------------------------------------- model calls


def _call(model: Callable, vectorized: bool, x: Array) -> Array:
    """Outputs at the rows of x as float64, shape (n, K), checked."""
    y = call_integrand(model, vectorized, x, "model")
    checked_table(y, x, "model")
    return y


def _outputs(model: Callable, vectorized: bool, plan: Plan, a: Array, b: Array) -> Array:
    """Model outputs of a block of pairs, shape (n, calls) or (n, calls, K)."""
    x = plan.points(a, b)
    y = _call(model, vectorized, x.reshape(-1, a.shape[1]))
    return np.moveaxis(y.reshape(*x.shape[:2], *y.shape[1:]), 0, 1)


def _integrand(
    model: Callable, vectorized: bool, plan: Plan, centre: Array, inputs: Array
) -> Array:
    """Terms of a block of pairs, given as rows (X, X'), shape (n, K * J)."""
    d = inputs.shape[1] // 2
    y = _outputs(model, vectorized, plan, inputs[:, :d], inputs[:, d:])
    y = np.moveaxis(y.reshape(len(inputs), plan.calls, -1) - centre, 1, 0)
    return plan.terms(y).reshape(len(inputs), -1)


# --------------------------------------------------------------------- replicated Sobol' points


@dataclass
class _Replicates:
    """Independent scramblings of Sobol' points for (X, X') and the outputs there.

    ``a``, ``b`` (R, n, d) standard normals; ``y`` (R, n, calls, K).
    """

    law: Law
    plan: Plan
    run: Any
    count: int

    def __post_init__(self) -> None:
        from scipy.stats import qmc

        d = self.law.dimension
        if 2 * d > qmc.Sobol.MAXDIM:
            raise ValueError(f"law: {d} inputs; Sobol' points allow {qmc.Sobol.MAXDIM // 2}")
        self._engines = [
            qmc.Sobol(2 * d, scramble=True, seed=generator(self.run.root, "scrambling", r))
            for r in range(self.count)
        ]
        self._jitters = [generator(self.run.root, "jitter", r) for r in range(self.count)]
        self.a = np.empty((self.count, 0, d))
        self.b = np.empty((self.count, 0, d))
        self.y = np.empty((self.count, 0, self.plan.calls, 0))
        self.scalar = True

    @property
    def size(self) -> int:
        return self.a.shape[1]

    @cached_property
    def basis(self) -> ProductBasis:
        """Of the polynomials."""
        return product_basis(self.law)

    def extend(self, n: int) -> None:
        """Go on to ``n`` points, a power of two, per scrambling."""
        from scipy.special import ndtri

        more, d = n - self.size, self.law.dimension
        v = np.empty((self.count, more, 2 * d))
        for r, (engine, jitter) in enumerate(zip(self._engines, self._jitters, strict=True)):
            v[r] = engine.random(more)
            # points have 30 bits; with the rest at random each one is exactly uniform
            v[r] += 2.0**-30 * jitter.random((more, 2 * d))
        u = ndtri(np.clip(v, 1e-17, 1 - 2.0**-53))
        a, b = u[:, :, :d], u[:, :, d:]
        xa, xb = (self.law.to_inputs(half.reshape(-1, d)) for half in (a, b))
        pairs = len(xa)
        step = max(1, min(math.ceil(pairs / 32), ROWS_PER_CALL // self.plan.calls))
        cuts = [(s, min(s + step, pairs)) for s in range(0, pairs, step)]
        found = self.run.map(
            f"points {self.size} to {n}",
            [(xa[s:e], xb[s:e]) for s, e in cuts],
            [(e - s) * self.plan.calls for s, e in cuts],
        )
        y = np.concatenate(found)
        self.scalar = y.ndim == 2
        y = y.reshape(self.count, more, self.plan.calls, -1)
        if self.size and y.shape[3] != self.y.shape[3]:
            raise ModelError(
                f"model: returned {y.shape[3]} outputs, {self.y.shape[3]} before; expected as many "
                "at every call"
            )
        self.a = np.concatenate([self.a, a], axis=1)
        self.b = np.concatenate([self.b, b], axis=1)
        self.y = np.concatenate([self.y, y], axis=1) if self.size > more or self.y.size else y

    @property
    def calls(self) -> int:
        return self.count * self.size * self.plan.calls

    def means(self, centre: Array) -> tuple[Array, float]:
        """Mean terms of each replicate, (R, K, J), and to how many equal pairs V is due."""
        y = np.moveaxis(self.y - centre, 2, 1)
        table = np.stack([self.plan.terms(one).mean(0) for one in y])
        squares = self.y[:, :, :2] - centre
        squares = (squares**2).sum(2).reshape(-1, self.y.shape[3])
        fourth = (squares**2).sum(0)
        effective = np.divide(
            squares.sum(0) ** 2, fourth, out=np.zeros_like(fourth), where=fourth > 0
        )
        return table, float(effective.min())

    def tail(self, centre: Array) -> float:
        """Largest Pareto k-hat of the squared outputs; -inf where the inputs are bounded."""
        ends = [(m.ppf(0.0), m.ppf(1.0)) for m in self.law.marginals or ()]
        if np.isfinite(np.array(ends, dtype=float)).all():
            return -math.inf
        squares = ((self.y[:, :, :2] - centre) ** 2).sum(2).reshape(-1, self.y.shape[3])
        outputs = self.y[:, :, :2].reshape(-1, self.y.shape[3])
        shapes = [
            pareto_k(np.log(np.maximum(column, 1e-300)))
            for column, output in zip(squares.T, outputs.T, strict=True)
            # an output of few values has no tail
            if len(np.unique(output)) > len(output) / 10
        ]
        # infinite: too few values to fit a tail to, as of an indicator
        return max((k for k in shapes if np.isfinite(k)), default=-math.inf)

    def at_most(self, calls: int, size: int) -> int:
        """Points per scrambling, at most ``size``, that keep within the calls.

        Replicates beyond the least number go first, then points.
        """
        fitting = calls // (size * self.plan.calls)
        if fitting < self.count:
            if fitting < REPLICATES:
                return size // 2
            self.count = fitting
            self.a, self.b, self.y = self.a[:fitting], self.b[:fitting], self.y[:fitting]
            self._engines, self._jitters = self._engines[:fitting], self._jitters[:fitting]
        return size


def _design(pairs: int) -> tuple[int, int]:
    """Replicates and points in each, a power of two, for a number of pairs."""
    size = 2 ** int(math.log2(pairs // REPLICATES))
    return pairs // size, size


# ----------------------------------------------------- corrected by sparse polynomials


def _data(replicates: _Replicates, which: Array, most: int) -> tuple[Array, Array]:
    """Up to ``most`` points u (n, d) of some replicates, independent ones first, and outputs."""
    plan, d = replicates.plan, replicates.law.dimension
    a, b = (v[which].reshape(-1, d) for v in (replicates.a, replicates.b))
    y = replicates.y[which].reshape(len(a), plan.calls, -1)
    u, values = [a, b], [y[:, 0], y[:, 1]]
    room = most - 2 * len(a)
    # the other points repeat coordinates of these two: every so many pairs will do
    mixed = max(room // (plan.calls - 2), 0)
    if mixed:
        rows = np.arange(0, len(a), max(math.ceil(len(a) / mixed), 1))
        u += list(plan.points(a[rows], b[rows])[2:])
        values += list(np.moveaxis(y[rows], 1, 0)[2:])
    u_all, y_all = np.concatenate(u), np.concatenate(values)
    if len(u_all) > most:
        rows = np.arange(most) * len(u_all) // most
        u_all, y_all = u_all[rows], y_all[rows]
    # in random order, for those who take the first rows
    order = generator(replicates.run.root, "order of rows").permutation(len(u_all))
    return u_all[order], y_all[order]


def _corrected(
    replicates: _Replicates, centre: Array
) -> tuple[Array, list[list[SparsePolynomial]]]:
    """Mean terms of each replicate (R, K, J) with a polynomial learned from the other folds."""
    plan, law, count = replicates.plan, replicates.law, replicates.count
    basis = replicates.basis
    means = replicates.means(centre)[0]
    fold_of = np.arange(count) % FOLDS
    used: list[list[SparsePolynomial]] = [[] for _ in range(means.shape[1])]
    for f in range(FOLDS):
        inside, rest = np.flatnonzero(fold_of == f), np.flatnonzero(fold_of != f)
        judges = rest[::4]
        sets = []
        for which, most in ((np.setdiff1d(rest, judges), MOST_FITTED), (judges, MOST_FITTED // 3)):
            u, y = _data(replicates, which, most)
            x = law.to_inputs(u)
            sets.append((Rows(u, x, basis.tables(u, x)), y - centre))
        (rows, y), (rows_out, y_out) = sets
        learned = [
            fit_sparse(basis, (rows, y[:, k]), (rows_out, y_out[:, k]))
            for k in range(means.shape[1])
        ]
        for k, (polynomial, _) in enumerate(learned):
            used[k].append(polynomial)
        if all(polynomial.empty for polynomial, _ in learned):
            continue
        # a few replicates at a time: tables are large
        step = max(ROWS_PER_TABLE // replicates.size, 1)
        for r in (inside[s : s + step] for s in range(0, len(inside), step)):
            halves = [v[r].reshape(-1, law.dimension) for v in (replicates.a, replicates.b)]
            points = [(u, law.to_inputs(u)) for u in halves]
            for k, (polynomial, own) in enumerate(learned):
                if not polynomial.empty:
                    y = np.moveaxis(replicates.y[r, :, :, k] - centre[k], 2, 0)
                    at_a, at_b = (own.tables(u, x) for u, x in points)
                    means[r, k] = polynomial.corrected(plan, at_a, at_b, y)
    return means, used


# ------------------------------------------------------------------------------------ from means


def _finished(
    means: Estimate,
    plan: Plan,
    centre: Array,
    outputs: tuple[str, ...],
    scalar: bool,
    method: str,
    pairs: Pairs | None,
) -> SobolIndices:
    """Indices, mean and variance from the estimated means, by the delta method."""
    k = len(outputs)
    joint = _joint(means, plan, centre, outputs)

    def mean_of(v: Array) -> Any:
        found = v.reshape(k, -1)[:, 0] + centre
        return found[0] if scalar else found

    def variance_of(v: Array) -> Any:
        m = v.reshape(k, -1)
        found = m[:, 1] - m[:, 0] ** 2
        return found[0] if scalar else found

    return SobolIndices(
        indices=joint,
        **parts_of(joint, plan, outputs),
        mean=means.apply(mean_of, names="mean" if scalar else outputs),
        variance=means.apply(variance_of, names="variance" if scalar else outputs),
        inputs=plan.inputs,
        outputs=outputs,
        method=method,
        pairs=pairs,
    )


def _joint(means: Estimate, plan: Plan, centre: Array, outputs: tuple[str, ...]) -> Estimate:
    """All indices from the estimated means, by the delta method."""
    values = means.value.reshape(len(outputs), -1)
    variance = values[:, 1] - values[:, 0] ** 2
    if not (variance > 1e-13 * np.maximum(values[:, 1], (1e-8 * centre) ** 2)).all():
        at = int(np.argmin(variance))
        raise DegeneracyError(
            f"output {outputs[at]!r} has no variance that could be shared out after "
            f"{means.cost['evaluations']:,} calls: estimated {variance[at]:.3g}"
        )
    indices = partial(plan.indices, outputs=len(outputs))
    return means.apply(indices, names=plan.joint_names(outputs))


def parts_of(joint: Estimate, plan: Plan, outputs: tuple[str, ...]) -> dict[str, Any]:
    """First, total and second out of all indices."""
    found: dict[str, Estimate | None] = dict.fromkeys(ORDERS)
    start = 0
    for kind in plan.order:
        own = plan.names(kind, outputs)
        found[kind] = joint.apply(np.eye(len(joint))[start : start + len(own)], names=own)
        start += len(own)
    return found


def _spread_of(table: Array, **told: Any) -> Estimate:
    """Means (J,) and their covariance from independent replicates (R, J)."""
    r = len(table)
    mean = table.mean(0)
    factor = (table - mean).T / math.sqrt(r * (r - 1))
    return Estimate(mean, factor=factor, degrees_of_freedom=r - 1, **told)


def _quiet(make: Callable[[], SobolIndices]) -> SobolIndices:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        return make()


# --------------------------------------------------------------------------------- public functions


def sobol_indices(
    model: Callable[[Array], Array],
    law: Any,
    budget: int | None = None,
    *,
    order: str | Sequence[str] = ("first", "total"),
    precision: Precision | None = None,
    method: str = "auto",
    groups: Any = None,
    vectorized: bool = True,
    names: Sequence[str] | None = None,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
) -> SobolIndices:
    """Sobol' indices of a model with independent inputs, with intervals that cover.

    Parameters
    ----------
    model : callable, (n, d) -> (n,) or (n, K)
        K outputs have indices of their own each.
    law : law of d independent inputs
        A list or dict of univariate distributions, a SALib problem, or what else
        `smcweights.importance.laws.as_law` takes; a SALib problem's "groups" are respected.
    budget : int
        MODEL CALLS: d + 2 for each pair of points, 2 d + 2 with second order; give this or
        ``precision``. At least 16 pairs. Points come in powers of two, and a few per cent of the
        calls may be left.
    order : some of "first", "total", "second", default ("first", "total")
        Which indices.
    precision : Precision, optional
        Half-width every index is to have.
    method : {"auto", "surrogate", "qmc", "importance"}
        See this module's page. "auto": a pilot of the first eighth of the points tells whether the
        output is concentrated on few of them, and polynomials don't explain it: on so few that no
        interval could be promised, and importance sampling is taken; on somewhat more, and a pilot
        of importance sampling tells by the variance per call. Otherwise it is "surrogate", whose
        polynomial is left out where it explains under a tenth of the variance of data held out.
    groups : dict of str to sequence of str, or sequence of str, length d, optional
        Groups of inputs, which then have indices as one: names to inputs, or a name per input.
    vectorized : bool, default True
        Whether the model takes many inputs at once.
    names : sequence of str, length K, optional
        Names of the outputs.
    seed, executor, progress, checkpoint
        As for `smcweights.adaptive_importance_sampling`.

    Returns
    -------
    SobolIndices
        Negative estimates are reported as they are; ``summary()`` says what they mean.

    Raises
    ------
    ModelError
        The model returned a wrong shape, NaN or infinity; the message names the input.
    DegeneracyError
        The output did not vary.
    ValueError, TypeError
        An argument is wrong, or the inputs are dependent.

    Warns
    -----
    PrecisionWarning
        The precision was not reached, or a standard error can't be promised.

    References
    ----------
    Sobol' (2001), Math. Comput. Simul. 55; Saltelli (2002), Comput. Phys. Commun. 145.

    Examples
    --------
    >>> import smcweights as smw
    >>> problem = smw.problems.ishigami()
    >>> found = smw.sobol_indices(problem.function, problem.law, 5_000, seed=1)
    >>> found.total.value.round(4).tolist(), bool((found.total.standard_error < 1e-4).all())
    ([0.5576, 0.4424, 0.2437], True)
    """
    if not callable(model):
        raise TypeError(f"model: got {type(model).__name__}; expected a callable")
    if groups is None and isinstance(law, Mapping) and "num_vars" in law:
        groups = law.get("groups")
    law = _independent(law)
    names = given_names(names)
    plan = _plan(law, groups, order)
    rule = stopping_rule(budget, precision)
    if method not in METHODS:
        raise ValueError(f"method: got {method!r}; expected one of {', '.join(METHODS)}")
    most = rule.total if isinstance(rule, Budget) else rule.max_budget
    least = (120 if method == "importance" else REPLICATES) * plan.calls
    if most < least:
        raise ValueError(
            f"budget: got {most}; expected at least {least}: {least // plan.calls} pairs of points "
            f"of {plan.calls} model calls each"
        )
    arguments = arguments_of(
        law,
        integrand=model,
        budget=rule if budget is not None else None,
        precision=precision,
        order=list(plan.order),
        method=method,
        groups=[list(np.flatnonzero(m).astype(str)) for m in plan.members],
        vectorized=bool(vectorized),
        names=names,
    )
    began = time.perf_counter()
    title = "Sobol' indices"
    with open_run(
        partial(_outputs, model, vectorized, plan),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=arguments,
        seed=seed,
        total=rule.total if isinstance(rule, Budget) else None,
        description=title,
    ) as run:
        if isinstance(rule, Budget):
            count, size = _design(most // plan.calls)
            pilot = max(size // 8, 1)
        else:
            count, size = REPLICATES, 0
            pilot = 2 ** int(math.log2(max(min(16, most // (REPLICATES * plan.calls)), 1)))
        if method == "importance":
            count, pilot = 4, max(1, 2 ** int(math.log2(max(most // plan.calls // 40, 4) // 4)))
        work = _Work(
            law=law,
            plan=plan,
            rule=rule,
            source=provenance(title, run.root, arguments),
            began=began,
            names=names,
            importance=partial(
                _importance,
                model,
                law,
                plan,
                vectorized,
                run.root,
                executor=executor,
                progress=progress,
                checkpoint=checkpoint,
            ),
        )
        replicates = _Replicates(law, plan, run, count)
        replicates.extend(pilot)
        centre = replicates.y[:, :, :2].mean((0, 1, 2))
        outputs = output_names(names, replicates.y.shape[3])
        work.begin(replicates, centre, outputs)
        if method == "importance":
            return work.by_importance()
        if method == "auto":
            found = work.better_by_importance()
            if found is not None:
                return found
        return work.by_points(size, polynomial=method != "qmc")


@dataclass
class _Work:
    """One run of `sobol_indices`: what it knows and what it has measured."""

    law: Law
    plan: Plan
    rule: Budget | Precision
    source: dict[str, Any]
    began: float
    names: Any
    importance: Callable[..., Estimate]

    def begin(self, replicates: _Replicates, centre: Array, outputs: tuple[str, ...]) -> None:
        self.replicates, self.centre, self.outputs = replicates, centre, outputs
        self.lost = 0  # calls that don't enter the result
        self.variances: dict[str, float] = {}
        self.concentration = math.nan
        self.learned: tuple[Any, Any] = (None, None)

    @property
    def most(self) -> int:
        return self.rule.total if isinstance(self.rule, Budget) else self.rule.max_budget

    def corrected(self) -> tuple[Array, list[list[SparsePolynomial]]]:
        """What `_corrected` finds at the points there are; it is asked for more than once."""
        points = self.replicates.count, self.replicates.size
        if self.learned[0] != points:
            self.learned = points, _corrected(self.replicates, self.centre)
        return self.learned[1]

    def told(self, method: str, calls: int, **diagnostics: Any) -> dict[str, Any]:
        return {
            "method": f"Sobol' indices, {method}",
            "diagnostics": {
                "variance_per_call": self.variances,
                "concentration": self.concentration,
                **diagnostics,
            },
            "cost": {"evaluations": calls, "seconds": time.perf_counter() - self.began},
            "provenance": self.source,
        }

    def finished(
        self, means: Estimate, method: str, sampled: Estimate | None = None
    ) -> SobolIndices:
        r = self.replicates
        kept = Pairs(self.plan, self.law, self.centre, self.outputs, means=sampled)
        if sampled is None:
            kept = replace(kept, a=r.a, b=r.b, y=r.y)
        return _finished(means, self.plan, self.centre, self.outputs, r.scalar, method, kept)

    def by_points(self, size: int, polynomial: bool) -> SobolIndices:
        """Result of replicated points, with or without polynomials."""
        replicates = self.replicates
        while True:
            if size:
                size = replicates.at_most(self.most - self.lost, size)
                if replicates.size < size:
                    replicates.extend(size)
                return self.at_points(polynomial, [])
            found = _quiet(lambda: self.at_points(polynomial, []))
            if self.rule.reached(found.indices):  # type: ignore[union-attr]
                return self.at_points(polynomial, [])
            if 2 * replicates.calls + self.lost > self.most:
                return self.at_points(
                    polynomial,
                    [f"the precision was not reached within max_budget={self.most} calls"],
                )
            replicates.extend(2 * replicates.size)

    def largest_variance(self, table: Array) -> float:
        """Of all indices, from mean terms of replicates (R, K, J); inf without variance."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            means = _spread_of(table.reshape(len(table), -1), **self.told("", 1))
            try:
                joint = _joint(means, self.plan, self.centre, self.outputs)
                return float(joint.variance.max())
            except DegeneracyError:
                return math.inf

    def at_points(self, polynomial: bool, cautions: list[str]) -> SobolIndices:
        replicates = self.replicates
        r, calls = replicates.count, replicates.calls + self.lost
        plain, effective = replicates.means(self.centre)
        method, table, extra = f"{r} scramblings of Sobol' points", plain, {}
        if polynomial:
            table, used = self.corrected()
            extra = {
                "polynomial_terms": [[len(p.coefficient) for p in one] for one in used],
                "polynomial_explains": [[p.explained for p in one] for one in used],
            }
            self.variances["qmc"] = self.largest_variance(plain) * calls
            self.variances["surrogate"] = self.largest_variance(table) * calls
            if any(not p.empty for one in used for p in one):
                method += " with polynomials as control variates"
        told = self.told(method, calls, replicates=r, points=replicates.size, **extra)
        means = _spread_of(table.reshape(r, -1), **told)
        pairs = r * replicates.size
        idle = effective < min(FEW_PAIRS, IDLE * pairs)
        if idle and not (polynomial and _explained(extra) > 0.5):
            cautions = [
                *cautions,
                f"the variance of the output is due to {effective:.2g} pairs of points in effect: "
                "intervals are not to be trusted; method='importance' is made for such models",
            ]
        k = replicates.tail(self.centre)
        known = polynomial and _explained(extra) > KNOWN
        if k > (HEAVY_KNOWN if known else HEAVY):
            cautions = [
                *cautions,
                f"the squared output has a heavy tail, Pareto k-hat {k:.2f}: draws that have not "
                "been seen may matter more than the standard error says",
            ]
        for text in cautions:
            means = _cautioned(means, text)
        return self.finished(means, method)

    def by_importance(self) -> SobolIndices:
        """Result of importance sampling; the points at hand serve as the pilot that centres."""
        self.lost += self.replicates.calls
        per, left = self.plan.calls, self.most - self.lost
        if isinstance(self.rule, Budget):
            return self.after(self.importance(self.centre, left // per, 0), [])
        rows, number = min(2_000, left // per), 0
        while True:
            means = self.importance(self.centre, rows, number)
            spent = self.lost + rows * per
            found = _quiet(lambda means=means: self.after(means, []))  # type: ignore[misc]
            if self.rule.reached(found.indices):
                return self.after(means, [])
            lower, upper = found.indices.interval(self.rule.level)
            half = (upper - lower) / 2
            more = self.rule.next_size(found.indices.value, half, rows, spent)
            room = (self.most - spent) // per
            if room < 100:
                text = f"the precision was not reached within max_budget={self.most} calls"
                return self.after(means, [text])
            # a run is used alone or not at all: what stopped the one before says nothing about it
            self.lost, number = spent, number + 1
            rows = min(max(rows + more, 100), room)

    def after(self, means: Estimate, cautions: list[str]) -> SobolIndices:
        calls = self.lost + int(means.cost["evaluations"]) * self.plan.calls
        sampled = means
        method = "adaptive importance sampling of pairs"
        told = self.told(method, calls, means=dict(means.diagnostics))
        kept = means.diagnostics.get("warnings", [])
        told["diagnostics"] |= {"warnings": list(kept)} if kept else {}
        means = Estimate(
            means.value,
            means.covariance,
            names=means.names,
            degrees_of_freedom=means.degrees_of_freedom,
            **told,
        )
        for text in cautions:
            means = _cautioned(means, text)
        return self.finished(means, method, sampled)

    def better_by_importance(self) -> SobolIndices | None:
        """Result of importance sampling where its pilot beats that of the points, else None."""
        replicates, per = self.replicates, self.plan.calls
        t = np.moveaxis(replicates.y - self.centre, 2, 0).reshape(per, -1, len(self.outputs))
        terms = self.plan.terms(t)[..., 1:]
        terms = terms.reshape(len(terms), -1)
        size, square = np.abs(terms).mean(0), (terms**2).mean(0)
        self.concentration = float(
            np.divide(square, size**2, out=np.full_like(size, 1e9), where=size > 0).max()
        )
        share = replicates.means(self.centre)[1] * per / replicates.calls
        few = share < IDLE and share * self.most / per < FEW_PAIRS
        if not few and self.concentration < CONCENTRATED:
            return None
        polynomials = [p for one in self.corrected()[1] for p in one]
        if min(p.explained for p in polynomials) > EXPLAINED:
            return None
        if few and self.most - replicates.calls >= 120 * per:
            return self.by_importance()
        rows = max(self.most // per // 6, 120)
        if 3 * rows * per > self.most:
            return None
        rows = min(rows, 2_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            pilot = self.importance(self.centre, rows, 100)
            # few of the pilot's points may carry the output: the weighted sample knows better
            # what plain draws would give
            gain = np.asarray(pilot.diagnostics["gain_over_monte_carlo"], dtype=float)
            gain = gain.reshape(len(self.outputs), -1)[:, 1:]
            gain = np.delete(gain, 1, axis=1).ravel()
            ratio = float(np.median(gain[np.isfinite(gain)])) if np.isfinite(gain).any() else 0.0
            try:
                trial = self.after(pilot, [])
                size = float(trial.indices.variance.max()) * rows * per
            except DegeneracyError:
                size = ratio = 0.0
        self.variances = {"importance": size, "points": size * ratio}
        self.lost += rows * per
        if ratio > 2:
            return self.by_importance()
        return None


def _explained(diagnostics: dict[str, Any]) -> float:
    """Least share of an output's variance that its polynomials explain."""
    return min(min(one) for one in diagnostics["polynomial_explains"])


def _importance(
    model: Callable,
    law: Law,
    plan: Plan,
    vectorized: bool,
    root: np.random.SeedSequence,
    centre: Array,
    rows: int,
    number: int,
    *,
    executor: Any,
    progress: Any,
    checkpoint: Any,
) -> Estimate:
    """Means of the terms from one adaptive sample over the doubled law, ``rows`` pairs."""
    return adaptive_importance_sampling(
        partial(_integrand, model, vectorized, plan, centre),
        doubled_law(law),
        rows,
        seed=generator(root, "importance", number),
        executor=executor,
        progress=progress,
        checkpoint=None if checkpoint is None else f"{os.fspath(checkpoint)}.importance-{number}",
    )


def _cautioned(means: Estimate, text: str) -> Estimate:
    """The estimate with one more warning, which is raised as well."""
    warnings.warn(text, PrecisionWarning, stacklevel=5)
    told = [*means.diagnostics.get("warnings", []), text]
    return Estimate(
        means.value,
        None if means.factor is not None else means.covariance,
        factor=means.factor,
        names=means.names,
        method=means.method,
        degrees_of_freedom=means.degrees_of_freedom,
        diagnostics={**means.diagnostics, "warnings": told},
        cost=means.cost,
        provenance=means.provenance,
    )


def output_names(names: Any, count: int) -> tuple[str, ...]:
    """Names of the outputs, checked, or Y1, Y2, ..."""
    given = given_names(names)
    if given is None:
        return tuple(f"Y{k + 1}" for k in range(count)) if count > 1 else ("Y",)
    if len(given) != count or len(set(given)) < count:
        raise ValueError(f"names: got {given}; expected {count} different names of outputs")
    return given
