"""Coverage of 95 % intervals with failed runs, after `extend`, of Shapley effects, at a precision.

    python benchmarks/failed_runs.py [seeds]

Prints a table and keeps it in benchmarks/results/failed_runs.json. Truths are those of truncated
normal laws, of quadrature and of the enumeration of all sets of inputs.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from scipy import integrate, stats

import smcweights as smw

EDGE, LIMIT = 1.5, 3.5
LAW = [stats.norm()] * 2
SHARE = stats.norm.sf(EDGE)
SAFE = integrate.quad(
    lambda x: stats.norm.pdf(x) * stats.norm.sf(LIMIT - x), -9, EDGE, epsabs=1e-13
)[0]
MEAN = 5 + stats.truncnorm(-np.inf, EDGE).mean()
DEPENDENT = smw.GaussianCopula([stats.norm()] * 3, [[1, 0, 0.6], [0, 1, 0], [0.6, 0, 1]])
SHAPLEY = np.array([0.28, 0.28, 0.44])


def broken(x):
    values = np.stack([x.sum(1) + 5, x.sum(1) > LIMIT], axis=1).astype(float)
    values[x[:, 0] > EDGE] = np.nan
    return values


def limit_state(x):
    return np.where(x[:, 0] > EDGE, np.nan, LIMIT - x.sum(1))


def both(x):
    return np.stack([np.exp(x.sum(1) / 2), x.sum(1) > 3], axis=1)


def product(x):
    return x[:, 0] * x[:, 1] + x[:, 2]


def ratio(v):
    return v[1] / v[0]


WHOLE = np.array([np.exp(0.25), stats.norm.sf(3 / np.sqrt(2))])


def extended(seed):
    first = smw.adaptive_importance_sampling(both, LAW, 500, seed=seed)
    return first.extend(both, 500).extend(both, 1_000)


def precise(seed):
    rule = smw.Precision(relative=0.03, max_budget=50_000, of=ratio)
    return smw.adaptive_importance_sampling(both, LAW, precision=rule, seed=seed).apply(ratio)


def of_policy(policy, budget):
    def run(seed):
        return smw.failure_probability(limit_state, LAW, budget, failed=policy, seed=seed)

    return run


# what is run, and the truth, or both ends of what has to be covered
CASES = {
    "means without failed runs, 2,000 calls": (
        lambda seed: smw.adaptive_importance_sampling(
            broken, LAW, 2_000, failed="exclude", seed=seed
        ),
        ([MEAN, SAFE / (1 - SHARE)],) * 2,
    ),
    "P given that it ran, 2,000": (of_policy("exclude", 2_000), (SAFE / (1 - SHARE),) * 2),
    "P, failed runs safe, 2,000": (of_policy("safe", 2_000), (SAFE,) * 2),
    "P, failed runs failures, 2,000": (of_policy("failure", 2_000), (SAFE + SHARE,) * 2),
    "P, both ends, 2,000": (of_policy("bounds", 2_000), (SAFE, SAFE + SHARE)),
    "500 calls, extended by 500 and 1,000": (extended, (WHOLE,) * 2),
    "ratio to 3 %": (precise, (WHOLE[1] / WHOLE[0],) * 2),
    "Shapley effects, dependent, 2,000": (
        lambda seed: smw.shapley_effects(product, DEPENDENT, 2_000, seed=seed).effects,
        (SHAPLEY,) * 2,
    ),
}


def main(seeds):
    table = {}
    for name, (run, (low, high)) in CASES.items():
        began, hits, widths = time.process_time(), [], []
        for seed in range(seeds):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", smw.PrecisionWarning)
                found = run(seed)
            lower, upper = found.interval()
            hits.append((lower <= low) & (upper >= high))
            widths.append(np.asarray(found.relative_error))
        covered = np.atleast_1d(np.mean(hits, axis=0))
        table[name] = {
            "seeds": seeds,
            "covered": covered.round(3).tolist(),
            "relative_error": np.atleast_1d(np.median(widths, axis=0)).round(4).tolist(),
            "cpu_seconds": round((time.process_time() - began) / seeds, 3),
        }
        print(f"{name:<42}", *(f"{c:.3f}" for c in covered), table[name]["relative_error"])
    kept = Path(__file__).parent / "results" / "failed_runs.json"
    kept.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
