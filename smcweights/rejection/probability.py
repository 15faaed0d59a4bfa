"""The probability of a constraint, from items inspected without replacement."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import flag
from ..cautions import Caution, tell
from ..errors import ModelError, returning
from ..estimate import Estimate
from ..execution import Run, batches, open_run
from ..provenance import provenance
from ..randomness import generator
from ..stopping import Budget, Precision, Standing, check_least, stopping_rule, until_precise
from ..weights import pareto_k
from . import kernels as kn
from .draw import (
    Answers,
    Context,
    Seed,
    answers_of,
    ask,
    check_logits,
    decided,
    judged,
    plan,
    prepare,
)

NAME = "constraint probability"
FEWEST = 20  # runs of the smallest budget, and before the first look at the precision
UNSEEN = 3.0  # answers that may be missing by chance: exp(-3) is 5 %
STEEPEST = 0.75  # shape of a tail up to which its mean is reckoned with
HEAVY, LONG = 0.6, 0.2  # shapes of the tail of soft values: never, and with few values, enough
SHARE = 0.1  # of the largest value in their sum, that makes them few
LARGEST = 1e150  # soft value whose square is a float
SMALLEST = -340.0  # log of the smallest error whose square is a float


def constraint_probability(
    logits: ArrayLike,
    constraint: Answers,
    budget: int | None = None,
    *,
    precision: Precision | None = None,
    n_accepts: int = 3,
    method: str = "auto",
    batch: bool = False,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
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
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the constraint is asked; worth it where an answer takes a millisecond or more.
    progress : bool, optional
    checkpoint : path, optional
        File that keeps the answers; the same call goes on from there.

    Returns
    -------
    Estimate
        Its bias is of order 1/(accepted items), relative to the value. Its ``bounds`` contain the
        truth for certain (of soft values only the lower one is known), and the interval is cut to
        them. Diagnostics: how many items were accepted and rejected, and the mass of the others;
        ``log_probability`` and ``relative_error``, which hold where the probability is too small
        for a float.

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
    x, batch = check_logits(logits, 1), flag("batch", batch)
    rule = stopping_rule(budget, precision)
    if isinstance(rule, Budget):
        check_least(rule, FEWEST, "runs")
    how = plan(n_accepts, decided(method, constraint), None, "4+2j")
    began = time.perf_counter()
    soft = how.method in ("set", "exact")
    arguments = {
        "logits": x,
        "constraint": constraint,
        "budget": budget,
        "precision": precision,
        "n_accepts": n_accepts,
        "method": method,
    }
    with open_run(
        _Asking(constraint, soft, batch),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments={**arguments, "batch": batch},
        seed=seed,
        unit="items",
        description=NAME,
    ) as run:
        far = None if executor is None and checkpoint is None else run
        rng = generator(run.root, "constraint_probability")
        seen = inspections(rng, x, constraint, soft, batch, far)
        if how.method == "exact":
            seen.finish()
            result = _result(seen)
        else:
            result = _result(seen, _inspect(seen, how.accepts, rule, run))
    tell(NAME, result.cautions)
    return result.revised(
        method=f"{NAME}, exact" if how.method == "exact" else NAME,
        cost=result.cost | {"seconds": time.perf_counter() - began},
        provenance=provenance(NAME, run.root, arguments),
    )


def _inspect(
    seen: Inspections, accepts: int, rule: Budget | Precision, run: Run[np.ndarray]
) -> list[Caution]:
    """Inspect stage by stage; why the precision was not reached."""

    def stage(size: int) -> None:
        seen.runs += size
        seen.go_on(accepts * seen.runs)

    def standing(level: float) -> Standing:
        now = _result(seen)
        # an error that no float holds can't be told to be small enough
        final = "" if math.isfinite(now.standard_error) else "the error is below floats"
        return Standing.of(now, level, seen.runs, seen.runs, final=final)

    first = rule.total if isinstance(rule, Budget) else min(FEWEST, rule.max_budget)
    return until_precise(rule, first, stage, standing, "runs", run)


def _result(seen: Inspections, missed: Sequence[Caution] = ()) -> Estimate:
    """What the inspections so far say."""
    log_value, log_error, log_lower, log_upper = seen.estimate()
    complete = seen.complete
    value, error = math.exp(log_value), math.exp(log_error)
    if not complete and log_error < SMALLEST:
        # which says why the precision was missed, too
        error, missed = math.nan, ()
    return Estimate(
        value,
        error**2,
        names=["probability"],
        cautions=[*missed, *_cautions(seen, log_value, log_error)],
        bounds=(math.exp(log_lower), math.exp(log_upper)),
        diagnostics={
            "runs": seen.runs,
            "accepted": seen.hits,
            "rejected": seen.evaluations - seen.hits,
            "unknown_mass": math.exp(seen.log_unknown),
            "log_probability": log_value if complete or log_value > -math.inf else None,
            "relative_error": 0.0 if complete else math.exp(log_error - log_value),
            "complete": complete,
        },
        cost={"evaluations": seen.evaluations, "runs": seen.runs},
    )


def _cautions(seen: Inspections, log_value: float, log_error: float) -> Iterator[Caution]:
    if not seen.complete and log_error < SMALLEST:
        yield Caution(
            "below-floats",
            f"the probability, about exp({log_value:.6g}), is too small for an error in a float: "
            "diagnostics have log_probability and relative_error",
        )
    elif seen.complete and -math.inf < log_value < math.log(sys.float_info.min):
        yield Caution(
            "below-floats",
            f"the probability, exp({log_value:.6g}), is too small for a float: diagnostics have "
            "log_probability",
        )
    if seen.complete:
        return
    shape, share = tail(seen.values)
    if shape > HEAVY or (shape > LONG and share > SHARE):
        yield Caution(
            "long-tail",
            f"the largest of {seen.hits} values that the constraint returned makes {share:.2g} of "
            "their sum, and their tail is long: values not seen yet may be larger, and the "
            "interval too narrow",
        )


@dataclass(frozen=True)
class _Asking:
    """Answers about items as numbers, wherever they are asked for."""

    constraint: Answers
    soft: bool
    batch: bool

    def __call__(self, items: np.ndarray) -> np.ndarray:
        assert callable(self.constraint)
        answers = answers_of(self.constraint, items, self.batch)
        pairs = zip(answers, items.tolist(), strict=True)
        return np.array([judged(value, item, self.soft) for value, item in pairs], np.float64)


@dataclass
class Inspections:
    """Items inspected without replacement, and what their answers say about the mean answer."""

    context: Context
    rng: np.random.Generator
    constraint: Answers
    batch: bool
    given: np.ndarray | None  # the answers of an array
    possible: int  # items of positive probability
    far: Run[np.ndarray] | None  # of an `_Asking`, where answers come from elsewhere or are kept
    # of each stage: log masses of the items and of what was left before each, and the answers
    stages: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    log_accepted: float = -math.inf
    accepts: float = 0.0  # of draws with replacement, in expectation
    runs: int = 0
    evaluations: int = 0
    hits: int = 0

    @property
    def values(self) -> np.ndarray:
        """The answers, item by item."""
        return np.concatenate([answers for _, _, answers in self.stages])

    @property
    def complete(self) -> bool:
        """Whether every item was inspected."""
        return self.evaluations == self.possible

    @property
    def log_unknown(self) -> float:
        """Log mass of the items not inspected."""
        c = self.context
        left = float(c.scales[kn.REMAINING])
        if self.complete or left <= 0.0:
            return -math.inf
        return float(c.scales[kn.TOP]) + math.log(left) - c.log_total

    def go_on(self, accepts: float) -> None:
        """Inspect until so many were accepted, known ones counting as they would come again."""
        while not self.complete and self.accepts < accepts:
            again = math.exp(min(self.log_accepted - self.log_unknown, 700.0))
            wanted = min((accepts - self.accepts) / (1.0 + again), self.evaluations + 4.0)
            self._inspect(max(int(wanted), self.evaluations // 100, 1))

    def finish(self) -> None:
        """Inspect everything, in a run."""
        self.runs, c = 1, self.context
        items = np.flatnonzero(c.logits > -np.inf)
        self._record(items, c.logits[items] - c.log_total, np.zeros(items.size))

    def _inspect(self, n: int) -> None:
        c = self.context
        items, log_mass, log_left = np.empty(n, np.int64), np.empty(n), np.empty(n)
        n = kn.take(self.rng.random(n), c.logits, c.w, c.sums, items, log_mass, log_left, c.scales)
        self._record(items[:n], log_mass[:n] - c.log_total, log_left[:n] - c.log_total)

    def _record(self, items: np.ndarray, log_mass: np.ndarray, log_left: np.ndarray) -> None:
        c = self.context
        if self.given is not None:
            answers = self.given[items]
        elif self.far is not None:
            pieces = batches(items.size, vectorized=self.batch)
            jobs, sizes = [(items[a:b],) for a, b in pieces], [b - a for a, b in pieces]
            answers = np.concatenate(self.far.map(f"look {len(self.stages) + 1}", jobs, sizes))
        else:
            assert callable(self.constraint)
            with returning("constraint"):
                ask(c, self.constraint, items, self.batch)
            answers = (c.known if c.values is None else c.values)[items].astype(np.float64)
        if answers.max() > LARGEST:
            at = int(answers.argmax())
            raise ModelError(
                f"constraint: {answers[at]:g} for item {items[at]}; expected numbers up to "
                f"{LARGEST:g}, whose squares are floats still"
            )
        inside = np.where(answers > 0, log_mass, -np.inf)
        before = np.logaddexp.accumulate(np.concatenate([[self.log_accepted], inside]))
        self.log_accepted = float(before[-1])
        hits = int(np.count_nonzero(answers))
        self.accepts += hits + float(np.exp(np.minimum(before[:-1] - log_left, 700.0)).sum())
        self.evaluations += items.size
        self.hits += hits
        self.stages.append((log_mass, log_left, answers))

    def estimate(self) -> tuple[float, float, float, float]:
        """Logs of the mean answer, its standard error, and certain bounds."""
        log_mass, log_left, answers = map(np.concatenate, zip(*self.stages, strict=True))
        soft = self.context.values is not None
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


def inspections(
    rng: np.random.Generator,
    x: np.ndarray,
    constraint: Answers,
    soft: bool,
    batch: bool,
    far: Run[np.ndarray] | None = None,
) -> Inspections:
    """Nothing was inspected yet."""
    # a copy: the logits lose what was inspected
    c = prepare(x.copy(), constraint, soft)
    given = None
    if not callable(constraint):
        given = (c.known if c.values is None else c.values).astype(np.float64)
        c.learn_nothing(soft)
    c.scales[:] = c.top, c.total, c.total
    possible = int(np.count_nonzero(c.logits > -np.inf))
    return Inspections(c, rng, constraint, batch, given, possible, far)


def tail(values: np.ndarray) -> tuple[float, float]:
    """Shape of a Pareto law for the largest values, and the share of the largest in the sum.

    Beyond x the mean of such a law is x/(1 - shape). Equal values have no tail: -inf.
    """
    found = values[values > 0]
    if not found.size or found.min() == found.max():
        return -math.inf, 0.0
    return pareto_k(np.log(found)), float(found.max() / found.sum())
