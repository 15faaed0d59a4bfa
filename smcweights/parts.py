"""The parts of an estimate, each checked and copied; an error says which, what, and what for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import LONGEST_NAME, finite, names_of, real, several, shown
from .cautions import Caution
from .references import references_of
from .storage import plain

if TYPE_CHECKING:
    import xarray

Array = NDArray[np.float64]
Bounds = Sequence[float | Sequence[float]]
Mask = NDArray[np.bool_]
# of the intervals whose ends an estimate may keep
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)


def value(given: ArrayLike) -> Array:
    """One number or a vector of them, finite, or NaN where `Estimate` allows it."""
    v = real("value", given)
    if np.isinf(v).any():
        finite("value", given)
    if v.ndim > 1 or v.size == 0:
        raise ValueError(f"value: got shape {v.shape}; expected () or (J,) with J >= 1")
    return v


def names(given: Sequence[str] | str | None, value: Array) -> tuple[str, ...]:
    """Different names of the components, or the default."""
    if given is None and value.ndim == 0:
        return ("estimate",)
    # which methods put together from names that are as long as may be
    return names_of(given, value.size, longest=10 * LONGEST_NAME)


def degrees_of_freedom(given: ArrayLike, value: Array) -> Array:
    """Positive numbers, perhaps infinite, shaped like the value."""
    freedom = real("degrees_of_freedom", given)
    if freedom.shape not in ((), value.shape):
        raise ValueError(
            f"degrees_of_freedom: got shape {freedom.shape}; expected () or {value.shape}"
        )
    if not (freedom > 0).all():
        raise ValueError(f"degrees_of_freedom: smallest is {freedom.min()}; expected above 0")
    return freedom if freedom.shape == value.shape else np.full(value.shape, freedom)


def trials(given: ArrayLike | None, value: Array) -> Array | None:
    """Trials behind components that are 0; None where every component had hits."""
    if given is None:
        return None
    n = finite("trials", given)
    if n.shape != value.shape:
        raise ValueError(f"trials: got shape {n.shape}; expected {value.shape}")
    if (n < 0).any():
        raise ValueError(f"trials: smallest is {n.min()}; expected none below 0")
    if (value[n > 0] != 0).any():
        raise ValueError("trials: positive for a component that is not 0; expected 0 there")
    return n if n.any() else None


def covariance(given: ArrayLike | None, value: Array, no_hit: Mask | None) -> Array | None:
    """A symmetric, positive semi-definite matrix, 0 where there was no hit; or None."""
    if given is None:
        return None
    c = real("covariance", given)
    if c.shape != value.shape * 2:
        raise ValueError(f"covariance: got shape {c.shape}; expected {value.shape * 2}")
    if value.size == 1 and no_hit is None and 0 <= c.item() < math.inf:
        return c
    c = c.reshape(value.size, value.size)
    if no_hit is not None:
        c[no_hit.ravel()] = 0.0
        c[:, no_hit.ravel()] = 0.0
        c[np.ix_(np.isnan(c.diagonal()), no_hit.ravel())] = np.nan
        c[np.ix_(no_hit.ravel(), np.isnan(c.diagonal()))] = np.nan
    missing = np.isnan(c.diagonal())
    nan_expected = missing[:, None] | missing
    wrong = np.isinf(c) | (np.isnan(c) != nan_expected)
    if wrong.any():
        where = [int(i) for i in np.argwhere(wrong)[0]]
        raise ValueError(
            f"covariance: {c[tuple(where)]} at index {where}; expected finite numbers, or NaN in "
            "the whole row and column of a component without standard error"
        )
    known = c[~missing][:, ~missing]
    variance = known.diagonal()
    if (variance < 0).any():
        raise ValueError(f"covariance: variance {variance.min()}; expected none below 0")
    scale = np.sqrt(variance)
    if known[scale == 0].any():
        raise ValueError("covariance: a component of variance 0 has covariances; expected 0")
    scale[scale == 0] = 1.0
    correlation = known / scale[:, None] / scale
    if (np.abs(correlation - correlation.T) > 1e-8).any():
        where = [int(i) for i in np.argwhere(np.abs(correlation - correlation.T) > 1e-8)[0]]
        raise ValueError(f"covariance: not symmetric at index {where} (components with an error)")
    # the slack covers what rounding does to a singular matrix
    correlation[np.diag_indices(len(known))] += 1e-8 * len(known)
    try:
        np.linalg.cholesky(correlation)
    except np.linalg.LinAlgError:
        lowest = np.linalg.eigvalsh(correlation)[0]
        raise ValueError(
            f"covariance: not positive semi-definite (smallest eigenvalue of the correlations "
            f"{lowest:.3g})"
        ) from None
    return ((c + c.T) / 2).reshape(value.shape * 2)


def factor(given: ArrayLike | None, value: Array, no_hit: Mask | None) -> Array | None:
    """A factor of the covariance, (J, r), 0 where there was no hit; or None."""
    if given is None:
        return None
    root = real("factor", given)
    if value.ndim == 0:
        raise ValueError("factor: given for a scalar value; expected its covariance")
    if root.ndim != 2 or len(root) != len(value):
        raise ValueError(f"factor: got shape {root.shape}; expected ({len(value)}, r)")
    if no_hit is not None:
        root[no_hit] = 0.0
    missing = np.isnan(root)
    wrong = np.isinf(root) | (missing != missing.all(axis=1, keepdims=True))
    if wrong.any():
        where = [int(i) for i in np.argwhere(wrong)[0]]
        raise ValueError(
            f"factor: {root[tuple(where)]} at index {where}; expected finite numbers, or NaN in "
            "the whole row of a component without standard error"
        )
    return root


def cautions(given: Iterable[Caution], diagnostics: dict[str, Any]) -> tuple[Caution, ...]:
    """Cautions, whose texts join the diagnostics."""
    told = tuple(several("cautions", given, "cautions"))
    for caution in told:
        if not isinstance(caution, Caution):
            raise TypeError(
                f"cautions: got {shown(caution)} among them; expected Caution(code, text)"
            )
    texts = [caution.text for caution in told]
    # copied with the diagnostics of another estimate they may be there already
    strange = set(diagnostics.pop("warnings", ())) - set(texts)
    if strange:
        raise TypeError(
            f"diagnostics['warnings']: got {min(strange)!r}; expected it as one of the cautions, "
            "Caution(code, text)"
        )
    if told:
        diagnostics["warnings"] = texts
    return told


def columns(given: Sequence[str], diagnostics: dict[str, Any], value: Array) -> tuple[str, ...]:
    """Names of diagnostics with one entry per component."""
    listed = several("columns", given, "names of diagnostics")
    if not all(isinstance(name, str) for name in listed):
        raise TypeError(f"columns: got {shown(given)}; expected names of diagnostics")
    for name in listed:
        if name not in diagnostics:
            raise ValueError(f"columns: got {name!r}; expected names of diagnostics")
        shape = np.shape(diagnostics[name])
        if shape != (value.size,) and (value.ndim or shape != ()):
            raise ValueError(
                f"diagnostics[{name!r}]: got shape {shape}; expected ({value.size},) of a column"
            )
    return tuple(listed)


def bounds(given: Bounds | None, value: Array) -> Bounds | None:
    """Two ends in order, each for all components or one per component, or None."""
    if given is None:
        return None
    ends = [real("bounds", end) for end in several("bounds", given, "two ends")]
    shapes = {(), value.shape}
    if (
        len(ends) != 2
        or not {end.shape for end in ends} <= shapes
        or not (ends[0] <= ends[1]).all()
    ):
        raise TypeError(f"bounds: got {shown(given)}; expected (lower, upper)")
    return tuple(tuple(end.tolist()) if end.ndim else float(end) for end in ends)


def limits(given: ArrayLike | None, value: Array) -> Array | None:
    """Ends of intervals at `LEVELS`, (6, *shape, 2), each within those of the next; or None."""
    if given is None:
        return None
    ends, shape = real("limits", given), (len(LEVELS), *value.shape, 2)
    if ends.shape != shape:
        raise ValueError(f"limits: got shape {ends.shape}; expected {shape}, levels {LEVELS}")
    lower, upper = ends[..., 0], ends[..., 1]
    if np.isnan(ends).any() or (lower > upper).any():
        raise ValueError(
            "limits: got NaN, or a lower end above its upper end; expected ordered ends"
        )
    if (lower[1:] > lower[:-1]).any() or (upper[1:] < upper[:-1]).any():
        raise ValueError("limits: expected the interval of a level within that of the next")
    return ends


def between(limits: Array, value: Array, level: float) -> tuple[Array, Array]:
    """Ends at any level from those at `LEVELS`, straight in the normal quantile."""
    from scipy.special import ndtri

    z, at = ndtri(0.5 + np.array([0.0, *LEVELS]) / 2), float(ndtri(0.5 + level / 2))
    k = int(np.clip(np.searchsorted(z, at, side="left"), 1, len(LEVELS)))
    share = (at - z[k - 1]) / (z[k] - z[k - 1])
    outer = limits[k - 1]
    inner = (
        limits[k - 2] if k > 1 else np.where(np.isnan(value)[..., None], outer, value[..., None])
    )
    if share == 1:
        ends = outer
    else:
        # an end that is infinite is so in between as well
        with np.errstate(invalid="ignore"):
            ends = np.where(np.isinf(outer), outer, inner + share * (outer - inner))
    return ends[..., 0], ends[..., 1]


def references(given: Iterable[str] | None, method: str) -> tuple[str, ...]:
    """What to cite; by default the sources of the method."""
    if given is None:
        return references_of(method)
    listed = [given] if isinstance(given, str) else several("references", given, "strings")
    if not all(isinstance(one, str) for one in listed):
        raise TypeError(f"references: got {shown(given)}; expected strings")
    return tuple(listed)


def mapping(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of a dict in plain types."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{name}: got {type(given).__name__}; expected a dict")
    return plain(given or {}, name)


def sample(given: Any) -> xarray.Dataset | dict[str, tuple] | None:
    """A dataset, or a dict of names to (dims, read-only view)."""
    # asked by attribute: an isinstance test would import xarray
    if given is None:
        return None
    if hasattr(given, "data_vars"):
        return given.copy(deep=False)
    if not isinstance(given, Mapping):
        raise TypeError(
            f"sample: got {type(given).__name__}; expected an xarray.Dataset or a mapping of "
            "names to (dims, array)"
        )
    checked: dict[str, tuple] = {}
    lengths: dict[str, int] = {}
    for name, entry in given.items():
        if not (isinstance(entry, tuple | list) and len(entry) == 2):
            raise TypeError(f"sample[{name!r}]: expected (dims, array)")
        dims = (entry[0],) if isinstance(entry[0], str) else tuple(entry[0])
        array = np.asarray(entry[1])
        if len(dims) != array.ndim:
            raise ValueError(f"sample[{name!r}]: dims {dims} don't fit shape {array.shape}")
        for dim, length in zip(dims, array.shape, strict=True):
            if lengths.setdefault(dim, length) != length:
                raise ValueError(
                    f"sample[{name!r}]: {length} along {dim!r}, but {lengths[dim]} elsewhere"
                )
        view = array.view()
        view.flags.writeable = False
        checked[name] = (dims, view)
    return checked


def taken(column: NDArray | list, index: int | list[int]) -> Any:
    """Entries of a column."""
    if isinstance(column, np.ndarray):
        return column[index]
    return column[index] if isinstance(index, int) else [column[i] for i in index]
