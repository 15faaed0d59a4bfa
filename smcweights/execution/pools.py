"""Where batches are evaluated: in place, in threads, in processes, by an executor of the user's.

`Pool` takes numbered jobs and gives futures. A function travels to other processes by cloudpickle:
a small one with each batch, a large one once per worker. Dask spreads it; elsewhere a batch names
it by its digest, and workers that lack it say so and get it. Exceptions come back with their
tracebacks.
"""

from __future__ import annotations

import contextvars
import hashlib
import io
import os
from collections import ChainMap
from collections.abc import Callable, Collection
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import suppress
from types import CodeType
from typing import Any, ClassVar, Generic, TypeVar

from . import workers
from .workers import Address, Job, Outcome

__all__ = ["SMALL", "Pool"]

SMALL = 2**16  # bytes of functions that every batch carries
MOST_SPREADS = 10  # of a large one, on Dask

Result = TypeVar("Result")


class Pool(Generic[Result]):
    """Takes numbered jobs and gives futures, whatever stands behind it; ``named`` in errors."""

    def __init__(
        self, function: Callable[..., Result], executor: Executor | str | None, named: str
    ) -> None:
        self.kind, self.workers = _executor_kind(executor)
        self.mine = self.kind in ("threads", "processes")
        self.function, self.named = function, named
        self.executor: Any = None if self.mine else executor
        self.client: Any = None  # of Dask
        self.closed = False
        self.owners: set[str] = set()  # workers that have the function
        self.lacking: set[str] = set()
        self.sent: dict[Future[Outcome], Any] = {}  # by batch under way, what came with it of it
        # threads share the function, all others receive it as bytes
        self.ships = self.kind == "processes" or (
            self.kind == "executor" and not isinstance(executor, ThreadPoolExecutor)
        )
        if isinstance(executor, Executor):
            _check_forks(executor)
        if self.ships:
            self.body, self.digest = _pickled(function, named)
            self.spread: Any = self.body if len(self.body) <= SMALL else None
            client = getattr(executor, "_client", None)
            self.client = client if hasattr(client, "scatter") else None
            self.left = MOST_SPREADS

    def window(self) -> int:
        """Number of batches that may be in flight."""
        if self.kind == "in place":
            return 1
        if self.kind == "executor":
            self.workers = _workers_of(self.executor)
        return 2 * self.workers

    def submit(self, address: Address, job: Job, whole: bool = False) -> Future[Outcome]:
        """Future of one batch; ``whole`` sends the function with it for certain."""
        future: Future[Outcome]
        if self.kind == "in place":
            future = Future()
            future.set_result(workers.attempt(self.function, job, self.named))
            return future
        try:
            if self.executor is None:
                self.renew()
            if not self.ships:
                # np.errstate and its like hold in the caller's context only
                context = contextvars.copy_context()
                attempt = context.run, workers.attempt, self.function, job, self.named
                return self.executor.submit(*attempt)
            # of a cluster that grows as tasks come, the first carry the function
            if self.spread is None and self.client is not None and self.client.nthreads():
                self.spread = self.client.scatter(self.body, broadcast=True, hash=False)
                self.left -= 1
            lacks = whole if self.client is None else self.spread is None
            body = self.body if lacks else self.spread
            future = self.executor.submit(workers.call, self.digest, body, address, job, self.named)
        except BrokenExecutor as error:
            if self.executor is None:
                raise
            future = Future()
            future.set_exception(error)
        else:
            self.sent[future] = body
        return future

    def outcome(self, future: Future[Outcome]) -> Outcome:
        """How a batch ended; what this raises itself is the executor's failure."""
        came = self.sent.pop(future, None)
        try:
            ended = future.result()
        except CancelledError:
            if came is not None and came is self.spread and came is not self.body:
                self.spread = None  # lost with the workers that had it
            raise
        if ended.status == "unknown function":
            self.owners.discard(ended.worker)
            self.lacking.add(ended.worker)
        else:
            self.owners.add(ended.worker)
            self.lacking.discard(ended.worker)
        if ended.status == "failed" and self.ships:
            return Outcome("failed", _received_error(*ended.result))
        return ended

    def awaited(self) -> bool:
        """Whether as many batches carry the function as there are workers known to lack it."""
        return sum(body is self.body for body in self.sent.values()) >= len(self.lacking)

    def spreads_again(self) -> bool:
        """Whether Dask may get the function again, after all workers that had it were lost."""
        large = self.ships and self.client is not None and len(self.body) > SMALL
        open_still = large and self.client.status == "running" and not self.executor._shutdown
        return open_still and self.left > 0

    def stop(self, futures: Collection[Future[Outcome]], awaited: bool) -> None:
        """Cancel batches; ``awaited`` waits for those that run.

        Dask doesn't say which do, and one that ends while it is cancelled is an error in its log:
        all are waited for while there are workers, two for each at most.
        """
        left = {f for f in futures if awaited and (self.client is not None or not f.cancel())}
        try:
            while left and self._workers_left():
                left = wait(left, timeout=1).not_done
        finally:
            for future in futures:
                future.cancel()

    def _workers_left(self) -> bool:
        """Whether batches that were sent may end; Dask waits for workers for ever."""
        client = self.client
        return client is None or (client.status == "running" and bool(client.nthreads()))

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
            initializer=workers.start,
        )
        try:
            fresh.submit(os.getpid).result()
        except (BrokenExecutor, EOFError, ConnectionError) as error:
            # since Python 3.14 the server of workers imports the script, and breaks at its place
            raise BrokenExecutor(
                "worker processes can't be started. The likely cause: the script that runs this "
                "lacks the guard\n\n    if __name__ == '__main__':\n\naround its main part, which "
                f"every worker then runs as well when it imports the script (start method: "
                f"{method})"
            ) from error
        except BaseException:
            self.executor = fresh  # for `close` to end what has started
            raise
        self.executor = fresh
        self.owners, self.lacking, self.sent = set(), set(), {}

    def close(self, at_once: bool = False) -> None:
        """End a pool of our own; ``at_once`` ends its processes in the middle of their work."""
        self.closed = True
        if not self.mine or self.executor is None:
            return
        processes = list((getattr(self.executor, "_processes", None) or {}).values())
        manager = getattr(self.executor, "_executor_manager_thread", None)
        self.executor.shutdown(wait=not at_once, cancel_futures=True)
        if at_once:
            for process in processes:
                process.terminate()
            if manager is not None:
                # it closes a pipe that Python writes to when it ends: not both at the same time
                with suppress(RuntimeError):  # interrupted while it was started
                    manager.join(5)


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


def _workers_of(executor: Any) -> int:
    threads = getattr(getattr(executor, "_client", None), "nthreads", None)  # of Dask's workers
    if threads is not None:
        return max(sum(threads().values()), 1)
    for name in ("_max_workers", "num_workers"):
        number = getattr(executor, name, None)
        if isinstance(number, int) and number > 0:
            return number
    return _processors()


def _check_forks(executor: Executor) -> None:
    """Refuse workers forked from a process with threads: JAX and OpenMP wait for them for ever."""
    from multiprocessing.pool import Pool as ProcessPool

    pools = [part for part in vars(executor).values() if isinstance(part, ProcessPool)]
    contexts = [getattr(executor, name, None) for name in ("_mp_context", "_context")]
    contexts += [getattr(pool, "_ctx", None) for pool in pools]
    if all(c is None or c.get_start_method() != "fork" for c in contexts):
        return
    started = bool(pools or getattr(executor, "_processes", None))
    threads = workers.threads_running()
    with suppress(RuntimeError):  # a broken or closed one, of which `submit` tells
        if started:
            threads = threads and executor.submit(workers.inherited).result()
        elif not threads:
            # forks all of its workers, before what the method does starts any thread
            executor.submit(os.getpid).result()
    if threads:
        raise ValueError(
            f"executor: got {type(executor).__name__}, whose workers are forked from this process "
            f"after {' and '.join(threads)} started threads in it, and may hang for ever; expected "
            "'processes', or ProcessPoolExecutor(mp_context=multiprocessing.get_context("
            "'forkserver')), or a pool whose workers started before"
        )


def _pickled(function: Callable[..., Any], named: str) -> tuple[bytes, str]:
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
            f"{named}: can't be sent to other processes ({type(error).__name__}: {error}); "
            "executor='threads' needs no sending"
        ) from error
    body = buffer.getvalue()
    return body, hashlib.sha256(body).hexdigest()


def _located(file: str, build: Callable[..., CodeType], parts: tuple[Any, ...]) -> CodeType:
    return build(*parts).replace(co_filename=file)


def _received_error(body: bytes | None, summary: str, text: str) -> BaseException:
    import cloudpickle

    try:
        error = cloudpickle.loads(body or b"")
    except Exception:  # whatever the user's own exception class raises as it is made anew
        error = RuntimeError(f"the function raised an exception that can't be sent: {summary}")
    error.add_note(f"raised in a worker:\n\n{text}")
    return error
