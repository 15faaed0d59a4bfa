"""Filters, PaRIS and Parisian particle Gibbs: speed beside `particles`, bias and coverage.

    python benchmarks/statespace.py [speed|accuracy|long|all] [--particles PYTHON] [--quick]

speed
    Nanoseconds per particle and step, best of five; beside `particles` 0.4 when ``--particles``
    names an interpreter that has it (its NumPy is older than ours, so that it runs in a process of
    its own). First-call times of a ready model, compiled afresh and from the cache.
accuracy
    Bias and root mean square error of PaRIS and PPG at equal numbers of particle moves; coverage
    of nominal 95 % intervals.
long
    A long series on line: time per step and memory.

Figures are kept in ``benchmarks/results/statespace-*.json``. One thread.
"""

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

# read when NumPy is imported
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

RESULTS = Path(__file__).parent / "results"
SIZES = {1_000: 200, 10_000: 50, 100_000: 12}
DIM = 5


def best_time(call, repeats=5):
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def series(n_steps):
    rng = np.random.default_rng(1)
    return rng.standard_normal(n_steps), rng.standard_normal((n_steps, DIM))


def speed_of_particles(quick):
    """Runs in the other interpreter and prints JSON."""
    import particles
    from particles import distributions as dists
    from particles import state_space_models as ssms
    from particles.collectors import Paris
    from particles.kalman import MVLinearGauss

    class Linear(ssms.StateSpaceModel):
        def PX0(self):
            return dists.Normal(scale=math.sqrt(1 / (1 - 0.81)))

        def PX(self, t, xp):
            return dists.Normal(loc=0.9 * xp, scale=1.0)

        def PY(self, t, xp, x):
            return dists.Normal(loc=x, scale=1.0)

        def upper_bound_trans(self, t):
            return -0.5 * math.log(2 * math.pi)

        upper_bound_log_pt = upper_bound_trans

        def add_func(self, t, xp, x):
            return x if xp is None else x * xp

    models = {
        "stochastic volatility": ssms.StochVol(mu=0.0, rho=0.95, sigma=0.25),
        "linear Gaussian": Linear(),
        "linear Gaussian, d = 5": MVLinearGauss(
            F=0.9 * np.eye(DIM), G=np.eye(DIM), covX=np.eye(DIM), covY=np.eye(DIM)
        ),
    }
    found = {}
    for name, model in models.items():
        for n, n_steps in SIZES.items():
            y, vector = series(n_steps)
            data = vector if "d = 5" in name else y

            def run(model=model, data=data, n=n):
                fk = ssms.Bootstrap(ssm=model, data=data)
                particles.SMC(fk=fk, N=n, ESSrmin=1.0).run()

            found[f"{name}, N = {n}"] = best_time(run, 3) / n / n_steps * 1e9
    for n, n_steps in {1_000: 6, 10_000: 3}.items():
        if quick and n > 1_000:
            continue
        y, _ = series(n_steps)

        def run(y=y, n=n):
            fk = ssms.Bootstrap(ssm=models["linear Gaussian"], data=y)
            particles.SMC(fk=fk, N=n, ESSrmin=1.0, collect=[Paris(Nparis=2)]).run()

        began = time.perf_counter()
        run()
        found[f"PaRIS, N = {n}"] = (time.perf_counter() - began) / n / (n_steps - 1) * 1e9
    print(json.dumps(found))


def speed(arguments):
    import smcweights as smw
    from smcweights.statespace.filtering import Cloud
    from smcweights.statespace.model import compiled, compiled_functional

    scalar = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    models = {
        "stochastic volatility": smw.models.stochastic_volatility(0.95, 0.25),
        "linear Gaussian": scalar,
        "linear Gaussian, d = 5": smw.models.linear_gaussian(
            0.9 * np.eye(DIM), np.eye(DIM), np.eye(DIM), np.eye(DIM)
        ),
    }
    ours = {}
    for name, model in models.items():
        for n, n_steps in SIZES.items():
            y, vector = series(n_steps)
            rows = vector if model.state_dim else y[:, None].copy()
            functions = compiled(model, model.state_dim is not None)

            def run(model=model, rows=rows, functions=functions, n=n):
                rng = np.random.default_rng(1)
                Cloud(model, functions, n, rng=rng, threshold=1.0).advance(rows)

            ours[f"{name}, N = {n}"] = best_time(run) / n / n_steps * 1e9
    sums = compiled_functional(scalar, smw.functionals.sum_of_products, None, 1)[:3]
    functions = compiled(scalar, False)
    for n, n_steps in SIZES.items():
        y, _ = series(n_steps)

        def run(y=y, n=n):
            rng = np.random.default_rng(1)
            cloud = Cloud(
                scalar, functions, n, rng=rng, threshold=1.0, sums=sums, draws=2, method=1
            )
            cloud.advance(y[:, None].copy())

        ours[f"PaRIS, N = {n}"] = best_time(run, 3) / n / n_steps * 1e9
    script = (
        "import time, smcweights as smw; b = time.perf_counter();"
        "smw.particle_filter(smw.models.stochastic_volatility(0.9, 0.3), [0.1] * 9, 1000, seed=1);"
        "print(time.perf_counter() - b)"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    second = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    peers = {}
    if arguments.particles:
        command = [arguments.particles, __file__, "peer"] + ["--quick"] * arguments.quick
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peers = json.loads(done.stdout.splitlines()[-1])
    for name, value in ours.items():
        peer = peers.get(name)
        beside = "" if peer is None else f"{peer:12.0f} ns  {peer / value:8.1f} times"
        print(f"{name:36s}{value:8.0f} ns{beside}")
    print(f"ready model in a new process, compiled code on disk: {second:.2f} s")
    return {"ours": ours, "particles": peers, "second process": second}


def accuracy(arguments):
    import smcweights as smw

    model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    _, y = model.simulate(50, seed=1)
    exact = smw.kalman_smoother(model, y)
    truth = (exact.means[1:] * exact.means[:-1] + exact.lag_one_covariances).sum()
    runs = 40 if arguments.quick else 100
    h = smw.functionals.sum_of_products
    settings = {"PaRIS, 8 x 1000": None, "PPG, N = 50, 20 sweeps": (50, 20),
                "PPG, N = 20, 50 sweeps": (20, 50)}  # fmt: skip
    table = {}
    for name, setting in settings.items():
        values, inside = [], 0
        for seed in range(runs):
            if setting is None:
                est = smw.paris(model, y, h, 1_000, seed=seed)
            else:
                est = smw.parisian_particle_gibbs(model, y, h, *setting, seed=seed)
            lower, upper = est.interval()
            inside += bool(lower <= truth <= upper)
            values.append(float(est.value))
        error = np.array(values) - truth
        table[name] = {
            "bias": error.mean(), "bias error": error.std() / math.sqrt(runs),
            "rmse": math.sqrt((error**2).mean()), "coverage": inside / runs,
        }  # fmt: skip
    inside = 0
    for seed in range(runs):
        est = smw.particle_filter(model, y, 500, repeats=8, seed=seed).log_likelihood
        lower, upper = est.interval()
        inside += bool(lower <= exact.log_likelihood <= upper)
    table["log likelihood, 8 x 500"] = {"coverage": inside / runs}
    inside = 0
    for seed in range(runs):
        est = smw.unbiased_smoothing(model, y, h, 40, 20, first=10, last=40, seed=seed)
        lower, upper = est.interval()
        inside += bool(lower <= truth <= upper)
    table["unbiased smoothing, 20 pairs"] = {"coverage": inside / runs}
    for name, row in table.items():
        print(f"{name:32s}" + "  ".join(f"{k} {v:.2f}" for k, v in row.items()))
    return {"runs": runs, "truth": truth, "table": table}


def long(arguments):
    import smcweights as smw

    n_steps = 100_000 if arguments.quick else 1_000_000
    model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    smoother = smw.OnlineSmoother(model, smw.functionals.sum_of_states, 100, repeats=2, seed=1)
    rng = np.random.default_rng(1)
    smoother.extend(rng.standard_normal(1_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    for _ in range(n_steps // 1_000):
        smoother.extend(rng.standard_normal(1_000))
    seconds = time.perf_counter() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found = {"steps": n_steps, "seconds": seconds, "grown MB": grown,
             "mean per step": float(smoother.estimate().value) / smoother.t}  # fmt: skip
    print(found)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["speed", "accuracy", "long", "all", "peer"])
    parser.add_argument("--particles", help="interpreter that has particles 0.4")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "peer":
        speed_of_particles(arguments.quick)
        return
    warnings.simplefilter("ignore")
    for name, task in {"speed": speed, "accuracy": accuracy, "long": long}.items():
        if arguments.what in (name, "all"):
            found = {"python": platform.python_version(), "cores": os.cpu_count(),
                     "load": os.getloadavg()[0], **task(arguments)}  # fmt: skip
            path = RESULTS / f"statespace-{name}.json"
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
