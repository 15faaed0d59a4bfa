"""Sobol' indices with their joint covariance, from model calls.

`sobol_indices` estimates the means over pairs that they follow from (`pairs`) together, and carries
their covariance to the indices. Three ways to estimate them:

"qmc"
    Sixteen to thirty-one independent scramblings of Sobol' points; the standard error is their
    spread, the intervals are Student's.
"surrogate"
    The same points, and a sparse polynomial P, whose indices are known exactly: what is
    estimated is how the residual Y - P changes them. For each fold of scramblings P is learned from
    the others, so that its errors cost precision, never bias: the means stay exactly unbiased. More
    than eight outputs that are alike, such as a series, share their terms (`shared_polynomials`).
"importance"
    Adaptive importance sampling over the doubled law of (X, X'): for outputs that are zero, or
    small, nearly everywhere.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np

from .. import arguments
from ..cautions import Caution, tell
from ..delta_method import linearised
from ..errors import DegeneracyError, PrecisionWarning
from ..estimate import Estimate
from ..execution import Run, check_checkpoint, first_budget, open_run
from ..randomness import Seed, generator
from ..stopping import Budget, Precision, Standing, check_least, stopping_rule, until_precise
from .adaptive import adaptive_importance_sampling
from .extension import Source, check_same
from .failed_runs import MANY, POLICIES, FailedRuns, checked_policy
from .indices import SobolIndices, defined, indices_of, of_blocks
from .integrand import Columns, Integrand
from .laws import Law
from .marginals import without_variance
from .pairs import (
    Groups,
    Pairs,
    PickFreeze,
    doubled_law,
    independent_law,
    output_names,
    pick_freeze,
    varies,
)
from .proposals import FARTHEST
from .replicates import (
    HEAVY,
    REPLICATES,
    Replicates,
    SobolPoints,
    corrected_means,
    joined,
    outputs_of,
    sobol_points,
)
from .sparse_polynomials import (
    ProductBasis,
    SparsePolynomial,
    product_basis,
)
from .verdict import listed
from .widening import (
    TAIL,
    Widening,
    foremost,
    hardly_drawn,
    heavy_tailed,
    rare_values,
    scales_of,
    share_of,
)

Array = np.ndarray
Result = TypeVar("Result")
TITLE = "Sobol' indices"
METHODS = ("auto", "qmc", "surrogate", "importance")
CONCENTRATED = 30.0  # E[t^2]/E[|t|]^2 from which importance sampling is given a try
FEW_PAIRS = 60.0  # below, and with most pairs idle, spreads of scramblings are not to be trusted
END = -0.4  # k-hat below which the output is taken to be bounded, whatever its inputs' tails
FORESEEN = 0.2  # share of the variance explained by the pilot's polynomials from which tails matter
MATTERS = 0.01  # least total index of inputs that are widened,
HEAVY_MATTERS = 0.001  # of heavy tails, whose index few points have seen
NEAREST, NEARER, FAR_TAIL = 5.0, 6.0, 0.7  # how far out, below TAIL and below this k-hat
IDLE = 0.1  # share of the pairs to which the variance is due
EXPLAINED = 0.9  # share of an output's variance from which polynomials need no rival,
PROMISING = 0.15  # and the same where no interval could be promised without them
HEAVY_KNOWN = 0.7  # Pareto k-hat instead of HEAVY, where polynomials explain this share
KNOWN = 0.99
FAR_SHARE = 0.005  # share of the squares that draws beyond NEARER may have
SOLVED = 1 - 1e-9  # and the share from which no tail is left to be unknown
ROUNDING = 1e-11  # least error of means, in units of the output's standard deviation
LEAST_ROWS = 120  # pairs that importance sampling needs


def sobol_indices(
    model: Integrand,
    law: object,
    budget: int | None = None,
    *,
    order: str | Sequence[str] = ("first", "total"),
    precision: Precision | None = None,
    method: str = "auto",
    widen: bool | float | str = "auto",
    failed: str = "raise",
    failed_exceptions: Sequence[type[Exception]] = (),
    groups: Groups = None,
    vectorized: bool = True,
    names: Sequence[str] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> SobolIndices:
    """Sobol' indices of a model with independent inputs, with intervals that cover.

    Parameters
    ----------
    model : callable, (n, d) -> (n,) or (n, K)
        K outputs have indices of their own each, and aggregated ones. Columns of a DataFrame and
        entries of a dict of arrays name them.
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
        See this module's page. "auto": a pilot of the first eighth of the points, or up to half
        of them where the output has many values, tells whether most outputs are concentrated on
        few points and polynomials don't explain data held out: on so few that no interval could
        be promised, and importance sampling is taken; on somewhat more, and a pilot of importance
        sampling tells by the variance per call. Otherwise it is "surrogate", whose polynomial is
        left out where it explains under a tenth of the variance of data held out.
    widen : "auto", False or a share between 0 and 1, default "auto"
        Whether unbounded inputs are drawn wider than their laws and weighted, so that the tails
        that carry the variance of a heavy output are seen: a share of the draws come from a normal
        law of twice the width, three times for inputs with a kurtosis over 4, up to 7 standard
        deviations. "auto": where the pilot's squared outputs have a tail, or polynomials explain a
        fifth of their variance, the inputs that matter, at most 8, by a half for up to three of
        them and a quarter for more; else those with a kurtosis over 4, unless outputs are bounded
        or take few values; up to 5 or 6 standard deviations, which 6e-7 and 2e-9 of a law exceed,
        unless the tail of outputs or inputs is heavy. Inputs of at most 13 values, some of them
        rare, take those more often: a share of their draws come by the fourth root of their
        probabilities; unbounded inputs beside them are widened then whether they seem to matter or
        not, which rare values may hide. False, and other inputs: draws of the law.
    failed : {"raise", "exclude"}
        What to do with a run that gave NaN or an infinite value: end everything, or leave it out.
        Then every term's mean is that of the pairs whose runs worked: indices of the law given that
        the model runs, as far as the inputs are independent there. No importance sampling then,
        and no polynomials once a run failed.
    failed_exceptions : sequence of exception classes, optional
        Exceptions of the model that count as failed runs.
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
        Negative estimates are reported as they are; the printed result says what they mean. With
        failed runs, ``indices.diagnostics`` have their ``failed_share`` of the law and the
        ``first_failed`` input. `SobolIndices.extend` goes on with more calls.

    Raises
    ------
    ModelError
        The model returned a wrong shape, NaN or infinity; the message names the input.
    DegeneracyError
        No output varied. One that doesn't, among others that do, has NaN for its indices.
    ValueError, TypeError
        An argument is wrong, or the inputs are dependent.

    Warns
    -----
    PrecisionWarning
        The precision was not reached, a standard error can't be promised, or one of several
        outputs did not vary.

    References
    ----------
    Sobol' (2001), Math. Comput. Simul. 55; Saltelli (2002), Comput. Phys. Commun. 145, for the
    pairs; Jansen (1999) for total indices; Blatman & Sudret (2011), J. Comput. Phys. 230, for
    sparse polynomials; Gamboa, Janon, Klein & Lagnoux (2014), Electron. J. Stat. 8, for aggregated
    indices; Demange-Chryst, Bachoc & Morio (2023), arXiv 2212.00568, for importance
    sampling.

    Examples
    --------
    >>> import smcweights as smw
    >>> problem = smw.problems.ishigami()
    >>> found = smw.sobol_indices(problem.function, problem.law, 5_000, seed=1)
    >>> found.total.value.round(4).tolist(), bool((found.total.standard_error < 1e-4).all())
    ([0.5576, 0.4424, 0.2437], True)
    """
    arguments.function("model", model, "of an array of inputs")
    vectorized = arguments.flag("vectorized", vectorized)
    if groups is None and isinstance(law, Mapping) and "num_vars" in law:
        groups = law.get("groups")
    law = independent_law(law)
    columns = Columns(arguments.names(names), "model")
    plan = pick_freeze(law, groups, order)
    rule = stopping_rule(budget, precision)
    arguments.one_of("method", method, METHODS)
    failures = checked_policy(failed, failed_exceptions, None, POLICIES[:2])
    if failures.tolerated and method == "importance":
        raise ValueError("failed: got 'exclude'; expected 'raise' with method='importance'")
    widen = _checked_widen(widen)
    most, per = rule.most, plan.calls
    least = LEAST_ROWS if method == "importance" else REPLICATES
    check_least(rule, least * per, f"calls: {least} pairs of points of {per} each")
    if precision is None:
        rule = Budget(first_budget(checkpoint, most))
    asked_for = {
        "law": law,
        "model": model,
        "budget": rule.most if precision is None else None,
        "precision": precision,
        "order": plan.order,
        "method": method,
        "widen": widen,
        "groups": [list(np.flatnonzero(m).astype(str)) for m in plan.members],
        "vectorized": vectorized,
        "names": columns.given,
        **failures.asked_for,
    }
    began = time.perf_counter()
    with open_run(
        partial(outputs_of, model, vectorized, failures, plan),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=asked_for,
        seed=seed,
        total=most if precision is None else None,
        description=TITLE,
        named="model",
    ) as run:
        count, pilot, size = _planned(rule, per, method, law)
        points = sobol_points(law, plan, run, count, columns)
        replicates = points.extended(None, pilot)
        centre = np.nanmean(replicates.y[:, :, :2], axis=(0, 1, 2))
        outputs = output_names(columns, replicates.y.shape[3])

        def importance(rows: int, number: int) -> Estimate:
            """Means of the terms from one adaptive sample over the doubled law."""
            return adaptive_importance_sampling(
                partial(_terms, model, vectorized, plan, centre, own=columns.own),
                doubled_law(law),
                rows,
                names=plan.term_names(outputs),
                seed=generator(run.root, "importance", number),
                executor=executor,
                progress=progress,
                checkpoint=_beside(checkpoint, f"importance-{number}"),
            )

        work = _Work(
            rule=rule,
            widen=widen,
            source=Source(TITLE, run.root, asked_for),
            began=began,
            importance=importance,
            root=run.root,
            points=points,
            points_may_fail=failures.tolerated,
            pairs=Pairs(plan, law, centre, outputs),
            replicates=replicates,
            polynomial=method != "qmc",
        )
        found = work.first(method, size)
        assert found.pairs is not None
        extension = _Extension(work, found.pairs, vectorized, failures)
        for calls in run.rounds(rule.most, most) if precision is None else []:
            found, extension = extension.further(run, model, calls)
    tell("sobol_indices", found.cautions)
    return replace(found, extension=extension)


def _beside(checkpoint: str | os.PathLike[str] | None, name: str) -> str | None:
    """A checkpoint beside that of a run; none where its folder was lost, which the run tells."""
    at = None if checkpoint is None else f"{os.fspath(checkpoint)}.{name}"
    try:
        check_checkpoint(at)
    except OSError:
        return None
    return at


@dataclass(frozen=True)
class _Extension:
    """What `SobolIndices.extend` goes on from: the work so far, and the pairs it gave."""

    work: _Work
    pairs: Pairs
    vectorized: bool
    failures: FailedRuns

    def __call__(
        self,
        model: Integrand,
        budget: int,
        *,
        executor: Executor | str | None = None,
        progress: bool | None = None,
    ) -> SobolIndices:
        """As `SobolIndices.extend`."""
        arguments.function("model", model, "of an array of inputs")
        check_same(model, self.work.source)
        calls = arguments.count("budget", budget, self.least)
        with open_run(
            partial(outputs_of, model, self.vectorized, self.failures, self.pairs.plan),
            executor=executor,
            progress=progress,
            seed=self.work.root,
            total=calls,
            description=TITLE,
            named="model",
        ) as run:
            found, extension = self.further(run, model, calls, executor)
        tell("sobol_indices", found.cautions)
        return replace(found, extension=extension)

    @property
    def least(self) -> int:
        """Calls that another scrambling takes."""
        size = 1 if self.pairs.means is not None else self.work.replicates.size
        return size * self.pairs.plan.calls

    def further(
        self, run: Run, model: Integrand, calls: int, executor: Executor | str | None = None
    ) -> tuple[SobolIndices, _Extension]:
        """The result after so many more calls, and what goes on from there."""
        if calls < self.least:
            raise ValueError(
                f"budget: got {calls} calls more; expected at least {self.least}, a scrambling"
            )
        before, pairs, work = self.work.replicates, self.pairs, self.work
        work = replace(work, source=work.source.after(calls), began=time.perf_counter(), learned={})
        if pairs.means is not None:
            at = self.vectorized, pairs.plan, pairs.centre
            terms = partial(_terms, model, *at, own=work.points.columns.own)
            rows = calls // pairs.plan.calls
            means = _quietly(pairs.means.extend, terms, rows, executor=executor, progress=False)
            found = _quietly(work.of_importance, means)
        else:
            plan, wide = pairs.plan, before.widening
            count = calls // (before.size * plan.calls)
            points = sobol_points(pairs.law, plan, run, count, work.points.columns, before.count)
            more = points.extended(None, before.size if wide is None else wide.plain)
            if wide is not None and more.size < before.size:
                more = points.extended(more, before.size, wide)
            work = replace(work, points=points, replicates=joined(before, more))
            found = _quietly(work.at_points)
        assert found.pairs is not None
        return found, replace(self, work=work, pairs=found.pairs)


def _planned(rule: Budget | Precision, per: int, method: str, law: Law) -> tuple[int, int, int]:
    """Scramblings, points of each in the pilot, and in all; 0 with a precision."""
    pairs, size = rule.most // per, 0
    if method == "importance":
        # the points serve as the pilot that centres
        return 4, max(1, 2 ** int(math.log2(max(pairs // 40, 4) // 4))), size
    if isinstance(rule, Precision):
        most = min(16, rule.most // (REPLICATES * per))
        return REPLICATES, 2 ** int(math.log2(max(most, 1))), size
    size = 2 ** int(math.log2(pairs // REPLICATES))
    # which unbounded inputs are drawn wider, a few points should tell
    least = 1 if np.isfinite(law.ranges).all() else min(2, size // 2)
    return pairs // size, max(size // 8, least, 1), size


def _terms(
    model: Integrand,
    vectorized: bool,
    plan: PickFreeze,
    centre: Array,
    inputs: Array,
    own: tuple[str, ...] | None = None,
) -> Array:
    """Terms of a block of pairs, given as rows (X, X'), shape (n, K * J); ``own`` are names of
    outputs, in order.
    """
    d = inputs.shape[1] // 2
    block = outputs_of(model, vectorized, FailedRuns(), plan, inputs[:, :d], inputs[:, d:])
    y = Columns(None, "model", own).aligned(block)
    y = np.moveaxis(y.reshape(len(inputs), plan.calls, -1) - centre, 1, 0)
    return plan.terms(y).reshape(len(inputs), -1)


def _quietly(make: Callable[..., Result], *given: Any, **named: Any) -> Result:
    """What is made on the way: its cautions are told once, of the result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        return make(*given, **named)


@dataclass
class _Work:
    """One run of `sobol_indices`: what it knows and what it has measured.

    ``pairs`` is the result's, without its draws; ``lost`` are calls that don't enter the result.
    """

    rule: Budget | Precision
    widen: bool | float | str
    source: Source
    began: float
    importance: Callable[[int, int], Estimate]
    root: np.random.SeedSequence
    points: SobolPoints
    points_may_fail: bool
    pairs: Pairs
    replicates: Replicates
    polynomial: bool = True
    widening: Widening | None = None  # of points to come
    lost: int = 0
    variances: dict[str, float] = field(default_factory=dict)
    concentration: float = math.nan
    learned: dict[tuple[int, int], tuple[Array, list[list[SparsePolynomial]]]] = field(
        default_factory=dict
    )

    @cached_property
    def basis(self) -> ProductBasis:
        """Of the polynomials."""
        return product_basis(self.pairs.law, self.widening)

    def first(self, method: str, size: int) -> SobolIndices:
        """Result of the first budget, by the method asked for."""
        if method != "importance":
            self.widening = self.widened()
        strict = not self.points_may_fail
        if method == "importance" or (method == "auto" and strict and self.concentrated(size)):
            return self.by_importance()
        return self.by_points(size)

    def extend(self, size: int) -> None:
        """Go on to so many points per scrambling."""
        self.replicates = self.points.extended(self.replicates, size, self.widening)

    def explained(self) -> Array:
        """Least share of the variance of each output (K,) that polynomials explain."""
        shares = np.array([min(p.explained for p in one) for one in self.corrected()[1]])
        return np.where(self.varied(), shares, 0.0)

    def varied(self) -> Array:
        """Outputs (K,) that vary at the points there are."""
        centre = self.pairs.centre
        return varies(self.replicates.means(centre).mean(0), centre)

    def corrected(self) -> tuple[Array, list[list[SparsePolynomial]]]:
        """Mean terms with polynomials at the points there are; asked for more than once."""
        at = self.replicates.count, self.replicates.size
        if at not in self.learned:
            found = corrected_means(self.replicates, self.pairs.centre, self.basis, self.root)
            self.learned = {at: found}
        return self.learned[at]

    def said(self, method: str, calls: int, **diagnostics: Any) -> dict[str, Any]:
        """What an estimate is told of the run."""
        return {
            "method": f"Sobol' indices, {method}",
            "diagnostics": {
                "variance_per_call": self.variances,
                "concentration": self.concentration,
                **diagnostics,
            },
            "cost": {"evaluations": calls, "seconds": time.perf_counter() - self.began},
            "provenance": self.source.provenance,
        }

    def by_points(self, size: int) -> SobolIndices:
        """Result of replicated points, with or without polynomials."""
        found: SobolIndices | None = None

        def stage(_: int) -> None:
            nonlocal found
            wanted = size
            if size:
                left = self.rule.most - self.lost
                self.replicates, wanted = self.replicates.at_most(left, size)
            elif found is not None:
                wanted = 2 * self.replicates.size
            if self.replicates.size < wanted:
                self.extend(wanted)
            found = _quietly(self.at_points)

        def standing(level: float) -> Standing:
            assert found is not None
            pairs, calls = self.replicates.count * self.replicates.size, self.replicates.calls
            # points double
            used, every = calls + self.lost, found.indices
            now = Standing.of(defined(every), level, pairs, used, calls)
            return now._replace(estimate=every)

        cautions = until_precise(self.rule, size, stage, standing, "calls", self.points.run)
        assert found is not None
        return _quietly(self.at_points, cautions) if cautions else found

    def at_points(self, cautions: Sequence[Caution] = ()) -> SobolIndices:
        """Result of the points there are."""
        replicates, pairs = self.replicates, self.pairs
        r, calls = replicates.count, replicates.calls + self.lost
        plain, varied = replicates.means(pairs.centre), self.varied()
        effective = float(replicates.effective(pairs.centre)[varied].min(initial=math.inf))
        method, table, extra = f"{r} scramblings of Sobol' points", plain, {}
        explained, lost = 0.0, bool(replicates.failed.any())
        if self.polynomial and not lost:
            table, used = self.corrected()
            explained = float(self.explained()[varied].min(initial=1.0))
            extra = {
                "polynomial_terms": [[len(p.coefficient) for p in one] for one in used],
                "polynomial_explains": [[p.explained for p in one] for one in used],
            }
            self.variances["qmc"] = self.largest_variance(plain) * calls
            self.variances["surrogate"] = self.largest_variance(table) * calls
            if any(not p.empty for one in used for p in one):
                method += " with polynomials as control variates"
        told = list(cautions)
        if self.points_may_fail:
            said_of, many = _failed(replicates)
            told, extra = [*told, *many], extra | said_of
        # what polynomials leave sits where few pairs are as well
        if effective < min(FEW_PAIRS, IDLE * r * replicates.size) and not explained > SOLVED:
            text = (
                f"the variance of the output is due to {effective:.2g} pairs of points in effect: "
                "intervals are not to be trusted; more calls would help, and method='importance' "
                "is made for such models"
            )
            told.append(Caution("idle-pairs", text))
        if replicates.widening is not None:
            marked = zip(pairs.law.names, replicates.widening.inputs, strict=True)
            extra["widened"] = [name for name, wide in marked if wide]
        wide = replicates.widening
        first = 2 * r * (replicates.size if wide is None else wide.plain)
        later = 2 * r * replicates.size - first
        told += [*self.tails(explained), *hardly_drawn(pairs.law, first, later, wide)]
        said = self.said(method, calls, replicates=r, points=replicates.size, **extra)
        means = _spread_of(table, cautions=told, **said)
        kept = replace(
            pairs, a=replicates.a, b=replicates.b, y=replicates.y, weight=replicates.weight
        )
        return indices_of(means, kept, replicates.scalar, method)

    def tails(self, explained: float) -> list[Caution]:
        """What to say of squared outputs far out, of whose variance polynomials explain a share."""
        replicates, law, centre = self.replicates, self.pairs.law, self.pairs.centre
        k = replicates.tail(centre)
        if k > (HEAVY_KNOWN if explained > KNOWN else HEAVY):
            text = (
                f"the squared output has a heavy tail, Pareto k-hat {k:.2f}: draws that have not "
                "been seen may matter more than the standard error says"
            )
        elif (far := replicates.beyond(centre, NEARER)) > FAR_SHARE:
            text = (
                f"{far:.1%} of the squared output come from inputs more than {NEARER:g} standard "
                "deviations out, and what is beyond the last draws may matter more than the "
                "standard error says"
            )
        else:
            return []
        endless = np.array([without_variance(m) for m in law.marginals or ()])
        if endless.any():
            text += (
                f"; the variance of {listed(law.names, endless)} is infinite, and so is that of an "
                "output which grows in proportion: it has no indices"
            )
        elif explained > SOLVED:
            return []
        return [Caution("heavy-tails", text)]

    def widened(self) -> Widening | None:
        """Which inputs are drawn wider than their laws from here on, by the points there are."""
        replicates, law = self.replicates, self.pairs.law
        if self.widen is False:
            return None
        values = rare_values(law)
        rare = np.array([v is not None for v in values])
        free = ~np.isfinite(law.ranges).all(0) & ~rare
        inputs, heavy, reach = self.far_inputs(free, bool(rare.any()))
        if not (inputs | rare).any():
            return None
        share = share_of(int((inputs | rare).sum()))
        if isinstance(self.widen, float):
            share = self.widen
        scales = scales_of(inputs, heavy)
        reaches = np.where((self.widen == "auto") & ~heavy, reach, FARTHEST)
        reaches = np.where(rare, math.inf, reaches)
        return Widening(scales, reaches, share, replicates.size, replicates.size, values)

    def far_inputs(self, free: Array, hidden: bool) -> tuple[Array, Array, float]:
        """Which of these unbounded inputs are drawn farther out, (d,), which have heavy tails, and
        how far out the others go; what matters may be ``hidden`` by rare values of others.
        """
        replicates, plan, law = self.replicates, self.pairs.plan, self.pairs.law
        if not free.any():
            return free, free, FARTHEST
        tail = replicates.tail(self.pairs.centre)
        heavy = free & heavy_tailed(law)
        if self.widen == "auto" and not hidden:
            many = not replicates.coarse.all()
            if not tail > TAIL and not (many and self.foreseen()):
                # so few outputs may not show a tail that the law is known to have
                ends = -math.inf < tail <= END
                free = heavy if many and not ends else np.zeros_like(heavy)
        table = replicates.means(self.pairs.centre).mean(0)[self.varied()]
        g = len(plan.inputs)
        variance = table[:, 1] - table[:, 0] ** 2
        totals = (table[:, 3 + g : 3 + 2 * g] / variance[:, None]).max(0, initial=0.0)
        of_input = np.where(free, totals @ plan.members, 0.0)
        least = -math.inf if hidden else np.where(heavy, HEAVY_MATTERS, MATTERS)
        inputs = free & foremost(of_input, least)
        # no farther than the tail of the outputs, or of an input, asks for: models may break
        reach = NEAREST if -math.inf < tail <= TAIL else NEARER if tail < FAR_TAIL else FARTHEST
        return inputs, heavy, reach

    def foreseen(self) -> bool:
        """Whether polynomials explain much of most outputs already: far out they need teaching."""
        varied = self.varied()
        if not self.polynomial or not varied.any() or self.replicates.failed.any():
            return False
        basis = product_basis(self.pairs.law)
        _, used = corrected_means(self.replicates, self.pairs.centre, basis, self.root)
        shares = np.array([np.median([p.explained for p in one]) for one in used])
        return bool(np.median(shares[varied]) > FORESEEN)

    def largest_variance(self, table: Array) -> float:
        """Of all indices, from mean terms of replicates (R, K, J); inf without variance."""
        varied = varies(table.mean(0), self.pairs.centre)
        if not varied.any():
            return math.inf
        means = _spread_of(table[:, varied])
        line = linearised(
            of_blocks(self.pairs.plan, int(varied.sum())), means.value, means.standard_error
        )
        return float(((line.slopes @ means.root()) ** 2).sum(1).max())

    def by_importance(self) -> SobolIndices:
        """Result of importance sampling; the points at hand serve as the pilot that centres."""
        self.lost += self.replicates.calls
        per, left = self.pairs.plan.calls, self.rule.most - self.lost
        rows, number, means = 0, 0, None
        first = left // per if isinstance(self.rule, Budget) else min(2_000, left // per)

        def stage(more: int) -> None:
            nonlocal rows, number, means
            # a run is used alone or not at all: what stopped the one before says nothing about it
            if means is not None:
                self.lost, number = self.lost + rows * per, number + 1
                more = min(max(rows + more, 100), (self.rule.most - self.lost) // per)
            rows = more
            means = _quietly(self.importance, rows, number)

        def standing(level: float) -> Standing:
            assert means is not None
            found = _quietly(self.of_importance, means).indices
            now = Standing.of(defined(found), level, rows, self.lost + rows * per, 100 * per)
            return now._replace(estimate=found)

        cautions = until_precise(self.rule, first, stage, standing, "calls", self.points.run)
        assert means is not None
        return _quietly(self.of_importance, means, cautions)

    def of_importance(self, means: Estimate, cautions: Sequence[Caution] = ()) -> SobolIndices:
        """Result of the means that importance sampling found."""
        calls = self.lost + int(means.cost["evaluations"]) * self.pairs.plan.calls
        method = "adaptive importance sampling of pairs"
        of_means = dict(means.diagnostics)
        outputs, centre = len(self.pairs.outputs), self.pairs.centre
        unseen = np.zeros(len(means)) if means.trials is None else means.trials
        varied = varies(means.value.reshape(outputs, -1), centre)
        # of an output that never varied one caution tells
        missed = unseen.reshape(outputs, -1)[varied].any()
        told = [c for c in means.cautions if missed or c.code != "no-hit"]
        ours = Estimate(
            means.value,
            means.covariance,
            names=means.names,
            degrees_of_freedom=means.degrees_of_freedom,
            cautions=[*told, *cautions],
            **self.said(method, calls, means=of_means),
        )
        kept = replace(self.pairs, means=means)
        return indices_of(ours, kept, self.replicates.scalar, method)

    def rare(self) -> tuple[Array, Array]:
        """Of outputs that vary, or of all where none does: so concentrated that importance sampling
        may win, and so much that no interval could be promised, (K',) each.
        """
        replicates, pairs = self.replicates, self.pairs
        varied = self.varied()
        # it may vary seldom
        which = varied if varied.any() else ~varied
        y = np.moveaxis(replicates.y - pairs.centre, 2, 0).reshape(pairs.plan.calls, -1, len(which))
        terms = pairs.plan.terms(y)[:, which, 1:]
        if replicates.weight is not None:
            terms *= replicates.weight.reshape(-1, 1, 1)
        size, square = np.abs(terms).mean(0), (terms**2).mean(0)
        # an input without effect has no terms
        found = np.divide(square, size**2, out=np.zeros_like(size), where=size**2 > 0).max(1)
        found = np.where(varied[which], found, 1e9)
        self.concentration = float(found.max())
        pairs_there = replicates.count * replicates.size
        share = replicates.effective(pairs.centre)[which] / pairs_there
        few = (share < IDLE) & (share * self.rule.most / pairs.plan.calls < FEW_PAIRS)
        return few | (found >= CONCENTRATED), few

    def concentrated(self, size: int) -> bool:
        """Whether importance sampling serves most outputs better than points do.

        So few points as in a pilot may say nothing of a polynomial: of outputs of many values up to
        half of ``size`` are taken to tell.
        """
        per, most = self.pairs.plan.calls, self.rule.most
        while True:
            rare, few = self.rare()
            if 2 * rare.sum() <= len(rare):
                return False
            varied, explained = self.varied(), self.explained()
            if varied.any():
                explained = explained[varied]
            hopeless = rare & (explained < np.where(few, PROMISING, EXPLAINED))
            if 2 * hopeless.sum() <= len(hopeless):
                return False
            more = 2 * self.replicates.size
            room = min(size / 2 if size else 8, most / (2 * self.replicates.count * per))
            seen = self.widening is None or self.replicates.size > self.widening.plain
            if more > room or (seen and not (varied & ~self.replicates.coarse).any()):
                break
            self.extend(more)
        if few[hopeless].all() and most - self.replicates.calls >= LEAST_ROWS * per:
            return True
        rows = max(most // per // 6, LEAST_ROWS)
        if 3 * rows * per > most - self.replicates.calls:
            return False
        return self.won(min(rows, 2_000), float(np.median(explained[hopeless])))

    def won(self, rows: int, explained: float) -> bool:
        """Whether a pilot of importance sampling beats that of the points by the variance, of which
        polynomials explain a share.
        """
        pilot = _quietly(self.importance, rows, 100)
        # few of the pilot's points may carry the output: the weighted sample knows better
        # what plain draws would give
        gain = np.asarray(pilot.diagnostics["gain_over_monte_carlo"], dtype=float)
        gain = gain.reshape(len(self.pairs.outputs), -1)[:, 1:]
        gain = np.delete(gain, 1, axis=1).ravel()
        ratio = float(np.median(gain[np.isfinite(gain)])) if np.isfinite(gain).any() else 0.0
        calls = rows * self.pairs.plan.calls
        try:
            trial = _quietly(self.of_importance, pilot)
            size = float(np.nanmax(trial.indices.variance)) * calls
        except DegeneracyError:
            size = ratio = 0.0
        ratio *= 1 - explained
        self.variances = {"importance": size, "points": size * ratio}
        self.lost += calls
        return ratio > 2


def _failed(replicates: Replicates) -> tuple[dict[str, Any], list[Caution]]:
    """What is said of failed runs, and a warning of many."""
    shares = replicates.failed_share
    share = Estimate(
        shares.mean(),
        shares.var(ddof=1) / len(shares),
        degrees_of_freedom=len(shares) - 1,
        bounds=(0.0, 1.0),
    )
    lower, upper = (float(end) for end in share.interval())
    if not shares.any():
        # of so many runs none failed
        upper = 3 / (2 * replicates.count * replicates.size)
    said = {"value": float(share.value), "lower": lower, "upper": upper}
    text = (
        f"{said['value']:.2g} of the law fails [{lower:.2g}, {upper:.2g}]: the indices are those "
        "of the inputs for which the model runs"
    )
    told = [Caution("failed-runs", text)] if said["value"] > MANY else []
    return {"failed_share": said, "first_failed": replicates.first_failed()}, told


def _checked_widen(widen: bool | float | str) -> bool | float | str:
    if widen is False or (isinstance(widen, str) and widen == "auto"):
        return widen
    if isinstance(widen, bool | str):
        raise ValueError(f"widen: got {widen!r}; expected 'auto', False or a share between 0 and 1")
    return arguments.number("widen", widen, 0, 1)


def _spread_of(table: Array, **said: Any) -> Estimate:
    """Means and their covariance from independent replicates (R, K, J)."""
    r = len(table)
    mean = table.mean(0)
    off = (table - mean) / math.sqrt(r * (r - 1))
    # replicates share what rounding does to the known means of polynomials
    sd = np.sqrt(np.maximum(mean[:, 1] - mean[:, 0] ** 2, 0.0))[:, None]
    least = ROUNDING * np.concatenate([sd, np.repeat(sd**2, mean.shape[1] - 1, axis=1)], axis=1)
    found = np.sqrt((off**2).sum(0))
    turns = np.where(np.arange(r) % 2, 1, -1)[:, None, None] / math.sqrt(r)
    off = np.where(found > 0, off / np.maximum(found, 1e-300), turns) * np.maximum(found, least)
    mean, factor = mean.ravel(), off.reshape(r, -1).T
    return Estimate(mean, factor=factor, degrees_of_freedom=r - 1, **said)
