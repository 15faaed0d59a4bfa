"""Filters, PaRIS and Parisian particle Gibbs: speed beside `particles`, bias and coverage.

    python benchmarks/statespace.py WHAT [--particles PYTHON] [--quick]

WHAT is one of those below, or all.

speed
    Nanoseconds of processor time per particle and step, best of five; beside `particles` 0.4 when
    ``--particles`` names an interpreter that has it (its NumPy is older than ours, so that it runs
    in a process of its own). First-call time of a ready model in a second process.
bare
    Processor time of filters over that of a loop written out in numba for this one model, which
    draws the same numbers: medians of 25 turns, taken in turn.
bias
    Bias of PaRIS and of every sweep of PPG after it; bias and root mean square error of roll-outs
    that move the same number of particles.
coverage
    Coverage of nominal 95 % intervals, and the mean of (value - truth) / standard error, where a
    bias shows: of the sum of states and that of products of neighbours, of each component of the
    state for d = 5; `warned` is the share of runs with a PrecisionWarning. Binomial standard error
    of 95 %: 2.0 points in 120 runs, 4.4 in 24.
likelihood
    Coverage of intervals of the log likelihood from 8 filters at T = 1000, 300 seeds.
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
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
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

        began = time.process_time()
        run()
        found[f"PaRIS, N = {n}"] = (time.process_time() - began) / n / (n_steps - 1) * 1e9
    print(json.dumps(found))


def speed(arguments):
    import smcweights as smw
    from smcweights.statespace.cloud import Cloud
    from smcweights.statespace.compilation import compiled_functional
    from smcweights.statespace.series import Series

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
            given = Series(model, rows, model.state_dim is not None, n, threshold=1.0)

            def run(given=given):
                Cloud(given, np.random.default_rng(1)).advance(given.rows)

            ours[f"{name}, N = {n}"] = best_time(run) / n / n_steps * 1e9
    sums = compiled_functional(scalar, smw.functionals.sum_of_products, None, 1)[:3]
    for n, n_steps in SIZES.items():
        y, _ = series(n_steps)

        given = Series(scalar, y[:, None].copy(), False, n, threshold=1.0)

        def run(given=given):
            cloud = Cloud(given, np.random.default_rng(1), sums=sums, draws=2, method=1)
            cloud.advance(given.rows)

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


def loop_written_out(rng, y, n, a, s, b):
    """Log likelihood of stochastic volatility by a bootstrap filter, and nothing else."""
    x, new, w, ancestors = np.empty(n), np.empty(n), np.empty(n), np.empty(n, dtype=np.int64)
    log_w, total = np.full(n, -math.log(n)), 0.0
    for i in range(n):
        x[i] = s / math.sqrt(1 - a * a) * rng.standard_normal()
    for t in range(y.size):
        if t > 0:
            squares = 0.0
            for i in range(n):
                squares += w[i] * w[i]
            drawn = 0.5 * n * squares > 1 - 1e-9
            if drawn:
                u, k, reached = rng.random(), 0, w[0] * n
                for i in range(n):
                    while reached <= i + u and k < n - 1:
                        k += 1
                        reached += w[k] * n
                    ancestors[i], log_w[i] = k, -math.log(n)
            for i in range(n):
                new[i] = a * x[ancestors[i] if drawn else i] + s * rng.standard_normal()
            x, new = new, x
        top, sum_w = -np.inf, 0.0
        for i in range(n):
            log_w[i] -= 0.5 * (math.log(2 * math.pi * b * b) + x[i] + y[t] ** 2 * math.exp(-x[i]))
            top = max(top, log_w[i])
        for i in range(n):
            w[i] = math.exp(log_w[i] - top)
            sum_w += w[i]
        step = top + math.log(sum_w)
        total += step
        for i in range(n):
            w[i] /= sum_w
            log_w[i] -= step
    return total


def bare(arguments):
    """The cost of a filter for any model, of its error and of moments, over that of a bare loop."""
    import numba

    import smcweights as smw
    from smcweights.statespace.cloud import Cloud
    from smcweights.statespace.series import Series

    written = numba.njit(nogil=True, error_model="numpy")(loop_written_out)
    ready = smw.models.stochastic_volatility(0.95, 0.25, 1.0)
    own = smw.StateSpaceModel(
        lambda rng, theta: theta[1] / np.sqrt(1 - theta[0] ** 2) * rng.standard_normal(), None,
        lambda rng, x, t, theta: theta[0] * x + theta[1] * rng.standard_normal(), None,
        lambda y, x, t, theta: -0.5 * (math.log(2 * math.pi) + x + y**2 * np.exp(-x)),
        theta=[0.95, 0.25],
    )  # fmt: skip
    found = {}
    for n, n_steps in SIZES.items():
        y = ready.simulate(n_steps, seed=1)[1]

        def filtered(model, n=n, y=y, **more):
            given = Series(model, y[:, None].copy(), False, n)
            cloud = Cloud(given, np.random.default_rng(1), backward=False, **more)
            return cloud.advance(given.rows)[2].sum()

        calls = {
            "written out": lambda n=n, y=y: written(
                np.random.default_rng(1), y, n, 0.95, 0.25, 1.0
            ),
            "ready model": lambda f=filtered: f(ready),
            "own model": lambda f=filtered: f(own),
            "with error and moments": lambda f=filtered: f(ready, roots=True, moments=True),
        }  # fmt: skip
        values = [call() for call in calls.values()]
        assert np.allclose(values, values[0], rtol=1e-6), values
        times = []
        for _ in range(5 if arguments.quick else 25):
            marks = [time.process_time()]
            for call in calls.values():
                call()
                marks.append(time.process_time())
            times.append(np.diff(marks))
        ratios = np.median(np.array(times) / np.array(times)[:, :1], axis=0).round(2).tolist()
        found[n] = dict(zip(calls, ratios, strict=True))
        print(n, found[n], flush=True)
    return {"over the loop written out": found}


def products(model, y):
    """Exact sum of E[x_{t-1} x_t | y] and its functional."""
    import smcweights as smw

    exact = smw.kalman_smoother(model, y)
    truth = (exact.means[1:] * exact.means[:-1] + exact.lag_one_covariances).sum()
    return float(truth), smw.functionals.sum_of_products


def sweeps_of(model, y, functional, n, sweeps, chains):
    """Means of PaRIS along independent chains, shape (chains, sweeps); the first is the start."""
    from smcweights.randomness import describe, seed_sequence
    from smcweights.statespace.chains import Job
    from smcweights.statespace.parisian import _chain
    from smcweights.statespace.series import checked_series
    from smcweights.statespace.smoothing import Sums

    task = checked_series(model, y, n), Sums(functional, None, 2, "rejection")
    root = describe(seed_sequence(n))
    found = [_chain(*task, Job(root, c, 0, 0, sweeps - 1, None)) for c in range(chains)]
    return np.array([[*begun.start[:, 0], *stretch.kept[:, 0]] for stretch, begun in found])


def bias(arguments):
    """Bias by sweep, and bias and error of roll-outs that cost the same."""
    import smcweights as smw

    model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    _, y = model.simulate(100, seed=1)
    truth, h = products(model, y)
    runs, work = (100 if arguments.quick else 400), 2_000
    shown = [0, 1, 2, 3, 4, 6, 8, 12, 16]
    by_sweep, equal_work = {}, {}
    print(f"bias by sweep, T = 100, truth {truth:.1f}; 0 is PaRIS")
    print(f"{'N':>5s}" + "".join(f"{k:8d}" for k in shown) + "   standard error")
    for n in (10, 20, 50):
        error = sweeps_of(model, y, h, n, 17, 2 * runs)[:, shown] - truth
        spread = error.std(axis=0) / math.sqrt(len(error))
        by_sweep[n] = {"bias": error.mean(axis=0).tolist(), "error": spread.tolist()}
        means = "".join(f"{v:8.2f}" for v in by_sweep[n]["bias"])
        print(f"{n:5d}{means}   {spread.max():.2f}")
    print(f"{work} particles in all: bias (its standard error), root mean square error")
    for n in (2_000, 500, 200, 100, 50, 20, 10):
        sweeps = work // n
        error = sweeps_of(model, y, h, n, sweeps, runs) - truth
        burn_ins = {0: error} if n == work else {
            k: error[:, 1 + k :] for k in sorted({0, sweeps // 4, sweeps // 2})
        }  # fmt: skip
        for burn_in, kept in burn_ins.items():
            one = kept.mean(axis=1)
            row = {
                "sweeps": sweeps, "burn_in": burn_in, "bias": one.mean(),
                "bias error": one.std() / math.sqrt(runs), "rmse": math.sqrt((one**2).mean()),
            }  # fmt: skip
            equal_work[f"N = {n}, burn-in {burn_in}"] = row
            name = "PaRIS" if n == work else f"PPG, {sweeps} sweeps, burn-in {burn_in}"
            print(
                f"N = {n:5d}  {name:30s}{row['bias']:7.2f} ({row['bias error']:.2f})"
                f"{row['rmse']:8.2f}"
            )
    return {"runs": runs, "truth": truth, "shown": shown, "by sweep": by_sweep,
            "equal work": equal_work}  # fmt: skip


def coverage(arguments):
    """Coverage of nominal 95 % intervals of PPG, unbiased smoothing and the log likelihood."""
    import smcweights as smw

    few, many = (4, 20) if arguments.quick else (24, 120)
    scalar = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    matrix = smw.models.linear_gaussian(0.9 * np.eye(DIM), np.eye(DIM), np.eye(DIM), np.eye(DIM))
    finite = smw.models.finite_hmm(
        [0.5, 0.3, 0.2], [[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.05, 0.25, 0.7]],
        [-1.0, 0.0, 2.0], [1.0, 1.0, 0.7],
    )  # fmt: skip

    def both(x_prev, x, t):
        return x, x_prev * x

    def exact(model, y):
        if model is finite:
            found = smw.forward_backward(model, y)
            states = np.arange(3.0)
            first = (found.probabilities[1:] @ states).sum()
            second = states @ found.pair_probabilities.sum(axis=0) @ states
            return found.log_likelihood, np.array([first, second])
        found = smw.kalman_smoother(model, y)
        if model is matrix:
            return found.log_likelihood, found.means.sum(axis=0)
        return found.log_likelihood, np.array([found.means[1:].sum(), products(model, y)[0]])

    def functional(model):
        return smw.functionals.sum_of_states if model is matrix else both

    def ppg(n, sweeps):
        return lambda model, y, seed: smw.parisian_particle_gibbs(
            model, y, functional(model), n, sweeps, seed=seed
        )

    def likelihood(n):
        return lambda model, y, seed: (
            smw.particle_filter(
                model, y, n, repeats=8, seed=seed, executor="threads"
            ).log_likelihood
        )

    def coupled(n):
        return lambda model, y, seed: smw.unbiased_smoothing(
            model, y, functional(model), n, 20, seed=seed
        )

    cases = [
        ("PPG, scalar, T = 100, N = 50, 60 sweeps", scalar, 100, ppg(50, 60), many),
        ("unbiased, scalar, T = 50, N = 50, 20 pairs", scalar, 50, coupled(50), few),
        ("PPG, 3 states, T = 1000, N = 30, 30 sweeps", finite, 1_000, ppg(30, 30), few),
        ("PPG, d = 5, T = 100, N = 100, 30 sweeps", matrix, 100, ppg(100, 30), few // 2),
        ("PPG, scalar, T = 1000, N = 100, 40 sweeps", scalar, 1_000, ppg(100, 40), few),
        ("log likelihood, scalar, T = 100, 8 x 2000", scalar, 100, likelihood(2_000), many),
        ("log likelihood, scalar, T = 1000, 8 x 10000", scalar, 1_000, likelihood(10_000), few),
    ]
    table = {}
    for name, model, n_steps, method, runs in cases:
        _, y = model.simulate(n_steps, seed=1)
        log_likelihood, sums = exact(model, y)
        truth = log_likelihood if name.startswith("log") else sums
        z, inside, warned, began = [], [], 0, time.process_time()
        for seed in range(runs):
            est = method(model, y, seed)
            lower, upper = est.interval()
            warned += bool(est.cautions)
            inside.append((lower <= truth) & (truth <= upper))
            z.append((est.value - truth) / est.standard_error)
        row = {
            "runs": runs, "coverage": np.atleast_1d(np.mean(inside, axis=0)).tolist(),
            "mean z": np.atleast_1d(np.mean(z, axis=0)).tolist(),
            "warned": warned / runs,
            "seconds per run": (time.process_time() - began) / runs,
        }  # fmt: skip
        table[name] = row
        shown = ["  ".join(f"{v:{form}}" for v in row[key])
                 for key, form in (("coverage", ".1%"), ("mean z", ".2f"))]  # fmt: skip
        print(
            f"{name:44s}{runs:4d} runs, covered {shown[0]}; mean z {shown[1]}; "
            f"warned {row['warned']:.0%}; {row['seconds per run']:.2f} s each",
            flush=True,
        )
    return {"table": table}


def likelihood(arguments):
    """Coverage of nominal 95 % intervals of the log likelihood from repeats, on a long series."""
    import smcweights as smw

    runs = 20 if arguments.quick else 300
    model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    _, y = model.simulate(1_000, seed=1)
    truth = smw.kalman_smoother(model, y).log_likelihood
    table = {}
    for n in (1_000, 3_000, 10_000):
        found = [
            smw.particle_filter(model, y, n, repeats=8, seed=seed).log_likelihood
            for seed in range(runs)
        ]
        ends = np.array([est.interval() for est in found])
        inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
        z = np.array([(est.value - truth) / est.standard_error for est in found])
        spread = [est.diagnostics["standard_deviation_of_log_likelihood"] for est in found]
        table[f"8 x {n}"] = row = {
            "runs": runs, "coverage": float(inside.mean()), "mean z": float(z.mean()),
            "deviation of one": float(np.sqrt(np.mean(np.square(spread)))),
            "warned": float(np.mean([bool(est.cautions) for est in found])),
        }  # fmt: skip
        print(f"8 x {n:6d}", row, flush=True)
    return {"steps": 1_000, "truth": truth, "table": table}


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
    tasks = {task.__name__: task for task in (speed, bare, bias, coverage, likelihood, long)}
    parser.add_argument("what", choices=[*tasks, "all", "peer"])
    parser.add_argument("--particles", help="interpreter that has particles 0.4")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "peer":
        speed_of_particles(arguments.quick)
        return
    warnings.simplefilter("ignore")
    for name, task in tasks.items():
        if arguments.what in (name, "all"):
            found = {"python": platform.python_version(), "cores": os.cpu_count(),
                     "load": os.getloadavg()[0], **task(arguments)}  # fmt: skip
            path = RESULTS / f"statespace-{name}.json"
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
