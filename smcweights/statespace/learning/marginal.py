"""Posterior draws of parameters: random walks that take likelihoods from particle filters."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _compat
from ...errors import DegeneracyError, ModelError, PrecisionWarning
from ...execution import open_run
from ...randomness import describe, generator, seed_sequence
from ...resampling import SCHEMES
from ..cloud import Cloud
from ..model import (
    Proposal,
    StateSpaceModel,
    checkpointed,
    choice,
    compiled,
    count,
    proposal_parts,
)
from ..series import Series, check_common
from .ascent import STAGE
from .parameters import (
    check_searchable,
    free_places,
    from_theta,
    parameter_names,
    starting_points,
    to_theta,
    transforms_of,
)

__all__ = ["particle_marginal_metropolis_hastings"]

Array = NDArray[np.float64]


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
    starts = starting_points(model, theta0, chains)
    model, rows, vector, n = check_common(model, y, n_particles, starts[0], ess_threshold, proposal)
    choice("resampling", resampling, SCHEMES)
    if not callable(log_prior):
        raise TypeError(f"log_prior: got {type(log_prior).__name__}; expected a function")
    places = free_places(model, free)
    check_searchable(model, places)
    transforms = transforms_of(model, places)
    names = [parameter_names(model)[k] for k in places]
    u0 = [from_theta(start[list(places)], transforms, names) for start in starts]
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
        "ess_threshold": float(ess_threshold), "proposal": proposal,
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
    series = Series(model, rows, vector, n, scheme, threshold, proposal)
    u = np.array(state["u"])
    k = len(u)
    theta = model.theta.copy()

    def evaluate(at: Array) -> tuple[float, float, float]:
        """Log density of the walk's target, log likelihood, and log prior."""
        value, slope, _ = to_theta(at, transforms)
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
        cloud = Cloud(series, rng)
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
                f"theta0: chain {chain} starts at {to_theta(u, transforms)[0]}, where prior or "
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
        draws[now] = to_theta(u, transforms)[0]
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
