"""Inputs drawn wider than their laws, and the weights that make up for it.

The variance of a heavy output sits where few points are: a per cent of that of exp(x), x standard
normal, lies beyond x = 4, which 1 in 30,000 draws exceeds, and no spread tells of what none has
seen. So it is with a value that an input takes once in a thousand draws, such as a pump's failure:
there the law says beforehand which values are rare, and `hardly_drawn` which remain so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import ndtr, ndtri

from ..cautions import Caution
from .laws import Law
from .marginals import Atoms, Marginal
from .sparse_polynomials import LIGHT_TAILS, kurtosis

Array = np.ndarray
MOST_VALUES = 13  # of an input whose values are told apart,
LEAST_MASS = 1e-9  # but for those rarer than this, as unlikely as 6 standard deviations
RARE = 0.25  # times what every value would have if all were as likely
FLATNESS = 0.25  # power of their probabilities that rare values are drawn by
TAIL = 0.2  # Pareto k-hat of the pilot's squared outputs from which unbounded inputs are widened,
SCALE = 2.0  # by so much, in standard-normal space,
HEAVY_SCALE = 3.0  # and inputs of heavy tails by so much,
MOST_WIDENED = 8  # the most of them
FEW_DRAWS = 10.0  # of a value, from which its part of the variance may be told,
TOLD_MASS = 1e-4  # and the least probability that is asked about


@dataclass(frozen=True)
class Values:
    """Probabilities of an input's values, in order: of its law, and of one that is flatter."""

    own: Array  # (k,)
    flat: Array  # (k,)
    reached: Array  # (k,): all but those too rare to be drawn more often

    def mixed(self, share: float) -> Array:
        """With this share of the flatter law: (k,)."""
        return (1 - share) * self.own + share * self.flat

    @property
    def rarest(self) -> float:
        """Probability of the rarest value, as a multiple of that of equal ones."""
        return float(self.own[self.reached].min() * self.reached.sum())


def values_of(marginal: Marginal) -> Values | None:
    """Of an input of few values; None of others."""
    table = marginal.table if isinstance(marginal, Atoms) else None
    if table is None:
        return None
    # as draws are cut: by the distribution function
    ends = np.asarray(marginal.cdf(table[0][:-1]), dtype=float)
    own = np.diff(ends, prepend=0.0, append=1.0)
    reached = own >= LEAST_MASS
    if not 1 < reached.sum() <= MOST_VALUES:
        return None
    flat = np.where(reached, np.maximum(own, 0.0) ** FLATNESS, 0.0)
    return Values(own, flat / flat.sum(), reached)


def rare_values(law: Law) -> tuple[Values | None, ...]:
    """Of the inputs that have rare values; None of others."""
    found = [values_of(m) for m in law.marginals or ()]
    return tuple(v if v is not None and v.rarest < RARE else None for v in found)


def heavy_tailed(law: Law) -> Array:
    """Which inputs have a kurtosis over `LIGHT_TAILS`, (d,)."""
    if law.marginals is None:
        return np.zeros(law.dimension, dtype=bool)
    return np.array([not kurtosis(m) <= LIGHT_TAILS for m in law.marginals])


def foremost(importance: Array, least: Array | float) -> Array:
    """Which inputs are among the `MOST_WIDENED` of most importance, above the least: (d,)."""
    found = np.zeros(len(importance), dtype=bool)
    found[np.argsort(-importance, kind="stable")[:MOST_WIDENED]] = True
    return found & (importance > least)


def scales_of(inputs: Array, heavy: Array) -> Array:
    """How much wider these inputs are drawn, of which some have heavy tails; 0 for others: (d,)."""
    return np.where(inputs, np.where(heavy, HEAVY_SCALE, SCALE), 0.0)


def share_of(count: int) -> float:
    """Share of the wider law, of so many inputs: the law's own keeps a seventh or so in all."""
    return 0.5 if count <= 3 else min(0.25, 2 / count)


@dataclass(frozen=True)
class Widening:
    """Inputs drawn from q = (1 - share) N(0, 1) + share N(0, scale^2) in standard-normal space.

    The wide part is cut at ``reaches``; at 7 terms of any input of use have ended. An input of few
    ``values`` has a share of their flatter law instead of the wide normal one. The first
    ``plain`` of ``size`` points were drawn from the law; all count under the mixture of both kinds,
    by weights of at most size / plain (the balance heuristic, Veach & Guibas 1995).
    """

    scales: Array  # (d,): of the inputs drawn wider, 0 of others
    reaches: Array  # (d,)
    share: float
    plain: int
    size: int
    values: tuple[Values | None, ...] = ()

    @property
    def inputs(self) -> Array:
        """Which are drawn wider: (d,)."""
        found = self.scales > 0
        for i, values in enumerate(self.values):
            found[i] |= values is not None
        return found

    def values_at(self, i: int) -> Values | None:
        """Of input i, if it is one of few values that is drawn by a flatter law."""
        return self.values[i] if self.values else None

    def drawn(self, z: Array) -> Array:
        """Draws (..., n, d) of points ``plain`` to ``size`` from standard normals z."""
        u = z.copy()
        for i in np.flatnonzero(self.inputs).tolist():
            if (values := self.values_at(i)) is not None:
                ends = [np.append(0.0, p.cumsum()) for p in (values.mixed(self.share), values.own)]
                place = np.interp(ndtr(z[..., i]), ends[0] / ends[0][-1], ends[1] / ends[1][-1])
                u[..., i] = ndtri(np.clip(place, 1e-17, 1 - 2.0**-53))
                continue
            depth = np.linspace(-2 * self.reaches[i], 0.0, 4_001)  # with a node at the end
            table = ndtri(self._probability(depth, i))
            side = -np.abs(z[..., i])
            found = np.interp(side, table, depth)
            for _ in range(2):
                # Newton's step; beyond the wide part's end the table is exact
                density = np.exp(-0.5 * found**2 + self.log_ratio(found, i))
                density /= math.sqrt(2 * math.pi)
                missed = self._probability(found, i) - ndtr(side)
                found = np.minimum(found - missed / density, 0.0)
            u[..., i] = np.where(z[..., i] < 0, found, -found)
        return u

    def _probability(self, u: Array, i: int) -> Array:
        """Distribution function of q at u <= 0, of input i."""
        scale, reach = self.scales[i], self.reaches[i]
        wide = np.maximum(ndtr(u / scale) - ndtr(-reach / scale), 0.0) / self._kept(i)
        return (1 - self.share) * ndtr(u) + self.share * wide

    def log_ratio(self, u: Array, i: int) -> Array:
        """Log of q over the standard-normal density, of input i."""
        if (values := self.values_at(i)) is not None:
            own = np.maximum(values.own, 1e-300)
            ratio = np.where(values.own > 0, values.mixed(self.share) / own, 1 - self.share)
            return np.log(ratio)[np.searchsorted(ndtri(values.own.cumsum()[:-1]), u)]
        scale, reach = self.scales[i], self.reaches[i]
        wide = np.exp(0.5 * (1 - scale**-2) * np.minimum(u * u, reach**2)) * (np.abs(u) < reach)
        return np.log(1 - self.share + self.share / (scale * self._kept(i)) * wide)

    def _kept(self, i: int) -> float:
        """Share of the wide part that is not cut off."""
        return 1 - 2 * float(ndtr(-self.reaches[i] / self.scales[i]))

    def log_ratios(self, u: Array) -> Array:
        """Log of the density drawn from over that of the law, input by input: like u (..., d)."""
        found = np.zeros(u.shape)
        for i in np.flatnonzero(self.inputs).tolist():
            found[..., i] = self.log_ratio(u[..., i], i)
        return found

    def weight(self, log_ratio: Array) -> Array:
        """Weights of draws with this log ratio, summed over their coordinates."""
        plain = self.plain / self.size
        return 1 / (plain + (1 - plain) * np.exp(log_ratio))


def flattened(law: Law) -> Widening | None:
    """The widening of rare values alone, if inputs have some."""
    values = rare_values(law)
    count = sum(v is not None for v in values)
    none = np.zeros(law.dimension)
    return Widening(none, none + math.inf, share_of(count), 0, 0, values) if count else None


def hardly_drawn(law: Law, plain: float, wide: float, widening: Widening | None) -> list[Caution]:
    """A warning of rare values, or pairs of them, of which few draws are to be expected.

    So many draws are those of the law, and so many those of the widening.
    """
    rare, most_rare, expected = rare_values(law), "", FEW_DRAWS

    def drawn(i: int, of: Values) -> Array:
        values = None if widening is None else widening.values_at(i)
        return of.own if values is None or widening is None else values.mixed(widening.share)

    known = {i: v for i, v in enumerate(rare) if v is not None}
    alone = {i: np.where(v.own >= TOLD_MASS, v.own, np.inf) for i, v in known.items()}
    for i, own in alone.items():
        count = np.where(own < np.inf, plain * own + wide * drawn(i, known[i]), np.inf).min()
        if count < expected:
            most_rare, expected = f"a value of {law.names[i]}", float(count)
    for i, j in combinations(known, 2):
        own = np.outer(alone[i], alone[j])
        count = plain * own + wide * np.outer(drawn(i, known[i]), drawn(j, known[j]))
        count = np.where((own >= TOLD_MASS) & (own < np.inf), count, np.inf).min()
        if count < expected:
            most_rare, expected = f"a pair of values of {law.names[i]} and {law.names[j]}", count
    if not most_rare:
        return []
    text = (
        f"{most_rare} is to be expected in {expected:.2g} draws only: if the output is much "
        "different there, the intervals don't know of it. More calls would help"
    )
    return [Caution("rare-values", text)]
