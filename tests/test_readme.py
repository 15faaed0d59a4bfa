"""The README's examples print what the README says, up to rounding or the error it states."""

import re
import runpy
from pathlib import Path

import numpy as np

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


def test_the_estimator_that_contributing_shows_is_one():
    code = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S).group(1)
    module = {
        "__name__": "smcweights.importance.antithetic",
        "__package__": "smcweights.importance",
    }
    exec(code, module)

    def integrand(z):
        return np.stack([np.exp(z[:, 0]), z[:, 0] ** 2 + z[:, 1]], axis=1)

    mean, truth = module["antithetic_mean"], [np.exp(0.5), 1.0]
    one, two = (mean(integrand, 2, 4_000, seed=1, executor=where) for where in (None, "threads"))
    np.testing.assert_array_equal(one.value, two.value)
    precise = mean(integrand, 2, precision=smw.Precision(absolute=0.05), names=["a", "b"], seed=2)
    for est in (one, precise):
        # 6 standard errors of 2,000 pairs and more: false alarm under 1e-7
        assert (abs(est.value - truth) < 6 * est.standard_error).all()
    lower, upper = precise.interval()
    assert ((upper - lower) / 2 <= 0.05).all() and precise.names == ("a", "b")
