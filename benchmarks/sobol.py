"""Sobol' indices at the same number of model calls, beside SALib, OpenTURNS and SciPy.

    python benchmarks/sobol.py [error|coverage|overhead|all] [--seeds N] [--quick] [--readme]

error
    Root mean square error over seeds and indices against the truth: ours (`method="auto"` and
    "qmc"), SALib (Saltelli's design of Sobol' points), OpenTURNS (Martinez), SciPy.
coverage
    Share of seeds in which nominal 95 % intervals hold the truth, least and largest over the
    indices, at about 1,280 calls; SALib's and OpenTURNS's intervals beside ours.
overhead
    Seconds outside the model for a million calls at 20 inputs, beside SALib's analysis alone.

Figures are kept in ``benchmarks/results/sobol-*.json``. Truths are closed forms, except for flood
and borehole: there our own estimate from two million calls, whose error is printed, stands in.
Calls are those of first-order and total indices, d + 2 per pair of points (OpenTURNS and SciPy
included), with the largest power of two of pairs that fits.
"""

import argparse
import datetime
import json
import os
import platform
import time
import warnings
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from scipy import stats

import smcweights as smw
from smcweights import problems
from smcweights._compat import versions
from smcweights.importance.laws import as_law

RESULTS = Path(__file__).parent / "results"
BUDGETS = (1_000, 10_000, 100_000)
WEIGHTS = np.where(np.arange(20) < 6, 2.0 / (1 + np.arange(20)), 0.02)


def screening(x):
    """Twenty inputs, six of which matter: linear, quadratic and products of two."""
    z = 2 * x - 1
    return z @ WEIGHTS + z[:, 0] * z[:, 1] + z[:, 2] ** 2


def screening_problem():
    # V(z) = 1/3, V(z^2) = 4/45, V(z z') = 1/9
    first = WEIGHTS**2 / 3
    first[2] += 4 / 45
    total = first.copy()
    total[:2] += 1 / 9
    variance = first.sum() + 1 / 9
    return screening, [stats.uniform()] * 20, np.concatenate([first, total]) / variance


def step(x):
    """A rough one: whether a sum exceeds 0.8 of its range's middle."""
    return (x[:, 0] + 0.5 * x[:, 1] + 0.25 * x[:, 2] > 1.1).astype(float)


def step_problem():
    # cell centres of a fine grid: exact to 1e-5
    n = 400
    c = (np.arange(n) + 0.5) / n
    y = (c[:, None, None] + 0.5 * c[:, None] + 0.25 * c > 1.1).astype(float)
    variance = y.var()
    first = [y.mean(axis=tuple({0, 1, 2} - {i})).var() for i in range(3)]
    total = [y.var(axis=i).mean() for i in range(3)]
    return step, [stats.uniform()] * 3, np.array([*first, *total]) / variance


def closed(name):
    problem = getattr(problems, name)()
    truth = np.array([*problem.truth["first"], *problem.truth["total"]])
    return problem.function, problem.law, truth


def stand_in(name):
    problem = getattr(problems, name)()
    found = smw.sobol_indices(problem.function, problem.law, 2_000_000, seed=12345)
    print(f"{name}: stand-in for the truth +- {found.indices.standard_error.max():.1e}")
    return problem.function, problem.law, found.indices.value


CASES = {
    "ishigami": (closed, "ishigami"),
    "g_function": (closed, "g_function"),
    "flood": (stand_in, "flood"),
    "borehole": (stand_in, "borehole"),
    "screening": (lambda _: screening_problem(), ""),
    "step": (lambda _: step_problem(), ""),
}


def pairs_of(budget, d):
    return 2 ** int(np.log2(budget / (d + 2)))


def ours(function, law, budget, seed, method="auto"):
    d = as_law(law).dimension
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        found = smw.sobol_indices(
            function, law, pairs_of(budget, d) * (d + 2), method=method, seed=seed
        )
    lower, upper = found.indices.interval()
    return found.indices.value, lower, upper


def salib(function, law, budget, seed):
    from SALib.analyze import sobol
    from SALib.sample import sobol as points

    law = as_law(law)
    d = law.dimension
    problem = {"num_vars": d, "names": list(law.names), "bounds": [[0, 1]] * d}
    v = points.sample(problem, pairs_of(budget, d), calc_second_order=False, seed=seed)
    x = law.to_inputs(stats.norm.ppf(np.clip(v, 1e-12, 1 - 1e-12)))
    s = sobol.analyze(problem, function(x), calc_second_order=False, seed=seed)
    value = np.concatenate([s["S1"], s["ST"]])
    half = np.concatenate([s["S1_conf"], s["ST_conf"]])
    return value, value - half, value + half


def openturns(function, law, budget, seed):
    import openturns as ot

    ot.RandomGenerator.SetSeed(seed)
    ot.ResourceMap.SetAsUnsignedInteger("SobolIndicesAlgorithm-DefaultBootstrapSize", 100)
    law = as_law(law)
    d, n = law.dimension, pairs_of(budget, law.dimension)
    unit = ot.JointDistribution([ot.Uniform(0, 1)] * d)
    v = np.array(ot.SobolIndicesExperiment(unit, n, False).generate())
    y = function(law.to_inputs(stats.norm.ppf(np.clip(v, 1e-12, 1 - 1e-12))))
    found = ot.MartinezSensitivityAlgorithm(ot.Sample(v), ot.Sample(y[:, None]), n)
    value = np.concatenate([found.getFirstOrderIndices(), found.getTotalOrderIndices()])
    first, total = found.getFirstOrderIndicesInterval(), found.getTotalOrderIndicesInterval()
    lower = np.concatenate([first.getLowerBound(), total.getLowerBound()])
    upper = np.concatenate([first.getUpperBound(), total.getUpperBound()])
    return value, lower, upper


def scipys(function, law, budget, seed):
    law = as_law(law)
    d, n = law.dimension, pairs_of(budget, law.dimension)

    def mapped(v):
        return function(law.to_inputs(stats.norm.ppf(np.clip(v.T, 1e-12, 1 - 1e-12))))[None]

    found = stats.sobol_indices(
        func=mapped, n=n, dists=[stats.uniform()] * d, random_state=np.random.default_rng(seed)
    )
    value = np.concatenate([found.first_order, found.total_order])
    return value, np.full_like(value, np.nan), np.full_like(value, np.nan)


METHODS = {
    "auto": ours,
    "qmc": lambda *a: ours(*a, method="qmc"),
    "SALib": salib,
    "OpenTURNS": openturns,
    "SciPy": scipys,
}


def error(seeds, quick):
    rows = []
    for name, (make, argument) in CASES.items():
        function, law, truth = make(argument)
        for budget in BUDGETS[:2] if quick else BUDGETS:
            for method, run in METHODS.items():
                began = time.perf_counter()
                errors = []
                for seed in range(1, seeds + 1):
                    try:
                        errors.append(run(function, law, budget, seed)[0] - truth)
                    except ValueError as refusal:
                        print(f"{name} {budget} {method}: {refusal}")
                        break
                if len(errors) < seeds:
                    continue
                rms = np.sqrt(np.mean(np.square(errors), axis=0))
                rows.append(
                    {
                        "problem": name,
                        "calls": pairs_of(budget, len(truth) // 2) * (len(truth) // 2 + 2),
                        "method": method,
                        "rms": float(np.sqrt(np.mean(rms**2))),
                        "worst": float(rms.max()),
                        "seconds": (time.perf_counter() - began) / seeds,
                    }
                )
            block = [r for r in rows if r["problem"] == name and r["calls"] == rows[-1]["calls"]]
            shown = "  ".join(f"{r['method']} {r['rms']:.1e}" for r in block)
            reference = [r["rms"] for r in block if r["method"] == "SALib"]
            gain = reference[0] / block[0]["rms"] if reference else float("nan")
            print(
                f"{name:12s} {rows[-1]['calls']:>8,} calls  {shown}  gain {gain:,.0f}", flush=True
            )
    return rows


def coverage(seeds, quick):
    rows = []
    for name in ("ishigami", "g_function", "screening", "step"):
        make, argument = CASES[name]
        function, law, truth = make(argument)
        budget = 1_280 if len(truth) < 10 else 3_000
        for method in ("auto", "qmc", "SALib", "OpenTURNS"):
            inside = []
            for seed in range(1, seeds + 1):
                _, lower, upper = METHODS[method](function, law, budget, seed)
                inside.append((lower <= truth) & (truth <= upper))
            rate = np.mean(inside, axis=0)
            rows.append(
                {
                    "problem": name,
                    "method": method,
                    "mean": float(rate.mean()),
                    "least": float(rate.min()),
                    "largest": float(rate.max()),
                    "seeds": seeds,
                }
            )
            print(
                f"{name:12s} {method:10s} coverage {rate.mean():.3f}, from {rate.min():.3f} to "
                f"{rate.max():.3f}",
                flush=True,
            )
    return rows


def overhead(seeds, quick):
    from SALib.analyze import sobol

    function, law, _ = screening_problem()
    spent = [0.0]

    def timed(x):
        began = time.perf_counter()
        y = function(x)
        spent[0] += time.perf_counter() - began
        return y

    rows = []
    for method in ("auto", "qmc"):
        spent[0], began = 0.0, time.perf_counter()
        found = smw.sobol_indices(timed, law, 1_000_000, method=method, seed=1)
        outside = time.perf_counter() - began - spent[0]
        calls = int(found.indices.cost["evaluations"])
        rows.append({"method": method, "calls": calls, "seconds": outside})
    n = 1_000_000 // 22
    problem = {"num_vars": 20, "names": [f"x{i}" for i in range(20)], "bounds": [[0, 1]] * 20}
    y = np.random.default_rng(1).standard_normal(22 * n)
    began = time.perf_counter()
    sobol.analyze(problem, y, calc_second_order=False, seed=1)
    rows.append({"method": "SALib", "calls": 22 * n, "seconds": time.perf_counter() - began})
    for row in rows:
        print(f"{row['method']:8s} {row['calls']:>9,} calls: {row['seconds']:.2f} s")
    return rows


def table():
    """Errors as they were measured, in Markdown."""
    kept = json.loads((RESULTS / "sobol-error.json").read_text())
    rows = kept["rows"]
    methods = [m for m in METHODS if m != "qmc"]
    print(
        f"Root mean square error over all first-order and total indices, {kept['seeds']} seeds.\n"
    )
    print("| model | calls | smcweights | " + " | ".join(methods[1:]) + " | SALib over ours |")
    print("|---|---:" + "|---:" * (len(methods) + 1) + "|")
    for problem in CASES:
        # the middle one of the budgets
        for calls in sorted({r["calls"] for r in rows if r["problem"] == problem})[1:2]:
            of = {
                r["method"]: r["rms"]
                for r in rows
                if r["problem"] == problem and r["calls"] == calls
            }
            errors = " | ".join(f"{of[m]:.1e}" if m in of else "-" for m in methods)
            ratio = of["SALib"] / of["auto"] if "SALib" in of else float("nan")
            shown = "> 1e6" if ratio > 1e6 else f"{float(f'{ratio:.2g}'):,g}"
            print(f"| {problem} | {calls:,} | {errors} | {shown} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "what", nargs="?", default="all", choices=["error", "coverage", "overhead", "all"]
    )
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--readme", action="store_true", help="print what was kept as Markdown")
    options = parser.parse_args()
    if options.readme:
        table()
        return
    warnings.filterwarnings("ignore", module="SALib|scipy|openturns")
    defaults = {"error": 10, "coverage": 200, "overhead": 1}
    for name, run in (("error", error), ("coverage", coverage), ("overhead", overhead)):
        if options.what not in (name, "all"):
            continue
        seeds = options.seeds or defaults[name]
        found = {
            "seeds": seeds,
            "date": datetime.date.today().isoformat(),
            "machine": platform.machine(),
            "versions": versions(),
            "rows": run(seeds, options.quick),
        }
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"sobol-{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
