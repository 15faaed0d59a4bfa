"""Checks of arguments return them clean, or say which, what and what was expected."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import smcweights as smw
from smcweights import arguments as check


@pytest.mark.parametrize("given", [3, 3.0, np.int8(3), np.float32(3), np.array(3)])
def test_whole_numbers(given):
    number = check.count("n", given, 3)
    assert number == 3 and type(number) is int


@pytest.mark.parametrize(
    ("given", "error"),
    [(2, ValueError), (3.5, ValueError), (np.inf, ValueError), (np.nan, ValueError),
     (True, TypeError), ("3", TypeError), (None, TypeError), ([3], TypeError)],
)  # fmt: skip
def test_what_is_no_whole_number(given, error):
    with pytest.raises(error, match=r"n: got .*; expected a whole number from 3"):
        check.count("n", given, 3)


def test_numbers_between_ends():
    assert check.number("x", np.float32(0.5), 0, 1) == 0.5
    assert check.number("x", 1, 0, 1, ends=True) == 1.0
    for given, error in ((1, ValueError), (np.nan, ValueError), ("a", TypeError), (True, TypeError),
                         ([0.5], TypeError), (0.5j, TypeError), (None, TypeError)):  # fmt: skip
        with pytest.raises(error, match=r"x: got .*; expected a number between 0 and 1"):
            check.number("x", given, 0, 1)
    with pytest.raises(ValueError, match="x: got inf; expected a finite number"):
        check.number("x", np.inf)
    with pytest.raises(ValueError, match="x: got 2; expected a number from 0 to 1"):
        check.number("x", 2, 0, 1, ends=True)
    with pytest.raises(ValueError, match="level: got 95; expected a number between 0 and 1"):
        check.level(95)


def test_choices_do_not_take_a_flag_for_a_number():
    assert check.one_of("backward", None, ("sampling", None)) is None
    for given in (1, "Sampling", np.ones(2)):
        with pytest.raises(ValueError, match=r"backward: got .*; expected one of 'sampling', True"):
            check.one_of("backward", given, ("sampling", True))


def test_names():
    assert check.names(None) is None
    assert check.names(name for name in "ab") == ("a", "b")
    assert check.names_of("mean", 1) == ("mean",)
    assert check.names_of(None, 2, "Y") == ("Y1", "Y2")
    for given, error, message in (
        (7, TypeError, "names: got 7; expected strings"),
        (["a", 7], TypeError, "names: got 7 among"),
        (["a", "a"], ValueError, "'a' occurs twice"),
        (["a"], ValueError, "names: got 1; expected 2, one per component"),
    ):
        with pytest.raises(error, match=message):
            check.names_of(given, 2)


def test_arrays_lose_nothing_in_silence():
    given = np.arange(3.0)
    assert check.real("x", given) is not given
    unmasked = check.finite("x", np.ma.array([1, 2], mask=[False, False]))
    assert type(unmasked) is np.ndarray and unmasked.tolist() == [1.0, 2.0]
    for wrong in (["a"], [True], [1j], [None], np.ma.array([1.0, 2.0], mask=[True, False])):
        with pytest.raises(TypeError, match="x: "):
            check.real("x", wrong)
    with pytest.raises(ValueError, match=r"x: inf at index \[1, 0\]"):
        check.finite("x", [[1.0], [np.inf]])
    with pytest.raises(ValueError, match="x: nan; expected finite"):
        check.finite("x", np.nan)


def test_what_hides_something_is_no_array_of_numbers():
    assert check.numbers("x", given := np.arange(3)) is given
    assert check.unmasked("x", np.ma.masked_array([True, False])).tolist() == [True, False]
    for bad in (np.ma.masked_array([1.0, 2.0], mask=[True, False]), ["1"], [1j], [True], [None]):
        with pytest.raises(TypeError, match=r"x: .*; expected"):
            check.numbers("x", bad)


def test_a_table_of_numbers_and_bools_is_one_of_floats():
    table = pd.DataFrame({"rate": [1.5, 2.0], "broke": [True, False]})
    gaps = pd.DataFrame({"rate": [1.5, None], "runs": [1, 2]}).convert_dtypes()
    assert check.real("x", table).tolist() == [[1.5, 1.0], [2.0, 0.0]]
    np.testing.assert_array_equal(check.real("x", gaps), [[1.5, 1.0], [np.nan, 2.0]])
    np.testing.assert_array_equal(check.real("x", gaps["rate"]), [1.5, np.nan])
    assert check.values("x", table["broke"]).tolist() == [1.0, 0.0]
    with pytest.raises(TypeError, match="x: got "):
        check.values("x", table.assign(site="north"))


@pytest.mark.parametrize(
    "call",
    [
        lambda table: check.numbers("x", table),
        lambda table: smw.particle_filter(smw.models.linear_gaussian(0.9, 1, 1, 1), table, 10),
        lambda table: smw.sliced_wasserstein(table, table, 10),
    ],
)
def test_of_a_table_the_column_is_named_that_holds_texts(call):
    table = pd.DataFrame({"rate": [1.0, 2.0], "site": ["north", "south"]})
    with pytest.raises(TypeError, match="got 'north' in column 'site'; expected"):
        call(table)


def test_more_than_can_be_kept_is_refused():
    with pytest.raises(ValueError, match=r"n: got 10+; expected .* from 1 to 10,000,000,000"):
        check.count("n", 10**12)
    assert check.count("n", 10**12, most=np.inf) == 10**12


def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    assert check._memory() > 2**28
    monkeypatch.setattr(check, "_memory", lambda: 80e9 - 8)
    words = "n: got 10+, 80 GB at 8 bytes for each; expected .* from 1 to 9,999,999,999, which fill"
    with pytest.raises(ValueError, match=words):
        check.count("n", 10**10)
    assert check.count("n", 10**10 - 1) == 10**10 - 1
    assert check.count("n", 10**10, most=10**10) == 10**10


STRANGE = [("a\0b", "which no file can hold"), ("a\ud800", "which no file can hold")]
STRANGE += [("a" * 1_001, r"has (1,001|10,010) characters; expected at most 10?,000")]


def never(*_):
    raise AssertionError("a call was spent")


@pytest.mark.parametrize(("name", "why"), STRANGE, ids=["NUL", "surrogate", "long"])
def test_names_that_no_file_can_hold_are_refused_before_any_call(name, why):
    law, model = {"x": stats.norm(), "y": stats.norm()}, smw.models.stochastic_volatility(0.9, 1)
    sample = np.random.default_rng(1).random((100, 2))
    calls = [
        lambda: smw.Estimate([1.0, 2.0], np.eye(2), names=["b", name * 10]),
        lambda: smw.Estimate(1.0, 1.0).apply(never, names=name),
        lambda: smw.adaptive_importance_sampling(never, law, 100, names=[name]),
        lambda: smw.importance_sampling(never, law, law, 100, names=[name]),
        lambda: smw.failure_probability(never, law, 100, names=[name]),
        lambda: smw.sobol_indices(never, law, 1_000, names=[name]),
        lambda: smw.sobol_indices(never, law, 1_000, groups={name: "x", "b": "y"}),
        lambda: smw.sobol_from_sample(sample, sample, names=["b", name]),
        lambda: smw.sobol_from_sample(sample, sample, inputs=["b", name]),
        lambda: smw.adaptive_importance_sampling(never, {name: stats.norm()}, 100),
        lambda: smw.under_laws(never, law, {name: law}),
        lambda: smw.markov_score_climbing(never, [0.0, 0.0], 10, 40, names=["b", name]),
        lambda: dataclasses.replace(model, theta_names=[name, *model.theta_names[1:]]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=why):
            call()


def test_names_of_pairs_that_would_be_the_same_are_refused():
    law = {"a b": stats.norm(), "c": stats.norm(), "a": stats.norm(), "b c": stats.norm()}
    with pytest.raises(ValueError, match="names of indices: 'second a b c' occurs twice"):
        smw.sobol_indices(never, law, 1_000, order=("first", "second"))


@pytest.mark.slow
def test_names_as_long_as_may_be_are_kept_in_files(tmp_path):
    long = "ü" * 999
    law = {f"{long}{i}": stats.norm() for i in "ab"}
    est = smw.importance_sampling(lambda x: x[:, :1] + 2, law, law, 200, names=[long], seed=1)
    both = smw.reweight(est, {long: {f"{long}{i}": stats.norm(0.1) for i in "ab"}})
    for one in (est, both):
        one.save(tmp_path / "a.nc")
        assert smw.Estimate.load(tmp_path / "a.nc").names == one.names


MIXED = np.r_[1:120, 0]  # another order of 120 rows
ROWS = {"columns": ["a", "b"], "index": pd.Index(range(120)).astype(str)}
CLOUD = pd.DataFrame(np.random.default_rng(1).normal(size=(120, 2)), **ROWS)
COLUMN = (CLOUD["a"] > 0).astype(int) + 1
PAIRED = {
    "y": lambda y: smw.sobol_from_sample(CLOUD, y, order="first", seed=1),
    "log_weights": lambda w: smw.from_weights(CLOUD, w),
    "chain": lambda c: smw.from_weights(CLOUD.to_numpy(), COLUMN / 9, chain=c),
    "weights_x": lambda w: smw.sliced_wasserstein(CLOUD, CLOUD + 1, 20, weights_x=w, seed=1),
    "groups_x": lambda g: smw.sliced_test(CLOUD, CLOUD, 9, groups_x=g, groups_y=COLUMN, seed=1),
    "groups_y": lambda g: smw.sliced_two_sample(
        CLOUD, CLOUD, 9, groups_x=COLUMN, groups_y=g, seed=1
    ),
}


@pytest.mark.parametrize("name", PAIRED)
def test_rows_in_another_order_are_refused(name):
    with pytest.raises(ValueError, match=f"^{name}: its rows are labelled in another order than "):
        PAIRED[name](COLUMN.iloc[MIXED])


def test_labels_of_rows_that_agree_or_say_nothing_pass():
    for own in (COLUMN, COLUMN.to_numpy(), list(COLUMN), COLUMN.reset_index(drop=True), COLUMN[:3]):
        check.same_rows("y", own, "x", CLOUD)
        check.same_rows("x", CLOUD, "y", own)
    dates = COLUMN.set_axis(pd.date_range("2020", periods=120))
    with pytest.raises(ValueError, match=r"labelled otherwise than x's \(row 0 is Timestamp.*'0'"):
        check.same_rows("y", dates, "x", CLOUD)
    cube = CLOUD.set_axis(range(120)).to_xarray().to_array().T
    with pytest.raises(ValueError, match=r"in another order than x's \(row 0 is 1, there 0"):
        check.same_rows("y", cube[MIXED], "x", cube)
    check.same_rows("y", cube, "x", cube.to_dataset("variable"))
    check.same_rows("y", COLUMN.set_axis(pd.CategoricalIndex(COLUMN.index)), "x", CLOUD)
