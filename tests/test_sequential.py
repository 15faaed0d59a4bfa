"""Sequential tests are as sharp as they say, and need fewer runs."""

from types import SimpleNamespace

import numpy as np
import pytest
from sequential import repeated


def ended(share, shift, rng, most=1_000):
    """The number of runs after which a method is settled that covers a share, -1 if it fails."""
    errors = rng.standard_normal(most) + shift
    # the interval of a value of variance 1 has a half-width of 1.96
    missed = (rng.random(most) > share) * 2.0 * np.sign(rng.standard_normal(most))

    def run(seed):
        value = errors[seed] if shift else missed[seed]
        return SimpleNamespace(
            value=value, standard_error=1.0, interval=lambda: (value - 1.96, value + 1.96)
        )

    try:
        return len(repeated(run, 0.0, most, unbiased=bool(shift)))
    except AssertionError:
        return -1


def test_honest_intervals_are_settled_after_less_than_half_of_the_runs():
    rng = np.random.default_rng(1)
    found = np.array([ended(0.95, 0.0, rng) for _ in range(10)])
    assert (found > 0).all() and found.mean() < 500


@pytest.mark.parametrize(("share", "shift"), [(0.885, 0.0), (0.99, 0.0), (0.95, 0.235)])
def test_wrong_ones_are_seen(share, shift):
    # each passes with probability 0.01 or less: two of five with 0.001
    rng = np.random.default_rng(1)
    signs = [1, -1, 1, -1, 1]
    assert sum(ended(share, sign * shift, rng) == -1 for sign in signs) >= 4
