"""Probabilities of failure, down to 1e-9 and with several ways to fail, from one sample.

`failure_probability` estimates P(g(X) <= c) for one or several limit-state functions g and
thresholds c. It starts with smoothed indicators Phi(-(g - c)/s): wide enough that draws of the
input law count, then narrower as fast as the draws allow (improved cross-entropy), every failure
region on the way. From there on it is `adaptive_importance_sampling` of the indicators: stages
until another no longer pays for itself, final independent draws, mixture components as control
variates, unbiased, the covariance that of a mean.

A region that was lost would show as an estimate low by a whole fraction with a comfortable error.
Two components look for it in every stage and in the final sample: the input law itself, and a
normal law as wide in every direction as the failures found are far.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from .. import arguments
from ..cautions import Caution, tell
from ..errors import ModelError
from ..estimate import Estimate
from ..execution import first_budget, open_run
from ..randomness import Seed, generator
from ..stopping import Budget, Precision, check_least, stopping_rule
from .adaptation import MOST_ADAPTATION, Adaptation, Adapted, Goal, prepared
from .control_variates import Asked
from .extension import Extension, Source
from .failed_runs import (
    OF_EVENTS,
    FailedRuns,
    answer,
    checked_policy,
    quieted,
    reported,
    with_share,
)
from .failure_regions import FEW_INPUTS, MANY_INPUTS, densities_towards, fit_regions, smoothed
from .final_draws import Final, finish, further
from .integrand import Columns, Integrand, expectation_names, units_of
from .laws import as_law
from .mixing import family_of, fit_components, starting_components
from .proposals import Component, Elliptical, Kernels, WorkingSpace
from .stages import History, joined, split
from .verdict import listed, report

METHOD = "failure probability"
MOST_LEVELS = 0.4  # share of the budget that may go into the approach
MOST_SEARCH = 0.5  # the same with the search for what it may have lost
ENOUGH = 0.3  # draws of a level's size that its smoothed indicators have to be worth
MOST_REGIONS = 20
ENOUGH_DRAWS = 60.0  # that a smoothed indicator away from the regions is worth, for a fit,
FEW_DRAWS = 20.0  # and for a bound in few inputs, where draws get everywhere
AWAY = 0.6  # farther towards a region than this part of its distance is its own
DOUBTFUL = 0.2  # of the probability: to be told when it stays unknown
NEGLIGIBLE = 0.02  # of the probability: what may stay unknown away from the regions
SYSTEMS = {"series": np.min, "parallel": np.max}


@dataclass(frozen=True)
class _Events:
    """What counts as failure: every limit state at every threshold, and the system."""

    thresholds: np.ndarray  # (T,)
    several: bool  # whether they came as a sequence
    system: str | None
    failures: FailedRuns

    def margins(self, g: np.ndarray) -> np.ndarray:
        """Margins (n, J) of g (n, C), negative or zero where event j occurs."""
        columns = g
        if self.system is not None:
            whole = SYSTEMS[self.system](g, axis=1, keepdims=True)
            columns = np.concatenate([g, whole], axis=1)
        return self.failures.margins((columns[:, :, None] - self.thresholds).reshape(len(g), -1))

    def indicators(self, g: np.ndarray) -> np.ndarray:
        """Zeros and ones (n, J) of g (n, C)."""
        return (self.margins(g) <= 0).astype(np.float64)

    def names(self, known: Columns, columns: int, scalar: bool) -> tuple[str, ...]:
        """Names of the J events of so many limit states: those given, or P(g <= 0), ..., with the
        function's own names of its columns.
        """
        given = known.given
        if self.system is not None and columns < 2:
            raise ModelError(
                f"limit_state: returned one value per input; a {self.system} system needs several"
            )
        states = ["g"] if scalar else [f"g{i + 1}" for i in range(columns)]
        states = states if known.own is None else list(known.own)
        if self.system is not None:
            states.append(f"{self.system} system")
        ours = [f"P({state} <= {t + 0.0:g})" for state in states for t in self.thresholds]
        if given is not None or (scalar and not self.several):
            return expectation_names(given, len(ours), scalar)
        return tuple(ours)


@dataclass(frozen=True)
class _Seen:
    """What all draws so far say of the events: points, weights f/h and margins."""

    u: np.ndarray  # (n, d)
    weight: np.ndarray  # (n,)
    margins: np.ndarray  # (n, J)

    @property
    def failed(self) -> np.ndarray:
        """Which draws are failures, (n, J)."""
        return self.margins <= 0

    def outside(self, regions: tuple[Elliptical, ...]) -> np.ndarray:
        """Weights (n,) of the draws away from the regions, 0 elsewhere."""
        directions = np.array([r.mean for r in regions]).reshape(-1, self.u.shape[1])
        return self.weight * (self.u @ directions.T < AWAY * (directions**2).sum(1)).all(1)

    def bound(self, weight: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Twice the means (J,) of the smoothed indicators, and those of the indicators."""
        pairs = zip(self.margins.T, scales, strict=True)
        tables = [2 * ndtr(-m / s) if s > 0 else m <= 0 for m, s in pairs]
        return (
            np.array([float((weight * table).mean()) for table in tables]),
            (weight[:, None] * self.failed).mean(0),
        )


def _seen(history: History, events: _Events) -> _Seen:
    raw = joined(history.stages, "raw")
    weight = np.exp(history.log_f - history.log_h)
    if not events.failures.tolerated:
        weight = np.where(np.isnan(raw).any(1), 0.0, weight)
        raw = np.nan_to_num(raw)
    return _Seen(history.u, weight, events.margins(raw))


@dataclass
class _Hunt:
    """Stages towards the events, and the regions of failure that these found.

    ``levels`` and ``searches`` are what is said of the stages; ``further`` regions are those that
    the approach had lost, ``kernels`` those of a kernel density that its last level was drawn with.
    """

    adaptation: Adaptation
    events: _Events
    history: History = field(default_factory=History)
    levels: list[dict[str, Any]] = field(default_factory=list)
    searches: list[dict[str, Any]] = field(default_factory=list)
    regions: tuple[Elliptical, ...] = ()
    further: tuple[Elliptical, ...] = ()
    kernels: tuple[Kernels, ...] = ()

    @property
    def found(self) -> tuple[Elliptical, ...]:
        """All regions."""
        return self.further + self.regions

    @property
    def space(self) -> WorkingSpace:
        """Where the draws are."""
        return self.adaptation.sampler.space

    @property
    def by_region(self) -> bool:
        """Whether regions are fitted one by one; else stages come from the family's mixtures."""
        return self.adaptation.family == "auto" and self.space.law.mapped

    @property
    def told_by_margins(self) -> bool:
        """Whether margins of a law known by draws and density bound what no draw has shown."""
        law = self.space.law
        if law.mapped or law.kernels is not None:
            return False
        margins = _seen(self.history, self.events).margins
        # those of limit states that only say whether they failed lead nowhere
        return all(len(np.unique(m)) > 2 for m in margins.T)

    def draw(
        self, name: str, densities: tuple[Component, ...], weights: np.ndarray, size: int
    ) -> None:
        """Add a stage."""
        self.history.add(self.adaptation.sampler.draw(name, densities, split(size, weights)))

    def rng(self, name: str, number: int) -> np.random.Generator:
        """Random numbers for a fit."""
        return generator(self.adaptation.sampler.run.root, name, number)

    def approach(self, size: int, most: int) -> None:
        """Stages with ever narrower smoothing, until each event was hit often enough."""
        space, given = self.space, self.adaptation.given
        densities: tuple[Component, ...] = (space, *given)
        weights = starting_components(space, given, 1).share
        need = float(np.clip(12 * (space.law.dimension + 1), 60, 150))
        family, first = self.adaptation.family, size
        if given and isinstance(given[-1], Kernels):
            # a kernel never visited can't be told from one far from failure
            family, weights = "kernels", np.append(np.full(len(given), 0.2 / len(given)), 0.8)
            first = max(size, min(int(1.25 * len(given[-1].points)), most // 2))
        if self.by_region:
            need = max(need, ENOUGH * size)
        for number in range(1, 100):
            self.draw(f"level {number}", densities, weights, first if number == 1 else size)
            seen = _seen(self.history, self.events)
            scales, t = smoothed(seen.margins, seen.weight, need)
            failures = self.history.stages[-1].values.mean(0)
            self.levels.append(
                {
                    "draws": len(self.history.stages[-1]),
                    "scales": scales.tolist(),
                    "failures": failures.tolist(),
                }
            )
            rng = self.rng("level fit", number)
            if self.by_region:
                self.regions = fit_regions(seen.u, (t / t.sum(0)).sum(1), rng)
            if not scales.any() or len(self.history) + size > most:
                break
            if self.by_region:
                densities, weights = densities_towards(space, given, self.regions, seen.u, t, rng)
                continue
            components = fit_components(
                space,
                seen.u,
                t,
                seen.weight,
                1 / np.maximum(t.mean(0), 1e-300) ** 2,
                family=family,
                shared=False,
                given=given,
                fixed=np.zeros(t.shape[1], dtype=bool),
                events=True,
                round_number=number,
                rng=rng,
            )
            densities = components.densities
            # what a smoothed event was drawn with reaches kernels that the event itself seldom hits
            fitted = densities[1 + len(given) :]
            self.kernels = tuple(g for g in fitted if isinstance(g, Kernels))
            weights = np.maximum(components.share, components.least)
            weights = weights / weights.sum()
            size = max(size, 4 * len(densities))

    def search(self, size: int, most: int) -> None:
        """Stages towards failures away from the regions found, which the approach may have lost.

        P(g <= 0) is at most 2 E[Phi(-g/s)] for every s: narrower smoothing goes on, away from the
        regions, until this bound is small beside the probability found.
        """
        for number in range(1, 100):
            seen = _seen(self.history, self.events)
            outside = seen.outside(self.regions)
            if not outside.any():
                break
            scales, t = smoothed(seen.margins, outside, ENOUGH_DRAWS)
            bound, known = seen.bound(outside, scales)
            value = (seen.weight[:, None] * seen.failed).mean(0)
            open_ = bound > NEGLIGIBLE * value
            self.searches.append(
                {"scales": scales.tolist(), "bound": bound.tolist(), "known": known.tolist()}
            )
            if not open_.any():
                break
            t, rng = t[:, open_], self.rng("search fit", number)
            # the last that were fitted: where calls end, as near to failure as the search got
            self.further = found = fit_regions(seen.u, (t / t.sum(0)).sum(1), rng)
            if not scales[open_].any() or len(self.history) + size > most:
                break
            if self.space.law.dimension > MANY_INPUTS and number > 1:
                # what draws can't close they need not be spent on
                before = np.array(self.searches[-2]["bound"])
                if (bound > 0.7 * before)[open_].any():
                    break
            densities, weights = densities_towards(self.space, (), found, seen.u, t, rng)
            self.draw(f"search {number}", densities, weights, size)

    def doubts(self, final: Final, names: Sequence[str]) -> list[Caution]:
        """What to say where too much of an event's probability is unexplored after all draws."""
        by_draws = not self.searches and self.told_by_margins
        if not self.searches and not by_draws:
            return []
        last = self.searches[-1] if self.searches else {}
        # one more where runs may fail: their share
        means = final.mean.value[: len(self.history.common.unit)]
        value = np.abs(self.history.common.original(means))
        if last and not _unsure(np.array(last["bound"]), np.array(last["known"]), value).any():
            return []
        # the search wants regions it can fit; few draws tell that there is none to fit
        every = replace(self.history, stages=list(self.history.stages))
        for stage in final.rounds:
            every.add(stage)
        seen, found = _seen(every, self.events), self.found
        if by_draws and seen.failed.any():
            t = seen.weight[:, None] * seen.failed
            found = fit_regions(
                seen.u, (t / np.maximum(t.sum(0), 1e-300)).sum(1), self.rng("seen", 0)
            )
        outside = seen.outside(found)
        bound, known = np.zeros_like(value), np.zeros_like(value)
        if outside.any():
            need = FEW_DRAWS if seen.u.shape[1] <= FEW_INPUTS else ENOUGH_DRAWS
            bound, known = seen.bound(outside, smoothed(seen.margins, outside, need)[0])
        last |= {"bound": bound.tolist(), "known": known.tolist()}
        unsure = _unsure(bound, known, value)
        if not unsure.any():
            return []
        ratio = float((bound / np.maximum(value, 1e-300))[unsure].max())
        share = f"{ratio:.0%} of" if ratio < 10 else "many times"
        why = "calls for the search of further failure regions ran out"
        if by_draws:
            why = "too few draws are near failure away from the failures found"
        text = (
            f"{listed(names[: len(unsure)], unsure)}: {why}; a region that was missed may add up "
            f"to {share} the probability found. More calls would help"
        )
        return [Caution("unexplored-regions", text)]


def _unsure(bound: np.ndarray, known: np.ndarray, value: np.ndarray) -> np.ndarray:
    # where nothing is left to find, failures make up half of the bound
    return np.asarray((bound > DOUBTFUL * value) & (known < 0.4 * bound) & (value > 0))


def _design_points(
    history: History, space: WorkingSpace
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every event: the most likely failure found as inputs and as reliability index, and the
    squared cosines of its direction; NaN for events without failures.
    """
    u, values = history.u, history.values
    t = history.targets()
    j, d = values.shape[1], u.shape[1]
    point, index, factors = np.full((j, d), np.nan), np.full(j, np.nan), np.full((j, d), np.nan)
    radius = np.sqrt((u**2).sum(1))
    for k in range(j):
        failed = np.flatnonzero(t[:, k] != 0)
        if len(failed) == 0 or np.median(radius) == 0:
            continue
        nearest = failed[radius[failed].argmin()]
        towards = u[nearest] / radius[nearest]
        # one draw is noisy in many dimensions: the mean of the failures on its side is less so
        near = failed[u[failed] @ towards > 0.5 * radius[failed]] if len(failed) > 20 else failed
        mean = np.abs(t[near, k]) @ u[near]
        length = np.linalg.norm(mean)
        e = mean / length if length > 0 else towards
        along = u[failed] @ e
        cosine = along / radius[failed]
        index[k] = along[cosine > 0.9 * cosine.max()].min()
        factors[k] = e**2
        point[k] = space.to_inputs((index[k] * e)[None])[0]
    return point, index, factors


def _found_regions(adaptation: Adaptation, events: _Events) -> _Hunt:
    """Approach and search, within their shares of the budget."""
    hunt, goal = _Hunt(adaptation, events), adaptation.goal
    budgeted = goal.most if isinstance(goal.rule, Budget) else min(goal.most, 50_000)
    # adaptation wants a stage of its own afterwards
    room = int(MOST_ADAPTATION * budgeted) - adaptation.size
    size = min(int(np.clip(budgeted // 20, 100, 1_000)), room)
    hunt.approach(size, min(int(MOST_LEVELS * budgeted), room))
    if hunt.by_region:
        hunt.search(size, min(int(MOST_SEARCH * budgeted), room))
    return hunt


def _checked_thresholds(threshold: ArrayLike) -> np.ndarray:
    thresholds = arguments.real("threshold", threshold)
    if thresholds.ndim > 1 or thresholds.size == 0 or not np.isfinite(thresholds).all():
        raise ValueError(
            f"threshold: got {threshold!r}; expected a finite number or a sequence of these"
        )
    if len(np.unique(thresholds)) < thresholds.size:
        raise ValueError(f"threshold: got {threshold!r}; expected different numbers")
    return thresholds


def failure_probability(
    limit_state: Integrand,
    law: object,
    budget: int | None = None,
    *,
    threshold: ArrayLike = 0.0,
    system: str | None = None,
    failed: str = "raise",
    failed_exceptions: Sequence[type[Exception]] = (),
    precision: Precision | None = None,
    proposal: object = "auto",
    control_variates: Asked = True,
    vectorized: bool = True,
    names: Sequence[str] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Estimate:
    """Probability that a limit state is at or below its threshold: P(limit_state(X) <= threshold).

    For probabilities down to 1e-9 the limit state is called within 8 or 9 standard deviations of
    every input, for those above 1e-4 within 7; a model that breaks nearer wants laws that end
    there, see `smcweights.Truncated`.

    Parameters
    ----------
    limit_state : callable
        (n, d) array of inputs -> (n,) or, for several limit states, (n, C); finite numbers,
        negative or zero meaning failure at threshold 0. With ``vectorized=False``: one input of
        shape (d,) -> number or (C,). Columns of a DataFrame and entries of a dict of arrays name
        the limit states.
    law : law
        Law of the inputs, as for `adaptive_importance_sampling`.
    budget : int, at least 200
        Calls of the limit state (rows), everything included; give this or ``precision``.
    threshold : float or array_like of shape (T,), default 0
        Each limit state is judged at each threshold: C T events, those of a limit state together.
    system : {None, "series", "parallel"}
        Adds the event that any limit state fails, or that all of them do.
    failed : {"raise", "exclude", "bounds", "failure", "safe"}
        What a run of the limit state counts as that gave NaN or an infinite value. "raise": it ends
        everything. "failure" and "safe": as that. "exclude": the answer is the probability given
        that the limit state ran. "bounds": the interval reaches from the lower end of the answer
        with such runs as safe to the upper end of that with them as failures.
    failed_exceptions : sequence of exception classes, optional
        Exceptions of the limit state that count as failed runs.
    precision : Precision, optional
        Run until every interval is as narrow as asked.
    proposal, control_variates, vectorized, names, seed, executor, progress, checkpoint
        As for `adaptive_importance_sampling`.

    Returns
    -------
    Estimate
        Of shape () for one limit state, one threshold and no system, otherwise (J,). An event that
        was never hit is 0 with an upper limit and a warning. Diagnostics: ``levels`` (the scales
        of the smoothed indicators), ``stages``, and what first-order reliability analysis reports:
        ``design_points`` (J, d), near the most likely failure, ``design_index`` (J,), its
        distance from the centre in standard-normal space, and ``importance_factors`` (J, d),
        squared direction cosines, which sum to 1; and what is said of failed runs. The sample
        keeps the limit state itself, as ``returned``. `Estimate.extend` goes on with more calls.

    Raises
    ------
    ModelError, ValueError, TypeError
        As for `adaptive_importance_sampling`.

    Warns
    -----
    PrecisionWarning
        A standard error can't be promised: no hit, few draws that matter, heavy tails; or calls
        ran out before the search for further failure regions had ended, as they may below some
        thousands of calls, and in many inputs, even where there is one region only.

    References
    ----------
    Papaioannou, Geyer & Straub (2019), Improved cross entropy-based importance sampling with a
    flexible mixture model, Reliab. Eng. Syst. Saf. 191; Demange-Chryst, Bachoc & Morio (2023),
    arXiv 2212.00568.

    Examples
    --------
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> estimate = smw.failure_probability(
    ...     lambda x: 6 - x.sum(axis=1) / 2**0.5, [stats.norm()] * 2, 5_000, seed=1
    ... )
    >>> lower, upper = estimate.interval()
    >>> bool(lower < stats.norm.sf(6) < upper)
    True
    """
    arguments.function("limit_state", limit_state, "of an array of inputs")
    vectorized = arguments.flag("vectorized", vectorized)
    law = as_law(law)
    names = arguments.names(names)
    rule = stopping_rule(budget, precision)
    most = rule.most
    check_least(rule, 200, "calls")
    if precision is None:
        rule = Budget(first_budget(checkpoint, most))
    failures = checked_policy(failed, failed_exceptions, None, OF_EVENTS)
    goal = Goal(rule, copies=2 if failed == "bounds" else 1)
    thresholds = _checked_thresholds(threshold)
    arguments.one_of("system", system, (None, *SYSTEMS))
    events = _Events(thresholds.reshape(-1), thresholds.ndim > 0, system, failures)
    family, start = family_of(proposal, law)
    asked_for = {
        "law": law,
        "limit_state": limit_state,
        "threshold": thresholds.tolist(),
        "system": system,
        "budget": goal.most if precision is None else None,
        "precision": precision,
        "proposal": start[0] if start else proposal,
        "control_variates": control_variates,
        "vectorized": vectorized,
        "names": names,
        **failures.asked_for,
    }

    began = time.perf_counter()
    with open_run(
        failures.caller(limit_state, vectorized, "limit_state"),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=asked_for,
        seed=seed,
        total=most if precision is None else None,
        description=METHOD,
    ) as run:
        known = Columns(names, "limit_state")
        adaptation = prepared(
            run,
            law,
            goal,
            family,
            start,
            control_variates,
            remedy="expected a normalised one",
            vectorized=vectorized,
            check=partial(events.names, known),
            derived=events.indicators,
            tolerant=failures.tolerated,
            columns=known,
        )
        hunt = _found_regions(adaptation, events)
        history, first = hunt.history, hunt.history.stages[0]
        # only draws of the input law tell which outcome is the usual one
        history.settle(units_of(first.values[: first.counts[0]]))
        # a stage has to hold these and those that adaptation fits
        kept = hunt.found[: max(0, min(MOST_REGIONS, adaptation.size // 4 - 28))]
        adaptation = replace(adaptation, given=adaptation.given + kept + hunt.kernels[:2])
        assert first.raw is not None
        base = events.names(known, first.raw.shape[1], first.scalar)
        account = _Account(hunt, base, first.scalar and not events.several, vectorized)
        final = account.finished(adaptation, adaptation.adapt(history))
        rounds = run.rounds(goal.most, most) if precision is None else []
        if rounds:
            final = further(final, run, rounds, account.named, account.looked)
        source = Source(METHOD, run.root, asked_for, tuple(rounds))
    return account.report(final, source, began)


@dataclass(frozen=True)
class _Account:
    """What a run says of its draws; ``base`` are the names of the events."""

    hunt: _Hunt
    base: tuple[str, ...]
    scalar: bool
    vectorized: bool

    @property
    def failures(self) -> FailedRuns:
        """What becomes of runs that fail."""
        return self.hunt.events.failures

    @property
    def looked(self) -> bool:
        """Whether margins lead to every kernel of a kernel density, or tell what was missed."""
        adaptation = self.hunt.adaptation
        kernels = adaptation.sampler.space.law.kernels is not None
        return (kernels and adaptation.family == "auto") or self.hunt.told_by_margins

    def named(self, *_: object) -> tuple[str, ...]:
        """Names of all expectations."""
        return self.failures.named(self.base)

    def finished(self, adaptation: Adaptation, adapted: Adapted) -> Final:
        """Final draws."""
        if not self.failures.tolerated:
            return finish(adaptation, adapted, self.named, self.looked)
        view = partial(answer, failed=self.failures, scalar=self.scalar)
        return finish(*with_share(adaptation, adapted), self.named, self.looked, view)

    def report(self, final: Final, source: Source, began: float) -> Estimate:
        """The estimate, told of and ready to go on."""
        hunt, names, count = self.hunt, self.named(), len(self.base)
        rounds = [replace(stage, scalar=self.scalar) for stage in final.rounds]
        final = replace(final, rounds=rounds)
        point, index, factors = _design_points(hunt.history, hunt.space)
        evidence = final.evidence(names)
        if self.failures.tolerated:
            evidence = quieted(evidence)
        estimate = report(
            evidence,
            [*hunt.doubts(final, names), *final.cautions],
            method=METHOD,
            evaluations=final.evaluations,
            began=began,
            source=source.provenance,
            diagnostics={
                **final.diagnostics,
                "levels": hunt.levels,
                "searches": hunt.searches,
                "design_points": point[:count],
                "design_index": index[:count],
                "importance_factors": factors[:count],
            },
        )
        if self.failures.tolerated:
            estimate = reported(estimate, self.failures, self.base, self.scalar)
        tell("failure_probability", estimate.cautions)
        caller = partial(self.failures.caller, vectorized=self.vectorized)
        more = Extension(final.slim, source, caller, self.report, self.named, self.looked)
        return estimate.revised(extension=more)
