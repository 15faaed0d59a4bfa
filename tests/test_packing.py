"""What was taken apart is put together again as it was, to the last bit."""

import json
import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from estimates import example
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import same

from smcweights import Caution
from smcweights.packing import Packing, Unpacking

KINDS = [*"?bBqQefdgFD", ">f8", ">i4", "M8[s]", "m8[ns]", "U3", "S2"]
texts = st.text(st.characters(exclude_categories=()), max_size=8)  # surrogates and NUL, too
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**130), 2**130)
    | st.floats()
    | texts
    | hnp.arrays(st.sampled_from(KINDS), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
    | hnp.arrays(float, hnp.array_shapes(max_dims=3)).map(np.transpose)
    | hnp.from_dtype(np.dtype("f4")).map(np.float32)
    | st.lists(st.tuples(st.integers(-3, 2**63 - 1)), max_size=3)
    | st.just(np.random.SeedSequence(2**100, spawn_key=(3, 1)))
    | st.builds(Caution, texts, texts)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(texts | st.just("$"), inner, max_size=4)
    ),
    max_leaves=12,
)


def again(value):
    """The value after a trip through text and arrays of kinds that HDF5 has."""
    packing = Packing()
    text = json.dumps(packing.pack(value))
    text.encode("ascii")
    assert all(array.dtype.kind in "iuf" and array.size for array in packing.arrays)
    arrays = [array.copy() for array in packing.arrays]
    return Unpacking(arrays, dataset=packing.datasets.get).unpack(json.loads(text))


@pytest.mark.slow
@settings(max_examples=150, derandomize=True)
@given(values)
def test_any_value_is_the_same_again(value):
    assert same(again(value), value)


def test_other_bits_are_seen():
    for a, b in [(0.0, -0.0), (1, True), ((1,), [1]), (np.float64(1), 1.0), ({"a": 1}, {"b": 1})]:
        assert not same(a, b) and same(a, a)
    assert not same(np.zeros(2, np.float32), np.zeros(2))


@pytest.mark.parametrize(
    "value",
    [
        [(1, 2), (), (2**62, -5)],
        [(), ()],
        [(True, 1)],
        [(1, 2**63)],
        [(1,), [1]],
        (math.nan, -math.nan),
        np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0),
        np.array([["a", "b"], ["c", "d"]]).T,
        np.array([np.nan, -np.nan]),
        np.float32(0.1),
        np.array([["a", "ü\0"], ["", "\ud800"]]),
        {"$": "tuple", "of": [1]},
        example(),
        (example(value=[2.0, 0.0, 3.0], trials=[0, 10, 0]), None),
    ],
    ids=repr,
)
def test_what_could_be_mistaken_is_not(value):
    assert same(again(value), value)


def test_an_array_that_stands_elsewhere_is_only_referred_to():
    x = np.arange(3.0)
    packing = Packing({"x": x})
    packed = packing.pack([x, x.copy()])
    assert len(packing.arrays) == 1
    first, second = Unpacking(packing.arrays, {"x": x}).unpack(packed)
    assert first is x and same(second, x)


def test_what_is_no_content_of_files_is_refused_with_its_place():
    with pytest.raises(TypeError, match=r"a/1/b: got object; a file holds numbers"):
        Packing().pack({"a": [1, {"b": object()}]})
    with pytest.raises(TypeError, match=r"a: got the key 3; expected str"):
        Packing().pack({"a": {3: 1}})
    with pytest.raises(TypeError, match="got ndarray"):
        Packing().pack(np.array([object()]))


@pytest.mark.parametrize("name", ["os", "StateSpaceModel2", "combine", "__doc__", "errors"])
def test_text_names_no_code_but_public_records(name):
    with pytest.raises(ValueError, match=f"it names '{name}', which is no record"):
        Unpacking([]).unpack({"$": name, "of": {}})


def test_records_of_other_versions_are_refused():
    for of, why in (({"code": "a"}, "text"), ({"code": "a", "text": "b", "more": 1}, "more")):
        with pytest.raises(ValueError, match=f"holds another Caution than this version.*{why}"):
            Unpacking([]).unpack({"$": "Caution", "of": of})
