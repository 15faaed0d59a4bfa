"""OpenTURNS distributions against OpenTURNS."""

import pickle

import numpy as np
import pytest

from smcweights.importance.laws import as_law


def openturns_pairs():
    ot = pytest.importorskip("openturns")
    correlation = ot.CorrelationMatrix(2)
    correlation[0, 1] = 0.5
    two = [ot.LogNormal(0.2, 0.5), ot.Gumbel(558.0, 1013.0)]
    return {
        "independent": ot.JointDistribution(two),
        "normal copula": ot.JointDistribution(two, ot.NormalCopula(correlation)),
        "normal": ot.Normal([1.0, 2.0], [1.0, 3.0], correlation),
        "clayton": ot.JointDistribution(two, ot.ClaytonCopula(2.0)),
        "student": ot.Student(7.0, [1.0, 2.0], [1.0, 3.0], correlation),
    }


@pytest.mark.parametrize("name", ["independent", "normal copula", "normal", "clayton", "student"])
def test_openturns_joint_laws_have_its_density_moments_and_map(name):
    truth = openturns_pairs()[name]
    law = as_law(truth)
    assert law.mapped == (name not in ("clayton", "student"))
    x = law.sample(np.random.default_rng(6), 40_000)
    np.testing.assert_allclose(
        law.log_density(x[:100]), np.array(truth.computeLogPDF(x[:100]))[:, 0], rtol=1e-9, atol=1e-9
    )
    spread = np.array(truth.getStandardDeviation())
    assert (np.abs(x.mean(axis=0) - truth.getMean()) < 6 * spread / np.sqrt(len(x))).all()
    # the chance that both lie below their medians tells the dependence
    both = (x < [truth.getMarginal(i).computeScalarQuantile(0.5) for i in (0, 1)]).all(axis=1)
    p = truth.computeCDF([truth.getMarginal(i).computeScalarQuantile(0.5) for i in (0, 1)])
    assert abs(both.mean() - p) < 6 * np.sqrt(p * (1 - p) / len(x))
    if law.mapped:
        u = np.random.default_rng(7).standard_normal((50, 2)) * 2
        expected = np.array(truth.getInverseIsoProbabilisticTransformation()(u))
        np.testing.assert_allclose(law.to_inputs(u), expected, rtol=1e-7)
    assert pickle.loads(pickle.dumps(law)).describe() == law.describe()


def test_an_openturns_law_without_a_normal_standard_space_is_refused():
    ot = pytest.importorskip("openturns", minversion="1.24")  # StudentCopula came with it
    law = ot.JointDistribution(
        [ot.Normal(), ot.Normal()], ot.StudentCopula(5.0, ot.CorrelationMatrix(2))
    )
    with pytest.raises(TypeError, match="expected independent normals"):
        as_law(law)
    with pytest.raises(TypeError, match="not continuous"):
        as_law(ot.Poisson(3.0))


def test_openturns_draws_follow_from_our_seed_and_leave_its_seed_alone():
    ot = pytest.importorskip("openturns")
    law = as_law(openturns_pairs()["clayton"])
    ot.RandomGenerator.SetSeed(1)
    first = law.sample(np.random.default_rng(8), 20)
    after = ot.RandomGenerator.Generate()
    ot.RandomGenerator.SetSeed(1)
    assert ot.RandomGenerator.Generate() == after
    np.testing.assert_array_equal(first, law.sample(np.random.default_rng(8), 20))


def test_every_openturns_marginal_is_its_scipy_counterpart():
    ot = pytest.importorskip("openturns")
    marginals = [
        ot.Normal(1.0, 2.0),
        ot.LogNormal(0.3, 0.5, 2.0),
        ot.Uniform(-1.0, 4.0),
        ot.Triangular(1.0, 2.0, 5.0),
        ot.Exponential(0.5, 1.0),
        ot.Gumbel(2.0, 3.0),
        ot.WeibullMin(2.0, 1.5, 0.5),
        ot.Gamma(2.0, 0.5, 1.0),
        ot.Beta(2.0, 3.0, -1.0, 4.0),
        ot.Student(5.0, 1.0, 2.0),
        ot.Logistic(1.0, 2.0),
        ot.TruncatedNormal(1.0, 2.0, 0.0, 4.0),
        ot.TruncatedDistribution(ot.Gumbel(558.0, 1013.0), 500.0, 3000.0),
        ot.TruncatedDistribution(ot.Normal(30.0, 8.0), 15.0, ot.TruncatedDistribution.LOWER),
        ot.Rayleigh(2.0),
        ot.Mixture([ot.Normal(), ot.Normal(3.0, 1.0)], [0.3, 0.7]),
    ]
    p = np.array([1e-6, 0.01, 0.3, 0.5, 0.9, 1 - 1e-6])
    for truth in marginals:
        law = as_law(truth)
        f, message = law.marginals[0], truth.getClassName()
        x = np.array(truth.computeQuantile(p))[:, 0]
        np.testing.assert_allclose(f.ppf(p), x, rtol=1e-7, atol=1e-8, err_msg=message)
        np.testing.assert_allclose(
            law.log_density(x[:, None]),
            np.array(truth.computeLogPDF(x[:, None]))[:, 0],
            rtol=1e-7,
            atol=1e-8,
            err_msg=message,
        )
        u = np.linspace(-5.0, 5.0, 21)[:, None]
        x = law.to_inputs(u)
        # OpenTURNS finds the quantiles it has no formula for to 1e-12 or so in probability
        atol = 1e-4 if message == "Mixture" else 1e-7
        np.testing.assert_allclose(law.from_inputs(x), u, atol=atol, err_msg=message)
        assert law.names == tuple(truth.getDescription())
    # the counterparts, not OpenTURNS, answer for all but the last two
    assert sum("fingerprint" in as_law(t).describe()["marginals"][0] for t in marginals) == 2
