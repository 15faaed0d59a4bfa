"""Draws, stage by stage: points of the working space, their densities, and the integrand there.

A `Stage` is a stratified set of draws from one mixture; the `Sampler` makes them; the `History` is
all of them together, under the deterministic mixture of the stages, in units that fit their values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from ..errors import DegeneracyError, ModelError
from ..execution import Run, batches
from ..randomness import generator
from .integrand import Columns, Units, checked_first, checked_table, units_of
from .log_scale import first_of, log_table, relative, risen
from .proposals import Component, Mixture, WorkingSpace, log_densities, log_mixture


@dataclass(frozen=True)
class Stage:
    """Draws from one mixture, in the order of its components, and the integrand there."""

    u: np.ndarray  # (n, d): points of the working space,
    x: np.ndarray  # and the inputs they stand for
    values: np.ndarray  # (n, J): the integrand
    log_f: np.ndarray  # (n,): log densities of the input law,
    log_g: np.ndarray  # (n, K): of the components,
    log_h: np.ndarray  # (n,): and of the mixture
    mixture: Mixture
    counts: np.ndarray  # (K,): draws from each component
    scalar: bool  # whether the integrand returned one number per input
    # (n, C): what the function returned, if the values derive from it; NaN where not called
    raw: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.u)


@dataclass(frozen=True)
class Sampler:
    """Draws stages: what stays the same from one to the next.

    ``derived`` turns what the function returned, (n, C), into the integrand, (n, J); ``check``
    is told the number C, and whether it was one without an axis, before most is called. With
    ``log`` the function returns logs (see `log_scale`), which the history turns into values. Where
    it is ``tolerant``, what the function returned is NaN in the rows of runs that failed.
    """

    run: Run
    space: WorkingSpace
    vectorized: bool
    check: Callable[[int, bool], object]
    derived: Callable[[np.ndarray], np.ndarray] | None = None
    log: bool = False
    tolerant: bool = False
    columns: Columns = field(default_factory=lambda: Columns(None))  # and what to call it

    def draw(self, name: str, densities: tuple[Component, ...], counts: np.ndarray) -> Stage:
        """A stage of counts[k] draws from densities[k], on the random stream ``name``."""
        mixture = Mixture(counts / counts.sum(), densities)
        u = mixture.sample(generator(self.run.root, name), counts)
        x, log_f = self.space.to_inputs(u), self.space.log_density(u)
        # where the input law has no density the integrand may not even be defined
        inside = log_f > -np.inf
        called = x if inside.all() else x[inside]
        if len(called) == 0:
            raise DegeneracyError(f"{name}: every draw has density zero under the input law")
        returned, scalar = self.returned(name, called)
        values, raw = returned, None
        if self.derived is not None or self.log:
            raw = np.full((len(x), returned.shape[1]), np.nan)
            raw[inside] = returned
        if self.derived is not None:
            values = self.derived(returned)
        if len(called) < len(x):
            values, known = np.zeros((len(x), values.shape[1])), values
            values[inside] = known
        log_g = log_densities(densities, u)
        log_h = log_mixture(log_g, mixture.weights)
        return Stage(u, x, values, log_f, log_g, log_h, mixture, counts, scalar, raw)

    def returned(self, name: str, x: np.ndarray) -> tuple[np.ndarray, bool]:
        """What the function returns at inputs x as (n, C), and whether it was a number each."""
        jobs = [(x[a:b],) for a, b in batches(len(x), vectorized=self.vectorized)]
        blocks = self.run.stream(name, jobs, [len(job[0]) for job in jobs])
        if not self.log:
            blocks = self.columns.all_aligned(blocks)

        def checked(block: np.ndarray, at: np.ndarray) -> np.ndarray:
            if self.log:
                return log_table(block, at, self.columns.named)
            return checked_table(block, at, self.columns.named, self.tolerant)

        def check(block: np.ndarray) -> None:
            if width := checked(block, jobs[0][0]).shape[1] // (1 + self.log):
                self.check(width, first_of(block).ndim == 1)

        found = checked_first(blocks, check)
        tables = [checked(block, job[0]) for block, job in zip(found, jobs, strict=True)]
        widths = {table.shape[1] for table in tables} - {0}
        _check_widths(widths)
        # batches all of whose runs raised an exception have no columns
        width = max(widths, default=0)
        tables = [t if t.shape[1] else np.full((len(t), max(width, 1)), np.nan) for t in tables]
        returned = np.concatenate(tables)
        if self.tolerant and np.isnan(returned).all() and (not width or name.endswith(" 1")):
            raise ModelError(
                f"{name}: all {len(x)} runs failed, the first at {x[0].tolist()}; expected some "
                "that don't"
            )
        scalar = any(first_of(block).ndim == 1 for block in found)
        if first_of(found[0]).size == 0:
            # the first batch told nothing
            self.check(width, scalar)
        return returned, scalar


def _check_widths(widths: set[int]) -> None:
    if len(widths) > 1:
        raise ModelError(
            f"integrand: returned {' and '.join(map(str, sorted(widths)))} values per input in "
            "different batches; expected as many in each"
        )


def effective_draws(t: np.ndarray) -> np.ndarray:
    """How many equal draws those of t (n, J) are worth in absolute value: (J,)."""
    return np.abs(t).sum(0) ** 2 / np.maximum((t**2).sum(0), 1e-300)


def split(n: int, weights: np.ndarray, multiple: int = 1) -> np.ndarray:
    """Counts near n * weights: multiples of ``multiple``, none zero, summing to n rounded down."""
    parts = n // multiple
    if parts < len(weights):
        raise ValueError(f"{n} draws are too few for {len(weights)} mixture components")
    exact = weights / weights.sum() * (parts - len(weights))
    counts = 1 + np.floor(exact).astype(np.int64)
    rest = parts - counts.sum()
    counts[np.argsort(np.floor(exact) - exact, kind="stable")[:rest]] += 1
    return counts * multiple


def _together(stages: Sequence[Stage]) -> tuple[tuple[Component, ...], np.ndarray]:
    """All components of the stages, each once, and how many draws they had (by their mixtures)."""
    found, shares = dict[int, Component](), dict[int, float]()
    for s in stages:
        for c, weight in zip(s.mixture.components, s.mixture.weights, strict=True):
            found[id(c)] = c
            shares[id(c)] = shares.get(id(c), 0.0) + len(s) * weight
    return tuple(found.values()), np.array(list(shares.values()))


def joined(stages: Sequence[Stage], name: str) -> np.ndarray:
    """One field of the stages, along the draws."""
    parts = [getattr(stage, name) for stage in stages]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass
class History:
    """All draws so far, under the deterministic mixture of the stages that made them.

    ``units`` are those of its values and of whatever else is measured beside them; None while
    they are the user's. With ``log``, values are in units of exp(level), which rises with what is
    found. ``ratio`` (J,) is what the last stage's arrival multiplied all values by.
    """

    stages: list[Stage] = field(default_factory=list)
    log_total: np.ndarray = field(default_factory=lambda: np.empty(0))  # log sum_s n_s h_s
    units: Units | None = None
    log: bool = False
    level: np.ndarray | None = None  # (J,)
    ratio: np.ndarray | float = 1.0
    # densities asked for of late, and their logs at the first draws
    known: tuple[tuple[tuple[Component, ...], np.ndarray], ...] = ()

    def __len__(self) -> int:
        return len(self.log_total)

    @property
    def common(self) -> Units:
        """The units, once there are any."""
        assert self.units is not None
        return self.units

    def settle(self, units: Units) -> None:
        """Measure all stages, so far in the user's units, in these."""
        self.units = units
        self.stages = [replace(s, values=units.measured(s.values)) for s in self.stages]

    def measured(self, stage: Stage, refit: bool = True) -> Stage:
        """A new stage in the units of the history, which follow it if it outgrows them."""
        self.ratio = 1.0
        if self.log:
            stage = self._levelled(stage)
        if self.units is None:
            self.units = units_of(stage.values)
        _check_widths({len(self.units.unit), stage.values.shape[1]})
        stage = replace(stage, values=self.units.measured(stage.values))
        sizes = [np.abs(one.values).max(0) for one in (*self.stages, stage)]
        fitted = self.units.fitted(np.max(sizes, axis=0))
        if fitted is self.units or not refit:
            return stage
        ratio, self.units = self.units.unit / fitted.unit, fitted
        self.stages = [replace(s, values=s.values * ratio) for s in self.stages]
        self.ratio = self.ratio * ratio
        return replace(stage, values=stage.values * ratio)

    def _levelled(self, stage: Stage) -> Stage:
        """A stage of logs in units of exp(level); values before follow a level that rises."""
        assert stage.raw is not None
        before, self.level = self.level, risen(self.level, stage.raw)
        if before is not None and self.units is not None and (before != self.level).any():
            # from -inf on, all that was is 0
            with np.errstate(invalid="ignore"):
                ratio = np.where(before == self.level, 1.0, np.exp(before - self.level))
            self.stages = [replace(s, values=s.values * ratio) for s in self.stages]
            # what was measured in other units is void
            self.units = replace(self.units, offset=self.units.offset * ratio)
            self.ratio = ratio
        return replace(stage, values=relative(stage.raw, self.level))

    def add(self, stage: Stage) -> None:
        """Append a stage; the joint mixture of all draws changes with it."""
        new = np.log(len(stage)) + stage.log_h
        if self.stages:
            known, shares = _together(self.stages)
            before = log_mixture(log_densities(known, stage.u), shares)
            at_old = self.log_densities(stage.mixture.components)
            old = np.log(len(stage)) + log_mixture(at_old, stage.mixture.weights)
            both = np.logaddexp(before, new), np.logaddexp(self.log_total, old)
            new = np.concatenate(both[::-1])
        self.log_total = new
        self.stages.append(stage)

    def log_densities(self, components: tuple[Component, ...]) -> np.ndarray:
        """Log densities (n, K) of the components at all draws; those known are not asked again."""
        of_these = [table for known, table in self.known if known is components]
        tables, n = of_these, len(of_these[0]) if of_these else 0
        rest = self.stages[np.searchsorted(np.cumsum([len(s) for s in self.stages]), n, "right") :]
        # stages in a row that were drawn from others are asked about at once
        for mine, some in groupby(rest, lambda s: s.mixture.components is components):
            stages = list(some)
            if mine and stages[0].log_g.shape[1]:
                tables = [*tables, *(s.log_g for s in stages)]
            else:
                tables = [*tables, log_densities(components, joined(stages, "u"))]
        # one row for each component, as `log_densities` has them
        table = tables[0] if len(tables) == 1 else np.concatenate([t.T for t in tables], axis=1).T
        others = [pair for pair in self.known if pair[0] is not components]
        self.known = (*others[-1:], (components, table))
        return table

    @property
    def u(self) -> np.ndarray:
        """Points, (n, d)."""
        return joined(self.stages, "u")

    @property
    def x(self) -> np.ndarray:
        """Inputs, (n, d)."""
        return joined(self.stages, "x")

    @property
    def values(self) -> np.ndarray:
        """The integrand, (n, J)."""
        return joined(self.stages, "values")

    @property
    def log_f(self) -> np.ndarray:
        """Log density of the input law, (n,)."""
        return joined(self.stages, "log_f")

    def targets(self) -> np.ndarray:
        """Integrand times weight under the joint mixture, (n, J)."""
        return self.values * np.exp(self.log_f - self.log_h)[:, None]

    @property
    def log_h(self) -> np.ndarray:
        """Log density of the joint mixture at all draws, (n,)."""
        return self.log_total - np.log(len(self.log_total))
