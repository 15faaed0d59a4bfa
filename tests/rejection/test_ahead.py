"""What lies ahead of an automaton's states, against sums over all sequences."""

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights.rejection.ahead import guess, reachable

from .chains import COIN, MACHINE, Asked, brute_force, chain_of


def followed(machine, state, items, end):
    """Whether the items lead from a state to a valid whole."""
    for place, x in enumerate(items):
        if x == end:
            return place == len(items) - 1 and machine.complete(state)
        state = machine.step(state, x)
        if state is None:
            return False
    return end is None and machine.complete(state)


@pytest.mark.parametrize("end", [None, 2])
def test_a_state_is_within_reach_if_some_sequence_ends_in_time(end):
    rng, refused, ends = np.random.default_rng(3), 0, () if end is None else (end,)
    for _ in range(20):
        table = rng.integers(-1, 4, (4, 3))
        machine = smw.constraints.Automaton(table, rng.random(4) < 0.4, 0)
        truth = np.zeros((5, 4), bool)
        for t, state in np.ndindex(truth.shape):
            sizes = range(5 - t) if end is not None else [4 - t]
            for items in itertools.chain.from_iterable(
                itertools.product(range(3), repeat=n + (end is not None)) for n in sizes
            ):
                if len(items) <= 4 - t:
                    truth[t, state] |= followed(machine, state, items, end)
        if truth[0, 0]:
            np.testing.assert_array_equal(reachable(machine, 4, ends), truth)
        else:
            refused += 1
            with pytest.raises(ValueError, match=r"no valid sequence|max_length: 4"):
                reachable(machine, 4, ends)
    assert 0 < refused < 15


@pytest.mark.parametrize("end", [None, 4])
def test_chances_are_sums_over_all_sequences(end):
    chain, length, ends = chain_of(5, 3), 4, () if end is None else (end,)
    reach = reachable(MACHINE, length, ends)
    total, _ = brute_force(chain, MACHINE, length, end)
    assert guess(MACHINE, chain, reach, ends, True).log_start == pytest.approx(math.log(total))
    q = np.random.default_rng(2).dirichlet(np.ones(5))
    same = smw.languages.markov_chain(q, np.tile(q, (5, 1)))
    total, _ = brute_force(same, MACHINE, length, end)
    by_law, by_chain = (guess(MACHINE, law, reach, ends) for law in (q, same))
    assert by_law.log_start == pytest.approx(math.log(total))
    for t in range(1, length + 1):
        some = reach[t] & (by_law.log_h[t, :, 0] > -100)
        np.testing.assert_allclose(by_chain.log_h[t][some], np.tile(by_law.log_h[t][some], 5))


def counting(least):
    """At least so many ones."""
    return smw.constraints.automaton(
        [[min(s + x, least) for x in (0, 1)] for s in range(least + 1)], [least]
    )


def coin_of(p):
    return smw.languages.markov_chain([1 - p, p], [[1 - p, p]] * 2)


class Unknown:
    """A language that doesn't say that it is a chain."""

    def __init__(self, chain):
        self.logits = chain.logits


@pytest.mark.parametrize("end", [None, 4])
def test_the_law_of_the_language_leaves_no_variance(end):
    hidden = smw.languages.hidden_markov(
        np.full(5, 0.2), np.random.default_rng(1).dirichlet(np.ones(5), size=5), np.eye(5)
    )
    for chain in (chain_of(5, 3), hidden):
        out = smw.constrained_sequences(chain, MACHINE, 10, 4, end=end, islands=4, seed=1)
        total, _ = brute_force(chain, MACHINE, 4, end)
        assert np.abs(out.log_weights - math.log(total)).max() < 1e-12


@pytest.mark.parametrize("end", [None, 4])
@pytest.mark.parametrize("ahead", ["auto", False, [0.1, 0.5, 0.1, 0.1, 0.2], chain_of(5, 8)])
def test_any_law_ahead_has_the_same_target(ahead, end):
    # P(|z| > 6) with 19 degrees of freedom is 9e-6
    chain = chain_of(5, 3)
    total, marginals = brute_force(chain, MACHINE, 4, end)
    out = smw.constrained_sequences(
        Unknown(chain), MACHINE, 40, 4, end=end, islands=20, ahead=ahead, seed=3
    )
    e = out.log_evidence
    assert abs(e.value - math.log(total)) < 6 * e.standard_error and e.standard_error < 0.1
    second = out.expectation(lambda s: [float(len(s) > 1 and s[1] == x) for x in range(5)])
    assert (np.abs(second.value - marginals[1]) < 6 * second.standard_error + 1e-9).all()


@pytest.mark.parametrize(
    ("least", "length"), [(6, 10), (7, 10), pytest.param(150, 200, marks=pytest.mark.slow)]
)
def test_what_builds_up_over_places_is_found(least, length):
    """Down to 1e-208; by the masks alone a fifth of such intervals held, or none."""
    coin = coin_of(0.02)
    truth = np.logaddexp.reduce(stats.binom.logpmf(range(least, length + 1), length, 0.02))
    for language in (coin, Unknown(coin)):
        out = smw.constrained_sequences(language, counting(least), 10, length, islands=4, seed=1)
        assert out.log_evidence.value == pytest.approx(truth, abs=1e-9)


def test_a_pilot_is_counted_and_the_same_everywhere():
    asked = []

    class Counted(Unknown):
        def logits(self, prefixes):
            asked.extend(prefixes)
            return chain_of(5, 3).logits(prefixes)

    one, other = (
        smw.constrained_sequences(
            Counted(chain_of(5, 3)), MACHINE, 10, 6, islands=4, seed=1, executor=executor
        )
        for executor in (None, "threads")
    )
    assert (one.log_weights == other.log_weights).all() and one.sequences == other.sequences
    by_hand = smw.constrained_sequences(
        chain_of(5, 3), MACHINE, 10, 6, islands=4, seed=1, ahead=False
    )
    assert one.log_weights.std() < by_hand.log_weights.std()


def test_what_no_particle_took_is_what_is_left_of_all_sequences():
    """A pilot finds the law of a coin that isn't known to be one, so that nothing is guessed."""
    law = np.log([0.7, 0.3])

    class Coin:
        def logits(self, prefixes):
            return np.tile(law, (len(prefixes), 1))

    out = smw.constrained_sequences(Coin(), counting(3), 4, 6, islands=4, seed=1)
    every = {s for s in itertools.product((0, 1), repeat=6) if sum(s) >= 3}
    left = [
        sum(math.exp(law[list(s)].sum()) for s in every.difference(out.sequences[i : i + 4]))
        for i in range(0, 16, 4)
    ]
    beside = out.log_evidence.diagnostics["foreseen_beside"]
    assert beside == pytest.approx(np.mean(left) / out.evidence().value, rel=1e-9)
    only = smw.constrained_sequences(Coin(), counting(6), 4, 6, islands=4, seed=1).log_evidence
    assert only.diagnostics["foreseen_beside"] < 1e-12


class Pairs:
    """A law of the next token for each pair of the last two."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.law = rng.dirichlet([6.0, 0.3, 0.5, 0.5, 0.2, 1.0], (6, 6))

    def logits(self, prefixes):
        return np.log(np.stack([self.law[(5, 5, *p)[-2:]] for p in prefixes]))

    def of_ones(self, left, last=(5, 5)):
        """Probability of so many ones, of tokens of one or two, and the end."""
        law = self.law[last]
        steps = [(i, n) for i, n in ((1, 1), (4, 2)) if n <= left]
        after = sum(law[i] * self.of_ones(left - n, (last[1], i)) for i, n in steps)
        return after + (law[5] if left == 0 else 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4, 104])
def test_few_islands_are_enough_where_nothing_else_was_foreseen(seed):
    """At 1e-11 a third of the islands find what carries all, and the error says so.

    Of 300 runs 20 % warned, and 98 % held; before, all warned. In the other language the branch
    that carries all is often missed by all islands, and one in five such runs said nothing.
    """
    language, held, warned = Pairs(seed), [], []
    tokens = smw.constraints.vocabulary(["0", "1", "01", "10", "11", None], end=5)
    ones = smw.constraints.regex("1{9}", tokens)
    for number in range(30):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = smw.constrained_sequences(
                language, ones, 50, 10, seed=number, progress=False
            ).log_evidence
        lower, upper = out.interval()
        held.append(lower <= math.log(language.of_ones(9)) <= upper)
        warned.append(bool(out.cautions))
    held, warned = np.array(held), np.array(warned)
    if seed == 4:
        assert held.sum() >= 24 and warned.sum() <= 16
    else:
        assert held.sum() <= 25 and warned[~held].mean() >= 0.7


@pytest.mark.slow
def test_intervals_too_low_are_said_whatever_lies_ahead():
    """Of 8 that 50 particles give by a predicate none held at 1e-8, and one in six said nothing."""
    truth = stats.binom.logsf(5, 10, 0.02)
    pruned = smw.constraints.predicate(lambda p, x: sum(p) + x + 9 - len(p) >= 6)
    silent = []
    for seed in range(4):
        for constraint in (pruned, counting(6)):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                out = smw.constrained_sequences(
                    coin_of(0.02), constraint, 50, 10, seed=1000 + seed, ahead=False
                )
            if not said:
                lower, upper = out.log_evidence.interval()
                silent.append(lower <= truth <= upper)
    assert all(silent)


@pytest.mark.slow
@pytest.mark.parametrize("least", [6, 7])
def test_intervals_cover_what_builds_up(least):
    """Coins that follow the last three, at 7e-7 and 3e-8. A coverage of 0.95 fails with 1e-6."""
    rows = {}
    for last in itertools.product((0, 1), repeat=3):
        rows[last] = 0.02 + 0.06 * sum(last)

    class Sticky:
        def logits(self, prefixes):
            p = np.array([rows[(0, 0, 0, *x)[-3:]] for x in prefixes])
            return np.log(np.stack([1 - p, p], axis=1))

    truth = 0.0
    for s in itertools.product((0, 1), repeat=10):
        if sum(s) >= least:
            table = Sticky().logits([s[:t] for t in range(10)])
            truth += math.exp(table[range(10), s].sum())
    inside = 0
    for seed in range(300):
        with warnings.catch_warnings(record=True):
            e = smw.constrained_sequences(
                Sticky(), counting(least), 50, 10, seed=seed, progress=False
            ).log_evidence
        lower, upper = e.interval()
        inside += lower <= math.log(truth) <= upper
    assert stats.binom.ppf(1e-6, 300, 0.95) <= inside


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"ahead": "far"}, ValueError, "ahead: got 'far'"),
        ({"ahead": [0.5, 0.6]}, ValueError, r"ahead: got \[0.5, 0.6\]; expected probabilities"),
        ({"ahead": [0.5, 0.5]}, ValueError, "ahead: got 2 items; the constraint has 5"),
        ({"ahead": COIN}, ValueError, "ahead: got 2 items"),
        ({"ahead": True}, TypeError, "ahead"),
        (
            {"constraint": Asked(MACHINE), "ahead": COIN},
            ValueError,
            "ahead: got MarkovChain.*, since a law goes with",
        ),
    ],
    ids=range(6),
)
def test_bad_laws_are_refused(change, error, said):
    given = {"constraint": MACHINE, **change}
    with pytest.raises(error, match=said):
        smw.constrained_sequences(chain_of(5, 3), n_particles=5, max_length=4, **given)
