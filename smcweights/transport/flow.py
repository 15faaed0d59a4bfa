"""Gradients of sliced Wasserstein distances in closed form, and flows along them.

The derivative of SW_p^p by a point x_i of weight a_i is the mean over directions of
theta times the derivative of the one-dimensional cost, a_i p |gap|^(p-1) sign(gap) averaged over
the points that x_i is matched with. No control variate is used unless asked for: coefficients that
serve the value can make gradients hundreds of times worse near the end of a flow.

References: Bonneel, Rabin, Peyre & Pfister (2015); Nguyen & Ho (2024), arXiv 2305.00402.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..estimate import Estimate
from ..provenance import digest, provenance
from ..randomness import describe as describe_seed
from ..randomness import generator, seed_sequence
from ..stopping import Budget, positive_count
from .directions import Plan, draw, plan
from .sliced import Cloud, Pair, checked_order, chunk_rows, pair_of

__all__ = ["SlicedFlow", "SlicedGradient", "sliced_gradient", "sliced_gradient_flow"]

Array = NDArray[Any]

CONTROLS = (False, "lower", "upper")


@dataclass(frozen=True)
class SlicedGradient:
    """Derivative of a sliced Wasserstein distance by the points of the first cloud.

    Attributes
    ----------
    value : ndarray, shape (n, d)
    standard_error : ndarray, shape (n, d)
        From the spread of independent blocks of directions; NaN with a single block.
    distance : Estimate
        The distance itself (or its power), from the same directions.
    """

    value: Array
    standard_error: Array
    distance: Estimate

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The derivative."""
        return np.array(self.value, dtype=dtype)


def _matched(pair: Pair, theta: Array, p: float) -> tuple[Array, Array]:
    """Costs (L,) along directions (L, d), and their derivatives by projected points of x."""
    from . import kernels

    dtype = pair.x.points.dtype
    narrow = theta.astype(dtype)
    a, b = narrow @ pair.x.points.T, narrow @ pair.y.points.T
    orders = a.argsort(axis=1), b.argsort(axis=1)
    out = np.empty(len(theta))
    slope_a, slope_b = np.empty(a.shape), np.empty(b.shape)
    if pair.x.weights is None and pair.y.weights is None and a.shape == b.shape:
        kernels.equal_slopes(a, b, *orders, p, out, slope_a, slope_b)
    else:
        kernels.slopes(a, b, *orders, pair.x.masses, pair.y.masses, p, out, slope_a, slope_b)
    return out, slope_a


def _block_gradients(pair: Pair, rule: Plan, theta: Array, p: float) -> tuple[Array, Array, Array]:
    """Costs of blocks (B,), their mean gradient (n, d) and its mean square (n, d)."""
    n, d = pair.x.points.shape
    blocks, lines = theta.shape[:2]
    costs = np.empty(blocks)
    total, square = np.zeros((n, d)), np.zeros((n, d))
    step = chunk_rows(d, 3 * (n + len(pair.y.points)), 8)
    weights = rule.weights
    for k in range(blocks):
        gradient, cost = np.zeros((n, d)), 0.0
        for first in range(0, lines, step):
            part = theta[k, first : first + step]
            value, slope = _matched(pair, part, p)
            w = weights[first : first + step]
            cost += float(w @ value)
            gradient += slope.T @ (w[:, None] * part)
        costs[k] = cost
        total += gradient
        square += gradient**2
    return costs, total / blocks, square / blocks


def _controlled(
    pair: Pair, control: str, theta: Array, costs: Array, gradient: Array
) -> tuple[Array, float]:
    """Gradient and cost with the paper's control, one coefficient fitted to the values.

    As published: gamma = cov(W, C)/var(C) over single directions, held fixed in the gradient.
    """
    rows = theta.reshape(-1, theta.shape[-1])
    d, shift = rows.shape[1], pair.shift
    along = rows @ shift
    c = along**2
    mean = float(shift @ shift)
    # mean of theta theta' over the directions used, minus its own mean
    outer = rows.T @ rows / len(rows) - np.eye(d) / d
    deviation = 2 * pair.x.masses[:, None] * (shift @ outer)
    if control == "upper":
        v_x = np.einsum("ld,ld->l", rows @ pair.x.covariance, rows)
        v_y = np.einsum("ld,ld->l", rows @ pair.y.covariance, rows)
        c = c + v_x + v_y
        mean += pair.x.spread + pair.y.spread
        centred = pair.x.points - pair.x.mean
        deviation = deviation + 2 * pair.x.masses[:, None] * (centred @ outer)
    h = c - mean / d
    square = float(h @ h)
    gamma = float((costs - costs.mean()) @ h) / square if square > 0 else 0.0
    return gradient - gamma * deviation, float(costs.mean() - gamma * h.mean())


def _rule(directions: Any, d: int, budget: int, control: Any, fewest: int = 5) -> Plan:
    if d == 1:
        return Plan("uniform", 1, 1, 1, 1, np.ones((1, 1, 1)))
    if isinstance(directions, str) and directions == "exact":
        raise ValueError("directions: 'exact' has no gradient here; expected 'auto' or 'rule'")
    if control and isinstance(directions, str) and directions == "auto":
        directions = "uniform"
    total = budget if isinstance(directions, str) else None
    return plan(directions, d, total, fewest=fewest)


def _checked_control(control: Any) -> Any:
    if not any(control is known or control == known for known in CONTROLS):
        raise ValueError(f"control_variates: got {control!r}; expected one of {CONTROLS}")
    return control


def sliced_gradient(
    x: ArrayLike,
    y: ArrayLike,
    budget: int = 100,
    *,
    p: float = 2,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
    directions: Any = "auto",
    control_variates: Any = False,
    root: bool = False,
    seed: Any = None,
) -> SlicedGradient:
    """Derivative of a sliced Wasserstein distance by the points of the first cloud.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Points.
    budget : int, default 100
        Most directions.
    p : float, at least 1, default 2
    weights_x, weights_y : array_like, shapes (n,) and (m,), optional
        Positive; a point without weight has no gradient.
    directions : str or array_like, default "auto"
        As for `sliced_wasserstein`, without "exact"; turned rules or orthogonal blocks.
    control_variates : False, "lower" or "upper", default False
        The paper's, for p = 2 and single directions; not recommended, see this module's page.
    root : bool, default False
        The derivative of SW_p instead of SW_p^p; it is 0 where the distance is.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    SlicedGradient

    Raises
    ------
    ValueError, TypeError
        An argument is wrong.

    References
    ----------
    Nguyen & Ho (2024), arXiv 2305.00402.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(50, 3))
    >>> gradient = smw.sliced_gradient(x, 2 * x, 15, directions="orthogonal", seed=1)
    >>> np.allclose(gradient.value, -2 * x / 3 / 50)  # 2 a_i (x_i - y_i) / d
    True
    """
    import warnings

    from ..errors import PrecisionWarning

    began = time.perf_counter()
    p = checked_order(p)
    control = _checked_control(control_variates)
    if control and p != 2:
        raise ValueError(f"control_variates: {control!r} serves p = 2; got p = {p:g}")
    if weights_x is not None and (np.asarray(weights_x) == 0).any():
        raise ValueError("weights_x: a point has weight 0; leave it out, it has no gradient")
    pair = pair_of(x, y, weights_x, weights_y, p)
    d = pair.dimension
    rule = _rule(directions, d, Budget(budget).total, control)
    seeds = seed_sequence(seed)
    theta = draw(rule, rule.blocks, generator(seeds, "directions"))
    costs, gradient, square = _block_gradients(pair, rule, theta, p)
    blocks = len(costs)
    cautions = []
    if blocks > 1:
        error = np.sqrt(np.maximum(square - gradient**2, 0) / (blocks - 1))
        spread = float(costs.std(ddof=1)) / math.sqrt(blocks)
    elif d == 1:
        error, spread = np.zeros_like(gradient), 0.0
    else:
        error, spread = np.full_like(gradient, np.nan), math.nan
        cautions.append("one block of directions has no standard error")
    power = float(costs.mean())
    if control:
        if rule.lines > 1:
            raise ValueError("control_variates: the paper's go with directions='uniform'")
        gradient, power = _controlled(pair, control, theta, costs, gradient)
        error = np.full_like(gradient, np.nan)
        cautions.append("a coefficient fitted to the same directions leaves no standard error")
    value = power
    if root:
        # the distance itself has a kink at 0, of which 0 is a subgradient
        value = max(power, 0.0) ** (1 / p)
        slope = power ** (1 / p - 1) / p if power > 3 * pair.rounding(p, power) else 0.0
        gradient, error, spread = gradient * slope, error * slope, spread * slope
    if cautions:
        warnings.warn(f"sliced_gradient: {'; '.join(cautions)}", PrecisionWarning, stacklevel=2)
    arguments = {"budget": budget, "p": p, "control_variates": control, "root": bool(root)}
    distance = Estimate(
        value,
        spread**2,
        method="sliced Wasserstein distance",
        degrees_of_freedom=rule.degrees_of_freedom(blocks),
        diagnostics={"directions": rule.kind, "warnings": cautions},
        cost={"evaluations": rule.total, "seconds": time.perf_counter() - began},
        provenance=provenance(
            "sliced_gradient", seeds, arguments, data=[pair.x.points, pair.y.points]
        ),
    )
    return SlicedGradient(gradient, error, distance)


@dataclass(frozen=True)
class SlicedFlow:
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

    points: Array
    steps: Array
    distances: Array
    frames: Array
    provenance: dict[str, Any]

    def plot(self, ax: Any = None) -> Any:
        """Traced distances by step, see `smcweights.plots.flow`."""
        from .figures import flow

        return flow(self, ax)


def sliced_gradient_flow(
    x0: ArrayLike,
    y: ArrayLike,
    steps: int = 100,
    *,
    step_size: float | Callable[[int], float] = 1.0,
    budget: int = 50,
    p: float = 2,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
    directions: Any = "auto",
    control_variates: Any = False,
    root: bool = False,
    trace: str | None = "sliced",
    trace_at: Sequence[int] | None = None,
    callback: Callable[[int, Array, float], Any] | None = None,
    seed: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
) -> SlicedFlow:
    """Move a cloud towards another along the gradient of their sliced distance.

    Every step draws fresh directions and moves x_i by -step_size times the derivative by x_i over
    the weight a_i, which is the flow of measures: its speed doesn't depend on the number of points.

    Parameters
    ----------
    x0, y : array_like, shapes (n, d) and (m, d)
        Where it starts, and where to.
    steps : int, default 100
    step_size : float or callable, default 1.0
        A number, or a function of the step's number from 0, which is called for every step before
        the first. For p = 2 the flow settles for constant sizes below d.
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
        The points left the range of numbers: the steps are too large.

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
    from ..execution import _progress_bar

    p = checked_order(p)
    count = positive_count(steps, "steps")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: got {type(callback).__name__}; expected a function")
    control = _checked_control(control_variates)
    if control and p != 2:
        raise ValueError(f"control_variates: {control!r} serves p = 2; got p = {p:g}")
    if trace not in ("sliced", "exact", None):
        raise ValueError(f"trace: got {trace!r}; expected 'sliced', 'exact' or None")
    if not callable(step_size) and not (
        isinstance(step_size, int | float) and 0 < step_size < math.inf
    ):
        raise ValueError(f"step_size: got {step_size!r}; expected a positive number or a function")
    if weights_x is not None and (np.asarray(weights_x) == 0).any():
        raise ValueError("weights_x: a point has weight 0; leave it out, it would not move")
    pair = pair_of(x0, y, weights_x, weights_y, p)
    n, d = pair.x.points.shape
    if trace == "exact" and (
        n != len(pair.y.points) or pair.x.weights is not None or pair.y.weights is not None
    ):
        raise ValueError("trace: 'exact' serves two clouds of the same size without weights")
    # no standard error is asked for here: one rule of a high degree is worth more than several
    rule = _rule(directions, d, Budget(budget).total, control, fewest=1)
    if control and rule.lines > 1:
        raise ValueError("control_variates: the paper's go with directions='uniform'")
    wanted = np.unique(
        np.linspace(0, count, 21).round() if trace_at is None else np.asarray(trace_at)
    ).astype(int)
    if wanted.size and not 0 <= wanted[0] <= wanted[-1] <= count:
        raise ValueError(f"trace_at: got {wanted.tolist()}; expected steps from 0 to {count}")
    sizes = _step_sizes(step_size, count)
    seeds = seed_sequence(seed)
    # distances are those of clouds moved together; points are given back where they were
    offset = np.asarray(x0, dtype=np.float64).reshape(n, d)[0] - pair.x.points[0]
    arguments = {
        "steps": count, "budget": rule.total, "p": p, "root": bool(root), "trace": trace,
        "control_variates": control, "directions": rule.kind,
        "step_size": digest(sizes) if callable(step_size) else float(step_size),
        "trace_at": wanted.tolist(), "x0": digest(pair.x.points), "y": digest(pair.y.points),
        "weights_x": digest(pair.x.masses), "weights_y": digest(pair.y.masses),
    }  # fmt: skip
    points = pair.x.points.astype(np.float64)
    start = 0
    seen: list[float] = []
    frames: list[Array] = []
    if checkpoint is not None and os.path.exists(checkpoint):
        start, points, seen, frames, seeds = _resumed(checkpoint, arguments, seeds, seed)
    written = time.monotonic()
    bar = _progress_bar(progress, count, "steps", "sliced gradient flow")
    masses = pair.x.masses[:, None]
    try:
        for step in range(start, count + 1):
            moved = Cloud(points.astype(pair.x.points.dtype), pair.x.weights)
            now = Pair(moved, pair.y)
            theta = draw(rule, rule.blocks, generator(seeds, "step", step))
            costs, gradient, _ = _block_gradients(now, rule, theta, p)
            power = float(costs.mean())
            if not math.isfinite(power):
                raise FloatingPointError(
                    f"step {step}: the points left the range of numbers; take smaller steps"
                )
            if control:
                gradient, power = _controlled(now, control, theta, costs, gradient)
            # a finished flow that is called again has this one already
            if trace is not None and step in wanted[len(seen) :]:
                seen.append(power if trace == "sliced" else _assignment(points, pair.y.points))
                frames.append(points + offset)
            if step == count:
                break
            if root:
                gradient *= power ** (1 / p - 1) / p if power > 3 * now.rounding(p, power) else 0.0
            if callback is not None:
                shown = points + offset
                shown.flags.writeable = False
                if callback(step, shown, power) is True:
                    break
            points = points - sizes[step] * gradient / masses
            if bar is not None:
                bar.update(1)
            if checkpoint is not None and time.monotonic() - written > 30:
                _keep(checkpoint, arguments, seeds, step + 1, points, seen, frames)
                written = time.monotonic()
        if checkpoint is not None:
            _keep(checkpoint, arguments, seeds, step, points, seen, frames)
    finally:
        if bar is not None:
            bar.close()
    return SlicedFlow(
        points + offset,
        wanted[: len(seen)],
        np.array(seen),
        np.array(frames).reshape(len(frames), n, d),
        provenance("sliced_gradient_flow", seeds, arguments),
    )


def _step_sizes(step_size: Any, count: int) -> Array:
    """Size of every step (count,), checked."""
    from ..errors import ModelError

    if not callable(step_size):
        return np.full(count, float(step_size))
    sizes = np.empty(count)
    for step in range(count):
        try:
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


def _keep(
    path: Any, arguments: dict, seeds: Any, step: int, points: Array, seen: list, frames: list
) -> None:
    """Write the state in one step: a kill leaves the old file or the new one."""
    import secrets

    header = json.dumps({"arguments": arguments, "seed": describe_seed(seeds), "step": step})
    path = os.path.realpath(os.fspath(path))
    partial = f"{path}.{secrets.token_hex(8)}.partial"
    with open(partial, "xb") as file:
        np.savez(
            file,
            header=np.frombuffer(header.encode(), dtype=np.uint8),
            points=points,
            seen=np.array(seen),
            frames=np.array(frames),
        )
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _resumed(
    path: Any, arguments: dict, seeds: Any, seed: Any
) -> tuple[int, Array, list, list, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            state = archive["points"], list(archive["seen"]), list(archive["frames"])
            found, step = header["arguments"], int(header["step"])
            kept = seed_sequence(header["seed"])
    except Exception as error:
        raise ValueError(
            f"checkpoint: {path} can't be read as that of a flow ({error}); it was left as it is"
        ) from error
    for name, value in json.loads(json.dumps(arguments)).items():
        if found.get(name) != value:
            raise ValueError(
                f"checkpoint: {path} belongs to a flow with another {name}; use the same "
                "arguments, or another path"
            )
    if seed is not None and describe_seed(kept) != describe_seed(seeds):
        raise ValueError(f"checkpoint: {path} belongs to a flow with another seed")
    return step, *state, kept
