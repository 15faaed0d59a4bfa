"""Weighted rejection beside genlm-control and full masking; its cost law; sequences; a real task.

    python benchmarks/rejection.py speed | cost | sequences | coverage | task | molecules
                                   | model | all [--genlm PYTHON] [--quick]

speed      microseconds per draw at V = 1,000 to 131,072 and acceptance 0.9 to 0.01, beside
           genlm-control (run by ``--genlm``, an interpreter that has it, in a process of its own),
           masking with a known table, and one pass of exp and sums over the logits
cost       evaluations against the divergence -log P(accept), beside what closed forms say
sequences  error of the log evidence against dynamic programming, by method
coverage   of the intervals of the log evidence over 1,000 seeds
task       place names under a regular expression: validity, calls of the constraint, seconds
molecules  SMILES of an n-gram model under partialsmiles, checked by RDKit; only with `rdkit`
model      a small, randomly initialised GPT-2 of `transformers` under an automaton, beside the
           sum over all sequences; only with `transformers`

Tables go to results/rejection-*.json.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
SIZES = (1_000, 32_768, 131_072)
RATES = (0.9, 0.5, 0.1, 0.01)

GENLM = """
import asyncio, json, sys, time
import numpy as np
from genlm.control import AWRS, Potential

class Language(Potential):
    def __init__(self, logits):
        super().__init__(list(range(len(logits))))
        self.logits = np.r_[logits, -60.0]
    async def prefix(self, context): return 0.0
    async def complete(self, context): return 0.0
    async def logw_next(self, context): return self.make_lazy_weights(self.logits)

class Condition(Potential):
    def __init__(self, accepted):
        super().__init__(list(range(len(accepted))))
        self.accepted = accepted
    async def prefix(self, context):
        return 0.0 if not context or self.accepted[context[-1]] else float("-inf")
    async def complete(self, context): return 0.0

async def measure(v, rate, repeats):
    rng = np.random.default_rng(1)
    logits, accepted = 2 * rng.normal(size=v), rng.random(v) < rate
    sampler = AWRS(Language(logits), Condition(accepted), prune_logws=False)
    await sampler.sample([])
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        await sampler.sample([])
        found.append(1e6 * (time.perf_counter() - began))
    return [float(np.median(found)), min(found), max(found)]

cases = json.loads(sys.argv[1])
print(json.dumps([asyncio.run(measure(*case)) for case in cases]))
"""


def keep(name, table):
    (RESULTS / f"rejection-{name}.json").write_text(json.dumps(table, indent=1) + "\n")


def microseconds(call, repeats):
    call()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        found.append(1e6 * (time.perf_counter() - began))
    return [statistics.median(found), min(found), max(found)]


def lookup(accepted):
    """A compiled constraint: the table is a constant of the code."""
    import numba

    @numba.njit
    def constraint(i):
        return accepted[i]

    return constraint


def speed(given):
    import smcweights as smw

    cases = [(v, r, 20 if given.quick else 100) for v in SIZES for r in RATES]
    theirs = [None] * len(cases)
    if given.genlm:
        done = subprocess.run(
            [given.genlm, "-W", "ignore", "-c", GENLM, json.dumps(cases)],
            capture_output=True,
            text=True,
            check=True,
        )
        theirs = json.loads(done.stdout.splitlines()[-1])
    table = {}
    print("microseconds per draw, medians (least to most)")
    for (v, rate, repeats), genlm in zip(cases, theirs, strict=True):
        rng = np.random.default_rng(1)
        logits, accepted = 2 * rng.normal(size=v), rng.random(v) < rate

        compiled = lookup(accepted)
        listed = accepted.tolist()
        stream = np.random.default_rng(2)

        room, starts = np.empty(v), np.arange(0, v, 256)

        def floor(logits=logits, w=room, starts=starts):
            np.subtract(logits, logits.max(), out=w)
            return np.add.reduceat(np.exp(w, out=w), starts)

        def masking(logits=logits, accepted=accepted, stream=stream):
            masked = np.where(accepted, logits, -np.inf)
            w = np.exp(masked - logits.max())
            total = np.cumsum(w)
            index = int(np.searchsorted(total, stream.random() * total[-1]))
            return index, np.log(total[-1])

        calls = {
            "compiled": lambda c=compiled, x=logits, s=stream: smw.weighted_rejection(x, c, seed=s),
            "callable": lambda c=listed.__getitem__, x=logits, s=stream: smw.weighted_rejection(
                x, c, seed=s
            ),
            "masking": masking,
            "floor": floor,
        }
        row = {name: microseconds(call, repeats) for name, call in calls.items()}
        if genlm:
            row["genlm-control"] = genlm
        table[f"V = {v}, acceptance {rate}"] = row
        cells = "  ".join(f"{k} {a:.0f} ({b:.0f}-{c:.0f})" for k, (a, b, c) in row.items())
        ratio = ""
        if genlm:
            ratio = "  genlm/ours " + ", ".join(
                f"{k} {genlm[0] / row[k][0]:.1f}" for k in ("compiled", "callable")
            )
        print(
            f"V = {v:6d}, {rate:4}: {cells}{ratio}  ours/floor "
            f"{row['compiled'][0] / row['floor'][0]:.2f}"
        )
    keep("speed", table)


def cost(given):
    """Evaluations per draw against -log P(accept), beside the expectations in closed form."""
    import smcweights as smw

    seeds = 500 if given.quick else 4_000
    v = 5_000
    shapes = {
        "flat": np.zeros(v),
        "Zipf": -np.log(np.arange(1.0, v + 1)),
        "normal, sd 3.5": 3.5 * np.random.default_rng(2).normal(size=v),
    }
    table = {}
    print("evaluations per draw; in brackets the expectation, and the z of the difference")
    for shape, logits in shapes.items():
        p = np.exp(logits - np.logaddexp.reduce(logits))
        for rate in (0.5, 0.1, 0.03, 0.01):
            accepted = np.random.default_rng(1).random(v) < rate
            z = p[accepted].sum()
            r, a = p[~accepted], p[accepted]
            laws = {
                # rejects before the first accept, which both methods count, and one more item
                "one-probe": (r / (r + z)).sum() + 2,
                "harmonic": (1 - (z / (z + r)) ** 3).sum() + (1 - (1 - a / z) ** 3).sum(),
            }
            row = {"divergence": -np.log(z)}
            cells = []
            for method in ("rao-blackwell", *laws):
                stream = np.random.default_rng(3)
                draws = [
                    smw.weighted_rejection(logits, accepted.__getitem__, method=method, seed=stream)
                    for _ in range(seeds)
                ]
                n = np.array([d.n_evaluations for d in draws])
                w = np.exp([d.log_weight for d in draws])
                row[method] = {"evaluations": n.mean(), "inefficiency": w.var() / z**2 * n.mean()}
                cell = f"{method} {n.mean():.1f}"
                if method in laws:
                    off = (n.mean() - laws[method]) / (n.std() / np.sqrt(seeds))
                    row[method] |= {"expected": laws[method], "z": off}
                    cell += f" ({laws[method]:.1f}, {off:+.1f})"
                cells.append(cell)
            table[f"{shape}, {rate}"] = row
            print(
                f"  {shape:14s} -log P {row['divergence']:.2f}, 1/P {1 / z:6.1f}: "
                + "; ".join(cells)
            )
    keep("cost", table)


def example():
    """A Markov chain over five items and an automaton of three states."""
    import smcweights as smw

    rng = np.random.default_rng(3)
    chain = smw.languages.markov_chain(
        rng.dirichlet(np.ones(5)), rng.dirichlet(np.full(5, 0.7), size=5)
    )
    return chain, smw.constraints.automaton(
        [[1, 0, 0, 0, 0], [2, 1, -1, -1, 1], [0, 2, 2, 2, -1]], accepting=[0, 2]
    )


def sequences(given):
    """Error of the log evidence at about equal numbers of constraint evaluations."""
    import smcweights as smw
    from smcweights.rejection.exact import constrained_markov_chain

    seeds = 40 if given.quick else 200
    chain, machine = example()
    table = {}
    asked = smw.constraints.both(machine)
    for length in (6, 20, 100):
        exact = constrained_markov_chain(chain, machine, length)
        at = min(length - 1, 3)
        print(f"length {length}, log evidence {exact.log_evidence:.3f}")
        for name, keywords in {
            "rao-blackwell": {"method": "rao-blackwell"},
            "one-probe": {"method": "one-probe"},
            "two-loop": {"method": "two-loop"},
            "exact mask": {"method": "exact"},
            "local decoding": {"weights": False},
        }.items():
            if length == 100 and name not in ("rao-blackwell", "local decoding"):
                continue
            errors, spent, covered, marginals = [], [], [], []
            for seed in range(seeds if length < 100 else seeds // 5):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", smw.PrecisionWarning)
                    out = smw.constrained_sequences(
                        chain, asked, 50, length, seed=seed, islands=8, progress=False, **keywords
                    )
                    found = out.expectation(lambda s, at=at: [float(s[at] == x) for x in range(5)])
                marginals.append(np.abs(found.value - exact.marginals[at]).sum())
                if out.log_evidence is None:
                    continue
                errors.append(float(out.log_evidence.value) - exact.log_evidence)
                spent.append(out.log_evidence.cost["evaluations"])
                low, high = out.log_evidence.interval()
                covered.append(low <= exact.log_evidence <= high)
            if not errors:
                table[f"{length}, {name}"] = {"marginals": float(np.mean(marginals))}
                print(f"  {name:14s} error of the marginals {np.mean(marginals):.3f}, no evidence")
                continue
            rms, calls = float(np.sqrt(np.mean(np.square(errors)))), float(np.mean(spent))
            table[f"{length}, {name}"] = {
                "rms": rms, "evaluations": calls, "coverage": float(np.mean(covered)),
                "marginals": float(np.mean(marginals)),
            }  # fmt: skip
            print(
                f"  {name:14s} rms {rms:.4f}, {calls:8.0f} evaluations, covers "
                f"{np.mean(covered):.3f}, "
                f"variance x evaluations {rms**2 * calls:.2f}, "
                f"error of the marginals {np.mean(marginals):.3f}"
            )
    keep("sequences", table)


def coverage(given):
    """95 % intervals of the log evidence over 1,000 seeds, against dynamic programming."""
    import smcweights as smw
    from smcweights.rejection.exact import constrained_markov_chain

    seeds = 100 if given.quick else 1000
    chain, machine = example()
    table = {}
    for length, particles, method in (
        (6, 12, "rao-blackwell"), (20, 12, "rao-blackwell"), (20, 12, "exact"),
        (100, 60, "exact"),
    ):  # fmt: skip
        exact = constrained_markov_chain(chain, machine, length).log_evidence
        constraint = machine if method == "exact" else smw.constraints.both(machine)
        inside = warned = 0
        for seed in range(seeds):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                out = smw.constrained_sequences(
                    chain, constraint, particles, length, islands=8, method=method, seed=seed,
                    ahead=False, progress=False,
                )  # fmt: skip
            low, high = out.log_evidence.interval()
            inside += low <= exact <= high
            warned += bool(said)
        table[f"{length}, {method}"] = {
            "particles": particles, "seeds": seeds, "coverage": inside / seeds,
            "warned": warned / seeds,
        }  # fmt: skip
        print(f"length {length:3d}, {particles} particles, {method:13s}: covers "
              f"{inside / seeds:.3f} of {seeds}, {warned / seeds:.3f} warned")  # fmt: skip
    keep("coverage", table)


def judged(method, out, began, model, check):
    """A row: sequences alive, those for which an independent check returns something, calls."""
    seconds = time.perf_counter() - began
    alive = [s for s, w in zip(out.sequences, out.log_weights, strict=True) if w > -np.inf]
    valid = sum(check("".join(model.decode(s))) is not None for s in alive)
    evidence = out.log_evidence
    calls = int(evidence.cost["evaluations"])
    print(
        f"{method:14s} {valid} of {len(alive)} valid, {calls} calls of the constraint, "
        f"{seconds:.2f} s, log evidence {evidence.value:.3f} +- {evidence.standard_error:.3f}"
    )
    return {
        "valid": valid, "alive": len(alive), "calls": calls, "seconds": seconds,
        "log evidence": float(evidence.value), "error": float(evidence.standard_error),
    }  # fmt: skip


def task(given):
    """Place names under a regular expression, each checked by `re`."""
    import smcweights as smw
    from smcweights.problems import place_names

    names = place_names()
    model = smw.languages.ngram(names, order=4)
    expression = "[a-z]{3,8} s[a-z]{2,6}a"
    table = {}
    for method in ("rao-blackwell", "exact"):
        pattern = smw.constraints.regex(expression, model.items[:-1])
        began = time.perf_counter()
        found = smw.constrained_sequences(
            model, pattern, 40, 20, end=model.end, islands=12, seed=4, method=method, progress=False
        )
        table[method] = judged(method, found, began, model, re.compile(expression).fullmatch)
    keep("task", table)


def molecules(given):
    """Molecules of an n-gram model trained on those that RDKit ships, each checked by RDKit."""
    import importlib.util

    if importlib.util.find_spec("rdkit") is None:
        print("rdkit is not installed")
        return
    import rdkit
    from rdkit import Chem, RDLogger

    import smcweights as smw

    RDLogger.DisableLog("rdApp.*")
    folder = Path(rdkit.__file__).parent / "Contrib" / "FreeWilson" / "data"
    token = re.compile(r"\[[^\]]+\]|Br|Cl|%[0-9]{2}|.")
    texts = [
        line.split()[0] for line in (folder / "CHEMBL2321810.smi").read_text().splitlines()[1:]
    ]
    known = [token.findall(t) for t in texts if Chem.MolFromSmiles(t) is not None]
    model = smw.languages.ngram(known, order=5)
    table = {}
    for method in ("none", "rao-blackwell", "exact"):
        if method == "none":
            asked, how = smw.constraints.predicate(lambda prefix, item: True), "auto"
        else:
            asked, how = smw.constraints.smiles(model.items[:-1]), method
        began = time.perf_counter()
        out = smw.constrained_sequences(
            model, asked, 25, 80, end=model.end, islands=8, seed=4, method=how, progress=False
        )
        table[method] = judged(method, out, began, model, Chem.MolFromSmiles)
    keep("molecules", table)


def model(given):
    """The adapter of causal models, on a model that transformers makes."""
    import importlib.util

    if importlib.util.find_spec("transformers") is None:
        print("transformers is not installed")
        return
    import torch
    import transformers

    import smcweights as smw

    torch.manual_seed(1)
    small = transformers.GPT2Config(
        vocab_size=7, n_positions=16, n_embd=24, n_layer=2, n_head=2, initializer_range=0.4
    )
    gpt = transformers.GPT2LMHeadModel(small).eval()
    language = smw.languages.huggingface(gpt, begin=6)
    machine = smw.constraints.automaton(
        [[1, 0, 0, 0, 0, -1, -1], [2, 1, -1, -1, 1, 0, -1], [0, 2, 2, 2, -1, 2, -1]], [0, 2]
    )
    total = 0.0
    rows = {(): (1.0, machine.start())}
    for _ in range(5):
        table = language.logits(list(rows))
        p = np.exp(table - np.logaddexp.reduce(table, axis=1)[:, None])
        rows = {
            (*prefix, x): (mass * p[at, x], machine.step(state, x))
            for at, (prefix, (mass, state)) in enumerate(rows.items())
            for x in range(7)
            if machine.step(state, x) is not None
        }
    total = sum(mass for mass, state in rows.values() if machine.complete(state))
    out = smw.constrained_sequences(
        language, smw.constraints.both(machine), 50, 5, islands=10, seed=1, progress=False
    )
    e = out.log_evidence
    print(f"log evidence {e.value:.4f} +- {e.standard_error:.4f}, exact {np.log(total):.4f}")
    keep(
        "model",
        {"exact": float(np.log(total)), "value": float(e.value), "error": float(e.standard_error)},
    )


PARTS = {
    "speed": speed,
    "cost": cost,
    "sequences": sequences,
    "coverage": coverage,
    "task": task,
    "molecules": molecules,
    "model": model,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("--genlm", help="interpreter with genlm-control 0.4.1")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    for name, part in PARTS.items():
        if arguments.part in (name, "all"):
            print(f"\n# {name}")
            part(arguments)
    sys.exit(0)
