"""Tables of what the paper's figures print: from the figures' data files to rows, CSV, Markdown and LaTeX."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nrd.layout import Layout
from nrd.report.analyses import LINE, conditions
from nrd.report.memorised import FIGURE_1, FIGURE_2A, FIGURE_2B, read_data
from nrd.report.overfitting import FIGURE_4, overfitting_table, read_figure_4
from nrd.report.plain import write_plain
from nrd.report.polygons import chosen_run
from nrd.report.published import read_printed, read_published_ece
from nrd.report.reliability import read_reliability
from nrd.report.render import DASH, decimals
from nrd.report.results import write_csv
from nrd.report.titles import Titles

AUROC, SHARES, FITS = "figure1-auroc", "figure2a-shares", "figure4-accuracies"
ERRORS_2B, ERRORS_5 = "figure2b-errors", "figure5-errors"
ECE = (
    "Both definitions of the calibration error: ECE, the mean gap between accuracy and mean confidence in 15 bins; "
    "mid-point, in 10 bins and to the bin's middle, as in a working code of two of the paper's authors (a confidence "
    "that is stored as 1 stays in the last bin). The paper does not say which it prints."
)


@dataclass(frozen=True)
class Beside:
    """A table beside a figure: what it is, its heads, its rows as they are printed, and its numbers."""

    note: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numbers: pd.DataFrame


def auroc_table(figure_1: pd.DataFrame, titles: Titles) -> Beside:
    """Return the density AUROC of each network in Figure 1, beside the paper's of the same noise."""
    rows, numbers = [], []
    for title, part in conditions(figure_1):
        firsts = part.drop_duplicates("part").set_index("part")
        found = {key: firsts["auroc"].get(key, math.nan) for key in ("mislabeled", "clean", "all")}
        first = part.iloc[0]
        paper, where = first["published_auroc"], titles.dataset(first["published_dataset"])
        theirs = DASH if math.isnan(paper) else f"{paper:.4f} ({where})"
        rows.append((title, *(decimals(value, 4) for value in found.values()), theirs))
        keys = {key: first[key] for key in ("dataset", "noise", "run")}
        numbers.append(keys | found | {"published_auroc": paper, "published_dataset": first["published_dataset"]})
    note = (
        "Density AUROC: the probability that a cross-entropy w.r.t. the true label is larger without views than with."
    )
    heads = ("Density AUROC", "Mislabeled images", "Clean images", "All images", "Paper")
    columns = ["dataset", "noise", "run", "mislabeled", "clean", "all", "published_auroc", "published_dataset"]
    return Beside(note, heads, rows, pd.DataFrame(numbers, columns=columns))


def shares_table(figure_2a: pd.DataFrame) -> Beside:
    """Return how many views in Figure 2a are predicted as the true class, the given label, and another class."""
    rows, numbers = [], []
    chosen = chosen_run(figure_2a) if len(figure_2a) else figure_2a
    for part in ("clean", "mislabeled"):
        for policy in ("training", "unseen"):
            own = chosen[(chosen["part"] == part) & (chosen["policy"] == policy)]
            if len(own):
                shares = dict(zip(("true", "given", "other"), nearest_shares(own), strict=True))
                rows.append((f"{part} images, {policy} policy", *(f"{100 * share:.0f} %" for share in shares.values())))
                keys = {"run": own["run"].iloc[0], "part": part, "policy": policy, "views": len(own)}
                numbers.append(keys | {f"{key}_share": share for key, share in shares.items()})
    columns = ["run", "part", "policy", "views", "true_share", "given_share", "other_share"]
    heads = ("Views predicted as", "the true class", "the given label", "another")
    return Beside("Views of the images in Figure 2a.", heads, rows, pd.DataFrame(numbers, columns=columns))


def nearest_shares(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Return the shares of views that are predicted as the true class, as a wrong label, and as another class."""
    true = (rows["predicted"] == rows["true"]).mean()
    given = ((rows["predicted"] == rows["given"]) & (rows["given"] != rows["true"])).mean()
    return true, given, 1 - true - given


def errors_2b(figure_2b: pd.DataFrame, layout: Layout) -> Beside:
    """Return the calibration errors of Figure 2b, beside the paper's, whose noise rate it does not say."""
    paper = {
        kind: row.value
        for row in read_printed(layout, "ECE of").itertuples()
        for kind in ("plain", "vicinal")
        if kind in row.quantity
    }
    firsts = figure_2b.drop_duplicates([*LINE, "kind"]).copy()
    firsts["published_ece"] = [paper.get(kind, math.nan) for kind in firsts["kind"]]
    heads = ("Condition", "Predictions", "ECE", "ECE, mid-points", "Paper (CIFAR-10, rate not stated)")
    columns = ["dataset", "noise", "run", "kind", "n", "ece", "ece_midpoint", "published_ece"]
    return Beside(ECE, heads, _error_rows(firsts), firsts[columns])


def _error_rows(firsts: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return both calibration errors and the paper's as they are printed, a row for each panel."""
    return [
        (title, row.title, decimals(row.ece, 3), decimals(row.ece_midpoint, 3), decimals(row.published_ece, 2))
        for title, part in conditions(firsts)
        for row in part.itertuples()
    ]


def errors_5(figure_5: pd.DataFrame, layout: Layout) -> Beside:
    """Return the calibration errors of Figure 5, beside the paper's for CIFAR-10 at the same rate."""
    paper = {(noise, method): value for (_, noise, method), value in read_published_ece(layout).items()}
    firsts = figure_5.drop_duplicates(list(LINE)).copy()
    pairs = zip(firsts["noise"], firsts["title"], strict=True)
    firsts["published_ece"] = [paper.get(pair, math.nan) for pair in pairs]
    heads = ("Condition", "Method", "ECE", "ECE, mid-points", "Paper (CIFAR-10)")
    columns = ["dataset", "noise", "method", "variant", "n", "ece", "ece_midpoint", "published_ece"]
    return Beside(ECE, heads, _error_rows(firsts), firsts[columns])


def fits_table(figure_4: pd.DataFrame, layout: Layout) -> Beside:
    """Return the last and the best accuracy of each curve in Figure 4, and the gain at the last epoch."""
    heads, rows, numbers = overfitting_table(figure_4, layout)
    return Beside("Test accuracy in per cent; the gain is in points.", heads, rows, numbers)


def write_beside(folder: Path, titles: Titles, layout: Layout) -> None:
    """Write each table as csv, md and tex from the figures' data files."""
    tables = {
        AUROC: auroc_table(read_data(folder / FIGURE_1), titles),
        SHARES: shares_table(read_data(folder / FIGURE_2A)),
        ERRORS_2B: errors_2b(read_data(folder / FIGURE_2B), layout),
        ERRORS_5: errors_5(read_reliability(folder / "figure5.csv"), layout),
        FITS: fits_table(read_figure_4(folder / FIGURE_4), layout),
    }
    for stem, table in tables.items():
        write_csv(folder / f"{stem}.csv", table.numbers, float_format="%.6g")
        words = (1,) if table.heads[0] == "Condition" else ()
        write_plain(folder / stem, table.note, table.heads, [("", table.rows)], left=words)
