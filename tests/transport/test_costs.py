"""Costs on the line and around the plane against quantile functions and dense angles."""

import math

import numpy as np
import pytest
from scipy import stats

import smcweights as smw

from .truths import line_cost, mixture, quietly


@pytest.mark.parametrize("p", [1, 2.5])
def test_on_the_line_it_is_exact(p):
    rng = np.random.default_rng(1)
    x, y, a = rng.normal(size=31), rng.gamma(2, size=44), rng.random(31)
    estimate = smw.sliced_wasserstein(x, y, p=p, weights_x=a)
    assert estimate.value == pytest.approx(line_cost(x, y, p, a) ** (1 / p), rel=1e-12)
    assert estimate.standard_error == 0
    if p == 1:
        assert estimate.value == pytest.approx(stats.wasserstein_distance(x, y, a), rel=1e-12)


@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize("sizes", [(50, 50), (50, 33)])
@pytest.mark.parametrize("weighted", [False, True])
def test_costs_of_given_directions(p, sizes, weighted):
    rng = np.random.default_rng(1)
    x, y = mixture(sizes[0], 3, 1), mixture(sizes[1], 3, 2)
    a = rng.random(sizes[0]) if weighted else None
    theta = rng.normal(size=(7, 3))
    theta /= np.linalg.norm(theta, axis=1)[:, None]
    estimate = quietly(x, y, p=p, weights_x=a, directions=theta, root=False)
    truth = np.mean([line_cost(x @ t, y @ t, p, a) for t in theta])
    assert estimate.value == pytest.approx(truth, rel=1e-12)
    assert np.isnan(estimate.standard_error)


@pytest.mark.parametrize("case", ["smooth", "grid with ties", "collinear", "duplicates", "equal"])
def test_in_the_plane_the_sweep_is_exact(case):
    rng = np.random.default_rng(5)
    x, y = mixture(60, 2, 1), mixture(60, 2, 2)
    if case == "grid with ties":
        x, y = rng.integers(0, 4, (2, 60, 2)).astype(float)
    elif case == "collinear":
        x = np.outer(rng.normal(size=60), [1.0, 2.0])
    elif case == "duplicates":
        x = np.repeat(x[:20], 3, axis=0)
    elif case == "equal":
        y = x[::-1].copy()
    angle = (np.arange(20_000) + 0.3) * math.pi / 20_000
    theta = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    costs = ((np.sort(theta @ x.T) - np.sort(theta @ y.T)) ** 2).mean(axis=1)
    estimate = smw.sliced_wasserstein(x, y, root=False)
    assert estimate.diagnostics["directions"] == "exact"
    assert estimate.value == pytest.approx(costs.mean(), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("p", [1, 1.3, 2, 3, 7])
@pytest.mark.parametrize("case", ["few", "sizes", "weights", "lattice", "a column of counts"])
def test_in_the_plane_the_sweep_is_exact_for_any_power_and_masses(case, p):
    """Angles by the thousand, between those at which the costs of pairs have a bend or a zero."""
    rng = np.random.default_rng(6)
    x, y, a = rng.normal(size=(5, 2)), rng.normal(size=(5, 2)) + 0.5, None
    if case == "sizes":
        y = rng.normal(size=(8, 2))
    elif case == "weights":
        a = np.r_[rng.random(4), 1e-3]
    elif case == "lattice":
        x, y = rng.integers(0, 3, (40, 2)), rng.integers(0, 3, (60, 2))
    elif case == "a column of counts":
        x[:, 0], y[:, 0] = [0, 0, 1, 1, 2], [0, 1, 1, 1, 2]
    pool = np.unique(np.concatenate([x, y]), axis=0).astype(float)
    gap = (pool[:, None] - pool)[np.triu_indices(len(pool), 1)]
    bends = np.mod(np.arctan2(gap[:, 1], gap[:, 0]) + math.pi / 2, math.pi)
    ends = np.unique(np.r_[0.0, bends, math.pi])
    # nodes crowd at both ends, where a power that is no whole number is not smooth
    t, w = np.polynomial.legendre.leggauss(24)
    u = (t + 1) / 2
    place, share = u * u * (3 - 2 * u), 3 * u * (1 - u) * w
    angle = (ends[:-1, None] + np.diff(ends)[:, None] * place).ravel()
    weight = (np.diff(ends)[:, None] * share).ravel() / math.pi
    theta = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    truth = weight @ [line_cost(x @ t, y @ t, p, a) for t in theta]
    estimate = smw.sliced_wasserstein(x, y, p=p, weights_x=a, root=False)
    assert estimate.standard_error == 0 and estimate.diagnostics["directions"] == "exact"
    assert estimate.value == pytest.approx(truth, rel=1e-8)
    again = smw.sliced_wasserstein(y[::-1], x, p=p, weights_y=a, root=False)
    assert again.value == pytest.approx(estimate.value, rel=1e-11)


def test_copies_of_rows_are_masses_in_the_plane():
    """A table of 60,000 answers has 25 rows that differ, and is exact at once."""
    rng = np.random.default_rng(7)
    x, y = rng.integers(1, 6, (30_000, 2)), rng.integers(1, 6, (20_000, 2))
    (u, a), (v, b) = (np.unique(z, axis=0, return_counts=True) for z in (x, y))
    found = smw.sliced_wasserstein(x, y, p=1)
    masses = {"weights_x": a, "weights_y": b}
    assert found.standard_error == 0
    assert found.value == pytest.approx(smw.sliced_wasserstein(u, v, p=1, **masses).value, 1e-11)


@pytest.mark.parametrize("far", [1e6, 1e9, 1e12, 1e16])
def test_a_point_far_from_the_others_in_the_plane(far):
    """One pair is 1 apart, the other shared: SW_2^2 = 1/4, of squares of up to 1e32."""
    x, y = np.array([[0.0, 0.0], [far, 0.0]]), np.array([[1.0, 0.0], [far, 0.0]])
    found = smw.sliced_wasserstein(x, y, root=False)
    assert found.value == pytest.approx(0.25, rel=1e-14) and found.standard_error == 0


@pytest.mark.parametrize("far", [1e12, 1e16])
@pytest.mark.parametrize("towards", [(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1)])
def test_several_points_that_stand_for_infinity_in_the_plane(far, towards):
    """Near ones moved by v, and far ones by w, an order of their own: mean |shift|^2/2."""
    rng = np.random.default_rng(1)
    near, v, w = 3 * rng.normal(size=(7, 2)), np.array([1.0, -0.5]), np.array([-20.0, 8.0])
    ends = far * np.array(towards) + 2.0 * rng.integers(-9, 9, (4, 2))
    x, y = np.concatenate([near, ends]), np.concatenate([near + v, ends + w])
    found = smw.sliced_wasserstein(rng.permutation(x), y, root=False)
    truth = (7 * (v @ v) + 4 * (w @ w)) / 2 / 11
    assert found.value == pytest.approx(truth, rel=1e-9) and found.standard_error == 0


def test_diagrams_whose_deaths_are_coded_by_large_numbers():
    """By arithmetic of 60 digits at the angles of all swaps."""
    a = [[2.23201301, 2.30992361], [2.79212053, 3.53268734], [0.942383758, 4.08248747]]
    b = [[5.72533791, 18.1300169], [3.67182222, 21.6658844], [14.9374957, 51.4375875]]
    for far, truth in [(1e3, 373.96817601614482), (1e9, 373.99724699038681),
                       (1e12, 373.99724701576337), (1e16, 373.99724701578877)]:  # fmt: skip
        x, y = [*a, [0.522799989, far]], [*b, [2.81675603, far]]
        found = smw.sliced_wasserstein(x, y, root=False)
        assert found.value == pytest.approx(truth, rel=1e-14)
