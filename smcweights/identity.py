"""The identity of functions and objects: code, and all that it holds, names and reads.

Provenance, checkpoints and compiled code know a function again by it, in every process.
"""

from __future__ import annotations

import copyreg
import ctypes
import hashlib
import importlib.machinery
import importlib.util
import inspect
import io
import json
import logging
import os
import random
import re
import sys
import sysconfig
import threading
from collections import defaultdict, deque
from collections.abc import Collection, Hashable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property, lru_cache, partial, singledispatchmethod
from itertools import count
from pathlib import Path
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from . import instructions as code_of
from . import randomness

# what stands there is known by its name and version
_LIBRARIES = (
    "site-packages",
    "dist-packages",
    sysconfig.get_path("stdlib") + os.sep,
    os.path.dirname(__file__) + os.sep,
)
_PACKAGE = __name__.partition(".")[0] + "."
# packages that others install, whose releases ask the same question
_KNOWN = ("numpy", "scipy", "numba", "jax", "jaxlib", "arviz", "pandas", "xarray", _PACKAGE[:-1])
_ORIGIN = "direct_url.json"  # of a package that no index has
_LARGEST = 2**22  # bytes of code of a package that is compared by its content
_COMPILED = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_MODULES = ("cmath", "math", "numba", "numpy")  # whose functions stay as they are
ADDRESS = r" at 0x[0-9a-fA-F]+"
_UNLIKE = count()
_MISSED, STATE = "not compared: ", "the state of "
_MOST_ENTRIES = 1_000_000  # read of what a function holds
_QUICK = {type(None), bool, int, float, complex, str, bytes}
PLAIN = (*_QUICK, np.generic)
_DERIVED = (
    *(int, float, complex, str, bytes, np.ndarray, partial),
    *(list, tuple, dict, set, frozenset, deque),
)
_RANDOM = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)
_C_DATA = ctypes.c_double.__mro__[-2]
# counting, logging and locking changes these, and every process has its own environment
_MOVING = (
    *(count, io.IOBase, logging.Logger, type(threading.Lock()), type(threading.RLock())),
    type(os.environ),
)
_CYTHON = "cython_function_or_method"  # each module has such a class of its own
_BARS = ("tqdm.", "rich.progress")  # of progress, which keep the time
# annotations are functions from 3.14 on
_OF_CLASSES = ("__dict__", "__weakref__", "_abc_impl", "__annotate__", "__annotate_func__")
# by which a class says what tells its objects apart, without what they keep for speed
_PICKLING = ("__getstate__", "__reduce__", "__reduce_ex__")


def signature(thing: object) -> str:
    """A name and a digest of code and data, to tell one function or object from another.

    What a function holds and names counts too: closures, defaults, bound objects, the contents
    of containers, tables and objects, and functions and constants of modules that aren't
    installed, or were from a folder; other installed packages count by their files, large ones
    and those that this one rests on by the names used. What code looks up by names that stand
    in it counts as well: ``getattr(module, "k")``, ``globals()["k"]``. Docstrings don't, nor
    does what the function itself changes (a counter, a log, a cache), see `standing`. What
    can't be read (files, other programs, the environment, frames, iterators, what comes after a
    million entries) is named behind the digest, see `not_compared`, and so are random
    generators, whose state doesn't count.

    Examples
    --------
    >>> a, b = (lambda x: x + 1), (lambda x: x + 2)
    >>> signature(a) == signature(a), signature(a) == signature(b)
    (True, False)
    """
    if not isinstance(thing, FunctionType):
        return _signature(thing)
    if thing.__closure__ is None and (thing.__module__ or "").startswith(_PACKAGE):
        return _own(thing)
    read = _read(thing, set())
    return _signature(thing) if read is None else _same(thing, read)


@lru_cache(maxsize=256)
def _own(function: FunctionType) -> str:
    """The signature of a function of the package, which nothing changes."""
    return _signature(function)


@lru_cache(maxsize=4096)
def _same(function: FunctionType, read: tuple[Any, ...]) -> str:
    """The signature of a function while what it reads stays as it is."""
    return _signature(function)


def _signature(thing: object) -> str:
    named = thing.func if isinstance(thing, partial) else thing
    # an object's own __getattr__ may give or raise anything
    of = type(named) if hasattr(type(named), "__getattr__") else named
    name = getattr(of, "__qualname__", type(named).__name__)
    first = _Reader()
    first.read(thing, name)
    running = code_of.running(first.functions)
    reader = _Reader(code_of.changes(running))
    found = reader.read(thing, name).hex()[:12]
    for function, _ in running:
        reader.miss_outside(function)
    missed = f" ({_MISSED}{', '.join(sorted(reader.missed))})" if reader.missed else ""
    return f"{getattr(named, '__module__', '')}.{name} {found}{missed}"


def identity(*things: object) -> str:
    """A key to find again what was compiled from things: as long as their `signature` stays.

    A new one each time where something can't be compared, but for states of generators: it may
    have changed.

    Examples
    --------
    >>> scale = [1.0]
    >>> density = lambda z: -scale[0] * z**2
    >>> before = identity(density)
    >>> scale[0] = 2.0
    >>> identity(density) == before
    False
    """
    return " ".join(map(_identity_of, things))


def _identity_of(thing: object) -> str:
    function = isinstance(thing, FunctionType) or _jitted(thing)
    read = _read(thing, set()) if function else None
    return _identity(thing) if read is None else _kept(thing, read)


def _identity(thing: object) -> str:
    # code that was compiled keeps what it read, be it changed by itself
    found = f"{signature(thing)} {standing(thing)}"
    unread = [name for name in not_compared(found) if not name.startswith(STATE)]
    return f"{found} {next(_UNLIKE)}" if unread else found


@lru_cache(maxsize=4096)
def _kept(function: Any, read: tuple[Any, ...]) -> str:
    """The identity of a function while what it reads stays as it is."""
    return _identity(function)


def standing(thing: object) -> str:
    """Digest of a function or an object of the user's, with what it changes itself.

    Empty for what is of a library, which keeps more than the user knows.
    """
    plain = isinstance(thing, FunctionType | MethodType | partial)
    if not plain and installed_class(type(thing)):
        return ""
    return _Reader(frozenset(), whole=True).read(thing, "").hex()[:12]


def known_by(function: Any) -> Any:
    """What a compiled function is found again by: a user's by all that its result depends on."""
    if (function.__module__ or "").startswith(_PACKAGE):
        return function
    return identity(function)


def _read(function: Any, seen: set[Any]) -> tuple[Any, ...] | None:
    """Code, and the numbers and functions that it reads; None where there is anything else."""
    own = getattr(function, "py_func", function)
    code, known = own.__code__, own.__globals__
    if not _plain_code(code) or vars(own) or _content(code.co_filename):
        return None
    held = {f"default {k}": value for k, value in enumerate(own.__defaults__ or ())}
    held |= {n: known[n] for n in code.co_names if n in known} | code_of.closure(own)
    held |= {f"default {name}": value for name, value in (own.__kwdefaults__ or {}).items()}
    found: list[Any] = [code]
    for name, value in held.items():
        if type(value) in _QUICK or isinstance(value, np.generic):
            found.append((name, type(value), repr(value)))
        elif isinstance(value, ModuleType) and value.__name__ in _MODULES:
            taken = [vars(value).get(part) for part in sorted(code_of.attributes(code))]
            if not all(isinstance(part, Hashable) for part in taken):
                return None
            found.append((name, value, *taken))
        elif isinstance(value, FunctionType) or _jitted(value):
            if value not in seen:
                inner = _read(value, seen | {value})
                if inner is None:
                    return None
                found.append((name, value, inner))
        else:
            return None
    return tuple(found)


def _jitted(value: object) -> bool:
    # a module may have any attribute that is asked for
    python = None if isinstance(value, ModuleType) else getattr(value, "py_func", None)
    return isinstance(python, FunctionType)


@lru_cache(maxsize=4096)
def _plain_code(code: CodeType) -> bool:
    """Whether code holds no other code, and reads nothing but by names that stand in it."""
    inner = any(isinstance(constant, CodeType) for constant in code.co_consts)
    imports = any(step.opname == "IMPORT_NAME" for step in code_of.instructions(code))
    errors = "FloatingPointError" in code.co_names  # by settings of NumPy
    return not (inner or imports or errors or code_of.looks_up(code))


def reached(function: FunctionType) -> list[Any]:
    """What a function's closure holds, and the globals that its code names."""
    known = function.__globals__
    named = [known[name] for name in function.__code__.co_names if name in known]
    return [*code_of.closure(function).values(), *named]


def not_compared(text: str) -> list[str]:
    """What signatures in a text say that they couldn't read."""
    parts = re.findall(rf"\({_MISSED}([^()]*)\)", text)
    return sorted({name for part in parts for name in part.split(", ")})


class _Reader:
    """Digests of things, by all that tells them apart but what is ``changed`` by themselves."""

    def __init__(
        self, changed: frozenset[code_of.Change] | None = None, whole: bool = False
    ) -> None:
        self.whole = whole
        self.changed = changed or frozenset()
        self.counts = changed is None  # the first of two readings, for what there is
        self.left = _MOST_ENTRIES
        self.seen: dict[int, tuple[object, bytes]] = {}
        self.functions: list[code_of.Method] = []
        self.methods: set[int] = set()
        self.entered: set[int] = set()  # modules, while they are read
        self.missed: set[str] = set()
        self.library = False  # inside one's object, whose generator serves its own draws

    def read(self, thing: Any, name: str) -> bytes:
        """Digest of a thing, met under a name."""
        if type(thing) in _QUICK or isinstance(thing, np.generic):
            return f"{thing!r};".encode()
        if id(thing) in self.seen:
            return self.seen[id(thing)][1]
        kind = f"{type(thing).__module__}.{type(thing).__qualname__}".encode()
        self.seen[id(thing)] = thing, kind
        self.left -= 50
        if self.left < 0 or (hasattr(type(thing), "__next__") and not _moving(thing)):
            self.miss(name)
        elif isinstance(thing, _RANDOM):
            if not self.library:
                self.miss(STATE + name)
        elif (id(thing), None) not in self.changed and not _moving(thing):
            outside = self.library
            try:
                found = hashlib.sha256(kind)
                for part in self._parts(thing, name):
                    found.update(part if isinstance(part, bytes) else self.read(part, name))
                self.seen[id(thing)] = thing, found.digest()
            except RecursionError:
                self.miss(name)
            self.library = outside
        return self.seen[id(thing)][1]

    def miss(self, name: str) -> None:
        """Take down what can't be compared."""
        self.missed.add(re.sub(r"[(),]", " ", name).strip())

    def miss_outside(self, function: FunctionType) -> None:
        """Take down what a function reads that can't be found from its code."""
        if _installed(function.__code__.co_filename):
            return
        for read in code_of.outside(function):
            self.miss(f"what {function.__name__} reads by {read}")
        words, computed = code_of.words(function), None in code_of.imported(function)
        for space, made_up in code_of.looked_in(function):
            if not (isinstance(space, ModuleType) and _installed_module(space)):
                there = vars(space) if isinstance(space, ModuleType) else space
                computed |= made_up or words.isdisjoint(there)
        if computed:
            self.miss(f"names that {function.__name__} looks up")

    def _parts(self, thing: Any, name: str) -> Iterator[Any]:
        kind = type(thing)
        if kind not in _DERIVED and isinstance(thing, _DERIVED) and not installed_class(kind):
            # the user's own list, number or array: what it has of its own comes first
            yield from self._object(thing, name)
        if isinstance(thing, PLAIN):
            yield f"{thing!r};".encode()
        elif isinstance(thing, np.ndarray) and not thing.dtype.hasobject:
            yield f"{thing.dtype}{thing.shape}".encode()
            if not self.counts:
                yield np.ascontiguousarray(thing).tobytes()
            if isinstance(thing, np.ma.MaskedArray):
                yield np.ma.getmaskarray(thing).tobytes()
                yield np.asarray(thing.fill_value)
        elif isinstance(thing, np.ndarray):
            yield f"{thing.shape}".encode()
            yield thing.tolist()
        elif isinstance(thing, Mapping):
            kept = [pair for pair in thing.items() if not self._changed(thing, pair[0])]
            yield from self._items([key for key, _ in kept], name)
            if isinstance(thing, defaultdict):
                yield thing.default_factory
            for key, value in kept:
                yield self.read(value, f"{name}[{key!r}]" if isinstance(key, str | int) else name)
        elif isinstance(thing, list | tuple | deque):
            yield from self._items(thing, name)
        elif isinstance(thing, set | frozenset):
            yield from sorted(self._items(list(thing), name))
        elif isinstance(thing, CodeType):
            arguments = thing.co_varnames[: thing.co_argcount + thing.co_kwonlyargcount]
            names = " ".join((*arguments, ":", *thing.co_names))
            if "FloatingPointError" in thing.co_names:
                yield sorted(np.geterr().items())
            steps, constants = code_of.content(thing)
            yield steps + f"{thing.co_argcount} {thing.co_flags & 0xC} {names}".encode()
            yield constants
        elif isinstance(thing, partial):
            yield (thing.func, thing.args, sorted(thing.keywords.items()))
        elif isinstance(thing, MethodType):
            # the one that runs, whatever it belongs to
            if isinstance(thing.__func__, FunctionType):
                self.functions.append((thing.__func__, None))
            yield (thing.__func__, thing.__self__)
        elif isinstance(thing, FunctionType):
            self.library = False
            yield from self._function(thing, name)
        elif isinstance(thing, ModuleType):
            yield from self._module(thing, None)
        elif isinstance(thing, type):
            yield from self._class(thing)
        elif isinstance(thing, BuiltinMethodType):
            yield f"{thing.__module__}.{thing.__qualname__}".encode()
            module = isinstance(thing.__self__, ModuleType)
            yield _content(getattr(thing.__self__, "__file__", None)) if module else thing.__self__
        elif type(thing).__qualname__ == _CYTHON:
            yield f"{thing.__module__}.{thing.__qualname__}".encode()
            yield _content(getattr(sys.modules.get(thing.__module__), "__file__", None))
            if "<locals>" in thing.__qualname__:  # what it closes over can't be read
                self.miss(name)
        elif installed_class(type(thing)) and (python := unwrapped(thing)) is not thing:
            yield python
        elif isinstance(thing, np.ufunc):
            # NumPy makes them of functions as well, and doesn't say of which
            places = (np, sys.modules.get("scipy.special"))
            if not any(getattr(place, thing.__name__, None) is thing for place in places):
                self.miss(f"{name} of type ufunc")
            yield thing.__name__.encode()
        elif isinstance(thing, np.random.SeedSequence):
            yield sorted(randomness.describe(thing).items())
        else:
            self.library |= _of_library(thing)
            yield from self._object(thing, name)

    def _changed(self, thing: object, key: object) -> bool:
        return isinstance(key, str | int) and (id(thing), key) in self.changed

    def _items(self, items: Collection[Any], name: str) -> Iterator[bytes]:
        self.left -= len(items)
        yield f"{len(items)};".encode()
        if self.left < 0:
            self.miss(name)
        elif all(type(item) in _QUICK for item in items):
            yield from ([repr(item).encode() + b";" for item in items])
        else:
            yield from (self.read(item, name) for item in items if self.left >= 0)

    def _function(self, function: FunctionType, name: str) -> Iterator[Any]:
        if id(function) not in self.methods:
            self.functions.append((function, None))
        code = function.__code__
        yield (code, function.__defaults__, function.__kwdefaults__)
        yield _content(code.co_filename)
        held = code_of.closure(function)
        attributes = {k: v for k, v in vars(function).items() if k != "__wrapped__"}
        steps = code_of.instructions(code)
        storing = () if self.whole else ("STORE_GLOBAL", "STORE_DEREF")
        assigned = {s.argval for s in steps if s.opname in storing}
        words: set[str] = set()
        if not _installed(code.co_filename):
            known, words = function.__globals__, code_of.words(function)
            given = {n for n in words & known.keys() if not self._changed(known, n)}
            held |= {n: known[n] for n in (code_of.names_in(code) & known.keys()) | given}
            for imported in code_of.imported(function):
                if imported and (module := _imported(function, imported)):
                    held[imported] = module
        passed_on = code_of.passed_on(code)
        for inner in sorted(held.keys() - assigned):
            yield inner.encode()
            value = held[inner]
            if isinstance(value, ModuleType) and (
                inner not in passed_on or _installed_module(value)
            ):
                yield from self._module(value, code_of.attributes(code) | words)
            else:
                yield self.read(value, inner)
        for inner, value in attributes.items():
            if not self._changed(function, inner):
                yield inner.encode()
                yield self.read(value, f"{name}.{inner}")

    def _module(self, module: ModuleType, names: frozenset[str] | None) -> Iterator[Any]:
        """What code names of a module, or all; of an installed one, what a user may have set."""
        yield module.__name__.encode()
        yield _content(getattr(module, "__file__", None))
        installed, there = _installed_module(module), vars(module)
        if id(module) in self.entered or (installed and names is None):
            return
        self.entered.add(id(module))
        named = names or frozenset(name for name in there if name[:2] != "__")
        for name in sorted((named | {"__getattr__"}) & there.keys()):
            value = there[name]
            if self._changed(module, name) or self._changed(there, name):
                continue
            if names is None and isinstance(value, FunctionType):
                # runs if something names it
                self.methods.add(id(value))
                self.functions.append((value, module))
            own = type(value) in _QUICK or isinstance(value, type) or _own_function(value)
            own |= type(value) in (dict, list, set, np.ndarray) and _of_package(module)
            if not installed or own:
                yield name.encode()
                if not isinstance(value, ModuleType) or names is None:
                    yield self.read(value, f"{module.__name__}.{name}")
            if isinstance(value, ModuleType) and names is not None:
                yield from self._module(value, names)
        self.entered.discard(id(module))

    def _class(self, kind: type) -> Iterator[Any]:
        yield f"{kind.__module__}.{kind.__qualname__}".encode()
        # reading an attribute of a class of an enum adds to it
        held = list(vars(kind).items())
        if installed_class(kind):
            yield _content(getattr(sys.modules[kind.__module__], "__file__", None))
            held = [(name, _set_by_user(name, value)) for name, value in held]
            held = [pair for pair in held if pair[1] is not None]
        else:
            yield (type(kind), kind.__bases__)
        for name, value in held:
            if isinstance(value, staticmethod | classmethod):
                value = value.__func__
            elif isinstance(value, cached_property):
                value = value.func
            elif isinstance(value, singledispatchmethod):
                value = value.dispatcher
            runs = callable(value) or hasattr(type(value), "__get__")
            if name in _OF_CLASSES or (name[:2] == "__" and not runs):
                continue
            if not self._changed(kind, name):
                if isinstance(value, FunctionType):
                    self.methods.add(id(value))
                    self.functions.append((value, kind))
                yield name.encode()
                inner = _functions(value) if isinstance(value, property) else value
                yield self.read(inner, f"{kind.__name__}.{name}")

    def _object(self, thing: Any, name: str) -> Iterator[Any]:
        yield type(thing)
        if installed_class(type(thing)) and hasattr(thing, "__array__"):
            with suppress(Exception):
                yield _columns(thing)
                return
        if type(thing).__module__.startswith("openturns"):
            # what it would be pickled as numbers its parts anew each time
            text = repr(thing)
            if "PythonEvaluation" in text:
                self.miss(f"{name} of type {type(thing).__qualname__}")
            yield re.sub(ADDRESS, "", text)
            return
        for base in type(thing).__mro__:
            own = [value for key, value in vars(base).items() if key not in _OF_CLASSES]
            for method in (part for value in own for part in _functions(value)):
                if isinstance(method, FunctionType) and not _installed(method.__code__.co_filename):
                    self.functions.append((method, thing))
        state = object.__getstate__(thing)
        altered = [getattr(type(thing), k) is not getattr(object, k) for k in _PICKLING]
        if (_of_library(thing) and (state is None or any(altered))) or isinstance(thing, _C_DATA):
            try:
                reduce = copyreg.dispatch_table.get(type(thing))
                reduced: Any = reduce(thing) if reduce else thing.__reduce_ex__(4)
                parts = (reduced,) if isinstance(reduced, str) else reduced[1:]
                yield [list(part) if hasattr(part, "__next__") else part for part in parts]
            except Exception:  # whatever a library's own __reduce__ raises: it can't be pickled
                self.miss(f"{name} of type {type(thing).__qualname__}")
            return
        for part in state if isinstance(state, tuple) else (state,):
            for key, value in (part or {}).items():
                cached = isinstance(getattr(type(thing), key, None), cached_property)
                if not (cached or self._changed(thing, key)):
                    yield key.encode()
                    yield self.read(value, f"{name}.{key}")


def _set_by_user(name: str, value: Any) -> Any:
    """What may stand in a library's class by a user's doing; else None."""
    value = getattr(value, "_accessor", value)  # of pandas and xarray
    own = isinstance(value, type) and not installed_class(value)
    plain = type(value) in _QUICK and name[0] != "_"
    return value if own or plain or _own_function(value) else None


def _moving(thing: object) -> bool:
    # functions of Cython have a class whose module is a descriptor
    return isinstance(thing, _MOVING) or str(type(thing).__module__).startswith(_BARS)


def _functions(value: object) -> tuple[object, ...]:
    """What runs where an attribute of a class is read or set."""
    return (value.fget, value.fset) if isinstance(value, property) else (value,)


def _columns(thing: Any) -> list[Any]:
    """Parts of what NumPy can read: a table by its columns, their names, and its index."""
    index, columns = (getattr(thing, name, None) for name in ("index", "columns"))
    rows: list[Any] = _labelled(index) if hasattr(index, "__array__") else []
    rows += [attributes] if (attributes := getattr(thing, "attrs", None)) else []
    if columns is None:
        beside = getattr(thing, "coords", {})  # of xarray
        named = [(str(name), np.asarray(values)) for name, values in beside.items()]
        return [*rows, *named, *_labelled(thing)]
    return [*rows, *_labelled(columns), *(_labelled(thing[column]) for column in columns)]


def _labelled(values: Any) -> list[Any]:
    """Numbers or labels of one kind, with their names and what NumPy can't say of the kind."""
    kind = getattr(values, "dtype", None)
    names = [*(getattr(values, "names", None) or [getattr(values, "name", None)])]
    return [np.asarray(values), names, None if isinstance(kind, np.dtype) else kind]


def _installed(path: str) -> bool:
    place = path.startswith("<frozen") or any(place in path for place in _LIBRARIES)
    return place and not path.startswith(_from_folders(tuple(sys.path)))


@lru_cache(maxsize=8)
def _from_folders(places: tuple[str, ...]) -> tuple[str, ...]:
    """Where packages stand that were installed from folders, as their users' own are."""
    found = []
    for said in (file for place in places for file in Path(place).glob(f"*.dist-info/{_ORIGIN}")):
        with suppress(Exception):  # a folder half installed or written by another tool
            rows = (said.parent / "RECORD").read_text().splitlines()
            tops = {re.split("[/,]", row)[0] for row in rows} - {".."}
            if "dir_info" in json.loads(said.read_text()) and tops.isdisjoint(_KNOWN):
                here = [said.parents[1] / top for top in sorted(tops)]
                found += [f"{top}{os.sep if top.is_dir() else ''}" for top in here]
    return tuple(found)


def _installed_module(module: ModuleType) -> bool:
    path = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    return _installed(path) if path else getattr(module, "__spec__", None) is not None


def _of_package(module: ModuleType) -> bool:
    return any(place in (getattr(module, "__file__", None) or "") for place in _LIBRARIES[:2])


def _own_function(value: object) -> bool:
    """Whether it is a function of the user's, wherever it was put."""
    return isinstance(value, FunctionType) and not _installed(value.__code__.co_filename)


def _content(path: str | None) -> bytes:
    """Digest of the code of an installed package, or of a compiled module of the user's.

    Empty for what is known by its name. A package of the user's may be installed like any other.
    """
    if path and not _installed(path):
        compiled = path.endswith(_COMPILED)
        return _digest(((Path(path), os.stat(path).st_mtime_ns),)) if compiled else b""
    for place in _LIBRARIES[:2]:
        before, inside, after = (path or "").partition(place + os.sep)
        top = after.split(os.sep)[0].split(".")[0]
        if inside and top and top not in _KNOWN:
            files = _files(Path(before + inside + top))
            return _digest(tuple((file, file.stat().st_mtime_ns) for file in files))
    return b""


@lru_cache(maxsize=256)
def _files(home: Path) -> list[Path]:
    """Code of an installed package, or of a module without its suffix; none of a large one."""
    there = [*home.rglob("*.*")] if home.is_dir() else [*home.parent.glob(f"{home.name}.*")]
    left, found = _LARGEST, []
    for suffixes in ((".py",), _COMPILED):
        files = sorted(file for file in there if file.name.endswith(suffixes))
        left -= sum(file.stat().st_size for file in files)
        found += files if left >= 0 else []
    return found


@lru_cache(maxsize=256)
def _digest(files: tuple[tuple[Path, int], ...]) -> bytes:
    """Digest of files, which is as before while none was written."""
    found = hashlib.sha256()
    for file, _ in files:
        found.update(file.name.encode() + file.read_bytes())
    return found.digest()


def installed_class(kind: type) -> bool:
    """Whether a class is of a library, known by its name and version."""
    module = sys.modules.get(kind.__module__)
    return module is not None and _installed_module(module)


def _of_library(thing: object) -> bool:
    """Whether an object is of a library's class, which has more than the user's attributes."""
    return installed_class(type(thing)) and not isinstance(thing, SimpleNamespace)


def _imported(function: FunctionType, name: str) -> ModuleType | None:
    """The module that a function imports, unless it is an installed one."""
    for whole in (name, f"{function.__globals__.get('__package__') or ''}.{name}"):
        with suppress(Exception):
            found = sys.modules.get(whole)
            spec = importlib.util.find_spec(whole) if found is None else None
            if spec is not None and not _installed(spec.origin or "<frozen"):
                found = importlib.import_module(whole)
            if found is not None:
                return None if _installed_module(found) else found
    return None


def unwrapped(function: Any) -> Any:
    """What numba or a decorator made compiled or wrapped."""
    return inspect.unwrap(getattr(function, "py_func", function))
