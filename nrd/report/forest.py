"""The figure beside the table of variants: each difference with its interval, the largest on top."""

import math
import textwrap
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nrd.report.style import COLOURS, GRID, INK, empty, plain, save, styled
from nrd.report.variants import decided, parts, read_variants

WIDTH = 9.2  # inches
LINE = 0.27  # of a row
FRAME = 0.75  # around a panel
LABEL = 58  # characters of a row's title


def draw_variants(data: Path, stem: Path) -> None:
    """Draw differences to the default with their 95 % intervals, one panel per dataset and noise.

    Args:
        data: a file as :func:`nrd.report.variants.write_variants` writes it.
        stem: the figure's path without suffix.
    """
    panels = [(title, part[part["pairs"] > 0]) for title, part in parts(read_variants(data))]
    panels = [(title, part) for title, part in panels if len(part)]
    with styled(stem.name):
        save(_figure(panels) if panels else empty(), stem)


def _figure(panels: list[tuple[str, pd.DataFrame]]) -> Figure:
    heights = [LINE * len(part) + FRAME for _, part in panels]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (title, part) in zip(axes, panels, strict=True):
        _panel(ax, part)
        ax.set_title(plain(title))
        ax.set_xlabel("difference in test accuracy (points)")
    return figure


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    ax.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 2)))
    for place, row in enumerate(part.itertuples()):
        colour = COLOURS[2] if decided(row) else COLOURS[1]
        if not math.isnan(row.low):
            ax.plot([row.low, row.high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        ax.plot(row.difference, place, "o", color=colour, markersize=5)
    titles = [textwrap.shorten(plain(title), LABEL, placeholder=" …") for title in part["title"]]
    ax.set_yticks(range(len(part)), titles, fontsize=8)
    ax.set_ylim(len(part) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color=GRID, alpha=0.15)
    # An interval of two seeds can be endless: the differences set the scale, and it may leave the panel.
    reach = 1.6 * max(part["difference"].abs().max(), 0.25)
    widest = part[["low", "high"]].abs().max().max()
    limit = reach if math.isnan(widest) else min(max(1.05 * widest, reach), 2.5 * reach)
    ax.set_xlim(-limit, limit)
