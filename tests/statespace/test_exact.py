"""Kalman against one dense Gaussian, forward-backward against enumeration."""

import itertools

import numpy as np
import pytest
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


def test_the_tiny_chain_has_its_published_truth():
    assert pytest.approx(4.784123145429, abs=1e-11) == TRUTH
    assert pytest.approx(0.035168175, abs=1e-12) == LIKELIHOOD


def test_other_models_are_refused():
    model = smw.models.stochastic_volatility(0.9, 0.3)
    with pytest.raises(ValueError, match=r"made by models\.linear_gaussian"):
        smw.kalman_smoother(model, [0.0])
    with pytest.raises(ValueError, match=r"made by models\.finite_hmm"):
        smw.forward_backward(model, [0.0])
    with pytest.raises(TypeError, match="expected a StateSpaceModel"):
        smw.kalman_smoother(3, [0.0])
