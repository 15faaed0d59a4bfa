"""Probabilities of failure, down to 1e-9 and with several ways to fail, from one sample.

`failure_probability` estimates P(g(X) <= c) for one or several limit-state functions g and
thresholds c. It starts with smoothed indicators Phi(-(g - c)/s): wide enough that draws of the
input law count, then narrower as fast as the draws allow (improved cross-entropy), every failure
region on the way. From there on it is `adaptive_importance_sampling` of the indicators: stages
until another no longer pays for itself, final independent draws, mixture components as control
variates, unbiased, the covariance that of a mean.

A region that was lost would show as an estimate low by a whole fraction with a comfortable error.
Two components look for it in every stage and in the final sample: the input law itself, and a
normal law as wide in every direction as the failures found are far.

References: Papaioannou, Geyer & Straub (2019), Improved cross entropy-based importance sampling
with a flexible mixture model, Reliab. Eng. Syst. Saf. 191; Demange-Chryst, Bachoc & Morio (2023),
arXiv 2212.00568.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import names as given_names
from ..errors import ModelError
from ..estimate import Estimate
from ..execution import open_run
from ..provenance import provenance
from ..randomness import generator
from ..stopping import Budget, Precision, stopping_rule
from .adaptive import (
    MOST_ADAPTATION,
    MOST_STAGE,
    _adapt,
    _answer,
    _check_integrand,
    _family,
    _finish,
    _Goal,
    _prepared,
)
from .fits import em, fit_directional, starts
from .laws import as_law
from .mixing import fit_components, starting_components
from .proposals import Component, Elliptical, log_densities
from .sampling import (
    History,
    Sampler,
    Stage,
    Units,
    arguments_of,
    call_integrand,
    check_flags,
    expectation_names,
    pooled_mean,
    split,
    units_of,
)
from .working_space import WorkingSpace

__all__ = ["failure_probability"]

MOST_LEVELS = 0.4  # share of the budget that may go into the approach
MOST_SEARCH = 0.5  # the same with the search for what it may have lost
ENOUGH = 0.3  # draws of a level's size that its smoothed indicators have to be worth
FEW_INPUTS = 12  # up to here regions are fitted in all inputs
MOST_AXES = 12  # directions to fit regions in, above
MOST_REGIONS = 20
MANY_INPUTS = 20  # above, single draws with large weights pass for regions
FAR = 1.5  # mean square along a direction that counts then, 1 under the input law
EM_DRAWS = 1000  # as many as EM needs to see
ENOUGH_DRAWS = 60.0  # that a smoothed indicator away from the regions is worth, for a fit,
FEW_DRAWS = 20.0  # and for a bound in few inputs, where draws get everywhere
AWAY = 0.6  # farther towards a region than this part of its distance is its own
DOUBTFUL = 0.2  # of the probability: to be told when it stays unknown
NEGLIGIBLE = 0.02  # of the probability: what may stay unknown away from the regions
SYSTEMS = {"series": np.min, "parallel": np.max}


@dataclass(frozen=True)
class _Events:
    """What counts as failure: every limit state at every threshold, and the system."""

    thresholds: np.ndarray  # (T,)
    system: str | None

    def margins(self, g: np.ndarray) -> np.ndarray:
        """Margins (n, J) of g (n, C), negative or zero where event j occurs."""
        columns = g
        if self.system is not None:
            whole = SYSTEMS[self.system](g, axis=1, keepdims=True)
            columns = np.concatenate([g, whole], axis=1)
        return (columns[:, :, None] - self.thresholds).reshape(len(g), -1)

    def indicators(self, g: np.ndarray) -> np.ndarray:
        """Zeros and ones (n, J) of g (n, C)."""
        return (self.margins(g) <= 0).astype(np.float64)

    def names(self, columns: int, scalar: bool) -> list[str]:
        """Default names of the J events."""
        states = ["g"] if scalar else [f"g{i + 1}" for i in range(columns)]
        if self.system is not None:
            states.append(f"{self.system} system")
        return [f"P({state} <= {t + 0.0:g})" for state in states for t in self.thresholds]


def _smoothed(margin: np.ndarray, weight: np.ndarray, need: float) -> tuple[float, np.ndarray]:
    """The smallest s for which weight * Phi(-margin/s) is worth ``need`` draws, and these (n,).

    Their largest is 1: far from failure all of them would underflow.
    """
    from scipy.special import log_ndtr

    def at(s: float) -> tuple[float, np.ndarray]:
        with np.errstate(divide="ignore"):
            log_t = np.log(weight) + log_ndtr(-margin / s)
        t = np.exp(log_t - log_t.max())
        return t.sum() ** 2 / (t @ t), t

    t = weight * (margin <= 0)
    if t.sum() ** 2 >= need * (t @ t) and t.any():
        return 0.0, t / t.max()
    centre = np.median(margin)
    # a limit state that only says whether it failed shows no way there: nothing is smoothed then
    size = np.abs(margin - centre).mean() or abs(centre) or 1.0
    low, high = -12.0, 4.0  # powers of ten of the margin's own spread
    for _ in range(30):
        middle = (low + high) / 2
        if at(size * 10**middle)[0] >= need:
            high = middle
        else:
            low = middle
    return size * 10**high, at(size * 10**high)[1]


def _regions(u: np.ndarray, t: np.ndarray, rng: np.random.Generator) -> tuple[Elliptical, ...]:
    """Normal laws for the failure regions that draws u (n, d) with weights t (n,) tell apart.

    The mixture is fitted in the few directions along which the weighted draws are farther from
    the centre than chance explains, and is standard normal across them: the regions of a limit
    state of many inputs have few parameters then, and none cancels another as in a mean direction.
    Akaike's criterion, unlike that of Bayes, rather keeps a region too many.
    """
    w = t / t.sum()
    d, size = u.shape[1], 1 / (w @ w)
    axes = np.eye(d)
    if d > FEW_INPUTS:
        if d > MANY_INPUTS:
            w = np.minimum(w, 2 / size)
            w = w / w.sum()
            size = 1 / (w @ w)
        squares, vectors = np.linalg.eigh((u * w[:, None]).T @ u)
        vectors = vectors[:, ::-1]
        if d > MANY_INPUTS:
            # a direction counts that one half of the draws points out and the other confirms
            half = np.linalg.eigh((u[::2] * w[::2, None]).T @ u[::2])[1][:, : -1 - MOST_AXES : -1]
            there = w[1::2] @ (u[1::2] @ half) ** 2 / w[1::2].sum()
            vectors = vectors[:, : (there > FAR).sum()]
        else:
            # Marchenko & Pastur's edge: the largest square of so many draws without any direction
            far = squares[::-1] > (1 + np.sqrt(d / size)) ** 2
            vectors = vectors[:, far][:, : int(np.clip(size / 20, 1, MOST_AXES))]
        axes = np.linalg.qr(np.column_stack([w @ u, vectors]))[0]
    a, q = u @ axes, axes.shape[1]
    some, times = _resampled(w, rng)
    a, w = a[some], times / EM_DRAWS
    mean = w @ a
    covariance = (a - mean).T @ ((a - mean) * w[:, None])
    best, found, idle = np.inf, [], 0
    for c in (1, 2, 3, 4, 6, 8, 10, 12, 16, 20):
        if (c > 1 and size < c * (q + 2)) or idle == 2:
            break
        tries = 1 if c == 1 else 3
        means, cholesky, shares, fit = em(
            a,
            np.repeat(w[:, None], tries, axis=1),
            np.full(tries, size),
            np.stack([starts(a, w, c, rng) for _ in range(tries)], axis=1),
            np.broadcast_to(covariance / c, (c, tries, q, q)),
            np.full((c, tries), 1 / c),
            np.inf,
            15,
        )
        top = int(fit.argmax())
        # what shrinkage leaves free of a covariance matrix
        free = q * (q + 1) / 2 * size / (size + c * (2 * q + 1))
        score = 2 * (c * (q + 1 + free) - 1 - size * fit[top])
        idle += 1
        if score < best:
            best, idle = score, 0
            order = np.argsort(-shares[:, top])
            found = [(means[k, top], cholesky[k, top]) for k in order if shares[k, top] > 1e-4]
    return tuple(
        Elliptical(axes @ m, np.linalg.cholesky(np.eye(d) + axes @ (g @ g.T - np.eye(q)) @ axes.T))
        for m, g in found
    )


def _towards(
    space: WorkingSpace,
    given: tuple[Component, ...],
    regions: tuple[Elliptical, ...],
    u: np.ndarray,
    t: np.ndarray,
    rng: np.random.Generator,
) -> tuple[tuple[Component, ...], np.ndarray]:
    """What the next level is drawn from: densities and their shares.

    Beside the regions the input law, a normal law as wide as the weighted draws t (n, J) are far,
    and, for limit states without directions, von Mises-Fisher laws.
    """
    d = u.shape[1]
    w = (t / t.sum(0)).sum(1)
    width = max(1.0, np.sqrt((w / w.sum()) @ (u**2).sum(1) / d))
    others: tuple[Component, ...] = (*given, Elliptical(np.zeros(d), width * np.eye(d)))
    shares = [0.1] + [0.1] * len(others)
    if d > FEW_INPUTS:
        polar = fit_directional(u, w, rng, "vmfn").components
        others += polar
        shares += [0.2 / len(polar)] * len(polar)
    shares += [max(0.3, 1 - sum(shares)) / len(regions)] * len(regions)
    densities, share = (space, *others, *regions), np.array(shares) / sum(shares)
    if d <= MANY_INPUTS:
        return densities, share
    # which of the families serves is told by the draws, and half believed
    some, times = _resampled(w / w.sum(), rng)
    g = log_densities(densities, u[some])
    g = np.exp(g - g.max(1, keepdims=True))
    learned = share
    for _ in range(20):
        learned = learned * (times @ (g / (g @ learned)[:, None])) / times.sum()
    return densities, (share + learned) / 2


def _resampled(w: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Systematic resampling by weights w (n,) of sum 1, as many as EM needs: rows, how often."""
    place = np.searchsorted(np.cumsum(w), (np.arange(EM_DRAWS) + rng.random()) / EM_DRAWS)
    return np.unique(np.minimum(place, len(w) - 1), return_counts=True)


@dataclass(frozen=True)
class _Seen:
    """What all draws so far say of the events: points, weights f/h and margins."""

    u: np.ndarray  # (n, d)
    weight: np.ndarray  # (n,)
    margins: np.ndarray  # (n, J)


def _seen(history: History, events: _Events) -> _Seen:
    raw = history.gather("raw")
    weight = np.exp(history.gather("log_f") - history.log_h)
    weight = np.where(np.isnan(raw).any(1), 0.0, weight)
    return _Seen(history.gather("u"), weight, events.margins(np.nan_to_num(raw)))


def _approach(
    sampler: Sampler,
    events: _Events,
    most: int,
    family: str,
    given: tuple[Component, ...],
    size: int,
    by_region: bool,
) -> tuple[History, list[dict[str, Any]], tuple[Elliptical, ...]]:
    """Stages towards the events with ever narrower smoothing, until each was hit often enough.

    Returns them, what is said of them, and laws of the regions found, if these were fitted one by
    one; else stages come from the family's mixtures.
    """
    space = sampler.space
    d = space.law.dimension
    history, levels = History(), []
    regions: tuple[Elliptical, ...] = ()
    densities: tuple[Component, ...] = (space, *given)
    weights = starting_components(space, given, 1).share
    need = float(np.clip(12 * (d + 1), 60, 150))
    if by_region:
        need = max(need, ENOUGH * size)
    for number in range(1, 100):
        stage = sampler.draw(f"level {number}", densities, split(size, weights))
        history.add(stage)
        seen = _seen(history, events)
        smooth = [_smoothed(m, seen.weight, need) for m in seen.margins.T]
        scales = np.array([s for s, _ in smooth])
        levels.append(
            {"draws": size, "scales": scales.tolist(), "failures": stage.values.mean(0).tolist()}
        )
        t = np.stack([t for _, t in smooth], axis=1)
        rng = generator(sampler.run.root, "level fit", number)
        if by_region:
            regions = _regions(seen.u, (t / t.sum(0)).sum(1), rng)
        if not scales.any() or len(history.log_total) + size > most:
            break
        if by_region:
            densities, weights = _towards(space, given, regions, seen.u, t, rng)
            continue
        components = fit_components(
            space,
            seen.u,
            t,
            seen.weight,
            1 / np.maximum(t.mean(0), 1e-300) ** 2,
            family=family,
            shared=False,
            given=given,
            fixed=np.zeros(t.shape[1], dtype=bool),
            round_number=number,
            rng=rng,
        )
        densities, weights = components.densities, np.maximum(components.share, components.least)
        weights = weights / weights.sum()
        size = max(size, 4 * len(densities))
    return history, levels, regions


def _search(
    sampler: Sampler,
    events: _Events,
    most: int,
    history: History,
    regions: tuple[Elliptical, ...],
    size: int,
) -> tuple[list[dict[str, Any]], tuple[Elliptical, ...]]:
    """Stages towards failures away from the regions found, which the approach may have lost.

    P(g <= 0) is at most 2 E[Phi(-g/s)] for every s: narrower smoothing goes on, away from the
    regions, until this bound is small beside the probability found. Adds to the history; returns
    what is said of the stages, and laws of further regions.
    """
    rounds: list[dict[str, Any]] = []
    further: tuple[Elliptical, ...] = ()
    for number in range(1, 100):
        seen = _seen(history, events)
        outside = _outside(seen, regions)
        if not outside.any():
            break
        smooth = [_smoothed(m, outside, ENOUGH_DRAWS) for m in seen.margins.T]
        scales = np.array([s for s, _ in smooth])
        t = np.stack([t for _, t in smooth], axis=1)
        pairs = zip(seen.margins.T, scales, strict=True)
        bound = np.array([_bound(m, outside, s) for m, s in pairs])
        value = (seen.weight[:, None] * (seen.margins <= 0)).mean(0)
        open_ = bound > NEGLIGIBLE * value
        known = (outside[:, None] * (seen.margins <= 0)).mean(0)
        rounds.append({"scales": scales.tolist(), "bound": bound.tolist(), "known": known.tolist()})
        failed = open_ & (scales == 0)
        if not open_.any():
            break
        t = t[:, open_]
        rng = generator(sampler.run.root, "search fit", number)
        found = _regions(seen.u, (t / t.sum(0)).sum(1), rng)
        if failed.any():
            further = found
        if not scales[open_].any() or len(history.log_total) + size > most:
            break
        if sampler.space.law.dimension > MANY_INPUTS and len(rounds) > 1:
            # what draws can't close they need not be spent on
            before = np.array(rounds[-2]["bound"])
            if (bound > 0.7 * before)[open_].any():
                break
        densities, weights = _towards(sampler.space, (), found, seen.u, t, rng)
        history.add(sampler.draw(f"search {number}", densities, split(size, weights)))
    return rounds, further


def _outside(seen: _Seen, regions: tuple[Elliptical, ...]) -> np.ndarray:
    """Weights (n,) of the draws away from the regions, 0 elsewhere."""
    directions = np.array([r.mean for r in regions]).reshape(-1, seen.u.shape[1])
    return seen.weight * (seen.u @ directions.T < AWAY * (directions**2).sum(1)).all(1)


def _bound(margin: np.ndarray, weight: np.ndarray, s: float) -> float:
    from scipy.special import ndtr

    return float((weight * (2 * ndtr(-margin / s) if s > 0 else margin <= 0)).mean())


def _doubts(
    searches: list[dict[str, Any]],
    history: History,
    final: list[Stage],
    events: _Events,
    regions: tuple[Elliptical, ...],
    value: np.ndarray,
    names: Sequence[str],
) -> list[str]:
    """What to say where too much of an event's probability (J,) is unexplored after all draws."""
    if not searches:
        return []
    last = searches[-1]
    if not _unsure(np.array(last["bound"]), np.array(last["known"]), value).any():
        return []
    # the search wants regions it can fit; few draws tell that there is none to fit
    every = History(list(history.stages), history.log_total)
    for stage in final:
        every.add(stage)
    seen = _seen(every, events)
    need = FEW_DRAWS if seen.u.shape[1] <= FEW_INPUTS else ENOUGH_DRAWS
    outside = _outside(seen, regions)
    bound, known = np.zeros_like(value), np.zeros_like(value)
    if outside.any():
        scales = [_smoothed(m, outside, need)[0] for m in seen.margins.T]
        pairs = zip(seen.margins.T, scales, strict=True)
        bound = np.array([_bound(m, outside, s) for m, s in pairs])
        known = (outside[:, None] * (seen.margins <= 0)).mean(0)
    last |= {"bound": bound.tolist(), "known": known.tolist()}
    unsure = _unsure(bound, known, value)
    if not unsure.any():
        return []
    listed = ", ".join(names[i] for i in np.flatnonzero(unsure)[:5])
    ratio = float((bound / np.maximum(value, 1e-300))[unsure].max())
    share = f"{ratio:.0%} of" if ratio < 10 else "many times"
    return [
        f"{listed}: calls for the search of further failure regions ran out; one that was missed "
        f"may add up to {share} the probability found. More calls would help"
    ]


def _unsure(bound: np.ndarray, known: np.ndarray, value: np.ndarray) -> np.ndarray:
    # where nothing is left to find, failures make up half of the bound
    return np.asarray((bound > DOUBTFUL * value) & (known < 0.4 * bound) & (value > 0))


def _design_points(
    history: History, space: WorkingSpace
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every event: the most likely failure found as inputs and as reliability index, and the
    squared cosines of its direction; NaN for events without failures.
    """
    u, values = history.gather("u"), history.gather("values")
    t = history.targets()
    j, d = values.shape[1], u.shape[1]
    point, index, factors = np.full((j, d), np.nan), np.full(j, np.nan), np.full((j, d), np.nan)
    radius = np.sqrt((u**2).sum(1))
    for k in range(j):
        failed = np.flatnonzero(t[:, k] != 0)
        if len(failed) == 0 or np.median(radius) == 0:
            continue
        nearest = failed[radius[failed].argmin()]
        towards = u[nearest] / radius[nearest]
        # one draw is noisy in many dimensions: the mean of the failures on its side is less so
        near = failed[u[failed] @ towards > 0.5 * radius[failed]] if len(failed) > 20 else failed
        mean = np.abs(t[near, k]) @ u[near]
        length = np.linalg.norm(mean)
        e = mean / length if length > 0 else towards
        along = u[failed] @ e
        cosine = along / radius[failed]
        index[k] = along[cosine > 0.9 * cosine.max()].min()
        factors[k] = e**2
        point[k] = space.to_inputs((index[k] * e)[None])[0]
    return point, index, factors


def failure_probability(
    limit_state: Callable[[np.ndarray], np.ndarray],
    law: Any,
    budget: int | None = None,
    *,
    threshold: ArrayLike = 0.0,
    system: str | None = None,
    precision: Precision | None = None,
    proposal: Any = "auto",
    control_variates: Any = True,
    vectorized: bool = True,
    names: Sequence[str] | None = None,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
) -> Estimate:
    """Probability that a limit state is at or below its threshold: P(limit_state(X) <= threshold).

    Parameters
    ----------
    limit_state : callable
        (n, d) array of inputs -> (n,) or, for several limit states, (n, C); finite numbers,
        negative or zero meaning failure at threshold 0. With ``vectorized=False``: one input of
        shape (d,) -> number or (C,).
    law : law
        Law of the inputs, as for `adaptive_importance_sampling`.
    budget : int, at least 200
        Calls of the limit state (rows), everything included; give this or ``precision``.
    threshold : float or array_like of shape (T,), default 0
        Each limit state is judged at each threshold: C T events, those of a limit state together.
    system : {None, "series", "parallel"}
        Adds the event that any limit state fails, or that all of them do.
    precision : Precision, optional
        Run until every interval is as narrow as asked.
    proposal : str or law, default "auto"
        "gaussian", "mixture", "student", "rank-one", "vmfn", "grid", "auto", or a law to start
        from: as for `adaptive_importance_sampling`.
    control_variates : default True
        As for `adaptive_importance_sampling`.
    vectorized, names, seed, executor, progress, checkpoint
        As for `adaptive_importance_sampling`.

    Returns
    -------
    Estimate
        Of shape () for one limit state, one threshold and no system, otherwise (J,). An event that
        was never hit is 0 with an upper limit and a warning. Diagnostics: ``levels`` (the scales
        of the smoothed indicators), ``stages``, and what first-order reliability analysis reports:
        ``design_points`` (J, d), near the most likely failure, ``design_index`` (J,), its
        distance from the centre in standard-normal space, and ``importance_factors`` (J, d),
        squared direction cosines, which sum to 1. The sample keeps the limit state itself, as
        ``returned``.

    Raises
    ------
    ModelError, ValueError, TypeError
        As for `adaptive_importance_sampling`.

    Warns
    -----
    PrecisionWarning
        A standard error can't be promised: no hit, few draws that matter, heavy tails; or calls
        ran out before the search for further failure regions had ended, as they may below some
        thousands of calls, and in many inputs, even where there is one region only.

    References
    ----------
    Papaioannou, Geyer & Straub (2019), Reliab. Eng. Syst. Saf. 191; Demange-Chryst, Bachoc &
    Morio (2023), arXiv 2212.00568.

    Examples
    --------
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> estimate = smw.failure_probability(
    ...     lambda x: 6 - x.sum(axis=1) / 2**0.5, [stats.norm()] * 2, 5_000, seed=1
    ... )
    >>> lower, upper = estimate.interval()
    >>> bool(lower < stats.norm.sf(6) < upper)
    True
    """
    _check_integrand(limit_state, "limit_state")
    check_flags(vectorized=vectorized)
    law = as_law(law)
    names = given_names(names)
    rule = stopping_rule(budget, precision)
    goal = _Goal(rule, "max-relative", Units(np.zeros(1), np.ones(1)))
    if goal.most < 200:
        raise ValueError(f"budget: got {goal.most}; expected at least 200 calls")
    thresholds = np.asarray(threshold, dtype=np.float64)
    if thresholds.ndim > 1 or thresholds.size == 0 or not np.isfinite(thresholds).all():
        raise ValueError(
            f"threshold: got {threshold!r}; expected a finite number or a sequence of these"
        )
    if len(np.unique(thresholds)) < thresholds.size:
        raise ValueError(f"threshold: got {threshold!r}; expected different numbers")
    if system is not None and system not in SYSTEMS:
        raise ValueError(f"system: got {system!r}; expected None, 'series' or 'parallel'")
    events = _Events(thresholds.reshape(-1), system)
    family, start = _family(proposal, law)
    method = "failure probability"
    arguments = arguments_of(
        law,
        integrand=limit_state,
        threshold=thresholds.tolist(),
        system=system,
        budget=rule if budget is not None else None,
        precision=precision,
        proposal=start[0] if start else proposal,
        control_variates=control_variates,
        vectorized=bool(vectorized),
        names=names,
    )
    began = time.perf_counter()
    with open_run(
        partial(call_integrand, limit_state, vectorized),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=arguments,
        seed=seed,
        total=rule.total if isinstance(rule, Budget) else None,
        description=method,
    ) as run:
        root = run.root
        remedy = "expected a normalised one"
        sampler, controls, given = _prepared(
            run, law, start, remedy, control_variates, goal.most, vectorized, events.indicators
        )
        budgeted = goal.most if isinstance(rule, Budget) else min(goal.most, 50_000)
        # adaptation wants a stage of its own afterwards
        stage_size = min(goal.first_stage(law.dimension), MOST_STAGE)
        room = int(MOST_ADAPTATION * budgeted) - stage_size
        size = min(int(np.clip(budgeted // 20, 100, 1_000)), room)
        most = min(int(MOST_LEVELS * budgeted), room)
        by_region = family == "auto" and law.mapped
        history, levels, regions = _approach(sampler, events, most, family, given, size, by_region)
        searches: list[dict[str, Any]] = []
        further: tuple[Elliptical, ...] = ()
        if by_region:
            most = min(int(MOST_SEARCH * budgeted), room)
            searches, further = _search(sampler, events, most, history, regions, size)
        # a stage has to hold these and those that adaptation fits
        found = further + regions
        regions = found[: max(0, min(MOST_REGIONS, stage_size // 4 - 28))]
        first = history.stages[0]
        columns = first.raw.shape[1] if first.raw is not None else 0
        if system is not None and columns < 2:
            raise ModelError(
                f"limit_state: returned one value per input; a {system} system needs several"
            )
        scalar = first.scalar and thresholds.ndim == 0
        if names is None and not scalar:
            names = events.names(columns, first.scalar)
        # only draws of the input law tell which outcome is the usual one
        units = units_of(first.values[: first.counts[0]])
        sampler, goal = replace(sampler, units=units), replace(goal, units=units)
        for i, stage in enumerate(history.stages):
            history.stages[i] = replace(units.apply(stage), scalar=scalar)
        adapted = _adapt(sampler, controls, goal, family, False, given + regions, names, history)
        adapted, rounds, means, used, reached = _finish(sampler, controls, goal, adapted)
    names = expectation_names(names, len(units.unit), scalar)
    rounds = [replace(stage, scalar=scalar) for stage in rounds]
    point, index, factors = _design_points(history, sampler.space)
    mean = pooled_mean(means, controls.mean_covariance)
    value = np.abs(units.original(mean.value))
    cautions = _doubts(searches, adapted.history, rounds, events, found, value, names)
    return _answer(
        adapted,
        rounds,
        used,
        reached,
        mean,
        names,
        rule,
        method=method,
        began=began,
        source=provenance(method, root, arguments),
        space=sampler.space,
        cautions=cautions,
        more={
            "bounds": [0.0, 1.0],
            "levels": levels,
            "searches": searches,
            "design_points": point,
            "design_index": index,
            "importance_factors": factors,
        },
    )
