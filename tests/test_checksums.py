"""Checksums of runs and report tables: what they find, and what older runs without them still do."""

import json
import shutil

import pandas as pd
import pytest

from nrd import files
from nrd.checksums import SUMS, read_marked, write_marked
from nrd.evaluation.run_metrics import evaluate_run
from nrd.evaluation.verify import verify_run
from nrd.layout import RUN_FILES, Layout
from nrd.report.results import read_csv, read_state, write_csv
from nrd.spec import SpecError


@pytest.fixture
def run(tiny_project, tmp_path):
    """A finished run of its own: layout, name, folder."""
    name = next(iter(tiny_project.study("tiny").specs))
    layout = Layout(tmp_path)
    shutil.copytree(tiny_project.layout.run(name), layout.run(name))
    return layout, name, layout.run(name)


@pytest.mark.parametrize("file", RUN_FILES)
def test_one_flipped_bit_in_any_file_is_found(run, file):
    layout, name, folder = run
    assert verify_run(name, layout) == []
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    (problem,) = verify_run(name, layout)
    assert str(folder / file) in problem and ("delete" in problem)


def test_a_missing_file_and_a_damaged_list_are_found(run):
    layout, name, folder = run
    (folder / "timing.csv").unlink()
    assert "timing.csv: No such file" in verify_run(name, layout)[0]
    content = json.loads((folder / SUMS).read_text())
    content["files"]["history.csv"] = "0" * 64
    (folder / SUMS).write_text(json.dumps(content))
    assert verify_run(name, layout) == [f"{folder / SUMS}: is damaged; delete the run's folder to train it again"]


def test_a_number_changed_by_hand_reaches_no_table(run):
    layout, name, folder = run
    content = json.loads((folder / "metrics.json").read_text())
    content["test_accuracy_last"] = 0.99
    (folder / "metrics.json").write_text(json.dumps(content))
    state = read_state(name, layout)
    assert state.status == "damaged" and "SHA-256" in state.reason
    del content["sha256"]  # nor without any checksum: this run is not older than checksums
    (folder / "metrics.json").write_text(json.dumps(content))
    assert read_state(name, layout).status == "damaged"


def test_runs_older_than_checksums_are_read_as_before(run):
    layout, name, folder = run
    (folder / SUMS).unlink()
    content = json.loads((folder / "metrics.json").read_text())
    del content["sha256"]
    (folder / "metrics.json").write_text(json.dumps(content))
    assert read_state(name, layout).status == "done"
    assert layout.is_finished(name)
    assert verify_run(name, layout) == []
    assert evaluate_run(name, layout)["test_accuracy_last"] == content["test_accuracy_last"]


def test_the_command_tells_each_problem(tiny_project, tmp_path, nrd):
    shutil.copytree(tiny_project.layout.root, tmp_path, dirs_exist_ok=True)
    assert nrd("runs", "verify", "tiny").stdout == "tiny: 4 runs are as they were written\n"
    name = next(iter(tiny_project.study("tiny").specs))
    (tmp_path / "results/runs" / name / "predictions.npz").write_bytes(b"")
    process = nrd("runs", "verify", "tiny", check=False)
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: results/runs/{name}/predictions.npz: is damaged")


def test_a_table_that_was_altered_is_not_read(tmp_path):
    path = tmp_path / "results.csv"
    write_csv(path, pd.DataFrame({"run": ["a"], "test_accuracy_last": [0.5]}))
    assert read_csv(path)["test_accuracy_last"][0] == 0.5
    path.write_text(path.read_text().replace("0.5", "0.6"))
    with pytest.raises(SpecError, match=r"results.csv: is damaged .*build it again"):
        read_csv(path)
    (tmp_path / ".results.csv.sha256").unlink()  # of an older version, or written by hand
    assert read_csv(path)["test_accuracy_last"][0] == 0.6


def test_a_mark_is_never_of_other_content(tmp_path, monkeypatch):
    """Killed between the file and its mark: the file is whole and counts."""
    path = tmp_path / "table.csv"
    write_marked(path, b"old")
    monkeypatch.setattr("nrd.checksums.write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_marked(path, b"new")
    assert read_marked(path) == b"new"


def test_leftovers_of_killed_writers_are_swept_away(tmp_path):
    path = tmp_path / "history.csv"
    dead = tmp_path / f".history.csv.{files._owner()}{2**22 + 1}.tmp"
    alive = tmp_path / f".history.csv.{files._owner()}1.tmp"
    elsewhere = tmp_path / ".history.csv.another-host-99.tmp"
    for leftover in (dead, alive, elsewhere):
        leftover.touch()
    files.write_text(path, "x")
    assert {p.name for p in tmp_path.iterdir()} == {"history.csv", alive.name, elsewhere.name}
