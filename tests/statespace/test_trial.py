"""What compiled code would not notice is told at the door, without compiling anything."""

import math

import numba
import numpy as np
import pandas
import pytest

import smcweights as smw
from smcweights.statespace import compilation
from smcweights.statespace.trial import check_functions, check_time, tell_of_misses

from .test_model import LOG_ROOT, walk

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


@pytest.mark.slow
def test_functions_that_python_cannot_run_still_pass():
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


@pytest.mark.slow
def test_states_that_become_no_numbers_are_told_with_their_time():
    y = np.where(np.arange(20) < 17, 0.5, np.nan)
    for number in (np.nan, np.inf):
        # not at the first and last times, which are tried at the door
        model = walk(
            transition_sample=lambda rng, x_prev, t, theta, number=number: (
                number if t == 18 else 0.5 * x_prev + rng.standard_normal()
            ),
            transition_logpdf=lambda x_prev, x, t, theta: -0.5 * (x - 0.5 * x_prev) ** 2 - LOG_ROOT,
            observation_logpdf=lambda y, x, t, theta: 0.0,
        )
        match = f"transition_sample.*returned .{number}. at time 18"
        for call in (
            lambda model: smw.particle_filter(model, y, 50, seed=1),
            lambda model: smw.parisian_particle_gibbs(
                model, y, smw.functionals.sum_of_states, 10, 10, seed=1
            ),
        ):
            with pytest.raises(smw.ModelError, match=match):
                call(model)


def detected(code):
    """Seen with a chance that falls with |x|: a miss says that |x| is large."""

    def logpdf(y, x, t, theta):
        p = 0.9 * np.exp(-0.5 * x * x)
        miss = np.isnan(y) if code is None else y == code
        return np.log(1.0 - p) if miss else np.log(p) - 0.5 * (y - x) ** 2

    return walk(observation_logpdf=logpdf)


SEEN = np.array([0.2, np.nan, 0.5, np.nan])
INFORMS = {
    "a branch": (detected(None), SEEN),
    "a constant": (
        walk(observation_logpdf=lambda y, x, t, theta: -2.0 if np.isnan(y) else -((y - x) ** 2)),
        SEEN,
    ),
    "components": (
        walk(
            observation_logpdf=lambda y, x, t, theta: np.where(
                np.isnan(y), -np.exp(-x * x), -((y - x) ** 2)
            ).sum()
        ),
        np.column_stack([SEEN, SEEN]),
    ),
}
SILENT = {
    "another code": (detected(-9.0), np.array([0.2, -9.0, 0.5, np.nan])),
    "zero": (
        walk(observation_logpdf=lambda y, x, t, theta: 0.0 if np.isnan(y) else -((y - x) ** 2)),
        SEEN,
    ),
    "components": (
        walk(
            observation_logpdf=lambda y, x, t, theta: np.nansum(-((y - x) ** 2)),
        ),
        np.column_stack([SEEN, SEEN]),
    ),
    "a comparison": (
        walk(observation_logpdf=lambda y, x, t, theta: -0.1 * x * x if y == 1.0 else -1.0 - x * x),
        np.array([1.0, 0.0, np.nan]),
    ),
    "indices": (walk(observation_logpdf=lambda y, x, t, theta: -WEATHER[int(y)]), SEEN),
    "none missing": (detected(None), np.array([0.2, 0.5])),
}


@pytest.mark.parametrize("name", INFORMS)
def test_misses_that_inform_are_not_ignored_in_silence(name):
    model, y = INFORMS[name]
    with pytest.warns(smw.PrecisionWarning, match=r"a row of NaNs.*\[missing-rows\]") as told:
        tell_of_misses(model, y.reshape(len(y), -1), y.ndim == 2)
    assert len(told) == 1


@pytest.mark.parametrize("name", SILENT)
def test_misses_that_say_nothing_are_passed_over(name):
    model, y = SILENT[name]
    tell_of_misses(model, y.reshape(len(y), -1), y.ndim == 2)


@pytest.mark.slow
def test_every_door_tells_of_misses_that_inform():
    model = detected(None)
    with pytest.warns(smw.PrecisionWarning, match="missing-rows") as told:
        smw.particle_filter(model, SEEN, 400, repeats=2, seed=1)
    assert told[0].filename == __file__
    online = smw.OnlineFilter(model, 400, seed=1)
    online.update(0.2)
    with pytest.warns(smw.PrecisionWarning, match="missing-rows"):
        online.update(np.nan)


read_weather = numba.njit(lambda t: WEATHER[t])
STEPS = {
    "the function": lambda rng, x_prev, t, theta: x_prev + WEATHER[t] * rng.standard_normal(),
    "a helper": lambda rng, x_prev, t, theta: x_prev + read_weather(t) * rng.standard_normal(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_what_ends_before_a_stream_does_is_told_with_the_time(name):
    online = smw.OnlineFilter(walk(transition_sample=STEPS[name]), 100, seed=1)
    for t in range(len(WEATHER)):
        online.update(0.5 * t)
    with pytest.raises(smw.ModelError, match=r"^transition_sample: IndexError .*, 5, \["):
        online.update(np.nan)
    assert online.t == 5
    # what is read of observations alone is read where there are any
    density = numba.njit(lambda y, x, t, theta: -0.5 * (y - x) ** 2 - read_weather(t))
    smoother = smw.OnlineSmoother(
        walk(observation_logpdf=density), smw.functionals.sum_of_states, 50, repeats=2, seed=1
    )
    smoother.extend(WEATHER)
    smoother.extend([np.nan, np.nan])
    with pytest.raises(smw.ModelError, match=r"^observation_logpdf: IndexError .*, 8, \["):
        smoother.extend([0.1, 0.2, np.nan])
    assert smoother.t == 7


def test_streams_are_tried_with_what_was_compiled(monkeypatch):
    """A longer table reaches the next stream; the one that runs was compiled with the old one."""
    model = walk(transition_logpdf=lambda x_prev, x, t, theta: -0.5 * (x - WEATHER[t]) ** 2)
    copies = {}
    check_time(model, np.zeros((1, 1)), False, 0, copies)
    monkeypatch.setitem(globals(), "WEATHER", np.arange(9.0))
    with pytest.raises(smw.ModelError, match=r"^transition_logpdf: IndexError"):
        check_time(model, np.zeros((1, 1)), False, 5, copies)
    check_time(model, np.zeros((1, 1)), False, 5, {})


def test_functions_that_do_not_read_the_time_are_not_called_on_line():
    calls = []

    def logpdf(y, x, t, theta):
        calls.append(y)
        return -0.5 * (y - x) ** 2

    check_time(walk(observation_logpdf=logpdf), np.zeros((1, 1)), False, 9, {})
    assert not calls
    timed = walk(observation_logpdf=lambda y, x, t, theta: logpdf(y, x, t, theta))
    check_time(timed, np.zeros((1, 1)), False, 9, {})
    assert calls == [0.0]


def test_trying_a_model_compiles_nothing():
    @numba.njit
    def doubled(x):
        return 2.0 * x

    @numba.njit
    def helper(x):
        return doubled(x)

    model = walk(observation_logpdf=lambda y, x, t, theta: -(helper(y - x) ** 2))
    check_functions(model, np.zeros((3, 1)), False)
    assert not helper.overloads and not doubled.overloads
    table = np.zeros(2)
    short = numba.njit(lambda t: table[t])
    model = walk(observation_logpdf=lambda y, x, t, theta: short(t) - (y - x) ** 2)
    with pytest.raises(smw.ModelError, match="observation_logpdf: IndexError"):
        check_functions(model, np.zeros((3, 1)), False)


SEASON = {"costs": np.zeros(3)}


def test_a_model_is_tried_again_once_what_it_reads_has_changed(monkeypatch):
    model = walk(observation_logpdf=lambda y, x, t, theta: SEASON["costs"][t] - (y - x) ** 2)
    check_functions(model, np.zeros((3, 1)), False)
    monkeypatch.setitem(SEASON, "costs", np.zeros(2))
    with pytest.raises(smw.ModelError, match="observation_logpdf: IndexError"):
        check_functions(model, np.zeros((3, 1)), False)


@pytest.mark.parametrize("call", ["particle_filter", "score"])
def test_one_column_for_a_model_of_floats_is_told_at_the_door(call, monkeypatch):
    """Before anything is compiled."""

    def compiled(*args, **kwargs):
        raise AssertionError("something was compiled")

    monkeypatch.setattr(compilation, "jitted", compiled)
    frame = pandas.DataFrame({"level": np.arange(5.0)})
    more = [None] if call == "score" else []
    message = r"^observation_logpdf: returned shape \(1,\); .* a column frame\['name'\]"
    with pytest.raises(smw.ModelError, match=message):
        getattr(smw, call)(smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0), frame, *more, 20)
