"""Pages of docs/: what they must name, and that the code on them runs and prints what they say."""

import ast
import re
from pathlib import Path

import pytest
from test_readme import BLOCK, check_blocks

import smcweights as smw

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# where the warnings of a room are explained, and those of all rooms
EXPLAINED = {
    "importance": ("importance", "posterior"),
    "statespace": ("statespace",),
    "rejection": ("text",),
    "transport": ("distances",),
}
# blocks of these need a cluster or a language model: other tests read them
ELSEWHERE = ("cluster.md", "tokens.md")
PAGES = {
    str(path.relative_to(DOCS)): BLOCK.findall(path.read_text(encoding="utf-8"))
    for path in sorted(DOCS.rglob("*.md"))
    if path.name not in ELSEWHERE
}
PAGES = {name: blocks for name, blocks in PAGES.items() if any(b[0] == "python" for b in blocks)}
# compiles a model of its own
SLOW = ("guides/statespace.md",)


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow if p in SLOW else ()) for p in PAGES]
)
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_code_on_pages_runs_and_prints_what_is_written(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    check_blocks(page, PAGES[page], capsys)


def test_every_public_name_is_in_the_reference_once():
    pages = "".join(path.read_text() for path in sorted((DOCS / "reference").glob("*.md")))
    shown = re.findall(r"^(?:::: smcweights\.|## )(\w+)", pages, re.M)
    assert sorted({*shown}) == sorted(smw.__all__)
    # of these two names stand apart
    assert {name for name in shown if shown.count(name) > 1} == {"report"}


def test_every_public_function_is_among_those_to_choose_from():
    known = [name for name in smw.__all__ if name.islower() and callable(getattr(smw, name))]
    table = (DOCS / "choose.md").read_text(encoding="utf-8").partition("## Every function")[2]
    assert not [name for name in known if f"`{name}`" not in table]


def codes_of(tree):
    """Codes of cautions that a file makes: the first argument, or what its function hands on."""
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.Module)):
        nodes = list(ast.walk(function))
        calls = [n for n in nodes if isinstance(n, ast.Call) and n.args]
        firsts = [c.args[0] for c in calls if getattr(c.func, "id", "") == "Caution"]
        yield from (f.value for f in firsts if isinstance(f, ast.Constant))
        if isinstance(function, ast.FunctionDef) and any(isinstance(f, ast.Name) for f in firsts):
            texts = [str(n.value) for n in nodes if isinstance(n, ast.Constant)]
            yield from (text for text in texts if re.fullmatch("[a-z]+(-[a-z]+)+", text))


def explained(page):
    """Codes in the first column of a page's tables."""
    return set(re.findall(r"^\| `([a-z-]+)` \|", (DOCS / page).read_text(), re.M))


def test_every_code_of_a_warning_is_on_the_page_of_its_room():
    shared, rooms = set(), {room: set() for room in EXPLAINED}
    for path in (ROOT / "smcweights").rglob("*.py"):
        room, text = (
            path.relative_to(ROOT / "smcweights").parts[0],
            path.read_text(encoding="utf-8"),
        )
        if "Caution(" in text:
            rooms.get(room, shared).update(codes_of(ast.parse(text)))
    assert {"no-hit", "few-draws", "failed-runs", "no-evidence"} <= rooms["importance"]
    assert {"unseen-component", "precision-not-reached"} <= shared
    for room, guides in EXPLAINED.items():
        told = set().union(*(explained(f"guides/{guide}.md") for guide in guides))
        assert not rooms[room] - told, room
        assert not {code for code in told if "-" in code} - rooms[room], room
    assert not shared - explained("concepts.md")


def test_tables_of_guides_name_what_there_is():
    source = " ".join(p.read_text(encoding="utf-8") for p in (ROOT / "smcweights").rglob("*.py"))
    words = set(re.findall(r"\w+", source))
    for guide in sorted((DOCS / "guides").glob("*.md")):
        firsts = re.findall(r"^\| (`.*?`) \|", guide.read_text(encoding="utf-8"), re.M)
        for name in re.findall(r"`([^`]+)`", " ".join(firsts)):
            assert words.issuperset(re.findall(r"\w+", name)), (guide.name, name)
