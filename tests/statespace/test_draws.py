"""Means of draws have the error of independent chains, and say when they mix badly."""

import numpy as np
import pytest
import xarray
from scipy.stats import t as student

import smcweights as smw
from smcweights import _compat
from smcweights.statespace import draws

from . import tiny

PAIR = ("chain", "draw")
RNG = np.random.default_rng(2)
A, X = RNG.standard_normal((8, 100)) + 1.0, RNG.standard_normal((8, 100, 2, 3))
POSTERIOR = xarray.Dataset({"a": (PAIR, A), "x": ((*PAIR, "time", "component"), X)})


def test_the_error_is_that_of_the_means_of_chains():
    est = smw.posterior_means(POSTERIOR)
    assert est.names == ("a", *(f"x[{t}, {j}]" for t in range(2) for j in range(3)))
    means = np.concatenate([A[:, :, None], X.reshape(8, 100, 6)], axis=2).mean(axis=1)
    np.testing.assert_allclose(est.value, means.mean(axis=0), rtol=1e-14)
    error = means.std(axis=0, ddof=1) / np.sqrt(8)
    np.testing.assert_allclose(est.standard_error, error, rtol=1e-12)
    np.testing.assert_allclose(est.interval(0.9)[1], est.value + student(7).ppf(0.95) * error)
    # 800 independent draws
    np.testing.assert_allclose(est.diagnostics["mcse"], 1 / np.sqrt(800), rtol=0.3)
    assert not est.cautions


def test_a_function_is_asked_at_every_draw():
    groups = {"posterior": POSTERIOR}
    both = smw.posterior_means(groups, lambda theta: [theta[0], theta[0] ** 2])
    np.testing.assert_allclose(both.value, [A.mean(), (A**2).mean()], rtol=1e-14)
    one = smw.posterior_means(groups, lambda theta: theta[0] ** 2)
    assert one.value.shape == () and float(one.value) == pytest.approx(both.value[1])
    assert isinstance(one.diagnostics["r_hat"], float)


def test_the_posterior_group_alone_serves_as_well():
    whole = _compat.inference_data({"posterior": POSTERIOR, "sample_stats": POSTERIOR[["a"]]})
    group, all_of_it = smw.posterior_means(whole["posterior"]), smw.posterior_means(whole)
    assert group.names == all_of_it.names
    np.testing.assert_array_equal(group.value, all_of_it.value)


def test_chains_that_are_apart_are_told():
    stuck = POSTERIOR[["a"]] + np.arange(8.0)[:, None] * xarray.ones_like(POSTERIOR["a"])
    with pytest.warns(smw.PrecisionWarning, match="shorter than 10 autocorrelation times"):
        smw.posterior_means(stuck)


def test_a_few_hundred_draws_of_chains_that_mix_are_not_told():
    """R-hat is above 1.01 there, of some 13 independent draws of each; but the error holds."""
    rng, walks = np.random.default_rng(3), np.empty((8, 250))
    walks[:, 0] = rng.standard_normal(8)
    for t in range(1, 250):
        walks[:, t] = 0.9 * walks[:, t - 1] + np.sqrt(0.19) * rng.standard_normal(8)
    est = smw.posterior_means(xarray.Dataset({"a": (PAIR, walks)}))
    assert est.diagnostics["chain_ess"] < 200 and est.diagnostics["r_hat"] > 1.01
    assert not est.cautions


@pytest.mark.parametrize(
    ("given", "function", "error", "message"),
    [
        (3, None, TypeError, "draws: got int"),
        ({"prior": POSTERIOR}, None, TypeError, "draws: got dict"),
        (POSTERIOR.isel(chain=[0]), None, ValueError, "'chain': 1"),
        (POSTERIOR[["x"]], lambda theta: 1.0, ValueError, "expected parameters"),
        (POSTERIOR.where(POSTERIOR["a"] > 0), None, ValueError, "nan in a; expected finite"),
        (POSTERIOR, 3, TypeError, "function: got int"),
        (POSTERIOR, lambda theta: np.nan, smw.ModelError, "function: returned array"),
        (POSTERIOR, lambda theta: "a", smw.ModelError, "function: returned array"),
        (POSTERIOR, lambda theta: np.zeros(1 + (theta[0] > 1)), smw.ModelError, "one shape"),
    ],
    ids=["int", "dict", "chain", "states", "gaps", "no function", "nan", "str", "shapes"],
)
def test_what_is_no_draws_or_no_function_is_named(given, function, error, message):
    with pytest.raises(error, match=message):
        smw.posterior_means(given, function)


@pytest.mark.parametrize("name", draws.STATES)
def test_parameters_are_not_called_as_states_are(name):
    functions = ("initial_sample", "initial_logpdf", "transition_sample", "transition_logpdf")
    model = smw.StateSpaceModel(
        *(getattr(tiny, f) for f in functions), tiny.observation_logpdf,
        theta=[0.0], theta_names=[name],
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"theta_names: got '{name}'"):
        smw.particle_marginal_metropolis_hastings(model, tiny.Y, lambda theta: 0.0, 5, 5)
