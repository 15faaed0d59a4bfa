"""JSON under a schema, read character by character."""

import itertools
import json
import math
from functools import lru_cache

import numpy as np
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
    "pattern": {"items": {"pattern": "^(a|12)$"}, "type": "array", "minItems": 1},
    "one of": {
        "oneOf": [
            {"properties": {"": {"const": 1}}, "required": [""], "additionalProperties": False},
            {"type": "array", "items": {"enum": [2, 12]}, "minItems": 1},
            {"items": {"minimum": 2, "maximum": 11, "multipleOf": 11}, "type": "array"},
        ],
    },
    "if": {
        "type": "array",
        "if": {"minItems": 2},
        "then": {"prefixItems": [{"const": 1}]},
        "else": {"contains": {"type": "string"}},
    },
    "containers": {"enum": [{"": 1}, [1, {}], "a", 2, []]},
    "names": {
        "patternProperties": {"^a": {"type": "integer"}},
        "additionalProperties": False,
        "propertyNames": {"maxLength": 1},
        "type": "object",
    },
    "not": {
        "not": {
            "anyOf": [
                {"enum": ["a", 1, {}]},
                {"type": ["object", "array"], "minItems": 1, "required": ["a"]},
                {"type": "string", "pattern": "^[12]|a$"},
            ]
        }
    },
    "inside itself": {"anyOf": [{"items": {"$ref": "#"}, "type": "array"}, {"const": 1}]},
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


@pytest.mark.slow
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


ALPHABETS = {"members": '{}",:a2', "names": '{}":ab1', "one of": '{}[]":12'}
DRAFT_4 = "http://json-schema.org/draft-04/schema"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("one of", "containers") else ())
        for name in SCHEMAS
    ],
)
def test_texts_of_a_schema_are_those_its_validator_accepts(name):
    import jsonschema

    schema = SCHEMAS[name]
    alphabet = ALPHABETS.get(name, '{}[]",:a12')
    validator = jsonschema.validators.validator_for(schema)(schema)
    longest = {"members": 7, "names": 7, "one of": 6, "containers": 6}.get(name, 5)
    every = all_json(alphabet, longest)
    truth = {text for text in every if validator.is_valid(json.loads(text))}
    assert 0 < len(truth) < len(every)
    assert words(C.json_schema(schema, alphabet), alphabet, longest) == truth


def test_blanks_may_be_refused():
    tight = C.json_schema({}, ITEMS, spacing="none")
    assert follow(tight, ITEMS, '{"a":[1,2]}') is True and follow(tight, ITEMS, "[ ") == 1


@pytest.mark.slow
def test_branches_side_by_side_lead_the_particles():
    """A union and a pattern: none of 400 particles lived when they were seen at the end only.

    Nor when they were led through the union, but lost in exponents, for which there is no place
    left. P(|z| > 6) is 2e-4 for each.
    """
    items = list('{}":,aike01')
    v = len(items)
    flat = smw.languages.markov_chain(
        np.full(v + 1, 1 / (v + 1)), np.full((v + 1, v + 1), 1 / (v + 1))
    )
    kinds = [
        {"properties": {"k": {"const": k}, n: {"enum": [0, 1]}}, "required": ["k", n],
         "additionalProperties": False, "type": "object"}
        for k, n in (("a", "kk"), ("ik", "i"))
    ]  # fmt: skip
    texts = [f'{{"k":"{k}","{n}":{b}}}' for k, n in (("a", "kk"), ("ik", "i")) for b in (0, 1)]
    length = len(texts[0]) + 1
    for schema, count in (
        ({"oneOf": kinds}, 8),
        ({"type": "string", "pattern": "^(ai|k{2}){7}$"}, 2**7),
    ):
        out = smw.constrained_sequences(
            flat, C.json_schema(schema, items, spacing="none"), 30, length, end=v, islands=6, seed=1
        )
        assert (out.log_weights > -np.inf).all()
        e = out.log_evidence
        truth = math.log(count) - length * math.log(v + 1)
        assert abs(e.value - truth) < 6 * e.standard_error and e.standard_error < 0.3


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (
            {"properties": {"a": {"$ref": "#/definitions/none"}}},
            "'#/definitions/none' leads nowhere",
        ),
        ({"items": {"$ref": "https://example.invalid/schema.json"}}, "leads nowhere"),
        ({"anyOf": [{"$ref": "#name"}]}, "'#name' leads nowhere"),
        (
            {"$schema": f"{DRAFT_4}#", "patternProperties": {r"\p{L}": {}}},
            "is no pattern of Python",
        ),
        ({"$ref": "#"}, "'#' leads in a circle"),
        (
            {"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
            "'#/[$]defs/a' leads in a circle",
        ),
        ({"dependentSchemas": {"a": {"not": {"$ref": "#"}}}}, "leads in a circle"),
    ],
    ids=range(7),
)
def test_what_leads_nowhere_is_refused_and_nothing_fetched(schema, said, monkeypatch):
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_: pytest.fail("it was fetched"))
    with pytest.raises(ValueError, match=said):
        C.json_schema(schema, ITEMS)


def test_references_that_lead_somewhere_are_taken():
    data = {"const": {"$ref": "#/nowhere"}, "$defs": {"x": {"$anchor": "name", "type": "null"}}}
    C.json_schema(data, ITEMS)
    named = C.json_schema({"$ref": "#name", "$defs": data["$defs"]}, ITEMS)
    assert follow(named, ITEMS, "null") is True and follow(named, ITEMS, "1") is not True
    C.json_schema({"$ref": "https://json-schema.org/draft/2020-12/schema"}, ITEMS)
    # a reference beside others, and what a reference of old stands for alone, are no circles
    C.json_schema({"properties": {"a": {"$ref": "#"}}, "$defs": {"b": {"$ref": "#"}}}, ITEMS)
    old = {"$ref": "#/definitions/a", "allOf": [{"$ref": "#"}], "definitions": {"a": {}}}
    C.json_schema({"$schema": f"{DRAFT_4}#", **old}, ITEMS)


@pytest.mark.parametrize("value", [np.int64(3), {1, 2}, math.nan, math.inf], ids=repr)
def test_a_schema_that_is_no_json_is_refused(value):
    with pytest.raises(ValueError, match="schema: expected what JSON can say"):
        C.json_schema({"const": value}, ITEMS)


@pytest.mark.parametrize("numbers", ["any", "plain"])
def test_minus_zero_is_zero(numbers):
    c = C.json_schema({"const": -0.0}, list("-01.e"), numbers=numbers)
    assert [follow(c, list("-01.e"), text) is True for text in ("0", "-0", "0.0", "1")] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.slow
def test_a_value_too_deep_for_its_check_is_named():
    c = C.json_schema({"items": {"$ref": "#"}}, ITEMS)
    with pytest.raises(smw.ModelError, match="nested too deeply"):
        follow(c, ITEMS, "[" * 300 + "]" * 300)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"formats": "date"}, TypeError, "formats: got 'date'; expected a list of names"),
        ({"formats": ["hue"]}, ValueError, "formats: got 'hue'; expected one of 'date'"),
        ({"numbers": "few"}, ValueError, "numbers: got 'few'"),
        ({"spacing": None}, ValueError, "spacing: got None"),
    ],
    ids=range(4),
)
def test_bad_options_are_told(change, error, said):
    with pytest.raises(error, match=said):
        C.json_schema({}, ITEMS, **change)


@pytest.mark.parametrize(
    ("schema", "text", "where"),
    [
        ({"additionalProperties": False, "properties": {"a": {}}}, '{"a":1,', 6),
        ({"pattern": "^[0-9]{2}$"}, '"0a', 2),
        ({"anyOf": [{"const": "ab"}, {"type": "null"}]}, '"ba', 1),
        ({"enum": [{"a": [1]}]}, '{"a":[2', 6),
        ({"properties": {"size": {}}, "additionalProperties": False}, '{"st', 3),
        ({"properties": {"n": {"maximum": 5}}}, '{"n": 12,', 7),
        # an exponent could still make it smaller
        ({"properties": {"m": {"maximum": 5}}}, '{"m": 12,e', 8),
        ({"items": {"enum": ["red", "blue"]}}, '["ra', 3),
        ({"items": {"type": "string"}}, "[1", 1),
        ({"maxItems": 1}, "[1,", 2),
        ({"type": "array", "minItems": 2}, "[1]", 2),
        ({"properties": {"a": {"required": ["b"]}}}, '{"a": {}', 7),
        ({"maxLength": 2}, '"abs"', 3),
        ({"not": {"pattern": "a"}}, '"ba', 2),
        ({"not": {"type": ["string", "null"]}}, '"a0', 0),
        ({"not": {"enum": ["a", "ab"]}}, '"ab"', 3),
        ({"items": {"not": {"const": True}}}, "[true", 1),
        ({"not": {"required": ["a"]}}, '{"a"', 3),
        ({"not": {"anyOf": [{"type": "array"}, {"minLength": 2}]}}, '"ab', 2),
        ({"not": {"properties": {"a": {"type": "string"}}}}, '{"a":"', 5),
    ],
    ids=range(20),
)
def test_a_schema_is_followed_while_the_text_grows(schema, text, where):
    items = sorted(set(text))
    assert follow(C.json_schema(schema, items), items, text) == where


NUMBER = {"pattern": r"^[0-9]{2}\Z"}


@pytest.mark.parametrize(
    ("schema", "text", "where"),
    [
        ({"enum": ["a€😀"]}, r'"a\u20ac\ud83d\ude00"', True),
        ({"enum": ["a€😀"]}, r'"\u0061€😀"', True),
        ({"enum": ["a€😀"]}, r'"a\u21', 5),
        ({"enum": ["a€😀"]}, r'"a€\ud83e', 8),
        ({"enum": ["a€😀"]}, r'"a€\ud83d\u0', 11),
        ({"enum": ["a€😀"]}, r'"a€\ud83d\udd', 12),
        ({"enum": ["a€😀"]}, r'"a€\n', 4),
        ({"enum": ["a€\ud83d!"]}, r'"a€\ud83d\u0021"', True),
        ({"enum": ["a€\ud83d!"]}, r'"a€\ud83d\ud', 11),
        (NUMBER, r'"\u00312"', True),
        (NUMBER, r'"\u004', 5),
        (NUMBER, r'"\uff', 3),
        (NUMBER, r'"12\u', 3),
        ({"pattern": "^[😀-😂]$"}, r'"\ud83d\ude01"', True),
        ({"pattern": "^[😀-😂]$"}, r'"\ud83e', 6),
        ({"pattern": "^[😀-😂]$"}, r'"\ud83d\ude03', 12),
        ({"maxLength": 2}, r'"ab\u', 3),
        ({"maxLength": 2}, r'"a\ud83d\ude00"', True),
        ({"properties": {"ta": {}}, "additionalProperties": False}, r'{"ta\u', 4),
        ({"properties": {"ta": {}}, "additionalProperties": False}, r'{"\u00741', 8),
    ],
)
def test_an_escape_is_refused_where_nothing_valid_begins_so(schema, text, where):
    items = sorted({*text, *ITEMS, *"abcdef0123456789"})
    found = follow(C.json_schema(schema, items), items, text)
    assert (found, type(found)) == (where, type(where))


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"enum": []},
        {"type": "integer", "minimum": 5, "maximum": 3},
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "integer", "minimum": 4, "maximum": 5, "multipleOf": 3},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"type": "array", "minItems": 1, "maxItems": 0},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"allOf": [{"type": "string"}, {"minLength": 3}, {"maxLength": 2}]},
        {"type": "null", "not": {"const": None}},
        {"type": "string", "pattern": "(?!)"},
    ],
    ids=str,
)
def test_a_schema_that_no_value_satisfies_is_refused(schema):
    with pytest.raises(ValueError, match="no text of these items is a value of it"):
        C.json_schema(schema, ITEMS)
    assert C.json_schema({"anyOf": [schema, {"type": "boolean"}]}, ITEMS).mask is None


MARKS = [
    *'{}[]":,.-+ eEtrufalsn0123bx\\é', '{"', '":', '",', '"}', "1,", "2]", "1}", "12", "e1", "1e",
    "b1", 'a"', '"ab', 'ab"', '"b":', "true", "\\u00", b"\xc3", b"\xa9", "1.0", "e308]", '"x', 'x"',
    None,
]  # fmt: skip
DOUBTFUL = {
    "other names": (
        {"properties": {"ab": {}}, "additionalProperties": {"type": "integer"}},
        ['{"ab":0,', '{"ab":0,"x":1,', '{"x":1,', '{"b1":1,'],
    ),
    "patterns of names": (
        {"patternProperties": {"^b": {"maximum": 2}}, "propertyNames": {"maxLength": 2}},
        ['{"', '{"b', '{"bb":'],
    ),
    "values count": (
        {
            "items": {"type": ["number", "string"]},
            "uniqueItems": True,
            "contains": {"const": 1},
        },
        ["[", "[1,", "[2,", '["a",1'],
    ),
    "not": (
        {
            "not": {"type": "string", "pattern": "^a"},
            "type": ["string", "array"],
            "items": {"multipleOf": 2},
        },
        ['"', '"b', "[1", "[2"],
    ),
    "from": ({"type": "array", "items": {"minimum": 2, "type": "integer"}}, ["[", "[1", "[2"]),
    "size": ({"type": "array"}, ["[1", "[2"]),
    "between": (
        {"items": {"type": ["integer", "string"], "exclusiveMinimum": -13, "maximum": 120.5}},
        ["[1", "[2", "[3", "[10", "[120", "[-1", "[-2", "[-12", "[0", "[-0"],
    ),
    "parts": (
        {"items": {"minimum": 0.2, "exclusiveMaximum": 12, "multipleOf": 0.7}},
        ["[0", "[1", "[2", "[3", "[2.", "[3.", "[1.", "[11"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("numbers", ["any", "plain"])
def test_masks_over_tokens_are_what_single_tokens_say(numbers):
    """Along random texts; states of which the same is said are met one after the other."""
    vocabulary, rng, seen = C.vocabulary(MARKS, end=len(MARKS) - 1), np.random.default_rng(1), 0
    some = {name: (schema, [""] * 3) for name, schema in SCHEMAS.items()} | DOUBTFUL
    for schema, beginnings in some.values():
        c = C.json_schema(schema, vocabulary, numbers=numbers)
        for text in (*beginnings, *beginnings):
            state = c.start()
            for character in text:
                state = c.step(state, MARKS.index(character))
            for _ in range(8):
                after = [c.step(state, i) for i in range(len(MARKS) - 1)]
                allowed = [one is not None for one in after]
                for _ in range(2):  # found out, and known
                    assert c.mask(state).tolist() == [*allowed, c.complete(state)]
                if not any(allowed):
                    break
                state, seen = after[rng.choice(np.flatnonzero(allowed))], seen + 1
    assert seen > 700
