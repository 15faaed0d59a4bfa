"""Code on disk is found while nothing that it depends on has changed, and only then."""

import gc
import os
import subprocess
import sys
import time

import jax
import numba
import numpy as np
import pytest

from smcweights import _compat
from smcweights.statespace import keeping, kernels
from smcweights.statespace.keeping import compile_kept, stamp

HELPER = numba.njit(lambda t: 2.0 * t)
FAST = numba.njit(fastmath=True)(HELPER.py_func)


def written(text, **names):
    """The function `bound` of a module written anew."""
    space = {"__name__": __name__, "np": np, "helper": HELPER, **names}
    exec(text, space)
    return space["bound"]


PLAIN = "def bound(t, theta): return scale * t"
CLOSED = "def made(k):\n    def bound(t, theta): return k * t\n    return bound\nbound = made({})"
CASES = {
    "a constant": [written(f"def bound(t, theta): return {k} * t") for k in (1.0, 2.0)],
    "its type": [written(f"def bound(t, theta): return {k} * t") for k in ("1", "1.0")],
    "a global": [written(PLAIN, scale=k) for k in (1.0, 2.0)],
    "a global array": [written(PLAIN, scale=np.full(1, k)) for k in (1.0, 2.0)],
    "a closed value": [written(CLOSED.format(k)) for k in (1.0, 2.0)],
    "a default": [written(f"def bound(t, theta, k={k}): return k * t") for k in (1.0, 2.0)],
    "a helper": [
        written("def bound(t, theta): return helper(t)", helper=numba.njit(f))
        for f in (lambda t: 1.0 * t, lambda t: 2.0 * t)
    ],
    "a helper's helper": [
        written("def bound(t, theta): return helper(t)", helper=numba.njit(lambda t, f=f: f(t)))
        for f in (numba.njit(lambda t: 1.0 * t), numba.njit(lambda t: 2.0 * t))
    ],
    "how a helper is compiled": [
        written("def bound(t, theta): return helper(t)", helper=h) for h in (HELPER, FAST)
    ],
    "a module's value": [
        written("def bound(t, theta): return m.scale * t", m=m)
        for m in (type(np)("m"), type(np)("m"))
    ],
    "another function of NumPy": [
        written(f"def bound(t, theta): return np.{f}(1.0 * t)") for f in ("sin", "cos")
    ],
}
for k, module in enumerate(CASES["a module's value"]):
    module.__globals__["m"].scale = float(k)


@pytest.mark.parametrize("case", CASES)
def test_what_code_depends_on_is_in_its_stamp(case):
    one, other = CASES[case]
    assert stamp(one) == stamp(one) != stamp(other)
    assert None not in (stamp(one), stamp(other))


@pytest.mark.parametrize(
    "thing", [{"a": 1.0}, [1.0], lambda t: t, numba.vectorize(lambda t: t), object()], ids=type
)
def test_what_cannot_be_told_from_its_code_has_no_stamp(thing):
    assert stamp(written(PLAIN, scale=thing)) is None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path))
    return tmp_path / "smcweights"


def value(k=2.0):
    function = written(f"def bound(t, theta): return {k} * t")
    kept = compile_kept(function, kernels.BOUND_SIGNATURE, stamp(function))
    return kept(3, np.empty(0)), sum(kept.stats.cache_hits.values())


def test_what_is_edited_is_compiled_and_what_is_edited_back_is_found(folder):
    assert [value(2.0), value(4.0), value(2.0)] == [(6.0, 0), (12.0, 0), (6.0, 1)]
    assert len(list(folder.iterdir())) == 2


def test_broken_files_and_folders_that_cannot_be_made_are_passed_over(folder, monkeypatch):
    value()
    for path in folder.iterdir():
        path.write_bytes(b"nothing")
    assert value() == (6.0, 0) and value() == (6.0, 1)
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(next(folder.iterdir()) / "none"))
    assert value() == (6.0, 0) and value() == (6.0, 0)


def test_another_numba_keeps_nothing(folder, monkeypatch):
    monkeypatch.setattr(keeping, "_KEEPS", False)
    assert value() == (6.0, 0) and not folder.exists()


def test_old_files_and_those_beyond_the_room_are_taken_away(folder, monkeypatch):
    folder.mkdir()
    for k, days in enumerate((0, 10, 20, 100)):
        path = folder / f"{k}.code"
        path.write_bytes(bytes(10))
        os.utime(path, times=(time.time() - 86_400 * days,) * 2)
    keeping._prune(str(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["0.code", "1.code", "2.code"]
    monkeypatch.setattr(keeping, "_BYTES", 20)
    keeping._prune(str(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["0.code", "1.code"]


PROGRAM = """
import numpy as np, smcweights as smw
from numba.core import event
with event.install_recorder("numba:compile") as seen:
    model = smw.StateSpaceModel(
        lambda rng, theta: rng.standard_normal(),
        lambda x, theta: -0.5 * x**2,
        lambda rng, x_prev, t, theta: x_prev + rng.standard_normal(),
        lambda x_prev, x, t, theta: -0.5 * (x - x_prev) ** 2,
        lambda y, x, t, theta: -0.5 * (y - x) ** 2,
    )
    found = smw.particle_filter(model, np.zeros(5), 2_000, seed=1)
print(sum(kind.is_start for _, kind in seen.buffer), float(found.log_likelihood.value))
"""


@pytest.mark.slow
def test_the_next_process_compiles_nothing():
    runs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert runs[1] == ["0", runs[0][1]]


@pytest.fixture
def looked_on(monkeypatch):
    monkeypatch.setattr(keeping, "PATIENCE", 0.1)
    monkeypatch.setattr(keeping, "PAUSE", 0.0)
    monkeypatch.setattr(keeping, "watched", lambda: True)


SAID = "smcweights: compiling {}, which later runs find on disk\n"


def compiled_for(seconds, what):
    with keeping.compiling(what):
        time.sleep(seconds)


def test_who_looks_on_is_told_what_takes_long_to_compile(looked_on, monkeypatch, capsys):
    monkeypatch.setattr(keeping, "watched", lambda: False)
    compiled_for(0.3, "nothing")
    monkeypatch.setattr(keeping, "watched", lambda: True)
    compiled_for(0.3, "advance")
    compiled_for(0.0, "what is quick")
    time.sleep(0.2)
    said = capsys.readouterr()
    assert said.err == SAID.format("advance") and said.out == ""


def test_many_short_compilations_are_one_wait(looked_on, monkeypatch, capsys):
    monkeypatch.setattr(keeping, "PATIENCE", 60.0)
    monkeypatch.setattr(keeping, "_waited", 59.99)
    compiled_for(0.05, "after a pause")
    assert 0.05 <= keeping._waited < 59 and capsys.readouterr().err == ""
    monkeypatch.setattr(keeping, "PAUSE", 60.0)
    monkeypatch.setattr(keeping, "_waited", 60.0)
    compiled_for(0.3, "the last")
    assert capsys.readouterr().err == SAID.format("the last")


def test_circles_are_looked_for_again_after_a_compilation():
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), keeping.compiling("nothing"):
        assert not gc.isenabled()
        1 / 0  # noqa: B018
    assert gc.isenabled()
    gc.disable()
    try:
        compiled_for(0.0, "nothing")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_address_of_a_kernel_is_looked_up_once():
    signature = numba.types.float64(numba.types.float64)
    kernel = compile_kept(lambda x: 3.0 * x, signature, None)
    own = type(kernel).get_compile_result(kernel, signature)
    found = kernel.get_compile_result(signature)
    name = own.fndesc.llvm_func_name
    assert found.fndesc.llvm_func_name == name and found.signature == own.signature
    address = own.library.get_pointer_to_function(name)
    assert found.library.get_pointer_to_function(name) == address
    own.library.get_pointer_to_function = None
    assert found.library.get_pointer_to_function(name) == address


def traced(scale, mark, counted):
    def line(x, t):
        counted.append(x.shape)
        return scale * x + t

    return keeping.Traced(line, "a line by JAX", mark)


def test_what_jax_compiled_is_found_by_stamp_shape_and_settings(folder, monkeypatch):
    x, counted = np.arange(3.0), []
    with _compat.enable_x64():
        for scale, mark, given, traces in (
            (2.0, "two", x, 1),
            (2.0, "two", x, 1),  # found
            (2.0, "two", x[:2], 2),
            (3.0, "three", x, 3),
            (2.0, None, x, 4),
            (2.0, None, x, 5),
        ):
            own = traced(scale, mark, counted)
            for t in (4, 5):
                np.testing.assert_array_equal(own(given, t), scale * given + t)
            assert len(counted) == traces
        assert own(x, 1).dtype == np.float64
        assert len(list(folder.iterdir())) == 3
        monkeypatch.setenv("XLA_FLAGS", "--another")
        traced(2.0, "two", counted)(x, 4)
        assert len(counted) == 6
        monkeypatch.delenv("XLA_FLAGS")
        for path in folder.iterdir():
            path.write_bytes(b"nothing")
        for traces in (7, 7):
            traced(2.0, "two", counted)(x, 4)
            assert len(counted) == traces
    assert jax.config.jax_compilation_cache_dir is None


def test_what_jax_compiled_with_calls_out_of_it_is_not_kept(folder):
    """LAPACK's are made ready by tracing: found on disk, they end the next process."""
    square, plain = 2.0 * np.eye(3) + 0.1, np.ones(3)

    def solved(a, b):
        return jax.numpy.linalg.solve(a, b).sum()

    def called(a, b):
        return jax.pure_callback(np.sum, jax.ShapeDtypeStruct((), a.dtype), a) + b.sum()

    with _compat.enable_x64():
        for function in (solved, called):
            own = keeping.Traced(function, "calls in JAX", function.__name__)
            assert float(own(square, plain)) == pytest.approx(float(function(square, plain)))
    assert not folder.exists()


LEARNER = """
import jax, numpy as np, smcweights as smw
from jax import monitoring
seen = []
monitoring.register_event_duration_secs_listener(lambda event, *_, **__: seen.append(event))
SCALE = float(__import__("sys").argv[1])
model = smw.StateSpaceModel(
    lambda rng, theta: rng.standard_normal(),
    lambda x, theta: -0.5 * x**2 - 0.5 * np.log(2 * np.pi),
    lambda rng, x_prev, t, theta: x_prev + theta[0] * rng.standard_normal(),
    lambda x_prev, x, t, theta: (
        -0.5 * ((x - x_prev) / theta[0]) ** 2 - np.log(theta[0]) - 0.5 * np.log(2 * np.pi)
    ),
    lambda y, x, t, theta: -0.5 * ((y - x) / SCALE) ** 2 - np.log(SCALE),
    theta=[0.5],
)
found = smw.score(model, np.sin(np.arange(9.0)), None, 20, 20, seed=1)
print(sum("compile" in event for event in seen), float(found.value[0]))
"""


@pytest.mark.slow
def test_the_next_process_traces_nothing_but_what_is_edited(tmp_path):
    """The third is another model, by a constant that its densities read."""
    settings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LEARNER, scale],
            capture_output=True, text=True, check=True, env=settings,
        ).stdout.split()
        for scale in ("1.0", "1.0", "2.0")
    ]  # fmt: skip
    assert int(runs[0][0]) > 0 and runs[1] == ["0", runs[0][1]]
    assert int(runs[2][0]) > 0 and runs[2][1] != runs[0][1]
