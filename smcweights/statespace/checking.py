"""`check_model`: do the samplers of a model, its densities and its bound agree?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count
from ..errors import ModelError
from ..randomness import generator, seed_sequence
from .compilation import compiled
from .model import StateSpaceModel, observations, python_of
from .trial import check_functions, tell_of_misses

Array = NDArray[np.float64]
FEW_DRAWS = 2_000  # of functions that are called as plain Python


def check_model(
    model: StateSpaceModel, y: ArrayLike, *, n_draws: int = 20_000, seed: Any = None
) -> None:
    """Check that a model compiles, and that its samplers and densities agree.

    Draws of a sampler are compared with the integrals of its density, estimated by importance
    sampling from a normal law around the draws: over a box that holds most of them (is the density
    normalised?), and over its lower half and its middle half in every component (does it have the
    draws' location and spread?). States and observations on a lattice: shares of the values drawn
    are compared with their probabilities. So are tried

    - `transition_logpdf`, from five simulated states at times spread over those of y;
    - `initial_logpdf`;
    - `observation_logpdf` where the model has `observation_sample`, at three of the states.

    The bound is compared with the density at the draws.

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p)
        Observations, for their shape and number.
    n_draws : int
        Draws from each of the states, at least 100; of the initial law and of observations 2,000
        at most.
    seed : None, int, SeedSequence or Generator

    Raises
    ------
    ModelError
        A function does not compile or raises, or sampler and density disagree by more than six
        standard errors: a false alarm in fewer than one of 100,000 checks.

    Warns
    -----
    PrecisionWarning
        `observation_logpdf` gives a number for a row of NaNs, which weighs nothing.

    Notes
    -----
    Errors of some 5 % of the standard deviation, or of the integral, are seen with 20,000 draws.
    Laws with atoms and a continuous part, and what lies in the outer 2 % of the draws, are only
    checked for finite densities.

    Examples
    --------
    >>> from smcweights import models
    >>> check_model(models.linear_gaussian(0.9, 1.0, 1.0, 1.0), [0.1, -0.2], seed=1)
    """
    from . import kernels

    rows, vector = observations(y), np.ndim(y) == 2
    check_functions(model, rows, vector)
    tell_of_misses(model, rows, vector)
    functions = compiled(model, vector)
    rng = generator(seed_sequence(seed), "check_model")
    n_draws = count("n_draws", n_draws, 100)
    few = min(n_draws, FEW_DRAWS)
    theta = model.theta.copy()
    n_steps = len(rows)

    def first(n: int) -> Array:
        x = np.empty((n, model.dim))
        functions.start(rng, x, rows, 0, np.zeros(n), -1, theta)
        return x

    def moved(origin: Array, ancestors: NDArray[np.int32], t: int) -> Array:
        x = np.empty((len(ancestors), model.dim))
        row = min(t, n_steps - 1)
        functions.move(rng, origin, ancestors, x, rows, row, t, np.zeros(len(x)), -1, theta)
        return x

    def state(x: Array) -> Any:
        return float(x[0]) if model.state_dim is None else x.copy()

    initial_logpdf = _plain(model.initial_logpdf)
    _agree(
        "initial_sample and initial_logpdf",
        first(few),
        first(few),
        rng,
        lambda x: np.array([initial_logpdf(state(a), theta) for a in x]),
    )
    times = np.unique(np.linspace(1, max(n_steps - 1, 1), 5).astype(int))
    x, everyone, now = first(5), np.arange(5, dtype=np.int32), 0
    visited = [(0, x[0].copy())]
    for t in np.repeat(times, -(-5 // len(times)))[:5]:
        while now < t - 1:
            now += 1
            x = moved(x, everyone, now)
        k = len(visited) - 1
        if not np.isfinite(x[k]).all():
            raise ModelError(f"transition_sample: returned {x[k]} at time {now}")
        origin = np.ascontiguousarray(x[k][None])
        nobody = np.zeros(n_draws, dtype=np.int32)
        draws, others = moved(origin, nobody, t), moved(origin, nobody, t)
        visited.append((int(t), others[0]))

        def density(to: Array, origin: Array = origin, t: int = int(t)) -> Array:
            found = np.empty(len(to))
            kernels.ready(kernels.densities_from)(functions.pair, origin, to, t, theta, found)
            return found

        log_p = _agree(
            f"transition_sample and transition_logpdf from state {origin[0]} at time {t}",
            draws,
            others,
            rng,
            density,
        )
        if functions.bounded and log_p.max() > functions.bound(t, theta) + 1e-9:
            raise ModelError(
                f"transition_logpdf_bound: {functions.bound(t, theta)} at time {t}, but the "
                f"density reaches {log_p.max()}; expected an upper bound"
            )
    if model.observation_sample is None:
        return
    sample, logpdf = python_of(model.observation_sample), _plain(model.observation_logpdf)
    for t, at in (visited[0], visited[-2], visited[-1]):
        both = np.array(
            [sample(rng, state(at), t, theta) for _ in range(2 * few)], dtype=np.float64
        ).reshape(2, few, -1)
        if both.shape[2] != rows.shape[1]:
            raise ModelError(
                f"observation_sample: returned {both.shape[2]} numbers; expected {rows.shape[1]}, "
                "as y has"
            )
        _agree(
            f"observation_sample and observation_logpdf at state {at}, time {t}",
            both[0],
            both[1],
            rng,
            lambda seen, t=t, at=at: np.array(
                [logpdf(row if vector else float(row[0]), state(at), t, theta) for row in seen]
            ),
        )


def _plain(function: Any) -> Callable[..., float]:
    """A density as plain Python, NaN where Python's math refuses."""
    own = python_of(function)

    def value(*arguments: Any) -> float:
        try:
            return float(own(*arguments))
        except (ArithmeticError, ValueError):
            return math.nan

    return value


def _agree(
    what: str, pilot: Array, x: Array, rng: np.random.Generator, log_density: Callable[..., Array]
) -> Array:
    """Compare draws with their density; log densities at the draws `x`.

    `pilot` tells where to look, so that `x` is independent of the regions.
    """
    n, d = x.shape
    with np.errstate(all="ignore"):
        log_p = log_density(x)
    if not (np.isfinite(x).all() and np.isfinite(log_p).all()):
        bad = int(np.argmin(np.isfinite(x).all(axis=1) & np.isfinite(log_p)))
        raise ModelError(f"{what} disagree: log density {log_p[bad]} at {x[bad]}, which was drawn")
    values, counts = np.unique(pilot, axis=0, return_counts=True)
    if len(values) <= n // 10:
        seen = values[counts >= 10]
        with np.errstate(all="ignore"):
            probabilities = np.exp(log_density(seen))
        for value, p in zip(seen, probabilities, strict=True):
            share = (x == value).all(axis=1).mean()
            # at least the error of an event seen ten times
            error = math.sqrt(max(share * (1 - share), p * (1 - min(p, 1.0)), 10 / n) / n)
            _judge(what, f"at {value}", share, p, error)
        return log_p
    # a component that moves by rule, such as an older state that is carried along, has no density
    free = np.flatnonzero(np.ptp(pilot, axis=0) > 0)
    tail = min(0.02, 0.2 / d)
    low, quarter, middle, three, high = np.quantile(
        pilot, [tail, 0.25, 0.5, 0.75, 1 - tail], axis=0
    )
    clipped = np.clip(pilot, low, high)
    centre, scale = clipped.mean(axis=0), clipped.std(axis=0)[free]
    correlation = np.corrcoef(clipped[:, free].T).reshape(free.size, free.size)
    if len(values) < 0.99 * n or not np.linalg.eigvalsh(correlation)[0] > 1e-8:
        return log_p
    # somewhat wider than the draws
    root = 1.1 * scale[:, None] * np.linalg.cholesky(correlation)

    def inside(a: Array) -> Array:
        return ((a >= low) & (a <= high)).all(axis=1)

    def log_normal(a: Array) -> Array:
        z = np.linalg.solve(root, (a - centre)[:, free].T)
        size = np.log(np.diag(root)).sum() + 0.5 * free.size * math.log(2 * math.pi)
        return -0.5 * (z * z).sum(axis=0) - size

    probe = np.tile(pilot[0], (n, 1))
    probe[:, free] = centre[free] + rng.standard_normal((n, free.size)) @ root.T
    probe = probe[inside(probe)]
    with np.errstate(all="ignore"):
        # outside of its support a density may be anything that is no number
        ratio = np.nan_to_num(np.exp(log_density(probe) - log_normal(probe)), nan=0.0)
        # the same second moment from the draws: they see what is too narrow for the probes
        excess = np.clip(log_p - log_normal(x), -700.0, 700.0)
        weight, inverse = np.exp(excess), np.exp(-excess)
    kept = inside(x)
    # draws of a normalised density have E[q(X)/p(X)] <= 1: a billion has a chance of 1e-9
    if (inverse * kept).mean() > 1e9:
        raise ModelError(f"{what} disagree: the density is all but zero where draws are")
    regions: list[tuple[str, Any]] = [("the box that holds most", lambda a: np.full(len(a), True))]
    for j in free:
        part = "" if d == 1 else f" of component {j}"
        regions.append((f"the lower half{part}", lambda a, j=j: a[:, j] < middle[j]))
        regions.append(
            (
                f"the middle half{part}",
                lambda a, j=j: (a[:, j] > quarter[j]) & (a[:, j] < three[j]),
            )
        )
    for name, region in regions:
        hit, mine = kept & region(x), ratio * region(probe)
        share, integral = hit.mean(), mine.sum() / n
        moment = max((mine**2).sum() / n - integral**2, (weight * hit).mean() - share**2, 0.0)
        _judge(what, f"in {name}", share, integral, math.sqrt((share * (1 - share) + moment) / n))
    return log_p


def _judge(what: str, where: str, share: float, integral: float, error: float) -> None:
    if not abs(integral - share) <= 6 * error:
        raise ModelError(
            f"{what} disagree: a share of {share:.4g} of the draws is {where}, the density gives "
            f"{integral:.4g} (+- {error:.2g}); expected the same, and a normalised density"
        )
