"""The shipped series are those of the literature."""

import numpy as np
import pytest

import smcweights as smw
from smcweights.problems import euro_dollar, nile, nutria, us_inflation


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


def test_the_euro_has_its_known_extremes():
    """Its highest reference rate in dollars ever is 1.5990, of 15 July 2008."""
    day, dollars = euro_dollar()
    assert day.shape == dollars.shape == (1022,)
    assert (str(day[0]), str(day[-1])) == ("2006-01-02", "2009-12-31")
    assert (str(day[dollars.argmax()]), dollars.max()) == ("2008-07-15", 1.599)
    assert (np.diff(day).astype(int) > 0).all() and (np.diff(day).astype(int) <= 5).all()


def test_nutria_grow_tenfold_within_ten_years():
    month, thousands = nutria()
    assert month.tolist() == list(range(1, 121)) and thousands.shape == (120,)
    assert (thousands[0], thousands.min(), thousands.max()) == (0.55, 0.5, 5.55)
