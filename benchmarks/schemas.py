"""Judgements of `json_schema` on the JSON Schema Test Suite, character by character.

    python benchmarks/schemas.py FOLDER

FOLDER is `tests` of a checkout of github.com/json-schema-org/JSON-Schema-Test-Suite. Every text
comes in two spellings, with blanks and with escapes, and is taken if it is followed to its end and
whole there. Counted are texts judged as the suite has it; as package jsonschema has it, which some
cases go against; that couldn't be judged, by the error; and wrong ones, which are shown.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import sys
from pathlib import Path

DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}


def taken(constraint, items, text):
    """Whether the text is followed to its end, and whole there."""
    state = constraint.start()
    for character in text:
        state = constraint.step(state, items.index(character))
        if state is None:
            return False
    return constraint.complete(state)


def main(folder):
    import jsonschema

    import smcweights as smw

    counts, wrong = collections.Counter(), []
    for draft, dialect in DRAFTS.items():
        for path in sorted((folder / draft).rglob("*.json")):
            if path.parent.name == "format":
                continue
            for case in json.loads(path.read_text(encoding="utf-8")):
                schema = case["schema"]
                if isinstance(schema, dict):
                    schema = {"$schema": dialect, **schema}
                for test, escaped in itertools.product(case["tests"], (False, True)):
                    spaces = (",", ":") if escaped else None
                    text = json.dumps(test["data"], ensure_ascii=escaped, separators=spaces)
                    items = sorted(set(text))
                    try:
                        got = taken(smw.constraints.json_schema(schema, items), items, text)
                    except Exception as error:
                        counts[f"not judged: {type(error).__name__}"] += 1
                        continue
                    if got == test["valid"]:
                        counts["as the suite"] += 1
                        continue
                    kind = jsonschema.validators.validator_for(schema)
                    if got == kind(schema).is_valid(test["data"]):
                        counts["as jsonschema"] += 1
                    else:
                        counts["wrong"] += 1
                        where = f"{path.relative_to(folder)}: {case['description']}"
                        wrong.append(f"{where}, {test['description']}: {text} taken {got}")
    print("\n".join(wrong))
    for name, count in sorted(counts.items()):
        print(f"{name:40s} {count:,}")
    return bool(wrong)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the suite's folder tests")
    sys.exit(main(parser.parse_args().folder))
