import itertools
import math
import types
import warnings

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights.rejection.exact import constrained_markov_chain


def chain_of(v, seed):
    rng = np.random.default_rng(seed)
    return smw.languages.markov_chain(
        rng.dirichlet(np.ones(v)), rng.dirichlet(np.full(v, 0.7), size=v)
    )


# three states, item 0 moves on, item 3 is forbidden in state 1, acceptance in states 0 and 2
MACHINE = smw.constraints.automaton(
    [[1, 0, 0, 0, 0], [2, 1, -1, -1, 1], [0, 2, 2, 2, -1]], accepting=[0, 2]
)


def brute_force(chain, machine, length, end):
    total, marginals = 0.0, np.zeros((length, 5))
    lengths = [length] if end is None else range(1, length + 1)
    for size in lengths:
        for s in itertools.product(range(5), repeat=size):
            if end is not None and (s[-1] != end or end in s[:-1]):
                continue
            p, state = 1.0, machine.start()
            for t, x in enumerate(s):
                p *= math.exp(chain.logits([s[:t]])[0, x])
                if x != end and state is not None:
                    state = machine.step(state, x)
            if state is None or not machine.complete(state):
                continue
            total += p
            for t, x in enumerate(s):
                marginals[t, x] += p
    return total, marginals / total


@pytest.mark.parametrize("end", [None, 4])
def test_dynamic_programming_is_the_sum_over_all_sequences(end):
    chain = chain_of(5, 3)
    total, marginals = brute_force(chain, MACHINE, 5, end)
    truth = constrained_markov_chain(chain, MACHINE, 5, end=end)
    assert truth.log_evidence == pytest.approx(math.log(total), abs=1e-12)
    assert np.abs(truth.marginals - marginals).max() < 1e-12


class Asked:
    """The same automaton, asked item by item."""

    def __init__(self, machine):
        self.start, self.step, self.complete = machine.start, machine.step, machine.complete


@pytest.mark.parametrize("length", [6, 20, 100])
@pytest.mark.parametrize("end", [None, 4])
@pytest.mark.parametrize("method", ["auto", "rao-blackwell"])
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


@pytest.mark.parametrize("method", ["harmonic", "two-loop", "one-probe", "exact"])
def test_other_methods_proposal_and_twist_have_the_same_target(method):
    chain, other = chain_of(5, 3), between(chain_of(5, 3), chain_of(5, 8))
    truth = constrained_markov_chain(chain, MACHINE, 6).log_evidence
    for options in ({}, {"proposal": other}, {"twist": lambda p: 0.3 * p[-1]}):
        out = smw.constrained_sequences(
            chain, Asked(MACHINE), 100, 6, islands=16, method=method, seed=2, **options
        )
        assert abs(out.log_evidence.value - truth) < 6 * out.log_evidence.standard_error


def between(a, b):
    """The chain half way between two."""
    return smw.languages.markov_chain(
        (np.exp(a.log_initial) + np.exp(b.log_initial)) / 2,
        (np.exp(a.log_transition[0]) + np.exp(b.log_transition[0])) / 2,
    )


def tilted(chain, tilt):
    """The chain with its rows times exp(tilt), and unnormalised: what a sum of tilts targets."""
    return smw.languages.MarkovChain(chain.log_initial + tilt, chain.log_transition + tilt)


@pytest.mark.parametrize("end", [None, 4])
@pytest.mark.parametrize("method", ["exact", "rao-blackwell"])
def test_a_potential_is_part_of_the_target(end, method):
    # P(|z| > 6) with 15 degrees of freedom is 2e-5
    tilt = np.array([0.6, -0.4, 0.3, -1.2, 0.5])
    chain, other = chain_of(5, 3), between(chain_of(5, 3), chain_of(5, 8))
    total, marginals = brute_force(tilted(chain, tilt), MACHINE, 5, end)
    for options in ({}, {"proposal": other}, {"twist": lambda p: 0.3 * p[-1]}):
        out = smw.constrained_sequences(
            chain, MACHINE if method == "exact" else Asked(MACHINE), 60, 5, end=end, islands=16,
            method=method, potential=lambda p: float(tilt[list(p)].sum()), seed=4, **options,
        )  # fmt: skip
        e = out.log_evidence
        assert abs(e.value - math.log(total)) < 6 * e.standard_error
        second = out.expectation(lambda s: [float(len(s) > 1 and s[1] == x) for x in range(5)])
        off = np.abs(second.value - marginals[1])
        assert (off < 6 * second.standard_error + 1e-9).all()


def test_a_proposal_far_from_the_language_is_said():
    # 34 of 100 such intervals covered the probability of a rare item
    with pytest.warns(smw.PrecisionWarning, match="the proposal is so far from the language"):
        out = smw.constrained_sequences(
            chain_of(5, 3), MACHINE, 60, 5, end=4, islands=16, proposal=chain_of(5, 11), seed=4
        )
    assert out.log_evidence.diagnostics["warnings"]
    assert out.traces["chi_square"].shape == (16, 5)


def test_a_potential_may_forbid_but_not_be_nan():
    coin = smw.languages.markov_chain([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]])
    free = smw.constraints.automaton([[0, 0]], accepting=[0])
    out = smw.constrained_sequences(
        coin, free, 200, 6, potential=lambda p: 0.0 if sum(p) < 3 else -math.inf, seed=1
    )
    e = out.evidence()
    assert abs(e.value - 22 / 64) < 6 * e.standard_error
    with pytest.raises(smw.ModelError, match="potential: returned nan for "):
        smw.constrained_sequences(coin, free, 20, 6, potential=lambda p: math.nan, seed=1)


def test_unbiased_with_one_particle_and_hidden_states():
    rng = np.random.default_rng(1)
    hidden = smw.languages.hidden_markov(
        np.full(5, 0.2), rng.dirichlet(np.ones(5), size=5), rng.normal(size=(7, 5))
    )
    truth = constrained_markov_chain(hidden, MACHINE, 7).log_evidence
    out = smw.constrained_sequences(hidden, Asked(MACHINE), 1, 7, islands=2000, seed=3)
    e = out.evidence()
    assert abs(e.value - math.exp(truth)) < 5 * e.standard_error


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
    """A coverage of 0.95 fails with probability 1e-6; 0.85 passes 300 runs with 0.03."""
    chain = chain_of(5, 3)
    truth = constrained_markov_chain(chain, MACHINE, length).log_evidence
    inside = 0
    for seed in range(runs):
        with warnings.catch_warnings(record=True):
            e = smw.constrained_sequences(
                chain, MACHINE if method == "exact" else Asked(MACHINE), particles, length,
                islands=8, method=method, seed=seed, progress=False,
            ).log_evidence  # fmt: skip
        lower, upper = e.interval()
        inside += lower <= truth <= upper
    assert stats.binom.ppf(1e-6, runs, 0.95) <= inside <= 0.99 * runs


class Failing:
    """A chain whose third call fails."""

    def __init__(self, chain, folder):
        self.chain, self.folder = chain, folder

    def logits(self, prefixes):
        calls = self.folder / "calls"
        calls.write_text(calls.read_text() + "." if calls.exists() else ".")
        if len(calls.read_text()) == 20:
            raise KeyboardInterrupt
        return self.chain.logits(prefixes)


def test_a_checkpoint_goes_on_with_the_same_numbers(tmp_path):
    chain = Failing(chain_of(5, 3), tmp_path)
    options = {"islands": 6, "seed": 4, "checkpoint": tmp_path / "run.npz"}
    with pytest.raises(KeyboardInterrupt):
        smw.constrained_sequences(chain, MACHINE, 10, 6, **options)
    out = smw.constrained_sequences(chain, MACHINE, 10, 6, **options)
    # the third island was lost half way: three of 6 calls are not repeated
    assert len((tmp_path / "calls").read_text()) == 20 + 6 * 3
    straight = smw.constrained_sequences(chain_of(5, 3), MACHINE, 10, 6, islands=6, seed=4)
    assert out.sequences == straight.sequences
    assert (out.log_weights == straight.log_weights).all()
    with pytest.raises(ValueError, match="constraint was"):
        smw.constrained_sequences(chain, Asked(MACHINE), 10, 6, method="exact", **options)


class StandInCausalModel:
    """Not a transformer: a stand-in with the call of a causal model of transformers."""

    def __init__(self, chain):
        self.chain, self.sizes = chain, []

    def __call__(self, input_ids, attention_mask):
        assert input_ids.shape == attention_mask.shape and input_ids.dtype == np.int64
        self.sizes.append(len(input_ids))
        logits = np.full((*input_ids.shape, 5), np.nan)
        for row, (ids, mask) in enumerate(zip(input_ids, attention_mask, strict=True)):
            for t in range(mask.sum()):
                logits[row, t] = self.chain.logits([tuple(ids[1 : t + 1])])[0]
        return types.SimpleNamespace(logits=logits)


def test_the_adapter_of_causal_models_by_a_stand_in():
    chain = chain_of(5, 3)
    model = StandInCausalModel(chain)
    language = smw.languages.huggingface(model, prompt=(2,), rows=3)
    prefixes = [(), (1, 2), (0,), (3, 3, 1), (4, 1)]
    assert (language.logits(prefixes) == chain.logits(prefixes)).all() and model.sizes == [3, 2]
    direct, through = (
        smw.constrained_sequences(one, MACHINE, 10, 5, islands=4, seed=1)
        for one in (chain, language)
    )
    assert direct.sequences == through.sequences


class SumsTokens:
    """A causal model whose logits depend on every token before and where it stands."""

    def __call__(self, input_ids, attention_mask):
        places = np.arange(1, input_ids.shape[1] + 1)
        sums = np.cumsum(places * (input_ids + 1.0) * attention_mask, axis=1)
        return types.SimpleNamespace(logits=np.sin(sums[..., None] * np.arange(1, 6)))


@pytest.mark.parametrize(
    ("options", "before"),
    [({"begin": 3}, (3,)), ({}, (0,)), ({"prompt": (2, 4), "begin": 3}, (2, 4))],
)
def test_the_beginning_stands_before_every_prefix(options, before):
    prefixes = [(), (1,), (0, 2), (3, 3, 1)]
    tokens = [np.array([*before, *p]) + 1.0 for p in prefixes]
    sums = np.array([t @ np.arange(1, t.size + 1) for t in tokens])
    found = smw.languages.huggingface(SumsTokens(), **options).logits(prefixes)
    assert np.allclose(found, np.sin(sums[:, None] * np.arange(1, 6)))


def test_the_evidence_is_the_mean_of_the_weights():
    """And its interval contains that of its log: of 80, fewer than 64 honest ones cover: 1e-6."""
    chain = chain_of(5, 3)
    truth = math.exp(constrained_markov_chain(chain, MACHINE, 6).log_evidence)
    inside = 0
    for seed in range(80):
        with warnings.catch_warnings(record=True):
            out = smw.constrained_sequences(chain, MACHINE, 4, 6, islands=4, seed=seed)
        e = out.evidence()
        assert e.value == pytest.approx(np.exp(out.log_weights).mean(), rel=1e-12)
        (lower, upper), (a, b) = e.interval(), np.exp(out.log_evidence.interval())
        assert lower <= a * (1 + 1e-9) and b <= upper * (1 + 1e-9) and upper <= 1
        inside += lower <= truth <= upper
    assert inside >= stats.binom.ppf(1e-6, 80, 0.95)


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


COIN = smw.languages.markov_chain([0.5, 0.5], [[0.5, 0.5], [0.2, 0.8]])
ANY = smw.constraints.automaton([[0, 0]], [0])


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"constraint": lambda p, i: "no"}, r"constraint: returned 'no' for \(\(\), [01]\)"),
        ({"constraint": lambda p, i: math.nan}, "constraint: returned nan for"),
        ({"constraint": lambda p, i: None}, "constraint: returned None for"),
        (
            {"constraint": lambda p, i: True if i == 0 else None, "end": 1},
            r"constraint: returned None for \(\(.*\), 1\)",
        ),
        (
            {"constraint": smw.constraints.predicate(lambda p, i: True, lambda s: "yes")},
            "constraint: returned 'yes' for",
        ),
        ({"potential": lambda s: "a"}, "potential: returned 'a' for"),
        ({"twist": lambda s: None}, "twist: returned None for"),
        (
            {
                "language": types.SimpleNamespace(
                    logits=lambda p: np.zeros((len(p), 2 + len(p[0])))
                ),
                "constraint": lambda p, i: True,
            },
            r"language: logits of 3 items after \([01],\); there were 2 before",
        ),
    ],
    ids=range(8),
)
def test_wrong_answers_are_named(change, said):
    given = {"language": COIN, "constraint": ANY, "n_particles": 10, "max_length": 5, **change}
    with pytest.raises(smw.ModelError, match=said):
        smw.constrained_sequences(**given, seed=1)


def test_a_chain_ends_with_its_observations():
    hidden = smw.languages.hidden_markov([0.5, 0.5], np.full((2, 2), 0.5), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="this chain has 3 items"):
        smw.constrained_sequences(hidden, ANY, 10, 6, seed=1)
    with pytest.raises(ValueError, match="the chain has 3 items"):
        constrained_markov_chain(hidden, ANY, 6)
    assert len(smw.constrained_sequences(hidden, ANY, 10, 3, seed=1).sequences[0]) == 3
    assert COIN.logits([]).shape == (0, 2)
    for item in (-1, 2):
        with pytest.raises(ValueError, match=f"got item {item}; expected items from 0 to 1"):
            COIN.logits([(0,), (item,)])
    with pytest.raises(ValueError, match=r"got item 0\.5; expected items from 0 to 1"):
        COIN.logits([(0.5,)])


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("item", [9, 3, -1, -5, 0.5, math.nan, "a"])
def test_an_ngram_knows_its_items(item, order):
    model = smw.languages.ngram(["abab", "abb"], order=order)
    with pytest.raises(ValueError, match=r"prefixes: got item.* expected items from 0 to 2"):
        model.logits([(0, 1), (item,)])
    assert np.allclose(np.exp(model.logits([(), (0,), (1, 0), (0, 0, 1)])).sum(axis=1), 1.0)
    assert model.logits([]).shape == (0, 3)


@pytest.mark.parametrize("name", ["language", "proposal"])
def test_complex_logits_are_refused(name):
    odd = types.SimpleNamespace(logits=lambda prefixes: np.zeros((len(prefixes), 2), complex))
    given = {"language": COIN, "constraint": ANY, name: odd}
    with pytest.raises(TypeError, match=f"{name}: logits are an array of complex128"):
        smw.constrained_sequences(**given, n_particles=5, max_length=2, seed=1)


def test_logits_as_large_as_floats_are_taken():
    far = types.SimpleNamespace(
        logits=lambda prefixes: np.tile([1e308, -1e308], (len(prefixes), 1))
    )
    out = smw.constrained_sequences(far, ANY, 5, 2, seed=1)
    assert out.evidence().value == 1.0 and set(out.sequences) == {(0, 0)}


def test_an_automaton_needs_no_column_for_the_end():
    chain = chain_of(4, 6)
    narrow = smw.constraints.automaton([[0, 1, 0], [1, 2, 1], [2, 0, 2]], [2])
    wide = smw.constraints.automaton([[0, 1, 0, -1], [1, 2, 1, -1], [2, 0, 2, -1]], [2])
    one, other = (
        smw.constrained_sequences(chain, machine, 20, 6, end=3, seed=1)
        for machine in (narrow, wide)
    )
    assert one.sequences == other.sequences
    truth = constrained_markov_chain(chain, narrow, 6, end=3).log_evidence
    assert abs(one.log_evidence.value - truth) < 6 * one.log_evidence.standard_error


def independent(q):
    return smw.languages.markov_chain(q, np.tile(q, (len(q), 1)))


def test_errors_contain_what_draws_can_hide():
    """A heavy item is forbidden: one draw in a thousand misses it and has ten times the weight.

    By the scatter alone half of such errors are zero: none of 8 seeds, with probability 0.002.
    """
    chain = independent(np.r_[0.9, np.full(199, 0.1 / 199)])
    for seed in range(8):
        e = smw.constrained_sequences(chain, lambda p, i: i != 0, 20, 5, seed=seed).log_evidence
        assert 0.03 < e.standard_error < 0.15
        assert abs(e.value - 5 * math.log(0.1)) < 5 * e.standard_error


def test_what_no_particle_shows_isnt_excluded():
    chain = independent(np.array([0.9985, 0.001, 0.0005]))
    truth, inside = np.array([0.9985, 0.001, 0.0]) / 0.9995, 0
    for seed in range(40):
        out = smw.constrained_sequences(chain, lambda p, i: i != 2, 20, 1, seed=seed)
        lower, upper = out.log_evidence.interval()
        assert lower < math.log(0.9995) < upper <= 0 and out.evidence().interval()[1] <= 1
        e = out.expectation(lambda s: [float(s[0] == x) for x in range(3)])
        lower, upper = e.interval()
        assert (upper - lower > 1e-3).all() and e.trials[2] == pytest.approx(200, rel=1e-3)
        inside += ((lower <= truth) & (truth <= upper)).all()
    # fewer have probability 1e-6 for honest intervals; 8 in 40 held by the scatter alone
    assert inside >= stats.binom.ppf(1e-6, 40, 0.9)
    long = smw.constrained_sequences(chain_of(5, 3), MACHINE, 20, 60, seed=1)
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


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda c, of: c.regex("(", ["a"]), ValueError, "pattern: missing"),
        (lambda c, of: c.regex(3, ["a"]), TypeError, "pattern: got int"),
        (lambda c, of: c.regex("a", [1]), TypeError, "items: entry 0 is 1"),
        (lambda c, of: c.regex("a", []), ValueError, "items: got none"),
        (lambda c, of: c.predicate(3), TypeError, "allows: got int"),
        (lambda c, of: c.automaton([[0.5]], [0]), TypeError, "table: expected whole numbers"),
        (lambda c, of: c.automaton([[0]], [3]), ValueError, "accepting: got 3"),
        (lambda c, of: c.both(), TypeError, "constraints: got none"),
        (lambda c, of: c.either("a"), TypeError, "constraints: got str"),
        (
            lambda c, of: c.both(c.regex("a", ["a"]), c.regex("b", ["a", "b"])),
            ValueError,
            r"over \[1, 2\] items",
        ),
        (lambda c, of: of.ngram("abc"), TypeError, "sequences: got str"),
        (lambda c, of: of.ngram(None), TypeError, "sequences: got NoneType"),
        (lambda c, of: of.ngram([["a", 1]]), TypeError, "items of one kind"),
        (lambda c, of: of.ngram(["a"], order=1.5), ValueError, "order: got 1.5"),
        (lambda c, of: of.markov_chain("a", "b"), TypeError, "initial: got dtype <U1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_constraints_and_languages_are_told(make, error, said):
    with pytest.raises(error, match=said):
        make(smw.constraints, smw.languages)
