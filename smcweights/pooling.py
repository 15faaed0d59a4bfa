"""Pooling independent runs of one method on one question; ratios of independent evidences."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from .arguments import several, shown
from .cautions import Caution, tell
from .estimate import Estimate
from .provenance import HOW_FAR

Array = NDArray[np.float64]
UNNORMALISED = "log integral"  # in place of a log evidence, where a prior lacks its constant

# arguments that say how far or where to run, and nothing of what is asked
CODE = r"(?<=\S) [0-9a-f]{12}(?=\"| \()"  # digest of a signature


class HasEvidence(Protocol):
    """A result that has a log evidence, or is None where it has none."""

    @property
    def log_evidence(self) -> Estimate | None:
        """Of the model."""


class HasLikelihood(Protocol):
    """A result of a filter: its log likelihood is a log evidence."""

    @property
    def log_likelihood(self) -> Estimate:
        """Of the model."""


Evidence = Estimate | HasEvidence | HasLikelihood


class Pooled(Protocol):
    """A result made of estimates, which says how independent runs of it are pooled."""

    @classmethod
    def pooled(cls, runs: Sequence[Self], /) -> Self:
        """One result of several."""


Run = TypeVar("Run", bound=Estimate | Pooled)


def combine(estimates: Sequence[Run]) -> Run:
    """Pool independent runs of one method into one estimate.

    Runs are weighted by ``cost["evaluations"]``, never by their estimated variances: these are
    correlated with the values, and weighting by them is biased (a run that missed the tail claims
    the smallest variance). Degrees of freedom are Welch and Satterthwaite's. Whether the runs
    contradict one another is judged by Welch's test of equal means.

    Parameters
    ----------
    estimates : sequence of Estimate, or of SobolIndices
        Same names, method, data and arguments, but for those that say how far or where to run
        (seed, budget, precision, executor, progress, checkpoint); different seeds. Of given draws
        (`from_weights`, `sobol_from_sample`) that they are of the same laws is the caller's word,
        which the test of equal means may contradict.

    Returns
    -------
    Estimate
        Without sample. Diagnostics: ``runs``, ``run_weights`` (shape (R,)), ``heterogeneity``
        (p-value per component: how likely the runs differ this much by chance; NaN with one run
        or without standard errors). The cautions of the runs come along, and their provenances
        under ``"combined"``.

    Raises
    ------
    ValueError
        No runs; names, method, data or an argument differ, and the message says which; a run has
        no number of evaluations; two runs share a seed or their draws and are not independent.

    Warns
    -----
    PrecisionWarning
        The runs contradict one another (a p-value times the number of components is below 1e-4),
        or some runs saw hits of a component and others none.

    References
    ----------
    Welch (1951), On the comparison of several mean values, Biometrika 38.

    Examples
    --------
    >>> a = Estimate(1.0, 0.04, cost={"evaluations": 100})
    >>> b = Estimate(1.3, 0.02, cost={"evaluations": 300})
    >>> combine([a, b])
    Estimate, 400 evaluations
      estimate  1.23 +- 0.12  [1.00, 1.45]
    """
    if isinstance(estimates, Estimate):
        raise TypeError("estimates: got one Estimate; expected a list of independent runs")
    if isinstance(estimates, Mapping):
        raise TypeError(
            "estimates: got a dict; expected a list of independent runs, as list(runs.values())"
        )
    runs: list[Any] = several("estimates", estimates, "independent runs")
    if runs and hasattr(runs[0], "pooled") and {type(run) for run in runs} == {type(runs[0])}:
        return cast(Run, type(runs[0]).pooled(runs))
    _check_runs(runs)
    first, names = runs[0], runs[0].names
    evaluations = np.array([run.cost["evaluations"] for run in runs], dtype=np.float64)
    share = evaluations / evaluations.sum()
    values, freedom, every, no_hit = (
        np.array([np.atleast_1d(one) for one in each])
        for each in (
            [run.value for run in runs],
            [run.degrees_of_freedom for run in runs],
            [run.variance for run in runs],
            [0 * run.value if run.trials is None else run.trials for run in runs],
        )
    )
    none_hit, some_hit = (no_hit > 0).all(axis=0), (no_hit > 0).any(axis=0)
    # a run without a hit adds nothing to the pooled variance where others have hits: sample
    # variances, zeros included, are unbiased for the variance of the pooled mean
    unseen = np.divide(1.0, no_hit**2, out=np.zeros_like(no_hit), where=no_hit > 0)
    parts = share[:, None] ** 2 * (every - unseen)
    heterogeneity = _welch_test(values, every, freedom)
    found = [
        Caution(
            "contradiction",
            f"{names[j]}: the runs contradict one another (p = {heterogeneity[j]:.1g}); their "
            "standard errors can't all be right",
        )
        for j in np.flatnonzero(heterogeneity * len(names) < 1e-4)
    ] + [
        Caution(
            "missed-hits",
            f"{names[j]}: {int((no_hit[:, j] > 0).sum())} of {len(runs)} runs saw no hit",
        )
        for j in np.flatnonzero(some_hit & ~none_hit)
    ]
    tell("combine", found)
    shape = first.value.shape
    trials = np.where(none_hit, no_hit.sum(axis=0), 0.0).reshape(shape)
    pooled = Estimate(
        (share @ values).reshape(shape),
        **_pooled_spread(runs, share, unseen),
        names=names,
        method=first.method,
        degrees_of_freedom=pooled_freedom(parts, freedom).reshape(shape),
        trials=trials if none_hit.any() else None,
        diagnostics={"runs": len(runs), "run_weights": share, "heterogeneity": heterogeneity},
        cautions=[*dict.fromkeys(c for run in runs for c in run.cautions), *found],
        columns=["heterogeneity"],
        **behind(runs),
        bounds=_common_bounds(runs),
    )
    return cast(Run, pooled)


def _common_bounds(runs: list[Estimate]) -> list[Any] | None:
    """Where every run's value lies for certain."""
    known = [run.bounds for run in runs if run.bounds is not None]
    if len(known) < len(runs):
        return None
    shape = runs[0].value.shape
    lower, upper = ([np.broadcast_to(own[k], shape) for own in known] for k in (0, 1))
    return [np.max(lower, axis=0), np.min(upper, axis=0)]


def _pooled_spread(runs: list[Estimate], share: Array, unseen: Array) -> dict[str, Any]:
    """Covariance of the weighted mean of what was hit, or a factor of it where a run has one."""
    if any(run.factor is not None for run in runs):
        roots = [run.root(hits_only=True) for run in runs]
        root = np.hstack([w * own for w, own in zip(share, roots, strict=True)])
        root[np.isnan(root).any(axis=1)] = np.nan
        return {"factor": root}
    whole = np.zeros(runs[0].value.shape * 2)
    for run, w, own in zip(runs, share, unseen, strict=True):
        whole += w**2 * (run.covariance - np.diag(own).reshape(whole.shape))
    return {"covariance": whole}


def pooled_freedom(parts: Array, freedom: Array) -> Array:
    """Welch's and Satterthwaite's degrees of freedom of a sum of variances, (R, J) each."""
    total = parts.sum(axis=0)
    fractions = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
    scatter = (fractions**2 / freedom).sum(axis=0)
    return np.divide(1.0, scatter, out=np.full_like(scatter, math.inf), where=scatter > 0)


def behind(runs: Sequence[Estimate]) -> dict[str, Any]:
    """What an estimate that rests on several says of them: cost, provenance and references."""
    return {
        "cost": total_cost(runs),
        "provenance": {"combined": [run.provenance for run in runs]},
        "references": dict.fromkeys(source for run in runs for source in run.references),
    }


def total_cost(runs: Sequence[Estimate]) -> dict[str, Any]:
    """Costs of all runs, each kind added up."""
    cost: dict[str, Any] = {}
    for run in runs:
        for key, amount in run.cost.items():
            if isinstance(amount, int | float):
                cost[key] = cost.get(key, 0) + amount
    return cost


def _welch_test(values: Array, variances: Array, freedom: Array) -> Array:
    """p-value, shape (J,), of equal means of R runs, from arrays of shape (R, J)."""
    from scipy.special import fdtrc

    n = len(values)
    if n == 1:
        return np.full(values.shape[1], np.nan)
    # a variance of 0 is exact knowledge, up to rounding
    floor = 1e-24 * np.maximum(values**2, np.nan_to_num(variances)).max(axis=0)
    precision = 1 / np.maximum(variances, np.where(floor > 0, floor, 1.0))
    share = precision / precision.sum(axis=0)
    between = (precision * (values - (share * values).sum(axis=0)) ** 2).sum(axis=0) / (n - 1)
    uncertainty = ((1 - share) ** 2 / freedom).sum(axis=0)
    ratio = between / (1 + 2 * (n - 2) / (n**2 - 1) * uncertainty)
    # from 1e9 denominator degrees of freedom on, the F law is a chi-square law
    denominator = (n**2 - 1) / (3 * np.maximum(uncertainty, 1e-9))
    return fdtrc(n - 1, denominator, ratio)


def log_bayes_factor(a: Evidence, b: Evidence) -> Estimate:
    """Log of the ratio of two evidences, from independent estimates of their logarithms.

    The variances add up; degrees of freedom are Welch and Satterthwaite's.

    Parameters
    ----------
    a, b : Estimate, Posterior, WeightedSequences or FilterResult
        Of one log evidence each, or results that have one; with different seeds.

    Returns
    -------
    Estimate
        log evidence of a minus that of b.

    Raises
    ------
    TypeError
        One is no Estimate of one number, nor a result that has a log evidence.
    ValueError
        They have a seed in common, and are not independent; or one is a log integral, the prior
        of which is known up to a constant only.

    References
    ----------
    Welch (1947), The generalization of "Student's" problem, Biometrika 34.

    Examples
    --------
    >>> a = Estimate(-10.0, 0.04, degrees_of_freedom=9)
    >>> b = Estimate(-12.0, 0.01, degrees_of_freedom=3)
    >>> ratio = log_bayes_factor(a, b)
    >>> float(ratio.value), round(float(ratio.degrees_of_freedom), 2)
    (2.0, 11.84)
    """
    both = [evidence_of("a", a), evidence_of("b", b)]
    require_independence([(i, s) for i, e in enumerate(both) for s in single_runs(e.provenance)])
    parts = np.array([one.variance.reshape(1) for one in both])
    freedom = np.array([np.reshape(one.degrees_of_freedom, 1) for one in both], dtype=np.float64)
    return Estimate(
        float(both[0].value.item() - both[1].value.item()),
        float(parts.sum()),
        names=["log Bayes factor"],
        method="log Bayes factor",
        degrees_of_freedom=float(pooled_freedom(parts, freedom)[0]),
        cautions=dict.fromkeys(caution for one in both for caution in one.cautions),
        **behind(both),
    )


def evidence_of(name: str, given: object) -> Estimate:
    """The log evidence that was given, or that of a result."""
    parts = [getattr(given, part, None) for part in ("log_evidence", "log_likelihood")]
    found = next((part for part in parts if isinstance(part, Estimate)), given)
    if not isinstance(found, Estimate) or found.value.size != 1:
        raise TypeError(
            f"{name}: got {shown(given)}; expected an Estimate of one number, or a result with a "
            "log evidence"
        )
    if found.names == (UNNORMALISED,):
        raise ValueError(
            f"{name}: got a {UNNORMALISED}, its prior is known up to a constant only; expected a "
            "log evidence"
        )
    return found


def _check_runs(runs: list[Estimate]) -> None:
    """Whether the runs are of one method on one question, independent, and can be weighted."""
    if not runs:
        raise ValueError("estimates: got none; expected at least one")
    for i, run in enumerate(runs):
        if not isinstance(run, Estimate):
            raise TypeError(f"estimates: item {i} is a {type(run).__name__}; expected Estimate")
        for what in ("names", "method"):
            first, here = getattr(runs[0], what), getattr(run, what)
            if first != here or run.value.shape != runs[0].value.shape:
                raise ValueError(f"estimates: {what} of item 0 is {first!r}, of item {i} {here!r}")
        evaluations = run.cost.get("evaluations")
        if not (isinstance(evaluations, int | float) and 0 < evaluations < math.inf):
            raise ValueError(
                f"estimates: cost['evaluations'] of item {i} is {evaluations!r}; expected a "
                "positive number to weight it by"
            )
    check_independence(runs)


def check_independence(runs: Sequence[Estimate]) -> None:
    """Refuse runs that are one and the same, have a seed in common, or different questions."""
    sources = [(i, source) for i, run in enumerate(runs) for source in single_runs(run.provenance)]
    require_independence(sources)
    _require_one_question(sources)
    for i, run in enumerate(runs):
        for j, earlier in enumerate(runs[:i]):
            if run is earlier or _same_draws(run, earlier):
                raise ValueError(
                    f"estimates: items {j} and {i} are of the same draws; they are not independent"
                )


def _same_draws(one: Estimate, other: Estimate) -> bool:
    """Whether runs rest on the same draws, as far as their provenance says."""
    first, second = (
        {digest for source in single_runs(run.provenance) for digest in source.get("draws", ())}
        for run in (one, other)
    )
    return not first.isdisjoint(second)


def require_independence(sources: list[tuple[int, dict[str, Any]]]) -> None:
    """Refuse runs with a seed in common; the number is the item's."""
    seeds: dict[str, int] = {}
    for i, source in sources:
        seed = json.dumps(source.get("seed"), sort_keys=True)
        if seed != "null" and seed in seeds:
            raise ValueError(
                f"estimates: items {seeds[seed]} and {i} have the same seed; they are not "
                "independent: run one with another"
            )
        seeds[seed] = i


def single_runs(provenance: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The provenance of every single run behind an estimate, with all that was applied to it."""
    if "combined" not in provenance:
        yield provenance
    for inner in provenance.get("combined", ()):
        for source in single_runs(inner):
            after = source.get("applied", []) + provenance.get("applied", [])
            yield source | {"applied": after}


def _require_one_question(sources: list[tuple[int, dict[str, Any]]]) -> None:
    """Refuse runs about different data, or with different arguments; the number is the item's."""
    asked: dict[str, tuple[int, str, Any]] = {}
    for i, source in sources:
        question = {"data": source.get("data"), "applied": source.get("applied", [])}
        question |= source.get("arguments", {})
        for name in question.keys() - HOW_FAR:
            if name == "data" and question[name] is None:
                continue
            text = json.dumps(question[name], sort_keys=True, default=np.ndarray.tolist)
            j, known, versions = asked.setdefault(name, (i, text, source.get("versions")))
            # another interpreter has other code for the same function
            code = "" if versions == source.get("versions") else CODE
            if text == known or (code and re.sub(code, "", text) == re.sub(code, "", known)):
                continue
            if name == "data":
                raise ValueError(f"estimates: items {j} and {i} are about different data")
            name, texts = _difference(name, json.loads(known), json.loads(text))
            short = [t if len(t) <= 60 else f"{t[:57]}..." for t in texts]
            raise ValueError(
                f"estimates: items {j} and {i} have a different {name}: {short[0]} and {short[1]}"
            )


def _difference(name: str, one: object, other: object) -> tuple[str, tuple[str, str]]:
    """Name and texts of the first part in which two arguments differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        part = next(key for key in one if one[key] != other[key])
        return _difference(f"{name}.{part}", one[part], other[part])
    return name, (json.dumps(one), json.dumps(other))
