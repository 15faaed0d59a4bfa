"""Real clouds of points for transport distances.

digits
    Handwritten threes (183) and eights (174) as 8 x 8 grey values from 0 to 16. E. Alpaydin and
    C. Kaynak (1998), Optical recognition of handwritten digits, UCI Machine Learning Repository,
    CC BY 4.0, taken from the copy in scikit-learn.
colours
    Colours of 1,000 pixels each, drawn at random from two pictures that come with Matplotlib: the
    portrait of Grace Hopper (United States Navy, public domain) and a drawn parcel (Minduka,
    openclipart.org, public domain). Red, green and blue from 0 to 255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .series import columns

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


def digits() -> Pair:
    """Threes and eights.

    Returns
    -------
    threes, eights : ndarray, shapes (183, 64) and (174, 64)

    Examples
    --------
    >>> threes, eights = digits()
    >>> threes.shape, eights.shape
    ((183, 64), (174, 64))
    """
    table = columns("digits.csv")
    return table[table[:, 0] == 3, 1:], table[table[:, 0] == 8, 1:]


def colours() -> Pair:
    """Colours of two pictures.

    Returns
    -------
    portrait, parcel : ndarray, shape (1000, 3)

    Examples
    --------
    >>> portrait, parcel = colours()
    >>> portrait.shape, parcel.shape
    ((1000, 3), (1000, 3))
    """
    table = columns("colours.csv")
    return table[table[:, 0] == 0, 1:], table[table[:, 0] == 1, 1:]
