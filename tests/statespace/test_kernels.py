"""Kernels are compiled for the types that they are declared with, and found by the next process."""

import subprocess
import sys

import numpy as np
import pytest
from numba import njit

import smcweights as smw
from smcweights import conditional_resample, resample
from smcweights.resampling import CONDITIONAL_SCHEMES, SCHEMES
from smcweights.statespace import kernels

CODES = {"multinomial": 0, "stratified": 1, "systematic": 2, "residual": 3}
PROGRAM = """
import smcweights as smw
from smcweights.statespace import kernels
model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
smw.particle_filter(model, [0.0, 1.0], 2_000, seed=1)
assert not kernels.advance.overloads
found = kernels.filter_forward.stats
print(sum(found.cache_hits.values()), sum(found.cache_misses.values()))
"""


@pytest.mark.slow
def test_a_kernel_of_groups_is_found_on_disk_and_a_filter_waits_for_no_other():
    model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    smw.particle_filter(model, [0.0, 1.0], 2_000, seed=1)
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["1", "0"]


@pytest.mark.slow
def test_a_kernel_is_compiled_once_whatever_the_model():
    for persistence in (0.9, 0.8):
        model = smw.models.stochastic_volatility(persistence, 0.3)
        smw.particle_filter(model, [0.0, 1.0], 2_000, seed=1)
    hmm = smw.models.finite_hmm([0.5, 0.5], np.full((2, 2), 0.5), [0.0, 2.0], [1.0, 1.0])
    smw.particle_filter(hmm, [0.0, 1.0], 2_000, seed=1)
    assert len(kernels.filter_forward.overloads) == 1


@njit
def add_two(x_prev, prev, x, i, y, row, t, theta, out, k):
    out[k, 0] += theta[0] * x_prev[prev, 0] - 2.0 * x[i, 1] + t
    out[k, 1] += y[row, 0] * x[i, 0]
    return 0


@pytest.mark.slow
def test_sums_carried_on_are_means_over_the_ancestors_drawn():
    rng = np.random.default_rng(1)
    n, draws, t, row = 5, 3, 7, 2
    x_prev, x, old = (rng.standard_normal((n, 2)) for _ in range(3))
    y, theta = rng.standard_normal((4, 1)), np.array([0.5])
    picks = rng.integers(0, n, (n, draws)).astype(np.int32)
    ancestors, new = np.zeros(n, dtype=np.int32), np.full((n, 2), np.nan)
    step = kernels.Step(x_prev, np.zeros(n), x, ancestors, t, theta)
    kernels.carry_sums(add_two, step, picks, y, row, old, new)
    first = old[picks, 0] + 0.5 * x_prev[picks, 0] - 2.0 * x[:, None, 1] + t
    second = old[picks, 1] + y[row, 0] * x[:, None, 0]
    truth = np.stack([first.mean(axis=1), second.mean(axis=1)], axis=1)
    np.testing.assert_allclose(new, truth, rtol=1e-13)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_compiled_twin_draws_the_same(scheme):
    weights = np.random.default_rng(4).dirichlet(np.full(50, 0.3))
    a, b = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(20):
        out = np.empty(37, dtype=np.int32)
        kernels.ready(kernels.RESAMPLE[CODES[scheme]])(b, weights, out)
        np.testing.assert_array_equal(resample(weights, 37, scheme=scheme, seed=a), out)
    if scheme in CONDITIONAL_SCHEMES:
        njit(kernels.resample_around.py_func)(b, CODES[scheme], weights, 4, 9, out)
        np.testing.assert_array_equal(
            conditional_resample(weights, 4, 9, 37, scheme=scheme, seed=a), out
        )


def test_alias_table_holds_the_weights():
    for n in (1, 2, 7, 100):
        w = np.random.default_rng(n).dirichlet(np.full(n, 0.2))
        table = np.empty((n, 2))
        njit(kernels.fill_alias.py_func)(w, table, np.empty(n, dtype=np.int64))
        chance, alias = table[:, 0], table[:, 1].astype(np.int64)
        held = chance / n
        np.add.at(held, alias, (1 - chance) / n)
        np.testing.assert_allclose(held, w, atol=1e-14)
