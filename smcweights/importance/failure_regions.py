"""Regions of failure: what weighted draws say of where they are, and densities towards them.

An indicator is smoothed, Phi(-margin/s), as little as the draws allow (improved cross-entropy); the
regions are told apart by a mixture of normal laws in the few directions that count.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from .fits import REGIONS, Draws, em, fit_directional, fit_lines, starts
from .proposals import (
    Component,
    Elliptical,
    WorkingSpace,
    farthest,
    features,
    log_densities,
    spread_evenly,
    within,
)

FEW_INPUTS = 12  # up to here regions are fitted in all inputs
FEWER_INPUTS = 4  # up to here covariances have few parameters
MOST_AXES = 12  # directions to fit regions in, above
MANY_INPUTS = 20  # above, single draws with large weights pass for regions
FAR = 1.5  # mean square along a direction that counts then, 1 under the input law
CLOSE = 0.001  # how well a scale is known, as a power of ten
EM_DRAWS = 1000  # as many as EM needs to see


def _smoothed(margin: np.ndarray, weight: np.ndarray, need: float) -> tuple[float, np.ndarray]:
    """The smallest s for which weight * Phi(-margin/s) is worth ``need`` draws, and these (n,).

    Their largest is 1: far from failure all of them would underflow.
    """

    def at(s: float) -> tuple[float, np.ndarray]:
        with np.errstate(divide="ignore"):
            log_t = np.log(weight) + log_ndtr(-margin / s)
        t = np.exp(log_t - log_t.max())
        return t.sum() ** 2 / (t @ t), t

    t = weight * (margin <= 0)
    if t.sum() ** 2 >= need * (t @ t) and t.any():
        return 0.0, t / t.max()
    centre = np.median(margin)
    # a limit state that only says whether it failed shows no way there: nothing is smoothed then
    size = np.abs(margin - centre).mean() or abs(centre) or 1.0
    low, high = -12.0, 4.0  # powers of ten of the margin's own spread
    while high - low > CLOSE:
        middle = (low + high) / 2
        if at(size * 10**middle)[0] >= need:
            high = middle
        else:
            low = middle
    return size * 10**high, at(size * 10**high)[1]


def smoothed(margins: np.ndarray, weight: np.ndarray, need: float) -> tuple[np.ndarray, np.ndarray]:
    """Scales (J,) and smoothed indicators (n, J) of events with margins (n, J)."""
    found = [_smoothed(m, weight, need) for m in margins.T]
    return np.array([s for s, _ in found]), np.stack([t for _, t in found], axis=1)


def fit_regions(u: np.ndarray, t: np.ndarray, rng: np.random.Generator) -> tuple[Elliptical, ...]:
    """Normal laws for the failure regions that draws u (n, d) with weights t (n,) tell apart.

    The mixture is fitted in the few directions along which the weighted draws are farther from
    the centre than chance explains, and is standard normal across them: the regions of a limit
    state of many inputs have few parameters then, and none cancels another as in a mean direction.
    Laws that differ from the standard one along their own direction alone tell ten regions apart
    by a hundred draws; those with covariances of their own want more, and win where shapes count.
    Akaike's criterion, unlike that of Bayes, rather keeps a region too many.
    """
    w = t / t.sum()
    d, size = u.shape[1], 1 / (w @ w)
    axes = np.eye(d)
    if d > FEW_INPUTS:
        if d > MANY_INPUTS:
            w = np.minimum(w, 2 / size)
            w = w / w.sum()
            size = 1 / (w @ w)
        axes = _axes(u, w, size)
    a, q = u @ axes, axes.shape[1]
    some, times = _resampled(w, rng)
    a, w = a[some], times / EM_DRAWS
    mean = w @ a
    covariance = (a - mean).T @ ((a - mean) * w[:, None])
    table = features(a)
    best, found, idle = np.inf, list[tuple[np.ndarray, np.ndarray]](), 0
    if q > FEWER_INPUTS:
        lines, fit_of_lines = fit_lines(a, w, rng)
        best = 2 * (len(lines.components) * (q + 2) - 1 - size * fit_of_lines)
        found = [(c.mean, c.cholesky) for c in lines.components if isinstance(c, Elliptical)]
    for c in REGIONS:
        if (c > 1 and size < c * (q + 2)) or idle == 2:
            break
        tries = 1 if c == 1 else 3
        # what shrinkage leaves free of a covariance matrix
        free = q * (q + 1) / 2 * size / (size + c * (2 * q + 1))
        penalty = c * (q + 1 + free) - 1
        means, cholesky, shares, fit = em(
            table,
            np.repeat(w[:, None], tries, axis=1),
            np.full(tries, size),
            np.stack([starts(a, w, c, rng) for _ in range(tries)], axis=1),
            np.broadcast_to(covariance / c, (c, tries, q, q)),
            np.full((c, tries), 1 / c),
            np.inf,
            15,
            wanted=(penalty - best / 2) / size,
        )
        top = int(fit.argmax())
        score = 2 * (penalty - size * fit[top])
        idle += 1
        if score < best:
            best, idle = score, 0
            order = np.argsort(-shares[:, top])
            found = [(means[k, top], cholesky[k, top]) for k in order if shares[k, top] > 1e-4]
    return tuple(
        Elliptical(axes @ m, np.linalg.cholesky(np.eye(d) + axes @ (g @ g.T - np.eye(q)) @ axes.T))
        for m, g in found
    )


def _axes(u: np.ndarray, w: np.ndarray, size: float) -> np.ndarray:
    """Directions (d, q) along which draws with weights of sum 1, worth ``size``, are far."""
    d = u.shape[1]
    squares, vectors = np.linalg.eigh((u * w[:, None]).T @ u)
    vectors = vectors[:, ::-1]
    if d > MANY_INPUTS:
        # a direction counts that one half of the draws points out and the other confirms
        half = np.linalg.eigh((u[::2] * w[::2, None]).T @ u[::2])[1][:, : -1 - MOST_AXES : -1]
        there = w[1::2] @ (u[1::2] @ half) ** 2 / w[1::2].sum()
        vectors = vectors[:, : (there > FAR).sum()]
    else:
        # Marchenko & Pastur's edge: the largest square of so many draws without any direction
        far = squares[::-1] > (1 + np.sqrt(d / size)) ** 2
        vectors = vectors[:, far][:, : int(np.clip(size / 20, 1, MOST_AXES))]
    return np.linalg.qr(np.column_stack([w @ u, vectors]))[0]


def densities_towards(
    space: WorkingSpace,
    given: tuple[Component, ...],
    regions: tuple[Elliptical, ...],
    u: np.ndarray,
    t: np.ndarray,
    rng: np.random.Generator,
) -> tuple[tuple[Component, ...], np.ndarray]:
    """What the next level is drawn from: densities and their shares.

    Beside the regions the input law, a normal law as wide as the weighted draws t (n, J) are far,
    and, for limit states without directions, von Mises-Fisher laws.
    """
    d = u.shape[1]
    w = (t / t.sum(0)).sum(1)
    width = max(1.0, np.sqrt((w / w.sum()) @ (u**2).sum(1) / d))
    others: tuple[Component, ...] = (*given, spread_evenly(d, width))
    shares = [0.1] + [0.1] * len(others)
    if d > FEW_INPUTS:
        polar = fit_directional(Draws(u), w, rng, "vmfn").components
        others += polar
        shares += [0.2 / len(polar)] * len(polar)
    shares += [max(0.3, 1 - sum(shares)) / len(regions)] * len(regions)
    limit = farthest(u, t)
    fitted = (within(density, limit) for density in (*others, *regions))
    densities, share = (space, *fitted), np.array(shares) / sum(shares)
    if d <= MANY_INPUTS:
        return densities, share
    # which of the families serves is told by the draws, and half believed
    some, times = _resampled(w / w.sum(), rng)
    g = log_densities(densities, u[some])
    g = np.exp(g - g.max(1, keepdims=True))
    learned = share
    for _ in range(20):
        learned = learned * (times @ (g / (g @ learned)[:, None])) / times.sum()
    return densities, (share + learned) / 2


def _resampled(w: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Systematic resampling by weights w (n,) of sum 1, as many as EM needs: rows, how often."""
    place = np.searchsorted(np.cumsum(w), (np.arange(EM_DRAWS) + rng.random()) / EM_DRAWS)
    return np.unique(np.minimum(place, len(w) - 1), return_counts=True)
