"""Posterior draws have the moments of a grid."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import stdtrit

import smcweights as smw
from smcweights import _compat

from .. import tiny
from .truths import LINEAR, Y, logpdf_nutria, nutria_model, sample_nutria, scalar_likelihood

pytestmark = pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")


@pytest.mark.slow
def test_marginal_metropolis_hastings_agrees_with_a_grid():
    model = smw.models.linear_gaussian(0.8, 1.0, 1.0, 1.0)
    y = model.simulate(25, seed=5)[1]

    def log_prior(theta):
        return -0.5 * (np.log(theta[1]) / 0.7) ** 2 - np.log(theta[1]) if theta[0] < 1 else -np.inf

    a, log_q = np.linspace(-0.6, 1.0, 161)[:-1], np.linspace(-3.0, 2.5, 111)
    with _compat.enable_x64():
        at = jnp.array([[s, math.exp(v)] for s in a for v in log_q])
        likelihood = jax.jit(jax.vmap(lambda th: scalar_likelihood(
            jnp.asarray(model.theta).at[jnp.array([0, 1])].set(th), y)))(at)  # fmt: skip
    # a flat prior of the first parameter, cut at -0.6 where hardly any mass is left
    log_post = np.asarray(likelihood).reshape(160, 111) - 0.5 * (log_q / 0.7) ** 2
    post = np.exp(log_post - log_post.max())
    post /= post.sum()
    assert post[0].sum() < 1e-3
    truth = [(post.sum(axis=1) * a).sum(), (post.sum(axis=0) * log_q).sum()]
    draws = smw.particle_marginal_metropolis_hastings(
        model, y, log_prior, 60, 1_000, free=["transition_matrix", "transition_covariance"],
        seed=17,
    )  # fmt: skip
    x = draws["posterior"]["transition_matrix"].values
    v = np.log(draws["posterior"]["transition_covariance"].values)
    az = _compat.arviz()
    import xarray

    data = xarray.Dataset({n: (("chain", "draw"), d) for n, d in (("x", x), ("v", v))})
    ess = az.ess(data)
    for name, series_, exact in (("x", x, truth[0]), ("v", v, truth[1])):
        z = (series_.mean() - exact) / (series_.std() / math.sqrt(float(ess[name])))
        # effective sizes are estimates themselves
        assert abs(z) < 5.5, (name, z)
    stats = draws["sample_stats"]
    assert 0.1 < float(stats["accepted"].mean()) < 0.5
    assert draws["warmup_posterior"]["transition_matrix"].shape == (8, 500)


def test_states_kept_have_their_law_with_three_particles():
    """Four times of two states, enumerated; the parameter plays no part. t(19), 5 components."""
    model = smw.StateSpaceModel(
        tiny.initial_sample, tiny.initial_logpdf, tiny.transition_sample, tiny.transition_logpdf,
        tiny.observation_logpdf, theta=[0.0],
    )  # fmt: skip
    common = {"n_draws": 150, "warm_up": 10, "chains": 20, "seed": 3}
    path, last, none = (
        smw.particle_marginal_metropolis_hastings(
            model, tiny.Y, lambda theta: -0.5 * theta[0] ** 2, 3, keep_states=keep, **common
        )["posterior"]
        for keep in ("path", "last", None)
    )
    est = smw.posterior_means(path)
    assert est.names == ("theta[0]", "x[0]", "x[1]", "x[2]", "x[3]")
    truth = tiny.JOINT @ tiny.PATHS / tiny.LIKELIHOOD
    z = (est.value - [0.0, *truth]) / est.standard_error
    assert np.abs(z).max() < -stdtrit(19, 1e-7)
    assert (est.standard_error[1:] < 0.03).all()
    # what is kept changes nothing else
    np.testing.assert_array_equal(path["x"].values[..., -1], last["x_last"].values)
    np.testing.assert_array_equal(path["theta[0]"].values, none["theta[0]"].values)
    assert list(none.data_vars) == ["theta[0]"]


@pytest.mark.slow
def test_marginal_chains_move_under_a_proposal_where_a_bootstrap_filter_sticks():
    model, y = nutria_model()
    ahead = smw.Proposal(sample=sample_nutria, logpdf=logpdf_nutria)

    def log_prior(theta):
        return -0.5 * (theta[3] ** 2 + theta[4] ** 2) / 0.01 if theta[1] > 0 else -np.inf

    def accepted(proposal):
        draws = smw.particle_marginal_metropolis_hastings(
            model, y, log_prior, 100, 100,
            free=[0, 1, 3, 4], seed=1, proposal=proposal,
        )  # fmt: skip
        return float(draws["sample_stats"]["accepted"].values.mean())

    with pytest.warns(smw.PrecisionWarning, match="use a proposal or more particles"):
        assert accepted(None) < 0.05
    assert accepted(ahead) > 0.1
    with pytest.raises(TypeError, match="proposal: got int"):
        accepted(3)


def test_marginal_chains_respect_the_prior_and_the_start():
    model = smw.models.stochastic_volatility(0.9, 0.3)
    y = model.simulate(20, seed=1)[1]
    with pytest.raises(ValueError, match="chain 0 starts at"):
        smw.particle_marginal_metropolis_hastings(model, y, lambda th: -np.inf, 10, 5, seed=1)
    with pytest.raises(smw.ModelError, match="log_prior: nan"):
        smw.particle_marginal_metropolis_hastings(model, y, lambda th: np.nan, 10, 5, seed=1)
    with pytest.raises(ValueError, match="scales"):
        smw.particle_marginal_metropolis_hastings(
            model, y, lambda th: 0.0, 10, 5, scales=[1.0], seed=1
        )


@pytest.mark.parametrize(
    ("log_prior", "returned"),
    [
        (lambda theta: None, "None"),
        (lambda theta: theta, r"array\(\[0.9"),
        (lambda theta: "a", "'a'"),
        (lambda theta: np.complex128(1j), r"np.complex128\(1j\)"),
    ],
    ids=["None", "array", "str", "complex"],
)
def test_a_prior_that_is_no_number_is_named(log_prior, returned):
    with pytest.raises(smw.ModelError, match=rf"(?s)log_prior: returned {returned}.*a number"):
        smw.particle_marginal_metropolis_hastings(LINEAR, Y, log_prior, 10, 5, seed=1)
