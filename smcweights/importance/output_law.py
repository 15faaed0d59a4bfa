"""The whole law of a model's outputs from one sample: `output_law` and what its answer can tell.

Stages climb towards both tails of every output (`ladder`); the final draws, which alone enter the
answer, come from the input law and from densities for levels on both sides. All that is said of an
output is a sum over these draws with the same coefficients (`thresholds`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from .. import arguments, tables
from ..canvas import position
from ..cautions import Caution, printed, tell
from ..errors import DegeneracyError, ModelError
from ..estimate import Estimate
from ..execution import Run, first_budget, open_run
from ..parts import LEVELS
from ..randomness import Seed, generator
from ..regression import Choice
from ..results import NOT_KEPT, Result, along
from ..stopping import Budget, Precision, Standing, check_least, stopping_rule, until_precise
from ..weights import pareto_k
from .adaptation import Goal, prepared
from .control_variates import Controls
from .extension import Source, check_same
from .failed_runs import WORDS, FailedRuns, between, checked_policy, quieted, reported
from .integrand import Columns, Integrand
from .ladder import MOST_CLIMB, MOST_LEVELS, Ladder
from .laws import as_law
from .means import FOLDS, Regression, mean_of
from .mixing import FEW_HITS, family_of
from .proposals import Component, Mixture, log_mixture
from .stages import History, Stage, joined, split
from .thresholds import Curve, Weighing, correlations, effective, suprema, width
from .verdict import Evidence, listed, report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHOD = "output law"
WIDTHS = ndtri(0.5 + np.array(LEVELS) / 2)
NORMAL = LEVELS.index(0.95)
MOST_POINTS = 1_000  # thresholds with one covariance
NEGATIVE = 0.01  # share of coefficients below 0 that is worth a word


@dataclass(frozen=True)
class OutputLaw(Result):
    """The law of a model's outputs: distribution functions, quantiles, shortfalls and means.

    Attributes
    ----------
    quantiles : Estimate, shape (outputs * P,)
        Those asked for, under names like "q(0.99)" (with "output: " in front where the model has
        several outputs). Intervals hold all values that the test of the distribution function
        accepts; their ends are values of the output.
    expected_shortfall : Estimate or None
        Means of the output beyond quantiles, "shortfall(0.99)".
    mean : Estimate
        Of the outputs. It holds the sample; and where runs may fail, its diagnostics have the
        ``failed_share`` of the law with a 95 % interval and the ``first_failed`` input.
    outputs : tuple of str
    draws : ndarray, shape (n, outputs)
        Outputs at the final draws, NaN where a run failed,
    weights : ndarray, shape (n,)
        density of the input law over that of the draws,
    controls, pull, counts : ndarray, shapes (n, r), (r,), (S,)
        and what corrects their sums: see `smcweights.importance.thresholds.Weighing`.
    maxima : ndarray, shape (outputs, M)
        Draws of the largest standardised error of each distribution function.
    level : float
        Of bands, where none is given.
    cautions : tuple of Caution
    extension : callable or None
        What `extend` calls; None of what was read from a file.
    bounds : ndarray, shape (2, outputs), or None
        Least and largest values that failed runs count as, with ``failed="bounds"``.
    """

    quantiles: Estimate
    expected_shortfall: Estimate | None
    mean: Estimate
    outputs: tuple[str, ...]
    draws: np.ndarray = field(metadata=along("draw", "output"))
    weights: np.ndarray = field(metadata=along("draw"))
    controls: np.ndarray = field(metadata=along("draw", "control"))
    pull: np.ndarray = field(metadata=along("control"))
    counts: np.ndarray = field(metadata=along("stratum"))
    maxima: np.ndarray = field(metadata=along("output", "maximum"))
    level: float = 0.95
    cautions: tuple[Caution, ...] = ()
    extension: Callable[..., OutputLaw] | None = field(
        default=None, repr=False, compare=False, metadata=NOT_KEPT
    )
    bounds: np.ndarray | None = field(default=None, metadata=along("end", "output"))

    def __getstate__(self) -> dict[str, Any]:
        """What goes to other processes and into copies: no code, nor what follows from the rest."""
        left = ("extension", "weighing", "curves", "_filled")
        return {name: part for name, part in vars(self).items() if name not in left}

    @property
    def estimate(self) -> Estimate:
        """The estimate that holds the sample, for `reweight` and `input_uncertainty`."""
        return self.mean

    @property
    def reach(self) -> tuple[Any, Any]:
        """Smallest probabilities below and above that the draws tell, of shape () or (outputs,)."""
        each = [[curve.reach for curve in one.curves] for one in self._extremes]
        found = np.max(each, axis=0)
        lower, upper = found[0] if len(found) == 1 else found.T
        return lower, upper

    @property
    def _extremes(self) -> tuple[OutputLaw, OutputLaw]:
        """The laws with the least and with the largest values for failed runs; or this one, twice.

        Draws and what follows from them only: other parts are those of this one.
        """
        return (self, self) if self.bounds is None else self._filled

    @cached_property
    def _filled(self) -> tuple[OutputLaw, OutputLaw]:
        assert self.bounds is not None
        lost = np.isnan(self.draws)
        filled = [np.where(lost, bound, self.draws) for bound in self.bounds]
        least, most = (replace(self, draws=y, bounds=None, extension=None) for y in filled)
        for one in (least, most):
            pairs = zip(one.draws.T, self.bounds.T, strict=True)
            vars(one)["curves"] = [Curve.of(one.weighing, y, *ends.tolist()) for y, ends in pairs]
        return least, most

    @cached_property
    def weighing(self) -> Weighing:
        """How the draws count; where runs failed, in the law given that the model ran."""
        ran = ~np.isnan(self.draws).any(1)
        parts = self.weights, self.controls, self.pull, self.counts
        return Weighing(*parts, None if ran.all() else ran)

    @cached_property
    def curves(self) -> list[Curve]:
        """The distribution function of every output, of `weighing`."""
        return [Curve.of(self.weighing, y) for y in self.draws.T]

    def cdf(self, t: ArrayLike, output: str | int = 0) -> Estimate:
        """P(output <= t), with one covariance for all t.

        Parameters
        ----------
        t : float or array_like, shape (T,)
            At most 1,000; `band` takes any number.
        output : str or int, default 0
            By name or position.

        Returns
        -------
        Estimate
            Of shape () or (T,); intervals are straight on the scale of the log of the smaller
            side. Beyond reach the value is NaN, the interval says what is known, and a caution
            how far the draws reach.
        """
        return self._told("cdf", self._probability(t, output, above=False))

    def exceedance(self, t: ArrayLike, output: str | int = 0) -> Estimate:
        """P(output > t); as `cdf`."""
        return self._told("exceedance", self._probability(t, output, above=True))

    def quantile(self, p: ArrayLike) -> Estimate:
        """Quantiles at p of every output.

        Parameters
        ----------
        p : float or array_like, shape (P,)
            Between 0 and 1. Beyond `reach` the value is NaN, the interval has one end, and a
            caution says so.

        Returns
        -------
        Estimate
            Of shape (outputs * P,), or () for one output and one p.
        """
        at = _probabilities("p", p)
        scalar = np.ndim(p) == 0 and len(self.outputs) == 1
        return self._told("quantile", _quantiles(self, at, scalar))

    def band(
        self, t: ArrayLike, level: float | None = None, output: str | int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """A band that holds the whole distribution function at once.

        Parameters
        ----------
        t : array_like
            Where to look at it; any shape.
        level : float, default that of the result
            Probability that the band holds the distribution function at all t.
        output : str or int, default 0

        Returns
        -------
        lower, upper : ndarray, shaped like t
        """
        at = arguments.real("t", t)
        if np.isnan(at).any():
            raise ValueError("t: got NaN; expected numbers")
        # the larger values are, the lower is the distribution function
        least, most = (one._band(level, output) for one in self._extremes)
        return most[1][most[0].piece(at)], least[2][least[0].piece(at)]

    def quantile_band(
        self, p: ArrayLike, level: float | None = None, output: str | int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the quantiles at p that hold for all p at once: the band, inverted.

        Parameters
        ----------
        p : array_like, shape () or (P,)
        level : float, default that of the result
        output : str or int, default 0

        Returns
        -------
        lower, upper : ndarray, shaped like p
            Infinite where the draws don't reach.
        """
        at = _probabilities("p", p)
        found = []
        for i, (curve, *ends) in enumerate(one._band(level, output) for one in self._extremes):
            found.append([curve.inverse(one, *ends)[i] for one in at])
        lower, upper = np.reshape(found, (2, *np.shape(p)))
        return lower, upper

    def extend(
        self,
        model: Integrand,
        budget: int,
        *,
        executor: Executor | str | None = None,
        progress: bool | None = None,
    ) -> OutputLaw:
        """The same law from more calls: draws of the same densities join those there are.

        Parameters
        ----------
        model : callable
            The model, the same as before.
        budget : int
            Calls beyond those so far.
        executor, progress
            As for `smcweights.output_law`.

        Returns
        -------
        OutputLaw
            From all final draws.

        Raises
        ------
        ValueError
            This law was read from a file; or the model or the budget is wrong.
        """
        if self.extension is None:
            raise ValueError(
                "extend: this law can't go on from where it stopped: it was read from a file or "
                "sent elsewhere; expected what output_law returned. With checkpoint=, the same "
                "call with a larger budget goes on"
            )
        return self.extension(model, budget, executor=executor, progress=progress)

    def plot(self, ax: Axes | None = None, *, output: str | int = 0) -> Axes:
        """Distribution function with its band on probability paper (`smcweights.plots.law`)."""
        from .law_figures import law

        return law(self, ax, output=output, level=self.level)

    def middle(self, t: np.ndarray, output: str | int, above: bool) -> np.ndarray:
        """Values of `exceedance`, or of `cdf`, at any number of t within reach; for figures."""
        k = position(self.outputs, output, "output")
        curves = [one.curves[k] for one in self._extremes]
        return np.mean([c.side(c.tail, above)[c.piece(t)] for c in curves], axis=0)

    def _band(self, level: float | None, output: str | int) -> tuple[Curve, np.ndarray, np.ndarray]:
        k = position(self.outputs, output, "output")
        level = self.level if level is None else arguments.level(level)
        curve = self.curves[k]
        return (curve, *curve.band(width(self.maxima[k], level)))

    def _told(self, what: str, found: Estimate) -> Estimate:
        """With a caution where the draws don't reach."""
        lost = np.isnan(np.atleast_1d(found.value))
        if not lost.any():
            return found
        below, above = (np.max(end) for end in self.reach)
        known = "the interval says what is known" if what != "quantile" else "an end is open"
        text = (
            f"{listed(found.names, lost)}: beyond what the draws reach, tail probabilities of "
            f"{below:.1g} below and {above:.1g} above; {known}. More calls, or an output_law of "
            "which tails= reaches as far, would help"
        )
        cautions = [Caution("beyond-reach", text)]
        tell(f"OutputLaw.{what}", cautions)
        return found.revised(cautions=(*found.cautions, *cautions))

    def _probability(self, t: ArrayLike, output: str | int, above: bool) -> Estimate:
        at, k = arguments.finite("t", t), position(self.outputs, output, "output")
        if at.ndim > 1 or not 0 < at.size <= MOST_POINTS:
            raise ValueError(
                f"t: got shape {at.shape}; expected a number or a list of 1 to {MOST_POINTS:,}"
            )
        if self.bounds is not None:
            parts = [one._probability(t, output, above) for one in self._extremes]
            return _between(*(parts if above else parts[::-1]))
        curve, y, flat = self.curves[k], self.draws[:, k], at.reshape(-1)
        piece = curve.piece(flat)
        known = curve.known[piece]
        value = curve.side(curve.tail, above)[piece]
        e = self.weighing.residuals(_smaller(y, flat, curve.upper[piece]))
        error = np.where(known, curve.error[piece], np.nan)
        lower, upper = np.transpose([curve.ends(z) for z in WIDTHS], (1, 0, 2))[:, :, piece]
        if above:
            lower, upper = 1 - upper, 1 - lower
        sign, shape = (">" if above else "<="), at.shape
        names = [f"P({self.outputs[k]} {sign} {one:g})" for one in flat]
        if len(set(names)) < len(names):
            names = [f"P({self.outputs[k]} {sign} {one!r})" for one in flat.tolist()]
        return Estimate(
            np.where(known, value, np.nan).reshape(shape),
            _covariance(e, error).reshape(shape * 2),
            names=names,
            method=METHOD,
            bounds=(0.0, 1.0),
            limits=np.stack([lower, upper], axis=2).reshape(len(LEVELS), *shape, 2),
            cost=self.mean.cost,
            provenance=self.mean.provenance,
        )

    def __repr__(self) -> str:
        """The table of quantiles, shortfalls and means."""
        parts = (self.mean, self.quantiles, self.expected_shortfall)
        calls, notes = int(self.mean.cost["evaluations"]), self.cautions
        lines = [f"Output law of {', '.join(self.outputs)}, {calls:,} model calls"]
        if failed := self.mean.diagnostics.get("failed_share"):
            policy = "exclude" if self.bounds is None else "bounds"
            lines[0] += f", {WORDS[policy]}: {failed['value']:.2g} of the inputs fail"
        rows = [
            tables.in_words(name, *map(float, row))
            for part in parts
            if part is not None
            for name, row in zip(
                part.names,
                np.transpose(
                    [np.atleast_1d(c) for c in (part.value, part.standard_error, *part.interval())]
                ),
                strict=True,
            )
        ]
        size = [max(len(row[i]) for row in rows) for i in (0, 1)]
        lines += [f"  {a:<{size[0]}}  {b:<{size[1]}}  {c}".rstrip() for a, b, c in rows]
        return "\n".join([*lines, *printed(notes)])


def _with(found: OutputLaw, **parts: Any) -> OutputLaw:
    """The same draws with other parts: what follows from the draws is not computed again."""
    made = replace(found, **parts)
    if found.bounds is None:
        vars(made).update(weighing=found.weighing, curves=found.curves)
    else:
        same = {name: parts[name] for name in ("maxima", "level") if name in parts}
        vars(made)["_filled"] = tuple(_with(one, **same) for one in found._extremes)
    return made


def _between(least: Estimate, most: Estimate) -> Estimate:
    """The middle of two answers, with errors that go together."""
    return between(least, most, (least.covariance + most.covariance) / 2)


def _probabilities(name: str, p: ArrayLike) -> np.ndarray:
    at = arguments.finite(name, p)
    if at.ndim > 1 or not ((at > 0) & (at < 1)).all():
        raise ValueError(f"{name}: got {arguments.shown(p)}; expected numbers between 0 and 1")
    if len(np.unique(at)) < at.size:
        raise ValueError(f"{name}: got {arguments.shown(p)}; expected different numbers")
    return at.reshape(-1)


def _smaller(y: np.ndarray, at: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Indicators (n, T) of the smaller side, those above with the sign of what they leave."""
    return np.where(upper, -1.0 * (y[:, None] > at), 1.0 * (y[:, None] <= at))


def _covariance(e: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Covariance of sums with residuals e (n, J), their standard errors being these."""
    return correlations(e.T @ e) * np.outer(error, error)


def _named(outputs: Sequence[str], p: np.ndarray, what: str) -> list[str]:
    inner = [f"{what}({x:.15g})" for x in p]
    return inner if len(outputs) == 1 else [f"{name}: {one}" for name in outputs for one in inner]


def _quantiles(found: OutputLaw, p: np.ndarray, scalar: bool = False) -> Estimate:
    """Quantiles at p of every output: values, and all that the test accepts at each level."""
    if found.bounds is not None:
        return _between(*(_quantiles(one, p, scalar) for one in found._extremes))
    ends = np.empty((len(LEVELS), len(found.outputs), len(p), 2))
    value, columns = np.empty(ends.shape[1:3]), []
    for k, curve in enumerate(found.curves):
        for i, z in enumerate(WIDTHS):
            lower, upper = curve.ends(z)
            ends[i, k] = [curve.inverse(one, lower, upper) for one in p]
        value[k] = [curve.quantile(one, *ends[NORMAL, k, j]) for j, one in enumerate(p)]
        # of a quantile beyond reach nothing but its row of NaN is kept
        at = np.where(np.isnan(value[k]), curve.values[0], value[k])
        columns.append(_smaller(found.draws[:, k], at, p > 0.5))
    flat, limits = value.reshape(-1), ends.reshape(len(LEVELS), -1, 2)
    with np.errstate(invalid="ignore"):
        error = (limits[NORMAL, :, 1] - limits[NORMAL, :, 0]) / (2 * WIDTHS[NORMAL])
    error = np.where(np.isfinite(error) & np.isfinite(flat), error, np.nan)
    covariance = _covariance(found.weighing.residuals(np.concatenate(columns, axis=1)), error)
    return Estimate(
        flat[0] if scalar else flat,
        covariance.reshape(()) if scalar else covariance,
        names=_named(found.outputs, p, "q"),
        method=METHOD,
        limits=limits[:, 0] if scalar else limits,
        cost=found.mean.cost,
        provenance=found.mean.provenance,
    )


def _shortfalls(found: OutputLaw, p: np.ndarray) -> tuple[Estimate, list[Caution]]:
    """Means beyond the quantiles at p; an error of the quantile moves none of them."""
    if found.bounds is not None:
        (least, low), (most, high) = (_shortfalls(one, p) for one in found._extremes)
        said = list(dict.fromkeys([*low, *high]))
        return _between(least, most).revised(cautions=said), said
    quantiles = _quantiles(found, p)
    w, c, y = found.weights, found.weighing.coefficients, np.repeat(found.draws, len(p), axis=1)
    beyond = np.fmax(y - np.nan_to_num(quantiles.value), 0.0)
    excess = beyond / np.tile(1 - p, len(found.outputs))
    e, value = found.weighing.residuals(excess), quantiles.value + c @ excess
    terms = [w * column for column in excess.T]
    shape = np.array([pareto_k(np.log(t[t > 0])) if (t > 0).sum() > 25 else np.inf for t in terms])
    # nothing is beyond the largest value that there can be
    last = [len(curve.values) == 1 or bool(curve.known[-1]) for curve in found.curves]
    none = np.repeat(last, len(p)) & ~beyond.any(0)
    heavy, endless = ~none & (shape > 0.7), ~none & (shape > 1)
    error = np.where(endless | np.isnan(value), np.nan, np.sqrt((e**2).sum(0)))
    assert quantiles.limits is not None
    reached = np.isfinite(error)
    half = WIDTHS[:, None] * np.where(reached, error, 0.0)
    lower = np.where(reached, value - half, quantiles.limits[..., 0])
    upper = np.where(reached, value + half, np.inf)
    names = _named(found.outputs, p, "shortfall")
    cautions = []
    if (heavy & ~np.isnan(value)).any():
        text = (
            f"{listed(names, heavy & ~np.isnan(value))}: Pareto k-hat up to "
            f"{shape[heavy].max():.2f}: the tail beyond the quantile is too heavy for the error of "
            "its mean to be promised; over 1 it has no upper end. Quantiles don't suffer; ask "
            "whether the mean exists"
        )
        cautions = [Caution("heavy-tails", text)]
    estimate = Estimate(
        value,
        _covariance(e, error),
        names=names,
        method=METHOD,
        limits=np.stack([lower, upper], axis=2),
        cautions=cautions,
        cost=found.mean.cost,
        provenance=found.mean.provenance,
    )
    return estimate, cautions


@dataclass(frozen=True)
class _Asked:
    """What is asked of every output, checked."""

    quantiles: np.ndarray
    shortfalls: np.ndarray
    tails: tuple[float, float]
    body: float
    columns: Columns

    @classmethod
    def of(
        cls, quantiles: ArrayLike, shortfalls: ArrayLike, tails: ArrayLike, body: float, names: Any
    ) -> _Asked:
        ends = arguments.finite("tails", tails)
        if ends.shape != (2,) or not ((ends > 0) & (ends < 0.5)).all():
            raise ValueError(
                f"tails: got {arguments.shown(tails)}; expected two probabilities between 0 and "
                "0.5, how far to go below and above"
            )
        found = []
        for name, given in (("quantiles", quantiles), ("expected_shortfall", shortfalls)):
            # shortfalls may be none
            none = isinstance(given, tuple | list) and not given
            empty = none and name != "quantiles"
            p = np.empty(0) if empty else _probabilities(name, given)
            if not p.size and not empty:
                raise ValueError(f"{name}: got none; expected one probability or more")
            outside = (p < ends[0] * (1 - 1e-6)) | (1 - p < ends[1] * (1 - 1e-6))
            if outside.any():
                raise ValueError(
                    f"{name}: got {p[outside][0]:.15g}, beyond tails={tuple(ends.tolist())}; "
                    "expected probabilities within, or smaller tails"
                )
            found.append(p)
        share = arguments.number("body", body, 0, 1)
        lower, upper = ends.tolist()
        columns = Columns(arguments.names(names), "model")
        return cls(found[0], found[1], (lower, upper), share, columns)

    def outputs(self, count: int, scalar: bool) -> tuple[str, ...]:
        """Names of so many outputs."""
        if count > MOST_LEVELS // 2:
            raise ModelError(
                f"model: returned {count} values per input; expected at most {MOST_LEVELS // 2}, "
                "each with levels of its own"
            )
        names = self.columns.names
        if names is None and scalar:
            return ("Y",)
        return arguments.names_of(names, count, "Y")


def _pooled(rounds: Sequence[Stage]) -> Stage:
    """Rounds of draws from one mixture as one, stratum by stratum."""
    if len(rounds) == 1:
        return rounds[0]
    counts = np.sum([stage.counts for stage in rounds], axis=0)
    place = np.concatenate([np.repeat(np.arange(len(s.counts)), s.counts) for s in rounds])
    order = np.argsort(place, kind="stable")
    parts: dict[str, Any] = {
        name: joined(rounds, name)[order] for name in ("u", "x", "values", "log_f", "log_g")
    }
    if rounds[0].raw is not None:
        parts["raw"] = joined(rounds, "raw")[order]
    mixture = Mixture(counts / counts.sum(), rounds[0].mixture.components)
    log_h = log_mixture(parts["log_g"], mixture.weights)
    return replace(rounds[0], **parts, log_h=log_h, mixture=mixture, counts=counts)


@dataclass(frozen=True)
class _Final:
    """Final draws of one mixture, round by round, and the answer of all so far."""

    ladder: Ladder
    controls: Controls
    asked: _Asked
    failures: FailedRuns
    outputs: tuple[str, ...]
    densities: tuple[Component, ...]
    shares: np.ndarray
    source: Source
    began: float
    level: float
    rounds: list[Stage] = field(default_factory=list)

    @property
    def before(self) -> int:
        """Calls before the final draws."""
        return len(self.ladder.history)

    @property
    def least(self) -> int:
        """Calls of a round at the least."""
        return FOLDS * len(self.densities)

    @property
    def calls(self) -> int:
        """Calls of the model so far."""
        return self.before + sum(map(len, self.rounds))

    def draw(self, size: int) -> None:
        """A round more, in the proportions of the first."""
        shares = self.rounds[0].mixture.weights if self.rounds else self.shares
        counts = split(max(size, self.least), shares, FOLDS)
        name = f"final {len(self.rounds) + 1}"
        self.rounds.append(self.ladder.sampler.draw(name, self.densities, counts))

    def further(self, run: Run, calls: int) -> _Final:
        """The same with a round more, drawn in this run."""
        if calls < self.least:
            raise ValueError(
                f"budget: got {calls} calls more; expected at least {self.least}, some for each "
                "component of the mixture"
            )
        sampler = replace(self.ladder.sampler, run=run)
        more = replace(
            self,
            ladder=replace(self.ladder, sampler=sampler),
            source=self.source.after(calls),
            rounds=[*self.rounds],
        )
        more.draw(calls)
        return more

    def standing(self, level: float) -> Standing:
        """How precise the quantiles are."""
        now, calls = self.answer().quantiles, self.calls
        return Standing.of(now, level, calls - self.before, calls, self.least)

    def answer(self) -> OutputLaw:
        """Quantiles and means; no bands yet."""
        stage = _pooled(self.rounds)
        ran = ~np.isnan(stage.values).any(1)
        densities = stage.log_f, stage.log_g, stage.log_h, stage.counts
        known = Weighing.of(*densities, None if ran.all() else ran)
        mean, none = self._mean(stage), np.empty((len(self.outputs), 0))
        parts = (stage.values, known.weight, known.controls, known.pull, known.counts, none)
        bounds = self.failures.spread(stage.values.shape[1])
        bare = OutputLaw(mean, None, mean, self.outputs, *parts, bounds=bounds)
        return _with(bare, quantiles=_quantiles(bare, self.asked.quantiles))

    def _mean(self, stage: Stage) -> Estimate:
        """Mean of the outputs, with the sample."""
        history, several = History(), len(self.outputs) > 1
        names = tuple(f"mean of {name}" for name in self.outputs) if several else ("mean",)
        base, scalar = names, stage.scalar
        if self.failures.tolerated:
            lost, names = np.isnan(stage.values).any(1), self.failures.named(names)
            values = np.column_stack([self.failures.values(stage.values), lost])
            stage = replace(stage, values=values)
        stage = history.measured(stage)
        k, j = len(stage.counts), len(names)
        choices = [Choice("none")]
        if len(stage) >= 8 * k:
            # many components all but span a law on the line: of exp(x) at 3,000 calls 0.89 of the
            # intervals held at a cut-off of 0.1, which leaves an error that few draws show
            cutoff = 0.3 if stage.x.shape[1] == 1 else 0.1
            choices.append(Choice(f"components, cut-off {cutoff:g}", k, cutoff))
        w = np.exp(stage.log_f - stage.log_h)[:, None]
        regression = Regression(choices, (stage.values * w).mean(0))
        mean = mean_of(stage, stage.log_g, stage.counts, self.controls, regression)
        evidence = Evidence(
            mean=mean,
            stages=[stage],
            log_h=stage.log_h,
            names=names,
            units=history.common,
            space=self.ladder.sampler.space,
            defensive=float(stage.mixture.weights[0]),
            doubted=np.full(j, np.nan),
            trials=np.zeros(j),
            pull=np.zeros(j),
        )
        if self.failures.tolerated:
            evidence = quieted(evidence)
        estimate = report(
            evidence,
            (),
            method=METHOD,
            evaluations=self.calls,
            began=self.began,
            source=self.source.provenance,
            diagnostics={
                "control_variate": [choices[c].name for c in mean.chosen],
                "mixture_weights": stage.mixture.weights,
                "stages": self.ladder.told,
            },
        )
        return (
            reported(estimate, self.failures, base, scalar) if len(names) > len(base) else estimate
        )

    def _suprema(self, found: OutputLaw) -> np.ndarray:
        """Draws (outputs, M) of the largest standardised errors."""
        root, pairs = self.source.root, zip(found.curves, found.draws.T, strict=True)
        return np.array(
            [
                suprema(found.weighing, curve, y, generator(root, "band", k))
                for k, (curve, y) in enumerate(pairs)
            ]
        )

    def told(self, cautions: Sequence[Caution] = ()) -> OutputLaw:
        """The whole answer, after its warnings, ready to go on."""
        found, shortfalls, said = self.answer(), None, list(cautions)
        if len(self.asked.shortfalls):
            shortfalls, more = _shortfalls(found, self.asked.shortfalls)
            said += more
        ends, p = [found], self.asked.quantiles
        if found.bounds is not None:
            ends = [_with(one, quantiles=_quantiles(one, p)) for one in found._extremes]
        said += [c for one in ends for c in _doubts(one, self.ladder, self.calls)]
        said = list(dict.fromkeys([*said, *found.mean.cautions]))
        # of two laws that of the wider band is taken for both
        maxima = np.max([self._suprema(one) for one in ends], axis=0)
        tell("output_law", said)
        return _with(
            found,
            quantiles=found.quantiles.revised(cautions=said),
            expected_shortfall=shortfalls,
            maxima=maxima,
            level=self.level,
            cautions=tuple(said),
            extension=_Extension(self),
        )


@dataclass(frozen=True)
class _Extension:
    """What `OutputLaw.extend` goes on from."""

    final: _Final

    def __call__(
        self,
        model: Integrand,
        budget: int,
        *,
        executor: Executor | str | None = None,
        progress: bool | None = None,
    ) -> OutputLaw:
        """As `OutputLaw.extend`."""
        final, began = self.final, time.perf_counter()
        arguments.function("model", model, "of an array of shape (n, d)")
        check_same(model, final.source)
        size = arguments.count("budget", budget, final.least)
        with open_run(
            final.failures.caller(model, final.ladder.sampler.vectorized, "model"),
            executor=executor,
            progress=progress,
            seed=final.source.root,
            total=size,
            description=METHOD,
            named="model",
        ) as run:
            more = replace(final, began=began).further(run, size)
        return more.told()


def _doubts(found: OutputLaw, ladder: Ladder, calls: int) -> list[Caution]:
    """What can't be promised of the quantiles, and what would do."""
    cautions, law = [], ladder.sampler.space.law
    constant = np.array([len(curve.values) == 1 for curve in found.curves])
    if constant.any():
        text = f"{listed(found.outputs, constant)}: did not vary in {calls:,} calls"
        cautions.append(Caution("constant-output", text))
    limits = found.quantiles.limits
    assert limits is not None
    open_ = np.isinf(limits[NORMAL]).any(1) & ~np.repeat(
        constant, len(found.quantiles) // len(found.outputs)
    )
    if open_.any():
        of = np.unique(np.flatnonzero(open_) // (len(open_) // len(found.outputs)))
        lower, upper = (np.atleast_1d(end)[of] for end in found.reach)
        needed = max(_calls_needed(found, j, calls) for j in np.flatnonzero(open_).tolist())
        text = (
            f"{listed(found.quantiles.names, open_)}: beyond what the draws reach, tail "
            f"probabilities of {lower.max():.1g} below and {upper.max():.1g} above; the interval "
            f"has one end. About {needed:,} calls would do"
        )
        cautions.append(Caution("beyond-reach", text))
    raw = found.weighing.raw
    if -raw[raw < 0].sum() > NEGATIVE:
        text = (
            f"{-raw[raw < 0].sum():.1%} of the coefficients of the draws were negative, and are 0 "
            "now: more calls would help"
        )
        cautions.append(Caution("negative-coefficients", text))
    p = np.array([float(name.rsplit("(", 1)[1][:-1]) for name in found.quantiles.names])
    seldom = np.minimum(p, 1 - p) * found.counts[0] < FEW_HITS
    if not law.mapped and law.kernels is None and seldom.any():
        text = (
            f"{listed(found.quantiles.names, seldom)}: the law's own draws are beyond fewer than "
            f"{FEW_HITS} times, and a law known by draws and density alone has no other way to "
            "show where an output is extreme: a region they hit as seldom may be missed. More "
            "calls, or a law with marginals and a copula, would help"
        )
        cautions.append(Caution("unexplored-regions", text))
    return cautions


def _calls_needed(found: OutputLaw, j: int, calls: int) -> int:
    """Calls by which the draws beyond a quantile would be worth enough."""
    k = j // (len(found.quantiles) // len(found.outputs))
    p = float(found.quantiles.names[j].rsplit("(", 1)[1][:-1])
    curve, y = found.curves[k], found.draws[:, k]
    f = curve.side(curve.tail, False)
    if p < 0.5:
        beyond = y <= curve.values[max(int(np.argmax(f >= p)) - 1, 0)]
    else:
        beyond = y >= curve.values[min(int(np.argmax(f >= p)), len(curve.values)) - 1]
    # a handful of draws says little of how many it takes
    return (
        int(np.ceil(calls * max(50 / max(effective(found.weights, beyond), 1.0), 2.0) / 100)) * 100
    )


def output_law(
    model: Integrand,
    law: object,
    budget: int | None = None,
    *,
    precision: Precision | None = None,
    quantiles: ArrayLike = (0.01, 0.05, 0.5, 0.95, 0.99),
    expected_shortfall: ArrayLike = (),
    tails: ArrayLike = (1e-6, 1e-6),
    body: float = 0.25,
    level: float = 0.95,
    proposal: object = "auto",
    failed: str = "raise",
    failed_exceptions: Sequence[type[Exception]] = (),
    bounds: Sequence[ArrayLike] | None = None,
    vectorized: bool = True,
    names: Sequence[str] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> OutputLaw:
    """The law of a model's outputs: all quantiles, both tails and the middle, from one sample.

    Stages climb towards both tails; final draws come from h = body f + densities for levels at
    P = 0.1, 0.01, ... on each side. With c_i the coefficients of the regression on the densities
    of h, P(Y <= t) = sum_i c_i 1{y_i <= t} for all t at once; an interval of a quantile holds all t
    at which a test on the scale of log P accepts, so that no density of Y is needed.

    In the middle plain draws are 2 to 5 times better: who wants a median only takes those.

    Parameters
    ----------
    model : callable
        (n, d) array of inputs -> (n,) or (n, K) array of finite numbers, K at most 20. With
        ``vectorized=False``: one input of shape (d,) -> number or (K,). Columns of a DataFrame and
        entries of a dict of arrays name the outputs.
    law : law
        Law of the inputs, as for `adaptive_importance_sampling`.
    budget : int, at least 1,000
        Calls of the model (rows), everything included; give this or ``precision``.
    precision : Precision, optional
        Run until every quantile asked for is as precise: the density h stays, its draws grow.
    quantiles : array_like, shape (P,), default (0.01, 0.05, 0.5, 0.95, 0.99)
        Probabilities below.
    expected_shortfall : array_like, shape (Q,), default none
        Probabilities below the quantiles beyond which means are taken: E[Y | Y beyond q(p)].
    tails : (float, float), default (1e-6, 1e-6)
        How far to go below and above, as probabilities.
    body : float, default 0.25
        Share of the final draws that come from the input law: more for the middle, less for the
        tails.
    level : float, default 0.95
        Of bands, where none is given.
    proposal : str or law, default "auto"
        As for `adaptive_importance_sampling`.
    failed : {"raise", "exclude", "bounds"}
        What a run counts as that gave NaN or an infinite value. "raise": it ends everything.
        "exclude": the law is that given that the model ran, P(Y <= t, ran) / P(ran), and the share
        that fails is in the diagnostics of ``mean``. "bounds": intervals and bands reach over the
        laws with the least and the largest values for failed runs, and values are the middle.
    failed_exceptions : sequence of exception classes, optional
        Exceptions of the model that count as failed runs.
    bounds : (lower, upper), optional
        For ``failed="bounds"``: ends between which outputs lie for certain, numbers or of shape
        (K,). Infinite ones are refused, as there would be no mean.
    vectorized, seed, executor, progress, checkpoint
        As for `adaptive_importance_sampling`.
    names : sequence of str, length K, optional
        Names of the outputs.

    Returns
    -------
    OutputLaw
        With ``quantiles``, ``expected_shortfall`` and ``mean``; any other question, such as
        `OutputLaw.cdf`, `OutputLaw.band` or `OutputLaw.quantile`, is answered from the same draws.
        `OutputLaw.extend` goes on with more calls.

    Raises
    ------
    DegeneracyError
        No output varied.
    ModelError, ValueError, TypeError
        As for `adaptive_importance_sampling`; or a quantile lies beyond ``tails``.

    Warns
    -----
    PrecisionWarning
        A quantile lies beyond what the draws reach (its interval has one end), an output did not
        vary, a tail is too heavy for its mean, or over 5 % of the law fails.

    References
    ----------
    Glynn (1996), Importance sampling for Monte Carlo estimation of quantiles; Chu & Nakayama
    (2012), Confidence intervals for quantiles when applying variance-reduction techniques, ACM
    TOMACS 22; Owen & Zhou (2000), JASA 95; Chernozhukov, Chetverikov & Kato (2013), arXiv
    1212.6906.

    Examples
    --------
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> found = smw.output_law(lambda x: x.sum(axis=1), [stats.norm()] * 3, 3_000, seed=1)
    >>> lower, upper = found.quantile(0.999).interval()
    >>> bool(lower < 3**0.5 * stats.norm.isf(0.001) < upper)
    True
    """
    arguments.function("model", model, "of an array of shape (n, d)")
    vectorized, law = arguments.flag("vectorized", vectorized), as_law(law)
    asked = _Asked.of(quantiles, expected_shortfall, tails, body, names)
    failures = checked_policy(failed, failed_exceptions, bounds)
    if failed == "bounds" and bounds is None:
        raise ValueError("bounds: got None; expected (lower, upper) with failed='bounds'")
    level, goal = arguments.level(level), Goal(stopping_rule(budget, precision))
    least = max(1_000, 200 * (min(law.dimension, 20) + 2))
    check_least(goal.rule, least, f"calls for {law.dimension} input{'s' * (law.dimension > 1)}")
    most_calls, began = goal.most, time.perf_counter()
    if precision is None:
        goal = Goal(Budget(first_budget(checkpoint, most_calls)))
    family, start = family_of(proposal, law)
    given = {
        "model": model,
        "law": law,
        "budget": goal.most if precision is None else None,
        "precision": precision,
        "quantiles": asked.quantiles,
        "expected_shortfall": asked.shortfalls,
        "tails": list(asked.tails),
        "body": asked.body,
        "proposal": start[0] if start else proposal,
        "vectorized": vectorized,
        "names": asked.columns.given,
        **failures.asked_for,
    }
    with open_run(
        failures.caller(model, vectorized, "model"),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=given,
        seed=seed,
        total=most_calls if precision is None else None,
        description=METHOD,
    ) as run:
        made = prepared(
            run,
            law,
            goal,
            family,
            start,
            True,
            remedy="expected a normalised one",
            vectorized=vectorized,
            check=asked.outputs,
            columns=asked.columns,
            derived=failures.inside if failures.tolerated else None,
            tolerant=failures.tolerated,
        )
        budgeted = goal.most if isinstance(goal.rule, Budget) else min(goal.most, 20_000)
        most = int(MOST_CLIMB * budgeted)
        ladder = Ladder(made.sampler, family, made.given, asked.tails)
        ladder.climb(min(max(most // 12, 40 * (min(law.dimension, 20) + 1), 200), most // 2), most)
        pilot = ladder.history.stages[0]
        outputs = asked.outputs(pilot.values.shape[1], pilot.scalar)
        if (np.ptp(ladder.history.values, axis=0) == 0).all():
            raise DegeneracyError(
                f"model: returned {ladder.history.values[0].tolist()} at all of "
                f"{len(ladder.history):,} inputs; expected an output that varies"
            )
        final = _Final(
            ladder,
            made.controls,
            asked,
            failures,
            outputs,
            *ladder.mixture(asked.body),
            source=Source(METHOD, run.root, given),
            began=began,
            level=level,
        )
        first = budgeted - final.before
        cautions = until_precise(goal.rule, first, final.draw, final.standing, "calls", run)
        for calls in run.rounds(goal.most, most_calls) if precision is None else []:
            final, cautions = final.further(run, calls), []
    return final.told(cautions)
