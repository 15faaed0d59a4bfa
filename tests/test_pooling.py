"""Pooled runs: weighted by calls, refused where they answer different questions."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats
from estimates import COVARIANCE, VALUE, coverage_bounds, example

from smcweights import from_weights, importance_sampling, reweight
from smcweights.cautions import Caution
from smcweights.errors import PrecisionWarning
from smcweights.estimate import Estimate
from smcweights.pooling import combine, log_bayes_factor
from smcweights.provenance import provenance
from smcweights.stopping import Precision


def runs_of(values, covariances, evaluations, **common):
    return [
        Estimate(v, c, cost={"evaluations": n, "seconds": 1.5}, **common)
        for v, c, n in zip(values, covariances, evaluations, strict=True)
    ]


def test_runs_are_weighted_by_evaluations():
    values = [VALUE, VALUE + 0.1, VALUE - 0.05]
    covariances = [COVARIANCE, COVARIANCE * 2, COVARIANCE / 3]
    pooled = combine(runs_of(values, covariances, [100, 300, 600], degrees_of_freedom=7))
    np.testing.assert_allclose(pooled.value, VALUE + 0.3 * 0.1 - 0.6 * 0.05)
    np.testing.assert_allclose(
        pooled.covariance, COVARIANCE * (0.1**2 + 2 * 0.3**2 + 0.6**2 / 3), rtol=1e-12
    )
    parts = np.array([0.1**2, 2 * 0.3**2, 0.6**2 / 3])
    np.testing.assert_allclose(pooled.degrees_of_freedom, 7 * parts.sum() ** 2 / (parts**2).sum())
    assert pooled.cost == {"evaluations": 1000, "seconds": 4.5}
    assert pooled.diagnostics["runs"] == 3
    factors = [
        Estimate(v, factor=np.linalg.cholesky(c), cost={"evaluations": n})
        for v, c, n in zip(values, covariances, [100, 300, 600], strict=True)
    ]
    np.testing.assert_allclose(combine(factors).covariance, pooled.covariance, rtol=1e-12)
    mixed = [factors[0], *runs_of(values, covariances, [100, 300, 600])[1:]]
    np.testing.assert_allclose(combine(mixed).covariance, pooled.covariance, rtol=1e-9)
    assert combine(runs_of([1.0], [0.5], [10])).value.shape == ()


def test_a_component_without_standard_error_in_one_run_has_none_in_the_pool():
    covariance = np.diag([np.nan, 0.04])
    covariance[0, 1] = covariance[1, 0] = np.nan
    missing = Estimate([1.0, 2.0], covariance, cost={"evaluations": 5})
    whole = Estimate([1.0, 2.0], np.eye(2), cost={"evaluations": 5})
    factored = Estimate([1.0, 2.0], factor=np.eye(2), cost={"evaluations": 5})
    for other in (whole, factored):
        pooled = combine([missing, other])
        np.testing.assert_allclose(pooled.variance, [np.nan, 0.26])
        assert np.isnan(pooled.diagnostics["heterogeneity"][0])


def test_tiny_variances_keep_their_degrees_of_freedom():
    pooled = combine(runs_of([0.0, 0.0], [1e-200, 1e-200], [1, 1], degrees_of_freedom=4))
    assert pooled.degrees_of_freedom == pytest.approx(8)


@pytest.mark.slow
def test_pooled_interval_covers_5000_times_sees_shortfall_of_2_points():
    # three runs of 6, 9 and 15 batches of different spread: the normal quantile would cover 0.92
    rng = np.random.default_rng(12)
    hits = contradictions = 0
    sizes, spreads = (6, 9, 15), (3.0, 1.0, 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        for _ in range(5000):
            runs = []
            for n, spread in zip(sizes, spreads, strict=True):
                batches = 1.0 + spread * rng.standard_normal(n)
                runs.append(
                    Estimate(
                        batches.mean(),
                        batches.var(ddof=1) / n,
                        degrees_of_freedom=n - 1,
                        cost={"evaluations": n},
                    )
                )
            pooled = combine(runs)
            lower, upper = pooled.interval()
            hits += lower <= 1.0 <= upper
            contradictions += pooled.diagnostics["heterogeneity"][0] < 0.01
    low, high = coverage_bounds(5000, 0.95)
    assert low <= hits <= high
    low, high = coverage_bounds(5000, 0.01)
    assert low <= contradictions <= high


def test_heterogeneity_is_welchs_test_for_two_and_chi_square_for_many_draws():
    rng = np.random.default_rng(13)
    a, b = rng.standard_normal(5) * 2, rng.standard_normal(12) + 1
    runs = [
        Estimate(
            x.mean(),
            x.var(ddof=1) / len(x),
            degrees_of_freedom=len(x) - 1,
            cost={"evaluations": len(x)},
        )
        for x in (a, b)
    ]
    expected = scipy.stats.ttest_ind(a, b, equal_var=False).pvalue
    assert combine(runs).diagnostics["heterogeneity"][0] == pytest.approx(expected, rel=1e-9)
    values, variances = np.array([1.0, 1.5, 0.2]), np.array([0.04, 0.09, 0.16])
    mean = np.average(values, weights=1 / variances)
    statistic = ((values - mean) ** 2 / variances).sum()
    pooled = combine(runs_of(values, variances, [1, 1, 1]))
    assert pooled.diagnostics["heterogeneity"][0] == pytest.approx(
        scipy.stats.chi2(2).sf(statistic), rel=1e-6
    )


def test_contradicting_runs_are_flagged():
    with pytest.warns(PrecisionWarning, match="E2: the runs contradict one another") as record:
        pooled = combine(runs_of([[1.0, 2.0], [1.1, 9.0]], [np.diag([0.1, 0.1])] * 2, [10, 10]))
    assert len(record) == 1
    assert record[0].filename == __file__
    assert "contradict" in pooled.diagnostics["warnings"][0]
    assert "contradict" in repr(pooled)
    # a run that claims to know exactly, and is elsewhere
    with pytest.warns(PrecisionWarning, match="contradict"):
        combine(runs_of([0.0, 1.0], [0.0, 0.01], [10, 10]))
    exact = combine(runs_of([0.3, 0.3], [0.0, 0.0], [10, 10]))
    assert exact.diagnostics["heterogeneity"][0] == 1


def test_runs_without_hits():
    none = combine([Estimate(0.0, 0.0, trials=n, cost={"evaluations": n}) for n in (1000, 3000)])
    assert none.trials == 4000
    assert none.interval(0.95)[1] == pytest.approx(-math.log(0.05) / 4000)
    with pytest.warns(PrecisionWarning, match="1 of 2 runs saw no hit"):
        some = combine(
            [
                Estimate(0.0, 0.0, trials=1000, cost={"evaluations": 1000}),
                Estimate(0.001, 1e-6, cost={"evaluations": 1000}),
            ]
        )
    assert some.trials is None
    assert some.value == 0.0005
    assert some.standard_error == pytest.approx(0.0005)


def test_warnings_of_the_runs_are_kept_once():
    runs = [example(cautions=[Caution("heavy-tails", "heavy tail")]) for _ in range(2)]
    assert combine(runs).cautions == (Caution("heavy-tails", "heavy tail"),)


def test_runs_that_cannot_be_pooled_are_refused():
    def seeded(seed, **more):
        source = {"seed": {"entropy": seed, "spawn_key": []}, **more}
        return Estimate(1.0, 1.0, provenance=source, cost={"evaluations": 5})

    with pytest.raises(ValueError, match="got none"):
        combine([])
    with pytest.raises(TypeError, match="item 1 is a float"):
        combine([example(), 1.0])
    with pytest.raises(ValueError, match="names of item 0"):
        combine([example(), example(names=["a", "b", "c"])])
    with pytest.raises(ValueError, match="method of item 0 is 'demo', of item 1 'other'"):
        combine([example(), example(method="other")])
    with pytest.raises(ValueError, match=r"cost\['evaluations'\] of item 1 is None"):
        combine([example(), example(cost={})])
    with pytest.raises(ValueError, match="items 0 and 2 have the same seed"):
        combine([seeded(1), seeded(2), seeded(1)])
    pair = combine([seeded(1), seeded(2)])
    with pytest.raises(ValueError, match="items 0 and 1 have the same seed"):
        combine([pair, seeded(2)])
    assert combine([pair, seeded(3)]).cost["evaluations"] == 15
    with pytest.raises(ValueError, match="different data"):
        combine([seeded(1, data="aa"), seeded(2, data="bb")])


def test_the_same_draws_are_not_pooled_twice():
    values = np.random.default_rng(1).random((400, 2))
    one, again, scaled = (
        from_weights(values, np.zeros(400), self_normalized=own) for own in (True, True, False)
    )
    by_hand = [Estimate(0.0, 0.1, cost={"evaluations": 5}) for _ in range(2)]
    for same in ([one, one], [one, again], by_hand[:1] * 2):
        with pytest.raises(ValueError, match="items 0 and 1 are of the same draws; they are not"):
            combine(same)
    with pytest.raises(ValueError, match="have a different self_normalized"):
        combine([one, scaled])
    # for another target, or of another function of them
    weights = -values[:, 0]
    weighted = from_weights(values, weights)
    for other in (one, from_weights(values**2, weights)):
        with pytest.raises(ValueError, match="items 0 and 1 are of the same draws; they are not"):
            combine([weighted, other])
    # numbers from elsewhere may agree by chance
    assert combine(by_hand).variance == pytest.approx(0.05)
    assert combine([one]).cost["evaluations"] == 400


def test_other_draws_are_no_other_question():
    values = np.random.default_rng(1).random((3, 400, 2))
    runs = [from_weights(own, np.zeros(400)) for own in values]
    whole, pooled = from_weights(values.reshape(-1, 2), np.zeros(1200)), combine(runs)
    np.testing.assert_allclose(pooled.value, whole.value)
    np.testing.assert_allclose(pooled.standard_error, whole.standard_error, rtol=0.01)
    with pytest.raises(ValueError, match="items 0 and 1 are of the same draws"):
        combine([combine(runs[:2]), runs[1]])
    with pytest.warns(PrecisionWarning, match="contradict one another"):
        combine([runs[0], from_weights(values[1] + 1, np.zeros(400))])
    laws, other = [scipy.stats.norm()], [scipy.stats.norm(0.1)]

    def under(law, model, seed):
        return reweight(importance_sampling(model, laws, laws, 400, seed=seed), law)

    first, second = (under(other, np.square, seed) for seed in (1, 2))
    assert combine([first, second]).variance < first.variance
    with pytest.raises(ValueError, match=r"have a different estimate\.integrand"):
        combine([first, under(other, np.abs, 2)])


def answer(seed, **arguments):
    source = provenance("demo", np.random.SeedSequence(seed), arguments)
    return Estimate(1.0, 0.01, provenance=source, cost={"evaluations": 5})


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ({"threshold": 0.0}, {"threshold": 0.02}, "threshold: 0.0 and 0.02"),
        ({"root": True}, {"root": False}, "root: true and false"),
        ({"model": {"theta": [0.9, 1.0]}}, {"model": {"theta": [0.89, 1.0]}}, r"model\.theta: "),
        ({"functional": np.square}, {"functional": np.sin}, "functional: "),
        ({"functional": lambda x: x}, {"functional": lambda x: x + 1}, "functional: "),
        ({"x": np.zeros(2)}, {"x": np.ones(2)}, r"x\.sha256"),
        ({"y": None}, {"y": 1.0}, "y: null and 1.0"),
    ],
)
def test_answers_to_different_questions_are_refused_by_name(one, other, name):
    with pytest.raises(ValueError, match=f"items 0 and 2 have a different {name}"):
        combine([answer(1, **one), answer(2, **one), answer(3, **other)])
    # also when they were pooled before
    with pytest.raises(ValueError, match=f"items 0 and 1 have a different {name}"):
        combine([combine([answer(1, **one), answer(2, **one)]), answer(3, **other)])


def test_functions_of_answers_are_told_apart():
    one, other = answer(1), answer(2)
    assert combine([one.apply([2.0]), other.apply([2.0])]).value == 2
    for a, b in (([2.0], [3.0]), (np.sqrt, np.square), (lambda v: v, lambda v: v + 1)):
        with pytest.raises(ValueError, match="items 0 and 1 have a different applied: "):
            combine([one.apply(a), other.apply(b)])
    both = combine([one, other])
    assert combine([both.apply([2.0]), answer(3).apply([2.0])]).value == 2
    with pytest.raises(ValueError, match="different applied"):
        combine([both.apply([2.0]), answer(3)])


def test_how_far_and_where_a_run_goes_is_no_part_of_the_question():
    common = {"threshold": 0.5, "integrand": np.sin}
    runs = [
        answer(1, budget=100, precision=None, executor=None, checkpoint="a.npz", **common),
        answer(2, budget=None, precision=Precision(relative=0.1), progress=True, **common),
        # an older run has not told everything
        answer(3, threshold=0.5),
    ]
    assert combine(runs).diagnostics["runs"] == 3


def test_the_code_of_a_function_is_compared_within_one_version_of_python_only():
    def known(seed, python, digest, name="model.f"):
        source = {"seed": seed, "versions": {"python": python}}
        source["arguments"] = {"integrand": f"{name} {digest}"}
        return Estimate(1.0, 1.0, provenance=source, cost={"evaluations": 5})

    one = known(1, "3.11.7", "0123456789ab")
    with pytest.raises(ValueError, match="different integrand"):
        combine([one, known(2, "3.11.7", "ba9876543210")])
    assert combine([one, known(2, "3.12.0", "ba9876543210")]).value == 1
    with pytest.raises(ValueError, match="different integrand"):
        combine([one, known(2, "3.12.0", "ba9876543210", "model.g")])


def test_probabilities_of_two_thresholds_are_refused():
    import smcweights as smw

    law = [scipy.stats.norm(3, 1)]
    runs = [
        smw.failure_probability(lambda x: x[:, 0], law, 1_000, threshold=t, seed=s)
        for t, s in ((0.0, 1), (0.02, 2))
    ]
    with pytest.raises(ValueError, match=r"different threshold: 0\.0 and 0\.02"):
        combine(runs)


def test_a_ratio_of_evidences_is_welchs_difference_of_means():
    rng = np.random.default_rng(5)
    samples = rng.normal(-10, 0.3, 10), rng.normal(-12, 2.0, 4)
    one, other = (
        Estimate(
            x.mean(),
            x.var(ddof=1) / x.size,
            degrees_of_freedom=x.size - 1,
            cost={"evaluations": x.size},
            provenance={"seed": x.size},
        )
        for x in samples
    )
    ratio = log_bayes_factor(one, other)
    truth = scipy.stats.ttest_ind(*samples, equal_var=False)
    assert ratio.value == pytest.approx(samples[0].mean() - samples[1].mean())
    assert ratio.degrees_of_freedom == pytest.approx(truth.df)
    np.testing.assert_allclose(ratio.interval(), truth.confidence_interval(0.95), rtol=1e-12)
    assert ratio.cost["evaluations"] == 14
    with pytest.raises(ValueError, match="have the same seed"):
        log_bayes_factor(one, one)
    for wrong in (3.0, Estimate([1.0, 2.0], np.eye(2))):
        with pytest.raises(TypeError, match=r"b: got [\s\S]*expected an Estimate of one number"):
            log_bayes_factor(one, wrong)
    integral = one.revised(names=["log integral"])
    with pytest.raises(ValueError, match="b: got a log integral, its prior is known up to a"):
        log_bayes_factor(one, integral)


@pytest.mark.parametrize("part", ["log_evidence", "log_likelihood"])
def test_results_are_taken_by_their_evidence(part):
    one = Estimate(-10.0, 0.04, provenance={"seed": 1})
    result = type("Result", (), {part: Estimate(-12.0, 0.01, provenance={"seed": 2})})()
    assert float(log_bayes_factor(one, result)) == 2.0
    dead = type("Result", (), {part: None})()
    with pytest.raises(TypeError, match=r"a: got [\s\S]*or a result with a log evidence"):
        log_bayes_factor(dead, one)


def test_a_dict_of_runs_is_told_how_to_become_a_list():
    with pytest.raises(TypeError, match=r"got a dict; expected a list .* list\(runs.values\(\)\)"):
        combine({"a": Estimate(1.0, 0.1)})
