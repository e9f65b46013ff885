"""Summaries that are committed: all numbers, no weights, and nothing that is damaged."""

import json
import shutil

import pandas as pd
import pytest

from nrd.checksums import digest
from nrd.report import build
from nrd.spec import RunSpec, SpecError
from nrd.study import Project
from nrd.summary import write_summary


@pytest.fixture
def finished(tiny_project, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(tiny_project.layout.root, root)
    return Project(root)


def test_a_summary_holds_each_runs_numbers_and_the_tables(finished, tmp_path):
    study, layout, folder = finished.study("tiny"), finished.layout, tmp_path / "measured"
    build(study, layout, ("results", "tables"))
    content = write_summary(study, layout, folder)
    assert content == json.loads((folder / "summary.json").read_text())
    assert content["finished"] == list(study.specs) and not content["missing"]
    for name in study.specs:
        run = folder / "runs" / name
        assert RunSpec.from_yaml(run / "spec.yaml").name == name
        assert (run / "metrics.json").read_bytes() == (layout.run(name) / "metrics.json").read_bytes()
        assert not list(run.glob("*.safetensors")) and not list(run.glob("*.npz"))
        weights = json.loads((run / "sums.json").read_text())["files"]["model.safetensors"]
        assert weights == digest((layout.run(name) / "model.safetensors").read_bytes())
        machine = json.loads((run / "machine.json").read_text())
        assert all(str(machine[key]) in content[key] for key in ("torch", "python", "git_commit", "device"))
        assert content["started"] <= machine["started"] <= machine["finished"] <= content["ended"]
    table = pd.read_csv(folder / "tables" / "results.csv").set_index("run")["test_accuracy_last"]
    last = {
        name: pd.read_csv(folder / "runs" / name / "history.csv")["test_accuracy"].dropna().iloc[-1]
        for name in study.specs
    }
    assert table.to_dict() == pytest.approx(last)


def test_a_later_summary_takes_the_place_of_an_earlier_one(finished, tmp_path):
    study, layout, folder = finished.study("tiny"), finished.layout, tmp_path / "measured"
    write_summary(study, layout, folder)
    gone, *others = study.specs
    shutil.rmtree(layout.run(gone))
    content = write_summary(study, layout, folder)
    assert content["missing"] == [gone] and content["finished"] == others
    assert sorted(path.name for path in (folder / "runs").iterdir()) == sorted(others)


def test_what_is_damaged_or_in_the_way_is_refused_and_nothing_is_written(finished, tmp_path):
    study, layout, folder = finished.study("tiny"), finished.layout, tmp_path / "measured"
    name = next(iter(study.specs))
    history = layout.run(name) / "history.csv"
    whole = history.read_text()
    history.write_text(whole.replace("0.1", "0.2", 1) + " ")
    with pytest.raises(SpecError, match=r"history\.csv: is damaged"):
        write_summary(study, layout, folder)
    assert not folder.exists()
    history.write_text(whole)
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(SpecError, match="something else than a summary"):
        write_summary(study, layout, folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    shutil.rmtree(layout.root / "results" / "runs")
    with pytest.raises(SpecError, match="no run is finished"):
        write_summary(study, layout, tmp_path / "other")


def test_the_command_says_what_it_wrote(finished, nrd, tmp_path):
    process = nrd("runs", "summary", "tiny", tmp_path / "measured", "--root", finished.layout.root)
    assert process.stdout.strip() == f"{tmp_path / 'measured'}: 4 finished runs, 0 missing"
