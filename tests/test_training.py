"""The loop: killed runs end byte-identical, chunks change nothing, a lost loss ends the run, locks hold."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from nrd.spec import RunOptions, SpecError
from nrd.training.loop import Trainer, TrainingFailed, train
from nrd.training.outputs import read_predictions
from tests.conftest import make_project, prepare_run, train_run

EXACT = ("model.safetensors", "history.csv", "predictions.npz", "spec.yaml")


def longer(spec, epochs):
    return spec.model_copy(
        update={"optimization": spec.optimization.model_copy(update={"epochs": epochs}), "snapshots": (2,)}
    )


def tiny(project, method="nrd", seed=1):
    found = [s for s in project.study("tiny").specs.values() if s.method.name == method and s.seed == seed]
    return found[0]


@pytest.mark.parametrize("method", ["ce", "nrd"])
def test_killed_three_times_a_run_ends_byte_identical(tmp_path, method):
    """SIGKILL at random moments of a real `nrd train`; what is left must continue to the undisturbed result."""
    undisturbed, killed = make_project(tmp_path / "a"), make_project(tmp_path / "b")
    spec = longer(tiny(undisturbed, method), 12)
    train_run(undisturbed, spec)
    prepare_run(killed, spec)
    path = tmp_path / "spec.yaml"
    path.write_text(spec.to_yaml())
    command = [sys.executable, "-m", "nrd", "train", str(path), "--root", str(killed.layout.root)]
    live = killed.layout.scratch(spec.name) / "history.csv"
    dice, kills = random.Random(7), 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = rows(live)
        while process.poll() is None and rows(live) < seen + 2:
            time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.2))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills == 3, "the run must still be under way when it is killed"
    assert not killed.layout.is_trained(spec.name)
    subprocess.run(command, check=True, capture_output=True)
    assert "continues after epoch" in (killed.layout.run(spec.name) / "log.txt").read_text()
    for file in (*EXACT, "snapshots/epoch-0002.safetensors"):
        a, b = (p.layout.run(spec.name) / file for p in (undisturbed, killed))
        assert a.read_bytes() == b.read_bytes(), file


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("compiling", ["off", "on"])
def test_on_a_gpu_with_deterministic_kernels_a_stopped_run_ends_byte_identical(tmp_path, compiling):
    """Each training is a process of its own: the kernels that one chose by trial must not help the other."""
    folders = []
    for name in ("undisturbed", "stopped"):
        project = make_project(tmp_path / name)
        spec = longer(tiny(project), 6)
        prepare_run(project, spec)
        (tmp_path / "spec.yaml").write_text(spec.to_yaml())
        command = [
            sys.executable,
            "-m",
            "nrd",
            "train",
            str(tmp_path / "spec.yaml"),
            "--root",
            str(project.layout.root),
        ]
        command += ["--device", "cuda", "--deterministic", "--compile", compiling]
        if name == "stopped":
            live = project.layout.scratch(spec.name) / "history.csv"
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and rows(live) < 3:
                time.sleep(0.01)
            process.kill()
            process.wait()
            assert not project.layout.is_trained(spec.name)
        subprocess.run(command, check=True, capture_output=True)
        folders.append(project.layout.run(spec.name))
    for file in EXACT:
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes(), file


def rows(path):
    return path.read_text().count("\n") if path.exists() else 0


def test_chunks_and_repetition_change_nothing(tmp_path):
    results = []
    for index, options in enumerate([{}, {"chunk_size": 64}, {"chunk_size": 100000}]):
        project = make_project(tmp_path / str(index))
        folder = train_run(project, tiny(project), **options)
        results.append([(folder / file).read_bytes() for file in EXACT])
    assert results[0] == results[1] == results[2]


def test_seeds_differ(tiny_project):
    histories = {
        (tiny_project.layout.run(name) / "history.csv").read_text() for name in tiny_project.study("tiny").specs
    }
    assert len(histories) == 4


def test_a_finished_run_holds_what_the_design_says(tiny_project):
    spec = tiny(tiny_project)
    folder = tiny_project.layout.run(spec.name)
    assert {p.name for p in folder.iterdir()} == {
        "spec.yaml",
        "history.csv",
        "timing.csv",
        "machine.json",
        "log.txt",
        "predictions.npz",
        "model.safetensors",
        "metrics.json",
        "sums.json",
    }
    predictions = read_predictions(folder)
    assert predictions["student_test"].shape == (500, 10)
    assert np.allclose(predictions["student_test"].sum(axis=1), 1, atol=2e-3)
    assert json.loads((folder / "machine.json").read_text())["torch"] == torch.__version__


def test_the_saved_model_makes_the_saved_predictions(tiny_project):
    """An independent path from model.safetensors to the probabilities: plain torch, no loop, no view."""
    from safetensors.torch import load_file

    from nrd.data.arrays import load_arrays
    from nrd.models import create_model

    spec = tiny(tiny_project)
    tensors = load_file(tiny_project.layout.run(spec.name) / "model.safetensors")
    arrays = load_arrays(tiny_project.layout.dataset("digits"), spec.dataset.checksum)
    images = (torch.from_numpy(arrays.test_images).float() / 255 - spec.dataset.mean[0]) / spec.dataset.std[0]
    predictions = read_predictions(tiny_project.layout.run(spec.name))
    for name in ("student", "teacher"):
        network = create_model(spec.network.name, 10, 1, **spec.network.options)
        network.load_state_dict({k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(name)})
        with torch.no_grad():
            probabilities = network.eval()(images).softmax(dim=1).numpy()
        assert np.allclose(probabilities, predictions[f"{name}_test"], atol=1e-3), name


def test_validation_part_is_stratified_noisy_and_left_out_of_training(tiny_project):
    from nrd.data.labels import read_labels

    spec = tiny(tiny_project)
    labels = read_labels(spec, tiny_project.layout.labels(spec.labels_name))
    predictions = read_predictions(tiny_project.layout.run(spec.name))
    left, held_out = len(predictions["train_true"]), round(0.2 * 1297)
    assert left == 1297 - held_out
    for key, every, kept in (
        ("true", labels.true, predictions["train_true"]),
        ("given", labels.given, predictions["train_given"]),
    ):
        counts = np.bincount(every, minlength=10)
        taken = counts - np.bincount(kept, minlength=10)
        assert taken.sum() == held_out and (taken > 0).all()
        # Exact by true class; a given label's share differs by chance, here by less than three standard deviations.
        allowed = 1 if key == "true" else 3 * np.sqrt(counts * 0.2 * 0.8)
        assert (abs(taken - 0.2 * counts) < allowed).all(), key
    assert 0.3 < np.mean(predictions["train_true"] != predictions["train_given"]) < 0.42
    wrong = (labels.true != labels.given).sum() - (predictions["train_true"] != predictions["train_given"]).sum()
    assert 0.3 < wrong / held_out < 0.42, "the validation part is as noisy"


def test_a_lost_loss_ends_the_run_with_epoch_step_and_method(project):
    spec = tiny(project, "ce")
    broken = spec.model_copy(update={"optimization": spec.optimization.model_copy(update={"learning_rate": 1e12})})
    with pytest.raises(TrainingFailed, match=r"not finite in epoch \d, first at step \d+, method ce"):
        train_run(project, broken)
    failure = json.loads((project.layout.scratch(broken.name) / "failure.json").read_text())
    assert "method ce" in failure["message"]
    assert not project.layout.run(broken.name).exists()


def test_one_run_is_trained_by_one_process(project):
    from nrd.training.lock import is_held, run_lock

    spec = tiny(project)
    prepare_run(project, spec)
    with run_lock(project.layout.scratch(spec.name), spec.name):
        assert is_held(project.layout.scratch(spec.name))
        with pytest.raises(SpecError, match=f"is being trained by process {os.getpid()} on"):
            train(spec, project.layout, RunOptions(tracking=False))
    assert not is_held(project.layout.scratch(spec.name))


def test_who_waits_for_another_training_finds_it_finished_and_trains_nothing(project):
    """What the workflow does after a Snakemake was killed that left its jobs running."""
    spec = tiny(project)
    prepare_run(project, spec)
    command = [sys.executable, "-m", "nrd", "train", spec.name, "--wait", "--no-track"]
    from nrd.training.lock import run_lock

    with run_lock(project.layout.scratch(spec.name), spec.name):
        waiting = subprocess.Popen(command, cwd=project.layout.root, stderr=subprocess.PIPE, text=True)
        assert f"is being trained by process {os.getpid()} on" in waiting.stderr.readline()
        Trainer(spec, project.layout, RunOptions(tracking=False)).run()
        finished = (project.layout.run(spec.name) / "machine.json").read_bytes()
    assert waiting.communicate(timeout=240)[1] == ""
    assert waiting.returncode == 0
    assert (project.layout.run(spec.name) / "machine.json").read_bytes() == finished


@pytest.mark.parametrize("damage", ["truncated", "garbage", "other run", "other shape"])
def test_a_damaged_state_is_refused_by_name(project, damage):
    spec = longer(tiny(project, "ce"), 3)
    prepare_run(project, spec)
    folder = project.layout.scratch(spec.name)
    from nrd.training.checkpoint import State, save_state

    state = State(spec.name, 1, {"networks.0.stem.weight": torch.zeros(3)}, {})
    if damage == "other run":
        state.run = "another"
    save_state(state, folder)
    path = folder / "state.pt"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "garbage":
        path.write_bytes(b"garbage" * 10)
    with pytest.raises(SpecError, match=rf"{path}: .*delete it to train"):
        train(spec, project.layout, RunOptions(tracking=False))


def test_data_or_labels_missing_say_what_prepares_them(project):
    spec = tiny(project)
    with pytest.raises(SpecError, match=r"digits.safetensors: there is no such file; `nrd data digits` prepares it"):
        train(spec, project.layout, RunOptions())
    prepare_run(project, spec)
    project.layout.labels(spec.labels_name).unlink()
    with pytest.raises(SpecError, match="`nrd labels` writes it"):
        train(spec, project.layout, RunOptions())


def test_step_schedule_against_torchs(project):
    """Learning rates as PyTorch's own schedulers give them."""
    from nrd.spec import OptimizationSpec, ScheduleSpec
    from nrd.training.schedule import learning_rate

    parameter = torch.nn.Parameter(torch.zeros(1))
    for schedule, make in (
        (ScheduleSpec(milestones=(5, 9), gamma=0.2), lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [5, 9], 0.2)),
        (ScheduleSpec(name="cosine"), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12)),
    ):
        spec = OptimizationSpec(epochs=12, batch_size=4, learning_rate=0.3, weight_decay=0, schedule=schedule)
        optimizer = torch.optim.SGD([parameter], lr=0.3)
        scheduler = make(optimizer)
        for epoch in range(12):
            assert learning_rate(spec, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
            optimizer.step()
            scheduler.step()


def test_real_cifar10_goes_through_the_thin_network(project, real_data):
    """One epoch of real CIFAR-10 images with the paper's network, as the `smoke` study declares it."""
    from nrd.evaluation.run_metrics import evaluate_run

    spec = next(s for s in project.study("smoke").specs.values() if s.method.name == "nrd")
    assert spec.network.name == "preact_resnet34_thin"
    folder = train_run(project, spec)
    print((folder / "timing.csv").read_text())
    metrics = evaluate_run(spec.name, project.layout)
    assert metrics["actual_noise_rate"] == pytest.approx(0.36, abs=0.01)
    assert 0 < metrics["test_accuracy_last"] < 1
