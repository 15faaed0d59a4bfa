"""Models compile, or say why not; samplers, densities and bounds agree."""

import functools
import math

import numpy as np
import pytest
import scipy.stats

import smcweights as smw

from .test_models import READY

LOG_ROOT = 0.5 * math.log(2 * math.pi)


# functions that are made once are compiled once
WALK = {
    "initial_sample": lambda rng, theta: rng.standard_normal(),
    "initial_logpdf": lambda x, theta: -0.5 * x**2 - LOG_ROOT,
    "transition_sample": lambda rng, x_prev, t, theta: x_prev + rng.standard_normal(),
    "transition_logpdf": lambda x_prev, x, t, theta: -0.5 * (x - x_prev) ** 2 - LOG_ROOT,
    "observation_logpdf": lambda y, x, t, theta: -0.5 * (y - x) ** 2 - LOG_ROOT,
}


def walk(**changes):
    return smw.StateSpaceModel(**{**WALK, **changes})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition_sample": lambda rng, x_prev, t, theta: x_prev + {}[t]}, "transition_sample"),
        ({"observation_logpdf": lambda y, x, t, theta: [y - x]}, "observation_logpdf"),
        ({"initial_sample": lambda rng, theta: rng.choice([1.0, 2.0])}, "initial_sample"),
    ],
    ids=["dict", "list", "choice"],
)
def test_what_numba_cannot_compile_is_named(change, message):
    with pytest.raises(smw.ModelError, match=f"^{message}: "):
        smw.particle_filter(walk(**change), [0.0, 1.0], 10, seed=1)


def square(x):
    return x * x


def reading(thing):
    return lambda y, x, t, theta: -thing[0] * (y - x) ** 2


TABLE = {0: 1.0}
REMEDIES = {
    "helper": (
        {"observation_logpdf": lambda y, x, t, theta: -square(y - x)},
        r"observation_logpdf: .* \(decorate square with numba\.njit\)",
    ),
    "list": ({"observation_logpdf": reading([0.5])}, "reads a list: use a tuple or np.asarray"),
    "dict": (
        {"observation_logpdf": lambda y, x, t, theta: -TABLE[0] * (y - x) ** 2},
        "TABLE is a dict: use a tuple",
    ),
    "scipy": (
        {"observation_logpdf": lambda y, x, t, theta: scipy.stats.norm.logpdf(y, x)},
        "calls scipy: write the density out",
    ),
    "choice": (
        {"transition_sample": lambda rng, x_prev, t, theta: x_prev + rng.choice(2)},
        "instead of rng.choice use np.searchsorted",
    ),
}


@pytest.mark.parametrize("name", REMEDIES)
def test_what_numba_cannot_compile_comes_with_a_remedy(name):
    change, message = REMEDIES[name]
    with pytest.raises(smw.ModelError, match=message):
        smw.particle_filter(walk(**change), [0.0, 1.0], 10, seed=1)


def test_the_remedies_compile():
    import numba

    squared = numba.njit(square)
    p = np.array([0.2, 0.8])
    model = walk(
        observation_logpdf=lambda y, x, t, theta: -0.5 * squared(y - x) - LOG_ROOT,
        initial_sample=lambda rng, theta: np.searchsorted(np.cumsum(p), rng.random()) + 0.0,
        initial_logpdf=lambda x, theta: np.log(p[int(x)]) if x in (0.0, 1.0) else -np.inf,
    )
    smw.check_model(model, [0.0, 1.0], n_draws=2_000, seed=1)


def test_observations_of_the_wrong_shape_are_told_as_such():
    model, y = READY["scalar"](), np.zeros(3)
    match = r"y_t is an array, since .* are floats y has shape \(T,\), not \(T, 1\)"
    with pytest.raises(smw.ModelError, match=match):
        smw.particle_filter(model, y[:, None], 10, seed=1)
    with pytest.raises(smw.ModelError, match=match):
        smw.OnlineFilter(model, 10, seed=1).update([1.0, 2.0])
    with pytest.raises(smw.ModelError, match=r"indexes a float: .* y has shape \(T, p\)"):
        smw.particle_filter(READY["matrix"](), y, 10, seed=1)


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
    with pytest.raises(smw.ModelError, match=r"transition_logpdf_bound: exceeded .* at time 1"):
        smw.paris(low, [0.0, 0.1], smw.functionals.sum_of_states, 50, seed=1)
    nowhere = walk(transition_logpdf=lambda x_prev, x, t, theta: -np.inf)
    with pytest.raises(smw.ModelError, match="sampler and density disagree"):
        smw.paris(nowhere, [0.0, 0.1], smw.functionals.sum_of_states, 50, seed=1, backward="exact")


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


@pytest.mark.parametrize("name", WRONG)
def test_transitions_that_are_not_their_density_are_found(name):
    with pytest.raises(smw.ModelError, match=r"transition_logpdf from state .* disagree"):
        smw.check_model(walk(**WRONG[name]), np.zeros(20), seed=1)


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
    "an atom": {
        "transition_sample": lambda rng, x_prev, t, theta: (
            x_prev if rng.random() < 0.5 else rng.standard_normal()
        ),
        "transition_logpdf": lambda x_prev, x, t, theta: (
            np.log(0.5) if x == x_prev else np.log(0.5) - 0.5 * x**2 - LOG_ROOT
        ),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_other_laws_than_normal_ones_pass(name):
    """Some hundred comparisons at six standard errors: one false alarm in 10^6 runs."""
    for seed in range(3):
        smw.check_model(walk(**RIGHT[name]), np.ones(12), n_draws=4_000, seed=seed)


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


PAIR = {
    "initial_sample": lambda rng, theta: rng.standard_normal(2),
    "initial_logpdf": lambda x, theta: -0.5 * (x * x).sum(),
    "transition_sample": lambda rng, x_prev, t, theta: x_prev + rng.standard_normal(2),
    "transition_logpdf": lambda x_prev, x, t, theta: -0.5 * ((x - x_prev) ** 2).sum(),
    "observation_logpdf": lambda y, x, t, theta: -0.5 * (y - x[0]) ** 2,
}


def pair(**changes):
    return smw.StateSpaceModel(**{**PAIR, **changes}, state_dim=2)


WEATHER = np.arange(5.0)
BROKEN = {
    "a parameter too many": (
        walk(theta=[1.0], transition_sample=lambda rng, x_prev, t, theta: x_prev + theta[1]),
        "transition_sample: IndexError",
    ),
    "no parameters": (
        walk(observation_logpdf=lambda y, x, t, theta: -0.5 * (y - x) ** 2 / theta[0]),
        "observation_logpdf: IndexError",
    ),
    "a component too many": (
        pair(observation_logpdf=lambda y, x, t, theta: -0.5 * (y - x[2]) ** 2),
        "observation_logpdf: IndexError",
    ),
    "a table that ends too soon": (
        walk(transition_logpdf=lambda x_prev, x, t, theta: -0.5 * (x - WEATHER[t]) ** 2),
        "transition_logpdf: IndexError",
    ),
    "a state that is too long": (
        pair(transition_sample=lambda rng, x_prev, t, theta: rng.standard_normal(3)),
        r"transition_sample: returned shape \(3,\); expected shape \(2,\)",
    ),
    "arrays that don't fit": (
        pair(transition_sample=lambda rng, x_prev, t, theta: x_prev + rng.standard_normal(3)),
        "transition_sample: ValueError",
    ),
    "a negative scale": (
        walk(transition_sample=lambda rng, x_prev, t, theta: rng.normal(x_prev, -1.0)),
        "transition_sample: ValueError .*scale < 0",
    ),
    "a generator of its own": (
        walk(transition_sample=lambda rng, x_prev, t, theta: x_prev + np.random.normal()),  # noqa: NPY002
        "transition_sample: draws from a global generator",
    ),
    "no number": (
        walk(initial_sample=lambda rng, theta: np.nan),
        "initial_sample: returned nan at time 0",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_compiled_code_would_not_notice_is_told_at_the_door(name):
    model, message = BROKEN[name]
    for call in (smw.check_model, lambda model, y: smw.particle_filter(model, y, 50, seed=1)):
        with pytest.raises(smw.ModelError, match=f"^{message}"):
            call(model, np.zeros(8))


def test_functions_that_python_cannot_run_still_pass():
    import numba
    from numba.extending import overload

    def only_compiled(x):
        raise NotImplementedError

    overload(only_compiled)(lambda x: lambda x: -0.5 * x * x)
    # Python's math refuses the logarithm of zero, compiled code has -inf
    model = walk(
        observation_logpdf=numba.njit(
            lambda y, x, t, theta: only_compiled(y - x) + 0.0 * math.log(2.0)
        ),
        transition_logpdf_bound=lambda t, theta: math.log(1.0 / (t + 1.0)) - math.log(0.0 * t),
    )
    found = smw.particle_filter(model, np.zeros(4), 200, seed=1)
    assert np.isfinite(found.log_likelihood.value)


def test_states_that_become_no_numbers_are_told_with_their_time():
    y = np.where(np.arange(20) < 17, 0.5, np.nan)
    for number in (np.nan, np.inf):
        # not at the first and last times, which are tried at the door
        model = walk(
            transition_sample=lambda rng, x_prev, t, theta, number=number: (
                number if t == 18 else 0.5 * x_prev + rng.standard_normal()
            ),
            observation_logpdf=lambda y, x, t, theta: 0.0,
        )
        match = f"transition_sample .*returned .{number}. at time 18"
        for call in (
            lambda model: smw.particle_filter(model, y, 50, seed=1),
            lambda model: smw.parisian_particle_gibbs(
                model, y, smw.functionals.sum_of_states, 10, 10, seed=1
            ),
        ):
            with pytest.raises(smw.ModelError, match=match):
                call(model)


def test_parameters_outside_of_their_domain_are_named():
    with pytest.raises(ValueError, match=r"theta\[0\]: got 1.5; .* 0 and 1"):
        walk(theta=[1.5], transforms=["logit"])


def test_arguments_are_checked_at_the_door():
    with pytest.raises(TypeError, match=r"initial_sample: expected a function of \(rng, theta\)"):
        walk(initial_sample=lambda rng: 0.0)
    with pytest.raises(TypeError, match="observation_logpdf: got int"):
        walk(observation_logpdf=3)
    partial = functools.partial(lambda scale, y, x, t, theta: -(((y - x) / scale) ** 2), 2.0)
    with pytest.raises(TypeError, match=r"observation_logpdf: got a partial, which numba"):
        walk(observation_logpdf=partial)
    with pytest.raises(TypeError, match=r"functional: got a partial, which numba"):
        smw.paris(walk(), [0.0], functools.partial(lambda s, x_prev, x, t: s * x, 2.0), 10)
    # simulation is plain Python
    told = walk(observation_sample=functools.partial(lambda s, rng, x, t, theta: s * x, 2.0))
    assert told.simulate(2, seed=1)[1].shape == (2,)
    with pytest.raises(ValueError, match="theta_names: got"):
        walk(theta=[1.0], theta_names=["a", "b"])
    with pytest.raises(ValueError, match="transforms: got"):
        walk(theta=[1.0], transforms=["square"])
    with pytest.raises(ValueError, match="no observation_sample"):
        walk().simulate(3, seed=1)
    model = READY["scalar"]()
    with pytest.raises(ValueError, match="theta: got shape"):
        model.with_theta([1.0])


def test_filters_do_not_wait_for_what_goes_backward(monkeypatch):
    from smcweights.statespace import loops, model

    ours, made = model.jitted, []
    monkeypatch.setattr(
        model, "jitted", lambda factory, *rest: made.append(factory) or ours(factory, *rest)
    )
    bounded = walk(transition_logpdf_bound=lambda t, theta: 0.0)
    smw.particle_filter(bounded, [0.0, 1.0], 400, seed=1)
    assert loops.bootstrap_move in made and loops.transition_rejection not in made
    smw.paris(bounded, [0.0, 1.0], smw.functionals.sum_of_states, 400, seed=1)
    assert loops.transition_rejection in made
