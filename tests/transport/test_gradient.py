"""Gradients against differences and closed forms."""

import warnings

import numpy as np
import pytest

import smcweights as smw

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3)) + 1


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("m", [20, 13])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("root", [False, True])
def test_gradients_are_those_of_differences(p, m, weighted, root):
    a = np.random.default_rng(1).random(20) + 0.1 if weighted else None
    keywords = {"p": p, "weights_x": a, "root": root, "seed": 1}
    found = smw.sliced_gradient(X, Y[:m], 50, **keywords)
    for i, k in [(0, 0), (7, 2), (19, 1)]:
        step = np.zeros_like(X)
        step[i, k] = 1e-6
        up, down = (
            smw.sliced_gradient(X + s, Y[:m], 50, **keywords).distance.value for s in (step, -step)
        )
        assert found.value[i, k] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-8)


def test_whole_blocks_have_no_noise_where_the_cost_is_quadratic():
    gradient = smw.sliced_gradient(X, 1.5 * X + 2, 30, directions="orthogonal", seed=1)
    np.testing.assert_allclose(gradient.value, 2 / 3 / 20 * (X - (1.5 * X + 2)), rtol=1e-9)
    assert (gradient.standard_error < 1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize("keywords", [{}, {"directions": "uniform"}, {"directions": "orthogonal"}])
def test_gradients_are_unbiased_with_right_errors(keywords):
    """400 seeds, 60 components: the largest |z| stays below 5 but once in 30,000."""
    truth = smw.sliced_gradient(X, Y, 200_000, seed=99).value
    runs = [smw.sliced_gradient(X, Y, 60, seed=s, **keywords) for s in range(400)]
    values = np.array([r.value for r in runs])
    spread = values.std(axis=0)
    assert (np.abs(values.mean(0) - truth) < 5 * spread / 20 + 1e-6).all()
    said = np.sqrt(np.mean([r.standard_error**2 for r in runs], axis=0))
    np.testing.assert_allclose(said, spread, rtol=0.35)


def test_the_gradient_vanishes_at_the_fixed_point():
    np.testing.assert_array_equal(smw.sliced_gradient(X, X[::-1], 50, seed=1).value, 0)
    with pytest.warns(smw.PrecisionWarning, match="sliced_gradient: the clouds can't be told from"):
        found = smw.sliced_gradient(X, X[::-1], 50, root=True, seed=1)
    np.testing.assert_array_equal(found.value, 0)
    assert "array" not in repr(found) and len(repr(found)) < 200


def test_the_paper_s_controls_by_name_are_worse_near_the_end():
    """Where the means agree the lower bound is a constant, and its coefficient huge."""
    noise = 0.3 * np.random.default_rng(5).normal(size=X.shape)
    near = X + noise - noise.mean(axis=0) + 1e-9
    truth = smw.sliced_gradient(near, X, 20_000, seed=9).value

    def variance(**keywords):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", smw.PrecisionWarning)
            return np.mean(
                [
                    (
                        (smw.sliced_gradient(near, X, 15, seed=s, **keywords).value - truth) ** 2
                    ).sum()
                    for s in range(60)
                ]
            )

    plain = variance(directions="uniform")
    assert variance(control_variates="lower") > plain
    assert variance(directions="orthogonal") < plain
