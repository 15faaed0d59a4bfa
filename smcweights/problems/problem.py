"""What a test problem is: a model, the law of its inputs, and the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class Problem:
    """A model of random inputs with known answers.

    Attributes
    ----------
    name : str
    function : callable, (n, d) -> (n,)
        The model, one output per row of inputs.
    law : object
        The law of the inputs, anything `smcweights.importance.laws.as_law` takes.
    integrand : callable, (n, d) -> (n, J)
        J functions of the inputs, computed from one call of the model.
    names : tuple of str, length J
        What the columns of the integrand are.
    truth : dict of str to float or tuple of float
        The J expectations under their names, and whatever else is known: variance, Sobol' indices
        (``"first"``, ``"total"``, one number per input), failure probability.
    accuracy : str
        Where the truth comes from and how many of its digits hold.
    source : str
        Where the model comes from.
    """

    name: str
    function: Callable[[Array], Array]
    law: Any
    integrand: Callable[[Array], Array]
    names: tuple[str, ...]
    truth: Mapping[str, float | tuple[float, ...]]
    accuracy: str
    source: str

    def __repr__(self) -> str:
        """What is known of it."""
        truth = [f"  {name}: {self.truth[name]:.6g}" for name in self.names]
        return "\n".join([f"Problem {self.name}: .function, .law, .integrand of", *truth])

    @property
    def expectations(self) -> Array:
        """Expectations of the integrand, shape (J,)."""
        return np.array([self.truth[name] for name in self.names], dtype=float)


def exceedances(y: Array, thresholds: Sequence[float]) -> list[Array]:
    """Indicators of y > threshold as numbers, one array per threshold."""
    return [(y > threshold).astype(float) for threshold in thresholds]
