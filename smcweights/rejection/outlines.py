"""Outlines of constraints whose states don't repeat: automata that say about where a text stands.

A constraint on texts may say what of a state its end depends on most, ``outline(state)``, hashable.
The first state met stands for all of the same outline, so that there are few. What an outline says
of the chances to end in time leads particles, and is no more than a guess: what may come next, the
constraint itself is asked.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import cached_property, lru_cache
from typing import Any, cast

import numpy as np

from .constraints import Constraint, spelled
from .schemas import Naming
from .tokens import Standing, TokenReader, TokenTable, sketch
from .vocabularies import Vocabulary

STATES = 1000  # outlines that are looked at, the nearest to the beginning first
FORGETFUL = 4000  # of those that forget


class Outlined:
    """The automaton of the outlines, over tokens, and where a state of the constraint is in it.

    With ``forgets`` they forget what objects hold, too.
    """

    def __init__(self, text: Any, vocabulary: Vocabulary, forgets: bool = False) -> None:
        self._made_of = text, vocabulary, forgets
        self.forgets, self._text = forgets, text.forgetful() if forgets else text
        self._outlines = Standing(self._text, self._text.outline, self._text.further)
        most = FORGETFUL if forgets else STATES
        self.table: TokenTable = sketch(self._outlines, vocabulary, most)

    def __getstate__(self) -> dict[str, Any]:
        return {"_made_of": self._made_of}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["_made_of"])  # type: ignore[misc]

    def named(self, n: int) -> list[Naming] | None:
        """The open objects that require names, in the first text of a number; None if in doubt."""
        return self._text.named(self._outlines.met(self.table.said(n)))

    def names(self, state: Any, of_tokens: bool) -> list[frozenset[str]]:
        """Names in these objects, by a state of the constraint."""
        found = self._text.named(state.state if of_tokens else state)
        return [frozenset(one.said) for one in found or ()]

    @cached_property
    def reopens(self) -> np.ndarray:
        """Tokens that end an object and begin another one: no state tells them from others."""
        texts = (token or b"" for token in self.table.vocabulary.tokens)
        return np.array([re.search(rb"\}.*\{", one, re.DOTALL) is not None for one in texts])

    def numbers(self, states: list[Any], of_tokens: bool) -> np.ndarray:
        """Numbers of the constraint's states in the table; -1 of those that it doesn't have."""
        parts = [(s.piece, s.state) if of_tokens else (b"", s) for s in states]
        found = [self.table.known(piece, self._outlines.of(state)) for piece, state in parts]
        return np.array(found, np.int64)


def outlined(
    constraint: Constraint, ends: tuple[int, ...], forgets: bool = False
) -> Outlined | None:
    """Outlines of a constraint over items of which some end a sequence; None where it has none."""
    text, vocabulary = read_by(constraint, ends)
    if not hasattr(text, "forgetful" if forgets else "outline"):
        return None
    return _outlined(cast(Hashable, text), vocabulary, forgets)


def read_by(constraint: Constraint, ends: tuple[int, ...]) -> tuple[Any, Vocabulary]:
    """What reads the texts of the items, None where nothing does, and these as a vocabulary."""
    if isinstance(constraint, TokenReader):
        return constraint.made_of
    text, texts = spelled(constraint)
    try:
        tokens = [one.encode() for one in texts]
    except UnicodeEncodeError:
        return None, Vocabulary(())
    # the end, as the last item, has no text
    last = (None,) * (ends == (len(tokens),))
    return text, Vocabulary((*tokens, *last), ends)


@lru_cache(maxsize=2)
def _outlined(text: Hashable, vocabulary: Vocabulary, forgets: bool) -> Outlined:
    return Outlined(text, vocabulary, forgets)
