"""Causal language models: what is kept of prefixes changes no logits, and saves reading."""

import inspect
import pickle
import types
from importlib.util import find_spec

import numpy as np
import pytest

import smcweights as smw

V, HEADS, SIZE = 11, 2, 3


class Attention:
    """One layer of attention over tokens at places, in NumPy; it counts the tokens it reads."""

    def __init__(self, whole=True):
        rng = np.random.default_rng(1)
        self.embedding = rng.normal(size=(V, HEADS * SIZE))
        self.weights = rng.normal(size=(3, HEADS * SIZE, HEADS * SIZE))
        self.out = rng.normal(size=(HEADS * SIZE, V))
        self.whole, self.read, self.largest = whole, 0, 0

    def __call__(self, input_ids, attention_mask, past_key_values=None, use_cache=False):
        n, size = input_ids.shape
        self.read += int(attention_mask[:, -size:].sum())
        self.largest = max(self.largest, n)
        begun = attention_mask.shape[1] - size
        places = np.arange(begun, begun + size)
        x = self.embedding[input_ids] + np.sin(places[:, None] * np.arange(1, HEADS * SIZE + 1))
        q, k, v = (
            (x @ w).reshape(n, size, HEADS, SIZE).transpose(0, 2, 1, 3) for w in self.weights
        )
        if past_key_values is not None:
            ((old_k, old_v),) = past_key_values
            k, v = np.concatenate([old_k, k], 2), np.concatenate([old_v, v], 2)
        scores = np.einsum("nhsd,nhtd->nhst", q, k)
        seen = np.arange(begun + size) <= places[:, None]
        scores = np.where(seen & (attention_mask[:, None, None, :] > 0), scores, -np.inf)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("nhst,nhtd->nhsd", share / share.sum(-1, keepdims=True), v)
        logits = mixed.transpose(0, 2, 1, 3).reshape(n, size, -1) @ self.out
        kept = ((k, v),) if self.whole else ((k[:, :, -2:], v[:, :, -2:]),)
        return types.SimpleNamespace(logits=logits, past_key_values=kept if use_cache else None)


PROMPT = (3, 1, 4, 1, 5)
CALLS = [
    [()],
    [(2,), (7,), (0,)],
    [(2, 1), (2, 8), (7, 7), (2, 1, 8), (4,)],
    [(9, 9, 9), (2, 1, 0), (2, 1), ()],
    [(6, 1), (6, 2)],
]


@pytest.mark.parametrize("memory", [2**30, 500])
def test_logits_are_those_without_a_cache_in_any_order(memory):
    kept, plain = (
        smw.languages.huggingface(Attention(), prompt=PROMPT, rows=2, cache=cache, memory=memory)
        for cache in (True, False)
    )
    for calls in (CALLS, CALLS[::-1]):
        for prefixes in calls:
            np.testing.assert_allclose(kept.logits(prefixes), plain.logits(prefixes), atol=1e-12)
    assert kept.model.largest == 2 and kept.model.read < 0.5 * plain.model.read
    again = pickle.loads(pickle.dumps(kept))
    np.testing.assert_allclose(again.logits(CALLS[2]), plain.logits(CALLS[2]), atol=1e-12)
    warm = smw.languages.huggingface(Attention(), prompt=PROMPT, temperature=2.0)
    np.testing.assert_allclose(warm.logits([(1,)]), plain.logits([(1,)]) / 2, atol=1e-12)


def test_every_token_is_read_once():
    model = Attention()
    language = smw.languages.huggingface(model, prompt=PROMPT * 20)
    islands, n, length = 4, 10, 6
    smw.constrained_sequences(
        language, lambda prefix, item: item < 9, n, length, islands=islands, seed=1, progress=False
    )
    assert model.read <= len(PROMPT) * 20 + islands * n * length


def test_models_that_keep_something_else_are_read_anew():
    for model in (Attention(whole=False), Attention()):
        without = not model.whole
        plain = smw.languages.huggingface(Attention(), prompt=PROMPT, cache=False)
        kept = smw.languages.huggingface(model, prompt=PROMPT)
        for prefixes in CALLS:
            np.testing.assert_allclose(kept.logits(prefixes), plain.logits(prefixes), atol=1e-12)
        assert (model.read >= plain.model.read) == without


# where they are installed: torch is too large for the test extra
if find_spec("torch") and find_spec("transformers"):

    def test_transformers_give_the_same_logits_with_a_cache():
        import torch
        import transformers

        torch.manual_seed(1)
        small = transformers.GPT2Config(vocab_size=V, n_positions=32, n_embd=8, n_layer=2, n_head=2)
        llama = transformers.LlamaConfig(
            vocab_size=V,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
        for model in (transformers.GPT2LMHeadModel(small), transformers.LlamaForCausalLM(llama)):
            kept, plain = (
                smw.languages.huggingface(model.eval(), prompt=PROMPT, rows=2, cache=cache)
                for cache in (True, False)
            )
            assert "past_key_values" in inspect.signature(model.forward).parameters
            for prefixes in CALLS:
                np.testing.assert_allclose(kept.logits(prefixes), plain.logits(prefixes), atol=1e-6)
            assert kept._past
