"""The largest distance along a direction, where it is known and where brute force finds it."""

import numpy as np
import pandas
import pytest

import smcweights as smw

from .truths import line_cost, mixture


@pytest.mark.parametrize("d", [1, 2, 10, 50])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_shifted_cloud_differs_most_along_the_shift(d, p):
    """y = x + v: |v|^p, along v."""
    x, v = mixture(40, d, 1), np.arange(1.0, d + 1) - d / 3
    found = smw.max_sliced_wasserstein(x, x + v, p=p, root=False, seed=1)
    length = np.linalg.norm(v)
    assert found.value == pytest.approx(length**p, rel=1e-12)
    sign = np.sign(v[0]) if v[0] else 1
    np.testing.assert_allclose(found.direction, sign * v / length, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "m", "weighted"), [(50, 50, False), (50, 30, False), (40, 30, True)])
def test_it_is_as_large_as_brute_force_finds_in_the_plane(n, m, weighted):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(n, 2)) * [3, 1], rng.normal(size=(m, 2)) * [1, 2]
    a = rng.random(n) if weighted else None
    angle = np.arange(2_000) * np.pi / 2_000
    theta = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    most = max(line_cost(x @ t, y @ t, 2, a) for t in theta) ** 0.5
    found = smw.max_sliced_wasserstein(x, y, weights_x=a, seed=1)
    assert most * (1 - 1e-12) <= found.value < most * (1 + 1e-4)
    assert line_cost(x @ found.direction, y @ found.direction, 2, a) ** 0.5 == pytest.approx(
        found.value, rel=1e-12
    )


def test_starts_agree_and_seeds_too():
    """One coordinate tripled: the same maximum from other directions."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(200, 10)), rng.normal(size=(200, 10))
    y[:, 3] *= 3
    found = [smw.max_sliced_wasserstein(x, y, seed=s) for s in range(3)]
    np.testing.assert_allclose([f.value for f in found], found[0].value, rtol=1e-6)
    assert np.abs(found[0].direction).argmax() == 3
    assert (np.diff(found[0].starts) <= 0).all() and found[0].starts[0] == found[0].value
    assert repr(found[0]).startswith("MaxSliced(") and len(repr(found[0])) < 100


def test_equal_clouds_and_units():
    x = mixture(30, 4, 1)
    assert smw.max_sliced_wasserstein(x, x[::-1], seed=1).value == 0
    y = mixture(30, 4, 2)
    units = np.array([1, 1e3, 1e-3, 5.0])
    sd = np.concatenate([x, y]).std(axis=0)
    found = smw.max_sliced_wasserstein(x * units, y * units, scale="sd", seed=1)
    truth = smw.max_sliced_wasserstein(x / sd, y / sd, seed=1)
    assert found.value == pytest.approx(truth.value, rel=1e-9)
    assert found.names == tuple(f"coordinate {k}" for k in range(4)) == truth.names
    table = pandas.DataFrame(x, columns=list("abcd")).assign(b=2.0)
    named = smw.max_sliced_wasserstein(table, table.add([1, 0, 0, 0]), scale="sd", seed=1)
    assert named.names == ("a", "c", "d") and len(named.direction) == 3
    with pytest.raises(ValueError, match="budget: got 0"):
        smw.max_sliced_wasserstein(x, y, 0)
