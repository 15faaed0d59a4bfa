"""Mixtures and their derivatives: integrals by quadrature, and what they correct exactly."""

import numpy as np
import pytest

from smcweights.importance.derivative_controls import Derivatives, nested_choices
from smcweights.importance.proposals import Elliptical, Mixture


def mixture(d):
    rng = np.random.default_rng(d)
    components = tuple(
        Elliptical(rng.standard_normal(d), np.tril(rng.uniform(0.3, 0.8, (d, d))) + 0.3 * np.eye(d))
        for _ in range(3)
    )
    return Mixture(np.array([0.5, 0.3, 0.2]), components)


def test_the_mixture_integrates_to_one_and_each_derivative_to_zero():
    """By the trapezoidal rule, exact to rounding for what vanishes at the ends."""
    axis = np.linspace(-12, 12, 481)
    points = np.stack([one.ravel() for one in np.meshgrid(axis, axis)], axis=1)
    found = Derivatives(mixture(2), np.array([[0.7, 0.0], [0.2, 0.5]]))
    over = found.over(points, np.zeros(len(points))) * (axis[1] - axis[0]) ** 2
    assert over.shape[1] == 1 + found.sizes[1] == 8
    assert over[:, 0].sum() == pytest.approx(1, abs=1e-9)
    assert abs(over[:, 1:].sum(0)).max() < 1e-9 < abs(over).sum(0).min()


def test_the_mean_of_a_normal_law_is_a_combination_of_the_first():
    """(u - m) q is minus a derivative: a regression leaves nothing."""
    d = 4
    law = Elliptical(np.arange(4.0), np.tril(np.full((4, 4), 0.3)) + np.eye(4))
    found = Derivatives(Mixture(np.ones(1), (law,)), law.cholesky)
    wide = Elliptical(law.mean, 1.5 * law.cholesky)
    u = wide.sample(np.random.default_rng(1), 400)
    log_h = wide.log_density(u)
    z = found.over(u, log_h)
    w = np.exp(law.log_density(u) - log_h)[:, None]
    np.testing.assert_allclose(z[:, :1], w)
    for target, columns in ((u - law.mean, d), ((u - law.mean) ** 2 - 1.0, 2 * d + 10)):
        known = z[:, : 1 + columns]
        left = w * target - known @ np.linalg.lstsq(known, w * target, rcond=None)[0]
        assert abs(left).max() < 1e-10


@pytest.mark.parametrize(("d", "total"), [(3, 12), (20, 250), (21, 63)])
def test_many_inputs_have_no_mixed_derivatives(d, total):
    found = Derivatives(mixture(d), np.eye(d))
    assert found.sizes == (d, total)
    assert found.over(np.zeros((2, d)), np.zeros(2)).shape == (2, 1 + total)


def test_few_draws_allow_few_controls():
    found = Derivatives(mixture(3), np.eye(3))
    assert [len(nested_choices(3, found, n)) for n in (20, 40, 100, 1_000)] == [1, 4, 5, 6]
