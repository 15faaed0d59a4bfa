"""How expectations move when the law of one input is shifted or widened, from one stored sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..estimate import Estimate
from .laws import Law, aligned, as_law, perturbed
from .reweighting import Stored, reweight, stored

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class PerturbationStudy:
    """How expectations move when one input's law is shifted or widened.

    Attributes
    ----------
    estimate : Estimate
        All values with their joint covariance: expectations within grid points within inputs.
    inputs : tuple of str
        The inputs perturbed.
    kind : {"shift", "scale"}
    grid : ndarray, shape (G,)
        Shifts in standard deviations, or factors of the scale.
    expectations : tuple of str
    """

    estimate: Estimate
    inputs: tuple[str, ...]
    kind: str
    grid: np.ndarray
    expectations: tuple[str, ...]

    def table(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, lower and upper ends, each of shape (inputs, G, J)."""
        lower, upper = self.estimate.interval(level)
        shape = (len(self.inputs), len(self.grid), len(self.expectations))
        return (
            np.reshape(self.estimate.value, shape),
            np.reshape(lower, shape),
            np.reshape(upper, shape),
        )

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """A row per input, grid point and expectation."""
        import pandas

        value, lower, upper = self.table(level)
        rows = pandas.MultiIndex.from_product(
            [self.inputs, self.grid, self.expectations], names=["input", self.kind, "expectation"]
        )
        columns = {"value": value.ravel(), "lower": lower.ravel(), "upper": upper.ravel()}
        return pandas.DataFrame(columns, index=rows)

    def plot(self, ax: Axes | None = None, *, expectation: int = 0, level: float = 0.95) -> Axes:
        """Curves with bands, one per input: see `plots.perturbation`."""
        from .figures import perturbation

        return perturbation(self, ax, expectation=expectation, level=level)


def perturbation_study(
    estimate: Estimate,
    law: object,
    *,
    shifts: ArrayLike | None = None,
    scales: ArrayLike | None = None,
    inputs: Sequence[str] | None = None,
    least_effective: float = 50.0,
) -> PerturbationStudy:
    """Move the law of each input in turn, and follow the estimates from one stored sample.

    An input X = F^-1(Phi(Z)) becomes F^-1(Phi(shift + scale Z)): for a normal input its mean moves
    by ``shift`` standard deviations, or its standard deviation is multiplied by ``scale``; bounded
    and skewed inputs keep their support. The ranks of correlated inputs keep their correlation.

    Parameters
    ----------
    estimate : Estimate
        With its sample, as for `reweight`.
    law : law
        The law the estimate was made with: independent inputs or a Gaussian copula.
    shifts, scales : array_like of shape (G,), optional
        Give one of them; by default shifts from -1 to 1 in nine steps.
    inputs : sequence of str, optional
        Names of the inputs to perturb; all of them by default.
    least_effective : float, default 50
        As for `reweight`.

    Returns
    -------
    PerturbationStudy

    Raises
    ------
    DegeneracyError, TypeError, ValueError
        As for `reweight`; or the law has no map, an input is unknown, a scale is not positive.

    References
    ----------
    Lemaitre, Sergienko, Arnaud, Bousquet, Gamboa & Iooss (2015), Density modification-based
    reliability sensitivity analysis, J. Stat. Comput. Simul. 85, arXiv 1210.1074.

    Examples
    --------
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> law = {"a": stats.norm(), "b": stats.norm()}
    >>> estimate = smw.adaptive_importance_sampling(lambda x: 2 * x[:, 0], law, 5_000, seed=1)
    >>> study = smw.perturbation_study(estimate, law, shifts=[-0.5, 0.5])
    >>> study.table()[0][:1, :, 0].round(1).tolist()
    [[-1.0, 1.0]]
    """
    sample = stored(estimate)
    reference = replace(aligned(as_law(law), sample.inputs, "law"), names=sample.inputs)
    _check_own(reference, sample)
    if reference.marginals is None:
        raise ValueError("law: a joint density has no inputs to perturb one at a time")
    kind, grid = _grid(shifts, scales)
    chosen = tuple(reference.names if inputs is None else inputs)
    unknown = [name for name in chosen if name not in reference.names]
    if unknown:
        raise ValueError(f"inputs: no input is named {unknown[0]!r}; the law has {reference.names}")
    laws = {}
    for name in chosen:
        for g in grid:
            try:
                laws[f"{name} {kind} {g:g}"] = perturbed(reference, name, **{kind: float(g)})
            except ValueError as error:
                raise ValueError(
                    f"{kind}s: {g:g} moves input {name!r} to where numbers end: {error}"
                ) from error
    moved = reweight(estimate, laws, least_effective=least_effective)
    return PerturbationStudy(moved, chosen, kind, grid, estimate.names)


def _check_own(law: Law, sample: Stored) -> None:
    """Refuse another law than the one the sample was drawn for."""
    here, log_f = law.log_density(sample.x), sample.log_f
    with np.errstate(invalid="ignore"):
        other = ~((here == log_f) | (np.abs(here - log_f) < 1e-6 * (1 + np.abs(log_f))))
    if other.any():
        raise ValueError(
            f"law: is not the one the estimate was made with: its log density at "
            f"{sample.x[other][0].tolist()} is {here[other][0]:.6g}, that one's "
            f"{log_f[other][0]:.6g}"
        )


def _grid(shifts: ArrayLike | None, scales: ArrayLike | None) -> tuple[str, np.ndarray]:
    """Whether inputs are shifted or scaled, and by what."""
    if shifts is not None and scales is not None:
        raise ValueError("scales: give shifts or scales, not both")
    kind = "shift" if scales is None else "scale"
    given = shifts if scales is None else scales
    grid = np.linspace(-1, 1, 9) if given is None else np.asarray(given, dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0 or not np.isfinite(grid).all():
        raise ValueError(f"{kind}s: expected finite numbers of shape (G,)")
    if kind == "scale" and (grid <= 0).any():
        raise ValueError(f"scales: smallest is {grid.min()}; expected positive factors")
    return kind, grid
