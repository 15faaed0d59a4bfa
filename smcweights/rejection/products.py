"""One automaton for all of several, or for any of them."""

from __future__ import annotations

import numpy as np

from .patterns import Pattern, together

STATES = 5000  # most pairs
Pair = tuple[np.ndarray, np.ndarray]


class Joined:
    """Texts of all of several patterns, or of any: states are those of each, None where it's over.

    It has a table as they have, which is filled in as it is needed.
    """

    finite, table = True, ()

    def __init__(self, patterns: tuple[Pattern, ...], every: bool) -> None:
        self._patterns, self._every = patterns, every

    def __repr__(self) -> str:
        """The patterns."""
        return f"{'both' if self._every else 'either'}({', '.join(map(repr, self._patterns))})"

    def alike(self, characters: str) -> np.ndarray:
        """Numbers of characters, equal for those that none tells apart."""
        return together((p.alike(characters) + 1 for p in self._patterns), len(characters))

    def start(self) -> tuple:
        """States of the empty text."""
        return tuple(p.start() for p in self._patterns)

    def further(self, states: tuple, character: str) -> tuple | None:
        """States after a character more."""
        pairs = zip(self._patterns, states, strict=True)
        after = tuple(None if s is None else p.further(s, character) for p, s in pairs)
        lost = (s is None for s in after)
        return None if (any(lost) if self._every else all(lost)) else after

    def complete(self, states: tuple) -> bool:
        """Whether the text is one of theirs."""
        pairs = zip(self._patterns, states, strict=True)
        whole = (s is not None and p.complete(s) for p, s in pairs)
        return all(whole) if self._every else any(whole)


def crossed(
    tables: Pair, accepting: Pair, first: tuple[int, int], every: bool, largest: int
) -> Pair | None:
    """Table and acceptance of pairs of states, from the first on; None where they are too many.

    Of the table's entries as many are allowed. A pair is told by one number, a state without a way
    on being 0 there, and -1 elsewhere.
    """
    many, rows = len(tables[1]) + 1, list[np.ndarray]()
    # a row more, for what has no way on
    padded = [np.pad(table, ((0, 1), (0, 0)), constant_values=-1) for table in tables]
    pairs = [(first[0] + 1) * many + first[1] + 1]
    numbers = {pairs[0]: 0}
    while len(rows) < len(pairs):
        if len(pairs) > STATES or len(pairs) * tables[0].shape[1] > largest:
            return None
        states = divmod(pairs[len(rows)], many)
        x, y = (table[s - 1] + 1 for table, s in zip(padded, states, strict=True))
        code = x * many + y
        if every:
            code[(x == 0) | (y == 0)] = 0
        distinct, which = np.unique(code, return_inverse=True)
        for one in distinct.tolist():
            if one and one not in numbers:
                numbers[one] = len(pairs)
                pairs.append(one)
        rows.append(np.array([numbers.get(one, -1) for one in distinct.tolist()])[which])
    ends = [
        np.append(one, False)[s - 1]
        for one, s in zip(accepting, divmod(np.array(pairs), many), strict=True)
    ]
    return np.array(rows), ends[0] & ends[1] if every else ends[0] | ends[1]
