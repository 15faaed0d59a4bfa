"""One item under a constraint, with its weight; and the probability of the constraint."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ModelError
from ..estimate import Estimate, provenance
from ..randomness import generator, seed_sequence
from ..stopping import Budget, Precision, stopping_rule
from ..weights import pareto_k
from . import kernels as kn
from .constraints import truth

__all__ = ["METHODS", "WeightedDraw", "constraint_probability", "weighted_rejection"]

METHODS = (
    "auto",
    "rao-blackwell",
    "harmonic",
    "unordered",
    "two-loop",
    "one-probe",
    "set",
    "exact",
)
REDRAW = ("harmonic", "unordered", "two-loop")
FEWEST = 20  # runs of the smallest budget, and before the first look at the precision
PEEK = 32  # most items offered at once
UNIFORMS = 8  # draws of a run to begin with
UNSEEN = 3.0  # answers that may be missing by chance: exp(-3) is 5 %
STEEPEST = 0.75  # shape of a tail up to which its mean is reckoned with
HEAVY, LONG = 0.6, 0.2  # shapes of the tail of soft values: never, and with few values, enough
SHARE = 0.1  # of the largest value in their sum, that makes them few
LARGEST = 1e150  # soft value whose square is a float
SMALLEST = -340.0  # log of the smallest error whose square is a float
FAR = 1024.0  # size of logits from which an offset would cost digits


@dataclass(frozen=True)
class WeightedDraw:
    """An item and its weight.

    Attributes
    ----------
    index : int
        The item; -1 where the weight is zero.
    log_weight : float
        E[weight 1{index = i}] = p_i c_i.
    log_bounds : (float, float)
        Logs of certain bounds on the probability of the constraint: the accepted mass, and all
        but the rejected mass. With soft values, of the mass where they are positive.
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

    @property
    def redraw(self) -> bool:
        """Whether accepted items may come again."""
        return self.method in REDRAW

    @cached_property
    def rule(self) -> np.ndarray:
        """What ends a run, as the kernels read it."""
        return np.array(
            [self.accepts, self.base, self.slope, self.budget, self.most, self.redraw], np.int64
        )


def plan(
    n_accepts: int,
    method: str,
    max_evaluations: int | None,
    after_first: str | int | None,
) -> Plan:
    """Checked options of a run."""
    try:
        return _plan(n_accepts, method, max_evaluations, after_first)
    except TypeError:
        # what can't be hashed is refused with its name
        return _plan.__wrapped__(n_accepts, method, max_evaluations, after_first)


@lru_cache(typed=True)
def _plan(
    n_accepts: int,
    method: str,
    max_evaluations: int | None,
    after_first: str | int | None,
) -> Plan:
    if method not in METHODS:
        raise ValueError(f"method: got {method!r}; expected one of {METHODS}")
    accepts = _whole(n_accepts, "n_accepts", 2)
    base, slope = (4, 2) if after_first == "4+2j" else (0, 0)
    if after_first is not None and after_first != "4+2j":
        base = _whole(after_first, "after_first", 1)
    budget = most = -1
    if method == "one-probe":
        accepts, base, slope = 2, 1, 0
    if method == "two-loop":
        accepts = 2
    if max_evaluations is not None:
        limit = _whole(max_evaluations, "max_evaluations", 1)
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


class Context:
    """Masses of one distribution and the answers known about it; serves many runs."""

    def __init__(self, logits: np.ndarray, where: str = "logits") -> None:
        self.top = float(np.maximum.reduce(logits))
        if not math.isfinite(self.top):
            bad = np.flatnonzero(np.isnan(logits) | (logits == np.inf))
            found = f"{logits[bad[0]]} at item {bad[0]}" if bad.size else "-inf at every item"
            raise ValueError(f"{where}: {found}; expected finite numbers or -inf, not all -inf")
        if abs(self.top) > FAR:
            with np.errstate(over="ignore"):
                logits, self.top = logits - self.top, 0.0
        self.logits = logits
        self.w = logits - self.top
        np.exp(self.w, out=self.w)
        self.sums = np.empty(-(-logits.size // kn.BLOCK))
        whole = logits.size // kn.BLOCK
        if whole < 32:
            self.total = kn.block_sums(self.w, self.sums)
        else:
            # NumPy adds long rows of blocks several times faster than a compiled loop in order
            self.w[: whole * kn.BLOCK].reshape(whole, kn.BLOCK).sum(1, out=self.sums[:whole])
            self.sums[whole:] = self.w[whole * kn.BLOCK :].sum()
            self.total = float(self.sums.sum())
        self.log_total = self.top + math.log(self.total)
        self.known: np.ndarray = np.empty(0, np.int8)
        self.values: np.ndarray | None = None
        self.order = np.empty(logits.size + 64, np.int64)
        self.counts = np.empty(8, np.int64)
        self.scales = np.empty(3)
        self.dirty = 0

    def learn_nothing(self, soft: bool) -> None:
        """All answers are unknown."""
        self.known = np.empty(self.logits.size, np.int8)
        self.known.fill(kn.UNKNOWN)
        self.values = np.zeros(self.logits.size) if soft else None

    def learn_all(self, values: np.ndarray) -> None:
        """All answers are given as an array."""
        if values.dtype == bool:
            self.known = np.ascontiguousarray(values).view(np.int8)
        else:
            self.values = values.astype(np.float64)
            self.known = (values > 0).view(np.int8)


def prepare(logits: np.ndarray, constraint: Any, soft: bool, where: str = "logits") -> Context:
    """A context, with the answers of an array constraint."""
    context = Context(logits, where)
    if callable(constraint):
        context.learn_nothing(soft)
        return context
    values = np.asarray(constraint)
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
    constraint: Callable[[Any], Any] | None,
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
    kn.begin(c.counts, c.scales, c.total, c.top)
    rule = how.rule
    due = np.empty(1, np.int64)
    uniforms = rng.random(UNIFORMS)
    while True:
        item = kn.advance(
            uniforms, c.logits, c.w, c.sums, c.known, c.order, c.counts, c.scales, rule
        )
        if item == -2:
            uniforms = rng.random(min(4 * uniforms.size, 4096))
            c.counts[kn.USED] = 0
            continue
        if item < 0:
            break
        assert constraint is not None
        ask = [item]
        if due.size > 1:
            many = kn.upcoming(uniforms, c.w, c.sums, c.known, c.counts, c.scales, rule, due)
            ask = due[:many].tolist()
        if not batch:
            for item in ask:
                value = constraint(item)
                if value is False and c.values is None:
                    c.known[item] = False
                elif _answer(c, item, value):
                    break
            else:
                # looking ahead pays where answers are no
                due = _longer(due)
            continue
        due = _longer(due)
        for one, value in zip(ask, _of_many(constraint, np.array(ask)), strict=True):
            _answer(c, one, value)
    c.dirty = int(c.counts[kn.SEEN])
    return _weigh(rng, c, how, rule)


def _longer(due: np.ndarray) -> np.ndarray:
    """Room for more items at once."""
    return np.empty(2 * due.size, np.int64) if due.size < PEEK else due


def _answer(c: Context, item: int, value: Any) -> bool:
    """Take down an answer; whether it is yes."""
    if c.values is not None:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise ModelError(f"constraint: returned {value!r} for item {item}; expected from 0")
        c.values[item] = number
        value = number > 0
    elif value is not True and value is not False:
        value = truth(value, "constraint", f"item {item}")
    c.known[item] = value
    return bool(value)


WEIGHTS = {
    "harmonic": kn.HARMONIC,
    "unordered": kn.UNORDERED,
    "two-loop": kn.TWO_LOOP,
    "set": kn.OF_SET,
}
STATUS = {kn.BY_ACCEPT: "ok", kn.BY_CAP: "ok", kn.BY_BUDGET: "budget", kn.EXHAUSTED: "exhausted"}


def _weigh(rng: np.random.Generator, c: Context, how: Plan, rule: np.ndarray) -> WeightedDraw:
    code = WEIGHTS.get(how.method, kn.AVERAGED)
    index, weight, spread, inside, upper, log_rest, n_evaluations, n_rejected, ended = kn.weigh(
        c.logits, c.log_total, c.known, c.order, c.counts, c.scales, rule, code
    )
    children = None
    status = STATUS[ended]
    if index < 0:
        status = "dead" if log_rest == -math.inf else "budget"
    elif how.method == "set":
        order = c.order[: c.dirty]
        log_p = c.logits[order] - c.log_total
        index, weight, children = _set_draw(rng, c, order, log_p, log_rest, ended)
    return WeightedDraw(
        index,
        weight,
        (inside, upper),
        n_evaluations,
        n_evaluations - n_rejected,
        n_rejected,
        status,
        spread,
        children,
    )


def _set_draw(
    rng: np.random.Generator,
    c: Context,
    order: np.ndarray,
    log_p: np.ndarray,
    log_rest: float,
    ended: int,
) -> tuple[int, float, Any]:
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
    rng: np.random.Generator, c: Context, constraint: Callable[[Any], Any] | None, batch: bool
) -> WeightedDraw:
    if constraint is not None:
        unknown = np.flatnonzero((c.known == kn.UNKNOWN) & (c.logits > -np.inf))
        if batch and unknown.size:
            answers = _of_many(constraint, unknown)
        for at, i in enumerate(unknown.tolist()):
            _answer(c, i, answers[at] if batch else constraint(i))
    soft = np.empty(0) if c.values is None else c.values
    index, weight, inside, n, accepts = kn.masked(
        c.logits, c.w, c.top, c.log_total, c.known, soft, rng.random()
    )
    inside = min(inside, 0.0)
    if c.values is None:
        weight = inside
    status = "exhausted" if accepts else "dead"
    return WeightedDraw(index, weight, (inside, inside), n, accepts, n - accepts, status, 0.0)


def weighted_rejection(
    logits: ArrayLike,
    constraint: Any,
    *,
    n_accepts: int = 3,
    method: str = "auto",
    max_evaluations: int | None = None,
    after_first: str | int | None = "4+2j",
    batch: bool = False,
    seed: Any = None,
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
    x = check_logits(logits)
    method = decided(method, constraint, max_evaluations is not None)
    how = plan(n_accepts, method, max_evaluations, after_first)
    soft = how.method in ("set", "exact")
    one = x.ndim == 1
    rows = x[None] if one else x
    answers: Any = constraint
    if not callable(constraint):
        answers = np.asarray(constraint)
        if answers.shape not in (x.shape, x.shape[-1:]):
            raise ValueError(
                f"constraint: got shape {answers.shape}; expected a function of an item, or "
                f"answers of shape {x.shape}"
            )
    out = []
    root = None if isinstance(seed, np.random.Generator) else seed_sequence(seed)
    for r, row in enumerate(rows):
        rng = seed if root is None else generator(root, "weighted_rejection", r)
        where = "logits" if one else f"logits: row {r}"
        own = answers if callable(answers) or answers.ndim == 1 else answers[r]
        context = prepare(row, own, soft, where)
        out.append(run(rng, context, own if callable(own) else None, how, batch))
    return out[0] if one else out


def decided(method: str, constraint: Any, limited: bool = False) -> str:
    """The method that is meant: all answers of an array are known at no cost."""
    if method != "auto":
        return method
    return "rao-blackwell" if callable(constraint) or limited else "exact"


def check_logits(logits: ArrayLike, most_dimensions: int = 2) -> np.ndarray:
    """Logits as a C-ordered array of floats of one or two dimensions."""
    x = np.asarray(logits)
    if x.dtype.kind not in "fiu":
        raise TypeError(f"logits: got an array of {x.dtype}; expected real numbers")
    if not 1 <= x.ndim <= most_dimensions or x.size == 0:
        shapes = "(V,)" if most_dimensions == 1 else "(V,) or (rows, V)"
        raise ValueError(f"logits: got shape {x.shape}; expected {shapes} with V >= 1")
    return np.ascontiguousarray(x, dtype=np.float64)


def _whole(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: got {value!r}; expected a whole number from {least}")
    if value < least:
        raise ValueError(f"{name}: got {value}; expected a whole number from {least}")
    return int(value)


def constraint_probability(
    logits: ArrayLike,
    constraint: Any,
    budget: int | None = None,
    *,
    precision: Precision | None = None,
    n_accepts: int = 3,
    method: str = "auto",
    batch: bool = False,
    seed: Any = None,
) -> Estimate:
    """Probability that an item drawn from softmax(logits) satisfies a constraint.

    Items come without replacement and are inspected one after the other, so that no answer is
    asked for twice. Before inspection i let A_i be the mass known to be accepted and U_i that
    about which nothing is known. The answer c_i then has mean (P - A_i)/U_i, and P is where the
    answers add up to what was expected of them:

        P = (sum_i c_i + A_i/U_i) / (sum_i 1/U_i),

    with variance sum_i (c_i - (P - A_i)/U_i)^2 over the squared denominator. To it 3 is added for
    answers not seen yet (the rule of three), so that a constraint which never said no, or hardly
    ever, isn't taken for one that never will. Where all answers are known in the end, the
    probability is exact.

    Soft values of method "set" are first divided by the largest seen, and those 3 answers are
    what values beyond it are on average by the tail of those seen, 1/(1 - k) with k its Pareto
    shape. But nothing is known for certain of values larger than any seen, and where none of a
    rare kind was met, nothing hints at it: of values 0.01, and 1 on 0.5 % of the items, most runs
    of 60 inspections see no 1, and their intervals are too low without a warning. Hard
    constraints, whose answers are 0 or 1, have no such values.

    Parameters
    ----------
    logits : array_like, shape (V,)
        Unnormalised log probabilities; -inf is allowed, NaN and +inf are not.
    constraint : callable or array_like
        As for `weighted_rejection`; for methods "set" and "exact" its mean value is estimated.
    budget : int, at least 20
        Number of runs of `n_accepts` accepted items each; give this or ``precision``. An accepted
        item counts as often as it would come again in draws with replacement, without being asked
        about again.
    precision : Precision, optional
        Run until the interval is as narrow as asked; ``max_budget`` counts runs.
    n_accepts : int, default 3
        Accepted items of a run, at least 2.
    method : str, default "auto"
        "exact" inspects every item, "set" takes soft values from a function; the others of
        `weighted_rejection` differ in the weights of single draws, which are not used here.
    batch : bool, default False
        Whether the constraint takes many items at once.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    Estimate
        Its bias is of order 1/(accepted items), relative to the value. Diagnostics: ``bounds``,
        which contain the truth for certain (of soft values only the lower one is known) and to
        which the interval is cut; how many items were accepted and rejected, and the mass of the
        others; ``log_probability`` and ``relative_error``, which hold where the probability is too
        small for a float.

    Raises
    ------
    ModelError, ValueError, TypeError
        As for `weighted_rejection`.

    Warns
    -----
    PrecisionWarning
        The precision was not reached, the probability is too small for a float, or soft values
        have so long a tail that few of them make up their sum.

    References
    ----------
    Des Raj (1956), Some estimators in sampling with varying probabilities without replacement,
    JASA 51. Lipkin et al. (2025), arXiv 2504.05410.

    Examples
    --------
    >>> import numpy as np, smcweights as smw
    >>> logits = -np.log(np.arange(1, 5001))
    >>> estimate = smw.constraint_probability(logits, lambda i: i % 10 == 9, 200, seed=1)
    >>> p = np.exp(logits) / np.exp(logits).sum()
    >>> bool(abs(estimate.value - p[9::10].sum()) < 4 * estimate.standard_error)
    True
    """
    import warnings

    from ..errors import PrecisionWarning

    x = check_logits(logits, 1)
    rule = stopping_rule(budget, precision)
    if isinstance(rule, Budget) and rule.total < FEWEST:
        raise ValueError(f"budget: got {rule.total}; expected at least {FEWEST} runs")
    how = plan(n_accepts, decided(method, constraint), None, "4+2j")
    root = seed_sequence(seed)
    rng = generator(root, "constraint_probability")
    began = time.perf_counter()
    name = "constraint probability"
    seen = Inspections(rng, x, constraint, how.method in ("set", "exact"), batch)

    def estimate(runs: int, cautions: list[str]) -> Estimate:
        log_value, log_error, log_lower, log_upper = seen.estimate()
        complete = seen.complete
        value, error = math.exp(log_value), math.exp(log_error)
        diagnostics: dict[str, Any] = {
            "runs": runs,
            "bounds": [math.exp(log_lower), math.exp(log_upper)],
            "accepted": seen.hits,
            "rejected": seen.evaluations - seen.hits,
            "unknown_mass": math.exp(seen.log_unknown),
            "log_probability": log_value if complete or log_value > -math.inf else None,
            "relative_error": 0.0 if complete else math.exp(log_error - log_value),
            "complete": complete,
        }
        if not complete and log_error < SMALLEST:
            error = math.nan
            cautions = [
                *cautions,
                f"the probability, about exp({log_value:.6g}), is too small for an error in a "
                "float: diagnostics have log_probability and relative_error",
            ]
        elif complete and -math.inf < log_value < math.log(sys.float_info.min):
            cautions = [
                *cautions,
                f"the probability, exp({log_value:.6g}), is too small for a float: diagnostics "
                "have log_probability",
            ]
        if not complete:
            shape, share = tail(seen.values)
            if shape > HEAVY or (shape > LONG and share > SHARE):
                cautions = [
                    *cautions,
                    f"the largest of {seen.hits} values that the constraint returned makes "
                    f"{share:.2g} of their sum, and their tail is long: values not seen yet may "
                    "be larger, and the interval too narrow",
                ]
        if cautions:
            diagnostics["warnings"] = cautions
        return Estimate(
            value,
            error**2,
            names=["probability"],
            method=f"{name}, exact" if how.method == "exact" else name,
            diagnostics=diagnostics,
            cost={
                "evaluations": seen.evaluations,
                "runs": runs,
                "seconds": time.perf_counter() - began,
            },
            provenance=provenance(
                name,
                root,
                {
                    "logits": x,
                    "constraint": constraint,
                    "budget": budget,
                    "precision": precision,
                    "n_accepts": n_accepts,
                    "method": method,
                },
            ),
        )

    if how.method == "exact":
        seen.finish()
        result = estimate(1, [])
    elif isinstance(rule, Budget):
        seen.go_on(how.accepts * rule.total)
        result = estimate(rule.total, [])
    else:
        runs = min(FEWEST, rule.max_budget)
        seen.go_on(how.accepts * runs)
        result = estimate(runs, [])
        while not rule.reached(result):
            # an error that no float holds can't be told to be small enough
            held = math.isfinite(result.standard_error)
            half = np.abs(np.subtract(result.interval(rule.level), result.value)).max()
            more = rule.next_size(result.value, half, runs) if held else 0
            if more <= 0:
                missed = [f"precision not reached within {rule.max_budget} runs"] if held else []
                result = estimate(runs, missed)
                break
            runs += more
            seen.go_on(how.accepts * runs)
            result = estimate(runs, [])
    for text in result.diagnostics.get("warnings", []):
        warnings.warn(text, PrecisionWarning, stacklevel=2)
    return result


class Inspections:
    """Items inspected without replacement, and what their answers say about the mean answer."""

    def __init__(
        self, rng: np.random.Generator, x: np.ndarray, constraint: Any, soft: bool, batch: bool
    ) -> None:
        # a copy: the logits lose what was inspected
        self._context = c = prepare(x.copy(), constraint, soft)
        self._rng, self._constraint, self._batch = rng, constraint, batch
        self._given: np.ndarray | None = None
        if not callable(constraint):
            self._given = (c.known if c.values is None else c.values).astype(np.float64)
            c.learn_nothing(soft)
        kn.begin(c.counts, c.scales, c.total, c.top)
        self._possible = int(np.count_nonzero(c.logits > -np.inf))
        # of each stage: log masses of the items and of what was left before each, and the answers
        self._stages: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._log_accepted = -math.inf
        self._accepts = 0.0
        self.evaluations = self.hits = 0

    @property
    def values(self) -> np.ndarray:
        """The answers, item by item."""
        return np.concatenate([answers for _, _, answers in self._stages])

    @property
    def complete(self) -> bool:
        """Whether every item was inspected."""
        return self.evaluations == self._possible

    @property
    def log_unknown(self) -> float:
        """Log mass of the items not inspected."""
        c = self._context
        left = float(c.scales[kn.REMAINING])
        if self.complete or left <= 0.0:
            return -math.inf
        return float(c.scales[kn.TOP]) + math.log(left) - c.log_total

    def go_on(self, accepts: float) -> None:
        """Inspect until so many were accepted, known ones counting as they would come again."""
        while not self.complete and self._accepts < accepts:
            again = math.exp(min(self._log_accepted - self.log_unknown, 700.0))
            wanted = min((accepts - self._accepts) / (1.0 + again), self.evaluations + 4.0)
            self._inspect(max(int(wanted), self.evaluations // 100, 1))

    def finish(self) -> None:
        """Inspect everything."""
        c = self._context
        items = np.flatnonzero(c.logits > -np.inf)
        self._record(items, c.logits[items] - c.log_total, np.zeros(items.size))

    def _inspect(self, n: int) -> None:
        c = self._context
        items, log_mass, log_left = np.empty(n, np.int64), np.empty(n), np.empty(n)
        n = kn.take(
            self._rng.random(n), c.logits, c.w, c.sums, c.known, items, log_mass, log_left, c.scales
        )
        self._record(items[:n], log_mass[:n] - c.log_total, log_left[:n] - c.log_total)

    def _record(self, items: np.ndarray, log_mass: np.ndarray, log_left: np.ndarray) -> None:
        c = self._context
        if self._given is not None:
            answers = self._given[items]
        else:
            got: Any = map(self._constraint, items.tolist())
            if self._batch:
                got = _of_many(self._constraint, items)
            for item, value in zip(items.tolist(), got, strict=True):
                _answer(c, item, value)
            answers = (c.known if c.values is None else c.values)[items].astype(np.float64)
        if answers.max() > LARGEST:
            at = int(answers.argmax())
            raise ModelError(
                f"constraint: {answers[at]:g} for item {items[at]}; expected numbers up to "
                f"{LARGEST:g}, whose squares are floats still"
            )
        inside = np.where(answers > 0, log_mass, -np.inf)
        before = np.logaddexp.accumulate(np.concatenate([[self._log_accepted], inside]))
        self._log_accepted = float(before[-1])
        hits = int(np.count_nonzero(answers))
        self._accepts += hits + float(np.exp(np.minimum(before[:-1] - log_left, 700.0)).sum())
        self.evaluations += items.size
        self.hits += hits
        self._stages.append((log_mass, log_left, answers))

    def estimate(self) -> tuple[float, float, float, float]:
        """Logs of the mean answer, its standard error, and certain bounds."""
        log_mass, log_left, answers = map(np.concatenate, zip(*self._stages, strict=True))
        soft = self._context.values is not None
        most = float(answers.max()) if soft and self.hits else 1.0
        share = answers / most
        with np.errstate(divide="ignore"):
            log_share = np.log(share)
        known = np.logaddexp.accumulate(np.concatenate([[-np.inf], log_share + log_mass]))
        lower = float(known[-1])
        upper = float(np.logaddexp(lower, self.log_unknown))
        if not soft:
            lower, upper = min(lower, 0.0), min(upper, 0.0)
        scale = math.log(most)
        if self.complete:
            return lower + scale, -math.inf, lower + scale, lower + scale
        # the last inspection was made because the others weren't enough
        log_share, share, log_left, known = log_share[:-1], share[:-1], log_left[:-1], known[:-2]
        log_trials = float(np.logaddexp.reduce(-log_left))
        value = float(np.logaddexp.reduce(np.logaddexp(log_share, known - log_left))) - log_trials
        value = min(max(value, lower), upper if not soft else math.inf)
        with np.errstate(over="ignore", invalid="ignore"):
            expected = np.exp(value - log_left) * -np.expm1(known - value)
        expected = np.clip(np.nan_to_num(expected, nan=0.0), 0.0, 1.0)
        off = float(((share - expected) ** 2).sum())
        shape, _ = tail(answers)
        beyond = 1.0 / (1.0 - min(max(shape, 0.0), STEEPEST))
        error = 0.5 * math.log(off + UNSEEN * beyond**2) - log_trials
        return value + scale, error + scale, lower + scale, math.inf if soft else upper


def tail(values: np.ndarray) -> tuple[float, float]:
    """Shape of a Pareto law for the largest values, and the share of the largest in the sum.

    Beyond x the mean of such a law is x/(1 - shape). Equal values have no tail: -inf.
    """
    found = values[values > 0]
    if not found.size or found.min() == found.max():
        return -math.inf, 0.0
    return pareto_k(np.log(found)), float(found.max() / found.sum())


def _of_many(constraint: Callable[[Any], Any], items: np.ndarray) -> np.ndarray:
    """Answers of a constraint that takes many items at once."""
    got = np.asarray(constraint(items))
    if got.shape != items.shape:
        raise ModelError(
            f"constraint: returned shape {got.shape} for {items.size} items; expected {items.shape}"
        )
    return got
