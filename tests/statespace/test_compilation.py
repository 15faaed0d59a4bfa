"""What numba can't compile is told with a remedy; what is compiled is compiled once."""

import re

import numba
import numpy as np
import pytest
import scipy.stats

import smcweights as smw
from smcweights.statespace import compilation, kernels, loops

from .test_model import LOG_ROOT, walk
from .test_models import READY


@pytest.mark.slow
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
    "where beside a number": (
        {
            "observation_logpdf": lambda y, x, t, theta: (
                np.where(x > 0, -1.0, -2.0) if x < 9 else -3.0
            )
        },
        r"write float\(np\.where",
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name != "helper" else ()) for name in REMEDIES],
)
def test_what_numba_cannot_compile_comes_with_a_remedy(name):
    change, message = REMEDIES[name]
    with pytest.raises(smw.ModelError, match=message):
        smw.particle_filter(walk(**change), [0.0, 1.0], 10, seed=1)


@pytest.mark.slow
def test_the_remedies_compile():
    squared = numba.njit(square)
    p = np.array([0.2, 0.8])
    model = walk(
        observation_logpdf=lambda y, x, t, theta: -0.5 * squared(y - x) - LOG_ROOT,
        initial_sample=lambda rng, theta: np.searchsorted(np.cumsum(p), rng.random()) + 0.0,
        initial_logpdf=lambda x, theta: np.log(p[int(x)]) if x in (0.0, 1.0) else -np.inf,
    )
    smw.check_model(model, [0.0, 1.0], n_draws=2_000, seed=1)


def either(test, yes, no):
    """What np.where does with numbers, as a branch."""
    return yes if test else no


def where(test, yes, no):
    return np.where(test, yes, no)


def with_branches(choose):
    def normal(z, scale):
        return -0.5 * (z / scale) ** 2 - np.log(scale) - LOG_ROOT

    normal, choose = numba.njit(normal), numba.njit(choose)
    model = smw.StateSpaceModel(
        lambda rng, theta: choose(rng.random() < 0.5, -1.0, 1.0),
        lambda x, theta: choose(x == 1.0, -np.log(2.0), -np.log(2.0)),
        lambda rng, x_prev, t, theta: choose(
            x_prev > 0, x_prev + rng.standard_normal(), rng.standard_normal()
        ),
        lambda x_prev, x, t, theta: choose(x_prev > 0, normal(x - x_prev, 1.0), normal(x, 1.0)),
        lambda y, x, t, theta: choose(x > 0, normal(y - x, 1.0), normal(y - x, 2.0)),
        lambda t, theta: choose(t > 0, normal(0.0, 1.0), 0.0),
    )
    guided = smw.Proposal(
        lambda rng, x_prev, y, t, theta: choose(t > 0, rng.standard_normal(), 0.0),
        lambda x_prev, x, y, t, theta: choose(t > 0, normal(x, 1.0), 0.0),
        log_lookahead=lambda x, y, t, theta: choose(x > 0, -0.1, 0.0),
    )
    y = np.array([0.3, -0.2, 1.5])
    found = smw.particle_filter(model, y, 50, proposal=guided, seed=1)
    one = smw.paris(
        model, y, lambda x_prev, x, t: choose(x > 0, x, 0.0), 50,
        initial_functional=lambda x: choose(x > 0, x, 0.0), seed=1,
    )  # fmt: skip
    two = smw.paris(
        model, y, lambda x_prev, x, t: (choose(x > 0, x, 0.0), choose(x > 0, 1.0, 0.0)), 50, seed=1
    )
    return found.log_likelihood.value, one.value, *two.value


@pytest.mark.slow
def test_what_np_where_makes_of_numbers_is_taken_as_a_number():
    assert with_branches(where) == with_branches(either)


FIRST_SEEN = numba.njit(lambda y, x, t, theta: -0.5 * (y[0] - x) ** 2)


@pytest.mark.slow
def test_observations_of_the_wrong_shape_are_told_as_such():
    model, y = walk(), np.zeros(3)
    match = r"y_t is an array, since y has shape \(T, p\): .* takes y of shape \(T,\)"
    with pytest.raises(smw.ModelError, match=match):
        smw.particle_filter(model, y[:, None], 10, seed=1)
    with pytest.raises(smw.ModelError, match=match):
        smw.OnlineFilter(model, 10, seed=1).update([1.0, 2.0])
    with pytest.raises(smw.ModelError, match=r"indexes a float: .* y has shape \(T, p\)"):
        smw.particle_filter(walk(observation_logpdf=FIRST_SEEN), y, 10, seed=1)


@pytest.mark.slow
def test_compiled_loops_of_different_models_never_share_a_name():
    """Numba counts its names from 1 in every process: what it kept on disk would take over."""
    made = [walk(transition_logpdf_bound=lambda t, theta: 0.0)]
    made += [READY[name]() for name in ("scalar", "volatility", "finite", "growth")]
    made.append(
        smw.models.finite_hmm(np.full(3, 1 / 3), np.full((3, 3), 1 / 3), [0, 1, 2], [1] * 3)
    )
    owners: dict[str, int] = {}
    for k, model in enumerate(made):
        for loop in (
            compilation.jitted(
                loops.transition_bound, (), (model.transition_logpdf_bound,),
                kernels.BOUND_SIGNATURE,
            ),
            compilation.jitted(
                loops.transition_pair, (loops.scalar_row,), (model.transition_logpdf,),
                kernels.PAIR_SIGNATURE,
            ),
        ):  # fmt: skip
            (found,) = loop.overloads.values()
            counted = found.fndesc.llvm_func_name
            name = re.sub(r"B\d+v\d+", "", counted)
            assert name != counted
            assert owners.setdefault(name, k) == k


@pytest.mark.slow
def test_filters_do_not_wait_for_what_goes_backward(monkeypatch):
    ours, made = compilation.jitted, []
    monkeypatch.setattr(
        compilation, "jitted", lambda factory, *rest: made.append(factory) or ours(factory, *rest)
    )
    bounded = walk(transition_logpdf_bound=lambda t, theta: 0.0)
    smw.particle_filter(bounded, [0.0, 1.0], 400, seed=1)
    assert loops.bootstrap_move in made and loops.transition_rejection not in made
    smw.paris(bounded, [0.0, 1.0], smw.functionals.sum_of_states, 400, seed=1)
    assert loops.transition_rejection in made


SPREAD = 1.0


@numba.njit
def standardised(x):
    return x / SPREAD


@numba.njit
def density_in_numba(y, x, t, theta):
    return -0.5 * ((y - x) / SPREAD) ** 2 - np.log(SPREAD)


def density_by_helper(y, x, t, theta):
    return -0.5 * standardised(y - x) ** 2 - np.log(SPREAD)


def density(y, x, t, theta):
    return -0.5 * ((y - x) / SPREAD) ** 2 - np.log(SPREAD)


THERE = walk(observation_logpdf=lambda y, x, t, theta: -0.02 * (y - x) ** 2 - np.log(5.0))


@pytest.mark.slow
@pytest.mark.parametrize("observed", [density, density_in_numba, density_by_helper])
def test_a_changed_global_is_seen_by_the_next_filter(monkeypatch, observed):
    model = walk(observation_logpdf=observed)

    def log_likelihood():
        return smw.particle_filter(model, [0.0, 3.0], 50, seed=1).log_likelihood.value

    before = log_likelihood()
    monkeypatch.setitem(globals(), "SPREAD", 5.0)
    truth = smw.particle_filter(THERE, [0.0, 3.0], 50, seed=1).log_likelihood.value
    assert log_likelihood() == pytest.approx(truth, rel=1e-12)
    monkeypatch.setitem(globals(), "SPREAD", 1.0)
    assert log_likelihood() == before != truth
