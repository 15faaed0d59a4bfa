"""Means over the sphere and distances of Gaussian laws against closed forms and draws."""

import math

import numpy as np
import pytest

import smcweights as smw
from smcweights.transport.sphere import gap_polynomial, mean_squared_gap

from .truths import sphere_rule


@pytest.mark.slow
def test_gaussian_laws():
    rng = np.random.default_rng(1)
    for d in (1, 2, 3, 10):
        a, b = (rng.normal(size=(d, 2 * d)) for _ in range(2))
        a, b, m = a @ a.T, 3 * b @ b.T, rng.normal(size=d)
        value = smw.sliced_wasserstein_gaussian(m, a, np.zeros(d), b, root=False)
        theta = rng.normal(size=(200_000, d))
        theta /= np.linalg.norm(theta, axis=1)[:, None]
        v, w = (np.einsum("ni,ij,nj->n", theta, c, theta) for c in (a, b))
        costs = (theta @ m) ** 2 + (np.sqrt(v) - np.sqrt(w)) ** 2
        error = costs.std() / math.sqrt(len(costs))
        assert abs(value - costs.mean()) < 4.5 * error + 1e-12 * value, d


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_gaussian_laws_that_are_equal_or_close(d):
    """Nothing cancels: the distance of equal laws is 0, a small one keeps its digits."""
    a, zero, shift = np.random.default_rng(d).normal(size=(d, d)), np.zeros(d), np.zeros(d)
    c = a @ a.T
    assert smw.sliced_wasserstein_gaussian(zero, c, zero, c) == 0
    near = smw.sliced_wasserstein_gaussian(zero, c, zero, (1 + 1e-6) ** 2 * c)
    assert near == pytest.approx(1e-6 * math.sqrt(np.trace(c) / d), rel=1e-9)
    shift[0] = 1e-5
    moved = smw.sliced_wasserstein_gaussian(shift, c, zero, c)
    assert moved == pytest.approx(1e-5 / math.sqrt(d), rel=1e-12)
    large = smw.sliced_wasserstein_gaussian(1e200 * shift, c, zero, c)
    assert large == pytest.approx(1e195 / math.sqrt(d), rel=1e-12)


def test_the_polynomial_of_the_gap():
    """Its mean by a rule that is exact for its degree, eight; close to what it is fitted to."""
    rng = np.random.default_rng(1)
    theta, weights = sphere_rule(8)
    for k, size in ((3, 1.0), (6, 1e-9), (1, 30.0)):
        a, b = (rng.normal(size=(3, n)) for n in (4, k))
        a, b = a @ a.T, size * b @ b.T
        v, w = (np.einsum("ni,ij,nj->n", theta, c, theta) for c in (a, b))
        polynomial, mean = gap_polynomial(a, b)
        assert weights @ polynomial(v, w) == pytest.approx(mean, rel=1e-12)
        gap = (np.sqrt(v) - np.sqrt(w)) ** 2
        left = gap - polynomial(v, w)
        assert weights @ left**2 < 0.03 * (weights @ gap**2 - (weights @ gap) ** 2)
    # in five dimensions, whatever the unit; no shape but one, and one cloud of one point
    a, b = np.diag([1.0, 2, 3, 0, 0]), np.diag([5.0, 0, 1, 0, 1])
    polynomial, mean = gap_polynomial(a, b)
    theta = rng.normal(size=(100_000, 5))
    squares = theta**2 / (theta**2).sum(axis=1)[:, None]
    values = polynomial(squares @ np.diag(a), squares @ np.diag(b))
    assert abs(values.mean() - mean) < 4.9 * values.std() / math.sqrt(len(values))
    assert gap_polynomial(1e9 * a, 1e9 * b)[1] == pytest.approx(1e9 * mean, rel=1e-9)
    assert gap_polynomial(a, 4 * a)[1] == pytest.approx(np.trace(a) / 5, rel=1e-9)
    assert gap_polynomial(a, 0 * a)[1] == np.trace(a) / 5


def test_a_gaussian_law_without_dimensions_is_told():
    none = np.zeros(0), np.zeros((0, 0))
    with pytest.raises(ValueError, match=r"cov_x: got shape \(0, 0\) with a mean of shape"):
        smw.sliced_wasserstein_gaussian(*none, *none)


def test_the_mean_squared_gap_in_closed_form():
    # both of rank one: an arc-cosine kernel; proportional matrices: a trace
    u, v = np.array([1.0, 2.0, 0.5, 0.0]), np.array([0.0, 1.0, -1.0, 2.0])
    t = math.acos(abs(u @ v) / np.linalg.norm(u) / np.linalg.norm(v))
    cross = np.linalg.norm(u) * np.linalg.norm(v) * 2 / (math.pi * 4)
    cross *= math.sin(t) + (math.pi / 2 - t) * math.cos(t)
    a, flat = np.diag([1.0, 2.0, 3.0, 4.0]), np.diag([1.0, 0.0, 0.0])
    cases = [
        (np.outer(u, u), np.outer(v, v), (u @ u + v @ v) / 4 - 2 * cross),
        (a, 9 * a, 4 * 10 / 4),
        (a, 1e-12 * a, (1 - 1e-6) ** 2 * 10 / 4),
        # one of them flat: (|theta_1| - 1)^2
        (flat, np.eye(3), 1 / 3),
        (flat[:2, :2], np.eye(2), 3 / 2 - 4 / math.pi),
        (0 * a, a, 10 / 4),
    ]
    for first, second, truth in cases:
        for one, other in ((first, second), (second, first)):
            assert mean_squared_gap(one, other) == pytest.approx(truth, rel=1e-11)
            assert mean_squared_gap(one, other, tolerance=1e-3) == pytest.approx(truth, rel=1e-3)
