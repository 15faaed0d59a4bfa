"""Answers without error: Kalman for linear Gaussian models, forward-backward for finite ones.

A linear Gaussian model may have singular covariances, matrices that change with time, and a state
m_0 + D delta + N(0, P_0) at time 0 whose delta may be anything (diffuse). Filters carry the part of
delta along (de Jong 1991): the state is m + E delta + N(0, P), and what the observations say of
delta is a quadratic form, which is integrated out at the end.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, instance
from ..cautions import Caution, tell
from ..errors import DegeneracyError
from ..weights import log_sum_exp
from .exact_laws import FiniteSmoothing, GaussianFiltering, GaussianForecast, GaussianSmoothing
from .model import LinearSystem, StateSpaceModel, observations

Array = NDArray[np.float64]
Numbers = NDArray[Any]  # complex where a score is found
KNOWN = 1e-12  # of the largest variance seen: an observation that is known before
AGREES = 1e-8  # of the size of a known observation, for rounding
ROUNDING = 1e-14  # of the largest variance so far: what is left of it may be nothing
TOLD = 1e-10  # smallest eigenvalue of a correlation matrix whose inverse is trusted
KALMAN = "models.linear_gaussian, models.structural or models.autoregression"
LOST = 1e-4  # of the standard deviation of an observation that its rounding may be
STEP = 1e-20  # of the imaginary parts by which a score is found


def _system(
    model: StateSpaceModel, kind: str, what: str, theta: Numbers | None = None
) -> tuple[Any, ...]:
    instance("model", model, StateSpaceModel)
    if model.exact is None or model.exact.kind != kind:
        raise ValueError(f"model: expected one made by {what}; its laws are known exactly")
    return model.exact.system(model.theta if theta is None else theta)


def _linear(model: StateSpaceModel, y: ArrayLike, horizon: int = 0) -> tuple[LinearSystem, Array]:
    """Matrices of a model, and observations that fit them, with missing ones behind."""
    system = LinearSystem(*_system(model, "linear_gaussian", KALMAN))
    rows = observations(y)
    p = system.h.shape[-2]
    if rows.shape[1] != p:
        expected = "(T,) or (T, 1)" if p == 1 else f"(T, {p})"
        raise ValueError(f"y: got shape {np.shape(y)}; expected {expected}")
    rows = np.concatenate([rows, np.full((horizon, p), np.nan)])
    if len(rows) > system.times:
        raise ValueError(
            f"model: matrices of {system.times} times; expected at least {len(rows)}, one per time "
            f"of y{f' (and {horizon} of the forecast)' if horizon else ''}"
        )
    return system, rows


class _Step(NamedTuple):
    """A time of the filter: the law predicted, what was seen of it, and the law after that.

    Means are m beside the columns of E, shape (d, 1 + k). What is known of (1, delta) is a
    quadratic form, of v' F^-1 v, v' F^-1 B and B' F^-1 B for errors v + B delta.
    """

    means: Numbers
    covariance: Numbers
    known: Numbers
    pull: Numbers  # h' F^-1 (v, B)
    weight: Numbers  # h' F^-1 h
    rest: Numbers  # I - K h
    means_after: Numbers
    covariance_after: Numbers
    known_after: Numbers


class _Pass(NamedTuple):
    """Steps, log p(y), the law (1 + k columns) of delta at the end, and what became of delta."""

    steps: list[_Step]
    log_likelihood: Any
    told: tuple[Numbers, Numbers]
    diffuse: Numbers
    cautions: list[Caution]


def _forward(system: LinearSystem, rows: Array, diffuse: Numbers | None = None) -> _Pass:
    """The Kalman filter; `diffuse` (k, 1 + l) says delta by other unknowns, some of them known."""
    kind = np.result_type(*(part for part in system if part is not None), 0.0)
    flat = np.zeros((len(system.m), 0)) if system.diffuse is None else system.diffuse
    if diffuse is None:
        diffuse = np.eye(flat.shape[1], 1 + flat.shape[1], 1).astype(kind)
    state, cov = flat @ diffuse, system.p
    state[:, 0] += system.m
    known, total, noise, steps = np.zeros((state.shape[1],) * 2, kind), np.zeros((), kind), 0.0, []
    lost = [0.0]
    for t, row in enumerate(rows):
        now = system.at(t)
        if t:
            state, cov = now.a @ state, now.a @ cov @ now.a.T + now.q
            state[:, 0] += now.c
        before = (state, cov, known)
        seen = ~np.isnan(row)
        h, r = now.h[seen], now.r[np.ix_(seen, seen)]
        error = -h @ state
        error[:, 0] += row[seen] - now.e[seen]
        spread, turn = h @ cov @ h.T + r, np.eye(len(h))
        lost.append(_lost(row[seen], spread.real.diagonal()))
        w, u = np.linalg.eigh(spread.real)
        fixed = w <= max(
            KNOWN * w.max(initial=0.0), noise * (h.real**2).sum(axis=1).max(initial=0.0)
        )
        noise = max(noise, ROUNDING * np.abs(cov.diagonal()).max())
        if fixed.any():
            exact, turn = u[:, fixed].T @ error, u[:, ~fixed]
            tells = np.abs(exact[:, 1:]).max(axis=1, initial=0.0) > AGREES * np.abs(h).max()
            if (np.abs(exact[~tells, 0]) > AGREES * (1 + np.abs(row[seen]).max())).any():
                raise DegeneracyError(
                    f"time {t}: y = {row} contradicts the model, by which it is known before"
                )
            if tells.any():
                change, cost = _solved(exact[tells])
                state, error, diffuse = state @ change, error @ change, diffuse @ change
                known, total = change.T @ known @ change, total - cost
        spread = turn.T @ spread @ turn
        inverse = turn @ np.linalg.inv(spread) @ turn.T
        pull, weight = h.T @ inverse @ error, h.T @ inverse @ h
        rest, gain = np.eye(len(cov)) - cov @ weight, cov @ h.T @ inverse
        # Joseph's form stays positive definite
        state, cov = state + cov @ pull, rest @ cov @ rest.T + gain @ r @ gain.T
        known = known + error.T @ inverse @ error
        total = total - 0.5 * (_log_det(spread) + len(spread) * math.log(2 * math.pi))
        steps.append(_Step(*before, pull, weight, rest, state, cov, known))
    told, cautions = _law(known), list[Caution]()
    if max(lost) > LOST:
        t = int(np.argmax(lost)) - 1
        text = (
            f"at time {t} the rounding of y = {rows[t]} is {lost[t + 1]:.2g} standard deviations "
            "of its prediction, which is lost in it; model differences, ratios or logarithms, or "
            "fewer times"
        )
        cautions.append(Caution("rounding", text))
    if told is None:
        raise DegeneracyError(
            f"y: the {len(rows)} observations don't tell the diffuse initial state; expected more "
            "of them, or an initial_covariance"
        )
    total = total - 0.5 * (known[0, 0] + told[0] @ known[1:, 0]) + 0.5 * _log_det(told[1])
    return _Pass(steps, total, told, diffuse, cautions)


def _lost(seen: Array, variances: Array) -> float:
    """Largest rounding of observations, in standard deviations of their prediction."""
    known = variances > KNOWN * variances.max(initial=0.0)
    sizes = np.spacing(np.abs(seen[known])) / np.sqrt(variances[known])
    return float(sizes.max(initial=0.0))


def _solved(exact: Numbers) -> tuple[Numbers, Any]:
    """(1, delta) by fewer unknowns, where v + B delta = 0 is known; half the log size of B.

    Arithmetic that holds for complex numbers, too, but for their conjugates.
    """
    v, b = exact[:, 0], exact[:, 1:]
    _, sizes, turn = np.linalg.svd(b.real)
    rank = int((sizes > KNOWN * sizes.max()).sum())
    left = np.linalg.svd(b.real)[0][:, :rank].T
    v, b = left @ v, left @ b
    inverse = np.linalg.inv(b @ b.T)
    free = turn[rank:].T - b.T @ inverse @ b @ turn[rank:].T
    change = np.zeros((1 + b.shape[1], 1 + free.shape[1]), exact.dtype)
    change[0, 0] = 1.0
    change[1:, 0], change[1:, 1:] = -b.T @ inverse @ v, free
    return change, 0.5 * (_log_det(b @ b.T) + rank * math.log(2 * math.pi))


def _law(known: Numbers) -> tuple[Numbers, Numbers] | None:
    """Mean (k,) and covariance of delta; None where the observations don't tell it."""
    form = known[1:, 1:]
    scale = np.sqrt(np.maximum(form.real.diagonal(), 0.0))
    if not scale.all() or (
        len(form) and np.linalg.eigvalsh(form.real / np.outer(scale, scale))[0] < TOLD
    ):
        return None
    inverse = np.linalg.inv(form)
    return -inverse @ known[1:, 0], inverse


def _log_det(a: Numbers) -> Any:
    """Log determinant, also of a complex matrix that is nearly real."""
    sign, size = np.linalg.slogdet(a)
    return size + np.log(sign) if np.iscomplexobj(a) else size


def _moments(means: Numbers, covariance: Numbers, known: Numbers) -> tuple[Array, Array]:
    """Mean and covariance of m + E delta + N(0, P): NaN and infinite where delta is unknown."""
    told, each = _law(known), means[:, 1:]
    if told is not None:
        return means[:, 0] + each @ told[0], covariance + each @ told[1] @ each.T
    unknown = (each != 0).any(axis=1)
    mean, covariance = means[:, 0].copy(), covariance.copy()
    mean[unknown] = covariance[unknown] = covariance[:, unknown] = np.nan
    covariance[unknown, unknown] = np.inf
    return mean, covariance


def _shaped(model: StateSpaceModel, mean: Array, *matrices: Array) -> Any:
    """Without the last axes where states are floats."""
    if model.state_dim is None:
        return (mean[:, 0], *(matrix[:, 0, 0] for matrix in matrices))
    return (mean, *matrices)


def kalman_filter(model: StateSpaceModel, y: ArrayLike) -> GaussianFiltering:
    """Exact filtering of a linear Gaussian model.

    Parameters
    ----------
    model : StateSpaceModel
        Made by `smcweights.models.linear_gaussian`, `structural` or `autoregression`.
    y : array_like, shape (T,) or (T, p)
        Observations; NaN where a component is missing.

    Returns
    -------
    GaussianFiltering
        Unpacks into means, covariances, predicted_means, predicted_covariances, log_likelihood.

    Raises
    ------
    TypeError, ValueError
        Another model, or y of the wrong shape.
    DegeneracyError
        An observation contradicts a model without noise, or a diffuse initial state stays unknown.

    References
    ----------
    de Jong (1991), The diffuse Kalman filter, Annals of Statistics 19; Durbin & Koopman (2012),
    Time series analysis by state space methods.

    Warns
    -----
    PrecisionWarning
        Observations are so large that their rounding is not small beside their noise.

    Examples
    --------
    >>> from smcweights import models
    >>> level = models.structural(level=1.0, irregular=1.0)
    >>> kalman_filter(level, [1.0, 2.0, 4.0]).means[:, 0].round(4)
    array([1.    , 1.6667, 3.125 ])
    """
    system, rows = _linear(model, y)
    done = _forward(system, rows)
    tell("kalman_filter", done.cautions)
    parts = _predicted(done), [_moments(*step[-3:]) for step in done.steps]
    (before, spread), (means, covariances) = (
        _shaped(model, *map(np.array, zip(*part, strict=True))) for part in parts
    )
    return GaussianFiltering(means, covariances, before, spread, float(done.log_likelihood))


def _predicted(done: _Pass) -> list[tuple[Array, Array]]:
    """Moments of all times given what came before."""
    return [_moments(*step[:3]) for step in done.steps]


def kalman_smoother(model: StateSpaceModel, y: ArrayLike) -> GaussianSmoothing:
    """Exact smoothing of a linear Gaussian model, by adjoint recursions that invert no covariance.

    Parameters
    ----------
    model, y
        As for `kalman_filter`.

    Returns
    -------
    GaussianSmoothing
        Unpacks into means, covariances, lag_one_covariances, log_likelihood.

    Raises
    ------
    TypeError, ValueError, DegeneracyError
        As for `kalman_filter`.

    References
    ----------
    de Jong (1989), Smoothing and interpolation with the state space model, JASA 84; Durbin &
    Koopman (2012), Time series analysis by state space methods.

    Examples
    --------
    >>> from smcweights import models
    >>> exact = kalman_smoother(models.linear_gaussian(0.9, 1.0, 1.0, 1.0), [1.0, float("nan")])
    >>> exact.means.round(4)
    array([0.8403, 0.7563])
    """
    system, rows = _linear(model, y)
    done = _forward(system, rows)
    tell("kalman_smoother", done.cautions)
    log_likelihood = float(done.log_likelihood)
    if done.diffuse.shape[1] < done.steps[0].means.shape[1]:
        # with what became known of the initial state on the way
        done = _forward(system, rows, done.diffuse)
    delta, spread = done.told
    n_steps, d = len(rows), len(system.m)
    means, covariances = np.empty((n_steps, d)), np.empty((n_steps, d, d))
    lag_one = np.empty((n_steps - 1, d, d))
    r, n = np.zeros_like(done.steps[0].means), np.zeros((d, d))
    later = np.zeros((d, len(delta)))
    for t in range(n_steps - 1, -1, -1):
        step = done.steps[t]
        p = step.covariance
        if t < n_steps - 1:
            a, after = system.at(t + 1).a, done.steps[t + 1].covariance
            lag_one[t] = (np.eye(d) - after @ n) @ a @ step.rest @ p
            r, n = a.T @ r, a.T @ n @ a
        r, n = step.pull + step.rest.T @ r, step.weight + step.rest.T @ n @ step.rest
        state = step.means + p @ r
        each = state[:, 1:]
        means[t] = state[:, 0] + each @ delta
        covariances[t] = p - p @ n @ p + each @ spread @ each.T
        if t < n_steps - 1:
            lag_one[t] += later @ spread @ each.T
        later = each
    means, covariances, lag_one = _shaped(model, means, covariances, lag_one)
    return GaussianSmoothing(means, covariances, lag_one, log_likelihood)


def kalman_forecast(model: StateSpaceModel, y: ArrayLike, horizon: int) -> GaussianForecast:
    """Exact laws of the states and observations that follow.

    Parameters
    ----------
    model, y
        As for `kalman_filter`.
    horizon : int
        Times after the last one of y.

    Returns
    -------
    GaussianForecast
        Unpacks into means, covariances, observation_means, observation_covariances.

    Raises
    ------
    TypeError, ValueError, DegeneracyError
        As for `kalman_filter`; matrices with a time axis reach to the end of the forecast.

    Examples
    --------
    >>> from smcweights import models
    >>> ahead = kalman_forecast(models.linear_gaussian(0.9, 1.0, 1.0, 1.0), [1.0], 2)
    >>> ahead.observation_means.round(4), ahead.observation_covariances.round(4)
    (array([0.7563, 0.6807]), array([2.6807, 3.3613]))
    """
    horizon = count("horizon", horizon)
    system, rows = _linear(model, y, horizon)
    done = _forward(system, rows)
    tell("kalman_forecast", done.cautions)
    states = _predicted(done)[-horizon:]
    seen = []
    for t, (mean, covariance) in enumerate(states, len(rows) - horizon):
        now = system.at(t)
        seen.append((now.h @ mean + now.e, now.h @ covariance @ now.h.T + now.r))
    means, covariances = map(np.array, zip(*seen, strict=True))
    if np.ndim(y) == 1:
        means, covariances = means[:, 0], covariances[:, 0, 0]
    of_states, spread = _shaped(model, *map(np.array, zip(*states, strict=True)))
    return GaussianForecast(of_states, spread, means, covariances)


def kalman_score(model: StateSpaceModel, y: ArrayLike) -> Array:
    """Exact gradient of log p(y) by the model's parameters.

    Parameters
    ----------
    model, y
        As for `kalman_filter`.

    Returns
    -------
    ndarray, shape (k,)
        d log p(y) / d theta, in the order of the model's `theta_names`.

    Raises
    ------
    TypeError, ValueError, DegeneracyError
        As for `kalman_filter`.

    Notes
    -----
    The filter runs once for each parameter, moved by an imaginary part of 1e-20: the imaginary part
    of log p(y) is the derivative, without the rounding of differences.

    References
    ----------
    Squire & Trapp (1998), Using complex variables to estimate derivatives of real functions, SIAM
    Review 40.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> kalman_score(model, [1.0, 0.5, -0.3]).shape
    (6,)
    """
    _, rows = _linear(model, y)
    found = np.empty(model.theta.size)
    for k in range(found.size):
        theta = model.theta.astype(complex)
        theta[k] += 1j * STEP
        system = LinearSystem(*_system(model, "linear_gaussian", KALMAN, theta))
        done = _forward(system, rows)
        found[k] = done.log_likelihood.imag / STEP
        tell("kalman_score", done.cautions if k == 0 else ())
    return found


def forward_backward(model: StateSpaceModel, y: ArrayLike) -> FiniteSmoothing:
    """Exact smoothing of a finite hidden Markov model.

    Parameters
    ----------
    model : StateSpaceModel
        Made by `smcweights.models.finite_hmm`.
    y : array_like, shape (T,)
        Observations; NaN where missing.

    Returns
    -------
    FiniteSmoothing
        Unpacks into probabilities, pair_probabilities, log_likelihood.

    Raises
    ------
    TypeError, ValueError
        Another model, or y of the wrong shape.
    DegeneracyError
        An observation so far away that its density is zero in all states.

    References
    ----------
    Rabiner (1989), Proceedings of the IEEE 77.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.finite_hmm([0.5, 0.5], [[0.9, 0.1], [0.3, 0.7]], [0.0, 2.0], [1.0, 1.0])
    >>> forward_backward(model, [0.1, 1.9]).probabilities.round(3)
    array([[0.668, 0.332],
           [0.421, 0.579]])
    """
    first, matrix, means, scales = _system(model, "finite_hmm", "models.finite_hmm")
    rows = observations(y)
    if rows.shape[1] != 1:
        raise ValueError(f"y: got shape {np.shape(y)}; expected (T,) or (T, 1)")
    z = (rows - means) / scales
    with np.errstate(over="ignore"):
        log_g = -0.5 * (z * z + math.log(2 * math.pi)) - np.log(scales)
    log_g[np.isnan(rows[:, 0])] = 0.0
    n_steps, k = log_g.shape
    with np.errstate(divide="ignore"):
        log_first, log_matrix = np.log(first), np.log(matrix)
    forward, backward = np.empty((n_steps, k)), np.zeros((n_steps, k))
    forward[0] = log_first + log_g[0]
    for t in range(1, n_steps):
        forward[t] = np.logaddexp.reduce(forward[t - 1][:, None] + log_matrix, axis=0) + log_g[t]
    for t in range(n_steps - 2, -1, -1):
        backward[t] = np.logaddexp.reduce(log_matrix + log_g[t + 1] + backward[t + 1], axis=1)
    if not np.isfinite(forward[-1].max()):
        t = int((forward.max(axis=1) == -np.inf).argmax())
        raise DegeneracyError(
            f"time {t}: y = {rows[t, 0]:.6g} is impossible in all states; expected one that can be"
        )
    log_likelihood = log_sum_exp(forward[-1])
    probabilities = np.exp(forward + backward - log_likelihood)
    pairs = np.exp(
        forward[:-1, :, None] + log_matrix + (log_g + backward)[1:, None, :] - log_likelihood
    )
    return FiniteSmoothing(probabilities, pairs, log_likelihood)
