"""Benchmarks measure what they say: the two ways compute the same step, and the numbers add up. No time is asserted."""

import importlib.util
import json
import re
import runpy
import shutil

import pytest
import torch
from typer.testing import CliRunner

from nrd.augment import VIEWS, create_view
from nrd.benchmark import agreement, augment, slots, table, train
from nrd.benchmark.cli import app
from nrd.benchmark.ours import Ours
from nrd.benchmark.peak import Traffic
from nrd.benchmark.reference import METHODS, Reference, jensen_shannon
from nrd.benchmark.specs import benchmark_specs
from nrd.benchmark.table import markdown, refresh
from nrd.models import create_model
from nrd.randomness import generator
from nrd.spec import NetworkSpec, SpecError
from nrd.study import Project
from tests.conftest import REPOSITORY

CPU = torch.device("cpu")
PROJECT = Project(REPOSITORY)
SMALL = NetworkSpec(name="preact_resnet", options={"widths": (4, 8), "blocks": (1, 1)})


@pytest.fixture
def few_images(monkeypatch):
    monkeypatch.setitem(train.IMAGES, "cpu", 32)
    monkeypatch.setattr(train, "TURNS", 1)


def spec_of(method, network=SMALL, batch_size=8):
    (spec,) = benchmark_specs(PROJECT, [method], batch_size=batch_size)
    return spec.model_copy(update={"network": network})


def both(method):
    spec = spec_of(method)
    images, labels = train.noise(CPU, 32)
    ours = Ours(spec, images, labels, CPU)
    network = create_model(SMALL.name, 10, generator=generator(1, "init", 0), **SMALL.options)
    return ours, Reference(spec, network, images, labels, CPU)


def test_every_method_of_the_project_is_measured_and_has_a_plain_reference():
    specs = benchmark_specs(PROJECT)
    assert {spec.method.name for spec in specs} == set(PROJECT.methods) == set(METHODS)
    pocket = {spec.method.name: spec for spec in PROJECT.study("pocket").specs.values() if spec.noise.slug == "sym60"}
    for spec in specs:
        same = pocket[spec.method.name]
        assert (spec.method, spec.network) == (same.method, same.network)
        assert (
            spec.optimization.model_copy(
                update={"epochs": same.optimization.epochs, "schedule": same.optimization.schedule}
            )
            == same.optimization
        )
    both = benchmark_specs(PROJECT, ["ce", "nrd"], ["preact_resnet_tiny", "preact_resnet34_thin"], student="gjs")
    assert [(s.network.name, s.method.name) for s in both] == [
        ("preact_resnet_tiny", "ce"),
        ("preact_resnet_tiny", "nrd"),
        ("preact_resnet34_thin", "ce"),
        ("preact_resnet34_thin", "nrd"),
    ]
    assert both[1].method.views["student"].name == "gjs" and both[1].method.views["teacher"].name == "augmix"


def test_a_method_of_ones_own_is_measured_without_a_reference(few_images, tmp_path):
    """One with a ledger for another dataset alone, as in the README."""
    root = tmp_path / "project"
    shutil.copytree(REPOSITORY / "params", root / "params")
    config = (root / "params/methods/gce.yaml").read_text().replace("name: gce", "name: mine")
    head, _, _ = config.partition("  cifar10:")
    digits = config[config.index("  digits:") :]
    (root / "params/methods/mine.yaml").write_text(head + digits)
    (spec,) = benchmark_specs(Project(root), ["mine"], batch_size=8)
    assert spec.method.hyperparameters == {"q": 0.7}
    row = train.measure_one(spec.model_copy(update={"network": SMALL}), CPU, seconds=0.0)
    assert row["images_per_second"] > 0
    assert row["reference_images_per_second"] is row["times_faster"] is None and row["reference_shares"] == {}


@pytest.mark.parametrize("method", METHODS)
def test_given_the_same_views_both_ways_train_the_same_weights(method):
    """Three steps on our views: weights and averages agree to rounding, although nothing but the network is shared."""
    ours, plain = both(method)
    for number, batch in zip(range(3), ours.batches(), strict=False):
        losses, before = ours.step(batch), plain.total
        views = [view.contiguous() for role in batch.views.values() for view in role]
        plain.step(views, batch.targets)
        assert plain.total - before == pytest.approx(losses["loss"].item(), rel=1e-4), number
    for mine, theirs in zip(ours.method.networks[0].parameters(), plain.student.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-5)
    if method == "nrd":
        for mine, theirs in zip(ours.method.teacher.network.parameters(), plain.teacher.parameters(), strict=True):
            assert torch.allclose(mine, theirs, atol=1e-5)


def test_the_references_divergence_is_that_of_the_library():
    from nrd.losses import GeneralizedJensenShannon

    draw = torch.Generator().manual_seed(0)
    logits, labels = [torch.randn(6, 10, generator=draw) for _ in range(2)], torch.arange(6)
    plain = jensen_shannon([torch.eye(10)[labels], *(matrix.softmax(dim=1) for matrix in logits)], (0.3, 0.35, 0.35))
    assert plain.item() == pytest.approx(GeneralizedJensenShannon(0.3)(logits, labels).item(), rel=1e-5)


def test_a_training_is_measured_in_all_its_parts(few_images):
    row = train.measure_one(spec_of("nrd"), CPU, seconds=0.0)
    one_network = 10_000 / row["evaluated_images_per_second"]
    evaluation = 2 * one_network  # the student and its average
    assert row["evaluation_share"] == pytest.approx(evaluation / (evaluation + row["epoch_seconds"]))
    assert row["times_faster"] == pytest.approx(row["images_per_second"] / row["reference_images_per_second"])
    assert row["epoch_seconds"] == pytest.approx(50_000 / row["images_per_second"])
    parts = {"augmentation", "teacher", "forward", "backward", "optimiser", "average", "statistics"}
    assert set(row["shares"]) == parts and sum(row["shares"].values()) == pytest.approx(1)
    assert set(row["reference_shares"]) == {"loading", "step"}
    assert row["gigabytes"] > 0 and 50 < row["operations"] < 200
    # Stem, one block at 32×32 and one at 16×16 with its shortcut, the linear layer; three passes and the teacher's.
    macs = 1024 * 9 * (3 * 4 + 2 * 4 * 4) + 256 * (9 * (4 * 8 + 8 * 8) + 4 * 8) + 80
    assert row["gflop"] == pytest.approx(2e-9 * macs * 8 * 4)


def test_traffic_is_what_operations_read_and_write():
    a = torch.zeros(100)
    with Traffic() as traffic:
        b = a + 1  # reads and writes 400 bytes
        b.view(10, 10)
        b.mul_(2)  # reads and writes 400 bytes; its result is its operand
    assert (traffic.operations, traffic.bytes) == (2, 1600)


def test_agreement_is_a_paired_difference(monkeypatch):
    monkeypatch.setattr(agreement, "_train_ours", lambda *arguments: 50.0 + arguments[2])
    monkeypatch.setattr(agreement, "_train_reference", lambda *arguments: 49.0 + 2 * (arguments[2] % 2))
    labels = torch.arange(200) % 10
    result = agreement.measure((None, labels), (None, labels), spec_of("ce"), seeds=5)
    differences = torch.tensor([0.0, 3.0, 2.0, 5.0, 4.0])
    assert result["difference"] == pytest.approx(differences.mean().item())
    assert result["interval"] == pytest.approx(2.776 * differences.std().item() / 5**0.5, rel=1e-3)


def test_agreement_trains_both_ways():
    images, labels = train.noise(CPU, 64)
    result = agreement.measure((images, labels), (images, labels), spec_of("gjs", batch_size=16), 1, 2)
    assert len(result["pairs"]) == 2
    assert all(0 <= row[way] <= 100 for row in result["pairs"] for way in ("nrd", "reference"))


def test_slots_run_at_the_same_time():
    rows = slots.measure(spec_of("ce", batch_size=16), runs=(2,), seconds=0.0, images=64)
    assert [(row["runs"], row["threads"]) for row in rows] == [(2, 1)]
    assert rows[0]["images_per_second"] > 0
    evaluation = 10_000 / rows[0]["evaluated_images_per_second"]
    assert rows[0]["run_seconds"] == pytest.approx(400 * (50_000 / rows[0]["images_per_second"] + evaluation))


def test_the_command_prints_a_table_and_writes_json(tmp_path):
    output = tmp_path / "a.json"
    result = CliRunner().invoke(app, ["augment", "crop", "--batch", "8", "--seconds", "0", "--json", str(output)])
    assert result.exit_code == 0, result.output
    assert "times_faster" in result.output
    content = json.loads(output.read_text())
    assert content["rows"][0]["view"] == "crop"
    assert content["machine"]["torch"] == torch.__version__ and "host" not in content["machine"]


def test_kornia_is_measured_where_it_is_installed_and_has_the_view(monkeypatch):
    real, found = importlib.util.find_spec, importlib.util.find_spec("kornia") is not None
    row = augment.measure(["crop"], batch=8, seconds=0.0)[0]
    assert ("kornia" in row) == found
    if found:
        images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
        assert augment.kornia_pipeline("none")(images).shape == images.shape
        plain = create_view("none", augment.MEAN, augment.STD)(images, {})
        assert torch.allclose(augment.kornia_pipeline("none")(images), plain, atol=1e-5)
    assert augment.kornia_pipeline("augmix") is None
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "kornia" else real(name, *rest)
    )
    assert augment.kornia_pipeline("crop") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "elr"], "method: there is no elr; allowed: bs, ce, gce,"),
        (["train", "ce", "--network", "vgg"], "--network: there is no vgg; allowed: "),
        (["train", "ce", "--student", "cutmix"], "there is no cutmix; allowed: "),
        (["train", "ce", "--images", "64"], "--images: 64 are fewer than two steps of 64"),
        (["train", "ce", "--precision", "int8"], "--precision: there is no int8; allowed: "),
        (["augment", "gjx"], "views: torchvision has no counterpart of gjx; allowed: none, crop, gjs,"),
        (["augment", "augmix_original"], "torchvision has no counterpart of augmix_original"),
        (["agreement", "ce", "--student", "augmix_original"], "torchvision has no counterpart of augmix_original"),
        (["agreement", "ce", "--dataset", "digits"], "--dataset: there is no digits; allowed: cifar10"),
        (["agreement", "ce", "--dataset", "cifar100"], "--dataset: there is no cifar100; allowed: cifar10"),
        (["table"], "give either files to print, or a document"),
        (["table", "nowhere.json"], "nowhere.json: cannot be read"),
    ],
)
def test_what_is_wrong_is_refused_with_what_is_allowed(arguments, message):
    result = CliRunner().invoke(app, arguments, env={"NRD_ROOT": str(REPOSITORY)})
    assert isinstance(result.exception, SpecError)
    assert message in str(result.exception)


def test_no_runs_at_a_time_are_refused():
    result = CliRunner().invoke(app, ["slots", "--runs", "0"], env={"NRD_ROOT": str(REPOSITORY)})
    assert result.exit_code == 2 and "--runs" in result.output


def test_a_large_batch_gets_images_for_two_steps(few_images):
    row = train.measure_one(spec_of("ce", batch_size=40), CPU, seconds=0.0)
    assert row["batch"] == 40 and row["gigabytes"] > 0
    assert len(train.noise(CPU, None, 2048)[0]) == 4096 and len(train.noise(CPU, 10, 2048)[0]) == 10


def test_a_view_that_torchvision_has_not_is_measured_without_a_reference(few_images):
    (spec,) = benchmark_specs(PROJECT, ["ce"], student="augmix_original", batch_size=8)
    row = train.measure_one(spec.model_copy(update={"network": SMALL}), CPU, seconds=0.0)
    assert row["images_per_second"] > 0 and row["reference_images_per_second"] is None


def test_every_counterpart_gives_an_image_of_the_views_shape():
    image = torch.randint(256, (3, 32, 32), dtype=torch.uint8)
    assert set(augment._policies()) == set(VIEWS) - {"augmix_original"}
    for name in augment._policies():
        assert augment.torchvision_pipeline(name)(image).shape == (3, 32, 32), name


def test_rows_are_saved_as_they_come(monkeypatch, tmp_path):
    """The second method fails; the first one's row is there."""
    output, measure_one = tmp_path / "a.json", train.measure_one

    def failing(spec, *rest):
        if spec.method.name == "gjs":
            raise RuntimeError("out of memory")
        return measure_one(spec.model_copy(update={"network": SMALL}), *rest)

    monkeypatch.setattr(train, "measure_one", failing)
    monkeypatch.setattr(train, "TURNS", 1)
    arguments = ["train", "ce", "gjs", "--batch", "8", "--images", "16", "--seconds", "0", "--device", "cpu"]
    result = CliRunner().invoke(app, [*arguments, "--json", str(output)], env={"NRD_ROOT": str(REPOSITORY)})
    assert "out of memory" in str(result.exception)
    rows = json.loads(output.read_text())["rows"]
    assert [row["method"] for row in rows] == ["ce"] and rows[0]["matmul_gflops"] > 0


def test_a_whole_run_is_its_epochs_and_its_evaluations(few_images):
    spec = spec_of("nrd").model_copy(update={"evaluation_interval": 3})
    row = train.measure_one(spec, CPU, seconds=0.0, epochs=10)
    evaluation = 2 * 10_000 / row["evaluated_images_per_second"]
    assert row["run_seconds"] == pytest.approx(10 * row["epoch_seconds"] + 4 * evaluation)


def test_on_a_gpu_the_share_of_augmentation_is_of_the_compiled_step():
    row = {"compiled": True, "augmentation_share": 0.2, "shares": {"augmentation": 0.05}}
    assert table._augmentation(row) == "20.0 %"
    assert table._augmentation({**row, "compiled": False}) == "5.0 %"
    assert table._augmentation({"compiled": True, "shares": {"augmentation": 0.05}}) == "5.0 %", "measured before"


def test_views_ratios_are_those_of_turns_with_their_range(monkeypatch):
    speeds = iter([(8.0, 2.0, 1.0), (30.0, 3.0, 10.0), (9.0, 1.0, 1.0)])
    monkeypatch.setattr(augment, "TURNS", 3)
    monkeypatch.setattr(augment, "kornia_pipeline", lambda *_: None)
    turns = [speed for turn in speeds for speed in turn]
    monkeypatch.setattr(augment, "_images_per_second", lambda *_: turns.pop(0))
    row = augment.measure(["crop"], batch=8)[0]
    assert (row["times_faster_lowest"], row["times_faster"], row["times_faster_highest"]) == (3.0, 4.0, 9.0)
    assert (row["nrd"], row["torchvision_pil"], row["torchvision_tensor"]) == (30.0, 3.0, 10.0)
    assert table._range("times_faster")(row) == "3.0–9.0"


def test_what_was_tried_can_be_measured_anew(monkeypatch, capsys):
    tried = runpy.run_path(str(REPOSITORY / "workflow/scripts/tried.py"))
    monkeypatch.setitem(tried["compare"].__globals__, "TURNS", 1)
    tried["main"](0.0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    for line in lines:
        assert re.search(r": \d+\.\d\d \(\d+\.\d\d–\d+\.\d\d\)$", line), line


MEASURED = sorted((REPOSITORY / "results/measured/performance").glob("*.json"))


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_every_measured_file_has_its_table(path):
    rows = json.loads(path.read_text())["rows"]
    lines = markdown([path]).splitlines()
    assert lines[0].startswith("| ") and lines[1].startswith("| --- |")
    assert len([line for line in lines if line.startswith("| ")]) == 2 + len(rows)
    assert "PyTorch" in lines[-1] and "--json" not in lines[-1]


def test_a_document_shows_what_was_measured(tmp_path):
    """Every table of docs/performance.md is that of the files it names, and every file is named."""
    text = (REPOSITORY / "docs/performance.md").read_text()
    assert refresh(text, REPOSITORY) == text, "run: nrd benchmark table --update docs/performance.md"
    assert [path.name for path in MEASURED if path.name not in text] == []
    document = tmp_path / "a.md"
    asked = f"<!-- measured: {MEASURED[0].relative_to(REPOSITORY)} -->\n"
    document.write_text(f"before\n{asked}stale\n<!-- end -->\nafter\n")
    result = CliRunner().invoke(app, ["table", "--update", str(document), "--root", str(REPOSITORY)])
    assert result.exit_code == 0, result.output
    assert document.read_text() == f"before\n{asked}{markdown([MEASURED[0]])}\n<!-- end -->\nafter\n"


def test_rows_of_two_kinds_make_no_table(tmp_path):
    content = {"time": "", "command": "", "machine": {"device": ""}, "rows": [{"view": "a"}, {"pairs": []}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(SpecError, match="rows of one kind"):
        markdown([tmp_path / "a.json"])
