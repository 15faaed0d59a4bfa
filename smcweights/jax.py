"""Sliced Wasserstein distances that JAX differentiates: under jit, grad and vmap.

Sorting is NumPy's through a callback on the CPU, where it is many times faster than XLA's, and
`jax.numpy.sort` elsewhere. Derivatives are those of the closed form, without autodiff.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike
from numpy.typing import ArrayLike as NumpyArrayLike

from . import _compat
from .arguments import (
    aligned,
    count,
    flag,
    header_of,
    kind_of,
    number,
    same_rows,
    shown,
    unmasked,
)
from .randomness import Seed, jax_key, seed_sequence
from .transport.clouds import masses_of

__all__ = ["sliced_wasserstein"]


def sliced_wasserstein(
    x: ArrayLike,
    y: ArrayLike,
    budget: int = 100,
    *,
    key: Array | None = None,
    p: float = 2,
    weights_x: ArrayLike | None = None,
    weights_y: ArrayLike | None = None,
    directions: str | ArrayLike = "auto",
    root: bool = True,
    seed: Seed = None,
) -> Array:
    """Sliced Wasserstein distance of two clouds as a differentiable JAX function.

    Batches go through `jax.vmap`: of clouds, of their weights, of keys.

    Parameters
    ----------
    x, y : array, shapes (n, d) and (m, d)
        Points; half precision is computed in float32. A NaN or an infinity among them gives NaN:
        under jit they can't be refused.
    budget : int, default 100
        Most directions; static under jit.
    key : JAX key, optional
        From which directions are drawn; needed unless they are given, or a seed is.
    p : float, at least 1, default 2
        Static under jit.
    weights_x, weights_y : array, shapes (n,) and (m,), optional
        Of the points, non-negative, which is checked outside of jit, where others give NaN;
        normalised to sum 1. There is no derivative by them.
    directions : str or array of shape (L, d), default "auto"
        "uniform", "orthogonal", "rule" or "auto" (turned rules in two and three dimensions,
        orthogonal blocks above), or unit vectors, whose lengths are checked outside of jit.
    root : bool, default True
        SW_p, whose derivative is 0 where it is 0; else SW_p^p.
    seed : int, SeedSequence or Generator, optional
        Makes a key; under jit and in every step of a loop it is the same one.

    Returns
    -------
    array, shape ()
        Unbiased for ``root=False``, where float32 holds powers from 1e-38 to 1e38 only. First
        derivatives by x and y, in reverse mode; 0 by the weights.

    Raises
    ------
    ValueError, TypeError
        Shapes don't fit, an argument is wrong, or neither key nor directions were given.

    References
    ----------
    Nguyen & Ho (2024), arXiv 2305.00402.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> x = jax.random.normal(jax.random.key(1), (50, 3))
    >>> loss = lambda x: sliced_wasserstein(x, 2 * x + 1, key=jax.random.key(2))
    >>> value, gradient = jax.jit(jax.value_and_grad(loss))(x)
    >>> bool(value > 0), gradient.shape
    (True, (50, 3))
    """
    same_rows("weights_x", weights_x, "x", x)
    same_rows("weights_y", weights_y, "y", y)
    header = header_of(x, "x")
    x, y = _points("x", x), _points("y", aligned(y, header_of(y, "y"), header))
    x, y = (v[:, None] if v.ndim == 1 else v for v in (x, y))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x, y: got shapes {x.shape} and {y.shape}; expected (n, d) and (m, d)")
    if x.size == 0 or y.size == 0:
        raise ValueError(f"x, y: got shapes {x.shape} and {y.shape}; expected at least one point")
    dtype = jnp.promote_types(x.dtype, y.dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.asarray(0.0).dtype
    x, y = (v.astype(jnp.promote_types(dtype, jnp.float32)) for v in (x, y))
    for name, given in (("budget", budget), ("p", p), ("root", root), ("seed", seed)):
        if isinstance(given, jax.core.Tracer):
            raise TypeError(
                f"{name}: is traced; expected a plain value, which jit has for arguments that it "
                "doesn't take or that are in its static_argnames"
            )
    p, root, budget = number("p", p, 1, ends=True), flag("root", root), count("budget", budget)
    if seed is not None:
        if key is not None:
            raise ValueError("key, seed: got both; expected one of them")
        key = jax_key(seed_sequence(seed), "directions")
    masses = _masses(weights_x, len(x), "x", x.dtype), _masses(weights_y, len(y), "y", x.dtype)
    theta, weights = _directions(directions, x.shape[1], budget, key, x.dtype)
    # one vector taken off both clouds changes no distance and keeps digits; in units of their own
    # no power leaves the range of numbers
    centre = jax.lax.stop_gradient((x.mean(0) + y.mean(0)) / 2)
    x, y = x - centre, y - centre
    size = jax.lax.stop_gradient(jnp.maximum(jnp.abs(x).max(), jnp.abs(y).max()))
    size = jnp.where(size == 0, 1.0, size)
    rows = (x / size) @ theta.T, (y / size) @ theta.T
    if weights_x is None and weights_y is None:
        power = weights @ _costs(p, *rows)
    else:
        power = weights @ _weighted_costs(p, *rows, *masses)
    if not root:
        return power * size**p
    # the distance has a kink at 0; NaN is not at most 0 and stays
    vanishes = power <= 0
    return jnp.where(vanishes, 0.0, jnp.where(vanishes, 1.0, power) ** (1 / p)) * size


def _points(name: str, given: NumpyArrayLike) -> Array:
    """Real numbers; whole ones as floats, since they may be larger than JAX's."""
    found = given if isinstance(given, jax.Array) else unmasked(name, given)
    if not (found.dtype.kind in "biu" or jnp.issubdtype(found.dtype, jnp.floating)):
        raise TypeError(f"{name}: got {kind_of(found)}; expected real numbers")  # type: ignore[arg-type]
    if isinstance(found, np.ndarray) and found.dtype.kind in "iu":
        found = found.astype(np.float64)
    return jnp.asarray(found)


def _checked_key(key: Array | None) -> None:
    """Refuse what JAX draws nothing from."""
    if key is None:
        return
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    legacy = not typed and isinstance(key, jax.Array | np.ndarray) and key.dtype == np.uint32
    if not ((typed and key.ndim == 0) or (legacy and key.ndim == 1)):
        raise TypeError(f"key: got {shown(key)}; expected a JAX key, such as jax.random.key(1)")


def _masses(given: ArrayLike | None, count: int, name: str, dtype: DTypeLike) -> Array:
    """Weights (n,) of sum 1, checked where they are known."""
    if given is None:
        return jnp.full(count, 1 / count, dtype)
    if isinstance(given, jax.core.Tracer):
        if given.shape != (count,):
            raise ValueError(f"weights_{name}: got shape {given.shape}; expected ({count},)")
        w = jax.lax.stop_gradient(given.astype(dtype))
        total = w.sum()
        known = (w >= 0).all() & (total > 0) & jnp.isfinite(total)
        return jnp.where(known, w / total, jnp.nan)
    return jnp.asarray(masses_of(given, count, name), dtype)


def _directions(
    directions: str | ArrayLike, d: int, budget: int, key: Array | None, dtype: DTypeLike
) -> tuple[Array, Array]:
    from .transport.directions import plan

    _checked_key(key)
    if not isinstance(directions, str):
        if not isinstance(directions, jax.core.Tracer):
            own = isinstance(directions, jax.Array)
            plan(np.asarray(directions, dtype=np.float64) if own else directions, d)
        theta = jnp.asarray(directions, dtype)
        if theta.ndim != 2 or theta.shape[1] != d:
            raise ValueError(f"directions: got shape {theta.shape}; expected (L, {d})")
        return theta, jnp.full(len(theta), 1 / len(theta), dtype)
    if d == 1:
        return jnp.ones((1, 1), dtype), jnp.ones(1, dtype)
    if key is None:
        raise ValueError(
            "key: got None; expected a JAX key, such as jax.random.key(1), to draw directions, "
            "or a seed"
        )
    if directions in ("sobol", "exact"):
        raise ValueError(f"directions: got {directions!r}, which needs smcweights itself")
    rule = plan(directions, d, budget)
    weights = jnp.asarray(np.tile(rule.weights, rule.blocks) / rule.blocks, dtype)
    if rule.kind == "uniform":
        z = jax.random.normal(key, (rule.total, d), dtype)
        return z / jnp.linalg.norm(z, axis=1, keepdims=True), weights
    if rule.kind == "angles":
        angle = jax.random.uniform(key, (rule.blocks, 1), dtype) + jnp.arange(rule.lines)
        angle = (angle * (jnp.pi / rule.lines)).ravel()
        return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1), weights
    turned = rule.turned_rule
    rows = rule.lines if turned is None else d
    q, r = jnp.linalg.qr(jax.random.normal(key, (rule.blocks, d, rows), dtype))
    turn = jnp.swapaxes(q * jnp.sign(jnp.diagonal(r, axis1=1, axis2=2))[:, None, :], 1, 2)
    if turned is not None:
        turn = jnp.asarray(turned[0], dtype) @ turn
    return turn.reshape(-1, d), weights


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _costs(p: float, a: Array, b: Array) -> Array:
    """Costs (L,) of projected clouds (n, L) and (m, L)."""
    return _forward(p, a, b)[0]


def _forward(p: float, a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    a, b = a.T, b.T
    if _sorts_on_host(a):
        shapes = (
            jax.ShapeDtypeStruct(a.shape[:1], a.dtype),
            jax.ShapeDtypeStruct(a.shape, a.dtype),
            jax.ShapeDtypeStruct(b.shape, b.dtype),
        )
        host = functools.partial(_on_host, p)
        costs, slope_a, slope_b = jax.pure_callback(host, shapes, a, b, vmap_method="broadcast_all")
    else:
        costs, slope_a, slope_b = _on_device(p, a, b)
    return costs, (slope_a, slope_b)


def _backward(p: float, slopes: tuple[Array, Array], weight: Array) -> tuple[Array, Array]:
    slope_a, slope_b = slopes
    return (slope_a * weight[:, None]).T, (slope_b * weight[:, None]).T


_costs.defvjp(_forward, _backward)


def _sorts_on_host(a: Array) -> bool:
    """Whether NumPy sorts, through a callback."""
    small = jnp.finfo(a.dtype).bits <= 32
    return jax.default_backend() == "cpu" and (small or _compat.callbacks_keep_doubles())


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weighted_costs(p: float, a: Array, b: Array, w: Array, v: Array) -> Array:
    """Costs (L,) of projected clouds (n, L) and (m, L) with weights (n,) and (m,)."""
    return _weighted_forward(p, a, b, w, v)[0]


def _weighted_forward(
    p: float, a: Array, b: Array, w: Array, v: Array
) -> tuple[Array, tuple[Array, Array]]:
    a, b = a.T, b.T
    if _sorts_on_host(a):
        shapes = tuple(
            jax.ShapeDtypeStruct(shape, a.dtype) for shape in (a.shape[:1], a.shape, b.shape)
        )
        host = functools.partial(_on_host, p)
        costs, *slopes = jax.pure_callback(host, shapes, a, b, w, v, vmap_method="broadcast_all")
    else:
        costs, *slopes = _weighted_on_device(p, a, b, w, v)
    return costs, (slopes[0], slopes[1])


def _weighted_backward(
    p: float, slopes: tuple[Array, Array], weight: Array
) -> tuple[Array, Array, Array, Array]:
    a, b = _backward(p, slopes, weight)
    return a, b, jnp.zeros_like(a[:, 0]), jnp.zeros_like(b[:, 0])


_weighted_costs.defvjp(_weighted_forward, _weighted_backward)


def _on_host(
    p: float,
    a: ArrayLike,
    b: ArrayLike,
    *weights: ArrayLike,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Costs and slopes of rows (..., L, n) and (..., L, m) by NumPy and compiled merges.

    Weights are (..., n) and (..., m).
    """
    from .transport import kernels

    a, b = np.asarray(a), np.asarray(b)
    rows_a, rows_b = (np.ascontiguousarray(v.reshape(-1, v.shape[-1])) for v in (a, b))
    orders = rows_a.argsort(axis=1), rows_b.argsort(axis=1)
    n, m = rows_a.shape[1], rows_b.shape[1]
    out = np.empty(len(rows_a))
    slope_a, slope_b = np.empty(rows_a.shape), np.empty(rows_b.shape)
    if not weights and n == m:
        kernels.equal_slopes(rows_a, rows_b, *orders, p, out, slope_a, slope_b)
    elif not weights:
        masses = np.full(n, 1 / n), np.full(m, 1 / m)
        kernels.slopes(rows_a, rows_b, *orders, *masses, p, out, slope_a, slope_b)
    else:
        # each batch of clouds has weights of its own
        each = a.shape[-2]
        sides = (np.asarray(side, np.float64) for side in weights)
        masses_a, masses_b = (side.reshape(-1, side.shape[-1]) for side in sides)
        for k in range(len(masses_a)):
            at = slice(k * each, (k + 1) * each)
            if np.isnan(masses_a[k]).any() or np.isnan(masses_b[k]).any():
                # wrong under jit; a merge of such masses would not end
                out[at] = slope_a[at] = slope_b[at] = np.nan
                continue
            kernels.slopes(
                rows_a[at],
                rows_b[at],
                orders[0][at],
                orders[1][at],
                masses_a[k] / masses_a[k].sum(),
                masses_b[k] / masses_b[k].sum(),
                p,
                out[at],
                slope_a[at],
                slope_b[at],
            )
    return (
        out.reshape(a.shape[:-1]).astype(a.dtype),
        slope_a.reshape(a.shape).astype(a.dtype),
        slope_b.reshape(b.shape).astype(b.dtype),
    )


def _on_device(p: float, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """The same by XLA's sort: pieces of mass between the jumps of both distribution functions."""
    n, m = a.shape[1], b.shape[1]
    # ends of the pieces, in whole multiples of 1/(n m)
    ends = np.unique(np.concatenate([np.arange(1, n + 1) * m, np.arange(1, m + 1) * n]))
    mass = jnp.asarray(np.diff(ends, prepend=0) / (n * m), a.dtype)
    points_a = jnp.argsort(a, axis=1)[:, (ends - 1) // m]
    points_b = jnp.argsort(b, axis=1)[:, (ends - 1) // n]
    return _by_pieces(p, a, b, points_a, points_b, jnp.broadcast_to(mass, points_a.shape))


def _weighted_on_device(
    p: float, a: Array, b: Array, w: Array, v: Array
) -> tuple[Array, Array, Array]:
    """The same of points with weights, whose jumps differ from row to row."""
    order_a, order_b = jnp.argsort(a, axis=1), jnp.argsort(b, axis=1)
    ends_a, ends_b = (jnp.cumsum(u[at], axis=1) for u, at in ((w, order_a), (v, order_b)))
    ends = jnp.sort(jnp.concatenate([ends_a, ends_b], axis=1), axis=1)
    mass = jnp.diff(ends, axis=1, prepend=0)
    middle = ends - mass / 2
    found = jax.vmap(functools.partial(jnp.searchsorted, side="right"))
    points_a, points_b = (
        jnp.take_along_axis(order, jnp.minimum(found(at, middle), order.shape[1] - 1), 1)
        for order, at in ((order_a, ends_a), (order_b, ends_b))
    )
    return _by_pieces(p, a, b, points_a, points_b, mass)


def _by_pieces(
    p: float, a: Array, b: Array, points_a: Array, points_b: Array, mass: Array
) -> tuple[Array, Array, Array]:
    """Costs and slopes where masses (L, k) move between these points of a and b."""
    gap = jnp.take_along_axis(a, points_a, 1) - jnp.take_along_axis(b, points_b, 1)
    size = jnp.abs(gap)
    slope = mass * p * jnp.sign(gap) * (size if p == 2 else size ** (p - 1) if p != 1 else 1.0)
    rows = jnp.arange(len(a))[:, None]
    slope_a = jnp.zeros_like(a).at[rows, points_a].add(slope)
    slope_b = jnp.zeros_like(b).at[rows, points_b].add(-slope)
    return (size**p * mass).sum(axis=1), slope_a, slope_b
