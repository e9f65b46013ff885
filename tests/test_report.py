"""A study's report: every row there, every problem named, the same bytes twice. Also makes the runs it is tested on."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from nrd.evaluation.run_metrics import evaluate_run
from nrd.report import PARTS, build
from nrd.report.curves import read_curves
from nrd.report.results import KEYS, collect, collect_provenance, read_csv, read_results, write_results
from nrd.spec import SpecError
from nrd.study import Project
from nrd.training.outputs import to_csv

PARAMS = Path(__file__).parents[1] / "params"
TEST_SIZE, TRAIN_SIZE = 200, 20


def make_project(root, *studies):
    """Copy the project's params to a folder, add studies (mappings) to them, and return the project."""
    shutil.copytree(PARAMS, root / "params")
    for study in studies:
        (root / "params" / "studies" / f"{study['name']}.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return Project(root)


def small_study(name="small", epochs=3, validation=0.1, **grid):
    """Settings of a study on digits; ``grid`` overrides its only block."""
    settings = {"network": "preact_resnet_tiny", "epochs": epochs, "batch_size": 64, "validation": validation}
    block = {"datasets": ["digits"], "noises": ["sym40"], "methods": ["ce", "nrd"], "seeds": [1, 2, 3], **grid}
    return {"name": name, "title": "Small", "description": "A test.", "settings": settings, "grid": [block]}


def finish_run(layout, spec, right, best=None):
    """Write a finished run's folder as training would, with ``right`` of 200 test images right at the end."""
    folder = layout.run(spec.name)
    folder.mkdir(parents=True)
    epochs = spec.optimization.epochs
    (folder / "spec.yaml").write_text(spec.to_yaml())
    (folder / "history.csv").write_text(to_csv([_epoch(spec, e, epochs, right, best or right) for e in range(epochs)]))
    timing = [{"epoch": epoch + 1, "seconds": 1.25, "images_per_second": 100.0} for epoch in range(epochs)]
    (folder / "timing.csv").write_text(to_csv(timing))
    machine = {"git_commit": "0123456789ab", "device": "A <fast> device", "host": "node1", "torch": "2.11.0"}
    times = {"started": "2026-01-02T03:04:05+00:00", "finished": "2026-01-02T04:04:05+00:00"}
    (folder / "machine.json").write_text(json.dumps(machine | times))
    (folder / "log.txt").write_text("")
    (folder / "model.safetensors").write_bytes(b"weights")
    np.savez_compressed(folder / "predictions.npz", **_predictions(spec, right))
    evaluate_run(spec.name, layout)


def _epoch(spec, epoch, epochs, right, best):
    accuracy = (best if epoch == 0 else right) / TEST_SIZE if epoch in (0, epochs - 1) else 0.01
    row = {"epoch": epoch + 1, "loss": 1.0, "train_clean_accuracy": 0.9}
    if spec.noise.rate:
        row |= {"train_mislabeled_accuracy": 0.5, "train_memorised": 0.1 * (spec.seed % 3)}
    row["test_accuracy"] = accuracy
    if spec.validation:
        row["validation_accuracy"] = 0.5 if epoch == 0 else 0.4
    return row


def _predictions(spec, right):
    classes = spec.dataset.num_classes
    labels = np.arange(TEST_SIZE) % classes
    predicted = np.where(np.arange(TEST_SIZE) < right, labels, (labels + 1) % classes)
    true = np.arange(TRAIN_SIZE) % classes
    given = np.where(np.arange(TRAIN_SIZE) < TRAIN_SIZE * spec.noise.rate, (true + 1) % classes, true)
    one_hot = np.eye(classes, dtype=np.float16)
    return {
        "test_labels": labels,
        "student_test": one_hot[predicted],
        "train_true": true,
        "train_given": given,
        "student_train": one_hot[true],
    }


def fail_run(layout, spec, message):
    """Leave word of a failure as training does."""
    folder = layout.scratch(spec.name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failure.json").write_text(json.dumps({"run": spec.name, "message": message}))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path, small_study())


def test_rows_follow_the_study_and_numbers_are_those_of_metrics_json(project):
    study, layout = project.study("small"), project.layout
    for place, spec in enumerate(study.specs.values()):
        finish_run(layout, spec, 100 + place)
    table = collect(study, layout)
    assert list(table["run"]) == [run.spec.name for run in study.runs]
    assert list(table.columns[: len(KEYS) + 2]) == [*KEYS, "status", "reason"]
    for row in table.to_dict("records"):
        metrics = json.loads((layout.run(row["run"]) / "metrics.json").read_text())
        for key, value in metrics.items():
            if isinstance(value, int | float):
                assert row[key] == value
    assert set(table["status"]) == {"done"}


def test_results_survive_their_file_unchanged(project):
    study, layout = project.study("small"), project.layout
    for place, spec in enumerate(list(study.specs.values())[:4]):
        finish_run(layout, spec, 133 + place)
    write_results(study, layout)
    pd.testing.assert_frame_equal(read_results(layout.report("small")), collect(study, layout), check_dtype=False)
    text = (layout.report("small") / "results.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert rows[0]["test_accuracy_best_epoch"] == "1"  # a whole number stays one beside missing runs
    assert rows[0]["test_accuracy_last"] == "0.665"


def test_provenance_is_apart_from_the_results(project):
    study, layout = project.study("small"), project.layout
    finish_run(layout, study.runs[0].spec, 100)
    provenance = collect_provenance(study, layout)
    assert provenance.to_dict("records") == [
        {
            "run": study.runs[0].spec.name,
            "seconds": 3.8,
            "git_commit": "0123456789ab",
            "device": "A <fast> device",
            "host": "node1",
            "torch": "2.11.0",
            "started": "2026-01-02T03:04:05+00:00",
            "finished": "2026-01-02T04:04:05+00:00",
        }
    ]
    assert not set(provenance.columns) - {"run"} & set(collect(study, layout).columns)


def test_each_problem_has_its_status_and_reason(project):
    study, layout = project.study("small"), project.layout
    specs = list(study.specs.values())
    finish_run(layout, specs[0], 100)
    fail_run(layout, specs[1], "loss is nan\nat epoch 2")
    for spec, content in zip(specs[2:5], ("{", "[]", json.dumps({"run": specs[0].name})), strict=True):
        layout.run(spec.name).mkdir(parents=True)
        (layout.run(spec.name) / "metrics.json").write_text(content)
    table = collect(study, layout)
    assert list(table["status"]) == ["done", "failed", "damaged", "damaged", "damaged", "missing"]
    assert table["reason"][1] == "loss is nan at epoch 2"
    assert table["reason"][5] == "not run yet"
    for place in (2, 3, 4):
        assert str(layout.run(specs[place].name) / "metrics.json") in table["reason"][place]
        assert "\n" not in table["reason"][place]
    assert specs[0].name in table["reason"][4]
    assert table["test_accuracy_last"].notna().sum() == 1


@pytest.mark.parametrize("value", ["true", "null", '"0.9"', "NaN", "1.2", "-0.1", "Infinity", "1e999"])
def test_an_accuracy_that_is_no_share_is_damage(project, value):
    study, layout = project.study("small"), project.layout
    spec = study.runs[0].spec
    finish_run(layout, spec, 100)
    path = layout.run(spec.name) / "metrics.json"
    path.write_text(path.read_text().replace('"test_accuracy_last": 0.5', f'"test_accuracy_last": {value}'))
    row = collect(study, layout).iloc[0]
    assert row["status"] == "damaged"
    assert "test_accuracy_last" in row["reason"]


def test_a_failure_file_that_cannot_be_read_is_named(project):
    study, layout = project.study("small"), project.layout
    spec = study.runs[0].spec
    fail_run(layout, spec, "x")
    (layout.scratch(spec.name) / "failure.json").write_text("[")
    row = collect(study, layout).iloc[0]
    assert row["status"] == "failed"
    assert "failure.json" in row["reason"]


def test_a_run_that_finished_after_a_failure_is_done(project):
    study, layout = project.study("small"), project.layout
    spec = study.runs[0].spec
    fail_run(layout, spec, "out of memory")
    finish_run(layout, spec, 100)
    assert collect(study, layout)["status"][0] == "done"


def test_a_trained_run_without_metrics_waits_for_them(project):
    study, layout = project.study("small"), project.layout
    spec = study.runs[0].spec
    finish_run(layout, spec, 100)
    (layout.run(spec.name) / "metrics.json").unlink()
    row = collect(study, layout).iloc[0]
    assert (row["status"], row["reason"]) == ("missing", "trained, not evaluated yet")


@pytest.mark.parametrize("finished", [0, 1, 6])
def test_the_fixed_files_are_there_however_many_runs_are(project, finished):
    study, layout = project.study("small"), project.layout
    for spec in list(study.specs.values())[:finished]:
        finish_run(layout, spec, 100)
    folder = build(study, layout)
    fixed = ["results.csv", "provenance.csv", "curves.csv", "curves.json", "index.html"]
    fixed += [f"{stem}{suffix}" for stem in ("accuracy", "accuracy-main") for suffix in (".csv", ".md", ".tex")]
    fixed += [f"{stem}.{kind}" for stem in ("curves", "memorisation") for kind in ("png", "svg", "pdf")]
    assert {path.name for path in folder.iterdir()} >= set(fixed)
    assert f"<strong>{finished} of 6</strong>" in (folder / "index.html").read_text()


def test_the_same_runs_give_the_same_bytes(project):
    study, layout = project.study("small"), project.layout
    for place, spec in enumerate(study.specs.values()):
        finish_run(layout, spec, 100 + place)
    first = contents(build(study, layout))
    assert contents(build(study, layout)) == first
    shutil.rmtree(layout.report("small"))
    for part in PARTS:  # one after the other, as a workflow would
        build(study, layout, [part])
    assert contents(layout.report("small")) == first


def test_parts_ask_for_what_they_need_and_unknown_ones_are_refused(project):
    study, layout = project.study("small"), project.layout
    with pytest.raises(SpecError, match=r"results\.csv: there is no such file"):
        build(study, layout, ["tables"])
    with pytest.raises(SpecError, match=r"no part 'plots'; allowed: results, tables, figures, paper-figures, page"):
        build(study, layout, ["plots"])


def test_tables_of_labels_that_the_study_no_longer_has_are_removed(project):
    study, layout = project.study("small"), project.layout
    folder = build(study, layout, ["results", "tables"])
    (folder / "accuracy-old.md").write_text("old")
    build(study, layout, ["tables"])
    assert not (folder / "accuracy-old.md").exists()


def test_curves_are_means_and_ranges_over_finished_seeds(project):
    study, layout = project.study("small"), project.layout
    for spec, right in zip(list(study.specs.values())[:2], (100, 150), strict=True):
        finish_run(layout, spec, right)
    folder = build(study, layout, ["figures"])
    curves = read_curves(folder / "curves.csv")
    assert list(curves["epoch"]) == [1, 2, 3]
    last = curves.iloc[-1]
    assert (last["test_accuracy_min"], last["test_accuracy_mean"], last["test_accuracy_max"]) == (0.5, 0.625, 0.75)
    assert (last["n"], last["title"], last["noise_title"]) == (2, "CE", "symmetric 40 %")
    assert last["train_memorised_mean"] == pytest.approx(0.15)


def test_what_is_neither_right_nor_memorised_is_another_class_seed_by_seed(project):
    study, layout = project.study("small"), project.layout
    specs = list(study.specs.values())[:2]
    for spec in specs:
        finish_run(layout, spec, 100)
    folder = build(study, layout, ["figures"])
    rows = [list(csv.DictReader((layout.run(s.name) / "history.csv").read_text().splitlines()))[-1] for s in specs]
    rest = [1 - float(row["train_memorised"]) - float(row["train_mislabeled_accuracy"]) for row in rows]
    last = read_curves(folder / "curves.csv").iloc[-1]
    found = [last[f"train_mislabeled_other_{kind}"] for kind in ("mean", "min", "max")]
    assert found == pytest.approx([sum(rest) / 2, min(rest), max(rest)])
    assert min(rest) < max(rest)
    assert last["train_clean_other_mean"] == pytest.approx(1 - float(rows[0]["train_clean_accuracy"]))
    svg = (folder / "memorisation.svg").read_text()
    fates = ("true label", "given label", "another")
    assert all(svg.count(f">mislabeled: {fate}<") == 1 for fate in fates)
    assert all(svg.count(f">clean: {fate}<") == 1 for fate in fates[::2])


def test_a_damaged_history_is_left_out_and_named_on_the_page(project):
    study, layout = project.study("small"), project.layout
    specs = list(study.specs.values())
    for spec in specs[:2]:
        finish_run(layout, spec, 100)
    (layout.run(specs[0].name) / "history.csv").write_text("epoch,test_accuracy\n2,x\n")
    folder = build(study, layout)
    assert set(read_curves(folder / "curves.csv")["n"]) == {1}
    page = (folder / "index.html").read_text()
    assert "Left out, because their history cannot be read" in page


def test_hundreds_of_runs(tmp_path):
    methods = ["ce", "bs", "ls", "sce", "gce", "nce-rce", "js", "gjs", "nrd"]
    noises = ["clean", "sym20", "sym40", "sym60", "sym80"]
    study = small_study("many", epochs=2, methods=methods, noises=noises, seeds=[1, 2, 3, 4, 5])
    project = make_project(tmp_path, study)
    study = project.study("many")
    assert len(study.specs) == 225
    for place, spec in enumerate(study.specs.values()):
        finish_run(project.layout, spec, 50 + place % 150)
    page = (build(study, project.layout) / "index.html").read_text()
    assert "<strong>225 of 225</strong>" in page
    assert page.count('href="../../runs/') == 225  # the list of runs, to which cells and figures lead:
    # Lines of nine methods, or of the two of a figure.
    parts = dict.fromkeys(("curves", "memorisation", "reliability", "paired", "classes", "cost"), 45) | {"confusion": 8}
    assert page.count('href="#run-') == 3 * 225 + sum(parts.values())
    assert "No epoch is selected by validation" not in page


def test_a_run_shared_by_two_tables_has_a_row_in_each(tmp_path):
    config = small_study("shared")
    config["grid"].append({**config["grid"][0], "methods": ["ce"], "table": "baseline"})
    project = make_project(tmp_path, config)
    study = project.study("shared")
    table = collect(study, project.layout)
    assert len(table) == 9
    assert table["run"].nunique() == 6
    build(study, project.layout, ["results", "tables"])
    part = read_csv(project.layout.report("shared") / "accuracy-baseline.csv", ("table", "method"))
    assert list(part["method"]) == ["ce"]
