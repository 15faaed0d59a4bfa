"""Exact laws are results like the others, and unpack into their fields."""

import matplotlib.pyplot as plt
import numpy as np

import smcweights as smw

LEVEL = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
Y = np.array([0.3, -1.0, np.nan, 2.0])


def test_they_unpack_in_the_order_of_their_fields():
    found = smw.kalman_smoother(LEVEL, Y)
    means, covariances, lag_one, log_likelihood = found
    assert means is found.means and covariances is found.covariances is found[1]
    assert lag_one is found.lag_one_covariances and found[-1] == log_likelihood
    assert len(found) == 4 and len(smw.kalman_forecast(LEVEL, Y, 2)) == 4
    probabilities, _, _ = smw.FiniteSmoothing(np.ones((2, 1)), np.ones((1, 1, 1)), 0.0)
    np.testing.assert_array_equal(probabilities, 1)


def test_tables_have_the_quantiles_of_each_state_and_observation():
    rows = smw.kalman_smoother(LEVEL, Y).summary(0.9)
    means, variances, _, log_likelihood = smw.kalman_smoother(LEVEL, Y)
    assert list(rows.index) == ["log_likelihood", "x[0]", "x[1]", "x[2]", "x[3]"]
    assert tuple(rows.loc["log_likelihood"]) == (log_likelihood, 0, log_likelihood, log_likelihood)
    error = np.sqrt(variances[3])
    # 1.644854: the normal quantile of 95 percent
    truth = [means[3], error, means[3] - 1.644854 * error, means[3] + 1.644854 * error]
    np.testing.assert_allclose(rows.loc["x[3]"], truth, rtol=1e-4)
    ahead = smw.GaussianForecast(
        np.zeros((1, 2)), np.diag([1.0, 4.0])[None], np.array([5.0]), np.array([9.0])
    )
    assert ahead.summary()["standard_error"].to_dict() == {"x[0, 0]": 1, "x[0, 1]": 2, "y[0]": 3}
    finite = smw.FiniteSmoothing(np.array([[0.25, 0.75]]), np.zeros((0, 2, 2)), -1.0)
    assert finite.summary()["value"].to_dict() == {
        "log_likelihood": -1.0, "x[0] = 0": 0.25, "x[0] = 1": 0.75,
    }  # fmt: skip


def test_a_line_says_what_they_are_and_a_figure_shows_the_band():
    found = smw.kalman_filter(LEVEL, Y)
    first = f"GaussianFiltering of 4 times, log likelihood {found.log_likelihood:.6g}"
    assert repr(found).splitlines()[0] == first
    assert repr(smw.kalman_forecast(LEVEL, Y, 2)).startswith("GaussianForecast of 2 times ahead")
    (band,) = smw.kalman_smoother(LEVEL, Y).plot().collections
    means, variances, *_ = smw.kalman_smoother(LEVEL, Y)
    upper = band.get_paths()[0].vertices[:, 1].max()
    np.testing.assert_allclose(upper, (means + 2 * np.sqrt(variances)).max())
    plt.close("all")
