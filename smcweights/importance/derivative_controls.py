"""A mixture and its derivatives as control variates: they integrate to one, and to zero.

For normal laws g_k of mean m_k and precision P_k, and directions e_i, the mixture q = sum a_k g_k,
which need not be the one that draws come from, has the derivatives, but for their signs,

    first    sum_k a_k g_k q_ki,                        q_ki = e_i' P_k (u - m_k),
    second   sum_k a_k g_k (q_ki q_kj - S_kij),         S_kij = e_i' P_k e_j,
    third    sum_k a_k g_k (q_ki^3 - 3 q_ki S_kii).

The mixture itself is exact for the evidence of a normal posterior, the first derivatives for its
means, the second for its variances, however much wider the law is that draws come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..regression import Choice
from .proposals import SCRATCH, Elliptical, Mixture, log_densities, straightened

FULL = 20  # inputs up to which mixed second derivatives are taken
DRAWS = 10  # for each control


@dataclass(frozen=True)
class Derivatives:
    """A mixture of normal laws, and derivatives along the columns of ``cholesky`` (d, d).

    Both in bent coordinates where the laws are bent ones.
    """

    mixture: Mixture
    cholesky: np.ndarray

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of first derivatives, and of all."""
        d = len(self.cholesky)
        return d, 2 * d + (d * (d + 1) // 2 if d <= FULL else d)

    def over(self, u: np.ndarray, log_h: np.ndarray) -> np.ndarray:
        """Mixture and derivatives over the draws' density: (n, 1 + all) of u (n, d), log_h (n,)."""
        (d, total), laws = self.sizes, []
        # what integrates to zero over bent coordinates does so over the points
        mixture, bend = straightened(self.mixture)
        if bend is not None:
            u, log_slope = bend(u)
            log_h = log_h - log_slope
        for g in mixture.components:
            assert isinstance(g, Elliptical)
            along = np.linalg.solve(g.cholesky, self.cholesky)
            turn = np.linalg.solve(g.cholesky.T, along).T
            laws.append((turn, (turn @ g.mean)[:, None], along.T @ along))
        of_seconds = _seconds(d)
        level = np.stack([s[of_seconds] for _, _, s in laws], axis=1)
        whole, rows = np.zeros((1 + total, len(u))), max(64, SCRATCH // total)
        out = whole[1:]
        for a in range(0, len(u), rows):
            block = out[:, a : a + rows]
            share = np.exp(
                log_densities(mixture.components, u[a : a + rows]).T - log_h[a : a + rows]
            )
            share *= mixture.weights[:, None]
            whole[0, a : a + rows] = share.sum(0)
            for own, (turn, start, s) in zip(share, laws, strict=True):
                q = turn @ u[a : a + rows].T - start
                part = own * q
                block[:d] += part
                at = d
                for i in range(d):
                    width = d - i if d <= FULL else 1
                    block[at : at + width] += part[i] * q[i : i + width]
                    at += width
                block[-d:] += part * (q * q - 3 * s.diagonal()[:, None])
            block[d:-d] -= level @ share
        return whole.T


def _seconds(d: int) -> tuple[np.ndarray, ...]:
    """Rows and columns of the second derivatives that are taken."""
    return np.triu_indices(d) if d <= FULL else np.diag_indices(d)


def nested_choices(components: int, derivatives: Derivatives, draws: int) -> Sequence[Choice]:
    """Ways to regress, the most restrained first, as many as ``draws`` can tell apart."""
    k, (first, total) = components, derivatives.sizes
    choices = [Choice("none")]
    if draws >= DRAWS * k:
        choices += [Choice(f"components, cut-off {c:g}", k, c) for c in (0.1, 0.01, 0.001)]
    if draws >= DRAWS * (k + first):
        choices.append(Choice("components and first derivatives", k + first, 1e-3))
    if draws >= DRAWS * (k + total):
        choices.append(Choice("components and derivatives", k + total, 1e-3))
    return choices
