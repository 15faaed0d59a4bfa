import json
import re
import subprocess
import sys

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import honesty, pages


def test_comparisons_name_scripts_and_what_there_is():
    names = {*benchmarks.PEERS, "vocabulary", "schemas"}
    for comparison in benchmarks.COMPARISONS:
        assert (benchmarks.HERE / comparison.script).is_file()
        assert set(re.findall(r"{(\w+)}", " ".join(filter(None, comparison[2:])))) <= names
    scripts = {path.name for path in benchmarks.HERE.glob("*.py")}
    compared = {comparison.script for comparison in benchmarks.COMPARISONS}
    # truths, the README's picture and what runs the others compare nothing
    assert scripts - compared == {"__main__.py", "pages.py", "readme.py", "flood_truth.py"}


def test_commands_are_filled_with_what_is_at_hand():
    of = {(each.script, each.full): each for each in benchmarks.COMPARISONS}
    filters = of["statespace.py", "all"]
    assert benchmarks.command(filters, True, {}) == ["statespace.py", "speed", "--quick"]
    assert benchmarks.command(filters, False, {"particles": "/a b/python"}) == [
        "statespace.py", "all", "--particles", "/a b/python",
    ]  # fmt: skip
    with pytest.raises(KeyError, match="vocabulary"):
        benchmarks.command(of["tokens.py", "{vocabulary}"], False, {})


def test_a_room_that_is_none_is_refused():
    command = [sys.executable, "-m", "benchmarks", "transprot"]
    done = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no room 'transprot'; expected some of importance, " in done.stderr


def test_every_case_of_honesty_has_a_row():
    cases, kept = set(honesty.cases()), set(json.loads(honesty.RESULTS.read_text())["cases"])
    # its peer stands in an environment of its own
    assert cases <= kept and kept - cases <= {"dynesty: log evidence"}


@pytest.mark.slow
@pytest.mark.parametrize("page", pages.documents(), ids=lambda page: page.name)
def test_documents_show_what_was_kept(page):
    text = page.read_text(encoding="utf-8")
    assert pages.filled(text) == text


@pytest.mark.slow
def test_quick_runs_print_tables_and_keep_nothing():
    kept = {path: path.stat().st_mtime_ns for path in pages.RESULTS.iterdir()}
    command = [sys.executable, "-m", "benchmarks", "execution", "--quick"]
    done = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cluster.py: " in done.stdout
    assert {path: path.stat().st_mtime_ns for path in pages.RESULTS.iterdir()} == kept
