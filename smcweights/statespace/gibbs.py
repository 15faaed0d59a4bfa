"""Chains of conditional particle filters: smoothing without the bias of one filter, and draws of
paths and parameters.

A conditional filter runs with one particle held on a given path. Drawing a new path from it, going
back through backward draws, leaves the smoothing law unchanged for any number of particles, so
that a chain of such sweeps forgets where it began.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _compat
from ..errors import DegeneracyError, ModelError, PrecisionWarning
from ..estimate import Estimate, provenance
from ..execution import open_run
from ..randomness import describe, generator, seed_sequence
from ..resampling import CONDITIONAL_SCHEMES
from ..stopping import Budget, Precision, stopping_rule
from .filtering import Cloud, check_common
from .model import (
    Functional,
    Proposal,
    StateSpaceModel,
    checkpointed,
    choice,
    compiled,
    compiled_functional,
    compiled_path_density,
    count,
    proposal_parts,
    raise_status,
)
from .smoothing import backward_method, functional_error

__all__ = [
    "parisian_particle_gibbs",
    "particle_gibbs",
    "random_walk_metropolis",
    "recommend_particles",
    "unbiased_smoothing",
]

Array = NDArray[np.float64]
LEAST_BURN_IN = 10
FIRST_STAGE = 50  # kept sweeps per chain before a precision is looked at
LONGEST_MEETING = 2_000  # sweeps


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
    drop = _burn_in(burn_in, rule)
    method = backward_method(model, backward)
    compiled(model, vector, proposal)
    given = (functional, initial_functional)
    code = {"functional": functional, "initial_functional": initial_functional}
    *_, scalar, own_names = compiled_functional(model, functional, initial_functional, len(rows))
    paths = _initial_paths(model, rows, initial_path, chains)
    arguments = {
        "model": model, "functional": functional, "initial_functional": initial_functional,
        "n_particles": n, "budget": budget, "burn_in": drop, "n_backward": draws,
        "chains": chains, "resampling": resampling, "ess_threshold": float(ess_threshold),
        "backward": backward, "precision": None if precision is None else repr(precision),
        "proposal": None if proposal is None else "given",
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
            probe = _from_chains(chain_means, False, "", None, {}, {}, {})
            lower, upper = probe.interval(rule.level)
            size = rule.next_size(probe.value, (upper - lower) / 2, warm, done)
            if size == 0:
                break
    sweeps = np.concatenate(kept, axis=1)
    diagnostics, cautions = _mixing(sweeps, chain_means)
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
        probe = _from_chains(chain_means, False, "", None, {}, {}, {})
        if not rule.reached(probe):
            cautions.append(f"max_budget of {rule.max_budget} sweeps ended before the precision")
    for text in cautions:
        warnings.warn(f"parisian_particle_gibbs: {text}", PrecisionWarning, stacklevel=2)
    diagnostics["warnings"] = cautions
    return _from_chains(
        chain_means, scalar, "parisian_particle_gibbs", own_names if names is None else names,
        diagnostics,
        {"evaluations": chains * (done + (start is not None)) * n * len(rows), "sweeps": done,
         "seconds": time.perf_counter() - began},
        provenance("parisian_particle_gibbs", root, arguments, rows),
    )  # fmt: skip


def _burn_in(burn_in: int | str, rule: Budget | Precision) -> int:
    total = rule.total if isinstance(rule, Budget) else rule.max_budget
    if total < 4:
        raise ValueError(f"budget: got {total}; expected at least 4 sweeps per chain")
    if burn_in == "auto":
        if isinstance(rule, Precision):
            return min(2 * LEAST_BURN_IN, total // 2)
        return min(max(LEAST_BURN_IN, total // 4), total // 2)
    if isinstance(burn_in, str):
        raise ValueError(f"burn_in: got {burn_in!r}; expected a whole number or 'auto'")
    drop = count("burn_in", burn_in, 0)
    if drop >= total:
        raise ValueError(f"burn_in: got {drop}; expected below the budget of {total} sweeps")
    return drop


def _initial_paths(
    model: StateSpaceModel, rows: Array, initial_path: ArrayLike | None, chains: int
) -> Array | None:
    if initial_path is None:
        return None
    given = np.array(initial_path, dtype=np.float64)
    one = (len(rows),) if model.state_dim is None else (len(rows), model.dim)
    if given.shape not in (one, (chains, *one)) or not np.isfinite(given).all():
        raise ValueError(
            f"initial_path: got shape {given.shape}; expected finite numbers of shape {one} or "
            f"{(chains, *one)}"
        )
    return np.broadcast_to(given.reshape(-1, len(rows), model.dim), (chains, len(rows), model.dim))


def _chain(
    model, rows, vector, n, scheme, threshold, draws, method, given, proposal, root, chain, stage,
    sweeps, path,
):  # fmt: skip
    """Sweeps of one chain, one more before them when it has no path yet."""
    from . import kernels

    sums = compiled_functional(model, given[0], given[1], len(rows))[:3]

    def begin() -> Cloud:
        return Cloud(
            model, compiled(model, vector, proposal), n,
            rng=generator(seed_sequence(root), "chain", chain, stage), scheme=scheme,
            threshold=threshold, depth=len(rows), sums=sums, draws=draws, method=method,
            backward_depth=len(rows),
        )  # fmt: skip

    found = sweep(begin(), rows, path, sweeps + (path is None), kernels.BY_BACKWARD)
    if not np.isfinite(found["means"]).all():
        raise functional_error(begin(), rows)
    return found


def sweep(
    cloud: Cloud, rows: Array, path: Array | None, sweeps: int, way: int, keep: bool = False
) -> dict[str, Any]:
    """Run a cloud's kernel over sweeps of the conditional filter."""
    from . import kernels

    n_steps, dim = len(rows), cloud.x.shape[2]
    own = np.zeros((n_steps, dim)) if path is None else np.array(path).reshape(n_steps, dim)
    cloud.options[kernels.FROZEN] = -1 if path is None else 0
    cloud.options[kernels.FIRST], cloud.options[kernels.END] = 0, n_steps
    means = np.empty((sweeps, cloud.tau.shape[2]))
    paths = np.empty((sweeps if keep else 0, n_steps, dim))
    changes, ess, log_z = np.zeros((2, n_steps)), np.empty(sweeps), np.empty(sweeps)
    kernels.gibbs_sweeps(
        *cloud.loops, cloud.rng, rows, cloud.theta, cloud.options, cloud.threshold, own, cloud.x,
        cloud.log_w, cloud.ancestors, cloud.backward, cloud.tau, way, means, paths, changes, ess,
        log_z, cloud.tally, cloud.status,
    )  # fmt: skip
    raise_status(cloud.status, rows, cloud.x)
    return {"means": means, "path": own, "paths": paths, "changes": changes[0],
            "moves": changes[1], "ess": ess, "log_z": log_z, "tally": cloud.tally}  # fmt: skip


def _from_chains(
    chain_means: Array, scalar: bool, method: str, names: Any, diagnostics: dict[str, Any],
    cost: dict[str, Any], source: dict[str, Any],
) -> Estimate:  # fmt: skip
    """Mean of independent means, with Student's intervals."""
    c = len(chain_means)
    value = chain_means.mean(axis=0)
    factor = ((chain_means - value) / math.sqrt(c * (c - 1))).T
    common = {
        "names": names, "method": method, "degrees_of_freedom": float(c - 1),
        "diagnostics": diagnostics, "cost": cost, "provenance": source,
    }  # fmt: skip
    if scalar:
        return Estimate(value[0], float((factor**2).sum()), **common)
    return Estimate(value, factor=factor, **common)


def _mixing(sweeps: Array, chain_means: Array) -> tuple[dict[str, Any], list[str]]:
    """R-hat, effective number of sweeps, and what speaks against the interval."""
    chains, kept, j = sweeps.shape
    cautions: list[str] = []
    if kept < 10:
        cautions.append(f"only {kept} sweeps kept: too few to see whether the chains mix")
        return {"kept": kept}, cautions
    import xarray

    az = _compat.arviz()
    # constant sums, such as a term that is known, have no autocorrelation
    moving = sweeps.std(axis=(0, 1)) > 1e-12 * np.abs(sweeps).max(axis=(0, 1), initial=1e-300)
    ess, r_hat = np.full(j, float(chains * kept)), np.ones(j)
    if moving.any():
        data = xarray.Dataset({"h": (("chain", "draw", "j"), sweeps[..., moving])})
        ess[moving] = az.ess(data)["h"].values
        r_hat[moving] = az.rhat(data)["h"].values
    autocorrelation = chains * kept / ess
    diagnostics = {
        "kept": kept,
        "r_hat": r_hat,
        "chain_ess": ess,
        "autocorrelation_time": autocorrelation,
        "columns": ["r_hat", "chain_ess"],
    }
    worst = float(autocorrelation.max())
    if kept < 10 * worst:
        cautions.append(
            f"chains of {kept} sweeps are shorter than 10 autocorrelation times of {worst:.3g}; "
            "use a larger budget, or more particles"
        )
    third = max(kept // 3, 1)
    drift = sweeps[:, :third].mean(axis=1) - sweeps[:, -third:].mean(axis=1)
    spread = drift.std(axis=0, ddof=1) / math.sqrt(chains)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(spread > 0, np.abs(drift.mean(axis=0)) / spread, 0.0)
    from scipy.special import stdtrit

    # one false alarm in ten thousand runs
    if t.max() > stdtrit(chains - 1, 1 - 0.5e-4 / j):
        cautions.append("the chains still drift; use a longer burn_in, or more particles")
    return diagnostics, cautions


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
        diagnostics, _ = _mixing(pilot, pilot.mean(axis=1))
        left = chains * (sweeps - min(max(LEAST_BURN_IN, sweeps // 4), sweeps // 2))
        error = spread * np.sqrt(diagnostics["autocorrelation_time"] / left)
        found[n] = float(np.max(error / np.where(unit > 0, unit, 1.0)))
    if not found:
        raise ValueError(
            f"budget: got {budget}; expected at least {20 * chains * min(candidates)}, 20 sweeps "
            "for the smallest candidate"
        )
    return found


def unbiased_smoothing(
    model: StateSpaceModel,
    y: ArrayLike,
    functional: Callable[..., Any] | Functional,
    n_particles: int,
    budget: int,
    *,
    initial_functional: Callable[..., Any] | None = None,
    first: int | None = None,
    last: int | None = None,
    n_backward: int = 2,
    theta: ArrayLike | None = None,
    backward: str = "auto",
    names: Sequence[str] | None = None,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
) -> Estimate:
    """Smoothed expectations without any bias, from pairs of chains that meet.

    Two chains of conditional filters, one a sweep ahead of the other, share particles, ancestors
    and backward draws as often as they can; once their paths are equal they stay so. The mean of
    the first chain over sweeps first ... last, plus the differences between the two until they
    meet, is unbiased: independent replicates may be averaged without end.

    Parameters
    ----------
    model, y, functional, n_particles, initial_functional, theta, names
        As for `parisian_particle_gibbs`.
    budget : int, at least 2
        Independent replicates, each a pair of chains.
    first, last : int, optional
        Sweeps that are averaged, 0 <= first <= last. By default first is the longest of 8 pilot
        meeting times, and last = 5 first + 5.
    n_backward : int, default 2
    backward : {"auto", "rejection", "exact", "mcmc"}
        As for `paris`; the draws of the smoothed sums, the coupling's own are exact.
    seed : None, int, SeedSequence or Generator
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the replicates run.
    progress : bool, optional
    checkpoint : path, optional
        File that receives the replicates; a later call with the same arguments goes on from there
        and gives the same numbers.

    Returns
    -------
    Estimate
        Diagnostics: `meeting_times`, shape (budget,), `first`, `last`.

    Raises
    ------
    TypeError, ValueError, ModelError
        As for `particle_filter`.
    DegeneracyError
        All weights vanished, or a pair did not meet in 2,000 sweeps (more particles help).

    Warns
    -----
    PrecisionWarning
        Fewer than 20 replicates, or meeting times beyond `last`: the replicates have heavy tails.

    References
    ----------
    Jacob, Lindsten & Schon (2020), Smoothing with couplings of conditional particle filters, JASA
    115; Karjalainen, Lee, Singh & Vihola (2023), arXiv 2312.17572, for backward sampling.

    Examples
    --------
    >>> from smcweights import functionals, models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(10, seed=1)
    >>> est = unbiased_smoothing(model, y, functionals.sum_of_states, 50, 20, seed=1)
    >>> est.diagnostics["meeting_times"].shape
    (20,)
    """
    began = time.perf_counter()
    model, rows, vector, n = check_common(model, y, n_particles, theta, 1.0)
    replicates, draws = count("budget", budget, 2), count("n_backward", n_backward)
    method = backward_method(model, backward)
    compiled(model, vector)
    given = (functional, initial_functional)
    code = {"functional": functional, "initial_functional": initial_functional}
    *_, scalar, own_names = compiled_functional(model, functional, initial_functional, len(rows))
    if last is not None and first is None:
        raise ValueError("last: given without first; expected both or none")
    arguments = {
        "model": model, "functional": functional, "initial_functional": initial_functional,
        "n_particles": n, "budget": replicates, "first": first, "last": last,
        "n_backward": draws, "backward": backward,
    }  # fmt: skip
    with open_run(
        partial(_pair_of_chains, model, rows, vector, n, draws, method, given),
        executor=executor, progress=progress, checkpoint=checkpoint,
        arguments=None if checkpoint is None else checkpointed(arguments, rows, code), seed=seed,
        total=replicates, unit="replicates", description="unbiased_smoothing",
    ) as run:  # fmt: skip
        root = run.root
        if first is None:
            pilot = run.map("pilot", [(describe(root), "pilot", r, 0, 0) for r in range(8)])
            first = max(int(entry["meeting"]) for entry in pilot)
        first = count("first", first, 0)
        last = 5 * first + 5 if last is None else count("last", last, first)
        arguments |= {"first": first, "last": last}
        found = run.map(
            "replicates", [(describe(root), "pair", r, first, last) for r in range(replicates)]
        )
    values = np.array([entry["value"] for entry in found])
    meeting = np.array([int(entry["meeting"]) for entry in found])
    sweeps = sum(int(entry["sweeps"]) for entry in found)
    cautions = []
    if replicates < 20:
        cautions.append(
            f"{replicates} replicates are few for a normal mean of heavy-tailed numbers; use 20 "
            "or more"
        )
    if (meeting > max(last, 1)).mean() > 0.02:
        cautions.append(
            f"{(meeting > last).mean():.1%} of the pairs met after the last sweep averaged "
            f"({last}): their corrections are large; use more particles, or a larger last"
        )
    for text in cautions:
        warnings.warn(f"unbiased_smoothing: {text}", PrecisionWarning, stacklevel=2)
    return _from_chains(
        values, scalar, "unbiased_smoothing", own_names if names is None else names,
        {"meeting_times": meeting, "first": first, "last": last, "warnings": cautions},
        {"evaluations": sweeps * n * len(rows), "sweeps": sweeps,
         "seconds": time.perf_counter() - began},
        provenance("unbiased_smoothing", root, arguments, rows),
    )  # fmt: skip


def _pair_of_chains(
    model, rows, vector, n, draws, method, given, root, name, replicate, first, last
):
    """One replicate: Z_l runs a sweep ahead of Z'_{l-1}; both sweeps give the means of both."""
    from . import kernels

    source = seed_sequence(root)
    sums = compiled_functional(model, given[0], given[1], len(rows))[:3]
    functions = compiled(model, vector)

    def cloud(stream: str, *index: int) -> Cloud:
        return Cloud(
            model, functions, n, rng=generator(source, f"{name} {stream}", replicate, *index),
            scheme="multinomial", threshold=1.0, depth=len(rows), sums=sums, draws=draws,
            method=method, backward_depth=len(rows),
        )  # fmt: skip

    ahead, behind = cloud("ahead"), cloud("behind")
    path = sweep(ahead, rows, None, 1, kernels.BY_BACKWARD)["path"]
    other = sweep(behind, rows, None, 1, kernels.BY_BACKWARD)["path"]
    found = sweep(ahead, rows, path, 1, kernels.BY_BACKWARD)
    # means[l] belongs to Z_l
    means, path = [found["means"][0]], found["path"]
    differences: list[Array] = []
    both = np.empty((2, sums[2]))
    rng = generator(source, f"{name} coupling", replicate)
    tally, status = np.zeros(3, dtype=np.int64), np.zeros(4, dtype=np.int64)
    meeting = 1
    while not np.array_equal(path, other):
        if meeting > LONGEST_MEETING:
            raise DegeneracyError(
                f"unbiased_smoothing: replicate {replicate} did not meet in {LONGEST_MEETING} "
                "sweeps; use more particles"
            )
        # generators in equal states, so that equal particles move alike
        moves = [generator(source, f"{name} moves", replicate, meeting) for _ in range(2)]
        backs = [generator(source, f"{name} draws", replicate, meeting) for _ in range(2)]
        kernels.coupled_sweep(
            *ahead.loops, rng, *moves, *backs, rows, ahead.theta, ahead.options, path, other,
            ahead.x, behind.x, ahead.log_w, behind.log_w, ahead.tau, behind.tau, both, tally,
            status,
        )  # fmt: skip
        raise_status(status, rows, ahead.x)
        if not np.isfinite(both).all():
            raise functional_error(cloud("ahead"), rows)
        means.append(both[0].copy())
        differences.append(both[0] - both[1])
        meeting += 1
    sweeps = 3 + 2 * (meeting - 1)
    rest = last + 1 - len(means)
    if rest > 0:
        means.extend(sweep(ahead, rows, path, rest, kernels.BY_BACKWARD)["means"])
        sweeps += rest
    if not np.isfinite(means).all():
        raise functional_error(cloud("ahead"), rows)
    value = np.mean(means[first : last + 1], axis=0)
    for before, difference in enumerate(differences):
        lag = before + 1 - first
        if lag > 0:
            value = value + min(1.0, lag / (last - first + 1)) * difference
    return {"value": value, "meeting": np.array(meeting), "sweeps": np.array(sweeps)}


def particle_gibbs(
    model: StateSpaceModel,
    y: ArrayLike,
    n_particles: int,
    n_sweeps: int,
    *,
    backward: str | None = "sampling",
    parameters: Callable[..., Any] | None = None,
    warm_up: int | None = None,
    chains: int = 4,
    theta: ArrayLike | None = None,
    initial_path: ArrayLike | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
) -> Any:
    """Draws of whole paths, and of parameters, given the observations.

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p)
    n_particles : int, at least 2
    n_sweeps : int
        Kept draws of each chain.
    backward : {"sampling", "ancestor", None}
        How the next path is traced: by backward draws, by the genealogy with the frozen path's
        ancestors drawn anew (always resampling), or by the genealogy as it is, which moves the
        early states of long series hardly at all.
    parameters : callable, optional
        (rng, path, y, theta) -> new theta, drawn from a kernel that leaves the law of theta given
        path and y unchanged: a conjugate draw, or what `random_walk_metropolis` returns. The
        model's theta is where chains start.
    warm_up : int, optional
        Sweeps before those kept, default half of `n_sweeps`; they go to a group of their own.
    chains : int, default 4
    theta, initial_path, resampling, ess_threshold, seed, executor, progress
        As for `parisian_particle_gibbs`.

    Returns
    -------
    arviz.InferenceData, or xarray.DataTree with ArviZ 1.x
        posterior: x (chain, draw, time[, component]) and the parameters; sample_stats:
        log_likelihood, smallest_ess, and update_rate (chain, time), the share of sweeps that
        change x_t; warmup_posterior.

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `particle_filter`.

    References
    ----------
    Andrieu, Doucet & Holenstein (2010), JRSS B 72; Whiteley (2010), discussion of it; Lindsten,
    Jordan & Schon (2014), Particle Gibbs with ancestor sampling, JMLR 15.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(20, seed=1)
    >>> draws = particle_gibbs(model, y, 30, 50, seed=1)
    >>> draws["posterior"]["x"].shape
    (4, 50, 20)
    """
    import xarray

    model, rows, vector, n = check_common(model, y, n_particles, theta, ess_threshold)
    choice("resampling", resampling, CONDITIONAL_SCHEMES)
    choice("backward", backward, ("sampling", "ancestor", None))
    if parameters is not None and not callable(parameters):
        raise TypeError(f"parameters: got {type(parameters).__name__}; expected a function")
    kept, chains = count("n_sweeps", n_sweeps), count("chains", chains)
    warm = kept // 2 if warm_up is None else count("warm_up", warm_up, 0)
    compiled(model, vector)
    paths = _initial_paths(model, rows, initial_path, chains)
    root = seed_sequence(seed)
    threshold = 1.0 if backward == "ancestor" else float(ess_threshold)
    with open_run(
        partial(
            _gibbs_chain, model, rows, vector, n, resampling, threshold, backward, parameters,
            warm + kept, describe(root),
        ),
        executor=executor, progress=progress, seed=root, total=chains, unit="chains",
        description="particle_gibbs",
    ) as run:  # fmt: skip
        jobs = [(c, None if paths is None else paths[c]) for c in range(chains)]
        found = run.map("chains", jobs)
    x = np.array([entry["paths"] for entry in found])
    x = x[..., 0] if model.state_dim is None else x
    thetas = np.array([entry["thetas"] for entry in found])
    dims = ("chain", "draw", "time") + (() if model.state_dim is None else ("component",))
    labels = model.theta_names or [f"theta[{k}]" for k in range(model.theta.size)]

    def group(part: slice) -> Any:
        content: dict[str, Any] = {"x": (dims, x[:, part])}
        if parameters is not None:
            for k, label in enumerate(labels):
                content[label] = (("chain", "draw"), thetas[:, part, k])
        return xarray.Dataset(content, coords={"time": np.arange(len(rows))})

    stats = xarray.Dataset(
        {
            "log_likelihood": (
                ("chain", "draw"),
                np.array([entry["log_z"] for entry in found])[:, warm:],
            ),
            "smallest_ess": (("chain", "draw"), np.array([e["ess"] for e in found])[:, warm:]),
            "update_rate": (("chain", "time"), np.array([e["rate"] for e in found])),
        },
        coords={"time": np.arange(len(rows))},
    )
    groups = {"posterior": group(slice(warm, None)), "sample_stats": stats}
    if warm:
        groups["warmup_posterior"] = group(slice(0, warm))
    return _compat.inference_data(groups)


def _gibbs_chain(
    model, rows, vector, n, scheme, threshold, backward, parameters, sweeps, root, chain, path
):
    from . import kernels

    source = seed_sequence(root)
    way = kernels.BY_SAMPLING if backward == "sampling" else kernels.BY_ANCESTORS
    cloud = Cloud(
        model, compiled(model, vector), n, rng=generator(source, "chain", chain), scheme=scheme,
        threshold=threshold, depth=len(rows),
    )  # fmt: skip
    cloud.options[kernels.REDRAW] = backward == "ancestor"
    if path is None:
        path = sweep(cloud, rows, None, 1, way)["path"]
    if parameters is None:
        found = sweep(cloud, rows, path, sweeps, way, keep=True)
        thetas = np.tile(cloud.theta, (sweeps, 1))
        return {"paths": found["paths"], "thetas": thetas, "log_z": found["log_z"],
                "ess": found["ess"], "rate": found["changes"] / sweeps}  # fmt: skip
    rng = generator(source, "parameters", chain)
    y = rows if vector else rows[:, 0]
    paths = np.empty((sweeps, *path.shape))
    thetas = np.empty((sweeps, cloud.theta.size))
    log_z, ess, rate = np.empty(sweeps), np.empty(sweeps), np.zeros(len(rows))
    for k in range(sweeps):
        shown = path[:, 0] if model.state_dim is None else path
        new = np.asarray(parameters(rng, shown.copy(), y.copy(), cloud.theta.copy()), dtype=float)
        if new.shape != cloud.theta.shape or not np.isfinite(new).all():
            raise ModelError(
                f"parameters: returned {new!r}; expected {cloud.theta.size} finite numbers"
            )
        cloud.theta = new
        found = sweep(cloud, rows, path, 1, way)
        path, paths[k], thetas[k] = found["path"], found["path"], new
        log_z[k], ess[k] = found["log_z"][0], found["ess"][0]
        rate += found["changes"]
    return {"paths": paths, "thetas": thetas, "log_z": log_z, "ess": ess, "rate": rate / sweeps}


class random_walk_metropolis:
    """A parameter update for `particle_gibbs`: Metropolis steps given the path.

    Parameters
    ----------
    model : StateSpaceModel
        The model whose parameters are updated.
    log_prior : callable
        (theta) -> float, -inf outside of the prior's support.
    scales : array_like, shape (k,)
        Standard deviations of the Gaussian steps; 0 holds a parameter fixed.
    n_steps : int, default 10
        Steps per sweep; cheap beside the sweep itself.

    Raises
    ------
    ValueError
        The scales don't fit theta.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.stochastic_volatility(0.9, 0.3)
    >>> update = random_walk_metropolis(model, lambda theta: 0.0, [0.0, 0.05, 0.0])
    >>> update(np.random.default_rng(1), np.zeros(5), np.ones(5), model.theta).shape
    (3,)
    """

    def __init__(
        self,
        model: StateSpaceModel,
        log_prior: Callable[[Array], float],
        scales: ArrayLike,
        n_steps: int = 10,
    ) -> None:
        steps = np.array(scales, dtype=np.float64)
        if steps.shape != model.theta.shape or not (steps >= 0).all():
            raise ValueError(
                f"scales: got shape {steps.shape}; expected {model.theta.shape}, none negative"
            )
        self.model, self.log_prior, self.scales = model, log_prior, steps
        self.n_steps = count("n_steps", n_steps)

    def __call__(self, rng: np.random.Generator, path: Array, y: Array, theta: Array) -> Array:
        """One round of steps from `theta`, given a path and the observations."""
        log_density: Any = compiled_path_density(self.model, y.ndim == 2)
        x = np.ascontiguousarray(path, dtype=np.float64).reshape(len(y), -1)
        rows = np.ascontiguousarray(y, dtype=np.float64).reshape(len(y), -1)
        theta = np.array(theta, dtype=np.float64)

        def log_target(at: Array) -> float:
            prior = float(self.log_prior(at))
            if prior == -math.inf:
                return prior
            return prior + log_density(x, rows, at)

        current = log_target(theta)
        for _ in range(self.n_steps):
            proposal = theta + self.scales * rng.standard_normal(theta.size)
            value = log_target(proposal)
            if math.isnan(value):
                raise ModelError(f"log density of the path: NaN for theta = {proposal}")
            if rng.standard_exponential() > current - value:
                theta, current = proposal, value
        return theta
