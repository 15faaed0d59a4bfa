"""Ready models agree with themselves, and refuse what they are not."""

import dataclasses
import warnings

import numpy as np
import pytest

import smcweights as smw

from .test_filtering import PLANE

READY = {
    "scalar": lambda: smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0),
    "matrix": lambda: PLANE,
    "volatility": lambda: smw.models.stochastic_volatility(0.95, 0.25, 0.6),
    "finite": lambda: smw.models.finite_hmm(
        [0.2, 0.8], [[0.9, 0.1], [0.3, 0.7]], [0.0, 2.0], [1.0, 0.5]
    ),
    "growth": smw.models.nonlinear_growth,
    "population": lambda: smw.models.theta_logistic(0.15, 0.12, 0.1, 0.5, 0.3),
    "lorenz96": lambda: smw.models.lorenz96(5),
    "bearings": smw.models.bearings_only,
}


@pytest.mark.parametrize(
    "name",
    [
        # those that no other test has compiled
        pytest.param(name, marks=[pytest.mark.slow] * (name != "scalar"))
        for name in READY
    ],
)
def test_ready_models_agree_with_themselves(name):
    model = READY[name]()
    x, y = model.simulate(30, seed=1)
    assert x.shape[0] == 30 and np.isfinite(x).all() and np.isfinite(y).all()
    smw.check_model(model, y, n_draws=4_000, seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        found = smw.particle_filter(model, y, 500, seed=3)
    inner = np.abs(x - found.means) < 6 * np.sqrt(found.variances) + 0.6
    assert inner.mean() > 0.9


def test_finite_states_are_drawn_by_their_probabilities():
    model = READY["finite"]()
    x, _ = model.simulate(20_000, seed=4)
    leave = (x[1:] == 1.0)[x[:-1] == 0.0]
    assert abs(leave.mean() - 0.1) < 5.5 * np.sqrt(0.09 / leave.size)


def test_parameters_outside_of_their_domain_are_named():
    y = [0.0, 1.0]
    linear, volatility = READY["scalar"](), READY["volatility"]()
    with pytest.raises(ValueError, match=r"theta \(transition_covariance\): got -1.0; .*positive"):
        smw.particle_filter(linear, y, 10, theta=[0.9, -1.0, 1.0, 1.0, 0.0, 5.0])
    with pytest.raises(ValueError, match=r"theta \(persistence\): got 1.0; .* -1 and 1"):
        volatility.with_theta([1.0, 0.2, 0.6])


def test_what_makes_no_model_is_refused():
    with pytest.raises(ValueError, match="initial_covariance: missing"):
        smw.models.linear_gaussian(1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="transition_covariance: smallest eigenvalue"):
        smw.models.linear_gaussian(np.eye(2) / 2, -np.eye(2), np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match="transition_matrix: expected probabilities"):
        smw.models.finite_hmm([0.5, 0.5], [[0.9, 0.2], [0.5, 0.5]], [0, 1], [1, 1])
    with pytest.raises(ValueError, match=r"persistence: got 1\.5"):
        smw.models.stochastic_volatility(1.5, 0.2)
    with pytest.raises(ValueError, match="leverage: got only one"):
        smw.models.stochastic_volatility(0.9, 0.2, leverage=-0.3)
    with pytest.raises(ValueError, match=r"leverage: got -1\.2"):
        smw.models.stochastic_volatility(0.9, 0.2, leverage=-1.2, returns=[0.0, 1.0])
    with pytest.raises(ValueError, match=r"returns: got shape \(1, 2\)"):
        smw.models.stochastic_volatility(0.9, 0.2, leverage=-0.3, returns=[[0.0, 1.0]])


def test_states_written_in_place_are_those_of_the_sampler():
    """A sampler of one's own takes its place together with what writes in place, or is refused."""
    other = dataclasses.replace(PLANE, transition_sample=lambda rng, x_prev, t, theta: x_prev + 1.0)
    with pytest.raises(smw.ModelError, match=r"in_place: wrote .* at time 1; transition_sample"):
        smw.particle_filter(other, np.zeros((3, 2)), 10, seed=1)


def test_entries_of_theta_are_the_matrices():
    """Of asymmetric matrices, one covariance diagonal: what theta holds gives them back."""
    a, h = np.array([[0.8, 0.1], [-0.2, 0.7]]), np.array([[1.0, 0.5], [0.0, 2.0], [3.0, -1.0]])
    q, r, c = np.array([[1.0, 0.3], [0.3, 0.5]]), np.diag([1.0, 0.5, 2.0]), np.diag([3.0, 4.0])
    model = smw.models.linear_gaussian(a, q, h, r, [5.0, 6.0], c)
    for found, given in zip(
        model.exact.system(model.theta), (a, q, h, r, [5.0, 6.0], c), strict=True
    ):
        np.testing.assert_allclose(found, given, rtol=1e-12, atol=1e-15)
