import itertools
import json

import numpy as np
import pytest

import smcweights as smw

C = smw.constraints


def follow(constraint, items, text):
    state = constraint.start()
    for at, ch in enumerate(text):
        state = constraint.step(state, items.index(ch))
        if state is None:
            return at
    return constraint.complete(state)


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


def words(constraint, items, longest):
    """All texts up to a length that the constraint calls whole."""
    found, pending = set(), [("", constraint.start())]
    while pending:
        text, state = pending.pop()
        if constraint.complete(state):
            found.add(text)
        if len(text) < longest:
            for i, item in enumerate(items):
                after = constraint.step(state, i)
                if after is not None:
                    pending.append((text + item, after))
    return found


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


@pytest.mark.parametrize("name", SCHEMAS)
def test_texts_of_a_schema_are_those_its_validator_accepts(name):
    import jsonschema

    schema = SCHEMAS[name]
    alphabet = '{}",:a2' if name == "members" else '{}[]",:ab12'
    validator = jsonschema.validators.validator_for(schema)(schema)
    longest = 7 if name == "members" else 6
    every = words(C.json_schema(True, alphabet), alphabet, longest)
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


def test_grammar_and_combinations():
    items = list("()x0")
    brackets = C.grammar('start: "(" start ")" start | "x"', items)
    assert follow(brackets, items, "(x)(x)x") is True
    assert follow(brackets, items, "(x)") is False
    assert follow(brackets, items, "x)") == 1 and follow(brackets, items, "0") == 0
    short = C.predicate(lambda p, i: len(p) < 4)
    assert follow(C.both(brackets, short), items, "(x)(x)x") == 4
    assert follow(C.either(brackets, short), items, "(x)(x)x") is True
    with pytest.raises(ValueError, match="looks ahead"):
        C.grammar('start: /x(?=0)/ "0"', items)


GRAMMARS = {
    "sums": ('start: NUMBER ("+" NUMBER)*\nNUMBER: /1[01]*/\n%ignore " "', "01+ "),
    "keywords": ('start: "if" NAME | NAME "=" NAME\nNAME: /[if]+/\n%ignore " "', "if= "),
    "quoted": ("start: STRING*\nSTRING: /'([^']|'')*'/", "'a"),
    "overlap": ('start: A B | "ab" A\nA: "a"+\nB: "bb"', "ab"),
}


@pytest.mark.parametrize("name", GRAMMARS)
def test_texts_of_a_grammar_are_those_lark_reads(name):
    import lark

    text, alphabet = GRAMMARS[name]
    parser = lark.Lark(text, parser="lalr")

    def reads(one):
        try:
            parser.parse(one)
        except lark.exceptions.UnexpectedInput:
            return False
        return True

    every = map("".join, itertools.chain.from_iterable(
        itertools.product(alphabet, repeat=n) for n in range(8)
    ))  # fmt: skip
    truth = {one for one in every if reads(one)}
    assert truth and words(C.grammar(text, alphabet), alphabet, 7) == truth


def test_molecules_are_valid_and_begun_ones_go_on():
    items = ["C", "c", "1", "(", ")", "=", "O", "Cl", "N", "[nH]"]
    c = C.smiles(items)
    benzene = [1, 2, 1, 1, 1, 1, 1, 2]
    state = c.start()
    for i in benzene:
        assert not c.complete(state)
        state = c.step(state, i)
    assert c.complete(state)
    chlorine = c.step(c.start(), 7)
    assert c.step(c.step(chlorine, 0), 7) is not None
    assert c.step(chlorine, 5) is None or c.step(c.step(chlorine, 5), 6) is None  # Cl has one bond


def test_constraints_are_told_apart():
    from smcweights.provenance import signature

    made = [
        C.regex("a", "ab"),
        C.regex("b", "ab"),
        C.regex("b", "ba"),
        C.smiles("C"),
        C.smiles("O"),
    ]
    made += [C.grammar('start: "a"', "a"), C.grammar('start: "b"', "a"), C.both(*made[:2])]
    made += [C.json_schema({"type": t}, "a") for t in ("array", "object")] + [C.both(*made[1:3])]
    assert len({signature(m) for m in made}) == len(made)
    assert signature(C.regex("a", "ab")) == signature(made[0])


def test_a_regular_expression_equals_its_automaton():
    # an even number of b, by expression and by table
    items = list("ab")
    chain = smw.languages.markov_chain([0.7, 0.3], [[0.7, 0.3], [0.4, 0.6]])
    expression = C.regex("(a*ba*b)*a*", items)
    table = C.automaton([[0, 1], [1, 0]], accepting=[0])
    from smcweights.rejection.exact import constrained_markov_chain

    truth = constrained_markov_chain(chain, table, 9).log_evidence
    e = smw.constrained_sequences(chain, expression, 100, 9, seed=1).log_evidence
    assert abs(e.value - truth) < 6 * e.standard_error


def test_ngram_probabilities():
    model = smw.languages.ngram(["ab", "abb", "ba"], order=3)
    p = np.exp(model.logits([(), (0,), (0, 1), (1, 1, 1)]))
    assert np.allclose(p.sum(1), 1) and (p > 0).all()
    # beginnings: a twice, b once; by hand with discount 0.75
    one = np.array([3, 4, 3]) / 10
    uni = (np.array([3, 4, 3]) - 0.75) / 10 + 0.75 * 3 / 10 / 3
    assert one.sum() == pytest.approx(1)
    begin = np.array([2 - 0.75, 1 - 0.75, 0]) / 3 + 0.75 * 2 / 3 * uni
    begin = np.array([2 - 0.75, 1 - 0.75, 0]) / 3 + 0.75 * 2 / 3 * begin
    assert np.allclose(p[0], begin)
    assert "".join(model.decode(model.encode("abba"))) == "abba"
