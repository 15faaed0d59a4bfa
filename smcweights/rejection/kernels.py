"""Compiled loops of the room: draws without replacement and the weights of finished runs.

`advance` runs until it needs an answer it doesn't know; the caller writes the answer into `known`
and calls it again. `upcoming` says which answers are needed next for as long as all are no. An
array constraint is `known` from the start, so that all ways of handing in a constraint take one
code path.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

BLOCK = 256
REJECTED, ACCEPTED, UNKNOWN, GONE = 0, 1, 2, 4  # gone: with another that was rejected
# entries of `state`: how far a run is
PENDING, SEEN, N_REJECTED, N_ACCEPTED, FIRST, EVALUATIONS, ENDED, USED = range(8)
# and its rule: accepts that end it, rejects after the first accept that do (base + slope times
# those before it), rejects that do, items that do, whether accepted items may come again
ACCEPTS, BASE, SLOPE, BUDGET, MOST, REDRAW, ENTRIES = range(USED + 1, USED + 8)
# how a run ended
RUNNING, BY_ACCEPT, BY_CAP, BY_BUDGET, EXHAUSTED = range(5)
# entries of `scales`: logit that has weight 1, first total, what remains
TOP, INITIAL, REMAINING = range(3)
# weights of `weigh`
AVERAGED, HARMONIC, UNORDERED, TWO_LOOP, OF_SET = range(5)
SMALL = 1e-200  # of the first total: below it the weights are computed again
LOGGED = -600.0  # smallest log mass for which sums of masses are taken as they are


@njit(cache=True, nogil=True)
def part_sum(a):
    """Sum in eight parts, which don't wait for each other."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    last = a.size - a.size % 8
    for i in range(0, last, 8):
        s0 += a[i]
        s1 += a[i + 1]
        s2 += a[i + 2]
        s3 += a[i + 3]
        s4 += a[i + 4]
        s5 += a[i + 5]
        s6 += a[i + 6]
        s7 += a[i + 7]
    for i in range(last, a.size):
        s0 += a[i]
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@njit(cache=True, nogil=True)
def block_sum(w, b):
    """Sum of a block of weights."""
    return part_sum(w[b * BLOCK : (b + 1) * BLOCK])


@njit(cache=True, nogil=True)
def block_sums(w, sums):
    """Fill in the sums of blocks of weights; their total."""
    for b in range(sums.size):
        sums[b] = block_sum(w, b)
    return part_sum(sums)


@njit(cache=True, nogil=True)
def remove(w, sums, item):
    """Total after an item is taken away; nothing is subtracted, so nothing drifts."""
    w[item] = 0.0
    b = item // BLOCK
    sums[b] = block_sum(w, b)
    return part_sum(sums)


@njit(cache=True, nogil=True)
def restore(logits, w, sums, order, n, top):
    """Put back the items of a run."""
    for i in range(n):
        w[order[i]] = math.exp(logits[order[i]] - top)
    for i in range(n):
        b = order[i] // BLOCK
        sums[b] = block_sum(w, b)


@njit(cache=True, nogil=True)
def rescale(logits, w, sums, scales):
    """Weights of what is left, where w is 1, relative to its largest; 0 where nothing is left."""
    top = -math.inf
    for i in range(w.size):
        if w[i] > 0.0 and logits[i] > top:
            top = logits[i]
    if top == -math.inf:
        w[:] = 0.0
        sums[:] = 0.0
        return 0.0
    for i in range(w.size):
        if w[i] > 0.0:
            w[i] = math.exp(logits[i] - top)
    scales[TOP] = top
    total = block_sums(w, sums)
    scales[INITIAL] = total
    return total


@njit(cache=True, nogil=True)
def locate(u, w, sums, total):
    """Item at the share u, from 0 to 1, of all weights."""
    u = u * total
    block = -1
    for b in range(sums.size):
        if sums[b] > 0.0:
            block = b
            if u < sums[b]:
                break
            u -= sums[b]
    first, end = block * BLOCK, min((block + 1) * BLOCK, w.size)
    while first + 8 < end:
        left = (w[first] + w[first + 1]) + (w[first + 2] + w[first + 3])
        left += (w[first + 4] + w[first + 5]) + (w[first + 6] + w[first + 7])
        if u < left:
            break
        u -= left
        first += 8
    item = -1
    for i in range(first, end):
        if w[i] > 0.0:
            item = i
            if u < w[i]:
                return item
            u -= w[i]
    # rounding led beyond the last
    while item < 0:
        first -= 1
        item = first if w[first] > 0.0 else -1
    return item


@njit(cache=True, nogil=True)
def advance(uniforms, logits, w, sums, known, order, state, scales):
    """Go on to the next unknown answer; -1 when the run has ended, -2 for more uniform draws.

    Draws come as an array: a generator as argument costs numba twenty times as much per call.
    """
    redraw = state[REDRAW] == 1
    while True:
        item = state[PENDING]
        if item < 0:
            if scales[REMAINING] < SMALL * scales[INITIAL]:
                for i in range(w.size):
                    w[i] = 1.0 * (known[i] != GONE)
                for i in range(state[SEEN]):
                    if not (redraw and known[order[i]] == ACCEPTED):
                        w[order[i]] = 0.0
                scales[REMAINING] = rescale(logits, w, sums, scales)
            if scales[REMAINING] <= 0.0:
                state[ENDED] = EXHAUSTED
                return -1
            if state[USED] == uniforms.size:
                return -2
            item = locate(uniforms[state[USED]], w, sums, scales[REMAINING])
            state[USED] += 1
            again = False
            if redraw and known[item] == ACCEPTED:
                for i in range(state[SEEN]):
                    if order[i] == item:
                        again = True
            if not again:
                state[EVALUATIONS] += 1
            if known[item] == UNKNOWN:
                state[PENDING] = item
                return item
        state[PENDING] = -1
        accepted = known[item] != REJECTED
        order[state[SEEN]] = item
        state[SEEN] += 1
        if not (redraw and accepted):
            scales[REMAINING] = remove(w, sums, item)
        if accepted:
            if state[N_ACCEPTED] == 0:
                state[FIRST] = state[N_REJECTED]
            state[N_ACCEPTED] += 1
            if state[N_ACCEPTED] == state[ACCEPTS]:
                state[ENDED] = BY_ACCEPT
        else:
            state[N_REJECTED] += 1
            n, j = state[N_REJECTED], state[FIRST]
            cap = state[BASE] + state[SLOPE] * j
            if n == state[BUDGET]:
                state[ENDED] = BY_BUDGET
            elif state[BASE] > 0 and state[N_ACCEPTED] > 0 and n - j == cap:
                state[ENDED] = BY_CAP
        if state[MOST] > 0 and state[SEEN] == state[MOST] and state[ENDED] == RUNNING:
            state[ENDED] = BY_BUDGET
        if state[ENDED] != RUNNING:
            return -1


@njit(cache=True, nogil=True)
def take(uniforms, logits, w, sums, items, log_mass, log_left, scales):
    """Draw one item without replacement for each uniform; how many there were.

    `log_mass` and `log_left` become the log masses of the items and of what was left before each
    draw, on the scale of the logits, which lose the items taken.
    """
    total = scales[REMAINING]
    taken = 0
    while taken < uniforms.size:
        if total < SMALL * scales[INITIAL]:
            w[:] = 1.0
            total = rescale(logits, w, sums, scales)
        if total <= 0.0:
            break
        item = locate(uniforms[taken], w, sums, total)
        items[taken] = item
        log_left[taken] = scales[TOP] + math.log(total)
        log_mass[taken] = logits[item]
        logits[item] = -math.inf
        total = remove(w, sums, item)
        taken += 1
    scales[REMAINING] = total
    return taken


@njit(cache=True, nogil=True)
def upcoming(uniforms, w, sums, known, state, scales, found):
    """Items whose answers are due one after the other while all of them are no; their number.

    The first is the pending one. Everything is left as it was.
    """
    n, j = state[N_REJECTED], state[FIRST]
    limit = uniforms.size + 1
    if state[BUDGET] > 0:
        limit = min(limit, state[BUDGET] - n)
    if state[BASE] > 0 and state[N_ACCEPTED] > 0:
        limit = min(limit, state[BASE] + state[SLOPE] * j - n + j)
    if state[MOST] > 0:
        limit = min(limit, state[MOST] - state[SEEN])
    taken = np.empty(uniforms.size + 1, np.int64)
    masses, blocks = np.empty(taken.size), np.empty(taken.size)
    item, at, many, m = state[PENDING], state[USED], 0, 0
    total = scales[REMAINING]
    while True:
        if known[item] == UNKNOWN:
            found[many] = item
            many += 1
        taken[m], masses[m], blocks[m] = item, w[item], sums[item // BLOCK]
        m += 1
        if many == found.size or m >= limit or at == uniforms.size:
            break
        total = remove(w, sums, item)
        if total < SMALL * scales[INITIAL]:
            break
        item = locate(uniforms[at], w, sums, total)
        at += 1
        if known[item] == ACCEPTED:
            break
    for i in range(m - 1, -1, -1):
        w[taken[i]] = masses[i]
        sums[taken[i] // BLOCK] = blocks[i]
    return many


@njit(cache=True, nogil=True)
def drop(w, sums, item, kin, known, scales):
    """Take away what is rejected with an item, which stays; log of the mass of all of them."""
    mass = w[item]
    for i in kin:
        if i != item:
            mass += w[i]
            w[i] = 0.0
            known[i] = GONE
    if kin.size > sums.size:
        block_sums(w, sums)
    else:
        for i in kin:
            sums[i // BLOCK] = block_sum(w, i // BLOCK)
    return scales[TOP] + math.log(mass)


@njit(cache=True, nogil=True)
def begin(state, start, scales, total, top):
    """State and scales of a new run."""
    for i in range(state.size):
        state[i] = start[i]
    scales[TOP] = top
    scales[INITIAL] = total
    scales[REMAINING] = total


@njit(cache=True, nogil=True)
def log_add(x, y):
    """log(exp(x) + exp(y))."""
    if x < y:
        x, y = y, x
    return x if y == -math.inf else x + math.log1p(math.exp(y - x))


@njit(cache=True, nogil=True)
def suffix_sums(log_masses, start, logged):
    """Entry i: start plus the masses from i on; logs if `logged`."""
    out = np.empty(log_masses.size + 1)
    out[-1] = start
    for i in range(log_masses.size - 1, -1, -1):
        if logged:
            out[i] = log_add(out[i + 1], log_masses[i])
        else:
            out[i] = out[i + 1] + math.exp(log_masses[i])
    return out


@njit(cache=True, nogil=True)
def share(log_mass, after_rejects, after_accepts, logged):
    """Mass of an item relative to what remained before it."""
    if logged:
        return math.exp(log_mass - log_add(after_rejects, after_accepts))
    return math.exp(log_mass) / (after_rejects + after_accepts)


@njit(cache=True, nogil=True)
def averaged(log_r, log_a, log_rest, k, ended, base, slope, budget):
    """Log weight: the one-probe weight averaged over where the accepts stood among the rejects.

    And the relative variance of the weight, estimated from this run. The two inspections after
    the first accept give two factors, each of which has mean Z given all before it; their product
    averaged in the same way has mean Z^2. NaN where the run may have ended before them.
    Values are kept in units of the returned item's mass, which neither over- nor underflow.
    """
    n = log_r.size
    logged = log_rest < LOGGED and log_rest > -math.inf
    for i in range(n):
        logged = logged or log_r[i] < LOGGED
    for i in range(log_a.size):
        logged = logged or log_a[i] < LOGGED
    rejects = suffix_sums(log_r, -math.inf if logged else 0.0, logged)
    accepts = suffix_sums(log_a, log_rest if logged else math.exp(log_rest), logged)
    by_accept = ended == BY_ACCEPT
    last = k - 1 if by_accept else log_a.size
    two = k >= 3 and budget < 0 and base != 1
    den, num, square = np.zeros(last + 1), np.zeros(last + 1), np.zeros(last + 1)
    den[0] = 1.0
    open_1 = 0.0  # paths with one reject since the first accept, whose second factor is open
    for j in range(n + 1):
        if j == n and not by_accept:
            break
        # mass before the first accept, in units of the item's
        ahead = 1.0 / max(share(log_a[0], rejects[j], accepts[0], logged), 1e-300)
        for s in range(1, last):
            q = share(log_a[s], rejects[j], accepts[s], logged)
            den[s + 1] += den[s] * q
            num[s + 1] += num[s] * q
            square[s + 1] += square[s] * q
            if s == 1:
                square[2] += open_1 * q * ahead
        f = g = 0.0
        allowed = True
        if base > 0:
            cap = base + slope * j
            if ended == BY_CAP:
                allowed = n - j == cap
            elif ended == BY_BUDGET:
                allowed = n - j <= cap
            else:
                allowed = n - j < cap
        if allowed:
            f = den[0] * share(log_a[0], rejects[j], accepts[0], logged)
            g = den[0]
        open_0, open_2 = f, 0.0
        den[1] += f
        num[1] += g if j == budget - 1 or (j == n and k == 2) else f
        for s in range(1, last):
            q = share(log_a[s], rejects[j], accepts[s], logged)
            f *= q
            g *= q
            den[s + 1] += f
            num[s + 1] += g
            if s == 1:
                open_2 = g
            else:
                square[s + 1] += g * ahead
        if j == n:
            if k == 3:
                square[2] += open_2 * ahead
            break
        if last >= 2:
            pair = 1.0 + math.exp(min(log_a[1] - log_a[0], 700.0))
            square[2] += open_2 * pair
        square[1] += open_1
        open_1 = open_0
        largest = 0.0
        for s in range(last + 1):
            q = share(log_r[j], rejects[j], accepts[s], logged)
            den[s] *= q
            num[s] *= q
            square[s] *= q
            if s == 1:
                open_1 *= q
            largest = max(largest, den[s])
        for s in range(last + 1):
            den[s] /= largest
            num[s] /= largest
            square[s] /= largest
        open_1 /= largest
    mean = num[last] / den[last]
    spread = 1.0 - square[last] / den[last] / mean / mean if two else math.nan
    return log_a[0] + math.log(mean), spread if math.isfinite(spread) else math.nan


@njit(cache=True, nogil=True)
def harmonic(log_r, log_rest, k):
    """Log weight after k accepts with redraw, and its relative variance (NaN for k = 2).

    `log_rest` is the mass of all but the rejects.
    """
    remaining = suffix_sums(log_r, log_rest, True)
    h = np.zeros(k)
    h[0] = 1.0
    for j in range(log_r.size + 1):
        d = math.exp(log_rest - remaining[j])
        for m in range(1, k):
            h[m] += d * h[m - 1]
    mean = h[k - 2] / h[k - 1]
    spread = 1.0 - h[k - 3] / h[k - 1] / mean / mean if k >= 3 else math.nan
    return log_rest + math.log(mean), spread


@njit(cache=True, nogil=True)
def two_loop(log_r, log_rest, first):
    """Log weight of the run with two loops."""
    return suffix_sums(log_r, log_rest, True)[first] - math.log(log_r.size + 1.0)


@njit(cache=True, nogil=True)
def slopes(log_p, log_rest, u):
    """Log integrand of the set weights at u = log t, and its first two derivatives."""
    rest = math.exp(log_rest + u)
    value, first, second = u - rest, 1.0 - rest, -rest
    for i in range(log_p.size):
        x = log_p[i] + u
        z = math.exp(x)
        if z < 1e-8:
            value += x
            first += 1.0
            second -= 0.5 * z
        elif z < 700.0:
            q = z / math.expm1(z)
            value += math.log(-math.expm1(-z))
            first += q
            second += q * (1.0 - z - q)
    return value, first, second


@njit(cache=True, nogil=True)
def unordered(log_r, log_rest, k):
    """Log of the harmonic weight averaged over the order of the rejects, too."""
    m = k - 1.0
    low = high = -log_rest
    while slopes(log_r, log_rest, low)[1] + m < 0.0:
        low -= 1.0
    while slopes(log_r, log_rest, high)[1] + m > 0.0:
        high += 1.0
    for _ in range(60):
        u = 0.5 * (low + high)
        if slopes(log_r, log_rest, u)[1] + m > 0.0:
            low = u
        else:
            high = u
    peak, _, second = slopes(log_r, log_rest, u)
    step = 0.3 / math.sqrt(-second)
    den = num = 0.0
    for side in (-1, 1):
        i = 0 if side == 1 else 1
        while True:
            move = side * i * step
            e = math.exp(slopes(log_r, log_rest, u + move)[0] - peak + m * move)
            shrunk = e * math.exp(-move)
            if max(e, shrunk) < 1e-17:
                break
            den += e
            num += shrunk
            i += 1
    return math.log(m * num / den) - u


@njit(cache=True, nogil=True)
def set_weights(log_p, log_rest):
    """Log of mass over expected inclusion, item by item; the trigger belongs to the rest."""
    high = math.log(log_p.size + 1.0) - log_rest
    low = high - 1.0
    while slopes(log_p, log_rest, low)[1] < 0.0:
        low -= 2.0 * (high - low)
    u = 0.5 * (low + high)
    for _ in range(100):
        _, first, second = slopes(log_p, log_rest, u)
        if first > 0.0:
            low = u
        else:
            high = u
        step = u - first / second
        new = step if low < step < high else 0.5 * (low + high)
        moved = abs(new - u)
        u = new
        if moved < 1e-9 or high - low < 1e-9:
            break
    peak, _, second = slopes(log_p, log_rest, u)
    sd = 1.0 / math.sqrt(-second)
    den = 0.0
    num = np.zeros(log_p.size)
    for side in (-1, 1):
        i = 0 if side == 1 else 1
        while True:
            v = u + side * i * 0.3 * sd
            e = math.exp(slopes(log_p, log_rest, v)[0] - peak)
            shrink = e * math.exp(u - v)
            if max(e, shrink) < 1e-17:
                break
            den += e
            for a in range(log_p.size):
                z = math.exp(log_p[a] + v)
                num[a] += shrink * (1.0 if z < 1e-12 else z / -math.expm1(-z))
            i += 1
    for a in range(log_p.size):
        num[a] = math.log(num[a] / den) - u
    return num


@njit(cache=True, nogil=True)
def log_sum(x):
    """log(sum(exp(x)))."""
    top = -math.inf
    for i in range(x.size):
        top = max(top, x[i])
    if top == -math.inf:
        return top
    total = 0.0
    for i in range(x.size):
        total += math.exp(x[i] - top)
    return top + math.log(total)


@njit(cache=True, nogil=True)
def weigh(logits, log_total, known, order, state, scales, method):
    """The outcome of a run.

    First accepted item (-1: none), its log weight and relative variance, log mass accepted, a
    bound on that of all accepts, log mass left over, evaluations, rejects, and how it ended.
    """
    n, redraw = state[SEEN], state[REDRAW] == 1
    log_r, log_a, log_once = np.empty(n), np.empty(n), np.empty(n)
    n_r = n_a = n_once = 0
    first = -1
    for i in range(n):
        item = order[i]
        log_p = logits[item] - log_total
        if known[item] == REJECTED:
            log_r[n_r] = log_p
            n_r += 1
            continue
        if first < 0:
            first = item
        again = False
        for m in range(i if redraw else 0):
            again = again or order[m] == item
        log_a[n_a] = log_p
        n_a += 1
        if not again:
            log_once[n_once] = log_p
            n_once += 1
    log_r, log_a = log_r[:n_r], log_a[:n_a]
    inside = log_sum(log_once[:n_once])
    left = scales[REMAINING]
    log_rest = scales[TOP] + math.log(left) - log_total if left > 0.0 else -math.inf
    spread = math.nan
    if n_a == 0 or method == OF_SET:
        weight = -math.inf
    elif method == HARMONIC:
        weight, spread = harmonic(log_r, log_rest, state[ACCEPTS])
    elif method == UNORDERED:
        weight = unordered(log_r, log_rest, state[ACCEPTS])
        ordered, spread = harmonic(log_r, log_rest, state[ACCEPTS])
        spread = 1.0 - (1.0 - spread) * math.exp(2.0 * (ordered - weight))
    elif method == TWO_LOOP:
        weight = two_loop(log_r, log_rest, state[FIRST])
    elif state[ENDED] == EXHAUSTED:
        weight, spread = min(inside, 0.0), 0.0
    else:
        k, base, slope, budget = state[ACCEPTS], state[BASE], state[SLOPE], state[BUDGET]
        weight, spread = averaged(log_r, log_a, log_rest, k, state[ENDED], base, slope, budget)
    upper = inside if state[ENDED] == EXHAUSTED else log_rest
    if not redraw and state[ENDED] != EXHAUSTED:
        upper = log_add(inside, log_rest)
    upper = min(upper, 0.0)
    lower, calls, rejects = min(inside, upper), state[EVALUATIONS], state[N_REJECTED]
    return first, weight, spread, lower, upper, log_rest, calls, rejects, state[ENDED]


@njit(cache=True, nogil=True)
def accepted_sum(w, known, values):
    """Sum of weights of accepted items, times values where there are any.

    Without a branch for each item, which a processor would guess wrong as often as right.
    """
    s0 = s1 = s2 = s3 = 0.0
    last = w.size - w.size % 4
    if values.size > 0:
        for i in range(0, last, 4):
            s0 += w[i] * (known[i] & 1) * values[i]
            s1 += w[i + 1] * (known[i + 1] & 1) * values[i + 1]
            s2 += w[i + 2] * (known[i + 2] & 1) * values[i + 2]
            s3 += w[i + 3] * (known[i + 3] & 1) * values[i + 3]
        for i in range(last, w.size):
            s0 += w[i] * (known[i] & 1) * values[i]
    else:
        for i in range(0, last, 4):
            s0 += w[i] * (known[i] & 1)
            s1 += w[i + 1] * (known[i + 1] & 1)
            s2 += w[i + 2] * (known[i + 2] & 1)
            s3 += w[i + 3] * (known[i + 3] & 1)
        for i in range(last, w.size):
            s0 += w[i] * (known[i] & 1)
    return (s0 + s1) + (s2 + s3)


@njit(cache=True, nogil=True)
def masked(logits, w, top, log_total, known, values, u):
    """A draw with all answers known, by the share u of the accepted mass.

    The item (-1: none is accepted), log mean value, log mass accepted, items possible and
    accepted. `values` is empty where accepts count alike.
    """
    soft = values.size > 0
    n = accepts = 0
    for i in range(logits.size):
        n += logits[i] > -math.inf
    if n == logits.size:
        for i in range(known.size):
            accepts += known[i] & 1
    else:
        for i in range(known.size):
            accepts += (known[i] & 1) * (logits[i] > -math.inf)
    if accepts == 0:
        return -1, -math.inf, -math.inf, n, 0
    sums = np.empty((logits.size + BLOCK - 1) // BLOCK)
    inside = 0.0
    for b in range(sums.size):
        one = slice(b * BLOCK, (b + 1) * BLOCK)
        sums[b] = accepted_sum(w[one], known[one], values[one])
        inside += accepted_sum(w[one], known[one], values[:0]) if soft else sums[b]
    total = part_sum(sums) if soft else inside
    item = -1
    if inside > SMALL and SMALL < total < 1.0 / SMALL:
        left, block = u * total, -1
        for b in range(sums.size):
            if sums[b] > 0.0:
                block = b
                if left < sums[b]:
                    break
                left -= sums[b]
        for i in range(block * BLOCK, min((block + 1) * BLOCK, logits.size)):
            mass = w[i] * (known[i] & 1) * (values[i] if soft else 1.0)
            if mass > 0.0:
                item = i
                if left < mass:
                    break
                left -= mass
        mean, mass = top + math.log(total) - log_total, top + math.log(inside) - log_total
        return item, mean, mass, n, accepts
    # masses too small or too large for sums as they are
    log_mass, log_w = np.full(logits.size, -math.inf), np.full(logits.size, -math.inf)
    for i in range(logits.size):
        if known[i] == ACCEPTED and logits[i] > -math.inf:
            log_mass[i] = logits[i] - log_total
            log_w[i] = log_mass[i] + math.log(values[i]) if soft else log_mass[i]
    log_mean = log_sum(log_w)
    left = u
    for i in range(logits.size):
        if log_w[i] > -math.inf:
            item = i
            left -= math.exp(log_w[i] - log_mean)
            if left < 0.0:
                break
    return item, log_mean, log_sum(log_mass), n, accepts


@njit(cache=True, nogil=True)
def below(column, parent):
    """Columns of every node and all below it, as bits, and how many nodes deep these go.

    A column has the bit of its rest by 64.
    """
    bits, deep = np.empty(column.size, np.uint64), np.ones(column.size, np.int64)
    one = np.uint64(1)
    for i in range(column.size):
        bits[i] = one << np.uint64(column[i] % 64)
    for i in range(column.size - 1, -1, -1):
        if parent[i] >= 0:
            bits[parent[i]] |= bits[i]
            deep[parent[i]] = max(deep[parent[i]], deep[i] + 1)
    return bits, deep


@njit(cache=True, nogil=True)
def usual(row, letters):
    """State that most columns of a row lead to, and these as bits; others of the same bit do, too.

    That is -1 where no column leads on; of pieces of characters none counts.
    """
    to, votes, bits = -1, 0, ~np.uint64(0)
    for c in range(letters):
        if row[c] >= 0:
            if votes == 0:
                to = row[c]
            votes += 1 if row[c] == to else -1
    for c in range(row.size):
        if c >= letters or row[c] != to:
            bits &= ~(np.uint64(1) << np.uint64(c % 64))
    return to, bits


@njit(cache=True, nogil=True)
def room(table, letters, ways, bits, state, most):
    """Steps, at most so many, that the usual columns of a state lead on in the usual way.

    What is usual goes into `ways` and `bits`, -2 in `ways` where it isn't known yet.
    """
    steps, first = 0, state
    while True:
        if ways[state] == -2:
            ways[state], bits[state] = usual(table[state], letters)
        if steps == most or ways[state] < 0 or bits[first] & ~bits[state] != 0:
            return steps
        state = ways[state]
        steps += 1


@njit(cache=True, nogil=True)
def met(row, many):
    """Which of so many states a row leads to; -1 is none."""
    seen = np.zeros(many, np.bool_)
    for j in range(row.size):
        if row[j] >= 0:
            seen[row[j]] = True
    return seen


@njit(cache=True, nogil=True)
def gather(row, q, mass, states):
    """Mass of q by the states that a row of items leads to, which are listed; their number.

    Of no item is below 0, of `mass` at the beginning everything.
    """
    many = 0
    for j in range(row.size):
        to = row[j]
        if to >= 0:
            if mass[to] < 0.0:
                mass[to] = 0.0
                states[many] = to
                many += 1
            mass[to] += q[j]
    return many


@njit(cache=True, nogil=True)
def walk(
    table, letters, alive, tree, column, below, items, nodes, states, found, due, rest
):  # fmt: skip
    """States after all tokens of a tree below some nodes, from the states before these.

    Node -1 is the whole tree; -2 minus a state stands for that after the node. Columns from
    `letters` on are pieces of characters: what they lead to is -2 minus the state before. What the
    table doesn't say, below -1, goes into `due` and `rest`, nodes and the states before them, and
    is left; the number of these. States that aren't alive,
    where it says so of any, are not found. A branch all of whose columns lead on in the usual way,
    to its last token, is not gone through.
    """
    depth, after, first, own, levels = tree
    bits, deep, deepest = below
    stack, line = np.empty(due.size + 1, np.int64), np.empty(deepest, np.int64)
    ways, usually = np.full(table.shape[0], -2, np.int64), np.empty(table.shape[0], np.uint64)
    rooms, many = np.full(table.shape[0], -1, np.int64), 0
    for k in range(nodes.size):
        i, end = nodes[k], depth.size
        if i >= 0:
            end = after[i]
        stack[depth[max(i, 0)] - 1] = states[k]
        i = max(i, 0)
        while i < end:
            before = stack[depth[i] - 1]
            to = -2 - before
            if before >= 0:
                to = table[before, column[i]]
                if rooms[before] < 0:
                    rooms[before] = room(table, letters, ways, usually, before, deepest)
                if deep[i] <= rooms[before] and bits[i] & ~usually[before] == 0:
                    for d in range(deep[i]):
                        before = ways[before]
                        line[d] = before
                        if alive.size and not (before < alive.size and alive[before]):
                            line[d] = -1
                    for j in range(first[i], first[after[i]]):
                        found[items[j]] = line[levels[j] - depth[i]]
                    i = after[i]
                    continue
            if to < 0:
                if to < -1:
                    due[many], rest[many] = i, before
                    many += 1
                i = after[i]
                continue
            stack[depth[i]] = to
            if column[i] >= letters:
                to = -2 - before
            if to < 0 or alive.size == 0 or (to < alive.size and alive[to]):
                for j in range(first[i], first[i] + own[i]):
                    found[items[j]] = to
            i += 1
    return many
