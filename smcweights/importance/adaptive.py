"""Many expectations from one sample: adaptive importance sampling with control variates.

`adaptive_importance_sampling` learns, stage by stage, densities for all expectations, mixes them
with the input law itself, and ends with independent draws from the mixture it found best; the
components of the mixture, whose integrals are known, correct every expectation. Given the stages,
the final draws are independent with the right mean, so the estimate is unbiased and its covariance
is that of a plain mean.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments
from ..cautions import Caution, tell
from ..errors import ModelError
from ..estimate import Estimate
from ..execution import open_run
from ..provenance import provenance
from ..randomness import Seed
from ..stopping import Budget, Precision, Standing, stopping_rule, until_precise
from .adaptation import Adaptation, Adapted, Goal, history_ratios, learned, prepared, quantile
from .control_variates import Asked, choices_of
from .integrand import Integrand, call_integrand, expectation_names
from .laws import as_law
from .log_scale import call_log_integrand, linear, logged
from .means import FOLDS, Mean, Regression, mean_of, pooled_mean
from .mixing import FEW_HITS, family_of
from .proposals import log_densities
from .stages import History, Stage, joined, split
from .under_laws import UnderLaws, check_reference
from .verdict import Evidence, listed, report

BEYOND = 1e70  # a factor by which no later value may exceed those before
OBJECTIVES = ("max-relative", "sum-relative", "sum")


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


def finish(
    adaptation: Adaptation,
    adapted: Adapted,
    names: Callable[[int, bool], Sequence[str]],
    looked: bool,
) -> Final:
    """Independent draws from the mixture found; the history's units follow the first round's.

    ``names`` says what so many expectations are called, ``looked`` whether all of the law was
    searched for where they are not 0.
    """
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
    cautions = until_precise(goal.rule, first, draw, standing, "calls", sampler.run)
    cautions += _hidden(adaptation, [*history.stages, *rounds], names, looked)
    assert regression is not None and regression.chosen is not None
    used = [regression.choices[c].name for c in regression.chosen]
    mean = pooled_mean(means, controls.mean_covariance)
    return Final(adaptation, adapted, rounds, mean, used, cautions)


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


def _mean_of_all(final: Final) -> tuple[Mean, History]:
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


def _objective(objective: str | ArrayLike) -> str | np.ndarray:
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise ValueError(
                f"objective: got {objective!r}; expected one of {', '.join(OBJECTIVES)}, or an "
                "array of non-negative weights, one per expectation"
            )
        return objective
    weights = arguments.real("objective", objective)
    if (
        weights.ndim != 1
        or not np.isfinite(weights).all()
        or (weights < 0).any()
        or not weights.any()
    ):
        raise ValueError(
            f"objective: got {arguments.shown(objective)}; expected finite weights from 0 of shape "
            "(J,), not all zero"
        )
    return weights


def _goal(
    budget: int | None, precision: Precision | None, objective: str | ArrayLike, log: bool
) -> Goal:
    """What adaptation works for; a precision of logs is one of the expectations' relative size."""
    rule = stopping_rule(budget, precision)
    if log:
        rule = stopping_rule(budget, linear(precision, objective))
    goal = Goal(rule, _objective(objective))
    if goal.most < 100:
        asked = "budget" if precision is None else "precision: max_budget"
        raise ValueError(f"{asked}: got {goal.most}; adaptation needs at least 100 calls")
    return goal


def _check_width(goal: Goal, names: Sequence[str] | None, count: int, scalar: bool) -> None:
    """Refuse an integrand with so many values, if names or weights are others."""
    if isinstance(goal.objective, np.ndarray) and len(goal.objective) != count:
        raise ValueError(
            f"objective: got {len(goal.objective)} weights; the integrand returns {count} values"
        )
    expectation_names(names, count, scalar)


def _pooled(final: Final, evidence: Evidence) -> tuple[Evidence, list[Caution]]:
    """The draws of all stages instead of the final ones, and what that costs."""
    mean, every = _mean_of_all(final)
    # what adaptation's draws pull the estimate by counts as an error of it
    pull = mean.value - evidence.mean.value
    text = (
        "all stages are pooled, which biases the estimate by an amount no sample can tell: "
        "95 % intervals have covered 83 to 91 % of the time where events are rare"
    )
    return (
        replace(evidence, mean=mean, stages=every.stages, log_h=every.log_h, pull=pull),
        [Caution("pooled-stages", text)],
    )


def adaptive_importance_sampling(
    integrand: Integrand,
    law: object,
    budget: int | None = None,
    *,
    precision: Precision | None = None,
    proposal: object = "auto",
    components: str = "each",
    control_variates: Asked = True,
    objective: str | ArrayLike = "max-relative",
    pooled: bool = False,
    log: bool = False,
    vectorized: bool = True,
    names: Sequence[str] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Estimate:
    """Estimate J expectations under an input law from one adaptively drawn sample.

    The sampling density is learned in stages: h = a_0 f + sum_k a_k g_k, f the input law and g_k
    fitted to the integrands. At the end n independent draws from the best h give

        I_j = mean_i [ phi_j(x_i) f(x_i)/h(x_i) - sum_k B_kj (g_k(x_i)/h(x_i) - 1) ],

    unbiased because each g_k integrates to one; B comes from other draws than the ones it
    corrects. Weights f/h never exceed 20. If all integrands are events, g_k end 7 standard
    deviations out, or where these lie; a model that breaks nearer wants inputs that end there, see
    `smcweights.Truncated`.

    Parameters
    ----------
    integrand : callable
        (n, d) array of inputs -> (n,) or (n, J) array of finite numbers. With
        ``vectorized=False``: one input of shape (d,) -> number or (J,).
    law : law
        Law of the inputs, see `smcweights.importance.laws.as_law`: frozen scipy.stats
        distributions, a list or dict of them, `GaussianCopula`, or what has ``rvs`` and ``logpdf``.
    budget : int, at least 100
        Calls of the integrand (rows), adaptation included; give this or ``precision``.
    precision : Precision, optional
        Run until every interval is as narrow as asked.
    proposal : str or law, default "auto"
        Family of the components: "gaussian", "mixture" (of Gaussians), "student", "rank-one" (for
        many inputs), "vmfn" (von Mises-Fisher times Nakagami, for many inputs and curved limits),
        "grid" (up to 4 inputs), "auto" (mixtures, with a grid up to 4 inputs, rank-one and vmfn
        above 20); or a law to start from beside the input law.
    components : {"each", "shared"}
        Components for each expectation, or one set for all of them.
    control_variates : bool, "polynomial", callable, or a list of these, default True
        True: the components of h. "polynomial": orthonormal polynomials of the law, of mean zero.
        A callable is a cheap surrogate, (n, d) -> (n,) or (n, k), whose mean is estimated on
        20 draws per call of the integrand; the error of that mean is counted.
    objective : "max-relative", "sum-relative", "sum" or array of shape (J,)
        What adaptation minimises: the largest relative error, the sum of squared relative errors,
        of squared errors, or of squared errors with these weights.
    pooled : bool, default False
        Use the draws of all stages under their joint mixture: often a smaller error, but biased,
        because the mixture was learned from them; most of all, rare events come out too small.
        The distance to the unbiased estimate is counted in the standard error; intervals still
        cover less often than they say, and the bias doesn't average out: don't `combine` such runs.
    log : bool, default False
        The integrand returns logs of its values, -inf for 0, or a tuple of logs and signs, and the
        estimate is that of log |I_j|: no value need be a number itself. ``precision`` is absolute
        then, ``objective`` relative. A sharp peak that the input law hardly hits wants a
        ``proposal`` to start from, or `posterior`.
    vectorized : bool, default True
        Whether the integrand takes many inputs at once.
    names : sequence of str, length J, optional
        Names of the expectations.
    seed : None, int, SeedSequence or Generator
        The result depends on it and on the other arguments only.
    executor : None, "threads", "processes", "processes:4" or concurrent.futures.Executor
        Where the integrand is called, see `smcweights.execution`.
    progress : bool, optional
        A progress bar; by default on a terminal or in a notebook for runs over 2 s.
    checkpoint : path, optional
        File of the values of each stage, from which the same call goes on to the same numbers.

    Returns
    -------
    Estimate
        ``value`` of shape (J,), or () for an integrand that returns one number per input.
        Diagnostics: gain over plain Monte Carlo at the same number of calls, what the control
        variates bought, which were used, Pareto k-hat, mixture weights, and the stages.

    Raises
    ------
    ModelError
        The integrand returned a wrong shape, NaN or infinity; the message names the input.
    ValueError, TypeError
        An argument is wrong.

    Warns
    -----
    PrecisionWarning
        A standard error can't be promised: heavy tails, few draws that matter, no hit at all, or
        ``pooled``.

    References
    ----------
    Demange-Chryst, Bachoc & Morio (2023), Efficient estimation of multiple expectations with the
    same sample by adaptive importance sampling and control variates, arXiv 2212.00568; Owen & Zhou
    (2000), JASA 95, for mixture components as control variates; He & Owen (2014), arXiv 1411.3954,
    for the convexity in mixture weights and coefficients.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> from scipy import stats
    >>> law = {"a": stats.norm(1, 1), "b": stats.norm(0, 1)}
    >>> def mean_and_tail(x):
    ...     return np.stack([x.sum(1), x.sum(1) > 5], axis=1)
    >>> estimate = smw.adaptive_importance_sampling(mean_and_tail, law, 5_000, seed=1)
    >>> lower, upper = estimate.interval()
    >>> truth = np.array([1.0, stats.norm.sf(4 / np.sqrt(2))])
    >>> bool(((lower < truth) & (truth < upper)).all())
    True
    """
    arguments.function("integrand", integrand, "of an array of inputs")
    pooled = arguments.flag("pooled", pooled)
    vectorized = arguments.flag("vectorized", vectorized)
    log = arguments.flag("log", log)
    law = as_law(law)
    names = arguments.names(names)
    check_reference(integrand, law)
    if log and isinstance(integrand, UnderLaws):
        raise ValueError("log: expected False for what under_laws made, which are values")
    goal = _goal(budget, precision, objective, log)
    arguments.one_of("components", components, ("each", "shared"))
    if pooled and precision is not None:
        raise ValueError("pooled: goes with a budget, not with a precision")
    family, start = family_of(proposal, law)
    method = "adaptive importance sampling"
    asked_for = {
        "law": law,
        "integrand": integrand,
        "budget": goal.most if precision is None else None,
        "precision": precision,
        "proposal": start[0] if start else proposal,
        "components": components,
        "control_variates": control_variates,
        "objective": objective,
        "pooled": pooled,
        "vectorized": vectorized,
        "names": names,
        **({"log": log} if log else {}),
    }
    began = time.perf_counter()
    with open_run(
        partial(call_log_integrand if log else call_integrand, integrand, vectorized),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=asked_for,
        seed=seed,
        total=goal.most if precision is None else None,
        description=method,
    ) as run:
        remedy = "for a density known up to its constant: importance_sampling(self_normalized=True)"
        adaptation = prepared(
            run,
            law,
            goal,
            family,
            start,
            control_variates,
            remedy=remedy,
            vectorized=vectorized,
            check=partial(_check_width, goal, names),
            shared=components == "shared",
            log=log,
        )
        adapted, named = adaptation.adapt(), partial(expectation_names, names)
        final = finish(adaptation, adapted, named, looked=False)
        source = provenance(method, run.root, asked_for)
    first = final.rounds[0]
    evidence = final.evidence(expectation_names(names, first.values.shape[1], first.scalar))
    cautions = final.cautions
    if pooled:
        method += ", all stages pooled (biased)"
        evidence, cautions = _pooled(final, evidence)
    estimate = report(
        evidence,
        cautions,
        method=method,
        evaluations=final.evaluations,
        began=began,
        source=source,
        diagnostics=final.diagnostics,
    )
    if log:
        assert adapted.history.level is not None
        estimate = logged(estimate, adapted.history.level).revised(method=f"{method}, log scale")
    tell("adaptive_importance_sampling", estimate.cautions)
    return estimate
