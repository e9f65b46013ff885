"""Predictions on views as points in the classes' polygon: the paper's Figure 2a and Table 6."""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nrd.evaluation.projection import vertices
from nrd.report.density import class_name, show_image
from nrd.report.memorised import read_data
from nrd.report.style import INK, POLICY_COLOURS, empty, plain, save, styled
from nrd.report.titles import Titles

PANEL = 2.15  # inches
RATE = 0.5  # the noise rate that Figure 2a is drawn at, or the nearest to it: Figure 1's
MANY_CLASSES = 20  # beyond this only the true and the given class are named
MARKERS = {"training": "+", "unseen": "o"}
LABELS = {"training": "views of the training policy", "unseen": "views of an unseen policy"}
NOTHING = "No network that memorised its labels is there yet."
NO_DYNAMICS = "No run with snapshots of its training is there yet."


def draw_figure_2a(data: Path, samples: Path, stem: Path, titles: Titles) -> None:
    """Draw predictions on views of clean images (first row) and of mislabeled ones, after training.

    Args:
        data: a file as :func:`nrd.report.memorised.write_figure_2a` writes it; one of its runs is drawn, that whose
            noise rate is nearest to 50 %.
        samples: a file as :func:`nrd.report.memorised.write_samples` writes it.
        stem: the figure's path without suffix.
        titles: for the names of classes.
    """
    table = read_data(data)
    with styled(stem.name):
        if table.empty:
            save(empty(NOTHING), stem)
            return
        rows = chosen_run(table)
        names = titles.classes.get(rows["dataset"].iloc[0], ())
        parts = [(kind, rows[rows["part"] == kind]) for kind in ("clean", "mislabeled")]
        parts = [(kind, part) for kind, part in parts if len(part)]
        columns = max(part["sample"].nunique() for _, part in parts)
        figure = Figure(figsize=(PANEL * columns, (PANEL + 0.25) * len(parts) + 0.4), layout="constrained")
        axes = figure.subplots(len(parts), columns, squeeze=False)
        images = _images(samples, rows["run"].iloc[0])
        for line, (kind, part) in zip(axes, parts, strict=True):
            found = list(part.groupby("sample", sort=True))
            for ax, (sample, points) in zip(line, found, strict=False):
                handles = draw_polygon(ax, points, names, images[sample])
                ax.set_title(f"{kind} image", fontsize=8.2, loc="center", pad=2)
            for ax in line[len(found) :]:
                ax.remove()
        _legend(figure, handles)
        save(figure, stem)


def chosen_run(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the run that the picture shows."""
    distance = (table["rate"] - RATE).abs()
    return table[table["run"] == table.loc[distance.idxmin(), "run"]]


def draw_table_6(curves: Path, points: Path, samples: Path, stem: Path, titles: Titles) -> None:
    """Draw, per mislabeled sample, the true class's probability over epochs, and its points at some of them.

    Args:
        curves: ``table6.csv`` of :func:`nrd.report.memorised.write_table_6`; its first run is drawn.
        points: ``table6-points.csv`` of the same.
        samples: a file as :func:`nrd.report.memorised.write_samples` writes it.
        stem: the figure's path without suffix.
        titles: for the names of classes.
    """
    lines, places = read_data(curves), read_data(points)
    with styled(stem.name):
        if lines.empty:
            save(empty(NO_DYNAMICS), stem)
            return
        run = lines["run"].iloc[0]
        lines, places = lines[lines["run"] == run], places[places["run"] == run]
        epochs, found = sorted(places["epoch"].unique()), list(lines.groupby("sample", sort=True))
        names = titles.classes.get(lines["dataset"].iloc[0], ())
        size = (PANEL * (1.35 + len(epochs)), PANEL * len(found) + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(found), 1 + len(epochs), squeeze=False, width_ratios=[1.3, *[1] * len(epochs)])
        images = _images(samples, run)
        for row, (sample, own) in enumerate(found):
            _confidence(axes[row, 0], own, epochs, names)
            for ax, epoch in zip(axes[row, 1:], epochs, strict=True):
                part = places[(places["sample"] == sample) & (places["epoch"] == epoch)]
                handles = draw_polygon(ax, part, names, images[sample])
                if row == 0:
                    ax.set_title(f"epoch {epoch}", loc="center", fontsize=9)
        axes[-1, 0].set_xlabel("epoch")
        _legend(figure, handles)
        save(figure, stem)


def _images(samples: Path, run: str) -> np.ndarray:
    with np.load(samples, allow_pickle=False) as content:
        return content[f"{run}/images"]


def _legend(figure: Figure, handles: dict[str, object]) -> None:
    legend = figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=2, markerscale=1.6)
    for handle in legend.legend_handles:
        handle.set_alpha(1)


def _confidence(ax: Axes, rows: pd.DataFrame, epochs: Iterable[int], names: tuple[str, ...]) -> None:
    for policy, line in rows.groupby("policy", sort=False):
        colour = POLICY_COLOURS[policy]
        low, high = ((line["mean"] + sign * line["std"]).clip(0, 1) for sign in (-1, 1))
        ax.fill_between(line["epoch"], low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(line["epoch"], line["mean"], color=colour, marker=MARKERS[policy], markersize=3.5, linewidth=1.3)
    for epoch in epochs:
        ax.axvline(epoch, color=INK, linewidth=0.7, linestyle=(0, (1, 2)))
    first = rows.iloc[0]
    true, given = (class_name(int(first[key]), names) for key in ("true", "given"))
    ax.set_title(f"true {true}, labeled {given}", fontsize=8.6)
    ax.set_ylabel("probability of\nthe true class", fontsize=8.2)
    ax.set(ylim=(-0.03, 1.03), xlim=(0, rows["epoch"].max() * 1.03))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def draw_polygon(ax: Axes, points: pd.DataFrame, names: tuple[str, ...], image: np.ndarray) -> dict[str, object]:
    """Draw the views of one sample as points, the classes around them, and the image in a corner.

    Returns:
        The markers by their meaning, for a legend.
    """
    first = points.iloc[0]
    number, true, given = int(first["classes"]), int(first["true"]), int(first["given"])
    corners = vertices(number)
    ax.fill(*corners.T, facecolor="none", edgecolor=INK, linewidth=0.8, alpha=0.6)
    if number <= MANY_CLASSES:
        for corner in corners:
            ax.plot(*zip((0, 0), corner, strict=True), color=INK, linewidth=0.4, alpha=0.2)
    handles = {}
    for policy in ("unseen", "training"):
        part = points[points["policy"] == policy]
        style = {"markersize": 5 if policy == "training" else 3.4, "alpha": 0.55, "markeredgewidth": 0.9}
        style |= {"color": POLICY_COLOURS[policy], "linestyle": "none"}
        if policy == "unseen":
            style |= {"markeredgecolor": "none"}
        handles[LABELS[policy]] = ax.plot(part["x"], part["y"], MARKERS[policy], **style)[0]
    for place, corner in enumerate(corners):
        _name(ax, place, corner, number, (true, given), names)
    limit = 1.42 if names else 1.36
    # Room below for the image: beside the lower corners it would touch their classes' names.
    ax.set(xlim=(-limit, limit), ylim=(-limit - 0.45, limit), aspect="equal")
    ax.axis("off")
    corner = ax.inset_axes((-0.04, 0, 0.19, 0.17))
    show_image(corner, image)
    return handles


def _name(
    ax: Axes, place: int, corner: np.ndarray, number: int, special: tuple[int, int], names: tuple[str, ...]
) -> None:
    """Name a class outside of its corner; the true and the given one say that they are it."""
    true, given = special
    if number > MANY_CLASSES and place not in special:
        return
    text = class_name(place, names)
    roles = [role for role, own in (("true", true), ("label", given)) if own == place][:1]  # a clean image's are one
    text = f"{text}\n{roles[0]}" if roles else text
    angle = math.atan2(corner[1], corner[0])
    across, up = math.cos(angle), math.sin(angle)
    align = "left" if across > 0.35 else "right" if across < -0.35 else "center"
    vertical = "bottom" if up > 0.35 else "top" if up < -0.35 else "center"
    style = {"fontsize": 6.8, "weight": "bold"} if roles else {"fontsize": 6.5, "alpha": 0.75}
    ax.text(*(1.06 * corner), plain(text), ha=align, va=vertical, linespacing=0.95, color=INK, clip_on=False, **style)
