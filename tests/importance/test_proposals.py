"""Densities against SciPy and quadrature, samplers against densities, fits against known laws."""

import warnings

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from smcweights.importance.fits import fit_grid, fit_mixtures, fit_rank_one
from smcweights.importance.laws import as_law
from smcweights.importance.mixing import criterion, mixture_weights
from smcweights.importance.polynomials import multi_indices, polynomial_basis
from smcweights.importance.proposals import (
    Elliptical,
    Given,
    Grid,
    Mixture,
    log_densities,
    working_space,
)

RNG = np.random.default_rng(0)


def elliptical(d, nu=np.inf, seed=1):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((d, d)) / 2
    return Elliptical(rng.standard_normal(d), np.linalg.cholesky(a @ a.T + 0.2 * np.eye(d)), nu)


@pytest.mark.parametrize("d", [1, 2, 7, 40])
def test_elliptical_densities_are_those_of_scipy(d):
    u = np.random.default_rng(2).standard_normal((50, d))
    normal, student = elliptical(d), elliptical(d, 5.0, 3)
    found = log_densities([normal, student], u)
    cov = normal.cholesky @ normal.cholesky.T
    np.testing.assert_allclose(
        found[:, 0], stats.multivariate_normal(normal.mean, cov).logpdf(u), rtol=1e-9, atol=1e-9
    )
    shape = student.cholesky @ student.cholesky.T
    np.testing.assert_allclose(
        found[:, 1], stats.multivariate_t(student.mean, shape, 5).logpdf(u), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(
    "component",
    [
        elliptical(2),
        elliptical(2, 5.0),
        fit_grid(RNG.standard_normal((500, 2)), RNG.random(500)).components[0],
        Given(as_law([stats.norm(1, 2), stats.gumbel_r(0, 1)]), working_space(
            as_law([stats.norm(), stats.norm(0, 3)]), RNG)),
    ],
    ids=["normal", "student", "grid", "given"],
)  # fmt: skip
def test_samplers_draw_from_the_density_they_state(component):
    """Means of ten functions by sampling and by weighting standard-normal draws; |z| < 5.5 for
    each, which twenty million honest runs in a billion would break."""
    rng = np.random.default_rng(4)
    n = 200_000
    draws = component.sample(rng, n)
    other = Elliptical(np.zeros(2), 3 * np.eye(2), 3.0)
    from_other = other.sample(rng, n)
    ratio = np.exp(component.log_density(from_other) - other.log_density(from_other))
    assert abs(ratio.mean() - 1) < 5.5 * ratio.std() / np.sqrt(n)  # it integrates to one
    for f in (np.sin, np.cos, lambda u: u > 1, lambda u: u < -1, lambda u: u.prod(1) > 0):
        a, b = f(draws).reshape(n, -1), f(from_other).reshape(n, -1)
        weighted = ratio[:, None] * b
        gap = a.mean(0) - weighted.mean(0)
        error = np.sqrt((a.var(0) + weighted.var(0)) / n)
        # an event without a hit has no variance to be judged by
        assert (np.abs(gap) < 5.5 * error + 1e-6).all()


def test_a_grid_integrates_to_one_exactly():
    rng = np.random.default_rng(5)
    grid = fit_grid(rng.standard_normal((1000, 3)), rng.exponential(size=1000) ** 3).components[0]
    assert isinstance(grid, Grid)
    np.testing.assert_allclose((grid.heights * np.diff(grid.edges)).sum(1), 1, rtol=1e-12)
    assert (grid.heights >= 0.05 - 1e-12).all()


def test_em_finds_a_mixture_and_leaves_a_normal_law_alone():
    rng = np.random.default_rng(6)
    u = np.concatenate([rng.normal(3, 0.5, (800, 2)), rng.normal(-2, 1.0, (1200, 2))])
    two, one = fit_mixtures(u, np.stack([np.ones(2000), np.arange(2000) < 800], 1), rng)
    assert len(two.components) == 2
    assert len(one.components) == 1
    order = np.argsort([c.mean[0] for c in two.components])
    np.testing.assert_allclose(two.weights[order], [0.6, 0.4], atol=0.03)
    np.testing.assert_allclose(two.components[order[1]].mean, [3, 3], atol=0.1)
    np.testing.assert_allclose(np.diag(two.components[order[1]].cholesky), [0.5, 0.5], atol=0.06)


def test_the_rank_one_family_finds_direction_and_spread():
    rng = np.random.default_rng(7)
    d = 60
    u = rng.standard_normal((40_000, d))
    along = u.sum(1) / np.sqrt(d)
    (component,) = fit_rank_one(u, (along > 2.0) * 1.0).components
    truth = stats.norm.pdf(2) / stats.norm.sf(2)
    np.testing.assert_allclose(component.mean, truth / np.sqrt(d), atol=0.15)
    e = np.ones(d) / np.sqrt(d)
    spread = (component.cholesky.T @ e) @ (component.cholesky.T @ e)
    assert spread == pytest.approx(1 + 2 * truth - truth**2, rel=0.4)


@pytest.mark.parametrize("k", [3, 10])
def test_mixture_weights_match_an_optimiser(k):
    rng = np.random.default_rng(8)
    n, j = 1_500, 4
    u = rng.standard_normal((n, 2))
    means = rng.standard_normal((k, 2))
    ratios = np.exp(-0.5 * ((u[:, None] - means) ** 2).sum(2) + 0.5 * (u**2).sum(1)[:, None])
    residuals = ratios[:, : j % k + 1] @ rng.random((j % k + 1, j))
    offset = np.zeros(j)
    scale = np.ones(j)

    def value(alpha):
        return float(((residuals**2).T @ (1 / (ratios @ alpha)) / n).sum())

    start, floor = np.full(k, 1 / k), np.full(k, 0.005)
    found = mixture_weights(
        ratios, residuals, offset, start, floor, scale, "sum", np.full(j, 1e9), steps=300
    )
    best = optimize.minimize(
        value, start, bounds=[(0.005, 1)] * k, method="SLSQP",
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
    )  # fmt: skip
    assert found.sum() == pytest.approx(1)
    assert (found >= 0.005 - 1e-12).all()
    assert value(found) <= value(start)
    assert value(found) <= 1.01 * best.fun


@pytest.mark.parametrize("objective", ["max-relative", "sum-relative", "sum", np.arange(3.0)])
def test_the_slope_of_the_criterion_is_its_derivative(objective):
    variance, scale = np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.5, 3.0])
    value, slope = criterion(variance, scale, objective)
    for i in range(3):
        step = np.eye(3)[i] * 1e-6
        up = criterion(variance + step, scale, objective)[0]
        assert (up - value) / 1e-6 == pytest.approx(slope[i], rel=1e-4, abs=1e-9)


def test_multi_indices_are_different_and_by_degree():
    exponents, sizes = multi_indices(3, 120)
    assert len({tuple(e) for e in exponents}) == len(exponents) == sizes[-1] <= 120
    assert (exponents.sum(1) > 0).all()
    assert (exponents[: sizes[0]].sum(1) == 1).all()


@pytest.mark.parametrize(
    ("marginal", "lower", "upper"),
    [
        (stats.uniform(-2, 5), -2, 3),
        (stats.beta(2, 5), 0, 1),
        (stats.beta(0.5, 0.7, -1, 2), -1, 1),
        (stats.triang(0.3, 1, 4), 1, 5),
        (stats.norm(3, 2), -25, 31),
        (stats.truncnorm(-1, 3), -1, 3),
    ],
    ids=["uniform", "beta", "arcsine-like", "triangular", "normal", "truncated normal"],
)
def test_polynomials_are_orthonormal_with_mean_zero(marginal, lower, upper):
    """By adaptive quadrature over the input itself."""
    law = as_law([marginal])
    basis = polynomial_basis(law, 6)

    def value(x, a, b):
        row = basis(law.from_inputs([[x]]), np.array([[x]]))[0]
        row = np.append(row, 1.0)
        return row[a] * row[b] * marginal.pdf(x)

    inner = np.quantile([lower, upper], [0.3, 0.5])  # the kink of the triangle
    # the last column is the constant: rows against it are means
    means = [(a, 6, 0, 1e-8) for a in (0, 3, 5)]
    for a, b, expected, accuracy in [*means, (2, 2, 1, 1e-6), (5, 5, 1, 1e-6), (1, 4, 0, 1e-6)]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", integrate.IntegrationWarning)  # poles at the ends
            found = integrate.quad(
                value, lower, upper, (a, b), points=inner, limit=400, epsabs=1e-11, epsrel=1e-11
            )
        assert abs(found[0] - expected) < accuracy + 10 * found[1]


def test_a_mixture_is_the_sum_of_its_parts():
    parts = (elliptical(2), elliptical(2, 4.0, 9))
    u = np.random.default_rng(10).standard_normal((20, 2))
    expected = np.log(0.3 * np.exp(parts[0].log_density(u)) + 0.7 * np.exp(parts[1].log_density(u)))
    np.testing.assert_allclose(Mixture(np.array([0.3, 0.7]), parts).log_density(u), expected)
