"""Monte Carlo and sequential Monte Carlo estimates with honest variance diagnostics.

Every public function takes a model and a seed and returns an `Estimate`: a value with the
covariance of its error, diagnostics, cost and provenance. The names below are imported on first
use, so that ``import smcweights`` costs no more than NumPy.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Caution": "cautions",
    "Estimate": "estimate",
    "Calibration": "calibration",
    "calibrate": "calibration",
    "combine": "pooling",
    "log_bayes_factor": "pooling",
    "model_probabilities": "model_comparison",
    "Precision": "stopping",
    "PrecisionWarning": "errors",
    "ModelError": "errors",
    "DegeneracyError": "errors",
    "GaussianCopula": "importance.laws",
    "Truncated": "importance.marginals",
    "adaptive_importance_sampling": "importance.adaptive",
    "Selection": "importance.selection",
    "importance_resampling": "importance.selection",
    "importance_sampling": "importance.given_proposal",
    "from_weights": "importance.given_weights",
    "Posterior": "importance.posteriors",
    "posterior": "importance.posterior",
    "Perturbed": "importance.marginals",
    "PerturbationStudy": "importance.reweighting",
    "perturbation_study": "importance.reweighting",
    "reweight": "importance.reweighting",
    "under_laws": "importance.under_laws",
    "failure_probability": "importance.rare_events",
    "ShapleyEffects": "importance.shapley",
    "SobolIndices": "importance.indices",
    "shapley_effects": "importance.shapley",
    "sobol_from_sample": "importance.given_samples",
    "sobol_indices": "importance.sobol",
    "OutputLaw": "importance.output_law",
    "output_law": "importance.output_law",
    "InputUncertainty": "importance.input_uncertainty",
    "input_uncertainty": "importance.input_uncertainty",
    "FilterResult": "statespace.filtering",
    "FiniteSmoothing": "statespace.exact_laws",
    "Forecast": "statespace.forecasting",
    "PredictiveCheck": "statespace.forecasting",
    "GaussianFiltering": "statespace.exact_laws",
    "GaussianForecast": "statespace.exact_laws",
    "GaussianSmoothing": "statespace.exact_laws",
    "OnlineFilter": "statespace.filtering",
    "OnlineSmoother": "statespace.smoothing",
    "Proposal": "statespace.model",
    "StateSpaceModel": "statespace.model",
    "backward_simulation": "statespace.filtering",
    "check_model": "statespace.checking",
    "forecast": "statespace.forecasting",
    "forward_backward": "statespace.exact",
    "kalman_filter": "statespace.exact",
    "kalman_forecast": "statespace.exact",
    "kalman_score": "statespace.exact",
    "kalman_smoother": "statespace.exact",
    "log_likelihood": "statespace.filtering",
    "paris": "statespace.smoothing",
    "particle_filter": "statespace.filtering",
    "parisian_particle_gibbs": "statespace.parisian",
    "predictive_check": "statespace.forecasting",
    "particle_gibbs": "statespace.particle_gibbs",
    "posterior_means": "statespace.draws",
    "random_walk_metropolis": "statespace.particle_gibbs",
    "recommend_particles": "statespace.parisian",
    "unbiased_smoothing": "statespace.unbiased",
    "Fit": "statespace.learning.ascent",
    "VariationalFamily": "statespace.learning.score_climbing",
    "gaussian_family": "statespace.learning.score_climbing",
    "markov_score_climbing": "statespace.learning.score_climbing",
    "maximum_likelihood": "statespace.learning.likelihood",
    "observed_information": "statespace.learning.scores",
    "online_maximum_likelihood": "statespace.learning.online",
    "particle_marginal_metropolis_hastings": "statespace.learning.marginal",
    "score": "statespace.learning.scores",
    "conditional_resample": "resampling",
    "resample": "resampling",
    "WeightedDraw": "rejection.draw",
    "WeightedSequences": "rejection.sequences",
    "constrained_sequences": "rejection.sequences",
    "constraint_probability": "rejection.probability",
    "weighted_rejection": "rejection.draw",
    "SlicedReference": "transport.several",
    "SlicedFlow": "transport.flow",
    "SlicedGradient": "transport.gradient",
    "SlicedTest": "transport.two_samples",
    "MaxSliced": "transport.max_sliced",
    "max_sliced_wasserstein": "transport.max_sliced",
    "sliced_gradient": "transport.gradient",
    "sliced_gradient_flow": "transport.flow",
    "sliced_test": "transport.two_samples",
    "sliced_two_sample": "transport.population",
    "sliced_wasserstein": "transport.sliced",
    "sliced_wasserstein_gaussian": "transport.sphere",
    "sliced_wasserstein_matrix": "transport.several",
    "constraints": None,
    "functionals": None,
    "jax": None,
    "languages": None,
    "models": None,
    "plots": None,
    "problems": None,
    "rejection": None,
    "report": None,
}

__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'smcweights' has no attribute {name!r}") from None
    if home is None:
        return importlib.import_module(f"smcweights.{name}")
    value = getattr(importlib.import_module(f"smcweights.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
