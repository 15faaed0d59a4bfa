"""Arguments of models are checked at the door."""

import functools
import math

import numpy as np
import pytest

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


def test_a_model_says_what_it_is():
    said = repr(smw.models.linear_gaussian(0.9, 1.0, 1.0, 2.0)).splitlines()
    assert said[0] == "StateSpaceModel, linear gaussian: state float"
    assert "transition_matrix = 0.9" in said[1]
    driven = smw.StateSpaceModel(
        lambda rng, u, theta: 0.0,
        None,
        lambda rng, x_prev, u, t, theta: x_prev,
        None,
        lambda y, x, u, t, theta: 0.0,
        input_dim=2,
    )
    assert "2 inputs at each time, none given yet" in repr(driven)
    assert "given for 3 times" in repr(driven.with_inputs([[0.0, 1.0]] * 3))
    assert "without initial_logpdf, transition_logpdf" in repr(driven)


def test_several_series_are_no_array():
    series = [np.zeros(3), np.zeros(5)]
    for function in (smw.kalman_filter, lambda *given: smw.particle_filter(*given, 10)):
        with pytest.raises(TypeError, match=r"y: got a list of 2 series; expected one"):
            function(smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0), series)


def test_rows_of_tables_are_in_the_order_of_time_and_their_columns_are_found_by_name():
    pd = pytest.importorskip("pandas")
    level = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    years = pd.date_range("2001-01-01", periods=4, freq="YS")
    y = pd.Series([0.3, -0.2, np.nan, 0.5], index=years)
    exact = smw.kalman_filter(level, y.to_numpy()).log_likelihood
    for fine in (y, y.set_axis(years.to_period()), y.reset_index(drop=True), y.set_axis([*"dbca"])):
        assert smw.kalman_filter(level, fine).log_likelihood == exact
    for wrong in (y[::-1], y.set_axis(years.to_period())[::-1], y.reset_index(drop=True)[::-1]):
        with pytest.raises(ValueError, match=r"^y: got rows labelled .*as \.sort_index\(\) puts"):
            smw.kalman_filter(level, wrong)
    table = pd.DataFrame({"dam": [0.0, 0.0, 1.0, 1.0], "trend": np.arange(4.0)}, index=years)
    driven = smw.StateSpaceModel(
        lambda rng, u, theta: u[0], None, lambda rng, x, u, t, theta: u[0], None,
        lambda y, x, u, t, theta: 0.0, input_dim=2, inputs=table,
    )  # fmt: skip
    assert driven.input_names == ("dam", "trend")
    again = driven.with_inputs(table[["trend", "dam"]].assign(rain=1.0))
    np.testing.assert_array_equal(again.inputs, table)
    np.testing.assert_array_equal(driven.with_inputs([table] * 2).inputs[1], table)
    swapped = table.to_numpy()[:, ::-1]
    np.testing.assert_array_equal(driven.with_inputs(swapped).inputs, swapped)
    for given, message in (
        (
            table.rename(columns={"dam": "dams"}),
            r"inputs: got columns .*expected \['dam', 'trend'\]",
        ),
        (table[::-1], r"inputs: got rows labelled"),
    ):
        with pytest.raises(ValueError, match=message):
            driven.with_inputs(given)
    with pytest.raises(ValueError, match=r"input_names: got \('dam',\); expected 2"):
        smw.StateSpaceModel(
            lambda rng, u, theta: u[0], None, lambda rng, x, u, t, theta: u[0], None,
            lambda y, x, u, t, theta: 0.0, input_dim=2, input_names=["dam"],
        )  # fmt: skip
