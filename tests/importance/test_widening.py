"""Inputs drawn wider than their laws, and values that are rare."""

import warnings

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import ndtri

import smcweights as smw
from smcweights.importance.laws import as_law
from smcweights.importance.widening import Widening, flattened, rare_values

from .cases import covered, lower_bound


@pytest.mark.parametrize("scale", [2.0, 3.0])
def test_wide_draws_follow_their_law_and_weights_give_means_under_the_input_s(scale):
    share, plain = 0.3, 0.25
    widening = Widening(np.array([scale, 0.0]), np.array([7.0, 7.0]), share, 4, 16)
    z = np.linspace(-8, 8, 401)
    u = widening.drawn(np.stack([z, z], axis=1))
    np.testing.assert_array_equal(u[:, 1], z)
    assert np.abs(u[100:300, 0]).max() < 7
    wide = stats.truncnorm(-7 / scale, 7 / scale, scale=scale)
    for side, tail in ((z < 0, "cdf"), (z > 0, "sf")):
        normal, other = (getattr(law, tail)(u[side, 0]) for law in (stats.norm, wide))
        expected = getattr(stats.norm, tail)(z[side])
        np.testing.assert_allclose(
            (1 - share) * normal + share * other, expected, rtol=1e-8, atol=1e-14
        )

    def term(x):
        f, q = stats.norm.pdf(x), (1 - share) * stats.norm.pdf(x) + share * wide.pdf(x)
        ratio = widening.log_ratios(np.array([[x, 0.0]]))[0]
        np.testing.assert_allclose(ratio, [np.log(q / f), 0])
        return x**4 * (plain * f + (1 - plain) * q) * widening.weight(ratio.sum())

    found = integrate.quad(term, -12, 12, points=[-7, 0, 7], limit=200)[0]
    assert found == pytest.approx(3, abs=1e-6)


@pytest.mark.parametrize(
    "law", [stats.bernoulli(0.003), stats.poisson(1), stats.binom(4, 0.9), stats.bernoulli(0.995)]
)
def test_rare_values_are_drawn_by_a_flatter_law_that_weights_make_up_for(law):
    ours = as_law([law])
    (values,) = rare_values(ours)
    widening = flattened(ours)
    v = (np.arange(100_000) + 0.5) / 100_000
    u = widening.drawn(ndtri(v)[:, None])
    x, count = np.unique(ours.to_inputs(u)[:, 0], return_counts=True)
    drawn = values.mixed(widening.share)
    np.testing.assert_allclose(count / 100_000, drawn[: len(x)], atol=2e-5)
    own = law.pmf(x)
    ratio = widening.log_ratios(ours.from_inputs(x[:, None]))[:, 0]
    often = own > 1e-9
    np.testing.assert_allclose(np.exp(ratio[often]), (drawn[: len(x)] / own)[often], rtol=1e-6)
    assert drawn[values.reached].min() > 0.001


def test_dice_and_ordinary_switches_have_no_rare_values():
    laws = [stats.randint(1, 7), stats.bernoulli(0.3), stats.binom(3, 0.5), stats.norm(), 2.0]
    assert rare_values(as_law(laws)) == (None,) * 5
    found = smw.sobol_indices(lambda x: x[:, 0] * x[:, 1], laws[:2], 1_000, seed=1)
    assert "widened" not in found.indices.diagnostics and not found.cautions
    assert found.indices.standard_error.max() < 1e-10


def rare_switch(x):
    """Truth: 30^2 p (1 - p) of the variance is the switch's, 1 the other's."""
    return 30 * x[:, 0] + x[:, 1]


SWITCH = [stats.bernoulli(0.0005), stats.norm()]
SWITCH_SHARES = np.array([900 * 0.0005 * 0.9995, 1]) / (900 * 0.0005 * 0.9995 + 1)


def test_a_rare_value_that_carries_the_variance_is_drawn():
    """Its indices were 0 or half, with errors of 1e-12, in 24 of 30 runs without a warning."""
    for seed in range(3):
        found = smw.sobol_indices(rare_switch, SWITCH, 1_000, seed=seed)
        assert not found.cautions and found.indices.diagnostics["widened"] == ["X1", "X2"]
        assert np.abs(found.indices.value - np.tile(SWITCH_SHARES, 2)).max() < 1e-9


def test_a_pair_of_rare_values_that_carries_the_variance_is_drawn():
    """By enumeration; never drawn, its part was 0 with an error of 1e-12."""
    laws = [stats.bernoulli(0.02), stats.bernoulli(0.03), stats.poisson(1)]
    a, b = 0.02 * 0.98, 0.03 * 0.97
    both, alone = 100**2 * a * b, np.array([(100 * 0.03 + 1) ** 2 * a, (100 * 0.02) ** 2 * b, 1])
    variance = both + alone.sum()
    truth = np.append(alone, alone + np.array([both, both, 0])) / variance

    def model(x):
        return 100 * x[:, 0] * x[:, 1] + x[:, 0] + x[:, 2]

    for seed in range(2):
        found = smw.sobol_indices(model, laws, 4_000, seed=seed)
        assert covered(found.indices, truth).all() and found.indices.standard_error.max() < 1e-9


@pytest.mark.slow
def test_shapley_effects_of_a_rare_value_cover_unwarned():
    """120 runs; their errors were 0 in 28 of 40."""
    inside = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(120):
            found = smw.shapley_effects(rare_switch, SWITCH, 1_000, seed=seed)
            inside.append(covered(found.effects, SWITCH_SHARES))
    assert (np.mean(inside, axis=0) >= lower_bound(120)).all()


def test_rare_values_of_which_few_draws_are_to_be_expected_are_told():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = smw.sobol_indices(rare_switch, SWITCH, 2_000, widen=False, seed=1)
        few = smw.shapley_effects(rare_switch, SWITCH, 200, seed=1)
    for found in (plain, few):
        (text,) = [c.text for c in found.cautions if c.code == "rare-values"]
        assert text.startswith("a value of X1 is to be expected in")
