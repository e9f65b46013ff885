"""Analyses of runs' predictions and of pairs of runs, from run folders to files and page, by other means."""

import csv
import itertools
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import xlogy

from nrd.metrics import expected_calibration_error, midpoint_calibration_error
from nrd.report import build
from nrd.report.analyses import shown
from nrd.report.confusion import draw_confusion
from nrd.report.cost import by_method
from nrd.report.drawing import write_analysed
from nrd.report.published import read_published_ece
from nrd.report.reliability import draw_reliability, read_reliability
from nrd.report.settings import ledger_table
from nrd.report.titles import read_titles
from nrd.study import Project
from tests.test_report import finish_run, make_project, small_study


def soften(layout, spec, classes=10):
    """Give a finished run predictions that are neither certain nor all right."""
    random = np.random.default_rng(int(spec.name[-8:], 16))
    path = layout.run(spec.name) / "predictions.npz"
    with np.load(path) as content:
        arrays = dict(content)
    for part, labels in (("test", arrays["test_labels"]), ("train", arrays["train_true"])):
        logits = random.normal(size=(len(labels), classes)) + 2 * np.eye(classes)[labels]
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        arrays[f"student_{part}"] = p.astype(np.float16)
    np.savez_compressed(path, **arrays)
    return arrays


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A study of two noises, three methods, two seeds with softened predictions, one run missing."""
    config = small_study(noises=["sym40", "clean"], methods=["ce", "gjs", "nrd"], seeds=[1, 2])
    project = make_project(tmp_path_factory.mktemp("built"), config)
    study, arrays = project.study("small"), {}
    for place, spec in enumerate(list(study.specs.values())[:-1]):
        finish_run(project.layout, spec, 100 + 7 * place % 31)
        arrays[spec.name] = soften(project.layout, spec)
    build(study, project.layout)
    return project.layout.root, arrays


@pytest.fixture
def finished(built, tmp_path):
    """A copy of it that a test may change: project, study, predictions by run, the report's folder."""
    root, arrays = built
    shutil.copytree(root, tmp_path / "copy")
    project = Project(tmp_path / "copy")
    arrays = {name: dict(content) for name, content in arrays.items()}
    return project, project.study("small"), arrays, project.layout.report("small")


def lines_of(study, arrays):
    found = {}
    for run in study.runs:
        if run.spec.name in arrays:
            found.setdefault((run.spec.noise.slug, run.spec.method.name), []).append(arrays[run.spec.name])
    return found


def test_reliability_is_that_of_the_pooled_images(finished):
    _, study, arrays, folder = finished
    table = read_reliability(folder / "reliability.csv")
    lines = lines_of(study, arrays)
    assert len(table) == 10 * len(lines) == 60
    for (noise, method), runs in lines.items():
        rows = table[(table["noise"] == noise) & (table["method"] == method)]
        p = np.concatenate([a["student_test"].astype(float) for a in runs])
        y = np.concatenate([a["test_labels"] for a in runs])
        for row in rows.itertuples():
            inside = (p.max(axis=1) > row.low) & (p.max(axis=1) <= row.high)
            assert row.count == inside.sum()
            if inside.any():
                assert row.accuracy == pytest.approx((p.argmax(axis=1) == y)[inside].mean(), rel=1e-5)
                assert row.confidence == pytest.approx(p.max(axis=1)[inside].mean(), rel=1e-5)
        each = [(a["student_test"].astype(float), a["test_labels"]) for a in runs]
        assert rows["ece"].iloc[0] == pytest.approx(np.mean([expected_calibration_error(*e) for e in each]), rel=1e-5)
        middle = np.mean([midpoint_calibration_error(*e) for e in each])
        assert rows["ece_midpoint"].iloc[0] == pytest.approx(middle, rel=1e-5)
        assert set(rows["n"]) == {len(runs)}


def test_the_papers_errors_stand_beside_the_same_cells(tmp_path, finished):
    project, _, _, folder = finished
    found = read_published_ece(project.layout)
    path = project.layout.params / "published" / "figures_published.csv"
    with path.open() as file:
        rows = [row for row in csv.DictReader(line for line in file if line[0] != "#") if row["quantity"] == "ECE"]
    expected = {(r["dataset"], f"sym{float(r['noise_rate']) * 100:.0f}", r["method"]): float(r["value"]) for r in rows}
    assert found == expected
    assert read_reliability(folder / "reliability.csv")["published_ece"].isna().all()


def test_the_diagram_is_a_function_of_its_file(finished, tmp_path):
    _, _, _, folder = finished
    draw_reliability(folder / "reliability.csv", tmp_path / "again")
    draw_reliability(folder / "reliability.csv", tmp_path / "reliability")
    assert (tmp_path / "reliability.svg").read_bytes() == (folder / "reliability.svg").read_bytes()
    svg = (folder / "reliability.svg").read_text()
    assert svg.count(">CE<") == 2 and svg.count(">NRD<") == 2 and ">GJS<" not in svg
    draw_reliability(folder / "reliability.csv", tmp_path / "other", methods=["gjs"])
    assert ">GJS<" in (tmp_path / "other.svg").read_text()


def test_lines_shown_by_default():
    def chosen(*methods):
        part = pd.DataFrame({"method": methods, "variant": ""})
        return [rows["method"].iloc[0] for rows in shown(part)]

    assert chosen("ce", "gjs", "nrd", "mine") == ["ce", "nrd"]
    assert chosen("ce", "gjs", "mine") == ["ce", "mine"]
    assert chosen("nrd", "gjs") == ["nrd", "gjs"]
    assert chosen("ce") == ["ce"]


def test_damaged_predictions_are_left_out_and_named(finished):
    project, study, arrays, folder = finished
    # One seed of each of four lines: empty, no archive, gone, and not all numbers.
    empty, broken, gone, nan = list(arrays)[::2][:4]
    paths = {name: project.layout.run(name) / "predictions.npz" for name in (empty, broken, gone, nan)}
    paths[empty].write_bytes(b"")
    paths[broken].write_bytes(b"PK\x03\x04 no archive")
    paths[gone].unlink()
    content = arrays[nan]
    content["student_test"] = content["student_test"].copy()
    content["student_test"][3, 2] = np.nan
    np.savez_compressed(paths[nan], **content)
    write_analysed(study, project.layout)
    build(study, project.layout, ["page"])
    table = read_reliability(folder / "reliability.csv").drop_duplicates(["noise", "method"])
    assert list(table["n"]) == [1, 1, 1, 1, 2, 1]  # the last one's second seed is not run
    text = (folder / "index.html").read_text()
    assert "Left out, because their predictions cannot be read" in text
    reasons = text[text.index("Left out") :]
    assert [name for name in arrays if f"<li><code>{name}</code>" in reasons] == [empty, broken, gone, nan]
    assert "a probability is not a number" in reasons


def test_pairs_are_scipys_paired_test(finished):
    _, _, _, folder = finished
    results = pd.read_csv(folder / "results.csv")
    found = pd.read_csv(folder / "paired.csv", keep_default_na=False, na_values=[""])
    assert len(found) == 6
    for one, other in itertools.permutations(["ce", "gjs", "nrd"], 2):
        done = results[results["status"] == "done"].set_index(["noise", "seed"])
        pair = [100 * done[done["method"] == m]["test_accuracy_last"] for m in (one, other)]
        both = pair[0].index.intersection(pair[1].index)
        test = stats.ttest_rel(pair[0].loc[both], pair[1].loc[both])
        low, high = test.confidence_interval(0.95)
        row = found[(found["method"] == one) & (found["other_method"] == other)].iloc[0]
        gaps = (pair[0].loc[both] - pair[1].loc[both]).round(8)
        assert (row["pairs"], row["cells"]) == (len(both), 2)
        assert row["difference"] == pytest.approx(gaps.mean())
        assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
        record = ((gaps > 0).sum(), (gaps == 0).sum(), (gaps < 0).sum())
        assert (row["wins"], row["ties"], row["losses"]) == record
    text = (folder / "paired.md").read_text()
    assert text.count("\n| ") == 4  # heads, and each pair once


def test_one_pair_has_no_interval(tmp_path):
    project = make_project(tmp_path, small_study(seeds=[1]))
    study = project.study("small")
    for spec in study.specs.values():
        finish_run(project.layout, spec, 120)
    folder = build(study, project.layout, ["results", "tables", "page"])
    row = pd.read_csv(folder / "paired.csv").iloc[0]
    assert (row["pairs"], row["difference"], row["ties"]) == (1, 0, 1)
    assert math.isnan(row["low"])
    assert '<section id="paired">' in (folder / "index.html").read_text()


def test_without_finished_runs_there_are_files_but_no_sections(tmp_path):
    project = make_project(tmp_path, small_study())
    folder = build(project.study("small"), project.layout)
    page = (folder / "index.html").read_text()
    for name in ("reliability", "paired", "confusion", "classes"):
        assert (folder / f"{name}.csv").is_file()
        assert f'<section id="{name}">' not in page


def test_confusion_and_class_accuracy_are_counted_one_image_at_a_time(finished):
    _, study, arrays, folder = finished
    confusion, classes = (pd.read_csv(folder / f"{name}.csv") for name in ("confusion", "classes"))
    assert set(confusion["noise"]) == {"sym40"}  # nothing is mislabeled in clean cells
    for (noise, method), runs in lines_of(study, arrays).items():
        counts = np.zeros((2, 10, 10))
        for a in runs:
            for true, given, p in zip(a["train_true"], a["train_given"], a["student_train"], strict=True):
                if true != given:
                    counts[0, true, given] += 1
                    counts[1, true, p.argmax()] += 1
        rows = confusion[(confusion["noise"] == noise) & (confusion["method"] == method)]
        for row in rows.to_dict("records"):
            true, column = row["true_class"], row["class"]
            assert row["images"] == counts[0, true].sum()
            if row["images"]:
                for kind, key in enumerate(("given_share", "predicted_share")):
                    assert row[key] == pytest.approx(counts[kind, true, column] / row["images"], rel=1e-3)
        rows = classes[(classes["noise"] == noise) & (classes["method"] == method)]
        for row in rows.to_dict("records"):
            right = [
                np.mean(
                    [
                        p.argmax() == row["class"]
                        for p, y in zip(a["student_test"], a["test_labels"], strict=True)
                        if y == row["class"]
                    ]
                )
                for a in runs
            ]
            wrong = [np.mean(a["train_given"][a["train_true"] == row["class"]] != row["class"]) for a in runs]
            assert row["test_accuracy"] == pytest.approx(np.mean(right), rel=1e-5)
            assert row["noise_rate"] == pytest.approx(np.mean(wrong), rel=1e-5)
    page = (folder / "index.html").read_text()
    assert '<section id="confusion">' in page and '<section id="classes">' in page


def test_conditions_of_one_method_are_drawn_beside_those_of_two(finished, tmp_path):
    _, _, _, folder = finished
    table = pd.read_csv(folder / "confusion.csv")
    alone = table[table["method"] == "ce"].assign(noise="sym60", noise_title="symmetric 60 %")
    pd.concat([table, alone]).to_csv(tmp_path / "confusion.csv", index=False)
    draw_confusion(tmp_path / "confusion.csv", tmp_path / "drawn", {})
    svg = (tmp_path / "drawn.svg").read_text()
    assert svg.count("predicted by CE") == 2 and svg.count("predicted by NRD") == 1


def test_a_hundred_classes_are_data_and_a_sentence(tmp_path):
    config = small_study(datasets=["cifar100"], noises=["sym40"], seeds=[1])
    project = make_project(tmp_path, config)
    study = project.study("small")
    for spec in study.specs.values():
        finish_run(project.layout, spec, 120)
    folder = build(study, project.layout)
    assert len(pd.read_csv(folder / "confusion.csv")) == 2 * 100 * 100
    page = (folder / "index.html").read_text()
    assert "too many classes: CIFAR-100" in page
    assert '<th scope="col">Median</th>' in page


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(line for line in file if line[0] != "#"))


def test_the_ledger_is_what_the_specs_say_and_table_5_stands_beside_it(tmp_path):
    project = make_project(tmp_path)
    study = project.study("paper").compared
    table = ledger_table(study, project.layout, read_titles(study, project.layout))
    assert len(table) == 7 * 2 * 9
    paper = rows_of(project.layout.params / "published" / "table5_hyperparameters.csv")
    kinds = {"symmetric": "sym{:.0f}", "asymmetric": "asym{:.0f}", "none": "clean"}
    for row, run in zip(table.to_dict("records"), study.runs[::5], strict=True):
        used, cell = run.spec.optimization, (row["dataset"], row["noise"], row["title"])
        assert (row["learning_rate"], row["weight_decay"]) == (used.learning_rate, used.weight_decay)
        noises = [kinds[r["noise"]].format(100 * float(r["noise_rate"])) for r in paper]
        same = [r for r, noise in zip(paper, noises, strict=True) if (r["dataset"], noise, r["method"]) == cell]
        assert len(same) == (row["agrees"] != "") <= 1
        if row["agrees"] == "yes":
            assert float(same[0]["learning_rate"]) == row["learning_rate"]
            values = [float(v) for text in row["hyperparameters"].split(", ") for v in text.split()[1:]]
            assert values == [float(v) for v in same[0]["method_hyperparameters"].split()]
        assert row["source"]
    assert (table["agrees"] == "yes").sum() > 100


def test_what_a_study_sets_itself_is_named_as_its_source(tmp_path):
    config = small_study(methods=["nrd", "ce"])
    config["settings"]["learning_rate"] = 0.0123
    project = make_project(tmp_path, config)
    study = project.study("small")
    table = ledger_table(study, project.layout, read_titles(study, project.layout)).set_index("method")
    assert table.loc["nrd", "learning_rate"] == 0.0123
    pi = next(s.method.hyperparameters["pi"] for s in study.specs.values() if s.method.name == "nrd")
    assert table.loc["nrd", "hyperparameters"] == "pi " + " ".join(f"{value:g}" for value in pi)
    assert table.loc["nrd", "source"].endswith("; learning rate: the study")
    assert set(table["agrees"]) == {""}


def test_webvision_rows_belong_to_studies_of_the_papers_grid_or_figures(tmp_path):
    config = small_study(datasets=["cifar10", "cifar100"], seeds=[1])
    project = make_project(tmp_path, config, small_study("other"))
    folder = build(project.study("small"), project.layout, ["results", "tables", "page"])
    found = rows_of(folder / "webvision.csv")
    for row, paper in zip(found, rows_of(project.layout.params / "published" / "table3_webvision.csv"), strict=True):
        assert {key: str(row[key]).rstrip("0").rstrip(".") for key in paper} == {
            key: value.rstrip("0").rstrip(".") for key, value in paper.items()
        }
        assert row["ours_webvision_top1"] == ""
    assert (folder / "index.html").read_text().count("not run yet") >= 28
    assert not (build(project.study("other"), project.layout, ["results", "tables"]) / "webvision.csv").exists()


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Finished runs on CIFAR-10's whole test part, and people's answers about it."""
    monkeypatch.setenv("NRD_DATA", str(tmp_path / "none"))
    project = make_project(tmp_path, small_study(datasets=["cifar10-5k"], noises=["sym40"], seeds=[1, 2]))
    study, random = project.study("small"), np.random.default_rng(0)
    labels = np.arange(10_000) % 10
    answers = np.array([random.multinomial(50, p) for p in 0.97 * np.eye(10)[labels] + 0.003]) / 50
    predicted = {}
    for spec in study.specs.values():
        finish_run(project.layout, spec, 100)
        p = random.dirichlet(np.ones(10), 10_000) * 0.5 + 0.5 * answers
        path = project.layout.run(spec.name) / "predictions.npz"
        with np.load(path) as content:
            arrays = dict(content) | {"test_labels": labels, "student_test": p.astype(np.float16)}
        np.savez(path, **arrays)
        predicted[spec.name] = arrays["student_test"].astype(float)
    return project, study, predicted, answers


def test_people_are_compared_as_scipy_does(asked):
    project, study, predicted, answers = asked
    path = project.layout.raw / "cifar10h" / "cifar10h-probs.npy"
    path.parent.mkdir(parents=True)
    np.save(path, answers)
    write_analysed(study, project.layout)
    folder = build(study, project.layout, ["results", "tables", "page"])
    table = pd.read_csv(folder / "people.csv").set_index("method")
    for method in ("ce", "nrd"):
        runs = [predicted[spec.name] for spec in study.specs.values() if spec.method.name == method]
        cross = [-np.mean(np.sum(answers * np.log(np.maximum(p, 2.0**-25)), axis=1)) for p in runs]
        theirs = stats.entropy(answers, axis=1).round(10)
        ranks = [stats.spearmanr(-xlogy(p, p).sum(axis=1), theirs).statistic for p in runs]
        row = table.loc[method]
        assert (row["cross_entropy_mean"], row["cross_entropy_std"]) == (
            pytest.approx(np.mean(cross), rel=1e-5),
            pytest.approx(np.std(cross, ddof=1), rel=1e-3, abs=1e-6),
        )
        assert row["entropy_correlation_mean"] == pytest.approx(np.mean(ranks), rel=1e-4)
        assert row["people_entropy"] == pytest.approx(stats.entropy(answers, axis=1).mean(), rel=1e-5)
    assert '<section id="people">' in (folder / "index.html").read_text()


def test_without_the_answers_the_page_says_what_is_needed(asked):
    project, study, _, _ = asked
    write_analysed(study, project.layout)
    page = (build(study, project.layout, ["results", "tables", "page"]) / "index.html").read_text()
    assert '<section id="people">' not in page
    assert "needs CIFAR-10H: cifar10h/cifar10h-probs.npy under data/raw" in page


def test_images_in_another_order_are_found_out(asked):
    project, study, _, answers = asked
    path = project.layout.raw / "cifar10h" / "cifar10h-probs.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.roll(answers, 1, axis=0))
    write_analysed(study, project.layout)
    folder = build(study, project.layout, ["results", "tables", "page"])
    assert pd.read_csv(folder / "people.csv").empty
    assert "not those of CIFAR-10H in their order" in (folder / "index.html").read_text()


def test_cost_is_what_timing_and_machine_say(finished):
    project, study, arrays, folder = finished
    name = next(iter(arrays))
    run = project.layout.run(name)
    (run / "timing.csv").write_text(
        "epoch,seconds,images_per_second,peak_memory_mib,energy_joules\n"
        "1,3600,10,5,1e6\n2,1800,30,9,2e6\n3,1800,20,7,6e5\n"
    )
    machine = '{"device": "A GPU", "device_type": "cuda", "host": "h", "threads": 1, "energy": "the whole GPU (NVML)"}'
    (run / "machine.json").write_text(machine)
    second = project.layout.run(list(arrays)[1])
    (second / "timing.csv").write_text("nonsense")
    build(study, project.layout, ["results", "page"])
    table = pd.read_csv(folder / "cost.csv").set_index("run")
    assert len(table) == len(arrays) - 1
    row = table.loc[name]
    assert (row["epochs"], row["seconds"], row["images_per_second"], row["peak_memory_mib"]) == (3, 7200, 20, 9)
    methods = by_method(table.reset_index())
    assert methods["gpu_hours"].sum() == 2
    assert methods["runs"].sum() == len(table)
    page = (folder / "index.html").read_text()
    assert "GPU-hours" in page and "<td>2 h</td>" in page
    assert (row["energy_kwh"], row["energy_of"]) == (1.0, "the whole GPU (NVML)")
    assert table["energy_kwh"].notna().sum() == 1
    assert "kWh per run" in page and "<td>1.0000</td>" in page
    for text in ((folder / "cost.md").read_text(), (folder / "cost.tex").read_text()):
        assert "1.0000" in text and "the whole GPU (NVML)" in text
