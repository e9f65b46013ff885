"""Sections of the page beside the accuracy: methods in pairs, settings, WebVision, cost."""

import math

import pandas as pd

from nrd.report import chosen, cost, paired, render, settings, webvision
from nrd.report.context import Context, Section, fragment
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
    files = context.existing(*(f"webvision{suffix}" for suffix in (".csv", ".md", ".tex")))
    return Section("webvision", "WebVision", html, files)


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
    files = context.existing(*(f"ledger{suffix}" for suffix in (".csv", ".md", ".tex")))
    return Section("ledger", "Hyper-parameters", html, files)


def search(context: Context) -> Section | None:
    """What a search chose."""
    if not context.existing(chosen.CHOSEN):
        return None
    table = read_csv(context.folder / chosen.CHOSEN, settings.TEXT)
    groups = [("All cells", [chosen.printed(row) for row in table.itertuples()])]
    html = fragment("text.html.j2", texts=[chosen.NOTE])
    summary = f"{len(table)} choices"
    html += fragment("groups.html.j2", summary=summary, heads=chosen.HEADS, groups=groups, left=(1, 2, 5))
    return Section("search", "What the search chose", html, context.existing(chosen.CHOSEN, "chosen.md"))


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
    html = fragment("matrix.html.j2", caption=text, heads=list(names.values()), rows=rows)
    return Section("paired", "Methods in pairs", html, context.existing(paired.PAIRED, "paired.md"))


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
    methods = cost.by_method(table)
    gpu = methods["gpu_hours"].sum() > 0
    heads = ["Method", "Runs", "Time per run", "Images/s", "Memory (MiB)", *(["GPU-hours"] if gpu else [])]
    groups = []
    for (dataset, network, device), part in methods.groupby(["dataset", "network", "device"], sort=False):
        title = ", ".join(text for text in (context.titles.dataset(dataset), network, device) if text)
        groups.append((title, [_cost(row, context, gpu) for row in part.itertuples()]))
    text = (
        "Time per run: mean, training and evaluation of all epochs. Images/s: training images per second of an epoch, "
        "its evaluation included, median over epochs and runs. Memory: peak of the process, or of the device on a GPU. "
        "Runs that shared a machine with others took longer than alone. Energy is not recorded."
    )
    html = fragment("text.html.j2", texts=[text])
    html += fragment("groups.html.j2", summary=f"{len(methods)} rows", heads=heads, groups=groups)
    return Section("cost", "Cost", html, context.existing(cost.COST))


def _cost(row: object, context: Context, gpu: bool) -> list[str]:
    title = context.titles.methods.get(row.method, row.method)
    texts = [title, str(row.runs), render.duration(row.seconds), _thousands(row.images_per_second)]
    texts.append(render.DASH if math.isnan(row.peak_memory_mib) else _thousands(row.peak_memory_mib))
    return [*texts, *([f"{row.gpu_hours:.1f}"] if gpu else [])]


def _thousands(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")
