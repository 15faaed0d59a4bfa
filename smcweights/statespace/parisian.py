"""Parisian particle Gibbs: smoothed sums without the bias of one filter, by independent chains."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import PrecisionWarning
from ..estimate import Estimate
from ..execution import open_run
from ..provenance import provenance
from ..randomness import describe, generator, seed_sequence
from ..resampling import CONDITIONAL_SCHEMES
from ..stopping import Budget, Precision, stopping_rule
from .chains import (
    LEAST_BURN_IN,
    estimate_from_chains,
    initial_paths,
    mixing,
    sweep,
    sweeps_dropped,
)
from .cloud import Cloud
from .model import (
    Functional,
    Proposal,
    StateSpaceModel,
    checkpointed,
    choice,
    compiled,
    compiled_functional,
    count,
    proposal_parts,
)
from .series import Series, check_common
from .smoothing import backward_method, functional_error

__all__ = ["parisian_particle_gibbs", "recommend_particles"]

Array = NDArray[np.float64]
FIRST_STAGE = 50  # kept sweeps per chain before a precision is looked at


def parisian_particle_gibbs(
    model: StateSpaceModel,
    y: ArrayLike,
    functional: Callable[..., Any] | Functional,
    n_particles: int,
    budget: int | None = None,
    *,
    initial_functional: Callable[..., Any] | None = None,
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
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
) -> Estimate:
    """Smoothed expectations of additive functionals, with the bias of PaRIS taken out.

    Every chain starts with a run of PaRIS, which also gives its first path, and goes on with
    sweeps of PaRIS inside a conditional filter. The estimate is the mean over the sweeps kept,
    its error that of the means of independent chains.

    What it buys is the BIAS and an interval that holds, not mean square error: one user with one
    budget gets a smaller error from a single large `paris`. Measured on a linear Gaussian series
    of 100 times (``benchmarks/statespace.py bias``): PaRIS with 50 particles is off by -19, of
    1005, however many runs are averaged; sweeps of the same size are off by -7, -2 and 0 (+- 1)
    after 1, 2 and 3 of them, with 10 particles by -98 at first and -9 after 8. But 2,000 particles
    in all leave a root mean square error of 4.6 in one run of PaRIS, of 5.3 in 40 sweeps of 50
    without burn-in (bias -0.5 +- 0.3), and of 5.9 and 7.1 where a quarter or half of them is
    dropped. So take chains where bias would not average out: in parallel, in gradients of a
    likelihood that are followed, for an interval, or where memory holds N particles only.

    Few particles and many sweeps, or many and few, cost the same; below some 50 particles the
    chain mixes slowly, and beyond some hundred the starting bias is small anyway. The number that
    is enough grows with T. `recommend_particles` tries it out.

    States of several components need a proposal sooner than more particles. Where few particles
    come near an observation (a smallest effective sample size of 1) some states change in one
    sweep out of ten only, and the chains agree with each other before they have left their start.
    In a linear Gaussian model of 5 components, all observed with noise as large as their own
    (T = 100, N = 100, 30 sweeps, 16 runs), intervals cover 38 to 100 % by component, and all runs
    warn; with particles drawn given the observation they cover 88 to 100 %, a quarter of the runs
    warn, and the estimates spread two to four times less.

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p)
        Observations; a row of NaNs is missing.
    functional : callable or one of `smcweights.functionals`
        (x_prev, x, t) -> float or (J,): the terms of t = 1 ... T-1; compiled by numba.
    n_particles : int, at least 2
    budget : int, at least 4
        Sweeps of each chain after its start, burn-in included. Particle moves in all:
        chains (budget + 1) n_particles T.
    initial_functional : callable, optional
        (x) -> the same shape: the term of t = 0, default 0.
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
    theta : array_like, optional
        Parameters other than the model's own.
    resampling : {"systematic", "stratified", "multinomial"}
        Conditional version of the scheme.
    ess_threshold : float, default 0.5
    backward : {"auto", "rejection", "exact", "mcmc"}
        As for `paris`.
    proposal : Proposal, optional
        Where particles are drawn from, or what they are resampled by, as for `particle_filter`; by
        default the model's own transitions.
    names : sequence of str, optional
    seed : None, int, SeedSequence or Generator
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the chains run. The kernels release the GIL: "threads" is the natural choice.
    progress : bool, optional
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
    began = time.perf_counter()
    model, rows, vector, n = check_common(model, y, n_particles, theta, ess_threshold, proposal)
    choice("resampling", resampling, CONDITIONAL_SCHEMES)
    draws, chains = count("n_backward", n_backward), count("chains", chains, 2)
    rule = stopping_rule(budget, precision)
    drop = sweeps_dropped(burn_in, rule)
    method = backward_method(model, backward)
    compiled(model, vector, proposal)
    given = (functional, initial_functional)
    code = {"functional": functional, "initial_functional": initial_functional}
    *_, scalar, own_names = compiled_functional(model, functional, initial_functional, len(rows))
    paths = initial_paths(model, rows, initial_path, chains)
    arguments = {
        "model": model, "functional": functional, "initial_functional": initial_functional,
        "n_particles": n, "budget": budget, "burn_in": burn_in, "n_backward": draws,
        "chains": chains, "resampling": resampling, "ess_threshold": float(ess_threshold),
        "backward": backward, "precision": None if precision is None else repr(precision),
        "proposal": proposal,
    }  # fmt: skip
    first = rule.total if isinstance(rule, Budget) else drop + FIRST_STAGE
    kept: list[Array] = []
    start = None
    changes, moves = np.zeros(len(rows)), np.zeros(len(rows))
    tally = np.zeros(3, dtype=np.int64)
    smallest, done, warm = math.inf, 0, 0
    with open_run(
        partial(
            _chain, model, rows, vector, n, resampling, float(ess_threshold), draws, method, given,
            proposal,
        ),
        executor=executor, progress=progress, checkpoint=checkpoint,
        arguments=None
        if checkpoint is None
        else checkpointed(arguments, rows, {**code, "proposal": proposal_parts(proposal)}),
        seed=seed, total=chains * first, unit="sweeps", description="parisian_particle_gibbs",
    ) as run:  # fmt: skip
        size, stage, root = first, 0, run.root
        while True:
            jobs = [
                (describe(root), c, stage, size, None if paths is None else paths[c])
                for c in range(chains)
            ]
            found = run.map(f"stage {stage + 1}", jobs, [size] * chains)
            means = np.array([entry["means"] for entry in found])
            if paths is None:
                start, means = means[:, 0].mean(axis=0), means[:, 1:]
            kept.append(means[:, drop if stage == 0 else 0 :])
            paths = np.array([entry["path"] for entry in found])
            changes += sum(entry["changes"] for entry in found)
            moves += sum(entry["moves"] for entry in found)
            tally += sum(entry["tally"] for entry in found)
            smallest = min(smallest, *(float(entry["ess"].min()) for entry in found))
            done, stage = done + size, stage + 1
            warm = sum(block.shape[1] for block in kept)
            chain_means = np.concatenate(kept, axis=1).mean(axis=1)
            if isinstance(rule, Budget):
                break
            probe = estimate_from_chains(chain_means, False, "", None, {}, {}, {})
            lower, upper = probe.interval(rule.level)
            size = rule.next_size(probe.value, (upper - lower) / 2, warm, done)
            if size == 0:
                break
    sweeps = np.concatenate(kept, axis=1)
    diagnostics, cautions = mixing(sweeps, chain_means)
    diagnostics |= {
        "burn_in": drop,
        "sweeps": done,
        "update_rate": changes / (chains * done),
        "smallest_ess": smallest,
        "tries_per_draw": float(tally[1] / max(tally[0], 1)),
        "exact_share": float(tally[2] / max(tally[0], 1)),
        "chain_means": chain_means,
        "paths": paths[..., 0] if model.state_dim is None else paths,
    }
    if start is not None:
        difference = start - chain_means.mean(axis=0)
        diagnostics["starting_bias"] = float(difference[0]) if scalar else difference
    # a state on a lattice that is known need not change: another particle has the same one
    rate = moves / (chains * done)
    if rate.min() < 0.1:
        cautions.append(
            f"x at time {int(rate.argmin())} changes in {rate.min():.1%} of the sweeps: the chains "
            "hardly move there; use a proposal, or more particles"
        )
    if isinstance(rule, Precision):
        probe = estimate_from_chains(chain_means, False, "", None, {}, {}, {})
        if not rule.reached(probe):
            cautions.append(f"max_budget of {rule.max_budget} sweeps ended before the precision")
    for text in cautions:
        warnings.warn(f"parisian_particle_gibbs: {text}", PrecisionWarning, stacklevel=2)
    diagnostics["warnings"] = cautions
    return estimate_from_chains(
        chain_means, scalar, "parisian_particle_gibbs", own_names if names is None else names,
        diagnostics,
        {"evaluations": chains * (done + (start is not None)) * n * len(rows), "sweeps": done,
         "seconds": time.perf_counter() - began},
        provenance("parisian_particle_gibbs", root, arguments, rows),
    )  # fmt: skip


def _chain(
    model, rows, vector, n, scheme, threshold, draws, method, given, proposal, root, chain, stage,
    sweeps, path,
):  # fmt: skip
    """Sweeps of one chain, one more before them when it has no path yet."""
    from . import kernels

    sums = compiled_functional(model, given[0], given[1], len(rows))[:3]

    def begin() -> Cloud:
        return Cloud(
            Series(model, rows, vector, n, scheme, threshold, proposal),
            generator(seed_sequence(root), "chain", chain, stage), depth=len(rows), sums=sums,
            draws=draws, method=method, backward_depth=len(rows),
        )  # fmt: skip

    found = sweep(begin(), rows, path, sweeps + (path is None), kernels.BY_BACKWARD)
    if not np.isfinite(found["means"]).all():
        raise functional_error(begin(), rows)
    return found


def recommend_particles(
    model: StateSpaceModel,
    y: ArrayLike,
    functional: Callable[..., Any] | Functional,
    budget: int,
    *,
    initial_functional: Callable[..., Any] | None = None,
    candidates: Sequence[int] = (25, 50, 100, 200, 400),
    chains: int = 8,
    seed: Any = None,
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
    seed : None, int, SeedSequence or Generator

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
    budget, root = count("budget", budget), seed_sequence(seed)
    model, rows, vector, _ = check_common(model, y, 2, None, 0.5)
    method = backward_method(model, "auto")
    given = (functional, initial_functional)
    found: dict[int, float] = {}
    unit = None
    for n in candidates:
        sweeps = budget // (chains * count("candidates", n, 2))
        if sweeps < 20:
            continue
        runs = [
            _chain(
                model, rows, vector, n, "systematic", 0.5, 2, method, given, None, describe(root),
                c, n, 40, None,
            )["means"][-30:]
            for c in range(chains)
        ]  # fmt: skip
        pilot = np.array(runs)
        spread = pilot.std(axis=(0, 1), ddof=1)
        unit = spread if unit is None else unit
        diagnostics, _ = mixing(pilot, pilot.mean(axis=1))
        left = chains * (sweeps - min(max(LEAST_BURN_IN, sweeps // 4), sweeps // 2))
        error = spread * np.sqrt(diagnostics["autocorrelation_time"] / left)
        found[n] = float(np.max(error / np.where(unit > 0, unit, 1.0)))
    if not found:
        raise ValueError(
            f"budget: got {budget}; expected at least {20 * chains * min(candidates)}, 20 sweeps "
            "for the smallest candidate"
        )
    return found
