"""Accuracy tables in the shape of the paper's Table 2: methods by datasets and noises.

:func:`accuracy_cells` gives the numbers, one row per cell; :mod:`nrd.report.render` turns them into text.
All numbers of a cell are in per cent.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nrd.files import write_text
from nrd.layout import Layout
from nrd.report import published, published_tables, render
from nrd.report.extras import write_extras
from nrd.report.results import ACCURACIES, read_csv, read_results, write_csv
from nrd.report.titles import Titles, read_titles
from nrd.spec import SpecError
from nrd.study import Study

ROW = ["table", "variant", "method"]
COLUMN = ["dataset", "noise"]
CELL_TEXT = ("table", "variant", "method", "title", "dataset", "noise", "seeds", "runs")
# File stem of each accuracy's combined table. The epoch's underscore keeps clear of the tables' labels.
STEMS = dict(zip(ACCURACIES, ("accuracy", "accuracy_best", "accuracy_validation_selected"), strict=True))
SUFFIXES = (".csv", ".md", ".tex")


def accuracy_cells(results: pd.DataFrame, titles: Titles, accuracy: str = ACCURACIES[0]) -> pd.DataFrame:
    """Return one row per cell that the study plans, in the study's order.

    Args:
        results: what :func:`nrd.report.results.collect` returns; accuracies are shares.
        titles: titles of the rows.
        accuracy: one of :data:`ACCURACIES`.

    Returns:
        Columns: table, variant, method, title, dataset, noise, ``mean_percent`` and ``std_percent`` (sample standard
        deviation over seeds; empty for fewer than two), ``n`` finished seeds of ``planned``, ``failed`` (failed or
        damaged), ``rank`` in the column (1 best, 2 second best; equals share one; empty if nothing is to compare),
        ``seeds`` and ``runs`` that the mean is taken over, separated by spaces.

    Raises:
        SpecError: two different runs of one seed fall into one cell.
    """
    if accuracy not in ACCURACIES:
        raise SpecError(f"accuracy: {accuracy!r} is not one of {', '.join(ACCURACIES)}")
    if accuracy not in results:
        results = results.assign(**{accuracy: float("nan")})
    rows = [
        {**dict(zip(ROW + COLUMN, key, strict=True)), **_cell(group, accuracy)}
        for key, group in results.groupby(ROW + COLUMN, sort=False)
    ]
    cells = pd.DataFrame(rows)
    cells.insert(3, "title", [titles.row(c.table, c.method, c.variant) for c in cells.itertuples()])
    cells["rank"] = cells.groupby(["table", *COLUMN], sort=False)["mean_percent"].transform(_rank).astype("Int64")
    order = [*ROW, "title", *COLUMN, "mean_percent", "std_percent", "n", "planned", "failed", "rank", "seeds", "runs"]
    return cells[order]


def _cell(group: pd.DataFrame, accuracy: str) -> dict:
    if group["seed"].duplicated().any():
        cell = group.iloc[0]
        raise SpecError(
            f"params/studies/{cell['study']}.yaml: grid: table {cell['table']!r} has two runs of one seed for "
            f"{cell['method']} on {cell['dataset']}, {cell['noise']}; give the blocks different `table` labels "
            "or variants"
        )
    done = group[(group["status"] == "done") & group[accuracy].notna()]
    percent = (100 * done[accuracy].astype(float)).round(10)  # 82.4, not 82.39999999999999
    return {
        "mean_percent": round(percent.mean(), 10),
        "std_percent": round(percent.std(ddof=1), 10),
        "n": len(done),
        "planned": len(group),
        "failed": int(group["status"].isin(["failed", "damaged"]).sum()),
        "seeds": " ".join(map(str, done["seed"])),
        "runs": " ".join(done["run"]),
    }


def _rank(means: pd.Series) -> pd.Series:
    """Rank what a reader sees: means that print alike are equal, and the next different one is second."""
    if means.notna().sum() < 2:
        return means * math.nan
    return means.map(render.rounded).rank(ascending=False, method="dense")


@dataclass(frozen=True)
class TableFile:
    """One table of the report: its label (None: all labels together), and its files' name without suffix."""

    label: str | None
    stem: str


def table_files(labels: list[str]) -> list[TableFile]:
    """Return the tables to write: the combined one, and one for each label under ``accuracy-<label>``."""
    files, taken = [TableFile(None, STEMS[ACCURACIES[0]])], set()
    for label in labels:
        slug = base = re.sub(r"[^a-z0-9_]+", "-", label.lower()).strip("-") or "table"
        number = 2
        while slug in taken:
            slug, number = f"{base}-{number}", number + 1
        taken.add(slug)
        files.append(TableFile(label, f"accuracy-{slug}"))
    return files


def write_tables(study: Study, layout: Layout) -> None:
    """Write the accuracy tables and, where the paper has the same cells, the comparison with its numbers.

    Runs that are for figures alone have no part in them.
    """
    study = study.compared
    folder = layout.report(study.config.name)
    results, titles = read_results(folder), read_titles(study, layout)
    results = results[results["table"].isin({run.table for run in study.runs})]
    _remove_old(folder)
    write_extras(study, layout, results, titles)
    for accuracy, cells in _accuracies(results, titles):
        if accuracy == ACCURACIES[0]:
            for file in table_files(list(dict.fromkeys(cells["table"]))):
                part = cells if file.label is None else cells[cells["table"] == file.label]
                _write(folder / file.stem, part, titles, accuracy)
            _write_comparison(study, folder, published.compare(cells, titles, layout), titles)
            if (paper := published_tables.published_table(study, cells, titles, layout)) is not None:
                published_tables.write_published(folder, paper, titles)
            write_text(folder / "summary.json", json.dumps(summary(cells), indent=2) + "\n")
        else:
            _write(folder / STEMS[accuracy], cells, titles, accuracy)


def summary(cells: pd.DataFrame) -> dict:
    """Return table -> dataset -> noise -> method -> mean, spread (per cent) and number of seeds.

    This is what ``dvc metrics`` shows and compares; cells without a finished run are left out.
    """
    tree: dict = {}
    for cell in cells[cells["n"] > 0].itertuples():
        method = f"{cell.method} ({cell.variant})" if isinstance(cell.variant, str) and cell.variant else cell.method
        place = tree.setdefault(cell.table, {}).setdefault(cell.dataset, {}).setdefault(cell.noise, {})
        spread = None if pd.isna(cell.std_percent) else round(float(cell.std_percent), 4)
        place[method] = {"mean_percent": round(float(cell.mean_percent), 4), "std_percent": spread, "n": int(cell.n)}
    return tree


def _accuracies(results: pd.DataFrame, titles: Titles) -> Iterator[tuple[str, pd.DataFrame]]:
    for accuracy in ACCURACIES:
        cells = accuracy_cells(results, titles, accuracy)
        if accuracy in ACCURACIES[:2] or cells["n"].any():  # what every run has, and its epochs by validation
            yield accuracy, cells


def _write(stem: Path, cells: pd.DataFrame, titles: Titles, accuracy: str) -> None:
    write_csv(stem.with_name(f"{stem.name}.csv"), cells)
    write_text(stem.with_name(f"{stem.name}.md"), render.markdown(cells, titles, accuracy))
    write_text(stem.with_name(f"{stem.name}.tex"), render.latex(cells, titles, accuracy))


def _write_comparison(study: Study, folder: Path, comparison: pd.DataFrame, titles: Titles) -> None:
    if len(comparison):
        precision = published.precision_note(study)
        write_csv(folder / "comparison.csv", comparison)
        write_text(folder / "comparison.md", published.markdown(comparison, titles, precision))
        write_text(folder / "comparison.tex", published.latex(comparison, titles, precision))


def _remove_old(folder: Path) -> None:
    """Remove tables of an earlier build: the study may have had other labels then."""
    for suffix in SUFFIXES:
        for path in [*folder.glob(f"accuracy*{suffix}"), folder / f"comparison{suffix}"]:
            path.unlink(missing_ok=True)


def read_cells(path: Path) -> pd.DataFrame:
    """Read a table of cells back."""
    return read_csv(path, CELL_TEXT).astype({"rank": "Int64"})
