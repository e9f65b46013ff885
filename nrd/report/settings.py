"""The hyper-parameter ledger as a study's runs use it (the paper's Table 5), with where each value comes from."""

import math
from collections.abc import Iterator

import pandas as pd

from nrd.catalogue import OptionValue
from nrd.configs import LedgerEntry
from nrd.layout import Layout
from nrd.ledger import ledger_entry
from nrd.report.published import SLUGS, read_paper_table
from nrd.report.render import DASH, escape_latex, escape_markdown
from nrd.report.titles import Titles
from nrd.resolve import merge, resolve_noise
from nrd.spec import RunSpec
from nrd.study import Project, Study

LEDGER = "ledger.csv"
KEYS = ("table", "dataset", "noise", "variant", "method")
TEXT = (*KEYS, "title", "dataset_title", "noise_title", "hyperparameters", "source", "paper_hyperparameters", "agrees")
COLUMNS = (
    *KEYS, "dataset_title", "noise_title", "title", "learning_rate", "weight_decay", "hyperparameters", "source",
    "paper_learning_rate", "paper_weight_decay", "paper_hyperparameters", "agrees",
)  # fmt: skip
NOTE = (
    "As in the runs' own settings. Where the paper's Table 5 has the same cell, a note says whether all values agree."
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
            "source": _source(spec, sources.get(keys)),
        }
        method = titles.methods.get(spec.method.name, spec.method.name)
        theirs = paper.get((spec.dataset.name, spec.noise.slug, method))
        rows[keys] = dict(zip(KEYS, keys, strict=True)) | values | _beside(spec, theirs)
    return pd.DataFrame(list(rows.values()), columns=list(COLUMNS))


def _sources(study: Study, project: Project) -> dict[tuple[str, ...], LedgerEntry]:
    """Return the ledger's entry behind each line and cell."""
    entries = {}
    for block in study.config.grid:
        for variant in block.variants or (None,):
            layers = [study.config.settings, block.settings, *([variant.settings] if variant else [])]
            for dataset in (project.datasets[name] for name in block.datasets):
                for noise in (resolve_noise(asked, dataset, "noises") for asked in block.noises):
                    for method in (project.methods[name] for name in block.methods):
                        keys = (block.table, dataset.name, noise.slug, variant.name if variant else "", method.name)
                        file = project.layout.params / "methods" / f"{method.name}.yaml"
                        entries.setdefault(keys, ledger_entry(merge(*layers), dataset, noise, method, file))
    return entries


def _source(spec: RunSpec, entry: LedgerEntry | None) -> str:
    """Return where a run's values come from, and which of them its study sets itself."""
    if entry is None:
        return ""
    pairs = {
        "learning rate": (entry.learning_rate, spec.optimization.learning_rate),
        "weight decay": (entry.weight_decay, spec.optimization.weight_decay),
    }
    pairs |= {key: (entry.hyperparameters.get(key), value) for key, value in spec.method.hyperparameters.items()}
    own = [name for name, (listed, used) in pairs.items() if listed is None or _numbers(listed) != _numbers(used)]
    if len(own) == len(pairs):
        return "the study"
    return "; ".join(part for part in (entry.source or "", f"{', '.join(own)}: the study" if own else "") if part)


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
