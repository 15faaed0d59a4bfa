"""What differs between the generations of ArviZ and JAX; no other file asks for a version."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import platform
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray


@functools.cache
def versions() -> Mapping[str, str]:
    """Versions of smcweights and of what its numbers depend on, without importing any of it.

    Returns
    -------
    dict of str
        Keys smcweights, python, numpy, scipy, numba, jax, arviz; "not installed" where a
        distribution is missing.

    Examples
    --------
    >>> sorted(versions())
    ['arviz', 'jax', 'numba', 'numpy', 'python', 'scipy', 'smcweights']
    """
    found = {"smcweights": _version("smcweights"), "python": platform.python_version()}
    return found | {name: _version(name) for name in ("numpy", "scipy", "numba", "jax", "arviz")}


def arviz() -> ModuleType:
    """ArviZ, imported without the announcement 0.23 makes of the next generation.

    Examples
    --------
    >>> arviz().__name__
    'arviz'
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="arviz")
        import arviz
    return arviz


def optional(name: str, extra: str, what: str) -> ModuleType:
    """A package that an extra brings.

    Parameters
    ----------
    name, extra : str
        Of the package, and of the extra.
    what : str
        That which needs it.

    Returns
    -------
    module

    Raises
    ------
    ModuleNotFoundError
        If it isn't installed, with the command that does.

    Examples
    --------
    >>> optional("not_there", "language", "grammars")
    Traceback (most recent call last):
        ...
    ModuleNotFoundError: grammars need package not_there: pip install "smcweights[language]"
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        text = f'{what} need package {name}: pip install "smcweights[{extra}]"'
        raise ModuleNotFoundError(text, name=name) from None


def inference_data(groups: Mapping[str, xarray.Dataset]) -> Any:
    """ArviZ's container of the installed generation, one group per dataset.

    Parameters
    ----------
    groups : mapping of str to xarray.Dataset
        Group names, ``"posterior"`` and ``"constant_data"`` or names of one's own.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        The former before ArviZ 1.0.

    Examples
    --------
    >>> import xarray
    >>> draws = xarray.Dataset({"a": (("chain", "draw"), [[1.0, 2.0]])})
    >>> inference_data({"posterior": draws})["posterior"]["a"].shape
    (1, 2)
    """
    if not _arviz_is_1():
        return arviz().InferenceData(**groups, warn_on_custom_groups=False)
    import xarray

    return xarray.DataTree.from_dict(dict(groups))


def enable_x64() -> AbstractContextManager:
    """Context in which JAX computes in 64 bits; it holds for the thread that enters it only.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> with enable_x64():
    ...     print(jnp.ones(1).dtype)
    float64
    """
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    experimental: Any = importlib.import_module("jax.experimental")
    return experimental.enable_x64()


@functools.cache
def callbacks_keep_doubles() -> bool:
    """Whether numbers of 64 bits come back from JAX's callbacks where one thread asked for these.

    Before 0.7.2 they are made 32 bits by the thread that runs the callback.
    """
    return tuple(map(int, _version("jax").split(".")[:3])) >= (0, 7, 2)


def _arviz_is_1() -> bool:
    # 1.x still has the name InferenceData, as a stub: only the version tells
    return int(_version("arviz").split(".")[0]) >= 1


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
