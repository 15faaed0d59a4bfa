"""A given proposal: what it estimates, and what it leaves out of the law."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sequential import repeated

import smcweights as smw

from .cases import NORMAL, coverage, lower_bound, quiet, smooth_and_tail, square, told


def agrees(estimate, truth, z=5.0):
    """|z| < 5 is broken by chance once in a million."""
    return bool((np.abs(estimate.value - truth) < z * estimate.standard_error).all())


@pytest.mark.parametrize("defensive", [0.0, 0.1, 0.5])
def test_a_given_proposal(defensive):
    est = smw.importance_sampling(
        lambda x: x[:, 0] > 4, stats.norm(), stats.norm(4, 1), 20_000, defensive=defensive, seed=21
    ) if defensive else quiet(
        smw.importance_sampling, lambda x: x[:, 0] > 4, stats.norm(), stats.norm(4, 1), 20_000,
        defensive=0.0, seed=21,
    )  # fmt: skip
    assert agrees(est, stats.norm.sf(4))
    assert est.relative_error < 0.05


@pytest.mark.slow
def test_given_proposals_cover_2000_times():
    """As 2,000 seeds: sees coverages of 0.91 and 0.98 with probability 0.99."""
    repeated(
        lambda seed: smw.importance_sampling(
            lambda x: x[:, 0] > 2, stats.norm(), stats.norm(2, 1), 500, seed=seed
        ),
        stats.norm.sf(2),
        2_000,
        alarm=1e-7,
    )


class Unnormalised:
    """A normal law whose density lacks its constant."""

    def rvs(self, size, random_state):
        return stats.norm.rvs(size=size, random_state=random_state)

    def logpdf(self, x):
        return -0.5 * np.asarray(x).reshape(len(x), -1)[:, 0] ** 2 + 7.0


def test_self_normalisation_needs_no_constant():
    est = smw.importance_sampling(
        lambda x: x[:, 0] ** 2,
        Unnormalised(),
        stats.norm(0, 2),
        20_000,
        self_normalized=True,
        seed=22,
    )
    assert "self-normalised" in est.method
    assert agrees(est, 1.0)


def test_a_proposal_wider_than_the_support_never_calls_outside():
    def logarithm(x):
        assert (x > 0).all()
        return np.log(x[:, 0])

    est = smw.importance_sampling(logarithm, stats.uniform(), stats.norm(0.5, 0.5), 20_000, seed=23)
    assert agrees(est, -1.0)


@pytest.mark.slow
@pytest.mark.parametrize("n", [500, 5_000])
@pytest.mark.parametrize("defensive", [0.1, 0.5])
def test_polynomials_with_a_given_proposal_cover(n, defensive):
    """As 200 seeds: sees a coverage of 0.79, and 0.80 as it once was, with probability 0.98."""
    law, start = [stats.norm()] * 2, [stats.norm(1, 1.2)] * 2
    truth = [np.exp(0.25), stats.norm.sf(3 / np.sqrt(2))]
    repeated(
        lambda seed: smw.importance_sampling(
            smooth_and_tail,
            law,
            start,
            n,
            defensive=defensive,
            control_variates="polynomial",
            seed=seed,
        ),
        truth,
        200,
    )


@pytest.mark.slow
def test_polynomials_of_a_bounded_law_cover_while_they_remove_nearly_all_variance():
    truth = [4 * (np.exp(0.5) - 1) ** 2, 0.02]

    def pair(x):
        s = x.sum(axis=1)
        return np.stack([np.exp(s / 2), s > 1.8], axis=1)

    repeated(
        lambda seed: smw.importance_sampling(
            pair,
            [stats.uniform()] * 2,
            [stats.beta(2, 1)] * 2,
            2_000,
            control_variates="polynomial",
            seed=seed,
        ),
        truth,
        200,
    )


def test_what_a_proposal_alone_can_miss_has_no_standard_error():
    est = told(
        "there is no standard error",
        smw.importance_sampling,
        lambda x: x[:, 0] > 5,
        stats.norm(),
        stats.norm(-5, 1),
        1_000,
        defensive=0,
        seed=1,
    )
    assert est.value == 0
    assert np.isnan(est.standard_error)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"defensive": "a"}, TypeError, "defensive: got 'a'"),
        ({"proposal": None}, TypeError, "proposal: got None; expected a law"),
        ({"self_normalized": 1}, TypeError, "self_normalized: got 1"),
        ({"self_normalized": True, "defensive": 0.2}, ValueError, "defensive: needs a normalised"),
        (
            {"self_normalized": True, "control_variates": "polynomial"},
            ValueError,
            "control_variates: need a normalised",
        ),
    ],
    ids=["defensive", "proposal", "flag", "share", "controls"],
)
def test_bad_arguments_of_a_given_proposal_are_told(change, error, said):
    arguments = {"law": NORMAL, "proposal": NORMAL, "budget": 1_000, **change}
    with pytest.raises(error, match=said):
        smw.importance_sampling(smooth_and_tail, **arguments)


def pair_of_moments(x):
    return np.stack([x[:, 0], x[:, 0] ** 2], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "n", [200, *(pytest.param(n, marks=pytest.mark.slow) for n in (2_000, 20_000))]
)
@pytest.mark.parametrize("normalised", [True, False], ids=["weights", "self-normalised"])
def test_a_proposal_that_reaches_too_little_of_the_law_is_told(n, normalised):
    """The weights of the draws made look harmless; the law's own draws say what they miss."""
    _, told = coverage(
        lambda seed: smw.importance_sampling(
            pair_of_moments,
            stats.norm(),
            stats.norm(2, 1),
            n,
            defensive=0,
            self_normalized=not normalised,
            seed=seed,
        ),
        [0, 1],
        40,
    )
    assert (told >= lower_bound(40)).all(), told


def test_a_proposal_without_density_on_part_of_the_law():
    half = stats.uniform(0, 0.5)
    with pytest.warns(smw.PrecisionWarning, match=r"(49|50)\.\d+% of the law lies .* no density"):
        smw.importance_sampling(
            lambda x: x[:, 0], stats.uniform(), half, 2_000, defensive=0, seed=1
        )
    with pytest.raises(ValueError, match=r"(49|50)\.\d+% of the law lies .* no density"):
        smw.importance_sampling(
            lambda x: x[:, 0], stats.uniform(), half, 2_000, self_normalized=True, seed=1
        )


@pytest.mark.slow
def test_a_proposal_that_covers_is_not_suspected():
    """Textbook uses, 60 seeds each: no caution but those about the weights themselves."""
    rate, _ = coverage(
        lambda seed: smw.importance_sampling(
            lambda x: x[:, 0] > 4, stats.norm(), stats.norm(4, 1), 2_000, defensive=0, seed=seed
        ),
        stats.norm.sf(4),
        60,
    )
    assert rate >= lower_bound(60)
    for seed in range(60):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            smw.importance_sampling(
                pair_of_moments, stats.norm(), stats.norm(0, 1.5), 2_000, defensive=0, seed=seed
            )


@pytest.mark.parametrize(
    ("law", "proposal"),
    [
        (stats.norm(), stats.uniform(-1, 2)),
        (stats.expon(), stats.uniform()),
        (stats.norm(), smw.Truncated(stats.norm(), -1, 1)),
        (stats.uniform(0, 2), stats.uniform()),
    ],
    ids=["normal", "exponential", "truncated", "uniform"],
)
def test_a_proposal_without_density_where_the_integrand_counts_has_no_standard_error(law, proposal):
    # E[x^2] came out five times too small, +- 3 %
    for budget in (100, 600, 5_000):
        with pytest.warns(smw.PrecisionWarning, match="of the law lies where the proposal has no"):
            est = smw.importance_sampling(square, law, proposal, budget, defensive=0, seed=1)
        assert np.isnan(est.standard_error)
        assert est.cost["evaluations"] <= budget


@pytest.mark.slow
def test_a_proposal_may_leave_out_what_the_integrand_leaves_out():
    """40 intervals without a warning: 32 or fewer cover with probability below 1e-3."""
    proposal = smw.Truncated(stats.norm(5, 1), 5, np.inf)
    rate, _ = coverage(
        lambda seed: smw.importance_sampling(
            lambda x: x[:, 0] > 5, stats.norm(), proposal, 600, defensive=0, seed=seed
        ),
        stats.norm.sf(5),
        40,
    )
    assert rate > 0.8
    # the density ends inside the event: half of the calls look next to what was seen
    with pytest.warns(smw.PrecisionWarning, match="no standard error"):
        smw.importance_sampling(
            lambda x: x[:, 0] > 2.5, stats.norm(), stats.uniform(-1, 4), 600, defensive=0, seed=1
        )
