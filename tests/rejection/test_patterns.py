"""Regular expressions as automata, against Python's own matching of all short texts."""

import itertools
import re
import time

import numpy as np
import pytest

from smcweights.rejection.patterns import Pattern, cut

PATTERNS = [
    # repeats, greedy and not, of what may be empty, of a repeat
    ("", "ab"), ("a*", "ab"), ("a+b?", "ab"), ("(a|ab)(c|bcd)", "abcd"), ("(a|b)*abb", "ab"),
    ("a{2,3}b{,2}", "ab"), ("(ab?){2,}?", "ab"), ("(a*)*b", "ab"), ("(a?b?){3}", "ab"),
    ("(?:|a)+b", "ab"), ("a{0}b", "ab"), ("(a|a)*b", "ab"), ("(a|aa)+c", "abc"),
    ("(?:ab?|a)+!", "ab!"), ("(?:a|b|ab){2}(?:ba)*", "ab"), ("a*?b*?a", "ab"),
    # sets
    ("[^a]b", "ab\n"), ("[a-c]+[^b-d]", "abcd"), (r"[\d_]+\D", "1_a"), (r"\w\W\s\S", "a \n"),
    (".+", "a\n"), ("(?s:.)a.", "a\n"), (r"[\s\S]{2}", "a\n"), (r"[^\W\d]+", "a1_ "),
    # flags, of all and of a part
    ("(?i)aB", "abAB"), ("a(?i:b)c", "abABcC"), ("(?i:a(?-i:b))", "abAB"), (r"(?a)\w+", "aé"),
    (r"\w+", "aé "), ("(?i)[k-l]", "kKlLſK"), ("(?x) a  b # c", "ab c"), ("(?i)ß|ſ", "sSßſ"),
    # ends of the text and of lines
    ("^a$", "a\n"), ("a$b", "ab\n"), ("a$\n", "a\n"), ("a$\n?b?", "ab\n"), (r"a\Z\n?", "a\n"),
    (r"\Aa|b\A", "ab"), ("(^a|b)+", "ab"), ("(?m)^a$\n^b$", "ab\n"), ("(?m)(^a?$\n?)*", "a\n"),
    ("(?m:^)a|a$", "a\n"), ("(a|$)+", "a\n"),
    # boundaries of words
    (r"\b[a-z]+\b( \b[a-z]+\b)*", "ab "), (r"\w+\s\b\w+", "ab "), (r"\B", "a "),
    (r"a\Bb|a\b", "ab "), (r"(\b|a)+ ?", "a "), (r"\B.*\B", "a "), (r"(?a:\bé)|\ba", "aé"),
    # looks ahead
    ("(?!con$|nul$)[conul]{3,5}", "conul"), (r"(?!(True|False)\b)(.*)", "True1"),
    ("(?!.*--)[a-]+", "a-b"), ("a(?!b).*", "abc"), ("(?=.*a)(?=.*b)[abc]{3}", "abc"),
    ("((?!ab)[abc])*", "abc"), ("(?=(a|b(?!a))*$).*", "ab"), ("(?!)a|b", "ab"),
    ("a(?=b$)b", "ab\n"), (r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){2}", "125."),
    ("(?!(?!a).)a*b?", "ab"), ("(?:a(?=b)|b(?!b))*b?", "ab"),
    # looks behind
    ("[ab]*?(?<=ab)", "ab"), ("(?<!a)b|a(?<=a)b", "ab"), ("[ab]*(?<!ba)", "ab"), ("(?<=a)b", "ab"),
    ("(.(?<!aa))*", "ab"), ("(?<=(?=ab)a)b|a(?<=a(?!b))", "ab"), ("[ab]+(?<=^ab|.b$)", "ab\n"),
    (r"(.(?<=\b.))+", "a "), ("(?:a(?<=(?<!a)a)|b)*", "ab"), ("(?<=(?<=a).)b|.b(?<=(?<!b)b)", "ab"),
]  # fmt: skip


def differences(pattern, alphabet, longest, **options):
    """Texts that are read otherwise than `re` does, and beginnings of matches that are lost."""
    automaton = Pattern(pattern, alphabet, **options)
    compiled = re.compile(pattern, options.get("flags", 0))
    match = compiled.search if options.get("search") else compiled.fullmatch
    every = map("".join, itertools.chain.from_iterable(
        itertools.product(alphabet, repeat=n) for n in range(longest + 1)
    ))  # fmt: skip
    wrong, lost = [], set()
    for text in every:
        truth = match(text) is not None
        if automaton.reads(text) != truth:
            wrong.append(text)
        if truth:
            lost |= {text[:i] for i in range(len(text)) if not automaton.reads(text[:i], True)}
    return wrong, lost


@pytest.mark.parametrize(("pattern", "alphabet"), PATTERNS)
def test_all_short_texts_are_read_as_by_re(pattern, alphabet):
    longest = {2: 7, 3: 6, 4: 5, 5: 4, 6: 3}[len(alphabet)]
    for options in ({}, {"search": True}, {"states": 1}):
        assert differences(pattern, alphabet, longest, **options) == ([], set())
        longest = min(longest, 4)


@pytest.mark.parametrize("flags", [re.IGNORECASE, re.MULTILINE, re.ASCII, re.DOTALL, re.VERBOSE])
def test_flags_are_those_of_re(flags):
    for pattern in (r"^a.b$|\w B", r"a$\nB"):
        assert differences(pattern, "abBé\n", 4, flags=flags) == ([], set())


def any_pattern(rng, depth, fixed=False):
    """A pattern at random; of one length where a look behind holds it."""
    kind = rng.integers(12) if depth else 0
    if kind < 4:
        leaves = ["a", "b", " ", "[ab]", "[^a]", ".", r"\w", r"\s", r"\W", "(?i:A)", r"(?s:.)"]
        return str(rng.choice(leaves))
    if kind == 4:
        return str(rng.choice(["^", "$", r"\b", r"\B", r"\A", r"\Z", "(?m:^)", "(?m:$)"]))
    one, other = (any_pattern(rng, depth - 1, fixed) for _ in range(2))
    if kind == 5 and not fixed:
        return f"(?:{one}|{other})"
    if kind in (6, 7) and not fixed:
        return f"(?:{one}){rng.choice(['*', '+', '?', '{2}', '{1,2}', '*?', '+?', '??', '{0,2}?'])}"
    if kind == 8:
        return f"(?{rng.choice(['=', '!'])}{any_pattern(rng, depth - 1)})"
    if kind == 9:
        return f"(?{rng.choice(['<=', '<!'])}{any_pattern(rng, depth - 1, True)})"
    return one + other


@pytest.mark.parametrize(
    "seeds", [range(150), pytest.param(range(1000, 6000), marks=pytest.mark.slow)]
)
def test_random_patterns_are_read_as_by_re(seeds):
    for seed in seeds:
        pattern = any_pattern(np.random.default_rng(seed), 5)
        options = {"search": seed % 5 == 4, "states": 3 if seed % 7 == 6 else 5000}
        assert differences(pattern, "ab \n", 4, **options) == ([], set()), (seed, pattern)


@pytest.mark.slow
def test_time_grows_with_the_text_alone():
    for pattern, end in (("(a|a)*b", "b"), ("(a|aa)+c", "c"), ("(?:ab?|a)+!", "!")):
        automaton = Pattern(pattern, "abc!")
        assert len(automaton.table) <= 5
        assert automaton.reads("a" * 10_000 + end) and not automaton.reads("a" * 10_000)
    began = time.process_time()
    assert len(Pattern("[ab]{0,1024}", "ab").table) == 1025
    assert len(Pattern("((?!ab)[abc])*", "abc").table) == 2
    # few states, each of them a thousand places
    large = Pattern("a.{0,1500}b", "ab", search=True)
    assert large.table is None and large.reads("bab") and not large.reads("ba")
    # 2 ** 41 states
    many = Pattern("(a|b)*a(a|b){40}", "ab", states=200)
    assert many.table is None and many.reads("ab" * 60 + "a" + "b" * 40)
    assert not many.reads("ab" * 60 + "b" * 41)
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"(a)\1", "a back reference"),
        ("(a)?(?(1)b|c)", "a conditional group"),
        ("(?>a*)b", "an atomic group"),
        ("a*+b", "a possessive repeat"),
        (r"\p{L}", "bad escape"),
        ("(", "missing"),
        ("(?<=a*)b", "look-behind requires fixed-width"),
        ("((a{99}){99}){99}", "more than 20000 places"),
    ],
)
def test_what_no_automaton_follows_is_refused_by_name(pattern, said):
    with pytest.raises(ValueError, match=f"pattern: .*{said}"):
        Pattern(pattern, "abc")


def test_states_that_lead_to_acceptance():
    table = np.array([[1, 2], [3, -1], [2, 2], [-1, -1]])
    assert cut(table, np.array([False, False, False, True])).tolist() == [True, True, False, True]
    assert table.tolist() == [[1, -1], [3, -1], [-1, -1], [-1, -1]]
    assert not cut(table, np.zeros(4, bool)).any() and (table == -1).all()
