"""Compiled merges of projected clouds; sorting is NumPy's, whose vectorised sort is faster."""

import math
from typing import Any, NamedTuple

import numba
import numpy as np

_FAST = {"reassoc", "contract", "nsz"}
# Gauss-Legendre nodes and weights for short pieces and long ones
_FEW, _MORE = np.polynomial.legendre.leggauss(4), np.polynomial.legendre.leggauss(8)


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def scan(points, bits, mask):
    """Largest size as bits, a sum that tells arrays apart, column sums and the sum of squares.

    Bits of floats are ordered as their sizes are, infinity and NaN above all others: one pass over
    integers says what three over floats would.
    """
    n, d = points.shape
    largest = bits[0, 0] & mask
    total = place = np.int64(0)
    sums, squares = np.zeros(d), 0.0
    for i in range(n):
        for k in range(d):
            largest = max(largest, bits[i, k] & mask)
            total += np.int64(bits[i, k]) ^ place
            place += np.int64(0x61C8864680B583EB)
            value = np.float64(points[i, k])
            sums[k] += value
            squares += value * value
    return largest, total, sums, squares


@numba.njit(inline="always")
def _power(difference, p):
    size = abs(difference)
    if p == 2.0:
        return size * size
    if p == 1.0:
        return size
    return size**p


@numba.njit(inline="always")
def _slope(difference, p):
    """Derivative of |difference|^p."""
    if p == 2.0:
        return 2.0 * difference
    if difference == 0.0:
        return 0.0
    if p == 1.0:
        return math.copysign(1.0, difference)
    return math.copysign(p * abs(difference) ** (p - 1.0), difference)


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def equal_rows(a, b, p, out):
    """W of sorted rows of the same length."""
    n = a.shape[1]
    for k in range(a.shape[0]):
        total = 0.0
        if p == 2.0:
            for i in range(n):
                difference = np.float64(a[k, i]) - np.float64(b[k, i])
                total += difference * difference
        elif p == 1.0:
            for i in range(n):
                total += abs(np.float64(a[k, i]) - np.float64(b[k, i]))
        else:
            for i in range(n):
                total += abs(np.float64(a[k, i]) - np.float64(b[k, i])) ** p
        out[k] = total / n


@numba.njit(cache=True, nogil=True)
def _line(a, n, b, m, p):
    """W of the first n and m entries of sorted rows: masses are whole multiples of 1/(n m)."""
    total = 0.0
    if n == m:
        for i in range(n):
            total += _power(np.float64(a[i]) - np.float64(b[i]), p)
        return total / n
    i, j = 0, 0
    left_a, left_b = np.int64(m), np.int64(n)
    while i < n:
        mass = min(left_a, left_b)
        total += mass * _power(np.float64(a[i]) - np.float64(b[j]), p)
        left_a -= mass
        left_b -= mass
        if left_a == 0:
            i += 1
            left_a = np.int64(m)
        if left_b == 0:
            j += 1
            left_b = np.int64(n)
    return total / (np.float64(n) * np.float64(m))


@numba.njit(cache=True, nogil=True)
def unequal_rows(a, b, p, out):
    """W of sorted rows of any lengths."""
    for k in range(a.shape[0]):
        out[k] = _line(a[k], a.shape[1], b[k], b.shape[1], p)


@numba.njit(cache=True, nogil=True)
def _merge(a, weights_a, n, b, weights_b, m, p):
    """W of the first n and m entries of sorted rows with weights of sum 1."""
    total = 0.0
    i, j = 0, 0
    left_a, left_b = weights_a[0], weights_b[0]
    while True:
        cost = _power(a[i] - b[j], p)
        # weights that should end together differ by rounding, and a sliver can go a long way
        together = abs(left_a - left_b) <= 1e-12 * left_a
        mass = left_a if together else min(left_a, left_b)
        total += mass * cost
        first, second = together or left_a < left_b, together or left_a > left_b
        left_a -= mass
        left_b -= mass
        if first:
            i += 1
            if i == n:
                break
            left_a = weights_a[i]
        if second:
            j += 1
            if j == m:
                break
            left_b = weights_b[j]
    return total


@numba.njit(cache=True, nogil=True)
def weighted_rows(a, b, order_a, order_b, weights_a, weights_b, p, out):
    """W of rows as they are, with the order of their points and weights of sum 1."""
    n, m = a.shape[1], b.shape[1]
    row_a, row_b, masses_a, masses_b = np.empty(n), np.empty(m), np.empty(n), np.empty(m)
    for k in range(a.shape[0]):
        for i in range(n):
            row_a[i], masses_a[i] = a[k, order_a[k, i]], weights_a[order_a[k, i]]
        for j in range(m):
            row_b[j], masses_b[j] = b[k, order_b[k, j]], weights_b[order_b[k, j]]
        out[k] = _merge(row_a, masses_a, n, row_b, masses_b, m, p)


@numba.njit(cache=True, nogil=True)
def _without_each(a, b, order, weight, p, found, first, second):
    """Adds to found (n,) W of sorted rows without each point of a, times a weight.

    Where point i is missing, the cells of 1/(n - 1) below it hold the point of the same number, and
    the others the next one: a running sum of the first kind and one of the second from behind.
    """
    n, m = a.size, b.size
    cells = n - 1
    j, left_b = 0, np.int64(cells)
    for k in range(cells):
        left, own, after = np.int64(m), 0.0, 0.0
        while left > 0:
            mass = min(left, left_b)
            own += mass * _power(a[k] - b[j], p)
            after += mass * _power(a[k + 1] - b[j], p)
            left -= mass
            left_b -= mass
            if left_b == 0:
                j += 1
                left_b = np.int64(cells)
        first[k], second[k] = own, after
    for k in range(cells - 2, -1, -1):
        second[k] += second[k + 1]
    unit = weight / (np.float64(cells) * np.float64(m))
    below = 0.0
    for i in range(n):
        found[order[i]] += unit * (below + (second[i] if i < cells else 0.0))
        if i < cells:
            below += first[i]


@numba.njit(cache=True, nogil=True)
def _quartered(row, order, quarter, parts, sizes):
    """Four parts of a sorted row, and their sizes."""
    sizes[:] = 0
    for r in range(row.size):
        q = quarter[order[r]]
        parts[q, sizes[q]] = row[r]
        sizes[q] += 1


@numba.njit(cache=True, nogil=True)
def _halved(row, order, quarter, first, second):
    """Two parts of a sorted row, and the size of the first."""
    i = j = 0
    for r in range(row.size):
        if quarter[order[r]] < 2:
            first[i] = row[r]
            i += 1
        else:
            second[j] = row[r]
            j += 1
    return i


@numba.njit(cache=True, nogil=True)
def jackknife_rows(
    a, b, order_a, order_b, weights, quarters_a, quarters_b, start, lines, each, p, found_a, found_b
):
    """W of sorted rows without each point, added up, and the mean W between halves and quarters.

    Rows of even and of odd blocks of ``lines`` rows are added up apart, (2, n) and (2, m).

    ``each`` splits are tried per row, of those in ``quarters_a`` (S, n) and ``quarters_b`` by
    turns; quarters 0 and 1 are one half. ``start`` is the number of the first row. The mean between
    quarters is left 0 from p = 2 on.
    """
    n, m, halved, quartered = a.shape[1], b.shape[1], 0.0, 0.0
    a1, a2 = np.empty(max(n, m)), np.empty(max(n, m))
    b1, b2 = np.empty(m), np.empty(m)
    parts_a, parts_b = np.empty((4, n)), np.empty((4, m))
    sizes_a, sizes_b = np.empty(4, np.int64), np.empty(4, np.int64)
    for k in range(a.shape[0]):
        odd = (start + k) // lines % 2
        _without_each(a[k], b[k], order_a[k], weights[k], p, found_a[odd], a1, a2)
        _without_each(b[k], a[k], order_b[k], weights[k], p, found_b[odd], a1, a2)
        for e in range(each):
            s = ((start + k) * each + e) % quarters_a.shape[0]
            i = _halved(a[k], order_a[k], quarters_a[s], a1, a2)
            j = _halved(b[k], order_b[k], quarters_b[s], b1, b2)
            found = _line(a1, i, b1, j, p) + _line(a1, i, b2, m - j, p)
            found += _line(a2, n - i, b1, j, p) + _line(a2, n - i, b2, m - j, p)
            halved += weights[k] * found / (4 * each)
            if p < 2.0:
                _quartered(a[k], order_a[k], quarters_a[s], parts_a, sizes_a)
                _quartered(b[k], order_b[k], quarters_b[s], parts_b, sizes_b)
                for q in range(4):
                    found = _line(parts_a[q], sizes_a[q], parts_b[q], sizes_b[q], p)
                    quartered += weights[k] * found / (4 * each)
    return halved, quartered


@numba.njit(cache=True, nogil=True)
def _chosen(row, masses, groups, labels, low, high, values, weights):
    """Points of groups with labels from low to below high, weights of sum 1; how many they are."""
    count, total = 0, 0.0
    for r in range(row.size):
        if low <= labels[groups[r]] < high:
            values[count], weights[count] = row[r], masses[r]
            total += masses[r]
            count += 1
    for r in range(count):
        weights[r] /= total
    return count


@numba.njit(cache=True, nogil=True)
def _without_groups(a, masses_a, groups, b, masses_b, weight, p, found):
    """Adds to found (G,) W of sorted rows without each group of a, times a weight."""
    labels = np.ones(found.size, np.int8)
    values, shares = np.empty(a.size), np.empty(a.size)
    for g in range(found.size):
        labels[g] = 0
        count = _chosen(a, masses_a, groups, labels, 1, 2, values, shares)
        found[g] += weight * _merge(values, shares, count, b, masses_b, b.size, p)
        labels[g] = 1


@numba.njit(cache=True, nogil=True)
def grouped_rows(
    a, b, masses_a, masses_b, groups_a, groups_b, weights, quarters_a, quarters_b, start, lines,
    each, p, found_a, found_b,
):  # fmt: skip
    """`jackknife_rows` of points with masses and groups, whole groups at a time."""
    n, m, halved, quartered = a.shape[1], b.shape[1], 0.0, 0.0
    first, shares_a, second, shares_b = np.empty(n), np.empty(n), np.empty(m), np.empty(m)
    for k in range(a.shape[0]):
        x, y, w_x, w_y, g_x, g_y = a[k], b[k], masses_a[k], masses_b[k], groups_a[k], groups_b[k]
        odd = (start + k) // lines % 2
        _without_groups(x, w_x, g_x, y, w_y, weights[k], p, found_a[odd])
        _without_groups(y, w_y, g_y, x, w_x, weights[k], p, found_b[odd])
        for e in range(4 * each):
            s = ((start + k) * each + e // 4) % quarters_a.shape[0]
            low, high = 2 * (e % 2), 2 * (e % 4 // 2)
            i = _chosen(x, w_x, g_x, quarters_a[s], low, low + 2, first, shares_a)
            j = _chosen(y, w_y, g_y, quarters_b[s], high, high + 2, second, shares_b)
            found = _merge(first, shares_a, i, second, shares_b, j, p)
            halved += weights[k] / (4 * each) * found
            if p < 2.0:
                q = e % 4
                i = _chosen(x, w_x, g_x, quarters_a[s], q, q + 1, first, shares_a)
                j = _chosen(y, w_y, g_y, quarters_b[s], q, q + 1, second, shares_b)
                found = _merge(first, shares_a, i, second, shares_b, j, p)
                quartered += weights[k] / (4 * each) * found
    return halved, quartered


@numba.njit(cache=True, nogil=True)
def equal_slopes(a, b, order_a, order_b, p, out, slope_a, slope_b):
    """`slopes` of clouds of the same size without weights: rank meets rank."""
    n = a.shape[1]
    for k in range(a.shape[0]):
        total = 0.0
        for r in range(n):
            i, j = order_a[k, r], order_b[k, r]
            difference = np.float64(a[k, i]) - np.float64(b[k, j])
            total += _power(difference, p)
            slope = _slope(difference, p) / n
            slope_a[k, i] = slope
            slope_b[k, j] = -slope
        out[k] = total / n


@numba.njit(cache=True, nogil=True)
def slopes(a, b, order_a, order_b, weights_a, weights_b, p, out, slope_a, slope_b):
    """W of rows, and its derivative by every projected point of both clouds."""
    n, m = a.shape[1], b.shape[1]
    for k in range(a.shape[0]):
        for i in range(n):
            slope_a[k, i] = 0.0
        for j in range(m):
            slope_b[k, j] = 0.0
        total = 0.0
        i, j = 0, 0
        at_a, at_b = order_a[k, 0], order_b[k, 0]
        left_a, left_b = weights_a[at_a], weights_b[at_b]
        while True:
            difference = np.float64(a[k, at_a]) - np.float64(b[k, at_b])
            # weights that should end together differ by rounding: no point is left for its sliver
            close = abs(left_a - left_b) <= 1e-14
            mass = min(left_a, left_b)
            total += mass * _power(difference, p)
            slope = mass * _slope(difference, p)
            slope_a[k, at_a] += slope
            slope_b[k, at_b] -= slope
            left_a -= mass
            left_b -= mass
            if close or left_a <= left_b:
                i += 1
            if close or left_b < left_a:
                j += 1
            if i == n or j == m:
                break
            if close or left_a <= left_b:
                at_a = order_a[k, i]
                next_a = weights_a[at_a]
            else:
                next_a = left_a
            if close or left_b < left_a:
                at_b = order_b[k, j]
                next_b = weights_b[at_b]
            else:
                next_b = left_b
            left_a, left_b = next_a, next_b
        out[k] = total


@numba.njit(cache=True, nogil=True)
def split_rows(rows, order, labels, n, p, out):
    """W between the points of a pool with label 1 (n of them) and the others, by sorted rows."""
    size = rows.shape[1]
    # with a place more, which is never read: half the branches would be guessed wrong
    of_first, of_second = np.empty(n + 1), np.empty(size - n + 1)
    first, second = of_first[:n].reshape(1, n), of_second[: size - n].reshape(1, size - n)
    for k in range(rows.shape[0]):
        i, j = 0, 0
        for r in range(size):
            chosen = int(labels[order[k, r]])
            of_first[i] = of_second[j] = rows[k, r]
            i += chosen
            j += 1 - chosen
        if 2 * n == size:
            equal_rows(first, second, p, out[k : k + 1])
        else:
            unequal_rows(first, second, p, out[k : k + 1])


@numba.njit(cache=True, nogil=True)
def _power_of_sine(low, high, p):
    """Integral of sin(t)^p over 0 <= low <= t <= high <= pi/2, to some twelve digits."""
    total, least = 0.0, 1e-7 * high
    while high > low:
        # towards 0 in halves, which no nodes reach a singular end by
        start = max(low, 0.5 * high, high - 1.0 / p)
        if high < least:
            start = low
        nodes, weights = _MORE if 16.0 * p * (high - start) > start else _FEW
        half, middle, found = 0.5 * (high - start), 0.5 * (high + start), 0.0
        for k in range(nodes.size):
            found += weights[k] * math.sin(middle + half * nodes[k]) ** p
        total += half * found
        high = start
    return total


@numba.njit(cache=True, nogil=True)
def _swept(dx, dy, start, end, p):
    """Integral of |theta.D|^p over angles: of terms that can't be negative."""
    h = end - start
    c, s = math.cos(0.5 * (start + end)), math.sin(0.5 * (start + end))
    along, across = dx * c + dy * s, dy * c - dx * s
    if p == 2.0:
        # h - sin h
        if h < 0.1:
            q = h * h
            t = q * h / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0 * (1.0 - q / 72.0)))
        else:
            t = h - math.sin(h)
        return along * along * (h - 0.5 * t) + across * across * 0.5 * t
    # |D| |sin(t)| around the angle at which the projection is 0
    size, at = math.hypot(along, across), abs(math.atan2(along, across))
    if size == 0.0:
        return 0.0
    at = min(at, math.pi - at)
    below, above = at - 0.5 * h, at + 0.5 * h
    if p == 1.0:
        if below >= 0.0 and above <= math.pi:
            return 2.0 * abs(along) * math.sin(0.5 * h)
        return 2.0 * size * (math.sin(0.5 * below) ** 2 + math.sin(0.5 * above) ** 2)
    total, low = 0.0, max(below, 0.0)
    if below < 0.0:
        total += _power_of_sine(0.0, -below, p)
    if above > 0.5 * math.pi:
        total += _power_of_sine(min(low, 0.5 * math.pi), 0.5 * math.pi, p)
        total += _power_of_sine(max(math.pi - above, 0.0), 0.5 * math.pi, p)
    else:
        total += _power_of_sine(low, above, p)
    return size**p * total


class _Line(NamedTuple):
    """Both clouds, projected: points, those at each rank, mass up to it, and what is added up."""

    points: Any
    at: Any
    ends: Any
    since: Any
    sums: Any


@numba.njit(cache=True, nogil=True)
def _couple(low, high, n, line, now, p, add):
    """Sets the angle of all that meets ranks low to high of a side, after adding it up if asked.

    Along the mass on the line every pair of ranks that meet has a number of its own, the sum of
    both; a far pair's sliver, where masses should end together, is left out.
    """
    points, at, ends, since, sums = line
    side = low >= n
    close = ends[-1] * 1e-13
    begin = ends[low - 1] if low > side * n else 0.0
    # the rank of the other side at the first of this mass
    first, last = (0, n - 1) if side else (n, ends.size - 1)
    while first < last:
        middle = (first + last) // 2
        if ends[middle] > begin + close:
            last = middle
        else:
            first = middle + 1
    q, r = low, first
    while q <= high:
        own, other = ends[q], ends[r]
        end = min(own, other)
        k = q + r - n
        if add and since[k] < now:
            u, v = at[q], at[r]
            dx, dy = points[u, 0] - points[v, 0], points[u, 1] - points[v, 1]
            term = (end - begin) * _swept(dx, dy, since[k], now, p) - sums[1]
            summed = sums[0] + term
            sums[1] = (summed - sums[0]) - term
            sums[0] = summed
        since[k] = now
        together = abs(own - other) <= close
        begin = max(own, other) if together else end
        q += together or own < other
        r += together or other < own


@numba.njit(cache=True, nogil=True)
def sweep_plane(points, masses, n, order, angles, first, second, tolerance, p):
    """Integral over [0, pi) of the cost in directions, times the sum of the masses of a cloud.

    ``points`` (n + m, 2) of both clouds with their ``masses``, ``order`` those of each at angle 0.
    ``first`` and ``second`` are a pair whose projections swap at that of ``angles``. Angles closer
    than ``tolerance`` are one event. Every pair of points is added up when it parts; nothing is
    subtracted, however far some points are.
    """
    size = points.shape[0]
    at, rank = order.copy(), np.empty(size, np.int64)
    # mass on the line up to each rank of its cloud
    ends, equal = np.empty(size), True
    for r in range(size):
        rank[at[r]] = r
        whole = r == 0 or r == n
        ends[r] = masses[at[r]] + (0.0 if whole else ends[r - 1])
        equal &= whole or masses[at[r]] == masses[at[r - 1]]
    ends[n - 1] = ends[size - 1]
    # angle at which the points of two ranks met
    since = np.zeros(size)
    # how far swaps reach that begin at a rank, while an angle is at work on them
    reach = np.full(size, -1, np.int64)
    # the sum and what rounding lost of it
    line = _Line(points, at, ends, since, np.zeros(2))
    count = angles.size
    e = 0
    while e < count:
        now = angles[e]
        end = e + 1
        while end < count and angles[end] - angles[end - 1] <= tolerance:
            end += 1
        start, last = size, -1
        for g in range(e, end):
            r, s = rank[first[g]], rank[second[g]]
            low, high = min(r, s), max(r, s)
            reach[low] = max(reach[low], high)
            start, last = min(start, low), max(last, high)
        # an angle at which all orders are again strict
        after = 0.5 * (angles[end - 1] + (angles[end] if end < count else math.pi))
        c, s0 = math.cos(after), math.sin(after)
        while start <= last:
            low, high = start, reach[start]
            start += 1
            if high < 0:
                continue
            reach[low] = -1
            # swaps that overlap are one run of ranks
            while start <= high:
                high = max(high, reach[start])
                reach[start] = -1
                start += 1
            _couple(low, high, n, line, now, p, True)
            for r in range(low + 1, high + 1):
                point = at[r]
                x, y = points[point, 0], points[point, 1]
                q = r - 1
                # of differences: far points lose what tells them apart in their projections
                while q >= low and c * (points[at[q], 0] - x) + s0 * (points[at[q], 1] - y) > 0:
                    at[q + 1] = at[q]
                    q -= 1
                at[q + 1] = point
            for r in range(low, high + 1):
                rank[at[r]] = r
            if not equal:
                for r in range(low, high):
                    ends[r] = masses[at[r]] + (0.0 if r == 0 or r == n else ends[r - 1])
                _couple(low, high, n, line, now, p, False)
        e = end
    _couple(0, n - 1, n, line, math.pi, p, True)
    return line.sums[0]
