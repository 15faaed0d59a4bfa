"""Control variates of sliced Wasserstein: functions of the direction with known means.

With Dm the difference of the means and v_x, v_y the variances of the projected clouds,

``lower``       (theta.Dm)^2, the paper's lower bound of W_2^2
``upper``       (theta.Dm)^2 + v_x + v_y, the paper's upper bound
``parts``       (theta.Dm)^2, v_x and v_y, each on its own
``gaussian``    (theta.Dm)^2 + (sqrt v_x - sqrt v_y)^2, W_2^2 of the fitted Gaussians
``power``       abs(theta.Dm)^p
``point_mass``  W between each cloud and the other's mean
``("harmonics", degree)``  all even polynomials of the direction up to that even degree
``(function, mean)``       the user's: (L, d) -> (L,) or (L, k), and its mean over the sphere

`fit` has the coefficients: every block is corrected by those of the other blocks, so that the
mean is unbiased.

References: Nguyen and Ho (2024), arXiv 2305.00402; Leluc et al. (2024), arXiv 2402.01493.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Control",
    "Fit",
    "absolute_moment",
    "build",
    "check_means",
    "fit",
    "mean_squared_gap",
    "projection_skewness",
]

Array = NDArray[np.float64]

NAMES = ("lower", "upper", "parts", "gaussian", "power", "point_mass")
# control by control, the ones that are kept first when blocks are few
PREFERENCE = ("gaussian", "parts", "upper", "lower", "power", "point_mass", "own", "harmonics")
BLOCKS_PER_CONTROL = 8
MOST_HARMONICS = 2000
SEEN_VARYING = 1e-6  # of its size; a control that varies less is rounding
FEWEST_TOLD = 200  # directions; of 100, one run in thousands is six standard errors off


@dataclass(frozen=True)
class Control:
    """One request: functions of a batch of directions, and their means.

    Attributes
    ----------
    name : str
    count : int
        Number of functions.
    values : callable
        (theta of shape (L, d), projected x of shape (L, n), projected y) -> (L, count).
    means : callable
        (error allowed) -> means of shape (count,) and a bound of their error.
    order : float
        Of its unit: values grow with this power of the clouds' size; 0 for functions of the
        direction alone.
    label : str
        What messages call a function of the user's.
    """

    name: str
    count: int
    values: Callable[[Array, Any, Any], Array]
    means: Callable[[float], tuple[Array, float]]
    order: float
    label: str = ""


@dataclass(frozen=True)
class Fit:
    """Corrected blocks.

    Attributes
    ----------
    blocks : ndarray, shape (B,)
        Block means with the controls taken off.
    fitted : int
        Number of coefficients that were.
    coefficients : ndarray, shape (k,)
        From all blocks; 0 for a column that was dropped.
    """

    blocks: Array
    fitted: int
    coefficients: Array


def absolute_moment(dimension: int, p: float) -> float:
    """E abs(theta.v)^p for a unit vector v and theta uniform on the sphere.

    Examples
    --------
    >>> round(absolute_moment(3, 1.0), 12), round(absolute_moment(7, 2.0), 12) == round(1 / 7, 12)
    (0.5, True)
    """
    return math.exp(_log_absolute_moment(dimension, p))


def _log_absolute_moment(dimension: int, p: float) -> float:
    log_ratio = math.lgamma((p + 1) / 2) + math.lgamma(dimension / 2)
    return log_ratio - math.lgamma((p + dimension) / 2) - 0.5 * math.log(math.pi)


def projection_skewness(dimension: int, p: float, fitted: bool = False) -> float:
    """Skewness of abs(theta.v)^p, as the costs of a shifted cloud have it.

    ``fitted``: of what a regression on (theta.v)^2 leaves of it, if that is more.

    Examples
    --------
    >>> [round(projection_skewness(100, p), 1) for p in (1.0, 2.0, 4.0, 6.0)]
    [1.0, 2.7, 9.0, 25.9]
    """
    # moments of higher powers leave the range of numbers
    p = min(p, 50.0)

    def moment(k: float) -> float:
        # of sqrt(d) theta.v, which are those of a normal variable in many dimensions
        return math.exp(_log_absolute_moment(dimension, k) + k / 2 * math.log(dimension))

    def skewness(slope: float) -> float:
        # of abs(theta.v)^p - slope (theta.v)^2
        first, second, third = (
            sum(math.comb(k, j) * (-slope) ** j * moment((k - j) * p + 2 * j) for j in range(k + 1))
            for k in (1, 2, 3)
        )
        variance = second - first**2
        return abs(third - 3 * first * second + 2 * first**3) / variance**1.5

    raw = skewness(0.0)
    # near p = 2 nothing but rounding is left
    if not fitted or abs(p - 2) < 0.01:
        return raw
    slope = (moment(p + 2) - moment(p) * moment(2)) / (moment(4) - moment(2) ** 2)
    return max(raw, skewness(slope))


def mean_squared_gap(
    a: Array, b: Array, dimension: int | None = None, tolerance: float = 1e-12
) -> float:
    """E (sqrt(theta'A theta) - sqrt(theta'B theta))^2 over the sphere, by a double integral.

    Parameters
    ----------
    a, b : ndarray, shape (r, r)
        Symmetric and positive semi-definite.
    dimension : int, optional
        Of the sphere's space, where A and B are blocks of larger matrices that are zero elsewhere.
    tolerance : float, default 1e-12
        Largest relative error.

    Returns
    -------
    float
        The mean; nothing cancels where A and B are close.

    Notes
    -----
    With D = A - B, C = cos(f)^2 A + sin(f)^2 B and R = (I + 2 r C)^-1 the mean is 4/(pi d) times
    the integral over 0 < f < pi/2 and r > 0 of

        cos(f)^2 sin(f)^2 det(I + 2 r C)^(-1/2) (tr(DR)^2 + 2 tr(DRDR)),

    because (sqrt a - sqrt b)^2 is 4/pi times the integral of cos^2 sin^2 (a - b)^2/(a cos^2 +
    b sin^2) over f, 1/q that of exp(-r q), and what is left a mean over a Gaussian vector. In
    log tan f and log r the integrand is analytic in strips of half-width pi/2 whatever the
    matrices are, and falls exponentially: equidistant nodes err by exp(-pi^2/step).

    Examples
    --------
    >>> round(mean_squared_gap(np.eye(3), 4 * np.eye(3)), 10)
    1.0
    >>> round(mean_squared_gap(np.eye(3), (1 + 1e-6) ** 2 * np.eye(3)), 20)
    1e-12
    """
    d = len(a) if dimension is None else dimension
    trace_a, trace_b = float(np.trace(a)), float(np.trace(b))
    if trace_a <= 0 or trace_b <= 0 or not (a - b).any():
        return abs(trace_a - trace_b) / d
    # in units of their own, so that the nodes are the same in any
    size = trace_a + trace_b
    a, b, gap = a / size, b / size, (a - b) / size
    digits = -math.log(tolerance)
    # six more, because poles of higher order stand on the edges of the strips
    step = math.pi**2 / (digits + 6)
    balance = math.log(trace_a / trace_b) / 2
    total = 0.0
    for angle in _nodes(min(balance, 0) - digits / 2, max(balance, 0) + digits / 2, step):
        c, s = 1 / (1 + math.exp(2 * angle)), 1 / (1 + math.exp(-2 * angle))
        values, vectors = np.linalg.eigh(c * a + s * b)
        values = np.maximum(values, 0.0)
        rotated = vectors.T @ gap @ vectors
        # smaller eigenvalues are rounding
        least = values[values > 1e-17 * values[-1]][0]
        log_r = _nodes(-digits - math.log(values.sum()), 2 * digits / 3 - math.log(least), step)
        r = np.exp(log_r)
        shrink = 1 / (1 + 2 * np.outer(r, values))
        traces = (shrink @ np.diag(rotated)) ** 2
        traces += 2 * np.einsum("ri,ri->r", shrink @ rotated**2, shrink)
        root = np.exp(np.log(shrink).sum(axis=1) / 2)
        total += (c * s) ** 1.5 * float((r * root) @ traces)
    return 4 / (math.pi * d) * step**2 * size * total


def _nodes(low: float, high: float, step: float) -> Array:
    """Multiples of the step, a little further than needed."""
    return step * np.arange(
        math.floor((low - 3) / step), math.ceil((high + 3) / step) + 1, dtype=np.float64
    )


def harmonics(dimension: int, degree: int) -> Control:
    """Even polynomials up to a degree: monomials of that degree, minus their means.

    On the sphere those of the highest even degree span the lower ones; the last is left out
    because together they hold the constant.

    Examples
    --------
    >>> [harmonics(3, degree).count for degree in (2, 4, 8)]
    [5, 14, 44]
    """
    whole = isinstance(degree, int | np.integer) and not isinstance(degree, bool)
    if not whole or degree < 2 or degree % 2:
        raise ValueError(f"control_variates: got harmonics of degree {degree!r}; expected 2, 4 ...")
    degree = int(degree)
    count = math.comb(dimension + degree - 1, degree) - 1
    if count > MOST_HARMONICS:
        raise ValueError(
            f"control_variates: harmonics up to degree {degree} in {dimension} dimensions are "
            f"{count} functions; expected at most {MOST_HARMONICS}"
        )
    exponents = [
        np.bincount(which, minlength=dimension)
        for which in itertools.combinations_with_replacement(range(dimension), degree)
    ][:-1]
    table = np.array(exponents)
    # E prod theta_i^(a_i) = prod (a_i - 1)!! / (d (d+2) ... (d + degree - 2))
    below = math.prod(dimension + 2 * i for i in range(degree // 2))
    odd = [math.prod(range(1, a, 2)) for a in range(degree + 1)]
    means = np.array(
        [0.0 if (row % 2).any() else math.prod(odd[a] for a in row) / below for row in table]
    )

    def values(theta: Array, x: Any, y: Any) -> Array:
        powers = theta[:, :, None] ** np.arange(degree + 1)
        out = np.ones((len(theta), len(table)))
        for i in range(dimension):
            out *= powers[:, i, table[:, i]]
        return out

    return Control("harmonics", count, values, lambda tolerance: (means, 0.0), 0)


def build(request: Any, pair: Any, p: float) -> list[Control]:
    """Controls by name.

    Parameters
    ----------
    request : False, str, tuple or list of these
        As on this module's page.
    pair : object
        With ``dimension``, ``shift`` (Dm), ``x`` and ``y``: clouds with ``weights``, ``mean``,
        ``spread`` (trace of the covariance), ``power_around(c, p)``, and ``spectra()`` (both
        covariances in one basis).
    p : float

    Returns
    -------
    list of Control
        In the order in which they are kept when blocks are few.

    Raises
    ------
    ValueError, TypeError
        Something else was asked for.
    """
    if request is False or request is None:
        return []
    if isinstance(request, str | tuple):
        request = [request]
    if not isinstance(request, Sequence):
        raise TypeError(
            f"control_variates: got {type(request).__name__}; expected 'auto', False, a name of "
            f"{NAMES}, ('harmonics', degree), (function, mean), or a list of these"
        )
    found = [_one(entry, pair, p) for entry in request]
    return sorted(found, key=lambda control: PREFERENCE.index(control.name))


def _one(entry: Any, pair: Any, p: float) -> Control:
    d = pair.dimension
    shift = pair.shift
    squared = float(shift @ shift)

    def exactly(*means: float) -> Callable[[float], tuple[Array, float]]:
        return lambda tolerance: (np.array(means), 0.0)

    if isinstance(entry, tuple) and len(entry) == 2:
        first, second = entry
        if isinstance(first, str) and first == "harmonics":
            return harmonics(d, second)
        if callable(first):
            return _own(first, second)
    if entry == "lower":
        return Control(
            "lower", 1, lambda theta, x, y: (theta @ shift)[:, None] ** 2, exactly(squared / d), 2
        )
    if entry == "power":
        return Control(
            "power",
            1,
            lambda theta, x, y: np.abs(theta @ shift)[:, None] ** p,
            exactly(absolute_moment(d, p) * squared ** (p / 2)),
            p,
        )
    if entry in ("upper", "parts", "gaussian"):
        return _of_second_moments(entry, pair)
    if entry == "point_mass":
        return _point_mass(pair, p)
    raise ValueError(
        f"control_variates: got {entry!r}; expected one of {NAMES}, ('harmonics', degree) or "
        "(function, mean)"
    )


def _of_second_moments(name: str, pair: Any) -> Control:
    d, shift = pair.dimension, pair.shift
    squared = float(shift @ shift)

    def spread(theta: Array, x: Any, y: Any) -> tuple[Array, Array, Array]:
        v_x, v_y = pair.projected_variances(theta, x, y)
        return (theta @ shift) ** 2, v_x, v_y

    def sums() -> tuple[float, float, float]:
        return squared / d, pair.x.spread / d, pair.y.spread / d

    if name == "upper":
        return Control(
            "upper",
            1,
            lambda theta, x, y: np.add.reduce(spread(theta, x, y))[:, None],
            lambda tolerance: (np.array([sum(sums())]), 0.0),
            2,
        )
    if name == "parts":
        return Control(
            "parts",
            3,
            lambda theta, x, y: np.stack(spread(theta, x, y), axis=1),
            lambda tolerance: (np.array(sums()), 0.0),
            2,
        )

    def gaussian(theta: Array, x: Any, y: Any) -> Array:
        shifted, v_x, v_y = spread(theta, x, y)
        return (shifted + (np.sqrt(v_x) - np.sqrt(v_y)) ** 2)[:, None]

    def mean(tolerance: float) -> tuple[Array, float]:
        a, b = pair.spectra()
        most = max(pair.x.spread + pair.y.spread, 1e-300) / d
        # a power of ten, so that rounding doesn't move the nodes when the units change
        share = min(max(tolerance / most, 1e-10), 1e-3)
        digits = math.ceil(-math.log10(share))
        relative = 10.0**-digits
        gap = mean_squared_gap(a, b, d, relative)
        return np.array([squared / d + gap]), relative * gap

    return Control("gaussian", 1, gaussian, mean, 2)


def _point_mass(pair: Any, p: float) -> Control:
    moment = absolute_moment(pair.dimension, p)

    def column(theta: Array, rows: Any, cloud: Any, centre: Array) -> Array:
        gaps = np.abs(rows - (theta @ centre)[:, None]) ** p
        return gaps.mean(axis=1) if cloud.weights is None else gaps @ cloud.weights

    def values(theta: Array, x: Any, y: Any) -> Array:
        return np.stack(
            [column(theta, x, pair.x, pair.y.mean), column(theta, y, pair.y, pair.x.mean)], axis=1
        )

    def means(tolerance: float) -> tuple[Array, float]:
        known = (pair.x.power_around(pair.y.mean, p), pair.y.power_around(pair.x.mean, p))
        return moment * np.array(known), 0.0

    return Control("point_mass", 2, values, means, p)


def _own(function: Callable[[Array], Any], mean: Any) -> Control:
    try:
        known = np.atleast_1d(np.asarray(mean, dtype=np.float64))
    except (TypeError, ValueError):
        raise TypeError(f"control_variates: got {mean!r} as a mean; expected numbers") from None
    if known.ndim != 1 or not np.isfinite(known).all():
        raise ValueError(
            f"control_variates: got a mean of shape {known.shape}; expected finite numbers, one "
            "per function"
        )

    def values(theta: Array, x: Any, y: Any) -> Array:
        from ..errors import ModelError

        try:
            given = function(theta.copy())
        except Exception as error:
            error.add_note(f"control_variates: raised for directions of shape {theta.shape}")
            raise
        try:
            out = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"control_variates: the function returned what are no numbers ({error})"
            ) from None
        if out.ndim == 1:
            out = out[:, None]
        if out.shape != (len(theta), len(known)) or not np.isfinite(out).all():
            raise ModelError(
                f"control_variates: the function returned shape {out.shape} for directions of "
                f"shape {theta.shape}; expected finite values of shape {(len(theta), len(known))}"
            )
        return out

    label = getattr(function, "__name__", type(function).__name__)
    return Control("own", len(known), values, lambda tolerance: (known, 0.0), 0, label)


def check_means(control: Control, values: Array, weights: Array, stated: Array) -> None:
    """Raise where values (B, lines, k) of a control refute the means (k,) stated for it.

    Six standard errors: of independent directions, which the blocks of a rule stay within, and of
    the blocks as they are. Few directions say little of the mean of a skewed function, and may
    show half of its skewness. A column that `fit` drops because it doesn't vary does no harm.
    """
    singles = values.reshape(-1, values.shape[-1])
    rows = np.einsum("blk,l->bk", values, weights)
    sizes = np.abs(rows).max(axis=0)
    seen, varying = rows.mean(axis=0), rows.std(axis=0)
    gaps = singles - singles.mean(axis=0)
    spread = np.sqrt(np.mean(gaps**2, axis=0))
    skewness = np.mean((gaps / np.maximum(spread, 1e-300)) ** 3, axis=0)
    error = np.maximum(spread * math.sqrt(float(weights @ weights)), varying) / math.sqrt(len(rows))
    wrong = np.abs(seen - stated) > np.maximum(6 * error, 1e-9 * sizes)
    wrong &= varying > SEEN_VARYING * sizes
    wrong &= len(singles) >= np.maximum(10 * (2 * skewness) ** 2, FEWEST_TOLD)
    if wrong.any():
        k = int(np.argmax(wrong))
        which = f"function {k + 1} of " if control.count > 1 else ""
        raise ValueError(
            f"control_variates: {which}{control.label} has the stated mean {stated[k]:.6g}, but "
            f"{seen[k]:.6g} +- {error[k]:.2g} over the directions drawn; expected its mean over "
            "the sphere"
        )


def fit(values: Array, centred: Array, sizes: Array) -> Fit:
    """Blocks corrected with coefficients from the other blocks.

    Parameters
    ----------
    values : ndarray, shape (B,)
        Block means.
    centred : ndarray, shape (B, k)
        Block means of the controls minus their known means, k < B - 1.
    sizes : ndarray, shape (k,)
        Of what each column is a difference of: one that varies less than 1e-6 of it is rounding
        and is dropped.

    Returns
    -------
    Fit
        Its mean is exactly unbiased: no block is corrected by a coefficient it helped to find.
        In closed form, with X = [1, h], residuals e and leverages q,
        t_b = W_b - h_b'beta + (h_b'(X'X)^-1_h. X_b) e_b / (1 - q_b).

    Examples
    --------
    >>> h = np.array([[0.1], [-0.2], [0.4], [0.0], [-0.1]])
    >>> np.ptp(fit(3 + 2 * h[:, 0], h, np.ones(1)).blocks) < 1e-12
    np.True_
    """
    count, k = centred.shape
    spread = centred.std(axis=0)
    kept = np.flatnonzero(spread > SEEN_VARYING * sizes)
    coefficients = np.zeros(k)
    if kept.size == 0:
        return Fit(values, 0, coefficients)
    design = np.column_stack([np.ones(count), centred[:, kept] / spread[kept]])
    q, r, pivots = _pivoted(design)
    rank = int((np.abs(np.diag(r)) > 1e-9 * abs(r[0, 0])).sum())
    # collinear columns add nothing; the constant always stays
    columns = np.sort(pivots[:rank])
    if columns[0] != 0:
        columns = np.r_[0, columns[1:]]
    design = design[:, columns]
    q, r = np.linalg.qr(design)
    inverse = np.linalg.inv(r)
    solution = inverse @ (q.T @ values)
    residual = values - design @ solution
    leverage = np.einsum("bk,bk->b", q, q)
    h = design[:, 1:]
    # h_b' (X'X)^-1_h. X_b, with (X'X)^-1 = R^-1 R^-T
    cross = np.einsum("bk,bk->b", h @ inverse[1:], q)
    # where a block alone decides a coefficient, the others say nothing of it
    left = np.maximum(1 - leverage, 1e-9)
    corrected = values - h @ solution[1:] + cross * residual / left
    places = kept[columns[1:] - 1]
    coefficients[places] = solution[1:] / spread[places]
    return Fit(corrected, len(columns) - 1, coefficients)


def _pivoted(design: Array) -> tuple[Array, Array, NDArray[np.intp]]:
    from scipy.linalg import qr

    q, r, pivots = qr(design, mode="economic", pivoting=True)
    return q, r, pivots
