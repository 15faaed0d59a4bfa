"""Coverage of `smcweights.output_law` on five outputs whose laws are known, and of laws fitted.

    python benchmarks/output_law.py coverage [runs] [first seed] [calls] [tail] [output ...]
    python benchmarks/output_law.py table FILE ...      of what was written by coverage
    python benchmarks/output_law.py data [runs]         the TRUE probability, normal laws fitted
    python benchmarks/output_law.py failed [runs] [calls]       runs that fail, left out
    python benchmarks/output_law.py bounds [runs] [calls]       counted as the least and the largest

Coverage writes a line for every run to benchmarks/results/output_law.jsonl.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.special import ndtr, ndtri

import smcweights as smw

RESULTS = Path(__file__).parent / "results"
INSIDE = (0.01, 0.05, 0.5, 0.95, 0.99, 1 - 1e-4)


def solved(cdf, low=-60.0, high=60.0):
    """Quantile function of an increasing distribution function, by bisection."""

    def quantile(p):
        a, b = np.full(np.shape(p), low), np.full(np.shape(p), high)
        for _ in range(200):
            middle = (a + b) / 2
            less = cdf(middle) < p
            a, b = np.where(less, middle, a), np.where(less, b, middle)
        return b

    return quantile


# output, inputs, distribution function, quantile function
PROBLEMS = {
    "sum of 3 normals": (
        lambda x: x.sum(1), 3, lambda t: ndtr(t / 3**0.5), lambda p: 3**0.5 * ndtri(p)
    ),
    "chi-square(5)": (lambda x: (x**2).sum(1), 5, stats.chi2(5).cdf, stats.chi2(5).ppf),
    "lognormal(1)": (
        lambda x: np.exp(x.sum(1) / 2), 4, lambda t: ndtr(np.log(np.maximum(t, 1e-300))),
        lambda p: np.exp(ndtri(p)),
    ),
    "max(x1, x2 - 0.3)": (
        lambda x: np.maximum(x[:, 0], x[:, 1] - 0.3), 3, lambda t: ndtr(t) * ndtr(t + 0.3),
        solved(lambda t: ndtr(t) * ndtr(t + 0.3)),
    ),
    "max of 4 normals": (
        lambda x: x.max(1), 4, lambda t: ndtr(t) ** 4, lambda p: ndtri(p**0.25)
    ),
    "sum of 10 exponentials": (
        lambda x: -np.log(ndtr(-x)).sum(1), 10, stats.gamma(10).cdf, stats.gamma(10).ppf
    ),
    "chi-square(10)": (lambda x: (x**2).sum(1), 10, stats.chi2(10).cdf, stats.chi2(10).ppf),
}  # fmt: skip


def probabilities(tail):
    """48 probabilities, equally spaced in logit between the tails."""
    z = np.linspace(np.log(tail / (1 - tail)), -np.log(tail / (1 - tail)), 48)
    return 1 / (1 + np.exp(-z))


def run(name, seed, calls=10_000, tail=1e-6):
    """Where the exact law lies: by thresholds, quantiles and shortfalls."""
    f, d, _, quantile = PROBLEMS[name]
    p = probabilities(tail)
    t, asked = quantile(p), (tail, *INSIDE, 1 - tail)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = smw.output_law(
            f, [stats.norm()] * d, calls, quantiles=asked, tails=(tail, tail),
            expected_shortfall=(0.95, 0.99, 1 - 1e-4), seed=seed,
        )  # fmt: skip
    lower, upper = found.band(t)
    held = (lower <= p) & (p <= upper)
    point = found.cdf(t)
    low, high = point.interval()
    inside, side = (low <= p) & (p <= high), np.where(p < low, 1, np.where(p > high, -1, 0))
    a, b = found.quantiles.interval()
    exact = quantile(np.array(asked))
    error = point.standard_error / np.minimum(p, 1 - p)
    return {
        "problem": name, "seed": seed, "calls": calls, "tail": tail,
        "band": bool(held.all()), "pointwise": inside.tolist(), "sides": side.tolist(),
        "quantiles": ((a <= exact) & (exact <= b)).tolist(),
        "width": ((b - a)[-2:] / abs(exact[-2:])).tolist(),
        "shortfall": shortfalls(name, found, quantile).tolist(),
        "relative": error[[0, 8, 16, 23, 31, 39, 47]].tolist(),
        "far": np.abs(np.log(point.value / p) * p / point.standard_error).max(),
        "warned": [str(w.message).rsplit("[", 1)[-1][:-1] for w in told],
        "seconds": found.mean.cost["seconds"],
    }  # fmt: skip


def shortfalls(name, found, quantile):
    """Whether the means beyond quantiles are covered; by integrals of the quantile function."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    exact = []
    for p in (0.95, 0.99, 1 - 1e-4):
        # substitute u = 1 - (1 - p) s^4, for the far end
        s = (nodes + 1) / 2
        value = quantile(1 - np.maximum((1 - p) * s**4, 1e-15))
        exact.append(float((value * 4 * s**3) @ weights / 2))
    lower, upper = found.expected_shortfall.interval()
    return (lower <= exact) & (np.array(exact) <= upper)


def coverage(runs=300, first=0, calls=10_000, tail=1e-6, *names):
    """Runs of every problem, seed by seed, each written when done."""
    path = RESULTS / "output_law.jsonl"
    with path.open("a") as file:
        for seed in range(first, first + runs):
            for name in names or tuple(PROBLEMS)[:5]:
                file.write(json.dumps(run(name, seed, calls, tail)) + "\n")
                file.flush()


def table(*paths):
    """Shares covered, by problem, calls and tail."""
    rows = [json.loads(line) for path in paths for line in Path(path).read_text().splitlines()]
    groups = dict.fromkeys((r["problem"], r["calls"], r["tail"]) for r in rows)
    heads = ["output", "calls", "tail", "runs", "band", "pointwise (least)", "misses above, below"]
    heads += ["quantiles", "at the ends", "shortfalls", "warned", "rel. se % at 48 points: 1st"]
    heads += ["9th", "17th", "width % of q(1e-4 above), last"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for group in groups:
        of = [r for r in rows if (r["problem"], r["calls"], r["tail"]) == group]

        def mean(key, of=of):
            return np.mean([r[key] for r in of], axis=0)

        sides, q, rel = np.array([r["sides"] for r in of]), mean("quantiles"), mean("relative")
        cells = [group[0], f"{group[1]:,}", f"{group[2]:g}", str(len(of)), f"{mean('band'):.3f}"]
        cells += [f"{mean('pointwise').mean():.3f} ({mean('pointwise').min():.2f})"]
        cells += [f"{(sides > 0).mean():.3f}, {(sides < 0).mean():.3f}", f"{q.mean():.3f}"]
        cells += [f"{q[0]:.3f}, {q[-1]:.3f}", ", ".join(f"{s:.3f}" for s in mean("shortfall"))]
        cells += [f"{np.mean([bool(r['warned']) for r in of]):.3f}"]
        cells += [f"{100 * r:.1f}" for r in rel[:3]]
        cells += [", ".join(f"{100 * w:.2f}" for w in mean("width"))]
        print("| " + " | ".join(cells) + " |")


def data(runs=200):
    """How often intervals hold P(x1 + x2 + x3 > 5.2) under the true law, by data of each input."""
    probability = stats.norm.sf(5.2 / 3**0.5)
    print("| data | runs | total holds | too high, too low | computing alone holds | its share |")
    print("|---|---|---|---|---|---|")
    far = [stats.norm(5.2 / 3, 1.2)] * 3
    for n in (30, 100, 1_000):
        rows = []
        for seed in range(runs):
            rng = np.random.default_rng([n, seed])
            measured = {f"X{i + 1}": rng.standard_normal(n) for i in range(3)}
            law = {k: stats.norm(*stats.norm.fit(part)) for k, part in measured.items()}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                estimate = smw.importance_sampling(
                    lambda x: (x.sum(1) > 5.2).astype(float), law, far, 1_000, seed=seed
                )
                found = smw.input_uncertainty(estimate, measured, resamples=100, seed=seed)
            low, high = found.total.interval()
            a, b = estimate.interval()
            rows.append(
                [low > probability, high < probability, a <= probability <= b,
                 found.shares.value[0]]
            )  # fmt: skip
        above, below, alone, share = np.mean(rows, axis=0)
        print(
            f"| {n:,} | {runs} | {1 - above - below:.3f} | {above:.3f}, {below:.3f} | {alone:.3f} "
            f"| {share:.3f} |",
            flush=True,
        )


def failed(runs=40, calls=10_000):
    """x1 + x2 + x3, which fails where x1 > 1, against the law given that it does not."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    x = -9 + 5 * (nodes + 1)
    weights = 5 * weights * stats.norm.pdf(x) / ndtr(1.0)

    def cdf(t):
        return ndtr((np.asarray(t)[..., None] - x) / 2**0.5) @ weights

    def model(z):
        return np.where(z[:, 0] > 1, np.nan, z.sum(1))

    t, rows = np.linspace(-8.0, 5.5, 25), []
    p, mean, share = cdf(t), weights @ x, ndtr(-1.0)
    for seed in range(runs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = smw.output_law(
                model, [stats.norm()] * 3, calls // 2, failed="exclude", quantiles=[0.5], seed=seed
            ).extend(model, calls // 2)
        (a, b), (low, high) = found.band(t), found.cdf(t).interval()
        (least, most), said = found.mean.interval(), found.mean.diagnostics["failed_share"]
        rows.append(
            [((a <= p) & (p <= b)).all(), ((low <= p) & (p <= high)).mean(),
             least < mean < most, said["lower"] < share < said["upper"]]
        )  # fmt: skip
    print("| runs, half of their calls by extend | band | pointwise | mean | share of failures |")
    print("|---|---|---|---|---|")
    print(f"| {runs} of {calls:,} | {' | '.join(f'{c:.3f}' for c in np.mean(rows, axis=0))} |")


def bounds(runs=60, calls=2_000, most=20.0):
    """exp(x1), which fails where x1 > 2 or x2 > 0.5: whether both laws are held at once."""
    known, share = stats.lognorm(1.0), 1 - ndtr(2.0) * ndtr(0.5)
    # P(Y <= t, ran) is that of the lognormal law times this
    scale = ndtr(0.5)

    def model(x):
        return np.where((x[:, 0] > 2) | (x[:, 1] > 0.5), np.nan, np.exp(x[:, 0]))

    p = np.array([0.01, 0.2, 0.5, 0.9, 0.99])
    least = np.where(p > share, known.ppf(np.maximum(p - share, 1e-9) / scale), 0)
    largest = np.where(p < 1 - share, known.ppf(np.minimum(p / scale, 0.95)), most)
    t, mean, rows = known.ppf(np.linspace(0.002, 0.97, 25)), np.exp(0.5) * ndtr(1.0) * scale, []
    f = known.cdf(t) * scale
    for seed in range(runs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = smw.output_law(
                model, [stats.norm()] * 2, calls, failed="bounds", bounds=(0, most), quantiles=p,
                expected_shortfall=[0.9], tails=(0.01, 0.01), seed=seed,
            )  # fmt: skip
        (a, b), (low, high) = found.band(t), found.cdf(t).interval()
        (least_q, most_q), (first, last) = found.quantiles.interval(), found.mean.interval()
        rows.append(
            [*((least_q <= least) & (largest <= most_q)), ((a <= f) & (f + share <= b)).all(),
             ((low <= f) & (f + share <= high)).mean(), first <= mean <= last - most * share]
        )  # fmt: skip
    held = [f"{c:.3f}" for c in np.mean(rows, axis=0)]
    print("| quantiles 0.01, 0.2, 0.5, 0.9, 0.99 | band at 25 values | pointwise | mean |")
    print(f"|---|---|---|---|\n| {', '.join(held[:5])} | {' | '.join(held[5:])} |")


if __name__ == "__main__":
    command, *given = sys.argv[1:]
    if command == "coverage":
        numbers = [float(x) if "e-" in x else int(x) for x in given[:4]]
        coverage(*numbers, *given[4:])
    if command == "table":
        table(*given)
    if command == "data":
        data(*map(int, given))
    if command == "failed":
        failed(*map(int, given))
    if command == "bounds":
        bounds(*map(int, given))
