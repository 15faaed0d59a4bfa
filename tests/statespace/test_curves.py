"""Scores and profiles along one parameter are those of the model with this parameter moved."""

import numpy as np
import pytest

import smcweights as smw
from smcweights.statespace.curves import profile_likelihood, scores_along


@pytest.fixture(scope="module")
def series():
    model = smw.models.linear_gaussian(0.8, 1.0, 1.0, 1.0)
    return model, model.simulate(20, seed=1)[1]


@pytest.mark.slow
def test_a_score_along_a_parameter_is_the_score_there(series):
    model, y = series
    grid = np.array([0.3, 0.7])
    found = scores_along(model, y, "transition_matrix", grid, 30, 60, seed=4)
    for number, est in zip(grid, found, strict=True):
        theta = [number, *model.theta[1:]]
        alone = smw.score(model, y, theta, 30, 60, free=["transition_matrix"], seed=4)
        np.testing.assert_array_equal(est.value, alone.value)
    with pytest.raises(ValueError, match="expected two or more increasing values"):
        scores_along(model, y, "transition_matrix", grid[::-1], 30, 20)
    with pytest.raises(ValueError, match="parameter: got 'other'; expected one of"):
        scores_along(model, y, "other", grid, 30, 20)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*not-arrived")
def test_a_profile_without_other_parameters_is_the_likelihood(series):
    model, y = series
    fit = smw.maximum_likelihood(
        model, y, None, 30, 20, free=["transition_matrix"], information=False, seed=1
    )
    grid = np.array([0.4, 0.9])
    found = profile_likelihood(fit, y, "transition_matrix", grid, 2_000, 20, seed=2)
    for number, est in zip(grid, found, strict=True):
        held = model.with_theta([number, *model.theta[1:]])
        exact = smw.kalman_smoother(held, y).log_likelihood
        # 6 standard errors: false alarm under 1e-8
        assert abs(est.value - exact) < 6 * est.standard_error + 1e-3
    with pytest.raises(ValueError, match="parameter: got 'scale'"):
        profile_likelihood(fit, y, "scale", grid, 30, 20)
