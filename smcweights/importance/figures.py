"""Figures of importance sampling: stages, weights, control variates, gains, indices, failures.

Each is drawn into ``ax``, or into a new figure, and returns the axes; a result that lacks what a
figure shows, or has no such output, expectation or event, is refused by a ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments as check
from ..canvas import (
    BLUE,
    GREY,
    ORANGE,
    SMALL,
    diagnostic,
    in_short,
    label_rows,
    literal,
    log_scale,
    open_axes,
    ratios,
)
from ..estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "controls",
    "failures",
    "gains",
    "levels",
    "mixture",
    "pareto",
    "perturbation",
    "sobol",
    "sobol_series",
    "stages",
    "weights",
]


@runtime_checkable
class _Indices(Protocol):
    """What `sobol` asks of a result."""

    @property
    def first(self) -> Estimate | None: ...
    @property
    def total(self) -> Estimate | None: ...
    @property
    def inputs(self) -> Sequence[str]: ...
    @property
    def outputs(self) -> Sequence[str]: ...


@runtime_checkable
class _Curves(Protocol):
    """What `perturbation` asks of a study."""

    @property
    def grid(self) -> np.ndarray: ...
    @property
    def inputs(self) -> Sequence[str]: ...
    @property
    def expectations(self) -> Sequence[str]: ...
    @property
    def kind(self) -> str: ...
    def table(self, level: float = ...) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


def stages(est: Estimate, ax: Axes | None = None) -> Axes:
    """Largest relative error of a single draw at each stage, and the criterion in small numbers.

    The relative error of n draws is that of one over the square root of n. A triangle on the upper
    edge is a stage at which some expectation had hardly been seen.

    Examples
    --------
    >>> from smcweights import Estimate
    >>> rows = [
    ...     {"draws": 500, "criterion": 9.0, "variance": [9.0], "estimate": [1.0]},
    ...     {"draws": 500, "criterion": 1.0, "variance": [1.0], "estimate": [1.0]},
    ... ]
    >>> stages(Estimate(1.0, 0.01, diagnostics={"stages": rows})).get_xlabel()
    'calls used by adaptation'
    """
    rows = diagnostic(est, "stages", "stages")
    if not rows:
        raise ValueError("plots.stages: the estimate was made without adaptation")
    if "criterion" not in rows[0]:
        raise ValueError(
            "plots.stages: the estimate is of a posterior, whose stages plots.ladder draws"
        )
    ax = open_axes(ax)
    used = np.cumsum([row["draws"] for row in rows])
    criterion = np.array([row["criterion"] for row in rows], dtype=float)
    error = np.full(len(rows), np.inf)
    for i, row in enumerate(rows):
        variance, value = (np.array(row[key], dtype=float) for key in ("variance", "estimate"))
        # a mean of exactly 0 has no relative error
        if np.isfinite(variance).all() and value.any():
            error[i] = np.sqrt(variance[value != 0] / value[value != 0] ** 2).max()
    seen = np.isfinite(error)
    ax.plot(used[seen], error[seen], "o-", color=BLUE)
    ax.margins(0.1, 0.2)
    log_scale(ax, "y", error)
    if ax.get_yscale() == "linear":
        ax.set_ylim(bottom=0)
    paper = {"facecolor": ax.get_facecolor(), "edgecolor": "none", "pad": 0.5}
    for x, y, c in zip(used[seen], error[seen], criterion[seen], strict=True):
        ax.annotate(
            in_short(c),
            (x, y),
            (0, 8),
            textcoords="offset points",
            ha="center",
            bbox=paper,
            **SMALL,
        )
    if not seen.all():
        edge: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False}
        ax.plot(used[~seen], np.ones((~seen).sum()), "^", color=ORANGE, **edge)
        ax.annotate(
            "an expectation\nhardly seen yet",
            (used[~seen][0], 1),
            (0, -6),
            xycoords=edge["transform"],
            textcoords="offset points",
            va="top",
            fontsize=8,
            color=ORANGE,
        )
    ax.set_xlabel("calls used by adaptation")
    ax.set_ylabel("largest relative error of a draw\n(small numbers: criterion)")
    return ax


def weights(est: Estimate, ax: Axes | None = None) -> Axes:
    """Histogram of the weights f/h of the final draws, with their effective number and k-hat.

    Examples
    --------
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> est = smw.importance_sampling(
    ...     lambda x: x[:, 0], stats.norm(), stats.norm(1), 500, defensive=0.5, seed=1
    ... )
    >>> weights(est).get_ylabel()
    'draws'
    """
    sample = check.instance("est", est, Estimate, "an Estimate").sample
    if sample is None or "log_weight" not in sample:
        raise ValueError("plots.weights: the estimate holds no sample with weights")
    size = diagnostic(est, "weights", "effective_sample_size")
    shape = diagnostic(est, "weights", "pareto_k_weights")
    log_w = np.asarray(sample["log_weight"])
    ax = open_axes(ax)
    power = log_w[np.isfinite(log_w)] / np.log(10)
    # weights below a millionth of the largest carry nothing and would only flatten the rest
    least = power.max() - 6
    ax.hist(np.maximum(power, least), bins=60, color=BLUE)
    lost = len(log_w) - int((power > least).sum())
    below = f"; {lost:,} of the draws lie at or below {least:.1f}" if lost else ""
    ax.set_xlabel(f"log10 of the weight f/h{below}")
    ax.set_ylabel("draws")
    tail = "weights bounded" if shape == -np.inf else f"k-hat {shape:.2f}"
    ax.set_title(f"{len(log_w):,} draws, worth {size:,.0f} of the input law; {tail}", fontsize=9)
    return ax


def pareto(est: Estimate, ax: Axes | None = None) -> Axes:
    """Pareto k-hat of what each mean is taken of, with the draws that its mean is worth.

    The error of a mean rests on the fourth moments of its terms, of which tails above 1/4 have
    none: up to 0.5 it can be trusted where draws are many, above 0.7 it can't be promised.

    Examples
    --------
    >>> from smcweights import Estimate
    >>> known = {"pareto_k": [0.3], "effective_draws": [800.0]}
    >>> pareto(Estimate(1.0, 0.01, diagnostics=known)).get_xlabel()
    'Pareto k-hat'
    """
    shape = np.asarray(diagnostic(est, "pareto", "pareto_k"), dtype=float).reshape(-1)
    worth = np.asarray(diagnostic(est, "pareto", "effective_draws"), dtype=float).reshape(-1)
    ax = open_axes(ax, len(shape))
    at, known = np.arange(len(shape)), np.isfinite(shape)
    for limit in (0.5, 0.7):
        ax.axvline(limit, color=GREY, lw=1, ls=":" if limit < 0.7 else "-")
    for bad, color in ((False, BLUE), (True, ORANGE)):
        here = known & ((shape > 0.7) == bad)
        ax.plot(shape[here], at[here], "o", color=color, ms=5)
    notes = [
        f"{size:,.0f} draws" if np.isfinite(size) and k > -np.inf else f"bounded, {size:,.0f} draws"
        for k, size in zip(shape, worth, strict=True)
    ]
    label_rows(ax, est.names, notes)
    low, high = min(0.0, shape[known].min(initial=0.0)), max(1.0, shape[known].max(initial=1.0))
    ax.set_xlim(low - 0.05, high + 0.05)
    ax.set_xlabel("Pareto k-hat")
    return ax


def controls(est: Estimate, ax: Axes | None = None) -> Axes:
    """Variance without over variance with control variates, per expectation, and which they were.

    Examples
    --------
    >>> from smcweights import Estimate
    >>> known = {"control_variance_reduction": [3.0], "control_variate": ["components"]}
    >>> controls(Estimate(1.0, 0.01, diagnostics=known)).get_xlabel()
    'variance divided by, thanks to control variates'
    """
    sizes = np.asarray(diagnostic(est, "controls", "control_variance_reduction"), dtype=float)
    used = diagnostic(est, "controls", "control_variate")
    ax = open_axes(ax, len(sizes))
    notes = [
        f"{in_short(s)} x: {name}" if np.isfinite(s) else "never seen"
        for s, name in zip(sizes, used, strict=True)
    ]
    ratios(ax, est.names, sizes, notes)
    ax.set_xlabel("variance divided by, thanks to control variates")
    return ax


def gains(est: Estimate, ax: Axes | None = None) -> Axes:
    """Variance of plain Monte Carlo at the same number of calls over that of the estimate.

    Examples
    --------
    >>> from smcweights import Estimate
    >>> gains(Estimate(1.0, 0.01, diagnostics={"gain_over_monte_carlo": [20.0]})).get_xlabel()
    'variance of plain Monte Carlo, same number of calls, over that here'
    """
    sizes = np.asarray(diagnostic(est, "gains", "gain_over_monte_carlo"), dtype=float)
    ax = open_axes(ax, len(sizes))
    notes = [f"{in_short(s)} x" if np.isfinite(s) else "never seen" for s in sizes]
    ratios(ax, est.names, sizes, notes)
    ax.set_xlabel("variance of plain Monte Carlo, same number of calls, over that here")
    return ax


def _served(text: str, names: Sequence[str]) -> str:
    """What a component serves, by the names of the expectations in place of their numbers."""
    if not text.startswith("expectation"):
        return text
    numbers = text.split(" ", 1)[1]
    return "for " + re.sub(r"\d+", lambda number: names[int(number[0]) - 1], numbers)


def mixture(est: Estimate, ax: Axes | None = None) -> Axes:
    """Shares of the components of the final mixture, and what each one serves.

    Examples
    --------
    >>> from smcweights import Estimate
    >>> known = {"mixture_weights": [0.2, 0.8], "components": ["input law", "expectation 1"]}
    >>> ax = mixture(Estimate([0.1], [[0.01]], names=["tail"], diagnostics=known))
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['input law', 'for tail']
    """
    sizes = np.asarray(diagnostic(est, "mixture", "mixture_weights"), dtype=float)
    labels = [_served(text, est.names) for text in diagnostic(est, "mixture", "components")]
    ax = open_axes(ax, len(sizes))
    ax.barh(range(len(sizes)), sizes, color=BLUE, height=0.62)
    label_rows(ax, labels, [f"{100 * s:.1f} %" for s in sizes])
    ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.3g} %")
    ax.set_xlabel("share of the final draws")
    return ax


def sobol(
    indices: _Indices, ax: Axes | None = None, *, level: float = 0.95, output: int = 0
) -> Axes:
    """Bars of first-order and total Sobol' indices with intervals, the largest input on top.

    Parameters
    ----------
    indices : smcweights.SobolIndices
    level : float, default 0.95
        Level of the intervals; an index without a standard error has none.
    output : int, default 0
        Which of several outputs.
    """
    check.instance("indices", indices, _Indices, "a SobolIndices")
    level = check.level(level)
    kinds = [("first order", indices.first, BLUE), ("total", indices.total, ORANGE)]
    present = [(label, part, colour) for label, part, colour in kinds if part is not None]
    if not present:
        raise ValueError("plots.sobol: no first-order or total indices; ask for them in order=")
    output = check.position("output", output, len(indices.outputs))
    count = len(indices.inputs)
    rows = slice(output * count, (output + 1) * count)
    order = np.argsort(-present[-1][1].value[rows], kind="stable")
    ax = open_axes(ax, count)
    thickness = 0.8 / len(present)
    for k, (label, part, colour) in enumerate(present):
        value = part.value[rows][order]
        half = (part.interval(level)[1] - part.value)[rows][order]
        at = np.arange(count) + (k - (len(present) - 1) / 2) * thickness
        ax.barh(at, value, 0.9 * thickness, color=colour, label=label)
        known = np.isfinite(half)
        ax.errorbar(value[known], at[known], xerr=half[known], fmt="none", ecolor=GREY, capsize=2)
    ax.axvline(0.0, color=GREY, lw=1)
    label_rows(ax, [indices.inputs[i] for i in order])
    ax.set_xlabel(f"share of the variance, {100 * level:g} % intervals")
    if len(indices.outputs) > 1:
        ax.set_title(literal(indices.outputs[output]))
    ax.legend(frameon=False)
    return ax


def sobol_series(
    indices: _Indices,
    ax: Axes | None = None,
    *,
    t: ArrayLike | None = None,
    kind: str = "total",
    level: float = 0.95,
) -> Axes:
    """Sobol' indices of a series of outputs along time: a curve with its band for each input.

    Parameters
    ----------
    indices : smcweights.SobolIndices
        Of several outputs, in the order of ``t``.
    t : array_like, shape (outputs,), optional
        Where the outputs are; their numbers 0, 1, ... by default. An output that does not vary
        leaves a gap.
    kind : {"total", "first"}
    level : float, default 0.95
        Of the intervals, each for itself.
    """
    check.instance("indices", indices, _Indices, "a SobolIndices")
    level = check.level(level)
    part = getattr(indices, check.one_of("kind", kind, ("total", "first")))
    if part is None:
        raise ValueError(f"plots.sobol_series: no {kind} indices; ask for them in order=")
    count = len(indices.outputs)
    at = np.arange(count) if t is None else check.finite("t", t)
    if at.shape != (count,):
        raise ValueError(f"t: got shape {at.shape}; expected ({count},), one for each output")
    ax = open_axes(ax)
    columns = (part.value, *part.interval(level))
    value, lower, upper = (column.reshape(count, -1) for column in columns)
    for i, name in enumerate(indices.inputs):
        (line,) = ax.plot(at, value[:, i], label=literal(name))
        ax.fill_between(at, lower[:, i], upper[:, i], color=line.get_color(), alpha=0.2, lw=0)
    ax.set_xlabel("output" if t is None else "t")
    shown = {"total": "total index", "first": "first-order index"}[kind]
    ax.set_ylabel(f"{shown}, {100 * level:g} % intervals")
    ax.legend(frameon=False)
    return ax


def perturbation(
    study: _Curves, ax: Axes | None = None, *, expectation: int = 0, level: float = 0.95
) -> Axes:
    """How an expectation moves with the law of each input: a curve with its band per input.

    Parameters
    ----------
    study : result of `smcweights.perturbation_study`
    expectation : int, default 0
        Which of the expectations.
    level : float, default 0.95
        Of the bands.
    """
    check.instance("study", study, _Curves, "a result of perturbation_study")
    expectation = check.position("expectation", expectation, len(study.expectations))
    level = check.level(level)
    ax = open_axes(ax)
    value, lower, upper = (part[:, :, expectation] for part in study.table(level))
    order = np.argsort(study.grid)
    for i, name in enumerate(study.inputs):
        (line,) = ax.plot(study.grid[order], value[i, order], marker=".", label=literal(name))
        ax.fill_between(
            study.grid[order], lower[i, order], upper[i, order], color=line.get_color(), alpha=0.2
        )
    shifted = study.kind == "shift"
    ax.set_xlabel("shift, standard deviations" if shifted else "factor of the scale")
    ax.set_ylabel(literal(study.expectations[expectation]))
    ax.set_title(f"one input perturbed at a time, {100 * level:g} % intervals")
    ax.legend(frameon=False)
    return ax


def levels(est: Estimate, ax: Axes | None = None) -> Axes:
    """How `failure_probability` approached its events: the smoothing at each level."""
    found = diagnostic(est, "levels", "levels")
    ax = open_axes(ax)
    scales = np.array([level["scales"] for level in found])
    at = np.arange(1, len(scales) + 1)
    for name, column in zip(est.names, scales.T, strict=True):
        smooth = column > 0
        (line,) = ax.plot(at[smooth], column[smooth], marker=".", label=literal(name))
        if not smooth.all():
            # the indicator itself is the end of the road
            first = int(np.argmin(smooth))
            ax.axvline(at[first], color=line.get_color(), lw=1, ls=":")
    ax.set_yscale("log")
    ax.set_xticks(at)
    ax.set_xlabel("level; dotted: the event itself was hit often enough")
    ax.set_ylabel("smoothing of the limit state")
    ax.legend(frameon=False)
    return ax


def failures(est: Estimate, ax: Axes | None = None, *, event: int = 0) -> Axes:
    """Final draws of `failure_probability` in the two inputs that matter most to an event.

    Parameters
    ----------
    event : int, default 0
    """
    factors = diagnostic(est, "failures", "importance_factors")
    event = check.position("event", event, len(factors))
    if not np.isfinite(factors[event]).all() or factors.shape[1] < 2:
        raise ValueError("plots.failures: expected an event that was hit, and two inputs or more")
    sample = est.sample
    if sample is None:
        raise ValueError("plots.failures: the estimate has no sample")
    ax = open_axes(ax)
    i, k = np.argsort(-factors[event])[:2]
    x = np.asarray(sample["inputs"])
    failed = np.nan_to_num(np.asarray(sample["values"])[:, event]) != 0
    names = [str(name) for name in sample["input"].values]
    some = slice(None, None, max(1, len(x) // 4000))
    for chosen, colour, label in ((~failed, GREY, "safe"), (failed, ORANGE, "failure")):
        part = x[chosen][some]
        style: dict[str, Any] = {"ms": 3, "color": colour, "alpha": 0.5, "rasterized": True}
        ax.plot(part[:, i], part[:, k], ".", label=label, **style)
    point = est.diagnostics["design_points"][event]
    ax.plot(point[i], point[k], "*", ms=12, color=BLUE, label="design point")
    ax.set_xlabel(literal(f"{names[i]} (importance {factors[event][i]:.2f})"))
    ax.set_ylabel(literal(f"{names[k]} (importance {factors[event][k]:.2f})"))
    ax.set_title(literal(np.atleast_1d(est.names)[event]))
    ax.legend(frameon=False)
    return ax
