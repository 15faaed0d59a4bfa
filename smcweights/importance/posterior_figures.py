"""What posteriors look like: laws of parameters and of pairs, and the way from the prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from .. import arguments, canvas
from ..estimate import Estimate
from ..weights import effective_sample_size, normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

BINS = 61
REACH = 4.0  # posterior standard deviations shown
TALL = 0.85  # of a row
MOST_PAIRED = 10  # parameters in a figure of pairs
KINDS = {
    "prior": "prior",
    "ladder": "growing powers",
    "search": "search for peaks",
    "stage": "mixture for the final draws",
}


@runtime_checkable
class _Posterior(Protocol):
    """What a figure reads of a posterior."""

    @property
    def joint(self) -> Estimate: ...
    @property
    def inputs(self) -> Sequence[str]: ...
    @property
    def draws(self) -> np.ndarray: ...
    @property
    def log_weight(self) -> np.ndarray: ...
    @property
    def diagnostics(self) -> dict[str, Any]: ...


def marginals(result: _Posterior, ax: Axes | None = None) -> Axes:
    """Marginal laws of all parameters as weighted histograms, a row each.

    Every row is in posterior standard deviations from the mean, so that skewness, modes and tails
    can be compared; mean and standard deviation stand beside it.

    Parameters
    ----------
    result : Posterior
    ax : matplotlib axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib axes
    """
    arguments.instance("result", result, _Posterior, "a Posterior")
    canvas.checked_axes(ax)
    names, est = result.inputs, result.joint
    d = len(names)
    ax = canvas.open_axes(ax, d)
    w = normalise(result.log_weight)
    edges = np.linspace(-REACH, REACH, BINS + 1)
    notes = []
    for i in range(d):
        mean, sd = est.value[1 + i], est.value[1 + d + i]
        z = (result.draws[:, i] - mean) / (sd if sd > 0 else 1.0)
        heights = np.histogram(z, edges, weights=w)[0]
        heights = TALL * heights / max(heights.max(), 1e-300)
        ax.stairs(i - heights, edges, baseline=i, fill=True, color=canvas.BLUE, alpha=0.35)
        ax.stairs(i - heights, edges, baseline=i, color=canvas.BLUE, lw=1)
        notes.append(f"{canvas.in_short(mean)} ({canvas.in_short(sd)})")
    bell = np.linspace(-REACH, REACH, 201)
    ax.plot(bell, -TALL * np.exp(-0.5 * bell**2), color=canvas.GREY, lw=1, ls=":")
    canvas.label_rows(ax, names, notes)
    ax.set_ylim(d - 0.6, -1.0)
    ax.set_xlabel("posterior standard deviations from the mean (dotted: a normal law)")
    return ax


def ladder(result: _Posterior, ax: Axes | None = None) -> Axes:
    """The power of the likelihood that each stage was drawn for, from the prior on.

    Stages beyond the first power search for narrow peaks; the small numbers are components of the
    mixture that a stage was drawn from.

    Parameters
    ----------
    result : Posterior
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        The result was pooled from several runs.
    """
    arguments.instance("result", result, _Posterior, "a Posterior")
    rows = result.diagnostics.get("stages")
    if not rows:
        raise ValueError("plots.ladder: the posterior was pooled; expected that of one run")
    ax = canvas.open_axes(ax)
    used = np.cumsum([row["draws"] for row in rows])
    power = np.array([row["beta"] for row in rows], dtype=float)
    kinds = np.array([str(row["kind"]) for row in rows])
    low, high = power[power > 0].min(initial=1.0), power.max(initial=1.0)
    wide = high > 20 * low
    at = np.where(power > 0, power, low / 10 if wide else 0.0)
    ax.axhline(1.0, color=canvas.GREY, lw=1)
    ax.plot(used, at, color=canvas.GREY, lw=1, alpha=0.5)
    for kind, mark, color in (
        ("prior", "s", canvas.GREY),
        ("ladder", "o", canvas.BLUE),
        ("search", "^", canvas.ORANGE),
        ("stage", "D", canvas.BLUE),
    ):
        here = kinds == kind
        if here.any():
            ax.plot(used[here], at[here], mark, color=color, ms=5, label=KINDS[kind])
    for x, y, row in zip(used, at, rows, strict=True):
        place: dict[str, Any] = {"textcoords": "offset points", "ha": "center"}
        ax.annotate(str(row["components"]), (x, y), (0, 7), **place, **canvas.SMALL)
    if wide:
        ax.set_yscale("log")
        ax.minorticks_off()
        decades = np.arange(np.ceil(np.log10(low) - 1e-9), np.floor(np.log10(high) + 1e-9) + 1)
        ticks = 10.0 ** decades[:: max(len(decades) // 6, 1)]
        ax.set_yticks([low / 10, *ticks], ["0", *map(canvas.in_short, ticks)])
    ax.margins(0.05, 0.15)
    ax.set_xlabel("calls of the likelihood by stages")
    ax.set_ylabel("power of the likelihood\n(small numbers: components)")
    ax.legend(frameon=False, fontsize=8)
    return ax


def corner(result: _Posterior, parameters: Sequence[str | int] | None = None) -> np.ndarray:
    """Marginal laws of parameters, and of all pairs of them: regions of half and 95 % of the mass.

    Histograms of the weighted draws; those of pairs are smoothed by 0.7 of Scott's width for as
    many draws as the weights are worth. Dashed lines are means.

    Parameters
    ----------
    result : Posterior
    parameters : sequence of str or int, optional
        Names or positions of those to show; all by default, up to ten.

    Returns
    -------
    array of matplotlib axes, shape (d, d)
        Those above the diagonal are switched off.

    Raises
    ------
    ValueError
        A parameter is none of the posterior's, or there are more than ten.
    """
    arguments.instance("result", result, _Posterior, "a Posterior")
    names = [str(name) for name in result.inputs]
    wanted = names if parameters is None else arguments.in_order("parameters", parameters, "names")
    rows = [canvas.position(names, one, "parameters") for one in wanted]
    if not 0 < len(rows) <= MOST_PAIRED:
        raise ValueError(
            f"parameters: got {len(rows)}; expected 1 to {MOST_PAIRED}, more are no figure"
        )
    import matplotlib.pyplot as plt

    d = len(rows)
    _, axes = plt.subplots(
        d, d, figsize=(1.0 + 1.5 * d,) * 2, layout="constrained", squeeze=False, sharex="col"
    )
    w = normalise(result.log_weight)
    size = effective_sample_size(result.log_weight)
    x = result.draws[:, rows]
    ranges = [_range(column, w) for column in x.T]
    means = result.joint.value[1:][rows]
    if d > 1:
        axes[0, -1].set_title("regions of 50 and 95 % of the mass", fontsize=8, loc="right")
    for i in range(d):
        for j in range(d):
            ax = axes[i, j]
            if j > i:
                ax.axis("off")
                continue
            ax.axvline(means[j], color=canvas.GREY, lw=0.8, ls="--")
            if i == j:
                edges = np.linspace(*ranges[i], BINS)
                heights = np.histogram(x[:, i], edges, weights=w)[0]
                ax.stairs(heights, edges, fill=True, color=canvas.BLUE, alpha=0.35)
                ax.set(xlim=ranges[i], yticks=[])
            else:
                ax.axhline(means[i], color=canvas.GREY, lw=0.8, ls="--")
                _regions(ax, x[:, [j, i]], w, (ranges[j], ranges[i]), size)
            _mark(ax, (i, j), d, [names[k] for k in rows])
    return axes


def _range(x: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """All but a thousandth of the mass on each side, with some room."""
    order = np.argsort(x)
    mass = np.cumsum(w[order])
    low, high = (float(x[order][np.searchsorted(mass, p)]) for p in (0.001, 0.999 * mass[-1]))
    room = 0.05 * (high - low) or 0.5 * max(abs(low), 1.0)
    return low - room, high + room


def _regions(
    ax: Axes,
    x: np.ndarray,
    w: np.ndarray,
    ranges: tuple[tuple[float, float], tuple[float, float]],
    size: float,
) -> None:
    """Regions of a pair's law with 50 and 95 % of the mass."""
    from matplotlib.colors import to_rgba
    from scipy.ndimage import gaussian_filter

    mass, *edges = np.histogram2d(x[:, 0], x[:, 1], BINS, ranges, weights=w)
    spread = np.sqrt(np.maximum(w @ (x - w @ x) ** 2, 0))
    widths = [(b - a) / BINS for a, b in ranges]
    smooth = [0.7 * s * max(size, 1.0) ** (-1 / 6) / h for s, h in zip(spread, widths, strict=True)]
    mass = gaussian_filter(mass, smooth, mode="constant")
    falling = np.sort(mass.ravel())[::-1]
    held = np.cumsum(falling) / max(falling.sum(), 1e-300)
    levels = [falling[np.searchsorted(held, share)] for share in (0.95, 0.5)]
    middles = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    if levels[0] < levels[1] < falling[0]:
        colors = [to_rgba(canvas.BLUE, alpha) for alpha in (0.2, 0.55)]
        ax.contourf(*middles, mass.T, [*levels, falling[0]], colors=colors)
    ax.set(xlim=ranges[0], ylim=ranges[1])


def _mark(ax: Axes, place: tuple[int, int], d: int, names: Sequence[str]) -> None:
    """Names and numbers at the lower and the left edge only."""
    from matplotlib.ticker import MaxNLocator

    i, j = place
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.tick_params(labelsize=7, axis="x", labelbottom=i == d - 1, rotation=30)
    if i != j:
        ax.yaxis.set_major_locator(MaxNLocator(3))
        ax.tick_params(labelsize=7, axis="y", labelleft=j == 0)
    if i == d - 1:
        ax.set_xlabel(canvas.literal(names[j]), fontsize=8)
    if j == 0 and i:
        ax.set_ylabel(canvas.literal(names[i]), fontsize=8)
