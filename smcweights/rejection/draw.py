"""One item under a constraint, with its weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments as check
from ..errors import ModelError, returning
from ..execution import batches, open_run
from ..randomness import generator, seed_sequence
from ..references import references_of
from ..results import Result, table
from . import kernels as kn
from .constraints import truth

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

REDRAW = ("harmonic", "unordered", "two-loop")
METHODS = ("auto", "rao-blackwell", *REDRAW, "one-probe", "set", "exact")
# yes or no, or soft values, by a function of an item (of many, in batches) or as an array
Answers = Callable[[Any], object] | ArrayLike
Seed = int | np.random.SeedSequence | np.random.Generator | None
PEEK = 32  # most items offered at once
UNIFORMS = 8  # draws of a run to begin with
FAR = 1024.0  # size of logits from which an offset would cost digits


@dataclass(frozen=True)
class WeightedDraw(Result):
    """An item and its weight.

    Attributes
    ----------
    index : int
        The item; -1 where the weight is zero.
    log_weight : float
        E[weight 1{index = i}] = p_i c_i.
    log_bounds : (float, float)
        Logs of certain bounds on what the weight estimates, the probability of the constraint:
        the accepted mass, and all but the rejected mass. Of soft values, which are any answers
        but bools, on their mean: what those met make of it, and inf while items are left.
    n_evaluations, n_accepted, n_rejected : int
        Items inspected, and how many of them were accepted and rejected.
    status : {"ok", "exhausted", "budget", "dead"}
        "exhausted": every item was inspected, the weight is exact. "budget": the evaluations ran
        out; the weight (zero without an accepted item) is valid. "dead": no item is accepted.
    relative_variance : float
        The mean of weight^2 times it is the variance of the weight: what one draw says of the
        spread of all. It may be negative. NaN for methods "two-loop", "one-probe" and "set", for
        ``n_accepts=2`` and with ``max_evaluations``.
    drawn : (ndarray, ndarray) or None
        The set of ``method="set"``; see `children`.
    """

    index: int
    log_weight: float
    log_bounds: tuple[float, float]
    n_evaluations: int
    n_accepted: int
    n_rejected: int
    status: str
    relative_variance: float = math.nan
    drawn: tuple[np.ndarray, np.ndarray] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """The item, its weight, and what was asked."""
        item = "no item" if self.index < 0 else f"item {self.index}"
        lower, upper = (f"{math.exp(end):.4g}" for end in self.log_bounds)
        of = "" if self.drawn is None else f", one of a set of {len(self.drawn[0])}: .children"
        return (
            f"WeightedDraw: {item}, weight {math.exp(self.log_weight):.4g}, status {self.status}\n"
            f"  an estimate of the constraint's probability, which is within [{lower}, {upper}]\n"
            f"  {self.n_evaluations} asked: {self.n_accepted} accepted, {self.n_rejected} rejected"
            f"{of}"
        )

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """The weight with its standard error between its certain bounds, whatever the level.

        Returns
        -------
        pandas.DataFrame
            One row; columns: value, standard_error, lower, upper. The error is what one draw says
            of it, NaN where it says nothing.
        """
        with np.errstate(over="ignore"):
            weight, lower, upper = np.exp((self.log_weight, *self.log_bounds))
        spread = self.relative_variance
        error = weight * math.sqrt(spread) if spread >= 0 else math.nan
        return table({f"weight of item {self.index}": (weight, error, lower, upper)})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Weights of the items between the certain bounds, see `smcweights.plots.weighted`."""
        from .figures import weighted

        return weighted(self, ax)

    @property
    def references(self) -> tuple[str, ...]:
        """What to cite."""
        return references_of("weighted rejection")

    @property
    def children(self) -> tuple[np.ndarray, np.ndarray]:
        """Items and log weights of a properly weighted set; one item unless ``method="set"``."""
        if self.drawn is not None:
            return self.drawn
        some = int(self.index >= 0)
        return np.array([self.index] * some, np.int64), np.array([self.log_weight] * some)


@dataclass(frozen=True)
class Plan:
    """What a run does; `plan` checks it."""

    method: str
    accepts: int
    base: int
    slope: int
    budget: int
    most: int

    @cached_property
    def start(self) -> np.ndarray:
        """State of a new run, and what ends it, as the kernels read them."""
        rule = self.accepts, self.base, self.slope, self.budget, self.most, self.method in REDRAW
        state = np.zeros(kn.ENTRIES, np.int64)
        state[kn.PENDING], state[kn.ACCEPTS :] = -1, rule
        return state


def plan(*options: object) -> Plan:
    """Checked options of a run: n_accepts, method, max_evaluations, after_first."""
    try:
        return _plan(*options)
    except TypeError:
        # what can't be hashed is refused with its name
        return _plan.__wrapped__(*options)


@lru_cache(typed=True)
def _plan(
    n_accepts: int, method: str, max_evaluations: int | None, after_first: str | int | None
) -> Plan:
    check.one_of("method", method, METHODS)
    accepts = check.count("n_accepts", n_accepts, 2)
    default = isinstance(after_first, str) and after_first == "4+2j"
    base, slope = (4, 2) if default else (0, 0)
    if after_first is not None and not default:
        base = check.count("after_first", after_first)
    budget = most = -1
    if method == "one-probe":
        accepts, base, slope = 2, 1, 0
    if method == "two-loop":
        accepts = 2
    if max_evaluations is not None:
        limit = check.count("max_evaluations", max_evaluations, most=check.MOST)
        if method in (*REDRAW, "exact"):
            raise ValueError(f"max_evaluations: method {method!r} has no unbiased weight for it")
        if method == "set":
            most = limit
        else:
            # rejects may be as many as leave room for all accepts but the last
            budget = limit - accepts + 1
            if budget < 1:
                raise ValueError(
                    f"max_evaluations: got {limit}; expected at least n_accepts = {accepts}"
                )
    if method in ("set", *REDRAW):
        # their weights know no such end
        if after_first not in (None, "4+2j"):
            raise ValueError(f"after_first: method {method!r} has no unbiased weight for it")
        base = slope = 0
    return Plan(method, accepts, base, slope, budget, most)


@dataclass
class Context:
    """Masses of one distribution and the answers known about it; serves many runs."""

    logits: np.ndarray
    top: float  # the logit that has weight 1
    w: np.ndarray
    sums: np.ndarray  # of blocks of weights
    total: float
    log_total: float  # log of the sum of exp(logits)
    known: np.ndarray
    values: np.ndarray | None  # where they may be soft
    order: np.ndarray
    state: np.ndarray
    scales: np.ndarray
    dirty: int = 0  # items that the last run took
    graded: bool = False  # whether an answer was not a bool

    def learn_nothing(self, soft: bool) -> None:
        """All answers are unknown."""
        self.known = np.empty(self.logits.size, np.int8)
        self.known.fill(kn.UNKNOWN)
        self.values = np.zeros(self.logits.size) if soft else None

    def learn_all(self, values: np.ndarray) -> None:
        """All answers are given as an array."""
        if values.dtype == bool:
            # of arrays that can't be written to, kernels would be compiled once more
            self.known = np.require(values, requirements=("C", "W")).view(np.int8)
        else:
            self.values, self.graded = values.astype(np.float64), True
            self.known = (values > 0).view(np.int8)


NOTHING = np.empty(0, np.int8)


def context_of(logits: np.ndarray, where: str = "logits") -> Context:
    """Masses of the items; nothing is known about answers."""
    top = float(np.maximum.reduce(logits))
    if not math.isfinite(top):
        raise ValueError(f"{where}: {wrong_with(logits)}")
    if abs(top) > FAR:
        with np.errstate(over="ignore"):
            logits, top = logits - top, 0.0
    w = logits - top
    np.exp(w, out=w)
    sums = np.empty(-(-logits.size // kn.BLOCK))
    whole = logits.size // kn.BLOCK
    if whole < 32:
        total = kn.block_sums(w, sums)
    else:
        # NumPy adds long rows of blocks several times faster than a compiled loop in order
        w[: whole * kn.BLOCK].reshape(whole, kn.BLOCK).sum(1, out=sums[:whole])
        sums[whole:] = w[whole * kn.BLOCK :].sum()
        total = float(sums.sum())
    order, state = np.empty(logits.size + 64, np.int64), np.empty(kn.ENTRIES, np.int64)
    log_total, scales = top + math.log(total), np.empty(3)
    return Context(logits, top, w, sums, total, log_total, NOTHING, None, order, state, scales)


def wrong_with(logits: np.ndarray) -> str:
    """Why the largest logit isn't finite."""
    bad = np.flatnonzero(np.isnan(logits) | (logits == np.inf))
    found = f"{logits[bad[0]]} at item {bad[0]}" if bad.size else "-inf at every item"
    return f"{found}; expected finite numbers or -inf, not all -inf"


def prepare(logits: np.ndarray, constraint: Answers, soft: bool, where: str = "logits") -> Context:
    """A context, with the answers of an array constraint."""
    context = context_of(logits, where)
    if callable(constraint):
        context.learn_nothing(soft)
        return context
    values = check.unmasked("constraint", constraint)
    if values.dtype.kind not in "biuf":
        raise TypeError(
            f"constraint: got {check.kind_of(values)}; expected bools or numbers from 0"
        )
    if values.shape != logits.shape:
        raise ValueError(f"constraint: got shape {values.shape}; expected {logits.shape}")
    if values.dtype != bool and not (soft and np.issubdtype(values.dtype, np.number)):
        hint = "" if soft else "; numbers from 0 go with method='set' or 'exact'"
        raise TypeError(f"constraint: got an array of {values.dtype}; expected bool{hint}")
    if values.dtype != bool and not (np.isfinite(values).all() and (values >= 0).all()):
        bad = int(np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[0])
        raise ValueError(f"constraint: {values[bad]} at item {bad}; expected numbers from 0")
    context.learn_all(values)
    return context


def run(
    rng: np.random.Generator,
    context: Context,
    constraint: Callable[[Any], object] | None,
    how: Plan,
    batch: bool = False,
) -> WeightedDraw:
    """One run; the context comes out with the answers it learned."""
    c = context
    if how.method == "exact":
        return _exact(rng, c, constraint, batch)
    while c.order.size < c.logits.size + how.accepts:
        c.order = np.empty(2 * c.order.size, np.int64)
    if c.dirty:
        if c.scales[kn.TOP] != c.top:
            np.exp(c.logits - c.top, out=c.w)
            kn.block_sums(c.w, c.sums)
        else:
            kn.restore(c.logits, c.w, c.sums, c.order, c.dirty, c.top)
    kn.begin(c.state, how.start, c.scales, c.total, c.top)
    due = np.empty(1, np.int64)
    uniforms = rng.random(UNIFORMS)
    while True:
        item = kn.advance(uniforms, c.logits, c.w, c.sums, c.known, c.order, c.state, c.scales)
        if item == -2:
            uniforms = rng.random(min(4 * uniforms.size, 4096))
            c.state[kn.USED] = 0
            continue
        if item < 0:
            break
        assert constraint is not None
        wanted = [item]
        if due.size > 1:
            many = kn.upcoming(uniforms, c.w, c.sums, c.known, c.state, c.scales, due)
            wanted = due[:many].tolist()
        if batch:
            due = _longer(due)
            ask(c, constraint, np.array(wanted), True)
            continue
        for item in wanted:
            value = constraint(item)
            if value is False and c.values is None:
                c.known[item] = False
            elif _take_down(c, item, value):
                break
        else:
            # looking ahead pays where answers are no
            due = _longer(due)
    c.dirty = int(c.state[kn.SEEN])
    return _weigh(rng, c, how)


def run_with_kin(
    rng: np.random.Generator,
    c: Context,
    inspect: Callable[[int], tuple[bool, np.ndarray]],
    how: Plan,
) -> WeightedDraw:
    """One run in which an item that is rejected takes others with it, in one reject.

    ``inspect`` says of an item whether it is accepted and which are rejected with it, always the
    same. The weight's proof asks no more than that the mass left follows from the rejects in order
    and the accepts; the mass that a reject takes away is then that of all that go with it.
    """
    c.learn_nothing(False)
    kn.begin(c.state, how.start, c.scales, c.total, c.top)
    taken: dict[int, float] = {}  # log masses of rejects
    uniforms = rng.random(UNIFORMS)
    while True:
        item = kn.advance(uniforms, c.logits, c.w, c.sums, c.known, c.order, c.state, c.scales)
        if item == -2:
            uniforms = rng.random(min(4 * uniforms.size, 4096))
            c.state[kn.USED] = 0
            continue
        if item < 0:
            break
        yes, kin = inspect(item)
        if not yes:
            taken[item] = kn.drop(c.w, c.sums, item, kin, c.known, c.scales)
        c.known[item] = yes
    c.dirty = int(c.state[kn.SEEN])
    rejects = list(taken)
    own = c.logits[rejects]
    c.logits[rejects] = list(taken.values())
    found = _weigh(rng, c, how)
    c.logits[rejects] = own
    np.exp(c.logits - c.top, out=c.w)
    kn.block_sums(c.w, c.sums)
    return found


def _longer(due: np.ndarray) -> np.ndarray:
    """Room for more items at once."""
    return np.empty(2 * due.size, np.int64) if due.size < PEEK else due


def ask(c: Context, constraint: Callable[[Any], object], items: np.ndarray, batch: bool) -> None:
    """Take down the answers about items, one after the other or of all at once."""
    for item, value in zip(items.tolist(), answers_of(constraint, items, batch), strict=True):
        _take_down(c, item, value)


def answers_of(
    constraint: Callable[[Any], object], items: np.ndarray, batch: bool
) -> Iterable[object]:
    """What a constraint says about items, one after the other or of all at once."""
    if not batch:
        return map(constraint, items.tolist())
    answers = np.asarray(constraint(items))
    if answers.shape != items.shape:
        raise ModelError(
            f"constraint: returned shape {answers.shape} for {items.size} items; expected "
            f"{items.shape}"
        )
    return answers


def judged(value: object, item: int, soft: bool) -> float:
    """An answer, checked: 0 or 1, or any number from 0 if it may be soft."""
    if not soft:
        yes = value is True or value is False
        return bool(value if yes else truth(value, "constraint", f"item {item}"))
    try:
        number = float(cast(float, value))
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ModelError(f"constraint: returned {value!r} for item {item}; expected from 0")
    return number


def _take_down(c: Context, item: int, value: object) -> bool:
    """Keep an answer; whether it is yes."""
    if c.values is None and (value is True or value is False):
        c.known[item] = value
        return bool(value)
    number = judged(value, item, c.values is not None)
    if c.values is not None:
        c.values[item] = number
        c.graded |= not isinstance(value, bool | np.bool_)
    c.known[item] = yes = number > 0
    return yes


WEIGHTS = {
    "harmonic": kn.HARMONIC,
    "unordered": kn.UNORDERED,
    "two-loop": kn.TWO_LOOP,
    "set": kn.OF_SET,
}
STATUS = {kn.BY_ACCEPT: "ok", kn.BY_CAP: "ok", kn.BY_BUDGET: "budget", kn.EXHAUSTED: "exhausted"}


def _weigh(rng: np.random.Generator, c: Context, how: Plan) -> WeightedDraw:
    code = WEIGHTS.get(how.method, kn.AVERAGED)
    index, weight, spread, inside, upper, log_rest, calls, rejects, ended = kn.weigh(
        c.logits, c.log_total, c.known, c.order, c.state, c.scales, code
    )
    children = None
    status = STATUS[ended]
    if index < 0:
        status = "dead" if log_rest == -math.inf else "budget"
    elif how.method == "set":
        index, weight, children = _set_draw(rng, c, log_rest, ended)
    if c.graded and c.values is not None:
        items = c.order[: c.dirty]
        items = items[c.known[items] == kn.ACCEPTED]
        inside = kn.log_sum(c.logits[items] - c.log_total + np.log(c.values[items]))
        upper = inside if ended == kn.EXHAUSTED else math.inf
    bounds, accepts = (inside, upper), calls - rejects
    return WeightedDraw(index, weight, bounds, calls, accepts, rejects, status, spread, children)


def _set_draw(
    rng: np.random.Generator, c: Context, log_rest: float, ended: int
) -> tuple[int, float, tuple[np.ndarray, np.ndarray] | None]:
    order = c.order[: c.dirty]
    log_p = c.logits[order] - c.log_total
    if ended != kn.EXHAUSTED:
        # the item that ended the run carries no weight
        log_rest = float(np.logaddexp(log_rest, log_p[-1]))
        order, log_p = order[:-1], log_p[:-1]
    inside = c.known[order] == kn.ACCEPTED
    if not inside.any():
        return -1, -math.inf, None
    log_w = (log_p if ended == kn.EXHAUSTED else kn.set_weights(log_p, log_rest))[inside]
    items = order[inside].copy()
    if c.values is not None:
        log_w = log_w + np.log(c.values[items])
    total = kn.log_sum(log_w)
    pick = int(np.searchsorted(np.cumsum(np.exp(log_w - total)), rng.random(), side="right"))
    return int(items[min(pick, items.size - 1)]), total, (items, log_w)


def _exact(
    rng: np.random.Generator, c: Context, constraint: Callable[[Any], object] | None, batch: bool
) -> WeightedDraw:
    unknown = np.flatnonzero((c.known == kn.UNKNOWN) & (c.logits > -np.inf))
    if constraint is not None and unknown.size:
        ask(c, constraint, unknown, batch)
    soft = np.empty(0) if c.values is None else c.values
    index, weight, inside, n, accepts = kn.masked(
        c.logits, c.w, c.top, c.log_total, c.known, soft, rng.random()
    )
    if c.graded:
        inside = weight
    else:
        weight = inside = min(inside, 0.0)
    status = "exhausted" if accepts else "dead"
    return WeightedDraw(index, weight, (inside, inside), n, accepts, n - accepts, status, 0.0)


def weighted_rejection(
    logits: ArrayLike,
    constraint: Answers,
    *,
    n_accepts: int = 3,
    method: str = "auto",
    max_evaluations: int | None = None,
    after_first: str | int | None = "4+2j",
    batch: bool = False,
    seed: Seed = None,
    executor: Executor | str | None = None,
) -> WeightedDraw | list[WeightedDraw]:
    """Draw an item that satisfies a constraint, with a weight of mean P(constraint).

    Items come without replacement from p = softmax(logits) and are inspected until `n_accepts`
    of them are accepted; the first is returned. It has the law p given the constraint, and
    E[weight 1{index = i}] = p_i c_i.

    Parameters
    ----------
    logits : array_like, shape (V,) or (rows, V)
        Unnormalised log probabilities; -inf is allowed, NaN and +inf are not.
    constraint : callable or array_like
        item -> bool, called at most once for each item; a NumPy, numba or JAX function will do.
        With ``batch=True``: array of items -> array of bool. Or a bool array of shape (V,), or
        (rows, V). With methods "set" and "exact" its values may be any numbers from 0.
    n_accepts : int, default 3
        Accepted items to wait for, at least 2: more cost more evaluations and vary less.
    method : str, default "auto"
        "rao-blackwell": the one-probe weight averaged over where the accepts stood.
        "harmonic", "two-loop": accepted items may come again; "unordered" averages the harmonic
        weight over the order of the rejects, too. "one-probe": one more inspection
        after the first accept. "set": a properly weighted set of items, soft values allowed.
        "exact": every item is inspected. "auto": "exact" for arrays, else "rao-blackwell".
        Weights of "two-loop" and "harmonic" have long tails, the more so the lighter the accepted
        items are: a mean of many may still miss most of its expectation.
    max_evaluations : int, optional
        Most evaluations, at least `n_accepts`; a run without an accept by then has weight zero.
        Not for "exact" and the methods in which accepted items come again.
    after_first : int, "4+2j" or None, default "4+2j"
        Rejects after the first accept that end a run of "rao-blackwell", j counting those before.
    batch : bool, default False
        Whether the constraint takes many items at once.
    seed : None, int, SeedSequence or Generator
        A Generator is used as it is.
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the rows are drawn; a single one is too short to be sent. There is no checkpoint: the
        draws of rows that are computed one by one are the caller's to keep.

    Returns
    -------
    WeightedDraw
        Or a list of these, one for each row.

    Raises
    ------
    ModelError
        The constraint returned something else than asked for; the message names the item.
    ValueError, TypeError
        An argument is wrong.

    References
    ----------
    Lipkin et al. (2025), Fast controlled generation from language models with adaptive weighted
    rejection sampling, arXiv 2504.05410. Des Raj (1956) and Murthy (1957) for the weights.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> draw = smw.weighted_rejection(np.zeros(1000), lambda i: i % 7 == 0, seed=1)
    >>> draw.index % 7, draw.status, draw.n_evaluations < 100
    (0, 'ok', True)
    """
    x, batch = check_logits(logits), check.flag("batch", batch)
    method = decided(method, constraint, max_evaluations is not None)
    how = plan(n_accepts, method, max_evaluations, after_first)
    rows = x.reshape(-1, x.shape[-1])
    own: list[Answers] = []
    if not callable(constraint):
        given = check.unmasked("constraint", constraint)
        if given.shape not in (x.shape, x.shape[-1:]):
            raise ValueError(
                f"constraint: got shape {given.shape}; expected a function of an item, or answers "
                f"of shape {x.shape}"
            )
        own = list(np.broadcast_to(given, rows.shape))
    work = (constraint if callable(constraint) else None, how, batch, x.ndim == 1)
    if executor is None:
        root = seed if isinstance(seed, np.random.Generator) else seed_sequence(seed)
        with returning("constraint"):
            out = _rows(*work, root, 0, rows, own)
        return out[0] if x.ndim == 1 else out
    if isinstance(seed, np.random.Generator):
        raise ValueError("seed: got a Generator, of which rows draw in turn; expected a number")
    rows_of, named = partial(_rows, *work), "constraint"
    with open_run(rows_of, executor=executor, progress=False, seed=seed, named=named) as opened:
        parts = batches(len(rows), vectorized=False)
        jobs = [(opened.root, a, rows[a:b], own[a:b]) for a, b in parts]
        out = [draw for part in opened.map("rows", jobs) for draw in part]
    return out[0] if x.ndim == 1 else out


def _rows(
    constraint: Callable[[Any], object] | None,
    how: Plan,
    batch: bool,
    single: bool,
    root: np.random.SeedSequence | np.random.Generator,
    first: int,
    rows: np.ndarray,
    answers: Sequence[Answers],
) -> list[WeightedDraw]:
    """Draws of some rows of logits, each with answers of its own or by a function."""
    out, soft = [], how.method in ("set", "exact")
    for r, row in enumerate(rows, first):
        rng = root
        if not isinstance(rng, np.random.Generator):
            rng = generator(rng, "weighted_rejection", r)
        own = constraint if constraint is not None else answers[r - first]
        context = prepare(row, own, soft, "logits" if single else f"logits: row {r}")
        out.append(run(rng, context, constraint, how, batch))
    return out


def decided(method: str, constraint: Answers, limited: bool = False) -> str:
    """The method that is meant: all answers of an array are known at no cost."""
    if not isinstance(method, str) or method != "auto":
        return method
    return "rao-blackwell" if callable(constraint) or limited else "exact"


def check_logits(logits: ArrayLike, most_dimensions: int = 2) -> np.ndarray:
    """Logits as a C-ordered array of floats of one or two dimensions."""
    # not copied: a draw takes little longer than that
    x = check.numbers("logits", logits)
    if not 1 <= x.ndim <= most_dimensions or x.size == 0:
        shapes = "(V,)" if most_dimensions == 1 else "(V,) or (rows, V)"
        raise ValueError(f"logits: got shape {x.shape}; expected {shapes} with V >= 1")
    return np.require(x, np.float64, ("C", "W"))
