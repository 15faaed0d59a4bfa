"""A checkpoint: results by stage and batch, in memory and in a file.

The file is replaced in one step: a kill at any moment leaves either the old one or the new one,
and anybody may look into it while the run goes on (`overview`).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import randomness
from ..cautions import Caution, tell
from ..provenance import fingerprint, not_compared
from ..storage import check_place, read_archive, write_archive
from .workers import Job, copied

SECONDS_BETWEEN_WRITES = 30.0  # within a stage
FORMAT = "smcweights checkpoint 2"
PACKAGE = __name__.partition(".")[0]
RECORD = "$record"  # marks a NamedTuple among dicts


class _Entry(NamedTuple):
    """The result of a batch, and the digest of its inputs."""

    digest: str
    result: Any


class _Content(NamedTuple):
    """What a file holds."""

    arguments: dict[str, str]
    root: np.random.SeedSequence
    entries: dict[tuple[str, int], _Entry]


class Ledger:
    """Results by stage and batch; made only where its file can be written.

    Parameters
    ----------
    path : path
        Taken up if there is such a file, created if not.
    arguments : mapping
        All that the results depend on, in types that JSON can hold.
    root : SeedSequence, optional
        Of the run's random streams; the file's, or fresh entropy, by default.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        arguments: Mapping[str, object],
        root: np.random.SeedSequence | None,
    ) -> None:
        self.path = check_place(path, "checkpoint")
        try:
            # as text, which compares NaN with NaN, and lists with tuples
            self.arguments = {str(k): json.dumps(v, sort_keys=True) for k, v in arguments.items()}
        except (TypeError, ValueError) as error:
            raise TypeError(f"arguments: expected what JSON can hold ({error})") from error
        self.entries: dict[tuple[str, int], _Entry] = {}
        self.changed = not os.path.exists(self.path)
        self.written = time.monotonic()
        self.cost = 0.0
        if self.changed:
            self.root = root or randomness.seed_sequence()
            self.write()
        else:
            there = _read(self.path)
            _check_same(self.path, there, self.arguments, root)
            self.root, self.entries = there.root, there.entries
            if unread := not_compared(" ".join(self.arguments.values())):
                text = (
                    f"{self.path} was taken up without comparing {', '.join(unread)}: results are "
                    "those of an old model if one of these changed since"
                )
                tell("checkpoint", [Caution("not-compared", text)])

    def fingerprint(self, job: Job) -> str:
        """Digest of the inputs of a batch."""
        return fingerprint(job)

    def holds(self, stage: str, number: int, digest: str) -> bool:
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
        _structure(result, [])
        self.entries[stage, number] = _Entry(digest, copied(result))
        self.changed = True
        if self.due:
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
                [stage, number, entry.digest, _structure(entry.result, arrays)]
                for (stage, number), entry in self.entries.items()
            ],
        }
        write_archive(self.path, header, {str(i): array for i, array in enumerate(arrays)})
        self.changed = False
        self.written = time.monotonic()
        self.cost = self.written - start


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
    >>> ledger = Ledger(path, {"budget": 100}, np.random.SeedSequence(1))
    >>> ledger.keep("stage 1", 0, "", np.zeros(3))
    >>> ledger.write()
    >>> print(overview(path))  # doctest: +ELLIPSIS
    Checkpoint of 1 stage, last written ...
      seed     1
      budget   100
      stage 1  1 batch
    """
    there = _read(path)
    stages: dict[str, int] = {}
    for stage, _ in there.entries:
        stages[stage] = stages.get(stage, 0) + 1
    seed = randomness.describe(there.root)
    rows = {"seed": str(seed["entropy"]), **there.arguments}
    rows |= {stage: f"{n} batch{'es' * (n != 1)}" for stage, n in stages.items()}
    width = max(map(len, rows))
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(os.path.getmtime(path)))
    many = f"{len(stages)} stage{'s' * (len(stages) != 1)}"
    lines = [f"  {name:<{width}}  {_short(text)}" for name, text in rows.items()]
    return "\n".join([f"Checkpoint of {many}, last written {when}", *lines])


def _read(path: str | os.PathLike[str]) -> _Content:
    try:
        header, arrays = read_archive(path)
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r}, not {FORMAT!r}")
        entries = {
            (stage, number): _Entry(digest, _rebuilt(structure, arrays))
            for stage, number, digest, structure in header["entries"]
        }
        root = randomness.seed_sequence(header["root"])
        return _Content(dict(header["arguments"]), root, entries)
    except OSError:
        raise
    except Exception as error:
        # damage shows as errors of zip, of NumPy or of JSON
        raise ValueError(
            f"checkpoint: {path} can't be read as a checkpoint ({type(error).__name__}: {error}); "
            "it was left as it is. Delete it, or give another path, to start anew"
        ) from error


def _check_same(
    path: str,
    there: _Content,
    arguments: Mapping[str, str],
    root: np.random.SeedSequence | None,
) -> None:
    """Refuse a file of a run with other arguments or another seed."""
    belongs = f"checkpoint: {path} belongs to a run with"
    for name in sorted({*there.arguments, *arguments}):
        old, new = there.arguments.get(name, "nothing"), arguments.get(name, "nothing")
        if old != new:
            # what both begin with says nothing
            pairs = enumerate(zip(old, new, strict=False))
            same = max(next((i for i, (a, b) in pairs if a != b), 0) - 30, 0)
            old, new = ("... " + text[same:] if same else text for text in (old, new))
            raise ValueError(
                f"{belongs} other arguments: {name} was {_short(old)} and is {_short(new)} now; "
                "use the same arguments, or another path"
            )
    seeds = [randomness.describe(one) for one in (there.root, root or there.root)]
    if seeds[0] != seeds[1]:
        raise ValueError(
            f"{belongs} another seed: it was {seeds[0]} and is {seeds[1]} now; use that seed, "
            "seed=None, or another path"
        )


def _structure(result: Any, arrays: list[np.ndarray]) -> Any:
    """A result as JSON can hold it, its arrays put into a list and replaced by their places."""
    if isinstance(result, np.ndarray) and not result.dtype.hasobject:
        arrays.append(result)
        return len(arrays) - 1
    if type(result) is tuple:
        return [_structure(part, arrays) for part in result]
    if type(result) is dict and all(isinstance(key, str) for key in result):
        return {key: _structure(part, arrays) for key, part in result.items()}
    if isinstance(result, tuple) and (name := _record(type(result))):
        return {RECORD: name, "parts": [_structure(part, arrays) for part in result]}
    kind = f"array of {result.dtype}" if isinstance(result, np.ndarray) else type(result).__name__
    raise TypeError(
        f"function: returned {kind}; a checkpoint holds arrays of numbers, and tuples or dicts of "
        "them"
    )


def _record(kind: type) -> str:
    """Where to find a NamedTuple of the package's own; a file may name no other class."""
    if not (hasattr(kind, "_make") and kind.__module__.startswith(f"{PACKAGE}.")):
        return ""
    return f"{kind.__module__}:{kind.__qualname__}"


def _rebuilt(structure: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(structure, list):
        return tuple(_rebuilt(part, arrays) for part in structure)
    if isinstance(structure, dict) and RECORD in structure:
        module, _, name = structure[RECORD].partition(":")
        kind = getattr(sys.modules.get(module), name)
        if _record(kind) != structure[RECORD]:
            raise ValueError(f"{structure[RECORD]!r} is no record of the package")
        return kind._make(_rebuilt(part, arrays) for part in structure["parts"])
    if isinstance(structure, dict):
        return {key: _rebuilt(part, arrays) for key, part in structure.items()}
    return arrays[str(structure)]


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:60]} ... {text[-35:]}"
