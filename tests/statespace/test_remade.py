"""Models of the package go through any pickle, and come back with the functions they had."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import smcweights as smw
from smcweights import models

RETURNS = np.array([0.3, -0.2, np.nan, 0.1])
TWO = np.eye(2)
READY = {
    "scalars": models.linear_gaussian(0.9, 1.0, 1.0, 1.0),
    "matrices": models.linear_gaussian(0.5 * TWO, TWO, TWO, TWO),
    "singular": models.linear_gaussian(
        TWO, np.diag([1.0, 0.0]), np.ones((1, 2)), TWO[:1, :1], initial_covariance=TWO
    ),
    "diffuse": models.linear_gaussian(
        TWO, TWO, np.ones((1, 2)), TWO[:1, :1], initial_diffuse=[True, True]
    ),
    "finite": models.finite_hmm([0.5, 0.5], [[0.9, 0.1], [0.3, 0.7]], [0.0, 2.0], [1.0, 1.0]),
    "volatility": models.stochastic_volatility(0.9, 0.3),
    "leverage": models.stochastic_volatility(0.9, 0.3, leverage=-0.5, returns=RETURNS),
    "growth": models.nonlinear_growth(),
    "population": models.theta_logistic(0.1, 0.1, 0.1, 0.1, 0.1),
    "ring": models.lorenz96(5),
    "bearings": models.bearings_only(),
    "structural": models.structural(),
    "autoregression": models.autoregression([0.5, 0.1], 1.0, observation_scale=1.0),
}


def functions(model):
    exact = () if model.exact is None else (model.exact.system,)
    return [*(value for value in vars(model).values() if callable(value)), *exact]


@pytest.mark.parametrize("name", READY)
def test_models_come_back_with_their_functions(name):
    model = READY[name].with_theta(READY[name].theta)
    again = pickle.loads(pickle.dumps(model))
    assert repr(again) == repr(model) and again.theta.tobytes() == model.theta.tobytes()
    for one, other in zip(functions(model), functions(again), strict=True):
        # of those that hold a series there are as many as there are series
        same = one is other or getattr(one, "func", one) is getattr(other, "func", other)
        assert same or (name == "leverage" and one.__code__ is other.__code__)
    assert len(pickle.dumps(model)) < 2_000


def test_another_process_takes_them_up():
    model = READY["matrices"]
    code = (
        "import pickle, sys\n"
        "models = pickle.load(sys.stdin.buffer)\n"
        "drawn = [model.simulate(3, seed=1)[0].tobytes() for model in models]\n"
        "sys.stdout.buffer.write(b''.join(drawn))"
    )
    sent = [model, READY["growth"], READY["finite"]]
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(sent), capture_output=True
    )
    assert done.stdout == b"".join(one.simulate(3, seed=1)[0].tobytes() for one in sent)


def test_models_of_ones_own_are_pickled_by_name_and_copied_as_they_are():
    own = smw.StateSpaceModel(_first, None, _move, None, _seen, theta=[0.5])
    assert functions(pickle.loads(pickle.dumps(own))) == [_first, _move, _seen]
    nameless = smw.StateSpaceModel(_first, None, _move, None, lambda y, x, t, theta: 0.0)
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(nameless)
    assert functions(copy.deepcopy(nameless)) == functions(nameless)


def _first(rng, theta):
    return rng.standard_normal()


def _move(rng, x_prev, t, theta):
    return theta[0] * x_prev + rng.standard_normal()


def _seen(y, x, t, theta):
    return -0.5 * (y - x) ** 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_results_about_a_model_go_through_a_pickle():
    model = READY["scalars"]
    _, y = model.simulate(20, seed=1)
    for result in (
        smw.particle_filter(model, y, 1_000, seed=1),
        smw.kalman_filter(model, y),
        smw.kalman_smoother(model, y),
    ):
        assert repr(pickle.loads(pickle.dumps(result))) == repr(result)
