"""How sure a mean is: what its standard error rests on, and what can't be promised.

An expectation without a hit has an upper limit; one that hangs on few draws, or that adaptation had
hardly seen, a wider standard error; the tails of integrand times weight say whether any is to be
trusted. `report` makes the estimate of it all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..cautions import Caution
from ..errors import ModelError
from ..estimate import Estimate
from ..parts import Bounds
from ..weights import (
    effective_sample_size,
    largest_weight,
    pareto_k,
    pareto_k_threshold,
    perplexity,
)
from .integrand import LARGEST, Units
from .means import Mean
from .proposals import WorkingSpace
from .stages import Stage, joined


@dataclass(frozen=True)
class Evidence:
    """Final draws, their corrected mean, and what was known before them."""

    mean: Mean
    stages: Sequence[Stage]  # the draws behind it, in ``units`` as the mean is
    log_h: np.ndarray  # (n,): their log density
    names: tuple[str, ...]
    units: Units
    space: WorkingSpace
    defensive: float  # share of the input law among the draws
    doubted: np.ndarray  # (J,): what adaptation found where it saw little, NaN elsewhere
    # (J,): draws of the input law that adaptation spent on expectations without any hit
    trials: np.ndarray
    # (J,): a bias found, whose square is added to the variance; NaN where it can't be told
    pull: np.ndarray
    quiet: np.ndarray | bool = False  # (J,): of which nothing is to be said

    @property
    def log_weights(self) -> np.ndarray:
        """Input density over that of the draws, (n,)."""
        return joined(self.stages, "log_f") - self.log_h

    @property
    def values(self) -> np.ndarray:
        """The integrand, (n, J)."""
        return joined(self.stages, "values")


def listed(names: Sequence[str], which: np.ndarray) -> str:
    """The first five of the names marked, and how many more there are."""
    found = [name for name, marked in zip(names, which, strict=True) if marked]
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def _largest_term(evidence: Evidence, shapes: np.ndarray) -> str:
    """Where the expectation with the heaviest tail hangs on few draws."""
    log_w, x = evidence.log_weights, joined(evidence.stages, "x")
    terms = np.abs(evidence.values[:, int(np.argmax(shapes))]) * np.exp(log_w - log_w.max())
    i = int(terms.argmax())
    inputs = ", ".join(f"{v:.6g}" for v in x[i, :6]) + (", ..." if x.shape[1] > 6 else "")
    return (
        f" (a single draw, at input [{inputs}], makes up {terms[i] / terms.sum():.1%}). If more "
        "calls don't help, ask whether the expectation and its variance exist"
    )


def unreached(stage: Stage, there: np.ndarray, normalised: bool) -> tuple[float, np.ndarray]:
    """What draws of a proposal leave out of the law where they could have come.

    The law beyond the 20 largest weights should have the share that those weights say; what it
    has more was not reached. ``there`` (n,) is the log weight at draws of the law itself.

    Returns
    -------
    float
        Share of the law that the proposal leaves out or its draws did not reach; 0 within noise.
    ndarray of int, shape (20,)
        The draws with the largest weights, nearest to what was missed.
    """
    log_w = stage.log_f - stage.log_h
    log_total = np.log(len(log_w)) if normalised else np.logaddexp.reduce(log_w)
    top = np.argsort(log_w)[-20:]
    beyond = float(np.mean((there > log_w[top[0]] + 1e-9) & (there < np.inf)))
    largest = np.exp(log_w[top[log_w[top] > log_w[top[0]] + 1e-9]] - log_total)
    noise = np.sqrt(beyond / len(there) + (largest**2).sum())
    missed = beyond - largest.sum()
    return missed if missed > 2 * noise else 0.0, top


@dataclass(frozen=True)
class _Verdict:
    """Values and variances (J,), in units, as the evidence allows them, and why.

    ``unseen``: no draw gave a value other than the usual one, which isn't 0 where ``fixed``;
    ``barely``: few draws count; ``doubtful``: adaptation saw little. ``trials`` are draws of the
    input law, ``freedom`` degrees of freedom; an ``exact`` error is one of rounding.
    """

    value: np.ndarray
    variance: np.ndarray
    freedom: np.ndarray
    trials: np.ndarray
    rounding: np.ndarray
    unseen: np.ndarray
    fixed: np.ndarray
    barely: np.ndarray
    doubtful: np.ndarray
    exact: np.ndarray

    @property
    def never(self) -> np.ndarray:
        """Where every draw gave 0."""
        return self.unseen & ~self.fixed


def _judged(evidence: Evidence) -> _Verdict:
    mean, units = evidence.mean, evidence.units
    level = units.level
    # what the input law's own draws can't exclude: a region as likely as one over their number
    trials = np.maximum(evidence.defensive * len(evidence.log_h) + evidence.trials, 3.0)
    unseen = mean.hits == 0
    # never other than one value that isn't 0
    fixed = unseen & units.usual
    barely = ~unseen & (mean.effective < 10)
    value = np.where(unseen, 0.0, mean.value)
    largest = np.abs(evidence.values).max(0) if barely.any() else 0.0
    # nor can what adaptation saw be forgotten where it saw little
    doubtful = ~unseen & np.isfinite(evidence.doubted)
    surplus = np.where(doubtful, mean.value - evidence.doubted, 0.0) ** 2
    surplus += np.where(barely, largest / trials, 0.0) ** 2 + np.square(evidence.pull)
    variance = np.where(unseen, 1 / trials**2, mean.variance + surplus)
    # the rule of three as a symmetric interval: up to 3/trials of the law may give 0, or twice it
    variance = np.where(fixed, (-np.log(0.05) / 1.96 * level / trials) ** 2, variance)
    if not evidence.defensive:
        variance = np.where(unseen, np.nan, variance)
    # an error this small is one of rounding, of which nothing can be said but its size
    exact = mean.variance <= (1e-7 * (value + level)) ** 2
    return _Verdict(
        value=value,
        variance=variance,
        freedom=np.where(unseen | exact, np.inf, mean.degrees_of_freedom),
        trials=trials,
        rounding=(4 * np.finfo(float).eps * np.abs(value + units.centre)) ** 2,
        unseen=unseen,
        fixed=fixed,
        barely=barely,
        doubtful=doubtful,
        exact=exact,
    )


def _cautions(evidence: Evidence, verdict: _Verdict) -> list[Caution]:
    """What can't be promised of these values."""
    mean, unseen, never = evidence.mean, verdict.unseen, verdict.never
    found: list[Caution] = []

    def say(which: np.ndarray, code: str, text: str) -> None:
        which = which & ~np.asarray(evidence.quiet)
        if which.any():
            found.append(Caution(code, f"{listed(evidence.names, which)}: {text}"))

    if evidence.defensive:
        text = (
            "no draw gave a value other than 0; the interval reaches from 0 to -log(1 - level)/n "
            "(3/n at 95 %, the rule of three; n: trials of the law that the draws are worth), an "
            "upper limit for the probability that the integrand is not 0. More calls, or a "
            "proposal that reaches farther, would help"
        )
    else:
        text = (
            "no draw gave a value other than 0, and without draws of the input law (defensive=0) "
            "nothing limits what was missed: there is no standard error"
        )
    say(never, "no-hit", text)
    if verdict.fixed.any():
        text = (
            "every draw gave the same value; the standard error allows for 0, or twice that value, "
            "on a part of the input law as likely as 3 in "
            f"{verdict.trials[verdict.fixed].min():.0f}, and for nothing larger"
        )
        say(verdict.fixed, "one-value", text)
    text = (
        "the estimate hangs on draws worth fewer than 10 equal ones; the standard error was "
        "widened by what the draws of the input law can't exclude. More calls would help, or a "
        "proposal to start from"
    )
    say(verdict.barely, "hardly-hit", text)
    text = (
        "adaptation ended before it had seen enough (draws worth fewer than 10 equal ones); the "
        "standard error was widened by the distance between its estimate and the final one. More "
        "calls would help"
    )
    say(verdict.doubtful, "short-adaptation", text)
    text = (
        "the interval leans on a few draws (worth fewer than 30 equal ones, or fewer than 5 "
        "degrees of freedom). More calls would help"
    )
    few = ~unseen & ~verdict.barely & ((mean.effective < 30) | (verdict.freedom < 5))
    say(few, "few-draws", text)
    # over 0.5 the variance is infinite; bounded terms that spread widely can look the same, but
    # then the variance does not hang on a few of them
    shapes = mean.tail_shape
    heavy = ~unseen & (shapes > 0.5) & (verdict.freedom < 50)
    if heavy.any():
        text = f"Pareto k-hat up to {shapes[heavy].max():.2f}: "
        if evidence.space.law.few_valued:
            text += (
                "rare states of the inputs make up most of the error, and those not drawn yet may "
                "matter more than it says. More calls would help"
            )
        else:
            text += (
                "the tail of integrand times weight is too heavy for the standard error to be "
                "promised" + _largest_term(evidence, np.where(heavy, shapes, -np.inf))
            )
        say(heavy, "heavy-tails", text)
    if not evidence.defensive:
        shape, limit = pareto_k(evidence.log_weights), pareto_k_threshold(len(evidence.log_h))
        if shape > limit:
            text = f"Pareto k-hat of the weights is {shape:.2f} (limit {limit:.2f}): "
            text += "the proposal misses part of the input law"
            found.append(Caution("heavy-weights", text))
    return found


def _errors(evidence: Evidence, verdict: _Verdict) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The covariance of the values, or a factor of it, in the user's units."""
    mean, unit = evidence.mean, evidence.units.unit
    unseen, variance, lost = verdict.unseen, verdict.variance, np.isnan(verdict.variance)
    whole = np.maximum(variance, verdict.rounding)
    if mean.factor is not None:
        factor = np.where(unseen[:, None], 0.0, mean.factor)
        factor *= np.sqrt(whole / np.maximum(mean.variance, 1e-300))[:, None]
        alone = verdict.fixed | lost
        factor[alone, 0] = np.sqrt(variance[alone])
        return None, factor * unit[:, None]
    assert mean.covariance is not None
    apart = unseen | verdict.exact
    covariance = np.where(apart[:, None] | apart, 0.0, mean.covariance)
    covariance = (covariance + covariance.T) / 2
    covariance[lost] = covariance[:, lost] = np.nan
    np.fill_diagonal(covariance, whole)
    covariance *= np.outer(unit, unit)
    return covariance.reshape(()) if evidence.stages[0].scalar else covariance, None


def _sample(evidence: Evidence) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """The draws, as an estimate keeps them."""
    stages, space = evidence.stages, evidence.space
    x, log_f = joined(stages, "x"), joined(stages, "log_f")
    component = [np.repeat(np.arange(len(s.counts)), s.counts) for s in stages]
    lower, upper = space.law.ranges
    kept = (
        {} if stages[0].raw is None else {"returned": (("draw", "column"), joined(stages, "raw"))}
    )
    return {
        "inputs": (("draw", "input"), x),
        "values": (("draw", "expectation"), evidence.units.original(evidence.values)),
        "log_weight": (("draw",), evidence.log_weights),
        "log_density": (("draw",), space.input_log_density(x, log_f)),
        **kept,
        "component": (("draw",), np.concatenate(component)),
        "input": (("input",), np.array(space.law.names)),
        "lower": (("input",), lower),
        "upper": (("input",), upper),
        "expectation": (("expectation",), np.array(evidence.names)),
    }


def _bounds(values: np.ndarray) -> Bounds | None:
    """Where means of values (n, J) lie for certain: those of indicators from 0 to 1."""
    events = ((values == 0) | (values == 1)).all(0)
    if events.all() or not events.any():
        return (0.0, 1.0) if events.all() else None
    return np.where(events, 0.0, -np.inf).tolist(), np.where(events, 1.0, np.inf).tolist()


def report(
    evidence: Evidence,
    cautions: Sequence[Caution],
    *,
    method: str,
    evaluations: int,
    began: float,
    source: dict[str, Any],
    diagnostics: dict[str, Any],
) -> Estimate:
    """The estimate in the user's units, with its diagnostics and all that can't be promised."""
    mean, units, log_w = evidence.mean, evidence.units, evidence.log_weights
    tiny = units.unit < 1 / LARGEST
    text = (
        f"has sizes up to {units.unit.min():.1g}; expected sizes above {1 / LARGEST:g}, whose "
        "squares are numbers still: use other units"
    )
    if tiny.all():
        raise ModelError(f"integrand: {evidence.names[0]!r} {text}")
    verdict = _judged(evidence)
    if tiny.any():
        # its errors are no numbers: the others keep theirs
        verdict = replace(verdict, variance=np.where(tiny, np.nan, verdict.variance))
        cautions = [*cautions, Caution("no-square", f"{listed(evidence.names, tiny)}: {text}")]
    unseen, value, variance = verdict.unseen, verdict.value, verdict.variance
    crude = np.maximum(mean.second - value**2, 0.0) / evaluations
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = crude / np.maximum(variance, verdict.rounding)
        bought = mean.plain / np.maximum(mean.variance, verdict.rounding)
    columns = {
        "gain_over_monte_carlo": np.where(unseen, np.nan, gain),
        "control_variance_reduction": np.where(unseen, np.nan, bought),
        "control_variate": diagnostics["control_variate"],
        "pareto_k": mean.tail_shape,
        "effective_draws": mean.effective,
    }
    found = [*cautions, *_cautions(evidence, verdict)]
    no_hit = verdict.never & ~np.isnan(variance)
    scalar = evidence.stages[0].scalar

    def shaped(table: np.ndarray) -> np.ndarray:
        return table[0] if scalar else table

    covariance, factor = _errors(evidence, verdict)
    return Estimate(
        shaped(units.original(value)),
        covariance,
        factor=factor,
        names=evidence.names,
        method=method,
        degrees_of_freedom=shaped(verdict.freedom),
        trials=shaped(np.where(no_hit, verdict.trials, 0.0)) if no_hit.any() else None,
        diagnostics={
            **columns,
            "effective_sample_size": effective_sample_size(log_w),
            "perplexity": perplexity(log_w),
            "largest_weight": largest_weight(log_w),
            "pareto_k_weights": pareto_k(log_w),
            **diagnostics,
        },
        cautions=found,
        columns=list(columns),
        bounds=_bounds(units.original(evidence.values)),
        cost={
            "evaluations": evaluations,
            "seconds": time.perf_counter() - began,
            "stages": len(diagnostics["stages"]) + 1,
        },
        provenance=source,
        sample=_sample(evidence),
    )
