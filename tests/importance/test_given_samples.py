"""Sobol' indices from a sample at hand."""

import numpy as np
import pandas as pd
import pytest

import smcweights as smw
from smcweights import problems
from smcweights.importance.laws import as_law

from .cases import bounds, covered, quiet


def sampled(problem, n, seed):
    x = as_law(problem.law).sample(np.random.default_rng(seed), n)
    return x, problem.function(x)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ishigami", "g_function"])
def test_first_order_from_a_sample_covers(name):
    problem = getattr(problems, name)()
    expected = np.array(problem.truth["first"])
    found = [
        smw.sobol_from_sample(*sampled(problem, 1_000, s), order="first", seed=s)
        for s in range(400)
    ]
    rate = np.mean([covered(r.first, expected) for r in found], axis=0)
    low, high = bounds(400)
    # the bias of 1/n is some hundredths of the standard error, and noise is rounded up
    assert ((rate >= low) & (rate <= max(high, 0.985))).all(), rate
    reported = np.mean([r.first.covariance for r in found], axis=0)
    spread = np.cov(np.array([r.first.value for r in found]).T)
    ratio = np.diag(reported) / np.diag(spread)
    assert ((ratio > 0.75) & (ratio < 1.5)).all(), ratio


@pytest.mark.slow
@pytest.mark.parametrize("law", ["exponential", "standard_t"])
def test_intervals_hold_under_laws_with_far_rows(law):
    """x1 + 2 x2: products of neighbours alone err by a standard error; 84 and 33 % hold x2's."""
    variance = {"exponential": 1.0, "standard_t": 5 / 3}[law]
    draw = (5,) if law == "standard_t" else (1.0,)
    held, z = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = np.stack([rng.standard_normal(1_000), getattr(rng, law)(*draw, 1_000)], axis=1)
        first = quiet(smw.sobol_from_sample, x, x[:, 0] + 2 * x[:, 1], order="first").first
        truth = np.array([1, 4 * variance]) / (1 + 4 * variance)
        held.append(covered(first, truth))
        z.append((first.value - truth) / first.standard_error)
    low, high = bounds(300)
    rate = np.mean(held, axis=0)
    assert ((rate >= low) & (rate <= max(high, 0.985))).all(), rate
    assert (np.abs(np.mean(z, axis=0)) < 0.5).all(), np.mean(z, axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["square", "exponential"])
def test_intervals_without_a_warning_hold_and_most_have_none(kind):
    """Where tails were suspected too soon, half and three in four warned; .86 of others held."""
    part = 2 / 3 if kind == "square" else 1 / 5
    held, warned = [], []
    for seed in range(400):
        rng = np.random.default_rng(10_000 + seed)
        x = rng.normal(size=(1_000, 2)) if kind == "square" else rng.exponential(size=(1_000, 2))
        y = x[:, 0] + (x[:, 1] ** 2 / 2 if kind == "square" else 2 * x[:, 1])
        first = quiet(smw.sobol_from_sample, x, y, order="first", seed=seed).first
        held.append(covered(first, np.array([part, 1 - part])))
        warned.append(bool(first.cautions))
    quietly = ~np.array(warned)
    assert quietly.mean() > 0.4, quietly.mean()
    low, _ = bounds(quietly.sum())
    assert (np.array(held)[quietly].mean(axis=0) >= low).all(), np.array(held)[quietly].mean(axis=0)


def test_a_constant_input_is_named_and_has_no_part():
    x = np.random.default_rng(5).normal(size=(300, 3))
    x[:, 1] = 4.2
    found = quiet(smw.sobol_from_sample, x, x[:, 0] + x[:, 2], inputs=["a", "wall", "b"], seed=1)
    text = "input wall has the same value in all rows: its indices are 0"
    assert ("constant-input", text) in [(c.code, c.text) for c in found.cautions]
    assert found.first.value[1] == found.total.value[1] == found.first.standard_error[1] == 0
    assert found.first.value[[0, 2]] == pytest.approx(0.5, abs=0.15)
    both = quiet(smw.sobol_from_sample, x, np.stack([x[:, 0], np.ones(300)], axis=1), seed=1)
    assert np.isnan(both.first.value[3:]).all()


def test_what_is_linear_in_an_input_is_all_of_that_input_however_far_its_rows():
    """Products of neighbours alone find 0.73 and 0.70 of it here."""
    x = np.random.default_rng(4).standard_t(2, size=(400, 2))
    for y in (3 * x[:, 0] + 1e3, np.abs(x[:, 0])):
        first = quiet(smw.sobol_from_sample, x, y, order="first", seed=1).first
        assert first.value[0] == pytest.approx(1, abs=1e-3), first
    # one value of the input, or two: no line goes through the rows of one
    x = np.stack([np.arange(400) % 2, np.full(400, 7.0), x[:, 0]], axis=1)
    with pytest.warns(smw.PrecisionWarning, match=r"input X2 has the same value"):
        first = smw.sobol_from_sample(x, x[:, 0], order="first", seed=1).first
    assert np.isfinite(first.standard_error).all()
    np.testing.assert_allclose(first.value, [1, 0, 0], atol=0.25)


def test_totals_from_a_sample_come_near_and_promise_nothing():
    problem = problems.ishigami()
    with pytest.warns(smw.PrecisionWarning, match="no standard error"):
        found = smw.sobol_from_sample(*sampled(problem, 4_000, 1), inputs=list("abc"), seed=1)
    np.testing.assert_allclose(found.total.value, problem.truth["total"], atol=0.06)
    assert np.isnan(found.total.standard_error).all()
    assert np.isfinite(found.first.standard_error).all()
    assert found.total.names == ("a", "b", "c")
    assert abs(found.mean.value - 3.5) < 5 * found.mean.standard_error


def test_ties_of_a_discrete_input_are_ordered_at_random():
    """y = x1 + x2 with x1 in {0, 1}, x2 in {0, 1, 2}: variances 1/4 and 2/3."""
    rng = np.random.default_rng(6)
    x = np.stack([rng.integers(0, 2, 6_000), rng.integers(0, 3, 6_000)], axis=1)
    found = smw.sobol_from_sample(x, x.sum(1), order="first", seed=1)
    z = (found.first.value - np.array([3 / 11, 8 / 11])) / found.first.standard_error
    assert (np.abs(z) < 5).all()


def test_an_output_that_does_not_vary_costs_the_others_nothing():
    """Alone, the other outputs have the same indices and errors."""
    x = np.random.default_rng(1).random((500, 2))
    y = np.stack([np.full(500, 3.0), x[:, 0] + x[:, 1], x[:, 0] + 2 * x[:, 1]], axis=1)
    with pytest.warns(smw.PrecisionWarning) as seen:
        found = smw.sobol_from_sample(x, y, seed=1)
        alone = smw.sobol_from_sample(x, y[:, 1:], seed=1)
    assert sum("output Y1: did not vary" in str(w.message) for w in seen) == 1
    for part, other in ((found.first, alone.first), (found.total, alone.total)):
        assert np.isnan(part.value[:2]).all() and np.isnan(part.standard_error[:2]).all()
        np.testing.assert_array_equal(part.value[2:], other.value)
    np.testing.assert_allclose(found.first.covariance[2:, 2:], alone.first.covariance, rtol=1e-12)
    assert (np.abs(found.first.value[2:4] - 0.5) < 5 * found.first.standard_error[2:4]).all()
    with pytest.raises(smw.DegeneracyError, match="'Y' does not vary"):
        smw.sobol_from_sample(x, y[:, 0])


def test_columns_of_tables_become_names():
    table = pd.DataFrame(np.random.default_rng(1).random((200, 2)), columns=["load", "length"])
    y = pd.DataFrame({"mass": table.load, "stress": table.load * table.length})
    found = smw.sobol_from_sample(table, y, order="first", seed=1)
    assert found.inputs == ("load", "length") and found.outputs == ("mass", "stress")
    assert found.first.names[0] == "mass: load"
    plain = smw.sobol_from_sample(table.to_numpy(), y.to_numpy(), order="first", seed=1)
    np.testing.assert_array_equal(found.first.value, plain.first.value)
    assert smw.sobol_from_sample(table, y.mass, order="first", seed=1).outputs == ("mass",)
    named = smw.sobol_from_sample(table, y, order="first", inputs=["a", "b"], names=["c", "d"])
    assert named.inputs == ("a", "b") and named.outputs == ("c", "d")


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (np.ones((99, 2)), np.ones(99), {}, "at least 100"),
        (np.ones((100, 2)), np.ones(99), {}, "got shapes"),
        (np.full((100, 2), np.nan), np.ones(100), {}, "row 0 has nan"),
        (np.arange(100.0)[:, None], np.arange(100.0), {}, "single input"),
        (
            np.arange(200.0).reshape(100, 2),
            np.arange(100.0),
            {"order": "second"},
            "expected one of 'first', 'total'",
        ),
        (np.arange(200.0).reshape(100, 2), np.arange(100.0), {"inputs": ["a"]}, "2 different"),
    ],
    ids=["few", "lengths", "nan", "single", "second", "names"],
)
def test_wrong_samples_are_named(x, y, options, message):
    with pytest.raises(ValueError, match=message):
        smw.sobol_from_sample(x, y, **options)


def test_repeated_rows_are_refused_and_dependent_inputs_told():
    rng = np.random.default_rng(3)
    x = np.repeat(rng.random((300, 2)), 4, axis=0)
    with pytest.raises(ValueError, match="row 1 repeats an earlier one"):
        smw.sobol_from_sample(x, x.sum(1), order="first")
    one = rng.random((400, 1))
    with pytest.warns(smw.PrecisionWarning, match="'X1' and 'X2' have a rank correlation"):
        smw.sobol_from_sample(np.hstack([one, one]), one[:, 0], order="first", seed=1)
    # inputs of few values repeat rows by right
    few = rng.integers(0, 3, (500, 2)).astype(float)
    found = smw.sobol_from_sample(few, few[:, 0] + 2 * few[:, 1], order="first", seed=1)
    assert (np.abs(found.first.value - [0.2, 0.8]) < 5 * found.first.standard_error).all()


def test_heavy_tails_are_told_and_light_ones_are_not():
    """A product of lognormals covers 84 to 92 % of the time; a sum of normals needs no caution."""
    rng = np.random.default_rng(2)
    x = rng.lognormal(0, 0.8, (1_000, 2))
    y = np.stack([x.prod(1), np.log(x).sum(1)], axis=1)
    with pytest.warns(smw.PrecisionWarning, match="output heavy: .*heavy tail"):
        smw.sobol_from_sample(x, y, order="first", names=["heavy", "light"], seed=1)
    assert not smw.sobol_from_sample(x, y[:, 1], order="first", seed=1).cautions
    # an indicator has no tail
    assert not smw.sobol_from_sample(x, y[:, 0] > 5, order="first", seed=1).cautions


def test_outputs_of_any_size_and_none_that_is_too_large():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((400, 2))
    y = x[:, 0] + x[:, 1] ** 2
    plain = quiet(smw.sobol_from_sample, x, y, seed=1)
    both = quiet(smw.sobol_from_sample, x, np.stack([y * 2.0**-530, y], axis=1), seed=1)
    np.testing.assert_allclose(both.first.value, np.tile(plain.first.value, 2), rtol=1e-12)
    np.testing.assert_allclose(both.first.standard_error, np.tile(plain.first.standard_error, 2))
    assert both.mean.value[0] == pytest.approx(plain.mean.value * 2.0**-530, rel=1e-12)
    with pytest.raises(ValueError, match="y: column 0 has sizes up to"):
        smw.sobol_from_sample(x, y * 1e80)
