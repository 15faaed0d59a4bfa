"""Progress: what is counted, and when it is shown."""

import io
import re
import sys

from smcweights.execution import open_run, progress

from .support import numbered, square


def shown(capsys, **options):
    with open_run(square, description="demo", **options) as run:
        run.map("one", numbered(3), [10, 20, 30])
        run.map("two", numbered(2), [20, 20])
    return capsys.readouterr().err


def test_progress_counts_sizes_and_names_stages(capsys):
    text = shown(capsys, progress=True, total=100, unit="draws")
    assert "demo, two" in text
    assert re.search(r"100%.*100/100 .* draws/s", text)


def test_progress_is_silent_unless_asked_or_watched(capsys, monkeypatch):
    assert shown(capsys, progress=False) == ""
    assert shown(capsys) == ""  # not a terminal
    monkeypatch.setattr(progress, "watched", lambda: True)
    assert shown(capsys) == ""  # a terminal, but under 2 s
    with open_run(square, description="demo", total=2) as run:
        run.map("one", numbered(1))
        run._bar.start_t -= 3
        run._bar.last_print_t -= 3
        run.map("two", numbered(1))
    assert "demo, two" in capsys.readouterr().err


def test_terminals_and_notebooks_are_watched(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not progress.watched()
    monkeypatch.setattr(sys, "stderr", None)
    assert not progress.watched()
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert progress.watched()
