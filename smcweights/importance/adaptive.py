"""Many expectations from one sample: adaptive importance sampling with control variates.

`adaptive_importance_sampling` learns, stage by stage, densities for all expectations, mixes them
with the input law itself, and ends with independent draws from the mixture it found best; the
components of the mixture, whose integrals are known, correct every expectation. Given the stages,
the final draws are independent with the right mean, so the estimate is unbiased and its covariance
is that of a plain mean.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments
from ..cautions import Caution, tell
from ..estimate import Estimate
from ..execution import first_budget, open_run
from ..randomness import Seed
from ..stopping import Budget, Precision, check_least, stopping_rule
from .adaptation import Adaptation, Adapted, Goal, prepared
from .control_variates import Asked, choices_of
from .extension import Extension, Source
from .failed_runs import FailedRuns, answer, checked_policy, quieted, reported, with_share
from .final_draws import Final, finish, further
from .integrand import Columns, Integrand, expectation_names
from .laws import as_law
from .log_scale import call_log_integrand, linear, logged
from .means import Mean, Regression, mean_of, pooled_mean
from .mixing import family_of
from .proposals import log_densities
from .stages import History
from .under_laws import UnderLaws, check_reference
from .verdict import Evidence, report

METHOD = "adaptive importance sampling"
OBJECTIVES = ("max-relative", "sum-relative", "sum")


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
    check_least(rule, 100, "calls")
    return goal


def _check_width(
    objective: str | np.ndarray,
    names: Columns,
    rule: Budget | Precision,
    count: int,
    scalar: bool,
) -> None:
    """Refuse an integrand with so many values, if names, weights or widths are others."""
    if isinstance(rule, Precision) and rule.of is None:
        rule.half_widths(np.zeros(count))
    if isinstance(objective, np.ndarray) and len(objective) != count:
        raise ValueError(
            f"objective: got {len(objective)} weights; the integrand returns {count} values"
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
    failed: str = "raise",
    failed_exceptions: Sequence[type[Exception]] = (),
    bounds: Sequence[ArrayLike] | None = None,
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
        ``vectorized=False``: one input of shape (d,) -> number or (J,). Columns of a DataFrame,
        entries of a dict, of one input also the labels of a Series, name the expectations, and may
        come in any order.
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
    failed : {"raise", "exclude", "bounds"}
        What a run counts as that gave NaN or an infinite value. "raise": it ends everything.
        "exclude": the answer is E[phi ok]/E[ok], given that the model ran. "bounds": the interval
        reaches from the lower end of the answer with the least possible values to the upper end of
        that with the largest, and the value is their middle.
    failed_exceptions : sequence of exception classes, optional
        Exceptions of the integrand that count as failed runs. A batch of many inputs that raised
        one is called again row by row.
    bounds : (lower, upper), numbers or of shape (J,), optional
        For ``failed="bounds"``: between them the integrand lies for certain; 0 and 1 by default
        if it returns nothing else.
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
        File of the values of each stage, from which the same call goes on to the same numbers, and
        one with a larger budget to those that `Estimate.extend` gives.

    Returns
    -------
    Estimate
        ``value`` of shape (J,), or () for an integrand that returns one number per input.
        Diagnostics: gain over plain Monte Carlo at the same number of calls, what the control
        variates bought, which were used, Pareto k-hat, mixture weights, and the stages. Where runs
        may fail, ``failed_share`` of the law with its 95 % interval and the ``first_failed`` input;
        the sample marks the draws that ``failed``. `Estimate.extend` goes on with more calls.

    Raises
    ------
    ModelError
        The integrand returned a wrong shape, or NaN or infinity with ``failed="raise"``, or all
        runs failed; the message names the input.
    ValueError, TypeError
        An argument is wrong.

    Warns
    -----
    PrecisionWarning
        A standard error can't be promised: heavy tails, few draws that matter, no hit at all, or
        ``pooled``; or over 5 % of the law fails.

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
    >>> truth = np.array([1.0, stats.norm.sf(4 / np.sqrt(2))])
    >>> bool((np.abs(estimate.value - truth) < 4 * estimate.standard_error).all())
    True
    """
    arguments.function("integrand", integrand, "of an array of inputs")
    pooled = arguments.flag("pooled", pooled)
    vectorized = arguments.flag("vectorized", vectorized)
    log = arguments.flag("log", log)
    law = as_law(law)
    names = arguments.names(names)
    check_reference(integrand, law)
    failures = checked_policy(failed, failed_exceptions, bounds)
    if log and isinstance(integrand, UnderLaws):
        raise ValueError("log: expected False for what under_laws made, which are values")
    if log and failures.tolerated:
        raise ValueError(f"failed: got {failed!r}; with log=True expected 'raise'")
    goal, most = _goal(budget, precision, objective, log), stopping_rule(budget, precision).most
    weights = goal.objective
    copies = 2 if failures.policy == "bounds" else 1
    goal = replace(goal, objective=failures.repeated(weights), copies=copies)
    if precision is None:
        goal = replace(goal, rule=Budget(first_budget(checkpoint, most)))
    arguments.one_of("components", components, ("each", "shared"))
    if pooled and precision is not None:
        raise ValueError("pooled: goes with a budget, not with a precision")
    family, start = family_of(proposal, law)
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
        **failures.asked_for,
    }
    columns = Columns(names)
    account = _Account(columns, failures, pooled, vectorized, log)
    began = time.perf_counter()
    with open_run(
        account.caller(integrand),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=asked_for,
        seed=seed,
        total=most if precision is None else None,
        description=METHOD,
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
            check=partial(_check_width, weights, columns, goal.rule),
            shared=components == "shared",
            log=log,
            derived=failures.values if failures.tolerated else None,
            tolerant=failures.tolerated,
            columns=columns,
        )
        final = account.finished(adaptation, adaptation.adapt())
        rounds = run.rounds(goal.most, most) if precision is None else []
        if rounds:
            final = further(final, run, rounds, account.named, looked=False)
        source = Source(METHOD, run.root, asked_for, tuple(rounds))
    return account.report(final, source, began)


@dataclass(frozen=True)
class _Account:
    """What a run says of its draws: under which names, what of failed runs, pooled or not."""

    names: Columns
    failures: FailedRuns
    pooled: bool
    vectorized: bool
    log: bool

    def caller(self, integrand: Integrand) -> Callable[..., np.ndarray]:
        """What is called on batches of inputs."""
        if self.log:
            return partial(call_log_integrand, integrand, self.vectorized)
        return self.failures.caller(integrand, self.vectorized)

    def named(self, count: int, scalar: bool) -> tuple[str, ...]:
        """Names of so many expectations, the share of failed runs the last if any may fail."""
        base = expectation_names(self.names, self.failures.own(count), scalar)
        return self.failures.named(base)

    def finished(self, adaptation: Adaptation, adapted: Adapted) -> Final:
        """Final draws."""
        if not self.failures.tolerated:
            return finish(adaptation, adapted, self.named, looked=False)
        scalar = adapted.history.stages[0].scalar
        view = partial(answer, failed=self.failures, scalar=scalar)
        both = with_share(adaptation, adapted)
        return finish(*both, self.named, looked=False, view=view)

    def report(self, final: Final, source: Source, began: float) -> Estimate:
        """The estimate, told of and ready to go on."""
        first = final.rounds[0]
        evidence = final.evidence(self.named(first.values.shape[1], first.scalar))
        cautions, method = final.cautions, METHOD
        if self.pooled:
            method += ", all stages pooled (biased)"
            evidence, told = _pooled(final, evidence)
            cautions = [*cautions, *told]
        if self.failures.tolerated:
            evidence = quieted(evidence)
        estimate = report(
            evidence,
            cautions,
            method=method,
            evaluations=final.evaluations,
            began=began,
            source=source.provenance,
            diagnostics=final.diagnostics,
        )
        if self.failures.tolerated:
            own = self.failures.own(len(evidence.names))
            base = expectation_names(self.names, own, first.scalar)
            estimate = reported(estimate, self.failures, base, first.scalar)
        if self.log:
            level = final.adapted.history.level
            assert level is not None
            estimate = logged(estimate, level).revised(method=f"{method}, log scale")
        tell("adaptive_importance_sampling", estimate.cautions)
        if self.pooled:
            return estimate
        more = Extension(final.slim, source, self.caller, self.report, self.named)
        return estimate.revised(extension=more)
