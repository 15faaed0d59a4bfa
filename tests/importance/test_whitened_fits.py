"""Fits in whitened coordinates: moments of few draws, narrow laws, fits taken further."""

import numpy as np

from smcweights.importance.whitened_fits import moments_of, normal_laws


def test_moments_of_few_draws_are_a_covariance():
    u = np.random.default_rng(1).standard_normal((4, 7)) * np.logspace(-8, 8, 7)
    centre, cholesky = moments_of(u, np.full(4, 0.25))
    np.testing.assert_allclose(centre, u.mean(0))
    assert np.isfinite(np.linalg.inv(cholesky)).all()


def test_two_narrow_correlated_laws_are_found_and_taken_further():
    """Standard deviations of 1e-4 at 3: by 1,500 draws, then by 6,000 from what those said."""
    rng = np.random.default_rng(2)
    factor = 1e-4 * np.array([[1.0, 0.0], [0.5, 0.5]])
    places = np.array([[3.0, 3.0], [3.0006, 2.9998]])
    u = places[(rng.random(6_000) < 0.4) * 1] + rng.standard_normal((6_000, 2)) @ factor.T
    first = normal_laws(u[:1_500], np.ones(1_500), rng, 4)
    more = normal_laws(u, np.ones(6_000), rng, 4, first)
    for found, atol in ((first, 0.05), (more, 0.025)):
        assert len(found.components) == 2
        order = np.argsort([c.mean[0] for c in found.components])
        np.testing.assert_allclose(found.weights[order], [0.6, 0.4], atol=atol)
        for c, place in zip([found.components[k] for k in order], places, strict=True):
            off = np.linalg.solve(factor, c.mean - place)
            np.testing.assert_allclose(off, 0.0, atol=2.5 * atol)
            ratio = np.linalg.solve(factor, c.cholesky)
            np.testing.assert_allclose(ratio @ ratio.T, np.eye(2), atol=4 * atol)


def test_a_law_alone_is_that_of_all_draws():
    rng = np.random.default_rng(3)
    u, w = rng.standard_normal((20_000, 3)) + 5, rng.random(20_000)
    before = normal_laws(u[:2_000], w[:2_000], rng, 1)
    (law,) = normal_laws(u, w, rng, 6, before).components
    np.testing.assert_allclose(law.mean, w @ u / w.sum())
    np.testing.assert_allclose(law.cholesky @ law.cholesky.T, np.cov(u.T, aweights=w), atol=1e-3)
