"""The paper's Table 1, Figures 1, 2, 4 and 5 and Table 6: data files first, then each picture from its data file.

Written for studies that have blocks with ``figures``. Runs that are not finished, or not looked at, are named in
``paper_figures.json`` with the reason; what is there is shown.
"""

import json
from pathlib import Path

import pandas as pd

from nrd.evaluation.calibration import pool
from nrd.files import write_text
from nrd.layout import Layout
from nrd.report.analyses import TEXT, analyse_runs, described, lines
from nrd.report.beside import write_beside
from nrd.report.correction import correction_table, gains_table, write_gains, write_table_1
from nrd.report.density import draw_density
from nrd.report.memorised import (
    FIGURE_1,
    FIGURE_2A,
    FIGURE_2B,
    SAMPLES,
    TABLE_6,
    TABLE_6_POINTS,
    first_seeds,
    read_data,
    read_looked,
    write_figure_1,
    write_figure_2a,
    write_figure_2b,
    write_samples,
    write_table_6,
)
from nrd.report.overfitting import FIGURE_4, draw_figure_4, write_figure_4
from nrd.report.polygons import draw_figure_2a, draw_table_6
from nrd.report.published import read_published_ece
from nrd.report.reliability import NUMBERS, diagram_rows, draw_rows, read_reliability
from nrd.report.results import read_results, read_state, write_csv
from nrd.report.tables import accuracy_cells
from nrd.report.titles import Titles, read_titles
from nrd.study import Study

FIGURE_5 = "figure5.csv"
NOTES = "paper_figures.json"


def write_paper_figures(study: Study, layout: Layout) -> None:
    """Write all of them into the report's folder; nothing for a study that asks for none."""
    if not any(run.figures for run in study.runs):
        return
    folder, titles = layout.report(study.config.name), read_titles(study, layout)
    reasons = write_data(study, layout, folder, titles)
    write_text(folder / NOTES, json.dumps(reasons, indent=2) + "\n")
    draw_all(folder, titles)


def write_data(study: Study, layout: Layout, folder: Path, titles: Titles) -> dict[str, dict[str, str]]:
    """Write every data file and table; return, by figure (of a block), the reason for each run that is left out."""
    memorised, no_memory = read_looked(study, layout, "memorised")
    moving, no_dynamics = read_looked(study, layout, "dynamics")
    write_table_1(folder, correction_table(memorised, titles, layout))
    shown, moving = first_seeds(memorised), first_seeds(moving)
    write_figure_1(folder, shown, titles, layout)
    write_figure_2a(folder, shown, titles)
    write_figure_2b(folder, shown, titles)
    write_table_6(folder, [one for one in moving if len(one.answers.epochs) > 1], titles)
    write_samples(folder, list({one.run.spec.name: one for one in [*shown, *moving]}.values()))
    overfitting = write_figure_4(folder, study, layout, titles)
    calibration = _write_figure_5(folder, study, layout, titles)
    cells = accuracy_cells(_compared(study, folder), titles)
    write_gains(folder, gains_table(cells, titles, layout), titles)
    write_beside(folder, titles, layout)
    reasons = {"memorised": no_memory, "dynamics": no_dynamics, "overfitting": overfitting, "calibration": calibration}
    return {figure: found for figure, found in reasons.items() if found}


def _compared(study: Study, folder: Path) -> pd.DataFrame:
    results = read_results(folder)
    return results[results["table"].isin({run.table for run in study.compared.runs})]


def _write_figure_5(folder: Path, study: Study, layout: Layout, titles: Titles) -> dict[str, str]:
    """Write ``figure5.csv``, with the columns of ``reliability.csv``; return the reason for each run that it lacks."""
    # A method's runs may stand in several tables: here they are one line.
    runs = {run.spec.name: run for run in study.pictured("calibration")}
    chosen = Study(study.config, tuple(runs.values()), study.earlier)
    found, left_out = analyse_runs(chosen, layout, lambda spec, test, labels: None)
    paper, rows = read_published_ece(layout), []
    for keys, parts in lines(chosen, found):
        theirs = paper.get((keys["dataset"], keys["noise"], titles.methods.get(keys["method"], "")), float("nan"))
        diagram = pool(part.calibration for part in parts)
        rows += diagram_rows(diagram, described(keys, titles) | {"table": "", "published_ece": theirs})
    rates = {run.spec.noise.slug: run.spec.noise.rate for run in runs.values()}
    table = pd.DataFrame(rows, columns=[*TEXT, *NUMBERS])
    order = table["noise"].map(rates).sort_values(kind="stable").index
    write_csv(folder / FIGURE_5, table.loc[order], float_format="%.6g")
    missing = {name: read_state(name, layout).reason for name in runs if name not in found and name not in left_out}
    return missing | left_out


def draw_all(folder: Path, titles: Titles) -> None:
    """Draw every picture from the data files of a report's folder."""
    samples = folder / SAMPLES
    draw_density(folder / FIGURE_1, samples, folder / "figure1", titles)
    draw_figure_2a(folder / FIGURE_2A, samples, folder / "figure2a", titles)
    draw_figure_2b(folder / FIGURE_2B, folder / "figure2b")
    draw_figure_4(folder / FIGURE_4, folder / "figure4")
    draw_figure_5(folder / FIGURE_5, folder / "figure5")
    draw_table_6(folder / TABLE_6, folder / TABLE_6_POINTS, samples, folder / "table6", titles)


def draw_figure_2b(data: Path, stem: Path) -> None:
    """Draw reliability diagrams of each noise, without views (first row) and averaged over views, from its file."""
    draw_rows(read_data(data), "kind", stem)


def draw_figure_5(data: Path, stem: Path) -> None:
    """Draw reliability diagrams of each noise, a row for each method (and variant), from ``figure5.csv``."""
    draw_rows(read_reliability(data), "title", stem)
