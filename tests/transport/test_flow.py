"""Flows arrive, are told how, and go on from a checkpoint to the same numbers."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import smcweights as smw
from smcweights.storage import read_archive

RNG = np.random.default_rng(3)
SLOW = pytest.mark.slow
X, Y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3)) + 1


def test_a_flow_arrives():
    flow = smw.sliced_gradient_flow(X - 10, Y, 300, step_size=1.0, trace="exact", seed=1)
    assert flow.distances[0] > 100
    assert flow.distances[-1] < 1e-6
    assert flow.frames.shape == (21, 20, 3)
    np.testing.assert_array_equal(flow.frames[-1], flow.points)


@pytest.mark.slow
def test_the_flow_of_the_paper_in_small():
    """Root, step 0.01: the speed is constant until the end, and blocks lead single directions."""
    runs = {
        name: smw.sliced_gradient_flow(
            X - 1, Y, 600, step_size=0.01, root=True, budget=9, trace="exact", seed=2, **keywords
        )
        for name, keywords in {
            "blocks": {"directions": "orthogonal"},
            "uniform": {"directions": "uniform"},
            "upper": {"directions": "uniform", "control_variates": "upper"},
        }.items()
    }
    ends = {name: run.distances[-1] for name, run in runs.items()}
    assert ends["blocks"] < runs["blocks"].distances[0] / 10
    assert ends["blocks"] < ends["uniform"]


def test_a_callback_sees_and_ends_a_flow():
    seen = []

    def look(step, points, power):
        seen.append(power)
        assert not points.flags.writeable
        return step == 5

    smw.sliced_gradient_flow(X, Y, 50, callback=look, seed=1)
    assert len(seen) == 6


def test_a_finished_flow_that_is_called_again_is_the_same(tmp_path):
    for name, callback in (("whole", None), ("ended", lambda step, points, power: step == 5)):
        keywords = {"seed": 1, "checkpoint": tmp_path / f"{name}.npz", "callback": callback}
        first, *others = (smw.sliced_gradient_flow(X, Y, 12, **keywords) for _ in range(3))
        assert first.steps.tolist() == list(range(6 if callback else 13))
        for again in others:
            for part in ("points", "steps", "distances", "frames"):
                np.testing.assert_array_equal(getattr(again, part), getattr(first, part))


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_interrupted_flow_goes_on_from_where_it_was(tmp_path, error):
    path, seen = tmp_path / "run.npz", []

    def look(step, points, power):
        seen.append(step)
        if len(seen) == 8:
            raise error

    whole = smw.sliced_gradient_flow(X, Y, 12, seed=1)
    with pytest.raises(error):
        smw.sliced_gradient_flow(X, Y, 12, seed=1, callback=look, checkpoint=path)
    assert os.listdir(tmp_path) == ["run.npz"]
    resumed = smw.sliced_gradient_flow(X, Y, 12, callback=look, checkpoint=path)
    assert seen == [*range(8), *range(7, 12)]
    for part in ("points", "steps", "distances", "frames"):
        np.testing.assert_array_equal(getattr(resumed, part), getattr(whole, part))


def test_a_checkpoint_that_cannot_be_written_is_told_before_the_first_step(tmp_path, monkeypatch):
    def step(*_):
        raise AssertionError("a step was made")

    for path, error in (("none/run.npz", FileNotFoundError), ("", IsADirectoryError)):
        with pytest.raises(error, match="checkpoint: "):
            smw.sliced_gradient_flow(X, Y, callback=step, checkpoint=tmp_path / path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        smw.sliced_gradient_flow(X, Y, callback=step, checkpoint=tmp_path / "run.npz")
    assert not os.listdir(tmp_path)


def test_step_sizes_are_those_of_the_checkpoint(tmp_path):
    def run(step_size, **keywords):
        return smw.sliced_gradient_flow(
            X, Y, 7, step_size=step_size, seed=1, checkpoint=tmp_path / "a.npz", **keywords
        )

    first = run(lambda step: 1 / (1 + step))
    np.testing.assert_array_equal(run(lambda step: (1 + step) ** -1).points, first.points)
    with pytest.raises(ValueError, match="other arguments: step_size was"):
        run(lambda step: 0.5)
    with pytest.raises(ValueError, match="other arguments: weights_x was"):
        run(lambda step: 1 / (1 + step), weights_x=np.arange(1.0, 21.0))


@pytest.mark.parametrize("wrong", ["a", np.nan, -1.0, None, [1.0, 2.0]])
def test_step_sizes_that_are_no_sizes_are_told(wrong):
    with pytest.raises(smw.ModelError, match=r"step_size: returned .* for step 3"):
        smw.sliced_gradient_flow(X, Y, 7, step_size=lambda step: wrong if step == 3 else 1.0)


SLOWLY = """
import signal, sys, time
import numpy as np, smcweights as smw
# tests may run in the background of a shell, where interrupts are ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
clock = time.monotonic
time.monotonic = lambda: 1000 * clock()  # 30 seconds pass in 30 milliseconds
x, y = np.load(sys.argv[1])
pause = lambda *_: time.sleep(0.05)
smw.sliced_gradient_flow(x, y, 100, callback=pause, seed=4, checkpoint=sys.argv[2])
"""


@pytest.mark.parametrize("executor", ["threads:2", pytest.param("processes:2", marks=SLOW)])
def test_a_flow_has_the_same_bits_wherever_it_is_computed(executor, tmp_path):
    for keywords in ({}, {"directions": "uniform", "control_variates": "lower", "budget": 7}):
        alone = smw.sliced_gradient_flow(X, Y, 5, seed=1, **keywords)
        path = tmp_path / f"{len(keywords)}.npz"
        for _ in range(2):
            there = smw.sliced_gradient_flow(
                X, Y, 5, seed=1, executor=executor, checkpoint=path, **keywords
            )
            for part in ("points", "distances", "frames"):
                np.testing.assert_array_equal(getattr(there, part), getattr(alone, part))
        assert len(read_archive(path)[0]["entries"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_flow_goes_on_to_the_same_numbers(number, tmp_path):
    path, seen = tmp_path / "run.npz", []
    np.save(tmp_path / "clouds.npy", [X, Y])
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, tmp_path / "clouds.npy", path])

    def kept():
        entries = read_archive(path)[0]["entries"] if path.exists() else []
        return entries[0][3]["of"][0] if entries else 0

    deadline = time.monotonic() + 60
    while kept() < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.wait()

    def look(step, points, power):
        seen.append(step)

    whole = smw.sliced_gradient_flow(X, Y, 100, seed=4)
    resumed = smw.sliced_gradient_flow(X, Y, 100, callback=look, checkpoint=path)
    assert 3 <= seen[0] < 100
    np.testing.assert_array_equal(resumed.points, whole.points)
    np.testing.assert_array_equal(resumed.frames, whole.frames)
    with pytest.raises(ValueError, match="other arguments: "):
        smw.sliced_gradient_flow(X, Y, 7, seed=4, checkpoint=path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step_size": -1}, "step_size: got -1"),
        ({"trace": "W2"}, "trace: got 'W2'"),
        ({"trace_at": [200]}, "trace_at: got"),
        ({"control_variates": "parts"}, "control_variates: got 'parts'"),
        ({"control_variates": "lower", "p": 1}, "'lower' serves p = 2"),
        ({"y": Y[:5], "trace": "exact"}, "'exact' serves two clouds of the same size"),
        ({"weights_x": np.r_[0, np.ones(19)]}, "weights_x: got 0; expected positive numbers"),
    ],
)
def test_bad_arguments_are_told(change, said):
    with pytest.raises(ValueError, match=said):
        smw.sliced_gradient_flow(**{"x0": X, "y": Y, "steps": 10, **change})


def test_too_large_steps_are_told():
    with pytest.raises(FloatingPointError, match=r"step \d: the points ran away.* smaller steps"):
        smw.sliced_gradient_flow(X, Y, 3_000, step_size=lambda step: 50.0, seed=1)
    for size in (3, 50.0):
        with pytest.raises(ValueError, match=f"step_size: got {size}; expected less than 3"):
            smw.sliced_gradient_flow(X, Y, 10, step_size=size, seed=1)


def test_the_default_size_settles_on_the_line():
    flow = smw.sliced_gradient_flow(X[:, 0] + 5, Y[:, 0], 40, seed=1)
    assert flow.distances[-1] < 1e-9 < flow.distances[0]
    assert repr(flow).startswith("SlicedFlow(20 points in 1 dimensions, distances ")
    assert len(repr(flow)) < 100
