"""Control-variate regression that keeps an estimate unbiased and its standard error honest.

A target T (n, J) is corrected by controls Z (n, K) of mean zero: T - Z B has the same mean and,
for a good B, far less variance. Three habits keep the promise:

- B for a draw never sees that draw (`cross_fit`: coefficients of a fold come from the others and
  from earlier, independent draws), so every fold is exactly unbiased;
- the regression is restrained: controls are standardised and directions whose singular value is
  below ``cutoff`` times the largest are left out (`coefficients`). A careless cut-off multiplies
  the variance by orders of magnitude;
- how much freedom to allow is chosen per target on held-out draws (`select`), the most restrained
  of the choices within one standard error of the best.

All of it works on sums over draws (`Moments`), which add, so nothing here grows with n.
A control whose mean is not known but estimated on many cheap draws is centred at that estimate;
`estimated_mean_covariance` is what its error adds to the covariance of the result.

References: Owen & Zhou (2000), Safe and effective importance sampling, JASA 95; He & Owen (2014),
Optimal mixture weights in multiple importance sampling, arXiv 1411.3954; Chernozhukov et al.
(2018) for cross-fitting, arXiv 1608.00060.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add, sub

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Weighted sums over draws of controls Z and targets T; two of them add.

    Those of several folds can be stacked along a first axis.

    Attributes
    ----------
    weight : float
        Sum of the weights.
    z : ndarray, shape (K,)
        Sum of the controls.
    t : ndarray, shape (J,)
        Sum of the targets.
    zz : ndarray, shape (K, K)
        Sum of the outer products of the controls.
    zt : ndarray, shape (K, J)
        Sum of the products of controls and targets.
    tt : ndarray, shape (J,)
        Sum of the squared targets.
    """

    weight: float | np.ndarray
    z: np.ndarray
    t: np.ndarray
    zz: np.ndarray
    zt: np.ndarray
    tt: np.ndarray

    def __add__(self, other: Moments) -> Moments:
        return Moments(*map(add, self._sums(), other._sums()))

    def __sub__(self, other: Moments) -> Moments:
        return Moments(*map(sub, self._sums(), other._sums()))

    def _sums(self) -> tuple[float | np.ndarray, ...]:
        return self.weight, self.z, self.t, self.zz, self.zt, self.tt


@dataclass(frozen=True)
class Choice:
    """One way to regress: which controls, and how restrained.

    Attributes
    ----------
    name : str
        As it is shown in diagnostics.
    size : int
        The first ``size`` controls take part; 0 is no control at all.
    cutoff : float
        Relative singular-value cut-off of `coefficients`.
    direction : ndarray of shape (K, J), optional
        Given, target j uses the single control ``Z @ direction[:, j]`` instead.
    """

    name: str
    size: int = 0
    cutoff: float = 0.1
    direction: np.ndarray | None = None


def moments(z: np.ndarray, t: np.ndarray, weights: np.ndarray | None = None) -> Moments:
    """Sums over a block of draws: controls z (n, K), targets t (n, J), weights (n,).

    Examples
    --------
    >>> m = moments(np.array([[1.0], [-1.0]]), np.array([[3.0], [1.0]]))
    >>> m.weight, m.zt.item()
    (2.0, 2.0)
    """
    if weights is None:
        return Moments(
            float(len(t)), z.sum(0), t.sum(0), z.T @ z, z.T @ t, np.einsum("nj,nj->j", t, t)
        )
    root = np.sqrt(weights)
    z, t = z * root[:, None], t * root[:, None]
    return Moments(
        float(weights.sum()), root @ z, root @ t, z.T @ z, z.T @ t, np.einsum("nj,nj->j", t, t)
    )


def _stacked(folds: Sequence[Moments]) -> Moments:
    """One Moments whose fields have the folds along their first axis."""
    return Moments(
        np.array([m.weight for m in folds]),
        *(np.stack([getattr(m, name) for m in folds]) for name in ("z", "t", "zz", "zt", "tt")),
    )


def _centred(m: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covariances zz, zt and the variances tt of the draws behind ``m``."""
    # draws without weight say nothing
    share = np.where(np.asarray(m.weight) < 1e-200, 0.0, 1 / np.maximum(m.weight, 1e-200))
    one, two = share[..., None], share[..., None, None]
    z, t = m.z * one, m.t * one
    return (
        m.zz * two - z[..., :, None] * z[..., None, :],
        m.zt * two - z[..., :, None] * t[..., None, :],
        np.maximum(m.tt * one - t**2, 0.0),
    )


def coefficients(m: Moments, choice: Choice) -> np.ndarray:
    """Coefficients B (K, J) of the regression of T on Z behind the moments ``m``.

    Controls are standardised; directions with a singular value below ``choice.cutoff`` times the
    largest are left out, and so are controls without variance.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> z = rng.standard_normal((500, 2))
    >>> coefficients(moments(z, z @ [[2.0], [-1.0]]), Choice("all", 2)).round(6).ravel().tolist()
    [2.0, -1.0]
    """
    return next(_solutions(m, [choice]))


def _solutions(m: Moments, choices: Sequence[Choice]) -> Iterator[np.ndarray]:
    """`coefficients` for each of the choices; those of one size share a decomposition."""
    zz, zt, _ = _centred(m)
    deviation = np.sqrt(np.maximum(np.einsum("...kk->...k", zz), 0.0))
    decompositions: dict[int, tuple[np.ndarray, ...]] = {}
    for choice in choices:
        k = choice.size
        b = np.zeros_like(zt)
        if choice.direction is not None:
            a = choice.direction
            variance = (a * (zz @ a)).sum(-2)
            covariance = (a * zt).sum(-2)
            found = np.divide(covariance, variance, out=np.zeros_like(variance), where=variance > 0)
            b = a * found[..., None, :]
        elif k:
            if k not in decompositions:
                scale = deviation[..., :k]
                least = 1e-12 * np.maximum(scale.max(-1, keepdims=True), 1.0)
                unit = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > least)
                unit = unit[..., None]
                correlation = zz[..., :k, :k] * unit * np.swapaxes(unit, -1, -2)
                values, vectors = np.linalg.eigh(correlation)
                along = np.swapaxes(vectors, -1, -2) @ (zt[..., :k, :] * unit)
                decompositions[k] = unit, values, vectors, along
            unit, values, vectors, along = decompositions[k]
            # eigenvalues of the correlation matrix are squared singular values; controls without
            # a variance have the eigenvalue 0
            large = values > max(choice.cutoff**2, 1e-12) * values[..., -1:]
            inverse = np.divide(1.0, values, out=np.zeros_like(values), where=large)
            b[..., :k, :] = (vectors @ (inverse[..., None] * along)) * unit
        yield b


def residual_variance(m: Moments, b: np.ndarray) -> np.ndarray:
    """Variance (..., J) of T - Z B over the draws behind the moments ``m``, for B (..., K, J).

    Examples
    --------
    >>> z = np.array([[1.0], [-1.0], [0.0], [0.0]])
    >>> residual_variance(moments(z, 3 * z), np.array([[3.0]])).tolist()
    [0.0]
    """
    return _residual_variance(_centred(m), b)


def _residual_variance(centred: tuple[np.ndarray, ...], b: np.ndarray) -> np.ndarray:
    zz, zt, tt = centred
    return np.maximum(tt + (b * (zz @ b - 2 * zt)).sum(-2), 0.0)


def select(folds: Sequence[Moments], choices: Sequence[Choice]) -> np.ndarray:
    """Index into ``choices`` for every target, by variance on held-out folds.

    Parameters
    ----------
    folds : sequence of Moments
        Sums over disjoint sets of draws, five or more.
    choices : sequence of Choice
        From the most restrained to the freest.

    Returns
    -------
    ndarray of int, shape (J,)
        The first choice whose held-out variance is within one standard error (paired, over the
        folds) of the smallest, and below that of the first choice by more than its own error.
    """
    total = reduce(add, folds)
    each = _stacked(folds)
    own = _centred(each)
    held_out = np.array([_residual_variance(own, b) for b in _solutions(total - each, choices)])
    mean = held_out.mean(1)
    best = mean.argmin(0)
    targets = np.arange(mean.shape[1])
    excess = held_out - held_out[best, :, targets].T[None]
    error = excess.std(1, ddof=1) / np.sqrt(len(folds))
    good_enough = excess.mean(1) <= error
    return good_enough.argmax(0)


def cross_fit(
    folds: Sequence[Moments],
    chosen: np.ndarray | None,
    choices: Sequence[Choice],
    earlier: Moments | None = None,
) -> list[np.ndarray]:
    """Coefficients B (K, J) for every fold from the other folds and ``earlier`` draws.

    Parameters
    ----------
    folds : sequence of Moments
        Sums over the disjoint folds of the final draws, two or more; three or more without
        ``chosen``.
    chosen : ndarray of int, shape (J,), or None
        Which of ``choices`` each target uses, decided without the final draws. None: decided for
        every fold anew by `select` on the other folds.
    choices : sequence of Choice
        As given to `select`.
    earlier : Moments, optional
        Sums over independent earlier draws.
    """
    total = reduce(add, folds)
    if earlier is not None:
        total = total + earlier
    fitted = []
    for f, fold in enumerate(folds):
        rest = total - fold
        of_fold = select([*folds[:f], *folds[f + 1 :]], choices) if chosen is None else chosen
        b = np.zeros_like(rest.zt)
        for c in np.unique(of_fold):
            b[:, of_fold == c] = coefficients(rest, choices[c])[:, of_fold == c]
        fitted.append(b)
    return fitted


def estimated_mean_covariance(b: np.ndarray, mean_covariance: np.ndarray) -> np.ndarray:
    """What controls with estimated means add to the covariance of the corrected targets.

    Parameters
    ----------
    b : ndarray, shape (K, J)
        Coefficients of those controls, averaged over the folds in proportion to their sizes.
    mean_covariance : ndarray, shape (K, K)
        Covariance of the estimated means.

    Returns
    -------
    ndarray, shape (J, J)
    """
    return b.T @ mean_covariance @ b
