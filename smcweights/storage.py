"""Files that are whole or not there: one way to write, and readers that notice damage.

A file appears under its name only when complete: it is written beside it, flushed to the disk,
and renamed (`write`). Whatever happens, the name holds the old file or the new one, and nothing
else is left behind. `check_place` finds out before any work whether that will be possible.

Two formats stand on it: an archive of arrays under a header (`write_archive`), for checkpoints,
and labelled arrays with a document (`write_netcdf`), for results. The latter ends with a seal,
the checksum of what stands before it.
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
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray


def write(path: str | os.PathLike[str], fill: Callable[[str], object]) -> None:
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
    >>> write(folder / "a.txt", lambda name: pathlib.Path(name).write_text("whole"))
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


def write_netcdf(
    path: str | os.PathLike[str],
    mark: str,
    main: xarray.Dataset,
    document: Mapping[str, Any],
    sample: xarray.Dataset | None,
) -> None:
    """Write labelled arrays, a document in plain types, and a sample, under a seal."""
    import xarray

    arrays: list[NDArray] = []
    whole = {name: _packed(part, arrays) for name, part in document.items()}
    groups: dict[str, xarray.Dataset] = {}
    if sample is not None:
        # attributes of any type go into the document: NetCDF has neither bools nor dicts
        variables = {
            str(name): plain(v.attrs, f"attributes of {name}")
            for name, v in sample.variables.items()
        }
        attributes = {"": plain(sample.attrs, "attributes of sample"), **variables}
        whole["sample"] = _packed(attributes, arrays)
        groups["sample"] = sample.drop_attrs().drop_encoding()
    groups["arrays"] = xarray.Dataset(
        {
            f"array_{i}": (tuple(f"dim_{i}_{k}" for k in range(a.ndim)), a)
            for i, a in enumerate(arrays)
        }
    )
    # as a variable: HDF5 attributes end at 64 KiB
    main = main.assign(document=((), json.dumps(whole)))

    def fill(name: str) -> None:
        main.to_netcdf(name, mode="w", engine="h5netcdf")
        for group, data in groups.items():
            data.to_netcdf(name, mode="a", group=group, engine="h5netcdf")
        _seal(name, mark)

    write(check_place(path), fill)


def read_netcdf(
    path: str | os.PathLike[str], *marks: str
) -> tuple[xarray.Dataset, dict[str, Any], xarray.Dataset | None]:
    """What `write_netcdf` wrote under one of these marks, all of one length.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, or is none of ours.
    """
    import xarray

    name = os.fspath(path)
    if os.path.isdir(name):
        raise IsADirectoryError(f"path: {name} is a folder; expected a file that save wrote")
    _check_seal(name, marks)

    def read(group: str | None) -> xarray.Dataset:
        with xarray.open_dataset(name, group=group, engine="h5netcdf") as data:
            return data.load()

    main, extra = read(None), read("arrays")
    arrays = [extra[f"array_{i}"].values for i in range(len(extra))]
    document = _unpacked(json.loads(main["document"].item()), arrays)
    attributes = document.pop("sample", None)
    if attributes is None:
        return main, document, None
    sample = read("sample").drop_encoding()
    sample.attrs = attributes[""]
    for variable, content in sample.variables.items():
        content.attrs = attributes[str(variable)]
    return main, document, sample


def plain(given: object, where: str) -> Any:
    """A copy in plain Python types and read-only arrays of numbers, or TypeError with the place."""
    if given is None or isinstance(given, bool | np.bool_):
        return given if given is None else bool(given)
    if isinstance(given, int | np.integer):
        return int(given)
    if isinstance(given, float | np.floating):
        return float(given)
    if isinstance(given, str):
        return str(given)
    if isinstance(given, Mapping):
        strange = [key for key in given if not isinstance(key, str) or key == "$array"]
        if strange:
            raise TypeError(f"{where}: key {strange[0]!r}; expected str (and not '$array')")
        return {str(key): plain(inner, f"{where}[{key!r}]") for key, inner in given.items()}
    if isinstance(given, list | tuple):
        return [plain(inner, f"{where}[{i}]") for i, inner in enumerate(given)]
    if hasattr(given, "__array__"):
        array = np.asarray(given)
        if array.dtype.kind in "US":
            return array.astype(str).tolist()
        if array.dtype.kind in "biuf":
            # NetCDF has neither half nor extended precision
            keep = array.dtype.kind != "f" or array.dtype.itemsize in (4, 8)
            copy = np.array(array, dtype=array.dtype.newbyteorder("=") if keep else np.float64)
            copy.flags.writeable = False
            return copy
        raise TypeError(
            f"{where}: array of dtype {array.dtype}; expected numbers, bools or strings"
        )
    raise TypeError(
        f"{where}: got {type(given).__name__}; expected a number, str, bool, None, array, or a "
        "list or dict of these"
    )


def _seal(path: str, mark: str) -> None:
    """Append a mark and the checksum of a file, which readers of HDF5 pass over."""
    with open(path, "r+b") as file:
        checksum = hashlib.file_digest(file, "sha256")
        file.seek(0, os.SEEK_END)
        file.write(f"{mark} sha256 {checksum.hexdigest()}".encode())


def _check_seal(path: str, marks: tuple[str, ...]) -> None:
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


def _packed(plain: object, arrays: list[NDArray]) -> Any:
    """The same with every array moved to the list, and replaced by its place there."""
    if isinstance(plain, dict):
        return {key: _packed(inner, arrays) for key, inner in plain.items()}
    if isinstance(plain, list):
        return [_packed(inner, arrays) for inner in plain]
    if isinstance(plain, np.ndarray):
        arrays.append(plain)
        return {"$array": len(arrays) - 1}
    return plain


def _unpacked(document: object, arrays: list[NDArray]) -> Any:
    """What `packed` was given."""
    if isinstance(document, dict):
        if "$array" in document:
            return arrays[document["$array"]]
        return {key: _unpacked(inner, arrays) for key, inner in document.items()}
    if isinstance(document, list):
        return [_unpacked(inner, arrays) for inner in document]
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
