"""From the folders of a study's runs to ``results.csv``: one row per run of the study, nothing left out.

A run that is missing, failed or damaged has its row too, with the reason, so that whatever is built from this table
can say what it does not show.
"""

import csv
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from nrd.checksums import SEAL, SUMS, is_sealed, read_checked, read_marked, write_marked
from nrd.layout import Layout
from nrd.spec import SpecError
from nrd.study import Study, StudyRun

RESULTS = "results.csv"
PROVENANCE = "provenance.csv"
# Accuracies a table can show, as shares in `metrics.json`; the first is the default, as in the paper.
ACCURACIES = ("test_accuracy_last", "test_accuracy_best", "test_accuracy_validation_selected")
KEYS = ("study", "table", "variant", "run", "dataset", "noise", "noise_rate", "actual_noise_rate", "method", "seed")
MACHINE = ("git_commit", "device", "host", "torch", "started", "finished")
TEXT_COLUMNS = ("study", "table", "variant", "run", "dataset", "noise", "method", "status", "reason", *MACHINE)
REASON_LENGTH = 500


@dataclass(frozen=True)
class RunState:
    """What a run's folders say: ``status`` is done, missing, failed or damaged; ``reason`` is empty if done."""

    status: str
    reason: str = ""
    metrics: dict = field(default_factory=dict)


def collect(study: Study, layout: Layout) -> pd.DataFrame:
    """Return one row per run of the study, in the study's order.

    Columns: study, table, variant (empty text if none), run, dataset, noise, noise_rate (nominal, a share),
    actual_noise_rate (measured, a share), method, seed, status, reason, then every number of ``metrics.json``.
    Accuracies are shares in [0, 1]. A run that belongs to several tables or variants has a row in each.
    """
    return _results(study, _read_states(study, layout))


def _results(study: Study, states: dict[str, RunState]) -> pd.DataFrame:
    numbers = dict.fromkeys(ACCURACIES[:2])
    for state in states.values():
        numbers |= dict.fromkeys(key for key, value in state.metrics.items() if _is_number(value))
    numbers.pop("actual_noise_rate", None)
    rows = [_row(study.config.name, run, states[run.spec.name], list(numbers)) for run in study.runs]
    table = pd.DataFrame(rows, columns=[*KEYS, "status", "reason", *numbers])
    whole = [key for key in numbers if all(isinstance(s.metrics.get(key, 0), int) for s in states.values())]
    return table.astype({key: "Int64" for key in whole if key not in ACCURACIES})


def collect_provenance(study: Study, layout: Layout) -> pd.DataFrame:
    """Return where, when and from which commit each finished run came, and its seconds of training.

    Apart from the results, because it is never the same twice.
    """
    return _provenance(_read_states(study, layout), layout)


def _provenance(states: dict[str, RunState], layout: Layout) -> pd.DataFrame:
    rows = []
    for name, state in states.items():
        if state.status == "done":
            machine = {key: _one_line(state.metrics.get(key) or "") for key in MACHINE}
            rows.append({"run": name, "seconds": _seconds(layout.run(name) / "timing.csv"), **machine})
    return pd.DataFrame(rows, columns=["run", "seconds", *MACHINE])


def write_results(study: Study, layout: Layout) -> Path:
    """Write ``results.csv`` and, beside it, ``provenance.csv``; return the first."""
    folder = layout.report(study.config.name)
    states = _read_states(study, layout)
    write_csv(folder / RESULTS, _results(study, states))
    write_csv(folder / PROVENANCE, _provenance(states, layout))
    return folder / RESULTS


def read_results(folder: Path) -> pd.DataFrame:
    """Read ``results.csv`` of a report's folder."""
    return read_csv(folder / RESULTS)


def _read_states(study: Study, layout: Layout) -> dict[str, RunState]:
    return {name: read_state(name, layout) for name in study.specs}


def read_state(name: str, layout: Layout) -> RunState:
    """Return what a run's folders say about it."""
    metrics = layout.run(name) / "metrics.json"
    if metrics.is_file():
        try:
            return RunState("done", metrics=read_metrics(metrics, name))
        except SpecError as error:
            return RunState("damaged", _one_line(error))
    failure = layout.scratch(name) / "failure.json"
    if layout.is_trained(name):
        return RunState("missing", "trained, not evaluated yet")
    if failure.is_file():
        return RunState("failed", _failure(failure))
    return RunState("missing", "not run yet")


def read_metrics(path: Path, name: str) -> dict:
    """Return the content of a run's ``metrics.json``.

    Raises:
        SpecError: one line that names the file: it is damaged, or it is another run's.
    """
    again = "delete it and evaluate the run again"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"{path}: is missing or damaged ({_one_line(error)}); {again}") from None
    if not isinstance(content, dict):
        raise SpecError(f"{path}: is damaged (not a mapping); {again}")
    if content.get("run") != name:
        raise SpecError(f"{path}: holds the metrics of {content.get('run')!r}, not of this run; {again}")
    for key in ACCURACIES:
        if key in content and not (_is_number(content[key]) and 0 <= content[key] <= 1):
            raise SpecError(f"{path}: {key}: expected a share in [0, 1], got {content[key]!r}; {again}")
    for key in ACCURACIES[:2]:
        if key not in content:
            raise SpecError(f"{path}: {key}: is missing; {again}")
    if (SEAL in content or (path.parent / SUMS).exists()) and not is_sealed(content):
        raise SpecError(f"{path}: is damaged (its numbers do not have the SHA-256 that stands in it); {again}")
    return content


def write_csv(path: Path, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a table at once, with its checksum; without a format, floats read back unchanged."""
    write_marked(path, table.to_csv(index=False, lineterminator="\n", float_format=float_format).encode())


def read_csv(path: Path, text_columns: tuple[str, ...] = TEXT_COLUMNS) -> pd.DataFrame:
    """Read a table that :func:`write_csv` wrote: empty text stays text, and a method called `nan` stays a method.

    Raises:
        SpecError: one line that names the file: it is missing, damaged, or not what was written.
    """
    try:
        table = pd.read_csv(
            io.BytesIO(read_marked(path)),
            dtype=dict.fromkeys(text_columns, str),
            keep_default_na=False,
            na_values=[""],
        )
    except FileNotFoundError:
        raise SpecError(f"{path}: there is no such file; build the earlier parts of the report first") from None
    except SpecError:
        raise
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: is damaged ({_one_line(error)}); build it again") from None
    text = [column for column in text_columns if column in table]
    table[text] = table[text].fillna("")
    return table


def _row(study: str, run: StudyRun, state: RunState, numbers: list[str]) -> dict:
    spec, metrics = run.spec, state.metrics
    return {
        "study": study,
        "table": run.table,
        "variant": run.variant or "",
        "run": spec.name,
        "dataset": spec.dataset.name,
        "noise": spec.noise.slug,
        "noise_rate": spec.noise.rate,
        "actual_noise_rate": _number(metrics, "actual_noise_rate"),
        "method": spec.method.name,
        "seed": spec.seed,
        "status": state.status,
        "reason": state.reason,
        **{key: _number(metrics, key) for key in numbers},
    }


def _number(metrics: dict, key: str) -> float | int:
    value = metrics.get(key)
    return value if _is_number(value) else math.nan


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _failure(path: Path) -> str:
    try:
        message = json.loads(path.read_text(encoding="utf-8"))["message"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"failed; {path} cannot be read"
    return _one_line(message) or "failed without a message"


def _seconds(path: Path) -> float:
    """Seconds of training and evaluation; NaN if the file does not say."""
    try:
        text = read_checked(path.parent, path.name).decode()
        return round(sum(float(row["seconds"]) for row in csv.DictReader(io.StringIO(text))), 1)
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return math.nan


def _one_line(text: object) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1] + "…"
