"""Particle filters: the law of the state given the observations so far, and log p(y).

The estimate Z of p(y) is unbiased whatever the number of particles, the resampling scheme and the
threshold; log Z is nearly normal around log p(y) - v/2, and its variance v grows like T/N. A single
filter sees v in its genealogy: particles whose weights descend from few of those of a time s share
the noise that entered by then. All stem from few of time 0 before long, so v is put together from
blocks of time, each looked at as late as its families are many.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, finite, flag, one_of, shown
from ..cautions import Caution, tell
from ..estimate import Estimate
from ..execution import check_checkpoint, root_of
from ..provenance import described, provenance
from ..randomness import Seed, describe, generator, seed_sequence
from ..results import NOT_KEPT, Result, along
from ..tables import in_words
from ..weights import log_mean_exp, log_mean_normal
from .checking import check_moves
from .cloud import Cloud
from .compilation import compiled
from .model import Proposal, StateSpaceModel, is_panel
from .rounding import lost_in_rounding
from .series import (
    Series,
    arrived,
    checked_panel,
    checked_series,
    naming,
    one_time,
    side_by_side,
)

Array = NDArray[np.float64]
WIDE = 2.25  # variance of a log likelihood whose bias is many errors
ROUNDING = 1e-14  # variance that a log likelihood without observations has in floating point
FORGETS = 0.75  # share of the variance that is seen with shorter lags
MANY = 1_000  # particles of multinomial or residual resampling that see their error
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
        Of x_t given y_0 ... y_t; of repeats by the particles of all.
    ess : ndarray, shape (T,)
        Effective sample size of the weights at each time, of the first repeat.
    log_increments : ndarray, shape (T,)
        Estimates of log p(y_t | y_0 ... y_{t-1}); their sum is log Z, a little below the value of
        `log_likelihood`, see `particle_filter`.
    particles : ndarray, shape (T, N) or (T, N, d), or None
        With ``store=True``, with their `log_weights` (normalised) of shape (T, N) and the
        `ancestors` of each in the row before, of shape (T, N); those of repeats stand side by side.
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
        times = "1 time" if len(self.means) == 1 else f"{len(self.means)} times"
        return f"FilterResult of {times}\n  log likelihood  {value}  {interval}"

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
        levels = np.atleast_1d(finite("levels", levels))
        if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
            raise ValueError(f"levels: got {shown(levels)}; expected numbers from 0 to 1")
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
    proposal: Proposal | str | None = None,
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
    proposal : Proposal or "linearised", optional
        Where particles are drawn from (guided) or what they are resampled by (auxiliary); by
        default the model's own transitions (bootstrap). "linearised" makes them itself, from one
        Gaussian look at each observation, at 2 to 3 times the cost (`transition_mean` given): right
        where one observation tells more than the prediction (an effective sample size below
        N/10). A pilot keeps the model's own transitions where that does not pay.
    repeats : int, default 1
        Independent filters. The log likelihood is the mean of their log Z plus half its variance,
        which every run tells by itself, and with it the error; of more than 100 it is the logarithm
        of the mean of Z, which is consistent whatever its law. Moments are those of the particles
        of all.
    store : bool, default False
        Keep all particles, for `backward_simulation` and quantiles.
    seed : None, int, SeedSequence or Generator
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the repeats run.
    progress : bool, optional
    checkpoint : path, optional
        File that keeps finished repeats.

    Returns
    -------
    FilterResult
        Diagnostics of its log likelihood: `log_z`, whose exponential is unbiased; its variance
        `log_z_variance`; `v_ratio`, how much of that is seen with shorter lags; `lag`, their mean;
        of linearised proposals `guided_share`, the share of times that had some.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above; "linearised" for discrete or singular transitions, without
        `transition_logpdf`, or with more than 50 components.
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

    Doucet, Godsill & Andrieu (2000), Statistics and Computing 10, and Hesterberg (1995),
    Technometrics 37, for what linearised proposals are made of.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(50, seed=1)
    >>> found = particle_filter(model, y, 2_000, seed=1)
    >>> found.means.shape, bool(found.ess.min() > 100)
    ((50,), True)
    """
    check_checkpoint(checkpoint)
    began = time.perf_counter()
    told = (theta, resampling, ess_threshold, proposal)
    series = checked_series(model, y, n_particles, *told, filters=True)
    repeats, store = count("repeats", repeats), flag("store", store)
    root = root_of(seed, checkpoint)
    series.functions(backward=False)
    arguments = series.arguments(repeats=repeats)
    job, jobs = partial(_filtered, series, store, describe(root)), [(r,) for r in range(repeats)]
    way = (executor, progress, checkpoint, {**arguments, "store": store, "y": series.rows})
    runs = side_by_side(job, jobs, "particle_filter", "filters", root, *way)
    first, pooled = runs[0], _pooled(runs, series)
    tell("particle_filter", pooled.cautions)
    estimate = Estimate(
        pooled.value,
        pooled.variance,
        names="log likelihood",
        method="particle_filter",
        degrees_of_freedom=pooled.freedom,
        diagnostics=pooled.diagnostics,
        cautions=pooled.cautions,
        cost={
            "evaluations": series.n * len(series.rows) * repeats,
            "seconds": time.perf_counter() - began,
        },
        provenance=provenance("particle_filter", root, arguments, series.rows),
    )
    each = np.array([np.hsplit(run["moments"], 2) for run in runs])
    # of repeats that weigh the same
    means, spread = each[:, 0].mean(axis=0), each[:, 1].mean(axis=0) + each[:, 0].var(axis=0)
    moments = (series.shaped(means), series.shaped(spread))
    found = FilterResult(estimate, *moments, first["ess"], first["increments"])
    found = replace(found, model=series.model, y=series.y, root=root)
    if store:
        x, log_w, ancestors = (
            np.concatenate([run[name] for run in runs], axis=1)
            for name in ("x", "log_w", "ancestors")
        )
        log_w -= math.log(repeats)
        ancestors += (series.n * np.repeat(np.arange(repeats), series.n)).astype(np.int32)
        found = replace(found, particles=series.shaped(x), log_weights=log_w, ancestors=ancestors)
    return found


def _filtered(series: Series, store: bool, root: dict[str, Any], r: int) -> dict[str, Any]:
    """One filter of several, with its particles where they are wanted."""
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
        "log_z": increments.sum(),
        "noise": cloud.noise(),
        "guided": cloud.guided,
        "last": cloud.heaviest(),
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
        'where that observation came from; use a proposal (filters make one by "linearised"), or '
        "many more particles"
    )
    return [Caution("small-sample", text)]


class Likelihood(NamedTuple):
    """Log p(y) of one series by its filters, the variance of that, and what is said of both."""

    value: float
    variance: float
    freedom: float
    diagnostics: dict[str, Any]
    cautions: list[Caution]


def likelihood_of(log_z: Array, noise: Array, series: Series) -> Likelihood:
    """Log p(y) from log Z (r,) of filters and their noise (r, 2, 3), see `Cloud.noise`.

    log Z is nearly normal with mean log p(y) - v/2 for its variance v, which is seen in each run.
    Runs that spread far more than they see of themselves have missed something.
    """
    runs, of_v = len(log_z), float(noise[:, 0, 1].mean())
    v, shorter = noise[:, :2, 0].mean(axis=0).tolist()
    v, of_v = (v, of_v) if v > ROUNDING else (0.0, 0.0)
    ratio = shorter / v if v > 0 else 1.0
    diagnostics: dict[str, Any] = {
        "log_z": float(log_z.mean()),
        "log_z_variance": v,
        "v_ratio": ratio,
        "lag": float(noise[:, 0, 2].mean()),
    }
    cautions = []
    if runs > 1:
        from scipy.special import chdtri

        spread = float(log_z.std(ddof=1))
        diagnostics["standard_deviation_of_log_likelihood"] = spread
        if runs <= FEW_REPEATS and spread**2 * (runs - 1) > chdtri(runs - 1, 1e-3) * v:
            value, error = log_mean_normal(log_z)
            text = (
                f"the log likelihoods of the repeats have standard deviation {spread:.2g}, each "
                f"run by itself tells {math.sqrt(v):.2g}: runs have missed where observations came "
                "from; use more particles, or a proposal"
            )
            cautions.append(Caution("unseen-error", text))
            return Likelihood(value, error**2, runs - 1.0, diagnostics, cautions)
    if v > WIDE:
        text = (
            f"the log likelihood of one filter has standard deviation {math.sqrt(v):.2g}, and its "
            f"bias of {-v / 2:.2g} is taken out; use more particles"
        )
        cautions.append(Caution("wide-spread", text))
    elif ratio < FORGETS:
        text = (
            f"with shorter lags the variance of the log likelihood is {ratio:.2g} of {v:.2g}: the "
            "genealogy may die before the filter forgets; use more particles"
        )
        cautions.append(Caution("short-lag", text))
    if series.n < MANY and series.scheme in ("multinomial", "residual"):
        text = (
            f"{series.n} particles with {series.scheme} resampling: the genealogy dies before the "
            f"error is seen; use systematic resampling, or {MANY} particles"
        )
        cautions.append(Caution("few-particles", text))
    value = float(log_z.mean()) + v / 2
    # the variance of v is twice `of_v`, a quarter of which enters with v/2
    return Likelihood(value, (v + of_v / 2) / runs, math.inf, diagnostics, cautions)


def _mean_of_many(log_z: Array) -> Likelihood:
    """Log of the mean likelihood of many runs, whatever its law."""
    runs, spread = len(log_z), float(log_z.std(ddof=1))
    value = log_mean_exp(log_z)
    z = np.exp(log_z - value)
    # a sample without its few largest numbers looks better than it is: ask its logs, too
    effective = min(runs**2 / float((z**2).sum()), max(1.0, runs * math.exp(-(spread**2))))
    diagnostics = {
        "log_z": float(log_z.mean()),
        "standard_deviation_of_log_likelihood": spread,
        "effective_repeats": effective,
    }
    cautions = []
    if effective < EFFECTIVE_REPEATS:
        text = (
            f"the likelihoods of the {runs} repeats are worth {effective:.2g} equal ones: few of "
            "them make the mean; use more particles"
        )
        cautions.append(Caution("few-repeats", text))
    variance = float(z.var(ddof=1)) / runs
    return Likelihood(value, variance, runs - 1.0, diagnostics, cautions)


def log_likelihood(
    model: StateSpaceModel,
    y: ArrayLike | Sequence[ArrayLike],
    n_particles: int,
    *,
    theta: ArrayLike | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    repeats: int = 1,
    proposal: Proposal | str | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Estimate:
    """Log p(y) with its error, of one series or of several that share the parameters.

    Parameters
    ----------
    model, n_particles, theta, resampling, ess_threshold, proposal
        As for `particle_filter`, whose number this is for one series.
    y : array_like, shape (T,) or (T, p), or a list of arrays
        Observations; of a list of arrays each is a series of its own, of any length, with inputs
        of its own where the model has a list of them.
    repeats : int, default 1
        Independent filters of each series.
    seed, executor, progress, checkpoint
        As for `particle_filter`.

    Returns
    -------
    Estimate
        The sum over the series. Diagnostics: `log_z`, `log_z_variance`, `v_ratio` and `lag` as of
        `particle_filter`, of several series with a number for each, and then also `values` and
        `standard_errors` (S,).

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `particle_filter`; of several series the message names the one.

    Warns
    -----
    PrecisionWarning
        As `particle_filter`.

    Examples
    --------
    >>> import numpy as np
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> panel = [model.simulate(n, seed=n)[1] for n in (20, 50)]
    >>> est = log_likelihood(model, panel, 2_000, seed=1)
    >>> est.value.shape, est.diagnostics["values"].shape
    ((), (2,))
    """
    check_checkpoint(checkpoint)
    began = time.perf_counter()
    panel, told = is_panel(y), (theta, resampling, ess_threshold, proposal)
    several = checked_panel(model, y, n_particles, *told)
    for series in several:
        series.functions(backward=False)
    repeats, root = count("repeats", repeats), root_of(seed, checkpoint)
    rows = np.concatenate([series.rows.ravel() for series in several])
    arguments = several[0].arguments(repeats=repeats)
    # the longest first, so that no worker is left with it
    order = sorted(range(len(several)), key=lambda s: -len(several[s].rows))
    jobs = [(s, r) for s in order for r in range(repeats)]
    job = partial(_likelihood, several, panel, describe(root))
    way = (executor, progress, checkpoint, {**arguments, "y": rows})
    runs = side_by_side(job, jobs, "log_likelihood", "filters", root, *way)
    found = dict(zip(jobs, runs, strict=True))
    each = [
        _pooled([found[s, r] for r in range(repeats)], series) for s, series in enumerate(several)
    ]
    cautions = [
        Caution(caution.code, f"series {s}: {caution.text}" if panel else caution.text)
        for s, one in enumerate(each)
        for caution in one.cautions
    ]
    tell("log_likelihood", cautions)
    diagnostics = dict(each[0].diagnostics)
    if panel:
        diagnostics = {name: np.array([e.diagnostics[name] for e in each]) for name in diagnostics}
        diagnostics["values"] = np.array([one.value for one in each])
        diagnostics["standard_errors"] = np.sqrt([one.variance for one in each])
    steps = sum(len(series.rows) for series in several)
    return Estimate(
        sum(one.value for one in each),
        sum(one.variance for one in each),
        names="log likelihood",
        method="log_likelihood",
        degrees_of_freedom=min(one.freedom for one in each),
        diagnostics=diagnostics,
        cautions=cautions,
        cost={
            "evaluations": several[0].n * steps * repeats,
            "seconds": time.perf_counter() - began,
        },
        provenance=provenance("log_likelihood", root, arguments, rows),
    )


def _likelihood(
    several: list[Series], panel: bool, root: dict[str, Any], s: int, r: int
) -> dict[str, Any]:
    """One filter of one series; without a panel that of `particle_filter`."""
    address = ("series", s, r) if panel else ("filter", r)
    rng = generator(seed_sequence(root), *address)
    cloud = Cloud(several[s], rng, roots=True, backward=False)
    with naming(s if panel else None):
        _, ess, increments = cloud.advance(several[s].rows)
    found = {"log_z": increments.sum(), "noise": cloud.noise(), "ess": ess}
    return {**found, "guided": cloud.guided, "last": cloud.heaviest()}


def _pooled(runs: list[dict[str, Any]], series: Series) -> Likelihood:
    """What the filters of a series say together; small samples are those of the first."""
    log_z = np.array([run["log_z"] for run in runs])
    if len(runs) > FEW_REPEATS:
        found = _mean_of_many(log_z)
    else:
        found = likelihood_of(log_z, np.array([run["noise"] for run in runs]), series)
    ess = runs[0]["ess"]
    found.diagnostics["smallest_ess"] = float(ess.min())
    if series.linearised:
        found.diagnostics["guided_share"] = float(np.mean([run["guided"] for run in runs]))
    large = lost_in_rounding(series, len(series.rows) - 1, *runs[0]["last"])
    return found._replace(cautions=small_samples(ess) + large + found.cautions)


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
        proposal: Proposal | str | None = None,
        seed: Any = None,
    ) -> None:
        told = (theta, resampling, ess_threshold, proposal)
        self._series = checked_series(model, [0.0], n_particles, *told, stream=True, filters=True)
        # once: what stands in provenance at every time is dear to find
        self._arguments = described(self._series.arguments())
        self._root = seed_sequence(seed)
        self._cloud: Cloud | None = None
        self._log_z = self._seconds = 0.0
        self._smallest = (math.inf, 0)
        self._told: set[str] = set()
        self.t = 0

    def __repr__(self) -> str:
        return f"OnlineFilter of {self._series.n:,} particles, t = {self.t}"

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
        y, u = one_time(y_t, u_t)
        series = arrived(self._series, y, self.t, u)
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
        found = likelihood_of(np.array([self._log_z]), cloud.noise()[None], series)
        cautions = small_samples(np.array(self._smallest[:1]), self._smallest[1]) + found.cautions
        tell("OnlineFilter", cautions, self._told)
        estimate = Estimate(
            found.value,
            found.variance,
            names="log likelihood",
            method="OnlineFilter",
            diagnostics={**found.diagnostics, "smallest_ess": self._smallest[0]},
            cautions=cautions,
            cost={"evaluations": series.n * self.t, "seconds": self._seconds},
            provenance=provenance("OnlineFilter", self._root, self._arguments),
        )
        now = (self.t - 1) % 2
        x, log_w = (array[now : now + 1].copy() for array in cloud.particles[:2])
        means, variances, x = map(series.shaped, (*np.hsplit(moments, 2), x))
        parts = (estimate, means, variances, ess, increments, x, log_w)
        return FilterResult(*parts, model=series.model, root=self._root)


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
    n_paths = count("n_paths", n_paths, each=12 * len(y))
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
