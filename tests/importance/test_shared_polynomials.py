"""Polynomials of many outputs: each as it would be by itself, and their errors as small."""

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights.importance import shared_polynomials, sparse_polynomials
from smcweights.importance.laws import as_law
from smcweights.importance.pairs import PickFreeze

from .cases import quiet

COUNT = 12
AT = np.linspace(0, 1, COUNT)
NORMAL = [stats.norm()] * 4


def series(x):
    """exp(t x1 / 2) + (1 - t) x2 x3 + x4^2 t / 2, and one output that stays 1."""
    rest = (1 - AT) * x[:, [1]] * x[:, [2]] + AT * x[:, [3]] ** 2 / 2
    return np.column_stack([np.exp(AT * x[:, [0]] / 2) + rest, np.ones(len(x))])


def exact():
    """First and total indices of the outputs that vary, (COUNT, 4) each."""
    s2 = AT**2 / 4
    alone = np.stack([np.exp(s2) * (np.exp(s2) - 1), 0 * AT, 0 * AT, AT**2 / 2], axis=1)
    both = (1 - AT) ** 2
    whole = alone + both[:, None] * [0, 1, 1, 0]
    variance = alone.sum(1) + both
    return alone / variance[:, None], whole / variance[:, None]


@pytest.mark.parametrize("order", [("first",), ("first", "second")], ids=["first", "second"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_corrections_of_all_outputs_are_those_of_each(order, weighted):
    law = as_law([stats.norm(), stats.uniform(), stats.triang(0.3)])
    basis = sparse_polynomials.product_basis(law)
    plan, rng = PickFreeze(("a", "b", "c"), np.eye(3, dtype=bool), order), np.random.default_rng(8)
    exponents = np.array([[1, 0, 0], [0, 2, 0], [1, 1, 0], [0, 1, 2], [1, 1, 1]])
    c = rng.standard_normal((3, 5))
    c[1, 2:] = 0.0
    found = shared_polynomials.SharedPolynomials(exponents, rng.random(3), c, np.ones(3))
    a, b = rng.standard_normal((2, 40, 3))
    tables = [basis.tables(u, law.to_inputs(u)) for u in (a, b)]
    y = rng.standard_normal((plan.calls, 2, 20, 3))
    weigh = None
    if weighted:
        weigh = sparse_polynomials.Weigh(np.exp, *rng.standard_normal((2, 40, 3)) / 4)
    together = found.corrected(plan, *tables, y, weigh)
    for k, one in enumerate(found.each):
        assert len(one.coefficient) == (2 if k == 1 else 5)
        alone = one.corrected(plan, *tables, y[..., k], weigh)
        np.testing.assert_allclose(together[:, k], alone, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found(tables[0])[k], one(tables[0]), rtol=1e-12)
    some = found.of(np.array([1]))
    assert len(some.exponents) == 2 and found.useful.tolist() == [0, 1, 2]


def test_indices_of_a_series_are_right_and_an_output_that_stays_costs_the_others_nothing():
    """z under 5.5 with 15 degrees of freedom, 84 of them: a false alarm in 200."""
    with pytest.warns(smw.PrecisionWarning, match="constant-output"):
        found = smw.sobol_indices(series, NORMAL, 1_600, seed=3)
    for part, truth in zip((found.first, found.total), exact(), strict=True):
        value = part.value.reshape(COUNT + 1, 4)
        error = part.standard_error.reshape(COUNT + 1, 4)[:-1]
        assert np.isnan(value[-1]).all()
        assert (np.abs(value[:-1] - truth) < 5.5 * error + 1e-9).all()
        # one output after the other, with 1,600 calls each, is no better
        assert np.median(error) < 2e-3
    explains = np.array(found.indices.diagnostics["polynomial_explains"])
    assert (explains[:-1] > 0.99).all()


def test_outputs_that_are_not_alike_do_not_share():
    x = np.random.default_rng(4).standard_normal((500, 12))
    assert shared_polynomials.alike(series(x[:, :4]))
    assert not shared_polynomials.alike(x) and not shared_polynomials.alike(x[:, :1] + x[:, :5] / 9)
    assert shared_polynomials.alike(x[:, :1] + x / 20)


def test_a_basis_is_turned_to_what_outputs_share_and_stays_orthonormal():
    rng = np.random.default_rng(2)
    effects = np.outer(rng.standard_normal(9), [0, 1.0, 0, 0, 0.5] + [0.0] * 15)
    effects += np.outer(rng.standard_normal(9), [0, 0, 1.0, 0, 0] + [0.0] * 14 + [0.3])
    turn = shared_polynomials._towards(effects, np.eye(13, 20))
    np.testing.assert_allclose(turn @ turn.T, np.eye(13), atol=1e-12)
    assert turn[0].tolist() == [1.0] + [0.0] * 19
    # both directions are in the span of the first two functions after the constant
    inside = effects @ turn[1:3].T
    np.testing.assert_allclose(inside @ turn[1:3], effects, atol=1e-10)


@pytest.mark.slow
def test_intervals_of_shared_polynomials_cover_25_runs():
    """Ishigami's function with 12 sizes of its second effect; 25 x 72 intervals that go together,
    more than 90 % of them.
    """
    a, b, law = 7 * (AT + 0.2), 0.1, [stats.uniform(-np.pi, 2 * np.pi)] * 3
    own = [0.5 * (1 + b * np.pi**4 / 5) ** 2 + 0 * a, a**2 / 8, 0 * a]
    first, common = np.stack(own, axis=1), 8 * b**2 * np.pi**8 / 225
    total = first + common * np.array([1, 0, 1])
    variance = (first.sum(1) + common)[:, None]

    def model(x):
        fixed = np.sin(x[:, 0]) * (1 + b * x[:, 2] ** 4)
        return fixed[:, None] + a * np.sin(x[:, [1]]) ** 2

    inside = []
    for seed in range(25):
        found = quiet(smw.sobol_indices, model, law, 600, seed=seed)
        for part, truth in ((found.first, first / variance), (found.total, total / variance)):
            lower, upper = (end.reshape(COUNT, 3) for end in part.interval())
            inside.append((lower - 1e-9 <= truth) & (truth <= upper + 1e-9))
    assert np.mean(inside) > 0.9
