"""Scores and information agree with automatic differentiation of exact likelihoods."""

import math

import jax
import jax.numpy as jnp
import numba
import numpy as np
import pytest
from killed import bits, killed_and_resumed
from scipy.special import stdtrit

import smcweights as smw
from smcweights import _compat
from smcweights.statespace.learning import ascent, likelihood, scores

from .truths import (
    AR,
    AR_Y,
    LINEAR,
    LOG_2_PI,
    THETA,
    THREE,
    Y,
    agrees,
    derivatives,
    kalman,
    scalar_likelihood,
    slopes,
    three_sample,
    walk,
)

pytestmark = pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")


@pytest.mark.parametrize(
    "resampling", ["systematic", pytest.param("stratified", marks=pytest.mark.slow)]
)
def test_score_agrees_with_the_kalman_filter(resampling):
    est = smw.score(LINEAR, Y, THETA, 40, 60, resampling=resampling, seed=1)
    assert est.names == LINEAR.theta_names
    assert agrees(est, slopes()[0])
    # the test sees a sixth of the largest component, and its sign
    assert 7 * est.standard_error[0] < abs(slopes()[0][0])


@pytest.mark.slow
def test_scores_and_information_of_series_add_up():
    """Of three series, one of another length and one all but unseen."""
    blank = np.full(50, np.nan)
    blank[20] = 0.5
    panel = [Y, LINEAR.simulate(30, seed=3)[1], blank]
    exact = [derivatives(scalar_likelihood, THETA, y) for y in panel]
    slope, second = (sum(part) for part in zip(*exact, strict=True))
    est = smw.score(LINEAR, panel, THETA, 40, 100, seed=1)
    assert agrees(est, slope)
    assert 4 * est.standard_error[0] < abs(slope - exact[0][0])[0]
    assert est.diagnostics["update_rate"].shape == (130,)
    assert est.diagnostics["paths"].shape == (8, 130)
    free = [0, 1, 3]
    found = smw.observed_information(LINEAR, panel, THETA, 40, 300, free=free, seed=1)
    assert agrees(found, -second[np.ix_(free, free)][np.tril_indices(3)])
    there = smw.score(LINEAR, panel, THETA, 40, 100, seed=1, executor="threads")
    np.testing.assert_array_equal(there.value, est.value)


def test_a_panel_of_one_is_its_series_and_what_is_wrong_is_named():
    alone, one = (
        smw.score(LINEAR, y, THETA, 40, 20, chains=2, seed=1) for y in (Y, [Y])
    )  # fmt: skip
    np.testing.assert_array_equal(alone.value, one.value)
    with pytest.raises(ValueError, match=r"initial_path: .*; expected None with several series"):
        smw.score(LINEAR, [Y, Y], THETA, 40, 20, initial_path=np.zeros(50))
    with pytest.raises(ValueError, match=r"series 1: y: inf at index \[2\]"):
        smw.score(LINEAR, [Y, np.array([0.0, 1.0, np.inf])], THETA, 40, 20)


@pytest.mark.slow
def test_independent_filters_are_biased_where_chains_are_not():
    free = ["transition_matrix", "transition_covariance", "observation_covariance"]
    truth = slopes()[0][[0, 1, 3]]
    few = {"n_particles": 8, "budget": 150, "free": free, "seed": 2}
    ppg = smw.score(LINEAR, Y, THETA, **few)
    paris = smw.score(LINEAR, Y, THETA, **few, method="paris")
    assert agrees(ppg, truth)
    assert (np.abs(paris.value - truth) > 10 * paris.standard_error).all()
    assert paris.cautions[-1].code == "bias"


def without_bound(model):
    names = ["initial_sample", "initial_logpdf", "transition_sample", "transition_logpdf",
             "observation_logpdf"]  # fmt: skip
    return smw.StateSpaceModel(
        *(getattr(model, name) for name in names), theta=model.theta, transforms=model.transforms
    )


@pytest.mark.slow
@pytest.mark.parametrize("backward", ["mcmc", "exact"])
def test_score_without_a_bound(backward):
    est = smw.score(without_bound(LINEAR), Y, THETA, 40, 60, backward=backward, seed=3)
    assert est.names[0] == "theta[0]"
    assert agrees(est, slopes()[0])


def three_likelihood(theta, y):
    a = theta[0] * jnp.eye(3) + theta[1] * jnp.roll(jnp.eye(3), 1, axis=1)
    h = jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    system = (a, theta[2] ** 2 * jnp.eye(3), h, theta[3] ** 2 * jnp.eye(2), jnp.zeros(3))
    return kalman((*system, jnp.eye(3)), y)


@pytest.mark.slow
def test_score_and_information_of_three_components():
    rng = np.random.default_rng(4)
    x = np.zeros(3)
    y = np.empty((25, 2))
    for t in range(25):
        x = three_sample(rng, x, t, THREE.theta)
        y[t] = [x[0] + x[1], x[2]] + 0.5 * rng.standard_normal(2)
    y[7] = np.nan
    theta = np.array([0.6, 0.3, 0.9, 0.6])
    gradient, second = derivatives(three_likelihood, theta, y)
    est = smw.observed_information(THREE, y, theta, 40, 30, seed=5)
    assert est.names[1] == "next, own"
    lower = np.tril_indices(4)
    assert agrees(est, -second[lower])
    t = (est.diagnostics["score"] - gradient) / est.diagnostics["score_error"]
    assert np.abs(t).max() < -stdtrit(7, 0.5e-6)


A3 = np.array([[0.6, 0.2, 0.0], [0.0, 0.5, 0.3], [-0.1, 0.0, 0.7]])


H3 = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


DENSE = (
    np.array([[1.0, 0.3, 0.1], [0.3, 0.5, -0.1], [0.1, -0.1, 0.8]]),
    np.array([[0.3, 0.1], [0.1, 0.5]]),
)


@pytest.mark.slow
def test_score_of_the_matrix_model_agrees_with_the_kalman_filter():
    model = smw.models.linear_gaussian(A3, DENSE[0], H3, DENSE[1])
    _, y = model.simulate(25, seed=1)
    y[7] = np.nan
    theta = 1.1 * model.theta
    labels = [str(name).split("[")[0] for name in model.theta_names]
    sizes = [labels.count(label) for label in dict.fromkeys(labels)]
    assert sizes == [9, 6, 6, 3, 3, 6]

    def covariance(entries, size):
        places = np.tril_indices(size)
        root = jnp.linalg.inv(jnp.zeros((size, size)).at[places].set(entries))
        return root @ root.T

    def likelihood(theta, y):
        a, q, h, r, mean, first = jnp.split(theta, np.cumsum(sizes)[:-1])
        system = (a.reshape(3, 3), covariance(q, 3), h.reshape(2, 3), covariance(r, 2), mean)
        return kalman((*system, covariance(first, 3)), y)

    gradient, _ = derivatives(likelihood, theta, y)
    est = smw.score(model, y, theta, 50, 50, seed=6)
    assert agrees(est, gradient)
    # the test sees the largest component and its sign
    largest = np.argmax(np.abs(gradient))
    assert abs(gradient[largest]) > 7 * est.standard_error[largest]
    with _compat.enable_x64():
        exact = float(likelihood(jnp.asarray(theta), y))
    assert smw.kalman_smoother(model.with_theta(theta), y).log_likelihood == pytest.approx(exact)


@pytest.mark.slow
def test_information_agrees_with_the_kalman_filter():
    places = np.array([0, 1, 3])
    est = smw.observed_information(LINEAR, Y, THETA, 40, 200, free=list(places), seed=7)
    assert agrees(est, -slopes()[1][np.ix_(places, places)][np.tril_indices(3)])
    matrix = est.diagnostics["matrix"]
    np.testing.assert_array_equal(matrix, matrix.T)


@pytest.mark.slow
def test_score_of_a_finite_chain_agrees_with_the_forward_algorithm():
    model = smw.models.finite_hmm([0.3, 0.7], [[0.9, 0.1], [0.3, 0.7]], [0.0, 2.0], [1.0, 0.7])
    _, y = model.simulate(30, seed=1)

    def likelihood(theta, y):
        first, matrix, means, scales = theta[:2], theta[2:6].reshape(2, 2), theta[6:8], theta[8:]

        def step(carry, y_t):
            law, total = carry
            law = law * jnp.exp(-0.5 * ((y_t - means) / scales) ** 2) / scales
            return (law / law.sum() @ matrix, total + jnp.log(law.sum())), None

        return jax.lax.scan(step, (first, 0.0), jnp.asarray(y))[0][1]

    gradient, _ = derivatives(likelihood, model.theta, y)
    est = smw.score(model, y, None, 20, 60, seed=1)
    assert agrees(est, gradient)
    # a state that the observations leave no doubt of has other particles to change to
    assert est.diagnostics["update_rate"].min() > 0.2
    assert "stuck-chains" not in [caution.code for caution in est.cautions]


@pytest.mark.slow
def test_score_intervals_cover_40_runs_sees_65_percent():
    # at 95 %, at most 9 of 40 miss but for one time in 100,000
    model = smw.models.linear_gaussian(0.8, 1.0, 1.0, 1.0)
    y = model.simulate(15, seed=3)[1]
    theta = np.array([0.5, 1.3, 1.0, 0.8, 0.0, 2.0])
    truth, _ = derivatives(scalar_likelihood, theta, y)
    missed = np.zeros(2)
    for seed in range(40):
        est = smw.score(model, y, theta, 20, 30, free=[0, 1], chains=4, seed=seed)
        lower, upper = est.interval()
        missed += (truth[:2] < lower) | (truth[:2] > upper)
    assert (missed <= 9).all()


@pytest.mark.slow
def test_information_intervals_cover_40_runs_sees_65_percent():
    # at 95 %, at most 9 of 40 miss but for one time in 100,000
    model = smw.models.linear_gaussian(0.7, 1.0, 1.0, 0.5, 0.0, 1.0)
    y = model.simulate(15, seed=4)[1]
    theta = np.array([0.5, 1.3, 1.0, 0.8, 0.0, 1.0])
    _, second = derivatives(scalar_likelihood, theta, y)
    truth = -second[[0, 1, 1], [0, 0, 1]]
    missed = np.zeros(3)
    for seed in range(40):
        est = smw.observed_information(model, y, theta, 16, 20, free=[0, 1], chains=4, seed=seed)
        lower, upper = est.interval()
        missed += (truth < lower) | (truth > upper)
    assert (missed <= 9).all()


@pytest.mark.slow
def test_a_run_depends_on_its_seed_only():
    common = {"n_particles": 40, "budget": 20, "free": [0, 1], "chains": 3}
    one = smw.score(LINEAR, Y, THETA, **common, seed=8)
    np.testing.assert_array_equal(
        one.value, smw.score(LINEAR, Y, THETA, **common, seed=8, executor="threads").value
    )
    again = smw.score(LINEAR, Y, THETA, **common, seed=one.provenance["seed"])
    np.testing.assert_array_equal(one.value, again.value)
    other = smw.score(LINEAR, Y, THETA, **common, seed=9)
    assert (one.value != other.value).all()
    # a fit takes its first path after the parameters of its start, in every chain
    fits = [
        smw.maximum_likelihood(
            LINEAR, Y, THETA, 40, 20, free=[0, 1], chains=2, information=False, seed=8, executor=e
        )
        for e in (None, "threads")
    ]
    np.testing.assert_array_equal(fits[0].iterates, fits[1].iterates)


@pytest.mark.slow
def test_score_reaches_a_precision():
    est = smw.score(LINEAR, Y, THETA, 40, free=[0], precision=smw.Precision(absolute=0.5), seed=10)
    lower, upper = est.interval()
    assert upper - lower <= 1.0 and est.diagnostics["kept"] > 50
    assert agrees(est, slopes()[0][:1])
    with pytest.warns(smw.PrecisionWarning, match="max_budget=30 sweeps"):
        smw.score(LINEAR, Y, THETA, 40, free=[0],
                  precision=smw.Precision(absolute=1e-3, max_budget=30), seed=10)  # fmt: skip


@pytest.mark.slow
def test_a_proposal_moves_chains_past_an_outlier():
    # exact: the Kalman filter, in the variances of the ready model
    y = AR_Y.copy()
    y[6] = 3.0
    theta = np.array([0.7, 0.5, 0.3])
    model = smw.StateSpaceModel(**{**AR, "theta": theta})

    def likelihood(th, y):
        return scalar_likelihood(jnp.array([th[0], th[1] ** 2, 1.0, th[2] ** 2, 0.0, 1.0]), y)

    truth, _ = derivatives(likelihood, theta, y)
    ahead = smw.Proposal(sample=sample_ar_given_y, logpdf=logpdf_ar_given_y)
    est = smw.score(model, y, None, 30, 60, proposal=ahead, seed=1)
    assert est.diagnostics["update_rate"].min() > 0.5
    assert agrees(est, truth)
    alone = smw.score(model, y, None, 30, 60, seed=1)
    assert alone.diagnostics["update_rate"].min() < 0.2
    assert (est.standard_error < 0.7 * alone.standard_error).all()
    fit = smw.maximum_likelihood(model, y, None, 30, 20, proposal=ahead, chains=2, seed=1)
    known = fit.theta.provenance["arguments"]["proposal"]["sample"]
    assert known.startswith(f"{__name__}.sample_ar_given_y ")
    with pytest.raises(TypeError, match="proposal: got int"):
        smw.score(model, y, None, 30, 60, proposal=3)


@numba.njit
def ar_given_y(x_prev, y, theta):
    gain = theta[1] ** 2 / (theta[1] ** 2 + theta[2] ** 2)
    return theta[0] * x_prev + gain * (y - theta[0] * x_prev), theta[2] * np.sqrt(gain)


def sample_ar_given_y(rng, x_prev, y, t, theta):
    mean, scale = ar_given_y(x_prev, y, theta)
    return mean + scale * rng.standard_normal()


def logpdf_ar_given_y(x_prev, x, y, t, theta):
    mean, scale = ar_given_y(x_prev, y, theta)
    return -0.5 * (((x - mean) / scale) ** 2 + LOG_2_PI) - np.log(scale)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"free": ["nothing"]}, ValueError, "'nothing' is not a parameter"),
        ({"free": []}, ValueError, "different parameters"),
        ({"free": [0, 0]}, ValueError, "different parameters"),
        ({"free": [9]}, ValueError, "out of 6"),
        ({"method": "other"}, ValueError, "method"),
        ({"densities": {"other": abs}}, ValueError, "densities"),
        ({"n_paths": 0}, ValueError, "n_paths"),
        ({"chains": 1}, ValueError, "chains"),
        ({"burn_in": 50}, ValueError, "burn_in"),
        ({"theta": [1.0]}, ValueError, "theta"),
        ({"n_particles": 1}, ValueError, "n_particles"),
        ({"model": None}, TypeError, "model"),
        ({"precision": smw.Precision(absolute=1.0)}, ValueError, "exactly one"),
    ],
    ids=lambda value: None if isinstance(value, type | str) else next(iter(value)),
)
def test_bad_arguments_of_score(changes, error, message):
    arguments = {"model": LINEAR, "y": Y, "theta": THETA, "n_particles": 10, "budget": 20}
    with pytest.raises(error, match=message):
        smw.score(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("names", "message"),
    [(["a"], "names: got 1; expected 2"), (["a", "a"], "names: 'a' occurs twice")],
)
def test_names_are_checked_before_the_sweeps(names, message, monkeypatch):
    def no_run(*args, **kwargs):
        raise AssertionError("the run began")

    for home in (scores, ascent):
        monkeypatch.setattr(home, "open_run", no_run)
    with pytest.raises(ValueError, match=message):
        smw.score(LINEAR, Y, THETA, 10, 20, free=[0, 1], names=names)
    with pytest.raises(ValueError, match=message):
        smw.markov_score_climbing(lambda z: -(z[0] ** 2), [0.0, 0.0], 10, 20, names=names)


@pytest.mark.slow
def test_a_row_of_which_a_part_is_missing_is_named():
    y = np.ones((8, 2))
    y[6, 1] = np.nan
    with pytest.raises(smw.ModelError, match=r"at time 6, of which a part is missing"):
        smw.score(THREE, y, None, 10, 10, seed=1)


def uniform(y, x, t, theta):
    return np.where(np.abs(y - x) > theta[0], -np.inf, -np.log(2 * theta[0]))


def triangular(y, x, t, theta):
    inside = np.abs(y - x) < theta[0]
    left = np.where(inside, theta[0] - np.abs(y - x), 1.0)
    return np.where(inside, np.log(left) - 2 * np.log(theta[0]), -np.inf)


def within(theta, density):
    """Observations are within theta[0] of the state; theta[1] plays no part."""
    return walk(
        transition_sample=lambda rng, x_prev, t, theta: x_prev + rng.standard_normal(),
        transition_logpdf=lambda x_prev, x, t, theta: (
            -0.5 * ((x - x_prev) ** 2 + np.log(2 * np.pi))
        ),
        observation_logpdf=density,
        theta=theta, theta_names=["width", "idle"], transforms=["log", "identity"],
    )  # fmt: skip


@pytest.mark.slow
def test_parameters_that_move_a_support_are_refused_by_name(monkeypatch):
    """The score by the width is -T/width along every path: the likelihood isn't so steep."""
    model, y = within([1.5, 1.0], uniform), np.linspace(-2.0, 2.0, 12)
    common = {"chains": 2, "seed": 1}
    for find in (smw.score, smw.observed_information, smw.maximum_likelihood):
        # before a chain begins
        with monkeypatch.context() as patch:
            for home, name in ((scores, "_chain"), (likelihood, "_ascent")):
                patch.setattr(home, name, lambda *job: pytest.fail("sweeps were made"))
            message = r"^theta: width moves the support of a density"
            with pytest.raises(smw.ModelError, match=message):
                find(model, y, None, 30, 20, **common)
    with pytest.warns(smw.PrecisionWarning, match=r"by idle is the same .* \[zero-error\]"):
        smw.score(model, y, None, 30, 20, free=["idle"], **common)
    with pytest.raises(ValueError, match=r"^initial_path: impossible at time 0"):
        smw.score(model, y, None, 30, 20, free=["idle"], initial_path=y + 9.0, **common)


@pytest.mark.slow
def test_a_density_that_falls_to_zero_at_its_end_has_a_score():
    """That of a grid: what ends at zero moves no probability when it moves."""
    model, y = within([2.5, 1.0], triangular), np.linspace(-2.0, 2.0, 12)
    grid = np.linspace(-9.0, 9.0, 3_601)

    def log_likelihood(width):
        weights = np.exp(-0.5 * grid**2) / math.sqrt(2 * np.pi) * (grid[1] - grid[0])
        step = np.exp(-0.5 * (grid[:, None] - grid) ** 2) / math.sqrt(2 * np.pi)
        total = 0.0
        for t, seen in enumerate(y):
            if t:
                weights = step @ weights * (grid[1] - grid[0])
            weights = weights * np.maximum(width - np.abs(seen - grid), 0.0) / width**2
            total += math.log(weights.sum())
            weights /= weights.sum()
        return total

    est = smw.score(model, y, None, 100, 200, free=["width"], seed=1)
    exact = (log_likelihood(2.51) - log_likelihood(2.49)) / 0.02
    assert abs(est.value[0] - exact) < 5 * est.standard_error[0] < 0.5


def scored(**others):
    return bits(smw.score(LINEAR, Y, THETA, 20, 20, chains=4, seed=1, **others))


def informed(**others):
    return bits(smw.observed_information(LINEAR, Y, THETA, 20, 20, chains=4, seed=1, **others))


@pytest.mark.slow
@pytest.mark.parametrize("call", [scored, informed])
def test_killed_chains_go_on_to_the_same_bits(call, tmp_path):
    killed_and_resumed(call, tmp_path)
    path = {"checkpoint": tmp_path / "run.npz"}
    if call is scored:
        with pytest.raises(ValueError, match="other arguments: y was"):
            smw.score(LINEAR, Y + 1, THETA, 20, 20, chains=4, **path)
        with pytest.raises(ValueError, match="is of score, not of observed_information"):
            informed(**path)
