"""Writes anew the tables and figures that README and docs show: python -m benchmarks --pages."""

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"
BLOCK = re.compile(r"(<!-- from: (?P<command>.*?) -->\n).*?(<!-- end -->)", re.DOTALL)
OURS = {"color": "C3", "linewidth": 2, "zorder": 3}
OTHERS = ({"color": "C0"}, {"color": "C1"}, {"color": "C2"}, {"color": "0.4"})


def printed(command: str) -> str:
    """What a script of this folder prints of its kept results."""
    words = [sys.executable, *command.split()]
    done = subprocess.run(
        words, cwd=ROOT / "benchmarks", check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def filled(text: str) -> str:
    """A document with every block as its command prints it now."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{printed(found['command'])}\n\n{found[3]}", text)


def documents() -> list[Path]:
    """README and pages that hold such blocks."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [page for page in pages if BLOCK.search(page.read_text(encoding="utf-8"))]


Curves = dict[str, list[tuple[float, float]]]


def panels(curves: dict[str, Curves], across: str, along: str) -> Figure:
    """Log-log panels side by side; points by label, ours first."""
    figure, axes = plt.subplots(
        1, len(curves), figsize=(3.3 * len(curves), 3.5), layout="constrained", dpi=110
    )
    for ax, (title, lines) in zip(axes, curves.items(), strict=True):
        ax.set(xscale="log", yscale="log", title=title, xlabel=across)
        for (label, points), style in zip(lines.items(), (OURS, *OTHERS), strict=False):
            ax.plot(*zip(*sorted(points), strict=True), "o-", label=label, **style)
        ticks = sorted({x for points in lines.values() for x, _ in points})
        ax.set_xticks(ticks, [f"{x:,.0f}" for x in ticks])
        ax.minorticks_off()
        ax.yaxis.set_major_locator(
            LogLocator(subs=(1.0,) if decades(lines) > 1.6 else (1.0, 2.0, 5.0))
        )
        ax.yaxis.set_major_formatter(LogFormatterSciNotation(minor_thresholds=(9, 9)))
        ax.grid(alpha=0.25)
    axes[0].set_ylabel(along)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def decades(lines: Curves) -> float:
    """Powers of ten between the least and the largest value."""
    values = [y for points in lines.values() for _, y in points]
    return math.log10(max(values) / min(values))


def sobol_indices() -> Figure:
    """Error of Sobol' indices against calls."""
    rows = json.loads((RESULTS / "sobol-error.json").read_text())["rows"]
    labels = {"auto": "smcweights", "SALib": "SALib", "OpenTURNS": "OpenTURNS", "SciPy": "SciPy"}
    curves: dict[str, Curves] = {}
    for row in rows:
        if (
            row["problem"] in ("ishigami", "g_function", "flood", "step")
            and row["method"] in labels
        ):
            lines = curves.setdefault(row["problem"], {label: [] for label in labels.values()})
            lines[labels[row["method"]]].append((row["calls"], row["rms"]))
    return panels(curves, "calls of the model", "root mean square error")


def sliced_distances() -> Figure:
    """Error of sliced distances against time, the directions that time allows."""
    kept = json.loads((RESULTS / "transport-time.json").read_text())
    labels = {"default": "smcweights", "orthogonal": "orthogonal directions",
              "gaussian": "normal control variate", "plain": "independent directions",
              "POT": "POT"}  # fmt: skip
    curves: dict[str, Curves] = {}
    for name, row in kept.items():
        problem, taken = name.rsplit(", ", 1)
        lines = curves.setdefault(problem, {label: [] for label in labels.values()})
        for method, label in labels.items():
            lines[label].append((float(taken.split()[0]), row[method][1]))
    return panels(curves, "milliseconds", "root mean square error, relative")


def draws_under_a_constraint() -> Figure:
    """Time of a draw against the size of the vocabulary."""
    kept = json.loads((RESULTS / "rejection-speed.json").read_text())
    labels = {"compiled": "smcweights", "masking": "masks of all items",
              "genlm-control": "genlm-control", "floor": "one pass of exp"}  # fmt: skip
    curves: dict[str, Curves] = {}
    for name, row in kept.items():
        size, rate = re.findall(r"[\d.]+", name)
        lines = curves.setdefault(f"acceptance {rate}", {label: [] for label in labels.values()})
        for method, label in labels.items():
            if method in row:
                lines[label].append((int(size), row[method][0]))
    return panels(curves, "items", "microseconds for a draw")


DRAWN: tuple[Callable[[], Figure], ...] = (
    sobol_indices,
    sliced_distances,
    draws_under_a_constraint,
)


def write() -> None:
    """All blocks, all figures, in place."""
    for page in documents():
        text = page.read_text(encoding="utf-8")
        page.write_text(filled(text), encoding="utf-8")
        print(page)
    FIGURES.mkdir(exist_ok=True)
    for draw in DRAWN:
        figure = draw()
        figure.savefig(FIGURES / f"{draw.__name__}.png", metadata={"Software": None})
        plt.close(figure)
        print(FIGURES / f"{draw.__name__}.png")
