"""Cautions are told once, by name, at the caller's line."""

import warnings

import pytest

import smcweights as smw
from smcweights.cautions import Caution, tell

CAUTIONS = [Caution("heavy-tails", "k-hat is 0.9"), Caution("few-batches", "only 2")]


def test_every_caution_is_a_warning_of_its_own_at_the_line_of_the_caller():
    with pytest.warns(smw.PrecisionWarning) as record:
        tell("demo", CAUTIONS)
    assert [str(w.message) for w in record] == [
        "demo: k-hat is 0.9 [heavy-tails]",
        "demo: only 2 [few-batches]",
    ]
    assert {w.filename for w in record} == {__file__}


def test_lines_of_the_package_between_are_passed_over():
    est = smw.Estimate([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(2):
            est.apply(abs, names=["a", "b"])
        est.apply(abs, names=["a", "b"])
    # equal texts are shown once for each line that called, not once for all
    assert {w.filename for w in seen} == {__file__}
    assert len({w.lineno for w in seen}) == 2 and len(seen) == 4


def test_codes_that_were_told_are_not_told_again():
    told = {"few-batches"}
    with pytest.warns(smw.PrecisionWarning) as record:
        tell("demo", CAUTIONS, told)
        tell("demo", CAUTIONS, told)
    assert len(record) == 1
    assert told == {"heavy-tails", "few-batches"}
