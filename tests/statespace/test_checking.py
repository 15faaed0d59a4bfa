"""Samplers, densities and bounds that disagree are found; those that agree pass."""

import dataclasses
import math

import numba
import numpy as np
import pytest

import smcweights as smw
from smcweights.statespace.checking import _check_transitions, _Samplers

from .test_model import LOG_ROOT, walk


@pytest.mark.slow
def test_wrong_densities_are_found():
    with pytest.raises(smw.ModelError, match=r"observation_logpdf.*NaN .* at time 1"):
        smw.particle_filter(
            walk(observation_logpdf=lambda y, x, t, theta: np.log(-1.0) if t == 1 else 0.0),
            [0.0, 1.0, 2.0],
            10,
            seed=1,
        )
    low = walk(transition_logpdf_bound=lambda t, theta: -1.0)
    with pytest.raises(smw.ModelError, match="transition_logpdf_bound"):
        smw.check_model(low, [0.0], seed=1)
    # what seldom happens is found where it does
    rare = walk(
        transition_logpdf=lambda x_prev, x, t, theta: (
            -np.inf if x > 3.3 else -0.5 * (x - x_prev) ** 2 - LOG_ROOT
        ),
    )
    with pytest.raises(smw.ModelError, match="log density -inf at"):
        smw.paris(rare, [0.0, 0.1], smw.functionals.sum_of_states, 50, seed=1)


WRONG = {
    "a factor of the last state is forgotten": {
        "transition_sample": lambda rng, x_prev, t, theta: (
            0.5 * x_prev + np.exp(0.7 * np.tanh(x_prev)) * rng.standard_normal()
        ),
        "transition_logpdf": lambda x_prev, x, t, theta: (
            -0.5 * ((x - 0.5 * x_prev) / np.exp(0.7 * np.tanh(x_prev))) ** 2 - LOG_ROOT
        ),
    },
    "not normalised": {"transition_logpdf": lambda x_prev, x, t, theta: -0.5 * (x - x_prev) ** 2},
    "another mean, late": {
        "transition_logpdf": lambda x_prev, x, t, theta: (
            -0.5 * (x - x_prev - 0.2 * (t > 10)) ** 2 - LOG_ROOT
        )
    },
    "another tail": {
        "transition_sample": lambda rng, x_prev, t, theta: x_prev + rng.laplace(0.0, np.sqrt(0.5))
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_transitions_that_are_not_their_density_are_found(name):
    with pytest.raises(smw.ModelError, match=r"transition_logpdf from state .* disagree"):
        smw.check_model(walk(**WRONG[name]), np.zeros(20), seed=1)


@pytest.mark.slow
def test_initial_laws_and_observations_that_are_not_their_density_are_found():
    shifted = walk(initial_logpdf=lambda x, theta: -0.5 * (x - 0.4) ** 2 - LOG_ROOT)
    with pytest.raises(smw.ModelError, match="initial_sample and initial_logpdf disagree"):
        smw.check_model(shifted, [0.0], seed=1)
    noisy = walk(observation_sample=lambda rng, x, t, theta: x + 5.0 * rng.standard_normal())
    with pytest.raises(smw.ModelError, match="observation_sample and observation_logpdf at state"):
        smw.check_model(noisy, [0.0, 1.0], seed=1)
    counts = walk(
        observation_sample=lambda rng, x, t, theta: float(rng.poisson(2.0)),
        observation_logpdf=lambda y, x, t, theta: y * np.log(1.3) - 1.3 - math.lgamma(y + 1.0),
    )
    with pytest.raises(smw.ModelError, match=r"observation_logpdf at state .* disagree"):
        smw.check_model(counts, [0.0, 1.0], seed=1)


RIGHT = {
    "gamma, counts": {
        "initial_sample": lambda rng, theta: rng.exponential(),
        "initial_logpdf": lambda x, theta: -x if x > 0 else -np.inf,
        "transition_sample": lambda rng, x_prev, t, theta: rng.gamma(3.0, 0.2 + 0.2 * x_prev),
        "transition_logpdf": lambda x_prev, x, t, theta: (
            2.0 * math.log(x) - x / (0.2 + 0.2 * x_prev) - math.lgamma(3.0)
            - 3.0 * np.log(0.2 + 0.2 * x_prev)
        ),
        "observation_sample": lambda rng, x, t, theta: float(rng.poisson(x)),
        "observation_logpdf": lambda y, x, t, theta: y * np.log(x) - x - math.lgamma(y + 1.0),
    },
    "uniform": {
        "transition_sample": lambda rng, x_prev, t, theta: 0.1 * x_prev + 2.0 * rng.random(),
        "transition_logpdf": lambda x_prev, x, t, theta: (
            -np.log(2.0) if 0.0 < x - 0.1 * x_prev < 2.0 else -np.inf
        ),
    },
    "two modes": {
        "transition_sample": lambda rng, x_prev, t, theta: (
            (10.0 if rng.random() < 0.3 else -10.0) + rng.standard_normal()
        ),
        "transition_logpdf": lambda x_prev, x, t, theta: np.log(
            0.3 * np.exp(-0.5 * (x - 10.0) ** 2) + 0.7 * np.exp(-0.5 * (x + 10.0) ** 2)
        ) - LOG_ROOT,
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_other_laws_than_normal_ones_pass(name):
    """Some hundred comparisons at six standard errors: one false alarm in 10^6 runs."""
    for seed in range(3):
        smw.check_model(walk(**RIGHT[name]), np.ones(12), n_draws=4_000, seed=seed)


@pytest.mark.slow
def test_a_component_that_is_carried_along_passes():
    def transition_sample(rng, x_prev, t, theta):
        return np.array([0.5 * x_prev[0] + 0.2 * x_prev[1] + rng.standard_normal(), x_prev[0]])

    second_order = smw.StateSpaceModel(
        lambda rng, theta: rng.standard_normal(2),
        lambda x, theta: -0.5 * (x[0] ** 2 + x[1] ** 2) - 2.0 * LOG_ROOT,
        transition_sample,
        lambda x_prev, x, t, theta: (
            -0.5 * (x[0] - 0.5 * x_prev[0] - 0.2 * x_prev[1]) ** 2 - LOG_ROOT
        ),
        lambda y, x, t, theta: -0.5 * (y - x[0]) ** 2 - LOG_ROOT,
        state_dim=2,
    )
    smw.check_model(second_order, np.zeros(5), n_draws=4_000, seed=1)


@numba.njit
def log_normal(z, scale):
    return -0.5 * (z / scale) ** 2 - np.log(scale) - LOG_ROOT


def stays_or_jumps(unit):
    """A level that stays in nine steps of ten; in units of its own."""
    return walk(
        initial_sample=lambda rng, theta: 2.0 * unit * rng.standard_normal(),
        initial_logpdf=lambda x, theta: log_normal(x, 2.0 * unit),
        transition_sample=lambda rng, x_prev, t, theta: (
            x_prev if rng.random() < 0.9 else 2.0 * unit * rng.standard_normal()
        ),
        transition_logpdf=lambda x_prev, x, t, theta: (
            np.log(0.9) if x == x_prev else np.log(0.1) + log_normal(x, 2.0 * unit)
        ),
        observation_logpdf=lambda y, x, t, theta: log_normal(y - x / unit, 1.0),
    )


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_atoms_that_move_with_the_state_are_refused(unit):
    model = stays_or_jumps(unit)
    match = r"has probability 0\.\d+ from state .* a density, .*carry the jump as a component"
    for seed in range(3):
        with pytest.raises(smw.ModelError, match=match):
            smw.check_model(model, np.zeros(20), n_draws=2_000, seed=seed)
    with pytest.raises(smw.ModelError, match=match):
        smw.paris(model, np.zeros(20), smw.functionals.sum_of_states, 50, seed=1)


def jumps_carried():
    """The same level with its jump as a component."""
    return smw.StateSpaceModel(
        lambda rng, theta: np.array([2.0 * rng.standard_normal(), 1.0]),
        None,
        lambda rng, x_prev, t, theta: (
            np.array([x_prev[0], 0.0])
            if rng.random() < 0.9
            else np.array([2.0 * rng.standard_normal(), 1.0])
        ),
        lambda x_prev, x, t, theta: (
            np.log(0.1) + log_normal(x[0], 2.0)
            if x[1] > 0.5
            else (np.log(0.9) if x[0] == x_prev[0] else -np.inf)
        ),
        lambda y, x, t, theta: log_normal(y - x[0], 1.0),
        state_dim=2,
    )


def counts(mean, unit=1.0):
    """Counts whose mean goes back and forth, in units of their own."""
    return walk(
        initial_sample=lambda rng, theta: unit * rng.poisson(mean),
        transition_sample=lambda rng, x_prev, t, theta: (
            unit * rng.poisson(0.5 * mean + 0.5 * x_prev / unit)
        ),
        transition_logpdf=lambda x_prev, x, t, theta: (
            x / unit * np.log(0.5 * mean + 0.5 * x_prev / unit)
            - (0.5 * mean + 0.5 * x_prev / unit)
            - math.lgamma(x / unit + 1.0)
        ),
    )


PROPER = {
    "a jump carried": jumps_carried,
    "few counts": lambda: counts(3.0),
    "many counts": lambda: counts(1e6),
    "counts in tenths": lambda: counts(30.0, 0.1),
    "zero-inflated": lambda: walk(
        transition_sample=lambda rng, x_prev, t, theta: (
            0.0 if rng.random() < 0.3 else 0.5 * x_prev + rng.standard_normal()
        ),
        transition_logpdf=lambda x_prev, x, t, theta: (
            np.log(0.3) if x == 0.0 else np.log(0.7) + log_normal(x - 0.5 * x_prev, 1.0)
        ),
    ),
    "stays for ever": lambda: walk(
        transition_sample=lambda rng, x_prev, t, theta: x_prev,
        transition_logpdf=lambda x_prev, x, t, theta: 0.0 if x == x_prev else -np.inf,
    ),
    "wide steps on a lattice": lambda: walk(
        initial_sample=lambda rng, theta: float(rng.integers(-40, 40)),
        transition_sample=lambda rng, x_prev, t, theta: (
            x_prev + (rng.integers(-500, 501) if rng.random() < 0.02 else rng.integers(-1, 2))
        ),
        transition_logpdf=lambda x_prev, x, t, theta: np.log(
            0.02 / 1001 + (0.98 / 3 if np.abs(x - x_prev) < 1.5 else 0.0)
        ),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROPER)
def test_what_only_looks_like_a_moving_atom_passes(name):
    model = PROPER[name]()
    unseen = np.full((30, 1), np.nan)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        _check_transitions(_Samplers(model, unseen, False, rng), 29, 4_000)


@pytest.mark.slow
def test_smoothers_refuse_densities_that_their_samplers_do_not_have():
    """A dummy density, never called by filters: sums of 40 states were off by a hundred errors."""
    dummy = walk(
        transition_sample=lambda rng, x_prev, t, theta: 0.9 * x_prev + rng.standard_normal(),
        transition_logpdf=lambda x_prev, x, t, theta: 0.0,
        transition_logpdf_bound=lambda t, theta: 0.0,
    )
    y, total = np.zeros(6), smw.functionals.sum_of_states
    stored = smw.particle_filter(dummy, y, 400, store=True, seed=1)
    for call in (
        lambda: smw.paris(dummy, y, total, 50, seed=1),
        lambda: smw.parisian_particle_gibbs(dummy, y, total, 50, 10, seed=1),
        lambda: smw.unbiased_smoothing(dummy, y, total, 50, 10, seed=1),
        lambda: smw.particle_gibbs(dummy, y, 50, 10, seed=1),
        lambda: smw.backward_simulation(stored, 5, seed=1),
        lambda: smw.OnlineSmoother(dummy, total, 50, seed=1).update(0.1),
    ):
        with pytest.raises(smw.ModelError, match="transition_sample and transition_logpdf from"):
            call()


@pytest.mark.slow
def test_methods_do_without_the_densities_that_they_do_not_need():
    y, total = [0.3, -0.2, 0.5], smw.functionals.sum_of_states
    bare = walk(initial_logpdf=None, transition_logpdf=None)
    found = smw.particle_filter(bare, y, 400, seed=1).log_likelihood
    assert found.value == smw.particle_filter(walk(), y, 400, seed=1).log_likelihood.value
    smw.check_model(bare, y, n_draws=500, seed=1)
    draws = smw.particle_gibbs(bare, y, 20, 5, backward=None, seed=1)
    assert draws["posterior"]["x"].shape == (4, 5, 3)
    first = walk(initial_logpdf=None)
    assert (
        smw.paris(first, y, total, 50, seed=1).value
        == smw.paris(walk(), y, total, 50, seed=1).value
    )


def test_densities_that_are_needed_are_asked_for():
    y, total = [0.3, -0.2, 0.5], smw.functionals.sum_of_states
    bare = walk(initial_logpdf=None, transition_logpdf=None)
    guided = smw.Proposal(
        lambda rng, x_prev, y, t, theta: x_prev, lambda x_prev, x, y, t, theta: 0.0
    )
    for call in (
        lambda: smw.paris(bare, y, total, 50),
        lambda: smw.OnlineSmoother(bare, total, 50),
        lambda: smw.particle_gibbs(bare, y, 20, 5),
        lambda: smw.particle_filter(bare, y, 50, proposal=guided),
        lambda: smw.score(dataclasses.replace(bare, theta=[1.0]), y, None, 50),
    ):
        with pytest.raises(
            ValueError, match=r"(initial|transition)_logpdf: got None; expected a function of \(x"
        ):
            call()
