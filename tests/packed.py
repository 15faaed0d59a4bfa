"""Whether two values are the same to the last bit, in kind as in content."""

import dataclasses

import numpy as np

from smcweights.packing import made_of


def same(a, b):
    """Same type, dtype, shape and bits, all the way down; what no file holds is passed over."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        kind = a.dtype == b.dtype and a.shape == b.shape and order(a) == order(b)
        return kind and a.tobytes() == b.tobytes()
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(same, a.values(), b.values()))
    if isinstance(a, np.random.SeedSequence):
        return same(a.generate_state(4), b.generate_state(4))
    if hasattr(a, "data_vars"):
        return a.identical(b) and all(a[v].dtype.kind == b[v].dtype.kind for v in a.variables)
    if dataclasses.is_dataclass(a):
        return same(made_of(a), made_of(b))
    return np.float64(a).tobytes() == np.float64(b).tobytes() if isinstance(a, float) else a == b


def order(array):
    """Axes as they follow one another in memory, which sums depend on."""
    axes = [k for k, n in enumerate(array.shape) if n > 1]
    return sorted(axes, key=lambda k: -abs(array.strides[k])) if array.size else []
