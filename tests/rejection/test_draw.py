"""One item under a constraint, with its weight."""

import math

import numpy as np
import pytest
from packed import same
from scipy import stats

import smcweights as smw
from smcweights.rejection import draw as dr

SLOW = pytest.mark.slow


@pytest.mark.parametrize("method", dr.METHODS[1:7])
@pytest.mark.slow
def test_every_method_is_unbiased_as_it_comes(method):
    """Where few items are accepted, so that ends by a cap count: P(|z| > 5) is 6e-7 for each."""
    accepted = np.arange(3000) % 20 == 7
    stream = np.random.default_rng(3)
    w = np.exp(
        [
            smw.weighted_rejection(
                np.zeros(3000), accepted.__getitem__, method=method, seed=stream
            ).log_weight
            for _ in range(3000)
        ]
    )
    assert abs(w.mean() - 0.05) < 5 * w.std() / math.sqrt(w.size)
    assert w.std() / math.sqrt(w.size) < 0.005


def chi_square(p, c, plan, runs, seed):
    """Squared standardised error of E[w 1{X = i}], summed over items."""
    rng = np.random.default_rng(seed)
    context = dr.prepare(np.log(p), np.asarray(c, dtype=bool), plan.method == "set")
    total, squares = np.zeros(len(p)), np.zeros(len(p))
    for _ in range(runs):
        found = dr.run(rng, context, None, plan)
        items, log_w = found.children
        total[items] += np.exp(log_w)
        squares[items] += np.exp(2 * log_w)
    mean = total / runs
    se = np.sqrt(np.maximum(squares / runs - mean**2, 1e-300) / runs)
    seen = np.asarray(c, dtype=bool)
    assert not mean[~seen].any()
    return float((((mean - p)[seen] / se[seen]) ** 2).sum()), int(seen.sum())


@pytest.mark.parametrize("method", dr.METHODS[1:7])
@pytest.mark.parametrize(
    ("v", "runs"),
    [
        (12, 1_500),
        pytest.param(12, 20_000, marks=pytest.mark.slow),
        pytest.param(1000, 4_000, marks=pytest.mark.slow),
    ],
)
def test_compiled_runs_are_unbiased_for_groups_of_items(method, v, runs):
    # P(a false alarm) < 1e-6 for each
    rng = np.random.default_rng(3)
    p = 1 / np.arange(1, v + 1) ** (0.7 if v == 12 else 1.0)
    p = rng.permutation(p / p.sum())
    c = np.arange(v) % 3 == 1
    if v == 12:
        stat, freedom = chi_square(p, c, dr.plan(3, method, None, None), runs, 8)
        assert stat < stats.chi2.isf(1e-6, freedom) * 1.2
        return
    context = dr.prepare(np.log(p), c, method == "set")
    w, group = [], []
    for _ in range(runs):
        found = dr.run(rng, context, None, dr.plan(3, method, None, "4+2j"))
        w.append(math.exp(found.log_weight))
        group.append(found.index % 4)
        assert found.log_bounds[0] - 1e-12 <= math.log(p[c].sum()) <= found.log_bounds[1] + 1e-12
    w, group = np.array(w), np.array(group)
    for g in range(4):
        x = w * (group == g)
        truth = p[c & (np.arange(v) % 4 == g)].sum()
        assert abs(x.mean() - truth) < 5.3 * x.std() / math.sqrt(x.size)


def test_tiny_masses_are_found():
    logits = np.array([0.0, -1.0, -800.0, -801.0, -803.0])
    truth = -800.264674335944
    for seed in range(20):
        found = smw.weighted_rejection(logits, lambda i: i in (2, 4), seed=seed)
        assert found.status == "exhausted"
        assert found.log_weight == pytest.approx(truth, abs=1e-9)
        assert found.index in (2, 4)
    for method in ("one-probe", "harmonic", "set", "exact"):
        w = [
            smw.weighted_rejection(logits, lambda i: i in (2, 4), method=method, seed=s).log_weight
            for s in range(200)
        ]
        assert np.log(np.mean(np.exp(np.array(w) - truth))) == pytest.approx(0, abs=0.5)


def test_remaining_mass_of_1e_minus_16_is_no_dead_end():
    p = np.array([1.0, 1e-16, 1e-17, 1e-18])
    found = smw.weighted_rejection(np.log(p), lambda i: i > 0, n_accepts=2, seed=0)
    assert found.status == "ok" and found.index > 0
    assert math.log(1e-18) < found.log_weight < math.log(1.2e-16)


def test_statuses():
    flat = np.zeros(40)
    dead = smw.weighted_rejection(flat, lambda i: False, seed=1)
    assert (dead.status, dead.index, dead.log_weight) == ("dead", -1, -math.inf)
    assert dead.n_evaluations == 40 and dead.log_bounds == (-math.inf, -math.inf)
    poor = smw.weighted_rejection(flat, lambda i: False, max_evaluations=5, seed=1)
    assert (poor.status, poor.log_weight) == ("budget", -math.inf) and poor.n_evaluations <= 5
    only = smw.weighted_rejection([2.0], lambda i: True, seed=1)
    assert (only.index, only.status) == (0, "exhausted") and only.log_weight == 0.0
    single = smw.weighted_rejection(flat, lambda i: i == 7, after_first=None, seed=1)
    assert single.status == "exhausted" and single.log_weight == pytest.approx(math.log(1 / 40))
    zero = smw.weighted_rejection([0.0, -math.inf, 0.0], [True, True, False], seed=1)
    assert (zero.index, zero.n_evaluations) == (0, 2)


def test_an_answer_is_asked_for_once_and_any_form_of_constraint_gives_the_same():
    import jax.numpy as jnp
    import numba

    x = np.random.default_rng(0).normal(size=300)
    asked = []

    def divides(i):
        asked.append(i)
        return i % 5 == 0

    found = smw.weighted_rejection(x, divides, seed=4)
    assert len(asked) == len(set(asked)) == found.n_evaluations
    mask = np.arange(300) % 5 == 0
    jitted = numba.njit(lambda i: i % 5 == 0)
    others = [
        smw.weighted_rejection(x, mask, method="rao-blackwell", seed=4),
        smw.weighted_rejection(x, jitted, seed=4),
        smw.weighted_rejection(x, lambda i: jnp.asarray(i) % 5 == 0, seed=4),
        smw.weighted_rejection(x, lambda i: i % 5 == 0, batch=True, seed=4),
    ]
    for other in others:
        assert (other.index, other.log_weight) == (found.index, found.log_weight)


def test_rows_have_their_own_streams():
    x = np.random.default_rng(0).normal(size=(3, 50))
    rows = smw.weighted_rejection(x, lambda i: i % 2 == 0, seed=4)
    alone = smw.weighted_rejection(x[0], lambda i: i % 2 == 0, seed=4)
    assert len(rows) == 3 and rows[0].log_weight == alone.log_weight


def test_soft_values():
    rng = np.random.default_rng(2)
    p, c = rng.dirichlet(np.ones(8)), rng.random(8) * (np.arange(8) != 3)
    draws = [smw.weighted_rejection(np.log(p), c, method="set", seed=s) for s in range(1000)]
    w = np.exp([d.log_weight for d in draws])
    assert abs(w.mean() - p @ c) < 5 * w.std() / math.sqrt(w.size)
    exact = smw.weighted_rejection(np.log(p), lambda i: c[i], method="exact", seed=1)
    assert exact.log_weight == pytest.approx(math.log(p @ c))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: smw.weighted_rejection([0.0, math.nan], lambda i: True), ValueError, "item 1"),
        (lambda: smw.weighted_rejection([0.0, math.inf], lambda i: True), ValueError, "item 1"),
        (lambda: smw.weighted_rejection([-math.inf] * 2, lambda i: True), ValueError, "every item"),
        (lambda: smw.weighted_rejection([], lambda i: True), ValueError, "shape"),
        (lambda: smw.weighted_rejection([0.0], lambda i: 0.3), smw.ModelError, "item 0"),
        (lambda: smw.weighted_rejection([0.0], lambda i: None), smw.ModelError, "item 0"),
        (lambda: smw.weighted_rejection([0.0], lambda i: "no"), smw.ModelError, "item 0"),
        (
            lambda: smw.constraint_probability([0.0], lambda i: "a", 20, method="set"),
            smw.ModelError,
            "item 0",
        ),
        (
            lambda: smw.constraint_probability([0.0], lambda i: 1e200, 20, method="set"),
            smw.ModelError,
            "item 0; expected numbers up to",
        ),
        (lambda: smw.weighted_rejection([0.0], [0.3], method="harmonic"), TypeError, "bool"),
        (lambda: smw.weighted_rejection([0.0], [True, False]), ValueError, "shape"),
        (lambda: smw.weighted_rejection([0.0], lambda i: 1, n_accepts=1), ValueError, "n_accepts"),
        (lambda: smw.weighted_rejection([0.0], lambda i: 1, method="x"), ValueError, "method"),
        (
            lambda: smw.weighted_rejection([0.0], lambda i: 1, max_evaluations=2),
            ValueError,
            "max_evaluations",
        ),
        (lambda: smw.constraint_probability([0.0], lambda i: 1, 3), ValueError, "budget"),
        (
            lambda: smw.weighted_rejection([0.0], lambda i: 1, method="harmonic", after_first=2),
            ValueError,
            "after_first",
        ),
    ],
    ids=range(16),
)
def test_wrong_input_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_an_offset_of_the_logits_cancels():
    for offset in (1e16, -1e16, 3e5):
        x = np.array([0.0, 2.0, 4.0, 2.0]) + offset
        draws = [smw.weighted_rejection(x, lambda i: i < 2, seed=seed) for seed in range(20)]
        plain = [smw.weighted_rejection(x - offset, lambda i: i < 2, seed=s) for s in range(20)]
        for one, other in zip(draws, plain, strict=True):
            assert one.index == other.index
            assert one.log_weight == pytest.approx(other.log_weight, abs=1e-12)
            assert one.log_bounds == pytest.approx(other.log_bounds, abs=1e-12)
        e = smw.constraint_probability(x, lambda i: i < 2, 20, seed=1)
        p = np.exp([0.0, 2.0, 4.0, 2.0])
        assert e.value == pytest.approx(p[:2].sum() / p.sum(), rel=1e-12)


def test_logits_as_far_apart_as_floats_are_taken():
    x = [1e308, -1e308, 1e308]
    assert smw.constraint_probability(x, lambda i: i < 2, 20, seed=1).value == pytest.approx(0.5)
    assert smw.weighted_rejection(x, lambda i: i == 2, seed=1).index == 2


def test_certain_bounds_are_in_order():
    x = np.random.default_rng(2).normal(size=40)
    for seed in range(300):
        lower, upper = smw.weighted_rejection(
            x, lambda i: i != 3, n_accepts=20, seed=seed
        ).log_bounds
        assert lower <= upper <= 0


def test_bounds_hold_what_the_weight_of_soft_values_estimates():
    rng = np.random.default_rng(5)
    for scale in (0.01, 1.0, 40.0):
        p, c = rng.dirichlet(np.ones(30)), scale * rng.random(30) * (np.arange(30) % 3 > 0)
        x, truth = np.log(p), math.log(p @ c)
        for seed in range(20):
            for options in ({}, {"max_evaluations": 4}, {"n_accepts": 25}):
                one = smw.weighted_rejection(x, c, method="set", seed=seed, **options)
                lower, upper = one.log_bounds
                asked = smw.weighted_rejection(
                    x, lambda i, c=c: c[i], method="set", seed=seed, **options
                )
                assert asked.log_bounds == one.log_bounds
                assert lower - 1e-12 <= truth <= upper + 1e-12
        every = smw.weighted_rejection(x, c, method="exact", seed=1)
        whole = smw.weighted_rejection(x, c, method="set", n_accepts=31, seed=1)
        assert every.log_bounds == pytest.approx((truth, truth), abs=1e-12)
        assert whole.status == "exhausted"
        assert whole.log_bounds == pytest.approx((truth, truth), abs=1e-12)
    # answers that are bools are no soft values
    hard = smw.weighted_rejection(x, lambda i: i % 3 > 0, method="set", seed=1).log_bounds
    assert hard[0] <= math.log(p[np.arange(30) % 3 > 0].sum()) <= hard[1] <= 0


@pytest.mark.parametrize("executor", ["threads:2", pytest.param("processes:2", marks=SLOW)])
def test_rows_are_the_same_wherever_they_are_drawn(executor):
    logits = np.random.default_rng(1).normal(size=(70, 30))
    allowed = np.arange(2100).reshape(70, 30) % 4 == 1
    for constraint, how in [(lambda i: i % 4 == 1, "auto"), (allowed, "exact"), (allowed, "set")]:
        alone, there = (
            smw.weighted_rejection(logits, constraint, method=how, seed=1, executor=e)
            for e in (None, executor)
        )
        assert len(there) == 70 and all(map(same, there, alone))
    with pytest.raises(smw.ModelError, match="item 2") as caught:
        smw.weighted_rejection(
            np.zeros((64, 3)), lambda i: [None] if i == 2 else True, executor="threads"
        )
    assert caught.value.__notes__
    with pytest.raises(ValueError, match="seed: got a Generator, of which rows draw in turn"):
        smw.weighted_rejection(logits, allowed, seed=np.random.default_rng(1), executor=executor)
