"""Benchmarks measure what they say: the two ways compute the same step, and the numbers add up. No time is asserted."""

import json

import pytest
import torch
from typer.testing import CliRunner

from nrd.benchmark import agreement, slots, train
from nrd.benchmark.cli import app
from nrd.benchmark.ours import Ours, build_spec
from nrd.benchmark.peak import Traffic
from nrd.benchmark.reference import METHODS, Recipe, Reference, jensen_shannon
from nrd.models import create_model
from nrd.randomness import generator
from nrd.spec import NetworkSpec

CPU = torch.device("cpu")
SMALL = NetworkSpec(name="preact_resnet", options={"widths": (4, 8), "blocks": (1, 1)})


@pytest.fixture
def few_images(monkeypatch):
    monkeypatch.setitem(train.IMAGES, "cpu", 32)
    monkeypatch.setattr(train, "TURNS", 1)


def both(method, **recipe):
    recipe = Recipe(method, batch_size=8, **recipe)
    images, labels = train.noise(CPU, 32)
    ours = Ours(build_spec(recipe, SMALL), images, labels, CPU)
    network = create_model(SMALL.name, 10, generator=generator(1, "init", 0), **SMALL.options)
    return ours, Reference(recipe, network, images, labels, CPU)


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
    row = train.measure_one(Recipe("nrd", batch_size=8), SMALL, "float32", CPU, seconds=0.0)
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
    monkeypatch.setattr(agreement, "_train_ours", lambda *arguments: 50.0 + arguments[3])
    monkeypatch.setattr(agreement, "_train_reference", lambda *arguments: 49.0 + 2 * (arguments[3] % 2))
    labels = torch.arange(200) % 10
    result = agreement.measure((None, labels), (None, labels), Recipe("ce"), seeds=5)
    differences = torch.tensor([0.0, 3.0, 2.0, 5.0, 4.0])
    assert result["difference"] == pytest.approx(differences.mean().item())
    assert result["interval"] == pytest.approx(2.776 * differences.std().item() / 5**0.5, rel=1e-4)


def test_agreement_trains_both_ways():
    images, labels = train.noise(CPU, 64)
    result = agreement.measure((images, labels), (images, labels), Recipe("gjs", batch_size=16), 1, 2, SMALL)
    assert len(result["pairs"]) == 2
    assert all(0 <= row[way] <= 100 for row in result["pairs"] for way in ("nrd", "reference"))


def test_slots_run_at_the_same_time():
    rows = slots.measure(Recipe("ce"), "preact_resnet_tiny", runs=(2,), seconds=0.0, images=64)
    assert [(row["runs"], row["threads"]) for row in rows] == [(2, 1)]
    assert rows[0]["images_per_second"] > 0


def test_the_command_prints_a_table_and_writes_json(tmp_path):
    output = tmp_path / "a.json"
    result = CliRunner().invoke(app, ["augment", "crop", "--batch", "8", "--seconds", "0", "--json", str(output)])
    assert result.exit_code == 0, result.output
    assert "times_faster" in result.output
    content = json.loads(output.read_text())
    assert content["rows"][0]["view"] == "crop"
    assert content["machine"]["torch"] == torch.__version__ and "host" not in content["machine"]


def test_a_wrong_name_is_refused_with_what_is_allowed():
    from nrd.spec import SpecError

    result = CliRunner().invoke(app, ["train", "elr"])
    assert isinstance(result.exception, SpecError)
    assert "allowed: ce, gjs, nrd" in str(result.exception)
