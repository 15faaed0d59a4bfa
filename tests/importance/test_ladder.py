"""Levels on both sides of outputs: they get as far as asked, and their densities are normalised."""

import numpy as np
import pytest
from scipy import stats

from smcweights.execution import open_run
from smcweights.importance.adaptation import Goal, prepared
from smcweights.importance.ladder import WIDE, Ladder, Side
from smcweights.importance.laws import as_law
from smcweights.importance.proposals import Mixture
from smcweights.stopping import Budget


def climbed(f, law, tails=(1e-5, 1e-5), family="auto", size=300, most=4_000):
    law = as_law(law)
    with open_run(f, arguments={}, seed=3, description="a ladder") as run:
        made = prepared(
            run, law, Goal(Budget(10_000)), family, (), True,
            remedy="", vectorized=True, check=lambda *_: None,
        )  # fmt: skip
        ladder = Ladder(made.sampler, family, made.given, tails)
        ladder.climb(size, most)
    return ladder


@pytest.fixture(scope="module")
def chi_square():
    return climbed(lambda x: (x**2).sum(1), [stats.norm()] * 5)


def test_both_ends_are_met_even_that_of_a_small_ball(chi_square):
    y, w = chi_square.history.values[:, 0], chi_square.weights
    law = stats.chi2(5)
    for p, beyond in ((1e-4, y < law.ppf(1e-4)), (1e-4, y > law.isf(1e-4))):
        found = (w * beyond).mean()
        error = np.sqrt((w**2 * beyond).mean() / len(w))
        # the stages learn from one another: a rough check only
        assert abs(found - p) < 6 * error and error < 0.3 * p
    assert all(side.done for side in chi_square.sides)


def test_the_mixture_has_a_level_for_every_power_of_ten(chi_square):
    densities, shares = chi_square.mixture(0.25)
    assert shares[0] == 0.25 and shares.sum() == pytest.approx(1)
    wide = [s for s in shares[1:] if s == pytest.approx(WIDE * 0.75 / 12)]
    assert len(wide) >= 10
    # normalised: the mean of g/h under h is 1
    u = Mixture(shares, densities).sample(
        np.random.default_rng(1), np.maximum((20_000 * shares).astype(int), 1)
    )
    counts = np.maximum((20_000 * shares).astype(int), 1)
    h = Mixture(counts / counts.sum(), densities).log_density(u)
    for g in densities[1:8]:
        ratio = np.exp(g.log_density(u) - h)
        assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(u))


def test_a_side_that_goes_on_in_steps_asks_for_fewer_draws_and_ends_when_there_is_no_more():
    y, w = np.repeat([0.0, 1.0, 2.0], [900, 97, 3])[:, None], np.ones(1000)
    side = Side(0, 1.0, 1e-6, 60.0)
    assert side.advance(y, w, 4.0) == 1.0 and not side.idle
    assert side.advance(y, w, 4.0) == 1.0 and side.need == 30 and not side.idle
    for _ in range(4):
        side.advance(y, w, 3.0)
    assert side.advance(y, w, 3.0) == 2.0 and not side.done
    for _ in range(2):
        side.advance(y, w, 3.0)
    assert side.done
    assert side.rungs(y, w, 6) == [1.0, 2.0]


@pytest.mark.parametrize(("family", "d"), [("student", 2), ("vmfn", 25), ("grid", 2), ("auto", 25)])
def test_every_family_has_densities_for_both_sides(family, d):
    ladder = climbed(lambda x: x.sum(1), [stats.norm()] * d, (1e-2, 1e-2), family, 1_100, 2_200)
    densities, shares = ladder.mixture(0.5)
    assert len(densities) == len(shares) >= 3 and shares[0] == 0.5
    y, w = ladder.history.values[:, 0], ladder.weights
    t = stats.norm.isf(0.02) * d**0.5
    assert (w * (y > t)).mean() == pytest.approx(0.02, rel=0.5)
