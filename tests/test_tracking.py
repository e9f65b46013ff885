"""The mirror in MLflow: what arrives in a real store, and that nothing arrives twice."""

import atexit
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nrd.layout import Layout
from nrd.report.links import read_addresses
from nrd.spec import RunSpec
from nrd.training.lock import run_lock
from nrd.training.outputs import to_csv
from nrd.training.tracking import TrackingError, known_runs, open_ui, prepare_store, store_uri, sync
from nrd.training.tracking import ui as ui_module
from nrd.training.tracking.content import cell, parameters
from nrd.training.tracking.records import parse_rows, read_record

mlflow = pytest.importorskip("mlflow")

EPOCHS = 5


@cache
def empty_database():
    """Making one takes seconds; tests copy it."""
    layout = Layout(Path(tempfile.mkdtemp()))
    atexit.register(shutil.rmtree, layout.root, ignore_errors=True)
    prepare_store(layout, store_uri(layout, f"sqlite:///{layout.root / 'mlflow.db'}"))
    return layout.root / "mlflow.db"


@pytest.fixture
def layout(project, monkeypatch):
    """An empty project with its own store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copyfile(empty_database(), project.layout.root / "mlflow.db")
    return project.layout


@pytest.fixture
def specs(project):
    return list(project.study("tiny").specs.values())


@pytest.fixture
def spec(specs):
    return next(spec for spec in specs if spec.method.name == "nrd" and spec.seed == 1)


def history(epochs, shift=0.0):
    """Rows as the loop writes them: the test accuracy only in every second epoch."""
    rows = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "learning_rate": 0.05, "loss": 1 / epoch + shift}
        rows.append(row | ({"test_accuracy": 0.1 * epoch} if epoch % 2 else {}))
    return rows


def write_live(layout, spec, rows, **machine):
    folder = layout.scratch(spec.name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.yaml").write_text(spec.to_yaml())
    (folder / "history.csv").write_text(to_csv(rows))
    content = {"host": os.uname().nodename, "device": "a processor", "git_commit": "abc", "study": "tiny"}
    (folder / "machine.json").write_text(json.dumps({**content, "started": "2026-01-01T10:00:00+00:00", **machine}))
    return folder


def write_finished(layout, spec, rows, accuracy=0.5, evaluated=True):
    live = write_live(layout, spec, rows, finished="2026-01-01T11:00:00+00:00")
    folder = layout.run(spec.name)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("spec.yaml", "history.csv", "machine.json"):
        (live / name).rename(folder / name)
    timing = [{"epoch": r["epoch"], "seconds": 60.0, "images_per_second": 100.0} for r in rows]
    (folder / "timing.csv").write_text(to_csv(timing))
    for name in ("log.txt", "predictions.npz", "model.safetensors"):
        (folder / name).write_text("content")
    if evaluated:
        metrics = {"run": spec.name, "test_accuracy_last": accuracy, "train_memorised": None, "host": "h"}
        (folder / "metrics.json").write_text(json.dumps(metrics))


def client(layout):
    return mlflow.MlflowClient(store_uri(layout))


def find(layout, spec):
    """The one active MLflow run of a spec."""
    reader = client(layout)
    experiment = reader.get_experiment_by_name(spec.dataset.name)
    (run,) = reader.search_runs([experiment.experiment_id], f"tags.`nrd.run` = '{spec.name}'")
    return run


def steps(layout, run, key="epoch/loss"):
    return sorted(m.step for m in client(layout).get_metric_history(run.info.run_id, key))


def table_sizes(layout, database=None):
    with sqlite3.connect(database or layout.root / "mlflow.db") as connection:
        tables = ("runs", "metrics", "params", "tags", "latest_metrics")
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def repeated_steps(database):
    with sqlite3.connect(database) as connection:
        query = "SELECT run_uuid, key, step FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
        return connection.execute(query).fetchall()


# --- what arrives


def test_a_finished_run_arrives_whole(layout, spec):
    write_finished(layout, spec, history(EPOCHS))
    assert sync(layout, {spec.name: spec}, study="demo").created == [spec.name]
    run = find(layout, spec)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == spec.name.removeprefix("digits.")
    assert run.data.params["optimization.learning_rate"] == "0.05"
    assert run.data.params["method.hyperparameters.pi"] == str(spec.method.hyperparameters["pi"])
    expected = {"dataset": "digits", "noise": "sym40", "noise_rate": "0.4", "method": "nrd", "seed": "1"}
    expected |= {"studies": "demo", "git_commit": "abc", "device": "a processor", "host": os.uname().nodename}
    assert expected.items() <= run.data.tags.items()
    assert "nrd** on digits with 40 % symmetric label noise" in run.data.tags["mlflow.note.content"]
    assert steps(layout, run) == [1, 2, 3, 4, 5]
    assert steps(layout, run, "epoch/test_accuracy") == [1, 3, 5]  # empty cells are no measurements
    assert run.data.metrics["epochs"] == EPOCHS
    assert run.data.metrics["result/test_accuracy_last"] == 0.5
    assert "result/train_memorised" not in run.data.metrics
    assert run.data.metrics["training/seconds"] == 300
    times = [m.timestamp for m in client(layout).get_metric_history(run.info.run_id, "epoch/loss")]
    assert times[-1] == run.info.end_time and {b - a for a, b in itertools.pairwise(times)} == {60_000}
    files = {file.path for file in client(layout).list_artifacts(run.info.run_id)}
    assert files == {"spec.yaml", "history.csv", "timing.csv", "machine.json", "metrics.json", "log.txt"}
    assert (layout.root / "mlartifacts" / "digits").is_dir()


def test_an_evaluated_run_shows_its_reliability_diagram(layout, spec, tmp_path):
    """Drawn once the run is evaluated; damaged predictions take nothing else away."""
    write_finished(layout, spec, history(EPOCHS), evaluated=False)
    folder, generator = layout.run(spec.name), np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(10), size=200).astype(np.float16)
    labels = generator.integers(0, 10, 200)
    np.savez_compressed(folder / "predictions.npz", student_test=probabilities, test_labels=labels)
    sync(layout, [spec.name])
    files = lambda: {file.path for file in client(layout).list_artifacts(find(layout, spec).info.run_id)}  # noqa: E731
    assert "reliability.png" not in files() and "history.csv" in files()
    (folder / "metrics.json").write_text(json.dumps({"run": spec.name, "test_accuracy_last": 0.5}))
    assert sync(layout, [spec.name]).updated == [spec.name]
    assert "reliability.png" in files()
    path = client(layout).download_artifacts(find(layout, spec).info.run_id, "reliability.png", str(tmp_path))
    content = Path(path).read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) < 60_000
    assert sync(layout, [spec.name]).unchanged == [spec.name]


def test_syncing_twice_changes_nothing(layout, specs):
    for spec in specs[:2]:
        write_finished(layout, spec, history(EPOCHS))
    write_live(layout, specs[2], history(2))
    names = [spec.name for spec in specs]
    first = sync(layout, names, study="demo")
    sizes = table_sizes(layout)
    second = sync(layout, names, study="demo")
    assert len(first.created) == 3 and first.missing == [specs[3].name]
    assert sorted(second.unchanged) == sorted(first.created)
    assert table_sizes(layout) == sizes
    assert str(second) == "3 up to date, 1 not trained yet"


def test_many_runs_are_looked_up_at_once(layout, specs, monkeypatch):
    monkeypatch.setattr("nrd.training.tracking.mirror.PREFETCH_FROM", 1)
    for spec in specs:
        write_finished(layout, spec, history(EPOCHS))
    sync(layout, known_runs(layout))
    calls = []
    search = mlflow.MlflowClient.search_runs
    monkeypatch.setattr(mlflow.MlflowClient, "search_runs", lambda *a, **k: calls.append(1) or search(*a, **k))
    assert len(sync(layout, known_runs(layout)).unchanged) == 4
    assert len(calls) == 1


def test_a_study_is_told_where_its_runs_are_shown(layout, specs):
    for spec in specs[:2]:
        write_finished(layout, spec, history(2))
    file = layout.study("tiny") / "mlflow.json"
    for _ in range(2):  # new, then up to date
        file.unlink(missing_ok=True)
        sync(layout, [spec.name for spec in specs], study="tiny")
        content = json.loads(file.read_text())
        pages = {spec.name: find(layout, spec).info for spec in specs[:2]}
        assert content["server"] == "http://127.0.0.1:5000"
        kind = "workflowType=machine_learning"  # without it MLflow opens its pages for language models
        assert content["runs"] == {
            name: f"experiments/{info.experiment_id}/runs/{info.run_id}?{kind}" for name, info in pages.items()
        }
    sync(layout, [specs[0].name])
    assert json.loads(file.read_text()) == content
    assert read_addresses("tiny", layout)[specs[0].name].startswith("http://127.0.0.1:5000/#/experiments/")
    file.write_text('{"server": "javascript:alert(1)//", "runs": {"x": "y"}}')
    assert read_addresses("tiny", layout) == {}


def test_studies_add_up(layout, spec):
    write_finished(layout, spec, history(EPOCHS))
    sync(layout, [spec.name])
    assert find(layout, spec).data.tags["studies"] == "tiny"  # the one it was trained for
    assert sync(layout, [spec.name], study="demo").updated == [spec.name]
    assert find(layout, spec).data.tags["studies"] == "demo, tiny"


def test_more_metrics_than_one_call_takes(layout, spec, monkeypatch):
    monkeypatch.setattr("nrd.training.tracking.mirror.METRICS_PER_CALL", 7)
    write_finished(layout, spec, history(40))
    sync(layout, [spec.name])
    assert steps(layout, find(layout, spec)) == list(range(1, 41))


# --- live, killed, failed, trained again


def test_live_then_finished(layout, spec):
    with run_lock(layout.scratch(spec.name), spec.name):
        write_live(layout, spec, history(2))
        sync(layout, [spec.name])
        live = find(layout, spec)
        write_live(layout, spec, history(4))
        sync(layout, [spec.name])
        assert steps(layout, find(layout, spec)) == [1, 2, 3, 4]
        assert find(layout, spec).info.status == "RUNNING"
        write_finished(layout, spec, history(EPOCHS), evaluated=False)
    sync(layout, [spec.name])
    assert find(layout, spec).info.status == "FINISHED"
    write_finished(layout, spec, history(EPOCHS))
    sync(layout, [spec.name])
    done = find(layout, spec)
    assert done.info.run_id == live.info.run_id
    assert steps(layout, done) == [1, 2, 3, 4, 5]
    assert steps(layout, done, "result/test_accuracy_last") == [0]
    assert not repeated_steps(layout.root / "mlflow.db")


def test_killed_run_continues_without_repeated_steps(layout, spec):
    write_live(layout, spec, history(4))
    sync(layout, [spec.name])
    assert find(layout, spec).info.status == "KILLED"
    with run_lock(layout.scratch(spec.name), spec.name):
        write_live(layout, spec, history(2))  # cut back to the saved state
        sync(layout, [spec.name])
        assert find(layout, spec).info.status == "RUNNING"
        write_live(layout, spec, history(EPOCHS))
        sync(layout, [spec.name])
    write_finished(layout, spec, history(EPOCHS))
    sync(layout, [spec.name])
    assert steps(layout, find(layout, spec)) == [1, 2, 3, 4, 5]


def test_killed_run_that_went_on_to_other_numbers_is_made_anew(layout, spec):
    write_live(layout, spec, history(4))
    sync(layout, [spec.name])
    run = find(layout, spec)
    client(layout).set_tag(run.info.run_id, "remark", "look at this one")
    write_finished(layout, spec, history(EPOCHS, shift=1e-4))
    sync(layout, [spec.name])
    anew = find(layout, spec)
    assert anew.info.run_id != run.info.run_id
    assert anew.data.tags["remark"] == "look at this one"
    values = [m.value for m in client(layout).get_metric_history(anew.info.run_id, "epoch/loss")]
    assert values == [row["loss"] for row in history(EPOCHS, shift=1e-4)]


def test_evaluated_again_with_another_result(layout, spec):
    write_finished(layout, spec, history(EPOCHS))
    sync(layout, [spec.name])
    write_finished(layout, spec, history(EPOCHS), accuracy=0.6)
    sync(layout, [spec.name])
    assert find(layout, spec).data.metrics["result/test_accuracy_last"] == 0.6
    assert not repeated_steps(layout.root / "mlflow.db")


def test_failed_run_is_marked_and_may_be_resumed(layout, spec):
    folder = write_live(layout, spec, history(2))
    (folder / "failure.json").write_text(json.dumps({"message": "the loss is not finite in epoch 3"}))
    sync(layout, [spec.name])
    run = find(layout, spec)
    assert run.info.status == "FAILED" and run.data.tags["failure"] == "the loss is not finite in epoch 3"
    (folder / "failure.json").unlink()
    with run_lock(folder, spec.name):
        sync(layout, [spec.name])
    assert find(layout, spec).info.status == "RUNNING" and "failure" not in find(layout, spec).data.tags


def test_deleted_runs_and_experiments_are_made_anew(layout, spec):
    write_finished(layout, spec, history(EPOCHS))
    sync(layout, [spec.name])
    run = find(layout, spec)
    client(layout).delete_run(run.info.run_id)
    assert sync(layout, [spec.name]).created == [spec.name]
    assert find(layout, spec).info.run_id != run.info.run_id
    client(layout).delete_experiment(run.info.experiment_id)
    sync(layout, [spec.name])
    assert find(layout, spec).info.status == "FINISHED"


def test_clones_that_share_a_store(layout, spec, tmp_path):
    """The same training is one MLflow run; another training of the same run stays untouched beside it."""
    write_finished(layout, spec, history(EPOCHS))
    sync(layout, [spec.name])
    uri, (same, other) = store_uri(layout), (Layout(tmp_path / name) for name in ("same", "other"))
    write_finished(same, spec, history(EPOCHS))
    write_finished(other, spec, history(EPOCHS, shift=0.1))
    assert sync(same, [spec.name], uri).unchanged == [spec.name]
    assert sync(other, [spec.name], uri).created == [spec.name]
    assert sync(layout, [spec.name]).unchanged == [spec.name]
    assert table_sizes(layout)["runs"] == 2


def test_damaged_runs_do_not_stop_the_others(layout, specs):
    write_finished(layout, specs[0], history(EPOCHS))
    write_finished(layout, specs[1], history(EPOCHS))
    (layout.run(specs[0].name) / "metrics.json").write_text("{")
    (layout.run(specs[1].name) / "spec.yaml").write_text("dataset: [")
    write_finished(layout, specs[2], history(EPOCHS))
    summary = sync(layout, known_runs(layout))
    assert sorted(summary.failed) == sorted(spec.name for spec in specs[:2])
    assert "metrics.json" in summary.failed[specs[0].name] and "spec.yaml" in summary.failed[specs[1].name]
    assert summary.created == [specs[2].name]


# --- several writers, other stores


def test_two_writers_of_a_new_store(project, specs, monkeypatch):
    """Two processes open a database that does not exist yet and mirror the same runs."""
    layout, database = project.layout, project.layout.root / "new" / "mlflow.db"
    uri = f"sqlite:///{database}"
    for spec in specs:
        write_finished(layout, spec, history(EPOCHS))
    script = (
        "import sys; from pathlib import Path; from nrd.layout import Layout\n"
        "from nrd.training.tracking import known_runs, sync\n"
        "layout = Layout(Path(sys.argv[1])); print(sync(layout, known_runs(layout), sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(layout.root), uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not database.parent.exists() and process.poll() is None:
            time.sleep(0.01)
        mine = sync(layout, known_runs(layout), uri)
        theirs = process.communicate(timeout=240)[0]
    assert process.returncode == 0 and "failed" not in theirs and not mine.failed
    assert not repeated_steps(database)
    sizes = table_sizes(layout, database)
    assert sizes["runs"] == len(specs)
    assert len(sync(layout, known_runs(layout), uri).unchanged) == len(specs)
    assert table_sizes(layout, database) == sizes


def test_the_environment_names_the_store(layout, spec, monkeypatch, tmp_path):
    shutil.copyfile(layout.root / "mlflow.db", tmp_path / "elsewhere.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    assert store_uri(layout) == f"sqlite:///{tmp_path / 'elsewhere.db'}"
    write_finished(layout, spec, history(EPOCHS))
    sync(layout, [spec.name])
    assert find(layout, spec).info.status == "FINISHED"
    assert table_sizes(layout, tmp_path / "elsewhere.db")["runs"] == 1
    assert table_sizes(layout)["runs"] == 0


@pytest.mark.parametrize("uri", ["http://user:secret@127.0.0.1:9", "nosuchscheme://x"])
def test_a_store_out_of_reach_is_one_line(layout, spec, uri):
    write_finished(layout, spec, history(EPOCHS))
    with pytest.raises(TrackingError) as error:
        sync(layout, [spec.name], uri)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


# --- reading, naming


def test_half_written_histories():
    assert parse_rows("") == [] and parse_rows("\n") == [] and parse_rows("epoch,lo") == []
    assert parse_rows("epoch,loss\n1,0.5\n2,0.2") == [{"epoch": 1, "loss": 0.5}]
    assert parse_rows("epoch,loss\n1,nan\n2,inf\n") == [{"epoch": 1}, {"epoch": 2}]
    assert parse_rows("epoch,loss\n1,0.5,7\n") == [{"epoch": 1, "loss": 0.5}]


def test_a_run_of_another_machine_is_not_judged_from_here(layout, spec):
    folder = write_live(layout, spec, history(2), host="elsewhere")
    (folder / "holder.json").write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert read_record(layout, spec.name).status == "RUNNING"
    (folder / "holder.json").write_text(json.dumps({"host": os.uname().nodename, "pid": 2**22 + 1}))
    assert read_record(layout, spec.name).status == "KILLED"


def test_a_cell_is_everything_but_the_seed(specs):
    cells = {}
    for spec in specs:
        cells.setdefault(cell(spec), []).append(spec)
    assert sorted(len(members) for members in cells.values()) == [2, 2]
    assert all(len({s.method.name for s in members}) == 1 for members in cells.values())
    content = specs[0].model_dump()
    content["optimization"]["learning_rate"] = 0.06
    assert cell(RunSpec(**content)) not in cells


def test_parameters_are_typed_text(spec):
    content = parameters(spec)
    assert content["optimization.nesterov"] == "true"
    assert content["optimization.weight_decay"] == "0.0001"
    assert content["method.views.student.name"] == "crop"
    assert "noise.label_set" not in content and all(isinstance(value, str) for value in content.values())


def test_ui_serves_the_projects_store_on_loopback(layout, spec, monkeypatch, capsys):
    write_finished(layout, spec, history(EPOCHS))
    sync(layout, [spec.name])
    number = find(layout, spec).info.experiment_id
    calls = []
    monkeypatch.setattr(ui_module.os, "execve", lambda *call: calls.append(call))
    opened, printed = ui_module.open_client, []
    client = lambda *store: printed.append(capsys.readouterr().err) or opened(*store)  # noqa: E731
    monkeypatch.setattr(ui_module, "open_client", client)
    open_ui(layout, port=0)
    assert printed[0].startswith("starting MLflow, which takes up to a minute")  # before it does
    (_, command, environment) = calls[0]
    assert command[1:4] == ["-m", "mlflow", "server"] and command[command.index("--host") + 1] == "127.0.0.1"
    assert environment["MLFLOW_BACKEND_STORE_URI"] == store_uri(layout)
    view = f"/#/experiments/{number}/runs?workflowType=machine_learning&viewStateShareKey=methods"
    assert capsys.readouterr().err.splitlines() == [f"  digits: http://127.0.0.1:0{view}"]
    with pytest.raises(TrackingError, match="http://server:5000 in a browser"):
        open_ui(layout, uri="http://server:5000")


def test_nothing_heavy_is_imported_before_it_is_used():
    script = "import sys, nrd.training.tracking; print({'mlflow', 'torch', 'numpy'} & set(sys.modules))"
    root = Path(__file__).resolve().parent.parent
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert answer.stdout == "set()\n"


@pytest.mark.parametrize("value", ["off", "OFF", "0", "false", "no"])
def test_bringing_runs_leniently_respects_the_switch(project, nrd, value):
    done = nrd("track", "--sync", "tiny", "--lenient", env={**os.environ, "NRD_TRACKING": value})
    assert done.stdout == "not mirrored to MLflow: NRD_TRACKING is off\n"
    assert not (project.layout.root / "mlflow.db").exists()
