"""Replicated points tell where their spread is not to be trusted."""

import warnings
from functools import partial

import numpy as np
import pytest
from scipy import stats
from sequential import settled

import smcweights as smw

from .cases import NORMAL, UNIT, covered, exponential, lower_bound


def test_heavy_tails_are_said_where_draws_are_not_widened():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = partial(exponential, scale=1.5)
        smw.sobol_indices(model, [stats.norm()] * 3, 2_000, method="surrogate", widen=False, seed=1)
    assert any("heavy tail" in str(w.message) for w in told)


@pytest.mark.slow
def test_a_model_that_breaks_far_out_is_called_there_for_heavy_tails_only():
    """A radius of 0.1 +- 0.016 is a length within 6.1 standard deviations."""
    farthest = []

    def model(x):
        farthest.append(np.abs(x).max())
        return (6 + x[:, 0]) ** 2 * (5 + x[:, 1])

    for seed in (0, 2):
        found = smw.sobol_indices(model, NORMAL, 2_000, seed=seed)
        assert found.indices.diagnostics["widened"] == ["X1", "X2"]
    assert 5 < max(farthest) < 6
    smw.sobol_indices(model, NORMAL, 2_000, widen=0.5, seed=0)
    assert 6 < max(farthest) < 7


def lognormals(sigma):
    """a b + c of independent lognormals with mean 1, and all indices."""
    w = np.exp(sigma**2)
    one, variance = w - 1, w**2 - 1 + w - 1
    law = [stats.lognorm(sigma, scale=np.exp(-(sigma**2) / 2))] * 3
    truth = np.array([one, one, one, one * w, one * w, one]) / variance
    return lambda x: x[:, 0] * x[:, 1] + x[:, 2], law, truth


def exponential_and_normal():
    """exp(x1) + x2: what E[Y^2] needs to know of x1 > 4 no draw of the law shows."""
    v = np.e * (np.e - 1)
    return lambda x: np.exp(x[:, 0]) + x[:, 1], NORMAL, np.array([v, 1, v, 1]) / (v + 1)


@pytest.mark.slow
def test_the_tail_that_carries_the_variance_is_drawn():
    """Errors were 0.02; those of an input that has no tail can't be helped by wider draws."""
    model, law, truth = exponential_and_normal()
    for seed in range(2):
        found = smw.sobol_indices(model, law, 2_000, seed=seed)
        assert found.indices.diagnostics["widened"] == ["X1", "X2"]
        assert np.abs(found.indices.value - truth).max() < 1e-3
        moved = smw.reweight(found, [stats.norm(0.1, 1), stats.norm()])
        v = np.exp(0.2) * np.e * (np.e - 1)
        error = moved.value - np.array([v, 1, v, 1]) / (v + 1)
        assert (np.abs(error) < 6 * moved.standard_error).all()
    bounded = smw.sobol_indices(lambda x: np.exp(9 * x[:, 0]) + x[:, 1], UNIT, 500, seed=1)
    assert "widened" not in bounded.indices.diagnostics


@pytest.mark.parametrize("law", [stats.t(5), stats.t(3), stats.pareto(3), stats.lognorm(1.5)])
def test_a_heavy_law_is_drawn_wider_though_no_output_shows_its_tail(law):
    """Of t(5) every third pilot did not: errors of 0.005, which half of the intervals held."""
    v = law.var()
    truth = np.array([v, 1, v, 1]) / (v + 1)
    found = smw.sobol_indices(lambda x: x[:, 0] + x[:, 1], [law, stats.norm()], 600, seed=4)
    assert found.indices.diagnostics["widened"][0] == "X1"
    assert np.abs(found.indices.value - truth).max() < 1e-10


def test_nothing_is_said_of_a_tail_that_is_known_to_its_end():
    """Three of four runs were warned, of squares whose errors were 1e-12."""
    law = [stats.weibull_min(0.6)] * 3
    for seed in range(2):
        found = smw.sobol_indices(lambda x: x[:, 0] * x[:, 1] + x[:, 2], law, 2_000, seed=seed)
        assert not found.cautions and found.indices.standard_error.max() < 1e-10


def test_a_variance_that_lies_beyond_all_draws_is_told():
    """Of Pareto(5) squared 0.4 % is beyond 7 deviations: a third of intervals held the truth."""
    law = [stats.pareto(5), stats.norm()]
    for seed in range(2):
        with pytest.warns(smw.PrecisionWarning, match="standard deviations out"):
            smw.sobol_indices(lambda x: x[:, 0] ** 2 + x[:, 1], law, 2_000, seed=seed)


def test_light_outputs_of_normal_inputs_teach_polynomials_far_out_too():
    """Errors were 0.004: between the last draws and infinity nothing held the polynomial."""
    root = np.linspace(-12, 12, 4_001)
    weight = stats.norm.pdf(root) * (root[1] - root[0])
    v = weight @ np.tanh(root) ** 2
    truth = np.array([v, 0.25, v, 0.25]) / (v + 0.25)
    found = smw.sobol_indices(lambda x: np.tanh(x[:, 0]) + x[:, 1] / 2, NORMAL, 2_000, seed=2)
    assert np.abs(found.indices.value - truth).max() < 1e-5


def test_draws_stay_where_nothing_calls_for_wider_ones():
    def cells(x):
        return np.sign(x[:, 0] - 0.4) + np.sign(x[:, 1] + 0.9) + 0.0

    found = smw.sobol_indices(cells, [stats.t(5)] * 2, 2_000, seed=1)
    assert "widened" not in found.indices.diagnostics
    light = smw.sobol_indices(cells, NORMAL, 2_000, method="qmc", seed=1)
    assert "widened" not in light.indices.diagnostics


@pytest.mark.slow
@pytest.mark.parametrize("budget", [2_000, 10_000])
@pytest.mark.parametrize(
    "case", [exponential_and_normal(), lognormals(0.5), lognormals(0.8)], ids=["exp", "0.5", "0.8"]
)
def test_intervals_of_heavy_outputs_cover_or_are_told(case, budget):
    """As 100 seeds: they covered 61 to 71 % of the time at either budget, mostly untold.

    Sees 0.70 with probability 0.99, and that more than 30 % are told at the larger budget.
    """
    model, law, truth = case
    inside = []
    for seed in range(100):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = smw.sobol_indices(model, law, budget, seed=seed)
        fine = covered(found.indices, truth) | bool(said)
        inside.append([*fine, budget == 2_000 or not said])
        if settled(inside, 100):
            return
    rate = np.mean(inside, axis=0)
    assert (rate[:-1] >= lower_bound(100)).all() and rate[-1] >= 0.8, rate


@pytest.mark.parametrize("widen", [True, "wide", 0.0, 1.0, -0.5])
def test_a_width_that_makes_no_sense_is_refused(widen):
    with pytest.raises(ValueError, match="widen: got"):
        smw.sobol_indices(exponential, NORMAL, 2_000, widen=widen)


def test_few_hits_are_said():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = smw.sobol_indices(lambda x: x[:, 0] > 0.995, UNIT, 5_000, method="qmc", seed=1)
    assert any("pairs of points in effect" in str(w.message) for w in told)
    assert any(
        "pairs of points in effect" in text for text in found.indices.diagnostics["warnings"]
    )


@pytest.mark.slow
def test_an_output_of_few_values_has_no_tail():
    def cells(x):
        return (1 + (x[:, 0] > 0.83)) * (0.2 + (x[:, 1] > 1.1)) * np.sign(x[:, 2] - 0.9)

    law = [stats.uniform(), stats.norm(), stats.beta(0.5, 0.5)]
    for seed in range(2):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            smw.sobol_indices(cells, law, 500, seed=seed)
        assert not any("heavy tail" in str(w.message) for w in said)
