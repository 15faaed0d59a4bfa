"""Corrected means over stratified draws, with a variance that is that of independent ones.

`corrected_mean` subtracts control variates whose coefficients come from other draws than the ones
they correct; `mean_of` does so for the draws of stages; `pooled_mean` joins rounds of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..regression import Choice, Moments, cross_fit, estimated_mean_covariance, moments, select
from ..weights import pareto_k
from .control_variates import Controls
from .proposals import ROWS
from .stages import History, Stage, effective_draws

FOLDS = 5
TAILS = 50  # expectations whose terms are kept to look at their tails
FULL_COVARIANCE = 500  # expectations; above, the covariance is kept as a factor of block means
GROUPS = 200  # of draws, for these block means


@dataclass(frozen=True)
class Mean:
    """A corrected mean over n stratified draws.

    ``plain`` is the variance of the mean had no control been used, ``second`` the mean of
    phi^2 f/h (so second - value^2 is the variance of plain Monte Carlo per draw). ``hits`` counts
    the draws whose integrand is not 0, ``effective`` how many equal ones |phi| f/h is worth;
    ``doubt`` is the variance of ``variance``, ``third`` the mean's third central moment,
    ``tail_shape`` the Pareto k-hat of phi f/h (NaN past the first 50 expectations).
    ``on_functions`` (E, J) are the coefficients of the control functions: `pooled_mean` counts the
    error of their means, which all rounds share. ``chosen`` (J,) is how each was regressed.
    """

    n: int
    value: np.ndarray
    covariance: np.ndarray | None
    factor: np.ndarray | None
    variance: np.ndarray
    plain: np.ndarray
    second: np.ndarray
    hits: np.ndarray
    effective: np.ndarray
    doubt: np.ndarray
    third: np.ndarray
    tail_shape: np.ndarray
    on_functions: np.ndarray
    chosen: np.ndarray

    @property
    def degrees_of_freedom(self) -> np.ndarray:
        """Satterthwaite's: those of a chi-square law as uncertain as the variance is, (J,)."""
        return np.maximum(2 * self.variance**2 / np.maximum(self.doubt, 1e-300), 3.0)

    @property
    def skewness(self) -> np.ndarray:
        """Of the mean's law, (J,)."""
        return self.third / np.maximum(self.variance, 1e-200) ** 1.5


@dataclass(frozen=True)
class Regression:
    """How targets are regressed on controls."""

    choices: Sequence[Choice]
    shift: np.ndarray  # (J,): a guess of the expectations, subtracted for accuracy only
    # (J,): which of ``choices``; None: decided for every fold on the others
    chosen: np.ndarray | None = None
    earlier: Moments | None = None  # of independent earlier draws

    @property
    def needed(self) -> bool:
        """Whether any of the choices uses a control."""
        free = range(len(self.choices)) if self.chosen is None else np.unique(self.chosen)
        return any(self.choices[c].size or self.choices[c].direction is not None for c in free)


@dataclass(frozen=True)
class _Terms:
    """The draws of a mean, block by block: targets phi f/h and their controls."""

    f: np.ndarray  # (n,)
    values: np.ndarray  # (n, J)
    controls_at: Callable[[int, int], np.ndarray]
    counts: np.ndarray  # draws in each stratum

    @property
    def place(self) -> np.ndarray:
        """Number of each draw within its stratum, (n,)."""
        starts = np.cumsum(self.counts) - self.counts
        return np.arange(len(self.f)) - np.repeat(starts, self.counts)

    @property
    def blocks(self) -> list[slice]:
        """Rows handled at a time."""
        n = len(self.f)
        return [slice(a, min(n, a + ROWS)) for a in range(0, n, ROWS)]

    def targets(self, rows: slice) -> np.ndarray:
        """Integrand times weight, (rows, J)."""
        return self.values[rows] * self.f[rows, None]


class _Sums(NamedTuple):
    """What one pass over the terms leaves: sums per stratum (S, J), and over all draws (J,)."""

    powers: np.ndarray  # (6, S, J) of r, r^2, r^3, r^4 for corrected targets r, and of t, t^2
    second: np.ndarray  # of phi^2 f/h,
    size: np.ndarray  # of |phi| f/h
    size_square: np.ndarray
    hits: np.ndarray  # how many are not 0
    kept: np.ndarray  # (J, n) targets of the first expectations
    cross: np.ndarray  # (J, J) of r r', or (groups, J) of r where J is large


def _fold_coefficients(
    terms: _Terms, regression: Regression
) -> tuple[list[np.ndarray], np.ndarray]:
    """Coefficients (K, J) for each fold from the others, and the choice for every target."""
    sums: list[Moments | None] = [None] * FOLDS
    fold = terms.place % FOLDS
    for rows in terms.blocks:
        z, t = terms.controls_at(rows.start, rows.stop), terms.targets(rows) - regression.shift
        for k in range(FOLDS):
            inside = fold[rows] == k
            block, before = moments(z[inside], t[inside]), sums[k]
            sums[k] = block if before is None else before + block
    folds = [s for s in sums if s is not None]
    chosen, choices = regression.chosen, regression.choices
    fitted = cross_fit(folds, chosen, choices, regression.earlier)
    return fitted, select(folds, choices) if chosen is None else chosen


def _sums_of(terms: _Terms, shift: np.ndarray, fitted: list[np.ndarray] | None) -> _Sums:
    n, j = terms.values.shape
    strata = len(terms.counts)
    stratum, place = np.repeat(np.arange(strata), terms.counts), terms.place
    fold, group = place % FOLDS, place % GROUPS
    large = j > FULL_COVARIANCE
    sums = _Sums(
        powers=np.zeros((6, strata, j)),
        second=np.zeros(j),
        size=np.zeros(j),
        size_square=np.zeros(j),
        hits=np.zeros(j, dtype=np.int64),
        kept=np.empty((min(j, TAILS), n)),
        cross=np.zeros((GROUPS if large else j, j)),
    )
    for rows in terms.blocks:
        t = terms.targets(rows)
        np.add(sums.hits, (t != 0).sum(0), out=sums.hits)
        np.add(sums.size, np.abs(t).sum(0), out=sums.size)
        np.add(sums.size_square, np.einsum("nj,nj->j", t, t), out=sums.size_square)
        np.add(sums.second, (t * terms.values[rows]).sum(0), out=sums.second)
        sums.kept[:, rows] = t[:, :TAILS].T
        t -= shift
        r = t.copy()
        if fitted is not None:
            z = terms.controls_at(rows.start, rows.stop)
            for k in range(FOLDS):
                inside = fold[rows] == k
                r[inside] -= z[inside] @ fitted[k]
        cuts = np.flatnonzero(np.diff(stratum[rows], prepend=-1))
        here = stratum[rows][cuts]
        r2 = r * r
        powers = (r, r2, r2 * r, r2 * r2, t, t * t)
        for table, power in zip(sums.powers, powers, strict=True):
            table[here] += np.add.reduceat(power, cuts)
        if large:
            np.add.at(sums.cross, group[rows], r)
        else:
            np.add(sums.cross, r.T @ r, out=sums.cross)
    return sums


def corrected_mean(
    f: np.ndarray,
    values: np.ndarray,
    controls_at: Callable[[int, int], np.ndarray],
    counts: np.ndarray,
    regression: Regression,
    functions: int = 0,
) -> Mean:
    """Cross-fitted, stratified mean of phi f/h over draws that stand stratum by stratum.

    f (n,) are the weights f/h, values (n, J) the integrand phi, ``controls_at(first, last)`` the
    mean-zero controls of those draws, the last ``functions`` of them with means of their own;
    counts, the draws per stratum, are multiples of the number of folds.
    """
    n, j = values.shape
    terms = _Terms(f, values, controls_at, counts)
    fitted, chosen = None, regression.chosen
    if regression.needed:
        fitted, chosen = _fold_coefficients(terms, regression)
    sums = _sums_of(terms, regression.shift, fitted)
    first, square, cube, fourth, raw, raw_square = sums.powers
    size = counts[:, None]
    inner = size / (size - 1)
    centre = first / size
    spread = inner * np.maximum(square / size - centre**2, 0)
    variance = (size * spread).sum(0) / n**2
    peak = fourth - 4 * centre * cube + 6 * centre**2 * square - 3 * size * centre**4
    doubt = np.maximum(peak / size - (size - 3) / (size - 1) * spread**2, 0)
    third = (cube - 3 * centre * square + 2 * size * centre**3).sum(0) / n**3
    on_functions = np.zeros((functions, j))
    if fitted is not None and functions:
        on_functions = np.mean(fitted, axis=0)[-functions:]
    covariance, factor = _covariance(terms, sums, centre, variance)
    return Mean(
        n=n,
        value=regression.shift + first.sum(0) / n,
        covariance=covariance,
        factor=factor,
        variance=variance,
        plain=(inner * np.maximum(raw_square - raw**2 / size, 0)).sum(0) / n**2,
        second=sums.second / n,
        hits=sums.hits,
        effective=sums.size**2 / np.maximum(sums.size_square, 1e-300),
        doubt=(size * doubt).sum(0) / n**4,
        third=third,
        tail_shape=tail_shapes(sums.kept, j),
        on_functions=on_functions,
        chosen=np.zeros(j, dtype=np.int64) if chosen is None else chosen,
    )


def _covariance(
    terms: _Terms, sums: _Sums, centre: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Covariance (J, J) with this diagonal, or where J is large a factor of it (J, groups)."""
    n, j = terms.values.shape
    if j <= FULL_COVARIANCE:
        covariance = (sums.cross - centre.T @ sums.powers[0]) / n**2
        # the two differ by n/(n - 1) at most, unless cancellation left nothing but rounding
        own = np.diag(covariance)
        scale = np.sqrt(np.divide(variance, own, out=np.zeros(j), where=own > variance / 4))
        covariance = covariance * np.outer(scale, scale)
        np.fill_diagonal(covariance, variance)
        return covariance, None
    # strata are not shared out evenly: their means must not pass for noise
    shares = np.zeros((GROUPS, len(terms.counts)))
    stratum = np.repeat(np.arange(len(terms.counts)), terms.counts)
    np.add.at(shares, (terms.place % GROUPS, stratum), 1)
    factor = (sums.cross - shares @ centre).T
    factor *= np.sqrt(variance / np.maximum((factor**2).sum(1), 1e-300))[:, None]
    return None, factor


def mean_of(
    draws: Stage | History,
    log_g: np.ndarray,
    counts: np.ndarray,
    controls: Controls,
    regression: Regression,
) -> Mean:
    """Corrected mean over the draws of a stage or a history.

    Means of control functions count as exact here; `pooled_mean` adds their error.
    ``log_g`` (n, K) are the densities that serve as controls; ``counts`` the sizes of the strata.
    """
    u, x, values, log_h = draws.u, draws.x, draws.values, draws.log_h
    f = np.exp(draws.log_f - log_h)

    def controls_at(a: int, b: int) -> np.ndarray:
        g = np.exp(log_g[a:b] - log_h[a:b, None]) - 1
        if not controls.functions:
            return g
        extra = controls.values(u[a:b], x[a:b]) * f[a:b, None]
        return np.concatenate([g, extra], axis=1)

    return corrected_mean(f, values, controls_at, counts, regression, len(controls.means))


def pooled_mean(parts: Sequence[Mean], mean_covariance: np.ndarray) -> Mean:
    """Rounds of independent draws joined in proportion to their sizes.

    ``mean_covariance`` (E, E), that of the means of the control functions, enters here and once:
    every round was corrected with the same means.
    """
    n = sum(p.n for p in parts)
    w = [p.n / n for p in parts]

    def total(name: str, power: int) -> np.ndarray:
        terms = [c**power * getattr(p, name) for c, p in zip(w, parts, strict=True)]
        return np.asarray(sum(terms))

    variance, on_functions = total("variance", 2), total("on_functions", 1)
    covariance = factor = None
    if parts[0].factor is None:
        covariance = total("covariance", 2)
    else:
        factors = [c * np.asarray(p.factor) for c, p in zip(w, parts, strict=True)]
        factor = np.concatenate(factors, axis=1)
    if mean_covariance.any():
        if factor is None:
            extra = estimated_mean_covariance(on_functions, mean_covariance)
            covariance = covariance + extra
            variance = variance + np.diag(extra)
        else:
            sizes, vectors = np.linalg.eigh(mean_covariance)
            extra = on_functions.T @ (vectors * np.sqrt(np.maximum(sizes, 0.0)))
            factor = np.concatenate([factor, extra], axis=1)
            variance = variance + (extra**2).sum(1)
    return Mean(
        n=n,
        value=total("value", 1),
        covariance=covariance,
        factor=factor,
        variance=variance,
        plain=total("plain", 2),
        second=total("second", 1),
        hits=np.sum([p.hits for p in parts], axis=0),
        effective=np.sum([p.effective for p in parts], axis=0),
        doubt=total("doubt", 4),
        third=total("third", 3),
        tail_shape=np.max([p.tail_shape for p in parts], axis=0),
        on_functions=on_functions,
        chosen=parts[0].chosen,
    )


def self_normalized_mean(stage: Stage) -> Mean:
    """Self-normalised mean sum w phi / sum w, its variance by the delta method."""
    n = len(stage)
    log_w = stage.log_f - stage.log_h
    w = np.exp(log_w - log_w.max())
    w *= n / w.sum()
    value = w @ stage.values / n
    r = w[:, None] * (stage.values - value)
    covariance = r.T @ r / n / (n - 1)
    variance = np.diag(covariance).copy()
    t = w[:, None] * stage.values
    j = r.shape[1]
    return Mean(
        n=n,
        value=value,
        covariance=covariance,
        factor=None,
        variance=variance,
        plain=variance,
        second=w @ stage.values**2 / n,
        hits=(t != 0).sum(0),
        effective=np.minimum(effective_draws(t), effective_draws(r)),
        doubt=(r**4).mean(0) / n**3,
        third=(r**3).mean(0) / n**2,
        tail_shape=np.fmax(tail_shapes(t.T[:TAILS], j), tail_shapes(r.T[:TAILS], j)),
        on_functions=np.zeros((0, j)),
        chosen=np.zeros(j, dtype=np.int64),
    )


def tail_shapes(terms: np.ndarray, count: int) -> np.ndarray:
    """Pareto k-hat of the rows of ``terms``, the heavier tail of each; NaN for the rest of count.

    A tail with under a tenth of the sum of squares, or under 25 terms, has no say.
    """
    shapes = np.full(count, np.nan)
    for k, t in enumerate(terms):
        shapes[k] = -np.inf
        for side in (t[t > 0], -t[t < 0]):
            if len(side) >= 25 and side @ side > 0.1 * (t @ t):
                shapes[k] = max(shapes[k], pareto_k(np.log(side)))
    return shapes
