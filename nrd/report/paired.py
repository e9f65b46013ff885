"""Methods in pairs: two runs of one cell and seed saw the same noise file, so their difference is their own."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from nrd.report.plain import plain_latex
from nrd.report.published import CONFIDENCE, signed
from nrd.report.render import DASH, escape_markdown, rounded
from nrd.report.results import ACCURACIES
from nrd.report.titles import Titles

PAIRED = "paired.csv"
TEXT = ("method", "variant", "title", "other_method", "other_variant", "other_title")
NUMBERS = ("pairs", "cells", "difference", "low", "high", "wins", "ties", "losses")
BLOCK = ["table", "dataset", "noise", "seed"]
NOTE = (
    "Mean difference in test accuracy after the last epoch, in points, over all pairs of runs of the same table, "
    "dataset, noise and seed: such runs saw the same wrong labels. Its 95 % interval is Student's over these pairs: "
    "it speaks of these cells, not of others, and pairs of one cell are alike. Below it: pairs won : drawn : lost."
)


def compare_pairs(results: pd.DataFrame, titles: Titles) -> pd.DataFrame:
    """Return each ordered pair of lines that have a cell and seed in common.

    Args:
        results: what :func:`nrd.report.results.collect` returns; accuracies are shares.
        titles: of the methods.

    Returns:
        Columns: method, variant, title, other_method, other_variant, other_title, ``pairs`` of runs in ``cells``,
        mean ``difference`` (the method minus the other, in points), ``low`` and ``high`` (its 95 % interval; empty for
        one pair), ``wins``, ``ties`` and ``losses`` of the method over pairs.
    """
    done = results[results["status"] == "done"]
    wide = done.pivot_table(
        index=BLOCK, columns=["method", "variant"], values=ACCURACIES[0], aggfunc="mean", observed=True, sort=False
    )
    order = list(dict.fromkeys(zip(results["method"], results["variant"], strict=True)))
    rows = []
    for one, other in itertools.permutations([line for line in order if line in wide.columns], 2):
        difference = (100 * (wide[one] - wide[other])).dropna().round(10)
        if len(difference):
            names = (*one, _title(*one, results, titles), *other, _title(*other, results, titles))
            rows.append(dict(zip(TEXT, names, strict=True)) | _pair(difference))
    return pd.DataFrame(rows, columns=[*TEXT, *NUMBERS])


def _title(method: str, variant: str, results: pd.DataFrame, titles: Titles) -> str:
    """Title of a line by the first table that has it."""
    own = results[(results["method"] == method) & (results["variant"] == variant)]
    return titles.row(own["table"].iloc[0], method, variant)


def _pair(difference: pd.Series) -> dict[str, float]:
    from scipy.special import stdtrit

    n = len(difference)
    mean, half = float(difference.mean()), math.nan
    if n > 1:
        half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * float(np.std(difference, ddof=1)) / math.sqrt(n)
    return {
        "pairs": n,
        "cells": len(difference.index.droplevel("seed").unique()),
        "difference": round(mean, 10),
        "low": mean - half,
        "high": mean + half,
        "wins": int((difference > 0).sum()),
        "ties": int((difference == 0).sum()),
        "losses": int((difference < 0).sum()),
    }


def decided(row: object) -> bool:
    """Whether a pair's interval leaves zero out."""
    return row.low > 0 or row.high < 0


def printed(row: object) -> tuple[str, str, str]:
    """Return a pair's difference, interval and record as they are printed."""
    interval = DASH if math.isnan(row.low) else f"{signed(row.low)} to {signed(row.high)}"
    return signed(rounded(row.difference)), interval, f"{row.wins} : {row.ties} : {row.losses}"


HEADS = ("Method", "Other", "Pairs", "Cells", "Difference", "95 % interval", "Won : drawn : lost")


def markdown(table: pd.DataFrame) -> str:
    """Return the pairs in Markdown, each once; a difference whose interval leaves zero out is bold."""
    lines = [escape_markdown(NOTE), "", "| " + " | ".join(HEADS) + " |", "|---|---|---:|---:|---:|---:|---:|"]
    for row in _once(table):
        difference, *rest = printed(row)
        texts = [f"**{difference}**" if decided(row) else difference, *rest]
        names = [escape_markdown(row.title), escape_markdown(row.other_title), str(row.pairs), str(row.cells)]
        lines.append("| " + " | ".join([*names, *texts]) + " |")
    return "\n".join(lines) + "\n"


def latex(table: pd.DataFrame) -> str:
    """Return the pairs in LaTeX, each once."""
    rows = [(row.title, row.other_title, str(row.pairs), str(row.cells), *printed(row)) for row in _once(table)]
    return plain_latex(NOTE, HEADS, [("", rows)], left=(1,))


def _once(table: pd.DataFrame) -> Iterator[object]:
    """Yield each pair in one of its two orders."""
    seen = set()
    for row in table.itertuples():
        pair = frozenset([(row.method, row.variant), (row.other_method, row.other_variant)])
        if pair not in seen:
            seen.add(pair)
            yield row
