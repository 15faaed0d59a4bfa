"""The README's example prints what the README says, up to the error it states."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def numbers(text):
    """(value, error) of the printed components."""
    return [tuple(map(float, pair)) for pair in re.findall(r"(\S+) \+- (\S+)", text)]


def test_the_first_example_prints_what_is_written():
    written = re.search(r"```\n(Estimate of 4.*?)```", (ROOT / "README.md").read_text(), re.S)
    printed = runpy.run_path(str(ROOT / "benchmarks" / "readme.py"))["example"]()
    assert len(numbers(printed)) == 4
    for (value, error), (said, _) in zip(numbers(printed), numbers(written.group(1)), strict=True):
        # bit-identical on one machine and version; elsewhere rounding may part the adaptation
        assert abs(value - said) < 5 * error
