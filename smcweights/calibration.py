"""Whether stated errors hold: an estimator is run many times where the truth is known."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arguments as check
from . import parts
from .canvas import BLUE, GREY, ORANGE, literal, open_axes
from .errors import ModelError, PrecisionWarning
from .execution import open_run
from .provenance import provenance
from .randomness import seed_sequence
from .references import CLOPPER
from .results import Result, along

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
FALSE_ALARM = 0.01  # share of calibrations of honest estimators that call them dishonest, at most
POWER = 0.8  # with which the detectable shortfall is seen
TINY = np.finfo(float).tiny
MARKERS = "osD^vPX*"  # two colours of each
ROUNDING = 8 * np.finfo(float).eps  # by which an exact interval may miss the truth


@dataclass(frozen=True, repr=False)
class Calibration(Result):
    """How often the intervals of an estimator held, R runs of J components at L levels.

    Attributes
    ----------
    names : tuple of str, length J
    truth : ndarray, shape (J,)
    levels : ndarray, shape (L,)
    seeds : ndarray, shape (R,)
    values, standard_errors : ndarray, shape (R, J)
        What the runs found; NaN where a run states no standard error.
    covered : ndarray of bool, shape (R, J, L)
        Whether each interval held the truth; one that is NaN did not.
    warned : ndarray of bool, shape (R,)
        Whether the run said that its error may not hold.
    provenance : dict
    """

    names: tuple[str, ...]
    truth: Array = field(metadata=along("component"))
    levels: Array = field(metadata=along("level"))
    seeds: NDArray[np.int64] = field(metadata=along("run"))
    values: Array = field(metadata=along("run", "component"))
    standard_errors: Array = field(metadata=along("run", "component"))
    covered: NDArray[np.bool_] = field(metadata=along("run", "component", "level"))
    warned: NDArray[np.bool_] = field(metadata=along("run"))
    provenance: dict[str, Any] = field(default_factory=dict)
    references = (CLOPPER,)

    @property
    def coverage(self) -> Array:
        """Share of the runs that didn't warn whose intervals held the truth, shape (J, L)."""
        n = int((~self.warned).sum())
        return self.covered[~self.warned].sum(axis=0) / n if n else np.full(self._shape, np.nan)

    @property
    def p_values(self) -> Array:
        """How likely an honest estimator covers this seldom or seldomer, shape (J, L)."""
        from scipy.special import bdtr

        held, n = self.covered[~self.warned].sum(axis=0), int((~self.warned).sum())
        found = bdtr(held.astype(float), n, np.broadcast_to(self.levels, self._shape))
        return found if n else np.ones(self._shape)

    @property
    def honest(self) -> bool:
        """False if some coverage is too low for chance, among all J x L of them.

        The smallest p value times their number is then below 0.01: at most one honest estimator
        in a hundred is called dishonest. Runs that warned are not asked to cover.
        """
        return bool(self.p_values.min() * self.p_values.size >= FALSE_ALARM)

    @property
    def detectable(self) -> Array:
        """Shortfall of coverage that so many unwarned runs see 8 times in 10, shape (L,).

        NaN where no shortfall is seen that often.
        """
        from scipy.special import bdtr, betaincinv

        n, alarm = int((~self.warned).sum()), FALSE_ALARM / np.prod(self._shape)
        counts = np.arange(n + 1.0)
        # the largest number of intervals that held at which it is called dishonest
        most = np.array([(bdtr(counts, n, p) < alarm).sum() - 1 for p in self.levels])
        seen = betaincinv(np.maximum(most + 1, 1), np.maximum(n - most, 1), 1 - POWER)
        return np.where(most >= 0, self.levels - seen, np.nan)

    @property
    def bias_z(self) -> Array:
        """Mean of value - truth over its own standard error, shape (J,)."""
        error = self.values - self.truth
        # in units of the largest, whose square no scale of the values can lose
        error /= np.abs(error).max(axis=0, initial=TINY)
        with np.errstate(divide="ignore", invalid="ignore"):
            return error.mean(axis=0) / (error.std(axis=0, ddof=1) / np.sqrt(len(error)))

    @property
    def error_ratio(self) -> Array:
        """Root mean square of value - truth over that of the stated standard errors, shape (J,).

        Over the runs that state one.
        """
        known = np.isfinite(self.standard_errors)
        real, stated = (
            np.where(known, part, 0.0) for part in (self.values - self.truth, self.standard_errors)
        )
        unit = np.maximum(np.abs(real), stated).max(axis=0, initial=TINY)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.linalg.norm(real / unit, axis=0) / np.linalg.norm(stated / unit, axis=0)

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.names), len(self.levels)

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """Table of coverages with their binomial bounds.

        Parameters
        ----------
        level : float, default 0.95
            Of the bounds (Clopper & Pearson).

        Returns
        -------
        pandas.DataFrame
            A row for each component and level. Columns: value (the coverage of unwarned runs),
            standard_error, lower, upper, nominal, p_value, bias_z, error_ratio.
        """
        import pandas
        from scipy.special import betaincinv

        tail = (1 - check.level(level)) / 2
        held, n = self.covered[~self.warned].sum(axis=0), int((~self.warned).sum())
        lower = np.where(held > 0, betaincinv(np.maximum(held, 1), n - held + 1, tail), 0.0)
        upper = np.where(held < n, betaincinv(held + 1, np.maximum(n - held, 1), 1 - tail), 1.0)
        wide = np.ones(self._shape)
        columns = {
            "value": self.coverage,
            "standard_error": np.sqrt(self.coverage * (1 - self.coverage) / max(n, 1)),
            "lower": lower,
            "upper": upper,
            "nominal": self.levels * wide,
            "p_value": self.p_values,
            "bias_z": self.bias_z[:, None] * wide,
            "error_ratio": self.error_ratio[:, None] * wide,
        }
        rows = [f"{name} at {100 * own:g} %" for name in self.names for own in self.levels]
        return pandas.DataFrame({key: part.ravel() for key, part in columns.items()}, index=rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Coverage against what is stated, see `smcweights.plots.coverage`."""
        return coverage(self, ax)

    def __repr__(self) -> str:
        n, warned = len(self.warned), int(self.warned.sum())
        verdict = "intervals hold" if self.honest else "intervals do NOT hold"
        width = max(len("stated"), *map(len, self.names))
        lines = [
            f"Calibration of {n} runs, {warned} of which warned: "
            f"{verdict if warned < n else 'none promised anything'}",
            f"  {'stated':<{width}}"
            f"{''.join(f'{100 * p:>8.6g} %' for p in self.levels)}    bias z  real/stated error",
        ]
        for j, name in enumerate(self.names):
            shares = "".join(f"{100 * c:>8.1f} %" for c in self.coverage[j])
            lines.append(
                f"  {name:<{width}}{shares}{self.bias_z[j]:>+10.2f}{self.error_ratio[j]:>19.3f}"
            )
        at = int(np.abs(self.levels - 0.95).argmin())
        if warned < n:
            seen = self.detectable[at]
            points = f"{100 * seen:.1f} points" if np.isfinite(seen) else "No number of points"
            lines.append(
                f"  {points} less than {100 * self.levels[at]:.6g} % would be seen 8 times in 10"
            )
        return "\n".join(lines)


def coverage(found: Calibration, ax: Axes | None = None) -> Axes:
    """Coverage beyond what is stated, with 95 % binomial bounds, of every component.

    Parameters
    ----------
    found : Calibration
    ax : matplotlib axes, optional

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> found = calibrate(lambda seed: (np.random.default_rng(seed).normal(), 1.0), 0.0, 20)
    >>> coverage(found).get_xlabel()
    'stated coverage'
    """
    check.instance("found", found, Calibration)
    ax = open_axes(ax)
    bounds = found.summary()[["lower", "upper"]].to_numpy().T.reshape(2, len(found.names), -1)
    # side by side: equal coverages would lie on one another
    apart = np.linspace(-0.3, 0.3, len(found.names) + 2)[1:-1]
    ax.axhline(0.0, color=GREY, lw=1)
    for j, name in enumerate(found.names):
        at, colour = np.arange(len(found.levels)) + apart[j], (BLUE, ORANGE)[j % 2]
        ax.vlines(at, *(100 * (bounds[:, j] - found.levels)), color=colour, lw=1.5)
        off = 100 * (found.coverage[j] - found.levels)
        shape = MARKERS[j // 2 % len(MARKERS)]
        ax.plot(at, off, shape, color=colour, ms=4, label=literal(name))
    if 1 < len(found.names) <= 2 * len(MARKERS):
        ax.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    ax.set_xticks(range(len(found.levels)), [f"{100 * own:g} %" for own in found.levels])
    ax.set_xlabel("stated coverage")
    ax.set_ylabel("coverage beyond it, in points")
    return ax


def calibrate(
    run: Callable[[int], Any],
    truth: ArrayLike | Mapping[str, float],
    seeds: int | Sequence[int] = 200,
    *,
    levels: Sequence[float] = (0.5, 0.8, 0.95, 0.99),
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Calibration:
    """Run an estimator with many seeds and count how often its intervals hold the truth.

    Parameters
    ----------
    run : callable
        Takes a seed (an int) and returns an `Estimate`; or any object with ``value`` and a method
        ``interval(level)``; or ``(value, standard_error)``, whose intervals are normal; or
        ``(value, lower, upper)``, an interval at the one level of ``levels``. Values may be
        arrays. A run whose ``cautions`` are not empty has warned, and is not asked to cover; pairs
        and triples have none, whatever warnings were raised on the way.
    truth : array_like or mapping
        What is estimated, known from elsewhere; shaped like the value. A dict or a pandas Series
        with texts as its index is read by the names of the estimate.
    seeds : int from 2, or sequence of different int, default 200
        How many runs, with seeds 0, 1, ...; or their seeds.
    levels : sequence of float, default (0.5, 0.8, 0.95, 0.99)
        Stated coverages that are judged, increasing.
    executor, progress, checkpoint
        As for `adaptive_importance_sampling`; every run is a batch.

    Returns
    -------
    Calibration
        Coverage with binomial bounds, bias, real over stated error; ``honest``; ``plot()``.

    Raises
    ------
    TypeError
        ``run`` returned something else.
    ValueError
        An argument is wrong, or a value is shaped unlike the truth.
    ModelError
        A value is NaN or infinite, a standard error is negative, an interval ends before it begins,
        or one of them is shaped unlike its value.

    References
    ----------
    Clopper & Pearson (1934), The use of confidence or fiducial limits, Biometrika 26, for the
    bounds; Talts et al. (2018), arXiv 1804.06788, for judging a method by many data sets.

    Examples
    --------
    >>> def mean_of_ten(seed):
    ...     x = np.random.default_rng(seed).normal(size=10)
    ...     return x.mean(), x.std(ddof=1) / np.sqrt(10)  # but Student's law has 9 degrees
    >>> found = calibrate(mean_of_ten, 0.0, 1_000)
    >>> found.coverage.round(2)
    array([[0.48, 0.78, 0.92, 0.98]])
    >>> found.honest
    False
    """
    check.function("run", run, "of a seed")
    labels = truth if isinstance(truth, Mapping) else getattr(truth, "index", ())
    named = [] if callable(labels) else [*labels]
    if not all(isinstance(name, str) for name in named):
        named = []
    exact = check.finite("truth", [*truth.values()] if isinstance(truth, Mapping) else truth)
    if exact.size == 0:
        raise ValueError("truth: got no number; expected what is estimated")
    chosen = _levels(levels)
    numbers = _seeds(seeds)
    known = dict(zip(named, exact.ravel().tolist(), strict=True)) if named else exact
    arguments = {"run": run, "truth": known, "levels": chosen, "seeds": numbers}
    with (
        open_run(
            partial(_judged, run, exact, named, chosen),
            executor=executor,
            progress=progress,
            checkpoint=checkpoint,
            arguments=arguments,
            seed=0,
            total=len(numbers),
            unit="runs",
            description="calibrate",
        ) as opened,
        _quiet(),  # of the runs: what is said of the checkpoint is heard
    ):
        found = opened.map("runs", [(int(seed),) for seed in numbers])
    labels = {tuple(map(str, each["names"])) for each in found}
    arrays = {
        key: np.array([each[key] for each in found])
        for key in ("values", "standard_errors", "covered", "warned")
    }
    return Calibration(
        names=labels.pop() if len(labels) == 1 else parts.names(None, exact),
        truth=found[0]["truth"],
        levels=np.array(chosen),
        seeds=np.array(numbers),
        provenance=provenance("calibrate", seed_sequence(0), arguments),
        **arrays,
    )


def _levels(given: Sequence[float]) -> list[float]:
    found = [check.level(float(one), "levels") for one in check.finite("levels", given).ravel()]
    if not found or sorted(set(found)) != found:
        raise ValueError(f"levels: got {check.shown(given)}; expected increasing levels")
    return found


def _seeds(given: int | Sequence[int]) -> list[int]:
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str | bytes):
        return list(range(check.count("seeds", given, 2)))
    found = [check.count("seeds", one, 0) for one in given]
    if len(found) < 2 or len(set(found)) < len(found):
        raise ValueError(f"seeds: got {check.shown(found)}; expected two or more different seeds")
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings that are counted instead; in other threads those of the main one hold."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        yield


def _judged(
    run: Callable[[int], Any], truth: Array, named: list[str], levels: list[float], seed: int
) -> dict[str, NDArray[Any]]:
    """What a run found, and whether its intervals hold the truth."""
    try:
        with _quiet():
            found = run(seed)
    except Exception as error:
        error.add_note(f"calibrate: in the run with seed {seed}")
        raise
    value, stated, ends = _answer(found, levels, seed)
    names = [*map(str, getattr(found, "names", parts.names(None, value)))]
    if named:
        truth = _in_order(truth, named, names, seed).reshape(value.shape)
    if value.shape != truth.shape:
        raise ValueError(
            f"truth: got shape {truth.shape}; expected {value.shape}, as the run with seed {seed} "
            "estimated"
        )
    if not np.isfinite(value).all():
        raise ModelError(f"run: got {value} with seed {seed}; expected finite values")
    _check_errors(value, stated, ends, seed)
    slack = ROUNDING * np.abs(truth)
    covered = [(low - slack <= truth) & (truth <= high + slack) for low, high in ends]
    return {
        "values": value.ravel(),
        "standard_errors": np.broadcast_to(stated, truth.shape).ravel(),
        "covered": np.array(covered).reshape(len(levels), -1).T,
        "warned": np.array(bool(getattr(found, "cautions", ()))),
        "names": np.array(names),
        "truth": truth.ravel(),
    }


def _in_order(truth: Array, named: list[str], names: list[str], seed: int) -> Array:
    """The truth in the order of the names of what a run estimated."""
    if sorted(named) != sorted(names):
        raise ValueError(
            f"truth: got the names {check.shown(named)}; expected {check.shown(names)}, as the run "
            f"with seed {seed} estimated"
        )
    return truth[[named.index(name) for name in names]]


def _check_errors(value: Array, stated: Array, ends: list[Any], seed: int) -> None:
    """Refuse what can't be the error of a value; NaN is one that is not known."""
    given = [("a standard error", stated)]
    given += [("an end of an interval", np.asarray(end)) for both in ends for end in both]
    for what, part in given:
        if part.shape not in ((), value.shape):
            raise ModelError(
                f"run: got {what} of shape {part.shape} with seed {seed}; expected {value.shape} "
                "of its value"
            )
    if (stated < 0).any():
        raise ModelError(f"run: got a standard error {stated} with seed {seed}; expected none < 0")
    for low, high in ends:
        if np.any(np.asarray(low) > high):
            raise ModelError(
                f"run: got an interval from {low} to {high} with seed {seed}; expected the lower "
                "end first"
            )


def _answer(found: Any, levels: list[float], seed: int) -> tuple[Array, Array, list[Any]]:
    """Value, standard error (NaN if unknown), and the ends of the intervals at all levels."""
    from scipy.special import ndtri

    if hasattr(found, "value") and callable(getattr(found, "interval", None)):
        error = check.real("run", getattr(found, "standard_error", np.nan))
        return check.real("run", found.value), error, [found.interval(own) for own in levels]
    # not what is only built like a tuple, a test's statistic and p value say
    if type(found) is tuple and len(found) == 2:
        value, error = (check.real("run", part) for part in found)
        halves = [ndtri((1 + own) / 2) * error for own in levels]
        return value, error, [(value - half, value + half) for half in halves]
    if type(found) is tuple and len(found) == 3:
        if len(levels) > 1:
            raise ValueError(
                f"levels: got {levels}, and one interval from run; expected its level, say [0.95]"
            )
        value, low, high = (check.real("run", part) for part in found)
        return value, np.array(np.nan), [(low, high)]
    raise TypeError(
        f"run: got {check.shown(found)} with seed {seed}; expected an Estimate, "
        "(value, standard_error), or (value, lower, upper)"
    )
