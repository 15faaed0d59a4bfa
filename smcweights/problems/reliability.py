"""Structures that may fail: a beam, a series system, and a linear limit state."""

from __future__ import annotations

import functools
import math

import numpy as np

from ..arguments import count, number
from .problem import Array, Problem, exceedances

BEAM_LIMITS = (0.22, 0.25, 0.30)


def beam_displacement(x: Array) -> Array:
    """Displacement of the beam's free end, in metres: F L^3 / (3 E I), shape (n, 4) -> (n,)."""
    modulus, force, length, inertia = np.asarray(x).T
    return force * length**3 / (3 * modulus * inertia)


def beam_integrand(x: Array) -> Array:
    """Displacement, its square, and whether it exceeds 0.22, 0.25 and 0.30 metres."""
    y = beam_displacement(x)
    return np.stack([y, y**2, *exceedances(y, BEAM_LIMITS)], axis=1)


def cantilever_beam() -> Problem:
    """A diving board under a load: bounded, skewed and correlated inputs.

    Displacement F L^3 / (3 E I) of the free end of a beam, with Young's modulus E ~ Beta(0.9, 3.5)
    on [65e9, 75e9] Pa, force F lognormal with mean 300 and standard deviation 30 N, length
    L ~ Uniform(2.5, 2.6) m and moment of inertia I ~ Beta(2.5, 4) on [1.3e-7, 1.7e-7] m4. L and I
    are joined by a Gaussian copula with Spearman correlation -0.2.

    Returns
    -------
    Problem
        Expectations: mean displacement, its second moment, and the probabilities that it exceeds
        0.22 (1.5e-2), 0.25 (5e-4) and 0.30 m (4.7e-7). All by quadrature, 10 digits; the last is
        the failure probability.

    References
    ----------
    Baudin, M., Dutfoy, A., Iooss, B. and Popelin, A.-L. (2017). OpenTURNS: an industrial software
    for uncertainty quantification in simulation. Handbook of Uncertainty Quantification, Springer;
    and the use case "cantilever beam" of the OpenTURNS documentation.

    Examples
    --------
    >>> problem = cantilever_beam()
    >>> problem.function([[67e9, 300.0, 2.55, 1.45e-7]]).round(4).tolist()
    [0.1707]
    """
    from scipy import stats

    from ..importance.laws import GaussianCopula

    log_variance = math.log1p(0.1**2)
    marginals = {
        "E": stats.beta(0.9, 3.5, 65e9, 10e9),
        "F": stats.lognorm(math.sqrt(log_variance), scale=300.0 * math.exp(-log_variance / 2)),
        "L": stats.uniform(2.5, 0.1),
        "I": stats.beta(2.5, 4.0, 1.3e-7, 0.4e-7),
    }
    correlation = np.eye(4)
    # of the normals, from the rank correlation -0.2
    correlation[2, 3] = correlation[3, 2] = 2 * math.sin(-0.2 * math.pi / 6)
    truth = {
        "mean": 0.1707478790799,
        "second moment": 0.0295877456653,
        "P(displacement > 0.22)": 1.505200986751e-02,
        "P(displacement > 0.25)": 5.260811475168e-04,
        "P(displacement > 0.30)": 4.65778466921e-07,
    }
    return Problem(
        name="cantilever_beam",
        function=beam_displacement,
        law=GaussianCopula(marginals, correlation),
        integrand=beam_integrand,
        names=tuple(truth),
        truth=truth | {"failure_probability": truth["P(displacement > 0.30)"]},
        accuracy="deterministic quadrature, 10 digits",
        source="the cantilever beam of the OpenTURNS documentation",
    )


def branches(x: Array) -> Array:
    """Limit states of the four branches, shape (n, 2) -> (n, 4)."""
    x1, x2 = np.asarray(x).T
    curved = 3 + 0.1 * (x1 - x2) ** 2
    total = (x1 + x2) / math.sqrt(2)
    straight = 7 / math.sqrt(2)
    return np.stack(
        [curved - total, curved + total, x1 - x2 + straight, x2 - x1 + straight], axis=1
    )


def series_system(x: Array) -> Array:
    """Limit state of the system, the least of its branches: failure where it is <= 0."""
    return branches(x).min(axis=1)


def four_branch_integrand(x: Array) -> Array:
    """Whether the system fails, and whether each branch does."""
    failed = branches(x) <= 0
    return np.column_stack([failed.any(axis=1), failed]).astype(float)


def four_branch() -> Problem:
    """Series system with four separate failure regions, two standard normal inputs.

    g(x) = min of 3 + (x1 - x2)^2/10 -+ (x1 + x2)/sqrt(2) and +-(x1 - x2) + 7/sqrt(2). In the
    rotated coordinates p = (x1 + x2)/sqrt(2), m = (x1 - x2)/sqrt(2) the branches are
    |p| >= 3 + m^2/5 and |m| >= 3.5, so that

        P = 2 Phi(-3.5) + 2 int_{-3.5}^{3.5} phi(m) Phi(-3 - m^2/5) dm.

    Returns
    -------
    Problem
        Expectations: failure probability of the system (2.2e-3) and of each branch. One-dimensional
        integrals, 14 digits.

    References
    ----------
    Waarts, P. H. (2000). Structural reliability using finite element methods. PhD thesis, Delft
    University of Technology. Schueremans, L. and Van Gemert, D. (2005). Benefit of splines and
    neural networks in simulation based structural reliability analysis. Structural Safety 27.

    Examples
    --------
    >>> four_branch().function([[0.0, 0.0]]).tolist()
    [3.0]
    """
    from scipy import stats

    curved, straight = 8.787684577853831e-04, 2.3262907903552502e-04
    truth = {
        "system": 2.222795066194449e-03,
        "branch 1": curved,
        "branch 2": curved,
        "branch 3": straight,
        "branch 4": straight,
    }
    return Problem(
        name="four_branch",
        function=series_system,
        law=[stats.norm(), stats.norm()],
        integrand=four_branch_integrand,
        names=tuple(truth),
        truth=truth | {"failure_probability": truth["system"]},
        accuracy="one-dimensional quadrature, 14 digits; branches 3 and 4 in closed form",
        source="Waarts (2000), with k = 3 and 7/sqrt(2)",
    )


def linear_margin(x: Array, beta: float) -> Array:
    """Safety margin beta - (x_1 + ... + x_d) / sqrt(d): failure where it is <= 0."""
    x = np.asarray(x)
    return beta - x.sum(axis=1) / math.sqrt(x.shape[1])


def linear_integrand(x: Array, beta: float) -> Array:
    """Failure with the margin one smaller, as it is, and one larger; and the mean shortfall."""
    margin = linear_margin(x, beta)
    failures = [(margin + shift <= 0).astype(float) for shift in (-1.0, 0.0, 1.0)]
    return np.stack([*failures, np.maximum(-margin, 0.0)], axis=1)


def linear_limit_state(beta: float = 3.0, dimension: int = 10) -> Problem:
    """A plane at distance beta from the origin of standard-normal space, in any dimension.

    g(x) = beta - (x_1 + ... + x_d) / sqrt(d), failure where g <= 0: P = Phi(-beta).

    Parameters
    ----------
    beta : float, default 3.0
        Reliability index.
    dimension : int, default 10
        Number of inputs.

    Returns
    -------
    Problem
        Expectations: failure probability at beta - 1, beta and beta + 1, and the mean shortfall
        E[max(-g, 0)] = phi(beta) - beta Phi(-beta). Closed forms.

    Raises
    ------
    ValueError
        The dimension is not a positive integer, or beta is not finite.

    Examples
    --------
    >>> linear_limit_state(3.0, dimension=100).truth["failure_probability"]
    0.0013498980316300933
    """
    from scipy import stats
    from scipy.special import ndtr

    dimension, beta = count("dimension", dimension, most=1_000_000), number("beta", beta)
    density = math.exp(-(beta**2) / 2) / math.sqrt(2 * math.pi)
    truth = {f"P(index {b:g})": float(ndtr(-b)) for b in (beta - 1, beta, beta + 1)}
    truth["mean shortfall"] = density - beta * float(ndtr(-beta))
    return Problem(
        name="linear_limit_state",
        function=functools.partial(linear_margin, beta=beta),
        law=[stats.norm()] * int(dimension),
        integrand=functools.partial(linear_integrand, beta=beta),
        names=tuple(truth),
        truth=truth | {"failure_probability": float(ndtr(-beta))},
        accuracy="closed form",
        source="the first-order reliability method's own limit state",
    )
