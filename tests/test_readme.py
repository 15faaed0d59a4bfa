"""The README's examples print what the README says, up to rounding or the error it states."""

import re
import runpy
from pathlib import Path

import smcweights as smw

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


def test_the_distance_of_two_pictures_is_what_is_written():
    call, written = re.search(
        r"(smw\.sliced_wasserstein\(portrait, parcel, 200, .*\))\n# (estimate .*)\n",
        (ROOT / "README.md").read_text(),
    ).groups()
    portrait, parcel = smw.problems.colours()
    printed = str(eval(call, {"smw": smw, "portrait": portrait, "parcel": parcel}))
    said, found = (
        [float(number) for number in re.findall(r"\d+\.\d+", text)] for text in (written, printed)
    )
    # the value, its error and its interval, up to a unit of the last digit
    assert len(said) == len(found) == 4
    assert max(abs(a - b) for a, b in zip(said, found, strict=True)) < 1.5e-3
