"""A run: a function evaluated on numbered batches, stage by stage.

`open_run` puts together where it is evaluated (`pools`), what is kept (`checkpoint`) and what is
shown (`progress`); `Run.stream` hands out the results in the order of the jobs.
"""

from __future__ import annotations

import math
import operator
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from contextlib import contextmanager, suppress
from itertools import pairwise, repeat
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from .. import randomness
from ..cautions import Caution, tell
from ..provenance import fingerprint
from .checkpoint import Ledger, kept_budget, kept_root
from .pools import Pool
from .progress import Bar, progress_bar
from .workers import Job, Outcome, attempt

MOST_DEATHS = 3  # of workers at a batch that ran alone
MEMORY = (
    "smcweights: what a run keeps grows with its budget (max_budget of a precision), particles and "
    "repeats; expected so many that it fits into memory"
)

Result = TypeVar("Result")


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
        Starts and ends: about n/32 rows each, at least 64 (or 1), at most 8192. They depend on
        the arguments only, because the same row in a batch of another size may differ in its last
        bits.

    Raises
    ------
    TypeError, ValueError
        ``n`` is not a whole number from 0.

    Examples
    --------
    >>> batches(150)
    [(0, 64), (64, 128), (128, 150)]
    """
    n = operator.index(n)
    if n < 0:
        raise ValueError(f"n: got {n}; expected a number of rows from 0")
    size = min(max(math.ceil(n / 32), 64 if vectorized else 1), 8192)
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def root_of(
    seed: randomness.Seed, checkpoint: str | os.PathLike[str] | None
) -> np.random.SeedSequence:
    """Root of the streams of a run before it is opened: the seed's, the checkpoint's, or fresh."""
    # what is no path is refused when the run is opened
    if seed is None and isinstance(checkpoint, str | os.PathLike) and os.path.isfile(checkpoint):
        return kept_root(checkpoint)
    return randomness.seed_sequence(seed)


def first_budget(checkpoint: str | os.PathLike[str] | None, budget: int) -> int:
    """With how many calls a run of this budget begins: as many as that of the checkpoint had.

    A method that goes on from there takes the other calls from `Run.rounds`.
    """
    if isinstance(checkpoint, str | os.PathLike) and os.path.isfile(checkpoint):
        with suppress(ValueError):  # what can't be read is refused when the run is opened
            return min(kept_budget(checkpoint) or budget, budget)
    return budget


@contextmanager
def open_run(
    function: Callable[..., Result],
    *,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    arguments: Mapping[str, object] | None = None,
    seed: randomness.Seed = None,
    total: int | None = None,
    unit: str = "calls",
    description: str = "",
    named: str | None = None,
    part_of: Run[Any] | None = None,
) -> Iterator[Run[Result]]:
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
        All that the results depend on, functions and data too; they are `described` for the
        checkpoint, and one that was made with other arguments is refused.
    seed : None, int, SeedSequence, Generator or dict, optional
        Root of the run's random streams; None takes the checkpoint's, or fresh entropy.
    total : int, optional
        Expected sum of the sizes of all batches, for the progress bar.
    unit : str, default "calls"
        What the sizes count.
    description : str, default ""
        Title of the progress bar.
    named : str, optional
        What errors call the function; by default what it is told itself as a partial, or the
        arguments that are functions.
    part_of : Run, optional
        An open run that goes on with this one: it keeps the results of this one in its checkpoint,
        in place of one of its own, and has no more batches evaluated itself.

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
    functions = [name for name, value in (arguments or {}).items() if callable(value)]
    named = named or getattr(function, "keywords", {}).get("named") or " or ".join(functions)
    pool = Pool(function, executor, named or "function")
    bar = progress_bar(progress, total, unit, description)
    root = None if seed is None else randomness.seed_sequence(seed)
    ledger = None
    if part_of is not None:
        ledger = part_of.left()
    elif checkpoint is not None:
        ledger = Ledger(checkpoint, arguments or {}, root, description)
        root = ledger.root
    root = root or randomness.seed_sequence()
    run: Run[Result] = Run(root, pool, ledger, bar, description)
    try:
        yield run
    except BaseException as error:
        # an interrupt doesn't wait for what still runs
        pool.close(at_once=not isinstance(error, Exception))
        if isinstance(error, MemoryError):
            error.add_note(MEMORY)
        if part_of is None and (failure := _written(ledger)):
            error.add_note(f"checkpoint: {failure}")
        raise
    else:
        pool.close()
        if part_of is None and (failure := _written(ledger)):
            tell("checkpoint", [Caution("checkpoint-not-written", failure)])
    finally:
        if bar is not None:
            bar.close()
        run.release()


def check_open(pool: Pool[Any]) -> None:
    """Raise where a pool has ended: one started now would be closed by nobody."""
    if pool.closed:
        raise RuntimeError("the run is closed; take its results inside the with block")


def checked(job: Job) -> Job:
    """A job, which is a tuple."""
    if not isinstance(job, tuple):
        raise TypeError(f"jobs: got {type(job).__name__}; expected tuples")
    return job


def place(stage: str, number: int) -> str:
    """Where an exception came from."""
    return f"in stage {stage!r}, batch {number + 1}"


def _written(ledger: Ledger | None) -> str:
    """Why a ledger couldn't be written, if so."""
    if ledger is None:
        return ""
    ledger.write()
    return ledger.failure


class Run(Generic[Result]):
    """An open run; `open_run` makes it.

    Attributes
    ----------
    root : numpy.random.SeedSequence
        Root of the run's random streams, see `smcweights.randomness.generator`.
    """

    def __init__(
        self,
        root: np.random.SeedSequence,
        pool: Pool[Result],
        ledger: Ledger | None,
        bar: Bar | None,
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
        self,
        stage: str,
        jobs: Sequence[Job],
        sizes: Sequence[int] | None = None,
        kept: bool = True,
    ) -> list[Result]:
        """Results of ``function(*job)`` for all jobs of a stage, in their order.

        Parameters
        ----------
        stage : str
            Name of the stage, unlike those before it.
        jobs : sequence of tuple
            The function's arguments, batch by batch.
        sizes : sequence of int, optional
            By how much each batch advances the progress bar; 1 by default.
        kept : bool, default True
            As for `stream`.

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
        if self._pool.kind != "in place" or self._ledger is not None or self._bar is not None:
            return list(self.stream(stage, jobs, sizes, kept))
        self._enter(stage)
        sized = zip(jobs, repeat(1)) if sizes is None else zip(jobs, sizes, strict=True)
        return [self._at_once(job, stage, number) for number, (job, _) in enumerate(sized)]

    def _enter(self, stage: str) -> None:
        if stage in self._stages:
            raise ValueError(f"stage {stage!r} has been run already; every stage needs its name")
        self._stages.add(stage)

    def _at_once(self, job: Job, stage: str, number: int) -> Result:
        """A result where nothing is kept, shown or in flight."""
        check_open(self._pool)
        status, result, _ = attempt(self._pool.function, checked(job), self._pool.named)
        if status == "failed":
            result.add_note(place(stage, number))
            raise result
        return result

    def recall(self, name: str) -> Any:
        """What `remember` put into the checkpoint under this name; None if nothing did."""
        there = self._ledger is not None and self._ledger.holds(name, 0)
        return self._ledger.result(name, 0) if there and self._ledger is not None else None

    def remember(self, name: str, state: object) -> None:
        """Put the state between two stages into the checkpoint, in place of the one before.

        The file has it after 30 s, after the next stage that is kept, and when the run ends,
        however it ends. Arrays in it must not be changed afterwards.
        """
        if self._ledger is not None:
            self._ledger.remember(name, state)

    def rounds(self, first: int, budget: int) -> list[int]:
        """Sizes of the rounds by which a run that began with ``first`` calls comes to its budget.

        The checkpoint knows the budgets there were: the same rounds give the same numbers.
        """
        there = self.recall("budgets") or [first]
        if budget not in there:
            if budget < there[-1]:
                raise ValueError(
                    f"checkpoint: is of budgets {', '.join(map(str, there))}; got {budget}, "
                    "expected one of these or more"
                )
            there = [*there, budget]
            self.remember("budgets", there)
        return [b - a for a, b in pairwise(there) if b <= budget]

    def advance(self, size: float) -> None:
        """Advance the progress bar by what no batch stands for."""
        if self._bar is not None:
            self._bar.update(size)

    def left(self) -> Ledger | None:
        """End the workers and the bar, and hand on the checkpoint."""
        self._pool.close()
        if self._bar is not None:
            self._bar.close()
        return self._ledger

    def release(self) -> None:
        """Let go of what the checkpoint holds: whoever keeps a run keeps no results with it."""
        self._ledger = self._bar = None

    def note(self, value: ArrayLike, half_widths: ArrayLike, level: float) -> None:
        """Tell those who look into the checkpoint what was found so far, and how precisely."""
        if self._ledger is not None:
            self._ledger.note(value, half_widths, level)

    def stream(
        self,
        stage: str,
        jobs: Iterable[Job],
        sizes: Iterable[int] | None = None,
        kept: bool = True,
    ) -> Generator[Result, None, None]:
        """Results one by one, in the order of the jobs, which are taken as they are needed.

        Parameters
        ----------
        stage, jobs, sizes
            As for `map`, but any iterables.
        kept : bool, default True
            Whether a checkpoint keeps the results; if not, `remember` may keep what follows.

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
        self._enter(stage)
        if self._bar is not None:
            title = f"{self._description}, {stage}" if self._description else stage
            self._bar.set_description_str(title, refresh=False)
        sized = zip(jobs, repeat(1)) if sizes is None else zip(jobs, sizes, strict=True)
        work = _Stage((self._id, stage), self._pool, self._ledger if kept else None, sized)
        return work.results(self._bar)


class _Stage(Generic[Result]):
    """The batches of one stage, from their jobs to their results."""

    def __init__(
        self,
        address: tuple[str, str],
        pool: Pool[Result],
        ledger: Ledger | None,
        jobs: Iterator[tuple[Job, int]],
    ) -> None:
        self.address, self.name = address, address[1]
        self.pool = pool
        self.ledger = ledger
        self.jobs = jobs
        self.more = True  # jobs may be left
        self.taken = self.head = 0  # jobs begun, and results handed out
        self.sizes: dict[int, int] = {}
        self.inputs: dict[int, tuple[Job, str]] = {}  # job and digest of batches without a result
        self.running: dict[Future[Outcome], int] = {}
        self.ready: dict[int, Result] = {}
        self.held: list[tuple[int, str]] = []  # batches whose worker lacked the function
        self.lost: list[int] = []  # batches in flight in a pool that has broken
        self.again: list[int] = []  # those of earlier pools, still to be repeated
        self.deaths: dict[int, int] = {}  # of workers, by batch, while it ran alone

    def results(self, bar: Bar | None) -> Generator[Result, None, None]:
        """Results in the order of the jobs; what was finished is kept, however this ends."""
        try:
            while True:
                check_open(self.pool)
                self.begin()
                if self.head in self.ready:
                    size, result = self.sizes.pop(self.head), self.ready.pop(self.head)
                    self.head += 1
                    if bar is not None:
                        bar.update(size)
                    yield result
                    continue
                if not self.running and not self.held:
                    break
                self.collect()
                if self.lost and not self.running:
                    self.start_again()
        except BaseException as error:
            self.abandon(awaited=isinstance(error, Exception))
            raise
        finally:
            if self.ledger is not None:
                self.ledger.write()

    def begin(self) -> None:
        """Submit as many batches as may be in flight."""
        window = self.pool.window()
        while self.held and not self.lost:
            number, worker = self.held[0]
            whole = worker not in self.pool.owners
            if whole and self.running and self.pool.awaited():
                break
            self.held.pop(0)
            self.submit(number, whole)
        # batches that saw a death are repeated one at a time, which tells the one that kills its
        # worker from those that merely ran beside it
        alone = bool(self.again) or any(number in self.deaths for number in self.running.values())
        if self.again and not self.running:
            self.submit(self.again.pop(0))
        while (
            self.more
            and not alone
            and len(self.running) + len(self.held) < window
            and self.taken - self.head < 4 * window
        ):
            self.take()

    def take(self) -> None:
        """Begin the next job, unless the checkpoint has its result."""
        found = next(self.jobs, None)
        if found is None:
            self.more = False
            return
        number, self.taken = self.taken, self.taken + 1
        job, self.sizes[number] = found
        digest = "" if self.ledger is None else fingerprint(checked(job))
        if self.ledger is not None and self.ledger.holds(self.name, number, digest):
            self.ready[number] = self.ledger.result(self.name, number)
        else:
            self.inputs[number] = (checked(job), digest)
            self.submit(number)

    def submit(self, number: int, whole: bool = False) -> None:
        job, _ = self.inputs[number]
        self.running[self.pool.submit((*self.address, number), job, whole)] = number

    def keep(self, number: int, result: Result) -> None:
        _, digest = self.inputs.pop(number)
        self.ready[number] = result
        if self.ledger is not None:
            self.ledger.keep(self.name, number, digest, result)

    def collect(self) -> None:
        """Wait for a batch to end, and take what has ended."""
        if self.lost or not any(f.done() for f in self.running):
            wait(self.running, return_when=ALL_COMPLETED if self.lost else FIRST_COMPLETED)
        for future in [f for f in self.running if f.done()]:
            number = self.running[future]
            try:
                status, result, worker = self.pool.outcome(future)
            except (BrokenExecutor, CancelledError) as error:
                if self.pool.mine:
                    self.lost.append(number)
                elif isinstance(error, CancelledError) and self.pool.spreads_again():
                    self.submit(number)
                else:
                    raise BrokenExecutor(self.advice()) from error
            except BaseException as error:
                error.add_note(place(self.name, number))
                raise
            else:
                if status == "failed":
                    result.add_note(place(self.name, number))
                    raise result
                if status == "done":
                    self.keep(number, result)
                else:
                    self.held.append((number, worker))
            del self.running[future]

    def start_again(self) -> None:
        """Put a new pool in place of one that broke, unless a batch breaks every one."""
        for number in self.lost:
            self.deaths[number] = self.deaths.get(number, -1) + 1
        worst = max(self.lost, key=self.deaths.__getitem__)
        if self.deaths[worst] == MOST_DEATHS:
            raise BrokenExecutor(
                f"stage {self.name!r}, batch {worst + 1}: its worker process died "
                f"{MOST_DEATHS} times while nothing else ran, perhaps for lack of "
                "memory or by a crash in compiled code; with executor=None the "
                "function runs in this process, where a debugger can follow it"
            )
        self.pool.renew()
        self.again = sorted([*self.again, *self.lost, *(number for number, _ in self.held)])
        self.lost, self.held = [], []

    def abandon(self, awaited: bool) -> None:
        """Cancel what waits, and keep what is done; ``awaited`` waits for what runs."""
        self.pool.stop(self.running, awaited)
        for future, number in self.running.items():
            ended = future.done() and not future.cancelled() and future.exception() is None
            if ended and number in self.inputs:
                status, result, _ = self.pool.outcome(future)
                if status == "done":
                    self.keep(number, result)

    def advice(self) -> str:
        """How to go on after the user's executor broke."""
        if self.ledger is None:
            kept = (
                "its results are lost: with checkpoint= finished batches would be kept, and with "
                "executor='processes' a dead worker costs no more than its batch"
            )
        else:
            kept = (
                f"finished batches are kept in {self.ledger.path}: call again with the same "
                "arguments and a new executor to go on from there"
            )
        return f"the executor broke in stage {self.name!r}, a worker died or was shut down; {kept}"
