"""Markov score climbing: a family of laws fitted along a chain that leaves its target alone."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _compat
from ...arguments import names_of
from ...errors import DegeneracyError, ModelError, PrecisionWarning
from ...execution import open_run
from ...provenance import provenance
from ...randomness import generator, seed_sequence
from ...stopping import Budget, Precision, stopping_rule
from ...weights import pareto_k
from ..chains import estimate_from_chains
from ..model import StateSpaceModel, checkpointed, count
from .ascent import DEFAULT_ITERATIONS, Climber, Fit, regularised, run_stages, search_average
from .likelihood import maximum_likelihood

__all__ = ["VariationalFamily", "gaussian_family", "markov_score_climbing"]

Array = NDArray[np.float64]
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
    names_of(labels, k)
    kinds = ("identity",) * k
    arguments = {
        "target": target, "family": family, "optimiser": optimiser, "n_particles": n,
        "budget": budget, "chains": chains, "start": starts,
        "precision": None if precision is None else repr(precision),
    }  # fmt: skip
    with open_run(
        partial(_climb, target, family, n, optimiser), executor=executor, progress=progress,
        checkpoint=checkpoint,
        arguments=None if checkpoint is None else checkpointed(arguments, None, {}),
        seed=seed, total=chains * size, unit="iterations", description="markov_score_climbing",
    ) as run:  # fmt: skip
        root = run.root
        _, phi, slopes, found = run_stages(run, rule, size, states, kinds, labels)
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
    estimate, _ = search_average(phi, kinds, labels, diagnostics, cost, source, method)
    if isinstance(rule, Precision) and not rule.reached(estimate):
        cautions.append(f"max_budget of {rule.max_budget} iterations ended before the precision")
        estimate, _ = search_average(phi, kinds, labels, diagnostics, cost, source, method)
    for text in cautions:
        warnings.warn(f"markov_score_climbing: {text}", PrecisionWarning, stacklevel=2)
    half = slopes[:, done // 2 :].mean(axis=1)
    gradient = estimate_from_chains(
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
        climber = Climber(optimiser, phi, state)
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
                climber.look(g, regularised(outer), outer)
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
