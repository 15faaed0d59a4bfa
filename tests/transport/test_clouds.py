"""Clouds in any units, with any weights."""

import numpy as np
import pytest

import smcweights as smw
from smcweights.transport.clouds import pair_of

from .truths import SPACE, mixture


@pytest.mark.parametrize("size", [1e308, 5e-324])
def test_weights_of_any_size(size):
    x, y = SPACE
    same = smw.sliced_wasserstein(x, y, 100, weights_x=np.full(60, size), seed=1)
    assert same.value == smw.sliced_wasserstein(x, y, 100, seed=1).value
    a = np.r_[np.full(30, size), np.zeros(30)]
    half = smw.sliced_wasserstein(x, y, 100, weights_x=a, seed=1)
    assert half.value == smw.sliced_wasserstein(x[:30], y, 100, seed=1).value


def test_clouds_of_one_point_and_of_extreme_sizes():
    one = np.ones((5, 3))
    with pytest.warns(smw.PrecisionWarning, match="can't be told from equal ones"):
        same = smw.sliced_wasserstein(one, np.ones((7, 3)), 50, seed=1)
    assert same.value == 0 and same.standard_error == 0
    x = np.random.default_rng(1).normal(size=(30, 3))
    small = smw.sliced_wasserstein(x * 1e-60, (x + 1) * 1e-60, 50, seed=1)
    assert small.value == pytest.approx(
        1e-60 * smw.sliced_wasserstein(x, x + 1, 50, seed=1).value, rel=1e-9
    )
    for factor in (1e-200, 1e200):
        with pytest.raises(ValueError, match=r"x: got coordinates of size .* use other units"):
            smw.sliced_wasserstein(x * factor, x, 50, seed=1)


@pytest.mark.parametrize(("p", "unit"), [(2, 1e19), (2, 1e25), (2, 1e-25), (4, 1e12), (1, 1e30)])
def test_float32_of_any_size(p, unit):
    x, y = mixture(60, 3, 1), mixture(45, 3, 2)
    base = smw.sliced_wasserstein(x, y, 100, p=p, seed=1)
    narrow = smw.sliced_wasserstein(
        (unit * x).astype(np.float32), (unit * y).astype(np.float32), 100, p=p, seed=1
    )
    assert narrow.value == pytest.approx(unit * base.value, rel=1e-5)
    assert narrow.standard_error == pytest.approx(unit * base.standard_error, rel=1e-2)


def test_invariances():
    x, y, rng = mixture(60, 3, 1), mixture(45, 3, 2), np.random.default_rng(1)

    def distance(x, y, **keywords):
        return smw.sliced_wasserstein(x, y, 100, seed=3, **keywords).value

    base = distance(x, y)
    assert distance(x + 1e6, y + 1e6) == pytest.approx(base, rel=1e-9)
    assert distance(rng.permutation(x), y) == pytest.approx(base, rel=1e-12)
    assert distance(y, x) == pytest.approx(base, rel=1e-12)
    assert distance(-3 * x, -3 * y) == pytest.approx(3 * base, rel=1e-12)
    assert distance(np.repeat(x, 2, axis=0), y) == pytest.approx(base, rel=1e-12)
    zero = np.concatenate([x, x + 100])
    a = np.r_[np.ones(60), np.zeros(60)]
    assert distance(zero, y, weights_x=a) == pytest.approx(base, rel=1e-12)
    assert distance(x, y, weights_x=np.full(60, 7.0)) == pytest.approx(base, rel=1e-12)
    integers = rng.integers(-5, 5, (30, 3))
    assert distance(integers, integers + 2) == pytest.approx(2.0, rel=1e-9)
    narrow = distance(x.astype(np.float32), y.astype(np.float32))
    assert narrow == pytest.approx(base, rel=1e-5) and narrow != base


@pytest.mark.parametrize("n", [40, 2])
def test_moments_of_clouds_along_directions(n):
    """Few points of many dimensions take another path."""
    rng = np.random.default_rng(n)
    x, a = rng.normal(size=(n, 9)), rng.random(n)
    pair, theta = pair_of(x, 3 * x[:, ::-1] + 1, a), rng.normal(size=(4, 9))
    for cloud, w in ((pair.x, a / a.sum()), (pair.y, np.full(n, 1 / n))):
        rows = theta @ cloud.points.T
        seen = cloud.projected_variance(theta, rows)
        truth = (rows - (rows @ w)[:, None]) ** 2 @ w
        np.testing.assert_allclose(seen, truth, rtol=1e-10)
        assert cloud.spread == pytest.approx(np.trace(cloud.covariance), rel=1e-10)
    # in the basis of all directions that the clouds have, eigenvalues stay
    for small, cloud in zip(pair.spectra(), (pair.x, pair.y), strict=True):
        kept = np.linalg.eigvalsh(small)[-1]
        assert kept == pytest.approx(np.linalg.eigvalsh(cloud.covariance)[-1], rel=1e-10)


def tables(points, names):
    """A table in each library, with columns of these names."""
    import pandas as pd
    import xarray as xr

    yield pd.DataFrame(points, columns=names)
    yield xr.DataArray(points, dims=("row", "column"), coords={"column": list(names)})


@pytest.mark.slow
def test_columns_of_tables_meet_by_name():
    x, other, rng = mixture(40, 4, 1), mixture(30, 4, 2), np.random.default_rng(1)
    names, order = np.array(["age", "income", "score", "height"]), rng.permutation(4)
    units = np.array([1.0, 100.0, 0.1, 3.0])
    for here, there in zip(
        tables(x * units, names), tables((other * units)[:, order], names[order]), strict=True
    ):
        plain = np.asarray(here), other * units
        calls = [
            lambda a, b: smw.sliced_wasserstein(a, b, 60, seed=1).value,
            lambda a, b: smw.sliced_wasserstein_matrix({"a": a, "b": b}, 60, seed=1).value[0],
            lambda a, b: smw.SlicedReference(a, 60, seed=1).distance(b).value,
            lambda a, b: smw.sliced_gradient(a, b, 60, seed=1).value,
            lambda a, b: smw.sliced_gradient_flow(a, b, 3, budget=60, seed=1).points,
            lambda a, b: (
                smw.sliced_test(a, b, 60, permutations=20, scale=np.ones(4), seed=1).statistic
            ),
            lambda a, b: smw.jax.sliced_wasserstein(a, b, directions=np.eye(4)),
        ]
        for call in calls:
            np.testing.assert_array_equal(call(here, there), call(*plain))


def test_tables_with_other_columns_are_refused():
    x = mixture(10, 3, 1)
    for here, there in zip(tables(x, ["a", "b", "c"]), tables(x, ["c", "b", "d"]), strict=True):
        said = r"y: has other columns than x; missing \['a'\], unknown \['d'\]"
        with pytest.raises(ValueError, match=said):
            smw.sliced_wasserstein(here, there, 50, seed=1)
        with pytest.raises(ValueError, match=r"x: has other columns than the reference"):
            smw.SlicedReference(here, 50).distance(there)
        # arrays have no names, and pandas gives numbers to those of an array
        for plain in (x + 1, next(tables(x + 1, range(3)))):
            found = smw.sliced_wasserstein(here, plain, 50, seed=1)
            assert found.value == smw.sliced_wasserstein(x, x + 1, 50, seed=1).value
    twice = next(tables(x, ["a", "b", "b"])), next(tables(x, ["b", "a", "b"]))
    with pytest.raises(ValueError, match="expected the same order where names occur twice"):
        smw.sliced_wasserstein(*twice, 50)
    more = next(tables(mixture(10, 4, 1), ["a", "b", "c", "d"]))
    with pytest.raises(ValueError, match=r"y: has other columns than x; unknown \['d'\]$"):
        smw.sliced_wasserstein(more[["a", "b", "c"]], more, 50)
    with pytest.raises(TypeError, match="y: got 'x' in column 'b'; expected an array of num"):
        smw.sliced_wasserstein(more, more.assign(b="x"), 50)
    broken = x.copy()
    broken[2, 1] = np.nan
    with pytest.raises(ValueError, match="y: point 2 has nan as column 'b'; expected finite"):
        smw.sliced_wasserstein(x, next(tables(broken, ["a", "b", "c"])), 50)
    broken[4, 0] = np.inf
    with pytest.raises(ValueError, match="expected finite numbers, which 2 of 10 points don't"):
        smw.sliced_wasserstein(x, broken, 50)
    swapped = next(tables(broken, ["a", "b", "c"]))[["b", "c", "a"]]
    with pytest.raises(ValueError, match="y: point 2 has nan as column 'b'; expected finite"):
        smw.sliced_wasserstein(next(tables(x, ["a", "b", "c"])), swapped, 50)


def test_what_is_no_number_beside_truth_values_is_told():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"urban": [True, False], "when": pandas.Timestamp("2020-01-01")})
    with pytest.raises(TypeError, match="in column 'when'"):
        smw.sliced_wasserstein(table, table)
