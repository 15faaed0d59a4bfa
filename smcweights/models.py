"""Ready state-space models.

========================= ======================================================================
linear_gaussian           scalars or matrices; exact: `smcweights.kalman_smoother`
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

__all__ = [
    "bearings_only",
    "finite_hmm",
    "linear_gaussian",
    "lorenz96",
    "nonlinear_growth",
    "stochastic_volatility",
    "theta_logistic",
]
