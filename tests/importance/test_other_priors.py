"""Posteriors under other priors, against conjugate ones; |z| < 5 fails once in a million."""

import warnings

import numpy as np
import pytest
from scipy import stats

import smcweights as smw

D, N = 3, 40
X = np.random.default_rng(4).standard_normal((N, D))
Y = X @ np.linspace(-1.5, 1, D) + np.random.default_rng(5).standard_normal(N)


def log_likelihood(t):
    return stats.norm.logpdf(Y, t @ X.T).sum(-1)


def truth(centre, scale):
    """Log evidence, means and standard deviations under normal priors, in closed form."""
    covariance = np.linalg.inv(X.T @ X + np.eye(D) / scale**2)
    mean = covariance @ (X.T @ Y + centre / scale**2)
    y = stats.multivariate_normal(X.sum(1) * centre, np.eye(N) + scale**2 * X @ X.T)
    return np.concatenate([[y.logpdf(Y)], mean, np.sqrt(np.diag(covariance))])


def prior(centre, scale):
    return {f"b{i}": stats.norm(centre, scale) for i in range(D)}


def posterior(seed, budget=3_000):
    return smw.posterior(log_likelihood, prior(0, 2), budget, quantiles=(), seed=seed)


def test_evidence_means_and_spreads_under_other_priors():
    found = posterior(1)
    moved = smw.reweight(found, {"narrow": prior(0, 1.4), "moved": prior(0.3, 2)})
    assert moved.names[:2] == ("log evidence | narrow", "b0 | narrow")
    assert moved.names[-1] == "sd[b2] | moved"
    for part, known in ((moved[:7], truth(0, 1.4)), (moved[7:], truth(0.3, 2))):
        assert (np.abs(part.value - known) < 5 * part.standard_error).all()
    # what both share cancels in their Bayes factor
    log_factor = moved[[0, 7]].apply(lambda z: z[0] - z[1])
    assert log_factor.standard_error < 0.8 * np.hypot(*moved[[0, 7]].standard_error)
    same = smw.reweight(found, prior(0, 2))
    assert same.names == found.joint.names
    assert (np.abs(same.value - found.joint.value) < 5 * same.standard_error).all()


def test_a_constant_among_the_inputs_has_no_error():
    """Its standard deviation is 0, its mean itself; p is of a conjugate beta law."""
    first, second = ({"p": stats.beta(a, 2), "k": 0.3} for a in (2, 1.5))
    found = smw.posterior(
        lambda t: stats.binom.logpmf(14, 20, t[:, 0]), first, 1_000, quantiles=(), seed=16
    )
    moved = smw.reweight(found, second)
    for one, a in ((found.joint, 2), (moved, 1.5)):
        assert not one.cautions
        k = one[["k", "sd[k]"]]
        assert np.abs(k.value - [0.3, 0.0]).max() < 1e-15 and k.standard_error.max() < 1e-15
        known = stats.beta(14 + a, 8)
        p = one[["p", "sd[p]"]]
        assert (np.abs(p.value - [known.mean(), known.std()]) < 5 * p.standard_error).all()


def test_what_no_draw_can_tell_is_refused():
    found = posterior(2, 1_000)
    with pytest.raises(smw.DegeneracyError, match="'far': got draws worth"):
        smw.reweight(found, {"far": prior(6, 0.1)})
    bounded = smw.posterior(
        log_likelihood, [stats.uniform(-5, 10)] * D, 1_000, quantiles=(), seed=3
    )
    with pytest.raises(ValueError, match=r"laws: .* lies outside \[-5, 5\]"):
        smw.reweight(bounded, prior(0, 2))
    open_ended = smw.posterior(
        log_likelihood,
        lambda t: -np.abs(t).sum(1),
        1_000,
        reference=prior(0, 2),
        quantiles=(),
        seed=5,
    )
    with pytest.raises(ValueError, match="up to a constant"):
        smw.reweight(open_ended, prior(0, 1))


@pytest.mark.slow
def test_coverage_of_200_runs_under_another_prior():
    """Unwarned 95 % intervals of seven: 170 of them cover .87 to 1, false alarm 1e-5 each."""
    hits, quiet, known = np.zeros(7), 0, truth(0.3, 1.0)
    for seed in range(200):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", smw.PrecisionWarning)
            moved = smw.reweight(posterior(seed, 1_500), prior(0.3, 1.0))
        if not moved.cautions:
            quiet += 1
            lower, upper = moved.interval()
            hits += (lower <= known) & (known <= upper)
    assert quiet > 140
    assert (hits / quiet > 0.87).all(), hits / quiet
