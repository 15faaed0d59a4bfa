"""Smoothed sums without any bias: pairs of chains that meet."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DegeneracyError, PrecisionWarning
from ..estimate import Estimate
from ..execution import open_run
from ..provenance import provenance
from ..randomness import describe, generator, seed_sequence
from .chains import estimate_from_chains, sweep
from .cloud import Cloud
from .model import (
    Functional,
    StateSpaceModel,
    checkpointed,
    compiled,
    compiled_functional,
    count,
    raise_status,
)
from .series import Series, check_common
from .smoothing import backward_method, functional_error

__all__ = ["unbiased_smoothing"]

Array = NDArray[np.float64]
LONGEST_MEETING = 2_000  # sweeps


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
    return estimate_from_chains(
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
    series = Series(model, rows, vector, n, "multinomial", 1.0)

    def cloud(stream: str, *index: int) -> Cloud:
        return Cloud(
            series, generator(source, f"{name} {stream}", replicate, *index), depth=len(rows),
            sums=sums, draws=draws, method=method, backward_depth=len(rows),
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
