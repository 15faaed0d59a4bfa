"""One island of particles: items of a language drawn under a constraint, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, cast

import numpy as np

from ..errors import ModelError
from ..randomness import generator
from ..resampling import resample
from ..weights import log_mean_exp, normalise
from . import kernels as kn
from .ahead import Ends, Finite, Guess, chances_after, gains, log_sums, with_lost
from .constraints import Automaton, Constraint, check_size, truth
from .draw import FAR, Context, Plan, WeightedDraw, context_of, run, run_with_kin, wrong_with
from .languages import Language
from .objects import Ahead
from .outlines import Outlined
from .tokens import TokenReader, TokenTable

EXACT = Plan("exact", 2, 0, 0, -1, -1)
NOBODY = WeightedDraw(-1, -math.inf, (-math.inf, -math.inf), 0, 0, 0, "dead")
WITH_KIN = ("rao-blackwell", "one-probe")  # methods whose rejects may take others with them
RARE = 30.0  # draws of an item from a proposal, in expectation, that show what its weight does
# why a particle died; the fourth reason is the potential
NOTHING_ALLOWED, NO_MASS, NOT_WHOLE, FORBIDDEN = range(4)
TRACES = {  # by time
    "ess": float,
    "dead": int,
    "evaluations": int,
    "chi_square": float,
    "rare_chi_square": float,
    "relative_variance": float,
}

Prefix = tuple[int, ...]


@dataclass(frozen=True)
class Setup:
    """What all islands share."""

    language: Language
    constraint: Constraint
    n: int  # particles of an island
    islands: int
    length: int
    ends: Ends
    ess_threshold: float
    how: Plan
    proposal: Language | None
    potential: Callable[[Prefix], float] | None
    twist: Callable[[Prefix], float] | None
    weighted: bool
    masks: bool  # whether those of the constraint are taken, if it has any
    reach: np.ndarray | None  # whether states, or outlines, by place, can still end in time
    outline: Outlined | None = None  # what guesses where a constraint without an automaton leads

    @property
    def finite(self) -> Finite | None:
        """The automaton that the constraint is."""
        return self.constraint if isinstance(self.constraint, Automaton | TokenTable) else None

    @property
    def table(self) -> Finite | None:
        """The automaton whose masks are taken whole."""
        return self.finite if self.how.method == "exact" else None

    def allowed(self, states: np.ndarray, t: int) -> np.ndarray:
        """Items that may come at a place, by the states of an automaton."""
        constraint, reach = self.finite, self.reach
        assert constraint is not None and reach is not None
        after = constraint.rows(states)
        allowed = (after >= 0) & reach[t + 1][after]
        allowed[..., list(self.ends)] = constraint.accepting[states][..., None]
        return allowed

    def guide(self, prefix: Prefix, over: bool) -> float:
        """Log of what multiplies a weight: the potential for good, the twist on the way."""
        total = 0.0
        if self.potential is not None:
            total = _number("potential", self.potential(prefix), prefix)
            if total == math.inf:
                raise ModelError(f"potential: returned {total} for {prefix}; expected less")
        if self.twist is not None and not over:
            guess = _number("twist", self.twist(prefix), prefix)
            if math.isinf(guess):
                raise ModelError(f"twist: returned {guess} for {prefix}; expected a finite number")
            total += guess
        return total


@dataclass
class Particles:
    """The particles of an island, one a row in every array."""

    # a prefix is told by the number of the one before it and its last item, whatever its length
    key: np.ndarray
    states: np.ndarray  # of the constraint
    sequences: np.ndarray
    over: np.ndarray
    log_w: np.ndarray
    guess: np.ndarray  # what the guide said last
    # what an outline said last, in logs; by a table, that of the whole beginning with it
    chance: np.ndarray
    ancestors: np.ndarray

    def chosen(self, which: np.ndarray) -> Particles:
        """Copies of some of them."""
        return Particles(*(getattr(self, f.name)[which] for f in fields(self)))


class Step(NamedTuple):
    """The living particles at a time: their prefixes, each of which is asked about once."""

    active: np.ndarray
    prefixes: list[Prefix]
    node: np.ndarray  # the prefix of each
    first: list[int]  # a particle for each prefix
    t: int
    final: bool


@dataclass
class Node:
    """A prefix at one step: its distribution, and what is known about its next items."""

    context: Context
    state: Any
    constraint: Constraint
    ends: Ends
    final: bool
    how: Plan
    log_left: float = 0.0  # log of the mass that isn't ruled out from the beginning
    mask: np.ndarray | None = None  # what isn't
    answers: dict[int, tuple[bool, np.ndarray]] = field(default_factory=dict)
    seen: dict[int, Any] = field(default_factory=dict)  # nodes of the tree of tokens
    after: dict[int, Any] = field(default_factory=dict)
    calls: int = 0
    began: bool = False  # whether an item was allowed, but left no valid whole at the last place

    def allows(self, item: int) -> bool:
        """Whether an item may come next."""
        self.calls += 1
        if item in self.ends:
            return truth(self.constraint.complete(self.state), "constraint", self.state)
        c = self.constraint
        new = c.step(self.state, item)
        if new is None:
            return False
        if self.final and not truth(c.complete(new), "constraint", new):
            self.began = True
            return False
        self.after[item] = new
        return True

    def state_after(self, item: int) -> Any:
        """State with one item more; after the end there is none."""
        if item not in self.ends and item not in self.after:
            self.after[item] = self.constraint.step(self.state, item)
        return self.after.get(item)

    def draw(self, rng: np.random.Generator) -> WeightedDraw:
        """An item that may come next."""
        if self.context.top == -math.inf:
            return NOBODY
        if isinstance(self.constraint, TokenReader) and self.how.method in WITH_KIN:
            found = run_with_kin(rng, self.context, self.inspect, self.how)
        else:
            found = run(rng, self.context, self.allows, self.how)
        if not self.log_left:
            return found
        return replace(found, log_weight=found.log_weight + self.log_left)

    def inspect(self, item: int) -> tuple[bool, np.ndarray]:
        """Whether a token may come next, and those that are refused with it."""
        if item not in self.answers:
            alone = np.array([item])
            if item in self.ends:
                self.answers[item] = self.allows(item), alone
                return self.answers[item]
            self.calls += 1
            c = cast(TokenReader, self.constraint)
            new, kin = c.inspect(self.state, item, self.seen)
            yes = new is not None and (not self.final or c.complete(new))
            if yes:
                self.after[item] = new
            self.began |= new is not None and not yes
            self.answers[item] = yes, kin
        return self.answers[item]


def island(
    setup: Setup,
    root: np.random.SeedSequence,
    name: str,
    number: int,
    chances: Guess | Ahead | None = None,
) -> dict[str, np.ndarray]:
    """Sequences of an island, their log weights and log mean, and the traces of the run.

    A "pilot" also sums up the laws of the next item after all prefixes that it met. "unseen" is the
    log of what the chances foresee of sequences of an automaton that leave those drawn.
    """
    rng = generator(root, name, number)
    n, length = setup.n, setup.length
    p, log_block = _begun(setup), 0.0 if chances is None else chances.log_start
    p.chance[:] = log_block
    law, unseen = np.zeros(1), -math.inf
    trace: dict[str, np.ndarray] = {name: np.zeros(length, kind) for name, kind in TRACES.items()}
    trace["deaths"] = np.zeros((length, 4), np.int64)
    prefixes: list[Prefix] = [()]
    size = 0
    for t in range(length):
        final = t == length - 1
        active = np.flatnonzero(~p.over & (p.log_w > -np.inf))
        if not active.size:
            trace["ess"][t:], trace["dead"][t:] = trace["ess"][t - 1], trace["dead"][t - 1]
            break
        step = _step(p, active, prefixes, size, (t, final))
        prefixes = step.prefixes
        target, drawn = laws(setup, prefixes, size)
        size = target.shape[1]
        if name == "pilot":
            law = law + np.exp(target - np.logaddexp.reduce(target, axis=1)[:, None]).sum(0)
        items, log_steps, spread, why, trace["evaluations"][t], left = _draw(
            setup, rng, p, step, drawn, chances
        )
        unseen = np.logaddexp(unseen, left)
        if setup.weighted:
            before = p.log_w[active]
            p.log_w[active] += log_steps
            if setup.proposal is not None:
                ratios, *chi_squares = _correct(setup, step, target, drawn, items, before)
                p.log_w[active] += ratios
                trace["chi_square"][t], trace["rare_chi_square"][t] = chi_squares
        p.log_w[active[items < 0]] = -np.inf
        p.sequences[active, t] = items
        p.key[active] = step.node * size + items
        p.over[active] = final | np.isin(items, setup.ends)
        died = p.log_w[active] == -np.inf
        _guide(setup, p, step, items)
        why[~died] = FORBIDDEN
        trace["deaths"][t] = np.bincount(why[p.log_w[active] == -np.inf], minlength=4)
        trace["dead"][t] = np.count_nonzero(p.log_w == -np.inf)
        if trace["dead"][t] == n:
            trace["dead"][t:] = n
            break
        w = normalise(p.log_w)
        trace["ess"][t] = 1.0 / (w @ w)
        trace["relative_variance"][t] = w[active] ** 2 @ spread
        if not final and trace["ess"][t] < setup.ess_threshold * n:
            log_block += log_mean_exp(p.log_w)
            p = p.chosen(resample(w, seed=rng))
            p.log_w[:] = 0.0
    log_w = np.where(p.over, p.log_w, -np.inf) + log_block
    log_z = log_mean_exp(log_w) if (log_w > -np.inf).any() else -math.inf
    return {
        "log_z": np.array(log_z),
        "log_w": log_w,
        "sequences": p.sequences,
        "ancestors": p.ancestors,
        "law": law,
        "unseen": np.array(unseen),
        **trace,
    }


def _begun(setup: Setup) -> Particles:
    n = setup.n
    start, states = setup.constraint.start(), np.empty(n, np.int64 if setup.table else object)
    for i in range(n):
        states[i] = start
    return Particles(
        key=np.zeros(n, np.int64),
        states=states,
        sequences=np.full((n, setup.length), -1, np.int64),
        over=np.zeros(n, bool),
        log_w=np.zeros(n),
        guess=np.zeros(n),
        chance=np.zeros(n),
        ancestors=np.arange(n),
    )


def _step(
    p: Particles, active: np.ndarray, before: list[Prefix], size: int, at: tuple[int, bool]
) -> Step:
    numbers: dict[int, int] = {}
    node = [numbers.setdefault(one, len(numbers)) for one in p.key[active].tolist()]
    first = list(dict(zip(node, active.tolist(), strict=True)).values())
    prefixes = [(*before[one // size], one % size) for one in numbers] if size else before
    return Step(active, prefixes, np.array(node), first, *at)


def laws(setup: Setup, prefixes: list[Prefix], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the language, and those that items are drawn by."""
    target = _logits("language", setup.language, prefixes)
    if not size:
        check_size(setup.constraint, target.shape[1], setup.ends)
    elif target.shape[1] != size:
        raise ModelError(
            f"language: logits of {target.shape[1]} items after {prefixes[0]}; there were {size} "
            "before"
        )
    if setup.proposal is None:
        return target, target
    drawn = _logits("proposal", setup.proposal, prefixes)
    if drawn.shape != target.shape:
        raise ModelError(f"proposal: logits of shape {drawn.shape}; expected {target.shape}")
    return target, drawn


def _logits(name: str, source: Language, prefixes: list[Prefix]) -> np.ndarray:
    table = np.asarray(source.logits(prefixes))
    if table.dtype.kind not in "fiu":
        raise TypeError(f"{name}: logits are an array of {table.dtype}; expected real numbers")
    table = table.astype(np.float64, copy=False)
    if table.ndim != 2 or len(table) != len(prefixes):
        raise ModelError(f"{name}: logits have shape {table.shape}; expected ({len(prefixes)}, V)")
    # NaN and +inf make the largest one of them, and -inf everywhere makes it -inf
    top = np.maximum.reduce(table, axis=1)
    if (np.abs(top) <= FAR).all():
        return np.require(table, requirements=("C", "W"))
    if not np.isfinite(top).all():
        m = int(np.flatnonzero(~np.isfinite(top))[0])
        raise ModelError(f"{name}: after {prefixes[m]}: {wrong_with(table[m])}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(table - top[:, None])


def _draw(
    setup: Setup,
    rng: np.random.Generator,
    p: Particles,
    step: Step,
    logits: np.ndarray,
    chances: Guess | Ahead | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int, float]:
    """Items (-1: none), log weights and their relative variances, reasons, calls, what is left."""
    size = step.active.size
    why = np.full(size, NO_MASS)
    if setup.table is not None:
        states = p.states[step.first]
        allowed, gain = setup.allowed(states, step.t), None
        if isinstance(chances, Guess):
            last = np.array([prefix[-1] if prefix else 0 for prefix in step.prefixes])
            gain = gains(setup.table, chances, states, last, step.t, setup.ends)
        items, log_steps, log_items, log_left = _by_table(rng, allowed, gain, logits, step.node)
        left = float(np.logaddexp.reduce(p.chance[step.first] + log_left))
        p.chance[step.active] += log_items
        p.states[step.active] = setup.table.after(p.states[step.active], items)
        return items, log_steps, np.zeros(size), why, len(step.first), left
    after = None
    if chances is not None:
        after = _after(setup, chances, p.chosen(np.array(step.first)), logits, step.t)
    nodes = []
    for m, i in enumerate(step.first):
        led = None if after is None else after[m] - p.chance[i]
        nodes.append(_node(setup, p.states[i], logits[m], step, led))
    items, log_steps, spread = np.full(size, -1), np.full(size, -np.inf), np.zeros(size)
    for i, m in enumerate(step.node.tolist()):
        found = nodes[m].draw(rng)
        if found.index >= 0:
            items[i], log_steps[i], spread[i] = (
                found.index,
                found.log_weight,
                found.relative_variance,
            )
            p.states[step.active[i]] = nodes[m].state_after(found.index)
            if after is not None:
                p.chance[step.active[i]] = after[m, found.index]
        else:
            why[i] = _reason(logits[m], nodes[m])
    # some methods can't tell the variance
    calls = sum(node.calls for node in nodes)
    return items, log_steps, np.nan_to_num(spread), why, calls, -math.inf


def _after(
    setup: Setup, chances: Guess | Ahead, p: Particles, logits: np.ndarray, t: int
) -> np.ndarray:
    """Logs of the chances after every item, by the outline of the constraint."""
    c, outline, states = setup.constraint, setup.outline, list(p.states)
    assert outline is not None
    if t == setup.length - 1 and not setup.ends:
        return np.zeros(logits.shape)
    of_tokens = isinstance(c, TokenReader)
    numbers = outline.numbers(states, of_tokens)
    whole = np.array([bool(c.complete(state)) for state in states])
    if isinstance(chances, Ahead):
        out = np.full(logits.shape, -np.inf)
        for m in np.flatnonzero(numbers >= 0).tolist():
            said, row = outline.names(states[m], of_tokens), outline.table.row(numbers[m])
            out[m] = chances.after(numbers[m], said, t, row, outline.reopens)
    else:
        out = chances_after(outline.table, chances, numbers, logits.shape[1], t)
    return with_lost(out, whole, p.chance, logits, setup.ends)


def _reason(logits: np.ndarray, node: Node) -> int:
    """Why no item was found; those that were not refused may be allowed."""
    maybe, ends = np.isin(node.context.known, (kn.ACCEPTED, kn.UNKNOWN)), list(node.ends)
    if node.mask is not None:
        maybe &= node.mask
    possible, began = logits > -np.inf, node.began
    if node.final and ends:
        began = bool((possible[ends] | ~maybe[ends]).any())
    if began:
        return NOT_WHOLE
    return NO_MASS if maybe[~possible].any() else NOTHING_ALLOWED


def _node(
    setup: Setup, state: Any, logits: np.ndarray, step: Step, gain: np.ndarray | None
) -> Node:
    """A prefix with what is known without asking.

    That is at the last place that only an end may come, a row of an automaton, a mask of the
    constraint, or which tokens can't come whatever the state. Where there is an outline, items are
    led by what they gain.
    """
    c, ends, how, final = setup.constraint, setup.ends, setup.how, step.final
    only_end = final and bool(ends)
    of = getattr(c, "mask", None) if setup.masks and not only_end else None
    mask = None if of is None else _checked(of(state), logits.size)
    if mask is None and isinstance(c, TokenReader) and not only_end and how.method in WITH_KIN:
        mask, of = c.possible(state), None
    log_left, without = 0.0, of is None or final
    if (mask is not None and without) or gain is not None:
        # what can't come is left out from the beginning
        every = log_sums(logits)
        logits = logits if gain is None else logits + gain
        if mask is not None and without:
            logits = np.where(mask, logits, -np.inf)
        log_left = float(log_sums(logits) - every)
    if log_left == -math.inf:
        context = context_of(np.zeros(logits.size))
        context.learn_all(np.zeros(logits.size, bool))
        context.top = -math.inf
        return Node(context, state, c, ends, final, EXACT, mask=mask)
    context = context_of(logits)
    context.learn_nothing(False)
    if only_end:
        context.known[:] = kn.REJECTED
        context.known[list(ends)] = kn.UNKNOWN
    elif setup.finite is not None:
        context.learn_all(setup.allowed(np.array(state), step.t))
    elif mask is not None and of is not None and not final:
        context.learn_all(mask)
        how = EXACT
    node = Node(context, state, c, ends, final, EXACT if only_end else how, log_left, mask)
    node.calls += of is not None
    return node


def _checked(mask: Any, size: int) -> np.ndarray | None:
    """The mask of a constraint, if it has one for this state."""
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (size,):
        raise ModelError(
            f"constraint: its mask is an array of {mask.dtype}, shape {mask.shape}; expected "
            f"{size} bools"
        )
    return mask


def _by_table(
    rng: np.random.Generator,
    allowed: np.ndarray,
    gain: np.ndarray | None,
    logits: np.ndarray,
    node: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Items (-1: none is allowed) and log weights of all particles, by the masks of the states.

    Of items and, for each prefix, of what is left beside those drawn, also the log probability
    times the gain, if there is any.
    """
    top = np.maximum.reduce(logits, axis=1)[:, None]
    w = np.exp(logits - top)
    total = np.add.reduce(w, axis=1)
    if gain is None:
        w *= allowed
    else:
        logits = np.where(allowed, logits + gain, -np.inf)
        high = np.maximum.reduce(logits, axis=1)
        w = np.exp(logits - np.where(high > -np.inf, high, 0.0)[:, None])
    cumulated = np.add.accumulate(w, axis=1)
    inside = cumulated[:, -1]
    with np.errstate(divide="ignore"):
        if gain is None:
            # what is left when nearly everything is allowed is not more than everything
            log_steps = np.log(np.minimum(inside / total, 1.0))[node]
        else:
            log_steps = (np.log(inside / total) + high - top[:, 0])[node]
    u = rng.random(node.size) * inside[node]
    items = np.add.reduce(cumulated[node] <= u[:, None], axis=1)
    size = logits.shape[1]
    if (items == size).any():
        # a sum rounded up must not point behind the last item allowed
        last = size - 1 - (w > 0)[:, ::-1].argmax(axis=1)
        items = np.where(inside[node] > 0, np.minimum(items, last[node]), -1)
    if gain is None:
        return items, log_steps, np.zeros(items.size), np.full(inside.size, -np.inf)
    drawn = np.zeros(inside.size)
    some = np.unique((node * size + items)[items >= 0])
    np.add.at(drawn, some // size, w.ravel()[some])
    scale = high - top[:, 0] - np.log(total)
    with np.errstate(divide="ignore"):
        log_items = np.log(np.where(items >= 0, w[node, items], 0.0)) + scale[node]
        return items, log_steps, log_items, np.log(np.maximum(inside - drawn, 0.0)) + scale


def _correct(
    setup: Setup,
    step: Step,
    target: np.ndarray,
    drawn: np.ndarray,
    items: np.ndarray,
    log_w: np.ndarray,
) -> tuple[np.ndarray, float, float]:
    """Log ratios of language and proposal; chi-square between them, of all items and rare ones."""
    log_p = target - np.logaddexp.reduce(target, axis=1)[:, None]
    log_q = drawn - np.logaddexp.reduce(drawn, axis=1)[:, None]
    share = np.bincount(step.node, np.exp(log_w - log_w.max()), len(step.prefixes))
    share = share / share.sum()
    rare = log_q < math.log(RARE / (setup.n * setup.islands))
    some = items >= 0
    at = step.node[some], items[some]
    ratios = np.zeros(items.size)
    ratios[some] = log_p[at] - log_q[at]
    return (
        ratios,
        float((_second_moment(log_p, log_q) - 1.0) @ share),
        float(_second_moment(np.where(rare, log_p, -np.inf), log_q) @ share),
    )


def _second_moment(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """Of p/q under q, row by row: known in full, unlike that of a sample."""
    with np.errstate(invalid="ignore"):
        terms = np.where(log_p > -np.inf, 2 * log_p - log_q, -np.inf)
    return np.exp(np.minimum(np.logaddexp.reduce(terms, axis=1), 700.0))


def _guide(setup: Setup, p: Particles, step: Step, items: np.ndarray) -> None:
    """Multiply the weights by what potential and twist say anew."""
    if setup.potential is None and setup.twist is None:
        return
    for i, m, item in zip(step.active.tolist(), step.node.tolist(), items.tolist(), strict=True):
        if item >= 0:
            new = setup.guide((*step.prefixes[m], item), bool(p.over[i]))
            p.log_w[i] += new - p.guess[i]
            p.guess[i] = new


def _number(name: str, value: object, prefix: Prefix) -> float:
    try:
        number = float(cast(float, value))
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ModelError(f"{name}: returned {value!r} for {prefix}; expected a number")
    return number
