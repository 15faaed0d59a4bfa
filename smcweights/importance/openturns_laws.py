"""OpenTURNS distributions in the terms of `scipy.stats`, drawn from our own random numbers.

The usual marginals become their `scipy.stats` counterparts, which keep their digits in the far
tails; the others stop at OpenTURNS's numerical range, which leaves out about 1e-14.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def is_openturns(law: object) -> bool:
    """Whether it is a distribution of OpenTURNS."""
    kind = type(law)
    return kind.__module__.partition(".")[0] == "openturns" and hasattr(law, "computeLogPDF")


def openturns_marginal(distribution: Any, where: str) -> tuple[Any, list[tuple[float, float]]]:
    """One input's law under the methods of scipy.stats, and the intervals it is truncated to."""
    if distribution.getDimension() != 1 or not distribution.isContinuous():
        raise TypeError(f"{where} is not a continuous one-dimensional OpenTURNS distribution")
    name = _class_of(distribution)
    if name == "TruncatedDistribution":
        bounds = _Marginal(distribution).support()
        inner, cuts = openturns_marginal(_core(distribution).getDistribution(), where)
        return inner, [*cuts, bounds]
    if name == "TruncatedNormal":
        from scipy import stats

        mu, sigma, *ends = distribution.getParameter()
        return stats.norm(mu, sigma), [(ends[0], ends[1])]
    if name in _COUNTERPARTS:
        from scipy import stats

        return _COUNTERPARTS[name](stats, *distribution.getParameter()), []
    return _Marginal(distribution), []


def openturns_joint(law: Any) -> tuple[list[Any] | None, Array | None, Any]:
    """Marginals (OpenTURNS's) and the correlation of a normal copula, or else a joint density."""
    if not law.isContinuous():
        raise TypeError("law: the OpenTURNS distribution is not continuous, a density is needed")
    copula = law.getCopula()
    normal = copula.getImplementation().getClassName() == "NormalCopula"
    if law.hasIndependentCopula() or normal:
        marginals = [law.getMarginal(i) for i in range(law.getDimension())]
        return marginals, np.array(copula.getShapeMatrix()) if normal else None, None
    if _class_of(law) == "Student":
        from scipy import stats

        law = _core(law)
        scale = np.array(law.getSigma())
        shape = np.outer(scale, scale) * np.array(law.getCorrelation())
        return None, None, stats.multivariate_t(law.getMu(), shape, df=law.getNu())
    standard = law.getStandardDistribution()
    if not standard.hasIndependentCopula():
        raise TypeError(
            f"law: the isoprobabilistic transformation of this OpenTURNS {_class_of(law)} "
            f"starts from a {_class_of(standard)} law, expected independent normals; "
            "hand in an object with rvs and logpdf instead"
        )
    return None, None, OpenTURNSJoint(law)


def _core(law: Any) -> Any:
    return law.getImplementation() if hasattr(law, "getImplementation") else law


def _class_of(law: Any) -> str:
    return _core(law).getClassName()


@dataclass(frozen=True)
class OpenTURNSJoint:
    """An OpenTURNS distribution drawn from our own random numbers."""

    law: Any
    flat: bool = False  # rows of one input are not vectors

    def rvs(self, size: int, random_state: np.random.Generator) -> Array:
        """Draws, shape (size, d)."""
        normals = random_state.standard_normal((size, self.law.getDimension()))
        return np.array(self.law.getInverseIsoProbabilisticTransformation()(normals))

    def logpdf(self, x: Array) -> Array:
        """Log density at the rows of x."""
        return np.array(self.law.computeLogPDF(x))[:, 0]


@dataclass(frozen=True)
class _Marginal:
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


# scipy.stats counterparts by OpenTURNS class name, of the parameters as OpenTURNS orders them
_COUNTERPARTS: dict[str, Callable[..., Any]] = {
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
}
