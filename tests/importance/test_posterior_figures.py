"""The figure of a posterior's marginals, from weights made by hand."""

import types

import matplotlib.pyplot as plt
import numpy as np
import pytest

import smcweights as smw


def by_hand():
    draws = np.array([[-1.0, 0.0], [1.0, 4.0], [0.0, 2.0]])
    joint = smw.Estimate([-3.0, 0.2, 2.0, 0.75, 1.4], np.eye(5), names=list("zabcd"))
    weights = np.log([0.2, 0.4, 0.4])
    return types.SimpleNamespace(joint=joint, inputs=("a", "b"), draws=draws, log_weight=weights)


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
