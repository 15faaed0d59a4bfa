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
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..controls import (
    Choice,
    Moments,
    coefficients,
    cross_fit,
    estimated_mean_covariance,
    moments,
    select,
)
from ..errors import DegeneracyError, ModelError, PrecisionWarning
from ..estimate import Estimate, provenance
from ..execution import batches, open_run
from ..randomness import generator
from ..stopping import Budget, Precision, stopping_rule
from ..weights import (
    effective_sample_size,
    largest_weight,
    pareto_k,
    pareto_k_threshold,
    perplexity,
)
from .laws import Law, as_law
from .mixing import (
    FEW_HITS,
    Components,
    criterion,
    fit_components,
    mixture_weights,
    starting_components,
)
from .polynomials import polynomial_basis
from .proposals import (
    ROWS,
    Given,
    Mixture,
    WorkingSpace,
    log_densities,
    log_mixture,
    working_space,
)

__all__ = ["adaptive_importance_sampling", "importance_sampling"]

FOLDS = 5
OBJECTIVES = ("max-relative", "sum-relative", "sum")
FAMILIES = ("auto", "gaussian", "mixture", "student", "rank-one", "grid")
MOST_STAGE = 20_000  # more adaptation draws than this in a stage teach nothing new
MOST_ADAPTATION = 0.6  # share of a budget
MOST_TERMS = 300  # polynomial control variates
FULL_COVARIANCE = 500  # expectations; above, the covariance is kept as a factor of block means


# ------------------------------------------------------------------ the integrand and its draws


@dataclass(frozen=True)
class Stage:
    """Draws from one mixture, in the order of its components, and the integrand there."""

    u: np.ndarray
    x: np.ndarray
    values: np.ndarray
    log_f: np.ndarray
    mixture: Mixture
    counts: np.ndarray
    scalar: bool

    def __len__(self) -> int:
        return len(self.u)


def _call(integrand: Callable, vectorized: bool, x: np.ndarray) -> np.ndarray:
    """The integrand at the rows of x as float64, shape (n,) or (n, J)."""
    if vectorized:
        return np.asarray(integrand(x), dtype=np.float64)
    return np.array([np.asarray(integrand(row), dtype=np.float64) for row in x])


def _table(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Integrand values as (n, J), or what is wrong with them, with the input concerned."""
    if values.ndim not in (1, 2) or len(values) != len(x) or values.size == 0:
        raise ModelError(
            f"integrand: returned shape {values.shape} for inputs of shape {x.shape}; expected "
            f"({len(x)},) or ({len(x)}, J); for a function of one input vector pass "
            "vectorized=False"
        )
    table = values.reshape(len(x), -1)
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        i, j = bad[0]
        raise ModelError(
            f"integrand: value {j + 1} is {table[i, j]} at input {x[i].tolist()}; expected a finite "
            f"number ({len(np.unique(bad[:, 0]))} of the {len(x)} inputs of this batch are affected)"
        )
    return table


@dataclass(frozen=True)
class _Sampler:
    """Draws stages: what stays the same from one to the next."""

    run: Any
    space: WorkingSpace
    vectorized: bool

    def draw(self, name: str, densities: tuple[Any, ...], counts: np.ndarray) -> Stage:
        mixture = Mixture(counts / counts.sum(), densities)
        u = mixture.sample(generator(self.run.root, name), counts)
        x = self.space.to_inputs(u)
        jobs = [(x[a:b],) for a, b in batches(len(x), vectorized=self.vectorized)]
        blocks = self.run.map(name, jobs, [len(job[0]) for job in jobs])
        tables = [_table(block, job[0]) for block, job in zip(blocks, jobs, strict=True)]
        widths = {t.shape[1] for t in tables}
        if len(widths) > 1:
            raise ModelError(f"integrand: returned {sorted(widths)} values per input in one stage")
        values, log_f = np.concatenate(tables), self.space.log_density(u)
        return Stage(u, x, values, log_f, mixture, counts, blocks[0].ndim == 1)


def _split(n: int, weights: np.ndarray, multiple: int = 1) -> np.ndarray:
    """Counts near n * weights: multiples of ``multiple``, none zero, summing to n rounded down."""
    parts = n // multiple
    if parts < len(weights):
        raise ValueError(f"{n} draws are too few for {len(weights)} mixture components")
    exact = weights / weights.sum() * (parts - len(weights))
    counts = 1 + np.floor(exact).astype(np.int64)
    rest = parts - counts.sum()
    counts[np.argsort(np.floor(exact) - exact, kind="stable")[:rest]] += 1
    return counts * multiple


@dataclass
class _History:
    """All draws so far, under the deterministic mixture of the stages that made them."""

    stages: list[Stage] = field(default_factory=list)
    log_total: np.ndarray = field(default_factory=lambda: np.empty(0))  # log sum_s n_s h_s

    def add(self, stage: Stage) -> None:
        terms = [np.log(len(s)) + s.mixture.log_density(stage.u) for s in (*self.stages, stage)]
        new = np.logaddexp.reduce(terms, axis=0)
        if self.stages:
            old = np.log(len(stage)) + stage.mixture.log_density(self.gather("u"))
            new = np.concatenate([np.logaddexp(self.log_total, old), new])
        self.log_total = new
        self.stages.append(stage)

    def gather(self, name: str) -> np.ndarray:
        return np.concatenate([getattr(s, name) for s in self.stages])

    @property
    def log_h(self) -> np.ndarray:
        return self.log_total - np.log(len(self.log_total))


# ------------------------------------------------------------------------------ control variates


@dataclass(frozen=True)
class Controls:
    """Control variates asked for.

    Attributes
    ----------
    components : bool
        Whether the mixture components serve.
    functions : tuple
        Functions (u, x) -> (n, k); their columns less ``means`` integrate to zero under the law.
    means : ndarray, shape (E,)
    mean_covariance : ndarray, shape (E, E)
        Covariance of the means; zero where they are exact.
    prefixes : tuple of int
        Numbers of leading columns that make sense on their own, such as polynomial degrees.
    """

    components: bool
    functions: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...]
    means: np.ndarray
    mean_covariance: np.ndarray
    prefixes: tuple[int, ...]

    def values(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Centred functions at points u with inputs x: (n, E)."""
        if not self.functions:
            return np.empty((len(u), 0))
        return np.concatenate([g(u, x) for g in self.functions], axis=1) - self.means


def _surrogate(function: Callable, u: np.ndarray, x: np.ndarray) -> np.ndarray:
    values = np.asarray(function(x), dtype=np.float64)
    if values.ndim not in (1, 2) or len(values) != len(x) or not np.isfinite(values).all():
        raise ModelError(
            f"control_variates: the surrogate returned shape {values.shape} for inputs of shape "
            f"{x.shape}, or numbers that are not finite; expected ({len(x)},) or ({len(x)}, k)"
        )
    return values.reshape(len(x), -1)


def _controls(asked: Any, space: WorkingSpace, budget: int, root: Any) -> Controls:
    """The user's ``control_variates`` made ready; means that need it are estimated here."""
    items = list(asked) if isinstance(asked, list | tuple) else [asked]
    components, functions, means, covariances, prefixes = False, [], [], [], []
    for item in items:
        if item is None or isinstance(item, bool | np.bool_):
            components |= bool(item)
            continue
        width = sum(len(m) for m in means)
        if isinstance(item, str):
            if item != "polynomial":
                raise ValueError(
                    f"control_variates: got {item!r}; expected True, False, 'polynomial', a "
                    "callable surrogate, or a list of these"
                )
            if not space.law.mapped:
                raise ValueError(
                    "control_variates: 'polynomial' needs a law with an isoprobabilistic map "
                    "(independent marginals, a Gaussian copula or a multivariate normal law)"
                )
            basis = polynomial_basis(
                space.law, max(space.law.dimension, min(MOST_TERMS, budget // 20))
            )
            functions.append(basis)
            means.append(np.zeros(basis.sizes[-1] if basis.sizes else 0))
            covariances.append(np.zeros((len(means[-1]),) * 2))
            prefixes.extend(width + s for s in basis.sizes)
        elif callable(item):
            draws = int(min(20 * budget, 1_000_000))
            surrogate = partial(_surrogate, item)
            total: Moments | None = None
            rng = generator(root, "surrogate", len(functions))
            for first in range(0, draws, ROWS):
                x = space.law.sample(rng, min(ROWS, draws - first))
                values = surrogate(x, x)
                block = moments(values, values[:, :0])
                total = block if total is None else total + block
            assert total is not None
            mean = total.z / draws
            functions.append(surrogate)
            means.append(mean)
            covariances.append((total.zz / draws - np.outer(mean, mean)) / (draws - 1))
            prefixes.append(width + len(mean))
        else:
            raise TypeError(
                f"control_variates: got {type(item).__name__}; expected True, False, 'polynomial', "
                "a callable surrogate, or a list of these"
            )
    size = sum(len(m) for m in means)
    covariance = np.zeros((size, size))
    at = 0
    for block in covariances:
        covariance[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return Controls(
        components,
        tuple(functions),
        np.concatenate(means) if means else np.empty(0),
        covariance,
        tuple(prefixes),
    )


@dataclass(frozen=True)
class _Ratios:
    """Integrands, component densities and control functions over the density of the draws.

    ``targets`` phi f/h (n, J); ``numerators`` (n, K + E): K component densities over h, then the
    control functions times f/h.
    """

    targets: np.ndarray
    numerators: np.ndarray
    size: int  # K

    def controls(self, mixture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Targets (n, J), mean-zero controls (n, K + E) and weights (n,) under the mixture."""
        weights = self.numerators[:, : self.size] @ mixture
        z = self.numerators / weights[:, None]
        z[:, : self.size] -= 1
        return self.targets / weights[:, None], z, weights


def _ratios(
    u: np.ndarray,
    x: np.ndarray,
    values: np.ndarray,
    log_f: np.ndarray,
    log_h: np.ndarray,
    densities: tuple[Any, ...],
    controls: Controls,
) -> _Ratios:
    f = np.exp(log_f - log_h)[:, None]
    g = np.exp(log_densities(densities, u) - log_h[:, None])
    extra = controls.values(u, x) * f
    return _Ratios(values * f, np.concatenate([g, extra], axis=1), len(densities))


def _choices(controls: Controls, components: Components, draws: int) -> list[Choice]:
    """Ways to regress, the most restrained first, as many as ``draws`` can tell apart."""
    k = len(components.densities)
    choices = [Choice("none")]
    if controls.components:
        direction = np.zeros((k + len(controls.means), components.direction.shape[1]))
        direction[:k] = components.direction
        choices.append(Choice("own component", direction=direction))
        if draws >= 8 * k:
            choices += [Choice(f"components, cut-off {c:g}", k, c) for c in (0.1, 0.01, 0.001)]
    for prefix in controls.prefixes:
        if draws >= 8 * (k + prefix):
            choices.append(Choice(f"components and {prefix} functions", k + prefix, 1e-3))
    return choices


def _fold_moments(
    ratios: _Ratios, mixture: np.ndarray, shift: np.ndarray, folds: int
) -> list[Moments]:
    """Weighted moments under the mixture of interleaved folds of the draws."""
    t, z, weights = ratios.controls(mixture)
    return [moments(z[f::folds], t[f::folds] - shift, weights[f::folds]) for f in range(folds)]


def _sum(parts: Sequence[Moments]) -> Moments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


# -------------------------------------------------------------------------------- corrected means


@dataclass(frozen=True)
class _Mean:
    """A corrected mean over n stratified draws.

    ``plain`` is the variance of the mean had no control been used, ``second`` the mean of
    phi^2 f/h (so second - value^2 is the variance of plain Monte Carlo per draw).
    """

    n: int
    value: np.ndarray
    covariance: np.ndarray | None
    factor: np.ndarray | None
    variance: np.ndarray
    plain: np.ndarray
    second: np.ndarray
    hits: np.ndarray


def _corrected_mean(
    f: np.ndarray,
    values: np.ndarray,
    controls_at: Callable[[int, int], np.ndarray],
    counts: np.ndarray,
    chosen: np.ndarray,
    choices: Sequence[Choice],
    earlier: Moments | None,
    shift: np.ndarray,
    controls: Controls,
) -> _Mean:
    """Cross-fitted, stratified mean of phi f/h over draws that stand stratum by stratum.

    Parameters
    ----------
    f : ndarray, shape (n,)
        Weights: input density over sampling density.
    controls_at : callable
        (first, last) -> mean-zero controls of those draws.
    counts : ndarray of int
        Draws per stratum, multiples of the number of folds.
    shift : ndarray, shape (J,)
        A guess of the expectations, subtracted for accuracy only.
    """
    n, j = values.shape
    stratum = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    fold = place % FOLDS
    regress = any(choices[c].size or choices[c].direction is not None for c in np.unique(chosen))
    fitted = [np.zeros((0, j))] * FOLDS
    if regress:
        sums: list[Moments | None] = [None] * FOLDS
        for a in range(0, n, ROWS):
            b = min(n, a + ROWS)
            z, t = controls_at(a, b), values[a:b] * f[a:b, None] - shift
            for k in range(FOLDS):
                rows = fold[a:b] == k
                block = moments(z[rows], t[rows])
                before = sums[k]
                sums[k] = block if before is None else before + block
        fitted = cross_fit([s for s in sums if s is not None], chosen, choices, earlier)
    groups = 200 if j > FULL_COVARIANCE else 0
    first = np.zeros((len(counts), j))
    square, plain, second = np.zeros((len(counts), j)), np.zeros((len(counts), j)), np.zeros(j)
    raw = np.zeros((len(counts), j))
    cross = np.zeros((j, j)) if not groups else None
    group_sum = np.zeros((groups, j))
    hits = np.zeros(j, dtype=np.int64)
    for a in range(0, n, ROWS):
        b = min(n, a + ROWS)
        t = values[a:b] * f[a:b, None]
        hits += (t != 0).sum(0)
        second += (t * values[a:b]).sum(0)
        t -= shift
        r = t.copy()
        if regress:
            z = controls_at(a, b)
            for k in range(FOLDS):
                rows = fold[a:b] == k
                r[rows] -= z[rows] @ fitted[k]
        cuts = np.flatnonzero(np.diff(stratum[a:b], prepend=-1))
        here = stratum[a:b][cuts]
        first[here] += np.add.reduceat(r, cuts)
        square[here] += np.add.reduceat(r * r, cuts)
        raw[here] += np.add.reduceat(t, cuts)
        plain[here] += np.add.reduceat(t * t, cuts)
        if cross is not None:
            cross += r.T @ r
        else:
            np.add.at(group_sum, place[a:b] % groups, r)
    size_of = counts[:, None]
    inner = size_of / (size_of - 1)
    variance = (inner * np.maximum(square - first**2 / size_of, 0)).sum(0) / n**2
    plain_variance = (inner * np.maximum(plain - raw**2 / size_of, 0)).sum(0) / n**2
    value = shift + first.sum(0) / n
    extra = np.zeros((j, j))
    if regress and controls.mean_covariance.any():
        b_mean = np.mean(fitted, axis=0)[-len(controls.means) :]
        extra = estimated_mean_covariance(b_mean, controls.mean_covariance)
    covariance = factor = None
    if cross is not None:
        covariance = (cross - (first / size_of).T @ first) / n**2
        scale = np.sqrt(variance / np.maximum(np.diag(covariance), 1e-300))
        covariance = covariance * np.outer(scale, scale) + extra
        np.fill_diagonal(covariance, variance + np.diag(extra))
    else:
        factor = (group_sum - group_sum.mean(0)).T
        factor *= np.sqrt(variance / np.maximum((factor**2).sum(1), 1e-300))[:, None]
    return _Mean(
        n,
        value,
        covariance,
        factor,
        variance + np.diag(extra),
        plain_variance,
        second / n,
        hits,
    )


def _pooled(parts: Sequence[_Mean]) -> _Mean:
    """Rounds of independent draws joined in proportion to their sizes."""
    if len(parts) == 1:
        return parts[0]
    n = sum(p.n for p in parts)
    w = [p.n / n for p in parts]

    def total(name: str, power: int) -> Any:
        terms = [getattr(p, name) for p in parts]
        if terms[0] is None:
            return None
        return sum(c**power * term for c, term in zip(w, terms, strict=True))

    factor = None
    if parts[0].factor is not None:
        factor = np.concatenate([c * p.factor for c, p in zip(w, parts, strict=True)], axis=1)
    return _Mean(
        n,
        total("value", 1),
        total("covariance", 2),
        factor,
        total("variance", 2),
        total("plain", 2),
        total("second", 1),
        sum(p.hits for p in parts),
    )


# ------------------------------------------------------------------------------------ adaptation


@dataclass(frozen=True)
class _Plan:
    """A mixture to draw from and the control coefficients learned for it.

    ``variance`` (J,) per draw is measured on fresh draws once they exist; infinite before.
    """

    components: Components
    weights: np.ndarray
    coefficients: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True)
class _Goal:
    """What adaptation works for: an objective and a budget, or a precision."""

    rule: Budget | Precision
    objective: str | np.ndarray

    @property
    def most(self) -> int:
        return self.rule.total if isinstance(self.rule, Budget) else self.rule.max_budget

    def scale(self, value: np.ndarray, variance: np.ndarray, draws: int) -> np.ndarray:
        """Squared size against which a variance is judged, (J,)."""
        if isinstance(self.rule, Precision):
            return np.maximum(
                (self.rule.half_widths(value) / _quantile(self.rule.level)) ** 2, 1e-300
            )
        return np.maximum(np.maximum(value**2, variance / draws), 1e-300)

    def first_stage(self, dimension: int) -> int:
        """Draws in a stage of adaptation."""
        least = max(40 * (dimension + 2), 200)
        if isinstance(self.rule, Precision):
            return min(max(least, 500), self.most // 5)
        return min(max(least, self.most // 20), self.most // 5)

    @property
    def kind(self) -> str | np.ndarray:
        """Objective of `mixing.criterion`; a precision asks for all components at once."""
        return "max-relative" if isinstance(self.rule, Precision) else self.objective

    def importance(self, scale: np.ndarray) -> np.ndarray:
        """Weights (J,) of the expectations for what they share."""
        if isinstance(self.kind, np.ndarray):
            return self.kind
        return np.ones_like(scale) if self.kind == "sum" else 1 / scale

    def criterion(self, variance: np.ndarray, scale: np.ndarray) -> float:
        return criterion(variance, scale, self.kind)[0] if np.isfinite(variance).all() else np.inf

    def outlook(self, variance: np.ndarray, scale: np.ndarray, used: int) -> float:
        """Lower is better: squared error at the end of the budget, or calls to the precision."""
        value = self.criterion(variance, scale)
        if isinstance(self.rule, Precision):
            return used + value
        return value / max(self.rule.total - used, 1)


def _quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def _learned(
    ratios: _Ratios, mixture: np.ndarray, shift: np.ndarray, choices: list[Choice], folds: int = 10
) -> tuple[np.ndarray, np.ndarray, Moments]:
    """Choice per expectation, its coefficients, and the moments of all draws."""
    parts = _fold_moments(ratios, mixture, shift, folds)
    chosen = select(parts, choices)
    total = _sum(parts)
    b = np.zeros_like(total.zt)
    for c in np.unique(chosen):
        b[:, chosen == c] = coefficients(total, choices[c])[:, chosen == c]
    return chosen, b, total


def _history_ratios(history: _History, components: Components, controls: Controls) -> _Ratios:
    u, x, values, log_f = (history.gather(name) for name in ("u", "x", "values", "log_f"))
    return _ratios(u, x, values, log_f, history.log_h, components.densities, controls)


def _plan(
    history: _History, components: Components, controls: Controls, goal: _Goal
) -> tuple[np.ndarray, np.ndarray]:
    """Mixture weights (K,) and control coefficients (K + E, J) from all draws so far."""
    ratios = _history_ratios(history, components, controls)
    n, k = len(ratios.targets), ratios.size
    value = ratios.targets.mean(0)
    weights, choices = components.share, _choices(controls, components, n)
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


def _measured(
    stage: Stage, coefficient: np.ndarray, controls: Controls
) -> tuple[np.ndarray, float]:
    """Variance per draw (J,) on fresh draws of a mixture, and its relative standard error."""
    log_h = stage.mixture.log_density(stage.u)
    ratios = _ratios(
        stage.u, stage.x, stage.values, stage.log_f, log_h, stage.mixture.components, controls
    )
    t, z, _ = ratios.controls(stage.mixture.weights)
    r = t - z @ coefficient
    starts = np.cumsum(stage.counts) - stage.counts
    r -= np.repeat(np.add.reduceat(r, starts) / stage.counts[:, None], stage.counts, axis=0)
    variance = (r**2).mean(0)
    kurtosis = (r**4).mean(0) / np.maximum(variance**2, 1e-300)
    return variance, float(np.sqrt(np.maximum(kurtosis - 1, 0).max() / len(r)))


@dataclass(frozen=True)
class _Adapted:
    """The mixture adaptation ended with, and how it came about."""

    components: Components
    weights: np.ndarray
    outlook: float
    history: _History
    stages: list[dict[str, Any]]
    stopped: str


def _adapt(
    sampler: _Sampler,
    controls: Controls,
    goal: _Goal,
    family: str,
    shared: bool,
    given: tuple[Any, ...],
) -> _Adapted:
    """Stages until another no longer pays for itself; the best mixture measured is kept."""
    space, most = sampler.space, goal.most
    size = min(goal.first_stage(space.law.dimension), MOST_STAGE)
    history, stages = _History(), []
    best: tuple[float, Components, np.ndarray] | None = None
    stopped = "the share of the budget meant for adaptation was used up"
    idle = 0
    for number in range(1, 100):
        used = len(history.log_total)
        if number > 1:
            rng = generator(sampler.run.root, "fit", number)
            components = fit_components(
                space,
                history.gather("u"),
                t,
                goal.importance(goal.scale(value, t.var(0), used)),
                family=family,
                shared=shared,
                given=given,
                round_number=number - 1,
                rng=rng,
            )
            if used + size > MOST_ADAPTATION * most or size < 4 * len(components.densities):
                break
            weights, coefficient = _plan(history, components, controls, goal)
            densities = components.densities
        else:
            densities = (space, *given)
            weights = np.full(len(densities), 1 / len(densities))
        stage = sampler.draw(f"stage {number}", densities, _split(size, weights))
        history.add(stage)
        used += size
        values = history.gather("values")
        t = np.exp(history.gather("log_f") - history.log_h)[:, None] * values
        value, hits = t.mean(0), (t != 0).sum(0)
        if number == 1:
            components = starting_components(space, given, t.shape[1])
            choices = _choices(controls, components, used)
            ratios = _history_ratios(history, components, controls)
            coefficient = _learned(ratios, stage.mixture.weights, value, choices)[1]
            if isinstance(goal.objective, np.ndarray) and len(goal.objective) != t.shape[1]:
                raise ValueError(
                    f"objective: got {len(goal.objective)} weights; the integrand returns "
                    f"{t.shape[1]} values"
                )
        variance, noise = _measured(stage, coefficient, controls)
        scale = goal.scale(value, variance, used)
        # an expectation that has hardly been seen has no variance to speak of
        variance = np.where(hits < FEW_HITS, np.inf, variance)
        outlook = goal.outlook(variance, scale, used)
        stages.append(
            {
                "draws": size,
                "components": len(densities),
                "criterion": goal.criterion(variance, scale),
                "variance": variance.tolist(),
                "hits": hits.tolist(),
            }
        )
        clear = best is None or not outlook > best[0] * (1 - min(noise, 0.5))
        if best is None or outlook < best[0] or not np.isfinite(best[0]):
            best = (outlook, components, stage.mixture.weights)
        idle = 0 if clear or not np.isfinite(best[0]) else idle + 1
        if idle == 2:
            stopped = "another stage would cost more than it gains"
            break
    assert best is not None
    outlook, components, weights = best
    if len(weights) > 1:
        # the densities stay those that were tried; how much of each is settled with all draws
        weights, _ = _plan(history, components, controls, goal)
    return _Adapted(components, weights, outlook, history, stages, stopped)


# ------------------------------------------------------------------------------- the final draws


def _mean_of(
    stage: Stage,
    components: Components,
    controls: Controls,
    choices: Sequence[Choice],
    chosen: np.ndarray,
    earlier: Moments | None,
    shift: np.ndarray,
) -> _Mean:
    """Corrected mean of one final stage; only ratios are kept per draw, controls are remade."""
    log_g = log_densities(components.densities, stage.u)
    log_h = log_mixture(log_g, stage.mixture.weights)
    g = np.exp(log_g - log_h[:, None])
    f = np.exp(stage.log_f - log_h)

    def controls_at(a: int, b: int) -> np.ndarray:
        extra = controls.values(stage.u[a:b], stage.x[a:b]) * f[a:b, None]
        return np.concatenate([g[a:b] - 1, extra], axis=1)

    return _corrected_mean(
        f, stage.values, controls_at, stage.counts, chosen, choices, earlier, shift, controls
    )


def _finish(
    sampler: _Sampler, controls: Controls, goal: _Goal, adapted: _Adapted
) -> tuple[list[Stage], list[_Mean], list[str], bool]:
    """Independent draws from the mixture found: stages, means, controls used, goal reached.

    With a budget there is one stage; with a precision as many as it takes, each planned from the
    error so far.
    """
    history, components = adapted.history, adapted.components
    used = len(history.log_total)
    k = len(components.densities)
    least = FOLDS * max(k, 20)
    if isinstance(goal.rule, Budget):
        size = goal.rule.total - used
    else:
        size = math.ceil(min(1.05 * (adapted.outlook - used), 4 * used, goal.most - used))
    stages: list[Stage] = []
    means: list[_Mean] = []
    ratios = _history_ratios(history, components, controls)
    shift = ratios.targets.mean(0)
    choices = _choices(controls, components, used)
    # the mixture of the first final stage serves all: rounding may not change it between stages
    counts = _split(max(size, least), adapted.weights, FOLDS)
    unit = counts / counts.sum()
    chosen, _, earlier = _learned(ratios, unit, shift, choices)
    while True:
        stage = sampler.draw(f"final {len(stages) + 1}", components.densities, counts)
        stages.append(stage)
        means.append(_mean_of(stage, components, controls, choices, chosen, earlier, shift))
        used += len(stage)
        if isinstance(goal.rule, Budget):
            reached = True
            break
        mean = _pooled(means)
        half = _quantile(goal.rule.level) * np.sqrt(mean.variance)
        allowed = np.maximum(goal.rule.half_widths(mean.value), 1e-300)
        worst = float((half / allowed).max())
        reached = worst <= 1 and bool((mean.hits >= FEW_HITS).all())
        left = goal.most - used
        if reached or left < least:
            break
        wanted = 1.05 * mean.n * max(worst**2 - 1, 0.1)
        counts = _split(max(int(min(wanted, 4 * mean.n, left)), least), unit, FOLDS)
    return stages, means, [choices[c].name for c in chosen], reached


def _all_stages(
    history: _History, components: Components, controls: Controls, used: list[str]
) -> _Mean:
    """Corrected mean over the draws of all stages under their joint mixture."""
    log_h, log_f = history.log_h, history.gather("log_f")
    u, x, values = (history.gather(name) for name in ("u", "x", "values"))
    g = np.exp(log_densities(components.densities, u) - log_h[:, None])
    f = np.exp(log_f - log_h)

    def controls_at(a: int, b: int) -> np.ndarray:
        extra = controls.values(u[a:b], x[a:b]) * f[a:b, None]
        return np.concatenate([g[a:b] - 1, extra], axis=1)

    choices = _choices(controls, components, len(history.stages[0]))
    named = [choice.name for choice in choices]
    chosen = np.array([named.index(name) if name in named else 0 for name in used])
    counts = np.array([len(stage) for stage in history.stages])
    shift = (f[:, None] * values).mean(0)
    return _corrected_mean(f, values, controls_at, counts, chosen, choices, None, shift, controls)


# ------------------------------------------------------------------------------------- the report


def _tail_shapes(log_f: np.ndarray, log_h: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Pareto k-hat (J,) of phi f/h, the larger of its two tails; NaN with under 10 values."""
    j = values.shape[1]
    shapes = np.full(j, np.nan)
    ratio = np.exp(log_f - log_h)
    if j > 50:
        # the tails that could matter are those a single draw dominates
        dominance = np.empty(j)
        for k in range(j):
            size = np.abs(values[:, k] * ratio)
            dominance[k] = size.max() / max(size.sum(), 1e-300)
        looked_at = np.argsort(-dominance)[:50]
    else:
        looked_at = np.arange(j)
    for k in looked_at:
        for sign in (1.0, -1.0):
            some = sign * values[:, k] > 0
            if some.sum() >= 10:
                log_size = np.full(len(values), -np.inf)
                log_size[some] = np.log(sign * values[some, k]) + (log_f - log_h)[some]
                shapes[k] = np.fmax(shapes[k], pareto_k(log_size))
    return shapes


def _report(
    mean: _Mean,
    draws: list[Stage],
    log_h: np.ndarray,
    evaluations: int,
    names: tuple[str, ...],
    *,
    method: str,
    diagnostics: dict[str, Any],
    seconds: float,
    source: dict[str, Any],
    law: Law,
    defensive: float,
    cautions: list[str],
) -> Estimate:
    """The estimate with its diagnostics, and a warning where it can't be promised."""
    log_f = np.concatenate([s.log_f for s in draws])
    values = np.concatenate([s.values for s in draws])
    n, scalar = len(values), draws[0].scalar
    log_w = log_f - log_h
    threshold = pareto_k_threshold(n)
    weight_shape = pareto_k(log_w)
    shapes = _tail_shapes(log_f, log_h, values)
    trials = np.where(mean.hits == 0, max(defensive * n, 1.0), 0.0)
    unseen = mean.hits == 0
    value = np.where(unseen, 0.0, mean.value)
    variance = np.where(unseen, 1 / np.maximum(trials, 1) ** 2, mean.variance)
    rounding = (4 * np.finfo(float).eps * np.abs(value)) ** 2
    crude = np.maximum(mean.second - value**2, 0.0) / evaluations
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(unseen, np.nan, crude / np.maximum(variance, rounding))
        bought = np.where(unseen, np.nan, mean.plain / np.maximum(mean.variance, rounding))

    def listed(which: np.ndarray) -> str:
        found = [names[i] for i in np.flatnonzero(which)]
        return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")

    if unseen.any():
        cautions.append(
            f"{listed(unseen)}: no draw gave a value other than 0; the interval is an upper limit "
            "for the probability that the integrand is not 0. More calls, or a proposal that "
            "reaches farther, would help"
        )
    few = (mean.hits > 0) & (mean.hits < 30)
    if few.any():
        cautions.append(
            f"{listed(few)}: fewer than 30 draws gave a value other than 0; the interval leans on "
            "them. More calls would help"
        )
    heavy = shapes > threshold
    if heavy.any():
        cautions.append(
            f"{listed(heavy)}: Pareto k-hat up to {np.nanmax(shapes):.2f} (limit {threshold:.2f}): "
            "the tail of integrand times weight is too heavy for the standard error to be promised"
        )
    if weight_shape > threshold:
        cautions.append(
            f"Pareto k-hat of the weights is {weight_shape:.2f} (limit {threshold:.2f}): the "
            "proposal misses part of the input law"
        )
    diagnostics = {
        "gain_over_monte_carlo": gain,
        "control_variance_reduction": bought,
        "pareto_k": shapes,
        "hits": mean.hits,
        "columns": [
            "gain_over_monte_carlo",
            "control_variance_reduction",
            "control_variate",
            "pareto_k",
            "hits",
        ],
        "effective_sample_size": effective_sample_size(log_w),
        "perplexity": perplexity(log_w),
        "largest_weight": largest_weight(log_w),
        "pareto_k_weights": weight_shape,
        **diagnostics,
        "warnings": cautions,
    }
    if cautions:
        warnings.warn(f"{method}: " + "; ".join(cautions), PrecisionWarning, stacklevel=3)
    keywords: dict[str, Any] = {}
    if mean.factor is not None:
        factor = np.where(unseen[:, None], 0.0, mean.factor)
        factor *= np.sqrt(np.maximum(variance, rounding) / np.maximum(mean.variance, 1e-300))[
            :, None
        ]
        keywords["factor"] = factor
    else:
        assert mean.covariance is not None
        covariance = np.where(unseen[:, None] | unseen[None], 0.0, mean.covariance)
        np.fill_diagonal(covariance, np.maximum(variance, rounding))
        keywords["covariance"] = covariance.reshape(()) if scalar else covariance
    component = np.concatenate([np.repeat(np.arange(len(s.counts)), s.counts) for s in draws])
    return Estimate(
        value[0] if scalar else value,
        names=names,
        method=method,
        trials=None if not unseen.any() else (trials[0] if scalar else trials),
        diagnostics=diagnostics,
        cost={
            "evaluations": evaluations,
            "seconds": seconds,
            "stages": len(diagnostics["stages"]) + 1,
        },
        provenance=source,
        sample={
            "inputs": (("draw", "input"), np.concatenate([s.x for s in draws])),
            "values": (("draw", "expectation"), values),
            "log_weight": (("draw",), log_w),
            "component": (("draw",), component),
            "input": (("input",), np.array(law.names)),
            "expectation": (("expectation",), np.array(names)),
        },
        **keywords,
    )


# ------------------------------------------------------------------------------ public functions


def _names(names: Sequence[str] | None, count: int, scalar: bool) -> tuple[str, ...]:
    if names is None:
        return ("estimate",) if scalar else tuple(f"E{i + 1}" for i in range(count))
    given = (names,) if isinstance(names, str) else tuple(names)
    if len(given) != count or len(set(given)) != count:
        raise ValueError(
            f"names: got {len(given)} ({len(set(given))} different); expected {count} different "
            "names, one per value of the integrand"
        )
    return given


def _signature(integrand: Callable) -> str:
    """A name and a digest of the code, to tell one integrand from another in a checkpoint."""
    import hashlib

    inner = integrand.func if isinstance(integrand, partial) else integrand
    code = getattr(inner, "__code__", None)
    body = code.co_code + repr(code.co_consts).encode() if code is not None else b""
    named = (
        f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', type(inner).__name__)}"
    )
    return f"{named} {hashlib.sha256(body).hexdigest()[:12]}"


def _arguments(law: Law, **others: Any) -> dict[str, Any]:
    """The arguments as JSON can hold them."""

    def plain(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, Budget):
            return value.total
        if isinstance(value, Precision):
            return {
                "absolute": value.absolute,
                "relative": value.relative,
                "level": value.level,
                "max_budget": value.max_budget,
            }
        if isinstance(value, Law):
            return value.describe()
        return _signature(value) if callable(value) else repr(value)

    return {"law": law.describe(), **{k: plain(v) for k, v in others.items()}}


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
        if proposal in ("grid", "rank-one") and not law.mapped:
            raise ValueError(
                f"proposal: {proposal!r} needs a law with an isoprobabilistic map (independent "
                "marginals, a Gaussian copula or a multivariate normal law)"
            )
        return proposal, ()
    start = as_law(proposal)
    if start.dimension != law.dimension:
        raise ValueError(f"proposal: has {start.dimension} inputs, the law has {law.dimension}")
    return "auto", (start,)


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
        many inputs), "grid" (up to 4 inputs), "auto" (mixtures, with a grid up to 4 inputs,
        rank-one above 20); or a law to start from beside the input law.
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
        Use the draws of all stages under their joint mixture: often a smaller error, but slightly
        biased, because the mixture was learned from them.
    vectorized : bool, default True
        Whether the integrand takes many inputs at once.
    names : sequence of str, length J, optional
        Names of the expectations.
    seed : None, int, SeedSequence or Generator
        The result depends on it and on the other arguments only.
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the integrand is called.
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
        A standard error can't be promised: heavy tails, few draws that matter, no hit at all.

    References
    ----------
    Demange-Chryst, Bachoc & Morio (2023), arXiv 2212.00568.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> from scipy import stats
    >>> def tail(x):
    ...     return np.stack([x.sum(1), x.sum(1) > 5], axis=1)
    >>> estimate = smw.adaptive_importance_sampling(
    ...     tail, {"a": stats.norm(1, 1), "b": stats.norm(0, 1)}, 5_000, names=["mean", "tail"], seed=1
    ... )
    >>> lower, upper = estimate.interval()
    >>> truth = np.array([1.0, stats.norm.sf(4 / np.sqrt(2))])
    >>> bool(((lower < truth) & (truth < upper)).all())
    True
    """
    law = as_law(law)
    rule = stopping_rule(budget, precision)
    goal = _Goal(rule, _objective(objective))
    if goal.most < 100:
        raise ValueError(f"budget: got {goal.most}; adaptation needs at least 100 calls")
    if components not in ("each", "shared"):
        raise ValueError(f"components: got {components!r}; expected 'each' or 'shared'")
    if pooled and isinstance(rule, Precision):
        raise ValueError("pooled: goes with a budget, not with a precision")
    family, start = _family(proposal, law)
    method = "adaptive importance sampling"
    arguments = _arguments(
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
        names=None if names is None else list(names),
    )
    began = time.perf_counter()
    with open_run(
        partial(_call, integrand, vectorized),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=arguments,
        seed=seed,
        total=rule.total if isinstance(rule, Budget) else None,
        description=method,
    ) as run:
        space = working_space(law, generator(run.root, "scale"))
        controls = _controls(control_variates, space, goal.most, run.root)
        sampler = _Sampler(run, space, vectorized)
        given = tuple(Given(g, space) for g in start)
        adapted = _adapt(sampler, controls, goal, family, components == "shared", given)
        first = adapted.history.stages[0]
        names = _names(names, first.values.shape[1], first.scalar)
        rounds, means, used, reached = _finish(sampler, controls, goal, adapted)
        root = run.root
    history = adapted.history
    evaluations = len(history.log_total) + sum(len(stage) for stage in rounds)
    cautions = []
    if not reached:
        cautions.append(f"the precision was not reached within max_budget={goal.most} calls")
    if pooled:
        for stage in rounds:
            history.add(stage)
        mean = _all_stages(history, adapted.components, controls, used)
        draws, log_h = history.stages, history.log_h
    else:
        mean, draws = _pooled(means), rounds
        log_h = np.concatenate([stage.mixture.log_density(stage.u) for stage in rounds])
    weights = rounds[-1].mixture.weights
    return _report(
        mean,
        draws,
        log_h,
        evaluations,
        names,
        method=method + (", all stages pooled (slightly biased)" if pooled else ""),
        diagnostics={
            "control_variate": used,
            "mixture_weights": weights,
            "components": list(adapted.components.serves),
            "stages": adapted.stages,
            "stopped": adapted.stopped,
        },
        seconds=time.perf_counter() - began,
        source=provenance(method, root, arguments),
        law=law,
        defensive=float(weights[0]),
        cautions=cautions,
    )


def importance_sampling(
    integrand: Callable[[np.ndarray], np.ndarray],
    law: Any,
    proposal: Any,
    budget: int,
    *,
    defensive: float = 0.1,
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
    defensive : float, default 0.1
        Share a of the input law among the draws, from 0 to below 1. With 0 this is textbook
        importance sampling, and nothing bounds the weights.
    control_variates : default True
        As for `adaptive_importance_sampling`.
    self_normalized : bool, default False
        Divide by the mean weight: for a law whose ``logpdf`` lacks its constant. Slightly biased,
        and ``defensive`` and ``control_variates`` don't apply, because both need the constant.
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
    law, start = as_law(law), as_law(proposal)
    if start.dimension != law.dimension:
        raise ValueError(f"proposal: has {start.dimension} inputs, the law has {law.dimension}")
    if isinstance(defensive, bool) or not 0 <= defensive < 1:
        raise ValueError(f"defensive: got {defensive!r}; expected a share from 0 to below 1")
    rule = stopping_rule(budget, None)
    assert isinstance(rule, Budget)
    if rule.total < 20:
        raise ValueError(f"budget: got {rule.total}; expected at least 20 calls")
    method = "importance sampling"
    arguments = _arguments(
        law,
        integrand=integrand,
        proposal=start,
        budget=rule,
        defensive=float(defensive),
        control_variates=control_variates,
        self_normalized=bool(self_normalized),
        vectorized=bool(vectorized),
        names=None if names is None else list(names),
    )
    began = time.perf_counter()
    with open_run(
        partial(_call, integrand, vectorized),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=arguments,
        seed=seed,
        total=rule.total,
        description=method,
    ) as run:
        space = working_space(law, generator(run.root, "scale"))
        given = Given(start, space)
        if self_normalized:
            control_variates, defensive = False, 0.0
        controls = _controls(control_variates, space, rule.total, run.root)
        shares = np.array([defensive, 1 - defensive] if defensive else [1.0])
        densities = (space, given) if defensive else (given,)
        counts = _split(rule.total, shares, FOLDS)
        stage = _Sampler(run, space, vectorized).draw("final 1", densities, counts)
        root = run.root
    names = _names(names, stage.values.shape[1], stage.scalar)
    j = len(names)
    log_h = stage.mixture.log_density(stage.u)
    if not np.isfinite(stage.log_f).any():
        raise DegeneracyError("every draw of the proposal has density zero under the law")
    components = Components(
        densities,
        np.zeros((len(densities), j)),
        shares,
        shares,
        ("input law", "proposal")[-len(densities) :],
    )
    if self_normalized:
        mean = _ratio_mean(stage, log_h)
        used = ["none"] * j
        method += ", self-normalised (slightly biased)"
    else:
        choices = _choices(controls, components, len(stage) // 4)
        choices = [c for c in choices if c.direction is None and c.cutoff != 0.001 or c.size > 2]
        chosen = np.full(j, len(choices) - 1)
        shift = (np.exp(stage.log_f - log_h)[:, None] * stage.values).mean(0)
        mean = _mean_of(stage, components, controls, choices, chosen, None, shift)
        used = [choices[-1].name] * j
    return _report(
        mean,
        [stage],
        log_h,
        len(stage),
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
        law=law,
        defensive=float(stage.mixture.weights[0]) if defensive else 0.0,
        cautions=[],
    )


def _ratio_mean(stage: Stage, log_h: np.ndarray) -> _Mean:
    """Self-normalised mean sum w phi / sum w, its variance by the delta method."""
    n = len(stage)
    log_w = stage.log_f - log_h
    w = np.exp(log_w - log_w.max())
    w *= n / w.sum()
    value = w @ stage.values / n
    r = w[:, None] * (stage.values - value)
    covariance = r.T @ r / n / (n - 1)
    variance = np.diag(covariance).copy()
    second = w @ stage.values**2 / n
    hits = ((w[:, None] * stage.values) != 0).sum(0)
    return _Mean(n, value, covariance, None, variance, variance, second, hits)
