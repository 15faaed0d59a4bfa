"""Forecasts of states and observations, and whether a model foresaw what came."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, real
from ..cautions import Caution, printed, tell
from ..errors import ModelError
from ..estimate import Estimate
from ..provenance import provenance
from ..randomness import Seed, describe, generator, seed_sequence
from ..results import Result, along, table
from .cloud import Cloud
from .compilation import Compiled, compiled_observations
from .draws import PAIR, STATES, parameter_names, posterior_of
from .filtering import small_samples
from .model import Proposal, StateSpaceModel
from .series import Series, checked_series, side_by_side
from .trial import check_time, tried

if TYPE_CHECKING:
    import pandas
    import xarray

Array = NDArray[np.float64]
MOST_DRAWS = 1_000  # of parameters that a forecast takes
LAGS = 10  # over which residuals are looked at for correlation
LONG = 500  # times from which that has its limiting law; before, that of
REFERENCE = 2_000_000  # numbers in random series, or of a gamma law beyond the last
FEW = 10  # of them
# of parameters, by their transforms
RANGES = {
    "log": (0.0, math.inf),
    "atanh": (-1.0, 1.0),
    **dict.fromkeys(("logit", "simplex", "rest"), (0.0, 1.0)),
}
TIED = 0.01  # share of draws equal to others from which quantiles go by steps
LEAST = 500  # particles with which the tests have their level


@dataclass(frozen=True, eq=False)
class Forecast(Result):
    """Laws of what follows the last time of y; errors are those of the simulation alone.

    The error of a quantile is not the width of the forecast, which lies between the quantiles.

    Attributes
    ----------
    state_means, observation_means : Estimate
        Shape (H d,) and (H p,), horizon by horizon; observations are None where the model has no
        `observation_sample`.
    state_quantiles, observation_quantiles : Estimate
        Shape (q H d,) and (q H p,), level by level.
    levels : tuple of float
        Of the quantiles.
    sample : xarray.Dataset
        The draws: x (draw, horizon[, component]), and y.
    """

    state_means: Estimate
    state_quantiles: Estimate
    observation_means: Estimate | None
    observation_quantiles: Estimate | None
    levels: tuple[float, ...]
    sample: xarray.Dataset

    def __repr__(self) -> str:
        means = self.state_means if self.observation_means is None else self.observation_means
        rows = repr(means).splitlines()[1:]
        title = f"Forecast of {self.sample.sizes['horizon']} times, {len(self.levels)} quantiles"
        return "\n".join([title, *rows, "  errors are those of the simulation; .sample has draws"])

    def plot(
        self, ax: Any = None, *, y: Any = None, of: str = "observations", component: int = 0
    ) -> Any:
        """Fan of the quantiles, see `smcweights.plots.forecasted`."""
        from .figures import forecasted

        return forecasted(self, ax, y=y, of=of, component=component)


def forecast(
    model: StateSpaceModel,
    y: ArrayLike,
    horizon: int,
    n_particles: int,
    *,
    theta: ArrayLike | None = None,
    draws: Any = None,
    levels: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
    repeats: int = 8,
    proposal: Proposal | str | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
) -> Forecast:
    """States and observations after the last one of y, from particles that go on.

    Parameters
    ----------
    model : StateSpaceModel
        With inputs to the end of the forecast, where it takes some.
    y : array_like, shape (T,) or (T, p)
    horizon : int
        Times after the last one of y, T ... T + H - 1.
    n_particles : int
    theta : array_like, optional
        Parameters other than the model's own.
    draws : ArviZ object or dict of xarray.Dataset, optional
        What `particle_marginal_metropolis_hastings` or `particle_gibbs` returned for y: the
        forecast is that under their parameters, at most 1,000 of them. Parameters are taken by
        name, those that weren't drawn are the model's own, other variables play no part. Kept
        states are gone on from; without them each draw takes a filter.
    levels : sequence of float
        Of the quantiles, different ones between 0 and 1.
    repeats : int, default 8
        Independent filters, whose draws are pooled; at least 2. With `draws` the chains take their
        place.
    proposal, seed, executor, progress
        As for `particle_filter`.

    Returns
    -------
    Forecast
        Values are those of all draws, errors come from the spread of those of the filters, with
        Student's quantiles; of quantiles of counts they reach over a step that is in doubt.

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `particle_filter`; also draws of other parameters, of one chain, outside
        of what a transform allows, or of states at other times than those of y.

    Warns
    -----
    PrecisionWarning
        An observation left an effective sample size below 10, as `particle_filter` warns: all
        filters may have lost the state alike, which their spread does not show.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(20, seed=1)
    >>> ahead = forecast(model, y, 3, 500, seed=1)
    >>> ahead.observation_means.names, ahead.state_quantiles.value.shape
    (('y[20]', 'y[21]', 'y[22]'), (15,))
    """
    began = time.perf_counter()
    horizon, repeats = count("horizon", horizon), count("repeats", repeats, 2)
    wanted = real("levels", levels)
    inside = wanted.size > 0 and ((wanted > 0) & (wanted < 1)).all()
    if wanted.ndim != 1 or not inside or len(np.unique(wanted)) < len(wanted):
        raise ValueError(
            f"levels: got {levels}; expected a list of different numbers between 0 and 1"
        )
    series = checked_series(model, y, n_particles, theta, proposal=proposal, filters=True)
    series.model.check_inputs(len(series.rows), horizon)
    _try_ahead(series, len(series.rows) + horizon - 1)
    root = seed_sequence(seed)
    job: Callable[..., tuple[Array, ...]] = partial(_ahead, series, horizon, describe(root))
    jobs: list[tuple[Any, ...]] = [(r,) for r in range(repeats)]
    if draws is not None:
        thetas, states = _drawn(series, draws)
        job = partial(_ahead_of_draws, series, horizon, describe(root))
        jobs = [(c, own, None if states is None else states[c]) for c, own in enumerate(thetas)]
    series.functions(backward=False)
    told = (root, executor, progress, None)
    runs = side_by_side(job, jobs, "forecast", "filters", *told, {})
    x, seen, ess = (np.array(part) for part in zip(*runs, strict=True))
    cautions = small_samples(ess.mean(axis=0))
    tell("forecast", cautions)
    arguments = series.arguments(horizon=horizon, levels=wanted.tolist(), repeats=len(runs))
    first, scalar = len(series.rows), not series.vector
    common = {
        "method": "forecast",
        "degrees_of_freedom": len(runs) - 1.0,
        "cautions": cautions,
        "cost": {
            "evaluations": x.shape[0] * x.shape[1] * (first + horizon),
            "seconds": time.perf_counter() - began,
        },
        "provenance": provenance("forecast", root, arguments, series.rows),
    }
    own = _laws(x, _places("x", first, x.shape, series.model.state_dim is None), wanted, common)
    others: tuple[Estimate | None, Estimate | None] = (None, None)
    if series.model.observation_sample is not None:
        others = _laws(seen, _places("y", first, seen.shape, scalar), wanted, common)
    return Forecast(*own, *others, tuple(wanted.tolist()), _sample(series, x, seen))


def _places(name: str, first: int, shape: tuple[int, ...], scalar: bool) -> list[str]:
    times = range(first, first + shape[2])
    if scalar:
        return [f"{name}[{t}]" for t in times]
    return [f"{name}[{t}, {j}]" for t in times for j in range(shape[3])]


def _laws(
    groups: Array, names: list[str], levels: Array, common: dict[str, Any]
) -> tuple[Estimate, Estimate]:
    """Means and quantiles of draws (groups, n, H, d) pooled, with the spread of the groups."""
    flat = groups.reshape(*groups.shape[:2], -1)
    labels = [f"{100 * level:g} % of {name}" for level in levels for name in names]

    def estimate(law: Callable[[Array], Array], called: list[str], steps: Any = None) -> Estimate:
        each = np.array([law(group) for group in flat])
        g = len(each)
        factor = ((each - each.mean(axis=0)) / math.sqrt(g * (g - 1))).T
        value = law(flat.reshape(-1, flat.shape[2]))
        if steps is not None:
            _widen(factor, steps(value.reshape(len(levels), -1)).ravel())
        return Estimate(value, factor=factor, names=called, **common)

    means = estimate(lambda z: z.mean(axis=0), names)
    quantiles = partial(np.quantile, q=levels, axis=0)
    return means, estimate(lambda z: quantiles(z).ravel(), labels, partial(_steps, flat, levels))


def _steps(flat: Array, levels: Array, value: Array) -> Array:
    """Errors (q, m) that quantiles (q, m) of draws (groups, n, m) have at least, by Woodruff.

    0 where draws are continuous. Where many are equal (counts) all groups may agree on a quantile
    that is a step away from the right one: it reaches as far as the error of the level does.
    """
    from scipy.special import stdtrit

    pooled = np.sort(flat.reshape(-1, flat.shape[2]), axis=0)
    n, t = len(pooled), stdtrit(len(flat) - 1, 0.975)
    tied = (np.diff(pooled, axis=0) == 0).mean(axis=0) > TIED
    least, columns = np.zeros_like(value), np.arange(len(tied))
    for i in range(len(levels) if tied.any() else 0):
        shares = np.stack([(flat < value[i]).mean(axis=1), (flat <= value[i]).mean(axis=1)])
        off = t * shares.std(axis=1, ddof=1).max(axis=0) / math.sqrt(len(flat))
        ends = np.ceil((levels[i] + np.stack([-off, off])) * n).astype(int) - 1
        low, high = pooled[np.clip(ends, 0, n - 1), columns]
        least[i] = np.maximum(value[i] - low, high - value[i]) * (1 + 1e-9) / t
    return np.where(tied, least, 0.0)


def _widen(factor: Array, least: Array) -> None:
    """Make rows of a factor as long as this at least."""
    now = np.sqrt((factor**2).sum(axis=1))
    short = now < least
    factor[short & (now == 0), 0] = now[short & (now == 0)] = 1.0
    factor[short] *= (least[short] / now[short])[:, None]


def _sample(series: Series, x: Array, seen: Array) -> xarray.Dataset:
    """All draws, labelled."""
    import xarray

    def labelled(z: Array, name: str, scalar: bool) -> tuple[tuple[str, ...], Array]:
        pooled = z.reshape(-1, *z.shape[2:])
        dims = ("draw", "horizon", name)
        return (dims[:2], pooled[..., 0]) if scalar else (dims, pooled)

    content = {"x": labelled(x, "component", series.model.state_dim is None)}
    if series.model.observation_sample is not None:
        content["y"] = labelled(seen, "column", not series.vector)
    times = len(series.rows) + np.arange(x.shape[2])
    return xarray.Dataset(content, coords={"horizon": times})


def _ahead(series: Series, horizon: int, root: dict[str, Any], r: int) -> tuple[Array, ...]:
    """States (n, H, d) and observations that follow one filter, and its sample sizes (T,)."""
    from . import kernels

    rng = generator(seed_sequence(root), "forecast", r)
    cloud = Cloud(series, rng, backward=False)
    ess = cloud.advance(series.rows)[1]
    chosen = np.empty(series.n, dtype=np.int32)
    kernels.ready(kernels.resample_systematic)(rng, cloud.weights, chosen)
    x = cloud.particles.x[(cloud.t - 1) % 2][chosen]
    return *_gone_on(series, rng, x, horizon, series.model.theta.copy()), ess


def _gone_on(
    series: Series, rng: np.random.Generator, x: Array, horizon: int, theta: Array
) -> tuple[Array, Array]:
    """States (n, H, d) and observations (n, H, p) after states of the last time."""
    functions, packed = _own_laws(series), series.model.packed(theta)
    see = compiled_observations(series.model, series.vector)
    n, p = len(x), series.rows.shape[1]
    states, seen = np.empty((n, horizon, x.shape[1])), np.zeros((n, horizon, p))
    for h in range(horizon):
        t = len(series.rows) + h
        x = _moved(functions, rng, x, np.full((1, p), np.nan), t, packed)
        states[:, h] = x
        if series.model.observation_sample is not None:
            seen[:, h] = _seen(series, rng, x, t, theta, see)
    return states, seen


def _own_laws(series: Series) -> Compiled:
    """The model's functions, without a proposal, which looks at an observation."""
    return replace(series, proposal=None, linearised=False).functions(backward=False)


def _moved(
    functions: Compiled, rng: np.random.Generator, x: Array, blank: Array, t: int, packed: Array
) -> Array:
    """States one step on; a blank row (1, p) for the observation that no one has seen."""
    x = np.ascontiguousarray(x)
    new, everyone = np.empty_like(x), np.arange(len(x), dtype=np.int32)
    functions.move(rng, x, everyone, new, blank, 0, t, np.zeros(len(x)), -1, packed)
    if not np.isfinite(new).all():
        raise ModelError(f"transition_sample: {new[~np.isfinite(new)][0]} at time {t}")
    return new


def _seen(
    series: Series, rng: np.random.Generator, x: Array, t: int, theta: Array, see: Any = None
) -> Array:
    """An observation (n, p) of each state, by a compiled loop where there is one."""
    model, array = series.model, np.empty((len(x), series.rows.shape[1]))
    if see is not None:
        see(rng, np.ascontiguousarray(x), t, model.packed(theta), array)
        found: Any = array
    else:
        plain, scalar = model.plain("observation_sample"), model.state_dim is None
        found = [plain(rng, float(a[0]) if scalar else a, t, theta) for a in x]
        array = _numbers(found)
    wrong = np.flatnonzero(np.isnan(array).any(axis=1))
    if wrong.size:
        raise ModelError(
            f"observation_sample: returned {found[wrong[0]]!r} at time {t}; expected numbers, as "
            "many as y has"
        )
    if array.shape[1] != series.rows.shape[1]:
        raise ModelError(
            f"observation_sample: returned {array.shape[1]} numbers; expected "
            f"{series.rows.shape[1]}, as y has"
        )
    return array


def _numbers(found: list[Any]) -> Array:
    """What a sampler returned, a row for each call; NaN for what is no number."""
    try:
        return np.array(found, dtype=np.float64).reshape(len(found), -1)
    except (TypeError, ValueError):
        return np.full((len(found), 1), np.nan)


def _try_ahead(series: Series, last: int) -> None:
    """Call functions at the last time, and observe, before anything is compiled.

    Compiled code reads beyond arrays that end before; a wrong observation needn't wait for it.
    """
    model, rng, theta = series.model, np.random.default_rng(0), series.model.theta.copy()
    check_time(model, np.full((1, series.rows.shape[1]), np.nan), series.vector, last, {})
    if model.observation_sample is None:
        return
    try:
        x = model.plain("initial_sample")(rng, theta)
    except Exception:
        # only numba can draw it
        return
    for t in sorted({0, last}):
        u = () if model.inputs is None else (model.inputs[t - model.first_input],)
        tried("observation_sample", model.observation_sample, rng, x, *u, t, theta)
        _seen(series, rng, np.reshape(x, (1, -1)), t, theta)


def _drawn(series: Series, draws: Any) -> tuple[Array, Array | None]:
    """Parameters (chains, n, k) of an ArviZ object, thinned, and the last states kept of them."""
    model, group = series.model, posterior_of(draws)
    step = -(-group.sizes["chain"] * group.sizes["draw"] // MOST_DRAWS)
    group = group.isel(draw=slice(step - 1, None, step)).transpose(*PAIR, ...)
    names = parameter_names(model)
    known = [k for k, name in enumerate(names) if name in group]
    others = sorted(set(map(str, group.data_vars)) - {*names, *STATES})
    if not known and (others or not set(STATES) & set(group.data_vars)):
        raise ValueError(f"draws: of {others}; expected parameters of the model, some of {names}")
    shape = (group.sizes["chain"], group.sizes["draw"])
    theta = np.tile(model.theta, (*shape, 1))
    for k in known:
        theta[..., k] = _of_shape(names[k], group[names[k]], shape)
    _check_range(model, names, theta, known)
    if "x_last" in group and "series" not in group["x_last"].dims:
        return theta, _states(group["x_last"], shape, model.dim)
    if "x" not in group:
        return theta, None
    times = group["x"].sizes.get("time")
    if times != len(series.rows):
        raise ValueError(f"draws: x of {times} times; expected {len(series.rows)}, as y has")
    return theta, _states(group["x"].isel(time=-1), shape, model.dim)


def _of_shape(name: str, variable: xarray.DataArray, shape: tuple[int, ...]) -> Array:
    """Numbers that are as many as these."""
    if variable.shape != shape or not np.isfinite(variable.values).all():
        raise ValueError(
            f"draws: {name} has shape {variable.shape}; expected finite numbers of shape {shape}, "
            "by chain and draw"
        )
    return np.asarray(variable.values, dtype=np.float64)


def _states(variable: xarray.DataArray, shape: tuple[int, int], dim: int) -> Array:
    """The last states (chains, n, d)."""
    wanted = shape if variable.ndim == 2 and dim == 1 else (*shape, dim)
    return _of_shape("x at the last time", variable, wanted).reshape(*shape, dim)


def _check_range(model: StateSpaceModel, names: list[str], theta: Array, known: list[int]) -> None:
    """Whether parameters are where their transforms let them be: samplers don't look."""
    for k in known:
        low, high = RANGES.get((model.transforms or {k: ""})[k], (-math.inf, math.inf))
        wrong = theta[..., k][(theta[..., k] < low) | (theta[..., k] > high)]
        if wrong.size:
            raise ValueError(
                f"draws: {names[k]} = {wrong[0]:.6g}; expected {low:g} to {high:g}, as its "
                f"transform {model.transforms[k]!r} has it"
            )


def _ahead_of_draws(
    series: Series, horizon: int, root: dict[str, Any], c: int, thetas: Array, states: Array | None
) -> tuple[Array, ...]:
    """One path on from each draw of a chain, and the mean sample sizes (T,) of its filters."""
    from . import kernels

    rng = generator(seed_sequence(root), "forecast of draws", c)
    found, ess = [], np.full((len(thetas), len(series.rows)), float(series.n))
    for i, theta in enumerate(thetas):
        if states is None:
            cloud = Cloud(series, rng, backward=False)
            cloud.theta = theta
            ess[i] = cloud.advance(series.rows)[1]
            now = (cloud.t - 1) % 2
            x = cloud.particles.x[now][[kernels.draw_index(rng, cloud.particles.log_w[now])]]
        else:
            x = states[i : i + 1]
        found.append(_gone_on(series, rng, x, horizon, theta))
    x, seen = (np.concatenate(part) for part in zip(*found, strict=True))
    return x, seen, ess.mean(axis=0)


@dataclass(frozen=True, eq=False)
class PredictiveCheck(Result):
    """How observations lie in the laws predicted for them from those before.

    Attributes
    ----------
    pit : ndarray, shape (T,) or (T, p)
        Predicted probabilities of less than what was seen, uniform under the model: a random point
        of the step that an observation makes among its predicted draws. NaN where missing.
    residuals : ndarray, shape (T,) or (T, p)
        Their normal quantiles: independent and standard normal under the model.
    p_values : dict of str to float
        "correlation" (Ljung and Box, 10 lags, among random series of this length), "spread" (the
        sum of squares, two-sided), "law" (Kolmogorov and Smirnov); of several components the
        smallest, times their number.
    smallest : float
        The smallest p-value as if there were one test (Holm).
    cautions : tuple of Caution
    provenance : dict
    """

    pit: Array = field(metadata=along("time", "observation"))
    residuals: Array = field(metadata=along("time", "observation"))
    p_values: dict[str, float]
    smallest: float
    cautions: tuple[Caution, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {p:.3g}" for name, p in self.p_values.items())
        least = f"smallest p value as of one test {self.smallest:.3g}"
        title = f"PredictiveCheck of {len(self.pit)} times, {least}"
        lines = [title, f"  p values  {rows}", "  .pit and .residuals, .plot()"]
        return "\n".join([*lines, *printed(self.cautions)])

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """The p values; `level` has no say."""
        shown = {"smallest": self.smallest} | self.p_values
        return table({f"p value of {k}": (p, *(math.nan,) * 3) for k, p in shown.items()})

    def plot(self, ax: Any = None, *, component: int = 0) -> Any:
        """Residuals over time, see `smcweights.plots.predicted`."""
        from .figures import predicted

        return predicted(self, ax, component=component)


def predictive_check(
    model: StateSpaceModel,
    y: ArrayLike,
    n_particles: int,
    *,
    theta: ArrayLike | None = None,
    proposal: Proposal | str | None = None,
    seed: Seed = None,
) -> PredictiveCheck:
    """Compare every observation with its law given those before, as the model predicts it.

    Parameters
    ----------
    model : StateSpaceModel
        With an `observation_sample`.
    y : array_like, shape (T,) or (T, p)
        At least 12 observations.
    n_particles : int
        500 or more for the tests to have their level (``benchmarks/statespace_coverage.py level``).
    theta : array_like, optional
        Parameters other than the model's own. Fitted to the same y they make the tests reject
        less often than their level says.
    proposal
        As for `particle_filter`; what is predicted is drawn from the model's own laws.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    PredictiveCheck

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `particle_filter`; also a model that can't draw observations.

    Warns
    -----
    PrecisionWarning
        With fewer than 500 particles the tests may reject more often than their level says. Or an
        observation left an effective sample size below 10: it is far from what was predicted,
        which the tests hardly see of a single one, and what follows may be predicted wrongly.

    References
    ----------
    Rosenblatt (1952), Remarks on a multivariate transformation; Ljung & Box (1978), Biometrika 65;
    Smith (1985), Diagnostic checks of non-standard time series models, Journal of Forecasting 4.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(60, seed=1)
    >>> predictive_check(model, y, 500, seed=1).smallest > 0.01
    True
    """
    series = checked_series(model, y, n_particles, theta, proposal=proposal, filters=True)
    if series.model.observation_sample is None:
        raise ValueError("predictive_check: the model has no observation_sample; expected one")
    if (~np.isnan(series.rows)).sum(axis=0).min() <= LAGS + 1:
        raise ValueError(
            f"y: too few observations; expected more than {LAGS + 1} of each component"
        )
    _try_ahead(series, len(series.rows) - 1)
    from scipy.special import ndtri

    root = seed_sequence(seed)
    pit, ess = _predicted(series, generator(root, "predictive_check"))
    cautions = small_samples(ess)
    if series.n < LEAST:
        text = (
            f"with {series.n} particles the tests may reject more often than their level says; "
            f"expected {LEAST} or more"
        )
        cautions.append(Caution("few-particles", text))
    tell("predictive_check", cautions)
    residuals = ndtri(pit)
    each = [_tests(z[~np.isnan(z)]) for z in residuals.T]
    p_values = {name: min(1.0, len(each) * min(one[name] for one in each)) for name in each[0]}
    smallest = min(1.0, len(p_values) * min(p_values.values()))
    if not series.vector:
        pit, residuals = pit[:, 0], residuals[:, 0]
    source = provenance("predictive_check", root, series.arguments(), series.rows)
    return PredictiveCheck(pit, residuals, p_values, smallest, tuple(cautions), source)


def _predicted(series: Series, rng: np.random.Generator) -> tuple[Array, Array]:
    """Of each observation the share of predicted draws below it, and what it left (T,)."""
    cloud, functions = Cloud(series, rng, backward=False), _own_laws(series)
    theta, found = series.model.theta.copy(), np.full_like(series.rows, np.nan)
    ess = np.empty(len(found))
    see = compiled_observations(series.model, series.vector)
    for t, row in enumerate(series.rows):
        seen = ~np.isnan(row)
        if seen.any():
            # the particles before the observation weighs them, moved on once more
            blank = np.full((1, len(row)), np.nan)
            if t == 0:
                x, w = np.empty((series.n, series.model.dim)), np.full(series.n, 1 / series.n)
                functions.start(rng, x, blank, 0, np.zeros(series.n), -1, cloud.packed)
            else:
                x, w = cloud.particles.x[(t - 1) % 2], cloud.weights
                x = _moved(functions, rng, x, blank, t, cloud.packed)
            draws = _seen(series, rng, x, t, theta, see)[:, seen]
            below, equal = w @ (draws < row[seen]), w @ (draws == row[seen])
            # one more among the draws, as the observation is: uniform where all weigh the same
            own = (w**2).sum()
            found[t, seen] = (below + rng.random(seen.sum()) * (equal + own)) / (1 + own)
        ess[t] = cloud.advance(series.rows[t : t + 1])[1][0]
    return found, ess


def _box(z: Array) -> Array:
    """Ljung's and Box's statistic of series (..., n)."""
    n, centred = z.shape[-1], z - z.mean(axis=-1, keepdims=True)
    lags = range(1, min(LAGS, n - 2) + 1)
    squares = [((centred[..., k:] * centred[..., :-k]).sum(axis=-1)) ** 2 / (n - k) for k in lags]
    return n * (n + 2) * np.sum(squares, axis=0) / (centred**2).sum(axis=-1) ** 2


@cache
def _boxes(n: int) -> Array:
    """The statistic of many series of independent normal numbers, in order."""
    return np.sort(_box(np.random.default_rng(0).standard_normal((REFERENCE // n, n))))


def _correlated(z: Array) -> float:
    """p-value of Ljung and Box, whose statistic has its limiting law in long series only."""
    from scipy.special import chdtrc, gammaincc

    n, box = len(z), float(_box(z))
    if n > LONG:
        return float(chdtrc(LAGS, box))
    others = _boxes(n)
    above = len(others) - int(np.searchsorted(others, box))
    if above > FEW:
        return above / len(others)
    mean, variance = others.mean(), others.var()
    return float(gammaincc(mean**2 / variance, box * mean / variance))


def _tests(z: Array) -> dict[str, float]:
    """p-values of residuals that should be independent and standard normal."""
    from scipy.special import chdtr, chdtrc, ndtr
    from scipy.stats import kstest

    n, total = len(z), float(z @ z)
    spread = 2 * min(chdtr(n, total), chdtrc(n, total))
    return {
        "correlation": _correlated(z),
        "spread": float(min(spread, 1.0)),
        "law": float(kstest(ndtr(z), "uniform").pvalue),
    }
