"""What lies ahead of JSON objects whose many required names come in any order.

Which names were seen makes too many states for an outline. One that forgets them has few; from it
come weights of the ways between names, and those still missing are made up for. At every token the
weight is q(token) z, summed over all ways: with A from a state to the end of the value it is in and
on to the next name, w_m from the end of a value by name m to that of its value, P to the end of the
object without any required name, and r_m that end instead of another name after name m, a state
that misses the names M has

    h(z) = A |M|! prod_M w_m mean_M r_m,   or P where it misses none,

times what the objects around it miss. Between values A is the mean over M of the weights by name m,
relative to those at the end of a value. Names that aren't required may come in between. The chance
to end with n tokens is at most z^-n h(z), for any z up to 1; the least such bound is taken. It
guides, and no more: names that tokens join to what is around them are weighed roughly.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import gammaln

from .ahead import Ends, finite, floored, log_sums, matrix
from .languages import MarkovChain
from .outlines import Outlined

LOG_Z = -np.array([0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1, 1.6, 2.5, 4, 7, 12, 20.0])
CLOSE = 1e-3  # change of a log at which it is taken for final
ROUNDS = 50  # beyond the number of places, until which all are final, or not needed
SWEEPS = 5  # of what relates names to each other, which hardly moves after two
MOST = 0.99  # weight of names that aren't required, of which any number may come
Stack = tuple[tuple[int, int], ...]  # numbers of objects, outermost first, and columns of names


class Objects(NamedTuple):
    """Objects that require names, and where the states of an outline are in them.

    Columns of an object are its names in their order, then one for all others; -1: no value comes.
    """

    names: list[tuple[str, ...]]
    stacks: list[Stack]  # of each state
    within: np.ndarray  # states of the innermost one between values
    row: np.ndarray  # where each state is among these; -1 of others
    first: np.ndarray  # of each object that row after a value, to which others are compared

    def depth(self) -> np.ndarray:
        """Objects around each state."""
        return np.array([len(stack) for stack in self.stacks])


class Weights(NamedTuple):
    """Logs of the weights, by z first: of states, and by object and column of its names."""

    objects: Objects
    onward: np.ndarray  # A
    out: np.ndarray  # P
    naming: np.ndarray  # of states between values, by column, relative to the end of a value
    to_next: np.ndarray  # w
    to_end: np.ndarray  # r
    ending: np.ndarray  # by object only, of the end after a value rather than another name

    def ahead(self, stack: Stack, states: np.ndarray, said: list[Any], new: int = 0) -> np.ndarray:
        """Of states with the same objects around, from number ``new`` of these on.

        ``said`` are the names of each object; of those that it doesn't reach, which open now, none.
        """
        total = np.zeros((len(self.out), 1))
        missing = np.zeros(0, bool)
        for level, (number, column) in enumerate(stack[new:], new):
            known = said[level] if level < len(said) else ()
            names = self.objects.names[number]
            missing = np.array([n not in known and k != column for k, n in enumerate(names)])
            which = np.flatnonzero(missing)
            if which.size:
                rest = self.to_next[:, number, which].sum(1) + gammaln(which.size + 1)
                rest += log_sums(self.to_end[:, number, which]) - np.log(which.size)
                total[:, 0] += rest
            elif level < len(stack) - 1:
                total[:, 0] += self.ending[:, number]
        if not missing.any():
            return total + self.out[:, states]
        row, which = self.objects.row[states], np.flatnonzero(missing)
        found = self.onward[:, states]
        some = row >= 0
        named = self.naming[:, row[some]]
        means = log_sums(named[:, :, which]) - np.log(which.size)
        found[:, some] = np.logaddexp(means, named[:, :, len(missing)])
        return total + found


class Ahead(NamedTuple):
    """The chances of the states of an outline to end in time, where objects miss names."""

    log_start: float
    weights: Weights
    leads: csr_array
    length: int

    def after(
        self, state: int, said: list[frozenset[str]], t: int, row: np.ndarray, reopens: np.ndarray
    ) -> np.ndarray:
        """Logs of the chances after every token, t having come before, by the states that follow.

        ``said`` are the names that the objects around have; tokens that end one and begin another
        have a new one instead of it.
        """
        found = self._by_state(state, said, len(said), t)[row]
        again = np.flatnonzero(reopens & (row >= 0))
        if again.size and said:
            found[again] = self._by_state(state, said, len(said) - 1, t)[row[again]]
        return found

    def _by_state(self, state: int, said: list[frozenset[str]], kept: int, t: int) -> np.ndarray:
        """By the state that follows, -inf for none; of the objects around some are kept."""
        weights, left = self.weights, self.length - t - 1
        stacks, names = weights.objects.stacks, weights.objects.names
        size = len(stacks)
        found = np.full(size + 1, -np.inf)
        to = self.leads.indices[self.leads.indptr[state] : self.leads.indptr[state + 1]]
        to = to[to < size]
        groups: dict[Stack, list[int]] = {}
        for s in to.tolist():
            groups.setdefault(stacks[s], []).append(s)
        for stack, listed in groups.items():
            ended = list(zip(stacks[state], said, strict=False))[min(len(stack), kept) :]
            if all(seen.issuperset(names[number]) for (number, _), seen in ended):
                found[listed] = bounds(weights.ahead(stack, np.array(listed), said[:kept]), left)
        return found


def bounds(log_h: np.ndarray, left: int) -> np.ndarray:
    """Logs of the least bounds on the chances to end within so many tokens."""
    return np.minimum((log_h - left * LOG_Z[:, None]).min(0), 0.0)


def weigh(
    outline: Outlined, law: np.ndarray | MarkovChain, length: int, ends: Ends
) -> Ahead | None:
    """The chances by a law of the tokens; None where the outline knows of no way to the end.

    Nor where alternatives require different names: all but some orders would be taken for unlikely.
    """
    objects = _objects(outline)
    if objects is None:
        return None
    q = law.law(1).mean(0) if isinstance(law, MarkovChain) else law
    q = floored(q, 1e-12 / q.size) * ~outline.reopens
    accepting = outline.table.accepting
    leads = matrix(outline.table, ends, q, accepting * (q[list(ends)].sum() if ends else 1.0))
    weights = _System(objects, leads, bool(ends)).solved(length + ROUNDS)
    start = bounds(weights.ahead((), np.array([outline.table.initial]), []), length)
    return Ahead(float(start[0]), weights, leads, length) if start[0] > -np.inf else None


def _objects(outline: Outlined) -> Objects | None:
    """Where the states are, by the first text of each; None if that is in doubt."""
    number: dict[Any, int] = {}
    names: list[tuple[str, ...]] = []
    stacks: list[Stack] = []
    ended: dict[int, int] = {}
    for s in range(len(outline.table.accepting)):
        stack, found = [], outline.named(s)
        if found is None:
            return None
        for one in found:
            k = number.setdefault((one.place, one.required), len(names))
            if k == len(names):
                names.append(one.required)
            column = -1
            if one.ended:
                ended.setdefault(k, s)
            if one.valued:
                known = one.said[-1:] and one.said[-1] in one.required
                column = one.required.index(one.said[-1]) if known else len(one.required)
            stack.append((k, column))
        stacks.append(tuple(stack))
    within = np.array([s for s, stack in enumerate(stacks) if stack and stack[-1][1] < 0], int)
    row = np.full(len(stacks), -1)
    row[within] = np.arange(within.size)
    # where no state is met just after a value, another one between values will do
    of = [stacks[s][-1][0] for s in within.tolist()]
    first = [
        row[ended[k]] if k in ended else of.index(k) if k in of else -1 for k in number.values()
    ]
    return Objects(names, stacks, within, row, np.array(first, int))


class _System:
    """Equations of the weights: each unknown is a sum of others, times weights of tokens.

    Unknown are A, P, and of states between values, by the column of the name that comes, the
    weights to the next name and out. What follows from these stands behind them: that of a state
    between values whatever the name, and of objects that open.
    """

    def __init__(self, objects: Objects, leads: csr_array, ends: bool) -> None:
        self._objects = objects
        self._size, self._rows = len(objects.stacks), len(objects.within)
        self._names = np.array([len(names) for names in objects.names], int)
        self._wide = 1 + int(self._names.max(initial=0))
        self._object = np.array([objects.stacks[s][-1][0] for s in objects.within.tolist()], int)
        self._others = self._names[self._object]
        self._of_names = np.arange(self._wide) < self._others[:, None]
        self._unknown = 2 * (self._size + self._rows * self._wide)
        self._opened: dict[tuple[int, int], int] = {}
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._equations(leads, ends)
        target, source, factor, log_q, tokens = map(np.concatenate, zip(*self._parts, strict=True))
        order = np.argsort(target, kind="stable")
        self._source, self._factor = source[order], factor[order]
        self._log_q, self._tokens = log_q[order], tokens[order]
        self._target, self._begins = np.unique(target[order], return_index=True)

    def _equations(self, leads: csr_array, ends: bool) -> None:
        o, size, wide = self._objects, self._size, self._wide
        table = leads.tocoo()
        known = table.data > 0
        i, j, log_q = table.row[known], table.col[known], np.log(table.data[known])
        depth, row = np.append(o.depth(), -1), np.append(o.row, -1)
        number, column = np.array([stack[-1] if stack else (-1, -1) for stack in [*o.stacks, ()]]).T
        others = np.append(self._names, -1)[number]
        a, p, comes = np.arange(size + 1), size + np.arange(size + 1), self._unknown + row
        to_next = 2 * size + row * wide
        to_end = to_next + self._rows * wide

        def add(which: np.ndarray, target: Any, source: Any, factor: Any = -1, z: int = 1) -> None:
            k = np.flatnonzero(which)
            three = (np.broadcast_to(one, i.shape)[k] for one in (target, source, factor))
            self._parts.append((*three, log_q[k], np.full(k.size, z)))

        same, between, into = depth[i] == depth[j], row[i] >= 0, row[j] >= 0
        opening, closing = depth[j] > depth[i], (depth[j] == depth[i] - 1) & (j < size)
        valued = ~between & (depth[i] > 0)
        # the name whose value comes, and what follows, inside an object that opens or not
        to, source, factor = column[j], a[j].copy(), np.full(i.size, -1)
        for k in np.flatnonzero(opening).tolist():
            stack, d = o.stacks[j[k]], int(depth[i[k]])
            source[k] = self._opened.setdefault((int(j[k]), d), len(self._opened))
            source[k] += self._unknown + self._rows
            if d:
                factor[k], to[k] = stack[d - 1]
        out = np.where(opening, source, p[j])
        along = (same & ~into) | opening
        fresh = along & (depth[i] > 0) & (to >= 0) & (to != column[i])
        optional = to == others[i]
        add((same & into) & valued, a[i], comes[j])
        add(along & ~fresh & valued, a[i], source)
        whole = len(o.names) + number[i] * wide + to  # a name of which nothing is seen
        add(fresh & same & valued, a[i], source, whole)
        add(same & into, p[i], p[j])
        add(along & (~fresh | optional), p[i], out, factor)
        add(closing, p[i], np.where(depth[j] == 0, p[j], np.where(into, comes[j], a[j])))
        add((j == size) & (depth[i] == 0), p[i], -1, z=int(ends))
        add(fresh & between, to_next[i] + to, source)
        add(fresh & between, to_end[i] + to, out, factor)
        # names that go on, to what they can become
        longer, reaches = between & same & into, np.zeros((self._rows + 1, wide), bool)
        reaches[row[i[fresh & between]], to[fresh & between]] = True
        many = 0
        while np.count_nonzero(reaches) > many:
            many = int(np.count_nonzero(reaches))
            np.logical_or.at(reaches, row[i[longer]], reaches[row[j[longer]]])
        for c in range(wide):
            add(longer & reaches[row[j], c], to_next[i] + c, to_next[j] + c)
            add(longer & reaches[row[j], c], to_end[i] + c, to_end[j] + c)
        self._leads_on = reaches[:-1].any(1)

    def solved(self, rounds: int) -> Weights:
        """The weights, of all ways with at most as many tokens between names.

        What relates names to each other is held while the rest comes to its limit, in some sweeps.
        """
        log_x = np.full((len(LOG_Z), self._unknown), -np.inf)
        held = self._related(self._weights(log_x))
        for _ in range(SWEEPS):
            self._settle(log_x, held, rounds)
            before, held = held, self._related(self._weights(log_x))
            if not _moved(held, before).any():
                break
        return self._weights(log_x)

    def _settle(self, log_x: np.ndarray, held: np.ndarray, rounds: int) -> None:
        log_q = self._log_q + LOG_Z[:, None] * self._tokens
        left, many = np.arange(len(LOG_Z)), np.diff(np.append(self._begins, log_q.shape[1]))
        for _ in range(rounds):
            now = log_x[left]
            each = log_q[left] + self._factors(now, held[left])
            top = finite(np.maximum.reduceat(each, self._begins, axis=1))
            each = np.exp(each - np.repeat(top, many, axis=1))
            with np.errstate(divide="ignore"):
                new = np.log(np.add.reduceat(each, self._begins, axis=1)) + top
            moved = _moved(new, now[:, self._target])
            now[:, self._target] = new
            log_x[left] = now
            left = left[moved.any(1)]
            if not left.size:
                break

    def _related(self, w: Weights) -> np.ndarray:
        """Of states between values the weight whatever the name; of names what a whole one is."""
        named = log_sums(np.where(self._of_names, w.naming, -np.inf)) - np.log(self._others)
        named = np.logaddexp(named, w.naming[:, np.arange(self._rows), self._others])
        # what isn't known yet, to begin with
        named = np.where((named == -np.inf) & self._leads_on, 0.0, named)
        whole = _less(-np.log(self._names)[:, None], w.to_next)
        whole[:, np.arange(self._names.size), self._names] = 0.0
        return np.concatenate([named, whole.reshape(len(named), -1)], axis=1)

    def _factors(self, log_x: np.ndarray, held: np.ndarray) -> np.ndarray:
        """What the tokens of each term are multiplied by."""
        w, stacks, nothing = self._weights(log_x), self._objects.stacks, np.zeros((len(log_x), 1))
        opened = [w.ahead(stacks[j], np.array([j]), [], d) for j, d in self._opened]
        named, whole = np.split(held, [self._rows], axis=1)
        sources = np.concatenate([log_x, named, *opened, nothing], axis=1)
        factors = np.concatenate([w.ending, whole, nothing], axis=1)
        return np.asarray(sources[:, self._source] + factors[:, self._factor])

    def _weights(self, log_x: np.ndarray) -> Weights:
        size, of = self._size, np.arange(self._names.size)
        names = log_x[:, 2 * size :].reshape(len(log_x), 2, self._rows, self._wide)
        # the row behind the last one knows nothing
        rows = np.pad(names, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=-np.inf)
        next_, end = rows[:, :, self._objects.first].swapaxes(0, 1)
        more = np.minimum(np.exp(next_[:, of, self._names]), MOST)
        alone = np.log1p(-more)[:, :, None]
        naming = _less(names[:, 0], (next_ - alone)[:, self._object])
        naming = np.where(self._of_names, naming, names[:, 0])
        onward, out = log_x[:, :size], log_x[:, size : 2 * size]
        ending = np.pad(out[:, self._objects.within], ((0, 0), (0, 1)), constant_values=-np.inf)
        ending = ending[:, self._objects.first]
        to_next, to_end = next_ - alone, _less(end, next_)
        return Weights(self._objects, onward, out, naming, to_next, to_end, ending)


def _less(log_x: np.ndarray, log_y: np.ndarray) -> np.ndarray:
    """Logs of ratios, -inf where nothing is known of either."""
    known = (log_x > -np.inf) & (log_y > -np.inf)
    return np.where(known, log_x - np.where(known, log_y, 0.0), -np.inf)


def _moved(log_x: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Where logs are not yet what they were."""
    with np.errstate(invalid="ignore"):
        return np.abs(log_x - before) > CLOSE
