"""The paper's Tables 1 and 6, Figures 1, 2, 4 and 5: from files of runs to data, pictures and page, by other means."""

import csv
import json
import math
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.functional.classification import multiclass_calibration_error

from nrd.layout import PAPER_FIGURES
from nrd.metrics import expected_calibration_error
from nrd.report import build
from nrd.report.beside import nearest_shares
from nrd.report.correction import gains_table
from nrd.report.memorised import read_data
from nrd.report.overfitting import draw_figure_4, read_figure_4
from nrd.report.paper_sections import _correction_sentence
from nrd.report.tables import accuracy_cells
from nrd.report.titles import read_titles
from nrd.spec import SpecError
from nrd.study import Project
from tests.test_report import finish_run, make_project, small_study
from tests.test_report_analyses import soften

PARTS = ("results", "tables", "paper-figures", "page")
CLASSES, IMAGES, VIEWS = 10, 70, 4
SLUGS = {"20": "sym20", "50": "sym50", "80": "sym80"}


def figure_study(name="figured"):
    config = small_study(name, noises=["sym40"], methods=["ce", "nrd"], seeds=[1, 2])
    block = {"datasets": ["digits"], "methods": ["ce"], "seeds": [1]}
    views = {"draws": 20, "points": VIEWS, "samples": 2}
    config["grid"] += [
        {
            **block,
            **{"table": "memorised", "figures": ["memorised", "calibration"], "noises": ["sym20"], "views": views},
        },
        {
            **block,
            **{"table": "memorised", "figures": ["memorised", "calibration", "dynamics"], "noises": ["sym50"]},
            **{"settings": {"snapshots": [1, 2]}, "views": views | {"epochs": [1, 3]}},
        },
        {**block, "table": "long", "figures": ["overfitting"], "noises": ["sym40", "sym80"], "methods": ["gjs", "nrd"]},
        {**block, "table": "calibrated", "figures": ["calibration"], "noises": ["sym20", "sym50"], "methods": ["nrd"]},
    ]
    return config


def answer(layout, run):
    """Write what a network might have answered: it memorised most labels, and views bring some of the truth back."""
    random = np.random.default_rng(int(run.spec.name[-8:], 16))
    true = random.integers(0, CLASSES, IMAGES)
    given = np.where(random.random(IMAGES) < run.spec.noise.rate, (true + 1) % CLASSES, true)
    back = random.random((2, IMAGES)) < 0.4
    epochs = np.array(sorted({*run.spec.snapshots, run.spec.optimization.epochs}))
    clean, wrong = np.flatnonzero(true == given)[:2], np.flatnonzero(true != given)[:2]
    samples = np.concatenate([clean, wrong])
    arrays = {
        "true": true,
        "given": given,
        "predicted": np.stack([given, *np.where(back, true, given)]),
        "confidence": random.uniform(0.2, 1, (3, IMAGES)),
        "loss": np.stack([random.gamma(4, 2, IMAGES), *random.gamma(2, 1, (2, IMAGES))]),
        "samples": samples,
        "images": random.integers(0, 256, (len(samples), 1, 8, 8), dtype=np.uint8),
        "pictures": random.integers(0, 256, (len(samples), 8, 1, 8, 8), dtype=np.uint8),
        "epochs": epochs,
        "points": random.dirichlet(np.ones(CLASSES), (len(epochs), 2, len(samples), VIEWS)),
    }
    path = layout.analysis(run.spec.name, run.views.name)
    path.parent.mkdir(parents=True)
    np.savez(path, about=np.array(json.dumps({"run": run.spec.name})), **arrays)
    return arrays


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A finished study with all figures: its project, the answers by noise, the report's folder. Read only."""
    project = make_project(tmp_path_factory.mktemp("figured"), figure_study())
    study = project.study("figured")
    for place, spec in enumerate(study.specs.values()):
        finish_run(project.layout, spec, 100 + 9 * place % 60)
        soften(project.layout, spec)
    answers = {run.spec.noise.slug: answer(project.layout, run) for run in study.pictured("memorised")}
    return project, answers, build(study, project.layout, PARTS)


def test_every_declared_file_is_there_and_every_section(built):
    _, _, folder = built
    assert {name for name in PAPER_FIGURES if not (folder / name).is_file()} == set()
    page = (folder / "index.html").read_text()
    for section in ("table1", "figure1", "figure2a", "figure2b", "table6", "figure4", "figure5"):
        assert f'<section id="{section}">' in page
        assert section.startswith("table1") or f'href="{section}.pdf"' in page
    assert "not finished, or not looked at" not in page


def test_tables_that_a_study_has_no_cells_of_are_there_with_the_published_numbers(built):
    project, _, folder = built
    page = (folder / "index.html").read_text()
    published = page[page.index('<section id="published">') :].split("</section>")[0]
    params = project.layout.params / "published"
    for file, key in (("table2_synthetic_noise.csv", "test_accuracy"), ("table4_clean.csv", "cifar10")):
        with (params / file).open() as lines:
            rows = list(csv.DictReader(line for line in lines if line[0] != "#"))
        assert rows and all(f"<td>{float(row[key]):.2f}</td>" in published for row in rows)
    assert "None of their 116 cells is in this study." in published
    assert '<section id="webvision">' in page and "Inception-ResNet-V2" in page
    absent = page[page.index('<section id="absent">') :].split("</section>")[0]
    for title in (
        "Differences to the published numbers",
        "Gains named in the paper",
        "What matters by how many points",
    ):
        assert title in absent


def test_cells_that_a_study_has_stand_below_the_published_ones(tmp_path):
    config = figure_study("some")
    config["grid"] = [{**config["grid"][0], "datasets": ["cifar10"]}, *config["grid"][3:4]]
    project = make_project(tmp_path, config)
    study = project.study("some")
    for run in study.compared.runs:
        if run.spec.method.name == "nrd":
            finish_run(project.layout, run.spec, 150 + run.spec.seed)
    folder = build(study, project.layout, PARTS)
    table = (
        pd.read_csv(folder / "published.csv", keep_default_na=False)
        .set_index(["dataset", "noise", "method"])
        .sort_index()
    )
    own = table.loc["cifar10", "sym40"]
    assert (own.loc["NRD", "state"], float(own.loc["NRD", "mean_percent"])) == ("", 75.75)
    assert own.loc["CE", "state"] == "not run yet"
    assert (table["state"] == "not in this study").sum() == len(table) - 2 == 114
    page = (folder / "index.html").read_text()
    published = page[page.index('<section id="published">') :].split("</section>")[0]
    assert '<td>94.65<span class="under">75.75 ± 0.35</span></td>' in published
    assert (
        "| NRD |" in (folder / "published.md").read_text()
        and "94.65 (75.75 ± 0.35)" in (folder / "published.md").read_text()
    )
    for figure in ("memorised", "dynamics", "calibration"):
        assert f"no block of this study has the figure “{figure}”." in page


def test_a_section_whose_file_is_gone_is_named(built, tmp_path):
    shutil.copytree(built[0].layout.root, tmp_path / "copy")
    project = Project(tmp_path / "copy")
    study, layout = project.study("figured"), project.layout
    folder = build(study, layout, ("figures", "page"))
    assert "missing" not in (folder / "index.html").read_text().split('id="absent"')[1].split("</section>")[0]
    for name in ("reliability.csv", "figure5.svg"):
        (folder / name).unlink()
    page = (build(study, layout, ("page",)) / "index.html").read_text()
    assert 'id="reliability"' not in page and 'id="figure5"' not in page
    absent = page.split('id="absent"')[1].split("</section>")[0]
    assert "reliability.csv is missing; <code>nrd report figured --part figures</code> writes it." in absent
    assert "figure5.svg is missing; <code>nrd report figured --part paper-figures</code> writes it." in absent


def test_table_1_is_counted_one_image_at_a_time(built):
    project, answers, folder = built
    table = pd.read_csv(folder / "table1.csv")
    assert len(table) == 3 * len(answers)
    path = project.layout.params / "published" / "table1_label_correction.csv"
    with path.open() as file:
        paper = list(csv.DictReader(line for line in file if line[0] != "#"))
    for noise, a in answers.items():
        for place, kind in enumerate(("plain", "probabilities", "logits")):
            row = table[(table["noise"] == noise) & (table["transform"] == kind)].iloc[0]
            counts = {"clean": [], "mislabeled": [], "all": []}
            for true, given, predicted in zip(a["true"], a["given"], a["predicted"][place], strict=True):
                counts["all"].append(true == predicted)
                counts["clean" if true == given else "mislabeled"].append(true == predicted)
            for key, right in counts.items():
                assert row[f"{key}_percent"] == pytest.approx(100 * sum(right) / len(right), rel=1e-5)
            transform = "no" if kind == "plain" else "yes"
            (theirs,) = [
                r for r in paper if r["transform"] == transform and f"sym{float(r['noise_rate']) * 100:.0f}" == noise
            ]
            assert row["published_mislabeled_percent"] == float(theirs["mislabeled"])
            assert row["published_all_percent"] == float(theirs["overall"])
            assert row["memorised_percent"] == 100
    for suffix in ("md", "tex"):
        text = (folder / f"table1.{suffix}").read_text()
        assert f"{table['mislabeled_percent'].iloc[1]:.2f}" in text and paper[1]["mislabeled"] in text


def test_figure_1_is_numpys_histogram_and_scikit_learns_auroc(built):
    _, answers, folder = built
    table = read_data(folder / "figure1.csv")
    for noise, a in answers.items():
        wrong = a["true"] != a["given"]
        for part, mask in (("mislabeled", wrong), ("clean", ~wrong), ("all", wrong | True)):
            rows = table[(table["noise"] == noise) & (table["part"] == part)]
            values = np.concatenate([a["loss"][0][mask], a["loss"][1][mask]])
            expected = roc_auc_score(np.repeat([1, 0], mask.sum()), values)
            assert rows["auroc"].iloc[0] == pytest.approx(expected, rel=1e-5)
            for kind, losses in (("plain", a["loss"][0]), ("vicinal", a["loss"][1])):
                bars = rows[rows["kind"] == kind]
                assert bars["count"].sum() == mask.sum()
                assert (bars["density"] * (bars["high"] - bars["low"])).sum() == pytest.approx(1, rel=1e-4)
                for bar in bars.iloc[::7].itertuples():
                    assert bar.count == ((losses[mask] >= bar.low) & (losses[mask] < bar.high)).sum()
    with np.load(folder / "samples.npz") as content:
        run = table[table["noise"] == "sym50"]["run"].iloc[0]
        np.testing.assert_array_equal(
            content[f"{run}/losses"][1], answers["sym50"]["loss"][1][answers["sym50"]["samples"]]
        )


def test_points_are_weighted_means_of_the_corners(built):
    _, answers, folder = built
    end, course = read_data(folder / "figure2a.csv"), read_data(folder / "table6-points.csv")
    roots = [complex(math.cos(a), math.sin(a)) for a in (2 * math.pi / CLASSES * (k + 0.5) for k in range(CLASSES))]
    assert (
        set(course["epoch"]) == {1, 3} and set(course["noise"]) == {"sym50"} and set(course["part"]) == {"mislabeled"}
    )
    for table, epochs in ((end, {None: -1}), (course, {1: 0, 3: -1})):
        for row in table.iloc[::5].to_dict("records"):
            a = answers[row["noise"]]
            own = a["points"][epochs[row.get("epoch")], ["training", "unseen"].index(row["policy"])]
            p = own[row["sample"], row["view"]]
            expected = sum(weight * root for weight, root in zip(p, roots, strict=True))
            assert (row["x"], row["y"]) == (
                pytest.approx(expected.real, abs=1e-4),
                pytest.approx(expected.imag, abs=1e-4),
            )
            place = a["samples"][row["sample"]]
            assert (row["true"], row["given"], row["predicted"]) == (a["true"][place], a["given"][place], p.argmax())
    assert len(end) == 2 * 2 * 4 * VIEWS


def test_table_6_is_the_true_classs_mean_probability(built):
    _, answers, folder = built
    table, a = read_data(folder / "table6.csv"), answers["sym50"]
    assert len(table) == 3 * 2 * 2
    for row in table.to_dict("records"):
        epoch = a["epochs"].tolist().index(row["epoch"])
        own = a["points"][epoch, ["training", "unseen"].index(row["policy"]), row["sample"]]
        values = [view[a["true"][a["samples"][row["sample"]]]] for view in own]
        assert (row["mean"], row["std"]) == (
            pytest.approx(np.mean(values), rel=1e-4),
            pytest.approx(np.std(values), rel=1e-4),
        )


def test_calibration_errors_are_torchmetrics(built):
    project, answers, folder = built
    table = read_data(folder / "figure2b.csv")
    for noise, a in answers.items():
        for place, kind in enumerate(("plain", "vicinal")):
            confidence, predicted = a["confidence"][place], a["predicted"][place]
            p = np.repeat((1 - confidence)[:, None] / (CLASSES - 1), CLASSES, axis=1)
            p[np.arange(IMAGES), predicted] = confidence
            expected = multiclass_calibration_error(torch.tensor(p), torch.tensor(a["true"]), CLASSES, n_bins=15)
            rows = table[(table["noise"] == noise) & (table["kind"] == kind)]
            assert rows["ece"].iloc[0] == pytest.approx(float(expected), abs=1e-5)
            assert rows["count"].sum() == IMAGES
    figure_5 = pd.read_csv(folder / "figure5.csv")
    runs = {
        (r.spec.noise.slug, r.spec.method.name): r.spec.name for r in project.study("figured").pictured("calibration")
    }
    assert {*zip(figure_5["noise"], figure_5["method"], strict=True)} == set(runs)
    for (noise, method), run in runs.items():
        with np.load(project.layout.run(run) / "predictions.npz") as content:
            expected = expected_calibration_error(content["student_test"].astype(float), content["test_labels"])
        rows = figure_5[(figure_5["noise"] == noise) & (figure_5["method"] == method)]
        assert rows["ece"].iloc[0] == pytest.approx(expected, rel=1e-5)


def test_figure_4_is_the_histories_and_a_function_of_its_file(built, tmp_path):
    project, _, folder = built
    table = read_figure_4(folder / "figure4.csv")
    for run in project.study("figured").pictured("overfitting"):
        history = pd.read_csv(project.layout.run(run.spec.name) / "history.csv")
        rows = table[(table["noise"] == run.spec.noise.slug) & (table["method"] == run.spec.method.name)]
        assert rows["test_accuracy"].tolist() == pytest.approx(history["test_accuracy"].tolist())
    draw_figure_4(folder / "figure4.csv", tmp_path / "figure4")
    for kind in ("png", "svg", "pdf"):
        assert (tmp_path / f"figure4.{kind}").read_bytes() == (folder / f"figure4.{kind}").read_bytes()
    assert (folder / "figure4.pdf").read_bytes().startswith(b"%PDF")
    last = 100 * table.groupby(["noise", "method"])["test_accuracy"].last()
    gain = f"{last['sym80', 'nrd'] - last['sym80', 'gjs']:+.2f}".replace("-", "−")
    page = (folder / "index.html").read_text()
    assert f"<td>{gain}</td><td>+36</td>" in page  # beside the number that the paper's text names


def test_runs_for_figures_are_listed_but_not_compared(built):
    _, _, folder = built
    assert set(pd.read_csv(folder / "accuracy.csv")["noise"]) == {"sym40"}
    assert set(pd.read_csv(folder / "accuracy.csv")["method"]) == {"ce", "nrd"}  # GJS at 40 % is a figure's
    assert set(pd.read_csv(folder / "ledger.csv")["noise"]) == {"sym40"}
    assert set(json.loads((folder / "summary.json").read_text())) == {"main"}
    results = pd.read_csv(folder / "results.csv")
    assert set(results["table"]) == {"main", "memorised", "long", "calibrated"}
    assert results["run"].nunique() == 4 + 2 + 3 + 2  # NRD at 40 % is shared by Figure 4 and the table
    page = (folder / "index.html").read_text()
    assert len(set(re.findall(r'href="../../runs/([^"/]+)/', page))) == results["run"].nunique()


def test_shares_of_views_by_what_they_are_predicted_as():
    rows = pd.DataFrame({"true": [1, 1, 1, 1, 2], "given": [3, 3, 3, 3, 2], "predicted": [1, 3, 3, 0, 2]})
    assert nearest_shares(rows) == (pytest.approx(2 / 5), pytest.approx(2 / 5), pytest.approx(1 / 5))


def test_numbers_of_the_figures_are_tables_of_their_own(built):
    project, _, folder = built
    paper = project.layout.params / "published" / "figures_published.csv"
    with paper.open() as file:
        printed = list(csv.DictReader(line for line in file if line[0] != "#"))
    page = (folder / "index.html").read_text()
    auroc, firsts = pd.read_csv(folder / "figure1-auroc.csv"), read_data(folder / "figure1.csv")
    for row in auroc.itertuples():
        own = firsts[(firsts["noise"] == row.noise) & (firsts["part"] == "mislabeled")]
        assert row.mislabeled == pytest.approx(own["auroc"].iloc[0], rel=1e-5)
    theirs = next(float(row["value"]) for row in printed if row["quantity"].startswith("density AUROC"))
    assert auroc.set_index("noise").loc["sym50", "published_auroc"] == theirs
    assert f"<td>{theirs:.4f} (CIFAR-10)</td>" in page
    shares = pd.read_csv(folder / "figure2a-shares.csv").set_index(["part", "policy"])
    points = read_data(folder / "figure2a.csv")
    own = points[(points["noise"] == "sym50") & (points["part"] == "mislabeled") & (points["policy"] == "unseen")]
    assert shares.loc[("mislabeled", "unseen"), "true_share"] == pytest.approx((own["predicted"] == own["true"]).mean())
    errors = pd.read_csv(folder / "figure5-errors.csv").set_index(["noise", "method"])
    expected = {(f"sym{float(r['noise_rate']) * 100:.0f}", r["method"].lower()): float(r["value"])
                for r in printed if r["quantity"] == "ECE"}  # fmt: skip
    assert len(errors) == 4
    assert all(row.published_ece == expected[key] for key, row in errors.iterrows())
    fits = pd.read_csv(folder / "figure4-accuracies.csv").set_index("noise")
    line = read_figure_4(folder / "figure4.csv").set_index(["noise", "method"])["test_accuracy"]
    assert fits.loc["sym80", "gjs_best_percent"] == pytest.approx(100 * line["sym80", "gjs"].max())
    assert fits.loc["sym80", "published_gain_points"] == 36
    plain = pd.read_csv(folder / "figure2b-errors.csv").set_index(["noise", "kind"])
    assert (plain["published_ece"].xs("plain", level="kind") == 0.34).all()
    for stem in ("figure1-auroc", "figure2a-shares", "figure2b-errors", "figure4-accuracies", "figure5-errors"):
        for suffix in ("csv", "md", "tex"):
            assert f'href="{stem}.{suffix}"' in page
    assert "0.9935" in (folder / "figure1-auroc.tex").read_text()


def test_the_published_calibration_of_figure_5_is_not_beside_table_2s_networks(built):
    _, _, folder = built
    assert pd.read_csv(folder / "figure5-errors.csv")["published_ece"].notna().all()
    for figures, shown in ((["calibration"], False), (["overfitting"], True)):
        config = small_study(datasets=["cifar10"], noises=["sym20"], methods=["ce"], seeds=[1])
        config["grid"].append({**config["grid"][0], "table": "other", "figures": figures})
        root = folder.parent / figures[0]
        project = make_project(root, config)
        study = project.study("small")
        for spec in study.specs.values():
            finish_run(project.layout, spec, 100)
        table = pd.read_csv(build(study, project.layout, ["results", "tables", "figures"]) / "calibration.csv")
        assert table["published_ece"].notna().all() == shown


def test_networks_that_did_not_memorise_are_named_under_every_figure(built, tmp_path):
    shutil.copytree(built[0].layout.root, tmp_path / "copy")
    project = Project(tmp_path / "copy")
    study, layout = project.study("figured"), project.layout
    run = next(run for run in study.pictured("memorised") if run.spec.noise.slug == "sym50")
    path = layout.analysis(run.spec.name, run.views.name)
    with np.load(path) as content:
        arrays = dict(content)
    arrays["predicted"][0, :7] = (arrays["given"][:7] + 1) % CLASSES
    np.savez(path, **arrays)
    page = (build(study, layout, PARTS) / "index.html").read_text()
    sections = dict(re.findall(r'<section id="([^"]+)">(.*?)</section>', page, re.DOTALL))
    found = {key for key, text in sections.items() if "Only part of the labels were memorised: 90.00 % at" in text}
    assert found == {"table1", "figure1", "figure2a", "figure2b", "figure5", "table6"}


def test_gains_are_compared_with_gains_not_with_levels():
    rows = [("plain", 30.0, 0.1), ("probabilities", 60.0, 40.6), ("logits", 60.0, 40.6)]
    table = pd.DataFrame(rows, columns=["transform", "mislabeled_percent", "published_mislabeled_percent"])
    text = _correction_sentence(table.assign(noise_title="symmetric 50 %"))
    assert "from 30.0 to 60.0 % at symmetric 50 % (paper: 0.1 to 40.6 %)" in text
    assert "smaller than the paper's" in text  # though 60 is more than 40.6
    table.loc[0, "mislabeled_percent"] = 10.0
    assert "smaller" not in _correction_sentence(table.assign(noise_title="symmetric 50 %"))


def test_table_6_is_of_figure_2as_images_only_if_of_its_run(built, tmp_path):
    folder = built[2]
    assert ", the same as in Figure 2a." in (folder / "index.html").read_text()
    config = figure_study("apart")
    config["grid"][2] |= {"figures": ["dynamics"]}  # at 50 %; Figure 2a is of 20 % then
    project = make_project(tmp_path, config)
    study = project.study("apart")
    for run in [*study.pictured("memorised"), *study.pictured("dynamics")]:
        finish_run(project.layout, run.spec, 100)
        answer(project.layout, run)
    page = (build(study, project.layout, PARTS) / "index.html").read_text()
    assert '<section id="table6">' in page and "the same as in Figure 2a" not in page


def test_a_whole_report_asks_for_what_its_figures_need(built, tmp_path):
    shutil.copytree(built[0].layout.root, tmp_path / "copy")
    project = Project(tmp_path / "copy")
    study = project.study("figured")
    run = study.pictured("dynamics")[0]
    project.layout.analysis(run.spec.name, run.views.name).unlink()
    build(study, project.layout, ["results", "tables"], partial=False)  # which do not need it
    with pytest.raises(SpecError, match=r"1 of 2 runs of figured .* not looked at: `nrd analyse --study figured`"):
        build(study, project.layout, ["paper-figures"], partial=False)
    page = (build(study, project.layout, PARTS) / "index.html").read_text()
    assert "1 finished run was not looked at" in page[: page.index("<nav")]


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_shown(built, tmp_path):
    shutil.copytree(built[0].layout.root, tmp_path / "copy")
    project = Project(tmp_path / "copy")
    study, layout = project.study("figured"), project.layout
    one, other = (layout.analysis(r.spec.name, r.views.name) for r in study.pictured("memorised"))
    one.write_bytes(b"PK\x03\x04 no archive")
    other.unlink()
    gone = [run.spec.name for run in study.pictured("overfitting")][:3]
    for name in gone:
        shutil.rmtree(layout.run(name))
    page = (build(study, layout, PARTS) / "index.html").read_text()
    for path in (one, other):
        assert path.name in page and path.parent.name in page
    assert "is damaged" in page and "there is no such file; <code>nrd analyse" in page
    for section in ("table1", "figure1", "figure2a", "figure2b", "table6", "figure4", "figure5"):
        assert f'<section id="{section}">' in page
    assert all(
        page.count(f"<code>{name}</code> not run yet") >= 2 for name in gone
    )  # above, and in the figure's section
    assert {name for name in PAPER_FIGURES if not (layout.report("figured") / name).is_file()} == set()


def test_a_study_without_such_blocks_has_none_of_it(tmp_path):
    project = make_project(tmp_path, small_study())
    folder = build(project.study("small"), project.layout, PARTS)
    assert not set(PAPER_FIGURES) & {path.name for path in folder.iterdir()}
    assert "Figure 1" not in (folder / "index.html").read_text()


def test_gains_are_differences_of_the_cells_that_the_text_names(tmp_path):
    project = make_project(tmp_path)
    study = project.study("short")
    titles = read_titles(study, project.layout)
    rows = [
        {
            **{"study": "short", "table": r.table, "variant": "", "run": r.spec.name, "dataset": r.spec.dataset.name},
            **{"noise": r.spec.noise.slug, "method": r.spec.method.name, "seed": 1, "status": "done"},
            "test_accuracy_last": {"nrd": 0.61, "gce": 0.5, "sce": 0.42}.get(r.spec.method.name, 0.1),
        }
        for r in study.runs
    ]
    table = gains_table(accuracy_cells(pd.DataFrame(rows), titles), titles, project.layout)
    found = [(r.dataset, r.noise, r.pair, r.published_points, round(r.points, 6)) for r in table.itertuples()]
    assert found == [("cifar10", "sym80", "NRD − SCE", 5, 19), ("cifar100", "sym80", "NRD − GCE", 10, 11)]
