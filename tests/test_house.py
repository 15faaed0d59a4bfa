"""The structure that docs/architecture.md describes, read from the source: nothing is imported."""

import ast
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"importance", "statespace", "rejection", "transport"}
# above the rooms: names gathered for users, and whole problems
FACES = {"models", "functionals", "constraints", "languages", "plots", "jax", "problems"}
FACES |= {"study", "report", "cli"}
# functions that are one loop over arrays, which numba compiles
KERNELS = {"kernels.py", "loops.py"}
LONGEST, WIDEST, MOST_ANY = 80, 8, 0.05


class File:
    """A source file: its module's name, its lines and its tree."""

    def __init__(self, module, text, inside=False, name=""):
        self.module, self.lines, self.tree = module, text.splitlines(), ast.parse(text)
        self.inside = inside  # of a package: the file is its __init__
        self.name = name

    @cached_property
    def functions(self):
        return [n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef)]

    @cached_property
    def imports(self):
        """(module or None, name, kind) of every relative import, wherever it stands."""
        home = self.module.split(".") if self.inside else self.module.split(".")[:-1]

        def visit(node, kind):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):  # no import stands in one
                    continue
                below = kind
                if isinstance(child, ast.FunctionDef):
                    below = "lazy"
                if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                    below = "typing"
                if isinstance(child, ast.ImportFrom) and child.level:
                    base = home[: len(home) - child.level + 1]
                    base = ".".join([*base, *([child.module] if child.module else [])])
                    yield from ((base, alias.name, kind) for alias in child.names)
                if isinstance(child, ast.ImportFrom) and not child.level:
                    yield from ((child.module, alias.name, kind) for alias in child.names)
                yield from visit(child, below)

        return list(visit(self.tree, "top"))


@cache
def house():
    files = []
    for path in sorted((ROOT / "smcweights").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        inside = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if inside else parts)
        files.append(File(module, path.read_text(encoding="utf-8"), inside, path.name))
    return files


def edges(files, kinds=("top", "lazy", "typing")):
    """Pairs of modules of which the first imports the second; the package itself is left out."""
    known = {file.module for file in files}
    found = set()
    for file in files:
        for base, name, kind in file.imports:
            target = f"{base}.{name}" if f"{base}.{name}" in known else base
            if kind in kinds and target in known and target != file.module:
                found.add((file.module, target))
    return {edge for edge in found if "smcweights" not in edge}


def circle(pairs):
    """Modules that reach themselves."""
    after = {}
    for a, b in pairs:
        after.setdefault(a, set()).add(b)

    def reached(start):
        seen, left = set(), [start]
        while left:
            new = after.get(left.pop(), set()) - seen
            seen |= new
            left += new
        return seen

    return sorted(a for a in after if a in reached(a))


def code_lines(file, function):
    """Lines of a function's body without its docstring, comments and blank lines."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) else function.body
    if not body:
        return 0
    lines = file.lines[body[0].lineno - 1 : function.end_lineno]
    return sum(1 for line in lines if line.strip() and not line.strip().startswith("#"))


def parameters(function):
    a = function.args
    listed = [*a.posonlyargs, *a.args, *a.kwonlyargs]
    return [p for p in listed if p.arg not in ("self", "cls")]


def test_the_reader_sees_what_it_should():
    one = File(
        "p.room.a",
        "from . import b\nif TYPE_CHECKING:\n    from ..c import C\n"
        "def f(x, y):\n    '''Doc.'''\n    from .d import _g\n\n    # why\n    return _g(x)\n",
    )
    assert [(base, name, kind) for base, name, kind in one.imports] == [
        ("p.room", "b", "top"),
        ("p.c", "C", "typing"),
        ("p.room.d", "_g", "lazy"),
    ]
    (f,) = one.functions
    assert code_lines(one, f) == 2 and len(parameters(f)) == 2
    two = File("p.c", "def f():\n    from .room.a import f\n")
    assert edges([one, two]) == {("p.room.a", "p.c"), ("p.c", "p.room.a")}
    assert edges([one, two], ("top",)) == set()
    assert circle(edges([one, two])) == ["p.c", "p.room.a"]
    assert circle({("a", "b"), ("b", "c")}) == []


@pytest.mark.parametrize("kinds", [("top",), ("top", "lazy"), ("top", "lazy", "typing")])
def test_no_files_import_each_other_in_a_circle(kinds):
    assert not circle(edges(house(), kinds))


def test_rooms_import_no_room_and_shared_files_neither_room_nor_face():
    wrong = []
    for a, b in edges(house()):
        above, below = a.split(".")[1], b.split(".")[1]
        if above != below and above not in FACES and below in ROOMS | FACES:
            wrong.append(f"{a} imports {b}")
    assert not wrong


def test_no_private_name_crosses_a_file():
    wrong = [
        f"{file.module} takes {name} from {base}"
        for file in house()
        for base, name, _ in file.imports
        if (base or "").startswith("smcweights")
        and name.startswith("_")
        and not name.startswith("__")
        and name != "_compat"
    ]
    assert not wrong


def test_every_file_says_its_story_in_the_first_line_and_no_two_the_same():
    stories = {}
    for file in house():
        doc = ast.get_docstring(file.tree)
        assert doc, f"{file.module}: no docstring"
        stories.setdefault(doc.splitlines()[0], []).append(file.module)
    assert not [modules for modules in stories.values() if len(modules) > 1]
    vague = {"utils", "common", "helpers", "manager", "misc"}
    assert not [file.module for file in house() if vague & set(file.module.split("."))]


def test_every_file_has_a_test_of_its_name():
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    faces = ROOMS | {"models", "functionals", "constraints", "languages", "errors"}
    without = [
        file.module
        for file in house()
        if file.module.count(".")
        and not file.module.startswith("smcweights.problems.")
        and file.module.split(".")[-1].lstrip("_") not in tests | faces
    ]
    assert not without


def test_functions_fit_a_screen():
    long = [
        f"{file.module}:{f.lineno} {f.name}: {code_lines(file, f)} lines"
        for file in house()
        if file.name not in KERNELS
        for f in file.functions
        if code_lines(file, f) > LONGEST
    ]
    assert not long


def test_private_functions_take_few_parameters():
    wide = [
        f"{file.module}:{f.lineno} {f.name}: {len(parameters(f))} parameters"
        for file in house()
        for f in file.functions
        if f.name.startswith("_") and not f.name.startswith("__") and len(parameters(f)) > WIDEST
    ]
    assert not wide


def test_only_kernels_and_tables_are_laid_out_by_hand():
    wrong = []
    for file in house():
        if file.name in KERNELS:
            continue
        by_hand = {
            i + 1 for i, line in enumerate(file.lines) if line.rstrip().endswith("fmt: skip")
        }
        for node in file.tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(
                node.value, ast.List | ast.Tuple | ast.Dict | ast.Call
            ):
                by_hand -= {node.end_lineno}
        wrong += [f"{file.module}:{number}" for number in sorted(by_hand)]
    assert not wrong


def test_no_line_is_a_banner():
    wrong = [
        f"{file.module}:{i + 1}"
        for file in house()
        for i, line in enumerate(file.lines)
        if line.strip().startswith("#") and ("----" in line or "====" in line)
    ]
    assert not wrong


def test_arguments_say_what_they_are():
    given = [
        (ast.unparse(a.annotation), f"{file.module}:{f.lineno} {f.name}({a.arg})")
        for file in house()
        for f in file.functions
        for a in [*parameters(f), f.args.vararg, f.args.kwarg]
        if a is not None and a.annotation is not None
    ]
    loose = [place for kind, place in given if kind == "Any"]
    assert len(loose) < MOST_ANY * len(given), loose
