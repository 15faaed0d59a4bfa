"""Response surfaces: a noisy function's maximum from polynomials fitted around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DegeneracyError

Array = NDArray[np.float64]
DEEPEST = 12.0  # below the best point, where points tell nothing of the top any more
LEAST_CURVATURE = 1 / 9  # of a round: its design grows at most threefold
LONGEST_STEP = 2.0  # of a round, and
REACH = 1.5  # of the last one, in standard deviations of the design
NEAR = 1.0  # from a round's centre the top lies when the last one may come
ALIKE = 3.0  # and its curvature within such a factor of the design's
MOST_ROUNDS = 8
POINTS_PER_TERM = 3
MOST_CUBIC = 6  # dimensions in which cubic terms are affordable


class Design(NamedTuple):
    """Where points are laid: normal around a centre (m,), with this root (m, m) of covariance."""

    centre: Array
    root: Array

    def at(self, z: Array) -> Array:
        """Points (n, m) of standard ones."""
        return self.centre + z @ self.root.T

    def around(self, z: Array) -> Design:
        """With centre and spread of these standard points."""
        spread = np.cov(z, rowvar=False, ddof=0).reshape(2 * self.centre.shape)
        spread += 1e-9 * np.eye(len(spread))
        return Design(self.at(z.mean(axis=0)), self.root @ np.linalg.cholesky(spread))

    def moved(self, z: Array, curvature: Array) -> Design:
        """Around point z, with the spread that minus the second derivatives there ask for."""
        values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
        values = np.maximum(values, LEAST_CURVATURE)
        return Design(self.at(z), self.root @ (vectors / np.sqrt(values)))


@dataclass(frozen=True, eq=False)
class Summit:
    """Top of a surface at a point (m,): minus its second derivatives there, and the error of it.

    The covariance (m, m) is that of the point, for the noise of the heights.
    """

    point: Array
    height: float
    curvature: Array
    covariance: Array
    freedom: int
    noise: float


def climbed(
    heights: Callable[[int, Array], Array],
    design: Design,
    n: int,
    names: Sequence[str],
    rng: np.random.Generator,
) -> tuple[Summit, Design]:
    """The top of a surface near a design's centre, from n points in each round.

    Parameters
    ----------
    heights : callable
        (round, points (n, m)) -> (n,), with noise; -inf where there is nothing.
    design : Design
    n : int
    names : sequence of str, length m
    rng : numpy.random.Generator

    Raises
    ------
    DegeneracyError
        The top is beyond the design after all rounds.
    """
    m, settled, worst = len(design.centre), False, design.root[:, -1]
    last = 3 if m <= MOST_CUBIC else 2
    for lap in range(MOST_ROUNDS):
        z, degree = rng.standard_normal((n, m)), last if settled else 2
        found = heights(lap, design.at(z))
        if (found > found.max() - DEEPEST).sum() < POINTS_PER_TERM * math.comb(m + degree, m):
            # far too wide a design: where the best points are
            design, settled = design.around(z[np.argsort(found)[-max(n // 8, 2 * m) :]]), False
            continue
        fitted = Polynomial.fitted(z, found, degree)
        if not settled:
            gradient, curvature = fitted.derivatives(np.zeros(m))
            step = _uphill(gradient, curvature)
            length = float(np.linalg.norm(step))
            bends, turn = np.linalg.eigh(curvature)
            worst = design.root @ turn[:, 0]
            # a design of the top's own size and place is the last one's
            settled = lap > 0 and length < NEAR and 1 / ALIKE < bends[0] <= bends[-1] < ALIKE
            design = design.moved(step * min(1.0, LONGEST_STEP / max(length, 1e-300)), curvature)
            continue
        top, inside = fitted.top()
        if inside:
            return fitted.summit(top, design), design
        design, settled = design._replace(centre=design.at(top)), False
    worst = worst / np.linalg.norm(worst)
    shown = " ".join(f"{v:+.2f} {k}" for k, v in zip(names, worst, strict=True) if abs(v) >= 0.005)
    raise DegeneracyError(
        f"no top within the design after {MOST_ROUNDS} rounds; the likelihood bends least along "
        f"{shown} (unconstrained): hold parameters that the data don't determine, take more "
        "particles, or start closer to the maximum"
    )


@dataclass(frozen=True, eq=False)
class Polynomial:
    """Least squares of heights on all monomials up to a degree of standardised points."""

    powers: list[tuple[int, ...]]
    size: int
    coefficients: Array
    root: Array  # R of the monomials' QR: covariance = noise^2 (R'R)^-1
    noise: float
    freedom: int

    @classmethod
    def fitted(cls, z: Array, heights: Array, degree: int) -> Polynomial:
        """By points that are not far below the best one."""
        m = z.shape[1]
        powers = [
            term for d in range(degree + 1) for term in combinations_with_replacement(range(m), d)
        ]
        kept = heights > heights.max() - DEEPEST
        features = _monomials(z[kept], powers)
        shift = float(heights[kept].mean())
        q, r = np.linalg.qr(features)
        coefficients = np.linalg.solve(r, q.T @ (heights[kept] - shift))
        left = heights[kept] - shift - features @ coefficients
        freedom = int(kept.sum()) - len(powers)
        coefficients[0] += shift
        return cls(powers, m, coefficients, r, math.sqrt(left @ left / freedom), freedom)

    def height(self, z: Array) -> float:
        """Value at a point."""
        return float((_monomials(z[None], self.powers) @ self.coefficients)[0])

    def derivatives(self, z: Array) -> tuple[Array, Array]:
        """Gradient (m,) and minus the second derivatives (m, m) at a point."""
        slopes, bends = self._slopes(z)
        return slopes @ self.coefficients, -(bends @ self.coefficients)

    def _slopes(self, z: Array) -> tuple[Array, Array]:
        """Of all monomials: (m, terms) and (m, m, terms)."""
        m = self.size
        slopes, bends = np.zeros((m, len(self.powers))), np.zeros((m, m, len(self.powers)))
        for k, term in enumerate(self.powers):
            for i, a in enumerate(term):
                rest = term[:i] + term[i + 1 :]
                slopes[a, k] += np.prod(z[list(rest)])
                for j, b in enumerate(rest):
                    bends[a, b, k] += np.prod(z[list(rest[:j] + rest[j + 1 :])])
        return slopes, bends

    def top(self) -> tuple[Array, bool]:
        """The highest point within reach, and whether it lies inside."""
        z = np.zeros(self.size)
        for _ in range(100):
            new = z + _uphill(*self.derivatives(z))
            length = float(np.linalg.norm(new))
            new *= min(1.0, REACH / max(length, 1e-300))
            # half the way where the polynomial bends away
            while self.height(new) < self.height(z) - 1e-12 and np.linalg.norm(new - z) > 1e-10:
                new = z + (new - z) / 2
            z, moved = new, float(np.linalg.norm(new - z))
            if moved < 1e-9:
                break
        _, curvature = self.derivatives(z)
        bent = float(np.linalg.eigvalsh(curvature)[0]) > LEAST_CURVATURE
        return z, bent and float(np.linalg.norm(z)) < 0.99 * REACH

    def summit(self, z: Array, design: Design) -> Summit:
        """The top at z, in the coordinates of the points."""
        _, curvature = self.derivatives(z)
        slopes, _ = self._slopes(z)
        # z = argmax: dz = curvature^-1 d gradient
        jacobian = np.linalg.solve(curvature, slopes)
        factor = design.root @ np.linalg.solve(self.root.T, jacobian.T).T * self.noise
        inverse = np.linalg.inv(design.root)
        return Summit(
            design.at(z),
            self.height(z),
            inverse.T @ curvature @ inverse,
            factor @ factor.T,
            self.freedom,
            self.noise,
        )


def _uphill(gradient: Array, curvature: Array) -> Array:
    """Newton's step to a maximum, of directions that bend enough or are taken to."""
    values, vectors = np.linalg.eigh(curvature)
    return vectors @ (vectors.T @ gradient / np.maximum(values, LEAST_CURVATURE))


def _monomials(z: Array, powers: list[tuple[int, ...]]) -> Array:
    return np.stack([np.prod(z[:, list(term)], axis=1) for term in powers], axis=1)
