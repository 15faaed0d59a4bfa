"""The truth by dynamic programming: Markov chains under an automaton."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .ahead import Finite
from .languages import MarkovChain

__all__ = ["ExactSequences", "constrained_markov_chain"]


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
    chain: MarkovChain, constraint: Finite, max_length: int, *, end: int | None = None
) -> ExactSequences:
    """Evidence and marginals of a Markov chain under an automaton.

    Parameters
    ----------
    chain : MarkovChain
    constraint : Automaton, or a pattern over a vocabulary
    max_length : int
        Length without an end; most items with one, the end included.
    end : int, optional
        Item that ends a sequence.

    Returns
    -------
    ExactSequences

    Examples
    --------
    >>> import smcweights as smw
    >>> coin = smw.languages.markov_chain([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]])
    >>> even = smw.constraints.automaton([[0, 1], [1, 0]], accepting=[0])
    >>> round(math.exp(constrained_markov_chain(coin, even, 5).log_evidence), 12)
    0.5
    """
    if chain.length is not None and max_length > chain.length:
        raise ValueError(f"max_length: got {max_length}; the chain has {chain.length} items")
    v, states = chain.log_initial.size, len(constraint.accepting)
    after = np.full((states, v), -1)
    after[:, : constraint.size] = constraint.rows(np.arange(states))
    if end is not None:
        after[:, end] = -1
    state, item = np.nonzero(after >= 0)
    forward = np.zeros((max_length, states, v))  # after item t, state and last item
    ended = np.zeros(max_length)
    scale = np.zeros(max_length + 1)
    before = np.zeros((states, 1))
    before[constraint.initial, 0] = 1.0
    for t in range(max_length):
        if t:
            before = forward[t - 1]
        reach = before @ chain.law(t)
        np.add.at(forward[t], (after[state, item], item), reach[state, item])
        if end is not None:
            ended[t] = sum(reach[:, end] * constraint.accepting)
        size = forward[t].sum()
        size = size if size > 0 else 1.0
        forward[t] /= size
        scale[t + 1] = scale[t] + math.log(size)
    backward = np.zeros((max_length, states, v))
    if end is None:
        backward[-1] = constraint.accepting[:, None]
        log_evidence = scale[-1] + math.log((forward[-1] * backward[-1]).sum())
    else:
        with np.errstate(divide="ignore"):
            log_evidence = float(np.logaddexp.reduce(np.log(ended) + scale[:-1]))
    shift = np.zeros(max_length)
    marginals = np.zeros((max_length, v))
    for t in range(max_length - 1, -1, -1):
        if t < max_length - 1:
            value = np.where(after >= 0, backward[t + 1][after, np.arange(v)], 0.0)
            if end is not None:
                # on the scale of the later values, relative to exp(shift)
                value[:, end] = constraint.accepting * math.exp(-shift[t + 1])
            backward[t] = value @ chain.law(t + 1).T
            top = backward[t].max()
            top = top if top > 0 else 1.0
            backward[t] /= top
            shift[t] = shift[t + 1] + math.log(top)
        weight = math.exp(scale[t + 1] + shift[t] - log_evidence)
        marginals[t] = (forward[t] * backward[t]).sum(0) * weight
        if end is not None:
            marginals[t, end] = ended[t] * math.exp(scale[t] - log_evidence)
    return ExactSequences(float(log_evidence), marginals)
