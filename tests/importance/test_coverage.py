"""Do 95 % intervals cover 95 times in 100?

Truths are closed forms or deterministic quadrature (`smcweights.problems`), none of them symmetric
in every expectation. One honest expectation in 50,000 fails; a true coverage of 0.89, or a bias of
0.23 standard deviations, is seen with probability above 0.98, as 1,000 seeds see it. `repeated`
stops as soon as that is settled. The seeds are fixed. As sharp as twice as many, which see 0.91:

    COVERAGE_SEEDS=2000 python -m pytest tests/importance/test_coverage.py
"""

import os

import numpy as np
import pytest
from scipy import stats
from sequential import repeated

import smcweights as smw
from smcweights import problems

from .cases import NORMAL

SEEDS = int(os.environ.get("COVERAGE_SEEDS", "1000"))

# the first expectations of each problem: those a thousand calls can reach at all. Rarer ones end
# in a PrecisionWarning at this budget, and are measured at larger ones in benchmarks/importance.py
CASES = {
    "borehole": 3,
    "g_function": 4,
    "bounded_sum": 3,  # beta inputs: bounded, skewed
    "correlated_normals": 3,
    "lognormal_ratio": 3,  # Gaussian copula of lognormals
    "ishigami": 3,
    "cantilever_beam": 3,
    "linear_limit_state": 1,
}


def columns(x, problem, count):
    return problem.integrand(x)[:, :count]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_intervals_cover_and_means_are_unbiased(name):
    problem, count = getattr(problems, name)(), CASES[name]
    truth = problem.expectations[:count]
    # single runs may warn of few effective draws; what is promised is judged over all of them
    found = repeated(
        lambda seed: smw.adaptive_importance_sampling(
            lambda x: columns(x, problem, count), problem.law, 1_000, seed=seed
        ),
        truth,
        SEEDS,
        unbiased=True,
        alarm=5e-6,
    )
    # errors in units of the standard error each run reported: intervals are Student's, so a little
    # over one is right where that standard error is itself uncertain
    squares = np.array([((est.value - truth) / est.standard_error) ** 2 for est in found])
    unit, slack = squares.mean(0), 3 * squares.std(0) / np.sqrt(len(found))
    assert ((unit > 0.9**2 - slack) & (unit < 1.25**2 + slack)).all(), np.sqrt(unit)


@pytest.mark.slow
def test_pooling_counts_its_bias():
    """As 40 seeds: sees the coverage of 0.46 it once was with probability above 0.999."""

    def pair(x):
        return np.stack([np.exp(x.sum(axis=1) / 2), x[:, 0] > 4], axis=1)

    repeated(
        lambda seed: smw.adaptive_importance_sampling(pair, NORMAL, 5_000, pooled=True, seed=seed),
        [np.exp(0.25), stats.norm.sf(4)],
        40,
    )


@pytest.mark.slow
def test_heavy_joint_tails_cover():
    """As 50 seeds; a component with the tails of a Cauchy law bounds x^2 times the weight."""
    law = stats.multivariate_t([0, 0], np.eye(2), df=3)
    repeated(
        lambda seed: smw.adaptive_importance_sampling(
            lambda x: np.stack([x[:, 0] > 30, x[:, 0] ** 2], axis=1), law, 5_000, seed=seed
        ),
        [stats.t.sf(30, 3), 3.0],
        50,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("integrand", "law", "truth"),
    [
        (lambda x: x[:, 0] ** 2, stats.t(2.5), 5.0),
        (lambda x: x[:, 0], stats.pareto(1.2), 6.0),
        (lambda x: np.exp(0.45 * x[:, 0] ** 2), stats.norm(), np.sqrt(10)),
    ],
    ids=["t", "pareto", "exponential of a square"],
)
def test_means_whose_plain_variance_is_infinite_cover(integrand, law, truth):
    """As 80 seeds: sees a coverage of 0.67 with probability 0.99."""
    repeated(
        lambda seed: smw.adaptive_importance_sampling(integrand, law, 2_000, seed=seed), truth, 80
    )


@pytest.mark.slow
@pytest.mark.parametrize(("index", "truth"), [(1.05, 21.0), (1.1, 11.0)], ids=["21", "11"])
def test_means_of_very_heavy_tails_are_estimated(index, truth):
    """As 30 seeds, which see a coverage of 0.44 with probability 0.99."""
    repeated(
        lambda seed: smw.adaptive_importance_sampling(
            lambda x: x[:, 0], stats.pareto(index), 4_000, seed=seed
        ),
        truth,
        30,
    )
