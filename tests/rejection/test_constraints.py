"""Constraints on sequences, item by item."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pandas
import pytest

import smcweights as smw
from smcweights.identity import signature
from smcweights.rejection.exact import constrained_markov_chain

from .texts import follow

C = smw.constraints


def test_grammar_and_combinations():
    items = list("()x0")
    brackets = C.grammar('start: "(" start ")" start | "x"', items)
    assert follow(brackets, items, "(x)(x)x") is True
    assert follow(brackets, items, "(x)") is False
    assert follow(brackets, items, "x)") == 1 and follow(brackets, items, "0") == 0
    short = C.predicate(lambda p, i: len(p) < 4)
    assert follow(C.both(brackets, short), items, "(x)(x)x") == 4
    assert follow(C.either(brackets, short), items, "(x)(x)x") is True


def test_constraints_are_told_apart():

    made = [
        C.regex("a", "ab"),
        C.regex("b", "ab"),
        C.regex("b", "ba"),
        C.regex("b", "ab", search=True),
        C.regex("b", "ab", flags=2),
        C.smiles("C"),
        C.smiles("O"),
    ]
    made += [C.grammar('start: "a"', "ab"), C.grammar('start: "b"', "ab"), C.either(*made[:2])]
    made += [C.json_schema({"type": t}, "[]{}") for t in ("array", "object")] + [
        C.either(*made[1:3])
    ]
    assert len({signature(m) for m in made}) == len(made)
    assert signature(C.regex("a", "ab")) == signature(made[0])


def test_constraints_and_languages_show_in_a_line():
    items = list("ab0123456789")
    schema = {"type": "object", "required": [f"a{n}" for n in range(50)]}
    words = C.vocabulary([*items, None], end=12)
    long = "start: " + " | ".join(f'"a{n}"' for n in range(50))
    shown = {
        "regex('[ab]+') over 12 items": C.regex("[ab]+", items),
        "regex('[ab]+') over 13 tokens": C.regex("[ab]+", words),
        "regex('[ab]+')": C.regex("[ab]+"),
        "grammar('start: ": C.grammar(long, items),
        'grammar(\'start: "a0" |': C.grammar(long, words),
        "json_schema({'type': 'object', 'required': ['a0', ": C.json_schema(schema),
        "json_schema({'type':": C.json_schema({"type": "integer"}, items),
        "both(regex('a'), regex('.')) over 13 tokens": C.both(
            C.regex("a", words), C.regex(".", words)
        ),
        "predicate(<lambda>)": C.predicate(lambda prefix, item: True),
        "automaton of 2 states over 2 items": C.automaton([[0, 1], [1, 0]], accepting=[0]),
        "smiles over 12 items": C.smiles(items),
        "Vocabulary of 13 tokens, end (12,)": words,
        "MarkovChain over 2 items": smw.languages.markov_chain([0.5, 0.5], np.eye(2)),
        "NGram of order 2 over 3 items": smw.languages.ngram(["ab"], order=2),
    }
    for begun, one in shown.items():
        assert repr(one).startswith(begun) and "\n" not in repr(one) and len(repr(one)) < 140


def test_a_regular_expression_equals_its_automaton():
    # an even number of b, by expression and by table
    items = list("ab")
    chain = smw.languages.markov_chain([0.7, 0.3], [[0.7, 0.3], [0.4, 0.6]])
    expression = C.regex("(a*ba*b)*a*", items)
    table = C.automaton([[0, 1], [1, 0]], accepting=[0])

    truth = constrained_markov_chain(chain, table, 9).log_evidence
    e = smw.constrained_sequences(chain, expression, 100, 9, seed=1).log_evidence
    assert abs(e.value - truth) < 6 * e.standard_error


@pytest.mark.parametrize(
    ("pattern", "alphabet", "length"),
    [
        (r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}", "125.", 8),
        (r"\b[a-z]+\b( \b[a-z]+\b)*", "ab ", 7),
        ("[ab]*?(?<=ab)", "ab", 7),
    ],
)
def test_the_evidence_of_a_regular_expression_is_that_of_all_texts(pattern, alphabet, length):
    v = len(alphabet)
    law = np.full((v + 1, v + 1), 1 / (v + 1))
    chain = smw.languages.markov_chain(law[0], law)
    every = itertools.chain.from_iterable(
        itertools.product(alphabet, repeat=n) for n in range(length)
    )
    match = re.compile(pattern).fullmatch
    truth = sum((v + 1.0) ** -(len(text) + 1) for text in every if match("".join(text)))
    found = constrained_markov_chain(chain, C.regex(pattern, alphabet), length, end=v)
    assert math.exp(found.log_evidence) == pytest.approx(truth, rel=1e-9)


def test_regular_expressions_over_tokens_with_a_table_and_without():
    tokens = ["a", "ab", "bc", "c", "abc", "", "d"]
    pattern = "(?!.*cc)(abc|ac)+(?<=bc)"
    table, asked = C.regex(pattern, tokens), C.regex(pattern, tokens, states=2)
    assert isinstance(table, C.Automaton) and not isinstance(asked, C.Automaton)
    reached, whole = set(), set()
    for n in range(6):
        for sequence in itertools.product(range(7), repeat=n):
            text = "".join(tokens[i] for i in sequence)
            for c in (table, asked):
                state = c.start()
                for i in sequence:
                    state = None if state is None else c.step(state, i)
                valid = re.fullmatch(pattern, text) is not None
                assert valid == (state is not None and c.complete(state))
                if c is table and state is not None and n < 4:
                    reached.add(sequence)
            if valid:
                whole |= {sequence[:k] for k in range(min(n, 3) + 1)}
    # two tokens more are enough for a valid whole wherever there is one
    assert reached == whole
    with pytest.raises(ValueError, match="no text of these items matches it"):
        C.regex("abc", ["ab", "d"])


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda c, of: c.regex("(", ["a"]), ValueError, "pattern: missing"),
        (lambda c, of: c.regex(3, ["a"]), TypeError, "pattern: got int"),
        (lambda c, of: c.regex(r"(a)\1", ["a"]), ValueError, "pattern: it has a back reference"),
        (lambda c, of: c.regex("a", ["a"], flags="i"), TypeError, "flags: got 'i'"),
        (lambda c, of: c.regex("a", ["a"], search=3), TypeError, "search: got 3"),
        (lambda c, of: c.regex("a", ["a"], states=0), ValueError, "states: got 0"),
        (lambda c, of: c.regex("a", [1]), TypeError, "items: got 1 as entry 0"),
        (lambda c, of: c.regex("a", []), ValueError, "items: got none"),
        (lambda c, of: c.regex("a", {"a": 1, "b": 0}), TypeError, "items: got a dict"),
        (lambda c, of: c.regex("a", {"a", "b"}), TypeError, "items: got a set"),
        (lambda c, of: c.regex("a", pandas.DataFrame({"a": ["b"]})), TypeError, "got a DataFrame"),
        (lambda c, of: of.ngram(pandas.DataFrame({"a": ["b"]})), TypeError, "got a DataFrame"),
        (lambda c, of: c.vocabulary({"a": 1, "b": 0}), TypeError, "tokens: got a dict"),
        (
            lambda c, of: c.grammar("start: /a(?=b)/ /b/", ["a"]),
            ValueError,
            r"'a\(\?=b\)', looks at",
        ),
        (lambda c, of: c.predicate(3), TypeError, "allows: got int"),
        (lambda c, of: c.automaton([[0.5]], [0]), TypeError, "table: expected whole numbers"),
        (lambda c, of: c.automaton([[0]], [3]), ValueError, "accepting: got 3"),
        (lambda c, of: c.both(), TypeError, "constraints: got none"),
        (lambda c, of: c.either("a"), TypeError, "constraints: got str"),
        (
            lambda c, of: c.both(c.regex("a", ["a"]), c.regex("b", ["a", "b"])),
            ValueError,
            r"over \[1, 2\] items",
        ),
        (lambda c, of: of.ngram("abc"), TypeError, "sequences: got '"),
        (lambda c, of: of.ngram(None), TypeError, "sequences: got None"),
        (lambda c, of: of.ngram([["a", 1]]), TypeError, "items of one kind"),
        (lambda c, of: of.ngram(["a"], order=1.5), ValueError, "order: got 1.5"),
        (lambda c, of: of.markov_chain("a", "b"), TypeError, "initial: got 'a'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_constraints_and_languages_are_told(make, error, said):
    with pytest.raises(error, match=said):
        make(smw.constraints, smw.languages)


@pytest.mark.slow
def test_masks_of_llguidance_are_those_of_the_pattern():
    pytest.importorskip("llguidance")
    page = Path(__file__).parents[2] / "docs" / "tokens.md"
    blocks = re.findall("```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    made = {}
    exec(blocks[-1], made)
    words = C.vocabulary([*"abc1", "ab", "ba", b"\xc3", b"\xa9", "é", "12", None, None], end=10)
    number = {token: i for i, token in enumerate(words.tokens)}

    def encode(text):
        data = text if isinstance(text, bytes) else text.encode()
        return [number[data[i : i + 1]] for i in range(len(data))]

    pattern = "(a|b|é){1,2}1?"
    grammar = made["llguidance"].LLMatcher.grammar_from_regex(pattern)
    theirs, ours = (
        C.by_masks(made["Guided"](grammar, words, encode), words),
        C.regex(pattern, words),
    )
    pending, compared = [(theirs.start(), ours.start())], 0
    while pending:
        a, b = pending.pop()
        mask = theirs.mask(a)
        np.testing.assert_array_equal(mask, ours.mask(b))
        compared += 1
        pending += [
            (theirs.step(a, i), ours.step(b, i)) for i in np.flatnonzero(mask).tolist() if i != 10
        ]
    assert compared > 20
    chain = smw.languages.markov_chain(np.full(12, 1 / 12), np.full((12, 12), 1 / 12))
    found = [
        smw.constrained_sequences(chain, one, 20, 5, islands=4, ahead=False, seed=1, progress=False)
        for one in (theirs, ours)
    ]
    truth = constrained_markov_chain(chain, ours, 5, end=10).log_evidence
    for one in found:
        assert abs(one.log_evidence.value - truth) < 6 * one.log_evidence.standard_error


class Bits:
    """Letters in pairs, as packed bits: the lowest first, 32 to a word."""

    def __init__(self, wrong=None):
        self.wrong = wrong

    def start(self):
        return None if self.wrong == "start" else 0

    def advance(self, state, item):
        return 1 - state

    def mask(self, state):
        bits = np.zeros(64, bool)
        bits[[1, 33, 34]] = True
        packed = np.packbits(bits, bitorder="little").view(np.int32)[None]
        return {"short": packed[:, :1], "kind": packed.astype(float)}.get(self.wrong, packed)

    def complete(self, state):
        return "yes" if self.wrong == "complete" else state == 0


def test_masks_of_any_source_and_their_combinations():
    words = C.vocabulary([*map(str, range(35)), None], end=35, forbidden=[33])
    c = C.by_masks(Bits(), words)
    assert np.flatnonzero(c.mask(0)).tolist() == [1, 34, 35]
    assert np.flatnonzero(c.mask(1)).tolist() == [1, 34]
    assert c.step(0, 33) is None and c.step(0, 1) == 1
    plain = C.regex("[0-9]*", words)
    for both, found in ((C.both(c, plain), [1, 34]), (C.either(plain, c), [*range(33), 34])):
        after = both.step(both.start(), 34)
        mask = np.flatnonzero(both.mask(after))
        assert mask[mask < 35].tolist() == found
    chain = smw.languages.markov_chain(np.full(36, 1 / 36), np.full((36, 36), 1 / 36))
    for one in (c, C.both(c, plain)):
        e = smw.constrained_sequences(chain, one, 200, 5, seed=1, progress=False).evidence()
        truth = sum((2 / 36) ** n / 36 for n in (0, 2, 4))
        assert abs(e.value - truth) < 6 * e.standard_error < truth
    for wrong, error, said in (
        ("short", smw.ModelError, "source.mask: returned an array of bool, shape \\(32,\\)"),
        ("kind", smw.ModelError, "source.mask: returned an array of float64"),
        ("complete", smw.ModelError, "source.complete: returned 'yes'"),
    ):
        with pytest.raises(error, match=said):
            C.by_masks(Bits(wrong), words).mask(0)
    with pytest.raises(TypeError, match="source: got int, without start"):
        C.by_masks(3, words)
