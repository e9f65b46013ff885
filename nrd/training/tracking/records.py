"""A run's folder as the mirror reads it: live from ``scratch``, finished from ``results/runs``."""

import csv
import hashlib
import io
import json
import math
import os
import platform
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from nrd.checksums import SEAL, SUMS, is_sealed
from nrd.layout import Layout
from nrd.spec import RunSpec, SpecError
from nrd.training.lock import HOLDER, is_held

Row = dict[str, float]
# MLflow's words.
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"


@dataclass(frozen=True)
class Record:
    """What is known of one run at one moment."""

    spec: RunSpec
    folder: Path
    status: str
    history: str
    modified: float  # when the history was last written, seconds since 1970
    machine: dict = field(default_factory=dict)
    metrics: dict | None = None
    timing: tuple[Row, ...] = ()
    failure: str | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.spec.name

    @property
    def rows(self) -> list[Row]:
        """One row per finished epoch."""
        return parse_rows(self.history)

    @property
    def started(self) -> float:
        """When training began; a resumed run's earlier sessions are counted by the time that they took."""
        began = _seconds(self.machine.get("started"), self.modified)
        return min(began, self.ended - sum(row.get("seconds", 0.0) for row in self.timing))

    @property
    def ended(self) -> float:
        """When training ended, or when the history last grew."""
        return _seconds(self.machine.get("finished"), self.modified)

    def epoch_times(self, epochs: int, logged: int) -> list[float]:
        """Return about when each epoch ended: exact where timing is known, else so that times never run backwards.

        The epochs before the first look at a run are spread evenly; later ones have just ended.
        """
        if len(self.timing) == epochs:
            left, times = self.ended, []
            for row in reversed(self.timing):
                times.append(left)
                left -= row.get("seconds", 0.0)
            return times[::-1]
        if logged:
            return [self.ended] * epochs
        return [self.started + (self.ended - self.started) * (i + 1) / epochs for i in range(epochs)]


def read_record(layout: Layout, name: str, spec: RunSpec | None = None) -> Record | None:
    """Return a run's record, or None where it has no history yet.

    Raises:
        SpecError: a file of the run is damaged; the message names it.
    """
    for _ in range(2):  # the run may move from scratch to results while it is read
        trained = layout.is_trained(name)
        folder = layout.run(name) if trained else layout.scratch(name)
        try:
            return _read(layout, folder, trained, name, spec)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SpecError(f"{folder}: cannot be read ({error})") from None
    return None


def _read(layout: Layout, folder: Path, trained: bool, name: str, spec: RunSpec | None) -> Record:
    history = folder / "history.csv"
    modified = history.stat().st_mtime
    text = history.read_text(encoding="utf-8", errors="replace")
    if not (folder / "spec.yaml").is_file():
        raise FileNotFoundError(folder / "spec.yaml")
    failure = None if trained else read_json(folder / "failure.json").get("message")
    machine = read_json(folder / "machine.json")
    timing = folder / "timing.csv"
    return Record(
        spec=spec or RunSpec.from_yaml(folder / "spec.yaml"),
        folder=folder,
        status=FINISHED if trained else _status(layout.scratch(name), failure, machine),
        history=text,
        modified=modified,
        machine=machine,
        metrics=_metrics(folder / "metrics.json") if trained else None,
        timing=tuple(parse_rows(timing.read_text(encoding="utf-8", errors="replace"))) if trained else (),
        failure=failure,
    )


def _metrics(path: Path) -> dict | None:
    """Return the evaluation of a trained run, None before it was evaluated."""
    if not path.is_file():
        return None
    content = read_json(path)
    if not content or ((SEAL in content or (path.parent / SUMS).exists()) and not is_sealed(content)):
        raise SpecError(f"{path}: is damaged; evaluate the run again")
    return content


def _status(scratch: Path, failure: str | None, machine: dict) -> str:
    if is_active(scratch):
        return RUNNING
    if failure is not None:
        return FAILED
    # Another machine's processes cannot be seen from here.
    elsewhere = read_json(scratch / HOLDER).get("host", machine.get("host")) != platform.node()
    return RUNNING if elsewhere else KILLED


def is_active(scratch: Path) -> bool:
    """Whether a living process on this machine trains the run.

    The process is looked up first: asking for the lock takes it for a moment, which would turn away a training
    that starts just then.
    """
    holder = read_json(scratch / HOLDER)
    if holder.get("host") != platform.node() or not _is_alive(holder.get("pid")):
        return False
    return is_held(scratch)


def _is_alive(pid: object) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError, TypeError, ValueError):
        return False
    return True


class Fingerprint(NamedTuple):
    """What changes whenever there may be something new to mirror."""

    active: bool
    files: tuple


def fingerprint(layout: Layout, name: str) -> Fingerprint:
    """Return a run's fingerprint; cheap enough for every poll."""
    scratch, result = layout.scratch(name), layout.run(name)
    files = (
        scratch / "history.csv",
        scratch / "machine.json",
        scratch / "failure.json",
        result / "model.safetensors",
        result / "metrics.json",
    )
    return Fingerprint(is_active(scratch), tuple(_stamp(file) for file in files))


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def known_runs(layout: Layout) -> list[str]:
    """Return the names of all runs that have a history, finished or not."""
    folders = (layout.run("x").parent, layout.scratch("x").parent)
    return sorted({file.parent.name for folder in folders for file in folder.glob("*/history.csv")})


def parse_rows(text: str) -> list[Row]:
    r"""Return the complete rows of a CSV of numbers that may be growing; empty cells are left out.

    Example:
        >>> parse_rows("epoch,loss\n1,0.5\n2,\n3,0.")
        [{'epoch': 1.0, 'loss': 0.5}, {'epoch': 2.0}]
    """
    complete = text[: text.rfind("\n") + 1]  # the last line may be half written
    rows = csv.DictReader(io.StringIO(complete))
    return [{key: number for key, cell in row.items() if (number := _number(cell)) is not None} for row in rows]


def _number(cell: object) -> float | None:
    """MLflow stores infinities as the largest double, which would spoil a chart: they are left out like NaN."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def read_json(path: Path) -> dict:
    """Return the mapping in a JSON file; an empty one where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def digest(text: str) -> str:
    """Return a short checksum of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _seconds(stamp: object, otherwise: float) -> float:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (TypeError, ValueError):
        return otherwise
