"""Coverage and error of log evidences and posterior means on targets whose truth is known.

    python benchmarks/evidence.py [seeds] [target ...]

Truths are closed forms or quadrature. Writes benchmarks/results/evidence.md with all targets.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import gammaln, logsumexp

MOST = 250_000  # calls for a target
RESULTS = Path(__file__).parent / "results" / "evidence.md"


class Target(NamedTuple):
    """A likelihood under a prior, calls to spend, and what is true."""

    log_likelihood: Callable
    prior: list
    budget: int
    log_evidence: float
    means: np.ndarray | None = None


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

    prior = [stats.norm(0, 2)] * d
    return Target(log_likelihood, prior, budget, truth - 0.5 * (yy - mean @ xy), mean)


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
    return Target(log_likelihood, prior, budget, logsumexp(log_p) + volume, w @ points)


def product(log_one, d, budget):
    """Independent coordinates under standard-normal priors, each by quadrature."""
    one = on_grid(lambda x: log_one(x[:, 0]), [stats.norm()], 0, [(-9, 9, 200_001)])

    def log_likelihood(x):
        return log_one(x).sum(1)

    truth = d * one.log_evidence
    return Target(log_likelihood, [stats.norm()] * d, budget, truth, np.repeat(one.means, d))


def gumbel(d, budget):
    """Skewed in every coordinate."""
    return product(lambda x: stats.gumbel_r(1.0, 0.3).logpdf(x), d, budget)


def modes(d, budget):
    """Two modes in every coordinate, of masses 1 : 2."""

    def log_one(x):
        return np.logaddexp(
            np.log(1 / 3) + stats.norm(-1.5, 0.25).logpdf(x),
            np.log(2 / 3) + stats.norm(1.2, 0.2).logpdf(x),
        )

    return product(log_one, d, budget)


def banana(budget):
    """A curved ridge."""

    def log_likelihood(x):
        ridge = x[:, 1] - x[:, 0] ** 2 + 1
        return stats.norm(0, 0.2).logpdf(ridge) + stats.norm(0.5, 1).logpdf(x[:, 0])

    prior = [stats.norm(0, 1.5), stats.norm(0, 3)]
    return on_grid(log_likelihood, prior, budget, [(-7, 7, 4_001), (-4, 30, 8_001)])


def shells(budget):
    """Two rings of width .1 (Feroz & Hobson 2008)."""

    def log_likelihood(x):
        rings = [
            stats.norm(2, 0.1).logpdf(np.hypot(x[:, 0] - side, x[:, 1])) for side in (-3.5, 3.5)
        ]
        return np.logaddexp(*rings)

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
    return Target(
        log_likelihood, [stats.gamma(shape, scale=scale)], budget, truth, np.array([a / b])
    )


def sinusoid(budget):
    """Frequency and phase of a noisy wave: many peaks."""
    rng = np.random.default_rng(6)
    times = np.sort(rng.uniform(0, 6, 25))
    y = np.cos(3.1 * times + 1.0) + 0.5 * rng.standard_normal(25)

    def log_likelihood(x):
        wave = np.cos(x[:, :1] * times + x[:, 1:])
        return stats.norm(0, 0.5).logpdf(y - wave).sum(1)

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


def schools(budget):
    """Eight schools: effects, their mean and the log of their spread; d = 10."""
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    s = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    prior = [stats.norm(0, 10), stats.norm(1.5, 1)]

    def log_likelihood(x):
        effects = x[:, :1] + np.exp(x[:, 1:2]) * x[:, 2:]
        return stats.norm.logpdf(y, effects, s).sum(1)

    def marginal(x):
        spread = np.sqrt(s**2 + np.exp(2 * x[:, 1:2]))
        return stats.norm.logpdf(y, x[:, :1], spread).sum(1)

    truth = on_grid(marginal, prior, 0, [(-50, 60, 1_001), (-5, 8, 801)])
    return Target(
        log_likelihood, prior + [stats.norm()] * 8, budget, truth.log_evidence, truth.means
    )


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
    means = np.append(truth.means, np.zeros(4))
    return Target(log_likelihood, prior, budget, truth.log_evidence, means)


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
}
HEAD = [
    "target",
    "calls",
    "seeds",
    "error",
    "stated",
    "covered",
    "means covered",
    "warned",
    "covered unless warned",
    "us/call",
]


def about(warning, target):
    """Whether a warning names the log evidence, or a mean."""
    which = str(warning.message).split(":")[1].split(", ")
    means = {f"X{i + 1}" for i in range(len(target.prior))}
    return any(one.strip() in means | {"log evidence"} for one in which)


def measured(name, seeds):
    """A row of the table: log evidences and means over so many seeds."""
    import smcweights as smw  # the targets alone are read where it is not installed

    target = TARGETS[name]()
    errors, stated, hits, means, told, spent = [], [], [], [], [], 0.0
    for seed in range(seeds):
        began = time.process_time()
        with warnings.catch_warnings(record=True) as got:
            warnings.simplefilter("always")
            found = smw.posterior(
                target.log_likelihood, target.prior, target.budget, summit=True, seed=seed
            )
        spent += time.process_time() - began
        lower, upper = found.log_evidence.interval()
        errors.append(float(found.log_evidence) - target.log_evidence)
        stated.append(float(found.log_evidence.standard_error))
        hits.append(bool(lower <= target.log_evidence <= upper))
        # a caution about a spread is none about the evidence or a mean
        told.append(any("heavy-tails" not in str(w.message) or about(w, target) for w in got))
        if target.means is not None:
            k = len(target.means)
            low, high = found.expectations[:k].interval()
            means.append((low <= target.means) & (target.means <= high))
    hits, told = np.array(hits), np.array(told)
    quiet = f"{hits[~told].mean():.3f} of {(~told).sum()}" if (~told).any() else "none"
    return [
        name,
        f"{target.budget:,}",
        str(seeds),
        f"{np.sqrt(np.mean(np.square(errors))):.2g}",
        f"{np.sqrt(np.nanmean(np.square(stated))):.2g}",
        f"{hits.mean():.3f}",
        f"{np.mean(means):.3f} (worst {np.mean(means, axis=0).min():.3f})" if means else "",
        f"{told.mean():.2f}",
        quiet,
        f"{1e6 * spent / seeds / target.budget:.0f}",
    ]


def main(seeds="100", *names):
    """The table, written when all targets are in it."""
    rows = []
    for name in names or TARGETS:
        rows.append(measured(name, min(int(seeds), max(MOST // TARGETS[name]().budget, 10))))
        print(" | ".join(rows[-1]), flush=True)
    lines = ["| " + " | ".join(row) + " |" for row in [HEAD, ["---"] * len(HEAD), *rows]]
    if not names:
        text = "Log evidences by `python benchmarks/evidence.py`, error and stated as root mean\n"
        text += "squares, 95 % intervals, time of the processor with the likelihood's own.\n"
        RESULTS.write_text(text + "\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
