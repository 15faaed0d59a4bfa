"""Rows in words: digits follow the error, and nothing is said that isn't known."""

import math

from smcweights import Caution, tables

NAN = math.nan


def test_the_error_shows_two_digits_and_unknown_ones_are_said():
    assert tables.in_words("a", 1234.567, 8.9, 1217.1, 1252.0)[1:] == (
        "1234.6 +- 8.9",
        "[1217.1, 1252.0]",
    )
    assert tables.in_words("a", 1e9, 3e7, 9.4e8, 1.06e9)[1] == "1.000e+09 +- 3.0e+07"
    assert tables.in_words("a", 0.5, NAN, NAN, NAN)[1:] == ("0.5", "no standard error")
    assert tables.in_words("a", 0.5, NAN, 0.4, 0.6)[1:] == ("0.5", "[0.400, 0.600]")
    assert tables.in_words("a", -0.25, 0.0, -0.25, -0.25)[1:] == ("-0.25 +- 0", "[-0.25, -0.25]")


def test_long_tables_show_their_beginning_and_end():
    assert tables.shown(12) == list(range(12))
    at = tables.shown(100)
    rows = tables.left_out([(str(i), "", "") for i in at], 100)
    assert len(rows) == 12
    assert rows[-2:] == [("...", "(89 more)", ""), ("99", "", "")]


def test_nothing_in_a_table_is_taken_for_markup():
    text = tables.as_html("<t>", [("<b>", "1 +- 2", "[0, 1]")], [Caution("a", "x < y")])
    assert "<b>" not in text and "<t>" not in text and "x &lt; y" in text
    assert "1 &plusmn; 2" in text
