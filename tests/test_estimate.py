import copy
import dataclasses
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import scipy.stats
import xarray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smcweights import _compat
from smcweights.cautions import Caution
from smcweights.errors import ModelError, PrecisionWarning
from smcweights.estimate import Estimate, combine
from smcweights.provenance import digest, provenance

# asymmetric on purpose: no two components, variances or covariances are alike
VALUE = np.array([2.0, -0.5, 3.0])
COVARIANCE = np.array([[0.04, 0.01, -0.02], [0.01, 0.09, 0.03], [-0.02, 0.03, 0.25]])
NAMES = ("mean", "lowest", "third")
FACTOR = np.linalg.cholesky(COVARIANCE)


def example(**changes):
    arguments = {"names": NAMES, "method": "demo", "cost": {"evaluations": 100}} | changes
    if "factor" not in arguments:
        arguments.setdefault("covariance", COVARIANCE)
    return Estimate(arguments.pop("value", VALUE), arguments.pop("covariance", None), **arguments)


def coverage_bounds(n, level, false_alarm=1e-7):
    return scipy.stats.binom.interval(1 - false_alarm, n, level)


# construction ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"value": [[1.0]]}, ValueError, r"value: got shape \(1, 1\)"),
        ({"value": []}, ValueError, r"value: got shape \(0,\)"),
        ({"value": [1.0, np.nan, 2.0]}, ValueError, r"value: nan at index \[1\]"),
        ({"value": ["a"]}, TypeError, "value: got dtype <U1"),
        ({"value": [True, False, True]}, TypeError, "value: got dtype bool"),
        ({"covariance": None}, TypeError, "got neither"),
        ({"covariance": COVARIANCE, "factor": FACTOR}, TypeError, "got both"),
        (
            {"covariance": np.eye(2)},
            ValueError,
            r"covariance: got shape \(2, 2\); expected \(3, 3\)",
        ),
        ({"covariance": [0.1, 0.1, 0.1]}, ValueError, r"covariance: got shape \(3,\)"),
        ({"covariance": -np.eye(3)}, ValueError, "variance -1.0"),
        ({"covariance": np.eye(3) + np.eye(3, k=1) / 9}, ValueError, r"not symmetric .*\[0, 1\]"),
        ({"covariance": np.ones((3, 3)) - np.eye(3) * 1e-3}, ValueError, "semi-definite"),
        ({"covariance": np.ones((3, 3)) - np.diag([1, 0, 0])}, ValueError, "variance 0 has"),
        ({"covariance": np.diag([1, np.inf, 1])}, ValueError, r"inf at index \[1, 1\]"),
        ({"covariance": np.diag([1, np.nan, 1])}, ValueError, r"0.0 at index \[0, 1\]; .* NaN in"),
        ({"factor": np.ones((2, 3))}, ValueError, r"factor: got shape \(2, 3\); expected \(3, r\)"),
        ({"factor": [[1, 1], [1, np.nan], [0, 1]]}, ValueError, r"factor: nan at index \[1, 1\]"),
        ({"names": ["a", "b"]}, ValueError, "names: got 2; expected 3"),
        ({"names": ["a", "b", "a"]}, ValueError, "'a' occurs twice"),
        ({"names": ["a", "b", 3]}, TypeError, "expected strings"),
        ({"names": 3}, TypeError, "names: got 3; expected strings"),
        ({"method": 3}, TypeError, "method: got int"),
        ({"degrees_of_freedom": 0}, ValueError, "smallest is 0.0; expected above 0"),
        ({"degrees_of_freedom": np.nan}, ValueError, "degrees_of_freedom"),
        ({"degrees_of_freedom": [1, 2]}, ValueError, r"degrees_of_freedom: got shape \(2,\)"),
        ({"trials": [0, 5, 0]}, ValueError, "trials: positive for a component that is not 0"),
        ({"trials": [0, -5, 0]}, ValueError, "trials: smallest is -5.0"),
        ({"trials": 5}, ValueError, r"trials: got shape \(\)"),
        ({"diagnostics": {"f": print}}, TypeError, r"diagnostics\['f'\]: got builtin"),
        ({"diagnostics": {"a": [{"b": 1j}]}}, TypeError, r"diagnostics\['a'\]\[0\]\['b'\]"),
        ({"diagnostics": {3: 1}}, TypeError, "key 3; expected str"),
        ({"cautions": ["one"]}, TypeError, "cautions: got 'one' among them"),
        ({"columns": ["k"]}, ValueError, "names 'k', which is no diagnostic"),
        ({"columns": ["k"], "diagnostics": {"k": [1, 2]}}, ValueError, r"expected \(3,\)"),
        ({"columns": "k", "diagnostics": {"k": [1, 2, 3]}}, TypeError, "columns: got 'k'"),
        ({"bounds": (1.0, 0.85)}, TypeError, "bounds: got"),
        ({"sample": [1, 2]}, TypeError, "sample: got list"),
        ({"sample": {"x": [1, 2, 3]}}, TypeError, r"sample\['x'\]: expected \(dims, array\)"),
        ({"sample": {"x": ("i", [[1]])}}, ValueError, "don't fit shape"),
        ({"sample": {"x": ("i", [1]), "y": ("i", [1, 2])}}, ValueError, "2 along 'i', but 1"),
    ],
)
def test_bad_arguments_say_what_where_and_what_was_expected(arguments, error, message):
    with pytest.raises(error, match=message):
        example(**arguments)


def test_a_scalar_with_a_factor_is_refused():
    with pytest.raises(ValueError, match="scalar value"):
        Estimate(1.0, factor=[[1.0]])


def test_defaults():
    est = Estimate([1, 2], np.eye(2))
    assert est.names == ("E1", "E2")
    assert Estimate(1.0, 1.0).names == ("estimate",)
    assert Estimate(1.0, 1.0, names="p").names == ("p",)
    assert np.isinf(est.degrees_of_freedom).all()
    assert (est.trials, est.sample, est.diagnostics, est.cost, est.provenance) == (
        None,
        None,
        {},
        {},
        {},
    )


def test_rounding_errors_of_a_singular_covariance_are_forgiven():
    draws = np.random.default_rng(0).standard_normal((20, 5)) @ np.ones((5, 40))
    scale = 10.0 ** np.arange(-10, 10, 0.5)
    covariance = np.cov(draws * scale, rowvar=False)
    est = Estimate(np.zeros(40), covariance)
    np.testing.assert_allclose(est.standard_error, np.sqrt(np.diag(covariance)))


def test_nothing_can_be_changed_from_outside():
    value, covariance, trace = VALUE.copy(), COVARIANCE.copy(), np.arange(3.0)
    nested = {"trace": trace, "list": [1]}
    est = example(value=value, covariance=covariance, diagnostics=nested)
    value[0] = covariance[0, 0] = trace[0] = 99
    nested["list"].append(2)
    assert est.value[0] == 2.0
    assert est.variance[0] == 0.04
    assert est.diagnostics["trace"][0] == 0
    assert est.diagnostics["list"] == [1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        est.value = 3
    for array in (est.value, est.covariance, est.variance, est.diagnostics["trace"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_pickle_and_deepcopy_keep_everything():
    est = example(diagnostics={"trace": np.arange(3)}, sample={"x": ("i", [1.0, 2.0])})
    for twin in (pickle.loads(pickle.dumps(est)), copy.deepcopy(est)):
        assert_same(twin, est)


def test_building_one_imports_nothing_heavy():
    code = (
        "import sys; from smcweights.estimate import Estimate\n"
        "Estimate([1.0, 2.0], [[1, 0], [0, 1]], sample={'x': ('i', [1.0])}, cost={'a': 1})\n"
        "heavy = {'numba', 'jax', 'arviz', 'xarray', 'pandas', 'matplotlib', 'scipy'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# intervals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_intervals_agree_with_scipy_stats(level):
    freedom = np.array([3.0, np.inf, 12.5])
    lower, upper = example(degrees_of_freedom=freedom).interval(level)
    for j in range(3):
        law = scipy.stats.norm if np.isinf(freedom[j]) else scipy.stats.t(freedom[j])
        half = law.ppf(0.5 + level / 2) * math.sqrt(COVARIANCE[j, j])
        assert lower[j] == pytest.approx(VALUE[j] - half, rel=1e-12)
        assert upper[j] == pytest.approx(VALUE[j] + half, rel=1e-12)


@pytest.mark.parametrize("level", [0, 1, 1.5, np.nan, "0.9", 95])
def test_a_level_outside_zero_and_one_is_refused(level):
    with pytest.raises(TypeError if isinstance(level, str) else ValueError, match="level"):
        example().interval(level)


@pytest.mark.parametrize("how", ["covariance", "factor"])
def test_component_without_hit_has_an_upper_limit(how):
    spread = {"covariance": COVARIANCE} if how == "covariance" else {"factor": FACTOR}
    est = example(value=[2.0, 0.0, 3.0], trials=[0, 1000, 0], **spread)
    assert est.standard_error[1] == 1 / 1000
    assert est.covariance[1, 1] == 1e-6
    assert (est.covariance[1, [0, 2]] == 0).all()
    assert est.covariance[0, 2] == pytest.approx(COVARIANCE[0, 2])
    for level in (0.5, 0.95, 0.99):
        lower, upper = est.interval(level)
        assert lower[1] == 0
        # at the limit, a thousand trials without a hit have probability 1 - level
        assert math.exp(-1000 * upper[1]) == pytest.approx(1 - level, rel=1e-12)
    assert upper[0] == pytest.approx(2 + scipy.stats.norm.ppf(0.995) * 0.2)
    scalar = est["lowest"]
    assert scalar.interval(0.95) == (0.0, pytest.approx(-math.log(0.05) / 1000))
    assert np.isinf(est.relative_error[1])


def test_component_without_standard_error_has_none_anywhere():
    covariance = COVARIANCE.copy()
    covariance[1] = covariance[:, 1] = np.nan
    factor = FACTOR.copy()
    factor[1] = np.nan
    for est in (example(covariance=covariance), example(factor=factor)):
        lower, upper = est.interval()
        for result in (lower, upper, est.standard_error, est.relative_error):
            np.testing.assert_array_equal(np.isnan(result), [False, True, False])
        np.testing.assert_array_equal(np.isnan(est.covariance), np.isnan(covariance))
        assert "no standard error" in repr(est)
        assert np.isnan(est.apply([1, 1, 0]).standard_error)
        assert est.apply([1, 0, 1]).variance == pytest.approx(0.04 + 0.25 - 0.04)
        assert np.isnan(est.apply(lambda v: v[0] * v[1]).standard_error)
        assert est.apply(lambda v: v[2] - v[0]).variance == pytest.approx(0.04 + 0.25 + 0.04)
    assert np.isnan(Estimate(1.0, np.nan).standard_error)


def test_relative_error():
    est = Estimate([2.0, 0.0, 0.0, -4.0], np.diag([0.04, 1.0, 0.0, 0.04]))
    np.testing.assert_allclose(est.relative_error, [0.1, np.inf, 0, 0.05])
    assert Estimate(0.0, 1.0).relative_error == np.inf


# marginals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["covariance", "factor"])
def test_marginals_by_name_position_list_and_slice(how):
    spread = {"covariance": COVARIANCE} if how == "covariance" else {"factor": FACTOR}
    est = example(
        degrees_of_freedom=[3, 4, 5],
        diagnostics={
            "k": np.array([0.1, 0.2, 0.3]),
            "who": ["a", "b", "c"],
        },
        columns=["k", "who"],
        **spread,
    )
    one = est["third"]
    assert one.value.shape == ()
    assert (one.value, one.variance, one.degrees_of_freedom) == (3.0, pytest.approx(0.25), 5.0)
    assert one.diagnostics["k"] == 0.3
    assert one.diagnostics["who"] == "c"
    assert one.names == ("third",)
    for key in (["third", "mean"], [2, 0], slice(None, None, -2), np.array([2, 0])):
        two = est[key]
        assert two.names == ("third", "mean")
        np.testing.assert_allclose(two.covariance, [[0.25, -0.02], [-0.02, 0.04]], rtol=1e-12)
        np.testing.assert_array_equal(two.diagnostics["k"], [0.3, 0.1])
        assert two.diagnostics["who"] == ["c", "a"]
        assert two.method == "demo"
        assert two.cost == {"evaluations": 100}
    assert est[-1].names == ("third",)
    assert len(est) == 3
    assert [m.names[0] for m in est] == list(NAMES)
    assert one["third"] is one


def test_wrong_components_say_which_there_are():
    est = example()
    with pytest.raises(KeyError, match="mean, lowest, third"):
        est["forth"]
    with pytest.raises(IndexError, match="component 3; there are 3"):
        est[3]
    with pytest.raises(TypeError, match="name or a position"):
        est[[True, False, True]]
    with pytest.raises(TypeError, match="name or a position"):
        est[1.5]
    with pytest.raises(KeyError, match="no component"):
        est[[]]


# delta method ------------------------------------------------------------------------------------


def test_linear_maps_are_exact():
    matrix = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    for est in (example(), example(factor=FACTOR)):
        derived = est.apply(matrix, names=["p", "q"])
        np.testing.assert_allclose(derived.value, matrix @ VALUE, rtol=1e-14)
        np.testing.assert_allclose(derived.covariance, matrix @ COVARIANCE @ matrix.T, rtol=1e-12)
        assert derived.names == ("p", "q")
        total = est.apply([1, 1, 1])
        assert total.value.shape == ()
        assert total.variance == pytest.approx(COVARIANCE.sum(), rel=1e-12)


def closed_forms():
    a, b, c = VALUE
    yield "ratio", lambda v: v[1] / v[0], [-b / a**2, 1 / a, 0]
    yield "product", lambda v: v[0] * v[2], [c, 0, a]
    yield "power", lambda v: v[0] ** 3, [3 * a**2, 0, 0]
    yield "vector", lambda v: v**2, np.diag(2 * VALUE)
    yield "scaled", lambda v: 1e5 + v[0] - 2 * v[1], [1, -2, 0]


@pytest.mark.parametrize(("name", "f", "jacobian"), list(closed_forms()))
@pytest.mark.parametrize("how", ["numpy", "jax"])
def test_delta_method_agrees_with_closed_forms(name, f, jacobian, how):
    if how == "jax":
        import jax.numpy as jnp

        f_given = lambda v: f(jnp.asarray(v))
    else:
        f_given = f
    # errors so small that every one of these functions is a straight line over them
    est = example(covariance=COVARIANCE * 1e-4)
    derived = est.apply(f_given)
    jacobian = np.asarray(jacobian)
    expected = jacobian @ (COVARIANCE * 1e-4) @ jacobian.T
    tolerance = 1e-12 if how == "jax" else 3e-5
    if how == "jax" and name == "scaled":
        tolerance = 1e-9
    np.testing.assert_allclose(derived.value, f(VALUE), rtol=1e-14)
    np.testing.assert_allclose(derived.covariance, expected, rtol=tolerance)


def test_functions_of_scalars_and_of_numbers_far_apart():
    est = Estimate(1e-9, 1e-20, names="p")
    assert est.apply(np.log10).standard_error == pytest.approx(0.1 / math.log(10), rel=1e-6)
    assert est.apply(lambda p: math.log(p), names="log p").names == ("log p",)
    pair = est.apply(lambda p: np.array([p, 1 - p]))
    assert pair.covariance[0, 1] == pytest.approx(-1e-20, rel=1e-6)
    # a value near the end of the domain, closer than the first step of the differences
    with pytest.warns(PrecisionWarning, match="bends"):
        near_end = Estimate(1e-9, 1.0).apply(np.log)
    assert near_end.standard_error == pytest.approx(1e9, rel=1e-4)
    # a small component beside a huge one keeps its share of the error
    both = Estimate([1e10, 1e-8], np.diag([0.0, 1.0])).apply(lambda v: v[0] + v[1])
    assert both.standard_error == pytest.approx(1.0, rel=0.01)


def test_degrees_of_freedom_follow_the_components_that_matter():
    est = example(degrees_of_freedom=[30, 7, 12])
    assert est.apply([1, 0, 1]).degrees_of_freedom == 12
    np.testing.assert_array_equal(
        est.apply(lambda v: np.stack([v[0], v[1] + v[2]])).degrees_of_freedom, [30, 7]
    )


def test_a_function_with_a_bend_at_the_scale_of_the_error_is_flagged():
    est = Estimate([0.01, 5.0], np.diag([1.0, 0.01]))
    with pytest.warns(PrecisionWarning, match="E1: the function bends") as record:
        derived = est.apply(lambda v: np.stack([v[0] ** 2, v[1] ** 2]))
    assert len(record) == 1
    assert record[0].filename == __file__
    (caution,) = derived.cautions
    assert str(record[0].message) == f"Estimate.apply: {caution.text} [{caution.code}]"
    assert derived.diagnostics["warnings"] == [caution.text]
    assert "warnings" not in est.diagnostics
    assert "warning: E1: the function bends" in repr(derived)
    with pytest.warns(PrecisionWarning):
        Estimate(0.5, 1.0).apply(np.log)
    # the mean of a ratio known to 10 % is no reason to warn
    Estimate([1.0, 2.0], np.diag([0.01, 0.04])).apply(lambda v: v[1] / v[0])


def test_a_function_of_a_component_without_hit_is_flagged():
    est = example(value=[2.0, 0.0, 3.0], trials=[0, 1000, 0])
    with pytest.warns(PrecisionWarning, match="p: depends on a component without a hit"):
        derived = est.apply([[1, 1, 0], [1, 0, 1]], names=["p", "q"])
    assert len(derived.diagnostics["warnings"]) == 1
    assert derived.variance[0] == pytest.approx(0.04 + 1e-6)


def test_large_estimates_keep_their_factor():
    rng = np.random.default_rng(1)
    factor = rng.standard_normal((5000, 4)) * 0.01
    est = Estimate(rng.standard_normal(5000), factor=factor)
    double = est[:50].apply(lambda v: 2 * v)
    np.testing.assert_allclose(double.factor, 2 * factor[:50], rtol=1e-4, atol=1e-9)
    assert est.apply(np.ones(5000)).variance == pytest.approx((factor.sum(axis=0) ** 2).sum())
    assert est.variance.shape == (5000,)
    assert "(4989 more)" in repr(est)


def test_apply_drops_columns_and_keeps_the_rest():
    est = example(
        diagnostics={"k": [1, 2, 3], "ess": 12.0},
        columns=["k"],
        bounds=[0, 1],
        cautions=[Caution("few", "w")],
    )
    assert est.apply([1, 1, 1]).bounds is None
    assert est.apply([1, 1, 1]).diagnostics == {"ess": 12.0, "warnings": ["w"]}


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (np.eye(2), ValueError, r"linear map: got shape \(2, 2\)"),
        ([1, np.nan, 1], ValueError, r"linear map: nan at index \[1\]"),
        (lambda v: np.outer(v, v), ModelError, r"returned shape \(3, 3\)"),
        (lambda v: np.array([]), ModelError, r"returned shape \(0,\)"),
        (lambda v: v[1] * np.nan, ModelError, "value at the estimate is not finite"),
        (lambda v: np.array([1.0, np.inf]), ModelError, r"not finite at index \[1\]"),
        (lambda v: v[: 2 + (v[0] > 2)], ModelError, r"returned shape \(2,\), then \(3,\)"),
    ],
)
def test_bad_functions_say_what_is_wrong(f, error, message):
    with pytest.raises(error, match=message):
        example().apply(f)


def test_interval_of_a_ratio_covers_4000_runs_sees_shortfall_of_2_points():
    rng = np.random.default_rng(11)
    truth = np.array([2.0, 5.0])
    covariance = np.array([[0.01, 0.012], [0.012, 0.04]])
    hits = 0
    for value in rng.multivariate_normal(truth, covariance, 4000):
        lower, upper = Estimate(value, covariance).apply(lambda v: v[1] / v[0]).interval()
        hits += lower <= 2.5 <= upper
    low, high = coverage_bounds(4000, 0.95)
    assert low <= hits <= high


# pooling -----------------------------------------------------------------------------------------


def runs_of(values, covariances, evaluations, **common):
    return [
        Estimate(v, c, cost={"evaluations": n, "seconds": 1.5}, **common)
        for v, c, n in zip(values, covariances, evaluations, strict=True)
    ]


def test_runs_are_weighted_by_evaluations():
    values = [VALUE, VALUE + 0.1, VALUE - 0.05]
    covariances = [COVARIANCE, COVARIANCE * 2, COVARIANCE / 3]
    pooled = combine(runs_of(values, covariances, [100, 300, 600], degrees_of_freedom=7))
    np.testing.assert_allclose(pooled.value, VALUE + 0.3 * 0.1 - 0.6 * 0.05)
    np.testing.assert_allclose(
        pooled.covariance, COVARIANCE * (0.1**2 + 2 * 0.3**2 + 0.6**2 / 3), rtol=1e-12
    )
    parts = np.array([0.1**2, 2 * 0.3**2, 0.6**2 / 3])
    np.testing.assert_allclose(pooled.degrees_of_freedom, 7 * parts.sum() ** 2 / (parts**2).sum())
    assert pooled.cost == {"evaluations": 1000, "seconds": 4.5}
    assert pooled.diagnostics["runs"] == 3
    factors = [
        Estimate(v, factor=np.linalg.cholesky(c), cost={"evaluations": n})
        for v, c, n in zip(values, covariances, [100, 300, 600], strict=True)
    ]
    np.testing.assert_allclose(combine(factors).covariance, pooled.covariance, rtol=1e-12)
    mixed = [factors[0], *runs_of(values, covariances, [100, 300, 600])[1:]]
    np.testing.assert_allclose(combine(mixed).covariance, pooled.covariance, rtol=1e-9)
    assert combine(runs_of([1.0], [0.5], [10])).value.shape == ()


def test_a_component_without_standard_error_in_one_run_has_none_in_the_pool():
    covariance = np.diag([np.nan, 0.04])
    covariance[0, 1] = covariance[1, 0] = np.nan
    missing = Estimate([1.0, 2.0], covariance, cost={"evaluations": 5})
    whole = Estimate([1.0, 2.0], np.eye(2), cost={"evaluations": 5})
    factored = Estimate([1.0, 2.0], factor=np.eye(2), cost={"evaluations": 5})
    for other in (whole, factored):
        pooled = combine([missing, other])
        np.testing.assert_allclose(pooled.variance, [np.nan, 0.26])
        assert np.isnan(pooled.diagnostics["heterogeneity"][0])


def test_tiny_variances_keep_their_degrees_of_freedom():
    pooled = combine(runs_of([0.0, 0.0], [1e-200, 1e-200], [1, 1], degrees_of_freedom=4))
    assert pooled.degrees_of_freedom == pytest.approx(8)


def test_pooled_interval_covers_5000_times_sees_shortfall_of_2_points():
    # three runs of 6, 9 and 15 batches of different spread: the normal quantile would cover 0.92
    rng = np.random.default_rng(12)
    hits = contradictions = 0
    sizes, spreads = (6, 9, 15), (3.0, 1.0, 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        for _ in range(5000):
            runs = []
            for n, spread in zip(sizes, spreads, strict=True):
                batches = 1.0 + spread * rng.standard_normal(n)
                runs.append(
                    Estimate(
                        batches.mean(),
                        batches.var(ddof=1) / n,
                        degrees_of_freedom=n - 1,
                        cost={"evaluations": n},
                    )
                )
            pooled = combine(runs)
            lower, upper = pooled.interval()
            hits += lower <= 1.0 <= upper
            contradictions += pooled.diagnostics["heterogeneity"][0] < 0.01
    low, high = coverage_bounds(5000, 0.95)
    assert low <= hits <= high
    low, high = coverage_bounds(5000, 0.01)
    assert low <= contradictions <= high


def test_heterogeneity_is_welchs_test_for_two_and_chi_square_for_many_draws():
    rng = np.random.default_rng(13)
    a, b = rng.standard_normal(5) * 2, rng.standard_normal(12) + 1
    runs = [
        Estimate(
            x.mean(),
            x.var(ddof=1) / len(x),
            degrees_of_freedom=len(x) - 1,
            cost={"evaluations": len(x)},
        )
        for x in (a, b)
    ]
    expected = scipy.stats.ttest_ind(a, b, equal_var=False).pvalue
    assert combine(runs).diagnostics["heterogeneity"][0] == pytest.approx(expected, rel=1e-9)
    values, variances = np.array([1.0, 1.5, 0.2]), np.array([0.04, 0.09, 0.16])
    mean = np.average(values, weights=1 / variances)
    statistic = ((values - mean) ** 2 / variances).sum()
    pooled = combine(runs_of(values, variances, [1, 1, 1]))
    assert pooled.diagnostics["heterogeneity"][0] == pytest.approx(
        scipy.stats.chi2(2).sf(statistic), rel=1e-6
    )


def test_contradicting_runs_are_flagged():
    with pytest.warns(PrecisionWarning, match="E2: the runs contradict one another") as record:
        pooled = combine(runs_of([[1.0, 2.0], [1.1, 9.0]], [np.diag([0.1, 0.1])] * 2, [10, 10]))
    assert len(record) == 1
    assert record[0].filename == __file__
    assert "contradict" in pooled.diagnostics["warnings"][0]
    assert "contradict" in repr(pooled)
    # a run that claims to know exactly, and is elsewhere
    with pytest.warns(PrecisionWarning, match="contradict"):
        combine(runs_of([0.0, 1.0], [0.0, 0.01], [10, 10]))
    exact = combine(runs_of([0.3, 0.3], [0.0, 0.0], [10, 10]))
    assert exact.diagnostics["heterogeneity"][0] == 1


def test_runs_without_hits():
    none = combine([Estimate(0.0, 0.0, trials=n, cost={"evaluations": n}) for n in (1000, 3000)])
    assert none.trials == 4000
    assert none.interval(0.95)[1] == pytest.approx(-math.log(0.05) / 4000)
    with pytest.warns(PrecisionWarning, match="1 of 2 runs saw no hit"):
        some = combine(
            [
                Estimate(0.0, 0.0, trials=1000, cost={"evaluations": 1000}),
                Estimate(0.001, 1e-6, cost={"evaluations": 1000}),
            ]
        )
    assert some.trials is None
    assert some.value == 0.0005
    assert some.standard_error == pytest.approx(0.0005)


def test_warnings_of_the_runs_are_kept_once():
    runs = [example(cautions=[Caution("heavy-tails", "heavy tail")]) for _ in range(2)]
    assert combine(runs).cautions == (Caution("heavy-tails", "heavy tail"),)


def test_runs_that_cannot_be_pooled_are_refused():
    def seeded(seed, **more):
        source = {"seed": {"entropy": seed, "spawn_key": []}, **more}
        return Estimate(1.0, 1.0, provenance=source, cost={"evaluations": 5})

    with pytest.raises(ValueError, match="got none"):
        combine([])
    with pytest.raises(TypeError, match="item 1 is a float"):
        combine([example(), 1.0])
    with pytest.raises(ValueError, match="names of item 0"):
        combine([example(), example(names=["a", "b", "c"])])
    with pytest.raises(ValueError, match="method of item 0 is 'demo', of item 1 'other'"):
        combine([example(), example(method="other")])
    with pytest.raises(ValueError, match=r"cost\['evaluations'\] of item 1 is None"):
        combine([example(), example(cost={})])
    with pytest.raises(ValueError, match="items 0 and 2 have the same seed"):
        combine([seeded(1), seeded(2), seeded(1)])
    pair = combine([seeded(1), seeded(2)])
    with pytest.raises(ValueError, match="items 0 and 1 have the same seed"):
        combine([pair, seeded(2)])
    assert combine([pair, seeded(3)]).cost["evaluations"] == 15
    with pytest.raises(ValueError, match="different data"):
        combine([seeded(1, data="aa"), seeded(2, data="bb")])


# tables and other tools --------------------------------------------------------------------------


def test_summary_has_the_columns_asked_for():
    est = example(diagnostics={"k": np.array([0.1, 0.2, 0.3])}, columns=["k"])
    table = est.summary(0.9)
    assert list(table.columns) == [
        "value",
        "standard_error",
        "relative_error",
        "lower",
        "upper",
        "k",
    ]
    assert list(table.index) == list(NAMES)
    np.testing.assert_array_equal(table["lower"], est.interval(0.9)[0])
    np.testing.assert_array_equal(table["k"], [0.1, 0.2, 0.3])
    assert Estimate(1.0, 0.25).summary().shape == (1, 5)


def test_to_xarray_is_labelled():
    data = example().to_xarray()
    assert float(data.value.sel(component="third")) == 3
    assert float(data.covariance.sel(component="mean", component_="third")) == -0.02
    factored = example(factor=FACTOR).to_xarray()
    assert "covariance" not in factored
    assert factored.factor.dims == ("component", "rank")
    assert Estimate(1.0, 2.0).to_xarray().value.dims == ()


def groups_of(data):
    return (
        set(data.groups())
        if hasattr(data, "groups") and callable(data.groups)
        else set(data.children)
    )


def test_to_arviz_draws_from_the_confidence_distribution():
    est = example(
        degrees_of_freedom=8,
        sample={"x": ("draws", np.arange(5.0))},
        provenance={"seed": {"entropy": 2**100, "spawn_key": [1]}},
    )
    data = est.to_arviz()
    assert groups_of(data) == {"posterior", "constant_data", "sample"}
    draws = data["posterior"]["value"].values.reshape(4000, 3)
    # Kolmogorov-Smirnov of three margins; false alarm below 1e-6 each (the seed is fixed)
    for j in range(3):
        z = (draws[:, j] - VALUE[j]) / math.sqrt(COVARIANCE[j, j])
        assert scipy.stats.kstest(z, scipy.stats.t(8).cdf).pvalue > 1e-6
    correlation = COVARIANCE[0, 2] / math.sqrt(COVARIANCE[0, 0] * COVARIANCE[2, 2])
    assert np.corrcoef(draws.T)[0, 2] == pytest.approx(correlation, abs=5 * 1.3 / math.sqrt(4000))
    np.testing.assert_array_equal(est.to_arviz()["posterior"]["value"], data["posterior"]["value"])
    np.testing.assert_array_equal(data["constant_data"]["covariance"], COVARIANCE)
    np.testing.assert_array_equal(data["sample"]["x"], np.arange(5.0))
    table = _compat.arviz().summary(data)
    assert list(table.index) == ["value[mean]", "value[lowest]", "value[third]"]
    assert float(table["mean"].iloc[2]) == pytest.approx(3, abs=0.1)


def test_to_arviz_of_chains_hands_the_chains_over():
    rng = np.random.default_rng(3)
    chains = rng.standard_normal((4, 200))
    data = Estimate(0.1, 0.01, sample={"theta": (("chain", "draw"), chains)}).to_arviz()
    assert groups_of(data) == {"posterior", "constant_data"}
    np.testing.assert_array_equal(data["posterior"]["theta"], chains)
    assert list(_compat.arviz().summary(data).index) == ["theta"]


def test_to_arviz_of_unusual_components():
    covariance = np.diag([1.0, 0.0, np.nan])
    covariance[2] = covariance[:, 2] = np.nan
    est = example(
        value=[2.0, 0.0, 3.0],
        covariance=covariance,
        trials=[0, 50, 0],
        degrees_of_freedom=[3, np.inf, np.inf],
    )
    draws = est.to_arviz()["posterior"]["value"]
    assert list(draws.component.values) == ["mean", "lowest"]
    no_hit = draws.sel(component="lowest").values.ravel()
    assert scipy.stats.kstest(no_hit, scipy.stats.expon(scale=1 / 50).cdf).pvalue > 1e-6
    student = draws.sel(component="mean").values.ravel() - 2
    assert scipy.stats.kstest(student, scipy.stats.t(3).cdf).pvalue > 1e-6
    assert Estimate(1.0, 0.5).to_arviz()["posterior"]["value"].dims == ("chain", "draw")
    with pytest.raises(ValueError, match="no component has a standard error"):
        Estimate(1.0, np.nan).to_arviz()


def test_plot_hands_over_to_the_canvas(monkeypatch):
    from smcweights import canvas

    monkeypatch.setattr(canvas, "estimate", lambda est, ax=None, level=0.95: (est, ax, level))
    est = example()
    assert est.plot("axes", level=0.9) == (est, "axes", 0.9)


# text --------------------------------------------------------------------------------------------


def test_repr_is_aligned_and_shows_two_digits_of_the_error():
    est = Estimate(
        [123456.0, 1.35e-3, 1.35e-12, 0.0, 2.0],
        np.diag([400.0, 4e-10, 4e-28, 0.0, 0.0]),
        names=["large", "small", "tiny", "never", "sure"],
        trials=[0, 0, 0, 1000, 0],
        method="demo",
        cost={"evaluations": 12345},
        cautions=[Caution("heavy-tails", "k-hat is 0.9")],
    )
    assert repr(est).splitlines() == [
        "Estimate of 5 components by demo, 12,345 evaluations",
        "  large  123456 +- 20          [123417, 123495]",
        "  small  0.001350 +- 0.000020  [0.001311, 0.001389]",
        "  tiny   1.350e-12 +- 2.0e-14  [1.311e-12, 1.389e-12]",
        "  never  0 (no hit)            [0, 0.003]",
        "  sure   2 +- 0                [2, 2]",
        "  warning: k-hat is 0.9",
    ]


def test_html_is_escaped():
    est = Estimate(1.0, 0.04, names="<a&b>", cautions=[Caution("order", "x < y")])
    page = est._repr_html_()
    assert "&lt;a&amp;b&gt;" in page
    assert "x &lt; y" in page
    assert "1.00 &plusmn; 0.20" in page
    assert "<a&b>" not in page


# provenance --------------------------------------------------------------------------------------


def test_provenance_fits_json_and_tells_calls_apart():
    class Law:
        def describe(self):
            return {"kind": "normal", "mean": np.float64(1.5)}

    root = np.random.SeedSequence(2**100, spawn_key=(3,))
    arguments = {
        "budget": np.int64(10),
        "x": np.arange(3),
        "f": math.sin,
        "g": lambda v: v,
        "law": Law(),
        "options": [None, True, {"a": (1, 2.5)}],
        "thing": object(),
    }
    found = provenance("demo", root, arguments, data={"y": np.arange(4.0)})
    assert json.loads(json.dumps(found)) == found
    assert found["seed"] == {"entropy": 2**100, "spawn_key": [3]}
    assert found["arguments"]["budget"] == 10
    assert found["arguments"]["x"] == {"shape": [3], "sha256": digest(np.arange(3))}
    assert found["arguments"]["f"] == "math.sin"
    assert found["arguments"]["law"] == {"kind": "normal", "mean": 1.5}
    assert found["arguments"]["thing"] == "<object object>"
    assert found["versions"] == _compat.versions()
    assert found["data"] == digest({"y": np.arange(4.0)})
    assert found["time"].endswith("+00:00")
    assert provenance("demo", root, {})["data"] is None


def test_digest_sees_content_dtype_shape_and_name_but_not_layout():
    base = np.arange(6.0).reshape(2, 3)
    assert digest(base) == digest(np.asfortranarray(base)) == digest(base.astype(">f8"))
    others = [base.ravel(), base.astype(np.float32), base + 1e-15, base[::-1], {"x": base}]
    assert len({digest(other) for other in [base, *others]}) == 6
    assert digest({"a": base, "b": 1}) != digest({"a": 1, "b": base})
    assert digest(["ab", "c"]) != digest(["a", "bc"])


# files -------------------------------------------------------------------------------------------


def assert_same_plain(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same_plain(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same_plain(x, y)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, strict=True)
        if a.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(a[a == 0]), np.signbit(b[b == 0]))
    elif isinstance(a, float):
        assert a == b or (math.isnan(a) and math.isnan(b))
        assert math.copysign(1, a) == math.copysign(1, b) or math.isnan(a)
    else:
        assert a == b


def assert_same(a, b):
    for field in dataclasses.fields(Estimate):
        if field.name == "_sample":
            if b.sample is None:
                assert a.sample is None
            else:
                xarray.testing.assert_equal(a.sample, b.sample)
                assert_same_plain(a.sample.attrs, b.sample.attrs)
                for name in b.sample.variables:
                    assert a.sample[name].dtype.kind == b.sample[name].dtype.kind
                    assert a.sample[name].attrs == b.sample[name].attrs
        else:
            x, y = getattr(a, field.name), getattr(b, field.name)
            assert_same_plain(x, y)


def test_round_trip_is_exact(tmp_path):
    sample = xarray.Dataset(
        {
            "x": (("draw", "input"), np.random.default_rng(0).standard_normal((7, 2))),
            "hit": ("draw", np.array([True, False] * 3 + [True])),
            "index": ("draw", np.arange(7, dtype=np.int64) + 2**62),
            "weight": ("draw", np.array([1, np.nan, np.inf, -np.inf, -0.0, 5e-324, -np.nan])),
            "single": ("draw", np.arange(7, dtype=np.float32) / 3),
            "label": ("draw", list("abcdefg")),
            "when": ("draw", np.arange(7).astype("M8[s]").astype("M8[ns]")),
            "lag": ("draw", np.arange(7, dtype=float), {"units": "days since 2000-01-01"}),
        },
        coords={"input": ["load", "länge"]},
        attrs={"flag": True, "nested": {"a": [1, None], "array": np.arange(3)}},
    )
    diagnostics = {
        "k": np.array([0.1, -np.inf, np.nan]),
        "flags": np.array([[True], [False]]),
        "counts": np.array([2**62, -1]),
        "none": None,
        "empty": [],
        "no rows": np.empty((0, 3)),
        "deep": {"list": [1, 2.5, "ü", {"array": np.arange(3, dtype=np.uint8)}], "nan": math.nan},
        "minus zero": -0.0,
        "big": 2**127 + 1,
        "zero-dimensional": np.array(3.5),
        "long": "x" * 200_000,
    }
    est = example(
        names=["a b", "", "c/d"],
        diagnostics=diagnostics,
        columns=["k"],
        bounds=(-math.inf, 100.0),
        cautions=[Caution("heavy-tails", "k-hat is 0.9")],
        provenance={"seed": {"entropy": 2**127 + 5, "spawn_key": [2**31]}, "arguments": {"f": "g"}},
        degrees_of_freedom=[3.5, np.inf, 1],
        sample=sample,
    )
    path = tmp_path / "result.nc"
    est.save(path)
    loaded = Estimate.load(path)
    assert_same(loaded, est)
    assert loaded.sample["lag"].attrs == sample["lag"].attrs
    loaded.save(path)
    assert_same(Estimate.load(path), est)
    assert os.listdir(tmp_path) == ["result.nc"]


def test_files_of_the_first_format_are_read():
    est = Estimate.load(os.path.join(os.path.dirname(__file__), "data", "estimate_format_1.nc"))
    assert est.columns == ("k",)
    assert est.bounds == (0.0, 1.0)
    assert [caution.text for caution in est.cautions] == ["k-hat is 0.9"]
    assert set(est.diagnostics) == {"k", "warnings"}
    assert est.interval()[0][0] == 0.02 - 1.959963984540054 * 0.01
    assert est.interval(1 - 1e-9)[0][0] == 0.0


@pytest.mark.parametrize(
    "est",
    [
        Estimate(1.5, 0.25),
        Estimate(1.5, np.nan),
        Estimate(0.0, 0.0, trials=12),
        example(factor=FACTOR),
        example(value=[2.0, 0.0, 3.0], trials=[0, 10, 0], factor=FACTOR),
        example(value=[2.0, 0.0, 3.0], trials=[0, 10, 0]),
        example(sample={"x": (("chain", "draw"), np.ones((2, 3)))}),
    ],
)
def test_every_kind_of_estimate_survives_the_disk(est, tmp_path):
    est.save(tmp_path / "a.nc")
    assert_same(Estimate.load(str(tmp_path / "a.nc")), est)


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**130), 2**130)
    | st.floats()
    | st.text(max_size=20)
    | hnp.arrays(
        st.sampled_from([np.bool_, np.int64, np.int8, np.uint64, np.float32, np.float64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(st.text(max_size=8).map("x".__add__), plain_values, max_size=4))
def test_any_diagnostics_survive_the_disk(tmp_path, diagnostics):
    est = example(diagnostics=diagnostics)
    est.save(tmp_path / "a.nc")
    assert_same(Estimate.load(tmp_path / "a.nc"), est)


def test_files_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.nc"):
        Estimate.load(tmp_path / "absent.nc")
    (tmp_path / "text.nc").write_text("hello")
    (tmp_path / "empty.nc").touch()
    foreign = xarray.Dataset({"value": ("component", [1.0])})
    foreign.to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    for name in ("text.nc", "empty.nc", "foreign.nc"):
        with pytest.raises(ValueError, match=rf"{name}: not a whole file that Estimate\.save"):
            Estimate.load(tmp_path / name)


def test_no_damage_goes_unseen(tmp_path):
    path, damaged = tmp_path / "good.nc", tmp_path / "damaged.nc"
    example(sample={"x": ("i", np.arange(200.0))}).save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(4)
    for length in rng.integers(0, len(content), 20):
        damaged.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"damaged\.nc: not a whole file"):
            Estimate.load(damaged)
    for position in rng.integers(0, len(content), 100):
        wrong = bytearray(content)
        wrong[position] ^= 1 << rng.integers(8)
        damaged.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"damaged\.nc"):
            Estimate.load(damaged)
        assert damaged.read_bytes() == wrong


def test_other_programs_read_the_file(tmp_path):
    path = tmp_path / "a.nc"
    example(sample={"x": ("i", np.arange(3.0))}).save(path)
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert float(data.standard_error.sel(component="mean")) == pytest.approx(0.2)
    import h5py

    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["sample/x"], [0, 1, 2])


def test_a_failed_save_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    example().save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        example(value=VALUE + 1).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.nc"]


def test_saving_through_a_symbolic_link_replaces_its_target(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.nc"
    link.symlink_to(tmp_path / "real" / "a.nc")
    example().save(link)
    assert link.is_symlink()
    assert_same(Estimate.load(tmp_path / "real" / "a.nc"), example())


WRITER = """
import os
import sys
import numpy as np
from smcweights.estimate import Estimate
sample = {"x": (("i",), np.arange(200_000.0))}
Estimate(0.0, 1.0, sample=sample).save(sys.argv[1])
for _ in sys.stdin:
    # a process of its own for every kill, all imports done
    if pid := os.fork():
        os.waitpid(pid, 0)
        print("ended", flush=True)
        continue
    print(os.getpid(), flush=True)
    number = 0
    while True:
        number += 1
        Estimate(float(number), 1.0, sample=sample).save(sys.argv[1])
"""


@pytest.mark.slow
def test_killed_20_times_while_writing_the_file_is_always_whole(tmp_path):
    path = tmp_path / "a.nc"
    rng = np.random.default_rng(5)
    interrupted = 0
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(20):
        writer.stdin.write("again\n")
        writer.stdin.flush()
        pid = int(writer.stdout.readline())
        time.sleep(rng.uniform(0.0, 0.1))
        os.kill(pid, signal.SIGKILL)
        assert writer.stdout.readline() == "ended\n"
        loaded = Estimate.load(path)
        assert loaded.sample.sizes["i"] == 200_000
        litter = [name for name in os.listdir(tmp_path) if name != "a.nc"]
        interrupted += bool(litter)
        for name in litter:
            os.unlink(tmp_path / name)
    writer.communicate()
    # most of a round is writing: without an interrupted write the test would have seen nothing
    assert interrupted >= 3


def test_rounding_of_terms_that_cancel_is_no_curvature():
    """a + b - c is straight: second differences of 1e-16 beside an error of 1e-15 are rounding."""
    est = Estimate([0.3, 0.4, 0.7], np.eye(3) * 1e-32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        derived = est.apply(lambda m: np.array([m[0] + m[1] - m[2], (m[0] + m[1] - m[2]) / m[2]]))
    assert "warnings" not in derived.diagnostics
