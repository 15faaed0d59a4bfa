"""Runs that fail: the truth is that of truncated laws."""

import numpy as np
import pytest
from scipy import integrate, stats

import smcweights as smw
from smcweights.importance.failed_runs import call_or_fail

from .cases import NORMAL, quiet

EDGE = 1.5  # the model fails where the first input is beyond
LIMIT = 3.5


def broken(x):
    """Sum of the inputs and whether it is large; NaN where the first input is."""
    values = np.stack([x.sum(1) + 5, x.sum(1) > LIMIT], axis=1).astype(float)
    values[x[:, 0] > EDGE] = np.nan
    return values


def limit_state(x):
    return np.where(x[:, 0] > EDGE, np.inf, LIMIT - x.sum(1))


def both(x):
    """Mass of large sums where the model runs."""
    return stats.norm.pdf(x) * stats.norm.sf(LIMIT - x)


SHARE = stats.norm.sf(EDGE)
SAFE = integrate.quad(both, -9, EDGE, epsabs=1e-13)[0]
TRUTH = {
    "exclude": SAFE / (1 - SHARE),
    "safe": SAFE,
    "failure": SAFE + SHARE,
}


def scores(estimate, truth):
    return np.abs(np.asarray(estimate.value) - truth) / estimate.standard_error


def test_without_failed_runs_the_answer_is_that_of_the_law_where_the_model_runs():
    """|z| < 5 for three numbers: false alarm 2e-6."""
    found = quiet(smw.adaptive_importance_sampling, broken, NORMAL, 4_000, seed=1, failed="exclude")
    mean = 5 + stats.truncnorm(-np.inf, EDGE).mean()
    assert (scores(found, [mean, TRUTH["exclude"]]) < 5).all()
    # without the division both would be 7 % off, three and two standard errors at least
    assert (found.standard_error < 0.05 * found.value).all()
    share = found.diagnostics["failed_share"]
    assert share["lower"] < SHARE < share["upper"] < 2 * SHARE
    assert found.diagnostics["first_failed"][0] > EDGE
    sample = found.sample
    failed = sample["failed"].values
    assert failed.any() and (sample["inputs"].values[failed, 0] > EDGE).all()
    np.testing.assert_array_equal(np.isnan(sample["values"].values).all(1), failed)
    assert [c.code for c in found.cautions] == ["failed-runs"]
    with pytest.raises(ValueError, match="failed"):
        smw.reweight(found, NORMAL)


@pytest.mark.parametrize("policy", ["exclude", "safe", "failure"])
def test_a_limit_state_that_fails_counts_as_asked(policy):
    """|z| < 5: false alarm 6e-7 each; the truths are 7 % apart at least."""
    found = quiet(smw.failure_probability, limit_state, NORMAL, 3_000, seed=2, failed=policy)
    assert scores(found, TRUTH[policy]) < 5
    assert found.standard_error < 0.06 * found.value


def test_bounds_reach_from_safe_to_failure():
    found = quiet(smw.failure_probability, limit_state, NORMAL, 8_000, seed=3, failed="bounds")
    for level in (0.5, 0.8, 0.95, 0.999):
        lower, upper = found.interval(level)
        # both ends beyond the truths by their own errors, under 2 per cent
        assert 0.7 * SAFE < lower < 1.1 * SAFE
        assert 0.9 * TRUTH["failure"] < upper < 1.1 * TRUTH["failure"]
    lower, upper = found.interval()
    assert lower < SAFE and TRUTH["failure"] < upper
    assert found.value == pytest.approx((SAFE + TRUTH["failure"]) / 2, rel=0.05)
    assert found.standard_error == pytest.approx((upper - lower) / 2 / 1.96, rel=1e-3)


def test_bounds_of_an_integrand_are_its_users():
    found = quiet(
        smw.adaptive_importance_sampling,
        lambda x: broken(x)[:, 0],
        NORMAL,
        2_000,
        seed=4,
        failed="bounds",
        bounds=(-20.0, 30.0),
    )
    ran = (5 + stats.truncnorm(-np.inf, EDGE).mean()) * (1 - SHARE)
    lower, upper = found.interval()
    assert lower < ran - 20 * SHARE and ran + 30 * SHARE < upper
    assert upper - lower < 60 * SHARE + 1
    with pytest.raises(ValueError, match="bounds: got None"):
        smw.adaptive_importance_sampling(broken, NORMAL, 2_000, seed=4, failed="bounds")


def test_where_nothing_fails_the_answer_is_the_same_and_the_share_has_a_limit():
    def model(x):
        return (x.sum(1) > LIMIT).astype(float)

    plain = smw.adaptive_importance_sampling(model, NORMAL, 2_000, seed=5)
    found = smw.adaptive_importance_sampling(model, NORMAL, 2_000, seed=5, failed="exclude")
    assert found.value == pytest.approx(float(plain.value), rel=1e-12)
    assert found.standard_error == pytest.approx(float(plain.standard_error), rel=1e-9)
    share = found.diagnostics["failed_share"]
    assert share["value"] == 0 and 0 < share["upper"] < 0.05 and not found.cautions


def test_exceptions_that_are_listed_count():
    def one(x):
        if x[0] > EDGE:
            raise ZeroDivisionError("no convergence")
        return float(x.sum() > LIMIT)

    options = {"vectorized": False, "seed": 6, "failed": "exclude"}
    found = quiet(
        smw.adaptive_importance_sampling,
        one,
        NORMAL,
        1_000,
        failed_exceptions=[ZeroDivisionError],
        **options,
    )
    assert scores(found, TRUTH["exclude"]) < 5
    with pytest.raises(ZeroDivisionError, match="no convergence"):
        smw.adaptive_importance_sampling(one, NORMAL, 1_000, **options)


def test_a_batch_that_raises_is_called_row_by_row():
    def many(x):
        if (x[:, 0] > 0).any():
            raise ArithmeticError
        return x

    x = np.array([[-1.0, 2.0], [1.0, 3.0], [-2.0, 4.0]])
    found = call_or_fail(many, True, (ArithmeticError,), x)
    np.testing.assert_array_equal(found, [[-1.0, 2.0], [np.nan, np.nan], [-2.0, 4.0]])
    assert call_or_fail(many, True, (ArithmeticError,), x[1:2]).shape == (1, 0)


def test_a_model_that_never_runs_is_no_model():
    def never(x):
        return np.full(len(x), np.nan)

    with pytest.raises(smw.ModelError, match="runs failed"):
        smw.adaptive_importance_sampling(never, NORMAL, 1_000, seed=7, failed="exclude")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"failed": "ignore"}, "failed: got 'ignore'"),
        ({"failed": "failure"}, "failed: got 'failure'"),
        ({"failed_exceptions": [ValueError]}, "failed_exceptions"),
        ({"failed": "exclude", "failed_exceptions": ["ValueError"]}, "failed_exceptions"),
        ({"failed": "exclude", "bounds": (0, 1)}, "bounds"),
        ({"failed": "bounds", "bounds": (1, 0)}, "bounds"),
        ({"failed": "bounds", "bounds": (0, 1, 2)}, "bounds"),
    ],
)
def test_wrong_arguments_cost_no_call(options, said):
    def model(x):
        raise AssertionError

    with pytest.raises((ValueError, TypeError), match=said):
        smw.adaptive_importance_sampling(model, NORMAL, 1_000, **options)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["exclude", "bounds"])
def test_intervals_cover_80_runs_sees_shortfall_of_20_points(policy):
    """Binomial bound with a false alarm of 1e-7."""
    low, high = (SAFE, SAFE + SHARE) if policy == "bounds" else (TRUTH["exclude"],) * 2
    hits = 0
    for seed in range(80):
        found = quiet(smw.failure_probability, limit_state, NORMAL, 1_000, seed=seed, failed=policy)
        lower, upper = found.interval()
        hits += lower < low and high < upper
    assert hits >= stats.binom.ppf(1e-7, 80, 0.95)
