"""Coverage of 95 % intervals of the log evidence where what is rare builds up over places.

    python benchmarks/rare_sequences.py [--seeds N]

Eight cases from 2e-4 to 2e-12: coins that follow the last three, so many heads of ten; and patterns
over tokens that are cut in several ways, of which the language knows the last two. The truth is a
sum over all sequences. Neither language is a Markov chain, so that particles are led by the law
that a pilot finds. Kept in results/rare_sequences.json, by case: truth, coverage, share of the runs
that warned, mean of the evidence over the truth, and its relative standard deviation.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import warnings
from pathlib import Path

import numpy as np

import smcweights as smw

LENGTH = 10
TOKENS = ["0", "1", "01", "10", "11", None]
PATTERNS = ["1{9}", "(11){5}0?", "(01|1){6}"]


class Coins:
    """Heads are rare, and less so after heads."""

    def logits(self, prefixes):
        """Log probabilities of tail and head."""
        heads = np.array([sum(p[-3:]) for p in prefixes])
        p = 0.02 * (1.0 + 0.8 * heads)
        return np.log(np.stack([1 - p, p], axis=1))


class Tokens:
    """A law of the tokens for each pair of the last two."""

    def __init__(self):
        rng = np.random.default_rng(4)
        shape = (len(TOKENS), len(TOKENS))
        self.law = rng.dirichlet([6.0, 0.3, 0.5, 0.5, 0.2, 1.0], shape)

    def logits(self, prefixes):
        """Log probabilities of the tokens."""
        last = [(5, 5, *p)[-2:] for p in prefixes]
        return np.log(np.stack([self.law[pair] for pair in last]))


def of_coins(least):
    """Constraint and truth of at least so many heads."""
    table = [[min(s + x, least) for x in (0, 1)] for s in range(least + 1)]
    total = 0.0
    for items in itertools.product((0, 1), repeat=LENGTH):
        if sum(items) >= least:
            rows = Coins().logits([items[:t] for t in range(LENGTH)])
            total += math.exp(rows[range(LENGTH), items].sum())
    return smw.constraints.automaton(table, [least]), total


def of_tokens(pattern, words, language):
    """Constraint and truth of a pattern over tokens."""
    every = (map("".join, itertools.product("01", repeat=n)) for n in range(13))
    texts = set(filter(re.compile(pattern).fullmatch, itertools.chain.from_iterable(every)))
    begun = {text[:k] for text in texts for k in range(len(text) + 1)}
    total, pending = 0.0, [((), "", 1.0)]
    while pending:
        prefix, text, mass = pending.pop()
        law = np.exp(language.logits([prefix])[0])
        if text in texts:
            total += mass * law[5]
        if len(prefix) + 1 < LENGTH:
            pending += [
                ((*prefix, i), text + TOKENS[i], mass * law[i])
                for i in range(5)
                if text + TOKENS[i] in begun
            ]
    return smw.constraints.regex(pattern, words), total


def main(seeds):
    """Print and keep the table."""
    coins, tokens = Coins(), Tokens()
    words = smw.constraints.vocabulary(TOKENS, end=5)
    cases = [(f"{k} heads of 10", coins, *of_coins(k)) for k in (9, 7, 8, 6, 5)]
    cases += [(f"tokens {one}", tokens, *of_tokens(one, words, tokens)) for one in PATTERNS]
    table = {}
    for name, language, constraint, truth in cases:
        inside, warned, found = 0, 0, []
        for seed in range(seeds):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                out = smw.constrained_sequences(
                    language, constraint, 50, LENGTH, seed=seed, progress=False
                )
            low, high = out.log_evidence.interval()
            inside += low <= math.log(truth) <= high
            warned += bool(said)
            found.append(math.exp(out.log_evidence.value) / truth)
        table[name] = {
            "truth": truth,
            "seeds": seeds,
            "coverage": inside / seeds,
            "warned": warned / seeds,
            "mean over truth": float(np.mean(found)),
            "relative sd": float(np.std(found)),
        }
        print(name, json.dumps(table[name]), flush=True)
        path = Path(__file__).parent / "results" / "rare_sequences.json"
        path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=1000)
    main(parser.parse_args().seeds)
