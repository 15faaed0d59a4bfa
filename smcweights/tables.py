"""Values with their errors in words: rows of text, and the tables that notebooks show."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence

from .cautions import Caution

SHOWN = 12  # rows that are printed at most
Row = tuple[str, str, str]


def in_words(name: str, value: float, error: float, lower: float, upper: float) -> Row:
    """Name, value with its error, and interval; the error shows two digits.

    Examples
    --------
    >>> in_words("mean", 2.0, 0.2, 1.61, 2.39)
    ('mean', '2.00 +- 0.20', '[1.61, 2.39]')
    """
    number = number_format(value, error)
    if math.isnan(error):
        number = number_format(value, (upper - lower) / 4)
    known = not (math.isnan(lower) and math.isnan(upper))
    interval = f"[{number(lower)}, {number(upper)}]" if known else "no standard error"
    text = f"{value:.6g}" if math.isnan(error) else f"{number(value)} +- {number(error)}"
    return name, text, interval


def number_format(value: float, error: float) -> Callable[[float], str]:
    """How to print numbers so that the error shows two digits."""
    if not 0 < error < math.inf:
        return lambda number: f"{number:.6g}"
    decimals = 1 - math.floor(math.log10(error))
    if decimals <= 8 and abs(value) < 1e7:
        return lambda number: f"{number:.{max(decimals, 0)}f}"

    def scientific(number: float) -> str:
        digits = decimals + math.floor(math.log10(abs(number))) if number else 1
        return f"{number:.{min(max(digits, 1), 15)}e}"

    return scientific


def shown(n: int) -> list[int]:
    """Which of n rows are printed; the rest stands before the last."""
    return list(range(n)) if n <= SHOWN else [*range(SHOWN - 2), n - 1]


def left_out(rows: list[Row], n: int) -> list[Row]:
    """Rows that are printed, with what is said of the rest of n."""
    return rows if n <= SHOWN else [*rows[:-1], ("...", f"({n - len(rows)} more)", ""), rows[-1]]


def as_html(title: str, rows: Iterable[Row], cautions: Sequence[Caution]) -> str:
    """A table of values and intervals for a notebook."""
    cells = [
        "".join(f"<td>{html.escape(cell)}</td>" for cell in row).replace("+-", "&plusmn;")
        for row in rows
    ]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    head = "<tr><th></th><th>value &plusmn; standard error</th><th>95 % interval</th></tr>"
    notes = "".join(f"<p>warning: {html.escape(caution.text)}</p>" for caution in cautions)
    return f"<div><p>{html.escape(title)}</p><table>{head}{body}</table>{notes}</div>"
