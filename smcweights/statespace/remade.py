"""Functions that a factory makes are pickled by its name and arguments, and made again from these.

So models of the package, and results that hold one, go through any pickle, and a process that has
compiled the functions of a factory finds them again.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

Made = TypeVar("Made")


class _Origin(NamedTuple):
    """Where a function comes from: the number of it among what a factory, or a name, gives."""

    module: str
    name: str
    arguments: tuple[Any, ...] | None  # None for a constant of the module
    number: int


_ORIGINS: WeakKeyDictionary[FunctionType, _Origin] = WeakKeyDictionary()


def remade(factory: Callable[..., Made]) -> Callable[..., Made]:
    """A factory whose functions can be pickled; it takes arguments by position that can be, too."""

    @functools.wraps(factory)
    def made(*arguments: Any) -> Made:
        return named(factory.__module__, factory.__name__, factory(*arguments), arguments)

    return made


def named(
    module: str, name: str, functions: Made, arguments: tuple[Any, ...] | None = None
) -> Made:
    """The same functions, which are known by a name in a module from now on."""
    for number, function in enumerate(_functions(functions)):
        _ORIGINS.setdefault(function, _Origin(module, name, arguments, number))
    return functions


def _functions(made: object) -> Iterator[FunctionType]:
    """All functions among what a factory gives, in order."""
    if isinstance(made, FunctionType):
        yield made
    parts = made.values() if isinstance(made, Mapping) else made
    if isinstance(made, Mapping | tuple):
        for part in parts:  # type: ignore[attr-defined]
            yield from _functions(part)


def reduced(thing: Made) -> tuple[Callable[..., Made], tuple[Any, ...]]:
    """What an object without slots is pickled as, functions of factories by their origins."""
    return _restored, (type(thing), {key: _known(value) for key, value in vars(thing).items()})


def _known(value: Any) -> Any:
    if isinstance(value, FunctionType):
        return _ORIGINS.get(value, value)
    named_tuple = isinstance(value, tuple) and hasattr(value, "_make")
    return value._make(map(_known, value)) if named_tuple else value


def _restored(kind: type[Made], state: Mapping[str, Any]) -> Made:
    thing: Made = object.__new__(kind)
    for key, value in state.items():
        object.__setattr__(thing, key, _found(value))
    return thing


def _found(value: Any) -> Any:
    if isinstance(value, _Origin):
        made = getattr(importlib.import_module(value.module), value.name)
        made = made if value.arguments is None else made(*value.arguments)
        return [*_functions(made)][value.number]
    named_tuple = isinstance(value, tuple) and hasattr(value, "_make")
    return value._make(map(_found, value)) if named_tuple else value
