"""Adaptive importance sampling finds the truth by every route, and the same bits by all."""

import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from killed import bits, killed_and_resumed
from scipy import stats
from sequential import repeated

import smcweights as smw

from .cases import NORMAL, quiet, smooth_and_tail, told

TRUTH = np.array([2.0, 5.0, stats.norm.sf(2.5)])


def three(x):
    s = x.sum(axis=1) / np.sqrt(2)
    return np.stack([s + 2, (s + 2) ** 2, s > 2.5], axis=1)


def agrees(estimate, truth, z=5.0):
    """|z| < 5 is broken by chance once in a million."""
    return bool((np.abs(estimate.value - truth) < z * estimate.standard_error).all())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["auto", "gaussian", "mixture", "student", "grid"])
def test_every_family_finds_the_truth_and_beats_monte_carlo(family):
    est = smw.adaptive_importance_sampling(three, NORMAL, 5_000, proposal=family, seed=1)
    assert agrees(est, TRUTH)
    assert est.diagnostics["gain_over_monte_carlo"][2] > 5


def test_the_rank_one_family_serves_many_inputs():
    d = 40
    est = smw.adaptive_importance_sampling(
        lambda x: x.sum(axis=1) / np.sqrt(d) > 2.5, [stats.norm()] * d, 8_000, seed=2
    )
    assert agrees(est, stats.norm.sf(2.5))
    assert est.diagnostics["gain_over_monte_carlo"][0] > 3


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["sum-relative", "sum", np.array([1.0, 0.0, 1e6])])
@pytest.mark.parametrize("components", ["each", "shared"])
def test_objectives_and_shared_components(objective, components):
    est = smw.adaptive_importance_sampling(
        three, NORMAL, 5_000, objective=objective, components=components, seed=3
    )
    assert agrees(est, TRUTH)


@pytest.mark.slow
def test_an_objective_draws_effort_where_it_says():
    tail = np.array([0.0, 0.0, 1.0])
    towards = smw.adaptive_importance_sampling(three, NORMAL, 5_000, objective=tail, seed=4)
    away = smw.adaptive_importance_sampling(three, NORMAL, 5_000, objective="sum", seed=4)
    assert towards.standard_error[2] < away.standard_error[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [False, True, "polynomial", [True, "polynomial"]])
def test_control_variates(kind):
    est = smw.adaptive_importance_sampling(three, NORMAL, 5_000, control_variates=kind, seed=5)
    assert agrees(est, TRUTH)
    bought = est.diagnostics["control_variance_reduction"]
    if kind is False:
        np.testing.assert_allclose(bought, 1)
    elif kind is True:
        assert (bought > 0.95).all()
    else:
        assert (bought[:2] > 1e6).all()  # both are polynomials themselves


@pytest.mark.slow
def test_pooling_all_stages_is_labelled_and_counts_its_pull():
    plain = smw.adaptive_importance_sampling(three, NORMAL, 2_000, seed=7)
    with pytest.warns(smw.PrecisionWarning, match="all stages are pooled, which biases"):
        pooled = smw.adaptive_importance_sampling(three, NORMAL, 2_000, pooled=True, seed=7)
    assert "biased" in pooled.method
    assert "biased" not in plain.method
    assert agrees(pooled, TRUTH)
    assert len(pooled.sample["draw"]) == 2_000
    # the same final draws: what the earlier ones pull by is counted
    assert (pooled.standard_error >= np.abs(pooled.value - plain.value)).all()


@pytest.mark.parametrize("budget", [100, 101, 137, 250, 999, 2_503])
def test_a_budget_is_an_upper_bound_nearly_used_up(budget):
    calls = []

    def model(x):
        calls.append(len(x))
        return three(x)

    est = quiet(smw.adaptive_importance_sampling, model, NORMAL, budget, seed=24)
    assert sum(calls) == est.cost["evaluations"]
    assert budget - 5 < sum(calls) <= budget


@pytest.mark.slow
def test_one_input_at_a_time_gives_the_same_bits():
    def one(x):
        s = (x[0] + x[1]) / np.sqrt(2)
        return [s + 2, s > 1]

    def many(x):
        s = (x[:, 0] + x[:, 1]) / np.sqrt(2)
        return np.stack([s + 2, s > 1], axis=1)

    a = smw.adaptive_importance_sampling(one, NORMAL, 2_000, vectorized=False, seed=9)
    b = smw.adaptive_importance_sampling(many, NORMAL, 2_000, seed=9)
    np.testing.assert_array_equal(a.value, b.value)
    np.testing.assert_array_equal(a.covariance, b.covariance)


@pytest.mark.parametrize("executor", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_executors_give_the_same_bits_and_seeds_others(executor):
    a = smw.adaptive_importance_sampling(three, NORMAL, 2_000, seed=10)
    b = smw.adaptive_importance_sampling(
        three, NORMAL, 2_000, seed=a.provenance["seed"], executor=executor
    )
    c = smw.adaptive_importance_sampling(three, NORMAL, 2_000, seed=11)
    np.testing.assert_array_equal(a.value, b.value)
    np.testing.assert_array_equal(a.covariance, b.covariance)
    assert (a.value != c.value).all()


def test_a_checkpoint_resumes_to_the_same_bits(tmp_path):
    calls, stopped = [], []

    def model(x):
        calls.append(len(x))
        if not stopped and sum(calls) > 1_500:
            stopped.append(True)
            raise KeyboardInterrupt
        return three(x)

    options = {"seed": 12, "checkpoint": tmp_path / "run.npz"}
    with pytest.raises(KeyboardInterrupt):
        smw.adaptive_importance_sampling(model, NORMAL, 5_000, **options)
    assert sum(calls) > 1_400
    calls.clear()
    resumed = smw.adaptive_importance_sampling(model, NORMAL, 5_000, **options)
    assert sum(calls) < 5_000 - 1_000
    plain = smw.adaptive_importance_sampling(three, NORMAL, 5_000, seed=12)
    np.testing.assert_array_equal(resumed.value, plain.value)
    with pytest.raises(ValueError, match="budget"):
        smw.adaptive_importance_sampling(model, NORMAL, 4_000, **options)
    with pytest.raises(ValueError, match="integrand"):
        smw.adaptive_importance_sampling(three, NORMAL, 5_000, **options)


@pytest.mark.slow
def test_hundreds_of_expectations_keep_a_factor_and_their_truth():
    levels = np.linspace(-2, 2, 520)
    began = time.perf_counter()
    est = smw.adaptive_importance_sampling(
        lambda x: x[:, :1] > levels, [stats.norm()], 2_000, seed=13
    )
    assert time.perf_counter() - began < 60
    truth = stats.norm.sf(levels)
    z = (est.value - truth) / est.standard_error
    assert (np.abs(z) < 6).all()
    assert est.factor is not None
    neighbours = est.covariance[260, 261] / np.sqrt(est.variance[260] * est.variance[261])
    assert 0.5 < neighbours <= 1


def test_integrands_that_change_sign():
    def integrand(x):
        return np.stack([x[:, 0] ** 3, np.sin(3 * x[:, 1]) + 0.1, -np.exp(x[:, 0])], axis=1)

    est = smw.adaptive_importance_sampling(
        integrand, [stats.norm(0.5, 1), stats.norm()], 5_000, seed=14
    )
    assert agrees(est, [0.125 + 1.5, 0.1, -np.exp(1.0)])


@pytest.mark.slow
def test_correlation_between_estimates_is_right():
    """Correlation over 300 runs against the one reported; 0.25 apart is five standard errors."""
    run = smw.adaptive_importance_sampling
    runs = [quiet(run, three, NORMAL, 1_000, seed=seed) for seed in range(300)]
    found = np.corrcoef(np.array([run.value for run in runs]).T)[0, 1]
    said = np.median([r.covariance[0, 1] / np.sqrt(r.variance[0] * r.variance[1]) for r in runs])
    assert abs(found - said) < 0.25


def test_booleans():
    est = smw.adaptive_importance_sampling(lambda x: x[:, 0] > 0, NORMAL, 2_000, seed=17)
    assert est.value.shape == ()
    assert agrees(est, 0.5)


def test_the_sample_gives_the_uncorrected_estimate():
    est = smw.adaptive_importance_sampling(three, NORMAL, 10_000, seed=18)
    weights = np.exp(np.asarray(est.sample["log_weight"]))
    plain = (weights[:, None] * np.asarray(est.sample["values"])).mean(axis=0)
    error = est.standard_error * np.sqrt(est.diagnostics["control_variance_reduction"])
    assert (np.abs(plain - TRUTH) < 5 * error).all()
    assert weights.max() <= 20 * (1 + 1e-9)
    np.testing.assert_array_equal(three(np.asarray(est.sample["inputs"])), est.sample["values"])
    assert est.cost["evaluations"] <= 10_000


def test_a_start_and_a_law_without_a_map():
    est = smw.adaptive_importance_sampling(
        lambda x: x[:, 0] > 5, [stats.norm()], 5_000, proposal=[stats.norm(5, 1)], seed=19
    )
    assert agrees(est, stats.norm.sf(5))
    law = stats.multivariate_t([1, 2], [[1, 0.5], [0.5, 2]], df=8)
    moments = lambda x: np.stack([x[:, 0], x[:, 1] ** 2, x[:, 0] > 5], axis=1)
    # the law's own draws hit the last one a few times
    est = told("known by draws", smw.adaptive_importance_sampling, moments, law, 5_000, seed=20)
    assert agrees(est, [1, 4 + 2 * 8 / 6, stats.t.sf(4, 8)])


GOOD = {"integrand": three, "law": NORMAL, "budget": 2_000}


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"budget": 50}, ValueError, "budget: got 50"),
        ({"budget": None}, ValueError, "exactly one|budget"),
        ({"budget": 10.5}, (ValueError, TypeError), "budget"),
        ({"precision": smw.Precision(relative=0.1)}, ValueError, "exactly one|both|budget"),
        ({"proposal": "magic"}, ValueError, "proposal: got 'magic'"),
        ({"proposal": stats.norm()}, ValueError, "has 1 inputs, the law has 2"),
        ({"law": [stats.norm()] * 5, "proposal": "grid"}, ValueError, "'grid' serves up to 4"),
        ({"control_variates": "magic"}, ValueError, "control_variates: got 'magic'"),
        ({"control_variates": 3}, TypeError, "control_variates: got int"),
        ({"control_variates": lambda x: x[0]}, smw.ModelError, "surrogate: returned shape"),
        ({"objective": "magic"}, ValueError, "objective: got 'magic'"),
        ({"objective": [1.0, 2.0]}, ValueError, "objective: got 2 weights"),
        ({"objective": [1.0, -2.0, 1.0]}, ValueError, "objective: got .* expected finite weights"),
        ({"components": "some"}, ValueError, "components: got 'some'"),
        ({"names": ["a", "b"]}, ValueError, "names: got 2"),
        ({"names": ["a", "a", "b"]}, ValueError, "occurs twice"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 1.5}, TypeError, "seed"),
        ({"executor": "cluster"}, (TypeError, ValueError), "executor"),
        ({"law": 3}, (TypeError, ValueError), "law"),
        ({"integrand": lambda x: x[0]}, smw.ModelError, "vectorized=False"),
        ({"integrand": lambda x: np.full(len(x), np.nan)}, smw.ModelError, "at input"),
        ({"integrand": lambda x: np.full((len(x), 0), 1.0)}, smw.ModelError, "shape"),
    ],
)  # fmt: skip
def test_bad_arguments_are_told(change, error, said):
    given = {**GOOD, **change}
    integrand, law, budget = (given.pop(k) for k in ("integrand", "law", "budget"))
    with pytest.raises(error, match=said):
        smw.adaptive_importance_sampling(integrand, law, budget, **given)


def test_a_model_that_fails_says_where():
    def breaks(x):
        raise RuntimeError("no convergence")

    with pytest.raises(RuntimeError, match="no convergence") as caught:
        smw.adaptive_importance_sampling(breaks, NORMAL, 1_000, seed=1)
    assert any("stage 1" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"vectorized": "no"}, TypeError, "vectorized: got 'no'"),
        ({"pooled": "x"}, TypeError, "pooled: got 'x'"),
        ({"control_variates": None}, TypeError, "control_variates: got NoneType"),
        ({"control_variates": []}, ValueError, "control_variates: got an empty list"),
        ({"integrand": 3}, TypeError, "integrand: got int"),
        ({"checkpoint": 3}, TypeError, "checkpoint: got 3; expected a path"),
    ],
    ids=["vectorized", "pooled", "none", "empty", "integrand", "checkpoint"],
)
def test_more_bad_arguments_are_told(change, error, said):
    arguments = {"integrand": smooth_and_tail, "law": NORMAL, "budget": 1_000, **change}
    with pytest.raises(error, match=said):
        smw.adaptive_importance_sampling(**arguments)


def test_runs_of_different_integrands_or_laws_are_not_pooled():
    def one(integrand, law, seed):
        return smw.adaptive_importance_sampling(integrand, law, 500, seed=seed)

    a = one(lambda x: x[:, 0] ** 2, NORMAL, 1)
    with pytest.raises(ValueError, match="items 0 and 1 have a different integrand"):
        smw.combine([a, one(lambda x: x[:, 0] ** 3, NORMAL, 2)])

    def square(x):
        return x[:, 0] ** 2

    with pytest.raises(ValueError, match="items 0 and 1 have a different law"):
        smw.combine([one(square, NORMAL, 1), one(square, [stats.norm(1, 1)] * 2, 2)])
    assert smw.combine([one(square, NORMAL, 1), one(square, NORMAL, 2)]).value > 0


SCRIPT = """
import sys
import numpy as np, smcweights as smw
from scipy import stats
threshold, calls = float(sys.argv[1]), 0
def helper(x):
    return x[:, 0] > threshold
def reads(x):
    return helper(x)
def counts(x):
    global calls
    calls += len(x)
    return x[:, 0]
def make(threshold, table):
    inner = lambda s: [v > threshold for v in s]
    return lambda x: np.asarray(inner(x.sum(axis=1))) + table[0]
class Model:
    def __init__(self, a):
        self.a = a
    def __call__(self, x):
        return self.a * x[:, 0]
def of(f):
    return smw.adaptive_importance_sampling(f, stats.norm(), 200, seed=1).provenance["arguments"]
for f in (make(1.0, np.ones(2)), make(1.0, np.zeros(2)), make(2.0, np.ones(2)), Model(1), Model(2)):
    print(of(f)["integrand"])
print(of(counts)["integrand"] == of(counts)["integrand"])
print(of(reads)["integrand"])
"""


@pytest.mark.slow
def test_an_integrand_is_known_by_its_code_and_data_in_every_process():
    """Resuming from a checkpoint, and pooling of runs, rest on it."""
    runs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, threshold],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(k)},
        ).stdout.split()
        for k, threshold in ((1, "1.5"), (2, "1.5"), (3, "2.5"))
    ]
    assert runs[0] == runs[1]
    assert "True" in runs[0]
    # the three lines of names and digests, and what a helper reads in the module it stands in
    assert runs[0][:-1] == runs[2][:-1]
    assert runs[0][-1] != runs[2][-1]
    assert len({text for text in runs[0] if "." not in text}) == 7


def test_messages_name_the_argument(tmp_path):
    def run(**change):
        return smw.adaptive_importance_sampling(
            lambda x: x[:, 0], NORMAL, **{"budget": 500, "seed": 1, **change}
        )

    with pytest.raises(ValueError, match="precision: max_budget: got 10"):
        run(budget=None, precision=smw.Precision(absolute=1, max_budget=10))
    with pytest.raises(FileNotFoundError, match="checkpoint: there is no folder"):
        run(checkpoint=tmp_path / "none" / "c.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        estimate = run(names="mean")
    assert estimate.names == ("mean",)
    with pytest.raises(FileNotFoundError, match="path: there is no folder"):
        estimate.save(tmp_path / "none" / "e.nc")
    with pytest.raises(TypeError, match="got one Estimate; expected a list"):
        smw.combine(estimate)
    for operation in (lambda e: 2 * e, lambda e: e - e, np.log, lambda e: np.ones(1) * e):
        with pytest.raises(TypeError, match=r"estimate\.apply"):
            operation(estimate)


@pytest.mark.slow
def test_a_precision_is_reached_and_covers_400_times():
    """As 400 seeds: sees coverages of 0.85 and 0.999 with probability 0.99."""

    def run(seed):
        est = smw.adaptive_importance_sampling(
            lambda x: x[:, 0] ** 2,
            [stats.gamma(2)],
            precision=smw.Precision(relative=0.03),
            seed=seed,
        )
        lower, upper = est.interval()
        assert (upper - lower) / 2 <= 0.03 * est.value * (1 + 1e-9)
        return est

    repeated(run, 6, 400)


def test_a_precision_out_of_reach_says_so():
    with pytest.warns(smw.PrecisionWarning, match="not reached within max_budget=3000"):
        est = smw.adaptive_importance_sampling(
            three, NORMAL, precision=smw.Precision(absolute=1e-9, max_budget=3_000), seed=8
        )
    assert est.cost["evaluations"] <= 3_000
    assert agrees(est, TRUTH)


def test_a_precision_does_not_stop_on_what_never_varied():
    with pytest.warns(smw.PrecisionWarning, match="every draw gave the same value"):
        est = smw.adaptive_importance_sampling(
            lambda x: x[:, 0] < 30,
            [stats.norm()],
            precision=smw.Precision(absolute=1e-3, max_budget=200_000),
            seed=1,
        )
    lower, upper = est.interval()
    assert upper - lower < 2.1e-3
    # the rule of three: 3,000 draws of the input law at least
    assert est.cost["evaluations"] > 3_000


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    def call(**others):
        law = {"a": stats.norm(), "b": stats.expon()}
        f = lambda x: np.exp(x[:, 0]) * x[:, 1]
        return bits(smw.adaptive_importance_sampling(f, law, 30_000, seed=1, **others))

    killed_and_resumed(call, tmp_path, 9, executor="processes:2")


def test_a_ratio_of_events_the_first_of_which_is_not_seen_at_first():
    asked = smw.Precision(relative=0.05, of=lambda v: v[0] / v[1])
    tails = stats.norm.sf([4 / 2**0.5, 3 / 2**0.5])

    def events(x):
        return np.stack([x.sum(axis=1) > 4, x.sum(axis=1) > 3], axis=1)

    for seed in (0, 1, 9):
        est = smw.adaptive_importance_sampling(
            events, [stats.norm(), stats.norm()], precision=asked, seed=seed
        )
        assert not est.cautions
        ratio = est.apply(lambda v: v[0] / v[1])
        assert ratio.relative_error < 0.03
        assert abs(ratio.value - tails[0] / tails[1]) < 5 * ratio.standard_error
