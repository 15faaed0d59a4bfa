"""The shipped series are those of the literature."""

import pytest

import smcweights as smw
from smcweights.problems import nile, us_inflation


def test_the_nile_has_its_published_likelihood():
    """Durbin & Koopman (2001), section 2.10: -632.54 for the diffuse local level model.

    Their likelihood leaves out the first observation, which a diffuse start predicts without
    error: the same here with x_0 around the first volume, of the variance that it leaves.
    """
    year, volume = nile()
    assert year.shape == (100,) and volume.sum() == 91_935
    model = smw.models.linear_gaussian(
        1.0, 1469.1, 1.0, 15099.0, initial_mean=1120.0, initial_covariance=15099.0 + 1469.1
    )
    exact = smw.kalman_smoother(model, volume[1:])
    assert exact.log_likelihood == pytest.approx(-632.54, abs=0.01)


def test_inflation_spans_its_quarters():
    time, inflation = us_inflation()
    assert time.shape == inflation.shape == (202,)
    assert (time[0], time[-1]) == (1959.25, 2009.5)
    assert inflation.max() == 14.62
