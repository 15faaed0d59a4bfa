"""Final draws: round by round from the mixture that adaptation found, corrected and joined.

Given the stages, the draws are independent with the right mean; `finish` runs rounds until a
budget is used up or a precision reached, `further` adds one to those there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..cautions import Caution
from ..errors import ModelError
from ..estimate import Estimate
from ..execution import Run
from ..stopping import Budget, Precision, Standing, until_precise
from .adaptation import Adaptation, Adapted, history_ratios, learned, quantile
from .control_variates import choices_of
from .means import FOLDS, Mean, Regression, mean_of, pooled_mean
from .mixing import FEW_HITS
from .stages import History, Stage, joined, split
from .verdict import Evidence, listed

BEYOND = 1e70  # a factor by which no later value may exceed those before

Names = Callable[[int, bool], Sequence[str]]


@dataclass(frozen=True)
class Final:
    """Rounds of final draws, and what they are corrected with.

    ``means`` are those of the rounds, ``mean`` that of all; ``cautions`` say whether the precision
    was reached.
    """

    adaptation: Adaptation
    adapted: Adapted
    rounds: list[Stage]
    means: list[Mean]
    regression: Regression
    cautions: list[Caution]

    @property
    def mean(self) -> Mean:
        """Over all rounds."""
        return pooled_mean(self.means, self.adaptation.controls.mean_covariance)

    @property
    def used(self) -> list[str]:
        """The control variate of each expectation."""
        assert self.regression.chosen is not None
        return [self.regression.choices[c].name for c in self.regression.chosen]

    @property
    def least(self) -> int:
        """Calls of a further round at the least."""
        return least_round(self.adapted)

    @property
    def evaluations(self) -> int:
        """Calls of the integrand."""
        return sum(len(stage) for stage in (*self.adapted.history.stages, *self.rounds))

    @property
    def diagnostics(self) -> dict[str, Any]:
        """What is said of the mixture, and of how it came about."""
        return {
            "control_variate": self.used,
            "mixture_weights": self.rounds[-1].mixture.weights,
            "components": list(self.adapted.components.serves),
            "stages": self.adapted.stages,
            "stopped": self.adapted.stopped,
        }

    @property
    def slim(self) -> Final:
        """The same without the densities of the components at the draws."""
        history = self.adapted.history
        kept = replace(history, stages=[_without(stage) for stage in history.stages], known=())
        rounds = [_without(stage) for stage in self.rounds]
        return replace(self, adapted=replace(self.adapted, history=kept), rounds=rounds)

    def evidence(self, names: tuple[str, ...]) -> Evidence:
        """What the report rests on."""
        return Evidence(
            mean=self.mean,
            stages=self.rounds,
            log_h=joined(self.rounds, "log_h"),
            names=names,
            units=self.adapted.history.common,
            space=self.adaptation.sampler.space,
            defensive=float(self.rounds[-1].mixture.weights[0]),
            doubted=self.adapted.doubted,
            trials=self.adapted.trials,
            pull=np.zeros(len(names)),
        )


def _without(stage: Stage) -> Stage:
    return replace(stage, log_g=stage.log_g[:, :0].copy())


def least_round(adapted: Adapted) -> int:
    """Calls of a further round at the least."""
    return FOLDS * max(len(adapted.components.densities), 20)


@dataclass
class _Rounds:
    """Rounds as they are drawn."""

    adaptation: Adaptation
    adapted: Adapted
    stages: list[Stage]
    means: list[Mean]
    regression: Regression | None = None

    def draw(self, size: int) -> None:
        """A round; the history's units follow the first one's."""
        history, densities = self.adapted.history, self.adapted.components.densities
        first = self.regression is None
        # as in the first round: its counts are what the coefficients were learned for
        weights = self.adapted.weights if first else self.stages[0].mixture.weights
        size = size if first else max(size, least_round(self.adapted))
        counts = split(size, weights, FOLDS)
        name = f"final {len(self.stages) + 1}"
        drawn = self.adaptation.sampler.draw(name, densities, counts)
        stage = history.measured(drawn, refit=first)
        if self.regression is None:
            self.regression = _regression(self.adaptation, self.adapted, stage.mixture.weights)
        else:
            _check_growth(stage, history)
        self.stages.append(stage)
        controls = self.adaptation.controls
        self.means.append(mean_of(stage, stage.log_g, counts, controls, self.regression))

    def standing(self, view: Callable[[Estimate], Estimate] | None, level: float) -> Standing:
        """How precise the rounds are, or what ``view`` makes of them."""
        controls, history = self.adaptation.controls, self.adapted.history
        mean, units = pooled_mean(self.means, controls.mean_covariance), history.common
        before = len(history)
        half = quantile(level, mean.degrees_of_freedom) * np.sqrt(mean.variance)
        # a value of which nothing was seen has no interval to be narrow
        seen = self.stages[0].mixture.weights[0] * mean.n
        limit = np.where(units.usual, 3 * np.abs(units.level) / seen, np.inf)
        half = np.where(mean.hits < FEW_HITS, np.maximum(half, limit), half) * units.unit
        value, least = units.original(mean.value), least_round(self.adapted)
        now = Standing(value, half, mean.n, before + mean.n, least)
        rule = self.adaptation.goal.rule
        if view is None and not (isinstance(rule, Precision) and rule.of):
            return now
        lost, freedom = ~np.isfinite(half), mean.degrees_of_freedom
        error = np.where(lost, np.nan, half / quantile(level, freedom))
        light = _light(mean, value, error)
        return Standing.of(light if view is None else view(light), level, now.n, now.used, least)


def _light(mean: Mean, value: np.ndarray, error: np.ndarray) -> Estimate:
    """An estimate of a mean with these standard errors, to see what follows from it."""
    scale = error / np.sqrt(np.maximum(mean.variance, 1e-300))
    freedom = mean.degrees_of_freedom
    if mean.factor is not None:
        return Estimate(value, factor=mean.factor * scale[:, None], degrees_of_freedom=freedom)
    covariance = mean.covariance * np.outer(scale, scale)
    covariance = (covariance + covariance.T) / 2
    np.fill_diagonal(covariance, error**2)
    return Estimate(value, covariance, degrees_of_freedom=freedom)


def finish(
    adaptation: Adaptation,
    adapted: Adapted,
    names: Names,
    looked: bool,
    view: Callable[[Estimate], Estimate] | None = None,
) -> Final:
    """Independent draws from the mixture found; the history's units follow the first round's.

    ``names`` says what so many expectations are called, ``looked`` whether all of the law was
    searched for where they are not 0; a precision is that of what ``view`` makes of them.
    """
    goal, before = adaptation.goal, len(adapted.history)
    rounds, least = _Rounds(adaptation, adapted, [], []), least_round(adapted)
    first = goal.most - before
    if not isinstance(goal.rule, Budget):
        first = math.ceil(min(max(1.05 * adapted.expected, least), 4 * before, first))
    cautions = until_precise(
        goal.rule,
        first,
        rounds.draw,
        lambda level: rounds.standing(view, level),
        "calls",
        adaptation.sampler.run,
    )
    return _ended(rounds, cautions, names, looked)


def further(final: Final, run: Run, sizes: Sequence[int], names: Names, looked: bool) -> Final:
    """The same with more rounds of about these sizes, drawn in this run."""
    sampler = replace(final.adaptation.sampler, run=run)
    adaptation = replace(final.adaptation, sampler=sampler)
    rounds = _Rounds(adaptation, final.adapted, [*final.rounds], [*final.means], final.regression)
    for size in sizes:
        if size < final.least:
            raise ValueError(
                f"budget: got {size} calls more; expected at least {final.least}, some for each "
                "component of the mixture"
            )
        rounds.draw(size)
    # what was said of fewer draws
    told = [
        c for c in final.cautions if c.code not in ("unexplored-regions", "precision-not-reached")
    ]
    return _ended(rounds, told, names, looked)


def _ended(rounds: _Rounds, cautions: list[Caution], names: Names, looked: bool) -> Final:
    adaptation, adapted, stages = rounds.adaptation, rounds.adapted, rounds.stages
    hidden = _hidden(adaptation, [*adapted.history.stages, *stages], names, looked)
    assert rounds.regression is not None
    told = [*cautions, *hidden]
    return Final(adaptation, adapted, stages, rounds.means, rounds.regression, told)


def _hidden(
    adaptation: Adaptation,
    stages: Sequence[Stage],
    names: Callable[[int, bool], Sequence[str]],
    looked: bool,
) -> list[Caution]:
    """What to say of expectations that the draws of a law without a map hit too seldom to tell
    of all places where they are not 0.
    """
    if adaptation.sampler.space.law.mapped or looked:
        return []
    hits = sum((s.values[: s.counts[0]] != 0).sum(0) for s in stages)
    ever = np.any([(s.values != 0).any(0) for s in stages], axis=0)
    few = ever & (hits < FEW_HITS)
    if not few.any():
        return []
    which = listed(names(len(few), stages[0].scalar), few)
    text = (
        f"{which}: the law's own draws gave a value other than 0 fewer than "
        f"{FEW_HITS} times, and a law known by draws and density alone has no other way to show "
        "further regions: one that was missed is not in the standard error. More calls, "
        "failure_probability of a margin, or a law with marginals and a copula would help"
    )
    return [Caution("unexplored-regions", text)]


def _regression(adaptation: Adaptation, adapted: Adapted, weights: np.ndarray) -> Regression:
    """How the final draws are corrected, decided by those before."""
    history, controls = adapted.history, adaptation.controls
    ratios = history_ratios(history, adapted.components, controls)
    shift = ratios.targets.mean(0)
    choices = choices_of(controls, adapted.components, len(history))
    chosen, _, earlier = learned(ratios, weights, shift, choices)
    return Regression(choices, shift, chosen, earlier)


def _check_growth(stage: Stage, history: History) -> None:
    sizes = np.abs(stage.values).max(0)
    if (sizes > BEYOND).any():
        i = int(sizes.argmax())
        raise ModelError(
            f"integrand: value {i + 1} is {sizes[i] * history.common.unit[i]:.3g} at input "
            f"{stage.x[np.abs(stage.values[:, i]).argmax()].tolist()}, a factor of 1e70 "
            "beyond those before. Does the expectation exist? If so, no such sample can tell it"
        )
