"""Whether numbers are so large that rounding hides the noise of a model.

A state that grows without bound passes 10^16 sooner or later, where the next number is two away:
what is said of noise of size one is then said of rounding.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cautions import Caution
from .series import Series
from .trial import tried

Array = NDArray[np.float64]
LARGE = 1e8  # below which nobody's noise is as small as rounding
LOST = 1e-3  # that a log density may change by where a number does by its last digit


def lost_in_rounding(series: Series, t: int, x_prev: Array, x: Array) -> list[Caution]:
    """What is to be said of states (d,) at times t - 1 and t, and of the observation at t."""
    y = series.rows[t]
    size = float(np.nanmax(np.abs(np.concatenate([x, y]))))
    if not size > LARGE:
        return []
    changes = [
        _change(series, "observation_logpdf", t, y, [x], series.vector),
        _change(series, "transition_logpdf", t, x, [x_prev], series.model.state_dim is not None),
    ]
    if max(changes) < LOST:
        return []
    text = (
        f"at time {t} numbers of size {size:.2g} are known to {np.spacing(size):.2g}, which is not "
        "small beside the noise: densities there are those of rounding; model differences, ratios "
        "or logarithms, or fewer times"
    )
    return [Caution("rounding", text)]


def large_at(series: Series, path: Array) -> list[Caution]:
    """The same of a path (T, d), where it is largest."""
    t = int(np.abs(path).max(axis=1).argmax())
    return lost_in_rounding(series, t, path[max(t - 1, 0)], path[t])


def _change(
    series: Series, name: str, t: int, moved: Array, given: list[Array], vector: bool
) -> float:
    """How much a log density changes with the last digits of its argument; 0 if that is unknown."""
    model = series.model
    if getattr(model, name) is None or (t == 0 and name == "transition_logpdf"):
        return 0.0
    held: list[Any] = [row if model.state_dim is not None else float(row[0]) for row in given]
    logs = []
    for value in (moved, moved + np.spacing(moved)):
        own = value.copy() if vector else float(value[0])
        pair = [own, *held] if name == "observation_logpdf" else [*held, own]
        found = tried(name, model.plain(name), *pair, t, model.theta.copy())
        logs.append(math.nan if found is None else float(found))
    change = abs(logs[1] - logs[0])
    return change if math.isfinite(change) else 0.0
