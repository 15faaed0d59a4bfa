"""Control variates: the error of an estimated mean is counted."""

import numpy as np
import pytest
from scipy import stats

import smcweights as smw


@pytest.mark.slow
def test_the_error_of_a_surrogate_s_mean_is_counted():
    """The surrogate is the model, so what is left is the error of its mean on 20 n cheap draws."""
    law = [stats.expon()]
    runs = [
        smw.adaptive_importance_sampling(
            lambda x: x[:, 0], law, 400, control_variates=lambda x: x[:, 0], seed=seed
        )
        for seed in range(200)
    ]
    z = np.array([(run.value - 1) / run.standard_error for run in runs])
    # a chi-square of 200: 0.56 to 1.6 but for one in a million
    assert 0.56 < (z**2).mean() < 1.6
    assert np.median([run.standard_error for run in runs]) == pytest.approx(8_000**-0.5, rel=0.15)
