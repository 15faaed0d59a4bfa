"""What every public function does at its door: paths and names are refused before any work."""

import inspect

import numpy as np
import pytest
from scipy import stats

import smcweights as smw

LAW = [stats.norm(), stats.norm()]
CLOUD = np.arange(12.0).reshape(6, 2)


def never(*_):
    raise AssertionError("called")


def level():
    return smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)


def coin():
    return smw.languages.markov_chain([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]])


Y = np.array([0.1, 0.5, -0.2])
SUM = smw.functionals.sum_of_states
CALLS = {
    "adaptive_importance_sampling": lambda **k: smw.adaptive_importance_sampling(
        never, LAW, 2_000, **k
    ),
    "importance_sampling": lambda **k: smw.importance_sampling(never, LAW, LAW, 500, **k),
    "failure_probability": lambda **k: smw.failure_probability(never, LAW, 2_000, **k),
    "sobol_indices": lambda **k: smw.sobol_indices(never, LAW, 2_000, **k),
    "parisian_particle_gibbs": lambda **k: smw.parisian_particle_gibbs(
        level(), Y, SUM, 10, 20, **k
    ),
    "unbiased_smoothing": lambda **k: smw.unbiased_smoothing(level(), Y, SUM, 10, 4, **k),
    "maximum_likelihood": lambda **k: smw.maximum_likelihood(level(), Y, None, 10, 20, **k),
    "particle_marginal_metropolis_hastings": lambda **k: smw.particle_marginal_metropolis_hastings(
        level(), Y, lambda theta: 0.0, 10, 20, **k
    ),
    "markov_score_climbing": lambda **k: smw.markov_score_climbing(
        lambda z: -0.5 * z[0] ** 2, [0.5, 0.0], 10, 40, **k
    ),
    "constrained_sequences": lambda **k: smw.constrained_sequences(coin(), never, 20, 4, **k),
    "sliced_gradient_flow": lambda **k: smw.sliced_gradient_flow(
        CLOUD, CLOUD + 1, 20, callback=never, **k
    ),
}


def taking(argument):
    functions = {name: getattr(smw, name) for name in smw.__all__}
    return {
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and argument in inspect.signature(function).parameters
    }


def test_no_function_with_a_checkpoint_is_left_out():
    assert taking("checkpoint") == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_first_call(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="checkpoint: there is no folder"):
        CALLS[name](seed=1, checkpoint=tmp_path / "none" / "run.npz")
    with pytest.raises(IsADirectoryError, match=r"checkpoint: .* is a folder"):
        CALLS[name](seed=1, checkpoint=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(taking("names") & set(CALLS)))
def test_names_that_are_none_are_refused_before_the_first_call(name, tmp_path):
    for names, words in ((["a", "a"], "names: 'a' occurs twice"), (3, "names: got 3")):
        with pytest.raises((TypeError, ValueError), match=words):
            CALLS[name](seed=1, names=names)
