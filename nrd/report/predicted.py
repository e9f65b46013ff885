"""Sections of the page about what finished runs predict."""

import pandas as pd

from nrd.report import analyses, people
from nrd.report.confusion import CLASSES, CLASSES_NOTE, CONFUSION, MAX_CLASSES, class_tables, read_classes
from nrd.report.context import Context, Section, figure_html, fragment
from nrd.report.plain import SUFFIXES
from nrd.report.reliability import ERRORS_NOTE, RELIABILITY, errors_table, read_reliability
from nrd.report.results import read_csv


def reliability(context: Context) -> Section | None:
    """How far confidence and accuracy are apart."""
    if not context.drawn("reliability", RELIABILITY):
        return None
    table = read_reliability(context.folder / RELIABILITY)
    if table.empty:
        return None
    heads, groups = errors_table(table)
    text = (
        "Test images without views, by the confidence of their prediction (10 bins). Bars pool the images of all "
        f"finished seeds; pale bars hold fewer than 0.5 % of them. {ERRORS_NOTE}"
    )
    image = figure_html(context.folder / "reliability", "Reliability diagrams")
    html = fragment("figure.html.j2", image=image, caption=text, left_out={}, wide=True)
    html += fragment("groups.html.j2", summary="Calibration errors of all methods", heads=heads, groups=groups)
    html += context.runs_below()
    files = context.figure_files("reliability", RELIABILITY, *(f"calibration{suffix}" for suffix in SUFFIXES))
    return Section("reliability", "Calibration", html, files)


def _with_figure(context: Context, stem: str, title: str, text: str, table: pd.DataFrame) -> str:
    image = figure_html(context.folder / stem, title)
    drawn = [rows for _, part in analyses.conditions(table) for rows in analyses.shown(part)]
    lines = {tuple(rows[list(analyses.LINE)].iloc[0]) for rows in drawn}
    return fragment("figure.html.j2", image=image, caption=text, left_out={}, wide=True, runs=context.runs(lines))


def confusion(context: Context) -> Section | None:
    """What becomes of mislabeled images of each class."""
    if not context.drawn("confusion", CONFUSION):
        return None
    table = read_classes(context.folder / CONFUSION)
    if table.empty:
        return None
    small = table.groupby("dataset", sort=False)["class"].transform("max") < MAX_CLASSES
    if not small.any():
        html = fragment("text.html.j2", texts=[_too_many(table)])
        return Section("confusion", "Learned confusion", html, context.existing(CONFUSION))
    text = (
        "Mislabeled training images by true class (rows): which labels they were given, and what networks predict of "
        "them, plain and after the last epoch; all finished seeds pooled. A network that memorises repeats the given "
        f"labels; one that resists predicts the diagonal. {_too_many(table[~small])}"
    )
    html = _with_figure(context, "confusion", "Learned confusion", text, table[small])
    return Section("confusion", "Learned confusion", html, context.figure_files("confusion", CONFUSION))


def _too_many(table: pd.DataFrame) -> str:
    titles = list(dict.fromkeys(table["dataset_title"]))
    return f"Not drawn, for they have too many classes: {', '.join(titles)}; the data file has them." if titles else ""


def classes(context: Context) -> Section | None:
    """Accuracy of each class."""
    if not context.existing(CLASSES):
        return None
    table = read_classes(context.folder / CLASSES)
    if table.empty:
        return None
    tables = class_tables(table, context.titles)
    html = fragment("classes.html.j2", caption=CLASSES_NOTE, tables=tables) + context.runs_below()
    return Section("classes", "Accuracy per class", html, context.existing(*(f"classes{s}" for s in SUFFIXES)))


def people_section(context: Context) -> Section | None:
    """Predicted probabilities against people's answers."""
    if not context.existing(people.PEOPLE):
        return None
    table = read_csv(context.folder / people.PEOPLE, analyses.TEXT)
    if table.empty:
        return None
    html = fragment("text.html.j2", texts=[people.note(table)])
    groups = people.groups(table)
    html += fragment("groups.html.j2", summary=f"{len(table)} rows", heads=people.HEADS, groups=groups)
    html += context.runs_below(set(table[list(analyses.LINE)].itertuples(index=False, name=None)))
    return Section("people", people.NAME, html, context.existing(*(f"people{suffix}" for suffix in SUFFIXES)))
