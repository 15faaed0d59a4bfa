"""What all figures share: axes, rows, scales, intervals in words, and the figure of any estimate.

matplotlib is imported on use. Nothing here knows a method: what is drawn comes as `_Answer` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from . import arguments as check
from .tables import number_format

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#666666"  # Okabe & Ito: safe for the colour-blind
MOST_NAMED = 40  # rows beyond which names no longer fit a page
FINE = 1e-4  # relative error below which a per cent of the value says nothing
LEAST_SHARE = 0.01  # from here to 1 a per cent of the value may be taken for points of a share
MOST_UNLIKE = 100  # relative errors on one axis: the smallest is still seen
SMALL: dict[str, Any] = {"fontsize": 8, "color": "#333333"}


@runtime_checkable
class _Answer(Protocol):
    """What a figure asks of an estimate."""

    @property
    def value(self) -> np.ndarray: ...
    @property
    def standard_error(self) -> np.ndarray: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def method(self) -> str: ...
    @property
    def diagnostics(self) -> Mapping[str, Any]: ...
    def interval(self, level: float = ...) -> tuple[np.ndarray, np.ndarray]: ...


def height(rows: int) -> float:
    """Height in inches of a figure with this many rows.

    Examples
    --------
    >>> height(6), height(2_000) == height(60)
    (3.26, True)
    """
    return round(max(2.4, 1.1 + 0.36 * min(rows, 20)), 2)


def checked_axes(ax: Axes | None) -> None:
    """Refuse what is given in place of axes, before what is drawn is computed."""
    if ax is not None:
        from matplotlib.axes import Axes

        check.instance("ax", ax, Axes, "matplotlib axes")


def open_axes(ax: Axes | None, rows: int = 6) -> Axes:
    """The axes given, or those of a new figure for this many rows; after all checks."""
    checked_axes(ax)
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(6.4, height(rows)), layout="constrained")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def diagnostic(est: _Answer, figure: str, key: str) -> Any:
    """A diagnostic; an estimate that lacks it is refused."""
    check.instance("est", est, _Answer, "an Estimate")
    try:
        return est.diagnostics[key]
    except KeyError:
        raise ValueError(
            f"plots.{figure}: the estimate has no diagnostic {key!r}; expected a result of "
            "importance sampling"
        ) from None


def position(names: Sequence[str], parameter: str | int, said: str = "parameter") -> int:
    """Position of a parameter, or what else is said, that is given by its name or position."""
    known = [str(name) for name in names]
    if isinstance(parameter, str) and parameter in known:
        return known.index(parameter)
    whole = isinstance(parameter, int | np.integer) and not isinstance(parameter, bool)
    if whole and 0 <= int(parameter) < len(known):
        return int(parameter)
    raise ValueError(
        f"{said}: got {check.shown(parameter)}; expected one of {known}, or its position"
    )


def log_scale(ax: Axes, which: str, sizes: np.ndarray) -> None:
    """Logarithmic where the sizes span over a decade, with plain numbers at its ticks."""
    from matplotlib.ticker import LogLocator, NullFormatter

    known = sizes[np.isfinite(sizes) & (sizes > 0)]
    if len(known) and known.max() > 10 * known.min():
        ax.set(**{f"{which}scale": "log"})
        axis = ax.xaxis if which == "x" else ax.yaxis
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_major_formatter("{x:,.10g}")
        axis.set_minor_formatter(NullFormatter())


def literal(text: str) -> str:
    """Text whose dollars don't begin a formula."""
    return text.replace("$", r"\$")


def fitting(name: str, most: int = 36) -> str:
    """A name that leaves room for a figure; of a long one both ends, which tell it from others.

    Examples
    --------
    >>> fitting("P(overflow of the dyke at the second station > 0.4)")
    'P(overflow of the d … station > 0.4)'
    """
    words = " ".join(name.split())
    if len(words) <= most:
        return words
    head = 3 * (most - 3) // 5
    return f"{words[:head].rstrip()} … {words[head + 3 - most :].lstrip()}"


def label_rows(ax: Axes, names: Sequence[str], notes: Sequence[str] = ()) -> None:
    """One row per name, the first on top, with notes in a column on the right."""
    ax.set_ylim(len(names) - 0.4, -0.6)
    if len(names) > MOST_NAMED:
        ax.set_ylabel("component, in the order of the names")
        return
    ax.set_yticks(range(len(names)), [literal(fitting(name)) for name in names])
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "annotation_clip": False}
    for i, note in enumerate(notes):
        ax.annotate(literal(note), (1.02, i), va="center", **place, **SMALL)


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
    if 0 < half < FINE * abs(value) or (LEAST_SHARE <= abs(value) < 1 and half > 0):
        # of a log evidence three digits would hide what is known
        digits = number_format(value, half)
        return f"{digits(value)} ± {digits(half)}"
    share = f"{in_short(100 * half / abs(value))} %" if half < abs(value) else in_short(half)
    return f"{in_short(value)} ± {share}"


def ratios(ax: Axes, names: Sequence[str], sizes: np.ndarray, notes: Sequence[str]) -> None:
    """Ratios as distances from 1, where nothing is gained or lost."""
    at = np.arange(len(names))
    ax.axvline(1.0, color=GREY, lw=1)
    ax.hlines(at, 1.0, sizes, color=BLUE, lw=2)
    ax.plot(sizes, at, "o", color=BLUE, ms=5)
    label_rows(ax, names, notes)
    log_scale(ax, "x", np.append(sizes, 1.0))


def estimate(
    est: _Answer, truth: ArrayLike | None = None, ax: Axes | None = None, *, level: float = 0.95
) -> Axes:
    """Values with their intervals; relative to the truth where one is given.

    Parameters
    ----------
    est : Estimate
        Of any method.
    truth : array_like, shape (J,), optional
        Deviations are then shown as a share of it, so that expectations of any size fit one axis;
        where some truth is 0, or some share far smaller than another, as a multiple of the
        standard error.
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
    check.instance("est", est, _Answer, "an Estimate")
    value = np.atleast_1d(est.value)
    lower, upper = (np.atleast_1d(end) for end in est.interval(level))
    notes = list(map(_interval, value, lower, upper))
    exact = None if truth is None else check.finite("truth", truth)
    if exact is not None and exact.size != len(value):
        raise ValueError(f"truth: got {exact.size} numbers; expected {len(value)}, as estimated")
    ax = open_axes(ax, len(value))
    at = np.arange(len(value))
    what = f"{100 * level:g} % interval"
    if exact is not None:
        exact = exact.reshape(-1)
        error = np.atleast_1d(est.standard_error)
        if _unlike(error, exact):
            size = np.where(error > 0, error, 1.0)
            ax.set_xlabel(f"deviation from the truth in standard errors, {what}")
        else:
            size = np.abs(exact)
            ax.set_xlabel(f"relative deviation from the truth, {what}")
            ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.3g} %")
            ax.locator_params(axis="x", nbins=5)
        value, lower, upper = ((part - exact) / size for part in (value, lower, upper))
        ax.axvline(0.0, color=GREY, lw=1)
    else:
        spread = np.ptp(np.log10(np.abs(value[value != 0]))) if (value != 0).any() else 0.0
        if (lower > 0).all() and spread > 1.5:
            ax.set_xscale("log")
        ax.set_xlabel(f"estimate, {what}")
    ax.hlines(at, lower, upper, color=BLUE, lw=2)
    ax.plot(value, at, "o", color=BLUE, ms=5)
    label_rows(ax, est.names, notes)
    return ax


def _unlike(error: np.ndarray, exact: np.ndarray) -> bool:
    """Whether errors relative to the truth would not be seen on one axis."""
    if (exact == 0).any():
        return True
    share = error[error > 0] / np.abs(exact[error > 0])
    return bool(len(share)) and bool(share.max() > MOST_UNLIKE * share.min())


def _times(given: ArrayLike) -> np.ndarray:
    """Finite numbers or dates."""
    found = check.unmasked("times", given)
    if found.dtype.kind == "O":
        with suppress(TypeError, ValueError, OverflowError):
            found = found.astype("datetime64[us]")
    if found.dtype.kind != "M":
        return check.finite("times", found)
    if np.isnat(found).any():
        raise ValueError("times: got dates that are missing; expected one per component")
    return found


def bands(
    est: _Answer, ax: Axes | None = None, *, times: ArrayLike | None = None, level: float = 0.95
) -> Axes:
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
    check.instance("est", est, _Answer, "an Estimate")
    if np.ndim(est.value) != 1:
        raise ValueError("est: got a scalar estimate; expected one component per time")
    at = np.arange(est.value.size) if times is None else _times(times)
    if at.shape != est.value.shape:
        raise ValueError(f"times: got shape {at.shape}; expected {est.value.shape}")
    lower, upper = est.interval(level)
    ax = open_axes(ax)
    ax.fill_between(at, lower, upper, color=ORANGE, alpha=0.35, linewidth=0)
    ax.plot(at, est.value, color=ORANGE, linewidth=1.2, label=est.method)
    ax.set_xlabel("time")
    return ax
