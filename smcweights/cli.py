"""The command line: ``smcweights demo``, ``run STUDY.toml`` and ``show RESULT``."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__, study
from .errors import PrecisionWarning

if TYPE_CHECKING:
    from .estimate import Estimate
    from .report import Section

__all__ = ["main"]

BUDGET = 20_000  # calls of the model in the demonstration


class _Refused(Exception):
    """What the user asked for can't be done; the message is all there is to say."""


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    table = [list(header), *map(list, rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def _monte_carlo(problem: Any, calls: int, seed: int) -> Estimate:
    """Plain Monte Carlo with the same number of calls, from a stream of its own."""
    from .estimate import Estimate
    from .importance.laws import as_law
    from .randomness import generator, seed_sequence

    x = as_law(problem.law).sample(generator(seed_sequence(seed), "plain Monte Carlo"), calls)
    values = problem.integrand(x)
    hits = (values != 0).sum(0)
    value, covariance = values.mean(0), np.cov(values.T) / calls
    return Estimate(
        value,
        covariance,
        names=problem.names,
        method="plain Monte Carlo",
        trials=np.where(hits == 0, float(calls), 0.0),
        cost={"evaluations": calls},
    )


def _flood(seed: int, progress: bool | None) -> Section:
    import smcweights

    from .report import Section

    problem = smcweights.problems.flood()
    est = smcweights.adaptive_importance_sampling(
        problem.integrand, problem.law, BUDGET, names=problem.names, seed=seed, progress=progress
    )
    text = (
        "Overflow of a river over a low dyke: mean, second moment and four probabilities, all from "
        f"one sample of {est.cost['evaluations']:,} model calls. The truth is a quadrature; "
        "plain Monte Carlo had the same number of calls, and gain is the number of its calls that "
        "one call here is worth."
    )
    return Section(
        "Flood: many expectations from one sample",
        text,
        est,
        problem.expectations,
        _monte_carlo(problem, est.cost["evaluations"], seed),
    )


def _nile(seed: int, progress: bool | None) -> Section:
    import smcweights

    from .problems.series import nile
    from .report import Section

    _, volume = nile()
    model = smcweights.models.linear_gaussian(
        1.0, 1469.1, 1.0, 15099.0, initial_mean=1000.0, initial_covariance=1e5
    )
    est = smcweights.parisian_particle_gibbs(
        model,
        volume,
        smcweights.functionals.sum_of_states,
        100,
        40,
        seed=seed,
        progress=progress,
    ).apply(np.array([[1 / len(volume)]]), names=["mean level"])
    exact = smcweights.kalman_smoother(model, volume)
    text = (
        "Mean level of the Nile over a hundred years, given noisy yearly volumes: a local level "
        "model, smoothed by Parisian particle Gibbs with 8 chains. The truth is Kalman's smoother."
    )
    return Section("Nile: smoothing", text, est, [float(np.mean(exact.means))])


def _euro(seed: int, progress: bool | None) -> Section:
    import smcweights

    from .problems.series import euro_dollar
    from .report import Section

    persistence, volatility, scale = 0.99, 0.1, 0.5
    returns = 100 * np.diff(np.log(euro_dollar()[1]))
    model = smcweights.models.stochastic_volatility(persistence, volatility, scale)
    est = smcweights.particle_filter(
        model, returns, 2_000, repeats=8, seed=seed, progress=progress
    ).log_likelihood
    grid = np.linspace(-5, 5, 401)  # of log variances, seven standard deviations of their law
    move = np.exp(-0.5 * ((grid - persistence * grid[:, None]) / volatility) ** 2)
    move /= move.sum(axis=1, keepdims=True)
    law = np.exp(-0.5 * grid**2 * (1 - persistence**2) / volatility**2)
    law, exact = law / law.sum(), 0.0
    for y in returns:
        law = law * np.exp(-0.5 * (y / scale) ** 2 * np.exp(-grid) - 0.5 * grid)
        exact += float(np.log(law.sum() / (scale * np.sqrt(2 * np.pi))))
        law = law / law.sum() @ move
    text = (
        "Daily returns of the euro in dollars, 2006 to 2009, under a stochastic volatility model: "
        "its log likelihood, from 8 particle filters of 2,000 particles. The truth is a sum over a "
        "grid of log variances."
    )
    return Section("Euro: a particle filter", text, est, [exact])


def _places(seed: int, progress: bool | None) -> Section:
    import smcweights

    from .problems import place_names
    from .rejection.exact import constrained_markov_chain
    from .report import Section

    names = place_names()
    letters = sorted(set("".join(names)))
    number = {letter: i for i, letter in enumerate(letters)}
    pairs = np.full((len(letters), len(letters)), 0.1)
    first = np.full(len(letters), 0.1)
    for name in names:
        first[number[name[0]]] += 1
        for a, b in itertools.pairwise(name):
            pairs[number[a], number[b]] += 1
    chain = smcweights.languages.markov_chain(
        first / first.sum(), pairs / pairs.sum(axis=1, keepdims=True)
    )
    vowels = {number[letter] for letter in "aeiou" if letter in number}
    table = [
        [1 if i in vowels else 2 for i in range(len(letters))],
        [-1 if i in vowels else 2 for i in range(len(letters))],
        [1 if i in vowels else -1 for i in range(len(letters))],
    ]
    machine = smcweights.constraints.automaton(table, accepting=[1, 2])
    found = smcweights.constrained_sequences(
        chain, machine, 200, 10, islands=8, seed=seed, progress=progress
    )
    exact = constrained_markov_chain(chain, machine, 10)
    text = (
        "Ten letters drawn from a Markov chain of the letters of place names, vowels and other "
        "letters by turns: the logarithm of the probability that the chain does so by itself, from "
        "particles that draw under the constraint. The truth is dynamic programming."
    )
    est = found.log_evidence.apply(lambda v: v, names="log evidence")
    return Section("Place names: sequences under a constraint", text, est, [exact.log_evidence])


def _colours(seed: int, progress: bool | None) -> Section:
    import smcweights

    from .report import Section

    portrait, parcel = smcweights.problems.colours()
    est = smcweights.sliced_wasserstein(portrait, parcel, 200, seed=seed, progress=progress)
    long = smcweights.sliced_wasserstein(portrait, parcel, 10_000, seed=seed + 1, progress=False)
    text = (
        "Sliced Wasserstein distance between the colours of two pictures, a thousand pixels each, "
        "from 200 directions in turned rules. The truth is a run of "
        f"{long.cost['evaluations']:,} directions."
    )
    est = est.apply(lambda v: v, names="distance")
    return Section("Colours: a distance between clouds", text, est, [float(long.value)])


# by the name of the saved result; every method adds one
DEMONSTRATIONS: dict[str, Callable[[int, bool | None], Section]] = {
    "demo": _flood,
    "smoothing": _nile,
    "filtering": _euro,
    "sequences": _places,
    "distance": _colours,
}


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Precision warnings as one line each, without the place in the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", PrecisionWarning)
        previous = warnings.showwarning

        def show(message: Any, category: Any, *rest: Any, **named: Any) -> None:
            if issubclass(category, PrecisionWarning):
                print(f"not promised: {message}", file=sys.stderr)
            else:
                previous(message, category, *rest, **named)

        warnings.showwarning = show
        yield


def _folder(path: str | Path) -> Path:
    """The folder for results, made and tried before anything is computed."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _Refused(f"--out: {folder}: {error.strerror}; expected a folder") from error
    if not os.access(folder, os.W_OK):
        raise _Refused(f"--out: {folder}: may not be written to")
    return folder


def _demo(options: argparse.Namespace) -> int:
    from . import report

    out = _folder(options.out)
    began = time.perf_counter()
    sections = []
    for stem, demonstration in DEMONSTRATIONS.items():
        section = demonstration(options.seed, options.progress)
        est = section.estimate
        print(section.title, textwrap.fill(section.text, 96), sep="\n\n", end="\n\n")
        print(*_aligned(*report.table(est, section.truth, section.monte_carlo)), sep="\n")
        cost = est.cost
        stages = f" in {cost['stages']} stages" if "stages" in cost else ""
        print(
            f"\n{cost['evaluations']:,} evaluations{stages}, "
            f"{cost['seconds']:.1f} s, seed {options.seed}\n"
        )
        est.save(out / f"{stem}.nc")
        sections.append(section)
    report.write(out / "demo.html", "smcweights: demonstration", sections)
    for name in ("demo.html", *(f"{stem}.nc" for stem in DEMONSTRATIONS)):
        print(f"written: {out / name}")
    print(f"{time.perf_counter() - began:.1f} s in all")
    return 0


def _run(options: argparse.Namespace) -> int:
    from . import report

    try:
        plan = study.read(options.study)
        more = {} if options.progress is None else {"progress": options.progress}
        if options.seed is not None:
            more["seed"] = options.seed
        out = _folder(options.out or plan.path.parent)
        est = plan.run(**more)
    except (study.StudyError, _Refused):
        raise
    except Exception as error:
        if getattr(error, "__notes__", None):
            # notes say where a model failed: what is below it in the trace is its own
            traceback.print_exception(type(error), error, _trace_of_model(error))
            return 1
        if _from_arguments(error):
            raise _Refused(f"{options.study}: [study]: {error}") from error
        raise
    target = out / f"{plan.path.stem}.nc"
    est.save(target)
    page = target.with_suffix(".html")
    report.write(
        page, plan.path.stem, [report.Section(plan.path.stem, f"Study {plan.path.name}", est)]
    )
    print(est, f"\nwritten: {target}", f"written: {page}", sep="\n")
    return 0


def _trace_of_model(error: BaseException) -> TracebackType | None:
    """The trace from the model on, without the way there."""
    last, trace = error.__traceback__, error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith((str(Path(__file__).parent), "<frozen importlib")):
            last = trace.tb_next
        trace = trace.tb_next
    return last


def _from_arguments(error: BaseException) -> bool:
    """Whether the package itself raised it, about an argument or what the model returned."""
    from .errors import DegeneracyError, ModelError

    if isinstance(error, ModelError | DegeneracyError | BrokenExecutor):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return isinstance(error, TypeError | ValueError) and name.startswith("smcweights.")


def _show(options: argparse.Namespace) -> int:
    from .estimate import Estimate

    try:
        est = Estimate.load(options.result)
    except OSError as error:
        raise _Refused(f"{options.result}: {error.strerror or error}") from error
    except ValueError as error:
        raise _Refused(str(error)) from error
    print(est, end="\n\n")
    summary = est.summary().to_string(float_format=lambda v: f"{v:.4g}", line_width=98)
    print("\n".join(map(str.rstrip, summary.splitlines())), end="\n\n")
    print(json.dumps(est.provenance, indent=1, sort_keys=True, ensure_ascii=False))
    return 0


def _seed(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if seed < 0:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a whole number from 0")
    return seed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="smcweights",
        description="Monte Carlo estimates with honest variance diagnostics.",
    )
    parser.add_argument("--version", action="version", version=f"smcweights {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="run the main methods on embedded problems",
        description="Run the main methods on problems with known answers, print the estimates "
        "beside truth and plain Monte Carlo, and write an HTML page and the results (NetCDF).",
    )
    demo.add_argument("--seed", type=_seed, default=1, help="whole number; default 1")
    demo.add_argument(
        "--out", default="smcweights-demo", help="folder for page and results; default %(default)s"
    )
    demo.set_defaults(call=_demo)

    run = commands.add_parser(
        "run",
        help="run a study file",
        description="Run a study file; write the result (NetCDF) and an HTML page.",
        epilog=study.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("study", help="TOML file, see below")
    run.add_argument("--seed", type=_seed, help="in place of the study's")
    run.add_argument("--out", help="folder for the results; default: beside the study")
    run.set_defaults(call=_run)

    for command in (demo, run):
        command.add_argument(
            "--progress",
            action=argparse.BooleanOptionalAction,
            help="progress bar; default: on a terminal, for runs over 2 s",
        )

    show = commands.add_parser("show", help="print a saved result")
    show.add_argument("result", help="NetCDF file written by run, demo or Estimate.save")
    show.set_defaults(call=_show)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    int
        Exit status: 0, 1 for a model that failed, 2 for what can't be done as asked, 130 when
        interrupted.

    Examples
    --------
    >>> main(["show", "no-such-file.nc"])
    2
    """
    options = _parser().parse_args(argv)
    try:
        with _plain_warnings():
            return int(options.call(options))
    except (_Refused, study.StudyError) as error:
        print(f"smcweights: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("smcweights: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
