"""The progress bar of a run, and whether anybody would see it."""

from __future__ import annotations

import sys
import warnings
from typing import Protocol


class Bar(Protocol):
    """What a run does with its bar."""

    n: float

    def update(self, n: float) -> object:
        """Advance it."""

    def set_description_str(self, desc: str, refresh: bool) -> None:
        """Change its title."""

    def close(self) -> None:
        """Leave the line."""


def progress_bar(
    progress: bool | None, total: int | None, unit: str, description: str
) -> Bar | None:
    """A bar, if it is wanted; by default where somebody looks on, after 2 s."""
    if not (progress is None or isinstance(progress, bool)):
        raise TypeError(f"progress: got {progress!r}; expected True, False or None")
    if progress is False or (progress is None and not watched()):
        return None
    with warnings.catch_warnings():
        # without ipywidgets a notebook gets the plain bar
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm(total=total, unit=f" {unit}", desc=description or None, delay=0 if progress else 2)


def watched() -> bool:
    """Whether somebody looks on: in a terminal or a notebook."""
    shell = sys.modules.get("IPython")
    notebook = shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None
    return notebook or bool(getattr(sys.stderr, "isatty", bool)())
