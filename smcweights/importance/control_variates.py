"""Control variates: functions of known mean beside the integrand, and the choices among them.

The components of a mixture integrate to one; orthonormal polynomials of the law to zero; the mean
of a surrogate of the user's is estimated on many cheap draws, and that estimate's error counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add

import numpy as np

from ..randomness import generator
from ..regression import Choice, Moments, moments
from .integrand import Integrand, values_at
from .laws import Law
from .mixing import Components
from .polynomials import PolynomialBasis, polynomial_basis
from .proposals import ROWS, WorkingSpace
from .stages import History, Stage

MOST_TERMS = 300  # polynomial control variates

Function = Callable[[np.ndarray, np.ndarray], np.ndarray]
Asked = bool | str | Integrand | Sequence[bool | str | Integrand]


@dataclass(frozen=True)
class Controls:
    """Control variates asked for."""

    components: bool  # whether the mixture components serve
    # functions (u, x) -> (n, k); their columns less ``means`` integrate to zero under the law
    functions: tuple[Function, ...]
    means: np.ndarray  # (E,)
    mean_covariance: np.ndarray  # (E, E): covariance of the means; zero where they are exact
    # numbers of leading columns that make sense on their own, such as polynomial degrees
    prefixes: tuple[int, ...]

    def values(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Centred functions at points u with inputs x: (n, E)."""
        if not self.functions:
            return np.empty((len(u), 0))
        return np.concatenate([g(u, x) for g in self.functions], axis=1) - self.means


def _polynomials(
    basis: PolynomialBasis, space: WorkingSpace, u: np.ndarray, x: np.ndarray
) -> np.ndarray:
    if space.centre is None:
        return basis(u, x)
    values = np.zeros((len(x), basis.sizes[-1] if basis.sizes else 0))
    inside = space.law.log_density(x) > -np.inf
    values[inside] = basis(space.law.from_inputs(x[inside]), x[inside])
    return values


def _surrogate(function: Integrand, u: np.ndarray, x: np.ndarray) -> np.ndarray:
    return values_at(function, x, "control_variates: the surrogate")


@dataclass(frozen=True)
class _Known:
    """Functions of one kind with their means, and how many of the first make sense alone."""

    function: Function
    means: np.ndarray
    covariance: np.ndarray
    prefixes: list[int]


def _polynomial_controls(space: WorkingSpace, budget: int) -> _Known:
    """Orthonormal polynomials of the law, as many as the budget can tell apart."""
    if not space.law.mapped:
        raise ValueError(
            "control_variates: 'polynomial' needs a law with an isoprobabilistic map "
            "(independent marginals, a Gaussian copula or a multivariate normal law)"
        )
    most = max(space.law.dimension, min(MOST_TERMS, budget // 20))
    basis = polynomial_basis(space.law, most, budget / 20)
    # degrees that add little to the one before are not worth a choice of their own
    kept = [0]
    for terms in basis.sizes:
        if terms >= 1.7 * kept[-1] or terms == basis.sizes[-1]:
            kept.append(terms)
    size = basis.sizes[-1] if basis.sizes else 0
    function = partial(_polynomials, basis, space)
    return _Known(function, np.zeros(size), np.zeros((size, size)), kept[1:])


def _surrogate_controls(
    surrogate: Integrand, law: Law, budget: int, rng: np.random.Generator
) -> _Known:
    """A cheap function of the user's, its means estimated on many draws."""
    draws = int(min(20 * budget, 1_000_000))
    function = partial(_surrogate, surrogate)

    def block(first: int) -> Moments:
        x = law.sample(rng, min(ROWS, draws - first))
        values = function(x, x)
        return moments(values, values[:, :0])

    total = reduce(add, map(block, range(0, draws, ROWS)))
    mean = total.z / draws
    covariance = (total.zz / draws - np.outer(mean, mean)) / (draws - 1)
    return _Known(function, mean, covariance, [len(mean)])


def prepare_controls(
    asked: Asked, space: WorkingSpace, budget: int, root: np.random.SeedSequence
) -> Controls:
    """The user's ``control_variates`` made ready; means that need it are estimated here."""
    expected = "True, False, 'polynomial', a callable surrogate, or a list of these"
    items = list(asked) if isinstance(asked, list | tuple) else [asked]
    if not items:
        raise ValueError("control_variates: got an empty list; expected False for none of them")
    components, known = False, list[_Known]()
    for item in items:
        if isinstance(item, bool | np.bool_):
            components = components or bool(item)
        elif isinstance(item, str) and item == "polynomial":
            known.append(_polynomial_controls(space, budget))
        elif isinstance(item, str):
            raise ValueError(f"control_variates: got {item!r}; expected {expected}")
        elif callable(item):
            rng = generator(root, "surrogate", len(known))
            known.append(_surrogate_controls(item, space.law, budget, rng))
        else:
            raise TypeError(f"control_variates: got {type(item).__name__}; expected {expected}")
    ends = np.cumsum([0, *(len(k.means) for k in known)])
    covariance = np.zeros((ends[-1], ends[-1]))
    for first, last, k in zip(ends, ends[1:], known, strict=False):
        covariance[first:last, first:last] = k.covariance
    return Controls(
        components,
        tuple(k.function for k in known),
        np.concatenate([np.empty(0), *(k.means for k in known)]),
        covariance,
        tuple(int(at) + p for at, k in zip(ends, known, strict=False) for p in k.prefixes),
    )


@dataclass(frozen=True)
class Ratios:
    """Integrands, component densities and control functions over the density of the draws.

    ``targets`` phi f/h (n, J); ``numerators`` (n, K + E): K component densities over h, then the
    control functions times f/h.
    """

    targets: np.ndarray
    numerators: np.ndarray
    size: int  # K

    def controls(self, mixture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Targets (n, J), mean-zero controls (n, K + E) and weights (n,) under the mixture."""
        weights = self.numerators[:, : self.size] @ mixture
        # where all densities are too small for numbers a draw has no weight, whatever it is over
        divisor = np.where(weights > 0, weights, 1.0)[:, None]
        z = self.numerators / divisor
        z[:, : self.size] -= 1
        return self.targets / divisor, z, weights


def ratios_of(draws: Stage | History, log_g: np.ndarray, controls: Controls) -> Ratios:
    """Ratios at a stage or a history; ``log_g`` (n, K) are the densities of the components."""
    f = np.exp(draws.log_f - draws.log_h)[:, None]
    g = np.exp(log_g - draws.log_h[:, None])
    k = g.shape[1]
    if controls.functions:
        g = np.concatenate([g, controls.values(draws.u, draws.x) * f], axis=1)
    return Ratios(draws.values * f, g, k)


def choices_of(controls: Controls, components: Components, draws: int) -> list[Choice]:
    """Ways to regress, the most restrained first, as many as ``draws`` can tell apart."""
    k = len(components.densities)
    choices = [Choice("none")]
    if controls.components:
        direction = np.zeros((k + len(controls.means), components.direction.shape[1]))
        direction[:k] = components.direction
        choices.append(Choice("own component", direction=direction))
        if draws >= 8 * k:
            choices += [Choice(f"components, cut-off {c:g}", k, c) for c in (0.1, 0.01, 0.001)]
    for prefix in controls.prefixes:
        if draws >= 8 * (k + prefix):
            choices.append(Choice(f"components and {prefix} functions", k + prefix, 1e-3))
    return choices
