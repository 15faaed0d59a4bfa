"""Laws that are known exactly, as results: of states, given observations, and of what comes next.

Each unpacks into its fields in their order. The errors in their tables and figures are standard
deviations of the law, not of an estimate: there is nothing random in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..arguments import level as checked_level
from ..results import Result, along, table

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
Rows = dict[str, tuple[float, float, float, float]]


class _Unpacked(Result):
    """A result that unpacks into its fields."""

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, part.name) for part in fields(self))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(fields(self))  # type: ignore[arg-type]

    def __getitem__(self, at: int | slice) -> Any:
        return tuple(self)[at]

    def _said(self, of: str) -> str:
        names = ", ".join(part.name for part in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__} {of}\n  {names}\n  .summary() is a table, .plot() a figure"


def _of_states(means: Array) -> str:
    times = f"{len(means)} time{'s' * (len(means) != 1)}"
    return f"of {times}" if means.ndim == 1 else f"of {times}, {means.shape[1]} states"


def _rows(name: str, means: Array, covariances: Array, level: float) -> Rows:
    """Mean, standard deviation and central interval of each component at each time."""
    from scipy.special import ndtri

    variances = covariances if means.ndim == 1 else np.diagonal(covariances, axis1=1, axis2=2)
    deviations = np.sqrt(variances)
    half = ndtri((1 + checked_level(level)) / 2) * deviations
    ends = zip(*(part.ravel().tolist() for part in (means, deviations, half)), strict=True)
    places = (", ".join(map(str, at)) for at in np.ndindex(means.shape))
    return {
        f"{name}[{at}]": (mean, deviation, mean - reach, mean + reach)
        for at, (mean, deviation, reach) in zip(places, ends, strict=True)
    }


def _exactly(value: float) -> tuple[float, float, float, float]:
    return value, 0.0, value, value


class _OfStates(_Unpacked):
    """Laws of normal states over time, ``given`` some of the observations."""

    given: ClassVar[str]
    means: Array
    covariances: Array
    log_likelihood: float

    def __repr__(self) -> str:
        return self._said(f"{_of_states(self.means)}, log likelihood {self.log_likelihood:.6g}")

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """The log likelihood, then mean, standard deviation and interval of each state."""
        rows = _rows("x", self.means, self.covariances, level)
        return table({"log_likelihood": _exactly(self.log_likelihood)} | rows)

    def plot(self, ax: Axes | None = None, *, component: int = 0) -> Axes:
        """Means over time with bands of two standard deviations."""
        from .figures import laws

        return laws(self.means, self.covariances, self.given, ax, component=component)


@dataclass(frozen=True, repr=False)
class GaussianFiltering(_OfStates):
    """Filtering laws of a linear Gaussian model; without the last axes when states are floats.

    Attributes
    ----------
    means : ndarray, shape (T, d)
        E[x_t | y_0 ... y_t]; NaN while the observations don't tell a diffuse initial state.
    covariances : ndarray, shape (T, d, d)
        Cov[x_t | y_0 ... y_t], with infinite variances then.
    predicted_means, predicted_covariances : ndarray
        The same given y_0 ... y_{t-1}.
    log_likelihood : float
        log p(y); of a diffuse state under a flat density of 1, each observation with log(2 pi)/2.
    """

    means: Array = field(metadata=along("time", "state"))
    covariances: Array = field(metadata=along("time", "state", "state_"))
    predicted_means: Array = field(metadata=along("time", "state"))
    predicted_covariances: Array = field(metadata=along("time", "state", "state_"))
    log_likelihood: float
    given = "given the observations so far"


@dataclass(frozen=True, repr=False)
class GaussianSmoothing(_OfStates):
    """Smoothing laws of a linear Gaussian model; without the last axes when states are floats.

    Attributes
    ----------
    means : ndarray, shape (T, d)
        E[x_t | y].
    covariances : ndarray, shape (T, d, d)
        Cov[x_t | y].
    lag_one_covariances : ndarray, shape (T - 1, d, d)
        Cov[x_{t+1}, x_t | y].
    log_likelihood : float
        log p(y), see `GaussianFiltering`.
    """

    means: Array = field(metadata=along("time", "state"))
    covariances: Array = field(metadata=along("time", "state", "state_"))
    lag_one_covariances: Array = field(metadata=along("step", "state", "state_"))
    log_likelihood: float
    given = "given all observations"


@dataclass(frozen=True, repr=False)
class GaussianForecast(_Unpacked):
    """Laws of states and observations after the last one of y.

    Attributes
    ----------
    means, covariances : ndarray, shape (H, d) and (H, d, d)
        Of x_T ... x_{T+H-1} given y; without the last axes when states are floats.
    observation_means, observation_covariances : ndarray, shape (H, p) and (H, p, p)
        Of the observations to come; without the last axes for y of shape (T,).
    """

    means: Array = field(metadata=along("ahead", "state"))
    covariances: Array = field(metadata=along("ahead", "state", "state_"))
    observation_means: Array = field(metadata=along("ahead", "observation"))
    observation_covariances: Array = field(metadata=along("ahead", "observation", "observation_"))

    def __repr__(self) -> str:
        return self._said(_of_states(self.means) + " ahead")

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """Mean, standard deviation and interval of each state, then of each observation."""
        states = _rows("x", self.means, self.covariances, level)
        return table(
            states | _rows("y", self.observation_means, self.observation_covariances, level)
        )

    def plot(self, ax: Axes | None = None, *, component: int = 0) -> Axes:
        """Means of the observations to come, with bands of two standard deviations."""
        from .figures import laws

        seen = self.observation_means, self.observation_covariances
        ax = laws(*seen, "forecast", ax, component=component)
        ax.set(xlabel="time ahead", ylabel="observation")
        return ax


@dataclass(frozen=True, repr=False)
class FiniteSmoothing(_Unpacked):
    """Smoothing laws of a finite hidden Markov model.

    Attributes
    ----------
    probabilities : ndarray, shape (T, K)
        P(x_t = k | y).
    pair_probabilities : ndarray, shape (T - 1, K, K)
        P(x_t = j, x_{t+1} = k | y).
    log_likelihood : float
        log p(y).
    """

    probabilities: Array = field(metadata=along("time", "state"))
    pair_probabilities: Array = field(metadata=along("step", "state", "state_"))
    log_likelihood: float

    def __repr__(self) -> str:
        said = f"{_of_states(self.probabilities)}, log likelihood {self.log_likelihood:.6g}"
        return self._said(said)

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """The log likelihood, then the probability of each state at each time."""
        checked_level(level)
        rows = {"log_likelihood": _exactly(self.log_likelihood)}
        for (t, k), value in np.ndenumerate(self.probabilities):
            rows[f"x[{t}] = {k}"] = _exactly(value)
        return table(rows)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Probabilities of the states over time, stacked."""
        from .figures import chances

        return chances(self.probabilities, ax)
