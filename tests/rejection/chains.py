"""Small Markov chains and automata, and the truth about them by summing over all sequences."""

import itertools
import math

import numpy as np

import smcweights as smw


def chain_of(v, seed):
    rng = np.random.default_rng(seed)
    return smw.languages.markov_chain(
        rng.dirichlet(np.ones(v)), rng.dirichlet(np.full(v, 0.7), size=v)
    )


# three states, item 0 moves on, item 3 is forbidden in state 1, acceptance in states 0 and 2
MACHINE = smw.constraints.automaton(
    [[1, 0, 0, 0, 0], [2, 1, -1, -1, 1], [0, 2, 2, 2, -1]], accepting=[0, 2]
)


COIN = smw.languages.markov_chain([0.5, 0.5], [[0.5, 0.5], [0.2, 0.8]])


ANY = smw.constraints.automaton([[0, 0]], [0])


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


class Asked:
    """The same automaton, asked item by item."""

    def __init__(self, machine):
        self.start, self.step, self.complete = machine.start, machine.step, machine.complete


def between(a, b):
    """The chain half way between two."""
    return smw.languages.markov_chain(
        (np.exp(a.log_initial) + np.exp(b.log_initial)) / 2,
        (np.exp(a.log_transition[0]) + np.exp(b.log_transition[0])) / 2,
    )


def tilted(chain, tilt):
    """The chain with its rows times exp(tilt), and unnormalised: what a sum of tilts targets."""
    return smw.languages.MarkovChain(chain.log_initial + tilt, chain.log_transition + tilt)
