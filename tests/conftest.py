import gc
import os
import sys

import hypothesis
import pytest

# one BLAS thread per test worker: the suite itself fills the cores
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# to look for circles among trees of sources, as often as Python does, costs more than the trees
gc.set_threshold(50_000)

# how long an example takes says what else the machine is doing
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")
# tests of JAX compile more than they compute
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


# of these each test takes minutes, and compiles nothing that the others need
LONG = ("tests/importance/test_coverage.py", "tests/test_notebooks.py")


# examples of which nothing else in the fast tests needs the kernels, seconds of compilation
SLOW_EXAMPLES = (
    "unbiased_smoothing",
    "plots.scores",
    "plots.profile",
    "figures.iterates",
    "observed_information",
    "particle_marginal_metropolis_hastings",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """These examples run with the slow tests."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.name.endswith(SLOW_EXAMPLES):
            item.add_marker("slow")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """What one worker compiles, the other finds on disk, unless both compile it at once.

    So a file stays in one worker, and all files about state-space models stay in the same.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::")[0]
            if file in LONG:
                return nodeid
            together = "statespace" in file and config.getoption("markexpr") != "slow"
            return "statespace" if together else file

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collect_file():
    """Examples stand in the package: these files aren't searched for any."""
    return [found for found in (yield) if type(found).__name__ != "DoctestModule"]


@pytest.fixture
def beam(tmp_path, monkeypatch):
    """A study file beside its model."""
    from studies import MODEL, STUDY

    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "units.py").write_text("SCALE = 1.0")
    (tmp_path / "beam.py").write_text(MODEL)
    path = tmp_path / "beam.toml"
    path.write_text(STUDY)
    yield path
    for name in ("units", "beam", "study_model_beam"):
        sys.modules.pop(name, None)
