"""Honest and dishonest estimators, told apart at the stated false-alarm rate."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import smcweights as smw


def student(seed, n=8):
    x = np.random.default_rng(seed).normal(3.0, 2.0, size=n)
    return smw.Estimate(x.mean(), x.var(ddof=1) / n, degrees_of_freedom=n - 1)


def normal(seed, n=8):
    found = student(seed, n)
    return found.value, found.standard_error


def pair(seed):
    x = np.random.default_rng(seed).normal([1.0, -1.0], 1.0, size=(9, 2))
    freedom = 8
    return smw.Estimate(
        x.mean(axis=0), np.cov(x.T) / 9, names=["a", "b"], degrees_of_freedom=freedom
    )


def test_an_honest_estimator_passes_and_a_dishonest_one_is_caught():
    honest = smw.calibrate(student, 3.0, 400)
    assert honest.honest
    # normal quantiles for eight draws cover 91 % at 95 %: known from Student's law
    dishonest = smw.calibrate(normal, 3.0, 400)
    assert not dishonest.honest
    exact = 1 - 2 * stats.t.sf(stats.norm.ppf(0.5 + dishonest.levels / 2), 7)
    error = np.sqrt(exact * (1 - exact) / 400)
    assert (np.abs(dishonest.coverage[0] - exact) < 4 * error).all()
    # the same runs, so equal but for their intervals
    np.testing.assert_array_equal(honest.values, dishonest.values)
    assert "do NOT hold" in repr(dishonest)
    assert "intervals hold" in repr(honest)


@pytest.mark.slow
def test_false_alarms_and_power_are_as_stated():
    rng, n, level = np.random.default_rng(5), 300, 0.95

    def found(share):
        held = rng.random((n, 1, 1)) < share
        zeros, runs = np.zeros((n, 1)), np.arange(n)
        truth, levels = np.zeros(1), np.array([level])
        return smw.Calibration(
            ("a",), truth, levels, runs, zeros, zeros + 1, held, np.zeros(n, dtype=bool)
        )

    alarms = sum(not found(level).honest for _ in range(2_000))
    assert alarms <= stats.binom.ppf(0.9999, 2_000, 0.01)
    short = level - found(level).detectable[0]
    seen = sum(not found(short).honest for _ in range(2_000))
    assert abs(seen / 2_000 - 0.8) < 4 * np.sqrt(0.16 / 2_000)


def test_bounds_bias_and_error_ratio_are_those_of_the_runs():
    found = smw.calibrate(pair, [1.0, -1.0], 60, levels=[0.8, 0.95])
    runs = [pair(seed) for seed in range(60)]
    values = np.array([run.value for run in runs])
    low, high = (np.array([run.interval(0.95)[k] for run in runs]) for k in (0, 1))
    held = (low <= [1.0, -1.0]) & (high >= [1.0, -1.0])
    np.testing.assert_array_equal(found.covered[:, :, 1], held)
    table = found.summary()
    exact = stats.binomtest(int(held[:, 1].sum()), 60).proportion_ci(0.95, "exact")
    np.testing.assert_allclose(table.loc["b at 95 %", ["lower", "upper"]], [*exact])
    z = stats.ttest_1samp(values, [1.0, -1.0]).statistic
    np.testing.assert_allclose(found.bias_z, z)
    stated = np.array([run.variance for run in runs]).mean(axis=0)
    real = ((values - [1.0, -1.0]) ** 2).mean(axis=0)
    np.testing.assert_allclose(found.error_ratio, np.sqrt(real / stated))


def test_truths_with_names_are_read_by_the_names_of_the_estimate():
    found = smw.calibrate(pair, [1.0, -1.0], 20)
    for named in ({"b": -1.0, "a": 1.0}, pd.Series({"b": -1.0, "a": 1.0})):
        other = smw.calibrate(pair, named, 20)
        np.testing.assert_array_equal(other.truth, [1.0, -1.0])
        np.testing.assert_array_equal(other.covered, found.covered)
    assert smw.calibrate(pair, pd.Series([1.0, -1.0]), 20).honest == found.honest
    with pytest.raises(ValueError, match=r"truth: got the names \['b'\]; expected \['a', 'b'\]"):
        smw.calibrate(pair, {"b": -1.0}, 20)


@pytest.mark.parametrize("unit", [1e-300, 1e300])
def test_bias_and_error_ratio_know_no_scale_and_no_rounding(unit):
    z = [np.random.default_rng(seed).normal() for seed in range(20)]
    plain = smw.calibrate(lambda seed: (z[seed], 1.0), 0.0, 20)
    found = smw.calibrate(lambda seed: (unit * z[seed], unit), 0.0, 20)
    np.testing.assert_allclose(found.bias_z, plain.bias_z)
    np.testing.assert_allclose(found.error_ratio, plain.error_ratio)
    assert smw.calibrate(lambda seed: (0.05, 0.1), 0.0, 100).bias_z == np.inf


def test_two_runs_say_that_they_see_nothing():
    assert "No number of points less than 95 %" in repr(smw.calibrate(pair, [1.0, -1.0], 2))


def test_the_figure_names_every_component():
    run = lambda seed: (np.random.default_rng(seed).normal(size=5), 1.0)
    ax = smw.calibrate(run, np.zeros(5), 20).plot()
    drawn = {
        (line.get_marker(), line.get_color()) for line in ax.lines if line.get_marker() in "osD"
    }
    assert len(drawn) == len(ax.get_legend().get_texts()) == 5
    plt.close(ax.figure)


def test_a_run_without_an_error_is_left_out_of_the_ratio_and_covers_nothing():
    def sometimes(seed):
        run = pair(seed)
        return run.value, run.standard_error if seed else np.full(2, np.nan)

    found, others = (smw.calibrate(sometimes, [1.0, -1.0], range(k, 30)) for k in (0, 1))
    np.testing.assert_allclose(found.error_ratio, others.error_ratio)
    assert not found.covered[0].any()


def test_runs_that_warn_are_not_asked_to_cover():
    def often_wrong(seed):
        wrong = seed % 3 == 0
        cautions = [smw.Caution("heavy-tails", "heavy tails")] if wrong else []
        z = np.random.default_rng(seed).normal()
        return smw.Estimate(z + 50 * wrong, 1.0, cautions=cautions)

    found = smw.calibrate(often_wrong, 0.0, 90)
    assert found.honest and found.warned.sum() == 30
    all_warn = smw.calibrate(lambda seed: often_wrong(3 * seed), 0.0, 10)
    assert "none promised anything" in repr(all_warn)
    assert np.isnan(all_warn.coverage).all() and np.isnan(all_warn.detectable).all()


def test_equal_wherever_it_runs_and_kept(tmp_path):
    found = smw.calibrate(pair, [1.0, -1.0], 20)
    path = tmp_path / "runs.npz"
    for executor in ("threads", "processes"):
        other = smw.calibrate(pair, [1.0, -1.0], 20, executor=executor, checkpoint=path)
        np.testing.assert_array_equal(other.covered, found.covered)
        np.testing.assert_array_equal(other.values, found.values)
    with pytest.raises(ValueError, match="checkpoint"):
        smw.calibrate(pair, [1.0, -1.5], 20, checkpoint=path)
    found.save(tmp_path / "found.nc")
    again = smw.Calibration.load(tmp_path / "found.nc")
    assert repr(again) == repr(found)
    assert json.dumps(again.provenance) == json.dumps(found.provenance)


def test_a_lost_checkpoint_is_told_though_runs_are_quiet(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()

    def last(seed):
        if seed == 9:
            (folder / "runs.npz").unlink(), folder.rmdir()
        return pair(seed)

    with pytest.warns(smw.PrecisionWarning, match="runs.npz can't be written"):
        found = smw.calibrate(last, [1.0, -1.0], 10, checkpoint=folder / "runs.npz")
    np.testing.assert_array_equal(found.values, smw.calibrate(pair, [1.0, -1.0], 10).values)


def test_intervals_alone_and_exact_answers():
    found = smw.calibrate(lambda s: (0.1 + 0.2, 0.3, 0.3), 0.3, 5, levels=[0.9])
    assert found.covered.all() and np.isnan(found.standard_errors).all()
    with pytest.raises(ValueError, match=r"levels: got \[0.5, 0.9\].*, say \[0.95\]"):
        smw.calibrate(lambda s: (1.0, 0.5, 1.5), 1.0, 5, levels=[0.5, 0.9])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"run": 3}, TypeError, "run: got int; expected a function of a seed"),
        ({"run": lambda s: "five"}, TypeError, "run: got 'five' with seed 0; expected an Estimate"),
        ({"run": lambda s: (np.nan, 1.0)}, smw.ModelError, "run: got nan with seed 0"),
        (
            {"run": lambda s: (3.0, -0.1)},
            smw.ModelError,
            "run: got a standard error -0.1 with seed 0",
        ),
        (
            {"run": lambda s: (3.0, (2.9, 3.1))},
            smw.ModelError,
            r"error of shape \(2,\) with seed 0",
        ),
        ({"run": lambda s: stats.ttest_1samp([2, 3, 4], 0)}, TypeError, "run: got TtestResult"),
        (
            {"run": lambda s: (3.0, 3.1, 2.9), "levels": [0.9]},
            smw.ModelError,
            "run: got an interval from 3.1 to 2.9 with seed 0; expected the lower end first",
        ),
        ({"truth": [1.0, 2.0]}, ValueError, r"truth: got shape \(2,\); expected \(\)"),
        ({"truth": np.nan}, ValueError, "truth: nan; expected"),
        ({"truth": []}, ValueError, "truth: got no number"),
        ({"seeds": 1}, ValueError, "seeds: got 1; expected"),
        ({"seeds": [1, 1]}, ValueError, r"seeds: got .*; expected two or more different"),
        ({"levels": [0.9, 0.5]}, ValueError, "levels: got .*; expected increasing"),
        ({"levels": [95]}, ValueError, "levels: got 95"),
    ],
)
def test_what_is_wrong_is_named(change, error, message):
    with pytest.raises(error, match=message):
        smw.calibrate(**({"run": normal, "truth": 3.0, "seeds": 4} | change))


def test_an_error_names_the_seed():
    def fails(seed):
        if seed == 2:
            raise RuntimeError("no convergence")
        return normal(seed)

    with pytest.raises(RuntimeError, match="no convergence") as caught:
        smw.calibrate(fails, 3.0, 4)
    assert any("seed 2" in note for note in caught.value.__notes__)


def test_the_figure_has_a_point_per_component_and_level():
    ax = smw.calibrate(pair, [1.0, -1.0], 20).plot()
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in points] == [4, 4]
