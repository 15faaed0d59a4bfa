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


def exit_error(name: str, end: SystemExit) -> ModelError:
    """A function's sys.exit, which would end the whole program in silence, as an error."""
    return ModelError(f"{name}: called sys.exit({end.code!r}); expected it to return")


@contextmanager
def returning(name: str) -> Iterator[None]:
    """What calls a function of the user's outside of batches: its sys.exit is an error, too."""
    try:
        yield
    except SystemExit as end:
        raise exit_error(name, end) from end
