"""Checks of arguments that rooms share: each returns its argument clean, or says what is wrong.

An error says what was wrong, where, and what was expected; a wrong kind is a `TypeError`, a wrong
value of the right kind a `ValueError`. What only one room knows is checked there.
"""

from __future__ import annotations

import math
import operator
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas

Array = NDArray[np.float64]
MOST = 10_000_000_000
LONGEST_NAME = 1_000  # characters
# what arrays hold, by the kind of their dtype
KINDS = {"U": "texts", "S": "bytes", "b": "bools", "c": "complex numbers", "M": "dates"}
KINDS |= {"m": "durations"}
Called = TypeVar("Called", bound=Callable)
Chosen = TypeVar("Chosen")


def shown(given: object) -> str:
    """What was got, in at most a line."""
    try:
        text = repr(given)
    except ValueError:  # a whole number of thousands of digits
        return f"a {type(given).__name__} of many digits"
    text = " ".join(text.split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def flag(name: str, given: object) -> bool:
    """True or False."""
    if not isinstance(given, bool | np.bool_):
        raise TypeError(f"{name}: got {shown(given)}; expected True or False")
    return bool(given)


def count(
    name: str, given: object, least: int = 1, most: float | None = None, each: int = 8
) -> int:
    """A whole number from ``least``; a float equal to one will do.

    So many things have to be kept, of ``each`` bytes or more, that more would end in a
    `MemoryError`; where ``most`` is given that is the bound instead.
    """
    expected = f"expected a whole number from {least}"
    if isinstance(given, bool | np.bool_):
        raise TypeError(f"{name}: got {given}; {expected}, not a bool")
    if isinstance(given, float | np.floating):
        if not given.is_integer():
            raise ValueError(f"{name}: got {given!r}; {expected}")
        given = int(given)
    try:
        whole = operator.index(given)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: got {shown(given)}; {expected}") from None
    if whole < least:
        raise ValueError(f"{name}: got {shown(whole)}; {expected}")
    if whole > (bound := MOST if most is None else most):
        raise ValueError(f"{name}: got {shown(whole)}; {expected} to {bound:,}")
    if most is None and whole * each > (memory := _memory()):
        raise ValueError(
            f"{name}: got {whole}, {whole * each / 1e9:,.0f} GB at {each} bytes for each; "
            f"{expected} to {int(memory // each):,}, which fill this machine's "
            f"{memory / 1e9:,.1f} GB of memory"
        )
    return whole


@lru_cache(maxsize=1)
def _memory() -> float:
    """Bytes of this machine's memory; infinite where it can't be asked."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf


def position(name: str, given: object, size: int) -> int:
    """Which of so many things, counted from 0."""
    try:
        return count(name, given, 0, size - 1)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}, one of {size}") from None


def number(
    name: str,
    given: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    ends: bool = False,
    infinite: bool = False,
) -> float:
    """A finite real number between two ends, which count where ``ends`` says so; or `infinite`."""
    if type(given) is not float:  # the most frequent of all
        kind = array(name, given)  # type: ignore[arg-type]
        if isinstance(given, bool | np.bool_) or kind.ndim or kind.dtype.kind not in "iuf":
            raise TypeError(f"{name}: got {shown(given)}; {_between(low, high, ends)}")
    value = float(given)  # type: ignore[arg-type]
    if infinite and math.isinf(value):
        return value
    if not (math.isfinite(value) and (low <= value <= high if ends else low < value < high)):
        raise ValueError(f"{name}: got {given!r}; {_between(low, high, ends)}")
    return value


def _between(low: float, high: float, ends: bool) -> str:
    if low == -math.inf and high == math.inf:
        return "expected a finite number"
    if high == math.inf:
        return f"expected a number {'from' if ends else 'above'} {low:g}"
    within = f"from {low:g} to {high:g}" if ends else f"between {low:g} and {high:g}"
    return f"expected a number {within}"


def level(given: object, name: str = "level") -> float:
    """Nominal coverage of an interval, between 0 and 1."""
    return number(name, given, 0, 1)


def one_of(name: str, given: Chosen, allowed: Sequence[Chosen]) -> Chosen:
    """One of the allowed values."""
    if not any(given is one or (type(given) is type(one) and given == one) for one in allowed):
        listed = ", ".join(map(repr, allowed))
        raise ValueError(f"{name}: got {shown(given)}; expected one of {listed}")
    return given


def function(name: str, given: Called, of: str = "") -> Called:
    """Something to call; ``of`` says with what."""
    if not callable(given):
        expected = f"expected a function {of}".rstrip()
        raise TypeError(f"{name}: got {type(given).__name__}; {expected}")
    return given


def instance(name: str, given: Chosen, kind: type, of: str = "") -> Chosen:
    """An object of a class of ours."""
    if not isinstance(given, kind):
        raise TypeError(
            f"{name}: got {type(given).__name__}; expected {of or f'a {kind.__name__}'}"
        )
    return given


def several(name: str, given: Iterable[Chosen], of: str, size: int | None = None) -> list[Chosen]:
    """What can be gone through, as a list; of a certain size where that is said."""
    expected = f"a list of {of}" if size is None else of
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"{name}: got {shown(given)}; expected {expected}")
    found = list(given)
    if size not in (None, len(found)):
        raise ValueError(f"{name}: got {shown(given)}; expected {expected}")
    return found


def in_order(name: str, given: Any, of: str) -> list[Any]:
    """What is told by where it stands, as a list: no set or dict, nor a table, of columns."""
    if isinstance(given, set | frozenset | Mapping) or getattr(given, "ndim", 1) != 1:
        raise TypeError(f"{name}: got a {type(given).__name__}; expected a list of {of}")
    return several(name, given, of)


def names(
    given: Iterable[str] | str | None, what: str = "names", longest: int = LONGEST_NAME
) -> tuple[str, ...] | None:
    """Names as a tuple, or None; at the door, before any call is spent on a run."""
    if given is None:
        return None
    listed = (given,) if isinstance(given, str) else given
    if not isinstance(listed, Iterable):
        raise TypeError(f"{what}: got {shown(listed)}; expected strings")
    listed = tuple(listed)
    for name in listed:
        if not isinstance(name, str):
            raise TypeError(f"{what}: got {name!r} among {listed!r}; expected strings")
    twice = next((name for name, n in Counter(listed).items() if n > 1), None)
    if twice is not None:
        raise ValueError(f"{what}: {twice!r} occurs twice; expected different names")
    return tuple(storable(what, name, longest) for name in listed)


def storable(what: str, name: str, longest: int = LONGEST_NAME) -> str:
    """A name that files can hold: of bounded length, without NUL and halves of characters."""
    if len(name) > longest:
        raise ValueError(
            f"{what}: {name[:20]!r}... has {len(name):,} characters; expected at most {longest:,}"
        )
    if name.isascii() and "\0" not in name:
        return str(name)
    strange = next((c for c in name if c == "\0" or 0xD800 <= ord(c) < 0xE000), None)
    if strange is not None:
        raise ValueError(f"{what}: {name!r} contains {strange!r}, which no file can hold")
    return str(name)


def names_of(
    given: Iterable[str] | str | None, size: int, prefix: str = "E", longest: int = LONGEST_NAME
) -> tuple[str, ...]:
    """Names of so many components, by default numbered."""
    listed = names(given, longest=longest)
    if listed is None:
        return tuple(f"{prefix}{j + 1}" for j in range(size))
    if len(listed) != size:
        raise ValueError(f"names: got {len(listed)}; expected {size}, one per component")
    return listed


def unmasked(name: str, given: ArrayLike) -> np.ndarray:
    """An array that hides nothing, not copied."""
    if np.ma.is_masked(given):
        raise TypeError(f"{name}: some entries are masked; expected an array without masks")
    return array(name, given)


def array(name: str, given: ArrayLike) -> np.ndarray:
    """What NumPy makes an array of, masks dropped, not copied.

    A table with columns of numbers and of bools is one of floats, not of objects.
    """
    try:
        made = np.asarray(given)
        dtypes = np.ravel(getattr(given, "dtypes", ())) if made.dtype.hasobject else ()
        mixed = len(dtypes) and {getattr(kind, "kind", "O") for kind in dtypes} <= set("biuf")
        return np.asarray(cast("pandas.DataFrame", given).astype(np.float64)) if mixed else made
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name}: got {shown(given)} ({error}); expected an array") from None


def numbers(name: str, given: ArrayLike, of: str = "") -> np.ndarray:
    """An array of real numbers, not copied: no strings, bools, masks, complex numbers.

    What they are, such as their shape, is told by `of`.
    """
    array = unmasked(name, given)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: got {kind_of(array, given)}; expected real numbers{of}")
    return array


def kind_of(array: np.ndarray, given: object = None) -> str:
    """What stands in an array that should have real numbers: the thing itself where it is one.

    Of a table, which may be ``given``, the first of another kind, and where.
    """
    # truth values beside others are seldom what is wrong
    for numbers_too in ("iufb", "iuf"):
        for label in getattr(given, "columns", ()) if hasattr(given, "__array__") else ():
            column = np.asarray(given[label])  # type: ignore[index]
            if column.dtype.kind not in numbers_too and column.size:
                return f"{shown(column.flat[0])} in column {label!r}"
    said = KINDS.get(array.dtype.kind, "objects")
    return f"{said} (dtype {array.dtype})" if array.ndim else shown(array.item())


def real(name: str, given: ArrayLike, of: str = "") -> Array:
    """A copy of `numbers` as array of floats."""
    if type(given) is float:  # the most frequent of all
        return np.array(given)
    return np.array(numbers(name, given, of), dtype=np.float64)


def told(name: str, given: ArrayLike) -> Array:
    """What a law of the user's gives, as floats: objects that are numbers will do.

    It is taken row by row: labels 0, 1, ... in another order say that it isn't meant so.
    """
    array, labels = unmasked(name, given), row_labels(given)
    if labels is not None and reordered(labels):
        raise ValueError(
            f"{name}: got rows labelled {shown(list(labels))}; expected them in the order of what "
            "it was given, as .sort_index() puts them"
        )
    text = array.dtype.hasobject and any(isinstance(one, str | bytes) for one in array.flat)
    if not text and array.dtype.kind not in KINDS:
        try:
            return np.asarray(array, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            pass
    raise TypeError(f"{name}: got {kind_of(array)}; expected real numbers")


def values(name: str, given: ArrayLike) -> Array:
    """As `real`, where bools are numbers, too."""
    array = unmasked(name, given)
    return array.astype(np.float64) if array.dtype == bool else real(name, array)


def finite(name: str, given: ArrayLike) -> Array:
    """As `real`, and finite throughout; the message names the first index that is not."""
    array = real(name, given)
    if not np.isfinite(array).all():
        where = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        at = f" at index {where}" if where else ""
        raise ValueError(f"{name}: {array[tuple(where)]}{at}; expected finite numbers")
    return array


def row_labels(table: object) -> pandas.Index | None:
    """Labels of the rows of a pandas or xarray object, if it has any."""
    index = getattr(table, "index", None)
    for dimension in [*getattr(table, "dims", ())][:1]:
        index = getattr(table, "indexes", {}).get(dimension)
    return index if hasattr(index, "equals") else None


def reordered(labels: pandas.Index) -> bool:
    """Whether labels are 0, 1, ... in another order."""
    if np.asarray(labels).dtype.kind not in "iu":
        return False
    places = np.arange(len(labels))
    return not np.array_equal(labels, places) and np.array_equal(np.sort(labels), places)


def same_rows(name: str, given: object, of: str, table: object) -> None:
    """Refuse rows that are labelled otherwise than those of the table that they go with.

    The labels 0, 1, ... that rows have by default say nothing where the other's are others.
    """
    own, other = row_labels(given), row_labels(table)
    if own is None or other is None or len(own) != len(other) or own.equals(other):
        return
    both = enumerate(zip(own, other, strict=True))
    differ = next(((i, *pair) for i, pair in both if pair[0] != pair[1]), None)
    moved = Counter(own) == Counter(other)
    default = any(np.array_equal(one, np.arange(len(one))) for one in (own, other))
    if differ is None or (default and not moved):
        return
    i, mine, theirs = differ
    raise ValueError(
        f"{name}: its rows are labelled {'in another order' if moved else 'otherwise'} than {of}'s "
        f"(row {i} is {shown(mine)}, there {shown(theirs)}); expected the same index "
        f"({name}.loc[{of}.index])"
    )


class Header(NamedTuple):
    """Names of the columns of a table, and whose they are."""

    names: list[object]
    owner: str


def header_of(table: object, owner: str) -> Header | None:
    """Names of the columns of a table (pandas, polars, Arrow, two-dimensional xarray), if any."""
    names = getattr(table, "column_names", getattr(table, "columns", None))
    dims: Sequence[str] = getattr(table, "dims", ())
    if names is None and len(dims) == 2:
        names = getattr(table, "coords", {}).get(dims[1])
        names = None if names is None else np.asarray(names).tolist()
    return None if names is None else Header(list(names), owner)


def aligned(table: ArrayLike, own: Header | None, like: Header | None) -> ArrayLike:
    """A table with its columns in the order of those of another, which are the same by name."""
    if own is None or like is None or own.names == like.names:
        return table
    missing = [name for name in like.names if name not in own.names]
    extra = [name for name in own.names if name not in like.names]
    if missing or extra:
        # tables without names have numbers
        numbers = list(range(len(own.names)))
        if len(like.names) == len(numbers) and numbers in (own.names, like.names):
            return table
        both = (("missing", missing), ("unknown", extra))
        which = ", ".join(f"{word} {shown(listed)}" for word, listed in both if listed)
        raise ValueError(f"{own.owner}: has other columns than {like.owner}; {which}")
    if len(own.names) != len(set(own.names)) or len(own.names) != len(like.names):
        raise ValueError(
            f"{own.owner}: got columns {own.names}, {like.owner} {like.names}; expected the same "
            "order where names occur twice"
        )
    return chosen(table, own, like.names)


def chosen(table: ArrayLike, own: Header, names: Sequence[object]) -> np.ndarray:
    """Columns of a table by name, in this order."""
    return array(own.owner, table)[:, [own.names.index(name) for name in names]]
