"""The hyper-parameter ledger as a study's runs use it (the paper's Table 5), with where each value comes from."""

import math
from collections.abc import Iterator

import pandas as pd

from nrd.catalogue import OptionValue
from nrd.configs import LedgerEntry, Settings
from nrd.layout import Layout
from nrd.ledger import ledger_entry, used_source
from nrd.report.published import SLUGS, read_paper_table
from nrd.report.render import DASH, escape_latex, escape_markdown
from nrd.report.titles import Titles, read_titles
from nrd.resolve import merge, resolve_noise
from nrd.spec import RunSpec, SpecError
from nrd.study import Project, Study

LEDGER = "ledger.csv"
KEYS = ("table", "dataset", "noise", "variant", "method")
TEXT = (*KEYS, "title", "dataset_title", "noise_title", "hyperparameters", "source", "paper_hyperparameters", "agrees")
COLUMNS = (
    *KEYS, "dataset_title", "noise_title", "title", "learning_rate", "weight_decay", "hyperparameters", "source",
    "paper_learning_rate", "paper_weight_decay", "paper_hyperparameters", "agrees",
)  # fmt: skip
NOTE = (
    "As in the runs' own settings. Where the paper's Table 5 has the same cell, a note says whether all values agree; "
    "without noise it has no learning rate and weight decay, and those of its symmetric noise are meant."
)


def ledger_table(study: Study, layout: Layout, titles: Titles) -> pd.DataFrame:
    """Return one row per line of the study and cell, seeds together, in the study's order.

    Columns: keys and titles, ``learning_rate``, ``weight_decay`` and the method's own ``hyperparameters`` as text, all
    as in the runs' specs; ``source`` of the ledger's entry, with what the study sets itself; the paper's Table 5 for
    the same dataset, noise and method; ``agrees``: yes, no, or empty where the paper has no such cell.
    """
    sources, paper = _sources(study, Project(layout.root)), _paper(layout)
    rows: dict[tuple[str, ...], dict] = {}
    for run in study.runs:
        spec = run.spec
        keys = (run.table, spec.dataset.name, spec.noise.slug, run.variant or "", spec.method.name)
        if keys in rows:
            continue
        own = spec.method.hyperparameters
        values = {
            "dataset_title": titles.dataset(spec.dataset.name),
            "noise_title": titles.noise(spec.dataset.name, spec.noise.slug),
            "title": titles.row(run.table, spec.method.name, run.variant or ""),
            "learning_rate": spec.optimization.learning_rate,
            "weight_decay": spec.optimization.weight_decay,
            "hyperparameters": ", ".join(f"{key} {_text(value)}" for key, value in own.items()),
            "source": used_source(*sources[keys], spec),
        }
        method = titles.methods.get(spec.method.name, spec.method.name)
        theirs = paper.get((spec.dataset.name, spec.noise.slug, method))
        rows[keys] = dict(zip(KEYS, keys, strict=True)) | values | _beside(spec, theirs)
    return pd.DataFrame(list(rows.values()), columns=list(COLUMNS))


def _sources(study: Study, project: Project) -> dict[tuple[str, ...], tuple[Settings, LedgerEntry]]:
    """Return the study's settings and the ledger's entry behind each line and cell."""
    found = {}
    for block in study.config.grid:
        for variant in block.variants or (None,):
            layers = [study.config.settings, block.settings, *([variant.settings] if variant else [])]
            settings = merge(*layers)
            for dataset in (project.datasets[name] for name in block.datasets):
                for noise in (resolve_noise(asked, dataset, "noises") for asked in block.noises):
                    for method in (project.methods[name] for name in block.methods):
                        keys = (block.table, dataset.name, noise.slug, variant.name if variant else "", method.name)
                        file = project.layout.params / "methods" / f"{method.name}.yaml"
                        entry = ledger_entry(settings, dataset, noise, method, file)
                        found.setdefault(keys, (settings, entry))
    return found


def _paper(layout: Layout) -> dict[tuple[str, str, str], object]:
    """Return the rows of Table 5 by dataset, our slug of the noise and the method's title."""
    text = ("dataset", "method", "noise", "method_hyperparameters")
    table = read_paper_table(layout, "table5_hyperparameters.csv", text)
    if table is None:
        return {}
    table["method_hyperparameters"] = table["method_hyperparameters"].fillna("")
    return {(row.dataset, _slug(row), row.method): row for row in table.itertuples()}


def _slug(row: object) -> str:
    return "clean" if row.noise == "none" else f"{SLUGS.get(row.noise, row.noise)}{100 * row.noise_rate:.6g}"


def _beside(spec: RunSpec, row: object | None) -> dict[str, object]:
    keys = ("paper_learning_rate", "paper_weight_decay", "paper_hyperparameters", "agrees")
    if row is None:
        return dict(zip(keys, (math.nan, math.nan, "", ""), strict=True))
    rate, decay = float(row.learning_rate), float(row.weight_decay)
    same = math.isclose(rate, spec.optimization.learning_rate) and math.isclose(decay, spec.optimization.weight_decay)
    # The printed values are without names; what is not searched (options of a variant) is no number of Table 5.
    ours = [number for value in spec.method.hyperparameters.values() for number in _numbers(value)]
    same = same and ours == [float(number) for number in row.method_hyperparameters.split()]
    return dict(zip(keys, (rate, decay, row.method_hyperparameters, "yes" if same else "no"), strict=True))


def _numbers(value: OptionValue) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(value: OptionValue) -> str:
    return (
        " ".join(_text(item) for item in value)
        if isinstance(value, list | tuple)
        else (f"{value:g}" if isinstance(value, float) else str(value))
    )


HEADS = ("Dataset", "Noise", "Method", "Learning rate", "Weight decay", "Own hyper-parameters", "Source", "Table 5")


def printed(row: object) -> tuple[str, ...]:
    """Return a row as it is printed, in the order of :data:`HEADS`."""
    beside = {"yes": "agrees", "": DASH}.get(row.agrees) or (
        f"{row.paper_learning_rate:g}, {row.paper_weight_decay:g}, {row.paper_hyperparameters}".rstrip(", ")
    )
    numbers = (f"{row.learning_rate:g}", f"{row.weight_decay:g}", row.hyperparameters or DASH)
    return (row.dataset_title, row.noise_title, row.title, *numbers, row.source, beside)


def used_rows(study: Study, layout: Layout, dataset: str, noise: str) -> list[tuple[str, str, str, str, str]]:
    """Return (method, learning rate, weight decay, own hyper-parameters, source) of a study's runs of one cell.

    Args:
        study: whose runs.
        layout: where its settings are.
        dataset: a name.
        noise: its slug.

    Raises:
        SpecError: the study has no such runs; the message names those that it has.
    """
    table = ledger_table(study, layout, read_titles(study, layout))
    rows = table[(table["dataset"] == dataset) & (table["noise"] == noise)]
    if rows.empty:
        cells = (f"{row.dataset} {row.noise}" for row in table.itertuples())
        name = study.config.name
        raise SpecError(f"{name}: has no runs of {dataset} {noise}; it has: {', '.join(dict.fromkeys(cells))}")
    several = rows["table"].nunique() > 1
    titles = [f"{row.title} (table {row.table})" if several else row.title for row in rows.itertuples()]
    return [(title, *printed(row)[3:7]) for title, row in zip(titles, rows.itertuples(), strict=True)]


def markdown(table: pd.DataFrame) -> str:
    """Return the ledger in Markdown."""
    lines = [escape_markdown(NOTE), "", "| " + " | ".join(HEADS) + " |", "|---|---|---|---:|---:|---|---|---|"]
    lines += ["| " + " | ".join(map(escape_markdown, texts)) + " |" for texts in map(printed, table.itertuples())]
    return "\n".join(lines) + "\n"


def latex(table: pd.DataFrame) -> str:
    r"""Return the ledger in LaTeX for ``\usepackage{booktabs}``; its sources are in the other files."""
    heads = HEADS[:-2]
    lines = [r"% Needs \usepackage{booktabs}.", r"\begin{tabular}{lllrrl}", r"\toprule"]
    lines += [" & ".join(map(escape_latex, heads)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(escape_latex, printed(row)[:-2])) + r" \\" for row in table.itertuples()]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def groups(table: pd.DataFrame) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield the printed rows of each table, dataset and noise without these."""
    for _, part in table.groupby(["table", "dataset", "noise"], sort=False):
        rows = [printed(row) for row in part.itertuples()]
        yield f"{rows[0][0]}, {rows[0][1]}", [row[2:] for row in rows]
