"""Figures of sliced distances, of tests and directions, of gradients and their flows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments as check
from ..canvas import BLUE, GREY, ORANGE, open_axes
from ..estimate import Estimate
from .clouds import as_cloud

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["columns", "flow", "frames", "gradient", "loadings", "permuted", "sliced"]


@runtime_checkable
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


@runtime_checkable
class _Permuted(Protocol):
    """What is drawn of a two-sample test."""

    @property
    def statistic(self) -> float: ...
    @property
    def p_value(self) -> float: ...
    @property
    def permuted(self) -> np.ndarray: ...


@runtime_checkable
class _Columns(Protocol):
    """What is drawn of the columns of a two-sample test."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def by_column(self) -> dict[str, np.ndarray]: ...


@runtime_checkable
class _Directed(Protocol):
    """What is drawn of the largest distance along a direction."""

    @property
    def value(self) -> float: ...
    @property
    def direction(self) -> np.ndarray: ...
    @property
    def names(self) -> tuple[str, ...]: ...


@runtime_checkable
class _Sloped(Protocol):
    """What is drawn of a gradient."""

    @property
    def value(self) -> np.ndarray: ...
    @property
    def standard_error(self) -> np.ndarray: ...


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
    check.instance("result", result, _Traced, "a result of sliced_gradient_flow")
    ax = open_axes(ax)
    positive = np.maximum(result.distances, 1e-30)
    ax.semilogy(result.steps, positive, "o-", color=BLUE, ms=3)
    ax.set_xlabel("step")
    ax.set_ylabel("distance to the power p")
    return ax


def permuted(test: _Permuted, ax: Axes | None = None) -> Axes:
    """The statistic of a two-sample test among those of its permutations.

    Parameters
    ----------
    test : smcweights.SlicedTest
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(20, 2))
    >>> permuted(smw.sliced_test(x, x + 1, permutations=99, seed=1)).get_title()
    'p value 0.01'
    """
    check.instance("test", test, _Permuted, "a SlicedTest")
    ax = open_axes(ax)
    ax.hist(test.permuted, bins=40, color=BLUE, alpha=0.6, label="permutations")
    ax.axvline(test.statistic, color=ORANGE, lw=2, label="the samples")
    ax.set(xlabel="distance to the power p", ylabel="permutations")
    ax.set_title(f"p value {test.p_value:.3g}")
    ax.legend(frameon=False)
    return ax


def gradient(result: _Sloped, ax: Axes | None = None) -> Axes:
    """Sizes of the derivatives by the points, the largest on the left, with their errors.

    Parameters
    ----------
    result : smcweights.SlicedGradient
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(20, 2))
    >>> gradient(smw.sliced_gradient(x, x + 1, seed=1)).get_xlabel()
    'points, the largest derivative first'
    """
    check.instance("result", result, _Sloped, "a SlicedGradient")
    ax = open_axes(ax)
    size = np.linalg.norm(result.value, axis=1)
    order = np.argsort(-size, kind="stable")
    at = np.arange(1, len(size) + 1)
    error = np.linalg.norm(result.standard_error, axis=1)[order]
    ax.plot(at, size[order], color=BLUE, lw=2, label="size of the derivative")
    ax.plot(at, error, ".", color=ORANGE, ms=3, label="its standard error")
    ax.set(xlabel="points, the largest derivative first", ylabel="derivative")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    return ax


def columns(test: _Columns, ax: Axes | None = None) -> Axes:
    """Distances of the columns of two samples with their intervals, those that moved in colour.

    Parameters
    ----------
    test : smcweights.SlicedTest
        Made with ``columns=True``.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(20, 2))
    >>> test = smw.sliced_test(x, x + 1, permutations=99, columns=True, seed=1)
    >>> columns(test).get_xlabel()
    'distance of the column, in units of the scale'
    """
    table = check.instance("test", test, _Columns, "a SlicedTest").by_column
    ax = open_axes(ax)
    at = np.arange(len(test.names))[::-1]
    for moved, colour in ((False, GREY), (True, ORANGE)):
        own = (table["p_value"] <= 0.05) == moved
        ax.hlines(at[own], table["lower"][own], table["upper"][own], color=colour, lw=2)
        label = "moved (adjusted p at most 0.05)" if moved else "not told from unmoved"
        ax.plot(table["distance"][own], at[own], "o", color=colour, ms=5, label=label)
    ax.set_yticks(at, test.names)
    ax.set_xlim(left=0)
    ax.set_xlabel("distance of the column, in units of the scale")
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


def loadings(result: _Directed, ax: Axes | None = None, shown: int = 12) -> Axes:
    """Coordinates of the direction in which two clouds differ most, the largest first.

    Parameters
    ----------
    result : result of `smcweights.max_sliced_wasserstein`
    ax : matplotlib axes, optional
    shown : int, default 12
        Most coordinates.

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> x = np.random.default_rng(1).normal(size=(20, 2))
    >>> loadings(smw.max_sliced_wasserstein(x, x + 1, seed=1)).get_xlabel()
    'share in the direction'
    """
    check.instance("result", result, _Directed, "a result of max_sliced_wasserstein")
    shown = check.count("shown", shown)
    ax = open_axes(ax)
    order = np.argsort(-np.abs(result.direction), kind="stable")[:shown]
    at = np.arange(len(order))[::-1]
    ax.barh(at, result.direction[order], color=BLUE)
    ax.axvline(0, color=GREY, lw=0.8)
    ax.set_yticks(at, [result.names[k] if result.names else f"coordinate {k}" for k in order])
    ax.set_xlabel("share in the direction")
    ax.set_title(f"largest distance {result.value:.4g}")
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

    check.instance("result", result, _Traced, "a result of sliced_gradient_flow")
    if len(result.frames) == 0 or result.points.shape[1] < 2:
        raise ValueError("plots.frames: expected a traced flow in two dimensions or more")
    y = as_cloud(target, name="target").points
    if y.shape[1] != result.points.shape[1]:
        raise ValueError(f"target: got shape {y.shape}; expected (m, {result.points.shape[1]})")
    shown = check.count("shown", shown)
    at = np.unique(np.linspace(0, len(result.frames) - 1, shown).round().astype(int))
    _, axes = plt.subplots(1, len(at), figsize=(2.6 * len(at), 2.6), sharex=True, sharey=True)
    axes = np.atleast_1d(axes)
    for ax, k in zip(axes, at, strict=True):
        ax.scatter(*y[:, :2].T, s=3, color=GREY, alpha=0.5)
        ax.scatter(*result.frames[k][:, :2].T, s=3, color=BLUE)
        ax.set_title(f"step {result.steps[k]}", fontsize=9)
    return axes
