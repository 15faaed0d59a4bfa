"""Several laws of the same inputs, and one integrand for the expectations under all of them.

`under_laws` multiplies an integrand by density ratios: adaptation serves every law from one sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import arguments
from ..randomness import generator, seed_sequence
from .integrand import Integrand, call_integrand
from .laws import Law, aligned, as_law

LOST = 1e-12  # probability that a law may have where the first one has none
SUPPORT = 4_096  # draws of a law that tell whether another covers it


def several_laws(laws: object, inputs: Sequence[str]) -> dict[str, Law]:
    """One law, or several in a dict or list, by name; their inputs in this order."""
    dimension = len(inputs)
    try:
        one = as_law(laws)
    except (TypeError, ValueError):
        one = None
    if one is not None and one.dimension == dimension:
        return {"": aligned(one, inputs, "laws")}
    if isinstance(laws, Mapping) and one is not None and set(laws) < set(inputs):
        raise ValueError(
            f"laws: has the inputs {', '.join(map(repr, laws))}; expected all of "
            f"{', '.join(map(repr, inputs))}, those that stay as they were, too"
        )
    if isinstance(laws, Mapping):
        found = {arguments.storable("laws", str(name)): law for name, law in laws.items()}
    elif isinstance(laws, list | tuple):
        found = {f"law {i + 1}": law for i, law in enumerate(laws)}
    else:
        raise TypeError(
            f"laws: got {type(laws).__name__}; expected a law, or a dict or list of laws"
        )
    if not found:
        raise ValueError("laws: got none; expected at least one")
    made = {}
    for name, law in found.items():
        try:
            made[name] = as_law(law)
        except (TypeError, ValueError) as error:
            raise type(error)(f"laws: {name!r}: {error}") from error
        if made[name].dimension != dimension:
            raise ValueError(
                f"laws: {name!r} has {made[name].dimension} inputs; expected {dimension}, as in "
                "the sample"
            )
        made[name] = aligned(made[name], inputs, f"laws: {name!r}")
    return made


def called(name: str) -> str:
    """What errors call one of `several_laws`."""
    return f"laws: {name!r}" if name else "laws"


def names_under(names: Sequence[str], laws: Mapping[str, Law]) -> list[str]:
    """Names of expectations under each law in turn."""
    return [f"{base} | {name}" if name else base for name in laws for base in names]


def check_within(law: Law, lower: np.ndarray, upper: np.ndarray, said: str) -> None:
    """Refuse a law with mass outside the ranges (d,) of the first law's inputs."""
    if law.marginals is not None:
        lost = [
            float(
                m.cdf(np.nextafter(low, -np.inf)) * (low > -np.inf) + m.sf(high) * (high < np.inf)
            )
            for m, low, high in zip(law.marginals, lower, upper, strict=True)
        ]
    else:
        x = law.sample(generator(seed_sequence(0), "support"), SUPPORT)
        lost = ((x < lower) | (x > upper)).mean(0).tolist()
    i = int(np.argmax(lost))
    if lost[i] > LOST:
        raise ValueError(
            f"{said}: {lost[i]:.3g} of input {law.names[i]!r} lies outside [{lower[i]:.6g}, "
            f"{upper[i]:.6g}], where the first law has no density; expected a law on the same "
            "support"
        )


def log_density_within(
    law: Law,
    x: np.ndarray,
    log_f: np.ndarray,
    ranges: Sequence[np.ndarray] | np.ndarray,
    said: str,
) -> np.ndarray:
    """Log density (n,) of another law at draws x (n, d), refused where the first one has none."""
    check_within(law, ranges[0], ranges[1], said)
    log_p = law.log_density(x)
    outside = (log_p > -np.inf) & (log_f == -np.inf)
    if outside.any():
        raise ValueError(
            f"{said}: has a density at {x[outside][0].tolist()}, where the first law has none; "
            "expected a law on the same support"
        )
    return log_p


@dataclass(frozen=True)
class UnderLaws:
    """An integrand times density ratios: (n, d) -> (n, J P)."""

    integrand: Integrand
    vectorized: bool
    law: Law
    laws: tuple[Law, ...]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values under each law in turn, for the inputs x (n, d)."""
        values = call_integrand(self.integrand, self.vectorized, x)
        values = values.reshape(len(x), -1)
        log_f = self.law.log_density(x)
        ratios = np.stack([np.exp(p.log_density(x) - log_f) for p in self.laws], axis=1)
        return (ratios[:, :, None] * values[:, None, :]).reshape(len(x), -1)


def under_laws(
    integrand: Integrand, law: object, laws: object, *, vectorized: bool = True
) -> UnderLaws:
    """An integrand whose expectations under ``law`` are those of ``integrand`` under each law.

    Hand it to `adaptive_importance_sampling` with the same ``law``: one sample then serves all P
    laws, and adaptation and control variates see each of them.

    Parameters
    ----------
    integrand : callable
        (n, d) -> (n,) or (n, J).
    law : law
        The law that will be given to the estimator; positive wherever one of the others is.
    laws : dict or list of laws
        P laws of the same inputs.
    vectorized : bool, default True
        Whether the integrand takes many inputs at once.

    Returns
    -------
    callable
        (n, d) -> (n, J P): expectations under the first law, then under the second, ...

    Raises
    ------
    ValueError
        A law doesn't fit, or lies in part where ``law`` has no density.

    Examples
    --------
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> law, others = stats.norm(), [stats.norm(1, 1), stats.norm(0, 0.5)]
    >>> integrand = smw.under_laws(lambda x: x[:, 0] ** 2, law, others)
    >>> estimate = smw.adaptive_importance_sampling(integrand, law, 5_000, seed=1)
    >>> [bool(abs(e.value - t) < 4 * e.standard_error) for e, t in zip(estimate, [2, 0.25])]
    [True, True]
    """
    arguments.function("integrand", integrand, "of an array of shape (n, d)")
    vectorized, reference = arguments.flag("vectorized", vectorized), as_law(law)
    named = several_laws(laws, reference.names)
    for name, other in named.items():
        check_within(other, *reference.ranges, f"laws: {name!r}")
        x = other.sample(generator(seed_sequence(0), "support"), SUPPORT)
        outside = reference.log_density(x) == -np.inf
        if outside.any():
            raise ValueError(
                f"laws: {name!r}: {outside.mean():.2%} of it lies where the law has no density, "
                f"such as {x[outside][0].tolist()}; expected a law on the same support"
            )
    return UnderLaws(integrand, vectorized, reference, tuple(named.values()))


def check_reference(integrand: Integrand, law: Law) -> None:
    """Refuse another law than the one that an integrand's density ratios refer to."""
    if isinstance(integrand, UnderLaws) and integrand.law.describe() != law.describe():
        raise ValueError(
            "law: is not the one given to under_laws, to which its density ratios refer"
        )
