"""Coverage and error of log evidences and posteriors on targets whose truth is known.

    python benchmarks/evidence.py [seeds] [target ...]
    python benchmarks/evidence.py coverage [seeds]
    python benchmarks/evidence.py page
    python benchmarks/evidence.py readme

Truths are closed forms, quadrature, or for one target a long run of another method. The first
measures log evidences and means at a budget for each target, the second log evidences, means,
standard deviations and quantiles at three budgets. Both keep what they find in
``benchmarks/results/evidence.json``, of which ``evidence.md`` is made after them, and by the third
without a run; the fourth prints the docs' table.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import gammaln, logsumexp

MOST = 3_000_000  # calls for a target
RESULTS = Path(__file__).parent / "results"
KEPT, PAGE = RESULTS / "evidence.json", RESULTS / "evidence.md"
SHARES = (0.025, 0.5, 0.975)  # quantiles
LONG = 500_000  # draws of the long run


class Target(NamedTuple):
    """A likelihood under a prior, calls to spend, and what is true, of the first inputs' laws."""

    log_likelihood: Callable
    prior: list
    budget: int
    log_evidence: float
    laws: list = []  # noqa: RUF012, nobody appends
    truth: str = "closed form"


class Tabled(NamedTuple):
    """A law by the masses at points in order."""

    points: np.ndarray
    mass: np.ndarray

    def mean(self):
        """Of all mass."""
        return self.mass @ self.points

    def std(self):
        """Of all mass."""
        return np.sqrt(self.mass @ (self.points - self.mean()) ** 2)

    def ppf(self, share):
        """Quantiles, half of a point's mass below it."""
        return np.interp(share, np.cumsum(self.mass) - self.mass / 2, self.points)


def regression(n, budget, d=6):
    """Conjugate normal regression, known noise."""
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, d))
    y = x @ rng.standard_normal(d) + rng.standard_normal(n)
    xx, xy, yy = x.T @ x, x.T @ y, y @ y
    precision = xx + np.eye(d) / 4
    mean = np.linalg.solve(precision, xy)
    truth = -0.5 * (n * np.log(2 * np.pi) + np.linalg.slogdet(np.eye(d) + 4 * xx)[1])

    def log_likelihood(t):
        square = yy - 2 * t @ xy + np.einsum("ni,ij,nj->n", t, xx, t)
        return -0.5 * (n * np.log(2 * np.pi) + square)

    prior, spread = [stats.norm(0, 2)] * d, np.sqrt(np.diag(np.linalg.inv(precision)))
    laws = [stats.norm(*both) for both in zip(mean, spread, strict=True)]
    return Target(log_likelihood, prior, budget, truth - 0.5 * (yy - mean @ xy), laws)


def on_grid(log_likelihood, prior, budget, marks):
    """Truth by the trapezoidal rule in one or two parameters, between ``marks`` (low, high, n)."""
    axes = [np.linspace(*mark) for mark in marks]
    points = np.stack([one.ravel() for one in np.meshgrid(*axes, indexing="ij")], axis=1)
    log_p = sum(law.logpdf(points[:, i]) for i, law in enumerate(prior))
    parts = np.array_split(points, max(len(points) // 20_000, 1))
    log_p = log_p + np.concatenate([log_likelihood(part) for part in parts])
    ends = [np.isin(points[:, i], axis[[0, -1]]) for i, axis in enumerate(axes)]
    log_p -= np.log(2) * np.sum(ends, axis=0)
    volume = sum(np.log(axis[1] - axis[0]) for axis in axes)
    w = np.exp(log_p - logsumexp(log_p))
    cube = w.reshape([len(axis) for axis in axes])
    laws = [
        Tabled(axis, cube.sum(tuple(j for j in range(len(axes)) if j != i)))
        for i, axis in enumerate(axes)
    ]
    truth = logsumexp(log_p) + volume
    return Target(log_likelihood, prior, budget, truth, laws, "quadrature")


def product(log_one, d, budget):
    """Independent coordinates under standard-normal priors, each by quadrature."""
    one = on_grid(lambda x: log_one(x[:, 0]), [stats.norm()], 0, [(-9, 9, 200_001)])

    def log_likelihood(x):
        return log_one(x).sum(1)

    truth = d * one.log_evidence
    return Target(log_likelihood, [stats.norm()] * d, budget, truth, one.laws * d, "quadrature")


def gumbel(d, budget):
    """Skewed in every coordinate."""
    return product(stats.gumbel_r(1.0, 0.3).logpdf, d, budget)


def modes(d, budget):
    """Two modes in every coordinate, of masses 1 : 2."""
    laws = stats.norm(-1.5, 0.25), stats.norm(1.2, 0.2)

    def log_one(x):
        return np.logaddexp(laws[0].logpdf(x) - np.log(3), laws[1].logpdf(x) + np.log(2 / 3))

    return product(log_one, d, budget)


def banana(budget):
    """A curved ridge."""
    across, along = stats.norm(0, 0.2), stats.norm(0.5, 1)

    def log_likelihood(x):
        return across.logpdf(x[:, 1] - x[:, 0] ** 2 + 1) + along.logpdf(x[:, 0])

    prior = [stats.norm(0, 1.5), stats.norm(0, 3)]
    return on_grid(log_likelihood, prior, budget, [(-7, 7, 1_401), (-4, 30, 3_401)])


def shells(budget):
    """Two rings of width .1 (Feroz & Hobson 2008)."""
    ring = stats.norm(2, 0.1)

    def log_likelihood(x):
        return np.logaddexp(
            *(ring.logpdf(np.hypot(x[:, 0] - side, x[:, 1])) for side in (-3.5, 3.5))
        )

    prior = [stats.uniform(-6, 12)] * 2
    return on_grid(log_likelihood, prior, budget, [(-6, 6, 3_001)] * 2)


def eggbox(budget):
    """Eighteen peaks."""

    def log_likelihood(x):
        return 5 * np.log(2 + np.cos(x[:, 0] / 2) * np.cos(x[:, 1] / 2))

    prior = [stats.uniform(0, 10 * np.pi)] * 2
    return on_grid(log_likelihood, prior, budget, [(0, 10 * np.pi, 3_001)] * 2)


def logistic(budget):
    """Two coefficients of a logistic regression."""
    rng = np.random.default_rng(5)
    x = np.stack([np.ones(80), rng.standard_normal(80)])
    y = rng.random(80) < 1 / (1 + np.exp(-(0.5 + 1.5 * x[1])))

    def log_likelihood(t):
        eta = t @ x
        return (eta * y - np.logaddexp(0, eta)).sum(1)

    return on_grid(log_likelihood, [stats.norm(0, 3)] * 2, budget, [(-3, 4, 801), (-2, 6, 801)])


def counts(budget):
    """A Poisson rate under a Gamma prior, from 100,000 counts."""
    n, total = 100_000, 312_345

    def log_likelihood(rate):
        return total * np.log(rate[:, 0]) - n * rate[:, 0]

    shape, scale = 2.0, 3.0
    a, b = shape + total, n + 1 / scale
    truth = gammaln(a) - gammaln(shape) - a * np.log(b) - shape * np.log(scale)
    prior = [stats.gamma(shape, scale=scale)]
    return Target(log_likelihood, prior, budget, truth, [stats.gamma(a, scale=1 / b)])


def sinusoid(budget):
    """Frequency and phase of a noisy wave: many peaks."""
    rng = np.random.default_rng(6)
    times = np.sort(rng.uniform(0, 6, 25))
    y = np.cos(3.1 * times + 1.0) + 0.5 * rng.standard_normal(25)

    noise = stats.norm(0, 0.5)

    def log_likelihood(x):
        return noise.logpdf(y - np.cos(x[:, :1] * times + x[:, 1:])).sum(1)

    prior = [stats.uniform(0.5, 6), stats.uniform(0, 2 * np.pi)]
    marks = [(0.5, 6.5, 1_501), (0, 2 * np.pi, 801)]
    return on_grid(log_likelihood, prior, budget, marks)


def local_level(budget):
    """Log variances of a local level model, its likelihood by Kalman."""
    rng = np.random.default_rng(7)
    y = np.cumsum(0.5 * rng.standard_normal(60)) + rng.standard_normal(60)

    def log_likelihood(t):
        state, noise = np.exp(t.T)
        mean, variance, total = np.zeros(len(t)), np.full(len(t), 10.0), np.zeros(len(t))
        for value in y:
            variance = variance + state
            spread = variance + noise
            total -= 0.5 * (np.log(2 * np.pi * spread) + (value - mean) ** 2 / spread)
            gain = variance / spread
            mean, variance = mean + gain * (value - mean), (1 - gain) * variance
        return total

    prior = [stats.norm(-1, 1.5), stats.norm(0, 1.5)]
    return on_grid(log_likelihood, prior, budget, [(-10, 6, 801), (-8, 7, 801)])


def groups(y, s, budget):
    """Effects of groups, their mean and the log of their spread; d = 2 + as many."""
    prior = [stats.norm(0, 10), stats.norm(1.5, 1)]

    def log_likelihood(x):
        effects = x[:, :1] + np.exp(x[:, 1:2]) * x[:, 2:]
        return stats.norm.logpdf(y, effects, s).sum(1)

    def marginal(x):
        spread = np.sqrt(s**2 + np.exp(2 * x[:, 1:2]))
        return stats.norm.logpdf(y, x[:, :1], spread).sum(1)

    truth = on_grid(marginal, prior, 0, [(-50, 60, 1_001), (-5, 8, 801)])
    prior = prior + [stats.norm()] * len(y)
    return truth._replace(log_likelihood=log_likelihood, prior=prior, budget=budget)


def schools(budget):
    """Eight schools; d = 10."""
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    return groups(y, np.array([15.0, 10, 16, 11, 9, 11, 10, 18]), budget)


def hospitals(budget):
    """Twenty-eight groups; d = 30."""
    rng = np.random.default_rng(8)
    s = rng.uniform(3, 9, 28)
    return groups(4 + 5 * rng.standard_normal(28) + s * rng.standard_normal(28), s, budget)


def funnel(budget):
    """A funnel cut at both ends, d = 5."""
    prior = [stats.uniform(-3, 5)] + [stats.uniform(-10, 20)] * 4

    def log_likelihood(x):
        width = np.exp(x[:, :1] / 2)
        return stats.norm.logpdf(x[:, 1:], 0, width).sum(1)

    def marginal(x):
        inside = 1 - 2 * stats.norm.sf(10 / np.exp(x[:, 0] / 2))
        return 4 * (np.log(inside) - np.log(20))

    truth = on_grid(marginal, prior[:1], 0, [(-3, 2, 100_001)])
    return truth._replace(log_likelihood=log_likelihood, prior=prior, budget=budget)


def normal(d, budget):
    """A correlated normal likelihood of spreads from .1 to 1."""
    at = np.arange(d)
    spread = np.geomspace(0.1, 1, d)
    covariance = np.outer(spread, spread) * 0.6 ** np.abs(at[:, None] - at)
    likelihood = stats.multivariate_normal(np.sin(at + 1), covariance)
    both = covariance + np.eye(d)
    gain = np.linalg.solve(both, covariance).T
    mean, spread = np.sin(at + 1) - gain @ np.sin(at + 1), np.sqrt(np.diag(gain))
    return Target(
        likelihood.logpdf,
        [stats.norm()] * d,
        budget,
        stats.multivariate_normal(np.zeros(d), both).logpdf(np.sin(at + 1)),
        [stats.norm(*pair) for pair in zip(mean, spread, strict=True)],
    )


def spike_and_slab(budget, d=5):
    """A spike of a hundred times the slab's mass within it (Skilling 2006)."""
    spike, slab = stats.norm(0.05, 0.01), stats.norm(0, 0.1)

    def log_likelihood(x):
        return np.logaddexp(np.log(100) + spike.logpdf(x).sum(1), slab.logpdf(x).sum(1))

    x = np.linspace(-0.5, 0.5, 100_001)
    of_spike, of_slab = spike.pdf(x), slab.pdf(x) / np.diff(slab.cdf([-0.5, 0.5]))[0]
    heavy, light = 100.0, np.diff(slab.cdf([-0.5, 0.5]))[0] ** d
    law = Tabled(x, (heavy * of_spike + light * of_slab) / (heavy + light) * (x[1] - x[0]))
    prior = [stats.uniform(-0.5, 1)] * d
    return Target(log_likelihood, prior, budget, np.log(heavy + light), [law] * d)


def logistic_of_25(budget):
    """Twenty-five coefficients of a logistic regression.

    Truth by importance sampling from a Student law at the highest point, half a million draws of
    a fixed seed: its standard error is about a thousandth.
    """
    rng = np.random.default_rng(9)
    x = np.c_[np.ones(300), rng.standard_normal((300, 24))]
    y = rng.random(300) < 1 / (1 + np.exp(-x @ (rng.standard_normal(25) / 2)))

    def log_likelihood(t):
        eta = t @ x.T
        return eta @ y - np.logaddexp(0, eta).sum(1)

    centre = np.zeros(25)
    for _ in range(20):
        p = 1 / (1 + np.exp(-x @ centre))
        precision = (x.T * (p * (1 - p))) @ x + np.eye(25)
        centre += np.linalg.solve(precision, x.T @ (y - p) - centre)
    covariance = np.linalg.inv(precision)
    law = stats.multivariate_t(centre, covariance * 1.05, df=30, seed=10)
    parts, draws = [], []
    for _ in range(LONG // 20_000):
        t = law.rvs(20_000)
        log_prior = stats.norm.logpdf(t).sum(1)
        parts.append(log_likelihood(t) + log_prior - law.logpdf(t))
        draws.append(t[:, :3])
    w, points = np.concatenate(parts), np.concatenate(draws)
    truth = logsumexp(w) - np.log(len(w))
    mass = np.exp(w - logsumexp(w))
    order = np.argsort(points, axis=0)
    laws = [Tabled(points[at, i], mass[at]) for i, at in enumerate(order.T)]
    return Target(log_likelihood, [stats.norm()] * 25, budget, truth, laws, "long run")


def change(budget):
    """Two Poisson rates and the time between them: a likelihood with jumps."""
    rng = np.random.default_rng(11)
    y = rng.poisson(np.where(np.arange(40) < 26, 3.0, 1.2))
    rate = stats.gamma(2, scale=2)

    def log_likelihood(x):
        before = np.arange(40) < np.floor(x[:, 2:])
        return stats.poisson.logpmf(y, np.where(before, x[:, :1], x[:, 1:2])).sum(1)

    def laws_of(counts):
        return stats.gamma(2 + counts.sum(), scale=1 / (len(counts) + 0.5))

    def log_marginal(counts):
        a, n = 2 + counts.sum(), len(counts) + 0.5
        return gammaln(a) - 2 * np.log(2) - a * np.log(n) - gammaln(counts + 1).sum()

    logs = np.array([log_marginal(y[:k]) + log_marginal(y[k:]) for k in range(40)])
    mass, points = np.exp(logs - logsumexp(logs)), np.linspace(0, 15, 15_001)
    sides = [[laws_of(y[:k]) for k in range(40)], [laws_of(y[k:]) for k in range(40)]]
    tables = [
        sum(p * law.pdf(points) for p, law in zip(mass, side, strict=True)) * (15 / 15_000)
        for side in sides
    ]
    times = Tabled((np.arange(40_000) + 0.5) / 1_000, np.repeat(mass / 1_000, 1_000))
    truth = logsumexp(logs) - np.log(40)
    laws = [Tabled(points, table) for table in tables]
    prior = [rate, rate, stats.uniform(0, 40)]
    return Target(log_likelihood, prior, budget, truth, [*laws, times])


def outliers(budget):
    """Place and log scale of a Cauchy law, of few observations far apart."""
    y = np.array([-4.2, -3.9, -0.4, 3.1, 3.3, 3.6, 12.0])

    def log_likelihood(x):
        return stats.cauchy.logpdf(y, x[:, :1], np.exp(x[:, 1:])).sum(1)

    prior = [stats.norm(0, 10), stats.norm(0, 2)]
    return on_grid(log_likelihood, prior, budget, [(-30, 30, 2_001), (-10, 10, 1_601)])


def two_means(budget):
    """Means of two normal laws in unequal shares: labels that may be exchanged."""
    rng = np.random.default_rng(12)
    y = np.where(rng.random(40) < 0.4, -1.0, 1.5) + rng.standard_normal(40)

    def log_likelihood(x):
        first, second = stats.norm.logpdf(y, x[:, :1]), stats.norm.logpdf(y, x[:, 1:])
        return np.logaddexp(np.log(0.4) + first, np.log(0.6) + second).sum(1)

    return on_grid(log_likelihood, [stats.norm(0, 3)] * 2, budget, [(-8, 8, 1_601)] * 2)


TARGETS = {
    "regression, 50 rows, d = 6": lambda: regression(50, 2_500),
    "regression, 2,000 rows, d = 6": lambda: regression(2_000, 6_000),
    "regression, 100,000 rows, d = 6": lambda: regression(100_000, 20_000),
    "Gumbel, d = 3": lambda: gumbel(3, 1_000),
    "Gumbel, d = 10": lambda: gumbel(10, 5_000),
    "4 modes, d = 2": lambda: modes(2, 1_500),
    "16 modes, d = 4": lambda: modes(4, 12_000),
    "banana, d = 2": lambda: banana(4_000),
    "two shells, d = 2": lambda: shells(10_000),
    "eggbox, d = 2": lambda: eggbox(10_000),
    "logistic, d = 2": lambda: logistic(1_500),
    "Poisson rate, d = 1": lambda: counts(1_500),
    "sinusoid, d = 2": lambda: sinusoid(5_000),
    "local level, d = 2": lambda: local_level(2_000),
    "eight schools, d = 10": lambda: schools(10_000),
    "cut funnel, d = 5": lambda: funnel(10_000),
    "normal, d = 30": lambda: normal(30, 20_000),
    "28 groups, d = 30": lambda: hospitals(30_000),
    "logistic, d = 25": lambda: logistic_of_25(20_000),
    "spike and slab, d = 5": lambda: spike_and_slab(40_000),
    "256 modes, d = 8": lambda: modes(8, 60_000),
    "change point, d = 3": lambda: change(5_000),
    "outliers, d = 2": lambda: outliers(4_000),
    "two means, d = 2": lambda: two_means(3_000),
}
COVERED = (
    "regression, 50 rows, d = 6",
    "Gumbel, d = 10",
    "4 modes, d = 2",
    "banana, d = 2",
    "local level, d = 2",
    "Poisson rate, d = 1",
    "eight schools, d = 10",
    "outliers, d = 2",
)
BUDGETS = {3_000: 1.0, 10_000: 1 / 3, 50_000: 2 / 15}  # and the share of the seeds that they have
HEAD = ["target", "truth", "calls", "seeds", "error", "stated", "covered", "warned",
        "covered unless warned", "means covered", "worst", "warned", "unless warned",
        "any warning", "us/call"]  # fmt: skip
SHOWN = (0, 1, 2, 3, 4, 6, 7, 8, 9)  # of these in the docs
KINDS = ("log evidence", "means", "sds", "quantiles")


class Run(NamedTuple):
    """By kind of estimate: errors, stated errors, whether intervals held and were warned of."""

    kinds: dict
    any_warning: bool
    seconds: float


def told(cautions, name, of):
    """Whether something is said of an estimate: named by itself, or of all of them."""
    for caution in cautions:
        which = caution.text.split(":")[0]
        names = {one.strip() for one in which.split(" and ")[0].split(", ")}
        if caution.code not in ("heavy-tails", "quantile-range") or " more" in which:
            return True
        # what is said of the evidence's weights or of a mean is said of its quantiles
        if name in names or (of and names & {"log evidence", of}):
            return True
    return False


def run_of(target, budget, seed):
    """All estimates of a run beside the truth."""
    import smcweights as smw  # the targets alone are read where it is not installed

    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        found = smw.posterior(
            target.log_likelihood, target.prior, budget, quantiles=SHARES, seed=seed
        )
    seconds, d, k = time.process_time() - began, len(target.prior), len(target.laws)
    at = [i * d + j for i in range(len(SHARES)) for j in range(k)]
    quantiles = [law.ppf(share) for share in SHARES for law in target.laws]
    parts = {
        "log evidence": (found.joint[:1], [target.log_evidence]),
        "means": (found.expectations[:k], [law.mean() for law in target.laws]),
        "sds": (found.expectations[d : d + k], [law.std() for law in target.laws]),
        "quantiles": (found.quantiles[at], quantiles),
    }
    kinds = {}
    for kind, (est, truth) in parts.items() if k else list(parts.items())[:1]:
        lower, upper = est.interval()
        of = [name[name.index("[") + 1 : -1] if kind == "quantiles" else "" for name in est.names]
        kinds[kind] = (
            est.value - truth,
            est.standard_error,
            (lower <= truth) & (truth <= upper),
            [told(found.cautions, *both) for both in zip(est.names, of, strict=True)],
        )
    return Run(kinds, bool(found.cautions), seconds)


def summary(runs, kind):
    """Coverage of all estimates of a kind, the worst of them, and where nothing is said."""
    hits, said = (np.array([run.kinds[kind][i] for run in runs]) for i in (2, 3))
    quiet = hits[~said]
    return {
        "covered": float(hits.mean()),
        "worst": float(hits.mean(0).min()),
        "warned": float(said.mean()),
        "quiet": float(quiet.mean()) if len(quiet) else None,
        "of": len(quiet),
    }


def rms(values):
    return float(np.sqrt(np.nanmean(np.square(values))))


def measured(name, seeds):
    """A row of the first table: log evidences and means over so many seeds."""
    target = TARGETS[name]()
    seeds = min(seeds, max(MOST // target.budget, 10))
    runs = [run_of(target, target.budget, seed) for seed in range(seeds)]
    errors, stated = ([run.kinds["log evidence"][i][0] for run in runs] for i in (0, 1))
    spent = sum(run.seconds for run in runs)
    return {
        "truth": target.truth,
        "calls": target.budget,
        "seeds": seeds,
        "error": rms(errors),
        "stated": rms(stated),
        "any warning": float(np.mean([run.any_warning for run in runs])),
        "us/call": 1e6 * spent / seeds / target.budget,
    } | {kind: summary(runs, kind) for kind in KINDS[:2] if kind in runs[0].kinds}


def covered(name, seeds):
    """A row of the second table for each budget."""
    target, rows = TARGETS[name](), {}
    for budget, share in BUDGETS.items():
        many = max(round(share * seeds), 1)
        runs = [run_of(target, budget, 1_000 + seed) for seed in range(many)]
        rows[str(budget)] = {kind: summary(runs, kind) for kind in KINDS} | {"seeds": len(runs)}
    return rows


def cells(row):
    """Of the first table."""
    evidence, means = row["log evidence"], row.get("means")

    def quiet(of):
        return "none" if of["quiet"] is None else f"{of['quiet']:.3f} of {of['of']}"

    of_means = ["", "", "", ""]
    if means:
        of_means = [f"{means[key]:.3f}" for key in ("covered", "worst")]
        of_means += [f"{means['warned']:.2f}", quiet(means)]
    return [
        row["truth"],
        f"{row['calls']:,}",
        str(row["seeds"]),
        f"{row['error']:.2g}",
        f"{row['stated']:.2g}",
        f"{evidence['covered']:.3f}",
        f"{evidence['warned']:.2f}",
        quiet(evidence),
        *of_means,
        f"{row['any warning']:.2f}",
        f"{row['us/call']:.0f}",
    ]


def table(lines):
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def of_targets(kept):
    """The first table's lines."""
    rows = [[name, *cells(kept["rows"][name])] for name in TARGETS if name in kept["rows"]]
    return [HEAD, *rows]


def page(kept):
    """Both tables as a page."""
    text = (
        "Log evidences by `python benchmarks/evidence.py`: error and stated one are root mean\n"
        "squares, intervals are at 95 %, of means (those whose truth is known) on average and for\n"
        "the worst one, warned and not; time is the processor's with the likelihood's own, beside\n"
        "other work on two cores. 100 seeds tell a coverage to 4 points, 20 to 10.\n\n"
    )
    text += table(of_targets(kept))
    if not kept["coverage"]:
        return text
    text += (
        "\nCoverage at three budgets by `python benchmarks/evidence.py coverage`, other seeds\n"
        "than above: of all, then where nothing was said, and the share of what was warned of.\n"
        "Standard deviations and quantiles (0.025, 0.5, 0.975) of inputs whose law is known.\n\n"
    )
    lines = [["target", "calls", "seeds", *KINDS]]
    for name, budgets in kept["coverage"].items():
        for budget, row in budgets.items():
            shown = []
            for of in (row[kind] for kind in KINDS):
                quiet = "none" if of["quiet"] is None else f"{of['quiet']:.3f}"
                shown.append(f"{of['covered']:.3f}, {quiet} ({of['warned']:.0%} warned)")
            lines.append([name, f"{int(budget):,}", str(row["seeds"]), *shown])
    return text + table(lines)


def main(*words):
    """Rows measured anew, kept and written to the page where all of a table's seeds were run."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"rows": {}, "coverage": {}}
    mode = words[0] if words and words[0] in ("coverage", "page", "readme") else ""
    if mode == "readme":
        print(table([[line[i] for i in SHOWN] for line in of_targets(kept)]))
        return
    rest = [word for word in words if word != mode]
    seeds = int(rest[0]) if rest else 100
    everything = {"": TARGETS, "coverage": COVERED, "page": ()}
    for name in rest[1:] or everything[mode]:
        if mode:
            kept["coverage"][name] = covered(name, seeds)
        else:
            kept["rows"][name] = measured(name, seeds)
            print(" | ".join([name, *cells(kept["rows"][name])]), flush=True)
        if seeds >= 100:
            KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if seeds >= 100:
        PAGE.write_text(page(kept), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
