"""Constraints on sequences, item by item.

A constraint is an object with three methods:

- ``start()``: the state of the empty prefix;
- ``step(state, item)``: the state of the longer prefix, or None where no completion exists;
- ``complete(state)``: whether the prefix is a valid whole.

States are hashable or immutable; a step costs what the library behind it needs, not the length of
the prefix, except where said. A constraint may also say for all items at once which may come next,
``mask(state)``, a bool array of shape (V,), ends included. `step` may let a prefix through that has
no completion (the draws then only lose efficiency) but never the reverse. Combine constraints with
`both` and `either`.

Items are texts, a list of str, or the tokens of a language model: `vocabulary` takes their texts,
`vocabulary_of` reads them from a tokenizer. Without items `regex`, `grammar` and `json_schema` are
constraints on texts, which `over_tokens` takes, as it takes any object with ``start()``,
``further(state, character)`` (None where nothing valid follows) and ``complete(state)``; optional
are ``alike(characters)``, which numbers characters, equally those that are never told apart, and
``finite``, true if states are hashable and repeat.

================  ============================================================================
`predicate`       any function of prefix and item, and one of the whole
`regex`           a regular expression over characters or tokens
`automaton`       a deterministic automaton given as a table: exact truth by dynamic programming
`json_schema`     JSON that satisfies a schema (package ``jsonschema``)
`grammar`         a context-free grammar (package ``lark``)
`smiles`          molecules in SMILES notation (package ``partialsmiles``)
`by_masks`        whatever says for all tokens at once which may come, such as ``llguidance``
================  ============================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments as check
from ..errors import ModelError
from .patterns import Pattern, cut
from .vocabularies import Text, Vocabulary, vocabulary, vocabulary_of

__all__ = [
    "Automaton",
    "Constraint",
    "Vocabulary",
    "automaton",
    "both",
    "by_masks",
    "either",
    "grammar",
    "json_schema",
    "over_tokens",
    "predicate",
    "regex",
    "smiles",
    "vocabulary",
    "vocabulary_of",
]


LARGEST = 2**23  # entries of the table that a regular expression becomes
State = TypeVar("State")
Items = Sequence[str] | Vocabulary | None


class Constraint(Protocol[State]):
    """What a constraint answers."""

    def start(self) -> State:
        """State of the empty prefix."""

    def step(self, state: State, item: int) -> State | None:
        """State with one item more, or None."""

    def complete(self, state: State) -> bool:
        """Whether the prefix is a valid whole."""


@dataclass(frozen=True)
class _Functions:
    first: Any
    step: Callable[[Any, int], Any]
    complete: Callable[[Any], bool]
    made_of: tuple  # what tells it from others
    name: str
    size: int | None = None  # number of items, where it is known
    mask: Callable[[Any], np.ndarray | None] | None = None
    ends: tuple[int, ...] = ()
    spelled: tuple[Any, tuple[str, ...]] = (None, ())  # what reads texts, and those of the items

    def __repr__(self) -> str:
        return self.name

    def start(self) -> Any:
        return self.first


def _texts(items: Iterable[str]) -> tuple[str, ...]:
    """Texts of the items, checked."""
    texts = tuple(
        items
        if isinstance(items, str)
        else check.in_order("items", items, "texts, by their numbers")
    )
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"items: got {text!r} as entry {i}; expected str")
    if not texts:
        raise ValueError("items: got none; expected at least one")
    return texts


def truth(value: object, name: str, asked: object) -> bool:
    """An answer that is yes or no; anything else is refused, with what was asked."""
    if value is True or value is False:
        return value is True
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "biuf" or array not in (0, 1):
        raise ModelError(f"{name}: returned {value!r} for {asked}; expected a bool")
    return bool(array)


def size_of(constraint: object) -> int | None:
    """Number of items that a constraint is over, or None where it doesn't say."""
    size = getattr(constraint, "size", None)
    return size if isinstance(size, int) else None


def ends_of(constraint: object) -> tuple[int, ...]:
    """Items that end a sequence by the vocabulary of a constraint."""
    return getattr(constraint, "ends", ())


def ends_meant(end: int | Sequence[int] | None, constraint: object) -> tuple[int, ...]:
    """Items that end a sequence: those given, or those of the vocabulary."""
    if end is None:
        return ends_of(constraint)
    listed = end if isinstance(end, list | tuple) else [end]
    ends = tuple(dict.fromkeys(check.count("end", one, 0) for one in listed))
    size, own = size_of(constraint), ends_of(constraint)
    if own and size is not None and not set(ends) <= set(own):
        raise ValueError(f"end: got {end}; expected one of the vocabulary's, {own}")
    return ends


def check_size(constraint: object, of_language: int, ends: tuple[int, ...]) -> None:
    """The end, as the last item, needs no text of its own, unless there is a vocabulary."""
    size, own, last = size_of(constraint), ends_of(constraint), of_language - 1
    if ends and not own and max(ends) > last:
        raise ValueError(f"end: got {max(ends)}; expected an item from 0 to {last}")
    if size in (None, of_language) or (not own and size == last and last in ends):
        return
    hint = " and no end was given" if not ends and size == last else ""
    if own and size is not None and size < of_language:
        hint = f"; expected as many tokens: vocabulary(tokens + (None,) * {of_language - size})"
    raise ValueError(f"constraint: it is over {size} items; the language has {of_language}{hint}")


def spelled(constraint: object) -> tuple[Any, tuple[str, ...]]:
    """What reads the texts that the items of a constraint spell, or None, and these."""
    return constraint.spelled if isinstance(constraint, _Functions) else (None, ())


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
    for name, function in (("allows", allows), ("complete", complete)):
        if not callable(function) and not (name == "complete" and function is None):
            raise TypeError(f"{name}: got {type(function).__name__}; expected a function")

    def step(prefix: tuple, item: int) -> tuple | None:
        allowed = truth(allows(prefix, item), "constraint", (prefix, item))
        return (*prefix, item) if allowed else None

    name = f"predicate({getattr(allows, '__name__', type(allows).__name__)})"
    return _Functions((), step, complete or (lambda prefix: True), (allows, complete), name)


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
    made_of: tuple = field(default=(), repr=False)  # what tells it from others

    def __repr__(self) -> str:
        """What it is over, and the pattern, or how many states."""
        over = f"over {self.size:,} items"
        if self.made_of:
            return f"regex({check.shown(self.made_of[0])}) {over}"
        return f"automaton of {len(self.table):,} states {over}"

    @property
    def size(self) -> int:
        """Number of items."""
        return int(self.table.shape[1])

    def rows(self, states: np.ndarray) -> np.ndarray:
        """States after each item, shape (n, V)."""
        return np.asarray(self.table[states])

    def after(self, states: np.ndarray, items: np.ndarray) -> np.ndarray:
        """States after one item each."""
        return np.asarray(self.table[states, items])

    def mask(self, state: int) -> np.ndarray:
        """Items that may come next."""
        return np.asarray(self.table[state] >= 0)

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
    try:
        t = np.array(table)
        if t.dtype.kind not in "iu":
            raise TypeError(f"an array of {t.dtype}")
        t = t.astype(np.int64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"table: expected whole numbers, shape (S, V); got {error}") from None
    if t.ndim != 2 or t.size == 0 or (t >= len(t)).any() or (t < -1).any():
        raise ValueError(f"table: got shape {t.shape}; expected (S, V) of states from -1 to S - 1")
    ends = np.zeros(len(t), bool)
    for state in check.several("accepting", accepting, "states"):
        ends[check.count("accepting", state, 0, len(t) - 1)] = True
    alive, initial = cut(t, ends), check.count("initial", initial, 0, len(t) - 1)
    if not alive[initial]:
        raise ValueError(f"initial: got {initial}; expected a state that can reach accepting ones")
    return Automaton(t, ends, initial)


def both(*constraints: Constraint) -> Constraint:
    """All of several constraints.

    Of automata, as `regex` makes, this is an automaton, unless its states are too many; over a
    vocabulary the masks of others are taken together.

    Raises
    ------
    ValueError
        Of automata: no sequence satisfies all.

    Examples
    --------
    >>> odd = predicate(lambda prefix, item: item % 2 == 1)
    >>> small = predicate(lambda prefix, item: item < 4)
    >>> both(odd, small).step(((), ()), 5) is None
    True
    """
    return _together(constraints, True)


def either(*constraints: Constraint) -> Constraint:
    """At least one of several constraints.

    Examples
    --------
    >>> odd = predicate(lambda prefix, item: item % 2 == 1)
    >>> small = predicate(lambda prefix, item: item < 4)
    >>> either(odd, small).step(((), ()), 5)
    ((5,), None)
    """
    return _together(constraints, False)


def _together(constraints: tuple[Constraint, ...], every: bool) -> Constraint:
    if not constraints:
        raise TypeError("constraints: got none; expected at least one")
    for one in constraints:
        if not all(hasattr(one, name) for name in ("start", "step", "complete")):
            raise TypeError(
                f"constraints: got {type(one).__name__}; expected objects of smcweights.constraints"
                " (predicate makes one of a function)"
            )
    sizes = {size for size in map(size_of, constraints) if size is not None}
    if len(sizes) > 1:
        raise ValueError(f"constraints: they are over {sorted(sizes)} items; expected one number")
    if len(constraints) > 1 and (made := _product(constraints, every)) is not None:
        return made

    def step(states: tuple, item: int) -> tuple | None:
        after = []
        for c, s in zip(constraints, states, strict=True):
            after.append(None if s is None else c.step(s, item))
            if every and after[-1] is None:
                return None
        return None if all(s is None for s in after) else tuple(after)

    def complete(states: tuple) -> bool:
        pairs = zip(constraints, states, strict=True)
        whole = (s is not None and truth(c.complete(s), "constraint", s) for c, s in pairs)
        return all(whole) if every else any(whole)

    masks = [getattr(c, "mask", None) for c in constraints]

    def mask(states: tuple) -> np.ndarray | None:
        found: np.ndarray | None = None
        for of, s in zip(masks, states, strict=True):
            one = None if of is None or s is None else of(s)
            if one is None and s is not None:
                return None
            if one is not None:
                found = one if found is None else found & one if every else found | one
        return found

    return _Functions(
        tuple(c.start() for c in constraints),
        step,
        complete,
        constraints,
        f"{'both' if every else 'either'}({', '.join(map(check.shown, constraints))})",
        size=next(iter(sizes), None),
        # an automaton alone is asked item by item
        mask=None if None in masks or all(isinstance(c, Automaton) for c in constraints) else mask,
        ends=next(filter(None, map(ends_of, constraints)), ()),
    )


def _product(constraints: tuple[Constraint, ...], every: bool) -> Constraint | None:
    """One automaton, where all are and its states aren't too many."""
    from .products import Joined, crossed
    from .tokens import TokenTable, over

    kinds, made = {type(one) for one in constraints}, cast(Any, constraints[0])
    if kinds == {Automaton}:
        for other in cast(tuple[Automaton, ...], constraints[1:]):
            accepting, first = (made.accepting, other.accepting), (made.initial, other.initial)
            pairs = crossed((made.table, other.table), accepting, first, every, LARGEST)
            if pairs is None:
                return None
            made = Automaton(*pairs, 0)
        possible = bool(cut(made.table, made.accepting)[0])
    elif kinds == {TokenTable}:
        texts, words = zip(*(cast(TokenTable, one).made_of for one in constraints), strict=True)
        if any(one != words[0] for one in words):
            raise ValueError("constraints: they are over different vocabularies; expected one")
        made = over(Joined(texts, every), words[0])
        possible = made is not None
    else:
        return None
    if not possible:
        raise ValueError("constraints: no sequence satisfies all of them")
    return made


def regex(
    pattern: str,
    items: Items = None,
    *,
    flags: int = 0,
    search: bool = False,
    states: int = 5000,
) -> Any:
    r"""Texts that match a regular expression from end to end.

    The pattern becomes an automaton, which lets through exactly the beginnings of what
    `re.fullmatch` matches, looks ahead and behind, ``\b`` and ``$`` included; a step takes no
    longer in a long text. Its table of all items, where it fits, gives `constrained_sequences`
    the exact mask.

    Parameters
    ----------
    pattern : str
        As `re` has them, but for what no automaton follows: back references, conditional and
        atomic groups, possessive repeats.
    items : sequence of str, length V, or Vocabulary, optional
        Text of each item: characters, or tokens. Without, a constraint on texts.
    flags : int, default 0
        Flags of `re`.
    search : bool, default False
        Whether a match anywhere in the text will do.
    states : int, default 5000
        Most states of a table; beyond, or where it would take long to make, states are made as
        texts come to them, and beginnings without a completion may get through where the pattern
        looks around, or items are tokens.

    Raises
    ------
    ValueError
        The pattern is wrong or can't be followed, or no text of the items matches it.

    Examples
    --------
    >>> digits = regex("[0-9]{2}a", list("0a"))
    >>> state = digits.step(digits.start(), 0)
    >>> digits.step(state, 1) is None, digits.complete(digits.step(digits.step(state, 0), 1))
    (True, True)
    """
    if not isinstance(pattern, str):
        raise TypeError(f"pattern: got {type(pattern).__name__}; expected str")
    most = check.count("states", states)
    flags, search = check.count("flags", flags, 0), check.flag("search", search)
    texts = items if items is None or isinstance(items, Vocabulary) else _texts(items)
    made = Pattern(pattern, _alphabet(texts), flags, search, most)
    if not isinstance(texts, tuple):
        return _by_tokens(made, texts, "pattern")
    made_of = (pattern, texts, flags, search)
    possible = made.possible
    if made.table is not None and len(made.table) * len(texts) <= LARGEST:
        # a row more, of dead ends, for what is one already
        padded = np.pad(made.table, ((0, 1), (0, 0)), constant_values=-1)
        table = np.tile(np.arange(len(made.table))[:, None], len(texts))
        for i, text in enumerate(texts):
            for character in text:
                table[:, i] = padded[table[:, i], made.classes.get(character)]
        possible = cut(table, made.accepting)[0]
    if not possible:
        raise ValueError(
            f"pattern: got {check.shown(pattern)}, but no text of these items matches it; expected "
            "items for one"
        )
    if made.table is not None and len(made.table) * len(texts) <= LARGEST:
        return Automaton(table, made.accepting, 0, made_of)
    return _of_reader(made, texts, made_of)


def _alphabet(items: tuple[str, ...] | Vocabulary | None) -> str | None:
    """Characters that texts are made of; None for all there are."""
    if isinstance(items, tuple):
        return "".join(sorted(set("".join(items))))
    return None if items is None else items.alphabet


def _by_tokens(text: Text, items: Vocabulary | None, name: str) -> Any:
    """A constraint over a vocabulary, or on texts as it is."""
    if items is None:
        return text
    from .tokens import over

    made = over(text, items)
    if made is None:
        raise ValueError(f"{name}: no text of these items matches it; expected items for one")
    return made


def over_tokens(constraint: Text, vocabulary: Vocabulary) -> Constraint:
    """A constraint on texts, for the tokens of a vocabulary.

    The tokens stand in a tree by their texts: what begins alike is read once, and refused once.
    Where the states of the text are few, as of most patterns, all of them are looked at beforehand,
    tokens that lead to no valid whole are left out, and `constrained_sequences` can look ahead;
    where they repeat, what is allowed after a state is found out once. Else it is found out where
    300 branches are enough; beyond, tokens are drawn and asked, and one that is refused takes with
    it all that begin in the way that failed.

    Parameters
    ----------
    constraint : object
        On texts: `regex`, `grammar` or `json_schema` without items, or one of your own, with
        ``start()``, ``further(state, character)`` and ``complete(state)``.
    vocabulary : Vocabulary

    Raises
    ------
    ValueError
        No text of the tokens satisfies the constraint, as far as can be told beforehand.

    References
    ----------
    Willard & Louf (2023), arXiv 2307.09702.

    Examples
    --------
    >>> tokens = vocabulary(["1", "12", "2a", "a", None], end=4)
    >>> numbers = over_tokens(regex("[0-9]{2}a"), tokens)
    >>> numbers.mask(numbers.step(numbers.start(), 0))
    array([ True, False,  True, False, False])
    """
    if not all(callable(getattr(constraint, n, None)) for n in ("start", "further", "complete")):
        raise TypeError(
            f"constraint: got {type(constraint).__name__}; expected a constraint on texts, as "
            "regex, grammar and json_schema make without items"
        )
    check.instance("vocabulary", vocabulary, Vocabulary)
    return _by_tokens(constraint, vocabulary, "constraint")


def by_masks(source: Any, vocabulary: Vocabulary) -> Constraint:
    """A constraint that something else follows, which says for all tokens at once which may come.

    Parameters
    ----------
    source : object
        ``start()`` gives a state; ``advance(state, item)`` that with a token more, another object,
        or None where it may not come; ``mask(state)`` a bool array of shape (V,), or packed bits,
        the lowest of each word first; ``complete(state)`` whether the text may end.
    vocabulary : Vocabulary
        Its ends are allowed where a state is complete, forbidden tokens nowhere.

    Examples
    --------
    >>> class Even:
    ...     start = lambda self: 0
    ...     advance = lambda self, state, item: 1 - state
    ...     mask = lambda self, state: np.array([0b011], np.uint32)
    ...     complete = lambda self, state: state == 0
    >>> even = by_masks(Even(), vocabulary(["a", "b", None], end=2))
    >>> even.mask(0), even.mask(1)
    (array([ True,  True,  True]), array([ True,  True, False]))
    """
    for name in ("start", "advance", "mask", "complete"):
        if not callable(getattr(source, name, None)):
            raise TypeError(
                f"source: got {type(source).__name__}, without {name}; expected an object with "
                "start, advance, mask and complete"
            )
    check.instance("vocabulary", vocabulary, Vocabulary)
    never = np.array([not text for text in vocabulary.tokens])
    never[list(vocabulary.forbidden)] = True
    ends = list(vocabulary.end)

    def step(state: Any, item: int) -> Any:
        return None if never[item] else source.advance(state, item)

    def complete(state: Any) -> bool:
        return truth(source.complete(state), "source.complete", state)

    def mask(state: Any) -> np.ndarray:
        found = np.asarray(source.mask(state))
        if found.dtype.kind in "iu":
            bits = np.ascontiguousarray(found).reshape(-1).view(np.uint8)
            found = np.unpackbits(bits, bitorder="little")[: never.size].view(bool)
        if found.dtype != bool or found.shape != never.shape:
            raise ModelError(
                f"source.mask: returned an array of {found.dtype}, shape {found.shape}; expected "
                f"{never.size} bools or as many bits"
            )
        found = found & ~never
        found[ends] = complete(state)
        return found

    return _Functions(
        source.start(),
        step,
        complete,
        (source, vocabulary),
        f"by_masks({type(source).__name__}) over {never.size:,} tokens",
        never.size,
        mask,
        vocabulary.end,
    )


def _of_reader(reader: Text, texts: tuple[str, ...], made_of: tuple) -> Constraint:
    def step(state: Any, item: int) -> Any:
        for character in texts[item]:
            state = reader.further(state, character)
            if state is None:
                break
        return state

    name = f"{reader!r} over {len(texts):,} items"
    first, whole, size = reader.start(), reader.complete, len(texts)
    return _Functions(first, step, whole, made_of, name, size, spelled=(reader, texts))


def smiles(items: Items = None) -> Any:
    """Molecules in SMILES notation: syntax, valences, and aromatic rings that can be kekulised.

    Every step reads the text from its beginning, as the package does.

    Parameters
    ----------
    items : sequence of str, length V, or Vocabulary, optional
        Text of each item: characters, or tokens such as "Cl" and "[nH]". Without, a constraint on
        texts.

    Examples
    --------
    >>> molecules = smiles(list("CO=1c"))
    >>> molecules.complete("CC=O"), molecules.complete("C="), molecules.step("O=C=O", 2) is None
    (True, False, True)
    """
    from .molecules import Molecules

    texts = items if items is None or isinstance(items, Vocabulary) else _texts(items)
    reader = Molecules()
    if not isinstance(texts, tuple):
        return _by_tokens(reader, texts, "smiles")

    def step(text: str, item: int) -> str | None:
        return reader.further(text, texts[item])

    name = f"smiles over {len(texts):,} items"
    return _Functions("", step, reader.complete, texts, name, len(texts))


def grammar(text: str, items: Items = None, *, start: str = "start") -> Any:
    r"""Texts of a context-free grammar in lark's notation.

    Any grammar will do, also one that is ambiguous. A text is one of it if some way to cut it into
    terminals is, as with lark's lexer ``dynamic_complete``; the longest terminals, which lark takes
    by default, make another language of the same grammar. Exactly the beginnings of its texts get
    through, where the items are single characters.

    Parameters
    ----------
    text : str
        The grammar. Its terminals look at nothing around them, and none is empty.
    items : sequence of str, length V, or Vocabulary, optional
        Text of each item. Without, a constraint on texts.
    start : str, default "start"
        Rule of the whole.

    Raises
    ------
    ValueError
        The grammar is wrong, a terminal looks around, or no text of the items is one of it.

    References
    ----------
    Earley (1970), CACM 13. Aycock & Horspool (2002), The Computer Journal 45.

    Examples
    --------
    >>> sums = grammar('start: NUMBER ("+" NUMBER)*\nNUMBER: /[0-9]+/', list("19+"))
    >>> state = sums.start()
    >>> for item in (0, 1, 2):
    ...     state = sums.step(state, item)
    >>> sums.step(state, 2) is None, sums.complete(sums.step(state, 1))
    (True, True)
    """
    from .charts import Chart

    check.instance("text", text, str)
    check.instance("start", start, str)
    texts = items if items is None or isinstance(items, Vocabulary) else _texts(items)
    chart = Chart(text, _alphabet(texts), start)
    if not isinstance(texts, tuple):
        return _by_tokens(chart, texts, "grammar")
    return _of_reader(chart, texts, (text, texts, start))


def json_schema(
    schema: dict | bool,
    items: Items = None,
    *,
    formats: Sequence[str] = (),
    numbers: str = "any",
    spacing: str = "any",
) -> Any:
    """JSON texts that satisfy a schema; names within an object may not repeat.

    Followed from character to character: the nesting, the kinds of values, names of members,
    ``pattern``, ``enum`` and lengths of strings, numbers of members, the branches of ``anyOf``,
    ``oneOf`` and ``if`` side by side (up to 64), and numbers of an ``enum``; without an exponent
    also their bounds. So is ``not``, by what is left: kinds, texts, counts and bounds. A value is
    checked in full as soon as it ends, ``unevaluated...`` and what else a ``not`` may hold only
    there, so that at the end only its surroundings are left. Patterns are Python's.
    `constrained_sequences` leads particles to where a text can end in time.

    Parameters
    ----------
    schema : dict or bool
        JSON Schema, of the draft it names. What it refers to is within it; nothing is fetched.
    items : sequence of str, length V, or Vocabulary, optional
        Text of each item. Without, a constraint on texts.
    formats : sequence of str, optional
        Formats that strings must have, of "date", "date-time", "email", "ipv4", "time" and "uuid".
        By default ``format`` says nothing, as the standard has it.
    numbers : {"any", "plain"}, default "any"
        "plain": without an exponent, and values of an enumeration as they are spelled. So it is
        where the items have no e. Numbers too large for a float, as 1e400, are refused.
    spacing : {"any", "none"}, default "any"
        Whether blanks may stand between the parts of a value.

    Raises
    ------
    jsonschema.SchemaError
        The schema is none.
    ValueError
        A reference leads nowhere or in a circle, a pattern is none, the schema isn't JSON, or
        another argument is wrong.

    Examples
    --------
    >>> ages = json_schema({"type": "array", "items": {"minimum": 30}}, list("[]35,"))
    >>> state = ages.start()
    >>> for item in (0, 2):
    ...     state = ages.step(state, item)
    >>> ages.step(state, 4) is None, ages.complete(ages.step(ages.step(state, 3), 1))
    (True, True)
    """
    from .scalars import FORMATS
    from .schemas import JSONReader

    if not isinstance(schema, bool | dict):
        raise TypeError(f"schema: got {type(schema).__name__}; expected a dict or a bool")
    try:
        written = json.dumps(schema, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"schema: expected what JSON can say; {error}") from None
    listed = check.several("formats", formats, "names")
    formats = tuple(check.one_of("formats", one, tuple(FORMATS)) for one in listed)
    numbers = check.one_of("numbers", numbers, ("any", "plain"))
    spacing = check.one_of("spacing", spacing, ("any", "none"))
    texts = items if items is None or isinstance(items, Vocabulary) else _texts(items)
    reader = JSONReader(schema, _alphabet(texts), formats, numbers, spacing)
    if texts is not None and not reader.possible:
        raise ValueError(
            f"schema: got {check.shown(schema)}, but no text of these items is a value of it; "
            "expected items for one"
        )
    if not isinstance(texts, tuple):
        return _by_tokens(reader, texts, "schema")
    made_of = (written, texts, formats, numbers, spacing)
    return _of_reader(reader, texts, made_of)
