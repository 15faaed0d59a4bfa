"""The law of the inputs: what a user may hand in, and one object that answers for all of it.

`as_law` turns any accepted description into a `Law`, which draws, evaluates the log density and,
where the inputs are independent or joined by a Gaussian copula, maps standard-normal space to the
inputs and back (an isoprobabilistic map: x_i = F_i^-1(Phi(z_i)), z = L u, see `normal_maps`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import arguments
from ..errors import returning
from ..identity import installed_class, signature
from ..provenance import digest
from .marginals import (
    ACCEPTED,
    Atoms,
    Marginal,
    Perturbed,
    Truncated,
    check_points,
    checked_names,
    default_names,
    describe_marginal,
    is_discrete,
    is_kernel_density,
    is_univariate,
    kind_of,
    named_marginals,
    support,
    univariate,
    with_atoms,
)
from .normal_maps import NormalMap, normal_map
from .openturns_laws import OpenTURNSJoint, is_openturns, openturns_joint

Array = NDArray[np.float64]

# beyond this Phi(-u) is zero in double precision
LARGEST_U = 38.5
# rows handled at a time: the scratch arrays stay in the cache
ROWS = 8192


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
                f"GaussianCopula: marginals: got {type(self.marginals).__name__}; expected a list, "
                "tuple or dict of univariate distributions"
            )
        d = len(self.marginals)
        correlation = arguments.real("correlation", self.correlation)
        if correlation.shape != (d, d):
            raise ValueError(
                f"GaussianCopula: correlation: got shape {correlation.shape}; expected {(d, d)} "
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
        named_marginals(self.marginals, "GaussianCopula marginals")
        correlation.flags.writeable = False
        object.__setattr__(self, "correlation", correlation)


@dataclass(frozen=True, eq=False)
class Law:
    """The law of d inputs, as `as_law` builds it."""

    names: tuple[str, ...]
    marginals: tuple[Marginal, ...] | None  # None when there is no isoprobabilistic map
    correlation: Array | None = None  # of the underlying normals, if they are correlated
    _maps: tuple[NormalMap, ...] = field(default=(), repr=False)
    _cholesky: Array | None = field(default=None, repr=False)
    _source: _DrawsAndDensity | OpenTURNSJoint | None = field(default=None, repr=False)

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

    @property
    def atoms(self) -> list[str]:
        """Inputs that are constant or discrete."""
        named = zip(self.names, self.marginals or (), strict=False)
        return [name for name, law in named if isinstance(law, Atoms)]

    @property
    def few_valued(self) -> bool:
        """Whether the inputs have few values each, and their law a table."""
        laws = self.marginals or ()
        return bool(laws) and all(isinstance(m, Atoms) and m.table is not None for m in laws)

    @property
    def kernels(self) -> tuple[Array, Array, Array] | None:
        """Points (m, d), covariance (d, d) and weights (m,) of a kernel density's normal laws."""
        source = self._source.law if isinstance(self._source, _DrawsAndDensity) else None
        if not isinstance(source, _KernelDensity):
            return None
        density = source.density
        return density.dataset.T, density.covariance, density.weights

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Independent draws, shape (n, d)."""
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng is a numpy.random.Generator, got {type(rng).__name__}")
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise ValueError(f"n is the number of draws, an integer >= 0, got {n!r}")
        if self._source is None:
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
        ends = np.array([support(m) for m in self.marginals])
        return ends[:, 0], ends[:, 1]

    def log_density(self, x: ArrayLike) -> Array:
        """Log density (n,) of inputs x (n, d): -inf outside of the support, NaN is refused."""
        x = self._rows("x", x, np.isnan, "NaN")
        if self._source is not None:
            rows = x[:, 0] if self._source.flat else x
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
        """From standard-normal space, finite u (n, d), to the inputs; refused without a map."""
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
        """The inverse of `to_inputs`; points outside of the support are refused.

        Its ends map to +-38.5.
        """
        self._must_be_mapped()
        x = self._rows("x", x, np.isnan, "NaN")
        z = self._normals(x)
        if self._cholesky is None or not len(z):
            return z
        return np.ascontiguousarray(np.linalg.solve(self._cholesky, z.T).T)

    def describe(self) -> dict[str, Any]:
        """The law in a few JSON-able entries, the same for equal laws, for provenance."""
        if self._source is not None:
            kind = {"kind": "joint density", "names": list(self.names)}
            return kind | _describe_source(self._source)
        description: dict[str, Any] = {
            "kind": "independent" if self.correlation is None else "Gaussian copula",
            "names": list(self.names),
            "marginals": [describe_marginal(m) for m in self.marginals or ()],
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
    names, marginals = named_marginals(moved, "law", atoms=True)
    return _mapped(names, marginals, law.correlation)


@returning("law")
def as_law(law: Any) -> Law:
    """The law of the inputs, from any description that is accepted.

    Parameters
    ----------
    law : object
        One of:

        - a list, tuple or dict of univariate distributions: independent inputs. A dict names
          them; otherwise they are X1, X2, ... A univariate distribution is a frozen `scipy.stats`
          one, a new-style SciPy one, among them ``scipy.stats.Mixture``, a one-dimensional
          OpenTURNS one, `Truncated`, or any object with ``ppf``, ``isf``, ``cdf``, ``sf`` and
          ``logpdf``; for inputs known by data, ``scipy.stats.rv_histogram(numpy.histogram(data))``
          or a one-dimensional ``scipy.stats.gaussian_kde(data)``. An object of your own with
          ``rvs(size=n, random_state=rng)`` and ``logpdf(x)`` for x of shape (n,) is integrated
          numerically, which has to give 1. A number, or a law without
          spread, is a constant input; frozen discrete `scipy.stats` distributions are drawn
          through their inverse distribution function;
        - one univariate distribution, discrete or not: a single input, X1;
        - `GaussianCopula`: dependent inputs;
        - a frozen ``scipy.stats.multivariate_normal``, mapped by its Cholesky factor;
        - an OpenTURNS distribution. Independent or normal copula: mapped, and the usual marginals
          become their `scipy.stats` counterparts, which keep their digits in the far tails; the
          others stop at OpenTURNS's numerical range, which leaves out about 1e-14. Another
          copula: drawn by inverse transform, so that the draws follow from our seeds;
        - a SALib problem: a dict with ``num_vars``, ``bounds`` and optionally ``names`` and
          ``dists``, the bounds read as SALib reads them;
        - the ``prob_input`` of a function of UQTestFuns, its marginals whole: that package itself
          ends them at probabilities of 1e-16;
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
        names, marginals = named_marginals(law.marginals, "GaussianCopula marginals")
        return _mapped(names, marginals, np.asarray(law.correlation))
    if isinstance(law, Mapping) and "num_vars" in law:
        return _from_salib(law)
    if isinstance(law, (Mapping, list, tuple)):
        names, marginals = named_marginals(law, "law", atoms=True)
        return _mapped(names, marginals)
    if is_openturns(law):
        return _from_openturns(law)
    if type(law).__module__.startswith("uqtestfuns.") and hasattr(law, "marginals"):
        return _from_uqtestfuns(law)
    if isinstance(law, (type, np.ndarray, str, int, float)) or law is None:
        raise TypeError(f"law: got {kind_of(law)}; {ACCEPTED}")
    if _is_multivariate_normal(law):
        return _from_multivariate_normal(law)
    if is_kernel_density(law) and law.d > 1:
        check_points(law, "law")
        law = _KernelDensity(law)
    if is_discrete(law) and (one := with_atoms(law, "law")):
        return _mapped(("X1",), (one,))
    if is_univariate(law) or not (hasattr(law, "rvs") and hasattr(law, "logpdf")):
        return _mapped(("X1",), (univariate(law, "law"),))
    return _from_draws_and_density(law)


def _mapped(
    names: tuple[str, ...], marginals: tuple[Marginal, ...], correlation: Array | None = None
) -> Law:
    maps = tuple(normal_map(marginal) for marginal in marginals)
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
    unnamed = [default_names(len(wanted)), tuple(f"X{i}" for i in range(len(wanted)))]
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


def _not_finite(x: Array) -> Any:
    return ~np.isfinite(x)


def _is_multivariate_normal(law: object) -> bool:
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
    return _mapped(default_names(len(mean)), marginals, correlation)


def _from_openturns(law: Any) -> Law:
    names = checked_names(law.getDescription())
    marginals, correlation, joint = openturns_joint(law)
    if isinstance(joint, OpenTURNSJoint):
        return Law(names, None, _source=joint)
    if marginals is None:
        return replace(_from_draws_and_density(joint), names=names)
    made = tuple(univariate(m, f"input {n!r}") for m, n in zip(marginals, names, strict=True))
    return _mapped(names, made, correlation)


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
        x = law.rvs(size=n, random_state=np.random.default_rng(0))
    except TypeError as error:
        raise TypeError(
            f"law: rvs(size={n}, random_state=generator) of {kind_of(law)} failed: {error}; "
            f"{ACCEPTED}"
        ) from error
    x = arguments.told("law: rvs", x)
    if x.ndim not in (1, 2) or len(x) != n or x.size == 0 or not np.isfinite(x).all():
        raise ValueError(
            f"law: rvs(size={n}, random_state=generator) of {kind_of(law)} returned an array of "
            f"shape {x.shape}, expected finite numbers of shape ({n}, d)"
        )
    source = _DrawsAndDensity(law, flat=x.ndim == 1)
    try:
        log_density = arguments.told("law: logpdf", law.logpdf(x))
    except ValueError as error:
        raise ValueError(
            f"law: logpdf of {kind_of(law)} failed at {n} of its own draws, shape {x.shape}: "
            f"{error}"
            + (
                "; inputs that sum to one have no density in all of them: leave out the last one, "
                "with a law of your own for the others"
                if x.ndim == 2 and np.allclose(x.sum(axis=1), 1)
                else ""
            )
        ) from error
    if log_density.size != n or not np.isfinite(log_density).all():
        raise ValueError(
            f"law: logpdf of {kind_of(law)} at {n} of its own draws returned "
            f"{log_density.tolist()}, expected {n} finite numbers"
        )
    d = 1 if x.ndim == 1 else x.shape[1]
    return Law(default_names(d), None, _source=source)


def _describe_source(source: _DrawsAndDensity | OpenTURNSJoint) -> dict[str, Any]:
    x = np.asarray(source.rvs(size=11, random_state=np.random.default_rng(0)), dtype=float)
    kind, fingerprint = type(source.law), digest([x, source.logpdf(x)])
    own = {} if installed_class(kind) else {"code": signature(source.law)}
    return {"type": kind.__name__, "fingerprint": fingerprint} | own


def _from_salib(problem: Mapping[str, Any]) -> Law:
    from scipy import stats

    d = arguments.count("SALib problem: num_vars", problem["num_vars"])
    named = arguments.names(problem.get("names"), "SALib problem: names")
    names = checked_names(named or default_names(d))
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
        bounded = arguments.several(f"{where}: bounds", numbers, "numbers")
        numbers = [arguments.number(f"{where}: bounds", bound) for bound in bounded]
        try:
            marginal = _SALIB_MARGINALS[dist](stats, *numbers)
        except TypeError:
            raise ValueError(
                f"{where}: {dist} has {len(numbers)} bounds, {numbers}; expected another number"
            ) from None
        marginals.append(univariate(marginal, f"{where}: {dist} with bounds {numbers}"))
    return _mapped(names, tuple(marginals))


def _triangular(stats: Any, *bounds: float) -> Any:
    """Lower end, upper end and the mode as a fraction of the width; two values: lower end 0."""
    lower, upper, mode = bounds if len(bounds) == 3 else (0.0, *bounds)
    return stats.triang(mode, lower, upper - lower)


_SALIB_MARGINALS: dict[str, Callable[..., Any]] = {
    "unif": lambda stats, lower, upper: stats.uniform(lower, upper - lower),
    "logunif": lambda stats, lower, upper: stats.loguniform(lower, upper),
    "triang": _triangular,
    "norm": lambda stats, mean, sd: stats.norm(mean, sd),
    "truncnorm": lambda stats, a, b, mean, sd: Truncated(stats.norm(mean, sd), a, b),
    "lognorm": lambda stats, mean, sd: stats.lognorm(sd, scale=np.exp(mean)),
    "weibull": lambda stats, shape, scale, at=0.0: stats.weibull_min(shape, at, scale),
}


def _from_uqtestfuns(inputs: Any) -> Law:
    from scipy import stats

    names = checked_names(marginal.name for marginal in inputs.marginals)
    marginals = []
    for name, given in zip(names, inputs.marginals, strict=True):
        if given.distribution not in _UQTESTFUNS_MARGINALS:
            raise ValueError(
                f"prob_input: input {name!r} has the distribution {given.distribution!r}, expected "
                f"one of {', '.join(_UQTESTFUNS_MARGINALS)}"
            )
        numbers = map(float, given.parameters)
        marginals.append(_UQTESTFUNS_MARGINALS[given.distribution](stats, *numbers))
    return _mapped(names, tuple(univariate(m, "prob_input") for m in marginals))


_UQTESTFUNS_MARGINALS: dict[str, Callable[..., Any]] = {
    "uniform": lambda stats, lower, upper: stats.uniform(lower, upper - lower),
    "normal": lambda stats, mean, sd: stats.norm(mean, sd),
    "lognormal": lambda stats, mean, sd: stats.lognorm(sd, scale=np.exp(mean)),
    "triangular": lambda stats, a, b, mode: stats.triang((mode - a) / (b - a), a, b - a),
    "beta": lambda stats, p, q, a, b: stats.beta(p, q, a, b - a),
    "exponential": lambda stats, rate: stats.expon(scale=1 / rate),
    "gumbel": lambda stats, at, scale: stats.gumbel_r(at, scale),
    "trunc-gumbel": lambda stats, at, scale, a, b: Truncated(stats.gumbel_r(at, scale), a, b),
    "trunc-normal": lambda stats, mean, sd, a, b: Truncated(stats.norm(mean, sd), a, b),
}
