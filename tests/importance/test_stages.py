"""Stages of draws: counts, the joint mixture of a history, and its units."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights.execution import open_run
from smcweights.importance.laws import as_law
from smcweights.importance.proposals import Elliptical, Mixture, log_densities, working_space
from smcweights.importance.stages import History, Sampler, effective_draws, split


def drawn(integrand, check=lambda count, scalar: None, seed=1):
    """A history of two stages under two laws, in units of its own."""
    space = working_space(as_law([stats.norm(), stats.norm()]), np.random.default_rng(0))
    wide = Elliptical(np.ones(2), 2 * np.eye(2))
    history = History()
    with open_run(integrand, seed=seed) as run:
        sampler = Sampler(run, space, True, check)
        for number, counts in enumerate(([30, 70], [60, 20])):
            stage = sampler.draw(f"stage {number}", (space, wide), np.array(counts))
            history.add(history.measured(stage))
    return history, space, wide


def test_the_density_of_all_draws_is_that_of_the_mixture_of_stages():
    history, space, wide = drawn(lambda x: x[:, 0])
    densities = np.exp([c.log_density(history.u) for c in (space, wide)])
    np.testing.assert_allclose(np.exp(history.log_h), np.array([90, 90]) / 180 @ densities)
    assert len(history) == 180


def test_densities_that_are_known_are_not_asked_again():
    history, space, wide = drawn(lambda x: x[:, 0])
    asked = []

    @dataclass(frozen=True)
    class Counted:
        def log_density(self, u):
            asked.append(len(u))
            return wide.log_density(u)

    mine, other = (space, Counted()), (wide, Counted())

    def check():
        for densities in (mine, other):
            found = history.log_densities(densities)
            np.testing.assert_allclose(found, log_densities((densities[0], wide), history.u))

    check()
    assert asked == [180] * 2
    check()
    assert len(asked) == 2
    stage = history.stages[0]
    history.add(replace(stage, mixture=Mixture(stage.mixture.weights, mine)))
    check()
    # of the new stage itself, its own are known
    assert asked[2:] == [100]


def test_values_that_outgrow_their_units_change_those_of_all_stages():
    def growing(x):
        size = 1.0 if len(calls) < 1 else 1e60
        calls.append(len(x))
        return size * (1 + x[:, :1])

    calls = []
    history, *_ = drawn(growing)
    assert (history.units.unit > 1e50).all()
    assert len(calls) > 1
    first, second = history.stages
    np.testing.assert_array_equal(history.units.original(first.values)[:64], 1 + first.x[:64, :1])
    np.testing.assert_allclose(history.units.original(second.values), 1e60 * (1 + second.x[:, :1]))


def test_a_check_sees_the_first_batch_before_most_are_called():
    calls = []

    def integrand(x):
        calls.append(len(x))
        return x

    def refuse(count, scalar):
        raise ValueError(f"got {count} {scalar}")

    with pytest.raises(ValueError, match="got 2 False"):
        drawn(integrand, refuse)
    # the second may be on its way
    assert len(calls) <= 2


def test_stages_of_different_width_are_refused():
    calls = []

    def integrand(x):
        calls.append(len(x))
        return np.ones((len(x), 1 if sum(calls) <= 100 else 2))

    with pytest.raises(smw.ModelError, match="returned 1 and 2 values per input"):
        drawn(integrand)


def test_counts_are_multiples_none_zero_and_sum_up():
    counts = split(103, np.array([0.9, 0.1, 0.0]), 5)
    assert counts.tolist() == [80, 15, 5]
    with pytest.raises(ValueError, match="too few for 3"):
        split(14, np.ones(3), 5)


def test_equal_draws_are_worth_their_number_and_a_single_one_counts_once():
    assert effective_draws(np.array([[1.0, 0.0], [-1.0, 7.0]])).tolist() == [2.0, 1.0]
