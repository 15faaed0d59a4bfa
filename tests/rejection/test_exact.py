"""The truth by dynamic programming."""

import math

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
