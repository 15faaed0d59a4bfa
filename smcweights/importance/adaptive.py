"""Many expectations from one sample: adaptive importance sampling with control variates.

`adaptive_importance_sampling` learns, stage by stage, densities for all expectations, mixes them
with the input law itself, and ends with independent draws from the mixture it found best; the
components of the mixture, whose integrals are known, correct every expectation. Given the stages,
the final draws are independent with the right mean, so the estimate is unbiased and its covariance
is that of a plain mean. `importance_sampling` is the last step alone, with a density of the user's.

References: Demange-Chryst, Bachoc & Morio (2023), Efficient estimation of multiple expectations
with the same sample by adaptive importance sampling and control variates, arXiv 2212.00568;
Owen & Zhou (2000), JASA 95, for mixture components as control variates; He & Owen (2014),
arXiv 1411.3954, for the convexity in mixture weights and coefficients.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np

from ..arguments import names as given_names
from ..errors import ModelError
from ..estimate import Estimate
from ..execution import open_run
from ..provenance import provenance
from ..randomness import generator
from ..regression import Choice, Moments, coefficients, moments, select
from ..stopping import Budget, Precision, stopping_rule
from .laws import Law, aligned, as_law
from .mixing import (
    FEW_HITS,
    Components,
    criterion,
    fit_components,
    mixture_weights,
    starting_components,
)
from .proposals import Component, log_densities
from .sampling import (
    FOLDS,
    Controls,
    History,
    Mean,
    Ratios,
    Sampler,
    Stage,
    Units,
    arguments_of,
    call_integrand,
    check_flags,
    checked_table,
    choices_of,
    effective_draws,
    expectation_names,
    joined,
    mean_of,
    pooled_mean,
    prepare_controls,
    ratios_of,
    report,
    self_normalized_mean,
    split,
    units_of,
    unreached,
)
from .working_space import Given, WorkingSpace, check_normalised, working_space

__all__ = ["adaptive_importance_sampling", "importance_sampling"]

OBJECTIVES = ("max-relative", "sum-relative", "sum")
FAMILIES = ("auto", "gaussian", "mixture", "student", "rank-one", "vmfn", "grid")
MOST_STAGE = 5_000  # more stages teach more than larger ones
MOST_ADAPTATION = 0.6  # share of a budget
UNREACHED = 20_000  # draws of the law that tell what a proposal leaves out
GAP_CALLS = 20  # calls where a proposal has no density, at most a tenth of the budget


def _fold_moments(
    ratios: Ratios, mixture: np.ndarray, shift: np.ndarray, folds: int
) -> list[Moments]:
    """Weighted moments under the mixture of interleaved folds of the draws."""
    t, z, weights = ratios.controls(mixture)
    return [moments(z[f::folds], t[f::folds] - shift, weights[f::folds]) for f in range(folds)]


# ------------------------------------------------------------------------------------ adaptation


@dataclass(frozen=True)
class _Goal:
    """What adaptation works for: an objective and a budget, or a precision."""

    rule: Budget | Precision
    objective: str | np.ndarray
    units: Units

    @property
    def most(self) -> int:
        return self.rule.total if isinstance(self.rule, Budget) else self.rule.max_budget

    def scale(self, value: np.ndarray, variance: np.ndarray, draws: int) -> np.ndarray:
        """Squared size against which a variance is judged, (J,)."""
        if isinstance(self.rule, Precision):
            half = self.rule.half_widths(self.units.original(value)) / self.units.unit
            return np.maximum((half / _quantile(self.rule.level)) ** 2, 1e-300)
        return np.maximum(np.maximum((value + self.units.centre) ** 2, variance / draws), 1e-300)

    def first_stage(self, dimension: int) -> int:
        """Draws in a stage of adaptation."""
        least = max(40 * (min(dimension, 20) + 2), 200)
        if isinstance(self.rule, Precision):
            return min(max(least, 500), self.most // 5)
        return min(max(least, self.most // 20), self.most // 5)

    @property
    def kind(self) -> str | np.ndarray:
        """Objective of `mixing.criterion`; a precision asks for all components at once."""
        if isinstance(self.rule, Precision):
            return "max-relative"
        unit = self.units.unit / self.units.unit.max()
        if isinstance(self.objective, np.ndarray):
            return self.objective * unit**2
        return unit**2 if self.objective == "sum" else self.objective

    def importance(self, scale: np.ndarray) -> np.ndarray:
        """Weights (J,) of the expectations for what they share."""
        if isinstance(self.kind, np.ndarray):
            return self.kind
        return 1 / scale

    def criterion(self, variance: np.ndarray, scale: np.ndarray) -> float:
        return criterion(variance, scale, self.kind)[0] if np.isfinite(variance).all() else np.inf

    def outlook(self, criterion: float, used: int) -> float:
        """Lower is better: squared error at the end of the budget, or calls to the precision."""
        if isinstance(self.rule, Precision):
            return used + criterion
        return criterion / max(self.rule.total - used, 1)


def _quantile(level: float, degrees_of_freedom: Any = np.inf) -> Any:
    """Two-sided Student quantile."""
    from scipy.special import stdtrit

    return stdtrit(degrees_of_freedom, 0.5 + level / 2)


def _learned(
    ratios: Ratios, mixture: np.ndarray, shift: np.ndarray, choices: list[Choice], folds: int = 10
) -> tuple[np.ndarray, np.ndarray, Moments]:
    """Choice per expectation, its coefficients, and the moments of all draws."""
    parts = _fold_moments(ratios, mixture, shift, folds)
    chosen = select(parts, choices)
    total = reduce(add, parts)
    b = np.zeros_like(total.zt)
    for c in np.unique(chosen):
        b[:, chosen == c] = coefficients(total, choices[c])[:, chosen == c]
    return chosen, b, total


def _history_ratios(history: History, components: Components, controls: Controls) -> Ratios:
    u, x, values, log_f = (history.gather(name) for name in ("u", "x", "values", "log_f"))
    log_g = log_densities(components.densities, u)
    return ratios_of(u, x, values, log_f, history.log_h, log_g, controls)


def _weights(
    history: History, components: Components, controls: Controls, goal: _Goal
) -> tuple[np.ndarray, np.ndarray]:
    """Mixture weights (K,) and control coefficients (K + E, J) from all draws so far."""
    ratios = _history_ratios(history, components, controls)
    n, k = len(ratios.targets), ratios.size
    value = ratios.targets.mean(0)
    weights, choices = components.share, choices_of(controls, components, n)
    if k > 1:
        crude = (ratios.targets * history.gather("values")).mean(0) - value**2
        scale = goal.scale(value, ratios.targets.var(0), n)
        # a mean needs draws of the input law itself, some 200 of them
        floor = components.least.copy()
        floor[0] = max(floor[0], min(0.4, 200 / max(goal.most - n, 1)))
        if controls.components:
            # a component whose share vanishes would make a control without a variance
            floor = np.maximum(floor, max(0.005, 0.1 / k))
        for _ in range(2):
            b = _learned(ratios, weights, value, choices, folds=5)[1]
            weights = mixture_weights(
                ratios.numerators[:, :k],
                ratios.targets - ratios.numerators @ b,
                value - b[:k].sum(0),
                weights,
                floor,
                scale,
                goal.kind,
                # what adaptation spends is lost to the estimate: stay below plain Monte Carlo
                np.maximum(0.8 * crude, 1e-12 * scale),
            )
    return weights, _learned(ratios, weights, value, choices, folds=5)[1]


@dataclass(frozen=True)
class _Plan:
    """A mixture with coefficients learned before its own draws, and what these say of it.

    ``variance`` (J,) per draw; ``noise`` its relative standard error; ``used`` calls so far.
    """

    components: Components
    weights: np.ndarray
    coefficient: np.ndarray
    variance: np.ndarray
    noise: float
    used: int


def _measured(
    stage: Stage, coefficient: np.ndarray, controls: Controls
) -> tuple[np.ndarray, float]:
    """Variance per draw (J,) on fresh draws of a mixture, and its relative standard error."""
    ratios = ratios_of(
        stage.u, stage.x, stage.values, stage.log_f, stage.log_h, stage.log_g, controls
    )
    t, z, _ = ratios.controls(stage.mixture.weights)
    r = t - z @ coefficient
    starts = np.cumsum(stage.counts) - stage.counts
    r -= np.repeat(np.add.reduceat(r, starts) / stage.counts[:, None], stage.counts, axis=0)
    variance = (r**2).mean(0)
    kurtosis = (r**4).mean(0) / np.maximum(variance**2, 1e-300)
    return variance, float(np.sqrt(np.maximum(kurtosis - 1, 0).max() / len(r)))


def _foreseen(plan: _Plan, history: History, controls: Controls, value: np.ndarray) -> np.ndarray:
    """Variance per draw (J,) of a plan by all draws, which may have found what its own missed."""
    ratios = _history_ratios(history, plan.components, controls)
    t, z, w = ratios.controls(plan.weights)
    return np.maximum(plan.variance, w @ (t - value - z @ plan.coefficient) ** 2 / len(w))


@dataclass(frozen=True)
class _Adapted:
    """The mixture adaptation ended with, and how it came about."""

    components: Components
    weights: np.ndarray
    expected: float  # criterion per draw
    doubted: np.ndarray  # (J,) estimates of expectations hardly seen, NaN for others
    trials: np.ndarray  # (J,) draws of the input law, for expectations never seen
    history: History
    units: Units
    stages: list[dict[str, Any]]
    stopped: str


def _adapt(
    sampler: Sampler,
    controls: Controls,
    goal: _Goal,
    family: str,
    shared: bool,
    given: tuple[Component, ...],
    names: Sequence[str] | None,
    history: History | None = None,
) -> _Adapted:
    """Stages until another no longer pays for itself; the best mixture measured is kept.

    ``history`` may bring stages in the units of ``goal``, drawn before.
    """
    space, most = sampler.space, goal.most
    size = min(goal.first_stage(space.law.dimension), MOST_STAGE)
    history = History() if history is None else history
    units = goal.units
    stages: list[dict[str, Any]] = []
    best: _Plan | None = None
    stopped = "the share of the budget meant for adaptation was used up"
    idle = 0
    for number in range(len(history.stages) + 1, 100):
        used, first = len(history.log_total), not history.stages
        if first:
            densities: tuple[Component, ...] = (space, *given)
            weights = np.full(len(densities), 1 / len(densities))
        elif used + size > MOST_ADAPTATION * most:
            break
        else:
            t = history.targets()
            value = t.mean(0)
            components = fit_components(
                space,
                history.gather("u"),
                t,
                np.exp(history.gather("log_f") - history.log_h),
                goal.importance(goal.scale(value, t.var(0), used)),
                family=family,
                shared=shared,
                given=given,
                fixed=goal.units.level != 0,
                round_number=number - 1,
                rng=generator(sampler.run.root, "fit", number),
            )
            densities = components.densities
            if size < 4 * len(densities):
                stopped = "a stage would be too small for its mixture"
                break
            weights, coefficient = _weights(history, components, controls, goal)
        stage = sampler.draw(f"stage {number}", densities, split(size, weights))
        if first:
            _check_objective(goal.objective, stage.values.shape[1])
            expectation_names(names, stage.values.shape[1], stage.scalar)
            units = units_of(stage.values)
            stage = units.apply(stage)
        else:
            stage, units, ratio = _refitted(stage, history, units)
            if ratio is not None:
                # plans were measured on what is next to nothing now
                coefficient, best, idle = coefficient * ratio, None, 0
        sampler, goal = replace(sampler, units=units), replace(goal, units=units)
        history.add(stage)
        used += size
        t = history.targets()
        value = t.mean(0)
        if first:
            components = starting_components(space, given, t.shape[1])
            choices = choices_of(controls, components, used)
            ratios = _history_ratios(history, components, controls)
            coefficient = _learned(ratios, stage.mixture.weights, value, choices)[1]
        variance, noise = _measured(stage, coefficient, controls)
        seen = effective_draws(t)
        # an expectation that has hardly been seen has no variance to speak of, unless it is the
        # deviation from one value that has hardly been seen
        little = np.maximum(variance, 3 * units.level**2 / used)
        little = np.where(units.usual, little, np.inf)
        variance = np.where(seen < FEW_HITS, little, variance)
        plan = _Plan(components, stage.mixture.weights, coefficient, variance, noise, used)
        scale = goal.scale(value, variance, used)
        now = goal.criterion(variance, scale)
        stages.append(
            {
                "draws": size,
                "components": len(densities),
                "criterion": now,
                "variance": (variance * units.unit * units.unit).tolist(),
                "estimate": units.original(value).tolist(),
            }
        )
        if best is None:
            best = plan
            continue
        before = goal.criterion(_foreseen(best, history, controls, value), scale)
        worth = goal.outlook(now, used) <= goal.outlook(before, best.used) * (1 - min(noise, 0.5))
        if now < before or not np.isfinite(before):
            best = plan
        idle = 0 if worth or not np.isfinite(now) else idle + 1
        if idle == 2:
            stopped = "another stage would cost more than it gains"
            break
    assert best is not None, "a history leaves room for a stage"
    weights = best.weights
    if len(weights) > 1:
        # the densities stay those that were tried; how much of each is settled with all draws
        weights, _ = _weights(history, best.components, controls, goal)
    t = history.targets()
    value = t.mean(0)
    variance = _foreseen(best, history, controls, value)
    expected = goal.criterion(variance, goal.scale(value, variance, len(history.log_total)))
    hardly = ~np.isfinite(variance) | (units.usual & (effective_draws(t) < FEW_HITS))
    doubted = np.where(hardly, value, np.nan)
    trials = np.where((t != 0).any(0), 0, sum(int(s.counts[0]) for s in history.stages))
    return _Adapted(
        best.components, weights, expected, doubted, trials, history, units, stages, stopped
    )


def _refitted(
    stage: Stage, history: History, units: Units
) -> tuple[Stage, Units, np.ndarray | None]:
    """A new stage, its history (in place) and their units, if the values have outgrown them.

    Also the factor (J,) of whatever else is in the units, None where they stay.
    """
    sizes = [np.abs(one.values).max(0) for one in (*history.stages, stage)]
    fitted = units.fitted(np.max(sizes, axis=0))
    if fitted is units:
        return stage, units, None
    ratio = units.unit / fitted.unit
    history.rescale(ratio)
    return replace(stage, values=stage.values * ratio), fitted, ratio


def _check_objective(objective: str | np.ndarray, count: int) -> None:
    if isinstance(objective, np.ndarray) and len(objective) != count:
        raise ValueError(
            f"objective: got {len(objective)} weights; the integrand returns {count} values"
        )


# ------------------------------------------------------------------------------- the final draws


def _finish(
    sampler: Sampler, controls: Controls, goal: _Goal, adapted: _Adapted
) -> tuple[_Adapted, list[Stage], list[Mean], list[str], bool]:
    """Independent draws from the mixture found: stages, means, controls used, goal reached.

    With a budget there is one stage; with a precision as many as it takes, each planned from the
    error so far. The units follow the values of the first, and what was adapted comes back in them.
    """
    history, components = adapted.history, adapted.components
    densities = components.densities
    used = len(history.log_total)
    k = len(densities)
    least = FOLDS * max(k, 20)
    if isinstance(goal.rule, Budget):
        size = goal.rule.total - used
    else:
        size = math.ceil(min(max(1.05 * adapted.expected, least), 4 * used, goal.most - used))
    stages: list[Stage] = []
    means: list[Mean] = []
    counts = split(size, adapted.weights, FOLDS)
    unit = counts / counts.sum()
    stage = sampler.draw("final 1", densities, counts)
    stage, units, ratio = _refitted(stage, history, goal.units)
    if ratio is not None:
        adapted = replace(adapted, units=units, doubted=adapted.doubted * ratio)
        sampler, goal = replace(sampler, units=units), replace(goal, units=units)
    ratios = _history_ratios(history, components, controls)
    shift = ratios.targets.mean(0)
    choices = choices_of(controls, components, used)
    chosen, _, earlier = _learned(ratios, unit, shift, choices)
    while True:
        stages.append(stage)
        log_g, log_h = stage.log_g, stage.log_h
        means.append(
            mean_of([stage], log_g, log_h, counts, controls, choices, chosen, earlier, shift)
        )
        used += len(stage)
        if isinstance(goal.rule, Budget):
            reached = True
            break
        mean = pooled_mean(means, controls.mean_covariance)
        half = _quantile(goal.rule.level, mean.degrees_of_freedom) * np.sqrt(mean.variance)
        # a value of which nothing was seen has no interval to be narrow
        level = np.abs(goal.units.level)
        limit = np.where(goal.units.usual, 3 * level / (unit[0] * mean.n), np.inf)
        half = np.where(mean.hits < FEW_HITS, np.maximum(half, limit), half) * goal.units.unit
        found = goal.units.original(mean.value)
        size = goal.rule.next_size(found, half, mean.n, used)
        reached = bool((half <= goal.rule.half_widths(found)).all())
        if reached or goal.most - used < least:
            break
        counts = split(max(size, least), unit, FOLDS)
        stage = sampler.draw(f"final {len(stages) + 1}", densities, counts)
        sizes = np.abs(stage.values).max(0)
        if (sizes > 1e70).any():
            i = int(sizes.argmax())
            raise ModelError(
                f"integrand: value {i + 1} is {sizes[i] * units.unit[i]:.3g} at input "
                f"{stage.x[np.abs(stage.values[:, i]).argmax()].tolist()}, a factor of 1e70 beyond "
                "those before. Does the expectation exist? If so, no such sample can tell it"
            )
    return adapted, stages, means, [choices[c].name for c in chosen], reached


def _all_stages(
    history: History, components: Components, controls: Controls, used: list[str]
) -> Mean:
    """Corrected mean over the draws of all stages under their joint mixture."""
    log_h = history.log_h
    log_g = log_densities(components.densities, history.gather("u"))
    choices = choices_of(controls, components, len(history.stages[0]))
    named = [choice.name for choice in choices]
    chosen = np.array([named.index(name) if name in named else 0 for name in used])
    counts = np.array([len(stage) for stage in history.stages])
    shift = history.targets().mean(0)
    mean = mean_of(history.stages, log_g, log_h, counts, controls, choices, chosen, None, shift)
    return pooled_mean([mean], controls.mean_covariance)


# ------------------------------------------------------------------------------ public functions


def _objective(objective: Any) -> str | np.ndarray:
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise ValueError(
                f"objective: got {objective!r}; expected one of {', '.join(OBJECTIVES)}, or an "
                "array of non-negative weights, one per expectation"
            )
        return objective
    weights = np.asarray(objective, dtype=np.float64)
    if (
        weights.ndim != 1
        or not np.isfinite(weights).all()
        or (weights < 0).any()
        or not weights.any()
    ):
        raise ValueError(
            "objective: expected finite non-negative weights of shape (J,), not all zero"
        )
    return weights


def _check_integrand(integrand: Any, name: str = "integrand") -> None:
    if not callable(integrand):
        raise TypeError(
            f"{name}: got {type(integrand).__name__}; expected a function of an array of inputs"
        )


def _check_reference(integrand: Any, law: Law) -> None:
    """Refuse another law than the one that an integrand's density ratios refer to."""
    reference = getattr(integrand, "law", None)
    if isinstance(reference, Law) and reference.describe() != law.describe():
        raise ValueError(
            "law: is not the one given to under_laws, to which its density ratios refer"
        )


def _family(proposal: Any, law: Law) -> tuple[str, tuple[Law, ...]]:
    """Family name and the user's starting density, if ``proposal`` is one."""
    if isinstance(proposal, str):
        if proposal not in FAMILIES:
            raise ValueError(
                f"proposal: got {proposal!r}; expected one of {', '.join(FAMILIES)}, or a law to "
                "start from"
            )
        if proposal == "grid" and law.dimension > 4:
            raise ValueError(f"proposal: 'grid' serves up to 4 inputs; the law has {law.dimension}")
        if proposal in ("grid", "rank-one", "vmfn") and not law.mapped:
            raise ValueError(
                f"proposal: {proposal!r} needs a law with an isoprobabilistic map (independent "
                "marginals, a Gaussian copula or a multivariate normal law)"
            )
        return proposal, ()
    return "auto", (_proposal(proposal, law),)


def _proposal(proposal: Any, law: Law) -> Law:
    """A density given by the user, with the inputs of the law."""
    try:
        start = as_law(proposal)
    except (TypeError, ValueError) as error:
        raise type(error)(f"proposal: {error}") from error
    if start.dimension != law.dimension:
        raise ValueError(f"proposal: has {start.dimension} inputs, the law has {law.dimension}")
    return aligned(start, law.names, "proposal")


def _prepared(
    run: Any,
    law: Law,
    start: tuple[Law, ...],
    remedy: str,
    control_variates: Any,
    most: int,
    vectorized: bool,
    derived: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[Sampler, Controls, tuple[Component, ...]]:
    """What stages are drawn with: a sampler, the control variates, the user's densities."""
    check_normalised(law, run.root, "law", remedy)
    for g in start:
        check_normalised(g, run.root, "proposal", "expected a normalised one")
    space = working_space(law, generator(run.root, "scale"))
    controls = prepare_controls(control_variates, space, most, run.root)
    given = tuple(Given(g, space) for g in start)
    return Sampler(run, space, vectorized, derived=derived), controls, given


def _answer(
    adapted: _Adapted,
    rounds: list[Stage],
    used: list[str],
    reached: bool,
    mean: Mean,
    names: tuple[str, ...],
    rule: Budget | Precision,
    *,
    method: str,
    began: float,
    source: dict[str, Any],
    space: WorkingSpace,
    draws: list[Stage] | None = None,
    log_h: np.ndarray | None = None,
    pull: Any = 0.0,
    more: dict[str, Any] | None = None,
    cautions: Sequence[str] = (),
) -> Estimate:
    """The report of an adapted run: over its final rounds, or over ``draws`` from ``log_h``."""
    told = list(cautions)
    if isinstance(rule, Precision) and not reached:
        told.append(f"the precision was not reached within max_budget={rule.max_budget} calls")
    weights = rounds[-1].mixture.weights
    return report(
        mean,
        rounds if draws is None else draws,
        joined(rounds, "log_h") if log_h is None else log_h,
        sum(len(stage) for stage in (*adapted.history.stages, *rounds)),
        names,
        method=method,
        diagnostics={
            "control_variate": used,
            "mixture_weights": weights,
            "components": list(adapted.components.serves),
            "stages": adapted.stages,
            "stopped": adapted.stopped,
            **(more or {}),
        },
        seconds=time.perf_counter() - began,
        source=source,
        space=space,
        defensive=float(weights[0]),
        adapted_value=adapted.doubted,
        pull=pull,
        adapted_trials=adapted.trials,
        cautions=told,
        units=adapted.units,
    )


def adaptive_importance_sampling(
    integrand: Callable[[np.ndarray], np.ndarray],
    law: Any,
    budget: int | None = None,
    *,
    precision: Precision | None = None,
    proposal: Any = "auto",
    components: str = "each",
    control_variates: Any = True,
    objective: Any = "max-relative",
    pooled: bool = False,
    vectorized: bool = True,
    names: Sequence[str] | None = None,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
) -> Estimate:
    """Estimate J expectations under an input law from one adaptively drawn sample.

    The sampling density is learned in stages: h = a_0 f + sum_k a_k g_k, f the input law and g_k
    fitted to the integrands. At the end n independent draws from the best h give

        I_j = mean_i [ phi_j(x_i) f(x_i)/h(x_i) - sum_k B_kj (g_k(x_i)/h(x_i) - 1) ],

    unbiased because each g_k integrates to one; B comes from other draws than the ones it
    corrects. Weights f/h never exceed 20.

    Parameters
    ----------
    integrand : callable
        (n, d) array of inputs -> (n,) or (n, J) array of finite numbers. With
        ``vectorized=False``: one input of shape (d,) -> number or (J,).
    law : law
        Law of the inputs: frozen scipy.stats distribution(s), a list or dict of independent
        marginals, `GaussianCopula`, an OpenTURNS distribution, a SALib problem, or an object with
        ``rvs(size, random_state)`` and ``logpdf(x)``.
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
        The distance to the unbiased estimate is counted in the standard error, and intervals
        still cover less often than they say, which a warning tells. The bias doesn't average
        out: don't `combine` such runs.
    vectorized : bool, default True
        Whether the integrand takes many inputs at once.
    names : sequence of str, length J, optional
        Names of the expectations.
    seed : None, int, SeedSequence or Generator
        The result depends on it and on the other arguments only.
    executor : None, "threads", "processes", "processes:4" or concurrent.futures.Executor
        Where the integrand is called. A script that asks for processes keeps its work under
        ``if __name__ == "__main__":``, as Python's own pools need it, too.
    progress : bool, optional
        A progress bar; by default on a terminal or in a notebook for runs over 2 s.
    checkpoint : path, optional
        File that receives the integrand's values after each stage; a later call with the same
        arguments goes on from there and gives the same numbers.

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
    Demange-Chryst, Bachoc & Morio (2023), arXiv 2212.00568.

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
    _check_integrand(integrand)
    check_flags(pooled=pooled, vectorized=vectorized)
    law = as_law(law)
    names = given_names(names)
    _check_reference(integrand, law)
    rule = stopping_rule(budget, precision)
    goal = _Goal(rule, _objective(objective), Units(np.zeros(1), np.ones(1)))
    if goal.most < 100:
        asked = "budget" if isinstance(rule, Budget) else "precision: max_budget"
        raise ValueError(f"{asked}: got {goal.most}; adaptation needs at least 100 calls")
    if components not in ("each", "shared"):
        raise ValueError(f"components: got {components!r}; expected 'each' or 'shared'")
    if pooled and isinstance(rule, Precision):
        raise ValueError("pooled: goes with a budget, not with a precision")
    family, start = _family(proposal, law)
    method = "adaptive importance sampling"
    arguments = arguments_of(
        law,
        integrand=integrand,
        budget=rule if budget is not None else None,
        precision=precision,
        proposal=start[0] if start else proposal,
        components=components,
        control_variates=control_variates,
        objective=objective,
        pooled=bool(pooled),
        vectorized=bool(vectorized),
        names=names,
    )
    began = time.perf_counter()
    with open_run(
        partial(call_integrand, integrand, vectorized),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=arguments,
        seed=seed,
        total=rule.total if isinstance(rule, Budget) else None,
        description=method,
    ) as run:
        remedy = "for a density known up to its constant: importance_sampling(self_normalized=True)"
        sampler, controls, given = _prepared(
            run, law, start, remedy, control_variates, goal.most, vectorized
        )
        adapted = _adapt(sampler, controls, goal, family, components == "shared", given, names)
        first = adapted.history.stages[0]
        names = expectation_names(names, first.values.shape[1], first.scalar)
        goal, sampler = replace(goal, units=adapted.units), replace(sampler, units=adapted.units)
        adapted, rounds, means, used, reached = _finish(sampler, controls, goal, adapted)
        root = run.root
    answer = partial(
        _answer,
        adapted,
        rounds,
        used,
        reached,
        names=names,
        rule=rule,
        began=began,
        source=provenance(method, root, arguments),
        space=sampler.space,
    )
    alone = pooled_mean(means, controls.mean_covariance)
    if not pooled:
        return answer(alone, method=method)
    history = History(list(adapted.history.stages), adapted.history.log_total)
    for stage in rounds:
        history.add(stage)
    mean = _all_stages(history, adapted.components, controls, used)
    return answer(
        mean,
        method=f"{method}, all stages pooled (biased)",
        draws=history.stages,
        log_h=history.log_h,
        # what adaptation's draws pull the estimate by counts as an error of it
        pull=mean.value - alone.value,
        cautions=[
            "all stages are pooled, which biases the estimate by an amount no sample can tell: "
            "95 % intervals have covered 83 to 91 % of the time where events are rare"
        ],
    )


def _in_gap(sampler: Sampler, outside: np.ndarray, stage: Stage, most: int) -> np.ndarray:
    """Largest sizes of the integrand (J,) where the proposal has no density.

    Half of the calls go where its nonzero values are nearest, half anywhere.
    """
    size = np.abs(stage.values).max(1)
    near = stage.x[np.argsort(size)[-most // 2 :]]
    spread = np.maximum(outside.std(0), 1e-300)
    apart = ((near[:, None] - outside[None]) ** 2 / spread**2).sum(2)
    rows = outside[np.concatenate([apart.argmin(1), np.arange(most - most // 2) % len(outside)])]
    values = checked_table(sampler.run.map("gap", [(rows,)], [len(rows)])[0], rows)
    return np.asarray(np.abs(values).max(0))


def importance_sampling(
    integrand: Callable[[np.ndarray], np.ndarray],
    law: Any,
    proposal: Any,
    budget: int,
    *,
    defensive: float | None = None,
    control_variates: Any = True,
    self_normalized: bool = False,
    vectorized: bool = True,
    names: Sequence[str] | None = None,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
) -> Estimate:
    """Estimate J expectations under an input law from draws of a given proposal.

    Draws come from h = (1 - a) q + a f, q the proposal, f the input law and a the defensive share,
    which keeps weights below 1/a; q/h - 1 is a control variate of mean zero.

    Parameters
    ----------
    integrand : callable
        (n, d) -> (n,) or (n, J), see `adaptive_importance_sampling`.
    law : law
        Law of the inputs.
    proposal : law
        Law to draw from; normalised.
    budget : int, at least 20
        Calls of the integrand.
    defensive : float, optional
        Share a of the input law among the draws, from 0 to below 1; by default 0.1, or 0 with
        ``self_normalized``. With 0 this is textbook importance sampling: nothing bounds the
        weights, and what no draw has hit has no standard error.
    control_variates : default True
        As for `adaptive_importance_sampling`; chosen for each fifth of the draws on the others.
    self_normalized : bool, default False
        Divide by the mean weight: for a law whose ``logpdf`` lacks its constant. Slightly biased.
        No ``defensive`` share and no control variates then, because both need the constant.
    vectorized, names, seed, executor, progress, checkpoint
        As for `adaptive_importance_sampling`.

    Returns
    -------
    Estimate

    Raises
    ------
    ModelError, ValueError, TypeError
        As for `adaptive_importance_sampling`.
    DegeneracyError
        All weights are zero.

    References
    ----------
    Owen & Zhou (2000), Safe and effective importance sampling, JASA 95.

    Examples
    --------
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> estimate = smw.importance_sampling(
    ...     lambda x: x[:, 0] > 4, stats.norm(), stats.norm(4, 1), 10_000, seed=1
    ... )
    >>> bool(abs(estimate.value - stats.norm.sf(4)) < 4 * estimate.standard_error)
    True
    """
    _check_integrand(integrand)
    check_flags(vectorized=vectorized, self_normalized=self_normalized)
    if proposal is None or isinstance(proposal, str):
        raise TypeError(f"proposal: got {proposal!r}; expected a law to draw from")
    law = as_law(law)
    start = _proposal(proposal, law)
    names = given_names(names)
    _check_reference(integrand, law)
    if defensive is None:
        defensive = 0.0 if self_normalized else 0.1
    if isinstance(defensive, bool) or not isinstance(defensive, int | float | np.number):
        raise TypeError(f"defensive: got {defensive!r}; expected a share from 0 to below 1")
    if not 0 <= defensive < 1:
        raise ValueError(f"defensive: got {defensive!r}; expected a share from 0 to below 1")
    if self_normalized:
        if defensive:
            raise ValueError("defensive: needs a normalised law; leave it out for self_normalized")
        if not isinstance(control_variates, bool):
            raise ValueError(
                "control_variates: need a normalised law; leave them out for self_normalized"
            )
    rule = stopping_rule(budget, None)
    assert isinstance(rule, Budget)
    if rule.total < 20:
        raise ValueError(f"budget: got {rule.total}; expected at least 20 calls")
    method = "importance sampling"
    arguments = arguments_of(
        law,
        integrand=integrand,
        proposal=start,
        budget=rule,
        defensive=float(defensive),
        control_variates=control_variates,
        self_normalized=bool(self_normalized),
        vectorized=bool(vectorized),
        names=names,
    )
    began = time.perf_counter()
    with open_run(
        partial(call_integrand, integrand, vectorized),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=arguments,
        seed=seed,
        total=rule.total,
        description=method,
    ) as run:
        # in the inputs themselves: the proposal may reach beyond the support of the law
        space = WorkingSpace(law, np.zeros(law.dimension), np.eye(law.dimension))
        given = Given(start, space)
        if self_normalized:
            control_variates = False
        else:
            remedy = "for a density known up to its constant pass self_normalized=True"
            check_normalised(law, run.root, "law", remedy)
            check_normalised(start, run.root, "proposal", "expected a normalised one")
        controls = prepare_controls(control_variates, space, rule.total, run.root)
        shares = np.array([defensive, 1 - defensive] if defensive else [1.0])
        densities = (space, given) if defensive else (given,)
        sampler, total = Sampler(run, space, vectorized), rule.total
        share, nearest, spent = 0.0, np.arange(1), 0
        outside = np.empty((0, law.dimension))
        if not defensive:
            # draws of the law tell what the proposal leaves out, without any call
            x = law.sample(generator(run.root, "unreached"), UNREACHED)
            with np.errstate(invalid="ignore", divide="ignore"):
                there = law.log_density(x) - start.log_density(x)
            outside = x[there == np.inf]
        lies = f"{len(outside) / UNREACHED:.2%} of the law lies where the proposal has no density"
        if len(outside) and self_normalized:
            raise ValueError(
                f"proposal: {lies}, by the law's own draws; a self-normalised mean would be that "
                "of the rest"
            )
        if len(outside):
            spent = min(GAP_CALLS, total // 10)
        counts = split(total - spent, shares, FOLDS)
        stage = sampler.draw("final 1", densities, counts)
        beyond = np.zeros(stage.values.shape[1])
        if len(outside):
            beyond = _in_gap(sampler, outside, stage, spent)
        if not defensive:
            share, nearest = unreached(stage, there, not self_normalized)
        # an offset is free where the input law is among the components
        units = units_of(stage.values, shifted=defensive > 0)
        stage = units.apply(stage)
        root = run.root
    names = expectation_names(names, stage.values.shape[1], stage.scalar)
    j = len(names)
    cautions = []
    components = Components(
        densities,
        np.zeros((len(densities), j)),
        shares,
        shares,
        ("input law", "proposal")[-len(densities) :],
    )
    if self_normalized:
        mean = self_normalized_mean(stage)
        used = ["none"] * j
        method += ", self-normalised (slightly biased)"
    else:
        choices = choices_of(controls, components, len(stage) // 10)
        choices = [c for c in choices if c.direction is None]
        log_g, log_h = stage.log_g, stage.log_h
        shift = (np.exp(stage.log_f - log_h)[:, None] * stage.values).mean(0)
        mean = mean_of([stage], log_g, log_h, stage.counts, controls, choices, None, None, shift)
        mean = pooled_mean([mean], controls.mean_covariance)
        used = [choices[c].name for c in mean.chosen]
    # as if the integrand were there what it is at the draws nearest to it
    there = stage.values[nearest] - (mean.value if self_normalized else 0.0)
    pull = share * np.sqrt((there**2).mean(0))
    if beyond.any():
        missing = ", ".join(names[i] for i in np.flatnonzero(beyond)[:5])
        cautions.append(
            f"{missing}: {lies} and the integrand is not 0; what is missing can't be told, so "
            "there is no standard error. Take a proposal that is positive wherever both are, or a "
            "defensive share"
        )
    elif (pull > 0.2 * np.sqrt(mean.variance)).any():
        cautions.append(
            f"{share:.2%} of the law lies where the proposal made no draws, by the law's own "
            "draws, and the integrand is not 0 next to it; the standard error was widened as if "
            "the integrand were no larger there. A proposal that reaches farther would help, or a "
            "defensive share"
        )
    return report(
        mean,
        [stage],
        stage.log_h,
        len(stage) + spent,
        names,
        method=method,
        diagnostics={
            "control_variate": used,
            "mixture_weights": stage.mixture.weights,
            "components": list(components.serves),
            "stages": [],
        },
        seconds=time.perf_counter() - began,
        source=provenance(method, root, arguments),
        space=space,
        defensive=float(stage.mixture.weights[0]) if defensive else 0.0,
        adapted_value=np.full(j, np.nan),
        pull=np.where(beyond > 0, np.nan, pull),
        adapted_trials=np.zeros(j),
        cautions=cautions,
        units=units,
    )
