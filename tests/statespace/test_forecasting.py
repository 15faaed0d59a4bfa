"""Forecasts and predictive checks against Kalman's laws, which are exact."""

import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import xarray
from scipy.special import ndtr, ndtri
from scipy.stats import poisson

import smcweights as smw
from smcweights import _compat
from smcweights.statespace import forecasting
from smcweights.statespace.compilation import compiled_observations
from smcweights.statespace.series import Series

from .test_filtering import GUIDED, LINEAR, PLANE
from .test_series import DRIVEN, ROWS

_, Y = LINEAR.simulate(25, seed=3)
Y[6] = np.nan
LEVELS = np.array([0.05, 0.5, 0.95])
EXACT = smw.kalman_forecast(LINEAR, Y, 4)


def quantiles(mean, variance):
    return (mean + np.sqrt(variance) * ndtri(LEVELS)[:, None]).ravel()


def test_a_forecast_has_kalmans_laws():
    """Student's t with 7 degrees of freedom, 32 numbers: false alarm 1e-5; errors are small."""
    found = smw.forecast(LINEAR, Y, 4, 2_000, levels=LEVELS, seed=1)
    for est, truth in (
        (found.state_means, EXACT.means),
        (found.state_quantiles, quantiles(EXACT.means, EXACT.covariances)),
        (found.observation_means, EXACT.observation_means),
        (
            found.observation_quantiles,
            quantiles(EXACT.observation_means, EXACT.observation_covariances),
        ),
    ):
        assert (np.abs(est.value - truth) < 18 * est.standard_error).all()
        assert est.standard_error.max() < 0.15 and (est.degrees_of_freedom == 7).all()
    assert found.observation_quantiles.names[4] == "50 % of y[25]"
    assert dict(found.sample.sizes) == {"draw": 16_000, "horizon": 4}
    again = smw.forecast(LINEAR, Y, 4, 2_000, levels=LEVELS, seed=1, executor="threads:2")
    np.testing.assert_array_equal(again.state_means.value, found.state_means.value)


@pytest.mark.slow
def test_quantiles_cover_300_runs_sees_shortfall_of_5_points():
    """Nominal 95 %: binomial bounds at false alarm 1e-4 for each of three."""
    from scipy.stats import binom

    truth, inside = quantiles(EXACT.observation_means, EXACT.observation_covariances), 0
    for seed in range(300):
        found = smw.forecast(LINEAR, Y, 4, 300, levels=LEVELS, seed=seed).observation_quantiles
        lower, upper = found.interval()
        inside += ((lower <= truth) & (truth <= upper))[[3, 7, 11]]
    assert (inside >= binom.ppf(1e-4, 300, 0.95)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x_last", "x", "nothing"])
def test_draws_of_parameters_go_on_from_their_states(name):
    """Of two values of a parameter, with states drawn from Kalman's filter: z-test at 5.5."""
    rng = np.random.default_rng(1)
    names, (chains, length) = LINEAR.theta_names, (6, 160)
    values = np.where(rng.random((chains, length)) < 0.5, 0.9, 0.3)
    laws = {a: smw.kalman_filter(LINEAR.with_theta([a, *LINEAR.theta[1:]]), Y) for a in (0.3, 0.9)}
    noise, last = rng.standard_normal(values.shape), np.empty(values.shape)
    for a, law in laws.items():
        drawn = law.means[-1] + np.sqrt(law.covariances[-1]) * noise
        last = np.where(values == a, drawn, last)
    content = {names[0]: (("chain", "draw"), values)}
    if name == "x_last":
        content[name] = (("chain", "draw"), last)
    if name == "x":
        path = np.concatenate([np.zeros((*last.shape, len(Y) - 1)), last[..., None]], axis=-1)
        content[name] = (("chain", "draw", "time"), path)
    draws = {"posterior": xarray.Dataset(content)}
    found = smw.forecast(LINEAR, Y, 2, 50, draws=draws, seed=2)
    truth = np.mean([laws[a].means[-1] * a for a in values.ravel()])
    assert abs(found.state_means.value[0] - truth) < 8 * found.state_means.standard_error[0]
    assert found.state_means.standard_error[0] < 0.2


DRAWN = {
    name: (("chain", "draw"), value + 0.1 * np.random.default_rng(k).random((3, 40)))
    for k, (name, value) in enumerate([("transition_matrix", 0.8), ("x_last", 1.0)])
}
FORECAST = partial(smw.forecast, LINEAR, Y, 2, 50, seed=1)


@pytest.mark.parametrize("form", ["tree", "dataset", "transposed", "more", "other order"])
def test_draws_are_taken_by_name_whatever_else_there_is(form):
    own = xarray.Dataset(DRAWN)
    given = {
        "tree": _compat.inference_data({"posterior": own, "sample_stats": own}),
        "dataset": own,
        "transposed": {"posterior": own.transpose("draw", "chain")},
        "more": {"posterior": own.assign(half_life=own["transition_matrix"] * 2)},
        "other order": {"posterior": own[["x_last", "transition_matrix"]]},
    }[form]
    expected = FORECAST(draws={"posterior": own}).state_means
    found = FORECAST(draws=given).state_means
    np.testing.assert_array_equal(found.value, expected.value)
    np.testing.assert_array_equal(found.standard_error, expected.standard_error)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"phi": 0.5}, r"draws: of \['phi'\]; expected parameters of the model, some of \['trans"),
        ({"transition_covariance": -0.5}, "transition_covariance = -0.5; expected 0 to inf, as"),
        ({"transition_matrix": np.nan}, r"transition_matrix has shape \(3, 40\); expected finite"),
        ({"x": np.zeros(7)}, f"draws: x of 7 times; expected {len(Y)}, as y has"),
        ({"x_last": np.zeros(2)}, r"x at the last time has shape \(3, 40, 2\); expected"),
    ],
)
def test_draws_of_something_else_are_refused(content, message):
    own = {}
    for name, value in content.items():
        dims = ("chain", "draw", "time")[: 2 + np.ndim(value)]
        own[name] = (dims, np.broadcast_to(value, (3, 40, *np.shape(value))))
    with pytest.raises(ValueError, match=message):
        FORECAST(draws={"posterior": xarray.Dataset(own)})


@pytest.mark.slow
def test_intervals_under_draws_hold_their_mixture_100_runs():
    """Of two values of a parameter; 600 intervals, within 4.5 binomial errors of 600 / 3."""
    rng, held = np.random.default_rng(3), []
    models = [LINEAR.with_theta([a, *LINEAR.theta[1:]]) for a in (0.3, 0.9)]
    last = [smw.kalman_filter(model, Y) for model in models]
    means, spreads = np.array([(law.means[-1], law.covariances[-1] ** 0.5) for law in last]).T
    ahead = [smw.kalman_forecast(m, Y, 3) for m in models]
    truth = np.mean([[law.means, law.observation_means] for law in ahead], axis=0)
    for seed in range(100):
        which = rng.integers(2, size=(8, 50))
        content = {"transition_matrix": np.array([0.3, 0.9])[which]}
        content["x_last"] = means[which] + spreads[which] * rng.standard_normal(which.shape)
        draws = xarray.Dataset({k: (("chain", "draw"), v) for k, v in content.items()})
        found = smw.forecast(LINEAR, Y, 3, 50, draws=draws, seed=seed)
        for est, exact in zip((found.state_means, found.observation_means), truth, strict=True):
            lower, upper = est.interval()
            held.append((lower <= exact) & (exact <= upper))
    assert abs(np.mean(held) - 0.95) < 4.5 * np.sqrt(0.95 * 0.05 / 200)


@pytest.mark.slow
def test_inputs_reach_to_the_end_of_a_forecast():
    y = np.zeros(12)
    model = DRIVEN.with_inputs(ROWS)
    assert smw.forecast(model, y, 2, 300, seed=1).state_means.value.shape == (2,)
    with pytest.raises(ValueError, match=r"inputs: 14 rows; expected at least 15, .* \(and 3 of"):
        smw.forecast(model, y, 3, 300, seed=1)


def test_bad_arguments():
    for levels in ([0.0], 0.5, [0.5, 0.5], []):
        with pytest.raises(ValueError, match=r"levels: got .* a list of different numbers"):
            smw.forecast(LINEAR, Y, 2, 50, levels=levels)
    with pytest.raises(ValueError, match="repeats: got 1"):
        smw.forecast(LINEAR, Y, 2, 50, repeats=1)
    with pytest.raises(TypeError, match="draws: got int"):
        smw.forecast(LINEAR, Y, 2, 50, draws=3)
    with pytest.raises(ValueError, match="too few observations"):
        smw.predictive_check(LINEAR, Y[:10], 50)


def test_an_observation_out_of_reach_is_told_and_reached_by_proposals():
    """Held 0 of 100 without a word; by a proposal within 6 Student's errors: false alarm 1e-3."""
    far = np.append(Y, 12.0)
    truth = smw.kalman_forecast(LINEAR, far, 1).means
    with pytest.warns(smw.PrecisionWarning, match=r"at time 25.*small-sample"):
        lost = smw.forecast(LINEAR, far, 1, 100, seed=1).state_means
    assert abs(lost.value - truth) > 6 * lost.standard_error
    assert [caution.code for caution in lost.cautions] == ["small-sample"]
    with pytest.warns(smw.PrecisionWarning, match=r"at time 25.*small-sample"):
        smw.predictive_check(LINEAR, far, 500, seed=1)
    for proposal in (GUIDED, "linearised"):
        found = smw.forecast(LINEAR, far, 1, 100, proposal=proposal, seed=1).state_means
        assert abs(found.value - truth) < 6 * found.standard_error and not found.cautions


def test_predictions_look_at_no_observation():
    """Kalman's probabilities by particles that a proposal drew: 6 binomial errors of 1,000."""
    exact = smw.kalman_filter(LINEAR, Y)
    variance = exact.predicted_covariances * LINEAR.theta[2] ** 2 + LINEAR.theta[3]
    truth = ndtr((Y - LINEAR.theta[2] * exact.predicted_means) / np.sqrt(variance))
    seen = ~np.isnan(Y)
    found = smw.predictive_check(LINEAR, Y, 2_000, proposal=GUIDED, seed=1)
    off = np.abs(found.pit - truth)[seen]
    assert (off < 6 * np.sqrt(truth * (1 - truth) / 1_000)[seen] + 1e-3).all()


def test_predicted_probabilities_are_kalmans():
    """Of particles 2,000: within 6 binomial errors of half as many."""
    exact = smw.kalman_filter(LINEAR, Y)
    variance = exact.predicted_covariances * LINEAR.theta[2] ** 2 + LINEAR.theta[3]
    truth = ndtr((Y - LINEAR.theta[2] * exact.predicted_means) / np.sqrt(variance))
    found = smw.predictive_check(LINEAR, Y, 2_000, seed=1)
    seen = ~np.isnan(Y)
    off = np.abs(found.pit - truth)[seen]
    assert (off < 6 * np.sqrt(truth * (1 - truth) / 1_000)[seen] + 1e-3).all()
    assert np.isnan(found.pit[6]) and np.isnan(found.residuals[6])
    assert found.smallest > 0.001 and set(found.p_values) == {"correlation", "spread", "law"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*small-sample")
def test_vectors_are_checked_by_component():
    _, y = PLANE.simulate(40, seed=2)
    y[3, 1] = np.nan
    found = smw.predictive_check(PLANE, y, 500, seed=1)
    assert found.pit.shape == (40, 2) and np.isnan(found.pit).sum() == 1
    assert found.smallest > 0.001


COUNTS = smw.StateSpaceModel(
    lambda rng, theta: 0.0,
    None,
    lambda rng, x_prev, t, theta: 0.0,
    None,
    lambda y, x, t, theta: y * np.log(theta[0]) - theta[0] - math.lgamma(y + 1.0),
    observation_sample=lambda rng, x, t, theta: float(rng.poisson(theta[0])),
    theta=[3.0],
)


def test_quantiles_of_counts_reach_over_a_step_in_doubt():
    """P(Y < 3) = .4232: beside it filters agree on 2 or 3; 117 of 160 held by their spread alone.

    Of 160 at 95 % fewer than 140 hold with probability 1e-4.
    """
    y, levels, held = np.full(3, 3.0), [0.41, 0.424, 0.43, 0.6], 0
    truth = poisson.ppf(levels, 3.0)
    for seed in range(40):
        ahead = smw.forecast(COUNTS, y, 1, 100, levels=levels, seed=seed)
        lower, upper = ahead.observation_quantiles.interval()
        held += ((lower <= truth) & (truth <= upper)).sum()
    assert held >= 140


@pytest.mark.slow
def test_atoms_are_spread_uniformly():
    """P(Y < y) + U P(Y = y) of Poisson counts, whose law is known; tests of other means fail."""
    y = np.random.default_rng(4).poisson(3.0, 200).astype(float)
    found = smw.predictive_check(COUNTS, y, 2_000, seed=1)
    low, high = poisson.cdf(y - 1, 3.0), poisson.cdf(y, 3.0)
    assert ((found.pit > low - 0.07) & (found.pit < high + 0.07)).all()
    assert found.smallest > 0.001
    assert smw.predictive_check(COUNTS, y, 2_000, theta=[4.5], seed=1).smallest < 1e-6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*small-sample")
def test_tests_of_residuals_have_their_level_300_series():
    """Level 5 %: 3.4 errors of a share of 300 series; what is wrong is found."""
    level, wrong = np.zeros(3), 0
    for seed in range(300):
        _, y = LINEAR.simulate(100, seed=1_000 + seed)
        found = smw.predictive_check(LINEAR, y, 500, seed=seed).p_values
        level += np.array(list(found.values())) < 0.05
    assert (np.abs(level / 300 - 0.05) < 0.043).all()
    loud = LINEAR.with_theta([*LINEAR.theta[:3], 2.0, *LINEAR.theta[4:]])
    for seed in range(20):
        _, y = loud.simulate(200, seed=seed)
        wrong += smw.predictive_check(LINEAR, y, 500, seed=seed).smallest < 0.05
    assert wrong >= 16


@pytest.mark.parametrize(
    "sampler, told",
    [
        (lambda rng, x, t, theta: np.array([x, x]), "returned 2 numbers; expected 1"),
        (lambda rng, x, t, theta: None, "returned None at time 0"),
        (lambda rng, x, t, theta: np.nan, "returned nan at time 0"),
        (lambda rng, x, t, theta: "rain", "returned 'rain' at time 0"),
    ],
)
def test_what_is_wrong_with_observations_is_told_before_anything_is_compiled(
    sampler, told, monkeypatch
):
    monkeypatch.setattr(Series, "functions", lambda self, **_: pytest.fail("compiled"))
    model = dataclasses.replace(LINEAR, observation_sample=sampler, exact=None)
    with pytest.raises(smw.ModelError, match=told):
        smw.forecast(model, Y, 2, 50)
    with pytest.raises(smw.ModelError, match=told):
        smw.predictive_check(model, Y, 500)


def test_compiled_observations_are_those_of_python():
    model = DRIVEN.with_inputs(ROWS)
    series = Series(model, np.zeros((12, 1)), False, 5)
    x, theta = np.linspace(-1.0, 1.0, 5)[:, None], model.theta.copy()
    see = compiled_observations(model, False)
    assert see is not None
    for t in (0, 11):
        own, other = (
            forecasting._seen(series, np.random.default_rng(1), x, t, theta, way)
            for way in (see, None)
        )
        np.testing.assert_array_equal(own, other)


def test_observations_that_numba_cannot_draw_are_drawn_by_python():
    class Sampler:
        def __call__(self, rng, x, t, theta):
            return x + rng.standard_normal()

    def by_text(rng, x, t, theta):
        return float(f"{x + rng.standard_normal():.17g}")

    for sampler in (Sampler(), by_text):
        model = dataclasses.replace(LINEAR, observation_sample=sampler, exact=None)
        assert compiled_observations(model, False) is None
        ahead = smw.forecast(model, Y, 2, 200, seed=1).observation_means
        same = smw.forecast(LINEAR, Y, 2, 200, seed=1).observation_means
        assert abs(ahead.value[0] - same.value[0]) < 8 * same.standard_error[0]


KNOWN = np.ones(25)


@pytest.mark.parametrize("where", ["transition_sample", "observation_sample"])
def test_what_ends_before_the_forecast_is_told(where):
    functions = {
        "transition_sample": lambda rng, x, t, theta: x + KNOWN[t] * rng.standard_normal(),
        "observation_sample": lambda rng, x, t, theta: x + KNOWN[t] * rng.standard_normal(),
    }
    changes = {where: functions[where], "in_place": None, "exact": None}
    model = dataclasses.replace(LINEAR, **changes)
    with pytest.raises(smw.ModelError, match=f"{where}: IndexError .index 26 is out of bounds"):
        smw.forecast(model, Y, 2, 50, seed=1)
    assert smw.forecast(LINEAR, Y, 2, 50, seed=1).state_means.value.shape == (2,)
