"""Posterior means as ratios of corrected means, jointly with the log of their denominator.

With w = exp(l - c) f / h and m_j a guess from earlier draws, the targets are w and w (phi_j - m_j),
so that the linearised ratio is a target itself and its controls are chosen for the ratio:

    log Z = c + log B_0,    R_j = m_j + B_j / B_0,    Cov = D S D'.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from ..parts import LEVELS
from ..regression import residual_variance
from .adaptation import learned
from .climb import Summit, log_likelihoods
from .control_variates import Ratios
from .derivative_controls import Derivatives, nested_choices
from .means import Mean, Regression, corrected_mean, pooled_mean
from .stages import History, Stage

HEAVY = 1.0  # k-hat that is told; below, heavy tails are in the degrees of freedom
TINY = 1e-100  # variance of what is constant
EXACT = 1e-7  # relative error, below which it is one of rounding
LARGEST = 100.0  # log of a weight relative to the mean of those before: fourth powers are numbers


@dataclass(frozen=True)
class Centred:
    """Functions of the inputs, centred and scaled by what earlier draws say: (phi - m) / s."""

    centre: np.ndarray  # (J,)
    scale: np.ndarray  # (J,)
    varies: np.ndarray  # (J,)

    @classmethod
    def by(cls, phi: np.ndarray, w: np.ndarray) -> Centred:
        """For values (n, J) with weights that sum to 1."""
        varies = np.ptp(phi, axis=0) > 0
        centre = np.where(varies, w @ phi, phi[0])
        spread = np.sqrt(w @ (phi - centre) ** 2)
        return cls(centre, np.where(spread > 0, spread, 1.0), varies)

    def targets(self, phi: np.ndarray, d: int) -> np.ndarray:
        """1, functions, and squares of the first d: (n, 1 + J + d), squares less their guess."""
        z = (phi - self.centre) / self.scale
        return np.concatenate([np.ones((len(z), 1)), z, z[:, :d] ** 2 - 1], axis=1)


class RatioMeans:
    """Final draws of a mixture, corrected with coefficients that were chosen before them."""

    def __init__(self, summit: Summit, centred: Centred, phi: np.ndarray, draws: int, d: int):
        self.summit, self.centred, self.dimension = summit, centred, d
        self.means: list[Mean] = []
        self.lifted = 0.0  # by how much the scale had to rise: it cancels
        history = summit.history
        log_g = history.log_densities(summit.densities)
        w = np.exp(np.minimum(self._log_weights(history), LARGEST))
        self.derivatives = Derivatives(summit.shape, summit.cholesky)
        g = np.exp(log_g - history.log_h[:, None])
        known = np.concatenate([g, self.derivatives.over(history.u, history.log_h)], axis=1)
        k = g.shape[1] + 1  # the fitted shape is one component more, of which nothing is drawn
        targets = centred.targets(phi, d) * w[:, None]
        alpha = np.append(summit.weights, 0.0)
        shift = np.append(1.0, np.zeros(targets.shape[1] - 1))
        choices = nested_choices(k, self.derivatives, draws)
        chosen, b, earlier = learned(Ratios(targets, known, k), alpha, shift, choices)
        self.regression = Regression(choices, shift, chosen, earlier)
        self.foreseen = residual_variance(earlier, b)  # of a draw, by those before

    def add(self, stage: Stage, phi: np.ndarray) -> None:
        """A round of final draws."""
        log_w = self._log_weights(stage)
        if not self.means:
            self.lifted = max(0.0, float(log_w.max()) - LARGEST)
        w = np.exp(np.minimum(log_w - self.lifted, LARGEST))

        def controls_at(a: int, b: int) -> np.ndarray:
            log_g, log_h = stage.log_g[a:b], stage.log_h[a:b]
            g = np.exp(log_g - log_h[:, None])
            z = np.concatenate([g, self.derivatives.over(stage.u[a:b], log_h)], axis=1)
            z[:, : g.shape[1] + 1] -= 1
            return z

        values = self.centred.targets(phi, self.dimension)
        regression = self.regression
        if self.lifted:
            shift = regression.shift * np.exp(-self.lifted)
            regression = Regression(regression.choices, shift, regression.chosen, None)
        self.means.append(corrected_mean(w, values, controls_at, stage.counts, regression))

    def _log_weights(self, draws: Stage | History) -> np.ndarray:
        stages = draws.stages if isinstance(draws, History) else [draws]
        return log_likelihoods(stages) + draws.log_f - draws.log_h - self.summit.log_scale

    @property
    def mean(self) -> Mean:
        """All rounds, with variances that are no smaller than by all draws, those before as well.

        Where far draws are missing both a mean and its variance are too small; of those before
        some may have been far.
        """
        mean = pooled_mean(self.means, np.zeros((0, 0)))
        before, n = len(self.summit.history), mean.n
        foreseen = self.foreseen * np.exp(-2 * self.lifted) / n
        share = np.divide(
            foreseen, mean.variance, out=np.ones_like(foreseen), where=mean.variance > TINY
        )
        grown = 1 + np.maximum(share - 1, 0.0) * before / (before + n)
        assert mean.covariance is not None
        return replace(
            mean,
            variance=mean.variance * grown,
            covariance=mean.covariance * np.sqrt(np.outer(grown, grown)),
            doubt=mean.doubt * grown**2,
            third=mean.third * grown**1.5,
        )

    @property
    def log_evidence(self) -> tuple[float, float, float]:
        """Value, standard error and degrees of freedom."""
        mean = self.mean
        b = mean.value[0]
        value = self.summit.log_scale + self.lifted + np.log(b) if b > 0 else np.nan
        return float(value), float(np.sqrt(mean.variance[0]) / b), mean.degrees_of_freedom[0]

    def joint(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Log evidence, means of the functions, sds of the first d: values (1 + J + d,),
        covariance, degrees of freedom, and skewness where intervals lean.
        """
        mean, d, centred = self.mean, self.dimension, self.centred
        b, j = mean.value, len(centred.centre)
        assert mean.covariance is not None
        ratio = b[1:] / b[0]
        slopes = np.zeros((1 + j + d, len(b)))
        slopes[0, 0] = 1 / b[0]
        scale = np.concatenate([centred.scale, centred.scale[:d] ** 2])
        slopes[1:, 0] = -scale * ratio / b[0]
        slopes[1:, 1:] = np.diag(scale / b[0])
        first = centred.centre + centred.scale * ratio[:j]
        # of the square about the guess, which is near the mean: nothing cancels
        moved = first[:d] - centred.centre[:d]
        variance = centred.scale[:d] ** 2 * (1 + ratio[j:]) - moved**2
        varies = centred.varies[:d]
        # what the draws make negative, as those of an unfinished ladder may, is no variance
        sd = np.where(varies, np.sqrt(np.where(variance > 0, variance, np.nan)), 0.0)
        slopes[1 + j :] -= 2 * moved[:, None] * slopes[1 : 1 + d]
        slopes[1 + j :] /= np.where(varies, 2 * sd, np.inf)[:, None]
        covariance = slopes @ mean.covariance @ slopes.T
        value = np.concatenate([[self.log_evidence[0]], first, sd])
        freedom, skewness = mean.degrees_of_freedom, np.zeros(len(b))
        for alike, leans in ((slice(1, 1 + d), 0.0), (slice(-d, None), 1.0)):
            own = freedom[alike], mean.skewness[alike], mean.variance[alike]
            freedom[alike], lean = shared_tails(*own)
            skewness[alike] = leans * lean
        return value, (covariance + covariance.T) / 2, freedom, skewness


def shared_tails(
    freedom: np.ndarray, skewness: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Degrees of freedom and skewness of estimates (J,) alike, no tail lighter than on average.

    Where the far draws are missing a variance is too small and has too many degrees of freedom;
    what the same draws say of other inputs shows what could be. Variances are in units of the
    posterior's; those of rounding alone have no say.
    """
    moves = variance > EXACT**2
    if not moves.any():
        return freedom, skewness
    usual, lean = 1 / np.mean(1 / freedom[moves]), skewness[moves].mean()
    shorter = moves & (np.abs(skewness) < np.abs(lean))
    freedom = np.where(moves, np.minimum(freedom, usual), freedom)
    return freedom, np.where(shorter, lean, skewness)


def used_controls(means: RatioMeans) -> list[str]:
    """The control variates of each target."""
    chosen = means.regression.chosen
    assert chosen is not None
    return [means.regression.choices[c].name for c in chosen]


def leaning_limits(
    value: np.ndarray, error: np.ndarray, freedom: np.ndarray, skewness: np.ndarray
) -> np.ndarray:
    """Ends (L, J, 2) of intervals about values (J,) whose law is skewed, longer on that side.

    Squares of few far draws have means that are mostly too small, and with them their errors; the
    quantile is taken of a cubic of Student's t that has no skewness (Hall 1992).
    """
    q = stdtrit(freedom, 0.5 + np.array(LEVELS)[:, None] / 2)
    lean = np.where(np.abs(skewness) < 1e-6, 1e-6, skewness)

    def ratio(of: np.ndarray) -> np.ndarray:
        bent = 3 / lean * (np.cbrt(1 + lean * (of - lean / 6)) - 1)
        return np.where(np.abs(skewness) < 1e-6, of, bent)

    ends = np.stack([value - error * ratio(q), value - error * ratio(-q)], axis=2)
    return np.where(np.isnan(ends), [-np.inf, np.inf], ends)


def quantile_limits(
    x: np.ndarray, w: np.ndarray, share: float, z: np.ndarray
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """A weighted quantile by inversion (Woodruff 1952).

    Of draws x (n,) with weights w (n,): the quantile, the standard error of the distribution
    function there, ends (L, 2) of intervals with the quantiles z (L,) of their levels, infinite
    where these leave the range, and the influences (n,) of the draws on the function.
    """
    order = np.argsort(x, kind="stable")
    sorted_x, cumulative = x[order], np.cumsum(w[order]) / w.sum()

    def inverse(p: np.ndarray | float) -> np.ndarray:
        at = np.minimum(np.searchsorted(cumulative, p, side="left"), len(x) - 1)
        return np.where(
            np.asarray(p) <= 0, -np.inf, np.where(np.asarray(p) >= 1, np.inf, sorted_x[at])
        )

    q = float(inverse(min(max(share, 1e-300), cumulative[-1])))
    influence = w / w.sum() * ((x <= q) - (w @ (x <= q)) / w.sum())
    error = float(np.sqrt((influence**2).sum()))
    ends = np.stack([inverse(share - z * error), inverse(share + z * error)], axis=1)
    return q, error, np.stack([np.minimum(ends[:, 0], q), np.maximum(ends[:, 1], q)], 1), influence
