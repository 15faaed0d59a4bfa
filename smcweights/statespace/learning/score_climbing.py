"""Markov score climbing: a family of laws fitted along a chain that leaves its target alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cache, partial
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _compat
from ...arguments import count, finite, function, names_of
from ...cautions import Caution, tell
from ...errors import DegeneracyError, ModelError
from ...identity import identity
from ...randomness import Seed, generator
from ...stopping import Precision
from ...weights import pareto_k
from ..chains import made_by
from ..model import StateSpaceModel
from .ascent import (
    Climber,
    Fit,
    How,
    Job,
    Optimiser,
    Search,
    Steps,
    average,
    check_optimiser,
    mean_gradient,
    open_search,
    regularised,
    search_rule,
    searched,
)
from .likelihood import maximum_likelihood
from .parameters import Free
from .scores import Densities

if TYPE_CHECKING:
    import jax

Array = NDArray[np.float64]
LogDensity = Callable[..., Any]
FINAL_DRAWS = 20_000  # from the family fitted, whose weights are looked at


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

    sample: Callable[[np.random.Generator, Array, int], ArrayLike]
    logpdf: Callable[..., Any]

    def __post_init__(self) -> None:
        function("sample", self.sample, "of (rng, phi, n)")
        function("logpdf", self.logpdf, "of (z, phi)")


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

    def logpdf(z: jax.Array, phi: jax.Array) -> jax.Array:
        import jax

        jnp = jax.numpy
        logs = phi[d:][diagonal]
        factor = jnp.zeros((d, d)).at[rows, columns].set(phi[d:].at[diagonal].set(jnp.exp(logs)))
        scaled = jax.scipy.linalg.solve_triangular(factor, z - phi[:d], lower=True)
        return -0.5 * (scaled @ scaled + d * math.log(2 * math.pi)) - logs.sum()

    return VariationalFamily(sample, logpdf)


def markov_score_climbing(
    target: StateSpaceModel | LogDensity,
    start: ArrayLike,
    n_particles: int,
    budget: int | None = None,
    *,
    y: ArrayLike | None = None,
    family: VariationalFamily | None = None,
    free: Sequence[str | int] | None = None,
    precision: Precision | None = None,
    optimiser: Optimiser | None = None,
    chains: int = 4,
    densities: Densities | None = None,
    names: Sequence[str] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | PathLike[str] | None = None,
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
    free, precision, optimiser, chains, densities, seed, executor, progress, checkpoint
        As for `maximum_likelihood`; `free` and `densities` of a model only.
    names : sequence of str, optional
        Of phi.

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
            target,
            y,
            start,
            n_particles,
            budget,
            free=free,
            precision=precision,
            optimiser=optimiser,
            n_paths=1,
            chains=chains,
            densities=densities,
            seed=seed,
            executor=executor,
            progress=progress,
            checkpoint=checkpoint,
        )
    began = time.perf_counter()
    if not callable(target):
        raise TypeError(
            f"target: got {type(target).__name__}; expected a StateSpaceModel or a log density"
        )
    if y is not None or free is not None or densities is not None:
        raise ValueError(
            "y, free, densities: got one of them with a log density; expected them with a "
            "StateSpaceModel only"
        )
    check_optimiser(optimiser)
    chains, n = count("chains", chains, 2), count("n_particles", n_particles, 2)
    starts = _starts(start, chains)
    k = starts.shape[1]
    family = _family_of(k) if family is None else family
    if not isinstance(family, VariationalFamily):
        raise TypeError(f"family: got {type(family).__name__}; expected a VariationalFamily")
    rule = search_rule(budget, precision)
    labels = [f"phi[{j}]" for j in range(k)] if names is None else names
    phi = Free(tuple(range(k)), names_of(labels, k), ("identity",) * k)
    arguments = {
        "target": target,
        "family": family,
        "optimiser": optimiser,
        "n_particles": n,
        "budget": budget,
        "chains": chains,
        "start": starts,
        "precision": precision,
    }
    climbed = Climbed(target, family, n, identity(target, family))
    climb, how = partial(_climb, climbed, optimiser), How(seed, executor, progress, checkpoint)
    with open_search(climb, chains * rule[1], how, "markov_score_climbing", arguments) as run:
        search, found = searched(run, rule, list(starts), phi)
    root = run.root
    diagnostics, cautions = _verdict(climbed, search, found, root)
    tell("markov_score_climbing", cautions)
    cost = {"evaluations": chains * search.done * (n - 1), "iterations": search.done}
    source = made_by("markov_score_climbing", root, arguments, None, began, cost)
    estimate = average(search.ends, phi, diagnostics=diagnostics, cautions=cautions, **source)
    diagnostics["warnings"] = [caution.text for caution in cautions]
    gradient = mean_gradient(search, phi, source)
    return Fit(estimate, estimate, family, search.u, gradient, None, phi.transforms, diagnostics)


def _starts(start: ArrayLike, chains: int) -> Array:
    given = finite("start", start)
    k = given.shape[-1] if given.ndim else 0
    if given.shape not in ((k,), (chains, k)) or k == 0:
        raise ValueError(
            f"start: got shape {given.shape}; expected finite numbers of shape (k,) or "
            f"({chains}, k)"
        )
    return np.broadcast_to(given, (chains, k))


def _family_of(k: int) -> VariationalFamily:
    """The Gaussian family with so many parameters."""
    d = round((math.sqrt(9 + 8 * k) - 3) / 2)
    if d * (d + 3) // 2 != k:
        raise ValueError(
            f"start: got {k} parameters; expected d + d (d + 1) / 2 for the Gaussian family"
        )
    return gaussian_family(d)


@dataclass(frozen=True)
class Climbed:
    """A log density, the family that is fitted to it, and the draws of an iteration."""

    target: LogDensity = field(compare=False)
    family: VariationalFamily = field(compare=False)
    n: int = field(compare=False)
    identity: str


def _verdict(
    climbed: Climbed, search: Search, found: Sequence[Moves], root: np.random.SeedSequence
) -> tuple[dict[str, Any], list[Caution]]:
    """What chains and fresh draws of the family looked like, and what speaks against the fit."""
    cautions: list[Caution] = []
    move_rate = sum(int(part.moved) for part in found) / (len(search.u) * search.done)
    if move_rate < 0.1:
        text = (
            f"the chains move in {move_rate:.1%} of the iterations: q is far from the target; use "
            "more particles, or a better start"
        )
        cautions.append(Caution("stuck-chains", text))
    functions = _compiled(climbed)
    with _compat.enable_x64():
        z = climbed.family.sample(generator(root, "final draws"), search.centre, FINAL_DRAWS)
        log_p, log_q = (np.asarray(v) for v in functions.logs(z, search.centre))
        each = np.asarray(functions.scores(search.centre, z))
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
        text = (
            f"the weighted gradients have a heavy tail (Pareto k {k_hat:.2g}): the family's tails "
            "are lighter than the target's, the chains visit those rarely, and the error can't be "
            "promised"
        )
        cautions.append(Caution("heavy-tails", text))
    # in standard deviations that one draw of q leaves of phi
    last = search.ends - search.centre
    apart = math.sqrt(np.einsum("ca,ab,cb->c", last, fisher, last).max())
    if apart > 1:
        text = (
            f"chains ended {apart:.2g} standard deviations of a draw from their mean: the target "
            "has parts that the chains don't travel between, or there were too few iterations"
        )
        cautions.append(Caution("chains-apart", text))
    return {
        "averaged": search.done - search.half,
        "iterations": search.done,
        "smallest_ess": min(float(part.smallest) for part in found),
        "move_rate": move_rate,
        "pareto_k": k_hat,
    }, cautions + search.cautions


class Compiled(NamedTuple):
    """Of a target and a family: log densities (z, phi) of both, and scores (phi, z) of q."""

    logs: Callable[..., tuple[jax.Array, jax.Array]]
    scores: Callable[..., jax.Array]


@cache
def _compiled(climbed: Climbed) -> Compiled:
    """Densities and scores in JAX, compiled once as long as all that they read stays."""
    import jax

    target, family = climbed.target, climbed.family

    def one(name: str, log_density: LogDensity) -> LogDensity:
        def checked(z: jax.Array, *phi: jax.Array) -> Any:
            try:
                value = log_density(z, *phi)
            except jax.errors.JAXTypeError as error:
                raise ModelError(
                    f"{name}: JAX can't trace it: {str(error).splitlines()[0]} Write it with "
                    "jax.numpy and jax.scipy, without branches that depend on z or phi"
                ) from None
            shape = getattr(value, "shape", () if isinstance(value, (int, float)) else None)
            if shape != () or jax.numpy.iscomplexobj(value):
                kind = getattr(value, "dtype", type(value).__name__)
                what = f"shape {shape}" if shape else str(kind)
                raise ModelError(
                    f"{name}: returned {what} for z of shape {z.shape}; expected a float"
                )
            return value

        return checked

    def both(z: jax.Array, phi: jax.Array) -> tuple[jax.Array, jax.Array]:
        log_p = jax.vmap(one("target", target))(z)
        return log_p, jax.vmap(one("family.logpdf", family.logpdf), (0, None))(z, phi)

    def scores(phi: jax.Array, z: jax.Array) -> jax.Array:
        return jax.vmap(jax.grad(family.logpdf, argnums=1), (0, None))(z, phi)

    return Compiled(jax.jit(both), jax.jit(scores))


class Moves(NamedTuple):
    """Smallest effective sample size of the weights of iterations, and how many moved."""

    smallest: Array
    moved: Array


def _climb(climbed: Climbed, optimiser: Optimiser | None, job: Job) -> tuple[Steps, Moves]:
    """Conditional importance sampling, and a step along grad log q at each iteration."""
    with _compat.enable_x64():
        rng = job.generator("climb")
        phi, z0 = np.array(job.state.u), job.state.held
        climber = Climber(optimiser, job.state)
        n, (logs, scores) = climbed.n, _compiled(climbed)
        iterates, slopes = np.empty((2, job.iterations, len(phi)))
        smallest, moved = math.inf, 0
        for i in range(job.iterations):
            z = np.asarray(climbed.family.sample(rng, phi, n), dtype=np.float64)
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
                    f"iteration {job.begin + i}: the target is zero at all {n} draws; expected a "
                    "start that covers some of it"
                )
            weights = np.exp(log_w - log_w.max())
            weights /= weights.sum()
            smallest = min(smallest, float(1 / (weights @ weights)))
            iterates[i] = phi
            each = np.asarray(scores(phi, z))
            g = weights @ each
            if climber.looks_at(job.begin + i):
                # the Fisher information of q, from its own draws
                fresh = each if z0 is None else each[1:]
                outer = fresh.T @ fresh / len(fresh)
                climber.look(g, regularised(outer), outer)
            slopes[i] = g
            phi = phi + climber.step(job.begin + i, g, phi, False)
            chosen = min(
                int(np.searchsorted(np.cumsum(weights), rng.random(), side="right")), n - 1
            )
            moved += chosen > 0 or z0 is None
            z0 = z[chosen]
    moves = Moves(np.array(smallest), np.array(moved))
    return Steps(iterates, slopes, climber.state(phi, z0)), moves
