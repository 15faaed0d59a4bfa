"""A posterior as a result: estimates with one covariance, and weighted draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from .. import _compat, arguments
from ..cautions import Caution
from ..estimate import Estimate
from ..parts import LEVELS
from ..pooling import UNNORMALISED, log_bayes_factor
from ..randomness import Seed, generator, seed_sequence
from ..resampling import resample
from ..results import Result, along
from ..weights import effective_sample_size, normalise
from .posterior_pooling import pooled_joint
from .ratio_means import quantile_limits
from .verdict import listed

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

METHOD = "posterior"


def evidence_name(unnormalised: bool) -> str:
    """What is estimated: with a prior up to a constant it is no evidence."""
    return UNNORMALISED if unnormalised else "log evidence"


def quantile_names(shares: Sequence[float], inputs: Sequence[str]) -> list[str]:
    """q0.5[a], q0.5[b], ..."""
    return [f"q{share:g}[{name}]" for share in shares for name in inputs]


def checked_shares(name: str, given: ArrayLike) -> tuple[float, ...]:
    """Shares of quantiles, different numbers between 0 and 1."""
    shares = arguments.real(name, given)
    if shares.ndim != 1 or not ((shares > 0) & (shares < 1)).all():
        raise ValueError(
            f"{name}: got {arguments.shown(given)}; expected a sequence of numbers between 0 and 1"
        )
    if len(set(shares.tolist())) < len(shares):
        raise ValueError(f"{name}: got {arguments.shown(given)}; expected different ones")
    return tuple(shares.tolist())


@dataclass(frozen=True)
class Posterior(Result):
    """Log evidence and posterior expectations with their errors, and the draws behind them.

    Attributes
    ----------
    joint : Estimate, shape (1 + 2 d + F,)
        Log evidence, means, standard deviations "sd[name]" and functions, with one covariance.
    quantiles : Estimate or None
        "q0.5[name]", by inversion of the distribution function; interval ends are its own.
    inputs : tuple of str
        Names of the parameters.
    draws : ndarray, shape (n, d)
        Final draws; independent, weighted.
    log_weight : ndarray, shape (n,)
        Log of likelihood times prior over the density of the draws: the mean weight is the
        evidence.
    log_likelihood, log_prior : ndarray, shape (n,)
    ranges : ndarray, shape (2, d)
        Where the prior's parameters begin and end.
    component : ndarray of int, shape (n,)
        Which component of the mixture a draw comes from.
    cautions : tuple of Caution
    diagnostics : dict
        Effective sample size, k-hat, mixture weights, the power of the likelihood (``beta``)
        that was reached, and the stages.
    """

    joint: Estimate
    quantiles: Estimate | None
    inputs: tuple[str, ...]
    draws: np.ndarray = field(metadata=along("draw", "input"))
    log_weight: np.ndarray = field(metadata=along("draw"))
    log_likelihood: np.ndarray = field(metadata=along("draw"))
    log_prior: np.ndarray = field(metadata=along("draw"))
    ranges: np.ndarray = field(metadata=along("end", "input"))
    component: np.ndarray = field(metadata=along("draw"))
    cautions: tuple[Caution, ...]
    diagnostics: dict[str, Any]

    @property
    def log_evidence(self) -> Estimate:
        """The log evidence alone, of shape ()."""
        return self.joint[0]

    @property
    def expectations(self) -> Estimate:
        """Means, standard deviations and functions, jointly."""
        return self.joint[1:]

    @property
    def provenance(self) -> dict[str, Any]:
        """Where it comes from."""
        return self.joint.provenance

    @property
    def sample(self) -> xarray.Dataset:
        """The final draws: inputs, log_weight, log_likelihood and component."""
        import xarray

        return xarray.Dataset(
            {
                "inputs": (("draw", "input"), self.draws),
                "log_weight": (("draw",), self.log_weight),
                "log_likelihood": (("draw",), self.log_likelihood),
                "component": (("draw",), self.component),
            },
            {"input": list(self.inputs)},
        )

    def compare(self, other: Posterior) -> Estimate:
        """Log Bayes factor of this model against another, see `smcweights.log_bayes_factor`.

        Parameters
        ----------
        other : Posterior
            Of the same data, with another seed.

        Returns
        -------
        Estimate
        """
        arguments.instance("other", other, Posterior)
        return log_bayes_factor(self, other)

    def draw(self, n: int, *, seed: Seed = None) -> np.ndarray:
        """Draws of equal weight, (n, d), resampled systematically from the weighted ones.

        Parameters
        ----------
        n : int
            With more than the effective sample size, draws repeat.
        seed : None, int, SeedSequence or Generator

        Returns
        -------
        ndarray, shape (n, d)
        """
        n = arguments.count("n", n)
        return self.draws[self._drawn(n, seed)]

    def _drawn(self, n: int, seed: Seed) -> np.ndarray:
        """Rows of n draws of equal weight, in an order that says nothing."""
        root = seed_sequence(seed)
        chosen = resample(normalise(self.log_weight), n, seed=generator(root, "draws"))
        return generator(root, "order").permutation(chosen)

    def to_arviz(self, *, seed: Seed = None) -> Any:
        """Draws for ArviZ, as many as the effective sample size.

        Parameters
        ----------
        seed : None, int, SeedSequence or Generator

        Returns
        -------
        arviz.InferenceData or xarray.DataTree
            One chain of independent draws: its R-hat says nothing.
        """
        import xarray

        size = effective_sample_size(self.log_weight)
        chosen = self._drawn(max(int(size), 1), seed)
        pair = ("chain", "draw")
        posterior = xarray.Dataset(
            {name: (pair, self.draws[None, chosen, i]) for i, name in enumerate(self.inputs)},
            attrs={"note": "independent draws, one chain: R-hat says nothing"},
        )
        stats = xarray.Dataset(
            {
                "log_likelihood": (pair, self.log_likelihood[None, chosen]),
                "weight_ess": (pair, np.full((1, len(chosen)), size)),
            }
        )
        return _compat.inference_data({"posterior": posterior, "sample_stats": stats})

    def with_quantiles(self, shares: Sequence[float]) -> Self:
        """The same with quantiles of every parameter, from the draws at hand.

        Parameters
        ----------
        shares : sequence of float
            Between 0 and 1.

        Returns
        -------
        Posterior

        Raises
        ------
        TypeError, ValueError
            Some are no numbers between 0 and 1, or the same.
        """
        from scipy.special import ndtri, stdtrit

        shares = checked_shares("shares", shares)
        if not shares:
            return replace(self, quantiles=None)
        w = normalise(self.log_weight)
        size = effective_sample_size(self.log_weight)
        z = stdtrit(max(size - 1, 1.0), 0.5 + np.array(LEVELS) / 2)
        found = [
            quantile_limits(self.draws[:, i], w, share, z)
            for share in shares
            for i in range(len(self.inputs))
        ]
        names = quantile_names(shares, self.inputs)
        value = np.array([q for q, *_ in found])
        limits = np.stack([ends for _, _, ends, _ in found], axis=1)
        # nothing lies beyond the first and the last value that the prior allows
        for end, edge in zip((0, 1), np.tile(self.ranges, len(shares)), strict=True):
            limits[..., end] = np.where(value == edge, value, limits[..., end])
        at = LEVELS.index(0.95)
        error = (limits[at, :, 1] - limits[at, :, 0]) / (2 * ndtri(0.975))
        error = np.where(np.isfinite(error), error, np.nan)
        influence = np.stack([g for *_, g in found], axis=1)
        scale = np.sqrt((influence**2).sum(0))
        unit = influence / np.where(scale > 0, scale, 1.0)
        correlation = unit.T @ unit
        np.fill_diagonal(correlation, 1.0)
        cautions, lost = list(self.cautions), bool(np.isnan(self.joint.variance).all())
        if lost:
            error[:] = np.nan
        elif np.isnan(error).any():
            text = (
                f"{listed(names, np.isnan(error))}: too few draws lie beyond it for an interval. "
                "More calls would help"
            )
            cautions.append(Caution("quantile-range", text))
        estimate = Estimate(
            value,
            correlation * np.outer(error, error),
            names=names,
            method=METHOD,
            degrees_of_freedom=max(size - 1, 1.0),
            limits=None if lost else limits,
            cautions=cautions,
            cost=self.joint.cost,
            provenance=self.joint.provenance,
        )
        return replace(self, quantiles=estimate, cautions=tuple(cautions))

    @classmethod
    def pooled(cls, runs: Sequence[Self]) -> Self:
        """Independent runs as one, see `smcweights.combine`.

        Evidences are averaged in proportion to the final draws, expectations with the evidence;
        runs that ended before the posterior was reached are left out where others did reach it.
        """
        kept, joint = pooled_joint(runs)
        first, counted = runs[0], [runs[i] for i in kept]

        def whole(name: str) -> np.ndarray:
            return np.concatenate([getattr(run, name) for run in counted])

        quantiles = [] if first.quantiles is None else first.quantiles.names
        shares = [float(q[1 : q.index("[")]) for q in quantiles[:: max(len(first.inputs), 1)]]
        parts: dict[str, Any] = {
            k: whole(k) for k in ("draws", "log_weight", "log_likelihood", "log_prior", "component")
        }
        made = replace(
            first,
            joint=joint,
            quantiles=None,
            **parts,
            cautions=joint.cautions,
            diagnostics=dict(joint.diagnostics),
        )
        return made.with_quantiles(shares)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Marginal laws of all parameters, see `smcweights.plots.marginals`."""
        from .posterior_figures import marginals

        return marginals(self, ax)

    def __repr__(self) -> str:
        return repr(self.joint)
