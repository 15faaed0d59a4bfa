"""What a result can't promise: cautions as data, and telling the caller of them.

A method collects a `Caution` for each promise it can't make, hands them to its `Estimate`, and
tells them once, last of all, at the line of the user's that called it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import PrecisionWarning

_PACKAGE = os.path.dirname(__file__) + os.sep


@dataclass(frozen=True)
class Caution:
    """One reason why an interval may not cover as often as it says.

    Attributes
    ----------
    code : str
        Its kind, a short noun in small letters and hyphens: ``"heavy-tails"``.
    text : str
        What is wrong, and what would help.
    """

    code: str
    text: str

    def __post_init__(self) -> None:
        for name in ("code", "text"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name}: got {type(getattr(self, name)).__name__}; expected str")


def printed(cautions: Iterable[Caution]) -> list[str]:
    """Lines below a result that is printed."""
    return [f"  warning: {caution.text}" for caution in cautions]


def tell(method: str, cautions: Iterable[Caution], told: set[str] | None = None) -> None:
    """Raise a `PrecisionWarning` for each caution, at the caller's line outside the package.

    Parameters
    ----------
    method : str
        Name of the public function, with which each warning begins.
    cautions : iterable of Caution
    told : set of str, optional
        Codes that were told before and aren't again; those told now are added.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     tell("demo", [Caution("few-batches", "2 batches; 8 or so would do")])
    >>> str(seen[0].message)
    'demo: 2 batches; 8 or so would do [few-batches]'
    """
    cautions = tuple(cautions)
    if not cautions:
        return
    level, frame = 1, sys._getframe()
    # a context manager of the package is entered by contextlib
    within = (_PACKAGE, contextlib.__file__)
    while frame.f_code.co_filename.startswith(within) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    for caution in cautions:
        if told is not None:
            if caution.code in told:
                continue
            told.add(caution.code)
        text = f"{method}: {caution.text} [{caution.code}]"
        warnings.warn(text, PrecisionWarning, stacklevel=level)
