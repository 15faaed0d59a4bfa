"""What every result of the package can do: be kept in a file, labelled, tabled and shown.

A result is a frozen dataclass that says so, ``class Found(Result)``, and that `smcweights` names.
Its fields are all there is to say: `save` writes them and `load` reads them back exactly,
`to_xarray` labels them, and `summary` has a row for each component of the estimates among them. A
field tells more of itself by its metadata: `along` names the dimensions of its arrays, `NOT_KEPT`
leaves it out of files, because it is code.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from . import storage, tables
from .cautions import Caution
from .estimate import Estimate
from .packing import NATIVE, made_of
from .packing import NOT_KEPT as NOT_KEPT
from .references import bibtex

if TYPE_CHECKING:
    import pandas
    import xarray


def along(*dims: str) -> dict[str, Sequence[str]]:
    """Metadata of a field whose arrays have these dimensions, or the first ones of them."""
    return {"dims": dims}


class Result:
    """What results have in common; it has no fields."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a NetCDF 4 file that `load` reads back without loss.

        The file appears under its name only when complete, as that of `Estimate.save`. Models and
        other code are not in it: what was read has None in their place.

        Parameters
        ----------
        path : path
            Name of the file; an existing one is replaced.
        """
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is damaged, holds another result, or is not one that `save` wrote.
        """
        return storage.load(cls, path)

    def to_xarray(self) -> xarray.Dataset:
        """Labelled arrays of all fields: of an estimate its value, error and covariance.

        Returns
        -------
        xarray.Dataset
            Variables are named after the fields; parts of an estimate have its name in front, as
            in ``log_likelihood_standard_error``. Rows of unequal length end with -1.
        """
        import xarray

        variables: dict[str, Any] = {}
        coordinates: dict[str, Any] = {}
        sizes: dict[str, int] = {}
        for name, dims, part in _labelled(self):
            if isinstance(part, Estimate):
                data = part.to_xarray()
                new = {str(old): f"{name}_{old}" for old in {*data.variables, *data.dims}}
                data = data.rename(new | {"value": name})
                variables |= {str(key): v.variable for key, v in data.data_vars.items()}
                coordinates |= {str(key): v.variable for key, v in data.coords.items()}
                continue
            own = (*dims, *(f"{name}_{k}" for k in range(len(dims), part.ndim)))[: part.ndim]
            # what has another length is along something else
            used = [
                dim if sizes.setdefault(dim, n) == n else f"{name}_{dim}"
                for dim, n in zip(own, part.shape, strict=True)
            ]
            variables[name] = (used, part)
        return xarray.Dataset(variables, coordinates, {"kind": type(self).__name__})

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """Table with a row for each component of the estimates in it.

        Parameters
        ----------
        level : float, default 0.95
            Of the intervals.

        Returns
        -------
        pandas.DataFrame
            Columns: value, standard_error, lower, upper.
        """
        rows: dict[str, tuple[float, ...]] = {}
        for name, est in _estimates(self).items():
            whole = est.summary(level)[list(COLUMNS)].itertuples(name=None)
            rows |= {f"{name} {key}" if est.value.ndim else name: tuple(row) for key, *row in whole}
        return table(rows)

    @property
    def references(self) -> tuple[str, ...]:
        """What to cite: the sources of all that was used."""
        return _united(est.references for est in _estimates(self).values())

    @property
    def bibtex(self) -> str:
        """The `references` as entries for BibTeX."""
        return bibtex(self.references)

    def _repr_html_(self) -> str:
        found = self.summary()
        at = tables.shown(len(found))
        rows = [tables.in_words(_said(k), *row) for k, *row in _four(found.iloc[at])]
        title = repr(self).splitlines()[0]
        return tables.as_html(title, tables.left_out(rows, len(found)), cautions_of(self))


COLUMNS = ("value", "standard_error", "lower", "upper")


def table(
    rows: Mapping[Any, Sequence[float]] | Iterable[tuple[Any, Sequence[float]]],
) -> pandas.DataFrame:
    """A table of values, standard errors, and the ends of intervals, by what they are of."""
    import pandas

    found = dict(rows)
    whole = np.array([list(row) for row in found.values()], float).reshape(-1, len(COLUMNS))
    return pandas.DataFrame(whole, index=list(found), columns=list(COLUMNS))


def cautions_of(result: Result | Estimate) -> tuple[Caution, ...]:
    """What can't be promised of a result, or of the estimates in it."""
    own = getattr(result, "cautions", None)
    if own is not None or isinstance(result, Estimate):
        return tuple(own or ())
    return _united(est.cautions for est in _estimates(result).values())


def provenance_of(result: Result | Estimate) -> dict[str, Any]:
    """Where a result comes from, or the first of the estimates in it."""
    own = getattr(result, "provenance", None)
    if own is not None or isinstance(result, Estimate):
        return own or {}
    return next((est.provenance for est in _estimates(result).values()), {})


def _united(found: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(found)))


def _four(found: pandas.DataFrame) -> Iterator[tuple[Any, ...]]:
    return found[list(COLUMNS)].itertuples(name=None)


def _said(key: object) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _estimates(result: Any) -> dict[str, Estimate]:
    """The estimates among its fields."""
    found = {f.name: getattr(result, f.name) for f in fields(result)}
    return {name: part for name, part in found.items() if isinstance(part, Estimate)}


def _labelled(result: Any) -> Iterator[tuple[str, Sequence[str], Any]]:
    """Name, dimensions, and array or estimate, of all that has a place among labelled arrays."""
    dims = {f.name: f.metadata.get("dims", ()) for f in fields(result)}
    for name, part in made_of(result).items():
        entries = {name: part}
        if isinstance(part, dict):
            entries = {f"{name}_{key}": entry for key, entry in part.items()}
        if isinstance(part, tuple) and any(isinstance(entry, np.ndarray) for entry in part):
            entries = {f"{name}_{i}": entry for i, entry in enumerate(part)}
        for key, entry in entries.items():
            if isinstance(entry, Estimate):
                yield key, (), entry
            elif (array := _array(entry)) is not None:
                yield key, dims[name], array


def _array(part: object) -> np.ndarray | None:
    """What is an array of numbers, or can be laid out as one."""
    if isinstance(part, list) and part and all(isinstance(row, tuple) for row in part):
        sizes, flat = np.array([len(row) for row in part]), [*chain.from_iterable(part)]
        if not all(isinstance(entry, int) for entry in flat):
            return None
        whole = np.full((len(part), sizes.max()), -1)
        whole[np.arange(sizes.max()) < sizes[:, None]] = flat
        return whole
    if isinstance(part, int | float | np.ndarray | np.generic) or (
        isinstance(part, tuple) and part and all(isinstance(one, int | float) for one in part)
    ):
        array = np.asarray(part)
        return array if array.dtype.str in NATIVE or array.dtype == bool else None
    return None
