"""The delta method: a function of estimated values as a straight line at the estimate."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _compat
from .arguments import finite, real
from .errors import ModelError, returning

Array = NDArray[np.float64]


class Line(NamedTuple):
    """A function at J estimated values.

    Attributes
    ----------
    value : ndarray, shape () or (K,)
    slopes : ndarray, shape (J,) or (K, J)
        Derivatives by each of the values.
    curvature : ndarray, same shape
        Second differences over one standard error; infinite where the function ends before it.
    """

    value: Array
    slopes: Array
    curvature: Array


@dataclass(frozen=True)
class Blockwise:
    """A function of equal blocks of values, each result of which depends on one block alone.

    ``owner`` (K,) is the number of the block of each result, of so many ``blocks``. All blocks are
    moved at once to find its derivatives.
    """

    f: Callable[[Array], Any]
    owner: NDArray[np.intp]
    blocks: int

    def __call__(self, values: Array) -> Any:
        """The function."""
        return self.f(values)

    def describe(self) -> object:
        """What provenance says: the function."""
        return self.f

    def line(self, value: Array, error: Array, centre: Array) -> tuple[Array, Array]:
        """Slopes and second differences, as `linearised` finds them for any function."""
        size, rows = value.size // self.blocks, np.arange(len(centre))
        slopes, curvature = np.zeros((2, len(centre), value.size))
        sizes, errors = (np.nan_to_num(a) for a in (np.abs(value), error))
        small = np.cbrt(np.finfo(float).eps)
        for j in range(size):
            own, moved = self.owner * size + j, partial(self._moved, value, centre.shape, j)
            v, s = sizes[j::size], errors[j::size]
            wide, close = np.maximum(1e-3 * s, small * v), small * v
            steps = np.where(wide > 0, wide, 1.0), np.where(close > 0, close, small)
            first, second = (
                (moved(step) - moved(-step)) / (2 * step[self.owner]) for step in steps
            )
            # the shorter step is for blocks whose function ends near the value
            ends = np.bincount(self.owner, ~np.isfinite(first), self.blocks) > 0
            slopes[rows, own] = np.where(ends[self.owner], second, first)
            bend = np.abs(moved(s) + moved(-s) - 2 * centre)
            curvature[rows, own] = np.where(s[self.owner] > 0, bend, 0.0)
        return slopes, curvature

    def _moved(self, value: Array, shape: tuple[int, ...], j: int, steps: Array) -> Array:
        by = np.zeros((self.blocks, value.size // self.blocks))
        by[:, j] = steps
        return _moved(self.f, value, shape, by.reshape(-1))


@returning("f")
def linearised(f: Callable[[Array], Any] | ArrayLike, value: Array, error: Array) -> Line:
    """A linear map or a smooth function, as a line at a value with a standard error.

    Derivatives are those of `jax.jacfwd`, in 64 bits, where the function returns a JAX array, and
    central differences otherwise.

    Examples
    --------
    >>> linearised(lambda v: v[0] * v[1], np.array([2.0, 3.0]), np.array([0.1, 0.1])).slopes
    array([3., 2.])
    """
    if not callable(f):
        slopes = finite("linear map", f)
        if slopes.ndim not in (1, 2) or slopes.shape[-1] != value.size:
            raise ValueError(
                f"linear map: got shape {slopes.shape}; expected (K, {value.size}) or "
                f"({value.size},)"
            )
        lost = np.isnan(np.atleast_1d(value))
        moved = np.asarray(slopes @ np.where(lost, 0.0, value))
        moved[(slopes[..., lost] != 0).any(axis=-1)] = np.nan
        return Line(moved, slopes, np.zeros(slopes.shape))
    with _compat.enable_x64() if "jax" in sys.modules else contextlib.nullcontext():
        raw = f(value.copy())
    traced = type(raw).__module__.partition(".")[0] in ("jax", "jaxlib")
    with _compat.enable_x64() if traced else contextlib.nullcontext():
        centre = _called(f, value.copy())
        # what is made of an undefined value is undefined, and the rest is not
        excused = np.isnan(centre) & np.isnan(value).any()
        _require_finite("value", centre, excused)

        def probe(j: int, step: float) -> Array:
            by = np.zeros(value.size)
            by[j] = step
            return _moved(f, value, centre.shape, by)

        curvature = np.zeros((*centre.shape, value.size))
        if isinstance(f, Blockwise):
            slopes, curvature = f.line(value, error, centre)
        elif traced:
            import jax

            slopes = np.asarray(jax.jacfwd(f)(jax.numpy.asarray(value)), dtype=np.float64)
            slopes = slopes.reshape((*centre.shape, value.size))
        else:
            slopes = _central_differences(probe, value, error)
        _require_finite("derivative", slopes, excused[..., None])
        for j, step in enumerate(() if isinstance(f, Blockwise) else np.atleast_1d(error)):
            if step > 0:
                curvature[..., j] = np.abs(probe(j, step) + probe(j, -step) - 2 * centre)
    # one standard error further the function is not even defined
    curvature[np.isnan(curvature)] = np.inf
    # rounding is that of the terms, which may cancel in the value
    size = np.maximum(np.abs(centre), np.abs(slopes * value.reshape(-1)).max(axis=-1))
    curvature[curvature <= 16 * np.finfo(float).eps * size[..., None]] = 0.0
    return Line(centre, slopes, curvature)


def _called(f: Callable[[Array], Any], at: Array) -> Array:
    returned = f(at)
    try:
        result = real("f", returned)
    except TypeError as error:
        raise ModelError(f"f: returned what is no number ({error})") from error
    if result.ndim > 1 or result.size == 0:
        raise ModelError(f"f: returned shape {result.shape}; expected () or (K,) with K >= 1")
    return result


def _moved(f: Callable[[Array], Any], value: Array, shape: tuple[int, ...], by: Array) -> Array:
    """The function at the value moved ``by`` (J,)."""
    at = value + by.reshape(value.shape)
    try:
        with np.errstate(all="ignore"):
            result = _called(f, at)
    except ModelError:
        raise
    except (ValueError, ArithmeticError):
        # the math module raises where NumPy returns NaN
        return np.full(shape, np.nan)
    if result.shape != shape:
        raise ModelError(f"f: returned shape {shape}, then {result.shape}")
    return result


def _require_finite(what: str, content: Array, excused: NDArray[np.bool_]) -> None:
    wrong = ~np.isfinite(content) & ~excused
    if wrong.any():
        where = [int(i) for i in np.argwhere(wrong)[0]]
        at = f" at index {where}" if where else ""
        raise ModelError(f"f: {what} at the estimate is not finite{at}")


def _central_differences(
    probe: Callable[[int, float], Array], value: Array, error: Array
) -> NDArray[np.float64]:
    """Derivatives by each component, shape (..., J), of the function that `probe` moves."""
    columns = []
    sizes, errors = (np.atleast_1d(np.nan_to_num(a)) for a in (np.abs(value), error))
    for j, (v, s) in enumerate(zip(sizes, errors, strict=True)):
        # the slope is wanted at the scale of the error; below it, rounding in a large f would hide
        # a small component. A second, shorter step is for functions that end near the value.
        small = np.cbrt(np.finfo(float).eps)
        for step in (max(1e-3 * s, small * v) or 1.0, small * v or small):
            column = (probe(j, step) - probe(j, -step)) / (2 * step)
            if np.isfinite(column).all():
                break
        columns.append(column)
    return np.stack(columns, axis=-1)
