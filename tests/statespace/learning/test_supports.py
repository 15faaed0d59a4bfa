"""Which parameters move the support of a density, from paths alone: what is refused, what passes.

Residuals of twelve times or more along eight paths, drawn from the law at theta[0] = 1.5.
"""

import math

import numpy as np
import pytest

from smcweights.statespace.learning.parameters import Free
from smcweights.statespace.learning.supports import moved_supports

THETA = np.array([1.5])


def uniform(e, theta):
    w = theta[0]
    return -np.inf if (np.abs(e) > w).any() else -e.size * math.log(2 * w)


def triangular(e, theta):
    w = theta[0]
    return -np.inf if (np.abs(e) >= w).any() else np.log((w - np.abs(e)) / w**2).sum()


def root(e, theta):
    """Falls to zero as the root of the distance, whose score has no variance."""
    w = theta[0]
    return -np.inf if (np.abs(e) >= w).any() else (0.5 * np.log(1 - (e / w) ** 2)).sum()


def shifted(e, theta):
    """Exponential from -theta[0] on."""
    return -np.inf if (e < -theta[0]).any() else -(e + theta[0]).sum()


def spike(e, theta):
    """Gamma of shape 0.5 from -theta[0] on: infinite at its end."""
    z = e + theta[0]
    return -np.inf if (z <= 0).any() else (-z - 0.5 * np.log(z)).sum()


def cut(e, theta):
    """Normal below theta[0]."""
    below = 0.5 * math.erfc(-theta[0] / math.sqrt(2))
    return -np.inf if (e > theta[0]).any() else (-0.5 * e**2).sum() - e.size * math.log(below)


def underflown(e, theta):
    """Normal, by the log of a density that is zero beyond 38 standard deviations."""
    with np.errstate(divide="ignore"):
        return float(np.log(np.exp(-0.5 * (e / (theta[0] / 56)) ** 2)).sum())


def normal(e, theta):
    return -0.5 * ((e / theta[0]) ** 2).sum() - e.size * math.log(theta[0])


def ranged(e, theta):
    return -np.inf if theta[0] >= 1.52 else normal(e, theta)


def of_data(e, theta):
    """Observations, the same along all paths, are uniform below theta[0]."""
    return -np.inf if theta[0] < 1.47 else normal(e, [1.0]) - 12 * math.log(theta[0])


def drawn(density, rng):
    """Residuals along eight paths, where the density at THETA is not zero."""
    u = 2 * rng.random((8, 12)) - 1
    if density in (triangular, root):
        return 1.5 * np.sign(u) * (1 - np.sqrt(np.abs(u)))
    if density in (shifted, spike):
        return rng.gamma(1.0 if density is shifted else 0.5, size=(8, 12)) - 1.5
    if density is cut:
        e = rng.standard_normal((8, 400))
        return np.array([row[row < 1.5][:200] for row in e])
    return 1.5 * u if density is uniform else rng.standard_normal((8, 12))


@pytest.mark.parametrize(
    "density, kind, surely",
    [
        (uniform, "log", True),
        (uniform, "identity", True),
        (shifted, "identity", True),
        (spike, "identity", True),
        (cut, "identity", True),
        (triangular, "log", False),
        (root, "log", False),
        (underflown, "log", False),
        (normal, "log", False),
        (ranged, "log", False),
        (of_data, "log", False),
    ],
)
def test_supports_that_move_are_told_from_what_only_looks_like_it(density, kind, surely):
    for seed in range(20):
        paths = drawn(density, np.random.default_rng(seed))
        free = Free((0,), ("width",), (kind,))
        along = [lambda theta, e=e: float(density(e, theta)) for e in paths]
        found = moved_supports(free, THETA, along)
        assert found.surely == (["width"] if surely else []), seed
        assert density is not normal or found.perhaps == []
        assert density not in (ranged, of_data) or found.perhaps == ["width"]
