"""Pictures of the demonstrations: the data, and what was found of them beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..canvas import BLUE, GREY, ORANGE, label_rows, open_axes
from ..estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .problem import Array

Days = np.ndarray[Any, np.dtype[np.datetime64]]
WIDE = 2  # standard deviations of the bands
BELOW: dict[str, Any] = {"frameon": False, "loc": "upper center", "fontsize": 8}
COLUMNS = ("red", "green", "blue")


def _legend(ax: Axes, columns: int) -> None:
    """Under the axes, where nothing is drawn."""
    ax.legend(bbox_to_anchor=(0.5, -0.18), ncols=columns, **BELOW)


def levels(
    year: Array, volume: Array, dam: int, of: Sequence[tuple[float, float]], ax: Axes
) -> None:
    """Volumes, and a mean level with its standard deviation before the dam and after it."""
    ax = open_axes(ax)
    ax.plot(year, volume, "o", color=GREY, ms=3, label="volume of a year")
    parts = ((year.min() - 0.5, dam - 0.5), (dam - 0.5, year.max() + 0.5))
    for (mean, sd), ends in zip(of, parts, strict=True):
        ax.fill_between(ends, mean - WIDE * sd, mean + WIDE * sd, color=BLUE, alpha=0.3, lw=0)
        ax.plot(ends, [mean, mean], color=BLUE, lw=1.5)
    ax.lines[-1].set_label(f"mean volume, {WIDE} posterior standard deviations")
    ax.set(xlabel="year", ylabel="volume, $10^8$ m³")
    _legend(ax, 2)


def smoothed(
    year: Array, volume: Array, found: tuple[Array, Array], exact: tuple[Array, Array], ax: Axes
) -> None:
    """Volumes, and the level with its standard deviation over time, by particles and exactly."""
    ax = open_axes(ax)
    ax.plot(year, volume, "o", color=GREY, ms=3, label="volume of a year")
    level, sd = found
    ax.fill_between(year, level - WIDE * sd, level + WIDE * sd, color=ORANGE, alpha=0.3, lw=0)
    ax.plot(year, level, color=ORANGE, lw=1.5, label=f"level by particles, {WIDE} sd")
    level, sd = exact
    for side in (-WIDE, 0, WIDE):
        ax.plot(year, level + side * sd, color=BLUE, lw=1, ls="--")
    ax.lines[-1].set_label("exactly")
    ax.set(xlabel="year", ylabel="volume, $10^8$ m³")
    _legend(ax, 3)


def returned(day: Days, returns: Array, found: Array, exact: Array, ax: Axes) -> None:
    """Returns, and twice their standard deviation as it was filtered, by particles and exactly."""
    ax = open_axes(ax)
    ax.plot(day, returns, color=GREY, lw=0.5, label="return of a day")
    label = f"{WIDE} volatilities by particles"
    ax.fill_between(day, -WIDE * found, WIDE * found, color=ORANGE, alpha=0.35, lw=0, label=label)
    for side in (-WIDE, WIDE):
        ax.plot(day, side * exact, color=BLUE, lw=1, ls="--")
    ax.lines[-1].set_label("exactly")
    ax.set(ylabel="return, %")
    _legend(ax, 3)


def effective(day: Days, ess: Array, particles: int, ax: Axes) -> None:
    """Effective sample sizes of a filter over time."""
    ax = open_axes(ax)
    ax.plot(day, ess, color=ORANGE, lw=0.8)
    ax.set(ylabel=f"effective sample size of {particles:,}", ylim=(0, None))


def drawn(shares: Estimate, exact: Array, ax: Axes) -> None:
    """Shares of texts by the weights of the particles, with intervals, and exactly."""
    ax = open_axes(ax, len(shares))
    at, (lower, upper) = np.arange(len(shares)), shares.interval()
    ax.barh(at, 100 * shares.value, color=BLUE, height=0.6, alpha=0.4, label="by weights")
    ax.hlines(at, 100 * lower, 100 * upper, color=BLUE, lw=2, label="95 % interval")
    ax.plot(100 * exact, at, "o", color=ORANGE, ms=4, label="exactly")
    label_rows(ax, shares.names)
    ax.set_xlim(left=0)
    ax.set_xlabel("% of the names that the constraint lets through")
    ax.legend(frameon=False, loc="lower right", fontsize=8)


def clouds(x: Array, y: Array, direction: Array, names: Sequence[str], ax: Axes) -> None:
    """Two clouds in the two coordinates that add most to a direction, and the direction."""
    ax = open_axes(ax)
    i, k = np.argsort(-np.abs(direction))[:2]
    for points, colour, name in zip((x, y), (BLUE, ORANGE), names, strict=True):
        ax.plot(
            points[:, i],
            points[:, k],
            ".",
            color=colour,
            ms=3,
            alpha=0.6,
            label=name,
            rasterized=True,
        )
    start = np.concatenate([x, y]).mean(axis=0)[[i, k]]
    end = start + 100 * direction[[i, k]]
    way = {"arrowstyle": "->", "color": GREY, "lw": 2}
    ax.annotate("", end, start, arrowprops=way)
    ax.plot([], [], color=GREY, lw=2, label="direction")
    ax.set(xlabel=COLUMNS[i], ylabel=COLUMNS[k])
    _legend(ax, 3)


def projected(x: Array, y: Array, direction: Array, names: Sequence[str], ax: Axes) -> None:
    """Densities of two clouds along a direction."""
    ax = open_axes(ax)
    along = [points @ direction for points in (x, y)]
    edges = np.linspace(min(map(np.min, along)), max(map(np.max, along)), 41)
    for part, colour, name in zip(along, (BLUE, ORANGE), names, strict=True):
        heights = np.histogram(part, edges, density=True)[0]
        ax.stairs(heights, edges, fill=True, color=colour, alpha=0.35)
        ax.stairs(heights, edges, color=colour, lw=1.2, label=name)
    shares = ", ".join(f"{s:.2f} {c}" for s, c in zip(direction, COLUMNS, strict=True))
    ax.set(xlabel=f"along the direction ({shares})", ylabel="density")
    _legend(ax, 2)
