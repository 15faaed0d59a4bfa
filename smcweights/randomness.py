"""From one seed to a tree of named, numbered, independent random streams.

A run has one root, `seed_sequence`; everything random in it asks for the stream at an address,
``generator(root, "stage 3")`` or ``generator(root, "chain", 7)``. A stream depends on the root and
on its address only: not on what was drawn before, in which order, or by how many workers. That is
what makes results repeat bit for bit on any executor, and a resumed run equal to an uninterrupted
one. A worker is handed the root and the address of its stream, never a generator.

The addresses are spawn keys of NumPy's `SeedSequence`, whose hashing makes streams at different
addresses independent for all practical purposes. `SeedSequence.spawn` is never used: it counts its
calls, so that results would depend on what ran before.
"""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

Seed = int | np.random.SeedSequence | np.random.Generator | Mapping[str, Any] | None

_POOL_SIZE = 4  # NumPy's default


def seed_sequence(seed: Seed = None) -> np.random.SeedSequence:
    """Root of a tree of streams.

    Parameters
    ----------
    seed : None, int, SeedSequence, Generator or dict, default None
        None draws fresh entropy, which `describe` tells. An int is at least 0. A Generator gives
        four words of its stream, and so moves on. A dict is what `describe` returned.

    Returns
    -------
    numpy.random.SeedSequence

    Raises
    ------
    TypeError
        None of these kinds; a bool or a float is none of them.
    ValueError
        A negative int, or a dict with wrong entries.

    Examples
    --------
    >>> seed_sequence(3).entropy
    3
    >>> seed_sequence({"entropy": 3, "spawn_key": [5]}).spawn_key
    (5,)
    """
    if seed is None:
        return np.random.SeedSequence()
    if isinstance(seed, np.random.SeedSequence):
        return seed
    if isinstance(seed, np.random.Generator):
        words = seed.integers(0, 2**32, size=4, dtype=np.uint32)
        return np.random.SeedSequence([int(w) for w in words])
    if isinstance(seed, Mapping):
        return _from_description(seed)
    return np.random.SeedSequence(_whole(seed, "seed"))


def generator(root: np.random.SeedSequence, name: str, *index: int) -> np.random.Generator:
    """Random generator of the stream at an address.

    Parameters
    ----------
    root : numpy.random.SeedSequence
        Root of the tree.
    name : str
        What the stream is for.
    *index : int
        Numbers from 0 to 2**32 - 1 that tell streams of one name apart.

    Returns
    -------
    numpy.random.Generator
        At the start of its stream, however often it is asked for.

    Raises
    ------
    TypeError, ValueError
        The root, name or an index is of the wrong kind, or an index out of range.

    Examples
    --------
    >>> root = seed_sequence(1)
    >>> a, b = generator(root, "chain", 0), generator(root, "chain", 1)
    >>> a.random() == b.random(), generator(root, "chain", 0).random() == b.random()
    (False, False)
    """
    return np.random.Generator(np.random.PCG64(_at(root, name, index)))


def jax_key(root: np.random.SeedSequence, name: str, *index: int) -> Any:
    """JAX key of the stream at an address of the same tree.

    Parameters
    ----------
    root, name, *index
        As for `generator`.

    Returns
    -------
    jax.Array
        A typed threefry key, made of 64 bits: ``jax.random.key`` would drop those above 32.

    Examples
    --------
    >>> jax_key(seed_sequence(1), "chain", 0).shape
    ()
    """
    import jax

    words = _at(root, name, index).generate_state(2, np.uint32)
    return jax.random.wrap_key_data(jax.numpy.asarray(words), impl="threefry2x32")


def describe(root: np.random.SeedSequence) -> dict[str, Any]:
    """What it takes to have this root again, in types that JSON can hold.

    Parameters
    ----------
    root : numpy.random.SeedSequence
        Root of the tree.

    Returns
    -------
    dict
        ``entropy``, an int or list of int, and ``spawn_key``, a list of int; also ``pool_size``
        where it is not NumPy's default. `seed_sequence` accepts it.

    Examples
    --------
    >>> describe(seed_sequence(12))
    {'entropy': 12, 'spawn_key': []}
    """
    entropy: Any = root.entropy
    found: dict[str, Any] = {
        "entropy": int(entropy) if np.ndim(entropy) == 0 else [int(e) for e in entropy],
        "spawn_key": [int(k) for k in root.spawn_key],
    }
    if root.pool_size != _POOL_SIZE:
        found["pool_size"] = int(root.pool_size)
    return found


def _at(root: np.random.SeedSequence, name: str, index: tuple[int, ...]) -> np.random.SeedSequence:
    if not isinstance(root, np.random.SeedSequence):
        raise TypeError(f"root: got {type(root).__name__}; expected a SeedSequence")
    if not isinstance(name, str):
        raise TypeError(f"name: got {type(name).__name__}; expected a string")
    # every entry fills one 32-bit word, so that no two addresses are spelled alike
    places = [_whole(i, "index", 2**32) for i in index]
    return np.random.SeedSequence(
        root.entropy,
        spawn_key=(*root.spawn_key, *_words(name), *places),
        pool_size=root.pool_size,
    )


@functools.lru_cache(256)  # names are few
def _words(name: str) -> tuple[int, int]:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")


def _whole(value: object, name: str, end: int | None = None) -> int:
    expected = "an integer from 0" if end is None else f"an integer from 0 to below {end}"
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: got {value!r}; expected {expected}, not a bool")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        kinds = ", None, a SeedSequence or a Generator" if name == "seed" else ""
        raise TypeError(
            f"{name}: got {value!r} of type {type(value).__name__}; expected {expected}{kinds}"
        ) from None
    if number < 0 or (end is not None and number >= end):
        raise ValueError(f"{name}: got {number}; expected {expected}")
    return number


def _from_description(seed: Mapping[str, Any]) -> np.random.SeedSequence:
    if not {"entropy", "spawn_key"} <= set(seed) <= {"entropy", "spawn_key", "pool_size"}:
        raise ValueError(
            f"seed: got a dict with keys {sorted(map(str, seed))}; expected 'entropy' and "
            "'spawn_key', as an estimate's provenance holds them"
        )
    entropy = seed["entropy"]
    if np.ndim(entropy) == 0:
        entropy = _whole(entropy, "seed['entropy']")
    else:
        entropy = [_whole(e, "seed['entropy']") for e in entropy]
    spawn_key = tuple(_whole(k, "seed['spawn_key']") for k in seed["spawn_key"])
    pool_size = _whole(seed.get("pool_size", _POOL_SIZE), "seed['pool_size']")
    return np.random.SeedSequence(entropy, spawn_key=spawn_key, pool_size=pool_size)
