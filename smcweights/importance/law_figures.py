"""Figures of the law of an output, and of what its error is owed to.

Each is drawn into ``ax``, or into a new figure, and returns the axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from scipy.special import ndtri

from .. import arguments as check
from ..canvas import BLUE, GREY, ORANGE, in_short, label_rows, literal, open_axes, position
from ..estimate import Estimate
from .thresholds import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["law", "tail", "uncertainty"]

MOST = 2_000  # points of a curve that are drawn
TICKS = (0.5, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)


@runtime_checkable
class _Law(Protocol):
    """What a figure asks of the law of outputs."""

    @property
    def outputs(self) -> Sequence[str]: ...
    @property
    def curves(self) -> Sequence[Curve]: ...
    def middle(self, t: np.ndarray, output: str | int, above: bool) -> np.ndarray: ...
    def band(
        self, t: np.ndarray, level: float = ..., output: str | int = ...
    ) -> tuple[np.ndarray, np.ndarray]: ...


def law(found: _Law, ax: Axes | None = None, *, output: str | int = 0, level: float = 0.95) -> Axes:
    """Distribution function with its simultaneous band, on the scale of the normal quantile.

    A normal law is a straight line; of both tails as much is seen as of the middle.

    Parameters
    ----------
    found : OutputLaw
    ax : matplotlib axes, optional
    output : str or int, default 0
        By name or position.
    level : float, default 0.95
        Probability with which the band holds the whole curve.

    Returns
    -------
    matplotlib axes
    """
    t, value, lower, upper = _parts(found, output, level, False)
    ax = open_axes(ax)
    with np.errstate(divide="ignore"):
        z, low, high = (ndtri(np.clip(part, 0, 1)) for part in (value, lower, upper))
    edge = 1.05 * np.abs(z).max()
    ax.fill_between(
        t, np.maximum(low, -edge), np.minimum(high, edge), step="post", color=BLUE, alpha=0.25, lw=0
    )
    ax.step(t, z, where="post", color=BLUE, lw=1.2)
    at = sorted({p for tick in TICKS for p in (tick, 1 - tick) if abs(ndtri(p)) < edge})
    ax.set_yticks(ndtri(at), [f"{p:g}" if p <= 0.5 else f"1 - {1 - p:.3g}" for p in at])
    ax.set_ylim(-edge, edge)
    ax.set_xlabel(literal(_named(found, output)))
    ax.set_ylabel("probability at or below")
    ax.set_title(f"{100 * level:g} % band, simultaneous", fontsize=9)
    return ax


def tail(
    found: _Law,
    ax: Axes | None = None,
    *,
    output: str | int = 0,
    level: float = 0.95,
    upper: bool = True,
) -> Axes:
    """Probability beyond each value with its simultaneous band, on a log scale.

    Parameters
    ----------
    found : OutputLaw
    ax : matplotlib axes, optional
    output : str or int, default 0
    level : float, default 0.95
    upper : bool, default True
        Probabilities above; those at or below where False.

    Returns
    -------
    matplotlib axes
    """
    upper = check.flag("upper", upper)
    t, value, low, high = _parts(found, output, level, upper)
    if upper:
        low, high = 1 - high, 1 - low
    ax = open_axes(ax)
    half = value < 0.5
    floor = value[half & (value > 0)].min()
    ax.fill_between(
        t[half],
        np.maximum(low, floor / 3)[half],
        high[half],
        step="post",
        color=ORANGE,
        alpha=0.25,
        lw=0,
    )
    ax.step(t[half], value[half], where="post", color=ORANGE, lw=1.2)
    ax.set_yscale("log")
    ax.set_ylim(floor / 2, 1)
    ax.set_xlabel(literal(_named(found, output)))
    ax.set_ylabel("probability above" if upper else "probability at or below")
    ax.set_title(f"{100 * level:g} % band, simultaneous", fontsize=9)
    return ax


def _named(found: _Law, output: str | int) -> str:
    return found.outputs[position(found.outputs, output, "output")]


def _parts(
    found: _Law, output: str | int, level: float, above: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Values within reach, probabilities on one side of them, and the ends of the band."""
    check.instance("found", found, _Law, "an OutputLaw")
    level = check.level(level)
    curve = found.curves[position(found.outputs, output, "output")]
    known = np.flatnonzero(curve.known[1:])
    if not len(known):
        raise ValueError("found: the output does not vary; expected one with a law to draw")
    t = curve.values[known[:: max(1, len(known) // MOST)]]
    lower, upper = found.band(t, level, output)
    # 1 - F has no digits far out
    return t, found.middle(t, output, above), lower, upper


@runtime_checkable
class _Shared(Protocol):
    """What a figure asks of an input uncertainty."""

    @property
    def total(self) -> Estimate: ...
    @property
    def shares(self) -> Estimate: ...
    @property
    def inputs(self) -> Sequence[str]: ...


def uncertainty(found: _Shared, ax: Axes | None = None) -> Axes:
    """Shares of the variance: what computing causes, and the data of each input.

    Parameters
    ----------
    found : InputUncertainty
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes
    """
    check.instance("found", found, _Shared, "an InputUncertainty")
    names, lower, upper = found.total.names, *map(np.atleast_1d, found.total.interval())
    share = found.shares.value.reshape(len(names), -1)
    ax, at = open_axes(ax, len(names)), np.arange(len(names))
    left = np.zeros(len(names))
    for k, part in enumerate(("computation", *found.inputs)):
        colour = None if k else GREY
        ax.barh(at, share[:, k], 0.62, left=left, label=literal(part), color=colour)
        left = left + np.nan_to_num(share[:, k])
    label_rows(
        ax, names, [f"[{in_short(a)}, {in_short(b)}]" for a, b in zip(lower, upper, strict=True)]
    )
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of the variance; right: 95 % interval of the whole error")
    ax.legend(frameon=False, fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax
