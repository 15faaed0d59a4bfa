"""The truth by dynamic programming."""

import itertools
import math
import re

import numpy as np
import pytest

import smcweights as smw
from smcweights.rejection.exact import constrained_markov_chain

from .chains import ANY, COIN, MACHINE, brute_force, chain_of


@pytest.mark.parametrize("end", [None, 4])
def test_dynamic_programming_is_the_sum_over_all_sequences(end):
    chain = chain_of(5, 3)
    total, marginals = brute_force(chain, MACHINE, 5, end)
    truth = smw.rejection.exact.constrained_markov_chain(chain, MACHINE, 5, end=end)
    assert truth.log_evidence == pytest.approx(math.log(total), abs=1e-12)
    assert np.abs(truth.marginals - marginals).max() < 1e-12


@pytest.mark.parametrize("order", [1, 2, 3])
def test_an_ngram_is_the_sum_over_all_sequences(order):
    names = smw.languages.ngram(["aba", "abb", "bab", "ba"], order=order)
    pattern, total, marginals = smw.constraints.regex("(a|b)*bb?", "ab"), 0.0, np.zeros((5, 3))
    for n in range(1, 5):
        for letters in itertools.product((0, 1), repeat=n):
            whole = (*letters, names.end)
            if re.fullmatch("(a|b)*bb?", "".join("ab"[x] for x in letters)):
                logits = names.logits([whole[:t] for t in range(n + 1)])
                mass = math.exp(sum(logits[t, x] for t, x in enumerate(whole)))
                total += mass
                marginals[range(n + 1), whole] += mass
    truth = constrained_markov_chain(names, pattern, 5, end=names.end)
    assert truth.log_evidence == pytest.approx(math.log(total), abs=1e-12)
    assert np.abs(truth.marginals - marginals / total).max() < 1e-12


def test_several_ends_are_those_of_the_vocabulary():
    words = smw.constraints.vocabulary(["a", "b", None, None], end=[2, 3])
    p = np.array([0.3, 0.2, 0.4, 0.1])
    chain = smw.languages.markov_chain(p, np.tile(p, (4, 1)))
    truth = constrained_markov_chain(chain, smw.constraints.regex("ab?", words), 3)
    assert math.exp(truth.log_evidence) == pytest.approx(0.3 * 0.5 * 1.2)
    ended = np.array([[0, 0, 0, 0], [0, 0, 0.4, 0.1], [0, 0, 0.08, 0.02]]) * 0.3
    assert truth.marginals[:, 2:] == pytest.approx(ended[:, 2:] / 0.18)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"chain": [0.5, 0.5]}, TypeError, "chain: got list"),
        ({"constraint": "a*"}, TypeError, "constraint: got 'a\\*'; expected an automaton"),
        ({"constraint": smw.constraints.regex("a*", "a")}, ValueError, "no end was given"),
        ({"max_length": 0}, ValueError, "max_length: got 0"),
        ({"end": 5}, ValueError, "end: got 5"),
        ({"constraint": smw.constraints.regex("b", "ab")}, ValueError, "no valid sequence has"),
        (
            {"chain": smw.languages.ngram(["abcdefghijklmnopqr"]), "end": 18}
            | {"constraint": smw.constraints.regex(".*", "abcdefghijklmnopqr")},
            ValueError,
            "order 4 over 19 items; expected at most 3,000 contexts",
        ),
    ],
    ids=range(7),
)
def test_what_has_no_exact_answer_is_refused(change, error, said):
    given = {"chain": COIN, "constraint": ANY, "max_length": 3, "end": None, **change}
    with pytest.raises(error, match=said):
        constrained_markov_chain(
            given["chain"], given["constraint"], given["max_length"], end=given["end"]
        )


def test_a_chain_ends_with_its_observations():
    hidden = smw.languages.hidden_markov([0.5, 0.5], np.full((2, 2), 0.5), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="this chain has 3 items"):
        smw.constrained_sequences(hidden, ANY, 10, 6, seed=1)
    with pytest.raises(ValueError, match="the chain has 3 items"):
        constrained_markov_chain(hidden, ANY, 6)
    assert len(smw.constrained_sequences(hidden, ANY, 10, 3, seed=1).sequences[0]) == 3
    assert COIN.logits([]).shape == (0, 2)
    for item in (-1, 2):
        with pytest.raises(ValueError, match=f"got item {item}; expected items from 0 to 1"):
            COIN.logits([(0,), (item,)])
    with pytest.raises(ValueError, match=r"got item 0\.5; expected items from 0 to 1"):
        COIN.logits([(0.5,)])
