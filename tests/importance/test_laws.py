"""Laws against closed forms, scipy.stats, and the real OpenTURNS and SALib.

Statistical tests use fixed seeds; their bounds are 6 standard errors (false alarm below 2e-9 each,
below one in ten million for the file).
"""

import json
import warnings

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from smcweights.importance.laws import GaussianCopula, as_law
from smcweights.importance.marginals import Truncated

from .cases import UNIVARIATE

CORRELATION = [[1.0, 0.6, -0.2], [0.6, 1.0, 0.1], [-0.2, 0.1, 1.0]]


def test_draws_have_the_moments_of_their_marginals():
    law = as_law(UNIVARIATE["gamma"])
    x = law.sample(np.random.default_rng(1), 200_000)
    assert x.shape == (200_000, 1)
    z = (x.mean() - 7.5) / (stats.gamma(2.5, 0.0, 3.0).std() / np.sqrt(len(x)))
    assert abs(z) < 6


def test_multivariate_normal_is_mapped_and_exact():
    covariance = np.diag([1.0, 2.0, 0.5]) @ CORRELATION @ np.diag([1.0, 2.0, 0.5])
    truth = stats.multivariate_normal([1.0, -2.0, 0.3], covariance)
    law = as_law(truth)
    x = truth.rvs(size=50, random_state=np.random.default_rng(2))
    assert law.mapped and not law.independent and law.names == ("X1", "X2", "X3")
    np.testing.assert_allclose(law.log_density(x), truth.logpdf(x), rtol=1e-12, atol=1e-12)
    expected = np.linalg.solve(np.linalg.cholesky(covariance), (x - truth.mean).T).T
    np.testing.assert_allclose(law.from_inputs(x), expected, atol=1e-12)
    np.testing.assert_allclose(law.to_inputs(expected), x, atol=1e-12)


def test_multivariate_t_draws_and_density():
    truth = stats.multivariate_t([1.0, 0.0], [[2.0, 0.5], [0.5, 1.0]], df=9)
    law = as_law(truth)
    assert not law.mapped and law.marginals is None and law.dimension == 2
    x = law.sample(np.random.default_rng(3), 100_000)
    np.testing.assert_array_equal(law.log_density(x), truth.logpdf(x))
    assert law.sample(np.random.default_rng(3), 1).shape == (1, 2)
    standard_error = np.sqrt(np.array([2.0, 1.0]) * 9 / 7 / len(x))
    assert (np.abs(x.mean(axis=0) - [1.0, 0.0]) < 6 * standard_error).all()
    with pytest.raises(ValueError, match="no map"):
        law.to_inputs(x)


def test_copula_of_lognormals_has_the_density_and_moments_of_its_closed_form():
    s = np.array([0.3, 0.5, 0.8])
    law = as_law(GaussianCopula([stats.lognorm(v) for v in s], CORRELATION))
    x = law.sample(np.random.default_rng(4), 200_000)
    # log x is normal: the density is the normal one over the product of the inputs
    covariance = np.outer(s, s) * CORRELATION
    expected = stats.multivariate_normal(np.zeros(3), covariance).logpdf(np.log(x[:100]))
    np.testing.assert_allclose(law.log_density(x[:100]), expected - np.log(x[:100]).sum(axis=1))
    product = x[:, 0] * x[:, 1]
    variance = s[0] ** 2 + s[1] ** 2 + 2 * covariance[0, 1]
    mean = np.exp(variance / 2)
    standard_error = mean * np.sqrt(np.expm1(variance) / len(x))
    assert abs(product.mean() - mean) < 6 * standard_error


def test_copula_density_integrates_to_one_over_bounded_marginals():
    law = as_law(GaussianCopula([stats.uniform(), stats.triang(0.2)], [[1.0, 0.7], [0.7, 1.0]]))
    t, w = np.polynomial.legendre.leggauss(400)
    grid = np.stack(np.meshgrid((t + 1) / 2, (t + 1) / 2, indexing="ij"), axis=-1).reshape(-1, 2)
    total = np.outer(w, w).ravel() / 4 @ np.exp(law.log_density(grid))
    # the density is unbounded, slowly, in two corners: the rule's own error there is 3e-4
    assert total == pytest.approx(1.0, abs=1e-3)
    assert law.log_density([[0.5, 2.0]])[0] == -np.inf
    assert np.isfinite(law.log_density([[0.0, 0.1]])).all()


def test_copula_with_unit_correlation_matrix_is_independent():
    copula = GaussianCopula({"a": stats.norm(), "b": stats.expon()}, np.eye(2))
    independent = as_law({"a": stats.norm(), "b": stats.expon()})
    assert as_law(copula).independent
    assert as_law(copula).describe() == independent.describe()


@pytest.mark.parametrize(
    ("correlation", "message"),
    [
        (np.eye(2), "shape"),
        ([[1, 0.5, 0], [0.4, 1, 0], [0, 0, 1]], "not symmetric"),
        ([[1, 0, 0], [0, 2, 0], [0, 0, 1]], "diagonal"),
        ([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]], "positive definite"),
        ([[1, np.nan, 0], [np.nan, 1, 0], [0, 0, 1]], "NaN"),
    ],
)
def test_copula_refuses_what_is_no_correlation(correlation, message):
    with pytest.raises(ValueError, match=message):
        GaussianCopula([stats.norm()] * 3, correlation)


class Banana:
    """A user's own law: x1 standard normal, x2 normal around x1 squared."""

    def rvs(self, size, random_state):
        x = random_state.standard_normal((size, 2))
        x[:, 1] += x[:, 0] ** 2
        return x

    def logpdf(self, x):
        return stats.norm.logpdf(x[:, 0]) + stats.norm.logpdf(x[:, 1] - x[:, 0] ** 2)


class OneInput:
    def rvs(self, size, random_state):
        return random_state.exponential(size=size)

    def logpdf(self, x):
        assert x.ndim == 1
        return -x


def test_the_users_own_laws():
    law = as_law(Banana())
    rng = np.random.default_rng(5)
    x = law.sample(rng, 10)
    assert x.shape == (10, 2) and not law.mapped
    np.testing.assert_array_equal(law.log_density(x), Banana().logpdf(x))
    flat = as_law(OneInput())
    x = flat.sample(rng, 10)
    assert x.shape == (10, 1) and flat.names == ("X1",)
    np.testing.assert_array_equal(flat.log_density(x), -x[:, 0])
    assert flat.sample(rng, 0).shape == (0, 1)


def test_salib_problems_are_read_as_salib_reads_them():
    pytest.importorskip("SALib")
    from SALib.util import scale_samples

    problem = {
        "num_vars": 9,
        "names": ["a", "b", "c", "d", "e", "f", "g", "h", "i"],
        "bounds": [
            [-1.0, 3.0],
            [1.0, 100.0],
            [1.0, 3.0, 0.25],
            [3.0, 0.5],
            [2.0, 0.5],
            [0.0, 5.0, 2.0, 1.5],
            [0.3, 0.8],
            [1.5, 2.0],
            [1.5, 2.0, 4.0],
        ],
        "dists": [
            "unif",
            "logunif",
            "triang",
            "triang",
            "norm",
            "truncnorm",
            "lognorm",
            "weibull",
            "weibull",
        ],
    }
    law = as_law(problem)
    assert law.names == tuple("abcdefghi") and law.independent
    p = np.random.default_rng(9).random((200, 9))
    with warnings.catch_warnings():
        # the two-value form of triang, which SALib will drop
        warnings.simplefilter("ignore", DeprecationWarning)
        expected = scale_samples(p.copy(), problem)
    np.testing.assert_allclose(law.to_inputs(special.ndtri(p)), expected, rtol=1e-9)


def test_inputs_of_uqtestfuns_have_its_quantiles():
    uqtestfuns = pytest.importorskip("uqtestfuns")
    given = {
        "uniform": [-1, 3],
        "normal": [2, 0.5],
        "lognormal": [0.3, 0.8],
        "triangular": [1, 4, 1.5],
        "beta": [2, 3, -1, 5],
        "exponential": [0.4],
        "gumbel": [1, 2],
        "trunc-gumbel": [1, 2, 0, 9],
        "trunc-normal": [1, 2, 0, 9],
    }
    marginals = [uqtestfuns.Marginal(k, np.array(v, float), name=k) for k, v in given.items()]
    law = as_law(uqtestfuns.ProbInput(marginals))
    assert law.names == tuple(given) and law.independent
    p = np.random.default_rng(11).random((200, len(given)))
    expected = np.transpose([m.icdf(column) for m, column in zip(marginals, p.T, strict=True)])
    np.testing.assert_allclose(law.to_inputs(special.ndtri(p)), expected, rtol=1e-9)
    other = uqtestfuns.ProbInput([uqtestfuns.Marginal("logitnormal", [0.0, 1.0], name="a")])
    with pytest.raises(ValueError, match=r"input 'a' has the distribution 'logitnormal', expected"):
        as_law(other)


def test_a_salib_problem_without_dists_is_uniform():
    pytest.importorskip("SALib")
    from SALib.util import scale_samples

    problem = {"num_vars": 2, "bounds": [[-np.pi, np.pi], [0.0, 2.0]]}
    p = np.random.default_rng(10).random((20, 2))
    np.testing.assert_allclose(
        as_law(problem).to_inputs(special.ndtri(p)), scale_samples(p.copy(), dict(problem))
    )
    assert as_law(problem).names == ("X1", "X2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bounds": [[0, 1]]}, "bounds has 1 entries"),
        ({"bounds": None}, "bounds is missing"),
        ({"dists": ["unif", "cauchy"]}, "input 'b' has the distribution 'cauchy'"),
        ({"dists": ["unif", "truncnorm"]}, "input 'b': truncnorm has 2 bounds"),
        ({"bounds": [[0, 1], [1, 0]]}, "input 'b': unif with bounds"),
        ({"names": ["a", "a"]}, "names: 'a' occurs twice"),
        ({"names": "ab"}, "names has 1 entries"),
        ({"num_vars": 0}, "num_vars: got 0; expected"),
    ],
)
def test_bad_salib_problems(change, message):
    problem = {"num_vars": 2, "names": ["a", "b"], "bounds": [[0, 1], [0, 1]]}
    with pytest.raises(ValueError, match=message):
        as_law(problem | change)


@pytest.mark.parametrize(
    "mistake",
    [
        None,
        "normal",
        3.0,
        np.zeros((2, 2)),
        lambda n: n,
        stats.multinomial(3, [0.2, 0.8]),
        stats.rv_continuous,
        [stats.norm(), "normal"],
        [stats.norm(), stats.multivariate_normal([0.0, 0.0])],
    ],
)
def test_mistakes_are_told_what_is_accepted(mistake):
    with pytest.raises(TypeError, match=r"GaussianCopula\(marginals, correlation\)"):
        as_law(mistake)


@pytest.mark.parametrize("shape", [(50,), (3, 50)], ids=["one input", "three"])
def test_a_kernel_density_estimate_is_a_law(shape):
    data = np.random.default_rng(1).normal(size=shape)
    density = stats.gaussian_kde(data)
    law = as_law(density)
    x = law.sample(np.random.default_rng(2), 40)
    assert x.shape == (40, law.dimension)
    np.testing.assert_allclose(law.log_density(x), density.logpdf(x.T))
    other = as_law(stats.gaussian_kde(data + 1))
    assert law.describe() == as_law(stats.gaussian_kde(data)).describe() != other.describe()


def spliced(end):
    """The standard normal law, but for its upper tail."""

    class Spliced(stats.rv_continuous):
        def _ppf(self, q):
            return special.ndtri(q)

        def _cdf(self, x):
            return special.ndtr(x)

        def _pdf(self, x):
            return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) * np.where(x > 5, end, 1)

    return Spliced(name="spliced")()


def test_other_mistakes_say_what_is_wrong():
    for law, kind, message in [
        ([], ValueError, "empty"),
        ({}, ValueError, "empty"),
        ({1: stats.norm()}, TypeError, "non-empty strings"),
        ([stats.norm(), stats.gamma], TypeError, "X2.*not frozen"),
        ([stats.norm([0.0, 1.0])], ValueError, r"array of \(2,\) distributions"),
        ([stats.norm(0.0, -1.0)], ValueError, "scale: got -1; expected"),
        ([stats.gamma(-1.0)], ValueError, "quantiles.*are its parameters valid"),
        (stats.multivariate_normal([0, 0], [[1, 1], [1, 1]], allow_singular=True), ValueError, "s"),
        (stats.dirichlet([1.0, 2.0, 3.0]), ValueError, "own draws"),
    ]:
        with pytest.raises(kind, match=message):
            as_law(law)


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (stats.norm(1 + 2j, 1), r"law: loc: got \(1\+2j\); expected real numbers"),
        ([stats.norm(0, 1 + 0j)], "law: input 'X1': scale: got"),
        ({"a": stats.gamma(2 + 1j)}, "law: input 'a': a: got"),
        ({"a": stats.norm(loc=np.array([1j]))}, "law: input 'a': loc: got complex numbers"),
        ([stats.norm("1", 1)], "law: input 'X1': loc: got '1'"),
        ([stats.norm(None)], "loc: got None"),
        ([stats.norm(10**400)], "loc: got 1000.*; expected real numbers"),
        ([stats.norm(np.ma.masked)], "loc: some entries are masked"),
        ([stats.poisson(3 + 0j)], "law: input 'X1': mu: got"),
        ([stats.binom(10, "0.5")], "law: input 'X1': p: got '0.5'"),
        ([1 + 2j], "law: input 'X1': got a complex"),
        ({"num_vars": 1, "bounds": [[0j, 1]]}, "input 'X1': bounds: got 0j"),
        ({"num_vars": 1, "bounds": [["0", 1]]}, "input 'X1': bounds: got '0'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_parameters_that_are_no_real_numbers_are_refused_by_name(law, message):
    with pytest.raises(TypeError, match=message):
        as_law(law)


@pytest.mark.parametrize("shape", [(50,), (3, 50)], ids=["one input", "three"])
def test_a_kernel_density_of_complex_points_is_refused(shape):
    density = stats.gaussian_kde(np.random.default_rng(1).normal(size=shape))
    density.dataset = density.dataset + 0j
    with pytest.raises(TypeError, match="law: dataset: got complex numbers"):
        as_law(density)


class Giving(OneInput):
    """A law that gives its numbers as another kind."""

    def __init__(self, draws=np.asarray, density=np.asarray):
        self.draws, self.density = draws, density

    def rvs(self, size, random_state):
        return self.draws(super().rvs(size, random_state))

    def logpdf(self, x):
        return self.density(stats.expon.logpdf(np.real(x)))


class Inverted:
    """A law of quantiles that gives them as another kind."""

    def __init__(self, kind):
        self.kind = kind

    def __getattr__(self, name):
        if name not in ("ppf", "isf", "cdf", "sf", "logpdf"):
            raise AttributeError(name)
        found = getattr(stats.norm(), name)
        return lambda q: np.asarray(found(q), dtype=self.kind)


@pytest.mark.parametrize(("kind", "said"), [(complex, "complex numbers"), (str, "texts")])
def test_laws_of_the_users_give_real_numbers(kind, said):
    def of_a_kind(values):
        return np.asarray(values, dtype=kind)

    for law in (Giving(draws=of_a_kind), Giving(density=of_a_kind), Inverted(kind)):
        for given_as in (law, [law], {"a": law}):
            where = rf"law:( input '\w+':)? (rvs|logpdf|ppf): got {said} .*; expected real numbers"
            with pytest.raises(TypeError, match=where):
                as_law(given_as)
    hidden = Giving(density=lambda values: np.ma.masked_less(values, -1.0))
    with pytest.raises(TypeError, match="law: logpdf: some entries are masked"):
        as_law(hidden)
    assert as_law([Giving(density=lambda values: values.astype(object))]).dimension == 1


def test_densities_in_another_order_than_the_points_are_refused():
    upside_down = Giving(density=lambda values: pd.Series(values).sort_values())
    for law in (upside_down, [upside_down]):
        with pytest.raises(ValueError, match=r"logpdf.*: got rows labelled .* as \.sort_index\(\)"):
            as_law(law)
    assert as_law(Giving(density=pd.Series)).dimension == 1


def test_arguments_of_the_law_are_checked():
    law = as_law({"a": stats.norm(), "b": stats.expon()})
    for method in (law.to_inputs, law.from_inputs, law.log_density):
        with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
            method(np.zeros(2))
        with pytest.raises(ValueError, match=r"row 1 has .* at input 'b'"):
            method([[0.0, 0.5], [0.0, np.nan]])
    with pytest.raises(ValueError, match="not finite"):
        law.to_inputs([[0.0, np.inf]])
    with pytest.raises(TypeError, match="Generator"):
        law.sample(3, 10)
    for n in (-1, 2.5, True):
        with pytest.raises(ValueError, match="number of draws"):
            law.sample(np.random.default_rng(0), n)


LAWS = {
    "independent": [stats.norm(1.0, 2.0), stats.triang(0.4), stats.gamma(2.0)],
    "copula": GaussianCopula([stats.norm(), stats.expon(), stats.beta(2.0, 3.0)], CORRELATION),
    "normal": stats.multivariate_normal([1.0, 2.0, 3.0], CORRELATION),
    "student": stats.multivariate_t([1.0, 2.0, 3.0], CORRELATION, df=5),
}


@settings(max_examples=40)
@given(
    name=st.sampled_from(sorted(LAWS)),
    u=hnp.arrays(
        float,
        st.tuples(st.integers(0, 20), st.just(3)),
        elements=st.floats(-6, 6, allow_subnormal=False),
    ),
)
def test_layout_dtype_and_writability_do_not_matter(name, u):
    law = as_law(LAWS[name])
    x = law.to_inputs(u) if law.mapped else u
    assert x.shape == u.shape and law.log_density(x).shape == (len(u),)
    methods = [law.log_density, *([law.to_inputs, law.from_inputs] if law.mapped else [])]
    for method, points in zip(methods, [x, u, x], strict=False):
        expected = method(points)
        read_only = points.copy()
        read_only.flags.writeable = False
        wide = np.repeat(points, 2, axis=1)[:, ::2]
        np.testing.assert_array_equal(method(read_only), expected)
        np.testing.assert_array_equal(method(points.tolist() or points), expected)
        np.testing.assert_allclose(method(np.asfortranarray(points)), expected, rtol=1e-13)
        np.testing.assert_allclose(method(wide), expected, rtol=1e-13)
    if law.mapped:
        # the nearer a bounded input is to its end, the fewer digits of u are left in it
        near = np.abs(u) < 3
        np.testing.assert_allclose(law.from_inputs(x)[near], u[near], atol=1e-7)


def test_integers_are_points_too():
    law = as_law([stats.norm(), stats.norm(1.0, 2.0)])
    np.testing.assert_array_equal(law.to_inputs(np.array([[1, 2]])), [[1.0, 5.0]])


def test_rows_do_not_depend_on_the_others():
    law = as_law(LAWS["independent"])
    u = np.random.default_rng(11).standard_normal((20_000, 3))
    x = law.to_inputs(u)
    np.testing.assert_array_equal(law.to_inputs(u[9000:9100]), x[9000:9100])
    np.testing.assert_array_equal(law.log_density(x[9000:9100]), law.log_density(x)[9000:9100])


@pytest.mark.parametrize("law", [*LAWS.values(), Banana(), UNIVARIATE["new style"]])
def test_laws_survive_cloudpickle_and_describe_themselves_alike(law):
    law = as_law(law)
    again = cloudpickle.loads(cloudpickle.dumps(law))
    u = np.random.default_rng(12).standard_normal((5, law.dimension))
    np.testing.assert_array_equal(again.log_density(u + 0.5), law.log_density(u + 0.5))
    assert again.describe() == law.describe()
    assert json.loads(json.dumps(law.describe(), allow_nan=False)) == law.describe()
    assert as_law(law) is law


def test_descriptions_are_exact_and_tell_laws_apart():
    description = as_law({"q": Truncated(stats.gumbel_r(scale=0.1 + 0.2), lower=5.0)}).describe()
    assert description == {
        "kind": "independent",
        "names": ["q"],
        "marginals": [
            {
                "distribution": "truncated",
                "of": {
                    "distribution": "gumbel_r",
                    "shapes": [],
                    "loc": 0.0,
                    "scale": 0.30000000000000004,
                },
                "lower": 5.0,
                "upper": None,
            }
        ],
    }
    laws = [
        stats.norm(0.0, 1.0),
        stats.norm(0.0, 1.0 + 1e-15),
        stats.Normal(mu=0.0, sigma=1.0),
        stats.Normal(mu=0.0, sigma=1.0 + 1e-12),
        [stats.norm(), stats.norm()],
        GaussianCopula([stats.norm(), stats.norm()], [[1.0, 0.5], [0.5, 1.0]]),
        Banana(),
        stats.multivariate_t([0.0, 0.0], df=5),
        stats.multivariate_t([0.0, 0.0], df=6),
        *map(spliced, (1.0, 2.0)),
    ]
    assert len({json.dumps(as_law(law).describe()) for law in laws}) == len(laws)
    assert as_law(stats.norm(loc=0, scale=1)).describe() == as_law(laws[0]).describe()
