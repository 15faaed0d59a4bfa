"""Steps along gradients, and what stages remember of them."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

import smcweights as smw
from smcweights.statespace.learning import (
    ascent,
)

from .truths import derivatives, scalar_likelihood

pytestmark = pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")


@pytest.mark.slow
def test_figures_show_the_search_the_score_and_the_profile():
    from smcweights import plots

    model = smw.models.linear_gaussian(0.8, 1.0, 1.0, 1.0)
    _, y = model.simulate(50, seed=1)
    free = ["transition_matrix", "transition_covariance"]
    fit = smw.maximum_likelihood(
        model, y, None, 40, 60, free=free, chains=2, information=False, seed=1
    )
    ax = fit.plot(parameter="transition_covariance")
    assert ax.get_ylabel() == "transition_covariance"
    lines = np.array([line.get_ydata() for line in ax.lines])
    np.testing.assert_array_equal(lines[:2], fit.iterates[:, :, 1])
    np.testing.assert_array_equal(lines[2:], fit.averaged_path[:, :, 1])
    with pytest.raises(ValueError, match="parameter: got 'other'; expected one of"):
        fit.plot(parameter="other")
    grid = [0.3, 0.7, 1.1]
    ax = plots.scores(model, y, "transition_matrix", grid, 40, 40)
    shown = ax.lines[0].get_ydata()
    theta = np.tile(model.theta, (3, 1))
    theta[:, 0] = grid
    exact = [derivatives(scalar_likelihood, row, y)[0][0] for row in theta]
    np.testing.assert_allclose(shown, exact, atol=0.1 * np.ptp(exact))
    ax = plots.profile(fit, y, "transition_matrix", [0.4, 0.7], 300, 30)
    heights = ax.lines[0].get_ydata()

    def best(a):
        def objective(u):
            at = model.theta.copy()
            at[:2] = a, math.exp(u[0])
            return -smw.kalman_smoother(model.with_theta(at), y).log_likelihood

        return -minimize(objective, [0.0], method="Nelder-Mead").fun

    np.testing.assert_allclose(heights, [best(0.4), best(0.7)], atol=1.0)


def test_stages_continue_a_search_bit_for_bit_in_what_they_remember():
    climber = ascent.Climber(None, ascent.State(np.zeros(2)))
    climber.look(np.ones(2), np.diag([4.0, 2.0]), np.diag([5.0, 3.0]))
    again = ascent.Climber(None, climber.state(np.zeros(2), None))
    g = np.array([0.1, 0.2])
    np.testing.assert_array_equal(climber.step(30, g, g), again.step(30, g, g))
    # with nothing lost, a Newton step; else the observed share, floored at a tenth, counts
    whole = ascent.Climber(None, climber.state(np.zeros(2), None))
    np.testing.assert_allclose(whole.step(0, g, g), [0.1 / 4, 0.2 / 2], rtol=1e-12)
    part = ascent.Climber(None, ascent.State(np.zeros(1)))
    part.look(np.ones(1), np.array([[4.0]]), np.array([[3.0]]))
    shrunk = 3.0**-0.75
    np.testing.assert_allclose(part.step(40, g[:1], g), [0.1 / 2 * shrunk], rtol=1e-12)
    far = ascent.Climber(None, ascent.State(np.zeros(1)))
    far.look(np.zeros(1), np.array([[4.0]]), np.array([[3.99]]))
    np.testing.assert_allclose(far.step(40, g[:1], g), [0.1 / 0.4 * shrunk], rtol=1e-12)
    np.testing.assert_allclose(far.step(40, g[:1] + 1e3, g), [5.0 / 2 * shrunk], rtol=1e-12)
