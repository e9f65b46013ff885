"""Uniting the finished runs of several clones: ``nrd runs merge``.

A run's name is its content, so runs of different names never get into each other's way. Whatever is here already
stays as it is; only runs that are complete and whose files fit together are taken, each at once. What their networks
were asked comes along.
"""

import filecmp
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from nrd.checksums import SEAL, SUMS, is_sealed, read_checked, read_sums
from nrd.evaluation.answers import read_answers
from nrd.evaluation.run_metrics import measure_run
from nrd.files import replace_file
from nrd.layout import RUN_FILES, TRAINED, Layout
from nrd.spec import RunSpec, SpecError
from nrd.training.lock import run_lock

METRICS = "metrics.json"
# Never the same twice, even where a training is: when and where it was.
CIRCUMSTANCES = {"timing.csv", "machine.json", "log.txt", METRICS, SUMS}


@dataclass
class Merged:
    """What became of the runs found: names, and for some of them a line that says why."""

    new: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    incomplete: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    kept_labels: dict[str, str] = field(default_factory=dict)
    analyses: list[str] = field(default_factory=list)
    damaged_analyses: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [
            (self.new, "new"),
            (self.same, "already here"),
            (self.kept, "here with another result, kept"),
            (self.incomplete, "incomplete, left out"),
            (self.damaged, "damaged, left out"),
        ]
        text = ", ".join(f"{len(names)} {what}" for names, what in parts if names) or "nothing found"
        text += f"; label files: {len(self.labels)} new" if self.labels else ""
        return f"runs: {text}" + (f"; analyses: {len(self.analyses)} new" if self.analyses else "")

    def remarks(self) -> Iterator[str]:
        """Yield a line for each run, label file or analysis that a person may want to look at."""
        for group in (self.kept, self.kept_labels, self.incomplete, self.damaged, self.damaged_analyses):
            yield from (f"{name}: {reason}" for name, reason in group.items())


def merge_runs(sources: Iterable[Path], layout: Layout, dry_run: bool = False) -> Merged:
    """Take over finished runs, their given labels and their analyses, from other projects or folders.

    Args:
        sources: other clones, or folders that hold runs' folders.
        layout: the project that takes them.
        dry_run: look and verify, but copy nothing.

    Returns:
        What was taken and what was not, with reasons.

    Raises:
        SpecError: a source holds no runs or is this project itself, or another merge is at work; nothing was copied.
    """
    found = [(source, _runs_folder(source, layout)) for source in sources]
    merged = Merged()
    with ExitStack() as stack:
        staging = None if dry_run else stack.enter_context(_staging(layout))
        for source, runs in found:
            for folder in sorted(path for path in runs.iterdir() if (path / "spec.yaml").is_file()):
                _merge_run(folder, layout, staging, merged)
            _merge_labels(source, layout, staging, merged)
            if runs != source:
                _merge_analyses(Layout(source), layout, staging, merged)
    return merged


def _runs_folder(source: Path, layout: Layout) -> Path:
    for runs in (source / "results" / "runs", source):
        if runs.is_dir() and any(runs.glob("*/spec.yaml")):
            if runs.resolve() == layout.run("x").parent.resolve():
                raise SpecError(f"{source}: is this project itself; name another clone, or a folder of runs")
            return runs
    raise SpecError(f"{source}: holds no runs (looked for results/runs/*/spec.yaml and */spec.yaml)")


@contextmanager
def _staging(layout: Layout) -> Iterator[Path]:
    """Yield an empty folder on the file system of the runs, where what is not whole yet disturbs nobody."""
    runs = layout.run("x").parent
    runs.mkdir(parents=True, exist_ok=True)
    folder = runs.resolve().parent / ".merge"
    folder.mkdir(exist_ok=True)
    try:
        with FileLock(folder.with_suffix(".lock"), timeout=0):
            shutil.rmtree(folder)  # of a merge that was killed
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        raise SpecError(f"{folder}: another merge into this project is at work; wait for it") from None


def _merge_run(folder: Path, layout: Layout, staging: Path | None, merged: Merged) -> None:
    name, target = folder.name, layout.run(folder.name)
    if missing := [file for file in RUN_FILES if not (folder / file).is_file()]:
        train = "evaluate it there first" if missing == [METRICS] else "train it to its end there"
        merged.incomplete[name] = f"has no {', '.join(missing)}; {train}"
        return
    if name in merged.new:  # of an earlier source, in a dry run
        merged.same.append(name)
        return
    if layout.is_trained(name):
        if differing := _differing(folder, target):
            merged.kept[name] = (
                f"theirs differs in {', '.join(differing)} ({folder}); ours is kept "
                "(to take theirs, move ours away and merge again)"
            )
        else:
            merged.same.append(name)
        return
    try:
        verify_run(name, folder)
    except SpecError as error:
        merged.damaged[name] = " ".join(str(error).split())
        return
    try:
        if staging is not None:
            _take(folder, layout, staging)
        merged.new.append(name)
    except SpecError as error:  # it is in training here
        merged.kept[name] = " ".join(str(error).removeprefix(f"{name}: ").split())


def _differing(theirs: Path, ours: Path) -> list[str]:
    """Return which files tell of another result: those of :data:`TRAINED` but the circumstances."""
    return [
        file
        for file in TRAINED
        if file not in CIRCUMSTANCES and not filecmp.cmp(theirs / file, ours / file, shallow=False)
    ]


def verify_run(name: str, folder: Path) -> None:
    """Check that a finished run's files are whole, are this run's, and fit together.

    Its name must be that of its spec, its files those of its checksums where it has some, its weights readable and its
    own, and its ``metrics.json`` what its history and predictions give.

    Raises:
        SpecError: one line that names the file.
    """
    _verify_sums(folder)
    measured = measure_run(name, folder)
    path = folder / METRICS
    try:
        written = dict(json.loads(path.read_text(encoding="utf-8")))
        differing = [key for key, value in measured.items() if key in written and not _same(value, written[key])]
        # A key that nothing measures anew can be damaged as well.
        if (SEAL in written or (folder / SUMS).is_file()) and not is_sealed(written):
            raise ValueError("its numbers do not have the SHA-256 that stands in it")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise SpecError(f"{path}: is damaged ({error}); evaluate the run again") from None
    if differing or "test_accuracy_last" not in written:
        keys = ", ".join(differing) or "test_accuracy_last"
        raise SpecError(f"{path}: {keys}: not what history.csv and predictions.npz give; evaluate the run again")
    _verify_weights(name, folder / "model.safetensors")


def _verify_sums(folder: Path) -> None:
    for file in read_sums(folder) or ():  # runs may be older than checksums
        try:
            read_checked(folder, file)
        except OSError as error:
            raise SpecError(f"{folder / file}: is listed in {SUMS}, but cannot be read ({error.strerror})") from None


def _verify_weights(name: str, path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            owner, keys = (file.metadata() or {}).get("run"), list(file.keys())
    except (SafetensorError, OSError) as error:
        raise SpecError(f"{path}: is damaged ({error})") from None
    if owner != name or not keys:
        raise SpecError(f"{path}: holds the weights of {owner}, not of {name}")


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    return one == other


def _take(folder: Path, layout: Layout, staging: Path) -> None:
    """Copy a run beside the others and rename it into its place.

    The copies' times are new, so that tables made without the run are older than it; its evaluation comes last.
    """
    name, target, copy = folder.name, layout.run(folder.name), staging / folder.name
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".tmp")]
    for path in sorted(files, key=lambda path: (path.name == METRICS, path)):
        _copy(path, copy / path.relative_to(folder))
    with ExitStack() as stack:
        if layout.scratch(name).is_dir():  # it may be in training here
            stack.enter_context(run_lock(layout.scratch(name), name))
        if target.exists():  # incomplete: training would write it anew
            target.rename(staging / f"{name}.incomplete")
        copy.rename(target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _merge_labels(source: Path, layout: Layout, staging: Path | None, merged: Merged) -> None:
    """Take the given labels of runs that are here now: they are versioned beside them."""
    wanted = {RunSpec.from_yaml(layout.run(name) / "spec.yaml").labels_name for name in merged.new if staging}
    for name in sorted(wanted):
        theirs, ours = source / "data" / "labels" / f"{name}.csv", layout.labels(name)
        if not theirs.is_file():
            continue
        if not ours.is_file():
            with replace_file(ours) as temporary:
                shutil.copyfile(theirs, temporary)
            merged.labels.append(name)
        elif not filecmp.cmp(theirs, ours, shallow=False):
            merged.kept_labels[f"data/labels/{name}.csv"] = f"theirs differs ({theirs}); ours is kept"


def _merge_analyses(theirs: Layout, layout: Layout, staging: Path | None, merged: Merged) -> None:
    """Take what the networks were asked of runs that are the same here and there."""
    for name in sorted({*merged.new, *merged.same}):
        for path in sorted(theirs.analysis(name, "x").parent.glob("*.npz")):
            ours, key = layout.analysis(name, path.stem), f"{name}/{path.name}"
            if ours.is_file() or key in merged.analyses:  # of an earlier source, in a dry run
                continue
            try:
                read_answers(path, name)
            except SpecError as error:
                merged.damaged_analyses[key] = " ".join(str(error).split())
                continue
            if staging is not None:
                with replace_file(ours) as temporary:
                    shutil.copyfile(path, temporary)
            merged.analyses.append(key)
