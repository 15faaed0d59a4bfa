"""Figures of filters and forecasts: bands and lines where these say."""

import numpy as np
import pytest
import xarray

import smcweights as smw
from smcweights.statespace import forecasting


def test_a_filter_is_drawn_by_its_means_and_two_standard_deviations():
    import matplotlib.pyplot as plt

    means = np.array([[1.0, 10.0], [2.0, 20.0]])
    found = smw.FilterResult(
        smw.Estimate(0.0, 1.0), means, np.array([[4.0, 9.0], [1.0, 16.0]]), np.ones(2), np.ones(2)
    )
    ax = found.plot(component=1)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [10.0, 20.0])
    band = ax.collections[0].get_paths()[0].vertices
    for t, ends in enumerate([(4.0, 16.0), (12.0, 28.0)]):
        heights = band[band[:, 0] == t, 1]
        assert (heights.min(), heights.max()) == ends
    assert found.plot(ax) is ax
    with pytest.raises(ValueError, match="component: got 2; expected"):
        found.plot(component=2)
    plt.close("all")


def test_increments_are_drawn_beside_effective_sample_sizes():
    import matplotlib.pyplot as plt

    found = smw.FilterResult(
        smw.Estimate(0.0, 1.0), np.zeros(3), np.ones(3), np.array([9.0, 2.0, 8.0]), -np.arange(3.0)
    )
    ax = smw.plots.increments(found)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.0, -1.0, -2.0])
    right = next(one for one in ax.figure.axes if one is not ax)
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [9.0, 2.0, 8.0])
    assert right.get_yscale() == "log"
    plt.close("all")


def test_a_forecast_is_a_fan_after_what_was_seen():
    import matplotlib.pyplot as plt

    def numbers(values):
        return smw.Estimate(np.ravel(values), np.eye(np.size(values)))

    # levels, horizons, components
    quantiles = np.arange(12.0).reshape(3, 2, 2)
    ahead = forecasting.Forecast(
        numbers([[1.0, 2.0], [3.0, 4.0]]), numbers(quantiles[[2, 0, 1]]), None, None,
        (0.9, 0.1, 0.5), xarray.Dataset(coords={"horizon": [5, 6]}),
    )  # fmt: skip
    ax = ahead.plot(y=np.arange(10.0).reshape(5, 2), of="states", component=1)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[5.0, 2.0], [6.0, 4.0]])
    np.testing.assert_array_equal(ax.lines[1].get_xydata()[-1], [4.0, 9.0])
    band = ax.collections[0].get_paths()[0].vertices
    assert set(band[band[:, 0] == 6.0, 1]) == {3.0, 11.0}
    with pytest.raises(ValueError, match="of: got 'observations', which the model can't draw"):
        ahead.plot()
    with pytest.raises(ValueError, match="component: got 2"):
        ahead.plot(of="states", component=2)
    plt.close("all")


def test_residuals_are_drawn_with_their_p_values():
    import matplotlib.pyplot as plt

    found = forecasting.PredictiveCheck(
        np.full(3, 0.5), np.array([0.5, np.nan, -3.0]), {"law": 0.01}, 0.01
    )
    ax = found.plot()
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [0.5, np.nan, -3.0])
    assert ax.get_title() == "p-values: law 0.01"
    plt.close("all")
