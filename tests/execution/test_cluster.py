"""A cluster started from the command line gives the digits of a single process."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import smcweights as smw

from .support import lines, posix


@contextlib.contextmanager
def command(*arguments, log):
    """A process of Dask's command line, ended with the test."""
    with (
        open(log, "w") as out,
        subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], stdout=out, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def sleeping(log):
    """A model that takes 20 ms a batch, and writes down who evaluated it."""

    def model(x):
        time.sleep(0.02)
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        return np.stack([np.exp(x[:, 0]), x[:, 0] * x[:, 1] ** 2], axis=1)

    return model


def draws(executor, log):
    """An estimate whose batches take their time, in several stages."""
    law = [stats.norm(0.1, 1.0), stats.norm(0.0, 0.5)]
    return smw.adaptive_importance_sampling(sleeping(log), law, 4_000, seed=3, executor=executor)


def others(executor):
    """What other rooms send to workers."""
    x = np.random.default_rng(1).normal(size=(60, 3))
    coin = smw.languages.markov_chain([0.5, 0.5], [[0.3, 0.7], [0.6, 0.4]])
    even = smw.constraints.automaton([[0, 1], [1, 0]], accepting=[0])
    sequences = smw.constrained_sequences(
        coin, even, 20, 8, method="rao-blackwell", seed=1, executor=executor
    )
    return (
        smw.sliced_wasserstein(x, 2 * x + 1, 200, seed=1, executor=executor),
        sequences.log_evidence,
    )


def digits(estimates):
    return [(est.value.tobytes(), est.covariance.tobytes()) for est in estimates]


@pytest.mark.slow
@posix
def test_a_killed_worker_of_two_costs_no_digit(tmp_path):
    distributed = pytest.importorskip("distributed")
    address, log = str(tmp_path / "scheduler.json"), tmp_path / "log"
    serial = draws(None, tmp_path / "serial")
    with contextlib.ExitStack() as stack:
        here = ("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", address)
        start = command("scheduler", "--port", "0", *here, log=tmp_path / "scheduler.log")
        stack.enter_context(start)
        for name in ("first", "second"):
            own = ("--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path / name))
            stack.enter_context(command("worker", *own, *here, log=tmp_path / f"{name}.log"))
        client = stack.enter_context(distributed.Client(scheduler_file=address, timeout=60))
        client.wait_for_workers(2, timeout=60)
        pids = client.run(os.getpid)
        doomed = min(pids.values())

        def kill():
            # in the middle of its work, once it has done some
            while lines(log).count(str(doomed)) < 10:
                time.sleep(0.005)
            os.kill(doomed, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        log.touch()
        killer.start()
        found = draws(client.get_executor(), log)
        killer.join(10)
        assert not killer.is_alive()
        assert len(client.nthreads()) == 1
        after = lines(log)
        last = len(after) - 1 - after[::-1].index(str(doomed))
        assert set(after) == {str(pid) for pid in pids.values()}
        # most of the work was still to be done
        assert last < len(after) / 2
        assert digits([found]) == digits([serial])
        assert digits(others(client.get_executor())) == digits(others(None))


def test_the_lines_in_the_documentation_are_python():
    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 5
    for block in blocks:
        compile(block, "cluster.md", "exec")
