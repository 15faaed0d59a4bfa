"""Weights of finished runs, over all runs that there are."""

import itertools
import math

import numpy as np
import pytest

import smcweights as smw
from smcweights.rejection import draw as dr
from smcweights.rejection import kernels as kn

CASES = [
    ((0.4, 0.25, 0.15, 0.1, 0.06, 0.04), (1, 0, 1, 0, 1, 0)),
    ((0.5, 0.2, 0.1, 0.1, 0.05, 0.05), (0, 0, 0, 1, 1, 1)),
    ((0.9, 0.04, 0.03, 0.02, 0.01), (1, 0, 1, 0, 0)),
]


def log(x):
    return np.log(np.asarray(x, dtype=float)) if len(x) else np.empty(0)


def paths(p, c, how):
    """Every run: probability, items in order, rest mass, how it ended; the rule written anew."""

    def go(order, probability, accepted, rejected, since):
        left = [i for i in range(len(p)) if i not in order]
        if how.method in dr.REDRAW:
            left = [i for i in range(len(p)) if i not in order or c[i]]
        rest = math.fsum(p[i] for i in left)
        if not left:
            yield probability, order, 0.0, kn.EXHAUSTED
            return
        for i in left:
            q, now = probability * p[i] / rest, (*order, i)
            a, n, s = accepted + c[i], rejected + (1 - c[i]), since
            if c[i] and accepted == 0:
                s = n
            ended = None
            if c[i] and a == how.accepts:
                ended = kn.BY_ACCEPT
            elif not c[i] and n == how.budget:
                ended = kn.BY_BUDGET
            elif not c[i] and how.base > 0 and a and n - s == how.base + how.slope * s:
                ended = kn.BY_CAP
            elif len(now) == how.most:
                ended = kn.BY_BUDGET
            if ended is None:
                yield from go(now, q, a, n, s)
            else:
                after = [m for m in left if m != i or (how.method in dr.REDRAW and c[i])]
                yield q, now, math.fsum(p[m] for m in after), ended

    yield from go((), 1.0, 0, 0, None)


def weight(p, c, how, order, rest, ended):
    """Items and weights of one run, by the kernels."""
    r = log([p[i] for i in order if not c[i]])
    a = log([p[i] for i in order if c[i]])
    log_rest = math.log(rest) if rest > 0 else -math.inf
    if how.method == "set":
        inside = order if ended == kn.EXHAUSTED else order[:-1]
        if not any(c[i] for i in inside):
            return {}
        masses = log([p[i] for i in inside])
        if ended != kn.EXHAUSTED:
            masses = kn.set_weights(masses, math.log(rest + p[order[-1]]))
        return {i: math.exp(m) * c[i] for i, m in zip(inside, masses, strict=True) if c[i]}
    if not a.size:
        return {}
    x = next(i for i in order if c[i])
    first = order.index(x)
    if how.method == "harmonic":
        return {x: math.exp(kn.harmonic(r, log_rest, how.accepts)[0])}
    if how.method == "unordered":
        return {x: math.exp(kn.unordered(r, log_rest, how.accepts))}
    if how.method == "two-loop":
        return {x: math.exp(kn.two_loop(r, log_rest, first))}
    if ended == kn.EXHAUSTED:
        return {x: math.fsum(p[i] for i in order if c[i])}
    return {
        x: math.exp(
            kn.averaged(r, a, log_rest, how.accepts, ended, how.base, how.slope, how.budget)[0]
        )
    }


def moments(p, c, how):
    mean, square, evaluations = np.zeros(len(p)), 0.0, 0.0
    for q, order, rest, ended in paths(p, c, how):
        w = weight(p, c, how, order, rest, ended)
        for i, one in w.items():
            mean[i] += q * one
        square += q * sum(w.values()) ** 2
        evaluations += q * len(set(order))
    z = math.fsum(a for a, b in zip(p, c, strict=True) if b)
    return mean, square / z**2 - 1, evaluations


def how(method="rao-blackwell", k=3, after_first=None, most=None):
    return dr.plan(k, method, most, after_first)


TABLE = [
    ("two-loop", 2, None, (0.260541, 1.033281, 0.036543), (2.378, 3.849, 1.206)),
    ("harmonic", 2, None, (0.256239, 0.878157, 0.036533), (2.378, 3.849, 1.206)),
    ("unordered", 2, None, (0.256196, 0.876032, 0.036533), (2.378, 3.849, 1.206)),
    ("harmonic", 3, None, (0.143628, 0.319239, 0.023809), None),
    ("one-probe", 2, None, (0.246474, 0.967262, 0.004553), (2.493, 3.548, 2.073)),
    ("rao-blackwell", 2, None, (0.154791, 0.604051), (3.185, 4.386)),
    ("rao-blackwell", 3, None, (0.031337, 0.097096), (5.065, 5.818)),
    ("rao-blackwell", 2, 2, (0.1604, 0.6534), (2.980, 4.079)),
    ("rao-blackwell", 3, 2, (0.0646, 0.2741), (4.156, 5.028)),
    ("set", 2, None, (0.154754, 0.602478, 0.003288), (3.185, 4.386, 3.224)),
]


# with redraw a path has no end: endless ones stop at the k-th accept, so enumeration is complete
@pytest.mark.parametrize(
    ("method", "k", "cap", "variances", "evaluations"),
    TABLE,
    ids=[f"{row[0]}-{row[1]}-{row[2]}" for row in TABLE],
)
def test_relative_variances_of_the_table(method, k, cap, variances, evaluations):
    for at, v in enumerate(variances):
        p, c = CASES[at]
        mean, relative, spent = moments(p, c, how(method, k, cap))
        assert np.abs(mean - np.multiply(p, c)).max() < (
            1e-9 if method in ("set", "unordered") else 1e-13
        )
        assert relative == pytest.approx(v, abs=6e-7 if cap is None else 6e-5)
        if evaluations:
            assert spent == pytest.approx(evaluations[at], abs=6e-4)


CAPS = [None, "4+2j", 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("cap", CAPS)
def test_every_pair_of_caps_is_unbiased(k, cap):
    for p, c in [*CASES, ((0.3, 0.25, 0.2, 0.15, 0.1), (0, 1, 1, 0, 1)), ((0.6, 0.4), (0, 1))]:
        for budget in [None, 1, 2, 3, 4]:
            most = None if budget is None else budget + k - 1
            mean, _, spent = moments(p, c, how("rao-blackwell", k, cap, most))
            assert np.abs(mean - np.multiply(p, c)).max() < 1e-13
            assert most is None or spent <= most
    for slope, base in itertools.product([1, 2], [1, 2]):
        plan = dr.Plan("rao-blackwell", k, base, slope, 3, -1)
        p, c = CASES[1]
        assert np.abs(moments(p, c, plan)[0] - np.multiply(p, c)).max() < 1e-13


@pytest.mark.parametrize("most", [1, 2, 3, 4, 9])
def test_set_weights_are_unbiased_with_a_limit(most):
    p, c = CASES[0]
    mean, _, _ = moments(p, c, how("set", 2, None, most))
    if most > 1:
        assert np.abs(mean - np.multiply(p, c)).max() < 1e-9
    else:
        assert mean.sum() == 0  # the only item is the trigger


@pytest.mark.parametrize("method", ["rao-blackwell", "harmonic"])
@pytest.mark.parametrize("k", [3, 4])
def test_a_draw_tells_the_variance_of_its_weight(method, k):
    """On average over all runs, by enumeration; the truth is the second moment of the weights."""
    for cap in [None] if method == "harmonic" else [None, "4+2j", 2, 3]:
        plan = how(method, k, cap)
        for p, c in CASES[:2]:
            told, square, mean = 0.0, 0.0, 0.0
            for q, order, rest, ended in paths(p, c, plan):
                r, a = log([p[i] for i in order if not c[i]]), log([p[i] for i in order if c[i]])
                log_rest = math.log(rest) if rest > 0 else -math.inf
                if method == "harmonic":
                    log_w, spread = kn.harmonic(r, log_rest, k)
                elif ended == kn.EXHAUSTED:
                    log_w, spread = kn.log_sum(a), 0.0
                else:
                    log_w, spread = kn.averaged(
                        r, a, log_rest, k, ended, plan.base, plan.slope, plan.budget
                    )
                w = math.exp(log_w)
                told, square, mean = told + q * w * w * spread, square + q * w * w, mean + q * w
            assert told == pytest.approx(square - mean**2, abs=1e-13)
    draw = smw.weighted_rejection(np.zeros(200), lambda i: i % 5 == 0, method=method, seed=1)
    assert 0 < draw.relative_variance < 1
    two = smw.weighted_rejection(np.zeros(200), lambda i: i % 5 == 0, n_accepts=2, seed=1)
    assert math.isnan(two.relative_variance)


@pytest.mark.parametrize("size", [1, 3, 255, 256, 1027])
def test_a_draw_by_a_mask_is_that_of_the_cumulated_masses(size):
    rng = np.random.default_rng(size)
    logits = 2 * rng.normal(size=size)
    logits[rng.random(size) < 0.1] = -math.inf
    logits[-1] = 0.5
    w, log_total = np.exp(logits), math.log(np.exp(logits).sum())
    for rate in (0.01, 0.5, 0.99):
        known = (rng.random(size) < rate).astype(np.int8)
        known[-1] = 1
        values = rng.random(size)
        for soft in (np.empty(0), values):
            mass = w * known * (values if soft.size else 1.0)
            for u in (0.0, 0.3, 0.999999, rng.random()):
                item, mean, inside, n, accepts = kn.masked(
                    logits, w, 0.0, log_total, known, soft, u
                )
                assert item == np.searchsorted(np.cumsum(mass), u * mass.sum(), side="right")
                assert mean == pytest.approx(math.log(mass.sum()) - log_total, abs=1e-12)
                assert inside == pytest.approx(math.log((w * known).sum()) - log_total, abs=1e-12)
                assert (n, accepts) == ((w > 0).sum(), (known * w > 0).sum())
    nothing = kn.masked(logits, w, 0.0, log_total, np.zeros(size, np.int8), np.empty(0), 0.5)
    assert nothing == (-1, -math.inf, -math.inf, (w > 0).sum(), 0)


def test_masses_of_a_row_are_gathered_by_state():
    row, q = np.array([2, -1, 0, 2, 4, -1], np.int32), np.array([0.1, 9.0, 0.2, 0.3, 0.0, 9.0])
    mass, states = np.full(5, -1.0), np.empty(5, np.int64)
    assert states[: kn.gather(row, q, mass, states)].tolist() == [2, 0, 4]
    assert mass.tolist() == [0.2, -1.0, 0.1 + 0.3, -1.0, 0.0]
