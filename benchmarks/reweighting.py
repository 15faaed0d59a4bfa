"""One sample under forty perturbed laws, beside fresh runs for five of them.

    python benchmarks/reweighting.py

The flood study's six expectations, each of its inputs shifted by -0.4 to 0.4 standard deviations in
five steps: the estimates from one sample of 20,000 calls beside fresh adaptive runs with as many
calls, each. Writes results/reweighting.json.
"""

import json
import time
import warnings
from pathlib import Path

import numpy as np

import smcweights as smw
from smcweights import problems
from smcweights.importance.laws import as_law, perturbed

RESULTS = Path(__file__).parent / "results" / "reweighting.json"
SHIFTS = [-0.4, -0.2, 0.0, 0.2, 0.4]
FRESH = [(0, 4), (1, 0), (2, 3), (4, 1), (5, 4)]  # input, shift


def main():
    problem = problems.flood()
    law = as_law(problem.law)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        one = smw.adaptive_importance_sampling(problem.integrand, law, 20_000, seed=1)
        began = time.perf_counter()
        study = smw.perturbation_study(one, law, shifts=SHIFTS)
        seconds = time.perf_counter() - began
        value, lower, upper = study.table()
        error = (upper - lower) / (2 * 1.96)
        ess = study.estimate.diagnostics["law_effective_sample_size"]
        print(
            f"{len(ess)} laws from one sample of 20,000 calls: {seconds:.2f} s, no call; weights "
            f"worth {ess.min():.0f} to {ess.max():.0f} draws\n"
        )
        rows = []
        for number, (i, g) in enumerate(FRESH):
            moved = perturbed(law, law.names[i], shift=SHIFTS[g])
            fresh = smw.adaptive_importance_sampling(
                problem.integrand, moved, 20_000, seed=100 + number
            )
            z = (value[i, g] - fresh.value) / np.hypot(error[i, g], fresh.standard_error)
            print(f"{law.names[i]} shifted by {SHIFTS[g]:g}")
            for j in range(len(z)):
                print(
                    f"  expectation {j + 1}: {value[i, g, j]:.3e} +- {error[i, g, j]:.1e}, fresh "
                    f"{fresh.value[j]:.3e} +- {fresh.standard_error[j]:.1e}, z = {z[j]:.2f}"
                )
            rows.append({"input": law.names[i], "shift": SHIFTS[g], "z": z.tolist()})
    z = np.array([row["z"] for row in rows])
    print(
        f"\n|z| below 1.96 in {(np.abs(z) < 1.96).sum()} of {z.size}, largest {np.abs(z).max():.2f}"
    )
    kept = {"laws": len(ess), "seconds": seconds, "ess": ess.tolist(), "fresh": rows}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
