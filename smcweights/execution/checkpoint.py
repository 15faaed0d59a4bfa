"""A checkpoint: results by stage and batch, in memory and in a file.

The file is replaced in one step: a kill at any moment leaves either the old one or the new one,
and anybody may look into it while the run goes on (`overview`).
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import randomness
from ..cautions import Caution, tell
from ..identity import STATE, not_compared, standing
from ..packing import Packing, Unpacking
from ..provenance import described
from ..storage import check_place, read_archive, write_archive
from .workers import copied

__all__ = ["Ledger", "check_checkpoint", "overview"]

SECONDS_BETWEEN_WRITES = 30.0  # within a stage
FORMAT = "smcweights checkpoint 3"
_IMPORTED = os.urandom(8).hex()  # tells processes apart that have the same number
MOST_SHOWN = 12  # stages, and components of what was found so far


class _Entry(NamedTuple):
    """The result of a batch, and the digest of its inputs."""

    digest: str
    result: Any


class Ledger:
    """Results by stage and batch; made only where its file can be written.

    Parameters
    ----------
    path : path
        Taken up if there is such a file, created if not.
    arguments : mapping
        All that the results depend on; they are compared as they are `described`.
    root : SeedSequence, optional
        Of the run's random streams; the file's, or fresh entropy, by default.
    method : str
        What is computed, for those who look into the file.

    Attributes
    ----------
    failure : str
        Why the file couldn't be written when this was last tried. The run goes on without it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        arguments: Mapping[str, object],
        root: np.random.SeedSequence | None,
        method: str = "",
    ) -> None:
        self.path = check_place(path, "checkpoint")
        self.failure, self.method = "", method
        self.so_far: dict[str, Any] = {}
        # as text, which compares NaN with NaN, and lists with tuples
        plain = described(arguments).items()
        self.arguments = {name: json.dumps(value, sort_keys=True) for name, value in plain}
        # what functions change themselves moves on within a process
        process = f"{os.getpid()} {_IMPORTED}"
        self.begun = {name: [process, standing(value)] for name, value in arguments.items()}
        self.entries: dict[tuple[str, int], _Entry] = {}
        self.changed = not os.path.exists(self.path)
        self.written = time.monotonic()
        self.cost = 0.0
        if self.changed:
            self.root = root or randomness.seed_sequence()
            try:
                self._write()
            except OSError as error:
                why = error.strerror or str(error)
                text = f"checkpoint: {self.path} can't be written ({why}); nothing was computed"
                raise type(error)(text) from error
        else:
            there, self.entries = _read(self.path)
            self.root, self.so_far = randomness.seed_sequence(there["root"]), there["so_far"]
            if there["method"] != method:
                raise ValueError(
                    f"checkpoint: {self.path} is of {there['method']}, not of {method}; use "
                    "another path"
                )
            _check_same(self.path, there["arguments"], self.arguments)
            if root is not None and there["root"] != (asked := randomness.describe(root)):
                raise ValueError(
                    f"checkpoint: {self.path} belongs to a run with another seed: it was "
                    f"{there['root']} and is {asked} now; use that seed, seed=None, or another path"
                )
            unread = not_compared(" ".join(self.arguments.values()))
            now, self.begun = self.begun, there.get("begun", self.begun)
            for name, (process, standing_then) in self.begun.items():
                if process != now[name][0] and standing_then != now[name][1]:
                    unread.append(f"what {name} changes itself")
            if unread:
                text = (
                    f"{self.path} was taken up without comparing {', '.join(unread)}: results are "
                    "those of an old model if one of these changed since"
                )
                if any(name.startswith(STATE) for name in unread):
                    text += ". A model that draws gives the same again if its input seeds it"
                tell("checkpoint", [Caution("not-compared", text)])

    def holds(self, stage: str, number: int, digest: str = "") -> bool:
        """Whether a batch has a result; its inputs must be the same."""
        entry = self.entries.get((stage, number))
        if entry is None:
            return False
        if entry.digest != digest:
            raise ValueError(
                f"checkpoint: {self.path} has a result of stage {stage!r}, batch {number + 1}, "
                "for other inputs than now: data, a function or a version of the software changed "
                "since; delete the file to start anew"
            )
        return True

    def result(self, stage: str, number: int) -> Any:
        """Copy of the result of a batch."""
        return copied(self.entries[stage, number].result)

    @property
    def due(self) -> bool:
        """Whether the file is to be replaced, though the stage goes on."""
        return time.monotonic() - self.written > max(SECONDS_BETWEEN_WRITES, 20 * self.cost)

    def keep(self, stage: str, number: int, digest: str, result: object) -> None:
        """Take down a result; now and then in the file, in the middle of a long stage."""
        Packing().pack(result, "function")
        self.entries[stage, number] = _Entry(digest, copied(result))
        self.changed = True
        if self.due:
            self.write()

    def remember(self, name: str, state: object) -> None:
        """Hold a state in place of the one before; now and then in the file."""
        self.entries[name, 0] = _Entry("", state)
        self.changed = True
        if self.due:
            self.write()

    def note(self, value: ArrayLike, half_widths: ArrayLike, level: float) -> None:
        """Take down what was found so far, for those who look into the file."""
        both = (np.atleast_1d(part).tolist() for part in (value, half_widths))
        self.so_far, self.changed = {"found": list(zip(*both, strict=True)), "level": level}, True
        self.write()

    def write(self) -> None:
        """Replace the file in one step, if there is something new and it can be written."""
        if self.changed:
            try:
                self._write()
                self.failure = ""
            except OSError as error:
                self.written = time.monotonic()
                self.failure = (
                    f"{self.path} can't be written ({error.strerror or error}); it holds what was "
                    "written before, and later results are lost with this process"
                )

    def _write(self) -> None:
        start = time.monotonic()
        packing = Packing()
        header = {
            "format": FORMAT,
            "method": self.method,
            "arguments": self.arguments,
            "begun": self.begun,
            "root": randomness.describe(self.root),
            "so_far": self.so_far,
            "entries": [
                [stage, number, entry.digest, packing.pack(entry.result)]
                for (stage, number), entry in self.entries.items()
            ],
        }
        write_archive(self.path, header, {str(i): a for i, a in enumerate(packing.arrays)})
        self.changed = False
        self.written = time.monotonic()
        self.cost = self.written - start


def check_checkpoint(path: str | os.PathLike[str] | None) -> None:
    """Refuse a path that can't be written, before what a method compiles first.

    Raises
    ------
    TypeError, ValueError, OSError
        As for `open_run`.

    Examples
    --------
    >>> check_checkpoint("/no such folder/run.npz")
    Traceback (most recent call last):
    ...
    FileNotFoundError: checkpoint: there is no folder /no such folder to write run.npz to
    """
    if path is not None:
        check_place(path, "checkpoint")


def overview(path: str | os.PathLike[str]) -> str:
    """What a checkpoint holds so far, in lines; the run may go on meanwhile.

    Raises
    ------
    OSError, ValueError
        There is no such file, or it is no checkpoint.

    Examples
    --------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "run.npz")
    >>> ledger = Ledger(path, {"budget": 100}, np.random.SeedSequence(1), "demo")
    >>> ledger.keep("stage 1", 0, "", np.zeros(3))
    >>> ledger.note([0.5], [0.1], 0.95)
    >>> ledger.write()
    >>> print(overview(path))  # doctest: +ELLIPSIS
    Checkpoint of demo, 1 stage, last written ...
      seed     1
      budget   100
      stage 1  1 batch
      so far   0.5 +- 0.1 (95 %)
    """
    header, _ = _header(path, whole=False)
    stages = Counter(stage for stage, *_ in header["entries"])
    rows = {"seed": str(header["root"]["entropy"]), **header["arguments"]}
    skipped = list(stages)[MOST_SHOWN // 2 : -MOST_SHOWN // 2] if len(stages) > MOST_SHOWN else []
    for stage, n in stages.items():
        if stage not in skipped:
            rows[stage] = f"{n} batch{'es' * (n != 1)}"
        elif stage == skipped[0]:
            rows["..."] = f"{len(skipped)} more stages"
    if header["so_far"]:
        found, level = header["so_far"]["found"], header["so_far"]["level"]
        shown = [f"{value:.6g} +- {half:.2g}" for value, half in found[:MOST_SHOWN]]
        shown += [f"{len(found) - MOST_SHOWN} more"] * (len(found) > MOST_SHOWN)
        rows["so far"] = f"{', '.join(shown)} ({100 * level:.4g} %)"
    width = max(map(len, rows))
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(os.path.getmtime(path)))
    many = f"{len(stages)} stage{'s' * (len(stages) != 1)}"
    lines = [f"  {name:<{width}}  {_short(text)}" for name, text in rows.items()]
    of = f"{header['method']}, " if header["method"] else ""
    return "\n".join([f"Checkpoint of {of}{many}, last written {when}", *lines])


def kept_root(path: str | os.PathLike[str]) -> np.random.SeedSequence:
    """Root of the random streams of the run that a checkpoint is of."""
    return randomness.seed_sequence(_header(path, whole=False)[0]["root"])


def kept_budget(path: str | os.PathLike[str]) -> int | None:
    """The budget of the run that a checkpoint is of, if it had one."""
    kept = json.loads(_header(path, whole=False)[0]["arguments"].get("budget", "null"))
    return kept if isinstance(kept, int) else None


def _read(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[tuple[str, int], _Entry]]:
    """Header and entries of a file."""
    header, named = _header(path)
    with _as_checkpoint(path):
        unpack = Unpacking([named[str(i)] for i in range(len(named))]).unpack
        return header, {
            (stage, number): _Entry(digest, unpack(packed))
            for stage, number, digest, packed in header["entries"]
        }


def _header(
    path: str | os.PathLike[str], whole: bool = True
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a file says beside its arrays, and these if wanted."""
    with _as_checkpoint(path):
        header, named = read_archive(path, whole)
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r}, not {FORMAT!r}")
        return header, named


@contextmanager
def _as_checkpoint(path: str | os.PathLike[str]) -> Iterator[None]:
    """Tell of damage, which shows as errors of zip, of NumPy or of JSON."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise type(error)(f"checkpoint: {path} can't be read ({why})") from error
    except Exception as error:
        # what NumPy says of files of another kind is of pickles
        other = "allow_pickle" in str(error)
        why = "it holds something else" if other else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"checkpoint: {path} can't be read as a checkpoint ({why}); it was left as it "
            "is. Delete it, or give another path, to start anew"
        ) from error


def _check_same(path: str, there: Mapping[str, str], arguments: Mapping[str, str]) -> None:
    """Refuse a file of a run with other arguments."""
    for name in sorted({*there, *arguments}):
        old, new = there.get(name, "nothing"), arguments.get(name, "nothing")
        if old != new:
            # what both begin with says nothing
            pairs = enumerate(zip(old, new, strict=False))
            same = max(next((i for i, (a, b) in pairs if a != b), 0) - 30, 0)
            old, new = ("... " + text[same:] if same else text for text in (old, new))
            raise ValueError(
                f"checkpoint: {path} belongs to a run with other arguments: {name} was "
                f"{_short(old)} and is {_short(new)} now; use the same arguments, or another path"
            )


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:60]} ... {text[-35:]}"
