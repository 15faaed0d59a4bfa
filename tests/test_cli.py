"""The console script on real studies, in processes of its own where that matters."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import smcweights as smw
from smcweights import cli, study

MODEL = """
import numpy as np

def displacement(x):
    return x[:, 0] / x[:, 1] ** 2

def broken(x):
    raise RuntimeError("the mesh has a hole")

def undefined(x):
    return np.where(x[:, 0] > 4.2, np.nan, 1.0)
"""

STUDY = """
[model]
function = "beam.py:displacement"

[law.load]
distribution = "norm"
loc = 4.0
scale = 0.5

[law.width]
distribution = "lognorm"
s = 0.1
lower = 0.5

[copula]
correlation = [[1.0, 0.3], [0.3, 1.0]]

[study]
budget = 2000
seed = 5
names = ["mean displacement"]
"""


@pytest.fixture
def beam(tmp_path):
    (tmp_path / "beam.py").write_text(MODEL)
    path = tmp_path / "beam.toml"
    path.write_text(STUDY)
    return path


def smcweights_command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "smcweights.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_run_and_show_a_study(beam, tmp_path):
    done = smcweights_command("run", str(beam), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mean displacement" in done.stdout
    est = smw.Estimate.load(tmp_path / "beam.nc")
    # E[load] E[1/width^2] bent by the correlation: plain Monte Carlo of the same study
    law = study.read(beam).law
    x = smw.importance.laws.as_law(law).sample(np.random.default_rng(0), 10**6)
    reference = x[:, 0] / x[:, 1] ** 2
    error = np.hypot(est.standard_error, reference.std() / 1000)
    assert abs(est.value - reference.mean()) < 5 * error  # false alarm below 1e-6
    page = (tmp_path / "beam.html").read_text()
    assert "mean displacement" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    shown = smcweights_command("show", "beam.nc", cwd=tmp_path)
    assert shown.returncode == 0
    assert '"entropy": 5' in shown.stdout


def test_demo_prints_truth_and_writes_page_and_results(tmp_path, capsys):
    assert cli.main(["demo", "--no-progress", "--seed", "3", "--out", str(tmp_path / "d")]) == 0
    text = capsys.readouterr().out
    assert "P(overflow > 1.2)" in text
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= 100
    est = smw.Estimate.load(tmp_path / "d" / "flood.nc")
    truth = smw.problems.flood().expectations
    assert (np.abs(est.value - truth) < 5 * est.standard_error).all()
    assert "data:image/png;base64" in (tmp_path / "d" / "demo.html").read_text()


def replaced(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"norm"', '"nrom"', "law.load.distribution"),
        ("scale = 0.5", "scale = -0.5", "law.load"),
        ("scale = 0.5", "sclae = 0.5", "did you mean 'scale'"),
        ("s = 0.1\n", "", "law.width.s: missing"),
        ("budget = 2000", "bugdet = 2000", "did you mean 'budget'"),
        ("budget = 2000", "budget = 2", "budget"),
        ("budget = 2000", "precision = {relativ = 0.1}", "did you mean 'relative'"),
        ("beam.py:displacement", "beam.py:missing", "no function 'missing'"),
        ("beam.py:displacement", "none.py:displacement", "there is no file"),
        ("beam.py:displacement", "displacement", "model.function"),
        ("[0.3, 1.0]]", "[0.3, 1.0], [0, 0]]", "copula"),
        ("[copula]", "[cupola]", "did you mean 'copula'"),
        ("[study]", "[study", "is not TOML"),
        ("seed = 5", "seed = -5", "seed"),
        ('names = ["mean displacement"]', 'names = ["a", "b"]', "names"),
        ("budget = 2000", 'budget = 2000\nmethod = "magic"', "study.method"),
    ],
)
def test_a_wrong_study_is_told_file_and_key_and_leaves_with_2(beam, old, new, said, capsys):
    assert cli.main(["run", "--no-progress", str(replaced(beam, old, new))]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert str(beam) in told
    assert "Traceback" not in told
    assert not beam.with_suffix(".nc").exists()


def test_a_missing_study_and_a_foreign_result(tmp_path, capsys):
    assert cli.main(["run", str(tmp_path / "none.toml")]) == 2
    (tmp_path / "x.nc").write_bytes(b"nothing of the kind")
    assert cli.main(["show", str(tmp_path / "x.nc")]) == 2
    told = capsys.readouterr().err
    assert "none.toml" in told
    assert "x.nc" in told


def test_a_model_that_fails_keeps_its_own_traceback(beam, tmp_path):
    done = smcweights_command("run", str(replaced(beam, ":displacement", ":broken")), cwd=tmp_path)
    assert done.returncode == 1
    assert "the mesh has a hole" in done.stderr
    assert "beam.py" in done.stderr
    assert "batch" in done.stderr


def test_a_model_that_returns_nan_is_told_the_input(beam, capsys):
    assert (
        cli.main(["run", "--no-progress", str(replaced(beam, ":displacement", ":undefined"))]) == 2
    )
    assert "at input [4." in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert smw.__version__ in capsys.readouterr().out


words = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\\n\r', categories=["L", "N"]), max_size=8
)
values = st.one_of(
    st.integers(-5, 5),
    st.floats(allow_nan=True, allow_infinity=True),
    st.booleans(),
    words,
    st.lists(st.floats(-1, 1), max_size=3),
)


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return {"nan": "nan", "inf": "inf", "-inf": "-inf"}.get(repr(value), repr(value))
    return repr(value)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    table=st.sampled_from(["model", "law.load", "law.width", "copula", "study"]),
    key=st.one_of(
        st.sampled_from(["loc", "scale", "s", "budget", "seed", "names", "lower"]), words
    ),
    value=values,
)
def test_any_other_key_or_value_is_a_study_or_a_study_error(beam, table, key, value):
    path = beam.parent / "any.toml"
    document = study.tomllib.loads(STUDY)
    inner = document
    for part in table.split("."):
        inner = inner[part]
    inner[key] = value
    lines = []
    for name in ("model", "copula", "study"):
        lines += [f"[{name}]", *(f"{json.dumps(k)} = {toml(v)}" for k, v in document[name].items())]
    for name, marginal in document["law"].items():
        lines += [f"[law.{name}]", *(f"{json.dumps(k)} = {toml(v)}" for k, v in marginal.items())]
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        made = study.read(path)
    except study.StudyError as error:
        assert str(path) in str(error)
    else:
        assert callable(made.function)


def test_the_console_script_is_installed():
    assert (Path(sys.executable).parent / "smcweights").exists()
