"""Smoothing keeps the draws it is asked for; regions are told apart where weighted draws say so."""

import numpy as np
from scipy import stats

from smcweights.importance.failure_regions import densities_towards, fit_regions, smoothed
from smcweights.importance.laws import as_law
from smcweights.importance.proposals import WorkingSpace

RNG = np.random.default_rng(5)


def worth(t):
    return t.sum() ** 2 / (t @ t)


def test_smoothing_is_the_least_that_is_worth_enough_and_none_where_failures_suffice():
    u = RNG.standard_normal(4_000)
    margins = np.stack([4.5 - u, 1 - u], axis=1)
    scales, t = smoothed(margins, np.ones(4_000), 100.0)
    assert scales[0] > 0
    assert scales[1] == 0
    assert 100 <= worth(t[:, 0]) < 101
    np.testing.assert_array_equal(t[:, 1], u >= 1)
    less = stats.norm.cdf(-margins[:, 0] / (0.99 * scales[0]))
    assert worth(less) < 100


def test_two_sides_are_two_regions_in_few_and_in_many_inputs():
    for d in (2, 16, 30):
        u = RNG.standard_normal((6_000, d))
        u[:, 0] = RNG.choice([-1.0, 1.0], 6_000) * (3 + 0.3 * np.abs(u[:, 0]))
        found = fit_regions(u, np.ones(6_000), np.random.default_rng(1))
        along = sorted(region.mean[0] for region in found)
        assert along[0] < -2.5, d
        assert along[-1] > 2.5, d


def test_densities_towards_regions_have_shares_and_begin_with_the_law():
    space = WorkingSpace(as_law([stats.norm()] * 2))
    u = RNG.standard_normal((2_000, 2)) + np.array([3, 0])
    t = np.ones((2_000, 1))
    regions = fit_regions(u, t[:, 0], np.random.default_rng(1))
    densities, shares = densities_towards(space, (), regions, u, t, np.random.default_rng(1))
    assert densities[0] is space
    assert len(densities) == len(shares) == 2 + len(regions)
    np.testing.assert_allclose(shares.sum(), 1)
    assert shares[0] > 0.05
