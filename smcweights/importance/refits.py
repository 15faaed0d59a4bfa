"""Laws fitted to measurements: their parameters, what refits to resampled data say of these.

The law an estimate was made under is known by what its provenance says: families of `scipy.stats`
with shapes, location and scale. `Fitted` builds the law at other parameters, and the derivatives
of its log density; `resampled` is the covariance of the parameters over refits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from .. import arguments
from .laws import GaussianCopula, Law, as_law
from .marginals import scipy_parameters, support

STEP = 0.1  # of derivatives, in standard deviations of a parameter
MOST_FAILED = 0.01  # share of refits that may fail
LEAST_RATIO = 0.1  # to the law's own, of a refitted parameter that counts as positive
FEWEST = 5  # measurements of an input

Data = dict[str, np.ndarray]
Refit = Callable[[Any], object]


@dataclass(frozen=True)
class Fitted:
    """A law of known families: names of inputs, families, and their parameters in a row."""

    names: tuple[str, ...]
    families: tuple[str, ...]
    theta: np.ndarray  # (P,): shapes, location and scale of each input, then correlations
    owner: np.ndarray  # (P,): number of the input; d for a correlation
    labels: tuple[str, ...]

    @classmethod
    def of(cls, law: Law) -> Fitted | None:
        """From a law whose marginals are of `scipy.stats`; None for another."""
        parsed = [scipy_parameters(m) for m in law.marginals or ()]
        if not parsed or any(p is None for p in parsed):
            return None
        theta, owner, labels = list[float](), list[int](), list[str]()
        for i, (name, known) in enumerate(zip(law.names, parsed, strict=True)):
            assert known is not None
            _, shapes, loc, scale = known
            theta += [*shapes, loc, scale]
            owner += [i] * (len(shapes) + 2)
            labels += [f"{name} {what}" for what in (*_shapes(len(shapes)), "loc", "scale")]
        if law.correlation is not None:
            pairs = np.argwhere(np.tri(law.dimension, k=-1))
            theta += [float(law.correlation[i, j]) for i, j in pairs]
            owner += [law.dimension] * len(pairs)
            labels += [f"correlation {law.names[j]} {law.names[i]}" for i, j in pairs]
        families = tuple(p[0] for p in parsed if p is not None)
        return cls(law.names, families, np.array(theta), np.array(owner), tuple(labels))

    @property
    def dependent(self) -> bool:
        """Whether correlations are among the parameters."""
        return bool((self.owner == len(self.names)).any())

    def marginal(self, i: int, theta: np.ndarray) -> Any:
        """The law of input i at parameters theta (P,)."""
        from scipy import stats

        *shapes, loc, scale = theta[self.owner == i].tolist()
        return getattr(stats, self.families[i])(*shapes, loc=loc, scale=scale)

    def law(self, theta: np.ndarray) -> Law:
        """The whole law at parameters theta (P,)."""
        d = len(self.names)
        marginals = {name: self.marginal(i, theta) for i, name in enumerate(self.names)}
        rest = theta[self.owner == d]
        if not len(rest):
            return as_law(marginals)
        correlation = np.eye(d)
        i, j = np.argwhere(np.tri(d, k=-1)).T
        correlation[i, j] = correlation[j, i] = rest
        return as_law(GaussianCopula(marginals, correlation))

    def scores(self, x: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Derivatives (n, P) of the log density at inputs x by each parameter that has a spread."""
        table = np.zeros((len(x), len(self.theta)))
        for p in np.flatnonzero(spread > 0):
            step = np.zeros(len(self.theta))
            step[p] = STEP * spread[p]
            i = int(self.owner[p])
            if i < len(self.names) and not self.dependent:
                up, down = (self.marginal(i, self.theta + s).logpdf(x[:, i]) for s in (step, -step))
            else:
                up, down = (self.law(self.theta + s).log_density(x) for s in (step, -step))
            with np.errstate(invalid="ignore"):
                table[:, p] = (up - down) / (2 * step[p])
            if not np.isfinite(table[:, p]).all():
                raise ValueError(
                    f"data: the law's support moves with {self.labels[p]}, by which its density "
                    "has no derivative; expected a refit that holds it, or laws="
                )
        return table


def _shapes(count: int) -> list[str]:
    return ["shape"] if count == 1 else [f"shape {k + 1}" for k in range(count)]


def checked_data(given: object, names: Sequence[str]) -> Data:
    """Measurements by input, from a dict or frame by name, or an array (n, d)."""
    if hasattr(given, "columns") and hasattr(given, "to_numpy"):
        given = {str(name): given[name].to_numpy() for name in given.columns}  # type: ignore[index]
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown or not given:
            raise ValueError(
                f"data: got {arguments.shown(unknown or given)}; expected measurements of "
                f"{', '.join(names)}"
            )
        data = {
            str(name): arguments.finite(f"data[{name!r}]", part) for name, part in given.items()
        }
    else:
        table = arguments.finite("data", given)  # type: ignore[arg-type]
        table = table[:, None] if table.ndim == 1 else table
        if table.ndim != 2 or table.shape[1] != len(names):
            raise ValueError(f"data: got shape {table.shape}; expected (n, {len(names)})")
        data = dict(zip(names, table.T, strict=True))
    for name, part in data.items():
        if part.ndim != 1 or len(part) < FEWEST:
            raise ValueError(
                f"data: got shape {part.shape} for {name!r}; expected at least {FEWEST} numbers"
            )
    return data


@dataclass(frozen=True)
class Likelihood:
    """Refits of each measured input's family by maximum likelihood, other inputs held whole.

    ``held`` are the parameters that `fit` of each measured input is not to touch. Where rows were
    measured ``together``, the correlations of a copula are those of the normal scores (Joe & Xu
    1996, inference functions for margins); else they are held.
    """

    fitted: Fitted
    held: dict[str, dict[str, float]]
    together: bool = False

    def parameters(self, sample: Data) -> np.ndarray:
        """Parameters (P,) for a sample; no law is made of them, which would take longer."""
        from scipy import stats

        names, owner, theta = self.fitted.names, self.fitted.owner, self.fitted.theta.copy()
        scores = []
        for name, held in self.held.items():
            i = names.index(name)
            family = getattr(stats, self.fitted.families[i])
            theta[owner == i] = found = family.fit(sample[name], **held)
            if self.together and self.fitted.dependent:
                scores.append(ndtri(np.clip(family.cdf(sample[name], *found), 1e-16, 1 - 1e-16)))
        if self.together and self.fitted.dependent:
            row, column = np.argwhere(np.tri(len(names), k=-1)).T
            theta[owner == len(names)] = np.corrcoef(scores)[row, column]
        return theta


def by_likelihood(fitted: Fitted, data: Data, together: bool = False) -> Likelihood:
    """Refits by maximum likelihood to rows measured together, or to each input's measurements.

    Where a family begins stays as it is, and where it ends as well.
    """
    held: dict[str, dict[str, float]] = {}
    for i, name in enumerate(fitted.names):
        if name not in data:
            continue
        *shapes, loc, scale = fitted.theta[fitted.owner == i].tolist()
        lower, upper = support(fitted.marginal(i, fitted.theta))
        fixed = {"floc": loc} if np.isfinite([lower, upper]).any() else {}
        if np.isfinite([lower, upper]).all():
            fixed["fscale"] = scale
        if len(fixed) == 2 and not shapes:
            raise ValueError(
                f"data: the {fitted.families[i]} law of {name!r} has no parameters but its ends, "
                "which likelihood tells badly; expected refit= or laws="
            )
        held[name] = fixed

    if together:
        # in the order of the correlations
        held = {name: held[name] for name in fitted.names}
    return Likelihood(fitted, held, together)


def parameters_of(refit: Refit | Likelihood, sample: Any, fitted: Fitted) -> np.ndarray:
    """Parameters (P,) of the law refitted to a sample, which has to be of the same families."""
    if isinstance(refit, Likelihood):
        return refit.parameters(sample)
    law = refit(sample)
    if isinstance(law, dict) and law.keys() == set(fitted.names):
        # most refits are this: nothing has to be checked that the first law was not
        parsed = [scipy_parameters(law[name]) for name in fitted.names]
        theta = np.array([v for p in parsed if p is not None for v in (*p[1], *p[2:])])
        same = all(
            p is not None and p[0] == f for p, f in zip(parsed, fitted.families, strict=True)
        )
        if same and theta.shape == fitted.theta.shape:
            return theta
    found = Fitted.of(as_law(law))
    if found is None or found.families != fitted.families or len(found.theta) != len(fitted.theta):
        raise ValueError("refit: returned a law of other families than the first one's")
    return found.theta


def resampled(
    fitted: Fitted,
    data: Data,
    refit: Refit | Likelihood,
    resamples: int,
    scheme: str,
    table: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """Parameters (B, P) of refits to resampled measurements.

    Parametric ones are drawn from the law itself; others are rows of the data, drawn together
    where ``table`` says that all inputs were measured together.
    """
    sizes = {name: len(part) for name, part in data.items()}
    law, found, failed = fitted.law(fitted.theta), [], 0
    for b in range(resamples):
        if scheme == "parametric":
            x = law.sample(rng, max(sizes.values()))
            sample = {name: x[:n, fitted.names.index(name)] for name, n in sizes.items()}
        else:
            rows = {name: rng.integers(n, size=n) for name, n in sizes.items()}
            first = next(iter(rows.values()))
            sample = {n: part[first if table else rows[n]] for n, part in data.items()}
        try:
            theta = parameters_of(refit, sample, fitted)
            if not np.isfinite(theta).all():
                raise ValueError(f"refit: parameters are {theta.tolist()}; expected numbers")
            found.append(theta)
        except Exception as error:
            failed += 1
            if failed > MOST_FAILED * resamples:
                error.add_note(f"smcweights: the refit to resample {b} failed")
                raise
    return np.array(found)


def steps_of(found: np.ndarray, fitted: Fitted) -> np.ndarray:
    """How far refits (B, P) are from the law's parameters, as one goes from these by derivatives.

    Scales and positive shapes go by their logs: where few data leave a shape and a scale wide open
    their product is well known, which no straight line in both would tell.
    """
    theta, d = fitted.theta, len(fitted.names)
    located = np.array([label.endswith(" loc") for label in fitted.labels])
    by_log = (theta > 0) & ~located & (fitted.owner < d) & (found.min(0) > LEAST_RATIO * theta)
    steps = found - theta
    steps[:, by_log] = theta[by_log] * np.log(found[:, by_log] / theta[by_log])
    return np.asarray(steps)


def covariance_of(found: np.ndarray, fitted: Fitted, data: Data, table: bool) -> np.ndarray:
    """Covariance (P, P) of the parameters; inputs measured apart have none with one another."""
    whole = np.atleast_2d(np.cov(steps_of(found, fitted).T))
    # what is held comes out the same, up to rounding
    held = np.ptp(found, axis=0) <= 1e-12 * np.abs(fitted.theta)
    whole[held] = whole[:, held] = 0.0
    if not table:
        whole = whole * (fitted.owner[:, None] == fitted.owner)
    return whole


def law_known(said: Any) -> Law:
    """A law from what a provenance says of it.

    Raises
    ------
    ValueError
        It says too little.
    """
    from scipy import stats

    marginals = said.get("marginals") if isinstance(said, Mapping) else None
    if not marginals:
        raise ValueError(
            "estimate: was made under a law whose families are not known by name; expected laws="
        )
    unknown = [name for name, m in zip(said["names"], marginals, strict=True) if "scale" not in m]
    if unknown:
        raise ValueError(
            f"estimate: the law of {', '.join(map(repr, unknown))} is discrete or constant, which "
            "is not refitted, or not known by name; expected laws="
        )
    made = {
        name: getattr(stats, m["distribution"])(*m["shapes"], loc=m["loc"], scale=m["scale"])
        for name, m in zip(said["names"], marginals, strict=True)
    }
    if "correlation" in said:
        return as_law(GaussianCopula(made, np.array(said["correlation"])))
    return as_law(made)
