"""Whether stated errors hold: every estimator that states one, where the truth is known.

    python benchmarks/honesty.py [--only WORD ...] [--seeds N] [--workers N] [--readme]

Each case runs an estimator with many seeds through `smcweights.calibrate`: coverage of 50, 80, 95
and 99 % intervals of the runs that did not warn, the share that warned, real over stated error,
and the z value of the bias. Peers stand beside us on the same problems. Truths are closed forms,
quadratures, Kalman filters and enumerations. Of what states an error two have no case, since what
they estimate depends on the run: `importance_resampling` and `online_maximum_likelihood`. Results
go to results/honesty.json, a case at a time, with the day; --readme prints the table from there.
"""

import argparse
import importlib.util
import json
import math
import platform
import time
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy import stats

import smcweights as smw

RESULTS = Path(__file__).parent / "results" / "honesty.json"
LEVELS = (0.5, 0.8, 0.95, 0.99)
# what the first page shows, and what others offer on the same problem
SHORT = {
    "six expectations of a river": ["adaptive: flood, 5,000"],
    "failure probability, 10 inputs": [
        "failure_probability: 10 inputs",
        "OpenTURNS: subset sampling, 10 inputs",
    ],
    "Sobol' indices of exp(a) + b": [
        "sobol_indices: exp(a) + b, 2,000",
        "SALib: exp(a) + b, 2,048",
        "OpenTURNS: exp(a) + b, 2,048",
    ],
    "smoothed states": ["smoothing: parisian"],
    "log evidence of a constraint": ["constrained_sequences: log evidence"],
    "sliced distance, 10 dimensions": ["sliced_wasserstein: d=10, p=2, 50"],
}


def expectations(name, budget, controls, seed):
    problem = getattr(smw.problems, name)()
    return smw.adaptive_importance_sampling(
        problem.integrand, problem.law, budget, names=problem.names, seed=seed,
        control_variates=controls,
    )  # fmt: skip


def truth_of(name):
    problem = getattr(smw.problems, name)()
    return [problem.truth[part] for part in problem.names]


NORMALS = [stats.norm()] * 2


def tail(x):
    return x[:, 0] > 3


def tail_by_a_proposal(seed, self_normalized=False):
    shifted = [stats.norm(3.0), stats.norm()]
    return smw.importance_sampling(
        tail, NORMALS, shifted, 1_000, self_normalized=self_normalized, seed=seed
    )


def linear_failure(seed):
    law = [stats.norm()] * 10
    return smw.failure_probability(
        lambda x: 3.5 - x.sum(axis=1) / math.sqrt(10), law, 3_000, seed=seed
    )


def lognormal_sum(x):
    return np.exp(x[:, 0]) + x[:, 1]


def first_of_sum(seed, budget=2_000):
    return smw.sobol_indices(lognormal_sum, NORMALS, budget, seed=seed).first


def drawn_wider(seed):
    return smw.sobol_indices(lognormal_sum, NORMALS, 4_000, method="importance", seed=seed).first


def all_indices(seed):
    problem = smw.problems.ishigami()
    order = ("first", "total", "second")
    return smw.sobol_indices(problem.function, problem.law, 6_000, order=order, seed=seed).indices


def exact_indices():
    truth = smw.problems.ishigami().truth
    return [*truth["first"], *truth["total"], *truth["second"]]


LOGNORMAL_VARIANCE = math.e * (math.e - 1)
FIRST_OF_SUM = np.array([LOGNORMAL_VARIANCE, 1.0]) / (LOGNORMAL_VARIANCE + 1)


def from_a_sample(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1_000, 2))
    y = x[:, 0] + 0.5 * x[:, 1] ** 2
    return smw.sobol_from_sample(x, y, order="first", seed=seed).first


def from_a_sample_of(name, seed):
    problem = getattr(smw.problems, name)()
    rng = np.random.default_rng(seed)
    x = np.column_stack([each.rvs(1_000, random_state=rng) for each in problem.law])
    return smw.sobol_from_sample(x, problem.function(x), order="first", seed=seed).first


SHIFTS = (-0.3, 0.3)
# by the first input, then by the second, which doesn't matter
SHIFTED = [*stats.norm.sf([3.3, 2.7]), *stats.norm.sf([3.0, 3.0])]


def shifted(seed):
    est = smw.adaptive_importance_sampling(tail, NORMALS, 2_000, seed=seed)
    return smw.perturbation_study(est, NORMALS, shifts=SHIFTS).estimate


def both_laws(seed):
    laws = [stats.norm(m) for m in (0.0, 0.3)]
    laws = [[one, stats.norm()] for one in laws]
    integrand = smw.under_laws(tail, NORMALS, laws)
    return smw.adaptive_importance_sampling(integrand, NORMALS, 2_000, seed=seed)


def moved(seed):
    est = smw.adaptive_importance_sampling(tail, NORMALS, 2_000, seed=seed)
    return smw.reweight(est, [stats.norm(0.3), stats.norm()])


def gone_on(seed):
    return smw.adaptive_importance_sampling(tail, NORMALS, 1_000, seed=seed).extend(tail, 1_000)


def both_tails(x):
    return np.column_stack([x[:, 0] > 3, x[:, 0] > 2.5])


def applied(seed):
    """The log of a conditional probability, by the delta method."""
    both = smw.adaptive_importance_sampling(both_tails, NORMALS, 2_000, seed=seed)
    return both.apply(lambda p: np.log(p[0] / p[1]))


def weights_from_elsewhere(seed):
    x = np.random.default_rng(seed).standard_t(5, size=500)
    return smw.from_weights(x**2, stats.norm.logpdf(x) - stats.t.logpdf(x, 5))


def pooled(seed):
    runs = [tail_by_a_proposal(10_000 * k + seed) for k in (1, 2, 3)]
    return smw.combine(runs)


@cache
def regression():
    """Design, response and exact law of a conjugate regression: log evidence, mean, covariance."""
    rng = np.random.default_rng(6)
    x = np.column_stack([np.ones(30), rng.normal(size=(30, 2))])
    y = x @ [0.5, -1.0, 0.2] + 0.5 * rng.normal(size=30)
    return x, y


def exact_regression(columns):
    x, y = regression()
    x = x[:, :columns]
    evidence = stats.multivariate_normal(np.zeros(30), x @ x.T + 0.25 * np.eye(30)).logpdf(y)
    covariance = np.linalg.inv(np.eye(columns) + x.T @ x / 0.25)
    return evidence, covariance @ x.T @ y / 0.25, np.sqrt(np.diag(covariance))


@cache
def conjugate(seed, columns=3, budget=3_000):
    x, y = regression()

    def log_likelihood(theta):
        return stats.norm.logpdf(y, theta @ x[:, :columns].T, 0.5).sum(axis=1)

    names = ["a", "b", "c"][:columns]
    return smw.posterior(log_likelihood, {n: stats.norm() for n in names}, budget, seed=seed)


def exact_quantiles():
    _, mean, sd = exact_regression(3)
    return (stats.norm.ppf([[0.025], [0.5], [0.975]]) * sd + mean).ravel()


def bayes_factor(seed):
    with_c, without = conjugate(seed), conjugate(10_000 + seed, columns=2)
    return smw.log_bayes_factor(with_c.log_evidence, without.log_evidence)


def exact_bayes_factor():
    return exact_regression(3)[0] - exact_regression(2)[0]


def odds(seed):
    models = {"with c": conjugate(seed), "without": conjugate(10_000 + seed, columns=2)}
    return smw.model_probabilities(models)


def exact_odds():
    share = 1 / (1 + math.exp(-exact_bayes_factor()))
    return [share, 1 - share]


PRIOR = {"a": stats.norm(0.2, 0.8), "b": stats.norm(), "c": stats.norm()}


def under_another_prior(seed):
    return smw.reweight(conjugate(seed), [PRIOR])


def exact_under_another_prior():
    """Log evidence, means and standard deviations where a has another normal prior."""
    x, y = regression()
    mean, precision = np.array([0.2, 0, 0]), np.diag([0.8**-2, 1, 1])
    law = stats.multivariate_normal(x @ mean, x @ np.linalg.inv(precision) @ x.T + np.eye(30) / 4)
    covariance = np.linalg.inv(precision + 4 * x.T @ x)
    means = covariance @ (precision @ mean + 4 * x.T @ y)
    return [law.logpdf(y), *means, *np.sqrt(np.diag(covariance))]


def nested_sampling(seed):
    """Log evidence by dynesty and its error, at some 3,000 likelihood calls."""
    from dynesty import NestedSampler

    x, y = regression()
    run = NestedSampler(
        lambda theta: stats.norm.logpdf(y, x @ theta, 0.5).sum(),
        stats.norm.ppf, 3, nlive=100, rstate=np.random.default_rng(seed),
    )  # fmt: skip
    run.run_nested(print_progress=False)
    return run.results.logz[-1], run.results.logzerr[-1]


SHARES = (0.001, 0.05, 0.5, 0.95, 0.999)


@cache
def law_of_sum(seed):
    law = [stats.expon()] * 3
    return smw.output_law(
        lambda x: x.sum(axis=1), law, 3_000, quantiles=SHARES, expected_shortfall=SHARES, seed=seed
    )


def probabilities_of_sum(seed):
    return law_of_sum(seed).exceedance(stats.gamma.isf(SHARES, 3))


def exact_shortfall():
    """Means of a gamma of shape 3 beyond its quantiles."""
    beyond = stats.gamma.ppf(SHARES, 3)
    return 3 * stats.gamma.sf(beyond, 4) / (1 - np.array(SHARES))


def effects_of_sum(seed):
    return smw.shapley_effects(lognormal_sum, NORMALS, 2_000, seed=seed).effects


def unknown_law(seed):
    """A probability where the law was fitted to 50 data, with the error of these."""
    data = {"load": np.random.default_rng(seed).normal(size=50)}
    law = {"load": stats.norm(*stats.norm.fit(data["load"]))}
    est = smw.failure_probability(lambda x: 2 - x[:, 0], law, 1_000, seed=seed)
    return smw.input_uncertainty(est, data, seed=seed).total


@cache
def series():
    model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    _, y = model.simulate(50, seed=11)
    return model, y


@cache
def kalman():
    model, y = series()
    return smw.kalman_filter(model, y), smw.kalman_smoother(model, y)


def log_z(repeats, seed):
    model, y = series()
    return smw.particle_filter(model, y, 300, repeats=repeats, seed=seed).log_likelihood


def single(seed):
    model, y = series()
    return smw.log_likelihood(model, y, 500, seed=seed)


def smoothed(method, seed):
    model, y = series()
    total = smw.functionals.sum_of_states
    if method == "paris":
        return smw.paris(model, y, total, 200, seed=seed)
    if method == "unbiased":
        return smw.unbiased_smoothing(model, y, total, 50, 30, seed=seed)
    return smw.parisian_particle_gibbs(model, y, total, 50, 40, seed=seed)


def score_of(seed):
    model, y = series()
    free = ["transition_covariance"]
    return smw.score(model, y, None, 50, 60, free=free, seed=seed)


@cache
def exact_score():
    y = series()[1]

    def value(q):
        moved = smw.models.linear_gaussian(0.9, q, 1.0, 1.0, 0.0, 1.0 / (1 - 0.81))
        return float(smw.kalman_filter(moved, y).log_likelihood)

    h = 1e-4
    return [(value(1 + h) - value(1 - h)) / (2 * h)]


@cache
def ahead(seed):
    return smw.forecast(*series(), 1, 2_000, levels=[0.05, 0.5, 0.95], seed=seed)


def means_ahead(seed):
    model, y = series()
    return smw.forecast(model, y, 3, 2_000, seed=seed).observation_means


def exact_means_ahead():
    return 0.9 ** np.arange(1, 4) * kalman()[0].means[-1].item()


def exact_quantiles_ahead(noise):
    """Of the state with a noise of 0, of the observation with 1."""
    law = smw.kalman_forecast(*series(), 1)
    return stats.norm.ppf([0.05, 0.5, 0.95], law.means[0], (law.covariances[0] + noise) ** 0.5)


@cache
def coefficients():
    """A grid of the transition's coefficient, and the exact log likelihood there."""
    y, grid = series()[1], np.linspace(0.4, 0.999, 1_200)
    models = (smw.models.linear_gaussian(a, 1.0, 1.0, 1.0, 0.0, 1 / 0.19) for a in grid)
    return grid, np.array([float(smw.kalman_filter(m, y).log_likelihood) for m in models])


FREE = ["transition_matrix"]


def metropolis(seed):
    model, y = series()
    flat = lambda theta: 0.0 if 0.4 < theta[0] < 0.999 else -math.inf  # noqa: E731
    draws = smw.particle_marginal_metropolis_hastings(
        model, y, flat, 60, 1_500, free=FREE, keep_states=None, seed=seed
    )
    return smw.posterior_means(draws)


def exact_coefficient():
    grid, log_l = coefficients()
    w = np.exp(log_l - log_l.max())
    return [w @ grid / w.sum()]


def gibbs(seed):
    return smw.posterior_means(smw.particle_gibbs(*series(), 30, 400, seed=seed))[10:40]


def maximiser(seed):
    model, y = series()
    found = smw.maximum_likelihood(model, y, None, 40, 60, free=FREE, information=False, seed=seed)
    return found.maximiser


def climbed(seed):
    model, y = series()
    return smw.markov_score_climbing(model, None, 40, 120, y=y, free=FREE, seed=seed).maximiser


def parabola():
    """Highest point of the log likelihood and the information, of the model as it stands."""
    grid, log_l = coefficients()
    i = int(np.argmax(log_l))
    curve = np.polynomial.Polynomial.fit(grid[i - 40 : i + 41], log_l[i - 40 : i + 41], 6)
    slope = curve.deriv()
    at = [r.real for r in slope.roots() if abs(r.imag) < 1e-9 and abs(r.real - grid[i]) < 0.01]
    return at[0], -float(slope.deriv()(0.9))


def information(seed):
    model, y = series()
    return smw.observed_information(model, y, None, 40, 60, free=FREE, seed=seed)


LOGITS = np.random.default_rng(3).normal(size=2_000) * 2


def allowed(item):
    return item % 7 == 0


def probability(seed):
    return smw.constraint_probability(LOGITS, allowed, 400, seed=seed)


@cache
def chain():
    rng = np.random.default_rng(4)
    return rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4), size=4)


@cache
def words(seed):
    initial, transition = chain()
    language = smw.languages.markov_chain(initial, transition)
    rule = smw.constraints.predicate(lambda prefix, item: (*prefix, item).count(1) <= 1)
    return smw.constrained_sequences(language, rule, 100, 8, seed=seed)


def ratio_of_words(seed):
    return words(seed).log_ratio(words(10_000 + seed))


@cache
def exact_words():
    """Log evidence, and mean length to the first end (never: 8), by recursion over counts."""
    initial, transition = chain()
    alive = np.zeros((2, 4))
    for item in range(4):
        alive[int(item == 1), item] = initial[item]
    for _ in range(7):
        after = np.zeros((2, 4))
        for count in (0, 1):
            for item in range(4):
                for new in range(4):
                    if count + (new == 1) <= 1:
                        after[count + (new == 1), new] += alive[count, item] * transition[item, new]
        alive = after
    return math.log(alive.sum()), alive[:, 0].sum() / alive.sum()


@cache
def clouds(d, n=60):
    rng = np.random.default_rng(d)
    return rng.normal(size=(n, d)), rng.normal(size=(n, d)) * 1.3 + 0.2


@cache
def sliced_truth(d, p):
    return plain_mean(*clouds(d), p)


def directions_of(d):
    """4,000,000 of them in parts: in space a grid of equal areas on half the sphere, else drawn."""
    rng = np.random.default_rng(5)
    for k in range(200):
        if d == 3:
            height = np.repeat((5 * k + np.arange(5) + 0.5) / 1_000, 4_000)
            turn = np.tile(np.arange(4_000) * math.pi / 2_000, 5)
            side = np.sqrt(1 - height**2)
            yield np.column_stack([side * np.cos(turn), side * np.sin(turn), height])
        else:
            theta = rng.normal(size=(20_000, d))
            yield theta / np.linalg.norm(theta, axis=1, keepdims=True)


def plain_mean(x, y, p):
    """Of the cost, over all directions of `directions_of`."""
    gaps = (np.sort(t @ x.T, axis=1) - np.sort(t @ y.T, axis=1) for t in directions_of(x.shape[1]))
    return float(np.mean([(np.abs(gap) ** p).mean() for gap in gaps]))


def sliced(d, p, budget, seed):
    return smw.sliced_wasserstein(*clouds(d), budget, p=p, root=False, seed=seed)


@cache
def three_clouds():
    x, y = clouds(10)
    return {"a": x, "b": y, "c": 0.5 * (x + y)}


def distances(seed):
    return smw.sliced_wasserstein_matrix(three_clouds(), 50, root=False, seed=seed)


def beside_a_gradient(seed):
    return smw.sliced_gradient(*clouds(10), 50, root=False, seed=seed).distance


def from_a_reference(seed):
    x, y = clouds(10)
    return smw.SlicedReference(y, 50, seed=seed).distance(x, root=False)


@cache
def exact_distances():
    a, b, c = three_clouds().values()
    return [sliced_truth(10, 2), plain_mean(a, c, 2), plain_mean(b, c, 2)]


def population(d, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(100, d)), rng.normal(size=(100, d)) + np.eye(d)[0]
    return smw.sliced_two_sample(x, y, 50, root=False, seed=seed)


def salib_first(seed):
    from SALib.analyze import sobol
    from SALib.sample import sobol as sampling

    problem = {"num_vars": 2, "names": ["a", "b"], "bounds": [[0, 1]] * 2}
    u = sampling.sample(problem, 512, calc_second_order=False, seed=seed)
    y = lognormal_sum(stats.norm.ppf(np.clip(u, 1e-12, 1 - 1e-12)))
    found = sobol.analyze(problem, y, calc_second_order=False, seed=seed)
    return found["S1"], found["S1_conf"] / 1.959964


def openturns_first(seed):
    import openturns as ot

    ot.RandomGenerator.SetSeed(seed)
    law = ot.JointDistribution([ot.Normal()] * 2)
    design = ot.SobolIndicesExperiment(law, 512, False).generate()
    y = lognormal_sum(np.asarray(design))[:, None]
    found = ot.SaltelliSensitivityAlgorithm(design, y, 512)
    interval = found.getFirstOrderIndicesInterval()
    return (
        np.array(found.getFirstOrderIndices()),
        np.array(interval.getLowerBound()),
        np.array(interval.getUpperBound()),
    )


def scipy_bootstrap(seed):
    x = np.random.default_rng(seed).lognormal(size=100)
    found = stats.bootstrap((x,), np.mean, n_resamples=500, rng=np.random.default_rng(seed))
    return x.mean(), *found.confidence_interval


def openturns_failure(seed):
    import openturns as ot

    ot.RandomGenerator.SetSeed(seed)
    x = ot.RandomVector(ot.Normal(10))
    g = ot.SymbolicFunction([f"x{k}" for k in range(10)], ["+".join(f"x{k}" for k in range(10))])
    event = ot.ThresholdEvent(ot.CompositeRandomVector(g, x), ot.Greater(), 3.5 * math.sqrt(10))
    run = ot.SubsetSampling(event)
    run.setMaximumOuterSampling(1_000)
    run.run()
    found = run.getResult()
    return found.getProbabilityEstimate(), found.getStandardDeviation()


def cases():
    """Name: (run, truth, seeds, levels); a truth may be a function."""
    both = {}

    def add(name, run, truth, seeds=1_000, levels=LEVELS):
        both[name] = run, truth, seeds, levels

    long = partial(add, seeds=300)  # a run takes more than 50 ms

    for name in ("flood", "cantilever_beam", "lognormal_ratio", "ishigami"):
        exact = partial(truth_of, name)
        long(f"adaptive: {name}, 5,000", partial(expectations, name, 5_000, True), exact)
        polynomial = partial(expectations, name, 5_000, "polynomial")
        long(f"adaptive: {name}, 5,000, polynomial", polynomial, exact)
    p = stats.norm.sf(3.0)
    add("importance_sampling: tail", tail_by_a_proposal, p)
    normalised = partial(tail_by_a_proposal, self_normalized=True)
    add("importance_sampling: tail, self-normalised", normalised, p)
    add("combine: three runs", pooled, p)
    add("from_weights: second moment", weights_from_elsewhere, 1.0)
    add("reweight: shifted law", moved, stats.norm.sf(2.7))
    add("extend: tail, 1,000 and 1,000 more", gone_on, p)
    long("apply: log of a ratio of tails", applied, math.log(p / stats.norm.sf(2.5)))
    long("failure_probability: 10 inputs", linear_failure, stats.norm.sf(3.5))
    long("perturbation_study: tail, two shifts", shifted, SHIFTED)
    long("under_laws: tail, two laws", both_laws, stats.norm.sf([3.0, 2.7]))
    long("sobol_indices: exp(a) + b, 2,000", first_of_sum, FIRST_OF_SUM)
    long("sobol_indices: exp(a) + b, 4,000, drawn wider", drawn_wider, FIRST_OF_SUM)
    long("sobol_indices: ishigami, 6,000, all", all_indices, exact_indices)
    first = [1 / 1.5, 0.5 / 1.5]
    add("sobol_from_sample: a + b² / 2, 1,000", from_a_sample, first, 3_000)
    for name in ("ishigami", "g_function"):
        exact = getattr(smw.problems, name)().truth["first"]
        run = partial(from_a_sample_of, name)
        add(f"sobol_from_sample: {name}, 1,000", run, exact)
    add("posterior: log evidence", lambda s: conjugate(s).log_evidence, _part_of_regression(0))
    long("posterior: means", lambda s: conjugate(s).joint[1:4], _part_of_regression(1))
    long(
        "posterior: standard deviations", lambda s: conjugate(s).joint[4:7], _part_of_regression(2)
    )
    long("posterior: quantiles", lambda s: conjugate(s).quantiles, exact_quantiles)
    long("log_bayes_factor", bayes_factor, exact_bayes_factor)
    long("model_probabilities", odds, exact_odds)
    long("reweight: posterior, another prior", under_another_prior, exact_under_another_prior)
    quantiles = stats.gamma.ppf(SHARES, 3)
    long("output_law: five quantiles", lambda s: law_of_sum(s).quantiles, quantiles)
    shortfall = lambda s: law_of_sum(s).expected_shortfall  # noqa: E731
    long("output_law: five expected shortfalls", shortfall, exact_shortfall)
    long("output_law: five probabilities", probabilities_of_sum, SHARES)
    long("output_law: mean", lambda s: law_of_sum(s).mean, 3.0)
    add("shapley_effects: exp(a) + b, 2,000", effects_of_sum, FIRST_OF_SUM)
    long("input_uncertainty: law of 50 data", unknown_law, stats.norm.sf(2.0))
    model_z = lambda: float(kalman()[0].log_likelihood)  # noqa: E731
    add("particle_filter: log likelihood of 8", partial(log_z, 8), model_z)
    add("log_likelihood: one run", single, model_z)
    total = lambda: float(np.sum(kalman()[1].means))  # noqa: E731
    for method in ("paris", "parisian", "unbiased"):
        long(f"smoothing: {method}", partial(smoothed, method), total)
    long("score", score_of, exact_score)
    long("observed_information", information, lambda: [parabola()[1]])
    long("maximum_likelihood", maximiser, lambda: [parabola()[0]])
    long("markov_score_climbing", climbed, lambda: [parabola()[0]])
    long("particle marginal Metropolis-Hastings", metropolis, exact_coefficient)
    long("particle_gibbs: states", gibbs, lambda: kalman()[1].means[10:40])
    for what, noise in (("state", 0.0), ("observation", 1.0)):
        run = partial(lambda part, s: getattr(ahead(s), part), f"{what}_quantiles")
        add(f"forecast: quantiles of the {what}", run, partial(exact_quantiles_ahead, noise))
    add("forecast: means of observations", means_ahead, exact_means_ahead)
    add("constraint_probability", probability, _share_allowed)
    long("constrained_sequences: log evidence", lambda s: words(s).log_evidence, _log_evidence)
    ends = lambda s: words(s).expectation(lambda w: float(w[-1] == 0))  # noqa: E731
    long("constrained_sequences: a mean", ends, lambda: exact_words()[1])
    long("constrained_sequences: log ratio of two", ratio_of_words, 0.0)
    # in the plane clouds of 60 points have exact distances: there is no error to state
    for d, power, budget in ((3, 2, 50), (3, 1, 100), (10, 2, 50), (50, 2, 50)):
        run, exact = partial(sliced, d, power, budget), partial(sliced_truth, d, power)
        add(f"sliced_wasserstein: d={d}, p={power}, {budget}", run, exact)
    for d in (1, 3, 10):
        add(f"sliced_two_sample: d={d}", partial(population, d), 1 / d)
    add("sliced_wasserstein_matrix: d=10, 50", distances, exact_distances)
    exact = partial(sliced_truth, 10, 2)
    add("sliced_gradient: distance, d=10, 50", beside_a_gradient, exact)
    add("SlicedReference: d=10, 50", from_a_reference, exact)
    add("SALib: exp(a) + b, 2,048", salib_first, FIRST_OF_SUM)
    add("OpenTURNS: exp(a) + b, 2,048", openturns_first, FIRST_OF_SUM, levels=(0.95,))
    add("OpenTURNS: subset sampling, 10 inputs", openturns_failure, stats.norm.sf(3.5))
    if importlib.util.find_spec("dynesty"):
        long("dynesty: log evidence", nested_sampling, _part_of_regression(0))
    mean = math.exp(0.5)
    add("SciPy: bootstrap of a lognormal mean", scipy_bootstrap, mean, levels=(0.95,))
    return both


def _part_of_regression(k):
    return lambda: exact_regression(3)[k]


def _share_allowed():
    w = np.exp(LOGITS - LOGITS.max())
    return float(w[::7].sum() / w.sum())


def _log_evidence():
    return exact_words()[0]


def measure(name, run, truth, seeds, levels, workers):
    began = time.perf_counter()
    truth = truth() if callable(truth) else truth
    executor = f"processes:{workers}" if workers > 1 else None
    found = smw.calibrate(run, truth, seeds, levels=levels, executor=executor, progress=False)
    at_95 = found.coverage[:, list(levels).index(0.95)]
    return {
        "runs": len(found.seeds),
        "components": len(found.names),
        "levels": list(levels),
        "coverage": found.coverage.mean(axis=0).round(4).tolist(),
        "least_at_95": round(float(at_95.min()), 4),
        "warned": float(found.warned.mean().round(4)),
        "error_ratio": float(np.median(found.error_ratio).round(3)),
        "bias_z": float(np.abs(found.bias_z).max().round(2)),
        "honest": found.honest,
        "seconds": round(time.perf_counter() - began, 1),
        "date": time.strftime("%Y-%m-%d"),
    }


def table(kept):
    """As it stands in the documentation."""
    heads = ["estimator and problem", "runs", "50 %", "80 %", "95 %", "99 %", "least at 95 %"]
    heads += ["warned", "real/stated error", "largest bias z"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, row in kept["cases"].items():
        cells = dict(zip(row["levels"], row["coverage"], strict=True))
        shares = [in_percent(cells.get(own, math.nan)) for own in LEVELS]
        shares += [in_percent(row["least_at_95"]), f"{100 * row['warned']:.0f} %"]
        shares += ["" if math.isnan(n) else f"{n:.2f}" for n in (row["error_ratio"], row["bias_z"])]
        lines.append(f"| {name} | {row['runs']:,} | {' | '.join(shares)} |")
    return "\n".join(lines)


def short(kept):
    """As it stands on the first page: a problem of each room, and others on the same."""
    lines = ["| of 95 % intervals, those that hold | runs | held | warned | others |"]
    lines.append("|---|---:|---:|---:|---|")
    for words, (name, *others) in SHORT.items():
        held = [in_percent(_at_95(kept["cases"][one])) for one in (name, *others)]
        beside = [f"{n.partition(':')[0]} {h} %" for n, h in zip(others, held[1:], strict=True)]
        row = kept["cases"][name]
        cells = [words, f"{row['runs']:,}", f"{held[0]} %", f"{100 * row['warned']:.0f} %"]
        lines.append(f"| {' | '.join([*cells, ', '.join(beside)])} |")
    return "\n".join(lines)


def _at_95(row):
    return row["coverage"][row["levels"].index(0.95)]


def in_percent(share):
    """A share, where any run is asked for it."""
    return "" if math.isnan(share) else f"{100 * share:.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], help="cases whose name contains one of these"
    )
    parser.add_argument("--seeds", type=int, help="runs of each case")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--readme", action="store_true", help="print the table that was kept")
    parser.add_argument("--short", action="store_true", help="print what the first page has of it")
    options = parser.parse_args()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cases": {}}
    if options.readme or options.short:
        print(short(kept) if options.short else table(kept))
        return
    known = cases()
    for name, (run, truth, seeds, levels) in known.items():
        if any(word in name for word in options.only):
            row = measure(name, run, truth, options.seeds or seeds, levels, options.workers)
            found = kept["cases"] | {name: row}
            kept["cases"] = {n: found[n] for n in dict.fromkeys([*known, *found]) if n in found}
            kept |= {"version": smw.__version__, "machine": platform.processor()}
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
            print(name, row, flush=True)


if __name__ == "__main__":
    main()
