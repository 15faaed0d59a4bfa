"""What every public function does at its door: paths and names are refused before any work."""

import inspect
import os
import re
import traceback
import warnings
from contextlib import suppress

import numpy as np
import pytest
from doors import ALSO, BAD, DOORS, ELSEWHERE, KIND, MAY, SHORT, Reached, never, of

import smcweights as smw
from smcweights.results import Result
from smcweights.storage import read_archive


def taking(argument):
    """Names of the functions that have an argument."""
    return [name for name in DOORS if argument in inspect.signature(of(name)).parameters]


def named(function, argument):
    """What an argument is, as `doors` has it."""
    return ELSEWHERE.get((function, argument)) or KIND[argument]


class Unready:
    """Stands for what is compiled: whoever uses it has let all arguments in."""

    __call__ = never

    def __getattr__(self, name):
        raise Reached


@pytest.fixture
def nothing_runs(monkeypatch, tmp_path):
    """No function is compiled, and no batch is run: both are work."""
    from smcweights.execution import run
    from smcweights.statespace import compilation, keeping, kernels
    from smcweights.statespace.learning import scores

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run.Run, "map", never)
    monkeypatch.setattr(compilation, "jitted", lambda *_: Unready())
    monkeypatch.setattr(keeping, "quickly_found", lambda kernel, _: kernel)
    monkeypatch.setattr(kernels, "ready", lambda *_: Unready())
    monkeypatch.setattr(scores, "check_laws", lambda *_: None)
    monkeypatch.setattr("matplotlib.pyplot.subplots", never)
    monkeypatch.setattr("jax.lax.stop_gradient", never)


def numbers_in(answer):
    """All floats of an answer but those that say that nothing is known."""
    if isinstance(answer, smw.Estimate):
        return np.append(answer.value, np.nan_to_num(answer.standard_error))
    return np.asarray(answer if isinstance(answer, float | np.ndarray) else 0.0)


def judged(name, argument, kind, wrong):
    """What is wrong with how a function takes a value, or nothing."""
    function, right = of(name), DOORS[name]
    default = inspect.signature(function).parameters[argument].default
    may = wrong in MAY[kind].split(";")
    may |= wrong == "none" and (default is None or right.get(argument, 0) is None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", smw.PrecisionWarning)
            answer = function(**(right | {argument: BAD[wrong]()}))
    except Reached:
        return "" if may else "let in"
    except (TypeError, ValueError, OSError, smw.ModelError, smw.DegeneracyError) as error:
        said = str(error)
        place = traceback.extract_tb(error.__traceback__)[-1].filename
        if f"{os.sep}smcweights{os.sep}" not in place or "expect" not in said.lower():
            return f"raw: {said[:200]}"
        known = ALSO.get((name, argument), argument)
        # of arrays the entry that is wrong
        told = re.search(r"\bgot\b", said) or repr(BAD[wrong]()) in said
        if wrong in SHORT and not told:
            return f"what it got is not told: {said[:200]}"
        # one that may be right meets others that it doesn't go with
        return "" if may or re.search(rf"\b({known})\b", said) else f"not named: {said[:200]}"
    except Exception as error:
        return f"raw: {error!r}"
    if may:
        return "" if np.isfinite(numbers_in(answer)).all() else f"silent: {answer}"
    return f"taken: {answer!r}"[:200]


# what a user's own function says is his
HIS = ("function", "answers", "number or function", "asked", "map")


def calls(names):
    """Every argument of these functions with every wrong value."""
    for name in names:
        for argument, parameter in inspect.signature(of(name)).parameters.items():
            if parameter.kind is not parameter.VAR_KEYWORD:
                kind = named(name, argument)
                for wrong in BAD:
                    if not (kind in HIS and wrong in ("lambda", "type")):
                        yield name, argument, kind, wrong


def test_no_public_function_is_left_out():
    # any number of constraints: `several` has them
    none = [f"constraints.{name}" for name in ("both", "either")]
    rooms = ("models", "constraints", "languages", "problems", "functionals", "plots", "jax")
    public = {name: getattr(smw, name) for name in smw.__all__}
    for room in rooms:
        names = getattr(of(room), "__all__", ())
        public |= {f"{room}.{name}": getattr(of(room), name) for name in names}
    for name, thing in public.items():
        kept = inspect.isclass(thing) and ("." in name or issubclass(thing, Result | BaseException))
        if callable(thing) and not kept and inspect.signature(thing).parameters:
            assert name in DOORS or name in none, name


QUICK = ("resample", "Precision", "Estimate", "Truncated", "paris")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in DOORS]
)
def test_what_is_wrong_is_refused_by_name_before_any_work(name, nothing_runs, tmp_path):
    found = []
    for call in calls([name]):
        said = judged(*call)
        if said:
            found.append(f"{call[0]}({call[1]}: {call[2]} = {call[3]}): {said}")
        for file in tmp_path.iterdir():
            file.unlink()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", taking("checkpoint"))
def test_a_checkpoint_that_cannot_be_written_is_refused_before_any_work(
    name, nothing_runs, monkeypatch, tmp_path
):
    function = of(name)
    # what a first call compiles takes seconds
    monkeypatch.setattr("numba.core.dispatcher.Dispatcher.compile", never)
    with pytest.raises(FileNotFoundError, match="checkpoint: there is no folder"):
        function(**DOORS[name], checkpoint=tmp_path / "none" / "run.npz")
    with pytest.raises(IsADirectoryError, match=r"checkpoint: .* is a folder"):
        function(**DOORS[name], checkpoint=tmp_path)
    assert not list(tmp_path.iterdir())


# what a checkpoint also tells apart: defaults that a method sets, and data under one word
BESIDE = {"backward", "backward_ess", "data", "ess_threshold", "groups", "halves", "n_backward"}
BESIDE |= {"proposal", "resampling"}
SWIFT = ("sobol_indices", "shapley_effects", "output_law", "failure_probability")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SWIFT else pytest.mark.slow)
        for name in taking("checkpoint")
    ],
)
def test_a_checkpoint_speaks_of_arguments_by_their_names(name, nothing_runs, tmp_path):
    path, own = tmp_path / "run.npz", inspect.signature(of(name)).parameters.keys()
    with warnings.catch_warnings(), suppress(Reached):
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        of(name)(**DOORS[name], checkpoint=path)
    assert read_archive(path)[0]["arguments"].keys() <= own | BESIDE


@pytest.mark.parametrize("name", taking("names"))
def test_names_that_occur_twice_are_refused_before_any_work(name, nothing_runs):
    with pytest.raises(ValueError, match="names: 'a' occurs twice"):
        of(name)(**DOORS[name] | {"names": ["a", "a"]})
