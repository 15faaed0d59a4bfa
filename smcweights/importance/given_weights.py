"""Means from draws and log weights that come from elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments
from ..cautions import Caution, tell
from ..errors import DegeneracyError
from ..estimate import Estimate
from ..provenance import drawn, provenance
from ..weights import effective_sample_size, largest_weight, pareto_k, pareto_smoothed, perplexity
from .chain_variance import SHORT, ChainSpread, chain_spread
from .means import TAILS, tail_shapes
from .stages import effective_draws
from .verdict import listed

LEAST = 10  # draws
HEAVY = 0.5  # k-hat from which intervals have covered less than they say
ALONE = 1.5  # effective draws: below, one is nearly all there is
LARGEST = 300.0  # log of a mean weight whose square is a number
METHOD = "weighted draws"


def from_weights(
    values: ArrayLike,
    log_weights: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    chain: ArrayLike | None = None,
    self_normalized: bool = True,
    smooth: bool = False,
) -> Estimate:
    """Means under a target law from weighted draws of another, wherever these were made.

    With weights w_i = target density over that of the draws,

        R = sum_i w_i v_i / sum_i w_i,   influence g_i = w_i (v_i - R) / mean(w),

    and the covariance is that of the mean of g: of independent draws, or of Markov chains by
    Geyer's initial monotone sequences, joint over the values.

    Parameters
    ----------
    values : array_like or DataFrame, shape (n,) or (n, J)
        What means are wanted of, at each of n >= 10 draws; finite. Bools are 0 and 1.
    log_weights : array_like, shape (n,)
        Log of target density over density of the draws; -inf is a weight of zero. Zeros for
        draws of the target itself.
    names : sequence of str, length J, optional
        By default the columns of a DataFrame, else E1, E2, ...
    chain : array_like of int, shape (n,), optional
        Which Markov chain a draw belongs to; within a chain draws stand in the order of time.
        Without it draws are independent. Where chains are short (under 50 effective draws each),
        the larger of Geyer's variance and that between chains counts.
    self_normalized : bool, default True
        False: the plain mean of w v, for densities that are both normalised. Unbiased; with the
        value 1 among the others it estimates the target's constant.
    smooth : bool, default False
        Replace the largest weights by quantiles of a Pareto law fitted to them. Means get a
        smaller error and a bias; intervals cover no better.

    Returns
    -------
    Estimate
        ``value`` of shape () or (J,). Diagnostics: `effective_sample_size`, `perplexity`,
        `largest_weight` and `pareto_k_weights` of the weights; `pareto_k` and `effective_draws` of
        each mean, and `autocorrelation_time` with chains.

    Raises
    ------
    TypeError, ValueError
        Wrong shapes, fewer than 10 draws, values that are not finite, NaN or +inf among the
        weights, rows labelled in another order, or weights too large for a plain mean.
    DegeneracyError
        All weights are zero.

    Warns
    -----
    PrecisionWarning
        k-hat of the weights or of the influence is above 0.5; few draws count, without a standard
        error where one is nearly all there is, or where no value is other than 0; chains are
        short; or weights were smoothed.

    References
    ----------
    Geyer (1992), Practical Markov chain Monte Carlo, Statistical Science 7; Vehtari, Simpson,
    Gelman, Yao & Gabry (2024), Pareto smoothed importance sampling, JMLR 25, arXiv 1507.02646.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(1).normal(0, 1.2, 4_000)
    >>> log_weights = -0.5 * (x - 0.3) ** 2 + 0.5 * (x / 1.2) ** 2
    >>> estimate = from_weights(np.stack([x, x**2], axis=1), log_weights, names=["mean", "square"])
    >>> bool((abs(estimate.value - [0.3, 1.09]) < 4 * estimate.standard_error).all())
    True
    """
    began = time.perf_counter()
    table = arguments.values("values", values)
    if table.ndim not in (1, 2) or len(table) < LEAST or table.size == 0:
        raise ValueError(
            f"values: got shape {table.shape}; expected (n,) or (n, J), n at least {LEAST}"
        )
    scalar, table = table.ndim == 1, arguments.finite("values", table).reshape(len(table), -1)
    n, j = table.shape
    log_w = _log_weights(log_weights, n)
    rows = _chains(chain, n)
    for name, given in (("log_weights", log_weights), ("chain", chain)):
        arguments.same_rows(name, given, "values", values)
    arguments.same_rows("chain", chain, "log_weights", log_weights)
    columns = None if scalar else getattr(values, "columns", None)
    named = list(map(str, columns)) if names is None and columns is not None else names
    listed_names = ("estimate",) if scalar and named is None else arguments.names_of(named, j)
    normalise = arguments.flag("self_normalized", self_normalized)
    smoothed = arguments.flag("smooth", smooth)
    used = pareto_smoothed(log_w) if smoothed else log_w
    shift = float(used.max())
    if not normalise and abs(shift) > LARGEST:
        raise ValueError(
            f"log_weights: the largest is {shift:.6g}; expected sizes up to {LARGEST:g}, whose "
            "squares are numbers: subtract a constant, or pass self_normalized=True"
        )
    w = np.exp(used - shift)
    size = w.mean() if normalise else math.exp(-shift)
    t = w[:, None] * table / size
    value = t.mean(0)
    g = w[:, None] * (table - value) / size if normalise else t - value
    # where the values are all the same the mean is exact, but for rounding
    rounding = 4 * np.finfo(float).eps * np.abs(value)
    exact = np.abs(g).max(0) <= rounding * max(1.0, np.abs(w).max() / w.mean())
    g[:, exact] = 0.0
    covariance, freedom, spread = _spread(g, rows)
    ess = effective_sample_size(log_w)
    lost = (t == 0).all(0)  # another constant is exact, an event without a hit is none
    if normalise and ess < ALONE:
        # a draw that is all there is agrees with itself
        lost |= np.ptp(table, axis=0) > 0
    covariance[lost] = covariance[:, lost] = np.nan
    shapes = np.fmax(tail_shapes(t.T[:TAILS], j), tail_shapes(g.T[:TAILS], j))
    effective = effective_draws(t)
    effective = np.where(exact, effective, np.minimum(effective, effective_draws(g)))
    diagnostics = {
        "effective_sample_size": ess,
        "perplexity": perplexity(log_w),
        "largest_weight": largest_weight(log_w),
        "pareto_k_weights": pareto_k(log_w) if np.ptp(log_w) > 0 else -math.inf,
        "pareto_k": shapes,
        "effective_draws": effective,
    }
    cautions = weight_cautions(diagnostics["pareto_k_weights"], shapes, effective, listed_names)
    if spread is not None:
        diagnostics["autocorrelation_time"] = spread.time
        cautions += _chain_cautions(spread, len(rows), listed_names)
    if smoothed:
        text = "Pareto smoothing biases means by an amount that no sample can tell"
        cautions.append(Caution("smoothed-weights", text))
    np.fill_diagonal(covariance, np.maximum(np.diag(covariance), rounding**2))
    method = METHOD + ", Pareto-smoothed (biased)" * smoothed
    asked = {"self_normalized": normalise, "smooth": smoothed, "names": listed_names}
    source = provenance(method, np.random.SeedSequence(0), asked) | drawn(table, log_w)
    del source["seed"]  # nothing was drawn here
    tell("from_weights", cautions)
    return Estimate(
        value[0] if scalar else value,
        covariance.reshape(()) if scalar else covariance,
        names=listed_names,
        method=method,
        degrees_of_freedom=freedom[0] if scalar else freedom,
        diagnostics=diagnostics,
        cautions=cautions,
        columns=[name for name in diagnostics if np.ndim(diagnostics[name])],
        cost={"evaluations": n, "seconds": time.perf_counter() - began},
        provenance=source,
        sample={
            "values": (("draw", "expectation"), table),
            "log_weight": (("draw",), log_w),
            "expectation": (("expectation",), np.array(listed_names)),
        },
    )


def _log_weights(given: ArrayLike, n: int) -> np.ndarray:
    log_w = arguments.real("log_weights", given)
    if log_w.shape != (n,):
        raise ValueError(f"log_weights: got shape {log_w.shape}; expected ({n},), one per draw")
    bad = np.isnan(log_w) | (log_w == np.inf)
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(f"log_weights: {log_w[i]} at index {i}; expected finite numbers or -inf")
    if (log_w == -np.inf).all():
        raise DegeneracyError("log_weights: all are -inf; expected a weight above zero")
    return log_w


def _chains(given: ArrayLike | None, n: int) -> list[np.ndarray]:
    """Rows of each chain; none for independent draws."""
    if given is None:
        return []
    labels = arguments.numbers("chain", given)
    if labels.shape != (n,):
        raise ValueError(f"chain: got shape {labels.shape}; expected ({n},), a label per draw")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"chain: got dtype {labels.dtype}; expected whole numbers")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def independent_spread(g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariance (J, J) of the mean of independent g (n, J) about 0, and its degrees of freedom."""
    n = len(g)
    covariance = g.T @ g / n / (n - 1)
    variance = np.diag(covariance)
    doubt = (g**4).mean(0) / n**3
    freedom = np.clip(2 * variance**2 / np.maximum(doubt, 1e-300), 3.0, n - 1.0)
    return covariance, np.where(variance > 0, freedom, np.inf)


def _spread(
    g: np.ndarray, rows: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, ChainSpread | None]:
    """Covariance of the mean of g (n, J), its degrees of freedom, and what chains say."""
    plain, freedom = independent_spread(g)
    if not rows:
        return plain, freedom, None
    found = chain_spread(g, rows)
    freedom = np.maximum(freedom / np.maximum(found.time, 1.0), 3.0)
    return found.covariance, np.where(found.between, len(rows) - 1.0, freedom), found


def weight_cautions(
    shape: float, shapes: np.ndarray, effective: np.ndarray, names: Sequence[str]
) -> list[Caution]:
    """What to say of k-hats of the weights and of the means' terms, and of effective draws."""
    found: list[Caution] = []
    heavy = (shapes > HEAVY) | (shape > HEAVY)
    if heavy.any():
        worst = max(shape, np.nanmax(shapes, initial=-math.inf))
        text = (
            f"{listed(names, heavy)}: Pareto k-hat up to {worst:.2f} (0.5 and less can be "
            "trusted): the target has mass where few draws are, and the standard error can't be "
            "promised. Draws from a law nearer to the target would help"
        )
        found.append(Caution("heavy-tails", text))
    unseen, few = effective == 0, (effective < 30) & (effective > 0)
    if unseen.any():
        text = "no draw gave a value other than 0, so that there is no standard error"
        found.append(Caution("no-hit", f"{listed(names, unseen)}: {text}"))
    if few.any():
        text = "the draws are worth fewer than 30 equal ones. More of them would help"
        found.append(Caution("few-draws", f"{listed(names, few)}: {text}"))
    return found


def _chain_cautions(spread: ChainSpread, chains: int, names: Sequence[str]) -> list[Caution]:
    if not spread.short.any():
        return []
    how = "the larger of two variances is stated, along chains and between them"
    text = (
        f"{listed(names, spread.short)}: chains are worth fewer than {SHORT} independent draws "
        f"each; {how if chains > 1 else 'a single chain can hardly tell its own error'}. "
        "Longer chains would help"
    )
    return [Caution("short-chains", text)]
