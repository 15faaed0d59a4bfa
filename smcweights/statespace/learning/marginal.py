"""Posterior draws of parameters: random walks that take likelihoods from particle filters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arguments import count, function, one_of, real
from ...cautions import Caution, tell
from ...errors import DegeneracyError, ModelError
from ...execution import check_checkpoint, open_run
from ...randomness import Seed, describe, generator, seed_sequence
from ..cloud import Cloud
from ..draws import PAIR, labelled, parameter_names
from ..model import Proposal, StateSpaceModel
from ..series import Series, checked_panel
from .ascent import STAGE
from .parameters import Free, first_steps, free_parameters, starting_points

Array = NDArray[np.float64]
WANTED = 0.234  # share of proposals accepted, which the warm-up steers to
LEARNED = 500  # draws that a walk should have to be learned
LEARN_EVERY = 50  # draws of the warm-up between two looks at their covariance
FEW_ACCEPTED = 0.05


def particle_marginal_metropolis_hastings(
    model: StateSpaceModel,
    y: ArrayLike | Sequence[ArrayLike],
    log_prior: Callable[[Array], float],
    n_particles: int,
    n_draws: int,
    *,
    theta0: ArrayLike | None = None,
    free: Sequence[str | int] | None = None,
    scales: ArrayLike | None = None,
    warm_up: int | None = None,
    chains: int = 8,
    keep_states: str | None = "last",
    proposal: Proposal | str | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> Any:
    """Draws of the parameters given the observations, from likelihoods estimated by filters.

    A random walk where the parameters are unconstrained; its covariance is learned in the warm-up
    and held from then on. The estimated likelihood in place of the exact one changes nothing in
    the law of the draws, only how well the chains mix: its logarithm should have a standard
    deviation of 1 to 2 near the mode (`particle_filter` with repeats tells). `posterior_means` has
    means of the draws with errors; the walk needs some 500 draws to be learned.

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p), or a list of arrays
        Of a list of arrays each is a series of its own, as for `log_likelihood`. It is the SUM of
        their log likelihoods that should have a standard deviation of 1 to 2: particles of each
        grow with their number.
    log_prior : callable
        (theta) -> float for the whole theta; -inf outside of the prior's support. Of rows of
        probabilities, whose last entry follows from the others, a density by those (Dirichlet).
    n_particles : int, at least 2
    n_draws : int
        Kept draws of each chain.
    theta0 : array_like, shape (k,) or (chains, k), optional
        Where chains start, default the model's parameters.
    free : sequence of str or int, optional
        Which parameters are drawn, default all.
    scales : array_like, optional
        First standard deviations of the walk, where it is unconstrained, one per number there;
        default 0.1, times the parameter's size for "identity".
    warm_up : int, optional
        Draws before those kept, default half of `n_draws` and at least 500; they go to a group of
        their own.
    chains : int, default 8
    keep_states : {"last", "path", None}
        Keep with every draw of the parameters one of the states, at the last time or at all times,
        which takes memory of T x `n_particles` states: draws given the observations, exactly.
        Of several series the last ones alone.
    proposal, resampling, ess_threshold, seed, executor, progress
        As for `particle_filter`.
    checkpoint : path, optional
        File of every hundred draws, from which a later call with the same arguments goes on to the
        same numbers.

    Returns
    -------
    arviz.InferenceData, or xarray.DataTree with ArviZ 1.x
        posterior: the free parameters (chain, draw), and x_last (chain, draw[, component]) or
        x (chain, draw, time[, component]), of several series x_last (chain, draw, series[,
        component]); sample_stats: log_likelihood (estimated), lp (with the
        prior, by theta) and accepted; warmup_posterior.

    Raises
    ------
    TypeError, ValueError, ModelError
        As for `particle_filter`; also a start that the prior excludes, or where the filter finds
        the observations impossible.

    Warns
    -----
    PrecisionWarning
        Less than 5 % of the proposals were accepted.

    References
    ----------
    Andrieu, Doucet & Holenstein (2010), Particle Markov chain Monte Carlo methods, JRSS B 72;
    Doucet, Pitt, Deligiannidis & Kohn (2015), Efficient implementation of Markov chain Monte
    Carlo when using an unbiased likelihood estimator, Biometrika 102.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.stochastic_volatility(0.9, 0.3)
    >>> _, y = model.simulate(30, seed=1)
    >>> draws = particle_marginal_metropolis_hastings(
    ...     model, y, lambda theta: -np.log(theta[1]) ** 2, 30, 20, free=[1], warm_up=9, seed=1
    ... )
    >>> draws["posterior"]["volatility"].shape, draws["posterior"]["x_last"].shape
    ((8, 20), (8, 20))
    """
    check_checkpoint(checkpoint)
    chains = count("chains", chains)
    starts = starting_points(model, theta0, chains)
    told = (starts[0], resampling, ess_threshold, proposal)
    panel = tuple(checked_panel(model, y, n_particles, *told))
    function("log_prior", log_prior)
    one_of("keep_states", keep_states, ("last", "path", None))
    if len(panel) > 1 and keep_states == "path":
        raise ValueError("keep_states: got 'path' with several series; expected 'last' or None")
    series = panel[0]
    parameter_names(series.model)
    chosen = free_parameters(series.model, free, searched=True)
    u0 = [chosen.numbers(start) for start in starts]
    walk = Walk(panel, log_prior, chosen, _scales(scales, u0[0], chosen), keep_states)
    kept = count("n_draws", n_draws)
    warm = max(kept // 2, LEARNED) if warm_up is None else count("warm_up", warm_up, 0)
    for one in panel:
        one.functions(backward=False)
    rows = np.concatenate([one.rows.ravel() for one in panel])
    arguments = series.arguments(
        log_prior=log_prior,
        n_draws=kept,
        warm_up=warm,
        chains=chains,
        free=chosen.names,
        theta0=np.array(u0),
        scales=walk.scales,
        keep_states=keep_states,
    )
    total, found = warm + kept, list[list[Draws]]()
    nothing = (
        np.zeros(4),
        np.zeros(2, dtype=np.int64),
        np.diag(walk.scales),
        np.empty((0, len(u0[0]))),
        np.zeros((walk.kept, series.model.dim)),
    )
    states = [State(u, *nothing) for u in u0]
    with open_run(
        partial(_chain, walk, warm),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments={**arguments, "y": rows if len(panel) > 1 else series.rows},
        seed=seed,
        total=chains * total,
        unit="draws",
        description="particle_marginal_metropolis_hastings",
    ) as run:
        for begin in range(0, total, STAGE):
            size = min(STAGE, total - begin)
            root = describe(run.root)
            jobs = [(root, c, begin, size, state) for c, state in enumerate(states)]
            found.append(run.map(f"draws from {begin}", jobs, [size] * chains))
            states = [draws.state for draws in found[-1]]
    theta, accepted, log_z, lp, x = (
        np.concatenate([[draws[part] for draws in stage] for stage in found], axis=1)
        for part in range(5)
    )
    rate = accepted[:, warm:].mean()
    if rate < FEW_ACCEPTED:
        text = (
            f"{rate:.1%} of the proposals were accepted; use a proposal or more particles (a noisy "
            "likelihood sticks), or a longer warm_up"
        )
        if len(panel) > 1:
            text += f"; the log likelihood is the sum over {len(panel)} series, the noise as well"
        tell("particle_marginal_metropolis_hastings", [Caution("few-accepted", text)])
    path = keep_states == "path"
    content: dict[str, tuple[tuple[str, ...], Array]]
    content = {name: (PAIR, theta[..., j]) for j, name in enumerate(chosen.names)}
    if keep_states is not None:
        several = len(panel) > 1
        kept_states = series.shaped(x if path or several else x[:, :, 0])
        name, dims = ("x", ("time", "component")) if path else ("x_last", ("component",))
        dims = ("series", *dims) if several else dims
        content[name] = ((*PAIR, *dims)[: kept_states.ndim], kept_states)
    stats = {"log_likelihood": (PAIR, log_z), "lp": (PAIR, lp), "accepted": (PAIR, accepted)}
    return labelled(content, stats, warm, len(series.rows) if path else None)


def _scales(scales: ArrayLike | None, u: Array, free: Free) -> Array:
    """First standard deviations of the walk."""
    if scales is None:
        return first_steps(u, free)
    given = real("scales", scales)
    if given.shape != u.shape or not ((given > 0) & np.isfinite(given)).all():
        raise ValueError(
            f"scales: got {scales!r}; expected {len(u)} positive numbers, one per free parameter"
        )
    return given


class Point(NamedTuple):
    """Log densities of the walk's target, of the observations (estimated), and of the prior."""

    target: float
    log_likelihood: float = -math.inf
    prior: float = -math.inf


@dataclass(frozen=True, eq=False)
class Walk:
    """A random walk over unconstrained parameters, and the law that it leaves alone."""

    panel: tuple[Series, ...]
    log_prior: Callable[[Array], float]
    free: Free
    scales: Array
    keep: str | None

    @property
    def held(self) -> int:
        """How many states of each series are kept of every draw."""
        return {None: 0, "last": 1, "path": len(self.panel[0].rows)}[self.keep]

    @property
    def kept(self) -> int:
        """How many states in all."""
        return self.held * len(self.panel)

    def clouds(self, rng: np.random.Generator) -> list[Cloud]:
        """Particles of filters, for one point after the other."""
        return [Cloud(one, rng, depth=max(2, self.held), backward=False) for one in self.panel]

    def at(self, u: Array, clouds: list[Cloud]) -> Point:
        """Log densities, by fresh filters."""
        here = self.free.at(u)
        theta = np.array(self.panel[0].model.theta)
        theta[list(self.free.places)] = here.values
        jacobian = here.log_jacobian
        if not (np.isfinite(theta).all() and math.isfinite(jacobian)):
            return Point(-math.inf)
        prior = self._prior(theta)
        if prior == -math.inf:
            return Point(-math.inf)
        log_z = 0.0
        try:
            for one, cloud in zip(self.panel, clouds, strict=True):
                cloud.t, cloud.theta = 0, theta
                log_z += float(cloud.advance(one.rows)[2].sum())
        except DegeneracyError:
            # an estimate of zero, which is never accepted
            return Point(-math.inf, prior=prior)
        return Point(prior + log_z + jacobian, log_z, prior)

    def states(self, clouds: list[Cloud], rng: np.random.Generator) -> Array:
        """The states of one particle of each series and its ancestors, as many as are kept."""
        from .. import kernels

        x = np.empty((self.kept, self.panel[0].model.dim))
        for s, cloud in enumerate(clouds):
            p, last = cloud.particles, cloud.t - 1
            i = int(kernels.draw_index(rng, p.log_w[last % len(p.x)])) if self.held else 0
            for k in range(self.held):
                row = (last - k) % len(p.x)
                x[s + self.held - 1 - k], i = p.x[row, i], int(p.ancestors[row, i])
        return x

    def _prior(self, theta: Array) -> float:
        given = self.log_prior(theta.copy())
        try:
            if np.iscomplexobj(given):
                raise TypeError("complex")
            prior = float(given)
        except (TypeError, ValueError):
            raise ModelError(
                f"log_prior: returned {given!r} at theta = {theta}; expected a number"
            ) from None
        if math.isnan(prior) or prior == math.inf:
            raise ModelError(f"log_prior: {prior} at theta = {theta}; expected a number or -inf")
        return prior


class State(NamedTuple):
    """Where a chain is, and what the walk has learned.

    Log densities there and the log of the walk's scale; whether the covariance was learned, and
    moves so far; a root of the covariance, the positions (s, k) it is learned from, and states.
    """

    u: Array
    numbers: Array
    counts: NDArray[np.int64]
    factor: Array
    positions: Array
    states: Array

    @property
    def point(self) -> Point:
        """Log densities."""
        return Point(*(float(v) for v in self.numbers[:3]))


class Draws(NamedTuple):
    """Parameters (s, k) of a chain in one stage, what is known of each, and where it is left."""

    theta: Array
    accepted: NDArray[np.bool_]
    log_likelihood: Array
    lp: Array
    states: Array
    state: State


def _chain(
    walk: Walk, warm: int, root: dict[str, Any], chain: int, begin: int, size: int, state: State
) -> Draws:
    """One chain, whose steps are learned as long as it warms up."""
    rng = generator(seed_sequence(root), "marginal", chain, begin)
    # of its own: what is kept changes nothing in the walk
    own = generator(seed_sequence(root), "states", chain, begin)
    u, k = np.array(state.u), len(state.u)
    point, x, clouds = state.point, np.array(state.states), walk.clouds(rng)
    if begin == 0:
        point = walk.at(u, clouds)
    if point.target == -math.inf:
        raise ValueError(
            f"theta0: chain {chain} starts at {walk.free.values(u)}, where prior "
            "or estimated likelihood is zero; expected a possible start"
        )
    if begin == 0:
        x = walk.states(clouds, own)
    factor: Array = state.factor
    log_scale = float(state.numbers[3])
    learned, moves = (int(v) for v in state.counts)
    room = np.empty((max(min(warm - begin, size), 0), k))
    positions = np.concatenate([state.positions, room])
    theta, kept = np.empty((size, len(walk.free.names))), np.empty((size, *x.shape))
    log_z, lp = np.empty((2, size))
    draws = Draws(theta, np.zeros(size, dtype=bool), log_z, lp, kept, state)
    for i in range(begin, begin + size):
        step = math.exp(log_scale) * factor @ rng.standard_normal(k)
        new = walk.at(u + step, clouds)
        chance = math.exp(min(0.0, new.target - point.target))
        now = i - begin
        if rng.random() < chance:
            u, point, draws.accepted[now], moves = u + step, new, True, moves + 1
            x = walk.states(clouds, own)
        draws.theta[now] = walk.free.values(u)
        draws.log_likelihood[now] = point.log_likelihood
        draws.lp[now], draws.states[now] = point.log_likelihood + point.prior, x
        if i < warm:
            positions[i] = u
            log_scale += (chance - WANTED) / (i + 1) ** 0.6
            if (i + 1) % LEARN_EVERY == 0 and moves > 5 * k:
                seen = positions[(i + 1) // 2 : i + 1]
                spread = np.atleast_2d(np.cov(seen, rowvar=False)) + 1e-6 * np.diag(walk.scales**2)
                if not learned:
                    learned, log_scale = 1, math.log(2.38 / math.sqrt(k))
                factor = np.asarray(np.linalg.cholesky(spread), dtype=np.float64)
    left = State(
        u,
        np.array([*point, log_scale]),
        np.array([learned, moves]),
        factor,
        positions if begin + size < warm else np.empty((0, k)),
        x,
    )
    return draws._replace(state=left)
