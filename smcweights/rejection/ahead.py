"""What lies ahead of the states of an automaton: whether a sequence can end in time, and a guess
of the probability that it will.

With a law q of the next item, a sequence at place t of L in state s, d the next state,

    h_t(s) = q(end) 1{s accepts} + sum_x q(x) h_{t+1}(d(s, x)),   h_L(s) = 0,

and h_L(s) = 1{s accepts} without an end. Items are drawn by p(x | prefix) m(x), m(x) being
h_{t+1}(d(s, x)), 1 for an end, and the weight is multiplied by sum_x p m / h_t(s): the product
has the same mean whatever q, and no variance where q is the law of the language.
Heng et al. (2020), Controlled sequential Monte Carlo, Annals of Statistics 48.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from .constraints import Automaton
from .languages import MarkovChain

LARGEST = 2**24  # entries of a guess
FAR = 700.0  # how far below all others, in logs, what has no chance by the law is put


class Guess(NamedTuple):
    """Logs of the chances: of the empty prefix, and by place, state, and last item (or none)."""

    log_start: float
    log_h: np.ndarray


def reachable(constraint: Automaton, length: int, end: int | None) -> np.ndarray:
    """Whether a state at each place, shape (L + 1, S), leads to a valid whole in time.

    Where none does from the beginning, a ValueError says whether more places would help.
    """
    table, accepting = _inner(constraint, end), constraint.accepting
    # by the number of places left; the last column stands for an end
    leads = _matrix(table, np.ones(table.shape[1]), accepting * float(end is not None))
    by_left = [accepting if end is None else np.zeros(len(table), bool)]
    while len(by_left) <= length:
        by_left.append(leads @ np.append(by_left[-1], True) > 0)
    if by_left[-1][constraint.initial]:
        return np.array(by_left[::-1])
    if end is None:
        raise ValueError(f"constraint: no valid sequence has {length} items (max_length: {length})")
    while not by_left[-1][constraint.initial]:
        by_left.append(leads @ np.append(by_left[-1], True) > 0)
        if (by_left[-1] == by_left[-2]).all():
            raise ValueError(
                f"constraint: no valid sequence has any number of items (max_length: {length})"
            )
    raise ValueError(
        f"max_length: {length}; the shortest valid sequence has {len(by_left) - 1} items, the end "
        "included"
    )


def guess(
    constraint: Automaton,
    law: np.ndarray | MarkovChain,
    reach: np.ndarray,
    end: int | None,
    own: bool = False,
) -> Guess | None:
    """The chances by a law of the items, or by a Markov chain; None where they are too many.

    Unless it is the language's own, the law is kept from saying that an item never comes. No state
    within reach is left without a chance.
    """
    table, accepting = _inner(constraint, end), constraint.accepting
    states, size = table.shape
    least = 0.0 if own else 1e-12 / size
    kinds = size if isinstance(law, MarkovChain) else 1
    if reach.size * kinds > LARGEST:
        return None
    with np.errstate(divide="ignore"):
        log_ends = np.log(accepting.astype(float))
        log_h = np.full((*reach.shape, kinds), -np.inf)
        if end is None:
            log_h[-1] = log_ends[:, None]
        if not isinstance(law, MarkovChain):
            q = _floored(law, least)
            # one state more, after the end, so that something follows every state
            ends = np.full(states, 0.0 if end is None else q[end]) * accepting
            leads = _matrix(table, q, ends)
            log_leads, row = np.log(leads.data), np.repeat(np.arange(states), np.diff(leads.indptr))
        for t in range(len(reach) - 2, -1, -1):
            if isinstance(law, MarkovChain):
                value = np.where(table >= 0, log_h[t + 1][table, np.arange(size)], -np.inf)
                if end is not None:
                    value[:, end] = log_ends
                top = _finite(value.max(1))
                found = np.exp(value - top[:, None]) @ _floored(law.law(t), least).T
            else:
                each = log_leads + np.append(log_h[t + 1], 0.0)[leads.indices]
                top = _finite(np.maximum.reduceat(each, leads.indptr[:-1]))
                found = np.add.reduceat(np.exp(each - top[row]), leads.indptr[:-1])[:, None]
            log_h[t] = np.log(found) + top[:, None]
            lost = reach[t][:, None] & (log_h[t] == -np.inf)
            log_h[t][lost] = _finite(log_h[t]).min() - FAR
    return Guess(float(log_h[0, constraint.initial, 0]), log_h)


def gains(
    constraint: Automaton,
    chances: Guess,
    states: np.ndarray,
    last: np.ndarray,
    t: int,
    end: int | None,
) -> np.ndarray:
    """Logs of m(x) / h_t of every item, for prefixes of t items: states and last items."""
    after, log_h = constraint.table[states], chances.log_h
    items = np.arange(after.shape[1]) if log_h.shape[2] > 1 else 0
    out = log_h[t + 1][after, items]
    if end is not None:
        out[:, end] = 0.0
    now = chances.log_start if t == 0 else log_h[t][states, last if log_h.shape[2] > 1 else 0]
    return np.asarray(out - np.reshape(now, (-1, 1)))


def _inner(constraint: Automaton, end: int | None) -> np.ndarray:
    """The table without what would follow an end."""
    if end is None:
        return constraint.table
    table = constraint.table.copy()
    table[:, end] = -1
    return table


def _matrix(table: np.ndarray, q: np.ndarray, ends: np.ndarray) -> csr_array:
    """The mass of q that leads from one state to another, and in a last column to the end."""
    states, all_states = len(table), np.arange(len(table))
    state, item = np.nonzero(table >= 0)
    after = np.append(table[state, item], np.full(states, states))
    data = np.append(q[item], ends), (np.append(state, all_states), after)
    return csr_array(data, shape=(states, states + 1))


def _floored(law: np.ndarray, least: float) -> np.ndarray:
    law = np.maximum(law, least)
    return law / law.sum(-1, keepdims=True)


def _finite(log_x: np.ndarray) -> np.ndarray:
    return np.where(log_x > -np.inf, log_x, 0.0)
