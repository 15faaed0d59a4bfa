"""Numbers that have outgrown their noise are told; large ones that have not aren't."""

import warnings

import numpy as np
import pytest

import smcweights as smw

EXPLOSIVE = smw.models.linear_gaussian(1.5, 1.0, 1.0, 1.0, 0.0, 1.0)


def exactly(y):
    """Log likelihood in 80 bits, whose rounding is 2,000 times finer."""
    mean, variance, total = np.longdouble(0), np.longdouble(1), np.longdouble(0)
    for t, seen in enumerate(y.astype(np.longdouble)):
        if t:
            mean, variance = 1.5 * mean, 2.25 * variance + 1
        spread, error = variance + 1, seen - mean
        total -= (np.log(2 * np.longdouble(np.pi) * spread) + error**2 / spread) / 2
        mean, variance = mean + variance / spread * error, variance / spread
    return float(total)


CALLS = {
    "kalman_filter": lambda y: smw.kalman_filter(EXPLOSIVE, y),
    "kalman_smoother": lambda y: smw.kalman_smoother(EXPLOSIVE, y),
    "kalman_forecast": lambda y: smw.kalman_forecast(EXPLOSIVE, y, 2),
    "kalman_score": lambda y: smw.kalman_score(EXPLOSIVE, y),
    "particle_filter": lambda y: smw.particle_filter(EXPLOSIVE, y, 1_000, repeats=2, seed=1),
    "log_likelihood": lambda y: smw.log_likelihood(EXPLOSIVE, y, 1_000, repeats=2, seed=1),
    "parisian_particle_gibbs": lambda y: smw.parisian_particle_gibbs(
        EXPLOSIVE, y, smw.functionals.sum_of_states, 20, 12, seed=1
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_noise_that_is_lost_in_rounding_is_told_once(name):
    y = EXPLOSIVE.simulate(100, seed=1)[1]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        CALLS[name](y)
    assert [str(w.message).startswith(f"{name}: at time 9") for w in told].count(True) == 1
    assert sum("[rounding]" in str(w.message) for w in told) == 1


def test_until_it_is_told_the_kalman_filter_is_right():
    y = EXPLOSIVE.simulate(60, seed=1)[1]
    assert y[-1] > 1e10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = smw.kalman_filter(EXPLOSIVE, y).log_likelihood
        smw.particle_filter(EXPLOSIVE, y, 1_000, repeats=2, seed=1)
    assert found == pytest.approx(exactly(y), abs=1e-5)


def test_large_counts_are_fine():
    """Their density is -inf between whole numbers, and rounding plays no part."""

    def arrivals(rng, x_prev, t, theta):
        return x_prev + rng.poisson(1e4)

    def density(x_prev, x, t, theta):
        return 0.0 if x == np.floor(x) and x >= x_prev else -np.inf

    counts = smw.StateSpaceModel(
        lambda rng, theta: 3e8,
        None,
        arrivals,
        density,
        lambda y, x, t, theta: -0.5 * ((y - x) / 1e3) ** 2,
    )
    y = 3e8 + 1e4 * np.arange(12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smw.particle_filter(counts, y, 1_000, repeats=2, seed=1)
