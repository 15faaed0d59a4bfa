"""Discrete laws whose probabilities are added up once."""

import time

import numpy as np
import pytest
from scipy import special, stats

import smcweights as smw
from smcweights.importance.counted_laws import ATOM, counted


def test_a_table_says_what_scipy_adds_up_at_each_call():
    q = np.concatenate([[ATOM], np.random.default_rng(0).random(100), 1 - 0.1 ** np.arange(1, 9)])
    x = np.concatenate([np.arange(-2.0, 60.0), [0.5, 4_094.0, 4_095.0, 4_096.0, 4_097.0, 9_000.5]])
    for law in (
        stats.zipf(3.5, loc=4),
        stats.logser(0.9),
        stats.betabinom(20, 1, 2),
        stats.betanbinom(3, 20, 1, loc=-2),
    ):
        own = counted(law, "law")
        assert own is not law
        np.testing.assert_array_equal(own.ppf(q), law.ppf(q))
        np.testing.assert_allclose(own.cdf(x), law.cdf(x), atol=1e-13)
        np.testing.assert_allclose(own.sf(x), law.sf(x), atol=1e-13)
    for law in (stats.poisson(3), stats.rv_discrete(values=([1, 2], [0.5, 0.5]))):
        assert counted(law, "law") is law


@pytest.mark.parametrize("exponent", [1.2, 2.2, 2.8])
def test_quantiles_of_zipf_are_the_first_with_no_more_beyond(exponent):
    own, tail = counted(stats.zipf(exponent), "law"), 0.1 ** np.arange(1, 12)
    x = own.ppf(1 - tail)
    tail = 1 - (1 - tail)  # as it came there
    assert (own.sf(x) <= tail).all()
    assert (own.sf(x - np.maximum(1, np.spacing(x))) >= tail).all()
    # the tail by its integral, of a point in the middle of two values
    far = x > 1e4
    integral = (x[far] + 0.5) ** (1 - exponent) / (exponent - 1) / special.zeta(exponent)
    np.testing.assert_allclose(own.sf(x[far]), integral, rtol=1e-7)


def test_heavy_tails_begin_at_once():
    for law, mean in (
        (stats.zipf(2.5), special.zeta(1.5) / special.zeta(2.5)),
        (stats.logser(0.9999), stats.logser(0.9999).mean()),
        (stats.logser(0.3), stats.logser(0.3).mean()),
        (stats.betabinom(10**6, 1, 2), 10**6 / 3),
    ):
        begun = time.process_time()
        found = smw.adaptive_importance_sampling(lambda x: x[:, 0], [law], 1_000, seed=1)
        assert time.process_time() - begun < 5
        assert abs(found.value - mean) < 5 * found.standard_error


def test_tails_that_can_not_be_counted_are_refused():
    with pytest.raises(ValueError, match="'n': SciPy knows this betanbinom law only by adding up"):
        smw.adaptive_importance_sampling(
            lambda x: x[:, 0], {"n": stats.betanbinom(3, 2, 1)}, 1_000, seed=1
        )
    with pytest.raises(ValueError, match="'n': the quantile at 1 - 1e-15 of this zipf law is no"):
        smw.adaptive_importance_sampling(lambda x: x[:, 0], {"n": stats.zipf(1.01)}, 1_000, seed=1)
