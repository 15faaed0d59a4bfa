"""Runs: order, laziness, failures, deaths of workers."""

import contextlib
import os
import signal
import threading
import time
from concurrent.futures import (
    BrokenExecutor,
    ThreadPoolExecutor,
)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smcweights.execution import batches, open_run

from .support import (
    EXECUTORS,
    forkserver_pool,
    lines,
    logging_square,
    numbered,
    posix,
    saved,
    square,
)


@pytest.mark.slow
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
        assert (64 if vectorized else 1) <= size <= 8192
        assert size == 8192 or size >= n / 32
        assert size <= max(n / 32 + 1, 64 if vectorized else 1)


def test_batches_refuse_what_is_no_number_of_rows():
    assert batches(0) == []
    assert batches(3, vectorized=False) == [(0, 1), (1, 2), (2, 3)]
    with pytest.raises(ValueError, match="n: got -1"):
        batches(-1)
    with pytest.raises(TypeError):
        batches(2.0)


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
        run_with({7})  # of two, the later may be met first where several work
    assert "in stage 'two', batch 8" in caught.value.__notes__
    if executor is not None and executor.startswith("processes"):
        assert any("raised in a worker" in note for note in caught.value.__notes__)
    entries = saved(path)
    assert {("one", i) for i in range(3)} <= entries
    # the other worker may have taken a batch and not begun it yet
    assert len({("two", i) for i in range(7)} - entries) <= (executor is not None)
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


def test_what_does_not_fit_into_memory_is_told_with_what_it_grows_by():
    with pytest.raises(MemoryError) as caught, open_run(abs):
        np.empty(2**55)
    assert "budget" in caught.value.__notes__[0] and "memory" in caught.value.__notes__[0]


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@posix
def test_a_broken_pool_of_the_users_keeps_what_is_done_and_tells_how_to_go_on(tmp_path):
    path, log = tmp_path / "run.npz", tmp_path / "log"
    logged = logging_square(log)

    def function(i, deadly):
        if i == 12 and deadly:
            end = time.monotonic() + 30
            while len(lines(log)) < 12 and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(0.2)
            os._exit(3) if deadly == "exit" else os.kill(os.getpid(), signal.SIGKILL)
        return logged(i)

    def run_on(pool, checkpoint, deadly):
        call = lambda i: function(i, deadly)
        log.unlink(missing_ok=True)
        with open_run(call, executor=pool, checkpoint=checkpoint, seed=1) as run:
            return [float(r) for r in run.map("a", numbered(20))]

    with (
        forkserver_pool(2) as pool,
        pytest.raises(BrokenExecutor, match=r"stage 'a'.*executor='processes'"),
    ):
        run_on(pool, None, "exit")
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
