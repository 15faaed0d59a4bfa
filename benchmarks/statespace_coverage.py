"""Do filters, forecasts, checks and samplers keep what their intervals say?

    python benchmarks/statespace_coverage.py WHAT [--repeats N]

WHAT is one of those below, all, or tables: what was kept, in Markdown. Truths are Kalman's;
posterior means stand in ``benchmarks/learning.py posterior``.

likelihood
    Nominal 95 % intervals of the log likelihood from ONE filter of T = 100, 1,000 and 10,000.
lag
    The same where genealogies die early, apart by whether the run says so (`short-lag`).
forecast
    Of means and quantiles, 8 filters of 200 or 1,000 particles, horizons 1 and 12.
level
    Share of series from the model itself that tests of `predictive_check` reject at 5 %, and of
    series with another parameter.
panel
    Of the log likelihood of 20 short series that share parameters.
adaptive
    Variance and processor time of PaRIS by `backward_ess`, over those with draws at every time.
proposals
    Variance of log Z and processor time of ``proposal="linearised"``, and of a proposal written by
    hand for the model, beside the bootstrap filter.
pilot
    The first of these on five models that had no part in choosing its rules.

Figures are kept in ``benchmarks/results/statespace_coverage-*.json``. One thread. The binomial
standard error of 95 % is 1.0 points in 500 runs; ``warned`` is the share with a PrecisionWarning.
"""

import argparse
import itertools
import json
import math
import os
import time
import warnings
from functools import partial
from pathlib import Path

# read when NumPy is imported
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numba
import numpy as np
from scipy.special import ndtri

import smcweights as smw

RESULTS = Path(__file__).parent / "results"
LINEAR = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
VOLATILE = smw.models.stochastic_volatility(0.975, 0.165, 0.64)
LEVELS = np.array([0.05, 0.5, 0.95])


def exact_log_likelihood(model, y):
    """By Kalman, or of stochastic volatility by quadrature over a grid of states."""
    if model.exact is not None:
        return smw.kalman_filter(model, y).log_likelihood
    persistence, volatility, scale = model.theta
    spread = volatility / math.sqrt(1 - persistence**2)
    x = np.linspace(-8 * spread, 8 * spread, 801)
    step = np.exp(-0.5 * ((x[:, None] - persistence * x) / volatility) ** 2)
    step /= volatility * math.sqrt(2 * math.pi) / (x[1] - x[0])
    law, total = np.exp(-0.5 * (x / spread) ** 2), 0.0
    law /= law.sum()
    for t, seen in enumerate(y):
        law = (step @ law if t else law) * np.exp(-0.5 * (x + (seen / scale) ** 2 * np.exp(-x)))
        total += math.log(law.sum() / scale / math.sqrt(2 * math.pi))
        law /= law.sum()
    return total


def covered(run, truth, repeats):
    """Share of intervals that hold the truth, and of runs that warned; by component."""
    inside, warned, spread = 0, 0, 0
    for seed in range(repeats):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            est = run(seed)
        lower, upper = est.interval()
        inside += (lower <= truth) & (truth <= upper)
        warned += any(issubclass(one.category, smw.PrecisionWarning) for one in caught)
        spread += est.standard_error
    shown = np.round(np.atleast_1d(inside / repeats), 3).tolist()
    error = np.round(np.atleast_1d(spread / repeats), 4).tolist()
    return {"coverage": shown, "standard_error": error, "warned": round(warned / repeats, 3)}


def likelihood(repeats):
    rows = []
    for n_steps, n in itertools.product((100, 1_000, 10_000), (100, 1_000)):
        y = LINEAR.simulate(n_steps, seed=11)[1]
        truth = smw.kalman_filter(LINEAR, y).log_likelihood

        def run(seed, y=y, n=n):
            return smw.log_likelihood(LINEAR, y, n, seed=seed)

        rows.append({"T": n_steps, "N": n, **covered(run, truth, repeats)})
    return rows


def lag(repeats):
    rows = []
    slow = smw.models.linear_gaussian(0.99, 0.09, 1.0, 1.0)
    for name, model in (("slow level", slow), ("stochastic volatility", VOLATILE)):
        y = model.simulate(1_000, seed=11)[1]
        truth = exact_log_likelihood(model, y)
        for scheme, n in itertools.product(("systematic", "multinomial"), (50, 100, 200)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", smw.PrecisionWarning)
                found = [
                    smw.log_likelihood(model, y, n, resampling=scheme, seed=seed)
                    for seed in range(repeats)
                ]
            lower, upper = np.transpose([est.interval() for est in found])
            inside = (lower <= truth) & (truth <= upper)
            ratios = np.array([est.diagnostics["v_ratio"] for est in found])
            told = np.array([bool(est.cautions) for est in found])
            row = {"model": name, "resampling": scheme, "N": n, "coverage": inside.mean()}
            row |= {"v_ratio": np.median(ratios), "warned": told.mean()}
            for where, some in (
                ("share below .75", ratios < 0.75),
                ("share above", ratios >= 0.75),
                ("share unwarned", ~told),
            ):
                row[where] = some.mean()
                row[where.replace("share", "coverage")] = inside[some].mean() if some.any() else 1.0
            rows.append(
                {k: v if isinstance(v, str) else round(float(v), 3) for k, v in row.items()}
            )
    return rows


def forecast(repeats):
    y, rows = LINEAR.simulate(25, seed=3)[1], []
    exact = smw.kalman_forecast(LINEAR, y, 12)
    mean, sd = exact.observation_means.ravel(), np.sqrt(exact.observation_covariances.ravel())
    truth = np.concatenate([mean, (mean + sd * ndtri(LEVELS)[:, None]).ravel()])
    places = [0, 11, 12, 23, 24, 35, 36, 47]
    for n in (200, 1_000):

        def run(seed, n=n):
            found = smw.forecast(LINEAR, y, 12, n, levels=LEVELS, seed=seed)
            parts = (found.observation_means, found.observation_quantiles)
            value, error = (
                np.concatenate([getattr(part, name) for part in parts])[places]
                for name in ("value", "standard_error")
            )
            return smw.Estimate(value, np.diag(error**2), degrees_of_freedom=7)

        labels = [f"{law} of y[{h}]" for law in ("mean", "5 %", "50 %", "95 %") for h in (1, 12)]
        rows.append({"N": n, "of": labels, **covered(run, truth[places], repeats)})
    return rows


def level(repeats):
    rows = []
    for n in (200, 500):
        for changed in ({}, {0: 0.7}, {3: 1.96}, {1: 0.49}):
            theta = np.array(LINEAR.theta)
            theta[list(changed)] = list(changed.values())
            rejected, runs = np.zeros(3), repeats if not changed else min(repeats, 100)
            for seed in range(runs):
                y = LINEAR.with_theta(theta).simulate(200, seed=1_000 + seed)[1]
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", smw.PrecisionWarning)
                    found = smw.predictive_check(LINEAR, y, n, seed=seed).p_values
                rejected += np.array(list(found.values())) < 0.05
            shares = dict(zip(found, np.round(rejected / runs, 3).tolist(), strict=True))
            name = {LINEAR.theta_names[k]: v for k, v in changed.items()}
            rows.append(
                {"N": n, "T": 200, "data from": name or "the model", "runs": runs, **shares}
            )
    return rows


def panel(repeats):
    series = [LINEAR.simulate(10 + s, seed=s)[1] for s in range(20)]
    truth = sum(smw.kalman_filter(LINEAR, y).log_likelihood for y in series)

    def run(n, seed):
        return smw.log_likelihood(LINEAR, series, n, seed=seed)

    return [
        {"series": 20, "N": n, **covered(partial(run, n), truth, repeats)} for n in (100, 1_000)
    ]


def timed(run, repeats):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        run(0)
        began = time.process_time()
        values = [run(seed) for seed in range(repeats)]
    return np.var(values, ddof=1), (time.process_time() - began) / repeats


def adaptive(repeats):
    rows = []
    for name, model, n_steps, n in (
        ("linear Gaussian", LINEAR, 200, 200),
        ("stochastic volatility", VOLATILE, 200, 500),
    ):
        y, found = model.simulate(n_steps, seed=1)[1], {}
        for share in (1.0, 0.3, 0.1):

            def run(seed, model=model, y=y, n=n, share=share):
                total = smw.functionals.sum_of_states
                told = {"repeats": 1, "seed": seed, "backward_ess": share}
                return float(smw.paris(model, y, total, n, **told).value)

            found[share] = timed(run, repeats)
        for share, (variance, seconds) in found.items():
            ratios = variance / found[1.0][0], seconds / found[1.0][1]
            shown = dict(zip(("variance", "seconds"), np.round(ratios, 3).tolist(), strict=True))
            rows.append({"model": name, "T": n_steps, "N": n, "backward_ess": share, **shown})
    return rows


def outlier():
    y = LINEAR.simulate(30, seed=1)[1]
    y[12] += 9
    return LINEAR, y


def counts():
    """Poisson counts of mean exp(5 + x)."""
    ar = smw.models.linear_gaussian(0.9, 0.1, 1.0, 1.0)
    model = smw.StateSpaceModel(
        ar.initial_sample, ar.initial_logpdf, ar.transition_sample, ar.transition_logpdf,
        lambda y, x, t, theta: y * (5.0 + x) - np.exp(5.0 + x) - math.lgamma(y + 1.0),
        observation_sample=lambda rng, x, t, theta: float(rng.poisson(np.exp(5.0 + x))),
        theta=ar.theta, transition_mean=ar.transition_mean,
        transition_covariance=ar.transition_covariance,
    )  # fmt: skip
    return model, model.simulate(100, seed=1)[1]


def simulated(model, n_steps):
    return model, model.simulate(n_steps, seed=1)[1]


@numba.njit
def log_normal(error, variance):
    return -0.5 * (error**2 / variance + math.log(2 * math.pi * variance))


def around(law):
    """A proposal N(mean, variance) by `law` (x_prev, y, theta), of a float."""

    def sample(rng, x_prev, y, t, theta):
        mean, variance = law(x_prev, y, theta)
        return mean + math.sqrt(variance) * rng.standard_normal()

    def logpdf(x_prev, x, y, t, theta):
        mean, variance = law(x_prev, y, theta)
        return log_normal(x - mean, variance)

    return {"sample": sample, "logpdf": logpdf}


@numba.njit
def by_log_count(x_prev, y, theta):
    """As if log y were normal around 5 + x with variance 1 / y."""
    seen = max(y, 0.5)
    precision = 1 / 0.1 + seen
    return (0.9 * x_prev / 0.1 + seen * (math.log(seen) - 5.0)) / precision, 1 / precision


@numba.njit
def by_sum(x_prev, y, theta):
    """The law given the observation, of unit variances."""
    return (0.9 * x_prev + y) / 2, 0.5


@numba.njit
def by_slope(x_prev, y, theta):
    """With the density of the observation linear around the mean (Pitt and Shephard)."""
    mean, variance = theta[0] * x_prev, theta[1] ** 2
    return mean + variance / 2 * ((y / theta[2]) ** 2 * math.exp(-mean) - 1), variance


def by_ring(model):
    """The law given the observation of a ring's components, with its look ahead."""
    ahead = numba.njit(model.transition_mean)

    def sample(rng, x_prev, y, t, theta):
        q, r = theta[2] ** 2, theta[3] ** 2
        x = ahead(x_prev, t, theta)
        for j in range(x.size):
            mean = (x[j] * r + y[j] * q) / (q + r)
            x[j] = mean + math.sqrt(q * r / (q + r)) * rng.standard_normal()
        return x

    def logpdf(x_prev, x, y, t, theta):
        q, r = theta[2] ** 2, theta[3] ** 2
        total, mean = 0.0, ahead(x_prev, t, theta)
        for j in range(x.size):
            total += log_normal(x[j] - (mean[j] * r + y[j] * q) / (q + r), q * r / (q + r))
        return total

    def look(x_prev, y, t, theta):
        total, mean = 0.0, ahead(x_prev, t, theta)
        for j in range(mean.size):
            total += log_normal(y[j] - mean[j], theta[2] ** 2 + theta[3] ** 2)
        return total

    return smw.Proposal(sample, logpdf, log_lookahead=look)


def written(name, model):
    """A proposal as somebody who knows the model would write it; None where there is no simple one.

    Of bearings: what is seen of a place that moves without noise of its own is a curve.
    """
    if name.startswith("counts"):
        return smw.Proposal(**around(by_log_count))
    if name.startswith("one"):
        look = lambda x_prev, y, t, theta: log_normal(y - 0.9 * x_prev, 2.0)  # noqa: E731
        return smw.Proposal(**around(by_sum), log_lookahead=look)
    if name.startswith("stochastic"):
        return smw.Proposal(**around(by_slope))
    return by_ring(model) if name.startswith("Lorenz") else None


def pilot(repeats):
    """Folded states, yes or no, heavy tails, precise sight of one state of two, a census."""
    autoregression = {
        "initial_sample": LINEAR.initial_sample, "initial_logpdf": LINEAR.initial_logpdf,
        "transition_sample": LINEAR.transition_sample,
        "transition_logpdf": LINEAR.transition_logpdf,
    }  # fmt: skip
    binary = smw.StateSpaceModel(
        **autoregression,
        observation_logpdf=lambda y, x, t, theta: y * x - math.log1p(math.exp(x)),
        observation_sample=lambda rng, x, t, theta: float(rng.random() < 1 / (1 + math.exp(-x))),
        theta=LINEAR.theta,
    )
    heavy = smw.StateSpaceModel(
        **autoregression,
        observation_logpdf=lambda y, x, t, theta: -2 * math.log1p((y - x) ** 2 / 3),
        observation_sample=lambda rng, x, t, theta: x + rng.standard_t(3.0), theta=LINEAR.theta,
    )  # fmt: skip
    precise = smw.models.linear_gaussian(
        [[0.9, 0.2], [0.0, 0.8]], np.eye(2), [[1.0, 0.0]], [[0.01]], [0.0, 0.0], 4 * np.eye(2)
    )
    population = np.log(smw.problems.nutria()[1])
    census = smw.models.theta_logistic(0.06, 0.017, 1.0, 0.09, 0.03, float(population[0]), 0.1)
    return gains(repeats, {
        "nonlinear growth": simulated(smw.models.nonlinear_growth(), 100),
        "yes or no": simulated(binary, 200), "Student's t(3)": simulated(heavy, 100),
        "two states, one seen to .1": simulated(precise, 100),
        "nutria": (census, population),
    })  # fmt: skip


def proposals(repeats):
    return gains(repeats, {
        "counts of mean e^5": counts(),
        "one observation 9 off": outlier(),
        "Lorenz 96, d = 5, sd .3": simulated(smw.models.lorenz96(5, observation_scale=0.3), 50),
        "stochastic volatility": simulated(VOLATILE, 100),
        "bearings, sd .002": simulated(smw.models.bearings_only(bearing_scale=0.002), 40),
    })  # fmt: skip


def gains(repeats, problems):
    """What proposals bring beside the bootstrap filter, for models and their series."""
    rows = []
    for name, (model, y) in problems.items():
        found, shares = {}, []
        ways = {"bootstrap": None, "linearised": "linearised", "by hand": written(name, model)}
        if ways["by hand"] is None:
            del ways["by hand"]
        for way, proposal in ways.items():

            def run(seed, model=model, y=y, proposal=proposal, shares=shares):
                est = smw.log_likelihood(model, y, 500, proposal=proposal, seed=seed)
                if proposal == "linearised":
                    shares.append(est.diagnostics["guided_share"])
                return est.diagnostics["log_z"]

            found[way] = timed(run, repeats)
        before, seconds = found.pop("bootstrap")
        row = {"variance": before}
        for way, (after, longer) in found.items():
            gain, cost = before / after, longer / seconds
            of = {"gain": gain, "seconds": cost, "net": gain / cost}
            row |= {k if way == "linearised" else f"{k} {way}": v for k, v in of.items()}
        rows.append({"model": name, **{k: float(f"{v:.3g}") for k, v in row.items()}})
        rows[-1]["guided"] = round(float(np.mean(shares)), 2)
    return rows


RUNS = {f.__name__: (f, n) for f, n in (
    (likelihood, 500), (lag, 500), (forecast, 500), (level, 2_000), (panel, 500),
    (adaptive, 150), (proposals, 80), (pilot, 80),
)}  # fmt: skip


def markdown(heads, rows):
    """A table, its first column to the left."""
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def tables():
    """What was kept, as it stands in the documentation."""
    kept = {
        name: json.loads((RESULTS / f"statespace_coverage-{name}.json").read_text())
        for name in ("likelihood", "lag", "panel", "forecast", "level", "proposals", "pilot")
    }
    named = {
        "likelihood": "log likelihood by one filter, T = {T:,}, N = {N:,}",
        "lag": "the same, T = 1,000, {model}, {resampling}, N = {N:.0f}",
        "panel": "log likelihood of {series} series, N = {N:,}",
        "forecast": "forecast, eight filters of N = {N:,}",
    }
    covers = []
    for name, words in named.items():
        for row in kept[name]["rows"]:
            parts = row.get("of", [""])
            for part, share in zip(parts, np.atleast_1d(row["coverage"]), strict=True):
                label = words.format(**row) + f": {part}" * bool(part)
                cells = (f"{kept[name]['repeats']:,}", f"{100 * share:.1f} %")
                covers.append((label, *cells, f"{100 * row['warned']:.0f} %"))
    levels = []
    for row in kept["level"]["rows"]:
        law = row["data from"]
        if isinstance(law, dict):
            law = ", ".join(f"{k} = {v:g}" for k, v in law.items())
        shares = [f"{100 * row[k]:.1f} %" for k in ("correlation", "spread", "law")]
        levels.append((law, f"{row['N']:,}", f"{row['runs']:,}", *shares))
    columns = ("variance", "gain", "seconds", "net", "guided")
    columns += ("gain by hand", "seconds by hand", "net by hand")
    gains = [
        (row["model"], *(f"{row[k]:.2g}" if k in row else "" for k in columns))
        for row in kept["proposals"]["rows"] + kept["pilot"]["rows"]
    ]
    print(markdown(("nominal 95 % intervals", "runs", "held", "warned"), covers))
    heads = ("data from", "particles", "series", "correlation", "spread", "law")
    print("\n" + markdown(heads, levels))
    heads = ("model", "variance of log Z", "its gain", "times the time", "net", "guided times")
    heads += ("by hand: gain", "times the time", "net")
    print("\n" + markdown(heads, gains))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=[*RUNS, "all", "tables"])
    parser.add_argument("--repeats", type=int)
    given = parser.parse_args()
    if given.what == "tables":
        tables()
        return
    for name in RUNS if given.what == "all" else [given.what]:
        function, repeats = RUNS[name]
        repeats = given.repeats or repeats
        rows = function(repeats)
        for row in rows:
            print(name, json.dumps(row), flush=True)
        table = {"repeats": repeats, "version": smw.__version__, "rows": rows}
        path = RESULTS / f"statespace_coverage-{name}.json"
        path.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
