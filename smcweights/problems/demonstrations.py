"""The main methods on problems of known answers: what ``smcweights demo`` runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

import smcweights as smw

from .. import plots
from ..estimate import Estimate
from ..importance.laws import as_law
from ..randomness import generator, seed_sequence
from ..rejection.exact import constrained_markov_chain
from ..rejection.languages import NGram
from ..report import Section
from ..weights import normalise
from . import pictures
from .clouds import colours
from .hydraulics import FLOOD_LEVELS, flood
from .places import place_names
from .problem import Problem
from .series import euro_dollar, nile

BUDGET = 20_000  # calls of the model
PARTICLES = 2_000  # of a filter
SWEEPS, PATHS = 80, 250  # of every chain
LETTERS = 12  # most of a name, its end included
NAMES = 15  # that are shown
DAM = 1899  # first year of the work on it


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
        "one call here is worth. The column 'in' says whether an interval holds the truth, which "
        "one in twenty should not."
    )
    return Section(
        "Flood: many expectations from one sample",
        text,
        est,
        problem.expectations,
        plain_monte_carlo(problem, est.cost["evaluations"], seed),
    )


def _failure(seed: int, progress: bool | None) -> Section:
    problem, height = flood(), FLOOD_LEVELS[-1]
    name = problem.names[-1]
    est = smw.failure_probability(
        lambda x: height - problem.function(x),
        problem.law,
        BUDGET // 5,
        names=[name],
        seed=seed,
        progress=progress,
    )
    text = (
        f"The same river, {height} metres over the dyke, which happens once in 61,000 years. "
        f"{est.cost['evaluations']:,} model calls find where it does and how likely that is; as "
        "many of plain Monte Carlo would see it in one run out of fifteen. The truth is a "
        "quadrature."
    )
    caption = "Draws in the two inputs that matter most, of eight"
    return Section(
        "Flood: a rare failure",
        text,
        est,
        [problem.truth[name]],
        figures=[(caption, partial(plots.failures, est))],
    )


def _dam(seed: int, progress: bool | None) -> Section:
    from scipy import stats
    from scipy.special import gammaln

    year, volume = nile()
    x = np.stack([np.ones(len(year)), year >= DAM], axis=1)
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
        f"Mean volume of the Nile before work on the dam began in {DAM}, the change after it, and "
        "the log evidence of that model, from "
        f"{found.joint.cost['evaluations']:,} calls of the likelihood. The truth is a closed form."
    )
    est = found.joint[["log evidence", *functions]]
    w, part = normalise(found.log_weight), effects(found.draws)
    both = 1000 + np.stack([part[:, 0], part.sum(axis=1)])
    means = both @ w
    spread = np.sqrt((both - means[:, None]) ** 2 @ w)
    of = list(zip(means.tolist(), spread.tolist(), strict=True))
    return Section(
        "Nile: a posterior and its evidence",
        text,
        est,
        [log_evidence, 1000 + mean[0], mean[1]],
        figures=[
            ("Volumes, and their mean", partial(pictures.levels, year, volume, DAM, of)),
            ("Posterior of the parameters", partial(plots.marginals, found)),
        ],
    )


def _nile(seed: int, progress: bool | None) -> Section:
    year, volume = nile()
    model = smw.models.linear_gaussian(
        1.0, 1469.1, 1.0, 15099.0, initial_mean=1000.0, initial_covariance=1e5
    )
    level = smw.parisian_particle_gibbs(
        model, volume, smw.functionals.states, 100, SWEEPS, seed=seed, progress=progress
    )
    paths = smw.particle_gibbs(model, volume, 100, PATHS, seed=seed, progress=progress)
    found = level.value, paths["posterior"]["x"].to_numpy().std(axis=(0, 1))
    exact = smw.kalman_smoother(model, volume)
    truth = exact.means.ravel(), np.sqrt(exact.covariances.ravel())
    est = level.apply(np.full((1, len(volume)), 1 / len(volume)), names=["mean level"])
    text = (
        "Mean level of the Nile over a hundred years, given noisy yearly volumes: a local level "
        "model, smoothed by Parisian particle Gibbs, 8 chains of 100 particles. The truth is "
        "Kalman's smoother."
    )
    return Section(
        "Nile: smoothing",
        text,
        est,
        [truth[0].mean()],
        figures=[
            ("The level over time", partial(pictures.smoothed, year, volume, found, truth)),
        ],
    )


def _euro(seed: int, progress: bool | None) -> Section:
    persistence, volatility, scale = 0.99, 0.1, 0.5
    day, dollars = euro_dollar()
    returns = 100 * np.diff(np.log(dollars))
    model = smw.models.stochastic_volatility(persistence, volatility, scale)
    found = smw.particle_filter(model, returns, PARTICLES, repeats=8, seed=seed, progress=progress)
    grid = np.linspace(-5, 5, 401)  # of log variances, seven standard deviations of their law
    move = np.exp(-0.5 * ((grid - persistence * grid[:, None]) / volatility) ** 2)
    move /= move.sum(axis=1, keepdims=True)
    law = np.exp(-0.5 * grid**2 * (1 - persistence**2) / volatility**2)
    law, exact, means = law / law.sum(), 0.0, []
    for y in returns:
        law = law * np.exp(-0.5 * (y / scale) ** 2 * np.exp(-grid) - 0.5 * grid)
        exact += float(np.log(law.sum() / (scale * np.sqrt(2 * np.pi))))
        means.append(grid @ law / law.sum())
        law = law / law.sum() @ move
    text = (
        "Daily returns of the euro in dollars, 2006 to 2009, under a stochastic volatility model: "
        f"its log likelihood, from 8 particle filters of {PARTICLES:,} particles. The truth is a "
        "sum over a grid of log variances."
    )
    seen, known = (scale * np.exp(0.5 * np.asarray(x)) for x in (found.means, means))
    return Section(
        "Euro: a particle filter",
        text,
        found.log_likelihood,
        [exact],
        figures=[
            ("Returns and volatility", partial(pictures.returned, day[1:], returns, seen, known)),
            ("Particles in effect", partial(pictures.effective, day[1:], found.ess, PARTICLES)),
        ],
    )


def _places(seed: int, progress: bool | None) -> Section:
    language = smw.languages.ngram(place_names(), order=3)
    other = "[b-df-hj-np-tv-z]"
    pattern = smw.constraints.regex(
        f"[aeiou]?({other}[aeiou]){{2,}}{other}?", language.items[: language.end]
    )
    found = smw.constrained_sequences(
        language, pattern, 500, LETTERS, end=language.end, islands=8, seed=seed, progress=progress
    )
    exact = constrained_markov_chain(language, pattern, LETTERS, end=language.end).log_evidence
    sure = {one: _log_probability(language, one) - exact for one in set(found.sequences)}
    most = sorted(sure, key=lambda one: (-sure[one], one))[:NAMES]
    shares = found.expectation(
        lambda one: np.array([float(one == other) for other in most]),
        names=[_text(language, one) for one in most],
    )
    some = ", ".join(_text(language, one).title() for one in found.draws(8, seed=seed))
    text = (
        "Names drawn letter by letter from a model of three letters of place names, vowels and "
        "other letters by turns: the log probability that the model does so by itself, from "
        "particles that draw under the constraint. The truth is dynamic programming. Eight "
        f"draws: {some}."
    )
    est = found.log_evidence.apply(lambda v: v, names="log evidence")
    shown = partial(pictures.drawn, shares, np.exp([sure[one] for one in most]))
    return Section(
        "Place names: sequences under a constraint",
        text,
        est,
        [exact],
        figures=[
            ("The likeliest names", shown),
            ("Particles in effect, letter by letter", partial(plots.sequences, found)),
        ],
    )


def _text(language: NGram, items: Sequence[int]) -> str:
    return "".join(language.items[i] for i in items if i != language.end)


def _log_probability(language: NGram, items: Sequence[int]) -> float:
    """Log probability of a sequence by its language model alone."""
    rows = language.logits([tuple(items[:i]) for i in range(len(items))])
    return float(rows[np.arange(len(items)), list(items)].sum())


def _colours(seed: int, progress: bool | None) -> Section:
    portrait, parcel = colours()
    est = smw.sliced_wasserstein(portrait, parcel, 200, seed=seed, progress=progress)
    long = smw.sliced_wasserstein(portrait, parcel, 10_000, seed=seed + 1, progress=False)
    most = smw.max_sliced_wasserstein(portrait, parcel, seed=seed)
    text = (
        "Sliced Wasserstein distance between the colours of two pictures, a thousand pixels each, "
        "from 200 directions in turned rules. The truth is a run of "
        f"{long.cost['evaluations']:,} directions. Along the direction in which they differ most "
        f"the distance is {most.value:.1f}."
    )
    est = est.apply(lambda v: v, names="distance")
    seen = portrait, parcel, most.direction, ("portrait", "parcel")
    return Section(
        "Colours: a distance between clouds",
        text,
        est,
        [float(long.value)],
        figures=[
            ("Colours, and where they differ most", partial(pictures.clouds, *seen)),
            ("The two clouds along that direction", partial(pictures.projected, *seen)),
        ],
    )


# by the name of the saved result; every method adds one
DEMONSTRATIONS: dict[str, Callable[[int, bool | None], Section]] = {
    "demo": _flood,
    "failure": _failure,
    "posterior": _dam,
    "smoothing": _nile,
    "filtering": _euro,
    "sequences": _places,
    "distance": _colours,
}
