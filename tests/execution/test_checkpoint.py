"""A checkpoint: whole or not there, and the same numbers when taken up again."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import numpy as np
import pytest
from packed import same

import smcweights as smw
from smcweights import PrecisionWarning, storage
from smcweights.execution import batches, checkpoint, open_run
from smcweights.provenance import described, fingerprint
from smcweights.randomness import describe, generator
from smcweights.stopping import Standing

from .support import lines, numbered, posix, saved, square


def three_stages(path, function, *, seed=None, executor=None, arguments=None, scale=1.0):
    with open_run(
        function, checkpoint=path, seed=seed, executor=executor, arguments=arguments
    ) as run:
        total, results = 0.0, []
        for stage in range(3):
            # later stages depend on the results of earlier ones, as adaptation does
            x = generator(run.root, "stage", stage).standard_normal((160, 2)) * scale + total
            parts = run.map(f"stage {stage}", [(x[a:b],) for a, b in batches(160)])
            total = float(sum(part[0].sum() for part in parts))
            results += parts
        return results, run.root


def mixed(x):
    return x.sum(1), {"big": x[:, 0] > 0, "n": np.array(len(x)), "t": x.T.astype(np.float32)}


def test_a_finished_checkpoint_replays_without_a_call(tmp_path):
    path = tmp_path / "run.npz"
    first, root = three_stages(path, mixed, arguments={"budget": 120, "law": [1, math_nan()]})

    def never(x):
        raise AssertionError("called")

    content = path.read_bytes()
    again, root_again = three_stages(path, never, arguments={"law": (1, math_nan()), "budget": 120})
    assert describe(root_again) == describe(root)  # seed=None takes the checkpoint's
    for (a, rest), (b, rest_again) in zip(first, again, strict=True):
        assert a.tobytes() == b.tobytes()
        assert list(rest) == list(rest_again)
        for key in rest:
            assert rest[key].dtype == rest_again[key].dtype
            assert rest[key].shape == rest_again[key].shape
            assert rest[key].strides == rest_again[key].strides
            assert rest[key].tobytes() == rest_again[key].tobytes()
    assert path.read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.npz"]


def test_what_could_not_be_compared_is_said_once_when_the_file_is_taken_up(tmp_path):
    path = tmp_path / "run.npz"
    rows = list(range(1_000_001))
    arguments = {"integrand": described(lambda x: rows[0])}
    three_stages(path, mixed, seed=1, arguments=arguments)
    with pytest.warns(PrecisionWarning, match=r"taken up without comparing rows: .*not-compared"):
        three_stages(path, mixed, seed=1, arguments=arguments)


def test_what_a_model_changes_is_named_where_it_began_otherwise(tmp_path, monkeypatch):
    path, table = tmp_path / "run.npz", {"k": 2.0, "calls": 0}

    def model(x):
        table.update(calls=table["calls"] + 1)
        return table["k"] * x

    first = checkpoint.Ledger(path, {"integrand": model}, np.random.SeedSequence(1))
    model(1.0)
    checkpoint.Ledger(path, {"integrand": model}, first.root)  # it counted on in this process
    monkeypatch.setattr(checkpoint, "_IMPORTED", "another process")
    with pytest.warns(PrecisionWarning, match="comparing what integrand changes itself: "):
        checkpoint.Ledger(path, {"integrand": model}, first.root)
    table["calls"] = 0
    checkpoint.Ledger(path, {"integrand": model}, first.root)


def test_files_and_the_environment_are_named_when_the_file_is_taken_up(tmp_path):
    path = tmp_path / "run.npz"
    arguments = {"integrand": described(lambda x: x * np.load(os.environ["TABLE"]))}
    three_stages(path, mixed, seed=1, arguments=arguments)
    words = "without comparing what <lambda> reads by environ, what <lambda> reads by load: "
    with pytest.warns(PrecisionWarning, match=words) as told:
        three_stages(path, mixed, seed=1, arguments=arguments)
    assert [one.filename for one in told] == [__file__]
    rng, path = np.random.default_rng(1), tmp_path / "drawing.npz"
    arguments = {"integrand": described(lambda x: x * rng.normal())}
    three_stages(path, mixed, seed=1, arguments=arguments)
    words = "without comparing the state of rng: .* gives the same again if its input seeds it"
    with pytest.warns(PrecisionWarning, match=words):
        three_stages(path, mixed, seed=1, arguments=arguments)


def math_nan():
    return float("nan")


def test_what_the_caller_does_with_results_stays_out_of_the_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    for k in range(3):
        with open_run(lambda i: np.ones(3), checkpoint=path) as run:
            for result in run.stream("a", numbered(3)):
                assert (result == 1).all()
                result *= 5
            # something new, so that the file is written again
            run.map(f"b{k}", numbered(1))


def test_other_arguments_seeds_and_inputs_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    arguments = {"budget": 100, "law": {"names": ["a"]}}
    three_stages(path, mixed, seed=1, arguments=arguments)
    content = path.read_bytes()
    for other, words in [
        ({**arguments, "budget": 200}, "budget was 100 and is 200 now"),
        ({"budget": 100}, r"law was \{.*\} and is nothing now"),
        ({**arguments, "more": None}, "more was nothing and is null now"),
        ({**arguments, "law": {"names": ["b" * 500]}}, r"law was .* and is .* \.\.\. .* now"),
    ]:
        with pytest.raises(ValueError, match=words):
            three_stages(path, mixed, seed=1, arguments=other)
    with pytest.raises(ValueError, match=r"another seed: it was .*1.* and is .*2.* now"):
        three_stages(path, mixed, seed=2, arguments=arguments)
    with pytest.raises(ValueError, match="stage 'stage 0', batch 1, for other inputs"):
        three_stages(path, mixed, seed=1, arguments=arguments, scale=1 + 1e-15)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b[: len(b) // 2],
        lambda b: b[:-1],
        lambda b: b[: len(b) // 3] + bytes([b[len(b) // 3] ^ 1]) + b[len(b) // 3 + 1 :],
        lambda b: b"not a checkpoint",
        lambda b: npz(x=np.arange(3)),
        lambda b: npz(header=np.frombuffer(b'{"format": "another"}', np.uint8)),
        lambda b: npz(header=np.frombuffer(b'{"format"', np.uint8)),
        lambda b: npz(header=np.array([{}], dtype=object)),
    ],
    ids=["empty", "half", "cut", "flipped", "text", "foreign", "format", "json", "pickle"],
)
def test_a_damaged_or_foreign_file_is_refused_and_left_alone(damage, tmp_path):
    path = tmp_path / "run.npz"
    three_stages(path, mixed, seed=1)
    content = damage(path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.npz can't be read as a checkpoint .*left as it is"):
        three_stages(path, mixed, seed=1)
    assert path.read_bytes() == content


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("none/run.npz", FileNotFoundError),
        ("", IsADirectoryError),
        ("locked/run.npz", PermissionError),
        (3, TypeError),
    ],
    ids=["missing", "folder", "read-only", "number"],
)
def test_a_path_that_cannot_be_written_is_found_out_before_the_first_call(
    place, error, tmp_path, monkeypatch
):
    (tmp_path / "locked").mkdir()
    monkeypatch.chdir(tmp_path)
    if error is PermissionError:
        # whoever runs the tests may be allowed to write everywhere
        def refused(file, *rest, **named):
            if "locked" in str(file):
                raise PermissionError(13, "Permission denied")
            return open(file, *rest, **named)

        monkeypatch.setattr(storage, "open", refused, raising=False)

    def never(i):
        raise AssertionError("called")

    with pytest.raises(error), open_run(never, checkpoint=place) as run:
        run.map("a", numbered(1))
    assert [p.name for p in tmp_path.rglob("*")] == ["locked"]


def test_records_of_the_package_come_back_as_such_and_no_others(tmp_path):
    path, record = tmp_path / "run.npz", Standing(np.ones(2), np.zeros(2), np.array(3), np.array(4))
    record = record._replace(least=np.array(1), final=np.array(0))
    for _ in range(2):
        with open_run(lambda i: (record, {"deep": record}), checkpoint=path) as run:
            ((first, second),) = run.map("a", numbered(1))
        assert type(first) is type(second["deep"]) is Standing
        np.testing.assert_array_equal(first.value, [1, 1])
        assert int(second["deep"].used) == 4
    header, arrays = storage.read_archive(path)
    for name in ("os:system", "smcweights.cautions:Caution", "smcweights.none:None"):
        header["entries"] = [["a", 0, "", {"$": "row", "kind": name, "of": []}]]
        storage.write_archive(path, header, arrays)
        with pytest.raises(ValueError, match="can't be read"), open_run(square, checkpoint=path):
            pass


@pytest.mark.parametrize("result", [object(), np.array([{}]), {1: np.ones(2)}, (np.ones(1), [{3}])])
def test_a_checkpoint_holds_no_pickles(result, tmp_path):
    with (
        pytest.raises(TypeError, match=r"function.*: got "),
        open_run(lambda i: result, checkpoint=tmp_path / "run.npz") as run,
    ):
        run.map("a", numbered(1))


def test_results_of_all_plain_kinds_come_back_as_they_were(tmp_path):
    result = (None, 1.0, [np.ones(2), "text"], {"a": (True, np.float32(2))}, math_nan())
    for function in (lambda i: result, square):
        with open_run(function, checkpoint=tmp_path / "run.npz", seed=1) as run:
            found = run.map("a", numbered(1))[0]
    assert same(found, result)


def test_a_state_between_stages_is_kept_in_place_of_the_one_before(tmp_path):
    path, seen = tmp_path / "run.npz", []
    for end in (2, 5):
        with (
            contextlib.suppress(ZeroDivisionError),
            open_run(lambda i: seen.append(int(i)) or square(i), checkpoint=path) as run,
        ):
            step, total = run.recall("state") or (0, 0.0)
            while step < 5:
                step, total = step + 1, total + float(run.map(f"{step}", [(step,)], kept=False)[0])
                run.remember("state", (step, total))
                1 / (end - step if end < 5 else 1)
    assert (step, total) == (5, 30.0)
    assert seen == [0, 1, 2, 3, 4]
    assert saved(path) == {("state", 0)}
    assert open_run(square).__enter__().recall("state") is None


def test_a_checkpoint_tells_jobs_apart(tmp_path):
    path = tmp_path / "run.npz"
    a = np.arange(6.0)
    distinct = [
        (a,),
        (a.reshape(2, 3),),
        (a.astype(np.float32),),
        ([a],),
        ((a,),),
        (a, None),
        ({"a": a},),
        (1,),
        (1.0,),
        (True,),
        ("1",),
        (np.random.SeedSequence(1),),
        (np.random.default_rng(1),),
        (np.random.default_rng(2),),
    ]
    assert len({fingerprint(job) for job in distinct}) == len(distinct)
    assert fingerprint((a[::2],)) == fingerprint((a[::2].copy(),))
    with (
        pytest.raises(TypeError, match="jobs: got object; with a checkpoint expected arrays"),
        open_run(lambda x: np.ones(1), checkpoint=path) as run,
    ):
        run.map("a", [(object(),)])


@pytest.mark.parametrize(("seconds_per_write", "between"), [(0.0, 4), (4.0, 9)])
def test_a_long_stage_is_saved_in_between(seconds_per_write, between, tmp_path, monkeypatch):
    # a batch takes 10 s: there are writes after more than 30 s, and 20 times what a write takes
    path, now, seen, fsync = tmp_path / "run.npz", [0.0], [], os.fsync

    def slow_fsync(descriptor):
        now[0] += seconds_per_write / 2  # of the file, and of its folder
        fsync(descriptor)

    def function(i):
        seen.append(len(saved(path)))
        now[0] += 10.0
        return square(i)

    clock = SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    monkeypatch.setattr(checkpoint, "time", clock)
    monkeypatch.setattr(os, "fsync", slow_fsync)
    with open_run(function, checkpoint=path) as run:
        run.map("a", numbered(20))
    assert seen == [i // between * between for i in range(20)]
    assert len(saved(path)) == 20


def test_the_file_is_replaced_in_one_step_after_it_is_on_the_disk(tmp_path, monkeypatch):
    path, steps = tmp_path / "run.npz", []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor):
        # a kill now would leave the ledger as it was
        steps.append(("fsync", len(saved(path)) if path.exists() else None))
        fsync(descriptor)

    def watched_replace(source, target):
        steps.append(("replace", len(saved(source))))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    with open_run(square, checkpoint=path) as run:
        run.map("a", numbered(3))
        run.map("b", numbered(2))
    # the file before it gets its name, the folder after that
    expected = [("fsync", None), ("replace", 0), ("fsync", 0)]
    expected += [("fsync", 0), ("replace", 3), ("fsync", 3)]
    assert steps == [*expected, ("fsync", 3), ("replace", 5), ("fsync", 5)]

    # numbers are not thrown away because a file can't be written
    monkeypatch.setattr(os, "fsync", full)
    words = "can't be written .No space left on device.; it holds what was written before"
    with pytest.warns(PrecisionWarning, match=words), open_run(square, checkpoint=path) as run:
        run.map("a", numbered(3))
        assert len(run.map("c", numbered(3))) == 3
    assert len(saved(path)) == 5
    with pytest.raises(ZeroDivisionError) as caught, open_run(square, checkpoint=path) as run:
        run.map("d", numbered(3))
        run.map("e", [(1 / 0,)])
    assert "No space left" in caught.value.__notes__[0]
    assert len(saved(path)) == 5
    with pytest.raises(OSError, match=r"checkpoint: .*can't be written .*; nothing was computed"):
        run_new(tmp_path / "new.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
    # and it is tried again
    with monkeypatch.context() as patch, open_run(square, checkpoint=path) as run:
        run.map("d", numbered(3))
        patch.setattr(os, "fsync", fsync)
        run.map("e", numbered(3))
    assert len(saved(path)) == 11


FULL = """
    import os, resource, sys, warnings
    import numpy as np, smcweights as smw
    from smcweights.execution import open_run

    path, size = sys.argv[1], 60_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # no file grows beyond
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with open_run(np.ones, checkpoint=path, executor=None) as run:
            total = sum(r.sum() for k in range(3) for r in run.map(f"{k}", [(4000,)]))
        x = np.random.default_rng(1).normal(size=(500, 3))
        flow = smw.sliced_gradient_flow(x, x + 1, 20, seed=1, checkpoint=path + ".flow.npz")
    print(total, flow.points.shape, len(seen), os.listdir(os.path.dirname(path)))
    print(*[w.message for w in seen], sep="\\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, size))
    with open_run(np.ones, checkpoint=path) as run:
        pass
    """


@pytest.mark.slow
@posix
def test_a_disk_that_gets_full_costs_no_numbers_and_leaves_whole_files(tmp_path):
    path, script = tmp_path / "folder" / "run.npz", tmp_path / "script.py"
    path.parent.mkdir()
    script.write_text(textwrap.dedent(FULL))
    done = subprocess.run([sys.executable, script, path], capture_output=True, text=True)
    files = ["run.npz", "run.npz.flow.npz"]
    first, *warned = done.stdout.splitlines()
    assert first.startswith("12000.0 (500, 3) 2 ") and all(name in first for name in files)
    assert all("can't be written (File too large)" in text for text in warned)
    assert all("[checkpoint-not-written]" in text for text in warned)
    assert sorted(file.name for file in path.parent.iterdir()) == files
    assert saved(path) == {("0", 0)}
    # and at the door an error, before anything
    assert f"OSError: checkpoint: {path} can't be written (File too large)" in done.stderr


FORBIDDEN = """
    import encodings.cp437, os, shutil, tempfile, warnings
    import numpy as np
    from smcweights.execution import open_run

    def refused(path):
        try:
            with open_run(print, checkpoint=path) as run:
                run.map("a", [(3,)])
        except PermissionError as error:
            print(str(error).replace(folder, ""))

    folder = tempfile.mkdtemp()
    path, other = os.path.join(folder, "run.npz"), os.path.join(folder, "other.npz")
    if os.getuid() == 0:  # who may write anywhere
        os.chown(folder, 65534, 65534)
        os.setuid(65534)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            with open_run(np.ones, checkpoint=path) as run:
                run.map("a", [(3,)])
                os.chmod(folder, 0o555)
                print(run.map("b", [(3,)])[0].sum(), os.listdir(folder))
        print(*[str(w.message).replace(folder, "") for w in seen], sep="\\n")
        refused(path)
        refused(other)
        os.chmod(folder, 0o755)
        os.chmod(path, 0)
        refused(path)
    finally:
        shutil.rmtree(folder)
    """


@pytest.mark.slow
@posix
def test_folders_and_files_without_permission_are_told_and_cost_no_numbers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(FORBIDDEN))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "3.0 ['run.npz']",
        "checkpoint: /run.npz can't be written (Permission denied); it holds what was written "
        "before, and later results are lost with this process [checkpoint-not-written]",
        "checkpoint: /run.npz can't be written (Permission denied); nothing was changed",
        "checkpoint: /other.npz can't be written (Permission denied); nothing was changed",
        "checkpoint: /run.npz can't be read (Permission denied)",
    ], done.stderr


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [
        ("file/run.npz", FileNotFoundError, "there is no folder .*file to write run.npz to"),
        ("/proc/run.npz", OSError, "/proc/run.npz can't be written .*; nothing was changed"),
    ],
)
@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="folders of Linux")
def test_places_where_no_file_can_be_are_named(place, error, words, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(error, match=f"^checkpoint: .*{words}"):
        run_new(tmp_path / place)


def full(descriptor):
    raise OSError(28, "No space left on device")


def run_new(path):
    with open_run(square, checkpoint=path) as run:
        run.map("a", [(1 / 0,)])


def test_old_remains_of_kills_are_swept_and_young_ones_left(tmp_path):
    path = tmp_path / "run.npz"
    old, young = tmp_path / ".run.npz.1f.partial", tmp_path / ".run.npz.2f.partial"
    other = tmp_path / ".another.npz.1f.partial"
    for remains in (old, young, other):
        remains.touch()
    for remains in (old, other):
        os.utime(remains, (time.time() - 7200,) * 2)
    with open_run(square, checkpoint=path):
        pass
    assert not old.exists() and young.exists() and other.exists()


LONG_RUN = """
    import sys, time
    import numpy as np
    from smcweights.execution import batches, open_run
    from smcweights.randomness import generator

    path, log, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])

    def note(text):
        with open(log, "a") as file:
            file.write(text + "\\n")

    def function(stage, x):
        note(f"call {stage}")
        time.sleep(pause)
        return np.exp(x @ x.T).sum(1)

    if __name__ == "__main__":
        total = 0.0
        note("start")
        with open_run(function, checkpoint=path, seed=5, arguments={"n": 1}) as run:
            for stage in range(12):
                x = generator(run.root, "stage", stage).standard_normal((256, 3)) + np.sin(total)
                jobs = [(stage, x[a:b]) for a, b in batches(256)]
                total += float(np.concatenate(run.map(f"stage {stage}", jobs)).sum())
                note(f"done {stage}")
        print(total.hex())
    """


@pytest.mark.slow
@posix
def test_killed_at_any_moment_and_taken_up_again_it_gives_the_same_bits(tmp_path):
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(textwrap.dedent(LONG_RUN))

    def start(path, pause):
        return subprocess.Popen(
            [sys.executable, script, path, log, str(pause)], stdout=subprocess.PIPE, text=True
        )

    expected = start(tmp_path / "whole.npz", 0).communicate(timeout=60)[0]
    assert expected.strip()
    log.unlink()
    path, rng, kills, text = tmp_path / "run.npz", np.random.default_rng(3), 0, ""
    for _ in range(100):
        process = start(path, 0.002)
        # a moment at random in the run's own pace, whatever else the machine is doing
        written = len(lines(log)) + rng.integers(5, 50)
        while process.poll() is None and len(lines(log)) < written:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.01))
        process.kill()
        text = process.communicate()[0]
        if process.returncode == 0:
            break
        kills += 1
    assert process.returncode == 0 and text == expected
    assert kills >= 3
    # a stage that was finished is never computed again
    finished, runs = set(), log.read_text().split("start\n")[1:]
    for run in runs:
        called = {line.split()[1] for line in run.splitlines() if line.startswith("call")}
        assert not called & finished
        finished |= {line.split()[1] for line in run.splitlines() if line.startswith("done")}
    assert len(finished) == 12


INTERRUPTED = """
    import os, signal, sys, time
    # tests may run in the background of a shell, where interrupts are ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import numpy as np
    from smcweights.execution import open_run

    def function(i):
        if i < 2:  # each waits for the other: both workers have started
            open(f"{sys.argv[1]}.{i}", "w").close()
            while not os.path.exists(f"{sys.argv[1]}.{1 - i}"):
                time.sleep(0.01)
        if i > 2:
            time.sleep(60)
        return np.array(i)

    if __name__ == "__main__":
        with open_run(function, checkpoint=sys.argv[1], executor=sys.argv[2]) as run:
            stream = run.stream("a", [(i,) for i in range(4)])  # one worker is left idle
            print([int(next(stream)) for _ in range(3)], flush=True)
            next(stream)
    """


def session_ends(pid, seconds=15):
    """Whether all processes of a session that started with pid end in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        table = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True).stdout
        rows = [row.split() for row in table.splitlines()]
        if not any(int(group) == pid and not state.startswith("Z") for group, state in rows):
            return True
        time.sleep(0.1)
    return False


@posix
@pytest.mark.parametrize(
    ("executor", "number"),
    [
        ("processes:2", signal.SIGINT),
        pytest.param("processes:2", signal.SIGKILL, marks=pytest.mark.slow),
    ],
    ids=["interrupt", "kill"],
)
def test_interrupted_or_killed_it_leaves_no_process_and_its_checkpoint(executor, number, tmp_path):
    script, path = tmp_path / "script.py", tmp_path / "run.npz"
    script.write_text(textwrap.dedent(INTERRUPTED))
    process = subprocess.Popen(
        [sys.executable, script, path, executor],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline().strip() == "[0, 1, 2]"
    time.sleep(0.3)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as Ctrl-C in a terminal: all processes get it
    else:
        os.kill(process.pid, number)
    _, text = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert text.rstrip().endswith("KeyboardInterrupt")
        assert "ForkServerProcess" not in text, "workers report the interrupt as well"
        assert {("a", 0), ("a", 1), ("a", 2)} <= saved(path)
    assert session_ends(process.pid), "processes are left"


def test_who_looks_into_the_file_meanwhile_sees_what_was_found_so_far(tmp_path):
    path, seen, calls = str(tmp_path / "run.npz"), [], []

    def control(theta):
        calls.append(len(theta))
        if len(calls) % 20 == 1:
            seen.append(checkpoint.overview(path))
        return theta[:, 0] ** 2

    x, wanted = np.random.default_rng(1).normal(size=(50, 3)), smw.Precision(0.01)
    est = smw.sliced_wasserstein(
        *(x, np.exp(x)), precision=wanted, directions="uniform", control_variates=(control, 1 / 3),
        seed=1, checkpoint=path,
    )  # fmt: skip
    assert seen[0].startswith("Checkpoint of sliced Wasserstein, 0 stages, last written")
    assert re.search(r"precision +\{.*0.01.*\}", seen[0]) and "control_variates" in seen[0]
    shown = re.findall(r"so far +(\S+) \+- \S+ \(95 %\)", "\n".join(seen))
    assert shown and all(abs(float(value) - est.value) < 0.1 for value in shown)
    assert "round 1" in seen[-1]
    # and what a run of many stages did is told in a few lines
    with open_run(square, checkpoint=tmp_path / "b.npz", description="demo") as run:
        for k in range(40):
            run.map(f"stage {k}", numbered(1))
        run.note(np.arange(30.0), np.ones(30), 0.9)
    text = checkpoint.overview(tmp_path / "b.npz")
    assert "...       28 more stages" in text and "18 more (90 %)" in text
    assert len(text.splitlines()) == 16
