"""Outlines of constraints whose states don't repeat: automata that say about where a text stands.

A constraint on texts may say what of a state its end depends on most, ``outline(state)``, hashable.
The first state met stands for all of the same outline, so that there are few. What an outline says
of the chances to end in time leads particles, and is no more than a guess: what may come next, the
constraint itself is asked.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, cast

import numpy as np

from .constraints import Constraint, spelled
from .tokens import Standing, TokenReader, TokenTable, sketch
from .vocabularies import Vocabulary

STATES = 1000  # outlines that are looked at, the nearest to the beginning first


class Outlined:
    """The automaton of the outlines, over tokens, and where a state of the constraint is in it."""

    def __init__(self, text: Any, vocabulary: Vocabulary) -> None:
        self._made_of = text, vocabulary
        self._outlines = Standing(text, text.outline, text.further)
        self.table: TokenTable = sketch(self._outlines, vocabulary, STATES)

    def __getstate__(self) -> dict[str, Any]:
        return {"_made_of": self._made_of}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["_made_of"])  # type: ignore[misc]

    def numbers(self, states: list[Any], of_tokens: bool) -> np.ndarray:
        """Numbers of the constraint's states in the table; -1 of those that it doesn't have."""
        parts = [(s.piece, s.state) if of_tokens else (b"", s) for s in states]
        found = [self.table.known(piece, self._outlines.of(state)) for piece, state in parts]
        return np.array(found, np.int64)


def outlined(constraint: Constraint, ends: tuple[int, ...]) -> Outlined | None:
    """Outlines of a constraint over items of which some end a sequence; None where it has none."""
    if isinstance(constraint, TokenReader):
        text, vocabulary = constraint.made_of
    else:
        text, texts = spelled(constraint)
        try:
            tokens = [one.encode() for one in texts]
        except UnicodeEncodeError:
            return None
        # the end, as the last item, has no text
        last = (None,) * (ends == (len(tokens),))
        vocabulary = Vocabulary((*tokens, *last), ends)
    return _outlined(cast(Hashable, text), vocabulary) if hasattr(text, "outline") else None


@lru_cache(maxsize=2)
def _outlined(text: Hashable, vocabulary: Vocabulary) -> Outlined:
    return Outlined(text, vocabulary)
