"""Numbers of features: the same in every process, and bins by quantiles."""

import numpy as np

from smcweights.importance.ngrams import binned, hashed, words


def test_runs_of_words_up_to_three():
    found = words("Ab, c!", 3)
    assert found == ["ab", ",", "c", "!", "ab ,", ", c", "c !", "ab , c", ", c !"]
    assert words("", 2) == []


def test_a_hash_is_the_same_everywhere():
    """CRC-32 of "a" is 0xE8B7BE43."""
    ids, sizes = hashed(str.split, 1_000)(["a a", "", "b"])
    assert ids[0] == ids[1] == 0xE8B7BE43 % 1_000
    assert sizes.tolist() == [2, 0, 1]
    # halves of characters, as broken texts have them
    assert hashed(str.split, 1_000)(["\ud800 b"])[1].tolist() == [2]


def test_bins_hold_as_many_rows_each():
    raw = np.stack([np.arange(3_200.0) ** 3, np.zeros(3_200)], axis=1)
    numbering, size = binned(raw)
    ids, sizes = numbering(raw)
    assert size == 64 and (sizes == 2).all()
    counts = np.bincount(ids[::2], minlength=64)
    assert counts[:32].min() >= 99 and counts[:32].max() <= 101
    assert len(np.unique(ids[1::2])) == 1
