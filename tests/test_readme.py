"""The README's snippets run from top to bottom of their section, and print what it says."""

import ast
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import smcweights as smw

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.S)
SECTIONS = {
    part.partition("\n")[0]: BLOCK.findall(part)
    for part in re.split(r"^## ", README, flags=re.M)
    if "```python" in part
}
QUICK = ("Distances between clouds of points",)


def rows(text):
    """Name, value, error and ends of the components printed."""
    found = re.findall(r"^[# ] *(.*?) +(\S+) \+- (\S+) +\[(\S+), (\S+)\]", text, re.M)
    return [(name, *map(float, numbers)) for name, *numbers in found]


def check_same(said, printed):
    """What is printed is what is written, up to a rounding that may part adaptation."""
    said, printed = rows(said), rows(printed)
    assert [row[0] for row in said] == [row[0] for row in printed]
    for (_, value, error, *ends), (_, now, *found) in zip(said, printed, strict=True):
        # bit-identical on one machine and version; elsewhere five standard errors
        assert abs(now - value) < 5 * error
        np.testing.assert_allclose(found, [error, *ends], rtol=0.3, atol=5 * error)


def run(code, names, printed):
    """Run a snippet; an expression with a row in the comment below it prints that row."""
    lines = code.splitlines()
    for statement in ast.parse(code).body:
        part = ast.Module([statement], [])
        if not isinstance(statement, ast.Expr):
            exec(compile(part, "README.md", "exec"), names)
            continue
        value = eval(compile(ast.Expression(statement.value), "README.md", "eval"), names)
        below = "".join(lines[statement.end_lineno : statement.end_lineno + 1])
        if below.startswith("# ") and rows(below):
            check_same(below, str(value).splitlines()[-1])
            printed.append(below)


def check_blocks(name, blocks, capsys):
    """Run the snippets one after another; after each comes what it prints, or nothing."""
    names, checked = {"__name__": name}, []
    for language, text in blocks:
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
    # comments with a result are all of them looked at
    python = "".join(text for language, text in blocks if language == "python")
    assert len(rows("\n".join(re.findall(r"^# .*$", python, re.M)))) == len(checked)


@pytest.mark.parametrize(
    "title", [pytest.param(t, marks=() if t in QUICK else pytest.mark.slow) for t in SECTIONS]
)
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_every_snippet_runs_and_prints_what_is_written(title, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    check_blocks("README", SECTIONS[title], capsys)


def test_the_first_example_prints_what_is_written(capsys):
    code, said = (text for _, text in SECTIONS["A first example"][:2])
    run(code, {}, [])
    check_same(said, capsys.readouterr().out)


def test_the_estimator_that_contributing_shows_is_one():
    code = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S).group(1)
    module = {
        "__name__": "smcweights.importance.antithetic",
        "__package__": "smcweights.importance",
    }
    exec(code, module)

    def integrand(z):
        return np.stack([np.exp(z[:, 0]), z[:, 0] ** 2 + z[:, 1]], axis=1)

    mean, truth = module["antithetic_mean"], [np.exp(0.5), 1.0]
    one, two = (mean(integrand, 2, 4_000, seed=1, executor=where) for where in (None, "threads"))
    np.testing.assert_array_equal(one.value, two.value)
    precise = mean(integrand, 2, precision=smw.Precision(absolute=0.05), names=["a", "b"], seed=2)
    for est in (one, precise):
        # 6 standard errors of 2,000 pairs and more: false alarm under 1e-7
        assert (abs(est.value - truth) < 6 * est.standard_error).all()
    lower, upper = precise.interval()
    assert ((upper - lower) / 2 <= 0.05).all() and precise.names == ("a", "b")

    wrong = {
        "is nan at input": lambda z: np.where(z[:, 0] > 1, np.nan, 1.0),
        "returned shape": lambda z: z[0],
        "returned None": lambda z: None,
    }
    for message, model in wrong.items():
        with pytest.raises(smw.errors.ModelError, match=message):
            mean(model, 2, 400, seed=1)
