"""Parameters of state-space models: scores, information, maximum likelihood, posteriors.

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _compat
from ..errors import DegeneracyError, ModelError, PrecisionWarning
from ..estimate import Estimate, _check_names, provenance
from ..execution import open_run
from ..randomness import describe, generator, seed_sequence
from ..resampling import CONDITIONAL_SCHEMES, SCHEMES
from ..stopping import Budget, Precision, stopping_rule
from ..weights import pareto_k
from .differentiation import check_laws, gradients
from .filtering import Cloud, check_common
from .gibbs import _burn_in, _from_chains, _initial_paths, _mixing, sweep
from .model import (
    Proposal,
    StateSpaceModel,
    checkpointed,
    choice,
    compiled,
    count,
    observations,
    proposal_parts,
    raise_status,
)
from .smoothing import backward_method

__all__ = [
    "Fit",
    "VariationalFamily",
    "gaussian_family",
    "markov_score_climbing",
    "maximum_likelihood",
    "observed_information",
    "online_maximum_likelihood",
    "particle_marginal_metropolis_hastings",
    "score",
]

Array = NDArray[np.float64]
DEFAULT_SWEEPS = 100
DEFAULT_ITERATIONS = 500
LEAST_SHARE = 0.1  # of the complete information that steps count on being observed
LONGEST_STEP = 5.0  # in standard deviations of the complete information
FIRST_UPDATE = 20  # observations before parameters move on line
FINAL_DRAWS = 20_000  # from the family fitted, whose weights are looked at
LOOK_EVERY = 10  # iterations between two looks at the curvature
STAGE = 100  # iterations or draws of a chain between two visits of the checkpoint


@dataclass(frozen=True, eq=False)
class _Problem:
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
        names = _labels(self.model)
        return [names[k] for k in self.free]

    def arguments(self, **more: Any) -> dict[str, Any]:
        """What provenance says of it."""
        return {
            "model": self.model, "n_particles": self.n, "n_paths": self.n_paths,
            "free": self.names, "resampling": self.scheme, "ess_threshold": self.threshold,
            "densities": sorted(self.densities or ()),
            "proposal": None if self.proposal is None else "given", **more,
        }  # fmt: skip


def _problem(
    model: Any, y: ArrayLike, theta: Any, n_particles: Any, free: Any, n_paths: Any,
    resampling: str, ess_threshold: float, backward: str, densities: Any, proposal: Any,
) -> _Problem:  # fmt: skip
    model, rows, vector, n = check_common(model, y, n_particles, theta, ess_threshold, proposal)
    choice("resampling", resampling, CONDITIONAL_SCHEMES)
    problem = _Problem(
        model, rows, vector, n, n if n_paths is None else count("n_paths", n_paths),
        _free(model, free), resampling, float(ess_threshold), backward_method(model, backward),
        densities, proposal,
    )  # fmt: skip
    problem.functions  # noqa: B018
    _whole_rows(problem)
    check_laws(model, rows, vector, problem.free, densities)
    return problem


def _labels(model: StateSpaceModel) -> list[str]:
    return list(model.theta_names or [f"theta[{k}]" for k in range(model.theta.size)])


def _whole_rows(p: _Problem) -> None:
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


def _free(model: StateSpaceModel, free: Any) -> tuple[int, ...]:
    size = model.theta.size
    if size == 0:
        raise ValueError("model: it has no parameters; expected theta")
    if free is None:
        return tuple(range(size))
    names = list(model.theta_names or ())
    found: list[int] = []
    for entry in [free] if isinstance(free, str) else free:
        if isinstance(entry, str):
            if entry not in names:
                raise ValueError(f"free: {entry!r} is not a parameter; expected some of {names}")
            found.append(names.index(entry))
        else:
            found.append(count("free", entry, 0))
    if not found or len(set(found)) != len(found) or max(found) >= size:
        raise ValueError(f"free: got {free!r}; expected different parameters out of {size}")
    return tuple(found)


def _searchable(model: StateSpaceModel, places: Sequence[int]) -> None:
    """Rows of probabilities have no unconstrained numbers of their own."""
    if model.structure is None or model.structure[0] != "finite_hmm":
        return
    names = _labels(model)
    rows = [names[k] for k in places if not names[k].startswith("emission")]
    if rows:
        raise ValueError(
            f"free: {rows[0]} is one of probabilities that sum to one, which steps on their own "
            f"would leave; expected some of {[n for n in names if n.startswith('emission')]}. To "
            "learn probabilities, write a StateSpaceModel whose parameters are those of two states "
            "(transform 'logit') or log-odds"
        )


class _Chain:
    """A chain of conditional filters that keeps its path while the parameters may move."""

    def __init__(self, problem: _Problem, rng: np.random.Generator, path: Array | None) -> None:
        p = problem
        self.problem, self.rng, self.path = p, rng, path
        self.cloud = Cloud(
            p.model, p.functions, p.n, rng=rng, scheme=p.scheme, threshold=p.threshold,
            depth=len(p.rows),
        )  # fmt: skip
        self.gradients = gradients(p.model, p.rows, p.vector, p.densities)
        self.seen: Any = ~np.asarray(np.isnan(p.rows).all(axis=1))
        self.y = np.where(self.seen[:, None], p.rows, 0.0)
        self.changes = np.zeros(len(p.rows))
        self.smallest = math.inf

    def paths(self) -> Array:
        """Paths (T, K, d) drawn back from a conditional filter; one of them is the next."""
        from . import kernels, learning_kernels

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
    p = _problem(
        model, y, theta, n_particles, free, n_paths, resampling, ess_threshold, backward,
        densities, proposal,
    )  # fmt: skip
    labels = _check_names(p.names if names is None else names, np.empty(len(p.free)))
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
        method=method, budget=budget, burn_in=diagnostics["burn_in"], chains=len(means),
        backward=backward, precision=None if precision is None else repr(precision),
    )  # fmt: skip
    return _from_chains(
        means, False, "score", labels, diagnostics,
        {"evaluations": len(means) * done * p.n * len(p.rows), "sweeps": done,
         "seconds": time.perf_counter() - began},
        provenance("score", root, arguments, p.rows),
    )  # fmt: skip


def _run_chains(
    p: _Problem, budget: Any, precision: Precision | None, burn_in: Any, chains: Any,
    initial_path: Any, method: str, curved: bool, seed: Any, executor: Any, progress: Any,
    label: str,
) -> tuple[Array, list[dict[str, Any]], dict[str, Any], np.random.SeedSequence]:  # fmt: skip
    """Chain means of the score of the free parameters, and what the chains looked like."""
    chains = count("chains", chains, 2)
    rule = stopping_rule(budget, precision)
    drop = _burn_in(burn_in, rule) if method == "ppg" else 0
    paths = _initial_paths(p.model, p.rows, initial_path, chains)
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
            probe = _from_chains(means, False, "", None, {}, {}, {})
            lower, upper = probe.interval(rule.level)
            size = rule.next_size(probe.value, (upper - lower) / 2, sweeps.shape[1], done)
            if size == 0:
                break
    diagnostics, cautions = _mixing(sweeps, means)
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
        probe = _from_chains(means, False, "", None, {}, {}, {})
        if not rule.reached(probe):
            cautions.append(f"max_budget of {rule.max_budget} sweeps ended before the precision")
    diagnostics["warnings"] = cautions
    return means, stages, diagnostics, root


def _score_chain(p, method, curved, root, chain, stage, skip, sweeps, path):
    """Scores of every sweep of a chain, and its mean curvature after those skipped."""
    with _compat.enable_x64():
        rng = generator(seed_sequence(root), "score", chain, stage)
        own = _Chain(p, rng, path)
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
    p = _problem(
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
        budget=budget, burn_in=diagnostics["burn_in"], chains=len(means), backward=backward
    )
    return _from_chains(
        matrices[:, lower[0], lower[1]], False, "observed_information",
        [f"{p.names[a]}, {p.names[b]}" for a, b in zip(*lower, strict=True)], diagnostics,
        {"evaluations": len(means) * done * p.n * len(p.rows), "sweeps": done,
         "seconds": time.perf_counter() - began},
        provenance("observed_information", root, arguments, p.rows),
    )  # fmt: skip


def _to_theta(u: Array, transforms: Sequence[str]) -> tuple[Array, Array, Array]:
    """Parameters from unconstrained numbers, with first and second derivatives."""
    theta, first, second = u.copy(), np.ones_like(u), np.zeros_like(u)
    for k, kind in enumerate(transforms):
        v = u[..., k]
        if kind == "log":
            theta[..., k] = first[..., k] = second[..., k] = np.exp(v)
        elif kind == "logit":
            value = 1 / (1 + np.exp(-v))
            theta[..., k], first[..., k] = value, value * (1 - value)
            second[..., k] = first[..., k] * (1 - 2 * value)
        elif kind == "atanh":
            value = np.tanh(v)
            theta[..., k], first[..., k] = value, 1 - value**2
            second[..., k] = -2 * value * first[..., k]
    return theta, first, second


def _from_theta(theta: Array, transforms: Sequence[str], names: Sequence[str]) -> Array:
    inverse: dict[str, Callable[[Any], Any]] = {
        "identity": lambda v: v, "log": np.log, "logit": lambda v: np.log(v / (1 - v)),
        "atanh": np.arctanh,
    }  # fmt: skip
    with np.errstate(all="ignore"):
        u = np.array([inverse[kind](v) for v, kind in zip(theta, transforms, strict=True)])
    for value, number, kind, name in zip(theta, u, transforms, names, strict=True):
        if not math.isfinite(number):
            raise ValueError(f"theta0: {name} = {value} is outside of its transform, {kind!r}")
    return u


def _transforms(p: _Problem) -> tuple[str, ...]:
    every = p.model.transforms or ("identity",) * p.model.theta.size
    return tuple(every[k] for k in p.free)


@dataclass(frozen=True, eq=False)
class Fit:
    """Learned parameters.

    Attributes
    ----------
    theta : Estimate
        The free parameters, with both errors: of the data (inverse information) and of the
        search. Its interval is meant to cover the true parameters. It is symmetric, so that it
        may leave a parameter's range; `interval`, which a printed fit shows, keeps to it.
    maximiser : Estimate
        The same value with the Monte Carlo error alone: its interval is meant to cover the
        maximum of the likelihood that more computing would find.
    model : object
        The model with the values found; the family for `markov_score_climbing` of a density.
    iterates : ndarray, shape (chains, L, k)
        The way of every chain.
    gradient : Estimate or None
        Mean gradient over the iterations averaged, by the unconstrained parameters: zero at the
        maximum.
    information : Estimate or None
        What `observed_information` says at the value found.
    transforms : tuple of str
        Of the free parameters.
    diagnostics : dict
        `averaged`, iterations behind the average of each chain; `newton_step`, the step that the
        mean gradient still asks for, in standard errors of the data (a rough guess at them without
        `information`); `statistical_error` and
        `monte_carlo_error` of theta, shape (k,); `paths`, the chains' last paths; `warnings`.
    """

    theta: Estimate
    maximiser: Estimate
    model: Any
    iterates: Array
    gradient: Estimate | None = None
    information: Estimate | None = None
    transforms: tuple[str, ...] = ()
    diagnostics: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        rows: list[tuple[str, ...]] = [("", "value", "interval", "of the search alone")]
        both, alone = self.interval(), self.interval(error="monte carlo")
        for k, name in enumerate(self.theta.names):
            ends = [f"[{low[k]:.4g}, {high[k]:.4g}]" for low, high in (both, alone)]
            rows.append((name, f"{self.theta.value[k]:.4g}", *ends))
        widths = [max(len(row[j]) for row in rows) for j in range(4)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
                 for row in rows]  # fmt: skip
        return "\n  ".join([f"Fit of {len(self.theta)} parameters by {self.theta.method}", *lines])

    def interval(self, level: float = 0.95, error: str = "both") -> tuple[Array, Array]:
        """Intervals made where the parameters are unconstrained, so that they keep to their range.

        Parameters
        ----------
        level : float, default 0.95
        error : {"both", "monte carlo"}
            Of data and search, or of the search alone.

        Returns
        -------
        lower, upper : ndarray, shape (k,)
        """
        choice("error", error, ("both", "monte carlo"))
        est = self.theta if error == "both" else self.maximiser
        u = _from_theta(est.value, self.transforms, est.names)
        _, slope, _ = _to_theta(u, self.transforms)
        lower, upper = est.interval(level)
        ends = [_to_theta(u + (end - est.value) / slope, self.transforms)[0]
                for end in (lower, upper)]  # fmt: skip
        return ends[0], ends[1]

    def plot(self, ax: Any = None, *, parameter: str | int = 0) -> Any:
        """Iterates of a parameter with their averages (`smcweights.plots.iterates`).

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.
        parameter : str or int
            By name or position among the free ones.

        Returns
        -------
        matplotlib axes
        """
        from .. import plots

        return plots.iterates(self, ax, parameter=parameter)

    @property
    def averaged_path(self) -> Array:
        """Running means of the iterates over their last halves, shape (chains, L, k)."""
        total = np.cumsum(self.iterates, axis=1)
        last = np.arange(self.iterates.shape[1])
        first = (last + 1) // 2
        before = np.where((first > 0)[:, None], total[:, np.maximum(first - 1, 0)], 0.0)
        return (total - before) / (last - first + 1)[:, None]


def maximum_likelihood(
    model: StateSpaceModel,
    y: ArrayLike,
    theta0: ArrayLike | None,
    n_particles: int,
    budget: int | None = None,
    *,
    free: Sequence[str | int] | None = None,
    precision: Precision | None = None,
    optimiser: Any = None,
    n_paths: int | None = None,
    chains: int = 4,
    information: bool = True,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    backward: str = "auto",
    proposal: Proposal | None = None,
    densities: Mapping[str, Callable[..., Any]] | None = None,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
) -> Fit:
    """Parameters that maximise the likelihood, by stochastic approximation.

    Every iteration is one sweep of a conditional filter, whose path stays warm while the
    parameters move, and one step along the score. Steps are scaled by the information that the
    paths carry and by the share of it that is observed, and shrink like (iteration)^-0.75; the
    second half is averaged. Chains are independent, which gives the Monte Carlo error; the error of
    the data comes from the observed information.

    In searches of few iterations (150 or so) all chains share the pull of the start, which their
    spread does not show: start chains apart, or take more iterations. With few particles the
    information is noisy, and with it `statistical_error`, by a factor of two at 20.

    Parameters
    ----------
    model : StateSpaceModel
        Parameters with a transform are searched where they are unconstrained.
    y : array_like, shape (T,) or (T, p)
    theta0 : array_like, shape (k,) or (chains, k), or None
        Where all chains start, or each; None for the model's own parameters. Parameters that are
        not free stay as they are there.
    n_particles : int, at least 2
    budget : int, optional
        Iterations of each chain, at least 20; 500 when neither this nor a precision is given.
    free : sequence of str or int, optional
        Which parameters to learn, by name or position; default all.
    precision : Precision, optional
        Wanted of the MONTE CARLO intervals (`Fit.maximiser`); its `max_budget` counts the
        iterations of one chain.
    optimiser : optax.GradientTransformation, optional
        Such as ``optax.adam(0.05)``, instead of the steps above; averages stay.
    n_paths, resampling, ess_threshold, backward, proposal, densities
        As for `score`. One path per sweep is Markov score climbing.
    chains : int, default 4
        Independent searches, at least 2.
    information : bool, default True
        Estimate the observed information at the end, by a quarter of the iterations and at least
        100 sweeps per chain. Without it there is no error of the data.
    seed : None, int, SeedSequence or Generator
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the chains run.
    progress : bool, optional
    checkpoint : path, optional
        File that receives every hundred iterations of the chains; a later call with the same
        arguments goes on from there and gives the same numbers. The information at the end is
        found anew.

    Returns
    -------
    Fit

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `score`; also a start outside of a parameter's transform.

    Warns
    -----
    PrecisionWarning
        Chains that ended in different places (several maxima, or one on the bound of a range), a
        mean gradient far from zero, an information that is not positive definite, chains that
        hardly move (seen with ``information=True``), or a precision that was not reached.

    References
    ----------
    Cardoso et al. (2023), arXiv 2301.00900; Polyak & Juditsky (1992), Acceleration of stochastic
    approximation by averaging, SIAM J. Control Optim. 30; Lange (1995), A gradient algorithm
    locally equivalent to the EM algorithm, JRSS B 57.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(100, seed=1)
    >>> fit = maximum_likelihood(
    ...     model, y, None, 30, 60, free=["transition_matrix"], information=False, seed=1
    ... )
    >>> fit.iterates.shape, 0.7 < float(fit.maximiser.value[0]) < 1.0
    ((4, 60, 1), True)
    """
    began = time.perf_counter()
    chains = count("chains", chains, 2)
    starts = _starts(model, theta0, chains)
    p = _problem(
        model, y, starts[0], n_particles, free, n_paths, resampling, ess_threshold, backward,
        densities, proposal,
    )  # fmt: skip
    _searchable(p.model, p.free)
    if optimiser is not None and not (hasattr(optimiser, "init") and hasattr(optimiser, "update")):
        raise TypeError(
            f"optimiser: got {type(optimiser).__name__}; expected an optax transformation"
        )
    if budget is None and precision is None:
        budget = DEFAULT_ITERATIONS
    rule = stopping_rule(budget, precision)
    total = rule.total if isinstance(rule, Budget) else min(200, rule.max_budget)
    if total < 20:
        raise ValueError(f"budget: got {total}; expected at least 20 iterations")
    transforms = _transforms(p)
    free_starts = starts[:, list(p.free)]
    u0 = [_from_theta(start, transforms, p.names) for start in free_starts]
    arguments = p.arguments(
        budget=budget, chains=chains, starts=free_starts, backward=backward,
        precision=None if precision is None else repr(precision),
        optimiser=None if optimiser is None else "given",
    )  # fmt: skip
    code = {
        "optimiser": optimiser, "densities": sorted((densities or {}).items()),
        "proposal": proposal_parts(proposal),
    }  # fmt: skip
    states: list[dict[str, Any]] = [{"u": u} for u in u0]
    with open_run(
        partial(_ascent, p, optimiser), executor=executor, progress=progress,
        checkpoint=checkpoint,
        arguments=None if checkpoint is None else checkpointed(arguments, p.rows, code),
        seed=seed, total=chains * total, unit="iterations", description="maximum_likelihood",
    ) as run:  # fmt: skip
        root = run.root
        states, u, g, _ = _stages(run, rule, total, states, transforms, p.names)
    done = u.shape[1]
    paths = np.array([state["path"] for state in states])
    diagnostics: dict[str, Any] = {
        "averaged": done - done // 2, "iterations": done, "budget_of_information": 0,
        "paths": paths[..., 0] if p.model.state_dim is None else paths,
    }  # fmt: skip
    settings = {
        "free": p.free, "n_paths": p.n_paths, "resampling": resampling,
        "ess_threshold": ess_threshold, "backward": backward, "densities": densities,
        "proposal": proposal,
    }  # fmt: skip
    moments = np.mean([state["moments"] for state in states], axis=0)
    return _concluded(
        p, rule, u, g, moments, transforms, paths, settings if information else None, diagnostics,
        root, arguments, executor, progress, began, "maximum_likelihood",
    )  # fmt: skip


def _stages(
    run: Any, rule: Budget | Precision, total: int, states: list[dict[str, Any]],
    transforms: Sequence[str], names: Sequence[str],
) -> tuple[list[dict[str, Any]], Array, Array, list[dict[str, Any]]]:  # fmt: skip
    """Iterations of all chains, stage by stage: last states, iterates, gradients, all results."""
    chains, done = len(states), 0
    blocks: list[dict[str, Any]] = []
    while True:
        size = min(STAGE, total - done)
        jobs = [(describe(run.root), c, done, size, states[c]) for c in range(chains)]
        found = run.map(f"iterations from {done}", jobs, [size] * chains)
        states = [entry["state"] for entry in found]
        blocks += found
        done += size
        if done < total:
            continue
        u, g = (
            np.array([
                np.concatenate([entry[name] for entry in blocks[c::chains]]) for c in range(chains)
            ])
            for name in ("iterates", "gradients")
        )  # fmt: skip
        if isinstance(rule, Budget):
            return states, u, g, blocks
        probe, _ = _searched(u, transforms, names, {}, {}, {})
        lower, upper = probe.interval(rule.level)
        more = rule.next_size(probe.value, (upper - lower) / 2, done - done // 2, done)
        if more == 0:
            return states, u, g, blocks
        total = done + more


def _starts(model: Any, theta0: Any, chains: int) -> Array:
    if not isinstance(model, StateSpaceModel):
        raise TypeError(f"model: got {type(model).__name__}; expected a StateSpaceModel")
    given = np.array(model.theta if theta0 is None else theta0, dtype=np.float64)
    size = model.theta.size
    if given.shape not in ((size,), (chains, size)) or not np.isfinite(given).all():
        raise ValueError(
            f"theta0: got shape {given.shape}; expected finite numbers of shape {(size,)} or "
            f"{(chains, size)}"
        )
    return np.broadcast_to(given, (chains, size))


def _searched(
    u: Array, transforms: Sequence[str], names: Sequence[str], diagnostics: dict[str, Any],
    cost: dict[str, Any], source: dict[str, Any], method: str = "maximum_likelihood",
) -> tuple[Estimate, Array]:  # fmt: skip
    """Estimate from the averages of the chains' last halves, and its unconstrained value."""
    ends = u[:, u.shape[1] // 2 :].mean(axis=1)
    centre = ends.mean(axis=0)
    value, slope, _ = _to_theta(centre, transforms)
    # linear around the mean of the chains, where the intervals of Fit are made
    return _from_chains(
        value + slope * (ends - centre), False, method, names, diagnostics, cost, source
    ), centre  # fmt: skip


def _concluded(
    p, rule, u, g, moments, transforms, paths, settings, diagnostics, root, arguments, executor,
    progress, began, method,
):  # fmt: skip
    """Errors and warnings of a search."""
    chains, done, k = u.shape
    cautions: list[str] = []
    half = g[:, done // 2 :].mean(axis=1)
    curved = None
    statistical = np.full((k, k), np.nan)
    # what the search saw on its way tells how far it came, if not how far the data do
    covariance, _ = _direction(moments, True)
    theta, _, _ = _to_theta(u[:, done // 2 :].mean(axis=(0, 1)), transforms)
    model = p.model.with_theta(_filled(p, theta))
    if settings is None:
        check_laws(model, p.rows, p.vector, p.free, p.densities)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            curved = observed_information(
                model, p.rows if p.vector else p.rows[:, 0], None, p.n, max(100, done // 4),
                chains=chains, initial_path=paths[..., 0] if p.model.state_dim is None else paths,
                burn_in=10, seed=generator(root, "information"), executor=executor,
                progress=progress, **settings,
            )  # fmt: skip
        centre = u[:, done // 2 :].mean(axis=(0, 1))
        _, first, second = _to_theta(centre, transforms)
        matrix = curved.diagnostics["matrix"] * np.outer(first, first)
        matrix -= np.diag(curved.diagnostics["score"] * second)
        lowest = float(np.linalg.eigvalsh(matrix)[0])
        diagnostics["budget_of_information"] = curved.diagnostics["sweeps"]
        rate = np.asarray(curved.diagnostics["update_rate"])
        if rate.min() < 0.1:
            cautions.append(
                f"x at time {int(rate.argmin())} changes in {rate.min():.1%} of the sweeps: "
                "gradients along chains that hardly move vanish away from the maximum, too; use "
                "a proposal, or more particles"
            )
        if lowest > 0:
            covariance = np.linalg.inv(matrix)
            statistical = covariance * np.outer(first, first)
        else:
            cautions.append(
                f"the observed information is not positive definite (smallest eigenvalue "
                f"{lowest:.3g}): no error of the data; is it a maximum, and is every free "
                "parameter determined by the data?"
            )
    left = half.mean(axis=0) @ covariance / np.sqrt(covariance.diagonal())
    diagnostics["newton_step"] = left
    if np.abs(left).max() > 0.5:
        cautions.append(
            f"the mean gradient asks for another {np.abs(left).max():.2g} standard errors of the "
            "data: the search has not arrived; use a larger budget, or a better start"
        )
    source = provenance(method, root, arguments, p.rows)
    sweeps = chains * (done + diagnostics["budget_of_information"])
    cost = {"evaluations": sweeps * p.n * len(p.rows), "iterations": done,
            "seconds": time.perf_counter() - began}  # fmt: skip
    maximiser, centre = _searched(u, transforms, p.names, {"warnings": cautions}, cost, source)
    error, noise = np.sqrt(statistical.diagonal()), maximiser.standard_error
    diagnostics |= {"statistical_error": error, "monte_carlo_error": noise}
    apart = np.abs((u[:, done // 2 :].mean(axis=1) - centre) / np.sqrt(
        covariance.diagonal()))  # fmt: skip
    if apart.max() > 0.5:
        cautions.append(
            f"chains ended {apart.max():.2g} standard errors of the data from their mean: several "
            "maxima, a maximum on the bound of a parameter's range, or too few iterations"
        )
    if isinstance(rule, Precision) and not rule.reached(maximiser):
        cautions.append(f"max_budget of {rule.max_budget} iterations ended before the precision")
    for text in cautions:
        warnings.warn(f"{method}: {text}", PrecisionWarning, stacklevel=3)
    freedom = (error**2 + noise**2) ** 2 / (noise**4 / (chains - 1) + 1e-300)
    diagnostics["warnings"] = cautions
    # without the information its error is unknown, not zero
    spread = statistical + maximiser.covariance
    theta_hat = Estimate(
        maximiser.value, spread, names=p.names, method=method,
        degrees_of_freedom=np.where(np.isfinite(freedom), np.maximum(freedom, chains - 1), np.inf),
        diagnostics={"statistical_error": error, "monte_carlo_error": noise,
                     "columns": ["statistical_error", "monte_carlo_error"],
                     "warnings": cautions},
        cost=cost, provenance=source,
    )  # fmt: skip
    gradient = _from_chains(
        half, False, "mean gradient", [f"gradient of {name}" for name in p.names], {}, cost, source
    )
    return Fit(
        theta_hat, maximiser, p.model.with_theta(_filled(p, maximiser.value)),
        _to_theta(u, transforms)[0], gradient, curved, transforms, diagnostics,
    )  # fmt: skip


def _filled(p: _Problem, free: Array) -> Array:
    theta = p.model.theta.copy()
    theta[list(p.free)] = free
    return theta


def _lifted(outer: Array) -> Array:
    """A mean outer product of few scores made regular, whatever the units."""
    return outer + np.diag(0.1 * outer.diagonal() + 1e-300)


def _direction(moments: Array, partly: bool) -> tuple[Array, Array]:
    """Matrix that steps are multiplied by, and one that measures them in standard deviations.

    `moments` are the complete information, the mean outer product of scores, and their
    covariance, which is the information lost by not seeing the paths. The first sets the scale.
    With `partly`, directions in which little is observed get longer steps.
    """
    complete, outer, lost = moments
    values, vectors = np.linalg.eigh((complete + complete.T) / 2)
    if values[0] <= 1e-10 * max(values[-1], 0.0):
        # the outer product of scores has the same mean under the model, and no negative direction
        values, vectors = np.linalg.eigh(_lifted(outer))
    root = vectors / np.sqrt(values)
    observed = np.ones(len(values))
    if partly:
        share = root.T @ lost @ root
        observed, turn = np.linalg.eigh(np.eye(len(values)) - (share + share.T) / 2)
        root, observed = root @ turn, np.clip(observed, LEAST_SHARE, 1.0)
    return (root / observed) @ root.T, root


class _Climber:
    """Steps along a gradient: scaled by curvature seen along the way, or by optax."""

    def __init__(self, optimiser: Any, u: Array, state: dict[str, Any]) -> None:
        self.optimiser = optimiser
        self.moments: Any = state.get("moments")
        self.looks = int(state.get("looks", 0))
        self.matrix: Any = None
        self.measure: Any = None
        self.memory: Any = None
        if optimiser is not None:
            import jax

            self.memory = optimiser.init(jax.numpy.asarray(u))
            leaves, tree = jax.tree.flatten(self.memory)
            self.memory = jax.tree.unflatten(tree, state.get("memory", leaves))

    def looks_at(self, l: int) -> bool:  # noqa: E741
        """Whether iteration l looks at the curvature."""
        return l < LOOK_EVERY or l % LOOK_EVERY == 0

    def look(self, mean: Array, complete: Array, outer: Array) -> None:
        """Take in a mean score, minus the second derivatives, and an outer product of scores."""
        self.looks += 1
        # a memory of some twenty looks, so that the start is forgotten
        share = max(1 / self.looks, 0.05)
        new = np.array([complete, outer, outer - np.outer(mean, mean)])
        self.moments = new if self.moments is None else self.moments + share * (new - self.moments)
        self.matrix = None

    def step(self, l: int, g: Array, u: Array, partly: bool = True) -> Array:  # noqa: E741
        """The step of iteration l; `partly`, when the observations tell less than the paths."""
        if self.optimiser is not None:
            import jax

            change, self.memory = self.optimiser.update(
                -jax.numpy.asarray(g), self.memory, jax.numpy.asarray(u)
            )
            return np.asarray(change)
        if self.matrix is None:
            self.matrix, self.measure = _direction(self.moments, partly and l >= LOOK_EVERY)
        step = self.matrix @ g
        length = float(np.linalg.norm(np.linalg.solve(self.measure, step)))
        return step * min(1.0, LONGEST_STEP / max(length, 1e-300)) * (1 + l / 20) ** -0.75

    def state(self) -> dict[str, Any]:
        """What the next stage needs."""
        left: dict[str, Any] = {"looks": np.array(self.looks)}
        if self.moments is not None:
            left["moments"] = self.moments
        if self.optimiser is not None:
            import jax

            left["memory"] = tuple(np.asarray(leaf) for leaf in jax.tree.leaves(self.memory))
        return left


def _ascent(p, optimiser, root, chain, begin, iterations, state):
    """Iterations of one chain: a sweep, and a step along its score."""
    with _compat.enable_x64():
        own = _Chain(p, generator(seed_sequence(root), "ascent", chain, begin), state.get("path"))
        transforms, free = _transforms(p), list(p.free)
        at = np.ix_(free, free)
        u = np.array(state["u"])
        climber = _Climber(optimiser, u, state)
        iterates, slopes = np.empty((iterations, len(u))), np.empty((iterations, len(u)))
        for i in range(iterations):
            theta, first, second = _to_theta(u, transforms)
            own.cloud.theta[free] = theta
            if not np.isfinite(theta).all():
                raise DegeneracyError(
                    f"iteration {begin + i}: parameters {theta}; the search diverged, start closer "
                    "to the maximum or hold some parameters fixed"
                )
            if own.path is None:
                own.paths()
            if climber.looks_at(begin + i):
                mean, outer, hessian = own.curvature()
                g, scale = mean[free] * first, np.outer(first, first)
                climber.look(
                    g, -hessian[at] * scale - np.diag(mean[free] * second), outer[at] * scale
                )
            else:
                g = own.score()[free] * first
            iterates[i], slopes[i] = u, g
            u = u + climber.step(begin + i, g, u)
    return {"state": {"u": u, "path": own.path, **climber.state()}, "iterates": iterates,
            "gradients": slopes}  # fmt: skip


@dataclass(frozen=True, eq=False)
class VariationalFamily:
    """Laws q_phi that `markov_score_climbing` fits to a density.

    Parameters
    ----------
    sample : callable
        (rng, phi, n) -> (n, d) draws.
    logpdf : callable
        (z, phi) -> float for one z of shape (d,), written in JAX.

    Examples
    --------
    >>> family = VariationalFamily(
    ...     lambda rng, phi, n: rng.exponential(np.exp(phi[0]), (n, 1)),
    ...     lambda z, phi: -z[0] * jax.numpy.exp(-phi[0]) - phi[0],
    ... )
    >>> family.sample(np.random.default_rng(1), np.zeros(1), 5).shape
    (5, 1)
    """

    sample: Callable[..., Any]
    logpdf: Callable[..., Any]


def gaussian_family(dimension: int) -> VariationalFamily:
    """Multivariate normal laws: phi is the mean, then the rows of a Cholesky factor.

    The diagonal of the factor is given by its logarithms, so that phi = 0 is the standard normal
    law.

    Parameters
    ----------
    dimension : int

    Returns
    -------
    VariationalFamily
        With d + d (d + 1) / 2 parameters.

    Examples
    --------
    >>> gaussian_family(2).sample(np.random.default_rng(1), np.zeros(5), 3).shape
    (3, 2)
    """
    return _gaussian_family(count("dimension", dimension))


@cache
def _gaussian_family(d: int) -> VariationalFamily:
    # one for each dimension: JAX would compile another one's density again
    rows, columns = np.tril_indices(d)
    diagonal = np.flatnonzero(rows == columns)

    def sample(rng: np.random.Generator, phi: Array, n: int) -> Array:
        entries = phi[d:].copy()
        entries[diagonal] = np.exp(entries[diagonal])
        factor = np.zeros((d, d))
        factor[rows, columns] = entries
        return phi[:d] + rng.standard_normal((n, d)) @ factor.T

    def logpdf(z: Any, phi: Any) -> Any:
        import jax

        jnp = jax.numpy
        logs = phi[d:][diagonal]
        factor = jnp.zeros((d, d)).at[rows, columns].set(phi[d:].at[diagonal].set(jnp.exp(logs)))
        scaled = jax.scipy.linalg.solve_triangular(factor, z - phi[:d], lower=True)
        return -0.5 * (scaled @ scaled + d * math.log(2 * math.pi)) - logs.sum()

    return VariationalFamily(sample, logpdf)


def markov_score_climbing(
    target: Any,
    start: ArrayLike,
    n_particles: int,
    budget: int | None = None,
    *,
    y: ArrayLike | None = None,
    family: VariationalFamily | None = None,
    free: Sequence[str | int] | None = None,
    precision: Precision | None = None,
    optimiser: Any = None,
    chains: int = 4,
    densities: Mapping[str, Callable[..., Any]] | None = None,
    names: Sequence[str] | None = None,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
) -> Fit:
    """Fit by gradients at the states of a Markov chain that leaves the target unchanged.

    For a density pi it minimises the inclusive divergence KL(pi || q_phi), which covers pi where
    the exclusive one would cut its tails; but only as far as it sees pi. A part of pi that lies
    apart from the start, beyond the draws of every q_phi on the way, is missed without a warning:
    nothing computed here can tell. Spread the chains' starts over wherever pi may have mass; a
    warning then tells of chains that end in different places.

    Every iteration draws `n_particles` less one from q_phi beside the chain's state, weights all by
    pi/q_phi, steps along their weighted grad log q_phi, and picks the next state by the weights.
    For a state-space model it maximises the likelihood by the score of one path per sweep;
    `maximum_likelihood` uses all paths of a sweep.

    Parameters
    ----------
    target : StateSpaceModel or callable
        A callable is an unnormalised log density: z of shape (d,) -> float, written in JAX.
    start : array_like, shape (k,) or (chains, k)
        theta0, or phi. Chains from different starts are the only way to learn of separate parts.
    n_particles : int, at least 2
    budget : int, optional
        Iterations of each chain, at least 20; default 500.
    y : array_like, optional
        Observations of a model.
    family : VariationalFamily, optional
        For a density; default `gaussian_family` of the dimension that `start` implies.
    free, precision, optimiser, chains, densities, executor, progress, checkpoint
        As for `maximum_likelihood`; `free` and `densities` of a model only.
    names : sequence of str, optional
        Of phi.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    Fit
        For a density `maximiser` and `theta` are the same, `model` is the family, and the
        diagnostics have `smallest_ess` of the weights, `move_rate`, and `pareto_k` of the sizes of
        weighted gradients at fresh draws from the family found.

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `maximum_likelihood`.

    Warns
    -----
    PrecisionWarning
        As for `maximum_likelihood`; or weights so uneven that the chains hardly move, or with
        a tail so heavy (Pareto k above 0.5: no variance) that the error can't be promised: phi
        follows the chain, leaves rare states sooner than it should, and comes out too narrow.

    References
    ----------
    Naesseth, Lindsten & Blei (2020), Markovian score climbing: variational inference with
    KL(p || q), arXiv 2003.10374.

    Examples
    --------
    >>> fit = markov_score_climbing(
    ...     lambda z: -0.5 * (z[0] - 1.0) ** 2 / 4.0, [0.0, 0.0], 10, 200, seed=1
    ... )
    >>> abs(float(fit.theta["phi[0]"].value) - 1.0) < 1.0
    True
    """
    if isinstance(target, StateSpaceModel):
        if y is None or family is not None or names is not None:
            raise ValueError("y: expected observations, and no family or names, with a model")
        return maximum_likelihood(
            target, y, start, n_particles, budget, free=free, precision=precision,
            optimiser=optimiser, n_paths=1, chains=chains, densities=densities, seed=seed,
            executor=executor, progress=progress, checkpoint=checkpoint,
        )  # fmt: skip
    began = time.perf_counter()
    if not callable(target):
        raise TypeError(
            f"target: got {type(target).__name__}; expected a StateSpaceModel or a log density"
        )
    if y is not None or free is not None or densities is not None:
        raise ValueError("y, free, densities: expected with a StateSpaceModel only")
    chains, n = count("chains", chains, 2), count("n_particles", n_particles, 2)
    starts = np.array(start, dtype=np.float64)
    k = starts.shape[-1] if starts.ndim else 0
    if starts.shape not in ((k,), (chains, k)) or k == 0 or not np.isfinite(starts).all():
        raise ValueError(
            f"start: got shape {starts.shape}; expected finite numbers of shape (k,) or "
            f"({chains}, k)"
        )
    if family is None:
        d = round((math.sqrt(9 + 8 * k) - 3) / 2)
        if d * (d + 3) // 2 != k:
            raise ValueError(
                f"start: got {k} parameters; expected d + d (d + 1) / 2 for the Gaussian family"
            )
        family = gaussian_family(d)
    if not isinstance(family, VariationalFamily):
        raise TypeError(f"family: got {type(family).__name__}; expected a VariationalFamily")
    if budget is None and precision is None:
        budget = DEFAULT_ITERATIONS
    rule = stopping_rule(budget, precision)
    size = rule.total if isinstance(rule, Budget) else min(200, rule.max_budget)
    if size < 20:
        raise ValueError(f"budget: got {size}; expected at least 20 iterations")
    states: list[dict[str, Any]] = [{"u": phi} for phi in np.broadcast_to(starts, (chains, k))]
    labels = [f"phi[{j}]" for j in range(k)] if names is None else [str(name) for name in names]
    _check_names(labels, np.empty(k))
    kinds = ("identity",) * k
    arguments = {
        "target": target, "n_particles": n, "budget": budget, "chains": chains, "start": starts,
        "precision": None if precision is None else repr(precision),
    }  # fmt: skip
    code = {"target": target, "family": [family.sample, family.logpdf], "optimiser": optimiser}
    with open_run(
        partial(_climb, target, family, n, optimiser), executor=executor, progress=progress,
        checkpoint=checkpoint,
        arguments=None if checkpoint is None else checkpointed(arguments, None, code),
        seed=seed, total=chains * size, unit="iterations", description="markov_score_climbing",
    ) as run:  # fmt: skip
        root = run.root
        _, phi, slopes, found = _stages(run, rule, size, states, kinds, labels)
    done = phi.shape[1]
    smallest = min(float(entry["smallest"]) for entry in found)
    moved = sum(int(entry["moved"]) for entry in found)
    cautions = []
    if moved < 0.1 * chains * done:
        cautions.append(
            f"the chains move in {moved / (chains * done):.1%} of the iterations: q is far from "
            "the target; use more particles, or a better start"
        )
    average = phi[:, done // 2 :].mean(axis=(0, 1))
    functions = _climbing_functions(target, family)
    with _compat.enable_x64():
        z = family.sample(generator(root, "final draws"), average, FINAL_DRAWS)
        log_p, log_q = (np.asarray(v) for v in functions[0](z, average))
        each = np.asarray(functions[1](average, z))
    fisher = each.T @ each / len(each)
    with np.errstate(divide="ignore"):
        sizes = np.log(np.einsum("na,ab,nb->n", each, np.linalg.pinv(fisher), each)) / 2
    # of the terms of the gradient: from 1/2 on they have no variance, and the chains, which see
    # fewer draws, no error that holds
    terms = log_p - log_q + sizes
    k_hat = pareto_k(terms)
    # what is bounded can look heavy as well, but ten parts then have equal maxima
    peaks = terms.reshape(10, -1).max(axis=1)
    if k_hat > 0.5 and peaks.max() - np.median(peaks) > math.log(1.5):
        cautions.append(
            f"the weighted gradients have a heavy tail (Pareto k {k_hat:.2g}): the family's tails "
            "are lighter than the target's, the chains visit those rarely, and the error can't be "
            "promised"
        )
    # in standard deviations that one draw of q leaves of phi
    last = phi[:, done // 2 :].mean(axis=1) - average
    apart = math.sqrt(np.einsum("ca,ab,cb->c", last, fisher, last).max())
    if apart > 1:
        cautions.append(
            f"chains ended {apart:.2g} standard deviations of a draw from their mean: the target "
            "has parts that the chains don't travel between, or there were too few iterations"
        )
    source = provenance("markov_score_climbing", root, arguments)
    cost = {"evaluations": chains * done * (n - 1), "iterations": done,
            "seconds": time.perf_counter() - began}  # fmt: skip
    diagnostics: dict[str, Any] = {
        "averaged": done - done // 2, "iterations": done, "smallest_ess": smallest,
        "move_rate": moved / (chains * done), "pareto_k": k_hat, "warnings": cautions,
    }  # fmt: skip
    method = "markov_score_climbing"
    estimate, _ = _searched(phi, kinds, labels, diagnostics, cost, source, method)
    if isinstance(rule, Precision) and not rule.reached(estimate):
        cautions.append(f"max_budget of {rule.max_budget} iterations ended before the precision")
        estimate, _ = _searched(phi, kinds, labels, diagnostics, cost, source, method)
    for text in cautions:
        warnings.warn(f"markov_score_climbing: {text}", PrecisionWarning, stacklevel=2)
    half = slopes[:, done // 2 :].mean(axis=1)
    gradient = _from_chains(
        half, False, "mean gradient", [f"gradient of {name}" for name in labels], {}, cost, source
    )
    return Fit(estimate, estimate, family, phi, gradient, None, kinds, diagnostics)


_CLIMBS: dict[Any, Any] = {}


def _climbing_functions(target: Any, family: VariationalFamily) -> Any:
    key = (target, family)
    if key not in _CLIMBS:
        import jax

        def one(name: str, log_density: Any) -> Any:
            def checked(z: Any, *phi: Any) -> Any:
                value = log_density(z, *phi)
                shape = getattr(value, "shape", () if isinstance(value, (int, float)) else None)
                if shape != () or jax.numpy.iscomplexobj(value):
                    kind = getattr(value, "dtype", type(value).__name__)
                    what = f"shape {shape}" if shape else str(kind)
                    raise ModelError(
                        f"{name}: returned {what} for z of shape {z.shape}; expected a float"
                    )
                return value

            return checked

        def both(z: Any, phi: Any) -> tuple[Any, Any]:
            log_p = jax.vmap(one("target", target))(z)
            return log_p, jax.vmap(one("family.logpdf", family.logpdf), (0, None))(z, phi)

        def scores(phi: Any, z: Any) -> Any:
            return jax.vmap(jax.grad(family.logpdf, argnums=1), (0, None))(z, phi)

        _CLIMBS[key] = jax.jit(both), jax.jit(scores)
    return _CLIMBS[key]


def _climb(target, family, n, optimiser, root, chain, begin, iterations, state):
    """Iterations of conditional importance sampling, and a step along grad log q at each."""
    with _compat.enable_x64():
        rng = generator(seed_sequence(root), "climb", chain, begin)
        phi = np.array(state["u"])
        climber = _Climber(optimiser, phi, state)
        logs, scores = _climbing_functions(target, family)
        z0 = state.get("z")
        k = len(phi)
        iterates, slopes = np.empty((iterations, k)), np.empty((iterations, k))
        smallest, moved = math.inf, 0
        for i in range(iterations):
            z = np.asarray(family.sample(rng, phi, n), dtype=np.float64)
            if z.ndim != 2 or len(z) != n:
                raise ModelError(f"family.sample: returned shape {z.shape}; expected ({n}, d)")
            if z0 is not None:
                z[0] = z0
            log_p, log_q = (np.asarray(part) for part in logs(z, phi))
            log_w = log_p - log_q
            if np.isnan(log_w).any() or (log_w == np.inf).any():
                worst = z[int(np.argmax(~(log_w < np.inf)))]
                raise ModelError(
                    f"target or family.logpdf: NaN or +inf at z = {worst}, phi = {phi}; expected "
                    "numbers, or -inf of the target"
                )
            if log_w.max() == -np.inf:
                raise DegeneracyError(
                    f"iteration {begin + i}: the target is zero at all {n} draws; expected a start "
                    "that covers some of it"
                )
            weights = np.exp(log_w - log_w.max())
            weights /= weights.sum()
            smallest = min(smallest, float(1 / (weights @ weights)))
            iterates[i] = phi
            each = np.asarray(scores(phi, z))
            g = weights @ each
            if climber.looks_at(begin + i):
                # the Fisher information of q, from its own draws
                fresh = each if z0 is None else each[1:]
                outer = fresh.T @ fresh / len(fresh)
                climber.look(g, _lifted(outer), outer)
            slopes[i] = g
            phi = phi + climber.step(begin + i, g, phi, False)
            chosen = min(
                int(np.searchsorted(np.cumsum(weights), rng.random(), side="right")), n - 1
            )
            moved += chosen > 0 or z0 is None
            z0 = z[chosen]
        return {"state": {"u": phi, "z": z0, **climber.state()}, "iterates": iterates,
                "gradients": slopes, "smallest": np.array(smallest),
                "moved": np.array(moved)}  # fmt: skip


def particle_marginal_metropolis_hastings(
    model: StateSpaceModel,
    y: ArrayLike,
    log_prior: Callable[[Array], float],
    n_particles: int,
    n_draws: int,
    *,
    theta0: ArrayLike | None = None,
    free: Sequence[str | int] | None = None,
    scales: ArrayLike | None = None,
    warm_up: int | None = None,
    chains: int = 4,
    proposal: Proposal | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
) -> Any:
    """Draws of the parameters given the observations, from likelihoods estimated by filters.

    A random walk where the parameters are unconstrained; its covariance is learned in the warm-up
    and held from then on. The estimated likelihood in place of the exact one changes nothing in
    the law of the draws, only how well the chains mix: its logarithm should have a standard
    deviation of 1 to 2 near the mode (`particle_filter` with repeats tells).

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p)
    log_prior : callable
        (theta) -> float for the whole theta; -inf outside of the prior's support.
    n_particles : int, at least 2
    n_draws : int
        Kept draws of each chain.
    theta0 : array_like, shape (k,) or (chains, k), optional
        Where chains start, default the model's parameters.
    free : sequence of str or int, optional
        Which parameters are drawn, default all.
    scales : array_like, optional
        First standard deviations of the walk, one per free parameter, where it is unconstrained;
        default 0.1, times the parameter's size for "identity".
    warm_up : int, optional
        Draws before those kept, default half of `n_draws`; they go to a group of their own.
    chains : int, default 4
    proposal : Proposal, optional
        Where the filters draw from; the model's own transitions by default.
    resampling : {"systematic", "stratified", "residual", "multinomial"}
    ess_threshold : float, default 0.5
    seed : None, int, SeedSequence or Generator
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the chains run.
    progress : bool, optional
    checkpoint : path, optional
        File that receives every hundred draws of the chains; a later call with the same arguments
        goes on from there and gives the same numbers.

    Returns
    -------
    arviz.InferenceData, or xarray.DataTree with ArviZ 1.x
        posterior: the free parameters (chain, draw); sample_stats: log_likelihood (estimated),
        lp (with the prior, by theta) and accepted; warmup_posterior.

    Raises
    ------
    TypeError, ValueError, ModelError
        As for `particle_filter`; also a start that the prior excludes, or where the filter finds
        the observations impossible.

    Warns
    -----
    PrecisionWarning
        Less than 5 % of the proposals were accepted.

    References
    ----------
    Andrieu, Doucet & Holenstein (2010), Particle Markov chain Monte Carlo methods, JRSS B 72;
    Doucet, Pitt, Deligiannidis & Kohn (2015), Efficient implementation of Markov chain Monte
    Carlo when using an unbiased likelihood estimator, Biometrika 102.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.stochastic_volatility(0.9, 0.3)
    >>> _, y = model.simulate(30, seed=1)
    >>> draws = particle_marginal_metropolis_hastings(
    ...     model, y, lambda theta: -0.5 * np.log(theta[1]) ** 2, 30, 20, free=[1], seed=1
    ... )
    >>> draws["posterior"]["volatility"].shape
    (4, 20)
    """
    import xarray

    chains = count("chains", chains)
    starts = _starts(model, theta0, chains)
    model, rows, vector, n = check_common(model, y, n_particles, starts[0], ess_threshold, proposal)
    choice("resampling", resampling, SCHEMES)
    if not callable(log_prior):
        raise TypeError(f"log_prior: got {type(log_prior).__name__}; expected a function")
    places = _free(model, free)
    _searchable(model, places)
    every = model.transforms or ("identity",) * model.theta.size
    transforms = tuple(every[k] for k in places)
    labels = model.theta_names or [f"theta[{k}]" for k in range(model.theta.size)]
    names = [labels[k] for k in places]
    u0 = [_from_theta(start[list(places)], transforms, names) for start in starts]
    identity = np.array([kind == "identity" for kind in transforms])
    first = np.where(identity, 0.1 * np.maximum(np.abs(u0[0]), 1e-2), 0.1)
    if scales is not None:
        first = np.array(scales, dtype=np.float64)
        if first.shape != (len(places),) or not ((first > 0) & np.isfinite(first)).all():
            raise ValueError(
                f"scales: got {scales!r}; expected {len(places)} positive numbers, one per free "
                "parameter"
            )
    kept = count("n_draws", n_draws)
    warm = kept // 2 if warm_up is None else count("warm_up", warm_up, 0)
    compiled(model, vector, proposal)
    arguments = {
        "model": model, "n_particles": n, "n_draws": kept, "warm_up": warm, "chains": chains,
        "free": names, "starts": np.array(u0), "scales": first, "resampling": resampling,
        "ess_threshold": float(ess_threshold), "proposal": None if proposal is None else "given",
    }  # fmt: skip
    total, blocks = warm + kept, []
    states: list[dict[str, Any]] = [{"u": u} for u in u0]
    with open_run(
        partial(
            _marginal_chain, model, rows, vector, n, resampling, float(ess_threshold), proposal,
            log_prior, places, transforms, first, warm,
        ),
        executor=executor, progress=progress, checkpoint=checkpoint,
        arguments=None
        if checkpoint is None
        else checkpointed(
            arguments, rows, {"log_prior": log_prior, "proposal": proposal_parts(proposal)}
        ),
        seed=seed, total=chains * total, unit="draws",
        description="particle_marginal_metropolis_hastings",
    ) as run:  # fmt: skip
        for begin in range(0, total, STAGE):
            size = min(STAGE, total - begin)
            jobs = [(describe(run.root), c, begin, size, state) for c, state in enumerate(states)]
            blocks.append(run.map(f"draws from {begin}", jobs, [size] * chains))
            states = [entry["state"] for entry in blocks[-1]]

    def together(name: str) -> Any:
        return np.concatenate([[entry[name] for entry in block] for block in blocks], axis=1)

    draws, accepted = together("draws"), together("accepted")[:, warm:]
    if accepted.mean() < 0.05:
        warnings.warn(
            f"particle_marginal_metropolis_hastings: {accepted.mean():.1%} of the proposals were "
            "accepted; use a proposal or more particles (a noisy likelihood sticks), or a longer "
            "warm_up",
            PrecisionWarning,
            stacklevel=2,
        )

    def group(part: slice) -> Any:
        dims = ("chain", "draw")
        return xarray.Dataset({name: (dims, draws[:, part, j]) for j, name in enumerate(names)})

    stats = {
        name: (("chain", "draw"), together(name)[:, warm:])
        for name in ("log_likelihood", "lp", "accepted")
    }
    groups = {"posterior": group(slice(warm, None)), "sample_stats": xarray.Dataset(stats)}
    if warm:
        groups["warmup_posterior"] = group(slice(0, warm))
    return _compat.inference_data(groups)


def _marginal_chain(
    model, rows, vector, n, scheme, threshold, proposal, log_prior, places, transforms, scales,
    warm, root, chain, begin, size, state,
):  # fmt: skip
    """Steps of a random walk over parameters, with a fresh filter for every proposal."""
    rng = generator(seed_sequence(root), "marginal", chain, begin)
    functions = compiled(model, vector, proposal)
    u = np.array(state["u"])
    k = len(u)
    theta = model.theta.copy()

    def evaluate(at: Array) -> tuple[float, float, float]:
        """Log density of the walk's target, log likelihood, and log prior."""
        value, slope, _ = _to_theta(at, transforms)
        theta[list(places)] = value
        with np.errstate(divide="ignore"):
            jacobian = float(np.log(slope).sum())
        if not (np.isfinite(theta).all() and math.isfinite(jacobian)):
            return -math.inf, -math.inf, -math.inf
        given = log_prior(theta.copy())
        try:
            if np.iscomplexobj(given):
                raise TypeError("complex")
            prior = float(given)
        except (TypeError, ValueError):
            raise ModelError(
                f"log_prior: returned {given!r} at theta = {theta}; expected a number"
            ) from None
        if math.isnan(prior) or prior == math.inf:
            raise ModelError(f"log_prior: {prior} at theta = {theta}; expected a number or -inf")
        if prior == -math.inf:
            return prior, prior, prior
        cloud = Cloud(model, functions, n, rng=rng, scheme=scheme, threshold=threshold)
        cloud.theta = theta.copy()
        try:
            log_z = float(cloud.advance(rows)[2].sum())
        except DegeneracyError:
            # an estimate of zero, which is never accepted
            return -math.inf, -math.inf, prior
        return prior + log_z + jacobian, log_z, prior

    draws, accepted = np.empty((size, k)), np.zeros(size, dtype=bool)
    log_z, lp = np.empty(size), np.empty(size)
    if begin == 0:
        target, log_likelihood, prior = evaluate(u)
        if target == -math.inf:
            raise ValueError(
                f"theta0: chain {chain} starts at {_to_theta(u, transforms)[0]}, where prior or "
                "estimated likelihood is zero; expected a possible start"
            )
        factor, log_scale, learned, moves = np.diag(scales), 0.0, 0, 0
        walk = np.empty((0, k))
    else:
        target, log_likelihood, prior, log_scale = (float(v) for v in state["numbers"])
        learned, moves = (int(v) for v in state["counts"])
        factor, walk = state["factor"], state["walk"]
    # positions of the warm-up, from which the covariance is learned
    walk = np.concatenate([walk, np.empty((max(min(warm - begin, size), 0), k))])
    for i in range(begin, begin + size):
        step = math.exp(log_scale) * factor @ rng.standard_normal(k)
        new = evaluate(u + step)
        chance = math.exp(min(0.0, new[0] - target))
        now = i - begin
        if rng.random() < chance:
            u, accepted[now], moves = u + step, True, moves + 1
            target, log_likelihood, prior = new
        draws[now] = _to_theta(u, transforms)[0]
        log_z[now], lp[now] = log_likelihood, log_likelihood + prior
        if i < warm:
            walk[i] = u
            log_scale += (chance - 0.234) / (i + 1) ** 0.6
            if (i + 1) % 50 == 0 and moves > 5 * k:
                spread = np.atleast_2d(np.cov(walk[(i + 1) // 2 : i + 1], rowvar=False))
                spread += 1e-6 * np.diag(scales**2)
                if not learned:
                    learned, log_scale = 1, math.log(2.38 / math.sqrt(k))
                factor = np.linalg.cholesky(spread)
    left = {
        "u": u, "factor": factor, "walk": walk if begin + size < warm else np.empty((0, k)),
        "numbers": np.array([target, log_likelihood, prior, log_scale]),
        "counts": np.array([learned, moves]),
    }  # fmt: skip
    return {"draws": draws, "accepted": accepted, "log_likelihood": log_z, "lp": lp,
            "state": left}  # fmt: skip


def online_maximum_likelihood(
    model: StateSpaceModel,
    stream: Iterable[Any],
    theta0: ArrayLike | None,
    n_particles: int,
    *,
    free: Sequence[str | int] | None = None,
    n_backward: int = 2,
    step: float = 0.03,
    decay: float = 0.6,
    chains: int = 4,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    backward: str = "auto",
    densities: Mapping[str, Callable[..., Any]] | None = None,
    seed: Any = None,
) -> Iterator[Estimate]:
    """Follow the parameters of a stream: one filter step and one gradient step per observation.

    PaRIS carries the gradient of the log joint density with every particle; the increment of its
    mean is the gradient of log p(y_t | y_0 ... y_{t-1}). Steps are scaled by the mean outer
    product of the increments, and the iterates averaged with weights that grow with time. Memory
    and time per observation don't grow.

    Parameters
    ----------
    model : StateSpaceModel
    stream : iterable of float or array_like, shape (p,)
        Observations as they arrive; NaN where missing.
    theta0, free, resampling, ess_threshold, backward, densities
        As for `maximum_likelihood`.
    n_particles : int, at least 2
        The bias of PaRIS increments falls like 1/n_particles, and no length of the stream removes
        it.
    n_backward : int, default 2
        Backward draws per particle.
    step : float, default 0.03
        Size of the steps: step (1 + t/100)^-decay, in standard deviations of one increment.
    decay : float, default 0.6
        Between 0.5 and 1; 0 keeps steps constant, for parameters that drift.
    chains : int, default 4
        Independent runs on the same stream, for the Monte Carlo error.
    seed : None, int, SeedSequence or Generator

    Yields
    ------
    Estimate
        After every observation: averaged parameters with their Monte Carlo error; NaN for the
        first 20, at which they don't move yet (the diagnostics say so; no warning is raised). The
        steps follow the data in all chains alike, which leaves another error, about as large as
        that of the data themselves. Diagnostics: `iterates` (chains, k), `t`, `log_likelihood`.

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `maximum_likelihood`.

    References
    ----------
    Olsson & Westerborn Alenlov (2020), Particle-based online estimation of tangent filters with
    application to parameter estimation in nonlinear state-space models, Annals of the Institute
    of Statistical Mathematics 72; Le Gland & Mevel (1997), Recursive estimation in hidden Markov
    models.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.stochastic_volatility(0.9, 0.3)
    >>> _, y = model.simulate(30, seed=1)
    >>> for est in online_maximum_likelihood(model, y, None, 50, free=["scale"], seed=1):
    ...     pass
    >>> est.diagnostics["t"], est.names
    (29, ('scale',))
    """
    chains = count("chains", chains, 2)
    starts = _starts(model, theta0, chains)
    places = list(_free(model, free))
    _searchable(model, places)
    draws = count("n_backward", n_backward)
    model, _, _, n = check_common(model, [0.0], n_particles, starts[0], ess_threshold)
    choice("resampling", resampling, SCHEMES)
    method = backward_method(model, backward)
    numbers = all(isinstance(v, Real) for v in (step, decay))
    if not (numbers and step > 0 and (decay == 0 or 0.5 <= decay <= 1)):
        raise ValueError(
            f"step, decay: got {step!r}, {decay!r}; expected a positive number, and 0 or one from "
            "0.5 to 1"
        )
    try:
        stream = iter(stream)
    except TypeError:
        raise TypeError(
            f"stream: got {type(stream).__name__}; expected an iterable of observations"
        ) from None
    every = model.transforms or ("identity",) * model.theta.size
    transforms = tuple(every[k] for k in places)
    labels = model.theta_names or [f"theta[{k}]" for k in range(model.theta.size)]
    names = [labels[k] for k in places]
    u = [_from_theta(start[places], transforms, names) for start in starts]
    root = seed_sequence(seed)
    source = provenance(
        "online_maximum_likelihood", root,
        {"model": model, "n_particles": n, "n_backward": draws, "step": step, "decay": decay,
         "chains": chains, "free": names, "resampling": resampling,
         "ess_threshold": float(ess_threshold), "backward": backward},
    )  # fmt: skip
    settings = (n, draws, method, resampling, float(ess_threshold), places, transforms, densities)
    return _followed(model, stream, u, names, settings, float(step), float(decay), root, source)


def _followed(model, stream, u, names, settings, step, decay, root, source):
    n, places, transforms = settings[0], settings[5], settings[6]
    began = time.perf_counter()
    runs: list[_Follower] = []
    mean = np.array(u)
    log_z = np.zeros(len(u))
    for t, y_t in enumerate(stream):
        try:
            given = np.ma.array(y_t, dtype=np.float64)
            rows = observations(given.reshape(1, *given.shape))
        except (TypeError, ValueError):
            raise ValueError(
                f"stream: {y_t!r} at time {t}; expected a number or numbers of shape (p,), NaN "
                "where missing"
            ) from None
        if not runs:
            vector = given.ndim == 1
            for start in u:
                theta = model.theta.copy()
                theta[places] = _to_theta(start, transforms)[0]
                check_laws(
                    model.with_theta(theta), np.repeat(rows, 3, axis=0), vector, places, settings[7]
                )
            runs = [
                _Follower(model, rows, vector, settings, start, generator(root, "online", c))
                for c, start in enumerate(u)
            ]
        elif rows.shape[1] != runs[0].columns:
            raise ValueError(
                f"stream: {rows.shape[1]} components at time {t}; expected {runs[0].columns}"
            )
        for c, run in enumerate(runs):
            log_z[c] += run.update(rows, t, step * (1 + t / 100) ** -decay)
        iterates = np.array([run.u for run in runs])
        # later iterates weigh more, so that the start is forgotten like t^-4
        mean += (1.0 if t < FIRST_UPDATE else 4 / (t - FIRST_UPDATE + 4)) * (iterates - mean)
        theta = _to_theta(iterates, transforms)[0]
        diagnostics = {"t": t, "iterates": theta, "log_likelihood": float(log_z.mean())}
        est, _ = _searched(
            mean[:, None], transforms, names, diagnostics,
            {"evaluations": len(runs) * n * (t + 1), "seconds": time.perf_counter() - began},
            source, "online_maximum_likelihood",
        )  # fmt: skip
        if t < FIRST_UPDATE:
            text = f"parameters stay at their start, without an error, before time {FIRST_UPDATE}"
            # all chains are where they were put: their spread says nothing
            est = Estimate(
                est.value, np.full(2 * est.value.shape, np.nan), names=names, method=est.method,
                diagnostics={**diagnostics, "warnings": [text]}, cost=est.cost, provenance=source,
            )  # fmt: skip
        yield est


class _Follower:
    """One PaRIS filter whose parameters follow the stream."""

    def __init__(self, model, rows, vector, settings, u, rng):
        n, draws, self.method, scheme, threshold, places, self.transforms, densities = settings
        self.places, self.u, self.columns = places, u.copy(), rows.shape[1]
        self.gradients = gradients(model, rows, vector, densities)
        self.cloud = Cloud(
            model, compiled(model, vector), n, rng=rng, scheme=scheme, threshold=threshold
        )
        self.picks = np.zeros((n, draws), dtype=np.int32)
        self.tau = np.zeros((n, model.theta.size))
        self.total = np.zeros(model.theta.size)
        self.outer = np.zeros((len(places), len(places)))

    def update(self, rows: Array, t: int, size: float) -> float:
        """Take y_t, move the parameters; the increment of the log likelihood."""
        from . import learning_kernels

        cloud, (n, draws) = self.cloud, self.picks.shape
        value, first, _ = _to_theta(self.u, self.transforms)
        cloud.theta[self.places] = value
        increment = float(cloud.advance(rows)[2][0])
        now, before = t % 2, (t - 1) % 2
        if t > 0:
            learning_kernels.backward_draws(
                cloud.loops[3], cloud.loops[4], cloud.rng, cloud.theta, self.method, t,
                cloud.x[before], cloud.log_w[before], cloud.x[now], cloud.ancestors[now],
                self.picks, cloud.status,
            )  # fmt: skip
            raise_status(cloud.status, np.repeat(rows, t + 1, axis=0), cloud.x)
        seen = bool(not np.isnan(rows).all())
        x = np.repeat(cloud.x[now], draws, axis=0)
        with _compat.enable_x64():
            slopes = np.asarray(self.gradients.scores(
                cloud.theta, cloud.x[before][self.picks.ravel()], x,
                rows[0] if seen else np.zeros_like(rows[0]), t, seen,
            ))  # fmt: skip
        old = self.tau[self.picks] if t > 0 else 0.0
        self.tau = (slopes.reshape(n, draws, -1) + old).mean(axis=1)
        total = cloud.weights @ self.tau
        if not np.isfinite(total).all():
            raise ModelError(
                f"gradient of the log densities: {total} at time {t}, theta = {cloud.theta}; "
                "expected finite numbers"
            )
        g = (total - self.total)[self.places] * first
        self.total = total
        share = max(1 / (t + 1), 0.002)
        self.outer += share * (np.outer(g, g) - self.outer)
        if t >= FIRST_UPDATE:
            matrix = np.linalg.inv(_lifted(self.outer))
            length = math.sqrt(g @ matrix @ g)
            self.u = self.u + size * matrix @ g * min(1.0, 3.0 / max(length, 1e-300))
        return increment
