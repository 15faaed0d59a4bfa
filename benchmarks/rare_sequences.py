"""Coverage of 95 % intervals of the log evidence where what is rare builds up over places.

    python benchmarks/rare_sequences.py [--seeds N] [--only NAME]

Eight cases from 2e-4 to 2e-12: coins that follow the last three, so many heads of ten; and patterns
over tokens that are cut in several ways, of which the language knows the last two. The truth is a
sum over all sequences. Neither language is a Markov chain, so that particles are led by the law
that a pilot finds. Then three that an outline leads: lists, of fewer particles and items, whose
entries differ, or are few or all 1, and nested brackets, which it tells apart only so deep. Last
those where intervals are too low, of too few particles, or of languages in which what carries most
begins with tokens that hardly come. Kept in results/rare_sequences.json, by case: truth, coverage,
share of the runs that warned, of those that held and of those that missed the truth, mean of the
evidence over the truth, and its relative standard deviation; cases not run stay as they were.
"""

from __future__ import annotations

import argparse
import functools
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
MARKS = ["[", "]", ",", "1", "2", "[1", "1,", "(", "((", "a", ")", None]
DIFFER = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 2}
EITHER = {"type": "array", "oneOf": [{"maxItems": 1}, {"items": {"const": 1}}]}
NESTED = 'start: "(((" deep ")))"\ndeep: "(" deep ")" | "a"'
WEIGHTS = [6.0, 0.3, 0.5, 0.5, 0.2, 1.0]
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

    def __init__(self, weights, seed=4):
        rng = np.random.default_rng(seed)
        self.law = rng.dirichlet(weights, (len(weights), len(weights)))

    def logits(self, prefixes):
        """Log probabilities of the tokens."""
        end = len(self.law) - 1
        last = [(end, end, *p)[-2:] for p in prefixes]
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
    return smw.constraints.regex(pattern, words), cut_up(texts, TOKENS[:-1], language)


def cut_up(texts, tokens, language):
    """Probability of some texts, cut into tokens in any way, with an end behind them."""
    begun = {text[:k] for text in texts for k in range(len(text) + 1)}
    total, pending = 0.0, [((), "", 1.0)]
    while pending:
        prefix, text, mass = pending.pop()
        law = np.exp(language.logits([prefix])[0])
        if text in texts:
            total += mass * law[-1]
        if len(prefix) + 1 < LENGTH:
            pending += [
                ((*prefix, i), text + token, mass * law[i])
                for i, token in enumerate(tokens)
                if text + token in begun
            ]
    return total


def of_texts(valid, constraint, language):
    """Constraint and truth of valid texts of at most five tokens."""
    end, total = len(MARKS) - 1, 0.0
    for items in itertools.chain(*(itertools.product(range(end), repeat=n) for n in range(1, 6))):
        if valid("".join(MARKS[i] for i in items)):
            rows = language.logits([items[:t] for t in range(len(items) + 1)])
            total += math.exp(rows[range(len(items) + 1), [*items, end]].sum())
    return constraint, total


def is_json(schema):
    """Whether a text is JSON under a schema."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)

    def valid(text):
        try:
            return validator.is_valid(json.loads(text))
        except ValueError:
            return False

    return functools.cache(valid)


def share(these, among):
    """Mean of some entries; None where there are none."""
    return float(np.mean(np.array(these)[among])) if np.any(among) else None


def main(seeds, only):
    """Print and keep the table."""
    coins, tokens = Coins(), Tokens(WEIGHTS)
    words = smw.constraints.vocabulary(TOKENS, end=5)
    cases = [(f"{k} heads of 10", coins, *of_coins(k)) for k in (9, 7, 8, 6, 5)]
    cases += [(f"tokens {one}", tokens, *of_tokens(one, words, tokens)) for one in PATTERNS]
    marks, language = smw.constraints.vocabulary(MARKS, end=11), Tokens(np.full(12, 2.0))
    for name, schema in (("list, entries differ", DIFFER), ("list, few or all 1", EITHER)):
        made = smw.constraints.json_schema(schema, marks)
        cases.append((name, language, *of_texts(is_json(schema), made, language)))
    deep = {"(" * k + "a" + ")" * k for k in range(3, 2 * LENGTH)}
    made = smw.constraints.grammar(NESTED, marks)
    cases.append(("nested brackets", language, made, cut_up(deep, MARKS[:-1], language)))
    few = of_tokens(PATTERNS[0], words, tokens)
    cases += [(f"{n} particles, tokens {PATTERNS[0]}", tokens, *few) for n in (20, 10)]
    for seed, one in itertools.product((101, 104), PATTERNS[:2]):
        other = Tokens(WEIGHTS, seed)
        cases.append((f"language {seed}, tokens {one}", other, *of_tokens(one, words, other)))
    path = Path(__file__).parent / "results" / "rare_sequences.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    for name, language, constraint, truth in cases:
        inside, warned, found = [], [], []
        if only not in name:
            continue
        for seed in range(seeds):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                particles = int(name.split()[0]) if " particles" in name else 50
                size = (40, 6) if name.startswith("list") else (particles, LENGTH)
                out = smw.constrained_sequences(
                    language, constraint, *size, seed=seed, progress=False
                )
            low, high = out.log_evidence.interval()
            inside.append(low <= math.log(truth) <= high)
            warned.append(bool(said))
            found.append(math.exp(out.log_evidence.value) / truth)
        table[name] = {
            "truth": truth,
            "seeds": seeds,
            "coverage": float(np.mean(inside)),
            "warned": float(np.mean(warned)),
            "warned of held": share(warned, inside),
            "warned of missed": share(warned, np.logical_not(inside)),
            "mean over truth": float(np.mean(found)),
            "relative sd": float(np.std(found)),
        }
        print(name, json.dumps(table[name]), flush=True)
        path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--only", default="", help="part of the names of cases")
    given = parser.parse_args()
    main(given.seeds, given.only)
