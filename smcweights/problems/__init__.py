"""Test problems: a model, the law of its inputs with names, and the truth.

Each function returns a `Problem`; its docstring gives the model, the laws, the source, and says of
every number whether it is a closed form or a quadrature and how many digits hold. The tests
compute each one again, by other means.

=================== == == ======================================================================
problem             d  J  what it asks of a method
=================== == == ======================================================================
flood               8  6  rare events and moments at once, bounded and truncated inputs
borehole            8  3  smooth, moments only
cantilever_beam     4  5  beta, lognormal and uniform inputs under a Gaussian copula; P = 5e-7
four_branch         2  5  four separate failure regions
linear_limit_state  d  4  any dimension
ishigami            3  4  interaction, several modes; Sobol' indices
g_function          d  4  kinks, high moments; Sobol' indices
bounded_sum         4  5  a rare event in a corner of the cube
correlated_normals  3  5  integrands that change sign, correlated normals
lognormal_ratio     3  5  skewed inputs under a Gaussian copula
=================== == == ======================================================================

Real data: `digits` and `colours` are pairs of clouds of points; `nile`, `us_inflation`,
`euro_dollar` and `nutria` are time series for state-space models; `place_names` are texts for
language models.
"""

from .closed_forms import bounded_sum, correlated_normals, lognormal_ratio
from .clouds import colours, digits
from .hydraulics import borehole, flood
from .places import place_names
from .problem import Problem
from .reliability import cantilever_beam, four_branch, linear_limit_state
from .sensitivity import g_function, ishigami
from .series import euro_dollar, nile, nutria, us_inflation

__all__ = [
    "Problem",
    "borehole",
    "bounded_sum",
    "cantilever_beam",
    "colours",
    "correlated_normals",
    "digits",
    "euro_dollar",
    "flood",
    "four_branch",
    "g_function",
    "ishigami",
    "linear_limit_state",
    "lognormal_ratio",
    "nile",
    "nutria",
    "place_names",
    "us_inflation",
]
