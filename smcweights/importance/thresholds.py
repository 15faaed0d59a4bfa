"""The law of an output from weighted draws: one set of coefficients for every threshold.

A `Weighing` holds what the draws count: weights f/h, and the mixture's components as controls. The
regression estimate of any functional is a sum over the draws with the same coefficients, so that
distribution function, quantiles and means of one output agree with one another. A `Curve` is the
distribution function of one output with its error everywhere, where the draws reach.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import betaincinv, ndtr

from ..weights import pareto_k
from .proposals import ROWS

CUT = 1e-2  # directions of the controls with less variance than this, of the largest, are left out
ENOUGH = 50.0  # draws that a tail within reach is worth
HEAVY = 0.7  # Pareto k-hat from which a standard error is not to be trusted
POINTS = 150  # thresholds at which a band is calibrated
SUPREMA = 3_000
WIDER = 1.05  # the factor of bands that 600 runs asked for, and 320 others confirmed


@dataclass(frozen=True)
class Weighing:
    """How n draws count: stratified ones from a mixture, stratum by stratum.

    ``controls`` (n, r) are the densities of the components over that of the draws, centred within
    strata and orthonormal over the draws; ``pull`` (r,) are their means before they were centred.
    Where only some of the draws ``ran``, sums are those of the law given that the model runs.
    """

    weight: np.ndarray  # (n,): density of the input law over that of the draws
    controls: np.ndarray
    pull: np.ndarray
    counts: np.ndarray  # (S,): draws in each stratum
    ran: np.ndarray | None = None  # (n,): whose runs did not fail; None where none did

    @classmethod
    def of(
        cls,
        log_f: np.ndarray,
        log_g: np.ndarray,
        log_h: np.ndarray,
        counts: np.ndarray,
        ran: np.ndarray | None = None,
    ) -> Weighing:
        """From the log densities of law, components (n, K) and mixture."""
        z = np.exp(log_g - log_h[:, None]) - 1
        mean, v = z.mean(0), _centred(z, counts)
        scale = np.maximum(np.sqrt((v**2).mean(0)), 1e-300)
        squares, axes = np.linalg.eigh((v / scale).T @ (v / scale) / len(v))
        kept = squares > CUT * squares[-1]
        turn = axes[:, kept] / np.sqrt(squares[kept]) / scale[:, None]
        return cls(np.exp(log_f - log_h), v @ turn, mean @ turn, counts, ran)

    @cached_property
    def stratum(self) -> np.ndarray:
        """Number of the stratum of each draw, (n,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def stretch(self) -> np.ndarray:
        """Factors (n,) by which residuals are larger when a draw has no say in its own fit."""
        n, size = len(self.weight), self.counts[self.stratum]
        leverage = (self.controls**2).sum(1) / n
        return np.sqrt(size / (size - 1)) / (1 - np.minimum(leverage, 0.5))

    @cached_property
    def raw(self) -> np.ndarray:
        """Coefficients (n,) as the regression has them, 0 of runs that failed."""
        found = self.weight * (1 - self.controls @ self.pull) / len(self.weight)
        return found if self.ran is None else found * self.ran

    @cached_property
    def share(self) -> float:
        """Share of the law for which the model runs."""
        return 1.0 if self.ran is None else float(np.maximum(self.raw, 0.0).sum())

    @cached_property
    def coefficients(self) -> np.ndarray:
        """Coefficients (n,) that are not negative and sum to 1."""
        positive = np.maximum(self.raw, 0.0)
        return positive / positive.sum()

    def residuals(self, phi: np.ndarray) -> np.ndarray:
        """What is left of functions phi (n, J) at the draws: E'E is the covariance of the sums."""
        if self.ran is not None:
            # of a ratio: functions less their means, where the model ran
            phi = np.where(self.ran[:, None], phi, 0.0)
            phi = (phi - self.coefficients @ phi) * (self.ran / self.share)[:, None]
        t = phi * self.weight[:, None]
        return self._left(t) * (self.stretch / len(t))[:, None]

    def _left(self, t: np.ndarray) -> np.ndarray:
        """Columns of t (n, J) less what strata and controls tell of them."""
        slope = self.controls.T @ t / len(t)
        return _centred(t, self.counts) - self.controls @ slope

    @cached_property
    def products(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of the squared stretch over all draws: in each stratum (S,), there times controls
        (S, r), and times the products of these (r, r).
        """
        square = self.stretch**2
        heavy = self.controls * square[:, None]
        size = np.bincount(self.stratum, square, len(self.counts))
        return size, np.add.reduceat(heavy, _starts(self.counts)), heavy.T @ self.controls

    def cumulated(self, order: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the coefficients, and their errors, of the first draws in an order.

        ``last`` are increasing positions in it; each ends a set of draws.
        """
        (n, r), square = self.controls.shape, self.stretch**2
        size, cross, whole = self.products
        # what the controls tell: the slopes of a set, times what depends on them in its square
        per, told, before = cross / self.counts[:, None], list[np.ndarray](), np.zeros(2 * r)
        for a in range(0, len(order), ROWS):
            rows = order[a : a + ROWS]
            slope = self.controls[rows] * (self.weight[rows] / n)[:, None]
            table = np.empty((len(rows), 2 * r))
            table[:, :r] = slope
            table[:, r:] = slope @ whole - slope * (2 * n * square[rows])[:, None]
            table[:, r:] += per[self.stratum[rows]] * (2 * self.weight[rows])[:, None]
            table[0] += before
            np.cumsum(table, axis=0, out=table)
            before = table[-1].copy()
            told.append(np.einsum("nr,nr->n", table[:, :r], table[:, r:]))
        # what the means of the strata tell: a draw changes that of its own
        w, heavy = self.weight[order], (self.weight * square)[order]
        change = heavy * w
        for k, own in enumerate(_places(self.stratum[order], len(self.counts))):
            mean = np.cumsum(w[own]) / self.counts[k]
            change[own] += np.diff(mean * (mean * size[k] - 2 * np.cumsum(heavy[own])), prepend=0.0)
        variance = (np.cumsum(change) + np.concatenate(told))[last]
        value = np.cumsum(self.coefficients[order])[last]
        if self.ran is not None:
            # the share that runs is uncertain too, and goes with these sums
            whole_left = self._left((self.weight * self.ran)[:, None])
            common = self.weight * self._left(square[:, None] * whole_left)[:, 0]
            variance = variance - 2 * value * np.cumsum(common[order])[last]
            variance += value**2 * (square @ whole_left[:, 0] ** 2)
        return value, np.sqrt(np.maximum(variance, 0.0)) / (n * self.share)

    def between_steps(self, y: np.ndarray, at: np.ndarray, above: np.ndarray) -> np.ndarray:
        """E'E (J, J) of the `residuals` of 1{y <= at}, or of -1{y > at} where ``above``.

        y (n,), ``at`` (J,) increasing: sums between these, without a table of the draws.
        """
        (n, r), s, steps = self.controls.shape, len(self.counts), len(at)
        size, cross, whole = self.products
        square, place = self.stretch**2, np.searchsorted(at, y)

        def sums(v: np.ndarray, width: int) -> np.ndarray:
            """Over the draws that a step counts, (J, width), from those of each place."""
            v = v.reshape(steps + 1, width)
            return np.where(above[:, None], -v[::-1].cumsum(0)[::-1][1:], v.cumsum(0)[:-1])

        def by_stratum(v: np.ndarray) -> np.ndarray:
            return sums(np.bincount(place * s + self.stratum, v, (steps + 1) * s), s)

        def by_control(v: np.ndarray) -> np.ndarray:
            each = [np.bincount(place, v * q, steps + 1) for q in self.controls.T]
            return sums(np.reshape(each, (r, steps + 1)).T, r)

        ran = np.ones(n) if self.ran is None else self.ran
        w, heavy = self.weight * ran, self.weight * ran * square
        own = sums(np.bincount(place, w * heavy, steps + 1), 1)[:, 0]
        mean, slope = by_stratum(w) / self.counts, by_control(w) / n
        # of two sets on one side the smaller is both; on two sides they have none in common
        both = np.minimum.outer(np.abs(own), np.abs(own)) * (above[:, None] == above)
        half = mean @ (mean * size / 2 - by_stratum(heavy)).T
        half += slope @ (slope @ whole / 2 + mean @ cross - by_control(heavy)).T
        found = both + half + half.T
        if self.ran is not None:
            whole_left = self._left(w[:, None])
            common = w * self._left(square[:, None] * whole_left)[:, 0]
            value = sums(np.bincount(place, self.coefficients, steps + 1), 1)[:, 0]
            shared = np.outer(value, sums(np.bincount(place, common, steps + 1), 1)[:, 0])
            found = found - shared - shared.T
            found += np.outer(value, value) * (square @ whole_left[:, 0] ** 2)
        return found / (n * self.share) ** 2


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts) - counts


def _places(stratum: np.ndarray, count: int) -> list[np.ndarray]:
    """Where each stratum stands, in order."""
    order = np.argsort(stratum, kind="stable")
    return np.split(order, np.cumsum(np.bincount(stratum, minlength=count))[:-1])


def _centred(z: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Columns less their means within strata."""
    mean = np.add.reduceat(z, _starts(counts)) / counts[:, None]
    return z - np.repeat(mean, counts, axis=0)


@dataclass(frozen=True)
class Curve:
    """The distribution function of one output, which is constant between the values drawn.

    Piece j of it begins at ``values[j - 1]``, the first at minus infinity. ``tail`` (m + 1,) is
    the probability of the smaller side, ``upper`` says whether that is the one above, ``error``
    its standard error; pieces that are not ``known`` are beyond reach. ``hits`` of the ``trials``
    draws of the input law itself are on that side.
    """

    values: np.ndarray  # (m,): different, increasing
    tail: np.ndarray
    error: np.ndarray
    upper: np.ndarray
    known: np.ndarray
    hits: np.ndarray
    trials: int

    @classmethod
    def of(
        cls, weighing: Weighing, y: np.ndarray, least: float = -np.inf, most: float = np.inf
    ) -> Curve:
        """From the values (n,) at the draws, none of which can be less or more than these."""
        inside = np.arange(len(y)) if weighing.ran is None else np.flatnonzero(weighing.ran)
        values, place = np.unique(y[inside], return_inverse=True)
        order = inside[np.argsort(place, kind="stable")]
        sizes, trials = np.bincount(place), int((inside < weighing.counts[0]).sum())
        ends, none = np.cumsum(sizes), np.zeros(1)
        # a side is summed from its far end; the one above a value begins with the next
        far = np.cumsum(sizes[::-1])
        below, below_error = weighing.cumulated(order, ends - 1)
        above, above_error = weighing.cumulated(order[::-1], far - 1)
        below, below_error = (np.concatenate([none, a]) for a in (below, below_error))
        above, above_error = (np.concatenate([a[::-1], none]) for a in (above, above_error))
        upper, w, piece = above < below, weighing.weight[order], np.arange(len(values) + 1)
        known = np.where(
            upper, piece <= len(values) - _reached(w[::-1], far), piece >= _reached(w, ends)
        )
        known[[0, -1]] |= values[0] <= least, values[-1] >= most
        own = np.concatenate([none, np.cumsum(np.bincount(place[:trials], minlength=len(values)))])
        return cls(
            values,
            np.where(upper, above, below),
            np.where(upper, above_error, below_error),
            upper,
            known,
            np.where(upper, trials - own, own),
            trials,
        )

    @property
    def reach(self) -> tuple[float, float]:
        """Smallest probabilities below and above that the draws tell."""
        sides = (self.tail[self.known & (self.upper == above)] for above in (False, True))
        lower, upper = (float(part.min(initial=1.0)) for part in sides)
        return lower, upper

    def side(self, tail: np.ndarray, above: bool) -> np.ndarray:
        """Probabilities above, or at and below, from those of the smaller side."""
        return np.where(self.upper == above, tail, 1 - tail)

    def piece(self, t: np.ndarray) -> np.ndarray:
        """Number of the piece that t is on."""
        return np.searchsorted(self.values, t, side="right")

    def ends(self, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Ends (m + 1,) of the distribution function, so many standard errors away on a log scale.

        Beyond reach all that is known is that it does not decrease, and what the draws of the
        input law say.
        """
        ratio = width * self.error / np.maximum(self.tail, 1e-300)
        spread = np.exp(np.minimum(ratio, 700.0))
        return self.closed(self.tail / spread, np.minimum(self.tail * spread, 1.0), width)

    def closed(
        self, near: np.ndarray, far: np.ndarray, width: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the distribution function from those of the smaller side, within reach."""
        near, far, lost = near.copy(), far.copy(), ~self.known
        near[lost] = 0.0
        far[lost] = _most(self.hits[lost], self.trials, width)
        lower, upper = np.where(self.upper, 1 - far, near), np.where(self.upper, 1 - near, far)
        lower[lost] = np.maximum.accumulate(lower)[lost]
        upper[lost] = np.minimum.accumulate(upper[::-1])[::-1][lost]
        return lower, upper

    def band(self, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Ends (m + 1,) of a band, which do not decrease."""
        lower, upper = self.ends(width)
        return np.maximum.accumulate(lower), np.minimum.accumulate(upper[::-1])[::-1]

    def quantile(self, p: float, least: float, most: float) -> float:
        """The smallest value with so much at or below it, which lies between these ends.

        NaN beyond reach, where an end is infinite.
        """
        f = self.side(self.tail, False)
        told = f[self.known]
        low, high = (told[0], told[-1]) if len(told) else (1.0, 0.0)
        if (p < low and least == -np.inf) or (p > high and most == np.inf):
            return np.nan
        return float(self.values[np.clip(np.argmax(f >= p), 1, len(self.values)) - 1])

    def inverse(self, p: float, lower: np.ndarray, upper: np.ndarray) -> tuple[float, float]:
        """All t at which p lies between the ends of the distribution function: least and largest.

        They are values drawn, or infinite.
        """
        begins = np.concatenate([[-np.inf], self.values])
        stops = np.concatenate([self.values, [np.inf]])
        least, most = int(np.argmax(upper >= p)), len(lower) - 1 - int(np.argmax(lower[::-1] <= p))
        return float(begins[least]), float(stops[most])

    def thresholds(self) -> np.ndarray:
        """Values within reach at which the band is calibrated, equally far apart in logit."""
        inside = np.flatnonzero(self.known[1:] & (self.tail[1:] > 0)) + 1
        if not len(inside):
            return self.values[:0]
        t = self.tail[inside]
        logit = np.where(self.upper[inside], -1, 1) * np.log(t / (1 - t))
        wanted = np.linspace(logit[0], logit[-1], POINTS)
        near = np.unique(np.clip(np.searchsorted(logit, wanted), 0, len(inside) - 1))
        return self.values[inside[near] - 1]


def _most(hits: np.ndarray, trials: int, width: float) -> np.ndarray:
    """Clopper and Pearson's upper limit of a probability, as sure as so many standard errors."""
    return np.where(
        hits < trials, betaincinv(hits + 1.0, np.maximum(trials - hits, 1e-9), ndtr(width)), 1.0
    )


def _reached(w: np.ndarray, ends: np.ndarray) -> int:
    """How many of the values, from the far end, stand for a tail that is beyond reach or at it.

    w (n,) are weights in this order, ``ends`` (m,) how many belong to each value and those before.
    """
    worth = np.cumsum(w) ** 2 / np.maximum(np.cumsum(w**2), 1e-300)
    able = np.flatnonzero(worth[ends - 1] >= ENOUGH)
    if not len(able):
        return len(ends) + 1
    at = int(able[0])
    while at < len(ends):
        part = w[: ends[at]]
        if part.max() < 1.01 * part.mean() or pareto_k(np.log(part[part > 0])) < HEAVY:
            return at + 1
        at = max(at + 1, int(1.5 * at))
    return len(ends) + 1


def suprema(
    weighing: Weighing, curve: Curve, y: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draws, sorted, of the largest of the standardised errors of a distribution function."""
    at = curve.thresholds()
    if not len(at):
        return np.zeros(SUPREMA)
    above = curve.upper[curve.piece(at)]
    squares, axes = np.linalg.eigh(correlations(weighing.between_steps(y, at, above)))
    root = axes * np.sqrt(np.maximum(squares, 0.0))
    z = rng.standard_normal((SUPREMA, len(at)))
    return np.sort(np.abs(z @ root.T).max(1))


def correlations(whole: np.ndarray) -> np.ndarray:
    """Correlations (J, J) of a covariance matrix."""
    scale = np.sqrt(np.maximum(whole.diagonal(), 1e-300))
    return whole / np.outer(scale, scale)


def width(maxima: np.ndarray, level: float) -> float:
    """Standard errors from the estimate to its band at a level."""
    return WIDER * float(np.quantile(maxima, level))


def effective(weight: np.ndarray, beyond: np.ndarray) -> float:
    """How many equal draws those beyond a threshold are worth."""
    part = weight[beyond]
    return float(part.sum() ** 2 / max(part @ part, 1e-300))
