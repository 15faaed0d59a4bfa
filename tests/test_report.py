"""The page of a run: complete, self-contained, escaped, written whole or not at all."""

import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights import report
from smcweights.cautions import Caution


@pytest.fixture(scope="module")
def run():
    def integrand(x):
        return np.stack([x[:, 0] + 2, x[:, 0] > 3], axis=1)

    return smw.adaptive_importance_sampling(
        integrand, [stats.norm()], 4_000, names=["mean", "<tail> & more"], seed=1
    )


class Tags(HTMLParser):
    """Every tag opened and its attributes; fails on one closed in the wrong place."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.sources = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "xlink:href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page_of(path, *sections, title="A & B"):
    report.write(path, title, sections)
    return path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_page_is_well_formed_escaped_and_needs_nothing_else_with_provenance(run, tmp_path):
    bare = smw.Estimate(1.0, 0.01, cautions=[Caution("heavy-tails", "k-hat <0.9>")])
    page = page_of(
        tmp_path / "page.html",
        report.Section("run <i>", "text <b>", run, truth=[2.0, stats.norm.sf(3)]),
        report.Section("bare", "", bare),
    )
    tags = Tags(page)
    assert tags.seen.count("figure") == len(report.figures(run)) + len(report.figures(bare)) == 6
    assert {"script", "link", "b", "i", "tail"} & set(tags.seen) == {"b"}  # of the warning
    assert tags.sources and all(source.startswith("#") for source in tags.sources)
    assert all(place.startswith("#") for place in re.findall(r"url\((.*?)\)", page))
    for text in ("&lt;tail&gt; &amp; more", "text &lt;b&gt;", "k-hat &lt;0.9&gt;", "A &amp; B"):
        assert text in page
    assert not [p for p in tmp_path.iterdir() if p.name != "page.html"]
    assert "seed 1; " in page
    assert run.provenance["time"] in page
    assert html.escape(run.bibtex) in page
    assert f"numpy {np.__version__}" in page
    assert "control variate" in page  # the diagnostics by expectation


def test_numbers_say_what_they_are_of_where_a_narrow_screen_has_no_header(tmp_path):
    page = page_of(tmp_path / "page.html", report.Section("one", "", smw.Estimate(2.0, 0.01)))
    header, ((_, *numbers),) = report.table(smw.Estimate(2.0, 0.01))
    assert re.findall('<td data-of="(.*?)">(.*?)</td>', page) == list(
        zip(header[1:], numbers, strict=True)
    )


def test_the_table_says_what_was_estimated_beside_truth_and_monte_carlo():
    est = smw.Estimate(
        [4.0822, 1e-5, 0.0],
        np.diag([0.0098**2, 1e-12, 0.0]),
        names=["mean", "tail", "never"],
        trials=[0, 0, 1000],
        diagnostics={"gain_over_monte_carlo": np.array([4.24, 12_359.0, np.nan])},
    )
    crude = smw.Estimate([4.1, 0.0, 0.0], np.diag([0.01, 0.0, 0.0]), trials=[0, 2000, 2000])
    header, rows = report.table(est, [4.05, 1.1e-5, 1e-9], crude)
    assert header == [
        "", "estimate", "95 % interval", "truth", "in", "error", "plain Monte Carlo", "gain",
    ]  # fmt: skip
    # 1.959964 standard errors by hand; no hit: -log(0.05)/trials
    assert rows == [
        ["mean", "4.082", "[4.063, 4.101]", "4.0500", "no", "0.2 %", "4.1 +- 0.20", "4.2"],
        ["tail", "1.00e-5", "[8.04e-6, 1.20e-5]", "1.100e-5", "yes", "10 %",
         "0 hits, < 0.0015", "12,359"],
        ["never", "0", "[0, 0.00300]", "1.000e-9", "yes", "-", "0 hits, < 0.0015", "-"],
    ]  # fmt: skip
    assert report.table(smw.Estimate(1.0, np.nan))[1] == [["estimate", "1.00", "[nan, nan]", "-"]]


def test_a_truth_of_another_length_is_refused(run):
    with pytest.raises(ValueError, match="truth: has 1 numbers; the estimate has 2"):
        report.table(run, [1.0])
    with pytest.raises(ValueError, match="monte_carlo: has 1"):
        report.table(run, None, smw.Estimate(1.0, 0.1))


def test_diagnostics_in_words(run):
    said = " ".join(report.in_words(run))
    gain = run.diagnostics["gain_over_monte_carlo"].max()
    assert float(re.search(r"to ([\d.,]+) \(<tail>", said)[1].replace(",", "")) == pytest.approx(
        gain, rel=6e-3
    )
    assert run.diagnostics["stopped"] in said
    assert report.in_words(smw.Estimate(1.0, 0.1)) == []


@pytest.mark.slow
def test_results_of_every_origin_make_a_page(tmp_path):
    law, proposal = [stats.norm()], [stats.norm(3)]
    single = smw.importance_sampling(lambda x: x[:, 0] > 3, law, proposal, 1_000, seed=1)
    single.save(tmp_path / "single.nc")
    many = smw.Estimate(np.ones(500), factor=np.full((500, 1), 0.1))
    page = page_of(
        tmp_path / "page.html",
        report.Section("loaded", "", smw.Estimate.load(tmp_path / "single.nc")),
        report.Section("combined", "", smw.combine([single])),
        report.Section("one of several", "", smw.Estimate([1.0, 2.0], np.eye(2))["E1"]),
        report.Section("many", "", many),
    )
    Tags(page)
    assert "and 300 more" in page


def test_a_page_that_cant_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("old")

    def full(*_):
        raise OSError("disk")

    monkeypatch.setattr(report.storage.os, "replace", full)
    with pytest.raises(OSError, match="disk"):
        report.write(path, "t", [])
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_names_of_any_length_and_script_are_isolated_and_drawn(tmp_path):
    names = ["long" * 30, "עלות, ש״ח", "収率", "a " * 40 + "b"]
    est = smw.Estimate(
        np.ones(4), np.eye(4), names=names, cautions=[Caution("few", f"{names[1]} (5), {names[2]}")]
    )
    page = page_of(tmp_path / "page.html", report.Section("names", "", est))
    Tags(page)
    assert f"<td><bdi>{names[0]}</bdi></td>" in page
    # in sentences only what is written from the right needs it
    assert f"<bdi>{names[1]}</bdi> (5), {names[2]}" in page
    (figure,) = re.findall("<svg.*?</svg>", page, re.DOTALL)
    drawn = re.findall(r"<text[^>]*>(.*?)</text>", figure)
    assert {names[1], names[2]} < {*drawn}
    assert max(map(len, drawn)) <= 36


def test_figures_follow_the_scheme_of_the_page_and_a_single_number_has_none(run):
    captions = [caption for caption, _ in report.figures(run["mean"])]
    assert not {"Estimates", "Gain over plain Monte Carlo"} & {*captions}
    assert report.figures(smw.Estimate(1.0, 0.01)) == []
    drawn = report.as_svg(lambda ax: ax.plot([1, 2], "o", color="#0072b2", label="#0072b2"))
    assert "var(--blue)" in drawn and "var(--ink)" in drawn
    # but for the black of letters, which a page replaces
    assert not re.search(r"#0072b2|#1b1b1b", drawn)
    assert " id=" not in re.sub(r" id=.[mp][0-9a-f]+.", "", drawn)


@pytest.mark.parametrize(
    "name, value, error, said",
    [
        ("mean", 4.0, 0.02, "0.5 %"),
        ("mean", 918.84, 0.3, "0.03 %"),
        ("mean", 1094.7, 0.0075, "0.0075"),  # not 0.0007 %
        ("log evidence", -633.0, 0.11, "0.11"),  # no share of it means anything
        ("mean", 0.0, 0.1, "-"),
    ],
)
def test_errors_are_a_share_or_in_the_units_of_the_value(name, value, error, said):
    est = smw.Estimate([value], [[error**2]], names=[name])
    assert report.table(est)[1][0][-1] == said
