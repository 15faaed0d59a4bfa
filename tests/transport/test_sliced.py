"""Sliced Wasserstein distances against closed forms, quadrature and exact one-dimensional costs.

Coverage is judged by binomial bounds and means by z-tests; false-alarm rates are stated, seeds
fixed.
"""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights.transport.controls import absolute_moment, mean_squared_gap


def mixture(n, d, seed, components=4):
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(components, d))
    return centres[rng.integers(components, size=n)] + 0.5 * rng.normal(size=(n, d))


def line_cost(a, b, p, weights_a=None, weights_b=None):
    """One-dimensional cost by quantile functions on the union of all their jumps."""

    def quantiles(points, weights):
        order = np.argsort(points)
        w = np.full(len(points), 1 / len(points)) if weights is None else weights / weights.sum()
        return points[order], np.cumsum(w[order])

    xa, ca = quantiles(a, weights_a)
    xb, cb = quantiles(b, weights_b)
    ends = np.unique(np.concatenate([ca, cb]))
    mass = np.diff(ends, prepend=0)
    middle = ends - mass / 2
    i = np.minimum(np.searchsorted(ca, middle), len(xa) - 1)
    j = np.minimum(np.searchsorted(cb, middle), len(xb) - 1)
    return mass @ np.abs(xa[i] - xb[j]) ** p


def sphere_rule(nodes=60):
    """Gauss-Legendre times equispaced angles: exact for polynomials of degree 2 nodes - 1."""
    z, w = np.polynomial.legendre.leggauss(nodes)
    half = z > 0
    angle = np.arange(2 * nodes) * math.pi / nodes
    r = np.sqrt(1 - z[half] ** 2)[:, None]
    theta = np.stack(
        [r * np.cos(angle), r * np.sin(angle), np.repeat(z[half][:, None], len(angle), 1)], axis=-1
    )
    return theta.reshape(-1, 3), np.repeat(2 * w[half] / 2 / len(angle), len(angle))


def truth_in_space(x, y, p, weights_x=None, weights_y=None, nodes=60):
    theta, w = sphere_rule(nodes)
    costs = [line_cost(x @ t, y @ t, p, weights_x, weights_y) for t in theta]
    return float(w @ costs / w.sum())


def quietly(*args, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        return smw.sliced_wasserstein(*args, **keywords)


# ------------------------------------------------------------------------------ exact identities


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize("d", [2, 3, 6, 50])
def test_a_shifted_cloud(d, p):
    """y = x + v: c_{d,p} |v|^p."""
    x, v = mixture(40, d, 1), np.arange(1.0, d + 1)
    truth = absolute_moment(d, p) * np.linalg.norm(v) ** p
    estimate = smw.sliced_wasserstein(
        x, x + v, 400, p=p, control_variates="power", directions="uniform", root=False, seed=1
    )
    assert estimate.value == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize(
    "keywords",
    [
        {"directions": "orthogonal"},
        {"directions": "rule"},
        {"directions": "uniform", "control_variates": "gaussian"},
        {"directions": "uniform", "control_variates": "parts"},
        {"directions": "uniform", "control_variates": ("harmonics", 2)},
    ],
    ids=["blocks", "rule", "gaussian", "parts", "harmonics"],
)
def test_a_scaled_and_shifted_cloud_has_no_noise(keywords):
    """y = c x + v, c > 0: a quadratic form in the direction."""
    x, v = mixture(30, 5, 1), np.arange(5.0)
    truth = ((x - (1.7 * x + v)) ** 2).sum(axis=1).mean() / 5
    estimate = smw.sliced_wasserstein(x, 1.7 * x + v, 300, root=False, seed=1, **keywords)
    assert estimate.value == pytest.approx(truth, rel=1e-9)
    assert estimate.standard_error < 1e-9 * truth


def test_a_point_mass():
    x, a = mixture(50, 4, 1), np.random.default_rng(1).random(50)
    truth = absolute_moment(4, 3) * (a / a.sum()) @ np.linalg.norm(x - 2.0, axis=1) ** 3
    estimate = smw.sliced_wasserstein(
        x, np.full((1, 4), 2.0), 20_000, p=3, weights_x=a, root=False, seed=2
    )
    assert abs(estimate.value - truth) < 4 * estimate.standard_error < 0.05 * truth


@pytest.mark.parametrize("p", [1, 2.5])
def test_on_the_line_it_is_exact(p):
    rng = np.random.default_rng(1)
    x, y, a = rng.normal(size=31), rng.gamma(2, size=44), rng.random(31)
    estimate = smw.sliced_wasserstein(x, y, p=p, weights_x=a)
    assert estimate.value == pytest.approx(line_cost(x, y, p, a) ** (1 / p), rel=1e-12)
    assert estimate.standard_error == 0
    if p == 1:
        assert estimate.value == pytest.approx(stats.wasserstein_distance(x, y, a), rel=1e-12)


@pytest.mark.parametrize("case", ["smooth", "grid with ties", "collinear", "duplicates", "equal"])
def test_in_the_plane_the_sweep_is_exact(case):
    rng = np.random.default_rng(5)
    x, y = mixture(60, 2, 1), mixture(60, 2, 2)
    if case == "grid with ties":
        x, y = rng.integers(0, 4, (2, 60, 2)).astype(float)
    elif case == "collinear":
        x = np.outer(rng.normal(size=60), [1.0, 2.0])
    elif case == "duplicates":
        x = np.repeat(x[:20], 3, axis=0)
    elif case == "equal":
        y = x[::-1].copy()
    angle = (np.arange(20_000) + 0.3) * math.pi / 20_000
    theta = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    costs = ((np.sort(theta @ x.T) - np.sort(theta @ y.T)) ** 2).mean(axis=1)
    estimate = smw.sliced_wasserstein(x, y, root=False)
    assert estimate.diagnostics["directions"] == "exact"
    assert estimate.value == pytest.approx(costs.mean(), rel=1e-7, abs=1e-12)


def test_gaussian_laws():
    rng = np.random.default_rng(1)
    for d in (1, 2, 3, 10):
        a, b = (rng.normal(size=(d, 2 * d)) for _ in range(2))
        a, b, m = a @ a.T, 3 * b @ b.T, rng.normal(size=d)
        value = smw.sliced_wasserstein_gaussian(m, a, np.zeros(d), b, root=False)
        theta = rng.normal(size=(200_000, d))
        theta /= np.linalg.norm(theta, axis=1)[:, None]
        v, w = (np.einsum("ni,ij,nj->n", theta, c, theta) for c in (a, b))
        costs = (theta @ m) ** 2 + (np.sqrt(v) - np.sqrt(w)) ** 2
        error = costs.std() / math.sqrt(len(costs))
        assert abs(value - costs.mean()) < 4.5 * error + 1e-12 * value, d


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_gaussian_laws_that_are_equal_or_close(d):
    """Nothing cancels: the distance of equal laws is 0, a small one keeps its digits."""
    a, zero, shift = np.random.default_rng(d).normal(size=(d, d)), np.zeros(d), np.zeros(d)
    c = a @ a.T
    assert smw.sliced_wasserstein_gaussian(zero, c, zero, c) == 0
    near = smw.sliced_wasserstein_gaussian(zero, c, zero, (1 + 1e-6) ** 2 * c)
    assert near == pytest.approx(1e-6 * math.sqrt(np.trace(c) / d), rel=1e-9)
    shift[0] = 1e-5
    moved = smw.sliced_wasserstein_gaussian(shift, c, zero, c)
    assert moved == pytest.approx(1e-5 / math.sqrt(d), rel=1e-12)
    large = smw.sliced_wasserstein_gaussian(1e200 * shift, c, zero, c)
    assert large == pytest.approx(1e195 / math.sqrt(d), rel=1e-12)


def test_the_mean_squared_gap_in_closed_form():
    # both of rank one: an arc-cosine kernel; proportional matrices: a trace
    u, v = np.array([1.0, 2.0, 0.5, 0.0]), np.array([0.0, 1.0, -1.0, 2.0])
    t = math.acos(abs(u @ v) / np.linalg.norm(u) / np.linalg.norm(v))
    cross = np.linalg.norm(u) * np.linalg.norm(v) * 2 / (math.pi * 4)
    cross *= math.sin(t) + (math.pi / 2 - t) * math.cos(t)
    a, flat = np.diag([1.0, 2.0, 3.0, 4.0]), np.diag([1.0, 0.0, 0.0])
    cases = [
        (np.outer(u, u), np.outer(v, v), (u @ u + v @ v) / 4 - 2 * cross),
        (a, 9 * a, 4 * 10 / 4),
        (a, 1e-12 * a, (1 - 1e-6) ** 2 * 10 / 4),
        # one of them flat: (|theta_1| - 1)^2
        (flat, np.eye(3), 1 / 3),
        (flat[:2, :2], np.eye(2), 3 / 2 - 4 / math.pi),
        (0 * a, a, 10 / 4),
    ]
    for first, second, truth in cases:
        for one, other in ((first, second), (second, first)):
            assert mean_squared_gap(one, other) == pytest.approx(truth, rel=1e-11)
            assert mean_squared_gap(one, other, tolerance=1e-3) == pytest.approx(truth, rel=1e-3)


# -------------------------------------------------------------------------------- all three paths


@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize("sizes", [(50, 50), (50, 33)])
@pytest.mark.parametrize("weighted", [False, True])
def test_costs_of_given_directions(p, sizes, weighted):
    rng = np.random.default_rng(1)
    x, y = mixture(sizes[0], 3, 1), mixture(sizes[1], 3, 2)
    a = rng.random(sizes[0]) if weighted else None
    theta = rng.normal(size=(7, 3))
    theta /= np.linalg.norm(theta, axis=1)[:, None]
    estimate = quietly(x, y, p=p, weights_x=a, directions=theta, root=False)
    truth = np.mean([line_cost(x @ t, y @ t, p, a) for t in theta])
    assert estimate.value == pytest.approx(truth, rel=1e-12)
    assert np.isnan(estimate.standard_error)


def test_invariances():
    x, y, rng = mixture(60, 3, 1), mixture(45, 3, 2), np.random.default_rng(1)

    def distance(x, y, **keywords):
        return smw.sliced_wasserstein(x, y, 100, seed=3, **keywords).value

    base = distance(x, y)
    assert distance(x + 1e6, y + 1e6) == pytest.approx(base, rel=1e-9)
    assert distance(rng.permutation(x), y) == pytest.approx(base, rel=1e-12)
    assert distance(y, x) == pytest.approx(base, rel=1e-12)
    assert distance(-3 * x, -3 * y) == pytest.approx(3 * base, rel=1e-12)
    assert distance(np.repeat(x, 2, axis=0), y) == pytest.approx(base, rel=1e-12)
    zero = np.concatenate([x, x + 100])
    a = np.r_[np.ones(60), np.zeros(60)]
    assert distance(zero, y, weights_x=a) == pytest.approx(base, rel=1e-12)
    assert distance(x, y, weights_x=np.full(60, 7.0)) == pytest.approx(base, rel=1e-12)
    integers = rng.integers(-5, 5, (30, 3))
    assert distance(integers, integers + 2) == pytest.approx(2.0, rel=1e-9)
    narrow = distance(x.astype(np.float32), y.astype(np.float32))
    assert narrow == pytest.approx(base, rel=1e-5) and narrow != base


@pytest.mark.parametrize("size", [1e-6, 1e4])
@pytest.mark.parametrize(
    "control",
    ["lower", "upper", "parts", "gaussian", "power", "point_mass", ("harmonics", 4),
     (lambda theta: theta[:, 0] ** 2, 1 / 3)],
    ids=["lower", "upper", "parts", "gaussian", "power", "point_mass", "harmonics", "own"],
)  # fmt: skip
def test_controls_serve_clouds_in_any_units(control, size):
    x, y = mixture(60, 3, 1), mixture(45, 3, 2)
    keywords = {"directions": "uniform", "control_variates": control, "seed": 3}
    base = smw.sliced_wasserstein(x, y, 400, **keywords)
    scaled = smw.sliced_wasserstein(size * x, size * y, 400, **keywords)
    assert np.all(base.diagnostics["coefficients"] != 0)
    assert scaled.value == pytest.approx(size * base.value, rel=1e-8)
    assert scaled.standard_error == pytest.approx(size * base.standard_error, rel=1e-6)


@pytest.mark.parametrize("p", [1, 1.5, 3, 4, 8])
def test_errors_keep_the_unit_of_the_data(p):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(200, 5)), 2 * rng.normal(size=(150, 5)) + 0.5
    base = smw.sliced_wasserstein(x, y, 400, p=p, seed=2)
    assert base.diagnostics["quadrature_error"] < 0.02 * base.diagnostics["power_standard_error"]
    for unit in (1e-6, 1e-3, 1e12):
        scaled = smw.sliced_wasserstein(unit * x, unit * y, 400, p=p, seed=2)
        assert scaled.value == pytest.approx(unit * base.value, rel=1e-10)
        assert scaled.standard_error == pytest.approx(unit * base.standard_error, rel=1e-7)
        assert np.all(scaled.diagnostics["coefficients"] != 0)
        assert not scaled.diagnostics["warnings"]


@pytest.mark.parametrize(("p", "unit"), [(2, 1e19), (2, 1e25), (2, 1e-25), (4, 1e12), (1, 1e30)])
def test_float32_of_any_size(p, unit):
    x, y = mixture(60, 3, 1), mixture(45, 3, 2)
    base = smw.sliced_wasserstein(x, y, 100, p=p, seed=1)
    narrow = smw.sliced_wasserstein(
        (unit * x).astype(np.float32), (unit * y).astype(np.float32), 100, p=p, seed=1
    )
    assert narrow.value == pytest.approx(unit * base.value, rel=1e-5)
    assert narrow.standard_error == pytest.approx(unit * base.standard_error, rel=1e-2)


# ----------------------------------------------------------------------- unbiased, and covering

SPACE = mixture(60, 3, 11), mixture(60, 3, 12)
TRUTHS: dict = {}


def truth_of(p):
    if p not in TRUTHS:
        TRUTHS[p] = truth_in_space(*SPACE, p)
    return TRUTHS[p]


COMBINATIONS = {
    "default": {},
    "default, p = 1": {"p": 1},
    "default, 50": {"budget": 50},
    "uniform": {"directions": "uniform", "control_variates": False},
    "lower": {"directions": "uniform", "control_variates": "lower"},
    "upper": {"directions": "uniform", "control_variates": "upper"},
    "parts": {"directions": "uniform", "control_variates": "parts"},
    "gaussian": {"directions": "uniform", "control_variates": "gaussian"},
    "gaussian, p = 3": {"directions": "uniform", "control_variates": "gaussian", "p": 3},
    "harmonics": {"directions": "uniform", "control_variates": ("harmonics", 2)},
    "list": {"directions": "uniform", "control_variates": ["gaussian", "power", "point_mass"]},
    "orthogonal": {"directions": "orthogonal"},
    "orthogonal, gaussian": {"directions": "orthogonal", "control_variates": "gaussian"},
    "sobol": {"directions": "sobol"},
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_intervals_cover_and_estimates_are_unbiased(name):
    """1,000 seeds, 1e-6 per case: sees a coverage of 0.90 with probability 0.97."""
    keywords = {"budget": 100, **COMBINATIONS[name]}
    truth, covered, values = truth_of(keywords.get("p", 2)), 0, []
    for seed in range(1_000):
        estimate = quietly(*SPACE, root=False, seed=seed, **keywords)
        lower, upper = estimate.interval()
        covered += lower <= truth <= upper
        values.append(float(estimate.value))
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], 1_000, 0.95)
    assert low <= covered <= high
    z = (np.mean(values) - truth) / (np.std(values) / math.sqrt(len(values)))
    assert abs(z) < 4.9


@pytest.mark.parametrize(("p", "budget"), [(1, 16), (1, 40), (1, 120), (1, 300), (3.5, 40)])
def test_coverage_of_few_turned_rules_in_the_plane(p, budget):
    """1,000 seeds, 1e-6 per case: sees a coverage of 0.91 with probability 0.82."""
    x, v = mixture(10, 2, 1), np.array([1.0, 0.3])
    truth, covered = absolute_moment(2, p) * np.linalg.norm(v) ** p, 0
    for seed in range(1_000):
        estimate = smw.sliced_wasserstein(x, x + v, budget, p=p, root=False, seed=seed)
        lower, upper = estimate.interval()
        covered += lower <= truth <= upper
    assert covered >= stats.binom.ppf(1e-6, 1_000, 0.95)


@pytest.mark.parametrize("control", [False, "auto"])
@pytest.mark.parametrize(("p", "few", "enough"), [(3, 200, 800), (6, 600, 20_000)])
def test_directions_that_are_few_for_a_high_power_are_told(p, few, enough, control):
    """Costs of a shifted cloud are |theta.v|^p, skewed ever more with p; mild costs are let be."""
    x, v = mixture(10, 100, 1), np.linspace(0, 1, 100)
    keywords = {"p": p, "control_variates": control, "directions": "uniform"}
    for seed in range(3):
        with pytest.warns(smw.PrecisionWarning, match="directions are few for skewed costs"):
            smw.sliced_wasserstein(x, x + v, few, seed=seed, **keywords)
    smw.sliced_wasserstein(x, x + v, enough, seed=1, **keywords)
    rng = np.random.default_rng(1)
    mild = rng.normal(size=(300, 100)), 2 * rng.normal(size=(300, 100))
    smw.sliced_wasserstein(*mild, 200, seed=1, **{**keywords, "p": 3})
    with pytest.warns(smw.PrecisionWarning, match="directions are few for skewed costs"):
        smw.sliced_wasserstein_matrix([x, x + v], few, seed=1, p=p, directions="uniform")


@pytest.mark.parametrize("d", [4, 5, 6, 7, 8, 9, 10, 11, 13, 20, 33])
def test_the_number_of_directions_that_is_said_to_do_does(d):
    """Also where whole blocks round it down."""
    rng = np.random.default_rng(d)
    x, y = rng.normal(size=(60, d)), rng.normal(size=(60, d))
    with pytest.warns(smw.PrecisionWarning, match="directions are few.* 50 would do for p = 2"):
        smw.sliced_wasserstein(x, y, 30, seed=1, control_variates=False)
    estimate = smw.sliced_wasserstein(x, y, 50, seed=1, control_variates=False)
    assert 40 < estimate.diagnostics["directions_used"] <= 50


def test_coverage_in_many_dimensions_with_the_exact_gaussian_control():
    """300 seeds, 1e-6; the truth is a run of 200,000 directions, its error counted."""
    x, y = mixture(80, 20, 1), mixture(80, 20, 2)
    long = smw.sliced_wasserstein(x, y, 100_000, root=False, seed=99)
    gains, covered = [], 0
    for seed in range(300):
        estimate = smw.sliced_wasserstein(x, y, 160, root=False, seed=seed)
        lower, upper = estimate.interval()
        covered += lower <= long.value <= upper
        gains.append(estimate.diagnostics["gain_over_independent_directions"])
    assert long.standard_error < 0.1 * estimate.standard_error
    assert covered >= stats.binom.ppf(1e-6, 300, 0.95)
    assert np.median(gains) > 10


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
    from smcweights.transport.controls import fit

    ours = np.array(
        [fit(c, k[:, None], np.ones(1)).blocks.mean() for c, k in zip(costs, h, strict=True)]
    )
    assert abs(z(ours)) < 4.5


def test_gains_of_the_defaults():
    """Turned rules in space, the exact control above: what the method is for."""
    gain = "gain_over_independent_directions"
    x, y = mixture(500, 3, 1), mixture(500, 3, 2)
    found = [
        smw.sliced_wasserstein(x, y, 1000, root=False, seed=s).diagnostics[gain] for s in range(5)
    ]
    assert np.median(found) > 1e4


# ------------------------------------------------------------------------- roots, precision, more


def test_the_root_and_its_error():
    estimate = smw.sliced_wasserstein(*SPACE, 100, seed=1)
    power = smw.sliced_wasserstein(*SPACE, 100, seed=1, root=False)
    assert estimate.value == pytest.approx(math.sqrt(power.value), rel=1e-12)
    assert estimate.standard_error == pytest.approx(
        power.standard_error / 2 / math.sqrt(power.value), rel=1e-12
    )


def test_equal_clouds_are_told():
    with pytest.warns(smw.PrecisionWarning, match="can't be told from equal"):
        estimate = smw.sliced_wasserstein(SPACE[0], SPACE[0], 100, seed=1)
    assert estimate.value < 1e-6
    assert np.isfinite(estimate.standard_error)


EQUAL = ["plain", "line", "one far", "shifted", "float32", "weighted", "weighted, one far", "more"]


@pytest.mark.parametrize("kind", EQUAL)
@pytest.mark.parametrize("p", [1, 2, 3, 8])
def test_clouds_that_are_equal_up_to_rounding_are_told_at_once(kind, p):
    x, a, weights = np.random.default_rng(7).normal(size=(40, 8)), None, {}
    if kind == "line":
        x = x[:, :1] * np.arange(1.0, 9.0)
    if "one far" in kind:
        x[3] = -1e7
    if kind == "shifted":
        x = x + 1e4
    if kind == "float32":
        x = x.astype(np.float32)
    if "weighted" in kind:
        a = np.random.default_rng(3).random(40)
        weights = {"weights_x": a, "weights_y": a[::-1].copy()}
    y = (np.repeat(x, 3, axis=0) if kind == "more" else x)[::-1].copy()
    keywords = {"p": p, **weights, "seed": 1}
    for control in ("auto", "parts"):
        with pytest.warns(smw.PrecisionWarning, match="can't be told from equal ones"):
            smw.sliced_wasserstein(x, y, 200, control_variates=control, **keywords)
    wanted = smw.Precision(relative=1e-2, max_budget=10_000)
    with pytest.warns(smw.PrecisionWarning, match="not reached: no direction shows more than"):
        estimate = smw.sliced_wasserstein(x, y, precision=wanted, root=False, **keywords)
    assert estimate.cost["evaluations"] < 1_000


@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [3, 6])
def test_a_point_that_both_clouds_have_far_away_hides_nothing(d, weighted, p):
    """One point moves by v, the other stays: a_0 c_{d,p} |v|^p."""
    x, v = np.zeros((2, d)), np.linspace(1, 2, d)
    x[1] = 1e7
    y, a = x + np.stack([v, 0 * v]), np.array([0.1, 0.9]) if weighted else np.full(2, 0.5)
    if weighted:  # the same mass in pieces that rounding sums differently
        y, b = y[[0, 1, 1, 1]], np.array([0.1, 0.2, 0.3, 0.4])
    else:
        b = a
    truth = a[0] * absolute_moment(d, p) * np.linalg.norm(v) ** p
    keywords = {"p": p, "root": False, "directions": "orthogonal", "seed": 1}
    found = smw.sliced_wasserstein(x, y, 6_000, weights_x=a, weights_y=b, **keywords)
    # p = 2: orthogonal blocks have no noise
    assert abs(found.value - truth) < 5 * found.standard_error + 1e-6 * truth
    assert found.standard_error < (1e-6 if p == 2 else 0.03) * truth


@pytest.mark.parametrize("d", [2, 3, 8])
def test_a_precision_is_reached_and_covers(d):
    """200 seeds, 1e-6."""
    x, y = mixture(30, d, 1), mixture(40, d, 2)
    truth = smw.sliced_wasserstein(x, y, 20_000, seed=77).value
    wanted = smw.Precision(relative=0.002 if d < 4 else 0.02, max_budget=100_000)
    covered = 0
    for seed in range(200):
        estimate = smw.sliced_wasserstein(x, y, precision=wanted, seed=seed)
        lower, upper = estimate.interval()
        covered += lower <= truth <= upper
        assert upper - lower <= 2 * 1.02 * wanted.relative * estimate.value
    assert covered >= stats.binom.ppf(1e-6, 200, 0.95)


@pytest.mark.parametrize("executor", ["threads:2", "threads:3", "processes:2"])
def test_the_same_bits_everywhere(executor):
    x, y = mixture(100, 3, 1), mixture(70, 3, 2)
    here = smw.sliced_wasserstein(x, y, 400, directions="uniform", control_variates="lower", seed=1)
    there = smw.sliced_wasserstein(
        x, y, 400, directions="uniform", control_variates="lower", seed=1, executor=executor
    )
    assert here.value == there.value and here.standard_error == there.standard_error


def test_all_pairs_share_directions():
    clouds = {"a": mixture(60, 3, 1), "b": mixture(50, 3, 2), "c": mixture(60, 3, 3)}
    joint = smw.sliced_wasserstein_matrix(clouds, 400, seed=1, root=False)
    for name in joint.names:
        first, second = name.split(", ")
        truth = truth_in_space(clouds[first], clouds[second], 2, nodes=30)
        assert abs(joint[name].value - truth) < 6 * joint[name].standard_error + 1e-4 * truth
    matrix = joint.diagnostics["matrix"]
    np.testing.assert_array_equal(matrix, matrix.T)
    errors = np.array(
        [smw.sliced_wasserstein_matrix(clouds, 100, seed=s, root=False).value for s in range(300)]
    )
    said = np.mean(
        [
            smw.sliced_wasserstein_matrix(clouds, 100, seed=s, root=False).covariance
            for s in range(300)
        ],
        axis=0,
    )
    # 300 runs: relative errors of (co)variances of some 0.1
    np.testing.assert_allclose(np.cov(errors.T), said, atol=0.4 * said.diagonal().max())


@pytest.mark.parametrize("far", [1e4, 1e6, 1e9])
def test_the_error_of_a_pair_is_its_own(far):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(60, 3)) * [1, 2, 5] + 1, rng.gamma(2, size=(80, 3))
    alone = smw.sliced_wasserstein_matrix([x, y, x], 200, seed=1)["1, 2"]
    joint = smw.sliced_wasserstein_matrix([x, y, far * x], 200, seed=1)["1, 2"]
    assert joint.value == pytest.approx(alone.value, rel=1e-6)
    assert joint.standard_error == pytest.approx(alone.standard_error, rel=1e-3)


def test_clouds_with_names_have_weights_with_names():
    x, y, a = mixture(30, 3, 1), mixture(20, 3, 2), np.arange(1.0, 31.0)
    named = smw.sliced_wasserstein_matrix({"a": x, "b": y}, 50, weights={"a": a}, seed=1)
    listed = smw.sliced_wasserstein_matrix((c for c in (x, y)), 50, weights=[a, None], seed=1)
    assert named.value == listed.value
    for clouds, weights, said in [
        ({"a": x, "b": y}, {"c": a}, r"weights: got names \['c'\]; expected some of"),
        ([x, y], {"a": a}, "which have no names"),
        ([x, y], [a], "weights: got 1; expected one entry per cloud, 2"),
        ([x], None, "clouds: got 1"),
    ]:
        with pytest.raises(ValueError, match=said):
            smw.sliced_wasserstein_matrix(clouds, 50, weights=weights)
    with pytest.raises(TypeError, match="clouds: got int"):
        smw.sliced_wasserstein_matrix(3)


def test_a_reference_is_kept():
    y = mixture(80, 4, 1)
    reference = smw.SlicedReference(y, 400, seed=5)
    for x in (mixture(80, 4, 2), mixture(33, 4, 3)):
        own = reference.distance(x)
        other = smw.sliced_wasserstein(x, y, 4_000, seed=6)
        gap = abs(own.value - other.value)
        assert gap < 5 * math.hypot(own.standard_error, other.standard_error)


def test_a_reference_warns_by_its_own_name():
    x = mixture(30, 3, 1)
    with pytest.warns(smw.PrecisionWarning, match=r"^SlicedReference\.distance: the clouds can't"):
        smw.SlicedReference(x, 100, seed=1).distance(x[::-1].copy())


def test_the_two_sample_test_keeps_its_level_and_has_power():
    """200 seeds at level 0.1: binomial bounds of 1e-6."""
    rng = np.random.default_rng(1)
    rejected = sum(
        smw.sliced_test(
            rng.normal(size=(25, 2)), rng.normal(size=(40, 2)), 20, permutations=99, seed=s
        ).p_value
        <= 0.1
        for s in range(200)
    )
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], 200, 0.1)
    assert low <= rejected <= high
    x = rng.normal(size=(60, 2))
    assert smw.sliced_test(x, 2 * rng.normal(size=(60, 2)), 20, seed=1).p_value < 0.01


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"x": [[1.0, np.nan]]}, ValueError, "x: point 0 has nan as coordinate 1"),
        ({"x": np.zeros((2, 2, 2))}, ValueError, r"x: got shape \(2, 2, 2\)"),
        ({"x": "points"}, TypeError, "x: expected an array of numbers"),
        ({"y": np.zeros((5, 3))}, ValueError, "y: has points in 3 dimensions, x in 2"),
        ({"x": np.ma.masked_less(np.ones((4, 2)), 2)}, TypeError, "x: .*some are masked"),
        ({"weights_y": "equal"}, TypeError, r"weights_y: .*shape \(30,\)"),
        ({"p": 0.5}, ValueError, "p: got 0.5"),
        ({"p": "2"}, TypeError, "p: got '2'"),
        ({"weights_x": [1.0]}, ValueError, r"weights_x: got shape \(1,\); expected \(40,\)"),
        ({"weights_y": -np.ones(30)}, ValueError, "weights_y: entry 0 is -1.0"),
        ({"weights_y": np.zeros(30)}, ValueError, "weights_y: all are 0"),
        ({"budget": 0}, ValueError, "budget: got 0"),
        ({"budget": None}, ValueError, "exactly one of budget and precision"),
        ({"directions": "random"}, ValueError, "directions: got 'random'"),
        ({"directions": "exact"}, ValueError, "'exact' serves d = 1"),
        ({"directions": np.ones((3, 2)), "budget": None}, ValueError, "row 0 has length"),
        ({"directions": np.eye(3), "budget": None}, ValueError, r"directions: got shape \(3, 3\)"),
        ({"control_variates": "both"}, ValueError, "control_variates: got 'both'"),
        ({"control_variates": ("harmonics", 1)}, ValueError, "harmonics of degree 1"),
        ({"control_variates": ("harmonics", 3)}, ValueError, "harmonics of degree 3; expected 2"),
        ({"control_variates": 3}, TypeError, "control_variates: got int"),
        ({"root": 2}, TypeError, "root: got 2"),
    ],
)
def test_bad_arguments_are_told(change, error, said):
    arguments = {"x": mixture(40, 2, 1), "y": mixture(30, 2, 2), "budget": 50, **change}
    with pytest.raises(error, match=said):
        smw.sliced_wasserstein(**arguments)


def test_a_control_of_the_user_s():
    """The cost of one coordinate axis pair: an even function with mean 1/3."""
    x, y = SPACE
    own = (lambda theta: theta[:, 0] ** 2, 1 / 3)
    values = [
        smw.sliced_wasserstein(
            x, y, 100, directions="uniform", control_variates=own, root=False, seed=s
        ).value
        for s in range(300)
    ]
    z = (np.mean(values) - truth_of(2)) / (np.std(values) / math.sqrt(300))
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


@pytest.mark.parametrize("size", [1e308, 5e-324])
def test_weights_of_any_size(size):
    x, y = SPACE
    same = smw.sliced_wasserstein(x, y, 100, weights_x=np.full(60, size), seed=1)
    assert same.value == smw.sliced_wasserstein(x, y, 100, seed=1).value
    a = np.r_[np.full(30, size), np.zeros(30)]
    half = smw.sliced_wasserstein(x, y, 100, weights_x=a, seed=1)
    assert half.value == smw.sliced_wasserstein(x[:30], y, 100, seed=1).value


def test_a_gaussian_law_without_dimensions_is_told():
    none = np.zeros(0), np.zeros((0, 0))
    with pytest.raises(ValueError, match=r"cov_x: got shape \(0, 0\) with a mean of shape"):
        smw.sliced_wasserstein_gaussian(*none, *none)


def test_clouds_of_one_point_and_of_extreme_sizes():
    one = np.ones((5, 3))
    with pytest.warns(smw.PrecisionWarning, match="can't be told from equal ones"):
        same = smw.sliced_wasserstein(one, np.ones((7, 3)), 50, seed=1)
    assert same.value == 0 and same.standard_error == 0
    x = np.random.default_rng(1).normal(size=(30, 3))
    small = smw.sliced_wasserstein(x * 1e-60, (x + 1) * 1e-60, 50, seed=1)
    assert small.value == pytest.approx(
        1e-60 * smw.sliced_wasserstein(x, x + 1, 50, seed=1).value, rel=1e-9
    )
    for factor in (1e-200, 1e200):
        with pytest.raises(ValueError, match=r"x: has coordinates of size .* use other units"):
            smw.sliced_wasserstein(x * factor, x, 50, seed=1)


def test_a_point_far_from_the_others_in_the_plane():
    """One pair is 1 apart, the other shared: SW_2^2 = 1/4, of squares of 1e14."""
    x, y = np.array([[0.0, 0.0], [1e7, 0.0]]), np.array([[1.0, 0.0], [1e7, 0.0]])
    with pytest.warns(smw.PrecisionWarning, match="far from the others"):
        found = smw.sliced_wasserstein(x, y, root=False)
    assert abs(found.value - 0.25) < 4 * found.standard_error < 1
    by_angles = smw.sliced_wasserstein(x, y, 200, root=False, seed=1)
    assert abs(by_angles.value - 0.25) < 1e-6
