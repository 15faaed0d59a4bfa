"""The figure of a posterior's marginals, from weights made by hand."""

import types

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.path import Path

import smcweights as smw


def by_hand():
    draws = np.array([[-1.0, 0.0], [1.0, 4.0], [0.0, 2.0]])
    joint = smw.Estimate([-3.0, 0.2, 2.0, 0.75, 1.4], np.eye(5), names=list("zabcd"))
    weights = np.log([0.2, 0.4, 0.4])
    stages = [
        {"kind": kind, "draws": 100, "beta": beta, "components": k}
        for kind, beta, k in (("prior", 0.0, 1), ("ladder", 0.02, 2), ("search", 30.0, 4))
    ]
    return types.SimpleNamespace(
        joint=joint, inputs=("a", "b"), draws=draws, log_weight=weights,
        diagnostics={"stages": stages},
    )  # fmt: skip


def test_heights_are_the_weights():
    """Three draws in bins of their own: the second and the third are as high, the first half."""
    ax = smw.plots.marginals(by_hand())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    steps = ax.patches[0].get_data()
    found = np.sort(-(steps.values - 0.0))[-3:]
    np.testing.assert_allclose(found, [0.425, 0.85, 0.85])
    assert "0.2 (0.75)" in [text.get_text() for text in ax.texts]
    plt.close("all")


def test_what_is_no_axes_is_refused():
    with pytest.raises(TypeError, match="ax: got int; expected matplotlib axes"):
        smw.plots.marginals(by_hand(), 3)


def test_the_way_from_the_prior_is_told_by_powers_and_components():
    ax = smw.plots.ladder(by_hand())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "0.1", "1", "10"]
    assert [text.get_text() for text in ax.texts] == ["1", "2", "4"]
    np.testing.assert_allclose(ax.lines[1].get_xydata()[1:], [[200, 0.02], [300, 30.0]])
    pooled = types.SimpleNamespace(**{**vars(by_hand()), "diagnostics": {"runs": 2}})
    with pytest.raises(ValueError, match="the posterior was pooled"):
        smw.plots.ladder(pooled)
    plt.close("all")


def test_pairs_show_where_the_weights_are():
    """A ring, drawn from a square: the middle of its 95 % region is empty, its corners as well."""
    rng = np.random.default_rng(1)
    draws = rng.uniform(-2, 2, (20_000, 2))
    far = np.hypot(*draws.T)
    weights = -0.5 * ((far - 1.2) / 0.1) ** 2
    joint = smw.Estimate([0.0, 0.0, 0.0, 0.8, 0.8], np.eye(5), names=list("zabcd"))
    ring = types.SimpleNamespace(
        joint=joint, inputs=("a", "b"), draws=draws, log_weight=weights, diagnostics={}
    )
    axes = smw.plots.corner(ring)
    assert axes.shape == (2, 2)
    assert [axes[1, j].get_xlabel() for j in (0, 1)] == ["a", "b"]
    regions = [path.to_polygons() for path in axes[1, 0].collections[0].get_paths()]
    inside = [
        # of filled paths with holes
        any(sum(Path(one).contains_point(at) for one in polygons) % 2 for polygons in regions)
        for at in ((0.0, 0.0), (1.2, 0.0), (0.0, -1.2), (1.7, 1.7))
    ]
    assert inside == [False, True, True, False]
    axes[0, 0].figure.canvas.draw()
    assert smw.plots.corner(ring, ["b"]).shape == (1, 1)
    with pytest.raises(ValueError, match="parameters: got 0; expected 1 to 10"):
        smw.plots.corner(ring, [])
    plt.close("all")
