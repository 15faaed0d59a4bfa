"""Particles on their way through time: the arrays that the kernels fill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DegeneracyError, ModelError
from .series import Series

if TYPE_CHECKING:
    from .kernels import Told

Array = NDArray[np.float64]
FAMILIES = (
    10.0,
    40.0,
)  # that are few: of the error, and with shorter lags, to see whether it holds


class Cloud:
    """Particles on their way through time: the arrays that the kernels fill.

    Rows of time t are at t % depth. `advance` takes the observations of the times from `t` on.
    Without `backward` there are no functions for what goes back: a filter, and nothing else.
    """

    def __init__(
        self,
        series: Series,
        rng: np.random.Generator,
        *,
        depth: int = 2,
        sums: tuple[Any, ...] | None = None,
        draws: int = 0,
        fewest: int = 0,
        method: int = 0,
        backward_depth: int = 1,
        roots: bool = False,
        moments: bool = False,
        backward: bool = True,
    ) -> None:
        from . import kernels

        n, dim = series.n, series.model.dim
        f = series.functions(backward=backward)
        add_first, add, size = (sums or (f.add_first, f.add, 0))[:3]
        self.loops = (f.start, f.move, f.look, f.pair, f.bound, f.reject, add_first, add)
        self.alone = draws == 0 and not f.lookahead
        self.linearised = f.linearised
        self.rng, self.threshold, self.moments = rng, series.threshold, moments
        self.model, self.packed = series.model, series.model.packed()
        self.options = np.zeros(10, dtype=np.int64)
        self.options[kernels.SCHEME] = kernels.SCHEMES.index(series.scheme)
        self.resample = self._resampler(kernels.RESAMPLE)
        self.options[kernels.DRAWS] = draws
        self.options[kernels.FEWEST] = fewest
        self.options[kernels.METHOD] = method
        self.options[kernels.FROZEN] = -1
        self.options[kernels.LOOKAHEAD] = f.lookahead
        self.particles = kernels.Particles(
            np.zeros((depth, n, dim)),
            np.empty((depth, n)),
            np.zeros((depth, n), dtype=np.int32),
            np.zeros((backward_depth, n), dtype=np.int32),
            np.zeros((2, n, size)),
            np.zeros((2 * len(FAMILIES) + 1, n) if roots else (0, 0), dtype=np.int32),
            np.zeros((len(FAMILIES) if roots else 0, 9)),
            np.zeros(n, dtype=np.int32),
        )
        self.particles.noise[:, kernels.FAMILIES] = FAMILIES if roots else ()
        self.report = kernels.Report(np.zeros(3, dtype=np.int64), np.zeros(4, dtype=np.int64))
        self.t = 0

    @property
    def theta(self) -> Array:
        """The parameters, to be written to; behind them are the inputs, where there are any."""
        return self.packed[: self.model.theta.size]

    @theta.setter
    def theta(self, theta: Array) -> None:
        self.packed[: len(theta)] = theta

    @property
    def guided(self) -> float:
        """Share of the times so far that had linearised proposals."""
        return float(self.report.tally[0]) / max(self.t, 1)

    def told(self, y: Array, path: Array | None = None) -> Told:
        """What a kernel is told of a run."""
        from . import kernels

        held = np.empty((0, self.particles.x.shape[2])) if path is None else path
        return kernels.Told(y, self.packed, self.options, self.threshold, held)

    def _resampler(self, schemes: tuple[Any, ...]) -> Any:
        """The kernel of our scheme."""
        from . import kernels
        from .keeping import quickly_found

        draw = kernels.ready(schemes[self.options[kernels.SCHEME]])
        return quickly_found(draw, kernels.RESAMPLE_SIGNATURE)

    def advance(self, y: Array) -> tuple[Array, Array, Array]:
        """Moments (T, 2d), effective sample sizes (T,) and log likelihood increments (T,)."""
        from . import kernels

        n_steps, dim = len(y), self.particles.x.shape[2]
        moments = np.empty((n_steps, 2 * dim) if self.moments else (0, 0))
        record = kernels.Record(moments, np.full(n_steps, np.nan), np.empty(n_steps))
        self.options[kernels.FIRST] = self.options[kernels.OFFSET] = self.t
        self.options[kernels.END] = self.t + n_steps
        run = (self.resample, self.rng, self.told(y), self.particles, record)
        if self.linearised:
            told = (*self.loops[:2], *self.linearised, *run)
            kernels.ready(kernels.filter_linearised)(*told, self.report)
        else:
            self._run(run)
        status = self.report.status
        if status[0]:
            padded = np.concatenate([np.full((self.t, y.shape[1]), np.nan), y])
            before = np.concatenate([np.full(self.t, np.nan), record.ess])
            if 0 < self.t == status[1]:
                before[self.t - 1] = 1 / (self.weights**2).sum()
            raise_status(status, padded, self.particles.x, before)
        self.t += n_steps
        return moments, record.ess, record.increments

    def _run(self, run: tuple[Any, ...]) -> None:
        """The smallest kernel that does it: what the others can do takes long to compile."""
        from . import kernels

        if self.alone:
            kernels.ready(kernels.filter_forward)(*self.loops[:2], *run, self.report.status)
        else:
            kernels.ready(kernels.advance)(*self.loops, *run, self.report)

    def conditional(self, y: Array, path: Array | None) -> Array:
        """Effective sample sizes (T,) of one filter of all times, which may follow a path (T, d).

        All times are kept, for `draw_paths`.
        """
        from . import kernels

        record = kernels.Record(np.empty((0, 0)), np.empty(len(y)), np.empty(len(y)))
        self.options[kernels.FROZEN] = -1 if path is None else 0
        self.options[kernels.FIRST], self.options[kernels.END] = 0, len(y)
        around = path is not None and self.alone
        draw = self._resampler(kernels.AROUND) if around else self.resample
        self._run((draw, self.rng, self.told(y, path), self.particles, record))
        self.check(y)
        return record.ess

    def check(self, y: Array) -> None:
        """Whether the last run along observations y (T, p), that of a path it may be, was fine."""
        from . import kernels

        status, model = self.report.status, self.model
        if status[0] == kernels.PATH_IMPOSSIBLE and not np.array_equal(self.theta, model.theta):
            names = model.theta_names or [f"theta[{k}]" for k in range(len(self.theta))]
            shown = ", ".join(f"{n} = {v:.6g}" for n, v in zip(names, self.theta, strict=True))
            raise ModelError(
                f"theta: with {shown} the path of a chain has become impossible at time "
                f"{status[1]}; parameters that move the support of a density can't be learned "
                "along paths: use particle_marginal_metropolis_hastings"
            )
        raise_status(status, y, self.particles.x)

    def draw_ancestors(self, y: Array, draws: int, method: int) -> NDArray[np.int32]:
        """Backward draws (N, draws) of the last time, as PaRIS makes them; y (T, p) for errors."""
        from . import kernels

        now, before, p = (self.t - 1) % 2, self.t % 2, self.particles
        step = kernels.Step(
            p.x[before], p.log_w[before], p.x[now], p.ancestors[now], self.t - 1, self.packed
        )
        picks = np.empty((p.x.shape[1], draws), dtype=np.int32)
        kernels.ready(kernels.backward_draws)(
            *self.loops[3:6], self.rng, method, len(picks), step, picks, self.report
        )
        raise_status(self.report.status, y, p.x)
        return picks

    def draw_paths(self, y: Array, n_paths: int, method: int) -> NDArray[np.int32]:
        """Indices (T, n_paths) of paths drawn back through a cloud that kept all times."""
        from . import kernels

        chosen = np.empty((len(y), n_paths), dtype=np.int32)
        kernels.ready(kernels.backward_paths)(
            *self.loops[3:6], self.rng, method, self.packed, self.particles, chosen, self.report
        )
        raise_status(self.report.status, y, self.particles.x)
        return chosen

    @contextmanager
    def kept_on_error(self, n_steps: int) -> Iterator[None]:
        """What an error leaves as it was: the particles, their generator, everything."""
        p = self.particles
        # one step writes into the rows of its own time, but for the roots
        arrays = [p.roots, p.noise, p.carried, *self.report]
        if n_steps > 1:
            arrays += [p.x, p.log_w, p.ancestors, p.backward, p.tau]
        kept = [array.copy() for array in arrays]
        t, state = self.t, self.rng.bit_generator.state
        try:
            yield
        except BaseException:
            for array, before in zip(arrays, kept, strict=True):
                array[...] = before
            self.t, self.rng.bit_generator.state = t, state
            raise

    def noise(self) -> Array:
        """Of log Z so far, (families, 3): its variance, that number's spread, the lag of blocks."""
        from . import kernels

        p, weights, scheme = self.particles, self.weights, self.options[kernels.SCHEME]
        found = np.empty((len(p.noise), 3))
        for k, line in enumerate(p.noise):
            squares = float((np.bincount(p.roots[2 * k], weights) ** 2).sum())
            last = kernels.noise_of(squares, weights.size, line[kernels.OLDER_DRAWN], scheme)
            lag = line[kernels.LAGS] / line[kernels.BLOCKS] if line[kernels.BLOCKS] else self.t
            spread = line[kernels.SQUARES] + squares * last**2
            found[k] = line[kernels.NOISE] + last, spread, lag
        return found

    @property
    def weights(self) -> Array:
        """Normalised weights of the last time."""
        return np.exp(self.particles.log_w[(self.t - 1) % len(self.particles.log_w)])

    def heaviest(self) -> tuple[Array, Array]:
        """State (d,) of the particle that weighs most, and before it that of its ancestor."""
        x, log_w, ancestors = self.particles[:3]
        now, before = (self.t - 1) % len(x), (self.t - 2) % len(x)
        i = int(log_w[now].argmax())
        return x[before, ancestors[now, i]].copy(), x[now, i].copy()

    @property
    def sums(self) -> Array:
        """Estimated smoothed sums at the last time, shape (J,)."""
        return self.weights @ self.particles.tau[(self.t - 1) % 2]


def raise_status(status: NDArray[np.int64], y: Array, x: Array, ess: Array | None = None) -> None:
    """Turn what a kernel found into an error that says where."""
    from . import kernels

    code, t, i, partner = (int(entry) for entry in status[:4])
    if code == kernels.FINE:
        return
    seen = y[t] if 0 <= t < len(y) else y[0]
    shown = seen[0] if seen.size == 1 else seen
    if code == kernels.ALL_ZERO:
        before = (
            "" if ess is None or t == 0 else f"; effective sample size before: {ess[t - 1]:.3g}"
        )
        raise DegeneracyError(
            f"time {t}: all particles have weight zero for y = {shown}{before}; expected at least "
            "one particle that can produce it (more particles, or a proposal)"
        )
    if code == kernels.NOT_A_NUMBER:
        state = "" if i < 0 else f" for state {x[t % len(x), i]}"
        raise ModelError(
            f"observation_logpdf (or a proposal's density): NaN or +inf at time {t} for y = "
            f"{shown}{state}; expected a number or -inf"
        )
    if code == kernels.NOT_A_STATE:
        sampler = "transition_sample" if t > 0 else "initial_sample"
        raise ModelError(
            f"{sampler} (or a proposal's): returned {x[t % len(x), i]} at time {t}; expected "
            "finite numbers"
        )
    if code == kernels.BOUND_TOO_LOW:
        raise ModelError(
            f"transition_logpdf_bound: exceeded by transition_logpdf at time {t} from state "
            f"{x[(t - 1) % len(x), partner]} to {x[t % len(x), i]}; expected an upper bound"
        )
    if code == kernels.NO_ANCESTOR:
        raise ModelError(
            f"transition_logpdf: NaN, or -inf from every particle, at time {t} to state "
            f"{x[t % len(x), i]}; its sampler produced this state: sampler and density disagree"
        )
    raise ValueError(
        f"initial_path: impossible at time {t} (its weight is zero); expected a path that the "
        "model can produce"
    )
