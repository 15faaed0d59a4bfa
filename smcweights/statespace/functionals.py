"""Ready additive functionals: what of each component of a state is summed along a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, eq=False)
class Functional:
    """A ready additive functional, written for one component of a state.

    Attributes
    ----------
    name : str
        What is summed.
    first : callable
        (x) -> h_0 of a component.
    term : callable
        (x_prev, x) -> h_t of a component.
    per_time : bool
        Whether every time keeps a sum of its own.
    """

    name: str
    first: Callable[[float], float]
    term: Callable[[float, float], float]
    per_time: bool = False

    def size(self, n_steps: int, dim: int) -> int:
        """Number of sums."""
        return n_steps * dim if self.per_time else dim

    def names(self, n_steps: int, dim: int) -> list[str]:
        """What each of them is called."""
        size, name = self.size(n_steps, dim), self.name
        if not self.per_time:
            return [f"sum of {name}"] if dim == 1 else [f"sum of {name} [{j}]" for j in range(dim)]
        if dim == 1:
            return [f"{name}[{t}]" for t in range(size)]
        return [f"{name}[{k // dim}, {k % dim}]" for k in range(size)]


sum_of_states = Functional("x", lambda x: x, lambda x_prev, x: x)
sum_of_squares = Functional("x^2", lambda x: x**2, lambda x_prev, x: x**2)
sum_of_products = Functional("x_prev x", lambda x: 0.0, lambda x_prev, x: x_prev * x)
states = replace(sum_of_states, per_time=True)
