"""Maximum likelihood: chains of sweeps whose parameters climb, and the errors of where they end."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _compat
from ...errors import DegeneracyError, PrecisionWarning
from ...estimate import Estimate
from ...execution import open_run
from ...provenance import provenance
from ...randomness import generator, seed_sequence
from ...stopping import Budget, Precision, stopping_rule
from ..chains import estimate_from_chains
from ..differentiation import check_laws
from ..model import Proposal, StateSpaceModel, checkpointed, count, proposal_parts
from .ascent import DEFAULT_ITERATIONS, Climber, Fit, direction, run_stages, search_average
from .parameters import (
    check_searchable,
    from_theta,
    starting_points,
    to_theta,
    transforms_of,
    with_free,
)
from .scores import ScoreChain, check_problem, observed_information

__all__ = ["maximum_likelihood"]

Array = NDArray[np.float64]


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
    starts = starting_points(model, theta0, chains)
    p = check_problem(
        model, y, starts[0], n_particles, free, n_paths, resampling, ess_threshold, backward,
        densities, proposal,
    )  # fmt: skip
    check_searchable(p.model, p.free)
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
    transforms = transforms_of(p.model, p.free)
    free_starts = starts[:, list(p.free)]
    u0 = [from_theta(start, transforms, p.names) for start in free_starts]
    arguments = p.arguments(
        budget=budget, chains=chains, starts=free_starts, backward=backward,
        precision=None if precision is None else repr(precision),
        optimiser=optimiser,
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
        states, u, g, _ = run_stages(run, rule, total, states, transforms, p.names)
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
    covariance, _ = direction(moments, True)
    theta, _, _ = to_theta(u[:, done // 2 :].mean(axis=(0, 1)), transforms)
    model = with_free(p.model, p.free, theta)
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
        _, first, second = to_theta(centre, transforms)
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
    maximiser, centre = search_average(u, transforms, p.names, {"warnings": cautions}, cost, source)
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
    gradient = estimate_from_chains(
        half, False, "mean gradient", [f"gradient of {name}" for name in p.names], {}, cost, source
    )
    return Fit(
        theta_hat, maximiser, with_free(p.model, p.free, maximiser.value),
        to_theta(u, transforms)[0], gradient, curved, transforms, diagnostics,
    )  # fmt: skip


def _ascent(p, optimiser, root, chain, begin, iterations, state):
    """Iterations of one chain: a sweep, and a step along its score."""
    with _compat.enable_x64():
        rng = generator(seed_sequence(root), "ascent", chain, begin)
        own = ScoreChain(p, rng, state.get("path"))
        transforms, free = transforms_of(p.model, p.free), list(p.free)
        at = np.ix_(free, free)
        u = np.array(state["u"])
        climber = Climber(optimiser, u, state)
        iterates, slopes = np.empty((iterations, len(u))), np.empty((iterations, len(u)))
        for i in range(iterations):
            theta, first, second = to_theta(u, transforms)
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
