"""What becomes of each class: the confusion a network learned against the noise's own, and accuracy per class."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from nrd.layout import Layout
from nrd.report.analyses import TEXT, Analysed, conditions, described, lines, shown
from nrd.report.plain import write_plain_tables
from nrd.report.results import read_csv, write_csv
from nrd.report.style import COLOURS, INK, PAPER, empty, plain, save, styled
from nrd.report.titles import Titles
from nrd.study import Study

CONFUSION, CLASSES = "confusion.csv", "classes.csv"
MAX_CLASSES = 20  # of a matrix that can be read
PANEL = 2.7  # inches
NOTHING = "No finished run has mislabeled training images of at most 20 classes."
# From white to Okabe and Ito's blue: light to dark for every reader, and in grey print too.
COLOUR_MAP = LinearSegmentedColormap.from_list("share", [PAPER, COLOURS[5], COLOURS[1], INK])


def write_confusion(study: Study, layout: Layout, analysed: dict[str, Analysed], titles: Titles) -> Path:
    """Write ``confusion.csv``: what becomes of mislabeled training images, by true class; noisy cells only.

    One row per line of the study, true class and class (numbers from 0) with ``n`` seeds, ``images`` mislabeled of the
    true class (all seeds pooled), and the shares of them that were given this class (``given_share``) and that the
    student predicts as it (``predicted_share``), plain and after the last epoch. Shares add up to 1 over classes.
    """
    rows = []
    for keys, runs in lines(study, analysed):
        given, predicted = (sum(getattr(run, key) for run in runs) for key in ("given", "predicted"))
        if given.sum():
            same = described(keys, titles) | {"n": len(runs)}
            images = given.sum(axis=1)
            with np.errstate(invalid="ignore"):
                shares = given / images[:, None], predicted / images[:, None]
            for true, column in np.ndindex(given.shape):
                own = {"true_class": true, "class": column, "images": int(images[true])}
                rows.append(
                    same | own | {"given_share": shares[0][true, column], "predicted_share": shares[1][true, column]}
                )
    columns = [*TEXT, "n", "true_class", "class", "images", "given_share", "predicted_share"]
    path = layout.report(study.config.name) / CONFUSION
    write_csv(path, pd.DataFrame(rows, columns=columns), float_format="%.4g")
    return path


def write_classes(study: Study, layout: Layout, analysed: dict[str, Analysed], titles: Titles) -> Path:
    """Write ``classes.csv``: one row per line of the study and class (a number from 0).

    Columns: titles, ``n`` seeds, ``class``, ``noise_rate`` (mean share of its training images that is mislabeled) and
    ``test_accuracy`` (mean over seeds of the share of its test images that is right). Shares in [0, 1].
    """
    rows = []
    for keys, runs in lines(study, analysed):
        same = described(keys, titles) | {"n": len(runs)}
        with np.errstate(invalid="ignore"):
            accuracies = np.mean([np.diag(run.test) / run.test.sum(axis=1) for run in runs], axis=0)
        rates = np.mean([run.rates for run in runs], axis=0)
        for number, (rate, accuracy) in enumerate(zip(rates, accuracies, strict=True)):
            rows.append(same | {"class": number, "noise_rate": rate, "test_accuracy": accuracy})
    path = layout.report(study.config.name) / CLASSES
    table = pd.DataFrame(rows, columns=[*TEXT, "n", "class", "noise_rate", "test_accuracy"])
    write_csv(path, table, float_format="%.6g")
    write_plain_tables(path.with_suffix(""), CLASSES_NOTE, class_tables(table, titles))
    return path


CLASSES_NOTE = (
    "Test accuracy of each class in per cent, mean over finished seeds, above it the measured share of the "
    "class's training images that are mislabeled. Datasets of many classes: worst, median and best class."
)


def class_tables(table: pd.DataFrame, titles: Titles) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return a table for each dataset and noise as it is printed: its title, its heads, its rows."""
    return [_class_table(title, part, titles) for title, part in conditions(table)]


def _class_table(title: str, part: pd.DataFrame, titles: Titles) -> tuple[str, list[str], list[list[str]]]:
    number = int(part["class"].max()) + 1
    names = titles.classes.get(part["dataset"].iloc[0], ())
    found = [(rows["title"].iloc[0], rows) for _, rows in part.groupby(["variant", "method"], sort=False)]
    if number > MAX_CLASSES:
        heads, values = ["Worst", "Median", "Best"], _extremes
    else:
        heads, values = (list(names) if len(names) == number else [str(n) for n in range(number)]), list
    # Noise files are shared by methods, but not all methods may have finished the same seeds.
    rows = [("mislabeled", values(found[0][1]["noise_rate"]))]
    rows += [(name, values(own["test_accuracy"])) for name, own in found]
    return title, ["Class", *heads], [[name, *(f"{100 * v:.1f}" for v in numbers)] for name, numbers in rows]


def _extremes(values: pd.Series) -> list[float]:
    return [values.min(), values.median(), values.max()]


def read_classes(path: Path) -> pd.DataFrame:
    """Read ``confusion.csv`` or ``classes.csv`` back."""
    return read_csv(path, TEXT)


def draw_confusion(
    data: Path, stem: Path, names: dict[str, tuple[str, ...]], methods: Iterable[str] | None = None
) -> None:
    """Draw, per dataset and noise, the labels given to mislabeled images and what two methods predict instead.

    Args:
        data: a file as :func:`write_confusion` writes it.
        stem: the figure's path without suffix; ``.png`` and ``.svg`` are written.
        names: of each dataset's classes, where they have any.
        methods: which methods; by default the study's first and NRD.
    """
    rows = []
    for title, part in conditions(read_classes(data)):
        if part["class"].max() < MAX_CLASSES:
            rows.append((title, names.get(part["dataset"].iloc[0], ()), shown(part, methods)))
    with styled(stem.name):
        save(_figure([row for row in rows if row[2]]), stem)


def _figure(rows: list[tuple[str, tuple[str, ...], list[pd.DataFrame]]]) -> Figure:
    if not rows:
        return empty(NOTHING)
    columns = 1 + max(len(parts) for _, _, parts in rows)
    figure = Figure(figsize=(PANEL * columns + 1.1, (PANEL + 0.5) * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (title, names, parts) in zip(axes, rows, strict=True):
        panels = [("given labels", parts[0], "given_share")]
        panels += [(f"predicted by {part['title'].iloc[0]}", part, "predicted_share") for part in parts]
        for ax, panel in zip(line, panels, strict=False):
            image = _matrix(ax, *panel[1:], names)
            ax.set_title(
                textwrap.fill(plain(f"{title}:"), 34) + "\n" + textwrap.fill(plain(panel[0]), 34), fontsize=8.2
            )
        line[0].set_ylabel("true class")
        for ax in line[len(panels) :]:
            ax.remove()
    bar = figure.colorbar(image, ax=figure.axes, shrink=min(1, 0.8 / len(rows)), aspect=16, pad=0.02)
    bar.set_label("of the class's mislabeled images (%)")
    bar.outline.set_visible(False)
    return figure


def _matrix(ax: Axes, part: pd.DataFrame, quantity: str, names: tuple[str, ...]) -> object:
    table = part.pivot(index="true_class", columns="class", values=quantity)
    image = ax.imshow(100 * table.to_numpy(), cmap=COLOUR_MAP, vmin=0, vmax=100, interpolation="nearest")
    places = range(len(table))
    labels = [plain(name) for name in names] if len(names) == len(table) else list(map(str, places))
    ax.set_xticks(places, labels, fontsize=7, rotation=90 if max(map(len, labels)) > 3 else 0)
    ax.set_yticks(places, labels, fontsize=7)
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(True)
    return image
