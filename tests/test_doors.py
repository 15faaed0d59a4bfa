"""What every public function does at its door: paths and names are refused before any work."""

import inspect

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights import weights

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
    "particle_filter": lambda **k: smw.particle_filter(level(), Y, 10, **k),
    "paris": lambda **k: smw.paris(level(), Y, SUM, 10, **k),
    "particle_gibbs": lambda **k: smw.particle_gibbs(level(), Y, 10, 20, **k),
    "recommend_particles": lambda **k: smw.recommend_particles(level(), Y, SUM, 9_000, **k),
    "score": lambda **k: smw.score(level(), Y, None, 10, 20, **k),
    "observed_information": lambda **k: smw.observed_information(level(), Y, None, 10, 20, **k),
    "constraint_probability": lambda **k: smw.constraint_probability(np.zeros(9), never, 30, **k),
    "sliced_wasserstein": lambda **k: smw.sliced_wasserstein(
        CLOUD, CLOUD + 1, 20, directions="uniform", control_variates=(never, 0.0), **k
    ),
    "sliced_wasserstein_matrix": lambda **k: smw.sliced_wasserstein_matrix(
        [CLOUD, CLOUD + 1], 20, control_variates=(never, 0.0), **k
    ),
    "sliced_two_sample": lambda **k: smw.sliced_two_sample(
        np.eye(12), CLOUD.sum() + np.eye(12), **k
    ),
    "sliced_test": lambda **k: smw.sliced_test(CLOUD, CLOUD + 1, 20, permutations=9, **k),
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


def hidden(shape):
    """An array one of whose entries is masked."""
    array = np.ma.masked_array(np.ones(shape))
    array[(0,) * array.ndim] = np.ma.masked
    return array


POINTS = {
    "text": [["1", "2", "3", "4"]],
    "complex": np.full((4, 2), 1 + 1j),
    "masked": hidden((4, 2)),
    "none": object(),
}
VECTORS = {
    "text": ["1", "2", "3", "4"],
    "complex": [1 + 1j, 1, 1, 1],
    "masked": hidden(4),
    "nan": [np.nan, 1, 1, 1],
    "objects": [object()] * 4,
}
COUNTS = {"text": "20", "half": 20.5, "flag": True, "nan": np.nan, "below": -1, "huge": 10**12,
          "list": [20], "complex": 20 + 0j}  # fmt: skip
FLAGS = {"text": "no", "number": 2, "array": np.zeros(2)}
NUMBERS = {"text": "1", "complex": 1j, "nan": np.nan, "inf": np.inf}
ONES, SQUARE = np.ones(4), np.arange(8.0).reshape(4, 2)
# what is called, with what is right, and what is wrong for which argument
ASKED = [
    (smw.resample, {"weights": ONES, "seed": 1}, {"weights": VECTORS, "n": COUNTS}),
    (
        smw.conditional_resample,
        {"weights": ONES, "slot": 0, "frozen": 0, "seed": 1},
        {"weights": VECTORS, "n": COUNTS, "slot": COUNTS, "frozen": COUNTS},
    ),
    (
        smw.weighted_rejection,
        {"logits": ONES, "constraint": never},
        {"logits": VECTORS, "constraint": {"masked": hidden(4) > 0}, "batch": FLAGS,
         "n_accepts": COUNTS, "max_evaluations": COUNTS},
    ),
    (
        smw.constraint_probability,
        {"logits": ONES, "constraint": never, "budget": 50},
        {"logits": VECTORS, "constraint": {"masked": hidden(4) > 0}, "batch": FLAGS,
         "budget": COUNTS, "n_accepts": COUNTS},
    ),
    (smw.Estimate, {"value": ONES, "covariance": np.eye(4)}, {"value": VECTORS | {"nan": np.inf}}),
    (smw.Estimate, {"value": 1.0, "covariance": 1.0}, {"covariance": NUMBERS | {"nan": -1.0}}),
    (
        smw.sliced_wasserstein,
        {"x": SQUARE, "y": SQUARE + 1, "budget": 10, "seed": 1},
        {"x": POINTS, "y": POINTS, "weights_x": VECTORS, "budget": COUNTS, "root": FLAGS,
         "p": NUMBERS},
    ),
    (
        smw.sliced_gradient,
        {"x": SQUARE, "y": SQUARE + 1, "budget": 10, "seed": 1},
        {"x": POINTS, "y": POINTS, "weights_y": VECTORS, "budget": COUNTS, "root": FLAGS,
         "p": NUMBERS},
    ),
    (
        smw.sliced_wasserstein_gaussian,
        {"mean_x": [0, 0], "cov_x": np.eye(2), "mean_y": [1, 0], "cov_y": np.eye(2)},
        {"mean_x": VECTORS, "cov_x": POINTS, "root": FLAGS},
    ),
    (
        smw.importance_sampling,
        {"integrand": never, "law": LAW, "proposal": LAW, "budget": 500},
        {"budget": COUNTS, "vectorized": FLAGS},
    ),
    (
        smw.adaptive_importance_sampling,
        {"integrand": never, "law": LAW, "budget": 2_000},
        {"budget": COUNTS, "vectorized": FLAGS},
    ),
    (
        smw.failure_probability,
        {"limit_state": never, "law": LAW, "budget": 2_000},
        {"budget": COUNTS, "vectorized": FLAGS, "threshold": NUMBERS | {"masked": hidden(3)}},
    ),
    (
        smw.sobol_indices,
        {"model": never, "law": LAW, "budget": 2_000},
        {"budget": COUNTS, "vectorized": FLAGS},
    ),
    (weights.effective_sample_size, {"log_w": ONES}, {"log_w": VECTORS}),
    (weights.log_mean_exp, {"log_w": ONES}, {"log_w": VECTORS}),
    (
        smw.particle_filter,
        {"model": level(), "y": Y, "n_particles": 10},
        {
            "n_particles": COUNTS,
            "repeats": COUNTS,
            "store": FLAGS,
            "ess_threshold": NUMBERS,
            "theta": VECTORS,
        },
    ),
    (
        smw.markov_score_climbing,
        {"target": never, "start": [0.5, 0.0], "n_particles": 10, "budget": 40},
        {"start": VECTORS, "n_particles": COUNTS, "budget": COUNTS, "chains": COUNTS},
    ),
    (
        smw.particle_marginal_metropolis_hastings,
        {"model": level(), "y": Y, "log_prior": never, "n_particles": 10, "n_draws": 20},
        {"n_particles": COUNTS, "warm_up": COUNTS, "chains": COUNTS},
    ),
    (
        smw.sliced_gradient_flow,
        {"x0": SQUARE, "y": SQUARE + 1, "steps": 20, "callback": never},
        {"y": POINTS, "steps": COUNTS, "step_size": NUMBERS, "budget": COUNTS, "root": FLAGS},
    ),
    (
        smw.sliced_wasserstein_matrix,
        {"clouds": [SQUARE, SQUARE + 1], "budget": 20},
        {"budget": COUNTS, "root": FLAGS, "p": NUMBERS},
    ),
    (smw.sliced_test, {"x": SQUARE, "y": SQUARE + 1, "budget": 20}, {"budget": COUNTS}),
    (smw.Precision, {"relative": 0.1}, {"relative": NUMBERS, "level": NUMBERS}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "right", "argument", "wrong"),
    [
        pytest.param(f, right, argument, wrong, id=f"{f.__name__}-{argument}-{kind}")
        for f, right, table in ASKED
        for argument, kinds in table.items()
        for kind, wrong in kinds.items()
    ],
)
def test_what_is_wrong_is_named_at_the_door(function, right, argument, wrong):
    name = {"log_w": "log weights"}.get(argument, argument)
    with pytest.raises((TypeError, ValueError), match=rf"(?s){name}\b.*expected"):
        function(**(right | {argument: wrong}))
