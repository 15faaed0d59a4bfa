"""The same expectations under other laws of the inputs, without another model call.

The stored draws came from a density h and carry log f/h and the model's values. Under another law
f_p the weights are f_p/h: `reweight` turns one sample into expectations under any number of laws,
with their joint covariance. `perturbation_study` does so for every input, shifted or widened over
a grid. Laws that are known beforehand can be served by the adaptation itself: `under_laws` makes
one integrand of an integrand and several laws.

Reference: reverse importance sampling, as in Demange-Chryst, Bachoc & Morio (2023), arXiv
2212.00568, section 5; Lemaitre et al. (2015), J. Stat. Comput. Simul. 85, for perturbed laws.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DegeneracyError, PrecisionWarning
from ..estimate import Estimate
from ..provenance import provenance
from ..randomness import generator, seed_sequence
from ..regression import Choice
from ..weights import effective_sample_size, pareto_k, pareto_k_threshold
from .laws import Law, aligned, as_law, perturbed
from .sampling import Controls, call_integrand, corrected_mean

if TYPE_CHECKING:
    import pandas

    from .sensitivity import SobolIndices

__all__ = ["PerturbationStudy", "perturbation_study", "reweight", "under_laws"]

METHOD = "reweighting"
LOST = 1e-12  # probability that a law may have where the first one has none
SUPPORT = 4_096  # draws of a law that tell whether another covers it


def _laws(laws: Any, inputs: Sequence[str]) -> dict[str, Law]:
    """One law, or several in a dict or list, by name; their inputs in this order."""
    dimension = len(inputs)
    try:
        one = as_law(laws)
    except (TypeError, ValueError):
        one = None
    if one is not None and one.dimension == dimension:
        return {"": aligned(one, inputs, "laws")}
    if isinstance(laws, Mapping):
        found = {str(name): law for name, law in laws.items()}
    elif isinstance(laws, list | tuple):
        found = {f"law {i + 1}": law for i, law in enumerate(laws)}
    else:
        raise TypeError(
            f"laws: got {type(laws).__name__}; expected a law, or a dict or list of laws"
        )
    if not found:
        raise ValueError("laws: got none; expected at least one")
    made = {}
    for name, law in found.items():
        try:
            made[name] = as_law(law)
        except (TypeError, ValueError) as error:
            raise type(error)(f"laws: {name!r}: {error}") from error
        if made[name].dimension != dimension:
            raise ValueError(
                f"laws: {name!r} has {made[name].dimension} inputs; the sample has {dimension}"
            )
        made[name] = aligned(made[name], inputs, f"laws: {name!r}")
    return made


def _within(law: Law, lower: np.ndarray, upper: np.ndarray, said: str) -> None:
    """Refuse a law with mass outside the ranges (d,) of the first law's inputs."""
    if law.marginals is not None:
        lost = [
            float(m.cdf(low) * (low > -np.inf) + m.sf(high) * (high < np.inf))
            for m, low, high in zip(law.marginals, lower, upper, strict=True)
        ]
    else:
        x = law.sample(generator(seed_sequence(0), "support"), SUPPORT)
        lost = ((x < lower) | (x > upper)).mean(0).tolist()
    i = int(np.argmax(lost))
    if lost[i] > LOST:
        raise ValueError(
            f"{said}: {lost[i]:.3g} of input {law.names[i]!r} lies outside [{lower[i]:.6g}, "
            f"{upper[i]:.6g}], where the first law has no density; expected a law on the same "
            "support"
        )


def _stored(estimate: Any) -> tuple[np.ndarray, ...]:
    """Inputs, values, log f/h, log f and strata of an estimate's sample, stratum by stratum."""
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
    stratum = np.asarray(sample["component"])
    order = np.argsort(stratum, kind="stable")
    x, values, log_w, log_f = (np.asarray(sample[name])[order] for name in needed[:4])
    return x, values, log_w, log_f, np.bincount(stratum)


def reweight(
    estimate: Estimate | SobolIndices, laws: Any, *, least_effective: float = 50.0
) -> Estimate:
    """Expectations or Sobol' indices under other input laws, from the stored sample.

    E_p[phi_j] = E_h[phi_j f_p/h] for every law f_p. What h was drawn for decides how well: a law
    far from the first one leaves few draws that count.

    Parameters
    ----------
    estimate : Estimate or SobolIndices
        Of `adaptive_importance_sampling`, `importance_sampling` or `failure_probability`; or of
        `sobol_indices`, whose pairs of inputs are weighted (without polynomials).
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
    Demange-Chryst, Bachoc & Morio (2023), arXiv 2212.00568.

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
    if hasattr(estimate, "pairs"):
        return _sobol(cast("SobolIndices", estimate), laws, least_effective)
    began = time.perf_counter()
    x, values, log_w, log_f, counts = _stored(estimate)
    assert isinstance(estimate, Estimate)
    assert estimate.sample is not None
    found = _laws(laws, [str(name) for name in estimate.sample["input"].values])
    n, j = values.shape
    weights = np.empty((n, len(found)))
    ess, shape = np.empty(len(found)), np.empty(len(found))
    cautions: list[str] = []
    limit = pareto_k_threshold(n)
    for p, (name, law) in enumerate(found.items()):
        said = f"laws: {name!r}" if name else "laws"
        if "lower" in estimate.sample:
            lower, upper = (np.asarray(estimate.sample[end]) for end in ("lower", "upper"))
            _within(law, lower, upper, said)
        log_p = law.log_density(x)
        outside = (log_p > -np.inf) & (log_f == -np.inf)
        if outside.any():
            raise ValueError(
                f"{said}: has a density at {x[outside][0].tolist()}, where the first law has none; "
                "expected a law on the same support"
            )
        with np.errstate(invalid="ignore"):
            log_ratio = np.where(log_p > -np.inf, log_p - log_f + log_w, -np.inf)
        ess[p] = effective_sample_size(log_ratio) if (log_ratio > -np.inf).any() else 0.0
        if ess[p] < least_effective:
            raise DegeneracyError(
                f"{said}: the stored draws are worth {ess[p]:.1f} of this law; expected at least "
                f"{least_effective:g}. A law nearer to the first, or a sample drawn for both "
                "(under_laws), would do"
            )
        shape[p] = pareto_k(log_ratio)
        if shape[p] > limit:
            cautions.append(
                f"{said}: Pareto k-hat of the weights is {shape[p]:.2f} (limit {limit:.2f}): the "
                "standard errors can't be promised"
            )
        weights[:, p] = w = np.exp(log_ratio)
        # mass of the law where nothing was ever drawn shows in the mean weight
        if abs(w.mean() - 1) > 5 * w.std() / np.sqrt(n) + 1e-6 and abs(w.mean() - 1) > 0.01:
            raise ValueError(
                f"{said}: the stored draws cover {w.mean():.3g} of it where 1 is expected; is it "
                "normalised, and positive only where the first law is?"
            )
    # f_p/h - 1 and f/h - 1 have mean zero
    own = np.concatenate([weights, np.exp(log_w)[:, None]], axis=1) - 1
    width = own.shape[1]
    direction = np.zeros((width, j * len(found)))
    direction[np.repeat(np.arange(len(found)), j), np.arange(j * len(found))] = 1.0
    choices = [Choice("none"), Choice("own law", direction=direction)]
    terms = (weights[:, :, None] * values[:, None, :]).reshape(n, -1)
    mean = corrected_mean(
        np.ones(n),
        terms,
        lambda a, b: own[a:b],
        counts,
        None,
        choices,
        None,
        terms.mean(0),
        Controls(True, (), np.empty(0), np.empty((0, 0)), ()),
    )
    names = [f"{base} | {name}" if name else base for name in found for base in estimate.names]
    unseen = mean.hits == 0
    if unseen.any():
        missed = ", ".join(names[i] for i in np.flatnonzero(unseen)[:5])
        cautions.append(f"{missed}: no draw gave a value other than 0: there is no standard error")
    keywords: dict[str, Any] = {}
    if mean.factor is not None:
        keywords["factor"] = np.where(unseen[:, None], np.nan, mean.factor)
    else:
        assert mean.covariance is not None
        covariance = (mean.covariance + mean.covariance.T) / 2
        # what rounding leaves of a value that is the same in every draw
        least = (4 * np.finfo(float).eps * np.abs(mean.value)) ** 2
        np.fill_diagonal(covariance, np.maximum(mean.variance, least))
        covariance[unseen] = covariance[:, unseen] = np.nan
        keywords["covariance"] = covariance
    scalar = estimate.value.ndim == 0 and "" in found
    if scalar and "covariance" in keywords:
        keywords["covariance"] = keywords["covariance"].reshape(())
    if cautions:
        warnings.warn(f"{METHOD}: " + "; ".join(cautions), PrecisionWarning, stacklevel=2)
    freedom = mean.degrees_of_freedom
    source = provenance(
        METHOD,
        seed_sequence(0),
        {"laws": {name: law.describe() for name, law in found.items()}},
        [x, values],
    )
    return Estimate(
        mean.value[0] if scalar else np.where(unseen, 0.0, mean.value),
        names=tuple(names),
        method=METHOD,
        degrees_of_freedom=freedom[0] if scalar else freedom,
        diagnostics={
            "law_effective_sample_size": ess,
            "law_pareto_k": shape,
            "control_variate": [choices[c].name for c in mean.chosen],
            "columns": ["control_variate"],
            "warnings": cautions,
        },
        # it repeats no call; what it rests on did
        cost={**estimate.cost, "seconds": time.perf_counter() - began},
        provenance={**source, "seed": estimate.provenance.get("seed")},
        **keywords,
    )


def _sobol(found: SobolIndices, laws: Any, least_effective: float) -> Estimate:
    """Sobol' indices under other laws of independent inputs, from the pairs of a result."""
    from .sensitivity import doubled_law

    began = time.perf_counter()
    pairs = found.pairs
    if pairs is None:
        raise ValueError("estimate: keeps no model calls; expected a result of sobol_indices")
    named = _laws(laws, pairs.law.names)
    for name, law in named.items():
        if not law.independent or law.marginals is None:
            raise ValueError(
                f"laws: {name!r}: its inputs are dependent; Sobol' indices need independent ones"
            )
    names = [f"{base} | {name}" if name else base for name in named for base in pairs.names]
    count = len(named)
    if pairs.means is not None:
        moved = reweight(
            pairs.means,
            {name or "law": doubled_law(law) for name, law in named.items()},
            least_effective=least_effective,
        )

        def indices(means: np.ndarray) -> np.ndarray:
            return np.concatenate([pairs.indices(m) for m in np.split(means, count)])

        return moved.apply(indices, names=names)
    assert pairs.a is not None and pairs.b is not None
    replicates, n, d = pairs.a.shape
    terms = pairs.terms()
    table, ess, shape, cautions = [], np.empty(count), np.empty(count), []
    a, b = (pairs.law.to_inputs(u.reshape(-1, d)) for u in (pairs.a, pairs.b))
    log_f = pairs.law.log_density(a) + pairs.law.log_density(b)
    for p, (name, law) in enumerate(named.items()):
        said = f"laws: {name!r}" if name else "laws"
        _within(law, *pairs.law.ranges, said)
        log_w = law.log_density(a) + law.log_density(b) - log_f
        ess[p] = effective_sample_size(log_w) if (log_w > -np.inf).any() else 0.0
        if ess[p] < least_effective:
            raise DegeneracyError(
                f"{said}: the stored pairs are worth {ess[p]:.1f} of this law; expected at least "
                f"{least_effective:g}. A law nearer to the first, or more calls, would do"
            )
        shape[p] = pareto_k(log_w)
        if shape[p] > pareto_k_threshold(len(log_w)):
            cautions.append(
                f"{said}: Pareto k-hat of the weights is {shape[p]:.2f}: the standard errors can't "
                "be promised"
            )
        w = np.exp(log_w).reshape(replicates, n, 1)
        table.append(np.concatenate([w.mean(1), (w * terms).mean(1)], axis=1))
    means = np.stack(table, axis=1).reshape(replicates, -1)
    centre = means.mean(0)
    together = Estimate(
        centre,
        factor=(means - centre).T / np.sqrt(replicates * (replicates - 1)),
        degrees_of_freedom=replicates - 1,
        method=f"Sobol' indices by {METHOD}",
        diagnostics={
            "law_effective_sample_size": ess,
            "law_pareto_k": shape,
            "warnings": cautions,
        },
        cost={**found.indices.cost, "seconds": time.perf_counter() - began},
        provenance={
            **found.indices.provenance,
            "method": METHOD,
            "laws": {name: law.describe() for name, law in named.items()},
        },
    )
    if cautions:
        warnings.warn(f"{METHOD}: " + "; ".join(cautions), PrecisionWarning, stacklevel=3)

    def ratios(v: np.ndarray) -> np.ndarray:
        # the weights' own mean is 1: dividing by it takes most of their noise away
        return np.concatenate([pairs.indices(m[1:] / m[0]) for m in np.split(v, count)])

    return together.apply(ratios, names=names)


@dataclass(frozen=True)
class UnderLaws:
    """An integrand times density ratios: (n, d) -> (n, J P)."""

    integrand: Callable[[np.ndarray], np.ndarray]
    vectorized: bool
    law: Law
    laws: tuple[Law, ...]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values under each law in turn, for the inputs x (n, d)."""
        values = call_integrand(self.integrand, self.vectorized, x)
        values = values.reshape(len(x), -1)
        log_f = self.law.log_density(x)
        ratios = np.stack([np.exp(p.log_density(x) - log_f) for p in self.laws], axis=1)
        return (ratios[:, :, None] * values[:, None, :]).reshape(len(x), -1)


def under_laws(
    integrand: Callable[[np.ndarray], np.ndarray], law: Any, laws: Any, *, vectorized: bool = True
) -> UnderLaws:
    """An integrand whose expectations under ``law`` are those of ``integrand`` under each law.

    Hand it to `adaptive_importance_sampling` with the same ``law``: one sample then serves all P
    laws, and adaptation and control variates see each of them.

    Parameters
    ----------
    integrand : callable
        (n, d) -> (n,) or (n, J).
    law : law
        The law that will be given to the estimator; positive wherever one of the others is.
    laws : dict or list of laws
        P laws of the same inputs.
    vectorized : bool, default True
        Whether the integrand takes many inputs at once.

    Returns
    -------
    callable
        (n, d) -> (n, J P): expectations under the first law, then under the second, ...

    Raises
    ------
    ValueError
        A law doesn't fit, or lies in part where ``law`` has no density.

    Examples
    --------
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> law, others = stats.norm(), [stats.norm(1, 1), stats.norm(0, 0.5)]
    >>> integrand = smw.under_laws(lambda x: x[:, 0] ** 2, law, others)
    >>> estimate = smw.adaptive_importance_sampling(integrand, law, 5_000, seed=1)
    >>> [bool(abs(e.value - t) < 4 * e.standard_error) for e, t in zip(estimate, [2, 0.25])]
    [True, True]
    """
    reference = as_law(law)
    named = _laws(laws, reference.names)
    for name, other in named.items():
        _within(other, *reference.ranges, f"laws: {name!r}")
        x = other.sample(generator(seed_sequence(0), "support"), SUPPORT)
        outside = reference.log_density(x) == -np.inf
        if outside.any():
            raise ValueError(
                f"laws: {name!r}: {outside.mean():.2%} of it lies where the law has no density, "
                f"such as {x[outside][0].tolist()}; expected a law on the same support"
            )
    return UnderLaws(integrand, vectorized, reference, tuple(named.values()))


@dataclass(frozen=True)
class PerturbationStudy:
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
    grid: np.ndarray
    expectations: tuple[str, ...]

    def table(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, lower and upper ends, each of shape (inputs, G, J)."""
        lower, upper = self.estimate.interval(level)
        shape = (len(self.inputs), len(self.grid), len(self.expectations))
        return (
            np.reshape(self.estimate.value, shape),
            np.reshape(lower, shape),
            np.reshape(upper, shape),
        )

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """A row per input, grid point and expectation."""
        import pandas

        value, lower, upper = self.table(level)
        rows = pandas.MultiIndex.from_product(
            [self.inputs, self.grid, self.expectations], names=["input", self.kind, "expectation"]
        )
        columns = {"value": value.ravel(), "lower": lower.ravel(), "upper": upper.ravel()}
        return pandas.DataFrame(columns, index=rows)

    def plot(self, ax: Any = None, *, expectation: int = 0, level: float = 0.95) -> Any:
        """Curves with bands, one per input: see `plots.perturbation`."""
        from .figures import perturbation

        return perturbation(self, ax, expectation=expectation, level=level)


def perturbation_study(
    estimate: Estimate,
    law: Any,
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
    x, _, _, log_f, _ = _stored(estimate)
    assert estimate.sample is not None
    called = tuple(str(n) for n in estimate.sample["input"].values)
    reference = replace(aligned(as_law(law), called, "law"), names=called)
    here = reference.log_density(x)
    with np.errstate(invalid="ignore"):
        other = ~((here == log_f) | (np.abs(here - log_f) < 1e-6 * (1 + np.abs(log_f))))
    if other.any():
        raise ValueError(
            f"law: is not the one the estimate was made with: its log density at "
            f"{x[other][0].tolist()} is {here[other][0]:.6g}, that one's {log_f[other][0]:.6g}"
        )
    if reference.marginals is None:
        raise ValueError("law: a joint density has no inputs to perturb one at a time")
    if shifts is not None and scales is not None:
        raise ValueError("scales: give shifts or scales, not both")
    kind = "shift" if scales is None else "scale"
    if scales is None:
        grid = np.linspace(-1, 1, 9) if shifts is None else np.asarray(shifts, dtype=np.float64)
    else:
        grid = np.asarray(scales, dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0 or not np.isfinite(grid).all():
        raise ValueError(f"{kind}s: expected finite numbers of shape (G,)")
    if kind == "scale" and (grid <= 0).any():
        raise ValueError(f"scales: smallest is {grid.min()}; expected positive factors")
    chosen = tuple(reference.names if inputs is None else inputs)
    unknown = [name for name in chosen if name not in reference.names]
    if unknown:
        raise ValueError(f"inputs: no input is named {unknown[0]!r}; the law has {reference.names}")
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
