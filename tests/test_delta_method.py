"""Functions of estimates: exact for lines, honest about bends."""

import math
import warnings

import numpy as np
import pytest
from estimates import COVARIANCE, FACTOR, VALUE, coverage_bounds, example

from smcweights.cautions import Caution
from smcweights.delta_method import Blockwise, linearised
from smcweights.errors import ModelError, PrecisionWarning
from smcweights.estimate import Estimate


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


@pytest.mark.slow
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


def test_rounding_of_terms_that_cancel_is_no_curvature():
    """a + b - c is straight: second differences of 1e-16 beside an error of 1e-15 are rounding."""
    est = Estimate([0.3, 0.4, 0.7], np.eye(3) * 1e-32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        derived = est.apply(lambda m: np.array([m[0] + m[1] - m[2], (m[0] + m[1] - m[2]) / m[2]]))
    assert "warnings" not in derived.diagnostics


def test_wrong_names_are_refused_before_the_function_is_called():
    called = []
    with pytest.raises(TypeError, match="names: got 7"):
        example().apply(lambda v: called.append(v), names=[7])
    assert not called


def test_what_is_undefined_stays_so_and_takes_nothing_with_it():
    """(NaN, 2, 3) with errors (none, 0.1, 0.2): functions of the others keep their errors."""
    est = Estimate([np.nan, 2.0, 3.0], [[np.nan] * 3, [np.nan, 0.01, 0.0], [np.nan, 0.0, 0.04]])
    for f in (lambda v: np.array([v[0] + v[1], v[1] * v[2]]), [[1, 1, 0], [0, 3, 2]]):
        moved = est.apply(f)
        assert np.isnan(moved.value[0]) and np.isnan(moved.standard_error[0])
        np.testing.assert_allclose(moved.standard_error[1] ** 2, 9 * 0.01 + 4 * 0.04)
    with pytest.raises(ModelError, match="not finite"):
        est.apply(lambda v: np.array([1.0, np.inf]))
    with pytest.raises(ValueError, match=r"value: nan at index \[0\]; expected finite"):
        Estimate([np.nan, 1.0], np.eye(2))


def test_blocks_that_are_moved_at_once_give_the_same_line():
    """Of v0 v1, log v1 and sqrt(v0 - 1), which ends near the value in one of three blocks."""
    value, error = (
        np.array([2.0, 3.0, 1.001, 0.5, 4.0, 1.0]),
        np.array([0.1, 0.2, 0.5, 0.1, 0, 0.3]),
    )

    def f(v):
        with np.errstate(invalid="ignore"):
            a, b = v.reshape(3, 2).T
            return np.concatenate([a * b, np.log(b), np.sqrt(a - 1)])

    owner = np.tile(np.arange(3), 3)
    for one, other in zip(
        linearised(f, value, error), linearised(Blockwise(f, owner, 3), value, error), strict=True
    ):
        np.testing.assert_array_equal(one, other)
