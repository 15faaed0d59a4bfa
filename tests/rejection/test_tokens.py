"""Constraints over tokens: masks against single steps, evidences against sums over sequences."""

import functools
import itertools
import math
import pickle
import re

import numpy as np
import pytest

import smcweights as smw
from smcweights.identity import signature
from smcweights.rejection import kernels
from smcweights.rejection.draw import context_of, plan, run_with_kin
from smcweights.rejection.tokens import TokenReader, TokenTable, Walker

C = smw.constraints
BYTES = [bytes([b]) for b in (0xC3, 0xA9, 0xA8, 0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0x80)]
TOKENS = [*"abé€", "ab", "ba", b"a\xc3", b"\xa9b", "é€", b"\xe2\x82", b"\xac\xc3", *BYTES, "", None]
WORDS = C.vocabulary([*TOKENS, None, "b"], end=[22, 23], forbidden=[1])
GRAMMAR = 'start: "a" start "b" | MID\nMID: /[é€]+/'
SCHEMA = {"type": "array", "items": {"enum": ["é", "ab", 3]}, "maxItems": 2}
JSON = C.vocabulary([*'[]",ab3', "é", b"\xc3", b"\xa9", '["', '",', '"]', "3]", "33", None], end=15)


class Plain:
    """A constraint on texts that tells nothing of itself: so many letters as a, and no é."""

    def start(self):
        return 0

    def further(self, state, character):
        return None if character == "é" else state + (1 if character == "a" else -1)

    def complete(self, state):
        return state == 0


MADE = {
    "table": lambda: (C.regex("(a|b|é|€|😀){1,4}(?<!ba)", WORDS), WORDS),
    "states": lambda: (C.regex("(a|b|é|€|😀){1,4}(?<!ba)", WORDS, states=2), WORDS),
    "grammar": lambda: (C.grammar(GRAMMAR, WORDS), WORDS),
    "json": lambda: (C.json_schema(SCHEMA, JSON), JSON),
    "plain": lambda: (C.over_tokens(Plain(), WORDS), WORDS),
}


@functools.cache
def made(name):
    """A constraint and its vocabulary, made for whoever asks first."""
    return MADE[name]()


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_masks_and_kin_are_what_single_tokens_say(name):
    c, words = made(name)
    assert isinstance(c, TokenTable) == (name == "table")
    kin = 0
    pending = [(c.start(), 0)]
    while pending:
        state, n = pending.pop()
        mask, seen = c.mask(state), {}
        for i in range(words.size):
            after = c.step(state, i)
            if i in words.end:
                assert after is None and mask[i] == c.complete(state)
                continue
            assert mask[i] == (after is not None)
            if isinstance(c, TokenReader):
                same, refused = c.inspect(state, i, seen)
                assert same == after and i in refused
                kin += refused.size - 1
                assert after is None or refused.tolist() == [i]
                assert all(c.step(state, int(j)) is None for j in refused) or after is not None
                assert mask[i] <= c.possible(state)[i]
            if after is not None and n < 2:
                pending.append((after, n + 1))
    assert kin > 0 or name == "table"


class Loops:
    """States that most of 100 characters leave as they are, and some a dead end."""

    finite = True
    letters = tuple(chr(0x4E00 + i) for i in range(100))
    rng = np.random.default_rng(5)
    to = np.where(rng.random((6, 100)) < 0.93, np.arange(6)[:, None], rng.integers(-1, 6, (6, 100)))

    def alike(self, characters):
        return np.array([ord(c) - 0x4E00 if c in self.letters else 100 for c in characters])

    def start(self):
        return 0

    def further(self, state, character):
        to = -1 if character not in self.letters else self.to[state, ord(character) - 0x4E00]
        return None if to < 0 else int(to)

    def complete(self, state):
        return state == 5


class Counts(Loops):
    """States that most characters lead on from to the next one, and the last one nowhere."""

    to = np.where(Loops.to == np.arange(6)[:, None], [[1], [2], [3], [4], [5], [-1]], Loops.to)


@pytest.mark.parametrize("text", [Loops(), Counts()], ids=["loops", "counts"])
def test_branches_that_lead_on_as_usual_are_found_at_once(text):
    """More columns than bits, and a piece of a character below some nodes."""
    rng, letters = np.random.default_rng(6), Loops.letters
    tokens = ["".join(rng.choice(letters[:40], n)) for n in rng.integers(1, 9, 400)]
    tokens += [token + letters[70] for token in tokens[::7]]
    tokens += [token.encode() + "é".encode()[:1] for token in tokens[::50]]
    words = C.vocabulary([*tokens, *letters, None], end=len(tokens) + 100)
    c, walker = C.over_tokens(text, words), Walker(text, words)
    usual = 0
    for n in range(6):
        walker.number(b"", n)
    for state in range(6):
        mask, after = c.mask(c.start()._replace(state=state)), walker.onward(state)[1]
        for i, token in enumerate(tokens):
            now = state if isinstance(token, str) else None
            for character in token if now is not None else ():
                now = None if now is None else text.further(now, character)
            usual += now is not None and len(token) > 1
            assert mask[i] == (now is not None) and after[i] == (-1 if now is None else now)
    assert usual > 300


def test_tokens_that_are_never_text_spell_nothing():
    words = C.vocabulary([b"\xff\xfe", None], end=1)
    with pytest.raises(ValueError, match="no text of these items matches it"):
        C.regex("a", words)
    assert C.regex("a*", words).mask(0).tolist() == [False, True]


def test_a_string_of_limited_length_takes_few_walks(monkeypatch):
    """Each character more is another state, which once took a walk of the whole tree."""
    tokens = [*'[]",', *("a" * n for n in range(1, 31)), None]
    schema = {"items": {"type": "string", "maxLength": 40}, "type": "array"}
    c = C.json_schema(schema, C.vocabulary(tokens, end=len(tokens) - 1))
    state, walks, walk = c.step(c.step(c.start(), 0), 2), [], kernels.walk

    def counted(*given):
        walks.append(1)
        return walk(*given)

    monkeypatch.setattr(kernels, "walk", counted)
    for held in (0, 29):
        state = c.step(state, 3 + held) if held else state
        assert c.mask(state)[4:-1].sum() == min(30, 40 - held)
    assert len(walks) <= 8


class Scripted:
    """A generator whose uniform draws are given."""

    def __init__(self, given):
        self.given = given

    def random(self, n):
        now, self.given = self.given[:n], self.given[n:]
        return np.array([*now, *[0.5] * (n - len(now))])


@pytest.mark.parametrize("n_accepts", [2, 3])
@pytest.mark.parametrize("after_first", ["4+2j", 1, None])
def test_rejects_with_kin_leave_the_weight_unbiased_by_enumeration(n_accepts, after_first):
    rng = np.random.default_rng(7)
    logits = rng.normal(size=7)
    p = np.exp(logits) / np.exp(logits).sum()
    kin = [np.array(one) for one in ([0, 3], [1], [2], [3, 0], [4, 5, 6], [4, 5, 6], [4, 5, 6])]
    accepted = np.array([False, True, True, False, False, False, False])
    how, means, total = plan(n_accepts, "rao-blackwell", None, after_first), np.zeros(7), 0.0
    pending = [([], 1.0)]
    while pending:
        given, mass = pending.pop()
        seen = []

        def inspect(item, seen=seen):
            seen.append(item)
            return bool(accepted[item]), kin[item]

        found = run_with_kin(Scripted(list(given)), context_of(logits), inspect, how)
        if len(seen) <= len(given):
            means[found.index] += mass * math.exp(found.log_weight)
            total += mass
            continue
        left = p.copy()
        for item in seen[: len(given)]:
            left[item if accepted[item] else kin[item]] = 0.0
        left /= left.sum()
        ends = np.cumsum(left)
        pending += [([*given, ends[i] - left[i] / 2], mass * left[i]) for i in np.flatnonzero(left)]
    assert total == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(means, p * accepted, atol=1e-12)


VALID = re.compile("(a|b|é|€|😀){1,4}(?<!ba)")
MATCHES = [
    text.encode()
    for n in range(1, 5)
    for text in map("".join, itertools.product("abé€😀", repeat=n))
    if VALID.fullmatch(text)
]


def beginnings(texts):
    """All that the texts begin with, byte by byte."""
    return {text[:k] for text in texts for k in range(len(text) + 1)}


@pytest.mark.parametrize("states", [5000, 2])
def test_the_beginnings_let_through_are_those_of_valid_texts(states):
    # every character of the pattern is a token, or spelled by bytes
    c, begun = C.regex(VALID.pattern, C.vocabulary(TOKENS), states=states), beginnings(MATCHES)
    pending, met = [(c.start(), b"", 0)], set()
    while pending:
        state, data, n = pending.pop()
        assert c.complete(state) == (data in MATCHES)
        met.add(data)
        for i, token in enumerate(TOKENS):
            if token and n < 2:
                more = data + (token.encode() if isinstance(token, str) else token)
                after = c.step(state, i)
                assert (after is not None) == (more in begun)
                if after is not None:
                    pending.append((after, more, n + 1))
    assert len(met) > 60


def chain_over(size, seed):
    rng = np.random.default_rng(seed)
    return smw.languages.markov_chain(
        rng.dirichlet(np.ones(size)), rng.dirichlet(np.ones(size), size)
    )


def total_of(chain, words, texts, length):
    """Mass of the sequences that end in time and spell one of the texts, by a sum over all."""
    initial, transition = np.exp(chain.log_initial), np.exp(chain.log_transition[0])
    total, begun = 0.0, beginnings(texts)
    pending = [((), b"", 1.0)]
    while pending:
        prefix, data, mass = pending.pop()
        law = transition[prefix[-1]] if prefix else initial
        if data in texts:
            total += mass * law[list(words.end)].sum()
        for i, token in enumerate(words.tokens if len(prefix) + 1 < length else ()):
            if token and i not in words.forbidden and data + token in begun:
                pending.append(((*prefix, i), data + token, mass * law[i]))
    return total


@pytest.mark.slow
def test_the_evidence_over_tokens_is_exact_where_the_law_is_known():
    c, words = made("table")
    chain = chain_over(words.size, 1)
    truth = total_of(chain, words, set(MATCHES), 4)
    out = smw.constrained_sequences(chain, c, 10, 4, islands=4, seed=1, progress=False)
    assert out.log_evidence.value == pytest.approx(math.log(truth), abs=1e-12)
    assert np.ptp(out.log_weights) < 1e-12
    assert all(VALID.fullmatch(text) for text in out.texts(words))
    assert out.provenance["arguments"]["end"] == [22, 23]
    # by masks without looking ahead, and by draws with kin
    for method, seed in (("auto", 2), ("rao-blackwell", 3)):
        reader = made("states")[0]
        found = smw.constrained_sequences(
            chain, reader, 60, 4, method=method, islands=6, seed=seed, progress=False
        ).evidence()
        assert abs(found.value - truth) < 6 * found.standard_error
        assert found.standard_error < 0.3 * truth


@pytest.mark.slow
@pytest.mark.parametrize("method", ["auto", "rao-blackwell", "harmonic"])
def test_the_evidence_of_json_over_tokens(method):
    c, words = made("json")
    values = ('"é"', '"ab"', "3")
    listed = [",".join(one) for n in range(3) for one in itertools.product(values, repeat=n)]
    chain, texts = chain_over(words.size, 5), {f"[{one}]" for one in listed}
    truth = total_of(chain, words, {text.encode() for text in texts}, 6)
    out = smw.constrained_sequences(
        chain, c, 60, 6, method=method, islands=6, seed=1, progress=False
    )
    found = out.evidence()
    assert abs(found.value - truth) < 6 * found.standard_error < 4 * truth
    alive = out.log_weights > -np.inf
    assert set(np.array(out.texts(words))[alive]) <= texts


@pytest.mark.slow
def test_token_constraints_travel_and_are_told_apart():
    for c in (made("table")[0], made("grammar")[0]):
        again = pickle.loads(pickle.dumps(c))
        before = signature(c)
        for state in (c.start(), c.step(c.start(), 0)):
            c.mask(state)
        assert signature(c) == signature(again) == before
        assert (again.mask(again.start()) == c.mask(c.start())).all()
    assert signature(made("table")[0]) != signature(C.regex("a", WORDS))


def test_constraints_over_tokens_say_what_is_wrong():
    with pytest.raises(ValueError, match="pattern: no text of these items"):
        C.regex("x+", C.vocabulary(["x", "ab"], forbidden=[0]))
    with pytest.raises(TypeError, match="constraint: got int; expected a constraint on texts"):
        C.over_tokens(3, WORDS)
    with pytest.raises(TypeError, match="vocabulary: got list"):
        C.over_tokens(C.regex("a"), ["a"])
    with pytest.raises(TypeError, match="which reads texts"):
        smw.constrained_sequences(chain_over(3, 1), C.regex("a"), 5, 3)
    c = C.regex("a+", C.vocabulary(["a", None], end=1))
    with pytest.raises(ValueError, match="over 2 items; the language has 3"):
        smw.constrained_sequences(chain_over(3, 1), c, 5, 3, ahead=False, progress=False)
    with pytest.raises(ValueError, match="end: got 0; expected one of the vocabulary's"):
        smw.constrained_sequences(chain_over(2, 1), c, 5, 3, end=0)
    with pytest.raises(ValueError, match="max_length: 2; the shortest valid sequence has 3 items"):
        long = C.regex("aa", C.vocabulary(["a", None], end=1))
        smw.constrained_sequences(chain_over(2, 1), long, 5, 2)
