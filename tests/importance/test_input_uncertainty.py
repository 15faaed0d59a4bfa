"""The data's share of an error, against gradients and coverage that are known exactly."""

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import smcweights as smw
from smcweights.importance.input_uncertainty import LawMixture

NAMES = ("a", "b", "c")


def measured(sizes, seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=n) for name, n in zip(NAMES, sizes, strict=True)}


def fitted(data):
    return {name: stats.norm(part.mean(), part.std()) for name, part in data.items()}


def margin(x):
    return 5.2 - x.sum(1)


def variances(law, sizes):
    """Exact variances that each input's data cause in P(sum > 5.2)."""
    m, s = sum(f.mean() for f in law.values()), np.sqrt(sum(f.var() for f in law.values()))
    z = (5.2 - m) / s
    slope, bend = stats.norm.pdf(z) / s, stats.norm.pdf(z) * z / s**2
    return [
        slope**2 * f.var() / n + (bend * f.std()) ** 2 * f.var() / (2 * n)
        for f, n in zip(law.values(), sizes, strict=True)
    ]


@pytest.fixture(scope="module")
def case():
    sizes = (30, 60, 200)
    data = measured(sizes, 3)
    law = fitted(data)
    estimate = smw.failure_probability(margin, law, 3_000, seed=1)
    return data, law, sizes, estimate, smw.input_uncertainty(estimate, data, seed=1)


def test_errors_and_shares_are_those_of_the_exact_gradient(case):
    _, law, sizes, estimate, found = case
    exact = np.array(variances(law, sizes))
    # 400 refits tell a standard error to 4 %, the draws a derivative to 3 %
    assert found.data.standard_error == pytest.approx(np.sqrt(exact.sum()), rel=0.2)
    shares = found.shares.value[1:]
    assert (np.abs(shares - exact / exact.sum()) < 5 * found.shares.standard_error[1:] + 0.01).all()
    assert found.shares.value.sum() == pytest.approx(1.0)
    assert found.total.variance == pytest.approx(found.data.variance + estimate.variance)
    assert found.computation.value == estimate.value == found.total.value
    assert found.measurements == sizes and found.inputs == NAMES
    lower, upper = found.total.interval()
    assert 0 < lower < stats.norm.sf(5.2 / 3**0.5) < upper
    beta = stats.norm.isf([lower, found.total.value, upper])
    # straight on the scale of the normal quantile
    assert beta[0] - beta[1] == pytest.approx(beta[1] - beta[2])
    assert "30 of a, 60 of b, 200 of c" in repr(found)
    assert smw.plots.uncertainty(found).get_xlim() == (0, 1)


@pytest.mark.slow
def test_same_seed_same_bits_and_rows_measured_together(case):
    data, _, _, estimate, found = case
    again = smw.input_uncertainty(estimate, data, seed=1)
    assert again.total.variance == found.total.variance
    other = smw.input_uncertainty(estimate, data, seed=2, scheme="nonparametric", resamples=100)
    assert other.data.standard_error == pytest.approx(found.data.standard_error, rel=0.5)
    rows = np.random.default_rng(1).normal(size=(50, 3))
    law = dict(zip(NAMES, [stats.norm(*stats.norm.fit(c)) for c in rows.T], strict=True))
    mean = smw.importance_sampling(lambda x: x[:, 0] - x[:, 2], law, law, 2_000, seed=1)
    joint = smw.input_uncertainty(mean, rows, seed=1)
    exact = (law["a"].var() + law["c"].var()) / 50
    assert joint.data.variance == pytest.approx(exact, rel=0.35)


@pytest.mark.slow
def test_quantiles_of_a_law_move_with_its_parameters():
    sizes = (40, 40, 40)
    data = measured(sizes, 5)
    law = fitted(data)
    found = smw.output_law(
        lambda x: x.sum(1), law, 3_000, quantiles=(0.5, 0.99), tails=(0.01, 0.01), seed=2
    )
    moved = smw.input_uncertainty(found, data, seed=1)
    s2 = sum(f.var() for f in law.values())
    z = stats.norm.ppf([0.5, 0.99])
    exact = s2 / 40 + z**2 * sum(f.var() ** 2 for f in law.values()) / s2 / 80
    assert moved.data.standard_error == pytest.approx(np.sqrt(exact), rel=0.25)
    assert (moved.total.standard_error > found.quantiles.standard_error).all()
    lower, upper = moved.total.interval(0.9999)
    assert ((lower < 3**0.5 * z) & (3**0.5 * z < upper)).all()
    assert moved.shares.names[0] == "q(0.5): computation" and len(moved.shares) == 8
    # medians and far quantiles move together
    assert 0.3 < moved.total.covariance[0, 1] / moved.total.standard_error.prod() < 1


@pytest.mark.slow
def test_laws_refitted_elsewhere_are_weighted_or_refused(case):
    data, law, sizes, estimate, _ = case
    rng = np.random.default_rng(4)
    refits = [
        fitted(
            {k: f.rvs(n, random_state=rng) for (k, f), n in zip(law.items(), sizes, strict=True)}
        )
        for _ in range(40)
    ]
    other = smw.input_uncertainty(estimate, laws=refits)
    lower, upper = other.total.interval()
    assert lower < stats.norm.sf(5.2 / 3**0.5) < upper and other.shares.names == (
        "computation",
        "data",
    )
    far = [{k: stats.norm(3 + i / 10, 0.3) for k in NAMES} for i in range(20)]
    with pytest.raises(smw.DegeneracyError, match=r"about [\d,]+ calls would do"):
        smw.input_uncertainty(estimate, laws=far)
    proposal = smw.input_uncertainty(estimate, data, widen=True, seed=1)
    assert isinstance(proposal, LawMixture) and proposal.rvs(5, np.random.default_rng(1)).shape == (
        5,
        3,
    )
    again = smw.importance_sampling(lambda x: x.sum(1), law, proposal, 2_000, seed=1)
    assert abs(again.value - sum(f.mean() for f in law.values())) < 5 * again.standard_error


def test_what_can_not_be_promised_of_the_estimate_stays_said():
    data = {"a": stats.norm.ppf((np.arange(20) + 0.5) / 20)}
    law = fitted(data)
    with pytest.warns(smw.PrecisionWarning):
        estimate = smw.importance_sampling(lambda x: x[:, 0] > 3, law, law, 600, seed=1)
    found = smw.input_uncertainty(estimate, data, resamples=50, seed=1)
    assert estimate.cautions and found.cautions[: len(estimate.cautions)] == estimate.cautions


def test_few_data_that_bend_a_tail_are_told():
    data = {"a": stats.norm.ppf((np.arange(5) + 0.5) / 5)}
    law = fitted(data)
    estimate = smw.importance_sampling(lambda x: np.abs(x[:, 0]) > 2, law, law, 5_000, seed=1)
    with pytest.warns(smw.PrecisionWarning, match="curvature"):
        smw.input_uncertainty(estimate, data, resamples=50, seed=1)


def test_a_shape_and_a_scale_that_are_known_only_together_bend_nothing():
    data = {"a": np.random.default_rng(1).gamma(9.0, 1 / 3, 30)}
    shape, _, scale = stats.gamma.fit(data["a"], floc=0)
    law = {"a": stats.gamma(shape, scale=scale)}
    estimate = smw.importance_sampling(lambda x: 1 / x[:, 0], law, law, 3_000, seed=1)
    # without a warning; by Fisher's information about shape a and log scale
    found = smw.input_uncertainty(estimate, data, resamples=200, seed=1)
    information = 30 * np.array([[special.polygamma(1, shape), 1], [1, shape]])
    slope = -np.array([1 / (shape - 1), 1]) / (scale * (shape - 1))
    exact = np.sqrt(slope @ np.linalg.solve(information, slope))
    # 200 refits tell it to 5 %, 30 data are to 10 % as many as infinitely many
    assert found.data.standard_error == pytest.approx(exact, rel=0.3)


def test_bad_arguments_say_what_was_expected(case):
    data, _, _, estimate, _ = case
    for given, message in (
        ({}, "data and laws: got neither"),
        ({"data": data, "laws": [fitted(data)]}, "data and laws: got both"),
        ({"data": {"a": data["a"] + 5}}, "other values of a loc than the law of the estimate"),
        ({"data": data, "resamples": 10}, "resamples: got 10; expected a whole number from 50"),
        ({"data": data, "scheme": "jackknife"}, "scheme: got 'jackknife'; expected one of"),
        ({"laws": [fitted(data)]}, "laws: got 1; expected at least 20"),
    ):
        with pytest.raises(ValueError, match=message):
            smw.input_uncertainty(estimate, seed=1, **given)
    with pytest.raises(ValueError, match="has no sample"):
        smw.input_uncertainty(smw.Estimate(1.0, 1.0), data)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_the_true_probability_is_covered_and_not_by_the_computing_error():
    """60 sets of 30 measurements: bounds of 1e-4, which see 3 in 4 half of the time."""
    exact, total, alone = stats.norm.sf(5.2 / 3**0.5), 0, 0
    for seed in range(60):
        data = measured((30, 30, 30), 100 + seed)
        estimate = smw.failure_probability(margin, fitted(data), 1_000, seed=seed)
        found = smw.input_uncertainty(estimate, data, resamples=100, seed=seed)
        total += np.prod(np.subtract(found.total.interval(), exact)) < 0
        alone += np.prod(np.subtract(estimate.interval(), exact)) < 0
    assert total >= stats.binom.ppf(1e-4, 60, 0.95) and alone < 30


@pytest.mark.slow
def test_rows_of_dependent_inputs_are_refitted_with_their_correlation():
    rows = np.random.default_rng(3).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 80)
    r = np.corrcoef(rows.T)[0, 1]
    law = smw.GaussianCopula(
        {n: stats.norm(*stats.norm.fit(c)) for n, c in zip("xy", rows.T, strict=True)},
        [[1, r], [r, 1]],
    )
    estimate = smw.importance_sampling(lambda x: x[:, 0] * x[:, 1], law, law, 2_000, seed=1)
    found = smw.input_uncertainty(estimate, rows, resamples=200, seed=1)
    # a mean of products of n centred normals has the variance (1 + r^2)/n; 200 refits tell it to
    # 10 %, 2,000 draws tell its derivatives to some 5 %
    scale = rows.std(0).prod()
    assert found.data.variance == pytest.approx(scale**2 * (1 + r * r) / 80, rel=0.6)
    frame = pd.DataFrame(rows, columns=["x", "y"])
    again = smw.input_uncertainty(estimate, frame, resamples=200, seed=1)
    assert again.total.variance == found.total.variance
    assert found.shares.names[-1] == "dependence"
