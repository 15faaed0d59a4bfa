"""Texts of a context-free grammar, read character by character by Earley's chart.

A column of the chart says where in the rules the text may stand, and which terminals are under
way, each in a state of its automaton: all ways to cut the text into terminals are followed. Rules
that no text over the alphabet satisfies are left out beforehand, so that every column which has
something to read leads to a whole.

References: Earley (1970), CACM 13; Aycock & Horspool (2002), The Computer Journal 45, for rules
that may be empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from re import _parser
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from .. import _compat
from .. import arguments as check
from .least import Measure
from .patterns import Pattern, together

if TYPE_CHECKING:
    from lark import Lark

KEPT = 20_000  # steps that are remembered
NESTED = 3  # rules around a place that an outline tells


class Column:
    """Where a text may stand in the rules."""

    __slots__ = ("scan", "waiting", "whole")

    def __init__(self) -> None:
        self.waiting: dict[str, list[Item]] = {}  # for a nonterminal that begins here
        self.scan: frozenset[Under] = frozenset()
        self.whole = False


class Item(NamedTuple):
    """A place in a rule that began at a column."""

    place: int
    begun: Column


class Gap(NamedTuple):
    """What may follow an ignored terminal: what could have come instead of it."""

    wanted: frozenset[tuple[Item, str]]
    whole: bool


# what a terminal leads to, its name, and the state of its automaton
Under = tuple[Item | Gap, str, Any]


class Chart:
    """Steps from column to column; where no text of the grammar can follow there is None."""

    finite = True  # columns repeat within terminals

    def __init__(self, text: str, alphabet: str | None, start: str) -> None:
        self._text, parser = text, _read(text, start)
        self._terminals: dict[str, Pattern] = {}
        self._due: dict[str, str | int] = {}  # what terminals are, or how long at least
        for terminal in parser.terminals:
            pattern = terminal.pattern.to_regexp()
            if _looks_out(_parser.parse(pattern), 0):
                raise ValueError(
                    f"grammar: terminal {terminal.name}, {check.shown(pattern)}, looks at what is "
                    "around it; expected none to"
                )
            self._terminals[terminal.name] = Pattern(pattern, alphabet, preferred=True)
            fixed = terminal.pattern.type == "str" and not terminal.pattern.flags
            self._due[terminal.name] = terminal.pattern.value if fixed else _shortest(pattern)
        self._ignored = [name for name in parser.ignore_tokens if self._terminals[name].possible]
        rules = [(r.origin.name, [s.name for s in r.expansion]) for r in parser.rules]
        nullable = _fulfilled(rules, ())
        productive = _fulfilled(
            rules, (name for name, pattern in self._terminals.items() if pattern.possible)
        )
        if start not in productive:
            of = "all characters" if alphabet is None else "these items"
            raise ValueError(
                f"grammar: got {check.shown(text)}, but no text of {of} is one of it; expected "
                "some, and rules that come to an end"
            )
        self._next: list[str | None] = [start, None]  # what is due at each place of the rules
        self._of = ["", ""]  # whose rule it is
        self._rules: dict[str, list[int]] = {}
        for name, symbols in rules:
            if productive.issuperset(symbols):
                self._rules.setdefault(name, []).append(len(self._next))
                self._next += [*symbols, None]
                self._of += [name] * (len(symbols) + 1)
        self._nullable = nullable
        self._known: dict[Any, Column] = {}
        first = Column()
        self._first = self._filled(first, [Item(0, first)], set(), set(), False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}}

    def __repr__(self) -> str:
        """The grammar."""
        return f"grammar({check.shown(self._text)})"

    def alike(self, characters: str) -> np.ndarray:
        """Numbers of characters, equal for those that no terminal tells apart."""
        classes = (one.alike(characters) + 1 for one in self._terminals.values())
        return together(classes, len(characters))

    def start(self) -> Column:
        """The column of the empty text."""
        return self._first

    def complete(self, column: Column) -> bool:
        """Whether the text is one of the grammar."""
        return column.whole

    def fewest(self, measure: Measure) -> float:
        """A bound from below on the measure of a text, from that of its terminals."""
        least = {name: measure(one) for name, one in self._due.items()}
        before: dict[str, float] = {}
        while before != least:
            before = least.copy()
            for name, places in self._rules.items():
                ways = (sum(before.get(s, math.inf) for s in self._symbols(p)) for p in places)
                least[name] = min(ways)
        return least[cast(str, self._next[0])]

    def _symbols(self, place: int) -> Iterator[str]:
        """What is due from a place of a rule on."""
        while (symbol := self._next[place]) is not None:
            yield symbol
            place += 1

    def outline(self, column: Column) -> tuple:
        """What of a column its ends depend on: what is under way, and the nearest rules around."""
        under = []
        for origin, name, state in column.scan:
            wanted = {(origin, name)} if isinstance(origin, Item) else origin.wanted
            places = frozenset((self._around(item, NESTED), of) for item, of in wanted)
            under.append((places, isinstance(origin, Gap) and origin.whole, name, state))
        return column.whole, frozenset(under)

    def _around(self, item: Item, rules: int) -> tuple:
        due = item.begun.waiting.get(self._of[item.place], ()) if rules else ()
        return item.place, frozenset(self._around(one, rules - 1) for one in due)

    def further(self, column: Column, character: str) -> Column | None:
        """The column after one character more."""
        known = self._known.get((column, character))
        if known is None:
            if len(self._known) > KEPT:
                self._known.clear()
            known = self._known[column, character] = self._moved(column, character)
        return known if known.scan or known.whole else None

    def _moved(self, column: Column, character: str) -> Column:
        under: set[Under] = set()
        wanted: set[tuple[Item, str]] = set()
        through, whole = [], False
        for origin, name, state in column.scan:
            terminal = self._terminals[name]
            after = terminal.further(state, character)
            if after is None:
                continue
            under.add((origin, name, after))
            if terminal.complete(after):
                if isinstance(origin, Gap):
                    wanted |= origin.wanted
                    whole |= origin.whole
                else:
                    through.append(Item(origin.place + 1, origin.begun))
        if through:
            return self._filled(Column(), through, under, wanted, whole)
        # without new places in the rules a column is known by what it reads
        new = self._filled(Column(), through, under, wanted, whole)
        return self._known.setdefault((new.scan, whole), new)

    def _filled(
        self,
        column: Column,
        pending: list[Item],
        under: set[Under],
        wanted: set[tuple[Item, str]],
        whole: bool,
    ) -> Column:
        """The column with all that follows from the items without reading on."""
        seen = set()
        while pending:
            item = pending.pop()
            if item in seen:
                continue
            seen.add(item)
            symbol = self._next[item.place]
            if symbol is None:
                whole |= item.place == 1
                # what is empty was gone past where it was due
                if item.begun is not column:
                    due = item.begun.waiting.get(self._of[item.place], ())
                    pending += [Item(place + 1, begun) for place, begun in due]
            elif symbol in self._terminals:
                wanted.add((item, symbol))
            else:
                if symbol not in column.waiting:
                    column.waiting[symbol] = []
                    pending += [Item(place, column) for place in self._rules[symbol]]
                column.waiting[symbol].append(item)
                if symbol in self._nullable:
                    pending.append(Item(item.place + 1, item.begun))
        under |= {(item, name, self._terminals[name].start()) for item, name in wanted}
        if wanted or whole:
            gap = Gap(frozenset(wanted), whole)
            under |= {(gap, name, self._terminals[name].start()) for name in self._ignored}
        column.scan, column.whole = frozenset(under), whole
        return column


def _read(text: str, start: str) -> Lark:
    """The grammar as lark reads it."""
    lark = _compat.optional("lark", "language", "grammars")
    try:
        return lark.Lark(text, parser="earley", lexer="dynamic", start=start)
    except lark.exceptions.LarkError as error:
        raise ValueError(
            f"grammar: got one with an error ({error}); expected one as lark reads it"
        ) from error


def _fulfilled(rules: list[tuple[str, list[str]]], given: Iterable[str]) -> set[str]:
    """The symbols given, and those with a rule whose symbols are all of them."""
    found, before = set(given), -1
    while len(found) > before:
        before = len(found)
        found.update(name for name, symbols in rules if found.issuperset(symbols))
    return found


def _shortest(pattern: str) -> int:
    return int(_parser.parse(pattern).getwidth()[0])


def _looks_out(nodes: Iterable[tuple], before: int) -> bool:
    """Whether a pattern looks beyond its text, ``before`` of whose characters are read at least."""
    for op, value in nodes:
        inner: list[Iterable[tuple]] = []
        if op.name == "AT":
            return True
        if op.name in ("ASSERT", "ASSERT_NOT"):
            way, seen = value
            if way > 0 or seen.getwidth()[1] > before or _looks_out(seen, 0):
                return True
        elif op.name == "BRANCH":
            inner = value[1]
        elif op.name in ("SUBPATTERN", "MAX_REPEAT", "MIN_REPEAT"):
            inner = [value[-1]]
        if any(_looks_out(one, before) for one in inner):
            return True
        before += _parser.SubPattern(_parser.State(), [(op, value)]).getwidth()[0]
    return False
