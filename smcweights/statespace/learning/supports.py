"""Whether parameters move the support of a density: Fisher's identity fails where one does.

A path that becomes impossible where a parameter moves a little tells. It is followed to the edge:
where its density ends at a positive height, and other paths meet the edge elsewhere, probability
flows across it that no gradient sees. Where the density falls to zero nothing flows, but gradients
are large nearby; where all paths end together it is the edge of the parameter's range, or of the
observations alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .parameters import Free

Array = NDArray[np.float64]
LogDensity = Callable[[Array], float]
NUDGE = 0.05  # of an unconstrained parameter, to see whether a path stays possible
NEAR, FAR = 1e-7, 1e-4  # from the edge, where the density is looked at, as shares of the nudge
SLOW = 0.05  # power of the distance below which a density doesn't fall to zero
NOTHING = 20.0  # that a log density has lost where it is as good as zero
ALIKE = 1e-6  # that the edges of paths are apart where they are one


class Moved(NamedTuple):
    """Names of parameters that surely move a support, and of others that end paths."""

    surely: list[str]
    perhaps: list[str]


def moved_supports(free: Free, theta: Array, log_densities: Sequence[LogDensity]) -> Moved:
    """Which parameters end paths, by their log densities as functions of theta."""
    found, places = Moved([], []), list(free.places)
    u = free.numbers(theta)
    for i, k in enumerate(free.moving):
        step = NUDGE * (abs(u[i]) or 1.0 if free.transforms[k] == "identity" else 1.0)

        def height(f: LogDensity, sign: int, s: float, i: int = i, step: float = step) -> float:
            there, other = u.copy(), theta.copy()
            there[i] += sign * s * step
            other[places] = free.values(there)
            return f(other)

        sides = [[_edge(partial(height, f, sign)) for f in log_densities] for sign in (-1, 1)]
        if any(map(_flows, sides)):
            found.surely.append(free.names[k])
        elif any(edge is not None for side in sides for edge in side):
            found.perhaps.append(free.names[k])
    return found


class _Edge(NamedTuple):
    """Where a path ends, as a share of the nudge, and whether at a positive density."""

    place: float
    positive: bool


def _edge(log_density: Callable[[float], float]) -> _Edge | None:
    """Where a path that is possible at 0 ends, None where it is possible at 1."""
    if log_density(1.0) > -math.inf or not log_density(0.0) > -math.inf:
        return None
    inside, outside = 0.0, 1.0
    for _ in range(50):
        middle = (inside + outside) / 2
        if log_density(middle) > -math.inf:
            inside = middle
        else:
            outside = middle
    if inside < FAR:
        return _Edge(inside, False)
    near, far = log_density(inside - NEAR), log_density(inside - FAR)
    power = (far - near) / math.log(FAR / NEAR)
    return _Edge(inside, power < SLOW and log_density(0.0) - near < NOTHING)


def _flows(edges: Sequence[_Edge | None]) -> bool:
    """Whether probability flows across the edge, which paths meet at different places."""
    met = [edge for edge in edges if edge is not None]
    places = [edge.place for edge in met]
    apart = len(met) < len(edges) or max(places, default=0.0) - min(places, default=0.0) > ALIKE
    return apart and any(edge.positive for edge in met)
