"""Figures of weighted items and of constrained sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from .. import arguments as check
from ..canvas import BLUE, ORANGE, label_rows, open_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["sequences", "weighted"]


@runtime_checkable
class _Traced(Protocol):
    """What is drawn of weighted sequences."""

    @property
    def traces(self) -> Mapping[str, np.ndarray]: ...
    @property
    def n_particles(self) -> int: ...


@runtime_checkable
class _Drawn(Protocol):
    """What is drawn of a weighted item, or a set of them."""

    @property
    def children(self) -> tuple[np.ndarray, np.ndarray]: ...
    @property
    def log_bounds(self) -> tuple[float, float]: ...
    @property
    def status(self) -> str: ...


def weighted(out: _Drawn, ax: Axes | None = None) -> Axes:
    """Weights of the items drawn, and the certain bounds on the probability of the constraint.

    Parameters
    ----------
    out : smcweights.WeightedDraw
    ax : matplotlib.axes.Axes, optional
        Axes to draw into; a new figure if left out.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import smcweights as smw
    >>> weighted(smw.weighted_rejection([0.0, 1.0], [True, False], seed=1)).get_xlabel()
    'weight'
    """
    check.instance("out", out, _Drawn, "a WeightedDraw")
    items, log_weights = out.children
    order = np.argsort(-log_weights, kind="stable")
    sizes, names = np.exp(log_weights[order]), [f"item {items[i]}" for i in order]
    if len(items) > 1:
        # which is what the bounds are for
        sizes, names = np.append(sizes, sizes.sum()), [*names, "all"]
    ax = open_axes(ax, len(names))
    lower, upper = np.exp(np.array(out.log_bounds))
    if np.isfinite(upper):
        label = "the probability, for certain"
        ax.axvspan(lower, upper, color=ORANGE, alpha=0.3, lw=0, label=label, zorder=0)
    ax.barh(np.arange(len(names)), sizes, color=BLUE, height=0.5)
    label_rows(ax, names)
    ax.set_xlim(left=0)
    ax.set(xlabel="weight", title=f"status: {out.status}")
    if np.isfinite(upper):
        ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    return ax


def sequences(out: _Traced, ax: Axes | None = None) -> Axes:
    """Effective sample size and living particles of constrained sequences, item by item.

    Parameters
    ----------
    out : smcweights.WeightedSequences
    ax : matplotlib.axes.Axes, optional
        Axes to draw into; a new figure if left out.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import smcweights as smw
    >>> coin = smw.languages.markov_chain([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]])
    >>> out = smw.constrained_sequences(coin, lambda p, i: i + len(p) > 0, 20, 4, seed=1)
    >>> sequences(out).get_xlabel()
    'item'
    """
    from matplotlib.ticker import MaxNLocator

    check.instance("out", out, _Traced, "a WeightedSequences")
    ax = open_axes(ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    at = np.arange(1, out.traces["ess"].shape[1] + 1)
    ess = 100 * out.traces["ess"] / out.n_particles
    ax.plot(at, ess.T, color=BLUE, lw=0.7, alpha=0.4)
    ax.plot(at, ess.mean(0), color=BLUE, lw=2, label="effective sample size")
    living = 100 - 100 * out.traces["dead"].mean(0) / out.n_particles
    ax.plot(at, living, color=ORANGE, lw=2, ls="--", label="alive")
    ax.set_ylim(0, 105)
    ax.set_xlabel("item")
    ax.set_ylabel("% of the particles")
    ax.legend(frameon=False)
    return ax
