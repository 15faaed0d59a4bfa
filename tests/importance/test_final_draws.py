"""Final draws go on until a precision is reached, and no further on what was never seen."""

import warnings

import numpy as np
import pytest
from scipy import stats

import smcweights as smw

NORMAL = [stats.norm()] * 2


TRUTH = np.array([2.0, 5.0, stats.norm.sf(2.5)])


def three(x):
    s = x.sum(axis=1) / np.sqrt(2)
    return np.stack([s + 2, (s + 2) ** 2, s > 2.5], axis=1)


def agrees(estimate, truth, z=5.0):
    """|z| < 5 is broken by chance once in a million."""
    return bool((np.abs(estimate.value - truth) < z * estimate.standard_error).all())


@pytest.mark.slow
def test_a_precision_is_reached_and_covers_400_times():
    """Binomial bounds 0.893 to 0.985: one false alarm in a million."""
    law = [stats.gamma(2)]
    covered = 0
    for seed in range(400):
        est = quiet(
            smw.adaptive_importance_sampling,
            lambda x: x[:, 0] ** 2,
            law,
            precision=smw.Precision(relative=0.03),
            seed=seed,
        )
        lower, upper = est.interval()
        assert (upper - lower) / 2 <= 0.03 * est.value * (1 + 1e-9)
        covered += lower <= 6 <= upper
    assert 0.893 < covered / 400 < 0.985


def test_a_precision_out_of_reach_says_so():
    with pytest.warns(smw.PrecisionWarning, match="not reached within max_budget=3000"):
        est = smw.adaptive_importance_sampling(
            three, NORMAL, precision=smw.Precision(absolute=1e-9, max_budget=3_000), seed=8
        )
    assert est.cost["evaluations"] <= 3_000
    assert agrees(est, TRUTH)


def quiet(call, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        return call(*args, **kwargs)


def test_a_precision_does_not_stop_on_what_never_varied():
    with pytest.warns(smw.PrecisionWarning, match="every draw gave the same value"):
        est = smw.adaptive_importance_sampling(
            lambda x: x[:, 0] < 30,
            [stats.norm()],
            precision=smw.Precision(absolute=1e-3, max_budget=200_000),
            seed=1,
        )
    lower, upper = est.interval()
    assert upper - lower < 2.1e-3
    # the rule of three: 3,000 draws of the input law at least
    assert est.cost["evaluations"] > 3_000
