"""What posteriors look like: marginals of the weighted draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from .. import arguments, canvas
from ..estimate import Estimate
from ..weights import normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

BINS = 61
REACH = 4.0  # posterior standard deviations shown
TALL = 0.85  # of a row


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
