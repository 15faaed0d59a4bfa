"""The permutation test keeps its level and has power."""

import numpy as np
import pytest
from scipy import stats

import smcweights as smw


def test_samples_of_one_law_and_of_two():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 60, 2))
    same, other = (smw.sliced_test(x, f * y, 20, permutations=199, seed=1) for f in (1, 2))
    assert same.p_value > 0.05 and other.p_value == 1 / 200
    for found in (same, other):
        larger = (found.permuted >= found.statistic * (1 - 1e-12)).sum()
        assert found.p_value == (1 + larger) / 200
    # SW_2^2 of a cloud and its shift by v is |v|^2/d along whole rules
    assert smw.sliced_test(x, x + np.array([3, 4]), 20, seed=1).statistic == pytest.approx(25 / 2)


@pytest.mark.slow
def test_the_two_sample_test_keeps_its_level():
    """200 seeds at level 0.1: binomial bounds of 1e-6."""
    rng = np.random.default_rng(1)
    rejected = sum(
        smw.sliced_test(
            rng.normal(size=(25, 2)), rng.normal(size=(40, 2)), 20, permutations=99, seed=s
        ).p_value
        <= 0.1
        for s in range(200)
    )
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], 200, 0.1)
    assert low <= rejected <= high
