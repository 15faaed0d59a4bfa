"""Coordinates in which the input law has zero mean and unit scale, where proposals are fitted.

Standard-normal space where the law has an isoprobabilistic map, else the inputs centred and scaled.
A density of the user's is seen from there, and refused if it doesn't integrate to one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..randomness import generator
from .laws import Law
from .proposals import LOG_2PI, Elliptical

__all__ = ["Given", "WorkingSpace", "check_normalised", "working_space"]


@dataclass(frozen=True)
class WorkingSpace:
    """Coordinates in which the input law has zero mean and unit scale.

    Standard-normal space where the law has an isoprobabilistic map; otherwise the inputs
    themselves, centred and scaled.

    Attributes
    ----------
    law : laws.Law
    centre : ndarray, shape (d,), or None
        None where the law is mapped.
    factor : ndarray, shape (d, d)
        Inputs are then centre + factor u.
    """

    law: Law
    centre: np.ndarray | None = None
    factor: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    def to_inputs(self, u: np.ndarray) -> np.ndarray:
        """Inputs (n, d) of the points u (n, d)."""
        if self.centre is None:
            return self.law.to_inputs(u)
        return self.centre + u @ self.factor.T

    def from_inputs(self, x: np.ndarray) -> np.ndarray:
        """Points (n, d) of the inputs x (n, d)."""
        if self.centre is None:
            return self.law.from_inputs(x)
        return np.linalg.solve(self.factor, (x - self.centre).T).T

    def log_volume(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Log of |dx/du| at the points u, whose inputs are x: (n,)."""
        if self.centre is None:
            return self._standard_log_density(u) - self.law.log_density(x)
        return np.full(len(u), np.log(np.abs(np.linalg.det(self.factor))))

    def input_log_density(self, x: np.ndarray, log_f: np.ndarray) -> np.ndarray:
        """Log density of the law at inputs x, given that at their points: (n,)."""
        if self.centre is None:
            return self.law.log_density(x)
        # a user's density may be dear: it has been called already
        return log_f - self.log_volume(x, x)

    def _standard_log_density(self, u: np.ndarray) -> np.ndarray:
        """Standard-normal log density, (n,)."""
        return -0.5 * (np.einsum("nd,nd->n", u, u) + u.shape[1] * LOG_2PI)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws of the input law, shape (n, d)."""
        if self.centre is None:
            return rng.standard_normal((n, self.law.dimension))
        return self.from_inputs(self.law.sample(rng, n))

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density of the input law at the points u, (n,)."""
        if self.centre is None:
            return self._standard_log_density(u)
        x = self.to_inputs(u)
        return self.law.log_density(x) + self.log_volume(u, x)


def working_space(law: Law, rng: np.random.Generator) -> WorkingSpace:
    """The working space of a `laws.Law`; an unmapped law is scaled by 4096 draws of its own."""
    if law.mapped:
        return WorkingSpace(law)
    x = law.sample(rng, 4096)
    low, centre, high = np.quantile(x, [0.02, 0.5, 0.98], axis=0)
    x = x[((x >= low) & (x <= high)).all(1)]
    spread = np.maximum(high - low, 1e-300) / 4
    correlation = np.corrcoef(x.T).reshape(law.dimension, law.dimension)
    correlation = 0.99 * np.nan_to_num(correlation) + 0.01 * np.eye(law.dimension)
    np.fill_diagonal(correlation, 1.0)
    return WorkingSpace(law, centre, spread[:, None] * np.linalg.cholesky(correlation))


@dataclass(frozen=True)
class Given:
    """A law of the user's (a `laws.Law` on the inputs), seen from a working space."""

    law: Law
    space: WorkingSpace

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape (n, d)."""
        x = self.law.sample(rng, n)
        try:
            return self.space.from_inputs(x)
        except ValueError as error:
            raise ValueError(f"proposal: draws outside the support of the law: {error}") from error

    def log_density(self, u: np.ndarray) -> np.ndarray:
        """Log density at the rows of u, shape (n,)."""
        x = self.space.to_inputs(u)
        return self.law.log_density(x) + self.space.log_volume(u, x)


def check_normalised(law: Law, root: np.random.SeedSequence, argument: str, remedy: str) -> None:
    """Refuse a law whose density doesn't integrate to one, or isn't that of its draws.

    For densities f and q the mean of q/(f + q) over draws of f is that of f/(f + q) over draws of
    q; both are bounded, whatever the tails. q is a Student law of about the same scale.
    """
    if law.mapped:
        return
    space = working_space(law, generator(root, "scale", 1))
    other = Elliptical(np.zeros(law.dimension), np.eye(law.dimension), 3.0)
    rng, n = generator(root, "normalised"), 4096
    u, v = space.sample(rng, n), other.sample(rng, n)
    with np.errstate(invalid="ignore"):
        ours = space.log_density(u) - other.log_density(u)
        theirs = space.log_density(v) - other.log_density(v)

    def balance(log_constant: float) -> tuple[float, float, float]:
        a = 1 / (1 + np.exp(np.clip(ours - log_constant, -700, 700)))
        b = 1 / (1 + np.exp(np.clip(log_constant - theirs, -700, 700)))
        return a.mean(), b.mean(), np.sqrt((a.var() + b.var()) / n)

    a, b, error = balance(0.0)
    # six standard errors of bounded terms; the second condition is for their discreteness
    if abs(a - b) > 6 * error and abs(a - b) * n > 50:
        low, high = -700.0, 700.0
        for _ in range(60):
            middle = (low + high) / 2
            a, b, _ = balance(middle)
            low, high = (middle, high) if b > a else (low, middle)
        raise ValueError(
            f"{argument}: its density integrates to about exp({middle:.3g}) where 1 is expected, "
            f"or is not the density of its draws; {remedy}"
        )
