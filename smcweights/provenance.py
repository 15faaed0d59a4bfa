"""What ran, with what: where an estimate comes from, digests of arguments, data and jobs.

One notion of "the same" serves all who ask: provenance and `combine` compare arguments, a
checkpoint its arguments and jobs. None of it depends on where things are stored in memory, so
that equal runs are known as such in every process.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _compat, randomness
from .identity import ADDRESS, PLAIN, installed_class, signature, unwrapped

# arguments that say how far or where to run, and are no part of a question
HOW_FAR = {"seed", "budget", "precision", "executor", "progress", "checkpoint"}


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


def drawn(*arrays: np.ndarray) -> dict[str, list[str]]:
    """What an estimate's provenance says of the draws that it rests on, in place of data.

    Other draws are no other question, but estimates of the same ones aren't independent. What is
    constant, such as equal weights, tells no draws apart.

    Examples
    --------
    >>> [len(found) for found in drawn(np.arange(3), np.zeros(3)).values()]
    [1]
    """
    return {"draws": [digest(one) for one in arrays if (one != one.flat[0]).any()]}


def asked_of(estimate: Any) -> dict[str, Any]:
    """The arguments that an estimate answers: all but those of how far and where it ran."""
    given = estimate.provenance.get("arguments", {})
    return {name: value for name, value in given.items() if name not in HOW_FAR}


def described(value: object) -> Any:
    """An argument of a call in types that JSON can hold; equal arguments give equal ones.

    Numbers, strings, lists and dicts stay as they are, arrays are replaced by shape and SHA-256,
    functions, callable objects and objects of the user's classes by their `signature` (those
    without Python code by their names), objects that have a method ``describe`` by what it says,
    dataclasses by their fields, all else by its repr, or its `signature` where that gives an
    address.

    Examples
    --------
    >>> described([1, np.float64(2.5), len, np.zeros(2)])
    [1, 2.5, 'builtins.len', {'shape': [2], 'sha256': 'a2af59...'}]
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, np.generic):
        return described(value.item()) if value.dtype.kind in "biufSU" else str(value)
    if isinstance(value, int | float | str):
        return value
    if not isinstance(value, type) and not installed_class(type(value)):
        return signature(value)
    if isinstance(value, Mapping):
        return {str(key): described(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [described(inner) for inner in value]
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        return {"shape": list(array.shape), "sha256": digest(array)}
    if callable(describe := getattr(type(value), "describe", None)):
        return described(describe(value))
    if isinstance(value, type) and not installed_class(value):
        return signature(value)
    of = getattr(value, "__self__", None)
    bound = of is not None and not isinstance(of, ModuleType)
    if hasattr(value, "__qualname__") and not bound and not hasattr(unwrapped(value), "__code__"):
        module = getattr(value, "__module__", None)
        return f"{module}.{value.__qualname__}" if module else value.__qualname__
    name = value.__name__ if isinstance(value, np.ufunc) else ""
    if name and getattr(np, name, None) is value:
        return f"numpy.{name}"  # which has no qualified name in NumPy 2.0
    if callable(value):
        return signature(value)
    if dataclasses.is_dataclass(value):
        return {f.name: described(getattr(value, f.name)) for f in dataclasses.fields(value)}
    # an address says nothing and differs from run to run
    text = re.sub(ADDRESS, "", repr(value))
    return text if text == repr(value) or type(value) is object else signature(value)


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
        if not isinstance(part, np.ndarray):
            if isinstance(part, Mapping):
                for key, inner in part.items():
                    add(f"{name}.{key}", inner)
                return
            if isinstance(part, list | tuple) and any(isinstance(p, np.ndarray) for p in part):
                for i, inner in enumerate(part):
                    add(f"{name}.{i}", inner)
                return
        array = np.asarray(part)
        if array.dtype.kind in "OUSTmM":
            text = json.dumps([str(entry) for entry in array.ravel().tolist()])
            total.update(f"{name} text {array.shape} {text}".encode())
        else:
            little, text = _little(array.dtype)
            total.update(f"{name} {text} {array.shape}".encode())
            total.update(np.ascontiguousarray(array, dtype=little).data)

    add("", data)
    return total.hexdigest()


@functools.lru_cache(64)
def _little(dtype: np.dtype) -> tuple[np.dtype, str]:
    """The same numbers with their lowest byte first, and its name."""
    little = dtype.newbyteorder("<")
    return little, little.str


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
    _add(total, job)
    return total.hexdigest()


def _add(total: hashlib._Hash, thing: Any) -> None:
    if isinstance(thing, PLAIN):
        total.update(f"{thing!r};".encode())
    elif isinstance(thing, np.ndarray) and not thing.dtype.hasobject:
        total.update(f"{thing.dtype.str}{thing.shape}".encode())
        total.update(np.ascontiguousarray(thing).tobytes())
    elif isinstance(thing, tuple | list):
        total.update(f"{type(thing).__qualname__}{len(thing)};".encode())
        for item in thing:
            _add(total, item)
    elif isinstance(thing, np.random.SeedSequence):
        _add(total, tuple(sorted(randomness.describe(thing).items(), key=str)))
    elif isinstance(thing, np.random.Generator):
        _add(total, thing.bit_generator.state)
    elif isinstance(thing, Mapping):
        _add(total, ("mapping", *thing.items()))
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = [getattr(thing, field.name) for field in dataclasses.fields(thing)]
        _add(total, (type(thing).__qualname__, *fields))
    else:
        raise TypeError(
            f"jobs: got {type(thing).__name__}; with a checkpoint expected arrays, numbers, "
            "strings, seeds and generators, and tuples, lists or dicts of them"
        )
