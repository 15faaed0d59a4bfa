"""The truth by dynamic programming: Markov chains and n-grams under an automaton."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import arguments as check
from .ahead import Finite
from .constraints import Automaton, check_size, ends_meant
from .languages import MarkovChain, NGram
from .tokens import TokenTable

__all__ = ["ExactSequences", "constrained_markov_chain"]

WINDOWS = 3000  # most, of a matrix of 72 MB


@dataclass(frozen=True)
class ExactSequences:
    """Evidence and marginals.

    Attributes
    ----------
    log_evidence : float
        Log probability that the constraint holds.
    marginals : ndarray, shape (L, V)
        Law of each item given the constraint; rows after the end are zero.
    """

    log_evidence: float
    marginals: np.ndarray


def constrained_markov_chain(
    chain: MarkovChain | NGram,
    constraint: Finite,
    max_length: int,
    *,
    end: int | Sequence[int] | None = None,
) -> ExactSequences:
    """Evidence and marginals of a Markov chain or an n-gram under an automaton.

    Parameters
    ----------
    chain : MarkovChain or NGram
        Of an n-gram at most 3,000 contexts, such as two letters of 54.
    constraint : Automaton, or a pattern over a vocabulary
        As `regex` and `automaton` make, and `both` and `either` of these.
    max_length : int
        Length without an end; most items with one, the end included.
    end : int or sequence of int, optional
        Item, or several, that end a sequence; by default those of the constraint's vocabulary.

    Returns
    -------
    ExactSequences

    Raises
    ------
    ValueError
        No valid sequence has any mass, or an argument is wrong.

    Examples
    --------
    >>> import smcweights as smw
    >>> coin = smw.languages.markov_chain([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]])
    >>> even = smw.constraints.automaton([[0, 1], [1, 0]], accepting=[0])
    >>> round(math.exp(constrained_markov_chain(coin, even, 5).log_evidence), 12)
    0.5
    """
    if not isinstance(chain, MarkovChain | NGram):
        kind = type(chain).__name__
        raise TypeError(f"chain: got {kind}; expected a MarkovChain or an NGram")
    if not isinstance(constraint, Automaton | TokenTable):
        raise TypeError(
            f"constraint: got {check.shown(constraint)}; expected an automaton, as regex makes"
        )
    max_length, ends = check.count("max_length", max_length), ends_meant(end, constraint)
    n_items = chain.log_initial.size if isinstance(chain, MarkovChain) else len(chain.items)
    check_size(constraint, n_items, ends)
    states, last = len(constraint.accepting), np.arange(n_items)
    if isinstance(chain, NGram):
        chain, last = _windows(chain)
    if chain.length is not None and max_length > chain.length:
        raise ValueError(f"max_length: got {max_length}; the chain has {chain.length} items")
    after = np.full((states, n_items), -1)
    after[:, : constraint.size] = constraint.rows(np.arange(states))
    after[:, list(ends)] = -1
    found = _summed(chain, after[:, last], constraint, max_length, np.isin(last, ends))
    marginals = found.marginals @ (last[:, None] == np.arange(n_items))
    return ExactSequences(found.log_evidence, marginals)


def _windows(model: NGram) -> tuple[MarkovChain, np.ndarray]:
    """The chain of the last items that an n-gram looks at, and the newest of each."""
    kept, v = max(model.order - 1, 1), len(model.items)
    listed: list[tuple[int, ...]] = [(x,) for x in range(v)]
    numbers = {window: i for i, window in enumerate(listed)}
    follow: list[list[int]] = []
    while len(follow) < len(listed):
        longer = [(*listed[len(follow)], x)[-kept:] for x in range(v)]
        listed += [window for window in longer if window not in numbers]
        numbers |= {window: i for i, window in enumerate(listed[len(numbers) :], len(numbers))}
        if len(listed) > WINDOWS:
            raise ValueError(
                f"chain: got an n-gram of order {model.order} over {v} items; expected at most "
                f"{WINDOWS:,} contexts"
            )
        follow.append([numbers[window] for window in longer])
    log_transition = np.full((len(listed),) * 2, -np.inf)
    log_transition[np.arange(len(listed))[:, None], follow] = model.logits(listed)
    log_initial = np.full(len(listed), -np.inf)
    log_initial[:v] = model.logits([()])[0]
    return MarkovChain(log_initial, log_transition[None]), np.array([w[-1] for w in listed])


def _summed(
    chain: MarkovChain, after: np.ndarray, constraint: Finite, max_length: int, is_end: np.ndarray
) -> ExactSequences:
    """Sums forward and backward, over states and last items; nothing comes after an end."""
    states, v = after.shape
    state, item = np.nonzero(after >= 0)
    forward = np.zeros((max_length, states, v))  # after item t, state and last item
    ended = np.zeros((max_length, v))
    scale = np.zeros(max_length + 1)
    before = np.zeros((states, 1))
    before[constraint.initial, 0] = 1.0
    for t in range(max_length):
        if t:
            before = forward[t - 1]
        reach = before @ chain.law(t)
        np.add.at(forward[t], (after[state, item], item), reach[state, item])
        ended[t] = constraint.accepting @ reach * is_end
        size = forward[t].sum()
        size = size if size > 0 else 1.0
        forward[t] /= size
        scale[t + 1] = scale[t] + math.log(size)
    backward = np.zeros((max_length, states, v))
    with np.errstate(divide="ignore"):
        if is_end.any():
            log_evidence = float(np.logaddexp.reduce(np.log(ended.sum(1)) + scale[:-1]))
        else:
            backward[-1] = constraint.accepting[:, None]
            log_evidence = float(scale[-1] + np.log((forward[-1] * backward[-1]).sum()))
    if log_evidence == -math.inf:
        raise ValueError(
            f"constraint: no valid sequence has mass in the chain (max_length: {max_length})"
        )
    shift = np.zeros(max_length)
    marginals = np.zeros((max_length, v))
    for t in range(max_length - 1, -1, -1):
        if t < max_length - 1:
            value = np.where(after >= 0, backward[t + 1][after, np.arange(v)], 0.0)
            # on the scale of the later values, relative to exp(shift)
            value[:, is_end] = constraint.accepting[:, None] * math.exp(-shift[t + 1])
            backward[t] = value @ chain.law(t + 1).T
            top = backward[t].max()
            top = top if top > 0 else 1.0
            backward[t] /= top
            shift[t] = shift[t + 1] + math.log(top)
        inside = (forward[t] * backward[t]).sum(0) * math.exp(
            scale[t + 1] + shift[t] - log_evidence
        )
        marginals[t] = inside + ended[t] * math.exp(scale[t] - log_evidence)
    return ExactSequences(float(log_evidence), marginals)
