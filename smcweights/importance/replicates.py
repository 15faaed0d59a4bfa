"""Independent scramblings of Sobol' points for pairs (X, X'), and means over them.

The spread of the scramblings is the standard error. A sparse polynomial learned for each fold of
them from the others takes away what it explains, whose part in every mean is known exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from scipy.special import ndtri

from ..errors import DegeneracyError, ModelError
from ..execution import Run
from ..randomness import generator
from ..weights import pareto_k
from .failed_runs import FailedRuns
from .integrand import Columns, Integrand, Named, checked_first, checked_table
from .laws import Law
from .pairs import PickFreeze, output_names, varies
from .shared_polynomials import SharedPolynomials, alike, fit_together
from .sparse_polynomials import (
    ROWS_PER_TABLE,
    ProductBasis,
    Rows,
    SparsePolynomial,
    Weigh,
    fit_sparse,
)
from .widening import Widening

Array = np.ndarray
REPLICATES = 16  # at least; intervals are Student's with one degree of freedom less
FOLDS = 4  # of replicates, for the polynomial
ROWS_PER_CALL = 8192
HEAVY = 0.5  # Pareto k-hat of the squared output above which no interval is promised
MOST_FITTED = 12_000  # rows behind a polynomial


def outputs_of(
    model: Integrand,
    vectorized: bool,
    failures: FailedRuns,
    plan: PickFreeze,
    a: Array,
    b: Array,
) -> Array | Named:
    """Model outputs of a block of pairs, shape (n, calls) or (n, calls, K), with the names of its
    columns if they have some; NaN of failed runs.
    """
    x = plan.points(a, b)
    rows = x.reshape(-1, a.shape[1])
    columns = Columns(None, "model")
    y = columns.aligned(failures.caller(model, vectorized, "model")(rows))
    table = checked_table(y, rows, "model", failures.tolerated)
    if failures.tolerated:
        y = table.reshape(y.shape)
    return columns.own_with(np.moveaxis(y.reshape(*x.shape[:2], *y.shape[1:]), 0, 1))


@dataclass(frozen=True)
class Replicates:
    """Points of R scramblings and the model's outputs there.

    ``a``, ``b`` (R, n, d) stand for the inputs in standard-normal space; ``y`` (R, n, calls, K);
    ``scalar`` where the model returned one number per input.
    """

    law: Law
    plan: PickFreeze
    a: Array
    b: Array
    y: Array
    scalar: bool = True
    widening: Widening | None = None

    @property
    def weight(self) -> Array | None:
        """Weights of the pairs (R, n), if any input was widened."""
        if self.widening is None:
            return None
        ratios = [self.widening.log_ratios(u).sum(-1) for u in (self.a, self.b)]
        return self.widening.weight(ratios[0] + ratios[1])

    @property
    def count(self) -> int:
        """Scramblings, R."""
        return self.a.shape[0]

    @property
    def size(self) -> int:
        """Points of each."""
        return self.a.shape[1]

    @property
    def calls(self) -> int:
        """Model calls."""
        return self.count * self.size * self.plan.calls

    def means(self, centre: Array) -> Array:
        """Mean terms of each replicate, (R, K, J)."""
        y = np.moveaxis(self.y - centre, 2, 1)
        weight = self.weight
        if self.failed.any():
            return self._ran(y, np.ones(self.y.shape[:2]) if weight is None else weight)
        if weight is None:
            return np.stack([self.plan.terms(one).mean(0) for one in y])
        pairs = zip(y, weight[:, :, None, None], strict=True)
        return np.stack([(w * self.plan.terms(one)).mean(0) for one, w in pairs])

    @property
    def failed(self) -> Array:
        """Which runs failed: (R, n, calls)."""
        return np.isnan(self.y[..., 0])

    @property
    def failed_share(self) -> Array:
        """Share of the law that fails, by replicate: (R,)."""
        lost = self.failed[:, :, :2].mean(2)
        return (lost if self.weight is None else lost * self.weight).mean(1)

    def first_failed(self) -> list[float]:
        """The first input whose run failed, if any did."""
        at = np.argwhere(self.failed)[:1]
        if len(at) == 0:
            return []
        r, i, call = at[0]
        halves = (self.law.to_inputs(u[r, i : i + 1]) for u in (self.a, self.b))
        return np.asarray(self.plan.points(*halves)[call, 0]).tolist()

    def _ran(self, y: Array, weight: Array) -> Array:
        """Mean terms (R, K, J) given that the runs of each term did, as pseudo-values: their mean
        is the ratio of means over all replicates, their spread that of its linear part.
        """
        sums, shares = [], []
        for one, w in zip(y, weight[:, :, None, None], strict=True):
            terms = self.plan.terms(one)
            sums.append((w * np.nan_to_num(terms)).mean(0))
            shares.append((w * np.isfinite(terms)).mean(0))
        above, below = np.array(sums), np.array(shares)
        if (below.mean(0) <= 0).any():
            raise DegeneracyError(
                f"no pair of inputs whose runs all worked, in {self.calls:,} calls; expected some"
            )
        ratio = above.mean(0) / below.mean(0)
        return ratio + (above - ratio * below) / below.mean(0)

    def effective(self, centre: Array) -> Array:
        """To how many equal pairs the variance of each output (K,) is due; 0 without variance."""
        squares = self._squares(centre)
        fourth = (squares**2).sum(0)
        found = np.divide(squares.sum(0) ** 2, fourth, out=np.zeros_like(fourth), where=fourth > 0)
        return np.where(varies(self.means(centre).mean(0), centre), found, 0.0)

    @property
    def coarse(self) -> Array:
        """Which outputs (K,) take few values: they have no tail, and no polynomial near them."""
        outputs = self.y[:, :, :2].reshape(-1, self.y.shape[3])
        return np.array([len(np.unique(output)) <= len(output) / 10 for output in outputs.T])

    def _squares(self, centre: Array, where: Array | None = None) -> Array:
        """Squared outputs of each pair times their weights, (R n, K); of some points (R, n, 2)."""
        squares = np.nan_to_num((self.y[:, :, :2] - centre) ** 2)
        if where is not None:
            squares = squares * where[..., None]
        if self.widening is not None:
            of_half = [self.widening.log_ratios(u).sum(-1) for u in (self.a, self.b)]
            squares = squares * self.widening.weight(np.stack(of_half, axis=2))[..., None]
        return squares.sum(2).reshape(-1, self.y.shape[3])

    def tail(self, centre: Array) -> float:
        """Largest Pareto k-hat of the squared outputs; -inf where the inputs are bounded."""
        if np.isfinite(self.law.ranges).all():
            return -math.inf
        squares = self._squares(centre)[:, ~self.coarse]
        shapes = [pareto_k(np.log(np.maximum(column, 1e-300))) for column in squares.T]
        # infinite: too few values to fit a tail to, as of an indicator
        return max((k for k in shapes if np.isfinite(k)), default=-math.inf)

    def beyond(self, centre: Array, far: float) -> float:
        """Largest share of an output's squares at points with an input farther out than ``far``."""
        out = np.stack([np.abs(u).max(-1) > far for u in (self.a, self.b)], axis=2)
        squares = self._squares(centre, out)
        whole = self._squares(centre).sum(0)
        return float((squares.sum(0)[whole > 0] / whole[whole > 0]).max(initial=0.0))

    def at_most(self, calls: int, size: int) -> tuple[Replicates, int]:
        """Points per scrambling, at most ``size``, that keep within the calls.

        Replicates beyond the least number go first, then points.
        """
        fitting = calls // (size * self.plan.calls)
        if fitting >= self.count:
            return self, size
        if fitting < REPLICATES:
            return self, size // 2
        return replace(self, a=self.a[:fitting], b=self.b[:fitting], y=self.y[:fitting]), size


@dataclass(frozen=True)
class SobolPoints:
    """Where replicates get their next points, and the run in which the model is called there.

    ``check`` is told the number of outputs before the second batch is called.
    """

    law: Law
    plan: PickFreeze
    run: Run
    draw: tuple[Callable[[int], Array], ...]
    check: Callable[[int], object]
    title: str = "points"
    columns: Columns = field(default_factory=lambda: Columns(None, "model"))

    def extended(
        self, before: Replicates | None, n: int, widening: Widening | None = None
    ) -> Replicates:
        """Go on to ``n`` points, a power of two, per scrambling."""
        count = len(self.draw) if before is None else before.count
        size = 0 if before is None else before.size
        d, calls = self.law.dimension, self.plan.calls
        v = np.stack([draw(n - size) for draw in self.draw[:count]])
        u = ndtri(np.clip(v, 1e-17, 1 - 2.0**-53))
        a, b = u[:, :, :d], u[:, :, d:]
        if widening is not None:
            widening = replace(widening, size=n)
            a, b = widening.drawn(a), widening.drawn(b)
        xa, xb = (self.law.to_inputs(half.reshape(-1, d)) for half in (a, b))
        step = max(1, min(math.ceil(len(xa) / 32), ROWS_PER_CALL // calls))
        cuts = [(s, min(s + step, len(xa))) for s in range(0, len(xa), step)]
        blocks = self.run.stream(
            f"{self.title} {size} to {n}",
            [(xa[s:e], xb[s:e]) for s, e in cuts],
            [(e - s) * calls for s, e in cuts],
        )
        found = checked_first(
            self.columns.all_aligned(blocks), lambda y: y[0, 0].size and self.check(y[0, 0].size)
        )
        # batches all of whose runs raised an exception have no outputs
        known = [block for block in found if block[0, 0].size]
        if not known:
            raise ModelError(f"model: all {len(xa) * calls} runs failed; expected some that don't")
        lost = np.full(known[0].shape[1:], np.nan)
        found = [y if y[0, 0].size else np.stack([lost] * len(y)) for y in found]
        y = np.concatenate(found)
        scalar = y.ndim == 2
        y = y.reshape(count, n - size, calls, -1)
        if before is None:
            return Replicates(self.law, self.plan, a, b, y, scalar)
        if y.shape[3] != before.y.shape[3]:
            raise ModelError(
                f"model: returned {y.shape[3]} outputs, {before.y.shape[3]} before; expected as "
                "many at every call"
            )
        a, b = np.concatenate([before.a, a], axis=1), np.concatenate([before.b, b], axis=1)
        y = np.concatenate([before.y, y], axis=1)
        return Replicates(self.law, self.plan, a, b, y, scalar, widening)


def sobol_points(
    law: Law,
    plan: PickFreeze,
    run: Run,
    count: int,
    columns: Columns,
    first: int = 0,
) -> SobolPoints:
    """So many scramblings, on random streams of the run; those of number ``first`` on."""
    from scipy.stats import qmc

    d = law.dimension
    if 2 * d > qmc.Sobol.MAXDIM:
        raise ValueError(f"law: {d} inputs; Sobol' points allow {qmc.Sobol.MAXDIM // 2}")

    def draw(engine: qmc.Sobol, jitter: np.random.Generator, n: int) -> Array:
        # points have 30 bits; with the rest at random each one is exactly uniform
        return engine.random(n) + 2.0**-30 * jitter.random((n, 2 * d))

    draws = tuple(
        partial(
            draw,
            qmc.Sobol(2 * d, scramble=True, seed=generator(run.root, "scrambling", r)),
            generator(run.root, "jitter", r),
        )
        for r in range(first, first + count)
    )
    title = f"scramblings {first} to {first + count}, points" if first else "points"
    return SobolPoints(law, plan, run, draws, partial(output_names, columns), title, columns)


def joined(one: Replicates, other: Replicates) -> Replicates:
    """Scramblings of the same size, together."""
    if one.y.shape[2:] != other.y.shape[2:]:
        raise ModelError(
            f"model: returned {other.y.shape[3]} outputs, {one.y.shape[3]} before; expected as many"
        )
    a, b, y = (np.concatenate([getattr(one, name), getattr(other, name)]) for name in "aby")
    return replace(one, a=a, b=b, y=y)


def _data(
    replicates: Replicates, which: Array, most: int, root: np.random.SeedSequence
) -> tuple[Array, Array, Array | None]:
    """Up to ``most`` points u (n, d) of some replicates, independent ones first, outputs, and the
    points' weights, of mean 1, if any input was widened.
    """
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
    order = generator(root, "order of rows").permutation(len(u_all))
    u_all, weight = u_all[order], None
    if replicates.widening is not None:
        weight = replicates.widening.weight(replicates.widening.log_ratios(u_all).sum(1))
        weight = weight / weight.mean()
    return u_all, y_all[order], weight


def corrected_means(
    replicates: Replicates, centre: Array, basis: ProductBasis, root: np.random.SeedSequence
) -> tuple[Array, list[list[SparsePolynomial]]]:
    """Mean terms of each replicate (R, K, J) with a polynomial learned from the other folds."""
    plan, law, count = replicates.plan, replicates.law, replicates.count
    means = replicates.means(centre)
    fold_of = np.arange(count) % FOLDS
    used: list[list[SparsePolynomial]] = [[] for _ in range(means.shape[1])]
    for f in range(FOLDS):
        inside, rest = np.flatnonzero(fold_of == f), np.flatnonzero(fold_of != f)
        judges = rest[::4]
        sets = []
        for which, most in ((np.setdiff1d(rest, judges), MOST_FITTED), (judges, MOST_FITTED // 3)):
            u, y, weight = _data(replicates, which, most, root)
            x = law.to_inputs(u)
            sets.append((Rows(u, x, basis.tables(u, x), weight), y - centre))
        (rows, y), (rows_out, y_out) = sets
        learned: list[tuple[Array, SparsePolynomial | SharedPolynomials, ProductBasis]] = []
        if alike(y):
            shared, own = fit_together(basis, (rows, y), (rows_out, y_out))
            for k, polynomial in enumerate(shared.each):
                used[k].append(polynomial)
            if len(shared.useful):
                learned.append((shared.useful, shared.of(shared.useful), own))
        else:
            for k in range(means.shape[1]):
                polynomial, own = fit_sparse(basis, (rows, y[:, k]), (rows_out, y_out[:, k]))
                used[k].append(polynomial)
                if not polynomial.empty:
                    learned.append((np.array([k]), polynomial, own))
        if not learned:
            continue
        # a few replicates at a time: tables are large
        step = max(ROWS_PER_TABLE // (replicates.size * math.ceil(means.shape[1] / 20)), 1)
        for r in (inside[s : s + step] for s in range(0, len(inside), step)):
            halves = [v[r].reshape(-1, law.dimension) for v in (replicates.a, replicates.b)]
            points = [(u, law.to_inputs(u)) for u in halves]
            weigh = None
            if replicates.widening is not None:
                ratios = [replicates.widening.log_ratios(u) for u in halves]
                weigh = Weigh(replicates.widening.weight, *ratios)
            for outputs, found, own in learned:
                of = replicates.y[r][:, :, :, outputs] - centre[outputs]
                of = np.moveaxis(of, 2, 0)
                of = of if isinstance(found, SharedPolynomials) else of[..., 0]
                at_a, at_b = (own.tables(u, x) for u, x in points)
                corrected = found.corrected(plan, at_a, at_b, of, weigh)
                means[r[:, None], outputs] = corrected.reshape(len(r), len(outputs), -1)
    return means, used
