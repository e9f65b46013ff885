"""Last, best-on-test and validation-selected accuracy: computed as they are named, from history.csv alone."""

import json
import shutil

import pandas as pd
import pytest
import yaml

from nrd.evaluation.run_metrics import evaluate_run
from nrd.layout import Layout
from nrd.spec import RunSpec
from tests.conftest import train_run


def from_history(path):
    """An independent way: pandas, and the first epoch among equals."""
    table = pd.read_csv(path).set_index("epoch").dropna(subset=["test_accuracy"])
    chosen = table["validation_accuracy"].idxmax()
    return {
        "test_accuracy_last": table["test_accuracy"].iloc[-1],
        "test_accuracy_best": table["test_accuracy"].max(),
        "test_accuracy_best_epoch": table["test_accuracy"].idxmax(),
        "validation_accuracy_last": table["validation_accuracy"].iloc[-1],
        "validation_accuracy_best": table["validation_accuracy"].max(),
        "test_accuracy_validation_selected": table["test_accuracy"].loc[chosen],
        "validation_selected_epoch": chosen,
    }


@pytest.mark.parametrize("interval", [1, 2])
def test_accuracies_are_what_they_are_called(project, interval):
    """A real run of six epochs with a noisy validation part."""
    spec = next(iter(project.study("tiny").specs.values()))
    longer = spec.optimization.model_copy(update={"epochs": 6})
    spec = spec.model_copy(update={"optimization": longer, "evaluation_interval": interval, "validation": 0.2})
    folder = train_run(project, spec)
    metrics = evaluate_run(spec.name, project.layout)
    expected = from_history(folder / "history.csv")
    assert {key: metrics[key] for key in expected} == pytest.approx(expected)
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert len(pd.read_csv(folder / "history.csv").dropna(subset=["test_accuracy"])) == 6 // interval
    check_when_all_differ(project.layout, spec, folder, metrics)


def check_when_all_differ(layout: Layout, spec: RunSpec, folder, metrics):
    """The same run with a history in which the three are different epochs."""
    (folder / "sums.json").unlink()  # or the altered history would be found out
    table = pd.read_csv(folder / "history.csv")
    evaluated = table.index[table["test_accuracy"].notna()]
    last = table.loc[evaluated[-1], "test_accuracy"]
    table.loc[evaluated, "test_accuracy"] = last - 0.01
    table.loc[evaluated, "validation_accuracy"] = 0.1
    table.loc[evaluated[0], "test_accuracy"] = last + 0.1
    table.loc[evaluated[1], "validation_accuracy"] = 0.5
    table.loc[evaluated[-1], "test_accuracy"] = last
    table.to_csv(folder / "history.csv", index=False)
    changed = evaluate_run(spec.name, layout)
    found = [changed[f"test_accuracy_{name}"] for name in ("last", "best", "validation_selected")]
    assert found == pytest.approx([last, last + 0.1, last - 0.01])
    epochs = [table.loc[evaluated[0], "epoch"], table.loc[evaluated[1], "epoch"]]
    assert [changed["test_accuracy_best_epoch"], changed["validation_selected_epoch"]] == epochs
    # What is computed from the predictions is that of the last epoch, whatever was best.
    assert changed["test_accuracy"] == metrics["test_accuracy"]


def test_without_a_validation_part_nothing_is_selected_on_it(project):
    path = project.layout.params / "studies" / "tiny.yaml"
    content = yaml.safe_load(path.read_text())
    del content["settings"]["validation"]
    content["grid"][0].update(methods=["ce"], seeds=[1])
    path.write_text(yaml.safe_dump(content))
    shutil.rmtree(project.layout.root / "results", ignore_errors=True)
    from nrd.study import Project

    fresh = Project(project.layout.root)
    ((name, spec),) = fresh.study("tiny").specs.items()
    assert spec.validation == 0
    train_run(fresh, spec)
    assert not [key for key in evaluate_run(name, fresh.layout) if "validation" in key]


def test_the_paper_study_holds_nothing_out(project):
    assert {spec.validation for spec in project.study("paper").specs.values()} == {0.0}
