"""Free parameters, and what they are where they are unconstrained."""

import numpy as np
import pytest

from smcweights.statespace.learning import parameters

pytestmark = pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")


def test_transforms_have_these_derivatives():
    kinds = ("identity", "log", "logit", "atanh")
    theta = np.array([-0.3, 2.0, 0.2, -0.7])
    u = parameters.from_theta(theta, kinds, "abcd")
    value, first, second = parameters.to_theta(u, kinds)
    np.testing.assert_allclose(value, theta, rtol=1e-14)
    up, down = (parameters.to_theta(u + h, kinds)[0] for h in (1e-4, -1e-4))
    np.testing.assert_allclose((up - down) / 2e-4, first, rtol=1e-6)
    np.testing.assert_allclose((up - 2 * value + down) / 1e-8, second, atol=1e-6)
