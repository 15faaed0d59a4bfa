import json

import numpy as np
import pytest
from scipy import stats

from smcweights.randomness import describe, generator, jax_key, seed_sequence

ADDRESSES = [
    ("a",),
    ("a", 0),
    ("a", 0, 0),
    ("a", 1),
    ("a", 2**32 - 1),
    ("a", 0, 1),
    ("a", 1, 0),
    ("b",),
    ("b", 0),
    ("",),
    ("stage 1",),
    ("stage 11",),
    ("stage 1", 1),
]


def first(root, *address):
    return generator(root, *address).integers(0, 2**63, 4).tolist()


def test_streams_are_those_of_every_other_day():
    # pinned: a change of the address scheme would silently change all results of all users
    words = generator(seed_sequence(0), "stage 1").integers(0, 2**32, 3).tolist()
    assert words == [1598684781, 3416135562, 3252252475]
    words = generator(seed_sequence(2**100 + 1), "chain", 7).integers(0, 2**32, 3).tolist()
    assert words == [1807478537, 3298072968, 3635191394]


def test_a_stream_depends_on_root_and_address_only():
    root = seed_sequence(5)
    alone = {address: first(root, *address) for address in ADDRESSES}
    root.spawn(3)
    generator(root, "other").random(100)
    assert {address: first(root, *address) for address in reversed(ADDRESSES)} == alone
    assert {address: first(seed_sequence(5), *address) for address in ADDRESSES} == alone


@pytest.mark.slow
def test_no_two_addresses_share_a_stream():
    roots = [seed_sequence(s) for s in (0, 1, 2**32, 2**64, 2**128 - 1)]
    roots += [np.random.SeedSequence(0, spawn_key=(k,)) for k in (0, 1)]
    roots += [np.random.SeedSequence(0, pool_size=8), np.random.SeedSequence([3, 1])]
    streams = {tuple(first(root, *address)) for root in roots for address in ADDRESSES}
    assert len(streams) == len(roots) * len(ADDRESSES)
    many = {tuple(first(roots[0], "chain", i)) for i in range(3_000)}
    assert len(many) == 3_000


def test_streams_are_uncorrelated_sees_correlation_of_one_percent():
    # 400 streams of 10,000 normals: the products of neighbours sum to a normal with standard
    # deviation 0.0005; false alarm 1e-7, sees an average correlation of 0.005
    draws = np.stack(
        [generator(seed_sequence(0), "x", i).standard_normal(10_000) for i in range(400)]
    )
    z = (draws[:-1] * draws[1:]).mean() / (1 / np.sqrt(399 * 10_000))
    assert abs(z) < stats.norm.isf(0.5e-7)
    # and each is standard normal: sum of squares of all of them
    assert abs((draws**2).sum() - draws.size) < stats.norm.isf(0.5e-7) * np.sqrt(2 * draws.size)


@pytest.mark.parametrize(
    "seed",
    [
        None,
        0,
        np.int64(3),
        np.uint8(200),
        2**127 + 5,
        np.random.SeedSequence([1, 2**40, 3]),
        np.random.SeedSequence(np.arange(3)),
        np.random.SeedSequence(4, spawn_key=(7, 8), pool_size=6),
        np.random.SeedSequence(4).spawn(2)[1],
        np.random.default_rng(8),
    ],
    ids=lambda value: f"{type(value).__name__} {value!r}".split(" at 0x")[0],
)
def test_description_survives_json_and_gives_the_same_streams(seed):
    root = seed_sequence(seed)
    text = json.dumps(describe(root), allow_nan=False)
    again = seed_sequence(json.loads(text))
    assert describe(again) == describe(root)
    assert first(again, "a", 1) == first(root, "a", 1)


def test_no_seed_is_fresh_and_zero_is_a_seed():
    assert first(seed_sequence(), "a") != first(seed_sequence(), "a")
    assert describe(seed_sequence(0)) == {"entropy": 0, "spawn_key": []}
    assert first(seed_sequence(0), "a") == first(seed_sequence(0), "a")


def test_a_sequence_is_itself_and_a_generator_moves_on():
    root = np.random.SeedSequence(3)
    assert seed_sequence(root) is root
    rng = np.random.default_rng(3)
    one, two = seed_sequence(rng), seed_sequence(rng)
    assert one.entropy != two.entropy
    assert one.entropy == seed_sequence(np.random.default_rng(3)).entropy
    assert len(one.entropy) == 4


@pytest.mark.parametrize(
    ("seed", "error", "words"),
    [
        (True, TypeError, "not a bool"),
        (np.bool_(False), TypeError, "not a bool"),
        (1.0, TypeError, "float"),
        ("1", TypeError, "SeedSequence"),
        ([1, 2], TypeError, "list"),
        (np.random.RandomState(1), TypeError, "Generator"),
        (-1, ValueError, "-1"),
        ({"entropy": 1}, ValueError, "spawn_key"),
        ({"entropy": 1, "spawn_key": [], "x": 1}, ValueError, "provenance"),
        ({"entropy": 1.5, "spawn_key": []}, TypeError, "entropy"),
        ({"entropy": 1, "spawn_key": [-1]}, ValueError, "spawn_key"),
    ],
    ids=lambda value: f"{type(value).__name__} {value!r}".split(" at 0x")[0],
)
def test_other_seeds_are_refused(seed, error, words):
    with pytest.raises(error, match=words):
        seed_sequence(seed)


def test_bad_addresses_are_refused():
    root = seed_sequence(1)
    with pytest.raises(TypeError, match="root: got int"):
        generator(1, "a")
    with pytest.raises(TypeError, match="name: got int"):
        generator(root, 1)
    for index, error in [
        (-1, ValueError),
        (2**32, ValueError),
        (1.0, TypeError),
        (True, TypeError),
    ]:
        with pytest.raises(error, match="index"):
            generator(root, "a", index)


def test_jax_keys_keep_all_bits_and_repeat():
    import jax

    def data(*address, seed=1):
        return tuple(jax.random.key_data(jax_key(seed_sequence(seed), *address)).tolist())

    assert data("a", 1) == data("a", 1)
    assert len({data(*address) for address in ADDRESSES}) == len(ADDRESSES)
    # jax.random.key drops the upper half of these seeds
    assert len({data("a", seed=s) for s in (0, 2**32, 2**40)}) == 3
    state = generator(seed_sequence(1), "a").bit_generator.seed_seq.generate_state(2, np.uint32)
    assert data("a") == tuple(state.tolist())
    x = jax.random.normal(jax_key(seed_sequence(1), "a"), (3,))
    assert np.isfinite(np.asarray(x)).all()
