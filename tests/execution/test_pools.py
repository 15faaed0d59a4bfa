"""Pools: functions, results and exceptions travel, whatever stands behind."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import (
    Executor,
    Future,
)

import numpy as np
import pytest

from smcweights.execution import open_run, pools
from smcweights.randomness import generator

from .support import (
    awkward_results,
    flat,
    forkserver_pool,
    lines,
    logging_square,
    numbered,
    posix,
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

    def submit(self, call, digest, body, address, job):
        pools.FUNCTIONS.pop(digest, None)
        self.asked.append((address[2], body is not None))
        future = Future()
        future.set_result(call(digest, body, address, job))
        return future


def test_more_functions_than_a_worker_keeps():
    with forkserver_pool(1) as pool:
        for _ in range(2):
            for k in range(pools.FUNCTIONS_KEPT + 2):
                with open_run(lambda i, k=k: np.array(100 * k + i), executor=pool) as run:
                    # more jobs than carry the function
                    assert [int(r) for r in run.map("a", numbered(7))] == [
                        100 * k + i for i in range(7)
                    ]
        kept = pool.submit(functions_kept).result()
    assert kept == pools.FUNCTIONS_KEPT


def functions_kept():
    return len(pools.FUNCTIONS)


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


class TwoArguments(Exception):
    """Pickled without complaint, but can't be loaded."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def test_an_exception_that_cannot_be_sent_is_told_in_words():
    def function(i):
        raise TwoArguments("this", "that")

    with (
        pytest.raises(RuntimeError, match="TwoArguments: this and that") as caught,
        open_run(function, executor="processes:1") as run,
    ):
        run.map("a", numbered(2))
    assert "in stage 'a', batch 1" in caught.value.__notes__


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


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
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
