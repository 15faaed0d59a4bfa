"""Values taken apart into text and arrays, and put together again: exactly what they were.

JSON holds numbers, strings, lists and dicts as they are. What it can't tell from these, or can't
hold, becomes a dict that says under ``"$"`` what it stands for: a tuple, an array or a number of
NumPy's, a labelled dataset, a seed, a record of the package. Arrays and datasets are kept apart,
for the file to hold in its own way. Nothing is pickled: a file can name no code but the package's
public records and its NamedTuples.
"""

from __future__ import annotations

import dataclasses
import importlib
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from . import randomness

if TYPE_CHECKING:
    import xarray

PACKAGE = __name__.partition(".")[0]
NOT_KEPT = {"kept": False}  # metadata of a field that no file holds
NATIVE = {np.dtype(kind).str for kind in "bBhHiIlLfd"}  # what HDF5 files hold


class Packing:
    """What was taken apart so far.

    Parameters
    ----------
    held : mapping of str to ndarray
        Arrays that stand elsewhere in the file under these names; they are only referred to.

    Attributes
    ----------
    arrays : list of ndarray
        Of kinds that HDF5 has.
    datasets : dict of str to xarray.Dataset
        By place, without the attributes, which are in the text.

    Examples
    --------
    >>> packing = Packing()
    >>> packing.pack({"a": (1, 0.5), "b": np.zeros(2)})
    {'a': {'$': 'tuple', 'of': [1, 0.5]}, 'b': {'$': 'array', 'dtype': '<f8', 'at': 0}}
    """

    def __init__(self, held: Mapping[str, NDArray] | None = None) -> None:
        self.arrays: list[NDArray] = []
        self.datasets: dict[str, xarray.Dataset] = {}
        self._held = {id(array): (name, array) for name, array in (held or {}).items()}

    def pack(self, value: object, where: str = "") -> Any:
        """The value as JSON can hold it.

        Raises
        ------
        TypeError
            Something in it is of another kind; the message says where.
        """
        if type(value) is float and value != value:
            # JSON has one NaN only
            return {"$": "nan", "bytes": struct.pack("<d", value).hex()}
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) is list:
            return self._rows(value) or self._entries(value, where)
        if type(value) is tuple:
            return {"$": "tuple", "of": self._entries(value, where)}
        if isinstance(value, tuple) and (name := _row(type(value))):
            return {"$": "row", "kind": name, "of": self._entries(value, where)}
        if isinstance(value, dict):
            return self._dict(value, where)
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return self._array(value)
        if isinstance(value, np.generic) and not value.dtype.hasobject:
            return {"$": "number", "dtype": value.dtype.str, "bytes": value.tobytes().hex()}
        if isinstance(value, np.random.SeedSequence):
            return {"$": "seed", "of": randomness.describe(value)}
        if hasattr(value, "data_vars"):
            return self._dataset(cast("xarray.Dataset", value), where)
        if public(type(value).__name__) is type(value):
            return {"$": type(value).__name__, "of": self._dict(made_of(value), where)}
        raise TypeError(
            f"{where}: got {type(value).__name__}; a file holds numbers, strings, arrays, lists, "
            "dicts, and results of this package"
        )

    def _entries(self, value: Sequence, where: str) -> list[Any]:
        return [self.pack(entry, f"{where}/{i}") for i, entry in enumerate(value)]

    def _dict(self, value: Mapping, where: str) -> dict[str, Any]:
        strange = [key for key in value if type(key) is not str]
        if strange:
            raise TypeError(f"{where}: got the key {strange[0]!r}; expected str")
        packed = {k: self.pack(v, f"{where}/{k}".lstrip("/")) for k, v in value.items()}
        return {"$": "dict", "of": packed} if "$" in packed else packed

    def _array(self, array: NDArray) -> dict[str, Any]:
        kind: dict[str, Any] = {"$": "array", "dtype": array.dtype.str}
        axes = sorted(range(array.ndim), key=lambda k: -abs(array.strides[k]))
        if array.size and axes != sorted(axes):
            # sums depend on the order in memory
            kind["axes"] = axes
        name, held = self._held.get(id(array), ("", None))
        if held is array:
            return {**kind, "held": name}
        if array.dtype.kind == "U":
            return {**kind, "shape": list(array.shape), "texts": array.ravel().tolist()}
        if array.dtype.str not in NATIVE or array.size == 0:
            kind["shape"] = list(array.shape)
            array = np.frombuffer(array.tobytes() or b"\0", np.uint8)
        self.arrays.append(array)
        return {**kind, "at": len(self.arrays) - 1}

    def _rows(self, value: list) -> dict[str, Any] | None:
        """Many tuples of whole numbers, as sequences are, in two arrays; None for other lists."""
        if not value or not all(type(row) is tuple for row in value):
            return None
        flat = list(chain.from_iterable(value))
        if not all(type(entry) is int and -(2**63) <= entry < 2**63 for entry in flat):
            return None
        sizes = np.array([len(row) for row in value])
        return {"$": "rows", "sizes": self._array(sizes), "of": self._array(np.array(flat, int))}

    def _dataset(self, data: xarray.Dataset, where: str) -> dict[str, Any]:
        # attributes of any type go into the text: NetCDF has neither bools nor dicts
        attributes = {"": data.attrs} | {str(n): v.attrs for n, v in data.variables.items()}
        # in a group of its own, beside a variable of the name that is before the stroke
        place = where.replace("/", " ")
        self.datasets[place] = data.drop_attrs().drop_encoding()
        return {"$": "dataset", "at": place, "attributes": self.pack(attributes, where)}


class Unpacking:
    """What is put together again.

    Parameters
    ----------
    arrays : sequence of ndarray
    held : mapping of str to ndarray
    dataset : callable
        From a place to the dataset there.
    """

    def __init__(
        self,
        arrays: Sequence[NDArray],
        held: Mapping[str, NDArray] | None = None,
        dataset: Callable[[str], xarray.Dataset] | None = None,
    ) -> None:
        self._arrays, self._held, self._dataset_at = arrays, held or {}, dataset

    def unpack(self, packed: Any) -> Any:
        """What `Packing.pack` was given."""
        if isinstance(packed, list):
            return [self.unpack(entry) for entry in packed]
        if not isinstance(packed, dict):
            return packed
        kind, of = packed.get("$"), packed.get("of", {})
        if kind is None:
            return {key: self.unpack(entry) for key, entry in packed.items()}
        if kind == "dict":
            return {key: self.unpack(entry) for key, entry in of.items()}
        if kind == "tuple":
            return tuple(self.unpack(entry) for entry in of)
        if kind == "row":
            module, _, name = packed["kind"].partition(":")
            made = getattr(sys.modules.get(module), name, None)
            if _row(made) != packed["kind"]:
                raise ValueError(f"it names {packed['kind']!r}, which is no record of the package")
            return made._make(self.unpack(entry) for entry in of)  # type: ignore[union-attr]
        if kind == "array":
            return self._array(packed)
        if kind == "number":
            return np.frombuffer(bytes.fromhex(packed["bytes"]), packed["dtype"])[0]
        if kind == "nan":
            return struct.unpack("<d", bytes.fromhex(packed["bytes"]))[0]
        if kind == "seed":
            return randomness.seed_sequence(of)
        if kind == "rows":
            flat, ends = self._array(of).tolist(), self._array(packed["sizes"]).cumsum().tolist()
            return [tuple(flat[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
        if kind == "dataset" and self._dataset_at is not None:
            return self._dataset(packed)
        made = public(kind)
        if made is None:
            raise ValueError(f"it names {kind!r}, which is no record of this version")
        return remade(made, self.unpack({"$": "dict", "of": of}))

    def _array(self, packed: Mapping[str, Any]) -> NDArray:
        dtype, shape = np.dtype(packed["dtype"]), packed.get("shape")
        if "held" in packed:
            array = self._held[packed["held"]].astype(dtype, copy=False)
        elif "texts" in packed:
            array = np.array(packed["texts"], dtype).reshape(shape)
        else:
            array = self._arrays[packed["at"]]
            if shape is not None:
                size = int(np.prod(shape)) * dtype.itemsize
                array = np.frombuffer(array.tobytes()[:size], dtype).reshape(shape).copy()
        axes = packed.get("axes")
        if axes is None:
            return array
        return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))

    def _dataset(self, packed: Mapping[str, Any]) -> xarray.Dataset:
        assert self._dataset_at is not None
        data = self._dataset_at(packed["at"]).drop_encoding()
        attributes = self.unpack(packed["attributes"])
        data.attrs = attributes.pop("", {})
        for variable, content in data.variables.items():
            content.attrs = attributes[str(variable)]
        return data


def _row(kind: Any) -> str:
    """Where to find a NamedTuple of the package's own; a file may name no other class."""
    if not (hasattr(kind, "_make") and kind.__module__.startswith(f"{PACKAGE}.")):
        return ""
    return f"{kind.__module__}:{kind.__qualname__}"


def public(name: str) -> type | None:
    """The public record of the package of this name, or None."""
    package = importlib.import_module(PACKAGE)
    kind = getattr(package, name) if name in package.__all__ else None
    return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def made_of(record: Any) -> dict[str, Any]:
    """What a record is made of again: its fields, or what its method of this name says."""
    if hasattr(record, "made_of"):
        return record.made_of()
    kept = [f.name for f in dataclasses.fields(record) if f.init and f.metadata.get("kept", True)]
    return {name: getattr(record, name) for name in kept}


def remade(kind: type, content: Mapping[str, Any]) -> Any:
    """A record made of what `made_of` gave; a field that older versions had not has its default.

    Raises
    ------
    ValueError
        A field is unknown, or one without a default is missing.
    """
    # a field that no file holds has its default, or None
    absent = {
        f.name: None
        for f in dataclasses.fields(kind)
        if not f.metadata.get("kept", True) and f.default is f.default_factory
    }
    try:
        return kind(**absent, **content)
    except TypeError as error:
        raise ValueError(
            f"it holds another {kind.__name__} than this version knows: {error}"
        ) from None
