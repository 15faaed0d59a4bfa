"""What a JSON Schema's ``not`` asks for, as schemas that can be followed while a text grows.

A value that doesn't satisfy a schema fails one of its keywords, and each keyword has a schema that
all values satisfy that fail it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

KINDS = ("object", "array", "string", "boolean", "null", "number")
PLAIN = ({"pattern"}, {"enum"}, {"const"})  # nots that are followed as they are
FAILED_BY = {
    "object": "maxProperties minProperties patternProperties additionalProperties propertyNames "
    "dependencies dependentRequired dependentSchemas unevaluatedProperties properties required",
    "array": "maxItems minItems items prefixItems additionalItems uniqueItems contains minContains "
    "maxContains unevaluatedItems",
    "string": "maxLength minLength pattern format",
    "number": "multipleOf minimum maximum exclusiveMinimum exclusiveMaximum",
}
KIND_OF = {keyword: kind for kind, those in FAILED_BY.items() for keyword in those.split()}
# what fails a count or bound satisfies another, with the number changed by so much
COUNTS = {
    "minItems": ("maxItems", -1),
    "maxItems": ("minItems", 1),
    "minProperties": ("maxProperties", -1),
    "maxProperties": ("minProperties", 1),
    "minLength": ("maxLength", -1),
    "maxLength": ("minLength", 1),
    "minimum": ("exclusiveMaximum", 0),
    "maximum": ("exclusiveMinimum", 0),
    "exclusiveMinimum": ("maximum", 0),
    "exclusiveMaximum": ("minimum", 0),
}


def opposites(
    schema: Any, said: Callable[[dict], dict], referred: Callable[[object], Any]
) -> list[Any]:
    """Schemas of which each value satisfies one that doesn't satisfy the schema given.

    Parameters
    ----------
    schema : dict or bool
    said : callable
        Keywords of a schema that its draft knows.
    referred : callable
        What a reference points to, or None.
    """
    found: list[Any] = []
    seen: list[Any] = []
    pending = [schema]
    while pending:
        now = pending.pop()
        if isinstance(now, bool):
            found += [] if now else [True]
            continue
        if any(now is other for other in seen):
            continue
        seen.append(now)
        for keyword, value in said(now).items():
            target = referred(value) if keyword == "$ref" else None
            if keyword == "allOf" or target is not None:
                pending += value if target is None else [target]
            elif keyword not in ("then", "else"):
                found += _failing(keyword, value)
    # what satisfies any value alone says as much as all together
    return [True] if any(one in (True, {}) for one in found) else found


def _failing(keyword: str, value: Any) -> list[Any]:
    """Schemas for the values that fail a keyword."""
    kind: dict[str, Any] = {"type": KIND_OF[keyword]} if keyword in KIND_OF else {}
    if keyword in ("enum", "const"):
        return [{"not": {keyword: value}}]
    if keyword == "pattern":
        return [{**kind, "not": {keyword: value}}]
    if keyword == "not":
        return [value]
    if keyword == "anyOf":
        return [{"allOf": [{"not": one} for one in value]}]
    if keyword == "type":
        given = [value] if isinstance(value, str) else value
        left = [k for k in KINDS if k not in given]
        return [{"type": left}] if left else []
    if keyword == "required" and isinstance(value, list):
        return [{**kind, "properties": {name: False}} for name in value]
    if keyword == "properties":
        return [
            {**kind, "required": [name], "properties": {name: {"not": one}}}
            for name, one in value.items()
            if one not in (True, {})
        ]
    if keyword in COUNTS and type(value) in (int, float):
        other, more = COUNTS[keyword]
        return [{**kind, other: value + more}] if value + more >= 0 or not more else []
    return [kind]


def followed_not(said: dict) -> tuple[str, Any] | None:
    """The keyword and value of a ``not`` that is followed as it is; None if there is no such."""
    inner = said.get("not")
    if not isinstance(inner, dict) or set(inner) not in PLAIN:
        return None
    return next(iter(inner.items()))


def pattern_of(keyword: str, value: Any) -> str:
    """A pattern of the texts that fail one, or are none of those listed."""
    if keyword == "pattern":
        return rf"\A(?![\s\S]*?(?:{value}))"
    listed = [one for one in (value if keyword == "enum" else [value]) if isinstance(one, str)]
    return rf"\A(?!(?:{'|'.join(map(re.escape, listed))})\Z)" if listed else r"\A"


def refused(keyword: str, value: Any) -> Collection[Any]:
    """The literals that a ``not`` refuses, as Python has them."""
    listed = value if keyword == "enum" else [value] if keyword == "const" else []
    return [one for one in listed if one is None or isinstance(one, bool)]
