"""Normal laws, and skewed ones, fitted to draws in coordinates that are whitened by these.

What is fitted to a posterior a thousand times narrower than its prior, or to a correlated one,
is fitted as well as to any other.
"""

from __future__ import annotations

import numpy as np

from .bends import Bend, bend_of
from .fits import THINNED, Weighed, em, fit_mixtures, thinned, weighed
from .proposals import Bent, Elliptical, Mixture, features, straightened

MORE = 10  # steps of EM from a fit to fewer draws


def moments_of(u: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and a Cholesky factor (d, d) of the covariance of u with weights w (n,).

    The covariance of few effective draws is drawn towards its diagonal.
    """
    found = weighed(u, w[:, None] / w.sum())
    return found.mean[0], _factor(found)


def _factor(found: Weighed) -> np.ndarray:
    """A Cholesky factor (d, d) of one covariance, that of few draws drawn to its diagonal."""
    size, covariance = found.size[0], found.covariance[0]
    d = len(covariance)
    diagonal = np.maximum(np.diag(covariance), 1e-24)
    mixed = (size * covariance + d * np.diag(diagonal)) / (size + d)
    scale = np.sqrt(diagonal)
    unit = mixed / np.outer(scale, scale) + 1e-10 * np.eye(d)
    return np.asarray(scale[:, None] * np.linalg.cholesky(unit))


def normal_laws(
    u: np.ndarray,
    w: np.ndarray,
    rng: np.random.Generator,
    most: int,
    start: Mixture | None = None,
) -> Mixture:
    """Up to ``most`` normal laws fitted to draws u (n, d) with weights w (n,).

    With a ``start`` as many as there, which are what EM begins with.
    """
    found = weighed(u, w[:, None] / w.sum())
    (centre,), cholesky = found.mean, _factor(found)
    inverse = np.linalg.inv(cholesky)
    some, weights = thinned(u, w[:, None], THINNED)
    v = (some - centre) @ inverse.T
    if start is not None and len(start.components) > 1:
        fit = _onward(v, weights, _placed(start, -inverse @ centre, inverse))
    else:
        within = inverse @ found.covariance @ inverse.T
        known = Weighed(found.size, np.zeros_like(found.mean), within)
        orders = most if start is None else 1
        (fit,) = fit_mixtures(v, weights, rng, most=orders, restarts=2, alike=True, known=known)
    return _placed(fit, centre, cholesky)


def skewed_laws(
    u: np.ndarray,
    w: np.ndarray,
    rng: np.random.Generator,
    most: int,
    start: Mixture | None = None,
) -> Mixture:
    """As `normal_laws`; or laws of bent coordinates, where a bend is worth its parameters."""
    if start is not None:
        straight, bend = straightened(start)
        y = u if bend is None else bend(u)[0]
        return bent(normal_laws(y, w, rng, most, straight), bend)
    plain = normal_laws(u, w, rng, most)
    some, column = thinned(u, w[:, None], THINNED)
    weights = column[:, 0]
    bend = bend_of(some, weights, *moments_of(u, w))
    if bend is None:
        return plain
    skewed = bent(normal_laws(bend(u)[0], w, rng, most), bend)
    size, own = 1 / (weights @ weights), 1 + u.shape[1] * (u.shape[1] + 3) / 2
    parameters = own * (len(skewed.components) - len(plain.components)) + bend.parameters
    gain = weights @ (skewed.log_density(some) - plain.log_density(some))
    return skewed if size * gain > 0.5 * parameters * np.log(size) else plain


def bent(laws: Mixture, bend: Bend | None) -> Mixture:
    """The same laws of bent coordinates."""
    if bend is None:
        return laws
    elliptical = (c for c in laws.components if isinstance(c, Elliptical))
    return Mixture(laws.weights, tuple(Bent(c, bend) for c in elliptical))


def _placed(laws: Mixture, centre: np.ndarray, factor: np.ndarray) -> Mixture:
    """Laws of v as those of centre + factor v."""
    elliptical = (c for c in laws.components if isinstance(c, Elliptical))
    placed = (Elliptical(centre + factor @ c.mean, factor @ c.cholesky) for c in elliptical)
    return Mixture(laws.weights, tuple(placed))


def _onward(v: np.ndarray, w: np.ndarray, start: Mixture) -> Mixture:
    """As many laws as at the start after some steps of EM on v (n, d), weights w (n, 1)."""
    laws = [c for c in start.components if isinstance(c, Elliptical)]
    factors = np.stack([c.cholesky for c in laws])
    m, chol, shares, _ = em(
        features(v),
        w,
        1 / np.einsum("np,np->p", w, w),
        np.stack([c.mean for c in laws])[:, None],
        (factors @ np.swapaxes(factors, 1, 2))[:, None],
        start.weights[:, None],
        np.inf,
        MORE,
        alike=True,
    )
    return Mixture(shares[:, 0], tuple(map(Elliptical, m[:, 0], chol[:, 0])))
