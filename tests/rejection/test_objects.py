"""JSON objects with many required names: they lead particles, and the evidence has no bias."""

import itertools
import json
import math

import cloudpickle
import numpy as np
import pytest

import smcweights as smw
from smcweights.rejection import outlines
from smcweights.rejection.objects import LOG_Z, weigh
from smcweights.rejection.outlines import Outlined, outlined
from smcweights.rejection.schemas import JSONReader

C = smw.constraints
CHARACTERS = [*'{}[]":,abcd12', None]
# tokens that join a name to what is around it
TOKENS = [*'{}":,abcx12', '{"', '":', ',"', '"a', '"b":', "12", 'x"', '"}', "1,", "true", "false"]
TOKENS += [None]
LENGTH = 20


def closed(required, **members):
    return {
        "type": "object",
        "properties": members,
        "required": required,
        "additionalProperties": False,
    }


NESTED = closed(
    ["a", "b"], a={"enum": [1, 12]}, b=closed(["c", "d"], c={"const": 1}, d={"const": 2})
)
THREE = closed(
    ["a", "b", "c"],
    a={"enum": [1, 12]},
    b={"type": "boolean"},
    c={"type": "string", "maxLength": 1},
)


def objects(**values):
    """All texts of an object with these members in any order, from the texts of their values."""
    for order in itertools.permutations(values):
        for each in itertools.product(*(values[name] for name in order)):
            yield "{" + ",".join(f'"{n}":{v}' for n, v in zip(order, each, strict=True)) + "}"


def test_weights_are_sums_over_all_texts_that_go_on():
    """By single characters nothing is rough, so that sums over all texts of a prefix are equal."""
    words = C.vocabulary(CHARACTERS, end=len(CHARACTERS) - 1)
    c = C.json_schema(NESTED, words, spacing="none")
    q = np.random.default_rng(1).dirichlet(np.full(len(CHARACTERS), 5.0))
    outline = outlined(c, words.end, forgets=True)
    ahead = weigh(outline, q, 60, words.end)
    texts = list(objects(a=["1", "12"], b=list(objects(c=["1"], d=["2"]))))
    log_q = dict(zip(CHARACTERS, np.log(q), strict=True))
    for begun in ("", "{", '{"', '{"a', '{"a":1', '{"b":{"d":2,', '{"b":{"c":1,"d":2}', texts[3]):
        state = c.start()
        for character in begun:
            state = c.step(state, CHARACTERS.index(character))
        (number,) = outline.numbers([state], True).tolist()
        stack = ahead.weights.objects.stacks[number]
        found = ahead.weights.ahead(stack, np.array([number]), outline.names(state, True))[:, 0]
        rest = [[*t[len(begun) :], None] for t in texts if t.startswith(begun)]
        truth = [sum(log_q[x] for x in one) + len(one) * LOG_Z for one in rest]
        assert found == pytest.approx(np.logaddexp.reduce(truth), abs=0.02)


def test_a_forgetful_reader_takes_what_misses_names_but_nothing_empty():
    reader = JSONReader(THREE, None, spacing="none").forgetful()

    def state(text):
        now = reader.start()
        for character in text:
            now = now and reader.further(now, character)
        return now

    assert state("{}") is None and state('{"d') is None and state('{"a":3') is None
    assert reader.complete(state('{"a":1,"a":1}'))
    assert reader.outline(state('{"b":true,')) == reader.outline(state('{"c":"","a":1,'))
    assert reader.outline(state('{"b"')) != reader.outline(state('{"a"'))
    exact = JSONReader(THREE, None, spacing="none")
    assert exact.complete(state('{"a":1}')) and state("[") is None
    (one,) = reader.named(state('{"b":true,"c":"'))
    assert one.required == ("a", "b", "c") and one.said == ("c",) and one.valued


def test_objects_that_require_nothing_and_rows_of_none_have_weights_too():
    words = C.vocabulary(CHARACTERS, end=len(CHARACTERS) - 1)
    law = np.full(len(CHARACTERS), 1 / len(CHARACTERS))
    for schema in ({"type": "object"}, {"type": "array", "items": NESTED}, {"type": "integer"}):
        c = C.json_schema(schema, words)
        assert -100 < weigh(outlined(c, words.end, forgets=True), law, 40, words.end).log_start < 0
    # no token begins a member but whole
    one = C.vocabulary(['{"a":1', ',"b":12', "}", None], end=3)
    c = C.json_schema(closed(["a", "b"], a={}, b={}), one)
    weigh(outlined(c, one.end, forgets=True), np.full(4, 0.25), 40, one.end)


def test_alternatives_that_require_different_names_have_no_weights():
    """What one of them requires would lead away from what another does, and nothing would tell."""
    words = C.vocabulary(CHARACTERS, end=len(CHARACTERS) - 1)
    law = np.full(len(CHARACTERS), 1 / len(CHARACTERS))
    one, same, other = (
        closed(list(names), **{name: {"const": 1} for name in names})
        for names in ("ab", "ba", "ac")
    )
    for pair, led in (([one, same], True), ([one, other], False)):
        c = C.json_schema({"anyOf": pair}, words)
        assert (weigh(outlined(c, words.end, True), law, 40, words.end) is not None) == led


def test_outlines_that_forget_travel():
    words = C.vocabulary(CHARACTERS, end=len(CHARACTERS) - 1)
    c = C.json_schema(NESTED, words)
    made = outlined(c, words.end, forgets=True)
    other, again = cloudpickle.loads(cloudpickle.dumps((c, made)))
    assert isinstance(again, Outlined) and again.forgets
    found = []
    for one, outline in ((c, made), (other, again)):
        state = one.start()
        for character in '{"b":{"c"':
            state = one.step(state, CHARACTERS.index(character))
        found += outline.numbers([state], True).tolist()
        assert outline.names(state, True) == [{"b"}, {"c"}]
    assert found[0] == found[1] >= 0


class Turns:
    """A law of the tokens for even places and one for odd ones."""

    law = np.random.default_rng(3).dirichlet(np.full(len(TOKENS), 2.0), 2)

    def logits(self, prefixes):
        return np.log(np.stack([self.law[len(p) % 2] for p in prefixes]))


def mass(text):
    """Probability of all ways to cut a text into tokens, in time."""
    f = np.zeros((len(text) + 1, LENGTH))
    f[0, 0] = 1.0
    for at, i in itertools.product(range(len(text)), range(len(TOKENS) - 1)):
        if text.startswith(TOKENS[i], at):
            for t in range(LENGTH - 1):
                f[at + len(TOKENS[i]), t + 1] += f[at, t] * Turns.law[t % 2, i]
    return sum(f[-1, t] * Turns.law[t % 2, -1] for t in range(LENGTH))


@pytest.mark.slow
def test_the_evidence_and_that_of_each_order_of_names_have_no_bias(monkeypatch):
    """40 seeds; P(|z| > 5) with 39 degrees of freedom is 1e-5 each; 20 % of the whole is seen.

    If 92 % of the intervals hold, as few as 31 of them do so with probability 0.004.
    """
    monkeypatch.setattr(outlines, "STATES", 5)
    strings = ['""', *(f'"{x}"' for x in "{}:,abcx12")]
    truth = {}
    for text in objects(a=["1", "12"], b=["true", "false"], c=strings):
        order = "".join(json.loads(text))
        truth[order] = truth.get(order, 0.0) + mass(text)
    words = C.vocabulary(TOKENS, end=len(TOKENS) - 1)
    c, total = C.json_schema(THREE, words, spacing="none"), sum(truth.values())
    found, held = [], 0
    for seed in range(40):
        out = smw.constrained_sequences(Turns(), c, 20, LENGTH, seed=seed)
        low, high = out.log_evidence.interval()
        held += low <= math.log(total) <= high
        found.append(dict.fromkeys(truth, 0.0))
        for text, w in zip(out.texts(words), out.log_weights, strict=True):
            if w > -np.inf:
                found[-1]["".join(json.loads(text))] += math.exp(w) / out.log_weights.size
    each = np.array([list(one.values()) for one in found]) / total
    shares = np.array(list(truth.values())) / total
    z = (each.mean(0) - shares) / (each.std(0, ddof=1) / math.sqrt(len(found)))
    whole = each.sum(1)
    assert np.abs(z).max() < 5 and held >= 32
    assert abs(whole.mean() - 1) < 5 * whole.std(ddof=1) / math.sqrt(len(found)) < 0.2


def test_a_token_that_ends_an_object_and_begins_another_one_is_led_to(monkeypatch):
    """Nearly all of the evidence is by that token. Where time is long nothing is rough: equal."""
    monkeypatch.setattr(outlines, "STATES", 3)
    tokens, length = [*'{}[]":,ab12', "},{", '"a":1', None], 44
    two = {"type": "array", "items": closed(["a", "b"], a={"const": 1}, b={"const": 2})}
    words, total = C.vocabulary(tokens, end=len(tokens) - 1), 0.0
    c = C.json_schema(two | {"minItems": 2, "maxItems": 2}, words, spacing="none")
    for pair in itertools.product(list(objects(a=["1"], b=["2"])), repeat=2):
        text = f"[{','.join(pair)}]"
        f = np.zeros((len(text) + 1, length))  # by characters and tokens
        f[0, 0] = 1.0
        for at, token in itertools.product(range(len(text)), tokens[:-1]):
            if text.startswith(token, at):
                f[at + len(token), 1:] += f[at, :-1] / len(tokens)
        total += f[-1].sum() / len(tokens)
    each = np.full(len(tokens), 1 / len(tokens))
    flat = smw.languages.markov_chain(each, np.tile(each, (len(tokens), 1)))
    out = smw.constrained_sequences(flat, c, 4, length, islands=4, seed=1)
    assert out.log_evidence.value == pytest.approx(math.log(total), abs=1e-6)


KINDS = [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"enum": ["red", "blue"]}]
KINDS += [{"type": "number"}, {"type": "string", "format": "date"}]
TWELVE = {f"{letter}-name": KINDS[k % 6] for k, letter in enumerate("abcdefghij")}
TWELVE["address"] = closed(["street", "number"], street=KINDS[0], number=KINDS[1])
TWELVE["tags"] = {"type": "array", "items": KINDS[3], "maxItems": 3}
TWENTY = {f"{letter}{letter}": KINDS[k % 6] for k, letter in enumerate("abcdefghijklmnopqrst")}


@pytest.mark.slow
@pytest.mark.parametrize(("members", "length"), [(TWELVE, 260), (TWENTY, 320)], ids=["12", "20"])
def test_nearly_all_particles_complete_objects_of_many_names(members, length):
    """None of 20 did before. The language knows nothing of JSON."""
    import jsonschema

    tokens = [*map(chr, range(32, 127)), '{"', '":', '": "', '", "', '"}', "true", "false", "12"]
    words = C.vocabulary([*tokens, None], end=len(tokens))
    c = C.json_schema(closed(list(members), **members), words, formats=["date"])
    law = 1.0 / (np.random.default_rng(1).permutation(words.size) + 3.0)

    class Shifted:
        def logits(self, prefixes):
            return np.stack([np.roll(np.log(law), 7 * p[-1] if p else 0) for p in prefixes])

    with pytest.warns(smw.PrecisionWarning):  # of five particles few carry the weight
        out = smw.constrained_sequences(Shifted(), c, 5, length, islands=4, seed=1)
    alive = out.log_weights > -np.inf
    assert alive.sum() >= 19
    checker = jsonschema.Draft202012Validator(
        closed(list(members), **members), format_checker=jsonschema.FormatChecker(["date"])
    )
    texts = [json.loads(t) for t, yes in zip(out.texts(words), alive, strict=True) if yes]
    assert all(checker.is_valid(one) and len(one) == len(members) for one in texts)
