"""Flows of a cloud along the gradient of its sliced distance to another.

Every step draws fresh directions and moves the points against the gradient. A checkpoint holds the
state between two steps; a flow that goes on from it ends with the same numbers, because the
directions of a step follow from the seed and its number.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, flag, function, number, one_of, several
from ..errors import ModelError, returning
from ..execution import Run, batches, check_checkpoint, open_run
from ..provenance import digest, provenance
from ..randomness import Seed, generator
from ..references import SLICED
from ..results import Result, along, table
from .clouds import Pair, pair_of
from .directions import Directions, draw
from .gradient import (
    Control,
    block_gradients,
    check,
    controlled,
    gradients,
    mean_gradient,
    plan_gradient,
    root_slope,
)

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

Array = NDArray[Any]
Callback = Callable[[int, Array, float], bool | None]


@dataclass(frozen=True, repr=False)
class SlicedFlow(Result):
    """Where a flow ended, and what was seen on the way.

    Attributes
    ----------
    points : ndarray, shape (n, d)
    steps : ndarray of int, shape (T,)
        Steps at which the distance was traced.
    distances : ndarray, shape (T,)
        SW_p^p before those steps by their own directions, or W_2^2 with ``trace="exact"``.
    frames : ndarray, shape (T, n, d)
        The points before those steps.
    provenance : dict
    """

    points: Array = field(metadata=along("point", "dimension"))
    steps: Array = field(metadata=along("step"))
    distances: Array = field(metadata=along("step"))
    frames: Array = field(metadata=along("step", "point", "dimension"))
    provenance: dict[str, Any]
    references = SLICED

    def __repr__(self) -> str:
        n, d = self.points.shape
        ends = f"{self.distances[0]:.4g} to {self.distances[-1]:.4g}" if self.steps.size else "-"
        return f"SlicedFlow({n} points in {d} dimensions, distances {ends})"

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """Table of the traced distances by step; single steps say nothing of their errors.

        Returns
        -------
        pandas.DataFrame
            Columns: value; standard_error, lower and upper, which are NaN whatever the level.
        """
        unknown = (math.nan,) * 3
        return table(
            (f"step {step}", (distance, *unknown))
            for step, distance in zip(self.steps, self.distances, strict=True)
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Traced distances by step, see `smcweights.plots.flow`."""
        from .figures import flow

        return flow(self, ax)


def sliced_gradient_flow(
    x0: ArrayLike,
    y: ArrayLike,
    steps: int = 100,
    *,
    step_size: float | Callable[[int], float] | None = None,
    budget: int = 50,
    p: float = 2,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
    directions: str | ArrayLike = "auto",
    control_variates: Control = False,
    root: bool = False,
    trace: str | None = "sliced",
    trace_at: Sequence[int] | None = None,
    callback: Callable[[int, Array, float], bool | None] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> SlicedFlow:
    """Move a cloud towards another along the gradient of their sliced distance.

    Every step draws fresh directions and moves x_i by -step_size times the derivative by x_i over
    the weight a_i, which is the flow of measures: its speed doesn't depend on the number of points.

    Parameters
    ----------
    x0, y : array_like, shapes (n, d) and (m, d)
        Where it starts, and where to.
    steps : int, default 100
    step_size : float or callable, optional
        A number, by default 1 (0.5 on the line), or a function of the step's number from 0, which
        is called for every step before the first. For p = 2 the flow settles for sizes below d; a
        number from d on is refused.
    budget : int, default 50
        Most directions of a step.
    p, weights_x, weights_y, directions, control_variates, root
        As for `sliced_gradient`. The flow of Nguyen & Ho is ``root=True``, ``step_size=0.01``.
    trace : "sliced", "exact" or None, default "sliced"
        What is kept at ``trace_at``: SW_p^p by the step's own directions, or W_2^2 by an exact
        assignment (equal sizes, no weights, O(n^3)).
    trace_at : sequence of int, optional
        Steps at which, from 0 to ``steps``; by default 21 in equal distances.
    callback : callable, optional
        Called with the step's number, the points (read-only) and SW_p^p; returning True ends
        the flow.
    seed : None, int, SeedSequence or Generator
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the blocks of directions of a step are computed; worth it for large clouds only.
    progress : bool, optional
        A progress bar; by default on a terminal or in a notebook for runs over 2 s.
    checkpoint : path, optional
        File (.npz) that receives the state at least every 30 s; the same call goes on from there
        and ends with the same numbers.

    Returns
    -------
    SlicedFlow

    Raises
    ------
    ValueError, TypeError
        An argument is wrong, or the checkpoint is of another flow.
    ModelError
        ``step_size`` returned something else than a finite number from 0.
    FloatingPointError
        The points ran away: the steps are too large.

    References
    ----------
    Nguyen & Ho (2024), arXiv 2305.00402.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> y = np.random.default_rng(1).normal(size=(100, 2))
    >>> flow = smw.sliced_gradient_flow(y + 5, y, 60, step_size=1.0, seed=1)
    >>> bool(flow.distances[-1] < 1e-6 < 1 < flow.distances[0])
    True
    """
    check_checkpoint(checkpoint)
    p, root = number("p", p, 1, ends=True), flag("root", root)
    steps = count("steps", steps)
    if callback is not None:
        function("callback", callback, "of step, points and power")
    one_of("trace", trace, ("sliced", "exact", None))
    check(control_variates, p, weights_x)
    pair = pair_of(x0, y, weights_x, weights_y, p)
    if trace == "exact" and not pair.matched:
        raise ValueError("trace: 'exact' serves two clouds of the same size without weights")
    if step_size is None:
        step_size = min(1.0, pair.dimension / 2)
    sizes, traced = _step_sizes(step_size, steps), _traced(trace_at, steps)
    if p == 2 and not root and not callable(step_size) and step_size >= pair.dimension:
        raise ValueError(
            f"step_size: got {step_size!r}; expected less than {pair.dimension}, the dimension, "
            "from which on steps of p = 2 overshoot ever further"
        )
    # no standard error is asked for here: one rule of a high degree is worth more than several
    rule = plan_gradient(directions, pair.dimension, budget, control_variates, fewest=1)
    moves = _Moves(pair, rule, p, root, control_variates, sizes, trace, traced)
    arguments = {
        "steps": steps,
        "budget": rule.total,
        "p": p,
        "root": root,
        "trace": trace,
        "control_variates": control_variates,
        "directions": rule.kind if rule.given is None else digest(rule.given),
        "step_size": digest(sizes) if callable(step_size) else float(step_size),
        "trace_at": traced.tolist(),
        "x0": digest(pair.x.points),
        "y": digest(pair.y.points),
        "weights_x": digest(pair.x.masses),
        "weights_y": digest(pair.y.masses),
    }
    # distances are those of clouds moved together; points are given back where they were
    offset = np.asarray(x0, dtype=np.float64).reshape(pair.x.points.shape)[0] - pair.x.points[0]
    with open_run(
        _Blocks(pair, rule, p),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=arguments,
        seed=seed,
        total=steps,
        unit="steps",
        description="sliced gradient flow",
    ) as run:
        state = first = run.recall("flow") or _State(0, pair.x.points.astype(np.float64))
        done, spread = 0, None if executor is None else run
        for state in _states(moves, first, run.root, offset, callback, spread):
            run.advance(state.step - done)
            done = state.step
            run.remember("flow", state)
    return SlicedFlow(
        state.points + offset,
        traced[: len(state.distances)],
        np.array(state.distances),
        np.array(state.frames).reshape(-1, *pair.x.points.shape),
        provenance("sliced_gradient_flow", run.root, arguments),
    )


class _State(NamedTuple):
    """A flow before a step: the points, where their distances are computed, and what was traced."""

    step: int
    points: Array
    distances: tuple[float, ...] = ()
    frames: tuple[Array, ...] = ()


@dataclass(frozen=True)
class _Blocks:
    """Costs and gradients of blocks of directions, wherever the points have moved."""

    pair: Pair
    directions: Directions
    p: float

    def __call__(self, points: Array, theta: Array) -> tuple[Array, Array]:
        pair = self.pair.moved(points)
        costs, found = zip(*gradients(pair, self.directions, theta, self.p), strict=True)
        return np.array(costs), np.array(found)


@dataclass(frozen=True)
class _Moves:
    """What moves a cloud, and which distances are traced on the way."""

    pair: Pair
    directions: Directions
    p: float
    root: bool
    control: Control
    sizes: Array
    trace: str | None
    traced: Array


def _states(
    moves: _Moves,
    state: _State,
    seeds: np.random.SeedSequence,
    offset: Array,
    callback: Callback | None,
    run: Run[tuple[Array, Array]] | None,
) -> Iterator[_State]:
    """States that follow, one with each traced distance and one after each step."""
    rule, p, control, count = moves.directions, moves.p, moves.control, len(moves.sizes)
    x, y = moves.pair.x, moves.pair.y
    largest = max(float(np.abs(cloud.points).max()) for cloud in (x, y))
    far = (1000 * math.sqrt(x.points.shape[1]) * largest) ** p
    while True:
        step, points, distances, frames = state
        now = moves.pair.moved(points)
        theta = draw(rule, rule.blocks, generator(seeds, "step", step))
        if run is None:
            costs, gradient, _ = block_gradients(now, rule, theta, p)
        else:
            jobs = [(points, theta[a:b]) for a, b in batches(len(theta), vectorized=False)]
            parts = run.map(f"step {step}", jobs, [0] * len(jobs), kept=False)
            costs, gradient, _ = mean_gradient(
                chain.from_iterable(zip(*part, strict=True) for part in parts)
            )
        power = float(costs.mean())
        if not power <= far:
            raise FloatingPointError(
                f"step {step}: the points ran away, SW_p^p is {power:.3g}; take smaller steps"
            )
        if control:
            gradient, power = controlled(now, control, theta, costs, gradient)
        # a finished flow that is called again has this one already
        if moves.trace is not None and step in moves.traced[len(distances) :]:
            seen = power if moves.trace == "sliced" else _assignment(points, y.points)
            distances, frames = (*distances, seen), (*frames, points + offset)
            yield (state := _State(step, points, distances, frames))
        if step == count:
            return
        if callback is not None:
            shown = points + offset
            shown.flags.writeable = False
            if callback(step, shown, power) is True:
                return
        if moves.root:
            gradient *= root_slope(now, p, power)
        points = points - moves.sizes[step] * gradient / x.masses[:, None]
        yield (state := _State(step + 1, points, distances, frames))


def _traced(trace_at: Sequence[int] | None, last: int) -> NDArray[np.intp]:
    """Steps at which the distance is traced, checked."""
    at = (
        np.linspace(0, last, 21).round()
        if trace_at is None
        else np.array(
            [count("trace_at", step, 0, last) for step in several("trace_at", trace_at, "steps")]
        )
    )
    return np.unique(at).astype(int)


def _step_sizes(step_size: float | Callable[[int], float], count: int) -> Array:
    """Size of every step (count,), checked."""
    if not callable(step_size):
        return np.full(count, number("step_size", step_size, 0))
    sizes = np.empty(count)
    for step in range(count):
        try:
            with returning("step_size"):
                size = step_size(step)
        except Exception as error:
            error.add_note(f"step_size: raised for step {step}")
            raise
        try:
            sizes[step] = size
        except (TypeError, ValueError):
            sizes[step] = math.nan
        if not 0 <= sizes[step] < math.inf:
            raise ModelError(
                f"step_size: returned {size!r} for step {step}; expected a finite number from 0"
            )
    return sizes


def _assignment(x: Array, y: Array) -> float:
    """W_2^2 of two clouds of the same size, exactly."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    cost = cdist(x, y.astype(np.float64), "sqeuclidean")
    return float(cost[linear_sum_assignment(cost)].mean())
