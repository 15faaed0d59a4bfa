"""Demonstrations: what stands beside the estimates."""

import numpy as np
import pytest

import smcweights as smw
from smcweights import report
from smcweights.problems.demonstrations import DEMONSTRATIONS, plain_monte_carlo

SLOW = pytest.mark.slow  # compiles a model


def test_plain_monte_carlo_says_plainly_where_it_saw_nothing():
    problem = smw.problems.flood()
    crude = plain_monte_carlo(problem, 2_000, seed=4)
    assert crude.value[-1] == 0
    assert crude.interval()[1][-1] == pytest.approx(-np.log(0.05) / 2_000)
    deviation = np.abs(crude.value - problem.expectations)
    assert (deviation < 6 * np.sqrt(problem.expectations / 2_000)).all()


@pytest.mark.parametrize(
    "which",
    [
        *("distance", "posterior", "failure", "sequences"),
        *(pytest.param(one, marks=SLOW) for one in ("smoothing", "filtering")),
    ],
)
def test_a_demonstration_has_a_truth_near_its_estimate_and_pictures(which):
    section = DEMONSTRATIONS[which](1, False)
    off = np.abs(section.estimate.value - np.reshape(section.truth, section.estimate.value.shape))
    assert (off < 5 * section.estimate.standard_error).all()
    assert section.figures
    for caption, draw in section.figures:
        assert caption and report.as_svg(draw).count("<path") > 5


def test_likeliest_names_have_the_probabilities_that_are_drawn_beside_them():
    (_, draw), _ = DEMONSTRATIONS["sequences"](2, False).figures
    shares, exact = draw.args
    assert len(set(shares.names)) == len(exact) and (np.diff(exact) <= 0).all()
    assert (np.abs(shares.value - exact) < 5 * shares.standard_error).all()
