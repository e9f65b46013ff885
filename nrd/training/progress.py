"""What a training shows while it runs: a bar when a person watches, plain lines in logs."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from nrd.files import append_text

LINE_SECONDS = 20.0


class Progress:
    """Shows epochs as they end, and keeps ``log.txt``."""

    def __init__(self, run: str, epochs: int, done: int, log: Path) -> None:
        self.run, self.epochs, self.log = run, epochs, log
        self._bar = None
        self._last_line = 0.0
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = ["{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
            self._bar = Bar(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True))
            self._task = self._bar.add_task(run, total=epochs, completed=done, note="")

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def note(self, text: str, show: bool = True) -> None:
        """Write one line to the log and, unless a bar or ``show=False`` forbids, to standard error."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        append_text(self.log, f"{stamp} {text}\n")
        if show and not self._bar:
            print(f"{self.run}: {text}", file=sys.stderr, flush=True)

    def epoch(self, row: dict[str, float], images_per_second: float) -> None:
        """Report a finished epoch; on a plain terminal not more often than every twenty seconds."""
        parts = [f"epoch {row['epoch']}/{self.epochs}", f"loss {row['loss']:.4f}"]
        if "test_accuracy" in row:
            parts.append(f"test {100 * row['test_accuracy']:.2f} %")
        parts.append(f"{images_per_second:.0f} images/s")
        now = time.monotonic()
        last = row["epoch"] == self.epochs
        self.note(", ".join(parts), show=last or now - self._last_line >= LINE_SECONDS)
        if now - self._last_line >= LINE_SECONDS:
            self._last_line = now
        if self._bar:
            self._bar.update(self._task, completed=row["epoch"], note=", ".join(parts[1:]))
