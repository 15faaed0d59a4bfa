"""What numba can't compile is told with a remedy; what is compiled is compiled once."""

import re

import numpy as np
import pytest
import scipy.stats

import smcweights as smw
from smcweights.statespace import compilation, kernels, loops

from .test_model import LOG_ROOT, walk
from .test_models import READY


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
