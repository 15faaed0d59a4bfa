"""Unbiased counts, and conditional laws by Bayes' rule.

z-tests: bound 5.5 standard errors, fewer than 300 of them: a false alarm in 10^5 runs of the file.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smcweights import conditional_resample, resample
from smcweights.resampling import CONDITIONAL_SCHEMES, SCHEMES

W = np.array([0.05, 0.4, 0.0, 0.3, 0.25])
RUNS = [3_000, pytest.param(20_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("n", [3, 7])
@pytest.mark.parametrize("runs", RUNS)
def test_counts_are_unbiased_sees_2_percent_slow_and_5_fast(scheme, n, runs):
    rng = np.random.default_rng(1)
    counts = np.array(
        [np.bincount(resample(W, n, scheme=scheme, seed=rng), minlength=5) for _ in range(runs)]
    )
    error = counts.std(axis=0) / np.sqrt(runs) + 1e-12
    assert (np.abs(counts.mean(axis=0) - n * W) < 5.5 * error + 1e-9).all()


@pytest.mark.parametrize("scheme", ["systematic", "stratified", "residual"])
def test_low_variance_schemes_keep_counts_close(scheme):
    # systematic and residual within one copy, stratified within two
    slack = {"systematic": 1.0, "stratified": 2.0, "residual": np.inf}[scheme]
    rng = np.random.default_rng(2)
    for _ in range(200):
        w = rng.dirichlet(np.ones(6))
        counts = np.bincount(resample(w, 10, scheme=scheme, seed=rng), minlength=6)
        assert (counts > 10 * w - 1 - 1e-9).all() or scheme == "stratified"
        assert (np.abs(counts - 10 * w) < slack + 1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", CONDITIONAL_SCHEMES)
@pytest.mark.parametrize("runs", RUNS)
def test_conditional_after_marginal_is_the_scheme(scheme, runs):
    # the index of slot 0 from the weights, the rest given it: the counts have the law of the
    # scheme itself, with strata that begin anywhere for the stratified one
    rng = np.random.default_rng(3)
    many, n = 25 * runs, 3
    w = np.array([0.15, 0.5, 0.35])

    def law(drawn):
        counts = (drawn[..., None] == np.arange(3)).sum(axis=1)
        keys, times = np.unique(counts, axis=0, return_counts=True)
        return {tuple(key): t / len(drawn) for key, t in zip(keys.tolist(), times, strict=True)}

    comb = rng.random((many, 1)) + np.arange(n) / n
    teeth = {
        "multinomial": lambda: rng.random((many, n)),
        "systematic": lambda: comb % 1,
        "stratified": lambda: (comb + rng.random((many, n)) / n) % 1,
    }[scheme]()
    plain = law(np.searchsorted(np.cumsum(w), teeth, side="right"))
    slots = rng.choice(3, p=w, size=runs).tolist()
    draws = [conditional_resample(w, 0, slot, n, scheme=scheme, seed=rng) for slot in slots]
    both = law(np.array(draws))
    for key in plain.keys() | both.keys():
        p, q = plain.get(key, 0.0), both.get(key, 0.0)
        assert abs(p - q) < 5.5 * np.sqrt(max(p, q, 2 / runs) * (1 / runs + 1 / many)), (key, p, q)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(0, 1e300, allow_subnormal=False), min_size=1, max_size=20).filter(
        lambda w: 0 < sum(w) < 1e305
    ),
    st.integers(1, 20),
    st.sampled_from(SCHEMES),
)
def test_only_positive_weights_are_drawn(w, n, scheme):
    found = resample(w, n, scheme=scheme, seed=1)
    assert found.shape == (n,)
    biggest = max(w)
    # a weight below rounding of the total may share its place in the cumulative sum
    assert all(w[i] > 0 or biggest * 1e-15 > w[i] for i in found)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"weights: nan at index \[1\]; expected finite"):
        resample([0.5, np.nan])
    with pytest.raises(ValueError, match=r"weights: got -1\.0 at 0; expected numbers from 0"):
        resample([-1, 2])
    with pytest.raises(ValueError, match=r"weights: got a sum of 0\.0; expected"):
        resample([0.0, 0.0])
    with pytest.raises(ValueError, match="weights: got shape"):
        resample([[0.5]])
    with pytest.raises(ValueError, match="scheme: got 'best'"):
        resample([1.0], scheme="best")
    with pytest.raises(ValueError, match="frozen: got 1"):
        conditional_resample([1.0, 0.0], 0, 1)
    with pytest.raises(ValueError, match="slot: got 2"):
        conditional_resample([1.0, 0.0], 2, 0)
    with pytest.raises(ValueError, match="scheme: got 'residual'"):
        conditional_resample([1.0], 0, 0, scheme="residual")
