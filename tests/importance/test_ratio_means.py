"""Weighted quantiles by inversion, intervals that lean, and targets that are centred."""

import numpy as np
import pytest
from scipy import stats

from smcweights.importance.ratio_means import (
    Centred,
    leaning_limits,
    quantile_limits,
    shared_tails,
)
from smcweights.parts import LEVELS


def test_quantiles_of_equal_weights_are_order_statistics():
    x = np.random.default_rng(1).permutation(np.arange(1.0, 101.0))
    q, error, ends, influence = quantile_limits(x, np.ones(100), 0.25, np.array([1.0, 2.0]))
    assert q == 25.0
    assert error == pytest.approx(np.sqrt(0.25 * 0.75 / 100))
    assert ends.tolist() == [[21.0, 30.0], [17.0, 34.0]]
    assert influence.sum() == pytest.approx(0, abs=1e-15)


def test_an_end_beyond_the_draws_is_infinite():
    *_, ends, _ = quantile_limits(np.arange(50.0), np.ones(50), 0.01, np.array([2.0]))
    assert ends[0, 0] == -np.inf and np.isfinite(ends[0, 1])


def test_ties_are_one_atom():
    x = np.repeat([0.0, 1.0], 50)
    q, _, ends, _ = quantile_limits(x, np.ones(100), 0.7, np.array([2.0]))
    assert q == 1.0 and ends.tolist() == [[1.0, 1.0]]


def test_intervals_of_means_of_squares_miss_on_both_sides():
    """40 squares of normal draws, 20,000 times, errors of the shares below .0023 (one in 10^5).

    Student's intervals end below the mean of 1 in .079 of them, and begin above it in .006.
    """
    x = np.random.default_rng(1).standard_normal((20_000, 40)) ** 2
    mean = x.mean(1)
    centred = x - mean[:, None]
    error = np.sqrt((centred**2).mean(1) / 39)
    skewness = (centred**3).mean(1) / 40**2 / error**3
    found = leaning_limits(mean, error, np.full(len(x), 39.0), skewness)
    lower, upper = found[LEVELS.index(0.95)].T
    assert 0.012 < (lower > 1).mean() < (upper < 1).mean() < 0.042
    assert (np.diff(found[..., 1], axis=0) >= 0).all() and (
        np.diff(found[..., 0], axis=0) <= 0
    ).all()


def test_tails_are_at_least_those_of_all_on_average():
    """Of two alike one met far draws; what has no error has no say."""
    freedom, skewness = np.array([200.0, 4.0, 3.0]), np.array([-0.1, 1.3, 9.0])
    found, lean = shared_tails(freedom, skewness, np.array([1e-4, 2e-4, 0.0]))
    np.testing.assert_allclose(found, [2 / (1 / 200 + 1 / 4), 4.0, 3.0])
    np.testing.assert_allclose(lean, [0.6, 1.3, 9.0])
    for one, own in zip(
        shared_tails(freedom, skewness, np.zeros(3)), (freedom, skewness), strict=True
    ):
        assert one.tolist() == own.tolist()


def test_an_interval_without_skewness_is_students():
    found = leaning_limits(np.array([2.0, np.nan]), np.ones(2), np.full(2, 7.0), np.zeros(2))
    half = stats.t(7).ppf(0.5 + np.array(LEVELS) / 2)
    np.testing.assert_allclose(found[:, 0], np.stack([2 - half, 2 + half], axis=1))
    assert (found[:, 1] == [-np.inf, np.inf]).all()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.025, 0.5, 0.9])
def test_intervals_cover_600_samples(share):
    """Weighted draws of N(0, 1) from N(0, 1.3^2); binomial bounds of 1e-6 either side."""
    rng, hits = np.random.default_rng(2), 0
    z = np.array([stats.norm.ppf(0.975)])
    for _ in range(600):
        x = rng.normal(0, 1.3, 500)
        w = np.exp(stats.norm.logpdf(x) - stats.norm.logpdf(x, 0, 1.3))
        *_, ends, _ = quantile_limits(x, w, share, z)
        hits += ends[0, 0] <= stats.norm.ppf(share) <= ends[0, 1]
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], 600, 0.95)
    assert low <= hits <= high


def test_targets_are_centred_and_scaled():
    phi = np.array([[1e6, 2.0], [1e6 + 2, 2.0]])
    found = Centred.by(phi, np.array([0.5, 0.5]))
    assert found.centre.tolist() == [1e6 + 1, 2.0] and found.scale.tolist() == [1.0, 1.0]
    assert found.varies.tolist() == [True, False]
    # weights that sum to 1 but for rounding: a constant stays what it is
    same = Centred.by(np.full((1_000, 1), 0.3), np.full(1_000, 1e-3 * (1 + 1e-13)))
    assert (same.centre, same.scale, same.varies) == ([0.3], [1.0], [False])
    assert found.targets(phi, 1).tolist() == [[1.0, -1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]
