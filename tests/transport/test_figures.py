"""Figures of distances and flows."""

from types import SimpleNamespace

import numpy as np
import pytest

from smcweights import Estimate
from smcweights.transport import figures


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_methods_stand_beside_each_other_with_their_intervals():
    found = {"a": [Estimate(1.0, 0.04), Estimate(2.0, 0.01)], "b": [Estimate(3.0, 0.01)] * 2}
    ax = figures.sliced(found, [10, 100])
    np.testing.assert_allclose([line.get_ydata() for line in ax.lines], [[1, 2], [3, 3]])
    ends = [path.vertices[:, 1] for path in ax.collections[0].get_paths()]
    np.testing.assert_allclose(ends, np.transpose(np.array([e.interval() for e in found["a"]]).T))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert ax.get_xscale() == "log"


def test_frames_are_spread_over_the_traced_steps():
    moving = SimpleNamespace(
        points=np.zeros((3, 2)),
        steps=np.array([0, 5, 10]),
        distances=np.array([1.0, 0.1, 0.0]),
        frames=np.arange(18.0).reshape(3, 3, 2),
    )
    axes = figures.frames(moving, np.ones((4, 2)), shown=2)
    assert [ax.get_title() for ax in axes] == ["step 0", "step 10"]
    np.testing.assert_array_equal(axes[1].collections[1].get_offsets(), moving.frames[2])
    np.testing.assert_array_equal(figures.flow(moving).lines[0].get_ydata(), [1.0, 0.1, 1e-30])
    moving.frames = moving.frames[:0]
    with pytest.raises(ValueError, match="expected a traced flow"):
        figures.frames(moving, np.ones((4, 2)))
