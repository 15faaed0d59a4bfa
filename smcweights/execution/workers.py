"""What runs where batches are evaluated: in a worker of whatever kind.

A worker keeps the functions it was sent, by the digest of their bytes, from run to run. Every
call gets copies of its own, and its failure comes back as an outcome.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from ..errors import LEAVING, exit_error

__all__ = [
    "FUNCTIONS",
    "FUNCTIONS_KEPT",
    "Address",
    "Job",
    "Outcome",
    "attempt",
    "call",
    "copied",
    "inherited",
    "start",
    "threads_running",
]

FUNCTIONS_KEPT = 4
FUNCTIONS: dict[str, Callable[..., Any]] = {}  # by the digest of their bytes

Part = TypeVar("Part")
Job = tuple[Any, ...]  # the arguments of one call; a NamedTuple will do
Address = tuple[str, str, int]  # run, stage and number of a batch


class Outcome(NamedTuple):
    """How a call ended, and on which worker."""

    status: Literal["done", "failed", "unknown function"]
    result: Any = None
    worker: str = ""


def start() -> None:
    """Begin as a worker of a pool of ours."""
    import multiprocessing
    import signal
    import threading

    # Ctrl-C reaches all processes of a terminal; the parent decides what becomes of it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    # a parent that is killed leaves its workers waiting for ever
    threading.Thread(target=end_with_parent, daemon=True).start()


def call(digest: str, body: bytes | None, address: Address, job: Job, named: str) -> Outcome:
    """Evaluate one batch in another process, of a function that errors call ``named``.

    ``address`` makes every call unlike any other: Dask computes equal calls only once.
    """
    here = f"{platform.node()} {os.getpid()}"
    try:
        function = FUNCTIONS.get(digest)
        if function is None:
            if body is None:
                return Outcome("unknown function", worker=here)
            import cloudpickle

            function = cloudpickle.loads(body)
            FUNCTIONS[digest] = function
            for old in list(FUNCTIONS)[:-FUNCTIONS_KEPT]:
                FUNCTIONS.pop(old, None)
        ended = attempt(function, job, named)
    except Exception as error:
        ended = Outcome("failed", error)
    result = _sent_error(ended.result) if ended.status == "failed" else ended.result
    return Outcome(ended.status, result, here)


def attempt(function: Callable[..., Any], job: Job, named: str) -> Outcome:
    """Evaluate one batch in this process."""
    try:
        return Outcome("done", copied(function(*(copied(part) for part in job))))
    except LEAVING as end:
        return Outcome("failed", exit_error(named, end).with_traceback(end.__traceback__))
    except Exception as error:
        return Outcome("failed", error)


def threads_running() -> list[str]:
    """Libraries with threads in this process; a child forked from it would wait for them."""
    jax, numba = map(sys.modules.get, ("jax._src.xla_bridge", "numba.np.ufunc.parallel"))
    found = {
        "JAX": bool(getattr(jax, "_backends", None)),
        "OpenMP by numba": getattr(numba, "_threading_layer", None) == "omp",
    }
    return [name for name, there in found.items() if there]


# what ran when this process was forked; if this file came later, what runs when it comes
_INHERITED = threads_running()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        after_in_child=lambda: _INHERITED.__setitem__(slice(None), threads_running())
    )


def inherited() -> list[str]:
    """Libraries whose threads this worker was forked without."""
    return _INHERITED


def copied(value: Part) -> Part:
    """The same with all arrays copied into one memory layout: sums depend on it."""
    part: Any = value
    if isinstance(part, np.ndarray):
        return np.array(part, order="C")  # type: ignore[return-value]
    if type(part) in (tuple, list):
        return type(part)(copied(inner) for inner in part)
    if isinstance(part, tuple) and hasattr(part, "_make"):
        return part._make(copied(inner) for inner in part)
    if type(part) is dict:
        return {key: copied(inner) for key, inner in part.items()}  # type: ignore[return-value]
    return value


def _sent_error(error: Exception) -> tuple[bytes | None, str, str]:
    """An exception as bytes, in a line, and as it would be printed.

    Some exceptions can be pickled but not loaded again, which would break a process pool.
    """
    import traceback

    import cloudpickle

    try:
        body = cloudpickle.dumps(error)
        cloudpickle.loads(body)
    except Exception:  # whatever the user's own exception class raises as it is pickled
        body = None
    return body, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))
