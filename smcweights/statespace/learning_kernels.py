"""Compiled loops of `learning`: backward draws that the kernels of the room keep to themselves."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types

from .kernels import (
    BOUND_SIGNATURE,
    BOUND_TOO_LOW,
    FINE,
    HYBRID,
    MCMC,
    NO_ANCESTOR,
    PAIR_SIGNATURE,
)

_f, _i, _j = types.float64, types.int64, types.int32
_vector, _matrix, _cube = _f[::1], _f[:, ::1], _f[:, :, ::1]
_whole, _index, _indices = _i[::1], _j[::1], _j[:, ::1]
_pair, _bound = types.FunctionType(PAIR_SIGNATURE), types.FunctionType(BOUND_SIGNATURE)
_SLACK = 1e-9  # of a log density beyond its bound, for rounding


@njit(cache=True, nogil=True)
def find(cumulative, u):
    """First index whose cumulative weight exceeds u, the last one at most."""
    low, high = 0, cumulative.size - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > u:
            high = middle
        else:
            low = middle + 1
    return low


@njit(cache=True, nogil=True)
def accumulate(log_w, cumulative):
    """Cumulative sums of normalised weights."""
    total = 0.0
    for i in range(log_w.size):
        total += math.exp(log_w[i])
        cumulative[i] = total


@njit(
    _i(_pair, types.npy_rng, _vector, _cube, _matrix, _indices, _indices, _whole),
    cache=True,
    nogil=True,
)
def metropolis_paths(pair, rng, theta, x, log_w, ancestors, chosen, status):
    """Indices of paths through a stored filter, chosen[t, path], without a bound on the density.

    Each index starts at the real ancestor and takes one independent Metropolis step.
    """
    n_steps, n = log_w.shape
    cumulative = np.empty(n)
    accumulate(log_w[n_steps - 1], cumulative)
    for k in range(chosen.shape[1]):
        chosen[n_steps - 1, k] = find(cumulative, rng.random() * cumulative[n - 1])
    for t in range(n_steps - 1, 0, -1):
        accumulate(log_w[t - 1], cumulative)
        for k in range(chosen.shape[1]):
            i = np.int64(chosen[t, k])
            current = np.int64(ancestors[t, i])
            prev = find(cumulative, rng.random() * cumulative[n - 1])
            held = pair(x[t - 1], current, x[t], i, t, theta)
            value = pair(x[t - 1], prev, x[t], i, t, theta)
            if math.isnan(value) or not held > -np.inf:
                status[0], status[1], status[2], status[3] = NO_ANCESTOR, t, i, prev
                return NO_ANCESTOR
            chosen[t - 1, k] = prev if rng.standard_exponential() > held - value else current
    return FINE


@njit(
    _i(
        _pair, _bound, types.npy_rng, _vector, _i, _i, _matrix, _vector, _matrix, _index, _indices,
        _whole,
    ),
    cache=True,
    nogil=True,
)  # fmt: skip
def backward_draws(
    pair, bound, rng, theta, method, t, x_prev, log_w, x, ancestors, picks, status
):  # fmt: skip
    """Backward indices of every particle at time t, picks[i, draw], as PaRIS draws them."""
    n = log_w.size
    cumulative, backward = np.empty(n), np.empty(n)
    accumulate(log_w, cumulative)
    log_bound = bound(t, theta)
    for i in range(x.shape[0]):
        known = False
        current = np.int64(ancestors[i])
        held = pair(x_prev, current, x, i, t, theta) if method == MCMC else 0.0
        for draw in range(picks.shape[1]):
            if method == MCMC:
                prev = find(cumulative, rng.random() * cumulative[n - 1])
                value = pair(x_prev, prev, x, i, t, theta)
                if math.isnan(value) or not held > -np.inf:
                    status[0], status[1], status[2], status[3] = NO_ANCESTOR, t, i, prev
                    return NO_ANCESTOR
                if rng.standard_exponential() > held - value:
                    current, held = prev, value
                picks[i, draw] = current
                continue
            found = -1
            tries = n if method == HYBRID and not known else 0
            for _ in range(tries):
                prev = find(cumulative, rng.random() * cumulative[n - 1])
                excess = pair(x_prev, prev, x, i, t, theta) - log_bound
                if not excess <= _SLACK:
                    status[0], status[1], status[2], status[3] = BOUND_TOO_LOW, t, i, prev
                    return BOUND_TOO_LOW
                if rng.standard_exponential() > -excess:
                    found = prev
                    break
            if found < 0:
                if not known:
                    largest, total = -np.inf, 0.0
                    for prev in range(n):
                        backward[prev] = log_w[prev]
                        if log_w[prev] > -np.inf:
                            backward[prev] += pair(x_prev, prev, x, i, t, theta)
                        if math.isnan(backward[prev]):
                            largest = np.inf
                        largest = max(largest, backward[prev])
                    if not -np.inf < largest < np.inf:
                        status[0], status[1], status[2], status[3] = NO_ANCESTOR, t, i, -1
                        return NO_ANCESTOR
                    for prev in range(n):
                        total += math.exp(backward[prev] - largest)
                        backward[prev] = total
                    known = True
                found = find(backward, rng.random() * backward[n - 1])
            picks[i, draw] = found
    return FINE


__all__ = ["backward_draws", "metropolis_paths"]
