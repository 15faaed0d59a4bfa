"""PaRIS: smoothed expectations of additive functionals, on line.

Every particle carries an estimate of E[h(x_0 ... x_t) | x_t = particle, y], updated by a few draws
from the particle's possible ancestors, or along its own as long as the particles descend from many.
The cost is linear in the particles, the memory constant in time.

The estimate has a bias of order T/N, which independent runs share and no interval shows. It is
watched from the runs' likelihoods: the bias is minus the covariance of a run's estimate with its
likelihood, relative to the mean likelihood, because the product of the two is unbiased.
`smcweights.parisian_particle_gibbs` removes it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, number, one_of
from ..cautions import Caution, tell
from ..errors import ModelError
from ..estimate import Estimate
from ..execution import check_checkpoint, root_of
from ..provenance import described, provenance
from ..randomness import describe, generator, seed_sequence
from .checking import NEEDED, check_moves
from .cloud import Cloud
from .compilation import Added, check_functional, compiled_functional
from .filtering import small_samples
from .functionals import Functional
from .model import StateSpaceModel, needed
from .series import Series, arrived, checked_series, one_time, side_by_side

Array = NDArray[np.float64]
BACKWARD = ("auto", "rejection", "exact", "mcmc")


def backward_method(model: StateSpaceModel, method: str) -> int:
    """Number of the backward draw in the kernels."""
    from . import kernels

    one_of("backward", method, BACKWARD)
    bounded = model.transition_logpdf_bound is not None
    if method == "rejection" and not bounded:
        raise ValueError(
            "backward: rejection needs the model's transition_logpdf_bound; expected 'mcmc' or "
            "'exact'"
        )
    if method == "auto":
        method = "rejection" if bounded else "mcmc"
    return {"exact": kernels.EXACT, "rejection": kernels.HYBRID, "mcmc": kernels.MCMC}[method]


class Sums(NamedTuple):
    """What PaRIS adds up, by how many backward draws, and how they are made."""

    functional: Callable[..., ArrayLike] | Functional
    initial_functional: Callable[..., ArrayLike] | None
    n_backward: int
    backward: str
    backward_ess: float = 1.0

    def compiled(self, series: Series, *, stream: bool = False) -> Added:
        """The functional compiled, after the model, which is checked, where that is no stream."""
        check_functional(*self[:2])
        backward_method(series.model, self.backward)
        needed(series.model, ("transition_logpdf",), NEEDED)
        if not stream:
            check_moves(series.model, series.rows, series.vector)
            series.functions()
        return compiled_functional(series.model, *self[:2], len(series.rows))

    def cloud(self, series: Series, rng: np.random.Generator, *, kept: bool = False) -> Cloud:
        """Particles that carry these sums; all times of the series are kept, or two."""
        n_steps = len(series.rows)
        return Cloud(
            series,
            rng,
            depth=n_steps if kept else 2,
            sums=compiled_functional(series.model, *self[:2], n_steps),
            draws=self.n_backward,
            fewest=0 if self.backward_ess == 1 else math.ceil(self.backward_ess * series.n),
            method=backward_method(series.model, self.backward),
            backward_depth=n_steps if kept else 1,
        )


def paris(
    model: StateSpaceModel,
    y: ArrayLike,
    functional: Callable[..., Any] | Functional,
    n_particles: int,
    *,
    initial_functional: Callable[..., Any] | None = None,
    n_backward: int = 2,
    backward_ess: float = 0.3,
    theta: ArrayLike | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    backward: str = "auto",
    repeats: int = 8,
    names: list[str] | None = None,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Estimate:
    """Smoothed expectations E[h(x_0 ... x_{T-1}) | y] of additive functionals.

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p)
        Observations; a row of NaNs is missing.
    functional : callable or one of `smcweights.functionals`
        (x_prev, x, t) -> float or (J,): the terms of t = 1 ... T-1; compiled by numba.
    n_particles : int, at least 2
        In each of the repeats.
    initial_functional : callable, optional
        (x) -> the same shape: the term of t = 0, default 0.
    n_backward : int, default 2
        Backward draws per particle; with 1 the variance grows much faster with T.
    backward_ess : float, default 0.3
        Backward draws are made when the particles that had the last ones are left with an
        effective share below this, by the weights of their descendants; between, sums go on along
        the filter's own ancestors. Above 0, at most 1: at every time. With 0.3 the variance is
        about that of 1, at .58 to .14 of the time
        (``benchmarks/statespace_coverage.py adaptive``).
    theta, resampling, ess_threshold, seed, executor, progress, checkpoint
        As for `particle_filter`.
    backward : {"auto", "rejection", "exact", "mcmc"}
        How an ancestor is drawn: by rejection, and exactly after N tries (the same law at bounded
        cost); exactly, at a cost of N; or by one Metropolis step. "auto" is rejection where the
        model states its bound, else mcmc.
    repeats : int, default 8
        Independent runs: the estimate is their mean, and its error comes from their spread. With
        one there is no standard error.
    names : list of str, optional
        Names of the sums.

    Returns
    -------
    Estimate
        Shape () for a functional that returns a float, else (J,). Diagnostics: `bias_estimate`
        (noisy), `standard_deviation_of_log_likelihood`, `smallest_ess`, `tries_per_draw`.

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `particle_filter`.

    Warns
    -----
    PrecisionWarning
        The bias may exceed the standard error, or an effective sample size is below 10.

    References
    ----------
    Olsson & Westerborn (2017), Efficient particle-based online smoothing in general hidden Markov
    models: the PaRIS algorithm, Bernoulli 23; Dau & Chopin (2022), arXiv 2207.00976, for the
    backward draws; Mastrototaro, Olsson & Alenlov (2021), Fast and numerically stable
    particle-based online additive smoothing: the AdaSmooth algorithm, arXiv 2108.00432.

    Examples
    --------
    >>> from smcweights import functionals, models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(20, seed=1)
    >>> paris(model, y, functionals.sum_of_states, 2_000, seed=1).value.shape
    ()
    """
    check_checkpoint(checkpoint)
    began = time.perf_counter()
    series = checked_series(model, y, n_particles, theta, resampling, ess_threshold)
    draws, share = count("n_backward", n_backward), _share(backward_ess)
    sums = Sums(functional, initial_functional, draws, backward, share)
    repeats = count("repeats", repeats)
    added = sums.compiled(series)
    labels, root = added.labels(names), root_of(seed, checkpoint)
    job = partial(_smoothed, series, sums, describe(root))
    jobs = [(r,) for r in range(repeats)]
    arguments = series.arguments(**sums._asdict(), repeats=repeats)
    asked = {**arguments, "y": series.rows}
    way = (executor, progress, checkpoint, asked)
    runs = side_by_side(job, jobs, "paris", "runs", root, *way)
    found = Runs(
        np.array([entry["sums"] for entry in runs]),
        np.array([entry["log_z"] for entry in runs]),
        np.sum([entry["tally"] for entry in runs], axis=0),
        np.min([entry["ess"] for entry in runs], axis=0),
    )
    evaluations = series.n * len(series.rows) * repeats
    cost = {"evaluations": evaluations, "seconds": time.perf_counter() - began}
    source = provenance("paris", root, arguments, series.rows)
    return _pooled(found, "paris", added.scalar, labels, cost, source)


def _share(backward_ess: float) -> float:
    """The share of effective particles below which backward draws are made, checked."""
    share = number("backward_ess", backward_ess, 0, 1, ends=True)
    if share == 0:
        raise ValueError("backward_ess: got 0; expected a number above 0, at most 1")
    return share


def _smoothed(series: Series, sums: Sums, root: dict[str, Any], r: int) -> dict[str, Any]:
    """One run of several."""

    def begin() -> Cloud:
        return sums.cloud(series, generator(seed_sequence(root), "paris", r))

    cloud = begin()
    _, ess, increments = cloud.advance(series.rows)
    if not np.isfinite(cloud.sums).all():
        raise functional_error(begin(), series.rows)
    return {
        "sums": cloud.sums,
        "log_z": np.array(increments.sum()),
        "ess": ess,
        "tally": cloud.report.tally,
    }


def functional_error(cloud: Cloud, rows: Array) -> ModelError:
    """Where sums stop to be finite, from a second run of the same particles, one time by one."""
    for t in range(len(rows)):
        cloud.advance(rows[t : t + 1])
        sums = cloud.particles.tau[t % 2]
        if not np.isfinite(sums).all():
            value = sums[~np.isfinite(sums)][0]
            name = "functional" if t else "initial_functional"
            return ModelError(f"{name}: {value} at time {t}; expected finite numbers")
    return ModelError("functional: a sum is NaN or infinite; expected finite numbers")


class Runs(NamedTuple):
    """Sums (r, J) and log likelihoods (r,) of runs, their draws; smallest sizes from `first` on."""

    sums: Array
    log_z: Array
    tally: NDArray[np.int64]
    ess: Array
    first: int = 0


def _pooled(
    runs: Runs,
    method: str,
    scalar: bool,
    names: Sequence[str] | None,
    cost: dict[str, float],
    source: dict[str, Any],
    told: set[str] | None = None,
) -> Estimate:
    """Mean of independent runs, with what their likelihoods say about its bias."""
    sums, log_z, tally, ess, times = runs
    r, j = sums.shape
    value = sums.mean(axis=0)
    cautions = small_samples(ess, times)
    diagnostics: dict[str, Any] = {
        "smallest_ess": float(ess.min()),
        "time_of_smallest_ess": times + int(ess.argmin()),
        "tries_per_draw": float(tally[1] / max(tally[0], 1)),
        "exact_share": float(tally[2] / max(tally[0], 1)),
        "log_likelihood": float(log_z.mean()),
    }
    factor = np.full((j, 1), np.nan)
    if r > 1:
        factor = ((sums - value) / math.sqrt(r * (r - 1))).T
        error = np.sqrt((factor**2).sum(axis=1))
        spread = float(log_z.std(ddof=1))
        z = np.exp(log_z - log_z.max())
        bias = -((z / z.mean() - 1)[:, None] * (sums - value)).sum(axis=0) / (r - 1)
        diagnostics |= {"bias_estimate": bias, "standard_deviation_of_log_likelihood": spread}
        # with a spread below 1 the noise of the bias estimate is below the standard error
        if spread > 1 or (np.abs(bias) > 1.5 * error).any():
            text = (
                "the bias of PaRIS, of order T/N, may exceed the standard error, which does not "
                "contain it; use more particles, or parisian_particle_gibbs"
            )
            cautions.append(Caution("bias", text))
    else:
        text = "a single run has no standard error; expected repeats=8 or so"
        cautions.append(Caution("single-run", text))
    tell(method, cautions, told)
    common: dict[str, Any] = {
        "names": names,
        "method": method,
        "degrees_of_freedom": float(max(r - 1, 1)),
        "diagnostics": diagnostics,
        "cautions": cautions,
        "cost": cost,
        "provenance": source,
        "columns": ["bias_estimate"] if r > 1 else [],
    }
    if scalar:
        if r > 1:
            diagnostics["bias_estimate"] = float(diagnostics["bias_estimate"][0])
        return Estimate(value[0], float((factor**2).sum()), **common)
    return Estimate(value, factor=factor, **common)


class OnlineSmoother:
    """PaRIS for observations that arrive one by one; memory does not grow with time.

    Parameters
    ----------
    model : StateSpaceModel
    functional, n_particles, initial_functional, n_backward, backward_ess
        As for `paris`.
    resampling, ess_threshold, backward
        As for `paris`.
    repeats : int, default 8
        Independent runs side by side, for the standard error.
    names : list of str, optional
    seed : None, int, SeedSequence or Generator

    Attributes
    ----------
    t : int
        Observations taken so far.
    log_likelihood : float
        Mean over the runs of their estimates of log p(y_0 ... y_{t-1}).

    Raises
    ------
    TypeError, ValueError, ModelError
        As for `paris`; a functional whose size depends on T can't be smoothed on line.

    Examples
    --------
    >>> from smcweights import functionals, models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> smoother = OnlineSmoother(model, functionals.sum_of_states, 1_000, seed=1)
    >>> for y_t in [0.3, 0.1, -0.4]:
    ...     est = smoother.update(y_t)
    >>> smoother.t, est.value.shape
    (3, ())
    """

    def __init__(
        self,
        model: StateSpaceModel,
        functional: Callable[..., Any] | Functional,
        n_particles: int,
        *,
        initial_functional: Callable[..., Any] | None = None,
        n_backward: int = 2,
        backward_ess: float = 0.3,
        resampling: str = "systematic",
        ess_threshold: float = 0.5,
        backward: str = "auto",
        repeats: int = 8,
        names: list[str] | None = None,
        seed: Any = None,
    ) -> None:
        told = (None, resampling, ess_threshold)
        self._series = checked_series(model, [0.0], n_particles, *told, stream=True)
        if isinstance(functional, Functional) and functional.per_time:
            raise ValueError("functional: its size grows with T; expected one of fixed size")
        self._repeats = count("repeats", repeats)
        draws, share = count("n_backward", n_backward), _share(backward_ess)
        self._sums = Sums(functional, initial_functional, draws, backward, share)
        self._added = self._sums.compiled(self._series, stream=True)
        self._names = self._added.labels(names)
        self._root = seed_sequence(seed)
        self._clouds: list[Cloud] = []
        self._log_z = np.zeros(self._repeats)
        self._smallest = (math.inf, 0)
        self._seconds = 0.0
        self._told: set[str] = set()
        given = self._series.arguments(**self._sums._asdict(), repeats=self._repeats)
        self._arguments = described(given)
        self.t = 0

    def __repr__(self) -> str:
        size = f"{self._repeats} runs of {self._series.n:,} particles"
        return f"OnlineSmoother, {size}, t = {self.t}"

    @property
    def log_likelihood(self) -> float:
        """Mean over the runs of the log likelihood so far."""
        return float(self._log_z.mean())

    def update(self, y_t: ArrayLike, u_t: ArrayLike | None = None) -> Estimate:
        """Take the next observation.

        Parameters
        ----------
        y_t : float or array_like, shape (p,)
            NaN where missing.
        u_t : float or array_like, shape (k,), optional
            The inputs of this time, where the model takes some and does not have them.

        Returns
        -------
        Estimate
            Of E[h(x_0 ... x_t) | y_0 ... y_t].

        Raises
        ------
        TypeError, ValueError, ModelError, DegeneracyError
            As for `paris`. The observation is then not taken, and leaves no trace: go on with the
            next one, or with NaN in its place.

        Warns
        -----
        PrecisionWarning
            As `paris`, once for each cause; ``cautions`` have it every time.
        """
        self.extend(*one_time(y_t, u_t))
        return self.estimate()

    def extend(self, y: ArrayLike, u: ArrayLike | None = None) -> None:
        """Take several observations, shape (T,) or (T, p), without an estimate in between.

        With their inputs, shape (T, k), where the model takes some and does not have them.

        An error leaves no trace of any of them.
        """
        began = time.perf_counter()
        series = arrived(self._series, y, self.t, u)
        if not self.t:
            check_moves(series.model, series.rows, series.vector)
        clouds = self._clouds or [
            self._sums.cloud(series, generator(self._root, "paris", r))
            for r in range(self._repeats)
        ]
        log_z, smallest = self._log_z.copy(), self._smallest
        with ExitStack() as kept:
            for r, cloud in enumerate(clouds):
                cloud.packed = series.model.packed(cloud.theta)
                kept.enter_context(cloud.kept_on_error(len(series.rows)))
                _, ess, increments = cloud.advance(series.rows)
                if not np.isfinite(cloud.sums).all():
                    raise ModelError(
                        f"functional: sum of {cloud.sums} up to time {cloud.t - 1}; expected "
                        "finite numbers"
                    )
                log_z[r] += increments.sum()
                at = int(ess.argmin())
                smallest = min(smallest, (float(ess[at]), self.t + at))
        self._clouds, self._series = clouds, series
        self._log_z, self._smallest = log_z, smallest
        self.t += len(series.rows)
        self._seconds += time.perf_counter() - began

    def estimate(self) -> Estimate:
        """The smoothed sums given all observations so far.

        Returns
        -------
        Estimate

        Raises
        ------
        ValueError
            No observation has been taken.
        """
        if not self.t:
            raise ValueError("estimate: no observation yet; expected update(y_t) before")
        smallest, first = self._smallest
        runs = Runs(
            np.array([cloud.sums for cloud in self._clouds]),
            self._log_z,
            np.sum([cloud.report.tally for cloud in self._clouds], axis=0),
            np.array([smallest]),
            first,
        )
        cost = {"evaluations": self._series.n * self.t * self._repeats, "seconds": self._seconds}
        source = provenance("OnlineSmoother", self._root, self._arguments)
        told = (self._added.scalar, self._names, cost, source, self._told)
        return _pooled(runs, "OnlineSmoother", *told)
