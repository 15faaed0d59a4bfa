"""Opposites of schemas: what isn't valid satisfies one, what is valid none if they are exact."""

import re

import pytest

from smcweights.rejection.opposites import followed_not, opposites, pattern_of, refused

VALUES = [None, True, False, 0, 1, 1.5, -2, 12, "", "a", "ab", "ba", "1\n", [], [1], ["a"], [1, 1]]
VALUES += [[[]], {}, {"a": 1}, {"b": "a"}, {"a": 2, "b": []}, {"c": None}]
EXACT = [
    True,
    False,
    {},
    {"type": "string"},
    {"type": ["array", "null"], "title": "any"},
    {"type": "number"},
    {"enum": ["a", 1, [1], None]},
    {"const": {"a": 1}},
    {"pattern": "^a|b$"},
    {"minLength": 1, "maxLength": 1},
    {"minItems": 1, "maxItems": 1},
    {"maxProperties": 1},
    {"minimum": 1, "exclusiveMaximum": 12},
    {"required": ["a", "b"]},
    {"properties": {"a": {"const": 1}, "b": True}},
    {"not": {"type": "string"}},
    {"anyOf": [{"type": "array"}, {"minLength": 2}]},
    {"allOf": [{"minLength": 1}, {"$ref": "#/$defs/short"}]},
    {"$ref": "#"},
]
COVERED = [
    {"type": "integer"},
    {"items": {"type": "integer"}},
    {"uniqueItems": True, "contains": {"const": 1}},
    {"propertyNames": {"maxLength": 0}, "multipleOf": 2},
    {"oneOf": [{"minItems": 1}, {"type": "array"}]},
    {"if": {"type": "string"}, "then": {"pattern": "a"}, "else": {"minimum": 1}},
    {"additionalProperties": {"type": "integer"}, "format": "date"},
    {"$ref": "#/elsewhere"},
]


@pytest.mark.parametrize("exact", [True, False])
def test_a_value_that_is_not_valid_satisfies_an_opposite(exact):
    import jsonschema

    kind, short = jsonschema.Draft202012Validator, {"maxLength": 1}
    for schema in EXACT if exact else COVERED:
        # one that refers to itself says nothing
        to = {"#": schema, "#/$defs/short": short}.get
        found = opposites(
            schema, lambda s: {k: v for k, v in s.items() if k in kind.VALIDATORS}, to
        )
        if schema == {"$ref": "#"}:
            assert found == []
            continue
        whole = {"allOf": [schema], "$defs": {"short": short}, "elsewhere": {"type": "string"}}
        for value in VALUES:
            valid = kind(whole).is_valid(value)
            opposed = any(kind(one).is_valid(value) for one in found)
            assert opposed or valid
            assert not (exact and opposed and valid)


def test_nots_that_are_followed_have_patterns():
    for not_, text, fits in [
        ({"pattern": "a"}, "ba", False),
        ({"pattern": "^a|c"}, "b\na", True),
        ({"const": "a.c"}, "abc", True),
        ({"enum": ["ab", "a", 1]}, "a", False),
        ({"enum": ["ab", "a", 1]}, "a\n", True),
        ({"enum": [1]}, "", True),
    ]:
        other = followed_not({"not": not_})
        assert bool(re.search(pattern_of(*other), text)) is fits
    assert followed_not({"not": {"minLength": 1}}) is followed_not({"not": True}) is None
    assert refused("enum", [1, None, True, "a"]) == [None, True] and refused("const", 0) == []
