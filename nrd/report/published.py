"""Our numbers beside the paper's, cell by cell, with the interval of their difference."""

import math
from collections.abc import Iterator

import pandas as pd

from nrd.layout import Layout
from nrd.report.render import DASH, NOT_YET, escape_latex, escape_markdown, number
from nrd.report.titles import Titles
from nrd.spec import SpecError
from nrd.study import Study

PUBLISHED_SEEDS = 5  # the paper prints means of five seeds, without their spread
CONFIDENCE = 0.95
SLUGS = {"symmetric": "sym", "asymmetric": "asym"}
TEXT = ("table", "variant", "method", "title", "dataset", "noise", "source")
NOTE = (
    "Difference: ours minus published, in points, with its 95 % interval "
    f"t(n−1) · s · √(1/n + 1/{PUBLISHED_SEEDS}): the paper prints means of {PUBLISHED_SEEDS} seeds without their "
    "spread, so ours, s, stands for both. One interval in twenty misses zero by chance alone."
)


def precision_note(study: Study) -> str:
    """Return in which precision a study's compared runs compute, where that is not the paper's float32."""
    used = [spec.precision for spec in study.compared.specs.values()]
    others = [precision for precision in used if precision != "float32"]
    if not others:
        return ""
    whose = "Our runs" if len(others) == len(used) else f"{len(others)} of our {len(used)} runs"
    return (
        f"{whose} compute in {', '.join(sorted(set(others)))} (autocast); the paper speaks of no reduced precision, "
        "and its authors' code trains in float32."
    )


def read_published(layout: Layout) -> pd.DataFrame:
    """Return the paper's Tables 2 and 4: method (its title), dataset, noise (our slug), published_percent, source."""
    parts = []
    noisy = read_paper_table(layout, "table2_synthetic_noise.csv", ("method", "dataset", "noise"))
    if noisy is not None:
        percent = [f"{100 * rate:.6g}" for rate in noisy["noise_rate"]]
        noisy["noise"] = [SLUGS.get(kind, kind) + rate for kind, rate in zip(noisy["noise"], percent, strict=True)]
        parts.append(noisy.rename(columns={"test_accuracy": "published_percent"}).assign(source="Table 2"))
    clean = read_paper_table(layout, "table4_clean.csv", ("method",))
    if clean is not None:
        long = clean.melt("method", var_name="dataset", value_name="published_percent")
        parts.append(long.assign(noise="clean", source="Table 4"))
    columns = ["method", "dataset", "noise", "published_percent", "source"]
    return pd.concat([part[columns] for part in parts]) if parts else pd.DataFrame(columns=columns)


def paper_tables(cells: pd.DataFrame, layout: Layout) -> list[str]:
    """Return which of the paper's tables have cells of the same datasets and noises: ``["Table 2", "Table 4"]``."""
    found = cells.merge(read_published(layout), on=["dataset", "noise"], how="inner")["source"]
    return sorted(set(found))


def named(tables: list[str]) -> str:
    """Join the names of tables.

    >>> named(["Table 2", "Table 4"]), named(["Table 2"])
    ('Tables 2 and 4', 'Table 2')
    """
    numbers = [table.removeprefix("Table ") for table in tables]
    return f"Table{'s' if len(tables) > 1 else ''} {' and '.join(numbers)}"


def read_paper_table(layout: Layout, name: str, text: tuple[str, ...]) -> pd.DataFrame | None:
    """Return a file of ``params/published``, the named columns as text; None where there is no such file."""
    path = layout.params / "published" / name
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path, comment="#", dtype=dict.fromkeys(text, str))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None


def read_published_ece(layout: Layout) -> dict[tuple[str, str, str], float]:
    """Return the calibration errors (shares) printed in the paper's figures, by dataset, our slug and method title."""
    table = read_paper_table(layout, "figures_published.csv", ("item", "dataset", "noise", "method", "quantity"))
    if table is None:
        return {}
    rows = table[(table["quantity"] == "ECE") & table["noise_rate"].notna()].itertuples()
    return {(r.dataset, f"{SLUGS.get(r.noise, r.noise)}{100 * r.noise_rate:.6g}", r.method): r.value for r in rows}


def read_printed(layout: Layout, quantity: str) -> pd.DataFrame:
    """Return the numbers printed in the paper's figures and text whose quantity begins so.

    Columns: item, dataset, noise (our slug; empty where the paper does not say the rate), method (its title, or two
    joined by a hyphen), quantity, value.
    """
    text = ("item", "dataset", "noise", "method", "quantity")
    table = read_paper_table(layout, "figures_published.csv", text)
    if table is None:
        return pd.DataFrame(columns=[*text, "value"])
    table["noise"] = [
        "" if math.isnan(rate) else f"{SLUGS.get(kind, kind)}{100 * rate:.6g}"
        for kind, rate in zip(table["noise"], table["noise_rate"], strict=True)
    ]
    return table[table["quantity"].str.startswith(quantity)].drop(columns="noise_rate").reset_index(drop=True)


def read_published_correction(layout: Layout) -> dict[tuple[str, bool], dict[str, float]]:
    """Return the paper's Table 1 by our slug and whether over views: accuracies of its columns in per cent."""
    table = read_paper_table(layout, "table1_label_correction.csv", ("transform",))
    if table is None:
        return {}
    rows = table.to_dict("records")
    return {
        (f"sym{100 * row['noise_rate']:.6g}", row["transform"] == "yes"): {
            "clean": row["clean"], "mislabeled": row["mislabeled"], "all": row["overall"],
        }
        for row in rows
    }  # fmt: skip


def compare(cells: pd.DataFrame, titles: Titles, layout: Layout) -> pd.DataFrame:
    """Return the planned cells that the paper has too: same dataset, same noise, same method.

    Args:
        cells: what :func:`nrd.report.tables.accuracy_cells` returns.
        titles: titles of the methods; the paper's rows are found by them.
        layout: where ``params/published`` is.

    Returns:
        Columns: table, variant, method, title, dataset, noise, source, published_percent, mean_percent, std_percent,
        n, failed, difference (ours minus published, in points), low and high (bounds of its 95 % interval; empty for
        one seed). Rows of one dataset and noise stand together. What is ours is empty where no run is finished.
    """
    paper = read_published(layout).rename(columns={"method": "paper_method"})
    ours = cells.assign(paper_method=[titles.methods.get(method, method) for method in cells["method"]])
    both = ours.merge(paper, on=["paper_method", "dataset", "noise"], how="inner")
    if both.empty:
        return both.reindex(columns=[*TEXT, "published_percent"])
    both["difference"] = (both["mean_percent"] - both["published_percent"]).round(10)
    half = [half_width(std, n) for std, n in zip(both["std_percent"], both["n"], strict=True)]
    both["low"], both["high"] = both["difference"] - half, both["difference"] + half
    columns = [*TEXT, "published_percent", "mean_percent", "std_percent", "n", "failed", "difference", "low", "high"]
    order = {key: place for place, key in enumerate(dict.fromkeys(_group_keys(cells)))}
    both["place"] = [order[key] for key in _group_keys(both)]
    return both.sort_values("place", kind="stable")[columns].reset_index(drop=True)


def _group_keys(table: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    return zip(table["table"], table["dataset"], table["noise"], strict=True)


def half_width(std: float, n: int) -> float:
    """Half of the interval of the difference of two means, of ``n`` seeds and of the paper's, in the unit of ``std``.

    NaN for one seed.
    """
    from scipy.special import stdtrit  # the quantile of Student's t, without the seconds that scipy.stats takes

    if n < 2 or math.isnan(std):
        return math.nan
    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * std * math.sqrt(1 / n + 1 / PUBLISHED_SEEDS)


def misses(row: object) -> bool:
    """Whether a row's interval leaves zero out."""
    return row.low > 0 or row.high < 0


def summary(comparison: pd.DataFrame) -> str:
    """Return how many intervals contain zero, in a sentence."""
    known = comparison[comparison["low"].notna()]
    if known.empty:
        return "No cell has two finished seeds yet, so that nothing can be said about the differences."
    inside = int(((known["low"] <= 0) & (known["high"] >= 0)).sum())
    cells = "cell" if len(known) == 1 else "cells"
    return f"In {inside} of {len(known)} {cells} with at least two seeds the interval of the difference contains zero."


HEADS = ("Dataset", "Noise", "Method", "Published", "Ours", "n", "Difference", "95 % interval")


def printed(row: object, titles: Titles) -> tuple[str, ...]:
    """Return a row as it is printed, in the order of :data:`HEADS`."""
    ours = number(row.mean_percent) if row.n else ("failed" if row.failed else NOT_YET)
    return (
        titles.dataset(row.dataset),
        titles.noise(row.dataset, row.noise),
        row.title,
        number(row.published_percent),
        ours if math.isnan(row.std_percent) else f"{ours} ± {number(row.std_percent)}",
        str(int(row.n)),
        signed(row.difference),
        DASH if math.isnan(row.low) else f"{signed(row.low)} to {signed(row.high)}",
    )


def signed(value: float) -> str:
    """Print points with their sign.

    >>> signed(-1.204), signed(0.5), signed(-0.001)
    ('−1.20', '+0.50', '0.00')
    """
    text = number(abs(value))
    if math.isnan(value) or not float(text):
        return text
    return ("+" if value > 0 else "−") + text


def markdown(comparison: pd.DataFrame, titles: Titles, precision: str = "") -> str:
    """Return the comparison in Markdown; a difference whose interval leaves zero out is bold.

    Args:
        comparison: what :func:`compare` returns.
        titles: of what it names.
        precision: what :func:`precision_note` returns.
    """
    lines = [*map(escape_markdown, filter(None, (summary(comparison), NOTE, precision))), ""]
    lines += ["| " + " | ".join(HEADS) + " |", "|---|---|---|---:|---:|---:|---:|---:|"]
    for row in comparison.itertuples():
        texts = [escape_markdown(text) if place < 3 else text for place, text in enumerate(printed(row, titles))]
        if misses(row):
            texts[6] = f"**{texts[6]}**"
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def latex(comparison: pd.DataFrame, titles: Titles, precision: str = "") -> str:
    """Return the comparison in LaTeX; arguments as for :func:`markdown`."""
    lines = [f"% {escape_latex(text)}" for text in (summary(comparison), precision) if text]
    lines.append(r"% Needs \usepackage{booktabs}.")
    lines += [r"\begin{tabular}{lllrrrrr}", r"\toprule", " & ".join(map(escape_latex, HEADS)) + r" \\", r"\midrule"]
    for row in comparison.itertuples():
        texts = [escape_latex(text) for text in printed(row, titles)]
        if misses(row):
            texts[6] = rf"\textbf{{{texts[6]}}}"
        lines.append(" & ".join(texts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
