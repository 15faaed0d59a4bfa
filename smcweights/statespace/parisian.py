"""Parisian particle Gibbs: smoothed sums without the bias of one filter, by independent chains."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, several
from ..cautions import tell
from ..estimate import Estimate
from ..execution import check_checkpoint, open_run
from ..randomness import Seed, describe
from ..resampling import CONDITIONAL_SCHEMES
from ..stopping import Precision, stopping_rule
from .chains import (
    Job,
    Stretch,
    default_burn_in,
    estimate_from_chains,
    first_stage,
    initial_paths,
    made_by,
    run_chains,
    sweep,
    sweeps_dropped,
    verdict,
)
from .functionals import Functional
from .mixing import mixing
from .model import Proposal, StateSpaceModel
from .series import Series, checked_series
from .smoothing import Sums, functional_error

Array = NDArray[np.float64]
LEAST_SWEEPS = 20  # that a number of particles must leave to be recommended
PILOT = 40  # sweeps of every chain, of which
PILOT_DROPS = 10


def parisian_particle_gibbs(
    model: StateSpaceModel,
    y: ArrayLike,
    functional: Callable[..., ArrayLike] | Functional,
    n_particles: int,
    budget: int | None = None,
    *,
    initial_functional: Callable[..., ArrayLike] | None = None,
    precision: Precision | None = None,
    burn_in: int | str = "auto",
    n_backward: int = 2,
    chains: int = 8,
    initial_path: ArrayLike | None = None,
    theta: ArrayLike | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    backward: str = "auto",
    proposal: Proposal | None = None,
    names: Sequence[str] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> Estimate:
    """Smoothed expectations of additive functionals, with the bias of PaRIS taken out.

    Every chain starts with a run of PaRIS, which also gives its first path, and goes on with
    sweeps of PaRIS inside a conditional filter. The estimate is the mean over the sweeps kept,
    its error that of the means of independent chains.

    What it buys is the BIAS and an interval that holds, not mean square error: one user with one
    budget gets a smaller error from a single large `paris` (``benchmarks/statespace.py bias``: of
    1005, PaRIS with 50 particles is off by -19 however many runs are averaged, sweeps of the same
    size by -7, -2 and 0 (+- 1) after 1, 2 and 3 of them; but 2,000 particles in all leave a root
    mean square error of 4.6 in one run of PaRIS, of 5.3 to 7.1 in 40 sweeps). So take chains where
    bias would not average out: in parallel, in gradients of a likelihood that are followed, for an
    interval, or where memory holds N particles only.

    Few particles and many sweeps, or many and few, cost the same; below some 50 particles the
    chain mixes slowly, and beyond some hundred the starting bias is small anyway. The number that
    is enough grows with T. `recommend_particles` tries it out.

    States of several components need a proposal sooner than more particles. Where few particles
    come near an observation (a smallest effective sample size of 1) some states change in one
    sweep out of ten only, and the chains agree with each other before they have left their start:
    such runs warn.

    Parameters
    ----------
    model : StateSpaceModel
    y, functional, initial_functional, theta, backward, names
        As for `paris`.
    n_particles : int, at least 2
    budget : int, at least 4
        Sweeps of each chain after its start, burn-in included. Particle moves in all:
        chains (budget + 1) n_particles T.
    precision : Precision, optional
        Instead of a budget; its `max_budget` counts the sweeps of one chain.
    burn_in : int or "auto"
        Sweeps dropped; "auto": a quarter of the budget and at least 10, but at most half.
    n_backward : int, default 2
        Backward draws per particle.
    chains : int, default 8
        Independent chains, at least 2. Their number less one are the degrees of freedom of the
        interval.
    initial_path : array_like, shape (T,) or (T, d), or (chains, T) or (chains, T, d), optional
        Where chains start instead of PaRIS: ``diagnostics["paths"]`` of an earlier run continues
        it.
    resampling : {"systematic", "stratified", "multinomial"}
        Conditional version of the scheme.
    ess_threshold, proposal
        As for `particle_filter`.
    seed, executor, progress
        As for `particle_filter`; chains run where the executor says.
    checkpoint : path, optional
        File that receives every chain's sweeps (with a precision, stage by stage); a later call
        with the same arguments goes on from there and gives the same numbers.

    Returns
    -------
    Estimate
        Shape () for a functional that returns a float, else (J,). Diagnostics: `r_hat`,
        `chain_ess` and `autocorrelation_time` of the sweeps; `update_rate`, the share of sweeps
        that change x_t, shape (T,); `chain_means`; `paths`, the last path of each chain;
        `starting_bias`, the start (PaRIS) minus the estimate.

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `particle_filter`; also an initial path that the model can't produce.

    Warns
    -----
    PrecisionWarning
        Chains shorter than 10 autocorrelation times, chains that still drift, states that hardly
        ever change (the message names the time), or a precision that was not reached.

    References
    ----------
    Cardoso, Janati El Idrissi, Le Corff, Moulines & Olsson (2023), State and parameter learning
    with PaRIS particle Gibbs, arXiv 2301.00900; Lee, Singh & Vihola (2020), Annals of Statistics
    48, and arXiv 2312.17572 for the mixing of conditional filters with backward sampling.

    Examples
    --------
    >>> from smcweights import functionals, models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(20, seed=1)
    >>> est = parisian_particle_gibbs(model, y, functionals.sum_of_states, 50, 100, seed=1)
    >>> est.diagnostics["burn_in"], est.diagnostics["update_rate"].shape
    (25, (20,))
    """
    check_checkpoint(checkpoint)
    began = time.perf_counter()
    told = (theta, resampling, ess_threshold, proposal, CONDITIONAL_SCHEMES)
    series = checked_series(model, y, n_particles, *told)
    chains = count("chains", chains, 2)
    rule = stopping_rule(budget, precision)
    drop = sweeps_dropped(burn_in, rule)
    sums = Sums(functional, initial_functional, count("n_backward", n_backward), backward)
    added = sums.compiled(series)
    labels = added.labels(names)
    paths = initial_paths(series, initial_path, chains)
    more = {"budget": budget, "burn_in": burn_in, "chains": chains, "precision": precision}
    arguments = series.arguments(**sums._asdict(), **more)
    with open_run(
        partial(_chain, series, sums),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments={**arguments, "y": series.rows},
        seed=seed,
        total=chains * first_stage(rule, drop),
        unit="sweeps",
        description="parisian_particle_gibbs",
    ) as run:
        found, begun = run_chains(run, rule, drop, paths, chains)
    diagnostics, cautions = verdict(found, drop, series)
    tally = np.sum([part.tally for part in begun], axis=0)
    diagnostics["tries_per_draw"] = float(tally[1] / max(tally[0], 1))
    diagnostics["exact_share"] = float(tally[2] / max(tally[0], 1))
    if paths is None:
        start = np.concatenate([part.start for part in begun]).mean(axis=0)
        difference = start - found.means.mean(axis=0)
        diagnostics["starting_bias"] = float(difference[0]) if added.scalar else difference
    tell("parisian_particle_gibbs", cautions)
    sweeps = chains * (found.done + (paths is None))
    cost = {"evaluations": sweeps * series.n * len(series.rows), "sweeps": found.done}
    source = made_by("parisian_particle_gibbs", run.root, arguments, series.rows, began, cost)
    source |= {"names": labels, "diagnostics": diagnostics, "cautions": cautions}
    return estimate_from_chains(found.means, added.scalar, **source)


class Begun(NamedTuple):
    """Sums (1, J) of the PaRIS that gave a chain its first path, (0, J) if it had one before.

    With the tally (3,) of backward draws, their tries, and how many were exact.
    """

    start: Array
    tally: NDArray[np.int64]


def _chain(series: Series, sums: Sums, job: Job) -> tuple[Stretch, Begun]:
    """Sweeps of one chain, which starts with PaRIS when it has no path yet."""
    from . import kernels

    cloud, first = sums.cloud(series, job.generator("chain"), kept=True), int(job.path is None)
    found = sweep(cloud, series.rows, job.path, first + job.sweeps, kernels.BY_BACKWARD)
    if not np.isfinite(found.means).all():
        raise functional_error(sums.cloud(series, job.generator("chain"), kept=True), series.rows)
    means, smallest = found.means[first + job.skip :], np.array(found.ess.min())
    stretch = Stretch(means, found.path, found.changes, found.moves, smallest)
    return stretch, Begun(found.means[:first], cloud.report.tally)


def recommend_particles(
    model: StateSpaceModel,
    y: ArrayLike,
    functional: Callable[..., ArrayLike] | Functional,
    budget: int,
    *,
    initial_functional: Callable[..., ArrayLike] | None = None,
    candidates: Sequence[int] = (25, 50, 100, 200, 400),
    chains: int = 8,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> dict[int, float]:
    """Predicted standard error of `parisian_particle_gibbs` by number of particles, from a pilot.

    Parameters
    ----------
    model, y, functional, initial_functional
        As for `parisian_particle_gibbs`.
    budget : int
        Particle paths in all: chains x sweeps x particles.
    candidates : sequence of int
        Numbers of particles; each runs a pilot of 40 sweeps in each of the chains.
    chains : int, default 8
    seed, executor, progress, checkpoint
        As for `parisian_particle_gibbs`.

    Returns
    -------
    dict of int to float
        Largest predicted standard error over the functionals, in units of the spread of the
        smallest candidate's sweeps, for the candidates that leave at least 20 sweeps. Choose a
        small one; between equals the larger, whose chains forget their start sooner.

    Raises
    ------
    ValueError
        The budget leaves no candidate 20 sweeps.

    Examples
    --------
    >>> from smcweights import functionals, models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(20, seed=1)
    >>> pilot = recommend_particles(
    ...     model, y, functionals.sum_of_states, 20_000, candidates=(20, 50), seed=1
    ... )
    >>> sorted(pilot)
    [20, 50]
    """
    check_checkpoint(checkpoint)
    budget, chains = count("budget", budget), count("chains", chains)
    given = [count("candidates", n, 2) for n in several("candidates", candidates, "numbers")]
    if not given:
        raise ValueError("candidates: got none; expected numbers of particles")
    wide = [n for n in given if budget // (chains * n) >= LEAST_SWEEPS]
    if not wide:
        raise ValueError(
            f"budget: got {budget:,}; expected at least {LEAST_SWEEPS * chains * min(given):,}, "
            f"{LEAST_SWEEPS} sweeps for the smallest candidate"
        )
    series = checked_series(model, y, 2)
    sums = Sums(functional, initial_functional, 2, "auto")
    sums.compiled(series)
    found: dict[int, float] = {}
    unit = None
    asked = {"model": series.model, "y": series.rows, "chains": chains, **sums._asdict()}
    with open_run(
        partial(_pilot, series, sums),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=asked,
        seed=seed,
        total=chains * len(wide),
        unit="chains",
        description="recommend_particles",
    ) as run:
        root = describe(run.root)
        jobs = [(n, Job(root, c, n, PILOT_DROPS, PILOT, None)) for n in wide for c in range(chains)]
        pilots = np.split(np.array(run.map("pilots", jobs)), len(wide))
    for n, pilot in zip(wide, pilots, strict=True):
        spread = pilot.std(axis=(0, 1), ddof=1)
        unit = spread if unit is None else unit
        diagnostics, _ = mixing(pilot)
        sweeps = budget // (chains * n)
        left = chains * (sweeps - default_burn_in(sweeps))
        error = spread * np.sqrt(diagnostics["autocorrelation_time"] / left)
        found[n] = float(np.max(error / np.where(unit > 0, unit, 1.0)))
    return found


def _pilot(series: Series, sums: Sums, n: int, job: Job) -> Array:
    """Sums of the sweeps of one chain of so many particles."""
    return _chain(replace(series, n=n), sums, job)[0].kept
