"""Axes, rows and intervals: what is drawn is what the estimate says."""

import numpy as np
import pytest

import smcweights as smw
from smcweights.canvas import bands, estimate, log_scale, open_axes, position


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def rows_of(ax):
    """Ends of the horizontal lines, (J, 2)."""
    return np.array([path.vertices[:, 0] for path in ax.collections[0].get_paths()])


def notes_of(ax):
    return [text.get_text() for text in ax.texts]


def test_intervals_are_where_the_estimate_says():
    est = smw.Estimate([2.0, 0.00135], np.diag([1e-2, 1e-8]), names=["mean", "tail, $3"])
    ends, truth = np.stack(est.interval(0.9), 1), np.array([1.9, 0.0014])
    np.testing.assert_allclose(rows_of(estimate(est, level=0.9)), ends)
    relative = rows_of(estimate(est, truth=truth, level=0.9))
    np.testing.assert_allclose(relative, ends / truth[:, None] - 1, atol=1e-12)
    assert est.plot().get_xlabel() == "estimate, 95 % interval"
    with pytest.raises(ValueError, match="truth: got 3 numbers; expected 2"):
        estimate(est, truth=[1, 2, 3])


def test_an_error_far_below_its_value_is_said_in_the_same_units():
    est = smw.Estimate([-566.5865, 2.0], np.diag([0.0032**2, 0.1**2]))
    assert notes_of(estimate(est)) == ["-566.5865 ± 0.0063", "2 ± 9.8 %"]


def test_an_error_of_a_probability_is_said_in_points_unless_it_is_rare():
    est = smw.Estimate([0.39068, 2e-4], np.diag([4e-4**2, 1e-5**2]))
    assert notes_of(estimate(est)) == ["0.39068 ± 0.00078", "0.0002 ± 9.8 %"]


def test_a_truth_of_zero_is_compared_in_standard_errors():
    est = smw.Estimate([0.1, -2.0], np.diag([0.01, 4.0]))
    ax = estimate(est, truth=[0.0, 1.0])
    np.testing.assert_allclose(rows_of(ax).mean(1), [1.0, -1.5])
    assert "standard errors" in ax.get_xlabel()


def test_values_over_decades_go_on_a_log_scale_unless_an_interval_reaches_zero():
    variance = np.diag([1e-4, 1e-12])
    assert estimate(smw.Estimate([1.0, 1e-5], variance)).get_xscale() == "log"
    assert estimate(smw.Estimate([1.0, 1e-7], variance)).get_xscale() == "linear"


def test_no_hit_and_no_error_are_said_in_words():
    unseen = smw.Estimate([0.0, 1.0], np.diag([0.0, 0.01]), trials=[1000.0, 0.0])
    limit = -np.log(0.05) / 1000
    ax = estimate(unseen)
    np.testing.assert_allclose(rows_of(ax)[0], [0, limit])
    assert notes_of(ax)[0] == "below 0.003"
    assert "19.6 %" in notes_of(ax)[1]
    unknown = smw.Estimate(2.0, np.nan)
    ax = estimate(unknown)
    ax.figure.canvas.draw()
    assert notes_of(ax) == ["2, error unknown"]


def test_thousands_of_expectations_fit_a_page():
    j = 3_000
    est = smw.Estimate(np.ones(j), factor=np.full((j, 1), 0.1))
    ax = estimate(est)
    ax.figure.canvas.draw()
    assert ax.figure.get_size_inches()[1] < 10
    assert not notes_of(ax)


def test_names_with_dollars_and_great_length_are_drawn():
    est = smw.Estimate([1.0, 2.0], np.eye(2), names=["$100 or $x_", "long " * 40])
    estimate(est).figure.canvas.draw()


def test_errors_of_other_sizes_are_compared_in_standard_errors():
    est = smw.Estimate([-633.0, 2.0], np.diag([1e-8, 1e-2]))
    ax = estimate(est, truth=[-633.0001, 2.1])
    np.testing.assert_allclose(rows_of(ax).mean(1), [1.0, -1.0], rtol=1e-6)
    assert "standard errors" in ax.get_xlabel()
    alike = smw.Estimate([10.0, 2.0], np.diag([1e-4, 1e-2]))
    assert "relative" in estimate(alike, truth=[10.0, 2.1]).get_xlabel()


def test_bands_follow_the_intervals_and_refuse_scalars_and_other_times():
    est = smw.Estimate([1.0, 3.0], np.diag([0.01, 0.04]))
    band = bands(est, times=[10, 20], level=0.9).collections[0].get_paths()[0].vertices
    lower, upper = est.interval(0.9)
    for at, ends in ((10, (lower[0], upper[0])), (20, (lower[1], upper[1]))):
        heights = np.unique(band[band[:, 0] == at, 1])
        np.testing.assert_allclose([heights.min(), heights.max()], ends)
    with pytest.raises(ValueError, match="got a scalar estimate"):
        bands(smw.Estimate(1.0, 0.1))
    with pytest.raises(ValueError, match=r"times: got shape \(3,\)"):
        bands(est, times=[1, 2, 3])


def test_axes_given_are_used_and_scales_are_logarithmic_over_a_decade_only():
    ax = open_axes(None)
    assert open_axes(ax) is ax
    log_scale(ax, "x", np.array([1.0, 9.0]))
    assert ax.get_xscale() == "linear"
    log_scale(ax, "x", np.array([1.0, np.nan, 0.0, 11.0]))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")


def test_a_parameter_goes_by_name_or_position():
    assert position(["a", "b"], "b") == position(["a", "b"], 1) == 1
    with pytest.raises(ValueError, match=r"parameter: got 2; expected one of"):
        position(["a", "b"], 2)
