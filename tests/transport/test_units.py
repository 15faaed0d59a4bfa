"""Columns of mixed units are brought to one scale, the same by every way in."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import smcweights as smw

from .truths import mixture

SIZES = np.array([1.0, 1e4, 1e-3, 7.0])
X, Y = mixture(60, 4, 1) * SIZES, mixture(45, 4, 2) * SIZES + SIZES
POOL = np.concatenate([X, Y])
CALLS = {
    "distance": lambda x, y, **k: smw.sliced_wasserstein(x, y, 60, seed=1, **k),
    "matrix": lambda x, y, **k: smw.sliced_wasserstein_matrix([x, y], 60, seed=1, **k)["1, 2"],
}


@pytest.mark.parametrize("name", CALLS)
def test_a_scale_is_what_columns_are_divided_by(name):
    call = CALLS[name]
    deviations = POOL.std(axis=0)
    ranks = stats.rankdata(POOL, axis=0) / len(POOL)
    for scale, x, y in [
        ("sd", X / deviations, Y / deviations),
        (SIZES, X / SIZES, Y / SIZES),
        ("ranks", ranks[:60], ranks[60:]),
    ]:
        found, truth = call(X, Y, scale=scale), call(x, y)
        assert float(found.value) == pytest.approx(float(truth.value), rel=1e-9)
        assert float(found.standard_error) == pytest.approx(float(truth.standard_error), rel=1e-5)
    np.testing.assert_allclose(call(X, Y, scale="sd").diagnostics["scale"], deviations)
    # whatever the units are
    assert float(call(X * 9.0, Y * 9.0, scale="sd").value) == pytest.approx(
        float(call(X, Y, scale="sd").value), rel=1e-9
    )


def test_weights_count_in_the_pool():
    """Whole numbers as weights are rows that occur so often."""
    w = np.arange(60) % 3 + 1
    often = np.repeat(X, w, axis=0)
    each = {"weights_x": w, "weights_y": np.full(45, 120 / 60)}
    for scale in ("sd", "ranks"):
        found = smw.sliced_wasserstein(X, Y, 60, scale=scale, seed=1, **each)
        # the pool gives every row of a cloud the same mass on average
        y = np.repeat(Y, 2, axis=0)
        truth = smw.sliced_wasserstein(often, y, 60, scale=scale, seed=1)
        assert found.value == pytest.approx(truth.value, rel=1e-9)


def test_the_reference_gives_its_own_scale():
    reference = smw.SlicedReference(Y, 60, seed=1, scale="sd")
    sd = Y.std(axis=0)
    plain = smw.SlicedReference(Y / sd, 60, seed=1)
    assert reference.distance(X).value == pytest.approx(plain.distance(X / sd).value, rel=1e-9)
    ranks = smw.SlicedReference(Y, 60, seed=1, scale="ranks")
    own = [stats.percentileofscore(Y[:, k], X[:, k], "mean") / 100 for k in range(4)]
    other = [stats.percentileofscore(Y[:, k], Y[:, k], "mean") / 100 for k in range(4)]
    truth = smw.SlicedReference(np.transpose(other), 60, seed=1).distance(np.transpose(own))
    assert ranks.distance(X).value == pytest.approx(truth.value, rel=1e-9)


def test_constant_columns_are_left_out_and_named():
    x, y = (pd.DataFrame(c, columns=list("abcd")) for c in (X, Y))
    x["b"] = y["b"] = 0.1
    found = smw.sliced_wasserstein(x, y, 60, scale="sd", seed=1)
    assert found.diagnostics["columns_left_out"] == ["b"]
    keep = [0, 2, 3]
    sd = POOL[:, keep].std(axis=0)
    truth = smw.sliced_wasserstein(X[:, keep] / sd, Y[:, keep] / sd, 60, seed=1)
    assert found.value == pytest.approx(truth.value, rel=1e-9)
    with pytest.raises(ValueError, match="scale: got 'sd', but all columns are constant"):
        smw.sliced_wasserstein(np.ones((5, 2)), np.ones((4, 2)), scale="sd")


@pytest.mark.parametrize(
    ("scale", "error", "said"),
    [
        ("mad", ValueError, "scale: got 'mad'; expected None, 'sd', 'ranks' or 4 numbers"),
        ([1.0, 2.0], ValueError, r"scale: got \[1.0, 2.0\], shape \(2,\); expected positive"),
        ([1.0, 2.0, 0.0, 1.0], ValueError, "expected positive numbers, one per column: \\(4,\\)"),
        ([1.0, 2.0, np.nan, 1.0], ValueError, r"scale: nan at index \[2\]"),
        (True, TypeError, "scale: got True"),
        ([], ValueError, r"scale: got \[\], shape \(0,\)"),
    ],
)
def test_scales_that_are_none_are_told(scale, error, said):
    with pytest.raises(error, match=said):
        smw.sliced_wasserstein(X, Y, 60, scale=scale)
