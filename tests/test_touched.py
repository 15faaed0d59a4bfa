"""Fast tests, or examples in docstrings, use every public function."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import smcweights as smw

ROOT = Path(__file__).parents[1]
ROOMS = ("models", "constraints", "languages", "problems", "functionals", "plots", "jax")


def words(*nodes):
    """Names, attributes, and strings that are names, of whatever stands in these nodes."""
    found = set()
    for node in (below for one in nodes for below in ast.walk(one)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value.split(".")[-1])
    return found


def reached(text):
    """Words of the fast tests of a file, and of all that they name in it."""
    tree = ast.parse(text)
    homes, tests = {}, []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            tests.append(node)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            homes[node.name] = node
        elif isinstance(node, ast.Assign):
            if any(getattr(target, "id", "") == "pytestmark" for target in node.targets):
                if "slow" in words(node):
                    return set()
                continue
            homes |= {n.id: node for t in node.targets for n in ast.walk(t) if hasattr(n, "id")}
    slow = {"pytest.mark.slow"}
    fast = [test for test in tests if not slow & set(map(ast.unparse, test.decorator_list))]
    found, new = set(), words(*fast)
    while new:
        found |= new
        new = words(*(homes.pop(name) for name in new & homes.keys())) - found
    return found


def examples(text):
    """Words of the lines that doctest runs."""
    return set(re.findall(r"\w+", "\n".join(re.findall(r"^ *(?:>>>|\.\.\.) (.*)", text, re.M))))


@pytest.fixture(scope="module")
def touched():
    read = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    found = set().union(*map(reached, read.values()))
    for path in (ROOT / "smcweights").rglob("*.py"):
        found |= examples(path.read_text(encoding="utf-8"))
    return found


def test_the_reader_sees_what_it_should():
    text = """
    import pytest
    CASES = {"a": one}
    def helper(): return two.three("plots.four")
    def unused(): return five
    @pytest.mark.parametrize("name", CASES)
    def test_a(name): helper()
    @pytest.mark.slow
    def test_b(): six()
    """
    found = reached(inspect.cleandoc(text))
    assert {"one", "two", "three", "four"} <= found and not {"five", "six"} & found
    assert reached(inspect.cleandoc(text) + "\npytestmark = pytest.mark.slow") == set()
    assert examples("    >>> f(x,\n    ...   y)\n    z") == {"f", "x", "y"}


def test_every_public_function_has_a_fast_test_or_an_example(touched):
    for name in smw.__all__:
        thing = getattr(smw, name)
        # results come out of functions: tests/test_results.py has them all
        if inspect.isfunction(thing) or (inspect.isclass(thing) and "Online" in name):
            assert name in touched, name
    for room in ROOMS:
        for name in getattr(getattr(smw, room), "__all__", ()):
            if inspect.isfunction(getattr(getattr(smw, room), name)):
                assert name in touched, f"{room}.{name}"


def test_every_public_method_has_a_fast_test_or_an_example_or_is_called_by_the_package(touched):
    called = set()
    for path in (ROOT / "smcweights").rglob("*.py"):
        called |= set(re.findall(r"\.(\w+)\(", path.read_text(encoding="utf-8")))
    for name in smw.__all__:
        if inspect.isclass(thing := getattr(smw, name)):
            for method, function in vars(thing).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    assert method in touched | called, f"{name}.{method}"
