"""Rows that depend on their neighbours are seen, and cut into blocks."""

import numpy as np
import pytest
from scipy import signal

from smcweights.transport.groups import (
    autocorrelation_time,
    blocks_of,
    dependent,
    labels_of,
    neighbours,
)


def chains(rho, n, seed):
    noise = np.random.default_rng(seed).normal(size=(3, n)) * np.sqrt(1 - rho**2)
    return signal.lfilter([1], [1, -rho], noise)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_autocorrelation_times_of_autoregressions(rho):
    """tau = (1 + rho)/(1 - rho); a fifth off at 60,000 rows."""
    rows, weights = chains(rho, 20_000, 1), np.full(3, 1 / 3)
    assert autocorrelation_time(rows, weights) == pytest.approx((1 + rho) / (1 - rho), rel=0.2)
    found = neighbours(rows, weights)
    assert found[0] == pytest.approx(rho, abs=0.02) and dependent(found) == (rho > 0)


def test_constant_rows_depend_on_nothing():
    rows = np.ones((2, 9))
    assert not dependent(neighbours(rows, np.ones(2)))
    assert autocorrelation_time(rows, np.ones(2)) == 1


def test_weak_dependence_of_many_columns_is_seen():
    """Rows of rho 0.2 would be rejected in 16 % of the cases at 5 %; 1,000 free ones are let be."""
    weights, seeds = np.full(3, 1 / 3), np.random.default_rng(1)
    weak = [dependent(neighbours(chains(0.2, 400, seeds), weights)) for _ in range(50)]
    free = [dependent(neighbours(chains(0.0, 400, seeds), weights)) for _ in range(1_000)]
    assert sum(weak) > 40 and not any(free)


def test_blocks_are_ten_times_as_long():
    for size, time in ((1_000, 3.0), (997, 7.7)):
        counts = np.bincount(blocks_of("x", size, time, 5))
        assert counts.min() >= 10 * time and np.ptp(counts) <= 1
    for size, blocks in ((600, 10), (630, 10), (200, 6), (6_000, 100)):
        assert blocks_of("x", size, 3.0, 5, enough=10).max() + 1 == blocks
    assert len(np.unique(blocks_of("x", 50, 1.2, 5))) == 50
    with pytest.raises(
        ValueError, match=r"y: 90 rows .* make 3 blocks; expected at least 150 rows"
    ):
        blocks_of("y", 90, 3.0, 5)


def test_labels_are_numbered():
    assert labels_of("groups_x", ["b", "a", "b"], 3).tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match=r"groups_x: got shape \(2,\)"):
        labels_of("groups_x", [1, 2], 3)
    for wrong in ([[1], [1, 2]], [1, "a", 2], np.ma.masked_less([1, 2, 3], 2)):
        with pytest.raises(TypeError, match="groups_x: expected one label per row"):
            labels_of("groups_x", np.array(wrong, object) if "a" in wrong else wrong, 3)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_rows_without_a_label_are_told(missing):
    for labels in ([1, 2, missing, 2], np.array(["a", "b", missing, "b"], dtype=object)):
        with pytest.raises(ValueError, match="groups_y: 1 of 4 rows have no label, row 2 the"):
            labels_of("groups_y", labels, 4)
