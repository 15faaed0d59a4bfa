"""Figures of filters: bands where the filter says."""

import numpy as np
import pytest

import smcweights as smw


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
