"""Functions and objects: told apart by all that they read, and by nothing that they change."""

import collections
import ctypes
import enum
import fractions
import functools
import importlib
import inspect
import itertools
import math
import random
import re
import subprocess
import sys
import threading
import types
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import xarray
from scipy import constants, interpolate, special, stats

import smcweights.identity
from smcweights.identity import identity as key_of
from smcweights.identity import not_compared, signature
from smcweights.provenance import described


def test_functions_are_told_apart_by_code_and_what_they_hold():
    def made(threshold, table):
        inner = lambda s: s > threshold
        return lambda x: inner(x.sum()) + table[0]

    def slope(x, a):
        return a * x

    first = signature(made(1.0, np.ones(2)))
    assert first == signature(made(1.0, np.ones(2)))
    assert first.startswith(f"{__name__}.")
    others = [
        made(2.0, np.ones(2)),
        made(1.0, np.zeros(2)),
        partial(slope, a=1),
        partial(slope, a=2),
    ]
    assert len({first, *map(signature, others)}) == 5
    assert signature(partial(slope, a=1)).startswith(f"{slope.__module__}.{slope.__qualname__} ")
    assert described(slope) == signature(slope)
    # constants that only together read alike
    assert signature(lambda: (1, 23)) != signature(lambda: (12, 3))


def test_functions_and_objects_that_count_stay_who_they_are():
    calls = 0

    def counting(x):
        nonlocal calls
        calls += 1
        return x

    class Model:
        def __init__(self, slope):
            self.slope, self.calls = slope, 0

        def fit(self, slope):
            self.slope = slope
            return self

        def __call__(self, x):
            self.calls += 1
            return self.slope * x

    model = Model(2.0)
    before = signature(counting), signature(model)
    counting(1), model(1)
    assert before == (signature(counting), signature(model))
    # what is set, and not added to, is told apart
    assert signature(model) != signature(Model(2.0).fit(3.0))


class Slots:
    __slots__ = ("k",)


class Holder:
    def __init__(self, k):
        self.k = k

    @property
    def twice(self):
        return 2 * self.k

    def shifted(self, x):
        return x + self.k

    def __call__(self, x):
        return self.twice + x


class Scaled:
    """A decorator that is an object, and says what it wraps."""

    def __init__(self, function, k):
        functools.update_wrapper(self, function)
        self.k = k

    def __call__(self, x):
        return self.k * x


TABLE, LIST, DEEP, SET = {}, [1.0], {"a": [{"k": ()}]}, set()
FRAME, SPACE, SLOTS, HOLDER = (
    pd.DataFrame({"k": [1.0]}),
    types.SimpleNamespace(),
    Slots(),
    Holder(1),
)
READING = {
    "dict": lambda x: TABLE["k"],
    "list": lambda x: LIST[0],
    "deep": lambda x: DEEP["a"],
    "set": lambda x: SET,
    "frame": lambda x: FRAME["k"],
    "attributes": lambda x: SPACE.k,
    "slots": lambda x: SLOTS.k,
    "method": lambda x: HOLDER.shifted(x),
    "through another": lambda x: READING["dict"](x),
}


def scaled(k):
    def decorator(function):
        @functools.wraps(function)
        def inner(x):
            return k * function(x)

        return inner

    return decorator


def identity(x):
    return x


def kinds(k):
    """A class of which an attribute is computed by its own class, and one of names for numbers."""

    class Meta(type):
        @property
        def k(cls):
            return k

    class Of(metaclass=Meta):
        pass

    return Of, enum.Enum("Named", {"K": k}, module=__name__, qualname="Named")


class Ruled:
    """A descriptor that keeps a function, and more."""

    def __init__(self, func, k):
        self.func, self.k = func, k

    def __get__(self, thing, kind=None):
        return self.k


def holding(k):
    """Functions and objects that hold a number in some way."""
    TABLE["k"] = LIST[0] = SPACE.k = SLOTS.k = HOLDER.k = k
    DEEP["a"][0]["k"] = (k,)
    SET.clear()
    SET.add(k)
    FRAME.loc[0, "k"] = k

    def default(x, k=k):
        return k

    def named(x, *, k=k):
        return k

    def attribute(x):
        return attribute.k

    attribute.k, (of, named_k) = k, kinds(k)
    return READING | {
        "closure": lambda x: {"k": k},
        "default": default,
        "keyword": named,
        "attribute": attribute,
        "partial": partial(named, k=[k]),
        "wrapper": scaled(k)(identity),
        "wrapping object": Scaled(identity, k),
        "bound": Holder(k).shifted,
        "bound builtin": {"k": k}.get,
        "property": Holder(k),
        "frame held": Holder(pd.DataFrame({"a": [k], "b": ["text"]})),
        "column's name": Holder(pd.DataFrame({str(k): [1.0]})),
        "kind": Holder(pd.DataFrame({"a": pd.Categorical(["u"], categories=["u", f"{k}"])})),
        "name": Holder(pd.Series([1.0], index=pd.Index([0], name=k))),
        "fill value": Holder(np.ma.masked_array([1.0], mask=[True], fill_value=k)),
        "mask": Holder(np.ma.masked_array([1.0, 2.0], mask=[k == 1, False])),
        "objects": Holder(np.array([{"k": k}], dtype=object)),
        "class of a class": lambda x: of.k,
        "descriptor": type("Of", (), {"k": Ruled(len, k)})(),
        "call": type("Of", (), {"__call__": functools.partialmethod(identity, k)})(),
        "enum": lambda x: named_k.K.value,
        "default of a dict": Holder(collections.defaultdict(lambda: k)),
        "deque": Holder(collections.deque([k])),
        "cached": functools.lru_cache(default),
        "frozen law": stats.norm(k).pdf,
        "spline": interpolate.CubicSpline([0, 1, 2], [0, k, 1]),
    }


@pytest.mark.parametrize("way", holding(1.0))
def test_a_changed_constant_is_seen_wherever_it_stands(way):
    first, again, other = (signature(holding(k)[way]) for k in (1.0, 1.0, 5.0))
    assert first == again != other
    assert not not_compared(first)


@pytest.mark.parametrize(
    "call",
    [
        "helper_of_a_model.shift(x)",
        "helper_of_a_model.K",
        "helper_of_a_model.Model().shift(x)",
        "helper_of_a_model.computed",
        "by(helper_of_a_model)",
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_an_edited_helper_module_is_seen(call, inside, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def made(k):
        text = "class Model:\n    def shift(self, x):\n        return K + x\n"
        (tmp_path / "helper_of_a_model.py").write_text(
            f"K = {k}\ndef shift(x):\n    return inner(x)\ndef inner(x):\n    return K + x\n{text}"
            "def __getattr__(name):\n    return K\n"
        )
        monkeypatch.delitem(sys.modules, "helper_of_a_model", raising=False)
        importlib.invalidate_caches()
        space = (
            {} if inside else {"helper_of_a_model": importlib.import_module("helper_of_a_model")}
        )
        first = "import helper_of_a_model\n    " if inside else ""
        exec(f"def model(x):\n    {first}return {call}\ndef by(m):\n    return m.K", space)
        return signature(space["model"])

    assert made(1) == made(1) != made(25)


def test_a_signature_that_was_found_before_follows_every_change(monkeypatch):
    """Of what makes no new function; all of it is plain, so that it isn't read again."""
    space = {"np": np, "k": 0.0, "inner": lambda x: x, "helper": lambda x: x + 1}
    exec("def model(x, a=1, *, b=2):\n    return inner(x) + a * k + b * np.scale", space)
    model = space["model"]
    smcweights.identity._same.cache_clear()
    seen = [signature(model)]

    def changes(change):
        change()
        seen.append(signature(model))
        assert signature(model) == seen[-1]

    for k in (-0.0, 0, False, 1, True, 1.0, np.float64(1.0), np.float32(1.0), "1.0"):
        changes(lambda k=k: space.update(k=k))
    changes(lambda: setattr(model, "__defaults__", (1.0,)))
    changes(lambda: model.__kwdefaults__.update(b=3))
    changes(lambda: space.update(inner=space["helper"]))
    changes(lambda: setattr(space["helper"], "__code__", (lambda x: x + 2).__code__))
    changes(lambda: monkeypatch.setattr(np, "scale", 2.0, raising=False))
    changes(lambda: monkeypatch.setattr(np, "scale", 3.0, raising=False))
    changes(lambda: setattr(model, "__code__", (lambda x, a=1, *, b=2: inner(x)).__code__))  # noqa: F821
    assert len(set(seen)) == len(seen)
    assert smcweights.identity._same.cache_info().misses == len(seen)
    space["k"] = 7.0
    changes(lambda: setattr(model, "scale", [1.0]))
    changes(lambda: model.scale.append(2.0))
    assert len(set(seen)) == len(seen)


COUNT, LOG, MEMO, CALLED, LOCK = {"calls": 0, "k": 1.0}, [], {}, np.zeros(2), threading.Lock()
NUMBERS, RNG = itertools.count(), np.random.default_rng(1)
BAR = type("tqdm", (), {"__module__": "tqdm.std"})()


def busy(x):
    COUNT["calls"] += 1
    CALLED[0] += 1
    LOG.append(x)
    busy.last = x
    vars(BAR).update(n=x, seconds=next(NUMBERS))
    with LOCK:
        MEMO[next(NUMBERS)] = RNG.normal()
    return COUNT["k"] * x


class Busy:
    table = None

    def __init__(self):
        self.k, self.calls, self.log, self.by_name = 1.0, 0, [], {"calls": 0}

    @functools.cached_property
    def squared(self):
        return self.k**2

    def count(self):
        self.calls = self.calls + 1

    def __call__(self, x):
        self.count()
        self.log.append(x)
        self.by_name["calls"] += 1
        if self.table is None:
            self.table = np.ones(3)
        return self.squared * x


def test_code_of_the_users_that_was_installed_is_compared(tmp_path, monkeypatch):
    home = tmp_path / "site-packages"
    (home / "river_package").mkdir(parents=True)
    text = "LEVEL = 1.0\n\n\ndef flow(x):\n    return x > LEVEL\n"
    files = home / "river_module.py", home / "river_package" / "core.py"
    (home / "river_package" / "__init__.py").write_text("from .core import flow\n")
    for file in files:
        file.write_text(text)
    monkeypatch.syspath_prepend(home)
    module = importlib.import_module("river_module")
    package = importlib.import_module("river_package")
    flow = package.flow
    for function, file in (
        (lambda x: module.flow(x), files[0]),
        (lambda x: package.flow(x), files[1]),
        (lambda x: flow(x), files[1]),
    ):
        before = signature(function)
        file.write_text(text.replace("1.0", "0.0"))
        assert signature(function) != before
        file.write_text(text)
        assert signature(function) == before
    before = signature(lambda x: constants.g * x)
    monkeypatch.setattr(constants, "g", 1.0)
    assert signature(lambda x: constants.g * x) != before
    del sys.modules["river_module"], sys.modules["river_package"]


def test_packages_installed_from_folders_are_their_users_own(tmp_path, monkeypatch):
    home = tmp_path / "site-packages"
    (home / "river-1.dist-info").mkdir(parents=True)
    (home / "river-1.dist-info" / "direct_url.json").write_text('{"dir_info": {}}')
    (home / "river-1.dist-info" / "RECORD").write_text(
        "river/sea.py,,\nriver_owned.py,,\nriver_levels.py,,\n"
    )
    (home / "river").mkdir()
    (home / "river_levels.py").write_text("LEVEL = [1.0]\n")
    text = "import river_levels\n\n\ndef flow(x):\n    return x > river_levels.LEVEL[0]\n"
    for name in ("river_owned", "river_of_others"):
        (home / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(home)
    owned, others = map(importlib.import_module, ("river_owned", "river_of_others"))
    before = signature(lambda x: owned.flow(x)), signature(lambda x: others.flow(x))
    sys.modules["river_levels"].LEVEL[0] = 2.0
    assert signature(lambda x: owned.flow(x)) != before[0]
    assert signature(lambda x: others.flow(x)) == before[1]
    for name in ("river_owned", "river_of_others", "river_levels"):
        del sys.modules[name]


def test_iterators_can_not_be_compared_and_attributes_of_tables_are():
    for values in (itertools.cycle([1.0]), iter([1.0]), (value for value in [1.0])):

        def function(x, values=values):
            return (lambda: next(values) * x)()

        assert not_compared(signature(function))
    table = pd.DataFrame({"a": [1.0]})
    before = signature(lambda x: table.attrs["k"] * x)
    table.attrs["k"] = 2.0
    assert signature(lambda x: table.attrs["k"] * x) != before


def test_what_users_put_into_classes_of_libraries_is_seen(monkeypatch):
    class Accessor:
        def __init__(self, table):
            self.table = table

    function, before = lambda x: FRAME.shifted(x) + float(fractions.Fraction(1, 2)), set()
    for kind, name, value in (
        (pd.DataFrame, "shifted", lambda self, x: x),
        (pd.DataFrame, "own", types.SimpleNamespace(_accessor=Accessor)),
        (fractions.Fraction, "__float__", lambda self: 1.0),
        (fractions.Fraction, "scale", 2.0),
    ):
        before.add(signature(function))
        monkeypatch.setattr(kind, name, value, raising=False)
        assert signature(function) not in before


def test_functions_that_numpy_makes_can_not_be_compared():
    made = np.frompyfunc(lambda v: v > 1.0, 1, 1)
    assert not_compared(signature(lambda x: made(x))) == ["made of type ufunc"]
    sine, error = np.sin, special.erf
    assert not not_compared(signature(lambda x: sine(x) + error(x)))


def test_functions_that_cython_compiled_are_known_by_their_names():
    # those of numpy.random have a class whose module is no text
    draw, spawn = np.random.default_rng, np.random.SeedSequence.spawn
    first, other = (signature(f) for f in (lambda seed: draw(seed), lambda seed: spawn(seed)))
    assert first == signature(lambda seed: draw(seed)) != other
    assert not not_compared(first) + not_compared(other)
    moving = np.random.RandomState(1).normal
    assert not_compared(signature(lambda: moving()))


def test_what_functions_change_themselves_is_not_part_of_them():
    model = Busy()
    for function in (busy, model, model.__call__, lambda x: busy(x) + model(x)):
        before = signature(function)
        function(1), function(2)
        assert signature(function) == before
    before = signature(busy), signature(model)
    COUNT["k"] = model.k = 2.0
    assert before[0] != signature(busy) and before[1] != signature(model)


def test_compiled_code_is_known_by_what_it_changes_as_well(monkeypatch):
    monkeypatch.setitem(COUNT, "k", 1.0)
    before = smcweights.identity.identity(busy), signature(busy)
    assert smcweights.identity.identity(busy) == before[0]
    monkeypatch.setitem(COUNT, "calls", COUNT["calls"] + 1)
    assert smcweights.identity.identity(busy) != before[0] and signature(busy) == before[1]


def test_what_cannot_be_compared_is_named():
    import openturns

    rows = [[i] for i in range(30_000)]
    assert not_compared(signature(lambda x: rows[0])) == ["rows"]
    long = list(range(1_000_001))
    assert not_compared(signature(lambda x: long[0])) == ["long"]
    hidden = openturns.PythonFunction(1, 1, lambda x: [x[0]])
    assert not_compared(signature(lambda x: hidden(x))) == ["hidden of type Function"]
    assert not_compared(signature(lambda x: x)) == []


def test_states_of_generators_are_named_and_are_not_part_of_a_function():
    rng, own, law = np.random.default_rng(1), random.Random(1), stats.norm(1)
    holder, draw = types.SimpleNamespace(rng=np.random.RandomState(1)), random.gauss
    for function, name in (
        (lambda x: x * rng.normal(), "rng"),
        (lambda x: x * own.gauss(0, 1), "own"),
        (lambda x: x * draw(0, 1), "draw"),
        (lambda x: x * holder.rng.normal(), "holder.rng"),
        (partial(lambda x, rng: x * rng.normal(), rng=rng), "<lambda>"),
        (np.vectorize(lambda x: x * rng.normal()), "rng"),
    ):
        before = signature(function), key_of(function)
        (found,) = not_compared(before[0])
        assert found.startswith("the state of ") and found.endswith(name)
        function(1.0)
        assert (signature(function), key_of(function)) == before
    assert not not_compared(signature(lambda x: law.pdf(x)))  # which draws by itself alone


def test_frames_memory_of_c_and_globals_of_functions():
    numbers, pointer = (ctypes.c_double * 2)(1.0, 2.0), ctypes.pointer(ctypes.c_double(1.0))
    before = signature(lambda x: numbers[0] * x)
    numbers[0] = 2.0
    assert signature(lambda x: numbers[0] * x) != before and not not_compared(before)
    assert not_compared(signature(lambda x: pointer[0])) == ["pointer of type LP_c_double"]
    for function in (
        lambda x: x * inspect.currentframe().f_back.f_locals["k"],
        lambda x: x * sys._getframe(1).f_globals["SCALES"]["list"],
        lambda x: x * np.mean.__globals__["k"],
    ):
        assert not_compared(signature(function))
    before, kept = signature(lambda x: identity.__globals__["LISTED"]), LISTED[0]
    LISTED[0] = 7.0
    assert signature(lambda x: identity.__globals__["LISTED"]) != before and not not_compared(
        before
    )
    LISTED[0] = kept


class OwnList(list):
    def first(self):
        return self[0] * SCALES["list"]


class OwnNumber(float):
    pass


class OwnPair(NamedTuple):
    a: float

    def scaled(self):
        return self.a * SCALES["pair"]


SCALES = {"list": 1.0, "pair": 1.0}
LISTED, NUMBER, PAIR = OwnList([1.0]), OwnNumber(1.0), OwnPair(1.0)
LISTED.beside = NUMBER.beside = 1.0
SERIES = xarray.DataArray([1.0, 2.0], coords={"t": [0, 1]}, dims="t")


@pytest.mark.parametrize(
    ("function", "edit"),
    [
        (lambda x: LISTED.first() * x, lambda: SCALES.update(list=2.0)),
        (lambda x: PAIR.scaled() * x, lambda: SCALES.update(pair=2.0)),
        (lambda x: LISTED.beside * x, lambda: setattr(LISTED, "beside", 2.0)),
        (lambda x: NUMBER.beside * x, lambda: setattr(NUMBER, "beside", 2.0)),
        (lambda x: SERIES.sel(t=1) * x, lambda: SERIES.coords.update({"t": [1, 0]})),
    ],
    ids=["method of a list", "of a pair", "attribute of a list", "of a number", "coordinates"],
)
def test_what_the_users_own_lists_and_numbers_have_beside_is_seen(function, edit):
    before = signature(function)
    assert signature(function) == before and not not_compared(before)
    edit()
    assert signature(function) != before


def test_regular_expressions_are_compared():
    first, second = re.compile("a"), re.compile("b")
    found = signature(lambda x: first.match(x))
    assert not not_compared(found)
    first = second
    assert signature(lambda x: first.match(x)) != found


def test_every_process_says_the_same():
    code = (
        "from smcweights.identity import signature\n"
        "import collections, enum\n"
        "class Own(list):\n    def f(self): return self[0]\n"
        "class Kind(enum.IntEnum):\n    A = 1\n"
        "N, O = collections.namedtuple('N', 'a')(1), Own([1])\nO.k = 1.0\n"
        "S = {'a', 'b', ('c', 1)}\nD = {'k': S}\n"
        "print(signature(lambda x: (D['k'], S, N.a, O.f(), Kind.A, O)))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1 and outputs.pop().startswith(b"__main__.<lambda> ")


def test_a_path_stays_the_same_when_it_is_used(tmp_path):
    path = tmp_path / "calls"
    before = signature(partial(len, path))
    hash(path), str(path), path.suffix, path.exists()
    assert signature(partial(len, path)) == before != signature(partial(len, tmp_path))


def test_docstrings_do_not_count():
    first, second, nested = {}, {}, "    def g(v):{}\n        return v\n    return g(x) + 1.0\n"
    exec("def f(x):\n    if x is None:\n        return None\n" + nested.format(""), first)
    exec('def f(x):\n    "Now said."\n    if x is None:\n        return None\n'
         + nested.format('\n        "And here."'), second)  # fmt: skip
    assert signature(first["f"]) == signature(second["f"])
    texts = [lambda: "text", lambda: "other text", lambda: ["text" for _ in range(2)]]
    assert len({signature(f).split()[-1] for f in texts}) == 3


def test_what_is_tried_counts():
    before, after = {}, {}
    exec("def f(x):\n    try: x.a(); x.b()\n    except KeyError: return 1", before)
    exec("def f(x):\n    x.a()\n    try: x.b()\n    except KeyError: return 1", after)
    assert signature(before["f"]) != signature(after["f"])


def test_the_errors_of_numpy_count_where_they_are_caught():
    def model(x):
        try:
            return 1 / x
        except FloatingPointError:
            return 0 * x

    with np.errstate(divide="raise"):
        before = signature(model)
    assert signature(model) != before


def test_what_methods_dispatched_by_type_remember_does_not_count():
    class Model:
        @functools.singledispatchmethod
        def scaled(self, x):
            return x

        @scaled.register
        def _(self, x: np.ndarray):
            return 2 * x

    model = Model()
    function = lambda x: model.scaled(x)
    before = signature(function)
    function(np.ones(2)), function(1.0)
    assert signature(function) == before


def test_compiled_modules_are_compared_by_their_files(tmp_path):
    module = types.ModuleType("river_in_c")
    module.flow = math.exp
    for folder in (tmp_path, tmp_path / "site-packages"):
        folder.mkdir(exist_ok=True)
        file = folder / f"river_in_c{EXTENSION_SUFFIXES[0]}"
        module.__file__ = str(file)
        file.write_bytes(b"first")
        before = signature(lambda x: module.flow(x))
        file.write_bytes(b"second")
        assert signature(lambda x: module.flow(x)) != before


def test_functions_of_other_arguments_are_others():
    functions = [lambda: 0.0, lambda t: 0.0, lambda y, t: 0.0, lambda *, t: 0.0, lambda *t: 0.0]
    assert len({signature(f).split()[-1] for f in functions}) == len(functions)
