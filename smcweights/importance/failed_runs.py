"""Runs of the model that fail: what they count as, and what is said of them.

A run has failed where the model gave NaN or an infinite value, or raised one of the exceptions that
its user lists. It may be left out ("exclude"): the answer is E[phi ok]/E[ok], of the law given that
the model ran. Or it may count as the least and as the largest value that it could have had
("bounds"), and the interval reaches over both answers; or, of a limit state, as one of them
("failure", "safe"). The share of the law that fails is estimated from the same draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments
from ..cautions import Caution
from ..errors import ModelError
from ..estimate import Estimate
from ..parts import LEVELS
from .adaptation import Adaptation, Adapted
from .integrand import Columns, Integrand, Named, call_named
from .stages import Stage
from .verdict import Evidence

POLICIES = ("raise", "exclude", "bounds")
OF_EVENTS = (*POLICIES, "failure", "safe")
SHARE = "failed runs"  # name of the expectation that is their share
MANY = 0.05  # share of failed runs from which to warn


@dataclass(frozen=True)
class FailedRuns:
    """What becomes of runs that fail: the policy, the exceptions that count, and the bounds."""

    policy: str = "raise"
    exceptions: tuple[type[Exception], ...] = ()
    ends: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def tolerated(self) -> bool:
        """Whether the run goes on."""
        return self.policy != "raise"

    @property
    def asked_for(self) -> dict[str, object]:
        """Of the arguments of a call, those that say so; none by default."""
        if not self.tolerated:
            return {}
        named = [f"{e.__module__}.{e.__qualname__}" for e in self.exceptions]
        return {"failed": self.policy, "failed_exceptions": named, "bounds": self.ends}

    def spread(self, count: int) -> np.ndarray | None:
        """Bounds (2, count) of the values of a run; None where there are none."""
        if self.ends is None:
            return None
        return np.array([np.broadcast_to(end, count) for end in self.ends], float)

    def repeated(self, of_each: Any) -> Any:
        """What holds for each value of the function, for each expectation."""
        twice = self.policy == "bounds" and isinstance(of_each, np.ndarray)
        return np.tile(of_each, 2) if twice else of_each

    def caller(self, integrand: Integrand, vectorized: bool, named: str = "integrand") -> Any:
        """What is called on batches of inputs; ``named`` in errors."""
        if not self.tolerated:
            return partial(call_named, integrand, vectorized, named=named)
        return partial(call_or_fail, integrand, vectorized, self.exceptions, named=named)

    def own(self, count: int) -> int:
        """How many of so many expectations the user asked for."""
        if not self.tolerated:
            return count
        return (count - 1) // 2 if self.policy == "bounds" else count - 1

    def named(self, base: tuple[str, ...]) -> tuple[str, ...]:
        """Names of all expectations from those that were asked for."""
        if not self.tolerated:
            return base
        if self.policy == "bounds":
            base = (*(f"{name} at least" for name in base), *(f"{name} at most" for name in base))
        return (*base, SHARE)

    def margins(self, margins: np.ndarray) -> np.ndarray:
        """Margins (n, J) of events, or (n, 2 J), with those of failed runs instead of NaN: as far
        from the limit as any.
        """
        lost = np.isnan(margins)
        if not self.tolerated or not (self.policy == "bounds" or lost.any()):
            return margins
        size = np.abs(np.where(lost, 0.0, margins)).max(0)
        size = np.where(size > 0, size, 1.0)
        safe, failure = np.where(lost, size, margins), np.where(lost, -size, margins)
        if self.policy == "bounds":
            return np.concatenate([safe, failure], axis=1)
        return failure if self.policy == "failure" else safe

    def values(self, returned: np.ndarray) -> np.ndarray:
        """Integrand (n, J) of what was returned, NaN where a run failed; (n, 2 J) of bounds."""
        lost = np.isnan(returned)
        if self.policy == "exclude":
            return np.where(lost, 0.0, returned)
        low, high = self._ends(returned)
        return np.concatenate([np.where(lost, low, returned), np.where(lost, high, returned)], 1)

    def inside(self, returned: np.ndarray) -> np.ndarray:
        """What was returned (n, J), once it is seen to lie between the bounds."""
        if self.policy == "bounds":
            self._ends(returned)
        return returned

    def _ends(self, returned: np.ndarray) -> tuple[ArrayLike, ArrayLike]:
        known = returned[~np.isnan(returned).any(1)]
        if self.ends is None:
            if not ((known == 0) | (known == 1)).all():
                raise ValueError(
                    "bounds: got None; expected (lower, upper), between which the integrand lies "
                    "for certain, because it returned values other than 0 and 1"
                )
            return 0.0, 1.0
        for end in self.ends:
            if end.ndim and len(end) != known.shape[1]:
                raise ValueError(
                    f"bounds: got {len(end)} numbers; expected one, or one for each of the "
                    f"{known.shape[1]} values of a run"
                )
        low, high = (np.broadcast_to(end, known.shape) for end in self.ends)
        outside = (known < low) | (known > high)
        if outside.any():
            value, least, most = (table[outside][0] for table in (known, low, high))
            raise ValueError(
                f"bounds: a run returned {value:g}, which is outside [{least:g}, {most:g}]"
            )
        return self.ends

    @property
    def meaning(self) -> str:
        """What an answer means where many runs fail."""
        if self.ends is None:
            return _MEANING[self.policy]
        low, high = (end.tolist() for end in self.ends)
        return f"these runs count as {low} and as {high}, and the interval reaches over both"


def checked_policy(
    failed: str,
    exceptions: Sequence[type[Exception]],
    bounds: Sequence[ArrayLike] | None,
    policies: Sequence[str] = POLICIES,
) -> FailedRuns:
    """The arguments ``failed``, ``failed_exceptions`` and ``bounds``, checked."""
    arguments.one_of("failed", failed, policies)
    listed = (exceptions,) if isinstance(exceptions, type) else exceptions
    kinds: list[Any] = list(arguments.several("failed_exceptions", listed, "classes of exceptions"))
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError(f"failed_exceptions: got {kind!r}; expected classes of exceptions")
    if kinds and failed == "raise":
        raise ValueError("failed_exceptions: got some; expected none with failed='raise'")
    ends = None
    if bounds is not None:
        if failed != "bounds":
            raise ValueError(f"bounds: got some; expected None with failed={failed!r}")
        pair = arguments.several("bounds", bounds, "lower and upper bound")
        if len(pair) != 2:
            raise ValueError(f"bounds: got {len(pair)} entries; expected (lower, upper)")
        low, high = (arguments.real("bounds", end) for end in pair)
        both = np.isfinite(low).all() and np.isfinite(high).all()
        if max(low.ndim, high.ndim) > 1 or not both or not np.all(low < high):
            raise ValueError(
                f"bounds: got {bounds!r}; expected finite lower bounds below the upper ones"
            )
        ends = (low, high)
    return FailedRuns(failed, tuple(kinds), ends)


def call_or_fail(
    integrand: Integrand,
    vectorized: bool,
    exceptions: tuple[type[Exception], ...],
    x: np.ndarray,
    named: str = "integrand",
) -> np.ndarray | Named:
    """As `call_named`, with NaN in the rows whose run raised one of the exceptions.

    A batch of many inputs that raised one is called again row by row. Shape (n, 0) where all rows
    raised one, which tells nothing of how many values there are.
    """
    if vectorized:
        try:
            return call_named(integrand, True, x, named)
        except exceptions:
            pass
    rows, columns = list[np.ndarray | None](), Columns(None, named)
    for row in x:
        try:
            block = call_named(integrand, vectorized, row[None], named)
            rows.append(columns.aligned(block)[0])
        except exceptions:
            rows.append(None)
    shapes = {np.shape(row) for row in rows if row is not None}
    if len(shapes) > 1:
        raise ModelError(
            f"{named}: returned shapes {' and '.join(map(str, sorted(shapes)))}; expected as many "
            "values for each input"
        )
    if not shapes:
        return np.empty((len(x), 0))
    lost = np.full(shapes.pop(), np.nan)
    return columns.own_with(np.array([lost if row is None else row for row in rows]))


def _lost(stage: Stage) -> np.ndarray:
    """Which draws of a stage failed, (n,); where the law has no density none was called."""
    assert stage.raw is not None
    return np.isnan(stage.raw).any(1) & (stage.log_f > -np.inf)


def with_share(adaptation: Adaptation, adapted: Adapted) -> tuple[Adaptation, Adapted]:
    """The same with one more expectation, the last: whether a run fails.

    Adaptation was not for it: it needs no density of its own.
    """
    sampler, history, components = adaptation.sampler, adapted.history, adapted.components
    derived, units = sampler.derived, history.common
    assert derived is not None

    def values(returned: np.ndarray) -> np.ndarray:
        return np.column_stack([derived(returned), np.isnan(returned).any(1)])

    stages = [replace(s, values=np.column_stack([s.values, _lost(s)])) for s in history.stages]
    units = replace(
        units,
        offset=np.append(units.offset, 0.0),
        unit=np.append(units.unit, 1.0),
        usual=np.append(units.usual, False),
    )
    seen = any(_lost(s).any() for s in history.stages)
    trials = 0 if seen else sum(int(s.counts[0]) for s in history.stages)
    direction = np.column_stack([components.direction, np.zeros(len(components.direction))])
    return (
        replace(adaptation, sampler=replace(sampler, derived=values)),
        replace(
            adapted,
            components=replace(components, direction=direction),
            hardly=np.append(adapted.hardly, False),
            trials=np.append(adapted.trials, trials),
            history=replace(history, stages=stages, units=units),
        ),
    )


def answer(estimate: Estimate, failed: FailedRuns, scalar: bool) -> Estimate:
    """What the policy makes of the estimated means, the last of which is the share that fails."""
    count = len(estimate) - 1
    if failed.policy == "exclude":
        found = _given_that_it_ran(estimate)
    elif failed.policy == "bounds":
        found = _between(estimate[:count])
    else:
        found = estimate[:count]
    return found[0] if scalar else found


def quieted(evidence: Evidence) -> Evidence:
    """A vector whose last expectation, the share of failed runs, nothing is to be said of."""
    stages = [replace(stage, scalar=False) for stage in evidence.stages]
    quiet = np.arange(len(evidence.names)) == len(evidence.names) - 1
    return replace(evidence, stages=stages, quiet=quiet)


def reported(
    estimate: Estimate, failed: FailedRuns, names: tuple[str, ...], scalar: bool
) -> Estimate:
    """The answer with what is said of the runs that failed: how many, where, and their inputs."""
    share, found = estimate[len(estimate) - 1], answer(estimate, failed, scalar)
    made = estimate.made_of()["sample"]
    called = np.asarray(made["log_density"]) > -np.inf

    lost = np.isnan(np.asarray(made["returned"])).any(1) & called
    table = np.asarray(made["values"])[:, : len(names)]
    if failed.policy == "exclude":
        table = np.where(lost[:, None], np.nan, table)
    kept = made.drop_dims("expectation").assign(
        values=(("draw", "expectation"), table), failed=("draw", lost)
    )
    kept = kept.assign(expectation=("expectation", np.array(names)))
    lower, upper = (float(end) for end in share.interval())
    said: dict[str, Any] = {"value": float(share.value), "lower": lower, "upper": upper}
    cautions = found.cautions
    if said["value"] > MANY:
        share_of_it = f"{said['value']:.2g} of the law fails [{lower:.2g}, {upper:.2g}]"
        first = np.asarray(made["inputs"])[lost][:1].ravel()
        inputs = ", ".join(f"{v:.6g}" for v in first[:6]) + (", ..." if len(first) > 6 else "")
        text = f"{share_of_it}, the first time at input [{inputs}]: {failed.meaning}"
        cautions = (*cautions, Caution("failed-runs", text))
    return found.revised(
        names=names,
        method=f"{estimate.method}, {WORDS[failed.policy]}",
        cautions=cautions,
        diagnostics={
            **{k: v for k, v in found.diagnostics.items() if k != "warnings"},
            "failed_share": said,
            "first_failed": np.asarray(made["inputs"])[lost][:1].ravel().tolist(),
        },
        sample=kept,
    )


WORDS = {
    "exclude": "given that the model ran",
    "bounds": "between both values of failed runs",
    "failure": "failed runs as failures",
    "safe": "failed runs as safe",
}
_MEANING = {
    "exclude": "the answer is that of the inputs for which the model runs",
    "bounds": "the interval reaches over all that these runs may have been",
    "failure": "these runs count as failures",
    "safe": "these runs count as safe",
}


def _given_that_it_ran(estimate: Estimate) -> Estimate:
    """E[phi ok]/E[ok] from means of phi ok, and 1 - E[ok] as the last one."""
    rest, share = estimate[: len(estimate) - 1], estimate[len(estimate) - 1]
    ran = 1 - float(share.value)
    if ran <= 0:
        raise ModelError("every run failed that counts: nothing is known of the others")
    ratio = rest.value / ran
    root = estimate.root(hits_only=True)
    own, common = root[:-1] / ran, np.outer(ratio / ran, root[-1])
    # as uncertain as the parts of the variance are (Satterthwaite)
    first, second = (own**2).sum(1), (common**2).sum(1)
    doubt = first**2 / rest.degrees_of_freedom + second**2 / share.degrees_of_freedom
    total = np.maximum(first + second, 1e-300) ** 2
    freedom = np.divide(total, doubt, out=np.full_like(total, np.inf), where=doubt > 1e-300)
    spread = own + common
    large = len(ratio) > spread.shape[1]
    return rest.revised(
        value=ratio,
        **({"factor": spread} if large else {"covariance": spread @ spread.T}),
        degrees_of_freedom=freedom,
        trials=None if rest.trials is None else rest.trials * ran,
    )


def _between(both: Estimate) -> Estimate:
    """The middle of the answers with the least and the largest values (2 J,) of failed runs."""
    count = len(both) // 2
    root = np.hstack([np.eye(count), np.eye(count)]) / 2 @ both.root()
    columns = {name: both.diagnostics[name][:count] for name in both.columns}
    found = between(both[:count], both[count:], root @ root.T)
    return found.revised(diagnostics=both.diagnostics | columns)


def between(least: Estimate, most: Estimate, covariance: np.ndarray) -> Estimate:
    """The middle of two answers, with this covariance, and intervals from the lower end of one to
    the upper end of the other.
    """
    shape = least.value.shape
    ends = np.array([(least.interval(z)[0], most.interval(z)[1]) for z in LEVELS])
    ends = np.moveaxis(ends, 1, -1)
    ends = np.where(np.isnan(ends), [-np.inf, np.inf], ends)
    with np.errstate(invalid="ignore"):
        reach = np.ravel(ends[LEVELS.index(0.95), ..., 1] - ends[LEVELS.index(0.95), ..., 0])
    reach, value = reach / (2 * 1.959964), (least.value + most.value) / 2
    known = np.isfinite(reach) & np.isfinite(np.ravel(value))
    whole = np.array(covariance).reshape(len(reach), len(reach))
    whole[~known] = whole[:, ~known] = np.nan
    own = np.maximum(reach**2, whole.diagonal())
    np.fill_diagonal(whole, np.where(known, own, np.nan))
    return least.revised(
        value=value,
        covariance=whole.reshape(shape * 2),
        degrees_of_freedom=np.inf,
        trials=None,
        limits=ends,
    )
