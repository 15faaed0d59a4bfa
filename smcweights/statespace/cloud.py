"""Particles on their way through time: the arrays that the kernels fill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .model import raise_status, scheme_code
from .series import Series

__all__ = ["Cloud"]

Array = NDArray[np.float64]


class Cloud:
    """Particles on their way through time: the arrays that the kernels fill.

    Rows of time t are at t % depth. `advance` takes the observations of the times from `t` on.
    """

    def __init__(
        self,
        series: Series,
        rng: np.random.Generator,
        *,
        depth: int = 2,
        sums: tuple[Any, Any, int] | None = None,
        draws: int = 0,
        method: int = 0,
        backward_depth: int = 1,
        roots: bool = False,
        moments: bool = False,
        backward: bool = True,
    ) -> None:
        from . import kernels

        n, dim = series.n, series.model.dim
        f = series.functions(rejection=backward)
        add_first, add, size = sums or (kernels.add_nothing_first, kernels.add_nothing, 0)
        self.loops = (f.start, f.move, f.look, f.pair, f.bound, f.reject, add_first, add)
        self.rng, self.threshold = rng, series.threshold
        self.theta = series.model.theta.copy()
        self.options = np.zeros(10, dtype=np.int64)
        self.options[kernels.SCHEME] = scheme_code(series.scheme)
        self.options[kernels.DRAWS] = draws
        self.options[kernels.METHOD] = method
        self.options[kernels.CAP] = n
        self.options[kernels.FROZEN] = -1
        self.options[kernels.LOOKAHEAD] = f.lookahead
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
            if 0 < self.t == self.status[1]:
                before[self.t - 1] = 1 / (self.weights**2).sum()
            raise_status(self.status, padded, self.x, before)
        self.t += n_steps
        return moments, ess, increments

    @contextmanager
    def kept_on_error(self, n_steps: int) -> Iterator[None]:
        """What an error leaves as it was: the particles, their generator, everything."""
        # one step writes into the rows of its own time, but for the roots
        names = ["roots", "tally", "status"]
        if n_steps > 1:
            names += ["x", "log_w", "ancestors", "backward", "tau"]
        kept = {name: getattr(self, name).copy() for name in names}
        t, state = self.t, self.rng.bit_generator.state
        try:
            yield
        except BaseException:
            for name, array in kept.items():
                getattr(self, name)[...] = array
            self.t, self.rng.bit_generator.state = t, state
            raise

    @property
    def weights(self) -> Array:
        """Normalised weights of the last time."""
        return np.exp(self.log_w[(self.t - 1) % len(self.log_w)])

    @property
    def sums(self) -> Array:
        """Estimated smoothed sums at the last time, shape (J,)."""
        return self.weights @ self.tau[(self.t - 1) % 2]
