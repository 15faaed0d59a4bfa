"""One figure per kind of answer; matplotlib is imported on use.

Every function takes an `Estimate` and returns matplotlib axes; pass ``ax`` to draw into your own.

`estimate`  values with intervals, beside the truth where it is known
`stages`    what adaptation gained, stage by stage
`weights`   the importance weights of the final draws
`controls`  how much variance the control variates took away
`gains`     gain over plain Monte Carlo at the same number of calls
`mixture`   what the draws came from
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from .estimate import Estimate

__all__ = ["controls", "estimate", "gains", "mixture", "stages", "weights"]

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # Okabe & Ito: safe for the colour-blind


def _axes(ax: Any, rows: int = 0) -> Any:
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(6.4, max(2.4, 1.1 + 0.36 * rows)), layout="constrained")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def _log_scale(axis: Any, sizes: np.ndarray) -> None:
    """Logarithmic where the sizes span over a decade, with plain numbers at its ticks."""
    from matplotlib.ticker import NullFormatter

    known = sizes[np.isfinite(sizes) & (sizes > 0)]
    if len(known) and known.max() > 10 * known.min():
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _bars(ax: Any, names: list[str], sizes: np.ndarray, notes: list[str]) -> Any:
    at = np.arange(len(names))
    ax.barh(at, sizes, color=BLUE, height=0.62)
    ax.set_yticks(at, [textwrap.shorten(name, 40) for name in names])
    ax.invert_yaxis()
    for i, note in enumerate(notes):
        place = {"textcoords": "offset points", "va": "center", "fontsize": 8}
        ax.annotate(note, (sizes[i], i), (4, 0), **place)
    ax.margins(x=0.3)
    return ax


def estimate(
    est: Estimate, truth: ArrayLike | None = None, ax: Any = None, *, level: float = 0.95
) -> Any:
    """Values with their intervals; relative to the truth where one is given.

    Parameters
    ----------
    est : Estimate
    truth : array_like, shape (J,), optional
        Intervals are then divided by it, so that expectations of any size fit one axis.
    ax : matplotlib axes, optional
    level : float, default 0.95

    Returns
    -------
    matplotlib axes
    """
    value = np.atleast_1d(est.value)
    lower, upper = (np.atleast_1d(end) for end in est.interval(level))
    ax = _axes(ax, len(value))
    at = np.arange(len(value))
    label = f"estimate, {100 * level:g} % interval"
    if truth is not None:
        exact = np.atleast_1d(np.asarray(truth, dtype=float))
        size = np.where(exact == 0, 1.0, np.abs(exact))
        value, lower, upper = ((part - exact) / size for part in (value, lower, upper))
        ax.axvline(0.0, color=GREY, lw=1)
        ax.set_xlabel(f"relative deviation from the truth, {100 * level:g} % interval")
        ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.3g} %")
    else:
        spread = np.ptp(np.log10(np.abs(value[value != 0]))) if (value != 0).any() else 0.0
        if (lower > 0).all() and spread > 1.5:
            ax.set_xscale("log")
        ax.set_xlabel(label)
    ax.hlines(at, lower, upper, color=BLUE, lw=2)
    ax.plot(value, at, "o", color=BLUE, ms=5)
    ax.set_yticks(at, est.names)
    ax.set_ylim(len(value) - 0.4, -0.6)
    return ax


def stages(est: Estimate, ax: Any = None) -> Any:
    """Relative error per draw expected of each stage's mixture, against the calls spent."""
    rows = est.diagnostics["stages"]
    ax = _axes(ax, 6)
    used = np.cumsum([row["draws"] for row in rows])
    criterion = np.array([row["criterion"] for row in rows], dtype=float)
    ax.plot(used, criterion, "o-", color=BLUE)
    unseen = ~np.isfinite(criterion)
    if unseen.any():
        top = ax.get_ylim()[1] if (~unseen).any() else 1.0
        ax.plot(used[unseen], np.full(unseen.sum(), top), "^", color=ORANGE, clip_on=False)
        ax.annotate(
            "an expectation still unseen", (used[unseen][0], top), (6, -12),
            textcoords="offset points", fontsize=8, color=ORANGE,
        )  # fmt: skip
    _log_scale(ax.yaxis, criterion)
    ax.set_xlabel("calls used by adaptation")
    ax.set_ylabel("criterion per draw")
    return ax


def weights(est: Estimate, ax: Any = None) -> Any:
    """Histogram of the weights f/h of the final draws, with their effective number."""
    sample = est.sample
    if sample is None or "log_weight" not in sample:
        raise ValueError("plots.weights: the estimate holds no sample with weights")
    log_w = np.asarray(sample["log_weight"])
    ax = _axes(ax, 6)
    finite = log_w[np.isfinite(log_w)] / np.log(10)
    # weights below a millionth carry nothing and would only flatten the rest
    ax.hist(np.maximum(finite, -6), bins=60, color=BLUE)
    ax.set_xlabel("log10 of the weight f/h (below -6: drawn at -6)")
    ax.set_ylabel("draws")
    d = est.diagnostics
    shape = d["pareto_k_weights"]
    tail = "weights bounded" if shape == -np.inf else f"k-hat {shape:.2f}"
    size = f"{len(log_w):,} draws, worth {d['effective_sample_size']:,.0f} of the input law"
    ax.set_title(f"{size}; {tail}", fontsize=9)
    return ax


def controls(est: Estimate, ax: Any = None) -> Any:
    """Variance without over variance with control variates, per expectation."""
    sizes = np.asarray(est.diagnostics["control_variance_reduction"], dtype=float)
    names = list(est.diagnostics["control_variate"])
    ax = _axes(ax, len(sizes))
    notes = [f"{s:.3g} x: {n}" for s, n in zip(sizes, names, strict=True)]
    _bars(ax, list(est.names), np.nan_to_num(sizes), notes)
    _log_scale(ax.xaxis, np.append(sizes, 1.0))
    ax.axvline(1.0, color=GREY, lw=1)
    ax.set_xlabel("variance divided by, thanks to control variates")
    return ax


def gains(est: Estimate, ax: Any = None) -> Any:
    """Variance of plain Monte Carlo at the same number of calls over that of the estimate."""
    sizes = np.asarray(est.diagnostics["gain_over_monte_carlo"], dtype=float)
    ax = _axes(ax, len(sizes))
    _bars(ax, list(est.names), np.nan_to_num(sizes), [f"{s:,.4g} x" for s in sizes])
    _log_scale(ax.xaxis, np.append(sizes, 1.0))
    ax.axvline(1.0, color=GREY, lw=1)
    ax.set_xlabel("gain over plain Monte Carlo, same number of calls (variance)")
    return ax


def mixture(est: Estimate, ax: Any = None) -> Any:
    """Shares of the components of the final mixture, and what each one serves."""
    sizes = np.asarray(est.diagnostics["mixture_weights"], dtype=float)
    ax = _axes(ax, len(sizes))
    _bars(ax, list(est.diagnostics["components"]), sizes, [f"{100 * s:.1f} %" for s in sizes])
    ax.set_xlabel("share of the final draws")
    return ax
