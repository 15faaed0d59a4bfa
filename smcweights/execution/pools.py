"""Where batches are evaluated: in place, in threads, in processes, by an executor of the user's.

`Pool` takes numbered jobs and gives futures. Functions travel to other processes by cloudpickle,
once per worker; exceptions come back with their tracebacks.
"""

from __future__ import annotations

import contextvars
import hashlib
import io
import os
from collections import ChainMap
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from types import CodeType
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np

FUNCTIONS_KEPT = 4  # by a worker
FUNCTIONS: dict[str, Callable[..., Any]] = {}  # of this worker, by the digest of their bytes

Result = TypeVar("Result")
Part = TypeVar("Part")
Job = tuple[Any, ...]  # the arguments of one call; a NamedTuple will do
Address = tuple[str, str, int]  # run, stage and number of a batch


class Outcome(NamedTuple):
    """How a call ended: with a result, an exception, or not begun for lack of the function."""

    status: Literal["done", "failed", "unknown function"]
    result: Any = None


class Pool(Generic[Result]):
    """Takes numbered jobs and gives futures, whatever stands behind it."""

    def __init__(self, function: Callable[..., Result], executor: Executor | str | None) -> None:
        kind, workers = _executor_kind(executor)
        self.mine = kind in ("threads", "processes")
        self.function = function
        self.kind = kind
        self.workers = workers
        self.executor: Any = None if self.mine else executor
        self.submitted = 0
        self.closed = False
        # threads share the function, all others receive it as bytes
        self.ships = kind == "processes" or (
            kind == "executor" and not isinstance(executor, ThreadPoolExecutor)
        )
        if self.ships:
            self.body, self.digest = _pickled(function)

    def window(self) -> int:
        """Number of batches that may be in flight."""
        if self.kind == "in place":
            return 1
        if self.kind == "executor":
            self.workers = _workers_of(self.executor)
        return 2 * self.workers

    def submit(self, address: Address, job: Job, whole: bool = False) -> Future[Outcome]:
        """Future of one batch; ``whole`` sends the function with it for certain."""
        if self.kind == "in place":
            future: Future[Outcome] = Future()
            future.set_result(_attempt(self.function, job))
            return future
        try:
            if self.executor is None:
                self.renew()
            if not self.ships:
                # np.errstate and its like hold in the caller's context only
                context = contextvars.copy_context()
                return self.executor.submit(context.run, _attempt, self.function, job)
            # the first batches carry the function; a later worker that lacks it says so
            first = self.submitted < 2 * self.workers
            self.submitted += 1
            body = self.body if whole or first else None
            return self.executor.submit(_call, self.digest, body, address, job)
        except BrokenExecutor as error:
            if self.executor is None:
                raise
            future = Future()
            future.set_exception(error)
            return future

    def outcome(self, future: Future[Outcome]) -> Outcome:
        """How a batch ended; what this raises itself is the executor's failure."""
        ended = future.result()
        if ended.status == "failed" and self.ships:
            return Outcome("failed", _received_error(*ended.result))
        return ended

    def renew(self) -> None:
        """Start a pool of our own, in place of a broken one."""
        if self.executor is not None:
            self.executor.shutdown(wait=False)
            self.executor = None
        if self.kind == "threads":
            self.executor = ThreadPoolExecutor(self.workers, thread_name_prefix="smcweights")
            return
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        methods = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in methods else "spawn"
        fresh = ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context(method),
            initializer=_start_worker,
        )
        try:
            fresh.submit(os.getpid).result()
        except BrokenExecutor as error:
            raise BrokenExecutor(
                "worker processes can't be started. The likely cause: the script that runs this "
                "lacks the guard\n\n    if __name__ == '__main__':\n\naround its main part, which "
                f"every worker then runs as well when it imports the script (start method: "
                f"{method})"
            ) from error
        self.executor, self.submitted = fresh, 0

    def close(self, at_once: bool = False) -> None:
        """End a pool of our own; ``at_once`` ends its processes in the middle of their work."""
        self.closed = True
        if not self.mine or self.executor is None:
            return
        processes = list((getattr(self.executor, "_processes", None) or {}).values())
        self.executor.shutdown(wait=not at_once, cancel_futures=True)
        if at_once:
            for process in processes:
                process.terminate()


def _executor_kind(executor: object) -> tuple[str, int]:
    """Kind of executor, and the number of workers of a pool of ours."""
    if executor is None:
        return "in place", 1
    if isinstance(executor, Executor):
        return "executor", 1
    expected = "expected None, 'threads', 'processes' or a concurrent.futures.Executor"
    if not isinstance(executor, str):
        hint = (
            "; of a Dask client, client.get_executor()" if hasattr(executor, "get_executor") else ""
        )
        raise TypeError(f"executor: got {type(executor).__name__}; {expected}{hint}")
    kind, colon, number = executor.partition(":")
    if kind not in ("threads", "processes"):
        raise ValueError(f"executor: got {executor!r}; {expected}")
    if not colon:
        return kind, _processors()
    if not number.isdecimal() or int(number) < 1:
        raise ValueError(
            f"executor: got {executor!r}; expected a number of workers after the colon"
        )
    return kind, int(number)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _workers_of(executor: Executor) -> int:
    threads = getattr(getattr(executor, "_client", None), "nthreads", None)  # of Dask's workers
    if threads is not None:
        return max(sum(threads().values()), 1)
    for name in ("_max_workers", "num_workers"):
        number = getattr(executor, name, None)
        if isinstance(number, int) and number > 0:
            return number
    return _processors()


def _start_worker() -> None:
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


def _call(digest: str, body: bytes | None, address: Address, job: Job) -> Outcome:
    """Evaluate one batch in another process.

    ``address`` makes every call unlike any other: Dask computes equal calls only once.
    """
    try:
        function = FUNCTIONS.get(digest)
        if function is None:
            if body is None:
                return Outcome("unknown function")
            import cloudpickle

            function = cloudpickle.loads(body)
            FUNCTIONS[digest] = function
            for old in list(FUNCTIONS)[:-FUNCTIONS_KEPT]:
                FUNCTIONS.pop(old, None)
    except Exception as error:
        return Outcome("failed", _sent_error(error))
    ended = _attempt(function, job)
    return Outcome("failed", _sent_error(ended.result)) if ended.status == "failed" else ended


def _attempt(function: Callable[..., Any], job: Job) -> Outcome:
    try:
        return Outcome("done", copied(function(*(copied(part) for part in job))))
    except Exception as error:
        return Outcome("failed", error)


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


def _pickled(function: Callable[..., Any]) -> tuple[bytes, str]:
    import cloudpickle

    reduce_code = cloudpickle.CloudPickler.dispatch_table[CodeType]

    class Pickler(cloudpickle.CloudPickler):
        """Keeps the file of code, which tracebacks name; cloudpickle 3.1.3 drops it."""

        dispatch_table: ClassVar = ChainMap(
            {CodeType: lambda code: (_located, (code.co_filename, *reduce_code(code)))},
            cloudpickle.CloudPickler.dispatch_table,
        )

    buffer = io.BytesIO()
    try:
        Pickler(buffer).dump(function)
    except Exception as error:
        raise TypeError(
            f"function: can't be sent to other processes ({type(error).__name__}: {error}); "
            "executor='threads' needs no sending"
        ) from error
    body = buffer.getvalue()
    return body, hashlib.sha256(body).hexdigest()


def _located(file: str, build: Callable[..., CodeType], parts: tuple[Any, ...]) -> CodeType:
    return build(*parts).replace(co_filename=file)


def _sent_error(error: Exception) -> tuple[bytes | None, str, str]:
    """An exception as bytes, in a line, and as it would be printed.

    Some exceptions can be pickled but not loaded again, which would break a process pool.
    """
    import traceback

    import cloudpickle

    try:
        body = cloudpickle.dumps(error)
        cloudpickle.loads(body)
    except Exception:
        body = None
    return body, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))


def _received_error(body: bytes | None, summary: str, text: str) -> BaseException:
    import cloudpickle

    try:
        error = cloudpickle.loads(body or b"")
    except Exception:
        error = RuntimeError(f"the function raised an exception that can't be sent: {summary}")
    error.add_note(f"raised in a worker:\n\n{text}")
    return error
