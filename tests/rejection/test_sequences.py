"""Sequences of a language under a constraint: evidence, expectations, and what they warn of."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats
from sequential import repeated

import smcweights as smw
from smcweights.rejection.exact import constrained_markov_chain

from .chains import ANY, COIN, MACHINE, Asked, chain_of


@pytest.mark.parametrize("end", [None, 4])
@pytest.mark.parametrize(
    ("method", "length"),
    [
        ("auto", 6),
        ("auto", 20),
        pytest.param("auto", 100, marks=pytest.mark.slow),
        ("rao-blackwell", 6),
        ("rao-blackwell", 20),
        pytest.param("rao-blackwell", 100, marks=pytest.mark.slow),
    ],
)
def test_evidence_and_marginals(length, end, method):
    # P(|z| > 6) with 19 degrees of freedom is 9e-6
    chain = chain_of(5, 3)
    truth = constrained_markov_chain(chain, MACHINE, length, end=end)
    constraint = MACHINE if method == "auto" else Asked(MACHINE)
    out = smw.constrained_sequences(
        chain, constraint, 25, length, end=end, islands=20, method=method, seed=5
    )
    z = (out.log_evidence.value - truth.log_evidence) / out.log_evidence.standard_error
    assert abs(z) < 6
    assert out.log_evidence.standard_error < 0.2
    at = min(length - 1, 3)
    first = out.expectation(lambda s: [float(len(s) > at and s[at] == x) for x in range(5)])
    off = np.abs(first.value - truth.marginals[at])
    assert (off < 6 * first.standard_error + 1e-9).all()


def test_a_proposal_far_from_the_language_is_said():
    # 34 of 100 such intervals covered the probability of a rare item
    with pytest.warns(smw.PrecisionWarning, match="the proposal is so far from the language"):
        out = smw.constrained_sequences(
            chain_of(5, 3), MACHINE, 60, 5, end=4, islands=16, proposal=chain_of(5, 11), seed=4
        )
    assert out.log_evidence.diagnostics["warnings"]
    assert out.traces["chi_square"].shape == (16, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("length", "method", "runs", "particles"),
    [
        (4, "exact", 1000, 12),
        (6, "rao-blackwell", 300, 12),
        (20, "exact", 1000, 12),
        (100, "exact", 300, 60),
    ],
    ids=["4", "6", "20", "100"],
)
def test_intervals_cover(length, method, runs, particles):
    """As 300 runs, which see 0.83 with probability 0.99, or 1,000, which see 0.89 and 0.988."""
    chain = chain_of(5, 3)
    truth = constrained_markov_chain(chain, MACHINE, length).log_evidence
    repeated(
        lambda seed: smw.constrained_sequences(
            chain, MACHINE if method == "exact" else Asked(MACHINE), particles, length,
            islands=8, method=method, ahead=False, seed=seed, progress=False,
        ).log_evidence,
        truth,
        runs,
    )  # fmt: skip


class Failing:
    """A chain whose 21st call fails, the first being that before any work."""

    def __init__(self, chain, folder):
        self.chain, self.folder = chain, folder

    def logits(self, prefixes):
        calls = self.folder / "calls"
        calls.write_text(calls.read_text() + "." if calls.exists() else ".")
        if len(calls.read_text()) == 21:
            raise KeyboardInterrupt
        return self.chain.logits(prefixes)


def test_a_checkpoint_goes_on_with_the_same_numbers(tmp_path):
    chain = Failing(chain_of(5, 3), tmp_path)
    options = {"islands": 6, "seed": 4, "ahead": False, "checkpoint": tmp_path / "run.npz"}
    with pytest.raises(KeyboardInterrupt):
        smw.constrained_sequences(chain, MACHINE, 10, 6, **options)
    out = smw.constrained_sequences(chain, MACHINE, 10, 6, **options)
    # the third island was lost half way: three of 6 calls are not repeated
    assert len((tmp_path / "calls").read_text()) == 21 + 1 + 6 * 3
    straight = smw.constrained_sequences(
        chain_of(5, 3), MACHINE, 10, 6, islands=6, seed=4, ahead=False
    )
    assert out.sequences == straight.sequences
    assert (out.log_weights == straight.log_weights).all()
    with pytest.raises(ValueError, match="constraint was"):
        smw.constrained_sequences(chain, Asked(MACHINE), 10, 6, method="exact", **options)


@pytest.mark.parametrize("seeds", [5, pytest.param(80, marks=pytest.mark.slow)])
def test_the_evidence_is_the_mean_of_the_weights(seeds):
    """And its interval contains that of its log: of 80, fewer than 64 honest ones cover: 1e-6."""
    chain = chain_of(5, 3)
    truth = math.exp(constrained_markov_chain(chain, MACHINE, 6).log_evidence)
    inside = 0
    for seed in range(seeds):
        with warnings.catch_warnings(record=True):
            out = smw.constrained_sequences(chain, MACHINE, 4, 6, islands=4, seed=seed)
        e = out.evidence()
        assert e.value == pytest.approx(np.exp(out.log_weights).mean(), rel=1e-12)
        (lower, upper), (a, b) = e.interval(), np.exp(out.log_evidence.interval())
        assert lower <= a * (1 + 1e-9) and b <= upper * (1 + 1e-9) and upper <= 1
        inside += lower <= truth <= upper
    assert inside >= stats.binom.ppf(1e-6, seeds, 0.95)


@pytest.mark.parametrize("tilt", [-100.0, 100.0])
def test_an_evidence_without_an_error_in_a_float_is_refused(tilt):
    out = smw.constrained_sequences(
        COIN, ANY, 5, 4, potential=lambda prefix: tilt * len(prefix), seed=1
    )
    assert out.log_evidence.value == pytest.approx(4 * tilt)
    with pytest.raises(ValueError, match=r"exp\(-?400\) has no error in a float"):
        out.evidence()


def test_the_executor_changes_nothing():
    chain = chain_of(5, 3)
    a = smw.constrained_sequences(chain, Asked(MACHINE), 10, 6, seed=1)
    b = smw.constrained_sequences(chain, Asked(MACHINE), 10, 6, seed=1, executor="threads")
    assert a.sequences == b.sequences and (a.log_weights == b.log_weights).all()


def test_dead_and_biased_are_said():
    chain = chain_of(5, 3)
    with pytest.warns(smw.PrecisionWarning, match="every particle died"):
        out = smw.constrained_sequences(chain, lambda p, i: len(p) < 2, 10, 5, seed=1)
    assert out.status == "dead" and out.log_evidence is None
    with pytest.raises(ValueError, match="dead"):
        out.expectation(len)
    local = smw.constrained_sequences(chain, MACHINE, 20, 6, weights=False, seed=1)
    assert local.status == "biased" and local.log_evidence is None
    with pytest.warns(smw.PrecisionWarning, match="biased"):
        local.expectation(lambda s: s[0])


def test_wrong_input_is_named():
    chain = chain_of(5, 3)
    with pytest.raises(TypeError, match="logits"):
        smw.constrained_sequences(3, MACHINE, 5, 5)
    with pytest.raises(ValueError, match="end"):
        smw.constrained_sequences(chain, MACHINE, 5, 5, end=9, seed=1)
    with pytest.raises(ValueError, match="n_particles"):
        smw.constrained_sequences(chain, MACHINE, 0, 5)
    with pytest.raises(ValueError, match="it is over 5 items"):
        smw.constrained_sequences(chain_of(3, 1), MACHINE, 5, 5, seed=1)


TWO = smw.constraints.vocabulary(["a", None], end=1)


def test_a_language_of_another_size_is_refused_before_any_work(monkeypatch):
    sums = smw.constraints.grammar('start: "1" ("+" "1")*', list("1+"))
    monkeypatch.setattr("smcweights.rejection.sequences.outlined", None)
    with pytest.raises(ValueError, match="the language has 3 and no end was given"):
        smw.constrained_sequences(independent([0.3, 0.3, 0.4]), sums, 5, 5, seed=1)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"constraint": lambda prefix: True}, TypeError, r"a function of \(prefix, item\)"),
        ({"constraint": "a+"}, TypeError, "constraint: got str"),
        (
            {"constraint": smw.constraints.regex("a*", ["a", "b", "c"])},
            ValueError,
            "it is over 3 items; the language has 2",
        ),
        (
            {"constraint": smw.constraints.regex("a*", ["a"])},
            ValueError,
            "the language has 2 and no end was given",
        ),
        (
            {"constraint": smw.constraints.regex("a*")},
            TypeError,
            r"got regex\('a\*'\), which reads texts; expected one made with the language's items",
        ),
        (
            {"constraint": smw.constraints.regex("a*", TWO), "language": chain_of(3, 1)},
            ValueError,
            r"over 2 items; the language has 3; expected as many tokens: .*\(None,\) \* 1",
        ),
        ({"end": "x"}, TypeError, "end: got 'x'"),
        ({"ess_threshold": "half"}, TypeError, "ess_threshold: got 'half'"),
        ({"potential": 3}, TypeError, "potential: got int"),
        ({"twist": 3}, TypeError, "twist: got int"),
        ({"weights": "no"}, TypeError, "weights: got 'no'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arguments_are_told(change, error, said):
    given = {"language": COIN, "constraint": ANY, "n_particles": 10, "max_length": 5, **change}
    with pytest.raises(error, match=said):
        smw.constrained_sequences(**given)


def test_functions_of_sequences_return_numbers():
    found = smw.constrained_sequences(COIN, ANY, 10, 5, seed=1)
    with pytest.raises(smw.ModelError, match="function: returned 'a' for"):
        found.expectation(lambda sequence: "a")
    with pytest.raises(TypeError, match="function: got int"):
        found.expectation(3)


def independent(q):
    return smw.languages.markov_chain(q, np.tile(q, (len(q), 1)))


def test_errors_contain_what_draws_can_hide():
    """A heavy item is forbidden: one draw in a thousand misses it and has ten times the weight.

    By the scatter alone half of such errors are zero: none of 4 seeds, with probability 0.05.
    """
    chain = independent(np.r_[0.9, np.full(199, 0.1 / 199)])
    for seed in range(4):
        e = smw.constrained_sequences(chain, lambda p, i: i != 0, 20, 5, seed=seed).log_evidence
        assert 0.03 < e.standard_error < 0.15
        assert abs(e.value - 5 * math.log(0.1)) < 5 * e.standard_error


@pytest.mark.parametrize("seeds", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_what_no_particle_shows_isnt_excluded(seeds):
    chain = independent(np.array([0.9985, 0.001, 0.0005]))
    truth, inside = np.array([0.9985, 0.001, 0.0]) / 0.9995, 0
    for seed in range(seeds):
        out = smw.constrained_sequences(chain, lambda p, i: i != 2, 20, 1, seed=seed)
        lower, upper = out.log_evidence.interval()
        assert lower < math.log(0.9995) < upper <= 0 and out.evidence().interval()[1] <= 1
        e = out.expectation(lambda s: [float(s[0] == x) for x in range(3)])
        lower, upper = e.interval()
        assert (upper - lower > 1e-3).all() and e.trials[2] == pytest.approx(200, rel=1e-3)
        inside += ((lower <= truth) & (truth <= upper)).all()
    # fewer have probability 1e-6 for honest intervals; 8 in 40 held by the scatter alone
    assert inside >= stats.binom.ppf(1e-6, seeds, 0.9)
    long = smw.constrained_sequences(chain_of(5, 3), MACHINE, 20, 60, ahead=False, seed=1)
    e = long.expectation(lambda s: 0.0)
    # few first items are left, and no more trials than these are behind what never varied
    assert 10 <= e.trials < 60 and e.interval()[1] == pytest.approx(-math.log(0.05) / e.trials)


def test_a_proposal_that_draws_everything_is_no_reason_to_warn():
    chain = chain_of(4, 6)
    flat = smw.languages.markov_chain(np.full(4, 0.25), np.full((4, 4), 0.25))
    machine = smw.constraints.automaton([[1, 0, 0, 0], [0, 1, 1, 1]], [1])
    truth = constrained_markov_chain(chain, machine, 6).log_evidence
    for seed in range(5):
        out = smw.constrained_sequences(chain, machine, 40, 6, proposal=flat, seed=seed)
        assert out.traces["chi_square"].sum(1).mean() > 1
        assert abs(out.log_evidence.value - truth) < 7 * out.log_evidence.standard_error


FLAT = independent(np.full(3, 1 / 3))  # a, b and the end


@pytest.mark.parametrize(
    ("change", "said", "reason", "place"),
    [
        ({"constraint": lambda p, i: False}, "no item is allowed: no number of particles", 0, 0),
        ({"constraint": lambda p, i: len(p) < 2}, "100 of 100 at place 3, where no item", 0, 2),
        (
            {"constraint": lambda p, i: i != 2, "end": 2},
            "none ended within 4 places; 100 of 100 were still alive: a larger max_length",
            2,
            3,
        ),
        (
            {"constraint": smw.constraints.predicate(lambda p, i: True, lambda s: False)},
            "none was a valid whole at place 4, where 100 of 100 were still alive",
            2,
            3,
        ),
        (
            {"constraint": smw.constraints.automaton([[-1, -1, 1], [1, 1, 1]], [1])},
            "at place 1, where the language gives what may be allowed no mass",
            1,
            0,
        ),
        (
            {"constraint": lambda p, i: True, "potential": lambda p: -math.inf},
            "at place 1, where the potential forbids",
            3,
            0,
        ),
    ],
    ids=range(6),
)
def test_every_death_has_its_reason_and_its_prefix(change, said, reason, place):
    language = independent(np.array([0.5, 0.5, 0.0])) if reason == 1 else FLAT
    given = {"language": language, "n_particles": 25, "max_length": 4, "islands": 4, **change}
    with pytest.warns(smw.PrecisionWarning, match=said):
        out = smw.constrained_sequences(**given, seed=1)
    deaths = out.traces["deaths"].sum(0)
    assert deaths[place, reason] == deaths.sum() == 100
    assert [len(prefix) for prefix in out.dead] == [place + (reason == 3)] * 100


@pytest.mark.parametrize("end", [None, 2])
def test_deaths_are_counted_where_they_come(end):
    # from b nothing leads on; a third of the particles die at each place but the first
    table = smw.constraints.predicate(lambda p, i: 1 not in p and i < 3, lambda s: 1 not in s)
    machine = smw.constraints.automaton([[0, 1, 0], [2, 2, 2], [2, 2, 2]], [0])
    for constraint in (table, machine):
        out = smw.constrained_sequences(
            FLAT, constraint, 50, 4, end=end, islands=4, ess_threshold=0, seed=1
        )
        dead = np.count_nonzero(out.log_weights == -np.inf)
        assert out.traces["deaths"].sum() == dead == len(out.dead)
        newly = np.diff(out.traces["dead"], axis=1, prepend=0)
        assert (out.traces["deaths"].sum(2) == newly).all()


def test_a_length_that_no_sequence_has_is_refused_before_the_run():
    chain = smw.constraints.automaton([[1, 0, 0], [2, 1, 1], [2, 2, 2]], [2])
    with pytest.raises(ValueError, match="max_length: 2; the shortest valid sequence has 3 items"):
        smw.constrained_sequences(FLAT, chain, 10, 2, end=2, seed=1)
    assert smw.constrained_sequences(FLAT, chain, 400, 3, end=2, seed=1).status == "ok"
    even = smw.constraints.automaton([[1, 1, 1], [0, 0, 0]], [0])
    with pytest.raises(ValueError, match="no valid sequence has 3 items"):
        smw.constrained_sequences(FLAT, even, 10, 3, seed=1)
    assert smw.constrained_sequences(FLAT, even, 10, 4, seed=1).status == "ok"
    only = smw.constraints.automaton([[-1, -1, 1], [1, 1, 1]], [1])
    with pytest.raises(ValueError, match="no valid sequence has any number of items"):
        smw.constrained_sequences(FLAT, only, 10, 3, end=2, seed=1)


def test_texts_tables_and_draws_are_of_the_constrained_law():
    """Against all sequences; P(|z| > 6) is 2e-9 for each of ten frequencies."""
    law = np.array([0.5, 0.2, 0.3])
    chain = independent(law)
    machine = smw.constraints.regex("a?b*", "ab")
    found = smw.constrained_sequences(chain, machine, 500, 4, end=2, islands=4, seed=1)
    truth = {t: math.prod(law["ab".index(c)] for c in t) * 0.3 for t in ("", "a", "b", "ab", "bb")}
    truth |= {"abb": 0.5 * 0.2 * 0.2 * 0.3, "bbb": 0.2**3 * 0.3}
    total = sum(truth.values())
    table = found.table("ab")
    assert list(table.columns) == ["text", "probability", "count"]
    assert table["count"].sum() == 2000 and table["probability"].sum() == pytest.approx(1)
    assert table["probability"].is_monotonic_decreasing and set(table["text"]) <= set(truth)
    draws = found.draws(4000, seed=2)
    for text, p in truth.items():
        share = p / total
        sd = math.sqrt(share * (1 - share) / 2000)
        listed = table["probability"][table["text"] == text].sum()
        sequence = (*("ab".index(c) for c in text), 2)
        assert abs(listed - share) < 6 * sd
        assert abs(draws.count(sequence) / 4000 - listed) < 1e-3
    assert found.texts("ab")[:3] == ["".join("ab"[x] for x in s[:-1]) for s in found.sequences[:3]]
    assert found.table()["sequence"][0] == (*("ab".index(c) for c in table["text"][0]), 2)
    assert draws == found.draws(4000, seed=2)
    with pytest.raises(ValueError, match="items: got 1; expected 2 at least"):
        found.texts("a")


def test_evidences_are_compared_and_pooled():
    chain = chain_of(5, 3)
    one, other = (
        smw.constrained_sequences(chain, MACHINE, 30, 6, end=end, islands=8, ahead=False, seed=seed)
        for end, seed in ((None, 1), (4, 2))
    )
    ratio = one.log_ratio(other)
    truth = constrained_markov_chain(chain, MACHINE, 6).log_evidence
    truth -= constrained_markov_chain(chain, MACHINE, 6, end=4).log_evidence
    assert abs(ratio.value - truth) < 6 * ratio.standard_error and ratio.standard_error < 0.3
    with pytest.raises(ValueError, match="same seed"):
        one.log_ratio(one)
    with pytest.raises(TypeError, match="other: got int"):
        one.log_ratio(3)
    local = smw.constrained_sequences(chain, MACHINE, 5, 4, weights=False, seed=3)
    with pytest.raises(ValueError, match="other: there is no evidence, the status is 'biased'"):
        one.log_ratio(local)
    again = smw.constrained_sequences(chain, MACHINE, 30, 6, islands=8, ahead=False, seed=4)
    assert one.cost["evaluations"] > 8 * 6
    assert smw.combine([one.log_evidence, again.log_evidence]).diagnostics["runs"] == 2


def test_there_is_nothing_to_draw_from_the_dead():
    with pytest.warns(smw.PrecisionWarning, match="every particle died"):
        out = smw.constrained_sequences(FLAT, lambda p, i: False, 5, 3, islands=4, seed=1)
    for name, call in (("table", out.table), ("draws", lambda: out.draws(3))):
        with pytest.raises(ValueError, match=f"{name}: every particle is dead"):
            call()
