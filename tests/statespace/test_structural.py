"""Structural and autoregressive models against statsmodels 0.15, whose numbers stand here."""

import numpy as np
import pytest

import smcweights as smw

from .test_exact import differences

T = np.arange(24)
WAVE = np.sin(1.7 * T)
Y = WAVE + 0.1 * T
Y[[7, 13]] = np.nan
SEASONS = smw.models.structural(level=1.0, trend=0.5, seasonal=(4, 0.1), irregular=0.2)
NOISY = smw.models.autoregression([0.5, -0.3], 1.3, 0.3)


def test_level_trend_and_seasons():
    """UnobservedComponents("lltrend", seasonal=4), exact diffuse, variances 1, .04, .25, .01."""
    model = smw.models.structural(level=0.5, trend=0.1, seasonal=(4, 0.2), irregular=1.0)
    found = smw.kalman_smoother(model, Y)
    assert found.log_likelihood == pytest.approx(-34.679526397844626, rel=1e-10)
    truth = [
        [-2.644165317246e-02, 1.187767047643e-01, 4.735476460626e-01, -4.082473559660e-02],
        [8.342882553572e-01, 1.046835721607e-01, 8.347462106678e-04, -7.423245736586e-01],
        [2.664998040764e00, 1.547570351049e-01, 2.360597236343e-01, -6.947953464991e-01],
    ]
    np.testing.assert_allclose(found.means[[0, 7, 23], :4], truth, rtol=1e-8)
    spread = [[0.354388009929, -0.00345142028], [-0.00345142028, 0.028591546854]]
    np.testing.assert_allclose(found.covariances[7, :2, :2], spread, rtol=1e-8)
    filtered = smw.kalman_filter(model, Y)
    known = [0.694882250636, 0.06690498916, -0.511066518955, 0.82363999541, 0.592850677583]
    np.testing.assert_allclose(filtered.means[10], known, rtol=1e-8)
    assert np.isnan(filtered.means[3]).all() and np.isinf(filtered.covariances[3].diagonal()).all()
    ahead = smw.kalman_forecast(model, Y, 3)
    means, variances = (
        [3.43595467883, 2.817048130877, 2.434473799579],
        [2.492606075716, 3.045016138716, 3.723167817758],
    )
    np.testing.assert_allclose(ahead.observation_means, means, rtol=1e-8)
    np.testing.assert_allclose(ahead.observation_covariances, variances, rtol=1e-8)
    np.testing.assert_allclose(smw.kalman_score(model, Y), differences(model, Y), rtol=1e-5)


def test_a_level_without_noise_in_what_is_seen():
    """UnobservedComponents("rwalk"), variance .49: what is seen of a diffuse state is exact."""
    model = smw.models.structural(level=0.7, irregular=0.0)
    found = smw.kalman_smoother(model, Y)
    assert found.log_likelihood == pytest.approx(-39.517968697772346, rel=1e-10)
    np.testing.assert_allclose(found.means[[7, 13], 0], [0.779643563631, 1.313997227199], rtol=1e-8)
    np.testing.assert_allclose(found.covariances[[7, 13], 0, 0], 0.245, rtol=1e-8)
    np.testing.assert_allclose(smw.kalman_score(model, Y), differences(model, Y), rtol=1e-5)


def test_autoregressions():
    """SARIMAX(order=(3, 0, 0)), and of order 2 with measurement error .09."""
    model = smw.models.autoregression([0.5, -0.3, 0.2], 1.3)
    assert smw.kalman_filter(model, WAVE).log_likelihood == pytest.approx(
        -30.95685778468347, rel=1e-10
    )
    ahead = smw.kalman_forecast(model, WAVE, 3)
    means = [3.992682954787e-01, -1.549802621979e-01, -1.505599844285e-04]
    np.testing.assert_allclose(ahead.observation_means, means, rtol=1e-8)
    np.testing.assert_allclose(ahead.observation_covariances, [1.69, 2.1125, 2.116725], rtol=1e-8)
    found = smw.kalman_smoother(NOISY, Y)
    assert found.log_likelihood == pytest.approx(-38.635710911272895, rel=1e-10)
    np.testing.assert_allclose(found.means[[7, 13], 0], [0.175487145938, 0.604695891599], rtol=1e-8)
    np.testing.assert_allclose(smw.kalman_score(NOISY, Y), differences(NOISY, Y), rtol=1e-5)


@pytest.mark.slow
def test_particles_filter_what_has_no_density_and_are_not_smoothed():
    """z-test at 5.5 standard errors, moments at 8."""
    exact = smw.kalman_filter(NOISY, Y)
    found = smw.particle_filter(NOISY, Y, 2_000, repeats=8, seed=1)
    error = found.log_likelihood.standard_error
    assert abs(found.log_likelihood.value - exact.log_likelihood) < 5.5 * error and error < 0.3
    off = np.abs(found.means[:, 0] - exact.means[:, 0])
    assert (off < 8 * np.sqrt(exact.covariances[:, 0, 0] / found.ess) + 1e-9).all()
    with pytest.raises(ValueError, match=r"transition_logpdf: got None; .*smoother is exact"):
        smw.paris(NOISY, Y, smw.functionals.sum_of_states, 50)
    with pytest.raises(smw.ModelError, match=r"initial_sample: .*the initial state is diffuse"):
        smw.particle_filter(SEASONS, Y, 50)
    silent = smw.models.autoregression([0.5], 1.0)
    with pytest.raises(
        smw.ModelError, match=r"observation_logpdf: .*without noise have no density"
    ):
        smw.particle_filter(silent, Y, 50)


@pytest.mark.slow
def test_draws_have_the_exact_law_of_every_part():
    """Moments of 4,000 states of time 2 beside those of a forecast without data: 6 errors."""
    d = SEASONS.state_dim
    c = np.diag(np.arange(1.0, d + 3))
    model = smw.models.structural(
        1.0,
        0.5,
        (4, 0.1),
        (9.0, 0.8, 0.4),
        0.2,
        initial_mean=np.arange(d + 2.0),
        initial_covariance=c,
    )
    rng = np.random.default_rng(1)
    for other in (model, NOISY):
        blank = smw.kalman_filter(other, np.full(3, np.nan))
        draws = []
        for _ in range(4_000):
            x = other.initial_sample(rng, other.theta)
            for t in (1, 2):
                x = other.transition_sample(rng, x, t, other.theta)
            draws.append(x)
        draws, mean, cov = np.array(draws), blank.means[2], blank.covariances[2]
        error = np.sqrt(cov.diagonal() / len(draws))
        assert (np.abs(draws.mean(axis=0) - mean) < 6 * error).all()
        scale = np.sqrt(np.outer(cov.diagonal(), cov.diagonal()) * 2 / len(draws))
        assert (np.abs(np.cov(draws.T) - cov) < 6 * scale).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_matrices_of_every_time_agree_with_kalman():
    rng = np.random.default_rng(2)
    a, h = 0.6 * rng.standard_normal((15, 2, 2)), rng.standard_normal((15, 2, 2))
    q = np.array([[1.0, 0.3], [0.3, 0.5]]) * np.linspace(0.5, 2.0, 15)[:, None, None]
    model = smw.models.linear_gaussian(
        a, q, h, np.diag([1.0, 0.5]), [0.5, -0.5], np.eye(2), transition_offset=[0.3, -0.2],
        observation_offset=rng.standard_normal((15, 2)),
    )  # fmt: skip
    _, y = model.simulate(15, seed=1)
    y[3], y[5, 0] = np.nan, np.nan
    smw.check_model(model, y, n_draws=4_000, seed=1)
    exact = smw.kalman_smoother(model, y)
    found = smw.particle_filter(model, y, 3_000, repeats=10, seed=1).log_likelihood
    assert abs(found.value - exact.log_likelihood) < 5.5 * found.standard_error < 2.0
    est = smw.paris(model, y, smw.functionals.states, 1_000, repeats=12, seed=2)
    assert (np.abs(est.value - exact.means.ravel()) / est.standard_error).max() < 8


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m: m.structural(level=None), "got none of them"),
        (lambda m: m.structural(level=-1.0), "level: got -1"),
        (lambda m: m.structural(seasonal=(1, 0.1)), "seasonal: got 1"),
        (lambda m: m.structural(cycle=(9.0, 1.0, 0.1)), "cycle: got 1"),
        (lambda m: m.structural(initial_mean=[0.0]), "initial_mean: got one without"),
        (lambda m: m.autoregression([0.9, 0.2], 1.0), "coefficients: got a root of size"),
        (lambda m: m.autoregression([0.9], 0.0), "scale: got 0"),
        (
            lambda m: m.linear_gaussian(np.ones((3, 1, 1)), np.ones((2, 1, 1)), 1.0, 1.0),
            "time axes",
        ),
        (
            lambda m: m.linear_gaussian(
                np.eye(2), np.eye(2), np.eye(2), np.eye(2), initial_diffuse=[True]
            ),
            "initial_diffuse: got",
        ),
        (
            lambda m: m.linear_gaussian(0.5, 1.0, 1.0, 1.0, transition_offset=1.0),
            "initial_covariance: got None",
        ),
    ],
)
def test_what_makes_no_model_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call(smw.models)
