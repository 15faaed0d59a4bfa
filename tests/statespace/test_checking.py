"""Samplers, densities and bounds that disagree are found; those that agree pass."""

import math

import numpy as np
import pytest

import smcweights as smw

from .test_model import LOG_ROOT, walk


def test_wrong_densities_are_found():
    with pytest.raises(smw.ModelError, match=r"observation_logpdf.*NaN .* at time 1"):
        smw.particle_filter(
            walk(observation_logpdf=lambda y, x, t, theta: np.log(-1.0) if t == 1 else 0.0),
            [0.0, 1.0, 2.0],
            10,
            seed=1,
        )
    low = walk(transition_logpdf_bound=lambda t, theta: -1.0)
    with pytest.raises(smw.ModelError, match="transition_logpdf_bound"):
        smw.check_model(low, [0.0], seed=1)
    with pytest.raises(smw.ModelError, match=r"transition_logpdf_bound: exceeded .* at time 1"):
        smw.paris(low, [0.0, 0.1], smw.functionals.sum_of_states, 50, seed=1)
    nowhere = walk(transition_logpdf=lambda x_prev, x, t, theta: -np.inf)
    with pytest.raises(smw.ModelError, match="sampler and density disagree"):
        smw.paris(nowhere, [0.0, 0.1], smw.functionals.sum_of_states, 50, seed=1, backward="exact")


WRONG = {
    "a factor of the last state is forgotten": {
        "transition_sample": lambda rng, x_prev, t, theta: (
            0.5 * x_prev + np.exp(0.7 * np.tanh(x_prev)) * rng.standard_normal()
        ),
        "transition_logpdf": lambda x_prev, x, t, theta: (
            -0.5 * ((x - 0.5 * x_prev) / np.exp(0.7 * np.tanh(x_prev))) ** 2 - LOG_ROOT
        ),
    },
    "not normalised": {"transition_logpdf": lambda x_prev, x, t, theta: -0.5 * (x - x_prev) ** 2},
    "another mean, late": {
        "transition_logpdf": lambda x_prev, x, t, theta: (
            -0.5 * (x - x_prev - 0.2 * (t > 10)) ** 2 - LOG_ROOT
        )
    },
    "another tail": {
        "transition_sample": lambda rng, x_prev, t, theta: x_prev + rng.laplace(0.0, np.sqrt(0.5))
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_transitions_that_are_not_their_density_are_found(name):
    with pytest.raises(smw.ModelError, match=r"transition_logpdf from state .* disagree"):
        smw.check_model(walk(**WRONG[name]), np.zeros(20), seed=1)


def test_initial_laws_and_observations_that_are_not_their_density_are_found():
    shifted = walk(initial_logpdf=lambda x, theta: -0.5 * (x - 0.4) ** 2 - LOG_ROOT)
    with pytest.raises(smw.ModelError, match="initial_sample and initial_logpdf disagree"):
        smw.check_model(shifted, [0.0], seed=1)
    noisy = walk(observation_sample=lambda rng, x, t, theta: x + 5.0 * rng.standard_normal())
    with pytest.raises(smw.ModelError, match="observation_sample and observation_logpdf at state"):
        smw.check_model(noisy, [0.0, 1.0], seed=1)
    counts = walk(
        observation_sample=lambda rng, x, t, theta: float(rng.poisson(2.0)),
        observation_logpdf=lambda y, x, t, theta: y * np.log(1.3) - 1.3 - math.lgamma(y + 1.0),
    )
    with pytest.raises(smw.ModelError, match=r"observation_logpdf at state .* disagree"):
        smw.check_model(counts, [0.0, 1.0], seed=1)


RIGHT = {
    "gamma, counts": {
        "initial_sample": lambda rng, theta: rng.exponential(),
        "initial_logpdf": lambda x, theta: -x if x > 0 else -np.inf,
        "transition_sample": lambda rng, x_prev, t, theta: rng.gamma(3.0, 0.2 + 0.2 * x_prev),
        "transition_logpdf": lambda x_prev, x, t, theta: (
            2.0 * math.log(x) - x / (0.2 + 0.2 * x_prev) - math.lgamma(3.0)
            - 3.0 * np.log(0.2 + 0.2 * x_prev)
        ),
        "observation_sample": lambda rng, x, t, theta: float(rng.poisson(x)),
        "observation_logpdf": lambda y, x, t, theta: y * np.log(x) - x - math.lgamma(y + 1.0),
    },
    "uniform": {
        "transition_sample": lambda rng, x_prev, t, theta: 0.1 * x_prev + 2.0 * rng.random(),
        "transition_logpdf": lambda x_prev, x, t, theta: (
            -np.log(2.0) if 0.0 < x - 0.1 * x_prev < 2.0 else -np.inf
        ),
    },
    "two modes": {
        "transition_sample": lambda rng, x_prev, t, theta: (
            (10.0 if rng.random() < 0.3 else -10.0) + rng.standard_normal()
        ),
        "transition_logpdf": lambda x_prev, x, t, theta: np.log(
            0.3 * np.exp(-0.5 * (x - 10.0) ** 2) + 0.7 * np.exp(-0.5 * (x + 10.0) ** 2)
        ) - LOG_ROOT,
    },
    "an atom": {
        "transition_sample": lambda rng, x_prev, t, theta: (
            x_prev if rng.random() < 0.5 else rng.standard_normal()
        ),
        "transition_logpdf": lambda x_prev, x, t, theta: (
            np.log(0.5) if x == x_prev else np.log(0.5) - 0.5 * x**2 - LOG_ROOT
        ),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_other_laws_than_normal_ones_pass(name):
    """Some hundred comparisons at six standard errors: one false alarm in 10^6 runs."""
    for seed in range(3):
        smw.check_model(walk(**RIGHT[name]), np.ones(12), n_draws=4_000, seed=seed)


def test_a_component_that_is_carried_along_passes():
    def transition_sample(rng, x_prev, t, theta):
        return np.array([0.5 * x_prev[0] + 0.2 * x_prev[1] + rng.standard_normal(), x_prev[0]])

    second_order = smw.StateSpaceModel(
        lambda rng, theta: rng.standard_normal(2),
        lambda x, theta: -0.5 * (x[0] ** 2 + x[1] ** 2) - 2.0 * LOG_ROOT,
        transition_sample,
        lambda x_prev, x, t, theta: (
            -0.5 * (x[0] - 0.5 * x_prev[0] - 0.2 * x_prev[1]) ** 2 - LOG_ROOT
        ),
        lambda y, x, t, theta: -0.5 * (y - x[0]) ** 2 - LOG_ROOT,
        state_dim=2,
    )
    smw.check_model(second_order, np.zeros(5), n_draws=4_000, seed=1)
