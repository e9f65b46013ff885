"""Figures over epochs: each is a function from a data file to a PNG and an SVG beside it."""

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nrd.layout import Layout
from nrd.report.curves import CURVES, read_curves, write_curves
from nrd.report.drawing import write_analyses
from nrd.report.overviews import write_overviews
from nrd.report.style import empty, line_styles, plain, save, styled
from nrd.study import Study

PANEL = (3.3, 2.5)  # inches; narrower where five stand side by side
WIDTH = 9.9
START = 0.1  # share of training that does not set the limits
MAX_COLUMNS = 3
MAX_POINTS = 140  # per line: about one for two pixels
# What becomes of training images, in the order of the panels: those of one part add up to all of its images.
FATES = {
    "train_mislabeled_accuracy": "mislabeled: true label",
    "train_memorised": "mislabeled: given label",
    "train_mislabeled_other": "mislabeled: another",
    "train_clean_accuracy": "clean: true label",
    "train_clean_other": "clean: another",
}


@dataclass(frozen=True)
class Panel:
    """One pair of axes: the part of the curves it shows, of which quantity, between which limits (per cent)."""

    title: str
    quantity: str
    label: str
    data: pd.DataFrame
    limits: tuple[float, float]


def write_figures(study: Study, layout: Layout) -> None:
    """Write the figures' data from the runs' histories and predictions, and draw every figure from its file."""
    data = write_curves(study, layout)
    draw_accuracy(data, data.with_name("curves"))
    draw_memorisation(data, data.with_name("memorisation"))
    write_analyses(study, layout)
    write_overviews(study, layout)


def draw_accuracy(data: Path, stem: Path) -> None:
    """Draw test accuracy over epochs, one panel per dataset and noise.

    Args:
        data: a file as :func:`nrd.report.curves.write_curves` writes it.
        stem: the figure's path without suffix; ``.png`` and ``.svg`` are written.
    """
    panels = [
        Panel(textwrap.fill(title, 44), "test_accuracy", "test accuracy (%)", part, _limits(part, "test_accuracy"))
        for title, part in _conditions(read_curves(data))
    ]
    _draw(panels, min(MAX_COLUMNS, len(panels)), stem)


def draw_memorisation(data: Path, stem: Path) -> None:
    """Draw as what mislabeled and clean training images are predicted: their true label, the given one, or another.

    One row of panels (:data:`FATES`) per dataset and noise; without mislabeled images there is none. Arguments as for
    :func:`draw_accuracy`.
    """
    panels = []
    for title, part in _conditions(read_curves(data)):
        if part["train_memorised_mean"].notna().any():
            for quantity, fate in FATES.items():
                head = title if quantity == next(iter(FATES)) else ""  # it reaches over the row
                panels.append(Panel(f"{head}\n{fate}", quantity, "images (%)", part, (0, 100)))
    _draw(panels, len(FATES), stem, height=2.0)


def _conditions(curves: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the curves of each table, dataset and noise; the table is named where a condition is in several."""
    conditions = curves[["table", "dataset", "noise"]].drop_duplicates()
    repeated = conditions.duplicated(["dataset", "noise"], keep=False).any()
    for (table, _, _), part in curves.groupby(["table", "dataset", "noise"], sort=False):
        first = part.iloc[0]
        title = f"{first['dataset_title']}, {first['noise_title']}"
        yield (f"{title} ({table})" if repeated else title), part


def _limits(part: pd.DataFrame, quantity: str) -> tuple[float, float]:
    """Limits in per cent, in steps of ten. The first tenth of training may lie below: it would flatten the rest."""
    late = part[part["epoch"] > START * part["epoch"].max()]
    low, high = 100 * late[f"{quantity}_min"].min(), 100 * late[f"{quantity}_max"].max()
    if math.isnan(low):
        return 0, 100
    return max(0, low // 10 * 10), min(100, (high // 10 + 1) * 10)


def _draw(panels: list[Panel], columns: int, stem: Path, height: float = PANEL[1]) -> None:
    with styled(stem.name):
        if not panels:
            save(empty(), stem)
            return
        rows = -(-len(panels) // columns)
        width = min(PANEL[0] * max(columns, 2), WIDTH)
        figure = Figure(figsize=(width, height * rows + 0.4), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.09, w_pad=0.05)
        axes = figure.subplots(rows, columns, squeeze=False)
        styles = line_styles(_lines(panels))
        handles: dict[str, object] = {}
        for place, ax in enumerate(axes.flat):
            if place >= len(panels):
                ax.remove()
                continue
            handles |= _panel(ax, panels[place], styles)
            ax.set_title(plain(panels[place].title))
            if place + columns >= len(panels):
                ax.set_xlabel("epoch")
            if place % columns == 0 or panels[place].label != panels[place - 1].label:
                ax.set_ylabel(panels[place].label)
        # Above the panels, where it covers no line; in as many columns as titles have room.
        room = int(width / (0.6 + 0.075 * max(map(len, handles), default=0)))
        ncols = max(1, min(len(handles), room))
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=ncols)
        save(figure, stem)


def _lines(panels: list[Panel]) -> list[tuple[str, str]]:
    keys: dict[tuple[str, str], None] = {}
    for panel in panels:
        keys |= dict.fromkeys(zip(panel.data["method"], panel.data["variant"], strict=True))
    return list(keys)


def _panel(ax: Axes, panel: Panel, styles: dict[tuple[str, str], dict]) -> dict[str, object]:
    """Draw a panel and return its lines by title."""
    handles = {}
    for (method, variant), line in panel.data.groupby(["method", "variant"], sort=False):
        line = _thinned(line[line[f"{panel.quantity}_mean"].notna()].sort_values("epoch"))
        if line.empty:
            continue
        style = styles[method, variant]
        mean, low, high = (100 * line[f"{panel.quantity}_{kind}"] for kind in ("mean", "min", "max"))
        if (line["n"] > 1).any():
            ax.fill_between(line["epoch"], low, high, color=style["color"], alpha=0.18, linewidth=0)
        marker = "o" if len(line) == 1 else None
        handles[plain(line["title"].iloc[0])] = ax.plot(line["epoch"], mean, marker=marker, markersize=4, **style)[0]
    margin = 0.03 * (panel.limits[1] - panel.limits[0])
    ax.set_ylim(panel.limits[0] - margin, panel.limits[1] + margin)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
    return handles


def _thinned(line: pd.DataFrame) -> pd.DataFrame:
    """Keep every k-th epoch, counted from the last: that one is what the tables show."""
    step = -(-len(line) // MAX_POINTS)
    return line.iloc[::-1].iloc[::step].iloc[::-1] if step > 1 else line


__all__ = ["CURVES", "draw_accuracy", "draw_memorisation", "write_figures"]
