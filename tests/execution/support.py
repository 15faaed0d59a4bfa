"""What the tests of runs share: functions to evaluate, pools, a reader of checkpoints."""

import json
import os
import threading
from concurrent.futures import (
    ProcessPoolExecutor,
)
from multiprocessing import get_context

import numpy as np
import pytest

from smcweights.execution import batches, open_run
from smcweights.randomness import generator, seed_sequence

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


OWN = threading.local()  # memory of a thread


def awkward(x):
    """Overwrites its input, returns one buffer every time, a strided view and a transposed one."""
    x *= 1.1
    if not hasattr(OWN, "buffer"):
        OWN.buffer = np.empty(3)
    OWN.buffer[:] = x.sum(0)[:3]
    y = np.exp(x @ x.T)
    return {"buffer": OWN.buffer, "view": y[:, ::2], "pair": (y.T, x.std(axis=1))}


EXECUTORS = [None, "threads:1", "threads:2", "processes:2"]
EXECUTORS += [pytest.param("processes:1", marks=pytest.mark.slow)]


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


def saved(path):
    """Stages and batches in a checkpoint, read without the code that wrote it."""
    with np.load(path, allow_pickle=False) as archive:
        header = json.loads(bytes(archive["header"]))
    return {(stage, number) for stage, number, *_ in header["entries"]}
