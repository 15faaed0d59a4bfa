"""Sliced Wasserstein beside the paper's estimators, POT and ott-jax: same clouds, same process.

    python benchmarks/transport.py gains | time | flow | speed | memory | bias | all [--quick]

gains   variance of independent directions over that of each estimator, by numbers of directions
time    root mean square error at equal time on digits and colours
flow    the gradient flow of Nguyen & Ho: exact W_2^2 at the listed steps
speed   milliseconds beside POT, ott-jax and the floor: two products, two sorts, one mean square
memory  a million points in a hundred dimensions: memory above that of the clouds
bias    ten directions, many seeds: bias over standard deviation of the published coefficient
        beside ours

POT (import name ``ot``) and ott-jax are used where they are installed. Tables go to
results/transport-*.json.
"""

import argparse
import json
import os
import resource
import statistics
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np

import smcweights as smw
from smcweights import problems
from smcweights.transport.clouds import pair_of
from smcweights.transport.costs import chunk_rows
from smcweights.transport.directions import Directions, draw
from smcweights.transport.sliced import Question, along

RESULTS = Path(__file__).parent / "results"


def keep(name, table):
    (RESULTS / f"transport-{name}.json").write_text(json.dumps(table, indent=1) + "\n")


def mixture(n, d, seed):
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(4, d))
    return centres[rng.integers(4, size=n)] + 0.5 * rng.normal(size=(n, d))


def spiral(n, seed):
    rng = np.random.default_rng(seed)
    t = 3 * np.pi * np.sqrt(rng.random(n))
    return np.stack([t * np.cos(t), 21 * rng.random(n), t * np.sin(t)], axis=1) / 10


def rolled(n, seed):
    rng = np.random.default_rng(seed)
    a, b = 2 * np.pi * rng.random((2, n))
    return np.stack(
        [(1 + 0.4 * np.cos(a)) * np.cos(b), (1 + 0.4 * np.cos(a)) * np.sin(b), 0.4 * np.sin(a)], 1
    )


def clouds():
    rng = np.random.default_rng(1)
    threes, eights = problems.digits()
    portrait, parcel = problems.colours()
    return {
        "scaled Gaussians d = 3": (rng.normal(size=(1000, 3)), 2 * rng.normal(size=(1000, 3)) + 1),
        "mixtures d = 3": (mixture(1000, 3, 1), mixture(1000, 3, 2)),
        "two shapes d = 3": (spiral(2048, 1), rolled(2048, 2)),
        "colours d = 3": (portrait, parcel),
        "five points d = 3": (mixture(5, 3, 1), mixture(5, 3, 2)),
        "mixtures d = 50": (mixture(500, 50, 1), mixture(500, 50, 2)),
        "digits d = 64": (threes, eights),
    }


METHODS = {
    "lower": {"directions": "uniform", "control_variates": "lower"},
    "upper": {"directions": "uniform", "control_variates": "upper"},
    "parts": {"directions": "uniform", "control_variates": "parts"},
    "gaussian": {"directions": "uniform", "control_variates": "gaussian"},
    "harmonics 4": {"directions": "uniform", "control_variates": ("harmonics", 4)},
    "sobol": {"directions": "sobol", "control_variates": False},
    "orthogonal": {"directions": "orthogonal", "control_variates": False},
    "orthogonal + gaussian": {"directions": "orthogonal", "control_variates": "gaussian"},
    "default": {},
}


def one(x, y, n, seed, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        return smw.sliced_wasserstein(x, y, n, root=False, seed=seed, **keywords)


def plain(x, y):
    """Mean and variance of the cost of one uniform direction."""
    d = x.shape[1]
    theta = draw(Directions("uniform", d, 1, 20_000), 1, np.random.default_rng(7))[0]
    costs = along(Question(pair_of(x, y), 2.0), theta)[:, 0]
    return costs.mean(), costs.var()


def gains(quick):
    seeds = 60 if quick else 300
    table = {}
    print(f"variance of independent directions over that of each estimator, {seeds} seeds; in")
    print("brackets the share of 95 % intervals that cover\n")
    for name, (x, y) in clouds().items():
        n = 100 if x.shape[1] == 3 else 256
        _, variance = plain(x, y)
        best = {"directions": "rule"} if x.shape[1] == 3 else {}
        truth = one(x, y, 20_000 if x.shape[1] == 3 else 40_000, 99, **best).value
        table[name] = {}
        for method, keywords in METHODS.items():
            if "harmonics" in method and x.shape[1] > 3:
                continue
            runs = [one(x, y, n, s, **keywords) for s in range(seeds)]
            used = runs[0].cost["evaluations"]
            square = np.mean([(r.value - truth) ** 2 for r in runs])
            bounds = [r.interval() for r in runs]
            covered = float(np.mean([a <= truth <= b for a, b in bounds]))
            gain = float(variance / used / square)
            dropped = bool(runs[0].diagnostics["dropped"])
            table[name][method] = [gain, covered, int(used)]
            note = ", controls dropped: too few blocks" if dropped else ""
            print(f"{name:24s} {method:22s} {gain:12.3g} [{covered:.3f}] {used} directions{note}")
    keep("gains", table)


def at_equal_time(quick):
    """Root mean square error when every method may take as long as plain directions do."""
    try:
        import ot
    except ImportError:
        ot = None
    seeds = 10 if quick else 40
    table = {}
    for name in ("two shapes d = 3", "colours d = 3", "digits d = 64"):
        x, y = clouds()[name]
        d = x.shape[1]
        truth = one(x, y, 20_000 if d == 3 else 200_000, 99).value
        uniform = {"directions": "uniform", "control_variates": False}

        def seconds(n, keywords, x=x, y=y):
            one(x, y, n, 0, **keywords)
            return statistics.median(one(x, y, n, s, **keywords).cost["seconds"] for s in range(5))

        for plain_count in (1_000, 10_000):
            allowed = seconds(plain_count, uniform)
            row = {}
            for method, keywords in {"plain": uniform, **METHODS}.items():
                if "harmonics" in method and d > 3:
                    continue
                n = plain_count
                for _ in range(3):
                    n = int(np.clip(n * allowed / seconds(n, keywords), 20, 20 * plain_count))
                errors = [one(x, y, n, s, **keywords).value / truth - 1 for s in range(seeds)]
                row[method] = [n, float(np.sqrt(np.mean(np.square(errors))))]
            if ot is not None:

                def pot(n, seed, x=x, y=y):
                    return ot.sliced_wasserstein_distance(x, y, n_projections=n, seed=seed) ** 2

                pot(100, 0)
                began = time.perf_counter()
                pot(100, 0)
                n = max(int(100 * allowed / (time.perf_counter() - began)), 2)
                errors = [pot(n, s) / truth - 1 for s in range(seeds)]
                row["POT"] = [n, float(np.sqrt(np.mean(np.square(errors))))]
            table[f"{name}, {1e3 * allowed:.0f} ms"] = row
            print(f"{name}: {1e3 * allowed:.1f} ms each")
            for method, (n, error) in row.items():
                print(f"  {method:22s} {n:6d} directions, relative error {error:.2e}")
    keep("time", table)


def flows(quick):
    n, seeds, at = (256, 2, [300, 600, 900]) if quick else (2048, 3, [3000, 4000, 5000, 6000, 8000])
    x, y = spiral(n, 1) - 10, rolled(n, 2) + 10
    table = {}
    print(f"exact W_2^2 at steps {at}, {n} points, step 0.01 on n SW_2, mean of {seeds} seeds")
    for name, keywords in {
        "uniform 10": {"budget": 10, "directions": "uniform"},
        "uniform 100": {"budget": 100, "directions": "uniform"},
        "lower 10": {"budget": 10, "directions": "uniform", "control_variates": "lower"},
        "upper 10": {"budget": 10, "directions": "uniform", "control_variates": "upper"},
        "orthogonal 9": {"budget": 9, "directions": "orthogonal"},
        "rule 9": {"budget": 9, "directions": "rule"},
        "rule 100": {"budget": 100, "directions": "rule"},
    }.items():
        began = time.perf_counter()
        runs = [
            smw.sliced_gradient_flow(
                x, y, at[-1], step_size=0.01, root=True, trace="exact", trace_at=at, seed=s,
                progress=False, **keywords,
            ).distances
            for s in range(seeds)
        ]  # fmt: skip
        seconds = (time.perf_counter() - began) / seeds
        mean, spread = np.mean(runs, axis=0), np.std(runs, axis=0)
        table[name] = {"mean": mean.tolist(), "spread": spread.tolist(), "seconds": seconds}
        cells = "  ".join(f"{m:9.3g} ({s:.1g})" for m, s in zip(mean, spread, strict=True))
        print(f"  {name:14s} {cells}   {seconds:.0f} s")
    keep("flow", table)


def milliseconds(calls, repeats):
    """Median, least and most wall time of calls by turns, and their median processor time."""
    found = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            began, busy = time.perf_counter(), time.process_time()
            call()
            if turn:  # the first one compiles
                spent = time.perf_counter() - began, time.process_time() - busy
                found[name].append([1e3 * one for one in spent])
    return {
        name: [float(f(wall)) for f in (np.median, min, max)] + [float(np.median(busy))]
        for name, (wall, busy) in ((name, zip(*rows, strict=True)) for name, rows in found.items())
    }


def speed(quick):
    try:
        import ot
    except ImportError:
        ot = None
    try:
        import jax
        from ott.tools import sliced as ott_sliced
    except ImportError:
        ott_sliced = None
    table = {}
    print("milliseconds at 100 directions, medians (least to most); 2 threads where it says so")
    shapes = [(n, d) for d in (3, 50, 784) for n in (1_000, 10_000, 100_000)]
    for n, d in [(1_000, 3), (1_000, 50)] if quick else shapes:
        rng = np.random.default_rng(1)
        x64, y64 = rng.normal(size=(n, d)), rng.normal(size=(n, d)) + 0.5
        for dtype in (np.float64, np.float32):
            x, y = x64.astype(dtype), y64.astype(dtype)
            repeats = 3 if quick else 15 if n * d < 1e6 else 5 if n * d < 2e7 else 2
            plain_call = {"directions": "uniform", "control_variates": False, "root": False}

            def ours(executor=None, x=x, y=y, given=plain_call):
                smw.sliced_wasserstein(x, y, 100, seed=1, executor=executor, **given)

            def pot(x=x, y=y):
                ot.sliced_wasserstein_distance(x, y, n_projections=100, seed=1)

            def ott(x=x, y=y):
                key = jax.random.key(1)
                jax.block_until_ready(ott_sliced.sliced_wasserstein(x, y, n_proj=100, rng=key)[0])

            def floor(x=x, y=y, d=d, dtype=dtype, n=n):
                theta = np.random.default_rng(1).normal(size=(100, d)).astype(dtype)
                step = chunk_rows(d, 2 * n, np.dtype(dtype).itemsize)
                both = [np.empty((min(step, 100), n), dtype) for _ in range(2)]
                for a in range(0, 100, step):
                    for cloud, rows in zip((x, y), both, strict=True):
                        part = theta[a : a + step]
                        np.matmul(part, cloud.T, out=rows[: len(part)]).sort(axis=1)
                    gap = both[0][: len(part)] - both[1][: len(part)]
                    np.einsum("ln,ln->l", gap, gap)

            calls = {
                "ours": ours,
                "ours, 2 threads": partial(ours, "threads:2"),
                "floor": floor,
            }
            if ot is not None:
                calls["POT"] = pot
            if ott_sliced is not None and dtype == np.float32 and n * d <= 1e6:
                calls["ott-jax"] = ott
            row = milliseconds(calls, repeats)
            key_ = f"n = {n}, d = {d}, {np.dtype(dtype).name}"
            table[key_] = row
            cells = "  ".join(
                f"{k} {a:.2f} ({b:.2f}-{c:.2f}, processor {e:.2f})"
                for k, (a, b, c, e) in row.items()
            )
            best = min(row["ours"][0], row["ours, 2 threads"][0])
            ratio = f"  POT/ours {row['POT'][0] / best:.1f}" if "POT" in row else ""
            print(f"{key_}: {cells}{ratio}  ours/floor {row['ours'][3] / row['floor'][3]:.2f}")
    keep("speed", table)


def memory(quick):
    n, d, count = (100_000, 100, 100) if quick else (1_000_000, 100, 1_000)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((n, d), dtype=np.float32)
    y = rng.standard_normal((n, d), dtype=np.float32) + np.float32(0.1)
    smw.sliced_wasserstein(x[:10], y[:10], 10, seed=1, directions="uniform", control_variates=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, cpu = time.perf_counter(), time.process_time()
    smw.sliced_wasserstein(
        x, y, count, seed=1, directions="orthogonal", control_variates=False, executor="threads:2"
    )
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    above = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    print(
        f"n = m = {n}, d = {d}, {count} directions: {wall:.1f} s (cpu {cpu:.1f} s), "
        f"{above:.0f} MiB above the clouds"
    )
    keep("memory", {"n": n, "d": d, "directions": count, "seconds": wall, "cpu": cpu, "mib": above})


def bias(quick):
    """Bias over standard deviation at ten directions, and its z, for the upper bound as control."""
    from smcweights.transport.control_variates import fit

    runs = 4_000 if quick else 10_000
    x, y = mixture(60, 3, 11), mixture(60, 3, 12)
    truth = one(x, y, 200_000, 5, directions="rule").value
    rng = np.random.default_rng(1)
    theta = draw(Directions("uniform", 3, runs, 10), runs, rng)
    pair = pair_of(x, y)
    rows = theta.reshape(-1, 3)
    costs = along(Question(pair, 2.0), rows)[:, 0].reshape(runs, 10)
    v_x, v_y = (c.projected_variance(rows, rows @ c.points.T) for c in (pair.x, pair.y))
    h = (rows @ pair.shift) ** 2 + v_x + v_y
    h = h.reshape(runs, 10) - (pair.shift @ pair.shift + pair.x.spread + pair.y.spread) / 3
    centred = costs - costs.mean(1, keepdims=True)
    gamma = (centred * h).mean(1) / (h**2).mean(1)
    table = {}
    for name, values in {
        "published": costs.mean(1) - gamma * h.mean(1),
        "leave one out": np.array(
            [fit(c, k[:, None], 1.0).blocks.mean() for c, k in zip(costs, h, strict=True)]
        ),
        "none": costs.mean(1),
    }.items():
        off, sd = values.mean() - truth, values.std()
        table[name] = {"bias over sd": off / sd, "z": off / sd * np.sqrt(runs), "sd": sd}
        print(f"{name:14s} bias/sd {off / sd:+.3f}  z {off / sd * np.sqrt(runs):+.1f}  sd {sd:.4f}")
    keep("bias", table)


PARTS = {
    "gains": gains, "time": at_equal_time, "flow": flows, "speed": speed, "memory": memory,
    "bias": bias,
}  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for name, part in PARTS.items():
        if given.part in (name, "all"):
            print(f"\n# {name}")
            part(given.quick)
