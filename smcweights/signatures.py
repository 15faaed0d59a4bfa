"""Digests that tell one function or model from another by what it does."""

from __future__ import annotations

import dis
import hashlib
import inspect
from functools import partial
from types import CodeType, ModuleType
from typing import Any

import numpy as np

__all__ = ["signature"]


def signature(thing: Any) -> str:
    """A name and a digest of code and data, to tell one integrand from another."""
    found = hashlib.sha256()
    _digest_into(found, thing, {})
    named = thing.func if isinstance(thing, partial) else thing
    name = getattr(named, "__qualname__", type(named).__name__)
    return f"{getattr(named, '__module__', '')}.{name} {found.hexdigest()[:12]}"


def _digest_into(found: Any, thing: Any, seen: dict[int, Any]) -> None:
    """Add what a function does to a hash: nothing in it may depend on where things are stored.

    What it calls and reads from its module counts too, library functions by name only; lists and
    dicts count by type, and globals it assigns not at all: functions that log or count change
    them.
    """
    thing = inspect.unwrap(getattr(thing, "py_func", thing)) if callable(thing) else thing
    if thing is None or isinstance(thing, bool | int | float | complex | str | bytes | np.generic):
        found.update(repr(thing).encode())
    elif isinstance(thing, np.ndarray) and thing.dtype != object:
        found.update(f"{thing.dtype}{thing.shape}".encode() + np.ascontiguousarray(thing).tobytes())
    elif id(thing) in seen:
        found.update(type(thing).__qualname__.encode())
    elif isinstance(thing, tuple | frozenset):
        items = sorted(thing, key=repr) if isinstance(thing, frozenset) else thing
        found.update(f"{type(thing).__qualname__}{len(items)}".encode())
        for item in items:
            _digest_into(found, item, seen)
    elif isinstance(thing, CodeType):
        found.update(thing.co_code + " ".join(thing.co_names).encode())
        _digest_into(found, thing.co_consts, seen)
    elif isinstance(thing, partial):
        bound = tuple(sorted(thing.keywords.items()))
        _digest_into(found, (thing.func, thing.args, bound), seen)
    elif isinstance(getattr(thing, "__code__", None), CodeType):
        seen[id(thing)] = thing
        cells = tuple(cell.cell_contents for cell in thing.__closure__ or () if _filled(cell))
        owner = getattr(thing, "__self__", None)
        _digest_into(found, (thing.__code__, thing.__defaults__, cells, owner), seen)
        if "site-packages" not in thing.__code__.co_filename:
            for name in _globals_read(thing.__code__):
                if name in thing.__globals__:
                    _digest_into(found, (name, thing.__globals__[name]), seen)
    else:
        seen[id(thing)] = thing
        found.update(f"{type(thing).__module__}.{type(thing).__qualname__}".encode())
        found.update(getattr(thing, "__qualname__", "").encode())
        if isinstance(thing, type | ModuleType):
            found.update(thing.__name__.encode())
        elif hasattr(thing, "__dict__"):
            _digest_into(found, tuple(vars(thing).items()), seen)


def _globals_read(code: CodeType) -> list[str]:
    """Names of globals that a function and those inside it read and don't assign."""
    read, assigned, pending = set(), set(), [code]
    while pending:
        code = pending.pop()
        for step in dis.get_instructions(code):
            if step.opname == "LOAD_GLOBAL":
                read.add(step.argval)
            elif step.opname == "STORE_GLOBAL":
                assigned.add(step.argval)
        pending += [c for c in code.co_consts if isinstance(c, CodeType)]
    return sorted(read - assigned)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that was not assigned yet
        return False
