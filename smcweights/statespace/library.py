"""Ready models, ready functionals, and the loops that carry any model's functions to the kernels.

They share one file because numba keeps compiled loops on disk by the file they stand in: a second
process finds those of the ready models at once, and an edit of any of them is noticed.

The densities are written in NumPy without writing into arrays, so that JAX can trace them.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .model import Functional, StateSpaceModel

__all__ = [
    "bearings_only",
    "finite_hmm",
    "linear_gaussian",
    "lorenz96",
    "nonlinear_growth",
    "states",
    "stochastic_volatility",
    "sum_of_products",
    "sum_of_squares",
    "sum_of_states",
    "theta_logistic",
]

_LOG_2_PI = math.log(2 * math.pi)
_SLACK = 1e-9  # of a log density beyond its bound, for rounding
_BLOCK = 2048  # backward draws tried together; what is written for them stays in the cache
_Functions: TypeAlias = tuple[Any, Any, Any, Any, Any, Any, Any]  # of a model, in its order


# loops around a model's functions ---------------------------------------------------------------


def scalar_row(a, i):
    return a[i, 0]


def put_scalar(a, i, value):
    a[i, 0] = value


def put_vector(a, i, value):
    for j in range(a.shape[1]):
        a[i, j] = value[j]


def observed(y, row):
    """Whether anything was observed at all."""
    seen = False
    for j in range(y.shape[1]):
        seen = seen or not np.isnan(y[row, j])
    return seen


def bootstrap_start(state, put, observation, observed, initial_sample, observation_logpdf):
    def start(rng, x, y, row, log_w, skip, theta):
        seen = observed(y, row)
        for i in range(x.shape[0]):
            if i != skip:
                put(x, i, initial_sample(rng, theta))
            if seen:
                log_w[i] += observation_logpdf(observation(y, row), state(x, i), np.int64(0), theta)
        return 0

    return start


def bootstrap_move(state, put, observation, observed, transition_sample, observation_logpdf):
    def move(rng, x_prev, ancestors, x, y, row, t, log_w, skip, theta):
        seen = observed(y, row)
        for i in range(x.shape[0]):
            if i != skip:
                put(x, i, transition_sample(rng, state(x_prev, ancestors[i]), t, theta))
            if seen:
                log_w[i] += observation_logpdf(observation(y, row), state(x, i), t, theta)
        return 0

    return move


def bootstrap_move_in_place(state, put, observation, observed, transition_into, observation_logpdf):
    """For ready models that write the new state where it belongs: no array for each particle."""

    def move(rng, x_prev, ancestors, x, y, row, t, log_w, skip, theta):
        seen = observed(y, row)
        for i in range(x.shape[0]):
            if i != skip:
                transition_into(rng, state(x_prev, ancestors[i]), t, theta, state(x, i))
            if seen:
                log_w[i] += observation_logpdf(observation(y, row), state(x, i), t, theta)
        return 0

    return move


def guided_start(
    state, put, observation, observed, sample, logpdf, initial_logpdf, observation_logpdf
):
    def start(rng, x, y, row, log_w, skip, theta):
        seen = observed(y, row)
        for i in range(x.shape[0]):
            if i != skip:
                put(x, i, sample(rng, observation(y, row), theta))
            new = state(x, i)
            log_w[i] += initial_logpdf(new, theta) - logpdf(new, observation(y, row), theta)
            if seen:
                log_w[i] += observation_logpdf(observation(y, row), new, np.int64(0), theta)
        return 0

    return start


def guided_move(
    state, put, observation, observed, sample, logpdf, transition_logpdf, observation_logpdf
):
    def move(rng, x_prev, ancestors, x, y, row, t, log_w, skip, theta):
        seen = observed(y, row)
        for i in range(x.shape[0]):
            old = state(x_prev, ancestors[i])
            if i != skip:
                put(x, i, sample(rng, old, observation(y, row), t, theta))
            new = state(x, i)
            log_w[i] += transition_logpdf(old, new, t, theta)
            log_w[i] -= logpdf(old, new, observation(y, row), t, theta)
            if seen:
                log_w[i] += observation_logpdf(observation(y, row), new, t, theta)
        return 0

    return move


def lookahead(state, observation, log_lookahead):
    def look(x, y, row, t, theta, out):
        for i in range(x.shape[0]):
            out[i] = log_lookahead(state(x, i), observation(y, row), t, theta)
        return 0

    return look


def transition_pair(state, transition_logpdf):
    def pair(x_prev, prev, x, i, t, theta):
        return float(transition_logpdf(state(x_prev, prev), state(x, i), t, theta))

    return pair


def transition_bound(transition_logpdf_bound):
    def bound(t, theta):
        return float(transition_logpdf_bound(t, theta))

    return bound


def transition_rejection(state, transition_logpdf):
    def reject(rng, x_prev, x, targets, t, theta, log_bound, cap, table, picks, tally):
        # one try for every open draw of a block, round by round: tries of one draw in a row would
        # each end in a branch that the processor can't foresee
        n, draws = table.shape[0], picks.shape[1]
        found = picks.reshape(-1)
        pending = np.empty((min(_BLOCK, found.size), 2), dtype=np.int32)
        for first in range(0, found.size, _BLOCK):
            left = min(_BLOCK, found.size - first)
            for k in range(left):
                pending[k, 0], pending[k, 1] = first + k, targets[(first + k) // draws]
            for _ in range(cap):
                if left == 0:
                    break
                tally[1] += left
                kept = 0
                for k in range(left):
                    slot, i = pending[k, 0], pending[k, 1]
                    u = rng.random() * n
                    prev = np.int64(u)
                    other = np.int64(table[prev, 1])
                    prev = prev if u - prev < table[prev, 0] else other
                    excess = transition_logpdf(state(x_prev, prev), state(x, i), t, theta)
                    excess -= log_bound
                    if not excess <= _SLACK:
                        return -1 - (i * n + prev)
                    found[slot] = prev
                    pending[kept, 0], pending[kept, 1] = slot, i
                    kept += not rng.standard_exponential() > -excess
                left = kept
            for k in range(left):
                found[pending[k, 0]] = -1
        return 0

    return reject


def path_density(
    state, observation, observed, initial_logpdf, transition_logpdf, observation_logpdf
):
    def log_density(x, y, theta):
        total = initial_logpdf(state(x, 0), theta)
        for t in range(x.shape[0]):
            if t > 0:
                total += transition_logpdf(state(x, t - 1), state(x, t), t, theta)
            if observed(y, t):
                total += observation_logpdf(observation(y, t), state(x, t), t, theta)
        return total

    return log_density


def add_scalar(state, functional):
    def add(x_prev, prev, x, i, y, row, t, theta, out, k):
        out[k, 0] += functional(state(x_prev, prev), state(x, i), t)
        return 0

    return add


def add_vector(state, functional):
    def add(x_prev, prev, x, i, y, row, t, theta, out, k):
        values = functional(state(x_prev, prev), state(x, i), t)
        for j in range(out.shape[1]):
            out[k, j] += values[j]
        return 0

    return add


def add_scalar_first(state, functional):
    def add_first(x, i, y, row, theta, out, k):
        out[k, 0] += functional(state(x, i))
        return 0

    return add_first


def add_vector_first(state, functional):
    def add_first(x, i, y, row, theta, out, k):
        values = functional(state(x, i))
        for j in range(out.shape[1]):
            out[k, j] += values[j]
        return 0

    return add_first


# functionals ------------------------------------------------------------------------------------


def _first_nothing(x, i, y, row, theta, out, k):
    return 0


def _first_state(x, i, y, row, theta, out, k):
    for j in range(x.shape[1]):
        out[k, j] += x[i, j]
    return 0


def _first_square(x, i, y, row, theta, out, k):
    for j in range(x.shape[1]):
        out[k, j] += x[i, j] ** 2
    return 0


def _add_state(x_prev, prev, x, i, y, row, t, theta, out, k):
    for j in range(x.shape[1]):
        out[k, j] += x[i, j]
    return 0


def _add_square(x_prev, prev, x, i, y, row, t, theta, out, k):
    for j in range(x.shape[1]):
        out[k, j] += x[i, j] ** 2
    return 0


def _add_product(x_prev, prev, x, i, y, row, t, theta, out, k):
    for j in range(x.shape[1]):
        out[k, j] += x_prev[prev, j] * x[i, j]
    return 0


def _put_state(x_prev, prev, x, i, y, row, t, theta, out, k):
    dim = x.shape[1]
    for j in range(dim):
        out[k, t * dim + j] += x[i, j]
    return 0


def _per_component(n_steps: int, dim: int) -> int:
    return dim


def _per_state(n_steps: int, dim: int) -> int:
    return n_steps * dim


sum_of_states = Functional("x", _first_state, _add_state, _per_component)
sum_of_squares = Functional("x^2", _first_square, _add_square, _per_component)
sum_of_products = Functional("x_prev x", _first_nothing, _add_product, _per_component)
states = Functional("x", _first_state, _put_state, _per_state)


# models -----------------------------------------------------------------------------------------


def _positive(name: str, value: Any) -> float:
    number = _number(name, value)
    if not number > 0:
        raise ValueError(f"{name}: got {number}; expected a positive number")
    return number


def _number(name: str, value: Any) -> float:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.size != 1 or not np.isfinite(array).all():
        raise ValueError(f"{name}: got {value!r}; expected one finite number")
    return float(array.reshape(()))


def _gaussian_initial_sample(rng, theta):
    return theta[4] + np.sqrt(theta[5]) * rng.standard_normal()


def _gaussian_initial_logpdf(x, theta):
    return -0.5 * ((x - theta[4]) ** 2 / theta[5] + np.log(theta[5]) + _LOG_2_PI)


def _linear_transition_sample(rng, x_prev, t, theta):
    return theta[0] * x_prev + np.sqrt(theta[1]) * rng.standard_normal()


def _linear_transition_logpdf(x_prev, x, t, theta):
    return -0.5 * ((x - theta[0] * x_prev) ** 2 / theta[1] + np.log(theta[1]) + _LOG_2_PI)


def _linear_transition_bound(t, theta):
    return -0.5 * (np.log(theta[1]) + _LOG_2_PI)


def _linear_observation_sample(rng, x, t, theta):
    return theta[2] * x + np.sqrt(theta[3]) * rng.standard_normal()


def _linear_observation_logpdf(y, x, t, theta):
    return -0.5 * ((y - theta[2] * x) ** 2 / theta[3] + np.log(theta[3]) + _LOG_2_PI)


def _scalar_system(theta):
    a, q, h, r, m, p = theta
    return (np.array([[a]]), np.array([[q]]), np.array([[h]]), np.array([[r]]), np.array([m]),
            np.array([[p]]))  # fmt: skip


def linear_gaussian(
    transition_matrix: ArrayLike,
    transition_covariance: ArrayLike,
    observation_matrix: ArrayLike,
    observation_covariance: ArrayLike,
    initial_mean: ArrayLike | None = None,
    initial_covariance: ArrayLike | None = None,
) -> StateSpaceModel:
    """x_t = A x_{t-1} + N(0, Q), y_t = H x_t + N(0, R).

    Parameters
    ----------
    transition_matrix : float or array_like, shape (d, d)
        A. With four scalars the state and the observation are floats and `theta` holds the six
        numbers under the names of these arguments. With matrices it holds the entries of A, H and
        the initial mean, such as "transition_matrix[0, 1]", and in place of every covariance the
        inverse of its Cholesky root, such as "transition_precision_root[1, 0]". Of a diagonal
        covariance these are one over the standard deviations, and the only entries kept.
    transition_covariance : float or array_like, shape (d, d)
        Q, positive definite.
    observation_matrix : float or array_like, shape (p, d)
        H.
    observation_covariance : float or array_like, shape (p, p)
        R, positive definite. Single components of an observation may be missing (NaN) where R is
        diagonal.
    initial_mean : float or array_like, shape (d,), optional
        Mean of x_0, default 0.
    initial_covariance : float or array_like, shape (d, d), optional
        Covariance of x_0, default the stationary one, P = A P A' + Q.

    Returns
    -------
    StateSpaceModel

    Raises
    ------
    ValueError
        Shapes don't fit, a covariance is not positive definite, or A has no stationary law and
        the initial covariance is missing.

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
    if all(np.ndim(value) == 0 for value in given.values()):
        a = _number("transition_matrix", transition_matrix)
        q = _positive("transition_covariance", transition_covariance)
        if initial_covariance is None and not abs(a) < 1:
            raise ValueError(
                f"initial_covariance: missing, and transition_matrix {a} has no stationary law; "
                "expected a variance for x_0"
            )
        theta = [
            a,
            q,
            _number("observation_matrix", observation_matrix),
            _positive("observation_covariance", observation_covariance),
            0.0 if initial_mean is None else _number("initial_mean", initial_mean),
            q / (1 - a * a)
            if initial_covariance is None
            else _positive("initial_covariance", initial_covariance),
        ]
        return StateSpaceModel(
            _gaussian_initial_sample,
            _gaussian_initial_logpdf,
            _linear_transition_sample,
            _linear_transition_logpdf,
            _linear_observation_logpdf,
            _linear_transition_bound,
            _linear_observation_sample,
            theta=theta,
            theta_names=(*given, "initial_mean", "initial_covariance"),
            transforms=("identity", "log", "identity", "log", "identity", "log"),
            structure=("linear_gaussian", _scalar_system),
        )
    return _matrix_gaussian(given, initial_mean, initial_covariance)


def _matrix(name: str, value: ArrayLike, shape: tuple[int, int] | None = None) -> np.ndarray:
    array = np.atleast_2d(np.array(value, dtype=np.float64))
    if array.ndim != 2 or (shape is not None and array.shape != shape):
        raise ValueError(f"{name}: got shape {np.shape(value)}; expected {shape or '(d, d)'}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: not finite; expected finite numbers")
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
    mean = np.zeros(d) if initial_mean is None else np.array(initial_mean, dtype=np.float64)
    if mean.shape != (d,):
        raise ValueError(f"initial_mean: got shape {mean.shape}; expected ({d},)")
    if initial_covariance is None:
        radius = np.abs(np.linalg.eigvals(a)).max()
        if not radius < 1:
            raise ValueError(
                f"initial_covariance: missing, and transition_matrix (spectral radius "
                f"{radius:.3g}) has no stationary law; expected a covariance for x_0"
            )
        from scipy.linalg import solve_discrete_lyapunov

        c = solve_discrete_lyapunov(a, q)
        c = (c + c.T) / 2
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
    plain_q, plain_r, plain_c = (not (w - np.diag(w.diagonal())).any() for w in roots)
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
    add_root("transition_precision_root", roots[0], plain_q)
    add_matrix("observation_matrix", h)
    add_root("observation_precision_root", roots[1], plain_r)
    add("initial_mean", mean, ["identity"] * d, [(i,) for i in range(d)])
    add_root("initial_precision_root", roots[2], plain_c)
    functions, system = _matrix_functions(d, p, plain_q, plain_r, plain_c, tuple(starts))
    return StateSpaceModel(
        *functions,
        theta=theta,
        theta_names=names,
        transforms=transforms,
        state_dim=d,
        structure=("linear_gaussian", system),
    )


@cache
def _matrix_functions(d, p, plain_q, plain_r, plain_c, starts) -> tuple[_Functions, Any]:
    # one set for all models of a shape: another one would be compiled again
    from numba.extending import register_jitable

    i_a, i_q, i_h, i_r, i_m, i_c = starts

    # Every root W is lower triangular, and W times the noise is white. Densities have no place
    # to keep residuals in, which JAX could not trace: a dense root takes them several times.

    def initial_sample(rng, theta):
        x = np.empty(d)
        for i in range(d):
            first = i if plain_c else 0
            row = i_c + (i if plain_c else i * (i + 1) // 2)
            total = rng.standard_normal()
            for j in range(first, i):
                total -= theta[row + j] * x[j]
            x[i] = total / theta[row + i - first]
        for i in range(d):
            x[i] += theta[i_m + i]
        return x

    def initial_logpdf(x, theta):
        total = -0.5 * d * _LOG_2_PI
        for i in range(d):
            first = i if plain_c else 0
            row = i_c + (i if plain_c else i * (i + 1) // 2)
            z = 0.0
            for j in range(first, i + 1):
                z += theta[row + j - first] * (x[j] - theta[i_m + j])
            total += np.log(theta[row + i - first]) - 0.5 * z * z
        return total

    @register_jitable
    def transition_into(rng, x_prev, t, theta, x):
        for i in range(d):
            first = i if plain_q else 0
            row = i_q + (i if plain_q else i * (i + 1) // 2)
            total = rng.standard_normal()
            for j in range(first, i):
                total -= theta[row + j] * x[j]
            x[i] = total / theta[row + i - first]
        for i in range(d):
            total = x[i]
            for j in range(d):
                total += theta[i_a + i * d + j] * x_prev[j]
            x[i] = total

    def transition_sample(rng, x_prev, t, theta):
        x = np.empty(d)
        transition_into(rng, x_prev, t, theta, x)
        return x

    transition_sample.into = transition_into  # type: ignore[attr-defined]

    def transition_logpdf(x_prev, x, t, theta):
        total = -0.5 * d * _LOG_2_PI
        size = 1.0
        for i in range(d):
            first = i if plain_q else 0
            row = i_q + (i if plain_q else i * (i + 1) // 2)
            z = 0.0
            for j in range(first, i + 1):
                rest = x[j]
                for k in range(d):
                    rest -= theta[i_a + j * d + k] * x_prev[k]
                z += theta[row + j - first] * rest
            total -= 0.5 * z * z
            # a logarithm costs more than all the rest
            size *= theta[row + i - first]
            if i % 8 == 7 or i == d - 1:
                total += np.log(size)
                size = 1.0
        return total

    def transition_logpdf_bound(t, theta):
        total = -0.5 * d * _LOG_2_PI
        for i in range(d):
            total += np.log(theta[i_q + (i if plain_q else i * (i + 1) // 2 + i)])
        return total

    def observation_logpdf(y, x, t, theta):
        total = 0.0
        size = 1.0
        for i in range(p):
            first = i if plain_r else 0
            row = i_r + (i if plain_r else i * (i + 1) // 2)
            z = 0.0
            for j in range(first, i + 1):
                rest = np.nan_to_num(y[j]) if plain_r else y[j]
                for k in range(d):
                    rest -= theta[i_h + j * d + k] * x[k]
                z += theta[row + j - first] * rest
            seen = 1.0 - np.isnan(y[i]) if plain_r else 1.0
            total -= 0.5 * seen * (z * z + _LOG_2_PI)
            size *= 1.0 + seen * (theta[row + i - first] - 1.0)
            if i % 8 == 7 or i == p - 1:
                total += np.log(size)
                size = 1.0
        return total

    def observation_sample(rng, x, t, theta):
        y = np.empty(p)
        for i in range(p):
            first = i if plain_r else 0
            row = i_r + (i if plain_r else i * (i + 1) // 2)
            total = rng.standard_normal()
            for j in range(first, i):
                total -= theta[row + j] * y[j]
            y[i] = total / theta[row + i - first]
        for i in range(p):
            for j in range(d):
                y[i] += theta[i_h + i * d + j] * x[j]
        return y

    def covariance(entries, size, plain):
        w = np.zeros((size, size))
        w[np.diag_indices(size) if plain else np.tril_indices(size)] = entries
        root = np.linalg.inv(w)
        return root @ root.T

    def system(theta):
        return (
            theta[i_a:i_q].reshape(d, d),
            covariance(theta[i_q:i_h], d, plain_q),
            theta[i_h:i_r].reshape(p, d),
            covariance(theta[i_r:i_m], p, plain_r),
            theta[i_m:i_c],
            covariance(theta[i_c:], d, plain_c),
        )

    return (
        initial_sample,
        initial_logpdf,
        transition_sample,
        transition_logpdf,
        observation_logpdf,
        transition_logpdf_bound,
        observation_sample,
    ), system


def _volatility_initial_sample(rng, theta):
    return theta[1] / np.sqrt(1 - theta[0] ** 2) * rng.standard_normal()


def _volatility_initial_logpdf(x, theta):
    variance = theta[1] ** 2 / (1 - theta[0] ** 2)
    return -0.5 * (x**2 / variance + np.log(variance) + _LOG_2_PI)


def _volatility_transition_sample(rng, x_prev, t, theta):
    return theta[0] * x_prev + theta[1] * rng.standard_normal()


def _volatility_transition_logpdf(x_prev, x, t, theta):
    z = (x - theta[0] * x_prev) / theta[1]
    return -0.5 * (z * z + _LOG_2_PI) - np.log(theta[1])


def _volatility_transition_bound(t, theta):
    return -0.5 * _LOG_2_PI - np.log(theta[1])


def _volatility_observation_sample(rng, x, t, theta):
    return theta[2] * np.exp(0.5 * x) * rng.standard_normal()


def _volatility_observation_logpdf(y, x, t, theta):
    z = y / theta[2]
    return -0.5 * (z * z * np.exp(-x) + x + _LOG_2_PI) - np.log(theta[2])


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
    ValueError
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
    if not abs(_number("persistence", persistence)) < 1:
        raise ValueError(f"persistence: got {persistence}; expected a number between -1 and 1")
    theta = [persistence, _positive("volatility", volatility), _positive("scale", scale)]
    if leverage is not None and returns is not None:
        if not abs(_number("leverage", leverage)) < 1:
            raise ValueError(f"leverage: got {leverage}; expected a number between -1 and 1")
        return _volatility_with_leverage(returns, [*theta, leverage])
    if leverage is not None or returns is not None:
        raise ValueError("leverage: got only one of leverage and returns; expected both or none")
    return StateSpaceModel(
        _volatility_initial_sample,
        _volatility_initial_logpdf,
        _volatility_transition_sample,
        _volatility_transition_logpdf,
        _volatility_observation_logpdf,
        _volatility_transition_bound,
        _volatility_observation_sample,
        theta=theta,
        theta_names=("persistence", "volatility", "scale"),
        transforms=("atanh", "log", "log"),
    )


def _volatility_with_leverage(returns: ArrayLike, theta: list[float]) -> StateSpaceModel:
    from numba.extending import register_jitable

    given = np.array(returns, dtype=np.float64)
    if given.ndim != 1 or given.size == 0 or np.isinf(given).any():
        raise ValueError(
            f"returns: got shape {given.shape}; expected (T,), finite numbers or NaN where missing"
        )
    seen = np.append(~np.isnan(given), True).astype(np.float64)
    # beyond the series everything is NaN, which filters report
    known = np.append(np.where(np.isnan(given), 0.0, given), np.nan)
    n_steps = given.size
    log_density = register_jitable(_volatility_observation_logpdf)

    def observation_logpdf(y, x, t, theta):
        # 0, or NaN where y is not the return that the transitions know
        same = np.sqrt((y == np.take(known, np.minimum(t, n_steps))) - 1.0)
        return log_density(y, x, t, theta) + same

    observation_logpdf.series = given  # type: ignore[attr-defined]

    @register_jitable
    def drift(x_prev, t, theta):
        shock = np.take(known, np.minimum(t - 1, n_steps)) / theta[2] * np.exp(-0.5 * x_prev)
        return theta[0] * x_prev + theta[1] * theta[3] * shock

    @register_jitable
    def spread(t, theta):
        return theta[1] * np.sqrt(1 - theta[3] ** 2 * np.take(seen, np.minimum(t - 1, n_steps)))

    def transition_sample(rng, x_prev, t, theta):
        return drift(x_prev, t, theta) + spread(t, theta) * rng.standard_normal()

    def transition_logpdf(x_prev, x, t, theta):
        scale = spread(t, theta)
        z = (x - drift(x_prev, t, theta)) / scale
        return -0.5 * (z * z + _LOG_2_PI) - np.log(scale)

    def transition_logpdf_bound(t, theta):
        return -0.5 * _LOG_2_PI - np.log(spread(t, theta))

    return StateSpaceModel(
        _volatility_initial_sample,
        _volatility_initial_logpdf,
        transition_sample,
        transition_logpdf,
        observation_logpdf,
        transition_logpdf_bound,
        theta=theta,
        theta_names=("persistence", "volatility", "scale", "leverage"),
        transforms=("atanh", "log", "log", "atanh"),
    )


def _number_of_states(theta):
    # theta holds k + k*k + k + k numbers
    return int(np.sqrt(9.0 + 4.0 * theta.size) - 3.0 + 1e-6) // 2


def _finite_initial_sample(rng, theta):
    k = int(np.sqrt(9.0 + 4.0 * theta.size) - 3.0 + 1e-6) // 2
    u = rng.random()
    i = 0
    reached = theta[0]
    while u >= reached and i < k - 1:
        i += 1
        reached += theta[i]
    while theta[i] == 0.0:
        i -= 1
    return float(i)


def _finite_initial_logpdf(x, theta):
    return np.log(theta[int(x)])


def _finite_transition_sample(rng, x_prev, t, theta):
    k = int(np.sqrt(9.0 + 4.0 * theta.size) - 3.0 + 1e-6) // 2
    first = k + k * int(x_prev)
    u = rng.random()
    i = 0
    reached = theta[first]
    while u >= reached and i < k - 1:
        i += 1
        reached += theta[first + i]
    while theta[first + i] == 0.0:
        i -= 1
    return float(i)


def _finite_transition_logpdf(x_prev, x, t, theta):
    k = int(np.sqrt(9.0 + 4.0 * theta.size) - 3.0 + 1e-6) // 2
    return np.log(theta[k + k * int(x_prev) + int(x)])


def _finite_transition_bound(t, theta):
    k = int(np.sqrt(9.0 + 4.0 * theta.size) - 3.0 + 1e-6) // 2
    return np.log(np.max(theta[k : k + k * k]))


def _finite_observation_sample(rng, x, t, theta):
    k = int(np.sqrt(9.0 + 4.0 * theta.size) - 3.0 + 1e-6) // 2
    at = k + k * k + int(x)
    return theta[at] + theta[at + k] * rng.standard_normal()


def _finite_observation_logpdf(y, x, t, theta):
    k = int(np.sqrt(9.0 + 4.0 * theta.size) - 3.0 + 1e-6) // 2
    at = k + k * k + int(x)
    z = (y - theta[at]) / theta[at + k]
    return -0.5 * (z * z + _LOG_2_PI) - np.log(theta[at + k])


def _finite_system(theta):
    k = _number_of_states(theta)
    edges = np.cumsum([k, k * k, k])
    first, matrix, means, scales = np.split(theta, edges)
    return first, matrix.reshape(k, k), means, scales


def _probabilities(name: str, value: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(value, dtype=np.float64)
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

    Parameters
    ----------
    initial_probabilities : array_like, shape (K,)
    transition_matrix : array_like, shape (K, K)
        Row by row the law of the next state.
    emission_means, emission_scales : array_like, shape (K,)
        y_t given x_t = k is N(mean_k, scale_k^2). They can be learned; the probabilities, which sum
        to one, can't: `score` gives the derivative by each on its own.

    Returns
    -------
    StateSpaceModel

    Raises
    ------
    ValueError
        Shapes don't fit, rows are no probabilities, or a scale is not positive.

    Examples
    --------
    >>> model = finite_hmm([0.5, 0.5], [[0.9, 0.1], [0.3, 0.7]], [0.0, 2.0], [1.0, 1.0])
    >>> model.simulate(3, seed=1)[0].shape
    (3,)
    """
    k = np.size(initial_probabilities)
    first = _probabilities("initial_probabilities", initial_probabilities, (k,))
    matrix = _probabilities("transition_matrix", transition_matrix, (k, k))
    means = np.array(emission_means, dtype=np.float64)
    scales = np.array(emission_scales, dtype=np.float64)
    for name, array in (("emission_means", means), ("emission_scales", scales)):
        if array.shape != (k,) or not np.isfinite(array).all():
            raise ValueError(f"{name}: got shape {array.shape}; expected ({k},) finite numbers")
    if not (scales > 0).all():
        raise ValueError(f"emission_scales: smallest is {scales.min()}; expected positive numbers")
    return StateSpaceModel(
        _finite_initial_sample,
        _finite_initial_logpdf,
        _finite_transition_sample,
        _finite_transition_logpdf,
        _finite_observation_logpdf,
        _finite_transition_bound,
        _finite_observation_sample,
        theta=np.concatenate([first, matrix.ravel(), means, scales]),
        theta_names=[
            *(f"initial_probabilities[{a}]" for a in range(k)),
            *(f"transition_matrix[{a}, {b}]" for a in range(k) for b in range(k)),
            *(f"emission_means[{a}]" for a in range(k)),
            *(f"emission_scales[{a}]" for a in range(k)),
        ],
        transforms=("identity",) * (k * k + 2 * k) + ("log",) * k,
        structure=("finite_hmm", _finite_system),
    )


def _growth_initial_sample(rng, theta):
    return np.sqrt(theta[2]) * rng.standard_normal()


def _growth_initial_logpdf(x, theta):
    return -0.5 * (x**2 / theta[2] + np.log(theta[2]) + _LOG_2_PI)


def _growth_transition_sample(rng, x_prev, t, theta):
    mean = 0.5 * x_prev + 25.0 * x_prev / (1.0 + x_prev**2) + 8.0 * np.cos(1.2 * t)
    return mean + np.sqrt(theta[0]) * rng.standard_normal()


def _growth_transition_logpdf(x_prev, x, t, theta):
    mean = 0.5 * x_prev + 25.0 * x_prev / (1.0 + x_prev**2) + 8.0 * np.cos(1.2 * t)
    return -0.5 * ((x - mean) ** 2 / theta[0] + np.log(theta[0]) + _LOG_2_PI)


def _growth_transition_bound(t, theta):
    return -0.5 * (np.log(theta[0]) + _LOG_2_PI)


def _growth_observation_sample(rng, x, t, theta):
    return x**2 / 20.0 + np.sqrt(theta[1]) * rng.standard_normal()


def _growth_observation_logpdf(y, x, t, theta):
    return -0.5 * ((y - x**2 / 20.0) ** 2 / theta[1] + np.log(theta[1]) + _LOG_2_PI)


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
    ValueError
        A variance is not positive.

    References
    ----------
    Gordon, Salmond & Smith (1993), IEE Proceedings F 140.

    Examples
    --------
    >>> nonlinear_growth().theta_names
    ('transition_variance', 'observation_variance', 'initial_variance')
    """
    names = ("transition_variance", "observation_variance", "initial_variance")
    values = (transition_variance, observation_variance, initial_variance)
    return StateSpaceModel(
        _growth_initial_sample,
        _growth_initial_logpdf,
        _growth_transition_sample,
        _growth_transition_logpdf,
        _growth_observation_logpdf,
        _growth_transition_bound,
        _growth_observation_sample,
        theta=[_positive(name, value) for name, value in zip(names, values, strict=True)],
        theta_names=names,
        transforms=("log", "log", "log"),
    )


def _population_initial_sample(rng, theta):
    return theta[5] + theta[6] * rng.standard_normal()


def _population_initial_logpdf(x, theta):
    z = (x - theta[5]) / theta[6]
    return -0.5 * (z * z + _LOG_2_PI) - np.log(theta[6])


def _population_transition_sample(rng, x_prev, t, theta):
    mean = x_prev + theta[0] - theta[1] * np.exp(theta[2] * x_prev)
    return mean + theta[3] * rng.standard_normal()


def _population_transition_logpdf(x_prev, x, t, theta):
    z = (x - (x_prev + theta[0] - theta[1] * np.exp(theta[2] * x_prev))) / theta[3]
    return -0.5 * (z * z + _LOG_2_PI) - np.log(theta[3])


def _population_transition_bound(t, theta):
    return -0.5 * _LOG_2_PI - np.log(theta[3])


def _population_observation_sample(rng, x, t, theta):
    return x + theta[4] * rng.standard_normal()


def _population_observation_logpdf(y, x, t, theta):
    z = (y - x) / theta[4]
    return -0.5 * (z * z + _LOG_2_PI) - np.log(theta[4])


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
    ValueError
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
    theta = {
        "growth": _number("growth", growth),
        "density": _number("density", density),
        "shape": _number("shape", shape),
        "process_scale": _positive("process_scale", process_scale),
        "observation_scale": _positive("observation_scale", observation_scale),
        "initial_mean": _number("initial_mean", initial_mean),
        "initial_scale": _positive("initial_scale", initial_scale),
    }
    return StateSpaceModel(
        _population_initial_sample,
        _population_initial_logpdf,
        _population_transition_sample,
        _population_transition_logpdf,
        _population_observation_logpdf,
        _population_transition_bound,
        _population_observation_sample,
        theta=list(theta.values()),
        theta_names=tuple(theta),
        transforms=("identity", "identity", "identity", "log", "log", "identity", "log"),
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
    ValueError
        The dimension is below 4, or a scale is not positive.

    References
    ----------
    Lorenz (1996), Predictability: a problem partly solved.

    Examples
    --------
    >>> lorenz96(5).simulate(3, seed=1)[1].shape
    (3, 5)
    """
    d = int(dimension)
    if d != dimension or d < 4:
        raise ValueError(f"dimension: got {dimension!r}; expected a whole number from 4")
    theta = {
        "forcing": _number("forcing", forcing),
        "step": _positive("step", step),
        "transition_scale": _positive("transition_scale", transition_scale),
        "observation_scale": _positive("observation_scale", observation_scale),
        "initial_scale": _positive("initial_scale", initial_scale),
    }
    return StateSpaceModel(
        *_ring_functions(d),
        theta=list(theta.values()),
        theta_names=tuple(theta),
        transforms=("identity", "log", "log", "log", "log"),
        state_dim=d,
    )


@cache
def _ring_functions(d) -> _Functions:
    # one set for a dimension: another one would be compiled again
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
            slope = (x_prev[(j + 1) % d] - x_prev[j - 2]) * x_prev[j - 1] - x_prev[j] + theta[0]
            x[j] = x_prev[j] + theta[1] * slope + theta[2] * rng.standard_normal()
        return x

    def transition_logpdf(x_prev, x, t, theta):
        total = -d * (0.5 * _LOG_2_PI + np.log(theta[2]))
        for j in range(d):
            slope = (x_prev[(j + 1) % d] - x_prev[j - 2]) * x_prev[j - 1] - x_prev[j] + theta[0]
            total -= 0.5 * ((x[j] - x_prev[j] - theta[1] * slope) / theta[2]) ** 2
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

    return (
        initial_sample,
        initial_logpdf,
        transition_sample,
        transition_logpdf,
        observation_logpdf,
        transition_logpdf_bound,
        observation_sample,
    )


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


def _bearings_observation_sample(rng, x, t, theta):
    return np.arctan2(x[1], x[0]) + theta[2] * rng.standard_normal()


def _bearings_observation_logpdf(y, x, t, theta):
    turn = y - np.arctan2(x[1], x[0])
    z = np.arctan2(np.sin(turn), np.cos(turn)) / theta[2]
    return -0.5 * (z * z + _LOG_2_PI) - np.log(theta[2])


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
    ValueError
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
    mean = np.array(initial_mean, dtype=np.float64)
    scale = np.array(initial_scale, dtype=np.float64)
    if mean.shape != (4,) or scale.shape != (4,) or not (scale > 0).all():
        raise ValueError(
            f"initial_mean, initial_scale: got {mean} and {scale}; expected four numbers each, "
            "positive scales"
        )
    first = [
        _positive("step", step),
        _positive("acceleration", acceleration),
        _positive("bearing_scale", bearing_scale),
    ]
    return StateSpaceModel(
        _bearings_initial_sample,
        _bearings_initial_logpdf,
        _bearings_transition_sample,
        _bearings_transition_logpdf,
        _bearings_observation_logpdf,
        _bearings_transition_bound,
        _bearings_observation_sample,
        theta=np.concatenate([first, mean, scale]),
        transforms=("log",) * 3 + ("identity",) * 4 + ("log",) * 4,
        state_dim=4,
    )
