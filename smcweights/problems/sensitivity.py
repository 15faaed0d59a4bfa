"""The two functions of every sensitivity analysis, with their Sobol' indices in closed form."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from ..arguments import finite
from .problem import Array, Problem, exceedances

ISHIGAMI_LEVELS = (10.0, 14.0)


def ishigami_function(x: Array) -> Array:
    """Ishigami's sin x1 + 7 sin^2 x2 + 0.1 x3^4 sin x1, shape (n, 3) -> (n,)."""
    x1, x2, x3 = np.asarray(x).T
    return np.sin(x1) * (1 + 0.1 * x3**4) + 7 * np.sin(x2) ** 2


def ishigami_integrand(x: Array) -> Array:
    """The output, its square, and whether it exceeds 10 and 14."""
    y = ishigami_function(x)
    return np.stack([y, y**2, *exceedances(y, ISHIGAMI_LEVELS)], axis=1)


def ishigami() -> Problem:
    """The Ishigami function: three inputs uniform on [-pi, pi], an interaction, a null main effect.

    y = sin x1 + a sin^2 x2 + b x3^4 sin x1 with a = 7, b = 0.1.

    Returns
    -------
    Problem
        Expectations: mean and second moment (closed form), the probabilities that y exceeds 10
        (3.8e-2) and 14 (6e-3), by quadrature, 12 digits. The truth also has variance and Sobol'
        indices "first", "total" and "second" (pairs 12, 13, 23), in closed form.

    References
    ----------
    Ishigami, T. and Homma, T. (1990). An importance quantification technique in uncertainty
    analysis for computer models. Proc. ISUMA '90.

    Examples
    --------
    >>> [round(s, 4) for s in ishigami().truth["first"]]
    [0.3139, 0.4424, 0.0]
    """
    from scipy import stats

    a, b = 7.0, 0.1
    v1 = (1 + b * math.pi**4 / 5) ** 2 / 2
    v2 = a**2 / 8
    v13 = b**2 * math.pi**8 * (1 / 18 - 1 / 50)
    variance = v1 + v2 + v13
    names = ("mean", "second moment", "P(y > 10)", "P(y > 14)")
    moments = {"mean": a / 2, "second moment": variance + (a / 2) ** 2}
    tails = {"P(y > 10)": 0.0380034845538, "P(y > 14)": 0.00595378163207}
    indices: dict[str, float | tuple[float, ...]] = {
        "variance": variance,
        "first": (v1 / variance, v2 / variance, 0.0),
        "total": ((v1 + v13) / variance, v2 / variance, v13 / variance),
        "second": (0.0, v13 / variance, 0.0),
    }
    return Problem(
        name="ishigami",
        function=ishigami_function,
        law=[stats.uniform(-math.pi, 2 * math.pi)] * 3,
        integrand=ishigami_integrand,
        names=names,
        truth={**moments, **tails, **indices},
        accuracy="closed form; the two tail probabilities by quadrature, 12 digits",
        source="Ishigami and Homma (1990)",
    )


def g_product(x: Array, a: tuple[float, ...]) -> Array:
    """Product of (|4 x_i - 2| + a_i) / (1 + a_i), shape (n, d) -> (n,)."""
    weights = np.asarray(a)
    return ((np.abs(4 * np.asarray(x) - 2) + weights) / (1 + weights)).prod(axis=1)


def g_integrand(x: Array, a: tuple[float, ...]) -> Array:
    """First four powers of the output."""
    y = g_product(x, a)
    return np.stack([y, y**2, y**3, y**4], axis=1)


def g_function(a: Sequence[float] = (0.0, 1.0, 4.5, 9.0, 99.0, 99.0, 99.0, 99.0)) -> Problem:
    """Sobol's g-function: a product, with kinks, of inputs uniform on [0, 1].

    y = prod_i (|4 x_i - 2| + a_i) / (1 + a_i): an input with small a_i matters much.

    Parameters
    ----------
    a : sequence of float, default (0, 1, 4.5, 9, 99, 99, 99, 99)
        One number >= 0 per input.

    Returns
    -------
    Problem
        Expectations: the first four moments. The truth also has variance and Sobol' indices
        "first" and "total". All in closed form.

    Raises
    ------
    ValueError
        No number at all, or one that is negative or not finite.

    References
    ----------
    Saltelli, A. and Sobol', I. M. (1995). About the use of rank transformation in sensitivity
    analysis of model output. Reliability Engineering and System Safety 50.

    Examples
    --------
    >>> g_function([0.0, 1.0]).truth["mean"]
    1.0
    """
    from scipy import stats

    given = finite("a", a)
    if given.ndim != 1 or not given.size or (given < 0).any():
        raise ValueError(f"a: got {given.tolist()}; expected finite numbers >= 0, one per input")
    a = tuple(given.tolist())
    weights = np.array(a)
    partial_variances = 1 / (3 * (1 + weights) ** 2)
    variance = float(np.prod(1 + partial_variances) - 1)
    total = partial_variances * (1 + variance) / (1 + partial_variances) / variance
    # |4 x - 2| is uniform on [0, 2]
    moments = {
        name: float(
            np.prod(
                ((2 + weights) ** (k + 1) - weights ** (k + 1)) / (2 * (k + 1) * (1 + weights) ** k)
            )
        )
        for k, name in enumerate(("mean", "second moment", "third moment", "fourth moment"), 1)
    }
    indices: dict[str, float | tuple[float, ...]] = {
        "variance": variance,
        "first": tuple((partial_variances / variance).tolist()),
        "total": tuple(total.tolist()),
    }
    return Problem(
        name="g_function",
        function=functools.partial(g_product, a=a),
        law=[stats.uniform()] * len(a),
        integrand=functools.partial(g_integrand, a=a),
        names=tuple(moments),
        truth={**moments, **indices},
        accuracy="closed form",
        source="Saltelli and Sobol' (1995)",
    )
