"""The law of one input: what may be handed in, cut to an interval, or moved.

`univariate` accepts a frozen `scipy.stats` distribution, a new-style SciPy one, an OpenTURNS one,
or any object with the same five methods, and refuses what has no density.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from .. import arguments
from ..identity import installed_class, signature
from ..provenance import digest
from .counted_laws import ATOM, counted
from .integrated_laws import Integrated
from .openturns_laws import is_openturns, openturns_marginal

Array = NDArray[np.float64]
Size = int | tuple[int, ...] | None
Seed = int | np.random.Generator | None

ACCEPTED = """expected a law, which is one of
  a list, tuple or dict of frozen univariate scipy.stats distributions (independent inputs),
  among them discrete ones and numbers, for inputs that are constant, and your own objects
  with rvs(size=n, random_state=rng) and logpdf(x),
  one frozen univariate or multivariate scipy.stats distribution,
  smcweights.GaussianCopula(marginals, correlation),
  a new-style SciPy distribution such as scipy.stats.Normal(mu=0.0, sigma=1.0) or a Mixture of
  them, scipy.stats.rv_histogram or a one-dimensional gaussian_kde, for inputs known by data,
  an OpenTURNS distribution,
  a SALib problem: a dict with num_vars, names, bounds and, if not all uniform, dists,
  the prob_input of a function of UQTestFuns,
  any object with rvs(size=n, random_state=rng) and logpdf(x)"""


class Marginal(Protocol):
    """A continuous univariate distribution under the method names of `scipy.stats`."""

    def ppf(self, q: ArrayLike, /) -> Any:
        """Quantile function, shaped like q."""

    def isf(self, q: ArrayLike, /) -> Any:
        """Inverse survival function, shaped like q."""

    def cdf(self, x: ArrayLike, /) -> Any:
        """Distribution function, shaped like x."""

    def sf(self, x: ArrayLike, /) -> Any:
        """Survival function, shaped like x."""

    def logpdf(self, x: ArrayLike, /) -> Any:
        """Log density, shaped like x."""


@dataclass(frozen=True)
class Truncated:
    """A univariate distribution restricted to an interval and normalised again.

    Probabilities are counted from the nearer end of the real line, so that an interval far out in
    either tail loses no digits.

    Parameters
    ----------
    distribution : frozen univariate scipy.stats distribution
        Anything with ``ppf``, ``isf``, ``cdf``, ``sf`` and ``logpdf``.
    lower, upper : float, default -inf and inf
        Ends of the interval.

    Raises
    ------
    ValueError
        The interval is empty, or has no probability under the distribution.

    Examples
    --------
    >>> from scipy import stats
    >>> flow = Truncated(stats.gumbel_r(1013.0, 558.0), 500.0, 3000.0)
    >>> flow.ppf([0.0, 0.5, 1.0]).round(1).tolist()
    [500.0, 1261.1, 3000.0]
    """

    distribution: Any
    lower: float = -np.inf
    upper: float = np.inf

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "distribution", univariate(self.distribution, "Truncated: distribution")
        )
        for name in ("lower", "upper"):
            end = arguments.number(f"Truncated: {name}", getattr(self, name), infinite=True)
            object.__setattr__(self, name, end)
        if not self.lower < self.upper:
            raise ValueError(
                f"Truncated: lower {self.lower} is not below upper {self.upper}, "
                "expected an interval"
            )
        if not self._mass > 0:
            raise ValueError(
                f"Truncated: the distribution has no probability in [{self.lower}, {self.upper}]; "
                "expected lower and upper within its support"
            )

    @functools.cached_property
    def _ends(self) -> tuple[float, float, float, float]:
        """cdf(lower), sf(lower), cdf(upper), sf(upper)."""
        f = self.distribution
        ends = f.cdf(self.lower), f.sf(self.lower), f.cdf(self.upper), f.sf(self.upper)
        return tuple(float(p) for p in ends)  # type: ignore[return-value]

    @property
    def _mass(self) -> float:
        cdf_lower, sf_lower, cdf_upper, sf_upper = self._ends
        return sf_lower - sf_upper if cdf_lower > 0.5 else cdf_upper - cdf_lower

    def support(self) -> tuple[float, float]:
        """Ends of the interval on which the density is positive."""
        lower, upper = support(self.distribution)
        return max(self.lower, lower), min(self.upper, upper)

    def ppf(self, q: ArrayLike) -> Any:
        """Quantile function, shaped like q."""
        cdf_lower, sf_lower, _, _ = self._ends
        below = np.asarray(q, dtype=float) * self._mass
        return self._inverse(cdf_lower + below, sf_lower - below)

    def isf(self, q: ArrayLike) -> Any:
        """Inverse survival function, shaped like q."""
        _, _, cdf_upper, sf_upper = self._ends
        above = np.asarray(q, dtype=float) * self._mass
        return self._inverse(cdf_upper - above, sf_upper + above)

    def _inverse(self, p: Array, q: Array) -> Any:
        """The point with probability p below it and q above it, by the smaller of the two."""
        lower = p < 0.5
        x = np.empty(np.shape(p))
        # rounding may leave a probability a little outside of [0, 1]
        x[lower] = self.distribution.ppf(np.maximum(p[lower], 0.0))
        x[~lower] = self.distribution.isf(np.maximum(q[~lower], 0.0))
        return np.clip(x, self.lower, self.upper)[()]

    def cdf(self, x: ArrayLike) -> Any:
        """Distribution function, shaped like x."""
        cdf_lower, sf_lower, _, _ = self._ends
        x = np.clip(x, self.lower, self.upper)
        f = self.distribution
        p = sf_lower - f.sf(x) if cdf_lower > 0.5 else f.cdf(x) - cdf_lower
        return np.clip(p / self._mass, 0.0, 1.0)[()]

    def sf(self, x: ArrayLike) -> Any:
        """Survival function, shaped like x."""
        _, _, cdf_upper, sf_upper = self._ends
        x = np.clip(x, self.lower, self.upper)
        f = self.distribution
        q = cdf_upper - f.cdf(x) if sf_upper > 0.5 else f.sf(x) - sf_upper
        return np.clip(q / self._mass, 0.0, 1.0)[()]

    def logpdf(self, x: ArrayLike) -> Any:
        """Log density, shaped like x; -inf outside of the interval."""
        x = np.asarray(x, dtype=float)
        inside = (x >= self.lower) & (x <= self.upper)
        return np.where(inside, self.distribution.logpdf(x) - np.log(self._mass), -np.inf)[()]

    def rvs(self, size: Size = None, random_state: Seed = None) -> Any:
        """Draws by inversion; random_state is None, a seed or a NumPy generator."""
        return self.ppf(np.random.default_rng(random_state).random(size))


MOST_ATOMS = 100  # values that are told one by one


@dataclass(frozen=True)
class Atoms:
    """A discrete `scipy.stats` distribution, drawn through its inverse distribution function;
    a constant is one of a single value.

    Log probabilities take the place of log densities.
    """

    distribution: Any

    @functools.cached_property
    def _counted(self) -> Any:
        return counted(self.distribution, "law")

    def check(self, where: str) -> None:
        """Refuse a law without quantiles, or with more values than can be counted."""
        vars(self)["_counted"] = counted(self.distribution, where)
        try:
            middle = self._counted.ppf([0.1, 0.9])
        except TypeError as error:
            raise TypeError(
                f"{where} is not frozen: call the distribution with its parameters first ({error})"
            ) from error
        middle = arguments.told(f"{where}: ppf", middle)
        if middle.shape != (2,) or not np.isfinite(middle).all():
            raise ValueError(
                f"{where} has quantiles {middle} at 0.1 and 0.9, expected two numbers: are its "
                "parameters valid?"
            )

    def support(self) -> tuple[float, float]:
        """Least and largest value."""
        lower, upper = self.distribution.support()
        return float(lower), float(upper)

    def ppf(self, q: ArrayLike) -> Any:
        """Quantile function, shaped like q."""
        return self._counted.ppf(np.clip(q, ATOM, 1 - ATOM))

    def isf(self, q: ArrayLike) -> Any:
        """Inverse survival function, shaped like q."""
        return self._counted.ppf(1 - np.clip(q, ATOM, 1 - ATOM))

    def cdf(self, x: ArrayLike) -> Any:
        """Distribution function, shaped like x."""
        return self._counted.cdf(x)

    def sf(self, x: ArrayLike) -> Any:
        """Survival function, shaped like x."""
        return self._counted.sf(x)

    def logpdf(self, x: ArrayLike) -> Any:
        """Log probability, shaped like x."""
        return self.distribution.logpmf(x)

    @functools.cached_property
    def table(self) -> tuple[Array, Array] | None:
        """The values and their probabilities, but for tails of 1e-15; None where they are many."""
        last, found = float(self.ppf(1.0)), [float(self.ppf(0.0))]
        while found[-1] < last and len(found) <= MOST_ATOMS:
            # quantiles of Poisson laws in SciPy 1.15 miss steps of 1e-9
            ahead = self.ppf(float(self.cdf(found[-1])) + ATOM * 10.0 ** np.arange(0, 10, 2))
            following = ahead[ahead > found[-1]]
            if not len(following):
                return None
            found.append(float(following[0]))
        values = np.array(found)
        p = np.exp(np.asarray(self.logpdf(values), dtype=float))
        if len(values) > MOST_ATOMS or not abs(p.sum() - 1) < 1e-9:
            return None
        return values, p / p.sum()


@dataclass(frozen=True)
class Kernels1:
    """A one-dimensional `scipy.stats.gaussian_kde` under the methods of one input's law."""

    distribution: Any

    @functools.cached_property
    def _table(self) -> tuple[Array, Array]:
        """Standard normals and the inputs at the same probabilities, dense between the points."""
        points, _, width = self._kernels
        ends = np.concatenate([np.linspace(-37, 0, 400), np.linspace(0, 37, 400)]) * width
        x = np.unique(np.concatenate([points, points.min() + ends, points.max() + ends]))
        x = np.unique(np.concatenate([x + k * width for k in (-0.5, 0, 0.5)]))
        p, q = self.cdf(x), self.sf(x)
        z = np.where(p < 0.5, ndtri(p), -ndtri(q))
        kept = np.isfinite(z) & (np.diff(z, prepend=-np.inf) > 0)
        return z[kept], x[kept]

    @property
    def _kernels(self) -> tuple[Array, Array, float]:
        """Points (m,), their weights (m,), and the width of all."""
        density = self.distribution
        return density.dataset[0], density.weights, float(np.sqrt(density.covariance[0, 0]))

    def _mean(self, function: Callable[[Array], Array], x: ArrayLike) -> Any:
        points, weights, width = self._kernels
        at, found = np.ravel(np.asarray(x, dtype=float)), []
        for rows in np.array_split(at, 1 + len(at) * len(points) // 2**20):
            found.append(function((rows[:, None] - points) / width) @ weights)
        return np.concatenate(found).reshape(np.shape(x))[()]

    def cdf(self, x: ArrayLike) -> Any:
        """Distribution function, shaped like x."""
        return self._mean(ndtr, x)

    def sf(self, x: ArrayLike) -> Any:
        """Survival function, shaped like x."""
        return self._mean(lambda z: ndtr(-z), x)

    def logpdf(self, x: ArrayLike) -> Any:
        """Log density, shaped like x."""
        return self.distribution.logpdf(np.ravel(x)).reshape(np.shape(x))[()]

    def ppf(self, q: ArrayLike) -> Any:
        """Quantile function, shaped like q."""
        return self._inverse(q, 1.0)

    def isf(self, q: ArrayLike) -> Any:
        """Inverse survival function, shaped like q."""
        return self._inverse(q, -1.0)

    def _inverse(self, q: ArrayLike, sign: float) -> Any:
        z = np.atleast_1d(sign * ndtri(np.asarray(q, dtype=float)))
        x = np.interp(z, *self._table)
        inside = np.isfinite(z) & (np.abs(z) < 37)
        for _ in range(3):
            # Newton's step on the log of the smaller tail
            at, below = x[inside], z[inside] < 0
            tail = np.where(below, self.cdf(at), self.sf(at))
            wanted = ndtr(-np.abs(z[inside]))
            step = np.log(tail / wanted) * tail / np.exp(self.logpdf(at))
            x[inside] = at - np.where(below, step, -step)
        x[np.isinf(z)] = z[np.isinf(z)]
        return x.reshape(np.shape(q))[()]


@dataclass(frozen=True)
class Perturbed:
    """A univariate law X = F^-1(Phi(Z)) moved to F^-1(Phi(shift + scale Z)), Z standard normal.

    Parameters
    ----------
    distribution : frozen continuous distribution
    shift : float, default 0
        In standard deviations of Z.
    scale : float, default 1
        Positive.

    Raises
    ------
    TypeError, ValueError
        The distribution is not one frozen continuous law, or the scale is not positive.

    Examples
    --------
    >>> from scipy import stats
    >>> Perturbed(stats.norm(10, 2), shift=0.5).ppf(0.5).item()
    11.0
    """

    distribution: Any
    shift: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "distribution", univariate(self.distribution, "Perturbed: distribution")
        )
        for name, low in (("shift", -np.inf), ("scale", 0.0)):
            object.__setattr__(
                self, name, arguments.number(f"Perturbed: {name}", getattr(self, name), low)
            )

    def support(self) -> tuple[float, float]:
        """Ends of the interval on which the density is positive."""
        return support(self.distribution)

    def _from_normal(self, z: Array) -> Array:
        f, moved = self.distribution, self.shift + self.scale * z
        return np.where(moved > 0, f.isf(ndtr(-moved)), f.ppf(ndtr(moved)))

    def _normal(self, x: ArrayLike) -> tuple[Array, Array]:
        """Where x would have come from before and after the move, in standard-normal terms."""
        f = self.distribution
        p, q = np.asarray(f.cdf(x), dtype=float), np.asarray(f.sf(x), dtype=float)
        with np.errstate(divide="ignore"):
            before = np.where(p < 0.5, ndtri(p), -ndtri(q))
        return before, (before - self.shift) / self.scale

    def ppf(self, q: ArrayLike) -> Any:
        """Quantile function, shaped like q."""
        return self._from_normal(ndtri(np.asarray(q, dtype=float)))

    def isf(self, q: ArrayLike) -> Any:
        """Inverse survival function, shaped like q."""
        return self._from_normal(-ndtri(np.asarray(q, dtype=float)))

    def cdf(self, x: ArrayLike) -> Any:
        """Distribution function, shaped like x."""
        return ndtr(self._normal(x)[1])

    def sf(self, x: ArrayLike) -> Any:
        """Survival function, shaped like x."""
        return ndtr(-self._normal(x)[1])

    def logpdf(self, x: ArrayLike) -> Any:
        """Log density, shaped like x; minus infinity outside the support."""
        before, after = self._normal(x)
        inside = np.isfinite(before)
        with np.errstate(invalid="ignore"):
            tilt = (before**2 - after**2) / 2 - np.log(self.scale)
        return np.where(inside, self.distribution.logpdf(x) + np.where(inside, tilt, 0), -np.inf)

    def rvs(self, size: Size = None, random_state: Seed = None) -> Any:
        """Draws of the moved law."""
        rng = np.random.default_rng(random_state)
        return self._from_normal(rng.standard_normal(size))


def default_names(d: int) -> tuple[str, ...]:
    """X1, X2, ...: what inputs are called that nobody named."""
    return tuple(f"X{i + 1}" for i in range(d))


def named_marginals(
    marginals: Mapping[str, Any] | Sequence[Any], where: str, atoms: bool = False
) -> tuple[tuple[str, ...], tuple[Marginal, ...]]:
    """Names and checked univariate distributions; ``atoms``: constant and discrete ones, too."""
    d = len(marginals)
    if d == 0:
        raise ValueError(f"{where}: empty, expected at least one distribution")
    if isinstance(marginals, Mapping):
        names = checked_names(marginals.keys())
        marginals = list(marginals.values())
    else:
        names = default_names(d)
    return names, tuple(
        (with_atoms(m, f"{where}: input {name!r}") if atoms else None)
        or univariate(m, f"{where}: input {name!r}")
        for name, m in zip(names, marginals, strict=True)
    )


def with_atoms(law: Any, where: str) -> Marginal | None:
    """A constant or a discrete distribution, or None where it is neither."""
    if isinstance(law, Atoms):
        return law
    _check_parameters(law, where)
    value = None
    if isinstance(law, int | float | np.integer | np.floating) and not isinstance(law, bool):
        value = law
    elif is_openturns(law) and law.getName() == "Dirac":
        value = law.getParameter()[0]
    else:
        # an array of distributions has no one scale, and is refused later on
        given = (*getattr(law, "args", ()), *getattr(law, "kwds", {}).values())
        parsed = None if any(np.ndim(v) for v in given) else scipy_parameters(law)
        if parsed is not None and parsed[3] == 0:
            value = parsed[2]
    if value is not None:
        from scipy import stats

        value = arguments.number(where, value)
        return Atoms(stats.rv_discrete(values=([value], [1.0])))
    if not is_discrete(law):
        return None
    discrete = Atoms(_NewStyle(law) if hasattr(law, "icdf") else law)
    discrete.check(where)
    return discrete


def is_discrete(law: object) -> bool:
    """Whether it has the methods of one discrete input's law."""
    if any(kind.__name__ == "DiscreteDistribution" for kind in type(law).__mro__):
        return True  # of the new style, where continuous ones have a logpmf, too
    return all(hasattr(law, name) for name in ("logpmf", "ppf", "cdf", "sf", "support"))


def checked_names(names: Iterable[object]) -> tuple[str, ...]:
    """Names of inputs, all different."""
    given = []
    for name in names:
        if not isinstance(name, str) or not name:
            raise TypeError(f"names of inputs are non-empty strings, got {name!r}")
        if name in given:
            raise ValueError(f"names of inputs must differ, {name!r} appears twice")
        given.append(arguments.storable("names of inputs", name))
    return tuple(given)


def kind_of(law: object) -> str:
    """What it is, for messages."""
    if isinstance(law, type):
        return f"{law.__name__!r}, a class"
    kind = type(law).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def univariate(distribution: object, where: str) -> Marginal:
    """The distribution with the methods of scipy.stats, or an error that says what is wrong."""
    if is_openturns(distribution):
        inner, cuts = openturns_marginal(distribution, where)
        return functools.reduce(lambda law, ends: Truncated(law, *ends), cuts, inner)
    if is_kernel_density(distribution) and getattr(distribution, "d", 0) == 1:
        check_points(distribution, where)
        distribution = Kernels1(distribution)
    if isinstance(distribution, bool | np.bool_):
        raise TypeError(f"{where}: got {distribution}; expected a law, or 1 or 0 for a constant")
    if isinstance(distribution, int | float | Atoms) or is_discrete(distribution):
        number = isinstance(distribution, int | float)
        kind = "constant" if number else "discrete"
        raise TypeError(
            f"{where}: got {kind_of(distribution)} (it is {kind}, a density is needed); expected "
            "a continuous law: constant and discrete ones are taken in a list or dict of "
            "independent inputs, and cut ones are scipy.stats.rv_discrete(values=(numbers, "
            "probabilities))"
        )
    if hasattr(distribution, "icdf") and hasattr(distribution, "iccdf"):
        distribution = _NewStyle(distribution)
    if not isinstance(distribution, type) and _is_drawn(distribution, where):
        distribution = Integrated(distribution)
        distribution.check(where)
    if not is_univariate(distribution) or isinstance(distribution, type):
        raise TypeError(f"{where}: got {kind_of(distribution)}; {ACCEPTED}")
    _check_parameters(distribution, where)
    with np.errstate(all="ignore"):
        return _checked(distribution, where)


def _check_parameters(law: Any, where: str) -> None:
    """Refuse a frozen scipy.stats distribution some parameter of which is no real number."""
    dist = getattr(law, "dist", None)
    if dist is None or not type(law).__module__.startswith("scipy.stats."):
        return
    names = [*re.findall(r"\w+", getattr(dist, "shapes", None) or ""), "loc", "scale"]
    given = dict(zip(names, getattr(law, "args", ()), strict=False))
    for name, value in (given | getattr(law, "kwds", {})).items():
        numbers = arguments.numbers(f"{where}: {name}", value)
        if name == "scale" and numbers.ndim == 0 and not numbers >= 0:
            raise ValueError(f"{where}: scale: got {numbers:g}; expected a number above 0")


def _checked(distribution: Marginal, where: str) -> Marginal:
    """A frozen continuous distribution, as far as a few quantiles tell."""
    try:
        shape = np.shape(distribution.ppf(0.5))
    except TypeError as error:
        raise TypeError(
            f"{where} is not frozen: call the distribution with its parameters first ({error})"
        ) from error
    if shape != ():
        raise ValueError(
            f"{where} is an array of {shape} distributions, expected one (a list of "
            "distributions makes several inputs)"
        )
    p = np.array([0.1, 0.3, 0.6, 0.9])
    x = arguments.told(f"{where}: ppf", distribution.ppf(p))
    if not (np.isfinite(x).all() and (np.diff(x) > 0).all()):
        raise ValueError(
            f"{where} has quantiles {x.tolist()} at {p.tolist()}, expected finite increasing "
            "numbers: are its parameters valid, and is it continuous?"
        )
    log_density = arguments.told(f"{where}: logpdf", distribution.logpdf(x))
    if log_density.shape != x.shape or not np.isfinite(log_density).all():
        raise ValueError(
            f"{where} has log density {log_density.tolist()} at {x.tolist()}, expected one finite "
            "number each"
        )
    return distribution


def _is_drawn(distribution: Any, where: str) -> bool:
    """Whether it has draws of one number and their density, and no quantiles."""
    known = [hasattr(distribution, name) for name in ("rvs", "logpdf", "ppf")]
    if known != [True, True, False]:
        return False
    try:
        return np.shape(distribution.rvs(size=2, random_state=np.random.default_rng(0))) == (2,)
    except TypeError as error:
        raise TypeError(
            f"{where}: rvs(size=2, random_state=generator) of {kind_of(distribution)} failed: "
            f"{error}; {ACCEPTED}"
        ) from error


def is_kernel_density(law: object) -> bool:
    """Whether it is a `scipy.stats.gaussian_kde`."""
    return all(hasattr(law, name) for name in ("resample", "logpdf", "dataset", "covariance"))


def check_points(density: Any, where: str) -> None:
    """Refuse a `scipy.stats.gaussian_kde` of points that are no real numbers."""
    arguments.numbers(f"{where}: dataset", density.dataset)


def is_univariate(distribution: object) -> TypeGuard[Marginal]:
    """Whether it has the methods of one input's law."""
    return all(hasattr(distribution, name) for name in ("ppf", "isf", "cdf", "sf", "logpdf"))


def support(distribution: Marginal) -> tuple[float, float]:
    """Ends of the interval on which the density is positive."""
    if hasattr(distribution, "support"):
        lower, upper = distribution.support()
    else:
        lower, upper = distribution.ppf(0.0), distribution.isf(0.0)
    return float(lower), float(upper)


def without_variance(law: Marginal) -> bool:
    """Whether far quantiles grow like p^(-1/2) or faster, and no slower the farther out."""
    tails = np.array([1e-8, 1e-12, 1e-16])
    for far in (law.ppf(tails), law.isf(tails)):
        with np.errstate(divide="ignore", invalid="ignore"):
            before, beyond = np.diff(np.log(np.abs(np.asarray(far, dtype=float)))) / np.log(1e4)
        if beyond > 0.49 and beyond > 0.97 * before:
            return True
    return False


@dataclass(frozen=True)
class _NewStyle:
    """A new-style SciPy distribution under the method names of the old style."""

    distribution: Any

    def support(self) -> Any:
        return self.distribution.support()

    def ppf(self, q: ArrayLike) -> Any:
        return self.distribution.icdf(q)

    def isf(self, q: ArrayLike) -> Any:
        return self.distribution.iccdf(q)

    def cdf(self, x: ArrayLike) -> Any:
        return self.distribution.cdf(x)

    def sf(self, x: ArrayLike) -> Any:
        return self.distribution.ccdf(x)

    def logpdf(self, x: ArrayLike) -> Any:
        return self.distribution.logpdf(x)

    def logpmf(self, x: ArrayLike) -> Any:
        return self.distribution.logpmf(x)


def scipy_parameters(marginal: Any) -> tuple[str, tuple[float, ...], float, float] | None:
    """Name, shapes, location and scale of a frozen scipy.stats distribution."""
    dist = getattr(marginal, "dist", None)
    if dist is None or not type(dist).__module__.startswith("scipy.stats.") or not dist.name:
        return None
    shapes, loc, scale = dist._parse_args(*marginal.args, **marginal.kwds)
    return dist.name, tuple(float(s) for s in shapes), float(loc), float(scale)


def describe_marginal(marginal: Marginal) -> dict[str, Any]:
    """Name and parameters where they are known, else a digest of quantiles and densities.

    And of the code of a user's, which may differ in the tails alone.
    """
    parsed = scipy_parameters(marginal)
    if parsed is not None:
        name, shapes, loc, scale = parsed
        return {"distribution": name, "shapes": list(shapes), "loc": loc, "scale": scale}
    if isinstance(marginal, Truncated):
        # JSON has no infinity
        lower, upper = (b if np.isfinite(b) else None for b in (marginal.lower, marginal.upper))
        inner = describe_marginal(marginal.distribution)
        return {"distribution": "truncated", "of": inner, "lower": lower, "upper": upper}
    if isinstance(marginal, Perturbed):
        inner = describe_marginal(marginal.distribution)
        moved = {"shift": marginal.shift, "scale": marginal.scale}
        return {"distribution": "perturbed", "of": inner, **moved}
    p = np.linspace(0.05, 0.95, 10)
    x = marginal.ppf(p)
    # SciPy has several classes for one law of the new style
    kind = "ContinuousDistribution"
    if not isinstance(marginal, _NewStyle):
        kind = type(getattr(marginal, "distribution", marginal)).__name__
    of = type(getattr(marginal, "dist", marginal))
    own = {} if installed_class(of) else {"code": signature(marginal)}
    return {"distribution": kind, "fingerprint": digest([x, marginal.logpdf(x)])} | own
