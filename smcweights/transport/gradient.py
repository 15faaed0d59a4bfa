"""Gradients of sliced Wasserstein distances in closed form.

The derivative of SW_p^p by a point x_i of weight a_i is the mean over directions of
theta times the derivative of the one-dimensional cost, a_i p |gap|^(p-1) sign(gap) averaged over
the points that x_i is matched with. No control variate is used unless asked for: coefficients that
serve the value can make gradients hundreds of times worse near the end of a flow.

References: Bonneel, Rabin, Peyre & Pfister (2015); Nguyen & Ho (2024), arXiv 2305.00402.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import arguments
from ..arguments import flag, number, one_of, real
from ..cautions import Caution
from ..estimate import Estimate
from ..provenance import provenance
from ..randomness import Seed, generator, seed_sequence
from ..results import Result, along, table
from .clouds import Pair, pair_of
from .costs import chunk_rows, slopes
from .directions import SINGLE_BLOCK, Directions, draw, plan
from .sliced import MeanCost, Question, exact_estimate

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

Array = NDArray[Any]

Control = Literal[False, "lower", "upper"]

CONTROLS: tuple[Control, ...] = (False, "lower", "upper")
FITTED = Caution(
    "fitted-coefficient", "a coefficient fitted to the same directions leaves no standard error"
)


@dataclass(frozen=True, repr=False)
class SlicedGradient(Result):
    """Derivative of a sliced Wasserstein distance by the points of the first cloud.

    Attributes
    ----------
    value : ndarray, shape (n, d)
    standard_error : ndarray, shape (n, d)
        From the spread of independent blocks of directions; NaN with a single block.
    distance : Estimate
        The distance itself (or its power), from the same directions.
    """

    value: Array = field(metadata=along("point", "dimension"))
    standard_error: Array = field(metadata=along("point", "dimension"))
    distance: Estimate

    def __repr__(self) -> str:
        n, d = self.value.shape
        value, error = float(self.distance.value), float(self.distance.standard_error)
        return f"SlicedGradient({n} points in {d} dimensions, distance {value:.4g} +- {error:.2g})"

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """Table of the distance, and of the derivative by each coordinate of each point.

        Parameters
        ----------
        level : float, default 0.95
            Of the intervals.

        Returns
        -------
        pandas.DataFrame
            Columns: value, standard_error, lower, upper.
        """
        from scipy.special import stdtrit

        quantile = stdtrit(self.distance.degrees_of_freedom, (1 + arguments.level(level)) / 2)
        names = [f"d/dx[{i}, {k}]" for i, k in np.ndindex(self.value.shape)]
        value, error = self.value.ravel(), self.standard_error.ravel()
        columns = (value, error, value - quantile * error, value + quantile * error)
        first = self.distance.summary(level).iloc[0, [0, 1, 3, 4]]
        return table([("distance", first), *zip(names, zip(*columns, strict=True), strict=True)])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Sizes of the derivatives with their errors, see `smcweights.plots.gradient`."""
        from .figures import gradient

        return gradient(self, ax)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """The derivative."""
        return np.array(self.value, dtype=dtype)


def sliced_gradient(
    x: ArrayLike,
    y: ArrayLike,
    budget: int = 100,
    *,
    p: float = 2,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
    directions: str | ArrayLike = "auto",
    control_variates: Control = False,
    root: bool = False,
    seed: Seed = None,
) -> SlicedGradient:
    """Derivative of a sliced Wasserstein distance by the points of the first cloud.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Points.
    budget : int, default 100
        Most directions.
    p : float, at least 1, default 2
    weights_x, weights_y : array_like, shapes (n,) and (m,), optional
        Positive; a point without weight has no gradient.
    directions : str or array_like, default "auto"
        As for `sliced_wasserstein`, without "exact"; turned rules or orthogonal blocks.
    control_variates : False, "lower" or "upper", default False
        The paper's, for p = 2 and single directions; not recommended, see this module's page.
    root : bool, default False
        The derivative of SW_p instead of SW_p^p; it is 0 where the distance is.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    SlicedGradient

    Raises
    ------
    ValueError, TypeError
        An argument is wrong.

    References
    ----------
    Nguyen & Ho (2024), arXiv 2305.00402.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(50, 3))
    >>> gradient = smw.sliced_gradient(x, 2 * x, 15, directions="orthogonal", seed=1)
    >>> np.allclose(gradient.value, -2 * x / 3 / 50)  # 2 a_i (x_i - y_i) / d
    True
    """
    began = time.perf_counter()
    p, root = number("p", p, 1, ends=True), flag("root", root)
    check(control_variates, p, weights_x)
    pair = pair_of(x, y, weights_x, weights_y, p)
    rule = plan_gradient(directions, pair.dimension, budget, control_variates)
    seeds = seed_sequence(seed)
    theta = draw(rule, rule.blocks, generator(seeds, "directions"))
    costs, gradient, square = block_gradients(pair, rule, theta, p)
    power, blocks = float(costs.mean()), len(costs)
    error, spread, cautions = np.full_like(gradient, np.nan), math.nan, [SINGLE_BLOCK]
    if blocks > 1:
        error = np.sqrt(np.maximum(square - gradient**2, 0) / (blocks - 1))
        spread, cautions = float(costs.std(ddof=1)) / math.sqrt(blocks), []
    elif pair.dimension == 1:
        error, cautions = np.zeros_like(gradient), []
    if control_variates:
        gradient, power = controlled(pair, control_variates, theta, costs, gradient)
        error, cautions = np.full_like(gradient, np.nan), [*cautions, FITTED]
    if root:
        slope = root_slope(pair, p, power)
        gradient, error = gradient * slope, error * slope
    arguments = {"budget": budget, "p": p, "control_variates": control_variates, "root": root}
    source = provenance("sliced_gradient", seeds, arguments, data=pair.fingerprint())
    cost = {"evaluations": rule.total, "seconds": time.perf_counter() - began}
    question, freedom = Question(pair, p, root), rule.degrees_of_freedom(blocks, p)
    if pair.dimension == 1:
        distance = exact_estimate(question, power, cost, source)
    else:
        spread = max(spread, pair.rounding(p, power))
        mean = MeanCost(
            question, power, spread, freedom, False, {"directions": rule.kind}, tuple(cautions)
        )
        distance = mean.estimate("sliced_gradient", cost, source)
    return SlicedGradient(gradient, error, distance)


def check(control: Control, p: float, weights_x: ArrayLike | None) -> None:
    """Raise for a control that gradients don't have, or a point that has no gradient."""
    one_of("control_variates", control, CONTROLS)
    if control and p != 2:
        raise ValueError(f"control_variates: {control!r} serves p = 2; got p = {p:g}")
    if weights_x is not None and (real("weights_x", weights_x) == 0).any():
        raise ValueError(
            "weights_x: got 0; expected positive numbers: leave a point of weight 0 out, which has "
            "no gradient and would not move"
        )


def plan_gradient(
    directions: str | ArrayLike, d: int, budget: int, control: Control, fewest: int = 5
) -> Directions:
    """Directions of a gradient: single ones where there is a control."""
    if control and isinstance(directions, str) and directions == "auto":
        directions = "uniform"
    rule = plan(directions, d, budget, fewest=fewest)
    if control and rule.lines > 1:
        raise ValueError("control_variates: the paper's go with directions='uniform'")
    return rule


def block_gradients(
    pair: Pair, rule: Directions, theta: Array, p: float
) -> tuple[Array, Array, Array]:
    """Costs of blocks (B,), their mean gradient (n, d) and its mean square (n, d)."""
    return mean_gradient(gradients(pair, rule, theta, p))


def mean_gradient(blocks: Iterable[tuple[float, Array]]) -> tuple[Array, Array, Array]:
    """Costs (B,), mean gradient (n, d) and its mean square (n, d) of costs and gradients."""
    costs: list[float] = []
    total: Array = np.zeros(())
    square: Array = np.zeros(())
    for cost, gradient in blocks:
        costs.append(cost)
        total = total + gradient
        square = square + gradient**2
    return np.array(costs), total / len(costs), square / len(costs)


def gradients(
    pair: Pair, rule: Directions, theta: Array, p: float
) -> Iterator[tuple[float, Array]]:
    """Cost and gradient (n, d) of each block of directions (B, lines, d)."""
    n, d = pair.x.points.shape
    lines, step, weights = theta.shape[1], chunk_rows(d, 3 * pair.points, 8), rule.weights
    for block in theta:
        gradient, cost = np.zeros((n, d)), 0.0
        for first in range(0, lines, step):
            part = block[first : first + step]
            value, slope, _ = slopes(pair, part, p)
            w = weights[first : first + step]
            cost += float(w @ value)
            gradient += slope.T @ (w[:, None] * part)
        yield cost, gradient


def controlled(
    pair: Pair, control: Control, theta: Array, costs: Array, gradient: Array
) -> tuple[Array, float]:
    """Gradient and cost with the paper's control, one coefficient fitted to the values.

    As published: gamma = cov(W, C)/var(C) over single directions, held fixed in the gradient.
    """
    rows = theta.reshape(-1, theta.shape[-1])
    d, shift = rows.shape[1], pair.shift
    along = rows @ shift
    c = along**2
    mean = float(shift @ shift)
    # mean of theta theta' over the directions used, minus its own mean
    outer = rows.T @ rows / len(rows) - np.eye(d) / d
    deviation = 2 * pair.x.masses[:, None] * (shift @ outer)
    if control == "upper":
        v_x = np.einsum("ld,ld->l", rows @ pair.x.covariance, rows)
        v_y = np.einsum("ld,ld->l", rows @ pair.y.covariance, rows)
        c = c + v_x + v_y
        mean += pair.x.spread + pair.y.spread
        centred = pair.x.points - pair.x.mean
        deviation = deviation + 2 * pair.x.masses[:, None] * (centred @ outer)
    h = c - mean / d
    square = float(h @ h)
    gamma = float((costs - costs.mean()) @ h) / square if square > 0 else 0.0
    return gradient - gamma * deviation, float(costs.mean() - gamma * h.mean())


def root_slope(pair: Pair, p: float, power: float) -> float:
    """Derivative of SW_p by SW_p^p; SW_p has a kink at 0, of which 0 is a subgradient."""
    return power ** (1 / p - 1) / p if power > 3 * pair.rounding(p, power) else 0.0
