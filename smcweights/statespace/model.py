"""`StateSpaceModel`: a handful of functions of one particle, and how they get compiled.

X_0 has the law of `initial_sample`, X_t given X_{t-1} that of `transition_sample`, Y_t given X_t
the density `observation_logpdf`. States are floats, or 1-d arrays when `state_dim` is given;
observations are floats for y of shape (T,), 1-d arrays for y of shape (T, p). An observation of
NaNs is missing: it weighs nothing.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import math
import operator
import random
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DegeneracyError, ModelError
from ..provenance import described, digest, signature
from ..randomness import generator, seed_sequence
from . import loops
from .functionals import Functional

__all__ = ["Exact", "Proposal", "StateSpaceModel", "check_model"]

Array = NDArray[np.float64]
TRANSFORMS = ("identity", "log", "logit", "atanh")
FEW_DRAWS = 2_000  # of functions that `check_model` calls as plain Python


class Exact(NamedTuple):
    """Which exact method knows a model, and its matrices at given parameters."""

    kind: str
    system: Callable[[Array], tuple[Array, ...]]


@dataclass(frozen=True, eq=False)
class StateSpaceModel:
    """A hidden Markov process and how it is observed.

    All functions are written for ONE particle in NumPy style, without Python objects, so that
    numba can compile them; functions that they call are decorated with ``numba.njit``. Densities
    without branches that depend on the state can be differentiated by JAX, too. ``x`` is a float,
    or an array of shape (d,) when `state_dim` is d; ``theta`` is the array of parameters. Densities
    are normalised, and everything random comes from ``rng``; `check_model` tries whether they fit.

    Before a model is compiled each function is called as plain Python, at the first and last
    times: compiled code reads beyond an array, or draws with a negative scale, without a word.

    Parameters
    ----------
    initial_sample : callable
        (rng, theta) -> x_0; ``rng`` is a numpy Generator.
    initial_logpdf : callable
        (x, theta) -> float.
    transition_sample : callable
        (rng, x_prev, t, theta) -> x_t, for t = 1, 2, ...
    transition_logpdf : callable
        (x_prev, x, t, theta) -> float.
    observation_logpdf : callable
        (y_t, x, t, theta) -> float; -inf where y_t is impossible.
    transition_logpdf_bound : callable, optional
        (t, theta) -> float, not below any value of `transition_logpdf` at t. It makes backward
        draws cheap (rejection); a bound that is exceeded raises `ModelError`.
    observation_sample : callable, optional
        (rng, x, t, theta) -> y_t; for `simulate`.
    theta : array_like, shape (k,), optional
        Parameters, by default none.
    theta_names : sequence of str, optional
        Their names.
    transforms : sequence of str, optional
        Where each parameter lives: "identity" (any number), "log" (positive), "logit" (between 0
        and 1), "atanh" (between -1 and 1), ends excluded. Other parameters are refused.
    state_dim : int, optional
        Dimension of the state; None for floats.
    in_place : callable, optional
        (rng, x_prev, t, theta, x): writes what `transition_sample` would draw into the array x,
        which spares a new array for each particle.
    series : array_like, shape (T,), optional
        The observations that the model's functions contain, where they do: others are refused.
    exact : Exact, optional
        Set by ready models for which exact methods exist.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> walk = StateSpaceModel(
    ...     lambda rng, theta: rng.standard_normal(),
    ...     lambda x, theta: -0.5 * (x**2 + np.log(2 * np.pi)),
    ...     lambda rng, x_prev, t, theta: x_prev + theta[0] * rng.standard_normal(),
    ...     lambda x_prev, x, t, theta: (
    ...         -0.5 * (((x - x_prev) / theta[0]) ** 2 + np.log(2 * np.pi)) - np.log(theta[0])
    ...     ),
    ...     lambda y, x, t, theta: -0.5 * ((y - x) ** 2 + np.log(2 * np.pi)),
    ...     theta=[0.5],
    ... )
    >>> walk.with_theta([0.25]).theta
    array([0.25])
    """

    initial_sample: Callable[..., Any]
    initial_logpdf: Callable[..., Any]
    transition_sample: Callable[..., Any]
    transition_logpdf: Callable[..., Any]
    observation_logpdf: Callable[..., Any]
    transition_logpdf_bound: Callable[..., Any] | None = None
    observation_sample: Callable[..., Any] | None = None
    theta: Any = None
    theta_names: Any = None
    transforms: Any = None
    state_dim: int | None = None
    in_place: Callable[..., Any] | None = field(default=None, repr=False)
    series: Array | None = field(default=None, repr=False)
    exact: Exact | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, (arguments, required) in _ARGUMENTS.items():
            function = getattr(self, name)
            if function is None and not required:
                continue
            _check_function(name, function, arguments)
        theta = _parameters(self.theta, "theta")
        names = self.theta_names
        if names is not None:
            names = tuple(str(name) for name in names)
            if len(names) != theta.size or len(set(names)) != len(names):
                raise ValueError(
                    f"theta_names: got {names}; expected {theta.size} different names, one per "
                    "parameter"
                )
        transforms = self.transforms
        if transforms is not None:
            transforms = tuple(transforms)
            if len(transforms) != theta.size or not set(transforms) <= set(TRANSFORMS):
                raise ValueError(
                    f"transforms: got {transforms}; expected {theta.size} of {TRANSFORMS}"
                )
            _check_domain(theta, names, transforms)
        dim = self.state_dim
        if dim is not None:
            dim = operator.index(dim)
            if dim < 1:
                raise ValueError(f"state_dim: got {dim}; expected None or at least 1")
        settled = {"theta": theta, "theta_names": names, "transforms": transforms}
        for name, value in {**settled, "state_dim": dim}.items():
            object.__setattr__(self, name, value)

    @property
    def dim(self) -> int:
        """Number of components of the state, 1 for floats."""
        return 1 if self.state_dim is None else self.state_dim

    def with_theta(self, theta: ArrayLike) -> StateSpaceModel:
        """The same model with other parameters.

        Parameters
        ----------
        theta : array_like, shape (k,)

        Returns
        -------
        StateSpaceModel
        """
        new = _parameters(theta, "theta")
        if new.shape != self.theta.shape:
            raise ValueError(f"theta: got shape {new.shape}; expected {self.theta.shape}")
        return replace(self, theta=new)

    def simulate(self, n_steps: int, seed: Any = None) -> tuple[Array, Array]:
        """Draw states and observations.

        Parameters
        ----------
        n_steps : int, at least 1
        seed : None, int, SeedSequence or Generator

        Returns
        -------
        x : ndarray, shape (n_steps,) or (n_steps, d)
        y : ndarray, shape (n_steps,) or (n_steps, p)

        Raises
        ------
        ValueError
            The model has no `observation_sample`, or `n_steps` is below 1.

        Examples
        --------
        >>> from smcweights import models
        >>> x, y = models.linear_gaussian(0.9, 1.0, 1.0, 1.0).simulate(5, seed=1)
        >>> x.shape, y.shape
        ((5,), (5,))
        """
        n_steps = count("n_steps", n_steps)
        if self.observation_sample is None:
            raise ValueError("simulate: the model has no observation_sample; expected one")
        rng = generator(seed_sequence(seed), "simulate")
        theta = self.theta.copy()
        x: list[Any] = []
        y: list[Any] = []
        for t in range(n_steps):
            new = (
                self.transition_sample(rng, x[-1], t, theta)
                if t
                else self.initial_sample(rng, theta)
            )
            x.append(new)
            y.append(self.observation_sample(rng, new, t, theta))
        return np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)

    def describe(self) -> dict[str, Any]:
        """What provenance says of the model."""
        named = {name: getattr(self, name) for name in _ARGUMENTS}
        functions = {name: function for name, function in named.items() if function is not None}
        theta = None if self.theta is None else np.asarray(self.theta).tolist()
        return {"functions": functions, "theta": theta, "state_dim": self.state_dim}


@dataclass(frozen=True, eq=False)
class Proposal:
    """Where a particle filter draws from instead of the model's own laws (guided, auxiliary).

    Written like the functions of a model, for one particle.

    Parameters
    ----------
    sample : callable, optional
        (rng, x_prev, y_t, t, theta) -> x_t.
    logpdf : callable, optional
        (x_prev, x, y_t, t, theta) -> float, the density of `sample`; both or none.
    initial_sample : callable, optional
        (rng, y_0, theta) -> x_0; by default the model's own.
    initial_logpdf : callable, optional
        (x, y_0, theta) -> float; both or none.
    log_lookahead : callable, optional
        (x_prev, y_t, t, theta) -> float: particles are resampled with their weights times
        exp(log_lookahead), which is taken back afterwards (auxiliary particle filter). A guess at
        log p(y_t | x_prev).

    Raises
    ------
    TypeError, ValueError
        A sampler without its density, or the other way round, or nothing at all.

    References
    ----------
    Pitt & Shephard (1999), Filtering via simulation: auxiliary particle filters, JASA 94.

    Examples
    --------
    >>> Proposal(log_lookahead=lambda x_prev, y, t, theta: -0.25 * (y - x_prev) ** 2).sample
    """

    sample: Callable[..., Any] | None = None
    logpdf: Callable[..., Any] | None = None
    initial_sample: Callable[..., Any] | None = None
    initial_logpdf: Callable[..., Any] | None = None
    log_lookahead: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        given = [name for name in _PROPOSAL_ARGUMENTS if getattr(self, name) is not None]
        for name in given:
            _check_function(f"proposal.{name}", getattr(self, name), _PROPOSAL_ARGUMENTS[name])
        if not given:
            raise ValueError("proposal: nothing given; expected a sampler or a lookahead")
        for a, b in (("sample", "logpdf"), ("initial_sample", "initial_logpdf")):
            if (a in given) != (b in given):
                raise ValueError(f"proposal: got only one of {a} and {b}; expected both or none")


_PROPOSAL_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "sample": ("rng", "x_prev", "y", "t", "theta"),
    "logpdf": ("x_prev", "x", "y", "t", "theta"),
    "initial_sample": ("rng", "y", "theta"),
    "initial_logpdf": ("x", "y", "theta"),
    "log_lookahead": ("x_prev", "y", "t", "theta"),
}

_ARGUMENTS: dict[str, tuple[tuple[str, ...], bool]] = {
    "initial_sample": (("rng", "theta"), True),
    "initial_logpdf": (("x", "theta"), True),
    "transition_sample": (("rng", "x_prev", "t", "theta"), True),
    "transition_logpdf": (("x_prev", "x", "t", "theta"), True),
    "observation_logpdf": (("y", "x", "t", "theta"), True),
    "transition_logpdf_bound": (("t", "theta"), False),
    "observation_sample": (("rng", "x", "t", "theta"), False),
}


def count(name: str, value: Any, least: int = 1) -> int:
    """A whole number from `least`; 1e4 counts as one."""
    if isinstance(value, float | np.floating) and value == math.floor(value):
        value = int(value)
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: got {value!r}; expected a whole number from {least}") from None
    if isinstance(value, bool | np.bool_) or number < least:
        raise ValueError(f"{name}: got {value!r}; expected a whole number from {least}")
    return number


def choice(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """One of the allowed values."""
    if value not in allowed:
        raise ValueError(f"{name}: got {value!r}; expected one of {list(allowed)}")
    return value


def observations(y: ArrayLike) -> Array:
    """Check observations; shape (T, p) with rows of NaN where nothing was seen.

    What is masked in a masked array was not seen.
    """
    given: Any = y if np.ma.isMaskedArray(y) else np.asarray(y)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"y: got dtype {given.dtype}; expected real numbers, NaN where missing")
    if given.ndim not in (1, 2) or given.size == 0:
        raise ValueError(f"y: got shape {given.shape}; expected (T,) or (T, p) with T >= 1")
    values = np.ma.filled(given.astype(np.float64, order="C"), np.nan)
    infinite = np.isinf(values)
    if infinite.any():
        where = [int(i) for i in np.argwhere(infinite)[0]]
        raise ValueError(f"y: {values[tuple(where)]} at index {where}; expected numbers or NaN")
    return values.reshape(len(values), -1)


def checkpointed(arguments: dict[str, Any], rows: Array | None = None) -> dict[str, Any]:
    """Arguments of a call in plain types, with signatures of code and a digest of observations."""
    found = {name: described(value) for name, value in arguments.items()}
    return found if rows is None else {**found, "y": digest(rows)}


def proposal_parts(proposal: Proposal | None) -> list[Any]:
    """The functions of a proposal, for a digest."""
    return [getattr(proposal, name, None) for name in _PROPOSAL_ARGUMENTS]


def _check_function(name: str, function: Any, arguments: Sequence[str]) -> None:
    if not callable(function):
        raise TypeError(f"{name}: got {type(function).__name__}; expected a function")
    # the one that stays Python
    if name != "observation_sample" and not isinstance(_python(function), FunctionType):
        raise TypeError(
            f"{name}: got a {type(function).__name__}, which numba can't compile; expected a plain "
            f"function, like lambda {', '.join(arguments)}: ..."
        )
    try:
        inspect.signature(_python(function)).bind(*arguments)
    except TypeError:
        raise TypeError(f"{name}: expected a function of ({', '.join(arguments)})") from None
    except ValueError:
        return


def _parameters(theta: Any, name: str) -> Array:
    array = np.array([] if theta is None else theta, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{name}: got {theta!r}; expected a 1-d array of finite numbers")
    array.flags.writeable = False
    return array


def _check_domain(theta: Array, names: Sequence[str] | None, transforms: Sequence[str]) -> None:
    ends = {"log": (0.0, math.inf), "logit": (0.0, 1.0), "atanh": (-1.0, 1.0)}
    wanted = {"log": "a positive number", "logit": "a number between 0 and 1"}
    for k, (value, kind) in enumerate(zip(theta, transforms, strict=True)):
        low, high = ends.get(kind, (-math.inf, math.inf))
        if not low < value < high:
            name = f"[{k}]" if names is None else f" ({names[k]})"
            raise ValueError(
                f"theta{name}: got {value}; expected "
                f"{wanted.get(kind, 'a number between -1 and 1')}"
            )


_TRIED: dict[Any, Any] = {}


def check_functions(
    model: StateSpaceModel, rows: Array, y_vector: bool, proposal: Proposal | None = None
) -> None:
    """Call every function as plain Python: compiled code checks neither indices nor scales.

    Raises
    ------
    ModelError
        A function raises, draws from a global generator, or returns a state of the wrong shape;
        the message names it.
    """
    functions = [getattr(model, name) for name in _ARGUMENTS]
    key = (*functions, *proposal_parts(proposal), y_vector, rows.shape[1], model.state_dim)
    tried = (model.theta.tobytes(), len(rows))
    if _TRIED.get(key) == tried:
        return
    rng, last = np.random.default_rng(0), len(rows) - 1
    x = try_sampler(model, "initial_sample", model.initial_sample, rng, model.theta.copy(), t=0)
    if x is None:
        return
    # one row alone may stand for observations that are yet to come, of any shape
    seen = np.flatnonzero(~np.isnan(rows).any(axis=1)) if last else np.array([], dtype=int)
    rows = rows if last else np.full_like(rows, np.nan)
    for t in sorted({0, min(1, last), last}):
        # at the time itself where it can be, else with an observation of another time
        row = rows[t if t in seen or not seen.size else seen[0]]
        y = row.copy() if y_vector else float(row[0])
        x = _try_all(model, proposal, x, y, t, rng)
        if x is None:
            return
    _TRIED[key] = tried


def _try_all(
    model: StateSpaceModel, proposal: Proposal | None, x_prev: Any, y: Any, t: int, rng: Any
) -> Any:
    """Every function at one time; the new state, None where Python can't draw one."""
    theta = model.theta.copy()
    x: Any = x_prev
    if t > 0:
        again = copy.deepcopy(rng)
        x = try_sampler(model, "transition_sample", model.transition_sample, rng, x_prev, t, theta,
                        t=t)  # fmt: skip
        if x is None:
            return None
        if model.in_place is not None:
            written = np.full(model.dim, np.nan)
            model.in_place(again, x_prev, t, theta, written)
            if not np.array_equal(written, x):
                raise ModelError(f"in_place: wrote {written} at time {t}; transition_sample: {x}")
        _tried("transition_logpdf", model.transition_logpdf, x_prev, x, t, theta)
        if model.transition_logpdf_bound is not None:
            _tried("transition_logpdf_bound", model.transition_logpdf_bound, t, theta)
    else:
        _tried("initial_logpdf", model.initial_logpdf, x, theta)
    if np.isnan(y).all():
        return x
    _tried("observation_logpdf", model.observation_logpdf, y, x, t, theta)
    p = proposal
    if p is not None and t == 0 and p.initial_sample is not None:
        new = try_sampler(model, "proposal.initial_sample", p.initial_sample, rng, y, theta, t=t)
        if new is not None:
            _tried("proposal.initial_logpdf", p.initial_logpdf, new, y, theta)
    if p is not None and t > 0:
        if p.sample is not None:
            new = try_sampler(model, "proposal.sample", p.sample, rng, x_prev, y, t, theta, t=t)
            if new is not None:
                _tried("proposal.logpdf", p.logpdf, x_prev, new, y, t, theta)
        if p.log_lookahead is not None:
            _tried("proposal.log_lookahead", p.log_lookahead, x_prev, y, t, theta)
    return x


def try_sampler(model: StateSpaceModel, name: str, function: Any, *arguments: Any, t: int) -> Any:
    """A state that a sampler draws, checked; None where only numba can run it."""
    x = _tried(name, function, *arguments)
    if x is None:
        return None
    shape, wanted = np.shape(x), () if model.state_dim is None else (model.state_dim,)
    if shape != wanted:
        expected = "a float (or set state_dim)" if model.state_dim is None else f"shape {wanted}"
        raise ModelError(f"{name}: returned shape {shape}; expected {expected}")
    if not np.isfinite(np.asarray(x, dtype=np.float64)).all():
        raise ModelError(f"{name}: returned {x} at time {t}; expected finite numbers")
    return x if model.state_dim is None else np.array(x, dtype=np.float64)


def _tried(name: str, function: Any, *arguments: Any) -> Any:
    """What a function returns as plain Python; None where only numba can run or explain it."""
    before = _global_generators()
    own = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    try:
        with np.errstate(all="ignore"):
            found = _python(function)(*own)
    except (IndexError, ValueError) as error:
        # where Python's math refuses, compiled code has NaN or an infinity
        if str(error).startswith("math "):
            return None
        shown = ", ".join(str(a) for a in own if not isinstance(a, np.random.Generator))
        raise ModelError(
            f"{name}: {type(error).__name__} ({error}) at ({shown}); expected a value "
            "(compiled code would go on with whatever stands there)"
        ) from error
    except Exception:
        return None
    if _global_generators() != before:
        raise ModelError(
            f"{name}: draws from a global generator (np.random or random), which no seed reaches "
            "once it is compiled; expected draws from its argument rng"
        )
    return found


def _global_generators() -> Any:
    _, _, position, *rest = np.random.get_state()  # noqa: NPY002
    _, words, gauss = random.getstate()
    return position, rest, words[-1], gauss


def check_series(model: StateSpaceModel, rows: Array, first: int = 0) -> None:
    """A model that contains its series is given that series; `first` is the time of rows[0]."""
    if model.series is None:
        return
    known = model.series[first : first + len(rows)]
    same = rows.shape == (len(known), 1) and np.array_equal(rows[:, 0], known, equal_nan=True)
    if not same:
        raise ModelError(
            f"y: not the returns that the model was made with ({len(model.series)} of them, which "
            "its transitions contain); expected the same series, or its beginning"
        )


@dataclass(frozen=True, eq=False)
class Compiled:
    """A model's functions in the shapes that kernels call; None what a filter has no use for."""

    start: Any
    move: Any
    lookahead: bool
    bounded: bool
    look: Any = None
    pair: Any = None
    bound: Any = None
    reject: Any = None
    add_first: Any = None
    add: Any = None


_LOCK = threading.RLock()
_REGISTERED: set[Any] = set()
_COMPILED: dict[Any, Any] = {}
_PACKAGE = __name__.split(".")[0] + "."


def compiled(
    model: StateSpaceModel, y_vector: bool, proposal: Proposal | None = None, *,
    backward: bool = True,
) -> Compiled:  # fmt: skip
    """Compile a model once per process; ready models are found on disk.

    Without `backward`, what a filter alone has no use for is left out.

    Raises
    ------
    ModelError
        Numba can't compile a function; the message names it, and what numba said.
    """
    from . import kernels

    m, p = model, proposal
    state = loops.scalar_row if m.state_dim is None else kernels.vector_row
    put = loops.put_scalar if m.state_dim is None else loops.put_vector
    observation = kernels.vector_row if y_vector else loops.scalar_row
    frame = (state, put, observation, loops.observed)
    start: tuple[Any, ...] = (loops.bootstrap_start, m.initial_sample, m.observation_logpdf)
    into = m.in_place
    move: tuple[Any, ...] = (
        loops.bootstrap_move if into is None else loops.bootstrap_move_in_place,
        into or m.transition_sample, m.observation_logpdf,
    )  # fmt: skip
    if p is not None and p.initial_sample is not None:
        start = (
            loops.guided_start, p.initial_sample, p.initial_logpdf, m.initial_logpdf,
            m.observation_logpdf,
        )  # fmt: skip
    if p is not None and p.sample is not None:
        move = (
            loops.guided_move, p.sample, p.logpdf, m.transition_logpdf, m.observation_logpdf,
        )  # fmt: skip
    ahead = None if p is None else p.log_lookahead
    bounded = m.transition_logpdf_bound is not None
    law = (m.transition_logpdf,)
    with _LOCK:
        try:
            first = jitted(start[0], frame, start[1:], kernels.START_SIGNATURE)
            later = jitted(move[0], frame, move[1:], kernels.MOVE_SIGNATURE)
            if not backward and ahead is None:
                return Compiled(first, later, False, bounded)
            look, bound, reject = (
                kernels.ready(kernels.no_lookahead),
                kernels.ready(kernels.no_bound),
                kernels.ready(kernels.no_rejection),
            )
            if ahead is not None:
                look = jitted(
                    loops.lookahead, (state, observation), (ahead,), kernels.LOOK_SIGNATURE
                )
            if bounded:
                bound = jitted(
                    loops.transition_bound, (), (m.transition_logpdf_bound,),
                    kernels.BOUND_SIGNATURE,
                )  # fmt: skip
            if bounded and backward:
                reject = jitted(loops.transition_rejection, (state,), law, kernels.REJECT_SIGNATURE)
            pair = jitted(loops.transition_pair, (state,), law, kernels.PAIR_SIGNATURE)
            nothing = (kernels.ready(kernels.add_nothing_first), kernels.ready(kernels.add_nothing))
            return Compiled(
                first, later, ahead is not None, bounded, look, pair, bound, reject, *nothing
            )
        except _numba_errors() as error:
            raise _explained(model, proposal, y_vector, error) from None


def compiled_path_density(model: StateSpaceModel, y_vector: bool) -> Any:
    """(x, y, theta) -> joint log density of a path (T, d) and observations (T, p)."""
    from numba import types

    from . import kernels

    state = loops.scalar_row if model.state_dim is None else kernels.vector_row
    observation = kernels.vector_row if y_vector else loops.scalar_row
    matrix = types.float64[:, ::1]
    laws = (model.initial_logpdf, model.transition_logpdf, model.observation_logpdf)
    with _LOCK:
        try:
            return jitted(
                loops.path_density, (state, observation, loops.observed), laws,
                types.float64(matrix, matrix, types.float64[::1]),
            )  # fmt: skip
        except _numba_errors() as error:
            raise _explained(model, None, y_vector, error) from None


def compiled_functional(
    model: StateSpaceModel, functional: Any, initial_functional: Any, n_steps: int
) -> tuple[Any, Any, int, bool, list[str] | None]:
    """Loops that add a functional up, the number of sums, whether it is a plain float, names."""
    from . import kernels

    if isinstance(functional, Functional):
        if initial_functional is not None:
            raise ValueError(
                "initial_functional: a ready functional has its own; expected None with it"
            )
        size = functional.size(n_steps, model.dim)
        with _LOCK:
            first = jitted(
                loops.add_components_first, (), (functional.first,), kernels.ADD_FIRST_SIGNATURE
            )
            loop = loops.add_by_time if functional.per_time else loops.add_components
            add = jitted(loop, (), (functional.term,), kernels.ADD_SIGNATURE)
        scalar = size == 1 and not functional.per_time
        return first, add, size, scalar, functional.names(n_steps, model.dim)
    _check_function("functional", functional, ("x_prev", "x", "t"))
    if initial_functional is not None:
        _check_function("initial_functional", initial_functional, ("x",))
    rng = np.random.default_rng(0)
    theta = model.theta.copy()
    x0 = _as_state(model, model.initial_sample(rng, theta))
    x1 = _as_state(model, model.transition_sample(rng, x0, 1, theta))
    values = _summand("functional", functional, x0, x1, 1)
    if n_steps > 2:
        _summand("functional", functional, x0, x1, n_steps - 1)
    shapes = {"functional": values.shape}
    if initial_functional is not None:
        shapes["initial_functional"] = _summand("initial_functional", initial_functional, x0).shape
    for name, shape in shapes.items():
        if len(shape) > 1 or shape != values.shape or values.size == 0:
            raise ModelError(
                f"{name}: returned shape {shape}; expected a float or (J,), the same from "
                f"functional and initial_functional (functional: {values.shape})"
            )
    state = loops.scalar_row if model.state_dim is None else kernels.vector_row
    scalar = values.ndim == 0
    with _LOCK:
        try:
            add = jitted(
                loops.add_scalar if scalar else loops.add_vector, (state,), (functional,),
                kernels.ADD_SIGNATURE,
            )  # fmt: skip
            first = kernels.ready(kernels.add_nothing_first)
            if initial_functional is not None:
                first = jitted(
                    loops.add_scalar_first if scalar else loops.add_vector_first, (state,),
                    (initial_functional,), kernels.ADD_FIRST_SIGNATURE,
                )  # fmt: skip
        except _numba_errors() as error:
            raise ModelError(f"functional: numba can't compile it{_reason(error)}") from None
    return first, add, values.size, scalar, None


def _summand(name: str, function: Any, *arguments: Any) -> Array:
    found = _tried(name, function, *arguments)
    if found is None:
        # again, for what Python says of it
        found = _python(function)(*arguments)
    return np.asarray(found, dtype=np.float64)


def _as_state(model: StateSpaceModel, x: Any) -> Any:
    """Check the shape of a state that a sampler returned."""
    shape = np.shape(x)
    if shape != (() if model.state_dim is None else (model.state_dim,)):
        wanted = "a float (or set state_dim)" if model.state_dim is None else (model.state_dim,)
        raise ModelError(f"initial_sample or transition_sample: returned {x!r}; expected {wanted}")
    return x if model.state_dim is None else np.array(x, dtype=np.float64)


def _python(function: Any) -> Any:
    return getattr(function, "py_func", function)


def _ours(thing: Any) -> bool:
    """Whether numba may keep the code: a function of the package that holds no data."""
    if not isinstance(thing, FunctionType):
        return isinstance(thing, bool | int | float)
    return _from_package(thing) and all(_ours(held) for held in _held(thing))


def _from_package(function: FunctionType) -> bool:
    return (function.__module__ or "").startswith(_PACKAGE)


def _held(function: FunctionType) -> list[Any]:
    return [cell.cell_contents for cell in function.__closure__ or ()]


def jitted(
    factory: Callable[..., Any], frame: tuple[Any, ...], functions: tuple[Any, ...], kind: Any
) -> Any:
    """Compile ``factory(*frame, *functions)``."""
    import numba

    key = (factory, frame, functions, kind)
    with _LOCK:
        if key not in _COMPILED:
            keep = all(_ours(_python(function)) for function in functions)
            loop = factory(*(_callee(f, keep) for f in (*frame, *functions)))
            # numba finds machine code by a name that counts functions from 1 in every process:
            # code from the disk would take the place of a loop of the same name. It looks for
            # what it kept by this name, too, and notices edits of the loop's own file alone
            parts = [f.__name__ for f in (*frame, *functions)] if keep else ["users"]
            stamp = [_stamp(frame, functions)] if keep else []
            loop.__qualname__ = ".".join([factory.__qualname__, *parts, *stamp])
            _COMPILED[key] = numba.njit(kind, cache=keep, nogil=True, error_model="numpy")(loop)
        return _COMPILED[key]


def _stamp(frame: tuple[FunctionType, ...], functions: tuple[FunctionType, ...]) -> str:
    """A digest of functions, of what they hold, and of the files that they stand in."""
    found = hashlib.sha256(signature(functions).encode())
    for path in sorted({f.__code__.co_filename for f in (*frame, *functions)}):
        found.update(Path(path).read_bytes())
    return found.hexdigest()[:16]


def _callee(function: Any, keep: bool) -> Any:
    # a captured dispatcher is new in every process and never found in the cache; a plain
    # function that numba may compile in place is captured by its name
    import numba

    if keep:
        return _registered(function)
    key = ("callee", function)
    if key not in _COMPILED:
        _COMPILED[key] = (
            function
            if hasattr(function, "py_func")
            else numba.njit(nogil=True, error_model="numpy")(_registered(function))
        )
    return _COMPILED[key]


def _registered(function: FunctionType) -> FunctionType:
    """Let numba compile the package's functions where they are called, and what they call."""
    from numba.extending import register_jitable

    if function in _REGISTERED or not _from_package(function):
        return function
    _REGISTERED.add(function)
    read = (function.__globals__.get(name) for name in function.__code__.co_names)
    for called in (*_held(function), *read):
        if isinstance(called, FunctionType):
            _registered(called)
    return register_jitable(function)


def _numba_errors() -> tuple[type[BaseException], ...]:
    from numba.core import errors

    return (errors.NumbaError, NotImplementedError)


def _reason(error: BaseException) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("During:", "Failed in", "Overload"))]
    said = " ".join(kept[:6])[:600]
    for pattern, remedy in _REMEDIES.items():
        found = re.search(pattern, said)
        if found:
            return f" ({found.expand(remedy)}): {said}"
    return f": {said}"


# what numba says, and what the user can do about it
_REMEDIES = {
    r"global name '(\w+)': .*<class 'function'>": r"decorate \1 with numba.njit",
    r"global name '(\w+)': .*<class '(dict|set)'>": r"\1 is a \2: use a tuple or np.asarray",
    r"reflected list|, \(List\(": "it reads a list: use a tuple or np.asarray",
    r"<(class|module) 'scipy": "it calls scipy: write the density out",
    r"global name '(\w+)': .*<class 'numpy.ufunc'>": (
        r"\1 is unknown to numba: write it out, with math.lgamma, math.erf and the like"
    ),
    r"attribute 'choice' of type NumPyRandomGenerator": (
        "instead of rng.choice use np.searchsorted(np.cumsum(p), rng.random())"
    ),
    r"getitem\(float64, ": (
        "it indexes a float: x is an array where state_dim is set, y_t where y has shape (T, p)"
    ),
}


def _explained(
    model: StateSpaceModel, proposal: Proposal | None, y_vector: bool, error: BaseException
) -> ModelError:
    """Compile the functions one by one to tell which of them it was."""
    import numba
    from numba import types

    vector = types.float64[::1]
    x = types.float64 if model.state_dim is None else vector
    y = vector if y_vector else types.float64
    kinds = {"rng": types.npy_rng, "theta": vector, "x": x, "x_prev": x, "y": y, "t": types.int64}
    candidates = [
        (name, getattr(model, name), arguments)
        for name, (arguments, _) in _ARGUMENTS.items()
        if name != "observation_sample" and getattr(model, name) is not None
    ]
    if proposal is not None:
        candidates += [
            (f"proposal.{name}", getattr(proposal, name), arguments)
            for name, arguments in _PROPOSAL_ARGUMENTS.items()
            if getattr(proposal, name) is not None
        ]
    for name, function, arguments in candidates:
        signature = tuple(kinds[a] for a in arguments)
        dispatcher: Any = numba.njit(nogil=True)(_python(function))
        try:
            dispatcher.compile(signature)
        except _numba_errors() as own:
            return ModelError(
                f"{name}: numba can't compile it for ({', '.join(arguments)}){_reason(own)}"
            )
        returned = dispatcher.overloads[signature].signature.return_type
        expected_x = "sample" in name
        wrong = (
            expected_x
            and (model.state_dim is None) != isinstance(returned, types.Number | types.Boolean)
        ) or (not expected_x and not isinstance(returned, types.Number | types.Boolean))
        if wrong:
            expected = "a float" if not expected_x or model.state_dim is None else "a 1-d array"
            if y_vector and "y" in arguments:
                expected += (
                    "; y_t is an array, since y has shape (T, p): where the model's observations "
                    "are floats y has shape (T,), not (T, 1)"
                )
            return ModelError(f"{name}: returns {returned}; expected {expected}")
    return ModelError(f"numba can't compile the model{_reason(error)}")


def raise_status(status: NDArray[np.int64], y: Array, x: Array, ess: Array | None = None) -> None:
    """Turn what a kernel found into an error that says where."""
    from . import kernels

    code, t, i, partner = (int(entry) for entry in status[:4])
    if code == kernels.FINE:
        return
    seen = y[t] if 0 <= t < len(y) else y[0]
    shown = seen[0] if seen.size == 1 else seen
    if code == kernels.ALL_ZERO:
        before = (
            "" if ess is None or t == 0 else f"; effective sample size before: {ess[t - 1]:.3g}"
        )
        raise DegeneracyError(
            f"time {t}: all particles have weight zero for y = {shown}{before}; expected at least "
            "one particle that can produce it (more particles, or a proposal)"
        )
    if code == kernels.NOT_A_NUMBER:
        state = "" if i < 0 else f" for state {x[t % len(x), i]}"
        raise ModelError(
            f"observation_logpdf (or a proposal's density): NaN or +inf at time {t} for y = "
            f"{shown}{state}; expected a number or -inf"
        )
    if code == kernels.NOT_A_STATE:
        sampler = "transition_sample" if t > 0 else "initial_sample"
        raise ModelError(
            f"{sampler} (or a proposal's): returned {x[t % len(x), i]} at time {t}; expected "
            "finite numbers"
        )
    if code == kernels.BOUND_TOO_LOW:
        raise ModelError(
            f"transition_logpdf_bound: exceeded by transition_logpdf at time {t} from state "
            f"{x[(t - 1) % len(x), partner]} to {x[t % len(x), i]}; expected an upper bound"
        )
    if code == kernels.NO_ANCESTOR:
        raise ModelError(
            f"transition_logpdf: NaN, or -inf from every particle, at time {t} to state "
            f"{x[t % len(x), i]}; its sampler produced this state: sampler and density disagree"
        )
    raise ValueError(
        f"initial_path: impossible at time {t} (its weight is zero); expected a path that the "
        "model can produce"
    )


def check_model(
    model: StateSpaceModel, y: ArrayLike, *, n_draws: int = 20_000, seed: Any = None
) -> None:
    """Check that a model compiles, and that its samplers and densities agree.

    Draws of a sampler are compared with the integrals of its density, estimated by importance
    sampling from a normal law around the draws: over a box that holds most of them (is the density
    normalised?), and over its lower half and its middle half in every component (does it have the
    draws' location and spread?). States and observations on a lattice: shares of the values drawn
    are compared with their probabilities. So are tried

    - `transition_logpdf`, from five simulated states at times spread over those of y;
    - `initial_logpdf`;
    - `observation_logpdf` where the model has `observation_sample`, at three of the states.

    The bound is compared with the density at the draws.

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p)
        Observations, for their shape and number.
    n_draws : int
        Draws from each of the states, at least 100; of the initial law and of observations 2,000
        at most.
    seed : None, int, SeedSequence or Generator

    Raises
    ------
    ModelError
        A function does not compile or raises, or sampler and density disagree by more than six
        standard errors: a false alarm in fewer than one of 100,000 checks.

    Notes
    -----
    Errors of some 5 % of the standard deviation, or of the integral, are seen with 20,000 draws.
    Laws with atoms and a continuous part, and what lies in the outer 2 % of the draws, are only
    checked for finite densities.

    Examples
    --------
    >>> from smcweights import models
    >>> check_model(models.stochastic_volatility(0.9, 0.3), [0.1, -0.2], seed=1)
    """
    from . import kernels

    rows, vector = observations(y), np.ndim(y) == 2
    check_functions(model, rows, vector)
    functions = compiled(model, vector)
    rng = generator(seed_sequence(seed), "check_model")
    n_draws = count("n_draws", n_draws, 100)
    few = min(n_draws, FEW_DRAWS)
    theta = model.theta.copy()
    n_steps = len(rows)

    def first(n: int) -> Array:
        x = np.empty((n, model.dim))
        functions.start(rng, x, rows, 0, np.zeros(n), -1, theta)
        return x

    def moved(origin: Array, ancestors: NDArray[np.int32], t: int) -> Array:
        x = np.empty((len(ancestors), model.dim))
        row = min(t, n_steps - 1)
        functions.move(rng, origin, ancestors, x, rows, row, t, np.zeros(len(x)), -1, theta)
        return x

    def state(x: Array) -> Any:
        return float(x[0]) if model.state_dim is None else x.copy()

    initial_logpdf = _plain(model.initial_logpdf)
    _agree(
        "initial_sample and initial_logpdf", first(few), first(few), rng,
        lambda x: np.array([initial_logpdf(state(a), theta) for a in x]),
    )  # fmt: skip
    times = np.unique(np.linspace(1, max(n_steps - 1, 1), 5).astype(int))
    x, everyone, now = first(5), np.arange(5, dtype=np.int32), 0
    visited = [(0, x[0].copy())]
    for t in np.repeat(times, -(-5 // len(times)))[:5]:
        while now < t - 1:
            now += 1
            x = moved(x, everyone, now)
        k = len(visited) - 1
        if not np.isfinite(x[k]).all():
            raise ModelError(f"transition_sample: returned {x[k]} at time {now}")
        origin = np.ascontiguousarray(x[k][None])
        nobody = np.zeros(n_draws, dtype=np.int32)
        draws, others = moved(origin, nobody, t), moved(origin, nobody, t)
        visited.append((int(t), others[0]))

        def density(to: Array, origin: Array = origin, t: int = int(t)) -> Array:
            found = np.empty(len(to))
            kernels.ready(kernels.densities_from)(functions.pair, origin, to, t, theta, found)
            return found

        log_p = _agree(
            f"transition_sample and transition_logpdf from state {origin[0]} at time {t}",
            draws, others, rng, density,
        )  # fmt: skip
        if functions.bounded and log_p.max() > functions.bound(t, theta) + 1e-9:
            raise ModelError(
                f"transition_logpdf_bound: {functions.bound(t, theta)} at time {t}, but the "
                f"density reaches {log_p.max()}; expected an upper bound"
            )
    if model.observation_sample is None:
        return
    sample, logpdf = _python(model.observation_sample), _plain(model.observation_logpdf)
    for t, at in (visited[0], visited[-2], visited[-1]):
        both = np.array(
            [sample(rng, state(at), t, theta) for _ in range(2 * few)], dtype=np.float64
        ).reshape(2, few, -1)
        if both.shape[2] != rows.shape[1]:
            raise ModelError(
                f"observation_sample: returned {both.shape[2]} numbers; expected {rows.shape[1]}, "
                "as y has"
            )
        _agree(
            f"observation_sample and observation_logpdf at state {at}, time {t}", both[0], both[1],
            rng,
            lambda seen, t=t, at=at: np.array(
                [logpdf(row if vector else float(row[0]), state(at), t, theta) for row in seen]
            ),
        )  # fmt: skip


def _plain(function: Any) -> Callable[..., float]:
    """A density as plain Python, NaN where Python's math refuses."""
    own = _python(function)

    def value(*arguments: Any) -> float:
        try:
            return float(own(*arguments))
        except (ArithmeticError, ValueError):
            return math.nan

    return value


def _agree(
    what: str, pilot: Array, x: Array, rng: np.random.Generator, log_density: Callable[..., Array]
) -> Array:
    """Compare draws with their density; log densities at the draws `x`.

    `pilot` tells where to look, so that `x` is independent of the regions.
    """
    n, d = x.shape
    with np.errstate(all="ignore"):
        log_p = log_density(x)
    if not (np.isfinite(x).all() and np.isfinite(log_p).all()):
        bad = int(np.argmin(np.isfinite(x).all(axis=1) & np.isfinite(log_p)))
        raise ModelError(f"{what} disagree: log density {log_p[bad]} at {x[bad]}, which was drawn")
    values, counts = np.unique(pilot, axis=0, return_counts=True)
    if len(values) <= n // 10:
        seen = values[counts >= 10]
        with np.errstate(all="ignore"):
            probabilities = np.exp(log_density(seen))
        for value, p in zip(seen, probabilities, strict=True):
            share = (x == value).all(axis=1).mean()
            # at least the error of an event seen ten times
            error = math.sqrt(max(share * (1 - share), p * (1 - min(p, 1.0)), 10 / n) / n)
            _judge(what, f"at {value}", share, p, error)
        return log_p
    # a component that moves by rule, such as an older state that is carried along, has no density
    free = np.flatnonzero(np.ptp(pilot, axis=0) > 0)
    tail = min(0.02, 0.2 / d)
    low, quarter, middle, three, high = np.quantile(
        pilot, [tail, 0.25, 0.5, 0.75, 1 - tail], axis=0
    )
    clipped = np.clip(pilot, low, high)
    centre, scale = clipped.mean(axis=0), clipped.std(axis=0)[free]
    correlation = np.corrcoef(clipped[:, free].T).reshape(free.size, free.size)
    if len(values) < 0.99 * n or not np.linalg.eigvalsh(correlation)[0] > 1e-8:
        return log_p
    # somewhat wider than the draws
    root = 1.1 * scale[:, None] * np.linalg.cholesky(correlation)

    def inside(a: Array) -> Array:
        return ((a >= low) & (a <= high)).all(axis=1)

    def log_normal(a: Array) -> Array:
        z = np.linalg.solve(root, (a - centre)[:, free].T)
        size = np.log(np.diag(root)).sum() + 0.5 * free.size * math.log(2 * math.pi)
        return -0.5 * (z * z).sum(axis=0) - size

    probe = np.tile(pilot[0], (n, 1))
    probe[:, free] = centre[free] + rng.standard_normal((n, free.size)) @ root.T
    probe = probe[inside(probe)]
    with np.errstate(all="ignore"):
        # outside of its support a density may be anything that is no number
        ratio = np.nan_to_num(np.exp(log_density(probe) - log_normal(probe)), nan=0.0)
        # the same second moment from the draws: they see what is too narrow for the probes
        excess = np.clip(log_p - log_normal(x), -700.0, 700.0)
        weight, inverse = np.exp(excess), np.exp(-excess)
    kept = inside(x)
    # draws of a normalised density have E[q(X)/p(X)] <= 1: a billion has a chance of 1e-9
    if (inverse * kept).mean() > 1e9:
        raise ModelError(f"{what} disagree: the density is all but zero where draws are")
    regions: list[tuple[str, Any]] = [("the box that holds most", lambda a: np.full(len(a), True))]
    for j in free:
        part = "" if d == 1 else f" of component {j}"
        regions.append((f"the lower half{part}", lambda a, j=j: a[:, j] < middle[j]))
        regions.append(
            (
                f"the middle half{part}",
                lambda a, j=j: (a[:, j] > quarter[j]) & (a[:, j] < three[j]),
            )
        )
    for name, region in regions:
        hit, mine = kept & region(x), ratio * region(probe)
        share, integral = hit.mean(), mine.sum() / n
        moment = max((mine**2).sum() / n - integral**2, (weight * hit).mean() - share**2, 0.0)
        _judge(what, f"in {name}", share, integral, math.sqrt((share * (1 - share) + moment) / n))
    return log_p


def _judge(what: str, where: str, share: float, integral: float, error: float) -> None:
    if not abs(integral - share) <= 6 * error:
        raise ModelError(
            f"{what} disagree: a share of {share:.4g} of the draws is {where}, the density gives "
            f"{integral:.4g} (+- {error:.2g}); expected the same, and a normalised density"
        )
