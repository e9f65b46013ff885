"""The paper's Tables 2 and 4 as published, our cells below: complete in shape, whatever a study has of them."""

import math
from pathlib import Path

import pandas as pd

from nrd.layout import Layout
from nrd.report.plain import write_plain_tables
from nrd.report.published import read_published
from nrd.report.render import DASH, NOT_YET, number
from nrd.report.results import read_csv, write_csv
from nrd.report.titles import Titles, slug_title
from nrd.study import Study

PUBLISHED = "published.csv"
TEXT = ("source", "method", "dataset", "noise", "state")
ABSENT = "not in this study"
NOTE = (
    "Test accuracy after the last epoch in per cent: the paper's, the mean of five seeds, and ours (mean ± sample "
    f"standard deviation over seeds). {DASH}: {ABSENT}."
)


def published_table(study: Study, cells: pd.DataFrame, titles: Titles, layout: Layout) -> pd.DataFrame | None:
    """Return the paper's cells with ours; None where a study is not about the paper, or has all of them.

    Args:
        study: whose cells.
        cells: what :func:`nrd.report.tables.accuracy_cells` returns.
        titles: of the methods; the paper's rows are found by them.
        layout: where ``params/published`` is.

    Returns:
        Columns: source (Table 2 or 4), method (its title), dataset, noise (our slug), published_percent, mean_percent,
        std_percent, n and state: empty where there is a number, or why there is none.
    """
    paper = read_published(layout)
    if not study.shows_paper or paper.empty:
        return None
    own = [cell for cell in cells.itertuples() if not cell.variant]
    ours = {(titles.methods.get(c.method, c.method), c.dataset, c.noise): c for c in reversed(own)}
    found = [ours.get((row.method, row.dataset, row.noise)) for row in paper.itertuples()]
    if None not in found:
        return None
    return paper.assign(
        mean_percent=[cell.mean_percent if cell else math.nan for cell in found],
        std_percent=[cell.std_percent if cell else math.nan for cell in found],
        n=[int(cell.n) if cell else 0 for cell in found],
        state=[ABSENT if cell is None else "" if cell.n else "failed" if cell.failed else NOT_YET for cell in found],
    )[["source", "method", "dataset", "noise", "published_percent", "mean_percent", "std_percent", "n", "state"]]


def ours_text(row: object) -> str:
    """Return our side of a cell as it is printed."""
    if row.state:
        return DASH if row.state == ABSENT else row.state
    spread = "" if math.isnan(row.std_percent) else f" ± {number(row.std_percent)}"
    return number(row.mean_percent) + spread


def printed(
    table: pd.DataFrame, titles: Titles
) -> list[tuple[str, list[str], list[tuple[str, list[tuple[str, str]]]]]]:
    """Return title, columns, and rows of published and our texts: by dataset, or together if without noise."""
    tables = []
    whole = table.groupby("source")["noise"].transform("nunique") == 1
    for (source, dataset), part in table.groupby(["source", table["dataset"].where(~whole, "")], sort=False):
        title = f"{source}: {titles.dataset(dataset)}" if dataset else f"{source}: no noise"
        columns = part["noise"].map(slug_title) if dataset else part["dataset"].map(titles.dataset)
        rows: dict[str, dict[str, tuple[str, str]]] = {}
        for row, column in zip(part.itertuples(), columns, strict=True):
            rows.setdefault(row.method, {})[column] = (number(row.published_percent), ours_text(row))
        heads = list(dict.fromkeys(columns))
        tables.append((title, heads, [(method, [own.get(h, ("", "")) for h in heads]) for method, own in rows.items()]))
    return tables


def write_published(folder: Path, table: pd.DataFrame, titles: Titles) -> None:
    """Write ``published.{csv,md,tex}``."""
    write_csv(folder / PUBLISHED, table)
    tables = []
    for title, heads, rows in printed(table, titles):
        texts = [[method, *(f"{paper} ({ours})" for paper, ours in cells)] for method, cells in rows]
        tables.append((title, ["Method", *heads], texts))
    write_plain_tables(folder / "published", f"{NOTE} Ours in brackets.", tables)


def read_table(folder: Path) -> pd.DataFrame:
    """Read ``published.csv`` back."""
    return read_csv(folder / PUBLISHED, TEXT)
