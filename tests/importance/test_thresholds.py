"""One set of coefficients for every threshold: against sums done one by one, and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

from smcweights.importance.proposals import ROWS
from smcweights.importance.thresholds import (
    Curve,
    Weighing,
    correlations,
    effective,
    suprema,
    width,
)

RNG = np.random.default_rng(5)


def plain(n):
    """n draws of the law itself: nothing to correct."""
    none = np.zeros(n)
    return Weighing.of(none, none[:, None], none, np.array([n]))


def mixed(n=600):
    """Draws of a normal law and of one moved to 2, two thirds and a third."""
    counts = np.array([2 * n // 3, n // 3])
    x = RNG.standard_normal(n) + np.repeat([0.0, 2.0], counts)
    log_g = np.stack([stats.norm.logpdf(x), stats.norm.logpdf(x - 2)], axis=1)
    log_h = np.log(np.exp(log_g) @ (counts / n))
    return Weighing.of(log_g[:, 0], log_g, log_h, counts), x


def test_plain_draws_give_the_empirical_law_and_its_binomial_error():
    y = RNG.permutation(200) * 1.0
    curve = Curve.of(plain(200), y)
    assert np.array_equal(curve.values, np.arange(200.0))
    f = np.arange(201) / 200
    assert np.allclose(curve.side(curve.tail, False), f) and np.allclose(
        curve.tail, np.minimum(f, 1 - f)
    )
    assert np.allclose(curve.error, np.sqrt(f * (1 - f) / 199))
    assert curve.reach == pytest.approx((0.25, 0.25))
    assert curve.quantile(0.5, 0.0, 1.0) == 99.0 and curve.quantile(0.3, 0.0, 1.0) == 59.0


def test_errors_of_all_thresholds_are_those_of_residuals_one_by_one():
    weighing, x = mixed()
    assert len(weighing.pull) == 1
    curve = Curve.of(weighing, x)
    for j in (1, 50, 300, 550, 599):
        t, above = curve.values[j - 1], curve.upper[j]
        phi = (x > t if above else x <= t).astype(float)[:, None]
        e = weighing.residuals(phi)
        assert curve.error[j] == pytest.approx(np.sqrt((e**2).sum()), rel=1e-9)
        assert curve.tail[j] == pytest.approx(weighing.coefficients @ phi[:, 0])
    # the two densities are the controls: their own means are exact
    assert weighing.raw.sum() == pytest.approx(1.0, abs=1e-12)
    exact = weighing.residuals(1 / weighing.weight[:, None])
    assert np.abs(exact).max() < 1e-9
    assert effective(weighing.weight, x > 3) < (x > 3).sum()


def test_errors_of_a_law_given_that_the_model_ran_are_those_of_ratios():
    weighing, x = mixed()
    ran = (x < 1.5) & (np.arange(len(x)) % 7 > 0)
    some = Weighing(weighing.weight, weighing.controls, weighing.pull, weighing.counts, ran)
    y = np.where(ran, x, np.nan)
    curve = Curve.of(some, y)
    assert len(curve.values) == ran.sum() and curve.trials == ran[:400].sum()
    for j in (1, 20, len(curve.values) // 2, len(curve.values) - 3):
        t, above = curve.values[j - 1], curve.upper[j]
        phi = (y > t if above else y <= t).astype(float)[:, None]
        e = some.residuals(phi)
        assert curve.error[j] == pytest.approx(np.sqrt((e**2).sum()), rel=1e-9)
        assert curve.tail[j] == pytest.approx(some.coefficients @ phi[:, 0])
    # so many failed that a block of the draws is empty
    weighing, x = mixed(9_000)
    some = replace(weighing, ran=x < 1.0)
    assert len(Curve.of(some, x).values) == (x < 1.0).sum() < ROWS
    # of plain draws: as if those that ran were all there are
    whole = plain(200)
    ran, y = RNG.random(200) < 0.6, RNG.random(200)
    known = Weighing(whole.weight, whole.controls, whole.pull, whole.counts, ran)
    curve, m = Curve.of(known, np.where(ran, y, np.nan)), ran.sum()
    f = np.arange(m + 1) / m
    assert np.allclose(curve.side(curve.tail, False), f) and known.share == pytest.approx(m / 200)
    assert np.allclose(curve.error, np.sqrt(f * (1 - f) / m * 200 / 199))


def test_a_law_turned_round_or_stretched_has_the_same_law():
    weighing, x = mixed()
    curve, turned = Curve.of(weighing, x), Curve.of(weighing, -x)
    assert np.allclose(turned.tail, curve.tail[::-1]) and np.allclose(
        turned.error, curve.error[::-1]
    )
    stretched = Curve.of(weighing, np.exp(x))
    for p in (0.05, 0.3, 0.99):
        ends = curve.inverse(p, *curve.ends(2.0))
        assert np.log(stretched.inverse(p, *stretched.ends(2.0))) == pytest.approx(ends)
        low, high = turned.inverse(1 - p, *turned.ends(2.0))
        assert (-high, -low) == pytest.approx(ends)
    lower, upper = curve.band(3.0)
    f = curve.side(curve.tail, False)
    assert (np.diff(lower) >= 0).all() and (np.diff(upper) >= 0).all() and (np.diff(f) >= 0).all()
    assert ((lower <= f + 1e-12) & (f <= upper + 1e-12)).all()


def test_atoms_are_quantiles_as_a_whole():
    y = np.repeat([0.0, 1.0, 2.0], [600, 300, 100])
    curve = Curve.of(plain(1000), RNG.permutation(y))
    lower, upper = curve.ends(1.96)
    assert curve.inverse(0.3, lower, upper) == (0.0, 0.0)
    assert curve.inverse(0.6, lower, upper) == (0.0, 1.0)
    assert curve.inverse(0.95, lower, upper) == (2.0, 2.0)
    # nothing was seen above 2: as much as 4 in 1,000 may be there
    assert curve.inverse(1 - 1e-4, lower, upper) == (2.0, np.inf)
    assert np.isnan(curve.quantile(1 - 1e-4, 2.0, np.inf)) and curve.quantile(0.95, 2.0, 2.0) == 2.0
    assert upper[0] == pytest.approx(1 - (1 - ndtr(1.96)) ** (1 / 1000))


def test_one_value_alone_is_all_its_quantiles():
    curve = Curve.of(plain(1000), np.full(1000, 3.0))
    assert curve.inverse(0.5, *curve.ends(2.0)) == (3.0, 3.0)
    assert curve.quantile(0.5, 3.0, 3.0) == 3.0 and curve.reach == (1.0, 1.0)
    assert len(curve.thresholds()) == 0
    assert (suprema(plain(1000), curve, np.full(1000, 3.0), RNG) == 0).all()


@pytest.mark.slow
def test_bands_of_plain_draws_hold_as_often_as_they_say():
    """150 laws of 400 draws: sees a shortfall of 11 points, with a false alarm in 10^7."""
    y = RNG.random((150, 400))
    p = np.linspace(0.2, 0.8, 25)
    held = 0
    for row in y:
        weighing, curve = plain(400), Curve.of(plain(400), row)
        lower, upper = curve.band(width(suprema(weighing, curve, row, RNG), 0.95))
        piece = curve.piece(p)
        held += ((lower[piece] <= p) & (p <= upper[piece])).all()
    assert held >= stats.binom.ppf(1e-7, 150, 0.95)
    # the largest of many is not the one of a single threshold
    assert 2.4 < width(suprema(weighing, curve, row, RNG), 0.95) < 3.6


@pytest.mark.parametrize("failing", [False, True])
def test_steps_go_together_as_their_residuals_do(failing):
    weighing, x = mixed()
    if failing:
        ran = (x < 2.5) & (np.arange(len(x)) % 7 > 0)
        weighing, x = replace(weighing, ran=ran), np.where(ran, x, np.nan)
    at = np.array([-1.5, 0.2, 0.9, 2.0])
    above = at > 0.5
    e = weighing.residuals(np.where(above, -1.0 * (x[:, None] > at), 1.0 * (x[:, None] <= at)))
    np.testing.assert_allclose(weighing.between_steps(x, at, above), e.T @ e, rtol=1e-9)


def test_correlations_are_one_with_themselves():
    e = RNG.standard_normal((50, 3))
    assert np.allclose(correlations(e.T @ e).diagonal(), 1)
