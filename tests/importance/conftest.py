"""What is computed once for several test files."""

import pytest

import smcweights as smw

from .cases import LAW, pair


@pytest.fixture(scope="session")
def stored():
    """An estimate with its sample."""
    return smw.adaptive_importance_sampling(pair, LAW, 10_000, names=["mean", "tail"], seed=1)
