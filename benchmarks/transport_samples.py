"""Is what sliced distances say of samples honest, and is the default worth its time?

    python benchmarks/transport_samples.py laws | level | power | cost | cover | pot | all
        [--repeats 1000]

laws   share of 95 % intervals of `sliced_two_sample` that hold the distance of the laws
level  rejections of `sliced_test` at 5 % where the laws agree: rows, groups, chains in blocks
power  its rejections where they differ, beside the energy distance's with the same permutations
cost   variance x processor time of the default over that of the best way, on twenty tasks
cover  share of 95 % intervals of the default that hold the distance of the clouds, or are told,
       by drawing blocks of directions anew
pot    POT's sliced distances beside ours: values, given directions, weights (needs POT)

Normal laws: N(0, I) against N(delta e_1, s^2 I), s = 1.5 for delta 1, else 1; the truth by
quadrature. Tables go to results/transport-*.json with the number of repeats.
"""

import argparse
import itertools
import json
import math
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import signal, special
from scipy.spatial.distance import cdist

import smcweights as smw
from smcweights.transport.clouds import pair_of
from smcweights.transport.directions import draw, peaks_of, plan
from smcweights.transport.sliced import Question, along, mean_of_blocks, with_controls
from smcweights.transport.sphere import absolute_moment

RESULTS = Path(__file__).parent / "results"


def keep(name, repeats, table):
    content = {"repeats": repeats, "rows": table}
    (RESULTS / f"transport-{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def truth(d, p, delta):
    """SW_p^p of the two normal laws."""
    scale = 1.5 if delta == 1 else 1.0
    if scale == 1:
        return absolute_moment(d, p) * delta**p
    t, w = np.polynomial.legendre.leggauss(200)
    z = special.ndtri(np.clip((t + 1) / 2, 1e-12, 1 - 1e-12))
    if d == 1:
        return float(np.abs(delta + (scale - 1) * z) ** p @ w / 2)
    angle, v = (t + 1) * math.pi / 2, w
    share = v * np.sin(angle) ** (d - 2)
    costs = np.abs(delta * np.cos(angle)[:, None] + (scale - 1) * z) ** p @ w / 2
    return float(share @ costs / share.sum())


def pair(rng, d, n, m, delta, draw=None):
    draw = draw or (lambda size: rng.normal(size=size))
    y = draw((m, d)) * (1.5 if delta == 1 else 1.0)
    y[:, 0] += delta
    return draw((n, d)), y


LAWS = [
    (d, n, n, p, delta, "")
    for d in (1, 2, 3, 10, 64)
    for n in (50, 200, 1000)
    for p in (1, 2)
    for delta in (0.0, 0.3, 1.0)
]
LAWS += [(3, 100, 400, p, delta, "unequal") for p in (1, 2) for delta in (0.0, 0.3, 1.0)]
LAWS += [(3, 200, 200, p, delta, "weights") for p in (1, 2) for delta in (0.3, 1.0)]
LAWS += [(3, 200, 200, p, 0.3, "t(5)") for p in (1, 2)]


def laws(repeats):
    """Also unequal sizes, weights, t(5), whose sliced marginals of many draws are the truth."""
    keep("laws", repeats, [covered_laws(repeats, *cell) for cell in LAWS])


def covered_laws(repeats, d, n, m, p, delta, kind):
    """A row of the table: runs, and shares of them; a third of the runs from 1,000 points on."""
    runs = repeats if n < 1000 else max(repeats // 3, 20)
    goal, hit, told, plain, width = truth(d, p, delta), 0, 0, 0, []
    budget = 1 if d == 1 else 96 if d == 2 else 200 if d == 64 else 100
    for seed in range(runs):
        rng = np.random.default_rng([17, seed])
        draw = (lambda size, rng=rng: rng.standard_t(5, size)) if kind == "t(5)" else None
        x, y = pair(rng, d, n, m, delta, draw)
        keywords = {}
        if kind == "weights":
            # x from N(0, 1.2^2 I), weighted to N(0, I)
            x = 1.2 * x
            log_w = -(x**2).sum(axis=1) / 2 * (1 - 1 / 1.44)
            keywords["weights_x"] = np.exp(log_w - log_w.max())
        found = smw.sliced_two_sample(x, y, budget, p=p, root=False, seed=seed, **keywords)
        said = found.diagnostics
        hit += said["lower"] <= goal <= said["upper"]
        told += said["lower"] == 0
        error = math.hypot(said["error_sampling"], said["error_directions"])
        plain += abs(said["plug_in"] - goal) <= 1.96 * error
        width.append((said["upper"] - said["lower"]) / (3.92 * error))
    wide = float(np.median(width))
    print(
        f"d {d:2d} n {n:4d}/{m:<4d} p {p} delta {delta:.1f} {kind:8s} covered {hit / runs:.3f} "
        f"(told {told / runs:.2f}) without corrections {plain / runs:.3f}, width {wide:.2f} times",
        flush=True,
    )
    return [d, n, m, p, delta, kind, runs, hit / runs, told / runs, plain / runs, wide]


def autoregression(n, d, rho, rng):
    noise = rng.normal(size=(n, d)) * math.sqrt(1 - rho**2)
    noise[0] = rng.normal(size=d)
    return signal.lfilter([1], [1, -rho], noise, axis=0)


def level(repeats):
    """Bounds at 2,000 repeats: 4 to 6 % are two standard errors."""
    labels = np.arange(240) // 20

    def rows(rng):
        return rng.normal(size=(80, 3)), rng.normal(size=(100, 3)), {}

    def groups(rng):
        sides = (rng.normal(size=(240, 3)) + np.repeat(rng.normal(size=(12, 3)), 20, axis=0)
                 for _ in range(2))  # fmt: skip
        return *sides, {"groups_x": labels, "groups_y": labels}

    def chains(rho, n):
        def made(rng):
            sides = (autoregression(n, 3, rho, rng) for _ in range(2))
            return *sides, {"groups_x": "auto", "groups_y": "auto"}

        return made

    table = []
    for name, made in {
        "rows": rows, "groups": groups, "chains, rho 0.5, n 600": chains(0.5, 600),
        "chains, rho 0.9, n 2000": chains(0.9, 2000),
    }.items():  # fmt: skip
        rejected = 0
        for seed in range(repeats):
            x, y, keywords = made(np.random.default_rng([19, seed]))
            test = smw.sliced_test(x, y, 15, permutations=99, seed=seed, **keywords)
            rejected += test.p_value <= 0.05
        table.append([name, rejected / repeats, repeats])
        print(f"{name:26s} rejected {rejected / repeats:.4f} of {repeats} at 5 %", flush=True)
    keep("level", repeats, table)


def energy_p_value(x, y, permutations, rng):
    """Permutation test of the energy distance."""
    pool = np.concatenate([x, y])
    n, far = len(x), cdist(pool, pool)
    found = []
    for k in range(1 + permutations):
        order = np.arange(len(pool)) if k == 0 else rng.permutation(len(pool))
        a, b = order[:n], order[n:]
        within = far[np.ix_(a, a)].mean() + far[np.ix_(b, b)].mean()
        found.append(2 * far[np.ix_(a, b)].mean() - within)
    return (1 + sum(one >= found[0] - 1e-12 for one in found[1:])) / (1 + permutations)


def power(repeats):
    changes = {
        "shift": lambda y: y + np.eye(y.shape[1])[0] * 0.7,
        "scale": lambda y: 1.25 * y,
        "tails": lambda y: np.sign(y) * np.abs(y) ** 1.35,
    }
    table = []
    for d in (2, 10, 64):
        for name, change in changes.items():
            ours = theirs = 0
            for seed in range(repeats):
                rng = np.random.default_rng([23, seed])
                x, y = rng.normal(size=(40, d)), change(rng.normal(size=(40, d)))
                ours += smw.sliced_test(x, y, permutations=99, seed=seed).p_value <= 0.05
                theirs += energy_p_value(x, y, 99, rng) <= 0.05
            table.append([d, name, ours / repeats, theirs / repeats])
            print(f"d {d:2d} {name:6s} sliced {ours / repeats:.2f} energy {theirs / repeats:.2f}",
                  flush=True)  # fmt: skip
    keep("power", repeats, table)


WAYS = {
    "default": {},
    "uniform": {"directions": "uniform", "control_variates": False},
    "uniform + gaussian": {"directions": "uniform", "control_variates": "gaussian"},
    "orthogonal": {"directions": "orthogonal", "control_variates": False},
    "orthogonal + gaussian": {"directions": "orthogonal", "control_variates": "gaussian"},
    "orthogonal + tangent": {"directions": "orthogonal", "control_variates": "tangent"},
    "rule": {"directions": "rule", "control_variates": False},
    "rule + gaussian": {"directions": "rule", "control_variates": "gaussian"},
}
TASKS = [
    (2, 3000, 100), (2, 3000, 400), (3, 200, 100), (3, 1000, 400), (3, 5000, 1000), (5, 200, 100),
    (5, 1000, 400), (10, 200, 50), (10, 1000, 200), (10, 3000, 1000), (32, 200, 100),
    (32, 1000, 400), (64, 200, 100), (64, 200, 200), (64, 1000, 320), (128, 400, 100),
    (128, 1000, 640), (300, 500, 100), (300, 1000, 300), (784, 1000, 100),
]  # fmt: skip


def tasks(d, n):
    """Pairs on which the Gaussian control takes off little, much, and in between."""
    rng = np.random.default_rng(1)
    size = np.arange(1, d + 1) ** -0.5
    tails = np.sign(rng.normal(size=(n, d))) * np.abs(rng.normal(size=(n, 1)))
    centres = 2 * rng.normal(size=(2, 4, d))
    one, other = (c[rng.integers(4, size=n)] + 0.5 * rng.normal(size=(n, d)) for c in centres)
    return {
        "tails": (rng.normal(size=(n, d)) * size, 1.2 * tails * size + 0.3),
        "mixtures": (one, other),
        "cut": tuple(np.maximum(s * rng.normal(size=(n, d)), 0) for s in (1.0, 1.1)),
    }


def cost(repeats):
    """Variance of blocks from many of them; time of all ways by turns in one process.

    The ratio is that of the default to the best way for each pair, which no rule can know.
    """
    turns = max(repeats // 100, 5)
    table = []
    for d, n, budget in TASKS:
        for kind, (x, y) in tasks(d, n).items():
            # from some hundred dimensions on the Gaussian control's mean takes seconds
            ways = {k: w for k, w in WAYS.items() if d < 300 or "gaussian" not in k}
            variance = {
                name: variance_of(x, y, budget, **keywords) for name, keywords in ways.items()
            }
            seconds = {name: [] for name in ways}
            for seed in range(turns + 1):
                # in another order each time: what has just run is in the caches
                for name in np.random.default_rng(seed).permutation(list(ways)):
                    began = time.process_time()
                    smw.sliced_wasserstein(x, y, budget, root=False, seed=seed, **ways[name])
                    if seed:  # the first call compiles
                        seconds[name].append(time.process_time() - began)
            worth = {k: variance[k] * float(np.median(seconds[k])) for k in ways}
            best = min(worth, key=worth.get)
            used = smw.sliced_wasserstein(x, y, budget, root=False, seed=1).diagnostics
            control, ratio = used.get("control_variates", []), worth["default"] / worth[best]
            milliseconds = 1e3 * float(np.median(seconds["default"]))
            table.append([d, n, budget, kind, str(control), milliseconds, best, ratio, worth])
            print(
                f"d {d:3d} n {n:4d} L {budget:4d} {kind:8s} default {control!s:14s} "
                f"{milliseconds:6.1f} ms; best {best:22s} default over it {ratio:.2f}, over "
                f"independent directions {worth['default'] / worth['uniform']:.3f}",
                flush=True,
            )
    ratios = [row[7] for row in table]
    within = sum(ratio <= 1.3 for ratio in ratios)
    print(
        f"geometric mean {math.exp(np.mean(np.log(ratios))):.2f}, largest {max(ratios):.2f}; "
        f"{within} of {len(ratios)} within 1.3"
    )
    keep("cost", turns, table)


def variance_of(x, y, budget, directions="auto", control_variates="auto"):
    """Of a mean over so many directions, from blocks of a few million projected points."""
    pair = pair_of(x, y)
    rule = plan(directions, pair.dimension, budget)
    question = with_controls(Question(pair, 2.0), control_variates, rule, rule.total)
    lines = min(max(5_000_000 // pair.points, 3_000), 20_000)
    count = max(lines // rule.lines, 60)
    theta = draw(rule, count, np.random.default_rng(5)).reshape(-1, pair.dimension)
    costs = along(question, theta)
    left = costs[:, 0] - (costs[:, 1] if question.controls else 0.0)
    blocks = left.reshape(count, rule.lines) @ rule.weights
    return float(blocks.var(ddof=1)) / rule.blocks


def flat(d, n):
    """Clouds that few directions tell apart, mixtures, one, two and all columns of counts."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.5, rng.normal(size=(n, d))
    y[:, 0] *= 3
    centres = 2 * rng.normal(size=(2, 4, d))
    one, other = (c[rng.integers(4, size=n)] + 0.5 * rng.normal(size=(n, d)) for c in centres)
    counted = [np.column_stack([rng.poisson(mean, 300), rng.normal(size=(300, d - 1))])
               for mean in (1.0, 1.3)]  # fmt: skip
    twice = [np.column_stack([rng.poisson(mean, (300, 2)), rng.normal(size=(300, d - 2))])
             for mean in (1.0, 1.3)]  # fmt: skip
    lattice = [rng.poisson(mean, (1_000, d)).astype(float) for mean in (1.5, 1.8)]
    columns = {"counts": counted, "two counts": twice, "lattice": lattice}
    return {"flat": (x, y), "mixtures": (one, other), **columns}


COVER = [
    (d, kind, p, budget)
    for d in (2, 3, 4, 10, 64, 300)
    for kind in ("flat", "mixtures")
    for p, budget in itertools.product((1.0, 2.0, 3.0), (12, 18, 25, 50, 100, 400))
    if (d, p) != (2, 2)  # exact
]
COVER += list(itertools.product((3, 4, 5), ("counts",), (2.0, 3.0), (12, 18, 25, 50, 100, 400)))
COVER += list(
    itertools.product((3, 4, 5), ("two counts", "lattice"), (2.0, 3.0), (50, 100, 200, 400))
)


def cover(repeats):
    """Blocks drawn anew from some thousands of them, whose mean is the truth.

    So are the means of the controls: each interval is computed as ever, but for the drawing.
    """
    table = [covered_clouds(repeats, *cell) for cell in COVER]
    shares = [row[4] for row in table if row[5] < 0.5]
    outside = sum(not 0.93 <= share <= 0.97 for share in shares)
    print(
        f"{len(shares)} of {len(table)} cells untold: least {min(shares):.3f}, mean "
        f"{np.mean(shares):.4f}, largest {max(shares):.3f}; {outside} outside 0.93 to 0.97"
    )
    keep("cover", repeats, table)


def covered_clouds(repeats, d, kind, p, budget):
    """A row of the table: shares of intervals that hold the distance, and of those told."""
    x, y = flat(d, 60 if d < 300 else 40)[kind]
    pair = pair_of(x, y, p=p)
    rule = plan("auto", d, budget, peaks=peaks_of("auto", (pair.x, pair.y), p))
    question = with_controls(Question(pair, p), "auto", rule, rule.total)
    rng = np.random.default_rng(1)
    count = max(40_000 // rule.lines, 40 * rule.blocks)
    theta = draw(rule, count, rng).reshape(-1, d)
    costs = along(question, theta).reshape(count, rule.lines, -1)
    means = np.einsum("blk,l->k", costs, rule.weights) / count
    known = [replace(c, means=lambda *_, m=means[1:]: (m, 0.0)) for c in question.controls]
    question = replace(question, controls=tuple(known))
    hit = told = 0
    for _ in range(repeats):
        chosen = costs[rng.integers(count, size=rule.blocks)]
        found = mean_of_blocks(question, rule, chosen)
        reach = special.stdtrit(found.freedom, 0.975) * found.error
        hit += abs(found.power - means[0]) <= reach
        told += bool(found.cautions)
    mark = "" if 0.93 <= hit / repeats <= 0.97 or told > repeats / 2 else "  <--"
    print(
        f"d {d} {kind:8s} p {p:g} budget {budget:3d} ({rule.blocks} x {rule.lines} "
        f"{rule.kind}) covered {hit / repeats:.3f}, told {told / repeats:.2f}{mark}",
        flush=True,
    )
    return [d, kind, p, budget, hit / repeats, told / repeats, repeats]


def pot(repeats):
    """Largest relative differences over random tasks, one row per kind of check."""
    import ot

    worst = {}

    def beside(name, ours, theirs):
        gap = abs(float(ours) - float(theirs)) / max(abs(float(theirs)), 1e-12)
        worst[name] = max(worst.get(name, 0.0), gap)

    for seed in range(min(repeats, 50)):
        rng = np.random.default_rng(seed)
        d, n, m = int(rng.integers(2, 9)), int(rng.integers(5, 40)), int(rng.integers(5, 40))
        x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 0.5
        a, b = rng.random(n), rng.random(m)
        theta = rng.normal(size=(20, d))
        theta /= np.linalg.norm(theta, axis=1, keepdims=True)
        plain = {"directions": theta, "control_variates": False}
        for p in (1, 2, 3):
            for kind, weights in (("equal weights", (None, None)), ("weights", (a, b))):
                own = [None if w is None else w / w.sum() for w in weights]
                value, log = ot.sliced_wasserstein_distance(
                    x, y, *own, p=p, projections=theta.T, log=True
                )
                keywords = {"weights_x": weights[0], "weights_y": weights[1], "p": p, **plain}
                found = smw.sliced_wasserstein(x, y, keep_directions=True, **keywords)
                beside(f"given directions, {kind}", found.value, value)
                costs = found.sample["cost"].values
                for one, other in zip(costs, np.ravel(log["projected_emds"]), strict=True):
                    beside(f"cost of each direction, {kind}", one, other)
                largest = ot.max_sliced_wasserstein_distance(x, y, *own, p=p, projections=theta.T)
                beside(f"largest of given directions, {kind}", costs.max() ** (1 / p), largest)
                climbed = smw.max_sliced_wasserstein(
                    x, y, p=p, weights_x=weights[0], weights_y=weights[1], seed=seed
                )
                worst["climbing below theirs"] = max(
                    worst.get("climbing below theirs", 0.0), float(largest - climbed.value)
                )
            line = ot.emd2_1d(x[:, 0], y[:, 0], a / a.sum(), b / b.sum(), metric="minkowski", p=p)
            keywords = {"p": p, "weights_x": a, "weights_y": b, "root": False}
            beside("on the line", smw.sliced_wasserstein(x[:, 0], y[:, 0], **keywords).value, line)
        beside("equal clouds", 1 + smw.sliced_wasserstein(x, x, seed=1).value, 1)
    for name, gap in worst.items():
        print(f"{name:45s} {gap:.1e}")
    keep("pot", min(repeats, 50), worst)


PARTS = {"laws": laws, "level": level, "power": power, "cost": cost, "cover": cover, "pot": pot}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("--repeats", type=int, default=1000)
    given = parser.parse_args()
    warnings.simplefilter("ignore", smw.PrecisionWarning)
    for name, part in PARTS.items():
        if given.part in (name, "all"):
            print(f"\n# {name}")
            part(given.repeats)
