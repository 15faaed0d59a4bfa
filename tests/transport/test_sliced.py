"""Sliced Wasserstein distances against closed forms and quadrature.

Coverage is judged by binomial bounds and means by z-tests; false-alarm rates are stated, seeds
fixed.
"""

import math
import warnings

import numpy as np
import pytest
from killed import bits, killed_and_resumed
from scipy import stats
from sequential import repeated

import smcweights as smw
from smcweights.transport.sphere import absolute_moment

from .truths import SPACE, mixture, quietly, truth_of


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
        assert not scaled.cautions


COMBINATIONS = {
    "default": {},
    "default, p = 1": {"p": 1},
    "default, 50": {"budget": 50},
    "uniform": {"directions": "uniform", "control_variates": False},
    "lower": {"directions": "uniform", "control_variates": "lower"},
    "upper": {"directions": "uniform", "control_variates": "upper"},
    "parts": {"directions": "uniform", "control_variates": "parts"},
    "gaussian": {"directions": "uniform", "control_variates": "gaussian"},
    "polynomial": {"directions": "uniform", "control_variates": "polynomial"},
    "gaussian, p = 3": {"directions": "uniform", "control_variates": "gaussian", "p": 3},
    "harmonics": {"directions": "uniform", "control_variates": ("harmonics", 2)},
    "list": {"directions": "uniform", "control_variates": ["gaussian", "power", "point_mass"]},
    "orthogonal": {"directions": "orthogonal"},
    "orthogonal, gaussian": {"directions": "orthogonal", "control_variates": "gaussian"},
    "sobol": {"directions": "sobol"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMBINATIONS)
def test_intervals_cover_and_estimates_are_unbiased(name):
    """As 1,000 seeds, 2e-6 per case: sees a coverage of 0.90 with probability 0.97."""
    keywords = {"budget": 100, **COMBINATIONS[name]}
    repeated(
        lambda seed: quietly(*SPACE, root=False, seed=seed, **keywords),
        truth_of(keywords.get("p", 2)),
        1_000,
        unbiased=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("p", "budget"), [(1, 18), (1, 40), (1, 120), (1, 300), (3.5, 40)])
def test_coverage_of_few_turned_rules_in_the_plane(p, budget):
    """1,000 seeds, 1e-6 per case: sees a coverage of 0.91 with probability 0.82."""
    x, v = mixture(10, 2, 1), np.array([1.0, 0.3])
    truth, covered = absolute_moment(2, p) * np.linalg.norm(v) ** p, 0
    for seed in range(1_000):
        keywords = {"p": p, "root": False, "directions": "rule", "seed": seed}
        estimate = smw.sliced_wasserstein(x, x + v, budget, **keywords)
        lower, upper = estimate.interval()
        covered += lower <= truth <= upper
    assert covered >= stats.binom.ppf(1e-6, 1_000, 0.95)


@pytest.mark.parametrize("control", [False, "auto"])
@pytest.mark.parametrize(("p", "few", "enough"), [(3, 75, 200), (6, 600, 20_000)])
def test_directions_that_are_few_for_a_high_power_are_told(p, few, enough, control):
    """Costs of a shifted cloud are |theta.v|^p, skewed ever more with p."""
    x, v = mixture(10, 100, 1), np.linspace(0, 1, 100)
    keywords = {"p": p, "control_variates": control, "directions": "uniform"}
    for seed in range(3):
        with pytest.warns(smw.PrecisionWarning, match="directions are few for skewed costs"):
            smw.sliced_wasserstein(x, x + v, few, seed=seed, **keywords)
    smw.sliced_wasserstein(x, x + v, enough, seed=1, **keywords)
    with pytest.warns(smw.PrecisionWarning, match="directions are few for skewed costs"):
        smw.sliced_wasserstein_matrix([x, x + v], few, seed=1, p=p, directions="uniform")


@pytest.mark.parametrize("d", [4, 5, 6, 7, 8, 9, 10, 11, 13, 20, 33])
def test_the_number_of_directions_that_is_said_to_do_does(d):
    """Also where whole blocks round it down."""
    rng = np.random.default_rng(d)
    x, y = rng.normal(size=(60, d)), rng.normal(size=(60, d))
    with pytest.warns(smw.PrecisionWarning, match="directions are few.* 52 would do for p = 2"):
        smw.sliced_wasserstein(x, y, 30, seed=1, control_variates=False)
    estimate = smw.sliced_wasserstein(x, y, 52, seed=1, control_variates=False)
    assert 40 < estimate.diagnostics["directions_used"] <= 52


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("p", [1, 3])
@pytest.mark.parametrize(("control", "n", "d"), [("polynomial", 12, 6), ("tangent", 150, 300)])
def test_coverage_with_coefficients_by_scale(control, n, d, p):
    """500 seeds, 1e-6 per case; the costs of p = 3 are as skewed as those of a shifted cloud."""
    x, v = mixture(n, d, 1), np.linspace(0, 1, d)
    truth, covered, values = absolute_moment(d, p) * np.linalg.norm(v) ** p, 0, []
    for seed in range(500):
        found = quietly(x, x + v, 100, p=p, root=False, seed=seed, directions="uniform")
        lower, upper = found.interval()
        covered += lower <= truth <= upper
        values.append(float(found.value))
    assert found.diagnostics["control_variates"] == [control]
    assert covered >= stats.binom.ppf(1e-6, 500, 0.95)
    assert abs(np.mean(values) - truth) < 4.9 * np.std(values) / math.sqrt(500)


@pytest.mark.slow
def test_a_budget_below_whole_blocks_loses_nothing():
    """Variances of 40 runs: 200 directions in blocks of 25 beside 320 in whole ones."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 64)) * np.arange(1, 65) ** -0.7
    y = 1.5 * rng.normal(size=(400, 64)) * np.arange(1, 65) ** -0.7
    found = {
        name: np.var(
            [
                float(smw.sliced_wasserstein(x, y, n, root=False, seed=s, control_variates=c).value)
                for s in range(40)
            ]
        )
        for name, n, c in [("tangent", 200, "tangent"), ("whole", 320, False), ("none", 200, False)]
    }
    assert found["tangent"] < 8 * found["whole"] and 10 * found["tangent"] < found["none"]


def test_gains_of_the_defaults():
    """Turned rules in space, the exact control above: what the method is for."""
    gain = "gain_over_independent_directions"
    x, y = mixture(500, 3, 1), mixture(500, 3, 2)
    found = [
        smw.sliced_wasserstein(x, y, 1000, root=False, seed=s).diagnostics[gain] for s in range(5)
    ]
    assert np.median(found) > 1e4


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


@pytest.mark.parametrize("root", [False, True])
def test_no_interval_of_a_distance_reaches_below_0(root):
    x, near = SPACE[0], SPACE[0] + 1e-3 * np.random.default_rng(1).normal(size=(60, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        found = [
            smw.sliced_wasserstein(x, near, 10, directions="uniform", root=root, seed=1),
            smw.sliced_wasserstein_matrix([x, near], 10, directions="uniform", root=root, seed=1),
            smw.SlicedReference(x, 10, directions="uniform", seed=1).distance(near, root=root),
            smw.sliced_gradient(x, near, 10, directions="uniform", root=root, seed=1).distance,
            smw.sliced_wasserstein(x[:, :2], near[:, :2], root=root),
        ]
    for estimate in found:
        lower, upper = estimate.interval(1 - 1e-9)
        assert np.all(lower >= 0) and np.all(upper >= estimate.value)
        assert estimate.bounds == (0, math.inf)


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
    assert abs(found.value - truth) < 5 * found.standard_error + 1e-6 * truth
    assert found.standard_error < 0.03 * truth
    if p == 2:  # orthogonal blocks have no noise
        keywords["control_variates"] = False
        found = smw.sliced_wasserstein(x, y, 6_000, weights_x=a, weights_y=b, **keywords)
        assert abs(found.value - truth) < 1e-6 * truth and found.standard_error < 1e-6 * truth


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("d", [2, 3, *(pytest.param(d, marks=pytest.mark.slow) for d in (4, 16))])
def test_given_directions_are_what_is_averaged_everywhere(d, p):
    """By sorting; clouds 10 apart along another axis, so that a mean over the sphere is seen."""
    import jax.numpy as jnp

    from smcweights._compat import enable_x64

    rng = np.random.default_rng(d)
    x, y = rng.normal(size=(40, d)), rng.normal(size=(40, d))
    y[:, 0] += 10
    theta = np.eye(d)[[1, 1, 0] if d == 2 else [1, 2, 2]]
    truth = np.mean([np.abs(np.sort(x @ t) - np.sort(y @ t)) ** p for t in theta])
    reference = smw.SlicedReference(y, p=p, directions=theta)
    with pytest.warns(smw.PrecisionWarning, match="one block of directions"):
        found = [
            smw.sliced_wasserstein(x, y, p=p, directions=theta, root=False).value,
            smw.sliced_wasserstein(x, y, p=p, directions=theta[:, None], root=False).value,
            smw.sliced_wasserstein_matrix([x, y], p=p, directions=theta, root=False).value[0],
            reference.distance(x, root=False).value,
            smw.sliced_gradient(x, y, p=p, directions=theta).distance.value,
        ]
    with enable_x64():
        same = smw.jax.sliced_wasserstein(
            jnp.asarray(x), jnp.asarray(y), p=p, directions=theta, root=False
        )
    np.testing.assert_allclose([*found, float(same)], truth, rtol=1e-12)


@pytest.mark.slow
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


@pytest.mark.parametrize("d", [2, 3, 8, 50])
def test_the_first_stage_keeps_to_the_most_that_is_allowed(d):
    x, y = mixture(30, d, 1), mixture(40, d, 2)
    wanted = smw.Precision(relative=1e-9, max_budget=100)
    kind = "rule" if d == 2 else "auto"
    with pytest.warns(smw.PrecisionWarning, match="precision was not reached"):
        found = smw.sliced_wasserstein(x, y, precision=wanted, directions=kind, seed=1)
    assert 50 < found.cost["evaluations"] <= 100


def test_two_hundred_directions_where_nothing_is_said():
    x, y = mixture(30, 5, 1), mixture(40, 5, 2)
    assert (
        smw.sliced_wasserstein(x, y, seed=1).value
        == smw.sliced_wasserstein(x, y, 200, seed=1).value
    )


@pytest.mark.parametrize("executor", ["threads:2", "threads:3", "processes:2"])
def test_the_same_bits_everywhere(executor):
    x, y = mixture(100, 3, 1), mixture(70, 3, 2)
    here = smw.sliced_wasserstein(x, y, 400, directions="uniform", control_variates="lower", seed=1)
    there = smw.sliced_wasserstein(
        x, y, 400, directions="uniform", control_variates="lower", seed=1, executor=executor
    )
    assert here.value == there.value and here.standard_error == there.standard_error


SPATIAL = {"x": np.ones((2, 3)), "y": np.ones((4, 3))}


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"x": [[1.0, np.nan]]}, ValueError, "x: point 0 has nan as coordinate 1"),
        ({"x": np.zeros((2, 2, 2))}, ValueError, r"x: got shape \(2, 2, 2\)"),
        ({"x": "points"}, TypeError, "x: got 'points'; expected an array of numbers"),
        ({"y": np.zeros((5, 3))}, ValueError, "y: has points in 3 dimensions; expected 2 as in x"),
        ({"x": np.ma.masked_less(np.ones((4, 2)), 2)}, TypeError, "x: got masked entries"),
        (
            {"weights_y": "equal"},
            TypeError,
            r"weights_y: got 'equal'; expected real numbers of shape \(30,\)",
        ),
        ({"p": 0.5}, ValueError, "p: got 0.5"),
        ({"p": "2"}, TypeError, "p: got '2'"),
        ({"weights_x": [1.0]}, ValueError, r"weights_x: got shape \(1,\); expected \(40,\)"),
        ({"weights_y": -np.ones(30)}, ValueError, "weights_y: got -1.0 as entry 0"),
        ({"weights_y": np.zeros(30)}, ValueError, "weights_y: got zeros"),
        ({"budget": 0}, ValueError, "budget: got 0"),
        ({"precision": smw.Precision(1)}, ValueError, "exactly one of budget and precision"),
        ({"directions": "random"}, ValueError, "directions: got 'random'"),
        ({"directions": "exact", **SPATIAL}, ValueError, "'exact' serves one dimension and two"),
        ({"directions": np.ones((3, 2)), "budget": None}, ValueError, "row 0 has length"),
        ({"directions": np.eye(3), "budget": None}, ValueError, r"directions: got shape \(3, 3\)"),
        ({"control_variates": "both"}, ValueError, "control_variates: got 'both'"),
        ({"control_variates": ("harmonics", 1)}, ValueError, "harmonics of degree 1"),
        ({"control_variates": ("harmonics", 3)}, ValueError, "harmonics of degree 3; expected 2"),
        ({"control_variates": 3}, TypeError, "control_variates: got 3"),
        ({"root": 2}, TypeError, "root: got 2"),
    ],
)
def test_bad_arguments_are_told(change, error, said):
    arguments = {"x": mixture(40, 2, 1), "y": mixture(30, 2, 2), "budget": 50, **change}
    with pytest.raises(error, match=said):
        smw.sliced_wasserstein(**arguments)


@pytest.mark.parametrize(("d", "p"), [(1, 2), (2, 2), (3, 1), (9, 2)])
def test_directions_are_kept_with_their_costs(d, p):
    x, y = mixture(30, d, 1), mixture(30, d, 2)
    keywords = {"p": p, "root": False, "control_variates": False, "seed": 1}
    for budget, precision in ((60, None), (None, smw.Precision(relative=0.05))):
        found = smw.sliced_wasserstein(
            x, y, budget, precision=precision, keep_directions=True, **keywords
        )
        theta, cost, block = (found.sample[k].values for k in ("direction", "cost", "block"))
        gaps = np.sort(theta @ x.T, axis=1) - np.sort(theta @ y.T, axis=1)
        np.testing.assert_allclose((np.abs(gaps) ** p).mean(axis=1), cost, rtol=1e-10)
        assert len(block) == len(cost) and block.max() + 1 == found.diagnostics.get("blocks", 1)
        if d == 9:
            plain = smw.sliced_wasserstein(x, y, budget, precision=precision, **keywords)
            assert found.value == plain.value == pytest.approx(cost.mean(), rel=1e-12)
    with pytest.raises(ValueError, match="keep_directions: 'exact' goes around the whole plane"):
        smw.sliced_wasserstein(
            x[:, [0, -1]], y[:, [0, -1]], directions="exact", keep_directions=True
        )


@pytest.mark.parametrize("d", [1, 2])
def test_a_checkpoint_of_a_closed_form_is_of_these_clouds(d, tmp_path):
    x, how = mixture(30, d, 1), {"checkpoint": tmp_path / "run.npz"}
    first = smw.sliced_wasserstein(x, x + 1, **how)
    assert smw.sliced_wasserstein(x, x + 1, **how).provenance["seed"] == first.provenance["seed"]
    with pytest.raises(ValueError, match="belongs to a run with other arguments: data was"):
        smw.sliced_wasserstein(x, x + 2, **how)
    with pytest.raises(ValueError, match=r"is of sliced Wasserstein, not of adaptive"):
        smw.adaptive_importance_sampling(lambda z: z[:, 0], stats.norm(), 300, **how)


@pytest.mark.slow
@pytest.mark.parametrize("keywords", [{"budget": 3000}, {"precision": smw.Precision(3e-4)}])
def test_a_killed_distance_goes_on_to_the_same_bits(keywords, tmp_path):
    def call(**others):
        x = np.random.default_rng(1).normal(size=(600, 5))
        arguments = {"directions": "uniform", "seed": 2, **keywords, **others}
        return bits(quietly(x, np.exp(x / 2), **arguments))

    killed_and_resumed(call, tmp_path)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"control_variates": "atuo"}, "control_variates: got 'atuo'; expected one of"),
        ({"control_variates": ["lower", ("harmonic", 2)]}, "got .'harmonic', 2.; expected one of"),
        ({"control_variates": ("harmonics", 3)}, "harmonics of degree 3; expected 2"),
        ({"control_variates": (np.cos, "a")}, "control_variates: got 'a' as a mean"),
        ({"directions": np.ones((3, 7))}, r"directions: got shape \(3, 7\)"),
        ({"precision": smw.Precision(absolute=0.1)}, "budget"),
    ],
)
def test_options_are_checked_where_a_closed_form_needs_none(d, wrong, message):
    x = np.arange(6.0 * d).reshape(6, d)
    with pytest.raises((TypeError, ValueError), match=message):
        smw.sliced_wasserstein(x, x + 1, 50, **wrong)
    if "precision" not in wrong:
        with pytest.raises((TypeError, ValueError), match=message):
            smw.SlicedReference(x, 50, **wrong)
