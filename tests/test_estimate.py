import copy
import dataclasses
import math
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import xarray
from estimates import COVARIANCE, FACTOR, NAMES, VALUE, example
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smcweights import _compat
from smcweights.cautions import Caution
from smcweights.estimate import Estimate
from smcweights.parts import LEVELS


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
        "  no hit: from 0 to -log(1 - 0.95)/n, which is 3/n (the rule of three), for n = 1,000 "
        "trials",
        "  warning: k-hat is 0.9",
    ]


def test_html_is_escaped():
    est = Estimate(1.0, 0.04, names="<a&b>", cautions=[Caution("order", "x < y")])
    page = est._repr_html_()
    assert "&lt;a&amp;b&gt;" in page
    assert "x &lt; y" in page
    assert "1.00 &plusmn; 0.20" in page
    assert "<a&b>" not in page


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


def test_files_of_the_second_format_are_read():
    est = Estimate.load(os.path.join(os.path.dirname(__file__), "data", "estimate_format_2.nc"))
    sample = xarray.Dataset({"x": ("draw", [1.0, np.nan])}, attrs={"n": [1, None]})
    sample.x.attrs = {"flag": True, "units": "m"}
    diagnostics = {
        "k": np.array([0.1, np.nan]),
        "flags": np.array([True, False]),
        "deep": {"a": [1, {"b": np.arange(2)}]},
    }
    same = Estimate(
        [0.0, 2.0],
        factor=[[0.0], [0.5]],
        names=["a", "ü"],
        method="demo",
        trials=[12, 0],
        degrees_of_freedom=[3, np.inf],
        diagnostics=diagnostics,
        columns=["k"],
        bounds=(0, 9),
        cautions=[Caution("heavy-tails", "k-hat is 0.9")],
        cost={"evaluations": 7},
        provenance={"seed": {"entropy": 2**100}},
        sample=sample,
    )
    assert_same(est, same)
    assert est.sample.x.attrs == sample.x.attrs


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


@pytest.mark.slow
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(st.text(max_size=8).map("x".__add__), plain_values, max_size=12))
def test_any_diagnostics_survive_the_disk(tmp_path, diagnostics):
    est = example(diagnostics=diagnostics)
    est.save(tmp_path / "a.nc")
    assert_same(Estimate.load(tmp_path / "a.nc"), est)


def test_bounds_of_each_component_follow_it(tmp_path):
    est = Estimate([0.9, 5.0], np.diag([1.0, 1.0]), bounds=([0, -np.inf], [1, np.inf]))
    est.save(tmp_path / "e.nc")
    for one in (est, Estimate.load(tmp_path / "e.nc")):
        lower, upper = one.interval()
        assert lower[0] == 0 and upper[0] == 1 and lower[1] < 4 and upper[1] > 6
        assert one[0].interval()[1] == 1 and one[[1]].interval()[1] > 6
    with pytest.raises(TypeError, match="bounds: got"):
        Estimate([0.9, 5.0], np.eye(2), bounds=([0, 0, 0], [1, 1, 1]))


def test_limits_are_the_intervals_and_follow_their_components(tmp_path):
    z = scipy.stats.norm.isf(0.5 - np.array(LEVELS) / 2)
    ends = np.exp(z[:, None, None] * [-1, 1]) * [[2.0], [np.inf]]
    ends[:, 1, 0] = 5 - z
    est = Estimate(
        [2.0, np.nan], [[1.0, np.nan], [np.nan, np.nan]], limits=ends, bounds=(0.0, np.inf)
    )
    est.save(tmp_path / "e.nc")
    for one in (est, Estimate.load(tmp_path / "e.nc"), est.revised(names=["a", "b"])):
        for k, level in enumerate(LEVELS):
            assert np.array_equal(one.interval(level), ends[k].T)
        lower, upper = one.interval(0.97)
        exact = np.exp(scipy.stats.norm.ppf(0.985)) * 2
        assert abs(upper[0] / exact - 1) < 0.05 and upper[1] == np.inf
        assert ends[4, 1, 0] < lower[1] < ends[3, 1, 0]
        assert (
            one.interval(0.2)[1][0] < ends[0, 0, 1] and one.interval(0.9999)[1][0] > ends[5, 0, 1]
        )
        assert one[0].interval()[1] == ends[3, 0, 1] and one[[1]].interval()[1] == np.inf
    assert est.apply(lambda v: v[:1]).limits is None
    assert est.revised(covariance=4 * est.covariance).limits is None


@pytest.mark.parametrize("method", ["a\0b", "\ud800", "a" * 2_000])
def test_a_method_that_no_file_can_hold_is_refused(method):
    with pytest.raises(ValueError, match=r"method: .*(no file can hold|expected at most 1,000)"):
        Estimate(1.0, 1.0, method=method)
