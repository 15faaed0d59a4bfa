"""The law of the inputs: what a user may hand in, and one object that answers for all of it.

`as_law` turns any accepted description into a `Law`, which draws, evaluates the log density and,
where the inputs are independent or joined by a Gaussian copula, maps standard-normal space to the
inputs and back (an isoprobabilistic map: x_i = F_i^-1(Phi(z_i)), z = L u). Each half of the map
goes through the nearer tail (quantile below the median, inverse survival function above), so that
a point 37 standard deviations out still has its digits.

The map of a normal, uniform, lognormal, exponential or triangular input is written out here, free
of the argument checks of `scipy.stats`; any other input goes through its own methods.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["GaussianCopula", "Law", "Truncated", "as_law"]

Array = NDArray[np.float64]

# beyond this Phi(-u) is zero in double precision
LARGEST_U = 38.5
# tail probabilities tried on the quantile functions of scipy.stats; the last is u = 37
TAILS = (1e-16, 1e-30, 1e-50, 1e-100, 1e-200, 1e-300)
# rows handled at a time: the scratch arrays stay in the cache
ROWS = 8192

ACCEPTED = """a law is one of
  a list, tuple or dict of frozen univariate scipy.stats distributions (independent inputs),
  one frozen univariate or multivariate scipy.stats distribution,
  smcweights.GaussianCopula(marginals, correlation),
  a new-style SciPy distribution such as scipy.stats.Normal(mu=0.0, sigma=1.0),
  an OpenTURNS distribution,
  a SALib problem: a dict with num_vars, names, bounds and, if not all uniform, dists,
  any object with rvs(size=n, random_state=rng) and logpdf(x)"""


@dataclass(frozen=True, eq=False)
class GaussianCopula:
    """Dependent inputs: any marginals, joined by the dependence of correlated normals.

    With z multivariate normal, zero means, unit variances and the given correlation,
    x_i = F_i^-1(Phi(z_i)): each input keeps its own marginal law F_i (the Nataf model).

    Parameters
    ----------
    marginals : sequence or dict of univariate distributions, length d
        Frozen `scipy.stats` distributions or anything `as_law` takes as one input. A dict names
        the inputs, otherwise they are X1, X2, ...
    correlation : array_like, shape (d, d)
        Correlation of the underlying normals z, positive definite. The correlation of the inputs
        themselves is another number: smaller in size, unless the marginals are normal.

    Raises
    ------
    ValueError
        The correlation is not a symmetric positive definite matrix with unit diagonal of the
        size of the marginals.

    References
    ----------
    Lebrun, R. and Dutfoy, A. (2009). An innovating analysis of the Nataf transformation from the
    copula viewpoint. Probabilistic Engineering Mechanics 24.

    Examples
    --------
    >>> from scipy import stats
    >>> copula = GaussianCopula({"load": stats.gumbel_r(), "strength": stats.lognorm(0.1)},
    ...                         [[1.0, 0.3], [0.3, 1.0]])
    >>> as_law(copula).names
    ('load', 'strength')
    """

    marginals: Sequence[Any] | Mapping[str, Any]
    correlation: ArrayLike

    def __post_init__(self) -> None:
        if not isinstance(self.marginals, (Mapping, Sequence)) or isinstance(self.marginals, str):
            raise TypeError(
                "GaussianCopula: marginals is a list, tuple or dict of univariate distributions, "
                f"got {type(self.marginals).__name__}"
            )
        d = len(self.marginals)
        correlation = np.array(self.correlation, dtype=float)
        if correlation.shape != (d, d):
            raise ValueError(
                f"GaussianCopula: correlation has shape {correlation.shape}, expected {(d, d)} "
                f"for {d} marginals"
            )
        if not np.isfinite(correlation).all():
            raise ValueError("GaussianCopula: correlation has NaN or infinite entries")
        if not np.allclose(correlation, correlation.T, rtol=0, atol=1e-12):
            i, j = np.argwhere(np.abs(correlation - correlation.T) > 1e-12)[0]
            raise ValueError(
                f"GaussianCopula: correlation is not symmetric: entry ({i}, {j}) is "
                f"{correlation[i, j]}, entry ({j}, {i}) is {correlation[j, i]}"
            )
        off = np.abs(np.diag(correlation) - 1)
        if (off > 1e-12).any():
            i = int(np.argmax(off))
            raise ValueError(
                f"GaussianCopula: correlation has {correlation[i, i]} on its diagonal at {i}, "
                "expected 1"
            )
        smallest = np.linalg.eigvalsh(correlation)[0] if d else 1.0
        if smallest <= 1e-12:
            raise ValueError(
                f"GaussianCopula: correlation is not positive definite (smallest eigenvalue "
                f"{smallest:.3g})"
            )
        _named(self.marginals, "GaussianCopula marginals")
        correlation.flags.writeable = False
        object.__setattr__(self, "correlation", correlation)


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
            self, "distribution", _univariate(self.distribution, "Truncated: distribution")
        )
        for name in ("lower", "upper"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not self.lower < self.upper:
            raise ValueError(
                f"Truncated: lower {self.lower} is not below upper {self.upper}, "
                "expected an interval"
            )
        if not self._mass > 0:
            raise ValueError(
                f"Truncated: the distribution has no probability in [{self.lower}, {self.upper}]"
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
        lower, upper = _support(self.distribution)
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

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Draws by inversion; random_state is None, a seed or a NumPy generator."""
        return self.ppf(np.random.default_rng(random_state).random(size))


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
            self, "distribution", _univariate(self.distribution, "Perturbed: distribution")
        )
        for name in ("shift", "scale"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not (np.isfinite(self.shift) and 0 < self.scale < np.inf):
            raise ValueError(
                f"Perturbed: got shift {self.shift}, scale {self.scale}; expected finite numbers "
                "and a positive scale"
            )

    def support(self) -> tuple[float, float]:
        """Ends of the interval on which the density is positive."""
        return _support(self.distribution)

    def _from_normal(self, z: Array) -> Array:
        from scipy.special import ndtr

        f, moved = self.distribution, self.shift + self.scale * z
        return np.where(moved > 0, f.isf(ndtr(-moved)), f.ppf(ndtr(moved)))

    def _normal(self, x: ArrayLike) -> tuple[Array, Array]:
        """Where x would have come from before and after the move, in standard-normal terms."""
        from scipy.special import ndtri

        f = self.distribution
        p, q = np.asarray(f.cdf(x), dtype=float), np.asarray(f.sf(x), dtype=float)
        with np.errstate(divide="ignore"):
            before = np.where(p < 0.5, ndtri(p), -ndtri(q))
        return before, (before - self.shift) / self.scale

    def ppf(self, q: ArrayLike) -> Any:
        """Quantile function, shaped like q."""
        from scipy.special import ndtri

        return self._from_normal(ndtri(np.asarray(q, dtype=float)))

    def isf(self, q: ArrayLike) -> Any:
        """Inverse survival function, shaped like q."""
        from scipy.special import ndtri

        return self._from_normal(-ndtri(np.asarray(q, dtype=float)))

    def cdf(self, x: ArrayLike) -> Any:
        """Distribution function, shaped like x."""
        from scipy.special import ndtr

        return ndtr(self._normal(x)[1])

    def sf(self, x: ArrayLike) -> Any:
        """Survival function, shaped like x."""
        from scipy.special import ndtr

        return ndtr(-self._normal(x)[1])

    def logpdf(self, x: ArrayLike) -> Any:
        """Log density, shaped like x; minus infinity outside the support."""
        before, after = self._normal(x)
        inside = np.isfinite(before)
        with np.errstate(invalid="ignore"):
            tilt = (before**2 - after**2) / 2 - np.log(self.scale)
        return np.where(inside, self.distribution.logpdf(x) + np.where(inside, tilt, 0), -np.inf)

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Draws of the moved law."""
        rng = np.random.default_rng(random_state)
        return self._from_normal(rng.standard_normal(size))


@dataclass(frozen=True, eq=False)
class Law:
    """The law of d inputs, as `as_law` builds it.

    Attributes
    ----------
    names : tuple of str, length d
        Names of the inputs.
    marginals : tuple of univariate distributions, length d, or None
        Each with ``ppf``, ``isf``, ``cdf``, ``sf`` and ``logpdf`` as in `scipy.stats`. None when
        the law has no isoprobabilistic map.
    correlation : ndarray, shape (d, d), or None
        Correlation of the underlying normals; None when the inputs are independent, or without
        a map.
    """

    names: tuple[str, ...]
    marginals: tuple[Any, ...] | None
    correlation: Array | None = None
    _maps: tuple[_Map, ...] = field(default=(), repr=False)
    _cholesky: Array | None = field(default=None, repr=False)
    _source: Any = field(default=None, repr=False)

    @property
    def dimension(self) -> int:
        """Number of inputs, d."""
        return len(self.names)

    @property
    def mapped(self) -> bool:
        """Whether the map to and from standard-normal space exists."""
        return self.marginals is not None

    @property
    def independent(self) -> bool:
        """Whether the inputs are known to be independent."""
        return self.mapped and self.correlation is None

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Independent draws.

        Parameters
        ----------
        rng : numpy.random.Generator
        n : int
            Number of draws.

        Returns
        -------
        ndarray, shape (n, d)
        """
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng is a numpy.random.Generator, got {type(rng).__name__}")
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise ValueError(f"n is the number of draws, an integer >= 0, got {n!r}")
        if self.marginals is not None:
            return self.to_inputs(rng.standard_normal((n, self.dimension)))
        if n == 0:
            return np.empty((0, self.dimension))
        x = np.asarray(self._source.rvs(size=int(n), random_state=rng), dtype=float)
        return x.reshape(n, self.dimension)

    @property
    def ranges(self) -> tuple[Array, Array]:
        """Where the inputs begin and end, each of shape (d,); infinite for a joint density."""
        if self.marginals is None:
            return np.full(self.dimension, -np.inf), np.full(self.dimension, np.inf)
        ends = np.array([_support(m) for m in self.marginals])
        return ends[:, 0], ends[:, 1]

    def log_density(self, x: ArrayLike) -> Array:
        """Log density of the inputs.

        Parameters
        ----------
        x : array_like, shape (n, d)

        Returns
        -------
        ndarray, shape (n,)
            -inf outside of the support.

        Raises
        ------
        ValueError
            Another shape, or NaN somewhere; the message names row and input.
        """
        x = self._rows("x", x, np.isnan, "NaN")
        if self.marginals is None:
            rows = x[:, 0] if getattr(self._source, "flat", False) else x
            return np.asarray(self._source.logpdf(rows), dtype=float).reshape(len(x))
        total = np.zeros(len(x))
        for a in range(0, len(x), ROWS):
            block = x[a : a + ROWS]
            for i, marginal in enumerate(self._maps):
                total[a : a + ROWS] += marginal.log_density(block[:, i])
        if self._cholesky is not None and len(x):
            inside = total > -np.inf
            z = self._normals(x[inside])
            u = np.linalg.solve(self._cholesky, z.T)
            log_volume = np.log(np.diag(self._cholesky)).sum()
            total[inside] += 0.5 * ((z * z).sum(axis=1) - (u * u).sum(axis=0)) - log_volume
        return total

    def to_inputs(self, u: ArrayLike) -> Array:
        """From standard-normal space to the inputs.

        Parameters
        ----------
        u : array_like, shape (n, d)
            Finite numbers.

        Returns
        -------
        ndarray, shape (n, d)

        Raises
        ------
        ValueError
            The law has no such map, u has another shape, or a number is not finite.
        """
        self._must_be_mapped()
        u = self._rows("u", u, _not_finite, "a number that is not finite")
        x = np.empty(u.shape)
        for a in range(0, len(u), ROWS):
            z = u[a : a + ROWS]
            if self._cholesky is not None:
                z = z @ self._cholesky.T
            for i, marginal in enumerate(self._maps):
                x[a : a + ROWS, i] = marginal.to_input(z[:, i])
        if np.isnan(x).any():
            row, i = np.argwhere(np.isnan(x))[0]
            raise ValueError(
                f"the quantile function of input {self.names[i]!r} returned NaN at row {row}, "
                f"u = {u[row].tolist()}"
            )
        return x

    def from_inputs(self, x: ArrayLike) -> Array:
        """From the inputs to standard-normal space: the inverse of `to_inputs`.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Points of the support, its ends included; these map to +-38.5.

        Returns
        -------
        ndarray, shape (n, d)

        Raises
        ------
        ValueError
            The law has no such map, x has another shape, or a point is NaN or outside of the
            support.
        """
        self._must_be_mapped()
        x = self._rows("x", x, np.isnan, "NaN")
        z = self._normals(x)
        if self._cholesky is None or not len(z):
            return z
        return np.ascontiguousarray(np.linalg.solve(self._cholesky, z.T).T)

    def describe(self) -> dict[str, Any]:
        """The law in a few JSON-able entries, the same for equal laws, for provenance.

        Distributions are named with their parameters where these are known, otherwise
        fingerprinted: a digest of quantiles and densities at fixed points.
        """
        if self.marginals is None:
            kind = {"kind": "joint density", "names": list(self.names)}
            return kind | _describe_source(self._source)
        description: dict[str, Any] = {
            "kind": "independent" if self.correlation is None else "Gaussian copula",
            "names": list(self.names),
            "marginals": [_describe_marginal(m) for m in self.marginals],
        }
        if self.correlation is not None:
            description["correlation"] = self.correlation.tolist()
        return description

    def _normals(self, x: Array) -> Array:
        """Each input through its own map: normal, not yet independent."""
        z = np.empty(x.shape)
        for i, marginal in enumerate(self._maps):
            lower, upper = marginal.support
            outside = (x[:, i] < lower) | (x[:, i] > upper)
            if outside.any():
                row = int(np.argmax(outside))
                raise ValueError(
                    f"x: input {self.names[i]!r} is {x[row, i]} at row {row}, outside of its "
                    f"support [{lower}, {upper}]"
                )
            for a in range(0, len(x), ROWS):
                z[a : a + ROWS, i] = marginal.to_normal(x[a : a + ROWS, i])
        return np.clip(z, -LARGEST_U, LARGEST_U, out=z)

    def _must_be_mapped(self) -> None:
        if self.marginals is None:
            raise ValueError(
                "this law is known by its draws and density only, it has no map to "
                "standard-normal space (law.mapped is False)"
            )

    def _rows(self, name: str, x: ArrayLike, bad: Callable, what: str) -> Array:
        x = np.asarray(x, dtype=float)
        if x.ndim != 2 or x.shape[1] != self.dimension:
            raise ValueError(f"{name} has shape {x.shape}, expected (n, {self.dimension})")
        wrong = bad(x)
        if wrong.any():
            row, i = np.argwhere(wrong)[0]
            raise ValueError(f"{name}: row {row} has {what} at input {self.names[i]!r}")
        return x


def perturbed(law: Law, name: str, shift: float = 0.0, scale: float = 1.0) -> Law:
    """The law with one input `Perturbed`; the copula stays."""
    assert law.marginals is not None
    moved = {
        n: Perturbed(m, shift, scale) if n == name else m
        for n, m in zip(law.names, law.marginals, strict=True)
    }
    names, marginals = _named(moved, "law")
    return _mapped(names, marginals, law.correlation)


def as_law(law: Any) -> Law:
    """The law of the inputs, from any description that is accepted.

    Parameters
    ----------
    law : object
        One of:

        - a list, tuple or dict of univariate distributions: independent inputs. A dict names
          them; otherwise they are X1, X2, ... A univariate distribution is a frozen `scipy.stats`
          one, a new-style SciPy one, a one-dimensional OpenTURNS one, `Truncated`, or any object
          with ``ppf``, ``isf``, ``cdf``, ``sf`` and ``logpdf``;
        - one univariate distribution: a single input, X1;
        - `GaussianCopula`: dependent inputs;
        - a frozen ``scipy.stats.multivariate_normal``, mapped by its Cholesky factor;
        - an OpenTURNS distribution. Independent or normal copula: mapped, and the usual marginals
          become their `scipy.stats` counterparts, which keep their digits in the far tails; the
          others stop at OpenTURNS's numerical range, which leaves out about 1e-14. Another
          copula: drawn by inverse transform, so that the draws follow from our seeds;
        - a SALib problem: a dict with ``num_vars``, ``bounds`` and optionally ``names`` and
          ``dists``, the bounds read as SALib reads them;
        - a ``scipy.stats.gaussian_kde``;
        - anything else with ``rvs(size=n, random_state=rng)`` and ``logpdf(x)`` for x of shape
          (n, d): other frozen multivariate distributions, or the user's own. The log density
          must be normalised.

    Returns
    -------
    Law

    Raises
    ------
    TypeError
        The object is none of these; the message lists what is accepted.
    ValueError
        It is one of these, with wrong parameters; the message says which.

    Examples
    --------
    >>> from scipy import stats
    >>> law = as_law({"E": stats.norm(2e11, 2e10), "L": stats.uniform(9.9, 0.2)})
    >>> law.names, law.mapped
    (('E', 'L'), True)
    >>> law.to_inputs([[0.0, 0.0]]).round(6).tolist()
    [[200000000000.0, 10.0]]
    """
    if isinstance(law, Law):
        return law
    if isinstance(law, GaussianCopula):
        names, marginals = _named(law.marginals, "GaussianCopula marginals")
        return _mapped(names, marginals, np.asarray(law.correlation))
    if isinstance(law, Mapping) and "num_vars" in law:
        return _from_salib(law)
    if isinstance(law, (Mapping, list, tuple)):
        names, marginals = _named(law, "law")
        return _mapped(names, marginals)
    if _is_openturns(law):
        return _from_openturns(law)
    if isinstance(law, (type, np.ndarray, str)) or law is None:
        raise TypeError(f"law is {_kind(law)}; {ACCEPTED}")
    if _is_multivariate_normal(law):
        return _from_multivariate_normal(law)
    if hasattr(law, "resample") and hasattr(law, "logpdf") and hasattr(law, "dataset"):
        law = _KernelDensity(law)
    if _is_univariate(law) or not (hasattr(law, "rvs") and hasattr(law, "logpdf")):
        return _mapped(("X1",), (_univariate(law, "law"),))
    return _from_draws_and_density(law)


def _mapped(
    names: tuple[str, ...], marginals: tuple[Any, ...], correlation: Array | None = None
) -> Law:
    maps = tuple(_map_of(marginal) for marginal in marginals)
    if correlation is None or np.array_equal(correlation, np.eye(len(names))):
        return Law(names, marginals, None, maps)
    correlation = np.array(correlation)
    correlation.flags.writeable = False
    cholesky: Array = np.asarray(np.linalg.cholesky(correlation), dtype=np.float64)
    return Law(names, marginals, correlation, maps, cholesky)


def aligned(law: Law, names: Sequence[str], where: str) -> Law:
    """The law with its inputs in the order of these names; unnamed ones stay in theirs."""
    given, wanted = law.names, tuple(names)
    # what we and OpenTURNS call inputs that nobody named
    unnamed = [_default_names(len(wanted)), tuple(f"X{i}" for i in range(len(wanted)))]
    if len(given) != len(wanted) or given in (wanted, *unnamed) or wanted in unnamed:
        return law
    if set(given) != set(wanted):
        raise ValueError(
            f"{where}: has the inputs {', '.join(map(repr, given))}; expected "
            f"{', '.join(map(repr, wanted))}"
        )
    if law.marginals is None:
        raise ValueError(f"{where}: expected its inputs in the order {', '.join(wanted)}")
    order = [given.index(name) for name in wanted]
    correlation = None if law.correlation is None else law.correlation[np.ix_(order, order)]
    return _mapped(wanted, tuple(law.marginals[i] for i in order), correlation)


def _default_names(d: int) -> tuple[str, ...]:
    return tuple(f"X{i + 1}" for i in range(d))


def _named(marginals: Any, where: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Names and checked univariate distributions of a dict or a sequence."""
    d = len(marginals)
    if d == 0:
        raise ValueError(f"{where}: empty, expected at least one distribution")
    if isinstance(marginals, Mapping):
        names = _checked_names(marginals.keys())
        marginals = list(marginals.values())
    else:
        names = _default_names(d)
    return names, tuple(
        _univariate(m, f"{where}: input {name!r}") for name, m in zip(names, marginals, strict=True)
    )


def _checked_names(names: Any) -> tuple[str, ...]:
    names = tuple(names)
    for name in names:
        if not isinstance(name, str) or not name:
            raise TypeError(f"names of inputs are non-empty strings, got {name!r}")
        if names.count(name) > 1:
            raise ValueError(f"names of inputs must differ, {name!r} appears twice")
    return names


def _kind(law: Any) -> str:
    if isinstance(law, type):
        return f"{law.__name__!r}, a class"
    kind = type(law).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _univariate(distribution: Any, where: str) -> Any:
    """The distribution with the methods of scipy.stats, or an error that says what is wrong."""
    if _is_openturns(distribution):
        return _openturns_marginal(distribution, where)
    if hasattr(distribution, "icdf") and hasattr(distribution, "iccdf"):
        distribution = _NewStyle(distribution)
    if not _is_univariate(distribution) or isinstance(distribution, type):
        hint = " (it is discrete, a density is needed)" if hasattr(distribution, "pmf") else ""
        raise TypeError(f"{where} is {_kind(distribution)}{hint}; {ACCEPTED}")
    with np.errstate(all="ignore"):
        return _checked(distribution, where)


def _checked(distribution: Any, where: str) -> Any:
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
    x = np.asarray(distribution.ppf(p), dtype=float)
    if not (np.isfinite(x).all() and (np.diff(x) > 0).all()):
        raise ValueError(
            f"{where} has quantiles {x.tolist()} at {p.tolist()}, expected finite increasing "
            "numbers: are its parameters valid, and is it continuous?"
        )
    log_density = np.asarray(distribution.logpdf(x), dtype=float)
    if log_density.shape != x.shape or not np.isfinite(log_density).all():
        raise ValueError(
            f"{where} has log density {log_density.tolist()} at {x.tolist()}, expected one finite "
            "number each"
        )
    return distribution


def _is_univariate(distribution: Any) -> bool:
    return all(hasattr(distribution, name) for name in ("ppf", "isf", "cdf", "sf", "logpdf"))


def _support(distribution: Any) -> tuple[float, float]:
    if hasattr(distribution, "support"):
        lower, upper = distribution.support()
    else:
        lower, upper = distribution.ppf(0.0), distribution.isf(0.0)
    return float(lower), float(upper)


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


@dataclass(frozen=True)
class _Map:
    """Between one input and a standard normal, every function of (array, *parameters)."""

    support: tuple[float, float]
    parameters: tuple[Any, ...]
    inverse: Callable[..., Array]
    forward: Callable[..., Array]
    density: Callable[..., Array]

    def to_input(self, z: Array) -> Array:
        return self.inverse(z, *self.parameters)

    def to_normal(self, x: Array) -> Array:
        return self.forward(x, *self.parameters)

    def log_density(self, x: Array) -> Array:
        return self.density(x, *self.parameters)


def _map_of(marginal: Any) -> _Map:
    support = _support(marginal)
    parsed = _scipy_parameters(marginal)
    if parsed is not None and parsed[0] in _CLOSED_FORMS:
        name, shapes, loc, scale = parsed
        return _Map(support, (loc, scale, *shapes), *_CLOSED_FORMS[name])
    parameters = (marginal, _smallest_probability(marginal))
    return _Map(support, parameters, _any_inverse, _any_forward, _any_log_density)


def _smallest_probability(marginal: Any) -> float:
    """How far into the tails the quantile functions can be trusted; the map is flat beyond.

    Some of scipy.stats (beta, invgauss, betaprime) warn, and are wrong or NaN, in tails that no
    estimate will ever see; a proposal may still send a point there.
    """
    smallest = None
    for p in TAILS:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ends = np.array([marginal.ppf(p), marginal.isf(p)], dtype=float)
        if caught or np.isnan(ends).any():
            break
        smallest = p
    if smallest is None:
        raise ValueError(f"law: {_kind(marginal)} has no quantiles at {TAILS[0]} and above")
    return smallest


def _scipy_parameters(marginal: Any) -> tuple[str, tuple[float, ...], float, float] | None:
    """Name, shapes, location and scale of a frozen scipy.stats distribution."""
    dist = getattr(marginal, "dist", None)
    if dist is None or not type(dist).__module__.startswith("scipy.stats.") or not dist.name:
        return None
    shapes, loc, scale = dist._parse_args(*marginal.args, **marginal.kwds)
    return dist.name, tuple(float(s) for s in shapes), float(loc), float(scale)


def _any_inverse(z: Array, marginal: Any, smallest_p: float) -> Array:
    from scipy.special import ndtr

    p = np.maximum(ndtr(-np.abs(z)), smallest_p)
    lower = z < 0
    x = np.empty(len(z))
    x[lower] = marginal.ppf(p[lower])
    x[~lower] = marginal.isf(p[~lower])
    return x


def _any_forward(x: Array, marginal: Any, _: float) -> Array:
    from scipy.special import ndtri

    p = np.asarray(marginal.cdf(x), dtype=float)
    lower = p < 0.5
    z = np.empty(len(x))
    z[lower] = ndtri(p[lower])
    z[~lower] = -ndtri(marginal.sf(x[~lower]))
    return z


def _any_log_density(x: Array, marginal: Any, _: float) -> Array:
    # a far tail may overflow on its way to -inf
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(marginal.logpdf(x), dtype=float)


HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))


def _norm_inverse(z: Array, loc: float, scale: float) -> Array:
    return loc + scale * z


def _norm_forward(x: Array, loc: float, scale: float) -> Array:
    return (x - loc) / scale


def _norm_log_density(x: Array, loc: float, scale: float) -> Array:
    z = (x - loc) / scale
    return -0.5 * z * z - (np.log(scale) + HALF_LOG_2PI)


def _lognorm_inverse(z: Array, loc: float, scale: float, s: float) -> Array:
    return loc + scale * np.exp(s * z)


def _lognorm_forward(x: Array, loc: float, scale: float, s: float) -> Array:
    y = (x - loc) / scale
    # the smallest number stands for the support's end, whose logarithm would warn
    return np.log(np.maximum(y, 5e-324)) / s


def _lognorm_log_density(x: Array, loc: float, scale: float, s: float) -> Array:
    y = (x - loc) / scale
    log_y = np.log(np.where(y > 0, y, 1.0))
    z = log_y / s
    return np.where(y > 0, -0.5 * z * z - log_y - (np.log(s * scale) + HALF_LOG_2PI), -np.inf)


def _uniform_inverse(z: Array, loc: float, scale: float) -> Array:
    from scipy.special import ndtr

    p = scale * ndtr(-np.abs(z))
    return np.where(z < 0, loc + p, (loc + scale) - p)


def _uniform_forward(x: Array, loc: float, scale: float) -> Array:
    from scipy.special import ndtri

    p, q = (x - loc) / scale, ((loc + scale) - x) / scale
    z = ndtri(np.maximum(np.minimum(p, q), 0.0))
    return np.where(p < q, z, -z)


def _uniform_log_density(x: Array, loc: float, scale: float) -> Array:
    inside = (x >= loc) & (x <= loc + scale)
    return np.where(inside, -np.log(scale), -np.inf)


def _expon_inverse(z: Array, loc: float, scale: float) -> Array:
    from scipy.special import log_ndtr

    return loc - scale * log_ndtr(-z)


def _expon_forward(x: Array, loc: float, scale: float) -> Array:
    from scipy.special import ndtri_exp

    y = np.maximum((x - loc) / scale, 0.0)
    # beyond 3 the survival function is the smaller side, and its logarithm is -y exactly
    low = np.minimum(y, 3.0)
    from_below = _ndtri_of_exponential(low)
    return np.where(y > 3.0, -ndtri_exp(-np.maximum(y, 3.0)), from_below)


def _ndtri_of_exponential(y: Array) -> Array:
    from scipy.special import ndtri

    return ndtri(-np.expm1(-y))


def _expon_log_density(x: Array, loc: float, scale: float) -> Array:
    y = (x - loc) / scale
    return np.where(y >= 0, -y - np.log(scale), -np.inf)


def _triang_inverse(z: Array, loc: float, scale: float, c: float) -> Array:
    from scipy.special import ndtr

    half = ndtr(-np.abs(z))
    p = np.where(z < 0, half, 1 - half)
    q = np.where(z < 0, 1 - half, half)
    return np.where(
        p < c, loc + scale * np.sqrt(c * p), (loc + scale) - scale * np.sqrt((1 - c) * q)
    )


def _triang_forward(x: Array, loc: float, scale: float, c: float) -> Array:
    from scipy.special import ndtri

    y, rest = (x - loc) / scale, ((loc + scale) - x) / scale
    y, rest = np.clip(y, 0.0, 1.0), np.clip(rest, 0.0, 1.0)
    # the side of the mode that has no width is never taken, so its divisor may be anything
    p = y * y / (c or 1.0)
    q = rest * rest / ((1 - c) or 1.0)
    left = y < c if c < 1 else y <= c
    p, q = np.where(left, p, 1 - q), np.where(left, 1 - p, q)
    return np.where(p < q, ndtri(np.minimum(p, 0.5)), -ndtri(np.minimum(q, 0.5)))


def _triang_log_density(x: Array, loc: float, scale: float, c: float) -> Array:
    y = (x - loc) / scale
    left = y < c if c < 1 else y <= c
    density = np.where(left, y / (c or 1.0), (1 - y) / ((1 - c) or 1.0))
    positive = density > 0
    return np.where(positive, np.log(np.where(positive, density, 1.0)) + np.log(2 / scale), -np.inf)


_CLOSED_FORMS: dict[str, tuple[Callable[..., Array], ...]] = {
    "norm": (_norm_inverse, _norm_forward, _norm_log_density),
    "lognorm": (_lognorm_inverse, _lognorm_forward, _lognorm_log_density),
    "uniform": (_uniform_inverse, _uniform_forward, _uniform_log_density),
    "expon": (_expon_inverse, _expon_forward, _expon_log_density),
    "triang": (_triang_inverse, _triang_forward, _triang_log_density),
}


def _not_finite(x: Array) -> Any:
    return ~np.isfinite(x)


def _is_multivariate_normal(law: Any) -> bool:
    kind = type(law)
    return kind.__module__.startswith("scipy.stats") and kind.__name__ == (
        "multivariate_normal_frozen"
    )


def _from_multivariate_normal(law: Any) -> Law:
    """A Gaussian copula with normal marginals."""
    from scipy import stats

    mean, covariance = np.atleast_1d(law.mean), np.atleast_2d(law.cov)
    scale = np.sqrt(np.diag(covariance))
    if not (scale > 0).all():
        raise ValueError("law: the multivariate normal has an input of zero variance")
    marginals = tuple(stats.norm(m, s) for m, s in zip(mean, scale, strict=True))
    correlation = np.array(covariance / np.outer(scale, scale), dtype=np.float64)
    np.fill_diagonal(correlation, 1.0)
    if np.linalg.eigvalsh(correlation)[0] <= 1e-12:
        raise ValueError("law: the covariance of the multivariate normal is singular, no density")
    return _mapped(_default_names(len(mean)), marginals, correlation)


@dataclass(frozen=True)
class _KernelDensity:
    """A `scipy.stats.gaussian_kde`, which keeps points in columns, with points in rows."""

    density: Any

    def rvs(self, size: int, random_state: np.random.Generator) -> Any:
        return self.density.resample(size, seed=random_state).T

    def logpdf(self, x: Array) -> Any:
        return self.density.logpdf(x.T)


@dataclass(frozen=True)
class _DrawsAndDensity:
    """A law of the user's: flat when a single input comes and goes as a vector."""

    law: Any
    flat: bool

    def rvs(self, size: int, random_state: np.random.Generator) -> Any:
        return self.law.rvs(size=size, random_state=random_state)

    def logpdf(self, x: Array) -> Any:
        return self.law.logpdf(x)


def _from_draws_and_density(law: Any) -> Law:
    # an unusual number of rows, so that a law that wants its points in columns shows
    n = 11
    try:
        x = np.asarray(law.rvs(size=n, random_state=np.random.default_rng(0)), dtype=float)
    except TypeError as error:
        raise TypeError(
            f"law: rvs(size={n}, random_state=generator) of {_kind(law)} failed: {error}; "
            f"{ACCEPTED}"
        ) from error
    if x.ndim not in (1, 2) or len(x) != n or x.size == 0 or not np.isfinite(x).all():
        raise ValueError(
            f"law: rvs(size={n}, random_state=generator) of {_kind(law)} returned an array of "
            f"shape {x.shape}, expected finite numbers of shape ({n}, d)"
        )
    source = _DrawsAndDensity(law, flat=x.ndim == 1)
    try:
        log_density = np.asarray(law.logpdf(x), dtype=float)
    except ValueError as error:
        raise ValueError(
            f"law: logpdf of {_kind(law)} failed at {n} of its own draws, shape {x.shape}: {error}"
            + (
                "; inputs that sum to one have no density in all of them: leave out the last one, "
                "with a law of your own for the others"
                if x.ndim == 2 and np.allclose(x.sum(axis=1), 1)
                else ""
            )
        ) from error
    if log_density.size != n or not np.isfinite(log_density).all():
        raise ValueError(
            f"law: logpdf of {_kind(law)} at {n} of its own draws returned "
            f"{log_density.tolist()}, expected {n} finite numbers"
        )
    d = 1 if x.ndim == 1 else x.shape[1]
    return Law(_default_names(d), None, _source=source)


def _is_openturns(law: Any) -> bool:
    kind = type(law)
    return kind.__module__.partition(".")[0] == "openturns" and hasattr(law, "computeLogPDF")


def _from_openturns(law: Any) -> Law:
    d = law.getDimension()
    if not law.isContinuous():
        raise TypeError("law: the OpenTURNS distribution is not continuous, a density is needed")
    names = _checked_names(law.getDescription())
    copula = law.getCopula()
    normal = copula.getImplementation().getClassName() == "NormalCopula"
    if law.hasIndependentCopula() or normal:
        marginals = tuple(_univariate(law.getMarginal(i), f"input {names[i]!r}") for i in range(d))
        correlation = np.array(copula.getShapeMatrix()) if normal else None
        return _mapped(names, marginals, correlation)
    if _openturns_class(law) == "Student":
        from scipy import stats

        law = law.getImplementation() if hasattr(law, "getImplementation") else law
        scale = np.array(law.getSigma())
        shape = np.outer(scale, scale) * np.array(law.getCorrelation())
        return replace(
            as_law(stats.multivariate_t(law.getMu(), shape, df=law.getNu())), names=names
        )
    standard = law.getStandardDistribution()
    if not standard.hasIndependentCopula():
        raise TypeError(
            f"law: the isoprobabilistic transformation of this OpenTURNS {_openturns_class(law)} "
            f"starts from a {_openturns_class(standard)} law, expected independent normals; "
            "hand in an object with rvs and logpdf instead"
        )
    return Law(names, None, _source=_OpenTURNSJoint(law))


def _openturns_class(law: Any) -> str:
    return (law.getImplementation() if hasattr(law, "getImplementation") else law).getClassName()


@dataclass(frozen=True)
class _OpenTURNSJoint:
    """An OpenTURNS distribution drawn from our own random numbers."""

    law: Any

    def rvs(self, size: int, random_state: np.random.Generator) -> Array:
        normals = random_state.standard_normal((size, self.law.getDimension()))
        return np.array(self.law.getInverseIsoProbabilisticTransformation()(normals))

    def logpdf(self, x: Array) -> Array:
        return np.array(self.law.computeLogPDF(x))[:, 0]


@dataclass(frozen=True)
class _OpenTURNSMarginal:
    """A one-dimensional OpenTURNS distribution under the method names of scipy.stats."""

    distribution: Any

    def support(self) -> tuple[float, float]:
        # infinite ends are reported as finite numbers with a flag beside them
        ends = self.distribution.getRange()
        lower = ends.getLowerBound()[0] if ends.getFiniteLowerBound()[0] else -np.inf
        upper = ends.getUpperBound()[0] if ends.getFiniteUpperBound()[0] else np.inf
        return lower, upper

    def ppf(self, q: ArrayLike) -> Any:
        return self._quantile(q, False, *self.support())

    def isf(self, q: ArrayLike) -> Any:
        return self._quantile(q, True, *reversed(self.support()))

    def _quantile(self, q: ArrayLike, upper_tail: bool, at_0: float, at_1: float) -> Any:
        # OpenTURNS answers 0 and 1 with the ends of its numerical range
        x = self._values(lambda p: self.distribution.computeQuantile(p, upper_tail), q)
        return np.where(np.equal(q, 0), at_0, np.where(np.equal(q, 1), at_1, x))[()]

    def cdf(self, x: ArrayLike) -> Any:
        return self._values(lambda x: self.distribution.computeCDF(x[:, None]), x)

    def sf(self, x: ArrayLike) -> Any:
        return self._values(lambda x: self.distribution.computeComplementaryCDF(x[:, None]), x)

    def logpdf(self, x: ArrayLike) -> Any:
        return self._values(lambda x: self.distribution.computeLogPDF(x[:, None]), x)

    @staticmethod
    def _values(function: Callable, x: ArrayLike) -> Any:
        x = np.asarray(x, dtype=float)
        return np.array(function(x.ravel())).reshape(x.shape)[()]


def _openturns_marginal(distribution: Any, where: str) -> Any:
    if distribution.getDimension() != 1 or not distribution.isContinuous():
        raise TypeError(f"{where} is not a continuous one-dimensional OpenTURNS distribution")
    name = _openturns_class(distribution)
    if name == "TruncatedDistribution":
        bounds = _OpenTURNSMarginal(distribution).support()
        if hasattr(distribution, "getImplementation"):
            distribution = distribution.getImplementation()
        return Truncated(_openturns_marginal(distribution.getDistribution(), where), *bounds)
    if name in _OPENTURNS_MARGINALS:
        from scipy import stats

        return _OPENTURNS_MARGINALS[name](stats, *distribution.getParameter())
    return _OpenTURNSMarginal(distribution)


# scipy.stats counterparts by OpenTURNS class name, of the parameters as OpenTURNS orders them
_OPENTURNS_MARGINALS: dict[str, Callable[..., Any]] = {
    "Normal": lambda stats, mu, sigma: stats.norm(mu, sigma),
    "LogNormal": lambda stats, mu, sigma, gamma: stats.lognorm(sigma, gamma, np.exp(mu)),
    "Uniform": lambda stats, a, b: stats.uniform(a, b - a),
    "Triangular": lambda stats, a, m, b: stats.triang((m - a) / (b - a), a, b - a),
    "Exponential": lambda stats, rate, gamma: stats.expon(gamma, 1 / rate),
    "Gumbel": lambda stats, beta, gamma: stats.gumbel_r(gamma, beta),
    "WeibullMin": lambda stats, beta, alpha, gamma: stats.weibull_min(alpha, gamma, beta),
    "Gamma": lambda stats, k, rate, gamma: stats.gamma(k, gamma, 1 / rate),
    "Beta": lambda stats, alpha, beta, a, b: stats.beta(alpha, beta, a, b - a),
    "Student": lambda stats, nu, mu, sigma: stats.t(nu, mu, sigma),
    "Logistic": lambda stats, mu, beta: stats.logistic(mu, beta),
    "TruncatedNormal": lambda stats, mu, sigma, a, b: Truncated(stats.norm(mu, sigma), a, b),
}


def _from_salib(problem: Mapping[str, Any]) -> Law:
    d = problem["num_vars"]
    names = _checked_names(problem.get("names") or _default_names(d))
    bounds = problem.get("bounds")
    dists = problem.get("dists") or ["unif"] * d
    for key, value in (("names", names), ("bounds", bounds), ("dists", dists)):
        if value is None or len(value) != d:
            found = "is missing" if value is None else f"has {len(value)} entries"
            raise ValueError(f"SALib problem: {key} {found}, expected num_vars = {d}")
    marginals = []
    for name, dist, numbers in zip(names, dists, bounds, strict=True):  # type: ignore[arg-type]
        where = f"SALib problem: input {name!r}"
        if dist not in _SALIB_MARGINALS:
            raise ValueError(
                f"{where} has the distribution {dist!r}, expected one of "
                f"{', '.join(_SALIB_MARGINALS)}"
            )
        numbers = [float(b) for b in numbers]
        try:
            marginal = _SALIB_MARGINALS[dist](*numbers)
        except TypeError:
            raise ValueError(
                f"{where}: {dist} has bounds {numbers}, a wrong number of them"
            ) from None
        marginals.append(_univariate(marginal, f"{where}: {dist} with bounds {numbers}"))
    return _mapped(names, tuple(marginals))


def _salib_unif(lower: float, upper: float) -> Any:
    from scipy import stats

    return stats.uniform(lower, upper - lower)


def _salib_logunif(lower: float, upper: float) -> Any:
    from scipy import stats

    return stats.loguniform(lower, upper)


def _salib_triang(*bounds: float) -> Any:
    """Lower end, upper end and the mode as a fraction of the width; two values: lower end 0."""
    from scipy import stats

    lower, upper, mode = bounds if len(bounds) == 3 else (0.0, *bounds)
    return stats.triang(mode, lower, upper - lower)


def _salib_norm(mean: float, sd: float) -> Any:
    from scipy import stats

    return stats.norm(mean, sd)


def _salib_truncnorm(lower: float, upper: float, mean: float, sd: float) -> Any:
    from scipy import stats

    return Truncated(stats.norm(mean, sd), lower, upper)


def _salib_lognorm(log_mean: float, log_sd: float) -> Any:
    from scipy import stats

    return stats.lognorm(log_sd, scale=np.exp(log_mean))


def _salib_weibull(shape: float, scale: float, location: float = 0.0) -> Any:
    from scipy import stats

    return stats.weibull_min(shape, location, scale)


_SALIB_MARGINALS: dict[str, Callable[..., Any]] = {
    "unif": _salib_unif,
    "logunif": _salib_logunif,
    "triang": _salib_triang,
    "norm": _salib_norm,
    "truncnorm": _salib_truncnorm,
    "lognorm": _salib_lognorm,
    "weibull": _salib_weibull,
}


def _describe_marginal(marginal: Any) -> dict[str, Any]:
    parsed = _scipy_parameters(marginal)
    if parsed is not None:
        name, shapes, loc, scale = parsed
        return {"distribution": name, "shapes": list(shapes), "loc": loc, "scale": scale}
    if isinstance(marginal, Truncated):
        # JSON has no infinity
        lower, upper = (b if np.isfinite(b) else None for b in (marginal.lower, marginal.upper))
        inner = _describe_marginal(marginal.distribution)
        return {"distribution": "truncated", "of": inner, "lower": lower, "upper": upper}
    if isinstance(marginal, Perturbed):
        inner = _describe_marginal(marginal.distribution)
        moved = {"shift": marginal.shift, "scale": marginal.scale}
        return {"distribution": "perturbed", "of": inner, **moved}
    p = np.linspace(0.05, 0.95, 10)
    x = marginal.ppf(p)
    # SciPy has several classes for one law of the new style
    kind = "ContinuousDistribution"
    if not isinstance(marginal, _NewStyle):
        kind = type(getattr(marginal, "distribution", marginal)).__name__
    return {"distribution": kind, "fingerprint": _digest(x, marginal.logpdf(x))}


def _describe_source(source: Any) -> dict[str, Any]:
    x = np.asarray(source.rvs(size=11, random_state=np.random.default_rng(0)), dtype=float)
    return {"type": type(source.law).__name__, "fingerprint": _digest(x, source.logpdf(x))}


def _digest(*arrays: ArrayLike) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=float).tobytes())
    return digest.hexdigest()
