"""Mixture weights against an optimiser, the criterion against its derivative."""

import numpy as np
import pytest
from scipy import optimize

from smcweights.importance.mixing import criterion, mixture_weights


# a step of the optimiser of SciPy 1.15
@pytest.mark.filterwarnings("ignore:Values in x were outside bounds:RuntimeWarning")
@pytest.mark.parametrize("k", [3, 10])
def test_mixture_weights_match_an_optimiser(k):
    rng = np.random.default_rng(8)
    n, j = 1_500, 4
    u = rng.standard_normal((n, 2))
    means = rng.standard_normal((k, 2))
    ratios = np.exp(-0.5 * ((u[:, None] - means) ** 2).sum(2) + 0.5 * (u**2).sum(1)[:, None])
    residuals = ratios[:, : j % k + 1] @ rng.random((j % k + 1, j))
    offset = np.zeros(j)
    scale = np.ones(j)

    def value(alpha):
        return float(((residuals**2).T @ (1 / (ratios @ alpha)) / n).sum())

    start, floor = np.full(k, 1 / k), np.full(k, 0.005)
    found = mixture_weights(
        ratios, residuals, offset, start, floor, scale, "sum", np.full(j, 1e9), steps=300
    )
    best = optimize.minimize(
        value, start, bounds=[(0.005, 1)] * k, method="SLSQP",
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
    )  # fmt: skip
    assert found.sum() == pytest.approx(1)
    assert (found >= 0.005 - 1e-12).all()
    assert value(found) <= value(start)
    assert value(found) <= 1.01 * best.fun


@pytest.mark.parametrize("objective", ["max-relative", "sum-relative", "sum", np.arange(3.0)])
def test_the_slope_of_the_criterion_is_its_derivative(objective):
    variance, scale = np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.5, 3.0])
    value, slope = criterion(variance, scale, objective)
    for i in range(3):
        step = np.eye(3)[i] * 1e-6
        up = criterion(variance + step, scale, objective)[0]
        assert (up - value) / 1e-6 == pytest.approx(slope[i], rel=1e-4, abs=1e-9)
