"""Searches along gradients: steps scaled by curvature, stages of iterations, and the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...estimate import Estimate
from ...randomness import describe
from ...stopping import Budget, Precision
from ..chains import estimate_from_chains
from ..model import choice
from .parameters import from_theta, to_theta

__all__ = ["Climber", "Fit", "direction", "regularised", "run_stages", "search_average"]

Array = NDArray[np.float64]
DEFAULT_ITERATIONS = 500
LEAST_SHARE = 0.1  # of the complete information that steps count on being observed
LONGEST_STEP = 5.0  # in standard deviations of the complete information
LOOK_EVERY = 10  # iterations between two looks at the curvature
STAGE = 100  # iterations or draws of a chain between two visits of the checkpoint


@dataclass(frozen=True, eq=False)
class Fit:
    """Learned parameters.

    Attributes
    ----------
    theta : Estimate
        The free parameters, with both errors: of the data (inverse information) and of the
        search. Its interval is meant to cover the true parameters. It is symmetric, so that it
        may leave a parameter's range; `interval`, which a printed fit shows, keeps to it.
    maximiser : Estimate
        The same value with the Monte Carlo error alone: its interval is meant to cover the
        maximum of the likelihood that more computing would find.
    model : object
        The model with the values found; the family for `markov_score_climbing` of a density.
    iterates : ndarray, shape (chains, L, k)
        The way of every chain.
    gradient : Estimate or None
        Mean gradient over the iterations averaged, by the unconstrained parameters: zero at the
        maximum.
    information : Estimate or None
        What `observed_information` says at the value found.
    transforms : tuple of str
        Of the free parameters.
    diagnostics : dict
        `averaged`, iterations behind the average of each chain; `newton_step`, the step that the
        mean gradient still asks for, in standard errors of the data (a rough guess at them without
        `information`); `statistical_error` and
        `monte_carlo_error` of theta, shape (k,); `paths`, the chains' last paths; `warnings`.
    """

    theta: Estimate
    maximiser: Estimate
    model: Any
    iterates: Array
    gradient: Estimate | None = None
    information: Estimate | None = None
    transforms: tuple[str, ...] = ()
    diagnostics: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        rows: list[tuple[str, ...]] = [("", "value", "interval", "of the search alone")]
        both, alone = self.interval(), self.interval(error="monte carlo")
        for k, name in enumerate(self.theta.names):
            ends = [f"[{low[k]:.4g}, {high[k]:.4g}]" for low, high in (both, alone)]
            rows.append((name, f"{self.theta.value[k]:.4g}", *ends))
        widths = [max(len(row[j]) for row in rows) for j in range(4)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
                 for row in rows]  # fmt: skip
        return "\n  ".join([f"Fit of {len(self.theta)} parameters by {self.theta.method}", *lines])

    def interval(self, level: float = 0.95, error: str = "both") -> tuple[Array, Array]:
        """Intervals made where the parameters are unconstrained, so that they keep to their range.

        Parameters
        ----------
        level : float, default 0.95
        error : {"both", "monte carlo"}
            Of data and search, or of the search alone.

        Returns
        -------
        lower, upper : ndarray, shape (k,)
        """
        choice("error", error, ("both", "monte carlo"))
        est = self.theta if error == "both" else self.maximiser
        u = from_theta(est.value, self.transforms, est.names)
        _, slope, _ = to_theta(u, self.transforms)
        lower, upper = est.interval(level)
        ends = [to_theta(u + (end - est.value) / slope, self.transforms)[0]
                for end in (lower, upper)]  # fmt: skip
        return ends[0], ends[1]

    def plot(self, ax: Any = None, *, parameter: str | int = 0) -> Any:
        """Iterates of a parameter with their averages (`smcweights.plots.iterates`).

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.
        parameter : str or int
            By name or position among the free ones.

        Returns
        -------
        matplotlib axes
        """
        from ..figures import iterates

        return iterates(self, ax, parameter=parameter)

    @property
    def averaged_path(self) -> Array:
        """Running means of the iterates over their last halves, shape (chains, L, k)."""
        total = np.cumsum(self.iterates, axis=1)
        last = np.arange(self.iterates.shape[1])
        first = (last + 1) // 2
        before = np.where((first > 0)[:, None], total[:, np.maximum(first - 1, 0)], 0.0)
        return (total - before) / (last - first + 1)[:, None]


def run_stages(
    run: Any, rule: Budget | Precision, total: int, states: list[dict[str, Any]],
    transforms: Sequence[str], names: Sequence[str],
) -> tuple[list[dict[str, Any]], Array, Array, list[dict[str, Any]]]:  # fmt: skip
    """Iterations of all chains, stage by stage: last states, iterates, gradients, all results."""
    chains, done = len(states), 0
    blocks: list[dict[str, Any]] = []
    while True:
        size = min(STAGE, total - done)
        jobs = [(describe(run.root), c, done, size, states[c]) for c in range(chains)]
        found = run.map(f"iterations from {done}", jobs, [size] * chains)
        states = [entry["state"] for entry in found]
        blocks += found
        done += size
        if done < total:
            continue
        u, g = (
            np.array([
                np.concatenate([entry[name] for entry in blocks[c::chains]]) for c in range(chains)
            ])
            for name in ("iterates", "gradients")
        )  # fmt: skip
        if isinstance(rule, Budget):
            return states, u, g, blocks
        probe, _ = search_average(u, transforms, names, {}, {}, {})
        lower, upper = probe.interval(rule.level)
        more = rule.next_size(probe.value, (upper - lower) / 2, done - done // 2, done)
        if more == 0:
            return states, u, g, blocks
        total = done + more


def search_average(
    u: Array, transforms: Sequence[str], names: Sequence[str], diagnostics: dict[str, Any],
    cost: dict[str, Any], source: dict[str, Any], method: str = "maximum_likelihood",
) -> tuple[Estimate, Array]:  # fmt: skip
    """Estimate from the averages of the chains' last halves, and its unconstrained value."""
    ends = u[:, u.shape[1] // 2 :].mean(axis=1)
    centre = ends.mean(axis=0)
    value, slope, _ = to_theta(centre, transforms)
    # linear around the mean of the chains, where the intervals of Fit are made
    return estimate_from_chains(
        value + slope * (ends - centre), False, method, names, diagnostics, cost, source
    ), centre  # fmt: skip


def regularised(outer: Array) -> Array:
    """A mean outer product of few scores made regular, whatever the units."""
    return outer + np.diag(0.1 * outer.diagonal() + 1e-300)


def direction(moments: Array, partly: bool) -> tuple[Array, Array]:
    """Matrix that steps are multiplied by, and one that measures them in standard deviations.

    `moments` are the complete information, the mean outer product of scores, and their
    covariance, which is the information lost by not seeing the paths. The first sets the scale.
    With `partly`, directions in which little is observed get longer steps.
    """
    complete, outer, lost = moments
    values, vectors = np.linalg.eigh((complete + complete.T) / 2)
    if values[0] <= 1e-10 * max(values[-1], 0.0):
        # the outer product of scores has the same mean under the model, and no negative direction
        values, vectors = np.linalg.eigh(regularised(outer))
    root = vectors / np.sqrt(values)
    observed = np.ones(len(values))
    if partly:
        share = root.T @ lost @ root
        observed, turn = np.linalg.eigh(np.eye(len(values)) - (share + share.T) / 2)
        root, observed = root @ turn, np.clip(observed, LEAST_SHARE, 1.0)
    return (root / observed) @ root.T, root


class Climber:
    """Steps along a gradient: scaled by curvature seen along the way, or by optax."""

    def __init__(self, optimiser: Any, u: Array, state: dict[str, Any]) -> None:
        self.optimiser = optimiser
        self.moments: Any = state.get("moments")
        self.looks = int(state.get("looks", 0))
        self.matrix: Any = None
        self.measure: Any = None
        self.memory: Any = None
        if optimiser is not None:
            import jax

            self.memory = optimiser.init(jax.numpy.asarray(u))
            leaves, tree = jax.tree.flatten(self.memory)
            self.memory = jax.tree.unflatten(tree, state.get("memory", leaves))

    def looks_at(self, l: int) -> bool:  # noqa: E741
        """Whether iteration l looks at the curvature."""
        return l < LOOK_EVERY or l % LOOK_EVERY == 0

    def look(self, mean: Array, complete: Array, outer: Array) -> None:
        """Take in a mean score, minus the second derivatives, and an outer product of scores."""
        self.looks += 1
        # a memory of some twenty looks, so that the start is forgotten
        share = max(1 / self.looks, 0.05)
        new = np.array([complete, outer, outer - np.outer(mean, mean)])
        self.moments = new if self.moments is None else self.moments + share * (new - self.moments)
        self.matrix = None

    def step(self, l: int, g: Array, u: Array, partly: bool = True) -> Array:  # noqa: E741
        """The step of iteration l; `partly`, when the observations tell less than the paths."""
        if self.optimiser is not None:
            import jax

            change, self.memory = self.optimiser.update(
                -jax.numpy.asarray(g), self.memory, jax.numpy.asarray(u)
            )
            return np.asarray(change)
        if self.matrix is None:
            self.matrix, self.measure = direction(self.moments, partly and l >= LOOK_EVERY)
        step = self.matrix @ g
        length = float(np.linalg.norm(np.linalg.solve(self.measure, step)))
        return step * min(1.0, LONGEST_STEP / max(length, 1e-300)) * (1 + l / 20) ** -0.75

    def state(self) -> dict[str, Any]:
        """What the next stage needs."""
        left: dict[str, Any] = {"looks": np.array(self.looks)}
        if self.moments is not None:
            left["moments"] = self.moments
        if self.optimiser is not None:
            import jax

            left["memory"] = tuple(np.asarray(leaf) for leaf in jax.tree.leaves(self.memory))
        return left
