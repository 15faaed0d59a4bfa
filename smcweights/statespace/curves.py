"""The score and the profile of the likelihood along one parameter, value by value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..arguments import count, instance, shown
from ..canvas import position
from ..estimate import Estimate
from ..randomness import Seed, generator, seed_sequence
from .filtering import particle_filter
from .learning.ascent import Fit
from .learning.likelihood import maximum_likelihood
from .learning.scores import score
from .model import StateSpaceModel


def scores_along(
    model: StateSpaceModel,
    y: ArrayLike,
    parameter: str,
    grid: np.ndarray,
    n_particles: int,
    budget: int,
    *,
    seed: Seed = None,
    **arguments: Any,
) -> list[Estimate]:
    """Scores for one parameter at increasing values of it, the others held: see `plots.scores`."""
    instance("model", model, StateSpaceModel)
    k = position(model.theta_names or (), parameter)
    if grid.ndim != 1 or grid.size < 2 or not (np.diff(grid) > 0).all():
        raise ValueError(f"grid: got {shown(grid)}; expected two or more increasing values")
    theta = np.tile(model.theta, (grid.size, 1))
    theta[:, k] = grid
    return [
        score(model, y, row, n_particles, budget, free=[k], seed=seed, **arguments) for row in theta
    ]


def profile_likelihood(
    fit: Fit,
    y: ArrayLike,
    parameter: str | int,
    grid: np.ndarray,
    n_particles: int,
    budget: int,
    *,
    repeats: int = 8,
    seed: Seed = None,
) -> list[Estimate]:
    """Log likelihoods at values of one parameter, the others maximised: see `plots.profile`."""
    instance("fit", fit, Fit)
    budget, repeats = count("budget", budget), count("repeats", repeats)
    names = list(fit.theta.names)
    k = position(names, parameter)
    root = seed_sequence(seed)
    model = fit.model
    labels = model.theta_names or [f"theta[{j}]" for j in range(model.theta.size)]
    place = {str(label): j for j, label in enumerate(labels)}
    free = [place[name] for j, name in enumerate(names) if j != k]
    found = []
    for j, number in enumerate(grid):
        theta = model.theta.copy()
        theta[place[names[k]]] = number
        held = model.with_theta(theta)
        if free:
            own = generator(root, "profile search", j)
            held = maximum_likelihood(
                held, y, None, n_particles, budget, free=free, information=False, seed=own
            ).model
        own = generator(root, "profile", j)
        filtered = particle_filter(held, y, n_particles, repeats=repeats, seed=own)
        found.append(filtered.log_likelihood)
    return found
