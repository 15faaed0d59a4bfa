"""Kalman against one dense Gaussian, forward-backward against enumeration."""

import itertools

import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal, norm

import smcweights as smw

from .tiny import LIKELIHOOD, TRUTH

A = np.array([[0.8, 0.1], [-0.2, 0.7]])
Q = np.array([[1.0, 0.3], [0.3, 0.5]])
H = np.array([[1.0, 0.5], [0.0, 1.0], [1.0, -1.0]])
R = np.diag([1.0, 0.5, 2.0])
M, P = np.array([1.0, -2.0]), np.array([[2.0, 0.2], [0.2, 1.0]])


def dense(y):
    """Smoothing by conditioning one Gaussian over all states and observations."""
    n_steps, d = len(y), 2
    transfer = np.zeros((n_steps * d, n_steps * d))
    noise = np.zeros_like(transfer)
    for t in range(n_steps):
        for s in range(t + 1):
            transfer[t * d : t * d + d, s * d : s * d + d] = np.linalg.matrix_power(A, t - s)
        noise[t * d : t * d + d, t * d : t * d + d] = Q if t else P
    mean = transfer[:, :d] @ M
    covariance = transfer @ noise @ transfer.T
    h = np.kron(np.eye(n_steps), H)
    seen = ~np.isnan(y.ravel())
    h = h[seen]
    s = h @ covariance @ h.T + np.kron(np.eye(n_steps), R)[np.ix_(seen, seen)]
    gain = covariance @ h.T @ np.linalg.inv(s)
    residual = y.ravel()[seen] - h @ mean
    log_likelihood = multivariate_normal(h @ mean, s).logpdf(y.ravel()[seen])
    return mean + gain @ residual, covariance - gain @ h @ covariance, log_likelihood


def test_kalman_is_one_dense_gaussian_with_missing_components():
    model = smw.models.linear_gaussian(A, Q, H, R, M, P)
    _, y = model.simulate(6, seed=1)
    y[2] = np.nan
    y[4, 1] = np.nan
    found = smw.kalman_smoother(model, y)
    mean, covariance, log_likelihood = dense(y)
    np.testing.assert_allclose(found.means.ravel(), mean, rtol=1e-9)
    blocks = covariance.reshape(6, 2, 6, 2)
    for t in range(6):
        np.testing.assert_allclose(found.covariances[t], blocks[t, :, t], rtol=1e-9, atol=1e-12)
    for t in range(5):
        np.testing.assert_allclose(
            found.lag_one_covariances[t], blocks[t + 1, :, t], rtol=1e-9, atol=1e-12
        )
    assert found.log_likelihood == pytest.approx(log_likelihood, abs=1e-9)


def test_scalars_and_one_by_one_matrices_agree():
    scalar = smw.models.linear_gaussian(0.9, 1.0, 0.5, 2.0)
    matrix = smw.models.linear_gaussian([[0.9]], [[1.0]], [[0.5]], [[2.0]])
    _, y = scalar.simulate(20, seed=1)
    a, b = smw.kalman_smoother(scalar, y), smw.kalman_smoother(matrix, y)
    np.testing.assert_allclose(a.means, b.means[:, 0])
    assert a.log_likelihood == pytest.approx(b.log_likelihood)
    np.testing.assert_allclose(scalar.theta[5], 1 / (1 - 0.81))


def test_forward_backward_is_enumeration():
    first, matrix = (
        np.array([0.2, 0.5, 0.3]),
        np.array([[0.7, 0.2, 0.1], [0.0, 0.6, 0.4], [0.5, 0.25, 0.25]]),
    )
    means, scales = np.array([-1.0, 0.0, 2.0]), np.array([0.5, 1.0, 1.5])
    y = np.array([0.3, np.nan, 1.5, -0.7])
    joint, total = np.zeros((4, 3)), 0.0
    pairs = np.zeros((3, 3, 3))
    for path in itertools.product(range(3), repeat=4):
        p = first[path[0]] * np.prod([matrix[a, b] for a, b in itertools.pairwise(path)])
        for t in (0, 2, 3):
            p *= norm.pdf(y[t], means[path[t]], scales[path[t]])
        total += p
        for t in range(4):
            joint[t, path[t]] += p
        for t in range(3):
            pairs[t, path[t], path[t + 1]] += p
    found = smw.forward_backward(smw.models.finite_hmm(first, matrix, means, scales), y)
    np.testing.assert_allclose(found.probabilities, joint / total, atol=1e-13)
    np.testing.assert_allclose(found.pair_probabilities, pairs / total, atol=1e-13)
    assert found.log_likelihood == pytest.approx(np.log(total))


def differences(model, y):
    """The gradient of log p(y) by central differences."""
    step = 1e-5 * np.eye(model.theta.size)
    ends = [
        [smw.kalman_filter(model.with_theta(model.theta + s), y).log_likelihood for s in (-e, e)]
        for e in step
    ]
    return np.diff(ends)[:, 0] / 2e-5


@pytest.mark.parametrize("scalar", [True, False])
def test_the_exact_score_is_that_of_differences(scalar):
    matrices = (A, Q, H, R, M, P)
    model = smw.models.linear_gaussian(*((0.9, 1.0, 0.5, 2.0) if scalar else matrices))
    _, y = model.simulate(9, seed=1)
    y[4] = np.nan
    np.testing.assert_allclose(
        smw.kalman_score(model, y), differences(model, y), rtol=1e-6, atol=1e-7
    )


def test_filter_and_forecast_are_the_smoothers_of_shorter_and_longer_series():
    model = smw.models.linear_gaussian(A, Q, H, R, M, P)
    _, y = model.simulate(6, seed=1)
    y[2, 1] = np.nan
    found, ahead = smw.kalman_filter(model, y), smw.kalman_forecast(model, y, 3)
    for t in range(6):
        part = smw.kalman_smoother(model, y[: t + 1])
        np.testing.assert_allclose(found.means[t], part.means[-1], rtol=1e-12)
        np.testing.assert_allclose(found.covariances[t], part.covariances[-1], rtol=1e-11)
    whole = smw.kalman_smoother(model, np.concatenate([y, np.full((3, 3), np.nan)]))
    np.testing.assert_allclose(ahead.means, whole.means[6:], rtol=1e-12)
    np.testing.assert_allclose(ahead.covariances, whole.covariances[6:], rtol=1e-11)
    np.testing.assert_allclose(ahead.observation_means, whole.means[6:] @ H.T, rtol=1e-12)
    spread = H @ whole.covariances[6:] @ H.T + R
    np.testing.assert_allclose(ahead.observation_covariances, spread, rtol=1e-11)
    np.testing.assert_allclose(found.predicted_means[3], A @ found.means[2], rtol=1e-12)


def varying(n_steps, d=3, p=2, seed=3):
    """Matrices of every time, covariances of lower rank."""
    rng = np.random.default_rng(seed)
    roots = [rng.standard_normal((n_steps, k, rank)) for k, rank in ((d, 2), (p, 1))]
    q, r = (root @ np.swapaxes(root, 1, 2) for root in roots)
    first = rng.standard_normal((d, 1))
    a, h = 0.5 * rng.standard_normal((n_steps, d, d)), rng.standard_normal((n_steps, p, d))
    offsets = {
        "transition_offset": rng.standard_normal((n_steps, d)),
        "observation_offset": rng.standard_normal((n_steps, p)),
    }
    return (a, q, h, r, rng.standard_normal(d), first @ first.T), offsets


def test_singular_matrices_of_every_time_are_one_dense_gaussian():
    (a, q, h, r, m, p), offsets = varying(7)
    model = smw.models.linear_gaussian(a, q, h, r, m, p, **offsets)
    _, y = model.simulate(7, seed=1)
    y[2, 0], y[4] = np.nan, np.nan
    c, e = offsets.values()
    mean, cov = [m], np.zeros((21, 21))
    cov[:3, :3] = p
    for t in range(1, 7):
        now, past = slice(3 * t, 3 * t + 3), slice(3 * t - 3, 3 * t)
        mean.append(a[t] @ mean[-1] + c[t])
        cov[now, : 3 * t] = a[t] @ cov[past, : 3 * t]
        cov[: 3 * t, now] = cov[now, : 3 * t].T
        cov[now, now] = a[t] @ cov[past, past] @ a[t].T + q[t]
    mean, seen = np.concatenate(mean), ~np.isnan(y.ravel())
    sights, noise = block_diag(*h)[seen], block_diag(*r)[np.ix_(seen, seen)]
    s = sights @ cov @ sights.T + noise
    gain, rest = cov @ sights.T @ np.linalg.inv(s), (y - e).ravel()[seen] - sights @ mean
    mean, cov = mean + gain @ rest, cov - gain @ sights @ cov
    found = smw.kalman_smoother(model, y)
    np.testing.assert_allclose(found.means.ravel(), mean, atol=1e-11)
    for t in range(7):
        now, later = slice(3 * t, 3 * t + 3), slice(3 * t + 3, 3 * t + 6)
        np.testing.assert_allclose(found.covariances[t], cov[now, now], atol=1e-11)
        if t < 6:
            np.testing.assert_allclose(found.lag_one_covariances[t], cov[later, now], atol=1e-11)
    truth = multivariate_normal(np.zeros(len(s)), s).logpdf(rest)
    assert found.log_likelihood == pytest.approx(truth, abs=1e-9)
    with pytest.raises(
        ValueError, match="matrices of 7 times; expected at least 9, one per time of y"
    ):
        smw.kalman_forecast(model, y, 2)


def test_a_diffuse_state_is_the_limit_of_a_wide_one():
    """Two unknown directions of three; log likelihoods differ by log(1e3) for each."""
    (a, q, h, r, m, p), _ = varying(8, seed=5)
    directions = np.array([[1.0, 0.2], [0.5, -1.0], [0.0, 2.0]])
    more = np.eye(2) * 0.5
    _, y = smw.models.linear_gaussian(a, q, h, r + more, m, p).simulate(8, seed=2)
    y[1, 0] = np.nan
    model = smw.models.linear_gaussian(a, q, h, r + more, m, p, initial_diffuse=directions)
    wide = smw.models.linear_gaussian(a, q, h, r + more, m, p + 1e6 * directions @ directions.T)
    for name in ("means", "covariances", "lag_one_covariances"):
        one, other = (getattr(smw.kalman_smoother(m, y), name) for m in (model, wide))
        np.testing.assert_allclose(one, other, atol=1e-3)
    gap = smw.kalman_filter(model, y).log_likelihood - smw.kalman_filter(wide, y).log_likelihood
    assert gap == pytest.approx(2 * np.log(1e3), abs=1e-3)
    np.testing.assert_allclose(
        smw.kalman_filter(model, y).means[-1], smw.kalman_smoother(model, y).means[-1]
    )


def test_what_contradicts_a_model_without_noise_is_told_with_its_time():
    line = smw.models.linear_gaussian(
        [[1.0, 1.0], [0.0, 1.0]],
        np.zeros((2, 2)),
        [[1.0, 0.0]],
        [[0.0]],
        initial_diffuse=[True, True],
    )
    y = np.array([1.0, 3.0, 5.0, np.nan, 9.0])
    np.testing.assert_allclose(smw.kalman_smoother(line, y).means[:, 0], [1, 3, 5, 7, 9])
    assert np.isnan(smw.kalman_filter(line, y).means[0, 1])
    y[4] = 9.1
    with pytest.raises(smw.DegeneracyError, match=r"time 4: y = \[9.1\] contradicts the model"):
        smw.kalman_filter(line, y)
    with pytest.raises(smw.DegeneracyError, match="don't tell the diffuse initial state"):
        smw.kalman_filter(line, y[:1])


def test_the_tiny_chain_has_its_published_truth():
    assert pytest.approx(4.784123145429, abs=1e-11) == TRUTH
    assert pytest.approx(0.035168175, abs=1e-12) == LIKELIHOOD


def test_observations_of_other_shapes_are_told_by_their_shapes():
    y, scalar = np.zeros((4, 2)), smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    hmm = smw.models.finite_hmm([0.5, 0.5], [[0.9, 0.1], [0.3, 0.7]], [0.0, 2.0], [1.0, 1.0])
    for method, model in ((smw.kalman_filter, scalar), (smw.forward_backward, hmm)):
        with pytest.raises(ValueError, match=r"y: got shape \(4, 2\); expected \(T,\) or \(T, 1\)"):
            method(model, y)


def test_other_models_are_refused():
    model = smw.models.stochastic_volatility(0.9, 0.3)
    with pytest.raises(ValueError, match=r"made by models\.linear_gaussian"):
        smw.kalman_smoother(model, [0.0])
    with pytest.raises(ValueError, match=r"made by models\.finite_hmm"):
        smw.forward_backward(model, [0.0])
    with pytest.raises(TypeError, match="expected a StateSpaceModel"):
        smw.kalman_smoother(3, [0.0])


def test_an_observation_beyond_all_states_is_named():
    model = smw.models.finite_hmm([0.5, 0.5], [[0.9, 0.1], [0.3, 0.7]], [0.0, 2.0], [1.0, 1.0])
    with pytest.raises(smw.DegeneracyError, match=r"time 1: y = 1e\+200 is impossible"):
        smw.forward_backward(model, [0.0, 1e200, 0.0])
