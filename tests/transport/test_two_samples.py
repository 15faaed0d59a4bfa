"""The permutation test keeps its level and has power."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from killed import killed_and_resumed
from packed import same
from scipy import signal, stats

import smcweights as smw

from .truths import line_cost


def chain(n, rho, rng, d=3):
    """An AR(1) that begins in its law, N(0, I)."""
    noise = rng.normal(size=(n, d)) * np.sqrt(1 - rho**2)
    noise[0] = rng.normal(size=d)
    return signal.lfilter([1], [1, -rho], noise, axis=0)


def test_samples_of_one_law_and_of_two():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 60, 2))
    same, other = (smw.sliced_test(x, f * y, 20, permutations=199, seed=1) for f in (1, 2))
    assert same.p_value > 0.05 and other.p_value == 1 / 200
    for found in (same, other):
        larger = (found.permuted >= found.statistic * (1 - 1e-12)).sum()
        assert found.p_value == (1 + larger) / 200
    # SW_2^2 of a cloud and its shift by v is |v|^2/d along whole rules
    assert smw.sliced_test(x, x + np.array([3, 4]), 20, seed=1).statistic == pytest.approx(25 / 2)


@pytest.mark.slow
def test_the_two_sample_test_keeps_its_level():
    """200 seeds at level 0.1: binomial bounds of 1e-6."""
    rng = np.random.default_rng(1)
    rejected = sum(
        smw.sliced_test(
            rng.normal(size=(25, 2)), rng.normal(size=(40, 2)), 20, permutations=99, seed=s
        ).p_value
        <= 0.1
        for s in range(200)
    )
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], 200, 0.1)
    assert low <= rejected <= high


@pytest.mark.parametrize("lengths", [(6, 6, 6, 6, 6, 6), (4, 7, 5, 6, 8, 3)])
def test_groups_are_permuted_as_a_whole(lengths):
    """Three against three: 20 assignments, by enumeration; 5,000 permutations, |z| < 4.5."""
    rng, theta = np.random.default_rng(4), np.array([[1.0, 0.0], [0.6, 0.8]])
    chains = [rng.normal(size=(n, 2)) + rng.normal(size=2) + (k < 3) for k, n in enumerate(lengths)]

    def cost(first):
        x = np.concatenate([chains[k] for k in first])
        y = np.concatenate([chains[k] for k in range(6) if k not in first])
        return np.mean([line_cost(x @ t, y @ t, 2) for t in theta])

    share = np.mean(
        [cost(c) >= cost((0, 1, 2)) - 1e-9 for c in itertools.combinations(range(6), 3)]
    )
    places = rng.permutation(sum(lengths[:3]))
    labels = np.repeat(["c", "a", "b"], lengths[:3])[places]
    found = smw.sliced_test(
        np.concatenate(chains[:3])[places], np.concatenate(chains[3:]), directions=theta,
        groups_x=labels, groups_y=np.repeat([7, 3, 5], lengths[3:]), permutations=5_000, seed=1,
    )  # fmt: skip
    assert found.statistic == pytest.approx(cost((0, 1, 2)), rel=1e-12)
    assert found.groups == (3, 3) and "of 3 and 3 groups" in repr(found)
    assert abs(found.p_value - share) < 4.5 * np.sqrt(share * (1 - share) / 5_000) + 1 / 5_000
    assert len(np.unique(found.permuted.round(9))) <= 20


def test_groups_of_rows_are_rows():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 2)), rng.normal(size=(20, 2))
    rows = smw.sliced_test(x, y, 20, seed=1)
    each = smw.sliced_test(x, y, 20, groups_x=np.arange(30), groups_y=np.arange(20), seed=1)
    np.testing.assert_array_equal(rows.permuted, each.permuted)
    auto = smw.sliced_test(x, y, 20, groups_x="auto", seed=1)
    assert rows.groups == each.groups == auto.groups == (30, 20)
    assert "permutations of 30 and 20 rows" in repr(rows)
    assert len(repr(rows)) < 120


def test_rows_that_depend_on_their_neighbours_are_told():
    rng = np.random.default_rng(2)
    a, b = (chain(400, 0.5, rng) for _ in range(2))
    with pytest.warns(smw.PrecisionWarning, match="rows depend on their neighbours, or are sorted"):
        found = smw.sliced_test(a, b, 20, permutations=99, seed=1)
    assert min(found.autocorrelation) > 0.3 and max(found.autocorrelation) < 0.7
    # tau = 3: blocks of some 60 rows
    blocks = smw.sliced_test(a, b, 20, permutations=99, groups_x="auto", groups_y="auto", seed=1)
    assert 6 <= blocks.groups[0] == blocks.groups[1] <= 12
    with pytest.warns(smw.PrecisionWarning, match="or are sorted"):
        smw.sliced_test(np.sort(a[:, 0]), b[:, 0], 20, permutations=9, seed=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"groups_x": [0, 1] * 15, "groups_y": [0, 1] * 10},
            "2 against 2 can give no p value below",
        ),
        ({"x": [1.0, 2], "y": [3.0, 4]}, "rows: 2 against 2 can give no p value below 0.17"),
        ({"groups_x": [0, 1] * 15}, "got those of one sample; expected both or none"),
        ({"groups_x": [0, 1]}, r"groups_x: got shape \(2,\); expected one label per row, \(30,\)"),
        ({"groups_x": np.arange(30), "groups_y": "auto"}, "got labels and 'auto'"),
        ({"x": np.cumsum(np.ones((30, 2)), axis=0), "groups_x": "auto"}, "x: 30 rows with an auto"),
    ],
)
def test_groups_that_are_too_few_are_refused(change, said):
    rng = np.random.default_rng(1)
    arguments = {"x": rng.normal(size=(30, 2)), "y": rng.normal(size=(20, 2)), **change}
    with pytest.raises(ValueError, match=said):
        smw.sliced_test(**arguments, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "n"), [(0.0, 300), (0.5, 600), (0.9, 2_500)])
def test_blocks_of_chains_keep_the_level(rho, n):
    """300 seeds at 5 %, 1e-6 above 7.5 %; single rows are rejected in 4 to 99 %."""
    rejected = 0
    for seed in range(300):
        rng = np.random.default_rng(10_000 + seed)
        found = smw.sliced_test(
            chain(n, rho, rng), chain(n, rho, rng), 20, permutations=99, groups_x="auto", seed=seed
        )
        rejected += found.p_value <= 0.05
    assert rejected <= stats.binom.ppf(1 - 1e-6, 300, 0.075)


def test_a_test_has_the_same_bits_wherever_it_is_computed(tmp_path):
    x, y = np.random.default_rng(1).normal(size=(2, 40, 3))

    def timeless(found):
        return replace(found, provenance=found.provenance | {"time": ""})

    alone = timeless(smw.sliced_test(x, y, 20, permutations=99, seed=1))
    for executor, path in [("threads:2", None), (None, tmp_path / "a"), (None, tmp_path / "a")]:
        there = smw.sliced_test(
            x, y, 20, permutations=99, seed=1, executor=executor, checkpoint=path, progress=False
        )
        assert same(timeless(there), alone)
    with pytest.raises(ValueError, match="other arguments: p was 2"):
        smw.sliced_test(x, y, 20, permutations=99, p=1, checkpoint=path)
    # without a seed, the checkpoint's
    assert same(timeless(smw.sliced_test(x, y, 20, permutations=99, checkpoint=path)), alone)


@pytest.mark.slow
def test_a_killed_test_goes_on_to_the_same_bits(tmp_path):
    def call(**others):
        x = np.random.default_rng(1).normal(size=(300, 3))
        found = smw.sliced_test(x, np.exp(x / 9), 20, permutations=199, seed=2, **others)
        return found.permuted.tobytes() + repr(found).encode()

    killed_and_resumed(call, tmp_path)


@pytest.mark.parametrize("scale", [None, "ranks"])
def test_the_column_that_moved_is_named(scale):
    """One of six moved by a deviation; another is 10,000 times as large, and none is p <= 0.05."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(60, 6)), rng.normal(size=(60, 6))
    x[:, 4], y[:, 4] = 1e4 * x[:, 4], 1e4 * y[:, 4]
    y[:, 2] += 1
    keywords = {"columns": True, "scale": scale, "permutations": 199, "seed": 1}
    if scale is None:
        with pytest.warns(smw.PrecisionWarning, match="one column varies .* times as much as an"):
            found = smw.sliced_test(x, y, **keywords)
    else:
        found = smw.sliced_test(x, y, **keywords)
    table = found.columns
    assert table["p_value"].idxmin() == "2" and table.loc["2", "p_value"] == 1 / 200
    assert (table["p_value"].drop("2") > 0.05).all()
    first, *told = repr(found).splitlines()
    assert first.endswith("; moved: 2)") and len(told) == (scale is None)
    if scale is None:
        sd = np.concatenate([x, y]).std(axis=0)
        for k, name in enumerate(table.index):
            truth = line_cost(x[:, k] / sd[k], y[:, k] / sd[k], 2) ** 0.5
            assert table.loc[name, "distance"] == pytest.approx(truth, rel=1e-9)
        laws = smw.sliced_two_sample(x[:, 2] / sd[2], y[:, 2] / sd[2], seed=1)
        assert table.loc["2", "standard_error"] == pytest.approx(laws.standard_error, rel=0.1)
        assert table.loc["2", "lower"] == pytest.approx(laws.diagnostics["lower"], rel=0.1)


def test_columns_permuted_permute_their_p_values():
    import pandas as pd

    rng, names = np.random.default_rng(6), list("abcd")
    x = pd.DataFrame(rng.normal(size=(30, 4)), columns=names)
    y = pd.DataFrame(rng.normal(size=(25, 4)) + np.array([0, 0.5, 0, 1]), columns=names)
    keywords = {"columns": True, "permutations": 99, "seed": 1, "directions": np.eye(4)}
    first, other = (
        smw.sliced_test(x, y, **keywords),
        smw.sliced_test(x[["c", "a", "d", "b"]], y, **keywords),
    )
    pd.testing.assert_frame_equal(first.columns, other.columns.loc[names], rtol=1e-9)
    assert first.p_value == other.p_value


def test_columns_of_few_groups_have_no_errors():
    rng = np.random.default_rng(7)
    labels = np.arange(30) // 6
    found = smw.sliced_test(
        rng.normal(size=(30, 2)), rng.normal(size=(30, 2)), groups_x=labels, groups_y=labels,
        columns=True, permutations=99, seed=1,
    )  # fmt: skip
    assert found.columns[["standard_error", "lower", "upper"]].isna().all(axis=None)
    assert (found.columns["p_value"] > 0).all() and found.groups == (5, 5)


def test_the_default_budget_grows_with_the_dimension():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(20, 64)), rng.normal(size=(20, 64))
    given = smw.sliced_test(x, y, 128, permutations=19, directions="orthogonal", seed=1)
    none = smw.sliced_test(x, y, permutations=19, seed=1)
    # two whole blocks, not eight of sixteen rows
    truth = [line_cost(x[:, k], y[:, k], 2) for k in range(64)]
    assert none.statistic == pytest.approx(np.mean(truth), rel=0.1)
    assert none.statistic != given.statistic


@pytest.mark.slow
@pytest.mark.parametrize("moved", [False, True])
def test_columns_that_did_not_move_are_rarely_named(moved):
    """300 seeds at 5 %, binomial bounds of 1e-6; max-T over skewed, discrete and large columns."""
    wrong = 0
    for seed in range(300):
        rng = np.random.default_rng([9, seed])
        x, y = rng.normal(size=(2, 80, 6))
        for side in (x, y):
            side[:, 0], side[:, 1] = np.exp(side[:, 0]), rng.poisson(2, 80)
            side[:, 2] *= 50
            side[:, 4] = 0.8 * side[:, 3] + 0.6 * side[:, 4]
        if moved:
            y[:, 5] += 0.7
        found = smw.sliced_test(x, y, 20, permutations=99, columns=True, scale="sd", seed=seed)
        wrong += (found.columns["p_value"][: 5 if moved else 6] <= 0.05).any()
    assert wrong <= stats.binom.ppf(1 - 1e-6, 300, 0.05)
