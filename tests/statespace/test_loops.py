"""Loops of ready models are found on disk by the next process, and never when they are stale."""

import importlib.util
import sys

import numba
import numpy as np
import pytest

from smcweights.statespace import kernels, loops
from smcweights.statespace.compilation import jitted


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A module of the package, written anew: its function `bound`."""
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "example.py"

    def write(text):
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("smcweights.example", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module.bound

    return write


def test_an_edit_of_what_a_loop_calls_in_another_file_is_noticed(written):
    text = "def inner(t):\n    return {} * t\ndef bound(t, theta):\n    return inner(t)\n"
    for factor, hits in ((2.0, 0), (4.0, 0), (2.0, 1)):
        loop = jitted(
            loops.transition_bound, (), (written(text.format(factor)),), kernels.BOUND_SIGNATURE
        )
        assert loop(3, np.empty(0)) == 3 * factor
        assert sum(loop.stats.cache_hits.values()) == hits


def test_functions_made_for_a_shape_are_told_apart_on_disk(written):
    text = """
def made(k):
    def bound(t, theta):
        return float(k)
    return bound
def bound(k):
    return made(k)
"""
    for k, hits in ((2, 0), (3, 0), (2, 1)):
        loop = jitted(loops.transition_bound, (), (written(text)(k),), kernels.BOUND_SIGNATURE)
        assert loop(1, np.empty(0)) == k
        assert sum(loop.stats.cache_hits.values()) == hits
