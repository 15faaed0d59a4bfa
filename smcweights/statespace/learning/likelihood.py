"""Maximum likelihood: chains of sweeps whose parameters climb, and the errors of where they end."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _compat
from ...arguments import count, flag, one_of
from ...cautions import Caution, tell
from ...errors import DegeneracyError
from ...estimate import Estimate
from ...execution import check_checkpoint
from ...randomness import Seed
from ...stopping import Precision
from ..chains import made_by
from ..model import Proposal, StateSpaceModel
from ..series import Series, checked_panel
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
    search_rule,
    searched,
)
from .iterated import Simulated, fitted_by_simulation
from .newton import FAR, Known, known_at_the_end
from .parameters import free_parameters, starting_points
from .scores import (
    Asked,
    Densities,
    PanelChain,
    ScoredSeries,
    refuse_moving_supports,
    scored_series,
)

Array = NDArray[np.float64]
APART = 0.5  # standard errors of the data that chains may end from their mean
PULLED = 1.0  # standard errors of a search that gradients may ask for, where no step is made


def maximum_likelihood(
    model: StateSpaceModel,
    y: ArrayLike | Sequence[ArrayLike],
    theta0: ArrayLike | None,
    n_particles: int,
    budget: int | None = None,
    *,
    method: str = "score",
    free: Sequence[str | int] | None = None,
    precision: Precision | None = None,
    optimiser: Optimiser | None = None,
    n_paths: int | None = None,
    chains: int = 4,
    information: bool = True,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    backward: str = "auto",
    proposal: Proposal | None = None,
    densities: Densities | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> Fit:
    """Parameters that maximise the likelihood, by stochastic approximation.

    Every iteration is one sweep of a conditional filter, whose path stays warm while the
    parameters move, and one step along the score. Steps are scaled by the information that the
    paths carry and by the share of it that is observed, and shrink like (iteration)^-0.75; the
    second half is averaged. An average of few iterations is still on its way from the start: the
    score and the observed information there make one Newton step, and up to two more where it is
    long. Chains are independent, which gives the Monte Carlo error; the error of the data comes
    from the information.

    With ``method="iterated_filtering"`` a model needs no densities but that of its observations.
    Swarms of particles that carry parameters of their own, shaken less from pass to pass, find the
    region; the value is the top of a cubic polynomial fitted to log likelihoods of filters at
    random points around it, and curvature and residuals give both errors. Bends beyond the third
    degree may be off by a tenth of the data's error, which the Monte Carlo error includes;
    `statistical_error` was .84 to .87 of the exact one where that is known. Starts far apart cost
    coverage, which a caution tells: search again from the maximum.

    With few particles the information is noisy, and with it `statistical_error`, by a factor of two
    at 20.

    Parameters
    ----------
    model : StateSpaceModel
        Parameters with a transform are searched where they are unconstrained, rows of
        probabilities as a whole; of these those that are 0 stay so.
    y : array_like, shape (T,) or (T, p), or list of arrays
        A list holds independent series that share the parameters, as for `score`. The noise of a
        surface is that of the sum: more series need more particles.
    theta0 : array_like, shape (k,) or (chains, k), or None
        Where all chains start, or each; None for the model's own parameters. Parameters that are
        not free stay as they are there.
    n_particles : int, at least 2
    budget : int, optional
        Iterations of each chain, at least 20; 500 when neither this nor a precision is given. By
        iterated filtering the filters of each of three surfaces or more, default 200, at least
        three for each term of the cubic.
    method : {"score", "iterated_filtering"}
        The latter takes at most 12 free parameters, and no `precision`, `optimiser`, `n_paths` or
        `densities`.
    free : sequence of str or int, optional
        Which parameters to learn, by name or position; default all.
    precision : Precision, optional
        Wanted of the MONTE CARLO intervals (`Fit.maximiser`); its `max_budget` counts the
        iterations of one chain.
    optimiser : optax.GradientTransformation, optional
        Such as ``optax.adam(0.05)``, instead of the steps above; averages stay.
    n_paths, resampling, ess_threshold, backward, proposal, densities, seed, executor, progress
        As for `score`. One path per sweep is Markov score climbing.
    chains : int, default 4
        Independent searches, or swarms, at least 2.
    information : bool, default True
        Estimate the observed information at the end, by half as many sweeps as iterations and at
        least 100 per chain for each step by the score. Without it there is no error of the data
        and no step, and a caution where gradients ask for more than the error of the search.
    checkpoint : path, optional
        File of every hundred iterations and of the information at the end, from which a later call
        with the same arguments goes on to the same numbers.

    Returns
    -------
    Fit

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `score`; also a start outside of a parameter's transform, or a likelihood that rises
        beyond all surfaces, whose flattest direction is named.

    Warns
    -----
    PrecisionWarning
        Swarms that spread far, chains that ended in different places (several maxima, or one on the
        bound of a range), a mean gradient far from zero, an information that is not positive
        definite, chains that hardly move (seen with ``information=True``), a parameter that seems
        to move the support of a density, or a precision that was not reached.

    References
    ----------
    Cardoso et al. (2023), arXiv 2301.00900; Polyak & Juditsky (1992), Acceleration of stochastic
    approximation by averaging, SIAM J. Control Optim. 30; Lange (1995), A gradient algorithm
    locally equivalent to the EM algorithm, JRSS B 57; Ionides, Nguyen, Atchade, Stoev & King
    (2015), Inference for dynamic and latent variable models via iterated, perturbed Bayes maps,
    PNAS 112.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(50, seed=1)
    >>> fit = maximum_likelihood(
    ...     model, y, None, 40, 30, free=["transition_matrix"], information=False, seed=1
    ... )
    >>> fit.iterates.shape, 0.7 < float(fit.maximiser.value[0]) < 1.0
    ((4, 30, 1), True)
    """
    check_checkpoint(checkpoint)
    began = time.perf_counter()
    chains = count("chains", chains, 2)
    starts = starting_points(model, theta0, chains)
    how = How(seed, executor, progress, checkpoint)
    if one_of("method", method, ("score", "iterated_filtering")) != "score":
        others = {"precision": precision, "optimiser": optimiser, "n_paths": n_paths}
        for name, value in {**others, "densities": densities}.items():
            if value is not None:
                raise ValueError(f"{name}: got {value!r}; expected None with {method!r}")
        told = (starts[0], resampling, ess_threshold, proposal)
        panel = tuple(checked_panel(model, y, n_particles, *told, filters=False))
        _check_seen(panel)
        sought = Simulated(panel, free_parameters(panel[0].model, free, searched=True))
        fit = fitted_by_simulation(sought, starts, budget, how)
        tell("maximum_likelihood", fit.theta.cautions)
        return fit
    asked = Asked(free, n_paths, resampling, ess_threshold, backward, densities, proposal)
    p = scored_series(model, y, starts[0], n_particles, asked, searched=True)
    _check_seen(p.panel)
    check_optimiser(optimiser)
    information = flag("information", information)
    rule = search_rule(budget, precision)
    arguments = p.arguments(
        budget=getattr(rule[0], "total", None),
        chains=chains,
        theta0=starts[:, list(p.free.places)],
        precision=precision,
        optimiser=optimiser,
    )
    climb, given = partial(_ascent, p, optimiser), {**arguments, "y": p.rows}
    with open_search(climb, chains * rule[1], how, "maximum_likelihood", given) as run:
        refuse_moving_supports(p)
        search, _ = searched(run, rule, [p.free.numbers(start) for start in starts], p.free)
        known = known_at_the_end(p, search, run, information, how)
    root = run.root
    sweeps = chains * (search.done + known.sweeps)
    cost = {"evaluations": sweeps * p.series.n * sum(p.lengths), "iterations": search.done}
    source = made_by("maximum_likelihood", root, arguments, p.rows, began, cost)
    fit = _fit(p, search, known, source)
    tell("maximum_likelihood", fit.theta.cautions)
    return fit


def _check_seen(panel: Sequence[Series]) -> None:
    """Refuse to learn from nothing."""
    if all(np.isnan(one.rows).all() for one in panel):
        raise ValueError("y: all observations are missing; expected some to learn from")


def _ascent(p: ScoredSeries, optimiser: Optimiser | None, job: Job) -> tuple[Steps, tuple[()]]:
    """Iterations of one chain: a sweep, and a step along its score."""
    with _compat.enable_x64():
        own = PanelChain(p, job.generator("ascent"), job.state.held)
        free = list(p.free.places)
        at = np.ix_(free, free)
        u, climber = np.array(job.state.u), Climber(optimiser, job.state)
        iterates, slopes = np.empty((2, job.iterations, len(u)))
        for i in range(job.iterations):
            here = p.free.at(u)
            own.move(here.values)
            if not np.isfinite(here.values).all():
                raise DegeneracyError(
                    f"iteration {job.begin + i}: parameters {here.values}; the search diverged, "
                    "start closer to the maximum or hold some parameters fixed"
                )
            if own.path is None:
                own.begin()
            if climber.looks_at(job.begin + i):
                mean, outer, hessian = own.curvature()
                g, complete = here.gradient(mean[free]), -here.outer(hessian[at])
                climber.look(g, complete - here.bent(mean[free]), here.outer(outer[at]))
            else:
                g = here.gradient(own.score()[free])
            iterates[i], slopes[i] = u, g
            u = u + climber.step(job.begin + i, g, u)
    return Steps(iterates, slopes, climber.state(u, own.path)), ()


def _fit(p: ScoredSeries, search: Search, known: Known, source: dict[str, Any]) -> Fit:
    """Both errors of a search, and what speaks against them; `source` is cost and provenance."""
    cautions, scale = list(known.cautions), np.sqrt(known.covariance.diagonal())
    ends = search.ends if known.ends is None else known.ends
    step, noise = np.abs(known.step), ends.std(axis=0, ddof=1) / math.sqrt(len(ends)) + 1e-300
    share = float((step * scale / noise).max())
    if step.max() > FAR or (known.ends is None and share > PULLED):
        text = (
            f"gradients ask for a step of {step.max():.2g} standard errors of the data, "
            f"{share:.2g} of the search, from where it ended: it has not arrived; use a larger "
            "budget, or a better start"
        )
        cautions.append(Caution("not-arrived", text))
    apart = np.abs((search.ends - search.ends.mean(axis=0)) / scale).max()
    if apart > APART:
        text = (
            f"chains ended {apart:.2g} standard errors of the data from their mean: several "
            "maxima, a maximum on the bound of a parameter's range, or too few iterations"
        )
        cautions.append(Caution("chains-apart", text))
    cautions += search.cautions
    maximiser = average(ends, p.free, cautions=cautions, **source)
    error, noise = np.sqrt(known.statistical.diagonal()), maximiser.standard_error
    chains = len(search.ends)
    freedom = (error**2 + noise**2) ** 2 / (noise**4 / (chains - 1) + 1e-300)
    errors = {"statistical_error": error, "monte_carlo_error": noise}
    theta = Estimate(
        # without the information its error is unknown, not zero
        maximiser.value,
        known.statistical + maximiser.covariance,
        names=p.free.names,
        degrees_of_freedom=np.where(np.isfinite(freedom), np.maximum(freedom, chains - 1), np.inf),
        diagnostics=errors,
        columns=list(errors),
        cautions=cautions,
        **source,
    )
    diagnostics = {
        "averaged": search.done - search.half,
        "iterations": search.done,
        "budget_of_information": known.sweeps,
        "newton_step": known.step,
        **errors,
        "paths": p.series.shaped(np.array([state.held for state in search.states])),
        "warnings": [caution.text for caution in cautions],
    }
    return Fit(
        theta,
        maximiser,
        p.at(maximiser.value).model,
        p.free.values(search.u),
        mean_gradient(search, p.free, source),
        known.information,
        p.free.transforms,
        diagnostics,
    )
