"""Files that are whole or not there: one way to write, and readers that notice damage.

A file appears under its name only when complete: it is written beside it, flushed to the disk,
and renamed (`write`). Whatever happens, the name holds the old file or the new one, and nothing
else is left behind. `check_place` finds out before any work whether that will be possible.

Two formats stand on it: an archive of arrays under a header (`write_archive`), for checkpoints,
and labelled arrays with a document (`save`), for results of any kind. The latter ends with a seal,
which names the kind and has the checksum of what stands before it.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from .arguments import shown
from .cautions import Caution
from .packing import Packing, Unpacking, made_of, public, remade

if TYPE_CHECKING:
    import xarray

FORMAT, OLDER = 3, (1, 2)
# at the end of a file: kind, format and checksum of all before it
SEAL = re.compile(rb"smcweights (\w{1,80}) (\d{1,9}) sha256 ([0-9a-f]{64})$")
LONGEST_SEAL = 200
Made = TypeVar("Made")


class _Labelled(Protocol):
    """A result that can be saved."""

    def to_xarray(self) -> xarray.Dataset: ...


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
        It is a folder, or stands in a folder that doesn't exist, is full or can't be written to.
    """
    target = os.path.realpath(_named(path, name))
    folder, file = os.path.split(target)
    if os.path.isdir(target):
        raise IsADirectoryError(
            f"{name}: got {str(path)!r}, {target} is a folder; expected a file's name"
        )
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{name}: there is no folder {folder} to write {file} to")
    _sweep(folder, file)
    trial = os.path.join(folder, f".{file}.{secrets.token_hex(8)}.partial")
    try:
        with open(trial, "xb") as room:
            room.write(bytes(4096))
    except OSError as error:
        why = error.strerror or str(error)
        raise type(error)(
            f"{name}: {target} can't be written ({why}); nothing was changed"
        ) from error
    finally:
        with suppress(OSError):
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


def read_archive(
    path: str | os.PathLike[str], whole: bool = True
) -> tuple[Any, dict[str, np.ndarray]]:
    """Header and arrays that `write_archive` wrote, or the header alone.

    Raises
    ------
    Exception
        Damage shows as errors of zip, of NumPy or of JSON.
    """
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = dict(archive) if whole else {"header": archive["header"]}
    return json.loads(arrays.pop("header").tobytes()), arrays


def save(record: _Labelled, path: str | os.PathLike[str]) -> None:
    """Write a result, labelled arrays beside all that it is made of, under a seal."""
    import xarray

    kind = type(record).__name__
    main = record.to_xarray()
    packing = Packing({str(name): v.values for name, v in main.data_vars.items()})
    document = json.dumps(packing.pack(made_of(record)))
    arrays = xarray.Dataset(
        {
            f"array_{i}": (tuple(f"dim_{i}_{k}" for k in range(a.ndim)), a)
            for i, a in enumerate(packing.arrays)
        }
    )
    # as a variable: HDF5 attributes end at 64 KiB
    main = main.assign(document=((), document))

    def fill(name: str) -> None:
        main.to_netcdf(name, mode="w", engine="h5netcdf", encoding=_compressed(main))
        for group, data in {"arrays": arrays, **packing.datasets}.items():
            how = _compressed(data)
            data.to_netcdf(name, mode="a", group=group, engine="h5netcdf", encoding=how)
        with open(name, "r+b") as file:
            file.seek(0, os.SEEK_END)
            # which readers of HDF5 pass over
            file.write(f"smcweights {kind} {FORMAT} sha256 ".encode())
            file.seek(0)
            checksum = hashlib.file_digest(file, "sha256")
            file.write(checksum.hexdigest().encode())

    write(check_place(path), fill)


def load(kind: type[Made], path: str | os.PathLike[str]) -> Made:
    """The result that `save` wrote.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, is none of ours, or holds a result of another kind.
    """
    name = _named(path)
    held, _ = _sealed(name)
    if held != kind.__name__:
        raise ValueError(
            f"{name}: holds a result of kind {held}; expected {kind.__name__} "
            f"({held}.load reads this file)"
        )
    return load_any(name)


def load_any(path: str | os.PathLike[str]) -> Any:
    """The result that `save` wrote, of whatever kind; raises as `load`."""
    import xarray

    name = _named(path)
    held, form = _sealed(name)
    kind = public(held)
    if kind is None:
        raise ValueError(f"{name}: holds a result of kind {held}, which this version doesn't know")

    def read(group: str | None, **how: Any) -> xarray.Dataset:
        with xarray.open_dataset(name, group=group, engine="h5netcdf", **how) as data:
            return data.load()

    # bit for bit: what stands for missing values is not looked for
    main, extra = read(None, decode_cf=False), read("arrays", decode_cf=form < FORMAT)
    arrays = [extra[f"array_{i}"].values for i in range(len(extra))]
    known = {str(variable): content.values for variable, content in main.data_vars.items()}
    document = str(known.pop("document").item())
    unpacking = Unpacking(arrays, known, read)
    try:
        if form < FORMAT:
            return remade(kind, _older(document, arrays, known, unpacking))
        return remade(kind, unpacking.unpack({"$": "dict", "of": json.loads(document)}))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error


PLAIN = {bool, int, float, str, type(None)}  # what copies itself


def plain(given: object, where: str) -> Any:
    """A copy in plain Python types and read-only arrays of numbers, or TypeError with the place."""
    if type(given) in PLAIN:
        return given
    if isinstance(given, (list, tuple)):
        return [
            inner if type(inner) in PLAIN else plain(inner, f"{where}[{i}]")
            for i, inner in enumerate(given)
        ]
    if isinstance(given, (dict, Mapping)):  # the first of which is told at once
        for key in given:
            if not isinstance(key, str) or key == "$array":
                raise TypeError(f"{where}: key {key!r}; expected str (and not '$array')")
        return {
            str(key): inner if type(inner) in PLAIN else plain(inner, f"{where}[{key!r}]")
            for key, inner in given.items()
        }
    if isinstance(given, np.bool_):
        return bool(given)
    if isinstance(given, int | np.integer):
        return int(given)
    if isinstance(given, float | np.floating):
        return float(given)
    if isinstance(given, str):
        return str(given)
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


def _named(path: object, name: str = "path") -> str:
    """The name of a file, from an argument."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name}: got {shown(path)}; expected a path")
    if "\0" in str(path):
        raise ValueError(f"{name}: got {str(path)!r}; expected a file's name, without NUL")
    return str(os.fspath(path))


def _sealed(name: str) -> tuple[str, int]:
    """Kind and format of the result that a file holds, once its seal was found whole.

    Before HDF5 gets to see it: its own checks leave many a changed byte unseen.
    """
    if os.path.isdir(name):
        raise IsADirectoryError(f"path: {name} is a folder; expected a file that save wrote")
    if not os.path.exists(name):
        raise FileNotFoundError(f"path: there is no file {name}; expected one that save wrote")
    size = os.path.getsize(name)
    with open(name, "rb") as file:
        file.seek(max(size - LONGEST_SEAL, 0))
        seal = SEAL.search(file.read())
        if seal is None:
            raise ValueError(f"{name}: not a whole file that save of a result wrote")
        kind, form = seal[1].decode(), int(seal[2])
        older = kind == "estimate" and form in OLDER
        file.seek(0)
        # older checksums left out the words before them
        unread, checksum = size - (len(seal[0]) if older else 64), hashlib.sha256()
        while unread and (chunk := file.read(min(unread, 2**20))):
            checksum.update(chunk)
            unread -= len(chunk)
    if seal[3] != checksum.hexdigest().encode():
        raise ValueError(f"{name}: the file is damaged (its content doesn't fit its checksum)")
    if form != FORMAT and not older:
        raise ValueError(
            f"{name}: its format is {form}; this version of the package reads format {FORMAT}"
        )
    return ("Estimate" if older else kind), form


def _compressed(data: xarray.Dataset) -> dict[Any, dict[str, Any]]:
    """How large arrays are written: numbers of strata and of ancestors shrink to nearly nothing."""
    large = [name for name, v in data.data_vars.items() if v.size > 1_000 and v.dtype.kind in "iuf"]
    return {name: {"zlib": True, "complevel": 1, "shuffle": True} for name in large}


def _older(
    document: str, arrays: list[np.ndarray], known: dict[str, np.ndarray], unpacking: Unpacking
) -> dict[str, Any]:
    """What an estimate is made of, from a file of formats 1 and 2."""

    def renewed(entry: dict[str, Any]) -> dict[str, Any]:
        if "$array" not in entry:
            return entry
        at = entry["$array"]
        return {"$": "array", "dtype": arrays[at].dtype.str, "at": at}

    content = json.loads(document, object_hook=renewed)
    if "sample" in content:
        content["sample"] = {"$": "dataset", "at": "sample", "attributes": content["sample"]}
    content = unpacking.unpack(content)
    diagnostics = content["diagnostics"]
    if "cautions" not in content:
        # format 1 had them among the diagnostics
        texts = diagnostics.pop("warnings", ())
        content["cautions"] = [("unclassified", text) for text in texts]
        content["columns"] = diagnostics.pop("columns", ())
        content["bounds"] = diagnostics.pop("bounds", None)
    content["cautions"] = [Caution(code, text) for code, text in content["cautions"]]
    held = ("value", "covariance", "factor", "degrees_of_freedom", "trials")
    return content | {name: known[name] for name in held if name in known}


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
