"""Laws of one input: truncated, moved, refused."""

import numpy as np
import pytest
from scipy import special, stats

import smcweights as smw
from smcweights.importance.laws import as_law
from smcweights.importance.marginals import Atoms, Truncated, without_variance


def test_a_truncated_law_needs_a_density():
    with pytest.raises(TypeError, match=r"Truncated: distribution: got .* discrete"):
        smw.Truncated(stats.poisson(3), 0, 5)


@pytest.mark.parametrize(
    ("lower", "upper"), [(-1.0, 2.0), (-np.inf, 0.5), (9.0, 12.0), (-12.0, -9.0), (-40.0, 40.0)]
)
def test_truncated_normal_agrees_with_scipys(lower, upper):
    ours, truth = Truncated(stats.norm(), lower, upper), stats.truncnorm(lower, upper)
    q = np.array([1e-4, 1e-3, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9])
    for name in ("ppf", "isf"):
        x = getattr(ours, name)(q)
        np.testing.assert_allclose(x, getattr(truth, name)(q), rtol=1e-9, err_msg=name)
        for back in ("cdf", "sf", "logpdf"):
            np.testing.assert_allclose(
                getattr(ours, back)(x), getattr(truth, back)(x), rtol=1e-7, err_msg=back
            )
    outside = [lower - 1, upper + 1]
    np.testing.assert_array_equal(ours.cdf(outside), [0, 1])
    np.testing.assert_array_equal(ours.sf(outside), [1, 0])
    assert ours.rvs(3, random_state=1).shape == (3,)
    assert isinstance(ours.ppf(0.5), float)


def test_truncated_keeps_the_digits_of_both_tails():
    wide = Truncated(stats.norm(), -40.0, 40.0)
    for q in (1e-12, 1e-100):
        assert wide.isf(q) == pytest.approx(-special.ndtri(q), rel=1e-14)
        assert wide.ppf(q) == pytest.approx(special.ndtri(q), rel=1e-14)
    far = Truncated(stats.norm(), 9.0, np.inf)
    assert far.isf(1e-20) == pytest.approx(stats.norm.isf(1e-20 * stats.norm.sf(9.0)), rel=1e-14)
    assert far.sf(10.0) == pytest.approx(stats.norm.sf(10.0) / stats.norm.sf(9.0), rel=1e-14)


def test_truncated_refuses_an_empty_or_impossible_interval():
    for lower, upper in [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0)]:
        with pytest.raises(ValueError, match=r"expected (an interval|a finite number)"):
            Truncated(stats.norm(), lower, upper)
    with pytest.raises(ValueError, match="no probability"):
        Truncated(stats.uniform(), 2.0, 3.0)


@pytest.mark.parametrize(
    "marginal", [stats.norm(2, 3), stats.uniform(-1, 2), stats.lognorm(0.5), stats.beta(2, 5)]
)
def test_perturbed_marginals_are_laws(marginal):
    moved = smw.Perturbed(marginal, shift=0.7, scale=1.3)
    q = np.array([1e-6, 0.01, 0.3, 0.5, 0.9, 1 - 1e-6])
    x = moved.ppf(q)
    np.testing.assert_allclose(moved.cdf(x), q, rtol=1e-4)
    np.testing.assert_allclose(moved.sf(moved.isf(q)), q, rtol=1e-4)
    step = 1e-5 * (x[4] - x[1])
    slope = (moved.cdf(x[1:5] + step) - moved.cdf(x[1:5] - step)) / (2 * step)
    np.testing.assert_allclose(np.exp(moved.logpdf(x[1:5])), slope, rtol=1e-4)
    z = stats.norm.ppf(marginal.cdf(moved.rvs(20_000, random_state=np.random.default_rng(1))))
    assert abs(z.mean() - 0.7) < 5 * 1.3 / np.sqrt(20_000)
    assert abs(z.std() - 1.3) < 5 * 1.3 / np.sqrt(40_000)


def test_a_shifted_normal_is_a_normal():
    x = np.linspace(-10, 20, 50)
    moved = smw.Perturbed(stats.norm(2, 3), shift=0.5, scale=2)
    np.testing.assert_allclose(moved.logpdf(x), stats.norm(3.5, 6).logpdf(x), rtol=1e-9)


@pytest.mark.parametrize(
    "constant", [8, 8.0, np.float64(8), stats.norm(8, 0)], ids=["int", "float", "numpy", "scipy"]
)
def test_a_constant_is_an_input(constant):
    law = as_law({"c": constant, "k": stats.uniform(1, 1), "e": stats.norm()})
    assert law.atoms == ["c"]
    assert (law.sample(np.random.default_rng(1), 10)[:, 0] == 8).all()
    np.testing.assert_allclose(law.log_density([[8.0, 1.5, 0.0]]), stats.norm().logpdf(0))
    assert law.log_density([[8.1, 1.5, 0.0]]) == -np.inf


@pytest.mark.slow
def test_constants_do_no_harm():
    """8 k + e: mean 12, variance 64/12 + 1, first-order shares 0/V, (64/12)/V, 1/V."""
    law = {"c": 8, "k": stats.uniform(1, 1), "e": stats.norm()}

    def model(x):
        assert (x[:, 0] == 8).all()
        return x[:, 0] * x[:, 1] + x[:, 2]

    found = smw.sobol_indices(model, law, 2_000, seed=1)
    variance = 64 / 12 + 1
    error = np.abs(found.first.value - np.array([0, 64 / 12, 1]) / variance)
    assert (error <= 5 * found.first.standard_error + 1e-9).all()
    shares = np.array([found.first.value[0], found.total.value[0]])
    assert (np.abs(shares) < 1e-15).all()  # no error, and none of the others
    for control in (True, "polynomial"):
        mean = smw.adaptive_importance_sampling(model, law, 2_000, control_variates=control, seed=2)
        assert abs(mean.value - 12) <= 5 * mean.standard_error + 1e-9


@pytest.mark.slow
def test_discrete_laws_are_inputs():
    """n b + x with n Poisson(2), b a category: means by sums over all their values."""
    values, shares = np.array([-1.0, 0.5, 4.0]), np.array([0.5, 0.3, 0.2])
    law = {
        "n": stats.poisson(2),
        "b": stats.rv_discrete(values=(values, shares)),
        "x": stats.norm(1, 0.5),
    }

    def model(x):
        assert np.isin(x[:, 1], values).all() and (x[:, 0] == np.round(x[:, 0])).all()
        return np.stack([x[:, 0] * x[:, 1] + x[:, 2], x[:, 0] >= 7], axis=1)

    mean_b, square_b = values @ shares, values**2 @ shares
    truth = np.array([2 * mean_b + 1, stats.poisson(2).sf(6)])
    for control in (True, "polynomial"):
        found = smw.adaptive_importance_sampling(
            model, law, 2_000, control_variates=control, seed=3
        )
        assert (np.abs(found.value - truth) < 5 * found.standard_error).all()
    indices = smw.sobol_indices(lambda x: model(x)[:, 0], law, 2_000, seed=4)
    variance = 6 * square_b - 4 * mean_b**2 + 0.25
    shares_of = np.array([2 * mean_b**2, 4 * (square_b - mean_b**2), 0.25]) / variance
    error = np.abs(indices.first.value - shares_of)
    assert (error < 5 * indices.first.standard_error).all()
    other = smw.reweight(found, law | {"n": stats.poisson(2.5)})
    assert abs(other.value[0] - (2.5 * mean_b + 1)) < 5 * other.standard_error[0]
    # a proposal on the inputs, whose draws are spread over what is mapped to each value
    proposal = law | {"n": stats.poisson(5)}
    for control in (True, "polynomial"):
        given = smw.adaptive_importance_sampling(
            model, law, 2_000, proposal=proposal, control_variates=control, seed=5
        )
        assert (np.abs(given.value - truth) < 5 * given.standard_error).all()
    with pytest.raises(ValueError, match="'n' is discrete or constant"):
        smw.importance_sampling(model, law, proposal, 5_000)
    with pytest.raises(TypeError, match="'n' is not frozen"):
        smw.sobol_indices(model, {"n": stats.poisson, "x": stats.norm()}, 100)
    for law, kind in ((stats.poisson(2), "discrete"), (2, "constant")):
        with pytest.raises(TypeError, match=f"it is {kind}, a density is needed"):
            smw.GaussianCopula([law, stats.norm()], [[1, 0.5], [0.5, 1]])


@pytest.mark.slow
def test_inputs_known_by_data_are_taken():
    """A kernel density, a histogram and a mixture, each mapped and back; a tail is a mean of sf."""
    data = np.random.default_rng(1).lognormal(size=100)
    kde = stats.gaussian_kde(data)
    law = as_law(
        {
            "kernels": kde,
            "histogram": stats.rv_histogram(np.histogram(data, 20), density=False),
            "mixture": stats.Mixture([stats.Normal(mu=0.0), stats.Normal(mu=4.0, sigma=0.5)]),
        }
    )
    u = np.random.default_rng(2).standard_normal((200, 3))
    np.testing.assert_allclose(law.from_inputs(law.to_inputs(u)), u, atol=1e-8)
    width = np.sqrt(kde.covariance[0, 0])
    far = np.array([-8.0, -3.0, 0.0, 3.0, 8.0, 30.0])
    ends = as_law(kde).to_inputs(far[:, None])[:, 0]
    tail = [stats.norm.cdf, stats.norm.sf]
    for z, x in zip(far, ends, strict=True):
        own = tail[int(z > 0)]
        expected = own((x - data) / width).mean()
        np.testing.assert_allclose(own(z), expected, rtol=1e-8)
    found = smw.failure_probability(lambda x: 8 - x[:, 0], {"x": kde}, 2_000, seed=1)
    truth = stats.norm.sf((8 - data) / width).mean()
    assert abs(found.value - truth) < 5 * found.standard_error


def test_laws_without_variance_are_known():
    endless = [stats.cauchy(3), stats.t(2), stats.t(1.9, 100), stats.pareto(2), stats.levy()]
    for law in endless:
        assert without_variance(law)
        assert without_variance(Truncated(law, 2.0, np.inf))
    finite = [stats.t(2.1), stats.pareto(2.1), stats.lognorm(5), stats.weibull_min(0.1)]
    for law in [*finite, stats.norm(1e6), stats.uniform(), Truncated(stats.cauchy(), -1e6, 1e9)]:
        assert not without_variance(law), law


def test_few_values_of_a_discrete_law_are_told_with_their_probabilities():
    uneven = stats.rv_discrete(values=([0, 2, 1_000], [0.5, 1e-6, 0.5 - 1e-6]))
    for law, values in (
        (stats.binom(4, 0.2, loc=3), np.arange(3, 8)),
        (uneven, np.array([0, 2, 1_000])),
        (stats.poisson(2), np.arange(22)),
    ):
        found, p = Atoms(law).table
        np.testing.assert_array_equal(found[: len(values)], values)
        np.testing.assert_allclose(p[: len(values)], law.pmf(values), rtol=1e-9)
    assert Atoms(stats.poisson(1_000)).table is None


# SciPy has discrete laws of the new style from 1.16 on
NEW_STYLE = [stats.Binomial(n=5, p=0.3)] if hasattr(stats, "Binomial") else []


def test_one_discrete_law_is_an_input_and_so_is_one_of_the_new_style():
    for law, mean in zip([stats.bernoulli(0.3), *NEW_STYLE], (0.3, 1.5), strict=False):
        for given in (law, [law]):
            found = smw.adaptive_importance_sampling(lambda x: x[:, 0], given, 1_000, seed=1)
            assert abs(found.value - mean) < 5 * found.standard_error


def test_what_a_law_can_not_be_is_said_by_name():
    density = "discrete, a density is needed.*list or dict of independent inputs"
    for discrete in (stats.bernoulli(0.3), *NEW_STYLE):
        with pytest.raises(TypeError, match=f"'X1': got a .*{density}"):
            smw.GaussianCopula([discrete, stats.norm()], [[1, 0.5], [0.5, 1]])
        with pytest.raises(TypeError, match=f"Truncated: .*{density}"):
            smw.Truncated(discrete, 0, 5)
    for given in (True, np.True_):
        with pytest.raises(TypeError, match="'b': got True; expected a law, or 1 or 0"):
            as_law({"b": given, "x": stats.norm()})
    with pytest.raises(ValueError, match="'X1': scale: got -1; expected a number above 0"):
        as_law([stats.norm(0, -1)])


def test_inputs_beside_a_discrete_one_are_perturbed_and_it_is_named():
    law = {"k": stats.poisson(3), "x": stats.norm()}
    found = smw.adaptive_importance_sampling(lambda x: x.sum(axis=1), law, 1_000, seed=1)
    study = smw.perturbation_study(found, law, shifts=[0.0, 0.5], inputs=["x"])
    assert (np.abs(study.estimate.value - [3, 3.5]) < 5 * study.estimate.standard_error).all()
    with pytest.raises(ValueError, match=r"inputs: 'k': discrete .* inputs=\['x'\]"):
        smw.perturbation_study(found, law, shifts=[0.0])
    with pytest.raises(ValueError, match="the law of 'k' is discrete or constant"):
        smw.input_uncertainty(found, {"k": np.arange(10)})


def test_a_law_of_constants_alone_is_refused():
    for method in (smw.adaptive_importance_sampling, smw.failure_probability, smw.output_law):
        with pytest.raises(ValueError, match=r"all inputs are constant: got \[1.0, 2.0\]"):
            method(lambda x: x.sum(axis=1), {"a": 1.0, "b": stats.norm(2, 0)}, 2_000, seed=1)
