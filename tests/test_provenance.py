"""What ran, with what: told apart where it differs, and by nothing else."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from smcweights import _compat
from smcweights.importance.laws import as_law
from smcweights.provenance import described, digest, fingerprint, provenance
from smcweights.stopping import Precision


def test_provenance_fits_json_and_tells_calls_apart():
    root = np.random.SeedSequence(2**100, spawn_key=(3,))
    arguments = {
        "budget": np.int64(10),
        "x": np.arange(3),
        "f": math.sin,
        "g": lambda v: v,
        "law": as_law(stats.norm(1.5)),
        "options": [None, True, {"a": (1, 2.5)}],
        "thing": object(),
    }
    found = provenance("demo", root, arguments, data={"y": np.arange(4.0)})
    assert json.loads(json.dumps(found)) == found
    assert found["seed"] == {"entropy": 2**100, "spawn_key": [3]}
    assert found["arguments"]["budget"] == 10
    assert found["arguments"]["x"] == {"shape": [3], "sha256": digest(np.arange(3))}
    assert found["arguments"]["f"] == "math.sin"
    assert found["arguments"]["law"]["marginals"][0]["loc"] == 1.5
    assert found["arguments"]["thing"] == "<object object>"
    assert found["versions"] == _compat.versions()
    assert found["data"] == digest({"y": np.arange(4.0)})
    assert found["time"].endswith("+00:00")
    assert provenance("demo", root, {})["data"] is None


@pytest.mark.parametrize("base", [dict, tuple, object])
def test_objects_of_the_users_classes_are_described_by_their_code(base):
    def made(k):
        class Model(base):
            def describe(self):
                return "flood"

            def __array__(self, dtype=None, copy=None):
                return np.zeros(2)

            def __getattr__(self, name):
                raise KeyError(name)

            def __call__(self, x):
                return x + k

        return Model()

    assert described(made(1)) == described(made(1)) != described(made(2))


def test_digest_sees_content_dtype_shape_and_name_but_not_layout():
    base = np.arange(6.0).reshape(2, 3)
    assert digest(base) == digest(np.asfortranarray(base)) == digest(base.astype(">f8"))
    others = [base.ravel(), base.astype(np.float32), base + 1e-15, base[::-1], {"x": base}]
    assert len({digest(other) for other in [base, *others]}) == 6
    assert digest({"a": base, "b": 1}) != digest({"a": 1, "b": base})
    assert digest(["ab", "c"]) != digest(["a", "bc"])


def test_jobs_are_told_apart_by_kind_and_content():
    a = np.arange(6.0)
    distinct = [(a,), ([a],), ((a,),), (a, None), ({"a": a},), (1,), (1.0,), (True,), ("1",)]
    distinct += [(np.random.SeedSequence(1),), (np.random.default_rng(1),), (a.reshape(2, 3),)]
    assert len(set(map(fingerprint, distinct))) == len(distinct)
    assert fingerprint((a[::2],)) == fingerprint((a[::2].copy(),))
    with pytest.raises(TypeError, match="jobs: got object; with a checkpoint expected arrays"):
        fingerprint((object(),))


def test_dataclasses_are_described_by_their_fields():
    assert described(Precision(relative=0.01)) == {
        "absolute": None, "relative": 0.01, "level": 0.95, "max_budget": 10_000_000,
        "of": None,
    }  # fmt: skip
