"""The paper's Figure 1: how views bring the true label nearer, as histograms and with an example."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from nrd.report.analyses import conditions
from nrd.report.memorised import read_data
from nrd.report.style import COLOURS, INK, POLICY_COLOURS, empty, plain, save, styled
from nrd.report.titles import Titles

ROW = 2.35  # inches
WIDTH = 8.6
PLAIN, VICINAL = POLICY_COLOURS["training"], POLICY_COLOURS["unseen"]
NOTHING = "No network that memorised its labels is there yet."
BOX = {"boxstyle": "circle,pad=0.15", "facecolor": "none", "linewidth": 1}


def draw_density(data: Path, samples: Path, stem: Path, titles: Titles) -> None:
    """Draw, per run, the histograms of its mislabeled images and one of these with views of it.

    Args:
        data: a file as :func:`nrd.report.memorised.write_figure_1` writes it.
        samples: a file as :func:`nrd.report.memorised.write_samples` writes it.
        stem: the figure's path without suffix.
        titles: for the names of classes.
    """
    table = read_data(data)
    rows = [(title, part) for title, part in conditions(table) if (part["part"] == "mislabeled").any()]
    with styled(stem.name):
        if not rows:
            save(empty(NOTHING), stem)
            return
        figure = Figure(figsize=(WIDTH, ROW * len(rows) + 0.6), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.1, w_pad=0.08)
        grid = figure.add_gridspec(len(rows), 2, width_ratios=[1.25, 1])
        with np.load(samples, allow_pickle=False) as content:
            for place, (title, part) in enumerate(rows):
                ax = figure.add_subplot(grid[place, 0])
                handles = _histograms(ax, part, title)
                example = _example(content, part["run"].iloc[0])
                if example:
                    _mark(ax, example["losses"])
                    names = titles.classes.get(part["dataset"].iloc[0], ())
                    _views(figure, grid[place, 1], example, names)
                if place == len(rows) - 1:
                    ax.set_xlabel("cross-entropy w.r.t. the true label (nats)")
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=2)
        save(figure, stem)


def _histograms(ax: Axes, part: pd.DataFrame, title: str) -> dict[str, object]:
    rows = part[part["part"] == "mislabeled"]
    handles, first = {}, rows.iloc[0]
    labels = {"plain": "without views", "vicinal": f"mean of {first['average']} over {first['draws']:.0f} views"}
    for kind, colour in (("plain", PLAIN), ("vicinal", VICINAL)):
        bars = rows[rows["kind"] == kind]
        edges = [*bars["low"], bars["high"].iloc[-1]]
        style = {"fill": True, "facecolor": (colour, 0.3), "edgecolor": colour, "linewidth": 1.2}
        handles[labels[kind]] = ax.stairs(bars["density"], edges, **style)
    ax.set_title(f"{textwrap.fill(plain(title), 44)}\ndensity AUROC {first['auroc']:.3f}", fontsize=8.8)
    ax.set_ylabel("density (1/nat)")
    ax.set_xlim(0, rows["high"].max())
    ax.set_ylim(0, 1.22 * rows["density"].max())  # room for the marks
    return handles


def _example(content: np.lib.npyio.NpzFile, run: str) -> dict[str, np.ndarray] | None:
    """Return the first mislabeled sample of a run; None if it has none."""
    true, given = content[f"{run}/true"], content[f"{run}/given"]
    wrong = np.flatnonzero(true != given)
    if not len(wrong):
        return None
    place = wrong[0]
    found = {key: content[f"{run}/{key}"][place] for key in ("images", "pictures", "true", "given", "predicted")}
    return found | {"losses": content[f"{run}/losses"][:, place]}


def _mark(ax: Axes, losses: np.ndarray) -> None:
    for number, (loss, colour) in enumerate(zip(losses, (PLAIN, VICINAL), strict=True), start=1):
        ax.axvline(loss, ymax=0.86, color=colour, linewidth=1, linestyle=(0, (2, 2)))
        place = {"xy": (loss, 0.93), "xycoords": ("data", "axes fraction"), "ha": "center", "va": "center"}
        ax.annotate(str(number), **place, fontsize=7.5, color=INK, bbox=BOX | {"edgecolor": colour})


def _views(figure: Figure, cell: SubplotSpec, example: dict[str, np.ndarray], names: tuple[str, ...]) -> None:
    """Draw the example as it is, and eight views of it as one mosaic."""
    grid = cell.subgridspec(1, 2, width_ratios=[1, 2])
    whole, views = (figure.add_subplot(grid[0, place]) for place in (0, 1))
    given, true, says = (class_name(int(example[key]), names) for key in ("given", "true", "predicted"))
    show_image(whole, example["images"])
    whole.set_title(f"1: labeled {given},\ntrue {true}", fontsize=8.2)
    show_image(views, _mosaic(example["pictures"]))
    views.spines[:].set_visible(False)
    views.set_title(f"2: eight views;\nthe mean says {says}", fontsize=8.2)


def _mosaic(pictures: np.ndarray, columns: int = 4) -> np.ndarray:
    """Put pictures ``(M, C, H, W)`` into rows, with white between them: ``(C, rows · H', columns · W')``."""
    gap = max(1, pictures.shape[-1] // 16)
    padded = np.pad(pictures, ((0, 0), (0, 0), (gap, gap), (gap, gap)), constant_values=255)
    rows = [np.concatenate(list(padded[start : start + columns]), axis=2) for start in range(0, len(padded), columns)]
    return np.concatenate(rows, axis=1)


def show_image(ax: Axes, image: np.ndarray) -> None:
    """Show an image ``(C, H, W)`` uint8 as it is, in a thin frame."""
    shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    ax.imshow(shown, cmap="gray" if len(image) == 1 else None, vmin=0, vmax=255, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set(visible=True, color=COLOURS[0], linewidth=0.6)


def class_name(number: int, names: tuple[str, ...]) -> str:
    """Name a class as readers know it: its number where it has no name."""
    return plain(names[number]) if number < len(names) else str(number)
