"""Ready models: functions of one particle, and the parameters that go with them.

The densities are written in NumPy without writing into arrays, so that JAX can trace them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import array as array_of
from ..arguments import count, finite, number, real
from .model import Exact, StateSpaceModel
from .remade import named, remade
from .structural import general_gaussian

_LOG_2_PI = math.log(2 * math.pi)


class _Functions(NamedTuple):
    """Of a model, made once for all models of a shape: others would be compiled again."""

    initial_sample: Callable[..., Any]
    initial_logpdf: Callable[..., Any]
    transition_sample: Callable[..., Any]
    transition_logpdf: Callable[..., Any]
    observation_logpdf: Callable[..., Any]
    transition_logpdf_bound: Callable[..., Any]
    observation_sample: Callable[..., Any] | None
    transition_mean: Callable[..., Any] | None = None
    transition_covariance: Callable[..., Any] | None = None


def _log_normal(rest, variance):
    return -0.5 * (rest**2 / variance + np.log(variance) + _LOG_2_PI)


def _log_normal_scaled(rest, scale):
    z = rest / scale
    return -0.5 * (z * z + _LOG_2_PI) - np.log(scale)


def _with_noise(first, now, seen, places, variances) -> _Functions:
    """Floats around three centres, which ``first(theta)``, ``now(x_prev, t, theta)`` and
    ``seen(x, theta)`` say; theta has the sizes of their noise at the places.
    """
    of_first, of_now, of_seen = places
    log_density = _log_normal if variances else _log_normal_scaled

    def noise(rng, size):
        return (np.sqrt(size) if variances else size) * rng.standard_normal()

    def initial_sample(rng, theta):
        return first(theta) + noise(rng, theta[of_first])

    def initial_logpdf(x, theta):
        return log_density(x - first(theta), theta[of_first])

    def transition_sample(rng, x_prev, t, theta):
        return now(x_prev, t, theta) + noise(rng, theta[of_now])

    def transition_logpdf(x_prev, x, t, theta):
        return log_density(x - now(x_prev, t, theta), theta[of_now])

    def observation_logpdf(y, x, t, theta):
        return log_density(y - seen(x, theta), theta[of_seen])

    def bound(t, theta):
        return log_density(0.0, theta[of_now])

    def observation_sample(rng, x, t, theta):
        return seen(x, theta) + noise(rng, theta[of_seen])

    def covariance(t, theta):
        return theta[of_now] if variances else theta[of_now] ** 2

    transition = (transition_sample, transition_logpdf)
    last = (observation_logpdf, bound, observation_sample, now, covariance)
    return _Functions(initial_sample, initial_logpdf, *transition, *last)


def _checked(given: dict[str, Any], transforms: Sequence[str]) -> list[float]:
    """Numbers that live where their transforms say."""
    ends = {"log": (0.0,), "atanh": (-1.0, 1.0)}
    return [
        number(name, value, *ends.get(kind, ()))
        for (name, value), kind in zip(given.items(), transforms, strict=True)
    ]


_LINEAR = named(
    __name__,
    "_LINEAR",
    _with_noise(
        lambda theta: theta[4],
        lambda x_prev, t, theta: theta[0] * x_prev,
        lambda x, theta: theta[2] * x,
        (5, 1, 3),
        variances=True,
    ),
)


def _scalar_system(theta):
    a, q, h, r, m, p = theta[:, None, None]
    return a, q, h, r, m[0], p


def linear_gaussian(
    transition_matrix: ArrayLike,
    transition_covariance: ArrayLike,
    observation_matrix: ArrayLike,
    observation_covariance: ArrayLike,
    initial_mean: ArrayLike | None = None,
    initial_covariance: ArrayLike | None = None,
    *,
    initial_diffuse: ArrayLike | None = None,
    transition_offset: ArrayLike | None = None,
    observation_offset: ArrayLike | None = None,
) -> StateSpaceModel:
    """x_t = A x_{t-1} + c + N(0, Q), y_t = H x_t + e + N(0, R).

    Parameters
    ----------
    transition_matrix : float or array_like, shape (d, d)
        A. With four scalars the state and the observation are floats and `theta` holds the six
        numbers under the names of these arguments. With matrices it holds the entries of A, H and
        the initial mean, such as "transition_matrix[0, 1]", and in place of every covariance the
        inverse of its Cholesky root, such as "transition_precision_root[1, 0]". Of a diagonal
        covariance these are one over the standard deviations, and the only entries kept.
        Any of A, Q, H, R, c and e may have a time axis before the others, one row for each time
        of y. Then, or with a singular covariance, an offset or a diffuse initial state, theta holds
        everything in an order of its own, not to be learned.
    transition_covariance : float or array_like, shape (d, d)
        Q. Singular, particles can be filtered, but not smoothed; `smcweights.kalman_smoother` can.
    observation_matrix : float or array_like, shape (p, d)
        H.
    observation_covariance : float or array_like, shape (p, p)
        R. Singular, only exact methods run. Single components of an observation may be missing
        (NaN) where R is diagonal.
    initial_mean : float or array_like, shape (d,), optional
        Mean of x_0, default 0.
    initial_covariance : float or array_like, shape (d, d), optional
        Covariance of x_0, default the stationary one, P = A P A' + Q, and 0 where all is diffuse.
    initial_diffuse : array_like of bool, shape (d,), or of numbers, shape (d, k), optional
        Which components of x_0, or which directions D of x_0 = D delta + N(mean, covariance), are
        unknown altogether. Then only exact methods run.
    transition_offset, observation_offset : array_like, shape (d,) and (p,), optional
        c and e, default 0.

    Returns
    -------
    StateSpaceModel

    Raises
    ------
    TypeError, ValueError
        Shapes don't fit, a covariance is not positive semidefinite, or A has no stationary law
        and the initial covariance is missing.

    Examples
    --------
    >>> linear_gaussian(0.9, 1.0, 1.0, 1.0).theta.round(4)
    array([0.9   , 1.    , 1.    , 1.    , 0.    , 5.2632])
    """
    given = {
        "transition_matrix": transition_matrix,
        "transition_covariance": transition_covariance,
        "observation_matrix": observation_matrix,
        "observation_covariance": observation_covariance,
    }
    offsets = {"transition_offset": transition_offset, "observation_offset": observation_offset}
    more = {name: value for name, value in offsets.items() if value is not None}
    initial = {"initial_covariance": initial_covariance, "initial_diffuse": initial_diffuse}
    said = {name: value for name, value in initial.items() if value is not None}
    for name, value in {**given, **more, **said}.items():
        array_of(name, value)
    timed = any(np.ndim(value) > 2 for value in given.values())
    if timed or more or initial_diffuse is not None or _singular(given, initial_covariance):
        if initial_covariance is None and initial_diffuse is None and not (timed or more):
            initial_covariance = _stationary(
                *map(np.atleast_2d, (transition_matrix, transition_covariance))
            )
        law = (initial_mean, initial_covariance, initial_diffuse)
        return general_gaussian({**given, **more}, *law)
    if all(np.ndim(value) == 0 for value in given.values()):
        transforms = ("identity", "log", "identity", "log", "identity", "log")
        a, q, h, r = _checked(given, transforms[:4])
        if initial_covariance is None:
            if not abs(a) < 1:
                raise ValueError(
                    f"initial_covariance: missing, and transition_matrix {a} has no stationary "
                    "law; expected a variance for x_0"
                )
            initial_covariance = q / (1 - a * a)
        first = {
            "initial_mean": 0.0 if initial_mean is None else initial_mean,
            "initial_covariance": initial_covariance,
        }
        return StateSpaceModel(
            **_LINEAR._asdict(),
            theta=[a, q, h, r, *_checked(first, transforms[4:])],
            theta_names=(*given, *first),
            transforms=transforms,
            exact=Exact("linear_gaussian", _scalar_system),
        )
    return _matrix_gaussian(given, initial_mean, initial_covariance)


def _singular(given: dict[str, ArrayLike], initial_covariance: ArrayLike | None) -> bool:
    """Whether one of the covariances has no inverse; what is no covariance is told elsewhere."""
    all_of_them = [given["transition_covariance"], given["observation_covariance"]]
    all_of_them += [] if initial_covariance is None else [initial_covariance]
    for value in all_of_them:
        array = np.asarray(value)
        if array.ndim == 2 and array.shape[0] == array.shape[1] and array.dtype.kind in "iuf":
            w = np.linalg.eigvalsh(array) if np.isfinite(array).all() else np.ones(1)
            if abs(w[0]) <= 1e-12 * w[-1] or not w.any():
                return True
    return False


def _stationary(a: np.ndarray, q: np.ndarray) -> np.ndarray:
    """P = A P A' + Q."""
    radius = np.abs(np.linalg.eigvals(a)).max()
    if not radius < 1:
        raise ValueError(
            f"initial_covariance: missing, and transition_matrix (spectral radius {radius:.3g}) "
            "has no stationary law; expected a covariance for x_0"
        )
    from scipy.linalg import solve_discrete_lyapunov

    c = solve_discrete_lyapunov(a, q)
    return (c + c.T) / 2


def _matrix(name: str, value: ArrayLike, shape: tuple[int, int] | None = None) -> np.ndarray:
    array = np.atleast_2d(finite(name, value))
    if array.ndim != 2 or (shape is not None and array.shape != shape):
        raise ValueError(f"{name}: got shape {np.shape(value)}; expected {shape or '(d, d)'}")
    return array


def _cholesky(name: str, value: np.ndarray) -> np.ndarray:
    if not np.allclose(value, value.T, rtol=1e-9, atol=0):
        raise ValueError(f"{name}: not symmetric; expected a covariance matrix")
    try:
        return np.linalg.cholesky(value)
    except np.linalg.LinAlgError:
        lowest = np.linalg.eigvalsh(value)[0]
        raise ValueError(
            f"{name}: smallest eigenvalue {lowest:.3g}; expected a positive definite matrix"
        ) from None


def _matrix_gaussian(given, initial_mean, initial_covariance):
    a = _matrix("transition_matrix", given["transition_matrix"])
    d = len(a)
    if a.shape != (d, d):
        raise ValueError(f"transition_matrix: got shape {a.shape}; expected (d, d)")
    q = _matrix("transition_covariance", given["transition_covariance"], (d, d))
    h = _matrix("observation_matrix", given["observation_matrix"])
    p = len(h)
    if h.shape != (p, d):
        raise ValueError(f"observation_matrix: got shape {h.shape}; expected (p, {d})")
    r = _matrix("observation_covariance", given["observation_covariance"], (p, p))
    mean = np.zeros(d) if initial_mean is None else finite("initial_mean", initial_mean)
    if mean.shape != (d,):
        raise ValueError(f"initial_mean: got shape {mean.shape}; expected ({d},)")
    if initial_covariance is None:
        c = _stationary(a, q)
    else:
        c = _matrix("initial_covariance", initial_covariance, (d, d))
    roots = [
        np.linalg.inv(_cholesky(name, value))
        for name, value in (
            ("transition_covariance", q),
            ("observation_covariance", r),
            ("initial_covariance", c),
        )
    ]
    # of a diagonal root the diagonal alone is kept: less to add up, and to learn
    plain = [not (w - np.diag(w.diagonal())).any() for w in roots]
    theta: list[float] = []
    names: list[str] = []
    transforms: list[str] = []
    starts: list[int] = []

    def add(name, entries, kinds, labels):
        starts.append(len(theta))
        theta.extend(float(entry) for entry in entries)
        names.extend(f"{name}[{', '.join(str(k) for k in label)}]" for label in labels)
        transforms.extend(kinds)

    def add_matrix(name, value):
        places = [(i, j) for i in range(len(value)) for j in range(d)]
        add(name, value.ravel(), ["identity"] * value.size, places)

    def add_root(name, w, plain):
        places = [(i, j) for i in range(len(w)) for j in range(i if plain else 0, i + 1)]
        kinds = ["log" if i == j else "identity" for i, j in places]
        add(name, [w[place] for place in places], kinds, places)

    add_matrix("transition_matrix", a)
    add_root("transition_precision_root", roots[0], plain[0])
    add_matrix("observation_matrix", h)
    add_root("observation_precision_root", roots[1], plain[1])
    add("initial_mean", mean, ["identity"] * d, [(i,) for i in range(d)])
    add_root("initial_precision_root", roots[2], plain[2])
    functions, in_place, exact = _matrix_functions(d, p, *plain, tuple(starts))
    return StateSpaceModel(
        **functions._asdict(),
        theta=theta,
        theta_names=names,
        transforms=transforms,
        state_dim=d,
        in_place=in_place,
        exact=exact,
    )


@cache
@remade
def _matrix_functions(
    d: int, p: int, plain_q: bool, plain_r: bool, plain_c: bool, starts: tuple[int, ...]
) -> tuple[_Functions, Callable[..., None], Exact]:
    i_a, i_q, i_h, i_r, i_m, i_c = starts
    transition_into, transition_logpdf, bound, *law = _matrix_transition(d, i_a, i_q, plain_q)

    def transition_sample(rng, x_prev, t, theta):
        x = np.empty(d)
        transition_into(rng, x_prev, t, theta, x)
        return x

    def system(theta):
        return (
            theta[i_a:i_q].reshape(d, d),
            _covariance(theta[i_q:i_h], d, plain_q),
            theta[i_h:i_r].reshape(p, d),
            _covariance(theta[i_r:i_m], p, plain_r),
            theta[i_m:i_c],
            _covariance(theta[i_c:], d, plain_c),
        )

    sample, logpdf = _matrix_initial(d, i_m, i_c, plain_c)
    observation_sample, observation_logpdf = _matrix_observation(d, p, i_h, i_r, plain_r)
    first = (sample, logpdf, transition_sample, transition_logpdf)
    functions = _Functions(*first, observation_logpdf, bound, observation_sample, *law)
    return functions, transition_into, Exact("linear_gaussian", system)


def _covariance(entries, size, plain):
    w = np.zeros((size, size), entries.dtype)
    w[np.diag_indices(size) if plain else np.tril_indices(size)] = entries
    root = np.linalg.inv(w)
    return root @ root.T


def _precision_root(start, size, plain, rest=None):
    """What is done with a lower triangular root W in theta, of which W times the noise is white.

    ``rest(j, a, b, theta)`` is component j of the noise. Densities have no place to keep it in,
    which JAX could not trace: a dense root takes it several times.
    """

    def row(i):
        # where theta holds W[i, 0], or would if it were kept
        return start if plain else start + i * (i + 1) // 2

    def fill_noise(rng, theta, out):
        for i in range(size):
            total = rng.standard_normal()
            for j in range(i if plain else 0, i):
                total -= theta[row(i) + j] * out[j]
            out[i] = total / theta[row(i) + i]

    def whitened(i, a, b, theta):
        z = 0.0
        for j in range(i if plain else 0, i + 1):
            z += theta[row(i) + j] * rest(j, a, b, theta)
        return z

    def scale(i, theta):
        return theta[row(i) + i]

    return row, fill_noise, whitened, scale


def _matrix_initial(d, mean, root, plain):
    def rest(j, x, _, theta):
        return x[j] - theta[mean + j]

    _, fill_noise, whitened, scale = _precision_root(root, d, plain, rest)

    def sample(rng, theta):
        x = np.empty(d)
        fill_noise(rng, theta, x)
        for i in range(d):
            x[i] += theta[mean + i]
        return x

    def logpdf(x, theta):
        total = -0.5 * d * _LOG_2_PI
        for i in range(d):
            z = whitened(i, x, x, theta)
            total += np.log(scale(i, theta)) - 0.5 * z * z
        return total

    return sample, logpdf


def _matrix_transition(d, matrix, root, plain):
    # written out: the compiler would not put `fill_noise` and `whitened` in place here
    row, _, _, scale = _precision_root(root, d, plain)

    def transition_into(rng, x_prev, t, theta, x):
        for i in range(d):
            total = rng.standard_normal()
            for j in range(i if plain else 0, i):
                total -= theta[row(i) + j] * x[j]
            x[i] = total / theta[row(i) + i]
        for i in range(d):
            total = x[i]
            for j in range(d):
                total += theta[matrix + i * d + j] * x_prev[j]
            x[i] = total

    def logpdf(x_prev, x, t, theta):
        total = -0.5 * d * _LOG_2_PI
        size = 1.0
        for i in range(d):
            z = 0.0
            for j in range(i if plain else 0, i + 1):
                rest = x[j]
                for k in range(d):
                    rest -= theta[matrix + j * d + k] * x_prev[k]
                z += theta[row(i) + j] * rest
            total -= 0.5 * z * z
            # a logarithm costs more than all the rest
            size *= scale(i, theta)
            if i % 8 == 7 or i == d - 1:
                total += np.log(size)
                size = 1.0
        return total

    def bound(t, theta):
        total = -0.5 * d * _LOG_2_PI
        for i in range(d):
            total += np.log(scale(i, theta))
        return total

    def mean(x_prev, t, theta):
        x = np.zeros(d)
        for i in range(d):
            for j in range(d):
                x[i] += theta[matrix + i * d + j] * x_prev[j]
        return x

    def covariance(t, theta):
        w = np.zeros((d, d))
        for i in range(d):
            for j in range(i if plain else 0, i + 1):
                w[i, j] = theta[row(i) + j]
        w = np.linalg.inv(w)
        return w @ np.ascontiguousarray(w.T)

    return transition_into, logpdf, bound, mean, covariance


def _matrix_observation(d, p, matrix, root, plain):
    def rest(j, y, x, theta):
        left = np.nan_to_num(y[j]) if plain else y[j]
        for k in range(d):
            left -= theta[matrix + j * d + k] * x[k]
        return left

    _, fill_noise, whitened, scale = _precision_root(root, p, plain, rest)

    def sample(rng, x, t, theta):
        y = np.empty(p)
        fill_noise(rng, theta, y)
        for i in range(p):
            for j in range(d):
                y[i] += theta[matrix + i * d + j] * x[j]
        return y

    def logpdf(y, x, t, theta):
        total = 0.0
        size = 1.0
        for i in range(p):
            z = whitened(i, y, x, theta)
            seen = 1.0 - np.isnan(y[i]) if plain else 1.0
            total -= 0.5 * seen * (z * z + _LOG_2_PI)
            size *= 1.0 + seen * (scale(i, theta) - 1.0)
            if i % 8 == 7 or i == p - 1:
                total += np.log(size)
                size = 1.0
        return total

    return sample, logpdf


def _volatility_initial_sample(rng, theta):
    return theta[1] / np.sqrt(1 - theta[0] ** 2) * rng.standard_normal()


def _volatility_initial_logpdf(x, theta):
    return _log_normal(x, theta[1] ** 2 / (1 - theta[0] ** 2))


def _volatility_observation_logpdf(y, x, t, theta):
    z = y / theta[2]
    return -0.5 * (z * z * np.exp(-x) + x + _LOG_2_PI) - np.log(theta[2])


def _volatility_observation_sample(rng, x, t, theta):
    return theta[2] * np.exp(0.5 * x) * rng.standard_normal()


_VOLATILITY = named(
    __name__,
    "_VOLATILITY",
    _with_noise(
        lambda theta: 0.0,
        lambda x_prev, t, theta: theta[0] * x_prev,
        lambda x, theta: 0.0,
        (1, 1, 2),
        variances=False,
    )._replace(
        initial_sample=_volatility_initial_sample,
        initial_logpdf=_volatility_initial_logpdf,
        observation_logpdf=_volatility_observation_logpdf,
        observation_sample=_volatility_observation_sample,
    ),
)


def stochastic_volatility(
    persistence: float,
    volatility: float,
    scale: float = 1.0,
    *,
    leverage: float | None = None,
    returns: ArrayLike | None = None,
) -> StateSpaceModel:
    """Log variances x_t = persistence x_{t-1} + volatility n_t; y_t = scale exp(x_t/2) e_t.

    e_t and n_{t+1} are standard normal, with correlation `leverage`: a return moves the next
    variance. Given y_t,

        x_{t+1} ~ N(persistence x_t + volatility leverage e_t, volatility^2 (1 - leverage^2)),

    so that with leverage the transition contains the returns: the model is made for one series,
    refuses another, and can't simulate. After a missing return the plain transition holds.

    Parameters
    ----------
    persistence : float
        Between -1 and 1; x_0 has the stationary law.
    volatility, scale : float
        Positive.
    leverage : float, optional
        Between -1 and 1; below 0 for shares, whose falls make the market restless. By default the
        returns move nothing.
    returns : array_like, shape (T,), optional
        With leverage: the series that the filter or smoother will be given, NaN where missing.

    Returns
    -------
    StateSpaceModel
        With theta = (persistence, volatility, scale), and leverage where it is given.

    Raises
    ------
    TypeError, ValueError
        An argument is out of range, or only one of leverage and returns is given. Filters raise
        `ModelError` for other observations than `returns`.

    References
    ----------
    Taylor (1986), Modelling financial time series; Harvey & Shephard (1996), Estimation of an
    asymmetric stochastic volatility model for asset returns, JBES 14.

    Examples
    --------
    >>> x, y = stochastic_volatility(0.95, 0.25, 0.6).simulate(4, seed=1)
    >>> x.shape, y.shape
    ((4,), (4,))
    >>> stochastic_volatility(0.95, 0.25, 0.6, leverage=-0.5, returns=y).theta_names
    ('persistence', 'volatility', 'scale', 'leverage')
    """
    given = {"persistence": persistence, "volatility": volatility, "scale": scale}
    transforms: tuple[str, ...] = ("atanh", "log", "log")
    if (leverage is None) != (returns is None):
        raise ValueError("leverage: got only one of leverage and returns; expected both or none")
    functions, known = _VOLATILITY, None
    if leverage is not None and returns is not None:
        given, transforms = {**given, "leverage": leverage}, (*transforms, "atanh")
        functions, known = _with_leverage(returns)
    return StateSpaceModel(
        **functions._asdict(),
        theta=_checked(given, transforms),
        theta_names=tuple(given),
        transforms=transforms,
        series=known,
    )


@remade
def _with_leverage(returns: ArrayLike) -> tuple[_Functions, np.ndarray]:
    given = real("returns", returns)
    if given.ndim != 1 or given.size == 0 or np.isinf(given).any():
        raise ValueError(
            f"returns: got shape {given.shape}; expected (T,), finite numbers or NaN where missing"
        )
    seen = np.append(~np.isnan(given), True).astype(np.float64)
    # beyond the series everything is NaN, which filters report
    known = np.append(np.where(np.isnan(given), 0.0, given), np.nan)
    n_steps = given.size

    def observation_logpdf(y, x, t, theta):
        # 0, or NaN where y is not the return that the transitions know
        same = np.sqrt((y == np.take(known, np.minimum(t, n_steps))) - 1.0)
        return _volatility_observation_logpdf(y, x, t, theta) + same

    def drift(x_prev, t, theta):
        shock = np.take(known, np.minimum(t - 1, n_steps)) / theta[2] * np.exp(-0.5 * x_prev)
        return theta[0] * x_prev + theta[1] * theta[3] * shock

    def spread(t, theta):
        return theta[1] * np.sqrt(1 - theta[3] ** 2 * np.take(seen, np.minimum(t - 1, n_steps)))

    def transition_sample(rng, x_prev, t, theta):
        return drift(x_prev, t, theta) + spread(t, theta) * rng.standard_normal()

    def transition_logpdf(x_prev, x, t, theta):
        return _log_normal_scaled(x - drift(x_prev, t, theta), spread(t, theta))

    def transition_logpdf_bound(t, theta):
        return _log_normal_scaled(0.0, spread(t, theta))

    functions = _VOLATILITY._replace(
        transition_sample=transition_sample,
        transition_logpdf=transition_logpdf,
        observation_logpdf=observation_logpdf,
        transition_logpdf_bound=transition_logpdf_bound,
        observation_sample=None,
        transition_mean=drift,
        transition_covariance=lambda t, theta: spread(t, theta) ** 2,
    )
    return functions, given


@cache
@remade
def _finite_functions(k: int) -> tuple[_Functions, Exact]:
    # theta: initial probabilities, k rows of the transition matrix, means, scales
    means, scales = k + k * k, 2 * k + k * k

    def drawn(rng, theta, first):
        u = rng.random()
        i = 0
        reached = theta[first]
        while u >= reached and i < k - 1:
            i += 1
            reached += theta[first + i]
        while theta[first + i] == 0.0:
            i -= 1
        return float(i)

    def initial_sample(rng, theta):
        return drawn(rng, theta, 0)

    def initial_logpdf(x, theta):
        return np.log(theta[int(x)])

    def transition_sample(rng, x_prev, t, theta):
        return drawn(rng, theta, k + k * int(x_prev))

    def transition_logpdf(x_prev, x, t, theta):
        return np.log(theta[k + k * int(x_prev) + int(x)])

    def transition_logpdf_bound(t, theta):
        return np.log(np.max(theta[k:means]))

    def observation_logpdf(y, x, t, theta):
        i = int(x)
        return _log_normal_scaled(y - theta[means + i], theta[scales + i])

    def observation_sample(rng, x, t, theta):
        i = int(x)
        return theta[means + i] + theta[scales + i] * rng.standard_normal()

    def system(theta):
        first, matrix, centres, spreads = np.split(theta, [k, means, scales])
        return first, matrix.reshape(k, k), centres, spreads

    first = (initial_sample, initial_logpdf, transition_sample, transition_logpdf)
    functions = _Functions(*first, observation_logpdf, transition_logpdf_bound, observation_sample)
    return functions, Exact("finite_hmm", system)


def _probabilities(name: str, value: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    array = real(name, value)
    if array.shape != shape:
        raise ValueError(f"{name}: got shape {array.shape}; expected {shape}")
    if not (array >= 0).all() or not np.allclose(array.sum(axis=-1), 1, rtol=0, atol=1e-9):
        raise ValueError(f"{name}: expected probabilities from 0 that sum to 1 in every row")
    return array


def finite_hmm(
    initial_probabilities: ArrayLike,
    transition_matrix: ArrayLike,
    emission_means: ArrayLike,
    emission_scales: ArrayLike,
) -> StateSpaceModel:
    """Hidden Markov model: states 0.0 to K - 1.0, Gaussian observations.

    Probabilities are learned by rows; those that are 0 stay so. One series tells next to nothing of
    its first state: hold ``initial_probabilities``. `score` gives the derivative by each entry.

    Parameters
    ----------
    initial_probabilities : array_like, shape (K,)
    transition_matrix : array_like, shape (K, K)
        Row by row the law of the next state.
    emission_means, emission_scales : array_like, shape (K,)
        y_t given x_t = k is N(mean_k, scale_k^2).

    Returns
    -------
    StateSpaceModel

    Raises
    ------
    TypeError, ValueError
        Shapes don't fit, rows are no probabilities, or a scale is not positive.

    Examples
    --------
    >>> model = finite_hmm([0.5, 0.5], [[0.9, 0.1], [0.3, 0.7]], [0.0, 2.0], [1.0, 1.0])
    >>> model.simulate(3, seed=1)[0].shape
    (3,)
    """
    k = array_of("initial_probabilities", initial_probabilities).size
    first = _probabilities("initial_probabilities", initial_probabilities, (k,))
    matrix = _probabilities("transition_matrix", transition_matrix, (k, k))
    means = finite("emission_means", emission_means)
    scales = finite("emission_scales", emission_scales)
    for name, array in (("emission_means", means), ("emission_scales", scales)):
        if array.shape != (k,):
            raise ValueError(f"{name}: got shape {array.shape}; expected ({k},)")
    if not (scales > 0).all():
        raise ValueError(f"emission_scales: smallest is {scales.min()}; expected positive numbers")
    functions, exact = _finite_functions(k)
    return StateSpaceModel(
        **functions._asdict(),
        theta=np.concatenate([first, matrix.ravel(), means, scales]),
        theta_names=[
            *(f"initial_probabilities[{a}]" for a in range(k)),
            *(f"transition_matrix[{a}, {b}]" for a in range(k) for b in range(k)),
            *(f"emission_means[{a}]" for a in range(k)),
            *(f"emission_scales[{a}]" for a in range(k)),
        ],
        transforms=(("simplex",) * (k - 1) + ("rest",)) * (k + 1)
        + ("identity",) * k
        + ("log",) * k,
        exact=exact,
    )


_GROWTH = named(
    __name__,
    "_GROWTH",
    _with_noise(
        lambda theta: 0.0,
        lambda x, t, theta: 0.5 * x + 25.0 * x / (1.0 + x**2) + 8.0 * np.cos(1.2 * t),
        lambda x, theta: x**2 / 20.0,
        (2, 0, 1),
        variances=True,
    ),
)


def nonlinear_growth(
    transition_variance: float = 10.0,
    observation_variance: float = 1.0,
    initial_variance: float = 5.0,
) -> StateSpaceModel:
    """x_t = x/2 + 25 x/(1 + x^2) + 8 cos(1.2 t) + noise with x = x_{t-1}; y_t = x_t^2/20 + noise.

    Parameters
    ----------
    transition_variance, observation_variance, initial_variance : float
        Positive; x_0 is N(0, initial_variance).

    Returns
    -------
    StateSpaceModel

    Raises
    ------
    TypeError, ValueError
        A variance is not positive.

    References
    ----------
    Gordon, Salmond & Smith (1993), IEE Proceedings F 140.

    Examples
    --------
    >>> nonlinear_growth().theta_names
    ('transition_variance', 'observation_variance', 'initial_variance')
    """
    given = {
        "transition_variance": transition_variance,
        "observation_variance": observation_variance,
        "initial_variance": initial_variance,
    }
    kinds = ("log",) * 3
    return StateSpaceModel(
        **_GROWTH._asdict(),
        theta=_checked(given, kinds),
        theta_names=tuple(given),
        transforms=kinds,
    )


_POPULATION = named(
    __name__,
    "_POPULATION",
    _with_noise(
        lambda theta: theta[5],
        lambda x, t, theta: x + theta[0] - theta[1] * np.exp(theta[2] * x),
        lambda x, theta: x,
        (6, 3, 4),
        variances=False,
    ),
)


def theta_logistic(
    growth: float,
    density: float,
    shape: float,
    process_scale: float,
    observation_scale: float,
    initial_mean: float = 0.0,
    initial_scale: float = 1.0,
) -> StateSpaceModel:
    """Log abundances of a population: x_t = x + growth - density exp(shape x) + noise, y_t = x_t + noise.

    Parameters
    ----------
    growth, density, shape : float
        tau_0, tau_1 and tau_2 of the reference; x = x_{t-1}.
    process_scale, observation_scale : float
        Standard deviations of the noises, positive.
    initial_mean, initial_scale : float
        Of the Gaussian law of x_0.

    Returns
    -------
    StateSpaceModel

    Raises
    ------
    TypeError, ValueError
        An argument is not finite, or a scale is not positive.

    References
    ----------
    Peters, Hosack & Hayes (2010), Ecological non-linear state space model selection via adaptive
    particle Markov chain Monte Carlo, arXiv 1005.2238.

    Examples
    --------
    >>> theta_logistic(0.15, 0.12, 0.1, 0.5, 0.3).simulate(3, seed=1)[1].shape
    (3,)
    """  # noqa: E501
    given = {
        "growth": growth,
        "density": density,
        "shape": shape,
        "process_scale": process_scale,
        "observation_scale": observation_scale,
        "initial_mean": initial_mean,
        "initial_scale": initial_scale,
    }
    kinds = ("identity", "identity", "identity", "log", "log", "identity", "log")
    return StateSpaceModel(
        **_POPULATION._asdict(),
        theta=_checked(given, kinds),
        theta_names=tuple(given),
        transforms=kinds,
    )


def lorenz96(
    dimension: int,
    forcing: float = 8.0,
    step: float = 0.02,
    transition_scale: float = 0.3,
    observation_scale: float = 1.0,
    initial_scale: float = 1.0,
) -> StateSpaceModel:
    """Lorenz' ring of `dimension` variables, one Euler step per time, all observed with noise.

    dx_j/dt = (x_{j+1} - x_{j-2}) x_{j-1} - x_j + forcing.

    Parameters
    ----------
    dimension : int, at least 4
    forcing, step : float
        8 is chaotic.
    transition_scale, observation_scale : float
        Standard deviations of the noise of every component, positive.
    initial_scale : float
        x_0 is Gaussian around `forcing` with this standard deviation.

    Returns
    -------
    StateSpaceModel

    Raises
    ------
    TypeError, ValueError
        The dimension is below 4, or a scale is not positive.

    References
    ----------
    Lorenz (1996), Predictability: a problem partly solved.

    Examples
    --------
    >>> lorenz96(5).simulate(3, seed=1)[1].shape
    (3, 5)
    """
    d = count("dimension", dimension, 4)
    given = {
        "forcing": forcing,
        "step": step,
        "transition_scale": transition_scale,
        "observation_scale": observation_scale,
        "initial_scale": initial_scale,
    }
    kinds = ("identity", "log", "log", "log", "log")
    return StateSpaceModel(
        **_ring_functions(d)._asdict(),
        theta=_checked(given, kinds),
        theta_names=tuple(given),
        transforms=kinds,
        state_dim=d,
    )


@cache
@remade
def _ring_functions(d: int) -> _Functions:
    def stepped(j, x, theta):
        slope = (x[(j + 1) % d] - x[j - 2]) * x[j - 1] - x[j] + theta[0]
        return theta[1] * slope

    def initial_sample(rng, theta):
        x = np.empty(d)
        for j in range(d):
            x[j] = theta[0] + theta[4] * rng.standard_normal()
        return x

    def initial_logpdf(x, theta):
        total = -d * (0.5 * _LOG_2_PI + np.log(theta[4]))
        for j in range(d):
            total -= 0.5 * ((x[j] - theta[0]) / theta[4]) ** 2
        return total

    def transition_sample(rng, x_prev, t, theta):
        x = np.empty(d)
        for j in range(d):
            x[j] = x_prev[j] + stepped(j, x_prev, theta) + theta[2] * rng.standard_normal()
        return x

    def transition_logpdf(x_prev, x, t, theta):
        total = -d * (0.5 * _LOG_2_PI + np.log(theta[2]))
        for j in range(d):
            total -= 0.5 * ((x[j] - x_prev[j] - stepped(j, x_prev, theta)) / theta[2]) ** 2
        return total

    def transition_logpdf_bound(t, theta):
        return -d * (0.5 * _LOG_2_PI + np.log(theta[2]))

    def observation_logpdf(y, x, t, theta):
        total = 0.0
        seen = 0.0
        for j in range(d):
            known = 1.0 - np.isnan(y[j])
            z = (np.nan_to_num(y[j]) - x[j]) / theta[3]
            total -= 0.5 * known * (z * z + _LOG_2_PI)
            seen += known
        return total - seen * np.log(theta[3])

    def observation_sample(rng, x, t, theta):
        y = np.empty(d)
        for j in range(d):
            y[j] = x[j] + theta[3] * rng.standard_normal()
        return y

    def transition_mean(x_prev, t, theta):
        x = np.empty(d)
        for j in range(d):
            x[j] = x_prev[j] + stepped(j, x_prev, theta)
        return x

    def transition_covariance(t, theta):
        return theta[2] ** 2 * np.eye(d)

    first = (initial_sample, initial_logpdf, transition_sample, transition_logpdf)
    last = (transition_logpdf_bound, observation_sample, transition_mean, transition_covariance)
    return _Functions(*first, observation_logpdf, *last)


def _bearings_initial_sample(rng, theta):
    x = np.empty(4)
    for j in range(4):
        x[j] = theta[3 + j] + theta[7 + j] * rng.standard_normal()
    return x


def _bearings_initial_logpdf(x, theta):
    total = -2.0 * _LOG_2_PI
    for j in range(4):
        total -= 0.5 * ((x[j] - theta[3 + j]) / theta[7 + j]) ** 2 + np.log(theta[7 + j])
    return total


def _bearings_transition_sample(rng, x_prev, t, theta):
    # position and velocity of an axis driven by one white acceleration have correlation sqrt(3)/2
    x = np.empty(4)
    step = theta[0]
    for j in range(2):
        z, w = rng.standard_normal(), rng.standard_normal()
        velocity = theta[1] * np.sqrt(step) * z
        x[2 + j] = x_prev[2 + j] + velocity
        x[j] = x_prev[j] + step * x_prev[2 + j] + 0.5 * step * velocity
        x[j] += theta[1] * np.sqrt(step**3 / 12.0) * w
    return x


def _bearings_transition_logpdf(x_prev, x, t, theta):
    step = theta[0]
    total = -2.0 * _LOG_2_PI - 4.0 * np.log(theta[1]) - np.log(step**4 / 12.0)
    for j in range(2):
        velocity = x[2 + j] - x_prev[2 + j]
        rest = x[j] - x_prev[j] - step * x_prev[2 + j] - 0.5 * step * velocity
        total -= 0.5 * (velocity**2 / step + rest**2 / (step**3 / 12.0)) / theta[1] ** 2
    return total


def _bearings_transition_bound(t, theta):
    return -2.0 * _LOG_2_PI - 4.0 * np.log(theta[1]) - np.log(theta[0] ** 4 / 12.0)


def _bearings_transition_mean(x_prev, t, theta):
    x = np.empty(4)
    for j in range(2):
        x[2 + j] = x_prev[2 + j]
        x[j] = x_prev[j] + theta[0] * x_prev[2 + j]
    return x


def _bearings_transition_covariance(t, theta):
    step = theta[0]
    cov = np.zeros((4, 4))
    for j in range(2):
        cov[j, j], cov[2 + j, 2 + j] = step**3 / 3.0, step
        cov[j, 2 + j] = cov[2 + j, j] = 0.5 * step**2
    return theta[1] ** 2 * cov


def _bearings_observation_sample(rng, x, t, theta):
    return np.arctan2(x[1], x[0]) + theta[2] * rng.standard_normal()


def _bearings_observation_logpdf(y, x, t, theta):
    turn = y - np.arctan2(x[1], x[0])
    return _log_normal_scaled(np.arctan2(np.sin(turn), np.cos(turn)), theta[2])


def bearings_only(
    step: float = 1.0,
    acceleration: float = 0.05,
    bearing_scale: float = 0.02,
    initial_mean: ArrayLike = (3.0, 5.0, 0.1, -0.2),
    initial_scale: ArrayLike = (0.5, 0.5, 0.1, 0.1),
) -> StateSpaceModel:
    """A target of nearly constant velocity in the plane, of which only the bearing is seen.

    Parameters
    ----------
    step : float
        Time between observations.
    acceleration : float
        Intensity of the white noise that drives the velocities.
    bearing_scale : float
        Standard deviation of an observed angle in radians; small, the law is wrapped once.
    initial_mean, initial_scale : array_like, shape (4,)
        Of the independent Gaussian positions (2) and velocities (2) at time 0.

    Returns
    -------
    StateSpaceModel
        State (x, y, velocity of x, velocity of y), observation a float.

    Raises
    ------
    TypeError, ValueError
        A scale is not positive, or a shape is wrong.

    References
    ----------
    Gordon, Salmond & Smith (1993), IEE Proceedings F 140; Bar-Shalom, Li & Kirubarajan (2001) for
    the noise of a sampled white acceleration.

    Examples
    --------
    >>> x, y = bearings_only().simulate(3, seed=1)
    >>> x.shape, y.shape
    ((3, 4), (3,))
    """
    mean, scale = finite("initial_mean", initial_mean), finite("initial_scale", initial_scale)
    if mean.shape != (4,) or scale.shape != (4,) or not (scale > 0).all():
        raise ValueError(
            f"initial_mean, initial_scale: got {mean} and {scale}; expected four numbers each, "
            "positive scales"
        )
    given = {"step": step, "acceleration": acceleration, "bearing_scale": bearing_scale}
    return StateSpaceModel(
        _bearings_initial_sample,
        _bearings_initial_logpdf,
        _bearings_transition_sample,
        _bearings_transition_logpdf,
        _bearings_observation_logpdf,
        _bearings_transition_bound,
        _bearings_observation_sample,
        transition_mean=_bearings_transition_mean,
        transition_covariance=_bearings_transition_covariance,
        theta=np.concatenate([_checked(given, ("log",) * 3), mean, scale]),
        transforms=("log",) * 3 + ("identity",) * 4 + ("log",) * 4,
        state_dim=4,
    )
