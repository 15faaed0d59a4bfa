"""Clouds for the tests, and distances computed another way: by quantiles and by quadrature."""

import functools
import math
import warnings

import numpy as np

import smcweights as smw


def mixture(n, d, seed, components=4):
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(components, d))
    return centres[rng.integers(components, size=n)] + 0.5 * rng.normal(size=(n, d))


def line_cost(a, b, p, weights_a=None, weights_b=None):
    """One-dimensional cost by quantile functions on the union of all their jumps."""

    def quantiles(points, weights):
        order = np.argsort(points)
        w = np.full(len(points), 1 / len(points)) if weights is None else weights / weights.sum()
        return points[order], np.cumsum(w[order])

    xa, ca = quantiles(a, weights_a)
    xb, cb = quantiles(b, weights_b)
    ends = np.unique(np.concatenate([ca, cb]))
    mass = np.diff(ends, prepend=0)
    middle = ends - mass / 2
    i = np.minimum(np.searchsorted(ca, middle), len(xa) - 1)
    j = np.minimum(np.searchsorted(cb, middle), len(xb) - 1)
    return mass @ np.abs(xa[i] - xb[j]) ** p


def sphere_rule(nodes=60):
    """Gauss-Legendre times equispaced angles: exact for polynomials of degree 2 nodes - 1."""
    z, w = np.polynomial.legendre.leggauss(nodes)
    half = z > 0
    angle = np.arange(2 * nodes) * math.pi / nodes
    r = np.sqrt(1 - z[half] ** 2)[:, None]
    theta = np.stack(
        [r * np.cos(angle), r * np.sin(angle), np.repeat(z[half][:, None], len(angle), 1)], axis=-1
    )
    return theta.reshape(-1, 3), np.repeat(2 * w[half] / 2 / len(angle), len(angle))


def truth_in_space(x, y, p, weights_x=None, weights_y=None, nodes=60):
    theta, w = sphere_rule(nodes)
    if len(x) == len(y) and weights_x is None and weights_y is None:
        gaps = np.sort(theta @ x.T, axis=1) - np.sort(theta @ y.T, axis=1)
        return float(w @ (np.abs(gaps) ** p).mean(axis=1) / w.sum())
    costs = [line_cost(x @ t, y @ t, p, weights_x, weights_y) for t in theta]
    return float(w @ costs / w.sum())


def quietly(*args, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        return smw.sliced_wasserstein(*args, **keywords)


SPACE = mixture(60, 3, 11), mixture(60, 3, 12)


@functools.cache
def truth_of(p):
    """Of the two clouds of `SPACE`."""
    return truth_in_space(*SPACE, p)
