"""Bent coordinates: maps and their inverses, skewed laws by quadrature, when a bend is worth it."""

import numpy as np
import pytest
from scipy import stats

from smcweights.importance.bends import Bend, bend_of
from smcweights.importance.derivative_controls import Derivatives
from smcweights.importance.proposals import Bent, Elliptical, Mixture, log_densities, straightened
from smcweights.importance.whitened_fits import moments_of, skewed_laws

BEND = Bend(
    np.array([0.3, -0.2]),
    np.array([[0.6, 0.0], [0.3, 0.5]]),
    np.array([[0.1, 0.0], [-0.2, 0.0], [0.8, 0.0], [0.2, 0.0]]),
)


def skewed():
    laws = (
        Elliptical(np.array([0.2, 0.5]), np.array([[0.8, 0.0], [-0.3, 0.6]])),
        Elliptical(np.array([-0.7, 0.0]), np.array([[0.5, 0.0], [0.1, 0.9]])),
    )
    return Mixture(np.array([0.7, 0.3]), tuple(Bent(law, BEND) for law in laws))


def test_the_way_back_and_the_slope():
    u = BEND.centre + 3 * np.random.default_rng(1).standard_normal((50, 2))
    y, log_slope = BEND(u)
    np.testing.assert_allclose(BEND.back(y), u, rtol=1e-9, atol=1e-9)
    step = 1e-5
    moved = [(BEND(u + step * e)[0] - BEND(u - step * e)[0]) / (2 * step) for e in np.eye(2)]
    slopes = np.linalg.det(np.stack(moved, axis=2))
    np.testing.assert_allclose(log_slope, np.log(slopes), atol=1e-6)
    # what is not bent is whitened
    v = np.linalg.solve(BEND.cholesky, (u - BEND.centre).T)[1]
    np.testing.assert_allclose(y[:, 1], v, atol=1e-9)


def test_bent_laws_integrate_to_one_and_their_derivatives_to_zero():
    """By the trapezoidal rule."""
    axis = np.linspace(-10, 12, 441)
    points = np.stack([one.ravel() for one in np.meshgrid(axis, axis)], axis=1)
    mixture, cell = skewed(), (axis[1] - axis[0]) ** 2
    density = np.exp(mixture.log_density(points)) * cell
    assert density.sum() == pytest.approx(1, abs=1e-7)
    over = Derivatives(mixture, np.array([[0.7, 0.0], [0.2, 0.5]])).over(
        points, np.zeros(len(points))
    )
    np.testing.assert_allclose(over[:, 0] * cell, density, atol=1e-15)
    assert abs(over[:, 1:].sum(0)).max() * cell < 1e-7 < 0.1 < abs(over).sum(0).min() * cell
    # and its draws have its mean
    u = mixture.sample(np.random.default_rng(2), np.array([14_000, 6_000]))
    error = u.std(0) / np.sqrt(len(u))
    assert (abs(u.mean(0) - density @ points) < 5 * error).all()


def test_densities_of_bent_laws_stand_where_their_components_do():
    bent, plain = skewed().components, Elliptical(np.zeros(2), np.eye(2))
    u = np.random.default_rng(3).standard_normal((9, 2))
    found = log_densities([bent[1], plain, bent[0]], u)
    for column, law in zip(found.T, (bent[1], plain, bent[0]), strict=True):
        np.testing.assert_allclose(column, law.log_density(u), rtol=1e-12)


def test_normal_draws_are_hardly_ever_bent():
    """Never in 40 sets of 3 coordinates and about 400 effective draws."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        u, w = rng.standard_normal((600, 3)), rng.random(600) ** 0.8
        w /= w.sum()
        assert bend_of(u, w, *moments_of(u, w)) is None


def test_skewed_draws_are_straightened_and_fitted_by_one_law():
    """A Gumbel coordinate and a normal one, correlated: the fit nears the truth by nine tenths."""
    rng = np.random.default_rng(5)
    factor = np.array([[1.0, 0.0], [0.8, 0.5]]) / 100
    raw = np.stack([rng.gumbel(size=6_000), rng.standard_normal(6_000)], axis=1)
    u, w = 5 + raw @ factor.T, np.full(6_000, 1 / 6_000)
    found = skewed_laws(u, w, rng, 1)
    straight, bend = straightened(found)
    assert bend is not None and (bend.shape != 0).any(0).tolist() == [True, False]
    y, _ = bend(u)
    assert abs(stats.skew(y[:, 0])) < 0.15 < 1.0 < stats.skew(u[:, 0])
    truth = stats.gumbel_r.logpdf(raw[:, 0]) + stats.norm.logpdf(raw[:, 1])
    truth = (truth - np.log(np.linalg.det(factor))).mean()
    normal = Elliptical(u.mean(0), np.linalg.cholesky(np.cov(u.T))).log_density(u).mean()
    assert truth - found.log_density(u).mean() < 0.1 * (truth - normal)
    more = skewed_laws(u, w, rng, 1, found)
    assert straightened(more)[1] is bend and len(straight.components) == 1


@pytest.mark.parametrize(
    ("law", "bent"),
    [
        (stats.gumbel_r(), True),
        (stats.gamma(3), True),
        (stats.lognorm(0.5), True),
        (stats.t(4), True),
        (stats.halfnorm(), False),
        (stats.uniform(), False),
        (stats.expon(), False),
        (stats.truncnorm(-1, 5), False),
    ],
    ids=["gumbel", "gamma", "lognormal", "student", "half", "uniform", "exponential", "cut"],
)
def test_what_is_skewed_is_bent_and_what_is_cut_is_not(law, bent):
    u = law.rvs((4_000, 1), random_state=7)
    w = np.full(4_000, 1 / 4_000)
    assert (bend_of(u, w, *moments_of(u, w)) is not None) == bent


def test_few_draws_are_not_bent():
    rng = np.random.default_rng(6)
    u = rng.gumbel(size=(200, 2))
    assert bend_of(u, np.full(200, 1 / 200), np.zeros(2), np.eye(2)) is None
