"""More calls for an estimate that there is."""

import pickle

import numpy as np
import pytest
from scipy import stats

import smcweights as smw

from .cases import NORMAL, quiet, smooth_and_tail

TRUTH = np.array([np.exp(0.25), stats.norm.sf(3 / np.sqrt(2))])


def limit_state(x):
    return 4 - x.sum(axis=1)


def same(a, b):
    np.testing.assert_array_equal(a.value, b.value)
    np.testing.assert_array_equal(a.covariance, b.covariance)
    np.testing.assert_array_equal(a.sample["inputs"], b.sample["inputs"])
    assert a.cost["evaluations"] == b.cost["evaluations"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "model"),
    [
        pytest.param(smw.adaptive_importance_sampling, smooth_and_tail),
        pytest.param(smw.failure_probability, limit_state, marks=pytest.mark.slow),
    ],
    ids=["expectations", "failure"],
)
def test_a_checkpoint_with_a_larger_budget_goes_on_to_the_digits_of_extend(method, model, tmp_path):
    path = tmp_path / "run.npz"
    first = method(model, NORMAL, 1_500, seed=1)
    second = first.extend(model, 1_000)
    third = second.extend(model, 700, executor="threads:2")
    calls = []

    def counted(x):
        calls.append(len(x))
        return model(x)

    options = {"seed": 1, "checkpoint": path}
    same(method(counted, NORMAL, 1_500, **options), first)
    calls.clear()
    same(method(counted, NORMAL, 2_500, **options), second)
    assert sum(calls) == second.cost["evaluations"] - first.cost["evaluations"] <= 1_000
    same(method(counted, NORMAL, 3_200, **options), third)
    calls.clear()
    # what was there before is there still, and costs no call
    same(method(counted, NORMAL, 1_500, **options), first)
    same(method(counted, NORMAL, 2_500, **options), second)
    assert not calls
    with pytest.raises(ValueError, match="1500, 2500, 3200"):
        method(counted, NORMAL, 2_000, **options)


def test_draws_of_before_stay_and_new_ones_join():
    first = smw.adaptive_importance_sampling(smooth_and_tail, NORMAL, 1_000, seed=2)
    more = first.extend(smooth_and_tail, 3_000)
    n = len(first.sample["draw"])
    np.testing.assert_array_equal(more.sample["inputs"][:n], first.sample["inputs"])
    assert len(np.unique(more.sample["inputs"], axis=0)) == len(more.sample["draw"])
    assert (more.standard_error < 0.6 * first.standard_error).all()
    assert more.provenance["arguments"]["extended"] == [3_000]


@pytest.mark.slow
def test_it_goes_with_the_estimate_alone(tmp_path):
    estimate = smw.adaptive_importance_sampling(smooth_and_tail, NORMAL, 1_000, seed=3)
    estimate.save(tmp_path / "kept.nc")
    kept, sent = smw.Estimate.load(tmp_path / "kept.nc"), pickle.loads(pickle.dumps(estimate))
    np.testing.assert_array_equal(sent.covariance, estimate.covariance)
    for other in (estimate[0], estimate.apply([1, 0]), kept, sent):
        with pytest.raises(ValueError, match="extend"):
            other.extend(smooth_and_tail, 1_000)
    with pytest.raises(ValueError, match="model"):
        estimate.extend(limit_state, 1_000)
    with pytest.raises(ValueError, match="budget"):
        estimate.extend(smooth_and_tail, 10)


@pytest.mark.slow
def test_extended_intervals_cover_100_runs_sees_shortfall_of_20_points():
    """Twice extended, of the first 400 calls; binomial bound with a false alarm of 2e-7 for two."""
    hits = np.zeros(2)
    for seed in range(100):
        first = quiet(smw.adaptive_importance_sampling, smooth_and_tail, NORMAL, 400, seed=seed)
        found = quiet(quiet(first.extend, smooth_and_tail, 300).extend, smooth_and_tail, 800)
        lower, upper = found.interval()
        hits += (lower < TRUTH) & (upper > TRUTH)
    assert (hits >= stats.binom.ppf(1e-7, 100, 0.95)).all()
