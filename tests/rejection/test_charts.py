"""Texts of a context-free grammar, against all short texts that lark's own Earley parser reads."""

import itertools
import pickle

import numpy as np
import pytest

import smcweights as smw
from smcweights.rejection.charts import Chart

GRAMMARS = {
    "palindromes": ('start: "a" start "a" | "b" start "b" |', "ab", 8),
    "one between": ('start: "a" x? "a"\nx: "a" x | "b"', "ab", 8),
    "ambiguous sums": ('start: start "+" start | start "*" start | /[01]+/', "01+*", 5),
    "dangling else": ('start: "i" start | "i" start "e" start | "x"', "iex", 7),
    "terminals overlap": ('start: A B | "ab" A\nA: /a+/\nB: /a*b+/', "ab", 8),
    "keywords": ('start: "if" NAME | NAME "=" NAME\nNAME: /[if]+/\n%ignore " "', "if= ", 5),
    "nested lists": ('start: "[" (start ("," start)*)? "]" | "x"\n%ignore /[ ]+/', "[,]x ", 5),
    "quoted": ("start: STRING*\nSTRING: /'([^']|'')*'/", "'a", 8),
    "may be empty": ('start: x start |\nx: "a" | y\ny: | "b" y "c"', "abc", 6),
    "no end": ('start: "a" start | "a" z | "b"\nz: "c" z', "abc", 6),
    "lazy terminals": ("start: A | A B\nA: /b.*?a|ab|a|abb+?/\nB: /(bb?)+?/", "ab", 7),
    "escapes": ('start: ESCAPED_STRING+\n%import common.ESCAPED_STRING', '"\\a', 6),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=pytest.mark.slow if name in ("nested lists", "ambiguous sums") else ()
        )
        for name in GRAMMARS
    ],
)
def test_texts_of_a_grammar_are_those_lark_reads(name):
    import lark

    text, alphabet, longest = GRAMMARS[name]
    parser = lark.Lark(text, parser="earley", lexer="dynamic_complete")

    def reads(one):
        try:
            parser.parse(one)
        except lark.exceptions.LarkError:
            return False
        return True

    chart = Chart(text, alphabet, "start")
    column = {"": chart.start()}
    for n in range(longest):
        for one in itertools.product(alphabet, repeat=n + 1):
            before = column.get("".join(one[:-1]))
            after = None if before is None else chart.further(before, one[-1])
            if after is not None:
                column["".join(one)] = after
    whole = {one for one in column if chart.complete(column[one])}
    every = map("".join, itertools.chain.from_iterable(
        itertools.product(alphabet, repeat=n) for n in range(min(longest, 5) + 1)
    ))  # fmt: skip
    assert whole and {one for one in every if reads(one)} == {one for one in whole if len(one) <= 5}
    # and what is alive is the beginning of a text
    begun = {one[:i] for one in whole for i in range(len(one) + 1)}
    assert {one for one in column if len(one) <= longest - 4} <= begun


@pytest.mark.slow
def test_the_evidence_of_palindromes_is_that_of_all_of_them():
    # 3 ** -(k + 1) for each of 2 ** (k / 2) palindromes of even length; P(|z| > 6) is 2e-4
    flat = smw.languages.markov_chain(np.full(3, 1 / 3), np.full((3, 3), 1 / 3))
    palindromes = smw.constraints.grammar(GRAMMARS["palindromes"][0], "ab")
    out = smw.constrained_sequences(flat, palindromes, 40, 7, end=2, seed=1)
    truth = sum(3.0 ** -(k + 1) * 2 ** (k // 2) for k in range(0, 7, 2))
    e = out.evidence()
    assert abs(e.value - truth) < 6 * e.standard_error and e.standard_error < 0.04


@pytest.mark.slow
def test_columns_repeat_in_free_text_and_deep_nesting_is_read():
    chart = Chart('start: "[" start* "]" | "\'" /[a-z ]/* "\'"\n%ignore " "', "[]'ab ", "start")
    column = chart.start()
    for character in "[" * 2000 + "]" * 1999:
        column = chart.further(column, character)
    assert not chart.complete(column) and chart.complete(chart.further(column, "]"))
    again = pickle.loads(pickle.dumps(Chart(GRAMMARS["quoted"][0], "'a", "start")))
    first = again.further(again.start(), "'")
    inside = again.further(first, "a")
    assert again.further(inside, "a") is inside and again.complete(again.further(inside, "'"))


@pytest.mark.parametrize(
    "terminal", ["x(?=0)", "x$", "^x", r"\bx", "(?<!x)x", "x(?<=(?=0)x)", "x*"]
)
def test_terminals_that_look_out_or_may_be_empty_are_refused(terminal):
    with pytest.raises(ValueError, match=r"grammar: .*(looks at what is around|zero-width)"):
        Chart(f'start: /{terminal}/ "0"', "x0", "start")


def test_grammars_without_texts_and_wrong_ones_are_refused():
    with pytest.raises(ValueError, match=r"grammar: got .*no text of these items is one"):
        Chart('start: "a" start', "a", "start")
    with pytest.raises(ValueError, match="grammar: "):
        Chart("start: missing", "a", "start")
