"""Evaluate a function on numbered batches: in place, in threads, in processes, on a cluster.

A method opens a run around the function it evaluates and hands it batches, stage by stage:

    with open_run(function, executor=executor, checkpoint=checkpoint, seed=seed) as run:
        rng = generator(run.root, "stage 1")
        x = rng.standard_normal((n, d))
        values = run.map("stage 1", [(x[a:b],) for a, b in batches(n)])

Where the batches are evaluated changes nothing in the results, bit for bit:

- what is in a batch follows from the arguments (`batches`), never from the number of workers;
- results come back in the order of the batches;
- every executor gives the function its own C-ordered copies of the arrays, and takes copies of what
  it returns: a function that overwrites its input, or returns the same buffer twice, does no harm.

Which executor when:

- ``None``: fast vectorised functions, where one process is enough;
- ``"threads"``: functions that release the GIL (NumPy on large arrays, numba with ``nogil``, JAX);
- ``"processes"``: all other Python functions. The processes are started by a fork server, because
  forking a process in which JAX or OpenMP ran makes children hang; a worker that dies costs the
  batches it had. ``"threads:4"`` and ``"processes:4"`` set the number of workers;
- any `concurrent.futures.Executor`: ``client.get_executor()`` of Dask, ``MPIPoolExecutor`` of
  mpi4py, a pool kept from run to run.

Functions travel by cloudpickle, so lambdas and functions of a notebook will do.

A checkpoint is a ledger of results by stage and batch. A later run repeats the method and takes
from the ledger what is there instead of calling the function, so that the method sees the same
numbers as in an uninterrupted run. It is replaced in one step after each stage: a kill at any
moment leaves either the old ledger or the new one.
"""

from __future__ import annotations

import contextvars
import glob
import hashlib
import io
import json
import math
import operator
import os
import secrets
import sys
import time
from collections import ChainMap
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from itertools import repeat
from types import CodeType
from typing import Any, ClassVar

import numpy as np

from . import randomness

__all__ = ["Run", "batches", "open_run"]

MOST_DEATHS = 3  # of workers at a batch that ran alone
FUNCTIONS_KEPT = 4  # by a worker
SECONDS_BETWEEN_WRITES = 30.0  # of the checkpoint within a stage
FORMAT = "smcweights checkpoint 1"


def batches(n: int, *, vectorized: bool = True) -> list[tuple[int, int]]:
    """Row ranges in which n rows are evaluated.

    Parameters
    ----------
    n : int
        Number of rows, at least 0.
    vectorized : bool, default True
        Whether the function takes many rows at once; if not, a batch may have a single row.

    Returns
    -------
    list of (int, int)
        Starts and ends: about n/32 rows each, at least 16 (or 1), at most 8192. They depend on
        the arguments only, because the same row in a batch of another size may differ in its last
        bits.

    Raises
    ------
    TypeError, ValueError
        ``n`` is not a whole number from 0.

    Examples
    --------
    >>> batches(40)
    [(0, 16), (16, 32), (32, 40)]
    """
    n = operator.index(n)
    if n < 0:
        raise ValueError(f"n: got {n}; expected a number of rows from 0")
    size = min(max(math.ceil(n / 32), 16 if vectorized else 1), 8192)
    return [(start, min(start + size, n)) for start in range(0, n, size)]


@contextmanager
def open_run(
    function: Callable[..., Any],
    *,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
    arguments: Mapping[str, Any] | None = None,
    seed: Any = None,
    total: int | None = None,
    unit: str = "calls",
    description: str = "",
) -> Iterator[Run]:
    """Open a run: where a function is evaluated, how that is shown, and where it is kept.

    Parameters
    ----------
    function : callable
        Takes the entries of a job; returns an array, or a tuple or dict of arrays.
    executor : None, "threads", "processes" or concurrent.futures.Executor, default None
        Where it is called, see the page of this module. An executor of the user's is left open.
    progress : bool, optional
        Whether a progress bar is shown; by default in a terminal or notebook, after 2 s.
    checkpoint : path, optional
        File of results; created if missing, taken up if not.
    arguments : mapping, optional
        All that the results depend on, in types that JSON can hold. A checkpoint made with other
        arguments is refused.
    seed : None, int, SeedSequence, Generator or dict, optional
        Root of the run's random streams; None takes the checkpoint's, or fresh entropy.
    total : int, optional
        Expected sum of the sizes of all batches, for the progress bar.
    unit : str, default "calls"
        What the sizes count.
    description : str, default ""
        Title of the progress bar.

    Yields
    ------
    Run

    Raises
    ------
    TypeError
        An argument is of the wrong kind, or the function can't be sent to other processes.
    ValueError
        The executor's name is unknown; or the checkpoint is damaged, or of a run with other
        arguments or another seed. The file is left as it is.

    Examples
    --------
    >>> with open_run(lambda x: x**2, executor="threads", seed=1) as run:
    ...     run.map("squares", [(np.arange(3),), (np.arange(3, 5),)])
    [array([0, 1, 4]), array([ 9, 16])]
    """
    if not callable(function):
        raise TypeError(f"function: got {type(function).__name__}; expected a callable")
    if not (progress is None or isinstance(progress, bool)):
        raise TypeError(f"progress: got {progress!r}; expected True, False or None")
    pool = _Pool(function, executor)
    root = None if seed is None else randomness.seed_sequence(seed)
    ledger = None
    if checkpoint is not None:
        if not isinstance(checkpoint, str | os.PathLike):
            raise TypeError(f"checkpoint: got {type(checkpoint).__name__}; expected a path")
        ledger = _Ledger(checkpoint, arguments or {}, root)
        root = ledger.root
    bar = _progress_bar(progress, total, unit, description)
    try:
        yield Run(root or randomness.seed_sequence(), pool, ledger, bar, description)
    except BaseException as error:
        # an interrupt doesn't wait for what still runs
        pool.close(at_once=not isinstance(error, Exception))
        raise
    else:
        pool.close()
    finally:
        if bar is not None:
            bar.close()


class Run:
    """An open run; `open_run` makes it.

    Attributes
    ----------
    root : numpy.random.SeedSequence
        Root of the run's random streams, see `smcweights.randomness.generator`.
    """

    def __init__(
        self,
        root: np.random.SeedSequence,
        pool: _Pool,
        ledger: _Ledger | None,
        bar: Any,
        description: str,
    ) -> None:
        self.root = root
        self._pool = pool
        self._ledger = ledger
        self._bar = bar
        self._description = description
        self._stages: set[str] = set()
        self._id = secrets.token_hex(8)

    def map(
        self, stage: str, jobs: Sequence[tuple[Any, ...]], sizes: Sequence[int] | None = None
    ) -> list[Any]:
        """Results of ``function(*job)`` for all jobs of a stage, in their order.

        Parameters
        ----------
        stage : str
            Name of the stage, unlike those before it.
        jobs : sequence of tuple
            The function's arguments, batch by batch.
        sizes : sequence of int, optional
            By how much each batch advances the progress bar; 1 by default.

        Returns
        -------
        list

        Raises
        ------
        Exception
            What the function raised, with a note that names the stage and the batch; of several
            failing batches the first.
        concurrent.futures.BrokenExecutor
            Workers died: the message says how to go on.
        ValueError
            The stage's name is taken, or its jobs differ from those in the checkpoint.
        RuntimeError
            The run is closed.
        """
        return list(self.stream(stage, jobs, sizes))

    def stream(
        self,
        stage: str,
        jobs: Iterable[tuple[Any, ...]],
        sizes: Iterable[int] | None = None,
    ) -> Generator[Any, None, None]:
        """Results one by one, in the order of the jobs, which are taken as they are needed.

        Parameters
        ----------
        stage, jobs, sizes
            As for `map`, but any iterables.

        Yields
        ------
        object
            At most twice as many batches as there are workers are in flight, and at most eight
            times as many computed or in flight but not yet yielded.

        Raises
        ------
        Exception
            As for `map`.
        """
        if stage in self._stages:
            raise ValueError(f"stage {stage!r} has been run already; every stage needs its name")
        self._stages.add(stage)
        if self._bar is not None:
            title = f"{self._description}, {stage}" if self._description else stage
            self._bar.set_description_str(title, refresh=False)
        sized = zip(jobs, repeat(1)) if sizes is None else zip(jobs, sizes, strict=True)
        return self._results(stage, sized)

    def _results(
        self, stage: str, jobs: Iterator[tuple[tuple[Any, ...], int]]
    ) -> Generator[Any, None, None]:
        pool, ledger = self._pool, self._ledger
        window = pool.window()
        inputs: dict[int, tuple[Any, str]] = {}  # job and digest of batches without a result
        size_of: dict[int, int] = {}
        running: dict[Future[Any], int] = {}
        ready: dict[int, Any] = {}
        lost: list[int] = []  # batches in flight in a pool that has broken
        again: list[int] = []  # those of earlier pools, still to be repeated
        deaths: dict[int, int] = {}  # of workers, by batch, while it ran alone
        taken = head = 0
        more = True

        def submit(number: int, whole: bool = False) -> None:
            address = (self._id, stage, number)
            running[pool.submit(address, inputs[number][0], whole)] = number

        def keep(number: int, result: Any) -> None:
            digest = inputs.pop(number)[1]
            ready[number] = result
            if ledger is not None:
                ledger.keep(stage, number, digest, result)

        try:
            while True:
                if pool.closed:
                    # a pool started now would be closed by nobody
                    raise RuntimeError("the run is closed; take its results inside the with block")
                # batches that saw a death are repeated one at a time, which tells the one that
                # kills its worker from those that merely ran beside it
                alone = bool(again) or any(number in deaths for number in running.values())
                if again and not running:
                    submit(again.pop(0))
                while more and not alone and len(running) < window and taken - head < 4 * window:
                    found = next(jobs, None)
                    if found is None:
                        more = False
                        break
                    number, taken = taken, taken + 1
                    job, size_of[number] = found
                    if not isinstance(job, tuple):
                        raise TypeError(f"jobs: got {type(job).__name__}; expected tuples")
                    digest = "" if ledger is None else _digest(job)
                    if ledger is not None and ledger.holds(stage, number, digest):
                        ready[number] = ledger.result(stage, number)
                    else:
                        inputs[number] = (job, digest)
                        submit(number)
                if head in ready:
                    size, result = size_of.pop(head), ready.pop(head)
                    head += 1
                    if self._bar is not None:
                        self._bar.update(size)
                    yield result
                    continue
                if not running:
                    break
                wait(running, return_when=ALL_COMPLETED if lost else FIRST_COMPLETED)
                for future in [f for f in running if f.done()]:
                    number = running[future]
                    try:
                        status, result = pool.outcome(future)
                    except (BrokenExecutor, CancelledError) as error:
                        if not pool.mine:
                            raise BrokenExecutor(self._advice(stage)) from error
                        lost.append(number)
                    except BaseException as error:
                        error.add_note(f"in stage {stage!r}, batch {number + 1}")
                        raise
                    else:
                        if status == "failed":
                            result.add_note(f"in stage {stage!r}, batch {number + 1}")
                            raise result
                        if status == "unknown function":
                            submit(number, whole=True)
                        else:
                            keep(number, result)
                    del running[future]
                if lost and not running:
                    for number in lost:
                        deaths[number] = deaths.get(number, -1) + 1
                    worst = max(lost, key=deaths.__getitem__)
                    if deaths[worst] == MOST_DEATHS:
                        raise BrokenExecutor(
                            f"stage {stage!r}, batch {worst + 1}: its worker process died "
                            f"{MOST_DEATHS} times while nothing else ran, perhaps for lack of "
                            "memory or by a crash in compiled code; with executor=None the "
                            "function runs in this process, where a debugger can follow it"
                        )
                    pool.renew()
                    again = sorted(again + lost)
                    lost = []
        except BaseException as error:
            for future in running:
                future.cancel()
            if isinstance(error, Exception):
                wait([f for f in running if not f.cancelled()])
            for future, number in running.items():
                if number in inputs and future.done():
                    with suppress(BaseException):
                        status, result = pool.outcome(future)
                        if status == "done":
                            keep(number, result)
            raise
        finally:
            if ledger is not None:
                ledger.write()

    def _advice(self, stage: str) -> str:
        if self._ledger is None:
            kept = (
                "its results are lost: with checkpoint= finished batches would be kept, and with "
                "executor='processes' a dead worker costs no more than its batch"
            )
        else:
            kept = (
                f"finished batches are kept in {self._ledger.path}: call again with the same "
                "arguments and a new executor to go on from there"
            )
        return f"the executor broke in stage {stage!r}, a worker died or was shut down; {kept}"


class _Pool:
    """Takes numbered jobs and gives futures, whatever stands behind it."""

    def __init__(self, function: Callable[..., Any], executor: Any) -> None:
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

    def submit(self, address: tuple[str, str, int], job: Any, whole: bool = False) -> Future[Any]:
        """Future of one batch; ``whole`` sends the function with it for certain."""
        if self.kind == "in place":
            future: Future[Any] = Future()
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

    def outcome(self, future: Future[Any]) -> tuple[str, Any]:
        """``("done", result)``, ``("failed", exception)`` or ``("unknown function", None)``.

        What this raises itself is the executor's failure, not the function's.
        """
        status, result = future.result()
        if status == "failed" and self.ships:
            result = _received_error(*result)
        return status, result

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


def _executor_kind(executor: Any) -> tuple[str, int]:
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


_FUNCTIONS: dict[str, Callable[..., Any]] = {}


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


def _call(digest: str, body: bytes | None, address: Any, job: Any) -> tuple[str, Any]:
    """Evaluate one batch in another process.

    ``address`` makes every call unlike any other: Dask computes equal calls only once.
    """
    try:
        function = _FUNCTIONS.get(digest)
        if function is None:
            if body is None:
                return "unknown function", None
            import cloudpickle

            function = cloudpickle.loads(body)
            _FUNCTIONS[digest] = function
            for old in list(_FUNCTIONS)[:-FUNCTIONS_KEPT]:
                _FUNCTIONS.pop(old, None)
    except Exception as error:
        return "failed", _sent_error(error)
    status, result = _attempt(function, job)
    return status, _sent_error(result) if status == "failed" else result


def _attempt(function: Callable[..., Any], job: Sequence[Any]) -> tuple[str, Any]:
    try:
        return "done", _copied(function(*(_copied(part) for part in job)))
    except Exception as error:
        return "failed", error


def _copied(value: Any) -> Any:
    """Arrays copied, all in one memory layout: sums depend on it in their last bits."""
    if isinstance(value, np.ndarray):
        return np.array(value, order="C")
    if type(value) in (tuple, list):
        return type(value)(_copied(part) for part in value)
    if type(value) is dict:
        return {key: _copied(part) for key, part in value.items()}
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


class _Ledger:
    """Results by stage and batch, in memory and in a file."""

    def __init__(
        self, path: Any, arguments: Mapping[str, Any], root: np.random.SeedSequence | None
    ) -> None:
        self.path = os.path.realpath(os.fspath(path))
        if os.path.isdir(self.path):
            raise IsADirectoryError(f"checkpoint: {self.path} is a folder; expected a file's name")
        if not os.path.isdir(os.path.dirname(self.path)):
            raise FileNotFoundError(
                f"checkpoint: there is no folder {os.path.dirname(self.path)} to write it to"
            )
        try:
            # as text, which compares NaN with NaN, and lists with tuples
            self.arguments = {str(k): json.dumps(v, sort_keys=True) for k, v in arguments.items()}
        except (TypeError, ValueError) as error:
            raise TypeError(f"arguments: expected what JSON can hold ({error})") from error
        self.entries: dict[tuple[str, int], tuple[str, Any]] = {}
        self.changed = False
        self.written = time.monotonic()
        self.cost = 0.0
        if os.path.exists(self.path):
            self._read(root)
        else:
            self.root = root or randomness.seed_sequence()
            # a path that can't be written to is found out now, not after the first stage
            self.changed = True
            self.write()
        self._sweep()

    def holds(self, stage: str, number: int, digest: str) -> bool:
        """Whether a batch has a result; its inputs must be the same."""
        entry = self.entries.get((stage, number))
        if entry is None:
            return False
        if entry[0] != digest:
            raise ValueError(
                f"checkpoint: {self.path} has a result of stage {stage!r}, batch {number + 1}, "
                "for other inputs than now: data, a function or a version of the software changed "
                "since; delete the file to start anew"
            )
        return True

    def result(self, stage: str, number: int) -> Any:
        """Copy of the result of a batch."""
        return _copied(self.entries[stage, number][1])

    def keep(self, stage: str, number: int, digest: str, result: Any) -> None:
        """Take down a result; now and then in the file, in the middle of a long stage."""
        _structure(result, [])
        self.entries[stage, number] = (digest, _copied(result))
        self.changed = True
        if time.monotonic() - self.written > max(SECONDS_BETWEEN_WRITES, 20 * self.cost):
            self.write()

    def write(self) -> None:
        """Replace the file in one step, if there is something new."""
        if not self.changed:
            return
        start = time.monotonic()
        arrays: list[np.ndarray] = []
        header = {
            "format": FORMAT,
            "arguments": self.arguments,
            "root": randomness.describe(self.root),
            "entries": [
                [stage, number, digest, _structure(result, arrays)]
                for (stage, number), (digest, result) in self.entries.items()
            ],
        }
        text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        folder, name = os.path.split(self.path)
        partial = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.partial")
        try:
            with open(partial, "xb") as file:
                named = {str(i): array for i, array in enumerate(arrays)}
                np.savez(file, header=text, **named)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(partial)
            raise
        self.changed = False
        self.written = time.monotonic()
        self.cost = self.written - start

    def _read(self, root: np.random.SeedSequence | None) -> None:
        with open(self.path, "rb") as file:
            try:
                with np.load(file, allow_pickle=False) as archive:
                    header = json.loads(archive["header"].tobytes())
                    if header["format"] != FORMAT:
                        raise ValueError(f"its format is {header['format']!r}, not {FORMAT!r}")
                    arguments = dict(header["arguments"])
                    self.root = randomness.seed_sequence(header["root"])
                    for stage, number, digest, structure in header["entries"]:
                        self.entries[stage, number] = (digest, _rebuilt(structure, archive))
            except Exception as error:
                # damage shows as errors of zip, of NumPy or of JSON
                raise ValueError(
                    f"checkpoint: {self.path} can't be read as a checkpoint "
                    f"({type(error).__name__}: {error}); it was left as it is. Delete it, or give "
                    "another path, to start anew"
                ) from error
        there = f"checkpoint: {self.path} belongs to a run with"
        for name in sorted({*arguments, *self.arguments}):
            old, new = arguments.get(name, "nothing"), self.arguments.get(name, "nothing")
            if old != new:
                # what both begin with says nothing
                pairs = enumerate(zip(old, new, strict=False))
                same = max(next((i for i, (a, b) in pairs if a != b), 0) - 30, 0)
                old, new = ("... " + t[same:] if same else t for t in (old, new))
                raise ValueError(
                    f"{there} other arguments: {name} was {_short(old)} and is {_short(new)} now; "
                    "use the same arguments, or another path"
                )
        old_root = randomness.describe(self.root)
        if root is not None and randomness.describe(root) != old_root:
            raise ValueError(
                f"{there} another seed: it was {old_root} and is {randomness.describe(root)} now; "
                "use that seed, seed=None, or another path"
            )

    def _sweep(self) -> None:
        """Remove what kills in the middle of writing left, when it is surely nobody's."""
        folder, name = os.path.split(self.path)
        for partial in glob.glob(
            os.path.join(glob.escape(folder), f".{glob.escape(name)}.*.partial")
        ):
            with suppress(OSError):
                if time.time() - os.path.getmtime(partial) > 3600:
                    os.unlink(partial)


def _structure(result: Any, arrays: list[np.ndarray]) -> Any:
    """A result as JSON can hold it, its arrays put into a list and replaced by their places."""
    if isinstance(result, np.ndarray) and not result.dtype.hasobject:
        arrays.append(result)
        return len(arrays) - 1
    if type(result) is tuple:
        return [_structure(part, arrays) for part in result]
    if type(result) is dict and all(isinstance(key, str) for key in result):
        return {key: _structure(part, arrays) for key, part in result.items()}
    kind = f"array of {result.dtype}" if isinstance(result, np.ndarray) else type(result).__name__
    raise TypeError(
        f"function: returned {kind}; a checkpoint holds arrays of numbers, and tuples or dicts of "
        "them"
    )


def _rebuilt(structure: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(structure, list):
        return tuple(_rebuilt(part, arrays) for part in structure)
    if isinstance(structure, dict):
        return {key: _rebuilt(part, arrays) for key, part in structure.items()}
    return arrays[str(structure)]


def _digest(job: Any) -> str:
    """SHA-256 of a job: arrays by dtype, shape and elements."""
    total = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, np.ndarray) and not part.dtype.hasobject:
            total.update(f"{part.dtype.str}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).tobytes())
        elif part is None or isinstance(part, bool | int | float | str | bytes | np.generic):
            total.update(f"{type(part).__name__} {part!r};".encode())
        elif isinstance(part, tuple | list):
            total.update(f"{type(part).__name__} of {len(part)};".encode())
            for inner in part:
                add(inner)
        elif isinstance(part, Mapping):
            add([(key, part[key]) for key in part])
        elif isinstance(part, np.random.SeedSequence):
            add(randomness.describe(part))
        elif isinstance(part, np.random.Generator):
            add(part.bit_generator.state)
        else:
            raise TypeError(
                f"jobs: got {type(part).__name__}; with a checkpoint expected arrays, numbers, "
                "strings, seeds and generators, and tuples, lists or dicts of them"
            )

    add(job)
    return total.hexdigest()


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:60]} ... {text[-35:]}"


def _progress_bar(progress: bool | None, total: int | None, unit: str, description: str) -> Any:
    if progress is False or (progress is None and not _watched()):
        return None
    import warnings

    with warnings.catch_warnings():
        # without ipywidgets a notebook gets the plain bar
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm(total=total, unit=f" {unit}", desc=description or None, delay=0 if progress else 2)


def _watched() -> bool:
    """Whether somebody looks on: in a terminal or a notebook."""
    shell = sys.modules.get("IPython")
    notebook = shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None
    return notebook or bool(getattr(sys.stderr, "isatty", bool)())
