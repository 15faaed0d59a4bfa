"""Sobol' indices from a sample at hand, whose inputs were drawn by their law."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from .. import arguments
from ..cautions import Caution, tell
from ..errors import DegeneracyError
from ..estimate import Estimate
from ..provenance import drawn, provenance
from ..randomness import Seed, generator, seed_sequence
from ..weights import pareto_k
from .indices import SobolIndices, constant, parts_of
from .integrand import Columns
from .laws import as_law
from .marginals import default_names
from .pairs import ORDERS, PickFreeze, output_names
from .replicates import MOST_FITTED
from .sparse_polynomials import Rows, fit_sparse, product_basis
from .verdict import listed

Array = np.ndarray
LARGEST = 1e70  # size of outputs whose fourth powers are numbers
LIGHT = 0.4  # Pareto k-hat of the squared output up to which intervals hold
KURTOSIS = 5.0  # of outputs up to which they do, whatever k-hat
WINDOW = 21  # rows, sorted by an input, that a line is drawn through


def sobol_from_sample(
    x: ArrayLike,
    y: ArrayLike,
    *,
    order: str | Sequence[str] = ("first", "total"),
    inputs: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    seed: Seed = None,
) -> SobolIndices:
    """Sobol' indices from a sample of independent inputs and their outputs, without a model call.

    First order by ranks: sorted by input i, consecutive outputs have nearly the same conditional
    mean. Half the mean square of their difference, less that of a line through the rows around, is
    what input i leaves of the variance: S_i = 1 - E[Var(Y | X_i)] / Var(Y). Without the line the
    far rows of a normal or heavier input make S_i too small, by half its standard error and more.
    The standard error has a central limit theorem to rest on; what each row does to the index is
    told by leaving it out, and where few rows matter most (far ones, in a small sample) the degrees
    of freedom of Student's law are few: 2 n / (kurtosis - 1) of what the rows do. Total by nearest
    neighbours in all other inputs, each moved to the exact place by a polynomial fitted to the
    sample: half the mean squared difference that is left is the part of input i. What distance
    remains between neighbours is a bias that the sample doesn't tell, so TOTAL INDICES HAVE NO
    STANDARD ERROR here, and a warning says so.

    Parameters
    ----------
    x : array_like or DataFrame, shape (n, d)
        Independent draws of independent inputs, at least 100. A design that is not random (a grid,
        a space-filling set) makes the errors smaller than stated.
    y : array_like, Series or DataFrame, shape (n,) or (n, K)
        Outputs.
    order : some of "first", "total", default ("first", "total")
        Which indices.
    inputs : sequence of str, length d, optional
        Names of the inputs; by default the columns of a DataFrame, else X1, X2, ...
    names : sequence of str, length K, optional
        Names of the outputs; by default the columns, else Y1, Y2, ...
    seed : None, int, SeedSequence or Generator
        Orders equal values of an input.

    Returns
    -------
    SobolIndices

    Raises
    ------
    ValueError
        Wrong shapes, too few rows, repeated rows, rows of y labelled in another order than those of
        x, or numbers that are not finite; the message says where.
    DegeneracyError
        No output varies. One that doesn't, among others that do, has NaN for its indices.

    Warns
    -----
    PrecisionWarning
        Total indices were asked for: they have no standard error; or inputs are dependent, an
        output has a heavy tail (its kurtosis over 5, and the Pareto k-hat of its square over 0.4),
        one of several does not vary, or an input does not, whose indices are 0 then.

    References
    ----------
    Gamboa, Gremaud, Klein & Lagnoux (2022), Global sensitivity analysis: a novel generation of
    mighty estimators based on rank statistics, Bernoulli 28.
    Gasser, Sroka & Jennen-Steinmetz (1986), Residual variance and residual pattern in nonlinear
    regression, Biometrika 73, for differences beyond lines.
    Broto, Bachoc & Depecker (2020), Variance reduction for estimation of Shapley effects, SIAM/ASA
    J. Uncertain. Quantif. 8, for nearest neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(1).random((4_000, 2))
    >>> found = sobol_from_sample(x, x[:, 0] + 2 * x[:, 1], order="first", seed=1)
    >>> lower, upper = found.first.interval()
    >>> bool(((lower < [0.2, 0.8]) & ([0.2, 0.8] < upper)).all())
    True
    """
    began = time.perf_counter()
    points, outcomes, scalar = _sample(x, y)
    n, d = points.shape
    plan = _plan(d, _columns(x) if inputs is None else inputs, order)
    outputs = output_names(Columns(_columns(y) if names is None else names), outcomes.shape[1])
    root = seed_sequence(seed)
    unit = _units(outcomes)
    outcomes = outcomes / unit
    centre = outcomes.mean(0)
    outcomes = outcomes - centre
    variance = (outcomes**2).mean(0)
    flat = ~(variance > (1e-13 * np.abs(centre)) ** 2)
    if flat.all():
        raise DegeneracyError(f"output {outputs[0]!r} does not vary, and no other one does")
    rank = _ranks(points, generator(root, "ties"))
    cautions = _dependence(rank, plan.inputs)
    if flat.any():
        cautions.append(constant(outputs, flat, n))
    cautions += _tails(outcomes, outputs)
    still = (points == points[0]).all(0)
    if still.any():
        text = (
            f"input {listed(plan.inputs, still)} has the same value in all rows: its indices are 0"
        )
        cautions.append(Caution("constant-input", text))
    undefined = np.full(d, np.nan)
    values: list[float] = []
    influence, noise = [np.empty((n, 0))], [np.empty(0)]
    if "first" in plan.order:
        for y_k, v_k, flat_k in zip(outcomes.T, variance, flat, strict=True):
            value, of_rows, extra = (
                (undefined, np.full((n, d), np.nan), undefined)
                if flat_k
                else _by_ranks(points, rank, y_k, v_k)
            )
            if not flat_k:
                value[still] = extra[still] = of_rows[:, still] = 0.0
            values.extend(value)
            influence.append(of_rows)
            noise.append(extra)
    if "total" in plan.order:
        for y_k, flat_k in zip(outcomes.T, flat, strict=True):
            values.extend(undefined if flat_k else np.where(still, 0.0, _by_neighbours(rank, y_k)))
        text = (
            "total indices from a given sample have no standard error: the distance between "
            "neighbours biases them by an unknown amount; calls of the model (sobol_indices) give "
            "intervals"
        )
        cautions.append(Caution("total-without-error", text))
    errors = _errors(np.hstack(influence), np.concatenate(noise), len(values))
    method = "Sobol' indices from a given sample"
    said: dict[str, Any] = {
        "method": method,
        "cost": {"evaluations": n, "seconds": time.perf_counter() - began},
        "provenance": provenance(method, root, {"order": plan.order}) | drawn(points, outcomes),
    }
    indices = plan.joint_names(outputs)
    joint = Estimate(values, **errors, names=indices, cautions=cautions, **said)

    def plain(value: Array, terms: Array, name: str) -> Estimate:
        spread = np.atleast_2d(np.cov(terms.T)) / n
        # errors whose squares are no numbers
        spread[spread.diagonal() < np.finfo(float).tiny] = 0.0
        spread[:, spread.diagonal() == 0] = 0.0
        if scalar:
            return Estimate(value[0], spread[0, 0], names=name, **said)
        return Estimate(value, spread, names=outputs, **said)

    found = SobolIndices(
        indices=joint,
        **parts_of(joint, plan, outputs),
        mean=plain(centre * unit, outcomes * unit, "mean"),
        variance=plain(variance * n / (n - 1) * unit**2, (outcomes * unit) ** 2, "variance"),
        inputs=plan.inputs,
        outputs=outputs,
        method="ranks and nearest neighbours of a given sample",
    )
    tell("sobol_from_sample", found.cautions)
    return found


def _units(y: Array) -> Array:
    """Powers of two (K,) to divide outputs (n, K) by, whose fourth powers would be no numbers."""
    size = np.abs(y).max(0)
    if (size > LARGEST).any():
        raise ValueError(
            f"y: column {int(size.argmax())} has sizes up to {size.max():.3g}; expected at most "
            f"{LARGEST:g}, whose fourth powers are numbers still: use other units"
        )
    return np.exp2(np.where((size > 0) & (size < 1 / LARGEST), np.frexp(size)[1], 0))


def _columns(table: object) -> tuple[str, ...] | None:
    """Names of a DataFrame's columns, or of a Series, if it has any."""
    header = arguments.header_of(table, "x")
    if header is not None:
        return tuple(map(str, header.names))
    name = getattr(table, "name", None)
    return (name,) if isinstance(name, str) else None


def _plan(d: int, inputs: Sequence[str] | None, order: str | Sequence[str]) -> PickFreeze:
    """Which indices of which inputs are asked for."""
    labels: tuple[str, ...] | None = default_names(d)
    if inputs is not None:
        labels = arguments.names(map(str, arguments.several("inputs", inputs, "names")), "inputs")
    assert labels is not None
    if len(labels) != d or len(set(labels)) < d:
        raise ValueError(f"inputs: got {labels}; expected {d} different names")
    order = (order,) if isinstance(order, str) else tuple(arguments.several("order", order, "str"))
    for kind in order or (None,):
        arguments.one_of("order", kind, ("first", "total"))
    if "total" in order and d < 2:
        raise ValueError("order: with a single input its total index is 1; ask for 'first'")
    kinds = tuple(kind for kind in ORDERS if kind in order)
    return PickFreeze(labels, np.eye(d, dtype=bool), kinds)


def _ranks(points: Array, ties: np.random.Generator) -> Array:
    """Ranks (n, d) of the inputs, equal values in random order."""
    n, d = points.shape
    rank = np.empty((n, d), dtype=np.int64)
    for i in range(d):
        shuffled = ties.permutation(n)
        rank[shuffled[np.argsort(points[shuffled, i], kind="stable")], i] = np.arange(n)
    return rank


def _dependence(rank: Array, labels: Sequence[str]) -> list[Caution]:
    """What to say of inputs (n, d) whose ranks are correlated; false alarms once in 10,000."""
    n, d = rank.shape
    if d < 2:
        return []
    correlation = np.triu(np.corrcoef(rank.T), 1)
    i, j = np.unravel_index(np.abs(correlation).argmax(), (d, d))
    limit = -ndtri(1e-4 / (d * (d - 1))) / np.sqrt(n)
    if abs(correlation[i, j]) <= limit:
        return []
    text = (
        f"inputs {labels[i]!r} and {labels[j]!r} have a rank correlation of "
        f"{correlation[i, j]:.2f}: Sobol' indices share out the variance of independent inputs "
        "only; of dependent ones each index counts what it has in common with others"
    )
    return [Caution("dependent-inputs", text)]


def _tails(y: Array, outputs: Sequence[str]) -> list[Caution]:
    """What to say of outputs (n, K) whose variance rests on few rows, or on none seen yet."""
    # an output of few values has no tail
    shapes = [
        pareto_k(2 * np.log(np.maximum(np.abs(column), 1e-150)))
        if len(np.unique(column)) > len(column) / 10
        else -np.inf
        for column in y.T
    ]
    # infinite: too few values to fit a tail to
    found = np.array([k if np.isfinite(k) else -np.inf for k in shapes])
    # a tail that matters shows there; k-hat of few rows suspects bounded outputs as well
    heavy = (found > LIGHT) & ((y**4).mean(0) > KURTOSIS * (y**2).mean(0) ** 2)
    if not heavy.any():
        return []
    text = (
        f"output {listed(outputs, heavy)}: the squared output has a heavy tail, Pareto k-hat "
        f"{found[heavy].max():.2f}: rows that a sample of this size lacks may matter more than the "
        "standard errors say, and the indices may be wrong by more; calls of the model where the "
        "tail is (sobol_indices, widen=) would tell"
    )
    return [Caution("heavy-tails", text)]


def _sample(given_x: ArrayLike, given_y: ArrayLike) -> tuple[Array, Array, bool]:
    """A given sample as float64, (n, d) and (n, K), and whether there is a single output."""
    x, y = arguments.values("x", given_x), arguments.values("y", given_y)
    if x.ndim != 2 or y.ndim not in (1, 2) or len(x) != len(y) or x.size == 0 or y.size == 0:
        raise ValueError(
            f"x, y: got shapes {x.shape} and {y.shape}; expected (n, d) and (n,) or (n, outputs)"
        )
    arguments.same_rows("y", given_y, "x", given_x)
    if len(x) < 100:
        raise ValueError(f"x: got {len(x)} rows; expected at least 100")
    # rows are sorted only where no column tells that none repeats
    values = max(len(np.unique(c)) for c in x.T)
    if values < len(x):
        distinct, first = np.unique(x, axis=0, return_index=True)
        if values == len(distinct):
            row = int(np.setdiff1d(np.arange(len(x)), first)[0])
            raise ValueError(
                f"x: row {row} repeats an earlier one, and {len(x) - len(distinct)} rows do; "
                "expected independent draws: a repeated row is its own neighbour"
            )
    scalar = y.ndim == 1
    y = y.reshape(len(x), -1)
    for name, table in (("x", x), ("y", y)):
        bad = np.argwhere(~np.isfinite(table))
        if len(bad):
            i, j = bad[0]
            raise ValueError(
                f"{name}: row {i} has {table[i, j]} in column {j}; expected finite numbers"
            )
    return x, y, scalar


def _by_ranks(points: Array, rank: Array, y: Array, variance: float) -> tuple[Array, Array, Array]:
    """First-order indices (d,), the influence of each row on them (n, d), and noise on top (d,).

    With s^2 the conditional variance and m the line through the rows around, n times the variance
    of the mean half square is Var((y - m)^2) + E[s^4]: the rows' part, and noise that inputs don't
    share. Squares are divided by what lines through noise alone leave of them, and influences by
    the share of the variance that the other rows have: what leaving each out would change.
    """
    n, d = rank.shape
    value, noise = np.empty(d), np.empty(d)
    influence = np.empty((n, d))
    for i in range(d):
        at = np.empty(n, dtype=np.int64)
        at[rank[:, i]] = np.arange(n)
        x, z = _centred(points[at, i]), y[at]
        slope, inverse, mean_x, mean_z = _lines(x, z)
        beyond = (x - mean_x) ** 2 * inverse
        off = (z - mean_z - slope * (x - mean_x)) ** 2
        rest = off / np.maximum(1 - 1 / WINDOW - beyond, 1e-9)
        gap = np.diff(x)
        halves = (np.diff(z) - slope[:-1] * gap) ** 2 / (2 - gap**2 * inverse[:-1])
        value[i] = 1 - halves.mean() / variance
        influence[at, i] = (z**2 - rest - value[i] * z**2) / (variance - z**2 / n)
        noise[i] = (halves[:-2] * halves[2:]).mean() / variance**2
    return value, influence, noise


def _errors(influence: Array, noise: Array, count: int) -> dict[str, Any]:
    """Covariance and degrees of freedom of values, the first of which have influences (n, J)."""
    n, j = influence.shape
    covariance, freedom = np.full((count, count), np.nan), np.full(count, np.inf)
    if j:
        covariance[:j, :j] = np.atleast_2d(np.cov(influence.T)) / n + np.diag(noise) / n
        freedom[:j] = _freedom(influence)
    return {"covariance": covariance, "degrees_of_freedom": freedom}


def _freedom(influence: Array) -> Array:
    """Degrees of freedom (J,) of the variances of columns (n, J), by their fourth moments."""
    squares = (influence - influence.mean(0)) ** 2
    known = squares.max(0) > 0
    scaled = squares / np.where(known, squares.max(0), 1.0)
    spread = scaled.var(0)
    freedom = np.full(known.shape, np.inf)
    known &= spread > 0
    freedom[known] = 2 * len(squares) * scaled.mean(0)[known] ** 2 / spread[known]
    return freedom


def _centred(x: Array) -> Array:
    """Sorted numbers (n,) less their median, in units of the largest: squares stay numbers."""
    x = x / (np.abs(x).max() or 1.0)
    return x - x[len(x) // 2]


def _lines(x: Array, z: Array) -> tuple[Array, Array, Array, Array]:
    """Slopes of the lines through the `WINDOW` rows around each of sorted rows (x, z), one over
    the sum of squares of x there (zero where x doesn't vary), and the means of x and z, (n,) each.
    """
    n, ones = len(x), np.ones(WINDOW)
    sums = [np.convolve(a, ones, "valid") for a in (x, z, x * x, x * z)]
    mean_x, mean_z = sums[0] / WINDOW, sums[1] / WINDOW
    square = sums[2] - sums[0] * mean_x
    inverse = np.divide(1, square, out=np.zeros_like(square), where=square > 1e-12 * sums[2])
    slope = (sums[3] - sums[0] * mean_z) * inverse
    window = np.clip(np.arange(n) - WINDOW // 2, 0, n - WINDOW)
    return slope[window], inverse[window], mean_x[window], mean_z[window]


def _by_neighbours(rank: Array, y: Array) -> Array:
    """Total indices (d,) from nearest neighbours in the other inputs."""
    from scipy.spatial import cKDTree
    from scipy.stats import uniform

    n, d = rank.shape
    v = (rank + 0.5) / n
    u = ndtri(v)
    unit = as_law([uniform()] * d)
    basis = product_basis(unit)
    judges = np.arange(n) % 4 == 0
    parts = [np.flatnonzero(rows)[:MOST_FITTED] for rows in (~judges, judges)]
    fitted, held_out = ((Rows(u[p], v[p], basis.tables(u[p], v[p])), y[p]) for p in parts)
    polynomial, basis = fit_sparse(basis, fitted, held_out)
    tables = basis.tables(u, v)
    rest = y - polynomial(tables)
    found = np.empty(d)
    own = np.arange(n)
    for i in range(d):
        others = np.delete(v, i, axis=1)
        _, near = cKDTree(others).query(others, k=2)
        near = np.where(near[:, 0] == own, near[:, 1], near[:, 0])
        # the neighbour's value of input i, everything else as in the row itself
        moved = [tables[j][:, near] if j == i else tables[j] for j in range(d)]
        there = polynomial(moved) + rest[near]
        found[i] = 0.5 * ((y - there) ** 2).mean() / y.var()
    return found
