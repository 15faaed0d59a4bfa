"""A small real corpus for language models of names."""

from __future__ import annotations

from importlib.resources import files


def place_names() -> list[str]:
    """About 450 names of cities and islands, in lower case.

    They name the zones of the IANA time zone database, which is in the public domain.

    Examples
    --------
    >>> names = place_names()
    >>> "paris" in names, len(names) > 400
    (True, True)
    """
    text = files(__package__).joinpath("places.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
