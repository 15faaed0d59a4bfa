"""A posterior under other priors, without another call of the likelihood.

The draws of a `Posterior` carry the weight w = L f / h of the likelihood L under the prior f. Under
another prior f_p it is w f_p / f, whose mean is the evidence with that prior.
"""

from __future__ import annotations

import time

import numpy as np

from ..cautions import tell
from ..errors import DegeneracyError
from ..estimate import Estimate
from ..provenance import asked_of, drawn, provenance
from ..randomness import seed_sequence
from ..weights import effective_sample_size, pareto_k
from .given_weights import independent_spread, weight_cautions
from .laws import Law
from .means import tail_shapes
from .posteriors import Posterior, evidence_name
from .ratio_means import HEAVY, leaning_limits, shared_tails
from .stages import effective_draws
from .under_laws import called, log_density_within, names_under, several_laws

METHOD = "reweighting of a posterior"


def under_priors(found: Posterior, laws: object, least_effective: float) -> Estimate:
    """Log evidence, means and standard deviations under each prior, see `smcweights.reweight`."""
    began = time.perf_counter()
    if found.joint.names[0] != evidence_name(False):
        raise ValueError(
            "estimate: its prior is known up to a constant only; expected a posterior whose prior "
            "is a law"
        )
    if np.isnan(found.joint.variance).all():
        raise ValueError(
            "estimate: it has no standard errors, as its cautions say; expected a posterior that "
            "was reached"
        )
    priors = several_laws(laws, found.inputs)
    log_ws = {name: _log_weights(found, law, name) for name, law in priors.items()}
    parts = [_influences(found.draws, log_w) for log_w in log_ws.values()]
    value = np.concatenate([mean for mean, _, _ in parts])
    g = np.concatenate([influence for _, influence, _ in parts], axis=1)
    effective = np.concatenate([worth for _, _, worth in parts])
    sizes = np.array([effective_sample_size(log_w) for log_w in log_ws.values()])
    for name, size in zip(priors, sizes, strict=True):
        if size < least_effective:
            raise DegeneracyError(
                f"{called(name)}: got draws worth {size:.1f} of the posterior under this prior; "
                f"expected at least {least_effective:g}. A prior nearer to the first, or a "
                "posterior of its own, would do"
            )
    within = _within_strata(g, found.component)
    covariance, freedom = independent_spread(within)
    error = np.sqrt(np.diag(covariance))
    skewness = _tails_shared(within, error, value, freedom, len(priors))
    plain = [evidence_name(False), *found.inputs, *(f"sd[{name}]" for name in found.inputs)]
    names = names_under(plain, priors)
    k_hats = np.array([pareto_k(log_w) for log_w in log_ws.values()])
    shapes = np.fmax(tail_shapes(g.T, len(value)), np.repeat(k_hats, len(plain)))
    # as `posterior` itself judges
    judged, worth = np.where(shapes > HEAVY, shapes, -np.inf), np.repeat(sizes, len(plain))
    cautions = [*found.cautions, *weight_cautions(-np.inf, judged, worth, names)]
    asked = {"laws": priors, "estimate": asked_of(found)}
    source = provenance(METHOD, seed_sequence(0), asked) | drawn(found.draws)
    tell("reweight", cautions[len(found.cautions) :])
    return Estimate(
        value,
        covariance,
        names=names,
        method=METHOD,
        degrees_of_freedom=freedom,
        limits=leaning_limits(value, error, freedom, skewness),
        diagnostics={
            "law_effective_sample_size": sizes,
            "law_pareto_k": k_hats,
            "pareto_k": shapes,
            "effective_draws": effective,
        },
        columns=["pareto_k", "effective_draws"],
        cautions=cautions,
        # it repeats no call; what it rests on did
        cost={**found.joint.cost, "seconds": time.perf_counter() - began},
        provenance={**source, "seed": found.provenance.get("seed")},
    )


def _log_weights(found: Posterior, law: Law, name: str) -> np.ndarray:
    """Log weights (n,) of the draws under another prior."""
    log_p = log_density_within(law, found.draws, found.log_prior, found.ranges, called(name))
    there = (log_p > -np.inf) & (found.log_weight > -np.inf)
    if not there.any():
        raise DegeneracyError(f"{called(name)}: has no density at any draw of the posterior")
    return np.where(there, found.log_weight + log_p - np.where(there, found.log_prior, 0), -np.inf)


def _influences(x: np.ndarray, log_w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log mean weight, means and standard deviations (1 + 2 d,), their influences, their draws."""
    shift = log_w.max()
    w = np.exp(log_w - shift)
    size = w.mean()
    w /= size
    off = x - x[0]  # of a constant: exactly 0
    moved = w @ off / len(x)
    off -= moved
    variance = w @ off**2 / len(x)
    sd = np.sqrt(variance)
    slope = 1 / np.where(sd > 0, 2 * sd, np.inf)
    g = [w[:, None] - 1, w[:, None] * off, w[:, None] * (off**2 - variance) * slope]
    value = np.concatenate([[shift + np.log(size)], x[0] + moved, sd])
    influence = np.concatenate(g, axis=1)
    all_of_them = effective_draws(w[:, None])
    own = np.where(influence.any(0), effective_draws(influence), all_of_them)
    return value, influence, np.minimum(all_of_them, own)


def _tails_shared(
    g: np.ndarray, error: np.ndarray, value: np.ndarray, freedom: np.ndarray, priors: int
) -> np.ndarray:
    """Skewness (J,) of standard deviations, by influences g (n, J); changes degrees of freedom."""
    own = (g**3).sum(0) / np.maximum((g**2).sum(0), 1e-200) ** 1.5
    skewness, d = np.zeros(len(value)), (len(value) // priors - 1) // 2
    for first in range(0, len(value), 1 + 2 * d):
        sds = slice(first + 1 + d, first + 1 + 2 * d)
        for alike in (slice(first + 1, first + 1 + d), sds):
            relative = np.divide(error[alike], value[sds], out=np.zeros(d), where=value[sds] > 0)
            freedom[alike], lean = shared_tails(freedom[alike], own[alike], relative**2)
            if alike is sds:
                skewness[alike] = lean
    return skewness


def _within_strata(g: np.ndarray, component: np.ndarray) -> np.ndarray:
    """Influences about their stratum's mean, sized so that squares are unbiased."""
    counts = np.bincount(component)
    sums = np.stack([np.bincount(component, column) for column in g.T], axis=1)
    means = sums / np.maximum(counts, 1)[:, None]
    unbiased = np.sqrt(counts / np.maximum(counts - 1, 1))[component, None]
    return (g - means[component]) * unbiased
