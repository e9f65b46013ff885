"""The part of the figures that comes from runs' predictions: one pass over the runs, then data files, then pictures."""

from nrd.layout import Layout
from nrd.report.analyses import analyse_runs, write_notes
from nrd.report.confusion import CONFUSION, draw_confusion, write_classes, write_confusion
from nrd.report.people import NAME, People, write_people
from nrd.report.reliability import RELIABILITY, draw_reliability, write_errors, write_reliability
from nrd.report.titles import read_titles
from nrd.study import Study


def write_analyses(study: Study, layout: Layout) -> None:
    """Write the data files about predictions and draw the figures from them, for all runs that are compared."""
    folder = layout.report(study.config.name)
    write_analysed(study, layout)
    draw_reliability(folder / RELIABILITY, folder / "reliability")
    draw_confusion(folder / CONFUSION, folder / "confusion", read_titles(study, layout).classes)


def write_analysed(study: Study, layout: Layout) -> None:
    """Write the data files about predictions, and the tables that need no drawing."""
    study = study.compared
    folder, titles = layout.report(study.config.name), read_titles(study, layout)
    people = People(study, layout)
    analysed, left_out = analyse_runs(study, layout, people)
    write_errors(write_reliability(study, layout, analysed, titles), folder / "calibration")
    write_confusion(study, layout, analysed, titles)
    write_classes(study, layout, analysed, titles)
    write_people(study, layout, analysed, titles, people)
    write_notes(folder, left_out, {NAME: people.reason} if people.reason else {})
