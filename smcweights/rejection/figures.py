"""The figure of constrained sequences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..canvas import BLUE, ORANGE, open_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["sequences"]


class _Traced(Protocol):
    """What is drawn of weighted sequences."""

    @property
    def traces(self) -> Mapping[str, np.ndarray]: ...
    @property
    def n_particles(self) -> int: ...


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
    ax = open_axes(ax)
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
