"""Discrete laws whose distribution function SciPy adds up anew at every call, added up once.

Zipf's tail is a zeta function, and found by bisection as far out as it reaches; the others are a
table of all values but for a tail of 1e-15, or refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import zeta

Array = NDArray[np.float64]

# tails of discrete laws end here: beyond, scipy.stats counts from 1 - q
ATOM = 1e-15
FIRST = 4_096  # values added up at first
MOST = 2**21  # and at the most


@dataclass(frozen=True)
class Counted:
    """A discrete law as a table from its least value on, and Zipf's tail beyond.

    ``reached`` (m,) are the probabilities up to each value; ``exponent`` and ``origin`` are those
    of Zipf's law, whose probabilities fall as (x - origin)^-exponent, NaN for others.
    """

    distribution: Any
    least: float
    reached: Array
    exponent: float
    origin: float

    def ppf(self, q: ArrayLike) -> Any:
        """Quantile function, shaped like q."""
        q = np.asarray(q, dtype=float)
        x = np.atleast_1d(self.least + np.searchsorted(self.reached, q))
        beyond = np.atleast_1d(q > self.reached[-1])
        if np.isnan(self.exponent):
            x = np.minimum(x, self.least + len(self.reached) - 1)
        elif beyond.any():
            x[beyond] = self._far(1 - np.atleast_1d(q)[beyond])
        return x.reshape(q.shape)[()]

    def cdf(self, x: ArrayLike) -> Any:
        """Distribution function, shaped like x."""
        x = np.asarray(x, dtype=float)
        at = np.clip(np.floor(x - self.least), -1, len(self.reached) - 1).astype(int)
        p = np.where(at < 0, 0.0, self.reached[at])
        if np.isnan(self.exponent):
            return p[()]
        return np.where(x < self.least + len(self.reached), p, 1 - self._tail(x))[()]

    def sf(self, x: ArrayLike) -> Any:
        """Survival function, shaped like x."""
        if np.isnan(self.exponent):
            return 1 - self.cdf(x)
        return np.where(np.asarray(x) < self.least, 1.0, self._tail(x))[()]

    def _tail(self, x: ArrayLike) -> Array:
        rank = np.maximum(np.floor(np.asarray(x, dtype=float)) - self.origin, 0.0)
        return np.asarray(zeta(self.exponent, rank + 1) / zeta(self.exponent, 1))

    def _far(self, tail: Array) -> Array:
        """The least values with no more than the tail (n,) beyond them."""
        below = np.full(len(tail), self.least + len(self.reached) - 1)
        above = below + 1
        while (short := self._tail(above) > tail).any():
            width = 2 * (above - below)
            below = np.where(short, above, below)
            above = np.where(short, above + width, above)
        # neighbours in whole numbers, or in doubles where these are farther apart
        while (wide := above - below > np.maximum(1.0, np.spacing(above))).any():
            middle = np.floor(below + (above - below) / 2)
            short = self._tail(middle) > tail
            below, above = (
                np.where(wide & short, middle, below),
                np.where(wide & ~short, middle, above),
            )
        return above


def counted(law: Any, where: str) -> Any:
    """The law itself where SciPy has its distribution function, or a `Counted` one."""
    from scipy import stats

    dist = getattr(law, "dist", None)
    if not isinstance(dist, stats.rv_discrete) or type(dist)._cdf is not stats.rv_discrete._cdf:
        return law
    least, last = (float(end) for end in law.support())
    if not np.isfinite(least):
        return law
    if dist.name == "zipf":
        (exponent,), loc, _ = dist._parse_args(*law.args, **law.kwds)
        p = law.pmf(np.arange(least, least + FIRST))
        zipf = Counted(law, least, np.cumsum(p), float(exponent), float(loc))
        with np.errstate(all="ignore"):
            ended = np.isfinite(zipf.ppf(1 - ATOM))
        if not ended:
            raise ValueError(
                f"{where}: the quantile at 1 - {ATOM:g} of this zipf law is no number any more; "
                f"expected a larger exponent than {exponent:g}"
            )
        return zipf
    size = FIRST
    while True:
        p = law.pmf(least + np.arange(min(size, last - least + 1)))
        # a tail that falls as a power holds about as much as its first value times its rank
        ended = len(p) < size or p[-1] * size < ATOM
        if ended and abs(p.sum() - 1) < 1e-9:
            return Counted(law, least, np.cumsum(p), np.nan, np.nan)
        size *= 2
        if ended and size > MOST:
            raise ValueError(f"{where}: its probabilities add up to {p.sum():.6g}; expected 1")
        if size > MOST:
            raise ValueError(
                f"{where}: SciPy knows this {dist.name} law only by adding up probabilities, and "
                f"the first {len(p):,} values leave more than {ATOM:g}; expected a lighter tail, "
                "or a law of your own with ppf, cdf, sf, logpmf and support"
            )
