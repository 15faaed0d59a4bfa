"""Coordinates that are bent until weighted draws look normal along each of them.

A sinh-arcsinh map (Jones & Pewsey 2009, Biometrika 96) takes away skewness and weight of tails: an
elliptical law of what it gives is a skewed law of the draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

POINTS = 128  # quantiles that stand for the draws along a coordinate
SEEN = 40  # effective draws, for each input and four more, that tell a bend
WORTH = 2  # log likelihood of a coordinate's bend, in logs of the effective draws
SKEWED, LIGHT = 1.5, 0.3  # skewness and log tail beyond those of laws that end nowhere
# of place, log spread, skewness and log weight of tails
BOUNDS = [(-3.0, 3.0), (-2.0, 2.0), (-2.0, 2.0), (-0.7, 0.7)]


@dataclass(frozen=True)
class Bend:
    """y = sinh(tail asinh((v - place) / spread) - skewness), for v = W (u - centre)."""

    centre: np.ndarray  # (d,)
    cholesky: np.ndarray  # (d, d): inverse of W
    shape: np.ndarray  # (4, d): places, log spreads, skewnesses, log tails

    @property
    def parameters(self) -> int:
        """How many numbers were fitted, beside mean and spread."""
        return int(2 * self.shape.any(0).sum())

    def __call__(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bent coordinates (n, d) of the points u (n, d), and the log of |dy/du| (n,)."""
        place, log_spread, skewness, log_tail = self.shape
        z = ((u - self.centre) @ np.linalg.inv(self.cholesky).T - place) * np.exp(-log_spread)
        y = np.sinh(np.exp(log_tail) * np.arcsinh(z) - skewness)
        log_slope = 0.5 * np.log((1 + y * y) / (1 + z * z)).sum(1)
        level = log_tail - log_spread - np.log(np.diag(self.cholesky))
        return y, log_slope + level.sum()

    def back(self, y: np.ndarray) -> np.ndarray:
        """Points (n, d) whose bent coordinates are y (n, d)."""
        place, log_spread, skewness, log_tail = self.shape
        z = np.sinh((np.arcsinh(y) + skewness) * np.exp(-log_tail))
        return np.asarray(self.centre + (place + np.exp(log_spread) * z) @ self.cholesky.T)


def bend_of(u: np.ndarray, w: np.ndarray, centre: np.ndarray, cholesky: np.ndarray) -> Bend | None:
    """The bend for draws u (n, d) with weights w (n,) of sum 1, whitened by their moments.

    None where there are too few of them, or no coordinate is worth the parameters.
    """
    d, size = u.shape[1], 1 / (w @ w)
    if size < SEEN * (d + 4):
        return None
    v = (u - centre) @ np.linalg.inv(cholesky).T
    # a normal law has neither skewness nor kurtosis
    odd = np.abs(w @ v**3) > 3 * np.sqrt(6 / size)
    odd |= np.abs(w @ v**4 - 3) > 5 * np.sqrt(24 / size)
    shape, shares = np.zeros((4, d)), (np.arange(POINTS) + 0.5) / POINTS
    for i in np.flatnonzero(odd):
        rows = np.argsort(v[:, i])
        at = np.searchsorted(np.cumsum(w[rows]), shares)
        points = v[rows[np.minimum(at, len(rows) - 1)], i]
        found, fit = _fitted(points)
        # where draws end at a place, a bent law would be thin just there
        ends = abs(found[2]) > SKEWED or found[3] > LIGHT
        if not ends and size * (0.5 + np.log(points.std()) - fit) > WORTH * np.log(size):
            shape[:, i] = found
    return Bend(centre, cholesky, shape) if shape.any() else None


def _fitted(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Shape (4,) that makes points along a coordinate most likely normal, and minus their fit."""
    from scipy.optimize import minimize

    def loss(p: np.ndarray) -> tuple[float, np.ndarray]:
        place, log_spread, skewness, log_tail = p
        z, tail = (points - place) * np.exp(-log_spread), np.exp(log_tail)
        root, angle = np.sqrt(1 + z * z), np.arcsinh(z)
        inner = tail * angle - skewness
        y, cosh = np.sinh(inner), np.cosh(inner)
        value = (0.5 * y * y + np.log(root) - np.log(cosh)).mean() - log_tail + log_spread
        by_inner = y * cosh - y / cosh
        by_z = by_inner * tail / root + z / root**2
        slope = [
            -by_z.mean() * np.exp(-log_spread),
            1 - (by_z * z).mean(),
            -by_inner.mean(),
            (by_inner * tail * angle).mean() - 1,
        ]
        return float(value), np.array(slope)

    start = np.array([points.mean(), np.log(points.std()), 0.0, 0.0])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=BOUNDS)
    return found.x, float(found.fun)
