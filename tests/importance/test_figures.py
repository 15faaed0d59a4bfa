"""Figures of importance sampling: what they draw is what the estimate says."""

import re

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights import plots, problems
from smcweights.importance import figures

FIGURES = ("stages", "weights", "controls", "gains", "mixture")


@pytest.fixture(scope="module")
def run():
    def integrand(x):
        return np.stack([x[:, 0] + 2, x[:, 0] > 3], axis=1)

    return smw.adaptive_importance_sampling(
        integrand, [stats.norm()], 4_000, names=["mean", "tail, $3"], seed=1
    )


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


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_labels_its_axes_and_takes_axes(run, name):
    ax = getattr(figures, name)(run)
    ax.figure.canvas.draw()
    assert ax.get_xlabel()
    assert getattr(figures, name)(run, ax=ax) is ax


@pytest.mark.parametrize("name", FIGURES)
def test_an_estimate_without_the_diagnostics_is_told(name):
    with pytest.raises(ValueError, match=rf"plots\.{name}: the estimate (has|holds) no"):
        getattr(figures, name)(smw.Estimate(1.0, 0.1))


def test_stages_show_the_largest_relative_error_and_mark_what_was_not_seen():
    rows = [
        {"draws": 100, "criterion": np.inf, "variance": [1.0, np.inf], "estimate": [1.0, 0.0]},
        {"draws": 100, "criterion": 0.25, "variance": [4.0, 0.01], "estimate": [4.0, 0.5]},
        {"draws": 300, "criterion": 0.04, "variance": [0.64, 0.001], "estimate": [4.0, 0.5]},
    ]
    ax = figures.stages(smw.Estimate([1.0, 0.5], np.eye(2), diagnostics={"stages": rows}))
    seen, unseen = (line.get_xydata() for line in ax.lines)
    np.testing.assert_allclose(seen, [[200, 0.5], [500, 0.2]])
    np.testing.assert_allclose(unseen, [[100, 1.0]])
    assert notes_of(ax)[:2] == ["0.25", "0.04"]
    with pytest.raises(ValueError, match="without adaptation"):
        figures.stages(smw.Estimate(1.0, 0.1, diagnostics={"stages": []}))


def test_weights_count_every_draw_and_say_their_number(run):
    ax = figures.weights(run)
    log_w = np.asarray(run.sample["log_weight"])
    assert sum(bar.get_height() for bar in ax.patches) == np.isfinite(log_w).sum()
    size = np.exp(2 * np.logaddexp.reduce(log_w) - np.logaddexp.reduce(2 * log_w))
    worth = int(re.search(r"worth ([\d,]+)", ax.get_title())[1].replace(",", ""))
    assert abs(worth - size) <= 0.51
    assert "weights bounded" in ax.get_title() or "k-hat" in ax.get_title()


def test_ratios_start_at_one_and_an_unseen_expectation_is_named():
    known = {
        "gain_over_monte_carlo": np.array([0.5, 12_345.0, np.nan]),
        "control_variance_reduction": np.array([1.0, 3.0, np.nan]),
        "control_variate": ["none", "own component", "none"],
    }
    est = smw.Estimate([1.0, 2.0, 0.0], np.eye(3), diagnostics=known)
    ax = figures.gains(est)
    np.testing.assert_allclose(rows_of(ax)[:2], [[1, 0.5], [1, 12_345]])
    assert notes_of(ax) == ["0.5 x", "12,300 x", "never seen"]
    assert ax.get_xscale() == "log"
    ax = figures.controls(est)
    ax.figure.canvas.draw()
    assert notes_of(ax) == ["1 x: none", "3 x: own component", "never seen"]
    assert ax.get_xscale() == "linear"


def test_components_go_by_the_names_of_what_they_serve():
    known = {
        "mixture_weights": np.array([0.1, 0.3, 0.2, 0.4]),
        "components": [
            "input law",
            "expectations 1, 3",
            "leading function",
            "exploration at 1.4 times the scale",
        ],
    }
    est = smw.Estimate(np.ones(3), np.eye(3), names=["a", "b", "2 c"], diagnostics=known)
    ax = figures.mixture(est)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["input law", "for a, 2 c", *known["components"][2:]]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], known["mixture_weights"])


def test_the_gains_of_thousands_of_expectations_fit_a_page():
    j = 3_000
    est = smw.Estimate(
        np.ones(j), factor=np.full((j, 1), 0.1), diagnostics={"gain_over_monte_carlo": np.ones(j)}
    )
    ax = figures.gains(est)
    ax.figure.canvas.draw()
    assert ax.figure.get_size_inches()[1] < 10
    assert not notes_of(ax)


def linear(beta, d):
    return lambda x: beta - x.sum(axis=1) / np.sqrt(d)


def test_figures_of_levels_and_failures():
    import matplotlib.pyplot as plt

    est = smw.failure_probability(linear(4, 3), [stats.norm()] * 3, 3_000, threshold=[0, 1], seed=1)
    ax = plots.levels(est)
    assert len(ax.get_legend().get_texts()) == 2
    plt.close(ax.figure)
    ax = plots.failures(est, event=1)
    assert "importance 0.3" in ax.get_xlabel()
    plt.close(ax.figure)
    with pytest.raises(ValueError, match="event: got 2"):
        plots.failures(est, event=2)
    with pytest.raises(ValueError, match="levels"):
        plots.levels(smw.Estimate(1.0, 0.1))


@pytest.mark.slow
def test_bars():
    import matplotlib.pyplot as plt

    problem = problems.ishigami()
    found = smw.sobol_indices(problem.function, problem.law, 640, seed=1)
    ax = found.plot()
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["X1", "X2", "X3"]
    widths = np.array([bar.get_width() for bar in ax.patches])
    np.testing.assert_allclose(widths, [*found.first.value, *found.total.value])
    plt.close("all")
    second = smw.sobol_indices(problem.function, problem.law, 640, order="second", seed=1)
    with pytest.raises(ValueError, match="no first-order or total"):
        plots.sobol(second)


def test_indices_of_a_series_along_time():
    import matplotlib.pyplot as plt

    at = np.array([0.0, 0.5, 2.0])
    found = smw.sobol_indices(
        lambda x: x[:, [0]] + at * x[:, [1]], [stats.uniform()] * 2, 200, order="total", seed=1
    )
    ax = plots.sobol_series(found, t=at)
    assert [line.get_label() for line in ax.lines] == ["X1", "X2"]
    for line, exact in zip(ax.lines, (1 / (1 + at**2), at**2 / (1 + at**2)), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), at)
        np.testing.assert_allclose(line.get_ydata(), exact, atol=1e-6)
    assert len(ax.collections) == 2 and "total index" in ax.get_ylabel()
    plt.close("all")
    with pytest.raises(ValueError, match=r"t: got shape \(2,\); expected \(3,\)"):
        plots.sobol_series(found, t=[0.0, 1.0])
    with pytest.raises(ValueError, match="no first indices"):
        plots.sobol_series(found, kind="first")


def test_tails_are_shown_beside_what_can_be_promised():
    known = {"pareto_k": [0.3, 0.9, -np.inf], "effective_draws": [800.0, 40.0, 1_000.0]}
    est = smw.Estimate(np.ones(3), np.eye(3), names=["a", "b", "c"], diagnostics=known)
    ax = smw.plots.pareto(est)
    notes = [text.get_text() for text in ax.texts]
    assert notes == ["800 draws", "40 draws", "bounded, 1,000 draws"]
    good, bad = (line.get_xydata().tolist() for line in ax.lines[2:])
    assert good == [[0.3, 0.0]]
    assert bad == [[0.9, 1.0]]


def test_stages_of_a_posterior_are_drawn_elsewhere():
    est = smw.Estimate(1.0, 0.01, diagnostics={"stages": [{"draws": 9, "beta": 0.0}]})
    with pytest.raises(ValueError, match=r"plots\.ladder"):
        smw.plots.stages(est)
