"""Loops of ready models are found on disk by the next process, and never when they are stale."""

import importlib.util
import re
import sys

import numba
import numpy as np
import pytest

import smcweights as smw
from smcweights.statespace import kernels, loops, models
from smcweights.statespace.model import _ours, jitted

from .test_model import walk
from .test_models import READY


def test_ready_models_are_kept_on_disk_but_no_data_and_nothing_of_a_user():
    assert _ours(models._linear_transition_logpdf)
    assert _ours(READY["matrix"]().transition_logpdf) and _ours(READY["finite"]().initial_sample)
    assert not _ours(walk().transition_logpdf)
    told = smw.models.stochastic_volatility(0.9, 0.2, leverage=-0.3, returns=[0.0, 1.0])
    assert not _ours(told.transition_logpdf)


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


def test_compiled_loops_of_different_models_never_share_a_name():
    """Numba counts its names from 1 in every process: what it kept on disk would take over."""
    made = [walk(transition_logpdf_bound=lambda t, theta: 0.0)]
    made += [READY[name]() for name in ("scalar", "volatility", "finite", "growth")]
    made.append(
        smw.models.finite_hmm(np.full(3, 1 / 3), np.full((3, 3), 1 / 3), [0, 1, 2], [1] * 3)
    )
    owners: dict[str, int] = {}
    for k, model in enumerate(made):
        for loop in (
            jitted(
                loops.transition_bound, (), (model.transition_logpdf_bound,),
                kernels.BOUND_SIGNATURE,
            ),
            jitted(
                loops.transition_pair, (loops.scalar_row,), (model.transition_logpdf,),
                kernels.PAIR_SIGNATURE,
            ),
        ):  # fmt: skip
            (found,) = loop.overloads.values()
            counted = found.fndesc.llvm_func_name
            name = re.sub(r"B\d+v\d+", "", counted)
            assert name != counted
            assert owners.setdefault(name, k) == k
