"""Controls: their units, their means, and coefficients without bias."""

import math

import numpy as np
import pytest

import smcweights as smw
from smcweights.transport.clouds import pair_of
from smcweights.transport.control_variates import build, fit, worth_most
from smcweights.transport.sphere import absolute_moment

from .truths import SPACE, mixture, quietly, truth_of


@pytest.mark.parametrize("size", [1e-6, 1e4])
@pytest.mark.parametrize(
    "control",
    ["lower", "upper", "parts", "gaussian", "polynomial", "power", "point_mass", ("harmonics", 4),
     (lambda theta: theta[:, 0] ** 2, 1 / 3)],
    ids=["lower", "upper", "parts", "gaussian", "polynomial", "power", "point_mass", "harmonics",
         "own"],
)  # fmt: skip
def test_controls_serve_clouds_in_any_units(control, size):
    x, y = mixture(60, 3, 1), mixture(45, 3, 2)
    keywords = {"directions": "uniform", "control_variates": control, "seed": 3}
    base = smw.sliced_wasserstein(x, y, 400, **keywords)
    scaled = smw.sliced_wasserstein(size * x, size * y, 400, **keywords)
    assert np.all(base.diagnostics["coefficients"] != 0)
    assert scaled.value == pytest.approx(size * base.value, rel=1e-8)
    assert scaled.standard_error == pytest.approx(size * base.standard_error, rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["clouds", "a point", "one size"])
def test_the_mean_of_the_tangent_control(kind, weighted):
    """A quadratic form in the direction: whole orthogonal blocks have no error."""
    d, rng = 9, np.random.default_rng(1)
    x, y = mixture(40, d, 1), 1.7 * mixture(25, d, 2)
    if kind == "a point":
        x = x[:1]
    elif kind == "one size":
        y = x + 1
    a = rng.random(len(x)) if weighted else None
    pair = pair_of(x, y, a)
    control = build("tangent", pair, 2.0)[0]
    theta = np.linalg.qr(rng.normal(size=(d, d)))[0]
    values = control.values(theta, theta @ pair.x.points.T, theta @ pair.y.points.T)
    mean, error = control.means(1e-3, 1.0)
    assert error == 0 and mean[0] == pytest.approx(values.mean(), rel=1e-12)
    if kind == "one size" and not weighted:
        np.testing.assert_allclose(values[:, 0], (theta @ pair.shift) ** 2, rtol=1e-9)


def test_the_default_control_follows_from_sizes():
    """What its mean costs beside the distance, on both sides of each edge."""
    for d, points, total, weighted, name in [
        (10, 600, 40, False, "polynomial"), (10, 6_000, 1_000, False, "gaussian"),
        (5, 2_000, 400, False, "polynomial"), (64, 2_000, 320, False, "polynomial"),
        (64, 2_000, 4_000, False, "gaussian"), (64, 400, 200, False, "polynomial"),
        (128, 800, 100, False, "tangent"),
        (300, 2_000, 300, False, "tangent"), (300, 2_000, 2_000, False, "polynomial"),
        (784, 4_000, 100, False, "tangent"), (784, 4_000, 1_500, True, "polynomial"),
        (784, 4_000, 60_000, True, "gaussian"),
    ]:  # fmt: skip
        assert worth_most(d, points, total, weighted) == name, (d, points, total)
    x, y = mixture(300, 300, 1), mixture(250, 300, 2)
    names = [
        smw.sliced_wasserstein(x, y, 100, seed=1, **keywords).diagnostics["control_variates"]
        for keywords in ({}, {"directions": "uniform"}, {"p": 1})
    ]
    assert names == [["tangent"]] * 3
    whole = smw.sliced_wasserstein(x, y, 1_500, seed=1).diagnostics
    assert whole["lines_per_block"] == 300
    assert whole["control_variates"] == []


def test_a_control_of_the_user_s():
    """The cost of one coordinate axis pair: an even function with mean 1/3."""
    x, y = SPACE
    own = (lambda theta: theta[:, 0] ** 2, 1 / 3)
    values = [
        smw.sliced_wasserstein(
            x, y, 100, directions="uniform", control_variates=own, root=False, seed=s
        ).value
        for s in range(100)
    ]
    z = (np.mean(values) - truth_of(2)) / (np.std(values) / math.sqrt(100))
    assert abs(z) < 4.5
    with pytest.raises(smw.ModelError, match="the function returned shape"):
        smw.sliced_wasserstein(
            x, y, 100, directions="uniform", control_variates=(lambda t: t, 0.0), seed=1
        )
    with pytest.raises(smw.ModelError, match="the function returned what are no numbers"):
        smw.sliced_wasserstein(x, y, 100, control_variates=(lambda t: ["a"] * len(t), 0.0))
    with pytest.raises(ZeroDivisionError) as caught:
        smw.sliced_wasserstein(x, y, 100, control_variates=(lambda t: 1 / 0, 0.0))
    assert any(note.startswith("control_variates: raised") for note in caught.value.__notes__)
    with pytest.raises(TypeError, match="control_variates: got 'a' as a mean"):
        smw.sliced_wasserstein(x, y, 100, control_variates=(lambda t: t[:, 0], "a"))


@pytest.mark.parametrize("directions", ["auto", "uniform", "orthogonal", "sobol"])
def test_a_wrong_mean_of_a_control_is_told(directions):
    """E theta_1^2 = 1/3, E |theta_1| = 1/2, which no rule of finite degree gets without error."""
    keywords = {"directions": directions, "seed": 1}

    def powers(theta):
        return np.stack([theta[:, 0] ** 2, np.abs(theta[:, 0])], axis=1)

    smw.sliced_wasserstein(*SPACE, 2_000, control_variates=(powers, [1 / 3, 1 / 2]), **keywords)
    said = r"function 2 of powers has the stated mean 0\.6, but 0\.(49|5).* \+- "
    with pytest.raises(ValueError, match=said):
        smw.sliced_wasserstein(*SPACE, 2_000, control_variates=(powers, [1 / 3, 0.6]), **keywords)


@pytest.mark.slow
def test_right_means_of_controls_are_never_refused():
    """160 runs with skewed controls, their tails mostly not drawn: none refused."""
    rng = np.random.default_rng(1)
    for d, power in ((3, 6), (30, 12)):
        x, y, mean = mixture(3, d, 1), mixture(2, d, 2), absolute_moment(d, power)
        own = (lambda theta, power=power: theta[:, 0] ** power, mean)
        for budget in (17, 60):
            for seed in rng.integers(2**32, size=40):
                quietly(x, y, budget, directions="uniform", control_variates=own, seed=seed)


def test_controls_of_costs_of_any_size():
    """A control that is rounding beside a far point is no reason to overflow."""
    x = np.random.default_rng(1).normal(size=(40, 6))
    x[0] = 1e7
    y = np.concatenate([x[:1], 1e4 + 1e4 * x[1:]])
    estimate = smw.sliced_wasserstein(x, y, 600, p=8, seed=1)
    assert np.isfinite(estimate.value) and np.isfinite(estimate.standard_error)


@pytest.mark.slow
def test_the_paper_s_coefficient_is_biased_and_ours_is_not():
    """20,000 runs at ten directions: the published regression on its own draws is off."""
    x, y = SPACE
    rng = np.random.default_rng(1)
    theta = rng.normal(size=(20_000, 10, 3))
    theta /= np.linalg.norm(theta, axis=-1, keepdims=True)
    rows = theta.reshape(-1, 3)
    costs = ((np.sort(rows @ x.T) - np.sort(rows @ y.T)) ** 2).mean(axis=1).reshape(-1, 10)
    shift = x.mean(0) - y.mean(0)
    spreads = [np.cov(c.T, bias=True) for c in (x, y)]
    forms = (rows @ shift) ** 2 + sum(np.einsum("ni,ij,nj->n", rows, s, rows) for s in spreads)
    h = forms.reshape(-1, 10) - (shift @ shift + sum(np.trace(s) for s in spreads)) / 3
    gamma = ((costs - costs.mean(1, keepdims=True)) * h).mean(1) / (h**2).mean(1)
    published = costs.mean(1) - gamma * h.mean(1)
    truth = truth_of(2)

    def z(values):
        return (values.mean() - truth) / (values.std() / math.sqrt(len(values)))

    assert abs(z(published)) > 6
    ours = np.array(
        [fit(c, k[:, None], np.ones(1)).blocks.mean() for c, k in zip(costs, h, strict=True)]
    )
    assert abs(z(ours)) < 4.5
