"""Steps by the score from where a search ended: their algebra, and what they save."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import smcweights as smw
from smcweights.statespace.learning.newton import Look

TOP = np.array([0.3, -1.0])
CURVES = np.array([[2.0, 0.5], [0.5, 1.0]])


def scores_at(u):
    """Of a likelihood that is quadratic."""
    return (TOP - u) @ CURVES


def look(scores, matrices):
    return Look(np.asarray(scores), np.asarray(matrices), SimpleNamespace(), [], np.empty(0))


def test_a_step_leads_to_the_top_of_a_quadratic_from_anywhere():
    place, noise = np.array([1.0, 1.0]), np.array([[0.1, 0.0], [-0.1, 0.2], [0.0, -0.2]])
    seen = look(scores_at(place) + noise, [CURVES] * 3)
    np.testing.assert_allclose(seen.ends(place).mean(axis=0), TOP, rtol=1e-12)
    np.testing.assert_allclose(seen.ends(place), TOP + noise @ np.linalg.inv(CURVES), rtol=1e-12)
    assert seen.vagueness < 1e-12


def test_errors_of_the_information_are_those_of_chains_of_their_own():
    """Small ones: the inverse of each chain's own matrix, to first order."""
    place, rng = np.array([0.5, -0.8]), np.random.default_rng(1)
    matrices = CURVES + 1e-4 * (lambda a: a + a.swapaxes(1, 2))(rng.standard_normal((4, 2, 2)))
    scores = scores_at(place) + 1e-4 * rng.standard_normal((4, 2))
    each = [place + np.linalg.solve(m, s) for m, s in zip(matrices, scores, strict=True)]
    seen = look(scores, matrices)
    np.testing.assert_allclose(seen.ends(place), each, atol=1e-7)
    assert 0 < seen.vagueness < 1e-3


@pytest.mark.slow
def test_a_short_search_from_far_away_finds_the_maximum():
    """20 iterations leave the average .6 and .4 standard errors of the data from the exact one."""
    y, free = smw.problems.nile()[1], ["transition_covariance", "observation_covariance"]
    start = smw.models.linear_gaussian(1.0, 5_000.0, 1.0, 5_000.0, 1_000.0, 40_000.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        fits = [
            smw.maximum_likelihood(start, y, None, 100, 20, free=free, seed=seed)
            for seed in range(2)
        ]
        plain = smw.maximum_likelihood(
            start, y, None, 100, 20, free=free, information=False, seed=0
        )
    # in logarithms, where the search is; the exact maximum is Kalman's
    exact, error = np.array([7.2742811, 9.62478194]), np.array([0.88065725, 0.20859808])
    for fit in fits:
        assert (np.abs(np.log(fit.maximiser.value) - exact) < 0.3 * error).all()
    assert (np.abs(np.log(plain.maximiser.value) - exact) > 0.3 * error).any()
    assert {c.code for c in plain.theta.cautions} == {"not-arrived"}
    np.testing.assert_array_equal(plain.iterates, fits[0].iterates)
