"""Parameters that follow a stream of observations."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _compat
from ...arguments import count, number
from ...cautions import Caution
from ...errors import ModelError
from ...estimate import Estimate
from ...provenance import provenance
from ...randomness import Seed, generator, seed_sequence
from ..cloud import Cloud
from ..model import StateSpaceModel, observations
from ..series import checked_series
from ..smoothing import backward_method
from ..trial import check_time
from .ascent import average, regularised
from .differentiation import gradients
from .parameters import At, free_parameters, starting_points
from .scores import Densities, ScoredSeries, check_densities

Array = NDArray[np.float64]
FIRST_UPDATE = 20  # observations before parameters move on line
LONGEST_STEP = 3.0  # in standard deviations of the increments


def online_maximum_likelihood(
    model: StateSpaceModel,
    stream: Iterable[ArrayLike],
    theta0: ArrayLike | None,
    n_particles: int,
    *,
    free: Sequence[str | int] | None = None,
    n_backward: int = 2,
    step: float = 0.03,
    decay: float = 0.6,
    chains: int = 4,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    backward: str = "auto",
    densities: Densities | None = None,
    seed: Seed = None,
) -> Iterator[Estimate]:
    """Follow the parameters of a stream: one filter step and one gradient step per observation.

    PaRIS carries the gradient of the log joint density with every particle; the increment of its
    mean is the gradient of log p(y_t | y_0 ... y_{t-1}). Steps are scaled by the mean outer
    product of the increments, and the iterates averaged with weights that grow with time. Memory
    and time per observation don't grow.

    Parameters
    ----------
    model : StateSpaceModel
    stream : iterable of float or array_like, shape (p,)
        Observations as they arrive; NaN where missing.
    theta0, free, resampling, ess_threshold, backward, densities, seed
        As for `maximum_likelihood`.
    n_particles : int, at least 2
        The bias of PaRIS increments falls like 1/n_particles, and no length of the stream removes
        it.
    n_backward : int, default 2
        Backward draws per particle.
    step : float, default 0.03
        Size of the steps: step (1 + t/100)^-decay, in standard deviations of one increment.
    decay : float, default 0.6
        Between 0.5 and 1; 0 keeps steps constant, for parameters that drift.
    chains : int, default 4
        Independent runs on the same stream, for the Monte Carlo error.

    Yields
    ------
    Estimate
        After every observation: averaged parameters with their Monte Carlo error; NaN for the
        first 20, at which they don't move yet (a caution says so; no warning is raised). The
        steps follow the data in all chains alike, which leaves another error: one to two times
        `statistical_error`, that of the maximum for as many observations, and more on the way from
        a start that is far. Diagnostics: that, `iterates` (chains, k), `t`, `log_likelihood`.

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `maximum_likelihood`.

    References
    ----------
    Olsson & Westerborn Alenlov (2020), Particle-based online estimation of tangent filters with
    application to parameter estimation in nonlinear state-space models, Annals of the Institute
    of Statistical Mathematics 72; Le Gland & Mevel (1997), Recursive estimation in hidden Markov
    models.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(30, seed=1)
    >>> for est in online_maximum_likelihood(model, y, None, 400, free=[0], seed=1):
    ...     pass
    >>> est.diagnostics["t"], est.names
    (29, ('transition_matrix',))
    """
    chains = count("chains", chains, 2)
    starts = starting_points(model, theta0, chains)
    series = checked_series(model, [0.0], n_particles, starts[0], resampling, ess_threshold)
    chosen = free_parameters(series.model, free, searched=True)
    draws = count("n_backward", n_backward)
    backward_method(series.model, backward)
    p = ScoredSeries(series, chosen, draws, backward, densities)
    step, decay = number("step", step, 0), number("decay", decay, 0, 1, ends=True)
    if 0 < decay < 0.5:
        raise ValueError(f"decay: got {decay}; expected 0, or a number from 0.5 to 1")
    check_densities(densities)
    if isinstance(stream, str | bytes) or not isinstance(stream, Iterable):
        raise TypeError(
            f"stream: got {type(stream).__name__}; expected an iterable of observations"
        )
    stream = iter(stream)
    root = seed_sequence(seed)
    arguments = series.arguments(
        n_backward=draws,
        step=step,
        decay=decay,
        chains=chains,
        free=chosen.names,
        backward=backward,
    )
    source = provenance("online_maximum_likelihood", root, arguments)
    u = [chosen.numbers(start) for start in starts]
    return _followed(p, stream, u, (step, decay), root, source)


def _followed(
    p: ScoredSeries,
    stream: Iterator[ArrayLike],
    u: Sequence[Array],
    steps: tuple[float, float],
    root: np.random.SeedSequence,
    source: dict[str, Any],
) -> Iterator[Estimate]:
    began, free, chains = time.perf_counter(), p.free, len(u)
    runs: list[_Follower] = []
    mean, log_z = np.array(u), np.zeros(chains)
    for t, y_t in enumerate(stream):
        rows, vector = _row(y_t, t)
        if not runs:
            p = replace(p, series=replace(p.series, rows=rows, vector=vector))
            # three times, at which laws are compared
            thrice = replace(p, series=replace(p.series, rows=np.repeat(rows, 3, axis=0)))
            for start in u:
                thrice.at(free.values(start)).check()
            runs = [_Follower(p, start, generator(root, "online", c)) for c, start in enumerate(u)]
        elif rows.shape != p.series.rows.shape:
            raise ValueError(
                f"stream: {rows.shape[1]} components at time {t}; expected {p.series.rows.shape[1]}"
            )
        check_time(p.series.model, rows, vector, t, p.series.copies)
        size = steps[0] * (1 + t / 100) ** -steps[1]
        log_z += [run.update(rows, t, size) for run in runs]
        iterates = np.array([run.u for run in runs])
        # later iterates weigh more, so that the start is forgotten like t^-4
        mean += (1.0 if t < FIRST_UPDATE else 4 / (t - FIRST_UPDATE + 4)) * (iterates - mean)
        est = average(
            mean,
            free,
            method="online_maximum_likelihood",
            diagnostics={
                "t": t,
                "statistical_error": _error_of_data(runs, free.at(mean.mean(axis=0))),
                "iterates": free.values(iterates),
                "log_likelihood": float(log_z.mean()),
            },
            cost={
                "evaluations": chains * p.series.n * (t + 1),
                "seconds": time.perf_counter() - began,
            },
            provenance=source,
        )
        if np.array_equal(mean, u):
            text = f"parameters stay at their start, without an error, before time {FIRST_UPDATE}"
            # all chains are where they were put: their spread says nothing
            est = est.revised(
                covariance=np.full(2 * est.value.shape, np.nan),
                degrees_of_freedom=math.inf,
                cautions=[Caution("start", text)],
            )
        yield est


def _error_of_data(runs: Sequence[_Follower], here: At) -> Array:
    """By theta, of the maximum for as many observations: from the outer products of increments."""
    seen = runs[0].seen
    if not seen:
        return np.full(len(here.values), np.nan)
    information = regularised(seen * np.mean([run.outer for run in runs], axis=0))
    covariance = np.asarray(np.linalg.inv(information), dtype=np.float64)
    return np.asarray(np.sqrt(here.spread(covariance).diagonal()))


def _row(y_t: ArrayLike, t: int) -> tuple[Array, bool]:
    """An observation of the stream, shape (1, p), and whether it was given as an array."""
    try:
        given = np.ma.array(y_t, dtype=np.float64)
        return observations(given.reshape(1, *given.shape)), given.ndim == 1
    except (TypeError, ValueError):
        raise ValueError(
            f"stream: {y_t!r} at time {t}; expected a number or numbers of shape (p,), NaN where "
            "missing"
        ) from None


class _Follower:
    """One PaRIS filter whose parameters follow the stream."""

    def __init__(self, p: ScoredSeries, u: Array, rng: np.random.Generator) -> None:
        s, k = p.series, p.series.model.theta.size
        self.p, self.u = p, u.copy()
        self.gradients = gradients(s.model, s.rows, s.vector, p.densities)
        self.cloud = Cloud(s, rng)
        self.tau, self.total = np.zeros((s.n, k)), np.zeros(k)
        self.outer = np.zeros((len(u), len(u)))
        self.seen = 0

    def update(self, rows: Array, t: int, size: float) -> float:
        """Take y_t, move the parameters; the increment of the log likelihood."""
        cloud, n, draws, free = self.cloud, len(self.tau), self.p.n_paths, self.p.free
        places = list(free.places)
        here = free.at(self.u)
        cloud.theta[places] = here.values
        increment = float(cloud.advance(rows)[2][0])
        now, before = t % 2, (t - 1) % 2
        picks = np.zeros((n, draws), dtype=np.int32)
        if t > 0:
            picks = cloud.draw_ancestors(np.repeat(rows, t + 1, axis=0), draws, self.p.method)
        seen = bool(not np.isnan(rows).all())
        x = cloud.particles.x
        with _compat.enable_x64():
            slopes = np.asarray(
                self.gradients.scores(
                    cloud.theta,
                    x[before][picks.ravel()],
                    np.repeat(x[now], draws, axis=0),
                    rows[0] if seen else np.zeros_like(rows[0]),
                    t,
                    seen,
                )
            )
        old = self.tau[picks] if t > 0 else 0.0
        self.tau = (slopes.reshape(n, draws, -1) + old).mean(axis=1)
        total = cloud.weights @ self.tau
        if not np.isfinite(total).all():
            raise ModelError(
                f"gradient of the log densities: {total} at time {t}, theta = {cloud.theta}; "
                "expected finite numbers"
            )
        g = here.gradient((total - self.total)[places])
        self.total = total
        if not seen:  # it tells nothing of the parameters: the rest is noise
            return increment
        self.seen += 1
        self.outer += max(1 / self.seen, 0.002) * (np.outer(g, g) - self.outer)
        if t >= FIRST_UPDATE:
            matrix = np.linalg.inv(regularised(self.outer))
            length = math.sqrt(g @ matrix @ g)
            self.u = self.u + size * matrix @ g * min(1.0, LONGEST_STEP / max(length, 1e-300))
        return increment
