"""The fewest items that a text under a constraint takes, as far as that can be proven.

A constraint on texts may say ``fewest(measure)``: a bound from below on the sum of a measure over
what is due in any of its texts, as are the names that an object requires. The measure is that of a
string, or of so many characters, which may be any. What is due stands apart; so numbers of
characters add up, and so do cuts between tokens, each of which is within one of these at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .vocabularies import Vocabulary

Measure = Callable[[str | int], float]


def fewest_items(text: Any, vocabulary: Vocabulary, most: int) -> float:
    """Items that a text takes at least, without an end; 0 where any text may have as many.

    Infinite where the tokens can't spell what is due, or no text is valid.
    """
    if not hasattr(text, "fewest") or text.complete(text.start()):
        return 0.0
    characters = text.fewest(lambda one: one if isinstance(one, int) else len(one))
    if characters <= most:
        return 0.0
    if characters == math.inf:
        return math.inf
    pieces = Pieces(vocabulary)
    return max(1 + text.fewest(pieces.cuts), math.ceil(characters / pieces.longest))


class Pieces:
    """What tokens hold of a string, with anything around it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        tokens = (one or b"" for one in vocabulary.tokens)
        self._tokens = {one for i, one in enumerate(tokens) if i not in vocabulary.forbidden}
        self._joined = b"\0".join([b"", *self._tokens, b""])
        self.longest = max(map(len, self._tokens))
        self._known: dict[bytes, float] = {}

    def cuts(self, what: str | int) -> float:
        """Least number of cuts between tokens within a string, wherever it stands."""
        if isinstance(what, int):
            return max(math.ceil(what / self.longest) - 1, 0)
        text = what.encode(errors="surrogatepass")
        if text not in self._known:
            self._known[text] = self._cuts(text)
        return self._known[text]

    def _cuts(self, text: bytes) -> float:
        """Two tokens may reach beyond the ends; those between are within."""
        size, joined = len(text), self._joined
        if text in joined:
            return 0.0
        least = [math.inf] * size
        for at in range(1, size):
            if text[:at] + b"\0" in joined:
                least[at] = 1.0
            within = (least[k] + 1 for k in range(1, at) if text[k:at] in self._tokens)
            least[at] = min([least[at], *within])
        ends = (least[k] for k in range(1, size) if b"\0" + text[k:] in joined)
        return min(ends, default=math.inf)
