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
euro_dollar
    The euro in dollars on the 1,022 trading days from 2006 to 2009: reference rates of the European
    Central Bank, which may be used freely when the source is named. Unchanged.
nutria
    Female nutria (coypu) in East Anglia in 120 successive months, in thousands, from a census of
    the feral population. Data set 9833 of the Global Population Dynamics Database (NERC Centre for
    Population Biology, Imperial College, 1999); Peters et al. (2010), arXiv 1005.2238. As
    distributed with `particles` 0.4 under the MIT licence (Nicolas Chopin).
"""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray


def columns(name: str) -> NDArray[np.float64]:
    """Read the numbers of a file that ships with the package, without its head line."""
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
    table = columns("nile.csv")
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
    table = columns("us_inflation.csv")
    return table[:, 0] + (table[:, 1] - 1) / 4, table[:, 2]


def euro_dollar() -> tuple[NDArray[np.datetime64], NDArray[np.float64]]:
    """Days and reference rates of the euro in dollars.

    Returns
    -------
    day : ndarray of datetime64[D], shape (1022,)
    dollars : ndarray, shape (1022,)
        Returns in per cent are ``100 * np.diff(np.log(dollars))``.

    Examples
    --------
    >>> day, dollars = euro_dollar()
    >>> str(day[0]), float(dollars[0])
    ('2006-01-02', 1.1826)
    """
    table = columns("euro_dollar.csv")
    year, month, number = table[:, :3].astype(int).T
    months = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    return months.astype("datetime64[D]") + (number - 1), table[:, 3]


def nutria() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Months and numbers of female nutria, in thousands.

    Returns
    -------
    month, thousands : ndarray, shape (120,)

    Examples
    --------
    >>> month, thousands = nutria()
    >>> int(month[-1]), float(thousands.max())
    (120, 5.55)
    """
    table = columns("nutria.csv")
    return table[:, 0], table[:, 1]
