"""`check_model`: do the samplers of a model, its densities and its bound agree?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, instance
from ..errors import ModelError
from ..identity import identity
from ..randomness import generator, seed_sequence
from . import models
from .compilation import compiled
from .model import StateSpaceModel, needed, observations
from .trial import check_functions, tell_of_misses

Array = NDArray[np.float64]
FEW_DRAWS = 2_000  # of functions that are called as plain Python
MOVES = 4_000  # draws from each of five states before a series is smoothed,
LATE = 200  # up to this time
NEEDED = "backward draws are made by"
_MOVES: set[Any] = set()


def check_model(
    model: StateSpaceModel, y: ArrayLike, *, n_draws: int = 20_000, seed: Any = None
) -> None:
    """Check that a model compiles, and that its samplers and densities agree.

    Draws of a sampler are compared with the integrals of its density, estimated by importance
    sampling from a normal law around the draws: over a box that holds most of them (is the density
    normalised?), and over its lower half and its middle half in every component (does it have the
    draws' location and spread?). States and observations on a lattice: shares of the values drawn
    are compared with their probabilities. So are tried

    - `transition_logpdf`, from five simulated states at times spread over those of y;
    - `initial_logpdf`;
    - `observation_logpdf` where the model has `observation_sample`, at three of the states.

    The bound is compared with the density at the draws. A value that has a probability from one
    state and a density from another is refused: smoothers compare the two.

    Parameters
    ----------
    model : StateSpaceModel
    y : array_like, shape (T,) or (T, p)
        Observations, for their shape and number.
    n_draws : int
        Draws from each of the states, at least 100; of the initial law and of observations 2,000
        at most.
    seed : None, int, SeedSequence or Generator

    Raises
    ------
    ModelError
        A function does not compile or raises, or sampler and density disagree by more than six
        standard errors: a false alarm in fewer than one of 100,000 checks.

    Warns
    -----
    PrecisionWarning
        `observation_logpdf` gives a number for a row of NaNs, which weighs nothing.

    Notes
    -----
    Errors of some 5 % of the standard deviation, or of the integral, are seen with 20,000 draws.
    Of laws with atoms and a continuous part, and in the outer 2 % of the draws, densities are not
    compared. Smoothers check transitions so by themselves, with 4,000 draws.

    Examples
    --------
    >>> from smcweights import models
    >>> check_model(models.linear_gaussian(0.9, 1.0, 1.0, 1.0), [0.1, -0.2], seed=1)
    """
    instance("model", model, StateSpaceModel)
    rows, vector = observations(y), np.ndim(y) == 2
    model.check_inputs(len(rows))
    model = model.reaching(2)
    rng = generator(seed_sequence(seed), "check_model")
    n_draws = count("n_draws", n_draws, 100)
    check_functions(model, rows, vector)
    tell_of_misses(model, rows, vector)
    few, theta = min(n_draws, FEW_DRAWS), model.theta.copy()
    samplers = _Samplers(model, rows, vector, rng)
    if model.initial_logpdf is not None:
        logpdf = _plain(model.plain("initial_logpdf"))
        _agree(
            "initial_sample and initial_logpdf",
            samplers.first(few),
            samplers.first(few),
            rng,
            lambda x: np.array([logpdf(samplers.state(a), theta) for a in x]),
        )
    visited = _check_transitions(samplers, len(rows) - 1, n_draws)
    if model.observation_sample is None:
        return
    sample, logpdf = model.plain("observation_sample"), _plain(model.plain("observation_logpdf"))
    for t, x in (visited[0], visited[-2], visited[-1]):
        at = samplers.state(x)
        both = np.array([sample(rng, at, t, theta) for _ in range(2 * few)], dtype=np.float64)
        both = both.reshape(2, few, -1)
        if both.shape[2] != rows.shape[1]:
            raise ModelError(
                f"observation_sample: returned {both.shape[2]} numbers; expected {rows.shape[1]}, "
                "as y has"
            )
        _agree(
            f"observation_sample and observation_logpdf at state {x}, time {t}",
            both[0],
            both[1],
            rng,
            lambda seen, t=t, at=at: np.array(
                [logpdf(row if vector else float(row[0]), at, t, theta) for row in seen]
            ),
        )


def check_moves(model: StateSpaceModel, rows: Array, vector: bool) -> None:
    """Check that what is smoothed moves by its density, once for each model and its parameters.

    Backward draws and the weights of a proposal trust `transition_logpdf` blindly: one that belongs
    to another sampler, or that mixes probabilities with densities, gives precise wrong answers.

    Raises
    ------
    ValueError
        The model has no `transition_logpdf`.
    ModelError
        It is not that of the draws, see `check_model`.
    """
    needed(model, ("transition_logpdf",), NEEDED)
    samplers = (model.initial_sample, model.transition_sample, model.in_place)
    parts = (*samplers, model.transition_logpdf, model.transition_logpdf_bound)
    if all(f is None or f.__module__ == models.__name__ for f in parts):
        # ready models, of which the tests of the package say more
        return
    last = min(max(len(rows) - 1, 1), LATE)
    model = model.reaching(last + 1)
    key = (identity(*parts, model.inputs), model.theta.tobytes(), last)
    if key not in _MOVES:
        unseen = np.full((1, rows.shape[1]), np.nan)
        _check_transitions(_Samplers(model, unseen, vector, np.random.default_rng(0)), last, MOVES)
        _MOVES.add(key)


class _Samplers:
    """Draws by a model's own compiled samplers."""

    def __init__(
        self, model: StateSpaceModel, rows: Array, vector: bool, rng: np.random.Generator
    ) -> None:
        self.model, self.rows, self.rng, self.theta = model, rows, rng, model.packed()
        self.functions = compiled(model, vector, backward=model.transition_logpdf is not None)

    def first(self, n: int) -> Array:
        """States of time 0."""
        x = np.empty((n, self.model.dim))
        self.functions.start(self.rng, x, self.rows, 0, np.zeros(n), -1, self.theta)
        return x

    def moved(self, origin: Array, ancestors: NDArray[np.int32], t: int) -> Array:
        """States of time t from those of t - 1."""
        x = np.empty((len(ancestors), self.model.dim))
        told = (self.rows, min(t, len(self.rows) - 1), t, np.zeros(len(x)), -1, self.theta)
        self.functions.move(self.rng, origin, ancestors, x, *told)
        return x

    def density(self, origin: Array, x: Array, t: int) -> Array:
        """Log densities of states given the one before."""
        from . import kernels

        found = np.empty(len(x))
        x, pair = np.ascontiguousarray(x), self.functions.pair
        kernels.ready(kernels.densities_from)(pair, origin, x, t, self.theta, found)
        return found

    def state(self, x: Array) -> Any:
        """A row as functions of the model take it."""
        return float(x[0]) if self.model.state_dim is None else x.copy()


def _check_transitions(samplers: _Samplers, last: int, n_draws: int) -> list[tuple[int, Array]]:
    """Compare transitions from five independent states, up to the last time; states visited."""
    model, functions = samplers.model, samplers.functions
    times = np.unique(np.linspace(1, max(last, 1), 5).astype(int))
    x, everyone, now = samplers.first(5), np.arange(5, dtype=np.int32), 0
    visited = [(0, x[0].copy())]
    clouds: list[tuple[int, Array, Array]] = []
    nobody = np.zeros(n_draws, dtype=np.int32)
    for t in (int(t) for t in np.repeat(times, -(-5 // len(times)))[:5]):
        while now < t - 1:
            now += 1
            x = samplers.moved(x, everyone, now)
        k = len(visited) - 1
        if not np.isfinite(x[k]).all():
            raise ModelError(f"transition_sample: returned {x[k]} at time {now}")
        origin = np.ascontiguousarray(x[k][None])
        draws, others = (samplers.moved(origin, nobody, t) for _ in range(2))
        visited.append((t, others[0]))
        if model.transition_logpdf is None:
            continue
        log_p = _agree(
            f"transition_sample and transition_logpdf from state {origin[0]} at time {t}",
            draws,
            others,
            samplers.rng,
            lambda to, origin=origin, t=t: samplers.density(origin, to, t),
        )
        if functions.bounded and log_p.max() > functions.bound(t, samplers.theta) + 1e-9:
            raise ModelError(
                f"transition_logpdf_bound: {functions.bound(t, samplers.theta)} at time {t}, but "
                f"the density reaches {log_p.max()}; expected an upper bound"
            )
        clouds.append((t, origin, draws))
    _refuse_moving_atoms(samplers, clouds)
    return visited


def _refuse_moving_atoms(samplers: _Samplers, clouds: list[tuple[int, Array, Array]]) -> None:
    """No value may have a probability from one state and a density from another.

    Densities of a state are comparable over the states before under one dominating measure only.
    A value that many draws from a state equal is an atom there. From another state whose draws
    never equal it, either its density is that of an atom too rare to be drawn, or no density may
    stand there: a probability of 20/n would have been drawn but for a chance of exp(-20).
    """
    for _, origin, draws in clouds:
        n = len(draws)
        values, counts = np.unique(draws, axis=0, return_counts=True)
        often = counts >= max(n / 100, 20)
        for value, share in zip(values[often], counts[often] / n, strict=True):
            for t, other, theirs in clouds:
                if (theirs == value).all(axis=1).any():
                    continue
                log_p = float(samplers.density(other, value[None], t)[0])
                if log_p > -math.inf and (
                    math.log(n) + log_p >= math.log(20) or _has_density_around(theirs, value)
                ):
                    raise ModelError(
                        f"transition_logpdf: value {value} has probability {share:.2g} from state "
                        f"{origin[0]}, but a density, {math.exp(log_p):.3g}, from state {other[0]} "
                        "whose draws never equal it; carry the jump as a component of the state "
                        "(see StateSpaceModel), so that smoothers don't compare the two"
                    )


def _has_density_around(draws: Array, value: Array) -> bool:
    """Whether draws are spread without a lattice around a value."""
    _, counts = np.unique(draws, axis=0, return_counts=True)
    inside = ((draws.min(axis=0) <= value) & (value <= draws.max(axis=0))).all()
    alone = (counts == 1).sum() >= len(draws) / 100
    return bool(inside and alone and not all(_on_lattice(column) for column in draws.T))


def _on_lattice(column: Array) -> bool:
    """Whether all differences are multiples of the smallest."""
    gaps = np.diff(np.unique(column))
    steps = gaps / gaps.min(initial=math.inf)
    return bool((np.abs(steps - np.round(steps)) < 1e-6).all())


def _plain(function: Any) -> Callable[..., float]:
    """A density as plain Python, NaN where Python's math refuses."""

    def value(*arguments: Any) -> float:
        try:
            return float(function(*arguments))
        except (ArithmeticError, ValueError):
            return math.nan

    return value


def _agree(
    what: str, pilot: Array, x: Array, rng: np.random.Generator, log_density: Callable[..., Array]
) -> Array:
    """Compare draws with their density; log densities at the draws `x`.

    `pilot` tells where to look, so that `x` is independent of the regions.
    """
    n, d = x.shape
    with np.errstate(all="ignore"):
        log_p = log_density(x)
    if not (np.isfinite(x).all() and np.isfinite(log_p).all()):
        bad = int(np.argmin(np.isfinite(x).all(axis=1) & np.isfinite(log_p)))
        raise ModelError(f"{what} disagree: log density {log_p[bad]} at {x[bad]}, which was drawn")
    values, counts = np.unique(pilot, axis=0, return_counts=True)
    if len(values) <= n // 10:
        seen = values[counts >= 10]
        with np.errstate(all="ignore"):
            probabilities = np.exp(log_density(seen))
        for value, p in zip(seen, probabilities, strict=True):
            share = (x == value).all(axis=1).mean()
            # at least the error of an event seen ten times
            error = math.sqrt(max(share * (1 - share), p * (1 - min(p, 1.0)), 10 / n) / n)
            _judge(what, f"at {value}", share, p, error)
        return log_p
    # a component that moves by rule, such as an older state that is carried along, has no density
    free = np.flatnonzero(np.ptp(pilot, axis=0) > 0)
    tail = min(0.02, 0.2 / d)
    low, quarter, middle, three, high = np.quantile(
        pilot, [tail, 0.25, 0.5, 0.75, 1 - tail], axis=0
    )
    clipped = np.clip(pilot, low, high)
    centre, scale = clipped.mean(axis=0), clipped.std(axis=0)[free]
    correlation = np.corrcoef(clipped[:, free].T).reshape(free.size, free.size)
    if len(values) < 0.99 * n or not np.linalg.eigvalsh(correlation)[0] > 1e-8:
        return log_p
    # somewhat wider than the draws
    root = 1.1 * scale[:, None] * np.linalg.cholesky(correlation)

    def inside(a: Array) -> Array:
        return ((a >= low) & (a <= high)).all(axis=1)

    def log_normal(a: Array) -> Array:
        z = np.linalg.solve(root, (a - centre)[:, free].T)
        size = np.log(np.diag(root)).sum() + 0.5 * free.size * math.log(2 * math.pi)
        return -0.5 * (z * z).sum(axis=0) - size

    probe = np.tile(pilot[0], (n, 1))
    probe[:, free] = centre[free] + rng.standard_normal((n, free.size)) @ root.T
    probe = probe[inside(probe)]
    with np.errstate(all="ignore"):
        # outside of its support a density may be anything that is no number
        ratio = np.nan_to_num(np.exp(log_density(probe) - log_normal(probe)), nan=0.0)
        # the same second moment from the draws: they see what is too narrow for the probes
        excess = np.clip(log_p - log_normal(x), -700.0, 700.0)
        weight, inverse = np.exp(excess), np.exp(-excess)
    kept = inside(x)
    # draws of a normalised density have E[q(X)/p(X)] <= 1: a billion has a chance of 1e-9
    if (inverse * kept).mean() > 1e9:
        raise ModelError(f"{what} disagree: the density is all but zero where draws are")
    regions: list[tuple[str, Any]] = [("the box that holds most", lambda a: np.full(len(a), True))]
    for j in free:
        part = "" if d == 1 else f" of component {j}"
        regions.append((f"the lower half{part}", lambda a, j=j: a[:, j] < middle[j]))
        regions.append(
            (
                f"the middle half{part}",
                lambda a, j=j: (a[:, j] > quarter[j]) & (a[:, j] < three[j]),
            )
        )
    for name, region in regions:
        hit, mine = kept & region(x), ratio * region(probe)
        share, integral = hit.mean(), mine.sum() / n
        moment = max((mine**2).sum() / n - integral**2, (weight * hit).mean() - share**2, 0.0)
        _judge(what, f"in {name}", share, integral, math.sqrt((share * (1 - share) + moment) / n))
    return log_p


def _judge(what: str, where: str, share: float, integral: float, error: float) -> None:
    if not abs(integral - share) <= 6 * error:
        raise ModelError(
            f"{what} disagree: a share of {share:.4g} of the draws is {where}, the density gives "
            f"{integral:.4g} (+- {error:.2g}); expected the same, and a normalised density"
        )
