"""Tops of polynomials are found, and their error is that of the noise."""

import numpy as np
import pytest

import smcweights as smw
from smcweights.statespace.learning.surface import Design, climbed

TOP = np.array([1.0, -2.0])
BEND = np.array([[2.0, 0.5], [0.5, 1.0]])
START = Design(np.zeros(2), 0.5 * np.eye(2))


def cubic(u):
    """Its slope vanishes at TOP, where minus its second derivatives are BEND."""
    d = u - TOP
    return 7.0 - 0.5 * np.einsum("ni,ij,nj->n", d, BEND, d) + 0.05 * d[:, 0] ** 2 * d[:, 1]


def test_the_top_of_a_cubic_is_found_without_noise():
    summit, _ = climbed(lambda lap, u: cubic(u), START, 60, "ab", np.random.default_rng(1))
    np.testing.assert_allclose(summit.point, TOP, atol=1e-8)
    np.testing.assert_allclose(summit.curvature, BEND, rtol=1e-6)
    assert summit.height == pytest.approx(7.0) and summit.noise < 1e-8


def test_the_error_of_the_top_is_that_of_the_noise():
    """120 numbers of variance one: between .55 and 1.6 but for one time in 10,000."""
    squares = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        summit, _ = climbed(
            lambda lap, u, rng=rng: cubic(u) + 0.3 * rng.standard_normal(len(u)),
            START,
            80,
            "ab",
            rng,
        )
        factor = np.linalg.cholesky(summit.covariance)
        squares.append((np.linalg.solve(factor, summit.point - TOP) ** 2).mean())
    assert 0.55 < np.mean(squares) < 1.6


def test_a_direction_that_rises_for_ever_is_named():
    def ridge(lap, u):
        return -0.5 * u[:, 0] ** 2 + 0.02 * u[:, 1]

    with pytest.raises(smw.DegeneracyError, match=r"no top .* least along [+-]1\.00 b \("):
        climbed(ridge, START, 80, "ab", np.random.default_rng(1))


@pytest.mark.parametrize("width", [0.02, 20.0])
def test_designs_of_the_wrong_width_find_the_top(width):
    rng = np.random.default_rng(3)

    def heights(lap, u):
        # a cubic has no top far from it
        d = u - TOP
        return -0.5 * np.einsum("ni,ij,nj->n", d, BEND, d) + 0.1 * rng.standard_normal(len(u))

    start = Design(np.zeros(2), width * np.eye(2))
    summit, _ = climbed(heights, start, 80, "ab", rng)
    np.testing.assert_allclose(summit.point, TOP, atol=0.1)
    np.testing.assert_allclose(summit.curvature, BEND, atol=0.3)


def test_no_top_is_told():
    def cliff(lap, u):
        return np.where(u[:, 0] > 0.4, 0.0, -np.inf)

    with pytest.raises(smw.DegeneracyError, match="no top within the design"):
        climbed(cliff, START, 80, "ab", np.random.default_rng(1))
