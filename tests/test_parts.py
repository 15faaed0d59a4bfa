"""Parts of an estimate that don't fit are refused: which, where, and what was expected."""

import numpy as np
import pytest
from estimates import COVARIANCE, FACTOR, example

from smcweights.estimate import Estimate


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"value": [[1.0]]}, ValueError, r"value: got shape \(1, 1\)"),
        ({"value": []}, ValueError, r"value: got shape \(0,\)"),
        ({"value": [1.0, np.nan, 2.0]}, ValueError, r"value: nan at index \[1\]"),
        ({"value": ["a"]}, TypeError, "value: got texts"),
        ({"value": [True, False, True]}, TypeError, "value: got bools"),
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
        ({"diagnostics": {"warnings": ["one"]}}, TypeError, "got 'one'; expected it as one of"),
        ({"columns": ["k"]}, ValueError, "columns: got 'k'; expected names of diagnostics"),
        ({"columns": ["k"], "diagnostics": {"k": [1, 2]}}, ValueError, r"expected \(3,\)"),
        ({"columns": "k", "diagnostics": {"k": [1, 2, 3]}}, TypeError, "columns: got 'k'"),
        ({"bounds": (1.0, 0.85)}, TypeError, "bounds: got"),
        ({"limits": np.zeros((6, 2))}, ValueError, r"limits: got shape .*\(6, 3, 2\)"),
        ({"limits": np.full((6, 3, 2), np.nan)}, ValueError, "limits: got NaN"),
        ({"limits": np.tile([1.0, 0.0], (6, 3, 1))}, ValueError, "lower end above"),
        (
            {"limits": np.arange(6)[::-1, None, None] * np.tile([-1.0, 1.0], (3, 1))},
            ValueError,
            "within that of the next",
        ),
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


def test_rounding_errors_of_a_singular_covariance_are_forgiven():
    draws = np.random.default_rng(0).standard_normal((20, 5)) @ np.ones((5, 40))
    scale = 10.0 ** np.arange(-10, 10, 0.5)
    covariance = np.cov(draws * scale, rowvar=False)
    est = Estimate(np.zeros(40), covariance)
    np.testing.assert_allclose(est.standard_error, np.sqrt(np.diag(covariance)))
