"""Particle filters: the law of the state given the observations so far, and log p(y).

exp(log likelihood) is unbiased whatever the number of particles, the resampling scheme and the
threshold; the variance of the log likelihood grows like T/N.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, flag, one_of
from ..cautions import Caution, tell
from ..estimate import Estimate
from ..execution import root_of
from ..provenance import described, provenance
from ..randomness import describe, generator, seed_sequence
from ..results import NOT_KEPT, Result, along
from ..tables import in_words
from ..weights import log_mean_exp, log_mean_normal
from .checking import check_moves
from .cloud import Cloud
from .compilation import compiled
from .model import Proposal, StateSpaceModel
from .series import Series, arrived, checked_series, side_by_side

Array = NDArray[np.float64]
FEW_ANCESTORS = 20  # of time 0, below which their spread says little about an error
FEW_REPEATS = 100  # up to which the normal law of log likelihoods tells more than their mean
EFFECTIVE_REPEATS = 50  # of more than these, for the error of their mean
SMALL_SAMPLE = 10.0  # an effective sample size that is too small to see the truth from


@dataclass(frozen=True, eq=False)
class FilterResult(Result):
    """What a particle filter found; of an `OnlineFilter`, at the last time.

    Attributes
    ----------
    log_likelihood : Estimate
        log p(y).
    means, variances : ndarray, shape (T,) or (T, d)
        Of x_t given y_0 ... y_t.
    ess : ndarray, shape (T,)
        Effective sample size of the weights at each time.
    log_increments : ndarray, shape (T,)
        Estimates of log p(y_t | y_0 ... y_{t-1}).
    particles : ndarray, shape (T, N) or (T, N, d), or None
        With ``store=True``: of the first repeat, with their `log_weights` (normalised) of shape
        (T, N) and the `ancestors` of each in the row before, of shape (T, N).
    model : StateSpaceModel or None
        For `backward_simulation`; None of what was read from a file, and of one time.
    """

    log_likelihood: Estimate
    means: Array = field(metadata=along("time", "state"))
    variances: Array = field(metadata=along("time", "state"))
    ess: Array = field(metadata=along("time"))
    log_increments: Array = field(metadata=along("time"))
    particles: Array | None = field(default=None, metadata=along("time", "particle", "state"))
    log_weights: Array | None = field(default=None, metadata=along("time", "particle"))
    ancestors: NDArray[np.int32] | None = field(default=None, metadata=along("time", "particle"))
    model: StateSpaceModel | None = field(default=None, metadata=NOT_KEPT)
    y: Array | None = field(default=None, metadata=along("time", "observation"))
    root: Any = None

    def __repr__(self) -> str:
        """How many times, and the likelihood."""
        _, value, interval = in_words(*next(self.summary().itertuples()))
        return f"FilterResult of {len(self.means)} times\n  log likelihood  {value}  {interval}"

    def plot(self, ax: Any = None, *, component: int = 0) -> Any:
        """Means over time with bands, see `smcweights.plots.filtered`."""
        from .figures import filtered

        return filtered(self, ax, component=component)

    def quantiles(self, levels: ArrayLike) -> Array:
        """Quantiles of x_t given y_0 ... y_t, of each component.

        Parameters
        ----------
        levels : array_like, shape (q,)
            Between 0 and 1.

        Returns
        -------
        ndarray, shape (q, T) or (q, T, d)

        Raises
        ------
        ValueError
            The particles were not stored, or a level is out of range.
        """
        x, log_w = _stored(self, "quantiles")
        levels = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        if not ((levels >= 0) & (levels <= 1)).all():
            raise ValueError(f"levels: got {levels}; expected numbers between 0 and 1")
        cube = x.reshape(*x.shape[:2], -1)
        found = np.empty((len(levels), cube.shape[0], cube.shape[2]))
        for t in range(len(cube)):
            for j in range(cube.shape[2]):
                order = np.argsort(cube[t, :, j])
                cumulative = np.cumsum(np.exp(log_w[t, order]))
                at = np.searchsorted(cumulative, levels * cumulative[-1])
                found[:, t, j] = cube[t, order[np.minimum(at, len(order) - 1)], j]
        return found[..., 0] if x.ndim == 2 else found


def _stored(result: FilterResult, what: str) -> tuple[Array, Array]:
    if result.particles is None or result.log_weights is None:
        raise ValueError(f"{what}: the particles were not stored; expected store=True")
    return result.particles, result.log_weights


def particle_filter(
    model: StateSpaceModel,
    y: ArrayLike,
    n_particles: int,
    *,
    theta: ArrayLike | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    proposal: Proposal | None = None,
    repeats: int = 1,
    store: bool = False,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> FilterResult:
    """Filter observations, and estimate their likelihood.

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p)
        Observations; a row of NaNs is missing.
    n_particles : int, at least 2
    theta : array_like, shape (k,), optional
        Parameters other than the model's own.
    resampling : {"systematic", "stratified", "residual", "multinomial"}
    ess_threshold : float, default 0.5
        Particles are resampled when their effective sample size falls to this share: 1 always, 0
        never.
    proposal : Proposal, optional
        Where particles are drawn from (guided) or what they are resampled by (auxiliary); by
        default the model's own transitions (bootstrap).
    repeats : int, default 1
        Independent filters, whose likelihoods are averaged: up to 100 of them by the nearly normal
        law of their logarithms, mean + s^2/2, which a few tell better than the logarithm of their
        mean; of more the latter, which is consistent whatever their law. The error comes from
        their spread; of one filter from its genealogy, which needs many particles that still
        have different ancestors at time 0, so that long series take several repeats. Moments and
        particles are those of the first.
    store : bool, default False
        Keep all particles of the first filter, for `backward_simulation` and quantiles.
    seed : None, int, SeedSequence or Generator
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the repeats run.
    progress : bool, optional
    checkpoint : path, optional
        File that keeps finished repeats.

    Returns
    -------
    FilterResult

    Raises
    ------
    TypeError, ValueError
        An argument is not as above.
    ModelError
        A function of the model can't be compiled, or returned NaN.
    DegeneracyError
        All weights vanished; the message names the time.

    Warns
    -----
    PrecisionWarning
        The standard error of the log likelihood can't be promised, or an observation left an
        effective sample size below 10: a filter can be confidently wrong after an outlier.

    References
    ----------
    Gordon, Salmond & Smith (1993); Pitt & Shephard (1999); Lee & Whiteley (2018), Variance
    estimation in the particle filter, Biometrika 105; Chan & Lai (2013), Annals of Statistics 41.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(50, seed=1)
    >>> found = particle_filter(model, y, 2_000, seed=1)
    >>> found.means.shape, bool(found.ess.min() > 100)
    ((50,), True)
    """
    began = time.perf_counter()
    series = checked_series(model, y, n_particles, theta, resampling, ess_threshold, proposal)
    repeats, store = count("repeats", repeats), flag("store", store)
    root = root_of(seed, checkpoint)
    series.functions(backward=False)
    arguments = series.arguments(repeats=repeats)
    job, jobs = partial(_filtered, series, store, describe(root)), [(r,) for r in range(repeats)]
    way = (executor, progress, checkpoint, {**arguments, "store": store, "y": series.rows})
    runs = side_by_side(job, jobs, "particle_filter", "filters", root, *way)
    first = runs[0]
    if repeats == 1:
        error, freedom, diagnostics, more = _from_genealogy(
            first["roots"], first["weights"], series, len(series.rows)
        )
        value = float(first["increments"].sum())
    else:
        value, error, diagnostics, more = _from_repeats(np.array([r["increments"] for r in runs]))
        freedom = float(repeats - 1)
    cautions = small_samples(first["ess"]) + more
    tell("particle_filter", cautions)
    estimate = Estimate(
        value,
        error**2,
        names="log likelihood",
        method="particle_filter",
        degrees_of_freedom=freedom,
        diagnostics={**diagnostics, "smallest_ess": float(first["ess"].min())},
        cautions=cautions,
        cost={
            "evaluations": series.n * len(series.rows) * repeats,
            "seconds": time.perf_counter() - began,
        },
        provenance=provenance("particle_filter", root, arguments, series.rows),
    )
    means, variances = (series.shaped(part) for part in np.hsplit(first["moments"], 2))
    found = FilterResult(estimate, means, variances, first["ess"], first["increments"])
    found = replace(found, model=series.model, y=series.y, root=root)
    if store:
        x, log_w, ancestors = (first[name] for name in ("x", "log_w", "ancestors"))
        found = replace(found, particles=series.shaped(x), log_weights=log_w, ancestors=ancestors)
    return found


def _filtered(series: Series, store: bool, root: dict[str, Any], r: int) -> dict[str, Any]:
    """One filter of several; the first keeps its particles where they are wanted."""
    store = store and r == 0
    cloud = Cloud(
        series,
        generator(seed_sequence(root), "filter", r),
        depth=len(series.rows) if store else 2,
        roots=True,
        moments=True,
        backward=False,
    )
    moments, ess, increments = cloud.advance(series.rows)
    found = {
        "moments": moments,
        "ess": ess,
        "increments": increments,
        "weights": cloud.weights,
        "roots": cloud.particles.roots[0],
    }
    if store:
        x, log_w, ancestors = cloud.particles[:3]
        found |= {"x": x, "log_w": log_w, "ancestors": ancestors}
    return found


def small_samples(ess: Array, first: int = 0) -> list[Caution]:
    """What to say when an observation left too few particles; `first` is the time of ess[0]."""
    t = int(ess.argmin())
    if ess[t] >= SMALL_SAMPLE:
        return []
    text = (
        f"effective sample size {ess[t]:.2g} at time {first + t}: the particles may have missed "
        "where that observation came from; use a proposal, or many more particles"
    )
    return [Caution("small-sample", text)]


def _from_genealogy(
    roots: NDArray[np.int32], weights: Array, series: Series, n_steps: int
) -> tuple[float, float, dict[str, Any], list[Caution]]:
    """Error of the log likelihood from the weights that stem from each particle of time 0."""
    n = len(weights)
    shares = np.bincount(roots, weights=weights, minlength=n)
    survivors = len(np.unique(roots[weights > 0]))
    squares = float((shares**2).sum())
    if series.scheme == "multinomial" and series.threshold == 1:
        relative = 1 - (n / (n - 1)) ** n_steps * (1 - squares)
    else:
        relative = (squares - 1 / n) * n / (n - 1)
    relative = max(relative, 0.0)
    # the variance of a logarithm whose exponential has this relative variance
    error = math.sqrt(math.log1p(relative))
    cautions = []
    if survivors < FEW_ANCESTORS:
        text = (
            f"only {survivors} particles of time 0 have descendants at the end: the standard error "
            "of the log likelihood can't be told from one filter; use repeats=8, or more particles"
        )
        cautions.append(Caution("few-ancestors", text))
    return error, float(max(survivors - 1, 1)), {"surviving_ancestors": survivors}, cautions


def _from_repeats(increments: Array) -> tuple[float, float, dict[str, Any], list[Caution]]:
    """Log of the mean likelihood of runs, its error, and what speaks against it.

    Whether the spread is too large is asked of the increments of all times: that of few runs would
    pass for small in just those runs whose interval is too short.
    """
    log_z = increments.sum(axis=1)
    runs, spread = len(log_z), float(log_z.std(ddof=1))
    lasting = spread_over_time(increments)
    diagnostics: dict[str, Any] = {"standard_deviation_of_log_likelihood": spread}
    cautions = []
    if runs <= FEW_REPEATS:
        value, error = log_mean_normal(log_z)
        if lasting > 1 or spread > 1.5:
            text = (
                f"the log likelihoods of the repeats have standard deviation "
                f"{max(spread, lasting):.2g}, too much to trust their normal law; use more "
                "particles"
            )
            cautions.append(Caution("wide-spread", text))
        return value, error, diagnostics, cautions
    value = log_mean_exp(log_z)
    z = np.exp(log_z - value)
    error = float(z.std(ddof=1)) / math.sqrt(runs)
    # a sample without its few largest numbers looks better than it is: ask its logs, too
    effective = min(runs**2 / float((z**2).sum()), max(1.0, runs * math.exp(-(lasting**2))))
    diagnostics["effective_repeats"] = effective
    if effective < EFFECTIVE_REPEATS:
        text = (
            f"the likelihoods of the {runs} repeats are worth {effective:.2g} equal ones: few of "
            "them make the mean; use more particles"
        )
        cautions.append(Caution("few-repeats", text))
    return value, error, diagnostics, cautions


def spread_over_time(increments: Array) -> float:
    """Standard deviation of the log likelihood of a run, from increments (runs, T).

    Filters forget: errors of increments far apart are independent, so that a sum of
    autocovariances over all times tells more than the spread of the sums over few runs.
    """
    runs, n_steps = increments.shape
    error = increments - increments.mean(axis=0)
    lags = min(n_steps - 1, int(2 * math.sqrt(n_steps)))
    total = (error**2).sum()
    for k in range(1, lags + 1):
        total += 2 * (1 - k / (lags + 1)) * (error[:, k:] * error[:, :-k]).sum()
    return math.sqrt(max(total, 0.0) / (runs - 1))


class OnlineFilter:
    """A particle filter for observations that arrive one by one; memory does not grow with time.

    Parameters
    ----------
    model : StateSpaceModel
    n_particles, theta, resampling, ess_threshold, proposal, seed
        As for `particle_filter`, whose numbers these are.

    Attributes
    ----------
    t : int
        Observations taken so far.

    Raises
    ------
    TypeError, ValueError, ModelError
        As for `particle_filter`.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> online = OnlineFilter(model, 2_000, seed=1)
    >>> for y_t in [0.3, 0.1, -0.4]:
    ...     found = online.update(y_t)
    >>> online.t, found.means.shape, found.quantiles([0.05, 0.95]).shape
    (3, (1,), (2, 1))
    """

    def __init__(
        self,
        model: StateSpaceModel,
        n_particles: int,
        *,
        theta: ArrayLike | None = None,
        resampling: str = "systematic",
        ess_threshold: float = 0.5,
        proposal: Proposal | None = None,
        seed: Any = None,
    ) -> None:
        told = (theta, resampling, ess_threshold, proposal)
        self._series = checked_series(model, [0.0], n_particles, *told, stream=True)
        # once: what stands in provenance at every time is dear to find
        self._arguments = described(self._series.arguments())
        self._root = seed_sequence(seed)
        self._cloud: Cloud | None = None
        self._log_z = self._seconds = 0.0
        self._smallest = (math.inf, 0)
        self._told: set[str] = set()
        self.t = 0

    def update(self, y_t: ArrayLike, u_t: ArrayLike | None = None) -> FilterResult:
        """Take the next observation.

        Parameters
        ----------
        y_t : float or array_like, shape (p,)
            NaN where missing.
        u_t : float or array_like, shape (k,), optional
            The inputs of this time, where the model takes some and does not have them.

        Returns
        -------
        FilterResult
            Of this time alone, with its particles: arrays have one row. The log likelihood is that
            of all observations so far.

        Raises
        ------
        TypeError, ValueError, ModelError, DegeneracyError
            As for `particle_filter`. The observation is then not taken, and leaves no trace: go on
            with the next one, or with NaN in its place.

        Warns
        -----
        PrecisionWarning
            As `particle_filter`, once for each cause.
        """
        began = time.perf_counter()
        u = None if u_t is None else np.reshape(u_t, (1, -1))
        series = arrived(self._series, np.expand_dims(y_t, 0), self.t, u)
        cloud = self._cloud or Cloud(
            series, generator(self._root, "filter", 0), roots=True, moments=True, backward=False
        )
        cloud.packed = series.model.packed(cloud.theta)
        with cloud.kept_on_error(1):
            moments, ess, increments = cloud.advance(series.rows)
        self._cloud, self._series = cloud, series
        self._log_z += float(increments[0])
        self._smallest = min(self._smallest, (float(ess[0]), self.t))
        self.t += 1
        self._seconds += time.perf_counter() - began
        error, freedom, diagnostics, cautions = _from_genealogy(
            cloud.particles.roots[0], cloud.weights, series, self.t
        )
        cautions = small_samples(np.array(self._smallest[:1]), self._smallest[1]) + cautions
        tell("OnlineFilter", cautions, self._told)
        estimate = Estimate(
            self._log_z,
            error**2,
            names="log likelihood",
            method="OnlineFilter",
            degrees_of_freedom=freedom,
            diagnostics={**diagnostics, "smallest_ess": self._smallest[0]},
            cautions=cautions,
            cost={"evaluations": series.n * self.t, "seconds": self._seconds},
            provenance=provenance("OnlineFilter", self._root, self._arguments),
        )
        now = (self.t - 1) % 2
        x, log_w = (array[now : now + 1].copy() for array in cloud.particles[:2])
        means, variances, x = map(series.shaped, (*np.hsplit(moments, 2), x))
        found = (estimate, means, variances, ess, increments, x, log_w)
        return FilterResult(*found, model=series.model, root=self._root)


def backward_simulation(
    filter_result: FilterResult, n_paths: int, *, method: str = "auto", seed: Any = None
) -> Array:
    """Paths drawn from the smoothing law by going back through a stored filter.

    Parameters
    ----------
    filter_result : FilterResult
        Of `particle_filter` with ``store=True``.
    n_paths : int, at least 1
    method : {"auto", "rejection", "exact"}
        Rejection needs the model's `transition_logpdf_bound`, and has the same law as the exact
        draws, whose cost is N per path and time.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    ndarray, shape (n_paths, T) or (n_paths, T, d)
        Independent given the filter, whose own error they share.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above.
    ModelError
        The bound is exceeded, or sampler and density disagree.

    References
    ----------
    Godsill, Doucet & West (2004), JASA 99; Douc, Garivier, Moulines & Olsson (2011), Annals of
    Applied Probability 21, for rejection.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(20, seed=1)
    >>> stored = particle_filter(model, y, 500, store=True, seed=1)
    >>> backward_simulation(stored, 10, seed=2).shape
    (10, 20)
    """
    from . import kernels

    if not isinstance(filter_result, FilterResult):
        raise TypeError(
            f"filter_result: got {type(filter_result).__name__}; expected a FilterResult"
        )
    x, log_w = _stored(filter_result, "backward_simulation")
    model, y = filter_result.model, filter_result.y
    if model is None or y is None:
        raise ValueError(
            "filter_result: of one time, from an OnlineFilter; expected all times, from "
            "particle_filter with store=True"
            if y is None
            else "filter_result: has no model, which files don't keep; expected "
            "dataclasses.replace(filter_result, model=model)"
        )
    n_paths = count("n_paths", n_paths)
    check_moves(model, y.reshape(len(y), -1), y.ndim == 2)
    functions = compiled(model, y.ndim == 2)
    one_of("method", method, ("auto", "rejection", "exact"))
    if method == "rejection" and not functions.bounded:
        raise ValueError("method: rejection needs a transition_logpdf_bound; expected 'exact'")
    rejected = functions.bounded and method != "exact"
    cloud = Cloud(
        Series(model, y.reshape(len(y), -1), y.ndim == 2, x.shape[1]),
        generator(seed_sequence(seed), "backward_simulation"),
        depth=len(y),
    )
    cube = cloud.particles.x
    cube[...], cloud.particles.log_w[...] = x.reshape(cube.shape), log_w
    chosen = cloud.draw_paths(y, n_paths, kernels.HYBRID if rejected else kernels.EXACT)
    paths = np.swapaxes(np.take_along_axis(cube, chosen[:, :, None].astype(np.int64), 1), 0, 1)
    return paths[..., 0] if model.state_dim is None else paths
