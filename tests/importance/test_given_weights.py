"""`from_weights` against closed forms, coverage over repeats, and what it refuses."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.signal import lfilter

import smcweights as smw


def drawn(rng, n, scale=1.2):
    """Draws of N(0, scale^2) with log weights to N(0.3, 1)."""
    x = rng.normal(0, scale, n)
    return x, stats.norm(0.3).logpdf(x) - stats.norm(0, scale).logpdf(x)


def covered(seeds, make):
    hits = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        for seed in range(seeds):
            values, log_w, truth, options = make(np.random.default_rng([7, seed]))
            lower, upper = smw.from_weights(values, log_w, **options).interval()
            hits.append((lower < truth) & (truth < upper))
    return np.mean(hits, axis=0)


def test_the_ratio_and_its_covariance_are_those_of_the_formulas():
    x, log_w = drawn(np.random.default_rng(1), 500)
    values = np.stack([x, x**2], axis=1)
    found = smw.from_weights(values, log_w - 800, names=["m", "s"])
    w = np.exp(log_w) / np.exp(log_w).sum()
    mean = w @ values
    g = w[:, None] * (values - mean)
    np.testing.assert_allclose(found.value, mean, rtol=1e-12)
    np.testing.assert_allclose(found.covariance, g.T @ g * 500 / 499, rtol=1e-10)
    assert found.names == ("m", "s")
    assert found.diagnostics["effective_sample_size"] == pytest.approx(1 / (w @ w))


def test_normalised_densities_give_the_constant():
    x, log_w = drawn(np.random.default_rng(2), 4_000)
    values = np.stack([np.ones(4_000), x], axis=1)
    found = smw.from_weights(values, log_w + np.log(2), self_normalized=False)
    assert (abs(found.value - [2.0, 0.6]) < 5 * found.standard_error).all()


@pytest.mark.slow
def test_intervals_of_independent_draws_cover_400_seeds():
    """Between the binomial bounds of 1e-7 either side: 0.895 and 0.985."""

    def make(rng):
        x, log_w = drawn(rng, 300)
        return np.stack([x, x > 1], axis=1), log_w, [0.3, stats.norm.sf(0.7)], {}

    share = covered(400, make)
    low, high = stats.binom.ppf([1e-7, 1 - 1e-7], 400, 0.95) / 400
    assert ((low <= share) & (share <= high)).all(), share


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "least"), [(0.9, 0.925), (0.99, 0.86)])
def test_intervals_of_chains_cover_1000_seeds(rho, least):
    """Four chains of 1,000: with 20 effective draws each (rho 0.99) it comes with a warning.

    Independent draws would be said to cover 0.36 and 0.10.
    """
    label = np.repeat(np.arange(4), 1_000)

    def make(rng):
        noise = rng.standard_normal((1_000, 4)) * np.sqrt(1 - rho**2)
        noise[0] /= np.sqrt(1 - rho**2)
        x = lfilter([1], [1, -rho], noise, axis=0).T.ravel()
        return x, stats.norm(0.3).logpdf(x) - stats.norm().logpdf(x), 0.3, {"chain": label}

    assert covered(1_000, make) >= least


def test_short_chains_say_so():
    rng = np.random.default_rng(3)
    x = np.cumsum(rng.standard_normal(2_000))
    with pytest.warns(smw.PrecisionWarning, match="short-chains"):
        smw.from_weights(x, np.zeros(2_000), chain=np.zeros(2_000, int))


def test_heavy_weights_say_so_from_a_half_on():
    x, log_w = drawn(np.random.default_rng(4), 1_000, scale=0.5)
    with pytest.warns(smw.PrecisionWarning, match="heavy-tails"):
        found = smw.from_weights(x, log_w)
    assert found.diagnostics["pareto_k_weights"] > 0.5


@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
@pytest.mark.parametrize("others", [-np.inf, -40.0])
def test_a_draw_that_is_all_there_is_has_no_error(others):
    x = np.random.default_rng(5).standard_normal(200)
    log_w = np.full(200, others)
    log_w[3] = 0.0
    found = smw.from_weights(np.stack([x, np.ones(200)], axis=1), log_w)
    assert "few-draws" in [caution.code for caution in found.cautions]
    np.testing.assert_allclose(found.value, [x[3], 1.0])
    assert np.isnan(found.standard_error[0]) and found.standard_error[1] < 1e-15


def test_an_event_without_a_hit_has_no_error():
    x = np.random.default_rng(5).standard_normal(200)
    with pytest.warns(smw.PrecisionWarning, match=r"E2: no draw gave a value other than 0.*no-hit"):
        found = smw.from_weights(np.stack([x, x > 9], axis=1), np.zeros(200))
    assert found.value[1] == 0 and np.isnan(found.standard_error).tolist() == [False, True]


def test_equal_weights_are_no_tail():
    x = np.random.default_rng(5).standard_normal(200)
    found = smw.from_weights(x, np.full(200, -1e5))
    assert found.value == pytest.approx(x.mean())
    assert found.standard_error == pytest.approx(x.std() / np.sqrt(199))


@pytest.mark.slow
def test_smoothing_lowers_the_error_and_is_called_biased():
    near, far, told = [], [], "smoothed-weights"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        for seed in range(60):
            x, log_w = drawn(np.random.default_rng(seed), 300, scale=0.6)
            far.append(float(smw.from_weights(x, log_w)) - 0.3)
            found = smw.from_weights(x, log_w, smooth=True)
            near.append(float(found) - 0.3)
    assert np.std(near) < np.std(far)
    assert told in [caution.code for caution in found.cautions] and "biased" in found.method


def test_columns_name_the_means_and_weights_of_zero_count():
    table = pd.DataFrame({"a": np.arange(90.0), "b": np.full(90, 0.1)})
    log_w = np.where(np.arange(90) < 85, 0.0, -np.inf)
    found = smw.from_weights(table, log_w)
    assert found.names == ("a", "b")
    np.testing.assert_allclose(found.value, [42.0, 0.1])
    assert found.standard_error[1] < 1e-14


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.ones(5)}, r"values: got shape \(5,\); expected .* at least 10"),
        ({"values": np.append(np.ones(19), np.nan)}, r"values: nan at index \[19\]"),
        ({"log_weights": np.zeros(7)}, r"log_weights: got shape \(7,\); expected \(20,\)"),
        ({"log_weights": np.append(np.zeros(19), np.inf)}, "log_weights: inf at index 19"),
        ({"log_weights": np.append(np.zeros(19), np.nan)}, "log_weights: nan at index 19"),
        ({"chain": np.zeros(3, int)}, r"chain: got shape \(3,\); expected \(20,\)"),
        ({"log_weights": np.full(20, 900.0), "self_normalized": False}, "the largest is 900"),
    ],
)
def test_what_is_wrong_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        smw.from_weights(**{"values": np.arange(20.0), "log_weights": np.zeros(20)} | change)


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(smw.DegeneracyError, match="all are -inf"):
        smw.from_weights(np.arange(20.0), np.full(20, -np.inf))


def test_it_is_saved_and_read_back(tmp_path):
    x, log_w = drawn(np.random.default_rng(6), 400)
    found = smw.from_weights(x, log_w, chain=np.repeat([0, 1], 200))
    found.save(tmp_path / "a.nc")
    again = smw.Estimate.load(tmp_path / "a.nc")
    assert again.value == found.value and again.covariance == found.covariance
