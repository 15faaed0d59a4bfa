"""JSON under a schema, read character by character."""

import itertools
import json
from functools import lru_cache

import pytest

import smcweights as smw

from .texts import follow, words

C = smw.constraints


ITEMS = list('{}[]":,.-+ eEtrufalsn01235b\\')


@pytest.mark.parametrize(
    "text",
    ['{"a": [1, 2.5e3, {"b": null}], "n": "u\\n"}', "[]", "[[], [[1]]]", "-0.2e-1", ' {"a":true} '],
)
def test_json_is_followed_to_its_end(text):
    c = C.json_schema({}, ITEMS)
    assert follow(c, ITEMS, text) is True
    json.loads(text)


@pytest.mark.parametrize(
    ("text", "where"), [("[1,,", 3), ("{1", 1), ("[}", 1), ("tru0", 3), ("01", 1), ('{"a",', 4)]
)
def test_json_without_a_completion_is_refused(text, where):
    got = follow(C.json_schema({}, ITEMS), ITEMS, text)
    assert got is not True and got is not False and got == where


SCHEMAS = {
    "members": {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 2}, "b": {"enum": ["", "ab"]}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "items": {
        "type": "array",
        "items": {"type": ["integer", "null"]},
        "minItems": 2,
        "maxItems": 3,
    },
    "reference": {
        "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 1}},
        "$ref": "#/$defs/tree",
    },
    "old reference": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"n": {"maxLength": 1}},
        "items": [{"$ref": "#/definitions/n", "type": "array"}, {"const": 1}],
        "additionalItems": {"type": "string"},
    },
    "all and any": {
        "allOf": [{"maxProperties": 1}, {"type": ["object", "string"]}],
        "anyOf": [{"patternProperties": {"^b": {"type": "array"}}}, {"const": "a"}],
    },
    "never": {"additionalProperties": {"not": {}}, "items": False, "type": ["object", "array"]},
}


def is_json(text):
    def unique(pairs):
        if len(dict(pairs)) < len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        json.loads(text, object_pairs_hook=unique)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("alphabet", ['{}[]",:a', '0-1.e+[,"', '"\\\\u0n\x01', "true nul"])
def test_json_is_what_python_reads(alphabet):
    longest = 5
    every = map("".join, itertools.chain.from_iterable(
        itertools.product(alphabet, repeat=n) for n in range(1, longest + 1)
    ))  # fmt: skip
    truth = {text for text in every if is_json(text)}
    if "u" in alphabet and "0" in alphabet:
        truth.add('"\\u0000"')
        assert follow(C.json_schema(True, alphabet), list(alphabet), '"\\u0000"') is True
        truth.remove('"\\u0000"')
    assert truth and words(C.json_schema(True, alphabet), alphabet, longest) == truth


@lru_cache
def all_json(alphabet, longest):
    return words(C.json_schema(True, alphabet), alphabet, longest)


@pytest.mark.parametrize("name", SCHEMAS)
def test_texts_of_a_schema_are_those_its_validator_accepts(name):
    import jsonschema

    schema = SCHEMAS[name]
    alphabet = '{}",:a2' if name == "members" else '{}[]",:a12'
    validator = jsonschema.validators.validator_for(schema)(schema)
    longest = 7 if name == "members" else 6
    every = all_json(alphabet, longest)
    truth = {text for text in every if validator.is_valid(json.loads(text))}
    assert 0 < len(truth) < len(every)
    assert words(C.json_schema(schema, alphabet), alphabet, longest) == truth


@pytest.mark.parametrize(
    ("schema", "text", "where"),
    [
        ({"properties": {"size": {}}, "additionalProperties": False}, '{"st', 3),
        ({"properties": {"n": {"maximum": 5}}}, '{"n": 12,', 8),
        ({"items": {"enum": ["red", "blue"]}}, '["ra', 3),
        ({"items": {"type": "string"}}, "[1", 1),
        ({"maxItems": 1}, "[1,", 2),
        ({"type": "array", "minItems": 2}, "[1]", 2),
        ({"properties": {"a": {"required": ["b"]}}}, '{"a": {}', 7),
        ({"maxLength": 2}, '"abs"', 3),
    ],
    ids=range(8),
)
def test_a_schema_is_followed_while_the_text_grows(schema, text, where):
    items = sorted(set(text))
    assert follow(C.json_schema(schema, items), items, text) == where
