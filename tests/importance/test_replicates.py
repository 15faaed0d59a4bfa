"""Replicated points tell where their spread is not to be trusted."""

import warnings
from functools import partial

import numpy as np
from scipy import stats

import smcweights as smw

from .cases import UNIT, exponential


def test_heavy_tails_are_said():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        smw.sobol_indices(
            partial(exponential, scale=1.5), [stats.norm()] * 3, 2_000, method="surrogate", seed=1
        )
    assert any("heavy tail" in str(w.message) for w in told)


def test_few_hits_are_said():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = smw.sobol_indices(lambda x: x[:, 0] > 0.995, UNIT, 5_000, method="qmc", seed=1)
    assert any("pairs of points in effect" in str(w.message) for w in told)
    assert any(
        "pairs of points in effect" in text for text in found.indices.diagnostics["warnings"]
    )


def test_an_output_of_few_values_has_no_tail():
    def cells(x):
        return (1 + (x[:, 0] > 0.83)) * (0.2 + (x[:, 1] > 1.1)) * np.sign(x[:, 2] - 0.9)

    law = [stats.uniform(), stats.norm(), stats.beta(0.5, 0.5)]
    for seed in range(2):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            smw.sobol_indices(cells, law, 500, seed=seed)
        assert not any("heavy tail" in str(w.message) for w in said)
