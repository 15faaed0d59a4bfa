"""Where batches are evaluated changes nothing in the results."""

import subprocess
import sys
from concurrent.futures import (
    ThreadPoolExecutor,
)

from execution.support import awkward_results, flat, forkserver_pool


def test_every_executor_gives_the_same_bits_and_layout():
    expected = flat(awkward_results(None))
    assert len({a.tobytes() for a in expected[::6]}) == len(expected[::6])  # no buffer overwritten
    with ThreadPoolExecutor(2) as threads, forkserver_pool(2) as processes:
        for executor in ["threads:1", "threads", "processes:1", threads, processes]:
            found = flat(awkward_results(executor))
            for a, b in zip(found, expected, strict=True):
                assert a.dtype == b.dtype and a.strides == b.strides and a.tobytes() == b.tobytes()
        # an executor of the user's stays open
        assert threads.submit(int).result() == processes.submit(int).result() == 0


def test_import_brings_numpy_only():
    heavy = "numba jax arviz xarray pandas matplotlib scipy tqdm cloudpickle multiprocessing.pool"
    code = (
        "import sys, smcweights.execution, smcweights.randomness, smcweights.stopping\n"
        f"print([m for m in {heavy.split()!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
