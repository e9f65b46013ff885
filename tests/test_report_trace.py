"""From run folders to what a reader sees: numbers on the page are traced back by another way, problems by name.

The runs are real: finished ones, one whose loss is no number any more, one whose predictions are none, one missing.
"""

import csv
import re
import shutil
import statistics
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml

from nrd.report import build
from nrd.spec import SpecError
from nrd.study import Project
from nrd.training.loop import TrainingFailed
from tests.conftest import train_run

NAN = {"name": "nan", "title": "a rate far too high", "settings": {"learning_rate": 1e20}}
DEFAULT = {"name": "default", "title": "as it is"}


class Sections(HTMLParser):
    """The tables of each section as lists of rows of texts, and the links of each section."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.links, self.ids, self._section, self._cell = {}, {}, {}, "", None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "section":
            self._section = attributes.get("id", "")
        elif tag == "table":
            self.tables.setdefault(self._section, []).append([])
        elif tag == "tr":
            self.tables[self._section][-1].append([])
            if "id" in attributes:
                self.ids[attributes["id"]] = self.tables[self._section][-1][-1]
        elif tag in ("td", "th"):
            self._cell = ""
        elif tag in ("small", "li") and self._cell is not None:  # on lines of their own
            self._cell += " "
        if tag == "a":
            self.links.setdefault(self._section, []).append(attributes["href"])

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[self._section][-1][-1].append(" ".join(self._cell.split()))
            self._cell = None
        elif tag == "section":
            self._section = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data


@pytest.fixture(scope="module")
def traced(tiny_project, tmp_path_factory):
    """The tiny study's four runs, a third seed of both methods (missing), and a variant that fails."""
    root = tmp_path_factory.mktemp("traced") / "project"
    shutil.copytree(tiny_project.layout.root, root)
    path = root / "params" / "studies" / "tiny.yaml"
    config = yaml.safe_load(path.read_text())
    block = config["grid"][0]
    config |= {"name": "traced", "grid": [{**block, "seeds": [1, 2, 3], "variants": [DEFAULT, NAN]}]}
    (root / "params" / "studies" / "traced.yaml").write_text(yaml.safe_dump(config))
    project = Project(root)
    study, layout = project.study("traced"), project.layout
    runs = {(run.spec.method.name, run.variant, run.spec.seed): run.spec for run in study.runs}
    with pytest.raises(TrainingFailed):
        train_run(project, runs["ce", "nan", 1])
    # A finished run whose predictions went bad afterwards.
    spoiled = layout.run(runs["nrd", "default", 2].name) / "predictions.npz"
    with np.load(spoiled) as content:
        arrays = dict(content)
    arrays["student_test"][0, 0] = np.nan
    np.savez(spoiled, **arrays)
    (spoiled.parent / "sums.json").unlink(missing_ok=True)  # as of an older run: else its checksum would tell
    folder = build(study, layout)
    return layout, runs, folder, Sections((folder / "index.html").read_text())


def history(layout, spec):
    with (layout.run(spec.name) / "history.csv").open() as file:
        return list(csv.DictReader(file))


def percent(layout, spec, choose):
    rows = history(layout, spec)
    return 100 * float(choose(rows)["test_accuracy"])


CHOICES = {
    "accuracy": lambda rows: rows[-1],
    "best": lambda rows: max(rows, key=lambda row: float(row["test_accuracy"])),
    "selected": lambda rows: max(rows, key=lambda row: float(row["validation_accuracy"])),
}


def test_cells_are_means_over_the_histories(traced):
    layout, runs, _, page = traced
    tables = {
        "accuracy": page.tables["accuracy"][0],
        **dict(zip(("best", "selected"), page.tables["selection"], strict=True)),
    }
    for name, table in tables.items():
        assert len(table) == 2 + 4  # heads, and two methods in two variants
        for title, method in (("CE (as it is)", "ce"), ("NRD (as it is)", "nrd")):
            values = [percent(layout, runs[method, "default", seed], CHOICES[name]) for seed in (1, 2)]
            cell = next(row for row in table if row[0] == title)[1]
            mean, std = f"{statistics.mean(values):.2f}", f"{statistics.stdev(values):.2f}"
            assert cell == f"{mean} ± {std} 2 of 3 seed 1 seed 2"
        assert next(row for row in table if row[0] == "CE (a rate far too high)")[1] == "– 1 failed, 2 not run yet"
        assert next(row for row in table if row[0] == "NRD (a rate far too high)")[1] == "– not run yet"


def test_cells_and_figures_lead_to_their_runs_and_these_to_their_folders(traced):
    _, runs, folder, page = traced
    finished = [runs[method, "default", seed].name for method in ("ce", "nrd") for seed in (1, 2)]
    assert page.links["accuracy"][:4] == [f"#run-{name}" for name in finished]
    lines = [f"#run-{runs[method, 'default', 1].name}" for method in ("ce", "nrd")]
    for section in ("curves", "memorisation", "reliability", "confusion"):
        assert [link for link in page.links[section] if link.startswith("#run-")] == lines
    for name in finished:
        assert page.ids[f"run-{name}"][0] == name
        assert f"../../runs/{name}/" in page.links["runs"]
        assert (folder / "../../runs" / name / "history.csv").is_file()


def test_every_run_of_the_list_shows_its_own_numbers(traced):
    layout, runs, _, page = traced
    rows = {row[0]: row for row in page.tables["runs"][0][1:]}
    assert len(rows) == len(runs) == 12
    for (method, variant, seed), spec in runs.items():
        _, where, status, accuracy, seconds = rows[spec.name]
        assert where == variant
        if variant == "default" and seed < 3:
            with (layout.run(spec.name) / "timing.csv").open() as file:
                total = sum(float(row["seconds"]) for row in csv.DictReader(file))
            assert (status, accuracy) == ("done", f"{percent(layout, spec, CHOICES['accuracy']):.2f}")
            assert float(seconds) == pytest.approx(total, abs=0.6)
        else:
            assert (status, accuracy, seconds) == (
                "failed" if (method, variant, seed) == ("ce", "nan", 1) else "missing",
                "–",
                "–",
            )


def test_errors_and_class_accuracies_are_those_of_the_predictions(traced):
    layout, runs, _, page = traced
    ece, rows = [], page.tables["reliability"][0]
    right = []
    for seed in (1, 2):
        with np.load(layout.run(runs["ce", "default", seed].name) / "predictions.npz") as content:
            p, y = content["student_test"].astype(np.float64), content["test_labels"]
        confidence, hit = p.max(axis=1), p.argmax(axis=1) == y
        gaps = 0.0
        for low in np.arange(15) / 15:
            inside = (confidence > low) & (confidence <= low + 1 / 15)
            gaps += abs(hit[inside].sum() - confidence[inside].sum())
        ece.append(gaps / len(y))
        right.append([hit[y == digit].mean() for digit in range(10)])
    line = next(row for row in rows if row[0] == "CE (as it is)")
    assert line[1:3] == ["2", f"{statistics.mean(ece):.3f}"]
    assert next(row for row in rows if row[0] == "NRD (as it is)")[1] == "1"  # the spoiled one is left out
    line = next(row for row in page.tables["classes"][0] if row[0] == "CE (as it is)")
    assert line[1:] == [f"{100 * value:.1f}" for value in np.mean(right, axis=0)]


def test_settings_and_costs_are_those_of_the_runs(traced):
    layout, runs, _, page = traced
    for title, method in (("CE (as it is)", "ce"), ("NRD (as it is)", "nrd")):
        spec = yaml.safe_load((layout.run(runs[method, "default", 1].name) / "spec.yaml").read_text())
        row = next(row for row in page.tables["ledger"][0] if row[0] == title)
        assert float(row[1]) == spec["optimization"]["learning_rate"]
        assert float(row[2]) == spec["optimization"]["weight_decay"]
        own = [float(number) for number in re.findall(r"\d+\.\d+|\d+", row[3])]
        assert own == [n for v in spec["method"].get("hyperparameters", {}).values() for n in v]
    costs = {row[0]: row for row in page.tables["cost"][0]}
    assert [costs[title][1] for title in ("CE", "NRD")] == ["2", "2"]


def test_what_is_missing_failed_or_no_number_is_named(traced):
    _, runs, folder, _ = traced
    text = (folder / "index.html").read_text()
    top = text[: text.index("<nav")]
    assert "<strong>4 of 12</strong>" in top
    assert ">1 failed</span>" in top and ">7 missing</span>" in top
    failed = runs["ce", "nan", 1].name
    assert re.search(rf"<code>{failed}</code><br>the loss is not finite in epoch 1, first at step \d+", top)
    for key, spec in runs.items():
        if key != ("ce", "nan", 1) and (key[1] == "nan" or key[2] == 3):
            assert f"<code>{spec.name}</code> not run yet" in top
    spoiled = runs["nrd", "default", 2].name
    absent = text[text.index('<section id="absent">') :].split("</section>")[0]
    assert f"<li><code>{spoiled}</code>" in absent and "a probability is not a number" in absent


def test_every_table_and_figure_has_its_files(traced):
    _, _, folder, page = traced
    files = {path.name for path in folder.iterdir()}
    for table in ("accuracy", "paired", "ledger", "cost", "classes", "calibration", "variants"):
        assert {f"{table}.csv", f"{table}.md", f"{table}.tex"} <= files, table
    for figure in ("curves", "memorisation", "reliability", "confusion", "architecture", "variants"):
        assert {f"{figure}.png", f"{figure}.svg"} <= files, figure
        data = [link for link in page.links[figure] if link.endswith((".csv", ".json"))]
        assert data and set(data) <= files
    linked = {link for links in page.links.values() for link in links if not link.startswith(("#", ".."))}
    assert linked <= files


def test_real_images_are_compared_with_people(tmp_path, real_data):
    """Predictions for the real CIFAR-10 test part, of a network that copies what most people say, and CIFAR-10H."""
    answers = real_data / "cifar10h" / "cifar10h-probs.npy"
    if not answers.is_file():
        pytest.skip("NRD_DATA has no cifar10h")
    from nrd.data.arrays import load_arrays
    from nrd.data.sources import prepare
    from tests.test_report import finish_run, make_project, small_study

    project = make_project(tmp_path, small_study(datasets=["cifar10-5k"], methods=["ce"], seeds=[1], epochs=2))
    study, layout = project.study("small"), project.layout
    config = project.datasets["cifar10-5k"]
    prepare(config, layout)
    labels = np.asarray(load_arrays(layout.dataset(config.name), config.checksum).test_labels)
    spec = study.runs[0].spec
    finish_run(layout, spec, 100)
    shares = np.load(answers).astype(np.float64)
    path = layout.run(spec.name) / "predictions.npz"
    with np.load(path) as content:
        arrays = dict(content) | {"test_labels": labels, "student_test": shares.astype(np.float16)}
    np.savez(path, **arrays)
    (path.parent / "sums.json").unlink(missing_ok=True)
    page = Sections((build(study, layout, ["results", "tables", "figures", "page"]) / "index.html").read_text())
    row = next(row for row in page.tables["people"][0] if row[0] == "CE")
    rounded = np.maximum(shares.astype(np.float16).astype(np.float64), 2.0**-25)
    expected = -np.sum(shares * np.log(rounded), axis=1).mean()
    assert row[2] == f"{expected:.3f}"
    assert float(row[3]) > 0.99


def test_a_report_that_leaves_runs_out_is_asked_for(traced):
    layout, *_ = traced
    study = Project(layout.root).study("traced")
    with pytest.raises(SpecError, match=r"8 of 12 runs of traced are not finished .*`nrd report traced --partial`"):
        build(study, layout, partial=False)
    with pytest.raises(SpecError, match="8 of 12"):
        build(study, layout, ["results"], partial=False)
