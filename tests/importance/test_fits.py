"""Fits find the laws that weighted draws came from."""

import numpy as np
import pytest
from scipy import stats

from smcweights.importance.fits import (
    Draws,
    fit_directional,
    fit_lines,
    fit_mixtures,
    fit_rank_one,
)


def test_em_finds_a_mixture_and_leaves_a_normal_law_alone():
    rng = np.random.default_rng(6)
    u = np.concatenate([rng.normal(3, 0.5, (800, 2)), rng.normal(-2, 1.0, (1200, 2))])
    two, one = fit_mixtures(u, np.stack([np.ones(2000), np.arange(2000) < 800], 1), rng)
    assert len(two.components) == 2
    assert len(one.components) == 1
    order = np.argsort([c.mean[0] for c in two.components])
    np.testing.assert_allclose(two.weights[order], [0.6, 0.4], atol=0.03)
    np.testing.assert_allclose(two.components[order[1]].mean, [3, 3], atol=0.1)
    np.testing.assert_allclose(np.diag(two.components[order[1]].cholesky), [0.5, 0.5], atol=0.06)


def test_of_many_draws_em_sees_those_that_count():
    """Two rare sides beside a normal law: by every fifth draw, taken for all, three parts each."""
    rng = np.random.default_rng(8)
    u = rng.standard_normal((20_000, 5))
    sides, shifted = fit_mixtures(
        u, np.stack([np.abs(u[:, 0]) > 2.5, np.exp(u[:, 0] - 0.5)], 1), rng
    )
    assert [len(sides.components), len(shifted.components)] == [2, 1]
    truth = stats.norm.pdf(2.5) / stats.norm.sf(2.5)
    means = np.sort([c.mean for c in sides.components], axis=0)
    np.testing.assert_allclose(means[:, 0], [-truth, truth], atol=0.1)
    spread = [np.linalg.norm(c.cholesky, axis=1)[1:].mean() for c in sides.components]
    np.testing.assert_allclose(spread, 1.0, atol=0.1)


def test_the_rank_one_family_finds_direction_and_spread():
    rng = np.random.default_rng(7)
    d = 60
    u = rng.standard_normal((40_000, d))
    along = u.sum(1) / np.sqrt(d)
    (component,) = fit_rank_one(u, (along > 2.0) * 1.0).components
    truth = stats.norm.pdf(2) / stats.norm.sf(2)
    np.testing.assert_allclose(component.mean, truth / np.sqrt(d), atol=0.15)
    e = np.ones(d) / np.sqrt(d)
    spread = (component.cholesky.T @ e) @ (component.cholesky.T @ e)
    assert spread == pytest.approx(1 + 2 * truth - truth**2, rel=0.4)


@pytest.mark.parametrize("family", ["rank-one", "vmfn"])
def test_directional_mixtures_tell_two_sides_from_one(family):
    rng = np.random.default_rng(2)
    d, n = 40, 600
    u = rng.standard_normal((n, d))
    one = u.copy()
    one[:, 0] += 4
    two = u.copy()
    two[:, 0] += np.where(np.arange(n) % 3 == 0, -4, 4)
    weights = np.ones(n)
    assert len(fit_directional(Draws(one), weights, rng, family).components) == 1
    mixture = fit_directional(Draws(two), weights, rng, family)
    assert len(mixture.components) == 2
    assert np.sort(mixture.weights) == pytest.approx([1 / 3, 2 / 3], abs=0.02)


def test_lines_tell_ten_regions_of_ten_inputs_apart_by_few_draws():
    rng = np.random.default_rng(3)
    u, weights = rng.standard_normal((300, 10)), rng.exponential(size=300)
    u[np.arange(300), np.arange(300) % 10] = 4 + 0.25 * rng.exponential(size=300)
    mixture, fit = fit_lines(u, weights, rng)
    means = np.array([c.mean for c in mixture.components])
    cosine = means.max(1) / np.linalg.norm(means, axis=1)
    assert set(means[cosine > 0.9].argmax(1)) == set(range(10))
    assert fit > fit_lines(u, weights, rng, most=4)[1]
    assert len(fit_lines(u, weights, rng, most=1)[0].components) == 1
