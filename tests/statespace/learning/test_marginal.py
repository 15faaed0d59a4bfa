"""Posterior draws have the moments of a grid."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import stdtrit

import smcweights as smw
from smcweights import _compat

from .. import tiny
from .truths import (
    LINEAR,
    Y,
    agrees,
    hidden_chain,
    hidden_likelihood,
    logpdf_nutria,
    nutria_model,
    sample_nutria,
    scalar_likelihood,
)

pytestmark = pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")


MODEL = smw.models.linear_gaussian(0.8, 1.0, 1.0, 1.0)


def normal_prior(theta):
    if theta[0] >= 1 or theta[1] <= 0:
        return -np.inf
    return -0.5 * (np.log(theta[1]) / 0.7) ** 2 - np.log(theta[1])


@functools.cache
def on_a_grid():
    """A series, and posterior means of its persistence and log variance."""
    y = MODEL.simulate(25, seed=5)[1]
    a, log_q = np.linspace(-0.6, 1.0, 161)[:-1], np.linspace(-3.0, 2.5, 111)
    with _compat.enable_x64():
        at = jnp.array([[s, math.exp(v)] for s in a for v in log_q])
        likelihood = jax.jit(jax.vmap(lambda th: scalar_likelihood(
            jnp.asarray(MODEL.theta).at[jnp.array([0, 1])].set(th), y)))(at)  # fmt: skip
    # a flat prior of the first parameter, cut at -0.6 where hardly any mass is left
    log_post = np.asarray(likelihood).reshape(160, 111) - 0.5 * (log_q / 0.7) ** 2
    post = np.exp(log_post - log_post.max())
    post /= post.sum()
    assert post[0].sum() < 1e-3
    return y, [(post.sum(axis=1) * a).sum(), (post.sum(axis=0) * log_q).sum()]


@pytest.mark.slow
def test_marginal_metropolis_hastings_agrees_with_a_grid():
    y, truth = on_a_grid()
    draws = smw.particle_marginal_metropolis_hastings(
        MODEL, y, normal_prior, 60, 1_000, free=["transition_matrix", "transition_covariance"],
        seed=17,
    )  # fmt: skip
    est = smw.posterior_means(draws, lambda theta: [theta[0], np.log(theta[1])])
    assert agrees(est, truth) and (est.diagnostics["chain_ess"] > 400).all()
    # the same by what ArviZ says
    assert (np.abs(est.value - truth) < 5.5 * est.diagnostics["mcse"]).all()
    stats = draws["sample_stats"]
    assert 0.1 < float(stats["accepted"].mean()) < 0.5
    assert draws["warmup_posterior"]["transition_matrix"].shape == (8, 500)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["pmmh", "gibbs"])
def test_posterior_means_cover_24_runs_see_60_percent(sampler):
    # at 95 %, at most 7 of 24 miss but for one time in 100,000; with the default warm-up
    y, truth = on_a_grid()
    update = smw.random_walk_metropolis(MODEL, normal_prior, [0.2, 0.6, 0, 0, 0, 0])
    missed = np.zeros(2)
    for seed in range(24):
        if sampler == "pmmh":
            draws = smw.particle_marginal_metropolis_hastings(
                MODEL, y, normal_prior, 50, 250, free=[0, 1], seed=seed
            )
        else:
            draws = smw.particle_gibbs(MODEL, y, 30, 150, parameters=update, chains=8, seed=seed)
        est = smw.posterior_means(draws, lambda theta: [theta[0], np.log(theta[1])])
        lower, upper = est.interval()
        missed += (truth < lower) | (truth > upper)
    assert (missed <= 7).all(), missed


@pytest.mark.slow
def test_states_kept_have_their_law_with_three_particles():
    """Four times of two states, enumerated; the parameter plays no part. t(19), 5 components."""
    model = smw.StateSpaceModel(
        tiny.initial_sample, tiny.initial_logpdf, tiny.transition_sample, tiny.transition_logpdf,
        tiny.observation_logpdf, theta=[0.0],
    )  # fmt: skip

    def drawn(keep, chains):
        return smw.particle_marginal_metropolis_hastings(
            model, tiny.Y, lambda theta: -0.5 * theta[0] ** 2, 3, 100, warm_up=10,
            keep_states=keep, chains=chains, seed=3,
        )["posterior"]  # fmt: skip

    path, last, none = drawn("path", 20), drawn("last", 2), drawn(None, 2)
    est = smw.posterior_means(path)
    assert est.names == ("theta[0]", "x[0]", "x[1]", "x[2]", "x[3]")
    truth = tiny.JOINT @ tiny.PATHS / tiny.LIKELIHOOD
    z = (est.value - [0.0, *truth]) / est.standard_error
    assert np.abs(z).max() < -stdtrit(19, 1e-7)
    assert (est.standard_error[1:] < 0.04).all()
    # what is kept changes nothing else
    np.testing.assert_array_equal(path["x"].values[:2, :, -1], last["x_last"].values)
    np.testing.assert_array_equal(path["theta[0]"].values[:2], none["theta[0]"].values)
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
    with pytest.raises(ValueError, match="chain 0 starts at"):
        smw.particle_marginal_metropolis_hastings(LINEAR, Y, lambda th: -np.inf, 10, 5, seed=1)
    with pytest.raises(smw.ModelError, match="log_prior: nan"):
        smw.particle_marginal_metropolis_hastings(LINEAR, Y, lambda th: np.nan, 10, 5, seed=1)
    with pytest.raises(ValueError, match="scales"):
        smw.particle_marginal_metropolis_hastings(
            LINEAR, Y, lambda th: 0.0, 10, 5, scales=[1.0], seed=1
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


@pytest.mark.slow
def test_a_row_of_probabilities_is_drawn_with_its_dirichlet_prior():
    """Posterior means on a grid of the row, whose prior is flat; t(19), 4 components."""
    model, y = hidden_chain()
    matrix = model.theta[3:12].reshape(3, 3).copy()
    log_post, rows, skewed = [], [], []
    for a in np.arange(0.5, 40) / 40:
        for b in np.arange(0.5, 40 * (1 - a)) / 40:
            matrix[1] = a, b, 1 - a - b
            if matrix[1, 2] <= 0:
                continue
            log_post.append(hidden_likelihood(matrix, y))
            rows.append(matrix[1].copy())
            # without the volume of log-odds
            skewed.append(log_post[-1] - np.log(matrix[1]).sum())
    means = [np.exp(v - np.max(v)) @ rows / np.exp(v - np.max(v)).sum() for v in (log_post, skewed)]
    draws = smw.particle_marginal_metropolis_hastings(
        model, y, lambda theta: 0.0, 30, 150, seed=2, chains=20, warm_up=200,
        free=[f"transition_matrix[1, {b}]" for b in range(3)],
    )  # fmt: skip
    est = smw.posterior_means(draws, lambda theta: theta)
    assert agrees(est, means[0]) and not agrees(est, means[1])
    x = draws["posterior"]
    np.testing.assert_allclose(sum(x[f"transition_matrix[1, {b}]"] for b in range(3)), 1.0)


def test_a_panel_is_drawn_from_by_the_sum_of_its_series():
    panel = [MODEL.simulate(n, seed=n)[1] for n in (6, 4)]
    how = {"chains": 2, "warm_up": 0, "free": [0], "seed": 1}
    draws = smw.particle_marginal_metropolis_hastings(
        MODEL, panel, lambda theta: 0.0 if theta[0] < 1 else -np.inf, 4_000, 3, **how
    )
    theta, stats = draws["posterior"]["transition_matrix"].values, draws["sample_stats"]
    for a, log_z in zip(theta.ravel(), stats["log_likelihood"].values.ravel(), strict=True):
        model = MODEL.with_theta([a, *MODEL.theta[1:]])
        truth = sum(smw.kalman_filter(model, y).log_likelihood for y in panel)
        assert abs(log_z - truth) < 0.3  # six standard deviations of filters of 4,000 particles
    assert draws["posterior"]["x_last"].dims == ("chain", "draw", "series")
    assert draws["posterior"]["x_last"].shape == (2, 3, 2)
    alone, first = (
        smw.particle_marginal_metropolis_hastings(MODEL, y, lambda theta: 0.0, 50, 3, **how)
        for y in (panel[0], panel[:1])
    )
    for name in ("transition_matrix", "x_last"):
        np.testing.assert_array_equal(alone["posterior"][name], first["posterior"][name])
    with pytest.raises(ValueError, match="keep_states: got 'path' with several series"):
        smw.particle_marginal_metropolis_hastings(
            MODEL, panel, lambda theta: 0.0, 50, 3, keep_states="path", **how
        )
