"""Control-variate regression: exactness where theory gives it, refusal where it would ruin."""

import numpy as np
import pytest

from smcweights.regression import (
    Choice,
    coefficients,
    cross_fit,
    estimated_mean_covariance,
    moments,
    residual_variance,
    select,
)


def collinear(rng, n):
    """Ten nearly equal controls and a target that is mostly their common part."""
    common = rng.standard_normal((n, 1))
    z = common + 1e-3 * rng.standard_normal((n, 10))
    heavy = rng.standard_t(5, (n, 2))
    return z, 2 * common + heavy


def test_moments_add_and_subtract_like_the_draws_they_stand_for():
    rng = np.random.default_rng(1)
    z, t = collinear(rng, 50)
    w = rng.random(50)
    whole, first, last = (
        moments(z[s], t[s], w[s]) for s in (slice(None), slice(20), slice(20, 50))
    )
    for total in (first + last, whole):
        np.testing.assert_allclose((total - last).zt, first.zt, rtol=1e-12)
        np.testing.assert_allclose(total.tt, whole.tt, rtol=1e-12)


def test_coefficients_are_those_of_least_squares():
    rng = np.random.default_rng(2)
    z, t = rng.standard_normal((300, 4)), rng.standard_normal((300, 2))
    w = rng.random(300)
    b = coefficients(moments(z, t, w), Choice("all", 4, 1e-6))
    root = np.sqrt(w / w.sum())[:, None]
    centred = [root * (a - w @ a / w.sum()) for a in (z, t)]
    expected = np.linalg.lstsq(*centred, rcond=None)[0]
    np.testing.assert_allclose(b, expected, atol=1e-10)
    residual = centred[1] - centred[0] @ b
    np.testing.assert_allclose(residual_variance(moments(z, t, w), b), (residual**2).sum(0))


def test_controls_without_variance_and_exact_copies_are_harmless():
    rng = np.random.default_rng(3)
    z = rng.standard_normal((100, 1))
    z = np.concatenate([z, z, np.zeros((100, 1))], axis=1)
    b = coefficients(moments(z, 3 * z[:, :1]), Choice("all", 3, 0.1))
    np.testing.assert_allclose(z @ b, 3 * z[:, :1], atol=1e-10)
    assert b[2] == 0


def test_a_direction_is_a_single_control():
    rng = np.random.default_rng(4)
    z = rng.standard_normal((200, 3))
    a = np.array([[1.0], [2.0], [0.0]])
    b = coefficients(moments(z, 5 * z @ a), Choice("own", direction=a))
    np.testing.assert_allclose(b, 5 * a, atol=1e-10)


def test_a_careless_cut_off_ruins_and_selection_refuses_it():
    rng = np.random.default_rng(5)
    z, t = collinear(rng, 120)
    fresh_z, fresh_t = collinear(rng, 100_000)
    fresh = moments(fresh_z, fresh_t)
    careless, restrained = Choice("careless", 10, 1e-8), Choice("restrained", 10, 0.1)
    learned = moments(z, t)
    bad = residual_variance(fresh, coefficients(learned, careless))
    good = residual_variance(fresh, coefficients(learned, restrained))
    assert (bad > 1.05 * good).all()
    folds = [moments(z[f::10], t[f::10]) for f in range(10)]
    assert (select(folds, [Choice("none"), restrained, careless]) == 1).all()
    # and no control at all where the controls know nothing
    noise = [moments(z[f::10], rng.standard_normal((12, 2))) for f in range(10)]
    assert (select(noise, [Choice("none"), restrained, careless]) == 0).all()


def test_the_coefficients_of_a_fold_never_saw_it():
    rng = np.random.default_rng(7)
    z, t = collinear(rng, 60)
    folds = [moments(z[f::3], t[f::3]) for f in range(3)]
    choices = [Choice("all", 10, 0.1)]
    chosen = np.zeros(2, dtype=int)
    earlier = moments(*collinear(rng, 20))
    b = cross_fit(folds, chosen, choices, earlier)
    others = coefficients(folds[0] + folds[2] + earlier, choices[0])
    np.testing.assert_allclose(b[1], others, rtol=1e-9)
    changed = cross_fit([folds[0], folds[1] + folds[1], folds[2]], chosen, choices, earlier)
    np.testing.assert_allclose(changed[1], b[1], rtol=1e-9)
    assert np.abs(changed[0] - b[0]).max() > 1e-6


@pytest.mark.slow
def test_cross_fitted_means_are_unbiased_and_say_their_variance():
    """4,000 repetitions; |z| > 5 is a false alarm once in a million, a bias of 8 % of one standard
    error is seen with probability above 0.5; the variance is seen to 15 %."""
    rng = np.random.default_rng(6)
    estimates, reported = np.empty(4_000), np.empty(4_000)
    for i in range(4_000):
        z = rng.exponential(size=(60, 3)) - 1  # skewed, so a biased coefficient would show
        t = (z @ [1.0, 0.5, 0.0] + z[:, 0] ** 2 - 1)[:, None]
        folds = [moments(z[f::5], t[f::5]) for f in range(5)]
        b = cross_fit(folds, np.zeros(1, dtype=int), [Choice("all", 3, 0.1)])
        r = np.empty(60)
        for f in range(5):
            r[f::5] = (t[f::5] - z[f::5] @ b[f])[:, 0]
        estimates[i], reported[i] = r.mean(), r.var(ddof=1) / 60
    assert abs(estimates.mean()) < 5 * estimates.std() / np.sqrt(4_000)
    assert reported.mean() == pytest.approx(estimates.var(), rel=0.15)


def test_the_error_of_an_estimated_mean_is_counted():
    b = np.array([[2.0, -1.0]])
    np.testing.assert_allclose(
        estimated_mean_covariance(b, np.array([[0.25]])), [[1.0, -0.5], [-0.5, 0.25]]
    )
