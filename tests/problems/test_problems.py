"""The truth of every problem, computed again by other means than those it was found by.

Deterministic truths are recomputed by quadrature or closed form written out here from the formulas
in the literature, without the package's own functions. Then each problem as a whole, function, law
and truth together, is held against plain Monte Carlo: 46 expectations, |z| < 6, false alarm below
one in ten million, power to see an error of 12 standard errors.
"""

import importlib.util
import itertools
import math
import pickle
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import dblquad, quad
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from smcweights import problems
from smcweights.importance.laws import as_law

ALL = [
    problems.flood(),
    problems.borehole(),
    problems.cantilever_beam(),
    problems.four_branch(),
    problems.linear_limit_state(3.0, 10),
    problems.ishigami(),
    problems.g_function(),
    problems.bounded_sum(),
    problems.correlated_normals(),
    problems.lognormal_ratio(),
]
DRAWS = 400_000

every_problem = pytest.mark.parametrize("problem", ALL, ids=lambda p: p.name)


@pytest.mark.slow
@every_problem
def test_plain_monte_carlo_agrees(problem):
    law = as_law(problem.law)
    x = law.sample(np.random.default_rng(1), DRAWS)
    values = problem.integrand(x)
    assert values.shape == (DRAWS, len(problem.names))
    for column, name, truth in zip(values.T, problem.names, problem.expectations, strict=True):
        if set(np.unique(column)) <= {0.0, 1.0} and truth * DRAWS < 100:
            # too rare for the normal law; the exact test has the same false alarm
            assert stats.binomtest(int(column.sum()), DRAWS, truth).pvalue > 2e-9, name
        else:
            z = (column.mean() - truth) / (column.std() / math.sqrt(DRAWS))
            assert abs(z) < 6, (name, z)


@every_problem
def test_shapes_names_and_shipping_to_workers(problem):
    law = as_law(problem.law)
    x = law.sample(np.random.default_rng(2), 50)
    y = problem.function(x)
    assert y.shape == (50,) and np.isfinite(y).all()
    assert problem.integrand(x).shape == (50, len(problem.names))
    assert len(set(problem.names)) == len(problem.names) == len(problem.expectations)
    assert problem.accuracy and problem.source
    for ship in (pickle, cloudpickle):
        again = ship.loads(ship.dumps(problem.integrand))
        np.testing.assert_array_equal(again(x), problem.integrand(x))
        np.testing.assert_array_equal(ship.loads(ship.dumps(problem.function))(x), y)
    read_only = x.copy()
    read_only.flags.writeable = False
    np.testing.assert_allclose(problem.function(np.asfortranarray(read_only)), y, rtol=1e-13)
    assert law.describe() == as_law(problem.law).describe()


def test_every_problem_of_the_package_is_here_and_eight_have_several_truths():
    data = {"colours", "digits", "euro_dollar", "nile", "nutria", "place_names", "us_inflation"}
    offered = set(problems.__all__) - data - {"Problem"}
    assert offered == {problem.name for problem in ALL}
    assert sum(len(problem.names) >= 3 for problem in ALL) >= 8


@pytest.mark.slow
def test_flood_by_conditional_quasi_monte_carlo():
    """Sobol' points in seven inputs, the flow integrated out by its distribution function."""
    problem = problems.flood()
    thresholds = (0.0, 0.4, 0.8, 1.2)

    def triangular(u, lower, upper):
        half = (upper - lower) / 2
        return np.where(u < 0.5, lower + half * np.sqrt(2 * u), upper - half * np.sqrt(2 * (1 - u)))

    def gumbel_cdf(q):
        return np.exp(-np.exp(-(np.clip(q, 500, 3000) - 1013) / 558))

    def one_scrambling(seed):
        u = qmc.Sobol(7, rng=np.random.default_rng(seed)).random(2**16)
        # squares send points where it overflows: low Ks (none above 41.3), Cb and Hd, high Zv
        weight = 16 * u[:, [0, 1, 3, 6]].prod(axis=1)
        u[:, [0, 1, 3, 6]] **= 2
        u[:, 1] = 1 - u[:, 1]
        ks = 15 + 26.3 * u[:, 0]
        weight *= 26.3 * stats.norm.pdf(ks, 30, 8) / ndtr(15 / 8)
        zv, zm = triangular(u[:, 1], 49, 51), triangular(u[:, 2], 54, 56)
        cb = triangular(u[:, 3], 55, 56)
        length, width = triangular(u[:, 4], 4990, 5010), triangular(u[:, 5], 295, 305)
        top = u[:, 6] + cb - zv
        conveyance = width * ks * np.sqrt((zm - zv) / length)
        mass = gumbel_cdf(3000) - gumbel_cdf(500)

        def survival(s):
            reached = gumbel_cdf(conveyance * (s + top) ** (5 / 3))
            return weight * (gumbel_cdf(3000) - reached) / mass

        # the moments are integrals of the survival function, 3.34 m is the highest there can be
        s, w = np.polynomial.legendre.leggauss(30)
        s, w = 1.7 * (s + 1), 1.7 * w
        p = np.array([survival(level).mean() for level in s])
        return [w @ p, 2 * (w * s) @ p, *(survival(t).mean() for t in thresholds)]

    estimates = np.array([one_scrambling(seed) for seed in range(16)])
    standard_error = estimates.std(axis=0, ddof=1) / 4
    # Student with 15 degrees of freedom: beyond 8.5 with probability 4e-7
    assert (np.abs(estimates.mean(axis=0) - problem.expectations) < 8.5 * standard_error).all()
    assert (standard_error / problem.expectations < [2e-4, 2e-4, 3e-4, 4e-4, 8e-4, 8e-4]).all()


@pytest.mark.slow
def test_flood_by_the_script_that_found_it():
    path = Path(__file__).parents[2] / "benchmarks" / "flood_truth.py"
    specification = importlib.util.spec_from_file_location("flood_truth", path)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    found = script.truths(30, 8, 8, 3)
    np.testing.assert_allclose(found, problems.flood().expectations, rtol=2e-7)


def test_flood_with_the_usual_dyke_never_overflows():
    """The docstring's reason for a lower dyke: the worst corner of the published laws."""
    worst = [[3000.0, 15.0, zv, 54.0, 7.0, 55.0, 5010.0, 295.0] for zv in np.linspace(49, 51, 201)]
    assert problems.flood().function(np.array(worst)).max() == pytest.approx(-3.66, abs=0.01)


def test_flood_model_is_openturns_own():
    flood_model = pytest.importorskip("openturns.usecases.flood_model")
    theirs = flood_model.FloodModel().model
    x = as_law(problems.flood().law).sample(np.random.default_rng(3), 20)
    # (Q, Ks, Zv, Zm, B, L, Zb, Hd) there, and three outputs: height, overflow, cost
    expected = np.array(theirs(x[:, [0, 1, 2, 3, 7, 6, 5, 4]]))[:, 1]
    np.testing.assert_allclose(problems.flood().function(x), expected, rtol=1e-12)


def test_cantilever_is_openturns_own_model_and_law():
    cantilever_beam = pytest.importorskip("openturns.usecases.cantilever_beam")
    theirs, problem = cantilever_beam.CantileverBeam(), problems.cantilever_beam()
    x = as_law(problem.law).sample(np.random.default_rng(4), 20)
    np.testing.assert_allclose(problem.function(x), np.array(theirs.model(x))[:, 0], rtol=1e-12)
    np.testing.assert_allclose(
        as_law(problem.law).log_density(x),
        np.array(theirs.distribution.computeLogPDF(x))[:, 0],
        rtol=1e-9,
    )
    assert as_law(problem.law).names == tuple(theirs.distribution.getDescription())


@pytest.mark.slow
def test_cantilever_by_nested_quadrature():
    """Force in closed form; modulus, length and inertia by quadrature in their own scales."""
    problem = problems.cantilever_beam()
    log_variance = math.log(1.01)
    log_mean = math.log(300) - log_variance / 2
    rho = -2 * math.sin(math.pi / 30)
    modulus = stats.beta(0.9, 3.5, 65e9, 10e9)
    inertia = stats.beta(2.5, 4.0, 1.3e-7, 0.4e-7)
    # midpoint rule in probability for the length and inertia, in a power of the probability for
    # the modulus, whose density is unbounded; nothing in common with the Gauss rules of the truth
    n = 120
    p = (np.arange(400) + 0.5) / 400
    e = modulus.ppf(p)
    z = (np.arange(n) + 0.5) * 16 / n - 8
    weight = np.exp(-z * z / 2) * 16 / n / math.sqrt(2 * math.pi)
    length = 2.5 + 0.1 * ndtr(z)
    i = inertia.ppf(ndtr(rho * z[:, None] + math.sqrt(1 - rho**2) * z))
    compliance = length[:, None] ** 3 / (3 * i)
    joint = np.outer(weight, weight)

    def moment(k):
        force = math.exp(k * log_mean + k * k * log_variance / 2)
        return force * (joint * compliance**k).sum() * (e ** -float(k)).mean()

    def tail(t):
        u = (log_mean - np.log(t * e / compliance[..., None])) / math.sqrt(log_variance)
        return (joint * ndtr(u).mean(axis=-1)).sum()

    found = [moment(1), moment(2), *(tail(t) for t in (0.22, 0.25, 0.30))]
    np.testing.assert_allclose(found, problem.expectations, rtol=1e-5)


@pytest.mark.slow
def test_four_branch_by_adaptive_quadrature_over_the_plane():
    problem = problems.four_branch()

    def density(x):
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    def branch(m):
        return density(m) * ndtr(-(3 + m * m / 5))

    curved = quad(branch, -12, 12, epsabs=0, epsrel=1e-12)[0]
    between = quad(branch, -3.5, 3.5, epsabs=0, epsrel=1e-12)[0]
    straight = stats.norm.sf(3.5)
    found = [2 * straight + 2 * between, curved, curved, straight, straight]
    np.testing.assert_allclose(found, problem.expectations, rtol=1e-11)
    # and by Cartesian integration of the survival region, which knows nothing of the rotation
    grid = np.linspace(-7, 7, 1401)
    x = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    weight = np.exp(-(x * x).sum(axis=1) / 2) / (2 * math.pi) * 0.01**2
    assert weight @ (problem.function(x) <= 0) == pytest.approx(problem.truth["system"], rel=5e-3)


@pytest.mark.parametrize(("beta", "dimension"), [(2.0, 1), (3.0, 10), (4.5, 40)])
def test_linear_limit_state_by_the_law_of_its_margin(beta, dimension):
    problem = problems.linear_limit_state(beta, dimension)
    margin = stats.norm(beta, 1.0)
    shortfall = quad(lambda g: -g * margin.pdf(g), -40, 0, epsabs=0, points=[-1.0])[0]
    expected = [*(stats.norm.cdf(-b) for b in (beta - 1, beta, beta + 1)), shortfall]
    np.testing.assert_allclose(problem.expectations, expected, rtol=1e-9)
    x = np.random.default_rng(5).standard_normal((20_000, dimension))
    assert stats.kstest(problem.function(x), margin.cdf).pvalue > 1e-9


def test_linear_limit_state_and_g_function_refuse_nonsense():
    for dimension in (0, -1, 2.5, True):
        with pytest.raises((TypeError, ValueError), match="dimension: got"):
            problems.linear_limit_state(3.0, dimension)
    with pytest.raises(ValueError, match="finite"):
        problems.linear_limit_state(math.nan)
    for a in ([], [-1.0], [math.inf]):
        with pytest.raises(ValueError, match=r"a: .*expected finite numbers"):
            problems.g_function(a)


def midpoints(n, d):
    """The midpoints of a grid on the unit cube, shape (n^d, d)."""
    x = (np.arange(n) + 0.5) / n
    return np.stack(np.meshgrid(*[x] * d, indexing="ij"), axis=-1).reshape(-1, d)


def sobol_by_grid(f, n, d):
    """Variance, first-order and total indices of a function on an equally weighted grid."""
    y = f.reshape((n,) * d)
    variance = y.var()
    axes = range(d)
    first = [y.mean(axis=tuple(set(axes) - {i})).var() / variance for i in axes]
    total = [y.var(axis=i).mean() / variance for i in axes]
    return variance, first, total


def test_ishigami_indices_and_moments_by_a_product_rule():
    problem = problems.ishigami()
    t, w = np.polynomial.legendre.leggauss(40)
    x, w = math.pi * t, w / 2
    grid = np.array(list(itertools.product(x, repeat=3)))
    weights = np.einsum("i,j,k->ijk", w, w, w)
    y = problem.function(grid).reshape(40, 40, 40)
    mean, second = (weights * y).sum(), (weights * y**2).sum()
    variance = second - mean**2
    np.testing.assert_allclose([mean, second], problem.expectations[:2], rtol=1e-10)
    assert variance == pytest.approx(problem.truth["variance"], rel=1e-10)
    conditional = {
        keep: np.einsum(
            f"ijk,{','.join(c for c in 'ijk' if c not in keep)}->{keep}", y, *[w] * (3 - len(keep))
        )
        for keep in ("i", "j", "k", "ij", "ik", "jk")
    }

    def spread(keep):
        weight = np.einsum(",".join(keep) + "->" + keep, *[w] * len(keep))
        return (weight * (conditional[keep] - mean) ** 2).sum() / variance

    first = [spread(c) for c in "ijk"]
    np.testing.assert_allclose(first, problem.truth["first"], atol=1e-10)
    total = [1 - spread(c) for c in ("jk", "ik", "ij")]
    np.testing.assert_allclose(total, problem.truth["total"], atol=1e-10)
    pairs = [
        spread("ij") - first[0] - first[1],
        spread("ik") - first[0] - first[2],
        spread("jk") - first[1] - first[2],
    ]
    np.testing.assert_allclose(pairs, problem.truth["second"], atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(("level", "name"), [(10.0, "P(y > 10)"), (14.0, "P(y > 14)")])
def test_ishigami_tails_with_the_second_input_integrated_out(level, name):
    """P(7 sin^2 x2 > t) in closed form, a plane of midpoints for x1 and x3."""
    n = 3000
    x1 = math.pi * (np.arange(n) + 0.5) / n
    c = 1 + 0.1 * x1**4
    total = 0.0
    for part in (np.sin(x1), -np.sin(x1)):
        ratio = np.clip((level - np.multiply.outer(part, c)) / 7, 0, 1)
        total += (1 - 2 / math.pi * np.arcsin(np.sqrt(ratio))).mean() / 2
    assert total == pytest.approx(problems.ishigami().truth[name], rel=1e-5)


@pytest.mark.parametrize("a", [(0.0, 1.0, 4.5), (0.3, 2.0), (99.0,)])
def test_g_function_on_a_grid(a):
    problem = problems.g_function(a)
    n = 100 if len(a) == 3 else 1000
    y = problem.function(midpoints(n, len(a)))
    variance, first, total = sobol_by_grid(y, n, len(a))
    # midpoints are exact for the linear pieces and err by about 1/n^2 on their powers
    moments = [(y**k).mean() for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(moments, problem.expectations, rtol=1e-3)
    assert variance == pytest.approx(problem.truth["variance"], rel=5e-4)
    np.testing.assert_allclose(first, problem.truth["first"], rtol=1e-3)
    np.testing.assert_allclose(total, problem.truth["total"], rtol=1e-3)


def test_g_function_indices_are_the_published_ones():
    """Saltelli et al. (2008), Global Sensitivity Analysis: The Primer, table for this a."""
    truth = problems.g_function().truth
    np.testing.assert_allclose(truth["first"][:5], [0.716, 0.179, 0.024, 0.007, 0.0001], atol=6e-4)
    np.testing.assert_allclose(truth["total"][:5], [0.788, 0.242, 0.034, 0.010, 0.0001], atol=2e-3)


def test_borehole_by_quasi_monte_carlo():
    u = qmc.Sobol(8, rng=np.random.default_rng(6)).random(2**17)
    low, high = ndtr((0.05 - 0.1) / 0.0161812), ndtr((0.15 - 0.1) / 0.0161812)
    rw = 0.1 + 0.0161812 * ndtri(low + u[:, 0] * (high - low))
    low, high = (ndtr((math.log(r) - 7.71) / 1.0056) for r in (100, 50_000))
    r = np.exp(7.71 + 1.0056 * ndtri(low + u[:, 1] * (high - low)))
    bounds = np.array(
        [[63070, 115600], [990, 1110], [63.1, 116], [700, 820], [1120, 1680], [9855, 12045]]
    )
    tu, hu, tl, hl, length, kw = (bounds[:, 0] + u[:, 2:] * np.ptp(bounds, axis=1)).T
    log_ratio = np.log(r / rw)
    y = 2 * math.pi * tu * (hu - hl) / 100
    y /= log_ratio * (1 + 2 * length * tu / (log_ratio * rw**2 * kw) + tu / tl)
    found = [y.mean(), (y**2).mean(), (y**3).mean()]
    np.testing.assert_allclose(found, problems.borehole().expectations, rtol=2e-5)


def test_bounded_sum_by_the_transform_of_its_law():
    """Distribution of the sum by convolving uniform densities on a grid."""
    problem = problems.bounded_sum()
    step = 1e-3
    density = np.array([1 / step])
    for width in (1, 2, 3, 4):
        density = np.convolve(density, np.full(round(width / step), step / width))
    # the sum of four midpoint-discretised uniforms sits on a grid shifted by two steps
    y = step * (np.arange(len(density)) + 2)
    p = density * step
    assert p.sum() == pytest.approx(1.0)
    mean, second, transform = p @ y, p @ y**2, p @ np.exp(-y)
    np.testing.assert_allclose([mean, second, transform], problem.expectations[:3], rtol=1e-5)
    for t, name in ((0.9, "P(y <= 0.9)"), (0.5, "P(y <= 0.5)")):
        cdf = np.interp(t, y + step / 2, np.cumsum(p))
        assert cdf == pytest.approx(problem.truth[name], rel=1e-3)


@pytest.mark.slow
def test_correlated_normals_by_integration_over_the_plane():
    problem = problems.correlated_normals()
    covariance = np.array([[1.0, 0.6, -0.3], [0.6, 2.0, 0.2], [-0.3, 0.2, 0.5]])
    weights, mean = np.array([1.0, 0.5, -2.0]), np.array([1.0, -0.5, 2.0])
    y = stats.norm(weights @ mean, math.sqrt(weights @ covariance @ weights))
    positive = quad(lambda t: t * y.pdf(t), 0, 30, epsabs=0, points=[1.0, 5.0])[0]
    pair = stats.multivariate_normal(mean[:2], covariance[:2, :2])
    product = dblquad(lambda b, a: a * b * pair.pdf([a, b]), -9, 11, -12, 11, epsabs=1e-9)[0]
    expected = [y.mean(), product, positive, y.sf(3.0), y.sf(5.0)]
    np.testing.assert_allclose(problem.expectations, expected, rtol=1e-7)
    assert problem.truth["mean"] < 0


def test_lognormal_ratio_by_quadrature():
    problem = problems.lognormal_ratio()
    sd = np.array([0.3, 0.2, 0.4])
    correlation = np.array([[1.0, 0.5, -0.3], [0.5, 1.0, 0.1], [-0.3, 0.1, 1.0]])
    # Gauss-Hermite in three independent normals; the tails by a normal law of the logarithm
    t, w = np.polynomial.hermite_e.hermegauss(30)
    w = w / w.sum()
    z = np.array(list(itertools.product(t, repeat=3)))
    weight = np.einsum("i,j,k->ijk", w, w, w).ravel()
    logs = [0.0, 0.3, -0.2] + sd * (z @ np.linalg.cholesky(correlation).T)
    a, b, c = np.exp(logs).T
    y = a * b / c
    moments = [weight @ y, weight @ y**2, weight @ (a + b + c)]
    log_y = np.log(y)
    centre = weight @ log_y
    law = stats.norm(centre, math.sqrt(weight @ (log_y - centre) ** 2))
    expected = [*moments, law.sf(math.log(6)), law.sf(math.log(16))]
    np.testing.assert_allclose(problem.expectations, expected, rtol=1e-9)
