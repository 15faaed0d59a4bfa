"""What indices ask of the model: groups, outputs, orders."""

import numpy as np
import pytest

import smcweights as smw
from smcweights import problems

from .cases import UNIT


def linear(x):
    return x @ np.arange(1.0, x.shape[1] + 1)


@pytest.mark.slow
def test_groups_have_the_closed_and_total_indices_of_their_inputs():
    problem = problems.ishigami()
    found = smw.sobol_indices(
        problem.function, problem.law, 2_048, groups={"g": ["X1", "X3"], "h": ["X2"]}, seed=1
    )
    second = problem.truth["first"][1]
    np.testing.assert_allclose(found.first.value, [1 - second, second], atol=1e-4)
    np.testing.assert_allclose(found.total.value, [1 - second, second], atol=1e-4)
    salib = {
        "num_vars": 3,
        "names": ["a", "b", "c"],
        "bounds": [[-np.pi, np.pi]] * 3,
        "groups": ["g", "h", "g"],
    }
    again = smw.sobol_indices(problem.function, salib, 2_048, seed=1)
    assert again.inputs == ("g", "h")
    np.testing.assert_array_equal(again.first.value, found.first.value)


def test_several_outputs_have_indices_each():
    def model(x):
        return np.stack([linear(x), x[:, 0] * x[:, 1]], axis=1)

    found = smw.sobol_indices(model, UNIT, 2_000, names=["sum", "product"], seed=2)
    alone = smw.sobol_indices(linear, UNIT, 2_000, seed=2)
    assert found.first.names[:2] == ("sum: X1", "sum: X2")
    np.testing.assert_allclose(found.first.value[:3], alone.first.value, rtol=1e-9)
    # x1 x2 on the square: V = 7/144, S1 = S2 = 3/7, T1 = T2 = 4/7
    np.testing.assert_allclose(found.first.value[3:], [3 / 7, 3 / 7, 0], atol=1e-6)
    np.testing.assert_allclose(found.total.value[3:], [4 / 7, 4 / 7, 0], atol=1e-6)
    assert set(found.to_df()) == {"sum", "product"}
    assert found.indices.names[3] == "product: first X1"
