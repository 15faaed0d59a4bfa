"""Coupled chains meet, and their corrected means have no bias: bounds of 4.5 to 5.5 errors."""

import warnings

import numpy as np
import pytest
from numba import njit

import smcweights as smw
from smcweights.statespace import kernels

from . import tiny
from .test_filtering import LINEAR, Y

H = smw.functionals.sum_of_products


@pytest.mark.slow
def test_coupled_chains_meet_and_are_unbiased():
    est = smw.unbiased_smoothing(LINEAR, Y[:20], H, 40, 40, seed=1)
    exact = smw.kalman_smoother(LINEAR, Y[:20])
    truth = (exact.means[1:] * exact.means[:-1] + exact.lag_one_covariances).sum()
    assert abs(est.value - truth) < 5.5 * est.standard_error
    assert est.standard_error < 1.0
    assert est.diagnostics["meeting_times"].max() < 100


@pytest.mark.slow
def test_single_sums_of_coupled_chains_are_unbiased_on_the_tiny_chain_sees_0_5():
    """First = last = 0: nothing but corrections; PaRIS alone is off by -0.55 with 5 particles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        est = smw.unbiased_smoothing(
            tiny.MODEL, tiny.Y, tiny.functional, 5, 2_000,
            initial_functional=tiny.initial_functional, first=0, last=0, seed=2,
        )  # fmt: skip
    assert abs(est.value - tiny.TRUTH) < 4.5 * est.standard_error
    assert est.standard_error < 0.11


@pytest.mark.slow
def test_coupled_indices_have_their_laws():

    rng = np.random.default_rng(1)
    w, v = np.array([0.5, 0.3, 0.0, 0.2]), np.array([0.1, 0.3, 0.4, 0.2])
    common, rest, other = np.empty(4), np.empty(4), np.empty(4)
    njit(kernels.fill_coupled.py_func)(w, v, common, rest, other)
    runs = 40_000
    both = np.zeros(2, dtype=np.int64)
    draws = np.empty((runs, 2), dtype=int)
    draw_coupled = njit(kernels.draw_coupled.py_func)
    for r in range(runs):
        draw_coupled(rng, common, rest, other, both)
        draws[r] = both
    for k, law in enumerate((w, v)):
        counts = np.bincount(draws[:, k], minlength=4) / runs
        assert (np.abs(counts - law) < 5.5 * np.sqrt(law / runs) + 1e-12).all()
    same = np.mean(draws[:, 0] == draws[:, 1])
    assert abs(same - 0.6) < 5.5 * np.sqrt(0.24 / runs)
