"""Exact likelihoods, written here in JAX, and models that several files of tests share.

t-tests: bound at a false alarm of 10^-6 per component, some hundred components: one red build in
ten thousand.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numba
import numpy as np
from scipy.special import stdtrit

import smcweights as smw
from smcweights import _compat
from smcweights.problems import series

LOG_2_PI = math.log(2 * math.pi)


def kalman(system, y):
    """Log likelihood of A, Q, H, R, m, P; rows of NaN are missing."""
    a, q, h, r, mean, cov = system

    def step(carry, row):
        mean, cov, total = carry
        seen = ~jnp.isnan(row).all()
        s = h @ cov @ h.T + r
        e = jnp.where(seen, row, 0.0) - h @ mean
        gain = jnp.where(seen, cov @ h.T @ jnp.linalg.inv(s), 0.0)
        term = 0.5 * (e @ jnp.linalg.solve(s, e) + jnp.linalg.slogdet(2 * jnp.pi * s)[1])
        mean, cov = mean + gain @ e, cov - gain @ h @ cov
        return (a @ mean, a @ cov @ a.T + q, total - jnp.where(seen, term, 0.0)), None

    return jax.lax.scan(step, (mean, cov, 0.0), jnp.asarray(y))[0][2]


def scalar_likelihood(theta, y):
    system = [jnp.reshape(theta[k], (1, 1)) for k in range(4)]
    return kalman((*system, theta[4:5], theta[5].reshape(1, 1)), y.reshape(-1, 1))


@functools.cache
def slope_of(likelihood):
    """Gradient by theta; compiled once for all series of a length, forwards, which is sooner."""
    return jax.jit(jax.jacfwd(likelihood))


def derivatives(likelihood, theta, y):
    """Gradient of an exact log likelihood, and differences of gradients."""
    with _compat.enable_x64():
        # compiling second derivatives takes several times as long
        slope = functools.partial(slope_of(likelihood), y=y)
        theta = np.asarray(theta)
        steps = 1e-5 * np.eye(len(theta))
        pairs = [(np.asarray(slope(theta + h)), np.asarray(slope(theta - h))) for h in steps]
        second = np.array([(up - down) / 2e-5 for up, down in pairs])
        return np.asarray(slope(theta)), (second + second.T) / 2


def agrees(est, truth):
    """Whether all t statistics are within the bound."""
    bound = -stdtrit(est.degrees_of_freedom, 0.5e-6)
    return bool((np.abs(est.value - truth) <= bound * est.standard_error).all())


# 50 observations and 40 particles wherever these numbers don't matter: JAX compiles once for each
LINEAR = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)


THETA = np.array([0.8, 1.3, 1.1, 0.8, 0.2, 3.0])


Y = LINEAR.simulate(50, seed=1)[1]


Y[[10, 11, 30]] = np.nan


@functools.cache
def slopes():
    """Gradient and second derivatives at THETA, compiled by whoever asks first."""
    return derivatives(scalar_likelihood, THETA, Y)


def three_sample(rng, x, t, theta):
    new = np.empty(3)
    for j in range(3):
        new[j] = theta[0] * x[j] + theta[1] * x[(j + 1) % 3] + theta[2] * rng.standard_normal()
    return new


def three_start(rng, theta):
    return np.array([rng.standard_normal(), rng.standard_normal(), rng.standard_normal()])


def three_log_density(x_prev, x, t, theta):
    total = -3.0 * np.log(theta[2]) - 1.5 * LOG_2_PI
    for j in range(3):
        mean = theta[0] * x_prev[j] + theta[1] * x_prev[(j + 1) % 3]
        total -= 0.5 * ((x[j] - mean) / theta[2]) ** 2
    return total


THREE = smw.StateSpaceModel(
    three_start,
    lambda x, theta: -0.5 * (x[0] ** 2 + x[1] ** 2 + x[2] ** 2 + 3 * LOG_2_PI),
    three_sample,
    three_log_density,
    lambda y, x, t, theta: (
        -0.5 * ((y[0] - x[0] - x[1]) ** 2 + (y[1] - x[2]) ** 2) / theta[3] ** 2
        - 2.0 * np.log(theta[3])
        - LOG_2_PI
    ),
    lambda t, theta: -3.0 * np.log(theta[2]) - 1.5 * LOG_2_PI,
    theta=[0.7, 0.2, 0.8, 0.5],
    theta_names=["own", "next", "noise", "error"],
    transforms=["identity", "identity", "log", "log"],
    state_dim=3,
)


# functions that are made once are compiled once
WALK = {
    "initial_sample": lambda rng, theta: rng.standard_normal(),
    "initial_logpdf": lambda x, theta: -0.5 * (x**2 + LOG_2_PI),
    "transition_sample": lambda rng, x_prev, t, theta: (
        x_prev + np.sqrt(theta[0]) * rng.standard_normal()
    ),
    "transition_logpdf": lambda x_prev, x, t, theta: (
        -0.5 * (x - x_prev) ** 2 / theta[0] - 0.5 * np.log(theta[0]) - 0.5 * LOG_2_PI
    ),
    "observation_logpdf": lambda y, x, t, theta: -0.5 * (y - x) ** 2 - 0.5 * LOG_2_PI,
    "theta": [0.5],
}


def walk(**changes):
    return smw.StateSpaceModel(**{**WALK, **changes})


AR = {
    "initial_sample": lambda rng, theta: rng.standard_normal(),
    "initial_logpdf": lambda x, theta: -0.5 * (x**2 + LOG_2_PI),
    "transition_sample": lambda rng, x_prev, t, theta: (
        theta[0] * x_prev + theta[1] * rng.standard_normal()
    ),
    "transition_logpdf": lambda x_prev, x, t, theta: (
        -0.5 * (((x - theta[0] * x_prev) / theta[1]) ** 2 + LOG_2_PI) - np.log(theta[1])
    ),
    "observation_logpdf": lambda y, x, t, theta: (
        -0.5 * (((y - x) / theta[2]) ** 2 + LOG_2_PI) - np.log(theta[2])
    ),
    "theta": [0.7, 0.5, 1.0], "theta_names": ["a", "s", "r"],
    "transforms": ["atanh", "log", "log"],
}  # fmt: skip


AR_Y = np.random.default_rng(5).standard_normal(12)


# the sampler has mean a x and standard deviation s
MISTAKES = {
    "variance for standard deviation": lambda x_prev, x, t, theta: (
        -0.5 * ((x - theta[0] * x_prev) ** 2 / theta[1] + LOG_2_PI + np.log(theta[1]))
    ),
    "sign": lambda x_prev, x, t, theta: (
        -0.5 * (((x + theta[0] * x_prev) / theta[1]) ** 2 + LOG_2_PI) - np.log(theta[1])
    ),
    "arguments exchanged": lambda x_prev, x, t, theta: (
        -0.5 * (((x_prev - theta[0] * x) / theta[1]) ** 2 + LOG_2_PI) - np.log(theta[1])
    ),
    # normalised at s = 1 alone
    "no normalising factor": lambda x_prev, x, t, theta: (
        -0.5 * (((x - theta[0] * x_prev) / theta[1]) ** 2 + LOG_2_PI)
    ),
}


def nutria_model():
    """The abundance of nutria: a fall by a third in one month, seen almost without error."""
    y = np.log(series.nutria()[1])
    return smw.models.theta_logistic(0.06, 0.018, 1.0, 0.098, 0.01, float(y[0]), 0.1), y


@numba.njit
def given_the_observation(x_prev, y, theta):
    mean = x_prev + theta[0] - theta[1] * np.exp(theta[2] * x_prev)
    gain = theta[3] ** 2 / (theta[3] ** 2 + theta[4] ** 2)
    return mean + gain * (y - mean), theta[4] * np.sqrt(gain)


def sample_nutria(rng, x_prev, y, t, theta):
    mean, scale = given_the_observation(x_prev, y, theta)
    return mean + scale * rng.standard_normal()


def logpdf_nutria(x_prev, x, y, t, theta):
    mean, scale = given_the_observation(x_prev, y, theta)
    return -0.5 * np.log(2 * np.pi * scale**2) - 0.5 * ((x - mean) / scale) ** 2


def hidden_chain():
    """A hidden chain of three states, one of whose moves has probability zero, and a series."""
    model = smw.models.finite_hmm(
        [0.5, 0.3, 0.2], [[0.7, 0.3, 0.0], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]],
        [0.0, 3.0, 6.0], [1.0, 1.0, 1.0],
    )  # fmt: skip
    rng = np.random.default_rng(1)
    first, matrix, means, _ = model.exact.system(model.theta)
    x, y = rng.choice(3, p=first), []
    for t in range(60):
        x = rng.choice(3, p=matrix[x]) if t else x
        y.append(means[x] + rng.standard_normal())
    return model, np.array(y)


def hidden_likelihood(matrix, y):
    """Forward algorithm of that chain, but for a constant."""
    law, total = np.array([0.5, 0.3, 0.2]), 0.0
    for t, y_t in enumerate(y):
        law = (law @ matrix if t else law) * np.exp(-0.5 * (y_t - np.array([0.0, 3.0, 6.0])) ** 2)
        total += np.log(law.sum())
        law = law / law.sum()
    return total


def matrix_of(u):
    """Its transition matrix by five log-odds."""
    a, b, c, d, e = 1 / (1 + np.exp(-np.asarray(u)))
    rows = [
        [a, 1 - a, 0.0],
        [b, (1 - b) * c, (1 - b) * (1 - c)],
        [d, (1 - d) * e, (1 - d) * (1 - e)],
    ]
    return np.array(rows)


# Gompertz' population with noise: its logarithm is linear and normal
GOMPERTZ = smw.StateSpaceModel(
    lambda rng, theta: theta[1] * rng.standard_normal(),
    lambda z, theta: -0.5 * ((z / theta[1]) ** 2 + LOG_2_PI) - np.log(theta[1]),
    lambda rng, z_prev, t, theta: np.exp(-theta[0]) * z_prev + theta[1] * rng.standard_normal(),
    lambda z_prev, z, t, theta: (
        -0.5 * (((z - np.exp(-theta[0]) * z_prev) / theta[1]) ** 2 + LOG_2_PI) - np.log(theta[1])
    ),
    lambda y, z, t, theta: -0.5 * (((y - z) / theta[2]) ** 2 + LOG_2_PI) - np.log(theta[2]),
    observation_sample=lambda rng, z, t, theta: z + theta[2] * rng.standard_normal(),
    theta=[0.3, 0.3, 0.2], theta_names=["r", "sigma", "tau"], transforms=["log"] * 3,
)  # fmt: skip


def gompertz_likelihood(u, y):
    r, sigma, tau = jnp.exp(u)
    return scalar_likelihood(jnp.array([jnp.exp(-r), sigma**2, 1.0, tau**2, 0.0, sigma**2]), y)
