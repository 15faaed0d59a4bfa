"""Compiled loops of the room: arrays and functions in, arrays out, nothing checked.

A model reaches them as functions of one shape each (`START` ... `ADD`), passed with explicit
types, so that the loops are compiled once for all models, when first used, and found in numba's
cache by the next process. Particles at time t stand in row ``t % depth`` of their arrays: depth 2
forgets, depth T keeps everything.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic, overload

from .keeping import compiling

_f, _i, _j = types.float64, types.int64, types.int32
_vector, _matrix, _cube = _f[::1], _f[:, ::1], _f[:, :, ::1]
_whole, _index, _indices = _i[::1], _j[::1], _j[:, ::1]
_rng = types.npy_rng

# states, observations, row of y_0, log weights to add to, slot left alone, theta
START_SIGNATURE = _i(_rng, _matrix, _matrix, _i, _vector, _i, _vector)
# previous states, ancestors, states, observations, row of y_t, t, log weights, slot, theta
MOVE_SIGNATURE = _i(_rng, _matrix, _index, _matrix, _matrix, _i, _i, _vector, _i, _vector)
# previous states, observations, row of y_t, t, theta, log lookahead of each
LOOK_SIGNATURE = _i(_matrix, _matrix, _i, _i, _vector, _vector)
# previous states, prev, states, i, t, theta: log density of i given prev
PAIR_SIGNATURE = _f(_matrix, _i, _matrix, _i, _i, _vector)
BOUND_SIGNATURE = _f(_i, _vector)
# previous states, states, their indices, t, theta, log bound, most tries, alias table, the draws
# of each (-1 where the tries ended), tally: 0, or -1 - (i n + prev) where the density is NaN or
# beyond the bound. One call per time: a call per draw would cost more than the draw
REJECT_SIGNATURE = _i(
    _rng, _matrix, _matrix, _index, _i, _vector, _f, _i, _matrix, _indices, _whole
)
# states, observations, row of y_t, t, theta: log density of y_t given each
SIGHT_SIGNATURE = _i(_matrix, _matrix, _i, _i, _vector, _vector)
# previous states, t, theta: mean of the next of each; t, theta: covariance; -1 where not known
MEAN_SIGNATURE = _i(_matrix, _i, _vector, _matrix)
COVARIANCE_SIGNATURE = _i(_i, _vector, _matrix)
# states, i, observations, row, theta, sums to add to, their row
ADD_FIRST_SIGNATURE = _i(_matrix, _i, _matrix, _i, _vector, _matrix, _i)
# previous states, prev, states, i, observations, row, t, theta, sums to add to, their row
ADD_SIGNATURE = _i(_matrix, _i, _matrix, _i, _matrix, _i, _i, _vector, _matrix, _i)
# states, t, theta, observations
SEE_SIGNATURE = _i(_rng, _matrix, _i, _vector, _matrix)
# weights, ancestors: one scheme of resampling, so that no filter waits for the others
RESAMPLE_SIGNATURE = _i(_rng, _vector, _index)

SCHEMES = ("multinomial", "stratified", "systematic", "residual")
MULTINOMIAL, STRATIFIED, SYSTEMATIC, RESIDUAL = range(4)
EXACT, HYBRID, MCMC = range(3)
# what `status[0]` says; `status[1:4]` is the time, the particle and its partner
FINE, NOT_A_NUMBER, ALL_ZERO, BOUND_TOO_LOW, NO_ANCESTOR, PATH_IMPOSSIBLE, NOT_A_STATE = range(7)
# where `options` holds what
FIRST, END, OFFSET, SCHEME, DRAWS, METHOD, FROZEN, LOOKAHEAD, REDRAW, FEWEST = range(10)
BY_BACKWARD, BY_ANCESTORS, BY_SAMPLING = range(3)
# where `noise` holds what
FAMILIES, NOISE, SQUARES, OLDER, YOUNGER, OLDER_DRAWN, YOUNGER_DRAWN, LAGS, BLOCKS = range(9)

# of linearised proposals: Newton's steps at most, the longest and the shortest of them in standard
# deviations of the prediction, the steps of differences, the share of draws from the transition,
# how many particles the pilot takes at most, what it must gain, how many pilots there are where
# effective sizes are too small to be compared, and the weight of those who foresee an observation
# when nobody does
NEWTON_STEPS, LONGEST, CLOSE, STEP, DEFENSIVE = 6, 3.0, 1e-2, 1e-3, 0.1
MOST_PICKS, GAIN, PILOTS, NOISY, NOBODY = 200, 1.5, 6, 10.0, 1e-200


# Groups of arrays; every kernel unpacks them on its first lines: to look into a group within a loop
# takes twice the time. Functions are arguments of their own, by whose types numba's cache finds
# kernels.


class Backward(NamedTuple):
    """How ancestors are drawn: EXACT, HYBRID or MCMC, and by how many tries at most."""

    pair: Any
    bound: Any
    reject: Any
    method: int
    cap: int


class Laws(NamedTuple):
    """What a linearised proposal knows of a model: functions of the signatures of these names."""

    move: Any
    pair: Any
    sight: Any
    mean: Any
    covariance: Any


class Now(NamedTuple):
    """A time: particles before it, their weights, observations, the row of its own, t, theta."""

    x_prev: Any
    weights: Any
    y: Any
    row: Any
    t: Any
    theta: Any


class Guide(NamedTuple):
    """Gaussian proposals: centres (n, d), the Cholesky root (d, d) of their common precision."""

    centres: Any
    root: Any


class Told(NamedTuple):
    """What a run is told: y (T, p), theta, options, the threshold, a path (T, d) to follow."""

    y: Any
    theta: Any
    options: Any
    threshold: float
    path: Any


class Particles(NamedTuple):
    """States (depth, n, d), log weights, ancestors; first backward draws, sums (2, n, J), lineage.

    `carried` (n,) is the particle that each descends from of the time of the last backward draws.

    A lineage follows the noise of the likelihood by blocks of time, for one number of families or
    several: roots (2 each, and one more, n) say which particle of the beginning of the older and
    the younger block each descends from, and `noise` (families, 9) is explained at `follow`.
    """

    x: Any
    log_w: Any
    ancestors: Any
    backward: Any
    tau: Any
    roots: Any
    noise: Any
    carried: Any


class Step(NamedTuple):
    """From t - 1 to t: states and log weights before, states now and their real ancestors."""

    x_prev: Any
    log_w: Any
    x: Any
    ancestors: Any
    t: int
    theta: Any


class Record(NamedTuple):
    """What a filter leaves of each time: means and variances, sample sizes, log increments."""

    moments: Any
    ess: Any
    increments: Any


class Report(NamedTuple):
    """Draws, tries and exact draws so far (`tally`); what went wrong, and where (`status`)."""

    tally: Any
    status: Any


class Sweeps(NamedTuple):
    """What sweeps of a chain leave: smoothed sums, paths, changes by time, sizes, likelihoods."""

    means: Any
    paths: Any
    changes: Any
    ess: Any
    log_z: Any


_functions = tuple(
    types.FunctionType(signature)
    for signature in (
        START_SIGNATURE, MOVE_SIGNATURE, LOOK_SIGNATURE, PAIR_SIGNATURE, BOUND_SIGNATURE,
        REJECT_SIGNATURE, ADD_FIRST_SIGNATURE, ADD_SIGNATURE,
    )
)  # fmt: skip
_linearised = (
    *_functions[:2], _functions[3], types.FunctionType(SIGHT_SIGNATURE),
    types.FunctionType(MEAN_SIGNATURE), types.FunctionType(COVARIANCE_SIGNATURE),
)  # fmt: skip
_resample = types.FunctionType(RESAMPLE_SIGNATURE)
_told = types.NamedTuple((_matrix, _vector, _whole, _f, _matrix), Told)
_particles = types.NamedTuple(
    (_cube, _matrix, _indices, _indices, _cube, _indices, _matrix, _index), Particles
)
_step = types.NamedTuple((_matrix, _vector, _matrix, _index, _i, _vector), Step)
_record = types.NamedTuple((_matrix, _vector, _vector), Record)
_report = types.NamedUniTuple(_whole, 2, Report)
_sweeps = types.NamedTuple((_matrix, _cube, _matrix, _vector, _vector), Sweeps)


_LOCK = threading.Lock()
_declared: dict[Any, Any] = {}


def declared(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """A kernel that is called from Python: see `ready`."""

    def dispatcher(function: Callable[..., Any]) -> Any:
        kernel = njit(cache=True, nogil=True)(function)
        _declared[kernel] = signature
        return kernel

    return dispatcher


def inner(function: Callable[..., Any]) -> Any:
    """A kernel that only kernels call: without what Python calls it by, a sixth of the wait."""
    bare: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return njit(cache=True, nogil=True, **bare)(function)


def ready(kernel: Any) -> Any:
    """A kernel compiled for the types that it was declared with, once for the functions of all
    models; called as it is, it would be compiled for each.
    """
    if kernel in _declared:
        with _LOCK:
            if kernel in _declared:
                with compiling(f"{kernel.__name__}, once for all models"):
                    kernel.compile(_declared[kernel])
                kernel.disable_compile()
                del _declared[kernel]
    return kernel


@overload(float)
def _float_of(value):
    """A float of a bool, and of an array without dimensions: np.where makes them of numbers."""
    if isinstance(value, types.Boolean):
        return lambda value: 1.0 if value else 0.0
    if isinstance(value, types.Array) and value.ndim == 0:
        return lambda value: 1.0 * value[()]
    return None


@intrinsic
def _pointer(context, address):
    """An address as a pointer to floats."""
    kind = types.CPointer(_f)

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(kind))

    return kind(types.intp), generate


def vector_row(a: Any, i: Any) -> Any:
    """Row of a matrix; to count who uses its memory would cost as much as a small model."""
    pointer: Any = _pointer
    return carray(pointer(a.ctypes.data + i * a.shape[1] * a.itemsize), a.shape[1])


def vector_part(a: Any, first: Any, size: Any) -> Any:
    """Part of a vector, as `vector_row`."""
    pointer: Any = _pointer
    return carray(pointer(a.ctypes.data + first * a.itemsize), size)


@declared(LOOK_SIGNATURE)
def no_lookahead(x, y, row, t, theta, out):
    """For filters that look at the present only."""
    return 0


@declared(MEAN_SIGNATURE)
def no_mean(x_prev, t, theta, out):
    """For models that don't declare it."""
    return -1


@declared(COVARIANCE_SIGNATURE)
def no_covariance(t, theta, out):
    """For models that don't declare it."""
    return -1


@declared(BOUND_SIGNATURE)
def no_bound(t, theta):
    """For models that know none."""
    return np.inf


@declared(ADD_FIRST_SIGNATURE)
def add_nothing_first(x, i, y, row, theta, out, k):
    """For functionals without a term at t = 0."""
    return 0


@declared(ADD_SIGNATURE)
def add_nothing(x_prev, prev, x, i, y, row, t, theta, out, k):
    """For runs without a functional."""
    return 0


@declared(REJECT_SIGNATURE)
def no_rejection(rng, x_prev, x, targets, t, theta, log_bound, cap, table, picks, tally):
    """For models without a bound."""
    return 0


@inner
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


@inner
def total_of(a):
    """Sum in four parts, which don't wait for each other."""
    n = a.size - a.size % 4
    s0 = s1 = s2 = s3 = 0.0
    for i in range(0, n, 4):
        s0 += a[i]
        s1 += a[i + 1]
        s2 += a[i + 2]
        s3 += a[i + 3]
    for i in range(n, a.size):
        s0 += a[i]
    return (s0 + s1) + (s2 + s3)


@inner
def draw_sorted(rng, cumulative, out):
    """Sorted independent draws."""
    n = out.size
    if n == 0:
        return
    total = 0.0
    gaps = np.empty(n)
    for k in range(n):
        total += rng.standard_exponential()
        gaps[k] = total
    total += rng.standard_exponential()
    scale = cumulative[-1] / total
    prev, last = 0, cumulative.size - 1
    for k in range(n):
        u = gaps[k] * scale
        while prev < last and cumulative[prev] <= u:
            prev += 1
        out[k] = prev


@declared(RESAMPLE_SIGNATURE)
def resample_multinomial(rng, weights, out):
    """Ancestors of out.size particles, independent, in increasing order."""
    draw_sorted(rng, np.cumsum(weights), out)
    return FINE


@declared(RESAMPLE_SIGNATURE)
def resample_stratified(rng, weights, out):
    """One ancestor from each of out.size strata, in increasing order."""
    n, size = out.size, weights.size
    scale = n / total_of(weights)
    prev, reached = 0, weights[0] * scale
    for k in range(n):
        u = k + rng.random()
        while prev < size - 1 and reached <= u:
            prev += 1
            reached += weights[prev] * scale
        out[k] = prev
    return FINE


@declared(RESAMPLE_SIGNATURE)
def resample_systematic(rng, weights, out):
    """Ancestors at the teeth of one comb, in increasing order."""
    n = out.size
    scale = n / total_of(weights)
    # where the teeth of each begin; the last to begin at a tooth is the one that has it
    u, reached = rng.random(), 0.0
    for k in range(n):
        out[k] = 0
    for prev in range(weights.size):
        share = weights[prev] * scale
        tooth = np.int64(math.ceil(reached - u))
        if share > 0.0 and tooth < n:
            out[tooth] = prev
        reached += share
    for k in range(1, n):
        out[k] = max(out[k], out[k - 1])
    return FINE


@declared(RESAMPLE_SIGNATURE)
def resample_residual(rng, weights, out):
    """As many copies of each as are due to it, the rest independent."""
    n, size = out.size, weights.size
    total = weights.sum()
    rest = np.empty(size)
    first = 0
    for prev in range(size):
        share = n * weights[prev] / total
        copies = min(int(share), n - first)
        rest[prev] = share - int(share)
        for _ in range(copies):
            out[first] = prev
            first += 1
    draw_sorted(rng, np.cumsum(rest), out[first:])
    return FINE


RESAMPLE = (resample_multinomial, resample_stratified, resample_systematic, resample_residual)


@inner
def resample_around(rng, scheme, weights, slot, frozen, out):
    """Ancestors of all slots given that of one: `slot` descends from `frozen`."""
    n = out.size
    cumulative = np.cumsum(weights)
    total = cumulative[-1]
    if scheme == MULTINOMIAL:
        others = np.empty(n - 1, dtype=np.int32)
        draw_sorted(rng, cumulative, others)
        for k in range(n - 1):
            out[k if k < slot else k + 1] = others[k]
        out[slot] = frozen
        return
    below = cumulative[frozen] - weights[frozen]
    start = (below + rng.random() * weights[frozen]) / total
    if scheme == STRATIFIED:
        # the strata turn with the frozen tooth, else its neighbours would know where it stands
        start -= rng.random() / n
    k = 0
    for i in range(n):
        if i == slot:
            out[i] = frozen
            continue
        k += 1
        shift = rng.random() if scheme == STRATIFIED else 0.0
        tooth = start + (k + shift) / n
        out[i] = find(cumulative, (tooth - math.floor(tooth)) * total)


@declared(RESAMPLE_SIGNATURE)
def around_multinomial(rng, weights, out):
    """Ancestors, of which the first is the first: `resample_multinomial` given that."""
    resample_around(rng, MULTINOMIAL, weights, 0, 0, out)
    return FINE


@declared(RESAMPLE_SIGNATURE)
def around_stratified(rng, weights, out):
    """The same of `resample_stratified`."""
    resample_around(rng, STRATIFIED, weights, 0, 0, out)
    return FINE


@declared(RESAMPLE_SIGNATURE)
def around_systematic(rng, weights, out):
    """The same of `resample_systematic`."""
    resample_around(rng, SYSTEMATIC, weights, 0, 0, out)
    return FINE


AROUND = (around_multinomial, around_stratified, around_systematic)


@inner
def fill_alias(weights, table, stack):
    """Alias table: draw prev uniformly, keep it with table[prev, 0], else take table[prev, 1].

    The two stand side by side, so that a draw waits for memory once.
    """
    n = weights.size
    scale = n / weights.sum()
    small, large = 0, n
    for prev in range(n):
        table[prev, 0] = weights[prev] * scale
        table[prev, 1] = prev
        if table[prev, 0] < 1.0:
            stack[small] = prev
            small += 1
        else:
            large -= 1
            stack[large] = prev
    while small > 0 and large < n:
        small -= 1
        prev, donor = stack[small], stack[large]
        table[prev, 1] = donor
        table[donor, 0] -= 1.0 - table[prev, 0]
        if table[donor, 0] < 1.0:
            large += 1
            stack[small] = donor
            small += 1
    for k in range(small):
        table[stack[k], 0] = 1.0
    for k in range(large, n):
        table[stack[k], 0] = 1.0


@inner
def from_alias(rng, table):
    """One index from an alias table."""
    u = rng.random() * table.shape[0]
    prev = np.int64(u)
    return prev if u - prev < table[prev, 0] else np.int64(table[prev, 1])


@inner
def fill_backward(pair, step, i, cumulative):
    """Cumulative backward weights of particle i; False when all of them are zero."""
    x_prev, log_w, x, _, t, theta = step
    n = cumulative.size
    largest = -np.inf
    for prev in range(n):
        value = log_w[prev]
        if value > -np.inf:
            value += pair(x_prev, prev, x, i, t, theta)
        cumulative[prev] = value
        if math.isnan(value):
            return False
        largest = max(largest, value)
    if not -np.inf < largest < np.inf:
        return False
    total = 0.0
    for prev in range(n):
        total += math.exp(cumulative[prev] - largest)
        cumulative[prev] = total
    return True


@inner
def draw_by_rejection(rng, backward, step, targets, picks, report):
    """Backward indices of the targets into `picks`, -1 where an exact draw is left to do."""
    _, bound, reject, _, cap = backward
    x_prev, log_w, x, _, t, theta = step
    tally, status = report
    n = log_w.size
    table, stack = np.empty((n, 2)), np.empty(n, dtype=np.int64)
    fill_alias(np.exp(log_w), table, stack)
    code = reject(rng, x_prev, x, targets, t, theta, bound(t, theta), cap, table, picks, tally)
    if code < 0:
        return fail(status, BOUND_TOO_LOW, t, (-1 - code) // n, (-1 - code) % n)
    return FINE


@inner
def draw_backward(rng, backward, step, picks, report):
    """Backward indices picks[i, draw] of all particles at time t."""
    pair, _, _, method, _ = backward
    x_prev, log_w, x, ancestors, t, theta = step
    tally, status = report
    n, draws = picks.shape
    cumulative, table = np.empty(log_w.size), np.empty((log_w.size, 2))
    tally[0] += n * draws
    if method == MCMC:
        fill_alias(np.exp(log_w), table, np.empty(log_w.size, dtype=np.int64))
        tally[1] += n * draws
        for i in range(n):
            current = np.int64(ancestors[i])
            current_log = pair(x_prev, current, x, i, t, theta)
            for k in range(draws):
                prev = from_alias(rng, table)
                value = pair(x_prev, prev, x, i, t, theta)
                if math.isnan(value) or not current_log > -np.inf:
                    return fail(status, NO_ANCESTOR, t, i, prev)
                if rng.standard_exponential() > current_log - value:
                    current, current_log = prev, value
                picks[i, k] = current
        return FINE
    picks[:, :] = -1
    if method == HYBRID:
        everyone = np.arange(n).astype(np.int32)
        code = draw_by_rejection(rng, backward, step, everyone, picks, report)
        if code != FINE:
            return code
    for i in range(n):
        known = False
        for k in range(draws):
            if picks[i, k] < 0:
                if not known:
                    known = fill_backward(pair, step, i, cumulative)
                    if not known:
                        return fail(status, NO_ANCESTOR, t, i, -1)
                tally[2] += 1
                picks[i, k] = find(cumulative, rng.random() * cumulative[-1])
    return FINE


@njit(inline="always")
def carry_sums(add, step, picks, y, row, old, new):
    """Smoothed sums of the particles at time t from those of the ancestors drawn for them."""
    x_prev, _, x, _, t, theta = step
    n, draws = picks.shape
    for i in range(n):
        for j in range(new.shape[1]):
            new[i, j] = 0.0
        for k in range(draws):
            prev = np.int64(picks[i, k])
            for j in range(new.shape[1]):
                new[i, j] += old[prev, j]
            add(x_prev, prev, x, i, y, row, t, theta, new, i)
        for j in range(new.shape[1]):
            new[i, j] /= draws


@inner
def fill_exp(log_w, shift, out):
    """exp(log_w - shift) for differences up to 0, within two units in the last place.

    Written so that the compiler takes several at once, which it can't with calls of the library.
    """
    for i in range(log_w.size):
        x = log_w[i] - shift
        # NaN stays NaN
        x = -708.0 if x < -708.0 else x
        # 1.5 * 2^52 puts the nearest whole number of halvings into the last bits
        high = x * 1.4426950408889634 + 6755399441055744.0
        k = high - 6755399441055744.0
        r = x - k * 0.6931471803691238 - k * 1.9082149292705877e-10
        p = 1.0 / 6227020800.0
        p = p * r + 1.0 / 479001600.0
        p = p * r + 1.0 / 39916800.0
        p = p * r + 1.0 / 3628800.0
        p = p * r + 1.0 / 362880.0
        p = p * r + 1.0 / 40320.0
        p = p * r + 1.0 / 5040.0
        p = p * r + 1.0 / 720.0
        p = p * r + 1.0 / 120.0
        p = p * r + 1.0 / 24.0
        p = p * r + 1.0 / 6.0
        p = p * r + 0.5
        p = p * r + 1.0
        p = p * r + 1.0
        bits = (np.float64(high).view(np.int64) << 52) + 4607182418800017408
        power = np.int64(bits).view(np.float64)
        out[i] = p * power if x != -708.0 else 0.0


@inner
def squares_of(a):
    """Sum of squares in four parts."""
    n = a.size - a.size % 4
    s0 = s1 = s2 = s3 = 0.0
    for i in range(0, n, 4):
        s0 += a[i] * a[i]
        s1 += a[i + 1] * a[i + 1]
        s2 += a[i + 2] * a[i + 2]
        s3 += a[i + 3] * a[i + 3]
    for i in range(n, a.size):
        s0 += a[i] * a[i]
    return (s0 + s1) + (s2 + s3)


@inner
def largest_of(a):
    """Largest entry; NaNs are passed over."""
    n = a.size - a.size % 4
    m0 = m1 = m2 = m3 = -np.inf
    for i in range(0, n, 4):
        m0 = a[i] if a[i] > m0 else m0
        m1 = a[i + 1] if a[i + 1] > m1 else m1
        m2 = a[i + 2] if a[i + 2] > m2 else m2
        m3 = a[i + 3] if a[i + 3] > m3 else m3
    for i in range(n, a.size):
        m0 = a[i] if a[i] > m0 else m0
    return max(max(m0, m1), max(m2, m3))


@inner
def first_infinite(x):
    """First row with a number that is not finite, -1 where there is none."""
    flat = x.reshape(-1)
    n = flat.size - flat.size % 4
    # 0 times a finite number is 0
    s0 = s1 = s2 = s3 = 0.0
    for i in range(0, n, 4):
        s0 += flat[i] * 0.0
        s1 += flat[i + 1] * 0.0
        s2 += flat[i + 2] * 0.0
        s3 += flat[i + 3] * 0.0
    for i in range(n, flat.size):
        s0 += flat[i] * 0.0
    if (s0 + s1) + (s2 + s3) == 0.0:
        return -1
    for i in range(flat.size):
        if not math.isfinite(flat[i]):
            return i // x.shape[1]
    return -1


@inner
def normalise(log_w, weights):
    """Normalise log weights in place, with their weights; the log of their sum.

    NaN when one is NaN or +inf, -inf when all are -inf; then the log weights are not changed.
    """
    largest = largest_of(log_w)
    if largest == np.inf:
        return np.nan
    if largest == -np.inf:
        for i in range(log_w.size):
            if math.isnan(log_w[i]):
                return np.nan
        return largest
    fill_exp(log_w, largest, weights)
    total = total_of(weights)
    if math.isnan(total):
        return total
    log_total = largest + math.log(total)
    scale = 1.0 / total
    for i in range(log_w.size):
        log_w[i] -= log_total
        weights[i] *= scale
    return log_total


@njit(inline="always")
def fail(status, code, t, i, partner):
    """Say what went wrong, and where."""
    status[0], status[1], status[2], status[3] = code, t, i, partner
    return code


@njit(inline="always")
def begin(log_w, ancestors, roots, noise):
    """Equal weights, and everybody descends from itself."""
    n = log_w.size
    for i in range(n):
        log_w[i] = -math.log(n)
        ancestors[i] = i
    for k in range(noise.shape[0]):
        noise[k, 1:] = 0.0
        noise[k, YOUNGER] = -1.0
        for i in range(n):
            roots[2 * k, i] = i


@njit(inline="always")
def keep(log_w_prev, log_w, ancestors):
    """Particles that are not resampled: weights and places stay."""
    for i in range(log_w.size):
        ancestors[i] = i
        log_w[i] = log_w_prev[i]


@njit(inline="always")
def restart(level, log_w, ancestors, roots, noise):
    """Particles that were resampled: weights are equal again."""
    n = log_w.size
    for i in range(n):
        log_w[i] = level
    spare = roots.shape[0] - 1
    for k in range(spare):
        for i in range(n):
            roots[spare, i] = roots[k, ancestors[i]]
        for i in range(n):
            roots[k, i] = roots[spare, i]
    for k in range(noise.shape[0]):
        noise[k, OLDER_DRAWN] += 1.0
        noise[k, YOUNGER_DRAWN] += 1.0


@njit(inline="always")
def settle(particles, record, weights, t, row, slot, status):
    """Normalised weights of time t, and what is told of it; what is wrong, and their squares."""
    moments, ess, increments = record
    x, log_w = particles.x[t % particles.x.shape[0]], particles.log_w[t % particles.x.shape[0]]
    n, dim = x.shape
    culprit = first_infinite(x)
    if culprit >= 0:
        return fail(status, NOT_A_STATE, t, culprit, -1), 0.0
    if slot >= 0 and log_w[slot] == -np.inf:
        return fail(status, PATH_IMPOSSIBLE, t, slot, -1), 0.0
    total = normalise(log_w, weights)
    if not -np.inf < total < np.inf:
        for i in range(n):
            if math.isnan(log_w[i]) or log_w[i] == np.inf:
                culprit = i
        code = ALL_ZERO if total == -np.inf else NOT_A_NUMBER
        return fail(status, code, t, culprit, -1), 0.0
    increments[row] = total
    squares = squares_of(weights)
    ess[row] = 1.0 / squares
    if moments.size:
        for j in range(dim):
            mean = 0.0
            for i in range(n):
                mean += weights[i] * x[i, j]
            spread = 0.0
            for i in range(n):
                spread += weights[i] * (x[i, j] - mean) ** 2
            moments[row, j], moments[row, dim + j] = mean, spread
    return FINE, squares


@inner
def family_squares(weights, roots, shares):
    """Sum of the squares of the weights of families, whose members have one root."""
    shares[:] = 0.0
    for i in range(weights.size):
        shares[roots[i]] += weights[i]
    return squares_of(shares)


@njit(cache=True, nogil=True)
def noise_of(squares, n, drawn, scheme):
    """What entered log Z since families began, by the sum of the squares of their weights.

    Multinomial resampling is known to add its part, so many times.
    """
    times = 1.0 + (drawn if scheme == MULTINOMIAL else 0.0)
    return -math.log(max(1.0 - squares, 1.0 / n)) + times * math.log1p(-1.0 / n)


@inner
def follow(weights, roots, noise, t, scheme, shares):
    """Close blocks of time whose families have become few, after a resampling step.

    Rows of `noise`: how many families are few; noise of closed blocks, and its squares times the
    sums of squares; when the older and the younger block began (-1: not yet), and how often was
    resampled since; the sum of the lags, and the blocks. The noise of a block is what the families
    of its beginning show, less what those of its end show, at a time when the filter has forgotten
    both.
    """
    n = weights.size
    for k in range(noise.shape[0]):
        older, younger, few = roots[2 * k], roots[2 * k + 1], noise[k, FAMILIES]
        squares = family_squares(weights, older, shares)
        if noise[k, YOUNGER] >= 0.0 and squares > 1.0 / few:
            later = family_squares(weights, younger, shares)
            block = noise_of(squares, n, noise[k, OLDER_DRAWN], scheme)
            block -= noise_of(later, n, noise[k, YOUNGER_DRAWN], scheme)
            noise[k, NOISE] += block
            noise[k, SQUARES] += squares * block * block
            noise[k, LAGS] += t - noise[k, YOUNGER]
            noise[k, BLOCKS] += 1.0
            # one by one: numba takes seconds to compile the copy of a whole array
            for i in range(n):
                older[i] = younger[i]
            noise[k, OLDER], noise[k, OLDER_DRAWN] = noise[k, YOUNGER], noise[k, YOUNGER_DRAWN]
            noise[k, YOUNGER], squares = -1.0, 1.0
        if noise[k, YOUNGER] < 0.0 and squares > 1.0 / math.sqrt(few * n):
            for i in range(n):
                younger[i] = i
            noise[k, YOUNGER], noise[k, YOUNGER_DRAWN] = t, 0.0


@inner
def few_left(fewest, weights, ancestors, carried, shares):
    """Whether few particles of the last backward draws have descendants; these begin anew then."""
    n = weights.size
    if fewest == 0:
        return True
    for i in range(n):
        shares[i] = carried[ancestors[i]]
    for i in range(n):
        carried[i] = np.int32(shares[i])
    few = fewest * family_squares(weights, carried, shares) > 1.0
    if few:
        for i in range(n):
            carried[i] = i
    return few


@declared(_i(*_functions[:2], _resample, _rng, _told, _particles, _record, _whole))
def filter_forward(start, move, resample, rng, told, particles, record, status):
    """Particle filter from time options[FIRST] to below options[END], and nothing else.

    Slot options[FROZEN] follows the path, where that is 0 and `resample` is one of `AROUND`.
    """
    y, theta, options, threshold, path = told
    x, log_w, ancestors, _, _, roots, noise, _ = particles
    n, depth, slot = x.shape[1], x.shape[0], options[FROZEN]
    weights, shares, squares = np.empty(n), np.empty(n), 0.0
    for t in range(options[FIRST], options[END]):
        row, now, before = t - options[OFFSET], t % depth, (t - 1) % depth
        drawn = False
        if slot >= 0:
            for j in range(x.shape[2]):
                x[now, slot, j] = path[t, j]
        if t == 0:
            begin(log_w[0], ancestors[0], roots, noise)
            start(rng, x[0], y, row, log_w[0], slot, theta)
        else:
            if t == options[FIRST]:
                for i in range(n):
                    weights[i] = math.exp(log_w[before, i])
                squares = squares_of(weights)
            drawn = threshold * n * squares > 1.0 - 1e-9
            if drawn:
                resample(rng, weights, ancestors[now])
                restart(-math.log(n), log_w[now], ancestors[now], roots, noise)
            else:
                keep(log_w[before], log_w[now], ancestors[now])
            move(rng, x[before], ancestors[now], x[now], y, row, t, log_w[now], slot, theta)
        code, squares = settle(particles, record, weights, t, row, slot, status)
        if code != FINE:
            return code
        if drawn:
            follow(weights, roots, noise, t, options[SCHEME], shares)
    return FINE


@inner
def factorise(a):
    """Cholesky root of a matrix in its lower triangle; False where it is not positive definite."""
    d = a.shape[0]
    for j in range(d):
        for k in range(j):
            a[j, j] -= a[j, k] * a[j, k]
        if not 0.0 < a[j, j] < np.inf:
            return False
        a[j, j] = math.sqrt(a[j, j])
        for i in range(j + 1, d):
            for k in range(j):
                a[i, j] -= a[i, k] * a[j, k]
            a[i, j] /= a[j, j]
    return True


@inner
def solve_lower(root, v):
    """root^-1 v in place."""
    for i in range(v.size):
        for j in range(i):
            v[i] -= root[i, j] * v[j]
        v[i] /= root[i, i]


@inner
def solve_upper(root, v):
    """root'^-1 v in place."""
    for i in range(v.size - 1, -1, -1):
        for j in range(i + 1, v.size):
            v[i] -= root[j, i] * v[j]
        v[i] /= root[i, i]


@inner
def invert(a):
    """Inverse of a covariance in place, its symmetry kept; False where it has none."""
    d = a.shape[0]
    if not factorise(a):
        return False
    inverse = np.zeros((d, d))
    for j in range(d):
        inverse[j, j] = 1.0
        solve_lower(a, inverse[j])
        solve_upper(a, inverse[j])
    for i in range(d):
        for j in range(d):
            a[i, j] = 0.5 * (inverse[i, j] + inverse[j, i])
    return True


@inner
def lay_points(centre, steps, points):
    """Where differences look: the centre, up and down each axis, up and down in each two."""
    d = centre.size
    for k in range(points.shape[0]):
        for i in range(d):
            points[k, i] = centre[i]
    k = 1 + 2 * d
    for i in range(d):
        points[1 + 2 * i, i] += steps[i]
        points[2 + 2 * i, i] -= steps[i]
        for j in range(i):
            for sign in (1.0, -1.0):
                points[k, i] += sign * steps[i]
                points[k, j] += sign * steps[j]
                k += 1


@inner
def differences(values, steps, slope, bend):
    """Gradient and minus the second derivatives from values at the points; False if not finite."""
    d = steps.size
    k = 1 + 2 * d
    for i in range(d):
        up, down = values[1 + 2 * i], values[2 + 2 * i]
        slope[i] = (up - down) / (2.0 * steps[i])
        bend[i, i] = (2.0 * values[0] - up - down) / steps[i] ** 2
        for j in range(i):
            both = values[k] + values[k + 1] - up - down + 2.0 * values[0]
            both -= values[1 + 2 * j] + values[2 + 2 * j]
            bend[i, j] = bend[j, i] = -both / (2.0 * steps[i] * steps[j])
            k += 2
    total = 0.0
    for k in range(values.size):
        total += values[k]
    return math.isfinite(total)


@inner
def find_mode(laws, now, precision, steps, mode, slope, bend):
    """Where prediction and observation together are likeliest, by Newton's steps from `mode`.

    With the gradient there of the observation's log density, and its bend: minus the second
    derivatives, whose negative eigenvalues count as 0. False where there is no such place.
    """
    _, _, y, row, t, theta = now
    d, start = mode.size, mode.copy()
    points, values = np.empty((1 + d + d * d, d)), np.empty(1 + d + d * d)
    pull, root = np.empty(d), np.empty((d, d))
    for lap in range(NEWTON_STEPS + 1):
        lay_points(mode, steps, points)
        laws.sight(points, y, row, t, theta, values)
        if not differences(values, steps, slope, bend):
            return False
        bends, turn = np.linalg.eigh(bend)
        for i in range(d):
            for j in range(d):
                total = 0.0
                for k in range(d):
                    total += max(bends[k], 0.0) * turn[i, k] * turn[j, k]
                bend[i, j] = total
        if lap == NEWTON_STEPS:
            return True
        for i in range(d):
            pull[i] = slope[i]
            for j in range(d):
                pull[i] -= precision[i, j] * (mode[j] - start[j])
                root[i, j] = precision[i, j] + bend[i, j]
        if not factorise(root):
            return False
        solve_lower(root, pull)
        solve_upper(root, pull)
        # in standard deviations of the prediction
        length = 0.0
        for i in range(d):
            length = max(length, abs(pull[i]) * STEP / steps[i])
        if length < CLOSE:
            return True
        for i in range(d):
            mode[i] += pull[i] * min(1.0, LONGEST / length)
    return True


@inner
def transitions_at(laws, now, mode, steps, first, means, covariance):
    """Means (n, d) and common covariance of the next states as the model declares them.

    Else those of Gaussian laws with the derivatives of the transition's log density at the mode,
    the second ones as from particle `first`. False where there are none.
    """
    x_prev, _, _, _, t, theta = now
    n, d = x_prev.shape
    known = laws.covariance(t, theta, covariance) == 0
    points, values = np.empty((1 + d + d * d, d)), np.empty(1 + d + d * d)
    slope = np.empty(d)
    lay_points(mode, steps, points)
    if not known:
        for k in range(values.size):
            values[k] = laws.pair(x_prev, first, points, k, t, theta)
        if not (differences(values, steps, slope, covariance) and invert(covariance)):
            return False
    if laws.mean(x_prev, t, theta, means) == 0:
        return True
    for i in range(n):
        for j in range(d):
            up = laws.pair(x_prev, i, points, 1 + 2 * j, t, theta)
            down = laws.pair(x_prev, i, points, 2 + 2 * j, t, theta)
            slope[j] = (up - down) / (2.0 * steps[j])
        for j in range(d):
            means[i, j] = mode[j]
            for k in range(d):
                means[i, j] += covariance[j, k] * slope[k]
    return True


@inner
def turn_to_mode(mode, slope, bend, guide, ahead):
    """Centres of proposals from the means that stand in their place; how well each foresees y."""
    centres, root = guide
    n, d = centres.shape
    pull, apart, back = np.empty(d), np.empty(d), np.empty(d)
    for i in range(n):
        for j in range(d):
            apart[j] = centres[i, j] - mode[j]
        total = 0.0
        for j in range(d):
            bent = 0.0
            for k in range(d):
                bent += bend[j, k] * apart[k]
            pull[j] = back[j] = slope[j] - bent
            total += (slope[j] - 0.5 * bent) * apart[j]
        solve_lower(root, back)
        solve_upper(root, back)
        for j in range(d):
            total += 0.5 * pull[j] * back[j]
            centres[i, j] += back[j]
        ahead[i] = total


@inner
def draw_guided(laws, rng, now, guide, ancestors, x, log_w):
    """States from Gaussian proposals, a tenth from the transition, with their log weights added."""
    move, pair, sight, _, _ = laws
    x_prev, _, y, row, t, theta = now
    centres, root = guide
    n, d = x.shape
    blank, nothing, sights = np.full((1, y.shape[1]), np.nan), np.zeros(1), np.empty(n)
    log_q, level = np.empty(n), math.log(1.0 - DEFENSIVE) - 0.5 * d * math.log(2.0 * math.pi)
    for j in range(d):
        level += math.log(root[j, j])
    for i in range(n):
        prev, log_q[i] = ancestors[i], level
        if rng.random() < DEFENSIVE:
            one = slice(i, i + 1)
            move(rng, x_prev, ancestors[one], x[one], blank, 0, t, nothing, -1, theta)
            for j in range(d):
                z = 0.0
                for k in range(j, d):
                    z += root[k, j] * (x[i, k] - centres[prev, k])
                log_q[i] -= 0.5 * z * z
            continue
        for j in range(d):
            x[i, j] = rng.standard_normal()
            log_q[i] -= 0.5 * x[i, j] * x[i, j]
        solve_upper(root, x[i])
        for j in range(d):
            x[i, j] += centres[prev, j]
    sight(x, y, row, t, theta, sights)
    for i in range(n):
        log_p = pair(x_prev, ancestors[i], x, i, t, theta)
        rest = math.log(DEFENSIVE) + log_p
        top = max(log_q[i], rest)
        either = top + math.log(math.exp(log_q[i] - top) + math.exp(rest - top))
        log_w[i] += sights[i] + log_p - either


@inner
def effective(log_w, log_rate):
    """Effective size of draws with these log weights, were they made at other rates; 0 if none."""
    largest, highest = largest_of(log_w), largest_of(log_rate)
    total = squares = rates = 0.0
    if not -np.inf < largest < np.inf:
        return 0.0
    for i in range(log_w.size):
        w, rate = math.exp(log_w[i] - largest), math.exp(log_rate[i] - highest)
        total += w
        squares += w * w / rate
        rates += rate
    return log_w.size * total * total / (squares * rates)


@inner
def worth_it(laws, rng, now, guide, ahead, chosen, plain):
    """Whether guided draws are worth more than plain ones, of which these are the log weights.

    By themselves no less, and well more with the lookahead. Small effective sizes are noisy: those
    of several pilots count.
    """
    x_prev, _, y, row, t, theta = now
    size = chosen.size
    x, guided, rates = np.empty((size, x_prev.shape[1])), np.zeros(size), np.zeros(size)
    before = after = looking = 0.0
    for lap in range(PILOTS):
        if lap > 0:
            plain[:] = 0.0
            laws.move(rng, x_prev, chosen, x, y, row, t, plain, -1, theta)
        rates[:] = guided[:] = 0.0
        draw_guided(laws, rng, now, guide, chosen, x, guided)
        before += effective(plain, rates)
        after += effective(guided, rates)
        for k in range(size):
            rates[k] = ahead[chosen[k]]
        looking += effective(guided, rates)
        if lap == 0 and before > NOISY:
            break
    return after >= before and looking > GAIN * before


@inner
def linearise(laws, rng, now, guide, ahead):
    """Gaussian proposals for this time, and log lookaheads, from one look at the observation.

    A pilot, whose draws serve for nothing else, says whether they are worth it; else False.
    """
    x_prev, weights, y, row, t, theta = now
    centres, root = guide
    n, d = x_prev.shape
    size = max(2, min(n // 5, MOST_PICKS))
    chosen = np.empty(size, dtype=np.int32)
    x, plain = np.empty((size, d)), np.zeros(size)
    resample_systematic(rng, weights, chosen)
    laws.move(rng, x_prev, chosen, x, y, row, t, plain, -1, theta)
    mode, steps, slope = np.empty(d), np.empty(d), np.empty(d)
    precision, covariance, bend = np.empty((d, d)), np.empty((d, d)), np.empty((d, d))
    for j in range(d):
        mode[j] = 0.0
        for i in range(size):
            mode[j] += x[i, j] / size
    for j in range(d):
        for k in range(j + 1):
            spread = 0.0
            for i in range(size):
                spread += (x[i, j] - mode[j]) * (x[i, k] - mode[k]) / size
            shrunk = spread if j == k else spread * max(0.0, 1.0 - d / size)
            precision[j, k] = precision[k, j] = shrunk
        if not 0.0 < precision[j, j] < np.inf:
            return False
        steps[j] = STEP * math.sqrt(precision[j, j])
    if not (invert(precision) and find_mode(laws, now, precision, steps, mode, slope, bend)):
        return False
    if not transitions_at(laws, now, mode, steps, chosen[0], centres, covariance):
        return False
    if not invert(covariance):
        return False
    for j in range(d):
        for k in range(d):
            root[j, k] = covariance[j, k] + bend[j, k]
    if not factorise(root):
        return False
    turn_to_mode(mode, slope, bend, guide, ahead)
    highest, total = largest_of(ahead), 0.0
    if not -np.inf < highest < np.inf:
        return False
    for i in range(n):
        total += weights[i] * math.exp(ahead[i] - highest)
    if total < NOBODY:
        return False
    for i in range(n):
        share = math.exp(ahead[i] - highest) / total
        ahead[i] = math.log((1.0 - DEFENSIVE) * share + DEFENSIVE)
    return worth_it(laws, rng, now, guide, ahead, chosen, plain)


@declared(_i(*_linearised, _resample, _rng, _told, _particles, _record, _report))
def filter_linearised(
    start, move, pair, sight, mean, covariance, resample, rng, told, particles, record, report
):
    """Particle filter whose proposals make themselves; tally[0] counts the times that had some."""
    y, theta, options, threshold, _ = told
    x, log_w, ancestors, _, _, roots, noise, _ = particles
    n, depth, status = x.shape[1], x.shape[0], report.status
    weights, first_stage, shares, squares = np.empty(n), np.empty(n), np.empty(n), 0.0
    laws, ahead = Laws(move, pair, sight, mean, covariance), np.empty(n)
    guide = Guide(np.empty(x.shape[1:]), np.empty((x.shape[2], x.shape[2])))
    for t in range(options[FIRST], options[END]):
        row, now, before = t - options[OFFSET], t % depth, (t - 1) % depth
        drawn = False
        if t == 0:
            begin(log_w[0], ancestors[0], roots, noise)
            start(rng, x[0], y, row, log_w[0], -1, theta)
        else:
            if t == options[FIRST]:
                for i in range(n):
                    weights[i] = math.exp(log_w[before, i])
                squares = squares_of(weights)
            here = Now(x[before], weights, y, row, t, theta)
            seen = False
            for j in range(y.shape[1]):
                seen = seen or not math.isnan(y[row, j])
            guided = seen and linearise(laws, rng, here, guide, ahead)
            log_stage = 0.0
            if guided:
                report.tally[0] += 1
                for i in range(n):
                    first_stage[i] = log_w[before, i] + ahead[i]
                log_stage = normalise(first_stage, weights)
                squares = squares_of(weights)
            drawn = threshold * n * squares > 1.0 - 1e-9
            if drawn:
                resample(rng, weights, ancestors[now])
                restart(log_stage - math.log(n), log_w[now], ancestors[now], roots, noise)
                if guided:
                    for i in range(n):
                        log_w[now, i] -= ahead[ancestors[now, i]]
            else:
                keep(log_w[before], log_w[now], ancestors[now])
            if guided:
                draw_guided(laws, rng, here, guide, ancestors[now], x[now], log_w[now])
            else:
                move(rng, x[before], ancestors[now], x[now], y, row, t, log_w[now], -1, theta)
        code, squares = settle(particles, record, weights, t, row, -1, status)
        if code != FINE:
            return code
        if drawn:
            follow(weights, roots, noise, t, options[SCHEME], shares)
    return FINE


@declared(_i(*_functions, _resample, _rng, _told, _particles, _record, _report))
def advance(
    start, move, look, pair, bound, reject, add_first, add, resample, rng, told, particles, record,
    report,
):  # fmt: skip
    """Particle filter that may look ahead, follow a path, or carry smoothed sums.

    With options[DRAWS] > 0 every particle carries its smoothed sums `tau` by that many backward
    draws (PaRIS), made when fewer than options[FEWEST] of the particles of the last time that had
    some are ancestors (AdaSmooth), or always where that is 0: else those of its ancestor. With
    options[FROZEN] >= 0 that slot follows the path (conditional filter).
    """
    y, theta, options, threshold, path = told
    x, log_w, ancestors, origin, tau, roots, noise, carried = particles
    n, depth, draws, slot = x.shape[1], x.shape[0], options[DRAWS], options[FROZEN]
    backward = Backward(pair, bound, reject, options[METHOD], n)
    weights, first_stage, ahead, shares = np.empty(n), np.empty(n), np.zeros(n), np.empty(n)
    cumulative, squares = np.empty(n), 0.0
    picks = np.empty((n, draws), dtype=np.int32)
    for t in range(options[FIRST], options[END]):
        row, now, before = t - options[OFFSET], t % depth, (t - 1) % depth
        drawn = False
        step = Step(x[before], log_w[before], x[now], ancestors[now], t, theta)
        if slot >= 0:
            for j in range(x.shape[2]):
                x[now, slot, j] = path[t, j]
        if t == 0:
            begin(log_w[0], ancestors[0], roots, noise)
            start(rng, x[0], y, row, log_w[0], slot, theta)
        else:
            log_stage = 0.0
            if t == options[FIRST]:
                for i in range(n):
                    weights[i] = math.exp(log_w[before, i])
            if options[LOOKAHEAD]:
                look(x[before], y, row, t, theta, ahead)
                for i in range(n):
                    first_stage[i] = log_w[before, i] + ahead[i]
                log_stage = normalise(first_stage, weights)
                if not -np.inf < log_stage < np.inf:
                    code = ALL_ZERO if log_stage == -np.inf else NOT_A_NUMBER
                    return fail(report.status, code, t, -1, -1)
            frozen = slot
            if slot >= 0 and options[REDRAW]:
                # before the others are drawn, which depend on it
                if not fill_backward(pair, step, slot, cumulative):
                    return fail(report.status, NO_ANCESTOR, t, slot, -1)
                frozen = find(cumulative, rng.random() * cumulative[n - 1])
            if t == options[FIRST] or options[LOOKAHEAD]:
                squares = squares_of(weights)
            # a tie is resampled whatever the order of the sum: a decision that hung on the slots
            # of the particles would bias conditional filters
            drawn = threshold * n * squares > 1.0 - 1e-9
            if drawn:
                if slot >= 0:
                    resample_around(rng, options[SCHEME], weights, slot, frozen, ancestors[now])
                else:
                    resample(rng, weights, ancestors[now])
                restart(log_stage - math.log(n), log_w[now], ancestors[now], roots, noise)
                if options[LOOKAHEAD]:
                    for i in range(n):
                        log_w[now, i] -= ahead[ancestors[now, i]]
            else:
                keep(log_w[before], log_w[now], ancestors[now])
            move(rng, x[before], ancestors[now], x[now], y, row, t, log_w[now], slot, theta)
        code, squares = settle(particles, record, weights, t, row, slot, report.status)
        if code != FINE:
            return code
        if drawn:
            follow(weights, roots, noise, t, options[SCHEME], shares)
        if draws == 0:
            continue
        if t == 0:
            add_all_first(add_first, x[0], y, row, theta, tau[0])
            for i in range(n):
                carried[i] = i
            continue
        above = picks
        if not few_left(options[FEWEST], weights, ancestors[now], carried, shares):
            above = ancestors[now].reshape((n, 1))
        else:
            code = draw_backward(rng, backward, step, picks, report)
            if code != FINE:
                return code
        carry_sums(add, step, above, y, row, tau[(t - 1) % 2], tau[t % 2])
        for i in range(n):
            origin[t % origin.shape[0], i] = above[i, 0]
    return FINE


@njit(inline="always")
def add_all_first(add_first, x, y, row, theta, sums):
    """Sums of all particles at time 0."""
    for i in range(x.shape[0]):
        for j in range(sums.shape[1]):
            sums[i, j] = 0.0
        add_first(x, i, y, row, theta, sums, i)


@njit(inline="always")
def mean_sums(log_w, sums, out):
    """Weighted means of the particles' sums."""
    for j in range(sums.shape[1]):
        total = 0.0
        for i in range(log_w.size):
            total += math.exp(log_w[i]) * sums[i, j]
        out[j] = total


@njit(cache=True, nogil=True)
def draw_index(rng, log_w):
    """One index with probabilities exp(log_w)."""
    u, reached = rng.random(), 0.0
    for i in range(log_w.size - 1):
        reached += math.exp(log_w[i])
        if reached > u:
            return i
    last = log_w.size - 1
    while log_w[last] == -np.inf:
        last -= 1
    return last


@declared(_i(*_functions[3:6], _rng, _i, _vector, _particles, _indices, _report))
def backward_paths(pair, bound, reject, rng, method, theta, particles, chosen, report):
    """Indices chosen[t, path] of paths drawn from the backward chain of a stored filter.

    By MCMC each index starts at the real ancestor and takes one independent Metropolis step.
    """
    x, log_w, ancestors, _, _, _, _, _ = particles
    tally, status = report
    n_steps, n = log_w.shape
    backward = Backward(pair, bound, reject, method, n)
    paths = chosen.shape[1]
    cumulative = np.empty(n)
    picks = np.empty((paths, 1), dtype=np.int32)
    for k in range(paths):
        chosen[n_steps - 1, k] = draw_index(rng, log_w[n_steps - 1])
    for t in range(n_steps - 1, 0, -1):
        step = Step(x[t - 1], log_w[t - 1], x[t], ancestors[t], t, theta)
        tally[0] += paths
        if method == MCMC:
            tally[1] += paths
            total = 0.0
            for i in range(n):
                total += math.exp(log_w[t - 1, i])
                cumulative[i] = total
            for k in range(paths):
                child = np.int64(chosen[t, k])
                current = np.int64(ancestors[t, child])
                drawn = find(cumulative, rng.random() * total)
                held = pair(x[t - 1], current, x[t], child, t, theta)
                value = pair(x[t - 1], drawn, x[t], child, t, theta)
                if math.isnan(value) or not held > -np.inf:
                    return fail(status, NO_ANCESTOR, t, child, drawn)
                chosen[t - 1, k] = drawn if rng.standard_exponential() > held - value else current
            continue
        picks[:, 0] = -1
        if method == HYBRID:
            code = draw_by_rejection(rng, backward, step, chosen[t], picks, report)
            if code != FINE:
                return code
        for k in range(paths):
            if picks[k, 0] < 0:
                child = np.int64(chosen[t, k])
                if not fill_backward(pair, step, child, cumulative):
                    return fail(status, NO_ANCESTOR, t, child, -1)
                tally[2] += 1
                picks[k, 0] = find(cumulative, rng.random() * cumulative[n - 1])
            chosen[t - 1, k] = picks[k, 0]
    return FINE


@declared(_i(*_functions[3:6], _rng, _i, _i, _step, _indices, _report))
def backward_draws(pair, bound, reject, rng, method, cap, step, picks, report):
    """What `draw_backward` does, for callers from Python."""
    return draw_backward(rng, Backward(pair, bound, reject, method, cap), step, picks, report)


@declared(_i(*_functions, _resample, _rng, _told, _particles, _i, _sweeps, _report))
def gibbs_sweeps(
    start, move, look, pair, bound, reject, add_first, add, resample, rng, told, particles, way,
    sweeps, report,
):  # fmt: skip
    """Sweeps of the conditional filter, each from the path that the last one left.

    The first sweep is an ordinary filter when options[FROZEN] is negative. Every sweep leaves its
    weighted mean of `tau` in `means`, its new path in `paths` where these have room, its smallest
    effective sample size and its log likelihood; `changes` counts, by time, new states and paths
    through another particle than the frozen one, whose state may be the same on a lattice.
    """
    _, theta, options, _, path = told
    x, log_w, ancestors, origin, tau, _, _, _ = particles
    means, paths, changes, ess, log_z = sweeps
    n_steps, dim = path.shape
    record = Record(np.empty((0, 0)), np.empty(n_steps), np.empty(n_steps))
    chosen = np.empty((n_steps, 1), dtype=np.int32)
    for sweep in range(means.shape[0]):
        code = advance(
            start, move, look, pair, bound, reject, add_first, add, resample, rng, told, particles,
            record, report,
        )  # fmt: skip
        if code != FINE:
            return code
        last = (n_steps - 1) % x.shape[0]
        mean_sums(log_w[last], tau[(n_steps - 1) % 2], means[sweep])
        ess[sweep] = record.ess.min()
        log_z[sweep] = record.increments.sum()
        if way == BY_SAMPLING:
            code = backward_paths(pair, bound, reject, rng, EXACT, theta, particles, chosen, report)
            if code != FINE:
                return code
        else:
            chosen[n_steps - 1, 0] = draw_index(rng, log_w[last])
            above = origin if way == BY_BACKWARD else ancestors
            for t in range(n_steps - 1, 0, -1):
                chosen[t - 1, 0] = above[t, chosen[t, 0]]
        fresh = options[FROZEN] < 0
        for t in range(n_steps):
            changed = False
            for j in range(dim):
                value = x[t, chosen[t, 0], j]
                if value != path[t, j]:
                    changed = True
                path[t, j] = value
                if paths.shape[0]:
                    paths[sweep, t, j] = value
            if not fresh:
                changes[0, t] += changed
                changes[1, t] += chosen[t, 0] != options[FROZEN]
        options[FROZEN] = 0
    return FINE


@inner
def draw_coupled(rng, common, rest, other_rest, out):
    """Two indices of given laws that are equal as often as can be; the arrays are cumulative."""
    # the two remainders have the same total, but for rounding
    total = common[-1] + rest[-1]
    u = rng.random() * total
    if u < common[-1] or rest[-1] <= 1e-13 * total or other_rest[-1] <= 1e-13 * total:
        out[0] = out[1] = find(common, min(u, common[-1] * (1.0 - 1e-15)))
    else:
        out[0] = find(rest, rng.random() * rest[-1])
        out[1] = find(other_rest, rng.random() * other_rest[-1])


@inner
def fill_coupled(weights, other, common, rest, other_rest):
    """Cumulative overlap and remainders of two normalised weights."""
    a = b = c = 0.0
    for i in range(weights.size):
        shared = min(weights[i], other[i])
        a += shared
        b += weights[i] - shared
        c += other[i] - shared
        common[i], rest[i], other_rest[i] = a, b, c


@njit(inline="always")
def forward_coupled(
    start, move, rng, moves, other_moves, told, other_path, particles, other, status
):
    """Two conditional filters, multinomial at every step, with indices coupled."""
    y, theta, _, _, path = told
    x, log_w, ancestors, _, _, _, _, _ = particles
    other_x, other_log_w, other_ancestors, _, _, _, _, _ = other
    n_steps, n, dim = x.shape
    common, rest, other_rest = np.empty(n), np.empty(n), np.empty(n)
    both = np.zeros(2, dtype=np.int64)
    for t in range(n_steps):
        for j in range(dim):
            x[t, 0, j], other_x[t, 0, j] = path[t, j], other_path[t, j]
        log_w[t, :] = other_log_w[t, :] = -math.log(n)
        if t == 0:
            start(moves, x[t], y, t, log_w[t], 0, theta)
            start(other_moves, other_x[t], y, t, other_log_w[t], 0, theta)
        else:
            fill_coupled(np.exp(log_w[t - 1]), np.exp(other_log_w[t - 1]), common, rest, other_rest)
            own, others = ancestors[t], other_ancestors[t]
            own[0] = others[0] = 0
            for i in range(1, n):
                draw_coupled(rng, common, rest, other_rest, both)
                own[i], others[i] = both[0], both[1]
            move(moves, x[t - 1], own, x[t], y, t, t, log_w[t], 0, theta)
            move(other_moves, other_x[t - 1], others, other_x[t], y, t, t, other_log_w[t], 0, theta)
        culprit = first_infinite(x[t])
        if culprit >= 0:
            return fail(status, NOT_A_STATE, t, culprit, -1)
        for one in (log_w[t], other_log_w[t]):
            total = normalise(one, common)
            if not -np.inf < total < np.inf:
                return fail(status, ALL_ZERO if total == -np.inf else NOT_A_NUMBER, t, -1, -1)
    return FINE


@njit(inline="always")
def paths_coupled(pair, rng, told, other_path, particles, other, status):
    """The next two paths, by backward draws that are equal as often as can be."""
    _, theta, _, _, path = told
    x, log_w, ancestors, _, _, _, _, _ = particles
    other_x, other_log_w, _, _, _, _, _, _ = other
    n_steps, n, dim = x.shape
    common, rest, other_rest = np.empty(n), np.empty(n), np.empty(n)
    cumulative, other_cumulative = np.empty(n), np.empty(n)
    both = np.zeros(2, dtype=np.int64)
    for t in range(n_steps - 1, -1, -1):
        if t == n_steps - 1:
            fill_coupled(np.exp(log_w[t]), np.exp(other_log_w[t]), common, rest, other_rest)
        else:
            step = Step(x[t], log_w[t], x[t + 1], ancestors[t], t + 1, theta)
            beside = Step(other_x[t], other_log_w[t], other_x[t + 1], ancestors[t], t + 1, theta)
            if not (
                fill_backward(pair, step, both[0], cumulative)
                and fill_backward(pair, beside, both[1], other_cumulative)
            ):
                return fail(status, NO_ANCESTOR, t + 1, both[0], -1)
            for i in range(n - 1, 0, -1):
                cumulative[i] -= cumulative[i - 1]
                other_cumulative[i] -= other_cumulative[i - 1]
            fill_coupled(
                cumulative / cumulative.sum(), other_cumulative / other_cumulative.sum(), common,
                rest, other_rest,
            )  # fmt: skip
        draw_coupled(rng, common, rest, other_rest, both)
        for j in range(dim):
            path[t, j], other_path[t, j] = x[t, both[0], j], other_x[t, both[1], j]
    return FINE


@inner
def smooth_stored(pair, bound, reject, add_first, add, rng, told, particles, out, report):
    """Smoothed sums of a stored filter, and their weighted means."""
    y, theta, options, _, _ = told
    x, log_w, ancestors, _, tau, _, _, _ = particles
    n_steps, n, _ = x.shape
    backward = Backward(pair, bound, reject, options[METHOD], n)
    picks = np.empty((n, options[DRAWS]), dtype=np.int32)
    add_all_first(add_first, x[0], y, 0, theta, tau[0])
    for t in range(1, n_steps):
        step = Step(x[t - 1], log_w[t - 1], x[t], ancestors[t], t, theta)
        code = draw_backward(rng, backward, step, picks, report)
        if code != FINE:
            return code
        carry_sums(add, step, picks, y, t, tau[(t - 1) % 2], tau[t % 2])
    mean_sums(log_w[n_steps - 1], tau[(n_steps - 1) % 2], out)
    return FINE


@declared(
    _i(
        *_functions[:2], *_functions[3:], _rng, _rng, _rng, _rng, _rng, _told, _matrix, _particles,
        _particles, _matrix, _report,
    )
)  # fmt: skip
def coupled_sweep(
    start, move, pair, bound, reject, add_first, add, rng, moves, other_moves, draws, other_draws,
    told, other_path, particles, other, means, report,
):  # fmt: skip
    """One sweep of two conditional filters that share as many particles as they can.

    Moves and backward draws of the two use generators in equal states. The paths become the next
    ones, drawn by coupled backward sampling; means (2, J) those of the smoothed sums.
    """
    status = report.status
    code = forward_coupled(
        start, move, rng, moves, other_moves, told, other_path, particles, other, status
    )
    if code == FINE:
        code = paths_coupled(pair, rng, told, other_path, particles, other, status)
    if code == FINE:
        code = smooth_stored(
            pair, bound, reject, add_first, add, draws, told, particles, means[0], report
        )
    if code == FINE:
        code = smooth_stored(
            pair, bound, reject, add_first, add, other_draws, told, other, means[1], report
        )
    return code


@declared(_i(_functions[3], _matrix, _matrix, _i, _vector, _vector))
def densities_from(pair, origin, x, t, theta, out):
    """Log densities of states given the one of `origin`."""
    for i in range(out.size):
        out[i] = pair(origin, 0, x, i, t, theta)
    return FINE
