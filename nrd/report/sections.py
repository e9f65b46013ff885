"""The sections of a report's page: a list to which an analysis adds its own.

A section is a function from :class:`Context` to a :class:`Section`, or to None where it has nothing to show. It reads
files of the report's folder that another part wrote, and never runs' own files, so that a page can be rebuilt from
the folder alone.
"""

from collections.abc import Callable, Iterator

import pandas as pd
from markupsafe import Markup

from nrd.report import absent, course_sections, further, paper_sections, predicted, published, render
from nrd.report.context import Context, Section, figure_html, fragment
from nrd.report.curves import read_notes
from nrd.report.links import LINE, anchor
from nrd.report.results import ACCURACIES, PROVENANCE, read_csv
from nrd.report.tables import STEMS, SUFFIXES, read_cells, table_files
from nrd.report.titles import MAIN
from nrd.study import Study

MAX_COLUMNS = 8  # of a table that a laptop shows whole


def accuracy(context: Context) -> Section:
    """The accuracy tables, each cell with its runs."""
    cells = read_cells(context.folder / f"{STEMS[ACCURACIES[0]]}.csv")
    files = [f"{file.stem}{suffix}" for file in table_files(list(dict.fromkeys(cells["table"]))) for suffix in SUFFIXES]
    if cells["table"].nunique() == 1:  # the combined table is that one
        files = files[: len(SUFFIXES)]
    html = _accuracy_html(context, cells, ACCURACIES[0])
    tables = published.paper_tables(cells, context.layout)
    title = f"{published.named(tables)}: test accuracy" if tables else "Test accuracy, in the form of Table 2"
    return Section("accuracy", title, html, context.existing(*files))


def selection(context: Context) -> Section | None:
    """The same tables at other epochs: how much the choice of the epoch matters."""
    parts, files = [], []
    for key in ACCURACIES[1:]:
        if not context.existing(f"{STEMS[key]}.csv"):
            continue
        if (cells := read_cells(context.folder / f"{STEMS[key]}.csv"))["n"].any():
            parts.append(Markup("<h3>{}</h3>").format(render.EPOCHS[key]))
            parts.append(_accuracy_html(context, cells, key))
            files += [f"{STEMS[key]}{suffix}" for suffix in SUFFIXES]
    if not parts:
        return None
    parts.append(fragment("text.html.j2", texts=_about_epochs(context.study)))
    return Section("selection", "Other choices of the epoch", Markup("").join(parts), context.existing(*files))


def _about_epochs(study: Study) -> list[str]:
    """Say which epochs there are to choose from, and why none is selected by validation."""
    specs, texts = study.compared.specs.values(), []
    if intervals := sorted({spec.evaluation_interval for spec in specs} - {1}):
        texts.append(
            f"Networks are evaluated after every {' or '.join(map(str, intervals))} epochs and after the last."
        )
    if not any(spec.validation for spec in specs):
        texts.append("No epoch is selected by validation: these runs were trained on all images, without such a part.")
    return texts


def _accuracy_html(context: Context, cells: pd.DataFrame, key: str) -> Markup:
    grids = [(_grid_title(grid, cells, context), grid.narrow(MAX_COLUMNS)) for grid in render.grids(cells)]
    values = {"grids": grids, "titles": context.titles, "caption": render.caption(cells, key), "marks": render.MARKS}
    return fragment("accuracy.html.j2", **values)


def _grid_title(grid: render.Grid, cells: pd.DataFrame, context: Context) -> str:
    """The table's label, with the paper's number where several tables stand in one section."""
    tables = published.paper_tables(cells[cells["table"] == grid.label], context.layout)
    return f"{published.named(tables)}: {grid.title}" if tables and grid.title else grid.title


def comparison(context: Context) -> Section | None:
    """Our numbers beside the paper's."""
    if not context.existing("comparison.csv"):
        return None
    table = read_csv(context.folder / "comparison.csv", published.TEXT)
    values = {
        "overviews": list(_overviews(table, context)),
        "groups": list(_groups(table, context)),
        "summary": published.summary(table),
        "note": published.NOTE,
        "precision": published.precision_note(context.study),
        "settings": settings(context.study),
    }
    html = fragment("comparison.html.j2", heads=published.HEADS[2:], **values)
    html += context.runs_below(set(table[LINE].itertuples(index=False, name=None)))
    files = context.existing(*(f"comparison{suffix}" for suffix in SUFFIXES))
    tables = published.named(sorted(set(table["source"])))
    return Section("comparison", f"{tables} beside the published numbers", html, files)


def _overviews(table: pd.DataFrame, context: Context) -> Iterator[dict]:
    """Yield a small table for each dataset: methods by noises."""
    for (label, dataset), part in table.groupby(["table", "dataset"], sort=False):
        noises = list(dict.fromkeys(part["noise"]))
        rows: dict[str, dict] = {}
        for row in part.itertuples():
            *_, paper, ours, n, difference, interval = published.printed(row, context.titles)
            cell = {"paper": paper, "ours": ours, "n": n, "difference": difference, "interval": interval}
            rows.setdefault(row.title, {})[row.noise] = cell | {"misses": published.misses(row)}
        yield {
            "title": context.titles.dataset(dataset) + ("" if label == MAIN else f" ({label})"),
            "heads": [context.titles.noise(dataset, noise) for noise in noises],
            "rows": [(title, [cells.get(noise) for noise in noises]) for title, cells in rows.items()],
        }


def _groups(table: pd.DataFrame, context: Context) -> Iterator[tuple[str, list]]:
    """Yield the rows of each dataset and noise as they are printed, and whether their intervals miss zero."""
    for (_, dataset, noise), part in table.groupby(["table", "dataset", "noise"], sort=False):
        rows = [(published.printed(row, context.titles)[2:], published.misses(row)) for row in part.itertuples()]
        yield f"{context.titles.dataset(dataset)}, {context.titles.noise(dataset, noise)}", rows


def curves(context: Context) -> Section | None:
    """Test accuracy over epochs."""
    text = (
        "Test accuracy over epochs. Lines: mean over seeds; bands: smallest to largest. "
        "Each panel has its own scale, and the first epochs may lie below it."
    )
    return _figure(context, "curves", "Test accuracy over epochs", text, "curves.csv")


def memorisation(context: Context) -> Section | None:
    """What becomes of training images."""
    text = (
        "Training images by what the network predicts of them while it is trained on them (training views). Mislabeled "
        "ones: their true label (resisted), the given, wrong one (memorised), or another class; clean ones: their "
        "label, or another class. "
        "Each of the two groups adds up to 100 %. Lines: mean over seeds; bands: smallest to largest."
    )
    return _figure(context, "memorisation", "Memorisation of training labels", text, "curves.csv")


def _figure(context: Context, stem: str, title: str, text: str, data: str) -> Section | None:
    if not context.drawn(stem, data):
        return None
    image = figure_html(context.folder / stem, title)
    values = {"image": image, "left_out": read_notes(context.folder), "runs": context.runs()}
    html = fragment("figure.html.j2", caption=text, **values)
    return Section(stem, title, html, context.figure_files(stem, data))


def runs(context: Context) -> Section:
    """Every run of the study."""
    numbers = context.results.merge(context.provenance[["run", "seconds"]], on="run", how="left")
    first = ~numbers["run"].duplicated()  # a run that is in two tables has one place that links lead to
    rows = [
        {
            "run": row.run,
            "anchor": anchor(row.run) if first[row.Index] else "",
            "mlflow": context.addresses.get(row.run, ""),
            "where": " · ".join(text for text in ("" if row.table == MAIN else row.table, row.variant) if text),
            "status": row.status,
            "accuracy": render.number(100 * row.test_accuracy_last),
            "seconds": render.DASH if pd.isna(row.seconds) else f"{row.seconds:,.0f}".replace(",", " "),
            "reason": row.reason,
        }
        for row in numbers.itertuples()
    ]
    html = fragment(
        "runs.html.j2",
        rows=rows,
        study=context.study.config.name,
        several=any(r["where"] for r in rows),
        mlflow=any(r["mlflow"] for r in rows),
    )
    return Section("runs", "Runs", html, context.existing("results.csv", PROVENANCE))


def settings(study: Study) -> list[tuple[str, str]]:
    """Return what all compared runs of a study share, or each of the values that they take."""
    specs = list(study.compared.specs.values())
    values = {
        "network": [spec.network.name for spec in specs],
        "epochs": [spec.optimization.epochs for spec in specs],
        "batch size": [spec.optimization.batch_size for spec in specs],
        "precision": [spec.precision for spec in specs],
        "validation part": [f"{100 * spec.validation:.6g} %" for spec in specs if spec.validation],
        "seeds": sorted({spec.seed for spec in specs}),
    }
    return [(key, ", ".join(map(str, dict.fromkeys(found)))) for key, found in values.items() if found]


# In the order of the page, in two groups.
PAPER: list[Callable[[Context], Section | None]] = [
    paper_sections.label_correction,
    accuracy,
    comparison,
    further.published_section,
    further.imagenet,
    further.ledger,
    paper_sections.dynamics,
    paper_sections.density,
    paper_sections.polygons,
    paper_sections.vicinal_calibration,
    further.architecture_section,
    course_sections.overfitting,
    course_sections.calibration,
    course_sections.gains,
]
BEYOND: list[Callable[[Context], Section | None]] = [
    selection,
    further.variants_section,
    further.search,
    further.pairs,
    curves,
    memorisation,
    predicted.confusion,
    predicted.classes,
    predicted.reliability,
    predicted.people_section,
    further.cost_section,
    absent.absent,
    runs,
]
SECTIONS = {"The paper": PAPER, "Beyond the paper": BEYOND}


def build_groups(context: Context) -> Iterator[tuple[str, list[Section]]]:
    """Yield each group's title and those of its sections that have something to show."""
    for title, functions in SECTIONS.items():
        found = [section for function in functions if (section := function(context)) is not None]
        if found:
            yield title, found
