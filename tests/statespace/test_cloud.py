"""An error leaves a cloud as it was; draws back are those of its particles."""

import numpy as np
import pytest

import smcweights as smw
from smcweights.statespace import kernels
from smcweights.statespace.cloud import Cloud
from smcweights.statespace.series import Series

from .test_filtering import LINEAR, Y


def test_an_error_leaves_everything_as_it_was():
    series = Series(LINEAR, Y[:, None].copy(), False, 50, "multinomial", 1.0)
    cloud = Cloud(series, np.random.default_rng(1), roots=True)
    cloud.advance(series.rows[:3])
    arrays = (*cloud.particles, *cloud.report)
    before = [array.copy() for array in arrays]
    state = cloud.rng.bit_generator.state
    with pytest.raises(smw.DegeneracyError, match="time 4"), cloud.kept_on_error(2):
        cloud.advance(np.array([[0.1], [1e200]]))
    for array, was in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, was)
    assert cloud.t == 3 and cloud.rng.bit_generator.state == state


@pytest.mark.slow
def test_draws_back_go_to_particles_that_can_have_been_before():
    hmm = smw.models.finite_hmm([0.5, 0.5], np.eye(2), [0.0, 2.0], [1.0, 1.0])
    rows = np.array([[0.0], [1.0], [2.0]])
    for method in (kernels.EXACT, kernels.HYBRID, kernels.MCMC):
        cloud = Cloud(Series(hmm, rows, False, 40), np.random.default_rng(1), depth=3)
        cloud.advance(rows)
        chosen = cloud.draw_paths(rows, 30, method)
        x = np.take_along_axis(cloud.particles.x, chosen[..., None].astype(int), 1)
        assert (x == x[0]).all()
        two = Cloud(Series(hmm, rows, False, 40), np.random.default_rng(1))
        two.advance(rows)
        picks = two.draw_ancestors(rows, 3, method)
        assert (two.particles.x[1][picks] == two.particles.x[0][:, None]).all()
