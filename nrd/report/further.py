"""Sections of the page beside the accuracy: methods in pairs, settings, WebVision, cost."""

import json

import pandas as pd

from nrd.report import architecture, chosen, cost, paired, published_tables, settings, variants, webvision
from nrd.report.context import Context, Section, figure_html, fragment
from nrd.report.plain import SUFFIXES
from nrd.report.results import read_csv


def imagenet(context: Context) -> Section | None:
    """The paper's Table 3."""
    if not context.existing(webvision.WEBVISION):
        return None
    table = read_csv(context.folder / webvision.WEBVISION, webvision.TEXT)
    texts = [webvision.printed(row) for row in table.itertuples()]
    # Published and ours in one cell: side by side they are wider than a laptop.
    rows = [(row[:4], list(zip(row[4::2], row[5::2], strict=True))) for row in texts]
    heads = [*webvision.heads()[:4], *webvision.HEADS]
    html = fragment("webvision.html.j2", caption=webvision.NOTE, heads=heads, rows=rows)
    return Section("webvision", "Table 3: WebVision", html, context.existing(*(f"webvision{s}" for s in SUFFIXES)))


def published_section(context: Context) -> Section | None:
    """The paper's Tables 2 and 4, where a study has not all of their cells."""
    if not context.existing(published_tables.PUBLISHED):
        return None
    table = published_tables.read_table(context.folder)
    here = int((table["state"] != published_tables.ABSENT).sum())
    counted = f"{here or 'None'} of their {len(table)} cells {'is' if here < 2 else 'are'} in this study"
    note = f"{published_tables.NOTE} {counted}." if here else f"The paper's accuracies in per cent. {counted}."
    tables = published_tables.printed(table, context.titles)
    html = fragment("published.html.j2", caption=note, tables=tables, some=here > 0)
    files = context.existing(*(f"published{suffix}" for suffix in SUFFIXES))
    return Section("published", "Tables 2 and 4 as published", html, files)


def ledger(context: Context) -> Section | None:
    """The hyper-parameters as used."""
    if not context.existing(settings.LEDGER):
        return None
    table = read_csv(context.folder / settings.LEDGER, settings.TEXT)
    groups = list(settings.groups(table))
    heads = settings.HEADS[2:]
    known = table[table["agrees"] != ""]
    beside = f"{(known['agrees'] == 'yes').sum()} of {len(known)} cells that the paper's Table 5 has agree with it."
    html = fragment("text.html.j2", texts=[settings.NOTE + (f" {beside}" if len(known) else "")])
    html += fragment("groups.html.j2", summary=f"{len(table)} settings", heads=heads, groups=groups, left=(3, 4, 5))
    files = context.existing(*(f"ledger{suffix}" for suffix in SUFFIXES))
    return Section("ledger", "Table 5: hyper-parameters as used", html, files)


def search(context: Context) -> Section | None:
    """What a search chose."""
    if not context.existing(chosen.CHOSEN):
        return None
    table = read_csv(context.folder / chosen.CHOSEN, settings.TEXT)
    groups = [("All cells", [chosen.printed(row) for row in table.itertuples()])]
    html = fragment("text.html.j2", texts=[chosen.NOTE])
    summary = f"{len(table)} choices"
    html += fragment("groups.html.j2", summary=summary, heads=chosen.HEADS, groups=groups, left=(1, 2, 5))
    return Section("search", "What the search chose", html, context.existing(*(f"chosen{s}" for s in SUFFIXES)))


def architecture_section(context: Context) -> Section | None:
    """The paper's Figure 3, of the methods that have a teacher."""
    if not context.drawn("architecture", architecture.ARCHITECTURE):
        return None
    graphs = json.loads((context.folder / architecture.ARCHITECTURE).read_text(encoding="utf-8"))
    if not graphs:
        return None
    text = (
        "Drawn from what the method declares: an image goes through two kinds of augmentation, one for the student "
        "and one that it never trains on, for the teacher. The loss compares the given label and both predictions; "
        "red arrows show the way of the gradient."
    )
    shared = [graph for graph in graphs if len(graph["lines"]) > 1]
    notes = [f"{graph['title']} is drawn for {', '.join(graph['lines'][1:])} as well." for graph in shared]
    image = figure_html(context.folder / "architecture", "Architecture")
    html = fragment("figure.html.j2", image=image, caption=text, left_out={}, wide=True)
    html += fragment("text.html.j2", texts=notes)
    files = context.figure_files("architecture", architecture.ARCHITECTURE)
    return Section("architecture", f"Figure 3: the architecture of {graphs[0]['title']}", html, files)


def variants_section(context: Context) -> Section | None:
    """What each variant changes."""
    if not context.drawn("variants", "variants.csv"):
        return None
    table = variants.read_variants(context.folder / "variants.csv")
    groups = list(variants.groups(table))
    text = f"{variants.NOTE} Red: the interval leaves zero out."
    keys = {tuple(row) for row in table[variants.LINE].itertuples(index=False)}
    image = figure_html(context.folder / "variants", "Differences to the default")
    html = fragment("figure.html.j2", image=image, caption=text, left_out={}, wide=True, runs=context.runs(keys))
    summary = f"{len(table)} variants"
    html += fragment("groups.html.j2", summary=summary, heads=variants.HEADS, groups=groups, left=(1,))
    files = context.figure_files("variants", *(f"variants{suffix}" for suffix in SUFFIXES))
    return Section("variants", "What matters by how many points", html, files)


def pairs(context: Context) -> Section | None:
    """Methods against methods over all cells."""
    if not context.existing(paired.PAIRED):
        return None
    table = read_csv(context.folder / paired.PAIRED, paired.TEXT)
    if table.empty:
        return None
    found, names = {}, {}
    for row in table.itertuples():
        one, other = (row.method, row.variant), (row.other_method, row.other_variant)
        names |= {one: row.title}
        found[one, other] = {"texts": paired.printed(row), "decided": paired.decided(row)}
    rows = [(names[one], [found.get((one, other)) for other in names]) for one in names]
    text = f"{paired.NOTE} Bold: the interval leaves zero out. {_counted(table)}"
    html = fragment("matrix.html.j2", caption=text, heads=list(names.values()), rows=rows) + context.runs_below()
    return Section("paired", "Methods in pairs", html, context.existing(*(f"paired{s}" for s in SUFFIXES)))


def _counted(table: pd.DataFrame) -> str:
    least, most = int(table["pairs"].min()), int(table["pairs"].max())
    return f"Pairs: {most}." if least == most else f"Pairs: {least} to {most}."


def cost_section(context: Context) -> Section | None:
    """Time and memory per method."""
    if not context.existing(cost.COST):
        return None
    table = read_csv(context.folder / cost.COST, cost.TEXT)
    if table.empty:
        return None
    heads, groups = cost.printed(table, context.titles)
    html = fragment("text.html.j2", texts=[cost.note(table)])
    summary = f"{sum(len(rows) for _, rows in groups)} rows"
    html += fragment("groups.html.j2", summary=summary, heads=heads, groups=groups) + context.runs_below()
    return Section("cost", "Cost", html, context.existing(*(f"cost{suffix}" for suffix in SUFFIXES)))
