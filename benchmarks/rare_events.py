"""Failure probabilities beside OpenTURNS: same problems, same limit on calls, same process.

    python benchmarks/rare_events.py [--seeds 20] [--calls 10000] [--readme]
    python benchmarks/rare_events.py --coverage [--only TEXT]

Per problem and method: relative root mean square error over the seeds, coverage of the method's own
95 % intervals, mean calls, and the work-normalised variance, calls times squared relative error
(plain Monte Carlo has (1 - p)/p). Truths are closed forms or quadrature. Limit states: Engelund &
Rackwitz (1993), Struct. Saf. 12 (noisy); Der Kiureghian & Dakessian (1998), Struct. Saf. 20 (two
design points); Katsuki & Frangopol (1994) (four branches); Papaioannou,
Geyer & Straub (2019), Reliab. Eng. Syst. Saf. 191 (linear in many dimensions); others are sums and
ratios with closed forms. Needs openturns (the bench extra). Writes results/rare_events.json.

With --coverage, instead: the share of 95 % intervals that hold the truth, of all runs and of those
that didn't warn; 1,000 seeds of 4,000 calls in two inputs, 100 elsewhere. A coverage of 0.90 is
told from 0.95 by 1,000 seeds with probability above 0.999 (false alarms 1e-3), by 100 with 0.3.
With --only, of the problems whose names contain the text; the others keep what was measured before.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from scipy import integrate, stats

import smcweights as smw

RESULTS = Path(__file__).parent / "results" / "rare_events.json"
SF = stats.norm.sf


def linear(beta, d):
    return lambda x: beta - x.sum(axis=1) / np.sqrt(d)


def two_points(x):
    return 5 - x[:, 1] - 0.5 * (x[:, 0] - 0.1) ** 2


def noisy(x):
    return (
        x[:, 0]
        + 2 * x[:, 1]
        + 2 * x[:, 2]
        + x[:, 3]
        - 5 * x[:, 4]
        - 5 * x[:, 5]
        + 0.001 * np.sin(100 * x).sum(axis=1)
    )


def lognormal(mean, sd):
    s = np.sqrt(np.log1p((sd / mean) ** 2))
    return stats.lognorm(s, scale=mean / np.exp(s**2 / 2))


def four_branch(x):
    a, b = (x[:, 0] + x[:, 1]) / np.sqrt(2), (x[:, 0] - x[:, 1]) / np.sqrt(2)
    curve = 3 + 0.2 * b**2
    straight = 7 / np.sqrt(2)
    return np.min([curve - a, curve + a, b + straight, straight - b], axis=0)


def four_branch_truth():
    # in the turned coordinates: failure where |b| >= 7/sqrt(2), else where |a| >= 3 + 0.2 b^2
    edge = 7 / np.sqrt(2)
    inner = integrate.quad(lambda b: stats.norm.pdf(b) * 2 * SF(3 + 0.2 * b * b), -edge, edge)[0]
    return 2 * SF(edge) + inner


def cases():
    """Name -> limit state, law, truth."""
    normal = stats.norm()
    parabola = integrate.quad(
        lambda a: stats.norm.pdf(a) * SF(5 - 0.5 * (a - 0.1) ** 2),
        -10,
        10,
        points=[-3, 3],
        limit=500,
    )[0]
    strength, load = stats.lognorm(0.1, scale=10), stats.lognorm(0.25, scale=3)
    product = (np.log(10) - np.log(3)) / np.hypot(0.1, 0.25)
    found = {
        f"linear, d = {d}, index {beta:g}": (linear(beta, d), [normal] * d, SF(beta))
        for d, beta in ((2, 3), (2, 6), (50, 3.5), (50, 4.5), (200, 3.5))
    }
    found |= {
        "four branches": (four_branch, [normal] * 2, four_branch_truth()),
        "two design points": (two_points, [normal] * 2, parabola),
        "four sides": (lambda x: 5 - np.abs(x).max(1), [normal] * 2, 1 - (1 - 2 * SF(5)) ** 2),
        "parallel system": (
            lambda x: np.maximum(2.5 - x[:, 0], 2.8 + x[:, 1]),
            [normal] * 2,
            SF(2.5) * SF(2.8),
        ),
        "sphere, d = 30": (lambda x: 80 - (x**2).sum(1), [normal] * 30, stats.chi2.sf(80, 30)),
        "exponential sum, d = 10": (
            lambda x: 28 - x.sum(1),
            [stats.expon()] * 10,
            stats.gamma(10).sf(28),
        ),
        "strength and load": (lambda x: x[:, 0] - x[:, 1], [strength, load], SF(product)),
        "noisy frame": (
            noisy,
            [lognormal(120, 12)] * 4 + [lognormal(50, 15), lognormal(40, 12)],
            None,
        ),
    }
    return found


def noisy_truth():
    """Plain Monte Carlo with 2e7 calls: relative standard error 0.2 %."""
    law = cases()["noisy frame"][1]
    rng, hits, n = np.random.default_rng(0), 0, 0
    for _ in range(40):
        x = np.stack([m.rvs(500_000, random_state=rng) for m in law], axis=1)
        hits += int((noisy(x) <= 0).sum())
        n += len(x)
    return hits / n


def ours(limit_state, law, calls, seed, truth):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        est = smw.failure_probability(limit_state, law, calls, seed=seed)
    lower, upper = est.interval()
    return float(est), float(lower), float(upper), est.cost["evaluations"]


def openturns(name):
    import openturns as ot

    def run(limit_state, law, calls, seed, truth):
        ot.RandomGenerator.SetSeed(seed + 1)
        marginals = []
        for m in law:
            kind, a = m.dist.name, m.args
            if kind == "norm":
                marginals.append(ot.Normal(0, 1))
            elif kind == "expon":
                marginals.append(ot.Exponential(1))
            else:
                marginals.append(ot.LogNormal(np.log(m.kwds["scale"]), a[0], 0))
        counted = [0]

        def function(x):
            x = np.asarray(x)
            counted[0] += len(x)
            return limit_state(x)[:, None]

        d = len(law)
        g = ot.PythonFunction(d, 1, func_sample=function)
        joint = ot.JointDistribution(marginals)
        output = ot.CompositeRandomVector(g, ot.RandomVector(joint))
        event = ot.ThresholdEvent(output, ot.LessOrEqual(), 0.0)
        # a level for every power of ten, and the last one
        block = int(calls / max(2, 1 - np.log10(truth)))
        if name == "subset":
            algorithm = ot.SubsetSampling(event)
            algorithm.setMaximumOuterSampling(1)
            algorithm.setBlockSize(block)
        elif name == "NAIS":
            algorithm = ot.NAIS(event, 0.1)
            algorithm.setMaximumOuterSampling(1)
            algorithm.setBlockSize(block)
        else:
            algorithm = ot.StandardSpaceCrossEntropyImportanceSampling(event, 0.1)
            algorithm.setMaximumOuterSampling(1)
            algorithm.setBlockSize(block)
        algorithm.run()
        result = algorithm.getResult()
        p = result.getProbabilityEstimate()
        half = 1.96 * np.sqrt(max(result.getVarianceEstimate(), 0.0))
        return p, p - half, p + half, counted[0]

    return run


METHODS = {
    "smcweights": ours,
    "subset": openturns("subset"),
    "NAIS": openturns("NAIS"),
    "CE": openturns("cross-entropy"),
}


def measure(seeds, calls):
    rows = []
    for problem, (limit_state, law, truth) in cases().items():
        truth = noisy_truth() if truth is None else truth
        for method, run in METHODS.items():
            began, found = time.perf_counter(), []
            try:
                found = np.array(
                    [run(limit_state, law, calls, seed, truth) for seed in range(seeds)]
                )
            except Exception as error:
                rows.append({"problem": problem, "method": method, "failed": str(error)[:100]})
                print(f"{problem:26s} {method:10s} failed: {str(error)[:60]}", flush=True)
                continue
            p, lower, upper, used = found.T
            rms = float(np.sqrt(np.mean((p / truth - 1) ** 2)))
            rows.append(
                {
                    "problem": problem,
                    "truth": truth,
                    "method": method,
                    "rms": rms,
                    "cover": float(((lower <= truth) & (truth <= upper)).mean()),
                    "calls": float(used.mean()),
                    "work": float(used.mean() * rms**2),
                    "seconds": (time.perf_counter() - began) / seeds,
                }
            )
            r = rows[-1]
            print(
                f"{problem:26s} {truth:9.2e} {method:10s} {100 * rms:9.2f} % cover {r['cover']:.2f}"
                f" calls {r['calls']:8.0f} work {r['work']:10.3g} {r['seconds']:.2f} s",
                flush=True,
            )
    return rows


def table(kept):
    rows = kept["rows"]
    print(f"{kept['calls']:,} calls, {kept['seeds']} seeds: calls x squared relative error.\n")
    print("| problem | probability | smcweights | its error | OpenTURNS, best of three |")
    print("|---|---:|---:|---:|---:|")
    for problem in dict.fromkeys(r["problem"] for r in rows):
        of = {r["method"]: r for r in rows if r["problem"] == problem and "work" in r}
        best = min((r for m, r in of.items() if m != "smcweights"), key=lambda r: r["work"])
        us = of["smcweights"]
        print(
            f"| {problem} | {us['truth']:.2g} | {us['work']:.2g} | {100 * us['rms']:.2g} % | "
            f"{best['work']:.2g} ({best['method']}) |"
        )


def covered(name, seed):
    """Whether a run's interval holds the truth, and whether it warned."""
    limit_state, law, truth = cases()[name]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        lower, upper = smw.failure_probability(
            limit_state, law, 4_000, seed=1_000 + seed
        ).interval()
    return bool(lower <= truth <= upper), bool(told)


def coverage(only):
    path = RESULTS.with_name("rare_events-coverage.json")
    kept = json.loads(path.read_text()) if only and path.exists() else {}
    for problem, (_, law, truth) in cases().items():
        if truth is None or only not in problem:
            continue
        seeds = 1_000 if len(law) == 2 else 100
        inside, told = np.array([covered(problem, seed) for seed in range(seeds)]).T
        quiet = float(inside[~told].mean()) if (~told).any() else None
        kept[problem] = {
            "seeds": seeds,
            "covers": float(inside.mean()),
            "warned": float(told.mean()),
            "covers unwarned": quiet,
        }
        print(
            f"{problem:26s} {seeds:5d} seeds: {inside.mean():.3f} cover; {told.mean():.3f} warned"
            + ("" if quiet is None else f", {quiet:.3f} of the others cover"),
            flush=True,
        )
        path.write_text(json.dumps(kept, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--readme", action="store_true", help="print what was kept as Markdown")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--only", default="", help="part of a problem's name")
    options = parser.parse_args()
    if options.coverage:
        coverage(options.only)
        return
    if options.readme:
        table(json.loads(RESULTS.read_text()))
        return
    rows = measure(options.seeds, options.calls)
    kept = {"seeds": options.seeds, "calls": options.calls, "rows": rows}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    table(kept)


if __name__ == "__main__":
    main()
