"""Texts drawn under schemas of others, over tokens: how many schemas are completed, and all valid.

    python benchmarks/drawn_schemas.py FOLDER [--schemas N] [--places L] [--vocabulary FILE]

FOLDER holds JSON files: a schema each, as in JSONSchemaBench; with the key "schema" and tests, as
in MaskBench; or lists of these, as in the JSON Schema Test Suite. Different ones are drawn at
random, those that have tests and none of them valid left out. The language is a Zipf law of the
tokens, shifted by the last one, which knows nothing of JSON; the vocabulary 150 characters and
pieces of JSON, or that of `benchmarks/tokens.py`. Counted are schemas by what happened: completed,
dead (every particle died), told before the run that no text is so short, refused when made; texts,
and those that package jsonschema refuses. Kept in results/drawn_schemas.json.
"""

from __future__ import annotations

import argparse
import collections
import json
import time
import warnings
from pathlib import Path

import numpy as np
from tokens import Shifted, read

import smcweights as smw

PIECES = ['{"', '":', '": "', '", "', '"}', '"]', "},", "[{", "}]", "[[", "true", "false", "null"]
PIECES += [", ", ": ", "10", "12", "00", "the", "er", "in", "on", "an", "re", "foo", "bar", "name"]


def found_in(folder):
    """Different schemas of the files, in their order, and the names of these."""
    seen = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        for one in given if isinstance(given, list) else [given]:
            schema, tests = one, []
            if isinstance(one, dict) and "schema" in one:
                schema, tests = one["schema"], one.get("tests", [])
            if isinstance(schema, dict) and (not tests or any(t.get("valid") for t in tests)):
                seen.setdefault(json.dumps(schema, sort_keys=True), (str(path.name), schema))
    return list(seen.values())


def drawn(schema, words, places):
    """What happened under a schema, texts, and how many of them aren't valid."""
    import jsonschema

    try:
        constraint = smw.constraints.json_schema(schema, words)
    except (ValueError, TypeError, jsonschema.SchemaError) as error:
        return f"refused: {type(error).__name__}", [], 0
    language = Shifted(words.size)
    try:
        out = smw.constrained_sequences(
            language, constraint, 10, places, islands=4, seed=1, progress=False
        )
    except ValueError as error:
        return f"told before: {str(error).partition(':')[0]}", [], 0
    validator = jsonschema.validators.validator_for(schema)(schema)
    texts = [t for t, w in zip(out.texts(words), out.log_weights, strict=True) if w > -np.inf]
    wrong = sum(not validator.is_valid(json.loads(text)) for text in texts)
    return ("completed" if texts else "dead"), texts, wrong


def main(given):
    """Print and keep the table."""
    tokens = [chr(c) for c in (*range(32, 127), *range(0xE0, 0xFA), 10, 9)] + PIECES
    words = smw.constraints.vocabulary([*tokens, None], end=len(tokens))
    if given.vocabulary is not None:
        words = read(given.vocabulary)
    schemas = found_in(given.folder)
    some = np.random.default_rng(1).permutation(len(schemas))[: given.schemas].tolist()
    counts, rows, began = collections.Counter(), [], time.process_time()
    for i in some:
        name, schema = schemas[i]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            what, texts, wrong = drawn(schema, words, given.places)
        counts[what] += 1
        counts["texts"] += len(texts)
        counts["texts of 40"] += 40 * (what in ("completed", "dead"))
        counts["texts not valid"] += wrong
        counts["schemas"] += 1
        if what != "completed" or wrong:
            rows.append({"file": name, "what": what, "texts": len(texts), "not valid": wrong})
        if what == "dead" or wrong:
            print(what, wrong, name, json.dumps(schema)[:200], texts[:2], flush=True)
        counts["different ones there"] = len(schemas)
        table = {"tokens": words.size, "places": given.places, **dict(sorted(counts.items()))}
        table["seconds"] = time.process_time() - began
        path = Path(__file__).parent / "results" / "drawn_schemas.json"
        path.write_text(json.dumps({**table, "others": rows}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of JSON files")
    parser.add_argument("--schemas", type=int, default=600, help="drawn at random")
    parser.add_argument("--places", type=int, default=32)
    parser.add_argument("--vocabulary", type=Path, help="as of benchmarks/tokens.py")
    main(parser.parse_args())
