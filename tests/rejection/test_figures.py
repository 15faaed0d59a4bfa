"""The figure of constrained sequences."""

from types import SimpleNamespace

import numpy as np

from smcweights.rejection.figures import sequences


def test_shares_of_the_particles_are_drawn_item_by_item():
    import matplotlib.pyplot as plt

    traces = {"ess": np.array([[4.0, 2.0], [2.0, 1.0]]), "dead": np.array([[0, 1], [0, 2]])}
    ax = sequences(SimpleNamespace(traces=traces, n_particles=4))
    mean, living = (line.get_ydata() for line in ax.lines[-2:])
    np.testing.assert_array_equal(mean, [75.0, 37.5])
    np.testing.assert_array_equal(living, [100.0, 62.5])
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [1, 2])
    # there is no item 1.25
    assert all(tick == round(tick) for tick in ax.get_xticks())
    plt.close("all")
