"""Searches along gradients: steps scaled by curvature, stages of iterations, and the fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...arguments import one_of
from ...cautions import Caution
from ...estimate import Estimate
from ...execution import Run, open_run
from ...randomness import Seed, describe, generator, seed_sequence
from ...results import NOT_KEPT, Result, along, table
from ...stopping import Budget, Precision, Standing, check_least, stopping_rule, until_precise
from ..chains import estimate_from_chains
from .parameters import Free, from_theta, to_theta

if TYPE_CHECKING:
    import jax
    import pandas
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
DEFAULT_ITERATIONS = 500
LEAST_ITERATIONS = 20
FIRST_STAGE = 200  # iterations before a precision is looked at
LEAST_SHARE = 0.1  # of the complete information that steps count on being observed
LONGEST_STEP = 5.0  # in standard deviations of the complete information
LOOK_EVERY = 10  # iterations between two looks at the curvature
STAGE = 100  # iterations or draws of a chain between two visits of the checkpoint


@dataclass(frozen=True, eq=False)
class Fit(Result):
    """Learned parameters.

    Attributes
    ----------
    theta : Estimate
        The free parameters, with both errors: of the data (inverse information) and of the
        search. Its interval is meant to cover the true parameters. It is symmetric, so that it
        may leave a parameter's range; `interval`, which a printed fit shows, keeps to it.
    maximiser : Estimate
        The same value with the Monte Carlo error alone: its interval is meant to cover the
        maximum of the likelihood that more computing would find.
    model : object
        The model with the values found; the family for `markov_score_climbing` of a density. None
        of what was read from a file.
    iterates : ndarray, shape (chains, L, k)
        The way of every chain.
    gradient : Estimate or None
        Mean gradient over the iterations averaged, by the unconstrained parameters, one fewer for
        each row of probabilities: zero at the maximum.
    information : Estimate or None
        What `observed_information` says at the value found.
    transforms : tuple of str
        Of the free parameters.
    diagnostics : dict
        `averaged`, iterations behind the average of each chain; `newton_step`, the last that the
        score asked for, in standard errors of the data (a rough guess at both without
        `information`); `statistical_error` and `monte_carlo_error` of theta, shape (k,); `paths`,
        the chains' last paths; `warnings`. Of a surface its height, `log_likelihood`, the `noise`
        of the heights, and minus its second derivatives by unconstrained parameters,
        `information`.
    """

    theta: Estimate
    maximiser: Estimate
    model: Any = field(metadata=NOT_KEPT)
    iterates: Array = field(metadata=along("chain", "iteration", "parameter"))
    gradient: Estimate | None = None
    information: Estimate | None = None
    transforms: tuple[str, ...] = ()
    diagnostics: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        rows: list[tuple[str, ...]] = [("", "value", "interval", "of the search alone")]
        both, alone = self.interval(), self.interval(error="monte carlo")
        for k, name in enumerate(self.theta.names):
            ends = [f"[{low[k]:.4g}, {high[k]:.4g}]" for low, high in (both, alone)]
            rows.append((name, f"{self.theta.value[k]:.4g}", *ends))
        widths = [max(len(row[j]) for row in rows) for j in range(4)]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        count = "1 parameter" if len(self.theta) == 1 else f"{len(self.theta)} parameters"
        return "\n  ".join([f"Fit of {count} by {self.theta.method}", *lines])

    def interval(self, level: float = 0.95, error: str = "both") -> tuple[Array, Array]:
        """Intervals made where the parameters are unconstrained, so that they keep to their range.

        Parameters
        ----------
        level : float, default 0.95
        error : {"both", "monte carlo"}
            Of data and search, or of the search alone.

        Returns
        -------
        lower, upper : ndarray, shape (k,)
        """
        one_of("error", error, ("both", "monte carlo"))
        est = self.theta if error == "both" else self.maximiser
        u = from_theta(est.value, self.transforms, est.names)
        _, slope, _ = to_theta(u, self.transforms)
        lower, upper = est.interval(level)
        ends = [
            to_theta(u + (end - est.value) / slope, self.transforms)[0] for end in (lower, upper)
        ]
        return ends[0], ends[1]

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """Table of the parameters, with intervals that keep to their range, as `interval` gives.

        Parameters
        ----------
        level : float, default 0.95
            Of the intervals.

        Returns
        -------
        pandas.DataFrame
            Columns: value, standard_error, lower, upper; monte_carlo_error, of the search alone.
        """
        columns = (self.theta.value, self.theta.standard_error, *self.interval(level))
        rows = zip(self.theta.names, zip(*columns, strict=True), strict=True)
        return table(rows).assign(monte_carlo_error=self.maximiser.standard_error)

    def plot(self, ax: Axes | None = None, *, parameter: str | int = 0) -> Axes:
        """Iterates of a parameter with their averages (`smcweights.plots.iterates`).

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.
        parameter : str or int
            By name or position among the free ones.

        Returns
        -------
        matplotlib axes
        """
        from ..figures import iterates

        return iterates(self, ax, parameter=parameter)

    @property
    def averaged_path(self) -> Array:
        """Running means of the iterates over their last halves, shape (chains, L, k)."""
        total = np.cumsum(self.iterates, axis=1)
        last = np.arange(self.iterates.shape[1])
        first = (last + 1) // 2
        before = np.where((first > 0)[:, None], total[:, np.maximum(first - 1, 0)], 0.0)
        return (total - before) / (last - first + 1)[:, None]


class State(NamedTuple):
    """Unconstrained parameters, the path or state of the chain under them, and a climber's memory.

    That is how often curvature was looked at, and its moments, or the leaves of an optimiser.
    """

    u: Array
    held: Array | None = None
    looks: Array | int = 0
    moments: Array | None = None
    memory: tuple[Array, ...] = ()


class Job(NamedTuple):
    """Iterations of one chain in one stage, and where they go on from."""

    root: dict[str, Any]
    chain: int
    begin: int
    iterations: int
    state: State

    def generator(self, name: str) -> np.random.Generator:
        """Of the chain in this stage."""
        return generator(seed_sequence(self.root), name, self.chain, self.begin)


class Steps(NamedTuple):
    """What a job leaves: iterates (s, k), their gradients, and the state after them."""

    iterates: Array
    gradients: Array
    state: State


More = TypeVar("More")  # what else a method wants to know of every job


@dataclass(frozen=True, eq=False)
class Search:
    """Where independent chains have been, by unconstrained parameters (chains, L, k), and are now.

    The caution is of a precision that was not reached.
    """

    u: Array
    gradients: Array
    states: list[State]
    cautions: list[Caution]

    @property
    def done(self) -> int:
        """Iterations of every chain."""
        return self.u.shape[1]

    @property
    def half(self) -> int:
        """The first iteration that is averaged."""
        return self.done // 2

    @property
    def ends(self) -> Array:
        """Averages of the last halves, shape (chains, k)."""
        return self.u[:, self.half :].mean(axis=1)

    @property
    def centre(self) -> Array:
        """Average over all of them, shape (k,)."""
        return self.u[:, self.half :].mean(axis=(0, 1))

    @property
    def slopes(self) -> Array:
        """Mean gradients of the last halves, shape (chains, k)."""
        return self.gradients[:, self.half :].mean(axis=1)


def search_rule(budget: int | None, precision: Precision | None) -> tuple[Budget | Precision, int]:
    """When a search ends, and how many iterations it makes before that is looked at."""
    if budget is None and precision is None:
        budget = DEFAULT_ITERATIONS
    rule = stopping_rule(budget, precision)
    first = rule.total if isinstance(rule, Budget) else min(FIRST_STAGE, rule.max_budget)
    check_least(rule, LEAST_ITERATIONS, "iterations")
    return rule, first


class How(NamedTuple):
    """By what seed a search runs, where, and what keeps and shows it."""

    seed: Seed
    executor: Executor | str | None
    progress: bool | None
    checkpoint: str | PathLike[str] | None


def open_search(
    climb: Callable[[Job], tuple[Steps, More]],
    total: int,
    how: How,
    method: str,
    arguments: dict[str, object],
) -> AbstractContextManager[Run[tuple[Steps, More]]]:
    """A run of a search, of so many iterations of all chains in its first stage."""
    return open_run(
        climb,
        executor=how.executor,
        progress=how.progress,
        checkpoint=how.checkpoint,
        arguments=arguments,
        seed=how.seed,
        total=total,
        unit="iterations",
        description=method,
    )


def searched(
    run: Run[tuple[Steps, More]],
    rule: tuple[Budget | Precision, int],
    starts: Sequence[Array],
    free: Free,
) -> tuple[Search, list[More]]:
    """Iterations of all chains, stage by stage, until the rule is content."""
    chains, done = len(starts), 0
    states = [State(u) for u in starts]
    found: list[Steps] = []
    others: list[More] = []

    def stage(size: int) -> None:
        nonlocal states, done
        end = done + size
        while done < end:
            part = min(STAGE, end - done)
            root = describe(run.root)
            jobs = [(Job(root, c, done, part, state),) for c, state in enumerate(states)]
            new = run.map(f"iterations from {done}", jobs, [part] * chains)
            found.extend(steps for steps, _ in new)
            others.extend(other for _, other in new)
            states, done = [steps.state for steps, _ in new], done + part

    def search(cautions: Sequence[Caution] = ()) -> Search:
        u, gradients = (
            np.array([np.concatenate(parts[c::chains]) for c in range(chains)])
            for parts in ([s.iterates for s in found], [s.gradients for s in found])
        )
        return Search(u, gradients, states, list(cautions))

    def standing(level: float) -> Standing:
        now = search()
        probe = average(now.ends, free)
        lower, upper = probe.interval(level)
        half = (upper - lower) / 2
        return Standing(np.asarray(probe.value), half, done - now.half, done, estimate=probe)

    return search(until_precise(*rule, stage, standing, "iterations", run)), others


def average(ends: Array, free: Free, **fields: Any) -> Estimate:
    """Parameters from the ends of chains; `fields` are those of `Estimate`."""
    centre = ends.mean(axis=0)
    at = free.at(centre)
    # linear around the mean of the chains, where the intervals of Fit are made
    return estimate_from_chains(at.values + at.along(ends - centre), names=free.names, **fields)


def mean_gradient(search: Search, free: Free, source: dict[str, Any]) -> Estimate:
    """Of the iterations averaged."""
    names = [f"gradient of {free.names[k]}" for k in free.moving]
    return estimate_from_chains(search.slopes, names=names, **source | {"method": "mean gradient"})


def regularised(outer: Array) -> Array:
    """A mean outer product of few scores made regular, whatever the units."""
    return outer + np.diag(0.1 * outer.diagonal() + 1e-300)


def direction(moments: Array, partly: bool) -> tuple[Array, Array]:
    """Matrix that steps are multiplied by, and one that measures them in standard deviations.

    `moments` are the complete information, the mean outer product of scores, and their
    covariance, which is the information lost by not seeing the paths. The first sets the scale.
    With `partly`, directions in which little is observed get longer steps.
    """
    complete, outer, lost = moments
    values, vectors = np.linalg.eigh((complete + complete.T) / 2)
    if values[0] <= 1e-10 * max(values[-1], 0.0):
        # the outer product of scores has the same mean under the model, and no negative direction
        values, vectors = np.linalg.eigh(regularised(outer))
    root = vectors / np.sqrt(values)
    observed = np.ones(len(values))
    if partly:
        share = root.T @ lost @ root
        observed, turn = np.linalg.eigh(np.eye(len(values)) - (share + share.T) / 2)
        root, observed = root @ turn, np.clip(observed, LEAST_SHARE, 1.0)
    return (root / observed) @ root.T, root


class Optimiser(Protocol):
    """An `optax.GradientTransformation`, or what behaves like one."""

    def init(self, params: jax.Array) -> Any:
        """Memory at the start."""

    def update(self, updates: jax.Array, state: Any, params: jax.Array) -> tuple[Any, Any]:
        """Step and memory."""


def check_optimiser(given: Optimiser | None) -> None:
    """Refuse what is no transformation of gradients."""
    if given is not None and not (hasattr(given, "init") and hasattr(given, "update")):
        raise TypeError(f"optimiser: got {type(given).__name__}; expected an optax transformation")


class Climber:
    """Steps along a gradient: scaled by curvature seen along the way, or by optax."""

    def __init__(self, optimiser: Optimiser | None, state: State) -> None:
        self.optimiser, self.moments, self.looks = optimiser, state.moments, int(state.looks)
        # the matrix that scales steps, and one that measures them
        self.scaling: tuple[Array, Array] | None = None
        self.memory: Any = None
        if optimiser is not None:
            import jax

            self.memory = optimiser.init(jax.numpy.asarray(state.u))
            leaves, tree = jax.tree.flatten(self.memory)
            self.memory = jax.tree.unflatten(tree, state.memory or leaves)

    def looks_at(self, l: int) -> bool:  # noqa: E741
        """Whether iteration l looks at the curvature."""
        return l < LOOK_EVERY or l % LOOK_EVERY == 0

    def look(self, mean: Array, complete: Array, outer: Array) -> None:
        """Take in a mean score, minus the second derivatives, and an outer product of scores."""
        self.looks += 1
        # a memory of some twenty looks, so that the start is forgotten
        share = max(1 / self.looks, 0.05)
        new = np.array([complete, outer, outer - np.outer(mean, mean)])
        self.moments = new if self.moments is None else self.moments + share * (new - self.moments)
        self.scaling = None

    def step(self, l: int, g: Array, u: Array, partly: bool = True) -> Array:  # noqa: E741
        """The step of iteration l; `partly`, when the observations tell less than the paths."""
        if self.optimiser is not None:
            import jax

            change, self.memory = self.optimiser.update(
                -jax.numpy.asarray(g), self.memory, jax.numpy.asarray(u)
            )
            return np.asarray(change)
        if self.scaling is None:
            assert self.moments is not None, "the first iteration looks"
            self.scaling = direction(self.moments, partly and l >= LOOK_EVERY)
        matrix, measure = self.scaling
        step = matrix @ g
        length = float(np.linalg.norm(np.linalg.solve(measure, step)))
        return step * min(1.0, LONGEST_STEP / max(length, 1e-300)) * (1 + l / 20) ** -0.75

    def state(self, u: Array, held: Array | None) -> State:
        """What the next stage needs."""
        memory: tuple[Array, ...] = ()
        if self.optimiser is not None:
            import jax

            memory = tuple(np.asarray(leaf) for leaf in jax.tree.leaves(self.memory))
        return State(u, held, np.array(self.looks), self.moments, memory)
