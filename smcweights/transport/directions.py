"""Directions of projection: independent blocks, each a rule on the sphere turned at random.

A function W(theta) that is even in theta is averaged over a block: nodes theta_k with weights w_k,
of sum 1. A block whose every node is uniform on the sphere, as a rule turned by a rotation with
Haar's law is, gives an unbiased mean whatever the rule; a rule that is exact for polynomials of
degree t adds nothing but the part of W beyond t to the error. Nodes of one block depend on each
other, so that standard errors come from the spread of independent blocks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import count, real
from ..cautions import Caution
from .clouds import Cloud, Pair
from .sphere import projection_skewness

Array = NDArray[np.float64]

NAMES = ("auto", "uniform", "orthogonal", "sobol", "rule", "exact")
# degrees of Lebedev's rules by lines, without those that have negative weights
LEBEDEV = {
    3: 3, 7: 5, 13: 7, 19: 9, 25: 11, 43: 15, 55: 17, 73: 19, 85: 21, 97: 23, 151: 29, 175: 31,
    217: 35, 295: 41, 385: 47, 487: 53, 601: 59, 727: 65, 865: 71, 1015: 77, 1177: 83,
}  # fmt: skip
# largest dimension in which a rule of degree 5 is what is meant, where there are blocks enough;
# above, axes have negative weights, and five times (d = 10) the variance is left beyond the fourth
# degree: of three pairs one had a third of what the default leaves there, two had 2.5 times it
DEGREE_FIVE = {"auto": 5, "rule": math.inf}
LARGEST_ANGLES = 1023  # lines of one block in the plane
# directions without a rule; intervals of 20 covered 0.85, for p = 3 0.75; twelve blocks of 4 0.928
FEWEST_SINGLE, FEWEST_ORTHONORMAL = 50, 52
# by turned rules: five of three lines covered 0.92 at worst, six of them in space 0.926 for p = 3
# strata of fewer than six rings 0.89
FEWEST_TURNED = {"angles": 18, "lebedev": 21, "strata": 30}
# directions over the squared skewness that costs may have: of 192 of rules in 4 dimensions, p = 10,
# intervals covered 0.89, for p = 20 0.79; without a rule fewer degrees of freedom do the rest
TURNED_SKEWED, SINGLE_SKEWED = 17, 3
WITHOUT_RULE = ("uniform", "orthogonal", "sobol")
# in the plane, where points share coordinates in at least such a share of pairs: 25 directions
# covered 0.82, 50 of them 0.88, 100 and more 0.93, for two of 140 pairs of clouds 0.90
FEWEST_TIED, TIED = 100, 0.005
CACHED = 2**14  # numbers that are normalised at once
FEWEST_STRATA, FEWEST_RINGS = 8, 8  # blocks, and strata in each; of fewer the cap has none
FEWEST_SEVERAL = 120  # directions in strata around several axes; 48 and 96 covered 0.89 to 0.96
FEWEST_SHOWING = 20  # blocks whose skewness is more than chance
SEEN_SKEWNESS = 2  # true skewness over what a sample shows of it, at most
SINGLE_BLOCK = Caution(
    "single-block",
    "one block of directions has no standard error: its directions depend on each other. More "
    "directions, or given ones of shape (blocks, lines, d), would have one",
)


@dataclass(frozen=True)
class Directions:
    """What the blocks are made of.

    Attributes
    ----------
    kind : str
        "uniform", "orthogonal", "sobol", "angles", "lebedev", "degree 5", "strata" or "given".
    dimension, blocks, lines : int
        Dimension of the space, number of blocks and directions in each.
    given : ndarray, shape (blocks, lines, dimension), or None
        The user's directions.
    axes : tuple of int
        Columns whose axes, or what these span, strata lie around.
    """

    kind: str
    dimension: int
    blocks: int
    lines: int
    given: Array | None = None
    axes: tuple[int, ...] = ()

    @property
    def degree(self) -> int:
        """Even polynomials up to this degree are integrated without error; 1: nothing special."""
        if self.kind == "angles":
            return 2 * self.lines - 1
        if self.kind == "orthogonal":
            return 3 if self.lines == self.dimension else 1
        return (
            LEBEDEV[self.lines] if self.kind == "lebedev" else 5 if self.kind == "degree 5" else 1
        )

    @property
    def total(self) -> int:
        """Number of directions."""
        return self.blocks * self.lines

    def degrees_of_freedom(self, blocks: int, p: float = 2, fitted: bool = False) -> float:
        """Of Student's interval over so many blocks.

        Without a rule costs may be as skewed as those of a shifted cloud, and where a mean falls
        low by chance, so does its error: an interval over N directions lost 0.2 skewness^2/N. What
        a sample shows of its skewness falls with both, so that a caution by it told those that
        held. The variance gets the degrees of freedom that an excess kurtosis of skewness^2 leaves
        it: of 270 cells of nine kinds of clouds, 48 to 200 directions in 6 to 300 dimensions, p up
        to 3, 9 cover less than 0.93, of which 7 have a column that varies six times as much.

        In the plane a block is one random angle, and its error a bounded function of it whose
        values crowd at its ends (near a cosine where costs are smooth, a square where they have a
        kink): few blocks look too much alike. With three degrees fewer, and an odd number of lines
        of at least three, five of them cover 0.92 at worst, six and more 0.935.

        What a rule of degree 5 leaves of the kink that costs have below p = 2 has a skewness of
        about -1.4: 6 to 12 blocks covered 0.90 to 0.92, and cover 0.94 to 0.97 with half as many
        degrees of freedom, which costs a sixth of the width where orthogonal blocks would double
        it.
        """
        if self.kind in WITHOUT_RULE and blocks > 1 and self.dimension > 1:
            skewed = projection_skewness(self.dimension, p, fitted) ** 2
            share = min(skewed / ((blocks + 1) * self.lines), 1 / SINGLE_SKEWED)  # told beyond it
            return 1 / (1 / (blocks - 1) + share / 2)
        if self.kind == "degree 5" and p < 2:
            return max(blocks // 2 - 1, min(blocks - 1, 2), 1)
        return max(blocks - 4, 2) if self.kind == "angles" else max(blocks - 1, 1)

    @property
    def weights(self) -> Array:
        """Weights of the directions of a block, shape (lines,), of sum 1."""
        if self.kind == "strata":
            return np.diff(_strata(self.dimension, len(self.axes), self.lines))
        rule = self.turned_rule
        return np.full(self.lines, 1 / self.lines) if rule is None else rule[1]

    @property
    def turned_rule(self) -> tuple[Array, Array] | None:
        """Nodes (lines, dimension) and weights (lines,) of a rule that every block turns anew."""
        if self.kind == "lebedev":
            return _lebedev(self.degree)
        return _degree_five(self.dimension) if self.kind == "degree 5" else None

    def describe(self) -> dict[str, str | int]:
        """What diagnostics say of them."""
        return {
            "directions": self.kind,
            "blocks": self.blocks,
            "lines_per_block": self.lines,
            "degree": self.degree,
        }


ON_THE_LINE = Directions("uniform", 1, 1, 1, np.ones((1, 1, 1)))


def plan(
    directions: str | ArrayLike,
    dimension: int,
    budget: int | None = None,
    *,
    fewest: int = 5,
    peaks: Collection[int] = (),
) -> Directions:
    """Blocks for a budget: a rule that depends on the arguments only.

    Parameters
    ----------
    directions : {"auto", "uniform", "orthogonal", "sobol", "rule"} or array_like
        As for `smcweights.sliced_wasserstein`. Given ones are all used.
    dimension : int
        On the line there is one direction.
    budget : int
        Most directions; of drawn ones only.
    fewest : int, default 5
        Blocks that are wanted at least, for the standard error; 1 for as few as possible.
    peaks : set of int, optional
        Columns at whose axes costs have a narrow peak, which "auto" looks after.

    Raises
    ------
    ValueError, TypeError
        A name that is unknown or "exact", or an array of other than unit vectors.

    Examples
    --------
    >>> [plan("auto", 3, n).lines for n in (100, 1000)]
    [19, 97]
    >>> plan("auto", 5, 200).kind, plan("auto", 6, 200).kind
    ('degree 5', 'orthogonal')
    >>> plan("orthogonal", 50, 200, fewest=8).lines  # of orthonormal rows
    25
    """
    d = dimension
    if not isinstance(directions, str):
        given = _given(directions, d)
        return given if d > 1 else ON_THE_LINE
    check_name(directions)
    if directions == "exact":
        raise ValueError(
            "directions: 'exact' serves sliced_wasserstein alone; expected 'auto' or 'rule'"
        )
    budget = count("budget", budget)
    if d == 1:
        return ON_THE_LINE
    if directions == "auto" and peaks:
        if budget >= FEWEST_STRATA:
            lines = max(
                budget // max(FEWEST_STRATA, fewest), min(FEWEST_RINGS, budget // fewest), 1
            )
            axes = tuple(sorted(peaks))[: d - 1]
            return Directions("strata", d, budget // lines, lines, axes=axes)
        directions = "orthogonal"
    if directions in ("auto", "rule") and d == 2:
        # six where five would have few degrees of freedom; fewer than 18 lines are no six rules
        blocks = _blocks_of(budget, fewest) + (fewest == 5 and 18 <= budget < 200)
        lines = min(max(budget // blocks, 1), LARGEST_ANGLES)
        # of an even number, kinks on opposite sides of the circle fall on each other
        lines -= lines % 2 == 0 and fewest > 1
        return Directions("angles", 2, budget // lines, lines)
    if directions in ("auto", "rule") and d == 3 and budget >= min(LEBEDEV):
        share = max(budget // _blocks_of(budget, fewest), min(LEBEDEV))
        lines = max(rule for rule in LEBEDEV if rule <= share)
        return Directions("lebedev", 3, budget // lines, lines)
    if directions in DEGREE_FIVE and d <= DEGREE_FIVE[directions] and budget >= fewest * d * d:
        return Directions("degree 5", d, budget // (d * d), d * d)
    if directions == "sobol":
        lines = 2 ** int(math.log2(max(budget // _blocks_of(budget, fewest), 1)))
        return Directions("sobol", d, budget // lines, lines)
    if directions == "uniform" or budget < 2:
        return Directions("uniform", d, budget, 1)
    # whole blocks where there are enough of them; else fewer rows in each
    lines = d if budget >= fewest * d else min(max(budget // max(fewest, 8), 1), d)
    if lines == 1:
        return Directions("uniform", d, budget, 1)
    return Directions("orthogonal", d, budget // lines, lines)


def check_name(directions: str | ArrayLike) -> None:
    """Raise for a name that no directions have."""
    if isinstance(directions, str) and directions not in NAMES:
        raise ValueError(f"directions: got {directions!r}; expected one of {NAMES} or an array")


def too_few(directions: Directions, p: float, total: int, fitted: bool = False) -> list[Caution]:
    """A caution where so many directions are few for costs as skewed as a shifted cloud's.

    Less than a block too few is what budgets lose to whole blocks. Of turned rules six do in the
    plane, and seven in space, where a high power needs more of them.
    """
    several = len(directions.axes) > 1
    wanted = FEWEST_SEVERAL if several else FEWEST_TURNED.get(directions.kind, 0)
    if total < wanted:
        return [
            Caution(
                "few-directions",
                f"the interval may cover less than it says: {total} directions are few, "
                f"{wanted} would do",
            )
        ]
    if directions.kind in ("angles", "given"):
        return []
    fewest, times = 0, TURNED_SKEWED
    if directions.kind in WITHOUT_RULE:
        fewest = FEWEST_SINGLE if directions.lines == 1 else FEWEST_ORTHONORMAL
        times = SINGLE_SKEWED
    enough = max(fewest, times * projection_skewness(directions.dimension, p, fitted) ** 2)
    if total + directions.lines > enough:
        return []
    return [
        Caution(
            "few-directions",
            f"the interval may cover less than it says: {total} directions are few for skewed "
            f"costs, {enough:.0f} would do for p = {p:g}",
        )
    ]


def too_few_for_ties(directions: Directions, total: int, pair: Pair) -> list[Caution]:
    """A caution where costs in the plane have a sharp bend, at the line that points are on."""
    if directions.kind != "angles" or total >= FEWEST_TIED:
        return []
    if max(pair.x.ties, pair.y.ties) < TIED:
        return []
    return [
        Caution(
            "few-directions",
            f"the interval may cover less than it says: {total} directions are few for points "
            f"that share their coordinates, {FEWEST_TIED} would do",
        )
    ]


def peaks_of(directions: str | ArrayLike, clouds: Sequence[Cloud], p: float) -> frozenset[int]:
    """Columns of few values, at whose axes costs have a narrow peak that rules seldom meet.

    From three to five dimensions, p > 1: eight rules, or fifty orthonormal blocks, covered 0.68 to
    0.93 there.
    """
    dimension = clouds[0].points.shape[1]
    auto = isinstance(directions, str) and directions == "auto"
    if not auto or p == 1 or not 3 <= dimension <= 5:
        return frozenset()
    found = frozenset[int]().union(*(cloud.coarse for cloud in clouds))
    return found


def too_few_for_peaks(directions: Directions, blocks: Array, pair: Pair) -> list[Caution]:
    """A caution where means of orthonormal blocks (B,) are as skewed as peaks make them.

    The costs of single directions, whose squares whole blocks integrate, don't show it.
    """
    count = len(blocks)
    if directions.kind != "orthogonal" or count < FEWEST_SHOWING:
        return []
    if not (pair.x.coarse or pair.y.coarse):
        return []
    gaps = blocks - blocks.mean()
    spread = math.sqrt(float(np.mean(gaps**2)))
    seen = abs(float(np.mean((gaps / spread) ** 3))) if spread > 0 else 0.0
    enough = 10 * (SEEN_SKEWNESS * seen) ** 2
    if count >= enough:
        return []
    return [
        Caution(
            "few-directions",
            f"the interval may cover less than it says: {count * directions.lines} directions are "
            f"few where a column of few values is a peak, {enough * directions.lines:.0f} would do",
        )
    ]


def wider(current: Directions) -> Directions | None:
    """The next larger rule for a run by precision, or None: eight blocks about four times as wide.

    Examples
    --------
    >>> wider(pilot("rule", 3, 1000)).lines
    85
    """
    if current.kind == "angles" and 4 * current.lines < LARGEST_ANGLES:
        return Directions("angles", 2, 8, 4 * current.lines + 1)
    if current.kind == "lebedev":
        larger = (lines for lines in LEBEDEV if lines >= 4 * current.lines)
        return next((Directions("lebedev", 3, 8, lines) for lines in larger), None)
    return None


def draw(current: Directions, blocks: int, rng: np.random.Generator, first: int = 0) -> Array:
    """Unit vectors (blocks, lines, dimension) of some blocks; of given ones from the `first` on.

    Examples
    --------
    >>> theta = draw(plan("orthogonal", 4, 8, fewest=2), 2, np.random.default_rng(1))
    >>> np.allclose(theta[0] @ theta[0].T, np.eye(4))
    True
    """
    d, lines = current.dimension, current.lines
    if current.given is not None:
        return current.given[first : first + blocks]
    if current.kind == "uniform":
        z = rng.standard_normal((blocks, lines, d))
        # a few rows at a time stay in the cache
        step = max(CACHED // d, 1)
        for a in range(0, blocks, step):
            rows = z[a : a + step]
            rows /= np.sqrt(np.add.reduce(rows * rows, axis=-1, keepdims=True))
        return z
    if current.kind == "angles":
        angle = (rng.random((blocks, 1)) + np.arange(lines)) * (math.pi / lines)
        return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    if current.kind == "strata":
        return _around(current.axes, _strata(d, len(current.axes), lines), blocks, d, rng)
    if current.kind == "sobol":
        return np.stack([_sobol(lines, d, rng) for _ in range(blocks)])
    rule = current.turned_rule
    if rule is None:
        return haar_rows(blocks, lines, d, rng)
    return rule[0] @ haar_rows(blocks, d, d, rng)


def haar_rows(blocks: int, rows: int, dimension: int, rng: np.random.Generator) -> Array:
    """Orthonormal rows with Haar's law, shape (blocks, rows, dimension).

    Examples
    --------
    >>> haar_rows(3, 2, 5, np.random.default_rng(1)).shape
    (3, 2, 5)
    """
    q, r = np.linalg.qr(rng.standard_normal((blocks, dimension, rows)))
    # without the signs the law would hang on how the factorisation is computed
    q *= np.sign(np.diagonal(r, axis1=-2, axis2=-1))[:, None, :]
    return np.ascontiguousarray(np.swapaxes(q, -1, -2))


def _blocks_of(budget: int, fewest: int) -> int:
    return fewest if fewest < 5 else max(5 if budget < 200 else 8, fewest)


def pilot(directions: str, d: int, most: int, peaks: Collection[int] = ()) -> Directions:
    """The first blocks of a run by precision, of at most so many directions."""
    if directions == "auto" and peaks:
        enough = 12 * FEWEST_STRATA if len(peaks) == 1 else FEWEST_SEVERAL
        return plan(directions, d, min(most, enough), peaks=peaks)
    first = _pilot(directions, d)
    return first if first.total <= most else plan(directions, d, most)


def _pilot(directions: str, d: int) -> Directions:
    if directions in ("auto", "rule") and d == 2:
        return Directions("angles", 2, 8, 15)
    if directions in ("auto", "rule") and d == 3:
        return Directions("lebedev", 3, 8, 19)
    if directions == "uniform":
        return Directions("uniform", d, 64, 1)
    if directions == "sobol":
        return Directions("sobol", d, 8, 16)
    if directions == "rule" and d <= 10:
        return Directions("degree 5", d, 8, d * d)
    return Directions("orthogonal", d, 8, min(d, 32))


def _given(directions: ArrayLike, dimension: int) -> Directions:
    theta = real("directions", directions)
    if theta.ndim not in (2, 3) or theta.size == 0 or theta.shape[-1] != dimension:
        raise ValueError(
            f"directions: got shape {theta.shape}; expected (L, {dimension}), or "
            f"(blocks, lines, {dimension}) for independent blocks"
        )
    length = np.linalg.norm(theta, axis=-1)
    wrong = ~(np.abs(length - 1) < 1e-5)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"directions: row {place[0] if len(place) == 1 else place} has length "
            f"{length[place]:.6g}; expected unit vectors"
        )
    theta /= length[..., None]
    if theta.ndim == 2:
        theta = theta[None]
    return Directions("given", dimension, theta.shape[0], theta.shape[1], theta)


def _sobol(lines: int, d: int, rng: np.random.Generator) -> Array:
    from scipy.special import ndtri
    from scipy.stats import qmc

    u = qmc.Sobol(d, scramble=True, rng=rng).random(lines)
    # an exact 0 or 1 would be an infinite coordinate
    z = ndtri(np.clip(u, 2.0**-40, 1 - 2.0**-40))
    length = np.linalg.norm(z, axis=-1, keepdims=True)
    return z / length


def _around(
    axes: tuple[int, ...], shares: Array, blocks: int, d: int, rng: np.random.Generator
) -> Array:
    """One unit vector (blocks, S, d) in each ring around what some axes span.

    In a plane that they span, or that is orthogonal to them, angles go on by the golden section
    from ring to ring, which is even over rings and angles; intervals of one column of few values
    of three are half as wide.
    """
    from scipy.special import betaincinv

    rings, k = len(shares) - 1, len(axes)
    share = shares[:-1] + np.diff(shares) * rng.random((blocks, rings))
    squared = betaincinv((d - k) / 2, k / 2, share)  # of the sine of the angle to the axes
    z = rng.standard_normal((blocks, rings, d))
    rest = tuple(column for column in range(d) if column not in axes)
    if 2 in (k, d - k):
        # opposite directions are the same, and the sign of what is not in the plane is random
        golden = (math.sqrt(5) - 1) / 2
        angle = math.pi * ((golden * np.arange(rings) + rng.random((blocks, 1))) % 1)
        z[..., axes if k == 2 else rest] = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    for columns, size in ((axes, 1 - squared), (rest, squared)):
        part = z[..., columns]
        z[..., columns] = part * np.sqrt(size / np.add.reduce(part * part, axis=-1))[..., None]
    return z


@functools.cache
def _strata(d: int, k: int, rings: int) -> Array:
    """Shares (rings + 1,) of the sphere up to each ring around k axes, from 0 at these to 1.

    Half of the rings are of equal share, half of equal width, so that some lie on the cap where
    points with few values along an axis are told apart, which is a hundredth of the sphere.
    """
    from scipy.special import betainc

    angle = np.linspace(0, math.pi / 2, 10_001)
    share = betainc((d - k) / 2, k / 2, np.sin(angle) ** 2)
    ends = np.interp(np.linspace(0, 1, rings + 1), (share + 2 / math.pi * angle) / 2, angle)
    found = betainc((d - k) / 2, k / 2, np.sin(ends) ** 2)
    found[0], found[-1] = 0.0, 1.0
    return found


@functools.cache
def _lebedev(degree: int) -> tuple[Array, Array]:
    """Half of a rule: one of each pair of opposite points, weights doubled."""
    from scipy.integrate import lebedev_rule

    points, weights = lebedev_rule(degree)
    points = points.T
    # the first coordinate that is not 0 decides
    first = np.argmax(np.abs(points) > 1e-9, axis=1)
    half = points[np.arange(len(points)), first] > 0
    w = weights[half]
    return np.ascontiguousarray(points[half]), w / w.sum()


@functools.cache
def _degree_five(d: int) -> tuple[Array, Array]:
    """The axes and the diagonals of pairs of axes."""
    rows = [np.eye(d)]
    i, j = np.triu_indices(d, 1)
    for sign in (1.0, -1.0):
        pairs = np.zeros((len(i), d))
        pairs[np.arange(len(i)), i] = math.sqrt(0.5)
        pairs[np.arange(len(i)), j] = sign * math.sqrt(0.5)
        rows.append(pairs)
    w = np.full(d * d, 2 / (d * (d + 2)))
    w[:d] = (4 - d) / (d * (d + 2))
    return np.concatenate(rows), w
