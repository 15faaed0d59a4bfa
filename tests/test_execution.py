import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smcweights import execution
from smcweights.execution import batches, open_run
from smcweights.randomness import describe, generator, seed_sequence

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def numbered(n):
    return [(i,) for i in range(n)]


def square(i):
    return np.array(float(i) ** 2)


def forkserver_pool(workers):
    return ProcessPoolExecutor(workers, mp_context=get_context("forkserver"))


def lines(path):
    return path.read_text().split() if path.exists() else []


def logging_square(path):
    """A function that writes down its calls, visible from any process."""

    def function(i):
        with open(path, "a") as file:
            file.write(f"{i}\n")
        return np.array(float(i) ** 2)

    return function


# batches


@given(st.integers(0, 10**7), st.booleans())
@settings(max_examples=200)
def test_batches_cover_all_rows_once_within_their_sizes(n, vectorized):
    ranges = batches(n, vectorized=vectorized)
    ends = [0] + [end for _, end in ranges]
    assert [start for start, _ in ranges] == ends[:-1]
    assert ends[-1] == n
    sizes = {end - start for start, end in ranges[:-1]}
    assert len(sizes) <= 1
    for size in sizes:
        assert (16 if vectorized else 1) <= size <= 8192
        assert size == 8192 or size >= n / 32
        assert size <= max(n / 32 + 1, 16 if vectorized else 1)


def test_batches_refuse_what_is_no_number_of_rows():
    assert batches(0) == []
    assert batches(3, vectorized=False) == [(0, 1), (1, 2), (2, 3)]
    with pytest.raises(ValueError, match="n: got -1"):
        batches(-1)
    with pytest.raises(TypeError):
        batches(2.0)


# the same numbers everywhere


BUFFER = np.empty(3)


def awkward(x):
    """Overwrites its input, returns one buffer every time, a strided view and a transposed one."""
    x *= 1.1
    BUFFER[:] = x.sum(0)[:3]
    y = np.exp(x @ x.T)
    return {"buffer": BUFFER, "view": y[:, ::2], "pair": (y.T, x.std(axis=1))}


EXECUTORS = [None, "threads:1", "threads:2", "processes:1", "processes:2"]


def awkward_results(executor):
    x = np.asfortranarray(generator(seed_sequence(1), "x").standard_normal((500, 7)))
    before = x.copy()
    with open_run(awkward, executor=executor, seed=1) as run:
        y = generator(run.root, "more").standard_normal((300, 7))
        first = run.map("x", [(x[a:b],) for a, b in batches(len(x))])
        second = run.map("y", [(y[a:b],) for a, b in batches(len(y))])
    assert (x == before).all()
    return first + second


def flat(results):
    return [
        array
        for r in results
        for array in (r["buffer"], r["view"], *r["pair"], r["view"].sum(0), r["pair"][0].sum(0))
    ]


def test_every_executor_gives_the_same_bits_and_layout():
    expected = flat(awkward_results(None))
    assert len({a.tobytes() for a in expected[::6]}) == len(expected[::6])  # no buffer overwritten
    with ThreadPoolExecutor(2) as threads, forkserver_pool(2) as processes:
        for executor in [*EXECUTORS[1:], "threads", "processes", threads, processes]:
            found = flat(awkward_results(executor))
            for a, b in zip(found, expected, strict=True):
                assert a.dtype == b.dtype and a.strides == b.strides and a.tobytes() == b.tobytes()
        # an executor of the user's stays open
        assert threads.submit(int).result() == processes.submit(int).result() == 0


def test_workers_run_at_the_same_time():
    barrier = threading.Barrier(2, timeout=20)

    def meet(i):
        return np.array(barrier.wait() >= 0)

    with open_run(meet, executor="threads:2") as run:
        assert len(run.map("a", numbered(4))) == 4

    def who(i):
        time.sleep(0.05)
        return np.array(os.getpid())

    with open_run(who, executor="processes:2") as run:
        pids = {int(p) for p in run.map("a", numbered(16))}
    assert len(pids) == 2 and os.getpid() not in pids


def test_lambdas_closures_and_generators_travel():
    factor = np.arange(3.0)

    def draw(rng, shift):
        return rng.standard_normal(3) * factor + shift

    for function in (draw, lambda rng, shift: draw(rng, shift)):
        results = []
        for executor in EXECUTORS:
            with open_run(function, executor=executor, seed=3) as run:
                jobs = [(generator(run.root, "draw", i), i) for i in range(5)]
                results.append(np.stack(run.map("draw", jobs)).tobytes())
        assert len(set(results)) == 1


class Forgetful(Executor):
    """One worker, which has forgotten all functions before each call."""

    _max_workers = 1

    def __init__(self):
        self.asked = []

    def submit(self, call, digest, body, address, job):
        execution._FUNCTIONS.pop(digest, None)
        self.asked.append((address[2], body is not None))
        future = Future()
        future.set_result(call(digest, body, address, job))
        return future


def test_more_functions_than_a_worker_keeps():
    with forkserver_pool(1) as pool:
        for _ in range(2):
            for k in range(execution.FUNCTIONS_KEPT + 2):
                with open_run(lambda i, k=k: np.array(100 * k + i), executor=pool) as run:
                    # more jobs than carry the function
                    assert [int(r) for r in run.map("a", numbered(7))] == [
                        100 * k + i for i in range(7)
                    ]
        kept = pool.submit(functions_kept).result()
    assert kept == execution.FUNCTIONS_KEPT


def functions_kept():
    return len(execution._FUNCTIONS)


def test_a_worker_without_the_function_gets_it():
    with open_run(lambda i: np.array(i), executor=Forgetful()) as run:
        assert [int(r) for r in run.map("a", numbered(5))] == [0, 1, 2, 3, 4]
        # the first two carry the function, which makes its bytes travel no more than needed
        carried = [(number, whole) for number, whole in run._pool.executor.asked]
    assert carried[:2] == [(0, True), (1, True)]
    assert sorted(carried[2:]) == [(i, whole) for i in (2, 3, 4) for whole in (False, True)]


def test_context_of_the_caller_holds_in_threads():
    def divide(i):
        return 1 / np.zeros(2)

    for executor in (None, "threads"):
        with (
            np.errstate(divide="raise"),
            pytest.raises(FloatingPointError),
            open_run(divide, executor=executor) as run,
        ):
            run.map("a", numbered(2))


def test_pool_works_after_jax_and_numba_ran_here():
    script = """
        import numpy as np
        import jax, jax.numpy as jnp, numba
        from smcweights.execution import open_run

        @numba.njit(parallel=True)
        def total(x):
            s = 0.0
            for i in numba.prange(x.size):
                s += x[i]
            return s

        def f(i):
            import jax.numpy as jnp
            return np.array([float(jnp.sin(jnp.float32(i))), total(np.full(1000, float(i)))])

        if __name__ == "__main__":
            jax.jit(jnp.sin)(jnp.ones(1000)).block_until_ready()
            total(np.ones(1000))
            with open_run(f, executor="processes:1") as run:
                print(np.stack(run.map("a", [(i,) for i in range(4)]))[:, 1].tolist())
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[0.0, 1000.0, 2000.0, 3000.0]", done.stderr


# order, laziness, number in flight


class Counting(ThreadPoolExecutor):
    """Three threads; remembers the largest number of batches that were in flight."""

    def __init__(self):
        super().__init__(3)
        self.now = self.most = 0
        self.lock = threading.Lock()

    def submit(self, *args):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        future = super().submit(*args)
        future.add_done_callback(self.done)
        return future

    def done(self, _):
        with self.lock:
            self.now -= 1


def test_in_flight_are_at_most_twice_as_many_as_workers():
    def slow(i):
        time.sleep(0.001 * (i * 7 % 5))
        return np.array(i)

    with Counting() as pool, open_run(slow, executor=pool) as run:
        assert [int(r) for r in run.map("a", numbered(60))] == list(range(60))
        assert 3 <= pool.most <= 6


@pytest.mark.parametrize(("executor", "ahead"), [(None, 4), ("threads:1", 8), ("threads:2", 16)])
def test_stream_takes_jobs_as_they_are_needed_and_keeps_order(executor, ahead):
    taken = []

    def jobs():
        for i in range(100):
            taken.append(i)
            yield (i,)

    release = threading.Event()

    def function(i):
        if i == 0 and executor is not None:
            release.wait(20)
        return np.array(i)

    with open_run(function, executor=executor) as run:
        stream = run.stream("a", jobs())
        assert taken == []
        if executor is not None:
            threading.Timer(0.2, release.set).start()
        for k, result in enumerate(stream):
            assert result == k
            assert len(taken) <= k + 1 + ahead
        assert k == 99


def test_a_stream_left_early_stops_the_work():
    calls = []

    def function(i):
        calls.append(i)
        return np.array(i)

    with open_run(function, executor="threads:2") as run:
        stream = run.stream("a", numbered(10_000))
        next(stream)
        stream.close()
        assert [int(r) for r in run.map("b", numbered(3))] == [0, 1, 2]
    assert len(calls) < 100


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_closed_run_starts_nothing(executor):
    with open_run(square, executor=executor) as run:
        early = run.stream("a", numbered(100))
        next(early)
        late = run.stream("b", numbered(3))
    for use in (lambda: list(early), lambda: next(late), lambda: run.map("c", numbered(3))):
        with pytest.raises(RuntimeError, match="the run is closed; take its results inside"):
            use()
    if executor is not None:
        with pytest.raises(RuntimeError, match="after shutdown"):
            run._pool.executor.submit(int)


def test_bad_calls_are_refused():
    with pytest.raises(TypeError, match="function: got int"), open_run(3):
        pass
    for executor, error, words in [
        (2, TypeError, "executor: got int; expected None, 'threads', 'processes'"),
        ("process", ValueError, "executor: got 'process'"),
        ("threads:0", ValueError, "number of workers after the colon"),
        ("processes:two", ValueError, "number of workers"),
    ]:
        with pytest.raises(error, match=words), open_run(square, executor=executor):
            pass
    with pytest.raises(TypeError, match="progress: got 1"), open_run(square, progress=1):
        pass
    lock = threading.Lock()
    with (
        pytest.raises(TypeError, match=r"can't be sent to other processes.*executor='threads'"),
        open_run(lambda i: lock, executor="processes"),
    ):
        pass
    with open_run(square) as run:
        run.map("a", numbered(2))
        with pytest.raises(ValueError, match="stage 'a' has been run already"):
            run.map("a", numbered(2))
        with pytest.raises(TypeError, match="jobs: got ndarray; expected tuples"):
            run.map("b", np.ones((2, 2)))
        with pytest.raises(ValueError, match="shorter"):
            run.map("c", numbered(2), [1])
        assert run.map("d", []) == []


# exceptions of the function


class TwoArguments(Exception):
    """Pickled without complaint, but can't be loaded."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_exception_surfaces_with_its_batch_and_keeps_what_is_done(executor, tmp_path):
    path = tmp_path / "run.npz"

    class Local(Exception):
        pass

    def function(i, fail):
        if i in fail:
            raise Local(f"no {i}")
        return np.array(float(i))

    def run_with(fail):
        with open_run(lambda i: function(i, fail), executor=executor, checkpoint=path) as run:
            run.map("one", numbered(3))
            return run.map("two", numbered(20))

    with pytest.raises(Local, match="no 7") as caught:
        run_with((7, 9))
    assert "in stage 'two', batch 8" in caught.value.__notes__
    if executor is not None and executor.startswith("processes"):
        assert any("raised in a worker" in note for note in caught.value.__notes__)
    entries = saved(path)
    assert {("one", i) for i in range(3)} | {("two", i) for i in range(7)} <= entries
    assert ("two", 7) not in entries
    assert [float(r) for r in run_with(())] == list(range(20))


def test_batches_that_run_beside_a_failing_one_are_awaited_and_kept(tmp_path):
    path, started = tmp_path / "run.npz", threading.Event()

    def function(i):
        if i == 0:
            started.wait(20)
            raise ValueError("no")
        if i == 1:
            started.set()
            time.sleep(0.3)
        return square(i)

    with (
        pytest.raises(ValueError, match="no"),
        open_run(function, executor="threads:2", checkpoint=path) as run,
    ):
        run.map("a", numbered(2))
    assert saved(path) == {("a", 1)}


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_broken_pool_inside_the_function_is_the_functions_failure(executor, tmp_path):
    log = tmp_path / "log"
    logged = logging_square(log)

    def function(i):
        logged(i)
        raise BrokenExecutor("a pool of its own")

    with (
        pytest.raises(BrokenExecutor, match="a pool of its own"),
        open_run(function, executor=executor) as run,
    ):
        run.map("a", numbered(1))
    assert lines(log) == ["0"]


def test_an_exception_that_cannot_be_sent_is_told_in_words():
    def function(i):
        raise TwoArguments("this", "that")

    with (
        pytest.raises(RuntimeError, match="TwoArguments: this and that") as caught,
        open_run(function, executor="processes:1") as run,
    ):
        run.map("a", numbered(2))
    assert "in stage 'a', batch 1" in caught.value.__notes__


@pytest.mark.parametrize("executor", [None, "threads:2"])
def test_keyboard_interrupt_keeps_finished_batches(executor, tmp_path):
    path = tmp_path / "run.npz"
    fourth = threading.Event()

    def function(i):
        if i == 4:
            fourth.set()
        if i == 5:
            # the fourth may be another thread's, and has to end before it counts as finished
            assert fourth.wait(30)
            time.sleep(0.2)
            raise KeyboardInterrupt
        return square(i)

    with (
        pytest.raises(KeyboardInterrupt),
        open_run(function, executor=executor, checkpoint=path) as run,
    ):
        run.map("a", numbered(10))
    assert {("a", i) for i in range(5)} <= saved(path)


# deaths of workers


@posix
def test_a_killed_worker_costs_nothing_but_its_batches(tmp_path):
    log, flag = tmp_path / "log", tmp_path / "flag"
    logged = logging_square(log)

    def function(i):
        if i == 5 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return logged(i)

    with open_run(function, executor="processes:2") as run:
        found = run.map("a", numbered(30))
    assert [float(r) for r in found] == [i**2.0 for i in range(30)]
    assert flag.exists()
    # at most what was in flight is computed twice
    assert 30 <= len(lines(log)) <= 34


@posix
def test_workers_killed_from_outside_at_any_moment():
    stop = threading.Event()
    killed = []

    def kill():
        rng = np.random.default_rng(1)
        while not stop.wait(rng.uniform(0.3, 0.5)):
            pool = run._pool.executor
            for process in list((getattr(pool, "_processes", None) or {}).values())[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
                if len(killed) == 3:
                    return

    def function(i):
        time.sleep(0.04)
        return square(i)

    with open_run(function, executor="processes:2") as run:
        thread = threading.Thread(target=kill)
        # the first pool stands before the killing starts
        assert run.map("start", numbered(2)) == [0.0, 1.0]
        thread.start()
        found = run.map("a", numbered(80))
        stop.set()
        thread.join()
    assert [float(r) for r in found] == [i**2.0 for i in range(80)]
    assert len(killed) >= 2


@posix
def test_a_batch_that_kills_its_worker_is_named_and_the_others_are_kept(tmp_path):
    path, log = tmp_path / "run.npz", tmp_path / "log"
    logged = logging_square(log)

    def function(i):
        result = logged(i)
        if i == 5:
            time.sleep(0.3)  # in flight whenever its neighbour kills the pool
        if i == 6:
            if lines(log).count("6") > 1:
                time.sleep(0.3)  # time for others to begin, if they were sent
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    words = "stage 'a', batch 7: its worker process died 3 times while nothing"
    with (
        pytest.raises(BrokenExecutor, match=words),
        open_run(function, executor="processes:2", checkpoint=path) as run,
    ):
        run.map("a", numbered(40))
    assert {("a", i) for i in range(6)} <= saved(path)
    assert ("a", 6) not in saved(path)
    # once with others, then three times by itself, and nothing else began meanwhile
    started = list(map(int, lines(log)))
    alone = started.index(6, started.index(6) + 1)
    assert started[alone:] == [6, 6, 6]


def test_a_script_without_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np\n"
        "from smcweights.execution import open_run\n"
        "with open_run(np.sin, executor='processes:1') as run:\n"
        "    run.map('a', [(np.ones(2),)])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    last = done.stderr[done.stderr.rindex("BrokenExecutor") :]
    assert "if __name__ == '__main__':" in last


@posix
def test_a_broken_pool_of_the_users_keeps_what_is_done_and_tells_how_to_go_on(tmp_path):
    path, log = tmp_path / "run.npz", tmp_path / "log"
    logged = logging_square(log)

    def function(i, deadly):
        if i == 12 and deadly:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return logged(i)

    def run_on(pool, checkpoint, deadly):
        call = lambda i: function(i, deadly)
        with open_run(call, executor=pool, checkpoint=checkpoint, seed=1) as run:
            return [float(r) for r in run.map("a", numbered(20))]

    with (
        forkserver_pool(2) as pool,
        pytest.raises(BrokenExecutor, match=r"stage 'a'.*executor='processes'"),
    ):
        run_on(pool, None, True)
    with (
        forkserver_pool(2) as pool,
        pytest.raises(BrokenExecutor, match=r"kept in .*run\.npz: call again.*new executor"),
    ):
        run_on(pool, path, True)
    done = saved(path)
    assert {("a", i) for i in range(12)} <= done
    # a pool that is dead from the start is told in the same way
    with pytest.raises(BrokenExecutor, match="call again"):
        run_on(pool_with_dead_workers(), path, True)
    log.unlink()
    with forkserver_pool(2) as pool:
        assert run_on(pool, path, False) == [i**2.0 for i in range(20)]
    assert sorted(map(int, lines(log))) == [i for i in range(20) if ("a", i) not in done]


def pool_with_dead_workers():
    pool = forkserver_pool(1)
    pid = pool.submit(os.getpid).result()
    os.kill(pid, signal.SIGKILL)
    while not pool._broken:
        time.sleep(0.01)
    return pool


# checkpoints


def saved(path):
    """Stages and batches in a checkpoint, read without the code that wrote it."""
    with np.load(path, allow_pickle=False) as archive:
        header = json.loads(bytes(archive["header"]))
    return {(stage, number) for stage, number, *_ in header["entries"]}


def three_stages(path, function, *, seed=None, executor=None, arguments=None, scale=1.0):
    with open_run(
        function, checkpoint=path, seed=seed, executor=executor, arguments=arguments
    ) as run:
        total, results = 0.0, []
        for stage in range(3):
            # later stages depend on the results of earlier ones, as adaptation does
            x = generator(run.root, "stage", stage).standard_normal((40, 2)) * scale + total
            parts = run.map(f"stage {stage}", [(x[a:b],) for a, b in batches(40)])
            total = float(sum(part[0].sum() for part in parts))
            results += parts
        return results, run.root


def mixed(x):
    return x.sum(1), {"big": x[:, 0] > 0, "n": np.array(len(x)), "t": x.T.astype(np.float32)}


def test_a_finished_checkpoint_replays_without_a_call(tmp_path):
    path = tmp_path / "run.npz"
    first, root = three_stages(path, mixed, arguments={"budget": 120, "law": [1, math_nan()]})

    def never(x):
        raise AssertionError("called")

    content = path.read_bytes()
    again, root_again = three_stages(path, never, arguments={"law": (1, math_nan()), "budget": 120})
    assert describe(root_again) == describe(root)  # seed=None takes the checkpoint's
    for (a, rest), (b, rest_again) in zip(first, again, strict=True):
        assert a.tobytes() == b.tobytes()
        assert list(rest) == list(rest_again)
        for key in rest:
            assert rest[key].dtype == rest_again[key].dtype
            assert rest[key].shape == rest_again[key].shape
            assert rest[key].strides == rest_again[key].strides
            assert rest[key].tobytes() == rest_again[key].tobytes()
    assert path.read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.npz"]


def math_nan():
    return float("nan")


def test_what_the_caller_does_with_results_stays_out_of_the_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    for k in range(3):
        with open_run(lambda i: np.ones(3), checkpoint=path) as run:
            for result in run.stream("a", numbered(3)):
                assert (result == 1).all()
                result *= 5
            # something new, so that the file is written again
            run.map(f"b{k}", numbered(1))


def test_other_arguments_seeds_and_inputs_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    arguments = {"budget": 100, "law": {"names": ["a"]}}
    three_stages(path, mixed, seed=1, arguments=arguments)
    content = path.read_bytes()
    for other, words in [
        ({**arguments, "budget": 200}, "budget was 100 and is 200 now"),
        ({"budget": 100}, r"law was \{.*\} and is nothing now"),
        ({**arguments, "more": None}, "more was nothing and is null now"),
        ({**arguments, "law": {"names": ["b" * 500]}}, r"law was .* and is .* \.\.\. .* now"),
    ]:
        with pytest.raises(ValueError, match=words):
            three_stages(path, mixed, seed=1, arguments=other)
    with pytest.raises(ValueError, match=r"another seed: it was .*1.* and is .*2.* now"):
        three_stages(path, mixed, seed=2, arguments=arguments)
    with pytest.raises(ValueError, match="stage 'stage 0', batch 1, for other inputs"):
        three_stages(path, mixed, seed=1, arguments=arguments, scale=1 + 1e-15)
    with pytest.raises(TypeError, match="arguments: expected what JSON can hold"):
        three_stages(path, mixed, seed=1, arguments={"law": object()})
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b[: len(b) // 2],
        lambda b: b[:-1],
        lambda b: b[: len(b) // 3] + bytes([b[len(b) // 3] ^ 1]) + b[len(b) // 3 + 1 :],
        lambda b: b"not a checkpoint",
        lambda b: npz(x=np.arange(3)),
        lambda b: npz(header=np.frombuffer(b'{"format": "another"}', np.uint8)),
        lambda b: npz(header=np.frombuffer(b'{"format"', np.uint8)),
        lambda b: npz(header=np.array([{}], dtype=object)),
    ],
    ids=["empty", "half", "cut", "flipped", "text", "foreign", "format", "json", "pickle"],
)
def test_a_damaged_or_foreign_file_is_refused_and_left_alone(damage, tmp_path):
    path = tmp_path / "run.npz"
    three_stages(path, mixed, seed=1)
    content = damage(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.npz can't be read as a checkpoint .*left as it is"):
        three_stages(path, mixed, seed=1)
    assert path.read_bytes() == content


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_a_path_that_cannot_be_written_is_found_out_before_the_first_call(tmp_path):
    def never(i):
        raise AssertionError("called")

    with (
        pytest.raises(FileNotFoundError),
        open_run(never, checkpoint=tmp_path / "none" / "run.npz") as run,
    ):
        run.map("a", numbered(1))
    with pytest.raises(IsADirectoryError), open_run(never, checkpoint=tmp_path) as run:
        run.map("a", numbered(1))


@pytest.mark.parametrize("result", [None, 1.0, [np.ones(2)], np.array([{}]), {1: np.ones(2)}])
def test_a_checkpoint_holds_arrays_only(result, tmp_path):
    with (
        pytest.raises(TypeError, match=r"function: returned .*a checkpoint holds arrays"),
        open_run(lambda i: result, checkpoint=tmp_path / "run.npz") as run,
    ):
        run.map("a", numbered(1))


def test_a_checkpoint_tells_jobs_apart(tmp_path):
    path = tmp_path / "run.npz"
    a = np.arange(6.0)
    distinct = [
        (a,),
        (a.reshape(2, 3),),
        (a.astype(np.float32),),
        ([a],),
        ((a,),),
        (a, None),
        ({"a": a},),
        (1,),
        (1.0,),
        (True,),
        ("1",),
        (np.random.SeedSequence(1),),
        (np.random.default_rng(1),),
        (np.random.default_rng(2),),
    ]
    assert len({execution._digest(job) for job in distinct}) == len(distinct)
    assert execution._digest((a[::2],)) == execution._digest((a[::2].copy(),))
    with (
        pytest.raises(TypeError, match="jobs: got object; with a checkpoint expected arrays"),
        open_run(lambda x: np.ones(1), checkpoint=path) as run,
    ):
        run.map("a", [(object(),)])


@pytest.mark.parametrize(("seconds_per_write", "between"), [(0.0, 4), (4.0, 9)])
def test_a_long_stage_is_saved_in_between(seconds_per_write, between, tmp_path, monkeypatch):
    # a batch takes 10 s: there are writes after more than 30 s, and 20 times what a write takes
    path, now, seen, fsync = tmp_path / "run.npz", [0.0], [], os.fsync

    def slow_fsync(descriptor):
        now[0] += seconds_per_write
        fsync(descriptor)

    def function(i):
        seen.append(len(saved(path)))
        now[0] += 10.0
        return square(i)

    clock = SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    monkeypatch.setattr(execution, "time", clock)
    monkeypatch.setattr(os, "fsync", slow_fsync)
    with open_run(function, checkpoint=path) as run:
        run.map("a", numbered(20))
    assert seen == [i // between * between for i in range(20)]
    assert len(saved(path)) == 20


def test_the_file_is_replaced_in_one_step_after_it_is_on_the_disk(tmp_path, monkeypatch):
    path, steps = tmp_path / "run.npz", []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor):
        # a kill now would leave the ledger as it was
        steps.append(("fsync", len(saved(path)) if path.exists() else None))
        fsync(descriptor)

    def watched_replace(source, target):
        steps.append(("replace", len(saved(source))))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    with open_run(square, checkpoint=path) as run:
        run.map("a", numbered(3))
        run.map("b", numbered(2))
    expected = [("fsync", None), ("replace", 0), ("fsync", 0), ("replace", 3)]
    assert steps == [*expected, ("fsync", 3), ("replace", 5)]

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), open_run(square, checkpoint=path) as run:
        run.map("a", numbered(3))
        run.map("c", numbered(3))
    assert len(saved(path)) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_old_remains_of_kills_are_swept_and_young_ones_left(tmp_path):
    path = tmp_path / "run.npz"
    old, young = tmp_path / ".run.npz.1f.partial", tmp_path / ".run.npz.2f.partial"
    other = tmp_path / ".another.npz.1f.partial"
    for remains in (old, young, other):
        remains.touch()
    for remains in (old, other):
        os.utime(remains, (time.time() - 7200,) * 2)
    with open_run(square, checkpoint=path):
        pass
    assert not old.exists() and young.exists() and other.exists()


# whole processes killed

LONG_RUN = """
    import sys, time
    import numpy as np
    from smcweights.execution import batches, open_run
    from smcweights.randomness import generator

    path, log, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])

    def note(text):
        with open(log, "a") as file:
            file.write(text + "\\n")

    def function(stage, x):
        note(f"call {stage}")
        time.sleep(pause)
        return np.exp(x @ x.T).sum(1)

    if __name__ == "__main__":
        total = 0.0
        note("start")
        with open_run(function, checkpoint=path, seed=5, arguments={"n": 1}) as run:
            for stage in range(12):
                x = generator(run.root, "stage", stage).standard_normal((64, 3)) + np.sin(total)
                jobs = [(stage, x[a:b]) for a, b in batches(64)]
                total += float(np.concatenate(run.map(f"stage {stage}", jobs)).sum())
                note(f"done {stage}")
        print(total.hex())
    """


@posix
def test_killed_at_any_moment_and_taken_up_again_it_gives_the_same_bits(tmp_path):
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(textwrap.dedent(LONG_RUN))

    def start(path, pause):
        return subprocess.Popen(
            [sys.executable, script, path, log, str(pause)], stdout=subprocess.PIPE, text=True
        )

    expected = start(tmp_path / "whole.npz", 0).communicate(timeout=60)[0]
    assert expected.strip()
    log.unlink()
    path, rng, kills, text = tmp_path / "run.npz", np.random.default_rng(3), 0, ""
    for _ in range(100):
        process = start(path, 0.002)
        # a moment at random in the run's own pace, whatever else the machine is doing
        written = len(lines(log)) + rng.integers(5, 50)
        while process.poll() is None and len(lines(log)) < written:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))
        process.kill()
        text = process.communicate()[0]
        if process.returncode == 0:
            break
        kills += 1
    assert process.returncode == 0 and text == expected
    assert kills >= 3
    # a stage that was finished is never computed again
    finished, runs = set(), log.read_text().split("start\n")[1:]
    for run in runs:
        called = {line.split()[1] for line in run.splitlines() if line.startswith("call")}
        assert not called & finished
        finished |= {line.split()[1] for line in run.splitlines() if line.startswith("done")}
    assert len(finished) == 12


INTERRUPTED = """
    import signal, sys, time
    # tests may run in the background of a shell, where interrupts are ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import numpy as np
    from smcweights.execution import open_run

    def function(i):
        if i > 2:
            time.sleep(60)
        return np.array(i)

    if __name__ == "__main__":
        with open_run(function, checkpoint=sys.argv[1], executor=sys.argv[2]) as run:
            stream = run.stream("a", [(i,) for i in range(4)])  # one worker is left idle
            print([int(next(stream)) for _ in range(3)], flush=True)
            next(stream)
    """


def session_ends(pid, seconds=15):
    """Whether all processes of a session that started with pid end in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        table = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True).stdout
        rows = [row.split() for row in table.splitlines()]
        if not any(int(group) == pid and not state.startswith("Z") for group, state in rows):
            return True
        time.sleep(0.1)
    return False


@posix
@pytest.mark.parametrize(
    ("executor", "number"),
    [("processes:2", signal.SIGINT), ("processes:2", signal.SIGKILL)],
    ids=["interrupt", "kill"],
)
def test_interrupted_or_killed_it_leaves_no_process_and_its_checkpoint(executor, number, tmp_path):
    script, path = tmp_path / "script.py", tmp_path / "run.npz"
    script.write_text(textwrap.dedent(INTERRUPTED))
    process = subprocess.Popen(
        [sys.executable, script, path, executor],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline().strip() == "[0, 1, 2]"
    time.sleep(0.3)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as Ctrl-C in a terminal: all processes get it
    else:
        os.kill(process.pid, number)
    _, text = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert text.rstrip().endswith("KeyboardInterrupt")
        assert "ForkServerProcess" not in text, "workers report the interrupt as well"
        assert {("a", 0), ("a", 1), ("a", 2)} <= saved(path)
    assert session_ends(process.pid), "processes are left"


# Dask


@pytest.fixture
def dask_client():
    distributed = pytest.importorskip("distributed")
    with contextlib.ExitStack() as stack:

        def client(workers):
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=":0",
                    silence_logs=50,
                )
            )
            return stack.enter_context(distributed.Client(cluster))

        yield client


@pytest.mark.parametrize("workers", [1, 2])
def test_dask_gives_the_same_bits_and_computes_equal_jobs_each(dask_client, workers, tmp_path):
    client = dask_client(workers)
    executor = client.get_executor()
    expected = flat(awkward_results(None))
    found = flat(awkward_results(executor))
    assert all(
        a.tobytes() == b.tobytes() and a.strides == b.strides
        for a, b in zip(found, expected, strict=True)
    )
    log = tmp_path / "log"
    with open_run(logging_square(log), executor=executor) as run:
        assert run._pool.window() == 2 * workers
        found = run.map("a", [(3,)] * 10) + run.map("b", [(3,)] * 10)
    assert [float(r) for r in found] == [9.0] * 20
    assert len(lines(log)) == 20
    # and so do two runs at the same time
    function = logging_square(log)
    with open_run(function, executor=executor) as one, open_run(function, executor=executor) as two:
        both = zip(one.stream("a", [(3,)] * 10), two.stream("a", [(3,)] * 10), strict=True)
        assert len(list(both)) == 10
    assert len(lines(log)) == 40
    with (
        pytest.raises(ZeroDivisionError) as caught,
        open_run(lambda i: np.array(1 / (i - 4)), executor=executor) as run,
    ):
        run.map("a", numbered(8))
    assert "in stage 'a', batch 5" in caught.value.__notes__


@posix
def test_dask_repeats_the_batches_of_a_killed_worker(dask_client, tmp_path):
    client = dask_client(2)
    flag = tmp_path / "flag"

    def function(i):
        time.sleep(0.02)
        if i == 9 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return np.array(i * 2)

    with open_run(function, executor=client.get_executor()) as run:
        assert [int(r) for r in run.map("a", numbered(40))] == [2 * i for i in range(40)]
    assert flag.exists()


def test_a_dask_client_in_place_of_its_executor_is_explained():
    class Client:
        def get_executor(self): ...

    with (
        pytest.raises(TypeError, match=r"executor: got Client; .*client\.get_executor\(\)"),
        open_run(square, executor=Client()),
    ):
        pass


# progress


def shown(capsys, **options):
    with open_run(square, description="demo", **options) as run:
        run.map("one", numbered(3), [10, 20, 30])
        run.map("two", numbered(2), [20, 20])
    return capsys.readouterr().err


def test_progress_counts_sizes_and_names_stages(capsys):
    text = shown(capsys, progress=True, total=100, unit="draws")
    assert "demo, two" in text
    assert re.search(r"100%.*100/100 .* draws/s", text)


def test_progress_is_silent_unless_asked_or_watched(capsys, monkeypatch):
    assert shown(capsys, progress=False) == ""
    assert shown(capsys) == ""  # not a terminal
    monkeypatch.setattr(execution, "_watched", lambda: True)
    assert shown(capsys) == ""  # a terminal, but under 2 s
    with open_run(square, description="demo", total=2) as run:
        run.map("one", numbered(1))
        run._bar.start_t -= 3
        run._bar.last_print_t -= 3
        run.map("two", numbered(1))
    assert "demo, two" in capsys.readouterr().err


def test_terminals_and_notebooks_are_watched(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not execution._watched()
    monkeypatch.setattr(sys, "stderr", None)
    assert not execution._watched()
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert execution._watched()


def test_import_brings_numpy_only():
    heavy = "numba jax arviz xarray pandas matplotlib scipy tqdm cloudpickle multiprocessing.pool"
    code = (
        "import sys, smcweights.execution, smcweights.randomness, smcweights.stopping\n"
        f"print([m for m in {heavy.split()!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
