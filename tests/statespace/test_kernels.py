"""Kernels are compiled for the types that they are declared with, and found by the next process."""

import subprocess
import sys

import numpy as np

import smcweights as smw
from smcweights.statespace import kernels

PROGRAM = """
import smcweights as smw
from smcweights.statespace import kernels
model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
smw.particle_filter(model, [0.0, 1.0], 2_000, seed=1)
assert not kernels.advance.overloads
found = kernels.filter_forward.stats
print(sum(found.cache_hits.values()), sum(found.cache_misses.values()))
"""


def test_a_kernel_of_groups_is_found_on_disk_and_a_filter_waits_for_no_other():
    model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    smw.particle_filter(model, [0.0, 1.0], 2_000, seed=1)
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["1", "0"]


def test_a_kernel_is_compiled_once_whatever_the_model():
    for persistence in (0.9, 0.8):
        model = smw.models.stochastic_volatility(persistence, 0.3)
        smw.particle_filter(model, [0.0, 1.0], 2_000, seed=1)
    hmm = smw.models.finite_hmm([0.5, 0.5], np.full((2, 2), 0.5), [0.0, 2.0], [1.0, 1.0])
    smw.particle_filter(hmm, [0.0, 1.0], 2_000, seed=1)
    assert len(kernels.filter_forward.overloads) == 1
