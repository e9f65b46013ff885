"""Tables beside the accuracy tables: methods in pairs, the ledger of settings, WebVision."""

import pandas as pd

from nrd.files import write_text
from nrd.layout import Layout
from nrd.report import chosen, paired, settings, webvision
from nrd.report.plain import remove_table
from nrd.report.results import write_csv
from nrd.report.titles import Titles
from nrd.study import Study


def write_extras(study: Study, layout: Layout, results: pd.DataFrame, titles: Titles) -> None:
    """Write the tables that are not of accuracy by cell."""
    folder = layout.report(study.config.name)
    pairs = paired.compare_pairs(results, titles)
    write_csv(folder / paired.PAIRED, pairs)
    write_text(folder / "paired.md", paired.markdown(pairs))
    write_text(folder / "paired.tex", paired.latex(pairs))
    ledger = settings.ledger_table(study, layout, titles)
    write_csv(folder / settings.LEDGER, ledger)
    write_text(folder / "ledger.md", settings.markdown(ledger))
    write_text(folder / "ledger.tex", settings.latex(ledger))
    choices = chosen.chosen_table(results, ledger)
    remove_table(folder / "chosen")
    if len(choices):
        write_csv(folder / chosen.CHOSEN, choices)
        write_text(folder / "chosen.md", chosen.markdown(choices))
        write_text(folder / "chosen.tex", chosen.latex(choices))
    remove_table(folder / "webvision")
    remove_table(folder / "published")
    table = webvision.webvision_table(layout) if webvision.wanted(study) else None
    if table is not None:
        write_csv(folder / webvision.WEBVISION, table)
        write_text(folder / "webvision.md", webvision.markdown(table))
        write_text(folder / "webvision.tex", webvision.latex(table))
