"""Scores and observed information of a series, by Fisher's and Louis' identities.

Fisher's identity makes the score an expectation over paths given the observations,
grad log p(y) = E[grad log p(x, y) | y]. Chains of conditional particle filters give it without the
bias of one filter, of order T/N, which would move the point that gradient ascent converges to.

Filters and paths are drawn by compiled loops; log p(x, y) of all paths of a sweep is
differentiated by JAX in one call. The backward draws of PaRIS are made along as many paths as
there are particles: the same expectation, uniform weights, and with the scores of whole paths the
information as well.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _compat
from ...arguments import count, names_of, one_of, shown
from ...cautions import Caution, tell
from ...errors import DegeneracyError, ModelError
from ...estimate import Estimate
from ...execution import Run, check_checkpoint, open_run
from ...randomness import Seed
from ...resampling import CONDITIONAL_SCHEMES
from ...stopping import Budget, Precision, stopping_rule
from ..chains import (
    Chains,
    Job,
    Stretch,
    estimate_from_chains,
    first_stage,
    initial_paths,
    made_by,
    run_chains,
    sweeps_dropped,
    verdict,
)
from ..cloud import Cloud
from ..compilation import compiled_path_density
from ..model import Proposal, StateSpaceModel
from ..series import Series, checked_panel, model_of, naming
from ..smoothing import backward_method
from .differentiation import check_laws, gradients
from .parameters import Free, free_parameters
from .supports import moved_supports

Array = NDArray[np.float64]
Densities = Mapping[str, Callable[..., Any]]
DEFAULT_SWEEPS = 100
FEW_PATHS = 32  # in which a support that moves is looked for before any work


class Asked(NamedTuple):
    """How filters run and paths are drawn back, as callers ask for it: see `score`."""

    free: Iterable[str | int] | None
    n_paths: int | None
    resampling: str
    ess_threshold: float
    backward: str
    densities: Densities | None
    proposal: Proposal | None = None


@dataclass(frozen=True, eq=False)
class ScoredSeries:
    """A series, and how scores of its free parameters are found along it.

    By so many paths drawn back from each filter, in this way, and by densities in JAX where the
    model's own can't be traced. Others are more series of the same parameters, whose scores add up;
    their times follow each other where all are in one array.
    """

    series: Series
    free: Free
    n_paths: int
    backward: str
    densities: Densities | None
    others: tuple[Series, ...] = ()

    @property
    def panel(self) -> tuple[Series, ...]:
        """All series."""
        return self.series, *self.others

    @property
    def each(self) -> list[ScoredSeries]:
        """Every series by itself."""
        return [replace(self, series=one, others=()) for one in self.panel]

    @property
    def lengths(self) -> list[int]:
        """Times of every series."""
        return [len(one.rows) for one in self.panel]

    @property
    def rows(self) -> Array:
        """Observations of all series."""
        return np.concatenate([one.rows for one in self.panel])

    @property
    def model(self) -> StateSpaceModel:
        """With the inputs of all series."""
        return model_of(self.panel)

    @property
    def method(self) -> int:
        """The way of the backward steps, as kernels know it."""
        return backward_method(self.series.model, self.backward)

    def at(self, values: Array) -> ScoredSeries:
        """The same with these values of the free parameters."""
        first, *others = (replace(one, model=self.free.of(one.model, values)) for one in self.panel)
        return replace(self, series=first, others=tuple(others))

    def check(self) -> None:
        """Compare the model's densities with its samplers, once for every theta."""
        s = self.series
        check_laws(s.model, s.rows, s.vector, self.free.places, self.densities)

    def arguments(self, **more: object) -> dict[str, Any]:
        """What provenance says of it."""
        own = {"n_paths": self.n_paths, "free": self.free.names, "backward": self.backward}
        if self.others:
            own |= {"model": self.model, "lengths": self.lengths}
        return self.series.arguments(**own, densities=self.densities or {}, **more)


def scored_series(
    model: StateSpaceModel,
    y: ArrayLike | Sequence[ArrayLike],
    theta: ArrayLike | None,
    n_particles: int,
    asked: Asked,
    searched: bool = False,
) -> ScoredSeries:
    """Arguments of a score, checked, with what is compiled and compared once."""
    told = (theta, asked.resampling, asked.ess_threshold, asked.proposal, CONDITIONAL_SCHEMES)
    series, *others = checked_panel(model, y, n_particles, *told, filters=False)
    backward_method(series.model, asked.backward)
    free = free_parameters(series.model, asked.free, searched=searched)
    n_paths = (
        series.n
        if asked.n_paths is None
        else count("n_paths", asked.n_paths, each=12 * len(series.rows))
    )
    check_densities(asked.densities)
    way = (free, n_paths, asked.backward, asked.densities)
    scored = ScoredSeries(series, *way, tuple(others))
    for s, one in enumerate(scored.panel):
        with naming(s if others else None):
            _check_whole_rows(one)
        one.functions()
    scored.check()
    return scored


def refuse_moving_supports(p: ScoredSeries) -> None:
    """Look at a few paths of one filter before all sweeps; the chains' own are looked at later."""
    own = PanelChain(replace(p, n_paths=FEW_PATHS), np.random.default_rng(0), None)
    # a filter that loses all its weight is told by the chains
    with contextlib.suppress(DegeneracyError):
        x = np.concatenate([chain.paths() for chain in own.chains])
        support_cautions(p, np.moveaxis(x, 1, 0))


def starting_paths(p: ScoredSeries, given: ArrayLike | None, chains: int) -> Array | None:
    """Where every chain starts, if that is given."""
    if given is not None and p.others:
        raise ValueError(f"initial_path: got {shown(given)}; expected None with several series")
    return initial_paths(p.series, given, chains)


def check_densities(given: Densities | None) -> None:
    """Refuse what is no dict of functions."""
    if given is not None and not (
        isinstance(given, Mapping) and all(map(callable, given.values()))
    ):
        raise TypeError(f"densities: got {shown(given)}; expected a dict of functions")


def _check_whole_rows(series: Series) -> None:
    """Rows of NaNs are passed over; what else is missing is the business of the density."""
    missing = np.isnan(series.rows)
    partly = np.flatnonzero(missing.any(axis=1) & ~missing.all(axis=1))
    if partly.size == 0:
        return
    t = int(partly[0])
    start = replace(series, proposal=None).functions(backward=False).start
    x, log_w = np.zeros((1, series.model.dim)), np.zeros(1)
    start(np.random.default_rng(0), x, series.rows, t, log_w, -1, series.model.packed())
    if np.isnan(log_w[0]):
        raise ModelError(
            f"observation_logpdf: NaN for y = {series.rows[t]} at time {t}, of which a part is "
            "missing; only rows of NaNs throughout are passed over. Expected a density of the "
            "components that were seen: np.where(np.isnan(y[j]), 0.0, term of np.nan_to_num(y[j]))"
        )


class ScoreChain:
    """A chain of conditional filters that keeps its path while the parameters may move."""

    def __init__(self, scored: ScoredSeries, rng: np.random.Generator, path: Array | None) -> None:
        s = scored.series
        self.scored, self.path = scored, path
        self.cloud = Cloud(s, rng, depth=len(s.rows))
        self.gradients = gradients(s.model, s.rows, s.vector, scored.densities)
        self.seen = ~np.asarray(np.isnan(s.rows).all(axis=1))
        self.y = np.where(self.seen[:, None], s.rows, 0.0)
        self.changes = np.zeros(len(s.rows))
        self.smallest = math.inf

    def paths(self) -> Array:
        """Paths (T, K, d) drawn back from a conditional filter; one of them is the next."""
        rows, cloud, method = self.scored.series.rows, self.cloud, self.scored.method
        ess = cloud.conditional(rows, self.path)
        chosen = cloud.draw_paths(rows, self.scored.n_paths, method)
        x = np.take_along_axis(cloud.particles.x, chosen[:, :, None].astype(np.int64), axis=1)
        if self.path is not None:
            # the path before stands in the first place; another particle may have the same state,
            # where the state is known
            self.changes += chosen[:, 0] != 0
        self.path = x[:, 0].copy()
        self.smallest = min(self.smallest, float(ess.min()))
        return x

    def score(self) -> Array:
        """One sweep: mean score of its paths, by all parameters."""
        x = self.paths()
        found = self.gradients.mean_score(self.cloud.theta, x, self.y, self.seen)
        return self._checked(np.asarray(found))

    def curvature(self) -> tuple[Array, Array, Array]:
        """One sweep: mean score, mean outer product of scores, mean second derivatives."""
        x = self.paths()
        found = self.gradients.curvature(self.cloud.theta, x, self.y, self.seen)
        mean, outer, second = (np.asarray(part) for part in found)
        return self._checked(mean), outer, second

    def _checked(self, mean: Array) -> Array:
        if not np.isfinite(mean).all():
            raise ModelError(
                f"gradient of the log densities: {mean} at theta = {self.cloud.theta}; expected "
                "finite numbers (a density that is finite, and differentiable, at every path)"
            )
        return mean


class PanelChain:
    """Chains along one series or several, whose scores add up; their paths follow each other."""

    def __init__(self, scored: ScoredSeries, rng: np.random.Generator, path: Array | None) -> None:
        several = scored.each
        held = [None] * len(several) if path is None else split(path, scored)
        self.chains = [ScoreChain(s, rng, own) for s, own in zip(several, held, strict=True)]
        self.places = list(scored.free.places)

    @property
    def path(self) -> Array | None:
        """Where the chains are, shape (T, d) of the times of all series."""
        paths = [chain.path for chain in self.chains if chain.path is not None]
        return np.concatenate(paths) if paths else None

    @property
    def changes(self) -> Array:
        """Of every time the sweeps that changed its state."""
        return np.concatenate([chain.changes for chain in self.chains])

    @property
    def smallest(self) -> float:
        """The smallest effective sample size so far."""
        return min(chain.smallest for chain in self.chains)

    def begin(self) -> None:
        """First paths, of filters that follow none."""
        for chain in self.chains:
            chain.paths()

    def forget(self) -> None:
        """Make the next sweep one of filters that follow no path."""
        for chain in self.chains:
            chain.path = None

    def move(self, values: Array) -> None:
        """Other values of the free parameters."""
        for chain in self.chains:
            chain.cloud.theta[self.places] = values

    def score(self) -> Array:
        """One sweep of every series: the sum of their mean scores, by all parameters."""
        return np.asarray(np.sum([chain.score() for chain in self.chains], axis=0))

    def curvature(self) -> tuple[Array, Array, Array]:
        """The same with the mean outer product of the sum, and mean second derivatives."""
        means, outers, seconds = zip(*(chain.curvature() for chain in self.chains), strict=True)
        mean = np.sum(means, axis=0)
        # paths of different series are independent given the parameters
        across = np.outer(mean, mean) - np.sum([np.outer(m, m) for m in means], axis=0)
        return mean, np.sum(outers, axis=0) + across, np.sum(seconds, axis=0)


def split(paths: Array, scored: ScoredSeries) -> list[Array]:
    """Paths (..., T, d) of the times of all series, by series."""
    return np.split(paths, np.cumsum(scored.lengths)[:-1], axis=-2)


def support_cautions(p: ScoredSeries, paths: Array, scores: Array | None = None) -> list[Caution]:
    """What speaks against the scores (chains, k) of a series, from paths (chains, T, d) drawn.

    Fisher's identity fails where a parameter moves the support of a density, which is refused; its
    score is often the same along all paths.
    """
    along = [
        partial(compiled_path_density(one.model, one.vector), np.ascontiguousarray(x), one.rows)
        for one, own in zip(p.panel, split(paths, p), strict=True)
        for x in own
    ]
    surely, moving = moved_supports(p.free, p.series.model.theta, along)
    if surely:
        raise ModelError(
            f"theta: {', '.join(surely)} moves the support of a density: paths become impossible "
            "at places of their own, where the density is not zero, so that Fisher's identity "
            "fails and the score is wrong; use particle_marginal_metropolis_hastings, or "
            "maximum_likelihood(..., method='iterated_filtering')"
        )
    cautions = []
    if moving:
        text = (
            f"small changes of {', '.join(moving)} make paths impossible: is it the edge of its "
            "range, or of the support of a density? There the score is wrong or varies much more "
            "than is seen; use particle_marginal_metropolis_hastings"
        )
        cautions.append(Caution("moving-support", text))
    if scores is not None:
        flat = np.ptp(scores, axis=0) <= 1e-12 * np.abs(scores).max(axis=0)
        names = [n for n, same in zip(p.free.names, flat, strict=True) if same and n not in moving]
        if names:
            text = (
                f"the score by {', '.join(names)} is the same in all chains: an error of zero is "
                "no promise; does the parameter play a part, or move the support of a density?"
            )
            cautions.append(Caution("zero-error", text))
    return cautions


def score(
    model: StateSpaceModel,
    y: ArrayLike | Sequence[ArrayLike],
    theta: ArrayLike | None,
    n_particles: int,
    budget: int | None = None,
    *,
    free: Sequence[str | int] | None = None,
    method: str = "ppg",
    precision: Precision | None = None,
    burn_in: int | str = "auto",
    n_paths: int | None = None,
    chains: int = 8,
    initial_path: ArrayLike | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    backward: str = "auto",
    proposal: Proposal | None = None,
    densities: Densities | None = None,
    names: Sequence[str] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Estimate:
    """Gradient of the log likelihood by the parameters, by Fisher's identity.

    Parameters
    ----------
    model : StateSpaceModel
        Its densities are traced by JAX with jax.numpy in place of numpy, and compared with the
        compiled ones on first use.
    y : array_like, shape (T,) or (T, p), or list of arrays
        Observations; a row of NaNs is missing. A list holds independent series that share the
        parameters: their scores add up, and JAX compiles anew for each length.
    theta : array_like, shape (k,), or None
        Where; None for the model's own parameters.
    n_particles : int, at least 2
    budget : int, optional
        Sweeps of each chain after its start, burn-in included; 100 when neither this nor a
        precision is given.
    free : sequence of str or int, optional
        Which parameters, by name or position; default all.
    method : {"ppg", "paris"}
        Chains of conditional filters (Parisian particle Gibbs), or independent filters, whose
        bias of order T/N no budget removes.
    n_paths : int, optional
        Paths drawn back from each filter, default `n_particles`.
    initial_path : array_like, optional
        As for `parisian_particle_gibbs`; of several series none.
    precision, burn_in, chains, resampling, ess_threshold, backward, proposal, seed, \
executor, progress, checkpoint
        As for `parisian_particle_gibbs`.
    densities : mapping of str to callable, optional
        JAX functions "initial_logpdf", "transition_logpdf" or "observation_logpdf" of the same
        arguments as the model's, for those that can't be traced.
    names : sequence of str, optional
        Default: those of the parameters.

    Returns
    -------
    Estimate
        Of shape (k,), with respect to theta itself (no transform). Diagnostics as for
        `parisian_particle_gibbs`; of several series `update_rate` and `paths` have the times of one
        behind those of the other.

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `parisian_particle_gibbs`; ModelError also for densities that JAX can't trace, or
        that differ between JAX and numba (the message names function and point), and where a
        parameter moves the support of a density, so that Fisher's identity fails.

    Warns
    -----
    PrecisionWarning
        As for `parisian_particle_gibbs`; always for "paris". A parameter may move the support of a
        density, or its score has an error of exactly zero.

    References
    ----------
    Cardoso, Janati El Idrissi, Le Corff, Moulines & Olsson (2023), State and parameter learning
    with PaRIS particle Gibbs, arXiv 2301.00900.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(50, seed=1)
    >>> est = score(model, y, None, 40, 40, free=["transition_covariance"], seed=1)
    >>> est.names, est.value.shape
    (('transition_covariance',), (1,))
    """
    check_checkpoint(checkpoint)
    began = time.perf_counter()
    one_of("method", method, ("ppg", "paris"))
    asked = Asked(free, n_paths, resampling, ess_threshold, backward, densities, proposal)
    p = scored_series(model, y, theta, n_particles, asked)
    labels = names_of(p.free.names if names is None else names, len(p.free.names))
    if budget is None and precision is None:
        budget = DEFAULT_SWEEPS
    chains, rule = count("chains", chains, 2), stopping_rule(budget, precision)
    drop = sweeps_dropped(burn_in, rule) if method == "ppg" else 0
    paths = starting_paths(p, initial_path, chains)
    plan = Plan(rule, drop, paths, chains, seed, executor, progress, checkpoint)
    known = {"method": method, "budget": budget, "burn_in": burn_in, "precision": precision}
    found, _, shown = swept(p, method, plan, "score", began, known)
    if method == "paris":
        del shown["diagnostics"]["update_rate"]
        text = "independent filters have a bias of order T/N that the error leaves out"
        shown["cautions"].append(Caution("bias", text))
    tell("score", shown["cautions"])
    return estimate_from_chains(found.means, names=labels, **shown)


class Plan(NamedTuple):
    """Sweeps of chains, of which the first are dropped: from where, by what seed, and how run."""

    rule: Budget | Precision
    drop: int
    paths: Array | None
    chains: int
    seed: Seed
    executor: Executor | str | None
    progress: bool | None
    checkpoint: str | os.PathLike[str] | None = None
    part_of: Run | None = None
    stage: str = "stage"


def swept(
    p: ScoredSeries, wanted: str, plan: Plan, method: str, began: float, known: dict[str, Any]
) -> tuple[Chains, list[Curved], dict[str, Any]]:
    """Sweeps of all chains with what `_chain` wants of them, and fields of an Estimate of them."""
    arguments = p.arguments(chains=plan.chains, **known)
    with open_run(
        partial(_chain, p, wanted),
        executor=plan.executor,
        progress=plan.progress,
        checkpoint=plan.checkpoint,
        arguments={**arguments, "y": p.rows},
        seed=plan.seed,
        total=plan.chains * first_stage(plan.rule, plan.drop),
        unit="sweeps",
        description=method,
        part_of=plan.part_of,
    ) as run:
        if plan.part_of is None:
            refuse_moving_supports(p)
        found, curved = run_chains(run, plan.rule, plan.drop, plan.paths, plan.chains, plan.stage)
    diagnostics, cautions = verdict(found, plan.drop, *p.panel)
    cautions += support_cautions(p, found.paths, found.means)
    sweeps = plan.chains * found.done
    cost = {"evaluations": sweeps * p.series.n * sum(p.lengths), "sweeps": found.done}
    source = made_by(method, run.root, arguments, p.rows, began, cost)
    return found, curved, {"diagnostics": diagnostics, "cautions": cautions, **source}


class Curved(NamedTuple):
    """Mean outer products of scores and second derivatives (k, k), zero if not wanted."""

    outer: Array
    second: Array


def _chain(p: ScoredSeries, wanted: str, job: Job) -> tuple[Stretch, Curved]:
    """Scores of one chain; wanted is "ppg", "curvature" as well, or "paris": filters alone."""
    size, places = p.series.model.theta.size, list(p.free.places)
    with _compat.enable_x64():
        own = PanelChain(p, job.generator("score"), job.path)
        if job.path is None and wanted != "paris":
            own.begin()
        scores = np.empty((job.sweeps, len(places)))
        outer, second = np.zeros((2, size, size))
        for s in range(job.sweeps):
            if wanted == "paris":
                own.forget()
            if wanted == "curvature":
                mean, a, b = own.curvature()
                if s >= job.skip:
                    outer += a / (job.sweeps - job.skip)
                    second += b / (job.sweeps - job.skip)
            else:
                mean = own.score()
            scores[s] = mean[places]
    # filters of their own are all new
    changes = np.full(len(own.changes), job.sweeps) if wanted == "paris" else own.changes
    path, smallest = np.asarray(own.path), np.array(own.smallest)
    at = np.ix_(places, places)
    return Stretch(scores[job.skip :], path, changes, changes, smallest), Curved(
        outer[at], second[at]
    )


def observed_information(
    model: StateSpaceModel,
    y: ArrayLike | Sequence[ArrayLike],
    theta: ArrayLike | None,
    n_particles: int,
    budget: int = 4 * DEFAULT_SWEEPS,
    *,
    free: Sequence[str | int] | None = None,
    burn_in: int | str = "auto",
    n_paths: int | None = None,
    chains: int = 8,
    initial_path: ArrayLike | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    backward: str = "auto",
    proposal: Proposal | None = None,
    densities: Densities | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Estimate:
    """Matrix of minus the second derivatives of the log likelihood, by Louis' identity.

    It is what the paths would tell if they were seen, less what is lost by not seeing them:
    E[-second derivatives of log p(x, y) | y] - Cov[grad log p(x, y) | y].

    Parameters
    ----------
    model, y, theta, n_particles, free, burn_in, n_paths, chains, initial_path, resampling, \
ess_threshold, backward, proposal, densities, seed, executor, progress, checkpoint
        As for `score`.
    budget : int, default 400
        Sweeps of each chain. Where most of the information is lost the two terms nearly cancel,
        and many are needed.

    Returns
    -------
    Estimate
        The k (k + 1) / 2 entries of the lower triangle, row by row, by theta itself; the whole
        matrix is ``diagnostics["matrix"]``, the score found along the way and its standard errors
        ``diagnostics["score"]`` and ``diagnostics["score_error"]``.

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `score`.

    References
    ----------
    Louis (1982), Finding the observed information matrix when using the EM algorithm, JRSS B 44.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(50, seed=1)
    >>> est = observed_information(model, y, None, 40, 40, free=[0, 1], seed=1)
    >>> est.diagnostics["matrix"].shape, len(est)
    ((2, 2), 3)
    """
    check_checkpoint(checkpoint)
    asked = Asked(free, n_paths, resampling, ess_threshold, backward, densities, proposal)
    p = scored_series(model, y, theta, n_particles, asked)
    chains, rule = count("chains", chains, 2), Budget(budget)
    drop = sweeps_dropped(burn_in, rule)
    paths = starting_paths(p, initial_path, chains)
    plan = Plan(rule, drop, paths, chains, seed, executor, progress, checkpoint)
    est = pooled_information(p, plan).pooled
    tell("observed_information", est.cautions)
    return est


class Informed(NamedTuple):
    """The observed information; scores (chains, k) and matrices (chains, k, k) behind it.

    And the last paths (chains, T, d).
    """

    pooled: Estimate
    scores: Array
    matrices: Array
    paths: Array


def pooled_information(p: ScoredSeries, plan: Plan) -> Informed:
    """What `observed_information` returns, of arguments that are checked; nothing is told."""
    began, known = (
        time.perf_counter(),
        {"budget": getattr(plan.rule, "total", None), "burn_in": plan.drop},
    )
    found, curved, shown = swept(p, "curvature", plan, "observed_information", began, known)
    means, mean = found.means, found.means.mean(axis=0)
    # the square of the mean score is linearised around the pooled mean
    cross = [np.outer(own, mean) + np.outer(mean, own) for own in means]
    matrices = np.array(
        [
            c - np.outer(mean, mean) - part.second - part.outer
            for c, part in zip(cross, curved, strict=True)
        ]
    )
    # these belong to the score
    for name in ("r_hat", "chain_ess", "autocorrelation_time", "chain_means"):
        shown["diagnostics"].pop(name, None)
    shown["diagnostics"] |= {
        "matrix": matrices.mean(axis=0),
        "score": mean,
        "score_error": means.std(axis=0, ddof=1) / math.sqrt(plan.chains),
    }
    rows, columns = np.tril_indices(len(mean))
    names = [f"{p.free.names[a]}, {p.free.names[b]}" for a, b in zip(rows, columns, strict=True)]
    entries = estimate_from_chains(matrices[:, rows, columns], names=names, **shown)
    return Informed(entries, means, matrices, found.paths)
