"""Selected texts beside random ones: the gain, and what a language model learns from either.

    python benchmarks/selection.py [splits]
    python benchmarks/selection.py --readme     what was kept, in Markdown

The texts are the sentences of the package's own docstrings. Those of one room are the target: 60
are given, others lie hidden among the sentences of all rooms, and the rest is held out. A tenth of
the raw sentences is selected. Beside the gain, measured by the targets, stands that of the held-out
sentences under the same selection, and how often the gain's 95 % interval, widened by the error of
these, holds it; and perplexities per letter of what is held out, by 4-grams of letters that learned
the selected or as many random sentences. Prints a table and keeps it in
benchmarks/results/selection.json.
"""

import ast
import itertools
import json
import math
import re
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import smcweights as smw

RESULTS = Path(__file__).parent / "results" / "selection.json"
ROOMS = ("statespace", "rejection", "transport")
GIVEN = 60
HIDDEN = 0.3  # of the room's sentences
SHARE = 10  # of the raw sentences, one is selected
PRIOR = 0.1  # as the selection's own: raw shares are worth so many features, for each kind
LETTERS = re.compile("[^a-z ]+")


def sentences():
    """By room: all different sentences of its docstrings, of at least five words."""
    found = {}
    for path in sorted(Path(smw.__file__).parent.rglob("*.py")):
        room = path.relative_to(Path(smw.__file__).parent).parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = (ast.get_docstring(node) or "").split("\nExamples\n")[0]
                for sentence in re.split(r"[.;:]\s|\n\n", text):
                    plain = " ".join(LETTERS.sub(" ", sentence.lower()).split())
                    if plain.count(" ") > 3:
                        found.setdefault(plain, room)
    return {room: [s for s, own in found.items() if own == room] for room in set(found.values())}


def perplexity(learned, held):
    """Per letter of the held-out texts, of a model that learned others."""
    model = smw.languages.ngram([*learned, "abcdefghijklmnopqrstuvwxyz "], order=4)
    number = {letter: k for k, letter in enumerate(model.items)}
    texts = [tuple(number[letter] for letter in text) for text in held]
    prefixes = [text[:t] for text in texts for t in range(len(text))]
    logs = model.logits(prefixes)
    logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
    drawn = [letter for text in texts for letter in text]
    return float(np.exp(-logs[np.arange(len(drawn)), drawn].mean()))


def features(text):
    """Words, and pairs of words."""
    found = text.split()
    return [*found, *(f"{a} {b}" for a, b in itertools.pairwise(found))]


def counted(texts):
    return Counter(feature for text in texts for feature in features(text))


def held_out_gain(raw, selected, held):
    """Mean log ratio of shares, of features that some raw sentence has, and its error."""
    of_raw, of_selected = counted(raw), counted(selected)
    worth = PRIOR * len(of_raw)
    n, m = of_raw.total(), of_selected.total() + worth
    logs = {
        feature: math.log((of_selected[feature] + worth * count / n) / m * n / count)
        for feature, count in of_raw.items()
    }
    terms = [[logs[f] for f in features(text) if f in logs] for text in held]
    sums, sizes = np.array([sum(t) for t in terms]), np.array([len(t) for t in terms])
    gain = sums.sum() / sizes.sum()
    return gain, math.sqrt(((sums - gain * sizes) ** 2).sum()) / sizes.sum()


def split(rooms, room, seed):
    """What one split tells."""
    rng = np.random.default_rng(seed)
    own = [str(text) for text in rng.permutation(rooms[room])]
    many = GIVEN + int(HIDDEN * len(own))
    target, hidden, held = own[:GIVEN], own[GIVEN:many], own[many:]
    raw = [text for other, texts in rooms.items() if other != room for text in texts] + hidden
    k = len(raw) // SHARE
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", smw.PrecisionWarning)
        found = smw.importance_resampling(
            raw, target, k, features=features, buckets=1_000_000, seed=seed
        )
    selected = [raw[i] for i in found.indices]
    known, noise = held_out_gain(raw, selected, held)
    gain, error = float(found.gain), float(found.gain.standard_error)
    # Student's quantile of the gain's own interval
    quantile = (found.gain.interval()[1] - gain) / error
    return {
        "gain": gain,
        "error": error,
        "held-out gain": known,
        "held": bool(abs(gain - known) < quantile * math.hypot(error, noise)),
        "warned": bool(told),
        "of the room": float((found.indices >= len(raw) - len(hidden)).mean()),
        "of the raw": len(hidden) / len(raw),
        "selected": perplexity(selected, held),
        "random": perplexity([raw[i] for i in rng.choice(len(raw), k, replace=False)], held),
    }


def measured(splits):
    rooms, rows = sentences(), {}
    for room in ROOMS:
        runs = [split(rooms, room, seed) for seed in range(splits)]
        rows[room] = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
        rows[room]["splits"] = splits
    return rows


def table(rows):
    head = ["target", "splits", "gain", "error", "held-out gain", "held", "warned",
            "of the room: raw, selected", "perplexity: random, selected"]  # fmt: skip
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for room, r in rows.items():
        lines.append([
            room, str(r["splits"]), f"{r['gain']:.3f}", f"{r['error']:.3f}",
            f"{r['held-out gain']:.3f}", f"{100 * r['held']:.0f} %", f"{100 * r['warned']:.0f} %",
            f"{100 * r['of the raw']:.0f} %, {100 * r['of the room']:.0f} %",
            f"{r['random']:.2f}, {r['selected']:.2f}",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(splits="100"):
    if splits == "--readme":
        print(table(json.loads(RESULTS.read_text(encoding="utf-8"))))
        return
    rows = measured(int(splits))
    print(table(rows))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
