"""One figure per kind of answer, from all rooms; matplotlib is imported on use.

Every function takes an `Estimate` and returns matplotlib axes; pass ``ax`` to draw into your own.

`estimate`  values with intervals, beside the truth where it is known
`stages`    what adaptation gained, stage by stage
`weights`   the importance weights of the final draws
`coverage`  intervals that held beside those that should (takes a Calibration)
`controls`  how much variance the control variates took away
`gains`     gain over plain Monte Carlo at the same number of calls
`mixture`   what the draws came from
`levels`    how a failure probability was approached, and `failures` its draws
`sobol`     bars of Sobol' indices
`sobol_series`  the same of a series of outputs, along time
`pareto`    tails of what each mean is taken of, and how many draws it is worth
`marginals` posteriors of all parameters, `corner` those of all pairs, and `ladder` the way from the
            prior (take a Posterior)
`law`       distribution function with its band, and `tail` one end (take an OutputLaw)
`uncertainty`  what computing and data add to an error (takes an InputUncertainty)
`perturbation`  expectations as the law of an input moves (takes a perturbation study)
`bands`     components over time with their intervals
`filtered`  states over time as a filter saw them, and `increments` of its log likelihood with the
            effective sample sizes (take a FilterResult)
`forecasted`  a forecast as a fan (takes a Forecast)
`predicted` residuals of what a model foresaw (takes a PredictiveCheck)
`sequences` effective sample size of constrained sequences (takes a WeightedSequences)
`weighted`  an item under a constraint, or a set of them (takes a WeightedDraw)
`permuted`  a two-sample test among its permutations, and `columns` (take a SlicedTest)
`loadings`  the direction in which two clouds differ most (takes a MaxSliced)
`gradient`  derivatives by the points with their errors (takes a SlicedGradient)
`sliced`    a sliced distance with its interval as directions grow (takes two clouds)
`iterates`  the way of a search with its averages (takes a Fit)
`scores`    the score along a parameter, with bands (takes a model and its observations)
`profile`   the log likelihood along a parameter, the others maximised (takes a Fit)
`flow`      distances along a gradient flow, and `frames` the moving points (take a SlicedFlow)

All but `estimate` show diagnostics and raise ValueError for an estimate that lacks them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from . import arguments as check
from .calibration import coverage
from .canvas import BLUE as BLUE
from .canvas import GREY as GREY
from .canvas import ORANGE as ORANGE
from .canvas import bands, checked_axes, estimate
from .importance.figures import (
    controls,
    failures,
    gains,
    levels,
    mixture,
    pareto,
    perturbation,
    sobol,
    sobol_series,
    stages,
    weights,
)
from .importance.law_figures import law, tail, uncertainty
from .importance.posterior_figures import corner, ladder, marginals
from .randomness import Seed
from .rejection.figures import sequences, weighted
from .statespace import figures as searches
from .statespace.figures import filtered, forecasted, increments, iterates, predicted
from .transport import figures as distances
from .transport.figures import columns, flow, frames, gradient, loadings, permuted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .statespace.learning.ascent import Fit
    from .statespace.model import StateSpaceModel

__all__ = [
    "bands",
    "columns",
    "controls",
    "corner",
    "coverage",
    "estimate",
    "failures",
    "filtered",
    "flow",
    "forecasted",
    "frames",
    "gains",
    "gradient",
    "increments",
    "iterates",
    "ladder",
    "law",
    "levels",
    "loadings",
    "marginals",
    "mixture",
    "pareto",
    "permuted",
    "perturbation",
    "predicted",
    "profile",
    "scores",
    "sequences",
    "sliced",
    "sobol",
    "sobol_series",
    "stages",
    "tail",
    "uncertainty",
    "weighted",
    "weights",
]


def sliced(
    x: ArrayLike,
    y: ArrayLike,
    ax: Axes | None = None,
    *,
    budgets: Sequence[int] = (50, 100, 200, 500, 1000),
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    seed: Seed = 1,
) -> Axes:
    """Sliced Wasserstein distance with its 95 % interval as directions grow, by method.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
    ax : matplotlib axes, optional
    budgets : sequence of int
        Numbers of directions.
    methods : mapping of str to arguments of `smcweights.sliced_wasserstein`, optional
        By default independent directions beside what "auto" does.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(1).normal(size=(50, 3))
    >>> sliced(x, 2 * x + 1, budgets=[50, 100]).get_xlabel()
    'directions'
    """
    from .transport.sliced import by_budget

    checked_axes(ax)
    budgets = [check.count("budgets", n) for n in check.several("budgets", budgets, "numbers")]
    if not budgets:
        raise ValueError("budgets: got none; expected at least one number of directions")
    if methods is not None and not (
        isinstance(methods, Mapping)
        and methods
        and all(isinstance(part, Mapping) for part in methods.values())
    ):
        raise TypeError(
            f"methods: got {check.shown(methods)}; expected a dict of dicts of arguments by name"
        )
    return distances.sliced(by_budget(x, y, budgets, methods, seed), budgets, ax)


def scores(
    model: StateSpaceModel,
    y: ArrayLike,
    parameter: str,
    grid: ArrayLike,
    n_particles: int,
    budget: int = 60,
    ax: Axes | None = None,
    *,
    level: float = 0.95,
    seed: Seed = 1,
    **arguments: Any,
) -> Axes:
    """The score along one parameter with its intervals as a band; it crosses zero at a maximum.

    Parameters
    ----------
    model : StateSpaceModel
        Its other parameters are held.
    y : array_like
        Observations.
    parameter : str
    grid : array_like, shape (m,)
        Values of the parameter, sorted.
    n_particles, budget
        Of `smcweights.score`, at every value.
    ax : matplotlib axes, optional
    level : float, default 0.95
        Of the intervals.
    seed : None, int, SeedSequence or Generator
    **arguments
        Others of `smcweights.score`.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        The parameter is unknown, or the grid is not sorted.

    Examples
    --------
    >>> import smcweights as smw
    >>> model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> y = model.simulate(50, seed=1)[1]
    >>> scores(model, y, "transition_covariance", [0.8, 1.2], 40, 40).get_xlabel()
    'transition_covariance'
    """
    from .statespace.curves import scores_along

    checked_axes(ax)
    level, at = check.level(level), check.finite("grid", grid)
    found = scores_along(model, y, parameter, at, n_particles, budget, seed=seed, **arguments)
    return searches.scores(found, at, parameter, ax, level=level)


def profile(
    fit: Fit,
    y: ArrayLike,
    parameter: str | int,
    grid: ArrayLike,
    n_particles: int,
    budget: int = 60,
    ax: Axes | None = None,
    *,
    repeats: int = 8,
    level: float = 0.95,
    seed: Seed = 1,
) -> Axes:
    """Log likelihood along one parameter, the other free ones maximised, with intervals.

    Parameters
    ----------
    fit : Fit
        Of `smcweights.maximum_likelihood`. Where it holds the information, the parabola that its
        error of the data stands for is drawn as well.
    y : array_like
        Observations.
    parameter : str or int
        By name or position among the free ones.
    grid : array_like, shape (m,)
        Values of the parameter.
    n_particles : int
        Of searches and filters.
    budget : int, default 60
        Iterations of the search at every value, when there are other free parameters.
    ax : matplotlib axes, optional
    repeats : int, default 8
        Filters behind every log likelihood.
    level : float, default 0.95
        Of the intervals: Monte Carlo error of the log likelihoods.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        The parameter is not free.

    Examples
    --------
    >>> import smcweights as smw
    >>> model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> y = model.simulate(50, seed=3)[1]
    >>> free = ["transition_matrix"]
    >>> fit = smw.maximum_likelihood(model, y, None, 40, 30, free=free, information=False, seed=1)
    >>> profile(fit, y, free[0], [0.7, 0.8, 0.9], 200).get_ylabel()
    'log likelihood'
    """
    from .statespace.curves import profile_likelihood

    checked_axes(ax)
    level, at = check.level(level), check.finite("grid", grid).ravel()
    if not at.size:
        raise ValueError("grid: got no values; expected at least one")
    found = profile_likelihood(
        fit, y, parameter, at, n_particles, budget, repeats=repeats, seed=seed
    )
    return searches.profile(found, at, fit, parameter, ax, level=level)
