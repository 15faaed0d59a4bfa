"""The fewest items of a text: a bound that no text goes below, and what it sees."""

import itertools
import json
import math

import numpy as np
import pytest

import smcweights as smw
from smcweights.rejection.least import Pieces, fewest_items

C = smw.constraints
CHARACTERS = [*map(chr, range(32, 127))]
INNER = {"enum": ["no", "né"]}
MEMBERS = {"a\n": {"type": "boolean"}, "bé": INNER, "c": {"type": "array", "items": INNER}}
MEMBERS["c"]["minItems"] = 1
REQUIRED = {"type": "object", "properties": MEMBERS, "required": [*MEMBERS]}
UNION = {
    "anyOf": [{"const": "ab"}, REQUIRED, {"type": "string", "minLength": 3}, {"const": ["né"]}]
}
LIST = {"type": "array", "items": {"$ref": "#/$defs/x"}, "minItems": 1}
DEEP = {"$defs": {"x": {"anyOf": [{"const": "ab"}, LIST]}}, "$ref": "#/$defs/x"}
SUMS = 'start: "sum" rest? | "(" start ")"\nrest: /[0-9]{2,}/ | "plus"i start'


def spellings(text):
    """A string plain, with its first letter escaped, and with all of them."""
    plain = json.dumps(text, ensure_ascii=False)
    first, *rest = (f"\\u{ord(c):04x}" for c in text)
    yield from (plain, f'"{first}{json.dumps(text[1:], ensure_ascii=False)[1:]}')
    yield f'"{first}{"".join(rest).upper().replace("U", "u")}"'


def objects():
    for order in itertools.permutations(MEMBERS):
        values = {"a\n": "true", "bé": '"n\\u00E9"', "c": '["no"]'}
        for names in itertools.product(*map(spellings, order)):
            parts = (f"{s}:{values[n]}" for s, n in zip(names, order, strict=True))
            yield "{" + ",".join(parts) + "}"


CASES = {
    "object": (C.json_schema(REQUIRED), [*objects()]),
    "union": (
        C.json_schema(UNION),
        ['"ab"', '"\\u0061b"', '"cde"', '["né"]', '[ "n\\u00e9"]', *objects()],
    ),
    "deep": (C.json_schema(DEEP), ['[["ab"]]', '"\\u0061b"', '["ab","\\u0061b"]', '"ab"']),
    "grammar": (C.grammar(SUMS), ["sum", "sum123", "(sum45)", "((sum))", "sumPLUSsum01"]),
}


@pytest.mark.parametrize("name", CASES)
def test_no_text_takes_fewer_items(name):
    """Tokens are pieces of the texts themselves, of bytes, so that some hold half a character."""
    constraint, texts = CASES[name]
    rng, seen = np.random.default_rng(1), 0
    for text in texts[:3]:
        state = constraint.start()
        for c in text:
            state = constraint.further(state, c)
        assert constraint.complete(state)
    for _ in range(150):
        some = [texts[i].encode() for i in rng.integers(len(texts), size=4)]
        cut = [sorted(rng.integers(len(one) + 1, size=2 * len(one))) for one in some]
        pieces = zip(some, cut, strict=True)
        pairs = ((one, itertools.pairwise([0, *at, None])) for one, at in pieces)
        tokens = {one[i:j] for one, ends in pairs for i, j in ends} - {b""}
        words, known = C.vocabulary(sorted(tokens)), min(map(len, some))
        for one in set(some):
            least = [0.0] + [math.inf] * len(one)
            for at, t in itertools.product(range(len(one)), tokens):
                if one.startswith(t, at):
                    least[at + len(t)] = min(least[at + len(t)], least[at] + 1)
            known = min(known, least[-1])
        found = fewest_items(constraint, words, 0)
        assert found <= known
        seen += found > 1
    assert seen > 100


def test_it_is_exact_by_characters_and_near_by_pieces():
    schema = {"properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
    schema |= {"type": "object", "required": ["name", "age"]}
    c, words = C.json_schema(schema), C.vocabulary(CHARACTERS)
    assert fewest_items(c, words, 0) == len('{"name":"","age":0}')
    assert fewest_items(c, words, 50) == 0  # there may be room
    more = C.vocabulary([*CHARACTERS, "name", '{"', '":"', '","', "age", '":'])
    assert fewest_items(c, more, 0) == 5  # of 8
    assert fewest_items(C.grammar(SUMS), words, 0) == 3
    assert fewest_items(C.grammar('start: "ab"?'), C.vocabulary(["a"]), 0) == 0
    assert fewest_items(c, C.vocabulary([*'{}":,name1']), 0) == math.inf  # no g


def test_numbers_of_a_schema_may_be_written_with_a_point():
    for schema in ({"type": "array", "minItems": 2.0}, {"type": "string", "minLength": 3.0}):
        assert fewest_items(C.json_schema(schema), C.vocabulary(CHARACTERS), 0) == 5


def test_cuts_within_a_string_wherever_it_stands():
    pieces = Pieces(C.vocabulary(['x"n', "am", "a", "m", 'e"y', "z" * 4]))
    assert pieces.cuts('"name"') == 2 and pieces.cuts("ame") == 1
    assert pieces.cuts("zz") == 0 and pieces.cuts("na") == 1 and pieces.cuts("yy") == math.inf
    assert pieces.cuts(9) == 2


def flat(size):
    law = np.full(size, 1 / size)
    return smw.languages.markov_chain(law, np.tile(law, (size, 1)))


def test_too_small_a_length_is_told_before_the_run():
    words = C.vocabulary([*CHARACTERS, None], end=95)
    for made in (words, CHARACTERS):
        c = C.json_schema({"type": "object", "required": ["name"]}, made)
        with pytest.raises(ValueError, match="max_length: 9; a valid sequence has at least 11 it"):
            smw.constrained_sequences(flat(96), c, 5, 9, end=95, seed=1)
    within = {"$defs": {"a": LIST | {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}
    named = {"type": "object", "required": ["né"]}
    for schema, spelled in ((within, "[],"), (named, '{}":n1')):
        c = C.json_schema(schema, [*spelled])
        with pytest.raises(ValueError, match="these items can't spell a valid text"):
            smw.constrained_sequences(flat(len(spelled) + 1), c, 5, 6, end=len(spelled), seed=1)
