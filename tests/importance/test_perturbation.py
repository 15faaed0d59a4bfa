"""Perturbation studies against closed forms."""

import numpy as np
import pytest
from scipy import stats

import smcweights as smw

from .cases import LAW


def test_a_perturbation_study_of_shifts_and_scales(stored):
    study = smw.perturbation_study(stored, LAW, shifts=[-0.5, 0, 0.5])
    value, lower, upper = study.table()
    assert value.shape == (2, 3, 2)
    truth = 1 + np.array([0.25, 0, 0.25]) + 1
    half = (upper - lower)[0, :, 0] / 2
    assert (np.abs(value[0, :, 0] - truth) < 2.6 * half).all()
    # the tail of a doesn't depend on b
    assert (np.abs(value[1, :, 1] - stats.norm.sf(2)) < 2.6 * (upper - lower)[1, :, 1] / 2).all()
    assert len(study.summary()) == 12
    wider = smw.perturbation_study(stored, LAW, scales=[0.8, 1.1], inputs=["a"])
    value, lower, upper = wider.table()
    half = (upper - lower)[0, :, 0] / 2
    assert (np.abs(value[0, :, 0] - (1 + np.array([0.64, 1.21]))) < 2.6 * half).all()
    import matplotlib.pyplot as plt

    ax = study.plot(expectation=1)
    assert len(ax.lines) == 2
    plt.close(ax.figure)
    with pytest.raises(ValueError, match="expectation 2 of 2"):
        study.plot(expectation=2)


def test_a_study_is_of_the_law_that_the_estimate_was_made_with():
    law = {"a": stats.expon(scale=2), "b": stats.norm()}
    estimate = smw.adaptive_importance_sampling(lambda x: x[:, 0], law, 1_000, seed=1)
    with pytest.raises(ValueError, match="law: is not the one"):
        smw.perturbation_study(
            estimate, {"a": stats.expon(scale=1.3), "b": stats.norm()}, shifts=[0.0]
        )
    unnamed = smw.perturbation_study(estimate, list(law.values()), shifts=[0.0])
    assert unnamed.inputs == ("a", "b")
