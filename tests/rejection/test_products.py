"""Several automata as one: against the texts of each, and sums over all sequences."""

import itertools
import math
import pickle
import re

import numpy as np
import pytest

import smcweights as smw
from smcweights.rejection import products
from smcweights.rejection.tokens import TokenTable

C = smw.constraints
PAIRS = [("(a|b)*bb", "a.*"), ("a(?!b)[ab]*", "[ab]{2,4}"), ("(ab)*", "(aba|b)*"), ("a*", "b?")]
WORDS = C.vocabulary(["a", "b", "ab", "ba", None], end=4)


def whole(constraint, sequence):
    """Whether it is valid, and whether its beginnings all go on to some of four items more."""
    state = constraint.start()
    for item in sequence:
        state = constraint.step(state, item)
        if state is None:
            return None
    return bool(constraint.complete(state))


@pytest.mark.parametrize("every", [True, False], ids=["both", "either"])
@pytest.mark.parametrize("patterns", PAIRS, ids=str)
@pytest.mark.parametrize("items", ["ab", WORDS], ids=["items", "tokens"])
def test_beginnings_are_those_of_texts_of_all_or_any(patterns, items, every):
    texts = list(items) if isinstance(items, str) else ["a", "b", "ab", "ba"]
    one = (C.both if every else C.either)(*(C.regex(pattern, items) for pattern in patterns))
    assert isinstance(one, C.Automaton if isinstance(items, str) else TokenTable)
    valid = set()
    for n in range(11):
        for letters in itertools.product("ab", repeat=n):
            matches = (re.fullmatch(pattern, "".join(letters)) for pattern in patterns)
            if all(matches) if every else any(matches):
                valid.add("".join(letters))
    begun = {text[:n] for text in valid for n in range(len(text) + 1)}
    for n in range(4):
        for sequence in itertools.product(range(len(texts)), repeat=n):
            text = "".join(texts[i] for i in sequence)
            assert whole(one, sequence) == (text in valid if text in begun else None)


def test_the_evidence_of_two_patterns_is_exact_on_a_chain():
    p = np.array([[0.7, 0.3], [0.3, 0.7]])
    constraint = C.both(C.regex("(a|b)*bb", "ab"), C.regex("a.*", "ab"), C.regex(".{6}", "ab"))
    found = smw.constrained_sequences(
        smw.languages.markov_chain(p[0], p), constraint, 20, 6, seed=1
    )
    paths = (x for x in itertools.product([0, 1], repeat=6) if x[0] == 0 and x[-2:] == (1, 1))
    truth = sum(p[0, x[0]] * math.prod(p[a, b] for a, b in itertools.pairwise(x)) for x in paths)
    assert np.exp(found.log_weights) == pytest.approx(truth)


def test_what_nothing_satisfies_is_refused_and_large_ones_are_asked(monkeypatch):
    for items in ("ab", WORDS):
        with pytest.raises(ValueError, match="no sequence satisfies all"):
            C.both(C.regex("a+", items), C.regex("b+", items))
    other = C.vocabulary(["a", "b", "ab", "bb", None], end=4)
    with pytest.raises(ValueError, match="different vocabularies"):
        C.both(C.regex("a+", WORDS), C.regex("a+", other))
    made = C.both(C.regex("a+", WORDS), C.regex("a{2}", WORDS))
    assert pickle.loads(pickle.dumps(made)).mask(0).tolist() == made.mask(0).tolist()
    monkeypatch.setattr(products, "STATES", 2)
    asked = C.both(C.regex("a{3}", "ab"), C.regex("[ab]{3}", "ab"))
    assert not isinstance(asked, C.Automaton) and whole(asked, (0, 0, 0))
