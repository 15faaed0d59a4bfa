"""Linear Gaussian models that only exact methods know in full: general, structural, autoregressive.

Where covariances are singular, transitions have no density: filters and PMMH run on such models,
smoothers by backward draws don't, and `smcweights.kalman_smoother` is exact. Where the initial
state is diffuse, or observations have no noise, the exact methods are the only ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, finite, number, several
from .model import Exact, LinearSystem, StateSpaceModel
from .remade import remade

Array = NDArray[np.float64]
_LOG_2_PI = math.log(2 * math.pi)


def _diffuse_initial_sample(rng, theta):
    raise ValueError(
        "the initial state is diffuse, which no particle can be drawn from: use kalman_filter, or "
        "give an initial_covariance"
    )


def _exact_observation_logpdf(y, x, t, theta):
    raise ValueError(
        "observations without noise have no density, by which particles could be weighed: use "
        "kalman_filter, or give them noise"
    )


def semidefinite_root(name: str, value: Array) -> Array:
    """L with L L' the covariance, of one matrix or of one for each time."""
    if not np.allclose(value, np.swapaxes(value, -1, -2), rtol=1e-9, atol=0):
        raise ValueError(f"{name}: not symmetric; expected a covariance matrix")
    w, u = np.linalg.eigh(value)
    if w.min() < -1e-12 * max(w.max(), 0.0):
        raise ValueError(
            f"{name}: smallest eigenvalue {w.min():.3g}; expected a positive definite matrix, or a "
            "semidefinite one"
        )
    return u * np.sqrt(np.maximum(w, 0.0))[..., None, :]


def regular(value: Array) -> bool:
    """Whether covariances have an inverse, at all times."""
    w = np.linalg.eigvalsh(value)
    return bool((w[..., 0] > 1e-12 * w[..., -1]).all())


def diffuse_directions(given: ArrayLike | None, d: int) -> Array | None:
    """(d, k) of a mask of components, or of directions."""
    if given is None:
        return None
    array = np.asarray(given)
    if array.dtype == bool:
        array = np.eye(d)[:, array] if array.shape == (d,) else array.astype(float)
    array = finite("initial_diffuse", array)
    if array.ndim != 2 or len(array) != d or np.linalg.matrix_rank(array) < array.shape[1]:
        raise ValueError(
            f"initial_diffuse: got shape {np.shape(given)}; expected a mask of {d} components, or "
            f"({d}, k) independent directions"
        )
    return array if array.size else None


def general_gaussian(
    given: dict[str, ArrayLike],
    initial_mean: ArrayLike | None,
    initial_covariance: ArrayLike | None,
    initial_diffuse: ArrayLike | None,
) -> StateSpaceModel:
    """A `linear_gaussian` with times, offsets, singular covariances or a diffuse initial state."""
    d = np.atleast_2d(given["transition_matrix"]).shape[-1]
    p = np.atleast_2d(given["observation_matrix"]).shape[-2]
    ndims = {name: np.ndim(value) for name, value in given.items()}
    lengths = {
        len(np.asarray(value))
        for name, value in given.items()
        if ndims[name] == (2 if name.endswith("offset") else 3)
    }
    if len(lengths) > 1:
        raise ValueError(f"time axes: got lengths {sorted(lengths)}; expected one length")
    times = lengths.pop() if lengths else None

    def shaped(name: str, value: ArrayLike | None, shape: tuple[int, ...]) -> Array:
        array = np.zeros(shape) if value is None else finite(name, value)
        array = array.reshape(shape) if array.size == math.prod(shape) <= 1 else array
        if array.shape not in (shape, (times, *shape)) or (
            array.shape[1:] == shape and name[0] == "i"
        ):
            raise ValueError(f"{name}: got shape {array.shape}; expected {shape}")
        return array

    names = ("transition_matrix", "transition_covariance", "observation_matrix")
    a, q, h = (shaped(n, given[n], s) for n, s in zip(names, ((d, d), (d, d), (p, d)), strict=True))
    r = shaped("observation_covariance", given["observation_covariance"], (p, p))
    c = shaped("transition_offset", given.get("transition_offset"), (d,))
    e = shaped("observation_offset", given.get("observation_offset"), (p,))
    m = shaped("initial_mean", initial_mean, (d,))
    flat = diffuse_directions(initial_diffuse, d)
    if initial_covariance is None and (flat is None or flat.shape[1] < d):
        raise ValueError(
            "initial_covariance: got None; expected a covariance for x_0, since not all of the "
            "state is diffuse and no stationary law is known"
        )
    cov = shaped("initial_covariance", initial_covariance, (d, d))
    found = {
        "a": a,
        "c": c,
        "q": semidefinite_root("transition_covariance", q),
        "h": h,
        "e": e,
        "r": semidefinite_root("observation_covariance", r),
    }
    moves, sights = regular(q), regular(r)
    if moves:
        found["w"] = np.linalg.inv(np.linalg.cholesky(q))
        found["size"] = np.log(np.diagonal(found["w"], axis1=-2, axis2=-1)).sum(axis=-1)[..., None]
    if sights:
        found["v"] = np.linalg.inv(np.linalg.cholesky(r))
    rows = [
        np.broadcast_to(found.get(name, np.zeros(shape)), (times or 1, *shape)).reshape(
            times or 1, -1
        )
        for name, shape in _block(d, p).items()
    ]
    first = [m, semidefinite_root("initial_covariance", cov).ravel()]
    plain = not (r * (1 - np.eye(p))).any()
    functions = dict(_general_functions(d, p, times is not None, moves, sights, plain))
    if flat is not None:
        functions["initial_sample"] = _diffuse_initial_sample
    return StateSpaceModel(
        **functions,
        theta=np.concatenate([*first, np.concatenate(rows, axis=1).ravel()]),
        state_dim=d,
        exact=Exact("linear_gaussian", partial(_general_system, d, p, times, flat)),
    )


def _block(d: int, p: int) -> dict[str, tuple[int, ...]]:
    """What theta holds of each time: matrices, roots, inverse roots and the log size of one."""
    names = ("a", "c", "q", "h", "e", "r", "w", "v", "size")
    shapes = ((d, d), (d,), (d, d), (p, d), (p,), (p, p), (d, d), (p, p), (1,))
    return dict(zip(names, shapes, strict=True))


def _general_system(
    d: int, p: int, times: int | None, flat: Array | None, theta: Any
) -> LinearSystem:
    """Matrices from theta: mean and root of x_0, then a block for each time, or one for all."""
    start, shapes = d + d * d, _block(d, p)
    blocks = theta[start:].reshape(times or 1, -1)
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = dict(zip(shapes, np.split(blocks, ends[:-1], axis=1), strict=True))
    a, c, q, h, e, r = (
        parts[n].reshape(-1, *shapes[n])[slice(None) if times else 0] for n in "acqher"
    )
    root = theta[d:start].reshape(d, d)
    q, r = (part @ np.swapaxes(part, -1, -2) for part in (q, r))
    return LinearSystem(a, q, h, r, theta[:d], root @ root.T, c, e, flat)


@cache
@remade
def _general_functions(
    d: int, p: int, moving: bool, moves: bool, sights: bool, plain: bool
) -> Mapping[str, Any]:
    sizes = [math.prod(shape) for shape in _block(d, p).values()]
    start, size = d + d * d, sum(sizes) if moving else 0
    i_a, i_c, i_q, i_h, i_e, i_r, i_w, i_v, i_size = (
        start + n for n in [0, *np.cumsum(sizes)[:-1].tolist()]
    )

    def initial_sample(rng, theta):
        z, x = rng.standard_normal(d), np.empty(d)
        for i in range(d):
            x[i] = theta[i]
            for j in range(d):
                x[i] += theta[d + i * d + j] * z[j]
        return x

    def transition_sample(rng, x_prev, t, theta):
        z, x, at = rng.standard_normal(d), np.empty(d), t * size
        for i in range(d):
            x[i] = theta[at + i_c + i]
            for j in range(d):
                x[i] += theta[at + i_a + i * d + j] * x_prev[j] + theta[at + i_q + i * d + j] * z[j]
        return x

    def transition_logpdf(x_prev, x, t, theta):
        at = t * size
        total = theta[at + i_size] - 0.5 * d * _LOG_2_PI
        for i in range(d):
            z = 0.0
            for j in range(i + 1):
                rest = x[j] - theta[at + i_c + j]
                for k in range(d):
                    rest -= theta[at + i_a + j * d + k] * x_prev[k]
                z += theta[at + i_w + i * d + j] * rest
            total -= 0.5 * z * z
        return total

    def bound(t, theta):
        return theta[t * size + i_size] - 0.5 * d * _LOG_2_PI

    def observation_sample(rng, x, t, theta):
        z, y, at = rng.standard_normal(p), np.empty(p), t * size
        for i in range(p):
            y[i] = theta[at + i_e + i]
            for j in range(d):
                y[i] += theta[at + i_h + i * d + j] * x[j]
            for j in range(p):
                y[i] += theta[at + i_r + i * p + j] * z[j]
        return y

    def observation_logpdf(y, x, t, theta):
        total, at = 0.0, t * size
        for i in range(p):
            z = 0.0
            for j in range(i if plain else 0, i + 1):
                rest = (np.nan_to_num(y[j]) if plain else y[j]) - theta[at + i_e + j]
                for k in range(d):
                    rest -= theta[at + i_h + j * d + k] * x[k]
                z += theta[at + i_v + i * p + j] * rest
            seen = 1.0 - np.isnan(y[i]) if plain else 1.0
            total += seen * (np.log(theta[at + i_v + i * p + i]) - 0.5 * (z * z + _LOG_2_PI))
        return total

    return {
        "initial_sample": initial_sample,
        "initial_logpdf": None,
        "transition_sample": transition_sample,
        "transition_logpdf": transition_logpdf if moves else None,
        "observation_logpdf": observation_logpdf if sights else _exact_observation_logpdf,
        "transition_logpdf_bound": bound if moves else None,
        "observation_sample": observation_sample,
    }


def autoregression(
    coefficients: ArrayLike, scale: float, observation_scale: float = 0.0
) -> StateSpaceModel:
    """Stationary AR(p): z_t = sum_j coefficients[j] z_{t-1-j} + scale n_t, y_t = z_t + noise.

    Parameters
    ----------
    coefficients : array_like, shape (p,)
        Of the last p values, the newest first.
    scale : float
        Standard deviation of the innovations, positive.
    observation_scale : float, default 0
        Standard deviation of the noise of y; with 0 only exact methods run.

    Returns
    -------
    StateSpaceModel
        The state holds z_t ... z_{t-p+1}; theta the arguments under their names.

    Raises
    ------
    TypeError, ValueError
        An argument is out of range, or the series would not be stationary.

    Examples
    --------
    >>> from smcweights import kalman_forecast
    >>> ahead = kalman_forecast(autoregression([0.5, 0.2], 1.0), [0.3, 1.0], 1)
    >>> ahead.observation_means.round(4), ahead.observation_covariances.round(4)
    (array([0.56]), array([1.]))
    """
    phi = np.atleast_1d(finite("coefficients", coefficients))
    if phi.ndim != 1 or not phi.size:
        raise ValueError(f"coefficients: got shape {phi.shape}; expected (p,)")
    p = phi.size
    largest = np.abs(np.linalg.eigvals(_companion(phi))).max()
    if not largest < 1:
        raise ValueError(
            f"coefficients: got a root of size {largest:.4g}; expected sizes below 1 (stationary)"
        )
    given = {"scale": number("scale", scale, 0)}
    if number("observation_scale", observation_scale, 0, ends=True):
        given["observation_scale"] = float(observation_scale)
    return StateSpaceModel(
        **_autoregressive_functions(p, len(given) > 1),
        theta=[*phi, *given.values()],
        theta_names=[*(f"coefficients[{j}]" for j in range(p)), *given],
        transforms=("identity",) * p + ("log",) * len(given),
        state_dim=p,
        exact=Exact("linear_gaussian", partial(_autoregressive_system, p)),
    )


def _companion(phi: Any) -> Any:
    return np.concatenate([phi[None], np.eye(len(phi) - 1, len(phi))])


def _autoregressive_system(p: int, theta: Any) -> LinearSystem:
    a, q = _companion(theta[:p]), np.zeros((p, p), theta.dtype)
    q[0, 0] = theta[p] ** 2
    # P = A P A' + Q, in the arithmetic of complex numbers but for their conjugates
    cov = np.linalg.solve(np.eye(p * p) - np.kron(a, a), q.ravel()).reshape(p, p)
    r = theta[p + 1 : p + 2] ** 2 if len(theta) > p + 1 else np.zeros(1)
    return LinearSystem(a, q, np.eye(1, p), r[:, None], np.zeros(p), (cov + cov.T) / 2)


@cache
@remade
def _autoregressive_functions(p: int, noisy: bool) -> Mapping[str, Any]:
    def initial_sample(rng, theta):
        # predictions from fewer and fewer values, and their variances; then values, oldest first
        ahead, variance, z = np.zeros((p + 1, p)), np.empty(p + 1), np.empty(p)
        ahead[p], variance[p] = theta[:p], theta[p] ** 2
        for k in range(p, 0, -1):
            last = ahead[k, k - 1]
            variance[k - 1] = variance[k] / (1.0 - last * last)
            for j in range(k - 1):
                ahead[k - 1, j] = (ahead[k, j] + last * ahead[k, k - 2 - j]) / (1.0 - last * last)
        for k in range(p):
            z[p - 1 - k] = np.sqrt(variance[k]) * rng.standard_normal()
            for j in range(k):
                z[p - 1 - k] += ahead[k, j] * z[p - k + j]
        return z

    def transition_sample(rng, x_prev, t, theta):
        x = np.empty(p)
        x[0] = theta[p] * rng.standard_normal()
        for j in range(p):
            x[0] += theta[j] * x_prev[j]
        x[1:] = x_prev[: p - 1]
        return x

    def observation_logpdf(y, x, t, theta):
        z = (y - x[0]) / theta[p + 1]
        return -0.5 * (z * z + _LOG_2_PI) - np.log(theta[p + 1])

    def observation_sample(rng, x, t, theta):
        return x[0] + (theta[p + 1] * rng.standard_normal() if noisy else 0.0)

    return {
        "initial_sample": initial_sample,
        "initial_logpdf": None,
        "transition_sample": transition_sample,
        "transition_logpdf": None,
        "observation_logpdf": observation_logpdf if noisy else _exact_observation_logpdf,
        "observation_sample": observation_sample,
    }


def structural(
    level: float | None = 1.0,
    trend: float | None = None,
    seasonal: tuple[int, float] | None = None,
    cycle: tuple[float, float, float] | None = None,
    irregular: float = 1.0,
    *,
    initial_mean: ArrayLike | None = None,
    initial_covariance: ArrayLike | None = None,
) -> StateSpaceModel:
    """Structural time series: y_t = level + season + cycle + irregular noise, each moving slowly.

    level_t = level_{t-1} + slope_{t-1} + noise and slope_t = slope_{t-1} + noise; the seasons of a
    period sum to noise; the cycle turns by 2 pi / period, shrinks by its damping and is stationary.

    Parameters
    ----------
    level, trend : float, optional
        Standard deviations of the noise of level and slope; 0 for what is fixed, None for what is
        not there. A trend without a level has a level without noise.
    seasonal : (int, float), optional
        Period, at least 2, and standard deviation.
    cycle : (float, float, float), optional
        Period, above 2; damping, between 0 and 1; standard deviation, positive.
    irregular : float
        Standard deviation of the noise of y; with 0 only exact methods run.
    initial_mean, initial_covariance : array_like, shape (d,) and (d, d), optional
        Law of the state at time 0: level, slope, seasons (the newest first), cycle and its partner.
        By default level, slope and seasons are diffuse, and only exact methods run.

    Returns
    -------
    StateSpaceModel
        With the standard deviations above 0 in theta, "cycle_period" and "cycle_damping" beside
        them.

    Raises
    ------
    TypeError, ValueError
        An argument is out of range.

    References
    ----------
    Harvey (1989), Forecasting, structural time series models and the Kalman filter.

    Examples
    --------
    >>> model = structural(level=0.5, trend=0.1, seasonal=(4, 0.2), irregular=1.0)
    >>> model.theta_names, model.state_dim
    (('level', 'trend', 'seasonal', 'irregular'), 5)
    """
    parts = _Parts({}, [], [], [], [])
    if trend is not None and level is None:
        level = 0.0
    if level is not None:
        parts.add(1, [(0, 0, 1.0)], parts.place("level", level))
    if trend is not None:
        parts.add(1, [(0, 1, 1.0), (1, 1, 1.0)], parts.place("trend", trend), seen=False)
    if seasonal is not None:
        period, scale = several("seasonal", seasonal, "(period, scale)", 2)
        d, k = parts.size, count("seasonal", period, 2) - 1
        links = [(d, d + j, -1.0) for j in range(k)] + [
            (d + j, d + j - 1, 1.0) for j in range(1, k)
        ]
        parts.add(k, links, parts.place("seasonal", scale))
    flat, turn = parts.size, (-1, -1, -1)
    if cycle is not None:
        period, damping, scale = several("cycle", cycle, "(period, damping, scale)", 3)
        theta, kinds = parts.theta, parts.transforms
        turn = (len(theta), len(theta) + 1, len(theta) + 2)
        theta["cycle_period"] = number("cycle", period, 2)
        theta["cycle_damping"] = number("cycle", damping, 0, 1)
        theta["cycle"] = number("cycle", scale, 0)
        kinds += ["log", "logit", "log"]
        parts.add(1, [], turn[2])
        parts.add(1, [], turn[2], seen=False)
    d = parts.size
    if not d:
        raise ValueError("level, trend, seasonal, cycle: got none of them; expected one at least")
    last = parts.place("irregular", irregular)
    a = np.zeros((d, d))
    for row, column, value in parts.links:
        a[row, column] = value
    noise = tuple((row, at) for row, at in enumerate(parts.noise) if at >= 0)
    law = _initial_law(initial_mean, initial_covariance, d)
    shown = (tuple(map(tuple, a.tolist())), tuple(parts.seen), noise, turn, last)
    functions = dict(_structural_functions(*shown))
    if law or flat:
        functions["initial_sample"] = _drawn_from(law) if law else _diffuse_initial_sample
    return StateSpaceModel(
        **functions,
        theta=list(parts.theta.values()),
        theta_names=list(parts.theta),
        transforms=parts.transforms,
        state_dim=d,
        exact=Exact("linear_gaussian", partial(_structural_system, shown, flat, law)),
    )


class _Parts(NamedTuple):
    """Components so far: parameters, links of states, where theta has their noise, the seen."""

    theta: dict[str, float]
    transforms: list[str]
    links: list[tuple[int, int, float]]
    noise: list[int]
    seen: list[int]

    @property
    def size(self) -> int:
        """States so far."""
        return len(self.noise)

    def place(self, name: str, scale: float) -> int:
        """Where theta has a standard deviation; -1 for 0."""
        if number(name, scale, 0, ends=True) == 0:
            return -1
        self.theta[name] = float(scale)
        self.transforms.append("log")
        return len(self.theta) - 1

    def add(
        self, states: int, links: list[tuple[int, int, float]], at: int, seen: bool = True
    ) -> None:
        """States of which the first has the noise, and is seen."""
        if seen:
            self.seen.append(self.size)
        self.links.extend(links)
        self.noise.extend([at] + [-1] * (states - 1))


def _initial_law(mean: ArrayLike | None, covariance: ArrayLike | None, d: int) -> Any:
    """Mean, covariance and its root, where they are given."""
    if covariance is None:
        if mean is not None:
            raise ValueError(
                "initial_mean: got one without initial_covariance; expected both or none"
            )
        return None
    m = np.zeros(d) if mean is None else finite("initial_mean", mean)
    cov = finite("initial_covariance", covariance)
    if m.shape != (d,) or cov.shape != (d, d):
        raise ValueError(
            f"initial_mean, initial_covariance: got shapes {m.shape} and {cov.shape}; expected "
            f"({d},) and ({d}, {d}), one for each state"
        )
    return m, cov, semidefinite_root("initial_covariance", cov)


@remade
def _drawn_from(law: tuple[Array, Array, Array]) -> Callable[..., Any]:
    mean, _, root = law
    d = len(mean)

    def initial_sample(rng, theta):
        z, x = rng.standard_normal(d), mean.copy()
        for i in range(d):
            for j in range(d):
                x[i] += root[i, j] * z[j]
        return x

    return initial_sample


def _structural_system(shown: tuple[Any, ...], flat: int, law: Any, theta: Any) -> LinearSystem:
    rows, seen, noise, turn, last = shown
    a, d = np.array(rows, theta.dtype), len(rows)
    q, cov, h = np.zeros((d, d), theta.dtype), np.zeros((d, d), theta.dtype), np.zeros((1, d))
    for row, at in noise:
        q[row, row] = theta[at] ** 2
    h[0, list(seen)] = 1.0
    if turn[0] >= 0:
        angle, damping = 2 * math.pi / theta[turn[0]], theta[turn[1]]
        c, s = damping * np.cos(angle), damping * np.sin(angle)
        a[flat:, flat:] = [[c, s], [-s, c]]
        for j in (flat, flat + 1):
            cov[j, j] = theta[turn[2]] ** 2 / (1 - damping**2)
    r = np.zeros((1, 1), theta.dtype) if last < 0 else theta[last : last + 1, None] ** 2
    if law:
        return LinearSystem(a, q, h, r, law[0], law[1])
    return LinearSystem(
        a, q, h, r, np.zeros(d), cov, None, None, np.eye(d)[:, :flat] if flat else None
    )


@cache
@remade
def _structural_functions(
    rows: tuple[tuple[float, ...], ...],
    seen: tuple[int, ...],
    noise: tuple[tuple[int, int], ...],
    turn: tuple[int, int, int],
    last: int,
) -> Mapping[str, Any]:
    a, d = np.array(rows), len(rows)
    shown = np.array(seen)
    places = np.array(noise, dtype=np.int64).reshape(-1, 2)
    period, damping, scale = turn

    def initial_sample(rng, theta):
        # of a cycle alone
        return theta[scale] / np.sqrt(1.0 - theta[damping] ** 2) * rng.standard_normal(2)

    def transition_sample(rng, x_prev, t, theta):
        x = np.zeros(d)
        for i in range(d):
            for j in range(d):
                x[i] += a[i, j] * x_prev[j]
        if period >= 0:
            angle = 2.0 * np.pi / theta[period]
            c, s = theta[damping] * np.cos(angle), theta[damping] * np.sin(angle)
            x[d - 2] += c * x_prev[d - 2] + s * x_prev[d - 1]
            x[d - 1] += c * x_prev[d - 1] - s * x_prev[d - 2]
        for k in range(len(places)):
            x[places[k, 0]] += theta[places[k, 1]] * rng.standard_normal()
        return x

    def signal(x):
        total = 0.0
        for k in range(len(shown)):
            total += x[shown[k]]
        return total

    def observation_logpdf(y, x, t, theta):
        z = (y - signal(x)) / theta[last]
        return -0.5 * (z * z + _LOG_2_PI) - np.log(theta[last])

    def observation_sample(rng, x, t, theta):
        return signal(x) + (theta[last] * rng.standard_normal() if last >= 0 else 0.0)

    return {
        "initial_sample": initial_sample,
        "initial_logpdf": None,
        "transition_sample": transition_sample,
        "transition_logpdf": None,
        "observation_logpdf": observation_logpdf if last >= 0 else _exact_observation_logpdf,
        "observation_sample": observation_sample,
    }
