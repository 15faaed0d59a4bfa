"""Constraints on texts, read by tokens: the tree of a vocabulary is walked, branch by branch.

Where the states of a text repeat, as those of automata and grammars, the state after every token is
found by compiled code over a table of states and classes of characters, which is filled in as it
is needed, and kept. So it is where a text says what of its states tells how it may go on, as JSON
does; of steps that this leaves in doubt the states themselves are asked. Else few branches are
followed; if these are not enough for the exact mask, tokens are asked one by one, and a token
refused takes with it all that begin alike.

After a piece of a character the state is that before it, and the bytes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import kernels as kn
from .patterns import characters_of, leading
from .vocabularies import DOUBT, PIECE, Text, Vocabulary, cut_up, span

FEW = 300  # branches that are followed for a mask where states don't repeat
EXPLORED = 1500  # states, over tokens, that are all looked at beforehand
MEMORY = 2**28  # bytes of the states after tokens that are kept
FILLED = 2**24  # entries of a table that is filled in, from which it is begun anew
UNKNOWN, DOUBTFUL, NEW = -2, -3, -4
EVERY = np.zeros(0, bool)  # says of no state that it is dead
Tokens = slice | np.ndarray  # all, or some


class Standing:
    """A constraint on texts whose states are what is said of another's.

    The first state met stands for all of which the same is said.
    """

    finite = True

    def __init__(self, text: Any, said: Callable, further: Callable) -> None:
        self._said, self._further, self._text = said, further, text
        self._met: dict[Any, Any] = {}
        if hasattr(text, "alike"):
            self.alike = text.alike

    def clear(self) -> None:
        """Forget the states met."""
        self._met.clear()

    def of(self, state: Any) -> Any:
        """What is said of a state."""
        said = self._said(state)
        self._met.setdefault(said, state)
        return said

    def tells(self, state: Any) -> Sequence[str] | None:
        """Groups of characters that lead on alike, as do all others; None if not to be named."""
        return self._text.tells(self._met[state]) if hasattr(self._text, "tells") else None

    def met(self, said: Any) -> Any:
        """The first state of which this is said."""
        return self._met[said]

    def start(self) -> Any:
        """That of the empty text."""
        return self.of(self._text.start())

    def further(self, state: Any, character: str) -> Any:
        """That after a character more."""
        after = self._further(self._met[state], character)
        return after if after is None or after is DOUBT else self.of(after)

    def complete(self, state: Any) -> bool:
        """Whether the state that stands for the others is a whole."""
        return bool(self._text.complete(self._met[state]))


class Letters:
    """Columns of a table for the symbols of a tree: classes of characters, then pieces of them."""

    def __init__(self, text: Text, vocabulary: Vocabulary) -> None:
        tree = vocabulary.tree
        known = set(tree.symbol.tolist())
        for i in tree.heads:
            parts = cut_up((vocabulary.tokens[i] or b"").lstrip(bytes(range(0x80, 0xC0))))
            known.update(map(ord, parts[0] if parts else ""))
        points = np.array(sorted(p for p in known if p < PIECE), np.int64)
        alike = getattr(text, "alike", None)
        begun = [np.arange(s.start, s.stop) for s in map(span, tree.pieces)]
        if alike is not None:
            points = np.flatnonzero(np.bincount(np.concatenate([*begun, points])))
        self._points = points
        characters = characters_of(points)
        numbers = np.arange(points.size) if alike is None else np.asarray(alike(characters))
        _, first, self._classes = np.unique(numbers, return_index=True, return_inverse=True)
        self.examples = [characters[i] for i in first.tolist()]
        self.letters = len(self.examples)
        self._told = alike is not None
        self._begun: dict[bytes, tuple[int, ...]] = {}
        self._like: dict[tuple[int, tuple[int, ...]], bytes] = {}
        self._column_of: dict[str, int | None] = {}
        self._groups: dict[tuple[str, ...], list[np.ndarray]] = {}
        # columns of characters that each column of pieces may become; None: can't be told
        self.pieces: list[tuple[int, ...] | None] = []
        column = np.zeros(tree.symbol.size, np.int32)
        whole = tree.symbol < PIECE
        column[whole] = self._classes[np.searchsorted(points, tree.symbol[whole])]
        sets: dict[tuple[int, ...] | None, int] = {}
        of_piece = [sets.setdefault(self.begun(piece), len(sets)) for piece in tree.pieces]
        column[~whole] = self.letters + np.array(of_piece, np.int64)[tree.symbol[~whole] - PIECE]
        self.column, self.pieces = column, list(sets)

    def begun(self, piece: bytes) -> tuple[int, ...] | None:
        """Columns of the characters that a piece may become; None if these can't be told."""
        if not self._told:
            return None
        found = self._begun.get(piece)
        if found is None:
            among = span(piece)
            inside = slice(*np.searchsorted(self._points, (among.start, among.stop)))
            found = self._begun[piece] = tuple(
                np.flatnonzero(np.bincount(self._classes[inside])).tolist()
            )
        return found

    def like(self, piece: bytes) -> bytes:
        """The first piece met that becomes characters of the same single class in the same way."""
        begun, lead = self.begun(piece), piece[0]
        if begun is None or len(begun) > 1 or (len(piece) == 1 and lead in b"\xe0\xed\xf0\xf4"):
            return piece
        size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        return self._like.setdefault((size - len(piece), begun), piece)

    def groups(self, told: tuple[str, ...]) -> list[np.ndarray]:
        """Columns of groups of characters, those of one column left out, and all others at last."""
        if told not in self._groups:
            sets = [{*map(self.column_of, group)} - {None} for group in told]
            others = {*range(self.letters)}.difference(*sets)
            found = [*(one for one in sets if len(one) > 1), *([others] if others else [])]
            self._groups[told] = [np.array(sorted(one)) for one in found]
        return self._groups[told]

    def column_of(self, character: str) -> int | None:
        """Column of a character; None of one that no class was asked for."""
        if character not in self._column_of:
            at = int(np.searchsorted(self._points, ord(character)))
            known = at < self._points.size and self._points[at] == ord(character)
            self._column_of[character] = int(self._classes[at]) if known else None
        return self._column_of[character]


class Walker:
    """States of a text by numbers, and a table of what follows them that is filled in.

    A state after a piece of a character is the number of that before, with the piece.
    """

    def __init__(self, text: Text, vocabulary: Vocabulary) -> None:
        self.text, self.vocabulary = text, vocabulary
        self.letters = Letters(text, vocabulary)
        tree = vocabulary.tree
        self._due = np.empty(tree.symbol.size, np.int64), np.empty(tree.symbol.size, np.int64)
        levels = tree.depth[tree.leaf[tree.items]]
        self._tree = tree.depth, tree.after, tree.first, tree.own, levels
        self._deepest = int(tree.depth.max(initial=1))
        self._below = *kn.below(self.letters.column, tree.parent), self._deepest
        kinds = [self.letters.like(piece) for piece in tree.pieces]
        self._pieces = sorted(set(kinds))
        self._on: dict[bytes, tuple[np.ndarray, list[tuple], np.ndarray]] = {}
        self._kind = np.array([self._pieces.index(one) for one in kinds], np.int64)
        self.clear()

    def clear(self) -> None:
        """Forget all states."""
        self.states: list[tuple[bytes, Any]] = []
        self.whole: list[bool] = []
        self._number: dict[tuple[bytes, Any], int] = {}
        width = self.letters.letters + len(self.letters.pieces)
        self.table = np.full((64, max(width, 1)), NEW, np.int32)

    def number(self, piece: bytes, state: Any) -> int:
        """Number of a text's state, or of that of a number and a piece."""
        piece = self.letters.like(piece) if piece else piece
        n = self._number.setdefault((piece, state), len(self.states))
        if n == len(self.states):
            self.states.append((piece, state))
            self.whole.append(not piece and bool(self.text.complete(state)))
            if n == len(self.table):
                self.table = np.concatenate([self.table, np.full_like(self.table, NEW)])
        return n

    def known(self, piece: bytes, state: Any) -> int:
        """Number of a text's state and a piece, if it has one; else -1."""
        if piece:
            n = self._number.get((b"", state), -1)
            piece, state = self.letters.like(piece), n
        return self._number.get((piece, state), -1)

    def _to(self, n: int, column: int) -> int:
        """State after a character of a column; -1 where none may come. Of a piece, if it may.

        DOUBTFUL where states of this number differ in it.
        """
        if self.table[n, column] == NEW:
            self._open(n)
        to = int(self.table[n, column])
        if to == UNKNOWN:
            if column >= self.letters.letters:
                to = 0 if self._may(n, self.letters.pieces[column - self.letters.letters]) else -1
            else:
                to = self._after(n, column)
            self.table[n, column] = to
        return to

    def _open(self, n: int) -> None:
        """What characters that a state doesn't tell apart lead to, and so on by those not named."""
        for _ in range(self._deepest):
            if n < 0 or self.table[n, 0] != NEW:
                break
            told = self.text.tells(self.states[n][1]) if hasattr(self.text, "tells") else None
            self.table[n] = UNKNOWN
            after = -1
            for alike in () if told is None else self.letters.groups(tuple(told)):
                after = self.table[n, alike] = self._after(n, int(alike[0]))
            n = after

    def _after(self, n: int, column: int) -> int:
        after = self.text.further(self.states[n][1], self.letters.examples[column])
        return -1 if after is None else DOUBTFUL if after is DOUBT else self.number(b"", after)

    def _may(self, n: int, begun: tuple[int, ...] | None) -> bool:
        return begun is None or any(self._to(n, column) != -1 for column in begun)

    def read(self, n: int, token: bytes) -> int:
        """State after a token, -1 where it may not come."""
        piece, before = self.states[n]
        parts = cut_up(piece + token)
        return -1 if parts is None else self._along(before if piece else n, *self._way(*parts))

    def _way(self, text: str, piece: bytes) -> tuple[tuple[int | str, ...], bytes]:
        """Columns of characters, those that have none as they are, and what comes behind them."""
        columns = ((self.letters.column_of(c), c) for c in text)
        return tuple(c if n is None else n for n, c in columns), piece and self.letters.like(piece)

    def _along(self, n: int, columns: tuple[int | str, ...], piece: bytes) -> int:
        for column in columns:
            if isinstance(column, str):
                after = self.text.further(self.states[n][1], column)
                n = -1 if after is None else self.number(b"", after)
            else:
                n = self._to(n, column)
            if n < 0:
                return -1
        if not piece:
            return n
        return self.number(piece, n) if self._may(n, self.letters.begun(piece)) else -1

    def _ways_on(self, piece: bytes) -> tuple[np.ndarray, list[tuple], np.ndarray]:
        """Tokens that go on with a piece of a character, the ways there are, and which they go."""
        if piece not in self._on:
            parts = {
                i: cut_up(piece + (self.vocabulary.tokens[i] or b""))
                for i in self.vocabulary.tree.heads
            }
            each = {i: self._way(*part) for i, part in parts.items() if part is not None}
            ways = {way: k for k, way in enumerate(dict.fromkeys(each.values()))}
            which = [ways[way] for way in each.values()]
            self._on[piece] = np.array([*each], np.int64), [*ways], np.array(which, np.int64)
        return self._on[piece]

    def onward(self, n: int, alive: np.ndarray = EVERY) -> tuple[Tokens, np.ndarray]:
        """Tokens, and the state after each: -1 where none may come, or none that is alive."""
        tree, (piece, last) = self.vocabulary.tree, self.states[n]
        if piece:
            tokens, ways, which = self._ways_on(piece)
            after = np.array([self._along(last, *way) for way in ways], np.int32)[which]
            return tokens, among(alive, after)
        row = np.full(self.vocabulary.size, -1, np.int32)
        self.fill(row, np.array([-1]), np.array([n]), None, alive)
        begun = np.flatnonzero(row < -1)
        kinds = self._kind[tree.symbol[tree.leaf[begun]] - PIECE]
        kinds -= len(self._pieces) * (row[begun] + 2)
        for code in sorted(set(kinds.tolist())):
            before, kind = divmod(code, len(self._pieces))
            row[begun[kinds == code]] = self.number(self._pieces[kind], before)
        row[begun] = among(alive, row[begun])
        return slice(None), row

    def fill(
        self,
        row: np.ndarray,
        nodes: np.ndarray,
        states: np.ndarray,
        ask: Callable[[int], int] | None,
        alive: np.ndarray = EVERY,
    ) -> None:
        """States after the tokens below nodes of the tree, from those before these.

        After one with a piece it is -2 minus the state before. What is doubtful is asked for, by
        the node: the state after it, or -1.
        """
        while nodes.size and self._due[0].size:
            for n in np.unique(np.maximum(states, -2 - states)).tolist():
                self._open(n)
            many = kn.walk(
                *(self.table, self.letters.letters, alive, self._tree, self.letters.column),
                *(self._below, self.vocabulary.tree.items, nodes, states, row, *self._due),
            )
            nodes, states = self._due[0][:many].copy(), self._due[1][:many].copy()
            columns = self.letters.column[nodes]
            for one in np.unique(states * self.table.shape[1] + columns).tolist():
                self._to(*divmod(one, self.table.shape[1]))
            for k in np.flatnonzero(self.table[states, columns] == DOUBTFUL).tolist():
                states[k] = -2 - (-1 if ask is None else ask(int(nodes[k])))
            nodes, states = nodes[states != -1], states[states != -1]


class TokenTable:
    """Tokens under a text constraint of so few states that all were looked at beforehand.

    States are numbers; those without a way to the end are left out.
    """

    initial = 0

    def __init__(self, walker: Walker, explored: Explored, made_of: tuple) -> None:
        self._walker, self._alive, self.made_of = walker, explored.alive, made_of
        self.accepting = np.array(walker.whole[: self._alive.size])
        self.size, self.ends = walker.vocabulary.size, walker.vocabulary.end
        self._rows, self._held = explored.rows, explored.held
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {"made_of": self.made_of}

    def __setstate__(self, state: dict[str, Any]) -> None:
        made = over(*state["made_of"])
        self.__dict__.update(made.__dict__)

    def __repr__(self) -> str:
        """The constraint on texts, and how many tokens."""
        return f"{self._walker.text!r} over {self.size:,} tokens"

    def onward(self, n: int) -> tuple[Tokens, np.ndarray]:
        """Tokens, and the state after each: -1 where none may come; an end has none."""
        with self._lock:
            if n not in self._rows:
                self._rows[n] = self._walker.onward(n, self._alive)
                self._held += self._rows[n][1].nbytes
                while self._held > MEMORY:
                    self._held -= self._rows.popitem(last=False)[1][1].nbytes
            self._rows.move_to_end(n)
            return self._rows[n]

    def row(self, n: int) -> np.ndarray:
        """State after each token, -1 where none may come; an end has none."""
        tokens, after = self.onward(n)
        if isinstance(tokens, slice):
            return after
        row = np.full(self.size, -1, np.int32)
        row[tokens] = after
        return row

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens."""
        return self._walker.vocabulary

    def said(self, n: int) -> Any:
        """A text's state of a number, without the piece of a character that may have begun."""
        piece, state = self._walker.states[n]
        return self._walker.states[state][1] if piece else state

    def known(self, piece: bytes, state: Any) -> int:
        """Number of a text's state and a piece of a character; -1 if it isn't among these."""
        n = self._walker.known(piece, state)
        return n if n < self._alive.size else -1

    def rows(self, states: np.ndarray) -> np.ndarray:
        """State after each token for several states, shape (n, V)."""
        return np.stack([self.row(n) for n in states.tolist()])

    def after(self, states: np.ndarray, items: np.ndarray) -> np.ndarray:
        """States after one token each."""
        pairs = zip(states.tolist(), items.tolist(), strict=True)
        return np.array([self.row(n)[i] for n, i in pairs], np.int64)

    def start(self) -> int:
        """State of the empty prefix."""
        return self.initial

    def step(self, state: int, item: int) -> int | None:
        """State with one token more, or None."""
        token = self._walker.vocabulary.tokens[item]
        if not token or item in self._walker.vocabulary.forbidden:
            return None
        with self._lock:
            after = self._walker.read(state, token)
        return None if after < 0 or not self._alive[after] else after

    def complete(self, state: int) -> bool:
        """Whether the prefix is a valid whole."""
        return bool(self.accepting[state])

    def mask(self, state: int) -> np.ndarray:
        """Tokens that may come next, ends included."""
        mask = self.row(state) >= 0
        mask[list(self.ends)] = self.accepting[state]
        return mask


class Spot(NamedTuple):
    """A state of a text, and the bytes of a character that has begun."""

    state: Any
    piece: bytes


class TokenReader:
    """Tokens under any text constraint: masks by its states if these repeat, else by branches."""

    def __init__(self, text: Text, vocabulary: Vocabulary) -> None:
        self._text, self._vocabulary = text, vocabulary
        self.size, self.ends = vocabulary.size, vocabulary.end
        said = getattr(text, "standing", None)
        self._standing = None if said is None else Standing(text, said, text.told)  # type: ignore[attr-defined]
        self._finite = said is not None or bool(getattr(text, "finite", False))
        self._walker = Walker(self._standing or text, vocabulary)
        # with the nodes that are in doubt
        self._masks: OrderedDict[Any, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._lock = threading.RLock()
        tree, heads = vocabulary.tree, np.zeros(self.size, bool)
        heads[list(tree.heads)] = True
        self._possible = tree.leaf >= 0, heads
        names = ("symbol", "depth", "parent", "after", "first")
        self._lists = {name: getattr(tree, name).tolist() for name in names}
        self._column = self._walker.letters.column.tolist()

    def __getstate__(self) -> dict[str, Any]:
        return {"_text": self._text, "_vocabulary": self._vocabulary}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_text"], state["_vocabulary"])  # type: ignore[misc]

    def __repr__(self) -> str:
        """The constraint on texts, and how many tokens."""
        return f"{self._text!r} over {self.size:,} tokens"

    @property
    def made_of(self) -> tuple[Text, Vocabulary]:
        """The constraint on texts, and the vocabulary."""
        return self._text, self._vocabulary

    def start(self) -> Spot:
        """State of the empty prefix."""
        return Spot(self._text.start(), b"")

    def complete(self, spot: Spot) -> bool:
        """Whether the prefix is a valid whole."""
        return not spot.piece and bool(self._text.complete(spot.state))

    def step(self, spot: Spot, item: int) -> Spot | None:
        """State with one token more, or None."""
        token = self._vocabulary.tokens[item]
        if not token or item in self._vocabulary.forbidden:
            return None
        parts = cut_up(spot.piece + token)
        if parts is None:
            return None
        state = spot.state
        for character in parts[0]:
            state = self._text.further(state, character)
            if state is None:
                return None
        return Spot(state, parts[1]) if not parts[1] or self._may(state, parts[1]) else None

    def _may(self, state: Any, piece: bytes) -> bool:
        letters = self._walker.letters
        return any_of(self._text, state, letters, letters.begun(piece)) is not None

    def possible(self, spot: Spot) -> np.ndarray:
        """Tokens that aren't ruled out by what they are; ends, where the prefix is whole."""
        mask = self._possible[bool(spot.piece)].copy()
        mask[list(self.ends)] = self.complete(spot)
        return mask

    def mask(self, spot: Spot) -> np.ndarray | None:
        """Tokens that may come next, ends included; None where it would take long to know."""
        if spot.piece:
            mask = np.zeros(self.size, bool)
            for i in self._vocabulary.tree.heads:
                mask[i] = self.step(spot, i) is not None
            return mask
        with self._lock:
            found = self._by_state(spot) if self._finite else self._by_branches(spot)
        if found is not None:
            found[list(self.ends)] = self.complete(spot)
        return found

    def _by_state(self, spot: Spot) -> np.ndarray:
        known, seen, of = self._walker.number, {}, self._standing  # type: ignore[var-annotated]
        if self._walker.table.size > FILLED:
            self._walker.clear()
            if of is not None:
                of.clear()
        state = spot.state if of is None else of.of(spot.state)
        if state not in self._masks:
            row, doubts = np.full(self.size, -1, np.int32), []

            def leave(node: int) -> int:
                doubts.append(node)
                return -1

            self._walker.fill(row, np.array([-1]), np.array([known(b"", state)]), leave)
            self._masks[state] = np.packbits(row != -1), np.array(doubts, np.int64)
            if len(self._masks) * self.size > 8 * MEMORY:
                self._masks.popitem(last=False)
        self._masks.move_to_end(state)
        packed, nodes = self._masks[state]
        mask = np.unpackbits(packed, count=self.size).view(bool)
        if not nodes.size:
            return mask

        def ask(node: int) -> int:
            assert of is not None
            after = self._down(spot.state, node, seen)[0]
            return -1 if after is None else known(b"", of.of(after))

        row, after = np.full(self.size, -1, np.int32), np.array([ask(i) for i in nodes.tolist()])
        self._walker.fill(row, nodes[after >= 0], -2 - after[after >= 0], ask)
        mask |= row != -1
        return mask

    def _by_branches(self, spot: Spot) -> np.ndarray | None:
        """The mask if few enough characters, or classes of them, have to be asked about."""
        after, depth, first = (self._lists[name] for name in ("after", "depth", "first"))
        column, letters = self._column, self._walker.letters
        items, asked = self._vocabulary.tree.items, 0
        mask = np.zeros(self.size, bool)
        path: list[tuple[Any, dict[int, Any]]] = [(spot.state, {})]
        i = 0
        while i < len(after):
            state, known = path[depth[i] - 1]
            if column[i] not in known:
                c = column[i]
                examples = letters.pieces[c - letters.letters] if c >= letters.letters else (c,)
                asked += len(examples or ())
                if asked > FEW:
                    return None
                known[c] = any_of(self._text, state, letters, examples)
            if known[column[i]] is None:
                i = after[i]
                continue
            own = first[i] + self._vocabulary.tree.own[i]
            mask[items[first[i] : own]] = True
            path[depth[i] :] = [(known[column[i]], {})]
            i += 1
        return mask

    def inspect(
        self, spot: Spot, item: int, seen: dict[int, Any]
    ) -> tuple[Spot | None, np.ndarray]:
        """State with a token more, or None and all tokens that are refused for what it begins with.

        What is found out about nodes of the tree is kept in ``seen``, for this state.
        """
        node, tree = int(self._vocabulary.tree.leaf[item]), self._vocabulary.tree
        if spot.piece or node < 0:
            return self.step(spot, item), np.array([item])
        state, node = self._down(spot.state, node, seen)
        if state is None:
            return None, tree.items[tree.first[node] : tree.first[tree.after[node]]]
        end = self._lists["symbol"][tree.leaf[item]]
        piece = tree.pieces[end - PIECE] if end >= PIECE else b""
        return Spot(state, piece), np.array([item])

    def _down(self, state: Any, node: int, seen: dict[int, Any]) -> tuple[Any, int]:
        """State after what leads to a node of the tree, or None and the node that it fails at."""
        path, parent, symbol = [], self._lists["parent"], self._lists["symbol"]
        while node >= 0 and node not in seen:
            path.append(node)
            node = parent[node]
        state = state if node < 0 else seen[node]
        while state is not None and path:
            node = path.pop()
            if symbol[node] < PIECE:
                state = self._text.further(state, chr(symbol[node]))
            elif not self._may(state, self._vocabulary.tree.pieces[symbol[node] - PIECE]):
                state = None
            seen[node] = state
        return state, node


def any_of(text: Text, state: Any, letters: Letters, columns: tuple[int, ...] | None) -> Any:
    """A state after a character of one of the columns; None where none may come."""
    if columns is None:
        return state
    for column in columns:
        after = text.further(state, letters.examples[column])
        if after is not None:
            return after
    return None


def over(text: Text, vocabulary: Vocabulary) -> TokenTable | TokenReader | None:
    """The constraint on tokens that one on texts makes; None if they spell no valid text."""
    if getattr(text, "table", None) is not None:
        walker = Walker(text, vocabulary)
        explored = _explored(walker, EXPLORED)
        if explored.alive.size == len(walker.states):
            table = TokenTable(walker, explored, (text, vocabulary))
            return table if explored.alive[0] else None
    return TokenReader(text, vocabulary)


def sketch(text: Text, vocabulary: Vocabulary, most: int) -> TokenTable:
    """Tokens under a constraint of many states, as far as so many from the beginning go."""
    walker = Walker(text, vocabulary)
    return TokenTable(walker, _explored(walker, most, whole=False), (text, vocabulary))


class Explored(NamedTuple):
    """Which states lead to an end, and what follows as many as there is memory for, its bytes."""

    alive: np.ndarray
    rows: OrderedDict[int, tuple[Tokens, np.ndarray]]
    held: int


def _explored(walker: Walker, most: int, whole: bool = True) -> Explored:
    """What follows all states, given up where there are more, or only the first ones."""
    walker.number(b"", walker.text.start())
    rows: OrderedDict[int, tuple[Tokens, np.ndarray]] = OrderedDict()
    leads: list[np.ndarray] = []
    held = 0
    while len(leads) < (len(walker.states) if whole else min(most, len(walker.states))):
        if whole and len(walker.states) > most:
            return Explored(np.zeros(0, bool), OrderedDict(), 0)
        tokens, after = walker.onward(len(leads))
        if held + after.nbytes <= MEMORY:
            rows[len(leads)] = tokens, after
            held += after.nbytes
        leads.append(np.flatnonzero(kn.met(after, len(walker.states))))
    many = len(leads)
    before, after = np.repeat(np.arange(many), [to.size for to in leads]), np.concatenate(leads)
    inside = after < many
    alive = leading(before[inside], after[inside], np.array(walker.whole[:many]))
    for n in np.unique(before[among(alive, after) < 0]).tolist():
        if n in rows:
            rows[n][1][:] = among(alive, rows[n][1])
    return Explored(alive, rows, held)


def among(alive: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The states that are alive, -1 for others."""
    if not alive.size:
        return states
    kept = np.append(np.where(alive, np.arange(alive.size, dtype=np.int32), -1), np.int32(-1))
    return kept[np.minimum(states, alive.size)]
