"""One sample serves several laws at once."""

import warnings

import numpy as np
import pytest
from scipy import stats

import smcweights as smw


def agrees(estimate, truth):
    return bool((np.abs(estimate.value - truth) < 5 * estimate.standard_error).all())


@pytest.mark.slow
def test_under_laws_serves_all_of_them_from_one_sample():
    law = stats.norm(0, 2)
    laws = [stats.norm(m, 1) for m in (-1, 0, 2)]
    integrand = smw.under_laws(lambda x: x[:, 0] > 3, law, laws)
    est = smw.adaptive_importance_sampling(integrand, law, 10_000, seed=6)
    assert agrees(est, stats.norm.sf([4, 3, 1]))
    assert (est.relative_error < 0.05).all()
    one = smw.under_laws(lambda x: x[0], law, laws, vectorized=False)
    assert one(np.zeros((4, 1))).shape == (4, 3)


@pytest.mark.parametrize(
    ("first", "second"),
    [(stats.uniform(), stats.uniform(0, 2)), (stats.expon(), stats.norm(0.5, 1))],
    ids=["uniform", "exponential"],
)
def test_a_law_beyond_the_support_is_refused(first, second):
    est = smw.adaptive_importance_sampling(lambda x: x[:, 0], first, 5_000, seed=1)
    with pytest.raises(ValueError, match="where the first law has no density"):
        smw.reweight(est, second)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        given = smw.importance_sampling(lambda x: x[:, 0], first, stats.norm(0.5, 1), 5_000, seed=1)
    with pytest.raises(ValueError, match="where the first law has no density"):
        smw.reweight(given, second)


def test_under_laws_needs_the_law_it_was_given_and_its_support():
    def square(x):
        return x[:, 0] ** 2

    pair = {"a": stats.norm(), "b": stats.norm()}
    with pytest.raises(ValueError, match="has the inputs 'b'; expected all of 'a', 'b'"):
        smw.under_laws(square, pair, {"b": stats.norm(1)})
    with pytest.raises(ValueError, match="where the first law has no density"):
        smw.under_laws(square, stats.uniform(), [stats.norm()])
    ready = smw.under_laws(square, stats.norm(), [stats.norm(1)])
    with pytest.raises(ValueError, match="law: is not the one given to under_laws"):
        smw.adaptive_importance_sampling(ready, stats.norm(3), 600, seed=0)
