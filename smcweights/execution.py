"""Evaluate numbered batches: in place, in threads, in processes, or on any executor.

What is evaluated follows from the arguments alone, never from the workers; results come back in
the order of the batches, with at most twice the number of workers in flight. `open_run` also keeps
a checkpoint, a ledger of results by stage and batch: a caller that is run again with the same
arguments replays its algorithm, takes the results it finds there, and so ends with the numbers of
an uninterrupted run.

Functions travel by cloudpickle, so lambdas and functions of a notebook work; worker processes are
started by forkserver, because a fork after JAX or OpenMP has run hangs.
"""

from __future__ import annotations

import collections
import concurrent.futures
import functools
import hashlib
import io
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from . import randomness

__all__ = ["Run", "batches", "open_run"]

FORMAT = 1
DEATHS = 3  # of workers on one batch before giving up
PATIENCE = 2.0  # seconds before a progress bar appears by itself


def batches(n: int, *, vectorized: bool = True) -> list[tuple[int, int]]:
    """Row ranges that cut n rows into about 32 batches.

    They depend on ``n`` and ``vectorized`` only: at least 16 rows each (1 when the function takes
    one row at a time), at most 8192.

    Examples
    --------
    >>> batches(40)
    [(0, 16), (16, 32), (32, 40)]
    """
    size = min(max(-(-n // 32), 16 if vectorized else 1), 8192)
    return [(first, min(first + size, n)) for first in range(0, n, size)]


# ------------------------------------------------------------------------- in the worker


@functools.lru_cache(maxsize=4)
def _unpacked(payload: bytes) -> Callable:
    import cloudpickle

    return cloudpickle.loads(payload)


def _call(payload: bytes, address: tuple, job: tuple) -> Any:
    """One batch in a worker; the address makes equal jobs different tasks for Dask."""
    del address
    return _unpacked(payload)(*job)


# ------------------------------------------------------------------------- the checkpoint


def _digest(job: Sequence[Any]) -> str:
    """Digest of a job's arrays and other arguments."""
    h = hashlib.sha256()
    for part in job:
        array = np.asarray(part)
        h.update(f"{array.dtype.str}{array.shape}".encode())
        h.update(repr(part).encode() if array.dtype == object else array.tobytes())
    return h.hexdigest()[:32]


class Ledger:
    """Results by stage and batch, in a file that is replaced whole or not at all."""

    def __init__(self, path: Any, arguments: dict[str, Any]) -> None:
        self.path = Path(os.fspath(path))
        self.arguments = json.loads(json.dumps(arguments, sort_keys=True))
        self.root: dict[str, Any] | None = None
        self.entries: dict[tuple[str, int], tuple[str, Any]] = {}
        self.changed = False
        if self.path.exists():
            self._read()
        elif not self.path.parent.is_dir():
            raise ValueError(f"checkpoint: folder {self.path.parent} does not exist")

    def _read(self) -> None:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                head = json.loads(str(file["head"]))
                if head["format"] != FORMAT:
                    raise KeyError("format")
                for stage, number, digest, shape in head["entries"]:
                    parts = [file[f"{stage}/{number}/{i}"] for i in range(max(shape["parts"], 1))]
                    self.entries[stage, number] = digest, _assembled(parts, shape)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"checkpoint: {self.path} can't be read as one ({type(error).__name__}: {error}); "
                "it was left untouched: move it away, or name another file"
            ) from error
        mine, theirs = self.arguments, head["arguments"]
        for key in sorted({*mine, *theirs}):
            if mine.get(key) != theirs.get(key):
                raise ValueError(
                    f"checkpoint: {self.path} was written with {key}={theirs.get(key)!r}, this call "
                    f"has {mine.get(key)!r}; use the same arguments, or another file"
                )
        self.root = head["root"]

    def find(self, stage: str, number: int, digest: str) -> tuple[bool, Any]:
        """Whether the result of a batch is known, and the result."""
        if (stage, number) not in self.entries:
            return False, None
        known, result = self.entries[stage, number]
        if known != digest:
            raise ValueError(
                f"checkpoint: {self.path} holds other inputs for batch {number} of {stage}; it was "
                "written by another function, law, seed or version. Use another file"
            )
        return True, result

    def add(self, stage: str, number: int, digest: str, result: Any) -> None:
        """Keep a result until the next `write`."""
        self.entries[stage, number] = digest, result
        self.changed = True

    def write(self) -> None:
        """Replace the file by one that holds all results so far."""
        if not self.changed:
            return
        arrays: dict[str, Any] = {}
        entries = []
        for (stage, number), (digest, result) in self.entries.items():
            parts, shape = _taken_apart(result)
            entries.append([stage, number, digest, shape])
            for i, part in enumerate(parts):
                arrays[f"{stage}/{number}/{i}"] = part
        head = {
            "format": FORMAT,
            "arguments": self.arguments,
            "root": self.root,
            "entries": entries,
        }
        buffer = io.BytesIO()
        np.savez(buffer, head=np.array(json.dumps(head)), **arrays)
        folder = self.path.parent
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self.changed = False


def _taken_apart(result: Any) -> tuple[list[np.ndarray], dict[str, Any]]:
    if isinstance(result, dict):
        return [np.asarray(v) for v in result.values()], {"parts": len(result), "keys": [*result]}
    if isinstance(result, tuple):
        return [np.asarray(v) for v in result], {"parts": len(result), "tuple": True}
    return [np.asarray(result)], {"parts": 1}


def _assembled(parts: list[np.ndarray], shape: dict[str, Any]) -> Any:
    if "keys" in shape:
        return dict(zip(shape["keys"], parts, strict=True))
    return tuple(parts) if "tuple" in shape else parts[0]


# ------------------------------------------------------------------------- where it runs


class _InPlace(concurrent.futures.Executor):
    """Runs a task when it is submitted."""

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> concurrent.futures.Future:
        future: concurrent.futures.Future = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pool() -> concurrent.futures.ProcessPoolExecutor:
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "executor='processes' was reached while a worker process was importing the main "
            "script; put the script's work under `if __name__ == '__main__':`"
        )
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    return concurrent.futures.ProcessPoolExecutor(
        _processors(), mp_context=multiprocessing.get_context(kind)
    )


def _workers(executor: concurrent.futures.Executor) -> int:
    """Number of workers of an executor, as far as it tells."""
    for name in ("_max_workers", "max_workers"):
        known = getattr(executor, name, None)
        if isinstance(known, int) and known > 0:
            return known
    client = getattr(executor, "_client", None)  # Dask's executor
    if client is not None:
        return max(1, sum(client.nthreads().values()))
    return _processors()


class Run:
    """An open run: a function, where to call it, its checkpoint and its progress.

    Attributes
    ----------
    root : SeedSequence
        Root of the run's random streams; the checkpoint's when there is one.
    """

    def __init__(
        self,
        function: Callable,
        executor: Any,
        ledger: Ledger | None,
        root: np.random.SeedSequence,
        bar: _Bar,
    ) -> None:
        self.root = root
        self._function = function
        self._executor = executor
        self._ledger = ledger
        self._bar = bar
        self._payload: bytes | None = None
        self._owned: concurrent.futures.Executor | None = None
        self._id = uuid.uuid4().hex

    def map(
        self, stage: str, jobs: Sequence[tuple], sizes: Sequence[int] | None = None
    ) -> list[Any]:
        """``function(*job)`` for every job of a stage, in order.

        Parameters
        ----------
        stage : str
            Name, different for every stage of a run.
        jobs : sequence of tuple
            Arguments; arrays and plain values.
        sizes : sequence of int, optional
            By how much each job advances the progress bar; default 1.
        """
        return list(self.stream(stage, jobs, sizes))

    def stream(
        self, stage: str, jobs: Iterable[tuple], sizes: Iterable[int] | None = None
    ) -> Iterator[Any]:
        """As `map`, one result at a time; jobs are taken when there is room for them."""
        ends_well = False
        try:
            yield from self._stream(stage, jobs, sizes)
            ends_well = True
        finally:
            if self._ledger is not None and (ends_well or sys.exc_info()[0] is not None):
                self._ledger.write()

    def _stream(
        self, stage: str, jobs: Iterable[tuple], sizes: Iterable[int] | None
    ) -> Iterator[Any]:
        executor = self._start()
        room = 1 if isinstance(executor, _InPlace) else 2 * _workers(executor)
        flight: collections.deque[_Task] = collections.deque()
        steps = iter(sizes) if sizes is not None else None
        numbered = enumerate(jobs)
        done = False
        try:
            while flight or not done:
                while not done and len(flight) < room:
                    try:
                        number, job = next(numbered)
                    except StopIteration:
                        done = True
                        break
                    digest = _digest(job) if self._ledger is not None else ""
                    task = _Task(stage, number, job, digest, next(steps) if steps else 1)
                    if self._ledger is not None:
                        task.known, task.result = self._ledger.find(stage, number, digest)
                    if not task.known:
                        self._submit(task)
                    flight.append(task)
                if flight:
                    task = flight[0]
                    result = task.result if task.known else self._await(task, flight)
                    flight.popleft()
                    if self._ledger is not None and not task.known:
                        self._ledger.add(stage, task.number, task.digest, result)
                    self._bar.advance(task.size)
                    yield result
        except BaseException:
            self._keep_finished(flight)
            raise

    def _start(self) -> Any:
        if self._executor is None:
            return _InPlace()
        if self._executor == "threads":
            if self._owned is None:
                self._owned = concurrent.futures.ThreadPoolExecutor(_processors())
            return self._owned
        if self._executor == "processes":
            if self._owned is None:
                self._owned = _pool()
            return self._owned
        return self._executor

    def _submit(self, task: _Task) -> None:
        executor = self._start()
        if isinstance(executor, _InPlace | concurrent.futures.ThreadPoolExecutor):
            task.future = executor.submit(self._function, *task.job)
            return
        if self._payload is None:
            import cloudpickle

            self._payload = cloudpickle.dumps(self._function)
        address = (self._id, task.stage, task.number)
        try:
            task.future = executor.submit(_call, self._payload, address, task.job)
        except concurrent.futures.BrokenExecutor as error:
            # noticed when its turn comes, after the batches that were finished
            task.future = concurrent.futures.Future()
            task.future.set_exception(error)

    def _await(self, task: _Task, flight: collections.deque[_Task]) -> Any:
        while True:
            assert task.future is not None
            try:
                return task.future.result()
            except concurrent.futures.BrokenExecutor as error:
                if self._executor != "processes":
                    kept = "" if self._ledger is None else f" in {self._ledger.path}"
                    go_on = (
                        "call again with the same arguments, a new executor and the same checkpoint"
                        if self._ledger is not None
                        else "call again with a new executor; with checkpoint=path nothing "
                        "finished would be lost"
                    )
                    raise concurrent.futures.BrokenExecutor(
                        f"the executor broke at batch {task.number} of {task.stage} ({error}); "
                        f"finished batches are kept{kept}. To go on, {go_on}"
                    ) from error
                task.deaths += 1
                if task.deaths >= DEATHS:
                    raise concurrent.futures.BrokenExecutor(
                        f"worker processes died {DEATHS} times at batch {task.number} of "
                        f"{task.stage}: the function may kill its process (memory, a crash in "
                        "compiled code), or the script starts its work at import; then put it "
                        "under `if __name__ == '__main__':`"
                    ) from error
                self._rebuild(flight)
            except Exception as error:
                error.add_note(f"smcweights: raised in batch {task.number} of {task.stage}")
                raise

    def _rebuild(self, flight: collections.deque[_Task]) -> None:
        """A new pool of our own, and the unfinished batches once more."""
        if self._owned is not None:
            self._owned.shutdown(wait=False, cancel_futures=True)
        self._owned = None
        for task in flight:
            if not task.known and not task.finished():
                self._submit(task)

    def _keep_finished(self, flight: Iterable[_Task]) -> None:
        for task in flight:
            if task.known or task.future is None:
                continue
            if task.finished() and self._ledger is not None:
                self._ledger.add(task.stage, task.number, task.digest, task.future.result())
            else:
                task.future.cancel()

    def close(self) -> None:
        """Let go of the pool and the progress bar."""
        if self._owned is not None:
            self._owned.shutdown(wait=True, cancel_futures=True)
            self._owned = None
        self._bar.close()


class _Task:
    """A batch on its way."""

    def __init__(self, stage: str, number: int, job: tuple, digest: str, size: int) -> None:
        self.stage, self.number, self.job, self.digest, self.size = stage, number, job, digest, size
        self.known = False
        self.result: Any = None
        self.future: concurrent.futures.Future | None = None
        self.deaths = 0

    def finished(self) -> bool:
        """Whether there is a result to keep."""
        f = self.future
        return f is not None and f.done() and not f.cancelled() and f.exception() is None


# ------------------------------------------------------------------------- progress


def _is_watched() -> bool:
    """Whether somebody looks: a terminal or a notebook."""
    shell = sys.modules.get("IPython")
    if shell is not None:
        running = shell.get_ipython()
        if running is not None and "IPKernelApp" in getattr(running, "config", {}):
            return True
    return bool(getattr(sys.stderr, "isatty", bool)())


class _Bar:
    """A progress bar that appears when it is wanted, or after two seconds where it is watched."""

    def __init__(self, asked: bool | None, total: int | None, unit: str, text: str) -> None:
        self._wanted = _is_watched() if asked is None else bool(asked)
        self._delay = PATIENCE if asked is None else 0.0
        self._options = {"total": total, "unit": f" {unit}", "desc": text}
        self._count = 0
        self._began = time.monotonic()
        self._bar: Any = None
        self._lock = threading.Lock()

    def advance(self, size: int) -> None:
        self._count += size
        if not self._wanted or time.monotonic() - self._began < self._delay:
            return
        with self._lock:
            if self._bar is None:
                from tqdm.auto import tqdm

                self._bar = tqdm(**self._options)
                size = self._count
            self._bar.update(size)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


# ------------------------------------------------------------------------- the door


def _checked_executor(executor: Any) -> Any:
    if executor is None or executor in ("threads", "processes"):
        return executor
    if isinstance(executor, str) or not callable(getattr(executor, "submit", None)):
        raise TypeError(
            f"executor: got {executor!r}; expected None, 'threads', 'processes', or an object with "
            "submit(), such as any concurrent.futures.Executor"
        )
    return executor


@contextmanager
def open_run(
    function: Callable,
    *,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
    arguments: dict[str, Any] | None = None,
    seed: Any = None,
    total: int | None = None,
    unit: str = "calls",
    description: str = "",
) -> Iterator[Run]:
    """Open a `Run` that calls ``function`` on batches.

    Parameters
    ----------
    function : callable
        Called with the parts of each job; returns an array, or a tuple or dict of arrays.
    executor : None, "threads", "processes" or concurrent.futures.Executor
        In place, threads, a pool of processes of our own (rebuilt when a worker dies), or the
        user's. An executor of the user's is left open.
    progress : bool, optional
        A progress bar: True, False, or None for a terminal or notebook once 2 s have passed.
    checkpoint : path, optional
        File of finished results; see the module's text.
    arguments : dict, optional
        What identifies the run in a checkpoint, as JSON can hold it.
    seed : optional
        As for `randomness.seed_sequence`.
    total : int, optional
        Length of the progress bar, in ``unit``.

    Raises
    ------
    ValueError
        The checkpoint can't be read, or was written with other arguments.

    Examples
    --------
    >>> with open_run(lambda x: x**2) as run:
    ...     run.map("squares", [(np.arange(3),), (np.arange(2),)])
    [array([0, 1, 4]), array([0, 1])]
    """
    executor = _checked_executor(executor)
    if progress is not None and not isinstance(progress, bool):
        raise TypeError(f"progress: got {progress!r}; expected True, False or None")
    ledger = None
    if checkpoint is not None:
        given = dict(arguments or {})
        if seed is not None and not isinstance(seed, np.random.Generator):
            given["seed"] = randomness.describe(randomness.seed_sequence(seed))
        ledger = Ledger(checkpoint, given)
    if ledger is not None and ledger.root is not None:
        root = randomness.seed_sequence(ledger.root)
    else:
        root = randomness.seed_sequence(seed)
    if ledger is not None:
        ledger.root = randomness.describe(root)
    run = Run(function, executor, ledger, root, _Bar(progress, total, unit, description))
    try:
        yield run
    finally:
        run.close()
