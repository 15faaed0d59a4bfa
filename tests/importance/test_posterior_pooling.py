"""Independent runs of `posterior` as one: what they are worth together, and which say no."""

import dataclasses

import numpy as np
import pytest

import smcweights as smw

from .posteriors import regression


@pytest.fixture(scope="module")
def runs():
    log_likelihood, prior, *_ = regression(50)
    return [smw.posterior(log_likelihood, prior, 2_000, seed=seed) for seed in (1, 2)]


@pytest.mark.slow
def test_two_runs_are_pooled_by_their_evidence(runs):
    _, _, log_evidence, mean, covariance = regression(50)
    both = smw.combine(runs)
    truth = np.concatenate([[log_evidence], mean, np.sqrt(np.diag(covariance))])
    assert (abs(both.joint.value - truth) < 5 * both.joint.standard_error).all()
    assert both.log_evidence.standard_error < min(r.log_evidence.standard_error for r in runs) * 1.1
    assert len(both.draws) == sum(len(run.draws) for run in runs)
    assert both.quantiles.names == runs[0].quantiles.names
    with pytest.raises(ValueError, match="same seed"):
        smw.combine([runs[0], runs[0]])


def altered(run, covariance=1.0, **changes):
    joint = run.joint.revised(covariance=run.joint.covariance * covariance, **changes)
    return dataclasses.replace(run, joint=joint)


def moved(run, errors, covariance=1.0, **changes):
    """The run with its log evidence so many standard errors higher."""
    value = run.joint.value.copy()
    value[0] += errors * run.joint.standard_error[0] * covariance**0.5
    return altered(run, covariance, value=value, **changes)


def test_runs_that_contradict_one_another_say_so(runs):
    with pytest.warns(smw.PrecisionWarning, match="missed part of the posterior"):
        smw.combine([runs[0], moved(runs[1], 1_000)])
    # 5 errors of few degrees of freedom are none, and a warning would be an error
    few = np.full(len(runs[1].joint.value), 4.0)
    gap = float(runs[0].log_evidence) - float(runs[1].log_evidence)
    error = runs[0].joint.standard_error[0]
    alike = moved(altered(runs[1], degrees_of_freedom=few), gap / error + 5.0)
    smw.combine([altered(runs[0], degrees_of_freedom=few), alike])


def test_runs_that_did_not_reach_the_posterior_are_left_out(runs):
    short = altered(runs[1], np.nan, value=runs[1].joint.value - 5)
    short = dataclasses.replace(short, diagnostics=short.diagnostics | {"beta": 0.5})
    with pytest.warns(smw.PrecisionWarning, match="1 of 2 runs ended before the posterior"):
        found = smw.combine([short, runs[0]])
    np.testing.assert_allclose(found.joint.value, runs[0].joint.value)
    np.testing.assert_allclose(found.joint.standard_error, runs[0].joint.standard_error)
    assert len(found.draws) == len(runs[0].draws)
    evaluations = [run.joint.cost["evaluations"] for run in (short, runs[0], found)]
    assert evaluations[2] == sum(evaluations[:2])


def test_a_run_of_a_huge_error_is_named(runs):
    with pytest.warns(smw.PrecisionWarning, match="item 1 has an error of 1.6 .*Fewer runs"):
        size = (1.6 / runs[1].joint.standard_error[0]) ** 2
        smw.combine([runs[0], altered(runs[1], size)])
