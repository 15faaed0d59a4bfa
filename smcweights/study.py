"""Study files: a model, the law of its inputs and a method, written down in TOML.

[model]
function = "beam.py:displacement"      # a file beside the study, or "package.module:function"
vectorized = true

[law.load]                             # one table per input, in the order of the columns
distribution = "norm"                  # any continuous law of scipy.stats, by its name there
loc = 4.0
scale = 0.5

[law.length]
distribution = "lognorm"
s = 0.1
lower = 0.5                            # lower and upper truncate

[copula]                               # optional: correlation of the underlying normals
correlation = [[1.0, 0.3], [0.3, 1.0]]

[study]
method = "adaptive_importance_sampling"
budget = 20000                         # or precision = { relative = 0.01 }
seed = 1                               # and any other argument of the method

A density to draw from, ``proposal`` or ``reference``, is written like the law:
[study.proposal.load] and so on. Of a ``posterior``, the law is the prior and the model the log
likelihood; [study.functions] names more functions: power = "beam.py:power". Paths are relative to
the study file. The model may import what lies beside it.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from .arguments import number
from .estimate import Estimate
from .storage import check_place

if TYPE_CHECKING:
    from .importance.indices import SobolIndices
    from .importance.output_law import OutputLaw
    from .importance.posteriors import Posterior
    from .importance.shapley import ShapleyEffects

# public functions of (model, law, ...), the first of them the default
METHODS = (
    "adaptive_importance_sampling",
    "importance_sampling",
    "failure_probability",
    "sobol_indices",
    "shapley_effects",
    "output_law",
    "posterior",
)
# arguments the functions take as they are, so that a wrong one would show late or not at all
EXPECTED: dict[str, tuple[type, str]] = {
    "names": (list, "a list of names"),
    "pooled": (bool, "true or false"),
    "self_normalized": (bool, "true or false"),
    "progress": (bool, "true or false"),
    "checkpoint": (str, "the name of a file"),
    "seed": (int, "a whole number from 0"),
    "precision": (dict, "a table such as {relative = 0.01}"),
    "functions": (dict, "a table such as {power = 'beam.py:power'}"),
}

Made = TypeVar("Made")


class StudyError(ValueError):
    """A study file says something that can't be done; the message names file and key."""


@dataclass(frozen=True)
class Study:
    """A study file, read and checked.

    Attributes
    ----------
    path : Path
    method : str
        Name of the public function.
    function : callable
        The model.
    law : dict or GaussianCopula
    arguments : dict
        Keyword arguments of the method.
    """

    path: Path
    method: str
    function: Callable[..., Any]
    law: Any
    arguments: dict[str, Any]

    def run(
        self, **more: object
    ) -> Estimate | SobolIndices | ShapleyEffects | OutputLaw | Posterior:
        """Call the method; ``more`` adds keyword arguments or replaces them."""
        import smcweights

        call = getattr(smcweights, self.method)
        return call(self.function, self.law, **{**self.arguments, **more})


def read(path: str | os.PathLike[str]) -> Study:
    r"""Read a study file.

    Parameters
    ----------
    path : path
        TOML file as in the example of this module; what it names is relative to it.

    Returns
    -------
    Study

    Raises
    ------
    StudyError
        The file can't be read, or a key is unknown, missing or holds the wrong thing; the message
        names both. What the model's own file raises while it is imported is left as it is, with a
        note that says so.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "study.toml"
    >>> _ = path.write_text(
    ...     '[model]\nfunction = "math:sin"\n[law.x]\ndistribution = "norm"\n'
    ...     "[study]\nbudget = 1000\nsede = 1"
    ... )
    >>> try:
    ...     read(path)
    ... except StudyError as error:
    ...     print(str(error).split(": ", 1)[1])
    study.sede: unknown; expected one of budget, ..., checkpoint; did you mean 'seed'?
    """
    file = Path(path)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"{file}: can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{file}: is not TOML: {error}") from error
    _known(file, "", document, ("model", "law", "copula", "study"))
    for key in ("model", "law", "study"):
        if not isinstance(document.get(key), dict):
            raise StudyError(f"{file}: [{key}]: missing; expected a table")
    model, study = document["model"], dict(document["study"])
    _known(file, "model", model, ("function", "vectorized"))
    method = study.pop("method", METHODS[0])
    if method not in METHODS:
        raise StudyError(
            f"{file}: study.method: got {method!r}; expected one of {', '.join(METHODS)}"
        )
    modules: dict[str, ModuleType] = {}
    arguments = _arguments(file, method, study, modules)
    if "vectorized" in model:
        if not isinstance(model["vectorized"], bool):
            raise StudyError(
                f"{file}: model.vectorized: got {model['vectorized']!r}; expected true or false"
            )
        arguments["vectorized"] = model["vectorized"]
    law: Any = _law(file, "law", document["law"])
    if "copula" in document:
        _known(file, "copula", document["copula"], ("correlation",))
        if "correlation" not in document["copula"]:
            raise StudyError(f"{file}: copula.correlation: missing; expected a square matrix")
        from .importance.laws import GaussianCopula

        law = _made(file, "copula", GaussianCopula, law, document["copula"]["correlation"])
    function = _function(f"{file}: model.function", file, model.get("function"), modules)
    return Study(file, method, function, law, arguments)


def _arguments(
    file: Path, method: str, study: dict[str, Any], modules: dict[str, ModuleType]
) -> dict[str, Any]:
    """Keyword arguments of the method from the table [study]."""
    import smcweights

    signature = inspect.signature(getattr(smcweights, method)).parameters
    allowed = [name for name in list(signature)[2:] if name != "vectorized"]
    _known(file, "study", study, allowed)
    for key in allowed:
        if key not in study and signature[key].default is inspect.Parameter.empty:
            raise StudyError(f"{file}: study.{key}: missing; {method} needs it")
    for key, (kind, expected) in EXPECTED.items():
        if key in study and (
            not isinstance(study[key], kind) or (kind is int and isinstance(study[key], bool))
        ):
            raise StudyError(f"{file}: study.{key}: got {study[key]!r}; expected {expected}")
    if "precision" in study:
        given = study["precision"]
        _known(file, "study.precision", given, ("absolute", "relative", "level", "max_budget"))
        study["precision"] = _made(file, "study.precision", smcweights.Precision, **given)
    for key in ("proposal", "reference"):
        if isinstance(study.get(key), dict):
            study[key] = _law(file, f"study.{key}", study[key])
    if "functions" in study:
        study["functions"] = {
            name: _function(f"{file}: study.functions.{name}", file, named, modules)
            for name, named in study["functions"].items()
        }
    if "checkpoint" in study:
        study["checkpoint"] = file.parent / study["checkpoint"]
        _made(file, "study", check_place, study["checkpoint"], "checkpoint")
    return study


def _known(file: Path, where: str, table: object, allowed: Sequence[str]) -> None:
    if not isinstance(table, dict):
        raise StudyError(f"{file}: {where}: got {table!r}; expected a table")
    for key in table:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            place = f"{where}.{key}" if where else f"[{key}]"
            raise StudyError(
                f"{file}: {place}: unknown; expected one of {', '.join(allowed)}{hint}"
            )


def _made(
    file: Path, where: str, make: Callable[..., Made], *args: object, **kwargs: object
) -> Made:
    try:
        return make(*args, **kwargs)
    except (TypeError, ValueError, OSError) as error:
        raise StudyError(f"{file}: {where}: {error}") from error


def _law(file: Path, where: str, tables: Mapping[str, Any]) -> dict[str, Any]:
    if not tables:
        raise StudyError(f"{file}: [{where}]: expected one table per input")
    return {name: _marginal(file, f"{where}.{name}", table) for name, table in tables.items()}


def _marginal(file: Path, where: str, table: object) -> Any:
    from scipy import stats

    if not isinstance(table, dict) or not isinstance(table.get("distribution"), str):
        raise StudyError(f"{file}: {where}.distribution: missing; expected a name of scipy.stats")
    name = table["distribution"]
    family = getattr(stats, name, None)
    if not isinstance(family, stats.rv_continuous):
        names = [n for n in dir(stats) if isinstance(getattr(stats, n), stats.rv_continuous)]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise StudyError(
            f"{file}: {where}.distribution: got {name!r}; expected a continuous law of "
            f"scipy.stats{hint}"
        )
    shapes = [s.strip() for s in family.shapes.split(",")] if family.shapes else []
    _known(file, where, table, ("distribution", *shapes, "loc", "scale", "lower", "upper"))
    numbers = {key: value for key, value in table.items() if key != "distribution"}
    for key, value in numbers.items():
        try:
            number(f"{where}.{key}", value, infinite=key in ("lower", "upper"))
        except (TypeError, ValueError) as error:
            raise StudyError(f"{file}: {error}") from error
    for key in shapes:
        if key not in numbers:
            raise StudyError(f"{file}: {where}.{key}: missing; scipy.stats.{name} needs it")
    ends = {key: float(numbers.pop(key)) for key in ("lower", "upper") if key in numbers}
    frozen = _made(file, where, family, **numbers)
    if not frozen.dist._argcheck(*(numbers[key] for key in shapes)) or numbers.get("scale", 1) <= 0:
        raise StudyError(f"{file}: {where}: parameters out of range for scipy.stats.{name}")
    if ends:
        from smcweights import Truncated

        lower, upper = ends.get("lower", -float("inf")), ends.get("upper", float("inf"))
        return _made(file, where, Truncated, frozen, lower, upper)
    return frozen


def _function(
    where: str, file: Path, named: object, modules: dict[str, ModuleType]
) -> Callable[..., Any]:
    """What is named, from a file that runs once for all that is named in it (``modules``)."""
    home, _, name = named.rpartition(":") if isinstance(named, str) else ("", "", "")
    from_file = home.endswith(".py")
    if not name.isidentifier() or not (from_file or all(map(str.isidentifier, home.split(".")))):
        raise StudyError(
            f"{where}: got {named!r}; expected 'file.py:function' or 'package.module:function'"
        )
    source = (file.parent / home).resolve()
    if from_file and not source.is_file():
        raise StudyError(f"{where}: there is no file {source}")
    # as for a script: what lies beside it can be imported, here and in workers
    beside = str(source.parent if from_file else file.parent.resolve())
    if beside not in sys.path:
        sys.path.insert(0, beside)
    try:
        if home not in modules:
            modules[home] = _executed(source) if from_file else importlib.import_module(home)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{home}.".startswith(f"{error.name}."):
            raise StudyError(f"{where}: {error}") from error
        error.add_note(f"while importing {home}, for {where}")
        raise
    except Exception as error:
        error.add_note(f"while importing {home}, for {where}")
        raise
    function = getattr(modules[home], name, None)
    if not callable(function):
        raise StudyError(f"{where}: {home} has no function {name!r}")
    return function


def _executed(source: Path) -> ModuleType:
    """The module in a file, under a name that can't hide an installed module."""
    import cloudpickle

    name = f"study_model_{source.stem}"
    spec = importlib.util.spec_from_file_location(name, source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    # workers can't import it by that name
    cloudpickle.register_pickle_by_value(module)
    return module
