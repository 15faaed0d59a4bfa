"""Pools: functions, results and exceptions travel, whatever stands behind."""

import contextlib
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import (
    Executor,
    Future,
    ProcessPoolExecutor,
)

import numpy as np
import pytest

from smcweights.execution import open_run, pools, workers
from smcweights.randomness import generator

from .support import (
    awkward_results,
    flat,
    lines,
    logging_square,
    numbered,
    posix,
    saved,
    square,
)


def test_workers_run_at_the_same_time(tmp_path):
    barrier = threading.Barrier(2, timeout=20)

    def meet(i):
        return np.array(barrier.wait() >= 0)

    with open_run(meet, executor="threads:2") as run:
        assert len(run.map("a", numbered(4))) == 4

    def wait_for_another(i):
        (tmp_path / str(os.getpid())).touch()
        end = time.monotonic() + 30
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        return np.array(os.getpid())

    with open_run(wait_for_another, executor="processes:2") as run:
        pids = {int(p) for p in run.map("a", numbered(4))}
    assert len(pids) == 2 and os.getpid() not in pids


def test_lambdas_closures_and_generators_travel():
    factor = np.arange(3.0)

    def draw(rng, shift):
        return rng.standard_normal(3) * factor + shift

    for function in (draw, lambda rng, shift: draw(rng, shift)):
        results = []
        for executor in (None, "threads:2", "processes:2"):
            with open_run(function, executor=executor, seed=3) as run:
                jobs = [(generator(run.root, "draw", i), i) for i in range(5)]
                results.append(np.stack(run.map("draw", jobs)).tobytes())
        assert len(set(results)) == 1


class Forgetful(Executor):
    """One worker, which has forgotten all functions before each call."""

    _max_workers = 1

    def __init__(self):
        self.asked = []

    def submit(self, call, digest, body, address, job, named):
        workers.FUNCTIONS.pop(digest, None)
        self.asked.append((address[2], body is not None))
        future = Future()
        future.set_result(call(digest, body, address, job, named))
        return future


def test_a_worker_without_a_large_function_gets_it_and_small_ones_travel_along():
    large = b"x" * pools.SMALL
    for function, first in [
        (lambda i: np.array(i), True),
        (lambda i: np.array(i + 0 * len(large)), False),
    ]:
        with open_run(function, executor=Forgetful()) as run:
            assert [int(r) for r in run.map("a", numbered(5))] == [0, 1, 2, 3, 4]
            asked = run._pool.executor.asked
        for i in range(5):
            carried = [whole for number, whole in asked if number == i]
            assert carried[0] is first and carried[-1] is True


LARGE = """
    import os, sys, time
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    import numpy as np
    from smcweights.execution import open_run

    def bytes_read(i, large):  # by this process so far, from pipes and sockets too
        time.sleep(0.05 + 0 * large[0])
        with open("/proc/self/io") as file:
            return np.array([os.getpid(), int(file.readline().split()[1])])

    if __name__ == "__main__":
        kind, large = sys.argv[1], np.ones(5_000_000)
        executor = "processes:2"
        if kind != "ours":
            executor = ProcessPoolExecutor(2, mp_context=get_context(kind))
        with open_run(lambda i: bytes_read(i, large), executor=executor) as run:
            for name in "ab":
                for pid, read in run.map(name, [(i,) for i in range(32)]):
                    print(pid, read)
    """


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="counts of Linux")
@pytest.mark.parametrize("kind", ["ours", "forkserver", "fork"])
def test_a_large_model_travels_once_per_worker(kind, tmp_path):
    # in a process of its own, from which a pool may fork
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(LARGE))
    command = [sys.executable, "-W", "ignore", script, kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    table = np.array([line.split() for line in done.stdout.splitlines()], dtype=int)
    assert len(table) == 64, done.stderr
    size = 40_000_000
    read = [table[table[:, 0] == pid, 1].max() for pid in np.unique(table[:, 0])]
    assert len(read) == 2
    # imports are a few MB; a worker may take a first task that was meant for the other, and so
    # get the model a second time
    assert all(n > size for n in read) and sum(read) < 3.3 * size, read


@pytest.mark.slow
def test_dask_spreads_a_large_model_once_and_again_when_it_is_lost(dask_client, monkeypatch):
    client, large, spread, sent = dask_client(2), np.ones(1_000_000), [], []
    scatter, submit = client.scatter, client.submit

    def counted(*given, **named):
        sent.append(len(pickle.dumps(given[1:4:2])))  # digest and address; the rest is the job
        return submit(*given, **named)

    monkeypatch.setattr(client, "scatter", lambda *a, **k: spread.append(k) or scatter(*a, **k))
    monkeypatch.setattr(client, "submit", counted)
    with open_run(lambda i: large[:1] * i, executor=client.get_executor()) as run:
        assert len(run.map("a", numbered(20))) == 20
        assert spread == [{"broadcast": True, "hash": False}]
        client.restart()
        assert [float(r[0]) for r in run.map("b", numbered(20))] == list(range(20))
    assert len(spread) == 2 and sum(sent) < 100_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sending large graph")
def test_a_cluster_that_grows_as_tasks_come_is_not_waited_for(dask_client):
    client, large = dask_client(0), np.ones(1_000_000)
    client.cluster.adapt(minimum=0, maximum=1, interval="100 ms")
    with open_run(lambda i: large[:1] * i, executor=client.get_executor()) as run:
        assert [float(r[0]) for r in run.map("a", numbered(20))] == list(range(20))


class Counting(Executor):
    """One process that says it is many, and counts the bytes it is sent."""

    def __init__(self, number):
        self._max_workers, self.sent = number, []

    def submit(self, *parts):
        self.sent.append(len(body := pickle.dumps(parts)))
        call, *given = pickle.loads(body)
        future = Future()
        future.set_result(call(*given))
        return future


@pytest.mark.parametrize("number", [1, 2, 32])
def test_workers_that_share_a_process_get_a_large_model_once(number):
    large = np.full(1_000_000, float(number))
    executor = Counting(number)
    for _ in range(2):
        with open_run(lambda i: large[:1] * i, executor=executor) as run:
            run.map("a", numbered(40))
    assert sum(n > 8_000_000 for n in executor.sent) == 1
    assert sum(executor.sent) < 8_200_000


FORKED = """
    import sys
    import numpy as np
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    def model(i):
        import jax.numpy as jnp
        return np.array(float(jnp.sin(jnp.float32(i))))

    if __name__ == "__main__":
        when, method = sys.argv[1:]
        pool = ProcessPoolExecutor(2, mp_context=get_context(method))
        if when == "after":
            model(1)
        if when == "started before":
            pool.submit(abs, 1).result()
            model(1)
        if when == "started after":
            model(1)
            pool.submit(abs, 1).result()
        from smcweights.execution import open_run
        try:
            with open_run(model, executor=pool) as run:
                model(1)
                print(len(run.map("a", [(i,) for i in range(4)])))
        except ValueError as error:
            print(error)
    """


@pytest.mark.slow
@posix
@pytest.mark.parametrize(
    ("when", "method", "words"),
    [
        ("before", "fork", "4"),
        ("after", "fork", "executor: got ProcessPoolExecutor, whose workers are forked from this"),
        ("started before", "fork", "4"),
        ("started after", "fork", "after JAX started threads in it, and may hang for ever"),
        ("after", "forkserver", "4"),
    ],
)
def test_pools_that_fork_a_process_with_threads_are_refused(when, method, words, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(FORKED))
    command = [sys.executable, "-W", "ignore", script, when, method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert words in done.stdout, done.stderr


HELD = """
    from concurrent.futures import Executor, Future
    from multiprocessing import get_context
    from smcweights.execution import pools, workers

    class Held(Executor):
        def __init__(self, method):
            self.pool = get_context(method).Pool(1)

        def submit(self, function, *given):
            future = Future()
            future.set_result(self.pool.apply(function, given))
            return future

    if __name__ == "__main__":
        early = Held("fork")
        workers.threads_running = lambda: ["JAX"]
        for executor in (early, Held("fork"), Held("forkserver")):
            with executor.pool:
                try:
                    pools.Pool(abs, executor, "model")
                    print("taken")
                except ValueError as error:
                    print(error)
    """


@posix
def test_a_pool_held_by_an_executor_of_the_users_is_found(tmp_path):
    # in a process of its own: this one may have JAX's threads
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(HELD))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    early, late, served = done.stdout.splitlines() or [done.stderr, "", ""]
    assert (early, served) == ("taken", "taken")
    assert "got Held, whose workers are forked" in late


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("when", ["started", "starting"])
def test_an_interrupt_while_workers_start_leaves_none(when, monkeypatch):
    submit, start = ProcessPoolExecutor.submit, threading.Thread.start

    def interrupted(pool, *_):
        submit(pool, time.sleep, 60)
        raise KeyboardInterrupt

    def interrupted_start(thread):
        if "ExecutorManager" in type(thread).__name__:
            monkeypatch.setattr(threading.Thread, "start", start)
            raise KeyboardInterrupt  # before the thread that looks after the workers runs
        start(thread)

    if when == "started":
        monkeypatch.setattr(ProcessPoolExecutor, "submit", interrupted)
    else:
        monkeypatch.setattr(threading.Thread, "start", interrupted_start)
    with pytest.raises(KeyboardInterrupt), open_run(square, executor="processes:2") as run:
        run.map("a", numbered(4))
    end = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_dask_ends_the_batches_beside_a_failing_one_and_logs_nothing(dask_client, tmp_path, caplog):
    client = dask_client(2)

    def function(i):
        time.sleep(0.002 * (i % 3))
        if i == 7:
            raise ValueError("no")
        return np.full(200_000, i)

    logging.getLogger("tornado.application").addHandler(caplog.handler)
    for number in range(10):
        path = tmp_path / f"{number}.npz"
        with (
            pytest.raises(ValueError, match="no"),
            open_run(function, executor=client.get_executor(), checkpoint=path) as run,
        ):
            run.map("a", numbered(40))
        assert {("a", i) for i in range(7)} <= saved(path)
    logging.getLogger("tornado.application").removeHandler(caplog.handler)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.slow
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


MPI = """
    import os, pickle
    import numpy as np
    from mpi4py.futures import MPIPoolExecutor
    from smcweights.execution import open_run

    class Counting(MPIPoolExecutor):
        sent = []

        def submit(self, *parts):
            self.sent.append(len(pickle.dumps(parts)))
            return super().submit(*parts)

    if __name__ == "__main__":
        large, jobs = np.full(1_000_000, 0.1), [(i,) for i in range(30)]
        model = lambda i: np.array([large[:7].sum() * i, os.getpid()])
        with open_run(model) as run:
            expected = np.array(run.map("a", jobs))[:, 0]
        with Counting(2) as pool:
            with open_run(model, executor=pool) as run:
                found = np.array(run.map("a", jobs))
            assert (found[:, 0] == expected).all() and os.getpid() not in found[:, 1]
            workers = len(set(found[:, 1]))
            assert sum(n > 8_000_000 for n in pool.sent) <= workers + 1, pool.sent
            try:
                with open_run(lambda i: 1 / (i - 3), executor=pool) as run:
                    run.map("a", jobs)
            except ZeroDivisionError as error:
                print(*error.__notes__, sep="\\n")
    """


@pytest.mark.slow
@posix
def test_mpi_gives_the_same_bits_and_gets_a_large_model_once_per_worker(tmp_path):
    places = [os.path.dirname(sys.executable), os.environ.get("PATH", "")]
    start = shutil.which("mpiexec", path=os.pathsep.join(places))
    assert start, "expected mpiexec, of the package mpich or of the system"
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(MPI))
    command = [start, "-n", "3", sys.executable, "-m", "mpi4py.futures", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.rstrip().endswith("in stage 'a', batch 4"), done.stderr
