"""The truth of the flood problem by deterministic quadrature: python benchmarks/flood_truth.py.

Overflow above s means Q / Ks > B sqrt((Zm - Zv) / L) h^(5/3), with h = s + Hd + Cb - Zv. So

1. the survival function of R = Q / Ks is one integral over Ks of the truncated Gumbel's, known in
   closed form; on the range that matters it is (200 - r)^2 times an analytic function of r, which
   a Chebyshev interpolant holds to 14 digits (R <= 3000 / 15 = 200);
2. w = Hd + Cb has a piecewise density in closed form; the integral over w is cut at its knots and
   where h makes the level unreachable, so that each piece is smooth;
3. Zv, Zm, L and B are integrated by Gauss-Legendre on each side of their modes;
4. moments of the overflow are integrals of P(S > s) over s.

Nothing here uses the package. Two resolutions are printed; their difference bounds the error.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial.chebyshev import Chebyshev
from numpy.polynomial.legendre import leggauss
from scipy.special import ndtr

Q_RANGE, KS_LOWER = (500.0, 3000.0), 15.0
R_MAX = Q_RANGE[1] / KS_LOWER
R_MIN = 60.0
THRESHOLDS = (0.0, 0.4, 0.8, 1.2)


def gumbel_cdf(q):
    return np.exp(-np.exp(-(q - 1013.0) / 558.0))


def gauss(lower, upper, n):
    """Nodes and weights on [lower, upper], arrays of intervals along the first axes."""
    t, w = leggauss(n)
    half = (np.asarray(upper) - np.asarray(lower))[..., None] / 2
    return np.asarray(lower)[..., None] + half * (t + 1), half * w


def triangular(lower, mode, upper, n):
    """Nodes and weights of the expectation under a triangular law, n on each side."""
    nodes, weights = [], []
    for end in (lower, upper):
        x, w = gauss(min(end, mode), max(end, mode), n)
        nodes.append(x)
        weights.append(w * np.abs(x - end) * 2 / ((upper - lower) * abs(mode - end)))
    return np.concatenate(nodes), np.concatenate(weights)


def ratio_survival(r):
    """P(Q / Ks > r) for r in [R_MIN, R_MAX): integral over Ks up to 3000 / r."""
    k, w = gauss(np.full(np.shape(r), KS_LOWER), Q_RANGE[1] / r, 80)
    density = np.exp(-0.5 * ((k - 30.0) / 8.0) ** 2) / (8.0 * np.sqrt(2 * np.pi))
    density /= ndtr((30.0 - KS_LOWER) / 8.0)
    # R_MIN Ks > 500: the flow is never below its own lower bound here
    mass = gumbel_cdf(Q_RANGE[1]) - gumbel_cdf(Q_RANGE[0])
    survival = (gumbel_cdf(Q_RANGE[1]) - gumbel_cdf(r[..., None] * k)) / mass
    return (w * density * survival).sum(axis=-1)


SCALED = Chebyshev.interpolate(
    lambda r: (
        ratio_survival(np.minimum(r, R_MAX - 1e-9)) / (R_MAX - np.minimum(r, R_MAX - 1e-9)) ** 2
    ),
    60,
    domain=[R_MIN, R_MAX - 1e-3],
)


def height_density(w):
    """Density of w = Hd + Cb, uniform on [0, 1] plus triangular on [55, 55.5, 56]."""

    def cb_cdf(c):
        y = np.clip(c - 55.0, 0.0, 1.0)
        return np.where(y < 0.5, 2 * y**2, 1 - 2 * (1 - y) ** 2)

    return cb_cdf(w) - cb_cdf(w - 1.0)


def exceedance(s, n_w, n_z, n_small):
    """P(S > s) with n_w nodes per piece of w, n_z per side of Zv and Zm, n_small of L and B."""
    zv, w_zv = triangular(49.0, 50.0, 51.0, n_z)
    zm, w_zm = triangular(54.0, 55.0, 56.0, n_z)
    ell, w_ell = triangular(4990.0, 5000.0, 5010.0, n_small)
    b, w_b = triangular(295.0, 300.0, 305.0, n_small)
    width = (b[:, None] / np.sqrt(ell)).ravel()
    w_width = np.outer(w_b, w_ell).ravel()
    total = 0.0
    knots = np.array([55.0, 55.5, 56.0, 56.5, 57.0])
    for v, weight_v in zip(zv, w_zv, strict=True):
        c = np.outer(np.sqrt(zm - v), width)
        reachable = (R_MAX / c) ** 0.6 - s + v
        pieces = np.minimum(knots, reachable[..., None])
        w, weight_w = gauss(pieces[..., :-1], pieces[..., 1:], n_w)
        r = c[..., None, None] * (s + w - v) ** (5 / 3)
        survival = (R_MAX - r) ** 2 * SCALED(np.clip(r, R_MIN, R_MAX - 1e-3))
        inner = (weight_w * height_density(w) * survival).sum(axis=(-1, -2))
        total += weight_v * (w_zm @ inner @ w_width)
    return total


def truths(n_s, *nodes):
    """The six expectations."""
    highest = (R_MAX / (295.0 * np.sqrt(3.0 / 5010.0))) ** 0.6 + 51.0 - 55.0
    s, weight = gauss(0.0, highest, n_s)
    p = np.array([exceedance(level, *nodes) for level in s])
    return [weight @ p, 2 * weight @ (s * p), *(exceedance(t, *nodes) for t in THRESHOLDS)]


def main():
    names = ["E[max(S, 0)]", "E[max(S, 0)^2]", *(f"P(S > {t})" for t in THRESHOLDS)]
    coarse, fine = truths(30, 8, 8, 3), truths(40, 12, 14, 4)
    for name, a, b in zip(names, coarse, fine, strict=True):
        print(f"{name:16} {b:.12e}   relative change from the coarser rule {abs(a / b - 1):.1e}")


if __name__ == "__main__":
    main()
