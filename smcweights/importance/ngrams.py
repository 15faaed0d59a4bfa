"""Items as bags of numbered features: hashed n-grams of texts, bins of table columns."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np

from ..arguments import shown
from ..errors import ModelError

WORD = re.compile(r"\w+|[^\w\s]")
BINS = 32  # of a column of a table

Bags = tuple[np.ndarray, np.ndarray]  # ids of all features, and how many each item has
Numbering = Callable[[Any], Bags]


def words(text: str, order: int) -> list[str]:
    """Words and signs of a text in small letters, and all runs of up to ``order`` of them.

    Examples
    --------
    >>> words("It rains, it pours.", 2)[:7]
    ['it', 'rains', ',', 'it', 'pours', '.', 'it rains']
    """
    one = WORD.findall(text.lower())
    runs = (zip(*(one[i:] for i in range(n)), strict=False) for n in range(2, order + 1))
    return one + [" ".join(run) for several in runs for run in several]


def hashed(features: Callable[[Any], Iterable[Hashable]], buckets: int) -> Numbering:
    """Features of every item, numbered by a hash that is the same everywhere."""

    def checked(item: Any) -> Iterable[Hashable]:
        found = features(item)
        if not isinstance(found, Iterable):
            raise ModelError(
                f"features: returned {shown(found)} for {shown(item)}; expected a list of features"
            )
        return found

    def bags(items: Any) -> Bags:
        lists = [
            [zlib.crc32(str(f).encode("utf-8", "surrogatepass")) % buckets for f in found]
            for found in map(checked, items)
        ]
        sizes = np.array([len(one) for one in lists], dtype=np.int64)
        return np.array([f for one in lists for f in one], dtype=np.int64), sizes

    return bags


def binned(raw: np.ndarray) -> tuple[Numbering, int]:
    """Bins of the columns of a table, by quantiles of the raw rows; and how many there are."""
    cuts = [np.unique(np.quantile(column, np.arange(1, BINS) / BINS)) for column in raw.T]

    def bags(rows: Any) -> Bags:
        table = np.asarray(rows)
        at = [i * BINS + np.searchsorted(c, table[:, i]) for i, c in enumerate(cuts)]
        return np.stack(at, axis=1).ravel(), np.full(len(table), len(cuts))

    return bags, BINS * len(cuts)
