"""Parameters that follow a stream of observations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _compat
from ...errors import ModelError
from ...estimate import Estimate
from ...provenance import provenance
from ...randomness import generator, seed_sequence
from ...resampling import SCHEMES
from ..cloud import Cloud
from ..differentiation import check_laws, gradients
from ..model import StateSpaceModel, choice, count, observations, raise_status
from ..series import Series, check_common
from ..smoothing import backward_method
from .ascent import regularised, search_average
from .parameters import (
    check_searchable,
    free_places,
    from_theta,
    parameter_names,
    starting_points,
    to_theta,
    transforms_of,
    with_free,
)

__all__ = ["online_maximum_likelihood"]

Array = NDArray[np.float64]
FIRST_UPDATE = 20  # observations before parameters move on line


def online_maximum_likelihood(
    model: StateSpaceModel,
    stream: Iterable[Any],
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
    densities: Mapping[str, Callable[..., Any]] | None = None,
    seed: Any = None,
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
    theta0, free, resampling, ess_threshold, backward, densities
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
    seed : None, int, SeedSequence or Generator

    Yields
    ------
    Estimate
        After every observation: averaged parameters with their Monte Carlo error; NaN for the
        first 20, at which they don't move yet (the diagnostics say so; no warning is raised). The
        steps follow the data in all chains alike, which leaves another error, about as large as
        that of the data themselves. Diagnostics: `iterates` (chains, k), `t`, `log_likelihood`.

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
    >>> model = models.stochastic_volatility(0.9, 0.3)
    >>> _, y = model.simulate(30, seed=1)
    >>> for est in online_maximum_likelihood(model, y, None, 50, free=["scale"], seed=1):
    ...     pass
    >>> est.diagnostics["t"], est.names
    (29, ('scale',))
    """
    chains = count("chains", chains, 2)
    starts = starting_points(model, theta0, chains)
    places = list(free_places(model, free))
    check_searchable(model, places)
    draws = count("n_backward", n_backward)
    model, _, _, n = check_common(model, [0.0], n_particles, starts[0], ess_threshold)
    choice("resampling", resampling, SCHEMES)
    method = backward_method(model, backward)
    numbers = all(isinstance(v, Real) for v in (step, decay))
    if not (numbers and step > 0 and (decay == 0 or 0.5 <= decay <= 1)):
        raise ValueError(
            f"step, decay: got {step!r}, {decay!r}; expected a positive number, and 0 or one from "
            "0.5 to 1"
        )
    try:
        stream = iter(stream)
    except TypeError:
        raise TypeError(
            f"stream: got {type(stream).__name__}; expected an iterable of observations"
        ) from None
    transforms = transforms_of(model, places)
    names = [parameter_names(model)[k] for k in places]
    u = [from_theta(start[places], transforms, names) for start in starts]
    root = seed_sequence(seed)
    source = provenance(
        "online_maximum_likelihood", root,
        {"model": model, "n_particles": n, "n_backward": draws, "step": step, "decay": decay,
         "chains": chains, "free": names, "resampling": resampling,
         "ess_threshold": float(ess_threshold), "backward": backward},
    )  # fmt: skip
    settings = (n, draws, method, resampling, float(ess_threshold), places, transforms, densities)
    return _followed(model, stream, u, names, settings, float(step), float(decay), root, source)


def _followed(model, stream, u, names, settings, step, decay, root, source):
    n, places, transforms = settings[0], settings[5], settings[6]
    began = time.perf_counter()
    runs: list[_Follower] = []
    mean = np.array(u)
    log_z = np.zeros(len(u))
    for t, y_t in enumerate(stream):
        try:
            given = np.ma.array(y_t, dtype=np.float64)
            rows = observations(given.reshape(1, *given.shape))
        except (TypeError, ValueError):
            raise ValueError(
                f"stream: {y_t!r} at time {t}; expected a number or numbers of shape (p,), NaN "
                "where missing"
            ) from None
        if not runs:
            vector = given.ndim == 1
            for start in u:
                at = with_free(model, places, to_theta(start, transforms)[0])
                check_laws(at, np.repeat(rows, 3, axis=0), vector, places, settings[7])
            runs = [
                _Follower(model, rows, vector, settings, start, generator(root, "online", c))
                for c, start in enumerate(u)
            ]
        elif rows.shape[1] != runs[0].columns:
            raise ValueError(
                f"stream: {rows.shape[1]} components at time {t}; expected {runs[0].columns}"
            )
        for c, run in enumerate(runs):
            log_z[c] += run.update(rows, t, step * (1 + t / 100) ** -decay)
        iterates = np.array([run.u for run in runs])
        # later iterates weigh more, so that the start is forgotten like t^-4
        mean += (1.0 if t < FIRST_UPDATE else 4 / (t - FIRST_UPDATE + 4)) * (iterates - mean)
        theta = to_theta(iterates, transforms)[0]
        diagnostics = {"t": t, "iterates": theta, "log_likelihood": float(log_z.mean())}
        est, _ = search_average(
            mean[:, None], transforms, names, diagnostics,
            {"evaluations": len(runs) * n * (t + 1), "seconds": time.perf_counter() - began},
            source, "online_maximum_likelihood",
        )  # fmt: skip
        if t < FIRST_UPDATE:
            text = f"parameters stay at their start, without an error, before time {FIRST_UPDATE}"
            # all chains are where they were put: their spread says nothing
            est = Estimate(
                est.value, np.full(2 * est.value.shape, np.nan), names=names, method=est.method,
                diagnostics={**diagnostics, "warnings": [text]}, cost=est.cost, provenance=source,
            )  # fmt: skip
        yield est


class _Follower:
    """One PaRIS filter whose parameters follow the stream."""

    def __init__(self, model, rows, vector, settings, u, rng):
        n, draws, self.method, scheme, threshold, places, self.transforms, densities = settings
        self.places, self.u, self.columns = places, u.copy(), rows.shape[1]
        self.gradients = gradients(model, rows, vector, densities)
        self.cloud = Cloud(Series(model, rows, vector, n, scheme, threshold), rng)
        self.picks = np.zeros((n, draws), dtype=np.int32)
        self.tau = np.zeros((n, model.theta.size))
        self.total = np.zeros(model.theta.size)
        self.outer = np.zeros((len(places), len(places)))

    def update(self, rows: Array, t: int, size: float) -> float:
        """Take y_t, move the parameters; the increment of the log likelihood."""
        from .. import learning_kernels

        cloud, (n, draws) = self.cloud, self.picks.shape
        value, first, _ = to_theta(self.u, self.transforms)
        cloud.theta[self.places] = value
        increment = float(cloud.advance(rows)[2][0])
        now, before = t % 2, (t - 1) % 2
        if t > 0:
            learning_kernels.backward_draws(
                cloud.loops[3], cloud.loops[4], cloud.rng, cloud.theta, self.method, t,
                cloud.x[before], cloud.log_w[before], cloud.x[now], cloud.ancestors[now],
                self.picks, cloud.status,
            )  # fmt: skip
            raise_status(cloud.status, np.repeat(rows, t + 1, axis=0), cloud.x)
        seen = bool(not np.isnan(rows).all())
        x = np.repeat(cloud.x[now], draws, axis=0)
        with _compat.enable_x64():
            slopes = np.asarray(self.gradients.scores(
                cloud.theta, cloud.x[before][self.picks.ravel()], x,
                rows[0] if seen else np.zeros_like(rows[0]), t, seen,
            ))  # fmt: skip
        old = self.tau[self.picks] if t > 0 else 0.0
        self.tau = (slopes.reshape(n, draws, -1) + old).mean(axis=1)
        total = cloud.weights @ self.tau
        if not np.isfinite(total).all():
            raise ModelError(
                f"gradient of the log densities: {total} at time {t}, theta = {cloud.theta}; "
                "expected finite numbers"
            )
        g = (total - self.total)[self.places] * first
        self.total = total
        share = max(1 / (t + 1), 0.002)
        self.outer += share * (np.outer(g, g) - self.outer)
        if t >= FIRST_UPDATE:
            matrix = np.linalg.inv(regularised(self.outer))
            length = math.sqrt(g @ matrix @ g)
            self.u = self.u + size * matrix @ g * min(1.0, 3.0 / max(length, 1e-300))
        return increment
