"""Ready additive functionals h(x) = h_0(x_0) + sum over t >= 1 of h_t(x_{t-1}, x_t).

=================== ============================================================================
sum_of_states       sum of x_t, over t = 0 ... T-1; for vector states each component on its own
sum_of_squares      sum of x_t^2
sum_of_products     sum of x_{t-1} x_t, over t = 1 ... T-1
states              all x_t themselves, T (or T d) functionals at once: the smoothing means
=================== ============================================================================
"""

from .statespace.functionals import states, sum_of_products, sum_of_squares, sum_of_states

__all__ = ["states", "sum_of_products", "sum_of_squares", "sum_of_states"]
