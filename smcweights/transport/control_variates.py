"""Control variates of sliced Wasserstein: functions of the direction with known means.

With Dm the difference of the means and v_x, v_y the variances of the projected clouds,

``lower``       (theta.Dm)^2, the paper's lower bound of W_2^2
``upper``       (theta.Dm)^2 + v_x + v_y, the paper's upper bound
``parts``       (theta.Dm)^2, v_x and v_y, each on its own
``gaussian``    (theta.Dm)^2 + (sqrt v_x - sqrt v_y)^2, W_2^2 of the fitted Gaussians
``polynomial``  the same with a polynomial of v_x and v_y that is fitted to its second term; its
                mean costs a product of matrices
``tangent``     the same made linear at the mean variances, (theta.Dm)^2 + c_x v_x + c_y v_y with
                c_x = 1 - sqrt(tr S_y/tr S_x), c_y likewise; its mean costs nothing
``power``       abs(theta.Dm)^p
``point_mass``  W between each cloud and the other's mean
``("harmonics", degree)``  all even polynomials of the direction up to that even degree
``(function, mean)``       the user's: (L, d) -> (L,) or (L, k), and its mean over the sphere

`fit` has the coefficients: every block is corrected by those of the other blocks, so that the
mean is unbiased. `take_off` centres controls by their means first. What `by_default` chooses has
a coefficient that follows from the scale of the costs, see `by_scale`.

References: Nguyen and Ho (2024), arXiv 2305.00402; Leluc et al. (2024), arXiv 2402.01493.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import shown
from ..errors import ModelError
from .clouds import Cloud, Pair
from .directions import Directions
from .sphere import absolute_moment, gap_polynomial, mean_squared_gap

Array = NDArray[np.float64]
Function = Callable[[Array], ArrayLike]
Named = str | tuple[str, int] | tuple[Function, ArrayLike]
Request = bool | Named | Sequence[Named] | None

NAMES = ("lower", "upper", "parts", "gaussian", "polynomial", "tangent", "power", "point_mass")
# control by control, the ones that are kept first when blocks are few
PREFERENCE = (
    "gaussian", "polynomial", "tangent", "parts", "upper", "lower", "power", "point_mass", "own",
    "harmonics",
)  # fmt: skip
BLOCKS_PER_CONTROL = 8
MOST_HARMONICS = 2000
SEEN_VARYING = 1e-6  # of its size; a control that varies less is rounding
FEWEST_TOLD = 200  # directions; of 100, one run in thousands is six standard errors off


@dataclass(frozen=True)
class Control:
    """One request: `count` functions of a batch of directions, and their means.

    `values` takes directions (L, d) and the projected clouds, and returns (L, count); `means` takes
    the error allowed and the mean over some directions, and returns means (count,) and a bound of
    their error. Values grow with the power `order` of the clouds' size, 0 for functions of the
    direction alone. Messages call a function of the user's by its `label`. `of_parts` takes
    (theta.Dm)^2, v_x and v_y (L,). Where `alone`, values don't need the projected clouds; where
    `exact`, means have no error, whatever is allowed.
    """

    name: str
    count: int
    values: Callable[[Array, Array, Array], Array]
    means: Callable[[float, float], tuple[Array, float]]
    order: float
    label: str = ""
    of_parts: Callable[[Array, Array, Array], Array] | None = None
    alone: bool = False
    exact: bool = False


@dataclass(frozen=True)
class Corrected:
    """Block means (B,) with controls taken off.

    So many coefficients were `fitted`; those here are from all blocks, 0 where a column was
    dropped. `error` bounds what is left by means of controls that are computed numerically.
    """

    blocks: Array
    fitted: int
    coefficients: Array
    error: float = 0.0


def _known(*means: float) -> Callable[[float, float], tuple[Array, float]]:
    """`Control.means` without an error."""
    return lambda tolerance, seen: (np.array(means), 0.0)


def harmonics(dimension: int, degree: int) -> Control:
    """Even polynomials up to a degree: monomials of that degree, minus their means.

    On the sphere those of the highest even degree span the lower ones; the last is left out
    because together they hold the constant.

    Examples
    --------
    >>> [harmonics(3, degree).count for degree in (2, 4, 8)]
    [5, 14, 44]
    """
    degree = _even(degree)
    count = math.comb(dimension + degree - 1, degree) - 1
    if count > MOST_HARMONICS:
        raise ValueError(
            f"control_variates: harmonics up to degree {degree} in {dimension} dimensions are "
            f"{count} functions; expected at most {MOST_HARMONICS}"
        )
    chosen = list(itertools.combinations_with_replacement(range(dimension), degree))[:-1]
    table = np.array([np.bincount(which, minlength=dimension) for which in chosen])
    # E prod theta_i^(a_i) = prod (a_i - 1)!! / (d (d+2) ... (d + degree - 2))
    below = math.prod(dimension + 2 * i for i in range(degree // 2))
    odd = [math.prod(range(1, a, 2)) for a in range(degree + 1)]
    means = [0.0 if (row % 2).any() else math.prod(odd[a] for a in row) / below for row in table]

    def values(theta: Array, x: Array, y: Array) -> Array:
        powers = theta[:, :, None] ** np.arange(degree + 1)
        out = np.ones((len(theta), len(table)))
        for i in range(dimension):
            out *= powers[:, i, table[:, i]]
        return out

    return Control("harmonics", count, values, _known(*means), 0)


def _even(degree: object) -> int:
    """Degree of harmonics, checked."""
    whole = isinstance(degree, int | np.integer) and not isinstance(degree, bool)
    found = int(degree) if whole else 0  # type: ignore[call-overload]
    if found < 2 or found % 2:
        raise ValueError(f"control_variates: got harmonics of degree {degree!r}; expected 2, 4 ...")
    return found


def build(request: Request, pair: Pair, p: float) -> list[Control]:
    """Controls as on this module's page, in the order in which they are kept if blocks are few."""
    found = [_one(entry, pair, p) for entry in asked_for(request)]
    return sorted(found, key=lambda control: PREFERENCE.index(control.name))


def asked_for(request: Request) -> Sequence[object]:
    """What is asked for, checked, entry by entry; none where that is False, or left to us."""
    if request is False or request is None or (isinstance(request, str) and request == "auto"):
        return []
    listed = [request] if isinstance(request, str | tuple) else request
    if not (isinstance(listed, list) and all(isinstance(one, str | tuple) for one in listed)):
        raise TypeError(
            f"control_variates: got {shown(request)}; expected 'auto', False, a name of "
            f"{NAMES}, ('harmonics', degree), (function, mean), or a list of these"
        )
    for one in listed:
        first, second = one if isinstance(one, tuple) and len(one) == 2 else (None, None)
        if isinstance(first, str) and first == "harmonics":
            _even(second)
        elif callable(first):
            _mean_of(second)
        elif one not in NAMES:
            raise ValueError(
                f"control_variates: got {one!r}; expected one of {NAMES}, ('harmonics', degree) or "
                "(function, mean)"
            )
    return listed


def _one(entry: object, pair: Pair, p: float) -> Control:
    d, shift = pair.dimension, pair.shift
    if isinstance(entry, tuple) and len(entry) == 2:
        first, second = entry
        if isinstance(first, str) and first == "harmonics":
            return harmonics(d, second)
        if callable(first):
            return _own(first, second)
    if entry == "point_mass":
        return _point_mass(pair, p)
    if entry == "polynomial":
        return _polynomial(pair)
    # squares of the shift and variances along directions, and their means over the sphere
    squared = float(shift @ shift)
    means = squared / d, pair.x.spread / d, pair.y.spread / d

    def parts(theta: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
        v_x, v_y = (
            cloud.projected_variance(theta, rows, entry == "tangent")
            for cloud, rows in ((pair.x, x), (pair.y, y))
        )
        return (theta @ shift) ** 2, v_x, v_y

    def gaussian(shifted: Array, v_x: Array, v_y: Array) -> Array:
        return shifted + (np.sqrt(v_x) - np.sqrt(v_y)) ** 2

    c_x, c_y = (
        1 - math.sqrt(b.spread / a.spread) if a.spread > 0 else 0.0
        for a, b in ((pair.x, pair.y), (pair.y, pair.x))
    )

    def tangent(shifted: Array, v_x: Array, v_y: Array) -> Array:
        return shifted + c_x * v_x + c_y * v_y

    def mean_of_gaussian(tolerance: float, seen: float) -> tuple[Array, float]:
        # what the error is a share of, about
        most = min(max(seen - means[0], 1e-6 * seen, 1e-300), max(means[1] + means[2], 1e-300))
        # a power of ten, so that rounding doesn't move the nodes when the units change
        share = min(max(tolerance / most, 1e-10), 1e-2)
        relative = 10.0 ** -math.ceil(-math.log10(share))
        gap = mean_squared_gap(*pair.spectra(), d, relative)
        return np.array([squared / d + gap]), relative * gap

    linear = means[0] + c_x * means[1] + c_y * means[2]
    power = absolute_moment(d, p) * squared ** (p / 2)
    simple = {
        "lower": (1, lambda theta, *_: (theta @ shift)[:, None] ** 2, _known(means[0]), 2),
        "upper": (1, lambda *at: np.add.reduce(parts(*at))[:, None], _known(sum(means)), 2),
        "parts": (3, lambda *at: np.stack(parts(*at), axis=1), _known(*means), 2),
        "gaussian": (1, lambda *at: gaussian(*parts(*at))[:, None], mean_of_gaussian, 2),
        "tangent": (1, lambda *at: tangent(*parts(*at))[:, None], _known(linear), 2),
        "power": (1, lambda theta, *_: np.abs(theta @ shift)[:, None] ** p, _known(power), p),
    }
    assert isinstance(entry, str), "as asked_for says"
    of_parts = {"gaussian": gaussian, "tangent": tangent}.get(entry)
    return Control(entry, *simple[entry], of_parts=of_parts, exact=entry == "tangent")


def _polynomial(pair: Pair) -> Control:
    fitted, mean = gap_polynomial(pair.x.covariance, pair.y.covariance)
    shift = pair.shift

    def of_parts(shifted: Array, v_x: Array, v_y: Array) -> Array:
        return shifted + fitted(v_x, v_y)

    def values(theta: Array, x: Array, y: Array) -> Array:
        v_x, v_y = (
            np.maximum(np.einsum("ld,ld->l", theta @ cloud.covariance, theta), 0.0)
            for cloud in (pair.x, pair.y)
        )
        return of_parts((theta @ shift) ** 2, v_x, v_y)[:, None]

    known = _known(float(shift @ shift) / pair.dimension + mean)
    return Control("polynomial", 1, values, known, 2, of_parts=of_parts, alone=True, exact=True)


def by_default(pair: Pair, p: float, directions: Directions, total: int) -> list[Control]:
    """The control that is worth its time for `total` directions, by sizes alone.

    "tangent" is constant on whole blocks. Rules in two and three dimensions leave nothing to
    correct, strata do; directions that are given have a mean of their own.
    """
    smooth = pair.dimension < 4 and directions.kind != "strata"
    if directions.kind == "given" or smooth:
        return []
    weighted = pair.x.weights is not None or pair.y.weights is not None
    name = worth_most(pair.dimension, pair.points, total, weighted)
    return [] if name == "tangent" and directions.degree >= 3 else build(name, pair, p)


def worth_most(d: int, points: int, total: int, weighted: bool = False) -> str:
    """The control whose mean is cheap beside the costs along so many directions (in ns).

    Clouds differ in whether a control takes off nine tenths of the variance or next to nothing,
    which nothing tells beforehand: it may cost a tenth of the distance, or two fifths where nothing
    cheaper does nearly the same. The mean of "gaussian" takes a dozen eigendecompositions; that of
    "polynomial", which falls behind it where variances differ much between directions, covariances
    and a product of matrices. "tangent" costs nothing.

    Examples
    --------
    >>> worth_most(10, 6_000, 1_000), worth_most(64, 2_000, 320), worth_most(784, 4_000, 100)
    ('gaussian', 'polynomial', 'tangent')
    """
    # a call takes a millisecond or two whatever is asked
    costs = 1.5e6 + total * points * (0.05 * d + 8) * (3 if weighted else 1)
    if 1e6 + (1600 + 0.022 * points) * min(d, points) ** 2 <= 0.1 * costs:
        return "gaussian"
    return "polynomial" if 4e5 + (60 + 0.08 * points) * d**2 <= 0.4 * costs else "tangent"


def by_scale(costs: Array, p: float) -> Array:
    """Coefficients (B,) of a control that stands for W_2^2, from the costs of the other blocks.

    (p/2) m_p^(2/p) W^(1 - 2/p) with m_p = E abs(Z)^p, Z normal: the slope of abs(a)^p on a^2 for a
    normal gap a, and that of m_p C^(p/2) where shapes agree. 1 for p = 2.

    Examples
    --------
    >>> by_scale(np.array([1.0, 3.0, 5.0]), 2.0), by_scale(np.array([4.0, 4.0]), 1.0).round(6)
    (array([1., 1., 1.]), array([0.079577, 0.079577]))
    """
    if p == 2:
        return np.ones(len(costs))
    if len(costs) < 2:
        return np.zeros(len(costs))
    others = np.maximum((costs.sum() - costs) / (len(costs) - 1), 0.0)
    log_moment = math.lgamma((p + 1) / 2) - math.log(math.pi) / 2 + p / 2 * math.log(2)
    with np.errstate(divide="ignore"):
        slopes = p / 2 * math.exp(2 / p * log_moment) * others ** (1 - 2 / p)
    return np.where(others > 0, slopes, 0.0)


def _point_mass(pair: Pair, p: float) -> Control:
    def column(theta: Array, rows: Array, cloud: Cloud, centre: Array) -> Array:
        gaps = np.abs(rows - (theta @ centre)[:, None]) ** p
        return gaps.mean(axis=1) if cloud.weights is None else gaps @ cloud.weights

    def values(theta: Array, x: Array, y: Array) -> Array:
        return np.stack(
            [column(theta, x, pair.x, pair.y.mean), column(theta, y, pair.y, pair.x.mean)], axis=1
        )

    def means(tolerance: float, seen: float) -> tuple[Array, float]:
        known = pair.x.power_around(pair.y.mean, p), pair.y.power_around(pair.x.mean, p)
        return absolute_moment(pair.dimension, p) * np.array(known), 0.0

    return Control("point_mass", 2, values, means, p)


def _mean_of(mean: object) -> Array:
    """Stated means of a function of the user's, checked."""
    try:
        known = np.atleast_1d(np.asarray(mean, dtype=np.float64))
    except (TypeError, ValueError):
        raise TypeError(f"control_variates: got {mean!r} as a mean; expected numbers") from None
    if known.ndim != 1 or not np.isfinite(known).all():
        raise ValueError(
            f"control_variates: got a mean of shape {known.shape}; expected finite numbers, one "
            "per function"
        )
    return known


def _own(function: Function, mean: ArrayLike) -> Control:
    known = _mean_of(mean)

    def values(theta: Array, x: Array, y: Array) -> Array:
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
    return Control("own", len(known), values, _known(*known), 0, label)


def affordable(controls: Sequence[Control], blocks: int) -> list[bool]:
    """Which controls so many blocks allow: one function for every eight, the first ones first."""
    left, kept = blocks // BLOCKS_PER_CONTROL, []
    for control in controls:
        kept.append(control.count <= left)
        left -= control.count * kept[-1]
    return kept


def take_off(
    controls: Sequence[Control],
    costs: Array,
    rows: Array,
    scale: float,
    slopes: Array | None = None,
) -> Corrected:
    """Block means of costs (B,) without what those of controls, rows (B, k), say of their errors.

    `scale` is the mean square of the points of both clouds. Coefficients are fitted, but for those
    of a single control for which there are `slopes` (B,).
    """
    if not controls:
        return Corrected(costs, 0, np.zeros(0))
    if slopes is not None and controls[0].exact:
        known, _ = controls[0].means(0.0, 0.0)
        return Corrected(costs - slopes * (rows - known)[:, 0], 0, slopes[:1])
    counts = [control.count for control in controls]
    orders = np.repeat([control.order for control in controls], counts)
    sizes = np.where(orders > 0, scale ** (orders / 2), np.abs(rows).max(axis=0))

    def with_means(means: Array) -> Corrected:
        if slopes is not None:
            return Corrected(costs - slopes * (rows - means)[:, 0], 0, slopes[:1])
        return fit(costs, rows - means, sizes)

    # the error of what is left hardly changes with the means, which are needed to a hundredth of it
    seen, count = rows.mean(axis=0), len(costs)
    first = with_means(seen)
    left = first.blocks.std(ddof=1) / math.sqrt(count) if count > 1 else abs(costs[0])
    places = np.cumsum([0, *counts[:-1]])
    largest = np.maximum.reduceat(np.abs(first.coefficients), places)
    allowed = 0.01 * float(left) / np.maximum(largest, 1e-300 * max(float(left), 1.0))
    means = [
        control.means(float(most), float(seen[at]))
        for control, most, at in zip(controls, allowed, places, strict=True)
    ]
    error = float(sum(largest * [error for _, error in means]))
    return replace(with_means(np.concatenate([mean for mean, _ in means])), error=error)


def check_means(
    controls: Sequence[Control], table: Array, columns: Sequence[int], weights: Array
) -> None:
    """Raise where means stated by the user are refuted by values, `columns` of (B, lines, ...)."""
    at = 0
    for control in controls:
        if control.name == "own":
            _check_means(control, table[..., columns[at : at + control.count]], weights)
        at += control.count


def _check_means(control: Control, values: Array, weights: Array) -> None:
    """Six standard errors are enough to refute a mean.

    Of independent directions, which the blocks of a rule stay within, and of the blocks as they
    are. Few directions say little of the mean of a skewed function, and may show half of its
    skewness. A column that `fit` drops because it doesn't vary does no harm.
    """
    stated, _ = control.means(0.0, 0.0)
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


def fit(values: Array, centred: Array, sizes: Array) -> Corrected:
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
    Corrected
        Its mean is exactly unbiased: no block is corrected by a coefficient it helped to find.
        In closed form, with X = [1, h], residuals e and leverages q,
        t_b = W_b - h_b'beta + (h_b'(X'X)^-1_h. X_b) e_b / (1 - q_b).

    Examples
    --------
    >>> h = np.array([[0.1], [-0.2], [0.4], [0.0], [-0.1]])
    >>> np.ptp(fit(3 + 2 * h[:, 0], h, np.ones(1)).blocks) < 1e-12
    np.True_
    """
    from scipy.linalg import qr

    count, k = centred.shape
    spread = centred.std(axis=0)
    kept = np.flatnonzero(spread > SEEN_VARYING * sizes)
    coefficients = np.zeros(k)
    if kept.size == 0:
        return Corrected(values, 0, coefficients)
    design = np.column_stack([np.ones(count), centred[:, kept] / spread[kept]])
    _, r, pivots = qr(design, mode="economic", pivoting=True)
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
    return Corrected(corrected, len(columns) - 1, coefficients)
