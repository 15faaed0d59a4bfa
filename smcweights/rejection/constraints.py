"""Constraints on sequences, item by item.

A constraint is an object with three methods:

- ``start()``: the state of the empty prefix;
- ``step(state, item)``: the state of the longer prefix, or None where no completion exists;
- ``complete(state)``: whether the prefix is a valid whole.

States are hashable or immutable; a step costs what the library behind it needs, not the length of
the prefix, except where said. `step` may let a prefix through that has no completion (the draws
then only lose efficiency) but never the reverse. Combine constraints with `both` and `either`.

================  ============================================================================
`predicate`       any function of prefix and item, and one of the whole
`regex`           a regular expression over characters or tokens (package ``regex``)
`automaton`       a deterministic automaton given as a table: exact truth by dynamic programming
`json_schema`     JSON that satisfies a schema (packages ``regex`` and ``jsonschema``)
`grammar`         a context-free grammar (package ``lark``)
================  ============================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "Automaton",
    "Constraint",
    "automaton",
    "both",
    "either",
    "grammar",
    "json_schema",
    "predicate",
    "regex",
]


class Constraint(Protocol):
    """What a constraint answers."""

    def start(self) -> Any:
        """State of the empty prefix."""

    def step(self, state: Any, item: int) -> Any:
        """State with one item more, or None."""

    def complete(self, state: Any) -> bool:
        """Whether the prefix is a valid whole."""


@dataclass(frozen=True)
class _Functions:
    first: Any
    step: Callable[[Any, int], Any]
    complete: Callable[[Any], bool]

    def start(self) -> Any:
        return self.first


def predicate(
    allows: Callable[[tuple, int], bool], complete: Callable[[tuple], bool] | None = None
) -> Constraint:
    """A constraint from functions of the prefix as a tuple of items.

    Parameters
    ----------
    allows : callable
        (prefix, item) -> bool: whether a completion may exist.
    complete : callable, optional
        sequence -> bool: whether it may end here; by default always.

    Examples
    --------
    >>> rising = predicate(lambda prefix, item: not prefix or item > prefix[-1])
    >>> rising.step((3,), 2) is None, rising.step((3,), 5)
    (True, (3, 5))
    """

    def step(prefix: tuple, item: int) -> tuple | None:
        return (*prefix, item) if allows(prefix, item) else None

    return _Functions((), step, complete or (lambda prefix: True))


@dataclass(frozen=True)
class Automaton:
    """A deterministic automaton; `automaton` makes one.

    Attributes
    ----------
    table : ndarray of int, shape (S, V)
        Next state; -1 where none.
    accepting : ndarray of bool, shape (S,)
    initial : int
    """

    table: np.ndarray
    accepting: np.ndarray
    initial: int

    def start(self) -> int:
        """State of the empty prefix."""
        return self.initial

    def step(self, state: int, item: int) -> int | None:
        """Next state, or None."""
        after = int(self.table[state, item])
        return None if after < 0 else after

    def complete(self, state: int) -> bool:
        """Whether the state accepts."""
        return bool(self.accepting[state])


def automaton(table: ArrayLike, accepting: Sequence[int], *, initial: int = 0) -> Automaton:
    """A deterministic automaton; states without a way to acceptance are cut off.

    Parameters
    ----------
    table : array_like of int, shape (S, V)
        State after each item; -1 where none.
    accepting : sequence of int
        States in which a sequence may end.
    initial : int, default 0

    Raises
    ------
    ValueError
        A state is out of range, or the initial one can't reach acceptance.

    Examples
    --------
    >>> even_ones = automaton([[0, 1], [1, 0]], accepting=[0])
    >>> even_ones.complete(even_ones.step(even_ones.step(0, 1), 1))
    True
    """
    t = np.array(table, dtype=np.int64)
    if t.ndim != 2 or t.size == 0 or (t >= len(t)).any() or (t < -1).any():
        raise ValueError(f"table: shape {t.shape}; expected (S, V) of states from -1 to S - 1")
    ends = np.zeros(len(t), bool)
    ends[list(accepting)] = True
    alive = ends.copy()
    for _ in range(len(t)):
        alive |= ((t >= 0) & alive[t]).any(1)
    if not 0 <= initial < len(t) or not alive[initial]:
        raise ValueError(f"initial: state {initial} can't reach an accepting state")
    t[(t >= 0) & ~alive[t]] = -1
    return Automaton(t, ends, initial)


def both(*constraints: Constraint) -> Constraint:
    """All of several constraints.

    Examples
    --------
    >>> odd = predicate(lambda prefix, item: item % 2 == 1)
    >>> small = predicate(lambda prefix, item: item < 4)
    >>> both(odd, small).step(((), ()), 5) is None
    True
    """

    def step(states: tuple, item: int) -> tuple | None:
        after = []
        for c, s in zip(constraints, states, strict=True):
            new = c.step(s, item)
            if new is None:
                return None
            after.append(new)
        return tuple(after)

    def complete(states: tuple) -> bool:
        return all(c.complete(s) for c, s in zip(constraints, states, strict=True))

    return _Functions(tuple(c.start() for c in constraints), step, complete)


def either(*constraints: Constraint) -> Constraint:
    """At least one of several constraints.

    Examples
    --------
    >>> odd = predicate(lambda prefix, item: item % 2 == 1)
    >>> small = predicate(lambda prefix, item: item < 4)
    >>> either(odd, small).step(((), ()), 5)
    ((5,), None)
    """

    def step(states: tuple, item: int) -> tuple | None:
        after = tuple(
            None if s is None else c.step(s, item) for c, s in zip(constraints, states, strict=True)
        )
        return None if all(s is None for s in after) else after

    def complete(states: tuple) -> bool:
        return any(
            s is not None and c.complete(s) for c, s in zip(constraints, states, strict=True)
        )

    return _Functions(tuple(c.start() for c in constraints), step, complete)


def regex(pattern: str, items: Sequence[str]) -> Constraint:
    """Texts that match a regular expression from end to end.

    Partial matching of the ``regex`` package decides; a step costs one match of the prefix.

    Parameters
    ----------
    pattern : str
    items : sequence of str, length V
        Text of each item: characters, or tokens.

    Examples
    --------
    >>> digits = regex("[0-9]{2}a", list("0a"))
    >>> digits.step("0", 0), digits.step("0", 1), digits.complete("00a")
    ('00', None, True)
    """
    import regex as package

    compiled = package.compile(pattern)

    def step(text: str, item: int) -> str | None:
        longer = text + items[item]
        return longer if compiled.fullmatch(longer, partial=True) else None

    return _Functions("", step, lambda text: compiled.fullmatch(text) is not None)


def grammar(text: str, items: Sequence[str], *, start: str = "start") -> Constraint:
    """Texts of a context-free grammar in lark's notation whose terminals are single characters.

    Parameters
    ----------
    text : str
        The grammar; LALR(1), every terminal matching exactly one character, no two of them the
        same one (so that the parser can follow text character by character).
    items : sequence of str, length V
        Text of each item.
    start : str, default "start"
        Rule of the whole.

    Raises
    ------
    ValueError
        A terminal matches more than one character.

    Examples
    --------
    >>> brackets = grammar('start: "(" start ")" | "x"', list("()x"))
    >>> state = brackets.start()
    >>> for item in (0, 2):
    ...     state = brackets.step(state, item)
    >>> brackets.step(state, 2) is None, brackets.complete(brackets.step(state, 1))
    (True, True)
    """
    import lark

    parser = lark.Lark(text, parser="lalr", start=start, lexer="basic")
    for terminal in parser.terminals:
        if (terminal.pattern.min_width, terminal.pattern.max_width) != (1, 1):
            raise ValueError(
                f"grammar: terminal {terminal.name} = {terminal.pattern} doesn't match exactly one "
                "character; expected terminals of one character"
            )
    import regex as package

    patterns = [(t.name, package.compile(t.pattern.to_regexp())) for t in parser.terminals]
    kind = {}
    for character in {c for item in items for c in item}:
        names = [name for name, p in patterns if p.fullmatch(character)]
        if len(names) > 1:
            raise ValueError(f"grammar: {character!r} is matched by {' and '.join(names)}")
        kind[character] = names[0] if names else None

    def step(state: Any, item: int) -> Any:
        state = state.copy()
        for character in items[item]:
            name = kind[character]
            if name is None:
                return None
            try:
                state.feed_token(lark.Token(name, character))
            except lark.exceptions.UnexpectedToken:
                return None
        return state

    def complete(state: Any) -> bool:
        # an end that can be shifted may still be refused by what it reduces to
        return "$END" in state.accepts()

    first = parser.parse_interactive("").as_immutable().as_mutable()
    return _Functions(first, step, complete)


def json_schema(schema: dict, items: Sequence[str]) -> Constraint:
    """Texts that are JSON and satisfy a schema.

    A pattern of partial matching follows the nesting while the text grows; the schema is checked
    once the text is whole (and by ``"type"`` of the whole from its first character).

    Parameters
    ----------
    schema : dict
        JSON Schema, of the draft it names.
    items : sequence of str, length V
        Text of each item.

    Examples
    --------
    >>> ages = json_schema({"type": "array", "items": {"minimum": 3}}, list("[]35,"))
    >>> ages.complete("[3,5]"), ages.complete("[]"), ages.step("[", 4) is None
    (True, True, True)
    """
    import jsonschema
    import regex as package

    validator = jsonschema.validators.validator_for(schema)(schema)
    validator.check_schema(schema)
    starts = {
        "object": "{",
        "array": "[",
        "string": '"',
        "boolean": "tf",
        "null": "n",
        "number": "-0123456789",
        "integer": "-0123456789",
    }
    kinds = schema.get("type", list(starts))
    opening = "".join(starts[k] for k in ([kinds] if isinstance(kinds, str) else kinds))
    space = r"[ \t\n\r]*+"
    string = r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"'
    number = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
    member = rf"{string}{space}:{space}(?&value){space}"
    compiled = package.compile(
        rf"{space}(?<value>"
        rf"\{{{space}(?:(?<pair>{member})(?:,{space}(?&pair))*)?\}}"
        rf"|\[{space}(?:(?&value){space}(?:,{space}(?&value){space})*)?\]"
        rf"|{string}|{number}|true|false|null){space}"
    )

    def step(text: str, item: int) -> str | None:
        longer = text + items[item]
        head = longer.lstrip(" \t\n\r")
        if head and head[0] not in opening:
            return None
        return longer if compiled.fullmatch(longer, partial=True) else None

    def complete(text: str) -> bool:
        try:
            return bool(validator.is_valid(json.loads(text)))
        except ValueError:
            return False

    return _Functions("", step, complete)
