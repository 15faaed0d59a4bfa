"""Maps to standard normals against SciPy, far into both tails."""

import numpy as np
import pytest
from scipy import special, stats

from smcweights.importance.laws import as_law
from smcweights.importance.marginals import Truncated

from .cases import UNIVARIATE


def old_style(distribution):
    return as_law(distribution).marginals[0]


@pytest.mark.parametrize("name", UNIVARIATE)
def test_map_is_the_quantile_function_of_the_nearer_tail(name):
    law, f = as_law(UNIVARIATE[name]), old_style(UNIVARIATE[name])
    u = np.linspace(-8.0, 8.0, 161)
    x = law.to_inputs(u[:, None])[:, 0]
    expected = np.where(u < 0, f.ppf(special.ndtr(u)), f.isf(special.ndtr(-u)))
    # scipy's triang has no inverse survival function of its own and loses digits near the end
    rtol = 1e-8 if "triang" in name else 1e-12
    np.testing.assert_allclose(x, expected, rtol=rtol, atol=1e-13)
    assert (np.diff(x) >= 0).all()


@pytest.mark.parametrize("name", UNIVARIATE)
def test_map_returns_and_the_density_is_scipys(name):
    law, f = as_law(UNIVARIATE[name]), old_style(UNIVARIATE[name])
    u = np.linspace(-4.0, 4.0, 81)[:, None]
    x = law.to_inputs(u)
    # near a finite end of the support the digits of x hold fewer digits of u
    np.testing.assert_allclose(law.from_inputs(x), u, rtol=0, atol=2e-9)
    np.testing.assert_allclose(law.log_density(x), f.logpdf(x[:, 0]), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", UNIVARIATE)
def test_far_tails_are_finite_or_the_end_of_the_support(name):
    law = as_law(UNIVARIATE[name])
    u = np.array([[-38.0], [-30.0], [-12.0], [12.0], [30.0], [38.0]])
    x = law.to_inputs(u)[:, 0]
    lower, upper = law._maps[0].support
    assert (np.isfinite(x) | (x == lower) | (x == upper)).all()
    assert (np.diff(x) >= 0).all() and (x >= lower).all() and (x <= upper).all()
    assert np.isfinite(law.from_inputs(x[:, None])).all()


@pytest.mark.parametrize(
    ("name", "point"),
    [
        # each the inverse in mathematical closed form, of p = Phi(-30) = 4.9e-198
        ("expon", lambda log_p: (1.0 + 2.0 * np.exp(log_p), 1.0 - 2.0 * log_p)),
        ("gumbel_r", lambda log_p: (1013.0 - 558.0 * np.log(-log_p), 1013.0 - 558.0 * log_p)),
        ("weibull", lambda log_p: (np.exp(log_p / 1.7), (-log_p) ** (1 / 1.7))),
        ("norm", lambda log_p: (3.0 - 60.0, 3.0 + 60.0)),
    ],
)
def test_both_tails_keep_their_digits_at_30_standard_deviations(name, point):
    law = as_law(UNIVARIATE[name])
    x = law.to_inputs([[-30.0], [30.0]])[:, 0]
    np.testing.assert_allclose(x, point(special.log_ndtr(-30.0)), rtol=1e-12)


def test_outside_of_the_support_the_density_is_zero_and_the_map_refuses():
    law = as_law(
        {
            "a": stats.uniform(0.0, 1.0),
            "b": stats.lognorm(1.0),
            "c": stats.expon(),
            "d": stats.triang(0.5),
            "e": Truncated(stats.norm(), -1.0, 1.0),
        }
    )
    inside = np.full(5, 0.4)
    for i, far in enumerate([1.5, -1.0, -1.0, 1.1, 1.2]):
        x = inside.copy()
        x[i] = far
        assert law.log_density([inside, x])[1] == -np.inf
        with pytest.raises(ValueError, match=rf"input '{law.names[i]}' is .* at row 1, outside"):
            law.from_inputs([inside, x])
    infinite = law.log_density([np.full(5, np.inf), np.full(5, -np.inf)])
    assert (infinite == -np.inf).all()
