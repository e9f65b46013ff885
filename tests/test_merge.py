"""Uniting clones: nothing is lost, nothing is overwritten, nothing damaged gets in."""

import hashlib
import json
import os
import shutil

import pytest

from nrd import merge
from nrd.layout import RUN_FILES, Layout
from nrd.merge import merge_runs
from nrd.spec import SpecError
from nrd.training.lock import run_lock
from tests.conftest import make_project


@pytest.fixture
def theirs(tiny_project, tmp_path):
    """Another clone whose four runs are finished."""
    root = tmp_path / "theirs"
    shutil.copytree(tiny_project.layout.root, root)
    return Layout(root)


@pytest.fixture
def ours(tmp_path):
    """A fresh clone."""
    (tmp_path / "ours").mkdir()
    return make_project(tmp_path / "ours").layout


@pytest.fixture
def names(tiny_project):
    return sorted(tiny_project.study("tiny").specs)


def content(layout):
    """Every file under results/runs and data/labels with its bytes."""
    folders = (layout.root / "results", layout.root / "data" / "labels")
    files = [path for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(layout.root)): path.read_bytes() for path in files if path.suffix != ".lock"}


def test_runs_and_their_labels_arrive_whole_and_once(theirs, ours, names):
    merged = merge_runs([theirs.root], ours)
    assert merged.new == names and not list(merged.remarks())
    assert str(merged) == "runs: 4 new; label files: 2 new"
    assert content(ours) == content(theirs)
    assert all(ours.is_finished(name) for name in names)
    for name in names:  # the workflow then finds the evaluation newer than what it was made from
        times = {file: (ours.run(name) / file).stat().st_mtime_ns for file in RUN_FILES}
        assert max(times, key=times.get) == "metrics.json"
    before = {path: path.stat().st_mtime_ns for path in (ours.root / "results").rglob("*.*")}
    assert str(merge_runs([theirs.root, theirs.root / "results" / "runs"], ours)) == "runs: 8 already here"
    assert {path: path.stat().st_mtime_ns for path in (ours.root / "results").rglob("*.*")} == before


def test_clones_with_different_runs_are_united(theirs, ours, names):
    shutil.copytree(theirs.root / "results", ours.root / "results")
    for layout, gone in ((ours, names[:2]), (theirs, names[3:])):
        for name in gone:
            shutil.rmtree(layout.run(name))
    assert merge_runs([theirs.root], ours).new == names[:2]
    assert all(ours.is_finished(name) for name in names)


def test_another_result_of_the_same_run_is_told_and_ours_is_kept(theirs, ours, names):
    merge_runs([theirs.root], ours)
    before = content(ours)
    history = theirs.run(names[0]) / "history.csv"
    history.write_text(history.read_text().replace("0.", "0.0", 1))
    machine = theirs.run(names[1]) / "machine.json"  # the same result, trained elsewhere
    machine.write_text(machine.read_text().replace("{", "{ ", 1))
    label = next((theirs.root / "data/labels").glob("*.csv"))
    label.write_text(label.read_text() + "\n")
    merged = merge_runs([theirs.root], ours)
    assert list(merged.kept) == names[:1] and merged.same == names[1:] and not merged.new
    (line,) = merged.remarks()
    assert line.startswith(f"{names[0]}: theirs differs in history.csv (") and "ours is kept" in line
    assert content(ours) == before


def spoil_predictions(folder):
    path = folder / "predictions.npz"
    path.write_bytes(path.read_bytes()[:-100])


def spoil_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def spoil_metrics(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"test_nll": metrics["test_nll"] + 0.01}))


def spoil_spec(folder):
    path = folder / "spec.yaml"
    path.write_text(path.read_text().replace("learning_rate: 0.", "learning_rate: 0.1", 1))


def spoil_checksum(folder):
    sums = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in ("timing.csv", "log.txt")}
    (folder / "sums.json").write_text(json.dumps({"files": sums}))
    (folder / "log.txt").write_text("another log")


@pytest.mark.parametrize("spoil", [spoil_predictions, spoil_weights, spoil_metrics, spoil_spec, spoil_checksum])
def test_damaged_runs_stay_out_and_the_others_come(theirs, ours, names, spoil):
    spoil(theirs.run(names[1]))
    merged = merge_runs([theirs.root], ours)
    assert list(merged.damaged) == [names[1]] and merged.new == [names[0], *names[2:]]
    assert "\n" not in merged.damaged[names[1]] and str(theirs.run(names[1])) in merged.damaged[names[1]]
    assert not ours.run(names[1]).exists()


@pytest.mark.parametrize(("file", "advice"), [("metrics.json", "evaluate it there"), ("model.safetensors", "train it")])
def test_unfinished_runs_stay_out(theirs, ours, names, file, advice):
    (theirs.run(names[0]) / file).unlink()
    merged = merge_runs([theirs.root], ours)
    assert merged.new == names[1:] and f"has no {file}; {advice}" in merged.incomplete[names[0]]


def test_ours_that_is_incomplete_is_completed(theirs, ours, names):
    folder = ours.run(names[0])
    folder.mkdir(parents=True)
    (folder / "history.csv").write_text("epoch\n")
    assert merge_runs([theirs.root], ours).new == names
    assert content(ours) == content(theirs)


def test_a_run_in_training_here_is_left_alone(theirs, ours, names):
    with run_lock(ours.scratch(names[0]), names[0]):
        merged = merge_runs([theirs.root], ours)
    assert merged.new == names[1:] and "is being trained by" in merged.kept[names[0]]


def test_a_merge_that_breaks_off_leaves_whole_runs_only(theirs, ours, names, monkeypatch):
    copied, copy = [], shutil.copyfile

    def full_disk(source, target):
        copied.append(source)
        if len(copied) == len(RUN_FILES) + 3:
            raise OSError(28, "No space left on device", str(target))
        return copy(source, target)

    monkeypatch.setattr(merge.shutil, "copyfile", full_disk)
    with pytest.raises(OSError, match="No space left"):
        merge_runs([theirs.root], ours)
    assert [path.name for path in (ours.root / "results/runs").iterdir()] == names[:1]
    assert ours.is_finished(names[0])
    monkeypatch.undo()
    leftover = ours.root / "results/.merge/half"
    leftover.mkdir(parents=True)
    (leftover / "spec.yaml").write_text("of a merge that was killed")
    assert merge_runs([theirs.root], ours).new == names[1:]
    assert content(ours) == content(theirs)


def test_dry_run_changes_nothing(theirs, ours, names):
    spoil_weights(theirs.run(names[0]))
    merged = merge_runs([theirs.root], ours, dry_run=True)
    assert merged.new == names[1:] and list(merged.damaged) == names[:1]
    assert not (ours.root / "results").exists() and not (ours.root / "data").exists()


def test_what_holds_no_runs_is_refused_before_anything_is_copied(theirs, ours, tmp_path):
    for wrong, reason in ((tmp_path / "nothing", "holds no runs"), (theirs.root / "params", "holds no runs")):
        with pytest.raises(SpecError, match=reason):
            merge_runs([theirs.root, wrong], ours)
    assert not (ours.root / "results").exists()
    with pytest.raises(SpecError, match="this project itself"):
        merge_runs([theirs.root], theirs)


def test_the_command_tells_counts_and_fails_if_something_is_damaged(theirs, ours, names, nrd):
    process = nrd("runs", "merge", theirs.root, "--dry-run", "--root", ours.root)
    assert process.stdout == "would be merged: runs: 4 new\n"
    spoil_predictions(theirs.run(names[0]))
    process = nrd("runs", "merge", os.path.relpath(theirs.root, ours.root), cwd=ours.root, check=False)
    assert process.returncode == 1
    assert process.stdout == "runs: 3 new, 1 damaged, left out; label files: 2 new\n"
    assert "predictions.npz: is damaged" in process.stderr and "Traceback" not in process.stderr
    assert process.stderr.splitlines()[-1].startswith("error: 1 damaged")
