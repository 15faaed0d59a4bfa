"""Importance sampling with a density of the user's: the last step alone, nothing is learned.

A defensive share of the input law among the draws bounds the weights; without one, draws of the law
itself tell what the proposal leaves out. For a law known up to its constant the mean is
self-normalised.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from .. import arguments
from ..cautions import Caution, tell
from ..estimate import Estimate
from ..execution import open_run
from ..provenance import provenance
from ..randomness import Seed, generator
from .control_variates import Asked, Controls, choices_of, prepare_controls
from .integrand import (
    Columns,
    Integrand,
    Units,
    call_named,
    checked_table,
    expectation_names,
    units_of,
)
from .laws import Law, as_law
from .means import FOLDS, Mean, Regression, mean_of, pooled_mean, self_normalized_mean
from .mixing import Components, proposal_law
from .proposals import Given, WorkingSpace, check_normalised
from .stages import Sampler, Stage, split
from .under_laws import check_reference
from .verdict import Evidence, listed, report, unreached

UNREACHED = 20_000  # draws of the law that tell what a proposal leaves out
GAP_CALLS = 20  # calls where a proposal has no density, at most a tenth of the budget


@dataclass(frozen=True)
class _Gap:
    """Draws of the law: their log weights (n,), and those where the proposal has no density."""

    log_w: np.ndarray
    outside: np.ndarray

    @property
    def lies(self) -> str:
        """How much of the law that is."""
        share = len(self.outside) / len(self.log_w)
        return f"{share:.2%} of the law lies where the proposal has no density"


def _gap_of(law: Law, proposal: Law, rng: np.random.Generator) -> _Gap:
    """What the proposal leaves out, told by draws of the law without any call."""
    x = law.sample(rng, UNREACHED)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_w = law.log_density(x) - proposal.log_density(x)
    return _Gap(log_w, x[log_w == np.inf])


def _in_gap(sampler: Sampler, gap: _Gap, stage: Stage, most: int) -> np.ndarray:
    """Largest sizes of the integrand (J,) where the proposal has no density.

    Half of the calls go where its nonzero values are nearest, half anywhere.
    """
    if not most:
        return np.zeros(stage.values.shape[1])
    outside, size = gap.outside, np.abs(stage.values).max(1)
    near = stage.x[np.argsort(size)[-most // 2 :]]
    spread = np.maximum(outside.std(0), 1e-300)
    apart = ((near[:, None] - outside[None]) ** 2 / spread**2).sum(2)
    rows = outside[np.concatenate([apart.argmin(1), np.arange(most - most // 2) % len(outside)])]
    block = sampler.columns.aligned(sampler.run.map("gap", [(rows,)], [len(rows)])[0])
    values = checked_table(block, rows)
    return np.asarray(np.abs(values).max(0))


def _defensive_share(defensive: float | None, self_normalized: bool) -> float:
    """Share of the input law among the draws."""
    if defensive is None:
        return 0.0 if self_normalized else 0.1
    if isinstance(defensive, bool) or not isinstance(defensive, int | float | np.number):
        raise TypeError(f"defensive: got {defensive!r}; expected a share from 0 to below 1")
    if not 0 <= defensive < 1:
        raise ValueError(f"defensive: got {defensive!r}; expected a share from 0 to below 1")
    if self_normalized and defensive:
        raise ValueError("defensive: needs a normalised law; leave it out for self_normalized")
    return float(defensive)


@dataclass(frozen=True)
class _Drawn:
    """The draws, in units, and what the proposal leaves out.

    ``beyond`` (J,) are largest sizes of the integrand in the gap, found by ``spent`` calls;
    ``share`` of the law was not reached, next to the draws numbered ``nearest``.
    """

    stage: Stage
    units: Units
    controls: Controls
    gap: _Gap
    beyond: np.ndarray
    share: float
    nearest: np.ndarray
    spent: int

    def mean(self, self_normalized: bool) -> tuple[Mean, list[str], np.ndarray]:
        """The mean, the control variates used, and what the part not reached may add (J,)."""
        # as if the integrand were there what it is at the draws nearest to it
        there = self.stage.values[self.nearest]
        if self_normalized:
            mean, used = self_normalized_mean(self.stage), ["none"] * there.shape[1]
            there = there - mean.value
        else:
            mean, used = _corrected(self.stage, self.controls)
        return mean, used, self.share * np.sqrt((there**2).mean(0))


def _draw(
    sampler: Sampler,
    start: Law,
    total: int,
    defensive: float,
    self_normalized: bool,
    control_variates: Asked,
) -> _Drawn:
    """Draws of the proposal and of a defensive share of the law, ``total`` calls in all."""
    run, space = sampler.run, sampler.space
    law = space.law
    if not self_normalized:
        remedy = "for a density known up to its constant pass self_normalized=True"
        check_normalised(law, run.root, "law", remedy)
        check_normalised(start, run.root, "proposal", "expected a normalised one")
    controls = prepare_controls(control_variates, space, total, run.root)
    gap = _Gap(np.empty(0), np.empty((0, law.dimension)))
    if not defensive:
        gap = _gap_of(law, start, generator(run.root, "unreached"))
    if len(gap.outside) and self_normalized:
        raise ValueError(
            f"proposal: {gap.lies}, by the law's own draws; a self-normalised mean would be that "
            "of the rest"
        )
    spent = min(GAP_CALLS, total // 10) if len(gap.outside) else 0
    given = Given(start, space)
    densities = (space, given) if defensive else (given,)
    shares = np.array([defensive, 1 - defensive] if defensive else [1.0])
    stage = sampler.draw("final 1", densities, split(total - spent, shares, FOLDS))
    beyond = _in_gap(sampler, gap, stage, spent)
    share, nearest = 0.0, np.arange(1)
    if not defensive:
        share, nearest = unreached(stage, gap.log_w, not self_normalized)
    # an offset is free where the input law is among the components
    units = units_of(stage.values, shifted=defensive > 0)
    stage = replace(stage, values=units.measured(stage.values))
    return _Drawn(stage, units, controls, gap, beyond, share, nearest, spent)


def _corrected(stage: Stage, controls: Controls) -> tuple[Mean, list[str]]:
    """The mean, corrected by controls chosen for each fold on the others, and which these were."""
    k, j = len(stage.counts), stage.values.shape[1]
    none = np.zeros(k)
    components = Components(stage.mixture.components, np.zeros((k, j)), none, none, ("",) * k)
    choices = choices_of(controls, components, len(stage) // 10)
    choices = [c for c in choices if c.direction is None]
    shift = (np.exp(stage.log_f - stage.log_h)[:, None] * stage.values).mean(0)
    mean = mean_of(stage, stage.log_g, stage.counts, controls, Regression(choices, shift))
    mean = pooled_mean([mean], controls.mean_covariance)
    return mean, [choices[c].name for c in mean.chosen]


def _left_out(drawn: _Drawn, mean: Mean, pull: np.ndarray, names: Sequence[str]) -> list[Caution]:
    """What to say of what the proposal leaves out of the law, or its draws didn't reach."""
    if drawn.beyond.any():
        text = (
            f"{listed(names, drawn.beyond > 0)}: {drawn.gap.lies} and the integrand is not 0; what "
            "is missing can't be told, so there is no standard error. Take a proposal that is "
            "positive wherever both are, or a defensive share"
        )
        return [Caution("proposal-gap", text)]
    if (pull > 0.2 * np.sqrt(mean.variance)).any():
        text = (
            f"{drawn.share:.2%} of the law lies where the proposal made no draws, by the law's own "
            "draws, and the integrand is not 0 next to it; the standard error was widened as if "
            "the integrand were no larger there. A proposal that reaches farther would help, or a "
            "defensive share"
        )
        return [Caution("proposal-reach", text)]
    return []


def importance_sampling(
    integrand: Integrand,
    law: object,
    proposal: object,
    budget: int,
    *,
    defensive: float | None = None,
    control_variates: Asked = True,
    self_normalized: bool = False,
    vectorized: bool = True,
    names: Sequence[str] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
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
    arguments.function("integrand", integrand, "of an array of inputs")
    vectorized = arguments.flag("vectorized", vectorized)
    self_normalized = arguments.flag("self_normalized", self_normalized)
    if proposal is None or isinstance(proposal, str):
        raise TypeError(f"proposal: got {proposal!r}; expected a law to draw from")
    law = as_law(law)
    start = proposal_law(proposal, law)
    if law.atoms or start.atoms:
        raise ValueError(
            f"law, proposal: input {(law.atoms + start.atoms)[0]!r} is discrete or constant, and "
            "has no density; adaptive_importance_sampling takes it"
        )
    columns = Columns(arguments.names(names))
    check_reference(integrand, law)
    defensive = _defensive_share(defensive, self_normalized)
    if self_normalized and not isinstance(control_variates, bool):
        raise ValueError(
            "control_variates: need a normalised law; leave them out for self_normalized"
        )
    total = arguments.count("budget", budget, 20, each=8 * (law.dimension + 2))
    method = "importance sampling"
    asked_for = {
        "law": law,
        "integrand": integrand,
        "proposal": start,
        "budget": total,
        "defensive": defensive,
        "control_variates": control_variates,
        "self_normalized": self_normalized,
        "vectorized": vectorized,
        "names": columns.given,
    }
    began = time.perf_counter()
    with open_run(
        partial(call_named, integrand, vectorized),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=asked_for,
        seed=seed,
        total=total,
        description=method,
    ) as run:
        # in the inputs themselves: the proposal may reach beyond the support of the law
        space = WorkingSpace(law, np.zeros(law.dimension), np.eye(law.dimension))
        check = partial(expectation_names, columns)
        sampler = Sampler(run, space, vectorized, check, columns=columns)
        asked = False if self_normalized else control_variates
        drawn = _draw(sampler, start, total, defensive, self_normalized, asked)
        source = provenance(method, run.root, asked_for)
    stage = drawn.stage
    names = expectation_names(columns, stage.values.shape[1], stage.scalar)
    mean, used, pull = drawn.mean(self_normalized)
    evidence = Evidence(
        mean=mean,
        stages=[stage],
        log_h=stage.log_h,
        names=names,
        units=drawn.units,
        space=space,
        defensive=float(stage.mixture.weights[0]) if defensive else 0.0,
        doubted=np.full(len(names), np.nan),
        trials=np.zeros(len(names)),
        pull=np.where(drawn.beyond > 0, np.nan, pull),
    )
    estimate = report(
        evidence,
        _left_out(drawn, mean, pull, names),
        method=method + ", self-normalised (slightly biased)" * self_normalized,
        evaluations=len(stage) + drawn.spent,
        began=began,
        source=source,
        diagnostics={
            "control_variate": used,
            "mixture_weights": stage.mixture.weights,
            "components": ["input law", "proposal"][-len(stage.counts) :],
            "stages": [],
        },
    )
    tell("importance_sampling", estimate.cautions)
    return estimate
