"""The test functions of uqtestfuns and otbenchmark, beside SALib and OpenTURNS at equal calls.

    python benchmarks/foreign.py [truths|indices|probabilities|all] [--seeds 20] [--calls 20000]
                                 [--only TEXT] [--without METHOD ...] [--readme]

Every function that uqtestfuns lists for sensitivity and for reliability, and every problem of
otbenchmark, as those packages have them; functions of any number of inputs with four. The inputs'
laws are handed to us whole, not cut where a function of uqtestfuns refuses its inputs (at
probabilities of 1e-16), so that runs stopped by a model's own check show. Needs uqtestfuns and
otbenchmark, whose requirements are older than ours (``peers/alone``); left out are models of 10 ms
and more a call, and RP110, whose expression OpenTURNS 1.27 no longer reads.

truths
    Computed by code that is not ours. Indices: tensor Gauss rules up to four inputs, where two
    of them agree, else Saltelli's and Jansen's estimators on scrambled Sobol' points, eight
    replicates, whose spread is the truth's error. Probabilities: one direction integrated exactly
    between the roots of the limit state, scrambled Sobol' points across it. Kept in
    ``benchmarks/results/foreign-truths.json``.
indices
    `sobol_indices`, SALib (Sobol' points, bootstrap intervals) and OpenTURNS (Martinez, asymptotic
    intervals): root mean square error, coverage of 95 % intervals, runs that warned, own time.
probabilities
    `failure_probability` and OpenTURNS: importance sampling at the design point, subset sampling,
    adaptive directional stratification.

Own time is that outside the model, as a ratio to SALib's and subset sampling's in the same process.
Figures are kept in ``benchmarks/results/foreign-*.json``.
"""

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openturns as ot
import sobol as designs
from scipy import integrate, special, stats

import smcweights as smw
from smcweights.importance.laws import as_law

RESULTS = Path(__file__).parent / "results"
REFUSED = "outside the domain"
FREE = 4  # inputs of functions of any number of them
SLOW = {"SolarCell", "Morris"}  # 10 ms and more a call: left out
SECONDS = 10  # of the model, for the truth of its indices
OURS = "smcweights"


class Problem(NamedTuple):
    """A function of inputs (n, d), their law, and how the package answers, if it does."""

    name: str
    package: str
    function: Callable
    law: Any
    stated: Any = None
    threshold: float = 0.0


def of_uqtestfuns(tag):
    """Functions with this tag, none without the package."""
    try:
        import uqtestfuns
    except ImportError:
        print("left out: uqtestfuns, not installed")
        return
    for name in sorted(set(uqtestfuns.list_functions(tag=tag, tabulate=False)) - SLOW):
        make = getattr(uqtestfuns, name)
        try:
            function = make()
        except ValueError:
            function = make(input_dimension=FREE)
        yield Problem(name, "uqtestfuns", function, function.prob_input)


def of_otbenchmark(library):
    """Problems of one of its lists, none without the package."""
    # a name that OpenTURNS no longer has
    ot.ComposedDistribution = ot.JointDistribution
    try:
        import otbenchmark
    except ImportError:
        print("left out: otbenchmark, not installed")
        return []
    return [p for p in getattr(otbenchmark, library)() if p.getName() not in SLOW]


def column(function, x):
    return np.array(function(x))[:, 0]


def sensitivity_problems():
    yield from of_uqtestfuns("sensitivity")
    for p in of_otbenchmark("SensitivityBenchmarkProblemList"):
        stated = [*p.getFirstOrderIndices(), *p.getTotalOrderIndices()]
        function = partial(column, p.getFunction())
        yield Problem(p.getName(), "otbenchmark", function, p.getInputDistribution(), stated)


def reliability_problems():
    yield from of_uqtestfuns("reliability")
    for p in of_otbenchmark("ReliabilityBenchmarkProblemList"):
        event = p.getEvent()
        assert event.getOperator().getImplementation().getClassName() == "Less"
        function = partial(column, event.getFunction())
        law = event.getAntecedent().getDistribution()
        yield Problem(
            p.getName(), "otbenchmark", function, law, p.getProbability(), event.getThreshold()
        )


def inputs_of(law):
    """From standard normals to inputs, and whether each input is bounded on both sides."""
    law = as_law(law)
    return law.to_inputs, np.isfinite(law.ranges).all(axis=0)


def tensor_indices(problem, nodes):
    """Indices by Gauss rules: two panels in a bounded input's probability, or in a normal."""
    to_inputs, bounded = inputs_of(problem.law)
    d = len(bounded)
    v, w = np.polynomial.legendre.leggauss(nodes)
    panels = special.ndtri(np.concatenate([(v + 1) / 4, (v + 3) / 4])), np.tile(w / 4, 2)
    z = 4 * np.concatenate([v - 1, v + 1])
    normal = z, np.tile(4 * w, 2) * stats.norm.pdf(z)
    rules = [panels if b else normal for b in bounded]
    grid = np.stack(np.meshgrid(*[rule[0] for rule in rules], indexing="ij"), -1)
    y = problem.function(to_inputs(grid.reshape(-1, d))).reshape(grid.shape[:-1])

    def mean(values, axes):
        for i in axes:
            weights = rules[i][1].reshape([-1 if j == i else 1 for j in range(d)])
            values = (values * weights).sum(i, keepdims=True)
        return values

    every = range(d)
    y = y - mean(y, every)
    variance = mean(y**2, every).item()
    first = [mean(mean(y, set(every) - {i}) ** 2, [i]).item() for i in every]
    total = [variance - mean(mean(y, [i]) ** 2, set(every) - {i}).item() for i in every]
    return np.array([*first, *total]) / variance


def sampled_indices(problem, log_pairs, replicates=8):
    to_inputs, bounded = inputs_of(problem.law)
    d, found = len(bounded), []
    for seed in range(replicates):
        points = stats.qmc.Sobol(2 * d, rng=np.random.default_rng(seed)).random_base2(log_pairs)
        z = special.ndtri(np.clip(points, 1e-16, 1 - 1e-16))
        a, b = z[:, :d], z[:, d:]
        y, other = problem.function(to_inputs(a)), problem.function(to_inputs(b))
        both = np.concatenate([y, other])
        first, total = [], []
        for i in range(d):
            mixed = a.copy()
            mixed[:, i] = b[:, i]
            moved = problem.function(to_inputs(mixed))
            first.append(np.mean((other - both.mean()) * (moved - y)))
            total.append(np.mean((moved - y) ** 2) / 2)
        found.append(np.array([*first, *total]) / both.var())
    return np.mean(found, 0), np.std(found, 0, ddof=1).max() / np.sqrt(replicates)


def true_indices(problem):
    d = as_law(problem.law).dimension
    with np.errstate(invalid="ignore", divide="ignore"):
        if d <= FREE:
            found = [tensor_indices(problem, n) for n in (10, 16, 22)]
            errors = np.abs(np.diff(found, axis=0)).max(axis=1)
            if errors[1] < 1e-4:
                return found[2], errors[1]
        x = as_law(problem.law).sample(np.random.default_rng(0), 1_000)
        began = time.process_time()
        problem.function(x)
        calls = 1e3 * SECONDS / (time.process_time() - began)
        return sampled_indices(problem, int(np.clip(np.log2(calls / (8 * (d + 2))), 9, 15)))


def direction(problem, to_inputs, d):
    """Towards the failure nearest to the origin, of draws ever farther out."""
    rng = np.random.default_rng(0)
    for scale in (1.0, 1.5, 2.0, 2.5, 3.0):
        z = np.clip(scale * rng.standard_normal((100_000, d)), -8, 8)
        fails = problem.function(to_inputs(z)) <= problem.threshold
        if fails.sum() >= 20:
            break
    z = z[fails]
    nearest = z[np.argsort((z**2).sum(1))[: max(5, len(z) // 100)]]
    mean = nearest.mean(0)
    alone = nearest[0]
    far = np.linalg.norm(mean) > 0.7 * np.linalg.norm(alone)
    return (mean if far else alone) / np.linalg.norm(mean if far else alone)


# a sum of 20 exponential inputs; a normal input against 99 squares
CLOSED = {
    "RP54": lambda: stats.gamma(20).cdf(8.951),
    "RP63": lambda: integrate.quad(
        lambda c: stats.norm.sf(0.1 * c - 4.5) * stats.chi2.pdf(c, 99), 0, 300, points=[60, 99]
    )[0],
}


def true_probability(problem, log_lines=10, replicates=8, reach=8.2, steps=80):
    """Between the roots along lines, averaged over the lines; with its standard error."""
    if problem.name in CLOSED:
        return CLOSED[problem.name](), 1e-9
    to_inputs, bounded = inputs_of(problem.law)
    d = len(bounded)
    along = direction(problem, to_inputs, d)
    basis = np.linalg.qr(np.column_stack([along, np.eye(d)]))[0]
    across = basis[:, 1:d]
    t = np.linspace(-reach, reach, steps + 1)

    def fails(base, at):
        z = np.clip(base + at[:, None] * along, -reach, reach)
        return problem.function(to_inputs(z)) <= problem.threshold

    found = []
    for seed in range(replicates):
        rng = np.random.default_rng(seed)
        if d == 2:
            # midpoints, moved at random
            places = np.linspace(-reach, reach, 2**log_lines + 1)[:-1, None]
            places = places + rng.random() * (places[1] - places[0])
            weights = stats.norm.pdf(places[:, 0]) * (places[1] - places[0])
        else:
            points = stats.qmc.Sobol(d - 1, rng=rng).random_base2(log_lines)
            places = special.ndtri(np.clip(points, 1e-16, 1 - 1e-16))
            weights = np.full(len(points), 1 / len(points))
        bases, total = places @ across.T, 0.0
        for part in np.array_split(np.arange(len(bases)), max(1, len(bases) // 512)):
            base, weight = bases[part], weights[part]
            n = len(base)
            state = fails(np.repeat(base, len(t), 0), np.tile(t, n)).reshape(n, -1)
            line, left = np.nonzero(state[:, 1:] != state[:, :-1])
            low, high, before = t[left], t[left + 1], state[line, left]
            for _ in range(40 if len(line) else 0):
                middle = (low + high) / 2
                same = fails(base[line], middle) == before
                low, high = np.where(same, middle, low), np.where(same, high, middle)
            root = (low + high) / 2
            # upper tails of the roots: + where failure begins, - where it ends
            tails = np.where(before, -1, 1) * special.ndtr(-root)
            total += tails @ weight[line] + state[:, 0] @ weight
        found.append(total)
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(replicates)


def truths(options):
    path = RESULTS / "foreign-truths.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    for kind, problems, compute in (
        ("indices", sensitivity_problems, true_indices),
        ("probabilities", reliability_problems, true_probability),
    ):
        for p in problems():
            name = f"{p.package}, {p.name}, {kind}"
            if options.only not in name or (name in kept and not options.only):
                continue
            began = time.perf_counter()
            try:
                value, error = compute(p)
            except TypeError as refusal:
                # an expression that this version of OpenTURNS doesn't read
                print(f"{name}: {str(refusal)[:80]!r}", flush=True)
                continue
            kept[name] = [np.round(value, 12 if kind == "indices" else 20).tolist(), float(error)]
            off = np.nan if p.stated is None else np.abs(np.subtract(p.stated, value)).max()
            seconds = time.perf_counter() - began
            print(f"{name}: {value} +- {error:.1e}, off {off:.1e}, {seconds:.1f} s", flush=True)
            path.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


class Counted:
    """A model that counts its calls and times itself."""

    def __init__(self, function):
        self.function, self.calls, self.seconds = function, 0, 0.0

    def __call__(self, x):
        """Values at inputs (n, d)."""
        began = time.perf_counter()
        x = np.asarray(x)
        try:
            return self.function(x)
        finally:
            self.calls += len(x)
            self.seconds += time.perf_counter() - began


def our_indices(model, law, calls, seed):
    found = smw.sobol_indices(model, law, calls, seed=seed).indices
    return (found.value, *found.interval())


def pairs_of(calls, d):
    """Calls that both designs of pairs can use up."""
    return designs.pairs_of(calls, d) * (d + 2)


INDICES = {OURS: our_indices, "SALib": designs.salib, "OpenTURNS": designs.openturns}


def our_probability(model, problem, calls, seed, truth):
    found = smw.failure_probability(
        model, problem.law, calls, threshold=problem.threshold, seed=seed
    )
    return (float(found), *map(float, found.interval()))


def openturns(method, model, problem, calls, seed, truth):
    """OpenTURNS in standard-normal space, where its algorithms work."""
    to_inputs, bounded = inputs_of(problem.law)
    d = len(bounded)
    ot.RandomGenerator.SetSeed(seed + 1)
    g = ot.PythonFunction(d, 1, func_sample=lambda z: model(to_inputs(np.asarray(z)))[:, None])
    output = ot.CompositeRandomVector(g, ot.RandomVector(ot.Normal(d)))
    event = ot.ThresholdEvent(output, ot.LessOrEqual(), problem.threshold)
    if method == "design point":
        solver = ot.AbdoRackwitz()
        solver.setStartingPoint([0.01] * d)
        solver.setMaximumCallsNumber(2_000)
        form = ot.FORM(solver, event)
        form.run()
        point = form.getResult().getStandardSpaceDesignPoint()
        at = ot.ImportanceSamplingExperiment(ot.Normal(point, [1.0] * d, ot.CorrelationMatrix(d)))
        algorithm = ot.ProbabilitySimulationAlgorithm(ot.StandardEvent(event), at)
        algorithm.setBlockSize(100)
        algorithm.setMaximumOuterSampling(max(1, (calls - model.calls) // 100))
        algorithm.setMaximumCoefficientOfVariation(0.0)
    elif method == "subset":
        algorithm = ot.SubsetSampling(event)
        algorithm.setMaximumOuterSampling(1)
        # a level for every power of ten, and the last one
        algorithm.setBlockSize(int(calls / max(1, np.ceil(-np.log10(truth)))))
    else:
        algorithm = ot.AdaptiveDirectionalStratification(event)
        # a direction costs about sixteen calls
        algorithm.setMaximumOuterSampling(max(calls // 16, 2 ** (d + 1)))
    algorithm.run()
    result = algorithm.getResult()
    p, variance = result.getProbabilityEstimate(), max(result.getVarianceEstimate(), 0.0)
    half = 1.96 * np.sqrt(variance)
    return p, p - half, p + half


PROBABILITIES = {
    OURS: our_probability,
    "design point": partial(openturns, "design point"),
    "subset": partial(openturns, "subset"),
    "directional": partial(openturns, "directional"),
}


def run(answer, function, seeds):
    """What runs found, those that warned, stopped and failed, calls and own seconds."""
    found, told, stopped, failed, calls, own = [], [], 0, Counter(), 0, []
    for seed in range(seeds):
        model = Counted(function)
        began = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found.append(answer(model, seed))
            except Exception as error:
                stopped += REFUSED in str(error)
                failed[f"{type(error).__name__}: {str(error)[:160]}"] += 1
                continue
        own.append(time.perf_counter() - began - model.seconds)
        calls += model.calls / seeds
        told.append(sorted({w.category.__name__ + ": " + str(w.message) for w in caught}))
    return found, told, stopped, failed, calls, own


def judged(found, told, truth, error):
    """Errors and coverage, (runs, components), of those whose truth is known well enough."""
    value, lower, upper = (np.array(part) for part in zip(*found, strict=True))
    value, lower, upper = (part.reshape(len(found), -1) for part in (value, lower, upper))
    truth = np.ravel(truth)
    quiet = np.array([not t for t in told])
    # a truth no better than the intervals says nothing about them
    known = np.median(upper - lower, axis=0) > 8 * error
    inside = ((lower <= truth) & (truth <= upper))[:, known]
    return {
        "rms": float(np.sqrt(np.mean((value - truth) ** 2))),
        "judged": int(known.sum()),
        "cover": float(inside.mean()) if known.any() else None,
        "cover unwarned": float(inside[quiet].mean()) if known.any() and quiet.any() else None,
        "warned": float(1 - quiet.mean()),
        "half width": float(np.median((upper - lower) / 2)),
        "nan": int(np.isnan(value).any(1).sum()),
    }


def measure(kind, options):
    known = json.loads((RESULTS / "foreign-truths.json").read_text())
    path = RESULTS / f"foreign-{kind}.json"
    problems = sensitivity_problems if kind == "indices" else reliability_problems
    for p in problems():
        name = f"{p.package}, {p.name}"
        if options.only not in name or f"{name}, {kind}" not in known:
            continue
        truth, error = known[f"{name}, {kind}"]
        error = max(error, 1e-11)  # rounding
        truth = np.array(truth, dtype=float)
        d = as_law(p.law).dimension
        block = {"inputs": d, "truth": truth.tolist(), "error of the truth": error}
        for method in INDICES if kind == "indices" else PROBABILITIES:
            if method in options.without or (method == "directional" and d > 8):
                continue
            if kind == "indices":
                calls = pairs_of(options.calls, d)

                def answer(model, seed, method=method, calls=calls, p=p):
                    return INDICES[method](model, p.law, calls, seed)
            else:

                def answer(model, seed, method=method, p=p, truth=float(truth)):
                    return PROBABILITIES[method](model, p, options.calls, seed, truth)

            found, told, stopped, failed, calls, own = run(answer, p.function, options.seeds)
            row = {"stopped": stopped, "failed": dict(failed), "calls": round(calls)}
            if found:
                row |= judged(found, told, truth, error)
                row["own"] = float(np.median(own))
            block[method] = row
            if kind == "probabilities" and found:
                row["rms"] /= float(truth)
                row["half width"] /= float(truth)
            shown = {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in row.items()}
            print(f"{name:36s} {method:12s} {shown}", flush=True)
            if method == OURS and options.warnings:
                for text, n in Counter(t for texts in told for t in texts).most_common():
                    print("      ", n, text[: options.warnings])
        # another run may have added to it
        kept = json.loads(path.read_text()) if path.exists() else {}
        kept[name] = block | {"seeds": options.seeds}
        path.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


def table(kind):
    """What was kept, over the problems of each package, in Markdown."""
    kept = json.loads((RESULTS / f"foreign-{kind}.json").read_text())
    methods, reference = (INDICES, "SALib") if kind == "indices" else (PROBABILITIES, "subset")
    seeds = sorted({block["seeds"] for block in kept.values()})
    print(
        f"| {kind}, {' or '.join(map(str, seeds))} seeds | method | problems | calls | error, "
        "median | unwarned intervals that hold the truth | runs that warned | stopped | own time, "
        f"{reference} = 1 |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for package in ("uqtestfuns", "otbenchmark"):
        blocks = [block for name, block in kept.items() if name.startswith(package)]
        for method in methods:
            all_of = [block[method] for block in blocks if method in block]
            if not all_of:
                continue
            rows = [row for row in all_of if "rms" in row and np.isfinite(row["rms"])]
            judged = [row for row in rows if row["cover unwarned"] is not None]
            covered = np.average(
                [row["cover unwarned"] for row in judged],
                weights=[row["judged"] * (1 - row["warned"]) for row in judged],
            )
            own = [
                block[method]["own"] / block[reference]["own"]
                for block in blocks
                if "own" in block.get(method, {}) and "own" in block[reference]
            ]
            print(
                f"| {package} | {method} | {len(rows)} | "
                f"{np.median([row['calls'] for row in rows]):,.0f} | "
                f"{np.median([row['rms'] for row in rows]):.1e} | "
                f"{100 * covered:.0f} % ({len(judged)} problems) | "
                f"{100 * np.mean([row['warned'] for row in rows]):.0f} % | "
                f"{sum(row['stopped'] for row in all_of)} | {np.median(own):.2g} |"
            )
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "what",
        nargs="?",
        default="all",
        choices=["truths", "indices", "probabilities", "all"],
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--only", default="", help="part of a problem's name")
    parser.add_argument("--without", nargs="*", default=[], help="methods to leave out")
    parser.add_argument("--warnings", type=int, default=0, help="show texts, cut at this length")
    parser.add_argument("--readme", action="store_true", help="print what was kept as Markdown")
    options = parser.parse_args()
    if options.readme:
        table("indices")
        table("probabilities")
        return
    if options.what in ("truths", "all"):
        truths(options)
    for kind in ("indices", "probabilities"):
        if options.what in (kind, "all"):
            measure(kind, options)


if __name__ == "__main__":
    main()
