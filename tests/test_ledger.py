"""The ledger: where each value comes from, also where an entry names another or a study asks for another's."""

import pytest
import yaml

from nrd.ledger import ledger_entry, ledger_rows
from nrd.report.settings import ledger_table
from nrd.report.titles import read_titles
from nrd.resolve import resolve_noise
from nrd.spec import SpecError
from nrd.study import Project
from tests.test_report import make_project, small_study

TABLE_5 = "NRD paper, Table 5"
HALF = "the paper runs 50 % without giving settings: those of 40 %"
HUMAN = "no settings are published for human labels: those of symmetric noise at the nearest rate"
ASKED = "ledger_noise of the study"
# dataset, noise, what the study asks for, source
WAYS = [
    ("cifar10", "sym40", {}, TABLE_5),
    ("cifar10", "sym40", {"ledger_noise": "sym40", "ledger_dataset": "cifar10"}, TABLE_5),
    ("cifar10", "sym50", {}, f"{TABLE_5} (entry of sym40: {HALF})"),
    ("cifar10", "worst", {}, f"{TABLE_5} (entry of sym40: {HUMAN})"),
    ("cifar10", "symx40", {"ledger_noise": "sym40"}, f"{TABLE_5} (entry of sym40: {ASKED})"),
    ("cifar10", "asymi40", {"ledger_noise": "asym40"}, f"{TABLE_5} (entry of asym40: {ASKED})"),
    ("cifar100", "symx50", {"ledger_noise": "sym50"}, f"{TABLE_5} (entry of sym50: {ASKED}; entry of sym40: {HALF})"),
    ("digits", "sym40", {"ledger_dataset": "cifar10"}, f"{TABLE_5} (entry of cifar10: ledger_dataset of the study)"),
    ("cifar10-5k", "sym60", {}, f"{TABLE_5} (entry of cifar10: ledger of cifar10-5k)"),
]


@pytest.mark.parametrize(("dataset", "noise", "asked", "source"), WAYS)
def test_a_source_says_which_entry_was_taken_and_why(tmp_path, dataset, noise, asked, source):
    study = small_study(datasets=[dataset], noises=[noise], methods=["gjs"], seeds=[1], settings=asked)
    project = make_project(tmp_path, study)
    resolved, method = project.study("small"), project.methods["gjs"]
    drawn = resolve_noise(noise, project.datasets[dataset], "")
    entry = ledger_entry(resolved.config.grid[0].settings, project.datasets[dataset], drawn, method, "gjs.yaml")
    assert entry.source == source
    assert entry.learning_rate is not None
    table = ledger_table(resolved, project.layout, read_titles(resolved, project.layout))
    assert list(table["source"]) == [source]
    if not asked:
        rows = {row[0]: row for row in ledger_rows(project.datasets, project.methods, dataset, noise)}
        assert rows["GJS"][4] == source


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"sym40": "sym50", "sym50": "sym40"}, "sym50.as: 'sym40' leads in a circle; one of sym40, sym50 must give"),
        ({"sym40": "sym40"}, "sym40.as: 'sym40' leads in a circle; one of sym40 must give"),
        ({"sym40": "sym45"}, r"sym40.as: 'sym45' leads nowhere; allowed: clean, sym20, sym50"),
        ({"sym40": "sym50", "sym50": "sym45"}, "sym50.as: 'sym45' leads nowhere; allowed: clean"),
    ],
)
def test_entries_that_lead_nowhere_are_refused_alike_by_the_list_and_by_a_study(project, nrd, entries, message):
    path = project.layout.params / "methods" / "ce.yaml"
    content = yaml.safe_load(path.read_text())
    content["ledger"]["cifar10"] |= {noise: {"as": other} for noise, other in entries.items()}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    fresh = Project(project.layout.root)
    with pytest.raises(SpecError, match=rf"methods/ce.yaml: ledger.cifar10.{message}"):
        ledger_rows(fresh.datasets, fresh.methods, "cifar10", "sym40")
    with pytest.raises(SpecError, match=rf"methods/ce.yaml: ledger.cifar10.{message}"):
        fresh.study("short")
    printed = nrd("hyperparameters", "--dataset", "cifar10", "--noise", "sym40", check=False, cwd=project.layout.root)
    assert printed.returncode == 1 and len(printed.stderr.splitlines()) == 1


def test_clean_entries_say_that_table_5_prints_their_pair_for_symmetric_noise(project):
    """Table 5 has learning rates and weight decays for noise alone; GJS's configurations show what clean runs take."""
    for method in project.methods.values():
        for dataset in ("cifar10", "cifar100"):
            clean, noisy = (method.ledger[dataset][noise] for noise in ("clean", "sym40"))
            assert clean.source.startswith(f"{TABLE_5} (learning rate and weight decay: its symmetric pair")
            assert ("GJS's configurations" in clean.source) == (method.name in ("js", "gjs", "nrd"))
            assert (clean.learning_rate, clean.weight_decay) == (noisy.learning_rate, noisy.weight_decay)
            printed = {entry.source for noise, entry in method.ledger[dataset].items() if noise != "clean"}
            assert printed == {TABLE_5, None}


def test_what_a_study_sets_is_the_studys_even_where_table_5_has_the_same(tmp_path):
    """Table 5 has 0.05 for CE and symmetric noise too: by chance, as far as pocket is concerned."""
    project = make_project(tmp_path)
    study = project.study("pocket").compared
    table = ledger_table(study, project.layout, read_titles(study, project.layout)).set_index("method")
    assert project.methods["ce"].ledger["cifar10"]["sym60"].learning_rate == table.loc["ce", "learning_rate"] == 0.05
    assert table.loc["ce", "source"] == "the study"
    others = set(table.drop(index="ce")["source"])
    assert others == {
        f"{TABLE_5} (entry of cifar10: ledger of cifar10-5k); learning rate, weight decay: the study",
    }


def test_the_settings_that_a_studys_runs_use_are_printed(project, nrd):
    command = ["hyperparameters", "--dataset", "cifar10-5k", "--noise"]
    lines = nrd(*command, "sym60", "--study", "pocket").stdout.splitlines()
    rows = {cells[0]: cells[1:] for cells in ([c.strip() for c in line.split("│")[1:-1]] for line in lines) if cells}
    assert set(rows) == {method.title for method in project.methods.values()}
    assert {(rate, decay) for rate, decay, *_ in rows.values()} == {("0.05", "0.0001")}
    assert rows["CE"][3] == "the study" and rows["NRD"][2] == "pi 0.25 0.5 0.25"
    assert rows["NRD"][3].startswith(TABLE_5) and rows["NRD"][3].endswith("learning rate, weight decay: the study")
    listed = nrd(*command, "sym60").stdout
    assert "the study" not in listed and listed.count("ledger of cifar10-5k") == 9
    refused = nrd(*command, "sym40", "--study", "pocket", check=False)
    assert refused.returncode == 1
    has = "it has: cifar10-5k sym60, cifar10-5k sym50"
    assert refused.stderr == f"error: pocket: has no runs of cifar10-5k sym40; {has}\n"


def test_settings_of_several_tables_and_variants_of_a_study_are_told_apart(project, nrd):
    printed = nrd("hyperparameters", "--dataset", "cifar10", "--noise", "sym20", "-s", "paper").stdout
    assert "CE (table noisy)" in printed and "CE (table memorised)" in printed
    printed = nrd("hyperparameters", "--dataset", "cifar10", "--noise", "sym40", "-s", "variants").stdout
    assert "NRD (weights of GJS)" in printed and "pi: the study" in printed


def test_a_methods_wrong_view_is_its_files(project):
    path = project.layout.params / "methods" / "ce.yaml"
    path.write_text(path.read_text().replace("student: gjs", "student: blur"))
    with pytest.raises(SpecError, match=r"methods/ce\.yaml: views\.student: there is no view 'blur'"):
        Project(project.layout.root).study("paper")
