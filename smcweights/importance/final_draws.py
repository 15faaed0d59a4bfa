"""The final draws: independent of all before, from the mixture that adaptation found.

With a budget there is one round; with a precision as many as it takes, each planned from the error
so far. Coefficients of the control variates are learned from adaptation and from other folds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..cautions import Caution
from ..errors import ModelError
from ..stopping import Budget, Standing, until_precise
from .adaptation import Adaptation, Adapted, history_ratios, learned, quantile
from .control_variates import choices_of
from .means import FOLDS, Mean, Regression, mean_of, pooled_mean
from .mixing import FEW_HITS
from .proposals import log_densities
from .stages import History, Stage, joined, split
from .verdict import Evidence

__all__ = ["Final", "finish", "mean_of_all"]

BEYOND = 1e70  # a factor by which no later value may exceed those before


@dataclass(frozen=True)
class Final:
    """Rounds of final draws, and what they are corrected with.

    ``used`` names the control variate of each expectation; ``cautions`` say whether the precision
    was reached.
    """

    adaptation: Adaptation
    adapted: Adapted
    rounds: list[Stage]
    mean: Mean
    used: list[str]
    cautions: list[Caution]

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


def finish(adaptation: Adaptation, adapted: Adapted) -> Final:
    """Independent draws from the mixture found; the history's units follow the first round's."""
    sampler, controls, goal = adaptation.sampler, adaptation.controls, adaptation.goal
    history, densities = adapted.history, adapted.components.densities
    before = len(history)
    least = FOLDS * max(len(densities), 20)
    rounds: list[Stage] = []
    means: list[Mean] = []
    regression: Regression | None = None

    def draw(size: int) -> None:
        nonlocal regression
        # as in the first round: its counts are what the coefficients were learned for
        weights = adapted.weights if regression is None else rounds[0].mixture.weights
        size = size if regression is None else max(size, least)
        counts = split(size, weights, FOLDS)
        drawn = sampler.draw(f"final {len(rounds) + 1}", densities, counts)
        stage = history.measured(drawn, refit=regression is None)
        if regression is None:
            regression = _regression(adaptation, adapted, stage.mixture.weights)
        else:
            _check_growth(stage, history)
        rounds.append(stage)
        means.append(mean_of(stage, stage.log_g, counts, controls, regression))

    def standing(level: float) -> Standing:
        mean, units = pooled_mean(means, controls.mean_covariance), history.common
        half = quantile(level, mean.degrees_of_freedom) * np.sqrt(mean.variance)
        # a value of which nothing was seen has no interval to be narrow
        seen = rounds[0].mixture.weights[0] * mean.n
        limit = np.where(units.usual, 3 * np.abs(units.level) / seen, np.inf)
        half = np.where(mean.hits < FEW_HITS, np.maximum(half, limit), half) * units.unit
        return Standing(units.original(mean.value), half, mean.n, before + mean.n, least)

    first = goal.most - before
    if not isinstance(goal.rule, Budget):
        first = math.ceil(min(max(1.05 * adapted.expected, least), 4 * before, first))
    cautions = until_precise(goal.rule, first, draw, standing, "calls")
    assert regression is not None and regression.chosen is not None
    used = [regression.choices[c].name for c in regression.chosen]
    mean = pooled_mean(means, controls.mean_covariance)
    return Final(adaptation, adapted, rounds, mean, used, cautions)


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


def mean_of_all(final: Final) -> tuple[Mean, History]:
    """Corrected mean over the draws of all stages under their joint mixture, and these draws."""
    history, controls = final.adapted.history, final.adaptation.controls
    components = final.adapted.components
    every = replace(history, stages=list(history.stages))
    for stage in final.rounds:
        every.add(stage)
    choices = choices_of(controls, components, len(every.stages[0]))
    named = [choice.name for choice in choices]
    chosen = np.array([named.index(name) if name in named else 0 for name in final.used])
    regression = Regression(choices, every.targets().mean(0), chosen)
    counts = np.array([len(stage) for stage in every.stages])
    log_g = log_densities(components.densities, every.u)
    mean = mean_of(every, log_g, counts, controls, regression)
    return pooled_mean([mean], controls.mean_covariance), every
