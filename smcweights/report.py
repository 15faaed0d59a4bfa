"""An HTML page of a run: tables, figures, provenance, in one file that needs nothing else."""

from __future__ import annotations

import html
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unicodedata import bidirectional

import numpy as np
from numpy.typing import ArrayLike

from . import storage
from .canvas import BLUE, FINE, GREY, ORANGE, height, in_short
from .estimate import Estimate

MOST_ROWS = 200  # of a table on the page; the saved result has them all
WIDTH = 4.8  # inches of a figure: letters of 9 points can be read on a telephone
INK = "#1b1b1b"  # what becomes the colour of the text
# colours of figures that follow the page's light or dark scheme
SCHEME = {INK: "ink", "#333333": "ink", "#000000": "ink", BLUE: "blue", ORANGE: "orange"}
SCHEME |= {GREY: "grey", "#ffffff": "paper"}
DRAWN: dict[Any, Any] = {
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
    "font.size": 9,
    "axes.titlesize": 9,
    # letters stay letters: the browser has the fonts, and knows what is written from the right
    "svg.fonttype": "none",
    "svg.hashsalt": "smcweights",
    "date.converter": "concise",
}
RIGHT = {"R", "AL", "AN", "RLE", "RLO", "RLI"}  # directions of letters that begin on the right

Figure = tuple[str, Callable[[Any], Any]]

STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1b1b1b, #e8e6e1);
  --paper: light-dark(#fdfdfb, #191a1b); --line: light-dark(#d8d8d2, #44464a);
  --note: light-dark(#fff3d6, #453a1d); --blue: light-dark(#0072b2, #56b4e9);
  --orange: light-dark(#d55e00, #f0884a); --grey: light-dark(#666666, #a5a5a5) }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0 }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap }
th { white-space: normal; vertical-align: bottom }
th:first-child, td:first-child { text-align: left }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 8rem }
@media (max-width: 56em) { table { font-size: .8rem } th, td { padding: .3rem .4rem } }
/* where columns have no room beside each other, a row is a name over its numbers */
@media (max-width: 44em) { tr:has(th) { display: none }
  table, tbody { display: block; font-size: 1rem }
  tr { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: .4rem 0;
    border-bottom: 1px solid var(--line) }
  td, td:first-child { text-align: left; padding: 0; border: 0 }
  td:first-child { flex-basis: 100%; font-weight: bold }
  td[data-of]::before { content: attr(data-of); display: block; font-size: .75rem;
    color: var(--grey) } }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr));
  gap: 1.5rem; align-items: start; margin: 1.5rem 0 }
figure { margin: 0 }
figure svg { width: 100%; height: auto; overflow: visible }
figcaption { font-size: .85rem }
p, li, h1, h2 { overflow-wrap: anywhere }
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
    truth : array_like, shape (J,), optional
        Goes into the table and the figure of intervals.
    monte_carlo : Estimate, optional
        Plain Monte Carlo of the same expectations, for the table.
    figures : sequence of (str, callable)
        Captions, and what draws each into the matplotlib axes it is given; they come first.
    """

    title: str
    text: str
    estimate: Estimate
    truth: ArrayLike | None = None
    monte_carlo: Estimate | None = None
    figures: Sequence[Figure] = ()


def table(
    est: Estimate, truth: ArrayLike | None = None, monte_carlo: Estimate | None = None
) -> tuple[list[str], list[list[str]]]:
    """Header and one row per expectation, as text: values, 95 % intervals, and what was given.

    Parameters
    ----------
    est : Estimate
    truth : array_like, shape (J,), optional
        Adds the truth and whether the interval holds it.
    monte_carlo : Estimate, optional
        Adds the values of plain Monte Carlo and the half-widths of their intervals.

    Returns
    -------
    header : list of str
    rows : list of list of str

    Raises
    ------
    ValueError
        The truth or the other estimate has another number of components.

    Examples
    --------
    >>> header, rows = table(Estimate([2.0], [[0.01]], names=["mean"]), truth=[1.9])
    >>> rows
    [['mean', '2.00', '[1.80, 2.20]', '1.900', 'yes', '5 %']]
    """
    value, error = np.atleast_1d(est.value), np.atleast_1d(est.relative_error)
    lower, upper = (np.atleast_1d(end) for end in est.interval())
    # as many digits as the error leaves
    with np.errstate(divide="ignore", invalid="ignore"):
        digits = np.clip(np.nan_to_num(np.ceil(1 - np.log10(error)), posinf=12), 3, 12).astype(int)
    columns = {
        "": list(est.names),
        "estimate": list(map(_number, value, digits)),
        "95 % interval": [
            f"[{_number(a, k)}, {_number(b, k)}]"
            for a, b, k in zip(lower, upper, digits, strict=True)
        ],
    }
    if truth is not None:
        exact = _fitting(truth, "truth", len(value))
        inside = (lower <= exact) & (exact <= upper)
        columns["truth"] = list(map(_number, exact, digits + 1))
        columns["in"] = ["yes" if hit else "no" for hit in inside]
    columns["error"] = list(map(_error, est.names, np.atleast_1d(est.standard_error), error))
    if monte_carlo is not None:
        plain = _fitting(monte_carlo.value, "monte_carlo", len(value))
        below, above = (np.atleast_1d(end) for end in monte_carlo.interval())
        columns["plain Monte Carlo"] = [
            f"0 hits, < {_number(b, 2)}"
            if v == 0 == a
            else f"{_number(v, 2)} +- {_number((b - a) / 2, 2)}"
            for v, a, b in zip(plain, below, above, strict=True)
        ]
    if "gain_over_monte_carlo" in est.diagnostics:
        gain = _fitting(est.diagnostics["gain_over_monte_carlo"], "gain", len(value))
        columns["gain"] = [
            "-" if np.isnan(g) else f"{g:,.0f}" if g >= 10 else f"{g:.2g}" for g in gain
        ]
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def _error(name: str, error: float, relative: float) -> str:
    """In per cent of the value, but for logarithms and values that are known far better."""
    if not np.isfinite(relative):
        return "-"
    if name.startswith("log ") or 0 < relative < FINE:
        return in_short(float(f"{error:.2g}"))
    return f"{in_short(float(f'{100 * relative:.{1 + (relative >= 0.01)}g}'))} %"


def _number(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    plain = 1e-3 <= abs(value) < 10**digits
    text = f"{value:#.{digits}g}".rstrip(".") if plain else f"{value:.{digits - 1}e}"
    return re.sub(r"e([+-])0", r"e\1", text)


def _fitting(values: ArrayLike, name: str, count: int) -> np.ndarray:
    array = np.asarray(values, dtype=float).reshape(-1)
    if len(array) != count:
        raise ValueError(f"{name}: has {len(array)} numbers; the estimate has {count}")
    return array


def figures(est: Estimate, truth: ArrayLike | None = None) -> list[Figure]:
    """Every figure of `smcweights.plots` that the estimate has the numbers for.

    A single number has no figure of itself: it would be a dot on a line.

    Examples
    --------
    >>> [caption for caption, draw in figures(Estimate([1.0, 2.0], [[0.01, 0], [0, 0.02]]))]
    ['Estimates']
    """
    from . import plots

    known = est.diagnostics
    # a method without adaptation says so by an empty list of stages; a posterior's gain nothing
    gained = sum("criterion" in stage for stage in known.get("stages", ())) > 1
    shown = {key for key in known if key != "stages" or gained}
    if est.sample is None:
        shown.discard("pareto_k_weights")
    wanted: list[Figure] = []
    if len(est) > 1:
        wanted.append(("Estimates", lambda ax: plots.estimate(est, truth, ax)))
    else:
        shown -= {"gain_over_monte_carlo", "control_variance_reduction"}
    for key, caption, draw in (
        ("gain_over_monte_carlo", "Gain over plain Monte Carlo", plots.gains),
        ("control_variance_reduction", "What the control variates took away", plots.controls),
        ("stages", "What each stage of adaptation gained", plots.stages),
        ("components", "Where the draws came from", plots.mixture),
        ("pareto_k_weights", "Weights of the final draws", plots.weights),
    ):
        if key in shown:
            wanted.append((caption, partial(draw, est)))
    return wanted


def as_svg(draw: Callable[[Any], Any]) -> str:
    """A figure for a page: letters are text, colours follow the page's scheme.

    Examples
    --------
    >>> as_svg(lambda ax: ax.plot([1, 2]))[:5]
    '<svg '
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import FixedLocator

    with rc_context(DRAWN), warnings.catch_warnings():
        # letters that matplotlib's font lacks are drawn by the browser
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = Canvas(figsize=(WIDTH, height(6)), layout="constrained", dpi=144)
        FigureCanvasSVG(figure)
        draw(ax := figure.add_subplot())
        if isinstance(ax.yaxis.get_major_locator(), FixedLocator):
            figure.set_figheight(height(len(ax.get_yticks())))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg ") :], flags=re.DOTALL)
    # to a hundredth of a point
    text = re.sub(r' (d|x|y)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    # what no figure refers to, and the next one would have again
    text = re.sub(r' id="[\w.]+_\d+"', "", text)

    def schemed(found: re.Match[str]) -> str:
        return re.sub(
            r"#[0-9a-f]{6}\b",
            lambda colour: f"var(--{SCHEME[colour[0]]})" if colour[0] in SCHEME else colour[0],
            found[0],
        )

    return re.sub(r'style="[^"]*"', schemed, text)


def in_words(est: Estimate) -> list[str]:
    """What the diagnostics say, a sentence each.

    Examples
    --------
    >>> in_words(Estimate([1.0, 2.0], [[1.0, 0], [0, 1]], diagnostics={
    ...     "gain_over_monte_carlo": np.array([5.0, 20.0])}))
    ['One call was worth 5 calls of plain Monte Carlo (E1) to 20 (E2).']
    """
    known, said = est.diagnostics, []

    def spread(key: str) -> tuple[str, ...] | None:
        sizes = np.atleast_1d(np.asarray(known.get(key, np.nan), dtype=float))
        if not np.isfinite(sizes).any():
            return None
        least, most = np.nanargmin(sizes), np.nanargmax(sizes)
        return in_short(sizes[least]), est.names[least], in_short(sizes[most]), est.names[most]

    if gain := spread("gain_over_monte_carlo"):
        more = f" ({gain[1]}) to {gain[2]} ({gain[3]})" if len(est) > 1 else ""
        said.append(f"One call was worth {gain[0]} calls of plain Monte Carlo{more}.")
    if bought := spread("control_variance_reduction"):
        more = f" ({bought[1]}) to {bought[2]} ({bought[3]})" if len(est) > 1 else ""
        said.append(f"Control variates divided the variance by {bought[0]}{more}.")
    if known.get("stages"):
        calls = sum(stage["draws"] for stage in known["stages"])
        why = f"; it ended because {known['stopped']}" if "stopped" in known else ""
        stages = "a stage" if len(known["stages"]) == 1 else f"{len(known['stages'])} stages"
        said.append(f"Adaptation took {stages} and {calls:,} calls{why}.")
    if "largest_weight" in known:
        said.append(
            f"The weights of the final draws are worth {known['effective_sample_size']:,.0f} draws "
            f"of equal weight; the largest is {100 * known['largest_weight']:.2g} % of "
            "their sum."
        )
    if (tail := spread("pareto_k")) and tail[2] != "-inf":
        said.append(
            f"The heaviest tail among the terms of the means is that of {tail[3]}, with a Pareto "
            f"k-hat of {tail[2]}; over 0.5 a term without bound would have no variance."
        )
    return said


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        name, *numbers = map(html.escape, cells)
        # what a number is of, where a narrow screen has no room for the header
        of = [f' data-of="{html.escape(said)}"' * (tag == "td") for said in header[1:]]
        pairs = zip(of, numbers, strict=False)
        rest = "".join(f"<{tag}{told}>{number}</{tag}>" for told, number in pairs)
        return f"<tr><{tag}><bdi>{name}</bdi></{tag}>{rest}</tr>"

    body = "".join(line(row, "td") for row in rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        body += line([f"and {len(rows) - MOST_ROWS:,} more"], "td")
    return f'<div class="wide"><table>{line(header, "th")}{body}</table></div>'


def _details(est: Estimate) -> str:
    """The columns the estimate itself wants shown."""
    columns = {name: np.atleast_1d(est.diagnostics[name]) for name in est.columns}
    rows = [
        [name, *(c if isinstance(c, str) else in_short(c) for c in cells)]
        for name, *cells in zip(est.names, *columns.values(), strict=True)
    ]
    return _table(["", *(name.replace("_", " ") for name in columns)], rows)


def _origin(est: Estimate) -> str:
    """A line on seed, time and versions, and the whole provenance folded away."""
    known = est.provenance
    if not known:
        return ""
    seed = known.get("seed")
    facts = [
        f"seed {seed['entropy']}" if isinstance(seed, dict) and "entropy" in seed else "",
        str(known.get("time", "")),
        ", ".join(f"{name} {number}" for name, number in known.get("versions", {}).items()),
    ]
    source = json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False)
    return (
        f"<p>{html.escape('; '.join(filter(None, facts)))}</p>"
        f"<details><summary>Provenance</summary><pre>{html.escape(source)}</pre></details>"
    )


def _sources(est: Estimate) -> str:
    """What to cite, folded away, as text and as BibTeX."""
    if not est.references:
        return ""
    items = "".join(f"<li>{html.escape(source)}</li>" for source in est.references)
    return (
        f"<details><summary>To cite</summary><ul>{items}</ul>"
        f"<pre>{html.escape(est.bibtex)}</pre></details>"
    )


def _prose(est: Estimate) -> Callable[[str], str]:
    """Escaped text in which names that are written from the right turn nothing else around."""
    turned = [n for n in est.names if RIGHT & set(map(bidirectional, n))]
    pattern = "|".join(map(re.escape, sorted(turned, key=len, reverse=True)))

    def prose(text: str) -> str:
        parts = re.split(f"({pattern})", text) if pattern else [text]
        # those that were found stand between the others
        return "".join(
            f"<bdi>{html.escape(part)}</bdi>" if k % 2 else html.escape(part)
            for k, part in enumerate(parts)
        )

    return prose


def _section(section: Section) -> str:
    est, said = section.estimate, _prose(section.estimate)
    parts = [f"<h2>{said(section.title)}</h2>", f"<p>{said(section.text)}</p>"]
    for text in est.diagnostics.get("warnings", ()):
        parts.append(f'<div class="warning"><b>Not promised.</b> {said(text)}</div>')
    parts.append(_table(*table(est, section.truth, section.monte_carlo)))
    parts.append("".join(f"<li>{said(text)}</li>" for text in in_words(est)))
    if parts[-1]:
        parts[-1] = f"<ul>{parts[-1]}</ul>"
    parts.append('<div class="figures">')
    for caption, draw in (*section.figures, *figures(est, section.truth)):
        parts.append(
            f'<figure role="img" aria-label="{html.escape(caption)}">{as_svg(draw)}'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    parts.append("</div>")
    if est.columns:
        parts.append(
            f"<details><summary>Diagnostics by expectation</summary>{_details(est)}</details>"
        )
    cost = [
        f"{v:,.3g} {k}" if isinstance(v, float) else f"{v:,} {k.removesuffix('s') if v == 1 else k}"
        for k, v in est.cost.items()
    ]
    parts.append(f"<p>{html.escape('; '.join(filter(None, [est.method, ', '.join(cost)])))}</p>")
    parts += [_origin(est), _sources(est)]
    return "\n".join(parts)


def write(path: str | os.PathLike[str], title: str, sections: Sequence[Section]) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    path : path
        HTML file; replaced when it exists.
    title : str
    sections : sequence of Section

    Raises
    ------
    OSError
        The file can't be written.

    Examples
    --------
    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "page.html")
    >>> write(path, "A page", [Section("One", "A number.", Estimate(1.0, 0.01))])
    >>> os.listdir(os.path.dirname(path))
    ['page.html']
    """
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1>\n" + "\n".join(map(_section, sections)) + "</body></html>\n"
    )
    storage.write(path, lambda name: Path(name).write_text(text, encoding="utf-8"))
