"""Real time series for state-space models.

nile
    Volume of the Nile at Aswan, 1871 to 1970, in 10^8 cubic metres a year; the level drops around
    1898. Cobb (1978), Biometrika 65; Durbin & Koopman (2001), Time series analysis by state space
    methods, whose maximum likelihood variances are 15,099 and 1,469.1. Public domain, taken from
    the data sets of statsmodels.
us_inflation
    Inflation of the United States by quarters, 1959 Q2 to 2009 Q3, in per cent a year, from the
    seasonally adjusted consumer price index (Federal Reserve Bank of St. Louis). Public domain,
    taken from the "macrodata" of statsmodels.
"""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray

__all__ = ["nile", "us_inflation"]


def _columns(name: str) -> NDArray[np.float64]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="ascii")
    return np.loadtxt(text.splitlines(), delimiter=",", skiprows=1)


def nile() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Years and volumes of the Nile.

    Returns
    -------
    year, volume : ndarray, shape (100,)

    Examples
    --------
    >>> year, volume = nile()
    >>> int(year[0]), float(volume[0])
    (1871, 1120.0)
    """
    table = _columns("nile.csv")
    return table[:, 0], table[:, 1]


def us_inflation() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quarters, as fractions of a year, and inflation.

    Returns
    -------
    time, inflation : ndarray, shape (202,)

    Examples
    --------
    >>> time, inflation = us_inflation()
    >>> float(time[0]), float(inflation[0])
    (1959.25, 2.34)
    """
    table = _columns("us_inflation.csv")
    return table[:, 0] + (table[:, 1] - 1) / 4, table[:, 2]
