"""Reliability diagrams (the paper's Figures 2b and 5): from runs' predictions to data, from data to a figure."""

import math
import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nrd.evaluation.calibration import Calibration, pool
from nrd.evaluation.diagram import draw_bars
from nrd.layout import Layout
from nrd.report.analyses import LINE, TEXT, Analysed, conditions, described, lines, shown
from nrd.report.plain import write_plain
from nrd.report.published import read_published_ece
from nrd.report.render import decimals
from nrd.report.results import read_csv, write_csv
from nrd.report.style import empty, plain, save, styled
from nrd.report.titles import Titles
from nrd.study import Study

RELIABILITY = "reliability.csv"
NUMBERS = ("n", "bin", "low", "high", "count", "confidence", "accuracy", "ece", "ece_midpoint", "published_ece")
PANEL = 2.45  # inches


def write_reliability(study: Study, layout: Layout, analysed: dict[str, Analysed], titles: Titles) -> Path:
    """Write ``reliability.csv``: one row per line of the study and confidence bin (a, b].

    Columns: titles, ``n`` seeds, ``bin`` from 0, its bounds ``low`` and ``high``, ``count`` of test images in it (all
    seeds pooled), their mean ``confidence`` and their ``accuracy`` (empty in empty bins), then, the same in all rows
    of a line, ``ece`` and ``ece_midpoint`` (means over seeds) and ``published_ece``. All shares in [0, 1].
    """
    # The paper's are of Figure 5, whose cross-entropy is another network than the table's: they belong there.
    drawn = any("calibration" in block.figures for block in study.config.grid)
    paper, rows = {} if drawn else read_published_ece(layout), []
    for keys, runs in lines(study, analysed):
        found = pool(run.calibration for run in runs)
        title = titles.methods.get(keys["method"], keys["method"])
        theirs = paper.get((keys["dataset"], keys["noise"], title), math.nan)
        rows += diagram_rows(found, described(keys, titles) | {"published_ece": theirs})
    path = layout.report(study.config.name) / RELIABILITY
    table = pd.DataFrame(rows, columns=[*TEXT, *NUMBERS])
    write_csv(path, table.astype({"count": int, "bin": int, "n": int}), float_format="%.6g")
    return path


def diagram_rows(found: Calibration, same: dict) -> list[dict]:
    """Return one row per confidence bin of a diagram, each with what is the same in all of them."""
    edges = np.linspace(0, 1, len(found.count) + 1)
    same = same | {"n": found.runs, "ece": found.ece, "ece_midpoint": found.ece_midpoint}
    rows = []
    for place in range(len(found.count)):
        own = {key: getattr(found, key)[place] for key in ("count", "confidence", "accuracy")}
        rows.append(same | {"bin": place, "low": edges[place], "high": edges[place + 1]} | own)
    return rows


def read_reliability(path: Path) -> pd.DataFrame:
    """Read ``reliability.csv`` back."""
    return read_csv(path, TEXT)


ERRORS_NOTE = (
    "ECE, as a share: mean gap between accuracy and mean confidence in 15 bins, as usually defined; mid-point: in 10 "
    "bins and to the bin's middle, as in a working code of two of the paper's authors (a confidence stored as 1 stays "
    "in the last bin). Both are means over seeds of each network's own error. The paper does not say which "
    "definition its numbers follow."
)


def errors_table(table: pd.DataFrame) -> tuple[list[str], list[tuple[str, list[list[str]]]]]:
    """Return heads and, for each dataset and noise, rows of the calibration errors as they are printed."""
    heads = ["Method", "Seeds", "ECE", "ECE, mid-points", "Published"]
    groups = []
    for title, part in conditions(table):
        firsts = part.drop_duplicates(["variant", "method"])  # errors are the same in all rows of a line
        groups.append((title, [_printed(line) for line in firsts.itertuples()]))
    if table["published_ece"].isna().all():
        heads, groups = heads[:-1], [(title, [row[:-1] for row in rows]) for title, rows in groups]
    return heads, groups


def _printed(line: object) -> list[str]:
    errors = [decimals(line.ece, 3), decimals(line.ece_midpoint, 3), decimals(line.published_ece, 2)]
    return [line.title, str(line.n), *errors]


def write_errors(data: Path, stem: Path) -> None:
    """Write the calibration errors of ``reliability.csv`` as a table of their own: csv, md and tex."""
    table = read_reliability(data)
    columns = [*TEXT, "n", "ece", "ece_midpoint", "published_ece"]
    write_csv(stem.with_suffix(".csv"), table.drop_duplicates(list(LINE))[columns])
    write_plain(stem, ERRORS_NOTE, *errors_table(table))


def draw_reliability(data: Path, stem: Path, methods: Iterable[str] | None = None) -> None:
    """Draw two diagrams side by side per dataset and noise.

    Args:
        data: a file as :func:`write_reliability` writes it.
        stem: the figure's path without suffix; ``.png`` and ``.svg`` are written.
        methods: which methods; by default the study's first and NRD.
    """
    panels = [(title, rows) for title, part in conditions(read_reliability(data)) for rows in shown(part, methods)]
    draw_diagrams(panels, stem)


Diagram = tuple[str, pd.DataFrame]


def draw_diagrams(panels: list[Diagram | None], stem: Path, columns: int | None = None) -> None:
    """Draw diagrams side by side.

    Args:
        panels: of each a title and its rows of a file as :func:`write_reliability` writes it; None leaves a gap.
        stem: the figure's path without suffix.
        columns: in a row; by default four, or two where there are no more.
    """
    with styled(stem.name):
        save(_figure(panels, columns or (4 if len(panels) > 2 else 2)) if any(panels) else empty(), stem)


def draw_rows(table: pd.DataFrame, kind: str, stem: Path) -> None:
    """Draw a row of diagrams for each value of the column ``kind``, a column for each dataset and noise."""
    found = {}
    for title, part in conditions(table):
        found |= {(title, value): rows for value, rows in part.groupby(kind, sort=False)}
    titles, kinds = (list(dict.fromkeys(key[place] for key in found)) for place in (0, 1))
    pairs = [(title, value) for value in kinds for title in titles] if len(titles) > 1 else list(found)
    panels = [(pair[0], found[pair]) if pair in found else None for pair in pairs]
    draw_diagrams(panels, stem, max(2, len(titles)) if len(titles) <= 4 else None)


def _figure(panels: list[Diagram | None], columns: int) -> Figure:
    rows = -(-len(panels) // columns)
    titles = [_title(panel) if panel else "" for panel in panels]
    height = PANEL + 0.2 + 0.15 * max(title.count("\n") + 1 for title in titles)
    figure = Figure(figsize=(PANEL * columns, height * rows + 0.4), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.06)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for place, ax in enumerate(axes):
        if place >= len(panels) or panels[place] is None:
            ax.remove()
            continue
        handles = _panel(ax, panels[place][1])
        ax.set_title(titles[place], fontsize=8.2)
        if place % columns == 0:
            ax.set_ylabel("accuracy (%)")
        if place + columns >= len(panels):
            ax.set_xlabel("confidence (%)")
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=columns)
    return figure


def _title(panel: Diagram) -> str:
    title, part = panel
    method = textwrap.fill(plain(part["title"].iloc[0]), 32)
    return f"{textwrap.fill(plain(title), 32)}\n{method}\n{_errors(part)}"


def _panel(ax: Axes, part: pd.DataFrame) -> dict[str, object]:
    """Draw a diagram and return what its legend explains."""
    part = part.sort_values("bin")
    return draw_bars(ax, *(part[key].to_numpy(dtype=float) for key in ("count", "confidence", "accuracy")))


def _errors(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    text = f"ECE {first['ece']:.3f}, mid-point {first['ece_midpoint']:.3f}"
    return text if math.isnan(first["published_ece"]) else f"{text}, paper {first['published_ece']:.2f}"
