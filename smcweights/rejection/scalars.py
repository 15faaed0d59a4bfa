"""What JSON Schemas say about strings and numbers while they grow."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .least import Measure
from .opposites import followed_not, pattern_of
from .patterns import Pattern, characters_of, together

EXPONENT = r"(?:[eE][+-]?[0-9]+)?"
NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"
DIGITS = "+-.0123456789Ee"
LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
DAYS = "(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)"
DATE = f"(?:[0-9]{{4}}-(?:{DAYS}|(?:0[13578]|1[02])-31)|{LEAP}-02-29)"
HOUR = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
TIME = rf"(?:{HOUR}:[0-5][0-9]|23:59:60)(?:\.[0-9]+)?(?:[zZ]|[+-]{HOUR})"
OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
FORMATS = {
    "date": f"(?!0000){DATE}",  # the calendar begins with year 1
    "date-time": f"{DATE}[tT]{TIME}",
    "email": r"[^@\s]+@[^@\s]+",
    "ipv4": rf"{OCTET}(?:\.{OCTET}){{3}}",
    "time": TIME,
    "uuid": "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}
ENDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
LONGEST = 400  # digits that a number may gain to come within its bounds


class Need(NamedTuple):
    """A text that is one of the choices or matches one of the patterns."""

    choices: tuple[str, ...]
    patterns: tuple[Pattern, ...]


class Needs(NamedTuple):
    """All that is needed of a text, and its most characters."""

    each: tuple[Need, ...]
    most: float

    def begun(self) -> tuple | None:
        """States of the patterns before the first character; None where no text will do."""
        states = tuple(
            tuple(p.start() if p.possible else None for p in need.patterns) for need in self.each
        )
        return states if self._alive("", states) else None

    def further(self, text: str, states: tuple, character: str) -> tuple | None:
        """States after a character, the text including it; None where nothing fits any more."""
        if not self.each:
            return () if len(text) <= self.most else None
        moved = tuple(
            tuple(
                None if state is None else pattern.further(state, character)
                for pattern, state in zip(need.patterns, now, strict=True)
            )
            for need, now in zip(self.each, states, strict=True)
        )
        return moved if self._alive(text, moved) else None

    def may(self, text: str, states: tuple, span: range, examples: Callable) -> bool:
        """Whether some character, by their numbers, may come next.

        ``examples(patterns)`` are those of the span that patterns tell apart.
        """
        at = len(text)
        following = (
            choice[at]
            for need in self.each
            for choice in need.choices
            if len(choice) > at and choice.startswith(text)
        )
        found = {one for one in following if ord(one) in span}
        if all(need.patterns for need in self.each):
            found.update(examples(tuple(one for need in self.each for one in need.patterns)))
        return any(self.further(text + one, states, one) is not None for one in found)

    def met(self, text: str, states: tuple) -> bool:
        """Whether the text is whole."""
        return all(
            text in need.choices
            or any(
                state is not None and pattern.complete(state)
                for pattern, state in zip(need.patterns, now, strict=True)
            )
            for need, now in zip(self.each, states, strict=True)
        )

    def _alive(self, text: str, states: tuple) -> bool:
        return len(text) <= self.most and all(
            any(state is not None for state in now)
            or any(choice.startswith(text) for choice in need.choices)
            for need, now in zip(self.each, states, strict=True)
        )


def unlike(patterns: tuple[Pattern, ...], span: range) -> list[str]:
    """A character of each class that patterns tell apart, of those of these numbers."""
    characters = characters_of(np.arange(span.start, span.stop))
    classes = together((one.alike(characters) + 1 for one in patterns), len(characters))
    return [characters[i] for i in np.unique(classes, return_index=True)[1].tolist()]


class Followed:
    """Patterns over the characters that texts may have; all characters if there are escapes."""

    def __init__(self, alphabet: str | None, formats: Sequence[str]) -> None:
        self._alphabet, self._formats = alphabet, formats
        self._known: dict[str, Pattern | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}}

    def search(self, pattern: str) -> Pattern | None:
        """What has a match of the pattern; None if no automaton follows it."""
        if pattern not in self._known:
            try:
                self._known[pattern] = Pattern(pattern, self._alphabet, search=True)
            except ValueError:
                self._known[pattern] = None
        return self._known[pattern]

    def every(self, schema: object) -> list[Pattern]:
        """All patterns that may come to be followed, wherever they stand."""
        found, pending = [], [schema]
        while pending:
            one = pending.pop()
            if isinstance(one, dict):
                found += [one["pattern"]] if isinstance(one.get("pattern"), str) else []
                inner = one.get("patternProperties")
                found += list(inner) if isinstance(inner, dict) else []
                pending += one.values()
            elif isinstance(one, list):
                pending += one
        found += [rf"\A(?:{FORMATS[name]})\Z" for name in self._formats]
        known = map(self.search, found)
        return [pattern for pattern in known if pattern is not None]

    def of_value(self, schemas: Iterable[dict]) -> Needs:
        """What schemas need of a string."""
        each, most = [], math.inf
        for s in schemas:
            most = min(most, s.get("maxLength", math.inf))
            if "enum" in s or "const" in s:
                listed = [*s.get("enum", []), *([s["const"]] if "const" in s else [])]
                each.append(Need(tuple(c for c in listed if isinstance(c, str)), ()))
            found = [self.search(s["pattern"])] if "pattern" in s else []
            if s.get("format") in self._formats:
                found.append(self.search(rf"\A(?:{FORMATS[s['format']]})\Z"))
            other = followed_not(s)
            found += [self.search(pattern_of(*other))] if other is not None else []
            each += [Need((), (one,)) for one in found if one is not None]
        return Needs(tuple(each), most)

    def of_name(self, schemas: Iterable[dict], used: Iterable[str]) -> Needs:
        """What schemas of an object need of the name of one more member, some being used."""
        each = []
        for s in schemas:
            if s.get("additionalProperties") is False:
                names = [name for name in s.get("properties", {}) if name not in used]
                found = [self.search(pattern) for pattern in s.get("patternProperties", {})]
                if None not in found:
                    each.append(Need(tuple(names), tuple(p for p in found if p is not None)))
        return Needs(tuple(each), math.inf)


class Numbers:
    """Numbers with exponents or without; only without are they led between their bounds.

    Values of an enumeration are followed digit by digit, as far as the characters spell them.
    """

    def __init__(self, plain: bool, characters: Container[str] = DIGITS) -> None:
        self._plain, self._digits = plain, "".join(c for c in DIGITS if c in characters)
        self.pattern = Pattern(NUMBER if plain else NUMBER + EXPONENT, self._digits)

    def needs(self, schemas: Sequence[dict]) -> tuple[Needs, tuple]:
        """What schemas need of a number: spellings, and bounds with a step."""
        each, step = [Need((), (self.pattern,))], 0
        ends: dict[str, list[float]] = {name: [] for name in ENDS}
        for s in schemas:
            if "enum" in s or "const" in s:
                listed = [*s.get("enum", []), *([s["const"]] if "const" in s else [])]
                spell = _spelled if self._plain else _with_exponent
                spelled = "|".join(spell(c) for c in listed if type(c) in (int, float))
                each.append(Need((), (_choice(spelled or "(?!)", self._digits),)))
            for name in ENDS:
                # booleans in the fourth draft
                ends[name] += [s[name]] if type(s.get(name)) in (int, float) else []
            of, kind = s.get("multipleOf", 0), s.get("type")
            if kind == "integer" or (type(of) in (int, float) and of % 1 == 0 and of):
                step = math.lcm(step or 1, int(of) if of % 1 == 0 and of else 1)
        least, above, most, below = ends.values()
        if step:
            above, below = [math.floor(x) + 1 for x in above], [math.ceil(x) - 1 for x in below]
        low, high = max([-math.inf, *least, *above]), min([math.inf, *most, *below])
        if low > high or (step and _multiple(low, step) > high):
            each.append(Need((), ()))
        bounds = (low, high, step) if self._plain else (-math.inf, math.inf, 0)
        return Needs(tuple(each), math.inf), bounds


@lru_cache
def _choice(pattern: str, digits: str) -> Pattern:
    return Pattern(pattern, digits)


def _spelled(number: float) -> str:
    # -0.0 is 0
    whole, _, part = format(Decimal(repr(number or 0)), "f").partition(".")
    part = part.rstrip("0")
    sign = "-?" if number == 0 else ""
    return sign + re.escape(whole) + (rf"\.{part}0*" if part else r"(?:\.0+)?")


def _with_exponent(number: float) -> str:
    """Spellings of a number: digits before the exponent too small, as they are, or too large."""
    plain = _spelled(number)
    sign, shown, power = Decimal(repr(number)).as_tuple()
    if number == 0 or not isinstance(power, int):
        return plain + EXPONENT
    every = "".join(map(str, shown))
    d = every.rstrip("0")
    size, power = len(d), power + len(every) - len(d)
    points = [(-(size - k), rf"{d[:k]}\.{d[k:]}0*") for k in range(1, size)]
    small = [text for at, text in points if at < power]
    small.append(rf"0\.0{{{max(0, 1 - power - size)},}}{d}0*")
    large = [text for at, text in points if at > power]
    large.append(rf"{d}0{{{max(power + 1, 0)},}}(?:\.0+)?")
    if power > 0:
        small.append(rf"{d}0{{0,{power - 1}}}(?:\.0+)?")
    if power + size < 0:
        large.append(rf"0\.0{{0,{-power - size - 1}}}{d}0*")
    up, down = (f"{'-' * sign}(?:{'|'.join(one)})[eE]" for one in (small, large))
    some = "0*[1-9][0-9]*"
    return rf"{plain}(?:[eE][+-]?0+)?|{up}\+?{some}|{down}-{some}"


def _multiple(low: float, step: int) -> float:
    """The first multiple from there on."""
    return low if math.isinf(low) else math.ceil(Fraction(low) / step) * step


def within(token: str, low: float, high: float, step: int) -> bool:
    """Whether digits can be added to a number without an exponent so that it fits.

    That is to lie from low to high, and to be a multiple of the step, if that isn't 0.
    """
    if low == -math.inf and high == math.inf and not step:
        return True
    digits = token
    if token[0] == "-":
        low, high, digits = -high, -low, token[1:]
    if not digits:
        return high >= 0
    whole, point, part = digits.partition(".")
    if point:
        unit = Fraction(1, 10 ** len(part))
        begun = int(whole) + int(part or 0) * unit
        if step and (part.strip("0") or begun % step):
            return False
        return begun <= high and (low == -math.inf or begun + unit >= Fraction(low))
    for size in _sizes(digits):
        first, last = int(digits) * size, (int(digits) + 1) * size
        if first > high:
            return False
        if last < low:
            continue
        if not step:
            return True
        least = max(first, math.ceil(low)) if low > -math.inf else first
        least += -least % step
        if least < last and least <= high:
            return True
    return False


def _sizes(digits: str) -> Iterator[int]:
    yield 1
    for n in range(1, LONGEST) if digits != "0" else ():
        yield 10**n


def decoded(escape: str) -> str | None:
    """What an escape stands for: "" while it isn't whole, None where there is no such one."""
    if len(escape) == 1:
        return ""
    if escape[1] != "u":
        return json.loads(f'"{escape}"') if escape[1] in '"\\/bfnrt' else None
    if escape[2:].strip("0123456789abcdefABCDEF"):
        return None
    return chr(int(escape[2:], 16)) if len(escape) == 6 else ""


def fewest_spelled(measure: Measure, text: str) -> float:
    """A bound from below on the measure of a string in quotes: plain, or up to its first escape."""
    found, plain = math.inf, '"'
    for k, c in enumerate(text):
        behind = measure(len(text) - k)
        found = min(found, measure(plain) + min(map(measure, _escapes(c))) + behind)
        plain += json.dumps(c, ensure_ascii=False)[1:-1]
    return min(found, measure(plain + '"'))


def _escapes(character: str) -> Iterator[str]:
    yield from ("\\" + k for k in '"\\/bfnrt' if decoded("\\" + k) == character)
    units = character.encode("utf-16-be", "surrogatepass").hex()
    cases = itertools.product(*({d, d.upper()} for d in units))
    yield from ("".join("\\u" + "".join(d[k : k + 4]) for k in range(0, len(d), 4)) for d in cases)
