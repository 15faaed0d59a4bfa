"""Figures and page of a real run."""

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights import plots, report


@pytest.fixture(scope="module")
def run():
    def integrand(x):
        return np.stack([x[:, 0] + 2, x[:, 0] > 3], axis=1)

    return smw.adaptive_importance_sampling(
        integrand, [stats.norm()], 4_000, names=["mean", "<tail> & more"], seed=1
    )


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.mark.parametrize("name", plots.__all__)
def test_every_figure_draws_and_labels_its_axes(run, name):
    ax = getattr(plots, name)(run)
    ax.figure.canvas.draw()
    assert ax.get_xlabel()
    assert getattr(plots, name)(run, ax=ax) is ax


def test_intervals_are_where_the_estimate_says(run):
    ax = plots.estimate(run, truth=[2.0, stats.norm.sf(3)])
    ends = np.array([line.vertices[:, 0] for line in ax.collections[0].get_paths()])
    lower, upper = run.interval()
    truth = np.array([2.0, stats.norm.sf(3)])
    np.testing.assert_allclose(ends, np.stack([lower, upper], 1) / truth[:, None] - 1, atol=1e-12)


def test_an_estimate_without_sample_has_no_weights(run):
    with pytest.raises(ValueError, match="no sample"):
        plots.weights(smw.Estimate(1.0, 0.1))


def test_estimates_of_every_kind_make_a_page(run, tmp_path):
    path = tmp_path / "page.html"
    bare = smw.Estimate(1.0, 0.01, diagnostics={"warnings": ["k-hat <0.9>"]})
    report.write(
        path, "A & B", [report.Section("run", "text <b>", run), report.Section("bare", "", bare)]
    )
    page = path.read_text()
    assert "&lt;tail&gt; &amp; more" in page
    assert "text &lt;b&gt;" in page
    assert "k-hat &lt;0.9&gt;" in page
    assert page.count("<figure>") == len(report.figures(run)) + len(report.figures(bare))
    assert not [p for p in tmp_path.iterdir() if p != path]


def test_a_page_that_cant_be_written_leaves_the_old_one(run, tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("old")
    monkeypatch.setattr(report.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        report.write(path, "t", [])
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
