"""One seed, a tree of independent streams.

A seed becomes the root of a tree of `numpy.random.SeedSequence`; a stream stands at an address, a
name and numbers, and what it draws depends on the root and the address only: not on the number of
workers, on the batches, or on which other streams were used before.

Reference: O'Neill (2015) for the hashing behind NumPy's SeedSequence; NumPy documentation,
"Parallel random number generation".
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["describe", "generator", "jax_key", "seed_sequence"]


def seed_sequence(seed: Any = None) -> np.random.SeedSequence:
    """The root of a tree of streams.

    Parameters
    ----------
    seed : None, int >= 0, SeedSequence, Generator or mapping
        None draws fresh entropy (which `describe` records); a Generator gives four words of its
        own; a mapping is what `describe` returned.

    Returns
    -------
    SeedSequence

    Raises
    ------
    TypeError, ValueError
        The seed is of another type, or negative.

    Examples
    --------
    >>> seed_sequence(7).entropy
    7
    >>> seed_sequence(describe(seed_sequence(7))).entropy
    7
    """
    if isinstance(seed, np.random.SeedSequence):
        # a copy without the count of children: asking twice gives the same streams
        return np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key)
    if isinstance(seed, np.random.Generator):
        words = seed.integers(0, 2**32, size=4, dtype=np.uint32)
        return np.random.SeedSequence([int(word) for word in words])
    if isinstance(seed, Mapping):
        if set(seed) != {"entropy", "spawn_key"}:
            raise ValueError(
                f"seed: got a mapping with keys {sorted(map(str, seed))}; expected 'entropy' and "
                "'spawn_key', as in an estimate's provenance['seed']"
            )
        return np.random.SeedSequence(seed["entropy"], spawn_key=tuple(seed["spawn_key"]))
    if seed is None:
        return np.random.SeedSequence()
    if isinstance(seed, bool | np.bool_) or not isinstance(seed, int | np.integer):
        raise TypeError(
            f"seed: got {type(seed).__name__}; expected None, a non-negative int, a SeedSequence, "
            "a Generator, or an estimate's provenance['seed']"
        )
    if seed < 0:
        raise ValueError(f"seed: got {seed}; expected a non-negative int")
    return np.random.SeedSequence(int(seed))


def _address(
    root: np.random.SeedSequence, name: str, index: tuple[int, ...]
) -> np.random.SeedSequence:
    key = (*root.spawn_key, zlib.crc32(name.encode()), *map(int, index))
    return np.random.SeedSequence(root.entropy, spawn_key=key)


def generator(root: np.random.SeedSequence, name: str, *index: int) -> np.random.Generator:
    """The NumPy stream at the address ``name``, ``index`` below ``root``.

    Examples
    --------
    >>> root = seed_sequence(1)
    >>> a = generator(root, "chain", 0).standard_normal()
    >>> bool(a == generator(root, "chain", 0).standard_normal())
    True
    >>> bool(a == generator(root, "chain", 1).standard_normal())
    False
    """
    return np.random.Generator(np.random.PCG64(_address(root, name, index)))


def jax_key(root: np.random.SeedSequence, name: str, *index: int) -> Any:
    """The JAX key at the same address; all 64 bits of it are used."""
    import jax

    return jax.random.wrap_key_data(_address(root, name, index).generate_state(2, np.uint32))


def describe(root: np.random.SeedSequence) -> dict[str, Any]:
    """What it takes to make ``root`` again, as JSON can hold it.

    Examples
    --------
    >>> describe(seed_sequence(7))
    {'entropy': 7, 'spawn_key': []}
    """
    entropy: Any = root.entropy
    if isinstance(entropy, int | np.integer):
        entropy = int(entropy)
    else:
        entropy = [int(word) for word in entropy]
    return {"entropy": entropy, "spawn_key": [int(k) for k in root.spawn_key]}
