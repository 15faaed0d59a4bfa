"""The command line: ``smcweights demo``, ``run STUDY.toml`` and ``show RESULT``."""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__
from .errors import PrecisionWarning

if TYPE_CHECKING:
    from .estimate import Estimate
    from .report import Section

__all__ = ["main"]

BUDGET = 20_000  # calls of the model in the demonstration


@dataclass(frozen=True)
class _Shown:
    """A part of the demonstration: what was estimated, and lines to print."""

    estimate: Estimate
    lines: list[str]
    section: Section
    stem: str


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


def _flood(seed: int, progress: bool | None) -> _Shown:
    import smcweights

    from .report import Section

    problem = smcweights.problems.flood()
    est = smcweights.adaptive_importance_sampling(
        problem.integrand, problem.law, BUDGET, names=problem.names, seed=seed, progress=progress
    )
    plain = _monte_carlo(problem, est.cost["evaluations"], seed)
    lower, upper = est.interval()
    below, above = plain.interval()
    truth = problem.expectations
    header = ["", "estimate", "95 % interval", "truth", "inside", "plain Monte Carlo", "gain"]
    rows = []
    for j, name in enumerate(problem.names):
        crude = f"{plain.value[j]:.2e} +- {(above[j] - below[j]) / 2:.1e}"
        if plain.value[j] == 0:
            crude = f"no hit, below {above[j]:.1e}"
        rows.append(
            [
                name,
                f"{est.value[j]:.4g}",
                f"[{lower[j]:.3g}, {upper[j]:.3g}]",
                f"{truth[j]:.4g}",
                "yes" if lower[j] <= truth[j] <= upper[j] else "no",
                crude,
                f"{est.diagnostics['gain_over_monte_carlo'][j]:,.0f}",
            ]
        )
    text = (
        "Overflow of a river over a low dyke: mean, second moment and four probabilities, all from "
        f"one sample of {est.cost['evaluations']:,} model calls. The truth is a quadrature; gain "
        "is the number of plain Monte Carlo calls that one call is worth."
    )
    lines = [*_aligned(header, rows), ""]
    lines.append(
        f"{est.cost['evaluations']:,} calls, {est.cost['stages']} stages, "
        f"{est.cost['seconds']:.1f} s, seed {seed}"
    )
    section = Section("Flood: many expectations from one sample", text, est, (header, rows), truth)
    return _Shown(est, lines, section, "flood")


# one entry per method; each prints, saves and reports for itself
DEMONSTRATIONS: tuple[Callable[[int, bool | None], _Shown], ...] = (_flood,)


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


def _demo(options: argparse.Namespace) -> int:
    from . import report

    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    sections = []
    for demonstration in DEMONSTRATIONS:
        shown = demonstration(options.seed, None if options.progress else False)
        print(shown.section.title, end="\n\n")
        print("\n".join(shown.lines), end="\n\n")
        shown.estimate.save(out / f"{shown.stem}.nc")
        sections.append(shown.section)
    report.write(out / "demo.html", "smcweights: demonstration", sections)
    print(f"{out / 'demo.html'} and {out}/*.nc written, {time.perf_counter() - began:.1f} s in all")
    return 0


def _run(options: argparse.Namespace) -> int:
    from . import report, study

    try:
        plan = study.read(options.study)
        more = {} if options.progress else {"progress": False}
        if options.seed is not None:
            more["seed"] = options.seed
        out = Path(options.out) if options.out else plan.path.parent
        out.mkdir(parents=True, exist_ok=True)
        target = out / f"{plan.path.stem}.nc"
        est = plan.run(**more)
    except study.StudyError as error:
        print(f"smcweights: {error}", file=sys.stderr)
        return 2
    except (TypeError, ValueError) as error:
        # what the model itself did wrong keeps its traceback; wrong arguments are the study's
        if not _from_arguments(error):
            raise
        print(f"smcweights: {options.study}: {error}", file=sys.stderr)
        return 2
    est.save(target)
    page = target.with_suffix(".html")
    report.write(page, plan.path.stem, [report.Section(plan.path.stem, est.method, est)])
    print(est)
    print(f"\n{target} and {page.name} written")
    return 0


def _from_arguments(error: BaseException) -> bool:
    """Whether the package itself raised it, about an argument, rather than the user's model."""
    from .errors import ModelError

    if isinstance(error, ModelError):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or getattr(error, "__notes__", None):
        return False
    return str(trace.tb_frame.f_globals.get("__name__", "")).startswith("smcweights.")


def _show(options: argparse.Namespace) -> int:
    from .estimate import Estimate

    try:
        est = Estimate.load(options.result)
    except (OSError, ValueError) as error:
        print(f"smcweights: {options.result}: {error}", file=sys.stderr)
        return 2
    print(est, end="\n\n")
    print(est.summary().to_string(float_format=lambda v: f"{v:.5g}"), end="\n\n")
    print(json.dumps(est.provenance, indent=1, sort_keys=True))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="smcweights",
        description="Monte Carlo estimates with honest variance diagnostics.",
    )
    parser.add_argument("--version", action="version", version=f"smcweights {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="run the main methods on embedded problems")
    demo.add_argument("--seed", type=int, default=1, help="default 1")
    demo.add_argument("--out", default="smcweights-demo", help="folder for the page and results")
    demo.set_defaults(call=_demo)

    run = commands.add_parser(
        "run",
        help="run a study file",
        description="Run a study file; writes the result (NetCDF) and an HTML page.",
        epilog="The format is described in smcweights/study.py and in the README.",
    )
    run.add_argument("study", help="TOML file: [model], [law.NAME] ..., [study]")
    run.add_argument("--seed", type=int, help="instead of the study's")
    run.add_argument("--out", help="folder for the results; default: beside the study")
    run.set_defaults(call=_run)

    for command in (demo, run):
        command.add_argument(
            "--no-progress", dest="progress", action="store_false", help="no progress bar"
        )

    show = commands.add_parser("show", help="print a saved result")
    show.add_argument("result", help="NetCDF file written by run, demo or Estimate.save")
    show.set_defaults(call=_show)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(argv)
    with _plain_warnings():
        return int(options.call(options))


if __name__ == "__main__":
    sys.exit(main())
