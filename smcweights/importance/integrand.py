"""The user's function: called, checked, and measured in units whose squares are numbers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments
from ..errors import ModelError

LARGEST = 1e150  # sizes whose squares are still numbers
LABELLED = "returned rows labelled"
# what to do with a function of one input vector; some functions are given all inputs at all times
ALONE = "pass vectorized=False"
AT_ONCE = "write it for all rows, x[:, 0] for x[0]"
# of arrays where numbers were meant, in NumPy's words
MEANT_NUMBERS = ("converted to Python scalars", "truth value of an array")

Integrand = Callable[[np.ndarray], Any]
Named = tuple[tuple[str, ...], np.ndarray]  # names of columns, and what stands in them


def call_integrand(
    integrand: Integrand, vectorized: bool, x: np.ndarray, named: str = "integrand"
) -> np.ndarray:
    """The integrand at the rows of x as float64, shape (n,) or (n, J); ``named`` in errors."""
    return numbers_of(call_named(integrand, vectorized, x, named))


def values_at(function: Integrand, x: np.ndarray, named: str) -> np.ndarray:
    """Values (n, J) of a function that is given all inputs at once at all times."""
    values = numbers_of(call_named(function, True, x, named, AT_ONCE))
    return checked_table(values, x, named, advice=AT_ONCE)


@np.errstate(invalid="ignore")  # a NaN that matters is refused with its input
def call_named(
    integrand: Integrand,
    vectorized: bool,
    x: np.ndarray,
    named: str = "integrand",
    advice: str = ALONE,
) -> np.ndarray | Named:
    """As `call_integrand`, with the names of columns if it returns a DataFrame or a dict."""
    at = "a batch that begins with"
    row = x[0]
    try:
        # copies: what an integrand does to its argument must not reach the draws
        if vectorized:
            return _table(integrand(x.copy()), named)
        values, columns = [], Columns(None, named)
        for row in x:
            at = "the"
            found = integrand(row.copy())
            if getattr(getattr(found, "index", None), "inferred_type", None) == "string":
                found = dict(found)  # of a Series of one input the labels are names
            values.append(columns.aligned(_table(found, named)))
            if values[-1].shape != values[0].shape:
                raise ModelError(
                    f"{named}: returned shape {values[-1].shape} after shape {values[0].shape}; "
                    "expected as many values for each input"
                )
        return columns.own_with(np.array(values))
    except Exception as error:
        wrong = vectorized and isinstance(error, TypeError | ValueError | IndexError)
        for_numbers = any(words in str(error) for words in MEANT_NUMBERS)
        # rows in another order are for no lack of vectorized=False
        if wrong and LABELLED not in str(error):
            if _takes_one(integrand, row):
                raise ModelError(
                    f"{named}: failed on inputs of shape {x.shape} and takes one input vector, "
                    f"shape {row.shape}: {advice} ({error})"
                ) from error
            if for_numbers:
                raise ModelError(
                    f"{named}: failed on inputs of shape {x.shape}, a row for each input vector "
                    f"({error}): {_for_arrays(advice)}"
                ) from error
            if not isinstance(error, ModelError):  # which says what to do
                error.add_note(
                    f"smcweights: the {named} is called with one array of shape {x.shape}, a row "
                    f"for each input vector: {_for_arrays(advice)}"
                )
        elif for_numbers and not vectorized:
            raise ModelError(
                f"{named}: failed on the input {row.tolist()}, an array of shape {row.shape} "
                f"({error}): x[0] is its first number"
            ) from error
        error.add_note(f"smcweights: the {named} failed at {at} input {np.asarray(row).tolist()}")
        raise


def _for_arrays(advice: str) -> str:
    """What to do with a function of numbers."""
    own = f"; or write it for one input vector x and {ALONE}" if advice == ALONE else ""
    return f"write it for arrays, np.log for math.log and x[:, 0] for x[0]{own}"


def _takes_one(integrand: Integrand, row: np.ndarray) -> bool:
    """Whether a function that failed on many inputs has a number or numbers for one."""
    try:
        values = numbers_of(_table(integrand(row.copy()), "function"))
    except Exception:  # the user's function, asked a second time: its first error is told
        return False
    return values.ndim < 2


def numbers_of(block: np.ndarray | Named) -> np.ndarray:
    """What stands in a block, named or not."""
    return block[1] if isinstance(block, tuple) else block


@dataclass
class Columns:
    """Names of outputs: those given, or those of the function's own columns.

    Columns of later tables are put into the order of the first one's.
    """

    given: Sequence[str] | None
    named: str = "integrand"
    own: tuple[str, ...] | None = None

    @property
    def names(self) -> Sequence[str] | None:
        """Of the outputs, if there are any."""
        return self.own if self.given is None else self.given

    def own_with(self, values: np.ndarray) -> np.ndarray | Named:
        """The values with the columns' own names, if there are any."""
        return values if self.own is None else (self.own, values)

    def aligned(self, block: np.ndarray | Named) -> np.ndarray:
        """The numbers of a block, its columns in order."""
        if not isinstance(block, tuple):
            if self.own is not None and block.size:
                raise ModelError(
                    f"{self.named}: returned an array without names of columns, before with "
                    f"{arguments.shown(self.own)}; expected names at every call"
                )
            return block
        names, values = block
        own = self.own or arguments.names(names, f"{self.named}: names of columns") or ()
        self.own = own
        if sorted(names) != sorted(own):
            raise ModelError(
                f"{self.named}: returned columns {arguments.shown(names)}, before "
                f"{arguments.shown(own)}; expected the same at every call"
            )
        return values if names == own else np.take(values, [names.index(n) for n in own], axis=-1)

    def all_aligned(
        self, blocks: Generator[np.ndarray | Named, None, None]
    ) -> Generator[np.ndarray, None, None]:
        """The numbers of all blocks."""
        with closing(blocks):
            for block in blocks:
                yield self.aligned(block)


def _table(values: Any, named: str) -> np.ndarray | Named:
    """What a function returned as float64, with names if its columns or entries have some."""
    if isinstance(values, Mapping) and values:
        names = tuple(map(str, values))
        columns = [_real(values[key], named) for key in values]
        shapes = {column.shape for column in columns}
        if len(shapes) != 1 or len(shapes.pop()) > 1:
            said = {name: column.shape for name, column in zip(names, columns, strict=True)}
            raise ModelError(
                f"{named}: returned a dict with shapes {arguments.shown(said)}; expected as many "
                "numbers under each name as there are inputs"
            )
        return names, np.stack(columns, axis=-1)
    labels = getattr(values, "columns", None)
    if labels is not None and not all(isinstance(name, int) for name in labels):
        return tuple(map(str, labels)), _real(values, named)
    return _real(values, named)


def _real(values: ArrayLike, named: str) -> np.ndarray:
    """What a function returned as float64, nothing of it lost in silence."""
    if values is None:
        raise ModelError(f"{named}: returned None; is a return missing?")
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.getmaskarray(values).any():
            raise ModelError(f"{named}: returned masked values; expected a number for every input")
        values = values.data
    labels = arguments.row_labels(values)
    if labels is not None and arguments.reordered(labels):
        raise ModelError(
            f"{named}: {LABELLED} {arguments.shown(list(labels))}; expected "
            "them in the order of the inputs, as .sort_index() puts them"
        )
    try:
        found = np.asarray(values)
        kind = found.dtype.kind
        if kind == "O" and any(isinstance(one, str | bytes) for one in found.flat):
            kind = "U"
        if kind in "USMmc":
            raise ModelError(f"{named}: returned {arguments.KINDS[kind]}; expected real numbers")
        return np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{named}: returned {type(values).__name__} that is no array of numbers ({error})"
        ) from error


def checked_table(
    values: np.ndarray,
    x: np.ndarray,
    named: str = "integrand",
    tolerant: bool = False,
    advice: str = ALONE,
) -> np.ndarray:
    """Integrand values as (n, J), or what is wrong with them, with the input concerned.

    ``tolerant``: a row with a value that is no finite number becomes NaN, and where all runs failed
    there may be no columns.
    """
    if tolerant and values.shape == (len(x), 0):
        return values
    if values.ndim not in (1, 2) or len(values) != len(x) or values.size == 0:
        raise ModelError(
            f"{named}: returned shape {values.shape} for inputs of shape {x.shape}; expected "
            f"({len(x)},) or ({len(x)}, J); for a function of one input vector {advice}"
            + ("; J arrays are joined by np.stack(..., axis=1)" if values.ndim == 2 else "")
        )
    table = values.reshape(len(x), -1)
    if tolerant:
        table = np.where(np.isfinite(table).all(1)[:, None], table, np.nan)
    if np.abs(table).max() <= LARGEST:
        return table
    bad = np.argwhere(~np.isfinite(table) & (not tolerant))
    if len(bad):
        i, j = bad[0]
        raise ModelError(
            f"{named}: value {j + 1} is {table[i, j]} at input {x[i].tolist()}; expected a "
            f"finite number ({len(np.unique(bad[:, 0]))} of {len(x)} inputs of this batch failed)"
        )
    large = np.argwhere(np.abs(table) > LARGEST)
    if len(large):
        i, j = large[0]
        raise ModelError(
            f"{named}: value {j + 1} is {table[i, j]:g} at input {x[i].tolist()}; expected sizes "
            f"up to {LARGEST:g}, whose squares are numbers still: use other units, if the "
            "expectation exists at all"
        )
    return table


def checked_first(
    blocks: Generator[np.ndarray, None, None], check: Callable[[np.ndarray], object]
) -> list[np.ndarray]:
    """All of a function's answers; ``check`` may end the run after the first."""
    found: list[np.ndarray] = []
    with closing(blocks):
        for block in blocks:
            if not found:
                check(block)
            found.append(block)
    return found


@dataclass(frozen=True)
class Units:
    """The integrand as everything here sees it: (integrand - offset) / unit."""

    # (J,): what draws of the input law nearly always gave; the rest is what has to be integrated
    offset: np.ndarray
    unit: np.ndarray  # (J,): 1, or a power of 2 where fourth powers would not be numbers
    # (J,): where the offset is the very value of most draws: an error rests on how often it wasn't
    usual: np.ndarray | bool = False

    @property
    def centre(self) -> np.ndarray:
        """The offset, measured in units: (J,)."""
        return self.offset / self.unit

    @property
    def level(self) -> np.ndarray:
        """The value of most draws, measured in units, or 0: (J,)."""
        return np.where(self.usual, self.centre, 0.0)

    def original(self, values: np.ndarray) -> np.ndarray:
        """Values (..., J) in the user's units."""
        return values * self.unit + self.offset

    def measured(self, values: np.ndarray) -> np.ndarray:
        """The user's values (..., J) in these units."""
        return (values - self.offset) / self.unit

    def fitted(self, size: np.ndarray) -> Units:
        """Units in which the largest values, of ``size`` (J,) in the present ones, are ordinary."""
        extreme = (size > 1e30) | ((size > 0) & (size < 1e-30) & (self.unit > 1e-250))
        if not extreme.any():
            return self
        return replace(self, unit=self.unit * np.where(extreme, _power_of_2(size), 1.0))


def units_of(values: np.ndarray, shifted: bool = True) -> Units:
    """Units for an integrand with these values (n, J); no offset unless ``shifted``."""
    n, j = values.shape
    offset, usual = np.zeros(j), np.zeros(j, dtype=bool)
    if shifted:
        # a value taken by most is the median as well
        middle = np.partition(values, n // 2, axis=0)[n // 2]
        usual = ((values == middle).sum(0) > n / 2) & (middle != 0)
        # small differences of large numbers would drown in what rounding does to the large ones
        flat = np.abs(values - middle).max(0) < np.abs(middle) / 1000
        offset = np.where(usual | flat, middle, 0.0)
    size = np.abs(values - offset).max(0)
    size = np.where(size > 0, size, np.abs(offset))
    size = np.where(size > 0, size, size.max())
    extreme = (size > 1e30) | ((size > 0) & (size < 1e-30))
    return Units(offset, np.where(extreme, _power_of_2(size), 1.0), usual)


def _power_of_2(size: np.ndarray) -> np.ndarray:
    return 2.0 ** np.round(np.log2(np.maximum(size, 1e-300)))


def expectation_names(
    names: Sequence[str] | Columns | None, count: int, scalar: bool
) -> tuple[str, ...]:
    """The names given, as many as values of the integrand, or its own, or E1, E2, ..."""
    if isinstance(names, Columns):
        names = names.names
    if names is None and scalar:
        return ("estimate",)
    return arguments.names_of(names, count)
