"""Spread of means over chains, against that of autoregressions, which is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from smcweights.importance.chain_variance import chain_spread


def autoregression(rng, rho, n, columns=1):
    noise = rng.standard_normal((n, columns)) * np.sqrt(1 - rho**2)
    noise[0] /= np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], noise, axis=0)


def test_variance_and_covariance_of_an_autoregression():
    """Over 40 chains of 20,000 the variance has a relative sd of 3 %; 7 of them are 1e-11."""
    rng = np.random.default_rng(1)
    chains = np.array_split(np.arange(40 * 20_000), 40)
    z = np.concatenate([autoregression(rng, 0.9, 20_000, 2) for _ in chains])
    mixed = z @ np.array([[1.0, 0.6], [0.0, 0.8]])
    found = chain_spread(mixed, chains)
    truth = 19 / len(z) * np.array([[1.0, 0.6], [0.6, 1.0]])
    assert abs(found.covariance / truth - 1).max() < 0.2
    assert abs(found.time / 19 - 1).max() < 0.2
    assert not found.between.any() and not found.short.any()


def test_independent_draws_have_their_own_variance():
    z = np.random.default_rng(2).standard_normal((50_000, 3))
    found = chain_spread(z, [np.arange(50_000)])
    np.testing.assert_allclose(np.diag(found.covariance) * 50_000, 1, atol=0.1)


def test_chains_that_stand_apart_are_compared_with_one_another():
    """Within a chain nothing moves: only the distance between chains tells the error.

    Means of chains are within .04 of their places, six of their own errors.
    """
    rng = np.random.default_rng(3)
    places = np.array([-3.0, -1.0, 1.5, 2.5])
    terms = np.concatenate([p + 0.1 * rng.standard_normal((200, 1)) for p in places])
    terms -= terms.mean()
    found = chain_spread(terms, np.array_split(np.arange(800), 4))
    assert found.short.all()
    assert found.covariance.item() >= 0.95 * places.var(ddof=1) / 4


def test_units_do_not_matter():
    z = autoregression(np.random.default_rng(4), 0.5, 4_000, 2)
    scale = np.array([1e-60, 1e60])
    small, plain = (chain_spread(one, [np.arange(4_000)]).covariance for one in (z * scale, z))
    np.testing.assert_allclose(small / np.outer(scale, scale), plain, rtol=1e-9)


@pytest.mark.parametrize("chains", [1, 3])
def test_a_column_without_variance_has_none(chains):
    z = np.zeros((300, 2))
    z[:, 0] = np.random.default_rng(5).standard_normal(300)
    found = chain_spread(z, np.array_split(np.arange(300), chains))
    assert found.covariance[1].tolist() == [0.0, 0.0]
    assert found.covariance[0, 0] > 0
