"""Draws of whole paths, and of parameters, by particle Gibbs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, function, instance, one_of, real
from ..errors import ModelError
from ..execution import check_checkpoint, root_of
from ..randomness import Seed, describe, generator, seed_sequence
from ..resampling import CONDITIONAL_SCHEMES
from .chains import initial_paths, sweep
from .checking import check_moves
from .cloud import Cloud
from .compilation import compiled_path_density
from .draws import PAIR, labelled, parameter_names
from .model import StateSpaceModel, check_domain
from .series import Series, checked_series, side_by_side

Array = NDArray[np.float64]
ParameterUpdate = Callable[[np.random.Generator, Array, Array, Array], ArrayLike]


def particle_gibbs(
    model: StateSpaceModel,
    y: ArrayLike,
    n_particles: int,
    n_sweeps: int,
    *,
    backward: str | None = "sampling",
    parameters: ParameterUpdate | None = None,
    warm_up: int | None = None,
    chains: int = 4,
    theta: ArrayLike | None = None,
    initial_path: ArrayLike | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Any:
    """Draws of whole paths, and of parameters, given the observations.

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p)
    n_particles : int, at least 2
    n_sweeps : int
        Kept draws of each chain.
    backward : {"sampling", "ancestor", None}
        How the next path is traced: by backward draws, by the genealogy with the frozen path's
        ancestors drawn anew (always resampling), or by the genealogy as it is, which moves the
        early states of long series hardly at all.
    parameters : callable, optional
        (rng, path, y, theta) -> new theta, drawn from a kernel that leaves the law of theta given
        path and y unchanged: a conjugate draw, or what `random_walk_metropolis` returns. The
        model's theta is where chains start.
    warm_up : int, optional
        Sweeps before those kept, default half of `n_sweeps`; they go to a group of their own.
    chains : int, default 4
    theta, initial_path, resampling, ess_threshold, seed, executor, progress
        As for `parisian_particle_gibbs`.
    checkpoint : path, optional
        File that keeps finished chains.

    Returns
    -------
    arviz.InferenceData, or xarray.DataTree with ArviZ 1.x
        posterior: x (chain, draw, time[, component]) and the parameters; sample_stats:
        log_likelihood, smallest_ess, and update_rate (chain, time), the share of sweeps that
        change x_t; warmup_posterior.

    Raises
    ------
    TypeError, ValueError, ModelError, DegeneracyError
        As for `particle_filter`.

    References
    ----------
    Andrieu, Doucet & Holenstein (2010), JRSS B 72; Whiteley (2010), discussion of it; Lindsten,
    Jordan & Schon (2014), Particle Gibbs with ancestor sampling, JMLR 15.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(20, seed=1)
    >>> draws = particle_gibbs(model, y, 30, 50, seed=1)
    >>> draws["posterior"]["x"].shape
    (4, 50, 20)
    """
    check_checkpoint(checkpoint)
    one_of("backward", backward, ("sampling", "ancestor", None))
    threshold = 1.0 if backward == "ancestor" else ess_threshold
    told = (theta, resampling, threshold, None, CONDITIONAL_SCHEMES)
    series = checked_series(model, y, n_particles, *told)
    if parameters is not None:
        function("parameters", parameters)
    names = parameter_names(series.model)
    kept, chains = count("n_sweeps", n_sweeps), count("chains", chains)
    warm = kept // 2 if warm_up is None else count("warm_up", warm_up, 0)
    if backward is not None:
        check_moves(series.model, series.rows, series.vector)
    series.functions()
    paths = initial_paths(series, initial_path, chains)
    root = root_of(seed, checkpoint)
    job = partial(_chain, series, backward, parameters, warm + kept, describe(root))
    jobs = [(c, None if paths is None else paths[c]) for c in range(chains)]
    asked = series.arguments(backward=backward, parameters=parameters, warm_up=warm, n_sweeps=kept)
    way = (executor, progress, checkpoint, {**asked, "y": series.rows})
    found = side_by_side(job, jobs, "particle_gibbs", "chains", root, *way)
    draws = Draws(*(np.array(parts) for parts in zip(*found, strict=True)))
    x = series.shaped(draws.paths)
    content = {"x": ((*PAIR, "time", "component")[: x.ndim], x)}
    if parameters is not None:
        content |= {name: (PAIR, draws.thetas[..., k]) for k, name in enumerate(names)}
    stats = {
        "log_likelihood": (PAIR, draws.log_z),
        "smallest_ess": (PAIR, draws.ess),
        "update_rate": (("chain", "time"), draws.rate),
    }
    return labelled(content, stats, warm, len(series.rows))


class Draws(NamedTuple):
    """Paths (s, T, d) and parameters (s, k) of a chain, or of several, by sweep.

    With them log likelihood and smallest effective sample size of each sweep (s,), and the share
    of sweeps that changed x_t, shape (T,).
    """

    paths: Array
    thetas: Array
    log_z: Array
    ess: Array
    rate: Array


def _chain(
    series: Series,
    backward: str | None,
    parameters: ParameterUpdate | None,
    sweeps: int,
    root: dict[str, Any],
    chain: int,
    path: Array | None,
) -> Draws:
    """Sweeps of one chain; parameters are drawn before each."""
    from . import kernels

    source, rows = seed_sequence(root), series.rows
    way = kernels.BY_SAMPLING if backward == "sampling" else kernels.BY_ANCESTORS
    cloud = Cloud(series, generator(source, "chain", chain), depth=len(rows))
    cloud.options[kernels.REDRAW] = backward == "ancestor"
    if path is None:
        path = sweep(cloud, rows, None, 1, way).path
    if parameters is None:
        found = sweep(cloud, rows, path, sweeps, way, keep=True)
        thetas = np.tile(cloud.theta, (sweeps, 1))
        return Draws(found.paths, thetas, found.log_z, found.ess, found.changes / sweeps)
    rng = generator(source, "parameters", chain)
    draws = Draws(
        np.empty((sweeps, *path.shape)),
        np.empty((sweeps, cloud.theta.size)),
        np.empty(sweeps),
        np.empty(sweeps),
        np.zeros(len(rows)),
    )
    for k in range(sweeps):
        shown = series.shaped(path).copy()
        new = np.asarray(parameters(rng, shown, series.y.copy(), cloud.theta.copy()), dtype=float)
        if new.shape != cloud.theta.shape or not np.isfinite(new).all():
            raise ModelError(
                f"parameters: returned {new!r}; expected {cloud.theta.size} finite numbers"
            )
        try:
            check_domain(new, series.model.theta_names, series.model.transforms)
        except ValueError as error:
            raise ModelError(f"parameters: returned {error}") from None
        cloud.theta = new
        found = sweep(cloud, rows, path, 1, way)
        path, draws.paths[k], draws.thetas[k] = found.path, found.path, new
        draws.log_z[k], draws.ess[k] = found.log_z[0], found.ess[0]
        draws.rate[:] += found.changes
    return draws._replace(rate=draws.rate / sweeps)


def _inside(model: StateSpaceModel, theta: Array) -> bool:
    """Whether parameters are where the model's transforms let them be."""
    try:
        check_domain(theta, model.theta_names, model.transforms)
    except ValueError:
        return False
    return True


class random_walk_metropolis:
    """A parameter update for `particle_gibbs`: Metropolis steps given the path.

    Parameters
    ----------
    model : StateSpaceModel
        The model whose parameters are updated.
    log_prior : callable
        (theta) -> float, -inf outside of the prior's support; not asked where the model's
        transforms don't let parameters be, which is outside.
    scales : array_like, shape (k,)
        Standard deviations of the Gaussian steps; 0 holds a parameter fixed.
    n_steps : int, default 10
        Steps per sweep; cheap beside the sweep itself.

    Raises
    ------
    ValueError
        The scales don't fit theta.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> update = random_walk_metropolis(model, lambda theta: 0.0, [0.05, 0, 0, 0, 0, 0])
    >>> update(np.random.default_rng(1), np.zeros(5), np.ones(5), model.theta).shape
    (6,)
    """

    def __init__(
        self,
        model: StateSpaceModel,
        log_prior: Callable[[Array], float],
        scales: ArrayLike,
        n_steps: int = 10,
    ) -> None:
        instance("model", model, StateSpaceModel)
        function("log_prior", log_prior, "of theta")
        steps = real("scales", scales)
        if steps.shape != model.theta.shape or not (steps >= 0).all():
            raise ValueError(
                f"scales: got shape {steps.shape}; expected {model.theta.shape}, none negative"
            )
        self.model, self.log_prior, self.scales = model, log_prior, steps
        self.n_steps = count("n_steps", n_steps)

    def __call__(self, rng: np.random.Generator, path: Array, y: Array, theta: Array) -> Array:
        """One round of steps from `theta`, given a path and the observations."""
        log_density = compiled_path_density(self.model, y.ndim == 2)
        x = np.ascontiguousarray(path, dtype=np.float64).reshape(len(y), -1)
        rows = np.ascontiguousarray(y, dtype=np.float64).reshape(len(y), -1)
        theta = np.array(theta, dtype=np.float64)

        def log_target(at: Array) -> float:
            prior = float(self.log_prior(at)) if _inside(self.model, at) else -math.inf
            if prior == -math.inf:
                return prior
            return prior + log_density(x, rows, at)

        current = log_target(theta)
        for _ in range(self.n_steps):
            proposal = theta + self.scales * rng.standard_normal(theta.size)
            value = log_target(proposal)
            if math.isnan(value):
                raise ModelError(f"log density of the path: NaN for theta = {proposal}")
            if rng.standard_exponential() > current - value:
                theta, current = proposal, value
        return theta
