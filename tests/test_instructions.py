"""What functions name, change and read from outside: by their code alone, which isn't run."""

import decimal
import importlib
import io
import operator
import os
import pathlib
import sqlite3
import subprocess
import sys
import types
from os import environ, getenv
from subprocess import run

import numpy as np
import pandas as pd
import pytest
import scipy.io

from smcweights import instructions
from smcweights.identity import not_compared, signature

K, COUNT, LOG, NAME, TABLE = 1.0, 0, [], "K", {"k": 1.0}
helper = types.ModuleType("helper_of_names")
sys.modules["helper_of_names"] = helper


def asserts(x):
    assert x[0] > 1, "of 3.14: small integers have no name"
    with np.errstate(all="ignore"):
        return x[1]


def imported_here(x):
    from importlib import import_module

    return getattr(import_module("helper_of_names"), "K") * x  # noqa: B009


def by_default(x, name="K"):
    return getattr(helper, name) * x


class Model:
    def __call__(self, x):
        return self.found("K") * x

    def found(self, name="K"):
        return globals()[name]


LOOKING_UP = {
    "getattr": lambda x: getattr(helper, "K") * x,  # noqa: B009
    "globals": lambda x: globals()["K"] * x,
    "vars": lambda x: vars(helper)["K"] * x,
    "dict": lambda x: helper.__dict__["K"] * x,
    "import_module": lambda x: importlib.import_module("helper_of_names").K * x,
    "__import__": lambda x: __import__("helper_of_names").K * x,
    "modules": lambda x: sys.modules["helper_of_names"].K * x,
    "own module": lambda x: sys.modules[__name__].K * x,
    "imported in the function": imported_here,
    "by a global name": lambda x: globals()[NAME] * x,
    "by a default": by_default,
    "by names in a list": lambda x: sum(globals()[name] for name in ["K"]) * x,
    "eval": lambda x: eval("2 * K"),
    "attrgetter": lambda x: operator.attrgetter("K")(helper),
    "a table": lambda x: globals()["TABLE"]["k"] * x,
    "an object": Model(),
}


@pytest.mark.parametrize("way", LOOKING_UP)
def test_what_is_looked_up_by_a_name_in_the_code_is_seen(way, monkeypatch):
    function = LOOKING_UP[way]
    helper.K = 1.0
    before = signature(function)
    function(2.0)
    assert signature(function) == before and not not_compared(before)
    monkeypatch.setattr(helper, "K", 2.0)
    monkeypatch.setitem(globals(), "K", 2.0)
    monkeypatch.setitem(TABLE, "k", 2.0)
    assert signature(function) != before


def counts_by_name(x):
    globals()["COUNT"] += 1
    globals()["LOG"].append(x)
    return globals()["TABLE"]["k"] * x


def counts_in_a_module(x):
    setattr(helper, "count", getattr(helper, "count") + 1)  # noqa: B009, B010
    vars(helper)["other"] += 1
    getattr(helper, "log").append(x)  # noqa: B009
    importlib.import_module("helper_of_names").third += 1
    here = helper
    here.fourth += 1
    return getattr(helper, "table")["k"] * x  # noqa: B009


class Remembering:
    def __init__(self):
        self.last, self.by_input, self.table = 0.0, {}, TABLE

    def __call__(self, x):
        self.last = x
        self.by_input[x] = x
        return self.table["k"] * x


class Counting:
    calls = 0

    def __init__(self):
        self._n, self.table = 0, TABLE

    @property
    def n(self):
        return self._n

    @n.setter
    def n(self, value):
        self._n = value

    def __call__(self, x):
        self.n += 1
        type(self).calls += 1
        return self.table["k"] * x


SEEN, ROWS = types.SimpleNamespace(n=0, inner=types.SimpleNamespace(n=0)), pd.DataFrame({"n": [0]})


def push(to, what):
    to.append(what)


def raised(thing, by):
    thing.n += by
    push(LOG, thing.n)


def counts_by_helpers(x):
    raised(SEEN, len(str(x)))
    SEEN.inner.n += 1
    ROWS.loc[0, "n"] += 1
    return TABLE["k"] * x


@pytest.mark.parametrize(
    "function",
    [counts_by_name, counts_in_a_module, counts_by_helpers, Remembering(), Counting()],
)
def test_what_functions_change_by_name_is_not_part_of_them(function, monkeypatch):
    vars(helper).update(count=0, other=0, third=0, fourth=0, log=[], table=TABLE)
    before = signature(function)
    function(1.0), function(2.0)
    assert signature(function) == before and not not_compared(before)
    monkeypatch.setitem(TABLE, "k", 2.0)
    assert signature(function) != before


def test_what_is_stored_in_a_copy_changes_nothing(monkeypatch):
    def copying(x):
        own = TABLE
        own = dict(own)
        own["k"] = own["k"] * x
        return own["k"]

    def copied(own):
        own = dict(own)
        own["k"] = own["k"] + 1
        return own["k"]

    before, handed = signature(copying), signature(lambda x: copied(TABLE) * x)
    monkeypatch.setitem(TABLE, "k", 2.0)
    assert signature(copying) != before
    assert signature(lambda x: copied(TABLE) * x) != handed


def reads_inside(x):
    import pandas

    with open(x) as file:
        return pandas.read_csv(file)


def reads_by_imports(x):
    from zipfile import ZipFile

    import h5py

    return h5py.File(x), ZipFile(x)


PATH = pathlib.Path("table.txt")
OPENED = io.StringIO()
OUTSIDE = [
    (lambda x: float(os.environ["K"]), {"environ"}),
    (lambda x: environ["K"], {"environ"}),
    (lambda x: os.getenv("K"), {"getenv"}),
    (lambda x: getenv("K"), {"getenv"}),
    (lambda x: PATH.read_text(), {"read_text"}),
    (lambda x: np.load("table.npy"), {"load"}),
    (lambda x: pd.read_csv("table.csv"), {"read_csv"}),
    (reads_inside, {"open", "read_csv"}),
    (lambda x: (lambda: open("table.txt"))(), {"open"}),  # noqa: SIM115
    (lambda x: subprocess.run(["./solver"], check=True), {"run"}),
    (lambda x: run(["./solver"]), {"run"}),
    (lambda x: os.popen("./solver").read(), {"popen"}),
    (lambda x: float(sys.argv[1]) * x, {"argv"}),
    (lambda x: decimal.Decimal(1) / 3, {"Decimal"}),
    (lambda x: OPENED.readline(), {"readline"}),
    (lambda x: OPENED.write(str(x)), set()),
    (lambda x: open("log.txt", "a").write(str(x)), set()),  # noqa: SIM115
    (lambda x: open("log.txt", mode="wb"), set()),  # noqa: SIM115
    (lambda x: OPENED.getvalue(), {"getvalue"}),
    (lambda x: PATH.open(), {"open"}),
    (lambda x: PATH.open("w"), set()),
    (lambda x: PATH.parent.glob("*.csv"), {"glob"}),
    (lambda x: os.path.getsize("table.txt") + len(os.getcwd()), {"getsize", "getcwd"}),
    (lambda x: scipy.io.loadmat("table.mat"), {"loadmat"}),
    (lambda x: sqlite3.connect("table.db"), {"connect"}),
    (lambda x: pd.options.display.precision + x.values.open, {"options"}),
    (reads_by_imports, {"File", "ZipFile"}),
    (lambda x: x.load() + x.open + np.sin(x.read_csv), set()),
    (asserts, set()),
]


@pytest.mark.parametrize(("function", "found"), OUTSIDE)
def test_files_and_the_environment_are_named(function, found):
    assert {*instructions.outside(function)} == found
    named = [f"what <lambda> reads by {name}" for name in sorted(found)]
    if function.__name__ == "<lambda>":
        assert not_compared(signature(function)) == named
        assert not_compared(signature(lambda x: function(x))) == named


class FromFile:
    def __init__(self, path):
        self.table = np.load(path)

    def __call__(self, x):
        return self.table * x


def test_what_is_not_read_when_it_runs_needs_no_word(tmp_path):
    np.save(tmp_path / "table.npy", np.ones(3))
    model = FromFile(tmp_path / "table.npy")
    assert not not_compared(signature(model))
    assert not not_compared(signature(lambda x: getattr(x, "re" + "al") + getattr(np, "s" + x)))


COMPUTED = {
    "globals": lambda x: globals()[f"K_{x}"],
    "getattr": lambda x: getattr(helper, "K_" + x),
    "import_module": lambda x: importlib.import_module("helper_" + x).K,
    # K is a global: what stands in the code is there, and yet isn't what is read
    "a part": lambda x: globals()[f"K{x}"],
    "beside a whole one": lambda x: globals()[f"K_{x}"] + globals()["K"],
    "beside another text": lambda x: globals().get("K_" + x) + len("K"),
    "format": lambda x: globals()["K{}".format(x)],  # noqa: UP032
    "percent": lambda x: globals()["K%d" % x],  # noqa: UP031
    "by a function": lambda x: globals()[NAME.lower()],
    "eval": lambda x: eval(f"K{x}"),
    "in an expression": lambda x: eval(f"K * {x}"),
    "of a module": lambda x: getattr(helper, f"K{x}") + getattr(helper, "K"),  # noqa: B009
    "vars": lambda x: vars(helper)[f"K{x}"],
    "dict": lambda x: helper.__dict__[f"K{x}"],
    "modules": lambda x: getattr(sys.modules["helper_of_names"], f"K{x}"),
    "dict of modules": lambda x: sys.modules["helper_of_names"].__dict__[f"K{x}"],
}


@pytest.mark.parametrize("way", COMPUTED)
def test_what_is_looked_up_by_a_computed_name_is_told_once(way, monkeypatch):
    monkeypatch.setattr(helper, "K", 1.0, raising=False)
    assert not_compared(signature(COMPUTED[way])) == ["names that <lambda> looks up"]


def test_the_environment_itself_is_not_compared(monkeypatch):
    held = environ
    before = signature(lambda x: held["K"])
    monkeypatch.setenv("ANYTHING", "else")
    assert signature(lambda x: held["K"]).split(" (")[0] == before.split(" (")[0]
