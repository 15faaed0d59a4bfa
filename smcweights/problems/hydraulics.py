"""Water: the overflow of a dyke, and the flow through a borehole."""

from __future__ import annotations

import numpy as np

from .problem import Array, Problem, exceedances

FLOOD_LEVELS = (0.0, 0.4, 0.8, 1.2)


def flood_overflow(x: Array) -> Array:
    """Height of the water above the dyke, in metres: shape (n, 8) -> (n,).

    S = Zv + H - Hd - Cb with the water depth H = (Q / (B Ks sqrt((Zm - Zv) / L)))^0.6.
    """
    flow, strickler, downstream, upstream, dyke, bank, length, width = np.asarray(x).T
    slope = (upstream - downstream) / length
    depth = (flow / (width * strickler * np.sqrt(slope))) ** 0.6
    return downstream + depth - dyke - bank


def flood_integrand(x: Array) -> Array:
    """Overflow, its square, and whether it exceeds 0, 0.4, 0.8 and 1.2 metres."""
    s = flood_overflow(x)
    over = np.maximum(s, 0.0)
    return np.stack([over, over**2, *exceedances(s, FLOOD_LEVELS)], axis=1)


def flood() -> Problem:
    """Yearly maximum of a river against a low dyke: eight inputs, six expectations.

    The water level of a river of rectangular section, by the Strickler formula for a uniform flow.
    The laws are the usual ones but for the height of the dyke, Uniform(0, 1) in place of
    Uniform(7, 9): with the usual height, and with the flow cut at 3000 as usual, the water never
    comes nearer than 3.6 metres to the top of the dyke and every answer is zero.

    ========= ============================ ======================================
    Q         flow, m3/s                   Gumbel(1013, 558) on [500, 3000]
    Ks        Strickler coefficient        Normal(30, 8) on [15, inf)
    Zv        river bed downstream, m      Triangular(49, 50, 51)
    Zm        river bed upstream, m        Triangular(54, 55, 56)
    Hd        height of the dyke, m        Uniform(0, 1)
    Cb        level of the bank, m         Triangular(55, 55.5, 56)
    L         length of the stretch, m     Triangular(4990, 5000, 5010)
    B         width of the river, m        Triangular(295, 300, 305)
    ========= ============================ ======================================

    Returns
    -------
    Problem
        Expectations: mean overflow max(S, 0), its second moment, and the probabilities that S
        exceeds 0 (1.1e-3), 0.4, 0.8 and 1.2 metres (1.6e-5). All by deterministic quadrature,
        7 digits: ``benchmarks/flood_truth.py``.

    References
    ----------
    Iooss, B. and Lemaître, P. (2015). A review on global sensitivity analysis methods. In:
    Uncertainty Management in Simulation-Optimization of Complex Systems, Springer.

    Examples
    --------
    >>> problem = flood()
    >>> x = [[3000.0, 15.0, 51.0, 54.0, 0.0, 55.0, 5010.0, 295.0]]
    >>> problem.function(x).round(2).tolist()      # the worst there can be
    [3.34]
    """
    from scipy import stats

    from ..importance.marginals import Truncated

    law = {
        "Q": Truncated(stats.gumbel_r(1013.0, 558.0), 500.0, 3000.0),
        "Ks": Truncated(stats.norm(30.0, 8.0), 15.0),
        "Zv": stats.triang(0.5, 49.0, 2.0),
        "Zm": stats.triang(0.5, 54.0, 2.0),
        "Hd": stats.uniform(0.0, 1.0),
        "Cb": stats.triang(0.5, 55.0, 1.0),
        "L": stats.triang(0.5, 4990.0, 20.0),
        "B": stats.triang(0.5, 295.0, 10.0),
    }
    truth = {
        "mean overflow": 3.470877535e-04,
        "second moment": 2.046690539e-04,
        "P(overflow > 0)": 1.0641742776e-03,
        "P(overflow > 0.4)": 3.28925508e-04,
        "P(overflow > 0.8)": 8.40521446e-05,
        "P(overflow > 1.2)": 1.6386851e-05,
    }
    return Problem(
        name="flood",
        function=flood_overflow,
        law=law,
        integrand=flood_integrand,
        names=tuple(truth),
        truth=truth | {"failure_probability": truth["P(overflow > 0)"]},
        accuracy="deterministic quadrature, 7 digits (benchmarks/flood_truth.py)",
        source="Iooss and Lemaître (2015), with a dyke of 0 to 1 m in place of 7 to 9 m",
    )


def borehole_flow(x: Array) -> Array:
    """Flow of water through a borehole, in m3/yr: shape (n, 8) -> (n,)."""
    rw, r, upper_t, upper_h, lower_t, lower_h, length, conductivity = np.asarray(x).T
    log_ratio = np.log(r / rw)
    leakage = 2 * length * upper_t / (log_ratio * rw**2 * conductivity)
    return (
        2 * np.pi * upper_t * (upper_h - lower_h) / (log_ratio * (1 + leakage + upper_t / lower_t))
    )


def borehole_integrand(x: Array) -> Array:
    """First three powers of the flow, in units of 100 m3/yr."""
    y = borehole_flow(x) / 100
    return np.stack([y, y**2, y**3], axis=1)


def borehole() -> Problem:
    """Flow of water through a borehole between two aquifers: eight inputs, smooth.

    y = 2 pi Tu (Hu - Hl) / (log(r/rw) (1 + 2 L Tu / (log(r/rw) rw^2 Kw) + Tu/Tl)), with the radius
    rw ~ Normal(0.1, 0.0161812) on its range [0.05, 0.15], the radius of influence r ~
    LogNormal(7.71, 1.0056) on its range [100, 50000], and the others uniform: the transmissivities
    Tu on [63070, 115600] and Tl on [63.1, 116], the heads Hu on [990, 1110] and Hl on [700, 820],
    the length L on [1120, 1680] and the conductivity Kw on [9855, 12045].

    Returns
    -------
    Problem
        Expectations: the first three moments of the flow in units of 100 m3/yr, by quadrature,
        9 digits.

    References
    ----------
    Harper, W. V. and Gupta, S. K. (1983). Sensitivity/uncertainty analysis of a borehole scenario
    comparing Latin hypercube sampling and deterministic sensitivity approaches. BMI/ONWI-516.

    Examples
    --------
    >>> borehole().names
    ('mean', 'second moment', 'third moment')
    """
    from scipy import stats

    from ..importance.marginals import Truncated

    law = {
        "rw": Truncated(stats.norm(0.1, 0.0161812), 0.05, 0.15),
        "r": Truncated(stats.lognorm(1.0056, scale=np.exp(7.71)), 100.0, 50000.0),
        "Tu": stats.uniform(63070.0, 52530.0),
        "Hu": stats.uniform(990.0, 120.0),
        "Tl": stats.uniform(63.1, 52.9),
        "Hl": stats.uniform(700.0, 120.0),
        "L": stats.uniform(1120.0, 560.0),
        "Kw": stats.uniform(9855.0, 2190.0),
    }
    truth = {"mean": 0.7370054198, "second moment": 0.6236806997, "third moment": 0.597047304}
    return Problem(
        name="borehole",
        function=borehole_flow,
        law=law,
        integrand=borehole_integrand,
        names=tuple(truth),
        truth=truth,
        accuracy="deterministic quadrature, 9 digits",
        source="Harper and Gupta (1983)",
    )
