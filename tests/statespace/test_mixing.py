"""What is said of chains is what ArviZ says of them."""

import math
import subprocess
import sys

import numpy as np
import pytest
import xarray
from scipy.special import stdtrit

from smcweights import _compat
from smcweights.statespace.mixing import chain_diagnostics, mixing


def kinds(rng, chains, n):
    """Chains (chains, n) of many kinds, by what is peculiar to them."""
    free = rng.standard_normal((chains, n))
    stuck, kept = free.copy(), np.zeros((chains, n))
    stuck[0] = 0.3
    for t in range(1, n):
        kept[:, t] = np.where(rng.random(chains) < 0.2, free[:, t], kept[:, t - 1])
    return {
        "independent": free, "walks": np.cumsum(free, axis=1), "ties": np.round(free),
        "two values": np.sign(free), "one chain stuck": stuck, "rejections": kept,
        "unequal variances": free * np.logspace(-3, 3, chains)[:, None],
        "unequal means": free + 10 * np.arange(chains)[:, None],
        "no moments": rng.standard_cauchy((chains, n)),
        "alternating": (-1.0) ** np.arange(n) + 1e-3 * free, "far away": 1e8 + free,
        "huge": 1e300 * free, "tiny": 1e-300 * free,
    }  # fmt: skip


@pytest.mark.parametrize("chains, n", [(2, 4), (3, 7), (4, 9), (2, 8), (4, 50), (8, 51), (3, 200)])
def test_chain_diagnostics_are_arvizs(chains, n):
    """Those of 0.23 here; of ArviZ 1 (arviz-stats 0.8) they were the same on all of these."""
    given = kinds(np.random.default_rng(chains), chains, n)
    if n < 9:  # halves that never move have no R-hat
        del given["rejections"]
    data = xarray.Dataset({k: (("chain", "draw"), draws) for k, draws in given.items()})
    with np.errstate(invalid="ignore", over="ignore"):
        ess, r_hat = chain_diagnostics(np.stack(list(given.values()), axis=2))
        of = {"ess": _compat.arviz().ess(data), "rhat": _compat.arviz().rhat(data)}
    for k, name in enumerate(given):
        np.testing.assert_allclose(ess[k], of["ess"][name], rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(r_hat[k], of["rhat"][name], rtol=1e-9, err_msg=name)
    assert n < 50 or ess[1] < ess[0]


def test_what_never_moves_is_worth_all_its_draws_and_what_differs_by_chain_none():
    """ArviZ has these sizes, too; it gives constants no R-hat."""
    fixed = np.full((4, 50, 1), 1.7)
    apart = np.broadcast_to(np.arange(4.0)[:, None, None], fixed.shape)
    found, cautions = mixing(np.concatenate([fixed, apart], axis=2))
    assert found["chain_ess"][0] == _compat.arviz().ess(fixed[:, :, 0]) == 200.0
    assert found["chain_ess"][1] == pytest.approx(200 / 44)
    assert found["r_hat"][0] == 1.0 and found["r_hat"][1] > 1e6
    assert "short-chains" in {caution.code for caution in cautions}


def told_to_drift(start, kept, runs=100):
    """How often 8 chains x' = .9 x + e of unit variance are said to drift, and how often they hold.

    That is whether Student's interval of their means has the true mean, 0, in it.
    """
    rng, told, held = np.random.default_rng(7), 0, 0
    for _ in range(runs):
        x = rng.standard_normal(8) if start is None else np.full(8, float(start))
        draws = np.empty((8, kept, 1))
        for t in range(kept):
            x = 0.9 * x + math.sqrt(0.19) * rng.standard_normal(8)
            draws[:, t, 0] = x
        told += "drift" in {caution.code for caution in mixing(draws)[1]}
        means = draws.mean(axis=(1, 2))
        held += abs(means.mean()) < stdtrit(7, 0.975) * means.std(ddof=1) / math.sqrt(8)
    return told / runs, held / runs


def test_chains_that_begin_alike_and_far_are_told_where_their_mean_does_not_hold():
    """At home 1 in 300 is told: more than 3 of 100 are in one of 2,000 tests, of other seeds."""
    (told, held), (told_far, held_far) = told_to_drift(None, 250), told_to_drift(6, 250)
    assert told <= 0.03 and held > 0.87
    assert told_far > 0.9 and held_far < 0.7


def test_to_look_at_chains_imports_neither_arviz_nor_xarray():
    code = (
        "import sys, numpy; from smcweights.statespace.mixing import mixing;"
        "mixing(numpy.random.default_rng(1).standard_normal((4, 50, 2)));"
        "print({'arviz', 'xarray', 'pandas', 'scipy.stats'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
