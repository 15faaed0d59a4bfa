"""Integrands given by their logs: exact laws, shifts of thousands, and what is refused."""

import warnings

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights.importance.log_scale import log_table, relative, risen

LAW = [stats.norm(), stats.norm()]
SCALES, PLACES = np.array([0.5, 0.4]), np.array([0.7, -0.4])


def log_bell(x):
    """Log of a product of bells, whose integral under the law is known."""
    return -0.5 * (((x - PLACES) / SCALES) ** 2).sum(1)


TRUTH = (
    np.log(SCALES / np.sqrt(1 + SCALES**2)) - 0.5 * PLACES**2 / (1 + SCALES**2)
).sum()  # of log E exp(log_bell)


def test_logs_and_values_give_the_same_estimate():
    options = {"budget": 3_000, "seed": 1}
    plain = smw.adaptive_importance_sampling(lambda x: np.exp(log_bell(x)), LAW, **options)
    found = smw.adaptive_importance_sampling(log_bell, LAW, log=True, **options)
    assert abs(float(found) - TRUTH) < 5 * found.standard_error
    assert found.standard_error == pytest.approx(plain.standard_error / plain.value, rel=0.5)


@pytest.mark.parametrize("shift", [pytest.param(-1e5, marks=pytest.mark.slow), 1e4])
def test_a_shift_of_the_logs_is_one_of_the_estimate(shift):
    options = {"log": True, "budget": 3_000, "seed": 2}
    near = smw.adaptive_importance_sampling(log_bell, LAW, **options)
    far = smw.adaptive_importance_sampling(lambda x: log_bell(x) + shift, LAW, **options)
    assert float(far) - shift == pytest.approx(float(near), abs=1e-7)
    assert far.standard_error == pytest.approx(near.standard_error, rel=1e-3)


@pytest.mark.slow
def test_signs_zeros_and_several_expectations():
    """E[x_1 bell] is negative or positive, and -inf is a value of zero."""

    def logs(x):
        f = np.stack([x[:, 1], x[:, 0], x[:, 0] > 0.5], axis=1)
        with np.errstate(divide="ignore"):
            return np.log(abs(f)) + log_bell(x)[:, None] - 2_000, np.sign(f)

    found = smw.adaptive_importance_sampling(
        logs, LAW, 6_000, log=True, names=["b", "a", "tail"], seed=3
    )
    mean, sd = PLACES / (1 + SCALES**2), SCALES / np.sqrt(1 + SCALES**2)
    ratios = [abs(mean[1]), mean[0], stats.norm(mean[0], sd[0]).sf(0.5)]
    assert found.diagnostics["sign"].tolist() == [-1.0, 1.0, 1.0]
    z = (found.value - TRUTH + 2_000 - np.log(ratios)) / found.standard_error
    assert (abs(z) < 5).all(), z


def test_one_input_at_a_time_gives_the_same_bits():
    options = {"log": True, "budget": 500, "seed": 4}
    whole = smw.adaptive_importance_sampling(lambda x: -abs(x[:, 0]), LAW, **options)
    one = smw.adaptive_importance_sampling(
        lambda x: (-abs(x[0]), 1.0), LAW, vectorized=False, **options
    )
    assert float(one) == pytest.approx(float(whole), rel=1e-12)


@pytest.mark.slow
def test_a_precision_is_that_of_the_log():
    found = smw.adaptive_importance_sampling(
        log_bell, LAW, precision=smw.Precision(absolute=0.02), log=True, seed=5
    )
    lower, upper = found.interval()
    assert upper - lower <= 0.0401
    assert abs(float(found) - TRUTH) < 0.06


def test_a_function_that_is_zero_everywhere_has_no_log():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        found = smw.adaptive_importance_sampling(
            lambda x: np.full(len(x), -np.inf), LAW, 500, log=True, seed=6
        )
    assert np.isnan(found.value) and np.isnan(found.standard_error)
    assert "no-hit" in [caution.code for caution in found.cautions]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: np.full(len(x), np.nan), "log value 1 is nan at input"),
        (lambda x: np.full(len(x), np.inf), "log value 1 is inf at input"),
        (lambda x: (x[:, 0], np.full(len(x), 0.5)), "sign 1 is 0.5 at input"),
        (lambda x: (x[:, 0], 1.0), "expected logs and their signs, of one shape"),
        (lambda x: 1.0, r"returned shape \(\) for inputs"),
    ],
)
def test_what_a_function_may_not_return(returned, message):
    with pytest.raises(smw.ModelError, match=message):
        smw.adaptive_importance_sampling(returned, LAW, 500, log=True, seed=7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "sum"}, "objective: got 'sum'; with log=True expected"),
        ({"budget": None, "precision": smw.Precision(relative=0.1)}, "expected absolute alone"),
        (
            {"integrand": smw.under_laws(lambda x: x[:, 0], LAW, {"a": LAW})},
            "log: expected False for what under_laws made",
        ),
    ],
)
def test_what_does_not_go_with_logs_is_refused(change, message):
    right = {"integrand": log_bell, "law": LAW, "budget": 500, "seed": 8}
    with pytest.raises(ValueError, match=message):
        smw.adaptive_importance_sampling(**right | change, log=True)


def test_levels_rise_by_five_or_not_at_all():
    raw = log_table(np.array([[-3.0, -np.inf], [-9.0, -np.inf]]), np.zeros((2, 1)))
    level = risen(None, raw)
    assert level.tolist() == [-3.0, -np.inf]
    assert relative(raw, level)[:, 1].tolist() == [0.0, 0.0]
    more = log_table(np.array([[1.0, -700.0]]), np.zeros((1, 1)))
    assert risen(level, more).tolist() == [-3.0, -700.0]
    assert relative(more, np.array([-3.0, -700.0])) == pytest.approx(np.array([[np.exp(4), 1.0]]))
