import math
import sys
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smcweights import weights
from smcweights.errors import DegeneracyError

FUNCTIONS = [
    weights.log_sum_exp,
    weights.log_mean_exp,
    weights.normalise,
    weights.effective_sample_size,
    weights.perplexity,
    weights.largest_weight,
    weights.pareto_k,
]

# the same examples in every run, however slow the machine
unhurried = settings(deadline=None, derandomize=True)
log_weights = hnp.arrays(
    np.float64,
    st.integers(1, 60),
    elements=st.floats(max_value=1.7e308, allow_nan=False, allow_infinity=True),
).filter(lambda a: a.max() > -np.inf)
moderate = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-700, 700))


@pytest.mark.slow
@unhurried
@given(log_weights)
def test_no_input_overflows_and_every_number_stays_in_its_range(log_w):
    w = weights.normalise(log_w)
    n = log_w.size
    assert (w >= 0).all()
    assert w.sum() == pytest.approx(1, rel=1e-12)
    assert 1 - 1e-12 <= weights.effective_sample_size(log_w) <= n * (1 + 1e-12)
    assert (1 - 1e-12) / n <= weights.perplexity(log_w) <= 1 + 1e-12
    assert weights.largest_weight(log_w) == pytest.approx(w.max(), rel=1e-12)
    assert log_w.max() <= weights.log_sum_exp(log_w)
    assert not math.isnan(weights.pareto_k(log_w))


@pytest.mark.slow
@unhurried
@given(moderate)
def test_log_sum_and_mean_agree_with_exact_summation(log_w):
    exact = math.fsum(math.exp(a - 700) for a in log_w)
    assume(exact > 1e-300)
    assert weights.log_sum_exp(log_w) == pytest.approx(math.log(exact) + 700, abs=1e-11)
    assert weights.log_mean_exp(log_w) == pytest.approx(
        math.log(exact) + 700 - math.log(log_w.size), abs=1e-11
    )


@pytest.mark.slow
@unhurried
@given(moderate, st.floats(-500, 500), st.randoms(use_true_random=False))
def test_a_constant_and_the_order_do_not_matter(log_w, constant, random):
    log_w = np.round(log_w, 3)  # so that adding the constant loses no digit that counts
    permutation = list(range(log_w.size))
    random.shuffle(permutation)
    moved = (log_w + constant)[permutation]
    for function in (weights.effective_sample_size, weights.perplexity, weights.largest_weight):
        assert function(moved) == pytest.approx(function(log_w), rel=1e-9)
    np.testing.assert_allclose(
        weights.normalise(moved), weights.normalise(log_w)[permutation], rtol=1e-9, atol=1e-300
    )


@unhurried
@given(moderate, st.integers(2, 5))
def test_repeating_every_draw_multiplies_the_effective_sample_size(log_w, times):
    repeated = np.tile(log_w, times)
    assert weights.effective_sample_size(repeated) == pytest.approx(
        times * weights.effective_sample_size(log_w), rel=1e-9
    )
    assert weights.perplexity(repeated) == pytest.approx(weights.perplexity(log_w), rel=1e-9)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_any_layout_and_real_dtype_is_read_and_nothing_is_written(function):
    base = np.array([3, 1, 4, 1, 5, 9, 2, 6] * 5)
    expected = function(base.astype(np.float64))
    strided = np.repeat(base.astype(float), 2)[::2]
    read_only = base.astype(float)
    read_only.flags.writeable = False
    for variant in (base, base.astype(np.float32), strided, read_only, base.tolist()):
        np.testing.assert_array_equal(function(variant), expected)
    np.testing.assert_array_equal(strided, base)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ([0.0, 1.0, np.nan], ValueError, "nan at index 2"),
        ([0.0, np.inf], ValueError, "inf at index 1"),
        ([], ValueError, r"\(0,\)"),
        ([[0.0, 1.0]], ValueError, r"\(1, 2\)"),
        (1.0, ValueError, r"\(\)"),
        (["a"], TypeError, "real numbers"),
        ([1j], TypeError, "complex128"),
        ([True], TypeError, "bool"),
        ([-np.inf, -np.inf], DegeneracyError, "all 2 weights"),
    ],
)
def test_bad_log_weights_say_what_and_where(function, bad, error, message):
    with pytest.raises(error, match=message):
        function(bad)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_single_precision_weights_are_worked_in_double(function):
    log_w = np.random.default_rng(4).standard_normal(1000).astype(np.float32)
    np.testing.assert_array_equal(function(log_w), function(log_w.astype(np.float64)))


def test_known_values():
    log_w = np.log([0.2, 0.3, 0.5])
    assert weights.effective_sample_size(log_w) == pytest.approx(1 / 0.38)
    entropy = -(0.2 * math.log(0.2) + 0.3 * math.log(0.3) + 0.5 * math.log(0.5))
    assert weights.perplexity(log_w) == pytest.approx(math.exp(entropy) / 3)
    assert weights.largest_weight(log_w) == pytest.approx(0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "k", [pytest.param(0.3, marks=pytest.mark.slow), 0.7, pytest.param(1.2, marks=pytest.mark.slow)]
)
def test_pareto_k_finds_the_shape_of_pareto_weights(k):
    # standard deviation of k-hat at 3,000 tail draws: about (1 + k)/sqrt(3000) <= 0.04; a mean of
    # 20 runs within 5 of its standard errors: false alarm below 1e-6, sees a bias of 0.05
    rng = np.random.default_rng([20, round(10 * k)])
    found = [weights.pareto_k(-k * np.log(rng.random(1_000_000))) for _ in range(20)]
    shrinkage = (3000 * k + 5) / 3010 - k
    assert abs(np.mean(found) - k - shrinkage) < 5 * 1.05 * (1 + k) / math.sqrt(3000 * 20)
    assert np.std(found, ddof=1) < 3 * (1 + k) / math.sqrt(3000)


def test_pareto_k_of_bounded_weights_is_negative():
    rng = np.random.default_rng(5)
    assert weights.pareto_k(np.log(rng.random(10_000))) == pytest.approx(-1, abs=0.3)


def test_pareto_k_of_gaussian_importance_sampling_tells_good_from_hopeless():
    rng = np.random.default_rng(6)
    x = rng.standard_normal(100_000)
    # target N(0, s^2) from N(0, 1): the weights' tail index is k = 1 - 1/s^2 by the ratio of the
    # exponents of density and weight
    for scale, expected in ((2.0, 0.75), (0.5, -math.inf)):
        found = weights.pareto_k(-0.5 * x**2 / scale**2 + 0.5 * x**2)
        assert found == pytest.approx(expected, abs=0.2) if scale > 1 else found < 0


def test_pareto_k_of_a_tail_of_one_value():
    """A node of the fit's grid is 0 there."""
    assert weights.pareto_k(np.log(np.repeat([1.0, 2.0], [1120, 105]))) < 0


def test_pareto_k_without_a_tail():
    assert weights.pareto_k(np.zeros(1000)) == -math.inf
    assert weights.pareto_k(np.full(1000, 1e-17)) == -math.inf
    few = np.zeros(1000)
    few[:3] = 20
    assert weights.pareto_k(few) == math.inf
    assert weights.pareto_k(np.log(np.arange(1.0, 21.0))) == math.inf
    assert weights.pareto_k([0.0]) == math.inf
    lonely = np.full(1000, -np.inf)
    lonely[7] = 0
    assert weights.pareto_k(lonely) == math.inf


def arviz_pareto_k(log_w):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz
    if "arviz_stats" in sys.modules:
        from arviz_stats.base import array_stats

        # this generation's array function takes minus log weights
        return float(array_stats.psislw(-log_w)[1])
    with np.errstate(all="ignore"):  # this generation's grid weights overflow on large tails
        return float(arviz.psislw(log_w.copy())[1])


@pytest.mark.parametrize("n", [100, 10_000, 90_000])
@pytest.mark.parametrize("k", [-0.5, 0.3, 0.7, 1.2])
def test_pareto_k_agrees_with_arviz_and_its_sign(n, k):
    # at these n both generations cut the tail where we do
    log_w = -k * np.log(np.random.default_rng([n, round(100 + 10 * k)]).random(n))
    ours = weights.pareto_k(log_w)
    assert ours == pytest.approx(arviz_pareto_k(log_w), abs=1e-9)
    assert abs(ours - weights.pareto_k(-log_w)) > 0.1


@unhurried
@given(
    st.integers(6, 44).map(lambda m: 5 * m) | st.integers(16, 60).map(lambda m: m * m),
    st.floats(0.1, 1.5),
    st.integers(0, 2**32 - 1),
)
def test_pareto_k_agrees_with_arviz_at_many_sizes(n, k, seed):
    # at other sizes the generations differ among themselves by one draw in the tail
    log_w = -k * np.log(np.random.default_rng(seed).random(n))
    assert weights.pareto_k(log_w) == pytest.approx(arviz_pareto_k(log_w), abs=1e-9)


def test_pareto_k_of_ties_whose_grid_passes_through_the_exponential_law():
    log_w = np.log(np.repeat([1.0, 2.0, 4.0], [64, 8, 8]))
    assert weights.pareto_k(log_w) < 0.5
    assert np.isfinite(weights.pareto_smoothed(log_w)).all()


def test_pareto_k_threshold():
    assert weights.pareto_k_threshold(100) == 0.5
    assert weights.pareto_k_threshold(2200) == pytest.approx(0.7, abs=1e-3)
    assert weights.pareto_k_threshold(10**9) == 0.7
    with pytest.raises(ValueError, match=r"n: got .*; expected a number from 2"):
        weights.pareto_k_threshold(1)
    with pytest.raises(ValueError, match=r"n: got .*; expected a number from 2"):
        weights.pareto_k_threshold(float("nan"))
