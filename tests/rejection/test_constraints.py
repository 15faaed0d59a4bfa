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


def test_schema_decides_at_the_end_and_the_kind_at_the_start():
    c = C.json_schema({"type": "array", "minItems": 2}, ITEMS)
    assert follow(c, ITEMS, "[1]") is False and follow(c, ITEMS, "[1,2]") is True
    assert follow(c, ITEMS, "{") == 0


def test_grammar_and_combinations():
    items = list("()x0")
    brackets = C.grammar('start: "(" start ")" start | "x"', items)
    assert follow(brackets, items, "(x)(x)x") is True
    assert follow(brackets, items, "(x)") is False
    assert follow(brackets, items, "x)") == 1 and follow(brackets, items, "0") == 0
    short = C.predicate(lambda p, i: len(p) < 4)
    assert follow(C.both(brackets, short), items, "(x)(x)x") == 4
    assert follow(C.either(brackets, short), items, "(x)(x)x") is True
    with pytest.raises(ValueError, match="one character"):
        C.grammar('start: "ab"', items)


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
