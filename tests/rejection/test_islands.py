"""One island of particles: what is drawn, asked, and refused on the way."""

import math
import types

import numpy as np
import pytest

import smcweights as smw
from smcweights.rejection.exact import constrained_markov_chain

from .chains import ANY, COIN, MACHINE, Asked, between, brute_force, chain_of, tilted


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("two-loop", "one-probe", "exact")]
    + ["harmonic"],
)
def test_other_methods_proposal_and_twist_have_the_same_target(method):
    chain, other = chain_of(5, 3), between(chain_of(5, 3), chain_of(5, 8))
    truth = constrained_markov_chain(chain, MACHINE, 6).log_evidence
    for options in ({}, {"proposal": other}, {"twist": lambda p: 0.3 * p[-1]}):
        out = smw.constrained_sequences(
            chain, Asked(MACHINE), 25, 6, islands=16, method=method, seed=2, **options
        )
        assert abs(out.log_evidence.value - truth) < 6 * out.log_evidence.standard_error


@pytest.mark.parametrize("end", [pytest.param(None, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("method", ["exact", pytest.param("rao-blackwell", marks=pytest.mark.slow)])
def test_a_potential_is_part_of_the_target(end, method):
    # P(|z| > 6) with 15 degrees of freedom is 2e-5
    tilt = np.array([0.6, -0.4, 0.3, -1.2, 0.5])
    chain, other = chain_of(5, 3), between(chain_of(5, 3), chain_of(5, 8))
    total, marginals = brute_force(tilted(chain, tilt), MACHINE, 5, end)
    for options in ({}, {"proposal": other}, {"twist": lambda p: 0.3 * p[-1]}):
        out = smw.constrained_sequences(
            chain, MACHINE if method == "exact" else Asked(MACHINE), 25, 5, end=end, islands=16,
            method=method, potential=lambda p: float(tilt[list(p)].sum()), seed=4, **options,
        )  # fmt: skip
        e = out.log_evidence
        assert abs(e.value - math.log(total)) < 6 * e.standard_error
        second = out.expectation(lambda s: [float(len(s) > 1 and s[1] == x) for x in range(5)])
        off = np.abs(second.value - marginals[1])
        assert (off < 6 * second.standard_error + 1e-9).all()


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


@pytest.mark.slow
@pytest.mark.parametrize("islands", [100, 2000])
def test_unbiased_with_one_particle_and_hidden_states(islands):
    rng = np.random.default_rng(1)
    hidden = smw.languages.hidden_markov(
        np.full(5, 0.2), rng.dirichlet(np.ones(5), size=5), rng.normal(size=(7, 5))
    )
    truth = constrained_markov_chain(hidden, MACHINE, 7).log_evidence
    out = smw.constrained_sequences(hidden, Asked(MACHINE), 1, 7, islands=islands, seed=3)
    e = out.evidence()
    assert abs(e.value - math.exp(truth)) < 5 * e.standard_error


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
