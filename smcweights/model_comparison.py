"""Several models by their evidences: posterior probabilities, as a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import expit, stdtrit

from .arguments import names as checked_names
from .arguments import real, shown
from .cautions import Caution, tell
from .estimate import Estimate
from .parts import LEVELS
from .pooling import (
    Evidence,
    behind,
    evidence_of,
    pooled_freedom,
    require_independence,
    single_runs,
)
from .weights import log_sum_exp

METHOD = "model probabilities"
ROUGH = 0.5  # error of a log odds from which it is hardly normal


def model_probabilities(
    models: Mapping[str, Evidence], *, prior: Mapping[str, float] | None = None
) -> Estimate:
    """Posterior probabilities of models of the same data, from independent log evidences.

    With evidences Z_k and prior probabilities a_k,

        P(k | y) = a_k Z_k / sum_j a_j Z_j,

    the covariance by the delta method, intervals on the scale of log odds.

    Parameters
    ----------
    models : dict of str to Estimate, Posterior, WeightedSequences or FilterResult
        At least two, by their names: log evidences as `log_bayes_factor` takes them.
    prior : dict of str to float, optional
        Prior probabilities up to a constant, above 0; all equal by default.

    Returns
    -------
    Estimate, shape (K,)
        ``summary()`` is the table of the models, with the columns log_evidence,
        log_evidence_error and log_bayes_factor, that against the most probable; ``plot()`` the
        figure.

    Raises
    ------
    TypeError, ValueError
        Fewer than two models, one without a log evidence, a seed in common, other names or values
        of ``prior``.

    Warns
    -----
    PrecisionWarning
        A log odds has an error above 0.5.

    References
    ----------
    Kass & Raftery (1995), Bayes factors, JASA 90.

    Examples
    --------
    >>> lines = {"line": Estimate(-10.0, 0.01), "curve": Estimate(-10.0, 0.01)}
    >>> model_probabilities(lines).value
    array([0.5, 0.5])
    """
    if not isinstance(models, Mapping):
        raise TypeError(f"models: got {shown(models)}; expected a dict, names to log evidences")
    names = checked_names(list(models), "models") or ()
    if len(names) < 2:
        raise ValueError(f"models: got {len(names)}; expected at least two")
    runs = [evidence_of(f"models: {name!r}", one) for name, one in models.items()]
    sources = [(i, s) for i, run in enumerate(runs) for s in single_runs(run.provenance)]
    require_independence(sources)
    log_z, variance, freedom = (
        np.array([float(np.reshape(getattr(run, part), ())) for run in runs])
        for part in ("value", "variance", "degrees_of_freedom")
    )
    logs = log_z + np.log(_prior(prior, names))
    p = np.exp(logs - log_sum_exp(logs))
    slopes = np.diag(p) - np.outer(p, p)
    # the odds of each against all others: nothing cancels where one is next to certain
    off = ~np.eye(len(p), dtype=bool)
    others = np.array([log_sum_exp(logs[row]) for row in off])
    shares = np.exp(np.where(off, logs - others[:, None], 0.0))
    parts = (shares**2 * variance).T
    error, odds_freedom = np.sqrt(parts.sum(0)), pooled_freedom(parts, freedom[:, None])
    half = stdtrit(odds_freedom, 0.5 + np.array(LEVELS)[:, None] / 2) * error
    odds = logs - others
    cautions = dict.fromkeys(caution for run in runs for caution in run.cautions)
    found = []
    if (error > ROUGH).any():
        text = (
            f"a log odds has an error of {error.max():.2g}, too large for intervals to be "
            "promised. More calls for the model with the largest log_evidence_error would help"
        )
        found.append(Caution("rough-odds", text))
    tell("model_probabilities", found)
    return Estimate(
        p,
        slopes @ (variance[:, None] * slopes.T),
        names=names,
        method=METHOD,
        degrees_of_freedom=odds_freedom,
        limits=None
        if np.isnan(half).any()
        else np.stack([expit(odds - half), expit(odds + half)], axis=-1),
        bounds=(0.0, 1.0),
        diagnostics={
            "log_evidence": log_z,
            "log_evidence_error": np.sqrt(variance),
            "log_bayes_factor": log_z - log_z[p.argmax()],
        },
        columns=["log_evidence", "log_evidence_error", "log_bayes_factor"],
        cautions=[*cautions, *found],
        **behind(runs),
    )


def _prior(given: Mapping[str, float] | None, names: Sequence[str]) -> np.ndarray:
    """Prior probabilities (K,) up to a constant."""
    if given is None:
        return np.ones(len(names))
    if not isinstance(given, Mapping):
        raise TypeError(f"prior: got {shown(given)}; expected a dict, names to probabilities")
    if set(given) != set(names):
        raise ValueError(f"prior: got {shown(list(given))}; expected {shown(list(names))}")
    found = real("prior", [given[name] for name in names])
    if found.shape != (len(names),) or not ((found > 0) & np.isfinite(found)).all():
        raise ValueError(f"prior: got {shown(dict(given))}; expected numbers above 0")
    return found
