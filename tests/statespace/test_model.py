"""Models compile, or say why not; samplers, densities and bounds agree."""

import warnings

import numpy as np
import pytest

import smcweights as smw

READY = {
    "scalar": lambda: smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0),
    "matrix": lambda: smw.models.linear_gaussian(
        [[0.8, 0.1], [-0.2, 0.7]], [[1.0, 0.3], [0.3, 0.5]], np.eye(2), np.eye(2)
    ),
    "volatility": lambda: smw.models.stochastic_volatility(0.95, 0.25, 0.6),
    "finite": lambda: smw.models.finite_hmm(
        [0.2, 0.8], [[0.9, 0.1], [0.3, 0.7]], [0.0, 2.0], [1.0, 0.5]
    ),
    "growth": smw.models.nonlinear_growth,
    "population": lambda: smw.models.theta_logistic(0.15, 0.12, 0.1, 0.5, 0.3),
    "lorenz96": lambda: smw.models.lorenz96(5),
    "bearings": smw.models.bearings_only,
}


def walk(**changes):
    functions = {
        "initial_sample": lambda rng, theta: rng.standard_normal(),
        "initial_logpdf": lambda x, theta: -0.5 * x**2,
        "transition_sample": lambda rng, x_prev, t, theta: x_prev + rng.standard_normal(),
        "transition_logpdf": lambda x_prev, x, t, theta: -0.5 * (x - x_prev) ** 2,
        "observation_logpdf": lambda y, x, t, theta: -0.5 * (y - x) ** 2,
    }
    return smw.StateSpaceModel(**{**functions, **changes})


@pytest.mark.parametrize("name", READY)
def test_ready_models_agree_with_themselves(name):
    model = READY[name]()
    x, y = model.simulate(30, seed=1)
    assert x.shape[0] == 30 and np.isfinite(x).all() and np.isfinite(y).all()
    smw.check_model(model, y, n_draws=4_000, seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        found = smw.particle_filter(model, y, 500, seed=3)
    inner = np.abs(x - found.means) < 6 * np.sqrt(found.variances) + 0.6
    assert inner.mean() > 0.9


def test_finite_states_are_drawn_by_their_probabilities():
    model = READY["finite"]()
    x, _ = model.simulate(20_000, seed=4)
    leave = (x[1:] == 1.0)[x[:-1] == 0.0]
    assert abs(leave.mean() - 0.1) < 5.5 * np.sqrt(0.09 / leave.size)


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


def test_wrong_densities_are_found():
    with pytest.raises(smw.ModelError, match=r"observation_logpdf.*NaN .* at time 1"):
        smw.particle_filter(
            walk(observation_logpdf=lambda y, x, t, theta: np.log(-1.0) if t == 1 else 0.0),
            [0.0, 1.0, 2.0],
            10,
            seed=1,
        )
    wrong_scale = walk(transition_logpdf=lambda x_prev, x, t, theta: -0.4 * (x - x_prev) ** 2)
    with pytest.raises(smw.ModelError, match="disagree from state"):
        smw.check_model(wrong_scale, [0.0], seed=1)
    low = walk(transition_logpdf_bound=lambda t, theta: -0.1)
    with pytest.raises(smw.ModelError, match="transition_logpdf_bound"):
        smw.check_model(low, [0.0], seed=1)
    with pytest.raises(smw.ModelError, match=r"transition_logpdf_bound: exceeded .* at time 1"):
        smw.paris(low, [0.0, 0.1], smw.functionals.sum_of_states, 50, seed=1)
    nowhere = walk(transition_logpdf=lambda x_prev, x, t, theta: -np.inf)
    with pytest.raises(smw.ModelError, match="sampler and density disagree"):
        smw.paris(nowhere, [0.0, 0.1], smw.functionals.sum_of_states, 50, seed=1, backward="exact")


def test_arguments_are_checked_at_the_door():
    with pytest.raises(TypeError, match=r"initial_sample: expected a function of \(rng, theta\)"):
        walk(initial_sample=lambda rng: 0.0)
    with pytest.raises(TypeError, match="observation_logpdf: got int"):
        walk(observation_logpdf=3)
    with pytest.raises(ValueError, match="theta_names: got"):
        walk(theta=[1.0], theta_names=["a", "b"])
    with pytest.raises(ValueError, match="transforms: got"):
        walk(theta=[1.0], transforms=["square"])
    with pytest.raises(ValueError, match="no observation_sample"):
        walk().simulate(3, seed=1)
    model = READY["scalar"]()
    with pytest.raises(ValueError, match="theta: got shape"):
        model.with_theta([1.0])
    with pytest.raises(ValueError, match="initial_covariance: missing"):
        smw.models.linear_gaussian(1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="transition_covariance: smallest eigenvalue"):
        smw.models.linear_gaussian(np.eye(2) / 2, -np.eye(2), np.eye(2), np.eye(2))
    with pytest.raises(ValueError, match="transition_matrix: expected probabilities"):
        smw.models.finite_hmm([0.5, 0.5], [[0.9, 0.2], [0.5, 0.5]], [0, 1], [1, 1])
    with pytest.raises(ValueError, match=r"persistence: got 1\.5"):
        smw.models.stochastic_volatility(1.5, 0.2)
    with pytest.raises(ValueError, match="leverage: got only one"):
        smw.models.stochastic_volatility(0.9, 0.2, leverage=-0.3)
    with pytest.raises(ValueError, match=r"leverage: got -1\.2"):
        smw.models.stochastic_volatility(0.9, 0.2, leverage=-1.2, returns=[0.0, 1.0])
    with pytest.raises(ValueError, match=r"returns: got shape \(1, 2\)"):
        smw.models.stochastic_volatility(0.9, 0.2, leverage=-0.3, returns=[[0.0, 1.0]])


def test_ready_models_are_kept_on_disk_but_not_a_users():
    from smcweights.statespace import library
    from smcweights.statespace.model import _ours

    assert _ours(library._linear_transition_logpdf)
    assert not _ours(walk().transition_logpdf)
    assert not _ours(READY["matrix"]().transition_logpdf)


def test_compiled_loops_of_different_models_never_share_a_name():
    """Numba counts its names from 1 in every process: what it kept on disk would take over."""
    import re

    from smcweights.statespace.model import compiled

    models = [walk(transition_logpdf_bound=lambda t, theta: 0.0)]
    models += [READY[name]() for name in ("scalar", "volatility", "finite", "growth")]
    owners: dict[str, int] = {}
    for k, model in enumerate(models):
        functions = compiled(model, False)
        for loop in (
            functions.start, functions.move, functions.pair, functions.bound, functions.reject,
        ):  # fmt: skip
            (found,) = loop.overloads.values()
            counted = found.fndesc.llvm_func_name
            name = re.sub(r"B\d+v\d+", "", counted)
            assert name != counted
            assert owners.setdefault(name, k) == k
