"""Learning: scores beside exact ones, coverage, maxima of real series, and what a gradient costs.

    python benchmarks/learning.py [bias|coverage|intervals|posterior|series|speed|surface|all]
        [--quick] [--particles PYTHON]

bias
    Score of a linear Gaussian model by chains (PPG) and by independent filters (PaRIS) at small N,
    against automatic differentiation of the Kalman filter.
coverage
    Nominal 95 % intervals: of scores, of the information, of the maximum of the likelihood and of
    the true parameters, over simulated series.
intervals
    Of two variances, over simulated series: those of a surface beside those of the exact profile
    of the likelihood (a grid of Kalman filters): how often they hold, and how far apart they end.
posterior
    Nominal 95 % intervals of posterior means of parameters and states by PMMH with kept paths and
    by particle Gibbs (8 chains of 250 draws), against a grid of Kalman smoothers.
series
    Real series: the local level of the Nile beside its exact maximum, stochastic volatility of
    inflation; both kinds of error, and the posterior by PMMH beside them.
speed
    Seconds of one sweep and of its gradient (T = 1000, N = 500, 3 parameters), and time to an
    equal error of the score beside finite differences of the likelihood of `particles` 0.4 when
    ``--particles`` names an interpreter that has it.
surface
    Nominal 95 % intervals of the maximum by iterated filtering, of a Ricker map with Poisson counts
    (Wood 2010) and of an epidemic (SEIR): bias and error in errors of the data. The maximum is that
    of a polynomial of the fourth degree, fitted to 800 log likelihoods of more particles.

Figures are kept in ``benchmarks/results/learning-*.json``. One BLAS thread.
"""

import argparse
import functools
import itertools
import json
import math
import os
import platform
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


def kalman_likelihood(theta, y):
    """Log likelihood of the scalar model, in JAX."""
    import jax

    jnp = jax.numpy
    a, q, h, r, mean, variance = theta

    def step(carry, y_t):
        mean, variance, total = carry
        s = h * h * variance + r
        e = y_t - h * mean
        gain = variance * h / s
        total -= 0.5 * (e * e / s + jnp.log(2 * jnp.pi * s))
        mean, variance = mean + gain * e, variance * (1 - gain * h)
        return (a * mean, a * a * variance + q, total), None

    return jax.lax.scan(step, (mean, variance, 0.0), jnp.asarray(y))[0][2]


@functools.cache
def compiled_exactly(kind):
    """Derivatives of the exact log likelihood by theta, compiled once per shape."""
    import jax

    makers = {"gradient": jax.grad, "second": jax.hessian, "both": jax.value_and_grad}
    return jax.jit(makers[kind](kalman_likelihood))


def exact_derivatives(theta, y):
    """Gradient and second derivatives of the exact log likelihood."""
    from smcweights import _compat

    with _compat.enable_x64():
        found = [compiled_exactly(kind)(np.asarray(theta), y) for kind in ("gradient", "second")]
        return tuple(np.asarray(part) for part in found)


def exact_maximum(theta, y, free):
    """Maximiser over free parameters, of which all but the transition are positive."""
    from scipy.optimize import minimize

    from smcweights import _compat

    base, free = np.array(theta), np.array(free)
    positive = free > 0

    def filled(u):
        values = base.copy()
        values[free] = np.where(positive, np.exp(u), u)
        return values

    def objective(u):
        at = filled(u)
        value, slope = compiled_exactly("both")(at, y)
        return -float(value), -np.asarray(slope)[free] * np.where(positive, at[free], 1.0)

    with _compat.enable_x64():
        start = np.where(positive, np.log(np.abs(base[free])), base[free])
        u = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-6}).x
    return filled(u)[free]


def bias(arguments):
    import smcweights as smw

    model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    _, y = model.simulate(100, seed=1)
    theta = np.array([0.8, 1.3, 1.0, 0.8, 0.0, 3.0])
    free = [0, 1, 3]
    truth = exact_derivatives(theta, y)[0][free]
    print("exact", truth.round(2))
    rows = []
    for n in (10, 20, 50, 100):
        budget = (40 if arguments.quick else 400) * 20 // min(n, 100)
        for method in ("paris", "ppg"):
            est = smw.score(model, y, theta, n, max(budget, 40), free=free, method=method, seed=n)
            rows.append({"n": n, "method": method, "bias": (est.value - truth).tolist(),
                         "error": est.standard_error.tolist()})  # fmt: skip
            print(f"N = {n:4d} {method:6s} bias", (est.value - truth).round(2), "+-",
                  est.standard_error.round(2))  # fmt: skip
    return {"exact": truth.tolist(), "names": ["transition", "variance", "noise"], "table": rows}


def coverage(arguments):
    import smcweights as smw

    runs = 20 if arguments.quick else 120
    model = smw.models.linear_gaussian(0.7, 1.0, 1.0, 0.5, 0.0, 1.0)
    inside = {name: np.zeros(2) for name in ("score", "maximum", "parameters")}
    information, warned = np.zeros(3), {name: 0 for name in ("score", "information", "maximum")}
    start = model.theta.copy()
    start[:2] = 0.4, 2.0
    true = model.theta[:2]
    errors = []
    for seed in range(runs):
        _, y = model.simulate(40, seed=10_000 + seed)
        gradient, second = exact_derivatives(start, y)
        est = smw.score(model, y, start, 30, 60, free=[0, 1], seed=seed)
        lower, upper = est.interval()
        inside["score"] += (lower <= gradient[:2]) & (gradient[:2] <= upper)
        warned["score"] += bool(est.cautions)
        est = smw.observed_information(model, y, start, 30, 60, free=[0, 1], seed=seed)
        lower, upper = est.interval()
        entries = -second[[0, 1, 1], [0, 0, 1]]
        information += (lower <= entries) & (entries <= upper)
        warned["information"] += bool(est.cautions)
        fit = smw.maximum_likelihood(model, y, start, 30, 200, free=[0, 1], seed=seed)
        warned["maximum"] += bool(fit.theta.cautions)
        best = exact_maximum(model.theta, y, [0, 1])
        lower, upper = fit.interval(error="monte carlo")
        inside["maximum"] += (lower <= best) & (best <= upper)
        lower, upper = fit.interval()
        inside["parameters"] += (lower <= true) & (true <= upper)
        errors.append((fit.maximiser.value - best) / fit.diagnostics["statistical_error"])
    found = {name: (count / runs).tolist() for name, count in inside.items()}
    found["information"] = (information / runs).tolist()
    found |= {f"warned: {name}": count / runs for name, count in warned.items()}
    off = np.array(errors)
    found["runs"] = runs
    found["binomial standard error of 95 %"] = round(math.sqrt(0.95 * 0.05 / runs), 4)
    found["bias of the maximum in errors of the data"] = np.nanmean(off, axis=0).tolist()
    found["rmse of the maximum in errors of the data"] = np.sqrt(
        np.nanmean(off**2, axis=0)
    ).tolist()
    for name, value in found.items():
        print(f"{name:45s}", np.round(value, 3))
    return found


def exact_profiles(y, first, logs):
    """Where profiles of the likelihood by log q, and by log r, are 1.92 below the top: (2, 2).

    Of x' = .8 x + sqrt(q) e, y = x + sqrt(r) e; `logs` are those of a grid.
    """
    log_q, log_r = np.meshgrid(logs, logs, indexing="ij")
    q, r, mean, variance, log_p = np.exp(log_q), np.exp(log_r), 0.0, first, 0.0
    for t, y_t in enumerate(y):
        if t:
            mean, variance = 0.8 * mean, 0.64 * variance + q
        total = variance + r
        log_p = log_p - 0.5 * ((y_t - mean) ** 2 / total + np.log(total))
        mean, variance = mean + variance / total * (y_t - mean), variance * r / total
    ends = np.empty((2, 2))
    for k in range(2):
        height = log_p.max(axis=1 - k) - log_p.max() + 1.92
        inside = np.flatnonzero(height > 0)
        for side, (i, j) in enumerate(((inside[0] - 1, inside[0]), (inside[-1], inside[-1] + 1))):
            if i < 0 or j == len(logs):  # the data leave it open
                ends[k, side] = (-np.inf, np.inf)[side]
            else:
                share = height[i] / (height[i] - height[j])
                ends[k, side] = logs[i] + share * (logs[j] - logs[i])
    return ends


def intervals(arguments):
    import smcweights as smw

    model = smw.models.linear_gaussian(0.8, 1.0, 1.0, 1.0)
    runs, logs = 10 if arguments.quick else 60, np.linspace(-6.0, 3.0, 361)
    held, exactly, unwarned, apart = np.zeros((runs, 2)), np.zeros((runs, 2)), [], []
    for seed in range(runs):
        y = model.simulate(150, seed=20_000 + seed)[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = exact_profiles(y, model.theta[5], logs)
        fit = smw.maximum_likelihood(
            model, y, None, 300, method="iterated_filtering", free=[1, 3], seed=seed
        )
        own = np.log(np.transpose(fit.interval()))
        held[seed] = (own[:, 0] <= 0) & (own[:, 1] >= 0)
        exactly[seed] = (ends[:, 0] <= 0) & (ends[:, 1] >= 0)
        unwarned.append(not fit.theta.cautions)
        apart.append((own - ends) / (ends[:, 1] - ends[:, 0])[:, None])
    told = np.array(unwarned)
    found = {
        "runs": runs, "parameters": ["transition_covariance", "observation_covariance"],
        "held": held.mean(axis=0).tolist(), "held by the profile": exactly.mean(axis=0).tolist(),
        "held unwarned": held[told].mean(axis=0).tolist(), "warned": float(1 - told.mean()),
        "ends apart in widths of the profile, median": np.nanmedian(apart, axis=0).tolist(),
    }  # fmt: skip
    print(json.dumps(found))
    return found


def posterior_of_grid(y, first, times):
    """Posterior means of a, log q and states of x' = a x + sqrt(q) e, y = x + e, by smoothers."""
    a, log_q = np.meshgrid(np.linspace(-1.5, 2.0, 176), np.linspace(-5.0, 4.0, 181))
    mean, variance, log_p = 0.0 * a, first + 0.0 * a, log_prior_of(a, log_q)
    filtered = []
    for t, y_t in enumerate(y):
        if t:
            mean, variance = a * mean, a**2 * variance + np.exp(log_q)
        log_p -= 0.5 * ((y_t - mean) ** 2 / (variance + 1) + np.log(variance + 1))
        gain = variance / (variance + 1)
        mean, variance = mean + gain * (y_t - mean), variance * (1 - gain)
        filtered.append((mean, variance))
    smoothed = [mean]
    for mean, variance in filtered[-2::-1]:
        back = variance * a / (a**2 * variance + np.exp(log_q))
        smoothed.append(mean + back * (smoothed[-1] - a * mean))
    p = np.exp(log_p - log_p.max())
    wanted = (a, log_q, *(smoothed[len(y) - 1 - t] for t in times))
    return np.array([(p * values).sum() for values in wanted]) / p.sum()


def log_prior_of(a, log_q):
    """Normal laws of a and log q."""
    return -0.5 * ((a - 0.5) / 0.5) ** 2 - 0.5 * log_q**2


def posterior(arguments):
    """Coverage of posterior means."""
    import smcweights as smw

    model, times = smw.models.linear_gaussian(0.8, 1.0, 1.0, 1.0), (0, 15, 29)
    y = model.simulate(30, seed=5)[1]
    truth, runs = posterior_of_grid(y, model.theta[5], times), 20 if arguments.quick else 100

    def log_prior(theta):
        if theta[1] <= 0:
            return -np.inf
        return log_prior_of(theta[0], np.log(theta[1])) - np.log(theta[1])

    def pmmh(seed):
        return smw.particle_marginal_metropolis_hastings(
            model, y, log_prior, 50, 250, free=[0, 1], keep_states="path", seed=seed
        )

    update = smw.random_walk_metropolis(model, log_prior, [0.2, 0.5, 0, 0, 0, 0])

    def gibbs(seed):
        return smw.particle_gibbs(model, y, 50, 250, chains=8, parameters=update, seed=seed)

    names = ["persistence", "log variance", *(f"state of time {t}" for t in times)]
    found = {"of": names, "truth": truth.tolist(), "runs": runs}
    for sampler in (pmmh, gibbs):
        covered, by_arviz = np.zeros((2, runs, len(truth)))
        widths, warned = [], np.zeros(runs, dtype=bool)
        for seed in range(runs):
            draws = sampler(seed)
            states = smw.posterior_means(draws)
            parts = [
                smw.posterior_means(draws, lambda theta: [theta[0], np.log(theta[1])]),
                *(states[f"x[{t}]"] for t in times),
            ]
            value, error, mcse = (
                np.concatenate([np.atleast_1d(read(part)) for part in parts])
                for read in (
                    lambda e: e.value,
                    lambda e: e.interval()[1] - e.value,
                    lambda e: e.diagnostics["mcse"],
                )
            )
            covered[seed] = np.abs(value - truth) < error
            by_arviz[seed] = np.abs(value - truth) < 1.96 * mcse
            widths.append(error / (1.96 * mcse))
            warned[seed] = bool(parts[0].cautions)
        found[sampler.__name__] = {
            "covered": covered.mean(axis=0).tolist(),
            "covered unwarned": covered[~warned].mean(axis=0).tolist() if (~warned).any() else None,
            "covered by ArviZ": by_arviz.mean(axis=0).tolist(),
            "width over ArviZ": np.mean(widths, axis=0).tolist(),
            "warned": float(warned.mean()),
        }
        print(sampler.__name__, found[sampler.__name__])
    return found


def series(arguments):
    import numba

    import smcweights as smw
    from smcweights.problems.series import euro_dollar, nile, nutria, us_inflation

    iterations = 100 if arguments.quick else 1_000
    volume = nile()[1]
    change = np.diff(us_inflation()[1])
    returns = 100 * np.diff(np.log(euro_dollar()[1]))
    population = np.log(nutria()[1])
    level = smw.models.linear_gaussian(1.0, 5_000.0, 1.0, 5_000.0, 1_120.0, 90_000.0)
    volatility = smw.models.stochastic_volatility(0.9, 0.3, float(change.std()))
    rates = smw.models.stochastic_volatility(0.9, 0.3, float(returns.std()))
    # growth of Ricker's form: with the shape free, too, the data leave density and shape open
    logistic = smw.models.theta_logistic(0.1, 0.03, 1.0, 0.1, 0.05, float(population[0]), 0.1)

    def nudged(x_prev, y, theta):
        # the law of the next state given the observation, which a fall by a third makes needful
        mean = x_prev + theta[0] - theta[1] * np.exp(theta[2] * x_prev)
        gain = theta[3] ** 2 / (theta[3] ** 2 + theta[4] ** 2)
        return mean + gain * (y - mean), theta[4] * np.sqrt(gain)

    nudged = numba.njit(nudged)

    def sample(rng, x_prev, y, t, theta):
        mean, scale = nudged(x_prev, y, theta)
        return mean + scale * rng.standard_normal()

    def logpdf(x_prev, x, y, t, theta):
        mean, scale = nudged(x_prev, y, theta)
        return -0.5 * np.log(2 * np.pi * scale**2) - 0.5 * ((x - mean) / scale) ** 2

    ahead = smw.Proposal(sample=sample, logpdf=logpdf)
    priors = {
        "nile": lambda th: -np.log(th[1] * th[3]),
        "inflation": lambda th: -np.log(th[1] * th[2]) if abs(th[0]) < 1 else -np.inf,
        "euro in dollars": lambda th: -np.log(th[1] * th[2]) if abs(th[0]) < 1 else -np.inf,
        # a negative density would let the population explode
        "nutria": lambda th: -0.5 * (th[3] ** 2 + th[4] ** 2) / 0.01 if th[1] > 0 else -np.inf,
    }
    tasks = (
        ("nile", level, volume, [1, 3]),
        ("inflation", volatility, change, None),
        ("euro in dollars", rates, returns, None),
        ("nutria", logistic, population, [0, 1, 3, 4]),
    )
    found = {}
    for name, model, y, free in tasks[:1] if arguments.quick else tasks:
        began = time.perf_counter()
        fit = smw.maximum_likelihood(model, y, None, 100, iterations, free=free, seed=1,
                                     executor="threads")  # fmt: skip
        seconds = time.perf_counter() - began
        lower, upper = fit.interval()
        draws = smw.particle_marginal_metropolis_hastings(
            model, y, priors[name], 200, iterations, theta0=fit.model.theta, free=free, seed=2,
            executor="threads", proposal=ahead if name == "nutria" else None,
        )  # fmt: skip
        table = []
        for k, label in enumerate(fit.theta.names):
            low, middle, high = np.quantile(draws["posterior"][label].values, [0.025, 0.5, 0.975])
            table.append({
                "parameter": label, "value": fit.maximiser.value[k],
                "data": fit.diagnostics["statistical_error"][k],
                "search": fit.diagnostics["monte_carlo_error"][k],
                "interval": [lower[k], upper[k]], "posterior": [low, middle, high],
            })  # fmt: skip
            print(name, table[-1])
        found[name] = {"table": table, "iterations": iterations, "seconds": seconds,
                       "iterations a second": 4 * iterations / seconds}  # fmt: skip
        print(f"{name}: {seconds:.1f} s")
    found["nile"]["exact"] = exact_maximum(level.theta, volume, [1, 3]).tolist()
    print("nile exact", found["nile"]["exact"])
    return found


def speed_of_particles(quick):
    """Runs in the other interpreter and prints JSON: time and error of finite differences."""
    import particles
    from particles import distributions as dists
    from particles import state_space_models as ssms

    class Volatility(ssms.StateSpaceModel):
        def PX0(self):
            return dists.Normal(scale=self.sigma / np.sqrt(1 - self.rho**2))

        def PX(self, t, xp):
            return dists.Normal(loc=self.rho * xp, scale=self.sigma)

        def PY(self, t, xp, x):
            return dists.Normal(scale=self.scale * np.exp(0.5 * x))

    y = np.array(json.load(sys.stdin))
    theta = {"rho": 0.95, "sigma": 0.3, "scale": 0.7}
    n, h, repeats = 5_000, 0.02, 6 if quick else 20
    gradients, seconds = [], []
    for r in range(repeats):
        began = time.perf_counter()
        g = []
        for name in theta:
            ends = []
            for sign in (1, -1):
                # the same random numbers on both sides
                np.random.seed(r)  # noqa: NPY002
                at = {**theta, name: theta[name] * (1 + sign * h)}
                fk = ssms.Bootstrap(ssm=Volatility(**at), data=y)
                pf = particles.SMC(fk=fk, N=n, resampling="systematic", ESSrmin=0.5)
                pf.run()
                ends.append(pf.logLt)
            g.append((ends[0] - ends[1]) / (2 * h * theta[name]))
        gradients.append(g)
        seconds.append(time.perf_counter() - began)
    g = np.array(gradients)
    print(json.dumps({"seconds": float(np.median(seconds)), "mean": g.mean(axis=0).tolist(),
                      "deviation": g.std(axis=0, ddof=1).tolist(), "particles": n}))  # fmt: skip


def speed(arguments):
    import smcweights as smw
    from smcweights import _compat
    from smcweights.statespace.learning import scores
    from smcweights.statespace.learning.parameters import free_parameters
    from smcweights.statespace.series import checked_series

    model = smw.models.stochastic_volatility(0.95, 0.3, 0.7)
    _, y = model.simulate(1_000, seed=1)
    series = checked_series(model, y, 500)
    p = scores.ScoredSeries(series, free_parameters(model, None), 500, "auto", None)
    chain = scores.ScoreChain(p, np.random.default_rng(1), None)

    def best(call, repeats=5):
        call()
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return min(times)

    found = {}
    with _compat.enable_x64():
        x = chain.paths()
        at = (chain.cloud.theta, x, chain.y, chain.seen)
        found["sweep"] = best(chain.paths)
        found["gradient"] = best(lambda: np.asarray(chain.gradients.mean_score(*at)))
        found["curvature"] = best(lambda: np.asarray(chain.gradients.curvature(*at)[2]))
    found["gradient and sweep to sweep"] = 1 + found["gradient"] / found["sweep"]
    found["iterations a second"] = 1 / (found["sweep"] + found["gradient"])
    sweeps = 30 if arguments.quick else 150
    began = time.perf_counter()
    est = smw.score(model, y, None, 100, sweeps, seed=1)
    found["score"] = {"seconds": time.perf_counter() - began, "value": est.value.tolist(),
                      "error": est.standard_error.tolist()}  # fmt: skip
    print(est)
    if arguments.particles:
        command = [arguments.particles, __file__, "peer", *(["--quick"] * arguments.quick)]
        out = subprocess.run(command, input=json.dumps(y.tolist()), capture_output=True, text=True,
                             check=True)  # fmt: skip
        peer = json.loads(out.stdout.splitlines()[-1])
        found["particles"] = peer
        # time for the error of one gradient of the peer's, parameter by parameter
        ours = np.array(found["score"]["error"]) ** 2 * found["score"]["seconds"]
        theirs = np.array(peer["deviation"]) ** 2 * peer["seconds"]
        found["seconds at equal error, theirs to ours"] = (theirs / ours).tolist()
    for name, value in found.items():
        print(name, value)
    return found


def ricker():
    """Counts of a population that its own density holds down; 50 of them."""
    import smcweights as smw

    def move(rng, x_prev, t, theta):
        return np.log(theta[0]) + x_prev - np.exp(x_prev) + theta[1] * rng.standard_normal()

    model = smw.StateSpaceModel(
        lambda rng, theta: 0.1 * rng.standard_normal(), None, move, None,
        lambda y, x, t, theta: y * (np.log(theta[2]) + x) - theta[2] * np.exp(x)
        - math.lgamma(y + 1.0),
        observation_sample=lambda rng, x, t, theta: float(rng.poisson(theta[2] * np.exp(x))),
        theta=[np.exp(3.8), 0.3, 10.0], theta_names=["growth", "noise", "scale"],
        transforms=["log"] * 3,
    )  # fmt: skip
    return model, model.simulate(50, seed=1)[1], ["growth", "noise", "scale"]


def epidemic():
    """Reported cases of 60 days in a town of a thousand; contagion and reporting are sought."""
    import smcweights as smw

    def move(rng, x_prev, t, theta):
        caught = rng.binomial(int(x_prev[0]), 1 - np.exp(-theta[0] * x_prev[2] / 1000.0))
        ill = rng.binomial(int(x_prev[1]), 1 - np.exp(-theta[1]))
        well = rng.binomial(int(x_prev[2]), 1 - np.exp(-theta[2]))
        moved = (x_prev[0] - caught, x_prev[1] + caught - ill, x_prev[2] + ill - well, 1.0 * ill)
        return np.array(moved)

    def log_density(y, x, t, theta):
        mean, size = theta[3] * x[3] + 1e-6, theta[4]
        log_p = math.lgamma(y + size) - math.lgamma(size) - math.lgamma(y + 1.0)
        return log_p + size * np.log(size / (size + mean)) + y * np.log(mean / (size + mean))

    def report(rng, x, t, theta):
        mean = theta[3] * x[3] + 1e-6
        return float(rng.negative_binomial(theta[4], theta[4] / (theta[4] + mean)))

    model = smw.StateSpaceModel(
        lambda rng, theta: np.array([990.0, 5.0, 5.0, 0.0]), None, move, None, log_density,
        observation_sample=report, theta=[0.8, 0.3, 0.25, 0.5, 10.0],
        theta_names=["beta", "sigma", "gamma", "rho", "size"],
        transforms=["log", "log", "log", "logit", "log"], state_dim=4,
    )  # fmt: skip
    return model, model.simulate(60, seed=3)[1], ["beta", "rho"]


def top_of_quartic(model, y, n, free, centre, root, points):
    """Maximiser by log theta, its error, and the error of the data, of normal points around one."""
    from scipy.optimize import minimize

    import smcweights as smw

    places = [model.theta_names.index(name) for name in free]
    z, heights = np.random.default_rng(0).standard_normal((points, len(free))), np.empty(points)
    for i, one in enumerate(z):
        theta = model.theta.copy()
        theta[places] = np.exp(centre + root @ one)
        heights[i] = smw.log_likelihood(model, y, n, theta=theta, seed=i).value
    z, heights = z[heights > heights.max() - 12], heights[heights > heights.max() - 12]
    terms = [t for d in range(5) for t in itertools.combinations_with_replacement(
        range(len(free)), d)]  # fmt: skip

    def features(z):
        return np.stack([np.prod(z[:, list(t)], axis=1) for t in terms], axis=1)

    def top(heights):
        weights = np.linalg.lstsq(features(z), heights, rcond=None)[0]
        # a polynomial has no say far from the points
        found = minimize(
            lambda a: -features(a[None])[0] @ weights, np.zeros(len(free)),
            bounds=len(free) * [(-2, 2)],
        )  # fmt: skip
        return found.x, features(z) @ weights, weights

    best, fitted, weights = top(heights)
    step, bend = 1e-3 * np.eye(len(free)), np.empty(2 * (len(free),))
    for i, j in itertools.product(range(len(free)), repeat=2):
        ends = [best + a * step[i] + b * step[j] for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        bend[i, j] = np.array([1, -1, -1, 1]) @ features(np.array(ends)) @ weights / 4e-6
    noise, rng = heights - fitted, np.random.default_rng(1)
    again = [root @ top(fitted + rng.choice(noise, len(noise)))[0] for _ in range(40)]
    data = np.sqrt((root @ np.linalg.inv(-bend) @ root.T).diagonal())
    return centre + root @ best, np.std(again, axis=0), data


def surface(arguments):
    """Maxima by iterated filtering from starts around the parameters that simulated the series."""
    import smcweights as smw

    runs, points, found = (2, 300, {}) if arguments.quick else (10, 800, {})
    for make, n in ((ricker, 300), (epidemic, 100)):
        model, y, free = make()
        places = [model.theta_names.index(name) for name in free]
        fits, rng = [], np.random.default_rng(2)
        for seed in range(runs):
            starts = np.tile(model.theta, (4, 1))
            starts[:, places] *= np.exp(0.2 * rng.standard_normal((4, len(places))))
            fits.append(smw.maximum_likelihood(
                model, y, starts, n, method="iterated_filtering", free=free, seed=seed
            ))  # fmt: skip
        values = np.log([fit.maximiser.value for fit in fits])
        ends = np.log([fit.interval(error="monte carlo") for fit in fits])
        told = [np.exp(-values[i]) * fit.diagnostics["statistical_error"]
                for i, fit in enumerate(fits)]  # fmt: skip
        centre, first = np.median(values, axis=0), fits[0].theta
        of_data = first.covariance - fits[0].maximiser.covariance
        root = 0.7 * np.linalg.cholesky(of_data / np.outer(first.value, first.value))
        top, error, data = top_of_quartic(model, y, 3 * n, free, centre, root, points)
        inside = (ends[:, 0] <= top) & (top <= ends[:, 1])
        half = (ends[:, 1] - ends[:, 0]) / 2 / data
        table = {
            "runs": runs, "particles": n, "parameters": free,
            "bias": ((values.mean(axis=0) - top) / data).tolist(),
            "rms": (np.sqrt(((values - top) ** 2).mean(axis=0)) / data).tolist(),
            "half width": half.mean(axis=0).tolist(), "coverage": inside.mean(axis=0).tolist(),
            "stated to real error of the data": (np.median(told, axis=0) / data).tolist(),
            "error of the maximum": (error / data).tolist(),
            "warned": float(np.mean([bool(fit.theta.cautions) for fit in fits])),
            "codes": sorted({c.code for fit in fits for c in fit.theta.cautions}),
        }  # fmt: skip
        found[make.__name__] = table
        print(make.__name__, json.dumps(table), flush=True)
    return found


def tables():
    """What was kept of surfaces and of draws, as it stands in the documentation."""
    heads = [
        "maximum by iterated filtering",
        "runs",
        "bias",
        "rms error",
        "half width",
        "held",
        "warned",
    ]
    print("| " + " | ".join(heads) + " |\n|---|" + "---:|" * (len(heads) - 1))
    for name, row in json.loads((RESULTS / "learning-surface.json").read_text()).items():
        for k, parameter in enumerate(row["parameters"] if isinstance(row, dict) else ()):
            numbers = [f"{row[what][k]:.2f}" for what in ("bias", "rms", "half width")]
            shares = [f"{100 * share:.0f} %" for share in (row["coverage"][k], row["warned"])]
            cells = [f"{name}: {parameter}", str(row["runs"]), *numbers, *shares]
            print("| " + " | ".join(cells) + " |")
    kept = json.loads((RESULTS / "learning-posterior.json").read_text())
    heads = ["posterior means", "runs", "held", "by ArviZ's error", "width over ArviZ's", "warned"]
    print("\n| " + " | ".join(heads) + " |\n|---|" + "---:|" * (len(heads) - 1))
    for sampler, words in (("pmmh", "marginal Metropolis-Hastings"), ("gibbs", "particle Gibbs")):
        row = kept.get(sampler)
        if row is None:
            continue
        for k, of in enumerate(kept["of"]):
            shares = [f"{100 * row[what][k]:.0f} %" for what in ("covered", "covered by ArviZ")]
            width, warned = f"{row['width over ArviZ'][k]:.2f}", f"{100 * row['warned']:.0f} %"
            print("| " + " | ".join([f"{words}: {of}", str(kept["runs"]), *shares, width, warned])
                  + " |")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = {
        "bias": bias,
        "coverage": coverage,
        "intervals": intervals,
        "posterior": posterior,
        "series": series,
        "speed": speed,
        "surface": surface,
    }
    parser.add_argument("what", choices=[*tasks, "all", "peer", "tables"])
    parser.add_argument("--particles", help="interpreter that has particles 0.4")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "peer":
        speed_of_particles(arguments.quick)
        return
    if arguments.what == "tables":
        tables()
        return
    warnings.simplefilter("ignore")
    for name, task in tasks.items():
        if arguments.what in (name, "all"):
            found = {"python": platform.python_version(), "cores": os.cpu_count(),
                     "load": os.getloadavg()[0], **task(arguments)}  # fmt: skip
            path = RESULTS / f"learning-{name}.json"
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
