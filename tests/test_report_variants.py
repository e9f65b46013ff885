"""What variants change, against scipy's paired test; which lines are variants of which; and the page over real runs."""

import re

import pandas as pd
import pytest
from scipy import stats

from nrd.report import build
from nrd.report.titles import read_titles
from nrd.report.variants import compare_variants, printed
from tests.conftest import train_run
from tests.test_report import fail_run, finish_run, make_project, small_study

SETTINGS = {"epochs": 1, "batch_size": 64, "views": {"student": "crop"}}
NETWORK = {"name": "preact_resnet", "widths": [8, 16], "blocks": [1, 1]}
VARIANTS = [
    {"name": "unscaled", "title": "not divided by Z", "settings": {"hyperparameters": {"nrd": {"scale": False}}}},
    {"name": "default", "title": "as published"},
    {"name": "slow", "title": "β = 0.999", "settings": {"teacher": {"decay": 0.999}}},
]


def results_of(study, accuracy, missing=()):
    """One row per run; accuracies as a function of variant or noise and seed."""
    rows = [
        {
            "table": run.table,
            "dataset": run.spec.dataset.name,
            "noise": run.spec.noise.slug,
            "variant": run.variant or "",
            "method": run.spec.method.name,
            "seed": run.spec.seed,
            "run": run.spec.name,
            "status": "missing" if (run.variant, run.spec.seed) in missing else "done",
            "test_accuracy_last": accuracy(run),
        }
        for run in study.runs
    ]
    return pd.DataFrame(rows)


def test_differences_are_scipys_paired_test_and_the_largest_comes_first(tmp_path):
    project = make_project(tmp_path, small_study(methods=["nrd"], variants=VARIANTS))
    study = project.study("small")
    shares = {
        "default": {1: 0.80, 2: 0.82, 3: 0.81},
        "unscaled": {1: 0.79, 2: 0.825, 3: 0.805},
        "slow": {1: 0.70, 2: 0.75, 3: 0.9},
    }
    results = results_of(study, lambda run: shares[run.variant][run.spec.seed], missing={("slow", 3)})
    table = compare_variants(study, project.layout, results, read_titles(study, project.layout))
    assert list(table["variant"]) == ["slow", "unscaled"]
    assert set(table["base_title"]) == {"as published"}
    for row, seeds in zip(table.itertuples(), ([1, 2], [1, 2, 3]), strict=True):
        pair = [[100 * shares[variant][seed] for seed in seeds] for variant in (row.variant, "default")]
        test = stats.ttest_rel(*pair)
        low, high = test.confidence_interval(0.95)
        assert (row.pairs, row.planned) == (len(seeds), 3)
        assert row.difference == pytest.approx(sum(pair[0]) / len(seeds) - sum(pair[1]) / len(seeds))
        assert (row.low, row.high) == (pytest.approx(low), pytest.approx(high))
        assert row.base_percent == pytest.approx(sum(pair[1]) / len(seeds))
    assert printed(next(table.itertuples()))[:5] == ("NRD: β = 0.999", "as published", "2 of 3", "72.50", "−8.50")


def test_the_papers_readings_have_what_they_are_readings_of(project):
    study = project.study("variants")
    by_noise = {"sym40": 0.8, "symx40": 0.7, "asym40": 0.6, "asymi40": 0.65, "asymb40": 0.55}
    results = results_of(study, lambda run: by_noise[run.spec.noise.slug] + 0.001 * run.spec.seed)
    table = compare_variants(study, project.layout, results, read_titles(study, project.layout))
    noise = table[table["table"] == "noise"]
    found = {(row.dataset, row.noise, row.base_title): row.difference for row in noise.itertuples()}
    assert found == {
        ("cifar10", "symx40", "symmetric 40 %"): pytest.approx(-10),
        ("cifar10", "asymi40", "asymmetric 40 %"): pytest.approx(5),
        ("cifar100", "symx40", "symmetric 40 %"): pytest.approx(-10),
        ("cifar100", "asymb40", "asymmetric 40 %"): pytest.approx(-5),
    }
    variants = table[table["table"] == "nrd"]
    assert set(variants["base_title"]) == {"as in the paper study"}
    # All but the default, once per dataset, those that only one block of the table has included.
    asked = {(run.spec.dataset.name, run.variant) for run in study.runs if run.table == "nrd"}
    assert sorted(zip(variants["dataset"], variants["variant"], strict=True)) == sorted(
        pair for pair in asked if pair[1] != "default"
    )
    assert set(variants["difference"]) == {0}


def test_what_does_not_concern_a_method_is_no_variant_of_it(tmp_path):
    project = make_project(tmp_path, small_study(methods=["ce", "nrd"], variants=VARIANTS), small_study("plain"))
    study = project.study("small")
    results = results_of(study, lambda run: 0.5)
    table = compare_variants(study, project.layout, results, read_titles(study, project.layout))
    assert set(table["method"]) == {"nrd"}
    plain = project.study("plain")
    titles = read_titles(plain, project.layout)
    assert compare_variants(plain, project.layout, results_of(plain, lambda run: 0.5), titles).empty


def test_a_study_of_variants_on_real_images(tmp_path):
    """Trained, evaluated, reported: the differences on the page are those of the histories."""
    from nrd.evaluation.run_metrics import evaluate_run

    config = small_study(methods=["nrd"], variants=VARIANTS[:2], seeds=[1, 2])
    config["settings"] = {**SETTINGS, "network": NETWORK}
    project = make_project(tmp_path, config)
    study, layout, last = project.study("small"), project.layout, {}
    for run in study.runs[:3]:  # the fourth is missing
        train_run(project, run.spec)
        evaluate_run(run.spec.name, layout)
        text = (layout.run(run.spec.name) / "history.csv").read_text().splitlines()
        last[run.variant, run.spec.seed] = float(text[-1].split(",")[text[0].split(",").index("test_accuracy")])
    folder = build(study, layout)
    row = pd.read_csv(folder / "variants.csv").iloc[0]
    seed = next(seed for variant, seed in last if variant == "default")
    difference = 100 * (last["unscaled", seed] - last["default", seed])
    assert (row["variant"], row["pairs"], row["planned"]) == ("unscaled", 1, 2)
    assert row["difference"] == pytest.approx(difference, abs=1e-8)
    page = (folder / "index.html").read_text()
    part = page[page.index('<section id="variants">') :].split("</section>")[0]
    shown = [re.sub("<[^>]+>", "", cell) for cell in re.findall("<t[dh][^>]*>.*?</t[dh]>", part)]
    sign = "+" if difference > 0 else "−" if difference < 0 else ""
    assert shown[7:] == [
        "NRD: not divided by Z",
        "as published",
        "1 of 2",
        f"{100 * last['unscaled', seed]:.2f}",
        f"{sign}{abs(difference):.2f}",
        "–",
    ]
    assert {"variants.svg", "variants.png", "variants.md", "variants.tex"} <= {path.name for path in folder.iterdir()}


def test_variants_of_an_earlier_build_are_removed(tmp_path):
    project = make_project(tmp_path, small_study(methods=["nrd"], variants=VARIANTS[:2], seeds=[1]))
    study = project.study("small")
    finish_run(project.layout, study.runs[0].spec, 100)
    fail_run(project.layout, study.runs[1].spec, "out of memory")
    folder = build(study, project.layout, ["results", "tables", "figures"])
    assert (folder / "variants.svg").is_file()
    assert "not run yet" in (folder / "variants.md").read_text()
    plain = make_project(tmp_path / "plain", small_study(methods=["nrd"], seeds=[1])).study("small")
    build(plain, project.layout, ["figures"])
    assert not list(folder.glob("variants.*"))
