"""One figure per kind of answer; matplotlib is imported on use.

Every function takes an `Estimate` and returns matplotlib axes; pass ``ax`` to draw into your own.

`estimate`  values with intervals, beside the truth where it is known
`stages`    what adaptation gained, stage by stage
`weights`   the importance weights of the final draws
`controls`  how much variance the control variates took away
`gains`     gain over plain Monte Carlo at the same number of calls
`mixture`   what the draws came from
`sobol`     bars of Sobol' indices
`sequences` effective sample size of constrained sequences (takes a WeightedSequences)
`sliced`    a sliced distance with its interval as directions grow (takes two clouds)
`iterates`  the way of a search with its averages (takes a Fit)
`scores`    the score along a parameter, with bands (takes a model and its observations)
`profile`   the log likelihood along a parameter, the others maximised (takes a Fit)
`flow`      distances along a gradient flow, and `frames` the moving points (take a SlicedFlow)

All but `estimate` show diagnostics and raise ValueError for an estimate that lacks them.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from .estimate import Estimate
    from .importance.reweighting import PerturbationStudy
    from .importance.sensitivity import SobolIndices
    from .rejection.sequences import WeightedSequences
    from .statespace.learning.ascent import Fit
    from .statespace.model import StateSpaceModel
    from .transport.flow import SlicedFlow

__all__ = [
    "bands",
    "controls",
    "estimate",
    "failures",
    "flow",
    "frames",
    "gains",
    "iterates",
    "levels",
    "mixture",
    "perturbation",
    "profile",
    "scores",
    "sequences",
    "sliced",
    "sobol",
    "stages",
    "weights",
]

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # Okabe & Ito: safe for the colour-blind
MOST_NAMED = 40  # rows beyond which names no longer fit a page
SMALL = {"fontsize": 8, "color": "#333333"}


def height(rows: int) -> float:
    """Height in inches of a figure with this many rows.

    Examples
    --------
    >>> height(6), height(2_000) == height(60)
    (3.26, True)
    """
    return round(max(2.4, 1.1 + 0.36 * min(rows, 20)), 2)


def _axes(ax: Any, rows: int = 6) -> Any:
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(6.4, height(rows)), layout="constrained")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def _diagnostic(est: Estimate, figure: str, key: str) -> Any:
    try:
        return est.diagnostics[key]
    except KeyError:
        raise ValueError(
            f"plots.{figure}: the estimate has no diagnostic {key!r}; expected a result of "
            "importance sampling"
        ) from None


def _log_scale(axis: Any, sizes: np.ndarray) -> None:
    """Logarithmic where the sizes span over a decade, with plain numbers at its ticks."""
    from matplotlib.ticker import LogLocator, NullFormatter

    known = sizes[np.isfinite(sizes) & (sizes > 0)]
    if len(known) and known.max() > 10 * known.min():
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_major_formatter("{x:,.10g}")
        axis.set_minor_formatter(NullFormatter())


def _literal(text: str) -> str:
    return text.replace("$", r"\$")  # dollars would begin a formula


def _rows(ax: Any, names: Sequence[str], notes: Sequence[str] = ()) -> None:
    """One row per name, the first on top, with notes in a column on the right."""
    ax.set_ylim(len(names) - 0.4, -0.6)
    if len(names) > MOST_NAMED:
        ax.set_ylabel("component, in the order of the names")
        return
    labels = [_literal(textwrap.shorten(name, 40, placeholder=" ...")) for name in names]
    ax.set_yticks(range(len(names)), labels)
    place = {"xycoords": ("axes fraction", "data"), "annotation_clip": False}
    for i, note in enumerate(notes):
        ax.annotate(_literal(note), (1.02, i), va="center", **place, **SMALL)


def in_short(number: float) -> str:
    """Three digits, in plain notation where that is short.

    Examples
    --------
    >>> in_short(12359.0), in_short(0.0016), in_short(1.6385e-05)
    ('12,400', '0.0016', '1.64e-05')
    """
    return f"{float(f'{number:.3g}'):,g}" if 1e-4 <= abs(number) < 1e6 else f"{number:.3g}"


def _interval(value: float, lower: float, upper: float) -> str:
    half = (upper - lower) / 2
    if np.isnan(half):
        return f"{in_short(value)}, error unknown"
    if value == 0 == lower:
        return f"below {in_short(upper)}"
    share = f"{in_short(100 * half / abs(value))} %" if half < abs(value) else in_short(half)
    return f"{in_short(value)} ± {share}"


def _ratios(ax: Any, names: Sequence[str], sizes: np.ndarray, notes: Sequence[str]) -> None:
    """Ratios as distances from 1, where nothing is gained or lost."""
    at = np.arange(len(names))
    ax.axvline(1.0, color=GREY, lw=1)
    ax.hlines(at, 1.0, sizes, color=BLUE, lw=2)
    ax.plot(sizes, at, "o", color=BLUE, ms=5)
    _rows(ax, names, notes)
    _log_scale(ax.xaxis, np.append(sizes, 1.0))


def estimate(
    est: Estimate, truth: ArrayLike | None = None, ax: Any = None, *, level: float = 0.95
) -> Any:
    """Values with their intervals; relative to the truth where one is given.

    Parameters
    ----------
    est : Estimate
        Of any method.
    truth : array_like, shape (J,), optional
        Deviations are then shown as a share of it, so that expectations of any size fit one axis;
        where some truth is 0, as a multiple of the standard error.
    ax : matplotlib axes, optional
    level : float, default 0.95
        Nominal coverage of the intervals.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        ``truth`` has another shape than the estimate.

    Examples
    --------
    >>> from smcweights import Estimate
    >>> estimate(Estimate([1.0, 2.0], [[0.01, 0.0], [0.0, 0.04]])).get_xlabel()
    'estimate, 95 % interval'
    """
    value = np.atleast_1d(est.value)
    lower, upper = (np.atleast_1d(end) for end in est.interval(level))
    notes = list(map(_interval, value, lower, upper))
    exact = None if truth is None else np.asarray(truth, dtype=float)
    if exact is not None and exact.size != len(value):
        raise ValueError(f"truth: has {exact.size} numbers; the estimate has {len(value)}")
    ax = _axes(ax, len(value))
    at = np.arange(len(value))
    what = f"{100 * level:g} % interval"
    if exact is not None:
        exact = exact.reshape(-1)
        error = np.atleast_1d(est.standard_error)
        zero = bool((exact == 0).any())
        size = np.where(error > 0, error, 1.0) if zero else np.abs(exact)
        value, lower, upper = ((part - exact) / size for part in (value, lower, upper))
        ax.axvline(0.0, color=GREY, lw=1)
        if zero:
            ax.set_xlabel(f"deviation from the truth in standard errors, {what}")
        else:
            ax.set_xlabel(f"relative deviation from the truth, {what}")
            ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.3g} %")
    else:
        spread = np.ptp(np.log10(np.abs(value[value != 0]))) if (value != 0).any() else 0.0
        if (lower > 0).all() and spread > 1.5:
            ax.set_xscale("log")
        ax.set_xlabel(f"estimate, {what}")
    ax.hlines(at, lower, upper, color=BLUE, lw=2)
    ax.plot(value, at, "o", color=BLUE, ms=5)
    _rows(ax, est.names, notes)
    return ax


def stages(est: Estimate, ax: Any = None) -> Any:
    """Largest relative error of a single draw at each stage, and the criterion in small numbers.

    The relative error of n draws is that of one over the square root of n. A triangle on the upper
    edge is a stage at which some expectation had hardly been seen.

    Parameters
    ----------
    est : Estimate
        Of `smcweights.adaptive_importance_sampling`.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        The estimate has no stages.

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
    rows = _diagnostic(est, "stages", "stages")
    if not rows:
        raise ValueError("plots.stages: the estimate was made without adaptation")
    ax = _axes(ax)
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
    _log_scale(ax.yaxis, error)
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
        edge = {"transform": ax.get_xaxis_transform(), "clip_on": False}
        ax.plot(used[~seen], np.ones((~seen).sum()), "^", color=ORANGE, **edge)
        ax.annotate(
            "an expectation hardly seen yet", (used[~seen][0], 1), (0, -14),
            xycoords=ax.get_xaxis_transform(), textcoords="offset points", fontsize=8, color=ORANGE,
        )  # fmt: skip
    ax.set_xlabel("calls used by adaptation")
    ax.set_ylabel("largest relative error of a draw\n(small numbers: criterion)")
    return ax


def weights(est: Estimate, ax: Any = None) -> Any:
    """Histogram of the weights f/h of the final draws, with their effective number and k-hat.

    Parameters
    ----------
    est : Estimate
        Of importance sampling, with its sample.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        The estimate holds no sample with weights.

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
    sample = est.sample
    if sample is None or "log_weight" not in sample:
        raise ValueError("plots.weights: the estimate holds no sample with weights")
    size = _diagnostic(est, "weights", "effective_sample_size")
    shape = _diagnostic(est, "weights", "pareto_k_weights")
    log_w = np.asarray(sample["log_weight"])
    ax = _axes(ax)
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


def controls(est: Estimate, ax: Any = None) -> Any:
    """Variance without over variance with control variates, per expectation, and which they were.

    Parameters
    ----------
    est : Estimate
        Of importance sampling.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        The estimate has no such diagnostics.

    Examples
    --------
    >>> from smcweights import Estimate
    >>> known = {"control_variance_reduction": [3.0], "control_variate": ["components"]}
    >>> controls(Estimate(1.0, 0.01, diagnostics=known)).get_xlabel()
    'variance divided by, thanks to control variates'
    """
    sizes = np.asarray(_diagnostic(est, "controls", "control_variance_reduction"), dtype=float)
    used = _diagnostic(est, "controls", "control_variate")
    ax = _axes(ax, len(sizes))
    notes = [
        f"{in_short(s)} x: {name}" if np.isfinite(s) else "never seen"
        for s, name in zip(sizes, used, strict=True)
    ]
    _ratios(ax, est.names, sizes, notes)
    ax.set_xlabel("variance divided by, thanks to control variates")
    return ax


def gains(est: Estimate, ax: Any = None) -> Any:
    """Variance of plain Monte Carlo at the same number of calls over that of the estimate.

    Parameters
    ----------
    est : Estimate
        Of importance sampling.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        The estimate has no such diagnostic.

    Examples
    --------
    >>> from smcweights import Estimate
    >>> gains(Estimate(1.0, 0.01, diagnostics={"gain_over_monte_carlo": [20.0]})).get_xlabel()
    'variance of plain Monte Carlo, same number of calls, over that here'
    """
    sizes = np.asarray(_diagnostic(est, "gains", "gain_over_monte_carlo"), dtype=float)
    ax = _axes(ax, len(sizes))
    notes = [f"{in_short(s)} x" if np.isfinite(s) else "never seen" for s in sizes]
    _ratios(ax, est.names, sizes, notes)
    ax.set_xlabel("variance of plain Monte Carlo, same number of calls, over that here")
    return ax


def _served(text: str, names: Sequence[str]) -> str:
    """What a component serves, by the names of the expectations in place of their numbers."""
    if not text.startswith("expectation"):
        return text
    numbers = text.split(" ", 1)[1]
    return "for " + re.sub(r"\d+", lambda number: names[int(number[0]) - 1], numbers)


def mixture(est: Estimate, ax: Any = None) -> Any:
    """Shares of the components of the final mixture, and what each one serves.

    Parameters
    ----------
    est : Estimate
        Of importance sampling.
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        The estimate has no such diagnostics.

    Examples
    --------
    >>> from smcweights import Estimate
    >>> known = {"mixture_weights": [0.2, 0.8], "components": ["input law", "expectation 1"]}
    >>> ax = mixture(Estimate([0.1], [[0.01]], names=["tail"], diagnostics=known))
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['input law', 'for tail']
    """
    sizes = np.asarray(_diagnostic(est, "mixture", "mixture_weights"), dtype=float)
    labels = [_served(text, est.names) for text in _diagnostic(est, "mixture", "components")]
    ax = _axes(ax, len(sizes))
    ax.barh(range(len(sizes)), sizes, color=BLUE, height=0.62)
    _rows(ax, labels, [f"{100 * s:.1f} %" for s in sizes])
    ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.3g} %")
    ax.set_xlabel("share of the final draws")
    return ax


def sobol(indices: SobolIndices, ax: Any = None, *, level: float = 0.95, output: int = 0) -> Any:
    """Bars of first-order and total Sobol' indices with intervals, the largest input on top.

    Parameters
    ----------
    indices : SobolIndices
    ax : matplotlib.axes.Axes, optional
        Axes to draw into; a new figure if left out.
    level : float, default 0.95
        Level of the intervals; an index without a standard error has none.
    output : int, default 0
        Which of several outputs.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        Neither first-order nor total indices were estimated, or there is no such output.
    """
    kinds = [("first order", indices.first, BLUE), ("total", indices.total, ORANGE)]
    present = [(label, part, colour) for label, part, colour in kinds if part is not None]
    if not present:
        raise ValueError("plots.sobol: no first-order or total indices; ask for them in order=")
    if not 0 <= output < len(indices.outputs):
        raise ValueError(f"plots.sobol: output {output} of {len(indices.outputs)}")
    count = len(indices.inputs)
    rows = slice(output * count, (output + 1) * count)
    order = np.argsort(-present[-1][1].value[rows], kind="stable")
    ax = _axes(ax, count)
    thickness = 0.8 / len(present)
    for k, (label, part, colour) in enumerate(present):
        value = part.value[rows][order]
        half = (part.interval(level)[1] - part.value)[rows][order]
        at = np.arange(count) + (k - (len(present) - 1) / 2) * thickness
        ax.barh(at, value, 0.9 * thickness, color=colour, label=label)
        known = np.isfinite(half)
        ax.errorbar(value[known], at[known], xerr=half[known], fmt="none", ecolor=GREY, capsize=2)
    ax.axvline(0.0, color=GREY, lw=1)
    _rows(ax, [indices.inputs[i] for i in order])
    ax.set_xlabel(f"share of the variance, {100 * level:g} % intervals")
    if len(indices.outputs) > 1:
        ax.set_title(_literal(indices.outputs[output]))
    ax.legend(frameon=False)
    return ax


def perturbation(
    study: PerturbationStudy, ax: Any = None, *, expectation: int = 0, level: float = 0.95
) -> Any:
    """How an expectation moves with the law of each input: a curve with its band per input.

    Parameters
    ----------
    study : PerturbationStudy
    ax : matplotlib.axes.Axes, optional
        Axes to draw into; a new figure if left out.
    expectation : int, default 0
        Which of the expectations.
    level : float, default 0.95
        Of the bands.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        There is no such expectation.
    """
    if not 0 <= expectation < len(study.expectations):
        raise ValueError(
            f"plots.perturbation: expectation {expectation} of {len(study.expectations)}"
        )
    ax = _axes(ax)
    value, lower, upper = (part[:, :, expectation] for part in study.table(level))
    order = np.argsort(study.grid)
    for i, name in enumerate(study.inputs):
        (line,) = ax.plot(study.grid[order], value[i, order], marker=".", label=_literal(name))
        ax.fill_between(
            study.grid[order], lower[i, order], upper[i, order], color=line.get_color(), alpha=0.2
        )
    shifted = study.kind == "shift"
    ax.set_xlabel("shift, standard deviations" if shifted else "factor of the scale")
    ax.set_ylabel(_literal(study.expectations[expectation]))
    ax.set_title(f"one input perturbed at a time, {100 * level:g} % intervals")
    ax.legend(frameon=False)
    return ax


def levels(est: Estimate, ax: Any = None) -> Any:
    """How `failure_probability` approached its events: the smoothing at each level.

    Parameters
    ----------
    est : Estimate
        Of `failure_probability`.
    ax : matplotlib.axes.Axes, optional
        Axes to draw into; a new figure if left out.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        The estimate has no levels.
    """
    found = _diagnostic(est, "levels", "levels")
    ax = _axes(ax)
    scales = np.array([level["scales"] for level in found])
    at = np.arange(1, len(scales) + 1)
    for name, column in zip(est.names, scales.T, strict=True):
        smooth = column > 0
        (line,) = ax.plot(at[smooth], column[smooth], marker=".", label=_literal(name))
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


def failures(est: Estimate, ax: Any = None, *, event: int = 0) -> Any:
    """Final draws of `failure_probability` in the two inputs that matter most to an event.

    Parameters
    ----------
    est : Estimate
        Of `failure_probability`.
    ax : matplotlib.axes.Axes, optional
        Axes to draw into; a new figure if left out.
    event : int, default 0

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        The estimate is of another method, there is no such event, or it was never hit.
    """
    factors = _diagnostic(est, "failures", "importance_factors")
    if not 0 <= event < len(factors):
        raise ValueError(f"plots.failures: event {event} of {len(factors)}")
    if not np.isfinite(factors[event]).all() or factors.shape[1] < 2:
        raise ValueError("plots.failures: expected an event that was hit, and two inputs or more")
    sample = est.sample
    if sample is None:
        raise ValueError("plots.failures: the estimate has no sample")
    ax = _axes(ax)
    i, k = np.argsort(-factors[event])[:2]
    x = np.asarray(sample["inputs"])
    failed = np.asarray(sample["values"])[:, event] != 0
    names = [str(name) for name in sample["input"].values]
    some = slice(None, None, max(1, len(x) // 4000))
    for chosen, colour, label in ((~failed, GREY, "safe"), (failed, ORANGE, "failure")):
        part = x[chosen][some]
        ax.plot(part[:, i], part[:, k], ".", ms=3, color=colour, alpha=0.5, label=label)
    point = est.diagnostics["design_points"][event]
    ax.plot(point[i], point[k], "*", ms=12, color=BLUE, label="design point")
    ax.set_xlabel(_literal(f"{names[i]} (importance {factors[event][i]:.2f})"))
    ax.set_ylabel(_literal(f"{names[k]} (importance {factors[event][k]:.2f})"))
    ax.set_title(_literal(np.atleast_1d(est.names)[event]))
    ax.legend(frameon=False)
    return ax


def sequences(out: WeightedSequences, ax: Any = None) -> Any:
    """Effective sample size and living particles of constrained sequences, item by item.

    Parameters
    ----------
    out : WeightedSequences
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
    ax = _axes(ax)
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


def bands(
    est: Estimate, ax: Any = None, *, times: ArrayLike | None = None, level: float = 0.95
) -> Any:
    """Components over time, such as smoothed states, with their intervals as a band.

    Parameters
    ----------
    est : Estimate, shape (T,)
        As `smcweights.functionals.states` gives for a model with float states.
    ax : matplotlib axes, optional
    times : array_like, shape (T,), optional
        Default 0 ... T-1.
    level : float, default 0.95
        Of the intervals: they are the Monte Carlo error of each mean, not the spread of the state.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        The estimate is a scalar, or the times don't fit.

    Examples
    --------
    >>> from smcweights import Estimate
    >>> bands(Estimate([1.0, 2.0], [[0.1, 0.0], [0.0, 0.1]])).get_xlabel()
    'time'
    """
    if est.value.ndim != 1:
        raise ValueError("plots.bands: got a scalar estimate; expected one component per time")
    at = np.arange(est.value.size) if times is None else np.asarray(times)
    if at.shape != est.value.shape:
        raise ValueError(f"times: got shape {at.shape}; expected {est.value.shape}")
    ax = _axes(ax)
    lower, upper = est.interval(level)
    ax.fill_between(at, lower, upper, color=ORANGE, alpha=0.35, linewidth=0)
    ax.plot(at, est.value, color=ORANGE, linewidth=1.2, label=est.method)
    ax.set_xlabel("time")
    return ax


def sliced(
    x: ArrayLike,
    y: ArrayLike,
    ax: Any = None,
    *,
    budgets: Sequence[int] = (50, 100, 200, 500, 1000),
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    seed: Any = 1,
) -> Any:
    """Sliced Wasserstein distance with its 95 % interval as directions grow, by method.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
    ax : matplotlib axes, optional
    budgets : sequence of int
        Numbers of directions.
    methods : mapping of str to arguments of `smcweights.sliced_wasserstein`, optional
        By default independent directions beside what "auto" does.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(1).normal(size=(50, 3))
    >>> sliced(x, 2 * x + 1, budgets=[50, 100]).get_xlabel()
    'directions'
    """
    from .transport.sliced import sliced_wasserstein

    ax = _axes(ax)
    if methods is None:
        methods = {
            "independent": {"directions": "uniform", "control_variates": False},
            "default": {},
        }
    for k, (name, keywords) in enumerate(methods.items()):
        found = [sliced_wasserstein(x, y, n, seed=seed, **keywords) for n in budgets]
        lower, upper = np.array([est.interval() for est in found]).T
        at = np.array(budgets) * (1 + 0.04 * (k - (len(methods) - 1) / 2))
        colour = (BLUE, ORANGE, GREY, "#009e73", "#cc79a7")[k % 5]
        ax.vlines(at, lower, upper, color=colour, lw=2)
        ax.plot(at, [est.value for est in found], "o", color=colour, ms=4, label=name)
    ax.set_xscale("log")
    ax.set_xlabel("directions")
    ax.set_ylabel("distance")
    ax.legend(frameon=False)
    return ax


def flow(result: SlicedFlow, ax: Any = None) -> Any:
    """Traced distances of a gradient flow by step.

    Parameters
    ----------
    result : SlicedFlow
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
    ax = _axes(ax)
    positive = np.maximum(result.distances, 1e-30)
    ax.semilogy(result.steps, positive, "o-", color=BLUE, ms=3)
    ax.set_xlabel("step")
    ax.set_ylabel("distance to the power p")
    return ax


def frames(result: SlicedFlow, target: ArrayLike, shown: int = 4) -> Any:
    """First two coordinates of the moving points at some of the traced steps.

    Parameters
    ----------
    result : SlicedFlow
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


def _place(names: Sequence[str], parameter: str | int, figure: str) -> int:
    known = [str(name) for name in names]
    if isinstance(parameter, str) and parameter in known:
        return known.index(parameter)
    if not isinstance(parameter, str) and 0 <= parameter < len(known):
        return int(parameter)
    raise ValueError(f"plots.{figure}: parameter {parameter!r}; expected one of {known}")


def iterates(fit: Fit, ax: Any = None, *, parameter: str | int = 0, level: float = 0.95) -> Any:
    """Iterates of every chain, their running averages, and the intervals at the end.

    Parameters
    ----------
    fit : Fit
    ax : matplotlib axes, optional
    parameter : str or int
        By name or position among the free ones.
    level : float, default 0.95
        Of the intervals: of search and data together (grey), and of the search alone (orange).

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> import smcweights as smw
    >>> fit = smw.markov_score_climbing(lambda z: -0.5 * z[0] ** 2, [0.5, 0.0], 10, 40, seed=1)
    >>> iterates(fit).get_ylabel()
    'phi[0]'
    """
    k = _place(fit.theta.names, parameter, "iterates")
    ax = _axes(ax)
    steps = np.arange(1, fit.iterates.shape[1] + 1)
    for lines, style in (
        (fit.iterates, {"color": BLUE, "lw": 0.6, "alpha": 0.35}),
        (fit.averaged_path, {"color": ORANGE, "lw": 1.5}),
    ):
        ax.plot(steps, lines[:, :, k].T, **style)
    shown = [("both", GREY), ("monte carlo", ORANGE)]
    for error, colour in shown[1:] if fit.theta is fit.maximiser else shown:
        lower, upper = (end[k] for end in fit.interval(level, error))
        if np.isfinite([lower, upper]).all():
            ax.axhspan(lower, upper, color=colour, alpha=0.15, lw=0)
    ax.set(xlabel="iteration", ylabel=_literal(str(fit.theta.names[k])))
    return ax


def scores(
    model: StateSpaceModel,
    y: ArrayLike,
    parameter: str,
    grid: ArrayLike,
    n_particles: int,
    budget: int = 60,
    ax: Any = None,
    *,
    level: float = 0.95,
    seed: Any = 1,
    **arguments: Any,
) -> Any:
    """The score along one parameter with its intervals as a band; it crosses zero at a maximum.

    Parameters
    ----------
    model : StateSpaceModel
        Its other parameters are held.
    y : array_like
        Observations.
    parameter : str
    grid : array_like, shape (m,)
        Values of the parameter, sorted.
    n_particles, budget
        Of `smcweights.score`, at every value.
    ax : matplotlib axes, optional
    level : float, default 0.95
        Of the intervals.
    seed : None, int, SeedSequence or Generator
    **arguments
        Others of `smcweights.score`.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        The parameter is unknown, or the grid is not sorted.

    Examples
    --------
    >>> import smcweights as smw
    >>> model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> y = model.simulate(10, seed=1)[1]
    >>> ax = scores(model, y, "transition_matrix", [0.5, 0.9], 50, 200)
    >>> ax.get_xlabel()
    'transition_matrix'
    """
    from .statespace.learning.scores import score

    k = _place(model.theta_names or (), parameter, "scores")
    at = np.asarray(grid, dtype=float)
    if at.ndim != 1 or at.size < 2 or not (np.diff(at) > 0).all():
        raise ValueError(f"plots.scores: grid {grid!r}; expected two or more increasing values")
    theta = np.tile(model.theta, (at.size, 1))
    theta[:, k] = at
    found = [
        score(model, y, row, n_particles, budget, free=[k], seed=seed, **arguments) for row in theta
    ]
    lower, upper = np.array([np.concatenate(est.interval(level)) for est in found]).T
    ax = _axes(ax)
    ax.fill_between(at, lower, upper, color=ORANGE, alpha=0.35, linewidth=0)
    ax.plot(at, [est.value[0] for est in found], "o-", color=ORANGE, ms=3, lw=1.2)
    ax.axhline(0.0, color=GREY, lw=0.8)
    ax.set(xlabel=_literal(parameter), ylabel="score")
    return ax


def profile(
    fit: Fit,
    y: ArrayLike,
    parameter: str | int,
    grid: ArrayLike,
    n_particles: int,
    budget: int = 60,
    ax: Any = None,
    *,
    repeats: int = 8,
    level: float = 0.95,
    seed: Any = 1,
) -> Any:
    """Log likelihood along one parameter, the other free ones maximised, with intervals.

    Parameters
    ----------
    fit : Fit
        Of `smcweights.maximum_likelihood`. Where it holds the information, the parabola that its
        error of the data stands for is drawn as well.
    y : array_like
        Observations.
    parameter : str or int
        By name or position among the free ones.
    grid : array_like, shape (m,)
        Values of the parameter.
    n_particles : int
        Of searches and filters.
    budget : int, default 60
        Iterations of the search at every value, when there are other free parameters.
    ax : matplotlib axes, optional
    repeats : int, default 8
        Filters behind every log likelihood.
    level : float, default 0.95
        Of the intervals: Monte Carlo error of the log likelihoods.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        The parameter is not free.

    Examples
    --------
    >>> import smcweights as smw
    >>> model = smw.models.stochastic_volatility(0.9, 0.3)
    >>> y = model.simulate(20, seed=1)[1]
    >>> fit = smw.maximum_likelihood(
    ...     model, y, None, 20, 20, free=["scale"], information=False, seed=1
    ... )
    >>> profile(fit, y, "scale", [0.8, 1.0, 1.2], 50).get_ylabel()
    'log likelihood'
    """
    from .randomness import generator, seed_sequence
    from .statespace.filtering import particle_filter
    from .statespace.learning.likelihood import maximum_likelihood

    names = list(fit.theta.names)
    k = _place(names, parameter, "profile")
    at, root = np.asarray(grid, dtype=float).ravel(), seed_sequence(seed)
    model = fit.model
    labels = model.theta_names or [f"theta[{j}]" for j in range(model.theta.size)]
    place = [str(label) for label in labels].index(names[k])
    others = [name for j, name in enumerate(names) if j != k]
    free = [[str(label) for label in labels].index(name) for name in others]
    found = []
    for j, number in enumerate(at):
        theta = model.theta.copy()
        theta[place] = number
        held = model.with_theta(theta)
        if others:
            held = maximum_likelihood(
                held, y, None, n_particles, budget, free=free, information=False,
                seed=generator(root, "profile search", j),
            ).model  # fmt: skip
        own = generator(root, "profile", j)
        filtered = particle_filter(held, y, n_particles, repeats=repeats, seed=own)
        found.append(filtered.log_likelihood)
    value = np.array([float(est.value) for est in found])
    lower, upper = np.array([est.interval(level) for est in found]).T
    ax = _axes(ax)
    ax.vlines(at, lower, upper, color=BLUE, lw=2)
    ax.plot(at, value, "o", color=BLUE, ms=4)
    error = fit.diagnostics.get("statistical_error", np.full(len(names), np.nan))[k]
    if np.isfinite(error):
        fine = np.linspace(at.min(), at.max(), 200)
        parabola = -0.5 * ((at - fit.maximiser.value[k]) / error) ** 2
        top = np.average(value - parabola, weights=np.exp(parabola))
        ax.plot(fine, top - 0.5 * ((fine - fit.maximiser.value[k]) / error) ** 2, color=GREY, lw=1)
    ax.set(xlabel=_literal(names[k]), ylabel="log likelihood")
    return ax
