"""Sobol' indices as a result: tables, texts, joint errors."""

import warnings

import numpy as np
import pytest

import smcweights as smw
from smcweights import problems

from .cases import bounds, covered, runs


@pytest.mark.slow
def test_joint_covariance_gives_the_error_of_a_sum():
    problem = problems.ishigami()
    expected = sum(problem.truth["first"])
    found = [
        r.first.apply([1.0, 1.0, 1.0])
        for r in runs(problem.function, problem.law, 2_560, 200, method="qmc")
    ]
    rate = np.mean([covered(e, expected) for e in found])
    low, high = bounds(200)
    assert low <= rate <= high


def test_tables_are_laid_out_as_salibs():
    from SALib.analyze import sobol
    from SALib.sample import sobol as points

    problem = problems.ishigami()
    salib = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [[-np.pi, np.pi]] * 3}
    y = problem.function(points.sample(salib, 64, seed=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sobol.analyze(salib, y, num_resamples=10, seed=1).to_df()
    ours = smw.sobol_indices(
        problem.function, salib, 1_280, order=("first", "total", "second"), seed=1
    ).to_df()
    for a, b in zip(ours, theirs, strict=True):
        assert list(a.columns) == list(b.columns)
        assert list(a.index) == list(b.index)


def test_negative_estimates_stay_and_are_explained():
    problem = problems.ishigami()
    seen = []
    for seed in range(4):
        found = smw.sobol_indices(problem.function, problem.law, 320, method="qmc", seed=seed)
        if found.first.value[2] < 0:
            seen.append(repr(found))
    assert seen
    assert any("more calls would narrow" in text for text in seen)
    assert all("a true index is never negative" in text for text in seen)


def test_every_part_of_two_runs_can_be_pooled():
    """Each run has draws and a centre of its own: nothing of them is in what is compared."""
    problem = problems.ishigami()
    a, b = (smw.sobol_indices(problem.function, problem.law, 640, seed=s) for s in (1, 2))
    for part in ("indices", "first", "total", "mean", "variance"):
        one, two = getattr(a, part), getattr(b, part)
        pooled = smw.combine([one, two])
        assert np.all(pooled.standard_error <= np.maximum(one.standard_error, two.standard_error))


def test_independent_runs_are_pooled_whole():
    problem = problems.ishigami()
    runs_ = [smw.sobol_indices(problem.function, problem.law, 640, seed=s) for s in (1, 2, 3)]
    pooled = smw.combine(runs_)
    assert isinstance(pooled, smw.SobolIndices) and pooled.pairs is None
    for name in ("indices", "first", "total", "mean", "variance"):
        parts = [getattr(run, name) for run in runs_]
        np.testing.assert_allclose(getattr(pooled, name).value, smw.combine(parts).value)
        assert getattr(pooled, name).names == parts[0].names
    np.testing.assert_allclose(
        pooled.total.variance, smw.combine([run.total for run in runs_]).variance
    )
    assert pooled.indices.cost["evaluations"] == sum(r.indices.cost["evaluations"] for r in runs_)
    other = smw.sobol_indices(problem.function, problem.law, 640, groups=["a", "a", "b"], seed=4)
    with pytest.raises(ValueError, match="expected runs on the same inputs"):
        smw.combine([runs_[0], other])
