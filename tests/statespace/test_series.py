"""A series is a model and observations that belong together, checked."""

import numpy as np
import pytest

import smcweights as smw
from smcweights.statespace.series import arrived, checked_series

from .test_filtering import PLANE

LINEAR = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
TOLD = smw.models.stochastic_volatility(0.9, 0.3, leverage=-0.5, returns=[0.1, -0.2, np.nan])


def test_observations_and_states_keep_their_shape():
    scalar = checked_series(LINEAR, [1.0, 2.0], 10)
    assert scalar.rows.shape == (2, 1) and scalar.y.tolist() == [1.0, 2.0]
    assert scalar.shaped(np.zeros((4, 1))).shape == (4,)
    vector = checked_series(PLANE, np.ones((3, 2)), 10)
    assert vector.y.shape == (3, 2) and vector.shaped(np.zeros((4, 2))).shape == (4, 2)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model": 3}, "model: got int"),
        ({"n_particles": 1}, "n_particles: got 1"),
        ({"ess_threshold": 1.5}, "ess_threshold: got 1.5"),
        ({"resampling": "best"}, "resampling: got 'best'"),
        ({"proposal": 1}, "proposal: got int"),
        ({"theta": [1.0]}, "theta: got shape"),
        ({"y": [np.inf]}, "y: inf at index"),
    ],
)
def test_what_does_not_belong_is_refused_at_the_door(change, match):
    with pytest.raises((TypeError, ValueError), match=match):
        checked_series(**{"model": LINEAR, "y": [1.0, 2.0], "n_particles": 10, **change})


def test_a_model_that_contains_its_series_takes_that_one_alone():
    assert checked_series(TOLD, [0.1, -0.2, np.nan], 10).rows.shape == (3, 1)
    with pytest.raises(smw.ModelError, match="y: not the returns"):
        checked_series(TOLD, [0.1, 0.2], 10)
    begun = checked_series(TOLD, [0.1], 10)
    assert arrived(begun, [-0.2], 1).y.tolist() == [-0.2]
    with pytest.raises(smw.ModelError, match="y: not the returns"):
        arrived(begun, [0.1], 1)


def test_what_arrives_has_as_many_components_as_before():
    with pytest.raises(ValueError, match="y: got 2 components; expected 1"):
        arrived(checked_series(LINEAR, [0.0], 10), [[1.0, 2.0]], 3)
