"""JSON under a schema, read character by character.

Where a value begins, a schema with ``anyOf``, ``oneOf``, ``if``, ``not``, or an enumeration of
objects and arrays, splits: one alternative for each branch, which follows that branch, or for each
way to fail what must not hold. What a text has said is the same in all alternatives; they differ in
the schemas that hold. The schema itself stays, and is checked in full where the value ends.
"""

from __future__ import annotations

import graphlib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import _compat
from .. import arguments as check
from ..errors import ModelError
from .least import Measure
from .opposites import KIND_OF, followed_not, opposites, pattern_of, refused
from .patterns import Pattern, code_points, together
from .scalars import DIGITS, ENDS, Followed, Needs, Numbers, decoded, fewest_spelled, unlike, within
from .vocabularies import DOUBT

SPACE = " \t\n\r"
SYNTAX = '{}[]:,"\\/+-.0123456789abcdefABCDEFrtulns' + SPACE  # what JSON itself tells apart
LITERALS = ("true", "false", "null")
CONTROLS = "".join(map(chr, range(0x20)))
ESCAPED = '"\\/bfnrtu0123456789abcdefABCDEF'
STARTS = {
    "object": "{",
    "array": "[",
    "string": '"',
    "boolean": "tf",
    "null": "n",
    "number": "-0123456789",
    "integer": "-0123456789",
}
KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
SIZED = {*ENDS, "multipleOf"}
COUNTS = ("minItems", "maxItems", "minProperties", "maxProperties")
# keywords that are followed to the letter
SURE = {"properties", "patternProperties", "additionalProperties", "required", *COUNTS}
SURE |= {"items", "prefixItems", "additionalItems", "minLength", "maxLength", "pattern"}
SURE |= {"type", "allOf", "anyOf", "$ref", "then", "else"}
FREE = 2  # nested frames
TOLD = 64  # members, or characters, up to which outlines count
DIGITS_TOLD = 8  # characters of a number
DIGITS_SURE = 150  # characters of a number that is surely finite without an exponent
# what says more of the same value
SAME = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
MOST = 64  # alternatives that a value splits into; beyond, it is checked where it ends
Schema = dict[str, Any] | bool
Schemas = tuple[Any, ...]


class Frame(NamedTuple):
    """An object or array that is open."""

    outer: Frame | None
    schemas: Schemas
    names: tuple[str, ...] | None  # None: an array
    values: tuple[Any, ...]


class State(NamedTuple):
    """Where a text stands, in one alternative.

    What may come: "value", "item" (a value or the end of an array), "name", "member" (a name or
    the end of an object), "colon", "next" (a comma or an end), "done". The token is a scalar or
    name that has begun, of a string the quote and an escape that isn't whole; the schemas are
    those of the value that comes or has begun.
    """

    frame: Frame | None
    expected: str
    token: str = ""
    schemas: Schemas = ()
    text: str = ""  # of a string
    half: str = ""  # of a character that takes two escapes
    watch: tuple = ()  # what is needed of a scalar, and how far it is


class Naming(NamedTuple):
    """Where a text stands in an open object that requires names."""

    place: tuple  # what tells the object
    required: tuple[str, ...]
    said: tuple[str, ...]  # names that are whole
    valued: bool  # whether the value of the last one is still to come, or to end
    ended: bool  # whether it has just ended


class JSONReader:
    """Steps from state to state, a tuple of alternatives; None where no valid text goes through."""

    def __init__(
        self,
        schema: Schema,
        characters: str | None,
        formats: Sequence[str] = (),
        numbers: str = "any",
        spacing: str = "any",
    ) -> None:
        jsonschema = _compat.optional("jsonschema", "language", "JSON schemas")
        from jsonschema_specifications import REGISTRY

        self._made_of = schema, characters, tuple(formats), numbers, spacing
        kind = jsonschema.validators.validator_for(schema)
        kind.check_schema(schema)
        _check_references(schema, kind, REGISTRY)
        known = [one for one in formats if one in kind.FORMAT_CHECKER.checkers]
        checker = jsonschema.FormatChecker(known) if known else None
        self._validator = kind(schema, registry=REGISTRY, format_checker=checker)
        self._root = schema
        self._keywords = {*kind.VALIDATORS, "then", "else"}
        self._spells = characters
        held = set("\\ueE" if characters is None else characters)
        if "\\" in held:
            held |= {decoded("\\" + c) or "" for c in held & set('"\\/bfnrt')}
        escaped = {"\\", "u"} <= held
        self._followed = Followed(None if escaped else "".join(sorted(held)), formats)
        plain = numbers == "plain" or not held & {"e", "E"}
        self._numbers = Numbers(plain, DIGITS if characters is None else held)
        self._space = SPACE if spacing == "any" else ""
        # before the draft of 2019 a reference stands for all of its schema
        self._alone = "unevaluatedItems" not in kind.VALIDATORS
        self._prefixed = "prefixItems" in kind.VALIDATORS
        # an identifier inside changes what references mean; then only the whole is checked
        self._inner = not _has_inner_identifier(schema, True)
        self._known: dict[tuple, Any] = {}
        # another one whenever a step depends on what `standing` leaves out
        self._doubt = object()
        # the last number that ended, what follows, and whether this is in doubt
        self._last: tuple[State | None, Sequence[State], bool] = None, (), False
        self._forgets = False

    def __getstate__(self) -> tuple:
        return self._made_of, self._forgets

    def __setstate__(self, state: tuple) -> None:
        made_of, forgets = state
        self.__init__(*made_of)  # type: ignore[misc]
        if forgets:
            self.__dict__.update(self.forgetful().__dict__)

    def __repr__(self) -> str:
        """The schema."""
        return f"json_schema({check.shown(self._root)})"

    def forgetful(self) -> JSONReader:
        """A reader of more texts and fewer states: objects forget what they hold.

        Of required names it asks only that an object isn't empty; values that hold others, and
        formats, are not checked where they end. It takes the states of this one, too.
        """
        new = object.__new__(JSONReader)
        new.__dict__.update(self.__dict__, _doubt=object(), _forgets=True)
        new._validator = self._validator.evolve(format_checker=None)
        return new

    def named(self, states: tuple[State, ...]) -> list[Naming] | None:
        """The open objects that require names, the outermost first.

        None where alternatives require different ones.
        """
        found: list[Naming] = []
        chains = [[*_frames(state.frame)] for state in states]
        for depth, frame in enumerate(chains[0]):
            among = [chain[depth] for chain in chains]
            required, *others = (self._required(one.schemas) for one in among)
            if any({*required} != {*other} for other in others):
                return None
            if frame.names is None or not required:
                continue
            inner = depth < len(chains[0]) - 1
            place = frozenset(self._around(one._replace(names=(), values=())) for one in among)
            valued = inner or _valued(states[0])
            ended = not inner and states[0].expected == "next"
            found.append(Naming((depth, place), required, frame.names, valued, ended))
        return found

    def _required(self, schemas: Schemas) -> tuple[str, ...]:
        said = self._said(schemas)
        names = (name for s in said for name in _strings(s.get("required")))
        return self._kept("required", schemas, lambda _: tuple(dict.fromkeys(names)))

    def fewest(self, measure: Measure) -> float:
        """A bound from below on the measure of a text, from that of what is due in any."""
        least: dict[tuple, float] = {}
        due: dict[tuple, Schemas] = {}

        def of(schemas: Schemas) -> float:
            key = tuple(map(id, self._all(schemas)))
            due.setdefault(key, schemas)
            return least.get(key, math.inf)

        # those of values within themselves come down to what they are
        before, root = None, (self._root,)
        of(root)
        while least != before:
            before = least.copy()
            for key, schemas in list(due.items()):
                least[key] = min(self._fewest_of(one, measure, of) for one in self._split(schemas))
        return of(root)

    def _fewest_of(
        self, schemas: Schemas, measure: Measure, of: Callable[[Schemas], float]
    ) -> float:
        """That of a value, by its kind, from those of what is inside."""
        starts = self._kept("starts", schemas, self._starts)
        each = [measure(word) for word in LITERALS if word[0] in starts]
        if not starts.isdisjoint(STARTS["number"]):
            each.append(measure(1))
        if '"' in starts:
            each.append(self._fewest_of_string(schemas, measure))
        if "[" in starts:
            size = min(self._least("minItems", schemas), TOLD)
            frames = (Frame(None, schemas, None, (None,) * k) for k in range(size))
            signs = measure(1) * (2 + max(size - 1, 0))
            each.append(signs + sum(of(self._of_item(frame)) for frame in frames))
        if "{" in starts:
            whole, names = Frame(None, schemas, (), ()), self._required(schemas)
            signs = measure(1) * (2 + max(2 * len(names) - 1, 0))
            values = (of(tuple(self._of_member(whole, name))) for name in names)
            each.append(signs + sum(map(partial(fewest_spelled, measure), names)) + sum(values))
        return min(each, default=math.inf)

    def _fewest_of_string(self, schemas: Schemas, measure: Measure) -> float:
        needs = self._kept("string", schemas, self._of_string)
        each = [measure(2 + self._least("minLength", schemas))]
        for need in needs.each:
            if not need.patterns:
                spelled = map(partial(fewest_spelled, measure), need.choices)
                each.append(min(spelled, default=math.inf))
        return max(each)

    def _least(self, name: str, schemas: Schemas) -> int:
        """The largest of a keyword's numbers, which JSON may write as 2.0."""
        return int(max((s.get(name, 0) for s in self._said(schemas)), default=0))

    def alike(self, characters: str) -> np.ndarray:
        """Numbers of characters, equal for those that no text of the schema tells apart."""
        points = code_points(characters)
        told = np.isin(points, [*map(ord, json.dumps(self._root, ensure_ascii=False) + SYNTAX)])
        classes = [np.where(told, points + 2, points < ord(" "))]
        classes += [one.alike(characters) + 1 for one in self._followed.every(self._root)]
        return together(classes, points.size)

    def start(self) -> tuple[State, ...]:
        """The state of the empty text."""
        return (State(None, "value", schemas=(self._root,)),)

    def complete(self, states: tuple[State, ...]) -> bool:
        """Whether the text is whole: a number on the outside ends with the text."""
        return any(
            s.expected == "done"
            or bool(s.frame is None and s.token[:1] not in ("", '"') and self._scalar(s))
            for s in states
        )

    @property
    def possible(self) -> bool:
        """Whether a value may begin, as far as its first character tells."""
        first = self.start()
        spelled = (c for c in "".join(STARTS.values()) if self._spells is None or c in self._spells)
        return any(self.further(first, c) is not None for c in spelled)

    def outline(self, states: tuple[State, ...]) -> frozenset:
        """What of the alternatives their ends depend on: no values, and of texts what is needed."""
        return frozenset(map(self._sketch, map(_forgotten, states) if self._forgets else states))

    def standing(self, states: tuple[State, ...]) -> frozenset:
        """What of the alternatives tells how the text may go on, but for what is doubtful."""
        return frozenset(map(self._stands, states))

    def told(self, states: tuple[State, ...], character: str) -> Any:
        """`further`, or DOUBT where that is not the same for all states of this standing."""
        before = self._doubt
        after = self.further(states, character)
        return after if self._doubt is before else DOUBT

    def tells(self, states: tuple[State, ...]) -> Sequence[str] | None:
        """Groups of characters that lead on alike, as all others do; None if not to be named."""
        each = [self._tells(state) for state in states]
        found = [group for groups in each for group in groups or ()]
        return None if None in each else found if len(each) == 1 else "".join(found)

    def _tells(self, state: State) -> Sequence[str] | None:
        token, expected = state.token, state.expected
        if token[:1] == '"':
            if len(token) > 1:
                return ESCAPED
            needs = state.watch[0]
            if state.half or any(need.patterns for need in needs.each):
                return None
            at, text = len(state.text), state.text
            begun = (c[at : at + 1] for c in self._choices(state) if c.startswith(text))
            return ['"', "\\", CONTROLS, *filter(None, begun)]
        if token[:1] in ("t", "f", "n"):
            return "".join(LITERALS)
        if token:
            whole, said = self._whole(state), self._said(state.schemas)
            free = whole is not None and 0 not in whole[1] and token.lstrip("-") != "0"
            free = free and len(state.watch[0].each) == 1
            free = free and not any("multipleOf" in s for s in said)
            return ["123456789" if free else "1", *DIGITS, *",]}", SPACE]
        if expected in ("value", "item"):
            ways = self._split(state.schemas)
            starts = (self._kept("starts", one, self._starts) for one in ways)
            return ["]", SPACE, *set().union(*starts)]
        return [*'"}:,]', SPACE]

    def further(self, states: tuple[State, ...], character: str) -> tuple[State, ...] | None:
        """The state after one character more."""
        if len(states) == 1:
            found = list(self._after(states[0], character))
        else:
            found = [new for one in states for new in self._after(one, character)]
        if len(found) > 1:
            # the text is the same; so are frames whose surroundings are
            found = list({_place(one): one for one in found}.values())
        if self._forgets:
            found = list(map(_forgotten, found))
        return tuple(found) or None

    def _after(self, state: State, character: str) -> Sequence[State]:
        frame, expected, token = state[:3]
        if token[:1] == '"':
            return self._in_string(state, character)
        if token:
            longer = token + character
            if token[0] in "tfn":
                if not any(word.startswith(longer) for word in LITERALS):
                    return ()
                state = state._replace(token=longer)
                return self._scalar(state) if longer in LITERALS else (state,)
            if character in "+-.0123456789Ee":
                return self._in_number(state, character)
            if character not in ",]}" + SPACE:
                return ()
            return [new for one in self._ended(state) for new in self._after(one, character)]
        if character in self._space:
            return (state,)
        if expected == "colon":
            return (state._replace(expected="value"),) if character == ":" else ()
        if expected in ("name", "member") and character == '"':
            assert frame is not None
            return self._quoted(state._replace(expected="name"), self._of_name(frame))
        if expected in ("value", "item") and character not in "]},:":
            ways = self._split(state.schemas)
            return [new for one in ways for new in self._opened(state, one, character)]
        if frame is None:
            return ()
        if expected == "next" and character == ",":
            return self._another(frame)
        end = "]" if frame.names is None else "}"
        if character == end and expected in ("next", "item", "member"):
            if self._forgets and expected == "member" and self._required(frame.schemas):
                return ()
            value: Any = list(frame.values)
            if frame.names is not None:
                value = dict(zip(frame.names, frame.values, strict=True))
            self._doubt_unless("array" if frame.names is None else "object", frame.schemas)
            return self._closed(frame.outer, frame.schemas, value)
        return ()

    def _opened(self, state: State, schemas: Schemas, character: str) -> Sequence[State]:
        frame = state.frame
        if character not in self._kept("starts", schemas, self._starts):
            return ()
        if character == "{":
            return (State(Frame(frame, schemas, (), ()), "member"),)
        if character == "[":
            inside = Frame(frame, schemas, None, ())
            return (State(inside, "item", schemas=self._of_item(inside)),)
        opened = State(frame, "value", schemas=schemas)
        if character == '"':
            return self._quoted(opened, self._kept("string", schemas, self._of_string))
        if character in "tfn":
            return (opened._replace(token=character),)
        needs, bounds = self._kept("number", schemas, lambda s: self._numbers.needs(self._said(s)))
        begun = needs.begun()
        return (
            ()
            if begun is None
            else self._in_number(opened._replace(watch=(needs, begun, bounds)), character)
        )

    def _another(self, frame: Frame) -> Sequence[State]:
        limit = "maxItems" if frame.names is None else "maxProperties"
        said = self._said(frame.schemas)
        if any(len(frame.values) >= s.get(limit, math.inf) for s in said):
            return ()
        if frame.names is None:
            following = self._of_item(frame)
            return () if False in following else (State(frame, "value", schemas=following),)
        return () if self._of_name(frame).begun() is None else (State(frame, "name"),)

    # what is said of states

    def _stands(self, state: State) -> tuple:
        frame, expected, token, schemas, text, half = state[:6]
        place = (self._surely_around(frame), expected, *map(id, schemas))
        if not token or token[0] in "tfn":
            return place, token
        needs, states = state.watch[:2]
        if token[0] != '"':
            return place, states, None if _any_digits(state) else self._whole(state) or token
        longest = self._all_sizes(schemas)[2]
        longest = max(longest, needs.most + 1 if needs.most < math.inf else 0)
        return place, token, half, states, min(len(text), longest), self._named_so(state)

    def _surely_around(self, frame: Frame | None) -> tuple | None:
        """Open frames without values, and of names only those that the schemas speak of."""
        if frame is None:
            return None
        names, members, _ = self._all_sizes(frame.schemas)
        size, seen = min(len(frame.values), members), None
        if frame.names is not None:
            known = names.intersection(frame.names)
            seen = known, len(known) < len(frame.names)
        return self._surely_around(frame.outer), seen, size, *map(id, frame.schemas)

    def _whole(self, state: State) -> tuple | None:
        """Of a whole number how long it is and where beside its ends, if that says all."""
        token, ends = state.token, self._kept("ends", state.schemas, self._ends)
        digits = token.lstrip("-")
        if state.watch[2][2] > 1 or not digits.isdecimal() or len(token) >= DIGITS_SURE:
            return None
        longest = max(map(len, ends), default=-1) + 1
        return min(len(digits), longest), _beside(token, ends), bool(ends) and token[0] == "-"

    def _ends(self, schemas: Schemas) -> list[str]:
        """Digits of the ends between which a number lies, before the point."""
        ends = [s[k] for s in self._said(schemas) for k in ENDS if type(s.get(k)) in (int, float)]
        return [str(abs(int(end))) for end in ends if abs(end) < math.inf]

    def _named_so(self, state: State) -> str | None:
        """The text of a string, if something that is named begins so."""
        text = state.text
        return text if any(choice.startswith(text) for choice in self._choices(state)) else None

    def _choices(self, state: State) -> Iterator[str]:
        """What is named that a string may be."""
        if state.expected != "value":
            assert state.frame is not None
            yield from self._all_sizes(state.frame.schemas)[0]
        for need in state.watch[0].each:
            yield from need.choices

    def _doubt_unless(self, kind: str, schemas: Schemas) -> None:
        """Doubt what a value's end depends on, unless its schemas are followed to the letter."""
        if not self._kept(f"sure {kind}", schemas, partial(self._to_the_letter, kind)):
            self._doubt = object()

    def _to_the_letter(self, kind: str, schemas: Schemas) -> bool:
        """Whether a value that was followed to its end satisfies the schemas."""
        sure, bounded = SURE, kind == "bounded"
        if kind == "string":
            sure = SURE | {"enum", "const", "not"}
        elif bounded:
            sure, kind = SURE | {*ENDS}, "number"
        # the third draft says of members whether they are required
        if not self._inner or "disallow" in self._keywords:
            return False
        for s in self._said(schemas):
            patterns = [s["pattern"]] if kind == "string" and "pattern" in s else []
            other = followed_not(s)
            patterns += [pattern_of(*other)] if other is not None else []
            kinds = s.get("type", [])
            if (
                any(k not in sure and KIND_OF.get(k, kind) == kind for k in s)
                or ("not" in s and (other is None or other[0] not in self._keywords))
                or ("$ref" in s and self._referred(s["$ref"]) is None)
                or ("anyOf" in s and not any(a is b for a in s["anyOf"] for b in schemas))
                or any(self._followed.search(pattern) is None for pattern in patterns)
                or (
                    kind == "number"
                    and not bounded
                    and "integer" in kinds
                    and "number" not in kinds
                )
            ):
                return False
        return True

    def _sketch(self, state: State) -> tuple:
        frame, expected, token, schemas, text = state[:5]
        place = (self._around(frame), expected, *map(id, schemas))
        if not token or token[0] in "tfn":
            return place, token
        needs, states = state.watch[:2]
        if token[0] != '"':
            return place, states, self._of_digits(token, schemas)
        names, _, longest = self._kept("sizes", schemas, partial(self._sizes, TOLD))
        if expected != "value":
            assert frame is not None
            names = self._kept("sizes", frame.schemas, partial(self._sizes, TOLD))[0]
        choices = {*names, *(choice for need in needs.each for choice in need.choices)}
        begun = text if any(choice.startswith(text) for choice in choices) else None
        return place, len(token) > 1, min(len(text), longest), states, begun

    def _around(self, frame: Frame | None) -> tuple | None:
        """Open frames without what they hold; those that take any value by their number."""
        free, kind = 0, frame and frame.names is None
        while frame is not None and all(s in (True, {}) for s in frame.schemas):
            frame, free = frame.outer, free + 1
        if free:
            return min(free, FREE), kind, self._around(frame)
        if frame is None:
            return None
        names, members, _ = self._kept("sizes", frame.schemas, partial(self._sizes, TOLD))
        seen = None if frame.names is None else names.intersection(frame.names)
        size = min(len(frame.values), members)
        return self._around(frame.outer), seen, size, *map(id, frame.schemas)

    def _of_digits(self, token: str, schemas: Schemas) -> tuple:
        """The beginning of a number, how long it is, and whether it will do, if that counts."""
        said = self._said(schemas)
        sized = any(s.keys() & SIZED for s in said)
        if not (sized or any(s.get("type") == "integer" for s in said)):
            return ()
        # what stands before an exponent tells whether this can make it fit
        head, ends = re.split("[eE]", token)[0], self._kept("ends", schemas, self._ends)
        told = min(len(head), DIGITS_TOLD) if sized else 0, head[-1:] == "0", _beside(head, ends)
        try:
            value = json.loads(token)
        except ValueError:
            return *told, False
        return *told, all(self._accepts(s, value) for s in schemas)

    def _all_sizes(self, schemas: Schemas) -> tuple[frozenset, int, int]:
        return self._kept("all sizes", schemas, partial(self._sizes, math.inf))

    def _sizes(self, most: float, schemas: Schemas) -> tuple[frozenset, int, int]:
        """Names that schemas speak of, and up to where they count members and characters."""
        names: set[str] = set()
        members, longest = 0, 0
        for s in self._said(schemas):
            names |= {*s.get("properties", {}), *_strings(s.get("required"))}
            first = s.get("prefixItems", s.get("items"))
            counts = [s[k] for k in COUNTS if k in s]
            counts += [len(first)] if isinstance(first, list) else []
            members = max([members, *(int(c) for c in counts if c <= most)])
            lengths = (s.get("minLength", 0), s.get("maxLength", -1) + 1)
            longest = max([longest, *(int(c) for c in lengths if c <= most)])
        return frozenset(names), members, longest

    # scalars

    def _in_number(self, state: State, character: str) -> Sequence[State]:
        needs, states, bounds = state.watch
        token = state.token + character
        states = needs.further(token, states, character)
        if states is None or not within(token, *bounds):
            return ()
        if character in "eE" and _any_digits(state):
            self._doubt = object()
        return (state._replace(token=token, watch=(needs, states, bounds)),)

    def _quoted(self, state: State, needs: Needs) -> Sequence[State]:
        begun = needs.begun()
        return () if begun is None else (state._replace(token='"', watch=(needs, begun)),)

    def _in_string(self, state: State, character: str) -> Sequence[State]:
        frame, expected, token, schemas, text, half, (needs, states) = state
        escape = token[1:]
        if not escape and not half and " " <= character < "\ud800" and character not in '"\\':
            text += character
            states = needs.further(text, states, character)
            new = State(frame, expected, token, schemas, text, half, (needs, states))
            return () if states is None else (new,)
        if not escape and character == '"':
            whole = self._read(state, "")
            if whole is None or not needs.met(whole.text, whole.watch[1]):
                return ()
            return self._scalar(whole) if whole.expected == "value" else self._named(whole)
        if not escape and ord(character) < 0x20:
            return ()
        said = character if not escape and character != "\\" else decoded(escape + character)
        if said is None:
            return ()
        if said:
            read = self._read(state._replace(token='"'), said)
        else:
            read = state._replace(token=token + character)
        return () if read is None or not self._spelled(read) else (read,)

    def _spelled(self, state: State) -> bool:
        """Whether what an escape has begun may become a character that goes on with the string."""
        token, text, half, (needs, states) = state.token, *state[4:]
        if len(token) == 1 and not half:
            return True
        if not needs.each:
            return len(text) < needs.most
        low, high = (int(token[3:].ljust(4, digit), 16) for digit in "0f")
        if half:
            whole = _halves(ord(half), ord(half), max(low, 0xDC00), min(high, 0xDFFF))
            if self._may(needs, text, states, whole):
                return True
            text += half
            states = needs.further(text, states, half)
            if states is None or len(token) == 1:
                return states is not None
        whole = _halves(max(low, 0xD800), min(high, 0xDBFF), 0xDC00, 0xDFFF)
        return any(self._may(needs, text, states, one) for one in (range(low, high + 1), whole))

    def _may(self, needs: Needs, text: str, states: tuple, span: range) -> bool:
        def examples(patterns: tuple[Pattern, ...]) -> list[str]:
            return self._kept(f"unlike {span}", patterns, partial(unlike, span=span))

        return needs.may(text, states, span, examples)

    def _read(self, state: State, character: str) -> State | None:
        """The string with a character more; two halves make one."""
        if state.half and "\udc00" <= character <= "\udfff":
            pair = (state.half + character).encode("utf-16", "surrogatepass")
            state, character = state._replace(half=""), pair.decode("utf-16")
        pieces = state.half + character
        state = state._replace(half="")
        if "\ud800" <= character <= "\udbff":
            pieces, state = pieces[:-1], state._replace(half=character)
        needs, states = state.watch
        text = state.text
        for piece in pieces:
            text += piece
            states = needs.further(text, states, piece)
            if states is None:
                return None
        return state._replace(text=text, watch=(needs, states))

    def _named(self, state: State) -> Sequence[State]:
        frame, name = state.frame, state.text
        assert frame is not None and frame.names is not None
        names = self._all_sizes(frame.schemas)[0]
        if name not in names and (
            not names.issuperset(frame.names)
            or any("patternProperties" in s for s in self._said(frame.schemas))
        ):
            self._doubt = object()
        if name in frame.names:
            return ()
        schemas = tuple(self._of_member(frame, name))
        if False in self._all(schemas):
            return ()
        return (State(frame._replace(names=(*frame.names, name)), "colon", schemas=schemas),)

    def _scalar(self, state: State) -> Sequence[State]:
        value: Any = state.text
        if state.token[0] != '"':
            try:
                value = json.loads(state.token)
            except ValueError:
                return ()
            if isinstance(value, float) and not math.isfinite(value):
                return ()
            if state.watch and not state.watch[0].met(state.token, state.watch[1]):
                return ()
            if state.watch and state.watch[2][2] <= 1:
                kind = "number" if _any_digits(state) else "bounded"
                self._doubt_unless(kind, state.schemas)
        elif self._named_so(state) is None:
            self._doubt_unless("string", state.schemas)
        return self._closed(state.frame, state.schemas, value)

    def _ended(self, state: State) -> Sequence[State]:
        """After a number, whichever character ends it."""
        last = self._last
        if last[0] is not state:
            before = self._doubt
            found = self._scalar(state)
            last = self._last = state, found, self._doubt is not before
        elif last[2]:
            self._doubt = object()
        return last[1]

    def _closed(self, frame: Frame | None, schemas: Schemas, value: object) -> Sequence[State]:
        checked = schemas if self._inner else ()
        if frame is None:
            checked = (*checked, self._root)
        if not all(self._accepts(s, value) for s in checked):
            return ()
        if frame is None:
            return (State(None, "done"),)
        return (State(frame._replace(values=(*frame.values, value)), "next"),)

    def _accepts(self, schema: Schema, value: object) -> bool:
        if schema is True or schema == {}:
            return True
        if self._forgets and isinstance(value, dict | list):
            least = max((s.get("minItems", 0) for s in self._said((schema,))), default=0)
            return isinstance(value, dict) or len(value) >= least
        what = "checker of a sketch" if self._forgets else "checker"
        checker = self._kept(what, (schema,), lambda s: self._validator.evolve(schema=s[0]))
        try:
            return bool(checker.is_valid(value))
        except RecursionError:
            raise ModelError(
                "constraint: a value of the JSON text is nested too deeply for package jsonschema "
                "to check it"
            ) from None

    # what schemas say

    def _kept(self, what: str, schemas: Schemas, make: Any) -> Any:
        """What follows from the schemas, made once; they are kept, and so their addresses."""
        key = (what, *map(id, schemas))
        if key not in self._known:
            self._known[key] = (schemas, make(schemas))
        return self._known[key][1]

    def _said(self, schemas: Schemas) -> list[dict]:
        """The keywords of the schemas that their draft knows."""
        return self._kept("said", schemas, self._known_keywords)

    def _known_keywords(self, schemas: Schemas) -> list[dict]:
        dicts = [s for s in schemas if isinstance(s, dict)]
        return [{k: v for k, v in s.items() if k in self._keywords} for s in dicts]

    def _of_string(self, schemas: Schemas) -> Needs:
        return self._followed.of_value(self._said(schemas))

    def _of_name(self, frame: Frame) -> Needs:
        said = self._said(frame.schemas)
        needs = self._followed.of_name(said, frame.names or ())
        inner = self._all(tuple(s["propertyNames"] for s in said if "propertyNames" in s))
        if False in inner:
            return Needs((), -1)
        more = self._kept("string", inner, self._of_string)
        return Needs(needs.each + more.each, more.most)

    def _of_member(self, frame: Frame, name: str) -> Iterator[Any]:
        for s in self._said(frame.schemas):
            other = True
            if name in s.get("properties", {}):
                other = False
                yield s["properties"][name]
            for pattern, inner in s.get("patternProperties", {}).items():
                if re.search(pattern, name):
                    other = False
                    yield inner
            if other and "additionalProperties" in s:
                yield s["additionalProperties"]

    def _of_item(self, frame: Frame) -> Schemas:
        found, at = [], len(frame.values)
        for s in self._said(frame.schemas):
            first, rest = s.get("prefixItems"), s.get("items")
            if isinstance(rest, list):
                first, rest = rest, s.get("additionalItems")
            if first is not None and at < len(first):
                found.append(first[at])
            elif rest is not None:
                found.append(rest)
        return self._all(tuple(found))

    def _all(self, schemas: Schemas) -> Schemas:
        """The schemas with all that they include whatever the value is."""
        return self._kept("all", schemas, self._included) if self._inner else ()

    def _included(self, schemas: Schemas) -> Schemas:
        found: list[Any] = []
        seen: list[Any] = []
        pending = list(schemas)
        while pending:
            s = pending.pop()
            if any(s is other for other in seen):
                continue
            seen.append(s)
            if not isinstance(s, dict):
                found.append(s)
                continue
            target = self._referred(s.get("$ref"))
            if target is not None:
                pending.append(target)
            if self._alone and "$ref" in s:
                found.append(s if len(s) == 1 else {"$ref": s["$ref"]})
            else:
                found.append(s)
                pending += s.get("allOf", [])
        return tuple(found)

    def _split(self, schemas: Schemas) -> list[Schemas]:
        """The schemas joined to each way through their branches."""
        return self._kept("split", self._all(schemas), self._ways)

    def _ways(self, schemas: Schemas) -> list[Schemas]:
        return self._through(schemas, True) or self._through(schemas, False) or [schemas]

    def _through(self, schemas: Schemas, nots: bool) -> list[Schemas]:
        """All ways, through opposites if asked; none where they are too many."""
        done: list[Schemas] = []
        pending: list[tuple[Schemas, frozenset]] = [(schemas, frozenset())]
        while pending:
            now, taken = pending.pop()
            due = (
                (key, branches)
                for s in now
                if isinstance(s, dict)
                for key, branches in self._branches(s)
                if key not in taken and (nots or key[1] != "not")
            )
            key, branches = next(due, (None, []))
            if key is None:
                done.append(now)
            else:
                pending += [(self._all(now + one), taken | {key}) for one in branches]
            if len(done) + len(pending) > MOST:
                return []
        return done or [(*schemas, False)]

    def _branches(self, schema: dict) -> Iterator[tuple[tuple, list[Schemas]]]:
        (said,) = self._said((schema,))
        for name in ("anyOf", "oneOf"):
            if name in said:
                yield (id(schema), name), [(one,) for one in said[name]]
        if "if" in said and said.keys() & {"then", "else"}:
            yes = (said["if"], said.get("then", True))
            yield (id(schema), "if"), [yes, (said.get("else", True),)]
        if "not" in said and followed_not(said) is None:
            inner = said["not"]
            ways = self._kept("opposites", (inner,), self._opposites)
            yield (id(schema), "not"), [(one,) for one in ways]
        listed = _listed(said)
        inner = [c for c in listed if isinstance(c, dict | list)]
        if inner:
            others = {"enum": [c for c in listed if not isinstance(c, dict | list)]}
            ways = [*map(self._exactly, inner), others]
            ways = self._kept("exactly", (schema,), lambda _: ways)
            yield (id(schema), "enum"), [(one,) for one in ways]

    def _opposites(self, schemas: Schemas) -> list[Any]:
        def said(schema: dict) -> dict:
            alone = self._alone and "$ref" in schema
            (known,) = self._known_keywords(({"$ref": schema["$ref"]} if alone else schema,))
            return known

        return opposites(schemas[0], said, self._referred)

    def _exactly(self, value: Any) -> dict:
        """A schema that says the same as an enumeration of one value."""
        if isinstance(value, dict):
            members = {k: self._exactly(v) for k, v in value.items()}
            closed = {"type": "object", "required": list(value), "additionalProperties": False}
            return closed | {"properties": members}
        if isinstance(value, list):
            first = "prefixItems" if self._prefixed else "items"
            size = len(value)
            items = {first: [self._exactly(v) for v in value]} if value else {}
            return {"type": "array", **items, "minItems": size, "maxItems": size}
        return {"enum": [value]}

    def _starts(self, schemas: Schemas) -> set[str]:
        """Characters that a value of the schemas may begin with."""
        found = set("".join(STARTS.values()))
        if any(s is False for s in schemas):
            return set()
        for s in self._said(schemas):
            given = s.get("type", list(STARTS))
            given = [given] if isinstance(given, str) else given
            # the third draft has schemas and "any" there
            kinds = set(given if all(isinstance(k, str) and k in STARTS for k in given) else STARTS)
            if "enum" in s or "const" in s:
                of = {KINDS.get(type(c), "number") for c in _listed(s)}
                kinds = {k for k in kinds if k in of or (k == "integer" and "number" in of)}
            other = followed_not(s)
            kinds &= {"string"} if other is not None and other[0] == "pattern" else kinds
            found &= set("".join(STARTS[k] for k in kinds))
            if other is not None:
                found -= {json.dumps(one)[0] for one in refused(*other)}
        return found.difference(*(STARTS[kind] for kind in self._empty(schemas)))

    def _empty(self, schemas: Schemas) -> Iterator[str]:
        """Kinds of values of which no one is as large, or has such members, as the schemas ask."""
        said, whole = self._said(schemas), Frame(None, schemas, (), ())
        for kind, what in (("string", "Length"), ("array", "Items"), ("object", "Properties")):
            least = max((s.get(f"min{what}", 0) for s in said), default=0)
            if least > min((s.get(f"max{what}", math.inf) for s in said), default=math.inf):
                yield kind
        if any(
            False in self._all(tuple(self._of_member(whole, name)))
            for s in said
            for name in _strings(s.get("required"))
        ):
            yield "object"

    def _referred(self, reference: object) -> Any:
        """What a reference within the schema points to; None for others."""
        if not isinstance(reference, str) or not (reference == "#" or reference[:2] == "#/"):
            return None
        there = self._root
        for part in reference.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(there, dict) and part in there:
                there = there[part]
            elif isinstance(there, list) and part.isdecimal() and int(part) < len(there):
                there = there[int(part)]
            else:
                return None
        return there


def _any_digits(state: State) -> bool:
    """Whether a number may go on in the same way whatever its digits are."""
    (low, high, step), token = state.watch[2], state.token
    whole = token.partition(".")[0]
    above = low == -math.inf or (whole.isdecimal() and int(whole) >= low)
    short = len(token) < DIGITS_SURE and not {*token} & {*"eE"}
    return bool(above and high == math.inf and step <= 1 and short)


def _halves(first: int, last: int, low: int, high: int) -> range:
    """Characters of two halves, the first from one to another, the second of the last one too."""
    start = 0x10000 + ((first - 0xD800) << 10) + low - 0xDC00
    return range(start, 0x10001 + ((last - 0xD800) << 10) + high - 0xDC00)


def _frames(frame: Frame | None) -> list[Frame]:
    """A frame and all around it, the outermost first."""
    return [] if frame is None else [*_frames(frame.outer), frame]


def _valued(state: State) -> bool:
    """Whether the last name of the object around still waits for the end of its value."""
    return state.expected not in ("name", "member", "next")


def _forgotten(state: State) -> State:
    """The state without what objects hold, but for the names of values that aren't whole."""
    frame = _without_members(state.frame, _valued(state))
    return state if frame is state.frame else state._replace(frame=frame)


def _without_members(frame: Frame | None, valued: bool) -> Frame | None:
    if frame is None:
        return None
    outer = _without_members(frame.outer, True)
    if frame.names is not None:
        names = frame.names[-1:] if valued else ()
        if outer is frame.outer and len(names) == len(frame.names) and not frame.values:
            return frame
        return Frame(outer, frame.schemas, names, ())
    return frame if outer is frame.outer else frame._replace(outer=outer)


def _place(state: State) -> tuple:
    """What tells alternatives apart; the text is the same."""
    frame = state.frame
    around = frame and (id(frame.outer), *map(id, frame.schemas))
    return state.expected, around, *map(id, state.schemas)


def _strings(given: object) -> list[str]:
    """Those of a list; the fourth draft's booleans have none."""
    return [one for one in given if isinstance(one, str)] if isinstance(given, list) else []


def _beside(number: str, ends: list[str]) -> tuple[int, ...]:
    """Whether its digits before the point are below, among or above the first ones of the ends."""
    digits = number.lstrip("-").partition(".")[0]
    first = [end[: len(digits)] for end in ends]
    return tuple((digits > one) - (digits < one) for one in first)


def _listed(said: dict) -> list:
    """Values of an enumeration."""
    return [*said.get("enum", []), *([said["const"]] if "const" in said else [])]


def _has_inner_identifier(schema: object, outermost: bool) -> bool:
    if isinstance(schema, dict):
        named = not outermost and any(isinstance(schema.get(k), str) for k in ("$id", "id"))
        return named or any(_has_inner_identifier(s, False) for s in schema.values())
    return isinstance(schema, list) and any(_has_inner_identifier(s, False) for s in schema)


def _check_references(schema: Schema, kind: Any, registry: Any) -> None:
    """Refuse references that lead nowhere, and patterns that are none; nothing is fetched."""
    import referencing.exceptions
    from referencing.jsonschema import specification_with

    specification = specification_with(kind.META_SCHEMA.get("$schema", ""))
    resource = specification.create_resource(schema)
    resolver = registry.resolver_with_root(resource)
    pending, alone = [(resource, resolver)], "unevaluatedItems" not in kind.VALIDATORS
    leads: dict[int, list[int]] = {}  # from schemas to those of the same value, by address
    named: dict[int, str] = {}
    while pending:
        resource, resolver = pending.pop()
        resolver = resolver.in_subresource(resource)
        said = resource.contents if isinstance(resource.contents, dict) else {}
        leads[id(said)] = [] if alone and "$ref" in said else _of_same_value(said)
        for key in ("$ref", "$dynamicRef", "$recursiveRef"):
            if key in kind.VALIDATORS and isinstance(said.get(key), str):
                try:
                    found = resolver.lookup(said[key]).contents
                    if key == "$ref":
                        leads[id(said)].append(id(found))
                        named[id(said)] = said[key]
                except referencing.exceptions.Unresolvable as error:
                    raise ValueError(
                        f"schema: the reference {said[key]!r} leads nowhere; expected one within "
                        "the schema (nothing is fetched)"
                    ) from error
        for pattern in (*said.get("patternProperties", {}), said.get("pattern", "")):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"schema: {pattern!r} is no pattern of Python: {error}") from error
        pending += [(sub, resolver) for sub in resource.subresources()]
    try:
        graphlib.TopologicalSorter(leads).prepare()
    except graphlib.CycleError as error:
        name = next(named[one] for one in error.args[1] if one in named)
        raise ValueError(
            f"schema: the reference {name!r} leads in a circle back to the same value; expected "
            "it to lead further inside"
        ) from None


def _of_same_value(said: dict) -> list[int]:
    """Addresses of the schemas inside that say more of the same value."""
    found: list[object] = []
    for key in SAME:
        inner = said.get(key)
        if key.startswith("dependen"):
            found += inner.values() if isinstance(inner, dict) else []
        else:
            found += inner if isinstance(inner, list) else [inner]
    return [id(one) for one in found if isinstance(one, dict)]
