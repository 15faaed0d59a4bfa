"""Every function of a model called as plain Python before it is compiled.

Compiled code reads beyond an array, or draws with a negative scale, without a word. Functions that
the model's call, compiled by numba, are plain Python here, too: nothing has to be compiled to try.
"""

from __future__ import annotations

import builtins
import copy
import dis
import functools
import random
from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cautions import Caution, tell
from ..errors import ModelError, returning
from ..identity import known_by
from .model import Proposal, StateSpaceModel, functions_of, names_in, python_of

Array = NDArray[np.float64]

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
    functions = functions_of(model, proposal).items()
    named = tuple((name, known_by(function)) for name, (function, _) in functions)
    key = (named, y_vector, rows.shape[1], model.state_dim)
    inputs = None if model.inputs is None else model.inputs.tobytes()
    tried = (model.theta.tobytes(), len(rows), inputs)
    if _TRIED.get(key) == tried:
        return
    rng, last, x = np.random.default_rng(0), len(rows) - 1, None
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
    functions = functions_of(model, proposal)
    own = _known(model, t, rng=rng, x_prev=x_prev, y=y)

    def call(name: str) -> Any:
        if name not in functions:
            return None
        function, arguments = functions[name]
        values = [own[argument] for argument in arguments]
        if name.endswith("sample"):
            return tried_sampler(model, name, function, *values, t=t)
        found = tried(name, function, *values)
        if name.endswith(("logpdf", "bound", "lookahead")):
            _check_number(name, found, np.ndim(y) == 1 and "y" in arguments)
        return found

    again = copy.deepcopy(rng)
    own["x"] = call("transition_sample" if t else "initial_sample")
    if own["x"] is None:
        return None
    if t > 0 and model.in_place is not None:
        written = np.full(model.dim, np.nan)
        model.in_place(again, x_prev, t, own["theta"], written)
        if not np.array_equal(written, own["x"]):
            raise ModelError(
                f"in_place: wrote {written} at time {t}; transition_sample: {own['x']}"
            )
    x = own["x"]
    for name in ("transition_logpdf", "transition_logpdf_bound") if t else ("initial_logpdf",):
        call(name)
    if t:
        shapes = {"transition_mean": np.shape(x), "transition_covariance": 2 * np.shape(x)}
        for name, wanted in shapes.items():
            found = call(name)
            if found is not None and np.shape(found) != wanted:
                expected = f"shape {wanted}" if wanted else "a float"
                raise ModelError(f"{name}: returned shape {np.shape(found)}; expected {expected}")
    if np.isnan(y).all():
        return x
    call("observation_logpdf")
    kind = "proposal." if t else "proposal.initial_"
    own["x"] = call(f"{kind}sample")
    if own["x"] is not None:
        call(f"{kind}logpdf")
    if t:
        call("proposal.log_lookahead")
    return x


def _check_number(name: str, found: Any, of_array: bool) -> None:
    """Whether a density returned a number; None is what only numba can find."""
    if found is None or np.ndim(found) == 0:
        return
    hint = (
        "; y_t is an array, since y has shape (T, p): a model whose observations are floats takes "
        "y of shape (T,), such as a column frame['name'] of a DataFrame"
    )
    raise ModelError(
        f"{name}: returned shape {np.shape(found)}; expected a float{hint if of_array else ''}"
    )


def _known(model: StateSpaceModel, t: int, **more: Any) -> dict[str, Any]:
    """What functions are given at a time, by the names of their arguments."""
    u = None if model.inputs is None else model.inputs[t - model.first_input].copy()
    return {"t": t, "theta": model.theta.copy(), "u": u, **more}


def tell_of_misses(model: StateSpaceModel, rows: Array, y_vector: bool, first: int = 0) -> None:
    """Warn where the density of a row of NaNs, which is never asked for, would say something.

    It may be 0, or what it is for an observation that was seen: comparisons take NaN for another
    value. `first` is the time of rows[0].
    """
    missing = np.isnan(rows).all(axis=1)
    if not missing.any():
        return

    def density(row: Array, x: Any, t: int) -> Any:
        try:
            y = row.copy() if y_vector else float(row[0])
            function, arguments = functions["observation_logpdf"]
            own = _known(model, t, y=y, x=x)
            return tried("", function, *(own[argument] for argument in arguments))
        except ModelError:
            return None

    def drawn(name: str, t: int, **more: Any) -> Any:
        function, arguments = functions[name]
        own = _known(model, t, rng=rng, **more)
        return tried_sampler(model, "", function, *(own[argument] for argument in arguments), t=t)

    functions = functions_of(model)
    rng, informs = np.random.default_rng(0), False
    seen = np.unique(rows[~missing], axis=0)
    seen = seen[np.linspace(0, len(seen) - 1, min(len(seen), 20)).astype(int)]
    times = np.flatnonzero(missing)
    for t in first + times[np.linspace(0, len(times) - 1, 8).astype(int)]:
        try:
            x = drawn("initial_sample", model.first_input)
            if t > 0 and x is not None:
                x = drawn("transition_sample", int(t), x_prev=x)
        except ModelError:
            return
        value = None if x is None else density(np.full(rows.shape[1], np.nan), x, int(t))
        if value is None or np.ndim(value) or np.isnan(value):
            continue
        if any(density(row, x, int(t)) == value for row in seen):
            return
        informs |= bool(np.isfinite(value) and value != 0)
    if informs:
        text = (
            "gives a number for a row of NaNs, which is missing and weighs nothing; code a miss "
            "that informs as a number, such as -1 where no observation is negative (0 or NaN "
            "for a row of NaNs says that it doesn't inform)"
        )
        tell("observation_logpdf", [Caution("missing-rows", text)])


def tried_sampler(model: StateSpaceModel, name: str, function: Any, *arguments: Any, t: int) -> Any:
    """A state that a sampler draws, checked; None where only numba can run it."""
    x = tried(name, function, *arguments)
    if x is None:
        return None
    shape, wanted = np.shape(x), () if model.state_dim is None else (model.state_dim,)
    if shape != wanted:
        expected = "a float (or set state_dim)" if model.state_dim is None else f"shape {wanted}"
        raise ModelError(f"{name}: returned shape {shape}; expected {expected}")
    if not np.isfinite(np.asarray(x, dtype=np.float64)).all():
        raise ModelError(f"{name}: returned {x} at time {t}; expected finite numbers")
    return x if model.state_dim is None else np.array(x, dtype=np.float64)


def tried(name: str, function: Any, *arguments: Any) -> Any:
    """What a function returns as plain Python; None where only numba can run or explain it."""
    before = _global_generators()
    own = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    try:
        with np.errstate(all="ignore"), returning(name):
            found = rewired(function, _interpreted, {})(*own)
    except (IndexError, ValueError) as error:
        # where Python's math refuses, compiled code has NaN or an infinity
        if str(error).startswith("math "):
            return None
        if isinstance(error, ModelError):
            raise
        raise _refusal(name, error, own) from error
    except Exception:
        return None
    if _global_generators() != before:
        raise ModelError(
            f"{name}: draws from a global generator (np.random or random), which no seed reaches "
            "once it is compiled; expected draws from its argument rng"
        )
    return found


def _refusal(name: str, error: Exception, arguments: list[Any]) -> ModelError:
    shown = ", ".join(str(a) for a in arguments if not isinstance(a, np.random.Generator))
    return ModelError(
        f"{name}: {type(error).__name__} ({error}) at ({shown}); expected a value "
        "(compiled code would go on with whatever stands there)"
    )


def check_time(
    model: StateSpaceModel,
    rows: Array,
    y_vector: bool,
    first: int,
    copies: dict[str, Any],
    proposal: Proposal | None = None,
) -> None:
    """Call the functions that read the time, for observations that arrive from time `first` on.

    What they read by the time may have ended: `check_functions` can't know for how long a stream
    goes on. Functions that don't look at the time cost nothing. `copies` keeps what a stream calls,
    as it was when it began: compiled code keeps what it read then, too.
    """
    timed = [
        (name, function, arguments)
        for name, (function, arguments) in functions_of(model, proposal).items()
        if "t" in arguments and _reads(function, arguments.index("t"))
    ]
    if not copies:
        copies["initial_sample"] = rewired(model.initial_sample, _interpreted, {})
        copies.update({name: rewired(f, _interpreted, {}) for name, f, _ in timed})
    if first == 0 or not timed:
        return
    own = _known(model, first + len(rows) - 1, rng=np.random.default_rng(0))
    arguments = functions_of(model)["initial_sample"][1]
    try:
        own["x"] = copies["initial_sample"](*(own[argument] for argument in arguments))
        own["x_prev"] = own["x"]
    except Exception:
        return
    seen = np.flatnonzero(~np.isnan(rows).all(axis=1))
    for name, _, arguments in timed:
        if "y" in arguments and not seen.size:
            continue
        last = int(seen[-1]) if "y" in arguments else len(rows) - 1
        own |= _known(model, first + last)
        own["y"] = rows[last].copy() if y_vector else float(rows[last, 0])
        given = [own[argument] for argument in arguments]
        try:
            with np.errstate(all="ignore"):
                copies[name](*given)
        except IndexError as error:
            raise _refusal(name, error, given) from error
        except Exception:
            continue


@functools.lru_cache(256)
def _reads(function: Any, place: int) -> bool:
    """Whether a function looks at its argument at this place."""
    code = python_of(function).__code__
    if place >= code.co_argcount:
        return True
    name = code.co_varnames[place]
    read = (step.argval for step in dis.get_instructions(code))
    return any(name in value if isinstance(value, tuple) else name == value for value in read)


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


def rewired(
    function: Any, other: Callable[[Any, dict[Any, Any]], Any], known: dict[Any, Any]
) -> Any:
    """A copy of a function that reads ``other(value, known)`` for each global and closed value."""
    function = python_of(function)
    if function in known or not isinstance(function, FunctionType):
        return known.get(function, function)
    names = names_in(function.__code__)
    space: dict[str, Any] = {"__builtins__": builtins, "__name__": function.__module__}
    cells = tuple(CellType() for _ in function.__closure__ or ())
    known[function] = new = FunctionType(
        function.__code__, space, function.__name__, function.__defaults__, cells
    )
    new.__kwdefaults__ = function.__kwdefaults__
    space.update({k: other(v, known) for k, v in function.__globals__.items() if k in names})
    for cell, old in zip(cells, function.__closure__ or (), strict=True):
        cell.cell_contents = other(old.cell_contents, known)
    return new


def _interpreted(value: Any, known: dict[Any, Any]) -> Any:
    return rewired(value, _interpreted, known) if hasattr(value, "py_func") else value
