"""Machine code kept on disk by what it was compiled from, so that no process waits for it twice.

Numba keeps code by the file that a function stands in: it forgets loops around a user's functions,
and misses edits in other files. Here a file's name is a digest of all that the code depends on:
what is edited is compiled anew, what is edited back is found again. Where anything is not
understood, or can't be written, code stays in memory.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import math
import os
import pickle
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, cast

import numba
import numpy as np

from ..execution.progress import watched
from ..storage import write
from .model import names_in

try:
    from numba.core import registry
    from numba.core.bytecode import FunctionIdentity
    from numba.core.compiler import CompileResult
    from numba.core.extending import _Intrinsic
    from numba.core.registry import CPUDispatcher
    from numba.core.serialize import dumps
    from numba.misc.appdirs import AppDirs

    _KEEPS = isinstance(FunctionIdentity._unique_ids, itertools.count)
except (ImportError, AttributeError):  # another numba
    _KEEPS = False

PATIENCE = 2.0  # seconds after which somebody who looks on is told what is compiled
PAUSE = 1.0  # seconds without a compilation, after which the next is another wait
_DAYS = 90  # for which a file is kept after its last use
_BYTES = 200_000_000  # of all files
_KNOWN = ("builtins", "cmath", "math", "numba", "numpy")  # by name and version


_waited, _ended = 0.0, -math.inf  # seconds since somebody was told, and when they ended


class _Unknown(Exception):
    """Something whose value can't be told from its code."""


@contextmanager
def compiling(what: str) -> Iterator[None]:
    """Say on standard error what is compiled, where that takes long and somebody looks on.

    What follows at once is the same wait. Python doesn't look for circles in the meantime: there
    are few, and a tenth of the time went into looking.
    """
    global _waited, _ended
    looks, began = gc.isenabled(), time.monotonic()
    if began - _ended > PAUSE:
        _waited = 0.0
    timer = threading.Timer(max(0.0, PATIENCE - _waited), _say, [what])
    timer.daemon = True
    if watched():
        timer.start()
    gc.disable()
    try:
        yield
    finally:
        timer.cancel()
        _ended = time.monotonic()
        _waited += _ended - began
        if looks:
            gc.enable()


def _say(what: str) -> None:
    global _waited
    _waited = 0.0
    line = f"smcweights: compiling {what}, which later runs find on disk"
    print(line, file=sys.stderr, flush=True)


def compile_kept(function: Callable[..., Any], signature: Any, stamp: str | None) -> Any:
    """A function compiled for one signature, from the disk where its stamp is known there."""
    kernel: Any = numba.njit(nogil=True, error_model="numpy")(function)
    if _KEEPS:
        # numba finds machine code by names that it counts from 1 in every process: what comes
        # from the disk would take the place of a function of the same name
        FunctionIdentity._unique_ids = itertools.count(secrets.randbits(60))
        if stamp is not None:
            kernel._cache = _Shelf(stamp)
    with compiling(f"the model's functions into {function.__qualname__.split('.')[0]}"):
        kernel.compile(signature)
    kernel.disable_compile()
    return quickly_found(kernel, signature)


class _Found:
    """A compilation, or its library, whose addresses are looked up once."""

    library: Any

    def __init__(self, own: Any) -> None:
        self._own, self._addresses = own, dict[str, int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def get_pointer_to_function(self, name: str) -> int:
        if name not in self._addresses:
            self._addresses[name] = self._own.get_pointer_to_function(name)
        return self._addresses[name]


def quickly_found(kernel: Any, signature: Any) -> Any:
    """A kernel of one signature whose address numba finds at once when it is an argument.

    It asks for the compilation at each call of what takes the kernel, and that for the address:
    a tenth of a millisecond for each, as long as a small filter takes for everything else.
    """
    with suppress(AttributeError, KeyError):
        own = kernel.get_compile_result(signature)
        if not isinstance(own, _Found):
            found = _Found(own)
            found.library = _Found(own.library)
            kernel.get_compile_result = lambda _: found
    return kernel


def stamp(*things: Any) -> str | None:
    """Digest of all that compiled code depends on; None where that can't be told."""
    if not _KEEPS:
        return None
    total = hashlib.sha256(f"{numba.__version__} {np.__version__} {sys.version};".encode())
    try:
        for thing in things:
            if isinstance(thing, FunctionType):
                _add_function(total, thing, set())
            else:
                _add(total, thing, set(), set())
    except _Unknown:
        return None
    return total.hexdigest()


def _add_function(total: Any, function: FunctionType, seen: set[int]) -> None:
    """Code, defaults, closure, and the globals that it reads."""
    if id(function) in seen:
        total.update(b"again;")
        return
    seen.add(id(function))
    code = function.__code__
    names = names_in(code)
    read = sorted(names & set(function.__globals__))
    cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    values = tuple(function.__globals__[name] for name in read)
    options = tuple(sorted((function.__kwdefaults__ or {}).items()))
    parts = (code, function.__defaults__, options, cells, tuple(read), values)
    _add(total, parts, seen, names)


def _add(total: Any, thing: Any, seen: set[int], names: set[str]) -> None:
    """One thing that code reads; `names` are those of the attributes that it may take of it."""
    home = str(getattr(thing, "__module__", None) or "").split(".")[0]
    if isinstance(thing, CodeType):
        parts = (
            thing.co_code,
            thing.co_flags,
            thing.co_argcount,
            thing.co_kwonlyargcount,
            thing.co_names,
            thing.co_varnames,
            thing.co_freevars,
            thing.co_cellvars,
            thing.co_consts,
        )
        _add(total, parts, seen, names)
    elif type(thing) in (tuple, frozenset):
        total.update(f"{type(thing).__name__} {len(thing)};".encode())
        for part in thing if type(thing) is tuple else sorted(thing, key=repr):
            _add(total, part, seen, names)
    elif type(thing) is np.ndarray and not thing.dtype.hasobject:
        order = (thing.flags.c_contiguous, thing.flags.f_contiguous)
        total.update(f"array {thing.dtype.str} {thing.shape} {order};".encode())
        total.update(np.ascontiguousarray(thing).data)
    elif isinstance(thing, np.generic) and not thing.dtype.hasobject:
        total.update(f"{thing.dtype.str} ".encode() + thing.tobytes())
    elif (
        thing is None or thing is Ellipsis or type(thing) in (bool, int, float, complex, str, bytes)
    ):
        total.update(f"{type(thing).__name__} {thing!r};".encode())
    elif isinstance(thing, CPUDispatcher):
        thing = cast(Any, thing)
        fixed = [] if thing._can_compile else sorted(map(str, thing.nopython_signatures))
        options = sorted((name, repr(value)) for name, value in thing.targetoptions.items())
        total.update(f"compiled {options} {fixed};".encode())
        _add_function(total, thing.py_func, seen)
    elif isinstance(thing, _Intrinsic):
        _add_function(total, thing._defn, seen)
    elif isinstance(thing, numba.types.Type):
        total.update(f"type {thing};".encode())
    elif isinstance(thing, ModuleType):
        total.update(f"module {thing.__name__};".encode())
        if thing.__name__.split(".")[0] not in _KNOWN:
            for name in sorted(name for name in names if hasattr(thing, name)):
                _add(total, (name, getattr(thing, name)), seen, names)
    elif home in _KNOWN or getattr(np, getattr(thing, "__name__", ""), None) is thing:
        if not hasattr(thing, "__name__"):
            raise _Unknown
        total.update(f"{home}.{getattr(thing, '__qualname__', thing.__name__)};".encode())
    elif isinstance(thing, FunctionType) and home == "smcweights":
        _add_function(total, thing, seen)
    else:
        # a plain function of the user's among them: what numba takes for it may stand elsewhere
        raise _Unknown


def _machine() -> str:
    """The processor that code is made for."""
    return str(registry.cpu_target.target_context.codegen().magic_tuple())


def _path(*told: Any) -> Path:
    return Path(_folder(), f"{hashlib.sha256(repr(told).encode()).hexdigest()}.code")


def _kept(path: Path, read: Callable[[Any], Any]) -> Any:
    """What a file holds, None where there is none that can be read."""
    try:
        found = read(pickle.loads(path.read_bytes()))
        os.utime(path)
    except Exception:
        # nothing there, or broken: it is compiled
        return None
    return found


def _keep(path: Path, body: Callable[[], bytes]) -> None:
    """Write it where that is possible."""
    with suppress(Exception):
        path.parent.mkdir(parents=True, exist_ok=True)
        content = body()
        write(path, lambda name: Path(name).write_bytes(content))
        _prune(str(path.parent))


class _Shelf:
    """What a dispatcher of numba's asks for compiled code, and gives it to."""

    def __init__(self, stamp: str) -> None:
        self.stamp = stamp
        self.cache_path = str(_folder())

    def load_overload(self, _: Any, target: Any) -> Any:
        """The code, None where there is none."""
        target.refresh()
        path = _path(self.stamp, _machine())
        return _kept(path, lambda parts: CompileResult._rebuild(target, *parts))

    def save_overload(self, _: Any, code: Any) -> None:
        """Keep it where that is possible."""
        if not (code.lifted or code.library.has_dynamic_globals):
            _keep(_path(self.stamp, _machine()), lambda: dumps(code._reduce()))


class Traced:
    """A function of arrays that JAX compiles for each of their shapes, and the next process finds.

    A stamp says what is traced; without one nothing is kept. JAX keeps code on disk, too, but for a
    whole process: the user's functions with ours, or neither.
    """

    def __init__(self, function: Callable[..., Any], what: str, stamp: str | None) -> None:
        import jax

        self._jitted, self._what, self._stamp = jax.jit(function), what, stamp
        self._compiled: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        """Of NumPy's arrays, and plain numbers."""
        key = tuple([(np.shape(a), str(getattr(a, "dtype", type(a)))) for a in arguments])
        if key not in self._compiled:
            with self._lock, compiling(self._what):
                if key not in self._compiled:
                    self._compiled[key] = self._found(key, arguments)
        return self._compiled[key](*arguments)

    def _found(self, key: Any, arguments: tuple[Any, ...]) -> Any:
        import jax
        import jaxlib
        from jax.experimental import serialize_executable

        if self._stamp is None or jax.default_backend() != "cpu":
            return self._jitted.lower(*arguments).compile()
        settings = (sorted(jax.config.values.items()), os.environ.get("XLA_FLAGS"))
        versions = (jax.__version__, jaxlib.__version__)
        path = _path(self._stamp, self._what, key, settings, versions, _machine())
        found = _kept(path, lambda parts: serialize_executable.deserialize_and_load(*parts))
        if found is None:
            lowered = self._jitted.lower(*arguments)
            found = lowered.compile()
            # calls out of it, as of LAPACK, lead nowhere in a process that has not made them ready
            if "custom_call" not in lowered.as_text():
                _keep(path, lambda: pickle.dumps(serialize_executable.serialize(found)))
        return found


def _folder() -> Path:
    """A folder beside those in which numba keeps code."""
    config: Any = numba.config
    base = config.CACHE_DIR or AppDirs(appname="numba", appauthor=False).user_cache_dir
    return Path(base, "smcweights")


def _prune(folder: str) -> None:
    """Take files away that were not used for long, and the oldest where there are too many."""
    files = sorted(Path(folder).glob("*.code"), key=lambda path: -path.stat().st_mtime)
    size, oldest = 0, time.time() - 86_400 * _DAYS
    for path in files:
        stat = path.stat()
        size += stat.st_size
        if stat.st_mtime < oldest or size > _BYTES:
            path.unlink(missing_ok=True)
