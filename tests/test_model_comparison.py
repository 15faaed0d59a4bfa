"""Model probabilities: Bayes' rule, errors on the scale of log odds, and what is refused."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.special import expit

import smcweights as smw
from smcweights import Estimate, model_probabilities
from smcweights.pooling import log_bayes_factor


def evidence(value, error=0.1, seed=None, freedom=np.inf):
    source = {} if seed is None else {"seed": seed}
    return Estimate(value, error**2, degrees_of_freedom=freedom, provenance=source)


def test_probabilities_are_bayes_rule():
    models = {"a": evidence(-3_000.0), "b": evidence(-3_001.0), "c": evidence(-3_002.5)}
    sizes = np.exp([0.0, -1.0, -2.5]) * [1.0, 2.0, 4.0]
    found = model_probabilities(models, prior={"c": 4.0, "a": 1.0, "b": 2.0})
    np.testing.assert_allclose(found.value, sizes / sizes.sum())
    table = found.summary()
    assert list(table.index) == ["a", "b", "c"]
    np.testing.assert_allclose(table["log_bayes_factor"], [0.0, -1.0, -2.5])
    np.testing.assert_allclose(found.covariance.sum(0), 0.0, atol=1e-15)
    ax = found.plot()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    plt.close("all")


def test_of_two_models_the_interval_is_that_of_the_bayes_factor():
    a, b = evidence(-10.0, 0.4, 1, 9), evidence(-11.0, 0.2, 2, 5)
    found = model_probabilities({"a": a, "b": b})
    ends = expit(np.array(log_bayes_factor(a, b).interval()))
    np.testing.assert_allclose(np.array(found.interval())[:, 0], ends, rtol=1e-9)
    np.testing.assert_allclose(np.array(found.interval())[::-1, 1], 1 - ends, rtol=1e-9)


def test_one_that_is_all_but_certain_keeps_the_error_of_the_others():
    found = model_probabilities({"a": evidence(0.0), "b": evidence(-60.0)})
    lower, upper = found.interval()
    assert 0 < lower[1] < found.value[1] < upper[1] < 1e-25
    np.testing.assert_allclose(upper[1] / found.value[1], np.exp(1.96 * 0.1 * 2**0.5), rtol=1e-3)


def test_one_that_is_out_of_the_question_is_no_overflow():
    found = model_probabilities({"a": evidence(0.0), "b": evidence(-5_000.0)})
    np.testing.assert_array_equal(found.value, [1.0, 0.0])


@pytest.mark.slow
def test_intervals_cover_1000_sets_sees_shortfall_of_3_points():
    """Binomial bounds at 95 %, false alarm 1e-6 for each of the three models."""
    rng, log_z, errors = np.random.default_rng(1), np.array([0.0, -0.5, -2.0]), (0.3, 0.1, 0.2)
    truth = np.exp(log_z) / np.exp(log_z).sum()
    held = np.zeros(3)
    for _ in range(1_000):
        drawn = log_z + rng.normal(0, errors)
        models = {name: evidence(v, e) for name, v, e in zip("abc", drawn, errors, strict=True)}
        lower, upper = model_probabilities(models).interval()
        held += (lower <= truth) & (truth <= upper)
    assert ((held >= 915) & (held <= 980)).all(), held


def test_large_errors_are_said():
    with pytest.warns(smw.PrecisionWarning, match="a log odds has an error of 0.7"):
        found = model_probabilities({"a": evidence(0.0, 0.7), "b": evidence(0.0, 0.0)})
    assert found.cautions[-1].code == "rough-odds"
    lost = model_probabilities({"a": evidence(0.0, np.nan), "b": evidence(0.0)})
    assert np.isnan(lost.standard_error).all()
    assert np.isnan(lost.interval()).all()


@pytest.mark.parametrize(
    ("models", "prior", "said"),
    [
        ([evidence(0.0), evidence(1.0)], None, "models: got .*expected a dict"),
        ({"a": evidence(0.0)}, None, "models: got 1; expected at least two"),
        ({"a": evidence(0.0), "b": 3.0}, None, "models: 'b': got 3.0; expected an Estimate"),
        ({"a": evidence(0.0, seed=1), "b": evidence(1.0, seed=1)}, None, "the same seed"),
        ({"a": evidence(0.0), "b": evidence(0.0)}, {"a": 1.0}, r"prior: got \['a'\]; expected"),
        ({"a": evidence(0.0), "b": evidence(0.0)}, {"a": 1.0, "b": 0.0}, "numbers above 0"),
        ({"a": evidence(0.0), "b": evidence(0.0)}, [0.5, 0.5], "prior: got .*expected a dict"),
    ],
)
def test_what_is_wrong_is_refused(models, prior, said):
    with pytest.raises((TypeError, ValueError), match=said):
        model_probabilities(models, prior=prior)
