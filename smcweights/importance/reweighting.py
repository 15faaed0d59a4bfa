"""The same expectations under other laws of the inputs, without another model call.

The stored draws came from a density h and carry log f/h and the model's values. Under another law
f_p the weights are f_p/h: `reweight` turns one sample into expectations under any number of laws,
with their joint covariance, `perturbation_study` follows them as one input is shifted or widened;
laws known beforehand can be served by the adaptation itself, see `under_laws`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import number, one_of, real, several, shown
from ..cautions import Caution, tell
from ..errors import DegeneracyError, PrecisionWarning
from ..estimate import Estimate
from ..parts import Bounds
from ..provenance import asked_of, drawn, provenance
from ..randomness import seed_sequence
from ..regression import Choice
from ..results import Result, along, table
from ..weights import effective_sample_size, pareto_k, pareto_k_threshold
from .indices import SobolIndices, from_means, retold
from .laws import Law, aligned, as_law, perturbed
from .means import Mean, Regression, corrected_mean
from .other_priors import under_priors
from .pairs import Pairs, doubled_law
from .posteriors import Posterior
from .under_laws import called, check_within, log_density_within, names_under, several_laws
from .verdict import listed

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

METHOD = "reweighting"


@dataclass(frozen=True)
class Stored:
    """The sample that an estimate keeps, stratum by stratum."""

    inputs: tuple[str, ...]
    x: np.ndarray  # (n, d)
    values: np.ndarray  # (n, J)
    log_w: np.ndarray  # log f/h
    log_f: np.ndarray
    counts: np.ndarray
    lower: np.ndarray  # (d,) where the inputs begin
    upper: np.ndarray

    def log_ratio(self, law: Law, said: str) -> np.ndarray:
        """Log f_p/h of the draws under another law, refused where it reaches farther."""
        log_p = log_density_within(law, self.x, self.log_f, (self.lower, self.upper), said)
        with np.errstate(invalid="ignore"):
            return np.where(log_p > -np.inf, log_p - self.log_f + self.log_w, -np.inf)


def stored(estimate: object) -> Stored:
    """The sample of an estimate whose draws are independent, from a normalised law."""
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate: got {type(estimate).__name__}; expected an Estimate")
    sample = estimate.sample
    needed = ("inputs", "values", "log_weight", "log_density", "component")
    if sample is None or any(name not in sample for name in needed):
        raise ValueError(
            "estimate: has no sample of inputs, values and weights; expected one of "
            "adaptive_importance_sampling, importance_sampling or failure_probability"
        )
    if "pooled" in estimate.method or "self-normalised" in estimate.method:
        raise ValueError(
            f"estimate: is by {estimate.method}; expected independent draws from a normalised law"
        )
    if "failed" in sample and sample["failed"].any():
        raise ValueError(
            "estimate: some of its runs failed, where its sample has no values; expected one of a "
            "model that always runs"
        )
    stratum = np.asarray(sample["component"])
    order = np.argsort(stratum, kind="stable")
    x, values, log_w, log_f = (np.asarray(sample[name])[order] for name in needed[:4])
    inputs = tuple(str(name) for name in sample["input"].values)
    lower, upper = np.full(len(inputs), -np.inf), np.full(len(inputs), np.inf)
    if "lower" in sample:
        lower, upper = (np.asarray(sample[end]) for end in ("lower", "upper"))
    return Stored(inputs, x, values, log_w, log_f, np.bincount(stratum), lower, upper)


@dataclass(frozen=True)
class _Worth:
    """What weights are worth under each of P laws: effective draws, and Pareto k-hat."""

    ess: np.ndarray
    shape: np.ndarray
    cautions: list[Caution]

    @property
    def diagnostics(self) -> dict[str, np.ndarray]:
        """As estimates keep it."""
        return {"law_effective_sample_size": self.ess, "law_pareto_k": self.shape}


def _worth(log_ratios: dict[str, np.ndarray], least: float, what: str, remedy: str) -> _Worth:
    """What weights, by law, are worth; a law for which that is too little is refused."""
    ess, shape, cautions = np.empty(len(log_ratios)), np.empty(len(log_ratios)), list[Caution]()
    for p, (name, log_ratio) in enumerate(log_ratios.items()):
        ess[p] = effective_sample_size(log_ratio) if (log_ratio > -np.inf).any() else 0.0
        if ess[p] < least:
            raise DegeneracyError(
                f"{called(name)}: got stored {what} worth {ess[p]:.1f} of this law; expected at "
                f"least {least:g}. A law nearer to the first, or {remedy}, would do"
            )
        shape[p], limit = pareto_k(log_ratio), pareto_k_threshold(len(log_ratio))
        if shape[p] > limit:
            text = (
                f"{called(name)}: Pareto k-hat of the weights is {shape[p]:.2f} "
                f"(limit {limit:.2f}): the standard errors can't be promised"
            )
            cautions.append(Caution("heavy-weights", text))
    return _Worth(ess, shape, cautions)


def reweight(
    estimate: Estimate | SobolIndices | Posterior,
    laws: object,
    *,
    least_effective: float = 50.0,
) -> Estimate:
    """Expectations, Sobol' indices or a posterior under other laws, from the stored sample.

    E_p[phi_j] = E_h[phi_j f_p/h] for every law f_p. What h was drawn for decides how well: a law
    far from the first one leaves few draws that count. Control variates are f_p/h and f/h, whose
    means are 1. Those of the first estimate are not among them, as the sample doesn't hold them:
    under its own law the answer has another error than the estimate, larger where they took much
    away (a mean), the same where they didn't (a rare event), and differs within that error.

    Parameters
    ----------
    estimate : Estimate, SobolIndices or Posterior
        Of `adaptive_importance_sampling`, `importance_sampling` or `failure_probability`; or of
        `sobol_indices`, whose pairs of inputs are weighted (without polynomials); or of
        `posterior`: ``laws`` are priors then, and the answer is the log evidence, the means and
        the standard deviations under each.
    laws : law, or dict or list of laws
        P laws of the same d inputs, nowhere positive where the first law is not; a dict names them.
    least_effective : float, default 50
        Refuse a law for which the weights f_p/h are worth fewer draws.

    Returns
    -------
    Estimate
        ``value`` of shape (J P,), the J expectations under the first law, then those under the
        second, ..., with their joint covariance; named ``"expectation | law"`` for several laws.
        Diagnostics, each of shape (P,): ``law_effective_sample_size`` and ``law_pareto_k``.

    Raises
    ------
    DegeneracyError
        The weights under a law are worth fewer than ``least_effective`` draws; names the law.
    TypeError, ValueError
        The estimate has no sample; a law doesn't fit it, or reaches beyond the first one's support.

    Warns
    -----
    PrecisionWarning
        The weights under a law have too heavy a tail, or nothing was hit.

    References
    ----------
    Reverse importance sampling, Demange-Chryst, Bachoc & Morio (2023), arXiv 2212.00568, section 5.

    Examples
    --------
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> estimate = smw.adaptive_importance_sampling(
    ...     lambda x: x[:, 0] ** 2, stats.norm(), 5_000, seed=2
    ... )
    >>> other = smw.reweight(estimate, stats.norm(0.5, 1))
    >>> bool(abs(other.value - 1.25) < 4 * other.standard_error)
    True
    """
    least_effective = number("least_effective", least_effective, 0, ends=True)
    if isinstance(estimate, SobolIndices):
        return _sobol(estimate, laws, least_effective)
    if isinstance(estimate, Posterior):
        return under_priors(estimate, laws, least_effective)
    began = time.perf_counter()
    sample = stored(estimate)
    found = several_laws(laws, sample.inputs)
    log_ratios = {name: sample.log_ratio(law, called(name)) for name, law in found.items()}
    remedy = "a sample drawn for both (under_laws)"
    worth = _worth(log_ratios, least_effective, "draws", remedy)
    weights = np.exp(np.stack(list(log_ratios.values()), axis=1))
    _check_cover(weights, list(found))
    mean, used = _mean_under(sample, weights)
    names, cautions, unseen = names_under(estimate.names, found), worth.cautions, mean.hits == 0
    if unseen.any():
        text = f"{listed(names, unseen)}: no draw gave a value other than 0: "
        cautions = [*cautions, Caution("no-hit", text + "there is no standard error")]
    asked = {"laws": found, "estimate": asked_of(estimate)}
    source = provenance(METHOD, seed_sequence(0), asked) | drawn(sample.x)
    scalar = estimate.value.ndim == 0 and "" in found
    covariance, factor = _errors(mean)
    result = Estimate(
        mean.value[0] if scalar else np.where(unseen, 0.0, mean.value),
        covariance.reshape(()) if scalar and covariance is not None else covariance,
        factor=factor,
        names=names,
        method=METHOD,
        degrees_of_freedom=mean.degrees_of_freedom[0] if scalar else mean.degrees_of_freedom,
        diagnostics={**worth.diagnostics, "control_variate": used},
        cautions=cautions,
        columns=["control_variate"],
        bounds=_bounds(estimate, len(found)),
        # it repeats no call; what it rests on did
        cost={**estimate.cost, "seconds": time.perf_counter() - began},
        provenance={**source, "seed": estimate.provenance.get("seed")},
    )
    tell("reweight", cautions)
    return result


def _bounds(estimate: Estimate, laws: int) -> Bounds | None:
    """Of the same expectations under so many laws."""
    ends = estimate.bounds
    return ends and [end if isinstance(end, float) else [*end] * laws for end in ends]


def _check_cover(weights: np.ndarray, names: list[str]) -> None:
    """Refuse a law with mass where nothing was ever drawn, which shows in the mean weight."""
    for name, w in zip(names, weights.T, strict=True):
        off = abs(w.mean() - 1)
        if off > 5 * w.std() / np.sqrt(len(w)) + 1e-6 and off > 0.01:
            raise ValueError(
                f"{called(name)}: the stored draws cover {w.mean():.3g} of it where 1 is expected; "
                "is it normalised, and positive only where the first law is?"
            )


def _mean_under(sample: Stored, weights: np.ndarray) -> tuple[Mean, list[str]]:
    """Means of the values times weights (n, P), law by law, and how each was corrected."""
    (n, j), p = sample.values.shape, weights.shape[1]
    # f_p/h - 1 and f/h - 1 have mean zero
    own = np.concatenate([weights, np.exp(sample.log_w)[:, None]], axis=1) - 1
    direction = np.zeros((p + 1, j * p))
    direction[np.repeat(np.arange(p), j), np.arange(j * p)] = 1.0
    choices = [Choice("none"), Choice("own law", direction=direction)]
    terms = (weights[:, :, None] * sample.values[:, None, :]).reshape(n, -1)
    regression = Regression(choices, terms.mean(0))
    mean = corrected_mean(np.ones(n), terms, lambda a, b: own[a:b], sample.counts, regression)
    return mean, [choices[c].name for c in mean.chosen]


def _errors(mean: Mean) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Covariance of the mean, or a factor of it; none for what was never seen."""
    unseen = mean.hits == 0
    if mean.factor is not None:
        return None, np.where(unseen[:, None], np.nan, mean.factor)
    assert mean.covariance is not None
    covariance = (mean.covariance + mean.covariance.T) / 2
    # what rounding leaves of a value that is the same in every draw
    least = (4 * np.finfo(float).eps * np.abs(mean.value)) ** 2
    np.fill_diagonal(covariance, np.maximum(mean.variance, least))
    covariance[unseen] = covariance[:, unseen] = np.nan
    return covariance, None


def _sobol(found: SobolIndices, laws: object, least_effective: float) -> Estimate:
    """Sobol' indices under other laws of independent inputs, from the pairs of a result."""
    pairs = found.pairs
    if pairs is None:
        raise ValueError("estimate: keeps no model calls; expected a result of sobol_indices")
    if pairs.y is not None and np.isnan(pairs.y).any():
        raise ValueError("estimate: some of its runs failed; expected a model that always runs")
    named = several_laws(laws, pairs.law.names)
    for name, law in named.items():
        if not law.independent:
            raise ValueError(
                f"laws: {name!r}: its inputs are dependent; Sobol' indices need independent ones"
            )
    names, count = names_under(tuple(pairs.names), named), len(named)
    if pairs.means is None:
        return _sobol_of_points(found, pairs, named, names, least_effective)
    doubled = {name or "law": doubled_law(law) for name, law in named.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        moved = reweight(pairs.means, doubled, least_effective=least_effective)

    plan, outputs = pairs.plan, len(pairs.outputs)

    def indices(means: np.ndarray) -> np.ndarray:
        return np.concatenate([plan.indices(m, outputs) for m in np.split(means, count)])

    undefined = np.tile(np.repeat(_flat(found), len(moved) // (count * outputs)), count)
    under = from_means(moved, undefined, indices, names, _few(found))
    # an output that doesn't vary is never hit, and has no index that could lack an error
    lost = np.isnan(under.standard_error[np.isfinite(under.value)]).any()
    under = retold(under, [c for c in under.cautions if lost or c.code != "no-hit"])
    tell("reweight", under.cautions)
    return under


def _few(found: SobolIndices) -> str:
    calls = found.indices.cost["evaluations"]
    return f"{calls:,} calls are few for {len(found.inputs)} inputs"


def _flat(found: SobolIndices) -> np.ndarray:
    """Which outputs (K,) did not vary, and have no indices."""
    part = found.first or found.total or found.second
    assert part is not None
    return np.isnan(part.value.reshape(len(found.outputs), -1)[:, 0])


def _sobol_of_points(
    found: SobolIndices,
    pairs: Pairs,
    laws: dict[str, Law],
    names: list[str],
    least_effective: float,
) -> Estimate:
    """The same where the pairs are replicated points: the spread of their weighted means."""
    began = time.perf_counter()
    assert pairs.a is not None and pairs.b is not None
    replicates, n, d = pairs.a.shape
    a, b = (pairs.law.to_inputs(u.reshape(-1, d)) for u in (pairs.a, pairs.b))
    log_f = pairs.law.log_density(a) + pairs.law.log_density(b)
    log_ratios = {}
    for name, law in laws.items():
        check_within(law, *pairs.law.ranges, called(name))
        log_ratios[name] = law.log_density(a) + law.log_density(b) - log_f
        if pairs.weight is not None:
            log_ratios[name] += np.log(pairs.weight).ravel()
    worth = _worth(log_ratios, least_effective, "pairs", "more calls")
    terms, table = pairs.terms(), []
    for log_ratio in log_ratios.values():
        w = np.exp(log_ratio).reshape(replicates, n, 1)
        table.append(np.concatenate([w.mean(1), (w * terms).mean(1)], axis=1))
    means = np.stack(table, axis=1).reshape(replicates, -1)
    centre = means.mean(0)
    together = Estimate(
        centre,
        factor=(means - centre).T / np.sqrt(replicates * (replicates - 1)),
        degrees_of_freedom=replicates - 1,
        method=f"Sobol' indices by {METHOD}",
        diagnostics=worth.diagnostics,
        cautions=worth.cautions,
        cost={**found.indices.cost, "seconds": time.perf_counter() - began},
        provenance={
            **found.indices.provenance,
            "method": METHOD,
            "laws": {name: law.describe() for name, law in laws.items()},
        },
    )

    plan, outputs, count = pairs.plan, len(pairs.outputs), len(laws)

    def ratios(v: np.ndarray) -> np.ndarray:
        # the weights' own mean is 1: dividing by it takes most of their noise away
        return np.concatenate([plan.indices(m[1:] / m[0], outputs) for m in np.split(v, count)])

    of_terms = np.repeat(_flat(found), terms.shape[2] // outputs)
    undefined = np.tile(np.concatenate([[False], of_terms]), count)
    moved = from_means(together, undefined, ratios, names, _few(found))
    tell("reweight", moved.cautions)
    return moved


@dataclass(frozen=True)
class PerturbationStudy(Result):
    """How expectations move when one input's law is shifted or widened.

    Attributes
    ----------
    estimate : Estimate
        All values with their joint covariance: expectations within grid points within inputs.
    inputs : tuple of str
        The inputs perturbed.
    kind : {"shift", "scale"}
    grid : ndarray, shape (G,)
        Shifts in standard deviations, or factors of the scale.
    expectations : tuple of str
    """

    estimate: Estimate
    inputs: tuple[str, ...]
    kind: str
    grid: np.ndarray = field(metadata=along("grid"))
    expectations: tuple[str, ...]

    def __repr__(self) -> str:
        """What was moved how far, and where the numbers are."""
        moved = "shifted by" if self.kind == "shift" else "scaled by"
        inputs, expectations = len(self.inputs), len(self.expectations)
        return (
            f"PerturbationStudy of {expectations} expectation{'s' * (expectations != 1)}, "
            f"{inputs} input{'s' * (inputs != 1)} {moved} {self.grid.size} values from "
            f"{self.grid.min():g} to {self.grid.max():g}\n"
            f"  inputs        {', '.join(self.inputs)}\n"
            f"  expectations  {', '.join(self.expectations)}\n"
            "  .table() has arrays (inputs, values, expectations), .summary() a row for each, "
            ".plot() the curves"
        )

    def table(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, lower and upper ends, each of shape (inputs, G, J)."""
        lower, upper = self.estimate.interval(level)
        shape = (len(self.inputs), len(self.grid), len(self.expectations))
        value, lower, upper = (np.reshape(v, shape) for v in (self.estimate.value, lower, upper))
        return value, lower, upper

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """A row per input, grid point and expectation."""
        import pandas

        value, lower, upper = self.table(level)
        rows = pandas.MultiIndex.from_product(
            [self.inputs, self.grid, self.expectations], names=["input", self.kind, "expectation"]
        )
        error = np.atleast_1d(self.estimate.standard_error)
        columns = (value.ravel(), error, lower.ravel(), upper.ravel())
        return table(enumerate(zip(*columns, strict=True))).set_axis(rows)

    def plot(self, ax: Axes | None = None, *, expectation: int = 0, level: float = 0.95) -> Axes:
        """Curves with bands, one per input: see `plots.perturbation`."""
        from .figures import perturbation

        return perturbation(self, ax, expectation=expectation, level=level)


def perturbation_study(
    estimate: Estimate,
    law: object,
    *,
    shifts: ArrayLike | None = None,
    scales: ArrayLike | None = None,
    inputs: Sequence[str] | None = None,
    least_effective: float = 50.0,
) -> PerturbationStudy:
    """Move the law of each input in turn, and follow the estimates from one stored sample.

    An input X = F^-1(Phi(Z)) becomes F^-1(Phi(shift + scale Z)): for a normal input its mean moves
    by ``shift`` standard deviations, or its standard deviation is multiplied by ``scale``; bounded
    and skewed inputs keep their support. The ranks of correlated inputs keep their correlation.

    Parameters
    ----------
    estimate : Estimate
        With its sample, as for `reweight`.
    law : law
        The law the estimate was made with: independent inputs or a Gaussian copula.
    shifts, scales : array_like of shape (G,), optional
        Give one of them; by default shifts from -1 to 1 in nine steps.
    inputs : sequence of str, optional
        Names of the inputs to perturb; all of them by default.
    least_effective : float, default 50
        As for `reweight`.

    Returns
    -------
    PerturbationStudy

    Raises
    ------
    DegeneracyError, TypeError, ValueError
        As for `reweight`; or the law has no map, an input is unknown, a scale is not positive.

    References
    ----------
    Lemaitre, Sergienko, Arnaud, Bousquet, Gamboa & Iooss (2015), Density modification-based
    reliability sensitivity analysis, J. Stat. Comput. Simul. 85, arXiv 1210.1074.

    Examples
    --------
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> law = {"a": stats.norm(), "b": stats.norm()}
    >>> estimate = smw.adaptive_importance_sampling(lambda x: 2 * x[:, 0], law, 5_000, seed=1)
    >>> study = smw.perturbation_study(estimate, law, shifts=[-0.5, 0.5])
    >>> study.table()[0][:1, :, 0].round(1).tolist()
    [[-1.0, 1.0]]
    """
    sample = stored(estimate)
    reference = replace(aligned(as_law(law), sample.inputs, "law"), names=sample.inputs)
    _check_own(reference, sample)
    if reference.marginals is None:
        raise ValueError("law: a joint density has no inputs to perturb one at a time")
    kind, grid = _grid(shifts, scales)
    chosen = reference.names if inputs is None else tuple(several("inputs", inputs, "names"))
    for name in chosen or (None,):
        one_of("inputs", name, reference.names)
    if fixed := [name for name in chosen if name in reference.atoms]:
        rest = [name for name in reference.names if name not in reference.atoms]
        raise ValueError(
            f"inputs: {', '.join(map(repr, fixed))}: discrete or constant, which no shift or scale "
            f"moves; expected inputs={rest}, and reweight with laws of your own for the others"
        )
    laws = {}
    for name in chosen:
        for g in grid:
            try:
                laws[f"{name} {kind} {g:g}"] = perturbed(reference, name, **{kind: float(g)})
            except ValueError as error:
                raise ValueError(
                    f"{kind}s: {g:g} moves input {name!r} to where numbers end: {error}"
                ) from error
    moved = reweight(estimate, laws, least_effective=least_effective)
    return PerturbationStudy(moved, chosen, kind, grid, estimate.names)


def _check_own(law: Law, sample: Stored) -> None:
    """Refuse another law than the one the sample was drawn for."""
    here, log_f = law.log_density(sample.x), sample.log_f
    with np.errstate(invalid="ignore"):
        other = ~((here == log_f) | (np.abs(here - log_f) < 1e-6 * (1 + np.abs(log_f))))
    if other.any():
        raise ValueError(
            f"law: is not the one the estimate was made with: its log density at "
            f"{sample.x[other][0].tolist()} is {here[other][0]:.6g}, that one's "
            f"{log_f[other][0]:.6g}"
        )


def _grid(shifts: ArrayLike | None, scales: ArrayLike | None) -> tuple[str, np.ndarray]:
    """Whether inputs are shifted or scaled, and by what."""
    if shifts is not None and scales is not None:
        raise ValueError("scales: got shifts, too; expected one of the two")
    kind = "shift" if scales is None else "scale"
    given = shifts if scales is None else scales
    grid = np.linspace(-1, 1, 9) if given is None else real(f"{kind}s", given)
    if grid.ndim != 1 or grid.size == 0 or not np.isfinite(grid).all():
        raise ValueError(f"{kind}s: got {shown(given)}; expected finite numbers of shape (G,)")
    if kind == "scale" and (grid <= 0).any():
        raise ValueError(f"scales: smallest is {grid.min()}; expected positive factors")
    return kind, grid
