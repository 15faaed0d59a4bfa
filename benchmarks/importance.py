"""What one adaptive sample gains, what its control variates buy, and what it all costs.

    python benchmarks/importance.py [gain|controls|overhead|reproducibility|all]
                                    [--seeds N] [--quick] [--workers N] [--readme]

gain
    Errors over many seeds against the truth, beside crude Monte Carlo with as many calls and beside
    separate adaptive runs, one per expectation, that share the same number of calls.
controls
    Variance over many seeds without control variates, over that with them.
overhead
    Own time per call of the integrand, and memory, at 10 inputs, 10 expectations, a million calls.
reproducibility
    The same seed in place, in threads and in processes: digests of all that is returned.

Every command prints its tables and keeps the figures in ``benchmarks/results/importance-*.json``;
``--readme`` prints the kept ones as Markdown. Matrix products use one thread per process.
"""

import argparse
import datetime
import hashlib
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

# read when NumPy is imported
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

import smcweights as smw
from smcweights import problems
from smcweights._compat import versions

RESULTS = Path(__file__).parent / "results"
BUDGET = 20_000
CONTROL_BUDGET = 5_000
OVERHEAD_BUDGET = 1_000_000
CONTROLS = {"components": True, "polynomials": "polynomial"}
# four expectations or more; the first three are the ones the README shows
GAIN = (
    "flood",
    "cantilever_beam",
    "lognormal_ratio",
    "bounded_sum",
    "correlated_normals",
    "four_branch",
    "linear_limit_state",
    "ishigami",
    "g_function",
)
SMOOTH_MEANS = ("ishigami", "cantilever_beam")  # the mean alone, besides all expectations at once


# --------------------------------------------------------------------------------- runs by seed


def column(x, integrand, j):
    return integrand(x)[:, j]


def questions(name, mean_alone=False):
    """Integrand, law, names and truth of a problem, or of its mean alone."""
    problem = getattr(problems, name)()
    if mean_alone:
        truth = np.array([problem.truth["mean"]])
        return problem.function, problem.law, ("mean alone",), truth
    return problem.integrand, problem.law, problem.names, problem.expectations


def adaptive(integrand, law, budget, seed, control_variates=True):
    with warnings.catch_warnings():
        # what is measured are errors over all seeds, those of runs that warned among them
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        return smw.adaptive_importance_sampling(
            integrand, law, budget, seed=seed, control_variates=control_variates
        )


def row(estimate, truth):
    """Error, reported standard error, interval covers, reduction by controls, warned: (5, J)."""
    lower, upper = estimate.interval()
    covers = (lower <= truth) & (truth <= upper)
    bought = estimate.diagnostics["control_variance_reduction"]
    warned = bool(estimate.cautions)
    parts = (estimate.value - truth, estimate.standard_error, covers, bought, warned)
    return np.stack([np.broadcast_to(part, np.shape(truth)) for part in parts]).astype(float)


def together_and_apart(name, budget, seed):
    """One run for all expectations, and one each with an equal share of the calls: (2, 5, J)."""
    integrand, law, names, truth = questions(name)
    together = row(adaptive(integrand, law, budget, seed), truth)
    share = budget // len(names)
    apart = [
        row(adaptive(partial(column, integrand=integrand, j=j), law, share, seed), truth[j : j + 1])
        for j in range(len(names))
    ]
    return np.stack([together, np.concatenate(apart, axis=1)])


def with_controls(name, mean_alone, budget, seed):
    """Runs without and with each kind of control variates: (1 + kinds, 5, J)."""
    integrand, law, _, truth = questions(name, mean_alone)
    kinds = (False, *CONTROLS.values())
    return np.stack([row(adaptive(integrand, law, budget, seed, k), truth) for k in kinds])


def over_seeds(job, seeds, workers):
    """Results of job(seed) for all seeds, stacked."""
    if workers == 1:
        return np.stack([job(seed) for seed in range(seeds)])
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return np.stack(list(pool.map(job, range(seeds))))


def crude_variance(integrand, law, truth, draws=4_000_000):
    """Variance of one draw (J,): p (1 - p) for probabilities, otherwise over many draws."""
    law, rng = smw.importance.laws.as_law(law), np.random.default_rng(2)
    square, binary, block = 0.0, True, 100_000
    for _ in range(draws // block):
        values = integrand(law.sample(rng, block))
        square = square + (values**2).sum(0)
        binary = binary & ((values == 0) | (values == 1)).all(0)
    return np.where(binary, truth, square / draws) - truth**2


def ratio_interval(above, below):
    """Ratio of mean squared errors and its 95 % bootstrap interval over the seeds: (3, J).

    ``above`` (seeds, J), or exact mean squared errors (J,); ``below`` (seeds, J).
    """
    rng = np.random.default_rng(3)

    def mean_square(errors):
        errors = np.asarray(errors)
        if errors.ndim == 1:
            return errors, errors
        pick = rng.integers(len(errors), size=(1000, len(errors)))
        return (errors**2).mean(0), (errors**2)[pick].mean(1)

    (a, many_a), (b, many_b) = mean_square(above), mean_square(below)
    return np.stack([a / b, *np.quantile(many_a / many_b, [0.025, 0.975], axis=0)])


# ------------------------------------------------------------------------------------- commands


def errors_of(runs, truth):
    """Relative errors of runs (seeds, 5, J): true and reported, and coverage."""
    size = np.abs(truth)
    return {
        "true": (np.sqrt((runs[:, 0] ** 2).mean(0)) / size).tolist(),
        "reported": (np.median(runs[:, 1], axis=0) / size).tolist(),
        "coverage": runs[:, 2].mean(0).tolist(),
        "warned": runs[:, 4].mean(0).tolist(),
    }


def gain(seeds, quick, workers):
    found = {}
    for name in GAIN[:3] if quick else GAIN:
        integrand, law, names, truth = questions(name)
        runs = over_seeds(partial(together_and_apart, name, BUDGET), seeds, workers)
        draws = 400_000 if quick else 4_000_000
        crude = crude_variance(integrand, law, truth, draws) / BUDGET
        together, apart = runs[:, 0], runs[:, 1]
        found[name] = {
            "names": list(names),
            "truth": truth.tolist(),
            "one sample": errors_of(together, truth),
            "separate": errors_of(apart, truth),
            "crude": (np.sqrt(crude) / np.abs(truth)).tolist(),
            "crude / one sample": ratio_interval(crude, together[:, 0]).tolist(),
            "separate / one sample": ratio_interval(apart[:, 0], together[:, 0]).tolist(),
        }
        print_gain(name, found[name], seeds)
    return {"budget": BUDGET, "seeds": seeds, "problems": found}


def print_gain(name, r, seeds):
    print(f"\n{name}: {BUDGET:,} calls, {seeds} seeds; relative errors in %, variance ratios")
    print(
        f"  {'':24} {'truth':>10} {'one sample':>22} {'crude':>9} {'separate':>16} "
        f"{'crude / one sample':>28} {'separate / one sample':>26}"
    )
    print(
        f"  {'':24} {'':>10} {'true':>7} {'said':>7} {'cover':>6} {'':>9} {'true':>8} {'said':>7}"
    )
    one, apart = r["one sample"], r["separate"]
    for j, label in enumerate(r["names"]):
        print(
            f"  {label:24} {r['truth'][j]:10.3g} {percent(one['true'][j])} "
            f"{percent(one['reported'][j])} {one['coverage'][j]:6.2f} {100 * r['crude'][j]:9.2f} "
            f"{percent(apart['true'][j]):>8} {percent(apart['reported'][j])} "
            f"{interval(r['crude / one sample'], j):>28} "
            f"{interval(r['separate / one sample'], j):>26}"
        )
    print(
        f"  {'worst':24} {'':10} {percent(max(one['true']))} {percent(max(one['reported']))} "
        f"{'':6} {100 * max(r['crude']):9.2f} {percent(max(apart['true'])):>8} "
        f"{percent(max(apart['reported']))} {(max(r['crude']) / max(one['true'])) ** 2:28,.3g} "
        f"{(max(apart['true']) / max(one['true'])) ** 2:26.2f}"
    )


def percent(x):
    return f"{100 * x:7.3g}"


def interval(ratio, j):
    middle, lower, upper = (part[j] for part in ratio)
    return "> 1e12" if lower > 1e12 else f"{middle:.3g} [{lower:.3g}, {upper:.3g}]"


def controls(seeds, quick, workers):
    # the others there are data
    made = {name: getattr(problems, name)() for name in problems.__all__ if name != "Problem"}
    cases = [(name, False) for name, one in made.items() if isinstance(one, problems.Problem)]
    if quick:
        cases = [case for case in cases if case[0] in SMOOTH_MEANS]
    cases += [(name, True) for name in SMOOTH_MEANS]
    found = {}
    width = 30
    print(f"{CONTROL_BUDGET:,} calls, {seeds} seeds: variance without controls over that with them")
    print(f"  {'':42}" + "".join(f"{kind:>{width}} {'said':>9} {'cover':>6}" for kind in CONTROLS))
    for name, mean_alone in cases:
        names = questions(name, mean_alone)[2]
        runs = over_seeds(partial(with_controls, name, mean_alone, CONTROL_BUDGET), seeds, workers)
        without = runs[:, 0, 0]
        record = {"names": list(names)}
        for k, kind in enumerate(CONTROLS, 1):
            record[kind] = {
                "ratio": ratio_interval(without, runs[:, k, 0]).tolist(),
                "reported": np.median(runs[:, k, 3], axis=0).tolist(),
                "coverage": runs[:, k, 2].mean(0).tolist(),
            }
        found[name + (", mean alone" if mean_alone else "")] = record
        for j, label in enumerate(names):
            print(
                f"  {name:18} {label:23}"
                + "".join(
                    f"{interval(record[kind]['ratio'], j):>{width}} "
                    f"{record[kind]['reported'][j]:9.3g} {record[kind]['coverage'][j]:6.2f}"
                    for kind in CONTROLS
                )
            )
    return {"budget": CONTROL_BUDGET, "seeds": seeds, "problems": found}


def ten_questions(x):
    """Mean, square, seven levels and a shortfall of a sum of ten inputs."""
    y = x.sum(axis=1) / np.sqrt(x.shape[1])
    levels = np.array([0.0, 1.0, 2.0, 2.5, 3.0, 3.5, 4.0])
    return np.column_stack([y + 1, y**2, np.maximum(y - 2, 0.0), y[:, None] > levels])


def timed_run(budget):
    """Wall and processor microseconds per call outside the integrand, and peak memory in MiB."""
    from scipy import stats

    inside = np.zeros(2)

    def clocks():
        return np.array([time.perf_counter(), time.process_time()])

    def integrand(x):
        began = clocks()
        values = ten_questions(x)
        inside[:] += clocks() - began
        return values

    law = [stats.norm()] * 10
    adaptive(integrand, law, 1_000, 0)  # imports
    inside[:] = 0.0
    began = clocks()
    adaptive(integrand, law, budget, 1)
    own = (clocks() - began - inside) / budget * 1e6
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"wall": own[0], "processor": own[1], "memory": kibibytes / 1024}


def overhead(seeds, quick, workers):
    repetitions = 2 if quick else 5
    sizes = (BUDGET, 100_000) if quick else (BUDGET, 100_000, OVERHEAD_BUDGET)
    found = {}
    print("10 inputs, 10 expectations; medians and ranges of single runs in fresh processes")
    print(
        f"  {'calls':>10} {'own time, us/call':>26} {'processor, us/call':>26} "
        f"{'peak memory, MiB':>18}"
    )
    for budget in sizes:
        runs = []
        for _ in range(repetitions):
            command = [sys.executable, __file__, "overhead", "--child", str(budget)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append(json.loads(done.stdout))
        record = {key: sorted(run[key] for run in runs) for key in runs[0]}
        found[str(budget)] = record
        texts = [
            f"{np.median(record[key]):.2f} [{record[key][0]:.2f}, {record[key][-1]:.2f}]"
            for key in ("wall", "processor")
        ]
        memory = max(record["memory"])
        print(f"  {budget:10,} {texts[0]:>26} {texts[1]:>26} {memory:18.0f}")
    return {"budgets": found}


def digest(estimate):
    """A digest of value, covariance, degrees of freedom, draws, values and weights."""
    sample = estimate.sample
    arrays = [estimate.value, estimate.covariance, estimate.degrees_of_freedom]
    arrays += [sample[name].values for name in ("inputs", "values", "log_weight")]
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


def reproducibility(seeds, quick, workers):
    found = {}
    places = (None, "threads", "processes:1", "processes:2")
    print(f"  {'':20}" + "".join(f"{place or 'in place':>18}" for place in places))
    for name in ("flood", "ishigami", "cantilever_beam"):
        integrand, law, _, _ = questions(name)
        digests = []
        for place in places:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", smw.PrecisionWarning)
                estimate = smw.adaptive_importance_sampling(
                    integrand,
                    law,
                    BUDGET,
                    control_variates=[True, "polynomial"],
                    seed=4,
                    executor=place,
                )
            digests.append(digest(estimate))
        same = len(set(digests)) == 1
        found[name] = {"places": [place or "in place" for place in places], "digests": digests}
        print(
            f"  {name:20}" + "".join(f"{d:>18}" for d in digests), "same" if same else "DIFFERENT"
        )
    return found


# --------------------------------------------------------------------------------------- README


def readme():
    """Markdown of what the last runs found."""
    kept = {
        name: json.loads(path.read_text())
        for name in COMMANDS
        if (path := RESULTS / f"importance-{name}.json").exists()
    }
    if "gain" in kept:
        r = kept["gain"]
        print(
            f"{r['budget']:,} model calls, {r['seeds']} seeds: relative root mean square errors, "
            "and the variance of crude Monte Carlo over that of one sample.\n"
        )
        print("| problem | expectation | truth | crude | separate runs | one sample | gain |")
        print("|---|---|---:|---:|---:|---:|---:|")
        for name in GAIN[:3]:
            p = r["problems"][name]
            one, apart = p["one sample"]["true"], p["separate"]["true"]
            for j, label in enumerate(p["names"]):
                print(
                    f"| {name} | {label} | {p['truth'][j]:.2g} | {short(100 * p['crude'][j])} % | "
                    f"{short(100 * apart[j])} % | {short(100 * one[j])} % | "
                    f"{short(p['crude / one sample'][0][j])} |"
                )
            print(
                f"| {name} | **worst** | | {short(100 * max(p['crude']))} % | "
                f"{short(100 * max(apart))} % | {short(100 * max(one))} % | |"
            )
    if "controls" in kept:
        r = kept["controls"]
        print(
            f"\n{r['budget']:,} model calls, {r['seeds']} seeds: variance without control variates "
            "over that with them, least and most among the expectations of a problem.\n"
        )
        print("| problem | expectations |" + "".join(f" {kind} |" for kind in CONTROLS))
        print("|---|---:|" + "---:|" * len(CONTROLS))
        for name, p in r["problems"].items():
            ratios = [p[kind]["ratio"][0] for kind in CONTROLS]
            cells = (
                short(x[0]) if len(x) == 1 else f"{short(min(x))} to {short(max(x))}"
                for x in ratios
            )
            print(f"| {name} | {len(p['names'])} |" + "".join(f" {cell} |" for cell in cells))
    if "overhead" in kept:
        largest = kept["overhead"]["budgets"][str(OVERHEAD_BUDGET)]
        print(
            f"\nOwn time {np.median(largest['wall']):.1f} microseconds per model call, "
            f"{max(largest['memory']) / 1024:.1f} GiB at most (10 inputs, 10 expectations, "
            f"{OVERHEAD_BUDGET:,} calls, one thread)."
        )


def short(x):
    """Two digits, without an exponent where that is short; past 1e12 rounding is all there is."""
    return "> 1e12" if x > 1e12 else f"{float(f'{x:.2g}'):,.0f}" if 10 <= x < 1e7 else f"{x:.2g}"


def processor():
    """Name of the processor."""
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        for line in cpu.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


COMMANDS = {
    "gain": gain,
    "controls": controls,
    "overhead": overhead,
    "reproducibility": reproducibility,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", nargs="?", choices=[*COMMANDS, "all"], default="all")
    parser.add_argument("--seeds", type=int, default=100, help="default 100")
    parser.add_argument("--quick", action="store_true", help="fewer problems; nothing is kept")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the seeds")
    parser.add_argument("--readme", action="store_true", help="print what was kept as Markdown")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.readme:
        readme()
        return
    if options.child:
        print(json.dumps(timed_run(options.child)))
        return
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads per process": 1,
        "versions": dict(versions()),
    }
    sys.stdout.reconfigure(line_buffering=True)
    for name in COMMANDS if options.command == "all" else (options.command,):
        load, began = os.getloadavg()[0], time.perf_counter()
        found = COMMANDS[name](options.seeds, options.quick, options.workers)
        seconds = round(time.perf_counter() - began)
        print(f"{name}: {seconds} s")
        if not options.quick:
            date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            kept = {"date": date, "seconds": seconds, "load before": load, **machine, **found}
            RESULTS.mkdir(exist_ok=True)
            text = json.dumps(kept, indent=1)
            (RESULTS / f"importance-{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
