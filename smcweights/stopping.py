"""When a run ends: after a number of evaluations, or once its intervals are narrow enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from .estimate import Estimate

__all__ = ["Budget", "Precision", "stopping_rule"]


@dataclass(frozen=True)
class Budget:
    """A fixed number of evaluations, sweeps, directions or draws."""

    total: int


@dataclass(frozen=True)
class Precision:
    """How narrow every interval should become.

    Parameters
    ----------
    absolute, relative : float, optional
        The half-width of each interval may be the larger of ``absolute`` and ``relative`` times
        the estimate; at least one is given.
    level : float, default 0.95
        Level of the intervals.
    max_budget : int, default 10 000 000
        Evaluations after which to give up, with a `PrecisionWarning`.

    Raises
    ------
    ValueError, TypeError
        A number out of its range.

    Examples
    --------
    >>> Precision(relative=0.01).half_widths([2.0, -3.0]).tolist()
    [0.02, 0.03]
    """

    absolute: float | None = None
    relative: float | None = None
    level: float = 0.95
    max_budget: int = 10_000_000

    def __post_init__(self) -> None:
        if self.absolute is None and self.relative is None:
            raise ValueError("precision: expected absolute, relative, or both")
        for name in ("absolute", "relative"):
            value = getattr(self, name)
            if value is not None and not (_is_real(value) and 0 < value < math.inf):
                raise ValueError(f"precision: {name} is {value!r}; expected a positive number")
        if not (_is_real(self.level) and 0 < self.level < 1):
            raise ValueError(f"precision: level is {self.level!r}; expected between 0 and 1")
        object.__setattr__(self, "max_budget", _count("precision: max_budget", self.max_budget))

    def half_widths(self, value: ArrayLike) -> np.ndarray:
        """Half-widths allowed at these estimates, shaped like them."""
        size = np.abs(np.asarray(value, dtype=np.float64))
        return np.maximum(self.absolute or 0.0, (self.relative or 0.0) * size)

    def reached(self, estimate: Estimate) -> bool:
        """Whether every interval of the estimate is narrow enough."""
        lower, upper = estimate.interval(self.level)
        return bool(np.all((upper - lower) / 2 <= self.half_widths(estimate.value)))

    def next_size(self, size: int, excess: float, last: int) -> int:
        """Evaluations to add: 5 % over what is expected to be missing, at most 4 times the last.

        Parameters
        ----------
        size : int
            Evaluations behind the current intervals.
        excess : float
            Largest ratio of a half-width to the one allowed.
        last : int
            Size of the last stage.
        """
        missing = 1.05 * size * max(excess**2 - 1, 0.1)
        return max(1, math.ceil(min(missing, 4 * last)))


def stopping_rule(budget: Any = None, precision: Precision | None = None) -> Budget | Precision:
    """The one of ``budget`` and ``precision`` that was given, checked.

    Raises
    ------
    ValueError, TypeError
        Both or none were given, or the budget is no positive whole number.

    Examples
    --------
    >>> stopping_rule(1e4)
    Budget(total=10000)
    """
    if (budget is None) == (precision is None):
        raise ValueError("expected exactly one of budget and precision")
    if precision is None:
        return Budget(_count("budget", budget))
    if not isinstance(precision, Precision):
        raise TypeError(
            f"precision: got {type(precision).__name__}; expected smcweights.Precision(...)"
        )
    return precision


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _count(name: str, value: Any) -> int:
    if not _is_real(value):
        raise TypeError(f"{name}: got {type(value).__name__}; expected a positive whole number")
    if not (math.isfinite(value) and value == int(value) and value > 0):
        raise ValueError(f"{name}: got {value!r}; expected a positive whole number")
    return int(value)
