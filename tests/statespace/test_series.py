"""A series is a model and observations that belong together, checked."""

import dataclasses

import numba
import numpy as np
import pytest

import smcweights as smw
from smcweights.statespace.series import arrived, checked_series

from .test_filtering import PLANE
from .test_model import LOG_ROOT

LINEAR = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
TOLD = smw.models.stochastic_volatility(0.9, 0.3, leverage=-0.5, returns=[0.1, -0.2, np.nan])


def test_observations_and_states_keep_their_shape():
    scalar = checked_series(LINEAR, [1.0, 2.0], 10)
    assert scalar.rows.shape == (2, 1) and scalar.y.tolist() == [1.0, 2.0]
    assert scalar.shaped(np.zeros((4, 1))).shape == (4,)
    vector = checked_series(PLANE, np.ones((3, 2)), 10)
    assert vector.y.shape == (3, 2) and vector.shaped(np.zeros((4, 2))).shape == (4, 2)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model": 3}, "model: got int"),
        ({"n_particles": 1}, "n_particles: got 1"),
        ({"ess_threshold": 1.5}, "ess_threshold: got 1.5"),
        ({"resampling": "best"}, "resampling: got 'best'"),
        ({"proposal": 1}, "proposal: got int"),
        ({"theta": [1.0]}, "theta: got shape"),
        ({"y": [np.inf]}, "y: inf at index"),
    ],
)
def test_what_does_not_belong_is_refused_at_the_door(change, match):
    with pytest.raises((TypeError, ValueError), match=match):
        checked_series(**{"model": LINEAR, "y": [1.0, 2.0], "n_particles": 10, **change})


def test_a_model_that_contains_its_series_takes_that_one_alone():
    assert checked_series(TOLD, [0.1, -0.2, np.nan], 10).rows.shape == (3, 1)
    with pytest.raises(smw.ModelError, match="y: not the returns"):
        checked_series(TOLD, [0.1, 0.2], 10)
    begun = checked_series(TOLD, [0.1], 10)
    assert arrived(begun, [-0.2], 1).y.tolist() == [-0.2]
    with pytest.raises(smw.ModelError, match="y: not the returns"):
        arrived(begun, [0.1], 1)


def test_what_arrives_has_as_many_components_as_before():
    with pytest.raises(ValueError, match="y: got 2 components; expected 1"):
        arrived(checked_series(LINEAR, [0.0], 10), [[1.0, 2.0]], 3)


@numba.njit
def log_normal(z, scale):
    return -0.5 * (z / scale) ** 2 - np.log(scale) - LOG_ROOT


ROWS = np.column_stack([np.linspace(-1.0, 2.0, 14), np.linspace(0.5, 1.5, 14)])
Y = np.random.default_rng(1).normal(size=12)
Y[5] = np.nan
# inputs as an argument, and as an array that every function reads by itself
DRIVEN = smw.StateSpaceModel(
    lambda rng, u, theta: u[0] + rng.standard_normal(),
    lambda x, u, theta: log_normal(x - u[0], 1.0),
    lambda rng, x_prev, u, t, theta: theta[0] * x_prev + u[0] + u[1] * rng.standard_normal(),
    lambda x_prev, x, u, t, theta: log_normal(x - theta[0] * x_prev - u[0], u[1]),
    lambda y, x, u, t, theta: log_normal(y - x * u[1], theta[1]),
    lambda u, t, theta: log_normal(0.0, u[1]),
    lambda rng, x, u, t, theta: x * u[1] + theta[1] * rng.standard_normal(),
    theta=[0.8, 0.7],
    input_dim=2,
)
CLOSED = smw.StateSpaceModel(
    lambda rng, theta: ROWS[0, 0] + rng.standard_normal(),
    lambda x, theta: log_normal(x - ROWS[0, 0], 1.0),
    lambda rng, x_prev, t, theta: (
        theta[0] * x_prev + ROWS[t, 0] + ROWS[t, 1] * rng.standard_normal()
    ),
    lambda x_prev, x, t, theta: log_normal(x - theta[0] * x_prev - ROWS[t, 0], ROWS[t, 1]),
    lambda y, x, t, theta: log_normal(y - x * ROWS[t, 1], theta[1]),
    lambda t, theta: log_normal(0.0, ROWS[t, 1]),
    lambda rng, x, t, theta: x * ROWS[t, 1] + theta[1] * rng.standard_normal(),
    theta=[0.8, 0.7],
)
GUIDED = [
    smw.Proposal(
        lambda rng, x_prev, y, u, t, theta: x_prev + u[1] * rng.standard_normal(),
        lambda x_prev, x, y, u, t, theta: log_normal(x - x_prev, u[1]),
        lambda rng, y, u, theta: u[1] * rng.standard_normal(),
        lambda x, y, u, theta: log_normal(x, u[1]),
        lambda x_prev, y, u, t, theta: -0.1 * (0.0 if np.isnan(y) else (y - x_prev * u[1]) ** 2),
    ),
    smw.Proposal(
        lambda rng, x_prev, y, t, theta: x_prev + ROWS[t, 1] * rng.standard_normal(),
        lambda x_prev, x, y, t, theta: log_normal(x - x_prev, ROWS[t, 1]),
        lambda rng, y, theta: ROWS[0, 1] * rng.standard_normal(),
        lambda x, y, theta: log_normal(x, ROWS[0, 1]),
        lambda x_prev, y, t, theta: -0.1 * (0.0 if np.isnan(y) else (y - x_prev * ROWS[t, 1]) ** 2),
    ),
]
TOTAL = smw.functionals.sum_of_states
METHODS = {
    "simulated": lambda m, p: np.concatenate(m.simulate(14, seed=1)),
    "filtered": lambda m, p: smw.particle_filter(m, Y, 400, seed=1).log_likelihood.value,
    "guided": lambda m, p: smw.particle_filter(m, Y, 400, proposal=p, seed=1).means,
    "smoothed": lambda m, p: smw.paris(m, Y, TOTAL, 400, seed=1).value,
    "exactly": lambda m, p: smw.paris(m, Y, TOTAL, 50, backward="exact", repeats=2, seed=1).value,
    "by chains": lambda m, p: smw.parisian_particle_gibbs(m, Y, TOTAL, 50, 40, seed=1).value,
    "learned by a prior": lambda m, p: smw.particle_gibbs(
        m, Y, 20, 10, seed=1, parameters=smw.random_walk_metropolis(
            m, lambda theta: 0.0 if theta[1] > 0 else -np.inf, [0.1, 0.1]
        ),
    )["posterior"]["theta[0]"].values,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_inputs_are_what_an_array_in_a_closure_is(name):
    """Bit for bit; one set of compiled functions serves every series of inputs."""
    call = METHODS[name]
    one, other = call(DRIVEN.with_inputs(ROWS), GUIDED[0]), call(CLOSED, GUIDED[1])
    np.testing.assert_array_equal(one, other)
    moved = call(DRIVEN.with_inputs(ROWS + 0.1), GUIDED[0])
    assert not np.array_equal(one, moved)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_learners_take_inputs_as_an_array_in_a_closure():
    for call in (
        lambda m: smw.score(m, Y, None, 30, 30, seed=1).value,
        lambda m: smw.maximum_likelihood(m, Y, None, 30, 30, seed=1).theta.value,
        lambda m: (
            smw.particle_marginal_metropolis_hastings(
                m, Y, lambda theta: -np.inf if theta[1] <= 0 else -theta @ theta, 30, 30, seed=1
            )["posterior"]["theta[0]"].values
        ),
    ):
        np.testing.assert_allclose(call(DRIVEN.with_inputs(ROWS)), call(CLOSED), rtol=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_a_stream_takes_its_inputs_before_or_with_the_observations():
    whole = smw.particle_filter(DRIVEN.with_inputs(ROWS), Y, 300, seed=1)
    known = smw.OnlineFilter(DRIVEN.with_inputs(ROWS[:11]), 300, seed=1)
    fed = smw.OnlineFilter(DRIVEN, 300, seed=1)
    for t, y_t in enumerate(Y[:11]):
        a, b = known.update(y_t), fed.update(y_t, ROWS[t])
        assert a.means[0] == b.means[0] == whole.means[t]
    with pytest.raises(ValueError, match="inputs: 11 rows; expected at least 12, one per time"):
        known.update(0.3)
    with pytest.raises(ValueError, match="u: got None; expected an array of the inputs"):
        fed.update(0.3)
    with pytest.raises(ValueError, match="u: got an array; expected None: the model has its"):
        known.update(0.3, ROWS[11])
    assert fed.update(Y[11], ROWS[11]).means[0] == whole.means[11]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_a_stream_of_sums_takes_its_inputs_in_either_way():
    smoothers = [
        smw.OnlineSmoother(m, TOTAL, 100, seed=1) for m in (DRIVEN, DRIVEN.with_inputs(ROWS))
    ]
    smoothers[0].update(Y[0], ROWS[0])
    smoothers[0].extend(Y[1:8], ROWS[1:8])
    smoothers[1].extend(Y[:8])
    assert smoothers[0].estimate().value == smoothers[1].estimate().value
    with pytest.raises(ValueError, match="u: got 2 rows; expected 1, as y has"):
        smoothers[0].extend(Y[8:9], ROWS[8:10])


@pytest.mark.parametrize(
    "call",
    [
        lambda m: smw.particle_filter(m, Y, 10),
        lambda m: smw.paris(m, Y, TOTAL, 10),
        lambda m: smw.unbiased_smoothing(m, Y, TOTAL, 10, 4),
        lambda m: smw.particle_gibbs(m, Y, 10, 4),
        lambda m: smw.score(m, Y, None, 10, 10),
        lambda m: smw.check_model(m, Y),
        lambda m: m.simulate(12, seed=1),
    ],
)
def test_inputs_that_end_too_soon_are_refused_at_the_door(call):
    with pytest.raises(
        ValueError, match="inputs: 11 rows; expected at least 12, one per time of y"
    ):
        call(DRIVEN.with_inputs(ROWS[:11]))
    with pytest.raises(ValueError, match="inputs: missing; the model declares input_dim=2"):
        call(DRIVEN)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_inputs_are_numbers_of_the_shape_declared():
    with pytest.raises(ValueError, match="inputs: nan in row 3, column 1; expected finite"):
        DRIVEN.with_inputs(np.where(ROWS[3, 1] == ROWS, np.nan, ROWS))
    for wrong in (ROWS[:, 0], ROWS[:, :1], ROWS[:0]):
        with pytest.raises(ValueError, match="inputs: got shape"):
            DRIVEN.with_inputs(wrong)
    with pytest.raises(ValueError, match="inputs: got some; the model declares none"):
        LINEAR.with_inputs(ROWS)
    with pytest.raises(
        TypeError, match=r"initial_sample: expected a function of \(rng, u, theta\)"
    ):
        dataclasses.replace(CLOSED, input_dim=2)
    with pytest.raises(
        TypeError, match=r"proposal.sample: expected a function of \(rng, x_prev, y, u"
    ):
        smw.particle_filter(DRIVEN.with_inputs(ROWS), Y, 10, proposal=GUIDED[1])
    other = dataclasses.replace(
        DRIVEN, observation_logpdf=lambda y, x, u, t, theta: -((y - u[2]) ** 2)
    )
    with pytest.raises(smw.ModelError, match="observation_logpdf: IndexError"):
        smw.particle_filter(other.with_inputs(ROWS), Y, 10)
    assert DRIVEN.with_theta([0.5, 0.7]).inputs is None
    with pytest.raises(ValueError, match=r"inputs: got shape \(14, 1\)"):
        DRIVEN.with_inputs([ROWS, ROWS[:, :1]])
    one, two = (smw.particle_filter(DRIVEN.with_inputs(ROWS + k), Y, 300, seed=k) for k in (0, 1))
    with pytest.raises(ValueError, match=r"inputs|model"):
        smw.combine([one.log_likelihood, two.log_likelihood])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_series_of_a_panel_have_inputs_of_their_own():
    panel, rows = [Y, Y[:9]], [ROWS, ROWS[::-1] + 0.5]
    model = DRIVEN.with_inputs(rows)
    est = smw.log_likelihood(model, panel, 2_000, seed=1)
    own = [
        smw.log_likelihood(DRIVEN.with_inputs(u), y, 20_000, seed=2)
        for y, u in zip(panel, rows, strict=True)
    ]
    z = est.diagnostics["values"] - [float(one.value) for one in own]
    scale = np.hypot(est.diagnostics["standard_errors"], [one.standard_error for one in own])
    assert (np.abs(z) < 5.5 * scale).all()
    assert smw.log_likelihood(DRIVEN.with_inputs(ROWS), panel, 50, seed=1).value.shape == ()
    with pytest.raises(ValueError, match="inputs: a list of 2 arrays; expected one for each of 3"):
        smw.log_likelihood(model, [Y, Y, Y], 50)
    with pytest.raises(ValueError, match="series 1: inputs: 14 rows; expected at least 20"):
        smw.log_likelihood(model, [Y, np.zeros(20)], 50)
    for call in (
        lambda: smw.particle_filter(model, Y, 50),
        lambda: smw.forecast(model, Y, 2, 50),
        lambda: model.simulate(3),
        lambda: smw.OnlineFilter(model, 50),
        lambda: smw.check_model(model, Y),
    ):
        with pytest.raises(ValueError, match="inputs: a list of 2 arrays, for as many series"):
            call()


def test_series_of_any_length_add_up_one_time_and_nothing_seen_among_them():
    """Kalman's log likelihoods; within 5 standard errors, a false alarm in a million."""
    model = smw.models.linear_gaussian(0.8, 1.0, 1.0, 1.0)
    panel = [model.simulate(length, seed=length)[1] for length in (30, 1, 7)]
    panel[0][3] = np.nan
    exact = sum(smw.kalman_filter(model, y).log_likelihood for y in panel)
    est = smw.log_likelihood(model, [*panel, np.full(5, np.nan)], 400, repeats=8, seed=1)
    assert abs(est.value - exact) < 5 * est.standard_error < 1.0


@pytest.mark.parametrize(
    ("second", "error", "message"),
    [
        ([], ValueError, r"series 1: y: got shape \(0,\)"),
        (["a"], TypeError, "series 1: y: got texts"),
        ([1.0, np.inf], ValueError, "series 1: y: inf"),
    ],
)
def test_lists_among_the_series_of_a_panel_are_series(second, error, message):
    with pytest.raises(error, match=message):
        smw.log_likelihood(LINEAR, [np.zeros(3), second], 50, seed=1)
    arrays, lists = (
        smw.log_likelihood(LINEAR, [np.zeros(3), one], 50, seed=1).value
        for one in (np.ones(2), [1.0, 1.0])
    )
    assert arrays == lists
