"""Whether chains mix: R-hat and effective sizes of what they drew, and what speaks against them.

Both are ArviZ's to the last digits but one (tests compare them); to import it takes longer than
most runs whose chains are looked at.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cautions import Caution

Array = NDArray[np.float64]


def chain_diagnostics(draws: Array) -> tuple[Array, Array]:
    """Effective sample size and R-hat of every component of Markov chains, by ranks.

    Parameters
    ----------
    draws : ndarray, shape (chains, n, J)
        Of at least 2 chains, n at least 4.

    Returns
    -------
    effective_sample_size, r_hat : ndarray, shape (J,)

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter & Burkner (2021), Rank-normalization, folding, and
    localization: an improved R-hat, Bayesian Analysis 16.

    Examples
    --------
    >>> ess, r_hat = chain_diagnostics(np.random.default_rng(1).standard_normal((4, 100, 2)))
    >>> bool((r_hat < 1.1).all())
    True
    """
    half = draws.shape[1] // 2
    halves = np.concatenate([draws[:, :half], draws[:, -half:]])
    folded = np.abs(halves - np.median(halves, axis=(0, 1)))
    scores = _normal_scores(halves)
    # of draws as far from their median as each other there are no scores
    r_hat = np.fmax(_r_hat(scores), _r_hat(_normal_scores(folded)))
    return _effective_sizes(scores), r_hat


def _normal_scores(draws: Array) -> Array:
    """Normal quantiles of the ranks of each component, ties at their mean rank."""
    from scipy.special import ndtri

    flat = draws.reshape(-1, draws.shape[2])
    ranks = np.empty_like(flat)
    for own, column in zip(ranks.T, flat.T, strict=True):
        _, place, ties = np.unique(column, return_inverse=True, return_counts=True)
        own[:] = (np.cumsum(ties) - (ties - 1) / 2)[place]
    return ndtri((ranks - 0.375) / (len(flat) + 0.25)).reshape(draws.shape)


def _r_hat(scores: Array) -> Array:
    """Spread of all over the spread within chains."""
    n = scores.shape[1]
    between = n * scores.mean(axis=1).var(axis=0, ddof=1)
    within = scores.var(axis=1, ddof=1).mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((between / within + n - 1) / n)


def _effective_sizes(scores: Array) -> Array:
    """Sizes by Geyer's initial monotone sequence: sums of two autocorrelations each."""
    chains, n, _ = scores.shape
    covariances = _autocovariances(scores)
    within = covariances[0] * n / (n - 1)
    total = covariances[0] + scores.mean(axis=1).var(axis=0, ddof=1)
    rho = 1 - (within - covariances) / total
    rho[0] = 1.0
    most = max(0, (n - 3) // 2)
    pairs = rho[: 2 * most + 2].reshape(most + 1, 2, -1).sum(axis=1)
    ended = pairs <= 0
    ended[most] = True
    count = ended.argmax(axis=0)
    counted = np.arange(most + 1)[:, None] < count
    rest = np.take_along_axis(rho, 2 * count[None], axis=0)[0]
    last = np.take_along_axis(pairs, count[None], axis=0)[0]
    rest = np.where(last >= 0, rest, np.maximum(rest, 0.0))
    time = 2 * (np.minimum.accumulate(pairs) * counted).sum(axis=0) - 1 + rest
    return chains * n / np.maximum(time, 1 / math.log10(chains * n))


def _autocovariances(scores: Array) -> Array:
    """Means over the chains at every lag, shape (n, J)."""
    n = scores.shape[1]
    size = 1 << (2 * n - 1).bit_length()
    waves = np.fft.rfft(scores - scores.mean(axis=1, keepdims=True), n=size, axis=1)
    powers = (waves.real**2 + waves.imag**2).mean(axis=0)
    return np.fft.irfft(powers, n=size, axis=0)[:n] / n


def mixing(sweeps: Array) -> tuple[dict[str, Any], list[Caution]]:
    """R-hat, effective number of sweeps, and whether the chains are too short or drift."""
    chains, kept, j = sweeps.shape
    if kept < 10:
        text = f"only {kept} sweeps kept: too few to see whether the chains mix"
        return {"kept": kept}, [Caution("few-sweeps", text)]
    from scipy.special import ndtri, stdtrit

    cautions: list[Caution] = []
    # constant sums, such as a term that is known, have no autocorrelation
    moving = sweeps.std(axis=(0, 1)) > 1e-12 * np.abs(sweeps).max(axis=(0, 1), initial=1e-300)
    ess, r_hat = np.full(j, float(chains * kept)), np.ones(j)
    if moving.any():
        ess[moving], r_hat[moving] = chain_diagnostics(sweeps[..., moving])
    autocorrelation = chains * kept / ess
    found = {"kept": kept, "r_hat": r_hat, "chain_ess": ess}
    found["autocorrelation_time"] = autocorrelation
    worst = float(autocorrelation.max())
    if kept < 10 * worst:
        text = (
            f"chains of {kept} draws are shorter than 10 autocorrelation times of {worst:.3g}; "
            "use longer ones, or more particles"
        )
        cautions.append(Caution("short-chains", text))
    # one false alarm in ten thousand runs, and in fifty or more
    drifting = _drift(sweeps).max() > stdtrit(chains - 1, 1 - 0.5e-4 / j)
    if drifting or _start(sweeps, ess).max() > -ndtri(0.5e-2 / j):
        text = "the chains still drift from where they began; drop more at the start (burn_in, "
        text += "warm_up), or use more particles"
        cautions.append(Caution("drift", text))
    return found, cautions


def _drift(sweeps: Array) -> Array:
    """Student's t of the first thirds of the chains against the last, by their spread."""
    third = max(sweeps.shape[1] // 3, 1)
    drift = sweeps[:, :third].mean(axis=1) - sweeps[:, -third:].mean(axis=1)
    spread = drift.std(axis=0, ddof=1) / math.sqrt(len(sweeps))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, np.abs(drift.mean(axis=0)) / spread, 0.0)


def _start(sweeps: Array, ess: Array) -> Array:
    """Normal score of the first tenths of all chains against the last halves, by their worth.

    Chains that begin at one place are all off alike, which no spread between them shows; in the
    first tenth that is three times as many errors as in the mean of all.
    """
    chains, kept, _ = sweeps.shape
    tenth, half = sweeps[:, : kept // 10], sweeps[:, -(kept // 2) :]
    # a tenth is worth no less than one draw of each chain, and no more than all of them
    worth = np.clip(ess * tenth.shape[1] / kept, chains, chains * tenth.shape[1])
    spread = half.std(axis=(0, 1)) * np.sqrt(1 / worth + 2 / np.minimum(ess, chains * kept))
    drift = np.abs(tenth.mean(axis=(0, 1)) - half.mean(axis=(0, 1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, drift / spread, 0.0)
