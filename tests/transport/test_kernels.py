"""Compiled merges against costs by quantiles, and against each other."""

import numpy as np
import pytest

from smcweights.transport import kernels

from .truths import line_cost


def rows(n, seed):
    return np.random.default_rng(seed).normal(size=(3, n)) * (seed + 1)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5])
def test_slopes_are_derivatives_of_costs(p):
    a, b = rows(9, 1), rows(7, 2)
    masses = [w / w.sum() for w in (np.arange(1.0, 10), np.arange(2.0, 9))]
    orders = a.argsort(axis=1), b.argsort(axis=1)
    out, slope_a, slope_b = np.empty(3), np.empty(a.shape), np.empty(b.shape)
    kernels.slopes(a, b, *orders, *masses, p, out, slope_a, slope_b)
    for k in range(3):
        assert out[k] == pytest.approx(line_cost(a[k], b[k], p, *masses), rel=1e-12)
        step = np.zeros(9)
        step[k] = 1e-6
        up, down = (line_cost(a[k] + s, b[k], p, *masses) for s in (step, -step))
        assert slope_a[k, k] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-8)
    # both clouds moved together change nothing
    np.testing.assert_allclose(slope_a.sum(axis=1), -slope_b.sum(axis=1), rtol=1e-12)


def test_slopes_of_equal_sizes_are_those_of_equal_weights():
    a, b = rows(8, 1), rows(8, 2)
    orders = a.argsort(axis=1), b.argsort(axis=1)
    plain, weighted = ((np.empty(3), np.empty(a.shape), np.empty(b.shape)) for _ in range(2))
    kernels.equal_slopes(a, b, *orders, 3.0, *plain)
    kernels.slopes(a, b, *orders, np.full(8, 1 / 8), np.full(8, 1 / 8), 3.0, *weighted)
    for one, other in zip(plain, weighted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("n", [4, 5])
def test_a_pool_split_by_labels_costs_what_its_parts_do(n):
    pool, labels = rows(8, 3), np.zeros(8, dtype=bool)
    labels[[0, 2, 3, 7, 5][:n]] = True
    out = np.empty(3)
    kernels.split_rows(np.sort(pool, axis=1), pool.argsort(axis=1), labels, n, 2.0, out)
    for k in range(3):
        assert out[k] == pytest.approx(line_cost(pool[k, labels], pool[k, ~labels], 2), rel=1e-12)


def test_one_pass_sees_the_largest_and_what_is_no_number():
    def largest(values):
        points, most = values[:, None], np.int64(np.iinfo(np.int64).max)
        bits, mark, sums, squares = kernels.scan(points, points.view(np.int64), most)
        if np.isfinite(values).all():
            assert sums == values.sum() and squares == values @ values
        return np.array(bits).view(np.float64), mark

    values = np.array([1.0, -3.0, 2.0])
    assert largest(values)[0] == 3
    assert largest(values)[1] != largest(values[::-1].copy())[1]
    assert np.isnan(largest(np.array([1.0, np.nan, np.inf]))[0])
    assert largest(np.array([1.0, -np.inf]))[0] == np.inf
