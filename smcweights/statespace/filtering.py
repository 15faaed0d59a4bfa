"""Particle filters: the law of the state given the observations so far, and log p(y).

exp(log likelihood) is unbiased whatever the number of particles, the resampling scheme and the
threshold; the variance of the log likelihood grows like T/N.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import PrecisionWarning
from ..estimate import Estimate, provenance
from ..execution import open_run
from ..randomness import describe, generator, seed_sequence
from ..resampling import SCHEMES
from ..weights import log_mean_normal
from .model import (
    Compiled,
    Proposal,
    StateSpaceModel,
    check_functions,
    check_series,
    choice,
    compiled,
    count,
    observations,
    raise_status,
    scheme_code,
)

__all__ = ["FilterResult", "backward_simulation", "particle_filter"]

Array = NDArray[np.float64]
FEW_ANCESTORS = 20  # of time 0, below which their spread says little about an error
SMALL_SAMPLE = 10.0  # an effective sample size that is too small to see the truth from


class Cloud:
    """Particles on their way through time: the arrays that the kernels fill.

    Rows of time t are at t % depth. `advance` takes the observations of the times from `t` on.
    """

    def __init__(
        self,
        model: StateSpaceModel,
        functions: Compiled,
        n: int,
        *,
        rng: np.random.Generator,
        scheme: str = "systematic",
        threshold: float = 0.5,
        depth: int = 2,
        sums: tuple[Any, Any, int] | None = None,
        draws: int = 0,
        method: int = 0,
        backward_depth: int = 1,
        roots: bool = False,
        moments: bool = False,
    ) -> None:
        from . import kernels

        dim = model.dim
        self.functions, self.rng, self.threshold = functions, rng, threshold
        add_first, add, size = sums or (kernels.add_nothing_first, kernels.add_nothing, 0)
        f = functions
        self.loops = (f.start, f.move, f.look, f.pair, f.bound, f.reject, add_first, add)
        self.theta = model.theta.copy()
        self.options = np.zeros(10, dtype=np.int64)
        self.options[kernels.SCHEME] = scheme_code(scheme)
        self.options[kernels.DRAWS] = draws
        self.options[kernels.METHOD] = method
        self.options[kernels.CAP] = n
        self.options[kernels.FROZEN] = -1
        self.options[kernels.LOOKAHEAD] = functions.lookahead
        self.x = np.zeros((depth, n, dim))
        self.log_w = np.empty((depth, n))
        self.ancestors = np.zeros((depth, n), dtype=np.int32)
        self.backward = np.zeros((backward_depth, n), dtype=np.int32)
        self.tau = np.zeros((2, n, size))
        self.roots = np.zeros((2, n) if roots else (0, 0), dtype=np.int32)
        self.tally = np.zeros(3, dtype=np.int64)
        self.status = np.zeros(4, dtype=np.int64)
        self.moments = moments
        self.t = 0

    def advance(self, y: Array) -> tuple[Array, Array, Array]:
        """Moments (T, 2d), effective sample sizes (T,) and log likelihood increments (T,)."""
        from . import kernels

        n_steps, dim = len(y), self.x.shape[2]
        moments = np.empty((n_steps, 2 * dim) if self.moments else (0, 0))
        ess, increments = np.full(n_steps, np.nan), np.empty(n_steps)
        self.options[kernels.FIRST] = self.options[kernels.OFFSET] = self.t
        self.options[kernels.END] = self.t + n_steps
        kernels.advance(
            *self.loops, self.rng, y, self.theta, self.options, self.threshold, np.empty((0, dim)),
            self.x, self.log_w, self.ancestors, self.backward, self.tau, self.roots, moments, ess,
            increments, self.tally, self.status,
        )  # fmt: skip
        if self.status[0]:
            padded = np.concatenate([np.full((self.t, y.shape[1]), np.nan), y])
            before = np.concatenate([np.full(self.t, np.nan), ess])
            raise_status(self.status, padded, self.x, before)
        self.t += n_steps
        return moments, ess, increments

    @property
    def weights(self) -> Array:
        """Normalised weights of the last time."""
        return np.exp(self.log_w[(self.t - 1) % len(self.log_w)])

    @property
    def sums(self) -> Array:
        """Estimated smoothed sums at the last time, shape (J,)."""
        return self.weights @ self.tau[(self.t - 1) % 2]


@dataclass(frozen=True, eq=False)
class FilterResult:
    """What a particle filter found.

    Attributes
    ----------
    log_likelihood : Estimate
        log p(y).
    means, variances : ndarray, shape (T,) or (T, d)
        Of x_t given y_0 ... y_t.
    ess : ndarray, shape (T,)
        Effective sample size of the weights at each time.
    log_increments : ndarray, shape (T,)
        Estimates of log p(y_t | y_0 ... y_{t-1}).
    particles : ndarray, shape (T, N) or (T, N, d), or None
        With ``store=True``: of the first repeat, with their `log_weights` (normalised) of shape
        (T, N) and the `ancestors` of each in the row before, of shape (T, N).
    """

    log_likelihood: Estimate
    means: Array
    variances: Array
    ess: Array
    log_increments: Array
    particles: Array | None = None
    log_weights: Array | None = None
    ancestors: NDArray[np.int32] | None = None
    model: StateSpaceModel | None = field(default=None, repr=False)
    y: Array | None = field(default=None, repr=False)
    root: Any = field(default=None, repr=False)

    def quantiles(self, levels: ArrayLike) -> Array:
        """Quantiles of x_t given y_0 ... y_t, of each component.

        Parameters
        ----------
        levels : array_like, shape (q,)
            Between 0 and 1.

        Returns
        -------
        ndarray, shape (q, T) or (q, T, d)

        Raises
        ------
        ValueError
            The particles were not stored, or a level is out of range.
        """
        x, log_w = _stored(self, "quantiles")
        levels = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        if not ((levels >= 0) & (levels <= 1)).all():
            raise ValueError(f"levels: got {levels}; expected numbers between 0 and 1")
        cube = x.reshape(*x.shape[:2], -1)
        found = np.empty((len(levels), cube.shape[0], cube.shape[2]))
        for t in range(len(cube)):
            for j in range(cube.shape[2]):
                order = np.argsort(cube[t, :, j])
                cumulative = np.cumsum(np.exp(log_w[t, order]))
                at = np.searchsorted(cumulative, levels * cumulative[-1])
                found[:, t, j] = cube[t, order[np.minimum(at, len(order) - 1)], j]
        return found[..., 0] if x.ndim == 2 else found


def _stored(result: FilterResult, what: str) -> tuple[Array, Array]:
    if result.particles is None or result.log_weights is None:
        raise ValueError(f"{what}: the particles were not stored; expected store=True")
    return result.particles, result.log_weights


def check_common(
    model: Any, y: ArrayLike, n_particles: Any, theta: Any, ess_threshold: Any,
    proposal: Any = None,
) -> tuple[StateSpaceModel, Array, bool, int]:  # fmt: skip
    """The model with its parameters, y of shape (T, p), whether y is a vector, and N."""
    if not isinstance(model, StateSpaceModel):
        raise TypeError(f"model: got {type(model).__name__}; expected a StateSpaceModel")
    model = model if theta is None else model.with_theta(theta)
    if not 0 <= ess_threshold <= 1:
        raise ValueError(f"ess_threshold: got {ess_threshold}; expected a number from 0 to 1")
    if proposal is not None and not isinstance(proposal, Proposal):
        raise TypeError(f"proposal: got {type(proposal).__name__}; expected a Proposal")
    n = count("n_particles", n_particles, 2)
    rows, vector = observations(y), np.ndim(y) == 2
    if len(rows) > 1:
        check_series(model, rows)
    check_functions(model, rows, vector, proposal)
    return model, rows, vector, n


def particle_filter(
    model: StateSpaceModel,
    y: ArrayLike,
    n_particles: int,
    *,
    theta: ArrayLike | None = None,
    resampling: str = "systematic",
    ess_threshold: float = 0.5,
    proposal: Proposal | None = None,
    repeats: int = 1,
    store: bool = False,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
) -> FilterResult:
    """Filter observations, and estimate their likelihood.

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p)
        Observations; a row of NaNs is missing.
    n_particles : int, at least 2
    theta : array_like, shape (k,), optional
        Parameters other than the model's own.
    resampling : {"systematic", "stratified", "residual", "multinomial"}
    ess_threshold : float, default 0.5
        Particles are resampled when their effective sample size falls to this share: 1 always, 0
        never.
    proposal : Proposal, optional
        Where particles are drawn from (guided) or what they are resampled by (auxiliary); by
        default the model's own transitions (bootstrap).
    repeats : int, default 1
        Independent filters, whose likelihoods are averaged. With one the standard error comes
        from the genealogy of the particles; it needs many that still have different ancestors at
        time 0, so long series take several repeats.
    store : bool, default False
        Keep all particles of the first filter, for `backward_simulation` and quantiles.
    seed : None, int, SeedSequence or Generator
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where the repeats run.
    progress : bool, optional

    Returns
    -------
    FilterResult

    Raises
    ------
    TypeError, ValueError
        An argument is not as above.
    ModelError
        A function of the model can't be compiled, or returned NaN.
    DegeneracyError
        All weights vanished; the message names the time.

    Warns
    -----
    PrecisionWarning
        The standard error of the log likelihood can't be promised, or an observation left an
        effective sample size below 10: a filter can be confidently wrong after an outlier.

    References
    ----------
    Gordon, Salmond & Smith (1993); Pitt & Shephard (1999); Lee & Whiteley (2018), Variance
    estimation in the particle filter, Biometrika 105; Chan & Lai (2013), Annals of Statistics 41.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(50, seed=1)
    >>> found = particle_filter(model, y, 2_000, seed=1)
    >>> found.means.shape, bool(found.ess.min() > 100)
    ((50,), True)
    """
    began = time.perf_counter()
    model, rows, vector, n = check_common(model, y, n_particles, theta, ess_threshold, proposal)
    choice("resampling", resampling, SCHEMES)
    repeats = count("repeats", repeats)
    root = seed_sequence(seed)
    compiled(model, vector, proposal)
    with open_run(
        partial(
            _one_filter, model, rows, vector, n, resampling, float(ess_threshold), proposal,
            bool(store), describe(root),
        ),
        executor=executor, progress=progress, seed=root, total=repeats, unit="filters",
        description="particle_filter",
    ) as run:  # fmt: skip
        runs = run.map("filters", [(r,) for r in range(repeats)])
    log_z = np.array([entry["increments"].sum() for entry in runs])
    first = runs[0]
    cautions = small_samples(first["ess"])
    if repeats == 1:
        value, error, freedom, diagnostics = _from_genealogy(first, n, resampling, ess_threshold)
        if diagnostics["surviving_ancestors"] < FEW_ANCESTORS:
            cautions.append(
                f"only {diagnostics['surviving_ancestors']} particles of time 0 have descendants "
                "at the end: the standard error of the log likelihood can't be told from one "
                "filter; use repeats=8, or more particles"
            )
    else:
        value, error = log_mean_normal(log_z)
        spread, freedom = float(log_z.std(ddof=1)), float(repeats - 1)
        diagnostics = {"standard_deviation_of_log_likelihood": spread}
        if spread > 1:
            cautions.append(
                f"the log likelihoods of the repeats have standard deviation {spread:.2g}, too "
                "much to trust their normal law; use more particles"
            )
    for text in cautions:
        warnings.warn(f"particle_filter: {text}", PrecisionWarning, stacklevel=2)
    arguments = {
        "model": model, "n_particles": n, "resampling": resampling,
        "ess_threshold": float(ess_threshold), "repeats": repeats,
        "proposal": None if proposal is None else "given",
    }  # fmt: skip
    estimate = Estimate(
        value,
        error**2,
        names="log likelihood",
        method="particle_filter",
        degrees_of_freedom=freedom,
        diagnostics={**diagnostics, "smallest_ess": float(first["ess"].min()),
                     "warnings": cautions},
        cost={"evaluations": n * len(rows) * repeats, "seconds": time.perf_counter() - began},
        provenance=provenance("particle_filter", root, arguments, rows),
    )  # fmt: skip
    shape = (lambda a: a[..., 0]) if model.state_dim is None else (lambda a: a)
    dim = model.dim
    return FilterResult(
        estimate,
        shape(first["moments"][:, :dim]),
        shape(first["moments"][:, dim:]),
        first["ess"],
        first["increments"],
        shape(first["x"]) if store else None,
        first["log_w"] if store else None,
        first["ancestors"] if store else None,
        model,
        rows if vector else rows[:, 0],
        root,
    )


def _one_filter(model, rows, vector, n, scheme, threshold, proposal, store, root, r):
    cloud = Cloud(
        model, compiled(model, vector, proposal), n,
        rng=generator(seed_sequence(root), "filter", r), scheme=scheme, threshold=threshold,
        depth=len(rows) if store and r == 0 else 2, roots=True, moments=True,
    )  # fmt: skip
    moments, ess, increments = cloud.advance(rows)
    found = {"moments": moments, "ess": ess, "increments": increments, "weights": cloud.weights,
             "roots": cloud.roots[0]}  # fmt: skip
    if store and r == 0:
        found |= {"x": cloud.x, "log_w": cloud.log_w, "ancestors": cloud.ancestors}
    return found


def small_samples(ess: Array, first: int = 0) -> list[str]:
    """What to say when an observation left too few particles; `first` is the time of ess[0]."""
    t = int(ess.argmin())
    if ess[t] >= SMALL_SAMPLE:
        return []
    return [
        f"effective sample size {ess[t]:.2g} at time {first + t}: the particles may have missed "
        "where that observation came from; use a proposal, or many more particles"
    ]


def _from_genealogy(
    run: dict[str, Array], n: int, scheme: str, threshold: float
) -> tuple[float, float, float, dict[str, Any]]:
    """Variance of the likelihood from the weights that stem from each particle of time 0."""
    shares = np.bincount(run["roots"], weights=run["weights"], minlength=n)
    survivors = len(np.unique(run["roots"][run["weights"] > 0]))
    squares = float((shares**2).sum())
    if scheme == "multinomial" and threshold == 1:
        relative = 1 - (n / (n - 1)) ** len(run["ess"]) * (1 - squares)
    else:
        relative = (squares - 1 / n) * n / (n - 1)
    relative = max(relative, 0.0)
    # the variance of a logarithm whose exponential has this relative variance
    error = math.sqrt(math.log1p(relative))
    diagnostics = {"surviving_ancestors": survivors}
    return float(run["increments"].sum()), error, float(max(survivors - 1, 1)), diagnostics


def backward_simulation(
    filter_result: FilterResult, n_paths: int, *, method: str = "auto", seed: Any = None
) -> Array:
    """Paths drawn from the smoothing law by going back through a stored filter.

    Parameters
    ----------
    filter_result : FilterResult
        Of `particle_filter` with ``store=True``.
    n_paths : int, at least 1
    method : {"auto", "rejection", "exact"}
        Rejection needs the model's `transition_logpdf_bound`, and has the same law as the exact
        draws, whose cost is N per path and time.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    ndarray, shape (n_paths, T) or (n_paths, T, d)
        Independent given the filter, whose own error they share.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above.
    ModelError
        The bound is exceeded, or sampler and density disagree.

    References
    ----------
    Godsill, Doucet & West (2004), JASA 99; Douc, Garivier, Moulines & Olsson (2011), Annals of
    Applied Probability 21, for rejection.

    Examples
    --------
    >>> from smcweights import models
    >>> model = models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    >>> _, y = model.simulate(20, seed=1)
    >>> stored = particle_filter(model, y, 500, store=True, seed=1)
    >>> backward_simulation(stored, 10, seed=2).shape
    (10, 20)
    """
    from . import kernels

    if not isinstance(filter_result, FilterResult):
        raise TypeError(
            f"filter_result: got {type(filter_result).__name__}; expected a FilterResult"
        )
    x, log_w = _stored(filter_result, "backward_simulation")
    model, y = filter_result.model, filter_result.y
    assert model is not None and y is not None
    n_paths = count("n_paths", n_paths)
    functions = compiled(model, y.ndim == 2)
    choice("method", method, ("auto", "rejection", "exact"))
    if method == "rejection" and not functions.bounded:
        raise ValueError("method: rejection needs a transition_logpdf_bound; expected 'exact'")
    cap = x.shape[1] if functions.bounded and method != "exact" else 0
    cube = np.array(x).reshape(*x.shape[:2], -1)
    chosen = np.zeros((len(cube), n_paths), dtype=np.int32)
    status = np.zeros(4, dtype=np.int64)
    rng = generator(seed_sequence(seed), "backward_simulation")
    kernels.backward_paths(
        functions.pair, functions.bound, functions.reject, rng, model.theta.copy(),
        cap, cube, np.array(log_w), chosen, np.zeros(3, dtype=np.int64), status,
    )  # fmt: skip
    raise_status(status, y.reshape(len(y), -1), cube)
    paths = np.swapaxes(np.take_along_axis(cube, chosen[:, :, None].astype(np.int64), 1), 0, 1)
    return paths[..., 0] if model.state_dim is None else paths
