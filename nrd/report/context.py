"""What a section of the page is, what it may read, and how a figure comes into it."""

import base64
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from nrd.layout import Layout
from nrd.report.links import Links, line_keys, read_addresses, run_links
from nrd.report.results import PROVENANCE, read_csv, read_results
from nrd.report.style import DPI, INK, PAPER
from nrd.report.titles import Titles, read_titles
from nrd.study import Study

MAX_INLINE = 1_500_000  # bytes of an SVG beyond which the page shows the PNG
ENVIRONMENT = Environment(
    loader=PackageLoader("nrd.report"),
    autoescape=True,  # whatever comes from data is text, never markup
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def with_code(text: str) -> Markup:
    """Escape a text and set what stands between backticks as code.

    >>> with_code("`nrd report <x>` & more")
    Markup('<code>nrd report &lt;x&gt;</code> &amp; more')
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


ENVIRONMENT.filters["with_code"] = with_code


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its title, its HTML, and files of the report's folder to link to."""

    id: str
    title: str
    html: Markup
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    """What a section may read."""

    study: Study
    layout: Layout

    @cached_property
    def folder(self) -> Path:
        """The report's folder."""
        return self.layout.report(self.study.config.name)

    @cached_property
    def titles(self) -> Titles:
        """What things are called."""
        return read_titles(self.study, self.layout)

    @cached_property
    def results(self) -> pd.DataFrame:
        """Rows of ``results.csv``: one per run, table and variant."""
        return read_results(self.folder)

    @cached_property
    def provenance(self) -> pd.DataFrame:
        """Rows of ``provenance.csv``: one per finished run."""
        return read_csv(self.folder / PROVENANCE)

    @cached_property
    def addresses(self) -> dict[str, str]:
        """Addresses in MLflow's interface, by run."""
        return read_addresses(self.study.config.name, self.layout)

    def runs(self, lines: Collection[tuple[str, ...]] | None = None) -> Links:
        """Return links to the finished runs of some lines, or of all that are compared: what stands below a figure."""
        wanted = line_keys(self.study.compared.runs) if lines is None else lines
        return run_links(self.results, self.titles, wanted)

    def runs_below(self, lines: Collection[tuple[str, ...]] | None = None) -> Markup:
        """Return what stands below a table: links to the finished runs of some lines, or of all that are compared."""
        found = self.runs(lines)
        return fragment("links.html.j2", what="table", runs=found) if found else Markup("")

    def drawn(self, stem: str, *data: str) -> bool:
        """Whether the report's folder has a figure and its data."""
        names = (f"{stem}.png", f"{stem}.svg", *data)
        return self.existing(*names) == names

    def figure_files(self, stem: str, *data: str) -> tuple[str, ...]:
        """Return a figure's files that the report's folder has, and the files of its data."""
        return self.existing(*(f"{stem}.{kind}" for kind in ("svg", "png", "pdf")), *data)

    def existing(self, *names: str) -> tuple[str, ...]:
        """Return those of these files that the report's folder has."""
        return tuple(name for name in names if (self.folder / name).is_file())


def fragment(template: str, **values: object) -> Markup:
    """Render one of the templates; values are escaped."""
    return Markup(ENVIRONMENT.get_template(template).render(**values))


def figure_html(stem: Path, title: str) -> Markup:
    """Return a figure to stand inside the page: the SVG in the page's colours, or the PNG where that is too big."""
    svg = stem.with_name(f"{stem.name}.svg")
    if svg.is_file() and svg.stat().st_size <= MAX_INLINE:
        return _inline_svg(svg.read_text(encoding="utf-8"), stem.name, title)
    png = stem.with_name(f"{stem.name}.png").read_bytes()
    content = base64.b64encode(png).decode()
    return Markup('<img src="data:image/png;base64,{}" alt="{}" style="max-width: {}">').format(
        content,
        title,
        _largest(int.from_bytes(png[16:20], "big") / DPI),  # a PNG's width stands in its header
    )


def _inline_svg(svg: str, prefix: str, title: str) -> Markup:
    svg = svg[svg.index("<svg") :]
    # Names must be unique in the page, and a figure's own sheet must not reach the page's text.
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(PAPER, "none").replace(INK, "currentColor")
    width = re.search(r'width="([\d.]+)pt"', svg)
    largest = _largest(float(width[1]) / 72) if width else "none"
    label = Markup('<svg role="img" aria-label="{}" style="max-width: {}" ').format(title, largest)
    return Markup(svg.replace("<svg ", label, 1))


def _largest(inches: float) -> str:
    """A little larger than on paper, so that its text is as large as the page's."""
    return f"{7.5 * inches:.0f}rem"
