"""Ready state-space models.

========================= ======================================================================
linear_gaussian           scalars or matrices, with times or singular covariances; exact:
                          `smcweights.kalman_filter`, `smcweights.kalman_smoother`
structural                level, trend, seasons and cycle; exact, too
autoregression            AR(p), with or without noise; exact, too
finite_hmm                finitely many states, Gaussian observations; exact:
                          `smcweights.forward_backward`
stochastic_volatility     returns whose log variance is an autoregression
nonlinear_growth          the bimodal benchmark of Gordon, Salmond & Smith
theta_logistic            density-dependent growth of a population
lorenz96                  a chaotic ring of any dimension
bearings_only             a moving target of which only the direction is seen
========================= ======================================================================
"""

from .statespace.models import (
    bearings_only,
    finite_hmm,
    linear_gaussian,
    lorenz96,
    nonlinear_growth,
    stochastic_volatility,
    theta_logistic,
)
from .statespace.structural import autoregression, structural

__all__ = [
    "autoregression",
    "bearings_only",
    "finite_hmm",
    "linear_gaussian",
    "lorenz96",
    "nonlinear_growth",
    "stochastic_volatility",
    "structural",
    "theta_logistic",
]
