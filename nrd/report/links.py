"""Where a cell or a figure leads: to its runs in the page's list of runs, and from there to folders and to MLflow."""

import json
from collections.abc import Collection, Iterable

import pandas as pd

from nrd.layout import Layout
from nrd.report.titles import Titles
from nrd.study import StudyRun

LINE = ["table", "dataset", "noise", "variant", "method"]
MLFLOW = "mlflow.json"  # in a study's folder: nrd.training.tracking.pages writes it
Links = list[tuple[str, list[tuple[str, str]]]]


def anchor(run: str) -> str:
    """Return the name of a run's place in the list of runs."""
    return f"run-{run}"


def line_keys(runs: Iterable[StudyRun]) -> set[tuple[str, ...]]:
    """Return the keys (:data:`LINE`) of the lines that runs belong to."""
    return {
        (run.table, run.spec.dataset.name, run.spec.noise.slug, run.variant or "", run.spec.method.name) for run in runs
    }


def run_links(results: pd.DataFrame, titles: Titles, lines: Collection[tuple[str, ...]] | None = None) -> Links:
    """Return, for each dataset and noise, the titles of its lines with the anchor of the line's first finished run.

    The list of runs has a line's seeds one after the other, so that the first leads to all of them.

    Args:
        results: what :func:`nrd.report.results.collect` returns.
        titles: of lines, datasets and noises.
        lines: keys (:data:`LINE`) of those wanted; by default all that have a finished run.
    """
    done = results[results["status"] == "done"]
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for keys, part in done.groupby(LINE, sort=False):
        table, dataset, noise, variant, method = keys
        if lines is None or keys in lines:
            own = (titles.row(table, method, variant), anchor(part["run"].iloc[0]))
            found.setdefault((dataset, noise), []).append(own)
    return [(f"{titles.dataset(d)}, {titles.noise(d, n)}", own) for (d, n), own in found.items()]


def read_addresses(study: str, layout: Layout) -> dict[str, str]:
    """Return the address in MLflow's interface of each run that was mirrored there; nothing where none was."""
    try:
        content = json.loads((layout.study(study) / MLFLOW).read_text(encoding="utf-8"))
        server = content["server"].rstrip("/")
        if not server.startswith(("http://", "https://")):
            return {}
        return {run: f"{server}/#/{path}" for run, path in content["runs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
