"""Stages of adaptation: draw, fit, weigh, until another stage no longer pays for itself.

Each stage is drawn from a mixture fitted to all draws before it, with coefficients of the control
variates learned before it too; what its draws say of that mixture is therefore fair, and the best
mixture measured is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from scipy.special import stdtrit

from ..execution import Run
from ..randomness import generator
from ..regression import Choice, Moments, coefficients, moments, select
from ..stopping import Budget, Precision
from .control_variates import Asked, Controls, Ratios, choices_of, prepare_controls, ratios_of
from .integrand import Columns, Units
from .laws import Law
from .mixing import (
    FEW_HITS,
    Components,
    criterion,
    fit_components,
    mixture_weights,
    starting_components,
)
from .proposals import (
    Component,
    Given,
    check_normalised,
    kernels_of,
    working_space,
)
from .stages import History, Sampler, Stage, effective_draws, split

MOST_STAGE = 5_000
MOST_ADAPTATION = 0.6  # share of a budget


@dataclass(frozen=True)
class Goal:
    """What adaptation works for: an objective and a budget, or a precision."""

    rule: Budget | Precision
    objective: str | np.ndarray = "max-relative"
    copies: int = 1  # how often each value of the function is among the expectations

    @property
    def most(self) -> int:
        """Calls there are."""
        return self.rule.most

    def stage_size(self, dimension: int) -> int:
        """Draws in a stage of adaptation; more stages teach more than larger ones."""
        least = max(40 * (min(dimension, 20) + 2), 200)
        wanted = max(least, self.most // 20 if isinstance(self.rule, Budget) else 500)
        return min(wanted, self.most // 5, MOST_STAGE)

    def judge(self, units: Units) -> Judge:
        """The same for values in these units."""
        if isinstance(self.rule, Precision):
            # all components at once
            return Judge(self.rule, units, "max-relative", self.copies)
        unit = units.unit / units.unit.max()
        if isinstance(self.objective, np.ndarray):
            return Judge(self.rule, units, self.objective * unit**2)
        return Judge(self.rule, units, unit**2 if self.objective == "sum" else self.objective)


@dataclass(frozen=True)
class Judge:
    """A goal for values in some units; ``kind`` is the objective of `mixing.criterion`."""

    rule: Budget | Precision
    units: Units
    kind: str | np.ndarray
    copies: int = 1

    def scale(self, value: np.ndarray, variance: np.ndarray, draws: int) -> np.ndarray:
        """Squared size against which a variance is judged, (J,)."""
        if isinstance(self.rule, Precision):
            values = np.split(self.units.original(value), self.copies)
            half = np.concatenate([self.rule.allowed(v) for v in values]) / self.units.unit
            return np.maximum((half / quantile(self.rule.level)) ** 2, 1e-300)
        return np.maximum(np.maximum((value + self.units.centre) ** 2, variance / draws), 1e-300)

    def importance(self, scale: np.ndarray) -> np.ndarray:
        """Weights (J,) of the expectations for what they share."""
        return self.kind if isinstance(self.kind, np.ndarray) else 1 / scale

    def criterion(self, variance: np.ndarray, scale: np.ndarray) -> float:
        """What a mixture is judged by; infinite while an expectation has not been seen."""
        return criterion(variance, scale, self.kind)[0] if np.isfinite(variance).all() else np.inf

    def outlook(self, criterion: float, used: int) -> float:
        """Lower is better: squared error at the end of the budget, or calls to the precision."""
        if isinstance(self.rule, Precision):
            return used + criterion
        return criterion / max(self.rule.total - used, 1)


def quantile(level: float, degrees_of_freedom: float | np.ndarray = np.inf) -> np.ndarray:
    """Two-sided Student quantile."""
    return stdtrit(degrees_of_freedom, 0.5 + level / 2)


def learned(
    ratios: Ratios,
    mixture: np.ndarray,
    shift: np.ndarray,
    choices: Sequence[Choice],
    folds: int = 10,
    chosen: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, Moments]:
    """Choice per expectation, its coefficients, and the moments of all draws.

    Moments are weighted for draws of the mixture; folds of the draws are interleaved. What was
    ``chosen`` is not chosen again.
    """
    t, z, weights = ratios.controls(mixture)
    folds = folds if chosen is None else 1
    parts = [moments(z[f::folds], t[f::folds] - shift, weights[f::folds]) for f in range(folds)]
    chosen = select(parts, choices) if chosen is None else chosen
    total = reduce(add, parts)
    b = np.zeros_like(total.zt)
    for c in np.unique(chosen):
        b[:, chosen == c] = coefficients(total, choices[c])[:, chosen == c]
    return chosen, b, total


def history_ratios(history: History, components: Components, controls: Controls) -> Ratios:
    """Ratios at all draws of a history."""
    return ratios_of(history, history.log_densities(components.densities), controls)


@dataclass(frozen=True)
class _Trial:
    """A mixture with coefficients learned before its own draws, and what these say of it.

    ``variance`` (J,) per draw, judged against ``scale`` (J,) by ``criterion``; ``noise`` its
    relative standard error; ``used`` calls so far.
    """

    components: Components
    weights: np.ndarray
    coefficient: np.ndarray
    variance: np.ndarray
    noise: float
    used: int
    scale: np.ndarray
    criterion: float

    def foreseen(self, history: History, controls: Controls) -> np.ndarray:
        """Variance per draw (J,) by all draws, which may have found what its own missed."""
        ratios = history_ratios(history, self.components, controls)
        t, z, w = ratios.controls(self.weights)
        r = t - history.targets().mean(0) - z @ self.coefficient
        return np.maximum(self.variance, w @ r**2 / len(w))


@dataclass(frozen=True)
class Adapted:
    """The mixture adaptation ended with, and how it came about."""

    components: Components
    weights: np.ndarray
    expected: float  # criterion per draw
    hardly: np.ndarray  # (J,): expectations hardly seen
    trials: np.ndarray  # (J,): draws of the input law, for expectations never seen
    history: History
    stages: list[dict[str, Any]]  # what is said of each stage
    stopped: str  # why there was no other

    @property
    def doubted(self) -> np.ndarray:
        """Estimates (J,) of those hardly seen, NaN for others, in the history's units."""
        return np.where(self.hardly, self.history.targets().mean(0), np.nan)


@dataclass(frozen=True)
class Adaptation:
    """Stages until another no longer pays for itself: what they have in common.

    ``family`` and ``shared`` are `mixing.fit_components`'s; ``given`` densities of the user's.
    """

    sampler: Sampler
    controls: Controls
    goal: Goal
    family: str
    shared: bool = False
    given: tuple[Component, ...] = ()

    @property
    def size(self) -> int:
        """Draws in a stage."""
        return self.goal.stage_size(self.sampler.space.law.dimension)

    def adapt(self, history: History | None = None) -> Adapted:
        """All stages; ``history`` may bring some drawn before, in units of its own."""
        history = History(log=self.sampler.log) if history is None else history
        told: list[dict[str, Any]] = []
        best, idle = None, 0
        if not history.stages:
            best = self._first(history, told)
        stopped = "the share of the budget meant for adaptation was used up"
        for number in range(len(history.stages) + 1, 100):
            if len(history) + self.size > MOST_ADAPTATION * self.goal.most:
                break
            components = self._fitted(history, number)
            if self.size < 4 * len(components.densities):
                stopped = "a stage would be too small for its mixture"
                break
            units = history.units
            trial = self._next(history, components, number, told)
            if best is None or history.units is not units:
                # others were measured on what is next to nothing now
                best, idle = trial, 0
                continue
            judge = self.goal.judge(history.common)
            before = judge.criterion(best.foreseen(history, self.controls), trial.scale)
            gain = judge.outlook(before, best.used) * (1 - min(trial.noise, 0.5))
            worth = judge.outlook(trial.criterion, trial.used) <= gain
            if trial.criterion < before or not np.isfinite(before):
                best = trial
            idle = 0 if worth or not np.isfinite(trial.criterion) else idle + 1
            if idle == 2:
                stopped = "another stage would cost more than it gains"
                break
        assert best is not None, "a history leaves room for a stage"
        return self._ended(best, history, told, stopped)

    def _first(self, history: History, told: list[dict[str, Any]]) -> _Trial:
        """A stage from the input law and densities of the user's."""
        space = self.sampler.space
        weights = np.full(1 + len(self.given), 1 / (1 + len(self.given)))
        drawn = self.sampler.draw("stage 1", (space, *self.given), split(self.size, weights))
        stage = history.measured(drawn)
        history.add(stage)
        components = starting_components(space, self.given, stage.values.shape[1])
        ratios = history_ratios(history, components, self.controls)
        choices = choices_of(self.controls, components, len(history))
        value = history.targets().mean(0)
        coefficient = learned(ratios, stage.mixture.weights, value, choices)[1]
        return self._measured(stage, history, components, coefficient, told)

    def _fitted(self, history: History, number: int) -> Components:
        """Components for the next stage."""
        t, values = history.targets(), history.values
        judge = self.goal.judge(history.common)
        return fit_components(
            self.sampler.space,
            history.u,
            t,
            np.exp(history.log_f - history.log_h),
            judge.importance(judge.scale(t.mean(0), t.var(0), len(history))),
            family=self.family,
            shared=self.shared,
            given=self.given,
            fixed=history.common.level != 0,
            events=bool(((values == values.min(0)) | (values == values.max(0))).all()),
            round_number=number - 1,
            rng=generator(self.sampler.run.root, "fit", number),
        )

    def _next(
        self, history: History, components: Components, number: int, told: list[dict[str, Any]]
    ) -> _Trial:
        """A stage from the best mixture of the components."""
        weights, coefficient = self._weights(history, components)
        counts = split(self.size, weights)
        drawn = self.sampler.draw(f"stage {number}", components.densities, counts)
        stage = history.measured(drawn)
        history.add(stage)
        coefficient = coefficient * history.ratio
        return self._measured(stage, history, components, coefficient, told)

    def _weights(self, history: History, components: Components) -> tuple[np.ndarray, np.ndarray]:
        """Mixture weights (K,) and control coefficients (K + E, J) from all draws so far."""
        ratios = history_ratios(history, components, self.controls)
        n, k = len(ratios.targets), ratios.size
        value = ratios.targets.mean(0)
        weights, choices = components.share, choices_of(self.controls, components, n)
        chosen: np.ndarray | None = None
        if k > 1:
            judge = self.goal.judge(history.common)
            crude = (ratios.targets * history.values).mean(0) - value**2
            scale = judge.scale(value, ratios.targets.var(0), n)
            # a mean needs draws of the input law itself, some 200 of them
            floor = components.least.copy()
            floor[0] = max(floor[0], min(0.4, 200 / max(self.goal.most - n, 1)))
            if self.controls.components:
                # a component whose share vanishes would make a control without a variance
                floor = np.maximum(floor, max(0.005, 0.1 / k))
            for _ in range(2):
                chosen, b, _ = learned(ratios, weights, value, choices, 5, chosen)
                weights = mixture_weights(
                    ratios.numerators[:, :k],
                    ratios.targets - ratios.numerators @ b,
                    value - b[:k].sum(0),
                    weights,
                    floor,
                    scale,
                    judge.kind,
                    # what adaptation spends is lost to the estimate: stay below plain Monte Carlo
                    np.maximum(0.8 * crude, 1e-12 * scale),
                )
        return weights, learned(ratios, weights, value, choices, 5, chosen)[1]

    def _measured(
        self,
        stage: Stage,
        history: History,
        components: Components,
        coefficient: np.ndarray,
        told: list[dict[str, Any]],
    ) -> _Trial:
        """What the fresh draws of a stage, the history's last, say of its mixture."""
        ratios = ratios_of(stage, stage.log_g, self.controls)
        targets, z, _ = ratios.controls(stage.mixture.weights)
        r = targets - z @ coefficient
        starts = np.cumsum(stage.counts) - stage.counts
        r -= np.repeat(np.add.reduceat(r, starts) / stage.counts[:, None], stage.counts, axis=0)
        variance = (r**2).mean(0)
        kurtosis = (r**4).mean(0) / np.maximum(variance**2, 1e-300)
        noise = float(np.sqrt(np.maximum(kurtosis - 1, 0).max() / len(r)))
        t, used, units = history.targets(), len(history), history.common
        value = t.mean(0)
        # an expectation that has hardly been seen has no variance to speak of, unless it is the
        # deviation from one value that has hardly been seen
        little = np.maximum(variance, 3 * units.level**2 / used)
        little = np.where(units.usual, little, np.inf)
        variance = np.where(effective_draws(t) < FEW_HITS, little, variance)
        judge = self.goal.judge(units)
        scale = judge.scale(value, variance, used)
        found = judge.criterion(variance, scale)
        told.append(
            {
                "draws": self.size,
                "components": len(components.densities),
                "criterion": found,
                "variance": (variance * units.unit * units.unit).tolist(),
                "estimate": units.original(value).tolist(),
            }
        )
        weights = stage.mixture.weights
        return _Trial(components, weights, coefficient, variance, noise, used, scale, found)

    def _ended(
        self, best: _Trial, history: History, told: list[dict[str, Any]], stopped: str
    ) -> Adapted:
        """The best mixture: its densities are those that were tried; how much of each is settled
        with all draws.
        """
        weights = best.weights
        if len(weights) > 1:
            weights, _ = self._weights(history, best.components)
        t, units = history.targets(), history.common
        variance = best.foreseen(history, self.controls)
        judge = self.goal.judge(units)
        return Adapted(
            best.components,
            weights,
            judge.criterion(variance, judge.scale(t.mean(0), variance, len(history))),
            ~np.isfinite(variance) | (units.usual & (effective_draws(t) < FEW_HITS)),
            np.where((t != 0).any(0), 0, sum(int(s.counts[0]) for s in history.stages)),
            history,
            told,
            stopped,
        )


def prepared(
    run: Run,
    law: Law,
    goal: Goal,
    family: str,
    start: tuple[Law, ...],
    control_variates: Asked,
    *,
    remedy: str,
    vectorized: bool,
    check: Callable[[int, bool], object],
    shared: bool = False,
    derived: Callable[[np.ndarray], np.ndarray] | None = None,
    log: bool = False,
    tolerant: bool = False,
    columns: Columns | None = None,
) -> Adaptation:
    """What stages are drawn with; laws that aren't normalised are refused."""
    least, most = law.ranges
    if (least == most).all():
        raise ValueError(
            f"law: all inputs are constant: got {least.tolist()}; expected one that varies, as "
            "nothing is left to estimate (a call of the function there is exact)"
        )
    check_normalised(law, run.root, "law", remedy)
    for g in start:
        check_normalised(g, run.root, "proposal", "expected a normalised one")
    space = working_space(law, generator(run.root, "scale"))
    controls = prepare_controls(control_variates, space, goal.most, run.root)
    given: tuple[Component, ...] = tuple(Given(g, space) for g in start)
    wide = kernels_of(space, 2.0)
    if wide is not None and family == "auto":
        # each of the law's kernels is visited in every stage, beyond where the law itself draws
        given += (wide,)
    columns = Columns(None) if columns is None else columns
    sampler = Sampler(run, space, vectorized, check, derived, log, tolerant, columns)
    return Adaptation(sampler, controls, goal, family, shared, given)
