"""From the ``history.csv`` of finished runs to ``curves.csv``: what the figures over epochs are drawn from."""

import json
from pathlib import Path

import pandas as pd

from nrd.evaluation.run_metrics import read_history
from nrd.files import write_text
from nrd.layout import Layout
from nrd.report.results import read_csv, read_state, write_csv
from nrd.report.titles import Titles, read_titles
from nrd.spec import SpecError
from nrd.study import Study

CURVES = "curves.csv"
NOTES = "curves.json"
MEASURED = ("test_accuracy", "train_clean_accuracy", "train_mislabeled_accuracy", "train_memorised")
# What is left of the images: predicted as neither the true nor the given class.
OTHERS = {
    "train_mislabeled_other": ("train_mislabeled_accuracy", "train_memorised"),
    "train_clean_other": ("train_clean_accuracy",),
}
QUANTITIES = (*MEASURED, *OTHERS)
LINE = ["table", "dataset", "noise", "variant", "method"]
TEXT = ("table", "dataset", "dataset_title", "noise", "noise_title", "variant", "method", "title")


def write_curves(study: Study, layout: Layout) -> Path:
    """Write ``curves.csv`` and, in ``curves.json``, which finished runs it had to leave out; return the first.

    One row per line of a figure and epoch: titles, ``n`` seeds with that epoch, then mean, min and max over these
    seeds of each of :data:`QUANTITIES` (shares in [0, 1]). Runs that are not finished have no part in it, nor those
    that are for figures of the paper alone.
    """
    study = study.compared
    titles = read_titles(study, layout)
    histories, left_out = _histories(study, layout)
    frames = []
    for run in study.runs:
        if (history := histories.get(run.spec.name)) is not None:
            keys = (run.table, run.spec.dataset.name, run.spec.noise.slug, run.variant or "", run.spec.method.name)
            frames.append(history.assign(**dict(zip(LINE, keys, strict=True))))
    folder = layout.report(study.config.name)
    # Six digits: finer than a pixel, and half the size.
    write_csv(folder / CURVES, _summarise(frames, titles), float_format="%.6g")
    write_text(folder / NOTES, json.dumps({"left_out": left_out}, indent=2) + "\n")
    return folder / CURVES


def _histories(study: Study, layout: Layout) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    histories, left_out = {}, {}
    for name in study.specs:
        if read_state(name, layout).status != "done":
            continue
        try:
            history = pd.DataFrame(read_history(layout.run(name) / "history.csv"))
            histories[name] = _with_others(history.reindex(columns=["epoch", *MEASURED]))
        except SpecError as error:
            left_out[name] = " ".join(str(error).split())
    return histories, left_out


def _with_others(history: pd.DataFrame) -> pd.DataFrame:
    """Add :data:`OTHERS` seed by seed: the extremes over seeds of a rest are not the rest of the extremes."""
    others = {key: (1 - history[list(parts)].sum(axis=1, skipna=False)).clip(lower=0) for key, parts in OTHERS.items()}
    return history.assign(**others)


def _summarise(frames: list[pd.DataFrame], titles: Titles) -> pd.DataFrame:
    statistics = [f"{quantity}_{kind}" for quantity in QUANTITIES for kind in ("mean", "min", "max")]
    if not frames:
        return pd.DataFrame(columns=[*TEXT, "epoch", "n", *statistics])
    groups = pd.concat(frames).groupby([*LINE, "epoch"], sort=False)
    table = groups[list(QUANTITIES)].agg(["mean", "min", "max"])
    table.columns = [f"{quantity}_{kind}" for quantity, kind in table.columns]
    table.insert(0, "n", groups.size())
    table = table.reset_index()
    table["epoch"] = table["epoch"].astype(int)
    table["title"] = [titles.row(row.table, row.method, row.variant) for row in table[LINE].itertuples()]
    table["dataset_title"] = [titles.dataset(name) for name in table["dataset"]]
    pairs = zip(table["dataset"], table["noise"], strict=True)
    table["noise_title"] = [titles.noise(dataset, noise) for dataset, noise in pairs]
    return table[[*TEXT, "epoch", "n", *statistics]]


def read_curves(path: Path) -> pd.DataFrame:
    """Read ``curves.csv`` back."""
    return read_csv(path, TEXT)


def read_notes(folder: Path) -> dict[str, str]:
    """Return the runs that the curves leave out, with the reason."""
    try:
        return json.loads((folder / NOTES).read_text(encoding="utf-8"))["left_out"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
