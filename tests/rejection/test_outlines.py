"""Outlines: they lead particles where states don't repeat, and a wrong one loses nothing."""

import itertools
import json
import math
import pickle

import cloudpickle
import numpy as np
import pytest

import smcweights as smw
from smcweights.rejection.ahead import within_outline
from smcweights.rejection.outlines import outlined
from smcweights.rejection.scalars import FORMATS
from smcweights.rejection.schemas import JSONReader

C = smw.constraints
TOKENS = ["[", "]", ",", "1", "2", "[1", "],", "1,", None]
LENGTH = 6
RIGHT = {"type": "array", "items": {"enum": [1, 12]}, "minItems": 2}
# what was said before counts, which an outline forgets
WRONG = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 2}
EITHER = {"oneOf": [{"maxItems": 1}, {"items": {"const": 1}}], "type": "array"}


class Turns:
    """A law of the tokens for even places and one for odd ones."""

    law = np.random.default_rng(3).dirichlet(np.full(len(TOKENS), 2.0), 2)

    def logits(self, prefixes):
        return np.log(np.stack([self.law[len(p) % 2] for p in prefixes]))


def evidence(schema):
    """Probability of all sequences of tokens that spell a valid text and end in time."""
    import jsonschema

    validator, total, known = jsonschema.Draft202012Validator(schema), 0.0, {}

    def valid(text):
        try:
            return validator.is_valid(json.loads(text))
        except ValueError:
            return False

    end = len(TOKENS) - 1
    for n in range(1, LENGTH):
        for items in itertools.product(range(end), repeat=n):
            text = "".join(TOKENS[i] for i in items)
            if text not in known:
                known[text] = valid(text)
            if known[text]:
                total += math.prod(Turns.law[t % 2, i] for t, i in enumerate((*items, end)))
    return total


@pytest.mark.slow
@pytest.mark.parametrize("schema", [RIGHT, WRONG, EITHER], ids=["right", "wrong", "either"])
def test_the_evidence_has_no_bias_whatever_the_outline(schema):
    """P(|z| > 5) with 39 degrees of freedom is 1e-5 for each; 10 % is seen if it is right."""
    c = C.json_schema(schema, C.vocabulary(TOKENS, end=len(TOKENS) - 1))
    out = smw.constrained_sequences(Turns(), c, 60, LENGTH, islands=40, seed=2)
    found = out.evidence()
    assert found.standard_error < (0.1 if schema is WRONG else 0.02) * found.value
    assert abs(found.value - evidence(schema)) < 5 * found.standard_error


@pytest.mark.slow
def test_a_grammar_leads_particles_to_where_they_can_end_in_time():
    """Deeper than outlines tell apart; without, half of the particles die. P(|z| > 5) is 1e-3."""
    words, length = C.vocabulary(["(", ")", "a", "((", "))", None], end=5), 12
    nested = C.grammar('start: "(" start ")" | "a"', words)
    p = np.array([0.5, 0.15, 0.05, 0.1, 0.05, 0.15])
    out = smw.constrained_sequences(
        smw.languages.markov_chain(p, np.tile(p, (6, 1))), nested, 50, length, seed=3
    )

    def cuts(k, n, one, two):  # of k marks alike into n tokens
        return math.comb(n, k - n) * one ** (2 * n - k) * two ** (k - n)

    truth = sum(
        cuts(k, i, p[0], p[3]) * p[2] * cuts(k, j, p[1], p[4]) * p[5]
        for k in range(2 * length)
        for i in range((k + 1) // 2, k + 1)
        for j in range((k + 1) // 2, min(k, length - 2 - i) + 1)
    )
    found = out.evidence()
    assert (out.log_weights > -np.inf).mean() > 0.95 and found.standard_error < 0.02 * truth
    assert abs(found.value - truth) < 5 * found.standard_error


def after(reader, text):
    state = reader.start()
    for character in text:
        state = reader.further(state, character)
    return reader.outline(state)


def test_an_outline_forgets_what_no_end_depends_on():
    free, short = JSONReader({}, None), JSONReader({"items": {"minLength": 2}}, None)
    assert after(free, '["abc') == after(free, '["b') != after(free, '["b"')
    assert after(free, '[1, "ab"') == after(free, "[[2]")
    assert after(short, '["a') != after(short, '["ab') == after(short, '["abc')
    closed = {"properties": {"a": {}, "bc": {"maximum": 5}}, "additionalProperties": False}
    both = JSONReader(closed, None)
    assert after(both, '{"a": 1, "bc": 2') == after(both, '{"a": [], "bc": 3')
    assert after(both, '{"bc": 2') != after(both, '{"bc": 22') and after(both, '{"b') is not None


@pytest.mark.parametrize("form", FORMATS)
def test_the_first_text_of_a_format_is_one_that_can_end(form):
    """The first date that is met stands for all; in year 0 it would be none."""
    items = [*'"', *map(chr, range(ord("+"), ord("z") + 1))]
    c = C.json_schema({"type": "string", "format": form}, items, formats=[form])
    found = outlined(c, (len(items),))
    assert within_outline(found.table, 60, (len(items),)) is not None


def test_outlines_travel_and_know_what_they_have():
    words = C.vocabulary(['"', "ab", "é".encode()[:1], "é".encode()[1:], None], end=4)
    c = C.json_schema({"maxLength": 1}, words)
    made = outlined(c, words.end)
    found = []
    for one, outline in ((c, made), pickle.loads(cloudpickle.dumps((c, made)))):
        states = [one.start()]
        for item in (0, 2, 3, 0):
            states.append(one.step(states[-1], item))
        found.append(outline.numbers(states, True).tolist())
    assert found[0] == found[1] and found[0][0] == 0
    assert len(set(found[0])) == 5 and min(found[0]) >= 0
    assert outlined(C.predicate(lambda prefix, item: True), ()) is None
    assert outlined(C.json_schema({}, ['"', "\ud800"]), ()) is None
