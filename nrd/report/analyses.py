"""One pass over the finished runs' ``predictions.npz``: what the figures and tables about predictions are made of.

Only sums and measures are kept, so that the paper's 630 runs fit in memory.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nrd.checksums import read_checked
from nrd.evaluation.calibration import Calibration, calibration
from nrd.files import write_text
from nrd.layout import Layout
from nrd.metrics import Floats, confusion_counts
from nrd.report.results import read_state
from nrd.report.titles import Titles
from nrd.spec import RunSpec
from nrd.study import Study

NOTES = "analyses.json"
LINE = ("table", "dataset", "noise", "variant", "method")
TEXT = ("table", "dataset", "dataset_title", "noise", "noise_title", "variant", "method", "title")
KEYS = ("test_labels", "student_test", "train_true", "train_given", "student_train")


@dataclass(frozen=True)
class Analysed:
    """What is kept of one run's predictions (the student's).

    Attributes:
        calibration: on plain test images.
        test: counts of test images by true class and prediction, ``(K, K)``.
        given: counts of mislabeled training images by true and given class, ``(K, K)``.
        predicted: counts of the same images by true class and prediction.
        rates: share of each true class's training images that is mislabeled, ``(K,)``.
        people: measures against people's answers for the test images, where there are any.
    """

    calibration: Calibration
    test: Floats
    given: Floats
    predicted: Floats
    rates: Floats
    people: dict[str, float] | None = None


People = Callable[[RunSpec, Floats, Floats], dict[str, float] | None]


def analyse_runs(study: Study, layout: Layout, people: People) -> tuple[dict[str, Analysed], dict[str, str]]:
    """Return what is kept of each finished run by name, and the reason for each that had to be left out.

    Args:
        study: whose runs.
        layout: where they are.
        people: called with a run's spec, test probabilities and labels; its measures against people's answers.
    """
    found, left_out = {}, {}
    for name, spec in study.specs.items():
        if read_state(name, layout).status == "done":
            try:
                found[name] = analyse(spec, _read(layout.run(name) / "predictions.npz"), people)
            except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                left_out[name] = f"predictions.npz: is missing or damaged ({' '.join(str(error).split())})"
    return found, left_out


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(read_checked(path.parent, path.name)), allow_pickle=False) as content:
        return {key: content[key] for key in KEYS}


def analyse(spec: RunSpec, predictions: dict[str, np.ndarray], people: People) -> Analysed:
    """Return what is kept of one run's predictions.

    Raises:
        ValueError: shapes do not fit together, or a probability is not a number.
    """
    classes = spec.dataset.num_classes
    test, labels = predictions["student_test"].astype(np.float64), predictions["test_labels"]
    true, given = predictions["train_true"], predictions["train_given"]
    train = predictions["student_train"]
    if test.shape != (len(labels), classes) or train.shape != (len(true), classes) or given.shape != true.shape:
        raise ValueError("probabilities and labels do not fit together")
    if not (np.isfinite(test).all() and np.isfinite(train).all()):
        raise ValueError("a probability is not a number")
    wrong = true != given
    with np.errstate(invalid="ignore"):
        rates = np.bincount(true[wrong], minlength=classes) / np.bincount(true, minlength=classes)
    return Analysed(
        calibration=calibration(test, labels),
        test=confusion_counts(labels, test.argmax(axis=1), classes),
        given=confusion_counts(true[wrong], given[wrong], classes),
        predicted=confusion_counts(true[wrong], train[wrong].argmax(axis=1), classes),
        rates=rates,
        people=people(spec, test, labels),
    )


def lines(study: Study, analysed: dict[str, Analysed]) -> Iterator[tuple[dict[str, str], list[Analysed]]]:
    """Yield each line of the study (its keys, :data:`LINE`) with its finished runs, in the study's order."""
    groups: dict[tuple[str, ...], list[Analysed]] = {}
    for run in study.runs:
        if run.spec.name in analysed:
            keys = (run.table, run.spec.dataset.name, run.spec.noise.slug, run.variant or "", run.spec.method.name)
            groups.setdefault(keys, []).append(analysed[run.spec.name])
    for keys, runs in groups.items():
        yield dict(zip(LINE, keys, strict=True)), runs


def described(keys: dict[str, str], titles: Titles) -> dict[str, str]:
    """Return a line's keys with their titles, in the order of :data:`TEXT`."""
    all_of_them = keys | {
        "title": titles.row(keys["table"], keys["method"], keys["variant"]),
        "dataset_title": titles.dataset(keys["dataset"]),
        "noise_title": titles.noise(keys["dataset"], keys["noise"]),
    }
    return {key: all_of_them[key] for key in TEXT}


def conditions(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows of each table, dataset and noise with a title; it names the table where that is needed."""
    pairs = table[["table", "dataset", "noise"]].drop_duplicates()
    repeated = pairs.duplicated(["dataset", "noise"], keep=False).any()
    for (label, _, _), part in table.groupby(["table", "dataset", "noise"], sort=False):
        first = part.iloc[0]
        title = f"{first['dataset_title']}, {first['noise_title']}"
        yield (f"{title} ({label})" if repeated else title), part


def shown(part: pd.DataFrame, methods: Iterable[str] | None = None) -> list[pd.DataFrame]:
    """Return the rows of the lines that a figure shows of a condition.

    Args:
        part: rows of one condition, several per line.
        methods: which; by default the first line and NRD's, or the last one's where there is no other of NRD.
    """
    found = [rows for _, rows in part.groupby(["variant", "method"], sort=False)]
    if methods is not None:
        wanted = list(methods)
        chosen = [rows for rows in found if rows["method"].iloc[0] in wanted]
        return sorted(chosen, key=lambda rows: wanted.index(rows["method"].iloc[0]))
    if len(found) < 2:
        return found
    return [found[0], next((rows for rows in found[1:] if rows["method"].iloc[0] == "nrd"), found[-1])]


def write_notes(folder: Path, left_out: dict[str, str], absent: dict[str, str]) -> None:
    """Write which finished runs the analyses leave out and which analyses the study has no data for, with reasons."""
    write_text(folder / NOTES, json.dumps({"left_out": left_out, "absent": absent}, indent=2) + "\n")


def read_notes(folder: Path, key: str = "left_out") -> dict[str, str]:
    """Return the reasons under ``left_out`` (by run) or ``absent`` (by analysis); nothing where there is no file."""
    try:
        return json.loads((folder / NOTES).read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
