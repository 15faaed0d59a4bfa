"""What is said of chains is what ArviZ says of them."""

import subprocess
import sys

import numpy as np
import pytest
import xarray

from smcweights import _compat
from smcweights.statespace.mixing import chain_diagnostics


def walks(rng, chains, n):
    """Of four kinds: independent, walks, ties, two values."""
    free = rng.standard_normal((chains, n))
    return np.stack([free, np.cumsum(free, axis=1), np.round(free), np.sign(free)], axis=2)


@pytest.mark.parametrize("chains, n", [(2, 8), (4, 50), (8, 51), (3, 200)])
def test_chain_diagnostics_are_arvizs(chains, n):
    draws = walks(np.random.default_rng(chains), chains, n)
    data = xarray.Dataset({"h": (("chain", "draw", "j"), draws)})
    ess, r_hat = chain_diagnostics(draws)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(ess, _compat.arviz().ess(data)["h"], rtol=1e-10)
        np.testing.assert_allclose(r_hat, _compat.arviz().rhat(data)["h"], rtol=1e-10)
    assert n < 50 or ess[1] < ess[0]


def test_to_look_at_chains_imports_neither_arviz_nor_xarray():
    code = (
        "import sys, numpy; from smcweights.statespace.mixing import mixing;"
        "mixing(numpy.random.default_rng(1).standard_normal((4, 50, 2)));"
        "print({'arviz', 'xarray', 'pandas', 'scipy.stats'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
