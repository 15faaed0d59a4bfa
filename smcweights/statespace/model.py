"""`StateSpaceModel`: a handful of functions of one particle, and how they get compiled.

X_0 has the law of `initial_sample`, X_t given X_{t-1} that of `transition_sample`, Y_t given X_t
the density `observation_logpdf`. States are floats, or 1-d arrays when `state_dim` is given;
observations are floats for y of shape (T,), 1-d arrays for y of shape (T, p). An observation of
NaNs is missing: it weighs nothing.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import operator
import re
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import CodeType, FunctionType, NoneType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DegeneracyError, ModelError
from ..estimate import digest, provenance
from ..randomness import generator, seed_sequence

__all__ = ["Functional", "Proposal", "StateSpaceModel", "check_model"]

Array = NDArray[np.float64]
TRANSFORMS = ("identity", "log", "logit", "atanh")


@dataclass(frozen=True, eq=False)
class StateSpaceModel:
    """A hidden Markov process and how it is observed.

    All functions are written for ONE particle in NumPy style, without Python objects, so that
    numba can compile them; densities without branches that depend on the state can be
    differentiated by JAX, too. ``x`` is a float, or an array of shape (d,) when `state_dim` is d;
    ``theta`` is the array of parameters.

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
        and 1), "atanh" (between -1 and 1).
    state_dim : int, optional
        Dimension of the state; None for floats.
    structure : tuple, optional
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
    ...     lambda x, theta: -0.5 * x**2,
    ...     lambda rng, x_prev, t, theta: x_prev + theta[0] * rng.standard_normal(),
    ...     lambda x_prev, x, t, theta: -0.5 * ((x - x_prev) / theta[0]) ** 2 - np.log(theta[0]),
    ...     lambda y, x, t, theta: -0.5 * (y - x) ** 2,
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
    structure: tuple[str, Callable[..., Any]] | None = field(default=None, repr=False)

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
        names = {name: getattr(self, name) for name in _ARGUMENTS}
        functions = {
            name: getattr(function, "__qualname__", repr(type(function)))
            for name, function in names.items()
            if function is not None
        }
        return {"functions": functions, "theta": self.theta, "state_dim": self.state_dim}


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


@dataclass(frozen=True, eq=False)
class Functional:
    """A ready additive functional, written as loops over the components of a state.

    Attributes
    ----------
    name : str
        What is summed.
    add_first : callable
        (x, i, y, row, theta, out, k): adds h_0 of particle i to out[k].
    add : callable
        (x_prev, prev, x, i, y, row, t, theta, out, k): adds h_t of particles prev and i to out[k].
    size : callable
        (n_steps, dim) -> number of sums.
    """

    name: str
    add_first: Callable[..., Any]
    add: Callable[..., Any]
    size: Callable[[int, int], int]

    def describe(self) -> str:
        """What provenance says of it."""
        return self.add.__qualname__


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
    """Check observations; shape (T, p) with rows of NaN where nothing was seen."""
    given = np.asarray(y)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"y: got dtype {given.dtype}; expected real numbers, NaN where missing")
    if given.ndim not in (1, 2) or given.size == 0:
        raise ValueError(f"y: got shape {given.shape}; expected (T,) or (T, p) with T >= 1")
    values = np.array(given, dtype=np.float64)
    infinite = np.isinf(values)
    if infinite.any():
        where = [int(i) for i in np.argwhere(infinite)[0]]
        raise ValueError(f"y: {values[tuple(where)]} at index {where}; expected numbers or NaN")
    return values.reshape(len(values), -1)


def checkpointed(
    arguments: dict[str, Any], rows: Array | None, code: dict[str, Any]
) -> dict[str, Any]:
    """Arguments of a call in plain types, with digests of the observations and of all code.

    A name would not tell a function from its edited version, nor one lambda from another.
    """
    plain = provenance("", seed_sequence(0), arguments)["arguments"]
    for name, thing in code.items():
        plain[name] = [plain.get(name), _digest(thing)]
    if rows is not None:
        plain["y"] = digest(rows)
    if "model" in arguments:
        functions = [getattr(arguments["model"], name) for name in _ARGUMENTS]
        plain["functions"] = _digest(functions)
    return plain


def proposal_parts(proposal: Proposal | None) -> list[Any]:
    """The functions of a proposal, for a digest."""
    return [getattr(proposal, name, None) for name in _PROPOSAL_ARGUMENTS]


def _digest(*things: Any) -> str:
    found = hashlib.sha256()
    _digest_into(found, things, set())
    return found.hexdigest()


def _digest_into(found: Any, thing: Any, seen: set[int]) -> None:
    """Code with its constants, and what it reads from closures and globals, if numba can."""
    thing = _python(thing)
    if isinstance(thing, FunctionType) and id(thing) not in seen:
        seen.add(id(thing))
        cells = [cell.cell_contents for cell in thing.__closure__ or ()]
        read = sorted(_names_in(thing.__code__) & set(thing.__globals__))
        inner = [thing.__globals__[name] for name in read]
        _digest_into(found, [thing.__code__, thing.__defaults__, cells, read, inner], seen)
    elif isinstance(thing, CodeType):
        _digest_into(found, [thing.co_code, thing.co_names, thing.co_consts], seen)
    elif isinstance(thing, np.ndarray):
        found.update(digest(thing).encode())
    elif isinstance(thing, tuple | list):
        found.update(f"{len(thing)}".encode())
        for inner in thing:
            _digest_into(found, inner, seen)
    elif isinstance(thing, Functional):
        _digest_into(found, [thing.add_first, thing.add], seen)
    elif isinstance(thing, str | bytes | int | float | complex | np.generic | NoneType):
        found.update(f"{type(thing).__name__} {thing!r}".encode())
    else:
        found.update(getattr(thing, "__name__", type(thing).__name__).encode())


def _names_in(code: CodeType) -> set[str]:
    inner = (_names_in(part) for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*inner)


def _check_function(name: str, function: Any, arguments: Sequence[str]) -> None:
    if not callable(function):
        raise TypeError(f"{name}: got {type(function).__name__}; expected a function")
    try:
        inspect.signature(getattr(function, "py_func", function)).bind(*arguments)
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


@dataclass(frozen=True, eq=False)
class Compiled:
    """A model's functions in the shapes that the kernels call."""

    start: Any
    move: Any
    look: Any
    pair: Any
    bound: Any
    reject: Any
    bounded: bool
    lookahead: bool


_LOCK = threading.RLock()
_REGISTERED: set[Any] = set()
_COMPILED: dict[Any, Any] = {}


def compiled(model: StateSpaceModel, y_vector: bool, proposal: Proposal | None = None) -> Compiled:
    """Compile a model once per process; ready models are found on disk.

    Raises
    ------
    ModelError
        Numba can't compile a function; the message names it, and what numba said.
    """
    from . import kernels, library

    m, p = model, proposal
    state = library.scalar_row if m.state_dim is None else kernels.vector_row
    put = library.put_scalar if m.state_dim is None else library.put_vector
    observation = kernels.vector_row if y_vector else library.scalar_row
    frame = (state, put, observation, library.observed)
    start: tuple[Any, ...] = (library.bootstrap_start, m.initial_sample, m.observation_logpdf)
    into = getattr(m.transition_sample, "into", None)
    move: tuple[Any, ...] = (
        library.bootstrap_move if into is None else library.bootstrap_move_in_place,
        into or m.transition_sample, m.observation_logpdf,
    )  # fmt: skip
    look, bound, reject = kernels.no_lookahead, kernels.no_bound, kernels.no_rejection
    if p is not None and p.initial_sample is not None:
        start = (
            library.guided_start, p.initial_sample, p.initial_logpdf, m.initial_logpdf,
            m.observation_logpdf,
        )  # fmt: skip
    if p is not None and p.sample is not None:
        move = (
            library.guided_move, p.sample, p.logpdf, m.transition_logpdf, m.observation_logpdf,
        )  # fmt: skip
    ahead = None if p is None else p.log_lookahead
    with _LOCK:
        try:
            if ahead is not None:
                look = jitted(
                    library.lookahead, (state, observation), (ahead,), kernels.LOOK_SIGNATURE
                )
            law = (m.transition_logpdf,)
            if m.transition_logpdf_bound is not None:
                bound = jitted(
                    library.transition_bound, (), (m.transition_logpdf_bound,),
                    kernels.BOUND_SIGNATURE,
                )  # fmt: skip
                reject = jitted(
                    library.transition_rejection, (state,), law, kernels.REJECT_SIGNATURE
                )
            return Compiled(
                jitted(start[0], frame, start[1:], kernels.START_SIGNATURE),
                jitted(move[0], frame, move[1:], kernels.MOVE_SIGNATURE),
                look,
                jitted(library.transition_pair, (state,), law, kernels.PAIR_SIGNATURE),
                bound,
                reject,
                m.transition_logpdf_bound is not None,
                ahead is not None,
            )
        except _numba_errors() as error:
            raise _explained(model, proposal, y_vector, error) from None


def compiled_path_density(model: StateSpaceModel, y_vector: bool) -> Any:
    """(x, y, theta) -> joint log density of a path (T, d) and observations (T, p)."""
    from numba import types

    from . import kernels, library

    state = library.scalar_row if model.state_dim is None else kernels.vector_row
    observation = kernels.vector_row if y_vector else library.scalar_row
    matrix = types.float64[:, ::1]
    laws = (model.initial_logpdf, model.transition_logpdf, model.observation_logpdf)
    with _LOCK:
        try:
            return jitted(
                library.path_density, (state, observation, library.observed), laws,
                types.float64(matrix, matrix, types.float64[::1]),
            )  # fmt: skip
        except _numba_errors() as error:
            raise _explained(model, None, y_vector, error) from None


def compiled_functional(
    model: StateSpaceModel, functional: Any, initial_functional: Any, n_steps: int
) -> tuple[Any, Any, int, bool, list[str] | None]:
    """Loops that add a functional up, the number of sums, whether it is a plain float, names."""
    from . import kernels, library

    if isinstance(functional, Functional):
        if initial_functional is not None:
            raise ValueError(
                "initial_functional: a ready functional has its own; expected None with it"
            )
        size = functional.size(n_steps, model.dim)
        with _LOCK:
            first = jitted(None, (), (functional.add_first,), kernels.ADD_FIRST_SIGNATURE)
            add = jitted(None, (), (functional.add,), kernels.ADD_SIGNATURE)
        scalar = size == 1 and functional.size is library.sum_of_states.size
        return first, add, size, scalar, _names(functional.name, size, model.dim)
    _check_function("functional", functional, ("x_prev", "x", "t"))
    if initial_functional is not None:
        _check_function("initial_functional", initial_functional, ("x",))
    rng = np.random.default_rng(0)
    theta = model.theta.copy()
    x0 = _as_state(model, model.initial_sample(rng, theta))
    x1 = _as_state(model, model.transition_sample(rng, x0, 1, theta))
    step = _python(functional)
    values = np.asarray(step(x0, x1, 1), dtype=np.float64)
    shapes = {"functional": values.shape}
    if initial_functional is not None:
        first_values = _python(initial_functional)(x0)
        shapes["initial_functional"] = np.asarray(first_values, dtype=np.float64).shape
    for name, shape in shapes.items():
        if len(shape) > 1 or shape != values.shape or values.size == 0:
            raise ModelError(
                f"{name}: returned shape {shape}; expected a float or (J,), the same from "
                f"functional and initial_functional (functional: {values.shape})"
            )
    state = library.scalar_row if model.state_dim is None else kernels.vector_row
    scalar = values.ndim == 0
    with _LOCK:
        try:
            add = jitted(
                library.add_scalar if scalar else library.add_vector, (state,), (functional,),
                kernels.ADD_SIGNATURE,
            )  # fmt: skip
            first = kernels.add_nothing_first
            if initial_functional is not None:
                first = jitted(
                    library.add_scalar_first if scalar else library.add_vector_first, (state,),
                    (initial_functional,), kernels.ADD_FIRST_SIGNATURE,
                )  # fmt: skip
        except _numba_errors() as error:
            raise ModelError(f"functional: numba can't compile it: {_reason(error)}") from None
    return first, add, values.size, scalar, None


def _names(name: str, size: int, dim: int) -> list[str]:
    if size == dim:
        return [f"sum of {name}"] if dim == 1 else [f"sum of {name} [{j}]" for j in range(dim)]
    if dim == 1:
        return [f"{name}[{t}]" for t in range(size)]
    return [f"{name}[{k // dim}, {k % dim}]" for k in range(size)]


def _as_state(model: StateSpaceModel, x: Any) -> Any:
    """Check the shape of a state that a sampler returned."""
    shape = np.shape(x)
    if shape != (() if model.state_dim is None else (model.state_dim,)):
        wanted = "a float (or set state_dim)" if model.state_dim is None else (model.state_dim,)
        raise ModelError(f"initial_sample or transition_sample: returned {x!r}; expected {wanted}")
    return x if model.state_dim is None else np.array(x, dtype=np.float64)


def _python(function: Any) -> Any:
    return getattr(function, "py_func", function)


def _ours(function: Any) -> bool:
    """Whether numba may keep the code: functions of the package, in the file of the loops."""
    module = sys.modules.get(getattr(function, "__module__", ""), None)
    return (
        getattr(function, "__module__", "") == "smcweights.statespace.library"
        and getattr(module, function.__name__, None) is function
    )


def jitted(
    factory: Callable[..., Any] | None, frame: tuple[Any, ...], functions: tuple[Any, ...],
    signature: Any,
) -> Any:  # fmt: skip
    """Compile ``factory(*frame, *functions)``, or one function that needs no loop around it."""
    import numba

    key = (factory, frame, functions, signature)
    with _LOCK:
        if key not in _COMPILED:
            keep = all(_ours(_python(function)) for function in functions)
            if factory is None:
                loop = functions[0]
            else:
                inner = [_callee(f, keep) for f in (*frame, *functions)]
                loop = factory(*inner)
                # numba finds machine code by a name that counts functions from 1 in every
                # process: code from the disk would take the place of a loop of the same name
                parts = [f.__name__ for f in (*frame, *functions)] if keep else ["users"]
                loop.__qualname__ = ".".join([factory.__qualname__, *parts])
            _COMPILED[key] = numba.njit(signature, cache=keep, nogil=True, error_model="numpy")(
                loop
            )
        return _COMPILED[key]


def _callee(function: Any, keep: bool) -> Any:
    # a captured dispatcher is new in every process and never found in the cache; a plain
    # function that numba may compile in place is captured by its name
    import numba
    from numba.extending import register_jitable

    if keep:
        if function not in _REGISTERED:
            register_jitable(function)
            _REGISTERED.add(function)
        return function
    key = ("callee", function)
    if key not in _COMPILED:
        _COMPILED[key] = (
            function
            if hasattr(function, "py_func")
            else numba.njit(nogil=True, error_model="numpy")(function)
        )
    return _COMPILED[key]


def _numba_errors() -> tuple[type[BaseException], ...]:
    from numba.core import errors

    return (errors.NumbaError, NotImplementedError)


def _reason(error: BaseException) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("During:", "Failed in", "Overload"))]
    return " ".join(kept[:6])[:600]


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
                f"{name}: numba can't compile it for ({', '.join(arguments)}): {_reason(own)}"
            )
        returned = dispatcher.overloads[signature].signature.return_type
        expected_x = "sample" in name
        wrong = (
            expected_x
            and (model.state_dim is None) != isinstance(returned, types.Number | types.Boolean)
        ) or (not expected_x and not isinstance(returned, types.Number | types.Boolean))
        if wrong:
            expected = "a float" if not expected_x or model.state_dim is None else "a 1-d array"
            return ModelError(f"{name}: returns {returned}; expected {expected}")
    return ModelError(f"numba can't compile the model: {_reason(error)}")


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

    The transition from five simulated states is compared with its density: the identity
    E[p(x + h)/p(x)] = 1 is tried on draws, for two shifts h of every component. The bound is
    compared with the density at the draws.

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p)
        Observations, for their shape.
    n_draws : int
        Draws from each of the states.
    seed : None, int, SeedSequence or Generator

    Raises
    ------
    ModelError
        A function does not compile, or sampler and density disagree by more than six standard
        errors.

    Notes
    -----
    The identity holds for densities that are positive everywhere; states on a lattice are only
    checked for a finite density.

    Examples
    --------
    >>> from smcweights import models
    >>> check_model(models.stochastic_volatility(0.9, 0.3), [0.1, -0.2], seed=1)
    """
    y = np.asarray(y)
    rows = observations(y)
    functions = compiled(model, y.ndim == 2)
    rng = generator(seed_sequence(seed), "check_model")
    n_draws = count("n_draws", n_draws, 100)
    theta = model.theta.copy()
    x = np.empty((n_draws, model.dim))
    log_w = np.zeros(n_draws)
    functions.start(rng, x, rows, 0, log_w, -1, theta)
    starts = x[:5].copy()
    for start in starts:
        origin = np.ascontiguousarray(start[None])
        ancestors = np.zeros(n_draws, dtype=np.int32)
        functions.move(rng, origin, ancestors, x, rows, 0, 1, np.zeros(n_draws), -1, theta)
        log_p = _pairs(functions, origin, x, theta)
        if not np.isfinite(log_p).all():
            raise ModelError(
                f"transition_logpdf: {log_p[~np.isfinite(log_p)][0]} at a state that "
                f"transition_sample drew from {start}; expected finite numbers"
            )
        if functions.bounded and log_p.max() > functions.bound(1, theta) + 1e-9:
            raise ModelError(
                f"transition_logpdf_bound: {functions.bound(1, theta)} at time 1, but the density "
                f"reaches {log_p.max()}; expected an upper bound"
            )
        if len(np.unique(x[:, 0])) < n_draws // 2:
            continue
        for j in range(model.dim):
            spread = x[:, j].std()
            for shift in (-spread, 0.5 * spread):
                moved = x.copy()
                moved[:, j] += shift
                ratio = np.exp(_pairs(functions, origin, moved, theta) - log_p)
                error = ratio.std() / math.sqrt(n_draws)
                if not abs(ratio.mean() - 1) <= 6 * error:
                    raise ModelError(
                        f"transition_sample and transition_logpdf disagree from state {start} "
                        f"(component {j}): mean density ratio {ratio.mean():.4g} +- {error:.2g}; "
                        "expected 1"
                    )


def _pairs(functions: Compiled, origin: Array, x: Array, theta: Array) -> Array:
    return np.array([functions.pair(origin, 0, x, i, 1, theta) for i in range(len(x))])


@functools.cache
def scheme_code(name: str) -> int:
    """Number of a resampling scheme in the kernels."""
    from . import kernels

    return {
        "multinomial": kernels.MULTINOMIAL,
        "stratified": kernels.STRATIFIED,
        "systematic": kernels.SYSTEMATIC,
        "residual": kernels.RESIDUAL,
    }[name]
