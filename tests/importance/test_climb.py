"""The climb: sizes, powers, moments; on a peak far from the prior's bulk."""

import numpy as np
import pytest
from scipy import stats

from smcweights.execution import open_run
from smcweights.importance.climb import Climb, Plan
from smcweights.importance.laws import as_law
from smcweights.importance.log_scale import call_log_integrand
from smcweights.importance.proposals import WorkingSpace
from smcweights.importance.stages import Sampler


@pytest.mark.parametrize("d", [1, 5, 30])
@pytest.mark.parametrize("most", [10, 100, 1_000])
def test_sizes_leave_room_for_the_end(d, most):
    plan = Plan(most * (d + 2) * 5, d, True)
    assert plan.first + plan.rung < 0.7 * plan.most
    assert 20 <= plan.least <= plan.rung
    assert not plan.searched or 4 * plan.rung + 984 <= 0.12 * plan.most


@pytest.mark.slow
def test_a_peak_of_width_one_in_a_thousand_is_reached():
    """Its log evidence within .1, and its moments; the first power reached is far below 1."""
    place = np.array([2.0, -1.5])

    def log_likelihood(x):
        return stats.norm(place, 1e-3).logpdf(x).sum(1)

    def call(x):
        return call_log_integrand(log_likelihood, True, x)

    space = WorkingSpace(as_law([stats.norm()] * 2))
    with open_run(call, seed=1) as run:
        climb = Climb(Sampler(run, space, True, lambda *_: None, log=True), Plan(8_000, 2, True))
        summit = climb.ascend()
    powers = [stage["beta"] for stage in summit.stages]
    assert powers[1] < 1e-3 and summit.beta == 1
    assert climb.used <= 0.7 * 8_000
    np.testing.assert_allclose(summit.centre, place, atol=1e-3)
    np.testing.assert_allclose(np.diag(summit.cholesky), 1e-3, rtol=0.3)
    truth = stats.norm(0, np.sqrt(1 + 1e-6)).logpdf(place).sum()
    assert abs(summit.log_scale - truth) < 0.1
    w = climb.powered(1.0)
    assert w.sum() == pytest.approx(1)
