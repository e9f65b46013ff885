"""Tables: numbers traced to the runs by plain arithmetic, marks, problems, the published numbers, escaping."""

import json
import math
import re
import statistics

import pandas as pd
import pytest
from scipy import stats

from nrd.report import build, published, render
from nrd.report.results import collect
from nrd.report.tables import accuracy_cells, read_cells, table_files
from nrd.report.titles import Titles, read_titles
from nrd.spec import SpecError
from tests.test_report import TEST_SIZE, fail_run, finish_run, make_project, small_study

METHODS = ["ce", "gjs", "nrd"]
TITLES = Titles({"a": "A", "b": "B", "c": "C"}, {"d": "D"}, {}, {("d", "n"): "noise"})


def results_of(*rows, accuracy="test_accuracy_last"):
    """Rows of results: (method, seed, share or None, status)."""
    keys = ("method", "seed", accuracy, "status")
    fixed = {"study": "s", "table": "main", "variant": "", "dataset": "d", "noise": "n"}
    return pd.DataFrame([{**fixed, **dict(zip(keys, row, strict=True)), "run": f"{row[0]}.s{row[1]}"} for row in rows])


def cells_by_method(results, **options):
    return accuracy_cells(results, TITLES, **options).set_index("method")


@pytest.fixture
def finished(tmp_path):
    """A study whose runs have accuracies that differ by method, noise and seed, with two gaps."""
    config = small_study(noises=["sym40", "asym40"], datasets=["cifar10"], methods=METHODS)
    project = make_project(tmp_path, config)
    study = project.study("small")
    for place, spec in enumerate(study.specs.values()):
        if place == 4:
            fail_run(project.layout, spec, "out of memory")
        elif place != 5:
            finish_run(project.layout, spec, 150 + (7 * place) % 40, best=195)
    return study, project.layout


def test_every_cell_is_the_mean_and_spread_of_its_runs(finished):
    study, layout = finished
    build(study, layout, ["results", "tables"])
    cells = read_cells(layout.report("small") / "accuracy.csv")
    assert len(cells) == 6
    for cell in cells.to_dict("records"):
        values = []
        for run in study.runs:
            spec = run.spec
            if (spec.method.name, spec.noise.slug) == (cell["method"], cell["noise"]):
                path = layout.run(spec.name) / "metrics.json"
                if path.exists():
                    values.append(100 * json.loads(path.read_text())["test_accuracy_last"])
        assert (cell["n"], cell["planned"]) == (len(values), 3)
        assert cell["mean_percent"] == pytest.approx(statistics.mean(values), abs=1e-9)
        if len(values) > 1:
            assert cell["std_percent"] == pytest.approx(statistics.stdev(values), abs=1e-9)
        else:
            assert math.isnan(cell["std_percent"])


def test_printed_numbers_are_the_cells(finished):
    study, layout = finished
    folder = build(study, layout)
    ce = [150 / TEST_SIZE, 157 / TEST_SIZE, 164 / TEST_SIZE]
    text = f"{100 * statistics.mean(ce):.2f} ± {100 * statistics.stdev(ce):.2f}"
    assert f"| CE | {text} |" in (folder / "accuracy.md").read_text()
    assert text.replace("±", r"{\scriptsize $\pm$") + "}" in (folder / "accuracy.tex").read_text()
    mean, std = text.split(" ± ")
    assert re.search(
        rf'<span class="">{mean}</span> <span class="std">± {std}</span>', (folder / "index.html").read_text()
    )
    gaps = "1 of 3, 1 failed"
    for name in ("accuracy.md", "accuracy.tex", "index.html"):
        assert gaps in (folder / name).read_text()


def test_other_accuracies_have_their_own_tables(finished):
    study, layout = finished
    folder = build(study, layout, ["results", "tables"])
    for stem in ("accuracy_best", "accuracy_validation_selected"):  # both are the first epoch here
        assert set(read_cells(folder / f"{stem}.csv")["mean_percent"]) == {100 * 195 / TEST_SIZE}


def test_without_a_validation_part_no_table_is_selected_by_it(tmp_path):
    project = make_project(tmp_path, small_study(validation=0.0))
    study = project.study("small")
    finish_run(project.layout, study.runs[0].spec, 100)
    folder = build(study, project.layout)
    assert not (folder / "accuracy_validation_selected.csv").exists()
    assert (folder / "accuracy_best.csv").exists()


def test_an_unknown_accuracy_is_refused():
    with pytest.raises(SpecError, match="is not one of test_accuracy_last"):
        accuracy_cells(results_of(("a", 1, 0.5, "done")), TITLES, "test_accuracy")


def test_best_and_second_best():
    cells = cells_by_method(results_of(("a", 1, 0.5, "done"), ("b", 1, 0.7, "done"), ("c", 1, 0.6, "done")))
    assert dict(cells["rank"]) == {"a": 3, "b": 1, "c": 2}


def test_means_that_print_alike_share_a_rank():
    rows = results_of(("a", 1, 0.700001, "done"), ("b", 1, 0.7, "done"), ("c", 1, 0.6, "done"))
    cells = cells_by_method(rows)
    assert dict(cells["rank"]) == {"a": 1, "b": 1, "c": 2}
    grid = next(render.grids(cells.reset_index()))
    assert [row[0].mark for _, row in grid.rows] == ["best", "best", "second"]


def test_nothing_is_best_where_there_is_nothing_to_compare():
    cells = cells_by_method(results_of(("a", 1, 0.5, "done"), ("b", 1, None, "missing")))
    assert cells["rank"].isna().all()


def test_unfinished_cells_say_so():
    cells = accuracy_cells(
        results_of(
            *[("a", seed, None, "missing") for seed in (1, 2)],
            *[("b", 1, None, "failed"), ("b", 2, None, "missing")],
            *[("c", 1, 0.5, "done"), ("c", 2, None, "damaged")],
        ),
        TITLES,
    )
    a, b, c = (row[0] for _, row in next(render.grids(cells)).rows)
    assert (a.mean, a.note) == ("–", "not run yet")
    assert (b.mean, b.note) == ("–", "1 failed, 1 not run yet")
    assert (c.mean, c.std, c.note) == ("50.00", "", "1 of 2, 1 failed")
    assert c.runs == (("1", "c.s1"),)


def test_rows_and_columns_keep_the_order_of_the_study(tmp_path):
    config = small_study(methods=["nrd", "ce"], noises=["sym60", "sym20"], datasets=["digits", "cifar10"])
    project = make_project(tmp_path, config)
    study = project.study("small")
    cells = accuracy_cells(collect(study, project.layout), read_titles(study, project.layout))
    grid = next(render.grids(cells))
    assert [title for title, _ in grid.rows] == ["NRD", "CE"]
    assert grid.columns == (("digits", "sym60"), ("digits", "sym20"), ("cifar10", "sym60"), ("cifar10", "sym20"))
    assert grid.datasets() == [("digits", 2), ("cifar10", 2)]
    assert [part.columns for part in grid.narrow(3)] == [grid.columns[:2], grid.columns[2:]]
    assert grid.narrow(4) == [grid]


def test_variants_are_rows_and_labels_are_tables(tmp_path):
    variants = [{"name": "long", "title": "more epochs", "settings": {"epochs": 4}}, {"name": "plain", "title": ""}]
    config = small_study(variants=variants, methods=["ce"], table="Ablation: epochs")
    config["grid"].append({"datasets": ["digits"], "noises": ["clean"], "methods": ["nrd"], "seeds": [1]})
    project = make_project(tmp_path, config)
    folder = build(project.study("small"), project.layout, ["results", "tables"])
    assert list(read_cells(folder / "accuracy-ablation-epochs.csv")["title"]) == ["CE (more epochs)", "CE (plain)"]
    assert list(read_cells(folder / "accuracy-main.csv")["title"]) == ["NRD"]
    assert len(read_cells(folder / "accuracy.csv")) == 3
    assert "## Ablation: epochs" in (folder / "accuracy.md").read_text()


def test_labels_that_differ_in_signs_only_have_their_own_files():
    stems = [file.stem for file in table_files(["a b", "a/b", "A-B", "…"])]
    assert stems == ["accuracy", "accuracy-a-b", "accuracy-a-b-2", "accuracy-a-b-3", "accuracy-table"]


def test_two_runs_of_one_seed_in_a_cell_are_refused(tmp_path):
    config = small_study(methods=["ce"])
    config["grid"].append({**config["grid"][0], "settings": {"epochs": 4}})
    project = make_project(tmp_path, config)
    study = project.study("small")
    with pytest.raises(SpecError, match=r"params/studies/small\.yaml: grid: table 'main' has two runs of one seed"):
        build(study, project.layout, ["results", "tables"])


def test_comparison_with_the_published_numbers(finished):
    study, layout = finished
    folder = build(study, layout)
    table = pd.read_csv(folder / "comparison.csv")
    assert [tuple(row) for row in table[["noise", "method"]].to_numpy()] == [
        ("sym40", "ce"),
        ("sym40", "gjs"),
        ("sym40", "nrd"),
        ("asym40", "ce"),
        ("asym40", "gjs"),
        ("asym40", "nrd"),
    ]
    row = table.iloc[0]  # CE, CIFAR-10, symmetric 40 %: 87.74 in the paper's Table 2
    ours = [75.0, 78.5, 82.0]
    assert row["published_percent"] == 87.74
    assert row["difference"] == pytest.approx(statistics.mean(ours) - 87.74)
    half = stats.t.ppf(0.975, 2) * statistics.stdev(ours) * math.sqrt(1 / 3 + 1 / 5)
    assert row["low"] == pytest.approx(row["difference"] - half)
    assert row["high"] == pytest.approx(row["difference"] + half)
    single = table[table["n"] == 1].iloc[0]
    assert math.isnan(single["low"])
    lines = (folder / "comparison.md").read_text().splitlines()
    assert sum(line.endswith("| – |") for line in lines) == 1
    assert "Table 2 beside the published numbers" in (folder / "index.html").read_text()


def test_clean_runs_are_compared_with_table_4(tmp_path):
    project = make_project(tmp_path, small_study(datasets=["cifar100"], noises=["clean"], methods=["ce", "bs"]))
    study = project.study("small")
    for spec in study.specs.values():
        finish_run(project.layout, spec, 150)
    folder = build(study, project.layout, ["results", "tables"])
    table = pd.read_csv(folder / "comparison.csv")
    assert table[["method", "published_percent", "source"]].to_numpy().tolist() == [["ce", 77.60, "Table 4"]]


def test_published_cells_that_are_not_run_say_so(tmp_path):
    project = make_project(tmp_path, small_study(datasets=["cifar10"], noises=["sym40"]))
    study = project.study("small")
    for spec in study.specs.values():
        if spec.method.name == "ce":
            fail_run(project.layout, spec, "out of memory")
    folder = build(study, project.layout)
    table = pd.read_csv(folder / "comparison.csv").set_index("method")
    assert table["published_percent"].to_dict() == {"ce": 87.74, "nrd": 94.65}
    assert table["difference"].isna().all()
    assert "| 87.74 | failed | 0 | – | – |" in (folder / "comparison.md").read_text()
    assert "| 94.65 | not run yet | 0 | – | – |" in (folder / "comparison.md").read_text()
    assert "nothing can be said about the differences" in (folder / "index.html").read_text()


def test_another_precision_than_the_papers_is_named_beside_its_numbers(tmp_path):
    variants = [{"name": "default", "title": ""}, {"name": "full", "title": "", "settings": {"precision": "float32"}}]
    settings = {"precision": "bfloat16"}
    cells = {"datasets": ["cifar10"], "noises": ["sym40"], "methods": ["nrd"], "seeds": [1, 2]}
    studies = [
        small_study("same", **cells),
        small_study("other", **cells, settings=settings),
        small_study("mixed", **cells, settings=settings, variants=variants),
    ]
    project = make_project(tmp_path, *studies)
    said = {"same": "", "other": "Our runs compute in bfloat16", "mixed": "2 of our 4 runs compute in bfloat16"}
    for name, text in said.items():
        folder = build(project.study(name), project.layout, ["results", "tables", "figures", "page"], partial=True)
        for file in ("comparison.md", "comparison.tex", "index.html"):
            content = (folder / file).read_text()
            assert ("trains in float32" in content) == bool(text), (name, file)
            assert text in content


def test_other_datasets_are_not_compared(tmp_path):
    project = make_project(tmp_path, small_study(datasets=["cifar10-5k"], noises=["sym40"]))
    study = project.study("small")
    finish_run(project.layout, study.runs[0].spec, 100)
    folder = build(study, project.layout)
    assert not (folder / "comparison.csv").exists()
    assert "published" not in (folder / "index.html").read_text()


def test_every_published_cell_is_found_by_the_papers_own_study(tmp_path):
    project = make_project(tmp_path)
    study = project.study("paper").compared  # runs that are for figures alone stand in no accuracy table
    titles = read_titles(study, project.layout)
    results = collect(study, project.layout).assign(status="done", test_accuracy_last=0.9)
    table = published.compare(accuracy_cells(results, titles), titles, project.layout)
    assert len(table) == len(published.read_published(project.layout)) == 9 * 12 + 4 * 2
    assert (table["n"] == 5).all()


def test_summary_counts_intervals_that_contain_zero():
    table = pd.DataFrame({"low": [-1.0, 0.5, -2.0, math.nan], "high": [1.0, 1.5, -0.1, math.nan]})
    assert published.summary(table).startswith("In 1 of 3 cells")
    assert published.summary(table.tail(1)).startswith("No cell has two finished seeds yet")
    assert [published.misses(row) for row in table.itertuples()] == [False, True, True, False]


NASTY = r"a|b_c*d`e<f>&g\h$i%j{k}#l[m]~n^o"


def test_markdown_is_escaped():
    text = render.escape_markdown(NASTY)
    assert text == r"a\|b\_c\*d\`e&lt;f&gt;&amp;g\\h\$i%j{k}\#l\[m\]\~n^o"
    titles = Titles({"a": NASTY}, {"d": "x|y"}, {}, {})
    cells = accuracy_cells(results_of(("a", 1, 0.5, "done")), titles)
    table = [line for line in render.markdown(cells, titles, "test_accuracy_last").splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in table] == [3, 3, 3]


def test_latex_is_escaped():
    text = render.escape_latex(NASTY)
    assert text == (
        r"a|b\_c*d`e\textless{}f\textgreater{}\&g\textbackslash{}h\$i\%j\{k\}\#l[m]\textasciitilde{}n\textasciicircum{}o"
    )
    titles = Titles({"a": NASTY}, {"d": "50 % & more"}, {}, {})
    cells = accuracy_cells(results_of(("a", 1, 0.5, "done"), ("a", 2, None, "failed")), titles)
    lines = render.latex(cells, titles, "test_accuracy_last").splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [1, 1, 1]
    assert all(line.startswith("%") or not re.search(r"(?<!\\)%", line) for line in lines)
