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

from . import kernels as kn
from .constraints import Automaton
from .languages import MarkovChain
from .tokens import TokenTable

LARGEST = 2**24  # entries of a guess
Finite = Automaton | TokenTable
Ends = tuple[int, ...]
LOST = 0.002  # share of the mass that items without a known chance get
FAR = 700.0  # how far below all others, in logs, what has no chance by the law is put


class Guess(NamedTuple):
    """Logs of the chances: of the empty prefix, and by place, state, and last item (or none)."""

    log_start: float
    log_h: np.ndarray


def reachable(constraint: Finite, length: int, ends: Ends) -> np.ndarray:
    """Whether a state at each place, shape (L + 1, S), leads to a valid whole in time.

    Where none does from the beginning, a ValueError says whether more places would help.
    """
    by_left, leads = _by_left(constraint, length, ends)
    if by_left[-1][constraint.initial]:
        return np.array(by_left[::-1])
    if not ends:
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


def within_outline(constraint: Finite, length: int, ends: Ends) -> np.ndarray | None:
    """As `reachable`, of an outline; None where it knows of no way to the end."""
    by_left = _by_left(constraint, length, ends)[0]
    return np.array(by_left[::-1]) if by_left[-1][constraint.initial] else None


def _by_left(constraint: Finite, length: int, ends: Ends) -> tuple[list[np.ndarray], csr_array]:
    """Whether states lead to a whole, by the number of places left, and where they lead."""
    accepting = constraint.accepting
    # the last column stands for an end
    leads = matrix(constraint, ends, np.ones(constraint.size), accepting * float(bool(ends)))
    by_left = [np.zeros(accepting.size, bool) if ends else accepting]
    while len(by_left) <= length:
        by_left.append(leads @ np.append(by_left[-1], True) > 0)
    return by_left, leads


def guess(
    constraint: Finite,
    law: np.ndarray | MarkovChain,
    reach: np.ndarray,
    ends: Ends,
    own: bool = False,
) -> Guess | None:
    """The chances by a law of the items, or by a Markov chain; None where they are too many.

    Unless it is the language's own, the law is kept from saying that an item never comes. No state
    within reach is left without a chance.
    """
    accepting, size = constraint.accepting, constraint.size
    states, last = accepting.size, list(ends)
    least = 0.0 if own else 1e-12 / size
    kinds = size if isinstance(law, MarkovChain) else 1
    if reach.size * kinds > LARGEST:
        return None
    with np.errstate(divide="ignore"):
        log_ends = np.log(accepting.astype(float))
        log_h = np.full((*reach.shape, kinds), -np.inf)
        if not ends:
            log_h[-1] = log_ends[:, None]
        if isinstance(law, MarkovChain):
            table = _inner(constraint.rows(np.arange(states)), ends)
        else:
            q = floored(law, least)
            # one state more, after the end, so that something follows every state
            leads = matrix(constraint, ends, q, np.full(states, q[last].sum()) * accepting)
            log_leads, row = np.log(leads.data), np.repeat(np.arange(states), np.diff(leads.indptr))
        for t in range(len(reach) - 2, -1, -1):
            if isinstance(law, MarkovChain):
                value = np.where(table >= 0, log_h[t + 1][table, np.arange(size)], -np.inf)
                value[:, last] = log_ends[:, None]
                top = finite(value.max(1))
                found = np.exp(value - top[:, None]) @ floored(law.law(t), least).T
            else:
                each = log_leads + np.append(log_h[t + 1], 0.0)[leads.indices]
                top = finite(np.maximum.reduceat(each, leads.indptr[:-1]))
                found = np.add.reduceat(np.exp(each - top[row]), leads.indptr[:-1])[:, None]
            log_h[t] = np.log(found) + top[:, None]
            lost = reach[t][:, None] & (log_h[t] == -np.inf)
            log_h[t][lost] = finite(log_h[t]).min() - FAR
    return Guess(float(log_h[0, constraint.initial, 0]), log_h)


def gains(
    constraint: Finite,
    chances: Guess,
    states: np.ndarray,
    last: np.ndarray,
    t: int,
    ends: Ends,
) -> np.ndarray:
    """Logs of m(x) / h_t of every item, for prefixes of t items: states and last items."""
    after, log_h = constraint.rows(states), chances.log_h
    items = np.arange(after.shape[1]) if log_h.shape[2] > 1 else 0
    out = log_h[t + 1][after, items]
    out[:, list(ends)] = 0.0
    now = chances.log_start if t == 0 else log_h[t][states, last if log_h.shape[2] > 1 else 0]
    return np.asarray(out - np.reshape(now, (-1, 1)))


def chances_after(
    constraint: Finite,
    chances: Guess,
    states: np.ndarray,
    items: int,
    t: int,
) -> np.ndarray:
    """Logs of the chances after every item, by an outline, for prefixes of t items.

    State -1 is one that the outline doesn't know.
    """
    item = np.arange(items) if chances.log_h.shape[2] > 1 else 0
    out, known = np.full((states.size, items), -np.inf), np.flatnonzero(states >= 0)
    if known.size:
        after = constraint.rows(states[known])
        out[known] = np.where(after >= 0, chances.log_h[t + 1][after, item], -np.inf)
    return out


def with_lost(
    out: np.ndarray, whole: np.ndarray, now: np.ndarray, logits: np.ndarray, ends: Ends
) -> np.ndarray:
    """Chances after every item, those included of which an outline knows nothing, or sees none.

    These get a small share of the mass together, so that a wrong guess loses nothing, and no more
    than the chances `now`. Ends come where the prefix is whole.
    """
    last = list(ends)
    out[:, last] = np.where(whole, 0.0, -np.inf)[:, None]
    lost = out == -np.inf
    lost[:, last] = False
    mass, of_lost = log_sums(logits + out), log_sums(np.where(lost, logits, -np.inf))
    level = np.where(mass > -np.inf, np.log(LOST) + mass - finite(of_lost), now)
    level = np.minimum(level, now)
    return np.where(lost, level[:, None], out)


def log_sums(log_x: np.ndarray) -> np.ndarray:
    """Logs of the sums of the rows, -inf where there is nothing."""
    top = finite(log_x.max(-1))
    x = np.subtract(log_x, top[..., None])
    np.exp(x, out=x)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(x.sum(-1)) + top)


def _inner(table: np.ndarray, ends: Ends) -> np.ndarray:
    """The table without what would follow an end."""
    if not ends:
        return table
    table = table.copy()
    table[..., ends] = -1
    return table


def matrix(constraint: Finite, ends: Ends, q: np.ndarray, of_ends: np.ndarray) -> csr_array:
    """The mass of q that leads from one state to another, and in a last column to the end."""
    states = len(constraint.accepting)
    if isinstance(constraint, Automaton):
        table = _inner(constraint.table, ends)
        state, item = np.nonzero(table >= 0)
        after, mass = table[state, item], q[item]
    else:
        # a row of many items at a time; after an end it has nothing
        found, listed, edges = np.full(states, -1.0), np.empty(states, np.int64), []
        for s in range(states):
            tokens, row = constraint.onward(s)
            to = np.sort(listed[: kn.gather(row, q[tokens], found, listed)])
            edges.append(np.stack([np.full(to.size, s), to, found[to]]))
            found[to] = -1.0
        state, after, mass = np.concatenate(edges, axis=1)
    data = (
        np.append(mass, of_ends),
        (
            np.append(state, np.arange(states)).astype(np.int64),
            np.append(after, np.full(states, states)).astype(np.int64),
        ),
    )
    return csr_array(data, shape=(states, states + 1))


def floored(law: np.ndarray, least: float) -> np.ndarray:
    """A law that never says an item is less likely than the least."""
    law = np.maximum(law, least)
    return law / law.sum(-1, keepdims=True)


def finite(log_x: np.ndarray) -> np.ndarray:
    """Logs, 0 instead of -inf."""
    return np.where(log_x > -np.inf, log_x, 0.0)
