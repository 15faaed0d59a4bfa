"""Proposals fitted to weighted draws by weighted maximum likelihood (cross-entropy).

`fit_mixtures` runs the EM algorithm for many targets and several restarts at once, each iteration
a handful of matrix products; the number of components is chosen by the Bayesian information
criterion with the effective sample size in place of n. `fit_directional` learns directions and two
or three numbers for each, for high dimension; `fit_grid` a product of histograms (Lepage 1978,
vegas), for d <= 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from .proposals import (
    LOG_2PI,
    Component,
    Elliptical,
    Grid,
    Kernels,
    Mixture,
    Polar,
    features,
    form_table,
    log_densities,
    log_peak,
    log_sum,
    product_places,
)

EM_ROWS = 2000  # about as many draws as EM needs to see
THINNED = 2 * EM_ROWS  # and is shown where shapes count
ORDERS = (2, 3, 4, 6, 8, 12, 16)  # numbers of components that are tried
REGIONS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20)  # and of regions
DIRECTIONAL_STEPS = 10  # of EM for directions
LINE_STARTS = 3  # of EM for every number of regions
Laws = Callable[[], Sequence[Component]]  # made once they are wanted
FASTER = 3  # times what a step gains: no later one is expected to gain more


class Weighed(NamedTuple):
    """Moments of draws by P columns of weights: effective draws (P,), means (P, d), covariances."""

    size: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray


def weighed(u: np.ndarray, w: np.ndarray) -> Weighed:
    """Moments of draws u (n, d) with weights w (n, P) that sum to 1."""
    mean = w.T @ u
    covariance = np.empty((len(mean), u.shape[1], u.shape[1]))
    for m, column, found in zip(mean, w.T, covariance, strict=True):
        about = u - m
        np.matmul(about.T, about * column[:, None], out=found)
    return Weighed(1.0 / np.einsum("np,np->p", w, w), mean, covariance)


def _normal_fit(seen: Weighed, mean: np.ndarray, cholesky: np.ndarray) -> np.ndarray:
    """Mean log densities (P,) of normal laws at draws that have these moments."""
    off = seen.mean - mean
    square = seen.covariance + off[:, :, None] * off[:, None, :]
    forms = np.trace(np.linalg.solve(cholesky @ np.swapaxes(cholesky, 1, 2), square), 0, 1, 2)
    log_volume = np.log(np.einsum("pii->pi", cholesky)).sum(1)
    return np.asarray(log_peak(mean.shape[1], np.inf) - log_volume - 0.5 * forms)


def _shrunk(
    covariance: np.ndarray, size: np.ndarray, towards: np.ndarray | None = None
) -> np.ndarray:
    """Covariances (..., d, d) estimated from ``size`` effective draws each, with some caution.

    They are shrunk towards their diagonal by d / (d + size) and, as if d + 1 more draws had said
    so, towards a standard deviation of a half, the input law having unit scale; or ``towards``
    another covariance.
    """
    d = covariance.shape[-1]
    size = np.maximum(size, 1.0)[..., None, None]
    own = size / (size + d + 1)
    c = covariance * (own * size / (size + d))
    c += (1 - own) * (np.eye(d) if towards is None else towards)
    c.reshape(*c.shape[:-2], -1)[..., :: d + 1] += (own * d / (size + d))[..., 0] * np.einsum(
        "...ii->...i", covariance
    )
    return c


def em(
    table: np.ndarray,
    weights: np.ndarray,
    size: np.ndarray,
    means: np.ndarray,
    covariances: np.ndarray,
    shares: np.ndarray,
    nu: float,
    steps: int,
    alike: bool = False,
    wanted: np.ndarray | float = -np.inf,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """EM for P problems of C components at once on shared draws, by their `features` (F, n).

    weights (n, P) sum to 1 in each column; means (C, P, d), covariances (C, P, d, d), shares
    (C, P). Returns means, Cholesky factors, shares and the log-likelihoods (P,) per unit weight.
    ``alike`` says that components are more like one another than like the input law. A fit below
    the log-likelihoods ``wanted`` (P,) is of no use: what won't get there is left as it is.
    """
    (c, p), d, f = shares.shape, means.shape[-1], len(table)
    w, need = np.ascontiguousarray(weights.T), np.broadcast_to(wanted, p)
    number = d + 1 + product_places(d)[2]
    student = np.isfinite(nu)
    peak = log_peak(d, nu)
    log_likelihood, at = np.full(p, -np.inf), np.arange(p)
    found = np.empty((c, p, d)), np.empty((c, p, d, d)), np.empty((c, p)), np.empty((1, p))
    for step in range(steps + 1):
        towards = np.einsum("cp,cpij->pij", shares, covariances) if alike else None
        scale = _shrunk(covariances, size * shares, towards)
        level = peak + np.log(shares) - 0.5 * np.linalg.slogdet(scale)[1]
        forms = -0.5 * form_table(means, np.linalg.inv(scale))
        if not student:
            forms[..., 0] += level
        r = quadratic = (forms.reshape(-1, f) @ table).reshape(*shares.shape, -1)
        if student:
            quadratic = np.minimum(quadratic, 0.0)
            r = level[..., None] - 0.5 * (nu + d) * np.log1p(quadratic * (-2 / nu))
        top = r.max(0)
        r -= top
        np.exp(r, out=r)
        total = r.sum(0)
        previous = log_likelihood
        log_likelihood = np.einsum("pn,pn->p", w, top + np.log(total))
        gain, left = log_likelihood - previous, steps - step
        go_on = log_likelihood + FASTER * gain * max(left, 1) >= need
        if not left or np.all(gain[go_on] < 1e-4):
            go_on[:] = False
        if not go_on.all():
            parts = means, scale, shares, log_likelihood[None]
            for whole, part in zip(found, parts, strict=True):
                whole[:, at[~go_on]] = part[:, ~go_on]
            if not go_on.any():
                break
            at, w, size, need = at[go_on], w[go_on], size[go_on], need[go_on]
            r, total = r[:, go_on], total[go_on]
            quadratic = quadratic[:, go_on]
            means, covariances, shares = means[:, go_on], covariances[:, go_on], shares[:, go_on]
            log_likelihood = log_likelihood[go_on]
        r *= w / total
        mass = np.maximum(r.sum(2), 1e-300)
        if student:
            # a Student law is a scale mixture of normal ones: far draws count less
            r *= (nu + d) / (nu - 2 * quadratic)
        sums = (r.reshape(-1, r.shape[2]) @ table.T).reshape(*shares.shape, f)
        norm = np.maximum(sums[..., :1], 1e-300)
        m = sums[..., 1 : d + 1] / norm
        second = np.take(sums, number, axis=-1)
        second -= norm[..., None] * m[..., None] * m[..., None, :]
        second /= mass[..., None, None]
        alive = (mass * size > 1.0)[..., None]
        means = np.where(alive, m, means)
        covariances = np.where(alive[..., None], second, covariances)
        shares = np.maximum(mass, 1e-6)
        shares = shares / shares.sum(0)
    means, scale, shares, likelihood = found
    return means, np.linalg.cholesky(scale), shares, likelihood[0]


def starts(u: np.ndarray, weights: np.ndarray, c: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++-like centres: drawn by weight times squared distance to those already there."""
    square, p = np.einsum("nd,nd->n", u, u), weights
    rows, distance = list[int](), np.full(len(u), np.inf)
    for _ in range(c):
        sums = np.cumsum(p)
        none = sums[-1] <= 0
        at = rows[-1] if none else int(np.searchsorted(sums / sums[-1], rng.random(), "right"))
        rows.append(at)
        distance = np.minimum(distance, np.maximum(square - 2 * (u @ u[at]) + square[at], 0.0))
        distance[at] = 0.0
        p = weights * distance
    return u[rows]


def thinned(u: np.ndarray, w: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws u (n, d) that count by weights w (n, P), and their weights with sums of 1.

    Of more than ``most`` draws some, the more likely the more they count.
    """
    share = w.mean(1)
    rows = np.flatnonzero(share)
    some = w[rows]
    if len(rows) > most:
        chance = np.minimum(share[rows] * (most / share.sum()), 1.0)
        keep = np.flatnonzero(np.diff(np.floor(np.cumsum(chance) + 0.5), prepend=0.0))
        thinned = some[keep] / chance[keep, None]
        if thinned.any(0).all():
            rows, some = rows[keep], thinned
    return u[rows], some / some.sum(0)


def fit_mixtures(
    u: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
    *,
    most: int = 3,
    degrees_of_freedom: float = np.inf,
    restarts: int = 3,
    steps: int = 15,
    alike: bool = False,
    known: Weighed | None = None,
) -> list[Mixture]:
    """One mixture of elliptical laws for every column of weights, by weighted EM.

    u are draws (n, d), weights (n, P) non-negative, with a positive sum per target; the Bayesian
    information criterion chooses among orders up to ``most``, with several EM starts each. What is
    ``known`` of more draws than these counts for a law alone.
    """
    d = u.shape[1]
    w = weights / weights.sum(0)
    size, mean, covariance = weighed(u, w) if known is None else known
    # the moments above saw all draws; what EM was not shown can't say that one more component is
    # worth its parameters
    u, w = thinned(u, w, THINNED)
    seen = 1.0 / np.einsum("np,np->p", w, w)
    nu, scale = degrees_of_freedom, 1.0
    if np.isfinite(nu):
        scale = (nu - 2) / nu
    parameters = d + d * (d + 1) / 2
    # EM alone asks for these, and few draws don't come to it
    table = features(u) if np.isfinite(nu) else np.empty((0, 0))
    one = np.ones((1, len(size)))
    if np.isfinite(nu):
        m, chol, shares, fit = em(
            table, w, seen, mean[None], scale * covariance[None], one, nu, steps, alike
        )
    else:
        scales = _shrunk(covariance, size, covariance if alike else None)
        m, chol, shares = mean[None], np.linalg.cholesky(scales)[None], one
        fit = _normal_fit(weighed(u, w), mean, chol[0])
    best = [(m[:, p], chol[:, p], shares[:, p]) for p in range(len(size))]
    log_size = np.log(np.maximum(seen, 2.0))
    score = -2 * seen * fit + parameters * log_size
    orders = np.ones(len(size), dtype=np.int64)
    for c in (c for c in ORDERS if c <= most):
        # worth a try where draws suffice and one of the last two components was an improvement:
        # among several regions a second component may gain little
        able = (seen > 2 * c * (d + 1)) & (2 * orders + 1 >= c)
        which = np.repeat(np.flatnonzero(able), restarts)
        if len(which) == 0:
            break
        if not table.size:
            table = features(u)
        penalty = (c * parameters + c - 1) * log_size
        m, chol, shares, fit = em(
            table,
            w[:, which],
            seen[which],
            np.stack([starts(u, w[:, p], c, rng) for p in which], axis=1),
            np.stack([scale * covariance[which] / c] * c),
            np.full((c, len(which)), 1.0 / c),
            nu,
            steps,
            alike,
            ((penalty - score) / (2 * seen))[which],
        )
        for i, p in enumerate(which):
            bic = -2 * seen[p] * fit[i] + penalty[p]
            if bic < score[p]:
                score[p], orders[p] = bic, c
                best[p] = m[:, i], chol[:, i], shares[:, i]
    return [
        Mixture(shares, tuple(Elliptical(*law, nu) for law in zip(m, chol, strict=True)))
        for m, chol, shares in best
    ]


def fit_rank_one(u: np.ndarray, weights: np.ndarray) -> Mixture:
    """A normal law with covariance I + (v - 1) e e' along the weighted mean direction e.

    Two numbers and a direction instead of d (d + 3) / 2 parameters: for d over about 20, in
    standard-normal space (El Masri, Morio & Simatos 2021, arXiv 2011.10428).
    """
    return Mixture(np.ones(1), tuple(_lines(Draws(u), weights[None])[0]()))


@dataclass(frozen=True)
class Draws:
    """Draws u (n, d), and what all directional laws ask of them."""

    u: np.ndarray

    @cached_property
    def square(self) -> np.ndarray:
        """Squared lengths, (n,)."""
        return np.asarray(np.einsum("nd,nd->n", self.u, self.u))

    @cached_property
    def unit(self) -> np.ndarray:
        """Directions, (n, d)."""
        return np.asarray(self.u / np.sqrt(np.maximum(self.square, 1e-300))[:, None])


def _directions(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along the rows of mean (C, d), and the lengths of these."""
    length = np.linalg.norm(mean, axis=1)
    first = np.eye(mean.shape[1])[0]
    return np.where(length[:, None] > 0, mean / np.maximum(length, 1e-300)[:, None], first), length


def _lines(draws: Draws, weights: np.ndarray) -> tuple[Laws, np.ndarray]:
    """Normal laws with covariance I + (v - 1) e e' and their centres on the lines along e.

    By moments of the draws with weights (C, n); and their log densities there, (C, n), found
    without a matrix of the inputs.
    """
    d, w = draws.u.shape[1], weights / weights.sum(1, keepdims=True)
    e, _ = _directions(w @ draws.u)
    along = e @ draws.u.T
    size = 1.0 / np.einsum("cn,cn->c", w, w)
    w *= along
    centre = w.sum(1)
    square = np.maximum(np.einsum("cn,cn->c", w, along) - centre**2, 0.0)
    v = np.maximum((size * square + 2.0) / (size + 2.0), 1e-6)
    density = along * (1 - 1 / v)[:, None]
    density += (2 * centre / v)[:, None]
    density *= along
    density -= draws.square
    density -= (centre**2 / v + np.log(v) + d * LOG_2PI)[:, None]
    density *= 0.5
    return partial(_line_laws, centre, e, v), density


def _line_laws(centre: np.ndarray, e: np.ndarray, v: np.ndarray) -> list[Elliptical]:
    outer = e[:, :, None] * e[:, None, :]
    cholesky = np.linalg.cholesky(np.eye(e.shape[1]) + (v - 1)[:, None, None] * outer)
    return [
        Elliptical(m * axis, factor, axis=axis)
        for m, axis, factor in zip(centre, e, cholesky, strict=True)
    ]


def _polars(draws: Draws, weights: np.ndarray) -> tuple[Laws, np.ndarray]:
    """`Polar` laws by moments of direction and radius of the draws with weights (C, n), and their
    log densities there, (C, n).
    """
    w = weights / weights.sum(1, keepdims=True)
    d, size = draws.u.shape[1], 1.0 / np.einsum("cn,cn->c", w, w)
    e, length = _directions(w @ draws.unit)
    # so many directions have a mean of length 1/sqrt(size) when nothing is behind them
    r = (length**2 - 1 / size) / np.maximum(1 - 1 / size, 1e-6)
    r = np.sqrt(np.clip(r, 0.0, 0.98))
    omega = w @ draws.square
    spread = np.einsum("cn,cn->c", w, (draws.square - omega[:, None]) ** 2)
    spread = (size * spread + 5 * 2 * d) / (size + 5)
    numbers = zip((r * d - r**3) / (1 - r * r), omega**2 / spread, omega, strict=True)
    laws = [Polar(axis, *map(float, three)) for axis, three in zip(e, numbers, strict=True)]
    cosine, log_square = e @ draws.unit.T, np.log(np.maximum(draws.square, 1e-300))
    terms = zip(laws, cosine, strict=True)
    return lambda: laws, np.stack([law.of(draws.square, log_square, c) for law, c in terms])


Fit = Callable[[Draws, np.ndarray], tuple[Laws, np.ndarray]]


def _em_of_directions(
    draws: Draws, w: np.ndarray, c: int, fit: Fit, rng: np.random.Generator, wanted: float
) -> tuple[np.ndarray, Laws, float] | None:
    """Shares, laws and log-likelihood of c directional laws by EM on draws with weights of sum 1.

    None where a law is left with fewer than two draws or ``wanted`` is out of reach.
    """
    size, found = 1.0 / (w @ w), -np.inf
    centres, _ = _directions(starts(draws.u, w, c, rng))
    member = np.eye(c)[:, (centres @ draws.u.T).argmax(0)]
    for left in range(DIRECTIONAL_STEPS)[::-1]:
        shares = member @ w
        if shares.min() * size < 2:
            return None
        laws, terms = fit(draws, w * member)
        terms += np.log(shares)[:, None]
        top = terms.max(0)
        member = np.exp(terms - top)
        total = member.sum(0)
        before, found = found, float(w @ (top + np.log(total)))
        if not found + FASTER * (found - before) * max(left, 1) > wanted:
            return None
        member /= total
    return shares, laws, found


def fit_directional(
    draws: Draws, weights: np.ndarray, rng: np.random.Generator, family: str, most: int = 4
) -> Mixture:
    """A mixture of "rank-one" normal laws or of "vmfn" laws, by EM on weighted draws.

    A component more has to raise the log-likelihood by one and a half times its parameters: with
    few draws in many dimensions any direction fits those that chose it. Some draws tell how many
    there are, all of them what they are.
    """
    u, column = thinned(draws.u, weights[:, None], EM_ROWS)
    some, w = Draws(u), column[:, 0]
    size = 1.0 / (w @ w)
    fit: Fit = _lines if family == "rank-one" else _polars
    fitted, density = fit(some, w[None])
    mass, score = np.ones(1), density[0] @ w
    for c in range(2, most + 1):
        if size < 20 * c:
            break
        wanted = score + 1.5 * (u.shape[1] + 2) / size
        found = _em_of_directions(some, w, c, fit, rng, wanted)
        if found is None:
            break
        mass, fitted, score = found
    w = weights / weights.sum()
    if len(mass) == 1:
        member = np.ones((1, len(w)))
    else:
        terms = log_densities(fitted(), draws.u).T + np.log(mass)[:, None]
        member = np.exp(terms - log_sum(terms))
        mass = member @ w
    fitted, _ = fit(draws, w * member)
    return Mixture(mass, tuple(fitted()))


def fit_lines(
    u: np.ndarray, weights: np.ndarray, rng: np.random.Generator, most: int = REGIONS[-1]
) -> tuple[Mixture, float]:
    """Rank-one normal laws for regions that weighted draws tell apart, the heaviest first, and
    their log-likelihood per unit weight; few draws suffice for the d + 2 parameters of each.

    Of the `REGIONS` up to ``most`` those are tried that the draws suffice for, until two in a row
    were no better by Akaike's criterion.
    """
    u, column = thinned(u, weights[:, None], EM_ROWS)
    w, each = column[:, 0], u.shape[1] + 2
    draws, size = Draws(u), 1.0 / (w @ w)
    best, reached, found, idle = np.inf, -np.inf, Mixture(np.empty(0), ()), 0
    for c in REGIONS:
        if c > most or (c > 1 and size < 4 * c) or idle == 2:
            break
        idle += 1
        for _ in range(1 if c == 1 else LINE_STARTS):
            wanted = (c * each - 1 - best / 2) / size
            fitted = _em_of_directions(draws, w, c, _lines, rng, wanted)
            if fitted is not None:
                shares, laws, reached = fitted
                best, idle = 2 * (c * each - 1 - size * reached), 0
                order, made = np.argsort(-shares), laws()
                found = Mixture(shares[order], tuple(made[k] for k in order))
    return found, reached


def fit_kernels(
    u: np.ndarray, weights: np.ndarray, narrow: Kernels, wide: Kernels, rng: np.random.Generator
) -> Mixture:
    """Kernels of the law and wider ones, with the shares that weighted draws call for."""
    w = weights / weights.sum()
    place = np.searchsorted(np.cumsum(w), (np.arange(EM_ROWS) + rng.random()) / EM_ROWS)
    some, times = np.unique(np.minimum(place, len(w) - 1), return_counts=True)
    learned = narrow.learned(u[some], times / EM_ROWS)
    return Mixture(np.array([0.6, 0.4]), (learned, replace(wide, shares=learned.shares)))


def fit_grid(u: np.ndarray, weights: np.ndarray, bins: int = 32) -> Mixture:
    """A `Grid` whose coordinate marginals are those of the weighted draws.

    Half of the bin edges are weighted quantiles, half equally spaced; heights are mixed with 1
    by 1 / (1 + ESS / bins); at least 0.05 of the mass stays uniform, so that ratios are bounded.
    """
    d = u.shape[1]
    w = weights / weights.sum()
    size = 1.0 / (w @ w)
    edges, heights = [], []
    v = ndtr(u)
    for i in range(d):
        order = np.argsort(v[:, i])
        cumulative = np.cumsum(w[order])
        cuts = np.interp(np.linspace(0, 1, bins // 2 + 1)[1:-1], cumulative, v[order, i])
        e = np.unique(np.concatenate([cuts, np.linspace(0, 1, bins // 2 + 1)]))
        e = e[np.concatenate([[True], np.diff(e) > 1e-14])]
        e[0], e[-1] = 0.0, 1.0
        mass = np.histogram(v[:, i], e, weights=w)[0]
        smooth = max(0.05, 1 / (1 + size / bins))
        heights.append((1 - smooth) * mass / np.diff(e) + smooth)
        edges.append(e)
    width = max(len(h) for h in heights)
    # pad with bins of the last one so that the rows are rectangular
    for i in range(d):
        short = width - len(heights[i])
        if short:
            last = edges[i][-2]
            extra = np.linspace(last, 1.0, short + 2)[1:-1]
            edges[i] = np.concatenate([edges[i][:-1], extra, [1.0]])
            heights[i] = np.concatenate([heights[i], np.full(short, heights[i][-1])])
    return Mixture(np.ones(1), (Grid(np.array(edges), np.array(heights)),))
