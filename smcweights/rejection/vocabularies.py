"""Vocabularies of tokens, and the tree that their texts make.

A token is a run of bytes: bytes that go on with a character begun before it, whole characters, and
bytes that begin one. Those without the first stand in a tree by their characters; what a token ends
with, if it is no whole character, is a symbol of its own there.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from .. import arguments as check

PIECE = 0x110000  # the first symbol that is no character
MARKED = 0.2  # share of texts with a mark of a tokenizer's own, from which they are no texts
LONGEST = 3  # bytes that go on with a character
DOUBT: Any = ("doubt",)  # a state that what is said of the one before doesn't tell


class Text(Protocol):
    """What reads a text character by character; None where nothing valid can follow.

    With ``finite`` true states are hashable and repeat. ``alike(characters)`` would number the
    characters of a str, equally those that it never tells apart; ``tells(state)`` groups of
    characters that lead the state on alike, as all others do, or None.
    """

    def start(self) -> Any:
        """State of the empty text."""

    def further(self, state: Any, character: str) -> Any:
        """State after a character more."""

    def complete(self, state: Any) -> bool:
        """Whether the text is a valid whole."""


class Tree(NamedTuple):
    """Texts of tokens in depth-first order, a node an entry; its tokens stand before its children.

    ``items`` are numbers of tokens in the order of the tree: those of node i are ``own[i]`` from
    ``first[i]`` on, all below it included up to ``first[after[i]]``.
    """

    symbol: np.ndarray  # a character, or PIECE and the number of what a token ends with
    depth: np.ndarray  # from 1
    parent: np.ndarray  # -1 at the top
    after: np.ndarray  # the first node that isn't below
    first: np.ndarray  # one entry more, for the end
    own: np.ndarray
    items: np.ndarray
    leaf: np.ndarray  # node of each token, -1 where it has none
    pieces: tuple[bytes, ...]
    heads: tuple[int, ...]  # tokens that go on with a character


@dataclass(frozen=True)
class Vocabulary:
    """Texts of tokens; `vocabulary` makes one.

    Attributes
    ----------
    tokens : tuple of bytes or None
        None: has no text.
    end : tuple of int
        Tokens that end a sequence.
    forbidden : tuple of int
        Tokens that are never allowed, beside those without a text.
    """

    tokens: tuple[bytes | None, ...]
    end: tuple[int, ...] = ()
    forbidden: tuple[int, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("tokens", "end", "forbidden")}

    def __repr__(self) -> str:
        """How many tokens, and which end."""
        return f"Vocabulary of {self.size:,} tokens, end {check.shown(self.end)}"

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    def text(self, sequence: Iterable[int]) -> str:
        """Text of a sequence of tokens; what is no whole character shows as U+FFFD."""
        return b"".join(self.tokens[i] or b"" for i in sequence).decode(errors="replace")

    @cached_property
    def tree(self) -> Tree:
        """The tree over the texts."""
        return _tree(self.tokens, set(self.forbidden))

    @property
    def alphabet(self) -> str | None:
        """All characters of the tokens; None where pieces of characters may make any."""
        tree = self.tree
        if tree.pieces or tree.heads:
            return None
        return "".join(map(chr, np.unique(tree.symbol).tolist()))


def vocabulary(
    tokens: Sequence[str | bytes | None],
    *,
    end: int | Sequence[int] = (),
    forbidden: Sequence[int] = (),
) -> Vocabulary:
    r"""Tokens with their texts, for constraints over them.

    Parameters
    ----------
    tokens : sequence of str, bytes or None, length V
        Text of each token, by its number; bytes may be pieces of characters (in UTF-8), None is a
        token without a text, such as one that pads. Equal texts are different tokens all the same.
    end : int or sequence of int, optional
        Tokens that end a sequence; they have no text.
    forbidden : sequence of int, optional
        Tokens that are never allowed.

    Raises
    ------
    ValueError
        No token has a text, an end has one or is forbidden, or texts are spelled with a tokenizer's
        own marks ("Ġ" or "▁" for a blank): `vocabulary_of` reads these.

    Examples
    --------
    >>> words = vocabulary(["on", "e", b"\xe2\x82", b"\xac", None], end=4)
    >>> words.size, words.text([0, 1, 2, 3, 4])
    (5, 'one€')
    """
    listed = check.in_order("tokens", tokens, "texts, by their numbers")
    for i, token in enumerate(listed):
        if not isinstance(token, str | bytes | None):
            raise TypeError(
                f"tokens: entry {i} is {check.shown(token)}; expected str, bytes or None"
            )
    texts = [token for token in listed if isinstance(token, str)]
    for mark in "Ġ▁":
        if sum(text.startswith(mark) for text in texts) > MARKED * len(texts):
            raise ValueError(
                f"tokens: many begin with {mark!r}, a tokenizer's mark; expected their texts, "
                "which vocabulary_of reads from the tokenizer"
            )
    ends = [end] if not isinstance(end, Iterable) else check.several("end", end, "tokens")
    out = []
    for name, given in (
        ("end", ends),
        ("forbidden", check.several("forbidden", forbidden, "tokens")),
    ):
        out.append(tuple(check.count(name, i, 0, max(len(listed) - 1, 0)) for i in given))
    try:
        made = tuple(t.encode() if isinstance(t, str) else t for t in listed)
    except UnicodeEncodeError as error:
        raise ValueError(f"tokens: {error.object!r} has half a character; expected text") from None
    for i in out[0]:
        if made[i]:
            raise ValueError(
                f"end: got {i}, with the text {listed[i]!r}; expected a token whose text is None"
            )
        if i in out[1]:
            raise ValueError(f"end: got {i}, which is forbidden; expected one that may come")
    if not any(token for i, token in enumerate(made) if i not in set(out[1])):
        raise ValueError(f"tokens: none of {len(made)} has a text; expected at least one")
    return Vocabulary(made, *out)


def vocabulary_of(tokenizer: object) -> Vocabulary:
    """The vocabulary of a tokenizer, read from its own table of tokens.

    Bytes of byte-level tokenizers, texts of those that write a blank as "▁", single bytes such as
    "<0xE2>" among them. Special tokens have no text. The end is the tokenizer's ``eos_token_id``,
    where it has one.

    Parameters
    ----------
    tokenizer : object
        Of package ``tokenizers``, or a fast one of ``transformers``.

    Raises
    ------
    ValueError
        The tokenizer doesn't keep the bytes of a text.

    Examples
    --------
    >>> import tokenizers
    >>> model = tokenizers.models.BPE({"a": 0, "Ġ": 1, "Ġa": 2}, [("Ġ", "a")])
    >>> small = tokenizers.Tokenizer(model)
    >>> small.decoder = tokenizers.decoders.ByteLevel()
    >>> vocabulary_of(small).tokens
    (b'a', b' ', b' a')
    """
    inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not (hasattr(inner, "to_str") and hasattr(inner, "get_vocab")):
        raise TypeError(
            f"tokenizer: got {type(tokenizer).__name__}; expected one of package tokenizers, or a "
            "fast one of transformers"
        )
    told = json.loads(inner.to_str())
    steps = told["decoder"] or {}
    kinds = {step["type"] for step in (steps, *steps.get("decoders", ()))} if steps else set()
    blank = "▁" if kinds & {"Metaspace", "ByteFallback", "Replace"} else None
    if "ByteLevel" not in kinds and blank is None:
        raise ValueError(
            f"tokenizer: its decoder is {sorted(kinds) or None}, which doesn't keep the bytes of a "
            "text; expected one at the level of bytes, or with blanks as ▁"
        )
    added = {one["id"]: one for one in told["added_tokens"]}
    numbers = inner.get_vocab()
    tokens: list[bytes | None] = [None] * (max(numbers.values()) + 1)
    byte_of = _bytes_of_letters()
    for text, i in numbers.items():
        if i in added:
            tokens[i] = None if added[i]["special"] else text.encode()
        elif blank is None:
            tokens[i] = bytes(byte_of[letter] for letter in text)
        elif len(text) == 6 and text[:3] == "<0x" and text[-1] == ">":
            tokens[i] = bytes([int(text[3:5], 16)])
        else:
            tokens[i] = text.replace(blank, " ").encode()
    last = getattr(tokenizer, "eos_token_id", None)
    if last is not None:
        tokens[last] = None
    return vocabulary(tokens, end=() if last is None else last)


def _bytes_of_letters() -> dict[str, int]:
    """Bytes by the letters that byte-level tokenizers write for them."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(0x100) if b not in set(plain)]
    return {chr(b): b for b in plain} | {chr(0x100 + i): b for i, b in enumerate(others)}


def cut_up(data: bytes) -> tuple[str, bytes] | None:
    """Whole characters and the beginning of one; None for what isn't UTF-8."""
    try:
        decoder = codecs.getincrementaldecoder("utf-8")()
        text, rest = decoder.decode(data), decoder.getstate()[0]
    except UnicodeDecodeError:
        return None
    return (text, rest) if not rest or span(rest) else None


def span(piece: bytes) -> range:
    """Code points of the characters that begin with some bytes."""
    lead = piece[0]
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    least = {2: 0x80, 3: 0x800, 4: 0x10000}[size]
    ends = []
    for fill in (0x80, 0xBF):
        point = lead & (0x7F >> size)
        for byte in (*piece[1:], *[fill] * (size - len(piece))):
            point = point << 6 | byte & 0x3F
        ends.append(point)
    low, high = max(ends[0], least), min(ends[1], PIECE - 1)
    # halves of characters, which have no bytes of their own, end the range of lead 0xED
    return range(low, min(high, 0xD7FF) + 1) if lead == 0xED else range(low, high + 1)


def _tree(tokens: Sequence[bytes | None], left_out: set[int]) -> Tree:
    found, heads = [], []
    for i, token in enumerate(tokens):
        if not token or i in left_out:
            continue
        if 0x80 <= token[0] < 0xC0:
            rest = token.lstrip(bytes(range(0x80, 0xC0)))
            if len(token) - len(rest) <= LONGEST and (not rest or cut_up(rest)):
                heads.append(i)
        elif (parts := cut_up(token)) is not None:
            found.append((token, i, *parts))
    # the order of bytes is that of characters, so that what has a beginning in common is together
    found.sort()
    numbers: dict[bytes, int] = {}
    symbol, depth, parent, after, first, own, items = ([] for _ in range(7))  # type: ignore[var-annotated]
    leaf = np.full(len(tokens), -1, np.int32)
    path: list[tuple[int, int]] = []  # symbols and nodes from the top
    for _, i, text, piece in found:
        symbols = [ord(c) for c in text]
        if piece:
            symbols.append(PIECE + numbers.setdefault(piece, len(numbers)))
        same = 0
        while same < min(len(path), len(symbols)) and path[same][0] == symbols[same]:
            same += 1
        for _, node in path[same:]:
            after[node] = len(symbol)
        del path[same:]
        for one in symbols[same:]:
            parent.append(path[-1][1] if path else -1)
            path.append((one, len(symbol)))
            symbol.append(one)
            depth.append(len(path))
            first.append(len(items))
            after.append(0)
            own.append(0)
        own[path[-1][1]] += 1
        leaf[i] = path[-1][1]
        items.append(i)
    for _, node in path:
        after[node] = len(symbol)
    first.append(len(items))
    lists = (symbol, depth, parent, after, first, own, items)
    a, b, c, d, e, f, g = (np.array(one, np.int32) for one in lists)
    return Tree(a, b, c, d, e, f, g, leaf, tuple(numbers), tuple(heads))
