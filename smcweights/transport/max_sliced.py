"""The largest distance of two clouds over all directions, by ascent on the sphere.

Reference: Deshpande et al. (2019), Max-sliced Wasserstein distance and its use for GANs, CVPR.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import flag, header_of, number
from ..provenance import provenance
from ..randomness import Seed, generator, seed_sequence
from ..references import SLICED
from ..results import Result, table
from ..results import along as dims
from .clouds import Pair, pair_of
from .costs import slopes
from .directions import draw, plan
from .sliced import Question, along
from .units import Scale

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

Array = NDArray[Any]

BEST = 4  # of the directions drawn, from which an ascent starts
LARGEST_SPECTRUM = 1_000  # dimensions in which covariances are decomposed for two more starts
SETTLED = 1e-13  # relative growth of the cost at which an ascent ends
MOST_STEPS = 1_000


@dataclass(frozen=True, repr=False)
class MaxSliced(Result):
    """The largest distance of two clouds along one direction.

    Attributes
    ----------
    value : float
        W_p along ``direction``, or its power: a lower bound of the maximum, which is not concave.
    direction : ndarray, shape (d,)
        A unit vector; its first coordinate that isn't 0 is positive.
    starts : ndarray
        Values that the ascents reached, the largest first: how far they agree.
    names : tuple of str
        Of the coordinates: those of a table's columns, without constant ones where `scale` left
        them out.
    provenance : dict
    """

    value: float
    direction: Array = field(metadata=dims("coordinate"))
    starts: Array = field(metadata=dims("start"))
    names: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    references = SLICED

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """Table of the value, which has no error, whatever the level."""
        return table({"value": (self.value, *(math.nan,) * 3)})

    def plot(self, ax: Axes | None = None) -> Axes:
        """What each coordinate adds to the direction, see `smcweights.plots.loadings`."""
        from .figures import loadings

        return loadings(self, ax)

    def __repr__(self) -> str:
        agree = int((self.starts >= self.value * (1 - 1e-6)).sum())
        return (
            f"MaxSliced({self.value:.6g} in {len(self.direction)} dimensions, reached from {agree} "
            f"of {len(self.starts)} starts)"
        )


def max_sliced_wasserstein(
    x: ArrayLike,
    y: ArrayLike,
    budget: int = 50,
    *,
    p: float = 2,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
    scale: Scale = None,
    root: bool = True,
    seed: Seed = None,
) -> MaxSliced:
    """Max-sliced Wasserstein distance: that along the direction in which two clouds differ most.

    It is of the clouds as they are, found by ascent from several directions: a lower bound of their
    maximum. Of the laws that they are samples of it is too large, the more so in many dimensions.
    Hence there is no standard error.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
    budget : int, default 50
        Orthogonal directions of which the four best are starts, beside the difference of the means
        and the first and last eigenvectors of that of the covariances.
    p, weights_x, weights_y, scale, root, seed
        As for `sliced_wasserstein`.

    Returns
    -------
    MaxSliced

    Raises
    ------
    ValueError, TypeError
        As for `sliced_wasserstein`.

    References
    ----------
    Deshpande et al. (2019), CVPR; Hu & Lin (2025), Biometrika 112.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(100, 5))
    >>> found = smw.max_sliced_wasserstein(x, x + [0, 0, 3.0, 0, 0], seed=1)
    >>> round(found.value, 9), found.direction.round(6) + 0.0
    (3.0, array([0., 0., 1., 0., 0.]))
    """
    p, root = number("p", p, 1, ends=True), flag("root", root)
    question = Question(pair_of(x, y, weights_x, weights_y, p, scale), p, root)
    pair = question.pair
    rule = plan("orthogonal", pair.dimension, budget, fewest=1)
    seeds = seed_sequence(seed)
    theta = draw(rule, rule.blocks, generator(seeds, "directions"))
    found = [_climb(pair, start, p) for start in _starts(question, theta)]
    found.sort(key=lambda reached: -reached[0])
    direction = found[0][1]
    direction = direction * np.sign(direction[np.flatnonzero(np.abs(direction) > 1e-12)[0]])
    values = np.array([question.value(reached) for reached, _ in found])
    table = header_of(x, "x") or header_of(y, "y")
    labels = pair.units.names or (range(pair.dimension) if table is None else table.names)
    names = tuple(str(label) if table else f"coordinate {label}" for label in labels)
    arguments = {"budget": budget, "p": p, "scale": scale, "root": root}
    source = provenance("max_sliced_wasserstein", seeds, arguments, data=pair.fingerprint())
    return MaxSliced(float(values[0]), direction, values, names, source)


def _starts(question: Question, theta: Array) -> list[Array]:
    """Unit vectors from which to climb."""
    pair = question.pair
    theta = theta.reshape(-1, pair.dimension)
    best = np.argsort(-along(question, theta)[:, 0], kind="stable")[:BEST]
    starts = list(theta[best])
    if pair.dimension == 1:
        return starts[:1]
    length = float(np.linalg.norm(pair.shift))
    if length > 0:
        starts.append(pair.shift / length)
    if pair.dimension <= LARGEST_SPECTRUM:
        _, vectors = np.linalg.eigh(pair.x.covariance - pair.y.covariance)
        starts += [vectors[:, 0], vectors[:, -1]]
    return starts


def _climb(pair: Pair, theta: Array, p: float) -> tuple[float, Array]:
    """Cost at the end of an ascent, and where it is."""

    def at(theta: Array) -> tuple[float, Array]:
        costs, slope_x, slope_y = slopes(pair, theta[None], p)
        return float(costs[0]), slope_x[0] @ pair.x.points + slope_y[0] @ pair.y.points

    value, gradient = at(theta)
    step = 1.0
    for _ in range(MOST_STEPS):
        tangent = gradient - (gradient @ theta) * theta
        if value <= 0 or not tangent.any():
            break
        higher = 0.0
        while step > 1e-12:
            trial = theta + step / (p * value) * tangent
            trial /= np.linalg.norm(trial)
            higher, ahead = at(trial)
            if higher > value:
                break
            step /= 2
        if higher <= value:
            break
        growth = higher / value - 1
        theta, value, gradient = trial, higher, ahead
        step = min(4 * step, 4.0)
        if growth < SETTLED:
            break
    return value, theta
