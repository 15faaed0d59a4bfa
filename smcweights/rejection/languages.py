"""Languages: laws of the next item given a prefix.

A language is any object with ``logits(prefixes)``: a list of n tuples of items in, an array of
shape (n, V) out, log probabilities up to a constant for each row.

`markov_chain`        an initial law and a transition matrix
`hidden_markov`       the hidden states of a Markov model given what was observed of them
`ngram`               a back-off model trained on texts or sequences of items
`huggingface`         a causal language model of the ``transformers`` package
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments as check
from .causal import CausalModel

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
    length : int or None
        L, where there are no more items than that.
    """

    log_initial: np.ndarray
    log_transition: np.ndarray
    length: int | None = None

    def __repr__(self) -> str:
        """Over how many items, and how many of them."""
        long = "" if self.length is None else f", {self.length:,} places"
        return f"MarkovChain over {self.log_initial.size:,} items{long}"

    def law(self, t: int) -> np.ndarray:
        """Probabilities of item t given the one before, shape (V, V); (1, V) of the first."""
        if t == 0:
            return np.exp(self.log_initial)[None, :]
        return np.exp(self.log_transition[min(t, len(self.log_transition)) - 1])

    def logits(self, prefixes: list[tuple[int, ...]]) -> np.ndarray:
        """Log probabilities of the next item, shape (n, V)."""
        lengths = np.array(list(map(len, prefixes)), dtype=np.int64)
        last = _items([p[-1] if p else 0 for p in prefixes], lengths > 0, self.log_initial.size)
        if self.length is not None and (lengths >= self.length).any():
            raise ValueError(
                f"prefixes: got length {lengths.max()}; this chain has {self.length} items, and "
                "none after them"
            )
        if len(self.log_transition) == 1:
            rows = self.log_transition[0][last]
        else:
            rows = self.log_transition[np.clip(lengths - 1, 0, len(self.log_transition) - 1), last]
        return rows if lengths.all() else np.where((lengths == 0)[:, None], self.log_initial, rows)


def _items(given: list, real: np.ndarray, size: int) -> np.ndarray:
    """Whole numbers; those of prefixes, not of what fills them up, are below ``size``."""
    x = np.asarray(given).reshape(real.shape)
    if x.dtype.kind not in "iuf":
        raise ValueError(f"prefixes: got items of {x.dtype}; expected items from 0 to {size - 1}")
    if x.dtype.kind == "i" and x.size and x.min() >= 0 and x.max() < size:
        return x.astype(np.int64, copy=False)
    with np.errstate(invalid="ignore"):
        items = x.astype(np.int64)
    wrong = real & ((items != x) | (items < 0) | (items >= size))
    if wrong.any():
        raise ValueError(f"prefixes: got item {x[wrong][0]}; expected items from 0 to {size - 1}")
    return items


def law_of(name: str, given: ArrayLike, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Probabilities along the last axis, checked."""
    p = check.real(name, given)
    if shape is not None and p.shape != shape:
        raise ValueError(f"{name}: got shape {p.shape}; expected {shape}")
    if not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(-1), 1, atol=1e-9)):
        raise ValueError(
            f"{name}: got {check.shown(p.tolist())}; expected probabilities that sum to 1 along "
            "the last axis"
        )
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
    first = law_of("initial", initial)
    v = first.size
    with np.errstate(divide="ignore"):
        return MarkovChain(np.log(first), np.log(law_of("transition", transition, (v, v)))[None])


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
    p = law_of("initial", initial)
    q = law_of("transition", transition, (p.size, p.size))
    b = check.real("log_likelihoods", log_likelihoods)
    if (
        b.ndim != 2
        or not len(b)
        or b.shape[1] != p.size
        or np.isnan(b).any()
        or (b == np.inf).any()
    ):
        raise ValueError(f"log_likelihoods: got shape {b.shape}; expected (L, {p.size}) of numbers")
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
    return MarkovChain(first - total, np.array(steps[::-1] or [log_q]), len(b))


@dataclass(frozen=True)
class NGram:
    """A back-off n-gram model; `ngram` trains one.

    Attributes
    ----------
    items : tuple
        The alphabet, the end last.
    order : int
        Length of the context plus one.
    discount : float
    windows : tuple of ndarray of int64
        For each length 1 to order, the sorted codes of the windows seen: a window is a number
        whose digits are its items plus one, the newest last and 0 for the beginning.
    counts : tuple of ndarray
        How often each was seen.
    """

    items: tuple
    order: int
    discount: float
    windows: tuple[np.ndarray, ...]
    counts: tuple[np.ndarray, ...]

    def __repr__(self) -> str:
        """The order, and over how many items."""
        return f"NGram of order {self.order} over {len(self.items):,} items"

    @property
    def end(self) -> int:
        """Item that ends a sequence."""
        return len(self.items) - 1

    def logits(self, prefixes: list[tuple[int, ...]]) -> np.ndarray:
        """Log probabilities of the next item, shape (n, V)."""
        v, wanted = len(self.items), self.order - 1
        padding = (-1,) * wanted
        last = [(padding + tuple(p))[len(p) :] for p in prefixes]
        lengths = np.array([len(p) for p in prefixes], dtype=np.int64)
        real = np.arange(wanted) >= wanted - lengths[:, None]
        digits = _items(last, real, v) + 1
        p = np.full((len(prefixes), v), 1.0 / v)
        context = np.zeros(len(prefixes), dtype=np.int64)
        for n in range(self.order):
            if n:
                context = context + digits[:, wanted - n] * (v + 1) ** (n - 1)
            codes, counts = self.windows[n], self.counts[n]
            first = np.searchsorted(codes, context * (v + 1))
            kinds = np.searchsorted(codes, (context + 1) * (v + 1)) - first
            row = np.repeat(np.arange(len(prefixes)), kinds)
            at = np.arange(row.size) + np.repeat(first - np.cumsum(kinds) + kinds, kinds)
            total = np.bincount(row, counts[at], len(prefixes))
            seen = total > 0
            p[seen] *= (self.discount * kinds[seen] / total[seen])[:, None]
            p[row, codes[at] % (v + 1) - 1] += (counts[at] - self.discount) / total[row]
        return np.log(p, out=p)

    def encode(self, sequence: Sequence) -> tuple[int, ...]:
        """Items of a sequence as numbers."""
        number = {x: i for i, x in enumerate(self.items)}
        return tuple(number[s] for s in sequence)

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

    Raises
    ------
    ValueError
        An empty sequence, or more kinds of items than windows of this order can be numbered with.

    References
    ----------
    Ney, Essen & Kneser (1994), Computer Speech and Language 8.

    Examples
    --------
    >>> model = ngram(["abab", "abb"], order=2)
    >>> np.exp(model.logits([(0,)])).argmax() == model.items.index("b")
    np.True_
    """
    order = check.count("order", order)
    sequences = check.in_order("sequences", sequences, "texts, or of sequences of items")
    discount = check.number("discount", discount, 0, 1)
    if not all(isinstance(s, Sequence) for s in sequences):
        raise TypeError(
            f"sequences: got {check.shown(sequences)}; expected texts, or lists of items"
        )
    if not len(sequences) or any(len(s) == 0 for s in sequences):
        raise ValueError("sequences: expected at least one, none of them empty")
    try:
        items = sorted({x for s in sequences for x in s})
    except TypeError as error:
        raise TypeError(f"sequences: items of one kind were expected, in order ({error})") from None
    number = {x: i for i, x in enumerate(items)}
    end = len(items)
    if (end + 2) ** order >= 2**63:
        raise ValueError(
            f"order: got {order} with {end} kinds of items; expected at most "
            f"{int(63 / math.log2(end + 2))}"
        )
    lengths = np.array([len(s) + order for s in sequences])
    coded = np.full(lengths.sum(), -1, dtype=np.int64)
    ends = np.cumsum(lengths) - 1
    coded[ends] = end
    inside = np.ones(coded.size, dtype=bool)
    for i in range(order - 1):
        inside[ends - lengths + 1 + i] = False
    at = np.flatnonzero(inside)
    coded[at[coded[at] != end]] = [number[x] for s in sequences for x in s]
    windows, counts = [], []
    code = np.zeros(at.size, dtype=np.int64)
    for n in range(order):
        code = code + (coded[at - n] + 1) * (end + 2) ** n
        kinds, times = np.unique(code, return_counts=True)
        windows.append(kinds)
        counts.append(times.astype(np.float64))
    return NGram((*items, "<end>"), order, discount, tuple(windows), tuple(counts))


def huggingface(
    model: Callable[..., Any],
    *,
    prompt: Sequence[int] = (),
    begin: int = 0,
    rows: int = 16,
    cache: bool = True,
    memory: int = 2**30,
    temperature: float = 1.0,
) -> Language:
    """A causal language model: ``model(input_ids=, attention_mask=).logits`` of shape (n, T, V).

    Parameters
    ----------
    model : transformers.PreTrainedModel
        In evaluation mode, on any device; a model that isn't torch's gets and gives arrays.
    prompt : sequence of int, optional
        Tokens before the sequence.
    begin : int, default 0
        Token before the sequence where there is no prompt, such as the tokenizer's
        ``bos_token_id``.
    rows : int, default 16
        Most sequences in one call of the model.
    cache : bool, default True
        Keep keys and values of the prompt and of the last prefixes, for models that take them as
        ``past_key_values``: then every token is read once, and logits differ in their last digits.
    memory : int, default 2**30
        Most bytes of keys and values that are kept after a call, in each thread.
    temperature : float, default 1.0
        What logits are divided by.
    """
    if not callable(model):
        raise TypeError(f"model: got {type(model).__name__}; expected a causal language model")
    before = [
        check.count("prompt", token, 0) for token in check.several("prompt", prompt, "tokens")
    ]
    begin, rows = check.count("begin", begin, 0), check.count("rows", rows)
    temperature = check.number("temperature", temperature, 0)
    memory = check.count("memory", memory, most=check.MOST) if check.flag("cache", cache) else 0
    return CausalModel(model, tuple(before) or (begin,), rows, memory, temperature)
