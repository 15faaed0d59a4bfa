"""Widths of intervals of far quantiles at equal calls, beside order statistics and subset sampling.

    python benchmarks/far_quantiles.py [runs] [calls]       10 runs of 20,000 calls by default

Order statistics of plain draws give an interval without a law (binomial ranks); where no rank does,
it has no upper end. Subset sampling is that of OpenTURNS (bench extra), told the EXACT quantile as
its threshold: the relative error of its probability, over the hazard there, is that of a quantile.
The table goes to benchmarks/results/far_quantiles.md.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from output_law import PROBLEMS
from scipy import stats

import smcweights as smw

RESULTS = Path(__file__).parent / "results"
TAILS = (1e-4, 1e-6)


def ours(name, calls, seed):
    """Interval ends (2, tails)."""
    f, d, _, _ = PROBLEMS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = smw.output_law(
            f, [stats.norm()] * d, calls, quantiles=[1 - p for p in TAILS], seed=seed
        )
    return np.array(found.quantiles.interval())


def order_statistics(name, calls, seed):
    """The same from plain draws: ranks whose binomial tails are at most 2.5 % each."""
    f, d, _, _ = PROBLEMS[name]
    y = np.append(np.sort(f(np.random.default_rng(seed).standard_normal((calls, d)))), np.inf)
    low = [int(stats.binom.ppf(0.025, calls, 1 - p)) - 1 for p in TAILS]
    high = [int(stats.binom.isf(0.025, calls, 1 - p)) for p in TAILS]
    return np.array([y[low], y[high]])


def subset(name, calls, seed, tail):
    """Relative error that subset sampling states for P(Y > q), that found, and calls it took."""
    import openturns as ot

    f, d, _, quantile = PROBLEMS[name]
    t = float(quantile(1 - tail))
    ot.RandomGenerator.SetSeed(seed)
    ot.Log.Show(ot.Log.NONE)
    wrapped = ot.PythonFunction(d, 1, func_sample=lambda x: f(np.asarray(x))[:, None])
    output = ot.CompositeRandomVector(wrapped, ot.RandomVector(ot.Normal(d)))
    algorithm = ot.SubsetSampling(ot.ThresholdEvent(output, ot.Greater(), t))
    # about as many levels of these as the calls allow
    algorithm.setMaximumOuterSampling(int(calls / (1 + np.ceil(-np.log10(tail))) / 100))
    algorithm.setBlockSize(100)
    algorithm.run()
    result = algorithm.getResult()
    p = result.getProbabilityEstimate()
    return (
        result.getCoefficientOfVariation(),
        p / tail - 1,
        wrapped.getEvaluationCallsNumber(),
    )


def hazard(name, tail):
    """Density over tail probability at the exact quantile, by a difference."""
    _, _, _, quantile = PROBLEMS[name]
    a, b = quantile(1 - tail * 1.01), quantile(1 - tail / 1.01)
    return 2 * np.log(1.01) / (b - a)


def main(runs=10, calls=20_000):
    lines = [
        f"Half-widths of 95 % intervals in % of the quantile, means of {runs} runs of {calls:,} "
        "calls; held: intervals with the truth. Subset sampling: 1.96 standard errors as stated, "
        "and as found.",
        "",
        "| output | quantile | output_law (held) | order statistics (held) "
        "| subset sampling, stated; found (calls) |",
        "|---|---|---|---|---|",
    ]
    for name in list(PROBLEMS)[:5]:
        quantile = PROBLEMS[name][3]
        tables = [
            np.array([f(name, calls, seed) for seed in range(runs)])
            for f in (ours, order_statistics)
        ]
        for k, tail in enumerate(TAILS):
            q, cells = float(quantile(1 - tail)), []
            for found in tables:
                low, high = found[:, :, k].T
                half = 100 * np.mean((high - low) / 2 / q)
                held = ((low <= q) & (q <= high)).mean()
                cells.append(f"{half:.2f} ({held:.2f})" if np.isfinite(half) else "no upper end")
            theirs = np.array([subset(name, calls, seed, tail) for seed in range(runs)])
            scale = 100 * 1.96 / hazard(name, tail) / q
            stated, spread = theirs[:, 0].mean(), np.sqrt((theirs[:, 1] ** 2).mean())
            cells.append(f"{scale * stated:.2f}; {scale * spread:.2f} ({theirs[:, 2].mean():,.0f})")
            lines.append(f"| {name} | 1 - {tail:g} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    (RESULTS / "far_quantiles.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
