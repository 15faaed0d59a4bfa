"""Loops over particles that carry a model's functions, and a functional's, to the kernels.

Each is made around functions of one particle and compiled for them. They are written without
numba, which finds what it kept of them on disk by this file and by a digest of their functions.
`float` takes the arrays without dimensions that np.where makes of numbers, see `kernels`.
"""

from __future__ import annotations

import numpy as np

_SLACK = 1e-9  # of a log density beyond its bound, for rounding
_BLOCK = 2048  # backward draws tried together; what is written for them stays in the cache


def scalar_row(a, i):
    """State or observation i, a float."""
    return a[i, 0]


def put_scalar(a, i, value):
    """Write a float into row i."""
    a[i, 0] = float(value)


def put_vector(a, i, value):
    """Write a vector into row i."""
    for j in range(a.shape[1]):
        a[i, j] = value[j]


def taking_inputs(part, function, n, k, before, timed):
    """A function without its argument u, which stands in theta behind the n parameters.

    Behind them are the time of the first row of inputs, and rows of k. So many arguments come
    before u, and the time after it where there is one.
    """

    def row(t, theta):
        return part(theta, n + 1 + (t - np.int64(theta[n])) * k, k)

    def one(a, theta):
        return function(a, row(0, theta), part(theta, 0, n))

    def one_timed(a, t, theta):
        return function(a, row(t, theta), t, part(theta, 0, n))

    def two(a, b, theta):
        return function(a, b, row(0, theta), part(theta, 0, n))

    def none_timed(t, theta):
        return function(row(t, theta), t, part(theta, 0, n))

    def two_timed(a, b, t, theta):
        return function(a, b, row(t, theta), t, part(theta, 0, n))

    def three_timed(a, b, c, t, theta):
        return function(a, b, c, row(t, theta), t, part(theta, 0, n))

    kinds = {(1, False): one, (2, False): two, (0, True): none_timed}
    kinds |= {(1, True): one_timed, (2, True): two_timed}
    return kinds.get((before, timed), three_timed)


def no_density(x_prev, x, t, theta):
    """For models without a density of transitions."""
    return np.nan


def observed(y, row):
    """Whether anything was observed at all."""
    seen = False
    for j in range(y.shape[1]):
        seen = seen or not np.isnan(y[row, j])
    return seen


def bootstrap_start(state, put, observation, observed, initial_sample, observation_logpdf):
    """Particles of time 0 from the model's own law."""

    def start(rng, x, y, row, log_w, skip, theta):
        seen = observed(y, row)
        for i in range(x.shape[0]):
            if i != skip:
                put(x, i, initial_sample(rng, theta))
            if seen:
                sight = observation_logpdf(observation(y, row), state(x, i), np.int64(0), theta)
                log_w[i] += float(sight)
        return 0

    return start


def bootstrap_move(state, put, observation, observed, transition_sample, observation_logpdf):
    """Particles of time t from the model's own transition."""

    def move(rng, x_prev, ancestors, x, y, row, t, log_w, skip, theta):
        seen = observed(y, row)
        for i in range(x.shape[0]):
            if i != skip:
                put(x, i, transition_sample(rng, state(x_prev, ancestors[i]), t, theta))
            if seen:
                log_w[i] += float(observation_logpdf(observation(y, row), state(x, i), t, theta))
        return 0

    return move


def bootstrap_move_in_place(state, put, observation, observed, transition_into, observation_logpdf):
    """For ready models that write the new state where it belongs: no array for each particle."""

    def move(rng, x_prev, ancestors, x, y, row, t, log_w, skip, theta):
        seen = observed(y, row)
        for i in range(x.shape[0]):
            if i != skip:
                transition_into(rng, state(x_prev, ancestors[i]), t, theta, state(x, i))
            if seen:
                log_w[i] += float(observation_logpdf(observation(y, row), state(x, i), t, theta))
        return 0

    return move


def observations_of(state, put, observation_sample):
    """An observation of every state."""

    def see(rng, x, t, theta, y):
        for i in range(x.shape[0]):
            put(y, i, observation_sample(rng, state(x, i), t, theta))
        return 0

    return see


def guided_start(
    state, put, observation, observed, sample, logpdf, initial_logpdf, observation_logpdf
):
    """Particles of time 0 from a proposal, and what that costs in weight."""

    def start(rng, x, y, row, log_w, skip, theta):
        seen = observed(y, row)
        for i in range(x.shape[0]):
            if i != skip:
                put(x, i, sample(rng, observation(y, row), theta))
            new = state(x, i)
            log_w[i] += float(initial_logpdf(new, theta)) - float(
                logpdf(new, observation(y, row), theta)
            )
            if seen:
                log_w[i] += float(observation_logpdf(observation(y, row), new, np.int64(0), theta))
        return 0

    return start


def guided_move(
    state, put, observation, observed, sample, logpdf, transition_logpdf, observation_logpdf
):
    """Particles of time t from a proposal, and what that costs in weight."""

    def move(rng, x_prev, ancestors, x, y, row, t, log_w, skip, theta):
        seen = observed(y, row)
        for i in range(x.shape[0]):
            old = state(x_prev, ancestors[i])
            if i != skip:
                put(x, i, sample(rng, old, observation(y, row), t, theta))
            new = state(x, i)
            log_w[i] += float(transition_logpdf(old, new, t, theta))
            log_w[i] -= float(logpdf(old, new, observation(y, row), t, theta))
            if seen:
                log_w[i] += float(observation_logpdf(observation(y, row), new, t, theta))
        return 0

    return move


def lookahead(state, observation, log_lookahead):
    """Log weights that look one observation ahead."""

    def look(x, y, row, t, theta, out):
        for i in range(x.shape[0]):
            out[i] = float(log_lookahead(state(x, i), observation(y, row), t, theta))
        return 0

    return look


def observation_sight(state, observation, observation_logpdf):
    """The log density of an observation given each of several states."""

    def sight(x, y, row, t, theta, out):
        for i in range(x.shape[0]):
            out[i] = float(observation_logpdf(observation(y, row), state(x, i), t, theta))
        return 0

    return sight


def transition_means(state, put, transition_mean):
    """The mean of the next state of each particle."""

    def mean(x_prev, t, theta, out):
        for i in range(x_prev.shape[0]):
            put(out, i, transition_mean(state(x_prev, i), t, theta))
        return 0

    return mean


def put_one(a, value):
    """Write a variance."""
    a[0, 0] = float(value)


def put_all(a, value):
    """Write a matrix."""
    a[:, :] = value


def common_covariance(put_matrix, transition_covariance):
    """The covariance of the next state."""

    def covariance(t, theta, out):
        put_matrix(out, transition_covariance(t, theta))
        return 0

    return covariance


def transition_pair(state, transition_logpdf):
    """The log density of one transition."""

    def pair(x_prev, prev, x, i, t, theta):
        return float(transition_logpdf(state(x_prev, prev), state(x, i), t, theta))

    return pair


def transition_bound(transition_logpdf_bound):
    """A bound of the log density of transitions."""

    def bound(t, theta):
        return float(transition_logpdf_bound(t, theta))

    return bound


def transition_rejection(state, transition_logpdf):
    """Backward draws by rejection, -1 where all tries failed."""

    def reject(rng, x_prev, x, targets, t, theta, log_bound, cap, table, picks, tally):
        # one try for every open draw of a block, round by round: tries of one draw in a row would
        # each end in a branch that the processor can't foresee
        n, draws = table.shape[0], picks.shape[1]
        found = picks.reshape(-1)
        pending = np.empty((min(_BLOCK, found.size), 2), dtype=np.int32)
        for first in range(0, found.size, _BLOCK):
            left = min(_BLOCK, found.size - first)
            for k in range(left):
                pending[k, 0], pending[k, 1] = first + k, targets[(first + k) // draws]
            for _ in range(cap):
                if left == 0:
                    break
                tally[1] += left
                kept = 0
                for k in range(left):
                    slot, i = pending[k, 0], pending[k, 1]
                    u = rng.random() * n
                    prev = np.int64(u)
                    other = np.int64(table[prev, 1])
                    prev = prev if u - prev < table[prev, 0] else other
                    excess = float(transition_logpdf(state(x_prev, prev), state(x, i), t, theta))
                    excess -= log_bound
                    if not excess <= _SLACK:
                        return -1 - (i * n + prev)
                    found[slot] = prev
                    pending[kept, 0], pending[kept, 1] = slot, i
                    kept += not rng.standard_exponential() > -excess
                left = kept
            for k in range(left):
                found[pending[k, 0]] = -1
        return 0

    return reject


def path_density(
    state, observation, observed, initial_logpdf, transition_logpdf, observation_logpdf
):
    """The joint log density of a path and its observations."""

    def log_density(x, y, theta):
        total = float(initial_logpdf(state(x, 0), theta))
        for t in range(x.shape[0]):
            if t > 0:
                total += float(transition_logpdf(state(x, t - 1), state(x, t), t, theta))
            if observed(y, t):
                total += float(observation_logpdf(observation(y, t), state(x, t), t, theta))
        return total

    return log_density


def plus_scalar(out, k, value):
    """Add a float to row k."""
    out[k, 0] += float(value)


def plus_vector(out, k, values):
    """Add several numbers to row k."""
    for j in range(out.shape[1]):
        out[k, j] += float(values[j])


def add_own(state, plus, functional):
    """Add a functional of the user's."""

    def add(x_prev, prev, x, i, y, row, t, theta, out, k):
        plus(out, k, functional(state(x_prev, prev), state(x, i), t))
        return 0

    return add


def add_own_first(state, plus, functional):
    """Add an initial functional of the user's."""

    def add_first(x, i, y, row, theta, out, k):
        plus(out, k, functional(state(x, i)))
        return 0

    return add_first


def add_components(term):
    """Add a ready functional, a sum for each component."""

    def add(x_prev, prev, x, i, y, row, t, theta, out, k):
        for j in range(x.shape[1]):
            out[k, j] += term(x_prev[prev, j], x[i, j])
        return 0

    return add


def add_by_time(term):
    """Add a ready functional, a sum for each time and component."""

    def add(x_prev, prev, x, i, y, row, t, theta, out, k):
        dim = x.shape[1]
        for j in range(dim):
            out[k, t * dim + j] += term(x_prev[prev, j], x[i, j])
        return 0

    return add


def add_components_first(first):
    """Add the first term of a ready functional."""

    def add_first(x, i, y, row, theta, out, k):
        for j in range(x.shape[1]):
            out[k, j] += first(x[i, j])
        return 0

    return add_first
