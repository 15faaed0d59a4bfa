"""Figures of sliced distances as directions grow, and of gradient flows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike

from ..canvas import BLUE, GREY, ORANGE, open_axes
from ..estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["flow", "frames", "sliced"]


class _Traced(Protocol):
    """What is drawn of a gradient flow."""

    @property
    def points(self) -> np.ndarray: ...
    @property
    def steps(self) -> np.ndarray: ...
    @property
    def distances(self) -> np.ndarray: ...
    @property
    def frames(self) -> np.ndarray: ...


def sliced(
    found: Mapping[str, Sequence[Estimate]], budgets: Sequence[int], ax: Axes | None = None
) -> Axes:
    """Distances with their 95 % intervals, by method and number of directions."""
    ax = open_axes(ax)
    for k, (name, estimates) in enumerate(found.items()):
        lower, upper = np.array([est.interval() for est in estimates]).T
        at = np.array(budgets) * (1 + 0.04 * (k - (len(found) - 1) / 2))
        colour = (BLUE, ORANGE, GREY, "#009e73", "#cc79a7")[k % 5]
        ax.vlines(at, lower, upper, color=colour, lw=2)
        ax.plot(at, [est.value for est in estimates], "o", color=colour, ms=4, label=name)
    ax.set_xscale("log")
    ax.set_xlabel("directions")
    ax.set_ylabel("distance")
    ax.legend(frameon=False)
    return ax


def flow(result: _Traced, ax: Axes | None = None) -> Axes:
    """Traced distances of a gradient flow by step.

    Parameters
    ----------
    result : result of `smcweights.sliced_gradient_flow`
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(20, 2))
    >>> flow(smw.sliced_gradient_flow(x, x + 1, 5, seed=1)).get_xlabel()
    'step'
    """
    ax = open_axes(ax)
    positive = np.maximum(result.distances, 1e-30)
    ax.semilogy(result.steps, positive, "o-", color=BLUE, ms=3)
    ax.set_xlabel("step")
    ax.set_ylabel("distance to the power p")
    return ax


def frames(result: _Traced, target: ArrayLike, shown: int = 4) -> np.ndarray:
    """First two coordinates of the moving points at some of the traced steps.

    Parameters
    ----------
    result : result of `smcweights.sliced_gradient_flow`
    target : array_like, shape (m, d)
        The cloud it moves to.
    shown : int, default 4
        Number of frames, evenly spread.

    Returns
    -------
    array of matplotlib axes

    Raises
    ------
    ValueError
        Nothing was traced, or the points lie on a line.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(20, 2))
    >>> len(frames(smw.sliced_gradient_flow(x, x + 1, 5, seed=1), x + 1))
    4
    """
    import matplotlib.pyplot as plt

    if len(result.frames) == 0 or result.points.shape[1] < 2:
        raise ValueError("plots.frames: expected a traced flow in two dimensions or more")
    y = np.asarray(target)
    at = np.unique(np.linspace(0, len(result.frames) - 1, shown).round().astype(int))
    _, axes = plt.subplots(1, len(at), figsize=(2.6 * len(at), 2.6), sharex=True, sharey=True)
    axes = np.atleast_1d(axes)
    for ax, k in zip(axes, at, strict=True):
        ax.scatter(*y[:, :2].T, s=3, color=GREY, alpha=0.5)
        ax.scatter(*result.frames[k][:, :2].T, s=3, color=BLUE)
        ax.set_title(f"step {result.steps[k]}", fontsize=9)
    return axes
