"""The exceptions and the warning that are the package's own.

Wrong arguments raise `ValueError` or `TypeError`; the classes here are for what only shows
once the user's model has been called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ModelError(ValueError):
    """A function of the user's returned a wrong shape, a NaN or an infinity."""


class DegeneracyError(ArithmeticError):
    """All weights vanished; the message names the stage or the time."""


class PrecisionWarning(UserWarning):
    """A reported standard error cannot be promised; the message says why and what would help."""


# a sys.exit would end the whole program in silence, a StopIteration whatever loop goes on
LEAVING = (SystemExit, StopIteration)


def exit_error(name: str, end: BaseException) -> ModelError:
    """What leaves a function other than by an error, as an error."""
    if isinstance(end, SystemExit):
        return ModelError(f"{name}: called sys.exit({end.code!r}); expected it to return")
    return ModelError(f"{name}: raised {type(end).__name__}; expected it to return")


@contextmanager
def returning(name: str) -> Iterator[None]:
    """What calls a function of the user's outside of batches: its sys.exit is an error, too."""
    try:
        yield
    except LEAVING as end:
        raise exit_error(name, end) from end
