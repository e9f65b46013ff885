"""What the page's sections with the paper's tables and figures share."""

import json
import math
from collections.abc import Iterable

from markupsafe import Markup

from nrd.report import correction
from nrd.report.context import Context, Section, figure_html, fragment
from nrd.report.links import line_keys
from nrd.report.paper_figures import NOTES
from nrd.report.plain import SUFFIXES
from nrd.report.results import read_csv
from nrd.study import StudyRun

MEMORISED = 99.5  # per cent of the training images predicted as labeled, from which a network has memorised them
PICTURES = ("svg", "pdf", "png")


def ready(context: Context, figure: str, stem: str) -> bool:
    """Whether a study asks for a figure and its files are there."""
    asked = context.study.pictured(figure)
    return bool(asked) and len(context.existing(f"{stem}.csv", f"{stem}.svg", f"{stem}.png")) == 3


def figure_part(context: Context, figure: str, stem: str, title: str, text: str) -> Markup:
    """Return a figure with its caption and its runs; it says which of its networks have not memorised their labels."""
    runs = context.runs(line_keys(context.study.pictured(figure)))
    image = figure_html(context.folder / stem, title)
    text = " ".join([text.strip(), weak_sentence(context, figure)]).strip()
    return fragment("figure.html.j2", image=image, caption=text, left_out={}, wide=True, runs=runs)


def small_table(heads: Iterable[str], rows: Iterable[tuple[str, ...]]) -> Markup:
    """Return a small table of texts."""
    return fragment("small.html.j2", heads=list(heads), rows=list(rows))


def paper_section(
    context: Context,
    figure: str,
    stem: str,
    title: str,
    html: Markup | str = "",
    kinds: tuple[str, ...] = (*PICTURES, "csv"),
    more: tuple[str, ...] = (),
    table: str | None = None,
) -> Section:
    """Return a section with its files and, above its content, the runs that it is without.

    Args:
        context: of the page.
        figure: whose blocks' runs it is made of.
        stem: its anchor, and its files' name without suffix.
        title: of the section.
        html: its content; nothing where no run is there yet.
        kinds: suffixes of its files.
        more: names of further files.
        table: the name without suffix of a table beside the figure.
    """
    if missing := missing_runs(context).get(figure, {}):
        html = fragment("waiting.html.j2", missing=missing) + Markup(html)
    tables = tuple(f"{table}{suffix}" for suffix in SUFFIXES) if table and html else ()
    files = context.existing(*(f"{stem}.{kind}" for kind in kinds), *more, *tables)
    return Section(stem, title, Markup(html), files)


def missing_runs(context: Context) -> dict[str, dict[str, str]]:
    """Return, by figure of a block, the reason for each run that could not be shown."""
    try:
        return dict(json.loads((context.folder / NOTES).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def unseen_runs(context: Context) -> dict[str, str]:
    """Return the reason for each finished run that was not looked at: its figures lack it."""
    done = set(context.results.loc[context.results["status"] == "done", "run"])
    found = {run: reason for runs in missing_runs(context).values() for run, reason in runs.items()}
    return {run: reason for run, reason in found.items() if run in done}


def trained(runs: tuple[StudyRun, ...]) -> str:
    """Say how networks were trained."""
    spec = runs[0].spec
    used = spec.optimization
    view = spec.method.views["student"].name
    return (
        f"Training: {spec.network.name}, views {view}, {used.epochs} epochs, batch {used.batch_size}, learning rate "
        f"{used.learning_rate:g}, weight decay {used.weight_decay:g}."
    )


def training_view(context: Context) -> str:
    """Name the views that the networks of the figures were trained on."""
    run = next(run for run in context.study.runs if run.views)
    return run.spec.method.views["student"].name


def weak_sentence(context: Context, figure: str) -> str:
    """Say which networks of a figure did not learn their labels by heart, though the figure is about such."""
    study = context.study
    asked = {run.spec.name for kind in ("memorised", "dynamics") for run in study.pictured(kind)}
    specs = {run.spec.name: run.spec for run in study.pictured(figure) if run.spec.name in asked}
    several = len({spec.dataset.name for spec in specs.values()}) > 1
    parts = {}
    for name, spec in sorted(specs.items(), key=lambda pair: (pair[1].dataset.name, pair[1].noise.rate)):
        share = _memorised(context, name)
        if share < MEMORISED:
            noise = context.titles.noise(spec.dataset.name, spec.noise.slug)
            where = f"{context.titles.dataset(spec.dataset.name)}, {noise}" if several else noise
            parts.setdefault(where, f"{share:.2f} % at {where}")
    return f"Only part of the labels were memorised: {', '.join(parts.values())}." if parts else ""


def _memorised(context: Context, run: str) -> float:
    """Per cent of a run's training images that are plainly predicted as labeled: Table 1's, or from its metrics."""
    row = context.results[context.results["run"] == run].iloc[0]
    if context.existing(correction.TABLE_1):
        table = read_csv(context.folder / correction.TABLE_1, correction.TEXT)
        same = (table["dataset"] == row["dataset"]) & (table["noise"] == row["noise"])
        known = table.loc[same & (table["transform"] == "plain"), "memorised_percent"]
        if len(known) and any(run == one.spec.name for one in context.study.pictured("memorised")):
            return float(known.iloc[0])
    clean, wrong = (row.get(f"train_{key}", math.nan) for key in ("clean_accuracy", "memorised"))
    rate = row["actual_noise_rate"]
    return 100 * ((1 - rate) * clean + rate * wrong)
