"""Selections of made-up texts and tables whose laws are known, and what is refused."""

import numpy as np
import pandas as pd
import pytest

import smcweights as smw

WORDS = np.array([f"w{i}" for i in range(40)])
FIRST = np.linspace(1, 9, 40) / np.linspace(1, 9, 40).sum()
SECOND = FIRST[::-1]


def texts(rng, n, shares, length=30):
    return [" ".join(rng.choice(WORDS, length, p=shares)) for _ in range(n)]


def shares_of(items):
    words = " ".join(items).split()
    return np.array([words.count(word) for word in WORDS]) / len(words)


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(1)
    raw = texts(rng, 1_800, SECOND) + texts(rng, 200, FIRST)
    target = texts(rng, 200, FIRST)
    return raw, target, smw.importance_resampling(raw, target, 100, order=1, seed=2)


@pytest.mark.slow
def test_the_selected_are_of_the_target_law(found):
    """Of words whose shares differ ninefold 30 tell the laws apart nearly always."""
    _, _, selection = found
    assert len(np.unique(selection.indices)) == 100
    assert (selection.indices >= 1_800).mean() > 0.95
    assert selection.log_weights[1_800:].min() > np.median(selection.log_weights[:1_800])


def test_the_gain_is_the_reduction_of_the_divergence(found):
    """Of the raw mixture by a tenth of the target law; .02 for the shares of 100 texts."""
    selection = found[2]
    mixed = 0.9 * SECOND + 0.1 * FIRST
    truth = (FIRST * np.log(FIRST / mixed)).sum()
    assert abs(float(selection.gain) - truth) < 5 * selection.gain.standard_error + 0.02
    assert 0 < selection.gain.standard_error < 0.05 * truth
    entropy = -(FIRST * np.log(mixed)).sum()
    one = selection.cross_entropy["raw"]
    assert abs(float(one) - entropy) < 5 * one.standard_error + 0.01


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_the_interval_of_the_gain_holds():
    """Of 200 at least 181 where 95 % do, with probability .996; by targets alone 87 % did."""
    steep = np.exp(-3 * np.arange(40) / 40)
    steep /= steep.sum()
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        raw = texts(rng, 1_200, steep[::-1], 8) + texts(rng, 300, steep, 8)
        found = smw.importance_resampling(raw, texts(rng, 60, steep, 8), 100, order=1, seed=seed)
        lower, upper = found.gain.interval()
        of_raw, selected = (shares_of(part) for part in (raw, [raw[i] for i in found.indices]))
        # the selected have 800 words; the raw ones' shares are worth 4 more
        kept = (800 * selected + 4 * of_raw) / 804
        held += lower <= (steep * np.log(kept / of_raw)).sum() <= upper
    assert held >= 181


def test_what_is_alike_gains_nothing():
    rng = np.random.default_rng(3)
    raw, target = texts(rng, 600, FIRST), texts(rng, 100, FIRST)
    with pytest.warns(smw.PrecisionWarning, match="no-gain"):
        selection = smw.importance_resampling(raw, target, 50, order=1, seed=4)
    assert -0.1 < float(selection.gain) < 0.02


def test_rows_of_a_table_by_their_columns():
    """Bins lose some of the divergence of a column, log 4 + 1.25 / 8 - 1 / 2, and the shares of a
    hundred rows some more.
    """
    rng = np.random.default_rng(5)
    raw, target = rng.normal(0, 2, (3_000, 2)), rng.normal([1, -1], 0.5, (300, 2))
    selection = smw.importance_resampling(raw, target, 100, seed=6)
    kept = raw[selection.indices]
    assert (abs(kept.mean(0) - [1, -1]) < 0.25).all()
    whole = np.log(4) + 1.25 / 8 - 0.5
    assert 0.8 * whole < float(selection.gain) < whole


def test_columns_of_tables_are_matched_by_name():
    rng = np.random.default_rng(9)
    raw = pd.DataFrame({"x": rng.normal(size=400), "y": rng.random(400) < 0.5})
    target = pd.DataFrame({"x": rng.normal(1, 0.5, 60), "y": rng.random(60) < 0.1})
    one, other = (
        smw.importance_resampling(raw, table, 40, seed=1) for table in (target, target[["y", "x"]])
    )
    np.testing.assert_array_equal(one.indices, other.indices)
    with pytest.raises(ValueError, match=r"target: has other columns than raw; missing \['y'\]"):
        smw.importance_resampling(raw, target.rename(columns={"y": "z"}), 40, seed=1)


def test_features_of_the_users_own_and_the_same_bits_again(found):
    raw, target, selection = found
    again = smw.importance_resampling(raw, target, 100, features=str.split, seed=2)
    np.testing.assert_array_equal(again.indices, selection.indices)


def test_all_items_can_be_selected_and_empty_ones_have_no_weight():
    raw = ["a", "", "b"] * 4
    with pytest.warns(smw.PrecisionWarning, match="no-gain"):
        selection = smw.importance_resampling(raw, ["a"] * 10, 12, seed=7)
    assert selection.indices.tolist() == list(range(12))
    assert selection.log_weights[1] == 0 < selection.log_weights[0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": 11}, ValueError, "k: got 11; expected a whole number from 1 to 10"),
        ({"target": ["a"] * 9}, ValueError, "target: got 9 items; expected at least 10"),
        ({"raw": ["a", 3]}, TypeError, "raw: got texts and other items"),
        ({"raw": np.ones(10), "target": np.ones(10)}, ValueError, r"raw: got shape \(10,\)"),
        ({"target": [""] * 10}, smw.ModelError, "target: no item has a feature"),
        ({"order": 0}, ValueError, "order: got 0"),
        ({"features": 3}, TypeError, "features: got int; expected a function"),
        ({"features": lambda item: None}, smw.ModelError, "features: returned None for 'a'; exp"),
    ],
)
def test_what_is_wrong_is_refused(change, error, message):
    right = {"raw": ["a", "b"] * 5, "target": ["a"] * 10, "k": 2, "seed": 8}
    with pytest.raises(error, match=message):
        smw.importance_resampling(**right | change)
