"""The command line: ``smcweights demo``, ``run STUDY.toml`` and ``show RESULT``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from . import __version__, storage, study
from .errors import PrecisionWarning
from .results import COLUMNS
from .tables import number_format

if TYPE_CHECKING:
    import pandas

LINE = 90  # characters of what is said of a value
MOST_ROWS = 40  # of a table


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


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Precision warnings as one line each, without the place in the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", PrecisionWarning)
        previous = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, PrecisionWarning):
                print(f"not promised: {message}", file=sys.stderr)
            else:
                previous(message, category, filename, lineno, file, line)

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
    from .problems.demonstrations import DEMONSTRATIONS

    out = _folder(options.out)
    began = time.perf_counter()
    sections = []
    for i, (stem, demonstration) in enumerate(DEMONSTRATIONS.items(), 1):
        print(f"{i} of {len(DEMONSTRATIONS)}, {stem} ...", file=sys.stderr)
        section = demonstration(options.seed, options.progress)
        est = section.estimate
        print(section.title, textwrap.fill(section.text, 96), sep="\n\n", end="\n\n")
        print(*_aligned(*report.table(est, section.truth, section.monte_carlo)), sep="\n")
        cost = est.cost
        stages = f" in {cost['stages']} stages" if cost.get("stages", 1) > 1 else ""
        print(
            f"\n{cost['evaluations']:,} evaluations{stages}, "
            f"{cost['seconds']:.1f} s, seed {options.seed}\n"
        )
        est.save(out / f"{stem}.nc")
        sections.append(section)
    print("drawing the page ...", file=sys.stderr)
    report.write(out / "demo.html", "smcweights: demonstration", sections)
    for name in ("demo.html", *(f"{stem}.nc" for stem in DEMONSTRATIONS)):
        print(f"written: {out / name}")
    print(f"{time.perf_counter() - began:.1f} s in all")
    return 0


def _run(options: argparse.Namespace) -> int:
    from . import report
    from .estimate import Estimate

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
    parts = {"": est} if isinstance(est, Estimate) else vars(est)
    page = target.with_suffix(".html")
    report.write(
        page,
        plan.path.stem,
        [
            report.Section(f"{plan.path.stem} {name}".rstrip(), f"Study {plan.path.name}", part)
            for name, part in parts.items()
            if isinstance(part, Estimate) and part.value.size
        ],
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
    from .execution.checkpoint import overview
    from .results import provenance_of

    try:
        with open(options.result, "rb") as file:
            archive = file.read(2) == b"PK"
        if archive:
            print(overview(options.result))
            return 0
        result = storage.load_any(options.result)
    except OSError as error:
        raise _Refused(f"{options.result}: {error.strerror or error}") from error
    except ValueError as error:
        raise _Refused(str(error)) from error
    print(result, end="\n\n")
    summary = _written(result.summary()).to_string(
        float_format=lambda v: f"{v:.4g}", line_width=98, max_rows=MOST_ROWS
    )
    print(*map(str.rstrip, summary.splitlines()), *_origin(provenance_of(result)), sep="\n")
    if result.references:
        print("", "to cite", *(f"  {source}" for source in result.references), sep="\n")
    return 0


def _written(table: pandas.DataFrame) -> pandas.DataFrame:
    """A table whose values and ends of intervals have the digits that their errors leave."""
    if set(COLUMNS) <= set(table):
        digits = [*map(number_format, table["value"], table["standard_error"])]
        for name in COLUMNS:
            table[name] = [text(v) for text, v in zip(digits, table[name], strict=True)]
    return table


def _origin(known: dict[str, Any]) -> list[str]:
    """Where a result comes from, a line for each thing; arguments stand below the others."""
    plain = {name: value for name, value in known.items() if name != "arguments" and value}
    rows = {name: _in_short(value) for name, value in plain.items()}
    rows |= {f"  {name}": _in_short(value) for name, value in known.get("arguments", {}).items()}
    width = max(map(len, rows), default=0)
    return ["", *(f"{name:<{width}}  {text}" for name, text in rows.items())]


def _in_short(value: object) -> str:
    """A value of a provenance in at most a line."""
    if isinstance(value, dict) and not value.get("spawn_key", True):
        value = value["entropy"]
    if isinstance(value, dict) and {"shape", "sha256"} == value.keys():
        return f"array of shape {tuple(value['shape'])}"
    if isinstance(value, dict):
        return textwrap.shorten(", ".join(f"{k} {_in_short(v)}" for k, v in value.items()), LINE)
    if isinstance(value, list):
        return textwrap.shorten(f"[{', '.join(map(_in_short, value))}]", LINE)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return textwrap.shorten(text, LINE)


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

    show = commands.add_parser("show", help="print a saved result, or a checkpoint of a run")
    show.add_argument(
        "result", help="NetCDF file written by run, demo or save of any result, or a checkpoint"
    )
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
