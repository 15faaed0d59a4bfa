"""What schemas say about strings and numbers while they grow."""

import datetime
import itertools
import json
import re
from decimal import Decimal

import pytest

import smcweights as smw
from smcweights.rejection.scalars import FORMATS, decoded, within

from .texts import follow, words

C = smw.constraints


@pytest.mark.parametrize(
    ("token", "bounds", "fits"),
    [
        ("-", (0, 3, 0), True),
        ("-", (1, 3, 0), False),
        ("-1", (-19, -13, 0), True),
        ("-1", (-12, -11, 5), False),
        ("1", (100, 105, 7), True),
        ("1", (106, 111, 7), False),
        ("0", (1, 2, 0), True),
        ("0", (1.5, 2, 0), False),
        ("1.2", (1.25, 9, 0), True),
        ("1.2", (1.31, 9, 0), False),
        ("3.0", (0, 9, 3), True),
        ("3.1", (0, 9, 3), False),
    ],
)
def test_digits_lead_between_bounds_or_not(token, bounds, fits):
    assert within(token, *bounds) == fits


def test_escapes_are_whole_begun_or_none():
    said = [decoded(escape) for escape in ("\\", "\\u00e", "\\u00e9", "\\n", "\\x", "\\u00g")]
    assert said == ["", "", "é", "\n", None, None]


@pytest.mark.parametrize(
    ("schema", "items"),
    [
        ({"type": "integer", "minimum": -12, "exclusiveMaximum": 0}, "-012."),
        ({"minimum": 0.15, "maximum": 0.2}, "-0125."),
        ({"enum": [1, 0.5, -2]}, "-0125."),
        ({"multipleOf": 4, "maximum": 12}, "-0124."),
    ],
    ids=range(4),
)
def test_numbers_without_an_exponent_are_led_between_their_bounds(schema, items):
    import jsonschema

    every = words(C.json_schema(True, items), items, 5)
    valid = jsonschema.Draft202012Validator(schema).is_valid
    truth = {one for one in every if valid(json.loads(one))}
    assert words(C.json_schema(schema, items), items, 5) == truth
    # three characters more are enough wherever there is a way on
    begun = {one[:i] for one in truth for i in range(len(one) + 1)}
    reader = C.json_schema(schema, items)
    pending = [("", reader.start())]
    while pending:
        text, state = pending.pop()
        assert text in begun
        if len(text) < 2:
            after = [(text + c, reader.step(state, i)) for i, c in enumerate(items)]
            pending += [(one, new) for one, new in after if new is not None]
    plain = C.json_schema(schema, items + "e", numbers="plain")
    assert words(plain, items + "e", 3) == {one for one in truth if len(one) <= 3}


def test_numbers_of_an_enumeration_are_followed_through_exponents():
    number = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?")
    for items, enum in (("0125.e-", [1, 0.5, -2, 200, "a"]), ("01e", [0, 1]), ("012e.", [2.1])):
        spelled = itertools.chain.from_iterable(
            itertools.product(items, repeat=n) for n in range(1, 7)
        )
        texts = filter(number.fullmatch, map("".join, spelled))
        listed = {Decimal(repr(c)) for c in enum if c != "a"}
        truth = {text for text in texts if Decimal(text) in listed}
        begun = {text[:k] for text in truth for k in range(len(text) + 1)}
        reader = C.json_schema({"enum": enum}, items)
        pending = [("", reader.start())]
        while pending:
            text, state = pending.pop()
            assert reader.complete(state) == (text in truth)
            # four characters more are enough wherever there is a way on
            assert text in begun or len(text) > 2
            after = [reader.step(state, i) for i in range(len(items) if len(text) < 6 else 0)]
            found = {items[i]: one for i, one in enumerate(after) if one is not None}
            assert len(text) == 6 or all(c in found for c in items if text + c in begun)
            pending += [
                (text + c, one) for c, one in found.items() if text + c in begun or len(text) < 2
            ]


@pytest.mark.slow
def test_strings_are_followed_through_escapes():
    items = list('"\\u0123456789abcdef')
    for pattern, text, where in [
        ("^b$", '"\\u0062"', True),
        ("^b$", '"\\u0063', 6),
        ("^\U0001f600$", '"\\ud83d\\ude00"', True),
        ("^\U0001f600$", '"\\ud83d\\ude01', 12),
        ("^a\ud83d$", '"a\\ud83d"', True),
    ]:
        assert follow(C.json_schema({"pattern": pattern}, items), items, text) == where
    assert follow(C.json_schema({"pattern": "(a)\\1$"}, items), items, '"aa"') is True
    assert follow(C.json_schema({"pattern": "(a)\\1$"}, items), items, '"ab"') == 3


@pytest.mark.parametrize(
    ("form", "valid", "wrong"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("date-time", "2024-02-28T23:59:60.5Z", "2024-02-28 23:59"),
        ("email", "a@b.c", "a@b@c"),
        ("ipv4", "192.168.0.1", "192.168.0.256"),
        ("time", "12:30:05+01:00", "12:30:05"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b"),
    ],
)
def test_formats_are_enforced_on_request(form, valid, wrong):
    schema, items = {"format": form}, sorted({*'"', *valid, *wrong})
    for text, taken in ((valid, True), (wrong, False)):
        asked = C.json_schema(schema, items, formats=[form])
        assert (follow(asked, items, f'"{text}"') is True) == taken
        assert follow(C.json_schema(schema, items), items, f'"{text}"') is True


def test_only_days_of_the_calendar_are_begun():
    """The pattern takes what is a day, so that no beginning of one leads nowhere."""
    years = (0, 1, 4, 96, 100, 400, 1900, 2000, 2023, 2024, 2096, 2100, 9999)
    for year, month, day in itertools.product(years, range(14), range(33)):
        try:
            is_one = bool(datetime.date(year, month, day))
        except ValueError:
            is_one = False
        text = f"{year:04d}-{month:02d}-{day:02d}"
        assert bool(re.fullmatch(FORMATS["date"], text)) == is_one
        if year:
            assert bool(re.fullmatch(FORMATS["date-time"], f"{text}T00:00:00Z")) == is_one
    items = [*'"-0123456789']
    c = C.json_schema({"format": "date"}, items, formats=["date"])
    assert follow(c, items, '"2023-02-29"') == len('"2023-02-2')
