"""Judgements of `json_schema` on the JSON Schema Test Suite, character by character.

    python benchmarks/schemas.py FOLDER

FOLDER is `tests` of a checkout of github.com/json-schema-org/JSON-Schema-Test-Suite. Every text
comes in three spellings, with blanks, with escapes and on lines of its own, and is taken if it is
followed to its end and whole there. Counted, for what every implementation must do and for what is
optional (formats left out, which say nothing by default), are texts judged as the suite has it; as
package jsonschema has it, which some cases go against; that couldn't be judged, by the error; and
wrong ones, which are shown. Kept in results/schemas.json.
"""

from __future__ import annotations

import argparse
import collections
import functools
import itertools
import json
import sys
from pathlib import Path

SPELLINGS = (
    {},
    {"ensure_ascii": True, "separators": (",", ":")},
    {"indent": 1},
)
DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}


def taken(constraint, items, text):
    """Whether the text is followed to its end, and whole there."""
    if constraint is None:
        return False
    state = constraint.start()
    for character in text:
        state = constraint.step(state, items.index(character))
        if state is None:
            return False
    return constraint.complete(state)


def made_of(schema, items):
    """The constraint; None where no text of the items is a value, by the error that says so."""
    import smcweights as smw

    try:
        return smw.constraints.json_schema(schema, items)
    except ValueError as error:
        if "no text of these items is a value of it" in str(error):
            return None
        raise


def main(folder):
    import jsonschema

    counts, wrong = collections.Counter(), []
    for draft, dialect in DRAFTS.items():
        for path in sorted((folder / draft).rglob("*.json")):
            if path.parent.name == "format":
                continue
            for case in json.loads(path.read_text(encoding="utf-8")):
                schema = case["schema"]
                if isinstance(schema, dict):
                    schema = {"$schema": dialect, **schema}
                part = "optional" if path.parent.name == "optional" else "required"
                spelled = [
                    (test, json.dumps(test["data"], **({"ensure_ascii": False} | spelling)))
                    for test, spelling in itertools.product(case["tests"], SPELLINGS)
                ]
                items = sorted(set("".join(text for _, text in spelled)))
                made = functools.cache(functools.partial(made_of, schema, items))
                for test, text in spelled:
                    try:
                        got = taken(made(), items, text)
                    except Exception as error:
                        counts[f"{part}, not judged: {type(error).__name__}"] += 1
                        continue
                    if got == test["valid"]:
                        counts[f"{part}, as the suite"] += 1
                        continue
                    kind = jsonschema.validators.validator_for(schema)
                    if got == kind(schema).is_valid(test["data"]):
                        counts[f"{part}, as jsonschema"] += 1
                    else:
                        counts[f"{part}, wrong"] += 1
                        where = f"{path.relative_to(folder)}: {case['description']}"
                        wrong.append(f"{where}, {test['description']}: {text} taken {got}")
    if not counts:
        raise SystemExit(f"{folder}: holds none of {', '.join(DRAFTS)}; expected the suite's tests")
    print("\n".join(wrong))
    for name, count in sorted(counts.items()):
        print(f"{name:40s} {count:,}")
    path = Path(__file__).parent / "results" / "schemas.json"
    path.write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n", encoding="utf-8")
    return bool(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the suite's folder tests")
    sys.exit(main(parser.parse_args().folder))
