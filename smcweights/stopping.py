"""When a run ends: after so many calls, or once its intervals are as narrow as asked.

Estimators take exactly one of ``budget`` and ``precision``; `stopping_rule` turns the two
arguments into one rule. A run with a `Precision` goes by stages: `Precision.next_size` plans the
next one from the error so far. It stops at a moment that depends on estimated errors, which are
by chance too small when it stops early; stages that at most quintuple the draws so far and aim
5 % beyond the target keep the effect on coverage small.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Budget", "Precision", "positive_count", "stopping_rule"]


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
        object.__setattr__(self, "total", positive_count(self.total, "budget"))


@dataclass(frozen=True)
class Precision:
    """Stop once every interval is narrow enough.

    A component with value v is precise enough when its interval at ``level`` reaches no further
    than max(absolute, relative * abs(v)) from v.

    Parameters
    ----------
    absolute : float, positive, optional
        Half-width in the unit of the values. At least one of the two is needed.
    relative : float, positive, optional
        Half-width as a share of the value. Alone it is never met where the value is zero.
    level : float, default 0.95
        Level of the intervals, between 0 and 1.
    max_budget : int, default 10,000,000
        The run ends after so many calls, precise or not; the estimate then says which.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of range, or neither half-width is given.

    Examples
    --------
    >>> Precision(absolute=0.1, relative=0.01).half_widths([-50.0, 0.0])
    array([0.5, 0.1])
    """

    absolute: float | None = None
    relative: float | None = None
    level: float = 0.95
    max_budget: int = 10_000_000

    def __post_init__(self) -> None:
        if self.absolute is None and self.relative is None:
            raise ValueError("precision: expected absolute or relative, or both; got neither")
        for name in ("absolute", "relative"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _between(getattr(self, name), name, math.inf))
        object.__setattr__(self, "level", _between(self.level, "level", 1.0))
        object.__setattr__(self, "max_budget", positive_count(self.max_budget, "max_budget"))

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
        share = (self.relative or 0.0) * np.abs(np.asarray(value, dtype=np.float64))
        return np.maximum(self.absolute or 0.0, share)

    def reached(self, estimate: Any) -> bool:
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
        value = np.asarray(estimate.value)
        lower, upper = estimate.interval(self.level)
        reach = np.maximum(upper - value, value - lower)
        return bool((reach <= self.half_widths(value)).all())

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
        n = positive_count(n, "n")
        half, allowed = np.asarray(half_widths, dtype=np.float64), self.half_widths(value)
        if (half <= allowed).all():
            return 0
        left = self.max_budget - (n if used is None else used)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.where(half <= allowed, 0.0, (half / allowed) ** 2)
        worst = float(ratio.max())
        wanted = 1.05 * n * max(worst - 1, 0.1) if math.isfinite(worst) else math.inf
        return max(math.ceil(min(wanted, 4 * n, left)), 0)


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


def positive_count(value: Any, name: str) -> int:
    """A whole number from 1, checked; a float equal to one will do."""
    expected = "a positive whole number"
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: got {value!r}; expected {expected}, not a bool")
    if isinstance(value, float | np.floating):
        if not math.isfinite(value) or value != math.floor(value):
            raise ValueError(f"{name}: got {value!r}; expected {expected}")
        value = int(value)
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name}: got {value!r} of type {type(value).__name__}; expected {expected}"
        ) from None
    if count < 1:
        raise ValueError(f"{name}: got {count}; expected {expected}")
    return count


def _between(value: Any, name: str, end: float) -> float:
    wrong = isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    )
    if wrong:
        raise TypeError(f"{name}: got {value!r} of type {type(value).__name__}; expected a number")
    if not 0 < value < end:
        limit = "a finite positive number" if end == math.inf else f"a number between 0 and {end:g}"
        raise ValueError(f"{name}: got {value!r}; expected {limit}")
    return float(value)
