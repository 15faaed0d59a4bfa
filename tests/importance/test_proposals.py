"""Densities against SciPy and quadrature, samplers against densities."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

import smcweights as smw
from smcweights.importance.fits import fit_grid, fit_rank_one
from smcweights.importance.laws import as_law
from smcweights.importance.proposals import (
    Elliptical,
    Given,
    Grid,
    Mixture,
    Polar,
    _log_bessel,
    farthest,
    kernels_of,
    log_densities,
    log_sum,
    spread_evenly,
    within,
    working_space,
)

from .cases import smooth_and_tail


class Unnormalised:
    """A normal law whose density lacks its constant, or is that of another scale."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def rvs(self, size, random_state):
        return random_state.normal(size=(size, 2))

    def logpdf(self, x):
        return -0.5 * (x**2).sum(axis=1) / self.scale**2


@pytest.mark.parametrize("where", ["law", "start", "given law", "given proposal"])
def test_a_density_without_its_constant_is_refused(where):
    other = stats.multivariate_normal([0, 0], np.eye(2))

    def call(law):
        if where == "law":
            return smw.adaptive_importance_sampling(smooth_and_tail, law, 2_000, seed=1)
        if where == "start":
            return smw.adaptive_importance_sampling(
                smooth_and_tail, other, 2_000, proposal=law, seed=1
            )
        if where == "given law":
            return smw.importance_sampling(smooth_and_tail, law, other, 2_000, seed=1)
        return smw.importance_sampling(smooth_and_tail, other, law, 2_000, seed=1)

    name = "law" if "law" in where else "proposal"
    # the constant is 2 pi, exp(1.84)
    with pytest.raises(ValueError, match=rf"{name}: its density integrates to about exp\(1\.[789]"):
        call(Unnormalised())


def test_laws_of_scipy_pass_as_normalised_in_any_dimension():
    for law in (
        stats.multivariate_t([1, 2, 3], np.diag([1, 4, 9]), df=3),
        stats.multivariate_t(np.zeros(12), np.eye(12), df=2.5),
    ):
        est = smw.importance_sampling(lambda x: x[:, 0] > 2, law, law, 500, seed=3)
        assert est.value > 0


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "component",
    [
        pytest.param(elliptical(2), marks=pytest.mark.slow),
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


def test_a_mixture_is_the_sum_of_its_parts():
    parts = (elliptical(2), elliptical(2, 4.0, 9))
    u = np.random.default_rng(10).standard_normal((20, 2))
    expected = np.log(0.3 * np.exp(parts[0].log_density(u)) + 0.7 * np.exp(parts[1].log_density(u)))
    np.testing.assert_allclose(Mixture(np.array([0.3, 0.7]), parts).log_density(u), expected)


@pytest.mark.parametrize(
    ("d", "kappa"),
    [(2, 3.0), (5, 0.7), (30, 12.0), (120, 0.5), pytest.param(300, 90.0, marks=pytest.mark.slow)],
)
def test_the_polar_law_is_normalised_and_draws_what_its_density_says(d, kappa):
    """Direction cosine and radius are independent; their densities are integrated numerically."""
    e = np.zeros(d)
    e[0] = 1.0
    law = Polar(e, kappa, 1.7 * d / 2, 1.2 * d)

    def log_joint(cosine, radius):
        u = np.zeros((1, d))
        u[0, 0], u[0, 1] = radius * cosine, radius * np.sqrt(1 - cosine**2)
        from scipy.special import gammaln

        # surface of the sphere with this cosine and radius
        sphere = np.log(2) + (d - 1) / 2 * np.log(np.pi) - gammaln((d - 1) / 2)
        return (
            law.log_density(u)[0]
            + sphere
            + (d - 1) * np.log(radius)
            + (d - 3) / 2 * np.log1p(-(cosine**2))
        )

    centre = np.sqrt(1.2 * d)
    # separable: integrate each factor with the other held at a point
    mid = 0.1
    angle = integrate.quad(
        lambda t: np.sin(t) * np.exp(log_joint(np.cos(t), centre) - log_joint(mid, centre)),
        1e-9,
        np.pi - 1e-9,
        limit=200,
    )[0]
    radius = integrate.quad(
        lambda r: np.exp(log_joint(mid, r) - log_joint(mid, centre)),
        1e-6,
        6 * centre,
        points=[centre],
    )[0]
    assert angle * radius * np.exp(log_joint(mid, centre)) == pytest.approx(1, rel=1e-6)
    u = law.sample(np.random.default_rng(1), 20_000)
    square = (u**2).sum(axis=1)
    assert square.mean() == pytest.approx(1.2 * d, rel=0.02)
    cosine = u[:, 0] / np.sqrt(square)
    from scipy.special import ive

    if d < 50:
        mean = ive(d / 2, kappa) / ive(d / 2 - 1, kappa)
        assert abs(cosine.mean() - mean) < 5 * cosine.std() / np.sqrt(20_000)


def test_bessel_functions_meet_where_the_expansion_takes_over():
    from scipy.special import ive

    for x in (0.5, 5.0, 60.0):
        exact = np.log(ive(25.5, x)) + x
        assert _log_bessel(25.5, x) == pytest.approx(exact, rel=1e-9, abs=1e-8)


def test_a_normal_law_cut_within_a_limit_is_normalised_and_stays_there():
    law = elliptical(2)
    wide = within(replace(law, cholesky=2 * law.cholesky), 5.0)
    u = wide.sample(np.random.default_rng(1), 4_000)
    assert np.abs(u).max() <= 5.0
    assert wide.log_density(np.full((1, 2), 9.0)) == -np.inf
    # the mean of a bounded density ratio over draws; false alarm 6e-7
    other = Elliptical(wide.mean, 1.1 * wide.cholesky)
    back = other.sample(np.random.default_rng(2), 4_000)
    ratio = np.exp(wide.log_density(back) - other.log_density(back))
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))
    # what hardly ever gets there stays as it is, and half of what mostly would is kept
    assert within(law, 20.0).limit == np.inf
    far = within(replace(law, mean=np.array([6.0, 0.0])), 5.0)
    assert 5 < far.limit < 7 and 0.5 <= far.kept < 0.8


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_what_is_left_of_a_normal_law_cut_in_many_inputs(scale):
    """Counted among draws; false alarm 6e-7."""
    rng = np.random.default_rng(8)
    a = rng.standard_normal((10, 10))
    factor = scale * np.linalg.cholesky(a @ a.T / 10 + 0.3 * np.eye(10))
    law = Elliptical(2 * rng.standard_normal(10), factor, limit=7.0)
    u = replace(law, limit=np.inf).sample(rng, 100_000)
    there = (np.abs(u) <= 7).all(1).mean()
    assert abs(law.kept - there) < 5 * np.sqrt(there * (1 - there) / len(u))
    even = replace(spread_evenly(10, 2.2), limit=7.0)
    assert even.kept == pytest.approx((1 - 2 * stats.norm.sf(7 / 2.2)) ** 10, rel=1e-12)


def test_how_far_draws_are_of_use_follows_what_was_found_there():
    u = np.random.default_rng(3).standard_normal((1_000, 3))
    assert farthest(u, np.ones((1_000, 2))) == 7.0
    u[:20, 0] = 8.2
    assert farthest(u, np.ones((1_000, 2))) > 9.0


def test_kernels_are_those_of_the_density_and_learn_their_shares():
    rng = np.random.default_rng(4)
    law = as_law(stats.gaussian_kde(rng.lognormal(size=(2, 60)), weights=rng.random(60)))
    space = working_space(law, rng)
    own = kernels_of(space, 1.0)
    u = own.sample(np.random.default_rng(5), 500)
    np.testing.assert_allclose(own.log_density(u), space.log_density(u), atol=1e-9)
    far = u[:, 0] > np.quantile(u[:, 0], 0.9)
    learned = own.learned(u, far.astype(float))
    assert learned.shares.sum() == pytest.approx(1) and (learned.shares > 0).all()
    assert (learned.sample(np.random.default_rng(6), 500)[:, 0] > u[far, 0].min()).mean() > 0.4
    # the mean of a bounded density ratio over draws of the wide law; false alarm 6e-7
    wide = kernels_of(space, 2.0)
    v = wide.sample(np.random.default_rng(7), 4_000)
    ratio = np.exp(own.log_density(v) - wide.log_density(v))
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(v))
    assert kernels_of(working_space(as_law([stats.norm()]), rng), 1.0) is None


@pytest.mark.parametrize("d", [13, 40])
def test_a_law_that_differs_in_one_direction_needs_no_matrix(d):
    rng = np.random.default_rng(d)
    u = rng.standard_normal((60, d)) + 0.5
    weights = rng.random(60)
    lines = [fit_rank_one(u, w).components[0] for w in (weights, weights**3 * (u[:, 0] > 0))]
    lines.append(replace(lines[0], limit=1.5))
    whole = [replace(line, axis=None) for line in lines]
    np.testing.assert_allclose(log_densities(lines, u), log_densities(whole, u), rtol=1e-10)
    assert np.isfinite(log_densities(lines, u)[:, :2]).all()


def test_a_sum_of_nothing_is_minus_infinity():
    terms = np.array([[-np.inf, 0.0, 1e4], [-np.inf, -np.inf, 1e4 + np.log(3)]])
    np.testing.assert_allclose(log_sum(terms), [-np.inf, 0.0, 1e4 + np.log(4)])
