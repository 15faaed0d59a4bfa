"""An HTML page of a run: tables, figures, provenance, in one file that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .estimate import Estimate

__all__ = ["Section", "figures", "write"]

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fdfdfb; --line: #d8d8d2;
  --note: #fff3d6 }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e6e1; --paper: #191a1b; --line: #44464a;
  --note: #453a1d } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0 }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right }
th:first-child, td:first-child { text-align: left }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr));
  gap: 1.5rem; align-items: start; margin: 1.5rem 0 }
figure { margin: 0 }
figure img { width: 100%; background: white; border-radius: 4px }
figcaption { font-size: .85rem }
.warning { background: var(--note); padding: .6rem 1rem; border-radius: 4px; margin: 1rem 0 }
pre { overflow-x: auto; font-size: .8rem; border: 1px solid var(--line); padding: .8rem }
"""


@dataclass(frozen=True)
class Section:
    """One estimate on the page.

    Attributes
    ----------
    title, text : str
        Heading, and a paragraph under it.
    estimate : Estimate
    table : tuple of header and rows, optional
        Shown in place of the estimate's own table; strings.
    truth : array_like, shape (J,), optional
        Goes into the table and the figure of intervals.
    monte_carlo : Estimate, optional
        Plain Monte Carlo of the same expectations, for the table.
    """

    title: str
    text: str
    estimate: Estimate
    table: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None
    truth: Any = field(default=None)


def figures(est: Estimate, truth: Any = None) -> list[tuple[str, bytes]]:
    """(caption, PNG) of every figure of `smcweights.plots` the estimate has the numbers for."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from . import plots

    known = est.diagnostics
    wanted: list[tuple[str, Any]] = [("Estimates", lambda ax: plots.estimate(est, truth, ax))]
    if known.get("stages"):
        wanted.append(("What each stage of adaptation gained", lambda ax: plots.stages(est, ax)))
    for key, caption, draw in (
        ("gain_over_monte_carlo", "Gain over plain Monte Carlo", plots.gains),
        ("control_variance_reduction", "What the control variates took away", plots.controls),
        ("mixture_weights", "Where the draws came from", plots.mixture),
        ("pareto_k_weights", "Weights of the final draws", plots.weights),
    ):
        if key in known and not (key == "pareto_k_weights" and est.sample is None):
            wanted.append((caption, lambda ax, draw=draw: draw(est, ax)))
    drawn = []
    for caption, draw in wanted:
        figure = Figure(figsize=(6.4, 3.8), layout="constrained", dpi=110)
        FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        drawn.append((caption, buffer.getvalue()))
    return drawn


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table>{line(header, "th")}{body}</table></div>'


def _summary(est: Estimate) -> str:
    frame = est.summary()
    rows = [
        [str(name), *(f"{v:.5g}" if isinstance(v, float | np.floating) else str(v) for v in row)]
        for name, row in zip(frame.index, frame.itertuples(index=False), strict=True)
    ]
    return _table(["", *map(str, frame.columns)], rows)


def _section(section: Section) -> str:
    est = section.estimate
    parts = [f"<h2>{html.escape(section.title)}</h2>", f"<p>{html.escape(section.text)}</p>"]
    for text in est.diagnostics.get("warnings", ()):
        parts.append(f'<div class="warning"><b>Not promised.</b> {html.escape(str(text))}</div>')
    parts.append(_table(*section.table) if section.table else _summary(est))
    for caption, image in figures(est, section.truth):
        data = base64.b64encode(image).decode()
        alt = html.escape(caption)
        parts.append(
            f'<figure><img alt="{alt}" src="data:image/png;base64,{data}">'
            f"<figcaption>{alt}</figcaption></figure>"
        )
    cost = ", ".join(
        f"{value:,.3g} {key}" if isinstance(value, float) else f"{value:,} {key}"
        for key, value in est.cost.items()
    )
    parts.append(f"<p>{html.escape(est.method)}; {html.escape(cost)}</p>")
    source = html.escape(json.dumps(est.provenance, indent=1, sort_keys=True))
    parts.append(f"<details><summary>Provenance</summary><pre>{source}</pre></details>")
    return "\n".join(parts)


def write(path: str | os.PathLike[str], title: str, sections: Sequence[Section]) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    path : path
        HTML file; replaced when it exists.
    title : str
    sections : sequence of Section
    """
    target = os.path.abspath(os.fspath(path))
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1>\n" + "\n".join(map(_section, sections)) + "</body></html>\n"
    )
    folder, name = os.path.split(target)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
