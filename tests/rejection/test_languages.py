"""Languages: laws of the next item given a prefix."""

import math
import types

import numpy as np
import pytest

import smcweights as smw

from .chains import MACHINE, chain_of


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


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("item", [9, 3, -1, -5, 0.5, math.nan, "a"])
def test_an_ngram_knows_its_items(item, order):
    model = smw.languages.ngram(["abab", "abb"], order=order)
    with pytest.raises(ValueError, match=r"prefixes: got item.* expected items from 0 to 2"):
        model.logits([(0, 1), (item,)])
    assert np.allclose(np.exp(model.logits([(), (0,), (1, 0), (0, 0, 1)])).sum(axis=1), 1.0)
    assert model.logits([]).shape == (0, 3)


class StandInCausalModel:
    """Not a transformer: a stand-in with the call of a causal model of transformers."""

    def __init__(self, chain):
        self.chain, self.sizes = chain, []

    def __call__(self, input_ids, attention_mask):
        assert input_ids.shape == attention_mask.shape and input_ids.dtype == np.int64
        self.sizes.append(len(input_ids))
        logits = np.full((*input_ids.shape, 5), np.nan)
        for row, (ids, mask) in enumerate(zip(input_ids, attention_mask, strict=True)):
            for t in range(mask.sum()):
                logits[row, t] = self.chain.logits([tuple(ids[1 : t + 1])])[0]
        return types.SimpleNamespace(logits=logits)


def test_the_adapter_of_causal_models_by_a_stand_in():
    chain = chain_of(5, 3)
    model = StandInCausalModel(chain)
    language = smw.languages.huggingface(model, prompt=(2,), rows=3)
    prefixes = [(), (1, 2), (0,), (3, 3, 1), (4, 1)]
    assert (language.logits(prefixes) == chain.logits(prefixes)).all() and model.sizes == [3, 2]
    direct, through = (
        smw.constrained_sequences(one, MACHINE, 10, 5, islands=4, ahead=False, seed=1)
        for one in (chain, language)
    )
    assert direct.sequences == through.sequences


class SumsTokens:
    """A causal model whose logits depend on every token before and where it stands."""

    def __call__(self, input_ids, attention_mask):
        places = np.arange(1, input_ids.shape[1] + 1)
        sums = np.cumsum(places * (input_ids + 1.0) * attention_mask, axis=1)
        return types.SimpleNamespace(logits=np.sin(sums[..., None] * np.arange(1, 6)))


@pytest.mark.parametrize(
    ("options", "before"),
    [({"begin": 3}, (3,)), ({}, (0,)), ({"prompt": (2, 4), "begin": 3}, (2, 4))],
)
def test_the_beginning_stands_before_every_prefix(options, before):
    prefixes = [(), (1,), (0, 2), (3, 3, 1)]
    tokens = [np.array([*before, *p]) + 1.0 for p in prefixes]
    sums = np.array([t @ np.arange(1, t.size + 1) for t in tokens])
    found = smw.languages.huggingface(SumsTokens(), **options).logits(prefixes)
    assert np.allclose(found, np.sin(sums[:, None] * np.arange(1, 6)))


def test_a_temperature_divides_the_logits():
    plain = smw.languages.huggingface(SumsTokens()).logits([(), (1, 2)])
    warm = smw.languages.huggingface(SumsTokens(), temperature=2.0).logits([(), (1, 2)])
    np.testing.assert_array_equal(warm, plain / 2)
    with pytest.raises(ValueError, match="temperature: got 0"):
        smw.languages.huggingface(SumsTokens(), temperature=0)
