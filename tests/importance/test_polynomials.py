"""Polynomials are orthonormal under their law."""

import warnings

import numpy as np
import pytest
from scipy import integrate, stats

from smcweights.importance.laws import as_law
from smcweights.importance.polynomials import multi_indices, polynomial_basis


def test_multi_indices_are_different_and_by_degree():
    exponents, sizes = multi_indices(3, 120)
    assert len({tuple(e) for e in exponents}) == len(exponents) == sizes[-1] <= 120
    assert (exponents.sum(1) > 0).all()
    assert (exponents[: sizes[0]].sum(1) == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("marginal", "lower", "upper"),
    [
        (stats.uniform(-2, 5), -2, 3),
        (stats.beta(2, 5), 0, 1),
        pytest.param(stats.beta(0.5, 0.7, -1, 2), -1, 1, marks=pytest.mark.slow),
        (stats.triang(0.3, 1, 4), 1, 5),
        (stats.norm(3, 2), -25, 31),
        (stats.truncnorm(-1, 3), -1, 3),
    ],
    ids=["uniform", "beta", "arcsine-like", "triangular", "normal", "truncated normal"],
)
def test_polynomials_are_orthonormal_with_mean_zero(marginal, lower, upper):
    """By adaptive quadrature over the input itself."""
    law = as_law([marginal])
    basis = polynomial_basis(law, 6)

    def value(x, a, b):
        row = basis(law.from_inputs([[x]]), np.array([[x]]))[0]
        row = np.append(row, 1.0)
        return row[a] * row[b] * marginal.pdf(x)

    inner = np.quantile([lower, upper], [0.3, 0.5])  # the kink of the triangle
    # the last column is the constant: rows against it are means
    means = [(a, 6, 0, 1e-8) for a in (0, 3, 5)]
    for a, b, expected, accuracy in [*means, (2, 2, 1, 1e-6), (5, 5, 1, 1e-6), (1, 4, 0, 1e-6)]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", integrate.IntegrationWarning)  # poles at the ends
            found = integrate.quad(
                value, lower, upper, (a, b), points=inner, limit=400, epsabs=1e-11, epsrel=1e-11
            )
        assert abs(found[0] - expected) < accuracy + 10 * found[1]
