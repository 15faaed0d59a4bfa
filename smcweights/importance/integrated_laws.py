"""The law of one input that is known by draws and density alone: integrated, and inverted.

The real line is cut where draws lie, and outwards by as much as the log density changes, until it
ends or has no weight left; the density is integrated cell by cell. Each tail is summed from its own
end, so that it keeps its digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import arguments

Array = NDArray[np.float64]

DRAWS = 4_096
CELLS = 256  # where draws lie
MOST = 1_000  # cells on the way to an end
FALL = 2.0  # by which the log density may change in a cell farther out
LEAST = -745.0  # log density, less its largest, from which there is nothing left
NODES, WEIGHTS = np.polynomial.legendre.leggauss(10)
APART = 2.7 / np.sqrt(DRAWS)  # between draws and distribution function; by chance in one of 10^6


@dataclass(frozen=True)
class Integrated:
    """A law with ``rvs`` and ``logpdf`` under all methods of one input's law."""

    distribution: Any

    def check(self, where: str) -> None:
        """Refuse draws and densities that are no numbers, or not of one normalised law."""
        draws = arguments.told(f"{where}: rvs", self._draws)
        if draws.shape != (DRAWS,) or not np.isfinite(draws).all() or not np.ptp(draws) > 0:
            raise ValueError(
                f"{where}: {DRAWS} draws by rvs have shape {draws.shape}; expected as many finite "
                "numbers, not all the same"
            )
        density = arguments.told(f"{where}: logpdf", self.distribution.logpdf(draws))
        if density.shape != draws.shape or not np.isfinite(density).all():
            raise ValueError(
                f"{where}: logpdf at its own draws, shape {draws.shape}, returned shape "
                f"{density.shape} or no finite numbers; expected one for each"
            )
        total = self._cells[3]
        if not abs(total - 1) < 1e-3:
            raise ValueError(
                f"{where}: the density integrates to {total:.4g}; expected 1, a normalised one"
            )
        rank = np.arange(DRAWS + 1) / DRAWS
        p = np.sort(self.cdf(draws))
        apart = max(np.abs(p - rank[1:]).max(), np.abs(p - rank[:-1]).max())
        if apart > APART:
            raise ValueError(
                f"{where}: draws by rvs and logpdf differ, their distribution functions by "
                f"{apart:.2g}; expected those of one law"
            )

    @cached_property
    def _draws(self) -> Any:
        return self.distribution.rvs(size=DRAWS, random_state=np.random.default_rng(0))

    @cached_property
    def _cells(self) -> tuple[Array, Array, Array, float]:
        """Edges (m,), probabilities below and above them, and what the density integrates to."""
        draws = np.asarray(self._draws, dtype=float)
        inner = np.unique(np.quantile(draws, np.linspace(0, 1, CELLS + 1)))
        width = np.ptp(inner) / CELLS
        lower = list(self._outwards(inner[0], -width))[::-1]
        edges = np.array([*lower, *inner, *self._outwards(inner[-1], width)])
        mass = self._integral(edges[:-1], edges[1:])
        below = np.concatenate([[0.0], np.cumsum(mass)])
        above = np.concatenate([np.cumsum(mass[::-1])[::-1], [0.0]])
        return edges, below / below[-1], above / below[-1], float(below[-1])

    def _outwards(self, x: float, step: float) -> Iterator[float]:
        """Edges beyond x, in steps of either sign."""
        here = self._log(x)
        summit = max(here, float(np.max(self._log(self._draws))))
        for _ in range(MOST):
            there = self._log(x + step)
            while there > -np.inf and abs(there - here) > FALL and abs(step) > 1e-12 * abs(x):
                step /= 2
                there = self._log(x + step)
            if there == -np.inf:
                # the end is between: a density that falls to zero smoothly has none
                near, far = 0.0, 1.0
                for _ in range(60):
                    middle = (near + far) / 2
                    inside = self._log(x + middle * step) > -np.inf
                    near, far = (middle, far) if inside else (near, middle)
                # ever closer to the end, where the density may be a power of the distance
                edges = x + near * step * (1 - 2.0 ** -np.arange(1.0, 50.0))
                yield from np.unique(np.append(edges, x + near * step))[:: 1 if step > 0 else -1]
                return
            x, here = x + step, there
            yield x
            if there < summit + LEAST:
                return
            step *= 1.3

    def _log(self, x: Any) -> Any:
        with np.errstate(all="ignore"):
            found = np.asarray(self.distribution.logpdf(np.atleast_1d(x)), dtype=float)
        return found if np.ndim(x) else float(found[0])

    def _integral(self, a: Array, b: Array) -> Array:
        """Of the density from a (n,) to b (n,)."""
        half = (b - a) / 2
        at = (a + half)[:, None] + half[:, None] * NODES
        density = np.exp(self._log(at.ravel())).reshape(at.shape)
        return np.asarray(half * (density @ WEIGHTS))

    def support(self) -> tuple[float, float]:
        """Ends of the interval on which the density is positive."""
        edges = self._cells[0]
        ends, step = edges[[0, -1]], 1e-6 * np.ptp(edges)
        found = zip(ends, self._log(ends + np.array([-step, step])), (-1, 1), strict=True)
        lower, upper = (end if log == -np.inf else sign * np.inf for end, log, sign in found)
        return float(lower), float(upper)

    def _tail(self, x: ArrayLike, upper: bool) -> Any:
        edges, below, above, total = self._cells
        at = np.clip(np.ravel(np.asarray(x, dtype=float)), edges[0], edges[-1])
        cell = np.clip(np.searchsorted(edges, at, side="right") - 1, 0, len(edges) - 2)
        if upper:
            found = above[cell + 1] + self._integral(at, edges[cell + 1]) / total
        else:
            found = below[cell] + self._integral(edges[cell], at) / total
        return np.minimum(found, 1.0).reshape(np.shape(x))[()]

    def cdf(self, x: ArrayLike) -> Any:
        """Distribution function, shaped like x."""
        return self._tail(x, False)

    def sf(self, x: ArrayLike) -> Any:
        """Survival function, shaped like x."""
        return self._tail(x, True)

    def logpdf(self, x: ArrayLike) -> Any:
        """Log density, shaped like x."""
        return self._log(np.ravel(x)).reshape(np.shape(x))[()]

    def ppf(self, q: ArrayLike) -> Any:
        """Quantile function, shaped like q."""
        return self._inverse(q, False)

    def isf(self, q: ArrayLike) -> Any:
        """Inverse survival function, shaped like q."""
        return self._inverse(q, True)

    def _inverse(self, q: ArrayLike, upper: bool) -> Any:
        edges, below, above, _ = self._cells
        p = np.ravel(np.asarray(q, dtype=float))
        near = p < 0.5
        # by the smaller tail, which has the digits
        wanted, far = np.where(near, p, 1 - p), near == upper
        cell = np.where(
            far,
            len(edges) - 1 - np.searchsorted(above[::-1], wanted, side="right"),
            np.searchsorted(below, wanted, side="right") - 1,
        )
        cell = np.clip(cell, 0, len(edges) - 2)
        a, b = edges[cell], edges[cell + 1]
        side = np.where(far[:, None], above[[cell, cell + 1]].T, below[[cell, cell + 1]].T)
        share = (wanted - side[:, 0]) / np.where(side[:, 1] == side[:, 0], 1.0, np.diff(side).T[0])
        x = a + np.clip(share, 0.0, 1.0) * (b - a)
        for _ in range(6):
            tail = np.where(far, self.sf(x), self.cdf(x))
            density = np.maximum(np.exp(self._log(x)), 1e-300)
            with np.errstate(divide="ignore", invalid="ignore"):
                step = np.log(tail / wanted) * tail / density
            step = np.where(np.isfinite(step), step, 0.0)
            x = np.clip(x - np.where(far, -step, step), a, b)
        lower, end = self.support()
        x = np.where(wanted > 0, x, np.where(far, end, lower))
        return x.reshape(np.shape(q))[()]
