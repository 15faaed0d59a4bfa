"""A model and the observations it is held against, checked: what every job of the room knows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import array, count, instance, number, one_of
from ..errors import DegeneracyError, ModelError
from ..execution import open_run
from ..resampling import SCHEMES
from .compilation import Compiled, compiled
from .model import (
    LINEARISED,
    Proposal,
    StateSpaceModel,
    check_function,
    functions_of,
    is_panel,
    needed,
    observations,
)
from .trial import check_functions, check_series, check_time, tell_of_misses

Array = NDArray[np.float64]
MOST_COMPONENTS = 50  # of states that proposals of filters' own make are for
DRAWN = 20  # states to tell whether a transition is smooth
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Series:
    """What filters are told; jobs of executors are functions of it and of what tells them apart.

    Attributes
    ----------
    model : StateSpaceModel
        With the parameters that count.
    rows : ndarray, shape (T, p)
        Observations, NaN where nothing was seen.
    vector : bool
        Whether the model is shown a row as an array; else p is 1, and it is shown a float.
    n : int
        Particles.
    scheme : str
        How they are resampled,
    threshold : float
        and below which share of effective particles.
    proposal : Proposal or None
        Where they are drawn from.
    linearised : bool
        Whether the filter makes its proposals itself.
    copies : dict
        Of a stream: functions as they were when it began, see `check_time`.
    fed : bool
        Of a stream: whether inputs come with the observations.
    """

    model: StateSpaceModel
    rows: Array
    vector: bool
    n: int
    scheme: str = "systematic"
    threshold: float = 0.5
    proposal: Proposal | None = None
    copies: dict[str, Any] = field(default_factory=dict, repr=False)
    fed: bool = False
    linearised: bool = False

    def functions(self, *, backward: bool = True) -> Compiled:
        """What the kernels call; without `backward` for what draws nothing backward."""
        own = self.linearised and not backward
        return compiled(self.model, self.vector, self.proposal, backward=backward, linearised=own)

    @property
    def y(self) -> Array:
        """Observations as they were given, shape (T,) or (T, p)."""
        return self.rows if self.vector else self.rows[:, 0]

    def shaped(self, states: Array) -> Array:
        """States, of components along the last axis, without that axis where they are floats."""
        return states[..., 0] if self.model.state_dim is None else states

    def arguments(self, **more: Any) -> dict[str, Any]:
        """What provenance says of it."""
        return {
            "model": self.model,
            "n_particles": self.n,
            "resampling": self.scheme,
            "ess_threshold": self.threshold,
            "proposal": LINEARISED if self.linearised else self.proposal,
            **more,
        }


def checked_series(
    model: StateSpaceModel,
    y: ArrayLike,
    n_particles: int,
    theta: ArrayLike | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    proposal: Proposal | str | None = None,
    schemes: tuple[str, ...] = SCHEMES,
    *,
    stream: bool = False,
    filters: bool = False,
) -> Series:
    """Check what all filters are given; of the schemes those that the caller knows.

    Of a stream the inputs may come later. Callers that are `filters` alone take proposals that make
    themselves.

    Raises
    ------
    TypeError, ValueError
        An argument is not as `particle_filter` says.
    ModelError
        A function of the model raises, or does not belong to these observations.
    """
    instance("model", model, StateSpaceModel)
    model = model if theta is None else model.with_theta(theta)
    ess_threshold = number("ess_threshold", ess_threshold, 0, 1, ends=True)
    linearised = filters and isinstance(proposal, str) and proposal == LINEARISED
    if linearised:
        proposal = None
    if proposal is not None and not isinstance(proposal, Proposal):
        wanted = f"a Proposal, {LINEARISED!r} or None" if filters else "a Proposal or None"
        given = repr(proposal) if isinstance(proposal, str) else type(proposal).__name__
        raise TypeError(f"proposal: got {given}; expected {wanted}")
    for part, law in (("sample", "transition_logpdf"), ("initial_sample", "initial_logpdf")):
        if getattr(proposal, part, None) is not None:
            needed(model, (law,), f"weighs what proposal.{part} draws")
    n = count("n_particles", n_particles, 2, each=16 * (model.state_dim or 1) + 16)
    rows, vector = observations(y), np.ndim(y) == 2
    if len(rows) > 1:
        check_series(model, rows)
    for name, (function, arguments) in functions_of(model, proposal).items():
        if name.startswith("proposal."):
            check_function(name, function, arguments)
    if not stream or model.inputs is not None:
        model.check_inputs(len(rows))
        check_functions(model, rows, vector, proposal)
    one_of("resampling", resampling, schemes)
    if len(rows) > 1:
        tell_of_misses(model, rows, vector)
    if linearised:
        check_smooth(model)
    told = (resampling, ess_threshold, proposal)
    return Series(model, rows, vector, n, *told, linearised=linearised)


def checked_panel(
    model: StateSpaceModel,
    y: ArrayLike | Sequence[ArrayLike],
    n_particles: int,
    *told: Any,
    filters: bool = True,
) -> list[Series]:
    """The series of a list of arrays, with inputs of their own, or the only one."""
    instance("model", model, StateSpaceModel)
    if not is_panel(y):
        return [checked_series(model, cast(ArrayLike, y), n_particles, *told, filters=filters)]
    panel, several = cast(Sequence[ArrayLike], y), []
    for s, one in enumerate(panel):
        with naming(s):
            own = model.of_series(s, len(panel))
            several.append(checked_series(own, one, n_particles, *told, filters=filters))
    return several


@contextmanager
def naming(s: int | None) -> Iterator[None]:
    """Errors of a series of several, by its place among them."""
    try:
        yield
    except (TypeError, ValueError, ModelError, DegeneracyError) as error:
        if s is None:
            raise
        raise type(error)(f"series {s}: {error}") from error


def model_of(panel: Sequence[Series]) -> StateSpaceModel:
    """The model of all series, with the inputs of each."""
    model = panel[0].model
    if len(panel) == 1 or model.input_dim is None:
        return model
    return replace(model, inputs=tuple(one.model.inputs for one in panel))


def place_in(k: int, lengths: Sequence[int]) -> str:
    """Where the time is that is number k when series of these lengths follow each other."""
    ends = np.cumsum(lengths)
    s = int(np.searchsorted(ends, k, side="right"))
    own = f"time {k - int(ends[s]) + lengths[s]}"
    return own if len(lengths) == 1 else f"{own} of series {s}"


def check_smooth(model: StateSpaceModel) -> None:
    """Refuse transitions that no Gaussian law stands beside."""
    needed(model, ("transition_logpdf",), f"weighs what proposal={LINEARISED!r} draws")
    if model.dim > MOST_COMPONENTS:
        raise ValueError(
            f"proposal: {LINEARISED!r} for states of {model.dim} components; expected at most "
            f"{MOST_COMPONENTS}, or a Proposal"
        )
    if model.input_dim is not None and model.inputs is None:
        # of a stream that is yet to come
        return
    model, rng, theta = model.reaching(2), np.random.default_rng(0), model.theta.copy()
    first, move, density = map(
        model.plain, ("initial_sample", "transition_sample", "transition_logpdf")
    )
    with np.errstate(all="ignore"):
        x_prev = first(rng, theta)
        x = np.array([move(rng, x_prev, 1, theta) for _ in range(DRAWN)])
        aside = x + 1e-3 * x.std(axis=0) * rng.standard_normal(x.shape)
        logs = [
            float(density(x_prev, one if model.state_dim else float(one), 1, theta))
            for one in aside
        ]
    if len(np.unique(x, axis=0)) < DRAWN or not np.median(logs) > -np.inf:
        raise ValueError(
            f"proposal: {LINEARISED!r} for a transition that is discrete, or singular (its density "
            "is zero beside its own draws); expected a Proposal or None"
        )


def side_by_side(
    job: Callable[..., Result],
    jobs: Sequence[tuple[Any, ...]],
    name: str,
    unit: str,
    root: np.random.SeedSequence,
    executor: Executor | str | None,
    progress: bool | None,
    checkpoint: str | os.PathLike[str] | None,
    arguments: dict[str, Any],
) -> list[Result]:
    """What independent jobs leave, in their order."""
    with open_run(
        job,
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=arguments,
        seed=root,
        total=len(jobs),
        unit=unit,
        description=name,
    ) as run:
        return run.map(unit, jobs)


def one_time(y_t: ArrayLike, u_t: ArrayLike | None) -> tuple[ArrayLike, Array | None]:
    """An observation and its inputs as those of a single time, shapes (1,) or (1, p) and (1, k)."""
    u = None if u_t is None else np.reshape(array("u_t", u_t), (1, -1))
    y_t = y_t if np.ma.isMaskedArray(y_t) else array("y_t", y_t)
    return np.expand_dims(y_t, 0), u


def arrived(series: Series, y: ArrayLike, t: int, u: ArrayLike | None = None) -> Series:
    """The series with observations (T,) or (T, p) that arrive at time `t` in place of its own.

    With the inputs (T, k) of these times, where they aren't known before.

    Raises
    ------
    TypeError, ValueError, ModelError
        As for a series that is given at once; another number of components than before.
    """
    rows, vector = observations(y), np.ndim(y) == 2
    model, asked = series.model, series.model.input_dim is not None
    fed = series.fed or (asked and series.model.inputs is None)
    if (u is not None) != fed:
        wanted = "an array of the inputs at each time" if fed else "None: the model has its inputs"
        raise ValueError(f"u: got {'None' if u is None else 'an array'}; expected {wanted}")
    if u is not None:
        model = model.with_inputs(u)
        if len(model.inputs) != len(rows):
            raise ValueError(f"u: got {len(model.inputs)} rows; expected {len(rows)}, as y has")
        model = replace(model, first_input=t)
    model.check_inputs(t + len(rows))
    if t == 0:
        twice = rows if len(rows) > 1 else np.repeat(rows, 2, axis=0)
        check_functions(model.reaching(len(twice)), twice, vector, series.proposal)
    elif rows.shape[1] != series.rows.shape[1]:
        raise ValueError(f"y: got {rows.shape[1]} components; expected {series.rows.shape[1]}")
    check_time(model, rows, vector, t, series.copies, series.proposal)
    check_series(model, rows, t)
    tell_of_misses(model, rows, vector, t)
    return replace(series, model=model, rows=rows, vector=vector, fed=fed)
