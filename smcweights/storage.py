"""Files that are whole or not there: one way to write, and readers that notice damage.

A file appears under its name only when complete: it is written beside it, flushed to the disk,
and renamed (`write`). Whatever happens, the name holds the old file or the new one, and nothing
else is left behind. `check_place` finds out before any work whether that will be possible.

Two formats stand on it: an archive of arrays under a header (`write_archive`), for checkpoints;
and any file that ends with a seal (`seal`), the checksum of what stands before it.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "check_place",
    "check_seal",
    "packed",
    "read_archive",
    "seal",
    "unpacked",
    "write",
    "write_archive",
]


def write(path: str | os.PathLike[str], fill: Callable[[str], None]) -> None:
    """Make or replace a file in one step.

    Parameters
    ----------
    path : path
        Its name; links are followed.
    fill : callable
        Writes the whole content to a file of the name it is given, which it may create.

    Raises
    ------
    OSError
        The file can't be written; what was there is as it was.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> write(folder / "a.txt", lambda name: pathlib.Path(name).write_text("whole") and None)
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    target = os.path.realpath(os.fspath(path))
    folder, name = os.path.split(target)
    partial = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.partial")
    try:
        fill(partial)
        _flush(partial)
        os.replace(partial, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise
    _flush(folder)


def check_place(path: str | os.PathLike[str], name: str = "path") -> str:
    """The full path of a file, once it is sure that it can be written there.

    Parameters
    ----------
    path : path
    name : str
        Of the argument, for the message.

    Raises
    ------
    TypeError
        Not a path.
    OSError
        It is a folder, or stands in a folder that doesn't exist or can't be written to.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name}: got {type(path).__name__}; expected a path")
    target = os.path.realpath(os.fspath(path))
    folder, file = os.path.split(target)
    if os.path.isdir(target):
        raise IsADirectoryError(f"{name}: {target} is a folder; expected a file's name")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{name}: there is no folder {folder} to write {file} to")
    _sweep(folder, file)
    trial = os.path.join(folder, f".{file}.{secrets.token_hex(8)}.partial")
    with open(trial, "xb"):
        pass
    os.unlink(trial)
    return target


def write_archive(
    path: str | os.PathLike[str], header: object, arrays: Mapping[str, np.ndarray]
) -> None:
    """Write arrays, and a header that JSON can hold, as a NumPy archive; whole or not at all."""
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)

    def fill(name: str) -> None:
        with open(name, "xb") as file:
            np.savez(file, header=text, **arrays)  # type: ignore[arg-type]

    write(path, fill)


def read_archive(path: str | os.PathLike[str]) -> tuple[Any, dict[str, np.ndarray]]:
    """Header and arrays that `write_archive` wrote.

    Raises
    ------
    Exception
        Damage shows as errors of zip, of NumPy or of JSON.
    """
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = dict(archive)
    return json.loads(arrays.pop("header").tobytes()), arrays


def seal(path: str, mark: str) -> None:
    """Append a mark and the checksum of a file, which readers of HDF5 pass over."""
    with open(path, "r+b") as file:
        checksum = hashlib.file_digest(file, "sha256")
        file.seek(0, os.SEEK_END)
        file.write(f"{mark} sha256 {checksum.hexdigest()}".encode())


def check_seal(path: str, *marks: str) -> None:
    """Refuse a file that doesn't end with one of these marks, all of one length, or was changed.

    Before HDF5 gets to see it: its own checks leave many a changed byte unseen.
    """
    length = len(marks[0]) + len(" sha256 ") + 64
    with open(path, "rb") as file:
        unread = max(os.path.getsize(path) - length, 0)
        checksum = hashlib.sha256()
        while unread and (chunk := file.read(min(unread, 2**20))):
            checksum.update(chunk)
            unread -= len(chunk)
        ending = file.read()
    if not ending.startswith(tuple(f"{mark} sha256 ".encode() for mark in marks)):
        raise ValueError(f"{path}: not a whole file that Estimate.save of this version wrote")
    if ending[-64:] != checksum.hexdigest().encode():
        raise ValueError(f"{path}: the file is damaged (its content doesn't fit its checksum)")


def packed(plain: object, arrays: list[NDArray]) -> Any:
    """The same with every array moved to the list, and replaced by its place there."""
    if isinstance(plain, dict):
        return {key: packed(inner, arrays) for key, inner in plain.items()}
    if isinstance(plain, list):
        return [packed(inner, arrays) for inner in plain]
    if isinstance(plain, np.ndarray):
        arrays.append(plain)
        return {"$array": len(arrays) - 1}
    return plain


def unpacked(document: object, arrays: list[NDArray]) -> Any:
    """What `packed` was given."""
    if isinstance(document, dict):
        if "$array" in document:
            return arrays[document["$array"]]
        return {key: unpacked(inner, arrays) for key, inner in document.items()}
    if isinstance(document, list):
        return [unpacked(inner, arrays) for inner in document]
    return document


def _flush(path: str) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if os.path.isdir(path) and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: str, name: str) -> None:
    """Remove what kills in the middle of writing left, when it is surely nobody's."""
    pattern = os.path.join(glob.escape(folder), f".{glob.escape(name)}.*.partial")
    for partial in glob.glob(pattern):
        with suppress(OSError):
            if time.time() - os.path.getmtime(partial) > 3600:
                os.unlink(partial)
