"""The main methods on problems of known answers: what ``smcweights demo`` runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

import smcweights as smw

from ..estimate import Estimate
from ..importance.laws import as_law
from ..randomness import generator, seed_sequence
from ..rejection.exact import constrained_markov_chain
from ..report import Section
from .clouds import colours
from .hydraulics import flood
from .places import place_names
from .problem import Problem
from .series import euro_dollar, nile

BUDGET = 20_000  # calls of the model


def plain_monte_carlo(problem: Problem, calls: int, seed: int) -> Estimate:
    """Plain Monte Carlo with as many calls, from a stream of its own."""
    x = as_law(problem.law).sample(generator(seed_sequence(seed), "plain Monte Carlo"), calls)
    values = problem.integrand(x)
    hits = (values != 0).sum(0)
    value, covariance = values.mean(0), np.cov(values.T) / calls
    return Estimate(
        value,
        covariance,
        names=problem.names,
        method="plain Monte Carlo",
        trials=np.where(hits == 0, float(calls), 0.0),
        cost={"evaluations": calls},
    )


def _flood(seed: int, progress: bool | None) -> Section:
    problem = flood()
    est = smw.adaptive_importance_sampling(
        problem.integrand, problem.law, BUDGET, names=problem.names, seed=seed, progress=progress
    )
    text = (
        "Overflow of a river over a low dyke: mean, second moment and four probabilities, all from "
        f"one sample of {est.cost['evaluations']:,} model calls. The truth is a quadrature; "
        "plain Monte Carlo had the same number of calls, and gain is the number of its calls that "
        "one call here is worth."
    )
    return Section(
        "Flood: many expectations from one sample",
        text,
        est,
        problem.expectations,
        plain_monte_carlo(problem, est.cost["evaluations"], seed),
    )


def _nile(seed: int, progress: bool | None) -> Section:
    _, volume = nile()
    model = smw.models.linear_gaussian(
        1.0, 1469.1, 1.0, 15099.0, initial_mean=1000.0, initial_covariance=1e5
    )
    est = smw.parisian_particle_gibbs(
        model,
        volume,
        smw.functionals.sum_of_states,
        100,
        40,
        seed=seed,
        progress=progress,
    ).apply(np.array([[1 / len(volume)]]), names=["mean level"])
    exact = smw.kalman_smoother(model, volume)
    text = (
        "Mean level of the Nile over a hundred years, given noisy yearly volumes: a local level "
        "model, smoothed by Parisian particle Gibbs with 8 chains. The truth is Kalman's smoother."
    )
    return Section("Nile: smoothing", text, est, [float(np.mean(exact.means))])


def _dam(seed: int, progress: bool | None) -> Section:
    from scipy import stats
    from scipy.special import gammaln

    year, volume = nile()
    x = np.stack([np.ones(len(year)), year >= 1899], axis=1)
    shape, rate, wide = 3.0, 50_000.0, 2.0  # of the precision, of the effects in noise units
    y = volume - 1000.0

    def effects(theta: np.ndarray) -> np.ndarray:
        return wide * theta[:, :2] / np.sqrt(theta[:, 2:])

    def log_likelihood(theta: np.ndarray) -> np.ndarray:
        precision = theta[:, 2]
        squares = ((y - effects(theta) @ x.T) ** 2).sum(1)
        return np.asarray(0.5 * (len(y) * np.log(precision / (2 * np.pi)) - precision * squares))

    prior = {
        "mean": stats.norm(),
        "fall": stats.norm(),
        "precision": stats.gamma(shape, scale=1 / rate),
    }
    functions = {
        "volume before": lambda theta: 1000 + effects(theta)[:, 0],
        "change by the dam": lambda theta: effects(theta)[:, 1],
    }
    found = smw.posterior(
        log_likelihood, prior, BUDGET // 2, functions=functions, seed=seed, progress=progress
    )
    inner = x.T @ x + np.eye(2) / wide**2
    mean = np.linalg.solve(inner, x.T @ y)
    more, left = shape + len(y) / 2, rate + 0.5 * (y @ y - mean @ inner @ mean)
    log_evidence = gammaln(more) - gammaln(shape) + shape * np.log(rate) - more * np.log(left)
    log_evidence -= 0.5 * (len(y) * np.log(2 * np.pi) + np.linalg.slogdet(wide**2 * inner)[1])
    text = (
        "Mean volume of the Nile before work on the dam began in 1899, the change after it, and "
        "the log evidence of that model, from "
        f"{found.joint.cost['evaluations']:,} calls of the likelihood. The truth is a closed form."
    )
    est = found.joint[["log evidence", *functions]]
    return Section(
        "Nile: a posterior and its evidence", text, est, [log_evidence, 1000 + mean[0], mean[1]]
    )


def _euro(seed: int, progress: bool | None) -> Section:
    persistence, volatility, scale = 0.99, 0.1, 0.5
    returns = 100 * np.diff(np.log(euro_dollar()[1]))
    model = smw.models.stochastic_volatility(persistence, volatility, scale)
    est = smw.particle_filter(
        model, returns, 2_000, repeats=8, seed=seed, progress=progress
    ).log_likelihood
    grid = np.linspace(-5, 5, 401)  # of log variances, seven standard deviations of their law
    move = np.exp(-0.5 * ((grid - persistence * grid[:, None]) / volatility) ** 2)
    move /= move.sum(axis=1, keepdims=True)
    law = np.exp(-0.5 * grid**2 * (1 - persistence**2) / volatility**2)
    law, exact = law / law.sum(), 0.0
    for y in returns:
        law = law * np.exp(-0.5 * (y / scale) ** 2 * np.exp(-grid) - 0.5 * grid)
        exact += float(np.log(law.sum() / (scale * np.sqrt(2 * np.pi))))
        law = law / law.sum() @ move
    text = (
        "Daily returns of the euro in dollars, 2006 to 2009, under a stochastic volatility model: "
        "its log likelihood, from 8 particle filters of 2,000 particles. The truth is a sum over a "
        "grid of log variances."
    )
    return Section("Euro: a particle filter", text, est, [exact])


def _places(seed: int, progress: bool | None) -> Section:
    names = place_names()
    letters = sorted(set("".join(names)))
    number = {letter: i for i, letter in enumerate(letters)}
    pairs = np.full((len(letters), len(letters)), 0.1)
    first = np.full(len(letters), 0.1)
    for name in names:
        first[number[name[0]]] += 1
        for a, b in itertools.pairwise(name):
            pairs[number[a], number[b]] += 1
    chain = smw.languages.markov_chain(
        first / first.sum(), pairs / pairs.sum(axis=1, keepdims=True)
    )
    vowels = {number[letter] for letter in "aeiou" if letter in number}
    table = [
        [1 if i in vowels else 2 for i in range(len(letters))],
        [-1 if i in vowels else 2 for i in range(len(letters))],
        [1 if i in vowels else -1 for i in range(len(letters))],
    ]
    machine = smw.constraints.automaton(table, accepting=[1, 2])
    found = smw.constrained_sequences(
        chain, machine, 200, 10, islands=8, seed=seed, progress=progress
    )
    exact = constrained_markov_chain(chain, machine, 10)
    text = (
        "Ten letters drawn from a Markov chain of the letters of place names, vowels and other "
        "letters by turns: the logarithm of the probability that the chain does so by itself, from "
        "particles that draw under the constraint. The truth is dynamic programming."
    )
    est = found.log_evidence.apply(lambda v: v, names="log evidence")
    return Section("Place names: sequences under a constraint", text, est, [exact.log_evidence])


def _colours(seed: int, progress: bool | None) -> Section:
    portrait, parcel = colours()
    est = smw.sliced_wasserstein(portrait, parcel, 200, seed=seed, progress=progress)
    long = smw.sliced_wasserstein(portrait, parcel, 10_000, seed=seed + 1, progress=False)
    text = (
        "Sliced Wasserstein distance between the colours of two pictures, a thousand pixels each, "
        "from 200 directions in turned rules. The truth is a run of "
        f"{long.cost['evaluations']:,} directions."
    )
    est = est.apply(lambda v: v, names="distance")
    return Section("Colours: a distance between clouds", text, est, [float(long.value)])


# by the name of the saved result; every method adds one
DEMONSTRATIONS: dict[str, Callable[[int, bool | None], Section]] = {
    "demo": _flood,
    "posterior": _dam,
    "smoothing": _nile,
    "filtering": _euro,
    "sequences": _places,
    "distance": _colours,
}
