"""Sweeps of conditional particle filters, and what chains of them say together.

A conditional filter runs with one particle held on a given path. Drawing a new path from it, going
back through backward draws, leaves the smoothing law unchanged for any number of particles, so
that a chain of such sweeps forgets where it began.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, finite
from ..cautions import Caution
from ..estimate import Estimate
from ..execution import Run
from ..provenance import provenance
from ..randomness import describe, generator, seed_sequence
from ..stopping import Budget, Precision, Standing, check_least, until_precise
from .cloud import Cloud
from .mixing import mixing
from .rounding import large_at
from .series import Series, place_in

Array = NDArray[np.float64]
Summand = Callable[..., ArrayLike]
LEAST_BURN_IN = 10
FIRST_STAGE = 50  # kept sweeps per chain before a precision is looked at
RARE = 0.1  # share of sweeps below which a state hardly moves


class Sweeps(NamedTuple):
    """What s sweeps leave: sums (s, J), the last path (T, d), and all of them if they are kept.

    How many changed the particle of every time (T,), and its state, which on a lattice two
    particles may share; smallest effective sample sizes and log likelihoods (s,).
    """

    means: Array
    path: Array
    paths: Array
    changes: Array
    moves: Array
    ess: Array
    log_z: Array


def sweep(
    cloud: Cloud, rows: Array, path: Array | None, sweeps: int, way: int, keep: bool = False
) -> Sweeps:
    """Run a cloud's kernel over sweeps of the conditional filter; the first is free without path.

    The way is one of ``kernels.BY_BACKWARD``, ``BY_SAMPLING`` and ``BY_ANCESTORS``.
    """
    from . import kernels

    n_steps, dim = len(rows), cloud.particles.x.shape[2]
    own = np.zeros((n_steps, dim)) if path is None else np.array(path).reshape(n_steps, dim)
    cloud.options[kernels.FROZEN] = -1 if path is None else 0
    cloud.options[kernels.FIRST], cloud.options[kernels.END] = 0, n_steps
    left = kernels.Sweeps(
        np.empty((sweeps, cloud.particles.tau.shape[2])),
        np.empty((sweeps if keep else 0, n_steps, dim)),
        np.zeros((2, n_steps)),
        np.empty(sweeps),
        np.empty(sweeps),
    )
    kernels.ready(kernels.gibbs_sweeps)(
        *(*cloud.loops, cloud.resample, cloud.rng, cloud.told(rows, own)),
        *(cloud.particles, way, left, cloud.report),
    )
    cloud.check(rows)
    changes, moves = left.changes
    return Sweeps(left.means, own, left.paths, changes, moves, left.ess, left.log_z)


class Job(NamedTuple):
    """Sweeps of a chain in one stage, some of which are dropped, from its path if it has one."""

    root: dict[str, Any]
    chain: int
    stage: int
    skip: int
    sweeps: int
    path: Array | None

    def generator(self, name: str) -> np.random.Generator:
        """Of the chain in this stage."""
        return generator(seed_sequence(self.root), name, self.chain, self.stage)


class Stretch(NamedTuple):
    """What a job leaves: numbers (s, J) of sweeps that count, and the rest as in `Sweeps`."""

    kept: Array
    path: Array
    changes: Array
    moves: Array
    smallest: Array


More = TypeVar("More")  # what else a method wants to know of every job


@dataclass(frozen=True, eq=False)
class Chains:
    """Independent chains: numbers (chains, s, J) of sweeps that count, and the last paths.

    `done` counts the sweeps of each, those dropped with them; rates (T,) are shares of sweeps that
    changed particle or state; the caution is of a precision that was not reached.
    """

    sweeps: Array
    paths: Array
    done: int
    update_rate: Array
    move_rate: Array
    smallest: float
    cautions: list[Caution]

    @property
    def means(self) -> Array:
        """Of every chain, shape (c, J)."""
        return self.sweeps.mean(axis=1)


def first_stage(rule: Budget | Precision, drop: int) -> int:
    """Sweeps of every chain before its precision is looked at."""
    return rule.total if isinstance(rule, Budget) else drop + FIRST_STAGE


def run_chains(
    run: Run[tuple[Stretch, More]],
    rule: Budget | Precision,
    drop: int,
    paths: Array | None,
    chains: int,
    name: str = "stage",
) -> tuple[Chains, list[More]]:
    """Sweeps of all chains, stage by stage, until the rule is content.

    A part of a larger run has another name for its stages.
    """
    streams = describe(run.root)
    found: list[Stretch] = []
    others: list[More] = []
    blocks: list[Array] = []
    done = 0

    def stage(size: int) -> None:
        nonlocal paths, done
        job = Job(streams, 0, len(blocks), 0 if blocks else drop, size, None)
        own: Sequence[Array | None] = [None] * chains if paths is None else list(paths)
        jobs = [(job._replace(chain=c, path=path),) for c, path in enumerate(own)]
        new = run.map(f"{name} {len(blocks) + 1}", jobs, [size] * chains)
        found.extend(stretch for stretch, _ in new)
        others.extend(other for _, other in new)
        blocks.append(np.array([stretch.kept for stretch, _ in new]))
        paths, done = np.array([stretch.path for stretch, _ in new]), done + size

    def standing(level: float) -> Standing:
        sweeps = np.concatenate(blocks, axis=1)
        probe = estimate_from_chains(sweeps.mean(axis=1))
        lower, upper = probe.interval(level)
        half = (upper - lower) / 2
        return Standing(np.asarray(probe.value), half, sweeps.shape[1], done, estimate=probe)

    cautions = until_precise(rule, first_stage(rule, drop), stage, standing, "sweeps", run)
    changes, moves = np.sum([(s.changes, s.moves) for s in found], axis=0) / (chains * done)
    last, smallest = np.array(paths), min(float(s.smallest) for s in found)
    sweeps = np.concatenate(blocks, axis=1)
    return Chains(sweeps, last, done, changes, moves, smallest, cautions), others


def default_burn_in(total: int) -> int:
    """A quarter of the sweeps and at least 10, but at most half."""
    return min(max(LEAST_BURN_IN, total // 4), total // 2)


def sweeps_dropped(burn_in: int | str, rule: Budget | Precision) -> int:
    """Sweeps of every chain that are left out at its start."""
    total = rule.total if isinstance(rule, Budget) else rule.max_budget
    check_least(rule, 4, "sweeps per chain")
    if isinstance(burn_in, str) and burn_in == "auto":
        if isinstance(rule, Precision):
            return min(2 * LEAST_BURN_IN, total // 2)
        return default_burn_in(total)
    if isinstance(burn_in, str):
        raise ValueError(f"burn_in: got {burn_in!r}; expected a whole number or 'auto'")
    drop = count("burn_in", burn_in, 0)
    if drop >= total:
        raise ValueError(f"burn_in: got {drop}; expected below the budget of {total} sweeps")
    return drop


def initial_paths(series: Series, initial_path: ArrayLike | None, chains: int) -> Array | None:
    """Where every chain starts, shape (chains, T, d), if that is given."""
    if initial_path is None:
        return None
    given = finite("initial_path", initial_path)
    n_steps, dim = len(series.rows), series.model.dim
    one = (n_steps,) if series.model.state_dim is None else (n_steps, dim)
    if given.shape not in (one, (chains, *one)):
        raise ValueError(
            f"initial_path: got shape {given.shape}; expected finite numbers of shape {one} or "
            f"{(chains, *one)}"
        )
    return np.broadcast_to(given.reshape(-1, n_steps, dim), (chains, n_steps, dim))


def estimate_from_chains(means: Array, scalar: bool = False, **fields: Any) -> Estimate:
    """Mean of independent means, with Student's intervals; `fields` are those of `Estimate`."""
    c, shown = len(means), fields.get("diagnostics", ())
    columns = ("r_hat", "chain_ess", "mcse", "statistical_error")
    fields["columns"] = [name for name in columns if name in shown]
    fields["degrees_of_freedom"] = float(c - 1)
    value = means.mean(axis=0)
    factor = ((means - value) / math.sqrt(c * (c - 1))).T
    if scalar:
        return Estimate(value[0], float((factor**2).sum()), **fields)
    return Estimate(value, factor=factor, **fields)


def verdict(chains: Chains, drop: int, *panel: Series) -> tuple[dict[str, Any], list[Caution]]:
    """What chains looked like, and what speaks against their interval.

    Those along several series have the times of one behind those of the other.
    """
    found, cautions = mixing(chains.sweeps)
    found |= {"burn_in": drop, "sweeps": chains.done, "smallest_ess": chains.smallest}
    found |= {"update_rate": chains.update_rate, "chain_means": chains.means}
    found["paths"] = panel[0].shaped(chains.paths)
    rate = chains.move_rate
    if rate.min() < RARE:
        place = place_in(int(rate.argmin()), [len(one.rows) for one in panel])
        text = (
            f"x at {place} changes in {rate.min():.1%} of the sweeps: the chains "
            "hardly move there; use a proposal, or more particles"
        )
        cautions.append(Caution("stuck-chains", text))
    at = np.cumsum([0, *(len(one.rows) for one in panel)])
    for one, first, end in zip(panel, at[:-1], at[1:], strict=True):
        cautions += large_at(one, chains.paths[0, first:end])
    return found, cautions + chains.cautions


def made_by(
    method: str,
    root: np.random.SeedSequence,
    arguments: dict[str, Any],
    rows: Array | None,
    began: float,
    cost: Mapping[str, float],
) -> dict[str, Any]:
    """Method, cost and provenance, as `Estimate` takes them."""
    spent = {**cost, "seconds": time.perf_counter() - began}
    source = provenance(method, root, arguments, rows)
    return {"method": method, "cost": spent, "provenance": source}
