"""Smoothed sums without any bias: pairs of chains that meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, shown
from ..cautions import Caution, tell
from ..errors import DegeneracyError
from ..estimate import Estimate
from ..execution import check_checkpoint, open_run
from ..randomness import Seed, describe, generator, seed_sequence
from .chains import estimate_from_chains, made_by, sweep
from .cloud import Cloud, raise_status
from .functionals import Functional
from .model import StateSpaceModel
from .series import Series, checked_series
from .smoothing import Sums, functional_error

Array = NDArray[np.float64]
LONGEST_MEETING = 2_000  # sweeps
PILOTS = 8
FEW_REPLICATES = 20  # below which a normal mean of heavy-tailed numbers is not to be trusted


def unbiased_smoothing(
    model: StateSpaceModel,
    y: ArrayLike,
    functional: Callable[..., ArrayLike] | Functional,
    n_particles: int,
    budget: int,
    *,
    initial_functional: Callable[..., ArrayLike] | None = None,
    first: int | None = None,
    last: int | None = None,
    n_backward: int = 2,
    theta: ArrayLike | None = None,
    backward: str = "auto",
    names: Sequence[str] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | PathLike[str] | None = None,
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
    seed, executor, progress, checkpoint
        As for `parisian_particle_gibbs`; replicates run where the executor says.

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
    check_checkpoint(checkpoint)
    began = time.perf_counter()
    series = checked_series(model, y, n_particles, theta, "multinomial", 1.0)
    replicates = count("budget", budget, 2)
    if last is not None and first is None:
        raise ValueError(f"last: got {shown(last)} without first; expected both or none")
    if first is not None:
        first = count("first", first, 0)
        last = None if last is None else count("last", last, first)
    sums = Sums(functional, initial_functional, count("n_backward", n_backward), backward)
    added = sums.compiled(series)
    labels = added.labels(names)
    arguments = series.arguments(**sums._asdict(), budget=replicates, first=first, last=last)
    with open_run(
        partial(_pair, series, sums),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments={**arguments, "y": series.rows},
        seed=seed,
        total=replicates,
        unit="replicates",
        description="unbiased_smoothing",
    ) as run:
        root = describe(run.root)
        if first is None:
            pilots = run.map("pilot", [(root, "pilot", r, 0, 0) for r in range(PILOTS)])
            first = max(int(pair.meeting) for pair in pilots)
        last = 5 * first + 5 if last is None else last
        jobs = [(root, "pair", r, first, last) for r in range(replicates)]
        pairs = run.map("replicates", jobs)
    meeting = np.array([int(pair.meeting) for pair in pairs])
    sweeps = sum(int(pair.sweeps) for pair in pairs)
    cautions = _cautions(meeting, last)
    tell("unbiased_smoothing", cautions)
    cost = {"evaluations": sweeps * series.n * len(series.rows), "sweeps": sweeps}
    source = made_by("unbiased_smoothing", run.root, arguments, series.rows, began, cost)
    values = np.array([pair.value for pair in pairs])
    diagnostics = {"meeting_times": meeting, "first": first, "last": last}
    source |= {"names": labels, "diagnostics": diagnostics, "cautions": cautions}
    return estimate_from_chains(values, added.scalar, **source)


def _cautions(meeting: NDArray[np.int64], last: int) -> list[Caution]:
    """What speaks against a normal mean of the replicates."""
    cautions = []
    if len(meeting) < FEW_REPLICATES:
        text = (
            f"{len(meeting)} replicates are few for a normal mean of heavy-tailed numbers; use "
            f"{FEW_REPLICATES} or more"
        )
        cautions.append(Caution("few-replicates", text))
    if (meeting > max(last, 1)).mean() > 0.02:
        text = (
            f"{(meeting > last).mean():.1%} of the pairs met after the last sweep averaged "
            f"({last}): their corrections are large; use more particles, or a larger last"
        )
        cautions.append(Caution("late-meetings", text))
    return cautions


class Pair(NamedTuple):
    """One replicate: an unbiased value (J,), the sweep at which its chains met, and all sweeps."""

    value: Array
    meeting: Array
    sweeps: Array


def _pair(
    series: Series, sums: Sums, root: dict[str, Any], name: str, number: int, first: int, last: int
) -> Pair:
    """A `Pair`: Z_l runs a sweep ahead of Z'_{l-1}; both sweeps give the means of both."""
    from . import kernels

    source, rows = seed_sequence(root), series.rows

    def cloud(stream: str) -> Cloud:
        return sums.cloud(series, generator(source, f"{name} {stream}", number), kept=True)

    def check(means: Array) -> None:
        if not np.isfinite(means).all():
            raise functional_error(cloud("ahead"), rows)

    ahead, behind = cloud("ahead"), cloud("behind")
    path = sweep(ahead, rows, None, 1, kernels.BY_BACKWARD).path
    other = sweep(behind, rows, None, 1, kernels.BY_BACKWARD).path
    found = sweep(ahead, rows, path, 1, kernels.BY_BACKWARD)
    # means[l] belongs to Z_l
    means, path = [found.means[0]], found.path
    differences: list[Array] = []
    both = np.empty((2, len(means[0])))
    rng = generator(source, f"{name} coupling", number)
    meeting = 1
    while not np.array_equal(path, other):
        if meeting > LONGEST_MEETING:
            raise DegeneracyError(
                f"unbiased_smoothing: replicate {number} did not meet in {LONGEST_MEETING} "
                "sweeps; use more particles"
            )
        # generators in equal states, so that equal particles move alike
        moves = [generator(source, f"{name} moves", number, meeting) for _ in range(2)]
        backs = [generator(source, f"{name} draws", number, meeting) for _ in range(2)]
        kernels.ready(kernels.coupled_sweep)(
            *ahead.loops[:2],
            *ahead.loops[3:],
            rng,
            *moves,
            *backs,
            ahead.told(rows, path),
            other,
            ahead.particles,
            behind.particles,
            both,
            ahead.report,
        )
        raise_status(ahead.report.status, rows, ahead.particles.x)
        check(both)
        means.append(both[0].copy())
        differences.append(both[0] - both[1])
        meeting += 1
    sweeps = 3 + 2 * (meeting - 1)
    rest = last + 1 - len(means)
    if rest > 0:
        means.extend(sweep(ahead, rows, path, rest, kernels.BY_BACKWARD).means)
        sweeps += rest
    check(np.array(means))
    value = np.mean(means[first : last + 1], axis=0)
    for before, difference in enumerate(differences):
        lag = before + 1 - first
        if lag > 0:
            value = value + min(1.0, lag / (last - first + 1)) * difference
    return Pair(value, np.array(meeting), np.array(sweeps))
