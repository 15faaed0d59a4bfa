"""What moving one cloud onto another costs: on the line, along directions, around the plane."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .clouds import Cloud, Pair
from .directions import Directions

Array = NDArray[Any]

ROWS_BYTES = 2**27  # rows projected at once
TASK_NUMBERS = 2**20  # projected numbers that are worth a task of their own
THIN = 10  # dimensions whose products are so short that their calls take longer


def chunk_rows(dimension: int, points: int, itemsize: int) -> int:
    """Rows that are projected at once: thin blocks starve matrix products, thick ones caches."""
    if dimension <= THIN:
        base = min(max(2**18 // (points * itemsize), 8), 64)
    else:
        base = 64 if dimension <= 100 else 128
    return int(min(base, max(ROWS_BYTES // (points * itemsize), 1)))


def task_blocks(pair: Pair, directions: Directions) -> int:
    """Blocks of a task: enough to be worth one, in tasks of about the same size."""
    n = pair.points
    chunk = chunk_rows(pair.dimension, n, pair.x.points.dtype.itemsize)
    rows = max(chunk, min(TASK_NUMBERS // n, 1024))
    tasks = math.ceil(directions.blocks / max(rows // directions.lines, 1))
    # thin blocks starve products of many columns more than a second thread would bring
    if pair.dimension <= 100 and directions.total * n > TASK_NUMBERS:
        tasks = max(tasks, min(2, directions.blocks))
    return math.ceil(directions.blocks / tasks)


def sorted_rows(cloud: Cloud, theta: Array) -> Array:
    """The cloud projected onto directions (L, d): rows (L, n), sorted if it has no weights."""
    rows = theta.astype(cloud.points.dtype) @ cloud.points.T
    if cloud.weights is None:
        rows.sort(axis=1)
    return rows


def row_costs(
    x: Cloud,
    y: Cloud,
    rows_x: Array,
    rows_y: Array,
    p: float,
    orders: tuple[Array, Array] | None = None,
) -> Array:
    """One-dimensional transport costs (L,) of projected rows (L, n) and (L, m).

    Rows of unweighted clouds have to be sorted; the orders of others may be known.
    """
    from .kernels import equal_rows, unequal_rows, weighted_rows

    out = np.empty(len(rows_x))
    if x.weights is not None or y.weights is not None:
        first, second = orders or (rows_x.argsort(axis=1), rows_y.argsort(axis=1))
        weighted_rows(rows_x, rows_y, first, second, x.masses, y.masses, p, out)
    elif rows_x.shape[1] == rows_y.shape[1]:
        equal_rows(rows_x, rows_y, p, out)
    else:
        unequal_rows(rows_x, rows_y, p, out)
    return out


def slopes(pair: Pair, theta: Array, p: float) -> tuple[Array, Array, Array]:
    """Costs (L,) along directions (L, d), and derivatives (L, n), (L, m) by projected points."""
    from . import kernels

    narrow = theta.astype(pair.x.points.dtype)
    a, b = narrow @ pair.x.points.T, narrow @ pair.y.points.T
    orders = a.argsort(axis=1), b.argsort(axis=1)
    out, slope_a, slope_b = np.empty(len(theta)), np.empty(a.shape), np.empty(b.shape)
    if pair.matched:
        kernels.equal_slopes(a, b, *orders, p, out, slope_a, slope_b)
    else:
        kernels.slopes(a, b, *orders, pair.x.masses, pair.y.masses, p, out, slope_a, slope_b)
    return out, slope_a, slope_b


class Atoms(NamedTuple):
    """Points (n, 2) of a cloud that differ, and their masses (n,)."""

    points: Array
    masses: Array


def atoms_of(pair: Pair, most: float = math.inf) -> tuple[Atoms, Atoms] | None:
    """Those of two clouds in the plane, or None where one has more than so many.

    Without weights masses are whole numbers, which add up without rounding.
    """
    plain = pair.x.weights is None and pair.y.weights is None
    found = []
    for cloud, other in ((pair.x, pair.y), (pair.y, pair.x)):
        points = np.ascontiguousarray(cloud.points, dtype=np.float64).view(np.complex128)[:, 0]
        # large clouds without ties are told by a part of them
        some = points[: 2 * int(most)] if len(points) > 2 * most else points
        if len(points) > most and len(np.unique(some)) > most:
            return None
        differ, which = np.unique(points, return_inverse=True)
        if len(differ) > most:
            return None
        each = 1.0 if pair.matched else float(len(other.points))
        weights = np.full(len(points), each) if plain else cloud.masses
        masses = np.bincount(which, weights=weights)
        found.append(Atoms(differ.view(np.float64).reshape(-1, 2), masses))
    return found[0], found[1]


def sweep(first_atoms: Atoms, second_atoms: Atoms, p: float) -> float:
    """SW_p^p in the plane by all angles at which the order of a projected cloud changes."""
    from . import kernels

    (x, w_x), (y, w_y) = first_atoms, second_atoms
    n = len(x)
    angles, first, second, orders = [], [], [], []
    for shift, points in ((0, x), (n, y)):
        i, j = np.triu_indices(len(points), 1)
        gap = points[j] - points[i]
        angle = np.mod(np.arctan2(gap[:, 1], gap[:, 0]) + math.pi / 2, math.pi)
        angles.append(angle)
        first.append(i + shift)
        second.append(j + shift)
        # the order just after angle 0
        orders.append(np.lexsort((points[:, 1], points[:, 0])) + shift)
    angle = np.concatenate(angles)
    tolerance = 1e-13
    # just before pi no order matters any more; just after 0 a point far above the others has swaps
    inside = angle < math.pi - tolerance
    angle = angle[inside]
    order = np.argsort(angle)
    total = kernels.sweep_plane(
        np.concatenate([x, y]),
        np.concatenate([w_x, w_y]),
        n,
        np.concatenate(orders),
        angle[order],
        np.concatenate(first)[inside][order],
        np.concatenate(second)[inside][order],
        tolerance,
        p,
    )
    return float(total) / (math.pi * float(w_x.sum()))
