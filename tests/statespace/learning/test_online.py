"""Parameters follow a stream by increments that add up to the score."""

import math

import numpy as np
import pytest

import smcweights as smw
from smcweights.statespace.learning import online, parameters, scores
from smcweights.statespace.series import Series

from .truths import LINEAR, THETA, THREE, Y, slopes

pytestmark = pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")


@pytest.mark.slow
@pytest.mark.parametrize("backward", ["rejection", "exact", "mcmc"])
def test_increments_on_line_add_up_to_the_score(backward):
    free = [0, 1, 3]
    places = list(free)
    model = LINEAR.with_theta(THETA)
    chosen = parameters.free_parameters(model, free)
    learned = scores.ScoredSeries(Series(model, Y[:1, None], False, 400), chosen, 2, backward, None)
    u = chosen.numbers(THETA)
    runs = []
    for c in range(6):
        rng = np.random.default_rng(c)
        run = online._Follower(learned, u, rng)
        for t, y_t in enumerate(Y):
            run.update(np.array([[y_t]]), t, 0.0)
        runs.append(run.total[places])
    runs = np.array(runs)
    error = runs.std(axis=0, ddof=1) / math.sqrt(6)
    # 400 particles leave a bias of some 1/50 of the bias that 8 have
    assert (
        np.abs(runs.mean(axis=0) - slopes()[0][places]) < 9 * error + 0.03 * np.abs(slopes()[0][0])
    ).all()
    assert error[0] < 1


@pytest.mark.slow
def test_parameters_are_followed_on_line():
    model = smw.models.linear_gaussian(0.8, 0.5, 1.0, 0.5)
    y = model.simulate(800, seed=3)[1]
    start = model.theta.copy()
    start[0] = 0.2
    *_, last = smw.online_maximum_likelihood(model, y, start, 60, free=[0], chains=2, seed=18)
    assert last.diagnostics["t"] == 799
    # standard error of the data: some 0.03
    assert abs(last.value[0] - 0.8) < 0.15
    stream = iter(y[:30])
    followed = smw.online_maximum_likelihood(model, stream, start, 60, free=[0], chains=2, seed=18)
    first = next(followed)
    assert first.value[0] == pytest.approx(0.2) and len(list(stream)) == 29
    # before parameters move the error is unknown, not zero
    each = list(smw.online_maximum_likelihood(model, y[:24], start, 20, free=[0], seed=18))
    known = [np.isfinite(est.standard_error).all() for est in each]
    assert known == [False] * 20 + [True] * 4
    assert (each[20].standard_error > 0).all()
    assert each[19].cautions and not each[20].cautions


@pytest.mark.parametrize(
    ("stream", "error", "message"),
    [
        (3.0, TypeError, "stream: got float; expected an iterable"),
        (None, TypeError, "stream: got NoneType"),
        ([1.0, np.inf], ValueError, "stream: inf at time 1"),
        ([1.0, "a"], ValueError, "stream: 'a' at time 1"),
        ([[[1.0]]], ValueError, r"stream: \[\[1.0\]\] at time 0"),
    ],
    ids=["float", "None", "inf", "str", "matrix"],
)
def test_what_is_wrong_in_a_stream_is_named_with_its_time(stream, error, message):
    with pytest.raises(error, match=message):
        list(smw.online_maximum_likelihood(LINEAR, stream, None, 10, seed=1))


@pytest.mark.parametrize("decay", [0.3, -0.1, 1.1, math.nan])
def test_a_decay_that_never_settles_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay: got .*a number from 0(\.5)? to 1"):
        smw.online_maximum_likelihood(LINEAR, Y, None, 10, decay=decay)


def test_a_masked_observation_of_a_stream_is_missing():
    y = np.ma.masked_equal([0.5, -0.2, 99.0, 0.4], 99.0)
    found = [
        [float(est.diagnostics["log_likelihood"]) for est in smw.online_maximum_likelihood(
            LINEAR, stream, None, 400, free=["observation_covariance"], chains=2, seed=1)]
        for stream in (y, y.filled(np.nan))
    ]  # fmt: skip
    assert found[0] == found[1]


def test_missing_observations_leave_parameters_and_their_error_alone():
    """The score of a missing row is zero, and what filters say of it is noise."""
    y = np.concatenate([Y[:24], np.full(12, np.nan)])
    each = list(smw.online_maximum_likelihood(LINEAR, y, None, 30, free=[0], chains=2, seed=1))
    moved, error = (
        np.array([part(est) for est in each])
        for part in (
            lambda est: est.diagnostics["iterates"],
            lambda est: est.diagnostics["statistical_error"],
        )
    )
    assert (moved[23] != moved[19]).all() and (moved[24:] == moved[23]).all()
    # nearly: it is told where the average of the iterates is
    np.testing.assert_allclose(error[24:], np.broadcast_to(error[23], (12, 1)), rtol=0.02)
    (*_, last) = smw.online_maximum_likelihood(
        LINEAR, np.full(22, np.nan), None, 30, free=[0], chains=2, seed=1
    )
    assert np.isnan(last.standard_error).all() and [c.code for c in last.cautions] == ["start"]


@pytest.mark.slow
def test_the_error_of_the_data_is_told_beside_that_of_the_chains():
    """Standard deviations of 20 maxima are known to a sixth."""
    model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    values, told = [], []
    for seed in range(20):
        y = model.simulate(200, seed=100 + seed)[1]
        follow = smw.online_maximum_likelihood(model, y, None, 50, free=[0], chains=2, seed=seed)
        *_, last = follow
        values.append(last.value[0])
        told.append(last.diagnostics["statistical_error"][0])
    assert 0.5 < np.median(told) / np.std(values, ddof=1) < 1.7


@pytest.mark.slow
def test_a_row_with_another_number_of_components_is_named_with_its_time():
    with pytest.raises(ValueError, match="components at time 1"):
        list(smw.online_maximum_likelihood(THREE, [np.zeros(2), np.zeros(3)], None, 10, seed=1))
