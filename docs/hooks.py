"""Pages of the site that stand elsewhere in the repository, or are made from what it keeps."""

from __future__ import annotations

import base64
import html
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from griffe import Alias, Extension, Module, Object
from griffe._internal.docstrings import numpy
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import smcweights
from smcweights.references import SOURCES

ROOT = Path(__file__).parents[1]
# from places in the repository to places on the site
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    **{
        f"benchmarks/results/{path.name}": f"results/{path.name}"
        for kind in ("*.md", "*.png")
        for path in (ROOT / "benchmarks" / "results").glob(kind)
    },
    **{
        f"notebooks/{path.name}": f"notebooks/{path.stem}.md"
        for path in (ROOT / "notebooks").glob("*.ipynb")
    },
}
FORMULA = re.compile(r"\$([^$\n]+)\$")
NAME = re.compile(
    r"^ *(?P<fence>```+).*?^ *(?P=fence)$|(?<![\[`])`(?:smw\.|smcweights\.)?(?P<name>\w+)`(?!`)",
    re.DOTALL | re.MULTILINE,
)
CODE_IN_TABLE = re.compile(r"(?<=<code>)\w+(?=</code>)(?=(?:(?!<td).)*</td>)")
WIDE = 800  # pixels of a picture whose letters can't be read on a narrow screen
LINK = re.compile(r"(\]\()([^)#\s:]+)([)#])")


# types are said in words, "array, shape (n,)", which are no expressions
numpy.parse_docstring_annotation = lambda words, *rest, **more: words


class PublicNames(Extension):
    """Names that the package imports on first use, and links to them."""

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        """Give the package its public names."""
        for name, home in smcweights._HOME.items():
            if home is not None:
                pkg.set_member(name, Alias(name, f"smcweights.{home}.{name}"))

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Link the public names in a docstring, but for its own; of a module's keep the story."""
        if obj.docstring and obj.is_module:
            # what follows lists the names that the page lists itself
            obj.docstring.value = obj.docstring.value.partition("\n\n")[0]
        if obj.docstring:
            obj.docstring.value = linked(obj.docstring.value, obj.name)


def linked(text: str, own: str = "") -> str:
    """Public names in backticks, outside of code blocks, with links to the reference."""

    def link(found: re.Match[str]) -> str:
        name = found["name"]
        if name in (None, own) or smcweights._HOME.get(name) is None:
            return found[0]
        return f"[{found[0]}][smcweights.{name}]"

    return NAME.sub(link, text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that stand outside of docs/."""
    for source, place in ELSEWHERE.items():
        path = ROOT / source
        if path.suffix == ".ipynb":
            text, pictures = page_of(json.loads(path.read_text(encoding="utf-8")), path.stem)
            files.append(File.generated(config, place, content=text))
            for name, data in pictures.items():
                files.append(File.generated(config, f"notebooks/{name}", content=data))
        elif path.suffix == ".png":
            files.append(File.generated(config, place, abs_src_path=str(path)))
        else:
            files.append(File.generated(config, place, content=path.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the repository are links of the site; the bibliography is filled in."""
    here = page.file.src_uri
    sources = {place: source for source, place in ELSEWHERE.items()}
    source = sources.get(here, f"docs/{here}")

    def relinked(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[2]))
        place = ELSEWHERE.get(target, target.removeprefix("docs/"))
        return found[1] + posixpath.relpath(place, posixpath.dirname(here) or ".") + found[3]

    text = LINK.sub(relinked, markdown).replace("<!-- bibliography -->", bibliography())
    return linked(text)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """No dash before an empty description, wide pictures marked, names in tables can be broken."""

    def marked(found: re.Match[str]) -> str:
        place = posixpath.join(posixpath.dirname(page.file.dest_uri), found["place"])
        picture = files.get_file_from_path(posixpath.normpath(place))
        assert picture is not None, place
        # where PNG has the width
        pixels = int.from_bytes(picture.content_bytes[16:20], "big")
        return f'<img class="wide"{found[1]}' if pixels > WIDE else found[0]

    html = CODE_IN_TABLE.sub(lambda name: name[0].replace("_", "_<wbr>"), html)
    html = re.sub(r'<img( [^>]*src="(?P<place>[^":]+\.png)")', marked, html)
    return re.sub(r'–\s*<div class="doc-md-description">\s*</div>', "", html)


def page_of(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """A notebook as it is kept: Markdown, and its pictures by name."""
    pictures: dict[str, bytes] = {}
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            # <math> alone would be taken for a paragraph where it begins a line
            parts.append(FORMULA.sub(lambda found: f"<span>{convert(found[1])}</span>", text))
            continue
        parts.append(f"````python\n{text}\n````")
        for kind, data in shown(cell["outputs"]):
            if kind == "image/png":
                picture = f"{name}-{len(pictures) + 1}.png"
                pictures[picture] = base64.b64decode(data)
                parts.append(f"![Figure {len(pictures)}]({picture})")
            elif kind == "text/html":
                bare = re.sub(r"<style.*?</style>|^\s+", "", data, flags=re.DOTALL | re.MULTILINE)
                bare = re.sub(r' (border|class|style|halign)="[^"]*"', "", bare)
                parts.append(bare)
            else:
                parts.append(f'<pre class="output">{html.escape(data.rstrip())}</pre>')
    return "\n\n".join(parts) + "\n", pictures


def shown(outputs: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The richest form of each output."""
    for output in outputs:
        forms = output.get("data") or {"text/plain": output.get("text", "")}
        kind = next(k for k in ("image/png", "text/html", "text/plain") if k in forms)
        yield kind, "".join(forms[kind])


def bibliography() -> str:
    """All sources that results name, by author, and the methods they are of."""
    methods: dict[str, list[str]] = {}
    for method, sources in SOURCES.items():
        for source in sources:
            methods.setdefault(source, []).append(method)
    lines = []
    for source, of in sorted(methods.items()):
        linked = re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", source)
        lines.append(f"- {linked}. *{', '.join(of)}*")
    return "\n".join(lines)
