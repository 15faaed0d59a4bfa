"""What functions name, change and read from outside, as their instructions tell.

Nothing is run: names are followed through the globals and closures that a function has.
"""

from __future__ import annotations

import dis
import io
import os
import re
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from itertools import chain, pairwise
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

Change = tuple[int, object]  # a thing's id, and an attribute or key of it, or None for all
Method = tuple[FunctionType, object]  # a function, and what it is a part of, or None

_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM")
_STORING = ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_ATTR", "DELETE_ATTR")
_GROWING = (
    *("append", "appendleft", "extend", "insert", "add", "update"),
    *("pop", "popleft", "popitem", "clear", "remove", "discard"),
)
_IMPORTING = ("import_module", "__import__", "modules")
_SPACES = ("__dict__", "__globals__")
_BY_NAME = {"globals", "eval", "exec", "getattr", "vars", "attrgetter", *_SPACES, *_IMPORTING}
_IMPORTERS = (import_module, __import__)
_MAKING = ("BUILD_STRING", "FORMAT_", "BINARY_OP", "CALL")
_LOOKING = (getattr, setattr, vars, type, *_IMPORTERS)
_OF_TABLES = ("loc", "iloc", "at", "iat")  # by which parts of them are stored
MOST_CALLS = 3  # one inside the other, through which a thing is followed
# how those begin that read files, programs, settings and the environment, by module
_OUTSIDE = {
    # of a path, an archive, a class
    "methods": ("open", "glob", "iterdir", "rglob", "stat", "read_text", "read_bytes", "__subcl"),
    "asyncio": ("create_subprocess",),
    "bz2": ("open", "BZ2File"),
    "configparser": ("ConfigParser", "RawConfigParser"),
    "dbm": ("open",),
    "decimal": ("Decimal", "getcontext", "localcontext"),
    "fileinput": ("input", "FileInput"),
    "gc": ("get_objects",),
    "genericpath": ("getsize", "getmtime"),
    "glob": ("glob", "iglob"),
    "gzip": ("open", "GzipFile"),
    "h5py": ("File",),
    "http": ("HTTP",),
    "httpx": ("get", "post", "request", "Client"),
    "importlib": ("files", "open_", "read_", "entry_points", "version"),
    "inspect": ("currentframe", "getsource", "stack"),
    "io": ("open",),
    "joblib": ("load",),
    "linecache": ("getline",),
    "locale": ("localeconv", "getlocale", "atof", "atoi"),
    "lzma": ("open", "LZMAFile"),
    "netCDF4": ("Dataset",),
    "numpy": ("load", "genfromtxt", "fromfile", "memmap", "open_memmap", "geterr", "get_print"),
    "os": (
        *("environ", "getcwd", "getenv", "listdir", "open", "popen", "pread", "read", "scandir"),
        *("stat", "system", "walk", "getsize", "getmtime"),
    ),
    "pandas": ("read_", "ExcelFile", "HDFStore", "get_option", "options"),
    "pkgutil": ("get_data", "iter_modules", "walk_packages"),
    "polars": ("read_", "scan_"),
    "ntpath": ("getsize", "getmtime"),
    "posixpath": ("getsize", "getmtime"),
    "posix": ("getcwd", "listdir", "open", "pread", "read", "scandir", "stat", "system"),
    "pyarrow": ("memory_map", "read_"),
    "requests": ("get", "post", "request", "Session"),
    "runpy": ("run_",),
    "scipy": ("loadmat", "mmread", "netcdf_file", "readsav", "wavfile"),
    "shelve": ("open",),
    "socket": ("create_connection", "socket"),
    "sqlite3": ("connect",),
    "subprocess": ("run", "Popen", "call", "check_", "getoutput", "getstatusoutput"),
    "sys": ("argv", "stdin", "_getframe", "_current_frames"),
    "tarfile": ("open", "TarFile"),
    "torch": ("load",),
    "urllib": ("urlopen", "urlretrieve"),
    "xarray": ("open_", "load_"),
    "zipfile": ("ZipFile",),
}


@lru_cache(maxsize=4096)
def instructions(code: CodeType) -> tuple[dis.Instruction, ...]:
    """Instructions of a function and of those inside it, one for each name."""
    inner = (instructions(part) for part in code.co_consts if isinstance(part, CodeType))
    own = [s for s in dis.get_instructions(code) if s.opname not in ("PRECALL", "PUSH_NULL")]
    return (
        *chain.from_iterable(map(_parts, own, [*own[1:], own[-1]])),
        *chain.from_iterable(inner),
    )


def _parts(step: dis.Instruction, after: dis.Instruction) -> list[dis.Instruction]:
    """Two instructions for one that loads or stores two names, as there are from Python 3.13."""
    two = re.fullmatch("((?:LOAD|STORE)_FAST.*)_((?:LOAD|STORE)_FAST.*)", step.opname)
    if two is None:
        return [step]
    first, second = step.argval
    # the second name begins what follows
    line, column = _place(after)[0]
    place = dis.Positions(line, line, column, column + len(second))
    return [
        step._replace(opname=two[1], argval=first),
        step._replace(opname=two[2], argval=second, positions=place),
    ]


@lru_cache(maxsize=4096)
def content(code: CodeType) -> tuple[bytes, list[Any]]:
    """Instructions of code and the constants that they load, of which docstrings are none."""
    steps = [s for s in dis.get_instructions(code) if s.opname != "EXTENDED_ARG"]
    loaded = {s.arg: s.argval for s in steps if s.opcode in dis.hasconst}
    number = {at: f"constant {count}" for count, at in enumerate(loaded)}
    said = [(s.opcode, number[s.arg] if s.opcode in dis.hasconst else s.arg) for s in steps]
    return repr(said).encode() + code.co_exceptiontable, [*loaded.values()]


@lru_cache(maxsize=4096)
def names_in(code: CodeType) -> frozenset[str]:
    """Names of globals that code reads."""
    return frozenset(step.argval for step in instructions(code) if step.opname in _GLOBALS)


@lru_cache(maxsize=4096)
def attributes(code: CodeType) -> frozenset[str]:
    """Names that code takes from objects and modules."""
    return frozenset(step.argval for step in instructions(code) if step.opname in _ATTRIBUTES)


@lru_cache(maxsize=4096)
def passed_on(code: CodeType) -> frozenset[str]:
    """Names of what code loads to do more with it than to take, set or look up a part by name."""
    steps = instructions(code)
    around = zip((None, *steps), steps, (*steps[1:], None), strict=False)
    return frozenset(
        step.argval
        for before, step, after in around
        if _names(step)
        and not (after and (after.opname in _ATTRIBUTES or after.opname in _STORING))
        and not (before and before.argval in ("getattr", "hasattr", "setattr", "vars"))
    )


def known_to(function: FunctionType) -> Mapping[str, Any]:
    """Globals of a function, and what its closure holds."""
    held = closure(function)
    return function.__globals__ | held if held else function.__globals__


def closure(function: FunctionType) -> dict[str, Any]:
    """What a function's closure holds, by name."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if filled(cell)}


def filled(cell: CellType) -> bool:
    """Whether a closure's cell holds anything yet."""
    try:
        return cell.cell_contents is not None
    except ValueError:  # a name that was not assigned yet
        return False


@lru_cache(maxsize=4096)
def looks_up(code: CodeType) -> bool:
    """Whether code looks things up by their names."""
    return not _BY_NAME.isdisjoint(names_in(code) | attributes(code))


def words(function: FunctionType) -> set[str]:
    """Names in texts that stand in code, or in what it reads, if it looks things up by them."""
    code = function.__code__
    if not looks_up(code):
        return set()
    known = known_to(function)
    found: list[object] = [s.argval for s in instructions(code) if s.opname == "LOAD_CONST"]
    found += [known[name] for name in names_in(code) | {*code.co_freevars} if name in known]
    found += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for value in [*found]:
        if isinstance(value, tuple | list | frozenset) and len(value) <= 100:
            found += value
    text = (value for value in found if isinstance(value, str) and len(value) <= 1000)
    return {word for part in text for word in re.findall(r"[^\W\d]\w*", part)}


def imported(function: FunctionType) -> list[str | None]:
    """Modules that code imports, by statements or by texts; None for one by a text it computes."""
    known = known_to(function)
    found = [name or known.get(text) for name, text in _imports(function.__code__)]
    return [name if isinstance(name, str) else None for name in found]


@lru_cache(maxsize=4096)
def _imports(code: CodeType) -> tuple[tuple[str, str], ...]:
    """Modules by their names, or else by the names of texts that code reads."""
    found, steps = [], instructions(code)
    for step, after, then in zip(steps, steps[1:], steps[2:], strict=False):
        if step.opname == "IMPORT_NAME":
            found.append((step.argval, ""))
        elif step.argval in _IMPORTING and step.opname.startswith("LOAD_"):
            whole = then.opname.startswith("CALL") or _subscript(then)
            constant = after.opname == "LOAD_CONST" and isinstance(after.argval, str)
            text = after.argval if whole and isinstance(after.argval, str) else ""
            found.append((text, "") if constant else ("", text))
    return tuple(found)


def looked_in(function: FunctionType) -> Iterator[tuple[dict[str, Any] | ModuleType, bool]]:
    """Where code looks things up by their names, and whether it makes up the name.

    Its own globals, and modules that it names.
    """
    if not looks_up(function.__code__):
        return
    known, steps = known_to(function), instructions(function.__code__)
    for at, (step, after) in enumerate(pairwise(steps)):
        of: object = None
        if step.opname in _GLOBALS and step.argval == "globals":
            yield function.__globals__, _made_up(steps, at, 1)
        elif step.opname in _GLOBALS and step.argval in ("eval", "exec"):
            if _made_up(steps, at):
                yield function.__globals__, True
        elif step.opname in _GLOBALS and step.argval in ("getattr", "vars"):
            of, looking, calls = known.get(after.argval), at, step.argval == "vars"
        elif after.opname in _ATTRIBUTES and after.argval in _SPACES:
            first = next(s for s in steps if _place(s)[0] == _place(after)[0])
            of, looking, calls = known.get(first.argval), at + 1, False
            if after.argval == "__globals__":
                own = getattr(of, after.argval, None) is function.__globals__
                yield function.__globals__, not own or _made_up(steps, looking)
        if isinstance(of, ModuleType):
            made = _made_up(steps, looking, calls)
            if of is not sys:
                yield of, made
            elif made:
                # of one of its modules
                yield function.__globals__, True


def _made_up(steps: tuple[dis.Instruction, ...], at: int, calls: int = 0) -> bool:
    """Whether what is looked up by an instruction, after so many calls, has a name put together."""
    begin, left = _place(steps[at])[0], steps[at:]
    asking = [s for s in left if s.opname.startswith("CALL") or _subscript(s)]
    whole = [_place(s)[1] for s in asking if _place(s)[0] == begin][calls : calls + 1]
    making = [s for s in left if s.opname.startswith(_MAKING) and not _subscript(s)]
    return any(begin < _place(s)[0] and _place(s)[1] <= end for end in whole for s in making)


def running(functions: Iterable[Method]) -> list[Method]:
    """Functions that run when those are called that belong to nothing, and what they name."""
    left = [*functions]
    found: list[Method] = []
    names = {"__call__", "__getitem__", "__getattr__"}
    while True:
        more = [pair for pair in left if pair[1] is None or pair[0].__name__ in names]
        if not more:
            return found
        left = [pair for pair in left if pair[1] is not None and pair[0].__name__ not in names]
        found += more
        for function, _ in more:
            names |= attributes(function.__code__) | {function.__name__}


def changes(functions: Iterable[Method]) -> frozenset[Change]:
    """Entries and attributes that functions store, of what they hold, name or belong to."""
    found: set[Change] = set()
    for function, owner in functions:
        bound = owner is not None and not isinstance(owner, ModuleType)
        of = function.__code__.co_varnames[: function.__code__.co_argcount][:bound]
        found.update(_stores(function, dict.fromkeys(of, owner)))
    return frozenset(found)


def _stores(function: FunctionType, given: Mapping[str, Any], calls: int = 0) -> Iterator[Change]:
    """What a function stores into, with the things that some of its arguments are."""
    steps = instructions(function.__code__)
    stored = Counter(s.argval for s in steps if s.opname in ("STORE_FAST", "STORE_DEREF"))
    known: dict[str, Any] = {f.__name__: f for f in _LOOKING}
    known |= {"globals": function.__globals__} | dict(known_to(function))
    # an argument whose name stands for something else later on may be a copy
    known |= {name: thing for name, thing in given.items() if not stored[name]}
    for step, after in pairwise(steps):
        # a name that stands for one thing only
        if after.opname == "STORE_FAST" and stored[after.argval] == 1:
            if step.opname == "IMPORT_NAME":
                known[after.argval] = sys.modules.get(step.argval.partition(".")[0])
            elif step.opname in _GLOBALS and step.argval in known:
                known[after.argval] = known[step.argval]
    for last, step in enumerate(steps):
        called = known.get(step.argval) if _names(step) else None
        if isinstance(called, FunctionType) and calls < MOST_CALLS:
            handed = _handed(called, steps[last:], known)
            yield from _stores(called, handed, calls + 1) if handed else ()
        grows = step.opname in _ATTRIBUTES and step.argval in _GROWING
        sets = step.argval == "setattr" and step.opname in _GLOBALS
        if not (grows or sets or step.opname in _STORING):
            continue
        # the target's text begins with a name, and what is in it was loaded before
        begin, end = _place(step)
        target = [s for s in steps[:last] if begin <= _place(s)[0] and _place(s)[1] < end]
        if sets:
            target, begin = [*steps[last : last + 3]], _place(step)[0]
        first = next(
            (
                i
                for i, s in reversed([*enumerate(target)])
                if _place(s)[0] == begin and _names(s) and s.argval in known
            ),
            None,
        )
        if first is None:
            continue
        with suppress(Exception):
            thing, key = _followed(target[first:], known)
            if sets or (step.opname.endswith("_ATTR") and not grows):
                yield id(thing), key if sets else step.argval
            elif not grows or isinstance(thing, list | dict | set | deque):
                yield id(thing), key if isinstance(thing, Mapping) and not grows else None


def _handed(
    called: FunctionType, steps: tuple[dis.Instruction, ...], known: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of a function, loaded first, that are handed to it by their names alone."""
    begin = _place(steps[0])[0]
    calls = (i for i, s in enumerate(steps) if s.opname == "CALL" and _place(s)[0] == begin)
    inside = [(*_place(s), s) for s in steps[1 : next(calls, 0)]]
    whole = [s for a, b, s in inside if not any(c <= a and b <= d and t != s for c, d, t in inside)]
    names = zip(called.__code__.co_varnames[: called.__code__.co_argcount], whole, strict=False)
    return {name: known[s.argval] for name, s in names if _names(s) and s.argval in known}


def _followed(target: list[dis.Instruction], known: Mapping[str, Any]) -> tuple[Any, object]:
    """What an expression gives that begins with a name, and the key that comes last."""
    thing, key = known[target[0].argval], None
    by: Any = None  # what looks things up, while its arguments are loaded
    for step in target[1:]:
        if by not in (None, vars) and step.opname.startswith("CALL"):
            if by is not type:
                thing = getattr(thing, str(key)) if by is getattr else sys.modules[str(key)]
            key = by = None
        elif step.opname in _ATTRIBUTES and step.argval not in _OF_TABLES:
            thing, key = getattr(thing, step.argval), None
        elif _subscript(step):
            thing, key = thing[key], None
        elif step.opname in ("LOAD_CONST", "LOAD_SMALL_INT") or step.argval == "__name__":
            key = known.get(step.argval) if step.argval == "__name__" else step.argval
        elif any(thing is f for f in _LOOKING) and step.argval in known:
            by, thing = thing, known[step.argval]
            thing = by(thing) if by in (vars, type) else thing
        elif not step.opname.startswith("CALL"):
            key = None
        if any(thing is f for f in _IMPORTERS):
            by = thing
    return thing, key


def _names(step: dis.Instruction) -> bool:
    """Whether an instruction loads what a name stands for."""
    # small integers, and what an assertion raises, are loaded in ways of their own
    named = step.opname.startswith("LOAD_") and isinstance(step.argval, str)
    return named and step.opname not in ("LOAD_CONST", *_ATTRIBUTES)


def _subscript(step: dis.Instruction) -> bool:
    return step.opname.startswith("BINARY_SUBSCR") or step.argrepr == "[]"


def _place(step: dis.Instruction) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the text of an instruction begins and ends."""
    p = step.positions
    if p is None or p.lineno is None:
        return (0, 0), (0, 0)
    return (p.lineno, p.col_offset or 0), (p.end_lineno or 0, p.end_col_offset or 0)


def outside(function: FunctionType) -> Iterator[str]:
    """What a function reads that its code and its module don't hold: files, programs, settings."""
    known = known_to(function)
    if "__doc__" in attributes(function.__code__):
        yield "__doc__"
    for root, name, module in _reads(function.__code__):
        home, own = (module, "") if module else _home(root, known)
        home = home.partition(".")[0].lstrip("_")
        read = name if not own else "" if name else own
        of_file = name.startswith(("read", "getvalue")) and isinstance(known.get(root), io.IOBase)
        if of_file or (read and read.startswith(_OUTSIDE.get(home, ()))):
            yield name or own


@lru_cache(maxsize=4096)
def _reads(code: CodeType) -> tuple[tuple[str, str, str], ...]:
    """Names that code loads, the attribute of them that it takes, and their module if it is sure.

    Those that are told to write are left out.
    """
    steps = instructions(code)
    found: dict[tuple[str, str, str], None] = {}
    local: dict[str, tuple[str, str, str]] = {}
    at, before = ("", "", ""), ""  # what was loaded last, and by what
    for number, step in enumerate(steps):
        name = step.argval
        if step.opname == "IMPORT_NAME":
            at = "", "", name
        elif step.opname.startswith("STORE_"):
            if before in ("IMPORT_NAME", "IMPORT_FROM"):
                local[name] = at
        elif step.opname in _ATTRIBUTES:
            at = (f"{at[0]}.{at[1]}".strip("."), name, at[2])
        else:
            at = local.get(name, (name, "", "")) if _names(step) else ("", "", "")
        if step.opname not in ("IMPORT_NAME", "IMPORT_FROM") and not _writes(steps, number):
            found[at] = None
            if step.opname == "LOAD_METHOD" or "self" in step.argrepr:
                found["", name, "methods"] = None
        before = step.opname
    return tuple(found)


def _home(name: str, known: Mapping[str, Any]) -> tuple[str, str]:
    """Module and name of what a name stands for."""
    first, *parts = name.split(".")
    value = known.get(first, open if name == "open" else None)
    for part in parts:
        value = vars(value).get(part) if isinstance(value, ModuleType) else None
    if isinstance(value, ModuleType):
        return value.__name__, ""
    if value is os.environ:
        return "os", "environ"
    if hasattr(type(value), "__getattr__"):  # which may give or raise anything
        return "", ""
    return str(getattr(value, "__module__", "")), str(getattr(value, "__name__", ""))


def _writes(steps: tuple[dis.Instruction, ...], number: int) -> bool:
    """Whether what is called is told to write a file."""
    begin = _place(steps[number])[0]
    for step in steps[number + 1 :]:
        if step.opname.startswith("CALL") and _place(step)[0] == begin:
            return False
        if step.opname == "LOAD_CONST" and re.fullmatch("[wax][bt+]*", str(step.argval)):
            return True
    return False
