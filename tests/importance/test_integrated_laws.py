"""Laws known by draws and density alone: their distribution functions, far out in either tail."""

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights.importance.integrated_laws import Integrated
from smcweights.importance.laws import as_law


class Own:
    """What a user writes: draws and a log density."""

    def __init__(self, law, moved=0.0, scaled=0.0):
        self.law, self.moved, self.scaled = law, moved, scaled

    def rvs(self, size, random_state):
        return self.law.rvs(size=size, random_state=random_state) + self.moved

    def logpdf(self, x):
        return self.law.logpdf(x) + self.scaled


class Same:
    """Draws that are all the same."""

    def rvs(self, size, random_state):
        return np.zeros(size)

    def logpdf(self, x):
        return np.zeros(np.shape(x))


P = np.array([1e-14, 1e-6, 0.01, 0.3, 0.5, 0.7, 0.99])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "tolerance"),
    [
        pytest.param(stats.norm(3, 2), 1e-8, id="normal"),
        pytest.param(stats.lognorm(0.8), 1e-8, id="lognormal"),
        pytest.param(stats.gamma(2.5), 1e-8, id="gamma"),
        pytest.param(stats.beta(2, 5), 1e-8, id="beta"),
        pytest.param(stats.triang(0.3), 1e-6, id="with a kink"),
        pytest.param(stats.t(3), 1e-6, id="heavy tails"),
    ],
)
def test_tails_and_middle_are_those_of_the_law(law, tolerance):
    found = Integrated(Own(law))
    found.check("law")
    far = P[1:] if law.dist.name == "triang" else P  # 1 - 1e-14 is no number to see it by
    np.testing.assert_allclose(law.cdf(found.ppf(far)), far, rtol=tolerance)
    np.testing.assert_allclose(law.sf(found.isf(far)), far, rtol=tolerance)
    x = law.ppf(P[1:])
    np.testing.assert_allclose(found.cdf(x), P[1:], rtol=tolerance)
    np.testing.assert_allclose(found.sf(x), law.sf(x), rtol=tolerance)
    np.testing.assert_allclose(found.support(), law.support(), atol=1e-12)
    assert found.ppf([[0.2], [0.6]]).shape == (2, 1) and np.ndim(found.cdf(0.4)) == 0


def test_they_go_with_others_into_a_law():
    law = as_law({"own": Own(stats.gumbel_r(2.0, 0.5)), "known": stats.uniform()})
    assert law.mapped and law.names == ("own", "known")
    z = np.array([[-8.0, 0.0], [0.3, 0.0], [6.0, 0.0]])
    exact = as_law([stats.gumbel_r(2.0, 0.5), stats.uniform()]).to_inputs(z)
    np.testing.assert_allclose(law.to_inputs(z), exact, rtol=1e-9)
    found = smw.failure_probability(
        lambda x: 9.0 - x[:, 0], {"own": Own(stats.gumbel_r(2.0, 0.5))}, 3_000, seed=1
    )
    truth = stats.gumbel_r(2.0, 0.5).sf(9.0)
    assert abs(found.value - truth) < 4.5 * found.standard_error < 0.5 * truth


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (Own(stats.norm(), scaled=0.1), "law: input 'a': the density integrates to 1.105;"),
        (Own(stats.norm(), moved=0.2), "law: input 'a': draws by rvs and logpdf differ"),
        (Own(Same()), "draws by rvs have shape"),
    ],
)
def test_what_is_no_law_of_one_input_is_refused(own, message):
    with pytest.raises(ValueError, match=message):
        as_law({"a": own, "b": stats.norm()})
