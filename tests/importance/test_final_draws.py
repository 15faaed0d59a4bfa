"""Rounds of final draws."""

import numpy as np
import pytest

import smcweights as smw

from .cases import NORMAL, smooth_and_tail


@pytest.mark.slow
def test_rounds_are_independent_and_joined_by_their_sizes():
    """Of three rounds at a precision the value is the mean of all draws, control variates aside."""
    rule = smw.Precision(relative=0.04, max_budget=20_000)
    found = smw.adaptive_importance_sampling(
        smooth_and_tail, NORMAL, precision=rule, seed=3, control_variates=False
    )
    assert rule.reached(found)
    sample = found.sample
    terms = sample["values"].values * np.exp(sample["log_weight"].values)[:, None]
    np.testing.assert_allclose(found.value, terms.mean(0), rtol=1e-12)
