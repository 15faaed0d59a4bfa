"""Whether intervals cover and means are unbiased, decided as soon as the runs so far decide it.

Wald's sequential probability ratio test, as sharp as a fixed number of runs: what that number sees
with probability 0.99, this sees with 0.989. Honest intervals are settled after a third to a half of
the runs; doubtful ones use all of them, and then meet the bounds of the fixed number.
"""

import functools
import warnings

import numpy as np
from scipy import stats

import smcweights as smw

MISSED, SEEN = 0.001, 0.99


@functools.cache
def wrong_shares(most, alarm):
    """Coverages other than 0.95 that a fixed number of runs sees with probability SEEN."""
    low, high = stats.binom.ppf([alarm, 1 - alarm], most, 0.95)
    below = stats.beta.ppf(1 - SEEN, low, most - low + 1)
    return (below, stats.beta.ppf(SEEN, high + 1, most - high)) if high < most else (below,)


def settled(inside, most, errors=None, *, alarm=5e-7):
    """Whether the runs so far rule out wrong coverages, and a bias; one that is shown fails.

    A wrong one's likelihood over that of an honest one passes 1 / alarm, though all is honest, with
    no more than that probability at any time, and falls under MISSED, though it is wrong, with no
    more than this one: Ville's inequality.
    """
    n, inside = len(inside), np.sum(inside, axis=0, dtype=float)
    ratios = [
        inside * np.log(share / 0.95) + (n - inside) * np.log((1 - share) / 0.05)
        for share in wrong_shares(most, alarm)
    ]
    if errors is not None:
        if n < 50:
            return False
        # in standard deviations: what a bound of 5 standard errors sees
        bias = (5 + stats.norm.ppf(SEEN)) / np.sqrt(most)
        moved = bias * np.sum(errors, axis=0) / np.std(errors, axis=0, ddof=1)
        ratios.append(np.logaddexp(moved, -moved) - np.log(2) - n * bias**2 / 2)
    assert (np.array(ratios) < -np.log(alarm)).all(), f"{inside / n} of {n} runs; {ratios}"
    return bool((np.array(ratios) < np.log(MISSED)).all())


def repeated(run, truth, most, *, told=False, unbiased=False, alarm=5e-7):
    """Estimates run(0), run(1), ... until it is settled that their intervals cover.

    With `told`, one that warns counts like one whose interval holds the truth.
    """
    truth, inside, found = np.atleast_1d(truth), [], []
    for seed in range(most):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found.append(run(seed))
        assert all(issubclass(w.category, smw.PrecisionWarning) for w in caught)
        lower, upper = map(np.atleast_1d, found[-1].interval())
        inside.append((lower <= truth) & (truth <= upper) | (told and bool(caught)))
        if seed % 10 == 9:
            errors = [est.value - truth for est in found] if unbiased else None
            if settled(inside, most, errors, alarm=alarm):
                return found
    rate = np.mean(inside, axis=0)
    lower, upper = stats.binom.ppf([alarm, 1 - alarm], most, 0.95) / most
    assert ((rate >= lower) & (rate <= upper)).all(), rate
    if unbiased:
        errors = np.array([est.value - truth for est in found])
        z = errors.mean(axis=0) / (errors.std(axis=0, ddof=1) / np.sqrt(most))
        assert (np.abs(z) < 5).all(), z
    return found
