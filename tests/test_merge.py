"""Uniting clones: nothing is lost, nothing is overwritten, nothing damaged gets in."""

import json
import os
import shutil

import numpy as np
import pytest

from nrd import merge
from nrd.checksums import read_sums, sealed, write_sums
from nrd.evaluation.answers import read_answers, write_answers
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


def spoil_a_key(folder):
    """One that no other file tells: the seal alone can."""
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["test_ecf"] = metrics.pop("test_ece")
    (folder / "metrics.json").write_text(json.dumps(metrics))


def spoil_log(folder):
    """Nothing measures the log: its checksum alone tells."""
    (folder / "log.txt").write_text("another log")


def spoil_checksum(folder):
    """Its own checksum is right, but a file's is not."""
    sums = read_sums(folder) | {"timing.csv": "0" * 64}
    (folder / "sums.json").write_text(json.dumps(sealed({"files": sums})))


def spoil_sums(folder):
    path = folder / "sums.json"
    path.write_text(path.read_text().replace("timing.csv", "timing.cs_", 1))


def spoil_snapshot(folder):
    """Listed, but not among the files that every run has."""
    (folder / "snapshot").write_bytes(b"1")
    write_sums(folder, [*read_sums(folder), "snapshot"])
    (folder / "snapshot").unlink()


def spoil_weights_without_sums(folder):
    """As of a run that is older than checksums."""
    spoil_weights(folder)
    (folder / "sums.json").unlink()


def spoil_owner_without_sums(folder):
    """Whole, but another run's weights."""
    other = next(path for path in folder.parent.iterdir() if path != folder)
    shutil.copyfile(other / "model.safetensors", folder / "model.safetensors")
    (folder / "sums.json").unlink()


SPOILED = {
    "predictions.npz": spoil_predictions,
    "model.safetensors": spoil_weights,
    "metrics.json": spoil_metrics,
    "metrics.json, a key": spoil_a_key,
    "spec.yaml": spoil_spec,
    "log.txt": spoil_log,
    "timing.csv": spoil_checksum,
    "sums.json": spoil_sums,
    "snapshot": spoil_snapshot,
    "model.safetensors, without sums": spoil_weights_without_sums,
    "model.safetensors, another's": spoil_owner_without_sums,
}


@pytest.mark.parametrize("what", SPOILED)
def test_damaged_runs_stay_out_and_the_others_come(theirs, ours, names, what):
    SPOILED[what](theirs.run(names[1]))
    merged = merge_runs([theirs.root], ours)
    assert list(merged.damaged) == [names[1]] and merged.new == [names[0], *names[2:]]
    assert "\n" not in merged.damaged[names[1]]
    assert str(theirs.run(names[1]) / what.partition(",")[0]) in merged.damaged[names[1]]
    assert not ours.run(names[1]).exists()


def test_runs_older_than_checksums_are_taken(theirs, ours, names):
    folder = theirs.run(names[0])
    (folder / "sums.json").unlink()
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["sha256"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert merge_runs([theirs.root], ours).new == names


ANSWERS = {
    **{"true": np.zeros(3, int), "given": np.zeros(3, int), "predicted": np.zeros((3, 3), int)},
    **{"confidence": np.ones((3, 3)), "loss": np.ones((3, 3)), "samples": np.arange(1)},
    **{"images": np.zeros((1, 1, 8, 8), np.uint8), "pictures": np.zeros((1, 8, 1, 8, 8), np.uint8)},
    **{"epochs": np.array([2]), "points": np.ones((1, 2, 1, 2, 10))},
}


def ask(layout, name):
    path = layout.analysis(name, "views-0a")
    write_answers(path, {"run": name}, ANSWERS, layout.run(name), ["model.safetensors"])
    return path


def test_what_networks_were_asked_comes_along_and_ours_stays(theirs, ours, names):
    paths = [ask(theirs, name) for name in names]
    mine = ours.analysis(names[0], "views-0a")
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"ours")
    paths[1].write_bytes(paths[1].read_bytes()[:-50])
    assert len(merge_runs([theirs.root], ours, dry_run=True).analyses) == 2
    merged = merge_runs([theirs.root], ours)
    assert str(merged) == "runs: 4 new; label files: 2 new; analyses: 2 new"
    (line,) = merged.remarks()
    assert line.startswith(f"{names[1]}/views-0a.npz: {paths[1]}: is damaged (")
    assert mine.read_bytes() == b"ours" and not ours.analysis(names[1], "views-0a").exists()
    for name in names[2:]:
        read_answers(ours.analysis(name, "views-0a"), name)
    ask(theirs, names[1])  # of a run that is here already
    assert str(merge_runs([theirs.root], ours)) == "runs: 4 already here; analyses: 1 new"


def test_answers_of_another_result_stay_out(theirs, ours, names):
    """Ours of that run is kept, and these are about theirs."""
    merge_runs([theirs.root], ours)
    history = ours.run(names[0]) / "history.csv"
    history.write_text(history.read_text().replace("0.", "0.0", 1))
    ask(theirs, names[0])
    assert not merge_runs([theirs.root], ours).analyses
    assert not ours.analysis(names[0], "views-0a").exists()


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
