"""Log evidences beside nested sampling, at about equal calls of the likelihood.

    python benchmarks/nested.py [--seeds 20] [--only TEXT] [--nested PYTHON [--peer-seeds 5]]
    python benchmarks/nested.py --readme

The targets of ``evidence.py`` at its budgets. dynesty, UltraNest, nautilus and pocoMC run in an
interpreter of their own, which ``--nested`` names; without it what was kept of them stays. None of
them takes a number of calls as it is: trial runs with another seed choose the live points (pocoMC's
effective particles) for which a run ends near ours, but at least 25 and 4 (d + 1), with fewer of
which they get stuck (UltraNest in one pass, nautilus with half of the calls for its exploration,
and stopped at all of them, one network; pocoMC with a quarter for its evidence). All else is their
default.

Errors are root mean squares over seeds, the stated ones as well: nautilus states none, its 1 /
sqrt(effective sample size) stands there. Own time is the processor's outside the likelihood and
the prior's quantiles, which dynesty calls row by row, the others by blocks. Kept in
``benchmarks/results/nested.json``.
"""

import argparse
import json
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np
from evidence import TARGETS
from scipy import special

RESULTS = Path(__file__).parent / "results" / "nested.json"
OURS = "smcweights"
TRIAL = 30  # live points of the first trial run
SECONDS = 1_200  # for a method on a target
MOST_CALLS = 100_000  # of a run that goes on and on


class Counted:
    """A likelihood with its calls, the prior's way from the unit cube, and the time of both."""

    def __init__(self, target):
        self.target, self.calls, self.seconds = target, 0, 0.0
        self.normal = {law.dist.name for law in target.prior} == {"norm"}
        self.place = np.array([law.mean() for law in target.prior])
        self.scale = np.array([law.std() for law in target.prior])

    def __call__(self, x):
        """Log likelihoods (n,)."""
        began = time.process_time()
        found = self.target.log_likelihood(x)
        self.seconds += time.process_time() - began
        self.calls += len(x)
        return found

    def one(self, x):
        """Of one row."""
        return float(self(np.asarray(x)[None])[0])

    def from_cube(self, u):
        """(d,) or (n, d) shares to parameters."""
        began, u = time.process_time(), np.asarray(u)
        if self.normal:
            x = self.place + self.scale * special.ndtri(u)
        else:
            x = np.stack([law.ppf(u[..., i]) for i, law in enumerate(self.target.prior)], axis=-1)
        self.seconds += time.process_time() - began
        return x


def ours(likelihood, seed, live):
    import smcweights as smw

    target = likelihood.target
    found = smw.posterior(likelihood, target.prior, target.budget, quantiles=(), seed=seed)
    est = found.log_evidence
    return float(est), float(est.standard_error), bool(found.cautions)


def dynesty(likelihood, seed, live):
    import dynesty

    d = len(likelihood.target.prior)
    sampler = dynesty.NestedSampler(
        likelihood.one, likelihood.from_cube, d, nlive=live, rstate=np.random.default_rng(seed)
    )
    sampler.run_nested(print_progress=False, maxcall=MOST_CALLS)
    return float(sampler.results.logz[-1]), float(sampler.results.logzerr[-1]), False


def ultranest(likelihood, seed, live):
    import logging

    import ultranest

    logging.getLogger("ultranest").setLevel(logging.ERROR)
    np.random.seed(seed)  # noqa: NPY002
    names = [f"x{i}" for i in range(len(likelihood.target.prior))]
    sampler = ultranest.ReactiveNestedSampler(
        names, likelihood, likelihood.from_cube, vectorized=True
    )
    found = sampler.run(
        min_num_live_points=live, min_ess=0, max_num_improvement_loops=0, max_ncalls=MOST_CALLS,
        show_status=False, viz_callback=False,
    )  # fmt: skip
    return float(found["logz"]), float(found["logzerr"]), False


def nautilus(likelihood, seed, live, most=None):
    import nautilus

    d = len(likelihood.target.prior)
    sampler = nautilus.Sampler(
        likelihood.from_cube, likelihood, n_dim=d, n_live=live, n_networks=1, vectorized=True,
        pass_dict=False, seed=seed,
    )  # fmt: skip
    sampler.run(n_like_max=most or likelihood.target.budget, n_eff=1e9 if most is None else 0)
    return float(sampler.log_z), 1 / np.sqrt(float(sampler.n_eff)), False


def pocomc(likelihood, seed, live):
    import pocomc

    # a quarter of the calls for the evidence, by draws from the flow
    sampler = pocomc.Sampler(
        pocomc.Prior(likelihood.target.prior), likelihood, vectorize=True, random_state=seed,
        n_effective=live, n_active=live // 2,
    )  # fmt: skip
    sampler.run(n_total=0, n_evidence=likelihood.target.budget // 4, progress=False)
    log_z, stated = sampler.evidence()
    return float(log_z), float(stated), False


PEERS = {"dynesty": dynesty, "ultranest": ultranest, "nautilus": nautilus, "pocomc": pocomc}


def live_points(target, run):
    """As many as make a run end near the target's budget, half of it where it goes on after."""
    least = max(25, 4 * (len(target.prior) + 1))
    live = max(TRIAL, least)
    more = {"most": MOST_CALLS} if run is nautilus else {}
    aim = target.budget / (2 if more else 1)
    for trial in range(2):
        counted = Counted(target)
        run(counted, 1_000 + trial, live, **more)
        live = max(round(live * aim / counted.calls), least)
        if live == least:
            break
    return live


def runs_of(name, method, seeds):
    """Errors, stated errors, calls and own microseconds a call of some runs on a target."""
    target, run = TARGETS[name](), ours if method == OURS else PEERS[method]
    live = 0 if run is ours else live_points(target, run)
    found = {"live": live, "error": [], "stated": [], "calls": [], "microseconds": [], "warned": []}
    for seed in range(seeds):
        counted, began = Counted(target), time.process_time()
        value, stated, warned = run(counted, seed, live)
        own = time.process_time() - began - counted.seconds
        row = value - target.log_evidence, stated, counted.calls, 1e6 * own / counted.calls, warned
        for key, one in zip(list(found)[1:], row, strict=True):
            found[key].append(one)
    return found


def rms(values):
    return float(np.sqrt(np.nanmean(np.square(values))))


def readme(kept):
    """The table of all targets: error, the stated one and calls of each method."""
    methods = [OURS, *PEERS]
    kept = {name: of for name, of in kept.items() if len(of) > 1}
    lines = ["| target | " + " | ".join(methods) + " |", "|---|" + "---:|" * len(methods)]
    for name, of in kept.items():
        cells = [
            f"{rms(row['error']):.2g} ({rms(row['stated']):.2g}) at {np.mean(row['calls']):,.0f}"
            if (row := of.get(method))
            else ""
            for method in methods
        ]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    own = [
        f"{method} {np.median([np.mean(of[method]['microseconds']) for of in there]):.0f}"
        for method in methods
        if (there := [of for of in kept.values() if method in of])
    ]
    return "\n".join(lines) + "\n\nMedian own time in microseconds a call: " + ", ".join(own) + "."


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--peer-seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="targets whose name contains this")
    parser.add_argument("--nested", help="interpreter that has the peers")
    parser.add_argument("--peer", choices=PEERS, help="this one of them alone")
    parser.add_argument("--readme", action="store_true", help="print what was kept")
    parser.add_argument("--method", help="one method on one target, as JSON: what --nested runs")
    options = parser.parse_args()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.readme:
        print(readme(kept))
        return
    warnings.simplefilter("ignore")
    if options.method:
        print("found", json.dumps(runs_of(options.only, options.method, options.seeds)))
        return
    for name in (one for one in TARGETS if options.only in one):
        row = kept.setdefault(name, {})
        row[OURS] = runs_of(name, OURS, options.seeds)
        for method in ([options.peer] if options.peer else PEERS) if options.nested else []:
            words = ["--method", method, "--only", name, "--seeds", str(options.peer_seeds)]
            command = [options.nested, __file__, *words]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=True, timeout=SECONDS
                )
            except subprocess.SubprocessError as error:
                print(f"{name}: {method} failed: {error}\n{error.stderr}", flush=True)
                continue
            row[method] = json.loads(done.stdout.rsplit("found", 1)[1])
        for method, of in row.items():
            calls, own = np.mean(of["calls"]), np.mean(of["microseconds"])
            print(
                f"{name}, {method}: {calls:,.0f} calls, error {rms(of['error']):.2g}, stated "
                f"{rms(of['stated']):.2g}, {own:.0f} us",
                flush=True,
            )
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
