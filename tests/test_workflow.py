"""The chain as users run it: Snakemake over every rule, and what it must not do again."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nrd.layout import FIGURE_FILES, PAPER_FIGURES, RESULT_FILES, TABLE_FILES

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("Snakefile", "workflow", "profiles", "params", "nrd", "dvc.yaml", ".dvc", ".dvcignore", ".gitignore")
# A run of everything takes a minute: side by side with other tests it may take several.
LIMIT = 540
# Beside the tiny study's table: a network of which the paper's figures are made.
FIGURES = """
  - table: memorised
    figures: [memorised, dynamics, calibration]
    datasets: [digits]
    noises: [sym50]
    methods: [ce]
    seeds: [1]
    settings: {snapshots: [1, 2]}
    views: {draws: 2, points: 3, samples: 2, epochs: [1, 2]}
"""
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@localhost")


def clone(folder, blocks=""):
    """A copy of the workflow as a git repository, without anything made; the tiny study may have further blocks."""
    folder.mkdir(parents=True)
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "tmp", "cache", "config.local")
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copyfile(source, folder / name)
    study = folder / "params/studies/tiny.yaml"
    study.write_text(study.read_text().rstrip("\n") + (blocks or "\n"))
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "start")
    return folder


def git(folder, *arguments):
    return subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=True, capture_output=True, text=True)


def call(folder, *command, check=True, **environment):
    scripts = str(Path(sys.executable).parent)
    path = scripts + os.pathsep + os.environ["PATH"]
    env = {**os.environ, "PATH": path, "NRD_TRACKING": "off", **environment}
    process = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT)
    assert not check or process.returncode == 0, process.stdout[-3000:] + process.stderr[-6000:]
    return process


def snakemake(folder, *arguments, check=True, **environment):
    return call(folder, "snakemake", "--cores", "2", *arguments, check=check, **environment)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The tiny study, made by the workflow in a fresh clone. Tests copy it before they change it."""
    folder = clone(tmp_path_factory.mktemp("workflow") / "clone", FIGURES)
    snakemake(folder, "tiny", NRD_TRACKING="on")
    return folder


def planned(folder, *arguments):
    """Number of jobs per rule that a dry run announces."""
    output = snakemake(folder, *arguments, "-n", "--quiet", "all").stdout
    table = output.split("Job stats:")[1] if "Job stats:" in output else ""
    lines = [line.split() for line in table.splitlines()]
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}


def test_every_rule_ran_and_left_what_it_declares(finished):
    report = finished / "results/reports/tiny"
    assert (report / "index.html").stat().st_size > 10_000
    assert len(list((finished / "results/runs").iterdir())) == 5
    for rule in ("dataset", "labels", "train", "evaluate", "analyse", "report", "track"):
        assert list((finished / "results/benchmarks" / rule).glob("*.tsv")), rule


def test_numbers_in_the_table_are_those_of_the_runs(finished):
    import statistics

    summary = json.loads((finished / "results/reports/tiny/summary.json").read_text())
    for method in ("ce", "nrd"):
        accuracies = [
            json.loads(path.read_text())["test_accuracy_last"]
            for path in (finished / "results/runs").glob(f"*.sym40.{method}.*/metrics.json")
        ]
        cell = summary["main"]["digits"]["sym40"][method]
        assert cell["n"] == 2
        assert cell["mean_percent"] == pytest.approx(100 * statistics.mean(accuracies), abs=1e-3)
        assert cell["std_percent"] == pytest.approx(100 * statistics.stdev(accuracies), abs=1e-3)


def test_runs_are_in_mlflow(finished):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("digits")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 5
    for run in runs:
        assert run.info.status == "FINISHED"
        assert [m.step for m in client.get_metric_history(run.info.run_id, "epoch/test_accuracy")] == [1, 2]


def test_the_page_leads_to_each_runs_page_in_mlflow(finished):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("digits").experiment_id
    page = (finished / "results/reports/tiny/index.html").read_text()
    rows = dict(re.findall(r'<tr id="run-([^"]+)">(.*?)</tr>', page))
    assert len(rows) == 5
    for run in client.search_runs([experiment]):
        address = f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{run.info.run_id}"
        address += "?workflowType=machine_learning"
        assert f'<a href="{address}">' in rows[run.data.tags["nrd.run"]]


def test_snakemakes_own_report_has_the_results(finished, tmp_path):
    snakemake(finished, "tiny", "--report", str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text()
    shown = ["index.html", "accuracy.csv", "table1.csv", "table6.svg"]
    shown += [f"{stem}.svg" for stem in ("curves", "memorisation", "architecture", "reliability", "confusion")]
    shown += [f"figure{number}.svg" for number in ("1", "2a", "2b", "4", "5")]
    for file in shown:
        assert f"results/reports/tiny/{file}" in text, file
    for caption in ("Training images by what the network predicts", "Cross-entropy of mislabeled training images"):
        assert caption in text


def test_nothing_is_done_twice(finished):
    assert planned(finished, "tiny") == {}


@pytest.mark.parametrize(
    ("rule", "files"),
    [
        ("results", RESULT_FILES),
        ("tables", TABLE_FILES),
        ("figures", FIGURE_FILES),
        ("paper_figures", PAPER_FIGURES),
    ],
)
def test_a_deleted_file_of_the_report_is_made_again(finished, tmp_path, rule, files):
    report = finished / "results/reports/tiny"
    assert [file for file in files if not (report / file).is_file()] == []
    gone = files[-1]
    (report / gone).rename(tmp_path / gone)
    try:
        assert planned(finished, "tiny")[rule] == 1
    finally:
        (tmp_path / gone).rename(report / gone)


def test_neither_new_times_nor_lost_metadata_retrain(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    shutil.rmtree(folder / ".snakemake")
    for path in [*(folder / "data").rglob("*.*"), *(folder / "params").rglob("*.yaml")]:
        os.utime(path)
    training = folder / "workflow/rules/training.smk"
    training.write_text(training.read_text().replace("--threads {params.threads} >", "--threads {params.threads}  >"))
    assert "train" not in planned(folder, "tiny")


def test_a_changed_hyperparameter_trains_exactly_its_runs(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    study = folder / "params/studies/tiny.yaml"
    study.write_text(study.read_text().replace("grid:", "  hyperparameters: {nrd: {pi: [0.2, 0.6, 0.2]}}\ngrid:"))
    assert planned(folder, "tiny")["train"] == 2


def test_a_bad_study_is_refused_in_one_line_before_anything_runs(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    study = folder / "params/studies/tiny.yaml"
    study.write_text(study.read_text().replace("sym40", "sym140"))
    process = snakemake(folder, "tiny", check=False)
    assert process.returncode != 0
    assert "params/studies/tiny.yaml: grid.0.noises.0: 'sym140': a noise rate is at most 100 %" in process.stderr


def test_the_whole_grid_resolves(finished):
    assert planned(finished, "all")["train"] == 643


def test_snakemake_lint_is_clean(finished):
    assert "good condition" in snakemake(finished, "--lint").stderr


def test_an_estimate_says_what_is_missing_and_for_how_long(finished, tmp_path):
    """The sentence that the workflow prints before the paper's grid starts without a GPU, for a smaller study."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    process = call(folder, sys.executable, "-m", "nrd", "estimate", "smoke", "--seconds", "0")
    sentence = r"smoke: 3 of 3 runs are missing; on this machine \(.+\) they take about [\d.]+ (seconds|minutes|hours)"
    assert re.match(sentence, process.stdout)
