"""docs/results.md shows what results/measured holds, and those runs are the study's own."""

import json
import re

import pytest

from nrd.spec import RunSpec
from nrd.study import Project
from tests.conftest import REPOSITORY

MEASURED = REPOSITORY / "results/measured/pocket"
DOC = REPOSITORY / "docs/results.md"
COLUMNS = {
    "Last epoch": lambda m: f"{100 * m['test_accuracy_last']:.2f}",
    "Best (epoch)": lambda m: f"{100 * m['test_accuracy_best']:.2f} ({m['test_accuracy_best_epoch']})",
    "Memorised": lambda m: f"{100 * m['train_memorised']:.1f}",
    "Corrected": lambda m: f"{100 * m['train_mislabeled_accuracy']:.1f}",
    "Clean": lambda m: f"{100 * m['train_clean_accuracy']:.1f}",
    "ECE": lambda m: f"{m['test_ece']:.3f}",
    "NLL": lambda m: f"{m['test_nll']:.2f}",
}


@pytest.fixture(scope="module")
def summary():
    return json.loads((MEASURED / "summary.json").read_text())


def test_the_runs_are_the_studys_own(summary):
    names = list(Project(REPOSITORY).study("pocket").specs)
    assert sorted(summary["finished"] + summary["missing"]) == sorted(names)
    assert sorted(path.name for path in (MEASURED / "runs").iterdir()) == sorted(summary["finished"])
    for name in summary["finished"]:
        assert RunSpec.from_yaml(MEASURED / "runs" / name / "spec.yaml").name == name


def test_the_table_is_what_was_measured(summary):
    lines = [line for line in DOC.read_text().splitlines() if line.startswith("|")]
    heads = [head.strip() for head in lines[0].strip("|").split("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    rows = [dict(zip(heads, row, strict=True)) for row in cells if len(row) == len(heads)]  # not the other tables'
    titles = {method.name: method.title for method in Project(REPOSITORY).methods.values()}
    assert set(COLUMNS) < set(heads)
    shown = {}
    for row in rows:
        shown[row["Method"].strip("*"), int(row["Seed"])] = {key: row[key].strip("*") for key in COLUMNS}
    expected = {}
    for name in summary["finished"]:
        spec = RunSpec.from_yaml(MEASURED / "runs" / name / "spec.yaml")
        if spec.noise.slug == "sym60":
            metrics = json.loads((MEASURED / "runs" / name / "metrics.json").read_text())
            expected[titles[spec.method.name], spec.seed] = {key: text(metrics) for key, text in COLUMNS.items()}
    assert shown == expected


def test_the_machine_is_the_one_named(summary):
    text = DOC.read_text()
    versions = [re.match(r"[\d.]+", version)[0] for version in summary["torch"]]
    for value in (*summary["device"], *summary["python"], *versions):
        assert value in text, value
