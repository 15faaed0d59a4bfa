"""Coverage of Sobol' intervals where outputs are heavy, light, kinked or bounded.

    python benchmarks/sobol_tails.py [CALLS ...] [--seeds N] [--only TEXT] [--sample] [--fresh]

For every model, seed and number of calls: which of the nominal 95 % intervals hold the indices,
known in closed form or by quadrature, and whether the run was warned. ``--sample`` gives
`sobol_from_sample` so many rows instead, of six light models more, and asks for first-order
indices alone. What ``benchmarks/results/sobol-tails.json`` lacks of N seeds is run and added to it,
model by model, and the table of all is printed; ``--fresh`` neither reads nor writes it.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
from scipy import integrate, stats

import smcweights as smw
from smcweights.importance.laws import as_law

RESULT = Path(__file__).parent / "results" / "sobol-tails.json"
NORMAL, UNIFORM = stats.norm(), stats.uniform()


def additive(f, variances, law):
    share = np.array(variances) / sum(variances)
    return f, law, np.concatenate([share, share])


def first_power(law, spread=1.0):
    return additive(lambda x: x[:, 0] + spread * x[:, 1], [law.var(), spread**2], [law, NORMAL])


def square(law, variance, spread):
    """Of variance ``variance``: powers of heavy inputs defeat quadrature."""
    return additive(lambda x: x[:, 0] ** 2 + spread * x[:, 1], [variance, spread**2], [law, NORMAL])


def product(a, b, c=None):
    """Of two inputs, a b, or a b + c."""
    (m, v), (n, w) = ((law.mean(), law.var()) for law in (a, b))
    own = [v * n**2, w * m**2] + ([c.var()] if c else [])
    total = [own[0] + v * w, own[1] + v * w, *own[2:]]
    truth = np.array([*own, *total]) / (sum(own) + v * w)
    if c is None:
        return lambda x: x[:, 0] * x[:, 1], [a, b], truth
    return lambda x: x[:, 0] * x[:, 1] + x[:, 2], [a, b, c], truth


def of_unit(f):
    """Variance of f(X), X uniform, with kinks at 0.3 and 0.7."""
    mean = integrate.quad(f, 0, 1, points=[0.3, 0.7])[0]
    return integrate.quad(lambda v: (f(v) - mean) ** 2, 0, 1, points=[0.3, 0.7])[0]


def kinks(x):
    return 4 * np.maximum(x[:, 0] - 0.7, 0) + np.abs(x[:, 1] - 0.3) + 0.2 * x[:, 2]


def largest(x):
    return x.max(1)


def tanh_variance():
    return integrate.quad(lambda u: np.tanh(u) ** 2 * stats.norm.pdf(u), -12, 12, points=[0])[0]


def closed(name):
    problem = getattr(smw.problems, name)()
    truth = [*problem.truth["first"], *problem.truth["total"]]
    return problem.function, problem.law, np.array(truth)


def borehole():
    """First-order indices of 100,000 calls, right to 1e-6."""
    problem = smw.problems.borehole()
    first = [0.659405, 0.000002, 0.0, 0.096274, 0.000006, 0.096274, 0.091983, 0.022261]
    return problem.function, problem.law, np.array(first)


def light():
    """More whose tails no sample should be suspected of."""
    exponential, logistic = stats.expon(), stats.logistic()
    return {
        "g-function": closed("g_function"),
        "borehole": borehole(),
        "x + 2 y, normal": additive(lambda x: x[:, 0] + 2 * x[:, 1], [1, 4], [NORMAL] * 2),
        "x + y^2/2, normal": additive(lambda x: x[:, 0] + x[:, 1] ** 2 / 2, [1, 0.5], [NORMAL] * 2),
        "x + 2 y, exponential": additive(
            lambda x: x[:, 0] + 2 * x[:, 1], [1, 4], [exponential] * 2
        ),
        "x + y, logistic": additive(lambda x: x[:, 0] + x[:, 1], [1, 1], [logistic] * 2),
    }


def models():
    of_two = largest, [UNIFORM] * 2, np.array([0.4, 0.4, 0.6, 0.6])
    t5, t3, pareto = stats.t(5), stats.t(3), stats.pareto(3)
    weibull, gumbel = stats.weibull_min(0.6), stats.gumbel_r()
    lognormal = {s: stats.lognorm(s) for s in (0.5, 0.8, 1.0, 1.5)}
    exponential = stats.expon()
    v = np.e * (np.e - 1)
    return {
        "exp(x) + y, normal": additive(lambda x: np.exp(x[:, 0]) + x[:, 1], [v, 1], [NORMAL] * 2),
        "x^3 + 3 y, normal": additive(lambda x: x[:, 0] ** 3 + 3 * x[:, 1], [15, 9], [NORMAL] * 2),
        "a b + c, lognormal(0.5)": product(*[lognormal[0.5]] * 3),
        "a b + c, lognormal(0.8)": product(*[lognormal[0.8]] * 3),
        "a b, lognormal(1)": product(*[lognormal[1.0]] * 2),
        "a b + c, exponential": product(*[exponential] * 3),
        "t(5) + y": first_power(t5),
        "Ishigami": closed("ishigami"),
        "kinks, uniform": additive(
            kinks,
            [of_unit(lambda v: 4 * max(v - 0.7, 0)), of_unit(lambda v: abs(v - 0.3)), 0.04 / 12],
            [UNIFORM] * 3,
        ),
        "max of two uniforms": of_two,
        "tanh(x) + y/2, normal": additive(
            lambda x: np.tanh(x[:, 0]) + x[:, 1] / 2, [tanh_variance(), 0.25], [NORMAL] * 2
        ),
        "t(3) + y": first_power(t3),
        "Pareto(3) + y": first_power(pareto),
        "lognormal(1.5) + 5 y": first_power(lognormal[1.5], 5.0),
        "a b + c, Pareto(3)": product(*[pareto] * 3),
        "a b + c, Gumbel": product(*[gumbel] * 3),
        "a b + c, Weibull(0.6)": product(*[weibull] * 3),
        "a b + c, lognormal(1.5)": product(*[lognormal[1.5]] * 3),
        "t(5)^2 + 4 y": square(t5, 25 - 25 / 9, 4.0),
        "Gumbel^2 + 3 y": square(gumbel, gumbel.moment(4) - gumbel.moment(2) ** 2, 3.0),
        "Weibull(0.6)^2 + 20 y": square(weibull, weibull.moment(4) - weibull.moment(2) ** 2, 20.0),
        "Pareto(5)^2 + y": square(stats.pareto(5), 5 - 25 / 9, 1.0),
    }


def indices(case, size, seed, sample):
    f, law, truth = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        if not sample:
            return smw.sobol_indices(f, law, size, seed=seed, progress=False).indices, truth
        law = as_law(law)
        x = law.to_inputs(np.random.default_rng(seed).standard_normal((size, law.dimension)))
        found = smw.sobol_from_sample(x, f(x), order="first", seed=seed)
    return found.indices, truth[: law.dimension]


def row(case, size, seeds, sample):
    held, told, half = [], [], []
    for seed in seeds:
        found, truth = indices(case, size, seed, sample)
        lower, upper = found.interval()
        held.append((lower <= truth) & (truth <= upper))
        told.append(bool(found.cautions))
        half.append(np.max(upper - lower) / 2)
    untold = ~np.array(told)
    return {
        "runs": len(told),
        "warned": int(sum(told)),
        "held": int(np.sum(held)),
        "held_unwarned": int(np.array(held)[untold].sum()),
        "indices": len(truth),
        "half_width": float(np.median(half)),
    }


def show(rows):
    print("| model | calls | runs | covered, unwarned | covered, all | warned | half-width |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        quiet = (r["runs"] - r["warned"]) * r["indices"]
        unwarned = f"{r['held_unwarned'] / quiet:.3f}" if quiet else ""
        every = r["held"] / (r["runs"] * r["indices"])
        print(
            f"| {r['model']} | {r['calls']:,}{' rows' if r['sample'] else ''} | {r['runs']} | "
            f"{unwarned} | {every:.3f} | {r['warned'] / r['runs']:.2f} | {r['half_width']:.1e} |"
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("calls", type=int, nargs="*", default=[2_000, 10_000])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--only", default="")
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    given = parser.parse_args()
    rows = json.loads(RESULT.read_text()) if RESULT.exists() and not given.fresh else []
    cases = models() | (light() if given.sample else {})
    for name, case in cases.items():
        for calls in given.calls:
            if given.only not in name:
                continue
            key = {"model": name, "calls": calls, "sample": given.sample}
            before = next((r for r in rows if key.items() <= r.items()), None)
            first = before["runs"] if before else 0
            if first >= given.seeds:
                continue
            now = key | row(case, calls, range(first, given.seeds), given.sample)
            if before is None:
                rows.append(now)
            else:
                for count in ("runs", "warned", "held", "held_unwarned"):
                    before[count] += now[count]
            if not given.fresh:
                RESULT.write_text(json.dumps(rows, indent=1) + "\n")
    show([r for r in rows if r["sample"] == given.sample])


if __name__ == "__main__":
    main()
