"""What can't be promised is said: nothing seen, few draws, one value, heavy tails."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sequential import repeated

import smcweights as smw

from .cases import told


def test_what_was_never_hit_has_an_upper_limit():
    with pytest.warns(smw.PrecisionWarning, match="no draw gave a value other than 0"):
        est = smw.adaptive_importance_sampling(
            lambda x: (x > 6).all(axis=1), [stats.norm()] * 3, 1_000, seed=15
        )
    lower, upper = est.interval()
    assert est.value == 0
    assert lower == 0
    assert 0 < upper < 0.1
    assert est.standard_error > 0


@pytest.mark.slow
def test_heavy_tails_are_called_by_name():
    with pytest.warns(smw.PrecisionWarning, match="k-hat"):
        smw.adaptive_importance_sampling(
            lambda x: np.abs(x[:, 0]) ** -0.9, [stats.norm()], 5_000, seed=6
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("integrand", "truth"),
    [
        (lambda x: x[:, 0] < 5.5, stats.norm.cdf(5.5)),
        (lambda x: 1 + 1000 * (x[:, 0] > 4.5), 1 + 1000 * stats.norm.sf(4.5)),
    ],
    ids=["nearly sure", "a rare jump"],
)
def test_what_hardly_varies_is_looked_for(integrand, truth):
    """As 50 seeds, which see a coverage of 0.57 with probability 0.99."""
    repeated(
        lambda seed: smw.adaptive_importance_sampling(integrand, [stats.norm()], 5_000, seed=seed),
        truth,
        50,
    )


def test_a_value_that_never_varied_is_told():
    """Plain draws can't tell 1 from a value that differs on a part as likely as 3 in n."""
    with pytest.warns(smw.PrecisionWarning, match="every draw gave the same value"):
        est = smw.adaptive_importance_sampling(
            lambda x: np.full(len(x), 7), [stats.norm()], 1_000, seed=16
        )
    assert est.value == 7
    assert 7 / 1_000 < est.standard_error < 0.3
    with pytest.warns(smw.PrecisionWarning, match="every draw gave the same value"):
        est = smw.importance_sampling(
            lambda x: x[:, 0] < 9, stats.norm(), stats.norm(1, 1), 1_000, seed=16
        )
    lower, upper = est.interval()
    assert lower < stats.norm.cdf(9) <= upper


def test_an_expectation_that_may_not_exist_is_asked_about():
    told(
        r"at input \[.*ask whether the expectation",
        smw.importance_sampling,
        lambda x: np.abs(x[:, 0]),
        stats.cauchy(),
        stats.cauchy(),
        2_000,
        seed=3,
    )
    with pytest.raises(smw.ModelError, match=r"at input \[.*expectation exist"):
        smw.adaptive_importance_sampling(
            lambda x: np.exp(x[:, 0] ** 2), stats.norm(), 5_000, seed=1
        )


def test_intervals_of_indicators_stay_between_0_and_1():
    """Others keep theirs; so do reweighted ones."""

    def often(x):
        return np.stack([x[:, 0] < 2.2, 1 + 0.001 * x[:, 0], x[:, 0] > 2.4], axis=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        est = smw.adaptive_importance_sampling(
            often, [stats.norm()], 100, control_variates=False, seed=1
        )
        given = smw.importance_sampling(often, stats.norm(), stats.norm(0, 2), 30, seed=1)
        moved = smw.reweight(given, {"a": stats.norm(), "b": stats.norm(0.1)}, least_effective=5)
    for one in (est, given, moved[:3], moved[3:]):
        lower, upper = one.interval(0.9999)
        half = one.value - one.standard_error
        assert lower[0] < half[0] and upper[0] <= 1
        assert lower[2] >= 0 and upper[1] > 1
    assert given[0].interval(0.9999)[1] <= 1 < given["E2"].interval(0.9999)[1]
