"""Corrected means: exact where theory says so, with the covariance they report."""

import warnings

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights.importance.control_variates import prepare_controls
from smcweights.importance.laws import as_law
from smcweights.importance.means import Regression, mean_of
from smcweights.importance.proposals import Given, WorkingSpace


def test_the_optimal_components_leave_no_variance():
    """With g_j* = phi_j f / I_j as components and controls, every estimate is exact."""
    law = as_law([stats.expon()])
    space = WorkingSpace(law, np.zeros(1), np.eye(1))
    # phi = x, x^2 under Exp(1): g* are Gamma(2) and Gamma(3), I = 1 and 2
    best = [Given(as_law([stats.gamma(k)]), space) for k in (2, 3)]
    from smcweights.importance.proposals import Mixture, log_densities, log_mixture
    from smcweights.importance.stages import Stage
    from smcweights.regression import Choice

    rng = np.random.default_rng(6)
    for share in (0.2, 0.7):
        counts = np.array([int(1000 * share), 1000 - int(1000 * share)])
        mixture = Mixture(counts / 1000, tuple(best))
        u = mixture.sample(rng, counts)
        values = np.concatenate([u, u**2], axis=1)
        log_g = log_densities(best, u)
        log_h = log_mixture(log_g, mixture.weights)
        stage = Stage(u, u, values, space.log_density(u), log_g, log_h, mixture, counts, False)
        none = prepare_controls(True, space, 1000, np.random.SeedSequence(0))
        regression = Regression([Choice("all", 2, 1e-6)], np.zeros(2), np.zeros(2, int))
        mean = mean_of(stage, log_g, counts, none, regression)
        np.testing.assert_allclose(mean.value, [1, 2], atol=1e-8)
        # a term deviates by a ten-millionth at most: what a rank-deficient regression leaves
        np.testing.assert_allclose(np.sqrt(mean.variance * 1000), 0, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "controls",
    ["polynomial", pytest.param(lambda x: x[:, :1], marks=pytest.mark.slow)],
    ids=["basis", "surrogate"],
)
def test_a_component_that_controls_reproduce_leaves_the_others_their_covariance(controls):
    """Its variance is rounding; scaled up to correlations it crashed every other seed of these."""

    def pair(x):
        return np.stack([np.exp(x[:, 0]), x[:, 0]], axis=1)

    for seed in range(8):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", smw.PrecisionWarning)
            est = smw.adaptive_importance_sampling(
                pair, [stats.norm(), stats.uniform()], 1_000, control_variates=controls, seed=seed
            )
        assert abs(est.value[0] - np.exp(0.5)) < 6 * est.standard_error[0]
