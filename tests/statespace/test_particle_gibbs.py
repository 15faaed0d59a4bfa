"""Paths have the smoothing law, parameters their posterior.

z-tests: bound 5.5 standard errors from batch means.
"""

import math

import numpy as np
import pytest
from killed import killed_and_resumed

import smcweights as smw

from .test_filtering import LINEAR, Y

H = smw.functionals.sum_of_products


@pytest.mark.slow
@pytest.mark.parametrize("backward", [pytest.param("sampling", marks=pytest.mark.slow), "ancestor"])
def test_particle_gibbs_draws_have_the_smoothing_law(backward):
    y = Y[:15]
    exact = smw.kalman_smoother(LINEAR, y)
    found = smw.particle_gibbs(LINEAR, y, 30, 1_500, backward=backward, seed=7)
    x = found["posterior"]["x"].values
    assert x.shape == (4, 1_500, 15)
    assert found["warmup_posterior"]["x"].shape == (4, 750, 15)
    means = x.reshape(40, 150, 15).mean(axis=1)
    error = means.std(axis=0, ddof=1) / math.sqrt(40)
    assert (np.abs(means.mean(axis=0) - exact.means) / error).max() < 5.5
    np.testing.assert_allclose(x.var(axis=(0, 1)), exact.covariances, rtol=0.2)
    assert (found["sample_stats"]["update_rate"].values > 0.5).all()


@pytest.mark.slow
def test_parameters_by_metropolis_agree_with_the_kalman_likelihood():
    """Posterior mean of the persistence under a flat prior, beside quadrature."""
    _, y = LINEAR.simulate(60, seed=9)
    grid = np.linspace(-0.5, 0.999, 300)
    theta = LINEAR.theta.copy()

    def at(a):
        return smw.kalman_smoother(LINEAR.with_theta([a, *theta[1:]]), y).log_likelihood

    log_p = np.array([at(a) for a in grid])
    p = np.exp(log_p - log_p.max())
    truth = (grid * p).sum() / p.sum()
    update = smw.random_walk_metropolis(
        LINEAR, lambda t: 0.0 if -0.5 < t[0] < 0.999 else -np.inf, [0.15, 0, 0, 0, 0, 0]
    )
    found = smw.particle_gibbs(LINEAR, y, 30, 500, parameters=update, chains=4, seed=8)
    draws = found["posterior"]["transition_matrix"].values
    means = draws.reshape(20, 100).mean(axis=1)
    error = means.std(ddof=1) / math.sqrt(20)
    assert abs(means.mean() - truth) < 5.5 * error
    assert error < 0.02
    assert (found["posterior"]["transition_covariance"].values == 1.0).all()


def test_parameters_stay_where_their_transforms_let_them_be():
    def update(rng, path, y, theta):
        return theta - 2.0

    with pytest.raises(smw.ModelError, match=r"returned theta \(transition_covariance\): got -1"):
        smw.particle_gibbs(LINEAR, Y, 10, 5, parameters=update, seed=1)


def test_a_walk_stays_where_transforms_let_it_be():
    """Steps of 3 around a variance of 1: half of 200 would be below zero."""
    scales = 3.0 * np.eye(6)[1]
    walk = smw.random_walk_metropolis(LINEAR, lambda theta: 0.0, scales, n_steps=200)
    theta = walk(np.random.default_rng(1), np.zeros(20), np.zeros(20), LINEAR.theta)
    assert theta[1] > 0 and theta[1] != LINEAR.theta[1]


def chained(**others):
    update = smw.random_walk_metropolis(LINEAR, lambda theta: 0.0, 0.05 * (LINEAR.theta == 0.9))
    found = smw.particle_gibbs(LINEAR, Y, 30, 20, parameters=update, seed=1, **others)
    return found["posterior"]["x"].values.tobytes()


@pytest.mark.slow
def test_killed_chains_go_on_to_the_same_bits(tmp_path):
    killed_and_resumed(chained, tmp_path)
