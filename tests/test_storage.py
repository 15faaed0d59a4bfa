"""Files are whole or not there, and damage never goes unseen."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray
from estimates import VALUE, example

from smcweights import storage
from smcweights.estimate import Estimate


def test_a_file_that_could_not_be_filled_leaves_the_old_one_and_no_litter(tmp_path):
    path = tmp_path / "a.txt"

    def half(name):
        with open(name, "w") as file:
            file.write("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.write(path, half)
    assert os.listdir(tmp_path) == []
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        storage.write(path, half)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_place_that_cannot_be_written_to_is_found_out_before_any_work(tmp_path):
    assert storage.check_place(tmp_path / "a.npz") == str(tmp_path / "a.npz")
    with pytest.raises(TypeError, match="checkpoint: got 3; expected a path"):
        storage.check_place(3, "checkpoint")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        storage.check_place(tmp_path)
    with pytest.raises(ValueError, match=r"path: got .*; expected a file's name, without NUL"):
        storage.load_any("a\0b")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*absent to write a\.npz to"):
        storage.check_place(tmp_path / "absent" / "a.npz")
    # what a kill left is nobody's after an hour; a younger one may be another run's
    old, young = tmp_path / ".a.npz.0.partial", tmp_path / ".a.npz.1.partial"
    for file in (old, young):
        file.touch()
    os.utime(old, (0, 0))
    storage.check_place(tmp_path / "a.npz")
    assert os.listdir(tmp_path) == [young.name]


def test_an_archive_is_read_back_as_it_was(tmp_path):
    header = {"arguments": {"n": 3}, "entries": [["stage", 0]]}
    arrays = {"0": np.array([1.0, np.nan]), "1": np.zeros((0, 2), dtype=np.int8)}
    storage.write_archive(tmp_path / "a.npz", header, arrays)
    found, read = storage.read_archive(tmp_path / "a.npz")
    assert found == header and list(read) == ["0", "1"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


def test_files_that_are_not_ours_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.nc"):
        Estimate.load(tmp_path / "absent.nc")
    (tmp_path / "text.nc").write_text("hello")
    (tmp_path / "empty.nc").touch()
    foreign = xarray.Dataset({"value": ("component", [1.0])})
    foreign.to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    for name in ("text.nc", "empty.nc", "foreign.nc"):
        with pytest.raises(ValueError, match=rf"{name}: not a whole file that save"):
            Estimate.load(tmp_path / name)


def test_no_damage_goes_unseen(tmp_path):
    path, damaged = tmp_path / "good.nc", tmp_path / "damaged.nc"
    example(sample={"x": ("i", np.arange(200.0))}).save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(4)
    for length in rng.integers(0, len(content), 20):
        damaged.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"damaged\.nc: not a whole file"):
            Estimate.load(damaged)
    for position in rng.integers(0, len(content), 100):
        wrong = bytearray(content)
        wrong[position] ^= 1 << rng.integers(8)
        damaged.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"damaged\.nc"):
            Estimate.load(damaged)
        assert damaged.read_bytes() == wrong


def test_other_programs_read_the_file(tmp_path):
    path = tmp_path / "a.nc"
    example(sample={"x": ("i", np.arange(3.0))}).save(path)
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert float(data.standard_error.sel(component="mean")) == pytest.approx(0.2)
    import h5py

    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["sample/x"], [0, 1, 2])


def test_a_failed_save_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    example().save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        example(value=VALUE + 1).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.nc"]


def test_saving_through_a_symbolic_link_replaces_its_target(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.nc"
    link.symlink_to(tmp_path / "real" / "a.nc")
    example().save(link)
    assert link.is_symlink()
    assert (Estimate.load(tmp_path / "real" / "a.nc").value == VALUE).all()


WRITER = """
import os
import sys
import numpy as np
from smcweights.estimate import Estimate
sample = {"x": (("i",), np.arange(200_000.0))}
Estimate(0.0, 1.0, sample=sample).save(sys.argv[1])
for _ in sys.stdin:
    # a process of its own for every kill, all imports done
    if pid := os.fork():
        os.waitpid(pid, 0)
        print("ended", flush=True)
        continue
    print(os.getpid(), flush=True)
    number = 0
    while True:
        number += 1
        Estimate(float(number), 1.0, sample=sample).save(sys.argv[1])
"""


@pytest.mark.slow
def test_killed_20_times_while_writing_the_file_is_always_whole(tmp_path):
    path = tmp_path / "a.nc"
    rng = np.random.default_rng(5)
    interrupted = 0
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(20):
        writer.stdin.write("again\n")
        writer.stdin.flush()
        pid = int(writer.stdout.readline())
        time.sleep(rng.uniform(0.0, 0.1))
        os.kill(pid, signal.SIGKILL)
        assert writer.stdout.readline() == "ended\n"
        loaded = Estimate.load(path)
        assert loaded.sample.sizes["i"] == 200_000
        litter = [name for name in os.listdir(tmp_path) if name != "a.nc"]
        interrupted += bool(litter)
        for name in litter:
            os.unlink(tmp_path / name)
    writer.communicate()
    # most of a round is writing: without an interrupted write the test would have seen nothing
    assert interrupted >= 3
