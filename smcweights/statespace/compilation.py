"""A model's functions in loops that the kernels call, compiled once for every model.

What numba can't compile is told by the name of the function, with numba's reason and a remedy.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arguments import names_of, shown
from ..errors import ModelError
from ..identity import identity, known_by, reached
from . import loops
from .functionals import Functional
from .model import (
    ARGUMENTS,
    Proposal,
    StateSpaceModel,
    check_function,
    functions_of,
    needed,
    python_of,
    taken,
)
from .trial import tried

Array = NDArray[np.float64]


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
    linearised: tuple[Any, ...] = ()  # pair, sight, mean, covariance


class Added(NamedTuple):
    """Loops that add a functional up, the number of sums, whether it is a plain float, names."""

    first: Any
    add: Any
    size: int
    scalar: bool
    names: Sequence[str] | None

    def labels(self, given: Iterable[str] | None) -> Sequence[str] | None:
        """The names given, checked, or the functional's own."""
        return self.names if given is None else names_of(given, self.size)


_LOCK = threading.RLock()
_REGISTERED: set[Any] = set()
_COMPILED: dict[Any, Any] = {}
_CALLEES: dict[Any, Any] = {}
_TAKING: dict[Any, Any] = {}
_UNSEEN: set[Any] = set()  # observations that only Python can draw
_FROZEN: dict[Any, str] = {}  # identities that users' compiled functions were compiled with
_PACKAGE = __name__.split(".")[0] + "."


def compiled(
    model: StateSpaceModel,
    y_vector: bool,
    proposal: Proposal | None = None,
    *,
    backward: bool = True,
    linearised: bool = False,
) -> Compiled:
    """Compile a model once per process; ready models are found on disk.

    Without `backward`, what a filter alone has no use for is left out; `linearised` is what one
    looks at whose proposals make themselves.

    Raises
    ------
    ModelError
        Numba can't compile a function; the message names it, and what numba said.
    """
    from . import kernels

    m, p = without_inputs(model, proposal)
    state = loops.scalar_row if m.state_dim is None else kernels.vector_row
    put = loops.put_scalar if m.state_dim is None else loops.put_vector
    observation = kernels.vector_row if y_vector else loops.scalar_row
    frame = (state, put, observation, loops.observed)
    seen = m.observation_logpdf
    start: tuple[Any, ...] = (loops.bootstrap_start, m.initial_sample, seen)
    move: tuple[Any, ...] = (loops.bootstrap_move, m.transition_sample, seen)
    if m.in_place is not None:
        move = (loops.bootstrap_move_in_place, m.in_place, seen)
    if p is not None and p.initial_sample is not None:
        drawn = (p.initial_sample, p.initial_logpdf, m.initial_logpdf)
        start = (loops.guided_start, *drawn, seen)
    if p is not None and p.sample is not None:
        move = (loops.guided_move, p.sample, p.logpdf, m.transition_logpdf, seen)
    ahead = None if p is None else p.log_lookahead
    bounded = m.transition_logpdf_bound is not None
    law = (m.transition_logpdf or loops.no_density,)
    with _LOCK:
        try:
            first = jitted(start[0], frame, start[1:], kernels.START_SIGNATURE)
            later = jitted(move[0], frame, move[1:], kernels.MOVE_SIGNATURE)
            if linearised:
                own = _linearised(m, state, put, observation)
                return Compiled(first, later, False, bounded, linearised=own)
            if not backward and ahead is None:
                return Compiled(first, later, False, bounded)
            look = _unused(kernels.no_lookahead, kernels.LOOK_SIGNATURE)
            bound = _unused(kernels.no_bound, kernels.BOUND_SIGNATURE)
            reject = _unused(kernels.no_rejection, kernels.REJECT_SIGNATURE)
            if ahead is not None:
                eyes = (state, observation)
                look = jitted(loops.lookahead, eyes, (ahead,), kernels.LOOK_SIGNATURE)
            if bounded:
                known = (m.transition_logpdf_bound,)
                bound = jitted(loops.transition_bound, (), known, kernels.BOUND_SIGNATURE)
            if bounded and backward:
                reject = jitted(loops.transition_rejection, (state,), law, kernels.REJECT_SIGNATURE)
            pair = jitted(loops.transition_pair, (state,), law, kernels.PAIR_SIGNATURE)
            first_term = _unused(kernels.add_nothing_first, kernels.ADD_FIRST_SIGNATURE)
            nothing = _unused(kernels.add_nothing, kernels.ADD_SIGNATURE)
            back = (look, pair, bound, reject, first_term, nothing)
            return Compiled(first, later, ahead is not None, bounded, *back)
        except _numba_errors() as error:
            raise _explained(model, proposal, y_vector, error) from None


def _linearised(m: StateSpaceModel, state: Any, put: Any, observation: Any) -> tuple[Any, ...]:
    """What proposals that make themselves know of a model, without inputs."""
    from . import kernels

    mean = _unused(kernels.no_mean, kernels.MEAN_SIGNATURE)
    covariance = _unused(kernels.no_covariance, kernels.COVARIANCE_SIGNATURE)
    pair = jitted(loops.transition_pair, (state,), (m.transition_logpdf,), kernels.PAIR_SIGNATURE)
    eyes = (state, observation)
    sight = jitted(loops.observation_sight, eyes, (m.observation_logpdf,), kernels.SIGHT_SIGNATURE)
    if m.transition_mean is not None:
        law = (m.transition_mean,)
        mean = jitted(loops.transition_means, (state, put), law, kernels.MEAN_SIGNATURE)
    if m.transition_covariance is not None:
        law, put = (m.transition_covariance,), loops.put_all if m.state_dim else loops.put_one
        covariance = jitted(loops.common_covariance, (put,), law, kernels.COVARIANCE_SIGNATURE)
    return pair, sight, mean, covariance


def compiled_path_density(model: StateSpaceModel, y_vector: bool) -> Any:
    """(x, y, theta) -> joint log density of a path (T, d) and observations (T, p)."""
    from numba import types

    from . import kernels

    state = loops.scalar_row if model.state_dim is None else kernels.vector_row
    observation = kernels.vector_row if y_vector else loops.scalar_row
    matrix = types.float64[:, ::1]
    needed(model, ("initial_logpdf", "transition_logpdf"), "densities of paths are made of")
    m, _ = without_inputs(model, None)
    laws = (m.initial_logpdf, m.transition_logpdf, m.observation_logpdf)
    with _LOCK:
        try:
            density = jitted(
                loops.path_density,
                (state, observation, loops.observed),
                laws,
                types.float64(matrix, matrix, types.float64[::1]),
            )
            if model.input_dim is None:
                return density
            return lambda x, y, theta: density(x, y, model.packed(theta))
        except _numba_errors() as error:
            raise _explained(model, None, y_vector, error) from None


def without_inputs(
    model: StateSpaceModel, proposal: Proposal | None
) -> tuple[StateSpaceModel, Proposal | None]:
    """The same functions, which find their argument u behind the parameters in theta."""
    if model.input_dim is None:
        return model, proposal
    found = {
        name: _taking(model, function, arguments)
        for name, (function, arguments) in functions_of(model, proposal).items()
    }
    parts = {name.split(".")[1]: f for name, f in found.items() if "." in name}
    own = {name: f for name, f in found.items() if "." not in name}
    bare = replace(model, observation_sample=None, input_dim=None, inputs=None, **own)
    return bare, Proposal(**parts) if parts else None


def _taking(
    model: StateSpaceModel, function: Callable[..., Any], arguments: tuple[str, ...]
) -> Any:
    """A function that finds its argument u behind the parameters in theta."""
    from . import kernels

    place = (model.theta.size, model.input_dim, arguments.index("u"), "t" in arguments)
    key = (known_by(function), place)
    with _LOCK:
        if key not in _TAKING:
            _TAKING[key] = loops.taking_inputs(kernels.vector_part, _callee(function), *place)
        return _TAKING[key]


def compiled_observations(model: StateSpaceModel, y_vector: bool) -> Any:
    """(rng, states (n, d), t, theta and inputs, y (n, p)): an observation of each state.

    None where only Python can draw them.
    """
    from . import kernels

    function: Any = model.observation_sample
    if not isinstance(python_of(function), FunctionType):
        return None
    key = (known_by(function), model.state_dim, model.input_dim, model.theta.size, y_vector)
    state = loops.scalar_row if model.state_dim is None else kernels.vector_row
    put = loops.put_vector if y_vector else loops.put_scalar
    with _LOCK:
        if key in _UNSEEN:
            return None
        try:
            if model.input_dim is not None:
                arguments = taken(ARGUMENTS["observation_sample"][0], model.input_dim)
                function = _taking(model, function, arguments)
            return jitted(loops.observations_of, (state, put), (function,), kernels.SEE_SIGNATURE)
        except Exception:
            # of numba's many: it works as it is
            _UNSEEN.add(key)
            return None


def check_functional(functional: Any, initial_functional: Any) -> None:
    """Whether both are what can be summed at all, before anything is compiled."""
    if isinstance(functional, Functional):
        if initial_functional is not None:
            raise ValueError(
                f"initial_functional: got {shown(initial_functional)}; expected None with a ready "
                "functional, which has its own"
            )
        return
    check_function("functional", functional, ("x_prev", "x", "t"))
    if initial_functional is not None:
        check_function("initial_functional", initial_functional, ("x",))


def compiled_functional(
    model: StateSpaceModel, functional: Any, initial_functional: Any, n_steps: int
) -> Added:
    """A functional for the kernels."""
    from . import kernels

    if isinstance(functional, Functional):
        size = functional.size(n_steps, model.dim)
        with _LOCK:
            first = jitted(
                loops.add_components_first, (), (functional.first,), kernels.ADD_FIRST_SIGNATURE
            )
            loop = loops.add_by_time if functional.per_time else loops.add_components
            add = jitted(loop, (), (functional.term,), kernels.ADD_SIGNATURE)
        scalar = size == 1 and not functional.per_time
        return Added(first, add, size, scalar, functional.names(n_steps, model.dim))
    rng = np.random.default_rng(0)
    theta = model.theta.copy()
    if model.input_dim is not None and model.inputs is None:
        # of a stream that is yet to come
        model = model.with_inputs(np.zeros((1, model.input_dim)))
    model = model.reaching(2)
    x0 = _as_state(model, model.plain("initial_sample")(rng, theta))
    x1 = _as_state(model, model.plain("transition_sample")(rng, x0, 1, theta))
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
    frame = (state, loops.plus_scalar if scalar else loops.plus_vector)
    with _LOCK:
        try:
            add = jitted(loops.add_own, frame, (functional,), kernels.ADD_SIGNATURE)
            first = _unused(kernels.add_nothing_first, kernels.ADD_FIRST_SIGNATURE)
            if initial_functional is not None:
                own, kind = (initial_functional,), kernels.ADD_FIRST_SIGNATURE
                first = jitted(loops.add_own_first, frame, own, kind)
        except _numba_errors() as error:
            raise ModelError(f"functional: numba can't compile it{_reason(error)}") from None
    return Added(first, add, values.size, scalar, None)


def _summand(name: str, function: Any, *arguments: Any) -> Array:
    found = tried(name, function, *arguments)
    if found is None:
        # again, for what Python says of it
        found = python_of(function)(*arguments)
    return np.asarray(found, dtype=np.float64)


def _as_state(model: StateSpaceModel, x: Any) -> Any:
    """Check the shape of a state that a sampler returned."""
    shape = np.shape(x)
    if shape != (() if model.state_dim is None else (model.state_dim,)):
        wanted = "a float (or set state_dim)" if model.state_dim is None else (model.state_dim,)
        raise ModelError(f"initial_sample or transition_sample: returned {x!r}; expected {wanted}")
    return x if model.state_dim is None else np.array(x, dtype=np.float64)


def jitted(
    factory: Callable[..., Any], frame: tuple[Any, ...], functions: tuple[Any, ...], kind: Any
) -> Any:
    """Compile ``factory(*frame, *functions)``, which the next process finds on disk."""
    key = (factory, frame, tuple(known_by(function) for function in functions), kind)
    with _LOCK:
        if key not in _COMPILED:
            from .keeping import compile_kept, stamp

            parts = (*frame, *functions)
            mark = stamp(str(kind), factory, *parts)
            loop = factory(*(_callee(part) for part in parts))
            loop.__qualname__ = f"{factory.__qualname__}.{mark or 'users'}"
            _COMPILED[key] = compile_kept(loop, kind, mark)
        return _COMPILED[key]


def _unused(kernel: Any, signature: Any) -> Any:
    """What kernels are given where a model has no such function."""
    from . import kernels
    from .keeping import quickly_found

    return quickly_found(kernels.ready(kernel), signature)


def _callee(function: Any) -> Any:
    """A function for a loop to call."""
    import numba

    _renew(function, set())
    if hasattr(function, "py_func"):
        return function
    key = known_by(function)
    if key not in _CALLEES:
        # only loops call it: Python's way to it needn't be compiled
        bare: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        made = numba.njit(nogil=True, error_model="numpy", **bare)
        _CALLEES[key] = made(_registered(function))
    return _CALLEES[key]


def _renew(function: Any, seen: set[Any]) -> None:
    """Compile a user's compiled functions again where what numba froze of them has changed."""
    own = python_of(function)
    if own in seen or (own.__module__ or "").startswith(_PACKAGE):
        return
    seen.add(own)
    for called in reached(own):
        if isinstance(python_of(called), FunctionType):
            _renew(called, seen)
    if hasattr(function, "recompile"):
        key = identity(function)
        if _FROZEN.get(function) != key:
            _FROZEN[function] = key
            if function.signatures:
                function.recompile()


def _registered(function: FunctionType) -> FunctionType:
    """Let numba compile the package's functions where they are called, and what they call."""
    from numba.extending import register_jitable

    if function in _REGISTERED or not (function.__module__ or "").startswith(_PACKAGE):
        return function
    _REGISTERED.add(function)
    for called in reached(function):
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
    # what it says first is of the outermost function, and may be told by one inside
    for heard in (said, " ".join(kept)):
        for pattern, remedy in _REMEDIES.items():
            found = re.search(pattern, heard)
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
    r"unify .*array\(\w+, 0d": ("np.where makes arrays of numbers: write float(np.where(...))"),
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
    kinds["u"] = vector
    for name, (function, arguments) in functions_of(model, proposal).items():
        signature = tuple(kinds[a] for a in arguments)
        dispatcher: Any = numba.njit(nogil=True)(_registered(python_of(function)))
        try:
            dispatcher.compile(signature)
        except _numba_errors() as own:
            return ModelError(
                f"{name}: numba can't compile it for ({', '.join(arguments)}){_reason(own)}"
            )
        returned = dispatcher.overloads[signature].signature.return_type
        number = isinstance(returned, types.Number | types.Boolean) or (
            isinstance(returned, types.Array) and returned.ndim == 0
        )
        of_states = "sample" in name or name in ("transition_mean", "transition_covariance")
        expects_number = not of_states or model.state_dim is None
        if number != expects_number:
            expected = "a float" if expects_number else "an array"
            if y_vector and "y" in arguments:
                expected += (
                    "; y_t is an array, since y has shape (T, p): a model whose observations are "
                    "floats takes y of shape (T,), such as a column frame['name'] of a DataFrame"
                )
            return ModelError(f"{name}: returns {returned}; expected {expected}")
    return ModelError(f"numba can't compile the model{_reason(error)}")
