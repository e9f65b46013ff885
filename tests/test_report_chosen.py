"""What a search chose, against a choice made by hand."""

import pandas as pd
import pytest

from nrd.report.chosen import chosen_table, markdown
from nrd.report.settings import COLUMNS, ledger_table
from nrd.report.titles import read_titles


@pytest.fixture
def study(project):
    return project.study("search")


def results_of(study, validation, test):
    """One row per run; accuracies by variant and method."""
    rows = [
        {
            "table": run.table,
            "dataset": run.spec.dataset.name,
            "noise": run.spec.noise.slug,
            "variant": run.variant,
            "method": run.spec.method.name,
            "seed": run.spec.seed,
            "run": run.spec.name,
            "status": "done" if run.variant in validation else "missing",
            "validation_accuracy_last": validation.get(run.variant),
            "test_accuracy_last": test.get(run.variant),
        }
        for run in study.runs
    ]
    return pd.DataFrame(rows)


def test_the_best_on_validation_is_chosen_and_stands_beside_table_5(study, project):
    ledger = ledger_table(study, project.layout, read_titles(study, project.layout))
    assert tuple(ledger.columns) == COLUMNS
    # on the test part another one is best: it must have no say
    results = results_of(study, {"pi2-20": 0.50, "pi2-70": 0.60, "pi2-90": 0.55}, {"pi2-20": 0.9, "pi2-70": 0.7})
    table = chosen_table(results, ledger)
    assert set(table["table"]) == {"pi"}
    assert len(table) == 2 * 7
    assert set(table["variant"]) == {"pi2-70"}
    assert set(table["hyperparameters"]) == {"pi 0.15 0.7 0.15"}
    assert set(table["tried"]) == {3}
    assert set(table["planned"]) == {9}
    assert set(table["validation_percent"]) == {60.0}
    assert set(table["test_percent"]) == {70.0}
    cell = table[(table["dataset"] == "cifar100") & (table["noise"] == "sym80")].iloc[0]
    assert (cell["paper_hyperparameters"], cell["agrees"]) == ("0.15 0.7 0.15", "yes")
    cell = table[(table["dataset"] == "cifar10") & (table["noise"] == "sym40")].iloc[0]
    assert (cell["paper_hyperparameters"], cell["agrees"]) == ("0.2 0.6 0.2", "no")
    assert "pi 0.15 0.7 0.15 | 3 of 9 | 60.00 | 70.00 | 0.1, 0.0005, 0.2 0.6 0.2" in markdown(table)


def test_without_finished_runs_nothing_is_chosen(study, project):
    ledger = ledger_table(study, project.layout, read_titles(study, project.layout))
    assert chosen_table(results_of(study, {}, {}), ledger).empty


def test_a_method_that_the_variants_do_not_concern_was_not_searched(project):
    study = project.study("demo-search")
    ledger = ledger_table(study, project.layout, read_titles(study, project.layout))
    validation = {"base": 0.4, "label-light": 0.4, "label-heavy": 0.4}
    table = chosen_table(results_of(study, validation, validation), ledger)
    assert list(table["method"]) == ["ce", "gjs", "nrd"]  # all have their learning rate searched
    assert table.set_index("method")["tried"].to_dict() == {"ce": 1, "gjs": 3, "nrd": 3}
