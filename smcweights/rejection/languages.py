"""Languages: laws of the next item given a prefix.

A language is any object with ``logits(prefixes)``: a list of n tuples of items in, an array of
shape (n, V) out, log probabilities up to a constant for each row.

`markov_chain`        an initial law and a transition matrix
`hidden_markov`       the hidden states of a Markov model given what was observed of them
`ngram`               a back-off model trained on texts or sequences of items
`huggingface`         a causal language model of the ``transformers`` package
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "Language",
    "MarkovChain",
    "NGram",
    "hidden_markov",
    "huggingface",
    "markov_chain",
    "ngram",
]


class Language(Protocol):
    """What a language answers."""

    def logits(self, prefixes: list[tuple[int, ...]]) -> np.ndarray:
        """Log probabilities of the next item, shape (n, V), up to a constant for each row."""


@dataclass(frozen=True)
class MarkovChain:
    """A Markov chain, whose law may change with time.

    Attributes
    ----------
    log_initial : ndarray, shape (V,)
    log_transition : ndarray, shape (1, V, V) or (L - 1, V, V)
    """

    log_initial: np.ndarray
    log_transition: np.ndarray

    def logits(self, prefixes: list[tuple[int, ...]]) -> np.ndarray:
        """Log probabilities of the next item, shape (n, V)."""
        last = len(self.log_transition) - 1
        return np.stack(
            [
                self.log_transition[min(len(p) - 1, last), p[-1]] if p else self.log_initial
                for p in prefixes
            ]
        )


def _law(name: str, given: ArrayLike, shape: tuple[int, ...] | None = None) -> np.ndarray:
    p = np.asarray(given, dtype=np.float64)
    if shape is not None and p.shape != shape:
        raise ValueError(f"{name}: got shape {p.shape}; expected {shape}")
    if not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(-1), 1, atol=1e-9)):
        raise ValueError(f"{name}: expected probabilities that sum to 1 along the last axis")
    return p


def markov_chain(initial: ArrayLike, transition: ArrayLike) -> MarkovChain:
    """A Markov chain.

    Parameters
    ----------
    initial : array_like, shape (V,)
        Law of the first item.
    transition : array_like, shape (V, V)
        Law of the next item, row by row.

    Examples
    --------
    >>> chain = markov_chain([0.5, 0.5], [[0.9, 0.1], [0.2, 0.8]])
    >>> np.exp(chain.logits([(0, 1)])).round(3)
    array([[0.2, 0.8]])
    """
    first = _law("initial", initial)
    v = first.size
    with np.errstate(divide="ignore"):
        return MarkovChain(np.log(first), np.log(_law("transition", transition, (v, v)))[None])


def hidden_markov(
    initial: ArrayLike, transition: ArrayLike, log_likelihoods: ArrayLike
) -> MarkovChain:
    """Hidden states given all observations: a Markov chain that changes with time.

    Parameters
    ----------
    initial : array_like, shape (V,)
    transition : array_like, shape (V, V)
    log_likelihoods : array_like, shape (L, V)
        Log density of each observation in each state.

    Examples
    --------
    >>> states = hidden_markov([0.5, 0.5], np.full((2, 2), 0.5), np.log([[0.9, 0.1], [0.2, 0.8]]))
    >>> np.exp(states.logits([(), (0,)])).round(3)
    array([[0.9, 0.1],
           [0.2, 0.8]])
    """
    p, q = _law("initial", initial), np.asarray(transition, dtype=np.float64)
    q = _law("transition", q, (p.size, p.size))
    b = np.asarray(log_likelihoods, dtype=np.float64)
    if b.ndim != 2 or b.shape[1] != p.size or np.isnan(b).any() or (b == np.inf).any():
        raise ValueError(f"log_likelihoods: shape {b.shape}; expected (L, {p.size}) of numbers")
    with np.errstate(divide="ignore"):
        log_p, log_q = np.log(p), np.log(q)
        ahead = b[-1].copy()
        steps = []
        for t in range(len(b) - 2, -1, -1):
            both = log_q + ahead
            norm = np.logaddexp.reduce(both, axis=1)
            safe = np.where(np.isfinite(norm), norm, 0.0)
            steps.append(both - safe[:, None])
            ahead = b[t] + norm
        first = log_p + ahead
        total = np.logaddexp.reduce(first)
    if not np.isfinite(total):
        raise ValueError("log_likelihoods: the observations have probability zero")
    return MarkovChain(first - total, np.array(steps[::-1] or [log_q]))


class NGram:
    """A back-off n-gram model; `ngram` trains one.

    Attributes
    ----------
    items : tuple
        The alphabet, the end last.
    end : int
        Item that ends a sequence.
    """

    def __init__(self, items: tuple, counts: dict, order: int, discount: float) -> None:
        self.items, self.end = items, len(items) - 1
        self._counts, self._order, self._discount = counts, order, discount
        self._cache: dict[tuple[int, ...], np.ndarray] = {}

    def _probabilities(self, context: tuple[int, ...]) -> np.ndarray:
        found = self._cache.get(context)
        if found is not None:
            return found
        v = len(self.items)
        below = self._probabilities(context[1:]) if context else np.full(v, 1.0 / v)
        seen = self._counts.get(context)
        if seen is None:
            out = below
        else:
            items, counts = seen
            total, d = counts.sum(), self._discount
            out = below * (d * items.size / total)
            out[items] += (counts - d) / total
        self._cache[context] = out
        return out

    def _context(self, prefix: tuple[int, ...]) -> tuple[int, ...]:
        wanted = self._order - 1
        # -1 stands for the beginning
        padded = (-1,) * max(wanted - len(prefix), 0) + prefix
        return padded[len(padded) - wanted :]

    def logits(self, prefixes: list[tuple[int, ...]]) -> np.ndarray:
        """Log probabilities of the next item, shape (n, V)."""
        return np.log(np.stack([self._probabilities(self._context(p)) for p in prefixes]))

    def encode(self, sequence: Sequence) -> tuple[int, ...]:
        """Items of a sequence as numbers."""
        return tuple(self.items.index(s) for s in sequence)

    def decode(self, sequence: Sequence[int]) -> list:
        """What the numbers stand for, without the end."""
        return [self.items[i] for i in sequence if i != self.end]


def ngram(sequences: Sequence[Sequence], *, order: int = 4, discount: float = 0.75) -> NGram:
    """Train an n-gram model with absolute discounting: rare contexts borrow from shorter ones.

    p(x | context) = max(count - d, 0)/total + d (kinds seen)/total p(x | shorter context).

    Parameters
    ----------
    sequences : sequence of str or of sequences of hashable items
        Each is learned with its end.
    order : int, default 4
        Length of the context plus one.
    discount : float, default 0.75
        d, between 0 and 1.

    References
    ----------
    Ney, Essen & Kneser (1994), Computer Speech and Language 8.

    Examples
    --------
    >>> model = ngram(["abab", "abb"], order=2)
    >>> np.exp(model.logits([(0,)])).argmax() == model.items.index("b")
    np.True_
    """
    if order < 1:
        raise ValueError(f"order: got {order}; expected at least 1")
    if not 0 < discount < 1:
        raise ValueError(f"discount: got {discount}; expected a number between 0 and 1")
    if not len(sequences) or any(len(s) == 0 for s in sequences):
        raise ValueError("sequences: expected at least one, none of them empty")
    items = sorted({x for s in sequences for x in s})
    number = {x: i for i, x in enumerate(items)}
    end = len(items)
    tables: dict[tuple[int, ...], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for s in sequences:
        coded = [-1] * (order - 1) + [number[x] for x in s] + [end]
        for at in range(order - 1, len(coded)):
            for n in range(order):
                tables[tuple(coded[at - n : at])][coded[at]] += 1
    counts = {
        context: (np.array(list(t)), np.array(list(t.values()), dtype=np.float64))
        for context, t in tables.items()
    }
    return NGram((*items, "<end>"), counts, order, discount)


@dataclass(frozen=True)
class _CausalModel:
    model: Any
    begin: int
    prompt: tuple[int, ...]

    def logits(self, prefixes: list[tuple[int, ...]]) -> np.ndarray:
        import torch

        rows = [(*self.prompt, *p) or (self.begin,) for p in prefixes]
        longest = max(map(len, rows))
        ids = torch.tensor([r + (0,) * (longest - len(r)) for r in rows])
        mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows])
        with torch.inference_mode():
            out = self.model(input_ids=ids, attention_mask=mask).logits
        last = torch.tensor([len(r) - 1 for r in rows])
        picked = out[torch.arange(len(rows)), last]
        return picked.double().cpu().numpy()


def huggingface(model: Any, *, prompt: Sequence[int] = (), begin: int = 0) -> Language:
    """A causal language model: ``model(input_ids=, attention_mask=).logits`` of shape (n, T, V).

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In evaluation mode. Needs torch.
    prompt : sequence of int, optional
        Tokens before the sequence.
    begin : int, default 0
        Token that stands for an empty beginning.
    """
    return _CausalModel(model, begin, tuple(prompt))
