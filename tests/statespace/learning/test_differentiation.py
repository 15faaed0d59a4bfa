"""Densities in JAX are those that numba compiled, and those that samplers draw from."""

import math

import jax
import jax.numpy as jnp
import numba
import numpy as np
import pytest
from numpy import exp as imported_exp

import smcweights as smw
from smcweights import _compat
from smcweights.statespace.compilation import compiled_path_density
from smcweights.statespace.learning import differentiation

from .truths import AR, AR_Y, LOG_2_PI, MISTAKES, walk

pytestmark = pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")


SHIFT = 0.25


def scaled_square(z, scale):
    return -0.5 * (z / scale) ** 2 - math.log(scale)


@numba.njit
def centre(x, theta):
    return SHIFT + theta[0] * (x - SHIFT)


@pytest.mark.slow
def test_a_retraced_function_calls_what_the_original_calls():
    slope = 2.0

    def inner(x):
        return slope * x + np.pi

    def original(x, theta, power=2):
        k = int(np.floor(theta[1]))
        parts = [scaled_square(inner(x) - centre(x, theta), theta[1]), float(x) ** power]
        return sum(parts) + imported_exp(-max(x, 0.0)) + math.lgamma(theta[1]) + theta[k]

    theta = np.array([0.3, 1.5])
    with _compat.enable_x64():
        value, gradient = jax.value_and_grad(differentiation.retraced(original), 1)(0.7, theta)
    assert float(value) == pytest.approx(original(0.7, theta), rel=1e-14)
    for k, step in enumerate(1e-6 * np.eye(2)):
        numeric = (original(0.7, theta + step) - original(0.7, theta - step)) / 2e-6
        assert float(gradient[k]) == pytest.approx(numeric, rel=1e-6)


@pytest.mark.slow
def test_the_ring_of_lorenz_is_differentiated_where_observations_are_missing():
    model = smw.models.lorenz96(5)
    x, y = model.simulate(6, seed=1)
    y[2, 3] = np.nan
    y[4] = np.nan
    found = differentiation.gradients(model, y, True)
    seen = ~np.isnan(y).all(axis=1)
    with _compat.enable_x64():
        own = np.asarray(found.mean_score(model.theta, x[:, None], y, seen))
    density = compiled_path_density(model, True)
    for k, step in enumerate(1e-6 * np.eye(5)):
        ends = [density(x, y, model.theta + sign * step) for sign in (1, -1)]
        assert own[k] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


@pytest.mark.slow
def test_learners_accept_samplers_of_positive_numbers_and_rare_events():
    """False alarms: the checks' stated rate is one in 100,000; densities without a factor 2 pi."""
    positive = smw.StateSpaceModel(
        lambda rng, theta: rng.standard_exponential(),
        lambda x, theta: -x,
        lambda rng, x_prev, t, theta: theta[0] * x_prev + theta[1] * rng.standard_exponential(),
        lambda x_prev, x, t, theta: (
            np.where(
                x >= theta[0] * x_prev,
                -(x - theta[0] * x_prev) / theta[1] - np.log(theta[1]),
                -np.inf,
            )
            + 0.0
        ),
        AR["observation_logpdf"],
        theta=[0.5, 1.0, 1.0],
    )
    jumps = smw.StateSpaceModel(
        lambda rng, theta: 0.0,
        lambda x, theta: np.log(np.where(x == 0.0, 1.0, 0.0)),
        lambda rng, x_prev, t, theta: 1.0 - x_prev if rng.random() < theta[0] else x_prev,
        lambda x_prev, x, t, theta: np.log(np.where(x == x_prev, 1.0 - theta[0], theta[0])),
        AR["observation_logpdf"],
        theta=[0.001, 1.0, 1.0],
    )
    for model in (positive, jumps):
        differentiation.check_laws(model, AR_Y[:, None], False, [1, 2])
    for rate in (0.001, 0.0015, 0.002):
        differentiation.check_laws(jumps.with_theta([rate, 1.0, 1.0]), AR_Y[:, None], False, [0])


@pytest.mark.slow
@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_learners_refuse_a_density_that_the_sampler_does_not_have(mistake):
    wrong = smw.StateSpaceModel(**{**AR, "transition_logpdf": MISTAKES[mistake]})
    theta = [0.7, 1.0 if mistake == "no normalising factor" else 0.5, 1.0]
    runs = [lambda: smw.score(wrong, AR_Y, theta, 10, 10)]
    if mistake == "sign":
        runs += [
            lambda: smw.maximum_likelihood(wrong, AR_Y, theta, 10, 20),
            lambda: smw.markov_score_climbing(wrong, theta, 10, 20, y=AR_Y),
            lambda: next(smw.online_maximum_likelihood(wrong, AR_Y, theta, 10)),
        ]
    for run in runs:
        with pytest.raises(smw.ModelError, match="transition_logpdf"):
            run()


def branching(x_prev, x, t, theta):
    if x > x_prev:
        return -0.5 * (x - x_prev) ** 2 / theta[0] - 0.5 * np.log(theta[0]) - 0.5 * LOG_2_PI
    return -0.5 * (x - x_prev) ** 2 / theta[0] - 0.5 * np.log(theta[0]) - 0.5 * LOG_2_PI


def smooth(x_prev, x, t, theta):
    return -0.5 * (x - x_prev) ** 2 / theta[0] - 0.5 * jnp.log(theta[0]) - 0.5 * LOG_2_PI


@pytest.mark.slow
def test_densities_that_jax_cannot_trace_are_named_and_can_be_given():
    y = np.linspace(-1.0, 1.0, 8)[:, None]
    model = walk(transition_logpdf=branching)
    with pytest.raises(smw.ModelError, match=r"^transition_logpdf: JAX can't trace it"):
        differentiation.gradients(model, y, False)
    given = differentiation.gradients(model, y, False, {"transition_logpdf": smooth})
    x = np.random.default_rng(1).standard_normal((8, 1, 1))
    with _compat.enable_x64():
        own = float(given.mean_score(model.theta, x, y, np.ones(8, dtype=bool))[0])
    density = compiled_path_density(model, False)
    ends = [density(x[:, 0], y, model.theta + step) for step in (1e-6, -1e-6)]
    assert own == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-7)


@pytest.mark.slow
def test_densities_that_differ_are_named_with_the_point():
    model, y = smw.StateSpaceModel(**AR), AR_Y[:8]

    def shifted(x_prev, x, t, theta):
        z = (x - theta[0] * x_prev) / theta[1]
        return -0.5 * (z**2 + LOG_2_PI) - jnp.log(theta[1]) + 0.1 * t

    with pytest.raises(smw.ModelError, match=r"transition_logpdf: JAX gives .* numba .* at \("):
        smw.score(model, y, None, 10, 10, densities={"transition_logpdf": shifted}, seed=1)

    def kink(y, x, t, theta):
        z = (y - x) / theta[2]
        return -0.5 * (z**2 + LOG_2_PI) - jnp.log(theta[2]) + 0.0 * jnp.sqrt(theta[1] - 0.5)

    with pytest.raises(smw.ModelError, match="observation_logpdf: gradient"):
        smw.score(model, y, None, 10, 10, densities={"observation_logpdf": kink}, seed=1)
