"""Free parameters, and what they are where they are unconstrained."""

import numpy as np
import pytest

import smcweights as smw
from smcweights.statespace.learning import parameters

pytestmark = pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")


def test_transforms_have_these_derivatives():
    kinds = ("identity", "log", "logit", "atanh")
    theta = np.array([-0.3, 2.0, 0.2, -0.7])
    u = parameters.from_theta(theta, kinds, "abcd")
    value, first, second = parameters.to_theta(u, kinds)
    np.testing.assert_allclose(value, theta, rtol=1e-14)
    up, down = (parameters.to_theta(u + h, kinds)[0] for h in (1e-4, -1e-4))
    np.testing.assert_allclose((up - down) / 2e-4, first, rtol=1e-6)
    np.testing.assert_allclose((up - 2 * value + down) / 1e-8, second, atol=1e-6)


def test_rows_of_probabilities_have_these_derivatives():
    kinds = ("simplex", "simplex", "rest", "log", "simplex", "rest")
    free = parameters.Free(tuple(range(6)), tuple("abcdef"), kinds)
    theta = np.array([0.2, 0.5, 0.3, 2.0, 0.9, 0.1])
    u = free.numbers(theta)
    assert u.shape == (4,)
    np.testing.assert_allclose(free.values(u), theta, rtol=1e-14)
    here, rng = free.at(u), np.random.default_rng(1)
    np.testing.assert_array_equal(here.values, free.values(u))
    steps = 1e-5 * np.eye(4)
    slope = np.array([(free.values(u + h) - free.values(u - h)) / 2e-5 for h in steps]).T
    np.testing.assert_allclose(here.along(np.eye(4)).T, slope, atol=1e-9)
    g, root = rng.standard_normal(6), rng.standard_normal((6, 6))
    np.testing.assert_allclose(here.gradient(g), slope.T @ g, atol=1e-9)
    np.testing.assert_allclose(
        here.outer(root @ root.T), slope.T @ root @ root.T @ slope, rtol=1e-7
    )
    moved = [(free.at(u + h).gradient(g) - free.at(u - h).gradient(g)) / 2e-5 for h in steps]
    np.testing.assert_allclose(here.bent(g), moved, atol=1e-8)
    np.testing.assert_allclose(here.spread(np.eye(4)), slope @ slope.T, atol=1e-8)
    # a density of all but the last of each row
    volume = np.linalg.slogdet(slope[[0, 1, 3, 4]])[1]
    assert here.log_jacobian == pytest.approx(volume, rel=1e-8)


def test_rows_are_learned_as_a_whole_without_what_is_zero():
    model = smw.models.finite_hmm(
        [1.0, 0.0, 0.0], [[0.7, 0.3, 0.0], [0.0, 0.8, 0.2], [0.0, 0.0, 1.0]],
        [0.0, 1.0, 2.0], [1.0, 1.0, 1.0],
    )  # fmt: skip
    free = parameters.free_parameters(model, ["transition_matrix"], searched=True)
    assert free.names == tuple(f"transition_matrix[{a}, {b}]" for a in (0, 1) for b in (a, a + 1))
    assert free.transforms == ("simplex", "rest", "simplex", "rest")
    every = parameters.free_parameters(model, None, searched=True)
    assert every.names[:4] == free.names and len(every.names) == 10
    for given, message in (
        (["transition_matrix[0, 0]"], r"expected transition_matrix\[0, 1\], too"),
        (["initial_probabilities"], "stay as they are"),
    ):
        with pytest.raises(ValueError, match=message):
            parameters.free_parameters(model, given, searched=True)
    theta = model.theta.copy()
    theta[3] = 0.6
    with pytest.raises(ValueError, match=r"theta0: transition_matrix\[0, 0\] to .*sum to 1"):
        free.numbers(theta)
    # by themselves where nothing is searched
    assert parameters.free_parameters(model, [3]).transforms == ("identity",)
