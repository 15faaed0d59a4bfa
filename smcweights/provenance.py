"""What ran, with what: the identity of a run, of its arguments, functions, data and jobs.

One notion of "the same" serves all who ask: provenance and `combine` compare arguments, a
checkpoint its arguments and jobs. None of it depends on where things are stored in memory, so
that equal runs are known as such in every process.
"""

from __future__ import annotations

import dataclasses
import datetime
import dis
import hashlib
import inspect
import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _compat, randomness

__all__ = ["described", "digest", "fingerprint", "provenance", "signature"]

# what stands there is known by its name and version
_LIBRARIES = ("site-packages", os.path.dirname(__file__) + os.sep)


def provenance(
    method: str,
    root: np.random.SeedSequence,
    arguments: Mapping[str, object],
    data: ArrayLike | Mapping[str, ArrayLike] | None = None,
) -> dict[str, Any]:
    """Where an estimate comes from, in plain types that JSON can hold.

    Parameters
    ----------
    method : str
        What computes it.
    root : numpy.random.SeedSequence
        What the run draws from; `Estimate.provenance["seed"]` is accepted as a seed again.
    arguments : mapping of str
        Arguments of the call, each as `described` gives it.
    data : array_like, or sequence or mapping of these, optional
        The data the estimate is about.

    Returns
    -------
    dict
        Keys method, seed, arguments, versions, data (SHA-256 or None), time (UTC).

    Examples
    --------
    >>> root = np.random.SeedSequence(7)
    >>> provenance("demo", root, {"budget": 100, "integrand": np.sin})["arguments"]
    {'budget': 100, 'integrand': 'numpy.sin'}
    """
    return {
        "method": method,
        "seed": randomness.describe(root),
        "arguments": {str(name): described(value) for name, value in arguments.items()},
        "versions": dict(_compat.versions()),
        "data": None if data is None else digest(data),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def described(value: object) -> Any:
    """An argument of a call in types that JSON can hold; equal arguments give equal ones.

    Numbers, strings, lists and dicts stay as they are, arrays are replaced by shape and SHA-256,
    functions and callable objects by their `signature` (those without Python code by their
    names), objects that have a method ``describe`` by what it says, other dataclasses by their
    fields, all else by its repr.

    Examples
    --------
    >>> described([1, np.float64(2.5), len, np.zeros(2)])
    [1, 2.5, 'builtins.len', {'shape': [2], 'sha256': 'a2af59...'}]
    """
    if isinstance(value, np.generic):
        return described(value.item()) if value.dtype.kind in "biufSU" else str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): described(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [described(inner) for inner in value]
    if callable(describe := getattr(value, "describe", None)):
        return described(describe())
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        return {"shape": list(array.shape), "sha256": digest(array)}
    if hasattr(value, "__qualname__") and not hasattr(_python(value), "__code__"):
        module = getattr(value, "__module__", None)
        return f"{module}.{value.__qualname__}" if module else value.__qualname__
    if callable(value):
        return signature(value)
    if dataclasses.is_dataclass(value):
        return {f.name: described(getattr(value, f.name)) for f in dataclasses.fields(value)}
    # an address says nothing and differs from run to run
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def digest(data: object) -> str:
    """SHA-256 of arrays: of their dtypes, shapes and elements, whatever their memory layout.

    Parameters
    ----------
    data : array_like, or sequence or mapping of these

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> digest(np.arange(6).reshape(2, 3)) == digest(np.arange(6).reshape(3, 2))
    False
    """
    total = hashlib.sha256()

    def add(name: str, part: Any) -> None:
        if isinstance(part, Mapping):
            for key, inner in part.items():
                add(f"{name}.{key}", inner)
        elif isinstance(part, list | tuple) and any(isinstance(p, np.ndarray) for p in part):
            for i, inner in enumerate(part):
                add(f"{name}.{i}", inner)
        else:
            array = np.asarray(part)
            if array.dtype.kind in "OUST":
                text = json.dumps([str(entry) for entry in array.ravel().tolist()])
                total.update(f"{name} text {array.shape} {text}".encode())
            else:
                little = array.dtype.newbyteorder("<")
                total.update(f"{name} {little.str} {array.shape}".encode())
                total.update(np.ascontiguousarray(array, dtype=little).data)

    add("", data)
    return total.hexdigest()


def fingerprint(job: object) -> str:
    """SHA-256 of the arguments of a job: arrays, numbers, strings, seeds, generators.

    Parameters
    ----------
    job : any of these, or tuple, list or dict of them

    Raises
    ------
    TypeError
        Something else is among them.

    Examples
    --------
    >>> fingerprint((1, np.zeros(3))) == fingerprint((True, np.zeros(3)))
    False
    """
    total = hashlib.sha256()
    _add(total, job, None)
    return total.hexdigest()


def signature(thing: object) -> str:
    """A name and a digest of code and data, to tell one function or object from another.

    What a function calls and reads from its module counts too, library functions by name only;
    lists and dicts count by type, and names it assigns itself and attributes it adds to not at
    all: functions that log or count change these.

    Examples
    --------
    >>> a, b = (lambda x: x + 1), (lambda x: x + 2)
    >>> signature(a) == signature(a), signature(a) == signature(b)
    (True, False)
    """
    total = hashlib.sha256()
    _add(total, thing, {})
    named = thing.func if isinstance(thing, partial) else thing
    name = getattr(named, "__qualname__", type(named).__name__)
    return f"{getattr(named, '__module__', '')}.{name} {total.hexdigest()[:12]}"


def _add(total: hashlib._Hash, thing: Any, seen: dict[int, Any] | None) -> None:
    """Add a thing to a hash. ``seen`` holds the objects met before; None allows data only."""
    if seen is not None and callable(thing):
        thing = _python(thing)
    if thing is None or isinstance(thing, bool | int | float | complex | str | bytes | np.generic):
        total.update(f"{thing!r};".encode())
    elif isinstance(thing, np.ndarray) and not thing.dtype.hasobject:
        total.update(f"{thing.dtype.str}{thing.shape}".encode())
        total.update(np.ascontiguousarray(thing).tobytes())
    elif isinstance(thing, tuple | frozenset) or (seen is None and isinstance(thing, list)):
        items = sorted(thing, key=repr) if isinstance(thing, frozenset) else thing
        total.update(f"{type(thing).__qualname__}{len(items)};".encode())
        for item in items:
            _add(total, item, seen)
    elif isinstance(thing, np.random.SeedSequence):
        _add(total, tuple(sorted(randomness.describe(thing).items(), key=str)), None)
    elif isinstance(thing, np.random.Generator) and seen is None:
        _add(total, thing.bit_generator.state, None)
    elif isinstance(thing, Mapping) and seen is None:
        _add(total, ("mapping", *thing.items()), None)
    elif seen is None:
        raise TypeError(
            f"jobs: got {type(thing).__name__}; with a checkpoint expected arrays, numbers, "
            "strings, seeds and generators, and tuples, lists or dicts of them"
        )
    elif id(thing) in seen:
        total.update(type(thing).__qualname__.encode())
    elif isinstance(thing, CodeType):
        total.update(thing.co_code + " ".join(thing.co_names).encode())
        _add(total, thing.co_consts, seen)
    elif isinstance(thing, partial):
        bound = tuple(sorted(thing.keywords.items()))
        _add(total, (thing.func, thing.args, bound), seen)
    elif isinstance(getattr(thing, "__code__", None), CodeType):
        seen[id(thing)] = thing
        _add_function(total, thing, seen)
    else:
        seen[id(thing)] = thing
        total.update(f"{type(thing).__module__}.{type(thing).__qualname__}".encode())
        total.update(getattr(thing, "__qualname__", "").encode())
        if isinstance(thing, type | ModuleType):
            total.update(thing.__name__.encode())
        elif hasattr(thing, "__dict__"):
            counts = _counts(type(thing))
            _add(total, tuple(item for item in vars(thing).items() if item[0] not in counts), seen)


def _add_function(total: hashlib._Hash, function: FunctionType, seen: dict[int, Any]) -> None:
    code = function.__code__
    assigned = {s.argval for s in _steps(code) if s.opname in ("STORE_GLOBAL", "STORE_DEREF")}
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    held = tuple(c.cell_contents for n, c in cells if n not in assigned and _filled(c))
    owner = getattr(function, "__self__", None)
    _add(total, (code, function.__defaults__, held, owner), seen)
    if not any(place in code.co_filename for place in _LIBRARIES):
        read = {step.argval for step in _steps(code) if step.opname == "LOAD_GLOBAL"}
        for name in sorted(read - assigned):
            if name in function.__globals__:
                _add(total, (name, function.__globals__[name]), seen)


def _steps(code: CodeType) -> Iterator[dis.Instruction]:
    """Instructions of a function and of those inside it."""
    yield from dis.get_instructions(code)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _steps(inner)


def _counts(kind: type) -> set[str]:
    """Attributes that an object's own methods add to, as in ``self.calls += 1``."""
    found = set()
    for method in (m for base in kind.__mro__ for m in vars(base).values()):
        steps = list(_steps(method.__code__)) if isinstance(method, FunctionType) else []
        for one, two, last in zip(steps, steps[1:], steps[2:], strict=False):
            adds = one.opname == "BINARY_OP" and one.argrepr.endswith("=") and two.opname == "SWAP"
            if adds and last.opname == "STORE_ATTR":
                found.add(last.argval)
    return found


def _python(function: Any) -> Any:
    """What numba or a decorator made compiled or wrapped."""
    return inspect.unwrap(getattr(function, "py_func", function))


def _filled(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that was not assigned yet
        return False
