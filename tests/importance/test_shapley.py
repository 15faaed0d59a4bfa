"""Shapley effects against sums over all sets of inputs, in closed form for linear models."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy import stats

import smcweights as smw

from .cases import NORMAL, quiet

CORRELATION = np.array(
    [[1.0, 0.6, 0.0, 0.2], [0.6, 1.0, -0.4, 0.0], [0.0, -0.4, 1.0, 0.3], [0.2, 0.0, 0.3, 1.0]]
)
SLOPES = np.array([1.0, 2.0, -0.5, 1.5])
SCALES = np.array([1.0, 0.5, 2.0, 1.0])
LAW = smw.GaussianCopula([stats.norm(3, s) for s in SCALES], CORRELATION)
NAMES = ["u", "v"]


def linear(x):
    return x @ SLOPES


def conditional_variance(own, slopes, covariance):
    """Variance of the linear model that these inputs have when all others are known."""
    own, given = list(own), [i for i in range(len(slopes)) if i not in own]
    left = covariance[np.ix_(own, own)]
    if given:
        across = covariance[np.ix_(own, given)]
        left = left - across @ np.linalg.solve(covariance[np.ix_(given, given)], across.T)
    return slopes[own] @ left @ slopes[own]


def shares(slopes, covariance, groups):
    """Shapley effects by enumeration of all sets of the groups."""
    g, found = len(groups), np.zeros(len(groups))
    for i in range(g):
        others = [k for k in range(g) if k != i]
        for size in range(g):
            for some in combinations(others, size):
                before = [j for k in some for j in groups[k]]
                gain = conditional_variance([*before, *groups[i]], slopes, covariance)
                gain -= conditional_variance(before, slopes, covariance) if before else 0.0
                found[i] += gain / g / comb(g - 1, size)
    return found / found.sum()


COVARIANCE = CORRELATION * np.outer(SCALES, SCALES)
TRUTH = shares(SLOPES, COVARIANCE, [[0], [1], [2], [3]])


def test_effects_of_dependent_inputs_are_those_of_enumeration():
    """|z| < 5.2 for six numbers: false alarm 1e-6; independent inputs have 0.14 more or less."""
    found = smw.shapley_effects(linear, LAW, 20_000, seed=1)
    off = np.abs(found.effects.value - TRUTH)
    assert (off < 5.2 * found.effects.standard_error).all()
    assert (found.effects.standard_error < 0.02).all()
    assert np.abs(TRUTH - shares(SLOPES, np.diag(SCALES**2), [[0], [1], [2], [3]])).max() > 0.14
    assert found.effects.value.sum() == pytest.approx(1, abs=1e-12)
    assert np.abs(found.effects.covariance.sum(0)).max() < 1e-12
    variance = SLOPES @ COVARIANCE @ SLOPES
    assert abs(found.variance.value - variance) < 5.2 * found.variance.standard_error
    assert abs(found.mean.value - 3 * SLOPES.sum()) < 5.2 * found.mean.standard_error


def test_groups_and_outputs_have_effects_of_their_own():
    """|z| < 5 for four numbers: false alarm 2e-6."""

    def both(x):
        return np.stack([linear(x), x[:, 0] - x[:, 3]], axis=1)

    found = smw.shapley_effects(both, LAW, 9_000, groups=["a", "b", "a", "b"], names=NAMES, seed=2)
    assert found.effects.names == ("u: a", "u: b", "v: a", "v: b")
    other = np.array([1.0, 0.0, 0.0, -1.0])
    truth = [shares(s, COVARIANCE, [[0, 2], [1, 3]]) for s in (SLOPES, other)]
    off = np.abs(found.effects.value - np.concatenate(truth))
    assert (off < 5 * found.effects.standard_error).all()
    assert found.mean.names == found.variance.names == ("u", "v")


def test_independent_inputs_of_a_sum_have_their_sobol_indices():
    """|z| < 5 for two numbers: false alarm 1e-6."""
    found = smw.shapley_effects(
        lambda x: np.exp(x[:, 0]) + 3 * x[:, 1], [stats.uniform(), stats.uniform()], 3_000, seed=3
    )
    own = (np.exp(2) - 1) / 2 - (np.e - 1) ** 2
    truth = np.array([own, 0.75]) / (own + 0.75)
    assert (np.abs(found.effects.value - truth) < 5 * found.effects.standard_error).all()


def test_the_same_bits_for_every_executor_and_from_a_checkpoint(tmp_path):
    options = {"seed": 4, "checkpoint": tmp_path / "run.npz"}
    first = smw.shapley_effects(linear, LAW, 500, **options)
    again = smw.shapley_effects(linear, LAW, 500, **options)
    threads = smw.shapley_effects(linear, LAW, 500, seed=4, executor="threads:2")
    for other in (again, threads):
        np.testing.assert_array_equal(other.effects.value, first.effects.value)
        np.testing.assert_array_equal(other.effects.covariance, first.effects.covariance)


def test_runs_until_the_effects_are_precise():
    rule = smw.Precision(absolute=0.05, max_budget=100_000)
    found = smw.shapley_effects(linear, LAW, precision=rule, seed=5)
    assert rule.reached(found.effects)
    assert found.effects.cost["evaluations"] < 50_000
    assert "Shapley" in " ".join(found.effects.references)


def test_an_output_that_does_not_vary_keeps_the_others():
    def model(x):
        return np.stack([linear(x), np.ones(len(x))], axis=1)

    with pytest.warns(smw.PrecisionWarning, match="did not vary"):
        found = smw.shapley_effects(model, LAW, 500, seed=6)
    assert np.isfinite(found.effects.value[:4]).all()
    assert np.isnan(found.effects.value[4:]).all()
    with pytest.raises(smw.DegeneracyError, match="did not vary"):
        smw.shapley_effects(lambda x: np.ones(len(x)), LAW, 500, seed=6)


def test_a_heavy_tail_is_told():
    with pytest.warns(smw.PrecisionWarning, match="heavy tail"):
        smw.shapley_effects(lambda x: np.exp(3 * x[:, 0]) + x[:, 1], NORMAL, 3_000, seed=7)


@pytest.mark.parametrize(
    ("law", "truth"),
    [
        ([stats.norm(), stats.norm()], [np.e * (np.e - 1), 1.0]),
        # half of c(a) + c(a, b) - c(b); b tells nothing more than a does
        (
            smw.GaussianCopula([stats.norm(), stats.norm()], [[1, 0.5], [0.5, 1]]),
            [
                np.e**2 - (np.e + np.exp(1.25)) / 2,
                (np.exp(1.25) - np.e) / 2,
            ],
        ),
    ],
    ids=["independent", "dependent"],
)
def test_what_grows_far_out_is_drawn_there(law, truth):
    """At least 50 of 60 cover (false alarm 2e-4) and 45 don't warn; before, 10 didn't."""
    slope = float(isinstance(law, list))
    truth, hits, quiet_runs = np.array(truth) / np.sum(truth), 0, 0

    def model(x):
        return np.exp(x[:, 0]) + slope * x[:, 1]

    for seed in range(60):
        found = quiet(smw.shapley_effects, model, law, 2_000, seed=seed).effects
        lower, upper = found.interval()
        hits += bool(((lower < truth) & (truth < upper)).all())
        quiet_runs += not found.cautions
    assert hits >= 50
    assert quiet_runs >= 45


def test_a_law_without_known_conditional_laws_is_refused():
    law = stats.gaussian_kde(np.random.default_rng(1).standard_normal((2, 50)))
    with pytest.raises(ValueError, match="conditional laws"):
        smw.shapley_effects(linear, law, 500)
    with pytest.raises(ValueError, match="budget: got 100; expected at least 250"):
        smw.shapley_effects(linear, LAW, 100)


@pytest.mark.slow
def test_intervals_cover_400_runs_sees_shortfall_of_6_points():
    """Binomial bound 0.88: false alarm 4e-7 for four."""
    hits = np.zeros(4)
    for seed in range(400):
        lower, upper = quiet(smw.shapley_effects, linear, LAW, 1_000, seed=seed).effects.interval()
        hits += (lower < TRUTH) & (upper > TRUTH)
    assert (hits >= stats.binom.ppf(1e-7, 400, 0.95)).all()
