"""JSON under a schema, read character by character."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from .patterns import Pattern

NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
SPACE = " \t\n\r"
LITERALS = ("true", "false", "null")
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
Schema = dict[str, Any] | bool
Schemas = tuple[Any, ...]


class Frame(NamedTuple):
    """An object or array that is open."""

    outer: Frame | None
    schemas: Schemas
    names: tuple[str, ...] | None  # None: an array
    values: tuple[Any, ...]


class State(NamedTuple):
    """Where a text stands.

    What may come: "value", "item" (a value or the end of an array), "name", "member" (a name or
    the end of an object), "colon", "next" (a comma or an end), "done". The token is a scalar or
    name that has begun; the schemas are those of the value that comes or has begun.
    """

    frame: Frame | None
    expected: str
    token: str
    schemas: Schemas
    escaped: int  # characters of an escape still to come


class JSONReader:
    """Steps from state to state; a state that no valid text goes through is None."""

    def __init__(self, schema: Schema) -> None:
        import jsonschema

        kind = jsonschema.validators.validator_for(schema)
        kind.check_schema(schema)
        self._validator = kind(schema)
        self._root = schema
        self._checkers: dict[int, tuple[Any, Any]] = {}
        self._number = Pattern(NUMBER, "+-.0123456789Ee")
        # before the draft of 2019 a reference stands for all of its schema
        self._alone = "unevaluatedItems" not in kind.VALIDATORS
        self._prefixed = "prefixItems" in kind.VALIDATORS
        # an identifier inside changes what references mean; then only the whole is checked
        self._inner = not _has_inner_identifier(schema, True)

    def start(self) -> State:
        """The state of the empty text."""
        return State(None, "value", "", self._all((self._root,)), 0)

    def complete(self, state: State) -> bool:
        """Whether the text is whole: a number on the outside ends with the text."""
        if state.expected == "value" and state.token and state.frame is None:
            return self._scalar(state) is not None
        return state.expected == "done"

    def further(self, state: State, character: str) -> State | None:
        """The state after one character more."""
        frame, expected, token = state[:3]
        if token[:1] == '"':
            return self._in_string(state, character)
        if token:
            longer = token + character
            if token[0] in "tfn":
                if not any(word.startswith(longer) for word in LITERALS):
                    return None
                state = state._replace(token=longer)
                return self._scalar(state) if longer in LITERALS else state
            if self._number.reads(longer, partial=True):
                return state._replace(token=longer)
            closed = self._scalar(state)
            return None if closed is None else self.further(closed, character)
        if character in SPACE:
            return state
        if expected == "colon":
            return state._replace(expected="value") if character == ":" else None
        if expected in ("name", "member") and character == '"':
            return state._replace(expected="name", token='"')
        if expected in ("value", "item") and character not in "]},:":
            return self._opened(state, character)
        if frame is None:
            return None
        if expected == "next" and character == ",":
            return self._another(frame)
        end = "]" if frame.names is None else "}"
        if character == end and expected in ("next", "item", "member"):
            value: Any = list(frame.values)
            if frame.names is not None:
                value = dict(zip(frame.names, frame.values, strict=True))
            return self._closed(frame.outer, frame.schemas, value)
        return None

    def _opened(self, state: State, character: str) -> State | None:
        frame, _, _, schemas, _ = state
        if not all(character in starts for starts in map(_starts, schemas)):
            return None
        if character == "{":
            return State(Frame(frame, schemas, (), ()), "member", "", (), 0)
        if character == "[":
            inside = Frame(frame, schemas, None, ())
            return State(inside, "item", "", self._of_item(inside), 0)
        if character in '"-0123456789tfn':
            return State(frame, "value", character, schemas, 0)
        return None

    def _another(self, frame: Frame) -> State | None:
        limit = "maxItems" if frame.names is None else "maxProperties"
        if any(len(frame.values) >= s.get(limit, math.inf) for s in _dicts(frame.schemas)):
            return None
        if frame.names is None:
            return State(frame, "value", "", self._of_item(frame), 0)
        return State(frame, "name", "", (), 0)

    def _in_string(self, state: State, character: str) -> State | None:
        if ord(character) < 0x20:
            return None
        escaped = state.escaped
        if escaped == 1 and state.token[-1] == "\\" and character == "u":
            escaped = 4
        elif escaped == 1 and state.token[-1] == "\\":
            if character not in '"\\/bfnrt':
                return None
            escaped = 0
        elif escaped:
            if character not in "0123456789abcdefABCDEF":
                return None
            escaped -= 1
        elif character == "\\":
            escaped = 1
        elif character == '"':
            state = state._replace(token=state.token + character)
            return self._scalar(state) if state.expected == "value" else self._named(state)
        state = state._replace(token=state.token + character, escaped=escaped)
        return state if escaped or self._string_may_grow(state) else None

    def _string_may_grow(self, state: State) -> bool:
        name = state.expected == "name"
        frame = state.frame
        schemas = frame.schemas if name and frame is not None else state.schemas
        closed = [s for s in _dicts(schemas) if _names_are_closed(s)] if name else []
        limited = (
            []
            if name
            else [s for s in _dicts(schemas) if s.keys() & {"enum", "const", "maxLength"}]
        )
        if not (closed or limited):
            return True
        text = json.loads(state.token + '"')
        if text and 0xD800 <= ord(text[-1]) < 0xDC00:
            return True  # half of a character
        for s in closed:
            if not any(key.startswith(text) for key in s.get("properties", {})):
                return False
        for s in limited:
            if len(text) > s.get("maxLength", math.inf):
                return False
            choices = [*s.get("enum", []), *([s["const"]] if "const" in s else [])]
            if choices and not any(isinstance(c, str) and c.startswith(text) for c in choices):
                return False
        return True

    def _named(self, state: State) -> State | None:
        frame, name = state.frame, json.loads(state.token)
        assert frame is not None and frame.names is not None
        if name in frame.names:
            return None
        schemas = self._all(tuple(self._of_member(frame, name)))
        if False in schemas:
            return None
        return State(frame._replace(names=(*frame.names, name)), "colon", "", schemas, 0)

    def _scalar(self, state: State) -> State | None:
        try:
            value = json.loads(state.token)
        except ValueError:
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return self._closed(state.frame, state.schemas, value)

    def _closed(self, frame: Frame | None, schemas: Schemas, value: object) -> State | None:
        checked = schemas if self._inner else ()
        if frame is None:
            checked = (self._root,)
        if not all(self._accepts(s, value) for s in checked):
            return None
        if frame is None:
            return State(None, "done", "", (), 0)
        return State(frame._replace(values=(*frame.values, value)), "next", "", (), 0)

    def _accepts(self, schema: Schema, value: object) -> bool:
        if schema is True or schema == {}:
            return True
        # the schema is kept beside its checker, so that no other one can have its address
        known = self._checkers.get(id(schema))
        if known is None:
            known = self._checkers[id(schema)] = (schema, self._validator.evolve(schema=schema))
        return bool(known[1].is_valid(value))

    def _of_member(self, frame: Frame, name: str) -> Iterator[Any]:
        for s in _dicts(frame.schemas):
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
        for s in _dicts(frame.schemas):
            first, rest = s.get("prefixItems") if self._prefixed else None, s.get("items")
            if isinstance(rest, list):
                first, rest = rest, s.get("additionalItems")
            if first is not None and at < len(first):
                found.append(first[at])
            elif rest is not None:
                found.append(rest)
        return self._all(tuple(found))

    def _all(self, schemas: Schemas) -> Schemas:
        """The schemas with all that they include whatever the value is."""
        found: list[Any] = []
        seen: list[Any] = []
        pending = list(schemas) if self._inner else []
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


def _dicts(schemas: Schemas) -> Iterator[dict]:
    return (s for s in schemas if isinstance(s, dict))


def _names_are_closed(schema: dict) -> bool:
    return schema.get("additionalProperties") is False and not schema.get("patternProperties")


def _starts(schema: Schema) -> str:
    """Characters that a value of the schema may begin with."""
    if not isinstance(schema, dict):
        return "".join(STARTS.values()) if schema else ""
    kinds = set(STARTS)
    given = schema.get("type", list(STARTS))
    given = [given] if isinstance(given, str) else given
    # the third draft has schemas and "any" there
    if all(isinstance(k, str) and k in STARTS for k in given):
        kinds = set(given)
    choices = [*schema.get("enum", []), *([schema["const"]] if "const" in schema else [])]
    if choices:
        of = {KINDS.get(type(c), "number") for c in choices}
        kinds = {k for k in kinds if k in of or (k == "integer" and "number" in of)}
    return "".join(STARTS.get(k, "") for k in kinds)


def _has_inner_identifier(schema: object, outermost: bool) -> bool:
    if isinstance(schema, dict):
        named = not outermost and any(isinstance(schema.get(k), str) for k in ("$id", "id"))
        return named or any(_has_inner_identifier(s, False) for s in schema.values())
    return isinstance(schema, list) and any(_has_inner_identifier(s, False) for s in schema)
