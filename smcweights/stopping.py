"""When a run ends: after so many calls, or once its intervals are as narrow as asked.

Estimators take exactly one of ``budget`` and ``precision``; `stopping_rule` turns the two
arguments into one rule, and `until_precise` runs the stages of a method by it:
`Precision.next_size` plans the next one from the error so far. A run stops at a moment that depends
on estimated errors, which are by chance too small when it stops early; stages that at most
quintuple the draws so far and aim 5 % beyond the target keep the effect on coverage small.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import array, count, function, level, number, real, shown
from .cautions import Caution
from .delta_method import linearised
from .errors import ModelError, PrecisionWarning
from .estimate import Estimate


@dataclass(frozen=True)
class Budget:
    """Stop after a number of calls, draws or sweeps.

    Parameters
    ----------
    total : int, at least 1
        What is counted is the estimator's to say. A float equal to an int, as 1e5, is accepted.

    Raises
    ------
    TypeError, ValueError
        Not a positive whole number.

    Examples
    --------
    >>> Budget(1e5)
    Budget(total=100000)
    """

    total: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", count("budget", self.total))

    @property
    def most(self) -> int:
        """Largest number of calls, whatever the rule."""
        return self.total


@dataclass(frozen=True)
class Precision:
    """Stop once every interval is narrow enough.

    A component with value v is precise enough when its interval at ``level`` reaches no further
    than max(absolute, relative * abs(v)) from v.

    Parameters
    ----------
    absolute : float or array_like of shape (J,), positive, optional
        Half-width in the unit of the values, or one for each of them: infinite where any will do.
        At least one of the two is needed.
    relative : float or array_like of shape (J,), above 0 and at most 1, optional
        Half-width as a share of the value, infinite where any will do. Alone it is never met where
        the value is zero.
    level : float, default 0.95
        Level of the intervals, between 0 and 1.
    max_budget : int, default 10,000,000
        The run ends after so many calls, precise or not; the estimate then says which.
    of : callable, optional
        What is to be precise instead of the values: a smooth function of them, as for
        `Estimate.apply`, such as a ratio.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of range, or neither half-width is given.

    Examples
    --------
    >>> Precision(absolute=0.1, relative=0.01).half_widths([-50.0, 0.0])
    array([0.5, 0.1])
    >>> Precision(relative=0.01, of=lambda v: v[0] / v[1]).allowed(np.array([3.0, 2.0])).round(6)
    array([0.03, 0.02])
    """

    absolute: float | ArrayLike | None = None
    relative: float | ArrayLike | None = None
    level: float = 0.95
    max_budget: int = 10_000_000
    of: Callable[[NDArray[np.float64]], Any] | None = None

    def __post_init__(self) -> None:
        if self.absolute is None and self.relative is None:
            raise ValueError("precision: expected absolute or relative, or both; got neither")
        for name in ("absolute", "relative"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _widths(name, getattr(self, name)))
        # five per cent are 0.05: a share above one would stop at once
        shares = np.atleast_1d(1.0 if self.relative is None else np.asarray(self.relative))
        if (too_wide := shares[np.isfinite(shares) & (shares > 1)]).size:
            raise ValueError(
                f"relative: got {too_wide[0]:g}; expected a share of the value, above 0 and at "
                "most 1"
            )
        if self.of is not None:
            function("of", self.of, "of the values")
        object.__setattr__(self, "level", level(self.level))
        object.__setattr__(self, "max_budget", count("max_budget", self.max_budget, most=math.inf))

    @property
    def most(self) -> int:
        """Largest number of calls, whatever the rule."""
        return self.max_budget

    def half_widths(self, value: ArrayLike) -> NDArray[np.float64]:
        """Half-widths allowed at these values.

        Parameters
        ----------
        value : array_like, shape () or (J,)
            Estimated values.

        Returns
        -------
        ndarray, same shape
            max(absolute, relative * abs(value)).
        """
        size = np.abs(np.asarray(value, dtype=np.float64))
        for name in ("absolute", "relative"):
            given = np.shape(getattr(self, name))
            if given not in ((), size.shape):
                raise ValueError(
                    f"precision: {name} has {given[0]} entries; expected one number, or one for "
                    f"each of the {size.size} values"
                )
        share, alone = (
            np.asarray(0.0 if widths is None else widths)
            for widths in (self.relative, self.absolute)
        )
        # a share of zero, too, may be as wide as it likes
        part = np.where(np.isinf(share), np.inf, np.where(np.isinf(share), 0.0, share) * size)
        return np.maximum(alone, part)

    def allowed(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Half-widths of the values one by one, so that each alone keeps the precision.

        Parameters
        ----------
        value : ndarray, shape (J,)
            Estimated values.

        Returns
        -------
        ndarray, shape (J,)
            `half_widths`; or with ``of`` those allowed of the function over its slopes.
        """
        if self.of is None:
            return self.half_widths(value)
        step = np.maximum(1e-3 * np.abs(value), 1e-12)
        with np.errstate(divide="ignore", invalid="ignore"):
            try:
                with _of_values(value):
                    result, slopes, _ = linearised(self.of, value, step)
            except (ModelError, ArithmeticError):
                # not yet where the function is defined
                return np.abs(value)
            half = self.half_widths(result)[..., None]
            if not (half > 0).any():
                # a share of 0, before a value has been seen
                return np.abs(value)
            each = np.where(slopes == 0, np.inf, half / np.abs(slopes))
        return np.asarray(each.reshape(-1, value.size).min(0))

    def seen(self, estimate: Estimate) -> Estimate:
        """What is to be precise: the estimate, or the function of it."""
        if self.of is None:
            return estimate
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            with _of_values(np.asarray(estimate.value)):
                return estimate.apply(self.of)

    def reached(self, estimate: Estimate) -> bool:
        """Whether all of an estimate's components are precise enough.

        Parameters
        ----------
        estimate : Estimate
            Its own intervals at ``level`` count, so Student quantiles and the limits of components
            without a hit are respected. Without a standard error nothing is reached.

        Returns
        -------
        bool
        """
        now = Standing.of(self.seen(estimate), self.level, 1, 1)
        return bool((now.half_widths <= self.half_widths(now.value)).all())

    def next_size(
        self, value: ArrayLike, half_widths: ArrayLike, n: int, used: int | None = None
    ) -> int:
        """Draws in the next stage, so that the precision is expected to be reached by it.

        Parameters
        ----------
        value : array_like, shape () or (J,)
            Values estimated so far.
        half_widths : array_like, same shape
            Half-widths of their intervals at ``level``; infinite or NaN where there is none yet.
        n : int, at least 1
            Draws behind them.
        used : int, default n
            Calls spent so far, of ``max_budget``.

        Returns
        -------
        int
            1.05 n max(r^2 - 1, 0.1) rounded up, r the largest ratio of a half-width to the allowed
            one, but at most 4 n and at most what is left of ``max_budget``; 0 when reached.

        Raises
        ------
        TypeError, ValueError
            ``n`` is not a positive whole number.

        Examples
        --------
        >>> Precision(absolute=0.1).next_size(3.0, 0.15, 1_000)
        1313
        """
        n = count("n", n)
        half, allowed = np.asarray(half_widths, dtype=np.float64), self.half_widths(value)
        if (half <= allowed).all():
            return 0
        left = self.max_budget - (n if used is None else used)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.where(half <= allowed, 0.0, (half / allowed) ** 2)
        worst = float(ratio.max())
        wanted = 1.05 * n * max(worst - 1, 0.1) if math.isfinite(worst) else math.inf
        return max(math.ceil(min(wanted, 4 * n, left)), 0)


class Standing(NamedTuple):
    """How precise a run is after its stages so far.

    Attributes
    ----------
    value, half_widths : ndarray, same shape
        Estimated values, and how far their intervals reach.
    n : int
        Draws behind them.
    used : int
        Calls spent, of ``max_budget``.
    least : int, default 1
        What another stage costs at the least.
    final : str, default ""
        Why another stage would tell nothing new, if so.
    estimate : Estimate, optional
        What a precision ``of`` a function looks at; without it the values count as independent.
    """

    value: NDArray[np.float64]
    half_widths: NDArray[np.float64]
    n: int
    used: int
    least: int = 1
    final: str = ""
    estimate: Estimate | None = None

    @classmethod
    def of(
        cls, estimate: Estimate, level: float, n: int, used: int, least: int = 1, final: str = ""
    ) -> Standing:
        """Where an estimate stands: its own intervals count, their longer sides."""
        value = np.asarray(estimate.value)
        lower, upper = estimate.interval(level)
        half = np.maximum(upper - value, value - lower)
        return cls(value, half, n, used, least, final, estimate)

    def through(self, rule: Precision) -> Standing:
        """The same of what the rule wants to be precise."""
        if rule.of is None:
            return self
        estimate = self.estimate
        if estimate is None:
            from scipy.special import ndtri

            half = np.where(np.isfinite(self.half_widths), self.half_widths, np.nan)
            error = np.atleast_1d(half / ndtri(0.5 + rule.level / 2))
            root = np.where(np.isnan(error)[:, None], np.nan, np.diag(error))
            estimate = Estimate(np.atleast_1d(self.value), factor=root)
            estimate = estimate if self.value.ndim else estimate[0]
        found = rule.seen(estimate)
        return Standing.of(found, rule.level, self.n, self.used, self.least, self.final)


class _Notes(Protocol):
    """A run whose checkpoint others may look into."""

    def note(self, value: ArrayLike, half_widths: ArrayLike, level: float) -> None: ...


@contextmanager
def _of_values(value: NDArray[np.float64]) -> Iterator[None]:
    """Errors of the function that is to be precise name it, and where it was called."""
    try:
        yield
    except ModelError as error:
        said = str(error).removeprefix("f: ")
        raise ModelError(
            f"precision: of: {said}; the values are {shown(value.tolist())}"
        ) from error
    except (IndexError, KeyError) as error:
        raise IndexError(
            f"precision: of: {error}; expected a function of values of shape {value.shape}, as "
            f"{shown(value.tolist())}"
        ) from error


def _widths(name: str, given: ArrayLike) -> float | tuple[float, ...]:
    """A positive number, or a number for each value, infinite where any width will do."""
    if array(name, given).ndim == 0:
        return number(name, given, 0)
    widths = real(name, given)
    if widths.ndim != 1 or widths.size == 0 or not (widths > 0).all():
        raise ValueError(
            f"{name}: got {shown(given)}; expected a number above 0, or one for each value"
        )
    return tuple(widths.tolist())


def until_precise(
    rule: Budget | Precision,
    first: int,
    stage: Callable[[int], object],
    standing: Callable[[float], Standing],
    unit: str,
    run: _Notes | None = None,
) -> list[Caution]:
    """Run a stage; with a `Precision`, run more until it is reached or the budget used up.

    Parameters
    ----------
    rule : Budget or Precision
        With a budget there is one stage.
    first : int
        Size of the first stage.
    stage : callable
        Runs a stage of about this size.
    standing : callable
        Takes the level of the intervals and says how precise the run is now.
    unit : str
        What ``max_budget`` counts, in the plural.
    run : Run, optional
        Is told after each stage what was found so far, for those who look into its checkpoint.

    Returns
    -------
    list of Caution
        Empty, or that the precision was not reached.

    Examples
    --------
    >>> sizes = []
    >>> def standing(level):
    ...     n = sum(sizes)
    ...     return Standing(np.array(3.0), np.array(2 / n**0.5), n, n)
    >>> until_precise(Precision(absolute=0.1), 300, sizes.append, standing, "draws"), sizes
    ([], [300, 105])
    """
    stage(first)
    while isinstance(rule, Precision):
        now = standing(rule.level).through(rule)
        if run is not None:
            run.note(now.value, now.half_widths, rule.level)
        if (now.half_widths <= rule.half_widths(now.value)).all():
            break
        if now.final or rule.max_budget - now.used < now.least:
            why = f": {now.final}" if now.final else f" within max_budget={rule.max_budget} {unit}"
            return [Caution("precision-not-reached", f"the precision was not reached{why}")]
        stage(rule.next_size(now.value, now.half_widths, now.n, now.used))
    return []


def stopping_rule(budget: Any = None, precision: Precision | None = None) -> Budget | Precision:
    """One rule from the two arguments, of which exactly one is given.

    Parameters
    ----------
    budget : int, optional
        Number of calls, draws or sweeps, at least 1.
    precision : Precision, optional
        What to reach instead.

    Returns
    -------
    Budget or Precision

    Raises
    ------
    ValueError
        Both or none given, or a budget below 1 or not whole.
    TypeError
        An argument is of the wrong kind.

    Examples
    --------
    >>> stopping_rule(1_000)
    Budget(total=1000)
    """
    if (budget is None) == (precision is None):
        raise ValueError(
            "expected exactly one of budget and precision; got "
            + ("none" if budget is None else "both")
        )
    if precision is None:
        return Budget(budget)
    if not isinstance(precision, Precision):
        raise TypeError(
            f"precision: got {type(precision).__name__}; expected smcweights.Precision, as in "
            "Precision(relative=0.01)"
        )
    return precision


def check_least(rule: Budget | Precision, least: int, of: str) -> None:
    """Refuse a rule by which a method would end before it can begin.

    Raises
    ------
    ValueError
        The largest number of calls is below the least; ``of`` says of what.

    Examples
    --------
    >>> check_least(Budget(5), 20, "sweeps")
    Traceback (most recent call last):
    ...
    ValueError: budget: got 5; expected at least 20 sweeps
    """
    if rule.most < least:
        asked = "budget" if isinstance(rule, Budget) else "precision: max_budget"
        raise ValueError(f"{asked}: got {rule.most:,}; expected at least {least:,} {of}")
