"""Coverage of the TRUE answer by 95 % intervals of laws fitted to data.

    python benchmarks/fitted_laws.py [seeds] [case ...]
    python benchmarks/fitted_laws.py --readme           what was kept, in Markdown
    python benchmarks/fitted_laws.py closed [seeds]     two of the answers by closed forms

Every seed draws measurements of its own, fits the families by maximum likelihood, estimates under
the fitted law and asks `input_uncertainty`. Prints a table and keeps it in
benchmarks/results/fitted_laws.json, a row at a time. Truths are closed forms and quadratures.
"""

import json
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from scipy import integrate, stats
from scipy.special import digamma, polygamma

import smcweights as smw

RESULTS = Path(__file__).parent / "results" / "fitted_laws.json"
SIZES = (30, 100, 1_000)
CALLS = 3_000
NORMALS = {name: stats.norm() for name in "abc"}
BAR = {"load": stats.weibull_min(1.5), "strength": stats.norm(12, 1)}
FLOOD = {"flow": stats.lognorm(0.5), "width": stats.gamma(9, scale=1 / 3)}
TOGETHER = np.array([[1.0, 0.6], [0.6, 1.0]])


def short(x):
    return 5.2 - x.sum(1)


def margin(x):
    return x[:, 1] - 3 * x[:, 0]


def depth(x):
    return x[:, 0] / x[:, 1]


def total(x):
    return x.sum(1)


def fitted(law, data):
    """Each family by maximum likelihood; those of one sign from 0 on."""
    found = {}
    for name, known in law.items():
        held = {} if known.dist.name == "norm" else {"floc": 0}
        found[name] = known.dist(*known.dist.fit(data[name], **held))
    return found


def measured(law, size, rng):
    return {name: known.rvs(size, random_state=rng) for name, known in law.items()}


def rare(model, law, size, rng, seed):
    data = measured(law, size, rng)
    return data, smw.failure_probability(model, fitted(law, data), CALLS, seed=seed)


def mean(size, rng, seed):
    data = measured(FLOOD, size, rng)
    law = fitted(FLOOD, data)
    return data, smw.adaptive_importance_sampling(depth, law, CALLS, seed=seed)


def together(size, rng, seed):
    rows = rng.multivariate_normal([0, 0], TOGETHER, size)
    law = stats.multivariate_normal(rows.mean(0), np.cov(rows.T, bias=True))
    return rows, smw.failure_probability(lambda x: 5 - x.sum(1), law, CALLS, seed=seed)


def quantile(size, rng, seed):
    data = measured(NORMALS, size, rng)
    law = fitted(NORMALS, data)
    return data, smw.output_law(
        total, law, CALLS, quantiles=(0.999,), tails=(1e-4, 1e-4), seed=seed
    )


BROKEN = integrate.quad(
    lambda s: stats.norm.pdf(s, 12, 1) * stats.weibull_min.sf(s / 3, 1.5), 4, 20, epsabs=1e-13
)[0]
CASES = {
    "P(a + b + c > 5.2), normal": (partial(rare, short, NORMALS), stats.norm.sf(5.2 / 3**0.5)),
    "P(strength < 3 load), normal, Weibull": (partial(rare, margin, BAR), BROKEN),
    "E[flow / width], lognormal, gamma": (mean, np.exp(0.125) * 3 / 8),
    "P(x + y > 5), correlated normal": (together, stats.norm.sf(5 / 3.2**0.5)),
    "q(0.999) of a + b + c, normal": (quantile, 3**0.5 * stats.norm.ppf(0.999)),
}


def one(run, truth, size, seed):
    """Misses below and above, whether it was warned, the computation's share, its own misses."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        rng = np.random.default_rng([size, seed])
        data, estimate = run(size, rng, seed)
        found = smw.input_uncertainty(estimate, data, seed=seed)
    lower, upper = np.ravel(found.total.interval())
    alone = np.ravel(found.computation.interval())
    share = float(np.ravel(found.shares["computation"].value)[0])
    said = sorted({str(w.message).split(":")[1][:40] for w in told})
    return truth < lower, truth > upper, said, share, alone[0] <= truth <= alone[1]


def main(seeds=150, *words):
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    print(f"{'':40} {'data':>5} {'covered':>8} {'above, below':>13} {'warned':>7} {'unwarned':>9}"
          f" {'alone':>6} {'share':>6}")  # fmt: skip
    for name, (run, truth) in CASES.items():
        if words and not any(word in name for word in words):
            continue
        for size in SIZES:
            began = time.process_time()
            runs = [one(run, float(truth), size, seed) for seed in range(int(seeds))]
            low, high, said, share, alone = zip(*runs, strict=True)
            missed, warned = np.array(low) | np.array(high), np.array([bool(s) for s in said])
            row = {
                "seeds": len(runs),
                "covered": float(1 - missed.mean()),
                "truth below, above the interval": [float(np.mean(low)), float(np.mean(high))],
                "warned": float(warned.mean()),
                "covered, unwarned": float(1 - missed[~warned].mean())
                if not warned.all()
                else None,
                "covered by computation alone": float(np.mean(alone)),
                "share of computation": float(np.median(share)),
                "warnings": sorted({text for one in said for text in one}),
                "seconds": round((time.process_time() - began) / len(runs), 2),
            }
            kept[f"{name}, {size} data"] = row
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
            print(f"{name:40} {size:5} {row['covered']:8.3f} "
                  f"{row['truth below, above the interval'][0]:6.3f},"
                  f"{row['truth below, above the interval'][1]:6.3f} {row['warned']:7.3f} "
                  f"{row['covered, unwarned'] or np.nan:9.3f} "
                  f"{row['covered by computation alone']:6.3f} "
                  f"{row['share of computation']:6.3f}", flush=True)  # fmt: skip


def flow_by_width(size, seeds):
    """E[flow / width] fitted, on the log scale, its error by Fisher's information, the truth."""
    rows = [measured(FLOOD, size, np.random.default_rng([size, s])) for s in range(seeds)]
    flow, width = (np.array([row[name] for row in rows]) for name in FLOOD)
    log_mean, s = np.log(flow).mean(1), np.log(flow).std(1)
    gap = np.log(width.mean(1)) - np.log(width).mean(1)
    a = 0.5 / gap
    for _ in range(20):
        a -= (np.log(a) - digamma(a) - gap) / (1 / a - polygamma(1, a))
    estimate = log_mean + s**2 / 2 - np.log(width.mean(1) / a * (a - 1))
    # information of log shape and log scale is [[a^2 psi'(a), a], [a, a]] per measurement
    square, g = a**2 * polygamma(1, a), a / (a - 1)
    variance = s**2 + s**4 / 2 + (g**2 * a - 2 * g * a + square) / (square * a - a**2)
    return estimate, np.sqrt(variance / size), np.log(np.exp(0.125) * 3 / 8)


def sum_above(size, seeds):
    """The probit of P(x + y > 5) fitted, its standard error, and the truth."""
    rngs = (np.random.default_rng([size, s]) for s in range(seeds))
    sums = np.array([rng.multivariate_normal([0, 0], TOGETHER, size).sum(1) for rng in rngs])
    probit = (sums.mean(1) - 5) / sums.std(1)
    return probit, np.sqrt((1 + probit**2 / 2) / size), -5 / TOGETHER.sum() ** 0.5


def closed(seeds=3_000):
    """The same intervals for two answers by closed forms.

    No draw of the model is in them: what they miss is owed to the measurements.
    """
    print("| answer | data | seeds | covered | truth below, above |\n|---|---:|---:|---:|---:|")
    for name, fit in (("E[flow / width]", flow_by_width), ("P(x + y > 5)", sum_above)):
        for size in SIZES:
            estimate, error, truth = fit(size, int(seeds))
            gap, limit = (truth - estimate) / error, stats.t(size - 1).ppf(0.975)
            for first in (100, len(gap)):
                below, above = (gap < -limit)[:first].mean(), (gap > limit)[:first].mean()
                print(f"| {name} | {size:,} | {first:,} | {1 - below - above:.3f} "
                      f"| {below:.3f}, {above:.3f} |")  # fmt: skip


def table():
    """What was kept, case by case."""
    kept = json.loads(RESULTS.read_text())
    print("| answer, laws of the inputs | data | seeds | covered | truth below, above "
          "| warned | covered, unwarned | by computing alone |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, size in [(name, size) for name in CASES for size in SIZES]:
        row = kept.get(f"{name}, {size} data")
        if row:
            below, above = row["truth below, above the interval"]
            shares = [row["covered"], below, above, row["warned"], row["covered, unwarned"] or 0,
                      row["covered by computation alone"]]  # fmt: skip
            a, b, c, d, e, f = (f"{100 * share:.0f} %" for share in shares)
            print(f"| {name} | {size:,} | {row['seeds']} | {a} | {b}, {c} | {d} | {e} | {f} |")


if __name__ == "__main__":
    if sys.argv[1:] == ["--readme"]:
        table()
    elif sys.argv[1:2] == ["closed"]:
        closed(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
