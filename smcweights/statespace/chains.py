"""Sweeps of conditional particle filters, and what chains of them say together.

A conditional filter runs with one particle held on a given path. Drawing a new path from it, going
back through backward draws, leaves the smoothing law unchanged for any number of particles, so
that a chain of such sweeps forgets where it began.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _compat
from ..estimate import Estimate
from ..stopping import Budget, Precision
from .cloud import Cloud
from .model import StateSpaceModel, count, raise_status

__all__ = ["estimate_from_chains", "initial_paths", "mixing", "sweep", "sweeps_dropped"]

Array = NDArray[np.float64]
LEAST_BURN_IN = 10


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


def sweeps_dropped(burn_in: int | str, rule: Budget | Precision) -> int:
    """Sweeps of every chain that are left out at its start."""
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


def initial_paths(
    model: StateSpaceModel, rows: Array, initial_path: ArrayLike | None, chains: int
) -> Array | None:
    """Where every chain starts, shape (chains, T, d), if that is given."""
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


def estimate_from_chains(
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


def mixing(sweeps: Array, chain_means: Array) -> tuple[dict[str, Any], list[str]]:
    """R-hat, effective number of sweeps, and what speaks against the interval."""
    chains, kept, j = sweeps.shape
    cautions: list[str] = []
    if kept < 10:
        cautions.append(f"only {kept} sweeps kept: too few to see whether the chains mix")
        return {"kept": kept}, cautions
    # constant sums, such as a term that is known, have no autocorrelation
    moving = sweeps.std(axis=(0, 1)) > 1e-12 * np.abs(sweeps).max(axis=(0, 1), initial=1e-300)
    ess, r_hat = np.full(j, float(chains * kept)), np.ones(j)
    if moving.any():
        ess[moving], r_hat[moving] = _compat.chain_diagnostics(sweeps[..., moving])
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
