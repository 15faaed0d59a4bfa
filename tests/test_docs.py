"""Pages of docs/: what they must name, and that the code on them runs and prints what they say."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from test_readme import BLOCK, check_same, rows, run

import smcweights as smw

DOCS = Path(__file__).parents[1] / "docs"
# blocks of these need a cluster or a language model: other tests read them
ELSEWHERE = ("cluster.md", "tokens.md")
PAGES = {
    str(path.relative_to(DOCS)): BLOCK.findall(path.read_text(encoding="utf-8"))
    for path in sorted(DOCS.rglob("*.md"))
    if path.name not in ELSEWHERE
}
PAGES = {name: blocks for name, blocks in PAGES.items() if any(b[0] == "python" for b in blocks)}
SLOW = ()


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow if p in SLOW else ()) for p in PAGES]
)
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_code_on_pages_runs_and_prints_what_is_written(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names, checked = {"__name__": page}, []
    for language, text in PAGES[page]:
        if language == "python":
            capsys.readouterr()
            run(text, names, checked)
        elif not language:
            printed = capsys.readouterr().out
            if rows(text):
                check_same(text, printed)
            else:
                assert text == printed
    plt.close("all")
    python = "".join(text for language, text in PAGES[page] if language == "python")
    assert len(rows("\n".join(re.findall(r"^# .*$", python, re.M)))) == len(checked)


def test_every_public_name_is_in_the_reference_once():
    pages = "".join(path.read_text() for path in sorted((DOCS / "reference").glob("*.md")))
    shown = re.findall(r"^(?:::: smcweights\.|## )(\w+)", pages, re.M)
    assert sorted({*shown}) == sorted(smw.__all__)
    # of these two names stand apart
    assert {name for name in shown if shown.count(name) > 1} == {"report"}
