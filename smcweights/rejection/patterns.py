r"""Regular expressions as automata, compiled from Python's own reading of the pattern.

Without back references a match is mere existence, so that greed plays no part. A pattern becomes
instructions: a character of a set, a split, a look ahead, a look behind, the end. A state of the
automaton is the set of places in the pattern that the text may have come to, each with its
obligations: looks ahead that must turn out well, or must not. Looks behind are followed from
every place of the text, and say at each what they have found; ``^``, ``$``, ``\b`` and their kin
are looks. Sets of characters that aren't listed, one by one or by ranges, are asked of `re`
itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from re import _compiler, _parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order

from .. import arguments as check

ANY = 0  # the instruction that takes every character: what has matched stays matched
LONGEST = 20_000  # instructions
PATIENCE = 300_000  # threads that are followed for a table
KEPT = 20_000  # steps that are remembered where there is no table
NOTHING: frozenset = frozenset()
# a place in the pattern and its obligations, each a sign and the threads of a look ahead
Thread = tuple[int, frozenset]
# in the order of `re`'s preference where that counts
Threads = frozenset[Thread] | tuple[Thread, ...]
State = tuple[tuple[Threads, ...], Threads]  # of the looks behind, and of the whole
REFUSED = {
    "GROUPREF": "a back reference",
    "GROUPREF_EXISTS": "a conditional group",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repeat",
}
# before Python 3.14 nothing but a text of some length has a \B
SOMEWHERE = "" if re.match(r"\B", "") else r"(?:(?<=[\s\S])|(?=[\s\S]))"
LOOKS = {
    "AT_BEGINNING": r"(?<![\s\S])",
    "AT_BEGINNING_LINE": r"(?<![^\n])",
    "AT_BEGINNING_STRING": r"(?<![\s\S])",
    "AT_END": r"(?=\n?(?![\s\S]))",
    "AT_END_LINE": r"(?![^\n])",
    "AT_END_STRING": r"(?![\s\S])",
    "AT_BOUNDARY": r"(?:(?<=\w)(?!\w)|(?<!\w)(?=\w))",
    "AT_NON_BOUNDARY": rf"(?:(?<=\w)(?=\w)|(?<!\w)(?!\w){SOMEWHERE})",
}


class CodePoints:
    """Classes of all characters."""

    def __init__(self, classes: np.ndarray) -> None:
        self._classes = classes

    def get(self, character: str) -> int | None:
        """Class of a character."""
        return int(self._classes[ord(character)])

    def of(self, characters: str) -> np.ndarray:
        """Classes of several."""
        return self._classes[code_points(characters)]


def code_points(characters: str) -> np.ndarray:
    """Numbers of the characters."""
    return np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), np.uint32)


def characters_of(points: np.ndarray) -> str:
    """Characters of these numbers."""
    return points.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def together(classes: Iterable[np.ndarray], size: int) -> np.ndarray:
    """Classes of things that none of several classifications tells apart."""
    found = np.zeros(size, np.int64)
    for one in classes:
        both = (one.max(initial=0) + 1) * found + one
        found = (np.cumsum(np.bincount(both) > 0) - 1)[both]
    return found


@lru_cache
def every_character() -> str:
    """All characters in the order of their code points."""
    return characters_of(np.arange(0x110000))


def _listed(node: tuple[Any, Any], points: np.ndarray) -> np.ndarray | None:
    """Which characters a set has that lists them, also by ranges; None of other sets."""
    kind, given = str(node[0]), node[1]
    parts = given if kind == "IN" else [(kind.removeprefix("NOT_"), given)]
    held = np.zeros(points.size, bool)
    for one, what in parts:
        if str(one) not in ("LITERAL", "RANGE", "NEGATE"):
            return None
        if what is not None:
            low, high = what if isinstance(what, tuple) else (what, what)
            held |= (points >= low) & (points <= high)
    return held ^ (str(parts[0][0]) == "NEGATE" or kind == "NOT_LITERAL")


class Pattern:
    """What a regular expression makes of texts over an alphabet, by default all characters.

    Attributes
    ----------
    table : ndarray of int, shape (S, classes), or None
        Next state, -1 where no match can follow; state 0 is that of the empty text. None where
        there are more than ``states`` of them, or large ones, which are then made as they come.
    accepting : ndarray of bool, shape (S,)

    With ``preferred`` a text matches where `re.match` would take all of it rather than stop early;
    the pattern looks at nothing after it.
    """

    finite = True  # states repeat

    def __init__(
        self,
        pattern: str,
        alphabet: str | None,
        flags: int = 0,
        search: bool = False,
        states: int = 5000,
        preferred: bool = False,
    ) -> None:
        flags = int(flags) & ~int(re.DEBUG)
        try:
            re.compile(pattern, flags)
            parsed = _parser.parse(pattern, flags)
        except (re.error, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"pattern: {error}") from error
        self._pattern, self._every = pattern, alphabet is None
        self._alphabet = every_character() if alphabet is None else alphabet
        self._preferred = preferred
        self._ops: list[tuple] = [("any",)]
        self._held: list[np.ndarray] = []  # which characters each set has
        self._made: dict[tuple, int] = {}
        self._trackers: list[tuple[int, int]] = []
        flags = parsed.state.flags
        first = self._build(parsed, flags, ANY if search else self._add("accept"))
        if search:
            loop = self._add("split")
            anything = self._build(_parser.parse(r"[\s\S]"), re.UNICODE, loop)
            self._ops[loop] = ("split", first, anything)
            first = loop
        self._tell_apart()
        self._after: dict[tuple[State, int], State] = {}
        self._first = self._step(None, first)
        self.table, self.accepting = self._explored(states)
        self._alphabet = ""  # is in the classes

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_after", "_rows", "_whole")
        return {k: v for k, v in self.__dict__.items() if k not in kept} | {"_after": {}}

    def __repr__(self) -> str:
        """The pattern."""
        return f"regex({check.shown(self._pattern)})"

    def alike(self, characters: str) -> np.ndarray:
        """Numbers of characters, equal for those that are never told apart."""
        if isinstance(self.classes, CodePoints):
            return self.classes.of(characters)
        return np.array([self.classes.get(c, -1) for c in characters], np.int64)

    # from nodes to instructions, the last first

    def _add(self, *op: Any) -> int:
        if len(self._ops) == LONGEST:
            raise ValueError(f"pattern: it has more than {LONGEST} places; expected fewer repeats")
        self._ops.append(op)
        return len(self._ops) - 1

    def _build(self, nodes: Iterable[tuple], flags: int, after: int) -> int:
        for op, value in reversed(list(nodes)):
            after = self._node(op, value, flags, after)
        return after

    def _node(self, op: Any, value: Any, flags: int, after: int) -> int:
        name = op.name
        if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self._add("char", self._set_of((op, value), flags), after)
        if name == "BRANCH":
            return self._add("split", *[self._build(one, flags, after) for one in value[1]])
        if name == "SUBPATTERN":
            _, more, fewer, inner = value
            if more & _parser.TYPE_FLAGS:
                flags &= ~_parser.TYPE_FLAGS
            return self._build(inner, (flags | more) & ~fewer, after)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = value
            way = 1 if name == "MAX_REPEAT" else -1
            return self._repeat(least, most, inner, flags, after, way)
        if name in ("ASSERT", "ASSERT_NOT"):
            way, inner = value
            return self._look(name == "ASSERT", way, inner, flags, after)
        if name == "AT":
            lines = value.name in ("AT_BEGINNING", "AT_END") and flags & re.MULTILINE
            look = _parser.parse(LOOKS[value.name + "_LINE" * bool(lines)], flags & re.ASCII)
            return self._build(look, look.state.flags, after)
        if name == "FAILURE":
            return self._add("split")
        what = REFUSED.get(name, f"a part called {name}")
        raise ValueError(f"pattern: it has {what}, which no automaton follows")

    def _repeat(
        self, least: int, most: int, inner: Sequence, flags: int, after: int, way: int
    ) -> int:
        begin = after
        if most is _parser.MAXREPEAT:
            begin = self._add("split")
            again = self._build(inner, flags, begin), after
            self._ops[begin] = ("split", *again[::way])
        else:
            for _ in range(most - least):
                again = self._build(inner, flags, begin), after
                begin = self._add("split", *again[::way])
        for _ in range(least):
            begin = self._build(inner, flags, begin)
        return begin

    def _look(self, sign: bool, way: int, inner: Sequence, flags: int, after: int) -> int:
        # made once, so that the copies of a repeat have the same obligations
        key = way, repr(inner), flags
        if key not in self._made:
            if way < 0:
                accept = self._add("accept")
                # those within it come before it
                start = self._build(inner, flags, accept)
                self._trackers.append((start, accept))
                self._made[key] = len(self._trackers) - 1
            else:
                self._made[key] = self._build(inner, flags, ANY)
        return self._add("behind" if way < 0 else "ahead", sign, self._made[key], after)

    def _set_of(self, node: tuple, flags: int) -> int:
        key = repr(node), flags & (re.IGNORECASE | re.ASCII | re.DOTALL)
        if key not in self._made:
            held = None if flags & re.IGNORECASE else _listed(node, code_points(self._alphabet))
            if held is None:
                state = _parser.State()
                state.flags = flags
                one = _parser.SubPattern(state, [node])
                many = (_parser.MAX_REPEAT, (1, _parser.MAXREPEAT, one))
                run = _compiler.compile(_parser.SubPattern(state, [many]), flags)
                held = np.zeros(len(self._alphabet), bool)
                for found in run.finditer(self._alphabet):
                    held[found.start() : found.end()] = True
            self._made[key] = len(self._held)
            self._held.append(held)
        return self._made[key]

    def _tell_apart(self) -> None:
        """Classes of characters that no set tells apart, and instructions that lead to an end."""
        classes = together(self._held, len(self._alphabet))
        examples = np.zeros(classes.max(initial=-1) + 1, np.int64)
        examples[classes[::-1]] = np.arange(classes.size)[::-1]
        self.classes: dict[str, int] | CodePoints = (
            CodePoints(classes.astype(np.int32))
            if self._every
            else dict(zip(self._alphabet, classes.tolist(), strict=True))
        )
        self._holds = [held[examples].tolist() for held in self._held]
        self._n_classes = examples.size
        self._held.clear()
        self._leads = [op[0] in ("any", "accept") for op in self._ops]
        changed = True
        while changed:
            changed = False
            for i, op in enumerate(self._ops):
                if self._leads[i]:
                    continue
                after = op[1:] if op[0] == "split" else op[-1:]
                some = op[0] != "char" or any(self._holds[op[1]])
                if some and any(self._leads[j] for j in after):
                    self._leads[i] = changed = True

    # from state to state

    def _step(self, state: State | None, c: int) -> State:
        """State after a character of class c; of None, that before all, c being the beginning."""
        says: list[Threads] = []
        known: dict[Any, Threads] = {}
        behind, whole = state or ([NOTHING] * len(self._trackers), NOTHING)

        def moved(threads: Threads) -> list[Thread]:
            out = []
            for i, due in threads:
                op, after = self._ops[i], i
                if self._preferred and op[0] == "accept":
                    break
                if op[0] == "char" and self._holds[op[1]][c]:
                    after = op[2]
                elif i != ANY:
                    continue
                new: frozenset | None = NOTHING
                for sign, ahead in due:
                    if ahead not in known:
                        known[ahead] = self._closed(moved(ahead), says, known)
                    new = _with(new, sign, known[ahead])
                    if new is None:
                        break
                else:
                    assert new is not None
                    out.append((after, new))
            return out

        kept = []
        for (start, accept), threads in zip(self._trackers, behind, strict=True):
            closed = self._closed([*moved(threads), (start, NOTHING)], says, known)
            says.append(_fewest([(ANY, due) for i, due in closed if i == accept]))
            kept.append(frozenset(thread for thread in closed if thread[0] != accept))
        begun = [(c, NOTHING)] if state is None else moved(whole)
        return tuple(kept), self._closed(begun, says, known)

    def _closed(
        self, threads: Iterable[Thread], says: list[Threads], known: dict[Any, Threads]
    ) -> Threads:
        """Threads that wait for a character or are through, after splits and looks."""
        pending, found = list(threads)[::-1], []
        seen = set()
        while pending:
            i, due = thread = pending.pop()
            if thread in seen or not self._leads[i]:
                continue
            seen.add(thread)
            kind, *rest = self._ops[i]
            after: list[Thread] = []
            if kind == "split":
                after = [(j, due) for j in rest]
            elif kind in ("ahead", "behind"):
                sign, which, follows = rest
                if kind == "ahead" and which not in known:
                    known[which] = self._closed([(which, NOTHING)], says, known)
                more = _with(due, sign, says[which] if kind == "behind" else known[which])
                after = [] if more is None else [(follows, more)]
            else:
                found.append(thread)
            pending += after[::-1]
        return tuple(found) if self._preferred else _fewest(found)

    def _ends(self, threads: Threads) -> bool:
        return any(
            self._ops[i][0] in ("any", "accept")
            and all(sign == self._ends(ahead) for sign, ahead in due)
            for i, due in threads
        )

    def _explored(self, most: int) -> tuple[np.ndarray | None, np.ndarray]:
        """Table of all states and which of them accept; None where they are too many or large."""
        number, table = {self._first: 0}, []
        order, classes = [self._first], self._n_classes
        work = 0
        for state in order:
            row = []
            work += classes * sum(map(len, (*state[0], state[1])))
            if work > PATIENCE:
                return None, np.zeros(0, bool)
            for c in range(classes):
                after = self._step(state, c)
                if not after[1]:
                    row.append(-1)
                    continue
                if after not in number:
                    if len(order) == most:
                        return None, np.zeros(0, bool)
                    number[after] = len(order)
                    order.append(after)
                row.append(number[after])
            table.append(row)
        accepting = np.array([self._ends(state[1]) for state in order])
        t = np.array(table, np.int64).reshape(len(order), classes)
        cut(t, accepting)
        return t, accepting

    # what texts are asked; lists are read several times faster than arrays, one by one

    @cached_property
    def _rows(self) -> list[list[int]]:
        assert self.table is not None
        return self.table.tolist()

    @cached_property
    def _whole(self) -> list[bool]:
        return self.accepting.tolist()

    @property
    def possible(self) -> bool:
        """Whether any text matches, as far as is known."""
        if self.table is None:
            return bool(self._first[1])
        return bool(self.accepting[0] or (self.table[0] >= 0).any())

    def start(self) -> Any:
        """State of the empty text."""
        return self._first if self.table is None else 0

    def further(self, state: Any, text: str) -> Any:
        """State after more text, or None where no match can follow."""
        for character in text:
            c = self.classes.get(character)
            if c is None:
                return None
            if self.table is not None:
                state = self._rows[state][c]
                if state < 0:
                    return None
                continue
            after = self._after.get((state, c))
            if after is None:
                if len(self._after) == KEPT:
                    self._after.clear()
                after = self._after[state, c] = self._step(state, c)
            state = after
            if not state[1]:
                return None
        return state

    def complete(self, state: Any) -> bool:
        """Whether the text matches."""
        return self._ends(state[1]) if self.table is None else self._whole[state]

    def reads(self, text: str, partial: bool = False) -> bool:
        """Whether a text matches, or may be the beginning of one that does."""
        state = self.further(self.start(), text)
        return state is not None and (partial or self.complete(state))


def _with(due: frozenset | None, sign: bool, ahead: Threads) -> frozenset | None:
    """Obligations with one more, or None where they can't be met."""
    if due is None or (not sign, ahead) in due:
        return None
    if not ahead or (ANY, NOTHING) in ahead:
        # decided: it can't match any more, or has
        return due if sign == bool(ahead) else None
    return due | {(sign, ahead)}


def _fewest(threads: list[Thread]) -> Threads:
    """Without threads that owe more than another at the same place."""
    if (ANY, NOTHING) in threads:
        return frozenset({(ANY, NOTHING)})
    at: dict[int, list[frozenset]] = {}
    for i, due in threads:
        at.setdefault(i, []).append(due)
    return frozenset((i, due) for i, due in threads if not any(other < due for other in at[i]))


def cut(table: np.ndarray, accepting: np.ndarray) -> np.ndarray:
    """States from which an accepting one can be reached; the others leave the table."""
    before, column = np.nonzero(table >= 0)
    alive = leading(before, table[before, column], accepting)
    table[(table >= 0) & ~alive[table]] = -1
    return alive


def leading(before: np.ndarray, after: np.ndarray, accepting: np.ndarray) -> np.ndarray:
    """States from which an accepting one can be reached, by the edges between states."""
    n, ends = len(accepting), np.flatnonzero(accepting)
    sources = np.concatenate([after, np.full(ends.size, n)])
    edges = np.ones(sources.size), (sources, np.concatenate([before, ends]))
    found = breadth_first_order(csr_array(edges, shape=(n + 1, n + 1)), n)[0]
    return np.isin(np.arange(n), found)
