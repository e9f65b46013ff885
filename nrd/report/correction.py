"""The paper's Table 1, and the gains in accuracy that its text names: from data to CSV, Markdown and LaTeX."""

import math
from pathlib import Path

import pandas as pd

from nrd.evaluation.answers import KINDS
from nrd.files import write_text
from nrd.layout import Layout
from nrd.report.memorised import Looked
from nrd.report.published import read_printed, read_published_correction, signed
from nrd.report.render import escape_latex, escape_markdown, number
from nrd.report.results import write_csv
from nrd.report.titles import Titles

TABLE_1, GAINS = "table1.csv", "gains.csv"
TEXT = ("dataset", "dataset_title", "noise", "noise_title", "transform", "vicinal")
PARTS = ("clean", "mislabeled", "all")
TABLE_1_HEADS = ("Noise", "Views", "Clean", "Mislabeled", "All", "Paper: clean", "Paper: mislabeled", "Paper: all")
TABLE_1_NOTE = (
    "Accuracy w.r.t. the true labels, in per cent, of training images with correct labels, with wrong ones, and of "
    "all, for cross-entropy that memorised its labels."
)
GAINS_TEXT = ("item", "dataset", "noise", "pair")
GAINS_HEADS = ("Dataset and noise", "Methods", "Published gain", "Ours")
GAINS_NOTE = "Gains in test accuracy that the paper's text names, in points, beside the same difference of our means."


def correction_table(looked: list[Looked], titles: Titles, layout: Layout) -> pd.DataFrame:
    """Return one row per dataset, noise and kind of prediction (plain, and both means over views); seeds are averaged.

    Columns: dataset, noise and their titles, ``actual_noise_rate`` (a share), ``n`` runs, ``transform`` (plain,
    probabilities or logits), ``vicinal`` (the view) and ``draws``, ``memorised_percent`` (training images that are
    plainly predicted as labeled), the accuracies ``clean_percent``, ``mislabeled_percent`` and ``all_percent``, and
    the paper's for CIFAR-10 at the same rate (``published_…``).
    """
    paper, rows = read_published_correction(layout), []
    for one in looked:
        answers, spec = one.answers, one.run.spec
        wrong = answers.wrong
        for place, kind in enumerate(KINDS):
            right = answers.predicted[place] == answers.true
            theirs = paper.get((spec.noise.slug, kind != "plain"), {})
            parts = {"clean": right[~wrong], "mislabeled": right[wrong], "all": right}
            rows.append(
                {
                    "dataset": spec.dataset.name,
                    "dataset_title": titles.dataset(spec.dataset.name),
                    "noise": spec.noise.slug,
                    "noise_title": titles.noise(spec.dataset.name, spec.noise.slug),
                    "transform": kind,
                    "vicinal": one.run.views.vicinal.name,
                    "draws": one.run.views.draws,
                    "actual_noise_rate": wrong.mean(),
                    "memorised_percent": 100 * (answers.predicted[0] == answers.given).mean(),
                    **{f"{key}_percent": 100 * part.mean() if len(part) else math.nan for key, part in parts.items()},
                    **{f"published_{key}_percent": theirs.get(key, math.nan) for key in PARTS},
                }
            )
    numbers = ["actual_noise_rate", "memorised_percent", *(f"{key}_percent" for key in PARTS)]
    published = [f"published_{key}_percent" for key in PARTS]
    keys = [*TEXT, "draws"]
    table = pd.DataFrame(rows, columns=[*keys, *numbers, *published])
    groups = table.groupby(keys, sort=False)
    means = groups[[*numbers, *published]].mean()
    means.insert(0, "n", groups.size())
    return means.reset_index()


def views_title(row: object) -> str:
    """Say what a row's predictions are."""
    return "none" if row.transform == "plain" else f"mean of {row.transform}, {row.draws} views"


def printed_correction(row: object) -> tuple[str, ...]:
    """Return a row as it is printed, in the order of :data:`TABLE_1_HEADS`."""
    values = [getattr(row, f"{kind}{key}_percent") for kind in ("", "published_") for key in PARTS]
    return (f"{row.dataset_title}, {row.noise_title}", views_title(row), *map(number, values))


def write_table_1(folder: Path, table: pd.DataFrame) -> None:
    """Write ``table1.csv``, ``table1.md`` and ``table1.tex``."""
    write_csv(folder / TABLE_1, table, float_format="%.6g")
    write_plain(folder / "table1", TABLE_1_NOTE, TABLE_1_HEADS, [printed_correction(row) for row in table.itertuples()])


def gains_table(cells: pd.DataFrame, titles: Titles, layout: Layout) -> pd.DataFrame:
    """Return the gains that the paper's text names of cells that a study plans, with ours.

    Args:
        cells: what :func:`nrd.report.tables.accuracy_cells` returns.
        titles: titles of the methods; the paper's pairs are found by them.
        layout: where ``params/published`` is.

    Returns:
        Columns: item, dataset, noise, pair, published_points, points (ours: difference of means; empty while one of
        them is not run), n and other_n (their seeds).
    """
    ours = {(c.dataset, c.noise, c.title): c for c in cells.itertuples()}
    rows = []
    for row in read_printed(layout, "accuracy gain").itertuples():
        pair = _pair(row.method, set(titles.methods.values()))
        found = [ours.get((row.dataset, row.noise, title)) for title in pair]
        if row.item == "text" and found and None not in found:
            one, other = found
            points = one.mean_percent - other.mean_percent
            keys = {"item": row.item, "dataset": row.dataset, "noise": row.noise, "pair": " − ".join(pair)}
            rows.append(keys | {"published_points": row.value, "points": points, "n": one.n, "other_n": other.n})
    return pd.DataFrame(rows, columns=[*GAINS_TEXT, "published_points", "points", "n", "other_n"])


def _pair(text: str, titles: set[str]) -> tuple[str, ...]:
    """Split two methods' titles at the hyphen between them; a title may have one itself."""
    places = [place for place, char in enumerate(text) if char == "-"]
    pairs = [(text[:place], text[place + 1 :]) for place in places]
    return next((pair for pair in pairs if set(pair) <= titles), ())


def printed_gain(row: object, titles: Titles) -> tuple[str, ...]:
    """Return a row as it is printed, in the order of :data:`GAINS_HEADS`."""
    where = f"{titles.dataset(row.dataset)}, {titles.noise(row.dataset, row.noise)}"
    ours = "not run yet" if math.isnan(row.points) else f"{signed(row.points)} (n = {row.n} and {row.other_n})"
    return (where, row.pair, signed(row.published_points), ours)


def write_gains(folder: Path, table: pd.DataFrame, titles: Titles) -> None:
    """Write ``gains.csv``, ``gains.md`` and ``gains.tex``."""
    write_csv(folder / GAINS, table)
    write_plain(folder / "gains", GAINS_NOTE, GAINS_HEADS, [printed_gain(row, titles) for row in table.itertuples()])


def write_plain(stem: Path, note: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Write a table of texts in Markdown and LaTeX; its first two columns are words, the others numbers."""
    columns = len(heads)
    lines = [escape_markdown(note), "", "| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (columns - 2)]
    lines += ["| " + " | ".join(map(escape_markdown, row)) + " |" for row in rows]
    write_text(stem.with_name(f"{stem.name}.md"), "\n".join(lines) + "\n")
    lines = [f"% {escape_latex(note)}", r"% Needs \usepackage{booktabs}."]
    lines += [rf"\begin{{tabular}}{{ll{'r' * (columns - 2)}}}", r"\toprule"]
    lines += [" & ".join(map(escape_latex, heads)) + r" \\", r"\midrule"]
    lines += [" & ".join(escape_latex(text).replace("−", "$-$") for text in row) + r" \\" for row in rows]
    write_text(stem.with_name(f"{stem.name}.tex"), "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n")
