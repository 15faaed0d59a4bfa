"""Scores and observed information of a series, by Fisher's and Louis' identities.

Fisher's identity makes the score an expectation over paths given the observations,
grad log p(y) = E[grad log p(x, y) | y]. Chains of conditional particle filters give it without the
bias of one filter, of order T/N, which would move the point that gradient ascent converges to.

Filters and paths are drawn by compiled loops; log p(x, y) of all paths of a sweep is
differentiated by JAX in one call (see `smcweights.statespace.differentiation`). The backward draws
of PaRIS are made along as many paths as there are particles: the same expectation, uniform
weights, and with the scores of whole paths the information as well.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _compat
from ...arguments import names_of
from ...errors import ModelError, PrecisionWarning
from ...estimate import Estimate
from ...execution import open_run
from ...provenance import provenance
from ...randomness import describe, generator, seed_sequence
from ...resampling import CONDITIONAL_SCHEMES
from ...stopping import Budget, Precision, stopping_rule
from ..chains import estimate_from_chains, initial_paths, mixing, sweep, sweeps_dropped
from ..cloud import Cloud
from ..differentiation import check_laws, gradients
from ..model import Proposal, StateSpaceModel, choice, compiled, count, raise_status
from ..series import Series, check_common
from ..smoothing import backward_method
from .parameters import free_places, parameter_names

__all__ = ["Problem", "ScoreChain", "check_problem", "observed_information", "score"]

Array = NDArray[np.float64]
DEFAULT_SWEEPS = 100


@dataclass(frozen=True, eq=False)
class Problem:
    """What a chain needs to know, checked."""

    model: StateSpaceModel
    rows: Array
    vector: bool
    n: int
    n_paths: int
    free: tuple[int, ...]
    scheme: str
    threshold: float
    method: int
    densities: Mapping[str, Any] | None
    proposal: Proposal | None

    @property
    def functions(self) -> Any:
        """What the kernels call."""
        return compiled(self.model, self.vector, self.proposal)

    @property
    def names(self) -> list[str]:
        """Names of the free parameters."""
        names = parameter_names(self.model)
        return [names[k] for k in self.free]

    def arguments(self, **more: Any) -> dict[str, Any]:
        """What provenance says of it."""
        return {
            "model": self.model, "n_particles": self.n, "n_paths": self.n_paths,
            "free": self.names, "resampling": self.scheme, "ess_threshold": self.threshold,
            "densities": self.densities or {}, "proposal": self.proposal, **more,
        }  # fmt: skip


def check_problem(
    model: Any, y: ArrayLike, theta: Any, n_particles: Any, free: Any, n_paths: Any,
    resampling: str, ess_threshold: float, backward: str, densities: Any, proposal: Any,
) -> Problem:  # fmt: skip
    """Arguments of a score, checked, with what is compiled and compared once."""
    model, rows, vector, n = check_common(model, y, n_particles, theta, ess_threshold, proposal)
    choice("resampling", resampling, CONDITIONAL_SCHEMES)
    problem = Problem(
        model, rows, vector, n, n if n_paths is None else count("n_paths", n_paths),
        free_places(model, free), resampling, float(ess_threshold),
        backward_method(model, backward), densities, proposal,
    )  # fmt: skip
    problem.functions  # noqa: B018
    _whole_rows(problem)
    check_laws(model, rows, vector, problem.free, densities)
    return problem


def _whole_rows(p: Problem) -> None:
    """Rows of NaNs are passed over; what else is missing is the business of the density."""
    missing = np.isnan(p.rows)
    partly = np.flatnonzero(missing.any(axis=1) & ~missing.all(axis=1))
    if partly.size == 0:
        return
    t = int(partly[0])
    x, log_w = np.zeros((1, p.model.dim)), np.zeros(1)
    start = compiled(p.model, p.vector).start
    start(np.random.default_rng(0), x, p.rows, t, log_w, -1, p.model.theta.copy())
    if np.isnan(log_w[0]):
        raise ModelError(
            f"observation_logpdf: NaN for y = {p.rows[t]} at time {t}, of which a part is missing; "
            "only rows of NaNs throughout are passed over. Expected a density of the components "
            "that were seen: np.where(np.isnan(y[j]), 0.0, term of np.nan_to_num(y[j]))"
        )


class ScoreChain:
    """A chain of conditional filters that keeps its path while the parameters may move."""

    def __init__(self, problem: Problem, rng: np.random.Generator, path: Array | None) -> None:
        p = problem
        self.problem, self.rng, self.path = p, rng, path
        self.cloud = Cloud(
            Series(p.model, p.rows, p.vector, p.n, p.scheme, p.threshold, p.proposal), rng,
            depth=len(p.rows),
        )  # fmt: skip
        self.gradients = gradients(p.model, p.rows, p.vector, p.densities)
        self.seen: Any = ~np.asarray(np.isnan(p.rows).all(axis=1))
        self.y = np.where(self.seen[:, None], p.rows, 0.0)
        self.changes = np.zeros(len(p.rows))
        self.smallest = math.inf

    def paths(self) -> Array:
        """Paths (T, K, d) drawn back from a conditional filter; one of them is the next."""
        from .. import kernels, learning_kernels

        p, cloud = self.problem, self.cloud
        found = sweep(cloud, p.rows, self.path, 1, kernels.BY_ANCESTORS)
        chosen = np.empty((len(p.rows), p.n_paths), dtype=np.int32)
        if p.method == kernels.MCMC:
            learning_kernels.metropolis_paths(
                cloud.loops[3], cloud.rng, cloud.theta, cloud.x, cloud.log_w, cloud.ancestors,
                chosen, cloud.status,
            )  # fmt: skip
        else:
            cap = p.n if p.method == kernels.HYBRID else 0
            kernels.backward_paths(
                *cloud.loops[3:6], cloud.rng, cloud.theta, cap, cloud.x, cloud.log_w, chosen,
                cloud.tally, cloud.status,
            )  # fmt: skip
        raise_status(cloud.status, p.rows, cloud.x)
        x = np.take_along_axis(cloud.x, chosen[:, :, None].astype(np.int64), axis=1)
        if self.path is not None:
            # the path before stands in the first place; another particle may have the same state,
            # where the state is known
            self.changes += chosen[:, 0] != 0
        self.path = x[:, 0].copy()
        self.smallest = min(self.smallest, float(found["ess"].min()))
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


def score(
    model: StateSpaceModel,
    y: ArrayLike,
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
    densities: Mapping[str, Callable[..., Any]] | None = None,
    names: Sequence[str] | None = None,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
) -> Estimate:
    """Gradient of the log likelihood by the parameters, by Fisher's identity.

    Parameters
    ----------
    model : StateSpaceModel
        Its densities are traced by JAX with jax.numpy in place of numpy, and compared with the
        compiled ones on first use.
    y : array_like, shape (T,) or (T, p)
        Observations; a row of NaNs is missing.
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
    precision : Precision, optional
        Instead of a budget; its `max_budget` counts the sweeps of one chain.
    burn_in : int or "auto"
        Sweeps dropped; "auto": a quarter of the budget and at least 10, but at most half.
    n_paths : int, optional
        Paths drawn back from each filter, default `n_particles`.
    chains : int, default 8
        Independent chains, at least 2.
    initial_path : array_like, shape (T,) or (T, d), or (chains, T) or (chains, T, d), optional
        Where chains start.
    resampling, ess_threshold, backward, proposal
        As for `parisian_particle_gibbs`.
    densities : mapping of str to callable, optional
        JAX functions "initial_logpdf", "transition_logpdf" or "observation_logpdf" of the same
        arguments as the model's, for those that can't be traced.
    names : sequence of str, optional
        Default: those of the parameters.
    seed : None, int, SeedSequence or Generator
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the chains run.
    progress : bool, optional

    Returns
    -------
    Estimate
        Of shape (k,), with respect to theta itself (no transform). Diagnostics as for
        `parisian_particle_gibbs`.

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `parisian_particle_gibbs`; ModelError also for densities that JAX can't trace, or
        that differ between JAX and numba (the message names function and point).

    Warns
    -----
    PrecisionWarning
        As for `parisian_particle_gibbs`; always for "paris".

    References
    ----------
    Cardoso, Janati El Idrissi, Le Corff, Moulines & Olsson (2023), State and parameter learning
    with PaRIS particle Gibbs, arXiv 2301.00900.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(20, seed=1)
    >>> est = score(model, y, None, 50, 60, free=["transition_covariance"], seed=1)
    >>> est.names, est.value.shape
    (('transition_covariance',), (1,))
    """
    began = time.perf_counter()
    choice("method", method, ("ppg", "paris"))
    p = check_problem(
        model, y, theta, n_particles, free, n_paths, resampling, ess_threshold, backward,
        densities, proposal,
    )  # fmt: skip
    labels = names_of(p.names if names is None else names, len(p.free))
    if budget is None and precision is None:
        budget = DEFAULT_SWEEPS
    means, _, diagnostics, root = _run_chains(
        p, budget, precision, burn_in, chains, initial_path, method, False, seed, executor,
        progress, "score",
    )  # fmt: skip
    cautions = diagnostics["warnings"]
    if method == "paris":
        cautions.append("independent filters have a bias of order T/N that the error leaves out")
    for text in cautions:
        warnings.warn(f"score: {text}", PrecisionWarning, stacklevel=2)
    done = diagnostics["sweeps"]
    arguments = p.arguments(
        method=method, budget=budget, burn_in=burn_in, chains=len(means),
        backward=backward, precision=None if precision is None else repr(precision),
    )  # fmt: skip
    return estimate_from_chains(
        means, False, "score", labels, diagnostics,
        {"evaluations": len(means) * done * p.n * len(p.rows), "sweeps": done,
         "seconds": time.perf_counter() - began},
        provenance("score", root, arguments, p.rows),
    )  # fmt: skip


def _run_chains(
    p: Problem, budget: Any, precision: Precision | None, burn_in: Any, chains: Any,
    initial_path: Any, method: str, curved: bool, seed: Any, executor: Any, progress: Any,
    label: str,
) -> tuple[Array, list[dict[str, Any]], dict[str, Any], np.random.SeedSequence]:  # fmt: skip
    """Chain means of the score of the free parameters, and what the chains looked like."""
    chains = count("chains", chains, 2)
    rule = stopping_rule(budget, precision)
    drop = sweeps_dropped(burn_in, rule) if method == "ppg" else 0
    paths = initial_paths(p.model, p.rows, initial_path, chains)
    root = seed_sequence(seed)
    size = rule.total if isinstance(rule, Budget) else drop + 50
    kept: list[Array] = []
    stages: list[dict[str, Any]] = []
    done, smallest, changes = 0, math.inf, np.zeros(len(p.rows))
    with open_run(
        partial(_score_chain, p, method, curved, describe(root)), executor=executor,
        progress=progress, seed=root, total=chains * size, unit="sweeps", description=label,
    ) as run:  # fmt: skip
        while True:
            skip = drop if not stages else 0
            stage = len(kept)
            jobs = [
                (c, stage, skip, size, None if paths is None else paths[c]) for c in range(chains)
            ]
            found = run.map(f"stage {stage + 1}", jobs, [size] * chains)
            kept.append(np.array([entry["scores"] for entry in found])[:, skip:])
            stages += found
            paths = np.array([entry["path"] for entry in found])
            changes += sum(entry["changes"] for entry in found)
            smallest = min(smallest, *(float(entry["smallest"]) for entry in found))
            done += size
            sweeps = np.concatenate(kept, axis=1)
            means = sweeps.mean(axis=1)
            if isinstance(rule, Budget):
                break
            probe = estimate_from_chains(means, False, "", None, {}, {}, {})
            lower, upper = probe.interval(rule.level)
            size = rule.next_size(probe.value, (upper - lower) / 2, sweeps.shape[1], done)
            if size == 0:
                break
    diagnostics, cautions = mixing(sweeps, means)
    diagnostics |= {
        "burn_in": drop, "sweeps": done, "smallest_ess": smallest, "chain_means": means,
        "paths": paths[..., 0] if p.model.state_dim is None else paths,
    }  # fmt: skip
    if method == "ppg":
        rate = changes / (chains * done)
        diagnostics["update_rate"] = rate
        if rate.min() < 0.1:
            cautions.append(
                f"x at time {int(rate.argmin())} changes in {rate.min():.1%} of the sweeps: the "
                "chains hardly move there; use a proposal, or more particles"
            )
    if isinstance(rule, Precision):
        probe = estimate_from_chains(means, False, "", None, {}, {}, {})
        if not rule.reached(probe):
            cautions.append(f"max_budget of {rule.max_budget} sweeps ended before the precision")
    diagnostics["warnings"] = cautions
    return means, stages, diagnostics, root


def _score_chain(p, method, curved, root, chain, stage, skip, sweeps, path):
    """Scores of every sweep of a chain, and its mean curvature after those skipped."""
    with _compat.enable_x64():
        rng = generator(seed_sequence(root), "score", chain, stage)
        own = ScoreChain(p, rng, path)
        if path is None and method == "ppg":
            own.paths()
        scores = np.empty((sweeps, len(p.free)))
        k = p.model.theta.size
        outer, second = np.zeros((k, k)), np.zeros((k, k))
        for s in range(sweeps):
            if method == "paris":
                own.path = None
            if curved:
                mean, a, b = own.curvature()
                if s >= skip:
                    outer += a / (sweeps - skip)
                    second += b / (sweeps - skip)
            else:
                mean = own.score()
            scores[s] = mean[list(p.free)]
    at = np.ix_(p.free, p.free)
    return {"scores": scores, "path": own.path, "changes": own.changes, "outer": outer[at],
            "second": second[at], "smallest": own.smallest}  # fmt: skip


def observed_information(
    model: StateSpaceModel,
    y: ArrayLike,
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
    densities: Mapping[str, Callable[..., Any]] | None = None,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
) -> Estimate:
    """Matrix of minus the second derivatives of the log likelihood, by Louis' identity.

    It is what the paths would tell if they were seen, less what is lost by not seeing them:
    E[-second derivatives of log p(x, y) | y] - Cov[grad log p(x, y) | y].

    Parameters
    ----------
    model, y, theta, n_particles, free, burn_in, n_paths, chains, initial_path, resampling, \
ess_threshold, backward, proposal, densities, seed, executor, progress
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
    >>> _, y = model.simulate(20, seed=1)
    >>> est = observed_information(model, y, None, 50, 60, free=[0, 1], seed=1)
    >>> est.diagnostics["matrix"].shape, len(est)
    ((2, 2), 3)
    """
    began = time.perf_counter()
    p = check_problem(
        model, y, theta, n_particles, free, n_paths, resampling, ess_threshold, backward,
        densities, proposal,
    )  # fmt: skip
    means, stages, diagnostics, root = _run_chains(
        p, budget, None, burn_in, chains, initial_path, "ppg", True, seed, executor, progress,
        "observed_information",
    )  # fmt: skip
    mean = means.mean(axis=0)
    # the square of the mean score is linearised around the pooled mean
    cross = [np.outer(own, mean) + np.outer(mean, own) for own in means]
    matrices = np.array([
        c - np.outer(mean, mean) - entry["second"] - entry["outer"]
        for c, entry in zip(cross, stages, strict=True)
    ])  # fmt: skip
    lower = np.tril_indices(len(mean))
    diagnostics |= {
        "matrix": matrices.mean(axis=0), "score": mean,
        "score_error": means.std(axis=0, ddof=1) / math.sqrt(len(means)),
    }  # fmt: skip
    # they belong to the score
    for name in ("columns", "r_hat", "chain_ess", "autocorrelation_time", "chain_means"):
        diagnostics.pop(name, None)
    for text in diagnostics["warnings"]:
        warnings.warn(f"observed_information: {text}", PrecisionWarning, stacklevel=2)
    done = diagnostics["sweeps"]
    arguments = p.arguments(
        budget=budget, burn_in=burn_in, chains=len(means), backward=backward
    )
    return estimate_from_chains(
        matrices[:, lower[0], lower[1]], False, "observed_information",
        [f"{p.names[a]}, {p.names[b]}" for a, b in zip(*lower, strict=True)], diagnostics,
        {"evaluations": len(means) * done * p.n * len(p.rows), "sweeps": done,
         "seconds": time.perf_counter() - began},
        provenance("observed_information", root, arguments, p.rows),
    )  # fmt: skip
