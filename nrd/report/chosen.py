"""What a search chose: of a cell's variants the one with the best accuracy on noisy validation labels."""

import math

import pandas as pd

from nrd.report.plain import plain_latex
from nrd.report.render import DASH, escape_markdown
from nrd.report.settings import KEYS

CHOSEN = "chosen.csv"
CRITERION = "validation_accuracy_last"
CELL = [key for key in KEYS if key != "variant"]
NUMBERS = ("tried", "planned", "validation_percent", "test_percent")
NOTE = (
    "Of the variants tried, the one with the best accuracy on the noisy validation part after the last epoch (mean "
    "over seeds; the first of equals), its test accuracy, which had no say, and beside it what the paper's Table 5 has."
)


def chosen_table(results: pd.DataFrame, ledger: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell and method that a study tries in several settings, with the settings chosen.

    Args:
        results: what :func:`nrd.report.results.collect` returns; accuracies are shares.
        ledger: what :func:`nrd.report.settings.ledger_table` returns.

    Returns:
        The ledger's columns for the chosen variant; how many variants were ``tried`` (finished) of those ``planned``;
        accuracies in per cent. Cells whose variants share one setting, or without a finished run, are left out.
    """
    columns = [*ledger.columns, *NUMBERS]
    if CRITERION not in results or not results[CRITERION].notna().any():
        return pd.DataFrame(columns=columns)
    results = results.assign(variant=results["variant"].fillna(""))
    done = results[(results["status"] == "done") & results[CRITERION].notna()]
    rows = []
    for keys, group in results.groupby(CELL, sort=False, observed=True):
        finished = done.loc[done.index.intersection(group.index)]
        # Variants that do not concern a method are one and the same run: nothing was searched there.
        if group["run"].nunique() <= group["seed"].nunique() or finished.empty:
            continue
        means = finished.groupby("variant", sort=False, observed=True)[[CRITERION, "test_accuracy_last"]].mean()
        best = means[CRITERION].idxmax()
        line = ledger
        for key, value in zip(CELL, keys, strict=True):
            line = line[line[key] == value]
        line = line[line["variant"] == best].iloc[0].to_dict()
        numbers = {
            "tried": finished.loc[finished["seed"] == finished["seed"].iloc[0], "run"].nunique(),
            "planned": group.loc[group["seed"] == group["seed"].iloc[0], "run"].nunique(),
            "validation_percent": round(100 * means.loc[best, CRITERION], 10),
            "test_percent": round(100 * means.loc[best, "test_accuracy_last"], 10),
        }
        rows.append(line | numbers)
    return pd.DataFrame(rows, columns=columns)


HEADS = ("Dataset", "Noise", "Method", "Learning rate", "Weight decay", "Own hyper-parameters", "Tried", "Validation",
         "Test", "Table 5")  # fmt: skip


def printed(row: object) -> tuple[str, ...]:
    """Return a row as it is printed, in the order of :data:`HEADS`."""
    paper = DASH
    if not math.isnan(float(row.paper_learning_rate)):
        paper = f"{float(row.paper_learning_rate):g}, {float(row.paper_weight_decay):g}, {row.paper_hyperparameters}"
    numbers = (f"{row.learning_rate:g}", f"{row.weight_decay:g}", row.hyperparameters or DASH)
    tried = f"{row.tried} of {row.planned}"
    accuracies = (f"{row.validation_percent:.2f}", f"{row.test_percent:.2f}")
    return (row.dataset_title, row.noise_title, row.title, *numbers, tried, *accuracies, paper.rstrip(", "))


def markdown(table: pd.DataFrame) -> str:
    """Return the choices in Markdown."""
    lines = [escape_markdown(NOTE), "", "| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    lines += ["| " + " | ".join(map(escape_markdown, printed(row))) + " |" for row in table.itertuples()]
    return "\n".join(lines) + "\n"


def latex(table: pd.DataFrame) -> str:
    """Return the choices in LaTeX."""
    return plain_latex(NOTE, HEADS, [("", map(printed, table.itertuples()))], left=(1, 2, 5))
