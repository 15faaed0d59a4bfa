"""Shapley effects: the variance of the output shared out among inputs, dependent ones too.

With c(u) = E Var(Y | X_-u), the variance that inputs u still have when all others are known, the
effect of input i is the mean over all orders of the inputs of c(those before i and i) - c(those
before i). Effects sum to the variance and are none of them negative, whatever the dependence, where
Sobol' indices of dependent inputs are neither.

One draw takes an order and two independent points U and V, whose scores are multivariate normal.
Conditioning by kriging (Matheron's rule) gives from the same V a draw of the first j inputs given
all others as in U, for every j: with Y_j the output there, Y_0 that of U,

    (Y_0 - Y_j/2 - Y_{j-1}/2) (Y_{j-1} - Y_j)

has the increment of c as its mean. The terms of a draw sum to (Y_0 - Y_d)^2 / 2. Draws are
independent: the covariance of the effects is that of a mean. For independent inputs these are
pick-freeze terms. Discrete inputs with rare values take these more often, unbounded inputs far out
in which the first draws have their largest terms are drawn wider, as are those of heavy tails, and
the terms are weighed (`widening`).
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import arguments
from ..cautions import Caution, tell
from ..errors import DegeneracyError, PrecisionWarning
from ..estimate import Estimate
from ..execution import Run, batches, open_run
from ..provenance import provenance
from ..randomness import Seed, generator
from ..results import Result
from ..stopping import Budget, Precision, Standing, check_least, stopping_rule, until_precise
from ..weights import pareto_k
from .integrand import Columns, Integrand, call_named, checked_first, checked_table
from .laws import Law, as_law
from .pairs import Groups, grouped, output_names
from .proposals import FARTHEST
from .verdict import listed
from .widening import (
    TAIL,
    Widening,
    flattened,
    foremost,
    hardly_drawn,
    heavy_tailed,
    scales_of,
    share_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray
METHOD = "Shapley effects"
LEAST = 50  # draws for a covariance to speak of
FIRST = 200  # draws of the first stage towards a precision
PLAIN = 0.25  # share of draws of the law where rare values of inputs are drawn more often
EXCESS = 0.3  # of a score's second moment where the terms are, from which its input is widened
HEAVY = 0.5  # Pareto k-hat of the terms above which no interval is promised


@dataclass(frozen=True)
class ShapleyEffects(Result):
    """Shapley effects, as estimates that share one covariance.

    Attributes
    ----------
    effects : Estimate, shape (K * G,)
        Shares of the variance, which sum to 1 for every output: named after the inputs or groups,
        with "output: " in front where the model has several outputs.
    mean, variance : Estimate, shape () or (K,)
        Of the model's output.
    inputs, outputs : tuple of str
        Inputs or groups of inputs, and outputs.
    """

    effects: Estimate
    mean: Estimate
    variance: Estimate
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """What can't be promised."""
        return self.effects.cautions

    def __repr__(self) -> str:
        """The table of the effects."""
        calls = int(self.effects.cost["evaluations"])
        lines = [f"{METHOD}, {calls:,} model calls", self.effects.summary().to_string()]
        return "\n".join([*lines, *(f"warning: {caution.text}" for caution in self.cautions)])

    def plot(self, ax: Axes | None = None, *, level: float = 0.95) -> Axes:
        """Effects with their intervals.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.
        level : float
            Nominal coverage of the intervals.

        Returns
        -------
        matplotlib axes
        """
        ax = self.effects.plot(ax, level=level)
        ax.set_xlabel("share of the variance (Shapley effect)")
        return ax


def shapley_effects(
    model: Integrand,
    law: object,
    budget: int | None = None,
    *,
    precision: Precision | None = None,
    groups: Groups = None,
    vectorized: bool = True,
    names: Sequence[str] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> ShapleyEffects:
    """Shapley effects of a model's inputs, which may be dependent, with intervals that cover.

    Parameters
    ----------
    model : callable, (n, d) -> (n,) or (n, K)
        K outputs have effects of their own each. Columns of a DataFrame and entries of a dict of
        arrays name them.
    law : law of d inputs
        Independent marginals, a `GaussianCopula` or a multivariate normal law, as for
        `adaptive_importance_sampling`: conditional laws have to be known.
    budget : int
        MODEL CALLS: one more than there are inputs, or groups, for each draw; at least 50 draws.
        Give this or ``precision``.
    precision : Precision, optional
        Half-width every effect is to have.
    groups : dict of str to sequence of str, or sequence of str, length d, optional
        Groups of inputs, which then have effects as one: names to inputs, or a name per input.
    vectorized : bool, default True
        Whether the model takes many inputs at once.
    names : sequence of str, length K, optional
        Names of the outputs.
    seed, executor, progress, checkpoint
        As for `smcweights.adaptive_importance_sampling`.

    Returns
    -------
    ShapleyEffects

    Raises
    ------
    ModelError
        The model returned a wrong shape, NaN or infinity; the message names the input.
    DegeneracyError
        No output varied. One that doesn't, among others that do, has NaN for its effects.
    ValueError, TypeError
        An argument is wrong, or the law's conditional laws are not known.

    Warns
    -----
    PrecisionWarning
        The precision was not reached, the output has too heavy a tail, an output did not vary, or a
        discrete input's rare value was hardly drawn.

    References
    ----------
    Song, Nelson & Staum (2016), Shapley effects for global sensitivity analysis: theory and
    computation, SIAM/ASA J. Uncertain. Quantif. 4; Goda (2021), A simple algorithm for global
    sensitivity analysis with Shapley effects, arXiv 2001.02449.

    Examples
    --------
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> law = smw.GaussianCopula({"a": stats.norm(), "b": stats.norm()}, [[1, 0.5], [0.5, 1]])
    >>> found = smw.shapley_effects(lambda x: x[:, 0] + x[:, 1], law, 3_000, seed=1)
    >>> off = found.effects.value - 0.5
    >>> bool((abs(off) < 4 * found.effects.standard_error).all()), float(off.sum().round(12))
    (True, 0.0)
    """
    arguments.function("model", model, "of an array of inputs")
    vectorized = arguments.flag("vectorized", vectorized)
    law = _checked_law(law)
    names = arguments.names(names)
    inputs, members = grouped(groups, law.names)
    rule = stopping_rule(budget, precision)
    per = len(inputs) + 1
    check_least(rule, LEAST * per, f"calls: {LEAST} draws of {per} each")
    asked_for = {
        "law": law,
        "model": model,
        "budget": rule.most if precision is None else None,
        "precision": precision,
        "groups": [list(np.flatnonzero(m).astype(str)) for m in members],
        "vectorized": vectorized,
        "names": names,
    }
    began = time.perf_counter()
    with open_run(
        partial(call_named, model, vectorized, named="model"),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=asked_for,
        seed=seed,
        total=rule.most if precision is None else None,
        description=METHOD,
    ) as run:
        columns = Columns(names, "model")
        walk = _Walk(law, members, run, vectorized, columns)

        def found(cautions: Sequence[Caution] = ()) -> ShapleyEffects:
            named = inputs, output_names(columns, walk.terms[0].shape[1])
            return _effects(walk, named, cautions, provenance(METHOD, run.root, asked_for), began)

        def standing(level: float) -> Standing:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PrecisionWarning)
                now, n = found().effects, walk.draws
            known = np.flatnonzero(np.isfinite(now.value)).tolist()
            standing = Standing.of(now[known], level, n, n * per, per)
            return standing._replace(estimate=now)

        first = rule.most // per if isinstance(rule, Budget) else min(FIRST, rule.most // per)
        cautions = until_precise(rule, first, walk.stage, standing, "calls", run)
        result = found(cautions)
    tell("shapley_effects", result.cautions)
    return result


def _checked_law(given: object) -> Law:
    law = as_law(given)
    if not law.mapped:
        raise ValueError(
            "law: its conditional laws are not known; expected independent marginals, a "
            "GaussianCopula or a multivariate normal law"
        )
    return law


@dataclass
class _Walk:
    """Draws of orders and points, stage by stage, and the terms they gave."""

    law: Law
    members: Array  # (G, d): which inputs are in which group
    run: Run
    vectorized: bool
    columns: Columns

    def __post_init__(self) -> None:
        self.terms: list[Array] = []  # (n, K, G) of stages, weighted,
        self.outputs: list[Array] = []  # (n, 2, K) at U and V,
        self.weights: list[Array] = []  # (n,)
        self.widened = flattened(self.law)
        self.scalar = True

    @property
    def draws(self) -> int:
        """How many there are."""
        return sum(map(len, self.terms))

    def stage(self, size: int) -> None:
        """So many more draws; the first of all tell what is to be drawn wider."""
        if not self.terms and size >= 2 * LEAST:
            pilot = max(LEAST, size // 8)
            self._draw(pilot)
            self.widened = self._wider()
            size -= pilot
        self._draw(size)

    def _wider(self) -> Widening | None:
        """The widening of rare values, and of unbounded inputs far out in which terms are large."""
        law, found = self.law, self.widened
        free = ~np.isfinite(law.ranges).all(0)
        if found is not None:
            free &= ~found.inputs
        heavy = free & heavy_tailed(law)
        sizes = np.abs(self.terms[0]).sum(2)
        sizes = sizes[:, sizes.any(0)]
        if not _worst_tail(sizes) > TAIL:
            free = heavy
        # what the terms make of the scores' second moments, 1 without them
        moments = (sizes / sizes.sum(0)).T @ (self.scores**2).mean(0)
        excess = np.where(free, moments.max(0, initial=0.0) - 1, -math.inf)
        wide = foremost(excess, np.where(heavy, 0.0, EXCESS))
        if not wide.any():
            return found
        values = () if found is None else found.values
        count = int(wide.sum()) + sum(v is not None for v in values)
        reaches = np.full(law.dimension, FARTHEST)
        return Widening(scales_of(wide, heavy), reaches, share_of(count), 0, 0, values)

    def _draw(self, size: int) -> None:
        """So many draws, of scores with the law's correlation."""
        number, (g, d) = len(self.terms) + 1, self.members.shape
        rng = generator(self.run.root, "walk", number)
        correlation = self.law.correlation
        factor = np.linalg.cholesky(np.eye(d) if correlation is None else correlation)
        z, weight = rng.standard_normal((2, size, d)), np.ones(size)
        if self.widened is not None:
            # the first of a stage are draws of the law
            widening = replace(self.widened, plain=math.ceil(PLAIN * size), size=size)
            z[:, widening.plain :] = widening.drawn(z[:, widening.plain :])
            weight = widening.weight(widening.log_ratios(z).sum((0, 2)))
        if not self.terms:
            self.scores = z
        u, v = z @ factor.T
        order = rng.permuted(np.tile(np.arange(g), (size, 1)), axis=1)
        x = self._path(u, v, order)
        whitened = np.linalg.solve(factor, x.reshape(-1, d).T).T
        rows = self.law.to_inputs(whitened).reshape(g + 1, size, d)
        cuts = batches(size, vectorized=self.vectorized)
        jobs = [(rows[:, a:b].reshape(-1, d),) for a, b in cuts]
        blocks = self.run.stream(f"draws {number}", jobs, [len(job[0]) for job in jobs])
        found = checked_first(
            self.columns.all_aligned(blocks),
            lambda y: output_names(self.columns, checked_table(y, jobs[0][0], "model").shape[1]),
        )
        self.scalar = found[0].ndim == 1
        y = np.concatenate(
            [
                checked_table(block, job[0], "model").reshape(g + 1, b - a, -1)
                for block, job, (a, b) in zip(found, jobs, cuts, strict=True)
            ],
            axis=1,
        )
        steps = (y[0] - (y[1:] + y[:-1]) / 2) * (y[:-1] - y[1:])
        terms = np.empty((size, y.shape[2], g))
        np.put_along_axis(terms, order[:, None, :], np.moveaxis(steps, 0, 2), axis=2)
        self.terms.append(terms * weight[:, None, None])
        self.weights.append(weight)
        self.outputs.append(np.stack([y[0], y[-1]], axis=1))

    def _path(self, u: Array, v: Array, order: Array) -> Array:
        """Points (G + 1, n, d) from U to V: the first groups are drawn given the others of U."""
        n, (g, d) = len(u), self.members.shape
        path = np.empty((g + 1, n, d))
        path[0], path[g] = u, v
        drawn = np.zeros((n, d), dtype=bool)
        correlation = self.law.correlation
        for j in range(1, g):
            drawn = drawn | self.members[order[:, j - 1]]
            path[j] = np.where(drawn, v, u)
            if correlation is None:
                continue
            # draws with the same inputs drawn have the same regression on the others
            _, first, which = np.unique(
                np.packbits(drawn, axis=1), axis=0, return_index=True, return_inverse=True
            )
            rows = np.argsort(which.ravel(), kind="stable")
            ends = np.cumsum(np.bincount(which.ravel()))
            for at, some in zip(first, np.split(rows, ends[:-1]), strict=True):
                own = drawn[at]
                given = correlation[np.ix_(~own, ~own)]
                slopes = np.linalg.solve(given, correlation[np.ix_(~own, own)])
                path[j][np.ix_(some, own)] += (u[some] - v[some])[:, ~own] @ slopes
        return path


def _effects(
    walk: _Walk,
    named: tuple[tuple[str, ...], tuple[str, ...]],
    cautions: Sequence[Caution],
    source: dict[str, Any],
    began: float,
) -> ShapleyEffects:
    """The effects from all draws so far."""
    (inputs, outputs), n = named, walk.draws
    terms, values = np.concatenate(walk.terms), np.concatenate(walk.outputs)
    weight = np.concatenate(walk.weights)[:, None]
    k, g = terms.shape[1:]
    calls = n * (g + 1)
    mean_output = weight.T @ values.mean(1) / weight.sum()
    linear = mean_output + weight * (values.mean(1) - mean_output)
    each = np.concatenate([linear, terms.reshape(n, -1)], axis=1)
    centre = each.mean(0)
    total = centre[k:].reshape(k, g).sum(1)
    flat = ~(total > 1e-13 * np.maximum((values**2).mean((0, 1)), 1e-300))
    if flat.all():
        raise DegeneracyError(f"{listed(outputs, flat)}: did not vary in {calls:,} calls")
    told = [*cautions, *_cautions(terms, outputs, flat, walk, calls)]
    means = Estimate(
        centre,
        factor=((each - centre) / math.sqrt(n * (n - 1))).T
        if each.shape[1] > n
        else _root(each - centre, n),
        method=METHOD,
        degrees_of_freedom=n - 1,
        cautions=told,
        cost={"evaluations": calls, "seconds": time.perf_counter() - began},
        provenance=source,
    )
    own = np.where(flat, np.nan, total)
    # shares m_i / sum m: the derivative is exact, and so is their sum
    shares = centre[k:].reshape(k, g) / own[:, None]
    slopes = np.zeros((k * g, k + k * g))
    for o in range(k):
        rows = slice(o * g, (o + 1) * g)
        slopes[rows, k + o * g : k + (o + 1) * g] = (np.eye(g) - shares[o][:, None]) / own[o]
    root = slopes @ means.root()
    whole = {"factor": root} if len(root) > root.shape[1] else {"covariance": root @ root.T}
    names = [f"{o}: {i}" if k > 1 else i for o in outputs for i in inputs]
    sums = np.zeros((k, k + k * g))
    for o in range(k):
        sums[o, k + o * g : k + (o + 1) * g] = 1.0
    scalar = walk.scalar
    first = np.eye(k, k + k * g)
    mean = means.apply(first[0] if scalar else first, names="mean" if scalar else outputs)
    variance = means.apply(sums[0] if scalar else sums, names="variance" if scalar else outputs)
    effects = means.revised(
        value=shares.ravel(), **whole, names=names, degrees_of_freedom=means.degrees_of_freedom[0]
    )
    return ShapleyEffects(effects, mean, variance, inputs, outputs)


def _root(centred: Array, n: int) -> Array:
    """R (J, J) with R R' the covariance of the means of rows (n, J)."""
    upper = np.asarray(np.linalg.qr(centred, mode="r"))
    return upper.T / math.sqrt(n * (n - 1))


def _worst_tail(sizes: Array) -> float:
    """Largest Pareto k-hat of columns (n, K)."""
    shapes = [pareto_k(np.log(np.maximum(column, 1e-300))) for column in sizes.T]
    return max((shape for shape in shapes if np.isfinite(shape)), default=-math.inf)


def _cautions(
    terms: Array, outputs: tuple[str, ...], flat: Array, walk: _Walk, calls: int
) -> list[Caution]:
    """What can't be promised: of outputs that don't vary, of rare values, and of heavy tails."""
    plain = walk.draws if walk.widened is None else PLAIN * walk.draws
    found = hardly_drawn(walk.law, 2 * plain, 2 * (walk.draws - plain), walk.widened)
    if flat.any():
        text = f"output {listed(outputs, flat)}: did not vary in {calls:,} calls: NaN for its "
        found.append(Caution("constant-output", text + "effects, which are 0/0"))
    if np.isfinite(walk.law.ranges).all():
        return found
    sizes = np.abs(terms).sum(2)[:, ~flat]
    worst = _worst_tail(sizes)
    if worst > HEAVY:
        text = (
            f"the squared output has a heavy tail, Pareto k-hat {worst:.2f}: draws that have not "
            "been seen may matter more than the standard errors say. A bounded output, such as its "
            "log, would help"
        )
        found.append(Caution("heavy-tails", text))
    return found
