"""Ready functionals add up what they say, and name it."""

import numpy as np
import pytest

import smcweights as smw
from smcweights.statespace.compilation import compiled_functional

from .test_filtering import PLANE

X = np.array([[1.0, -2.0], [3.0, 5.0], [-4.0, 0.5]])
SUMS = {
    "sum_of_states": [0.0, 3.5],
    "sum_of_squares": [26.0, 29.25],
    "sum_of_products": [-9.0, -7.5],
    "states": [1.0, -2.0, 3.0, 5.0, -4.0, 0.5],
}


@pytest.mark.parametrize("name", SUMS)
def test_a_path_is_added_up(name):
    functional = getattr(smw.functionals, name)
    add_first, add, size, scalar, _ = compiled_functional(PLANE, functional, None, len(X))
    y, out = np.zeros((3, 1)), np.zeros((1, size))
    add_first(X[:1], 0, y, 0, PLANE.theta.copy(), out, 0)
    for t in (1, 2):
        add(X[t - 1 : t], 0, X[t : t + 1], 0, y, t, t, PLANE.theta.copy(), out, 0)
    assert out[0].tolist() == SUMS[name] and not scalar


def test_sums_are_named_by_time_and_component():
    names = smw.functionals.states.names
    assert names(3, 1) == ["x[0]", "x[1]", "x[2]"]
    assert names(2, 2) == ["x[0, 0]", "x[0, 1]", "x[1, 0]", "x[1, 1]"]
    assert names(1, 1) == ["x[0]"] and smw.functionals.sum_of_states.names(1, 1) == ["sum of x"]
    assert smw.functionals.sum_of_squares.names(9, 2) == ["sum of x^2 [0]", "sum of x^2 [1]"]
