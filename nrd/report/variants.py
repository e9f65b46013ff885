"""What a variant changes: it matters by so many points. Runs of one seed saw the same labels, so they are paired."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from nrd.layout import Layout
from nrd.report.plain import remove_table, write_plain
from nrd.report.published import CONFIDENCE, signed
from nrd.report.render import DASH, NOT_YET, number, rounded
from nrd.report.results import ACCURACIES, read_csv, write_csv
from nrd.report.titles import Titles
from nrd.resolve import merge, resolve_noise
from nrd.study import Project, Study

VARIANTS = "variants"
DEFAULT = "default"
LINE = ["table", "dataset", "noise", "variant", "method"]
TEXT = (*LINE, "dataset_title", "noise_title", "title", "base_title")
NUMBERS = ("pairs", "planned", "base_percent", "percent", "difference", "low", "high")
HEADS = ("Variant", "Compared with", "Seeds", "Accuracy (%)", "Difference", "95 % interval")
NOTE = (
    "What matters by how many points: mean difference in test accuracy after the last epoch between a variant and what "
    "it is a variant of, over seeds; runs of one seed saw the same wrong labels and are paired. Its 95 % interval is "
    "Student's over these pairs. The largest differences stand first."
)

Line = tuple[str, str, str, str, str]  # as LINE


def compare_variants(study: Study, layout: Layout, results: pd.DataFrame, titles: Titles) -> pd.DataFrame:
    """Return one row per line of the study that is a variant of another line.

    A block's variants are compared with its variant ``default``, or with its first one; a noise whose settings are
    those of another noise of the block (``ledger_noise``) is a reading of that, and is compared with it.

    Args:
        study: whose variants.
        layout: where its settings are.
        results: what :func:`nrd.report.results.collect` returns; accuracies are shares.
        titles: of what the study names.

    Returns:
        Columns: keys and titles, ``base_title``, ``pairs`` of finished runs of one seed out of those ``planned``,
        ``base_percent`` and ``percent`` (mean accuracies of these), mean ``difference`` in points, ``low`` and
        ``high`` (its 95 % interval; empty for one pair). By dataset and noise, the largest difference first. What
        does not concern a method, so that its runs are those of the default, is left out.
    """
    lines = {keys: part.set_index("seed") for keys, part in results.groupby(LINE, sort=False)}
    rows = []
    for line, base, base_title in _bases(study, Project(layout.root), titles):
        if base not in lines or list(lines[line]["run"]) == list(lines[base]["run"]):
            continue
        values = {
            "dataset_title": titles.dataset(line[1]),
            "noise_title": titles.noise(line[1], base[2]),
            "title": _title(line, base, titles),
            "base_title": base_title,
        }
        rows.append(dict(zip(LINE, line, strict=True)) | values | _paired(lines[line], lines[base]))
    table = pd.DataFrame(rows, columns=[*TEXT, *NUMBERS])
    groups = table.groupby(["table", "dataset", "noise_title"], sort=False).ngroup()
    order = table.assign(group=groups, size=-table["difference"].astype(float).abs())
    return table.loc[order.sort_values(["group", "size"], kind="stable").index].reset_index(drop=True)


def _bases(study: Study, project: Project, titles: Titles) -> Iterator[tuple[Line, Line, str]]:
    """Yield each line that is a variant, the line it is a variant of, and that one's title."""
    seen = set()
    defaults = _defaults(study)
    for block in study.config.grid:
        asked = merge(study.config.settings, block.settings).ledger_noise
        for dataset, method in itertools.product(block.datasets, block.methods):
            noises = [resolve_noise(noise, project.datasets[dataset], "noises").slug for noise in block.noises]
            for noise in noises:
                default = defaults.get(block.table, "")
                for variant in (variant.name for variant in block.variants if variant.name != default):
                    line = (block.table, dataset, noise, variant, method)
                    if line not in seen:
                        seen.add(line)
                        yield line, (*line[:3], default, method), titles.variants[block.table, default]
                if not block.variants and noise != asked and asked in noises:
                    line = (block.table, dataset, noise, "", method)
                    yield line, (*line[:2], asked, "", method), titles.noise(dataset, asked)


def _defaults(study: Study) -> dict[str, str]:
    """Return each table's default variant: blocks of one table may add to it."""
    found: dict[str, list[str]] = {}
    for block in study.config.grid:
        found.setdefault(block.table, []).extend(variant.name for variant in block.variants)
    return {table: DEFAULT if DEFAULT in names else names[0] for table, names in found.items() if names}


def _title(line: Line, base: Line, titles: Titles) -> str:
    """What is different: the variant, or the reading of the noise; with the method's name before it."""
    method = titles.methods.get(line[4], line[4])
    what = titles.variants.get((line[0], line[3]), line[3]) if line[3] else titles.noise(line[1], line[2])
    return f"{method}: {what}"


def _paired(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, float]:
    from scipy.special import stdtrit

    done = [100 * part[part["status"] == "done"][ACCURACIES[0]].astype(float).dropna() for part in (ours, theirs)]
    seeds = done[0].index.intersection(done[1].index)
    mine, base = (part.loc[seeds] for part in done)
    difference, n = (mine - base).round(10), len(seeds)
    half = math.nan
    if n > 1:
        half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * float(np.std(difference, ddof=1)) / math.sqrt(n)
    mean = float(difference.mean()) if n else math.nan
    return {
        "pairs": n,
        "planned": len(ours.index.intersection(theirs.index)),
        "base_percent": round(base.mean(), 10) if n else math.nan,
        "percent": round(mine.mean(), 10) if n else math.nan,
        "difference": round(mean, 10),
        "low": mean - half,
        "high": mean + half,
    }


def decided(row: object) -> bool:
    """Whether a row's interval leaves zero out."""
    return row.low > 0 or row.high < 0


def printed(row: object) -> tuple[str, ...]:
    """Return a row as it is printed, in the order of :data:`HEADS`."""
    seeds = str(row.pairs) if row.pairs == row.planned else f"{row.pairs} of {row.planned}"
    if not row.pairs:
        return (row.title, row.base_title, seeds, NOT_YET, DASH, DASH)
    interval = DASH if math.isnan(row.low) else f"{signed(row.low)} to {signed(row.high)}"
    return (row.title, row.base_title, seeds, number(row.percent), signed(rounded(row.difference)), interval)


def groups(table: pd.DataFrame) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield the printed rows of each table, dataset and noise."""
    for title, part in parts(table):
        yield title, [printed(row) for row in part.itertuples()]


def parts(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows of each table, dataset and noise with a title; it names the table where that is needed."""
    keys = ["table", "dataset", "noise_title"]
    repeated = table[keys].drop_duplicates().duplicated(keys[1:], keep=False).any()
    for (label, _, noise), part in table.groupby(keys, sort=False):
        title = f"{part['dataset_title'].iloc[0]}, {noise}"
        yield (f"{title} ({label})" if repeated else title), part


def write_variants(study: Study, layout: Layout, results: pd.DataFrame, titles: Titles) -> Path | None:
    """Write ``variants.{csv,md,tex}`` where the study has variants; return the first."""
    stem = layout.report(study.config.name) / VARIANTS
    remove_table(stem)
    table = compare_variants(study, layout, results, titles)
    if table.empty:
        return None
    write_csv(stem.with_suffix(".csv"), table)
    write_plain(stem, NOTE, HEADS, groups(table), left=(1,))
    return stem.with_suffix(".csv")


def read_variants(path: Path) -> pd.DataFrame:
    """Read ``variants.csv`` back."""
    return read_csv(path, TEXT)
