"""The console script on real studies, in processes of its own where that matters."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from studies import STUDY, replaced

import smcweights as smw
from smcweights import cli, study
from smcweights.execution import open_run
from smcweights.problems import demonstrations


def smcweights_command(*arguments, cwd):
    return subprocess.run(
        [Path(sys.executable).parent / "smcweights", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_run_and_show_a_study(beam, tmp_path, capsys):
    assert cli.main(["run", str(beam)]) == 0
    assert "mean displacement" in capsys.readouterr().out
    est = smw.Estimate.load(tmp_path / "beam.nc")
    # plain Monte Carlo of the same study
    law = study.read(beam).law
    x = smw.importance.laws.as_law(law).sample(np.random.default_rng(0), 10**5)
    reference = x[:, 0] / x[:, 1] ** 2
    error = np.hypot(est.standard_error, reference.std() / 316)
    assert abs(est.value - reference.mean()) < 5 * error  # false alarm below 1e-6
    assert "mean displacement" in (tmp_path / "beam.html").read_text()
    assert cli.main(["show", str(tmp_path / "beam.nc")]) == 0
    shown = capsys.readouterr().out
    assert repr(est) in shown
    assert "relative_error" in shown
    seed = est.provenance["seed"]["entropy"]
    assert re.search(rf"^seed  .* {seed}$", shown, re.M)
    assert re.search(r"^  budget .* 2000$", shown, re.M)
    assert all(f"\n  {source}\n" in shown for source in est.references)


def test_ends_of_intervals_are_told_apart_however_small_the_error(tmp_path, capsys):
    smw.Estimate([-633.03864, 2.0], np.diag([8e-5, 0.1]) ** 2).save(tmp_path / "e.nc")
    assert cli.main(["show", str(tmp_path / "e.nc")]) == 0
    rows = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert " -633.038640 0.000080 1.264e-07 -633.038797 -633.038483" in " ".join(rows[1].split())
    assert " 2.00 0.10 0.05 1.80 2.20" in " ".join(rows[2].split())


def value_of(path):
    return smw.Estimate.load(path.with_suffix(".nc")).value


@pytest.mark.slow
def test_the_same_numbers_come_out_of_every_way_to_say_it(beam, tmp_path):
    text = STUDY
    said = {
        "file": text,
        "module": text.replace("beam.py:", "beam:"),
        "workers": text + 'executor = "processes"\n',
        "checkpoint": text + 'checkpoint = "run.npz"\n',
        "scalar": text.replace('beam.py:displacement"', 'beam.py:one"\nvectorized = false'),
    }
    values = {}
    for name, study_text in said.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(study_text)
        done = smcweights_command("run", path, cwd="/")
        assert done.returncode == 0, done.stderr
        assert "mean displacement" in done.stdout
        values[name] = value_of(path)
    plan = study.read(beam)
    values["library"] = smw.adaptive_importance_sampling(
        plan.function, plan.law, 2_000, names=["mean displacement"], seed=5
    ).value
    # one input at a time rounds differently from a whole array
    assert values.pop("scalar") == pytest.approx(values["file"], rel=1e-12)
    assert len(set(map(float, values.values()))) == 1, values
    assert (tmp_path / "run.npz").exists()


@pytest.mark.slow
def test_seed_and_folder_of_the_command_line_win(beam, tmp_path):
    out = tmp_path / "deep" / "er"
    assert cli.main(["run", str(beam), "--no-progress", "--seed", "6", "--out", str(out)]) == 0
    assert smw.Estimate.load(out / "beam.nc").provenance["seed"]["entropy"] == 6
    assert sorted(p.name for p in out.iterdir()) == ["beam.html", "beam.nc"]
    assert not beam.with_suffix(".nc").exists()


@pytest.mark.slow
def test_what_cant_be_promised_is_one_line(beam, tmp_path, capsys):
    assert cli.main(["run", "--no-progress", str(replaced(beam, ":displacement", ":never"))]) == 0
    told = capsys.readouterr().err
    assert told.startswith("not promised: adaptive_importance_sampling: mean displacement:")
    assert told.count("\n") == 1
    assert "Not promised" in (tmp_path / "beam.html").read_text()


def test_demo_writes_a_result_and_a_section_of_the_page_for_each(tmp_path, capsys, monkeypatch):
    few = {"distance": demonstrations.DEMONSTRATIONS["distance"]}
    monkeypatch.setattr(demonstrations, "DEMONSTRATIONS", few)
    assert cli.main(["demo", "--no-progress", "--seed", "3", "--out", str(tmp_path)]) == 0
    text, told = capsys.readouterr()
    assert told.startswith("1 of 1, distance ...\n")
    (row,) = [line for line in text.splitlines() if line.startswith("distance ")]
    assert " yes " in row or " no " in row
    assert np.isfinite(smw.Estimate.load(tmp_path / "distance.nc").standard_error)
    assert (tmp_path / "demo.html").read_text().count("<svg ") == 2


@pytest.mark.slow
def test_demo_prints_truth_and_writes_page_and_results(tmp_path, capsys):
    assert cli.main(["demo", "--no-progress", "--seed", "3", "--out", str(tmp_path / "d")]) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) < 100
    problem = smw.problems.flood()
    est = smw.Estimate.load(tmp_path / "d" / "demo.nc")
    assert est.cost["evaluations"] == 20_000
    assert (np.abs(est.value - problem.expectations) < 5 * est.standard_error).all()
    rows = [line for line in text.splitlines() if line.startswith(problem.names)][:6]
    for stem, name in (
        ("smoothing", "mean level"),
        ("filtering", "log likelihood"),
        ("sequences", "log evidence"),
        ("distance", "distance"),
        ("posterior", "change by the dam"),
        ("failure", "P(overflow > 1.2)"),
    ):
        row = [line for line in text.splitlines() if line.startswith(name + " ")][-1]
        assert " yes " in row or " no " in row
        assert np.isfinite(smw.Estimate.load(tmp_path / "d" / f"{stem}.nc").standard_error).all()
    lower, upper = est.interval()
    inside = (lower <= problem.expectations) & (problem.expectations <= upper)
    assert [" yes " in row for row in rows] == inside.tolist()
    assert "seed 3" in text
    page = (tmp_path / "d" / "demo.html").read_text()
    assert page.count("<svg ") >= 15
    # the site shows one that is kept
    kept = (Path(__file__).parents[1] / "docs" / "demo.html").read_text(encoding="utf-8")
    for what in ("<h2>.*?</h2>", "<figcaption>.*?</figcaption>"):
        assert re.findall(what, kept) == re.findall(what, page)


def test_show_looks_into_a_checkpoint_while_the_run_goes_on(tmp_path, capsys):
    path = tmp_path / "run.npz"
    with open_run(np.sin, checkpoint=path, seed=7, arguments={"budget": 40}) as run:
        for stage in ("one", "two"):
            run.map(stage, [(np.ones(2),)] * 3)
            assert cli.main(["show", str(path)]) == 0
            assert f"{stage}     3 batches" in capsys.readouterr().out
    assert cli.main(["show", str(path)]) == 0
    text = capsys.readouterr().out
    assert "seed    7" in text and "budget  40" in text and "Checkpoint of 2 stages" in text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"norm"', '"nrom"', "law.load.distribution: got 'nrom'"),
        ('distribution = "norm"', "", "law.load.distribution: missing"),
        ("scale = 0.5", "scale = -0.5", "law.load"),
        ("scale = 0.5", "sclae = 0.5", "did you mean 'scale'"),
        ("loc = 4.0", "loc = nan", "law.load.loc: got nan; expected a finite number"),
        ("loc = 4.0", 'loc = "4"', "law.load.loc: got '4'; expected a finite number"),
        ("loc = 4.0", f"loc = 1{'0' * 400}", "law.load.loc: got 1000"),
        ("loc = 4.0", f"loc = 1{'0' * 5_000}", "is not TOML: Exceeds the limit"),
        ("loc = 4.0", f"loc = {'[' * 5_000}", "is not TOML: "),
        ("loc = 4.0", "lower = 5\nupper = 4", "law.load: Truncated: lower 5.0"),
        ("s = 0.1\n", "", "law.width.s: missing"),
        ("budget = 2000", "bugdet = 2000", "study.bugdet: unknown"),
        ("budget = 2000", "bugdet = 2000", "did you mean 'budget'"),
        ("budget = 2000", "budget = 2", "[study]: budget"),
        ("budget = 2000", 'budget = "many"', "[study]: budget: got 'many'"),
        ("budget = 2000", f"budget = 1{'0' * 24}", "[study]: budget: got 1000"),
        ("budget = 2000", "", "exactly one of budget and precision"),
        ("budget = 2000", "precision = {relativ = 0.1}", "did you mean 'relative'"),
        ("budget = 2000", "precision = {relative = -1}", "study.precision: relative"),
        ("budget = 2000", "precision = 0.1", "study.precision: got 0.1; expected a table"),
        ("seed = 5", 'executor = "thread"', "executor: got 'thread'"),
        ("seed = 5", 'objective = "most"', "objective: got 'most'"),
        ("seed = 5", "objective = [1.0, 2.0]", "objective: got 2 weights"),
        ("seed = 5", 'proposal = "gauss"', "proposal: got 'gauss'"),
        ("seed = 5", 'proposal = {load = {distribution = "norm"}}', "proposal: has 1 inputs"),
        ("seed = 5", 'proposal = {load = {distribution = "nor"}}', "study.proposal.load"),
        ("seed = 5", 'control_variates = "poly"', "control_variates: got 'poly'"),
        ("seed = 5", 'checkpoint = "no/such/file.npz"', "study: checkpoint: there is no folder"),
        ("seed = 5", 'checkpoint = "."', "is a folder; expected a file's name"),
        ("seed = 5", r'checkpoint = "a\u0000b"', "study: checkpoint: got "),
        ("seed = 5", "pooled = 3", "study.pooled: got 3; expected true or false"),
        ("seed = 5", "seed = -5", "[study]: seed"),
        ("seed = 5", "seed = true", "study.seed: got True; expected a whole number"),
        ('names = ["mean displacement"]', "names = 3", "study.names: got 3; expected a list"),
        ('names = ["mean displacement"]', 'names = ["a", "b"]', "names: got 2"),
        ("beam.py:displacement", "beam.py:missing", "no function 'missing'"),
        ("beam.py:displacement", "none.py:displacement", "there is no file"),
        ("beam.py:displacement", "nosuchmodule.sub:f", "No module named 'nosuchmodule'"),
        ("beam.py:displacement", "displacement", "model.function: got 'displacement'"),
        ("beam.py:displacement", ":displacement", "model.function: got ':displacement'"),
        ('function = "beam.py:displacement"', "", "model.function: got None"),
        ('py:displacement"', 'py:displacement"\nvectorized = 1', "model.vectorized: got 1"),
        ('py:displacement"', 'py:displacement"\nvectorised = true', "did you mean 'vectorized'"),
        ("[0.3, 1.0]]", "[0.3, 1.0], [0, 0]]", "copula"),
        ("correlation = [[1.0, 0.3], [0.3, 1.0]]", "", "copula.correlation: missing"),
        ("[copula]", "[cupola]", "did you mean 'copula'"),
        ("[study]", "[study", "is not TOML"),
        ("[study]", "[model.more]", "[study]: missing"),
        ("budget = 2000", 'method = "magic"', "study.method: got 'magic'"),
        ("budget = 2000", 'method = "importance_sampling"', "study.proposal: missing"),
        ("beam.py:displacement", "beam.py:undefined", "at input [4."),
    ],
)
def test_a_wrong_study_is_told_file_and_key_and_leaves_with_2(beam, old, new, said, capsys):
    assert cli.main(["run", "--no-progress", str(replaced(beam, old, new))]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.startswith(f"smcweights: {beam}: ")
    assert "Traceback" not in told
    assert not beam.with_suffix(".nc").exists()


def test_what_cant_be_read_or_written_is_told(beam, tmp_path, capsys):
    (tmp_path / "x.nc").write_bytes(b"nothing of the kind")
    for arguments, said in (
        (["run", str(tmp_path / "none.toml")], "none.toml"),
        (["run", str(tmp_path)], str(tmp_path)),
        (["show", str(tmp_path / "x.nc")], "x.nc"),
        (["show", str(tmp_path / "none.nc")], "none.nc"),
        (["run", str(beam), "--out", str(beam)], "--out"),
        (["demo", "--out", str(beam)], "--out"),
    ):
        assert cli.main(arguments) == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1


@pytest.mark.parametrize("arguments", [["demo", "--seed", "-1"], ["run", "x.toml", "--seed", "a"]])
def test_a_seed_that_is_none_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "expected a whole number from 0" in capsys.readouterr().err


@pytest.mark.parametrize("executor", ["", 'executor = "processes"\n'])
def test_a_model_that_fails_shows_its_own_traceback(beam, tmp_path, capsys, executor):
    beam.write_text(STUDY.replace(":displacement", ":broken") + executor)
    assert cli.main(["run", "--no-progress", str(beam)]) == 1
    told = capsys.readouterr().err
    assert "RuntimeError: the mesh has a hole" in told
    assert f'File "{tmp_path / "beam.py"}"' in told
    assert "in stage 'stage 1', batch 1" in told
    assert "cli.py" not in told
    assert not beam.with_suffix(".nc").exists()


@pytest.mark.parametrize(
    ("model", "said"), [("def f(x:", "SyntaxError"), ("import nosuchmodule", "nosuchmodule")]
)
def test_a_model_file_that_cant_be_imported_shows_where(beam, tmp_path, capsys, model, said):
    (tmp_path / "beam.py").write_text(model)
    assert cli.main(["run", str(beam)]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert 'beam.py", line 1' in told
    assert f"while importing beam.py, for {beam}: model.function" in told


def test_an_error_of_our_own_is_not_hidden(beam, monkeypatch):
    def fail(*_, **__):
        raise IndexError("a defect")

    monkeypatch.setattr(study.Study, "run", fail)
    with pytest.raises(IndexError, match="a defect"):
        cli.main(["run", str(beam)])


def test_an_interrupted_run_says_so(beam, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(study.Study, "run", stop)
    assert cli.main(["run", str(beam)]) == 130
    assert capsys.readouterr().err == "smcweights: interrupted\n"


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert smw.__version__ in capsys.readouterr().out
