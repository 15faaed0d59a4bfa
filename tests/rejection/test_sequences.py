import itertools
import math

import numpy as np
import pytest

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
    chain, other = chain_of(5, 3), chain_of(5, 8)
    truth = constrained_markov_chain(chain, MACHINE, 6).log_evidence
    for options in ({}, {"proposal": other}, {"twist": lambda p: 0.3 * p[-1]}):
        out = smw.constrained_sequences(
            chain, Asked(MACHINE), 100, 6, islands=16, method=method, seed=2, **options
        )
        assert abs(out.log_evidence.value - truth) < 6 * out.log_evidence.standard_error


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
def test_intervals_cover_1000_runs():
    chain = chain_of(5, 3)
    truth = constrained_markov_chain(chain, MACHINE, 4).log_evidence
    inside = 0
    for seed in range(1000):
        e = smw.constrained_sequences(
            chain, MACHINE, 12, 4, islands=8, seed=seed, progress=False
        ).log_evidence
        lower, upper = e.interval()
        inside += lower <= truth <= upper
    assert 920 <= inside <= 980


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
    with pytest.raises(ValueError, match="automaton over 5 items"):
        smw.constrained_sequences(chain_of(3, 1), MACHINE, 5, 5, seed=1)
