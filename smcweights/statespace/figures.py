"""Figures of filters, forecasts and searches: states over time, fans, iterates, profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments as check
from ..canvas import BLUE, GREY, ORANGE, literal, open_axes, position
from ..estimate import Estimate
from .model import observations

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

__all__ = ["filtered", "forecasted", "increments", "iterates", "predicted", "profile", "scores"]
PAST = 4  # times the horizon of a forecast, of what came before


@runtime_checkable
class _Search(Protocol):
    """What is drawn of a search for parameters."""

    @property
    def theta(self) -> Estimate: ...
    @property
    def maximiser(self) -> Estimate: ...
    @property
    def iterates(self) -> np.ndarray: ...
    @property
    def averaged_path(self) -> np.ndarray: ...
    @property
    def diagnostics(self) -> Mapping[str, Any]: ...
    def interval(self, level: float, error: str) -> tuple[np.ndarray, np.ndarray]: ...


@runtime_checkable
class _Filtered(Protocol):
    """What is drawn of a filter."""

    @property
    def means(self) -> np.ndarray: ...
    @property
    def variances(self) -> np.ndarray: ...
    @property
    def ess(self) -> np.ndarray: ...
    @property
    def log_increments(self) -> np.ndarray: ...


@runtime_checkable
class _Foreseen(Protocol):
    """What is drawn of a forecast."""

    @property
    def state_means(self) -> Estimate: ...
    @property
    def state_quantiles(self) -> Estimate: ...
    @property
    def observation_means(self) -> Estimate | None: ...
    @property
    def observation_quantiles(self) -> Estimate | None: ...
    @property
    def levels(self) -> tuple[float, ...]: ...
    @property
    def sample(self) -> xarray.Dataset: ...


@runtime_checkable
class _Checked(Protocol):
    """What is drawn of a predictive check."""

    @property
    def residuals(self) -> np.ndarray: ...
    @property
    def p_values(self) -> Mapping[str, float]: ...


def iterates(
    fit: _Search, ax: Axes | None = None, *, parameter: str | int = 0, level: float = 0.95
) -> Axes:
    """Iterates of every chain, their running averages, and the intervals at the end.

    Parameters
    ----------
    fit : smcweights.Fit
    ax : matplotlib axes, optional
    parameter : str or int
        By name or position among the free ones.
    level : float, default 0.95
        Of the intervals: of search and data together (grey), and of the search alone (orange).

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> import smcweights as smw
    >>> model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> y = model.simulate(50, seed=1)[1]
    >>> free = ["transition_matrix"]
    >>> fit = smw.maximum_likelihood(model, y, None, 40, 30, free=free, information=False, seed=1)
    >>> iterates(fit).get_ylabel()
    'transition_matrix'
    """
    k = position(check.instance("fit", fit, _Search, "a Fit").theta.names, parameter)
    level = check.level(level)
    ax = open_axes(ax)
    steps = np.arange(1, fit.iterates.shape[1] + 1)
    ax.plot(steps, fit.iterates[:, :, k].T, color=BLUE, lw=0.6, alpha=0.35)
    ax.plot(steps, fit.averaged_path[:, :, k].T, color=ORANGE, lw=1.5)
    # a target without data has no other error
    alone = np.array_equal(fit.theta.standard_error, fit.maximiser.standard_error, equal_nan=True)
    shown = [("both", GREY), ("monte carlo", ORANGE)]
    for error, colour in shown[1:] if alone else shown:
        lower, upper = (end[k] for end in fit.interval(level, error))
        if np.isfinite([lower, upper]).all():
            ax.axhspan(lower, upper, color=colour, alpha=0.15, lw=0)
    ax.set(xlabel="iteration", ylabel=literal(str(fit.theta.names[k])))
    return ax


def scores(
    found: Sequence[Estimate],
    grid: np.ndarray,
    parameter: str,
    ax: Axes | None = None,
    *,
    level: float = 0.95,
) -> Axes:
    """Scores of one component at values of a parameter, with their intervals as a band."""
    lower, upper = np.array([np.concatenate(est.interval(level)) for est in found]).T
    ax = open_axes(ax)
    ax.fill_between(grid, lower, upper, color=ORANGE, alpha=0.35, linewidth=0)
    ax.plot(grid, [est.value[0] for est in found], "o-", color=ORANGE, ms=3, lw=1.2)
    ax.axhline(0.0, color=GREY, lw=0.8)
    ax.set(xlabel=literal(parameter), ylabel="score")
    return ax


def profile(
    found: Sequence[Estimate],
    grid: np.ndarray,
    fit: _Search,
    parameter: str | int,
    ax: Axes | None = None,
    *,
    level: float = 0.95,
) -> Axes:
    """Log likelihoods at values of a parameter, with their intervals.

    Where the fit holds the information, the parabola that its error of the data stands for is
    drawn as well.
    """
    k = position(fit.theta.names, parameter)
    value = np.array([float(est.value) for est in found])
    lower, upper = np.array([est.interval(level) for est in found]).T
    ax = open_axes(ax)
    ax.vlines(grid, lower, upper, color=BLUE, lw=2)
    ax.plot(grid, value, "o", color=BLUE, ms=4)
    error = fit.diagnostics.get("statistical_error", np.full(len(fit.theta.names), np.nan))[k]
    if np.isfinite(error):
        fine = np.linspace(grid.min(), grid.max(), 200)
        centre = fit.maximiser.value[k]
        parabola = -0.5 * ((grid - centre) / error) ** 2
        top = np.average(value - parabola, weights=np.exp(parabola))
        ax.plot(fine, top - 0.5 * ((fine - centre) / error) ** 2, color=GREY, lw=1)
    ax.set(xlabel=literal(fit.theta.names[k]), ylabel="log likelihood")
    return ax


def filtered(result: _Filtered, ax: Axes | None = None, *, component: int = 0) -> Axes:
    """Filtered means over time, with a band of two standard deviations of the state.

    Parameters
    ----------
    result : smcweights.FilterResult
    ax : matplotlib axes, optional
    component : int, default 0
        Which component of a state of several.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        There is no such component.

    Examples
    --------
    >>> import smcweights as smw
    >>> model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> y = model.simulate(10, seed=1)[1]
    >>> filtered(smw.particle_filter(model, y, 1_000, seed=1)).get_xlabel()
    'time'
    """
    check.instance("result", result, _Filtered, "a FilterResult")
    means, variances = (part.reshape(len(part), -1) for part in (result.means, result.variances))
    return _band(means, variances, "given the observations so far", ax, component)


def laws(
    means: np.ndarray,
    covariances: np.ndarray,
    given: str,
    ax: Axes | None = None,
    *,
    component: int = 0,
) -> Axes:
    """Means over time of laws with these covariances, with a band of two standard deviations."""
    flat = means.reshape(len(means), -1)
    whole = covariances.reshape(len(means), flat.shape[1], flat.shape[1])
    return _band(flat, np.diagonal(whole, axis1=1, axis2=2), given, ax, component)


def _band(
    means: np.ndarray, variances: np.ndarray, given: str, ax: Axes | None, component: int
) -> Axes:
    component = check.position("component", component, means.shape[1])
    at, mean = np.arange(len(means)), means[:, component]
    half = 2 * np.sqrt(variances[:, component])
    ax = open_axes(ax)
    ax.fill_between(at, mean - half, mean + half, color=BLUE, alpha=0.25, linewidth=0)
    ax.plot(at, mean, color=BLUE, lw=1.2)
    ax.set(xlabel="time", ylabel="state")
    ax.set_title(f"{given}, 2 standard deviations")
    return ax


def chances(probabilities: np.ndarray, ax: Axes | None = None) -> Axes:
    """Probabilities of states (T, K) over time, stacked."""
    ax = open_axes(ax)
    labels = [f"state {k}" for k in range(probabilities.shape[1])]
    ax.stackplot(np.arange(len(probabilities)), probabilities.T, labels=labels)
    ax.set(xlabel="time", ylabel="probability", ylim=(0, 1))
    ax.legend(loc="upper right")
    return ax


def increments(result: _Filtered, ax: Axes | None = None) -> Axes:
    """Log p(y_t | the past) at each time, and the effective sample size that y_t left.

    Where both fall an observation was hardly foreseen, and few particles saw where it came from.

    Parameters
    ----------
    result : smcweights.FilterResult
    ax : matplotlib axes, optional
        A second axis on its right is for the effective sample sizes.

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> import smcweights as smw
    >>> model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> y = model.simulate(10, seed=1)[1]
    >>> increments(smw.particle_filter(model, y, 1_000, seed=1)).get_ylabel()
    'log likelihood'
    """
    check.instance("result", result, _Filtered, "a FilterResult")
    ax, at = open_axes(ax), np.arange(len(result.ess))
    ax.plot(at, result.log_increments, color=BLUE, lw=1.2)
    ax.set(xlabel="time", ylabel="log likelihood")
    right = ax.twinx()
    right.plot(at, result.ess, color=ORANGE, lw=1.0)
    right.set(yscale="log", ylabel="effective sample size")
    for one, colour in ((ax, BLUE), (right, ORANGE)):
        one.yaxis.label.set_color(colour)
    return ax


def forecasted(
    found: _Foreseen,
    ax: Axes | None = None,
    *,
    y: ArrayLike | None = None,
    of: str = "observations",
    component: int = 0,
) -> Axes:
    """A forecast as a fan: bands between its quantiles, its mean, and what was seen before.

    Parameters
    ----------
    found : Forecast
    ax : matplotlib axes, optional
    y : array_like, shape (T,) or (T, p), optional
        The observations that it goes on from, whose last ones are drawn.
    of : {"observations", "states"}
        The latter also where the model has no `observation_sample`.
    component : int, default 0
        Which component of several.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        There is no such component, or nothing is known of observations.

    Examples
    --------
    >>> import smcweights as smw
    >>> model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> y = model.simulate(10, seed=1)[1]
    >>> forecasted(smw.forecast(model, y, 5, 500, seed=1), y=y).get_xlabel()
    'time'
    """
    check.instance("found", found, _Foreseen, "a Forecast")
    states = check.one_of("of", of, ("observations", "states")) == "states"
    means, quantiles = (
        (found.state_means, found.state_quantiles)
        if states
        else (found.observation_means, found.observation_quantiles)
    )
    if means is None or quantiles is None:
        raise ValueError("of: got 'observations', which the model can't draw; expected 'states'")
    times = found.sample["horizon"].values
    mean = np.reshape(means.value, (len(times), -1))
    component = check.position("component", component, mean.shape[1])
    levels = np.argsort(found.levels)
    bands = np.reshape(quantiles.value, (len(levels), *mean.shape))[levels, :, component]
    rows = np.empty((0, component + 1)) if y is None else observations(y)
    check.position("component", component, rows.shape[1])
    ax = open_axes(ax)
    for k in range(len(bands) // 2):
        ax.fill_between(times, bands[k], bands[-1 - k], color=ORANGE, alpha=0.25, linewidth=0)
    ax.plot(times, mean[:, component], color=ORANGE, lw=1.4)
    if len(rows):
        past = rows[-PAST * len(times) :, component]
        ax.plot(times[0] - len(past) + np.arange(len(past)), past, color=BLUE, lw=1.0)
    ax.set(xlabel="time", ylabel="state" if states else "observation")
    return ax


def predicted(found: _Checked, ax: Axes | None = None, *, component: int = 0) -> Axes:
    """Residuals of a predictive check over time, standard normal where the model is right.

    Parameters
    ----------
    found : PredictiveCheck
    ax : matplotlib axes, optional
    component : int, default 0
        Which component of several.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        There is no such component.

    Examples
    --------
    >>> import smcweights as smw
    >>> model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> y = model.simulate(20, seed=1)[1]
    >>> predicted(smw.predictive_check(model, y, 500, seed=1)).get_ylabel()
    'residual'
    """
    check.instance("found", found, _Checked, "a PredictiveCheck")
    residuals = found.residuals.reshape(len(found.residuals), -1)
    component = check.position("component", component, residuals.shape[1])
    ax = open_axes(ax)
    ax.axhspan(-1.96, 1.96, color=GREY, alpha=0.15, lw=0)
    ax.axhline(0.0, color=GREY, lw=0.8)
    ax.plot(residuals[:, component], "o", color=BLUE, ms=3)
    ax.set(xlabel="time", ylabel="residual")
    said = ", ".join(f"{name} {value:.2g}" for name, value in found.p_values.items())
    ax.set_title(f"p-values: {said}", fontsize="small")
    return ax
